//! How long a process is waited for, and for what.

use std::fmt;
use std::time::{Duration, Instant};

use super::error::HARVEST_TIMEOUT;

/// How often a process that is at work says something, if only that it is there.
pub(super) const BEAT_EVERY: Duration = Duration::from_secs(1);

/// How long one that is at work may say nothing, or read nothing of what it was told.
pub(super) const SILENCE_MAX: Duration = Duration::from_secs(10);

/// How long one may take to prepare: drawing the traffic of millions of messages takes a second.
const READY_TIMEOUT: Duration = Duration::from_mins(1);

/// How long one may take for its results, or a part of them, once it is at them: as long as its workers, and some more.
const RESULT_TIMEOUT: Duration = HARVEST_TIMEOUT.saturating_mul(2);

/// Most time that counts between two looks. If this process was itself stopped, as Ctrl+Z does with all of them, or the
/// machine was, nobody could be heard.
const STEP_MAX: Duration = Duration::from_secs(1);

/// What a process was to do when it was given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Awaited {
    /// To prepare.
    Readiness,
    /// To start its workers.
    Start,
    /// To say how its workers are doing.
    Figures,
    /// To read what it was told.
    Reading,
    /// To give away what its workers found out.
    WorkerResults,
    /// To say what it knows of each message.
    Accounts,
    /// To settle its clients' accounts.
    Settlement,
}

impl Awaited {
    /// How long it is waited for.
    pub(super) fn patience(self) -> Duration {
        match self {
            Self::Readiness | Self::Start => READY_TIMEOUT,
            Self::Figures | Self::Reading => SILENCE_MAX,
            Self::WorkerResults | Self::Accounts | Self::Settlement => RESULT_TIMEOUT,
        }
    }

    /// How long the process may say nothing at all meanwhile, if it has said that it has begun, or has not.
    pub(super) fn silence(self, has_begun: bool) -> Duration {
        match self {
            Self::WorkerResults | Self::Accounts | Self::Settlement if !has_begun => SILENCE_MAX,
            _ => self.patience(),
        }
    }
}

impl fmt::Display for Awaited {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Readiness => "word that it is prepared",
            Self::Start => "word that its workers run",
            Self::Figures => "its figures, of which there are some every second",
            Self::Reading => "it to read what it was told",
            Self::WorkerResults => "what its workers found out",
            Self::Accounts => "what it knows of each message",
            Self::Settlement => "what became of its clients' deliveries",
        })
    }
}

/// How long a count has been the same, as far as somebody was looking.
#[derive(Debug)]
pub(super) struct StallTimer {
    count: Option<u64>,
    looked: Instant,
    lasted: Duration,
}

impl StallTimer {
    /// Nothing has been looked at before `now`.
    pub(super) fn new(now: Instant) -> Self {
        Self { count: None, looked: now, lasted: Duration::ZERO }
    }

    /// For how long the count has been what it is at `now`. Without a count there is nothing to wait for.
    pub(super) fn look(&mut self, now: Instant, count: Option<u64>) -> Duration {
        let step = now.saturating_duration_since(self.looked).min(STEP_MAX);
        self.looked = now;
        let is_same = count.is_some() && std::mem::replace(&mut self.count, count) == count;
        self.lasted = if is_same { self.lasted + step } else { Duration::ZERO };
        self.lasted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_stays_the_same_is_still() {
        let begun = Instant::now();
        let at = |millis| begun + Duration::from_millis(millis);
        let mut still = StallTimer::new(begun);
        let mut look = |millis, count| still.look(at(millis), count).as_millis();
        assert_eq!((look(100, Some(1)), look(400, Some(1)), look(900, Some(1))), (0, 300, 800));
        assert_eq!((look(1_000, Some(2)), look(1_200, Some(2))), (0, 200));
        assert_eq!((look(1_300, None), look(2_300, None)), (0, 0));
        assert_eq!((look(2_400, Some(2)), look(2_500, Some(2))), (100, 200));
    }

    #[test]
    fn time_in_which_nobody_looked_does_not_count() {
        let begun = Instant::now();
        let mut still = StallTimer::new(begun);
        still.look(begun, Some(7));
        let after_a_night = begun + Duration::from_hours(8);
        assert_eq!(still.look(after_a_night, Some(7)), STEP_MAX);
        assert!(STEP_MAX + 2 * BEAT_EVERY < SILENCE_MAX);
    }

    #[test]
    fn who_is_at_its_results_has_longer_than_who_says_nothing() {
        for awaited in [Awaited::WorkerResults, Awaited::Accounts, Awaited::Settlement] {
            assert!(awaited.patience() > HARVEST_TIMEOUT, "{awaited}");
            assert_eq!(awaited.silence(true), awaited.patience(), "{awaited}");
            assert_eq!(awaited.silence(false), SILENCE_MAX, "{awaited}");
        }
        assert_eq!(Awaited::Readiness.silence(false), READY_TIMEOUT);
    }
}
