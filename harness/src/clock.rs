//! The run's time: nanoseconds of the monotonic clock since the run began.

use std::time::{Duration, Instant};

/// A point in time, or a span: nanoseconds since the run's epoch.
pub type Nanos = u64;

/// What never happened.
pub const NEVER: Nanos = Nanos::MAX;

/// The clock that all threads of one run share, so that their times compare.
#[derive(Debug, Clone, Copy)]
pub struct RunClock {
    epoch: Instant,
}

impl RunClock {
    /// A clock that reads 0 now.
    pub fn start() -> Self {
        Self { epoch: Instant::now() }
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
}
