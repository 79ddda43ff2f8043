//! Notices announce the users that enter and leave a room to its members.
//!
//! A small room announces each change at once. In a large room this would cost members times
//! changes, so the changes of an interval are coalesced into one notice. Work and memory grow with
//! the number of changes, up to the limits of a notice, and not with the number of members. A room
//! without changes costs nothing.
//!
//! A notice is true *at its version*: it names each id either as entered (and present) or as left
//! (and absent). Notices are therefore set operations. They may be applied twice, and pages of the
//! list may overtake them: the next notice repairs what a late one undoes.

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

#[derive(Debug, Clone, Copy)]
enum Change<'a> {
    Entered(&'a User),
    Left(u32),
}

/// The notices of all rooms that are not sent yet.
#[derive(Debug)]
pub struct Notices {
    immediate_max: u32,
    interval: Duration,
    /// By room; rooms with unannounced changes only.
    pending: HashMap<u32, PendingNotice>,
    /// The rooms in `pending`, by the time at which their notice is sent.
    schedule: BTreeSet<(Instant, u32)>,
}

/// The changes of one room that are not announced yet.
#[derive(Debug)]
struct PendingNotice {
    flush_at: Instant,
    /// The list's version before the first of the changes.
    since: u64,
    list_state: ListState,
    is_complete: bool,
    entered: Vec<User>,
    left: Vec<u32>,
    /// Encoded size of `entered` and `left`.
    bytes: usize,
}

impl Notices {
    /// Rooms with up to `immediate_max` users announce each change at once, larger ones every
    /// `interval`.
    pub fn new(immediate_max: u32, interval: Duration) -> Self {
        Self { immediate_max, interval, pending: HashMap::new(), schedule: BTreeSet::new() }
    }

    /// Records that a user has entered a room, whose list is now at `list_state`.
    ///
    /// Call it before the user's session joins the room: an immediate notice then does not reach
    /// that session.
    pub fn entered(
        &mut self,
        room: RoomId,
        user: &User,
        list_state: ListState,
        now: Instant,
        effects: &mut Effects,
    ) {
        // The first user of a room has no audience.
        if list_state.head_count > 1 {
            self.record(room, Change::Entered(user), list_state, now, effects);
        }
    }

    /// Records that a user has left a room, whose list is now at `list_state`.
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

    fn remove_pending(&mut self, room: RoomId) -> Option<PendingNotice> {
        let pending = self.pending.remove(&room.0)?;
        self.schedule.remove(&(pending.flush_at, room.0));
        Some(pending)
    }

    #[cfg(test)]
    pub(super) fn count(&self) -> usize {
        self.pending.len()
    }

    /// Sends the notices that are due. Returns the time at which the next one will be.
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
    /// Starts the notice of a room whose list has come to `list_state` by one change.
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
        if !self.is_complete {
            return;
        }
        match change {
            Change::Entered(user) => {
                // A user can return under the same id to a channel, not to the world.
                if let Some(at) = self.left.iter().position(|id| *id == user.id) {
                    self.bytes -= size_of_val(&self.left.remove(at));
                }
                if self.entered.len() < ENTERED_MAX && self.reserve(encoded_length(user)) {
                    self.entered.push(user.clone());
                } else {
                    self.drop_names();
                }
            }
            Change::Left(id) => {
                if let Some(at) = self.entered.iter().rposition(|user| user.id == id) {
                    self.bytes -= encoded_length(&self.entered.remove(at));
                }
                // Named even if it entered within this notice: a page may have shown it meanwhile.
                if self.left.len() < LEFT_MAX && self.reserve(size_of_val(&id)) {
                    self.left.push(id);
                } else {
                    self.drop_names();
                }
            }
        }
    }

    /// Drops all names, because not all fit: clients have to fetch the list again anyway, and the
    /// burst that fills a notice is the worst time to copy 16 KiB to each of them.
    fn drop_names(&mut self) {
        self.is_complete = false;
        self.entered = Vec::new();
        self.left = Vec::new();
    }

    /// Adds `bytes` to the notice's size if they fit. Returns true if they did.
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
