//! Names of rooms and classes of frames, shared by `crypto`, `net` and `content`.

use crate::wire::packets::Scope;

/// Name of a room of one role.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RoomId(pub u32);

impl RoomId {
    /// The room of all users of the chat.
    pub const WORLD: Self = Self(0);

    /// Highest number of a channel. Higher numbers are rooms of crowded sectors.
    pub const CHANNEL_MAX: u32 = (1 << 31) - 1;

    /// Bits of a sector's room that hold its place among the sectors around it.
    const PLACE_BITS: u32 = 4;

    /// Returns the name of the room of a crowded sector, for its column and row. `serial` tells
    /// the rooms of one place apart; its low 27 bits count.
    ///
    /// The lowest four bits are the sector's place, 0 to 8: `3 * (column mod 3) + row mod 3`. Of a
    /// sector and the eight around it no two have the same place, so that a client needs nine keys,
    /// and a sector that it comes to takes the place of one that it left.
    pub fn nearby(serial: u32, (column, row): (i32, i32)) -> Self {
        let place = 3 * column.rem_euclid(3) + row.rem_euclid(3);
        Self(!Self::CHANNEL_MAX | serial << Self::PLACE_BITS & Self::CHANNEL_MAX | place.unsigned_abs())
    }

    /// Returns the number under which a client keeps the room's key: one for each place nearby, and
    /// the room's own for all others.
    pub fn key_place(self) -> u32 {
        let is_nearby = self.0 > Self::CHANNEL_MAX;
        if is_nearby { !Self::CHANNEL_MAX | self.0 & ((1 << Self::PLACE_BITS) - 1) } else { self.0 }
    }

    /// Returns the scope and the target of the room's messages.
    pub fn address(self) -> (Scope, u32) {
        match self.0 {
            0 => (Scope::World, 0),
            channel @ ..=Self::CHANNEL_MAX => (Scope::Channel, channel),
            _ => (Scope::Nearby, 0),
        }
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn sectors_around_have_places_of_their_own_and_neighbors_of_a_step_take_over() {
        for (column, row) in [(0, 0), (-1, 7), (i32::MAX - 1, i32::MIN + 1)] {
            let around = (-1..=1).flat_map(|c| (-1..=1).map(move |r| (column + c, row + r)));
            let places: BTreeSet<_> =
                around.map(|sector| RoomId::nearby(u32::MAX, sector).key_place()).collect();
            assert_eq!(places.len(), 9, "{column} {row}");
        }
        let place = |column| RoomId::nearby(7, (column, 2)).key_place();
        assert_eq!(place(-1), place(2), "left by a step to the right, and come to by it");
        assert_ne!(RoomId::nearby(1, (0, 0)), RoomId::nearby(2, (0, 0)));
    }

    #[test]
    fn rooms_have_the_address_of_their_messages() {
        assert_eq!(RoomId::WORLD.address(), (Scope::World, 0));
        assert_eq!(RoomId(RoomId::CHANNEL_MAX).address(), (Scope::Channel, RoomId::CHANNEL_MAX));
        assert_eq!(RoomId::nearby(0, (0, 0)).address(), (Scope::Nearby, 0));
        assert_eq!(RoomId(3).key_place(), 3);
    }
}
