//! Limits on repeated lines: for states that last, and for events that any peer can cause.

use std::fmt;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// Interval at which a state that lasts is logged again.
const REMINDER: Duration = Duration::from_mins(1);

/// A state that should not last, such as a database that is away. Its begin is logged at once, then
/// one line a minute, then its end; threads that notice the same state share one `Trouble`.
///
/// ```
/// use std::time::Instant;
/// use throng_core::log::Trouble;
///
/// static AWAY: Trouble = Trouble::new();
///
/// fn failed(error: &str) {
///     if let Some(lasting) = AWAY.occurs(Instant::now()) {
///         tracing::warn!("the database is away{lasting}: {error}");
///     }
/// }
///
/// fn succeeded() {
///     if let Some(lasting) = AWAY.ends(Instant::now()) {
///         tracing::info!("the database is back{lasting}");
///     }
/// }
/// ```
#[derive(Debug, Default)]
pub struct Trouble {
    since: Mutex<Option<Since>>,
}

#[derive(Debug)]
struct Since {
    began: Instant,
    told: Instant,
    count: u64,
}

/// Extent of a [`Trouble`] so far. `Display` gives nothing for the first occurrence, and after that
/// ` (12 times in 60 s)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lasting {
    /// Occurrences, at least 1.
    pub count: u64,
    /// Time since the first one.
    pub lasted: Duration,
}

impl Trouble {
    /// Returns a trouble that has not occurred.
    pub const fn new() -> Self {
        Self { since: Mutex::new(None) }
    }

    /// Notes an occurrence. Returns the extent if it is to be logged.
    pub fn occurs(&self, now: Instant) -> Option<Lasting> {
        let mut since = self.since.lock();
        let Some(since) = &mut *since else {
            *since = Some(Since { began: now, told: now, count: 1 });
            return Some(Lasting { count: 1, lasted: Duration::ZERO });
        };
        since.count += 1;
        if now.saturating_duration_since(since.told) < REMINDER {
            return None;
        }
        since.told = now;
        Some(Lasting { count: since.count, lasted: now.saturating_duration_since(since.began) })
    }

    /// Notes that all is well. Returns the extent of the trouble that has ended, if there was one.
    pub fn ends(&self, now: Instant) -> Option<Lasting> {
        let since = self.since.lock().take()?;
        Some(Lasting { count: since.count, lasted: now.saturating_duration_since(since.began) })
    }
}

/// A [`Trouble`] that may begin and end often, such as a lack of file descriptors: its changes are
/// logged up to [`OUTAGE_BURST`] times at once, and then once a minute.
#[derive(Debug)]
pub struct Outage {
    trouble: Trouble,
    lines: LineBudget,
}

/// Changes of an [`Outage`] that are logged at once.
pub const OUTAGE_BURST: u32 = 6;

impl Outage {
    /// Returns an outage that has not occurred.
    pub const fn new() -> Self {
        Self { trouble: Trouble::new(), lines: LineBudget::new(OUTAGE_BURST, REMINDER) }
    }

    /// Notes an occurrence. Returns the extent if it is to be logged.
    pub fn occurs(&self, now: Instant) -> Option<Lasting> {
        let lasting = self.trouble.occurs(now)?;
        self.lines.take(now).map(|_| lasting)
    }

    /// Notes that all is well. Returns the extent of the outage that has ended, if its end is to be
    /// logged.
    pub fn ends(&self, now: Instant) -> Option<Lasting> {
        let lasting = self.trouble.ends(now)?;
        self.lines.take(now).map(|_| lasting)
    }
}

impl Default for Outage {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Display for Lasting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.count == 1 && self.lasted.is_zero() {
            return Ok(());
        }
        let times = if self.count == 1 { "time" } else { "times" };
        write!(f, " ({} {times} in {:.0} s)", self.count, self.lasted.as_secs_f64())
    }
}

/// An allowance of lines for events that any peer can cause, such as refused logins: `burst` lines
/// at once, and one more for each `refill`.
#[derive(Debug)]
pub struct LineBudget {
    burst: u32,
    refill: Duration,
    state: Mutex<Spent>,
}

#[derive(Debug)]
struct Spent {
    lines: u32,
    /// Time up to which refills are counted; none before the first line.
    refilled: Option<Instant>,
    suppressed: u64,
}

impl LineBudget {
    /// Returns a full allowance. `burst` is at least 1, `refill` above zero.
    pub const fn new(burst: u32, refill: Duration) -> Self {
        Self { burst, refill, state: Mutex::new(Spent { lines: 0, refilled: None, suppressed: 0 }) }
    }

    /// Takes a line. Returns the number of lines that were suppressed since the last one that was
    /// not, or `None` to suppress this one too.
    pub fn take(&self, now: Instant) -> Option<u64> {
        let mut state = self.state.lock();
        let since = *state.refilled.get_or_insert(now);
        let refills = now.saturating_duration_since(since).as_nanos() / self.refill.as_nanos().max(1);
        let refills = u32::try_from(refills).unwrap_or(u32::MAX);
        if refills >= state.lines {
            state.lines = 0;
            state.refilled = Some(now);
        } else {
            state.lines -= refills;
            state.refilled = Some(since + self.refill * refills);
        }
        if state.lines >= self.burst {
            state.suppressed += 1;
            return None;
        }
        state.lines += 1;
        Some(std::mem::take(&mut state.suppressed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_is_logged_once_then_each_minute_and_at_its_end() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let trouble = Trouble::new();
        assert_eq!(trouble.ends(start), None);
        let first = trouble.occurs(start).unwrap();
        assert_eq!((first.count, first.to_string().as_str()), (1, ""));
        let told: Vec<u64> = (1..=150).filter(|second| trouble.occurs(at(*second)).is_some()).collect();
        assert_eq!(told, [60, 120]);
        assert_eq!(trouble.ends(at(151)).unwrap().to_string(), " (151 times in 151 s)");
        assert_eq!(trouble.ends(at(152)), None);
        assert!(trouble.occurs(at(153)).is_some(), "a new trouble is logged at once");
    }

    #[test]
    fn an_outage_that_comes_and_goes_is_logged_six_times_and_then_once_a_minute() {
        let start = Instant::now();
        let at = |milliseconds| start + Duration::from_millis(milliseconds);
        let outage = Outage::new();
        let lines = |from: u64, to: u64| -> usize {
            let changes = (from..to).step_by(10).map(|time| {
                usize::from(outage.occurs(at(time)).is_some())
                    + usize::from(outage.ends(at(time + 5)).is_some())
            });
            changes.sum()
        };
        assert_eq!(lines(0, 30_000), OUTAGE_BURST as usize);
        assert_eq!(lines(30_000, 300_000), 4);
    }

    #[test]
    fn lines_beyond_the_allowance_are_counted() {
        let start = Instant::now();
        let at = |milliseconds| start + Duration::from_millis(milliseconds);
        let budget = LineBudget::new(3, Duration::from_secs(1));
        let taken: Vec<_> = (0..10).map(|_| budget.take(start)).collect();
        assert_eq!(taken[..4], [Some(0), Some(0), Some(0), None]);
        assert_eq!(budget.take(at(999)), None);
        assert_eq!(budget.take(at(1000)), Some(8));
        assert_eq!(budget.take(at(1001)), None);
        // An hour of silence refills no more than the burst.
        let later: Vec<_> = (0..4).map(|_| budget.take(at(3_600_000))).collect();
        assert_eq!(later, [Some(1), Some(0), Some(0), None]);
    }
}
