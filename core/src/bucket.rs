//! Buckets that hold clients to a rate.
//!
//! A bucket is one time stamp: the generic cell rate algorithm (ITU-T I.371), which behaves as a
//! token bucket without a timer. It takes `now` as an argument, as all state here does; the crate
//! for it, governor, reads a clock of its own.

use std::time::{Duration, Instant};

use crate::config::Rate;

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
        let Some((count, per)) = rate.limit() else { return Ok(()) };
        let interval = per / count;
        let used = self.full_at.map_or(Duration::ZERO, |at| at.saturating_duration_since(now));
        let wait = (used + interval).saturating_sub(per);
        if !wait.is_zero() {
            return Err(wait);
        }
        self.full_at = Some(now + used + interval);
        Ok(())
    }

    /// Returns true if nothing of the rate is in use at `now`.
    pub fn is_full(&self, now: Instant) -> bool {
        self.full_at.is_none_or(|at| at <= now)
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
}
