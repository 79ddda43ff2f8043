//! Facts: the changes of what users share, in one order.
//!
//! The chat decides and then applies. A handler checks a packet against the state and makes facts
//! of it, or refuses it. The [`World`](super::World) applies each fact, and the server lets its own
//! sessions see the [`Change`].

use throng_core::wire::packets::{ChannelName, ChatMessage, Claim, Name, User};

use super::list_state::ListState;
use super::users::Presence;

/// The way in which a user leaves a room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Departure {
    /// The user leaves by itself, or its connection is lost.
    Voluntary,
    /// The user is removed, and must not be able to read later messages.
    Kicked,
}

/// A change of what users share.
///
/// It names everything that its application needs: ids are drawn and times are read before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fact {
    /// A user has come into the chat.
    Entered {
        /// Id of the user, which is free ([`Users::next_id`](super::Users::next_id)).
        user: u32,
        /// Name of its character.
        name: Name,
        /// Account and claim, which no user in the chat has.
        claim: Claim,
    },
    /// A user has left the chat, and with it all channels.
    Left {
        /// The user.
        user: u32,
        /// The way in which it left.
        departure: Departure,
    },
    /// A user has lost its connection, and may resume.
    Away {
        /// The user.
        user: u32,
    },
    /// A user has resumed over a new connection.
    Back {
        /// The user.
        user: u32,
    },
    /// A user has made a channel, and is its first member and its owner.
    ChannelMade {
        /// Number of the channel, which is free
        /// ([`Channels::next_number`](super::Channels::next_number)).
        channel: u32,
        /// Name of the channel, which no other has.
        name: ChannelName,
        /// The user.
        owner: u32,
    },
    /// A user has become a member of a channel.
    Joined {
        /// The channel.
        channel: u32,
        /// The user.
        user: u32,
    },
    /// A user is a member of a channel no more.
    Parted {
        /// The channel.
        channel: u32,
        /// The user.
        user: u32,
        /// The way in which it left.
        departure: Departure,
    },
    /// A user has said something to the world or to a channel. The message has no number yet.
    Said(ChatMessage),
    /// A user has whispered to another one, or to itself. The message has no number yet.
    Whispered(ChatMessage),
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
    /// The state has changed, and no session has to see it.
    None,
    /// A user has lost its connection, or is back. No session has to see it, but a login to its
    /// account does.
    Away {
        /// The claim of the user.
        claim: Claim,
        /// True if the user has lost its connection.
        is_away: bool,
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
    /// A message to the world or to a channel, with its number.
    Said(ChatMessage),
    /// A whisper.
    Whispered {
        /// The message, still without a number.
        message: ChatMessage,
        /// Number of the message among the recipient's whispers.
        number: u64,
        /// Number of the message among the sender's whispers, unless it is the recipient.
        copy: Option<u64>,
    },
}
