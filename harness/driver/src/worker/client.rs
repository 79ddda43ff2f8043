//! One client, as its worker knows it.

use throng_core::SessionId;
use throng_core::wire::packets::TicketBytes;
use throng_harness_model::clock::Nanos;
use throng_harness_model::plan::Server;
use throng_harness_model::results::{PARTS, Recipient};

use super::lists::Kept;

/// How far a client has come: what it is doing, or waiting to try again. A client only
/// moves down this list, but for starting over after a failure or for another round; a way in leaves out
/// what it does not need.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(super) enum Step {
    /// Its turn has not come.
    #[default]
    Idle,
    /// Connecting to the login server.
    DialLogin,
    /// Making its account.
    SignUp,
    /// Making its character.
    CreateCharacter,
    /// Logging in.
    LogIn,
    /// Connecting to the chat server.
    DialChat,
    /// Presenting its ticket.
    Enter,
    /// In the chat, and fetching the user list.
    List,
    /// In the chat with all that belongs to it.
    Inside,
    /// Has asked to leave.
    Leaving,
    /// Done, or turned away.
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

    /// Which of [`PARTS`] it is, if it is one.
    pub(super) fn part(self) -> Option<usize> {
        PARTS.iter().position(|name| *name == self.name())
    }

    /// Whether a client has begun its way in and is not in the chat.
    pub(super) fn is_before_the_door(self) -> bool {
        (Self::DialLogin..=Self::Enter).contains(&self)
    }

    /// Whether a client is in the chat and means to stay.
    pub(super) fn is_present(self) -> bool {
        matches!(self, Self::List | Self::Inside)
    }
}

/// What a login brought.
#[derive(Debug)]
pub(super) struct Grant {
    pub(super) server: Server,
    pub(super) ticket: TicketBytes,
}

/// In which channel a client is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Stay {
    /// In none.
    #[default]
    Out,
    /// It has asked to join this one of the run's channels.
    Joining(u32),
    /// It is in one.
    In {
        /// Its number in the run.
        channel: u32,
        /// The server's number for it.
        number: u32,
    },
    /// It has asked to leave one.
    Leaving {
        /// Its number in the run.
        channel: u32,
        /// The server's number for it.
        number: u32,
    },
}

/// One client. There are thousands: what only some need is boxed.
#[derive(Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is independent of the others")]
pub(super) struct Client {
    pub(super) step: Step,
    /// Failed attempts at this step, in a row.
    pub(super) tries: u8,
    /// Whether anything was tried twice, so that "exists already" or "online" may mean ourselves.
    pub(super) repeated: bool,
    /// Whether its account and its character are known to be there.
    pub(super) has_account: bool,
    /// Whether the probe has reached it.
    pub(super) probed: bool,
    /// Whether it reads slowly, or not at all, on purpose.
    pub(super) is_impaired: bool,
    /// Whether it is to read all that there is, and has not.
    pub(super) is_waking: bool,
    /// Answers that it waits for to have found its place.
    pub(super) waits_for: u8,
    /// Its channel.
    pub(super) stay: Stay,
    /// How often its way in has begun.
    pub(super) rounds: u32,
    /// Counted messages received, first copies.
    pub(super) received: u32,
    /// The longest of their latencies, in microseconds.
    pub(super) longest_us: u32,
    /// All their latencies together, in nanoseconds.
    pub(super) waited: Nanos,
    /// The server's event loop that has its session with the chat server.
    pub(super) shard: u8,
    /// Its session with the chat server.
    pub(super) chat: Option<SessionId>,
    /// Its session with the login server.
    pub(super) login: Option<SessionId>,
    /// When its way in began.
    pub(super) began: Nanos,
    /// When its step began, first attempt.
    pub(super) since: Nanos,
    /// When it tries its step again; 0 while it need not.
    pub(super) rests_until: Nanos,
    /// Its user list, if it keeps it.
    pub(super) kept: Option<Box<Kept>>,
    /// When it hung up to come again; 0 unless it is away.
    pub(super) left_at: Nanos,
    /// There from the login to the chat.
    pub(super) grant: Option<Box<Grant>>,
}

impl Client {
    /// It has waited so long for a message.
    pub(super) fn waits(&mut self, latency: Nanos) {
        self.waited = self.waited.saturating_add(latency);
        self.longest_us = self.longest_us.max(u32::try_from(latency / 1_000).unwrap_or(u32::MAX));
    }

    /// What it got, if it was there all the time and wanted to read.
    pub(super) fn recipient(&self, client: u32, entered: Nanos) -> Option<Recipient> {
        let Self { shard, received, waited, longest_us, .. } = *self;
        let counts = received > 0 && !self.is_impaired;
        counts.then_some(Recipient { client, shard, entered, received, waited, longest_us })
    }
}

/// Which of our sessions one is: the token that it was dialled with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Token {
    /// The login session of the client in this place.
    Login(u32),
    /// The chat session of the client in this place.
    Chat(u32),
    /// The one that listens for leaks.
    LeakProbe,
}

impl Token {
    const LOGIN: u64 = 1 << 32;
    const OUTSIDER: u64 = 1 << 33;

    pub(super) fn to_bits(self) -> u64 {
        match self {
            Self::Chat(place) => place.into(),
            Self::Login(place) => Self::LOGIN | u64::from(place),
            Self::LeakProbe => Self::OUTSIDER,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_of_the_way_in_are_the_steps_before_the_door() {
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
        let before_the_door: Vec<_> = steps.into_iter().filter(|step| step.is_before_the_door()).collect();
        let parts: Vec<_> = before_the_door.iter().map(|step| step.part()).collect();
        assert_eq!(parts, (0..PARTS.len()).map(Some).collect::<Vec<_>>());
        assert!(steps.iter().all(|step| step.part().is_some() == step.is_before_the_door()));
    }
}
