//! What a key means to a run that has the terminal.

use std::time::Duration;

/// The longest time between two messages that keys lead to.
const LONGEST: Duration = Duration::from_mins(1);

/// What somebody at the keyboard wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Another rate.
    Rate(RateKey),
    /// The display stands still, or goes on.
    Pause,
    /// The run ends in order, with results; a second time: at once.
    Quit,
}

/// Which other rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RateKey {
    /// A quarter more messages a second.
    Faster,
    /// A quarter fewer.
    Slower,
    /// As the command line has it.
    Planned,
}

impl RateKey {
    /// The time between two messages after this key, if it was `now`; never below `shortest`.
    pub fn interval(self, now: Duration, planned: Duration, shortest: Duration) -> Duration {
        let wanted = match self {
            Self::Faster => now.mul_f64(0.8),
            Self::Slower => now.mul_f64(4.0 / 3.0),
            Self::Planned => return planned,
        };
        // A plan beyond the bounds stays a place that keys can leave, and not one that they jump from.
        wanted.clamp(shortest.min(now), LONGEST.max(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quarter_more_and_a_quarter_less() {
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
