//! Counters and gauges: statics in one table, read by the admin port and by tests.

use std::fmt::Write;
use std::sync::Weak;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};

use parking_lot::Mutex;

use crate::wire::CloseReason;

/// Something that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// A counter at zero.
    pub const fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// One more.
    pub fn inc(&self) {
        self.add(1);
    }

    /// `count` more.
    pub fn add(&self, count: u64) {
        self.0.fetch_add(count, Relaxed);
    }

    /// The count since the process started.
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// Something that goes up and down.
#[derive(Debug, Default)]
pub struct Gauge(AtomicI64);

impl Gauge {
    /// A gauge at zero.
    pub const fn new() -> Self {
        Self(AtomicI64::new(0))
    }

    /// Moves the gauge by `change`.
    pub fn add(&self, change: i64) {
        self.0.fetch_add(change, Relaxed);
    }

    /// Puts the gauge to `value`.
    pub fn set(&self, value: i64) {
        self.0.store(value, Relaxed);
    }

    /// Where the gauge stands.
    pub fn get(&self) -> i64 {
        self.0.load(Relaxed)
    }
}

/// A counter for each reason a session can end for.
#[derive(Debug)]
pub struct ReasonCounters([Counter; 256]);

impl ReasonCounters {
    /// Counters at zero.
    pub const fn new() -> Self {
        Self([const { Counter::new() }; 256])
    }

    /// The counter of one reason.
    pub fn of(&self, reason: CloseReason) -> &Counter {
        &self.0[reason as usize]
    }
}

impl Default for ReasonCounters {
    fn default() -> Self {
        Self::new()
    }
}

/// A metric as the table holds it.
#[derive(Debug, Clone, Copy)]
pub enum Metric {
    /// Only grows.
    Counter(&'static Counter),
    /// Goes up and down.
    Gauge(&'static Gauge),
    /// A counter a reason.
    Reasons(&'static ReasonCounters),
}

/// Something whose length is asked for only when somebody wants to know it, so that it costs nothing until then.
pub trait Depth: Send + Sync {
    /// Items in it at this moment.
    fn depth(&self) -> usize;
}

/// Queues that are shown with the thread that they belong to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Queue {
    /// Jobs that wait for a content thread.
    Content,
    /// Commands that wait for an event loop.
    Mailbox,
}

impl Queue {
    const ALL: [(Self, &str, &str); 2] = [
        (Self::Content, "throng_content_queue", "Jobs that wait for a content thread now."),
        (Self::Mailbox, "throng_net_mailbox", "Commands that wait for an event loop now."),
    ];
}

struct Watched {
    queue: Queue,
    thread: String,
    depth: Weak<dyn Depth>,
}

static WATCHED: Mutex<Vec<Watched>> = Mutex::new(Vec::new());

/// Shows a queue among the metrics, with the name of its thread, for as long as it exists.
pub fn watch(queue: Queue, thread: String, depth: Weak<dyn Depth>) {
    let mut watched = WATCHED.lock();
    watched.retain(|known| known.depth.strong_count() > 0);
    watched.push(Watched { queue, thread, depth });
}

macro_rules! metrics {
    ($( $(#[doc = $doc:literal])+ $kind:ident $variant:ident $name:ident = $text:literal; )*) => {
        $( $(#[doc = $doc])+ pub static $name: $kind = $kind::new(); )*

        /// Every metric: its name, what it counts, and where it lives.
        pub static TABLE: &[(&str, &[&str], Metric)] =
            &[ $( ($text, &[$($doc),+], Metric::$variant(&$name)), )* ];
    };
}

metrics! {
    /// Connections accepted.
    Counter Counter ACCEPTED = "throng_net_accepted_total";
    /// Connections that could not be accepted, for want of file descriptors for example.
    Counter Counter ACCEPT_ERRORS = "throng_net_accept_errors_total";
    /// Connections refused because every session slot was taken.
    Counter Counter REFUSED_FULL = "throng_net_refused_full_total";
    /// Sessions open now, connections under way included.
    Gauge Gauge SESSIONS = "throng_net_sessions";
    /// Handshakes finished.
    Counter Counter HANDSHAKES = "throng_net_handshakes_total";
    /// Sessions that this process ended, by reason.
    ReasonCounters Reasons CLOSED = "throng_net_closed_total";
    /// Sessions that the peer ended, by the reason it gave or, from its silence, earned.
    ReasonCounters Reasons CLOSED_BY_PEER = "throng_net_closed_by_peer_total";
    /// Packets received.
    Counter Counter PACKETS_IN = "throng_net_packets_in_total";
    /// Packets sent, each recipient of a broadcast counted.
    Counter Counter PACKETS_OUT = "throng_net_packets_out_total";
    /// Bytes received.
    Counter Counter BYTES_IN = "throng_net_bytes_in_total";
    /// Bytes sent.
    Counter Counter BYTES_OUT = "throng_net_bytes_out_total";
    /// System calls that wrote to a session's socket.
    Counter Counter WRITES = "throng_net_writes_total";
    /// Times a session was not read because its lane was full.
    Counter Counter STALLS = "throng_net_stalls_total";
    /// Heartbeats sent to silent peers.
    Counter Counter HEARTBEATS = "throng_net_heartbeats_total";
    /// Microseconds that answers to heartbeats took, added up; with the next counter, a mean.
    Counter Counter HEARTBEAT_RTT_US = "throng_net_heartbeat_rtt_us_total";
    /// Heartbeats answered.
    Counter Counter HEARTBEAT_ANSWERS = "throng_net_heartbeat_answers_total";
    /// Times a content thread had to wait because a shard's mailbox was full.
    Counter Counter MAILBOX_WAITS = "throng_net_mailbox_waits_total";
    /// Jobs that content threads ran.
    Counter Counter JOBS = "throng_content_jobs_total";
    /// Notices that members did not get because they were behind.
    Counter Counter NOTICES_SHED = "throng_net_notices_shed_total";
    /// Times a member was told that it had missed messages.
    Counter Counter GAPS = "throng_net_gaps_total";
    /// Messages that members missed, as they were told.
    Counter Counter MISSED = "throng_net_missed_total";
    /// Messages and notices that were sealed once for a room, on each shard.
    Counter Counter FAN_OUTS = "throng_net_fan_outs_total";
    /// Microseconds from their sealing to the first byte sent, added up; with the counter before, a mean.
    Counter Counter FAN_OUT_US = "throng_net_fan_out_us_total";
    /// Bytes of memory that hold what was said in rooms and not yet written to all members.
    Gauge Gauge LOG_POOL = "throng_net_log_pool_bytes";
    /// Room keys made.
    Counter Counter ROOM_KEYS = "throng_content_room_keys_total";
    /// Messages to everybody in the chat.
    Counter Counter BROADCASTS = "throng_chat_broadcasts_total";
    /// Messages to channels.
    Counter Counter CHANNEL_MESSAGES = "throng_chat_channel_messages_total";
    /// Messages to whoever is nearby.
    Counter Counter NEARBY_MESSAGES = "throng_chat_nearby_messages_total";
    /// Messages to one other user.
    Counter Counter WHISPERS = "throng_chat_whispers_total";
    /// Messages that were delivered to nobody: to a channel by no member of it, to a user who is not there, nearby from nowhere.
    Counter Counter MESSAGES_REFUSED = "throng_chat_messages_refused_total";
    /// Channels now.
    Gauge Gauge CHANNELS = "throng_chat_channels";
    /// Memberships of channels now.
    Gauge Gauge CHANNEL_MEMBERS = "throng_chat_channel_members";
    /// Sectors with somebody in them now.
    Gauge Gauge SECTORS = "throng_chat_sectors";
    /// Pages of user lists sent.
    Counter Counter USER_PAGES = "throng_chat_user_pages_total";
    /// Notices of who entered or left, one for each room and time.
    Counter Counter NOTICES = "throng_chat_notices_total";
    /// Enterings and leavings that waited to be told together with others.
    Counter Counter NOTICES_COALESCED = "throng_chat_notices_coalesced_total";
    /// Notices that could not name everybody who had entered or left.
    Counter Counter NOTICES_INCOMPLETE = "throng_chat_notices_incomplete_total";
    /// Users in the chat now.
    Gauge Gauge CHAT_USERS = "throng_chat_users";
    /// Tickets admitted.
    Counter Counter TICKETS_USED = "throng_chat_tickets_used_total";
    /// Logins granted.
    Counter Counter LOGINS_GRANTED = "throng_login_granted_total";
    /// Logins refused, for whatever reason.
    Counter Counter LOGINS_REFUSED = "throng_login_refused_total";
    /// Requests that a login server could not place or that got no answer in time.
    Counter Counter TRY_AGAIN_LATER = "throng_login_try_again_later_total";
    /// Links to other servers that are up.
    Gauge Gauge LINKS_UP = "throng_links_up";
    /// Links to other servers that came up.
    Counter Counter LINKS_CONNECTED = "throng_links_connected_total";
    /// Links to other servers that went down.
    Counter Counter LINKS_LOST = "throng_links_lost_total";
    /// Requests in the database queue now.
    Gauge Gauge DB_QUEUE = "throng_db_queue";
    /// Database requests served.
    Counter Counter DB_SERVED = "throng_db_served_total";
    /// Database requests turned away because the queue was full.
    Counter Counter DB_QUEUE_FULL = "throng_db_queue_full_total";
    /// Database requests that failed for a fault of the database.
    Counter Counter DB_FAILED = "throng_db_failed_total";
    /// Database requests answered "try again later" because no database was there in time.
    Counter Counter DB_EXPIRED = "throng_db_expired_total";
    /// Database requests answered "try again later" while a DB thread was still at them.
    Counter Counter DB_LATE = "throng_db_late_total";
    /// Database requests that were begun again: over a new connection, or after another transaction was in the way.
    Counter Counter DB_RETRIED = "throng_db_retried_total";
    /// Connections made to the database.
    Counter Counter DB_CONNECTIONS = "throng_db_connections_total";
    /// DB threads that have a connection now.
    Gauge Gauge DB_CONNECTED = "throng_db_connected";
    /// Accounts that the database was told are online.
    Counter Counter CLAIMS = "throng_db_claims_total";
    /// Log lines dropped because the log's queue was full.
    Counter Counter LOG_DROPPED = "throng_log_dropped_total";
    /// Panics.
    Counter Counter PANICS = "throng_panics_total";
}

/// All metrics in the Prometheus text format, version 0.0.4.
pub fn render() -> String {
    let mut out = String::new();
    for (name, docs, metric) in TABLE {
        let kind = if matches!(metric, Metric::Gauge(_)) { "gauge" } else { "counter" };
        let docs = docs.concat();
        // Writing to a String cannot fail.
        let _ = writeln!(out, "# HELP {name} {}\n# TYPE {name} {kind}", docs.trim());
        let _ = match metric {
            Metric::Counter(counter) => writeln!(out, "{name} {}", counter.get()),
            Metric::Gauge(gauge) => writeln!(out, "{name} {}", gauge.get()),
            Metric::Reasons(counters) => CloseReason::ALL.iter().try_for_each(|reason| {
                writeln!(out, "{name}{{reason=\"{}\"}} {}", reason.name(), counters.of(*reason).get())
            }),
        };
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
            assert!(seen.insert(name), "{name} stands twice");
            assert!(name.starts_with("throng_") && name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'));
            assert_eq!(name.ends_with("_total"), !matches!(metric, Metric::Gauge(_)), "{name}");
            assert!(!docs.concat().trim().is_empty());
        }
    }

    #[test]
    fn a_queue_is_shown_as_long_as_it_exists() {
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
    fn rendering_shows_what_was_counted() {
        CLOSED.of(CloseReason::TooSlow).add(3);
        let text = render();
        assert!(text.contains("# TYPE throng_net_closed_total counter\n"));
        let line = text.lines().find(|line| line.contains("TooSlow")).unwrap();
        assert!(line.ends_with(|c: char| c.is_ascii_digit()) && !line.ends_with(" 0"), "{line}");
    }
}
