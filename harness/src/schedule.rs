//! When what is sent by whom: decided before the run, by the seed and the clock alone.
//!
//! The schedule is open-loop and absolute. Message k is due at `start + k * interval`
//! however late its predecessors were, and it keeps that time as its intended time when
//! it is sent late: a server (or a harness) that stalls makes latencies long instead of
//! making the load light.
//!
//! Every worker holds the same [`Traffic`] and sends the messages whose sender is its
//! own client, so the threads share one schedule without a word between them.

use std::sync::Arc;
use std::time::Duration;

use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt, SeedableRng};

use crate::clock::{NEVER, Nanos, nanos};

/// Most messages that one run may schedule: they are all known, and accounted for, by number.
pub const MESSAGES_MAX: u32 = 8_000_000;

/// No message.
const NONE: u32 = u32::MAX;

/// Evenly spaced points in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    start: Nanos,
    interval: Nanos,
}

impl Pace {
    /// Points at `start`, `start + interval` and so on.
    pub fn new(start: Nanos, interval: Duration) -> Self {
        Self { start, interval: nanos(interval) }
    }

    /// The time of point `index`. Exact: nothing is summed up, so nothing drifts.
    pub fn intended(self, index: u32) -> Nanos {
        self.start.saturating_add(self.interval.saturating_mul(u64::from(index)))
    }
}

/// How many points of a pace of `interval` lie in `duration`, the first at its beginning.
/// None for an interval of zero, or when they are more than [`MESSAGES_MAX`].
pub fn points_in(duration: Duration, interval: Duration) -> Option<u32> {
    if interval.is_zero() {
        return None;
    }
    let points = duration.as_nanos().div_ceil(interval.as_nanos());
    u32::try_from(points).ok().filter(|points| *points <= MESSAGES_MAX)
}

/// Who sends each message of a run.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// The client that sends each message.
    senders: Vec<u32>,
    /// The next message by the same sender, or [`NONE`].
    next_by_sender: Vec<u32>,
}

impl Traffic {
    /// Draws the senders of `messages` messages: `allowed` clients out of `clients` are drawn
    /// first, then one of them for each message. The same arguments give the same traffic.
    pub fn draw(seed: u64, clients: u32, allowed: u32, messages: u32) -> Self {
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
        let allowed = allowed.min(clients);
        let pool = rand::seq::index::sample(&mut rng, clients as usize, allowed as usize);
        let pool: Vec<u32> = pool.iter().map(|client| client as u32).collect();
        let senders: Vec<u32> = match pool.len() {
            0 => Vec::new(),
            len => (0..messages).map(|_| pool[rng.random_range(0..len)]).collect(),
        };
        Self::of(senders, clients)
    }

    /// The traffic in which message k is sent by `senders[k]`, a client below `clients`.
    pub fn of(senders: Vec<u32>, clients: u32) -> Self {
        let mut next_by_sender = vec![NONE; senders.len()];
        let mut next = vec![NONE; clients as usize];
        for (index, sender) in senders.iter().enumerate().rev() {
            next_by_sender[index] = next[*sender as usize];
            next[*sender as usize] = index as u32;
        }
        Self { senders, next_by_sender }
    }

    /// Messages in all.
    pub fn messages(&self) -> u32 {
        self.senders.len() as u32
    }

    /// The client that sends message `index`; none when there is no such message.
    pub fn sender(&self, index: u32) -> Option<u32> {
        self.senders.get(index as usize).copied()
    }

    /// The messages that the sender of `index` sends after it, in order.
    pub fn later_by_same_sender(&self, index: u32) -> impl Iterator<Item = u32> + '_ {
        let after =
            |index: u32| self.next_by_sender.get(index as usize).copied().filter(|next| *next != NONE);
        std::iter::successors(after(index), move |index| after(*index))
    }
}

/// A message that is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Due {
    /// Its number in the run.
    pub index: u32,
    /// The client that sends it.
    pub sender: u32,
    /// When it should have been sent.
    pub intended: Nanos,
}

/// One worker's way through the traffic: client c belongs to worker `c % workers`.
#[derive(Debug)]
pub struct SendCursor {
    traffic: Arc<Traffic>,
    pace: Pace,
    worker: u32,
    workers: u32,
    next: u32,
}

impl SendCursor {
    /// The messages of `worker`, one of `workers` (at least 1).
    pub fn new(traffic: Arc<Traffic>, pace: Pace, worker: u32, workers: u32) -> Self {
        let mut cursor = Self { traffic, pace, worker, workers: workers.max(1), next: 0 };
        cursor.skip_others();
        cursor
    }

    /// When the next message of this worker is due; [`NEVER`] when there is none.
    pub fn next_due(&self) -> Nanos {
        if self.next < self.traffic.messages() { self.pace.intended(self.next) } else { NEVER }
    }

    /// The next message, if it is due at `now`. After a stall the overdue ones come one call
    /// after the other, each with the time at which it should have been sent.
    pub fn pop(&mut self, now: Nanos) -> Option<Due> {
        let sender = self.traffic.sender(self.next)?;
        let intended = self.pace.intended(self.next);
        if intended > now {
            return None;
        }
        let due = Due { index: self.next, sender, intended };
        self.next += 1;
        self.skip_others();
        Some(due)
    }

    fn skip_others(&mut self) {
        while self.traffic.sender(self.next).is_some_and(|sender| sender % self.workers != self.worker) {
            self.next += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MS: u64 = 1_000_000;

    #[test]
    fn a_pace_does_not_drift() {
        let pace = Pace::new(5, Duration::from_nanos(11_250_001));
        assert_eq!(pace.intended(0), 5);
        assert_eq!(pace.intended(MESSAGES_MAX), 5 + 11_250_001 * u64::from(MESSAGES_MAX));
        assert_eq!(Pace::new(NEVER - 1, Duration::from_secs(1)).intended(9), NEVER);
    }

    #[test]
    fn points_cover_the_duration() {
        let check = |duration: u64, interval: u64, points| {
            assert_eq!(points_in(Duration::from_nanos(duration), Duration::from_nanos(interval)), points);
        };
        check(10_000 * MS, 10 * MS, Some(1000));
        check(10_001 * MS, 10 * MS, Some(1001));
        check(1, 10 * MS, Some(1));
        check(0, 10 * MS, Some(0));
        check(10, 0, None);
        check(3600 * 1000 * MS, 1000, None);
    }

    #[test]
    fn a_stall_is_caught_up_with_the_intended_times_kept() {
        let traffic = Arc::new(Traffic::of(vec![0, 1, 0, 1], 2));
        let mut cursor = SendCursor::new(traffic, Pace::new(100, Duration::from_nanos(10)), 0, 1);
        assert_eq!(cursor.next_due(), 100);
        assert_eq!(cursor.pop(99), None);
        let late: Vec<_> =
            std::iter::from_fn(|| cursor.pop(125)).map(|due| (due.index, due.intended)).collect();
        assert_eq!(late, [(0, 100), (1, 110), (2, 120)]);
        assert_eq!((cursor.next_due(), cursor.pop(129)), (130, None));
        assert_eq!(cursor.pop(130), Some(Due { index: 3, sender: 1, intended: 130 }));
        assert_eq!((cursor.next_due(), cursor.pop(NEVER)), (NEVER, None));
    }

    #[test]
    fn the_seed_decides_the_traffic() {
        assert_eq!(Traffic::draw(7, 100, 100, 1000), Traffic::draw(7, 100, 100, 1000));
        assert_ne!(Traffic::draw(7, 100, 100, 1000), Traffic::draw(8, 100, 100, 1000));
        // Regression guard: results of different versions are only comparable while this holds.
        assert_eq!(Traffic::draw(1, 1000, 1000, 6).senders, [126, 451, 722, 328, 986, 190]);
    }

    #[test]
    fn only_so_many_senders() {
        let distinct = |allowed| {
            let traffic = Traffic::draw(3, 50, allowed, 2000);
            traffic.senders.iter().collect::<std::collections::BTreeSet<_>>().len()
        };
        assert_eq!((distinct(1), distinct(7), distinct(50), distinct(99)), (1, 7, 50, 50));
        assert_eq!(Traffic::draw(3, 0, 0, 10).messages(), 0);
    }

    proptest! {
        #[test]
        fn workers_share_the_schedule_without_overlap(seed: u64, clients in 1_u32..40, workers in 1_u32..5) {
            let traffic = Arc::new(Traffic::draw(seed, clients, clients, 200));
            let pace = Pace::new(0, Duration::from_nanos(1));
            let mut all: Vec<Due> = (0..workers)
                .flat_map(|worker| {
                    let mut cursor = SendCursor::new(traffic.clone(), pace, worker, workers);
                    std::iter::from_fn(move || cursor.pop(NEVER)).collect::<Vec<_>>()
                })
                .collect();
            all.sort_by_key(|due| due.index);
            prop_assert!(all.iter().map(|due| due.index).eq(0..200));
            prop_assert!(all.iter().all(|due| traffic.sender(due.index) == Some(due.sender)));
        }

        #[test]
        fn later_messages_of_the_sender(senders in prop::collection::vec(0_u32..5, 0..60), from in 0_u32..60) {
            let traffic = Traffic::of(senders.clone(), 5);
            let expected: Vec<u32> = (from + 1..senders.len() as u32)
                .filter(|later| senders[*later as usize] == senders.get(from as usize).copied().unwrap_or(9))
                .collect();
            prop_assert_eq!(traffic.later_by_same_sender(from).collect::<Vec<_>>(), expected);
        }
    }
}
