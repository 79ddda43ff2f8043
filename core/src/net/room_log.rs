//! Log of the frames of one room and class that some members on this shard have not been sent.
//!
//! A frame is kept once for all members. A member has only a cursor, the number of its next frame,
//! so that appending costs the same for ten members and for ten thousand. Frames lie in segments
//! from a pool that all rooms of the shard share. A log that all members have caught up with has no
//! segment, so that idle rooms cost no buffers.
//!
//! ```text
//!        lost members          cursors                  caught up
//!             v            v     v       v                  v
//!    (evicted)| segment 7        | segment 8   | segment 9  |
//!             ^ oldest                                      ^ next
//! ```
//!
//! Each segment counts the cursors in it. Caught-up members share one counter, so that an append
//! moves them all, into the segment of the new frame, in O(1). A segment without cursors before all
//! others goes back to the pool.
//!
//! A log that needs a segment beyond its limit evicts its oldest one. Members whose cursor is in
//! there lose its frames and are told how many. When the pool is empty, the oldest segment of all
//! logs is evicted: it is held by the members that are furthest behind, and not by the room that
//! appends.

use std::collections::VecDeque;

use slab::Slab;

use crate::limits::{FRAME_HEADER, SEGMENT_BYTES, SERVER_BODY_MAX};
use crate::metrics;

/// Change of the metric for one segment.
#[allow(clippy::cast_possible_wrap)] // 64 KiB
const SEGMENT: i64 = SEGMENT_BYTES as i64;

/// Owner of a log: the slot of its room, and the index of its class.
pub type Owner = (usize, usize);

/// Segments for all logs of a shard.
#[derive(Debug)]
pub struct SegmentPool {
    spare: Vec<Segment>,
    /// For each segment in a log, its owner and the number of segments taken before it.
    used: Slab<(Owner, u64)>,
    taken: u64,
    max: usize,
}

impl SegmentPool {
    /// Creates a pool of `max` segments. They are allocated when first needed, and kept.
    pub fn new(max: usize) -> Self {
        Self { spare: Vec::new(), used: Slab::new(), taken: 0, max: max.max(1) }
    }

    /// Returns the number of segments in logs.
    pub fn used(&self) -> usize {
        self.used.len()
    }

    /// Returns the owner of the oldest segment if none is left. It is the first segment of its log.
    pub fn eviction_candidate(&self) -> Option<Owner> {
        if self.used.len() < self.max {
            return None;
        }
        self.used.iter().map(|(_, used)| used).min_by_key(|(_, taken)| *taken).map(|(owner, _)| *owner)
    }

    /// Takes a segment. One must be left, so [`Self::eviction_candidate`] must return none.
    fn take(&mut self, owner: Owner, first: u64) -> Segment {
        debug_assert!(self.used.len() < self.max);
        let mut segment = self
            .spare
            .pop()
            .unwrap_or_else(|| Segment { bytes: Vec::with_capacity(SEGMENT_BYTES), ..Segment::default() });
        segment.first = first;
        segment.slot = self.used.insert((owner, self.taken));
        self.taken += 1;
        metrics::LOG_POOL.add(SEGMENT);
        segment
    }

    fn give(&mut self, mut segment: Segment) {
        self.used.remove(segment.slot);
        metrics::LOG_POOL.add(-SEGMENT);
        segment.bytes.clear();
        segment.ends.clear();
        segment.cursors = 0;
        self.spare.push(segment);
    }
}

impl Drop for SegmentPool {
    fn drop(&mut self) {
        self.used.iter().for_each(|_| metrics::LOG_POOL.add(-SEGMENT));
    }
}

/// Consecutive frames of a log.
#[derive(Debug, Default)]
struct Segment {
    /// Number of its first frame.
    first: u64,
    /// Key in [`SegmentPool::used`].
    slot: usize,
    bytes: Vec<u8>,
    /// End of each frame in `bytes`.
    ends: Vec<u32>,
    /// Number of cursors at its frames.
    cursors: usize,
}

impl Segment {
    /// Returns the number after its last frame.
    fn after(&self) -> u64 {
        self.first + self.ends.len() as u64
    }

    /// Returns the start of frame `number`, or the end of the last frame.
    fn offset(&self, number: u64) -> usize {
        match (number - self.first) as usize {
            0 => 0,
            count => self.ends[count - 1] as usize,
        }
    }

    fn fits(&self, length: usize) -> bool {
        self.bytes.len() + length <= SEGMENT_BYTES
    }
}

/// Log of one room and class.
#[derive(Debug, Default)]
pub struct Log {
    segments: VecDeque<Segment>,
    /// Number of the next frame. Each log counts from 0.
    next: u64,
    /// Number of members whose cursor is at `next`.
    caught_up: usize,
    /// Number of members whose cursor is before the oldest segment.
    lost: usize,
}

/// End of a write in a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reached<'a> {
    /// Cursor behind the written bytes, and behind a torn frame.
    pub cursor: u64,
    /// Rest of a frame that was written in part. It must go out before anything else.
    pub torn: &'a [u8],
    /// Written bytes that lie behind the end of the log, and belong to others.
    pub rest: usize,
}

impl Log {
    /// Returns the number of the next frame to be appended.
    pub fn next(&self) -> u64 {
        self.next
    }

    /// Returns true if no segment is in use, because all members have caught up or lost their
    /// frames.
    pub fn is_empty(&self) -> bool {
        self.segments.is_empty()
    }

    /// Returns the number of the oldest frame in the log.
    fn oldest(&self) -> u64 {
        self.segments.front().map_or(self.next, |segment| segment.first)
    }

    /// Returns true if the frame at the cursor was evicted.
    pub fn is_lost(&self, cursor: u64) -> bool {
        cursor < self.oldest()
    }

    /// Returns the number of members whose cursor is lost.
    pub fn lost(&self) -> usize {
        self.lost
    }

    /// Returns true if a frame of this length needs another segment.
    pub fn needs_segment(&self, length: usize) -> bool {
        !self.segments.back().is_some_and(|last| last.fits(length))
    }

    /// Appends a frame to the log of `owner`, which may have `segments_max` segments. Does nothing
    /// if the log has no members. If the log [needs a segment](Self::needs_segment), the pool must
    /// have one left.
    pub fn append(&mut self, frame: &[u8], owner: Owner, segments_max: usize, pool: &mut SegmentPool) {
        debug_assert!(frame.len() <= FRAME_HEADER + SERVER_BODY_MAX);
        if self.caught_up == 0 && self.segments.is_empty() && self.lost == 0 {
            return;
        }
        if self.needs_segment(frame.len()) {
            if self.segments.len() >= segments_max.max(1) {
                self.evict_oldest(pool);
            }
            self.segments.push_back(pool.take(owner, self.next));
        }
        let Some(last) = self.segments.back_mut() else { return };
        last.bytes.extend_from_slice(frame);
        last.ends.push(last.bytes.len() as u32);
        last.cursors += std::mem::take(&mut self.caught_up);
        self.next += 1;
    }

    /// Evicts the oldest segment. Members whose cursor is in there have lost its remaining frames.
    pub fn evict_oldest(&mut self, pool: &mut SegmentPool) {
        if let Some(segment) = self.segments.pop_front() {
            self.lost += segment.cursors;
            pool.give(segment);
        }
    }

    /// Returns a frame in the log, so that its fan-out time can be written into it.
    pub fn frame_mut(&mut self, number: u64) -> Option<&mut [u8]> {
        let segment = self.segments.iter_mut().rev().find(|segment| segment.first <= number)?;
        let start = segment.offset(number);
        let end = *segment.ends.get((number - segment.first) as usize)?;
        Some(&mut segment.bytes[start..end as usize])
    }

    /// Adds a member, which gets the frames that are appended from now on. Returns its cursor.
    pub fn join(&mut self) -> u64 {
        self.caught_up += 1;
        self.next
    }

    /// Removes the member with this cursor.
    pub fn leave(&mut self, cursor: u64, pool: &mut SegmentPool) {
        *self.count_at(cursor) -= 1;
        self.release(pool);
    }

    /// Moves a member's cursor to the end. Returns the new cursor and the number of frames skipped.
    pub fn skip(&mut self, cursor: u64, pool: &mut SegmentPool) -> (u64, u64) {
        self.advance(cursor, self.next, pool);
        (self.next, self.next - cursor)
    }

    /// Returns the bytes from a cursor on, in pieces; none if the cursor has caught up or is lost.
    pub fn pending(&self, cursor: u64) -> impl Iterator<Item = &[u8]> {
        let from = match self.find(cursor) {
            Some(at) => at,
            None => self.segments.len(),
        };
        self.segments
            .range(from..)
            .map(move |segment| &segment.bytes[segment.offset(cursor.max(segment.first))..])
    }

    /// Returns the end of `count` bytes that were written from `cursor` on. Moves no cursor.
    pub fn reach(&self, cursor: u64, mut count: usize) -> Reached<'_> {
        let Some(from) = self.find(cursor) else { return Reached { cursor, torn: &[], rest: count } };
        let mut at = cursor;
        for segment in self.segments.range(from..) {
            let start = segment.offset(at);
            let here = segment.bytes.len() - start;
            if count < here {
                let end = start + count;
                let whole = segment.ends.partition_point(|frame_end| *frame_end as usize <= end);
                let cursor = segment.first + whole as u64;
                // The frame is torn if the write ended behind its start.
                let torn = if segment.offset(cursor) == end {
                    &[][..]
                } else {
                    &segment.bytes[end..segment.ends[whole] as usize]
                };
                let cursor = if torn.is_empty() { cursor } else { cursor + 1 };
                return Reached { cursor, torn, rest: 0 };
            }
            count -= here;
            at = segment.after();
        }
        Reached { cursor: at, torn: &[], rest: count }
    }

    /// Moves a member's cursor.
    pub fn advance(&mut self, from: u64, to: u64, pool: &mut SegmentPool) {
        debug_assert!(from <= to && to <= self.next);
        if from == to {
            return;
        }
        *self.count_at(from) -= 1;
        *self.count_at(to) += 1;
        self.release(pool);
    }

    /// Returns the index of a cursor's segment; none if the cursor has caught up or is lost.
    /// Searches from the end, because most cursors are in one of the last segments.
    fn find(&self, cursor: u64) -> Option<usize> {
        if cursor >= self.next {
            return None;
        }
        self.segments.iter().rposition(|segment| segment.first <= cursor)
    }

    fn count_at(&mut self, cursor: u64) -> &mut usize {
        if cursor >= self.next {
            return &mut self.caught_up;
        }
        match self.find(cursor) {
            Some(at) => &mut self.segments[at].cursors,
            None => &mut self.lost,
        }
    }

    /// Gives the segments before the first cursor back to the pool.
    fn release(&mut self, pool: &mut SegmentPool) {
        while self.segments.front().is_some_and(|segment| segment.cursors == 0) {
            if let Some(segment) = self.segments.pop_front() {
                pool.give(segment);
            }
        }
    }

    /// Gives all segments back to the pool and forgets all members.
    pub fn clear(&mut self, pool: &mut SegmentPool) {
        while let Some(segment) = self.segments.pop_front() {
            pool.give(segment);
        }
        self.caught_up = 0;
        self.lost = 0;
    }
}
