//! The pool of DB threads.
//!
//! Nobody waits for a database but the threads here: a request is queued or refused at
//! once, and its answer goes to the sink. Every accepted request is answered exactly once.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::thread::{self, JoinHandle};
use std::time::Instant;

use parking_lot::Mutex;
use thiserror::Error;
use throng_core::clock::unix_ms;

use super::password::{PasswordCost, PasswordError, Passwords};
use super::procedures::{DbError, Procedures};
use super::queue::{Queue, Refusal};
use super::request::{Job, Reply};
use super::worker::{Shared, Worker};

pub use super::stats::PoolStats;

/// How a pool is made up.
#[derive(Debug, Clone)]
pub struct PoolConfig {
    /// DB threads, at least 1. Password hashes are what keeps them busy: one for each core that is to spare.
    pub threads: usize,
    /// Requests that may wait, with a password to hash and without one each.
    pub queue: usize,
    /// Releases, lists and renewals that may wait, in each of a few lanes.
    pub control_queue: usize,
    /// What a password hash costs.
    pub password: PasswordCost,
    /// The wall clock: milliseconds since 1970 (UTC).
    pub now_ms: fn() -> u64,
    /// This DB agent ([`super::procedures::agent_number`]).
    pub agent: u64,
}

impl Default for PoolConfig {
    fn default() -> Self {
        Self {
            threads: 2,
            queue: 1024,
            control_queue: throng_core::limits::DB_CONTROL_QUEUE,
            password: PasswordCost::default(),
            now_ms: unix_ms,
            agent: 1,
        }
    }
}

/// Why a pool did not start.
#[derive(Debug, Error)]
pub enum StartError {
    /// The password hash cannot be what it is configured to be.
    #[error(transparent)]
    Password(#[from] PasswordError),
    /// The system gives no thread.
    #[error("cannot start a DB thread: {0}. Look at the limits on processes (ulimit -u) and memory")]
    Thread(#[from] io::Error),
}

/// A job that was not accepted; it comes back whole.
#[derive(Debug, Error)]
pub enum Rejected<T> {
    /// Its queue is full: the peer is to try again later. A release, list or renewal must not be
    /// forgotten all the same: keep it, or cut the link to the process it is about, which
    /// then reports anew what it holds.
    #[error("the database has too much to do: its queue is full")]
    Full(Job<T>),
    /// The pool is shut down.
    #[error("the DB agent is shutting down")]
    Closed(Job<T>),
}

/// DB threads `db-0`, `db-1`, .. and the requests that wait for them.
///
/// Dropping it shuts it down without waiting for what is queued.
pub struct Pool<T: Send + 'static> {
    shared: Arc<Shared<T>>,
    threads: Mutex<Vec<JoinHandle<Result<(), DbError>>>>,
}

impl<T: Send + 'static> Pool<T> {
    /// Starts the threads. Each makes its connection with `factory`, now and whenever it is lost,
    /// trying for ever; the pool works before the first connection is there. `sink` is called on
    /// the DB threads and may block for a moment; it may submit.
    pub fn start(
        config: &PoolConfig,
        factory: impl Fn() -> Result<Box<dyn Procedures>, DbError> + Send + Sync + 'static,
        sink: impl Fn(Reply<T>) + Send + Sync + 'static,
    ) -> Result<Self, StartError> {
        let shared = Arc::new(Shared {
            queue: Queue::new(config.queue, config.control_queue),
            stats: PoolStats::default(),
            factory: Box::new(factory),
            sink: Box::new(sink),
            now_ms: config.now_ms,
            agent: config.agent,
        });
        let pool = Self { shared, threads: Mutex::new(Vec::new()) };
        for number in 0..config.threads.max(1) {
            let worker = Worker::new(Arc::clone(&pool.shared), Passwords::new(config.password)?);
            let thread = thread::Builder::new().name(format!("db-{number}")).spawn(|| worker.run())?;
            pool.threads.lock().push(thread);
        }
        Ok(pool)
    }

    /// Queues a request. Never blocks.
    pub fn try_submit(&self, job: Job<T>) -> Result<(), Rejected<T>> {
        match self.shared.queue.push(job) {
            Ok(()) => {
                // The threads may have ended between the queue's look at its gate and the push.
                if self.shared.queue.is_finished() {
                    self.turn_rest_away();
                }
                Ok(())
            }
            Err((Refusal::Full, job)) => {
                self.shared.stats.rejected.fetch_add(1, Relaxed);
                Err(Rejected::Full(job))
            }
            Err((Refusal::Closed, job)) => Err(Rejected::Closed(job)),
        }
    }

    /// Requests that wait.
    pub fn depth(&self) -> usize {
        self.shared.queue.len()
    }

    /// The counters.
    pub fn stats(&self) -> &PoolStats {
        &self.shared.stats
    }

    /// Takes no more requests, does what is queued until `deadline`, answers the rest TryAgainLater,
    /// closes the databases and joins the threads. Returns the first error of closing a database.
    pub fn shutdown(&self, deadline: Instant) -> Result<(), DbError> {
        self.shared.queue.close(deadline);
        let mut closed = Ok(());
        for thread in std::mem::take(&mut *self.threads.lock()) {
            match thread.join() {
                Ok(result) => closed = closed.and(result),
                // A fault of the program: not to be swallowed here.
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        self.shared.queue.finish();
        self.turn_rest_away();
        closed
    }

    fn turn_rest_away(&self) {
        for job in self.shared.queue.drain() {
            self.shared.turn_away(job);
        }
    }
}

impl<T: Send + 'static> Drop for Pool<T> {
    fn drop(&mut self) {
        // After a `shutdown` there is nothing left to do. While a panic goes through, joining
        // could wait for ever.
        if !thread::panicking()
            && let Err(error) = self.shutdown(Instant::now())
        {
            tracing::error!("{error}");
        }
    }
}

impl<T: Send + 'static> fmt::Debug for Pool<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool")
            .field("depth", &self.depth())
            .field("stats", self.stats())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod scripted;
#[cfg(test)]
mod tests;
