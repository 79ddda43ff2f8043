//! Who entered and who left, told to those who are there.
//!
//! In a small room each change is told at once. In a large one that would cost members x movers: there, what
//! happens in an interval is told together. Work and memory follow the changes, of which a notice names so many at
//! most, and not the members; rooms in which nothing changes cost nothing.
//!
//! A notice says what is true *at its version*: each id that it names stands either among those who entered and are
//! there, or among those who are not. So notices are set operations that may be repeated, and that may be mixed with pages
//! of the list, which overtake them: whatever a late notice undoes, the next one does again.

use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, Instant};

use throng_core::content::Effects;
use throng_core::limits::{ENTERED_MAX, LEFT_MAX, LIST_BYTES_MAX};
use throng_core::metrics;
use throng_core::room::{Class, RoomId};
use throng_core::wire::List;
use throng_core::wire::packets::{User, UsersChanged};

use super::pages::encoded_length;

/// How the list of a room's users stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListState {
    /// Enterings and leavings so far.
    pub version: u64,
    /// Users there.
    pub head_count: u32,
}

/// A change of a list.
#[derive(Debug, Clone, Copy)]
enum Change<'a> {
    Entered(&'a User),
    Left(u32),
}

/// What is yet to be told, in all rooms.
#[derive(Debug)]
pub struct Notices {
    at_once: u32,
    interval: Duration,
    /// Only rooms in which something has changed.
    pending: HashMap<u32, Pending>,
    /// The same rooms, by when they are told.
    due: BTreeSet<(Instant, u32)>,
}

/// What is yet to be told in one room.
#[derive(Debug)]
struct Pending {
    due: Instant,
    since: u64,
    tally: ListState,
    is_complete: bool,
    entered: Vec<User>,
    left: Vec<u32>,
    /// What the two hold, encoded.
    bytes: usize,
}

impl Notices {
    /// Rooms with up to `at_once` users are told at once, others after `interval`.
    pub fn new(at_once: u32, interval: Duration) -> Self {
        Self { at_once, interval, pending: HashMap::new(), due: BTreeSet::new() }
    }

    /// A user has entered a room, whose list now stands as `tally` says. Call it before the newcomer joins the
    /// room: where it is told at once, the newcomer is not told of itself.
    pub fn entered(
        &mut self,
        room: RoomId,
        user: &User,
        tally: ListState,
        now: Instant,
        effects: &mut Effects,
    ) {
        // The first one has nobody to be told to.
        if tally.head_count > 1 {
            self.change(room, Change::Entered(user), tally, now, effects);
        }
    }

    /// A user has left a room, whose list now stands as `tally` says.
    pub fn left(&mut self, room: RoomId, user: u32, tally: ListState, now: Instant, effects: &mut Effects) {
        if tally.head_count == 0 {
            self.take(room);
        } else {
            self.change(room, Change::Left(user), tally, now, effects);
        }
    }

    fn change(
        &mut self,
        room: RoomId,
        change: Change<'_>,
        tally: ListState,
        now: Instant,
        effects: &mut Effects,
    ) {
        let due = now + self.interval;
        let fresh = || Pending::new(tally, due);
        if tally.head_count <= self.at_once {
            let mut pending = self.take(room).unwrap_or_else(fresh);
            pending.add(change, tally);
            pending.tell(room, effects);
            return;
        }
        metrics::NOTICES_COALESCED.inc();
        let pending = match self.pending.entry(room.0) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => {
                let pending = fresh();
                self.due.insert((pending.due, room.0));
                entry.insert(pending)
            }
        };
        pending.add(change, tally);
    }

    /// Nothing is pending in the room any more.
    fn take(&mut self, room: RoomId) -> Option<Pending> {
        let pending = self.pending.remove(&room.0)?;
        self.due.remove(&(pending.due, room.0));
        Some(pending)
    }

    /// Tells what is due; the result is when there is more to tell.
    pub fn tick(&mut self, now: Instant, effects: &mut Effects) -> Option<Instant> {
        while let Some((at, room)) = self.due.first().copied() {
            if at > now {
                return Some(at);
            }
            if let Some(pending) = self.take(RoomId(room)) {
                pending.tell(RoomId(room), effects);
            }
        }
        None
    }
}

impl Pending {
    /// Of a room whose list has just come to `tally`, by one change.
    fn new(tally: ListState, due: Instant) -> Self {
        let since = tally.version.saturating_sub(1);
        Self { due, since, tally, is_complete: true, entered: Vec::new(), left: Vec::new(), bytes: 0 }
    }

    fn add(&mut self, change: Change<'_>, tally: ListState) {
        self.tally = tally;
        match change {
            Change::Entered(user) => {
                // Only to a channel does one come back under the same number.
                if let Some(at) = self.left.iter().position(|id| *id == user.id) {
                    self.bytes -= size_of_val(&self.left.remove(at));
                }
                if self.entered.len() < ENTERED_MAX && self.takes(encoded_length(user)) {
                    self.entered.push(user.clone());
                } else {
                    self.is_complete = false;
                }
            }
            Change::Left(id) => {
                if let Some(at) = self.entered.iter().rposition(|user| user.id == id) {
                    self.bytes -= encoded_length(&self.entered.remove(at));
                }
                // Pages may have shown whoever had entered since: it is named all the same.
                if self.left.len() < LEFT_MAX && self.takes(size_of_val(&id)) {
                    self.left.push(id);
                } else {
                    self.is_complete = false;
                }
            }
        }
    }

    /// Whether the notice has room for so many bytes more, which it then holds.
    fn takes(&mut self, bytes: usize) -> bool {
        let fits = self.bytes + bytes <= LIST_BYTES_MAX;
        self.bytes += if fits { bytes } else { 0 };
        fits
    }

    fn tell(self, room: RoomId, effects: &mut Effects) {
        metrics::NOTICES.inc();
        metrics::NOTICES_INCOMPLETE.add(u64::from(!self.is_complete));
        let notice = UsersChanged {
            channel: room.0,
            since: self.since,
            version: self.tally.version,
            head_count: self.tally.head_count,
            complete: self.is_complete,
            entered: List::take_from(&mut self.entered.into_iter()),
            left: List::take_from(&mut self.left.into_iter()),
        };
        effects.broadcast(room, Class::Notice, notice);
    }
}

#[cfg(test)]
mod tests;
