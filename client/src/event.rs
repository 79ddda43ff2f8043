//! Things that a client learns, and the reasons for which it cannot do what it is asked.

use std::time::Duration;

use thiserror::Error;
use throng_core::wire::CloseReason;
use throng_core::wire::packets::{ChannelInfo, ChatText, Outcome, Scope, User, WishedChannel};

/// The recipients of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Audience {
    /// All users in the chat.
    World,
    /// The members of a channel.
    Channel(u32),
    /// The users near the sender.
    Nearby,
    /// One user, and the sender.
    Whisper(u32),
}

impl Audience {
    pub(crate) fn address(self) -> (Scope, u32) {
        match self {
            Self::World => (Scope::World, 0),
            Self::Channel(channel) => (Scope::Channel, channel),
            Self::Nearby => (Scope::Nearby, 0),
            Self::Whisper(user) => (Scope::Whisper, user),
        }
    }

    pub(crate) fn of(scope: Scope, target: u32) -> Self {
        match scope {
            Scope::World => Self::World,
            Scope::Channel => Self::Channel(target),
            Scope::Nearby => Self::Nearby,
            Scope::Whisper => Self::Whisper(target),
        }
    }
}

/// Number that the client gives to each message that it sends. Its event, or its refusal, has it
/// too. Numbers of one [`Client`](crate::Client) never repeat.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Stamp(pub u64);

/// A message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// The recipients.
    pub audience: Audience,
    /// Number in the room, from 1; 0 for nearby messages.
    pub sequence: u64,
    /// The sender.
    pub sender: User,
    /// The stamp, if this client has sent it.
    pub own: Option<Stamp>,
    /// The text, without control characters of the terminal. It may have any other character.
    pub text: ChatText,
}

/// A request that a login server answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LoginStep {
    /// [`Client::sign_up`](crate::Client::sign_up).
    SignUp,
    /// [`Client::create_character`](crate::Client::create_character).
    CreateCharacter,
    /// [`Client::log_in`](crate::Client::log_in).
    LogIn,
}

/// An event of a client.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// The account exists now.
    SignedUp,
    /// The account has a character now.
    CharacterCreated,
    /// A request to the login server is refused. After NoCharacter, create one and log in again.
    Refused {
        /// The request.
        step: LoginStep,
        /// The reason.
        outcome: Outcome,
    },
    /// A request to the login server waits for its turn.
    Queued {
        /// Place in the queue; 1 is next.
        position: u32,
        /// Estimate of the wait that remains.
        wait: Duration,
    },
    /// A request came too fast and was not handled: a login step, a channel request, a position.
    /// Messages have [`MessageRefused`](Event::MessageRefused) instead.
    TooFast {
        /// Time after which the next one is handled.
        wait: Duration,
    },
    /// The login server cannot be reached, or ended the session. No request waits any more.
    Unreachable {
        /// The reason.
        reason: CloseReason,
    },
    /// The client is in the chat.
    Entered {
        /// Its own user.
        user: User,
        /// Users in the chat, this one included.
        head_count: u32,
    },
    /// The connection to the chat is lost. The client tries to resume its place; the others have
    /// not noticed anything.
    Away {
        /// The reason.
        reason: CloseReason,
    },
    /// The client is back in its place. What it has missed follows.
    Resumed {
        /// Time since the connection was lost.
        after: Duration,
    },
    /// The client is not in the chat any more, nor in its channels. Others have seen it leave.
    Left {
        /// The reason.
        reason: CloseReason,
        /// True if it logs in again by itself.
        returns: bool,
    },
    /// A message.
    Message(Message),
    /// Earlier messages of a room, by ascending number.
    History {
        /// The channel; 0 for the world.
        room: u32,
        /// The messages.
        messages: Vec<Message>,
        /// True if there are earlier ones.
        more: bool,
    },
    /// A message of this client was not delivered.
    MessageRefused {
        /// The message.
        stamp: Stamp,
        /// The reason; none if it came too fast.
        outcome: Option<Outcome>,
        /// Time after which the next message is handled; zero unless it came too fast.
        wait: Duration,
    },
    /// The place was lost before it was known whether a message had been delivered.
    MessageUncertain {
        /// The message.
        stamp: Stamp,
    },
    /// Messages that this client has missed, because its line is slow or was lost for too long.
    Missed {
        /// The room, or [`Audience::Whisper`] with 0 for whispers.
        audience: Audience,
        /// Number of messages.
        count: u64,
    },
    /// A user has entered the chat or a channel. None come before the list is complete for the
    /// first time.
    UserEntered {
        /// The channel; 0 for the world.
        room: u32,
        /// The user.
        user: User,
    },
    /// A user has left the chat or a channel.
    UserLeft {
        /// The channel; 0 for the world.
        room: u32,
        /// The user.
        user: User,
    },
    /// The list of a room is complete for the first time since the client is in it.
    Listed {
        /// The channel; 0 for the world.
        room: u32,
    },
    /// The client is in a channel.
    Joined {
        /// The channel.
        channel: u32,
        /// Its name.
        name: WishedChannel,
        /// Users in it, this one included.
        head_count: u32,
    },
    /// A channel cannot be made or joined.
    JoinRefused {
        /// The requested name.
        name: WishedChannel,
        /// The reason.
        outcome: Outcome,
    },
    /// The client is not in a channel any more.
    ChannelLeft {
        /// The channel.
        channel: u32,
        /// Ok on request, Kicked, or NotAMember; TryAgainLater if it is still in the channel.
        outcome: Outcome,
    },
    /// Result of a kick.
    KickAnswered {
        /// The channel.
        channel: u32,
        /// The user.
        user: u32,
        /// Ok, or the reason.
        outcome: Outcome,
    },
    /// A page of the list of channels.
    Channels {
        /// The channels, by ascending number.
        channels: Vec<ChannelInfo>,
        /// True if there are more after the last of these.
        more: bool,
    },
    /// The answer to [`Client::ping`](crate::Client::ping).
    Pong {
        /// Time from the request to the answer, without the server's queue.
        round_trip: Duration,
    },
}

/// Reasons for which a client does not do what it is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum CommandError {
    /// The client is not in the chat.
    #[error("not in the chat: log in first")]
    NotInTheChat,
    /// The client is in the chat, or on its way there.
    #[error("logged in already: log out first")]
    LoggedIn,
    /// Another request to the login server waits for its answer.
    #[error("another request waits for its answer")]
    Busy,
    /// A text is too long.
    #[error("too long: {length} bytes, and {limit} are allowed")]
    TooLong {
        /// Bytes of the text.
        length: usize,
        /// Most bytes.
        limit: usize,
    },
    /// A text has no characters.
    #[error("empty")]
    Empty,
    /// Too many requests wait for the server.
    #[error("the server does not answer: {} requests wait", crate::requests::Requests::MAX)]
    TooMany,
    /// The system gives no randomness, or the server's key is no public key.
    #[error("cannot make a connection: {}", .0.name())]
    Connection(CloseReason),
}
