//! The log lines about a database that fails, for all DB threads of an agent together.
//!
//! A database that is away, busy or read-only fails every request of every thread. It is logged
//! once, then once a minute, and when it serves again. Faults that do not pass by themselves are
//! logged one by one, with a bound.

use std::fmt::Display;
use std::time::{Duration, Instant};

use throng_core::log::{LineBudget, OUTAGE_BURST, Outage};
use tracing::{error, info, warn};

/// Lines about new connections at once. Each thread makes one at the start.
const CONNECTS_BURST: u32 = 32;

/// Time after which one more line is allowed.
const REFILL: Duration = Duration::from_mins(1);

#[derive(Debug)]
pub(super) struct FaultLog {
    away: Outage,
    faults: LineBudget,
    connects: LineBudget,
}

impl Default for FaultLog {
    fn default() -> Self {
        Self {
            away: Outage::new(),
            faults: LineBudget::new(OUTAGE_BURST, REFILL),
            connects: LineBudget::new(CONNECTS_BURST, REFILL),
        }
    }
}

impl FaultLog {
    /// Logs a fault that may pass by itself.
    pub(super) fn failed(&self, fault: &impl Display, now: Instant) {
        if let Some(lasting) = self.away.occurs(now) {
            warn!("{fault}{lasting}");
        }
    }

    /// Logs a fault that an operator has to look at.
    pub(super) fn broken(&self, fault: &impl Display, now: Instant) {
        if let Some(suppressed) = self.faults.take(now) {
            error!(suppressed = (suppressed > 0).then_some(suppressed), "{fault}");
        }
    }

    /// Logs a new connection.
    pub(super) fn connected(&self, now: Instant) {
        if let Some(suppressed) = self.connects.take(now) {
            info!(suppressed = (suppressed > 0).then_some(suppressed), "connected to the database");
        }
        self.served(now);
    }

    /// Notes that the database has served a request, and logs the end of its absence.
    pub(super) fn served(&self, now: Instant) {
        if let Some(lasting) = self.away.ends(now) {
            info!("the database serves again{lasting}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dbagent::log_fixture::captured;

    /// Returns the lines that `run` logs for seconds since a start.
    fn logged(run: impl FnOnce(&FaultLog, &dyn Fn(u64) -> Instant)) -> Vec<String> {
        let start = Instant::now();
        captured(|| run(&FaultLog::default(), &|second| start + Duration::from_secs(second)))
    }

    #[test]
    fn an_absence_is_logged_once_a_minute_for_all_threads_and_so_is_its_end() {
        let lines = logged(|log, at| {
            for second in 0..150 {
                // Eight threads.
                (0..8).for_each(|_| log.failed(&"no connection", at(second)));
            }
            log.connected(at(150));
            log.served(at(151));
        });
        assert_eq!(
            lines,
            [
                "WARN no connection",
                "WARN no connection (481 times in 60 s)",
                "WARN no connection (961 times in 120 s)",
                "INFO connected to the database",
                "INFO the database serves again (1200 times in 150 s)",
            ]
        );
    }

    #[test]
    fn a_read_only_database_that_accepts_every_connection_fills_no_log() {
        let lines = logged(|log, at| {
            for second in 0..600 {
                log.failed(&"read-only", at(second));
                log.connected(at(second));
            }
        });
        assert!(lines.len() <= 64, "{} lines in ten minutes", lines.len());
    }

    #[test]
    fn other_faults_are_logged_one_by_one_within_bounds() {
        let lines = logged(|log, at| {
            (0..100).for_each(|_| log.broken(&"denied", at(0)));
            log.broken(&"denied", at(60));
        });
        assert_eq!(lines.len(), 7);
        assert_eq!((&*lines[0], &*lines[6]), ("ERROR denied", "ERROR denied suppressed=94"));
    }
}
