//! Metrics: counters and gauges as statics in one table, which the admin port and tests read.
//!
//! The threads of several roles may share a process. What each of them counts is kept apart by the
//! role of the thread that counts ([`in_role`]), and rendered with the label `role`.

use std::cell::Cell;
use std::fmt::Write;
use std::marker::PhantomData;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError, Weak};

use crate::wire::CloseReason;
use crate::wire::packets::{Outcome, Role};

/// Places of [`ByRole`]: one for each role, after that of threads without a role.
const PLACES: usize = Role::ALL.len() + 1;

thread_local! {
    /// Place of this thread's role.
    static PLACE: Cell<usize> = const { Cell::new(0) };
}

/// The places of roles that threads of this process have or had, as bits.
static ENTERED: AtomicU64 = AtomicU64::new(0);

/// Runs `run` with this thread counting for `role`.
pub fn in_role<T>(role: Role, run: impl FnOnce() -> T) -> T {
    let place = 1 + Role::ALL.iter().position(|known| *known == role).unwrap_or_default();
    ENTERED.fetch_or(1 << place, Relaxed);
    in_place(place, run)
}

/// Returns `run` for another thread, which will count for the role of this one.
pub fn in_same_role<T>(run: impl FnOnce() -> T) -> impl FnOnce() -> T {
    let place = PLACE.get();
    move || in_place(place, run)
}

fn in_place<T>(place: usize, run: impl FnOnce() -> T) -> T {
    let before = PLACE.replace(place);
    let value = run();
    PLACE.set(before);
    value
}

/// A number, or several with labels, in the table.
pub trait Metric: Sync {
    /// True if the number goes up and down.
    fn is_gauge(&self) -> bool {
        false
    }
    /// True if nothing was counted.
    fn is_zero(&self) -> bool;
    /// Appends the lines of the metric `name`. `labels` are `name="value"`, with commas between
    /// them.
    fn render(&self, name: &str, labels: &str, out: &mut String);
}

fn render_line(name: &str, labels: &str, value: impl std::fmt::Display, out: &mut String) {
    // Writing to a String cannot fail.
    let _ = match labels {
        "" => writeln!(out, "{name} {value}"),
        labels => writeln!(out, "{name}{{{labels}}} {value}"),
    };
}

/// Appends a label to others.
fn with_label(labels: &str, name: &str, value: &str) -> String {
    let comma = if labels.is_empty() { "" } else { "," };
    format!("{labels}{comma}{name}=\"{value}\"")
}

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

impl Metric for Counter {
    fn is_zero(&self) -> bool {
        self.get() == 0
    }

    fn render(&self, name: &str, labels: &str, out: &mut String) {
        render_line(name, labels, self.get(), out);
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

    /// Sets the gauge to a number of things.
    pub fn set_count(&self, count: usize) {
        self.set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// Returns the gauge's value.
    pub fn get(&self) -> i64 {
        self.0.load(Relaxed)
    }
}

impl Metric for Gauge {
    fn is_gauge(&self) -> bool {
        true
    }

    fn is_zero(&self) -> bool {
        self.get() == 0
    }

    fn render(&self, name: &str, labels: &str, out: &mut String) {
        render_line(name, labels, self.get(), out);
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
// A role as a label of its own is that of the server at the other end of a link. The role of the
// thread that counts is the label `role` of `ByRole`.
labels!(CloseReason = "reason", Outcome = "reason", Role = "peer");

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
}

impl<L: Label> Metric for Counters<L> {
    fn is_zero(&self) -> bool {
        self.0.iter().all(Metric::is_zero)
    }

    fn render(&self, name: &str, labels: &str, out: &mut String) {
        for value in L::ALL {
            self.of(*value).render(name, &with_label(labels, L::NAME, value.text()), out);
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
/// A counter for each role of the server at the other end.
pub type PeerCounters = Counters<Role>;

/// A metric for each role whose threads share the process. It counts for the role of the thread
/// that counts ([`in_role`]).
#[derive(Debug)]
pub struct ByRole<M>([M; PLACES]);

impl<M> ByRole<M> {
    /// Returns the metric of this thread's role.
    fn own(&self) -> &M {
        &self.0[PLACE.get()]
    }
}

impl<M: Metric> Metric for ByRole<M> {
    fn is_gauge(&self) -> bool {
        self.0[0].is_gauge()
    }

    fn is_zero(&self) -> bool {
        self.0.iter().all(Metric::is_zero)
    }

    fn render(&self, name: &str, labels: &str, out: &mut String) {
        let entered = ENTERED.load(Relaxed);
        let [without, with @ ..] = &self.0;
        // Tools that are no servers have no roles.
        if entered == 0 || !without.is_zero() {
            without.render(name, labels, out);
        }
        for (place, (role, metric)) in (1..).zip(Role::ALL.iter().zip(with)) {
            if entered & (1 << place) != 0 {
                metric.render(name, &with_label(labels, "role", role.name()), out);
            }
        }
    }
}

macro_rules! by_role {
    ($($alias:ident $ty:ty: $doc:literal),*) => {$(
        #[doc = $doc]
        pub type $alias = ByRole<$ty>;

        impl ByRole<$ty> {
            /// Returns metrics at zero.
            pub const fn new() -> Self {
                Self([const { <$ty>::new() }; PLACES])
            }
        }

        impl Default for ByRole<$ty> {
            fn default() -> Self {
                Self::new()
            }
        }
    )*};
}
by_role!(
    RoleCounter Counter: "A counter for each role.",
    RoleGauge Gauge: "A gauge for each role.",
    RoleReasonCounters ReasonCounters: "Counters of reasons for each role.",
    RolePeerCounters PeerCounters: "Counters of peers for each role."
);

impl ByRole<Counter> {
    /// Adds one for this thread's role.
    pub fn inc(&self) {
        self.own().inc();
    }

    /// Adds `count` for this thread's role.
    pub fn add(&self, count: u64) {
        self.own().add(count);
    }

    /// Returns the count of all roles since the process started.
    pub fn get(&self) -> u64 {
        self.0.iter().map(Counter::get).sum()
    }
}

impl ByRole<Gauge> {
    /// Adds `change` to the gauge of this thread's role.
    pub fn add(&self, change: i64) {
        self.own().add(change);
    }

    /// Returns the sum over all roles.
    pub fn get(&self) -> i64 {
        self.0.iter().map(Gauge::get).sum()
    }
}

impl<L: Label> ByRole<Counters<L>> {
    /// Returns the counter of one value for this thread's role.
    pub fn of(&self, value: L) -> &Counter {
        self.own().of(value)
    }

    /// Returns the count of one value for all roles.
    pub fn get(&self, value: L) -> u64 {
        self.0.iter().map(|counters| counters.of(value).get()).sum()
    }
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

/// The standard library's lock: parking_lot is none of the crates that a client needs.
static WATCHED: Mutex<Vec<Watched>> = Mutex::new(Vec::new());

fn watched() -> MutexGuard<'static, Vec<Watched>> {
    WATCHED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Lists a queue among the metrics, under the name of its thread, for as long as the queue exists.
pub fn watch(queue: Queue, thread: String, depth: Weak<dyn Depth>) {
    let mut watched = watched();
    watched.retain(|known| known.depth.strong_count() > 0);
    watched.push(Watched { queue, thread, depth });
}

macro_rules! metrics {
    ($( $(#[doc = $doc:literal])+ $kind:ident $name:ident = $text:literal; )*) => {
        $( $(#[doc = $doc])+ pub static $name: $kind = $kind::new(); )*

        /// Every metric: its name, its description and its static.
        pub static TABLE: &[(&str, &[&str], &dyn Metric)] =
            &[ $( ($text, &[$($doc),+], &$name), )* ];
    };
}

metrics! {
    /// Connections accepted.
    RoleCounter ACCEPTED = "throng_net_accepted_total";
    /// Connections that could not be accepted, for example for lack of file descriptors.
    RoleCounter ACCEPT_ERRORS = "throng_net_accept_errors_total";
    /// Connections refused because every session slot was taken.
    RoleCounter REFUSED_FULL = "throng_net_refused_full_total";
    /// Seats of the login server taken from clients without a ticket, for newcomers.
    Counter SEATS_TAKEN_BACK = "throng_login_seats_taken_back_total";
    /// Packets of clients that were not handled because they came too fast.
    RoleCounter TOO_FAST = "throng_too_fast_total";
    /// Logins not tried because of too many wrong passwords from their address.
    Counter FAILED_LOGINS_TOO_FAST = "throng_login_failed_too_fast_total";
    /// Sign-ups refused because of too many others from their address.
    Counter SIGN_UPS_TOO_FAST = "throng_login_sign_ups_too_fast_total";
    /// Logins with the right password refused because of too many others of their account.
    Counter LOGINS_TOO_FAST = "throng_login_too_fast_total";
    /// Channels not made because their account had made too many others.
    Counter CHANNELS_TOO_FAST = "throng_chat_channels_too_fast_total";
    /// Connections refused because their address had as many as it may, or opened them too fast.
    RoleCounter REFUSED_ADDRESS = "throng_net_refused_address_total";
    /// Connections refused because the event loops were too far behind to adopt them.
    RoleCounter REFUSED_BUSY = "throng_net_refused_busy_total";
    /// Sessions open now, connections being made included.
    RoleGauge SESSIONS = "throng_net_sessions";
    /// Handshakes completed.
    RoleCounter HANDSHAKES = "throng_net_handshakes_total";
    /// Sessions that this side ended, by reason.
    RoleReasonCounters CLOSED = "throng_net_closed_total";
    /// Sessions that the peer ended, by the reason it gave or, without one, the reason observed
    /// here.
    RoleReasonCounters CLOSED_BY_PEER = "throng_net_closed_by_peer_total";
    /// Packets received.
    RoleCounter PACKETS_IN = "throng_net_packets_in_total";
    /// Packets sent; a broadcast counts once for each recipient.
    RoleCounter PACKETS_OUT = "throng_net_packets_out_total";
    /// Bytes received.
    RoleCounter BYTES_IN = "throng_net_bytes_in_total";
    /// Bytes sent.
    RoleCounter BYTES_OUT = "throng_net_bytes_out_total";
    /// System calls that wrote to a session's socket.
    RoleCounter WRITES = "throng_net_writes_total";
    /// Times a session was not read because the queue of its content thread was full.
    RoleCounter STALLS = "throng_net_stalls_total";
    /// Heartbeats sent to silent peers.
    RoleCounter HEARTBEATS = "throng_net_heartbeats_total";
    /// Sum of the round-trip times of heartbeats, in microseconds; divided by the next counter, the
    /// mean.
    RoleCounter HEARTBEAT_RTT_US = "throng_net_heartbeat_rtt_us_total";
    /// Heartbeats answered.
    RoleCounter HEARTBEAT_ANSWERS = "throng_net_heartbeat_answers_total";
    /// Times a content thread waited because a shard's mailbox was full.
    RoleCounter MAILBOX_WAITS = "throng_net_mailbox_waits_total";
    /// Times a shard's mailbox was full and commands began to wait beside it.
    RoleCounter MAILBOX_SPILLS = "throng_net_mailbox_spills_total";
    /// Packets that waited for the work that earlier ones of the same client had caused.
    RoleCounter WINDOW_WAITS = "throng_content_window_waits_total";
    /// Jobs run by content threads.
    RoleCounter JOBS = "throng_content_jobs_total";
    /// Notices dropped for members that were behind.
    RoleCounter NOTICES_SHED = "throng_net_notices_shed_total";
    /// ChatGap packets: members told that they had missed messages.
    RoleCounter GAPS = "throng_net_gaps_total";
    /// Messages that members missed, as announced by ChatGap.
    RoleCounter MISSED = "throng_net_missed_total";
    /// Messages and notices sealed once for a room, counted on each shard.
    RoleCounter FAN_OUTS = "throng_net_fan_outs_total";
    /// Sum of the times from sealing to the first byte sent, in microseconds; divided by the
    /// counter before, the mean.
    RoleCounter FAN_OUT_US = "throng_net_fan_out_us_total";
    /// Bytes of memory for messages and notices of rooms that some members have not received yet.
    RoleGauge LOG_POOL = "throng_net_log_pool_bytes";
    /// Room keys created.
    RoleCounter ROOM_KEYS = "throng_content_room_keys_total";
    /// Messages to the whole chat.
    Counter BROADCASTS = "throng_chat_broadcasts_total";
    /// Messages to channels.
    Counter CHANNEL_MESSAGES = "throng_chat_channel_messages_total";
    /// Messages to nearby users.
    Counter NEARBY_MESSAGES = "throng_chat_nearby_messages_total";
    /// Messages to one other user.
    Counter WHISPERS = "throng_chat_whispers_total";
    /// Messages delivered to no user: to a channel by a non-member, to an absent user, or nearby
    /// without a position.
    Counter MESSAGES_REFUSED = "throng_chat_messages_refused_total";
    /// Users that have no connection now and may resume.
    Gauge USERS_AWAY = "throng_chat_users_away";
    /// Users that have resumed over a new connection.
    Counter RESUMES = "throng_chat_resumes_total";
    /// Requests to resume that were refused: the place was given up, or the token was not good.
    Counter RESUMES_REFUSED = "throng_chat_resumes_refused_total";
    /// Rooms, or whispers, of which a resumed user missed messages that were not kept.
    Counter RESUME_GAPS = "throng_chat_resume_gaps_total";
    /// Batches that this node has published to the fleet, those published again included.
    Counter FLEET_PUBLISHED = "throng_fleet_published_total";
    /// Batches that this node has read and that count.
    Counter FLEET_READ = "throng_fleet_read_total";
    /// Batches that this node has read and that do not count: repeated, or of a dead node.
    Counter FLEET_VOID = "throng_fleet_void_total";
    /// Messages in the fleet's stream that no holder of the cluster key has sealed in this epoch.
    Counter FLEET_UNREADABLE = "throng_fleet_unreadable_total";
    /// Snapshots that this node has kept.
    Counter FLEET_SNAPSHOTS = "throng_fleet_snapshots_total";
    /// Requests refused because this node was cut off from the fleet.
    Counter FLEET_REFUSED = "throng_fleet_refused_total";
    /// Nodes that take part in the fleet.
    Gauge FLEET_NODES = "throng_fleet_nodes";
    /// 1 while this node takes part and its batches come back in time.
    Gauge FLEET_CURRENT = "throng_fleet_current";
    /// Sessions that this node has yet to give to others before it ends.
    Gauge FLEET_DRAINING = "throng_fleet_draining";
    /// Facts that this node has proposed and that have not come back.
    Gauge FLEET_PENDING = "throng_fleet_pending";
    /// Bytes of messages that are kept.
    Gauge HISTORY_BYTES = "throng_chat_history_bytes";
    /// Channels that exist now.
    Gauge CHANNELS = "throng_chat_channels";
    /// Memberships in channels now.
    Gauge CHANNEL_MEMBERS = "throng_chat_channel_members";
    /// Sectors with users in them now.
    Gauge SECTORS = "throng_chat_sectors";
    /// Crowded sectors that have a room of their own now.
    Gauge SECTOR_ROOMS = "throng_chat_sector_rooms";
    /// Pages of user lists sent.
    Counter USER_PAGES = "throng_chat_user_pages_total";
    /// Notices of users that entered or left, one for each room and interval.
    Counter NOTICES = "throng_chat_notices_total";
    /// Changes that waited to be announced together with others.
    Counter NOTICES_COALESCED = "throng_chat_notices_coalesced_total";
    /// Notices that could not name every user that entered or left.
    Counter NOTICES_INCOMPLETE = "throng_chat_notices_incomplete_total";
    /// Users in the chat now.
    Gauge CHAT_USERS = "throng_chat_users";
    /// Tickets accepted.
    Counter TICKETS_USED = "throng_chat_tickets_used_total";
    /// Logins granted.
    Counter LOGINS_GRANTED = "throng_login_granted_total";
    /// Logins refused, by reason.
    OutcomeCounters LOGINS_REFUSED = "throng_login_refused_total";
    /// Sign-ups refused, by reason.
    OutcomeCounters SIGN_UPS_REFUSED = "throng_login_sign_ups_refused_total";
    /// Characters refused, by reason.
    OutcomeCounters CHARACTERS_REFUSED = "throng_login_characters_refused_total";
    /// Requests for a password's hash that wait at the login server now.
    Gauge LOGIN_QUEUE = "throng_login_queue";
    /// Requests for a password's hash that had to wait at the login server.
    Counter LOGINS_QUEUED = "throng_login_queued_total";
    /// Requests refused, or evicted by those of quieter addresses, because the login server's queue
    /// was full.
    Counter LOGIN_QUEUE_FULL = "throng_login_queue_full_total";
    /// Requests for a password's hash that the login server lets its DB agents have at a time now.
    Gauge LOGIN_WINDOW = "throng_login_window";
    /// Requests that a login server answered "try again later": no server to ask, no answer in
    /// time, or a full queue.
    Counter TRY_AGAIN_LATER = "throng_login_try_again_later_total";
    /// Links to other servers that are up.
    RoleGauge LINKS_UP = "throng_links_up";
    /// Links to other servers established, by the other server's role.
    RolePeerCounters LINKS_CONNECTED = "throng_links_connected_total";
    /// Links to other servers lost, by the other server's role.
    RolePeerCounters LINKS_LOST = "throng_links_lost_total";
    /// Requests in the database queue now.
    Gauge DB_QUEUE = "throng_db_queue";
    /// Database requests served.
    Counter DB_SERVED = "throng_db_served_total";
    /// Database requests refused, or evicted by those of quieter addresses, because the queue was
    /// full.
    Counter DB_QUEUE_FULL = "throng_db_queue_full_total";
    /// Database requests that failed by a fault of the database.
    Counter DB_FAILED = "throng_db_failed_total";
    /// Password hashes that were not begun because they would have ended too late: answered "try
    /// again later".
    Counter DB_HASHES_LATE = "throng_db_hashes_late_total";
    /// Average time of a password hash with the database calls around it, in microseconds.
    Gauge DB_HASH_US = "throng_db_hash_us";
    /// Addresses of clients whose passwords wait for their hash now.
    Gauge DB_HASH_ADDRESSES = "throng_db_hash_addresses";
    /// Database requests answered "try again later" because no database was available in time.
    Counter DB_EXPIRED = "throng_db_expired_total";
    /// Database requests answered "try again later" while a DB thread was still executing them.
    Counter DB_LATE = "throng_db_late_total";
    /// Database requests retried: over a new connection, or after a conflict with another
    /// transaction.
    Counter DB_RETRIED = "throng_db_retried_total";
    /// Connections made to the database.
    Counter DB_CONNECTIONS = "throng_db_connections_total";
    /// DB threads that are connected now.
    Gauge DB_CONNECTED = "throng_db_connected";
    /// DB threads that hang in their driver now: their calls last longer than the limits of the
    /// configuration.
    Gauge DB_HUNG = "throng_db_hung";
    /// DB threads that took the place of one that hung.
    Counter DB_REPLACED = "throng_db_replaced_total";
    /// Size of the embedded database's write-ahead log, in bytes.
    Gauge DB_WAL = "throng_db_wal_bytes";
    /// Accounts marked as online in the database.
    Counter CLAIMS = "throng_db_claims_total";
    /// Log lines dropped because the log's queue was full.
    Counter LOG_DROPPED = "throng_log_dropped_total";
    /// Panics.
    Counter PANICS = "throng_panics_total";
}

/// Renders all metrics in the Prometheus text format, version 0.0.4.
pub fn render() -> String {
    let mut out = String::new();
    for (name, docs, metric) in TABLE {
        let kind = if metric.is_gauge() { "gauge" } else { "counter" };
        let docs = docs.concat();
        // Writing to a String cannot fail.
        let _ = writeln!(out, "# HELP {name} {}\n# TYPE {name} {kind}", docs.trim());
        metric.render(name, "", &mut out);
    }
    let watched = watched();
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
            assert_eq!(name.ends_with("_total"), !metric.is_gauge(), "{name}");
            assert!(!docs.concat().trim().is_empty());
        }
    }

    #[test]
    fn roles_of_one_process_are_counted_apart() {
        static UP: RoleGauge = RoleGauge::new();
        static ENDS: RoleReasonCounters = RoleReasonCounters::new();
        let rendered = |metric: &dyn Metric| {
            let mut out = String::new();
            metric.render("m", "", &mut out);
            out
        };
        in_role(Role::Chat, || {
            UP.add(2);
            // A thread that a role starts counts for it too.
            std::thread::scope(|scope| scope.spawn(in_same_role(|| UP.add(1))).join().unwrap());
            in_role(Role::Login, || UP.add(-4));
            ENDS.of(CloseReason::TooSlow).inc();
        });
        assert_eq!((UP.get(), UP.is_zero(), UP.is_gauge()), (-1, false, true));
        let lines = rendered(&UP);
        let lines: Vec<&str> = lines.lines().collect();
        assert!(
            lines.contains(&"m{role=\"Chat\"} 3") && lines.contains(&"m{role=\"Login\"} -4"),
            "{lines:?}"
        );
        assert!(!lines.iter().any(|line| line.starts_with("m ")), "nothing was counted without a role");
        assert!(rendered(&ENDS).contains("m{role=\"Chat\",reason=\"TooSlow\"} 1\n"));
        UP.add(7);
        assert!(rendered(&UP).starts_with("m 7\n"));
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
