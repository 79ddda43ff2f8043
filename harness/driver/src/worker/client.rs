//! State of one client of a worker.

use std::net::SocketAddr;

use throng_core::SessionId;
use throng_core::roster::Pager;
use throng_core::wire::packets::TicketBytes;
use throng_harness_model::clock::Nanos;
use throng_harness_model::results::{PARTS, Recipient};

use crate::resumption::Resumption;
use crate::roster::OwnRoster;

/// Progress of a client: the step in progress, or waiting to be retried. A client only moves down
/// this list, except to start over after a failure or for another round. An entry path skips the
/// steps that it does not need.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(super) enum Step {
    /// Its entry has not begun.
    #[default]
    Idle,
    /// Connecting to the login server.
    DialLogin,
    /// Creating its account.
    SignUp,
    /// Creating its character.
    CreateCharacter,
    /// Logging in.
    LogIn,
    /// Connecting to the chat server.
    DialChat,
    /// Presenting its ticket.
    Enter,
    /// In the chat and fetching the user list.
    List,
    /// In the chat, with the first user list complete.
    Inside,
    /// Waiting for the answer to its exit request.
    Leaving,
    /// Finished, or given up.
    Out,
}

impl Step {
    /// The name in reports.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::DialLogin => "dial_login",
            Self::SignUp => "sign_up",
            Self::CreateCharacter => "create_character",
            Self::LogIn => "log_in",
            Self::DialChat => "dial_chat",
            Self::Enter => "enter",
            Self::List => "user_list",
            Self::Inside => "inside",
            Self::Leaving => "leave",
            Self::Out => "out",
        }
    }

    /// The index into [`PARTS`]; none for steps that are not part of an entry.
    pub(super) fn part(self) -> Option<usize> {
        PARTS.iter().position(|name| *name == self.name())
    }

    /// Returns true for the steps from the first connection to the answer of the chat server.
    pub(super) fn is_entering(self) -> bool {
        (Self::DialLogin..=Self::Enter).contains(&self)
    }

    /// Returns true while a client is in the chat and has not asked to leave.
    pub(super) fn is_present(self) -> bool {
        matches!(self, Self::List | Self::Inside)
    }
}

/// The chat server and ticket granted by a login.
#[derive(Debug)]
pub(super) struct Grant {
    /// Number of the server among those that answers have named.
    pub(super) server: usize,
    /// The address that was dialed last.
    pub(super) dialed: Option<SocketAddr>,
    pub(super) ticket: TicketBytes,
}

/// A client's place in the login server's queue.
#[derive(Debug)]
pub(super) struct InQueue {
    /// The position that the present request was told last.
    pub(super) position: Option<u32>,
    /// Time at which a position was lower than the one before.
    pub(super) moved_at: Nanos,
}

/// Channel membership of a client.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Stay {
    /// In no channel.
    #[default]
    Out,
    /// Waiting to join the channel of this number in the run.
    Joining(u32),
    /// In a channel.
    In {
        /// The channel's number in the run.
        channel: u32,
        /// The channel's number on the server.
        number: u32,
    },
    /// Waiting to leave a channel.
    Leaving {
        /// The channel's number in the run.
        channel: u32,
        /// The channel's number on the server.
        number: u32,
    },
}

/// A client's user list, and the time of its last change.
#[derive(Debug)]
pub(super) struct KeptList {
    pub(super) roster: OwnRoster,
    pub(super) changed: Nanos,
    /// Version when the cuts began, up to which notices may name any client.
    pub(super) settled: u64,
}

/// One client. There are thousands, so fields that only some of them use are boxed.
#[derive(Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is independent of the others")]
pub(super) struct Client {
    pub(super) step: Step,
    /// Consecutive failed attempts at this step.
    pub(super) failed_attempts: u8,
    /// True once a request was repeated: "exists already" or "online" may then be its own doing.
    pub(super) repeated: bool,
    /// True once its account and its character are known to exist.
    pub(super) has_account: bool,
    /// True once the probe message has reached it.
    pub(super) probed: bool,
    /// True if it reads slowly, or not at all, on purpose.
    pub(super) is_impaired: bool,
    /// True from the end of its impairment until it has read its whole backlog.
    pub(super) is_catching_up: bool,
    /// Answers that are outstanding before it has joined its channel and its sector.
    pub(super) pending_answers: u8,
    pub(super) stay: Stay,
    /// Number of entries begun.
    pub(super) rounds: u32,
    /// Counted messages received, first copies.
    pub(super) received: u32,
    /// The highest latency among the received messages, in microseconds.
    pub(super) longest_us: u32,
    /// The sum of the latencies of the received messages, in nanoseconds.
    pub(super) waited: Nanos,
    /// The chat server's event loop that serves its session.
    pub(super) shard: u8,
    pub(super) chat: Option<SessionId>,
    pub(super) login: Option<SessionId>,
    /// Start of the current entry.
    pub(super) entry_began_at: Nanos,
    /// None if it has not waited in the login server's queue in this entry.
    pub(super) queue: Option<Box<InQueue>>,
    /// Start of the first attempt at the current step.
    pub(super) step_began_at: Nanos,
    /// Time of the next attempt; 0 if none is scheduled.
    pub(super) retry_at: Nanos,
    /// Its user list, if it keeps one.
    pub(super) kept: Option<Box<KeptList>>,
    /// Pages of the list that are on their way, if it does not.
    pub(super) pager: Pager,
    /// Time of a deliberate disconnect; 0 unless it is to reconnect.
    pub(super) disconnected_at: Nanos,
    /// Set from the login until the chat server accepts it.
    pub(super) grant: Option<Box<Grant>>,
    /// Its place, from its entry on in a run that cuts connections.
    pub(super) resumption: Option<Box<Resumption>>,
    /// Number of its chat server, among those of a fleet; goes on around them.
    pub(super) node: u32,
}

impl Client {
    /// Returns true while it is in the chat and has not asked to leave.
    pub(super) fn is_present(&self) -> bool {
        self.step.is_present()
    }

    /// Records the latency of one message.
    pub(super) fn record_latency(&mut self, latency: Nanos) {
        self.waited = self.waited.saturating_add(latency);
        self.longest_us = self.longest_us.max(u32::try_from(latency / 1_000).unwrap_or(u32::MAX));
    }

    /// Its share of the deliveries; none if it is impaired, has lost its session, or has received
    /// nothing.
    pub(super) fn recipient(&self, client: u32, entered: Nanos) -> Option<Recipient> {
        let Self { shard, received, waited, longest_us, .. } = *self;
        let counts = received > 0 && !self.is_impaired;
        counts.then_some(Recipient { client, shard, entered, received, waited, longest_us })
    }
}

/// The token a session was dialed with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Token {
    /// The login session of the client at this index.
    Login(u32),
    /// The chat session of the client at this index.
    Chat(u32),
    /// The session of the leak probe.
    LeakProbe,
}

impl Token {
    const LOGIN: u64 = 1 << 32;
    const LEAK_PROBE: u64 = 1 << 33;

    pub(super) fn to_bits(self) -> u64 {
        match self {
            Self::Chat(place) => place.into(),
            Self::Login(place) => Self::LOGIN | u64::from(place),
            Self::LeakProbe => Self::LEAK_PROBE,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_of_an_entry_are_the_steps_up_to_its_answer() {
        let steps = [
            Step::Idle,
            Step::DialLogin,
            Step::SignUp,
            Step::CreateCharacter,
            Step::LogIn,
            Step::DialChat,
            Step::Enter,
            Step::List,
            Step::Inside,
            Step::Leaving,
            Step::Out,
        ];
        let entering: Vec<_> = steps.into_iter().filter(|step| step.is_entering()).collect();
        let parts: Vec<_> = entering.iter().map(|step| step.part()).collect();
        assert_eq!(parts, (0..PARTS.len()).map(Some).collect::<Vec<_>>());
        assert!(steps.iter().all(|step| step.part().is_some() == step.is_entering()));
    }
}
