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

use super::list_state::ListState;
use super::pages::encoded_length;

/// A change of a list.
#[derive(Debug, Clone, Copy)]
enum Change<'a> {
    Entered(&'a User),
    Left(u32),
}

/// What is yet to be told, in all rooms.
#[derive(Debug)]
pub struct Notices {
    immediate_max: u32,
    interval: Duration,
    /// Only rooms in which something has changed.
    pending: HashMap<u32, PendingNotice>,
    /// The same rooms, by when they are told.
    schedule: BTreeSet<(Instant, u32)>,
}

/// What is yet to be told in one room.
#[derive(Debug)]
struct PendingNotice {
    flush_at: Instant,
    since: u64,
    list_state: ListState,
    is_complete: bool,
    entered: Vec<User>,
    left: Vec<u32>,
    /// What the two hold, encoded.
    bytes: usize,
}

impl Notices {
    /// Rooms with up to `at_once` users are told at once, others after `interval`.
    pub fn new(immediate_max: u32, interval: Duration) -> Self {
        Self { immediate_max, interval, pending: HashMap::new(), schedule: BTreeSet::new() }
    }

    /// A user has entered a room, whose list now stands as `tally` says. Call it before the newcomer joins the
    /// room: where it is told at once, the newcomer is not told of itself.
    pub fn entered(
        &mut self,
        room: RoomId,
        user: &User,
        list_state: ListState,
        now: Instant,
        effects: &mut Effects,
    ) {
        // The first one has nobody to be told to.
        if list_state.head_count > 1 {
            self.record(room, Change::Entered(user), list_state, now, effects);
        }
    }

    /// A user has left a room, whose list now stands as `tally` says.
    pub fn left(
        &mut self,
        room: RoomId,
        user: u32,
        list_state: ListState,
        now: Instant,
        effects: &mut Effects,
    ) {
        if list_state.head_count == 0 {
            self.remove_pending(room);
        } else {
            self.record(room, Change::Left(user), list_state, now, effects);
        }
    }

    fn record(
        &mut self,
        room: RoomId,
        change: Change<'_>,
        list_state: ListState,
        now: Instant,
        effects: &mut Effects,
    ) {
        let flush_at = now + self.interval;
        let new_pending = || PendingNotice::new(list_state, flush_at);
        if list_state.head_count <= self.immediate_max {
            let mut pending = self.remove_pending(room).unwrap_or_else(new_pending);
            pending.add(change, list_state);
            pending.broadcast(room, effects);
            return;
        }
        metrics::NOTICES_COALESCED.inc();
        let pending = match self.pending.entry(room.0) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => {
                let pending = new_pending();
                self.schedule.insert((pending.flush_at, room.0));
                entry.insert(pending)
            }
        };
        pending.add(change, list_state);
    }

    /// Nothing is pending in the room any more.
    fn remove_pending(&mut self, room: RoomId) -> Option<PendingNotice> {
        let pending = self.pending.remove(&room.0)?;
        self.schedule.remove(&(pending.flush_at, room.0));
        Some(pending)
    }

    /// Tells what is due; the result is when there is more to tell.
    pub fn tick(&mut self, now: Instant, effects: &mut Effects) -> Option<Instant> {
        while let Some((at, room)) = self.schedule.first().copied() {
            if at > now {
                return Some(at);
            }
            if let Some(pending) = self.remove_pending(RoomId(room)) {
                pending.broadcast(RoomId(room), effects);
            }
        }
        None
    }
}

impl PendingNotice {
    /// Of a room whose list has just come to `tally`, by one change.
    fn new(list_state: ListState, flush_at: Instant) -> Self {
        let since = list_state.version.saturating_sub(1);
        Self {
            flush_at,
            since,
            list_state,
            is_complete: true,
            entered: Vec::new(),
            left: Vec::new(),
            bytes: 0,
        }
    }

    fn add(&mut self, change: Change<'_>, list_state: ListState) {
        self.list_state = list_state;
        match change {
            Change::Entered(user) => {
                // Only to a channel does one come back under the same number.
                if let Some(at) = self.left.iter().position(|id| *id == user.id) {
                    self.bytes -= size_of_val(&self.left.remove(at));
                }
                if self.entered.len() < ENTERED_MAX && self.reserve(encoded_length(user)) {
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
                if self.left.len() < LEFT_MAX && self.reserve(size_of_val(&id)) {
                    self.left.push(id);
                } else {
                    self.is_complete = false;
                }
            }
        }
    }

    /// Whether the notice has room for so many bytes more, which it then holds.
    fn reserve(&mut self, bytes: usize) -> bool {
        let fits = self.bytes + bytes <= LIST_BYTES_MAX;
        if fits {
            self.bytes += bytes;
        }
        fits
    }

    fn broadcast(self, room: RoomId, effects: &mut Effects) {
        metrics::NOTICES.inc();
        if !self.is_complete {
            metrics::NOTICES_INCOMPLETE.inc();
        }
        let notice = UsersChanged {
            channel: room.0,
            since: self.since,
            version: self.list_state.version,
            head_count: self.list_state.head_count,
            complete: self.is_complete,
            entered: List::take_from(&mut self.entered.into_iter()),
            left: List::take_from(&mut self.left.into_iter()),
        };
        effects.broadcast(room, Class::Notice, notice);
    }
}

#[cfg(test)]
mod tests;
