//! Creates many accounts: deals rows to threads that hash passwords and insert, and prints a
//! summary.
//!
//! At most [`LANE_CAPACITY`] rows wait for each thread, whatever the size of the file. A run may be
//! repeated: accounts that exist are left as they are, and those without a character get it.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::mpsc::{self, SyncSender};
use std::thread;
use std::time::Instant;

use indicatif::{ProgressBar, ProgressStyle};
use parking_lot::Mutex;
use thiserror::Error;
use throng_core::clock::unix_ms;
use throng_core::config::Config;

use super::output::Print;
use crate::dbagent::database::Database;
use crate::dbagent::password::{PasswordCost, Passwords};

mod account;
mod stop;
mod summary;
#[cfg(test)]
mod tests;
mod worker;

pub(super) use account::{AccountSpec, Credential, Problem, Row};
pub(super) use stop::Stop;
pub(super) use summary::Plan;
use summary::{RowResult, Summary};
use worker::{Connect, Shared, Task, Worker};

/// Rows that may wait for each thread.
const LANE_CAPACITY: usize = 64;

/// Error of a run.
#[derive(Debug, Error)]
pub enum BulkError {
    /// The run was stopped.
    #[error(
        "{cause} ({created} accounts were created before and stay; repeat the command to create the rest)"
    )]
    Stopped {
        /// Accounts created before.
        created: u64,
        /// Reason of the stop.
        cause: Stop,
    },
    /// Standard output cannot be written.
    #[error("cannot write to standard output: {0}")]
    Output(#[from] io::Error),
}

/// Creates the accounts of the rows and prints the summary. Returns false if some rows had
/// problems.
pub(super) fn run(
    config: &Config,
    database: &Database,
    plan: Plan,
    rows: impl Iterator<Item = Result<Row, Stop>>,
    print: &mut Print<'_>,
) -> Result<bool, BulkError> {
    let cost = PasswordCost {
        memory_kib: config.dbagent.argon2_memory.as_kib(),
        iterations: config.dbagent.argon2_iterations,
    };
    let connect = || database.connect();
    let crew = Crew { threads: config.dbagent.threads, cost, connect: &connect, plan };
    let start = Instant::now();
    let summary = Mutex::new(Summary::default());
    let result = crew.create_all(&summary, rows);
    let summary = summary.into_inner();
    // A run that was stopped still prints what it did before.
    if result.is_ok() || summary.rows() > 0 {
        summary.print(&plan, start.elapsed(), print)?;
    }
    match result {
        Ok(()) => Ok(summary.problems == 0),
        Err(cause) => Err(BulkError::Stopped { created: summary.created, cause }),
    }
}

/// Threads that create accounts.
struct Crew<'a> {
    threads: usize,
    cost: PasswordCost,
    connect: &'a Connect<'a>,
    plan: Plan,
}

impl Crew<'_> {
    /// Deals the rows to threads and waits for them.
    fn create_all(
        &self,
        summary: &Mutex<Summary>,
        rows: impl Iterator<Item = Result<Row, Stop>>,
    ) -> Result<(), Stop> {
        // A database that cannot be reached now is an error; one that goes away later is waited
        // for.
        let mut first = (self.connect)()?;
        let ahead_ms = first.clock()?.cast_signed().wrapping_sub(unix_ms().cast_signed());
        let passwords =
            (0..self.threads).map(|_| Passwords::new(self.cost)).collect::<Result<Vec<_>, _>>()?;
        let shared = Shared {
            connect: self.connect,
            plan: self.plan,
            ahead_ms,
            start: Instant::now(),
            bar: bar(self.plan.total),
            summary,
            is_stopped: AtomicBool::new(false),
        };
        let mut first = Some(first);
        let result = thread::scope(|scope| {
            let mut lanes = Vec::new();
            let mut workers = Vec::new();
            for (number, passwords) in passwords.into_iter().enumerate() {
                let (lane, tasks) = mpsc::sync_channel(LANE_CAPACITY);
                let worker = Worker::new(&shared, passwords, first.take());
                let thread = thread::Builder::new().name(format!("db-{number}"));
                workers.push(thread.spawn_scoped(scope, move || worker.run(&tasks)).map_err(Stop::Thread)?);
                lanes.push(lane);
            }
            let dealt = deal(&shared, &lanes, rows);
            drop(lanes);
            let ended: Vec<Result<(), Stop>> = workers
                .into_iter()
                .map(|worker| worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
                .collect();
            dealt.and(ended.into_iter().collect())
        });
        shared.bar.finish_and_clear();
        result
    }
}

/// Deals rows to the lanes until the rows end or the run stops.
fn deal(
    shared: &Shared<'_>,
    lanes: &[SyncSender<Task>],
    rows: impl Iterator<Item = Result<Row, Stop>>,
) -> Result<(), Stop> {
    for row in rows {
        let Row { number, weight, account } = row?;
        if shared.is_stopped.load(Relaxed) {
            break;
        }
        match account {
            Ok(account) => {
                // Fails if the thread has ended; the thread itself returns the reason.
                if lanes[account.lane(lanes.len())].send(Task { number, weight, account }).is_err() {
                    break;
                }
            }
            Err(problem) => shared.count(number, weight, RowResult::Refused(problem)),
        }
    }
    Ok(())
}

/// Creates a progress bar, which shows itself on a terminal only.
fn bar(total: u64) -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:30} {percent:>3} %  {msg}  {eta} left");
    ProgressBar::new(total).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}
