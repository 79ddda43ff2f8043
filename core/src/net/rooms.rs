//! Who is in which room, as far as one shard's sessions go.

use std::collections::HashMap;

use crate::SessionId;

/// Names a room of one role.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RoomId(pub u32);

/// What a frame for a room is: what may be left out when a member is slow, and in which order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Class {
    /// A message. Left out only when much has gathered, and then the member is told how many it missed.
    Chat,
    /// Who enters and leaves. Left out first; the member sees it by the versions.
    Notice,
}

/// The rooms of one shard: members in a row for the fan-out, and each member's place in it.
#[derive(Debug, Default)]
pub struct Rooms {
    rooms: HashMap<RoomId, Room>,
    of: HashMap<SessionId, Vec<RoomId>>,
}

#[derive(Debug, Default)]
struct Room {
    members: Vec<SessionId>,
    places: HashMap<SessionId, usize>,
}

impl Rooms {
    /// Makes the session a member. Twice is once.
    pub fn join(&mut self, id: SessionId, room: RoomId) {
        let entry = self.rooms.entry(room).or_default();
        if let std::collections::hash_map::Entry::Vacant(place) = entry.places.entry(id) {
            place.insert(entry.members.len());
            entry.members.push(id);
            self.of.entry(id).or_default().push(room);
        }
    }

    /// Ends a membership, if there is one.
    pub fn leave(&mut self, id: SessionId, room: RoomId) {
        if let Some(of) = self.of.get_mut(&id) {
            of.retain(|other| *other != room);
            if of.is_empty() {
                self.of.remove(&id);
            }
        }
        self.take_out(id, room);
    }

    /// Ends all memberships of a session.
    pub fn leave_all(&mut self, id: SessionId) {
        for room in self.of.remove(&id).unwrap_or_default() {
            self.take_out(id, room);
        }
    }

    /// The members of a room, in no particular order.
    pub fn members(&self, room: RoomId) -> &[SessionId] {
        self.rooms.get(&room).map_or(&[], |room| &room.members)
    }

    fn take_out(&mut self, id: SessionId, room: RoomId) {
        let Some(entry) = self.rooms.get_mut(&room) else { return };
        let Some(place) = entry.places.remove(&id) else { return };
        entry.members.swap_remove(place);
        if let Some(moved) = entry.members.get(place) {
            entry.places.insert(*moved, place);
        }
        if entry.members.is_empty() {
            self.rooms.remove(&room);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashSet;

    proptest! {
        #[test]
        fn memberships_are_as_in_a_plain_set(steps: Vec<(u8, u8, u8)>) {
            let (mut rooms, mut model) = (Rooms::default(), HashSet::new());
            for (what, who, room) in steps {
                let (id, room) = (SessionId::new(0, u32::from(who % 16), 0), RoomId(u32::from(room % 4)));
                match what % 4 {
                    0 | 1 => { rooms.join(id, room); model.insert((id, room)); }
                    2 => { rooms.leave(id, room); model.remove(&(id, room)); }
                    _ => { rooms.leave_all(id); model.retain(|member| member.0 != id); }
                }
                for room in (0..4).map(RoomId) {
                    let members: HashSet<_> = rooms.members(room).iter().copied().collect();
                    prop_assert_eq!(members.len(), rooms.members(room).len());
                    let wanted: HashSet<_> = model.iter().filter(|m| m.1 == room).map(|m| m.0).collect();
                    prop_assert_eq!(members, wanted);
                }
            }
            prop_assert!(rooms.rooms.len() <= 4);
        }
    }
}
