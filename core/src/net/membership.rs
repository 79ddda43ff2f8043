//! The rooms of one shard: who is in which, what each member has not had, and who is written to next.
//!
//! Knows no socket: frames go in, slices to write come out, and how much of them was written goes in again.
//! The sweep goes round and round through a room's members while anybody in it has something to get. A message joins the
//! round that is under way, so a round's length bounds the system calls, not messages times members.

use std::collections::{HashMap, VecDeque};
use std::time::Instant;

use slab::Slab;

use super::room_log::{Log, SegmentPool};
use crate::SessionId;
use crate::crypto::room::stamp_fan_out;
use crate::limits::SWEEP_SLICE;
use crate::room::{Class, RoomId};

/// How much of what members have not had is kept.
#[derive(Debug, Clone, Copy)]
pub struct LogLimits {
    /// Segments of a room's log, at most, for each class.
    pub segments: [usize; 2],
    /// Segments of all logs of a shard together.
    pub pool: usize,
}

/// The rooms of one shard.
pub struct Rooms {
    slots: Slab<Room>,
    index: HashMap<RoomId, usize>,
    /// By the slot of a session: where it is a member.
    of: Vec<Vec<Place>>,
    /// Rooms whose round is not over, each once.
    sweeping: VecDeque<usize>,
    /// Members visited in the first of them since it came to the front.
    visited: usize,
    /// Frames that nobody has been sent yet, and when they were sealed.
    fresh: Vec<(usize, Class, u64, Instant)>,
    /// Frames that members were given since somebody asked.
    given: u64,
    /// Decides where rounds begin.
    random: u64,
    limits: LogLimits,
    pool: SegmentPool,
}

/// A membership, from the session's side.
#[derive(Debug, Clone, Copy)]
struct Place {
    room: u32,
    place: u32,
}

impl Place {
    fn new(room: usize, place: usize) -> Self {
        Self { room: room as u32, place: place as u32 }
    }

    /// Which of the rooms, and which place among its members.
    fn get(self) -> (usize, usize) {
        (self.room as usize, self.place as usize)
    }
}

#[derive(Debug)]
struct Room {
    id: RoomId,
    members: Vec<Member>,
    logs: [Log; 2],
    /// The place that the sweep comes to next.
    at: usize,
    /// Places that it has still to come to in this round.
    left: usize,
    /// Whether it stops at everybody in this round, and not only at those who have not caught up.
    stops_everywhere: bool,
    /// Whether it stands in [`Rooms::sweeping`].
    is_sweeping: bool,
}

#[derive(Debug)]
struct Member {
    id: SessionId,
    /// The next frame of each log.
    cursors: [u64; 2],
    /// Messages that it did not get, and has not been told of.
    missed: u64,
    /// Notices that it did not get, and that have not been counted.
    shed: u64,
}

/// Messages or notices that a member has lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gap {
    /// The room.
    pub room: RoomId,
    /// What was lost.
    pub class: Class,
    /// How many.
    pub count: u64,
}

impl Rooms {
    /// No rooms yet.
    pub fn new(limits: LogLimits) -> Self {
        Self {
            slots: Slab::new(),
            index: HashMap::new(),
            of: Vec::new(),
            sweeping: VecDeque::new(),
            visited: 0,
            fresh: Vec::new(),
            given: 0,
            random: 0,
            limits,
            pool: SegmentPool::new(limits.pool),
        }
    }

    /// Makes the session a member, who gets what is appended from now on. Twice is once.
    pub fn join(&mut self, id: SessionId, room: RoomId) {
        if self.of.len() <= id.slot() {
            self.of.resize_with(id.slot() + 1, Vec::new);
        }
        let at = *self.index.entry(room).or_insert_with(|| self.slots.insert(Room::new(room)));
        let places = &mut self.of[id.slot()];
        if places.iter().any(|place| place.get().0 == at) {
            return;
        }
        let room = &mut self.slots[at];
        // Most are in one room, and of those there may be ten thousand.
        places.reserve_exact(1);
        places.push(Place::new(at, room.members.len()));
        let cursors = room.logs.each_mut().map(Log::join);
        room.members.push(Member { id, cursors, missed: 0, shed: 0 });
        // The sweep may have to pass the new place to come to the first ones.
        room.left += usize::from(room.left > 0);
    }

    /// Ends a membership, if there is one. What the member had not had goes to `settle`, in its order: whoever
    /// leaves still gets what was said before, unless that is more than `limit` bytes. The result is a member who is behind and
    /// must be visited out of turn, because it got a place that the sweep has passed.
    pub fn leave(
        &mut self,
        id: SessionId,
        room: RoomId,
        mut limit: usize,
        settle: impl FnMut(&[u8]),
    ) -> Option<SessionId> {
        let at = *self.index.get(&room)?;
        let places = self.of.get_mut(id.slot())?;
        let found = places.iter().position(|place| place.get().0 == at)?;
        let place = places[found].get().1;
        if self.slots[at].members[place].id != id {
            return None;
        }
        places.swap_remove(found);
        self.settle_one(at, place, &mut limit, settle);
        self.take_out(at, place)
    }

    /// Ends all memberships of a session. Members to visit out of turn go to `moved`.
    pub fn leave_all(&mut self, id: SessionId, mut moved: impl FnMut(SessionId)) {
        if self.places(id).is_empty() {
            return;
        }
        while let Some(last) = self.of[id.slot()].pop() {
            let (room, place) = last.get();
            self.take_out(room, place).into_iter().for_each(&mut moved);
        }
    }

    /// Gives all that a session has not had to `settle`, as if it were written; but not more than `limit` bytes: what
    /// is left out then counts as lost.
    pub fn settle(&mut self, id: SessionId, mut limit: usize, mut settle: impl FnMut(&[u8])) {
        for at in 0..self.places(id).len() {
            let (room, place) = self.places(id)[at].get();
            self.settle_one(room, place, &mut limit, &mut settle);
        }
    }

    /// As [`Self::settle`], for one room.
    pub fn settle_room(&mut self, id: SessionId, room: RoomId, mut limit: usize, settle: impl FnMut(&[u8])) {
        if let Some((room, place)) = self.place_in(id, room) {
            self.settle_one(room, place, &mut limit, settle);
        }
    }

    fn settle_one(&mut self, room: usize, place: usize, limit: &mut usize, mut settle: impl FnMut(&[u8])) {
        let room = &mut self.slots[room];
        let member = &mut room.members[place];
        let missed = [&mut member.missed, &mut member.shed];
        for ((log, cursor), missed) in room.logs.iter_mut().zip(&mut member.cursors).zip(missed) {
            let pending: usize = log.pending(*cursor).map(<[u8]>::len).sum();
            // Nothing goes out before the word that something before it is missing.
            let is_kept = *missed == 0 && !log.is_lost(*cursor) && pending <= *limit;
            if is_kept {
                log.pending(*cursor).for_each(&mut settle);
                *limit -= pending;
            }
            let (to, skipped) = log.skip(*cursor, &mut self.pool);
            *cursor = to;
            *if is_kept { &mut self.given } else { missed } += skipped;
        }
    }

    fn take_out(&mut self, at: usize, place: usize) -> Option<SessionId> {
        let room = &mut self.slots[at];
        let gone = room.members.swap_remove(place);
        for (log, cursor) in room.logs.iter_mut().zip(gone.cursors) {
            log.leave(cursor, &mut self.pool);
        }
        if room.members.is_empty() {
            for log in &mut room.logs {
                log.clear(&mut self.pool);
            }
            let (id, is_sweeping) = (room.id, room.is_sweeping);
            self.index.remove(&id);
            self.slots.remove(at);
            self.fresh.retain(|(room, ..)| *room != at);
            if is_sweeping {
                self.visited = 0;
                self.sweeping.retain(|room| *room != at);
            }
            return None;
        }
        room.left = room.left.min(room.members.len());
        if room.at >= room.members.len() {
            room.at = 0;
        }
        let moved = room.members.get(place)?;
        let is_behind = room.is_behind(moved);
        let (id, old) = (moved.id, room.members.len());
        for other in &mut self.of[id.slot()] {
            if other.get() == (at, old) {
                *other = Place::new(at, place);
            }
        }
        (is_behind || room.stops_everywhere).then_some(id)
    }

    /// The members of a room, in no particular order.
    pub fn members(&self, room: RoomId) -> impl ExactSizeIterator<Item = SessionId> {
        let members = self.index.get(&room).map_or(&[][..], |at| &self.slots[*at].members);
        members.iter().map(|member| member.id)
    }

    /// Appends a frame, sealed at `sealed`, for all members of a room; the next round begins, or the one
    /// under way gets longer.
    pub fn append(&mut self, room: RoomId, class: Class, frame: &[u8], sealed: Instant) {
        let Some(at) = self.index.get(&room).copied() else { return };
        let owner = (at, class as usize);
        if self.slots[at].logs[class as usize].needs_segment(frame.len())
            && let Some((room, class)) = self.pool.eviction_candidate()
        {
            self.slots[room].logs[class].evict_oldest(&mut self.pool);
        }
        let log = &mut self.slots[at].logs[class as usize];
        self.fresh.push((at, class, log.next(), sealed));
        log.append(frame, owner, self.limits.segments[class as usize], &mut self.pool);
        self.sweep(at);
    }

    /// Has the sweep stop at every member of a room: each has something of its own to get.
    pub fn visit_all(&mut self, room: RoomId) {
        if let Some(at) = self.index.get(&room).copied() {
            self.slots[at].stops_everywhere = true;
            self.sweep(at);
        }
    }

    fn sweep(&mut self, at: usize) {
        let room = &mut self.slots[at];
        let count = room.members.len();
        if room.left == 0 {
            // Somewhere else each time, so that nobody is always last (Knuth's MMIX generator, its high bits).
            self.random =
                self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            room.at = (self.random >> 33) as usize % count.max(1);
        }
        room.left = count;
        if !std::mem::replace(&mut room.is_sweeping, true) {
            self.sweeping.push_back(at);
        }
    }

    /// Whether the sweep has somebody to visit.
    pub fn is_sweeping(&self) -> bool {
        !self.sweeping.is_empty()
    }

    /// The next member to be visited. Rooms take turns after a slice of members each.
    pub fn next_visit(&mut self) -> Option<SessionId> {
        loop {
            let at = *self.sweeping.front()?;
            if self.visited == SWEEP_SLICE {
                self.visited = 0;
                self.sweeping.rotate_left(1);
                continue;
            }
            let room = &mut self.slots[at];
            while room.left > 0 {
                room.left -= 1;
                let place = room.at;
                room.at = if place + 1 == room.members.len() { 0 } else { place + 1 };
                let member = &room.members[place];
                if room.stops_everywhere || room.is_behind(member) {
                    self.visited += 1;
                    return Some(member.id);
                }
            }
            room.is_sweeping = false;
            room.stops_everywhere = false;
            self.visited = 0;
            self.sweeping.pop_front();
        }
    }

    /// Writes into the frames that are about to be sent for the first time how long they have waited, which
    /// `waited` is told in microseconds, too.
    pub fn stamp_fresh(&mut self, now: Instant, mut waited: impl FnMut(u64)) {
        for (at, class, number, sealed) in self.fresh.drain(..) {
            let micros = crate::clock::micros(now.saturating_duration_since(sealed));
            if let Some(frame) = self.slots[at].logs[class as usize].frame_mut(number) {
                stamp_fan_out(frame, u32::try_from(micros).unwrap_or(u32::MAX));
                waited(micros);
            }
        }
    }

    /// Whether there are frames for [`Self::stamp_fresh`].
    pub fn has_fresh(&self) -> bool {
        !self.fresh.is_empty()
    }

    fn member(&self, at: Place) -> &Member {
        let (room, place) = at.get();
        &self.slots[room].members[place]
    }

    /// Where the room is, and the session's place in it.
    fn place_in(&self, id: SessionId, room: RoomId) -> Option<(usize, usize)> {
        let at = *self.index.get(&room)?;
        self.places(id).iter().map(|place| place.get()).find(|place| place.0 == at)
    }

    fn places(&self, id: SessionId) -> &[Place] {
        let places = self.of.get(id.slot()).map_or(&[][..], Vec::as_slice);
        // Of an earlier session in this slot?
        let is_current = places.first().is_none_or(|first| self.member(*first).id == id);
        if is_current { places } else { &[] }
    }

    /// What a session has not had, in the order in which it must be written.
    pub fn pending(&self, id: SessionId) -> impl Iterator<Item = &[u8]> {
        self.places(id).iter().flat_map(|at| {
            let (room, place) = at.get();
            let room = &self.slots[room];
            let member = &room.members[place];
            room.logs.iter().zip(member.cursors).flat_map(|(log, cursor)| log.pending(cursor))
        })
    }

    /// `count` of the pending bytes were written. What is left of a frame whose beginning was
    /// written goes to `torn` and counts as written: it must go out before anything else.
    pub fn advance(&mut self, id: SessionId, mut count: usize, mut torn: impl FnMut(&[u8])) {
        for at in 0..self.places(id).len() {
            let (room, place) = self.places(id)[at].get();
            let room = &mut self.slots[room];
            let member = &mut room.members[place];
            for (log, cursor) in room.logs.iter_mut().zip(&mut member.cursors) {
                if count == 0 {
                    return;
                }
                let reached = log.reach(*cursor, count);
                if !reached.torn.is_empty() {
                    torn(reached.torn);
                }
                let (to, rest) = (reached.cursor, reached.rest);
                log.advance(*cursor, to, &mut self.pool);
                self.given += to - *cursor;
                (*cursor, count) = (to, rest);
            }
        }
        debug_assert_eq!(count, 0, "more was written than was pending");
    }

    /// How many frames members were given, each counted for each, since this was asked last.
    pub fn take_given(&mut self) -> u64 {
        std::mem::take(&mut self.given)
    }

    /// Whether the member has missed messages of the room and has not been told.
    pub fn has_missed(&self, id: SessionId, room: RoomId) -> bool {
        self.place_in(id, room).is_some_and(|(room, place)| self.slots[room].members[place].missed > 0)
    }

    /// A message could not be given to a member as a copy.
    pub fn miss(&mut self, id: SessionId, room: RoomId) {
        if let Some((room, place)) = self.place_in(id, room) {
            self.slots[room].members[place].missed += 1;
        }
    }

    /// One of the things that the session has lost, if any. From now on it counts as told of it, and
    /// is given what comes after it.
    pub fn take_gap(&mut self, id: SessionId) -> Option<Gap> {
        for at in 0..self.places(id).len() {
            let (room, place) = self.places(id)[at].get();
            let room = &mut self.slots[room];
            let member = &mut room.members[place];
            for class in Class::ALL {
                let (log, cursor) = (&mut room.logs[class as usize], &mut member.cursors[class as usize]);
                let mut count = std::mem::take(match class {
                    Class::Chat => &mut member.missed,
                    Class::Notice => &mut member.shed,
                });
                if log.lost() > 0 && log.is_lost(*cursor) {
                    let (to, skipped) = log.skip(*cursor, &mut self.pool);
                    *cursor = to;
                    count += skipped;
                }
                if count > 0 {
                    return Some(Gap { room: room.id, class, count });
                }
            }
        }
        None
    }
}

impl Room {
    fn new(id: RoomId) -> Self {
        Self {
            id,
            members: Vec::new(),
            logs: [Log::default(), Log::default()],
            at: 0,
            left: 0,
            stops_everywhere: false,
            is_sweeping: false,
        }
    }

    fn is_behind(&self, member: &Member) -> bool {
        member.cursors[0] != self.logs[0].next() || member.cursors[1] != self.logs[1].next()
    }
}

#[cfg(test)]
mod tests;
