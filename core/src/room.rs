//! Names of rooms and classes of frames, shared by `crypto`, `net` and `content`.

use crate::wire::packets::Scope;

/// Name of a room of one role.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RoomId(pub u32);

impl RoomId {
    /// The room of all users of the chat. All other rooms are channels.
    pub const WORLD: Self = Self(0);

    /// Returns the scope of the room's messages.
    pub fn scope(self) -> Scope {
        if self == Self::WORLD { Scope::World } else { Scope::Channel }
    }
}

/// Class of a frame for a room, which decides when it is dropped for a slow member.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Class {
    /// A message. Dropped only when much is pending; then the member is told how many it missed.
    Chat,
    /// A notice of users that entered and left. Dropped first; the versions show the member that it
    /// missed some.
    Notice,
}

impl Class {
    /// All classes, in the order in which pending frames are written to a member.
    pub const ALL: [Self; 2] = [Self::Chat, Self::Notice];
}
