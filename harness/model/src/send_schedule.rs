//! Times at which the messages of a traffic are due, shared by all threads.
//!
//! Messages are evenly spaced until their interval is changed, or follow a list of times. A change
//! takes effect some time ahead: it leaves all messages before that time, and the first one after
//! it, as they are, so no thread waits for a time that has become wrong.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::RwLock;
use serde::{Deserialize, Serialize};

use crate::clock::{NEVER, Nanos, nanos};

/// The times at which messages are due, shared by all threads.
///
/// The times follow from the constructor's arguments and the changes. Another process builds an
/// equal copy from a [`ScheduleSnapshot`].
#[derive(Debug)]
pub struct SendSchedule {
    spacing: Spacing,
    /// Messages due at `end` or later are never due.
    end: Nanos,
}

#[derive(Debug)]
enum Spacing {
    /// Never empty; each segment starts at or after the one before.
    Even(RwLock<Vec<Segment>>),
    Listed {
        start: Nanos,
        /// Ascending offsets from `start`.
        offsets: Arc<[Nanos]>,
    },
}

/// Evenly spaced messages up to the first of the next segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Segment {
    /// The number of the first message.
    first: u32,
    /// The time at which the first message is due.
    at: Nanos,
    interval: Nanos,
}

impl Segment {
    /// Computed from the index, so no error accumulates.
    fn intended(self, index: u32) -> Nanos {
        self.at.saturating_add(self.interval.saturating_mul(u64::from(index - self.first)))
    }

    /// The number of messages due before `at`, including those of earlier segments.
    fn due_before(self, at: Nanos) -> u32 {
        let more = match (at.saturating_sub(self.at), self.interval) {
            (0, _) => 0,
            (_, 0) => u64::MAX,
            (time, interval) => time.div_ceil(interval),
        };
        self.first.saturating_add(u32::try_from(more).unwrap_or(u32::MAX))
    }
}

/// The state of a schedule, serialized for another process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScheduleSnapshot {
    end: Nanos,
    /// Segments of an even schedule; empty for a listed one.
    segments: Vec<Segment>,
    /// The start of a listed schedule.
    start: Nanos,
    /// Differences between consecutive offsets of a listed schedule. They are small, so they
    /// serialize compactly.
    steps: Vec<Nanos>,
}

impl From<ScheduleSnapshot> for SendSchedule {
    fn from(ScheduleSnapshot { end, segments, start, steps }: ScheduleSnapshot) -> Self {
        if !segments.is_empty() {
            return Self { spacing: Spacing::Even(RwLock::new(segments)), end };
        }
        let offsets = steps.into_iter().scan(0_u64, |offset, step| {
            *offset = offset.saturating_add(step);
            Some(*offset)
        });
        Self::listed(start, offsets.collect()).ending(end)
    }
}

impl SendSchedule {
    /// A snapshot of the schedule as it is now.
    pub fn snapshot(&self) -> ScheduleSnapshot {
        let mut snapshot =
            ScheduleSnapshot { end: self.end, segments: Vec::new(), start: 0, steps: Vec::new() };
        match &self.spacing {
            Spacing::Even(segments) => snapshot.segments.clone_from(&segments.read()),
            Spacing::Listed { start, offsets } => {
                let before = std::iter::once(&0).chain(offsets.iter());
                snapshot.start = *start;
                snapshot.steps = offsets.iter().zip(before).map(|(offset, before)| offset - before).collect();
            }
        }
        snapshot
    }

    /// A schedule whose message k is due at `start + k * interval`. With an interval of zero all
    /// messages are due at once.
    pub fn even(start: Nanos, interval: Duration) -> Self {
        let segment = Segment { first: 0, at: start, interval: nanos(interval) };
        Self { spacing: Spacing::Even(RwLock::new(vec![segment])), end: NEVER }
    }

    /// A schedule whose message k is due at `start + offsets[k]`, without further messages.
    /// `offsets` must ascend.
    pub fn listed(start: Nanos, offsets: Arc<[Nanos]>) -> Self {
        debug_assert!(offsets.is_sorted(), "offsets must ascend");
        Self { spacing: Spacing::Listed { start, offsets }, end: NEVER }
    }

    /// Ends the schedule: messages due at `end` or later are never due.
    #[must_use]
    pub fn ending(self, end: Nanos) -> Self {
        Self { end, ..self }
    }

    /// The start of the schedule; that of an even one is the time of its first message.
    pub fn start(&self) -> Nanos {
        match &self.spacing {
            Spacing::Even(segments) => segments.read().first().map_or(NEVER, |first| first.at),
            Spacing::Listed { start, .. } => *start,
        }
    }

    /// The time at which message `index` is due, never before its predecessor; [`NEVER`] if there
    /// is no such message.
    pub fn intended(&self, index: u32) -> Nanos {
        let at = match &self.spacing {
            Spacing::Even(segments) => {
                let segments = segments.read();
                // Nearly always the last segment.
                let segment = segments.iter().rfind(|segment| segment.first <= index);
                segment.map_or(NEVER, |segment| segment.intended(index))
            }
            Spacing::Listed { start, offsets } => {
                offsets.get(index as usize).map_or(NEVER, |offset| start.saturating_add(*offset))
            }
        };
        if at < self.end { at } else { NEVER }
    }

    /// The number of messages due before `at`, by the schedule as it is now. With [`NEVER`] it is
    /// the number of all messages: `u32::MAX` for an even schedule without end.
    pub fn due_before(&self, at: Nanos) -> u32 {
        let at = at.min(self.end);
        match &self.spacing {
            Spacing::Even(segments) => {
                let segments = segments.read();
                let segment = segments.iter().rfind(|segment| segment.at < at);
                segment.map_or(0, |segment| segment.due_before(at))
            }
            Spacing::Listed { start, offsets } => {
                offsets.partition_point(|offset| start.saturating_add(*offset) < at) as u32
            }
        }
    }

    /// Sets the interval between messages that follow the first one due at or after `at`; zero
    /// counts as a nanosecond. Messages up to and including that first one stay, so a change takes
    /// effect after at most one old interval.
    ///
    /// Threads act on times they have already read, so `at` must lie some time ahead. A time before
    /// the last change counts as the time of that change. Returns false for listed times, which do
    /// not change.
    pub fn change(&self, at: Nanos, interval: Duration) -> bool {
        let Spacing::Even(segments) = &self.spacing else { return false };
        let mut segments = segments.write();
        let Some(last) = segments.last().copied() else { return false };
        let first = last.due_before(at.max(last.at));
        let next = Segment { first, at: last.intended(first), interval: nanos(interval).max(1) };
        if first == last.first {
            segments.pop();
        }
        segments.push(next);
        true
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MS: Nanos = 1_000_000;

    #[test]
    fn an_even_schedule_does_not_drift() {
        let schedule = SendSchedule::even(5, Duration::from_nanos(11_250_001));
        assert_eq!(schedule.intended(0), 5);
        assert_eq!(schedule.intended(8_000_000), 5 + 11_250_001 * 8_000_000);
        assert_eq!(SendSchedule::even(NEVER - 1, Duration::from_secs(1)).intended(9), NEVER);
        let at_once = SendSchedule::even(7, Duration::ZERO);
        assert_eq!(
            (at_once.intended(u32::MAX), at_once.due_before(7), at_once.due_before(8)),
            (7, 0, u32::MAX)
        );
    }

    #[test]
    fn a_change_begins_with_the_first_message_after_it() {
        let schedule = SendSchedule::even(100, Duration::from_nanos(10));
        assert!(schedule.change(125, Duration::from_nanos(3)));
        let times: Vec<_> = (0..6).map(|index| schedule.intended(index)).collect();
        assert_eq!(times, [100, 110, 120, 130, 133, 136]);
        // A message due at exactly this time is the first.
        assert!(schedule.change(136, Duration::from_nanos(100)));
        assert_eq!((schedule.intended(5), schedule.intended(6)), (136, 236));
        // A change before the previous one took effect replaces it and leaves no segment behind.
        assert!(schedule.change(110, Duration::ZERO));
        assert_eq!((schedule.intended(4), schedule.intended(5), schedule.intended(9)), (133, 136, 140));
        let Spacing::Even(segments) = &schedule.spacing else { panic!("even") };
        assert_eq!(segments.read().len(), 3);
    }

    #[test]
    fn a_change_before_the_start_applies_from_the_start() {
        let schedule = SendSchedule::even(100, Duration::from_nanos(10));
        assert!(schedule.change(0, Duration::from_nanos(7)));
        assert_eq!((schedule.intended(0), schedule.intended(2), schedule.due_before(100)), (100, 114, 0));
        assert_eq!(schedule.start(), 100);
    }

    #[test]
    fn a_listed_schedule_has_the_listed_times() {
        let schedule = SendSchedule::listed(1_000, [0, 5, 5, 900].into());
        let times: Vec<_> = (0..5).map(|index| schedule.intended(index)).collect();
        assert_eq!(times, [1_000, 1_005, 1_005, 1_900, NEVER]);
        let due = [1_000, 1_001, 1_005, 1_006, NEVER].map(|at| schedule.due_before(at));
        assert_eq!(due, [0, 1, 1, 3, 4]);
        assert!(!schedule.change(0, Duration::from_nanos(1)));
        let silence = SendSchedule::listed(50, Arc::default());
        assert_eq!((silence.start(), silence.intended(0), silence.due_before(NEVER)), (50, NEVER, 0));
    }

    #[test]
    fn nothing_is_due_after_the_end() {
        let schedule = SendSchedule::even(100, Duration::from_nanos(10)).ending(121);
        assert_eq!((schedule.intended(2), schedule.intended(3)), (120, NEVER));
        assert_eq!((schedule.due_before(NEVER), schedule.due_before(115)), (3, 2));
        assert!(schedule.change(110, Duration::from_nanos(4)));
        assert_eq!(schedule.due_before(NEVER), 4);
        let listed = SendSchedule::listed(0, [1, 2, 3].into()).ending(3);
        assert_eq!((listed.due_before(NEVER), listed.intended(2)), (2, NEVER));
    }

    #[test]
    fn all_threads_see_the_same_times() {
        let schedule = Arc::new(SendSchedule::even(0, Duration::from_millis(1)));
        let readers: Vec<_> = (0..3)
            .map(|_| {
                let schedule = schedule.clone();
                std::thread::spawn(move || {
                    // Messages before the first change keep their times during the change.
                    (0..1_000).for_each(|index| assert_eq!(schedule.intended(index), u64::from(index) * MS));
                    schedule.intended(2_000)
                })
            })
            .collect();
        assert!(schedule.change(1_000 * MS, Duration::from_millis(2)));
        for reader in readers {
            let seen = reader.join().expect("no panic");
            assert!([2_000 * MS, 3_000 * MS].contains(&seen), "{seen}");
        }
        assert_eq!(schedule.intended(2_000), 3_000 * MS);
    }

    proptest! {
        #[test]
        fn times_never_decrease_and_due_before_counts_them(
            start in 0_u64..1_000, interval in 1_u64..50, changes in prop::collection::vec((0_u64..400, 1_u64..50), 0..6),
            end in 0_u64..6_000,
        ) {
            let schedule = SendSchedule::even(start, Duration::from_nanos(interval)).ending(end);
            let mut changed_at = start;
            for (after, interval) in changes {
                changed_at += after;
                let before: Vec<_> = (0..120).map(|index| schedule.intended(index)).collect();
                schedule.change(changed_at, Duration::from_nanos(interval));
                let kept = before.iter().take_while(|at| **at < changed_at).count();
                // Messages due before the change, and the first one after it.
                for (index, at) in before.iter().enumerate().take(kept + 1) {
                    prop_assert_eq!(schedule.intended(index as u32), *at);
                }
                let next = schedule.intended(kept as u32 + 1);
                prop_assert!(before.len() <= kept || next == NEVER || next == before[kept] + interval);
            }
            let times: Vec<_> = (0..200).map(|index| schedule.intended(index)).collect();
            prop_assert!(times.is_sorted());
            for at in [0, start, start + 1, changed_at, changed_at + 1, 777].into_iter().chain(times.iter().copied()) {
                let due = times.iter().filter(|time| **time < at).count();
                prop_assert!(due == times.len() || schedule.due_before(at) as usize == due, "{} {}", at, due);
            }
        }

        #[test]
        fn due_before_counts_listed_times(mut offsets in prop::collection::vec(0_u64..90, 0..30), at in 0_u64..120) {
            offsets.sort_unstable();
            let schedule = SendSchedule::listed(10, offsets.clone().into());
            let times: Vec<_> = (0..offsets.len()).map(|index| schedule.intended(index as u32)).collect();
            prop_assert_eq!(schedule.due_before(at) as usize, times.iter().filter(|time| **time < at).count());
        }
    }

    /// A deserialized copy is equal and stays equal under the same changes.
    #[test]
    fn a_deserialized_copy_is_equal_and_changes_alike() {
        let check = |schedule: SendSchedule, changes: &[(Nanos, Duration)]| {
            let written = postcard::to_stdvec(&schedule.snapshot()).expect("serializable");
            let copy = SendSchedule::from(
                postcard::from_bytes::<ScheduleSnapshot>(&written).expect("deserializable"),
            );
            for (at, interval) in changes {
                assert_eq!(schedule.change(*at, *interval), copy.change(*at, *interval));
            }
            assert_eq!(schedule.snapshot(), copy.snapshot());
            for index in 0..500 {
                assert_eq!(schedule.intended(index), copy.intended(index), "{index}");
            }
            assert_eq!(schedule.due_before(NEVER), copy.due_before(NEVER));
        };
        let changes = [(150 * MS, Duration::from_millis(1)), (200 * MS, Duration::from_micros(100))];
        check(SendSchedule::even(7 * MS, Duration::from_millis(10)), &changes);
        let changed = SendSchedule::even(0, Duration::from_millis(3)).ending(400 * MS);
        assert!(changed.change(90 * MS, Duration::from_millis(2)));
        check(changed, &changes);
        check(SendSchedule::listed(5 * MS, [0, 0, 3, 40 * MS, u64::MAX].into()), &changes);
        check(SendSchedule::listed(5 * MS, [].into()), &[]);
    }
}
