//! Metrics: counters and gauges as statics in one table, which the admin port and tests read.

use std::fmt::Write;
use std::marker::PhantomData;
use std::sync::Weak;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};

use parking_lot::Mutex;

use crate::wire::CloseReason;
use crate::wire::packets::{Outcome, Role};

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Returns a counter at zero.
    pub const fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// Adds one.
    pub fn inc(&self) {
        self.add(1);
    }

    /// Adds `count`.
    pub fn add(&self, count: u64) {
        self.0.fetch_add(count, Relaxed);
    }

    /// Returns the count since the process started.
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// A number that goes up and down.
#[derive(Debug, Default)]
pub struct Gauge(AtomicI64);

impl Gauge {
    /// Returns a gauge at zero.
    pub const fn new() -> Self {
        Self(AtomicI64::new(0))
    }

    /// Adds `change` to the gauge.
    pub fn add(&self, change: i64) {
        self.0.fetch_add(change, Relaxed);
    }

    /// Sets the gauge to `value`.
    pub fn set(&self, value: i64) {
        self.0.store(value, Relaxed);
    }

    /// Returns the gauge's value.
    pub fn get(&self) -> i64 {
        self.0.load(Relaxed)
    }
}

/// Values by which a metric is split: its label.
pub trait Label: Copy + 'static {
    /// Name of the label.
    const NAME: &'static str;
    /// Every value.
    const ALL: &'static [Self];
    /// The value's place among 256.
    fn index(self) -> u8;
    /// The value in the rendered metrics.
    fn text(self) -> &'static str;
}

macro_rules! labels {
    ($($ty:ty = $name:literal),*) => {$(
        impl Label for $ty {
            const NAME: &'static str = $name;
            const ALL: &'static [Self] = <$ty>::ALL;
            fn index(self) -> u8 {
                self as u8
            }
            fn text(self) -> &'static str {
                self.name()
            }
        }
    )*};
}
labels!(CloseReason = "reason", Outcome = "reason", Role = "role");

/// A counter for each value of a label.
#[derive(Debug)]
pub struct Counters<L>([Counter; 256], PhantomData<fn(L)>);

impl<L: Label> Counters<L> {
    /// Returns counters at zero.
    pub const fn new() -> Self {
        Self([const { Counter::new() }; 256], PhantomData)
    }

    /// Returns the counter of one value.
    pub fn of(&self, value: L) -> &Counter {
        &self.0[usize::from(value.index())]
    }

    fn render(&self, name: &str, out: &mut String) {
        for value in L::ALL {
            // Writing to a String cannot fail.
            let _ = writeln!(out, "{name}{{{}=\"{}\"}} {}", L::NAME, value.text(), self.of(*value).get());
        }
    }
}

impl<L: Label> Default for Counters<L> {
    fn default() -> Self {
        Self::new()
    }
}

/// A counter for each reason for which sessions end.
pub type ReasonCounters = Counters<CloseReason>;
/// A counter for each result of a request.
pub type OutcomeCounters = Counters<Outcome>;
/// A counter for each role of a server.
pub type RoleCounters = Counters<Role>;

/// A metric in the table.
#[derive(Debug, Clone, Copy)]
pub enum Metric {
    /// A number that only grows.
    Counter(&'static Counter),
    /// A number that goes up and down.
    Gauge(&'static Gauge),
    /// A counter for each reason of an end.
    Reasons(&'static ReasonCounters),
    /// A counter for each result of a request.
    Outcomes(&'static OutcomeCounters),
    /// A counter for each role.
    Roles(&'static RoleCounters),
}

/// A queue whose length is read only when the metrics are rendered, so that it costs nothing
/// before.
pub trait Depth: Send + Sync {
    /// Returns the number of items in the queue.
    fn depth(&self) -> usize;
}

/// Kinds of queues that are listed by the thread that they belong to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Queue {
    /// Jobs of a content thread.
    Content,
    /// Commands of an event loop.
    Mailbox,
}

impl Queue {
    const ALL: [(Self, &str, &str); 2] = [
        (Self::Content, "throng_content_queue", "Jobs waiting for a content thread now."),
        (Self::Mailbox, "throng_net_mailbox", "Commands waiting for an event loop now."),
    ];
}

struct Watched {
    queue: Queue,
    thread: String,
    depth: Weak<dyn Depth>,
}

static WATCHED: Mutex<Vec<Watched>> = Mutex::new(Vec::new());

/// Lists a queue among the metrics, under the name of its thread, for as long as the queue exists.
pub fn watch(queue: Queue, thread: String, depth: Weak<dyn Depth>) {
    let mut watched = WATCHED.lock();
    watched.retain(|known| known.depth.strong_count() > 0);
    watched.push(Watched { queue, thread, depth });
}

macro_rules! metrics {
    ($( $(#[doc = $doc:literal])+ $kind:ident $variant:ident $name:ident = $text:literal; )*) => {
        $( $(#[doc = $doc])+ pub static $name: $kind = $kind::new(); )*

        /// Every metric: its name, its description and its static.
        pub static TABLE: &[(&str, &[&str], Metric)] =
            &[ $( ($text, &[$($doc),+], Metric::$variant(&$name)), )* ];
    };
}

metrics! {
    /// Connections accepted.
    Counter Counter ACCEPTED = "throng_net_accepted_total";
    /// Connections that could not be accepted, for example for lack of file descriptors.
    Counter Counter ACCEPT_ERRORS = "throng_net_accept_errors_total";
    /// Connections refused because every session slot was taken.
    Counter Counter REFUSED_FULL = "throng_net_refused_full_total";
    /// Seats of the login server taken from clients without a ticket, for newcomers.
    Counter Counter SEATS_TAKEN_BACK = "throng_login_seats_taken_back_total";
    /// Packets of clients that were not handled because they came too fast.
    Counter Counter TOO_FAST = "throng_too_fast_total";
    /// Logins not tried because of too many wrong passwords from their address.
    Counter Counter FAILED_LOGINS_TOO_FAST = "throng_login_failed_too_fast_total";
    /// Sign-ups refused because of too many others from their address.
    Counter Counter SIGN_UPS_TOO_FAST = "throng_login_sign_ups_too_fast_total";
    /// Logins with the right password refused because of too many others of their account.
    Counter Counter LOGINS_TOO_FAST = "throng_login_too_fast_total";
    /// Channels not made because their account had made too many others.
    Counter Counter CHANNELS_TOO_FAST = "throng_chat_channels_too_fast_total";
    /// Connections refused because their address had as many as it may, or opened them too fast.
    Counter Counter REFUSED_ADDRESS = "throng_net_refused_address_total";
    /// Connections refused because the event loops were too far behind to adopt them.
    Counter Counter REFUSED_BUSY = "throng_net_refused_busy_total";
    /// Sessions open now, connections being made included.
    Gauge Gauge SESSIONS = "throng_net_sessions";
    /// Handshakes completed.
    Counter Counter HANDSHAKES = "throng_net_handshakes_total";
    /// Sessions that this side ended, by reason.
    ReasonCounters Reasons CLOSED = "throng_net_closed_total";
    /// Sessions that the peer ended, by the reason it gave or, without one, the reason observed
    /// here.
    ReasonCounters Reasons CLOSED_BY_PEER = "throng_net_closed_by_peer_total";
    /// Packets received.
    Counter Counter PACKETS_IN = "throng_net_packets_in_total";
    /// Packets sent; a broadcast counts once for each recipient.
    Counter Counter PACKETS_OUT = "throng_net_packets_out_total";
    /// Bytes received.
    Counter Counter BYTES_IN = "throng_net_bytes_in_total";
    /// Bytes sent.
    Counter Counter BYTES_OUT = "throng_net_bytes_out_total";
    /// System calls that wrote to a session's socket.
    Counter Counter WRITES = "throng_net_writes_total";
    /// Times a session was not read because the queue of its content thread was full.
    Counter Counter STALLS = "throng_net_stalls_total";
    /// Heartbeats sent to silent peers.
    Counter Counter HEARTBEATS = "throng_net_heartbeats_total";
    /// Sum of the round-trip times of heartbeats, in microseconds; divided by the next counter, the
    /// mean.
    Counter Counter HEARTBEAT_RTT_US = "throng_net_heartbeat_rtt_us_total";
    /// Heartbeats answered.
    Counter Counter HEARTBEAT_ANSWERS = "throng_net_heartbeat_answers_total";
    /// Times a content thread waited because a shard's mailbox was full.
    Counter Counter MAILBOX_WAITS = "throng_net_mailbox_waits_total";
    /// Times a shard's mailbox was full and commands began to wait beside it.
    Counter Counter MAILBOX_SPILLS = "throng_net_mailbox_spills_total";
    /// Packets that waited for the work that earlier ones of the same client had caused.
    Counter Counter WINDOW_WAITS = "throng_content_window_waits_total";
    /// Jobs run by content threads.
    Counter Counter JOBS = "throng_content_jobs_total";
    /// Notices dropped for members that were behind.
    Counter Counter NOTICES_SHED = "throng_net_notices_shed_total";
    /// ChatGap packets: members told that they had missed messages.
    Counter Counter GAPS = "throng_net_gaps_total";
    /// Messages that members missed, as announced by ChatGap.
    Counter Counter MISSED = "throng_net_missed_total";
    /// Messages and notices sealed once for a room, counted on each shard.
    Counter Counter FAN_OUTS = "throng_net_fan_outs_total";
    /// Sum of the times from sealing to the first byte sent, in microseconds; divided by the
    /// counter before, the mean.
    Counter Counter FAN_OUT_US = "throng_net_fan_out_us_total";
    /// Bytes of memory for messages and notices of rooms that some members have not received yet.
    Gauge Gauge LOG_POOL = "throng_net_log_pool_bytes";
    /// Room keys created.
    Counter Counter ROOM_KEYS = "throng_content_room_keys_total";
    /// Messages to the whole chat.
    Counter Counter BROADCASTS = "throng_chat_broadcasts_total";
    /// Messages to channels.
    Counter Counter CHANNEL_MESSAGES = "throng_chat_channel_messages_total";
    /// Messages to nearby users.
    Counter Counter NEARBY_MESSAGES = "throng_chat_nearby_messages_total";
    /// Messages to one other user.
    Counter Counter WHISPERS = "throng_chat_whispers_total";
    /// Messages delivered to no user: to a channel by a non-member, to an absent user, or nearby
    /// without a position.
    Counter Counter MESSAGES_REFUSED = "throng_chat_messages_refused_total";
    /// Channels that exist now.
    Gauge Gauge CHANNELS = "throng_chat_channels";
    /// Memberships in channels now.
    Gauge Gauge CHANNEL_MEMBERS = "throng_chat_channel_members";
    /// Sectors with users in them now.
    Gauge Gauge SECTORS = "throng_chat_sectors";
    /// Crowded sectors that have a room of their own now.
    Gauge Gauge SECTOR_ROOMS = "throng_chat_sector_rooms";
    /// Pages of user lists sent.
    Counter Counter USER_PAGES = "throng_chat_user_pages_total";
    /// Notices of users that entered or left, one for each room and interval.
    Counter Counter NOTICES = "throng_chat_notices_total";
    /// Changes that waited to be announced together with others.
    Counter Counter NOTICES_COALESCED = "throng_chat_notices_coalesced_total";
    /// Notices that could not name every user that entered or left.
    Counter Counter NOTICES_INCOMPLETE = "throng_chat_notices_incomplete_total";
    /// Users in the chat now.
    Gauge Gauge CHAT_USERS = "throng_chat_users";
    /// Tickets accepted.
    Counter Counter TICKETS_USED = "throng_chat_tickets_used_total";
    /// Logins granted.
    Counter Counter LOGINS_GRANTED = "throng_login_granted_total";
    /// Logins refused, by reason.
    OutcomeCounters Outcomes LOGINS_REFUSED = "throng_login_refused_total";
    /// Sign-ups refused, by reason.
    OutcomeCounters Outcomes SIGN_UPS_REFUSED = "throng_login_sign_ups_refused_total";
    /// Characters refused, by reason.
    OutcomeCounters Outcomes CHARACTERS_REFUSED = "throng_login_characters_refused_total";
    /// Requests that a login server answered "try again later": no server to ask, or no answer in
    /// time.
    Counter Counter TRY_AGAIN_LATER = "throng_login_try_again_later_total";
    /// Links to other servers that are up.
    Gauge Gauge LINKS_UP = "throng_links_up";
    /// Links to other servers established, by the other server's role.
    RoleCounters Roles LINKS_CONNECTED = "throng_links_connected_total";
    /// Links to other servers lost, by the other server's role.
    RoleCounters Roles LINKS_LOST = "throng_links_lost_total";
    /// Requests in the database queue now.
    Gauge Gauge DB_QUEUE = "throng_db_queue";
    /// Database requests served.
    Counter Counter DB_SERVED = "throng_db_served_total";
    /// Database requests refused, or evicted by those of quieter addresses, because the queue was
    /// full.
    Counter Counter DB_QUEUE_FULL = "throng_db_queue_full_total";
    /// Database requests that failed by a fault of the database.
    Counter Counter DB_FAILED = "throng_db_failed_total";
    /// Password hashes that were not begun because they would have ended too late: answered "try
    /// again later".
    Counter Counter DB_HASHES_LATE = "throng_db_hashes_late_total";
    /// Average time of a password hash with the database calls around it, in microseconds.
    Gauge Gauge DB_HASH_US = "throng_db_hash_us";
    /// Addresses of clients whose passwords wait for their hash now.
    Gauge Gauge DB_HASH_ADDRESSES = "throng_db_hash_addresses";
    /// Database requests answered "try again later" because no database was available in time.
    Counter Counter DB_EXPIRED = "throng_db_expired_total";
    /// Database requests answered "try again later" while a DB thread was still executing them.
    Counter Counter DB_LATE = "throng_db_late_total";
    /// Database requests retried: over a new connection, or after a conflict with another
    /// transaction.
    Counter Counter DB_RETRIED = "throng_db_retried_total";
    /// Connections made to the database.
    Counter Counter DB_CONNECTIONS = "throng_db_connections_total";
    /// DB threads that are connected now.
    Gauge Gauge DB_CONNECTED = "throng_db_connected";
    /// DB threads that hang in their driver now: their calls last longer than the limits of the
    /// configuration.
    Gauge Gauge DB_HUNG = "throng_db_hung";
    /// DB threads that took the place of one that hung.
    Counter Counter DB_REPLACED = "throng_db_replaced_total";
    /// Size of the embedded database's write-ahead log, in bytes.
    Gauge Gauge DB_WAL = "throng_db_wal_bytes";
    /// Accounts marked as online in the database.
    Counter Counter CLAIMS = "throng_db_claims_total";
    /// Log lines dropped because the log's queue was full.
    Counter Counter LOG_DROPPED = "throng_log_dropped_total";
    /// Panics.
    Counter Counter PANICS = "throng_panics_total";
}

/// Renders all metrics in the Prometheus text format, version 0.0.4.
pub fn render() -> String {
    let mut out = String::new();
    for (name, docs, metric) in TABLE {
        let kind = if matches!(metric, Metric::Gauge(_)) { "gauge" } else { "counter" };
        let docs = docs.concat();
        // Writing to a String cannot fail.
        let _ = writeln!(out, "# HELP {name} {}\n# TYPE {name} {kind}", docs.trim());
        match metric {
            Metric::Counter(counter) => {
                let _ = writeln!(out, "{name} {}", counter.get());
            }
            Metric::Gauge(gauge) => {
                let _ = writeln!(out, "{name} {}", gauge.get());
            }
            Metric::Reasons(counters) => counters.render(name, &mut out),
            Metric::Outcomes(counters) => counters.render(name, &mut out),
            Metric::Roles(counters) => counters.render(name, &mut out),
        }
    }
    let watched = WATCHED.lock();
    for (queue, name, doc) in Queue::ALL {
        let _ = writeln!(out, "# HELP {name} {doc}\n# TYPE {name} gauge");
        for Watched { thread, depth, .. } in watched.iter().filter(|watched| watched.queue == queue) {
            let Some(depth) = depth.upgrade() else { continue };
            let _ = writeln!(out, "{name}{{thread=\"{thread}\"}} {}", depth.depth());
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queue::JobQueue;
    use std::collections::HashSet;
    use std::sync::Arc;

    #[test]
    fn names_are_unique_and_well_formed() {
        let mut seen = HashSet::new();
        for (name, docs, metric) in TABLE {
            assert!(seen.insert(name), "{name} is listed twice");
            assert!(name.starts_with("throng_") && name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'));
            assert_eq!(name.ends_with("_total"), !matches!(metric, Metric::Gauge(_)), "{name}");
            assert!(!docs.concat().trim().is_empty());
        }
    }

    #[test]
    fn a_queue_is_listed_as_long_as_it_exists() {
        let queue = Arc::new(JobQueue::new(8, || {}));
        queue.try_push(()).unwrap();
        let shown: Arc<dyn Depth> = queue.clone();
        watch(Queue::Content, "metrics-test-0".into(), Arc::downgrade(&shown));
        drop(shown);
        let line = |text: &str| text.lines().find(|line| line.contains("metrics-test-0")).map(str::to_owned);
        let found = line(&render());
        assert_eq!(found.as_deref(), Some("throng_content_queue{thread=\"metrics-test-0\"} 1"));
        drop(queue);
        assert_eq!(line(&render()), None);
    }

    #[test]
    fn rendering_shows_the_counts() {
        CLOSED.of(CloseReason::TooSlow).add(3);
        let text = render();
        assert!(text.contains("# TYPE throng_net_closed_total counter\n"));
        let line = text.lines().find(|line| line.contains("TooSlow")).unwrap();
        assert!(line.ends_with(|c: char| c.is_ascii_digit()) && !line.ends_with(" 0"), "{line}");
    }
}
