//! The queue between content threads and DB threads: bounded lanes. Idle threads park.
//!
//! One thread at a time has the turn on a control lane, so the requests of one process keep their
//! order. Without that order an old list of claims could overtake a release and leave the account
//! online.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering, fence};
use std::time::{Duration, Instant};

use crossbeam_queue::ArrayQueue;
use parking_lot::{Condvar, Mutex};

use super::fair::{FairLane, Popped};
use super::request::{Job, Lane, Refusal};

/// Number of control lanes. Requests of an instance always use the same lane. A login and a chat
/// server seldom share one of four, and more lanes would not help a database with one writer.
const CONTROL_LANES: usize = 4;

/// Lanes of requests, and the DB threads that wait for them.
pub(super) struct Queue<T> {
    control: [ControlLane<T>; CONTROL_LANES],
    quick: ArrayQueue<Job<T>>,
    hashing: FairLane<T>,
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
    state: Mutex<LaneState<T>>,
    /// Rung at the end of a turn.
    free: Condvar,
}

struct LaneState<T> {
    /// Number of the thread that has the turn.
    holder: Option<u64>,
    /// The job of the turn, to retry before any other of this lane if the turn ends without it.
    first: Option<Arc<Job<T>>>,
}

impl<T> ControlLane<T> {
    fn new(capacity: usize) -> Self {
        let state = Mutex::new(LaneState { holder: None, first: None });
        Self { waiting: ArrayQueue::new(capacity.max(1)), state, free: Condvar::new() }
    }

    /// Returns true if a turn on this lane can be had, with a job.
    fn has_work(&self) -> bool {
        let state = self.state.lock();
        state.holder.is_none() && (state.first.is_some() || !self.waiting.is_empty())
    }

    /// Begins a turn of this thread, unless another one has it or no job waits.
    fn turn(&self, thread: u64) -> Option<Turn<'_, T>> {
        self.begin(&mut self.state.lock(), thread)
    }

    fn begin(&self, state: &mut LaneState<T>, thread: u64) -> Option<Turn<'_, T>> {
        if state.holder.is_some() {
            return None;
        }
        if state.first.is_none() {
            state.first = self.waiting.pop().map(Arc::new);
        }
        let job = state.first.clone()?;
        state.holder = Some(thread);
        Some(Turn { lane: self, thread, job })
    }

    /// Begins a turn of this thread, after that of another one. Waits for it until `until` at most.
    fn turn_until(&self, thread: u64, until: Instant) -> Option<Turn<'_, T>> {
        let mut state = self.state.lock();
        while state.holder.is_some() {
            if self.free.wait_until(&mut state, until).timed_out() {
                return None;
            }
        }
        self.begin(&mut state, thread)
    }
}

/// Work for a DB thread.
pub(super) enum Task<'a, T> {
    /// The turn on a control lane with a job waiting.
    Control(Turn<'a, T>),
    /// A job of the quick or the hashing lane.
    Job(Job<T>),
    /// A job whose hash would end after its deadline.
    Late(Job<T>),
    /// None for a while.
    Idle,
}

/// The turn of one thread on a control lane, for one job. The job stays the first of its lane until
/// it is finished.
pub(super) struct Turn<'a, T> {
    lane: &'a ControlLane<T>,
    thread: u64,
    job: Arc<Job<T>>,
}

impl<T> Turn<'_, T> {
    /// The job of the turn.
    pub(super) fn job(&self) -> Arc<Job<T>> {
        Arc::clone(&self.job)
    }

    /// Returns true unless another thread has taken the turn over.
    pub(super) fn is_held(&self) -> bool {
        self.lane.state.lock().holder == Some(self.thread)
    }

    /// Removes the job, which is to be answered before the turn ends. Returns false if the thread
    /// has lost the turn meanwhile: another one answers.
    pub(super) fn finish(&self) -> bool {
        let mut state = self.lane.state.lock();
        let is_mine = state.holder == Some(self.thread);
        if is_mine {
            state.first = None;
        }
        is_mine
    }
}

impl<T> Drop for Turn<'_, T> {
    fn drop(&mut self) {
        let mut state = self.lane.state.lock();
        if state.holder == Some(self.thread) {
            state.holder = None;
            self.lane.free.notify_all();
        }
    }
}

impl<T> Queue<T> {
    /// Creates lanes for `capacity` jobs (quick, hashing) and for `control` jobs (each control
    /// lane).
    pub(super) fn new(capacity: usize, control: usize) -> Self {
        Self {
            control: std::array::from_fn(|_| ControlLane::new(control)),
            quick: ArrayQueue::new(capacity.max(1)),
            hashing: FairLane::new(capacity),
            sleepers: AtomicUsize::new(0),
            parking: Mutex::new(None),
            work: Condvar::new(),
            stop: Condvar::new(),
            closed: AtomicBool::new(false),
            finished: AtomicBool::new(false),
        }
    }

    /// Queues a job for `threads` threads, and wakes one. Returns a job that has no place: this
    /// one, or one that has made room for it in the hashing lane ([`FairLane::push`]).
    pub(super) fn push(&self, job: Job<T>, threads: usize) -> Result<(), (Refusal, Job<T>)> {
        if self.closed.load(Ordering::SeqCst) {
            return Err((Refusal::Closed, job));
        }
        let full = |job| (Refusal::Full, job);
        let pushed = match job.request.lane() {
            Lane::Control { instance } => self.control_lane(instance).waiting.push(job).map_err(full),
            Lane::Quick => self.quick.push(job).map_err(full),
            Lane::Hashing => self.hashing.push(job, threads, Instant::now()),
        };
        self.wake_one();
        pushed
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

    /// Returns the next work of a thread, and parks until there is some, for `idle` at most if
    /// given. Returns `None` once the queue is closed and empty.
    pub(super) fn next(&self, thread: u64, idle: Option<Duration>) -> Option<Task<'_, T>> {
        let idle_at = idle.map(|idle| Instant::now() + idle);
        loop {
            if let Some(task) = self.try_next(thread) {
                return Some(task);
            }
            let mut closing = self.parking.lock();
            self.sleepers.fetch_add(1, Ordering::Relaxed);
            fence(Ordering::SeqCst);
            let has_work = self.has_work();
            let ends = closing.is_some() && !has_work;
            let mut is_idle = false;
            if !has_work && !ends {
                match idle_at {
                    Some(at) => is_idle = self.work.wait_until(&mut closing, at).timed_out(),
                    None => self.work.wait(&mut closing),
                }
            }
            self.sleepers.fetch_sub(1, Ordering::Relaxed);
            if ends {
                return None;
            }
            if is_idle {
                return Some(Task::Idle);
            }
        }
    }

    fn try_next(&self, thread: u64) -> Option<Task<'_, T>> {
        // A lane whose turn another thread has is skipped: that thread looks at it again after its
        // turn.
        let control = self.control.iter().find_map(|lane| lane.turn(thread));
        control.map(Task::Control).or_else(|| self.quick.pop().map(Task::Job)).or_else(|| self.next_hash())
    }

    fn next_hash(&self) -> Option<Task<'_, T>> {
        Some(match self.hashing.pop(Instant::now())? {
            Popped::Due(job) => Task::Job(job),
            Popped::Late(job) => Task::Late(job),
        })
    }

    /// Removes the next job of the quick lane, or of the hashing lane, even if it is late.
    pub(super) fn pop_common(&self) -> Option<Job<T>> {
        self.quick.pop().or_else(|| match self.hashing.pop(Instant::now())? {
            Popped::Due(job) | Popped::Late(job) => Some(job),
        })
    }

    /// The lane of jobs that hash a password.
    pub(super) fn hashing(&self) -> &FairLane<T> {
        &self.hashing
    }

    fn has_work(&self) -> bool {
        !self.quick.is_empty() || self.hashing.len() > 0 || self.control.iter().any(ControlLane::has_work)
    }

    /// Yields a turn for each job that now waits in a control lane. Waits until other threads end
    /// their turns, until `until` at most.
    pub(super) fn control_turns(&self, thread: u64, until: Instant) -> impl Iterator<Item = Turn<'_, T>> {
        self.control.iter().flat_map(move |lane| {
            // One more turn, for a job that another thread executes now or has given back.
            let waiting = lane.waiting.len() + usize::from(lane.state.lock().first.is_some());
            std::iter::repeat_with(move || lane.turn_until(thread, until))
                .take(waiting)
                .map_while(|turn| turn)
        })
    }

    /// Takes the turn from a thread that hangs, so that another one executes the job. A thread that
    /// is about to answer keeps it.
    pub(super) fn take_over(&self, thread: u64) {
        for lane in &self.control {
            let mut state = lane.state.lock();
            if state.holder == Some(thread) && state.first.is_some() {
                state.holder = None;
                lane.free.notify_all();
            }
        }
        self.wake_one();
    }

    /// Removes all jobs, also those of threads that hang.
    pub(super) fn drain(&self) -> Vec<Arc<Job<T>>> {
        let mut jobs = Vec::new();
        for lane in &self.control {
            let mut state = lane.state.lock();
            if state.first.is_some() {
                state.holder = None;
                jobs.extend(state.first.take());
            }
            jobs.extend(std::iter::from_fn(|| lane.waiting.pop()).map(Arc::new));
        }
        jobs.extend(std::iter::from_fn(|| self.pop_common()).map(Arc::new));
        jobs
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
                Some(_) if was_open || self.is_finished() => return,
                Some(deadline) => end = end.min(deadline),
                None => {}
            }
            self.stop.wait_until(&mut closing, end);
        }
    }

    /// Marks the queue as left by all threads.
    pub(super) fn finish(&self) {
        let _parking = self.parking.lock();
        self.finished.store(true, Ordering::SeqCst);
        self.stop.notify_all();
        fence(Ordering::SeqCst);
    }

    /// Returns true if a job pushed before this call may have missed the last thread.
    pub(super) fn is_finished(&self) -> bool {
        fence(Ordering::SeqCst);
        self.finished.load(Ordering::SeqCst)
    }
}
