//! Users in one array, sorted by id, from which list pages are made.
//!
//! Ten thousand users that each fetch the whole list read fifty million entries, so the entries are
//! contiguous.

use throng_core::wire::packets::{Name, User};

/// Users by ascending id.
///
/// Ids ascend as users enter, so a new user is appended. A user that leaves becomes a gap. The
/// array is compacted when more than half of it are gaps.
#[derive(Debug, Default)]
pub struct Roster {
    rows: Vec<Row>,
    gaps: usize,
}

#[derive(Debug)]
struct Row {
    id: u32,
    is_gap: bool,
    name: Name,
}

impl Roster {
    /// Adds a user. Its id must be free.
    pub fn insert(&mut self, user: &User) {
        let row = Row { id: user.id, is_gap: false, name: user.name.clone() };
        // The end of the array, unless ids have wrapped around.
        let at = self.find_from(self.rows.len().saturating_sub(1), user.id);
        match self.rows.get_mut(at).filter(|found| found.id == row.id) {
            Some(gap) => {
                *gap = row;
                self.gaps -= 1;
            }
            None => self.rows.insert(at, row),
        }
    }

    /// Removes a user, if it is present.
    pub fn remove(&mut self, id: u32) {
        let at = self.rows.partition_point(|row| row.id < id);
        let Some(row) = self.rows.get_mut(at).filter(|row| row.id == id && !row.is_gap) else { return };
        row.is_gap = true;
        row.name = Name::default();
        self.gaps += 1;
        if self.gaps > self.rows.len() / 2 {
            self.rows.retain(|row| !row.is_gap);
            self.gaps = 0;
            self.rows.shrink_to(2 * self.rows.len());
        }
    }

    /// Returns the number of users.
    pub fn count(&self) -> usize {
        self.rows.len() - self.gaps
    }

    /// Returns the highest id, or 0 without users.
    pub fn last(&self) -> u32 {
        self.rows.iter().rfind(|row| !row.is_gap).map_or(0, |row| row.id)
    }

    /// Returns the users with ids above `after`.
    pub fn after(&self, after: u32) -> impl Iterator<Item = (u32, &Name)> {
        let start = self.rows.partition_point(|row| row.id <= after);
        self.rows[start..].iter().filter(|row| !row.is_gap).map(|row| (row.id, &row.name))
    }

    /// Returns the users with the given ids, which must ascend. Absent ids are skipped.
    pub fn select(&self, ids: impl Iterator<Item = u32>) -> impl Iterator<Item = (u32, &Name)> {
        let mut at = None;
        ids.filter_map(move |id| {
            let found = match at {
                None => self.rows.partition_point(|row| row.id < id),
                Some(at) => self.find_from(at, id),
            };
            at = Some(found);
            self.rows.get(found).filter(|row| row.id == id && !row.is_gap).map(|row| (row.id, &row.name))
        })
    }

    /// Returns the first index with an id of at least `id`. The search gallops from `start`, or
    /// starts at the beginning if `start` lies behind the id.
    fn find_from(&self, start: usize, id: u32) -> usize {
        let is_past = self.rows.get(start).is_some_and(|row| row.id > id);
        let mut from = if is_past { 0 } else { start };
        let mut to = start;
        let mut step = 1;
        // The id is usually near `start`.
        while self.rows.get(to).is_some_and(|row| row.id < id) {
            from = to + 1;
            to += step;
            step *= 2;
        }
        let to = to.min(self.rows.len());
        from + self.rows[from..to].partition_point(|row| row.id < id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;
    use throng_core::wire::Text;

    proptest! {
        #[test]
        fn a_roster_is_an_ordered_map(steps in prop::collection::vec((any::<bool>(), 0..40u32), 0..200)) {
            let mut roster = Roster::default();
            let mut model = BTreeMap::new();
            let mut last = 0;
            for (enters, number) in steps {
                if enters {
                    // Mostly a new id, sometimes one that was used before.
                    let id = if number < 36 { last + 1 } else { number };
                    last = last.max(id);
                    let user = User { id, name: Text::truncated(&format!("user {id} of a long name, as it happens")) };
                    if model.insert(id, user.clone()).is_none() {
                        roster.insert(&user);
                    }
                } else {
                    roster.remove(number);
                    model.remove(&number);
                }
                prop_assert_eq!(roster.count(), model.len());
                let row = |user: &'_ User| (user.id, user.name.clone());
                let rows = |rows: Vec<(u32, &Name)>| -> Vec<_> { rows.into_iter().map(|(id, name)| (id, name.clone())).collect() };
                let wanted: Vec<_> = model.range(number + 1..).map(|entry| row(entry.1)).collect();
                prop_assert_eq!(rows(roster.after(number).collect()), wanted);
                let ids = (number..50).step_by(3);
                let wanted: Vec<_> = ids.clone().filter_map(|id| model.get(&id).map(row)).collect();
                prop_assert_eq!(rows(roster.select(ids).collect()), wanted);
                prop_assert!(roster.gaps <= roster.rows.len() / 2);
            }
        }
    }
}
