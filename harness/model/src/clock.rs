//! The run's time: nanoseconds of the monotonic clock since the run began.

use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

/// A point in time, or a span: nanoseconds since the run's epoch.
pub type Nanos = u64;

/// What never happened.
pub const NEVER: Nanos = Nanos::MAX;

/// The clock that all threads of one run share, and all its processes, so that their times compare.
#[derive(Debug, Clone, Copy)]
pub struct RunClock {
    epoch: Instant,
}

impl RunClock {
    /// A clock that reads 0 now.
    pub fn start() -> Self {
        Self { epoch: Instant::now() }
    }

    /// When the clock was started, in nanoseconds of the system's monotonic clock, which all processes of this machine
    /// share. Off by a fraction of a microsecond at most.
    pub fn raw_epoch(self) -> u64 {
        let (instant, raw) = Self::both();
        raw.saturating_sub(nanos(instant.saturating_duration_since(self.epoch)))
    }

    /// The clock that another process started, from its [`Self::raw_epoch`]; none for a time that this machine's clock
    /// cannot have had.
    pub fn from_raw_epoch(raw_epoch: u64) -> Option<Self> {
        let (instant, raw) = Self::both();
        let since = Duration::from_nanos(raw.checked_sub(raw_epoch)?);
        instant.checked_sub(since).map(|epoch| Self { epoch })
    }

    /// The same moment as an instant, of which nobody can say what is in it, and as the clock's own reading.
    fn both() -> (Instant, u64) {
        // Read in between; the narrowest of some pairs, because a thread may lose the core at any time.
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

    /// The reading at `instant`; 0 for any before the start.
    pub fn at(self, instant: Instant) -> Nanos {
        nanos(instant.saturating_duration_since(self.epoch))
    }

    /// The instant at which this clock reads `at`, for poll time-outs; none beyond what the
    /// system can represent.
    pub fn instant(self, at: Nanos) -> Option<Instant> {
        self.epoch.checked_add(Duration::from_nanos(at))
    }
}

/// A duration in nanoseconds; what does not fit (584 years) is [`NEVER`].
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
        let other = RunClock::from_raw_epoch(clock.raw_epoch()).expect("it was now");
        let now = Instant::now() + Duration::from_secs(1);
        let off = clock.at(now).abs_diff(other.at(now));
        assert!(off < 1_000, "{off} ns");
        assert!(RunClock::from_raw_epoch(u64::MAX).is_none());
    }
}
