//! The database's clock, by which several agents agree on who is online.
//!
//! The monotonic clock carries a reading on. The wall clock of this machine may step, and has no
//! part in leases.

use std::time::{Duration, Instant};

/// Age at which the clock is read again.
const MAX_AGE: Duration = Duration::from_secs(30);

/// The last reading of the database's clock over one connection.
#[derive(Debug, Default)]
pub(crate) struct DbClock {
    /// Time of the reading, and its milliseconds since 1970 (UTC).
    reading: Option<(Instant, u64)>,
}

impl DbClock {
    /// Records that the clock showed `database_ms` at `now`.
    pub(crate) fn read(now: Instant, database_ms: u64) -> Self {
        Self { reading: Some((now, database_ms)) }
    }

    /// Returns true unless the clock has to be read.
    pub(crate) fn is_current(&self, now: Instant) -> bool {
        self.reading.is_some_and(|(at, _)| now.saturating_duration_since(at) < MAX_AGE)
    }

    /// Returns the database's time at an instant before or after the reading; 0 without one.
    pub(crate) fn at(&self, time: Instant) -> u64 {
        let Some((at, database_ms)) = self.reading else { return 0 };
        let ms = |span: Duration| u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
        let before = ms(at.saturating_duration_since(time));
        database_ms.saturating_add(ms(time.saturating_duration_since(at))).saturating_sub(before)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reading_is_carried_on_without_the_wall_clock() {
        let now = Instant::now();
        let second = Duration::from_secs(1);
        let clock = DbClock::read(now + 10 * second, 50_000);
        assert_eq!(clock.at(now + 10 * second), 50_000);
        assert_eq!(clock.at(now + 25 * second), 65_000);
        assert_eq!(clock.at(now), 40_000, "a lease that was set while the request waited");
        assert!(clock.is_current(now) && clock.is_current(now + 39 * second));
        assert!(!clock.is_current(now + 40 * second) && !DbClock::default().is_current(now));
    }
}
