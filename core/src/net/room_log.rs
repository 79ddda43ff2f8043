//! What has been said in a room and not yet been written to all of its members on this shard.
//!
//! A frame is kept once, however many members are to get it. A member has nothing but the number of
//! the frame that it gets next, its cursor; appending costs the same for ten members and for ten
//! thousand. Frames lie in segments from a pool that all rooms of the shard share, and a log that
//! everybody has caught up with has none: idle rooms cost no buffers.
//!
//! ```text
//!        lost members          cursors                  caught up
//!             v            v     v       v                  v
//!   (given up)| segment 7        | segment 8   | segment 9  |
//!             ^ oldest                                      ^ next
//! ```
//!
//! Each segment counts the cursors in it. Who has caught up is counted apart, so that an append
//! moves all of those at once, into the segment of the new frame. A segment without cursors and
//! before all others is given back. When a log has as many segments as it may and needs another,
//! the oldest is given up: whose cursor was there has lost what it held, and is told how much. When
//! the pool is empty, the oldest segment of all is given up, whosever it is: it is held by those
//! who are furthest behind, and not by the room that has something to say.

use std::collections::VecDeque;

use slab::Slab;

use crate::limits::{FRAME_HEADER, SEGMENT_BYTES, SERVER_BODY_MAX};
use crate::metrics;

/// What a segment counts for in the metric.
#[allow(clippy::cast_possible_wrap)] // 64 KiB
const SEGMENT: i64 = SEGMENT_BYTES as i64;

/// Whose a log is: its room's slot, and its class's place.
pub type Owner = (usize, usize);

/// Segments that the logs of a shard use one after the other.
#[derive(Debug)]
pub struct SegmentPool {
    spare: Vec<Segment>,
    /// Segments in logs: whose each is, and how many were taken before it.
    used: Slab<(Owner, u64)>,
    taken: u64,
    max: usize,
}

impl SegmentPool {
    /// At most `max` segments in all logs together. They are allocated when first needed, and kept.
    pub fn new(max: usize) -> Self {
        Self { spare: Vec::new(), used: Slab::new(), taken: 0, max: max.max(1) }
    }

    /// Segments in logs.
    pub fn used(&self) -> usize {
        self.used.len()
    }

    /// When no segment is left: whose log has the oldest one, which is that log's first.
    pub fn eviction_candidate(&self) -> Option<Owner> {
        if self.used.len() < self.max {
            return None;
        }
        self.used.iter().map(|(_, used)| used).min_by_key(|(_, taken)| *taken).map(|(owner, _)| *owner)
    }

    /// One of the segments, of which one must be left: [`Self::eviction_candidate`] says whether it
    /// is.
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

/// Some frames in a row.
#[derive(Debug, Default)]
struct Segment {
    /// The number of its first frame.
    first: u64,
    /// Where the pool has it noted.
    slot: usize,
    bytes: Vec<u8>,
    /// Where each frame ends in `bytes`.
    ends: Vec<u32>,
    /// Cursors at its frames.
    cursors: usize,
}

impl Segment {
    /// The number after its last frame.
    fn after(&self) -> u64 {
        self.first + self.ends.len() as u64
    }

    /// Where frame `number` begins, or the last one ends.
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

/// The frames of one room and class, and how many members have not had them.
#[derive(Debug, Default)]
pub struct Log {
    segments: VecDeque<Segment>,
    /// The number of the next frame; numbers are this log's own and count from 0.
    next: u64,
    /// Members whose cursor is at `next`.
    caught_up: usize,
    /// Members whose cursor is before the oldest segment.
    lost: usize,
}

/// How far bytes that were written reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reached<'a> {
    /// The cursor after them.
    pub cursor: u64,
    /// The bytes that are left of a frame whose beginning is written: they must go out before
    /// anything else.
    pub torn: &'a [u8],
    /// Bytes that lie beyond the log, and are not its.
    pub rest: usize,
}

impl Log {
    /// The number of the next frame to be appended.
    pub fn next(&self) -> u64 {
        self.next
    }

    /// Whether no segment is in use: everybody has caught up.
    pub fn is_empty(&self) -> bool {
        self.segments.is_empty()
    }

    /// The number of the oldest frame that is still there.
    fn oldest(&self) -> u64 {
        self.segments.front().map_or(self.next, |segment| segment.first)
    }

    /// Whether a cursor points to what is not there any more.
    pub fn is_lost(&self, cursor: u64) -> bool {
        cursor < self.oldest()
    }

    /// Members that have lost frames.
    pub fn lost(&self) -> usize {
        self.lost
    }

    /// Whether a frame of this length needs another segment.
    pub fn needs_segment(&self, length: usize) -> bool {
        !self.segments.back().is_some_and(|last| last.fits(length))
    }

    /// Appends a frame to the log of `owner`, which may have `segments_max` segments. If it needs
    /// one, the pool must have one left.
    pub fn append(&mut self, frame: &[u8], owner: Owner, segments_max: usize, pool: &mut SegmentPool) {
        debug_assert!(frame.len() <= FRAME_HEADER + SERVER_BODY_MAX);
        if self.caught_up == 0 && self.segments.is_empty() && self.lost == 0 {
            // Nobody is here to get it.
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

    /// Gives up the oldest segment: whoever has not had all of it has lost it.
    pub fn evict_oldest(&mut self, pool: &mut SegmentPool) {
        if let Some(segment) = self.segments.pop_front() {
            self.lost += segment.cursors;
            pool.give(segment);
        }
    }

    /// A frame that is in the log, for what its sender writes into it last.
    pub fn frame_mut(&mut self, number: u64) -> Option<&mut [u8]> {
        let segment = self.segments.iter_mut().rev().find(|segment| segment.first <= number)?;
        let (start, end) = (segment.offset(number), *segment.ends.get((number - segment.first) as usize)?);
        Some(&mut segment.bytes[start..end as usize])
    }

    /// A new member: it gets what is appended from now on. The result is its cursor.
    pub fn join(&mut self) -> u64 {
        self.caught_up += 1;
        self.next
    }

    /// The member whose cursor this is gets nothing more.
    pub fn leave(&mut self, cursor: u64, pool: &mut SegmentPool) {
        *self.count_at(cursor) -= 1;
        self.release(pool);
    }

    /// The member gets nothing of what it has not had: its cursor moves to the end. The results are
    /// the cursor, and how many frames that was.
    pub fn skip(&mut self, cursor: u64, pool: &mut SegmentPool) -> (u64, u64) {
        self.advance(cursor, self.next, pool);
        (self.next, self.next - cursor)
    }

    /// The bytes from a cursor on, in pieces; none when it has caught up, or is lost.
    pub fn pending(&self, cursor: u64) -> impl Iterator<Item = &[u8]> {
        let from = match self.find(cursor) {
            Some(at) => at,
            None => self.segments.len(),
        };
        self.segments
            .range(from..)
            .map(move |segment| &segment.bytes[segment.offset(cursor.max(segment.first))..])
    }

    /// How far `count` bytes, written from `cursor` on, reach. The cursor is not moved by it.
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
                // A frame is torn if something of it is written: its beginning is not where the
                // writing ended.
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

    /// A member's cursor moves on.
    pub fn advance(&mut self, from: u64, to: u64, pool: &mut SegmentPool) {
        debug_assert!(from <= to && to <= self.next);
        if from == to {
            return;
        }
        *self.count_at(from) -= 1;
        *self.count_at(to) += 1;
        self.release(pool);
    }

    /// The segment of a cursor; none if it has caught up or is lost. Nearly always it is one of the
    /// last.
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

    /// Gives back the segments that nobody needs.
    fn release(&mut self, pool: &mut SegmentPool) {
        while self.segments.front().is_some_and(|segment| segment.cursors == 0) {
            if let Some(segment) = self.segments.pop_front() {
                pool.give(segment);
            }
        }
    }

    /// Gives back all segments: the log is no more.
    pub fn clear(&mut self, pool: &mut SegmentPool) {
        while let Some(segment) = self.segments.pop_front() {
            pool.give(segment);
        }
        self.caught_up = 0;
        self.lost = 0;
    }
}
