//! Detection of stalled child processes.

use std::fmt;
use std::time::{Duration, Instant};

/// The longest pause between events of a working child; the last resort is a heartbeat.
pub(super) const HEARTBEAT_EVERY: Duration = Duration::from_secs(1);

/// The time after which a working child that sends or reads nothing counts as stalled.
pub(super) const SILENCE_MAX: Duration = Duration::from_secs(10);

/// The time within which a worker has to hand over its results.
pub(super) const RESULTS_TIMEOUT: Duration = Duration::from_secs(30);

/// The time to prepare: drawing the traffic of millions of messages takes a second.
const READY_TIMEOUT: Duration = Duration::from_mins(1);

/// The time to produce results, or a part of them, once begun: as long as a worker may take, and a
/// reserve.
const PROCESS_RESULTS_TIMEOUT: Duration = RESULTS_TIMEOUT.saturating_mul(2);

/// The most time between two checks that counts: if this process or the machine was itself stopped,
/// as by Ctrl+Z, no event could be received.
const STEP_MAX: Duration = Duration::from_secs(1);

/// The response that a stalled process owed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Awaited {
    /// The plan is prepared.
    Readiness,
    /// The workers are running.
    Start,
    /// Totals, or a heartbeat.
    Figures,
    /// Progress in reading its commands.
    Reading,
    /// The workers' results.
    Results,
    /// The pages of its ledger.
    Accounts,
    /// The settlement of its clients' deliveries.
    Settlement,
}

impl Awaited {
    /// The time until the process counts as stalled.
    pub(super) fn patience(self) -> Duration {
        match self {
            Self::Readiness | Self::Start => READY_TIMEOUT,
            Self::Figures | Self::Reading => SILENCE_MAX,
            Self::Results | Self::Accounts | Self::Settlement => PROCESS_RESULTS_TIMEOUT,
        }
    }

    /// The time without any event until it counts as stalled; it may be longer once the work has
    /// begun.
    pub(super) fn silence(self, has_begun: bool) -> Duration {
        match self {
            Self::Results | Self::Accounts | Self::Settlement if !has_begun => SILENCE_MAX,
            _ => self.patience(),
        }
    }
}

impl fmt::Display for Awaited {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Readiness => "a report that it is ready",
            Self::Start => "a report that its workers run",
            Self::Figures => "its figures, which are due every second",
            Self::Reading => "reading its commands",
            Self::Results => "its workers' results",
            Self::Accounts => "its ledger of messages",
            Self::Settlement => "the settlement of its clients' deliveries",
        })
    }
}

/// The time during which a count has not changed.
#[derive(Debug)]
pub(super) struct StallTimer {
    count: Option<u64>,
    observed_at: Instant,
    stalled_for: Duration,
}

impl StallTimer {
    /// A timer that starts at `now`.
    pub(super) fn new(now: Instant) -> Self {
        Self { count: None, observed_at: now, stalled_for: Duration::ZERO }
    }

    /// The time for which the count has been `count`; zero without a count.
    pub(super) fn observe(&mut self, now: Instant, count: Option<u64>) -> Duration {
        let step = now.saturating_duration_since(self.observed_at).min(STEP_MAX);
        self.observed_at = now;
        let is_same = count.is_some() && std::mem::replace(&mut self.count, count) == count;
        self.stalled_for = if is_same { self.stalled_for + step } else { Duration::ZERO };
        self.stalled_for
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_timer_runs_only_while_the_count_stays_the_same() {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let mut timer = StallTimer::new(start);
        let mut observe = |millis, count| timer.observe(at(millis), count).as_millis();
        assert_eq!((observe(100, Some(1)), observe(400, Some(1)), observe(900, Some(1))), (0, 300, 800));
        assert_eq!((observe(1_000, Some(2)), observe(1_200, Some(2))), (0, 200));
        assert_eq!((observe(1_300, None), observe(2_300, None)), (0, 0));
        assert_eq!((observe(2_400, Some(2)), observe(2_500, Some(2))), (100, 200));
    }

    #[test]
    fn time_between_two_distant_checks_does_not_count() {
        let start = Instant::now();
        let mut timer = StallTimer::new(start);
        timer.observe(start, Some(7));
        let after_eight_hours = start + Duration::from_hours(8);
        assert_eq!(timer.observe(after_eight_hours, Some(7)), STEP_MAX);
        assert!(STEP_MAX + 2 * HEARTBEAT_EVERY < SILENCE_MAX);
    }

    #[test]
    fn a_process_that_has_begun_its_results_has_more_time() {
        for awaited in [Awaited::Results, Awaited::Accounts, Awaited::Settlement] {
            assert!(awaited.patience() > RESULTS_TIMEOUT, "{awaited}");
            assert_eq!(awaited.silence(true), awaited.patience(), "{awaited}");
            assert_eq!(awaited.silence(false), SILENCE_MAX, "{awaited}");
        }
        assert_eq!(Awaited::Readiness.silence(false), READY_TIMEOUT);
    }
}
