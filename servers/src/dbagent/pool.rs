//! The pool of DB threads.
//!
//! Only these threads wait for a database. A request is queued or refused at once, and every
//! accepted request is answered exactly once through the sink.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::thread;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rustix::process::setpriority_process;
use rustix::thread::gettid;
use thiserror::Error;

use super::crew::Crew;
use super::fault_log::FaultLog;
use super::gate::Gate;
use super::password::{PasswordCost, PasswordError, Passwords};
use super::procedures::{DbError, Procedures};
use super::queue::Queue;
use super::request::{Job, Refusal, Reply};
use super::worker::{Shared, Worker};

pub use super::stats::PoolStats;
pub use super::worker::DriverLimits;

/// Size and parameters of a pool.
#[derive(Debug, Clone)]
pub struct PoolConfig {
    /// Number of DB threads, at least 1. Password hashes keep them busy, so count one for each
    /// spare core.
    pub threads: usize,
    /// Capacity of the lane of requests that hash a password, and of the one of requests that do
    /// not.
    pub queue: usize,
    /// Capacity of each control lane: releases, lists of claims and renewals.
    pub control_queue: usize,
    /// Cost of a password hash.
    pub password: PasswordCost,
    /// Number of this DB agent ([`super::procedures::agent_number`]).
    pub agent: u64,
    /// Times after which calls of the driver count as hung.
    pub limits: DriverLimits,
    /// Time after the deadline of a shutdown for which calls under way are waited for. A thread
    /// that takes longer is left behind.
    pub end_wait: Duration,
}

/// Interval at which the calls of the DB threads are checked.
const WATCH_INTERVAL: Duration = Duration::from_millis(250);

impl Default for PoolConfig {
    fn default() -> Self {
        Self {
            threads: 2,
            queue: 1024,
            control_queue: throng_core::limits::DB_CONTROL_QUEUE,
            password: PasswordCost::default(),
            agent: 1,
            limits: DriverLimits::default(),
            end_wait: Duration::from_secs(3),
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

/// A job that has no place: the one that was submitted, or one that made room for it. It is
/// returned whole.
#[derive(Debug, Error)]
pub enum Rejected<T> {
    /// The queue of the job is full, and the peer should try again later. A control request must
    /// not be lost: keep it, or close the link of its process, which sends a new list of claims on
    /// its next link.
    #[error("the database is overloaded: the queue is full")]
    Full(Job<T>),
    /// By the time that hashes take, this one would end after its deadline.
    #[error("the database is overloaded: the password's hash would end too late")]
    Late(Job<T>),
    /// The pool is shut down.
    #[error("the DB agent is shutting down")]
    Closed(Job<T>),
}

/// DB threads `db-0`, `db-1`, .. and their queue.
///
/// Dropping a pool shuts it down without executing the queued requests.
pub struct Pool<T: Copy + Send + Sync + 'static> {
    shared: Arc<Shared<T>>,
    watch: Mutex<Option<thread::JoinHandle<()>>>,
    end_wait: Duration,
}

impl<T: Copy + Send + Sync + 'static> Pool<T> {
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
            crew: Crew::new(config.threads.max(1)),
            gate: Gate::default(),
            fault_log: FaultLog::default(),
            claiming: Mutex::default(),
            limits: config.limits,
            factory: Box::new(factory),
            sink: Box::new(sink),
            agent: config.agent,
        });
        let password = config.password;
        let pool = Self { shared, watch: Mutex::default(), end_wait: config.end_wait };
        fill(&pool.shared, password)?;
        let shared = Arc::clone(&pool.shared);
        let watch = thread::Builder::new().name("db-watch".into()).spawn(move || watch(&shared, password))?;
        *pool.watch.lock() = Some(watch);
        Ok(pool)
    }

    /// Queues a request. Never blocks on a thread's work. An error is about a job that has no
    /// place, which may be an older one than this.
    pub fn try_submit(&self, job: Job<T>) -> Result<(), Rejected<T>> {
        let threads = self.shared.stats.connected.load(Relaxed);
        let pushed = self.shared.queue.push(job, threads);
        // The last thread may have ended between the queue's check and the push.
        if self.shared.queue.is_finished() {
            self.refuse_queued();
        }
        match pushed {
            Ok(()) => Ok(()),
            Err((Refusal::Full, job)) => {
                self.shared.stats.rejected.fetch_add(1, Relaxed);
                Err(Rejected::Full(job))
            }
            Err((Refusal::Late, job)) => {
                self.shared.stats.late.fetch_add(1, Relaxed);
                Err(Rejected::Late(job))
            }
            Err((Refusal::Closed, job)) => Err(Rejected::Closed(job)),
        }
    }

    /// Number of queued requests.
    pub fn depth(&self) -> usize {
        self.shared.queue.len()
    }

    /// Average time of a password's hash with the calls around it; zero until one has ended.
    pub fn hash_time(&self) -> Duration {
        self.shared.queue.hashing().hash_time()
    }

    /// Number of addresses of clients whose passwords wait for their hash.
    pub fn addresses(&self) -> usize {
        self.shared.queue.hashing().addresses()
    }

    /// Counters of the pool.
    pub fn stats(&self) -> &PoolStats {
        &self.shared.stats
    }

    /// Number of threads that hang in their driver now.
    pub fn hung(&self) -> usize {
        self.shared.crew.hung()
    }

    /// Number of threads that have a connection and do not hang.
    pub fn usable(&self) -> usize {
        self.shared.crew.usable()
    }

    /// Closes the queue, executes queued requests until `deadline`, answers the rest TryAgainLater,
    /// closes the databases and joins the threads. Returns the first error of closing a database.
    ///
    /// A driver may hang for ever, so threads that have not ended a while after the deadline
    /// ([`PoolConfig::end_wait`]) are left behind. Returns their number.
    pub fn shutdown(&self, deadline: Instant) -> Result<usize, DbError> {
        self.shared.queue.close(deadline);
        self.shared.gate.wake();
        let (closed, left) = self.shared.crew.join(deadline.max(Instant::now()) + self.end_wait);
        self.shared.queue.finish();
        self.refuse_queued();
        if let Some(watch) = self.watch.lock().take() {
            watch.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        }
        if left > 0 {
            tracing::warn!(threads = left, "the database hangs: ending without these DB threads");
        }
        closed.map(|()| left)
    }

    fn refuse_queued(&self) {
        for job in self.shared.queue.drain() {
            self.shared.refuse(&job);
        }
    }
}

/// Niceness of DB threads.
const NICE: i32 = 5;

/// Lowers the priority of this thread. A hash keeps a core busy for 30 ms and more, and should not
/// delay the messages of those that are in the chat already.
fn yield_to_other_threads() {
    // Without it only the chat is slower while players log in.
    let _ = setpriority_process(Some(gettid()), NICE);
}

/// Starts threads until enough of them work.
fn fill<T: Copy + Send + Sync + 'static>(
    shared: &Arc<Shared<T>>,
    password: PasswordCost,
) -> Result<usize, StartError> {
    shared.crew.fill(|place| {
        let name = format!("db-{}", place.number);
        let worker = Worker::new(Arc::clone(shared), place, Passwords::new(password)?);
        Ok(thread::Builder::new().name(name).spawn(|| {
            yield_to_other_threads();
            worker.run()
        })?)
    })
}

/// Replaces threads that hang, until the pool ends.
fn watch<T: Copy + Send + Sync + 'static>(shared: &Arc<Shared<T>>, password: PasswordCost) {
    while !shared.queue.is_finished() && !shared.queue.is_overdue() {
        shared.queue.pause(WATCH_INTERVAL);
        for thread in shared.crew.give_up_hung() {
            tracing::warn!("db-{thread} hangs in the database's driver: another thread takes its place");
            shared.queue.take_over(thread);
            shared.give_up(thread);
        }
        match fill(shared, password) {
            Ok(filled) => {
                shared.stats.replaced.fetch_add(filled as u64, Relaxed);
            }
            Err(error) => tracing::error!("{error}"),
        }
    }
}

impl<T: Copy + Send + Sync + 'static> Drop for Pool<T> {
    fn drop(&mut self) {
        // Does nothing after a `shutdown`. During a panic joining could block forever.
        if !thread::panicking()
            && let Err(error) = self.shutdown(Instant::now())
        {
            tracing::error!("{error}");
        }
    }
}

impl<T: Copy + Send + Sync + 'static> fmt::Debug for Pool<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool")
            .field("depth", &self.depth())
            .field("stats", self.stats())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
