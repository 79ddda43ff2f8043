//! Buckets that hold clients to a rate.
//!
//! A bucket is one time stamp: the generic cell rate algorithm (ITU-T I.371), which behaves as a
//! token bucket without a timer. It takes `now` as an argument, as all state here does; the crate
//! for it, governor, reads a clock of its own.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::{Duration, Instant};

use crate::config::Rate;
use crate::limits::BUCKETS_KEPT;

/// Refusals after which a client is closed that does not slow down.
pub const REFUSALS: Rate = Rate::new(100, Duration::from_secs(20));

/// The use that one client has made of a [`Rate`].
///
/// ```
/// use std::time::{Duration, Instant};
///
/// use throng_core::bucket::Bucket;
/// use throng_core::config::Rate;
///
/// let rate: Rate = "2/10s".parse().unwrap();
/// let (mut bucket, now) = (Bucket::default(), Instant::now());
/// assert_eq!(bucket.take(rate, now), Ok(()));
/// assert_eq!(bucket.take(rate, now), Ok(()));
/// assert_eq!(bucket.take(rate, now), Err(Duration::from_secs(5)), "the time to wait");
/// assert_eq!(bucket.take(rate, now + Duration::from_secs(5)), Ok(()));
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Bucket {
    /// Time at which the bucket is full again; none while it is.
    full_at: Option<Instant>,
}

impl Bucket {
    /// Takes one request at `now`, or returns the time to wait for the next one.
    pub fn take(&mut self, rate: Rate, now: Instant) -> Result<(), Duration> {
        self.check(rate, now)?;
        self.charge(rate, now);
        Ok(())
    }

    /// Returns the time to wait, if no request can be taken at `now`.
    pub fn check(&self, rate: Rate, now: Instant) -> Result<(), Duration> {
        let Some((count, per)) = rate.limit() else { return Ok(()) };
        let wait = (self.used(now) + per / count).saturating_sub(per);
        if wait.is_zero() { Ok(()) } else { Err(wait) }
    }

    /// Takes one request at `now` even if none is left: then more time has to pass until the next
    /// one. The bucket is full again after twice the rate's time at most.
    pub fn charge(&mut self, rate: Rate, now: Instant) {
        let Some((count, per)) = rate.limit() else { return };
        self.full_at = Some(now + (self.used(now) + per / count).min(2 * per));
    }

    /// Gives back a request that was taken.
    pub fn give_back(&mut self, rate: Rate) {
        let Some((count, per)) = rate.limit() else { return };
        self.full_at = self.full_at.and_then(|at| at.checked_sub(per / count));
    }

    /// Returns true if nothing of the rate is in use at `now`.
    pub fn is_full(&self, now: Instant) -> bool {
        self.full_at.is_none_or(|at| at <= now)
    }

    fn used(&self, now: Instant) -> Duration {
        self.full_at.map_or(Duration::ZERO, |at| at.saturating_duration_since(now))
    }
}

/// Buckets of one rate, by account or address: at most [`BUCKETS_KEPT`].
///
/// A full table forgets its full buckets first. If that is not enough, it forgets the fuller half
/// of the others. So a flood of new keys frees those that have used little, and not the flooder's.
#[derive(Debug)]
pub struct Buckets<K> {
    rate: Rate,
    buckets: HashMap<K, Bucket>,
}

impl<K: Eq + Hash> Buckets<K> {
    /// Creates a table whose buckets are full.
    pub fn new(rate: Rate) -> Self {
        Self { rate, buckets: HashMap::new() }
    }

    /// Takes one request of `key` at `now`, or returns the time to wait for the next one.
    pub fn take(&mut self, key: K, now: Instant) -> Result<(), Duration> {
        self.check(&key, now)?;
        self.charge(key, now);
        Ok(())
    }

    /// Returns the time to wait, if no request of `key` can be taken at `now`.
    pub fn check(&self, key: &K, now: Instant) -> Result<(), Duration> {
        self.buckets.get(key).map_or(Ok(()), |bucket| bucket.check(self.rate, now))
    }

    /// Takes one request of `key` at `now`, even if none is left ([`Bucket::charge`]).
    pub fn charge(&mut self, key: K, now: Instant) {
        if self.rate.limit().is_none() {
            return;
        }
        if self.buckets.len() >= BUCKETS_KEPT && !self.buckets.contains_key(&key) {
            self.make_room(now);
        }
        self.buckets.entry(key).or_default().charge(self.rate, now);
    }

    /// Gives back a request of `key` that was taken.
    pub fn give_back(&mut self, key: &K) {
        if let Some(bucket) = self.buckets.get_mut(key) {
            bucket.give_back(self.rate);
        }
    }

    fn make_room(&mut self, now: Instant) {
        self.buckets.retain(|_, bucket| !bucket.is_full(now));
        if self.buckets.len() > BUCKETS_KEPT / 2 {
            let mut times: Vec<_> = self.buckets.values().map(|bucket| bucket.full_at).collect();
            let middle = times.len() / 2;
            let (_, median, _) = times.select_nth_unstable(middle);
            self.buckets.retain(|_, bucket| bucket.full_at > *median);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_bucket_agrees_with_a_count_of_tokens(
            count in 1..20_u32, interval_ms in 1..50_u32, waits in prop::collection::vec(0..60_u32, 1..80),
        ) {
            let interval = Duration::from_millis(interval_ms.into());
            let rate = Rate::new(count, interval * count);
            let mut now = Instant::now();
            let mut bucket = Bucket::default();
            // Tokens in units of a millisecond of refilling.
            let full = count * interval_ms;
            let mut tokens = full;
            for wait in waits {
                now += Duration::from_millis(wait.into());
                tokens = full.min(tokens + wait);
                let taken = bucket.take(rate, now);
                if tokens >= interval_ms {
                    prop_assert_eq!(taken, Ok(()));
                    tokens -= interval_ms;
                } else {
                    prop_assert_eq!(taken, Err(Duration::from_millis((interval_ms - tokens).into())));
                }
                prop_assert_eq!(bucket.is_full(now), tokens == full);
            }
        }
    }

    #[test]
    fn a_charge_beyond_the_rate_is_paid_by_waiting_and_can_be_given_back() {
        let (rate, now) = (Rate::new(2, Duration::from_secs(2)), Instant::now());
        let mut bucket = Bucket::default();
        for _ in 0..3 {
            bucket.charge(rate, now);
        }
        assert_eq!(bucket.check(rate, now), Err(Duration::from_secs(2)));
        bucket.give_back(rate);
        assert_eq!(bucket.check(rate, now), Err(Duration::from_secs(1)));
        for _ in 0..100 {
            bucket.charge(rate, now);
        }
        assert_eq!(bucket.check(rate, now), Err(Duration::from_secs(3)));
        assert_eq!(bucket.check(Rate::OFF, now), Ok(()));
    }

    #[test]
    fn a_full_table_forgets_the_keys_that_have_used_least() {
        let (rate, now) = (Rate::new(10, Duration::from_secs(10)), Instant::now());
        let mut buckets = Buckets::new(rate);
        let flooder = u64::MAX;
        for _ in 0..10 {
            assert_eq!(buckets.take(flooder, now), Ok(()));
        }
        for key in 0..3 * BUCKETS_KEPT as u64 {
            assert_eq!(buckets.take(key, now), Ok(()));
            assert!(buckets.buckets.len() <= BUCKETS_KEPT);
        }
        assert_eq!(buckets.take(flooder, now), Err(Duration::from_secs(1)));
        // Idle ones go first.
        let later = now + Duration::from_secs(5);
        let keys = 3 * BUCKETS_KEPT as u64..;
        for key in keys.take(BUCKETS_KEPT - buckets.buckets.len()) {
            buckets.charge(key, later);
        }
        buckets.charge(u64::MAX - 1, later);
        assert!(buckets.buckets.len() < BUCKETS_KEPT / 2 + 2, "{}", buckets.buckets.len());
        assert!(buckets.check(&flooder, now).is_err());
        let mut off = Buckets::new(Rate::OFF);
        assert!((0..9).all(|_| off.take(1, now).is_ok()) && off.buckets.is_empty());
    }
}
