//! A grid of square sectors that finds the sessions near a position. Only occupied sectors take
//! memory.
//!
//! A message nearby reaches the sender's sector and the eight around it. Where few stand, each gets
//! a copy. Where many stand, the sender's sector gets a room of all who hear it, so that a message
//! is sealed once and costs as much as one in a channel. The room lasts while enough sessions hear
//! it and it is used. Sessions join and leave rooms as they walk.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::time::{Duration, Instant};

use throng_core::content::Effects;
use throng_core::room::RoomId;
use throng_core::{SessionId, metrics};

use super::Departure;

/// A sector's column and row.
pub type Sector = (i32, i32);

/// Time without a message after which the room of a sector ends.
const UNUSED: Duration = Duration::from_secs(30);

/// The sectors of all sessions that have sent a position.
#[derive(Debug)]
pub struct Sectors {
    size: i64,
    /// Sessions within hearing from which on a sector that speaks gets a room. The room ends below
    /// half as many.
    crowd: usize,
    slots: HashMap<SessionId, Slot>,
    occupied: HashMap<Sector, Vec<SessionId>>,
    /// Rooms of crowded sectors. Each has as members the sessions of its sector and the eight
    /// around it.
    crowds: HashMap<Sector, Crowd>,
    /// Rooms made so far.
    serial: u32,
}

/// The sector of a session, and its index there.
#[derive(Debug, Clone, Copy)]
struct Slot {
    sector: Sector,
    index: u32,
    /// Sector and room in which the session spoke last, if it was a room.
    spoke: Option<(Sector, RoomId)>,
}

/// The room of one sector.
#[derive(Debug)]
struct Crowd {
    room: RoomId,
    listeners: usize,
    last_used: Instant,
}

/// Recipients of a message nearby, the sender included.
#[derive(Debug, PartialEq, Eq)]
pub enum Audience {
    /// Few sessions.
    Sessions(Vec<SessionId>),
    /// The members of a room.
    Room(RoomId),
}

impl Sectors {
    /// Creates a grid of sectors with sides of `size` units. A sector gets a room when it speaks
    /// to `crowd` sessions.
    pub fn new(size: u32, crowd: usize) -> Self {
        Self {
            size: i64::from(size.max(1)),
            crowd,
            slots: HashMap::new(),
            occupied: HashMap::new(),
            crowds: HashMap::new(),
            serial: 0,
        }
    }

    /// Returns the number of sessions with a position.
    pub fn count(&self) -> usize {
        self.slots.len()
    }

    /// Moves a session to a position.
    pub fn set_position(&mut self, session: SessionId, x: i32, y: i32, effects: &mut Effects) {
        let sector = (self.grid_index(x), self.grid_index(y));
        let slot = self.slots.get(&session).copied();
        let before = slot.map(|slot| slot.sector);
        if before == Some(sector) {
            return;
        }
        self.vacate(session);
        let occupants = self.occupied.entry(sector).or_insert_with(|| {
            metrics::SECTORS.add(1);
            Vec::new()
        });
        let spoke = slot.and_then(|slot| slot.spoke);
        self.slots.insert(session, Slot { sector, index: occupants.len() as u32, spoke });
        occupants.push(session);
        self.change_rooms(session, before, Some(sector), Departure::Voluntary, effects);
    }

    /// Returns the sector of a session that has sent a position.
    pub fn sector(&self, session: SessionId) -> Option<Sector> {
        self.slots.get(&session).map(|slot| slot.sector)
    }

    /// Removes a session. One that is kicked must not be able to read what follows.
    pub(super) fn remove(&mut self, session: SessionId, departure: Departure, effects: &mut Effects) {
        let before = self.slots.get(&session).map(|slot| slot.sector);
        self.vacate(session);
        self.change_rooms(session, before, None, departure, effects);
    }

    fn vacate(&mut self, session: SessionId) {
        let Some(Slot { sector, index, .. }) = self.slots.remove(&session) else { return };
        let Entry::Occupied(mut occupants) = self.occupied.entry(sector) else { return };
        occupants.get_mut().swap_remove(index as usize);
        if let Some(slot) = occupants.get().get(index as usize).and_then(|moved| self.slots.get_mut(moved)) {
            slot.index = index;
        }
        if occupants.get().is_empty() {
            occupants.remove();
            metrics::SECTORS.add(-1);
        }
    }

    /// Has a session that walked leave the rooms that it hears no more, and join those that it
    /// hears now.
    fn change_rooms(
        &mut self,
        session: SessionId,
        before: Option<Sector>,
        after: Option<Sector>,
        departure: Departure,
        effects: &mut Effects,
    ) {
        if self.crowds.is_empty() {
            return;
        }
        // Leaves first: a room may take over the place of the client's key for another one.
        for sector in before.into_iter().flat_map(around).filter(|sector| !hears(after, *sector)) {
            let Some(crowd) = self.crowds.get_mut(&sector) else { continue };
            departure.end_membership(Some(session), crowd.room, effects);
            crowd.listeners -= 1;
            if crowd.listeners < self.crowd.div_ceil(2) {
                self.end_room(sector, effects);
            }
        }
        for sector in after.into_iter().flat_map(around).filter(|sector| !hears(before, *sector)) {
            if let Some(crowd) = self.crowds.get_mut(&sector) {
                crowd.listeners += 1;
                effects.join(session, crowd.room);
            }
        }
    }

    /// Returns the recipients of a message of a session at `now`. Returns `None` if the session has
    /// no position.
    pub fn audience(&mut self, session: SessionId, now: Instant, effects: &mut Effects) -> Option<Audience> {
        let sector = self.slots.get(&session)?.sector;
        let audience = self.audience_of(sector, now, effects);
        let spoke = if let Audience::Room(room) = audience { Some((sector, room)) } else { None };
        let earlier = std::mem::replace(&mut self.slots.get_mut(&session)?.spoke, spoke);
        // A room's frames wait for the sweep. After a walk, the next words must not overtake them.
        if let Some((sector, room)) = earlier.filter(|_| earlier != spoke)
            && self.crowds.get(&sector).is_some_and(|crowd| crowd.room == room)
        {
            effects.settle(room);
        }
        Some(audience)
    }

    /// Returns the recipients of a message from a sector at `now`.
    pub(super) fn audience_of(&mut self, sector: Sector, now: Instant, effects: &mut Effects) -> Audience {
        if let Some(crowd) = self.crowds.get_mut(&sector) {
            crowd.last_used = now;
            return Audience::Room(crowd.room);
        }
        let sessions = self.listeners(sector);
        if sessions.len() < self.crowd {
            return Audience::Sessions(sessions);
        }
        let room = self.new_room(sector);
        for session in &sessions {
            effects.join(*session, room);
        }
        self.crowds.insert(sector, Crowd { room, listeners: sessions.len(), last_used: now });
        metrics::SECTOR_ROOMS.add(1);
        Audience::Room(room)
    }

    /// Ends the rooms that are not used any more.
    pub fn sweep(&mut self, now: Instant, effects: &mut Effects) {
        let is_unused = |crowd: &Crowd| now.saturating_duration_since(crowd.last_used) > UNUSED;
        let mut unused: Vec<_> =
            self.crowds.iter().filter(|(_, crowd)| is_unused(crowd)).map(|(sector, _)| *sector).collect();
        unused.sort_unstable();
        for sector in unused {
            self.end_room(sector, effects);
        }
    }

    fn end_room(&mut self, sector: Sector, effects: &mut Effects) {
        let Some(crowd) = self.crowds.remove(&sector) else { return };
        metrics::SECTOR_ROOMS.add(-1);
        for session in self.listeners(sector) {
            effects.leave(session, crowd.room);
        }
    }

    /// Returns the name of a new room of a sector.
    fn new_room(&mut self, sector: Sector) -> RoomId {
        loop {
            self.serial = self.serial.wrapping_add(1);
            let room = RoomId::nearby(self.serial, sector);
            // Serial numbers wrap around; those in use are skipped.
            if self.crowds.values().all(|crowd| crowd.room != room) {
                return room;
            }
        }
    }

    /// Returns the sessions of a sector and the eight around it.
    fn listeners(&self, sector: Sector) -> Vec<SessionId> {
        let occupants: Vec<&[SessionId]> =
            around(sector).filter_map(|sector| self.occupied.get(&sector)).map(Vec::as_slice).collect();
        occupants.concat()
    }

    /// Returns the column or row of a coordinate.
    fn grid_index(&self, coordinate: i32) -> i32 {
        // Dividing an i32 by at least 1 yields an i32.
        i64::from(coordinate).div_euclid(self.size) as i32
    }
}

/// Returns a sector and the eight around it. With sectors of one unit, those at the edge of the
/// coordinate range lack neighbors.
fn around((column, row): Sector) -> impl Iterator<Item = Sector> {
    let lines = |line: i32| (-1..=1).filter_map(move |step| line.checked_add(step));
    lines(column).flat_map(move |column| lines(row).map(move |row| (column, row)))
}

/// Returns true if a session at `place` hears the sector.
fn hears(place: Option<Sector>, (column, row): Sector) -> bool {
    place.is_some_and(|(c, r)| c.abs_diff(column) <= 1 && r.abs_diff(row) <= 1)
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::prelude::*;
    use throng_core::content::Effect;

    use super::*;

    fn id(number: usize) -> SessionId {
        SessionId::new(0, number as u32, 0)
    }

    /// Returns every user whose sector is at most one away in each direction.
    fn naive(positions: &[Option<(i32, i32)>], size: u32, user: usize) -> Option<Vec<SessionId>> {
        let grid_index = |coordinate: i32| (f64::from(coordinate) / f64::from(size)).floor();
        let near = |a: i32, b: i32| (grid_index(a) - grid_index(b)).abs() <= 1.0;
        let (x, y) = positions[user]?;
        let others = positions.iter().enumerate();
        let others = others.filter(|(_, position)| position.is_some_and(|(a, b)| near(x, a) && near(y, b)));
        Some(others.map(|(number, _)| id(number)).collect())
    }

    fn coordinate() -> impl Strategy<Value = i32> {
        prop_oneof![-350..350, Just(i32::MIN), Just(i32::MAX), Just(i32::MIN + 1), any::<i32>()]
    }

    /// Memberships as a dispatcher keeps them. Checks that joins and leaves alternate.
    #[derive(Default)]
    struct Members(BTreeMap<RoomId, BTreeSet<SessionId>>);

    impl Members {
        fn apply(&mut self, effects: &mut Effects) {
            for effect in effects.drain() {
                match effect {
                    Effect::Join(id, room) => assert!(self.0.entry(room).or_default().insert(id)),
                    Effect::Leave(id, room) | Effect::Expel(id, room) => {
                        let members = self.0.get_mut(&room).expect("a room with members");
                        assert!(members.remove(&id));
                        if members.is_empty() {
                            self.0.remove(&room);
                        }
                    }
                    Effect::Settle(room) => assert!(self.0.contains_key(&room)),
                    _ => panic!("not an effect of sectors"),
                }
            }
            // A client has one key a place.
            let places =
                self.0.iter().flat_map(|(room, members)| members.iter().map(|id| (*id, room.key_place())));
            let count = places.clone().count();
            assert_eq!(places.collect::<BTreeSet<_>>().len(), count, "two rooms have one place");
        }
    }

    #[derive(Debug, Clone)]
    enum Act {
        Walk(usize, i32, i32),
        Leave(usize),
        Speak(usize),
        Wait,
    }

    fn act() -> impl Strategy<Value = Act> {
        prop_oneof![
            6 => (0..12usize, coordinate(), coordinate()).prop_map(|(user, x, y)| Act::Walk(user, x, y)),
            2 => (0..12usize).prop_map(Act::Leave),
            6 => (0..12usize).prop_map(Act::Speak),
            1 => Just(Act::Wait),
        ]
    }

    proptest! {
        #[test]
        fn a_message_nearby_reaches_those_that_a_comparison_of_all_pairs_finds(
            size in prop_oneof![Just(1), Just(100), Just(u32::MAX >> 2), 1..500u32],
            crowd in 2..8usize,
            acts in prop::collection::vec(act(), 0..120),
        ) {
            let mut sectors = Sectors::new(size, crowd);
            let mut positions = [None; 12];
            let (mut members, mut effects) = (Members::default(), Effects::default());
            let mut now = Instant::now();
            for act in acts {
                match act {
                    Act::Walk(user, x, y) => {
                        sectors.set_position(id(user), x, y, &mut effects);
                        positions[user] = Some((x, y));
                    }
                    Act::Leave(user) => {
                        sectors.remove(id(user), Departure::Voluntary, &mut effects);
                        positions[user] = None;
                    }
                    Act::Wait => {
                        now += 2 * UNUSED;
                        sectors.sweep(now, &mut effects);
                        prop_assert!(sectors.crowds.is_empty());
                    }
                    Act::Speak(user) => {
                        let audience = sectors.audience(id(user), now, &mut effects);
                        members.apply(&mut effects);
                        let heard = audience.map(|audience| match audience {
                            Audience::Sessions(sessions) => sessions.into_iter().collect(),
                            Audience::Room(room) => members.0[&room].clone(),
                        });
                        let wanted = naive(&positions, size, user).map(BTreeSet::from_iter);
                        if let Some(wanted) = &wanted {
                            prop_assert!(wanted.len() < crowd || !sectors.crowds.is_empty());
                        }
                        prop_assert_eq!(heard, wanted);
                    }
                }
                members.apply(&mut effects);
                prop_assert_eq!(members.0.len(), sectors.crowds.len());
                prop_assert_eq!(sectors.count(), positions.iter().flatten().count());
                prop_assert!(sectors.occupied.values().all(|occupants| !occupants.is_empty()));
            }
        }
    }
}
