//! Facts: the changes of what users share, in one order.
//!
//! The chat decides and then applies. A handler checks a packet and makes a fact of it, or refuses
//! it. The [`World`](super::World) applies each fact, or refuses one that other facts have
//! overtaken, and the server lets its own sessions see the [`Change`].

use throng_core::wire::packets::{ChannelName, ChatMessage, ChatText, Claim, Name, Scope, ServerTimes, User};

use super::list_state::ListState;
use super::sectors::Sector;
use super::users::Presence;

/// The way in which a user leaves a room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Departure {
    /// The user leaves by itself, or its connection is lost.
    Voluntary,
    /// The user is removed, and must not be able to read later messages.
    Kicked,
}

/// Progress of the requests of a user.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Number of its latest packet that was handled.
    pub handled: u32,
    /// Number of the latest answer to it.
    pub answers: u32,
}

impl Counts {
    /// Takes over later counts. What others have done to the user may have been answered since they
    /// were taken, and a message that is refused is answered after later ones were sent.
    pub(super) fn advance(&mut self, later: Self) {
        self.handled = later.handled;
        self.answers = later.answers.max(self.answers);
    }
}

/// A change of what users share.
///
/// It names everything that its application needs: times are read before. Ids and numbers are drawn
/// when it is applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fact {
    /// A user has come into the chat.
    Entered {
        /// Name of its character.
        name: Name,
        /// Account and claim, which no user in the chat has.
        claim: Claim,
    },
    /// A user has left the chat, and with it all channels.
    Left {
        /// The user.
        user: u32,
        /// Its turn. One that is kicked leaves in any.
        turn: u32,
        /// The way in which it left.
        departure: Departure,
    },
    /// A user has lost its connection, and may resume.
    Away {
        /// The user.
        user: u32,
        /// Its turn.
        turn: u32,
        /// Progress of its requests.
        counts: Counts,
    },
    /// A user has resumed over a new connection, which begins its next turn.
    Back {
        /// The user.
        user: u32,
        /// Number of the resume token.
        token: u32,
        /// Progress of its requests, if it had not lost its connection yet.
        counts: Option<Counts>,
    },
    /// A user has done something that a packet of its asked for.
    Did {
        /// The user.
        user: u32,
        /// Its turn.
        turn: u32,
        /// The number of the packet, and that of the latest answer before it.
        counts: Counts,
        /// The deed.
        deed: Deed,
    },
}

/// Something that a user does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Deed {
    /// Makes a channel, and becomes its first member and its owner.
    MakeChannel(ChannelName),
    /// Becomes a member of a channel. One that is a member stays one.
    Join {
        /// The channel.
        channel: u32,
    },
    /// Leaves a channel.
    Part {
        /// The channel.
        channel: u32,
    },
    /// Puts a member out of a channel that the user owns.
    Kick {
        /// The channel.
        channel: u32,
        /// The member.
        member: u32,
    },
    /// Says something to the world, to a channel or to another user.
    Say(Words),
    /// Says something to the users near its sector.
    SayNearby {
        /// The sector.
        sector: Sector,
        /// The message.
        words: Words,
    },
}

/// A message without its sender and its number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Words {
    /// Recipients.
    pub scope: Scope,
    /// The channel, or the user.
    pub target: u32,
    /// The sender's mark.
    pub stamp: u64,
    /// Times at the server that received the message.
    pub times: ServerTimes,
    /// The text.
    pub text: ChatText,
}

impl Words {
    /// Returns the message of this sender with this number.
    pub fn said_by(self, sender: User, sequence: u64) -> ChatMessage {
        let Self { scope, target, stamp, times, text } = self;
        ChatMessage { scope, target, sequence, sender, stamp, times, text }
    }
}

/// The effect of a [`Fact`] on the state, for the sessions that have to see it.
#[derive(Debug, PartialEq, Eq)]
pub enum Change {
    /// A user has come into the chat.
    Entered {
        /// The user.
        user: User,
        /// State of the world's list.
        list_state: ListState,
    },
    /// A user has left the chat.
    Left {
        /// The user as it was.
        presence: Presence,
        /// The way in which it left.
        departure: Departure,
        /// Its channels, and the states of their lists.
        channels: Vec<(u32, ListState)>,
        /// State of the world's list.
        list_state: ListState,
    },
    /// A user has lost its connection. No session has to see it, but a login to its account does.
    Away {
        /// The user.
        user: u32,
        /// Its claim.
        claim: Claim,
    },
    /// A user has resumed.
    Back {
        /// The user.
        user: u32,
        /// Its claim.
        claim: Claim,
        /// Its turn, which begins.
        turn: u32,
        /// Progress of its requests, as far as all servers know.
        counts: Counts,
    },
    /// A user has made a channel.
    ChannelMade {
        /// The channel.
        channel: u32,
    },
    /// A user has become a member of a channel.
    Joined {
        /// The channel.
        channel: u32,
        /// The user.
        user: User,
        /// State of the channel's list.
        list_state: ListState,
    },
    /// A user that has joined a channel was a member already.
    WasMember {
        /// The channel.
        channel: u32,
    },
    /// A user is a member of a channel no more.
    Parted {
        /// The channel.
        channel: u32,
        /// The user.
        user: u32,
        /// The way in which it left.
        departure: Departure,
        /// State of the channel's list.
        list_state: ListState,
    },
    /// A message to the world or to a channel.
    Said(ChatMessage),
    /// A message to the users near a sector.
    SaidNearby {
        /// The sector.
        sector: Sector,
        /// The message.
        message: ChatMessage,
    },
    /// A whisper.
    Whispered {
        /// The message, with its number among the recipient's whispers.
        message: ChatMessage,
        /// Number of the message among the sender's whispers, unless it is the recipient.
        copy: Option<u64>,
    },
}
