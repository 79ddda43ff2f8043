//! A grid of square sectors that finds the sessions near a position. Only occupied sectors take
//! memory.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use throng_core::{SessionId, metrics};

/// A sector's column and row.
type Sector = (i32, i32);

/// The sectors of all sessions that have sent a position.
#[derive(Debug)]
pub struct Sectors {
    size: i64,
    slots: HashMap<SessionId, Slot>,
    occupied: HashMap<Sector, Vec<SessionId>>,
}

/// The sector of a session, and its index there.
#[derive(Debug, Clone, Copy)]
struct Slot {
    sector: Sector,
    index: u32,
}

impl Sectors {
    /// Creates a grid of sectors with sides of `size` units.
    pub fn new(size: u32) -> Self {
        Self { size: i64::from(size.max(1)), slots: HashMap::new(), occupied: HashMap::new() }
    }

    /// Returns the number of sessions with a position.
    pub fn count(&self) -> usize {
        self.slots.len()
    }

    /// Moves a session to a position.
    pub fn set_position(&mut self, session: SessionId, x: i32, y: i32) {
        let sector = (self.grid_index(x), self.grid_index(y));
        match self.slots.get(&session) {
            Some(slot) if slot.sector == sector => return,
            Some(_) => self.remove(session),
            None => {}
        }
        let occupants = self.occupied.entry(sector).or_insert_with(|| {
            metrics::SECTORS.add(1);
            Vec::new()
        });
        self.slots.insert(session, Slot { sector, index: occupants.len() as u32 });
        occupants.push(session);
    }

    /// Removes a session.
    pub fn remove(&mut self, session: SessionId) {
        let Some(Slot { sector, index }) = self.slots.remove(&session) else { return };
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

    /// Returns the sessions in a session's sector and the eight around it, itself included. Returns
    /// `None` if the session has no position.
    pub fn nearby(&self, session: SessionId) -> Option<Vec<SessionId>> {
        let (column, row) = self.slots.get(&session)?.sector;
        // With sectors of one unit, the ones at the edge of the coordinate range lack neighbors.
        let around = |line: i32| (-1..=1).filter_map(move |step| line.checked_add(step));
        let sectors = around(column).flat_map(|column| around(row).map(move |row| (column, row)));
        let occupants: Vec<&[SessionId]> =
            sectors.filter_map(|sector| self.occupied.get(&sector)).map(Vec::as_slice).collect();
        Some(occupants.concat())
    }

    /// Returns the column or row of a coordinate.
    fn grid_index(&self, coordinate: i32) -> i32 {
        // Dividing an i32 by at least 1 yields an i32.
        i64::from(coordinate).div_euclid(self.size) as i32
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

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

    proptest! {
        #[test]
        fn nearby_agrees_with_a_comparison_of_all_pairs(
            size in prop_oneof![Just(1), Just(100), Just(u32::MAX >> 2), 1..500u32],
            steps in prop::collection::vec(
                (0..12usize, prop::option::weighted(0.8, (coordinate(), coordinate()))), 0..60),
        ) {
            let mut sectors = Sectors::new(size);
            let mut positions = [None; 12];
            for (user, position) in steps {
                match position {
                    Some((x, y)) => sectors.set_position(id(user), x, y),
                    None => sectors.remove(id(user)),
                }
                positions[user] = position;
                for user in 0..positions.len() {
                    let nearby = sectors.nearby(id(user)).map(|mut nearby| { nearby.sort(); nearby });
                    prop_assert_eq!(nearby, naive(&positions, size, user));
                }
                prop_assert_eq!(sectors.count(), positions.iter().flatten().count());
                prop_assert!(sectors.occupied.values().all(|occupants| !occupants.is_empty()));
            }
        }
    }
}
