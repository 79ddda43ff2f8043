//! The latest messages of rooms, encoded, in the order of their numbers.
//!
//! Messages are kept in segments. A room fills its newest segment and drops its oldest ones once
//! the others hold enough. All segments together are bounded, and the one that was begun first goes
//! first, whichever room it belongs to. Work and memory follow the messages: a room without any
//! costs nothing.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use slab::Slab;
use throng_core::limits::{CHAT_TEXT_MAX, NAME_BYTES_MAX};
use throng_core::metrics;

/// Bytes at which a segment is full.
const SEGMENT_BYTES: usize = 4 * 1024;

/// Bytes of a segment that begins, which most channels never fill.
const SEGMENT_START: usize = 256;

/// Bytes that a segment takes beside its messages.
const SEGMENT_COST: usize = size_of::<Segment>() + 32;

/// Parts of [`HistoryLimits::age`] in which a segment is filled.
const AGE_PARTS: u32 = 8;

/// Length of a message in a segment.
type Length = u16;

/// Sender's name and text take the most of a message.
const _: () = assert!(CHAT_TEXT_MAX + NAME_BYTES_MAX + 64 < SEGMENT_BYTES);

/// A series of messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Series {
    /// Those of a channel, or of the world (0).
    Room(u32),
    /// Those whispered to and by a user.
    Whispers(u32),
    /// The answers to a user.
    Answers(u32),
}

/// Bounds of a [`History`].
#[derive(Debug, Clone, Copy)]
pub struct HistoryLimits {
    /// Bytes of all messages together.
    pub pool: usize,
    /// Messages of a room that are kept for certain, unless they are too old or the pool is full.
    /// 0 keeps none.
    pub messages: usize,
    /// The same for the whispers and for the answers of a user.
    pub own: usize,
    /// Time for which a message is kept. It goes at most an eighth later.
    pub age: Duration,
}

impl HistoryLimits {
    fn of(&self, series: Series) -> usize {
        match series {
            Series::Room(_) => self.messages,
            Series::Whispers(_) | Series::Answers(_) => self.own,
        }
    }
}

/// The latest messages of all series.
#[derive(Debug)]
pub struct History {
    limits: HistoryLimits,
    kept: HashMap<Series, Kept>,
    segments: Slab<Segment>,
    /// Ends of the list of all segments, by their beginning.
    oldest: Option<u32>,
    newest: Option<u32>,
    /// Bytes of all segments.
    bytes: usize,
}

/// The segments of one series.
#[derive(Debug, Default)]
struct Kept {
    /// Oldest first.
    segments: VecDeque<u32>,
    messages: usize,
}

#[derive(Debug)]
struct Segment {
    of: Series,
    begun_at: Instant,
    /// Number of the first message; the others follow without a gap.
    first: u64,
    count: u32,
    /// The messages, each after its length.
    bytes: Vec<u8>,
    older: Option<u32>,
    newer: Option<u32>,
}

impl Segment {
    fn cost(&self) -> usize {
        SEGMENT_COST + self.bytes.capacity()
    }

    fn next_number(&self) -> u64 {
        self.first + u64::from(self.count)
    }

    /// Yields the messages with their numbers.
    fn messages(&self) -> impl Iterator<Item = (u64, &[u8])> {
        let mut rest = &self.bytes[..];
        (self.first..self.next_number()).map_while(move |number| {
            let (length, after) = rest.split_first_chunk()?;
            let (message, after) = after.split_at_checked(usize::from(Length::from_le_bytes(*length)))?;
            rest = after;
            Some((number, message))
        })
    }
}

impl History {
    /// Creates an empty history.
    pub fn new(limits: HistoryLimits) -> Self {
        Self { limits, kept: HashMap::new(), segments: Slab::new(), oldest: None, newest: None, bytes: 0 }
    }

    /// Keeps a message, which `encode` appends to a buffer. `number` follows that of the series'
    /// latest message.
    pub fn push(&mut self, series: Series, number: u64, now: Instant, encode: impl FnOnce(&mut Vec<u8>)) {
        if self.limits.of(series) == 0 || self.limits.pool == 0 {
            return;
        }
        let at = self.segment_for(series, number, now);
        let segment = &mut self.segments[at as usize];
        let before = segment.cost();
        let begin = segment.bytes.len();
        segment.bytes.extend_from_slice(&[0; size_of::<Length>()]);
        encode(&mut segment.bytes);
        let length = segment.bytes.len() - begin - size_of::<Length>();
        segment.bytes[begin..begin + size_of::<Length>()].copy_from_slice(&(length as Length).to_le_bytes());
        segment.count += 1;
        self.bytes = self.bytes + segment.cost() - before;
        if let Some(kept) = self.kept.get_mut(&series) {
            kept.messages += 1;
        }
        self.drop_excess(series);
        self.report();
    }

    /// Returns the segment of a series for a message with this number.
    fn segment_for(&mut self, series: Series, number: u64, now: Instant) -> u32 {
        let kept = self.kept.entry(series).or_default();
        if let Some(at) = kept.segments.back().copied() {
            let segment = &self.segments[at as usize];
            let is_young = now.saturating_duration_since(segment.begun_at) < self.limits.age / AGE_PARTS;
            if segment.next_number() == number && segment.bytes.len() < SEGMENT_BYTES && is_young {
                return at;
            }
            debug_assert_eq!(segment.next_number(), number, "a gap in the numbers of {series:?}");
        }
        let older = self.newest;
        let bytes = Vec::with_capacity(SEGMENT_START);
        let segment =
            Segment { of: series, begun_at: now, first: number, count: 0, bytes, older, newer: None };
        self.bytes += segment.cost();
        let at = self.segments.insert(segment) as u32;
        kept.segments.push_back(at);
        match older {
            Some(older) => self.segments[older as usize].newer = Some(at),
            None => self.oldest = Some(at),
        }
        self.newest = Some(at);
        at
    }

    /// Drops the segments that a series does not need, and then the oldest of all until the rest
    /// fits the pool.
    fn drop_excess(&mut self, series: Series) {
        while let Some(kept) = self.kept.get(&series)
            && let Some(first) = kept.segments.front().copied()
            && kept.messages - self.segments[first as usize].count as usize >= self.limits.of(series)
        {
            self.drop_segment(first);
        }
        while self.bytes > self.limits.pool
            && let Some(oldest) = self.oldest
        {
            self.drop_segment(oldest);
        }
    }

    /// Drops the messages that are too old.
    pub fn sweep(&mut self, now: Instant) {
        let age = self.limits.age;
        while let Some(oldest) = self.oldest {
            if now.saturating_duration_since(self.segments[oldest as usize].begun_at) < age + age / AGE_PARTS
            {
                break;
            }
            self.drop_segment(oldest);
        }
        self.report();
    }

    /// Drops all messages of a series that has ended.
    pub fn forget(&mut self, series: Series) {
        let Some(kept) = self.kept.get(&series) else { return };
        for at in kept.segments.clone() {
            self.drop_segment(at);
        }
    }

    fn drop_segment(&mut self, at: u32) {
        let segment = self.segments.remove(at as usize);
        self.bytes -= segment.cost();
        match segment.older {
            Some(older) => self.segments[older as usize].newer = segment.newer,
            None => self.oldest = segment.newer,
        }
        match segment.newer {
            Some(newer) => self.segments[newer as usize].older = segment.older,
            None => self.newest = segment.older,
        }
        let Some(kept) = self.kept.get_mut(&segment.of) else { return };
        kept.messages -= segment.count as usize;
        // Nearly always the first one.
        kept.segments.retain(|other| *other != at);
        if kept.segments.is_empty() {
            self.kept.remove(&segment.of);
        }
    }

    /// Yields the kept messages of a series from number `from` on, in ascending order.
    pub fn from(&self, series: Series, from: u64) -> impl Iterator<Item = (u64, &[u8])> {
        let segments = self.kept.get(&series).into_iter().flat_map(|kept| &kept.segments);
        segments
            .map(|at| &self.segments[*at as usize])
            .skip_while(move |segment| segment.next_number() <= from)
            .flat_map(Segment::messages)
            .skip_while(move |(number, _)| *number < from)
    }

    fn report(&self) {
        metrics::HISTORY_BYTES.set_count(self.bytes);
    }

    /// Returns the bytes that all messages take.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Yields the series with messages, in any order.
    pub fn series(&self) -> impl Iterator<Item = Series> {
        self.kept.keys().copied()
    }

    /// Returns the number of series with messages.
    pub fn count(&self) -> usize {
        self.kept.len()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ROOM: Series = Series::Room(7);

    fn history(pool: usize, messages: usize) -> History {
        History::new(HistoryLimits { pool, messages, own: 0, age: Duration::from_secs(80) })
    }

    fn numbers(history: &History, series: Series, from: u64) -> Vec<u64> {
        history.from(series, from).map(|(number, _)| number).collect()
    }

    #[test]
    fn a_place_keeps_its_latest_messages_in_order() {
        let (mut history, now) = (history(1 << 20, 100), Instant::now());
        for number in 1..=1000u64 {
            history.push(ROOM, number, now, |out| out.extend_from_slice(&number.to_le_bytes()));
        }
        let kept = numbers(&history, ROOM, 0);
        assert!(kept.len() >= 100 && kept.len() < 100 + SEGMENT_BYTES / 8, "{} kept", kept.len());
        assert_eq!(kept.last(), Some(&1000));
        assert!(history.from(ROOM, 0).all(|(number, message)| message == number.to_le_bytes()));
        assert_eq!(numbers(&history, ROOM, 998), [998, 999, 1000]);
        assert!(numbers(&history, ROOM, 1001).is_empty());
        assert!(numbers(&history, Series::Whispers(7), 0).is_empty());
    }

    #[test]
    fn the_oldest_of_all_goes_first_when_the_pool_is_full() {
        let (mut history, now) = (history(64 * 1024, 1000), Instant::now());
        for room in 0..20_000 {
            history.push(Series::Room(room), 1, now, |out| out.extend_from_slice(&[1; 100]));
            assert!(history.bytes() <= 64 * 1024);
        }
        let kept: Vec<u32> =
            (0..20_000).filter(|room| history.from(Series::Room(*room), 0).next().is_some()).collect();
        assert_eq!(kept.len(), history.count());
        assert!(kept.len() > 100 && kept.is_sorted() && kept.last() == Some(&19_999));
        assert_eq!(kept[0] as usize, 20_000 - kept.len(), "the latest rooms, and all of them");
    }

    #[test]
    fn messages_go_when_they_are_too_old_or_their_place_ends() {
        let (mut history, start) = (history(1 << 20, 1000), Instant::now());
        for second in 0..200 {
            let now = start + Duration::from_secs(second);
            history.push(ROOM, second + 1, now, |out| out.push(1));
            history.sweep(now);
            let oldest = numbers(&history, ROOM, 0)[0];
            let age = second + 1 - oldest;
            assert!((80..=90).contains(&age) || oldest == 1 && age < 90, "{age}");
        }
        history.forget(ROOM);
        assert_eq!((history.bytes(), history.count()), (0, 0));
        history.sweep(start + Duration::from_hours(1));
    }

    proptest! {
        #[test]
        fn what_is_kept_is_the_end_of_what_was_said(
            steps in prop::collection::vec((0..4u32, 0..600usize, 0..4u64), 1..300),
            pool in 1000..20_000usize,
            messages in 1..30usize,
        ) {
            let mut history = history(pool, messages);
            let mut now = Instant::now();
            let mut said = [0u64; 4];
            for (series, length, seconds) in steps {
                now += Duration::from_secs(seconds);
                if seconds == 3 && length < 20 {
                    history.forget(Series::Room(series));
                }
                said[series as usize] += 1;
                let number = said[series as usize];
                history.push(Series::Room(series), number, now, |out| out.resize(out.len() + length, series as u8));
                history.sweep(now);
                prop_assert!(history.bytes() <= pool);
                let mut costs = 0;
                for series in 0..4 {
                    let kept = numbers(&history, Series::Room(series), 0);
                    let wanted: Vec<u64> =
                        (said[series as usize] + 1 - kept.len() as u64..=said[series as usize]).collect();
                    prop_assert_eq!(kept, wanted);
                    costs += history.from(Series::Room(series), 0).map(|(_, message)| message.len()).sum::<usize>();
                }
                prop_assert!(costs <= history.bytes());
                prop_assert_eq!(history.bytes(), history.segments.iter().map(|(_, it)| it.cost()).sum::<usize>());
            }
        }
    }
}
