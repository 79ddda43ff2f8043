//! Session table of fixed size, whose slots are reused and whose ids are not.

use slab::Slab;

use crate::SessionId;

/// Table of at most `capacity` entries, allocated once. A slot's generation goes up each time the
/// slot is vacated, so that the id of an entry that is gone finds nothing.
pub struct Table<T> {
    shard: u8,
    slots: Slab<T>,
    generations: Vec<u32>,
    capacity: usize,
}

impl<T> Table<T> {
    /// Creates the empty table of a shard.
    pub fn new(shard: u8, capacity: usize) -> Self {
        Self { shard, slots: Slab::with_capacity(capacity), generations: vec![0; capacity], capacity }
    }

    /// Returns the number of entries.
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Returns true if there are no entries.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// Inserts the entry that `make` returns for its id. Returns the id, or none if the table is
    /// full.
    pub fn insert_with(&mut self, make: impl FnOnce(SessionId) -> T) -> Option<SessionId> {
        if self.slots.len() == self.capacity {
            return None;
        }
        let entry = self.slots.vacant_entry();
        let slot = entry.key();
        let id = SessionId::new(self.shard, slot as u32, self.generations[slot]);
        entry.insert(make(id));
        Some(id)
    }

    fn is_current(&self, id: SessionId) -> bool {
        id.shard() == usize::from(self.shard) && self.generations.get(id.slot()) == Some(&id.generation())
    }

    /// Returns the entry, unless it is gone.
    pub fn get_mut(&mut self, id: SessionId) -> Option<&mut T> {
        if self.is_current(id) { self.slots.get_mut(id.slot()) } else { None }
    }

    /// Returns the entry, unless it is gone.
    pub fn get(&self, id: SessionId) -> Option<&T> {
        if self.is_current(id) { self.slots.get(id.slot()) } else { None }
    }

    /// Removes an entry, and ends the life of its id.
    pub fn remove(&mut self, id: SessionId) -> Option<T> {
        if !self.is_current(id) {
            return None;
        }
        let entry = self.slots.try_remove(id.slot())?;
        let generation = &mut self.generations[id.slot()];
        *generation = generation.wrapping_add(1);
        Some(entry)
    }

    /// Returns the ids of all entries.
    pub fn ids(&self) -> impl Iterator<Item = SessionId> {
        self.slots.iter().map(|(slot, _)| SessionId::new(self.shard, slot as u32, self.generations[slot]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

    #[test]
    fn a_full_table_takes_no_more_and_never_grows() {
        let mut table = Table::new(3, 2);
        let first = table.insert_with(|_| 'a').unwrap();
        table.insert_with(|_| 'b').unwrap();
        assert_eq!(table.insert_with(|_| 'c'), None);
        assert_eq!(table.remove(first), Some('a'));
        assert!(table.insert_with(|_| 'c').is_some());
    }

    proptest! {
        #[test]
        fn stale_ids_find_nothing(steps: Vec<(bool, prop::sample::Index)>) {
            let mut table = Table::new(1, 8);
            let mut live = HashMap::new();
            let mut dead = Vec::new();
            for (number, (insert, pick)) in steps.into_iter().enumerate() {
                if insert {
                    if let Some(id) = table.insert_with(|_| number) {
                        prop_assert!(live.insert(id, number).is_none());
                    }
                } else if !live.is_empty() {
                    let id = *pick.get(&live.keys().copied().collect::<Vec<_>>());
                    prop_assert_eq!(table.remove(id), live.remove(&id));
                    dead.push(id);
                }
                prop_assert!(live.iter().all(|(id, number)| table.get(*id) == Some(number)));
                prop_assert!(dead.iter().all(|id| table.get(*id).is_none()));
                prop_assert_eq!(table.len(), live.len());
                prop_assert_eq!(table.ids().count(), live.len());
            }
        }
    }
}
