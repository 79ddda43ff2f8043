//! Senders, recipients and times of messages, decided before the run by the seed and the clock
//! alone.
//!
//! The schedule is open-loop and absolute. A message is due when its [`SendSchedule`] says so,
//! however late its predecessors were. A message sent late keeps its scheduled time as its intended
//! time, so a server (or a harness) that stalls makes latencies long instead of the load light.
//!
//! Every worker holds the same [`Traffic`] and sends the messages of its own clients, so the
//! threads share one schedule without communicating.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt, SeedableRng};
use serde::{Deserialize, Serialize};

use crate::audiences::{Audiences, ScopeMix, WHISPERS, WORLD};
use crate::clock::{NEVER, Nanos, nanos};
use crate::limits::MESSAGES_MAX;
use crate::send_schedule::SendSchedule;

/// Stands for no message.
const NONE: u32 = u32::MAX;

/// Evenly spaced points in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pace {
    start: Nanos,
    interval: Nanos,
    /// The time from the start until points are `interval` apart.
    ramp: Nanos,
}

impl Pace {
    /// Points at `start`, `start + interval` and so on.
    pub fn new(start: Nanos, interval: Duration) -> Self {
        Self { start, interval: nanos(interval), ramp: 0 }
    }

    /// `count` points a second (at least 1), the first at `start`.
    pub fn per_second(start: Nanos, count: u32) -> Self {
        Self { start, interval: 1_000_000_000 / u64::from(count.max(1)), ramp: 0 }
    }

    /// Adds a ramp at the beginning, during which the rate grows linearly from zero.
    #[must_use]
    pub fn with_ramp(self, ramp: Duration) -> Self {
        Self { ramp: nanos(ramp), ..self }
    }

    /// Moves the first point to `start`.
    #[must_use]
    pub fn starting_at(self, start: Nanos) -> Self {
        Self { start, ..self }
    }

    /// The time of point `index`. It is computed from the index, so no error accumulates.
    pub fn intended(self, index: u32) -> Nanos {
        let even = self.interval.saturating_mul(u64::from(index));
        let after = match self.ramp {
            0 => even,
            // A ramp has half of the points of an even pace.
            ramp if even >= ramp / 2 => even.saturating_add(ramp / 2),
            ramp => (2 * u128::from(even) * u128::from(ramp)).isqrt() as Nanos,
        };
        self.start.saturating_add(after)
    }
}

/// The number of points of a pace of `interval` in `duration`, the first at its beginning. None for
/// an interval of zero or for more than [`MESSAGES_MAX`] points.
pub fn points_in(duration: Duration, interval: Duration) -> Option<u32> {
    if interval.is_zero() {
        return None;
    }
    let points = duration.as_nanos().div_ceil(interval.as_nanos());
    u32::try_from(points).ok().filter(|points| *points <= MESSAGES_MAX)
}

/// The sender and the audience of each message of a run.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// The sender of each message.
    senders: Vec<u32>,
    /// The next message by the same sender, or [`NONE`].
    next_by_sender: Vec<u32>,
    /// The audiences of the messages; none if all messages are for the world.
    addressed: Option<Addressed>,
}

/// The audiences of messages.
#[derive(Debug, PartialEq, Eq)]
struct Addressed {
    /// The audience of each message, and the message's number within the audience.
    places: Vec<(u32, u32)>,
    /// The next message by the same sender to the same audience, or [`NONE`].
    next: Vec<u32>,
    /// The number of messages of each audience, up to the last audience that has any.
    counts: Vec<u32>,
    /// The recipient of each whisper.
    whispered_to: Vec<u32>,
    /// The first audience whose messages the server does not number.
    unnumbered: u32,
}

impl Addressed {
    fn draw(seed: u64, audiences: &Audiences, senders: &[u32]) -> Self {
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed ^ 0x0061_6464_7265_7373);
        let (mut counts, mut whispered_to) = (Vec::new(), Vec::new());
        let mut places = Vec::with_capacity(senders.len());
        for sender in senders {
            let (audience, other) = audiences.address(*sender, &mut rng);
            if audience as usize >= counts.len() {
                counts.resize(audience as usize + 1, 0);
            }
            let count = &mut counts[audience as usize];
            places.push((audience, *count));
            *count += 1;
            if audience == WHISPERS {
                whispered_to.push(other);
            }
        }
        let mut next = vec![NONE; senders.len()];
        let mut last = HashMap::new();
        for (index, (sender, (audience, _))) in senders.iter().zip(&places).enumerate().rev() {
            if let Some(later) = last.insert((*sender, *audience), index as u32) {
                next[index] = later;
            }
        }
        Self { places, next, counts, whispered_to, unnumbered: audiences.in_channel(audiences.channels()) }
    }
}

impl Traffic {
    /// Draws the senders of `messages` messages: first `allowed` of `clients` clients, then one of
    /// them for each message. The same arguments give the same traffic.
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

    /// The traffic whose message k is sent by `senders[k]`, a client below `clients`.
    pub fn of(senders: Vec<u32>, clients: u32) -> Self {
        let mut next_by_sender = vec![NONE; senders.len()];
        let mut next = vec![NONE; clients as usize];
        for (index, sender) in senders.iter().enumerate().rev() {
            next_by_sender[index] = next[*sender as usize];
            next[*sender as usize] = index as u32;
        }
        Self { senders, next_by_sender, addressed: None }
    }

    /// Gives each message one of the audiences of `audiences`, drawn from `seed` where there is a
    /// choice.
    #[must_use]
    pub fn among(self, audiences: &Audiences, seed: u64) -> Self {
        let is_for_all = audiences.speech() == ScopeMix::World;
        let addressed = (!is_for_all).then(|| Addressed::draw(seed, audiences, &self.senders));
        Self { addressed, ..self }
    }

    /// The audience of message `index`, which must exist, and the message's number within the
    /// audience.
    pub fn place(&self, index: u32) -> (u32, u32) {
        self.addressed.as_ref().map_or((WORLD, index), |addressed| addressed.places[index as usize])
    }

    /// The number of messages of each audience, up to the last audience that has any.
    pub fn counts(&self) -> Vec<u32> {
        self.addressed.as_ref().map_or_else(|| vec![self.messages()], |addressed| addressed.counts.clone())
    }

    /// The number of messages of one audience.
    pub fn count(&self, audience: u32) -> u32 {
        match &self.addressed {
            Some(addressed) => addressed.counts.get(audience as usize).copied().unwrap_or(0),
            None if audience == WORLD => self.messages(),
            None => 0,
        }
    }

    /// True if the server numbers the messages of the audience.
    pub fn is_numbered(&self, audience: u32) -> bool {
        self.addressed
            .as_ref()
            .is_none_or(|addressed| audience != WHISPERS && audience < addressed.unnumbered)
    }

    /// The recipient of whisper `ordinal`; none if there is no such whisper.
    pub fn whispered_to(&self, ordinal: u32) -> Option<u32> {
        self.addressed.as_ref()?.whispered_to.get(ordinal as usize).copied()
    }

    /// The later messages of the sender of `index` to the same audience, in order.
    pub fn later_to_same(&self, index: u32) -> impl Iterator<Item = u32> + '_ {
        let next = self.addressed.as_ref().map_or(&self.next_by_sender, |addressed| &addressed.next);
        let after = |index: u32| next.get(index as usize).copied().filter(|next| *next != NONE);
        std::iter::successors(after(index), move |index| after(*index))
    }

    /// The number of messages.
    pub fn messages(&self) -> u32 {
        self.senders.len() as u32
    }

    /// The sender of message `index`; none if there is no such message.
    pub fn sender(&self, index: u32) -> Option<u32> {
        self.senders.get(index as usize).copied()
    }

    /// The later messages of the sender of `index`, in order.
    pub fn later_by_same_sender(&self, index: u32) -> impl Iterator<Item = u32> + '_ {
        let after =
            |index: u32| self.next_by_sender.get(index as usize).copied().filter(|next| *next != NONE);
        std::iter::successors(after(index), move |index| after(*index))
    }
}

/// A message that is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Due {
    /// The message's number in the run.
    pub index: u32,
    /// The client that sends it.
    pub sender: u32,
    /// The time at which it should be sent.
    pub intended: Nanos,
}

/// The position of one worker in the traffic. Client c belongs to worker `c % workers`.
#[derive(Debug)]
pub struct SendCursor {
    traffic: Arc<Traffic>,
    schedule: Arc<SendSchedule>,
    worker: u32,
    workers: u32,
    next: u32,
}

impl SendCursor {
    /// The messages of `worker`, one of `workers` (at least 1).
    pub fn new(traffic: Arc<Traffic>, schedule: Arc<SendSchedule>, worker: u32, workers: u32) -> Self {
        let mut cursor = Self { traffic, schedule, worker, workers: workers.max(1), next: 0 };
        cursor.skip_others();
        cursor
    }

    /// The time of this worker's next message; [`NEVER`] if there is none.
    pub fn next_due(&self) -> Nanos {
        if self.next < self.traffic.messages() { self.schedule.intended(self.next) } else { NEVER }
    }

    /// Returns the next message if it is due at `now`. After a stall each call returns one overdue
    /// message, with its intended time.
    pub fn pop(&mut self, now: Nanos) -> Option<Due> {
        let sender = self.traffic.sender(self.next)?;
        let intended = self.schedule.intended(self.next);
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
    fn a_ramp_begins_slowly() {
        let pace = Pace::new(MS, Duration::from_millis(1)).with_ramp(Duration::from_millis(100));
        let at = |index| (pace.intended(index) - MS) / MS;
        assert_eq!((at(0), at(2), at(8), at(32), at(50), at(51), at(150)), (0, 20, 40, 80, 100, 101, 200));
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
    fn messages_overdue_after_a_stall_keep_their_intended_times() {
        let traffic = Arc::new(Traffic::of(vec![0, 1, 0, 1], 2));
        let mut cursor =
            SendCursor::new(traffic, SendSchedule::even(100, Duration::from_nanos(10)).into(), 0, 1);
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
    fn a_longer_traffic_starts_with_the_shorter_one() {
        let audiences = Audiences::new(30, ScopeMix::Mixed, 4, 3, 100, 5);
        let [fewer, more] =
            [100, 800].map(|messages| Traffic::draw(7, 30, 20, messages).among(&audiences, 7));
        for index in 0..100 {
            let of = |traffic: &Traffic| (traffic.sender(index), traffic.place(index));
            assert_eq!(of(&fewer), of(&more));
        }
        assert_eq!(fewer.whispered_to(10), more.whispered_to(10));
    }

    #[test]
    fn a_change_of_the_rate_applies_to_all_workers() {
        let traffic = Arc::new(Traffic::of(vec![0, 1, 0, 1, 0, 1, 0, 1], 2));
        let schedule = Arc::new(SendSchedule::even(0, Duration::from_nanos(100)));
        let cursors = [0, 1].map(|worker| SendCursor::new(traffic.clone(), schedule.clone(), worker, 2));
        assert_eq!((cursors[0].next_due(), cursors[1].next_due()), (0, 100));
        assert!(schedule.change(150, Duration::from_nanos(10)));
        let times = cursors.map(|mut cursor| {
            std::iter::from_fn(|| cursor.pop(NEVER)).map(|due| due.intended).collect::<Vec<_>>()
        });
        assert_eq!(times, [[0, 200, 220, 240], [100, 210, 230, 250]]);
    }

    #[test]
    fn only_the_allowed_number_of_clients_sends() {
        let distinct = |allowed| {
            let traffic = Traffic::draw(3, 50, allowed, 2000);
            traffic.senders.iter().collect::<std::collections::BTreeSet<_>>().len()
        };
        assert_eq!((distinct(1), distinct(7), distinct(50), distinct(99)), (1, 7, 50, 50));
        assert_eq!(Traffic::draw(3, 0, 0, 10).messages(), 0);
    }

    #[test]
    fn messages_are_numbered_for_each_audience() {
        let audiences = Audiences::new(30, ScopeMix::Mixed, 4, 3, 100, 5);
        let senders = Traffic::draw(5, 30, 30, 2_000);
        let traffic = Traffic::draw(5, 30, 30, 2_000).among(&audiences, 5);
        assert_eq!(senders.senders, traffic.senders);
        assert_eq!(traffic, Traffic::draw(5, 30, 30, 2_000).among(&audiences, 5));
        let mut counts = vec![0; traffic.counts().len()];
        for index in 0..2_000 {
            let (audience, ordinal) = traffic.place(index);
            assert_eq!(counts[audience as usize], ordinal);
            counts[audience as usize] += 1;
            let key = |index| (traffic.sender(index), traffic.place(index).0);
            let later: Vec<_> =
                (index + 1..2_000).filter(|later| key(*later) == key(index)).take(3).collect();
            assert_eq!(traffic.later_to_same(index).take(3).collect::<Vec<_>>(), later);
        }
        assert_eq!(counts, traffic.counts());
        let whispers = traffic.count(WHISPERS);
        assert!(traffic.whispered_to(whispers - 1).is_some() && traffic.whispered_to(whispers).is_none());
        let world = senders.among(&Audiences::world(30), 5);
        assert_eq!((world.place(7), world.counts(), world.count(1)), ((WORLD, 7), vec![2_000], 0));
    }

    proptest! {
        #[test]
        fn workers_share_the_schedule_without_overlap(seed: u64, clients in 1_u32..40, workers in 1_u32..5) {
            let traffic = Arc::new(Traffic::draw(seed, clients, clients, 200));
            let schedule = Arc::new(SendSchedule::even(0, Duration::from_nanos(1)));
            let mut all: Vec<Due> = (0..workers)
                .flat_map(|worker| {
                    let mut cursor = SendCursor::new(traffic.clone(), schedule.clone(), worker, workers);
                    std::iter::from_fn(move || cursor.pop(NEVER)).collect::<Vec<_>>()
                })
                .collect();
            all.sort_by_key(|due| due.index);
            prop_assert!(all.iter().map(|due| due.index).eq(0..200));
            prop_assert!(all.iter().all(|due| traffic.sender(due.index) == Some(due.sender)));
        }

        #[test]
        fn later_messages_are_those_of_the_same_sender(senders in prop::collection::vec(0_u32..5, 0..60), from in 0_u32..60) {
            let traffic = Traffic::of(senders.clone(), 5);
            let expected: Vec<u32> = (from + 1..senders.len() as u32)
                .filter(|later| senders[*later as usize] == senders.get(from as usize).copied().unwrap_or(9))
                .collect();
            prop_assert_eq!(traffic.later_by_same_sender(from).collect::<Vec<_>>(), expected);
        }
    }
}
