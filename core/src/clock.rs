//! Wall clock and monotonic clock.
//!
//! Durations and timeouts come from [`Instant`] alone: the wall clock may jump. The wall
//! clock is for what people read and for what other machines compare (tickets).

use std::sync::OnceLock;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Milliseconds since 1970 (UTC) by the wall clock; 0 when the clock stands before that.
pub fn unix_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

/// Nanoseconds since the first call in this process, by the monotonic clock. The same
/// zero for all threads, so that a stamp can cross threads as one `u64` (584 years).
pub fn monotonic_ns() -> u64 {
    nanos(start().elapsed())
}

/// Microseconds from the zero of [`monotonic_ns`] to `at`; 0 for what was before.
pub fn monotonic_us(at: Instant) -> u64 {
    micros(at.saturating_duration_since(start()))
}

fn start() -> Instant {
    static START: OnceLock<Instant> = OnceLock::new();
    *START.get_or_init(Instant::now)
}

/// A duration in whole nanoseconds; the largest `u64` where it does not fit.
pub fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// A duration in whole microseconds; the largest `u64` where it does not fit.
pub fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// A wall-clock time as `2026-06-12T10:15:00Z`. Times after the year 9999 are shown as its end.
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
        assert_eq!((nanos(Duration::MAX), micros(Duration::from_millis(2))), (u64::MAX, 2000));
    }
}
