//! Rooms of one shard: members, the frames that each has not been sent, and the order of the sweep.
//!
//! Frames go in, slices to write come out, and the number of written bytes goes in again; no socket
//! is involved. The sweep visits the members of each room that has unsent frames, round after
//! round. A frame that is appended during a round joins it, so that a round costs one write a
//! member and not one write a frame and member.
//!
//! Every member gets every frame once and in order, or a [`Gap`] with the number of frames that it
//! lost. Logs are bounded by [`LogLimits`]; a member that falls further behind loses the oldest
//! frames.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::time::Instant;

use slab::Slab;

use super::room_log::{Log, SegmentPool};
use crate::SessionId;
use crate::crypto::room::stamp_fan_out;
use crate::limits::SWEEP_SLICE;
use crate::room::{Class, RoomId};
use crate::window::Charge;

/// Bounds of the room logs of one shard, in segments of
/// [`SEGMENT_BYTES`](crate::limits::SEGMENT_BYTES).
#[derive(Debug, Clone, Copy)]
pub struct LogLimits {
    /// Most segments of one room's log, for each class.
    pub segments: [usize; 2],
    /// Most segments of all logs together.
    pub pool: usize,
}

/// Rooms of one shard.
pub struct Rooms {
    slots: Slab<Room>,
    index: HashMap<RoomId, usize>,
    /// Memberships of each session, by the session's slot.
    memberships: Vec<Vec<Membership>>,
    /// Slots of the rooms whose round is not finished, each once.
    sweeping: VecDeque<usize>,
    /// Members visited in the front room since it came to the front.
    visited: usize,
    /// Members that a removal moved to a place which the sweep has passed already.
    overtaken: BTreeSet<SessionId>,
    /// Appended frames of which no member has been sent anything.
    unstamped: Vec<Unstamped>,
    /// Frames delivered since [`Self::take_frames_delivered`], each counted for every member.
    frames_delivered: u64,
    /// State of the generator that decides where rounds begin.
    random: u64,
    limits: LogLimits,
    pool: SegmentPool,
}

/// One membership of a session.
#[derive(Debug, Clone, Copy)]
struct Membership {
    /// Slot of the room.
    room: u32,
    /// Place among the room's members.
    place: u32,
}

impl Membership {
    fn new(room: usize, place: usize) -> Self {
        Self { room: room as u32, place: place as u32 }
    }

    fn room_and_place(self) -> (usize, usize) {
        (self.room as usize, self.place as usize)
    }
}

struct Unstamped {
    /// Slot of the room.
    room: usize,
    class: Class,
    number: u64,
    sealed_at: Instant,
}

#[derive(Debug)]
struct Room {
    id: RoomId,
    members: Vec<Member>,
    /// One log a class.
    logs: [Log; 2],
    /// Place that the sweep comes to next.
    next_place: usize,
    /// Places that the sweep has still to come to in this round.
    remaining: usize,
    /// True if this round also visits members that have caught up.
    visits_all: bool,
    /// True while the room is queued in [`Rooms::sweeping`].
    is_sweeping: bool,
    /// Places that the sweep has ever come to.
    passed: u64,
    /// Charges to drop once the sweep has come to as many places.
    held: VecDeque<(u64, Charge)>,
}

#[derive(Debug)]
struct Member {
    id: SessionId,
    /// Number of the next frame of each log.
    cursors: [u64; 2],
    /// Frames of each class that were lost and that no [`Gap`] has reported yet.
    missed: [u64; 2],
}

/// Frames of one class that a member has lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gap {
    /// Room of the frames.
    pub room: RoomId,
    /// Class of the frames.
    pub class: Class,
    /// Number of frames.
    pub count: u64,
}

impl Rooms {
    /// Creates an empty set of rooms.
    pub fn new(limits: LogLimits) -> Self {
        Self {
            slots: Slab::new(),
            index: HashMap::new(),
            memberships: Vec::new(),
            sweeping: VecDeque::new(),
            visited: 0,
            overtaken: BTreeSet::new(),
            unstamped: Vec::new(),
            frames_delivered: 0,
            random: 0,
            limits,
            pool: SegmentPool::new(limits.pool),
        }
    }

    /// Adds a member, which gets the frames that are appended from now on. Does nothing if the
    /// session is a member already.
    pub fn join(&mut self, id: SessionId, room: RoomId) {
        if self.memberships.len() <= id.slot() {
            self.memberships.resize_with(id.slot() + 1, Vec::new);
        }
        let slot = *self.index.entry(room).or_insert_with(|| self.slots.insert(Room::new(room)));
        let memberships = &mut self.memberships[id.slot()];
        if memberships.iter().any(|membership| membership.room_and_place().0 == slot) {
            return;
        }
        let room = &mut self.slots[slot];
        // Most of ten thousand sessions are in one room, so no spare capacity.
        memberships.reserve_exact(1);
        memberships.push(Membership::new(slot, room.members.len()));
        let cursors = room.logs.each_mut().map(Log::join);
        room.members.push(Member { id, cursors, missed: [0; 2] });
        // The new place is the last one, which the sweep may have to pass to reach the first ones.
        room.remaining += usize::from(room.remaining > 0);
    }

    /// Removes a member. Its pending frames, up to `limit` bytes, are passed to `sink` in order.
    /// Does nothing if the session is not a member.
    pub fn leave(&mut self, id: SessionId, room: RoomId, mut limit: usize, sink: impl FnMut(&[u8])) {
        let Some(slot) = self.index.get(&room).copied() else { return };
        let Some(memberships) = self.memberships.get_mut(id.slot()) else { return };
        let found = memberships.iter().position(|membership| membership.room_and_place().0 == slot);
        let Some(found) = found else { return };
        let place = memberships[found].room_and_place().1;
        if self.slots[slot].members[place].id != id {
            return;
        }
        memberships.swap_remove(found);
        self.drain_member(slot, place, &mut limit, sink);
        self.remove_member(slot, place);
    }

    /// Ends all memberships of a session.
    pub fn leave_all(&mut self, id: SessionId) {
        self.overtaken.remove(&id);
        if self.memberships_of(id).is_empty() {
            return;
        }
        while let Some(last) = self.memberships[id.slot()].pop() {
            let (room, place) = last.room_and_place();
            self.remove_member(room, place);
        }
    }

    /// Passes the pending frames of a session, room by room, to `sink` and counts them as
    /// delivered. A log of which more is pending than is left of `limit` bytes is skipped, and its
    /// frames count as missed.
    pub fn drain_pending(&mut self, id: SessionId, mut limit: usize, mut sink: impl FnMut(&[u8])) {
        for at in 0..self.memberships_of(id).len() {
            let (room, place) = self.memberships_of(id)[at].room_and_place();
            self.drain_member(room, place, &mut limit, &mut sink);
        }
    }

    /// As [`Self::drain_pending`], for one room.
    pub fn drain_pending_of(
        &mut self,
        id: SessionId,
        room: RoomId,
        mut limit: usize,
        sink: impl FnMut(&[u8]),
    ) {
        if let Some((room, place)) = self.find(id, room) {
            self.drain_member(room, place, &mut limit, sink);
        }
    }

    fn drain_member(&mut self, room: usize, place: usize, limit: &mut usize, mut sink: impl FnMut(&[u8])) {
        let room = &mut self.slots[room];
        let member = &mut room.members[place];
        let state = member.cursors.iter_mut().zip(&mut member.missed);
        for (log, (cursor, missed)) in room.logs.iter_mut().zip(state) {
            let pending: usize = log.pending(*cursor).map(<[u8]>::len).sum();
            // A gap that is not reported yet must come before the frames that follow it.
            let is_delivered = *missed == 0 && !log.is_lost(*cursor) && pending <= *limit;
            if is_delivered {
                log.pending(*cursor).for_each(&mut sink);
                *limit -= pending;
            }
            let (end, skipped) = log.skip(*cursor, &mut self.pool);
            *cursor = end;
            if is_delivered {
                self.frames_delivered += skipped;
            } else {
                *missed += skipped;
            }
        }
    }

    /// Removes the member at `place` and moves the last member there. The session must have no
    /// membership of that place any more.
    fn remove_member(&mut self, slot: usize, place: usize) {
        let room = &mut self.slots[slot];
        let removed = room.members.swap_remove(place);
        for (log, cursor) in room.logs.iter_mut().zip(removed.cursors) {
            log.leave(cursor, &mut self.pool);
        }
        if room.members.is_empty() {
            self.remove_room(slot);
            return;
        }
        room.remaining = room.remaining.min(room.members.len());
        if room.next_place >= room.members.len() {
            room.next_place = 0;
        }
        let Some(moved) = room.members.get(place) else { return };
        let moved_id = moved.id;
        let old_place = room.members.len();
        if room.visits_all || room.is_behind(moved) {
            self.overtaken.insert(moved_id);
        }
        for membership in &mut self.memberships[moved_id.slot()] {
            if membership.room_and_place() == (slot, old_place) {
                *membership = Membership::new(slot, place);
            }
        }
    }

    fn remove_room(&mut self, slot: usize) {
        let mut room = self.slots.remove(slot);
        for log in &mut room.logs {
            log.clear(&mut self.pool);
        }
        self.index.remove(&room.id);
        self.unstamped.retain(|frame| frame.room != slot);
        if room.is_sweeping {
            self.visited = 0;
            self.sweeping.retain(|sweeping| *sweeping != slot);
        }
    }

    /// Returns the members of a room, in no particular order.
    pub fn members(&self, room: RoomId) -> impl ExactSizeIterator<Item = SessionId> {
        let members = self.index.get(&room).map_or(&[][..], |slot| &self.slots[*slot].members);
        members.iter().map(|member| member.id)
    }

    /// Appends a frame for all members of a room, and starts or prolongs the room's round.
    /// `sealed_at` is the start of the frame's fan-out time.
    pub fn append(&mut self, room: RoomId, class: Class, frame: &[u8], sealed_at: Instant) {
        let Some(slot) = self.index.get(&room).copied() else { return };
        let owner = (slot, class as usize);
        if self.slots[slot].logs[class as usize].needs_segment(frame.len())
            && let Some((room, class)) = self.pool.eviction_candidate()
        {
            self.slots[room].logs[class].evict_oldest(&mut self.pool);
        }
        let log = &mut self.slots[slot].logs[class as usize];
        self.unstamped.push(Unstamped { room: slot, class, number: log.next(), sealed_at });
        log.append(frame, owner, self.limits.segments[class as usize], &mut self.pool);
        self.schedule_sweep(slot);
    }

    /// Holds a charge until the sweep has passed every member that the room has now.
    pub fn hold(&mut self, room: RoomId, charge: Charge) {
        let Some(slot) = self.index.get(&room) else { return };
        let room = &mut self.slots[*slot];
        if room.is_sweeping {
            room.held.push_back((room.passed + room.members.len() as u64, charge));
        }
    }

    /// Starts or prolongs the room's round, and makes it visit every member: each has frames of its
    /// own queued.
    pub fn visit_all(&mut self, room: RoomId) {
        if let Some(slot) = self.index.get(&room).copied() {
            self.slots[slot].visits_all = true;
            self.schedule_sweep(slot);
        }
    }

    fn schedule_sweep(&mut self, slot: usize) {
        let room = &mut self.slots[slot];
        let count = room.members.len();
        if room.remaining == 0 {
            // Each round begins at another place, so that no member is always last. High bits of
            // Knuth's MMIX generator.
            self.random =
                self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            room.next_place = (self.random >> 33) as usize % count.max(1);
        }
        room.remaining = count;
        if !std::mem::replace(&mut room.is_sweeping, true) {
            self.sweeping.push_back(slot);
        }
    }

    /// Returns true while [`Self::next_visit`] may return a member.
    pub fn is_sweeping(&self) -> bool {
        !self.sweeping.is_empty() || !self.overtaken.is_empty()
    }

    /// Returns the next member to write to. Rooms take turns of [`SWEEP_SLICE`] members. The caller
    /// may be given a member that has nothing pending.
    pub fn next_visit(&mut self) -> Option<SessionId> {
        if let Some(id) = self.overtaken.pop_first() {
            return Some(id);
        }
        loop {
            let slot = *self.sweeping.front()?;
            if self.visited == SWEEP_SLICE {
                self.visited = 0;
                self.sweeping.rotate_left(1);
                continue;
            }
            let room = &mut self.slots[slot];
            while room.remaining > 0 {
                room.remaining -= 1;
                room.passed += 1;
                while room.held.front().is_some_and(|(until, _)| *until < room.passed) {
                    room.held.pop_front();
                }
                let place = room.next_place;
                room.next_place = if place + 1 == room.members.len() { 0 } else { place + 1 };
                let member = &room.members[place];
                if room.visits_all || room.is_behind(member) {
                    self.visited += 1;
                    return Some(member.id);
                }
            }
            room.is_sweeping = false;
            room.visits_all = false;
            room.held.clear();
            self.visited = 0;
            self.sweeping.pop_front();
        }
    }

    /// Writes the fan-out time, counted until `now`, into all frames that were appended since the
    /// last call. Passes each time in microseconds to `observe`. Must be called before those frames
    /// are sent.
    pub fn stamp_unstamped(&mut self, now: Instant, mut observe: impl FnMut(u64)) {
        for Unstamped { room, class, number, sealed_at } in self.unstamped.drain(..) {
            let micros = crate::clock::micros(now.saturating_duration_since(sealed_at));
            if let Some(frame) = self.slots[room].logs[class as usize].frame_mut(number) {
                stamp_fan_out(frame, u32::try_from(micros).unwrap_or(u32::MAX));
                observe(micros);
            }
        }
    }

    /// Returns true if [`Self::stamp_unstamped`] has frames to stamp.
    pub fn has_unstamped(&self) -> bool {
        !self.unstamped.is_empty()
    }

    /// Returns the slot of the room and the session's place in it.
    fn find(&self, id: SessionId, room: RoomId) -> Option<(usize, usize)> {
        let slot = *self.index.get(&room)?;
        self.memberships_of(id)
            .iter()
            .map(|membership| membership.room_and_place())
            .find(|(room, _)| *room == slot)
    }

    fn memberships_of(&self, id: SessionId) -> &[Membership] {
        let memberships = self.memberships.get(id.slot()).map_or(&[][..], Vec::as_slice);
        // Those of another generation in the same slot are not the session's.
        let is_current = memberships.first().is_none_or(|first| {
            let (room, place) = first.room_and_place();
            self.slots[room].members[place].id == id
        });
        if is_current { memberships } else { &[] }
    }

    /// Returns the bytes to write to a session, in order; none if it has caught up.
    pub fn pending(&self, id: SessionId) -> impl Iterator<Item = &[u8]> {
        self.memberships_of(id).iter().flat_map(|membership| {
            let (room, place) = membership.room_and_place();
            let room = &self.slots[room];
            let member = &room.members[place];
            room.logs.iter().zip(member.cursors).flat_map(|(log, cursor)| log.pending(cursor))
        })
    }

    /// Moves the cursors of a session past the first `count` bytes of [`Self::pending`], which were
    /// written. The rest of a frame that was written in part is passed to `torn` and counts as
    /// written: it must go out before anything else.
    pub fn advance(&mut self, id: SessionId, mut count: usize, mut torn: impl FnMut(&[u8])) {
        for at in 0..self.memberships_of(id).len() {
            let (room, place) = self.memberships_of(id)[at].room_and_place();
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
                let end = reached.cursor;
                count = reached.rest;
                log.advance(*cursor, end, &mut self.pool);
                self.frames_delivered += end - *cursor;
                *cursor = end;
            }
        }
        debug_assert_eq!(count, 0, "more was written than was pending");
    }

    /// Returns the number of frames delivered since the last call. A frame counts once for every
    /// member that it was delivered to.
    pub fn take_frames_delivered(&mut self) -> u64 {
        std::mem::take(&mut self.frames_delivered)
    }

    /// Returns true if the member has missed messages that no gap has reported yet.
    pub fn has_missed(&self, id: SessionId, room: RoomId) -> bool {
        self.find(id, room)
            .is_some_and(|(room, place)| self.slots[room].members[place].missed[Class::Chat as usize] > 0)
    }

    /// Counts a message that the member missed because there was no room for its copy.
    pub fn count_missed(&mut self, id: SessionId, room: RoomId) {
        if let Some((room, place)) = self.find(id, room) {
            self.slots[room].members[place].missed[Class::Chat as usize] += 1;
        }
    }

    /// Returns a gap of the session that was not returned before, if there is one. A gap in a log
    /// also covers what the log still holds, so that the member goes on with new frames. The caller
    /// must report the gap before it writes what is then pending.
    pub fn take_gap(&mut self, id: SessionId) -> Option<Gap> {
        for at in 0..self.memberships_of(id).len() {
            let (room, place) = self.memberships_of(id)[at].room_and_place();
            let room = &mut self.slots[room];
            let member = &mut room.members[place];
            for class in Class::ALL {
                let log = &mut room.logs[class as usize];
                let cursor = &mut member.cursors[class as usize];
                let mut count = std::mem::take(&mut member.missed[class as usize]);
                if log.lost() > 0 && log.is_lost(*cursor) {
                    let (end, skipped) = log.skip(*cursor, &mut self.pool);
                    *cursor = end;
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
            next_place: 0,
            remaining: 0,
            visits_all: false,
            is_sweeping: false,
            passed: 0,
            held: VecDeque::new(),
        }
    }

    fn is_behind(&self, member: &Member) -> bool {
        member.cursors[0] != self.logs[0].next() || member.cursors[1] != self.logs[1].next()
    }
}

#[cfg(test)]
mod tests;
