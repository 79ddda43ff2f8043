//! The queue between content threads and DB threads: bounded lanes, lock-free to push to. Idle
//! threads park.
//!
//! One thread at a time has the turn on a control lane, so the requests of one process keep their
//! order. Without that order an old list of claims could overtake a release and leave the account
//! online.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering, fence};
use std::time::{Duration, Instant};

use crossbeam_queue::ArrayQueue;
use parking_lot::{Condvar, Mutex, MutexGuard};

use super::request::{Job, Lane};

/// Number of control lanes. Requests of an instance always use the same lane. A login and a chat
/// server seldom share one of four, and more lanes would not help a database with one writer.
const CONTROL_LANES: usize = 4;

/// Lanes of requests, and the DB threads that wait for them.
pub(super) struct Queue<T> {
    control: [ControlLane<T>; CONTROL_LANES],
    quick: ArrayQueue<Job<T>>,
    hashing: ArrayQueue<Job<T>>,
    /// Threads parked or about to park. Changed only under `parking`.
    sleepers: AtomicUsize,
    parking: Mutex<Closing>,
    work: Condvar,
    stop: Condvar,
    closed: AtomicBool,
    finished: AtomicBool,
}

/// Deadline for the work on a closed queue; `None` while the queue is open.
type Closing = Option<Instant>;

struct ControlLane<T> {
    waiting: ArrayQueue<Job<T>>,
    /// Held by the thread that has the turn. Contains the job to retry before any other of this
    /// lane.
    turn: Mutex<Option<Job<T>>>,
}

/// Work for a DB thread.
pub(super) enum Task<'a, T> {
    /// The turn on a control lane with a job waiting.
    Control(Turn<'a, T>),
    /// A job of the quick or the hashing lane.
    Job(Job<T>),
}

/// The turn of one thread on a control lane, for one job.
pub(super) struct Turn<'a, T> {
    waiting: &'a ArrayQueue<Job<T>>,
    first: MutexGuard<'a, Option<Job<T>>>,
}

impl<T> Turn<'_, T> {
    /// Removes the next job of the lane.
    pub(super) fn take(&mut self) -> Option<Job<T>> {
        self.first.take().or_else(|| self.waiting.pop())
    }

    /// Makes `job` the next job of the lane again.
    pub(super) fn put_back(&mut self, job: Job<T>) {
        *self.first = Some(job);
    }
}

/// Reason for refusing a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    Full,
    Closed,
}

impl<T> Queue<T> {
    /// Creates lanes for `capacity` jobs (quick, hashing) and for `control` jobs (each control
    /// lane).
    pub(super) fn new(capacity: usize, control: usize) -> Self {
        let lane = || ControlLane { waiting: ArrayQueue::new(control.max(1)), turn: Mutex::new(None) };
        Self {
            control: std::array::from_fn(|_| lane()),
            quick: ArrayQueue::new(capacity.max(1)),
            hashing: ArrayQueue::new(capacity.max(1)),
            sleepers: AtomicUsize::new(0),
            parking: Mutex::new(None),
            work: Condvar::new(),
            stop: Condvar::new(),
            closed: AtomicBool::new(false),
            finished: AtomicBool::new(false),
        }
    }

    /// Queues a job and wakes a thread for it. Gives the job back if its lane is full or the queue
    /// closed.
    pub(super) fn push(&self, job: Job<T>) -> Result<(), (Refusal, Job<T>)> {
        if self.closed.load(Ordering::SeqCst) {
            return Err((Refusal::Closed, job));
        }
        let lane = match job.request.lane() {
            Lane::Control { instance } => &self.control_lane(instance).waiting,
            Lane::Quick => &self.quick,
            Lane::Hashing => &self.hashing,
        };
        lane.push(job).map_err(|job| (Refusal::Full, job))?;
        self.wake_one();
        Ok(())
    }

    fn control_lane(&self, instance: u64) -> &ControlLane<T> {
        &self.control[(instance % CONTROL_LANES as u64) as usize]
    }

    /// Wakes one parked thread, if any.
    pub(super) fn wake_one(&self) {
        // Pairs with the fence in `next`: either this load sees the sleeper, or the sleeper's last
        // look sees the job that was pushed before.
        fence(Ordering::SeqCst);
        if self.sleepers.load(Ordering::Relaxed) > 0 {
            let _parking = self.parking.lock();
            self.work.notify_one();
        }
    }

    /// Returns the next work and parks until there is some. Returns `None` once the queue is closed
    /// and empty.
    pub(super) fn next(&self) -> Option<Task<'_, T>> {
        loop {
            if let Some(task) = self.try_next() {
                return Some(task);
            }
            let mut closing = self.parking.lock();
            self.sleepers.fetch_add(1, Ordering::Relaxed);
            fence(Ordering::SeqCst);
            let has_work = self.has_work();
            let ends = closing.is_some() && !has_work;
            if !has_work && !ends {
                self.work.wait(&mut closing);
            }
            self.sleepers.fetch_sub(1, Ordering::Relaxed);
            if ends {
                return None;
            }
        }
    }

    fn try_next(&self) -> Option<Task<'_, T>> {
        // A lane whose turn another thread has is skipped: that thread looks at it again after its
        // turn.
        let control = self.control.iter().find_map(|lane| {
            let first = lane.turn.try_lock()?;
            let has_work = first.is_some() || !lane.waiting.is_empty();
            has_work.then_some(Turn { waiting: &lane.waiting, first })
        });
        control.map(Task::Control).or_else(|| self.pop_common().map(Task::Job))
    }

    /// Removes the next job of the quick lane, or of the hashing lane.
    pub(super) fn pop_common(&self) -> Option<Job<T>> {
        self.quick.pop().or_else(|| self.hashing.pop())
    }

    fn has_work(&self) -> bool {
        let waiting = |lane: &ControlLane<T>| {
            lane.turn.try_lock().is_some_and(|first| first.is_some() || !lane.waiting.is_empty())
        };
        !self.quick.is_empty() || !self.hashing.is_empty() || self.control.iter().any(waiting)
    }

    /// Yields a turn for each job that now waits in a control lane. Blocks until other threads end
    /// their turns.
    pub(super) fn control_turns(&self) -> impl Iterator<Item = Turn<'_, T>> {
        self.control.iter().flat_map(|lane| {
            // One more turn, for a job that another thread executes now or has put back.
            let waiting = lane.waiting.len() + usize::from(lane.waiting.is_empty() && lane.turn.is_locked());
            std::iter::repeat_with(|| Turn { waiting: &lane.waiting, first: lane.turn.lock() }).take(waiting)
        })
    }

    /// Removes all jobs. Blocks until other threads end their turns.
    pub(super) fn drain(&self) -> Vec<Job<T>> {
        let control = self.control.iter().flat_map(|lane| {
            let mut turn = Turn { waiting: &lane.waiting, first: lane.turn.lock() };
            std::iter::from_fn(move || turn.take()).collect::<Vec<_>>()
        });
        control.chain(std::iter::from_fn(|| self.pop_common())).collect()
    }

    /// Number of jobs in all lanes.
    pub(super) fn len(&self) -> usize {
        let control: usize = self.control.iter().map(|lane| lane.waiting.len()).sum();
        control + self.quick.len() + self.hashing.len()
    }

    /// Closes the queue: new jobs are refused, queued ones may be executed until `deadline`.
    pub(super) fn close(&self, deadline: Instant) {
        let mut closing = self.parking.lock();
        self.closed.store(true, Ordering::SeqCst);
        closing.get_or_insert(deadline);
        self.work.notify_all();
        self.stop.notify_all();
    }

    /// Returns true if the queue is closed and past its deadline.
    pub(super) fn is_overdue(&self) -> bool {
        self.closed.load(Ordering::Relaxed) && self.parking.lock().is_some_and(|end| Instant::now() >= end)
    }

    /// Returns true if the queue is closed and a thread without a connection has no reason to stay.
    pub(super) fn is_spent(&self) -> bool {
        self.closed.load(Ordering::Relaxed) && (!self.has_work() || self.is_overdue())
    }

    /// Sleeps for `pause`, or until the queue closes. On a closed queue, sleeps until its deadline
    /// at most.
    pub(super) fn pause(&self, pause: Duration) {
        let mut end = Instant::now() + pause;
        let mut closing = self.parking.lock();
        let was_open = closing.is_none();
        while Instant::now() < end {
            match *closing {
                Some(_) if was_open => return,
                Some(deadline) => end = end.min(deadline),
                None => {}
            }
            self.stop.wait_until(&mut closing, end);
        }
    }

    /// Marks the queue as left by all threads.
    pub(super) fn finish(&self) {
        self.finished.store(true, Ordering::SeqCst);
        fence(Ordering::SeqCst);
    }

    /// Returns true if a job pushed before this call may have missed the last thread.
    pub(super) fn is_finished(&self) -> bool {
        fence(Ordering::SeqCst);
        self.finished.load(Ordering::SeqCst)
    }
}
