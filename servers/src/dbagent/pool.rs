//! The pool of DB threads.
//!
//! Only these threads wait for a database. A request is queued or refused at once, and every
//! accepted request is answered exactly once through the sink.

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

/// Size and parameters of a pool.
#[derive(Debug, Clone)]
pub struct PoolConfig {
    /// Number of DB threads, at least 1. Password hashes keep them busy, so count one for each
    /// spare core.
    pub threads: usize,
    /// Capacity of the queue for requests that hash a password, and of the one for requests that do
    /// not.
    pub queue: usize,
    /// Capacity of each control lane: releases, lists of claims and renewals.
    pub control_queue: usize,
    /// Cost of a password hash.
    pub password: PasswordCost,
    /// Wall clock of this process, in milliseconds since 1970 (UTC).
    pub now_ms: fn() -> u64,
    /// Number of this DB agent ([`super::procedures::agent_number`]).
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

/// Error of [`Pool::start`].
#[derive(Debug, Error)]
pub enum StartError {
    /// The configured password hash is impossible.
    #[error(transparent)]
    Password(#[from] PasswordError),
    /// The system refuses a thread.
    #[error("cannot start a DB thread: {0}. Check the limits on processes (ulimit -u) and memory")]
    Thread(#[from] io::Error),
}

/// A job that was not accepted. It is returned whole.
#[derive(Debug, Error)]
pub enum Rejected<T> {
    /// The queue of the job is full, and the peer should try again later. A control request must
    /// not be lost: keep it, or close the link of its process, which sends a new list of claims on
    /// its next link.
    #[error("the database is overloaded: the queue is full")]
    Full(Job<T>),
    /// The pool is shut down.
    #[error("the DB agent is shutting down")]
    Closed(Job<T>),
}

/// DB threads `db-0`, `db-1`, .. and their queue.
///
/// Dropping a pool shuts it down without executing the queued requests.
pub struct Pool<T: Send + 'static> {
    shared: Arc<Shared<T>>,
    threads: Mutex<Vec<JoinHandle<Result<(), DbError>>>>,
}

impl<T: Send + 'static> Pool<T> {
    /// Starts the threads. Each opens its connection with `factory` and reopens a lost one, without
    /// limit; the pool accepts requests before the first connection exists. `sink` runs on the DB
    /// threads; it may block briefly, and may submit.
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
                // The last thread may have ended between the queue's check and the push.
                if self.shared.queue.is_finished() {
                    self.refuse_queued();
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

    /// Number of queued requests.
    pub fn depth(&self) -> usize {
        self.shared.queue.len()
    }

    /// Counters of the pool.
    pub fn stats(&self) -> &PoolStats {
        &self.shared.stats
    }

    /// Closes the queue, executes queued requests until `deadline`, answers the rest TryAgainLater,
    /// closes the databases and joins the threads. Returns the first error of closing a database.
    pub fn shutdown(&self, deadline: Instant) -> Result<(), DbError> {
        self.shared.queue.close(deadline);
        let mut closed = Ok(());
        for thread in std::mem::take(&mut *self.threads.lock()) {
            match thread.join() {
                Ok(result) => closed = closed.and(result),
                // A bug in the program must not be swallowed here.
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        self.shared.queue.finish();
        self.refuse_queued();
        closed
    }

    fn refuse_queued(&self) {
        for job in self.shared.queue.drain() {
            self.shared.refuse(job);
        }
    }
}

impl<T: Send + 'static> Drop for Pool<T> {
    fn drop(&mut self) {
        // Does nothing after a `shutdown`. During a panic joining could block forever.
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
mod tests;
