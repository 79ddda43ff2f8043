//! What the stub is to do wrong.

use std::time::Duration;

use throng_core::wire::packets::ServerTimes;

/// What is done wrong with one message for one client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It is not delivered.
    Drop,
    /// It is delivered twice.
    Duplicate,
    /// It is delivered after the next one for the same client that has no fault.
    Late,
    /// One letter of it is changed.
    Damage,
    /// It is not delivered, and the client is told so before the next.
    Keep,
    /// It is said to be of another scope.
    Misplace,
    /// It has the number of the message before it in the chat or the channel.
    Renumber,
    /// It is delivered so many milliseconds later, and what comes after it is not held up.
    Hold(u64),
}

/// What is done wrong with one message nearby for one client that walks about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Walker {
    /// Nothing.
    Fair,
    /// It hears the message, and does not get it.
    Drop,
    /// It gets the message, and does not hear it.
    Leak,
}

/// What the stub does. The default is a server without fault. Messages are numbered as the
/// harness numbers those that it counts; only they are touched.
#[derive(Clone, Copy)]
pub(crate) struct Script {
    /// The fault of a (client, message) pair.
    pub fault: fn(u32, u32) -> Option<Fault>,
    /// With so many in the chat, the first of them gets no message.
    pub drops_from: usize,
    /// Whether a message also goes to connections that have not entered.
    pub leaks: fn(u32) -> bool,
    /// Whether a message to a channel also goes to those who have left it.
    pub leaks_to_former: fn(u32) -> bool,
    /// Whether a message also goes to a client for whom it is not.
    pub leaks_to: fn(u32, u32) -> bool,
    /// What is done wrong with a message nearby, by how far a client that walks about is from its sender, in sectors.
    pub walker: fn(u32, u32) -> Walker,
    /// The event loop that a client is told it is on.
    pub shard: fn(u32) -> u8,
    /// Whether a message is refused.
    pub refuses_message: fn(u32) -> bool,
    /// How long every message is held.
    pub delay: Duration,
    /// The seed of the pieces in which bytes come, in both directions; none leaves them as they are.
    pub pieces: Option<u64>,
    /// Whether the frame of a message, which must be to everybody and of [`LONG`](super::LONG) bytes, is torn off for a client by the end
    /// of its connection, and after how many bytes.
    pub tears: Option<fn(u32, u32) -> Option<usize>>,
    /// This message closes that client's session, before it is delivered to anybody.
    pub cuts: Option<(u32, u32)>,
    /// This message and all after it are delivered to nobody.
    pub stalls_at: Option<u32>,
    /// This message closes all sessions.
    pub dies_at: Option<u32>,
    /// Whether a client is not let in.
    pub refuses: fn(u32) -> bool,
    /// Whether a client is let in who has been in before.
    pub returns: fn(u32) -> bool,
    /// Sessions that there is room for.
    pub capacity: usize,
    /// Requests of the login that are answered "try again later", from the first.
    pub later: u32,
    /// Whether the probe is delivered.
    pub probes: bool,
    /// Whether anybody is let go.
    pub lets_go: bool,
    /// The one password of all accounts: they exist, and nobody signs up. Without one everybody must.
    pub password: Option<&'static str>,
    /// Whether an account is online by something else.
    pub online: fn(&str) -> bool,
    /// Logins, from the first, of those who have been in before, that find them online still.
    pub lingers: u32,
    /// Whether the notice that leads to a version of the user list is lost.
    pub loses_notice: fn(u64) -> bool,
    /// Whether nobody is told that a client has left, and only the number of users says so.
    pub hides_leave: fn(u32) -> bool,
    /// Whether a client that has left stays in the user list.
    pub keeps_left: fn(u32) -> bool,
    /// Users in the chat that are none of the run's.
    pub strangers: u32,
    /// What it says of the time that messages take in it.
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
