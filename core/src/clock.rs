//! Wall clock and monotonic clock.
//!
//! Durations and timeouts use [`Instant`] alone, because the wall clock may jump. The wall clock
//! serves texts for people and times that other machines compare (tickets). The clock of the
//! embedded database, which measures leases, is [`steady_unix_ms`].

use std::sync::OnceLock;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Returns milliseconds since 1970 (UTC) by the wall clock; 0 if the clock is set before 1970.
pub fn unix_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

/// Returns milliseconds since 1970 (UTC) as the wall clock told them at the first call in this
/// process, and runs on with the monotonic clock: it never steps within a process.
pub fn steady_unix_ms() -> u64 {
    static BEGUN: OnceLock<(u64, Instant)> = OnceLock::new();
    let (unix_ms, at) = BEGUN.get_or_init(|| (unix_ms(), Instant::now()));
    unix_ms.saturating_add(at.elapsed().as_millis() as u64)
}

/// Sets the zero of [`monotonic_ns`] to now, unless it is set. A server calls this at its start.
pub fn set_zero() {
    start();
}

/// Returns nanoseconds since [`set_zero`], or else since the first use of the zero in this process,
/// by the monotonic clock. All threads share this zero, so a stamp crosses threads as one `u64`
/// (584 years).
pub fn monotonic_ns() -> u64 {
    nanos(start().elapsed())
}

/// Returns microseconds from the zero of [`monotonic_ns`] to `at`; 0 if `at` is earlier.
pub fn monotonic_us(at: Instant) -> u64 {
    micros(at.saturating_duration_since(start()))
}

fn start() -> Instant {
    static START: OnceLock<Instant> = OnceLock::new();
    *START.get_or_init(Instant::now)
}

/// Converts a duration to whole nanoseconds, saturating at `u64::MAX`.
pub fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// Converts a duration to whole microseconds, saturating at `u64::MAX`.
pub fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// Formats a wall-clock time as `2026-06-12T10:15:00Z`. Times after the year 9999 become its end.
pub fn utc_text(unix_ms: u64) -> String {
    const YEAR_10000: u64 = 253_402_300_800;
    let seconds = (unix_ms / 1000).min(YEAR_10000 - 1);
    humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_secs(seconds)).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_in_utc() {
        let check = |unix_ms: u64, text: &str| assert_eq!(utc_text(unix_ms), text);
        check(0, "1970-01-01T00:00:00Z");
        check(951_782_400_999, "2000-02-29T00:00:00Z");
        check(u64::MAX, "9999-12-31T23:59:59Z");
    }

    #[test]
    fn clocks_run() {
        let before = monotonic_ns();
        assert!(monotonic_ns() >= before);
        assert!(unix_ms() > 1_700_000_000_000);
        let begun = (steady_unix_ms(), Instant::now());
        let first = steady_unix_ms();
        assert!(first >= begun.0 && first - begun.0 <= begun.1.elapsed().as_millis() as u64 + 1);
        assert_eq!((nanos(Duration::MAX), micros(Duration::from_millis(2))), (u64::MAX, 2000));
    }
}
