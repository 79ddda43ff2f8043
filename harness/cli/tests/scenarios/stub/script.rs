//! The planned faults of the stub.

use std::time::Duration;

use throng_core::wire::packets::ServerTimes;

/// A fault of one message for one client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Not delivered.
    Drop,
    /// Delivered twice.
    Duplicate,
    /// Delivered after the next message without a fault for the same client.
    Late,
    /// One letter is changed.
    Damage,
    /// Not delivered, and announced as a gap before the next message.
    Withhold,
    /// Delivered with another scope.
    Misplace,
    /// Delivered with the sequence number of the message before it.
    Renumber,
    /// Delivered this many milliseconds later; later messages are not held up.
    Hold(u64),
}

/// A fault of one nearby message for one walker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Walker {
    /// No fault.
    Fair,
    /// Not delivered to a recipient.
    Drop,
    /// Delivered to a client that is not nearby.
    Leak,
}

/// The stub's behavior; without faults by default. Message numbers are those of counted messages,
/// the only ones with faults.
#[derive(Clone, Copy)]
pub(crate) struct Script {
    /// The fault of a (client, message) pair.
    pub fault: fn(u32, u32) -> Option<Fault>,
    /// From this number of clients in the chat, the first of them gets no message.
    pub drops_from: usize,
    /// True if a message also goes to sessions that have not entered.
    pub leaks: fn(u32) -> bool,
    /// True if a channel's message also goes to former members.
    pub leaks_to_former: fn(u32) -> bool,
    /// True if a message also goes to a client that is not a recipient.
    pub leaks_to: fn(u32, u32) -> bool,
    /// The fault of a nearby message for a walker, by its distance from the sender in sectors.
    pub walker: fn(u32, u32) -> Walker,
    /// The event loop that a client is told.
    pub shard: fn(u32) -> u8,
    /// True if a message is refused.
    pub refuses_message: fn(u32) -> bool,
    /// Delay of every message.
    pub delay: Duration,
    /// Seed of the relay's pieces, in both directions; without one there is no relay.
    pub pieces: Option<u64>,
    /// The bytes of a message's frame after which a client's connection is torn. The message must
    /// be to all clients, and of [`LONG`](super::LONG) bytes.
    pub tears: Option<fn(u32, u32) -> Option<usize>>,
    /// A (client, message) pair: the message closes the client's session before its delivery.
    pub cuts: Option<(u32, u32)>,
    /// This message and all later ones are not delivered.
    pub stalls_at: Option<u32>,
    /// This message closes all sessions.
    pub dies_at: Option<u32>,
    /// True if a client is refused.
    pub refuses: fn(u32) -> bool,
    /// True if a client may enter again.
    pub returns: fn(u32) -> bool,
    /// Most sessions.
    pub capacity: usize,
    /// Login requests that are answered "try again later", from the first.
    pub later: u32,
    /// Positions that a request of the login server is told before its answer.
    pub queue: &'static [u32],
    /// True if the probe is delivered.
    pub probes: bool,
    /// True if exit requests are answered.
    pub lets_go: bool,
    /// The password of all accounts, which then exist. Without one clients must sign up.
    pub password: Option<&'static str>,
    /// True if an account is online elsewhere.
    pub online: fn(&str) -> bool,
    /// Logins, from the first, of clients that entered before, that find the account still online.
    pub lingers: u32,
    /// True if the notice of a version of the user list is lost.
    pub loses_notice: fn(u64) -> bool,
    /// True if a client's leave is not announced, and only the head count shows it.
    pub hides_leave: fn(u32) -> bool,
    /// True if a client that has left stays in the user list.
    pub keeps_left: fn(u32) -> bool,
    /// Users in the chat that are not clients of the run.
    pub strangers: u32,
    /// The times that the stub reports with messages.
    pub times: ServerTimes,
}

impl Default for Script {
    fn default() -> Self {
        Self {
            fault: |_, _| None,
            drops_from: usize::MAX,
            leaks: |_| false,
            leaks_to_former: |_| false,
            leaks_to: |_, _| false,
            walker: |_, _| Walker::Fair,
            shard: |_| 0,
            refuses_message: |_| false,
            delay: Duration::ZERO,
            pieces: None,
            tears: None,
            cuts: None,
            stalls_at: None,
            dies_at: None,
            refuses: |_| false,
            returns: |_| true,
            capacity: 1000,
            later: 0,
            queue: &[],
            probes: true,
            lets_go: true,
            password: None,
            online: |_| false,
            lingers: 0,
            loses_notice: |_| false,
            hides_leave: |_| false,
            keeps_left: |_| false,
            strangers: 0,
            times: ServerTimes { received_us: 0, queued_us: 0, handled_us: 0 },
        }
    }
}
