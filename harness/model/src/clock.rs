//! The run's time: nanoseconds of the monotonic clock since the run began.

use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

/// A point in time or a span, in nanoseconds; a point counts from the run's epoch.
pub type Nanos = u64;

/// A time that never comes.
pub const NEVER: Nanos = Nanos::MAX;

/// The clock of a run. All threads and processes of the run share its epoch, so their times
/// compare.
#[derive(Debug, Clone, Copy)]
pub struct RunClock {
    epoch: Instant,
}

impl RunClock {
    /// A clock that reads 0 now.
    pub fn start() -> Self {
        Self { epoch: Instant::now() }
    }

    /// The epoch in nanoseconds of the system's monotonic clock, which all processes of the machine
    /// share. The error is a fraction of a microsecond.
    pub fn raw_epoch(self) -> u64 {
        let (instant, raw) = Self::read_both();
        raw.saturating_sub(nanos(instant.saturating_duration_since(self.epoch)))
    }

    /// The clock with the epoch that another process read by [`Self::raw_epoch`]; none for a time
    /// that this machine's clock cannot have had.
    pub fn from_raw_epoch(raw_epoch: u64) -> Option<Self> {
        let (instant, raw) = Self::read_both();
        let since = Duration::from_nanos(raw.checked_sub(raw_epoch)?);
        instant.checked_sub(since).map(|epoch| Self { epoch })
    }

    /// Reads one moment as an `Instant`, which is opaque, and as the system's raw reading.
    fn read_both() -> (Instant, u64) {
        // The raw clock is read between two instants. The narrowest of some pairs counts, because
        // the thread may lose its core at any time.
        let pair = || {
            let before = Instant::now();
            let raw = clock_gettime(ClockId::Monotonic);
            let width = before.elapsed();
            let raw = nanos(Duration::try_from(raw).unwrap_or_default());
            (width, before + width / 2, raw)
        };
        let (_, instant, raw) = (0..8).map(|_| pair()).min().unwrap_or_else(pair);
        (instant, raw)
    }

    /// Nanoseconds since the clock was started.
    pub fn now(self) -> Nanos {
        nanos(self.epoch.elapsed())
    }

    /// The reading at `instant`; 0 before the epoch.
    pub fn at(self, instant: Instant) -> Nanos {
        nanos(instant.saturating_duration_since(self.epoch))
    }

    /// The instant at which this clock reads `at`, for poll timeouts; none beyond the range of the
    /// system's clock.
    pub fn instant(self, at: Nanos) -> Option<Instant> {
        self.epoch.checked_add(Duration::from_nanos(at))
    }
}

/// A duration in nanoseconds; one that does not fit (584 years) is [`NEVER`].
pub fn nanos(duration: Duration) -> Nanos {
    u64::try_from(duration.as_nanos()).unwrap_or(NEVER)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readings_and_instants_match() {
        let before = Instant::now();
        let clock = RunClock::start();
        let instant = clock.instant(1_500).expect("close to now");
        assert_eq!(clock.at(instant), 1_500);
        assert_eq!(clock.at(before), 0);
        assert!(clock.now() <= clock.now());
        assert_eq!(nanos(Duration::MAX), NEVER);
    }

    #[test]
    fn another_process_has_the_same_clock() {
        let clock = RunClock::start();
        let other = RunClock::from_raw_epoch(clock.raw_epoch()).expect("the epoch is now");
        let now = Instant::now() + Duration::from_secs(1);
        let off = clock.at(now).abs_diff(other.at(now));
        assert!(off < 1_000, "{off} ns");
        assert!(RunClock::from_raw_epoch(u64::MAX).is_none());
    }
}
