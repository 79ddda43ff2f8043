//! When each message of a traffic is due, the same for all threads: evenly, until somebody changes how often, or at
//! times that are listed.
//!
//! A change is asked for some time ahead and leaves everything before it as it is, and also the first message after
//! it, so that no thread waits for a time that is no longer right. What has been planned never comes earlier or later.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::RwLock;
use serde::{Deserialize, Serialize};

use crate::clock::{NEVER, Nanos, nanos};

/// When messages are due. Threads share it, and all see the same times.
///
/// Everything that it says follows from what it was made of and from the changes: a copy for another process is made of
/// the same.
#[derive(Debug)]
pub struct SendSchedule {
    spacing: Spacing,
    /// What would be due then or later never is.
    end: Nanos,
}

#[derive(Debug)]
enum Spacing {
    /// Never empty, and each begins at or after the last one.
    Even(RwLock<Vec<Segment>>),
    Listed {
        start: Nanos,
        /// Ascending.
        offsets: Arc<[Nanos]>,
    },
}

/// Evenly spaced messages, up to the next segment's first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Segment {
    /// The number of the first.
    first: u32,
    /// When that one is due.
    at: Nanos,
    interval: Nanos,
}

impl Segment {
    /// Exact: nothing is summed up, so nothing drifts.
    fn intended(self, index: u32) -> Nanos {
        self.at.saturating_add(self.interval.saturating_mul(u64::from(index - self.first)))
    }

    /// Messages due before `at`, those before the segment included.
    fn due_before(self, at: Nanos) -> u32 {
        let more = match (at.saturating_sub(self.at), self.interval) {
            (0, _) => 0,
            (_, 0) => u64::MAX,
            (time, interval) => time.div_ceil(interval),
        };
        self.first.saturating_add(u32::try_from(more).unwrap_or(u32::MAX))
    }
}

/// A rhythm as it is at one moment, written down for another process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScheduleSnapshot {
    end: Nanos,
    /// Those of an even one.
    segments: Vec<Segment>,
    /// The first time of a listed one.
    start: Nanos,
    /// From each to the next, beginning at the start: small numbers, which take little to write down.
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
    /// The rhythm as it is now, to be written down.
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

    /// Message k is due at `start + k * interval`. With an interval of zero all are due at once.
    pub fn even(start: Nanos, interval: Duration) -> Self {
        let segment = Segment { first: 0, at: start, interval: nanos(interval) };
        Self { spacing: Spacing::Even(RwLock::new(vec![segment])), end: NEVER }
    }

    /// Message k is due at `start + offsets[k]`; `offsets` must ascend. There are no others.
    pub fn listed(start: Nanos, offsets: Arc<[Nanos]>) -> Self {
        debug_assert!(offsets.is_sorted(), "a message that is due before its predecessor");
        Self { spacing: Spacing::Listed { start, offsets }, end: NEVER }
    }

    /// The same with an end: what would be due at `end` or later never is.
    #[must_use]
    pub fn ending(self, end: Nanos) -> Self {
        Self { end, ..self }
    }

    /// When it begins: with the first message if it is even.
    pub fn start(&self) -> Nanos {
        match &self.spacing {
            Spacing::Even(segments) => segments.read().first().map_or(NEVER, |first| first.at),
            Spacing::Listed { start, .. } => *start,
        }
    }

    /// When message `index` is due; [`NEVER`] if it is not. Never earlier than its predecessor.
    pub fn intended(&self, index: u32) -> Nanos {
        let at = match &self.spacing {
            Spacing::Even(segments) => {
                let segments = segments.read();
                // The last one nearly always.
                let segment = segments.iter().rfind(|segment| segment.first <= index);
                segment.map_or(NEVER, |segment| segment.intended(index))
            }
            Spacing::Listed { start, offsets } => {
                offsets.get(index as usize).map_or(NEVER, |offset| start.saturating_add(*offset))
            }
        };
        if at < self.end { at } else { NEVER }
    }

    /// How many messages are due before `at`, as far as that is known now. With [`NEVER`] it is all that there are: as many
    /// as numbers go for an even rhythm without end.
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

    /// From the first message due at or after `at` on, messages are `interval` apart (zero is taken for a nanosecond). What is
    /// due before that stays, and so does that message: how soon a change is felt depends on how far apart they were.
    ///
    /// Threads plan by what they have read, so `at` must be some time ahead. A time before the last change is taken for
    /// that. False for listed times, which do not change.
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
    fn an_even_rhythm_does_not_drift() {
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
        // Due at that very time: it is the first.
        assert!(schedule.change(136, Duration::from_nanos(100)));
        assert_eq!((schedule.intended(5), schedule.intended(6)), (136, 236));
        // Changed again before anything came of it: the last one counts, and nothing is left of the other.
        assert!(schedule.change(110, Duration::ZERO));
        assert_eq!((schedule.intended(4), schedule.intended(5), schedule.intended(9)), (133, 136, 140));
        let Spacing::Even(segments) = &schedule.spacing else { panic!("even") };
        assert_eq!(segments.read().len(), 3);
    }

    #[test]
    fn a_change_before_the_beginning_is_one_from_the_beginning() {
        let schedule = SendSchedule::even(100, Duration::from_nanos(10));
        assert!(schedule.change(0, Duration::from_nanos(7)));
        assert_eq!((schedule.intended(0), schedule.intended(2), schedule.due_before(100)), (100, 114, 0));
        assert_eq!(schedule.start(), 100);
    }

    #[test]
    fn listed_times_are_as_listed() {
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
                    // Before the first change, whatever goes on: as planned.
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
        fn times_never_decrease_and_are_counted(
            start in 0_u64..1_000, interval in 1_u64..50, changes in prop::collection::vec((0_u64..400, 1_u64..50), 0..6),
            end in 0_u64..6_000,
        ) {
            let schedule = SendSchedule::even(start, Duration::from_nanos(interval)).ending(end);
            let mut asked = start;
            for (after, interval) in changes {
                asked += after;
                let before: Vec<_> = (0..120).map(|index| schedule.intended(index)).collect();
                schedule.change(asked, Duration::from_nanos(interval));
                let kept = before.iter().take_while(|at| **at < asked).count();
                // All of those, and the first that is due then or later.
                for (index, at) in before.iter().enumerate().take(kept + 1) {
                    prop_assert_eq!(schedule.intended(index as u32), *at);
                }
                let next = schedule.intended(kept as u32 + 1);
                prop_assert!(before.len() <= kept || next == NEVER || next == before[kept] + interval);
            }
            let times: Vec<_> = (0..200).map(|index| schedule.intended(index)).collect();
            prop_assert!(times.is_sorted());
            for at in [0, start, start + 1, asked, asked + 1, 777].into_iter().chain(times.iter().copied()) {
                let due = times.iter().filter(|time| **time < at).count();
                prop_assert!(due == times.len() || schedule.due_before(at) as usize == due, "{} {}", at, due);
            }
        }

        #[test]
        fn listed_times_are_counted(mut offsets in prop::collection::vec(0_u64..90, 0..30), at in 0_u64..120) {
            offsets.sort_unstable();
            let schedule = SendSchedule::listed(10, offsets.clone().into());
            let times: Vec<_> = (0..offsets.len()).map(|index| schedule.intended(index as u32)).collect();
            prop_assert_eq!(schedule.due_before(at) as usize, times.iter().filter(|time| **time < at).count());
        }
    }

    /// What another process makes of it is the same, and stays so.
    #[test]
    fn a_copy_is_the_same_and_changes_alike() {
        let check = |schedule: SendSchedule, changes: &[(Nanos, Duration)]| {
            let written = postcard::to_stdvec(&schedule.snapshot()).expect("it can be written");
            let copy = SendSchedule::from(
                postcard::from_bytes::<ScheduleSnapshot>(&written).expect("it can be read"),
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
