//! Readiness of a process: what is missing before players can get in.

use std::sync::Arc;
use std::time::{Duration, Instant};

use throng_core::links::{LinkBoard, Missing};
use throng_core::log::Trouble;
use throng_core::metrics;
use throng_core::shutdown::Shutdown;

/// DB threads of the DB agent of this process.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct DbThreads {
    /// Threads that have a connection and do not hang in their driver.
    pub(crate) usable: usize,
    /// Threads that hang in their driver.
    pub(crate) hung: usize,
}

/// Counts the DB threads.
pub(crate) type CountDbThreads = Box<dyn Fn() -> DbThreads + Send + Sync>;

/// The needs of the roles of a process: a link to a server of each kind that they dial, and for the
/// DB agent a database. Players can get in when all processes are ready.
pub(crate) struct Readiness {
    board: Arc<LinkBoard>,
    database: Option<CountDbThreads>,
    is_node: bool,
}

impl Readiness {
    /// `database` is none for a process without a DB agent.
    pub(crate) fn new(board: Arc<LinkBoard>, database: Option<CountDbThreads>) -> Self {
        Self { board, database, is_node: false }
    }

    /// Needs the chat server of this process to take part in its fleet.
    pub(crate) fn in_fleet(mut self) -> Self {
        self.is_node = true;
        self
    }

    /// Returns the needs that are not met now.
    pub(crate) fn missing(&self) -> Vec<Missing> {
        let mut missing = self.board.missing();
        // A thread that hangs serves no request, connected or not.
        if let Some(DbThreads { usable: 0, hung }) = self.database.as_ref().map(|count| count()) {
            let what = "the DB agent has no connection to the database".into();
            let detail = match hung {
                0 => String::new(),
                1 => "1 DB thread hangs in its driver".into(),
                hung => format!("{hung} DB threads hang in their driver"),
            };
            missing.insert(0, Missing { what, detail });
        }
        if self.is_node && metrics::FLEET_CURRENT.get() == 0 {
            let what = "the chat server is cut off from its fleet".into();
            missing.push(Missing { what, detail: String::new() });
        }
        missing
    }
}

/// Joins needs for one line.
pub(crate) fn all(missing: &[Missing]) -> String {
    missing.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// Interval between looks before the process is ready for the first time.
const FIRST_INTERVAL: Duration = Duration::from_millis(100);

/// Interval between looks after that.
const INTERVAL: Duration = Duration::from_secs(1);

/// Watches the readiness, and logs its changes: once, and then each minute while it lasts.
pub(crate) struct ReadyWatch {
    readiness: Readiness,
    /// Needs, without their details, that were missing at the last look.
    known: Vec<String>,
    trouble: Trouble,
    was_ready: bool,
}

impl ReadyWatch {
    pub(crate) fn new(readiness: Readiness) -> Self {
        Self { readiness, known: Vec::new(), trouble: Trouble::new(), was_ready: false }
    }

    /// Waits until the process is ready, at most `patience` or until its end is requested. Returns
    /// what is missing then.
    pub(crate) fn wait(&mut self, shutdown: &Shutdown, patience: Duration) -> Vec<Missing> {
        let deadline = Instant::now() + patience;
        loop {
            let missing = self.readiness.missing();
            self.was_ready = missing.is_empty();
            let is_over = self.was_ready || Instant::now() >= deadline;
            if is_over || shutdown.wait_timeout(Duration::from_millis(1)).is_some() {
                return missing;
            }
        }
    }

    /// Returns the time until the next look.
    pub(crate) fn interval(&self) -> Duration {
        if self.was_ready { INTERVAL } else { FIRST_INTERVAL }
    }

    /// Logs a change. Returns true if the process is ready for the first time.
    pub(crate) fn look(&mut self, now: Instant) -> bool {
        let missing = self.readiness.missing();
        let whats: Vec<String> = missing.iter().map(|missing| missing.what.clone()).collect();
        let is_change = !whats.is_empty() && whats != self.known;
        self.known = whats;
        if missing.is_empty() {
            if let Some(lasting) = self.trouble.ends(now) {
                tracing::info!("ready after {:.0} s", lasting.lasted.as_secs_f64());
            }
            return !std::mem::replace(&mut self.was_ready, true);
        }
        let lasting = self.trouble.occurs(now);
        if is_change || lasting.is_some() {
            let lasted = lasting.map_or(0.0, |lasting| lasting.lasted.as_secs_f64());
            tracing::warn!("not ready for {lasted:.0} s: {}", all(&missing));
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use parking_lot::Mutex;

    use super::*;

    #[test]
    fn a_process_without_its_database_is_not_ready_and_becomes_ready_once() {
        let threads = Arc::new(Mutex::new(DbThreads::default()));
        let counted = threads.clone();
        let readiness = Readiness::new(Arc::default(), Some(Box::new(move || *counted.lock())));
        let mut watch = ReadyWatch::new(readiness);
        let missing = watch.wait(&Shutdown::new(), Duration::ZERO);
        assert_eq!(all(&missing), "the DB agent has no connection to the database");
        let now = Instant::now();
        assert!(!watch.look(now) && watch.interval() == FIRST_INTERVAL);
        *threads.lock() = DbThreads { usable: 1, hung: 1 };
        assert!(watch.look(now) && watch.interval() == INTERVAL, "one thread is enough");
        *threads.lock() = DbThreads { usable: 0, hung: 2 };
        assert!(!watch.look(now));
        assert_eq!(
            all(&watch.readiness.missing()),
            "the DB agent has no connection to the database (2 DB threads hang in their driver)"
        );
        *threads.lock() = DbThreads { usable: 2, hung: 0 };
        assert!(!watch.look(now), "ready is told once");
        assert!(Readiness::new(Arc::default(), None).missing().is_empty());
    }
}
