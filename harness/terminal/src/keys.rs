//! Actions of keys on a run that has the terminal.

use std::time::Duration;

/// The longest interval between two messages that keys can set.
const LONGEST: Duration = Duration::from_mins(1);

/// An action of the user at the keyboard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Change the rate.
    Rate(RateKey),
    /// Freeze the display, or resume it.
    Pause,
    /// Show the keys and the panes, or hide them.
    Help,
    /// End the run in order, with results; the second time end it at once.
    Quit,
}

/// A change of the rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RateKey {
    /// A quarter more messages a second.
    Faster,
    /// A quarter fewer.
    Slower,
    /// The rate of the command line.
    Planned,
}

impl RateKey {
    /// The interval between two messages after this key, given the interval `now`; never below
    /// `shortest`.
    pub fn interval(self, now: Duration, planned: Duration, shortest: Duration) -> Duration {
        let wanted = match self {
            Self::Faster => now.mul_f64(0.8),
            Self::Slower => now.mul_f64(4.0 / 3.0),
            Self::Planned => return planned,
        };
        // A planned interval beyond the bounds stays, and keys move away from it in steps without a
        // jump.
        wanted.clamp(shortest.min(now), LONGEST.max(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_change_the_rate_by_a_quarter_within_bounds() {
        let check = |key: RateKey, now: &str, expected: &str| {
            let parse = |text| throng_core::config::parse_duration(text).expect("valid");
            assert_eq!(
                key.interval(parse(now), parse("7ms"), parse("1ms")),
                parse(expected),
                "{key:?} {now}"
            );
        };
        check(RateKey::Faster, "10ms", "8ms");
        check(RateKey::Slower, "6ms", "8ms");
        check(RateKey::Planned, "10ms", "7ms");
        check(RateKey::Faster, "1.1ms", "1ms");
        check(RateKey::Slower, "50s", "60s");
        check(RateKey::Slower, "100s", "100s");
        check(RateKey::Faster, "100s", "80s");
        check(RateKey::Faster, "500ns", "500ns");
    }
}
