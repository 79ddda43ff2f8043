//! What rooms are called and what is said in them, for the keys, the event loops and the content alike.

use crate::wire::packets::Scope;

/// Names a room of one role.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RoomId(pub u32);

impl RoomId {
    /// Everybody in the chat. All others are channels.
    pub const WORLD: Self = Self(0);

    /// The scope of what is said in the room.
    pub fn scope(self) -> Scope {
        if self == Self::WORLD { Scope::World } else { Scope::Channel }
    }
}

/// What a frame for a room is: what may be left out when a member is slow, and in which order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Class {
    /// A message. Left out only when much has gathered, and then the member is told how many it missed.
    Chat,
    /// Who enters and leaves. Left out first; the member sees it by the versions.
    Notice,
}

impl Class {
    /// All classes, in the order in which a member gets what has gathered.
    pub const ALL: [Self; 2] = [Self::Chat, Self::Notice];
}
