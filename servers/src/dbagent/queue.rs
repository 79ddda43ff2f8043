//! Where requests wait for a DB thread.
//!
//! Three kinds of lanes, all bounded and lock-free to push to. Threads without
//! work park. The control lanes are taken by one thread at a time each,
//! so that what one process reports about itself keeps its order:
//! a release overtaken by an older list of claims would leave a ghost online.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering, fence};
use std::time::{Duration, Instant};

use crossbeam_queue::ArrayQueue;
use parking_lot::{Condvar, Mutex, MutexGuard};

use super::request::{Job, Lane};

/// Control lanes; an instance always uses the same one. A login server and a chat server
/// seldom share one then, and more would not help a database with one writer.
const CONTROL_LANES: usize = 4;

/// All lanes, and the threads that wait for them.
pub(super) struct Queue<T> {
    control: [ControlLane<T>; CONTROL_LANES],
    quick: ArrayQueue<Job<T>>,
    hashing: ArrayQueue<Job<T>>,
    /// Threads parked, or about to be. Changed only under `parking`.
    sleepers: AtomicUsize,
    parking: Mutex<Closing>,
    work: Condvar,
    stop: Condvar,
    closed: AtomicBool,
    finished: AtomicBool,
}

/// Until when a closing queue may still be worked on; `None` while it is open.
type Closing = Option<Instant>;

struct ControlLane<T> {
    waiting: ArrayQueue<Job<T>>,
    /// Held by the thread whose turn it is. Inside: a job that was begun and has to be done again, first of all.
    turn: Mutex<Option<Job<T>>>,
}

/// What a thread gets to do.
pub(super) enum Task<'a, T> {
    /// The turn on a control lane that had something waiting.
    Control(Turn<'a, T>),
    /// A job of another lane.
    Job(Job<T>),
}

/// One thread's turn on a control lane, for one job.
pub(super) struct Turn<'a, T> {
    waiting: &'a ArrayQueue<Job<T>>,
    first: MutexGuard<'a, Option<Job<T>>>,
}

impl<T> Turn<'_, T> {
    /// The job to do.
    pub(super) fn take(&mut self) -> Option<Job<T>> {
        self.first.take().or_else(|| self.waiting.pop())
    }

    /// It has to be done again, before any other of this lane.
    pub(super) fn put_back(&mut self, job: Job<T>) {
        *self.first = Some(job);
    }
}

/// Why a job was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    Full,
    Closed,
}

impl<T> Queue<T> {
    /// At most `capacity` jobs in each of the two common lanes and `control` in each control lane.
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

    /// Queues a job and wakes a thread for it.
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

    /// Lets a parked thread look for work.
    pub(super) fn wake_one(&self) {
        // Against the fence in `next`: either this load sees the sleeper, or the sleeper's last
        // look sees what was pushed before.
        fence(Ordering::SeqCst);
        if self.sleepers.load(Ordering::Relaxed) > 0 {
            let _parking = self.parking.lock();
            self.work.notify_one();
        }
    }

    /// The next thing to do, parking until there is one. `None`: the queue is closed and empty.
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
        // A lane whose turn another thread has is that thread's business: it looks again
        // after its turn.
        let control = self.control.iter().find_map(|lane| {
            let first = lane.turn.try_lock()?;
            let has_work = first.is_some() || !lane.waiting.is_empty();
            has_work.then_some(Turn { waiting: &lane.waiting, first })
        });
        control.map(Task::Control).or_else(|| self.pop_common().map(Task::Job))
    }

    /// The next job that is no control job.
    pub(super) fn pop_common(&self) -> Option<Job<T>> {
        self.quick.pop().or_else(|| self.hashing.pop())
    }

    fn has_work(&self) -> bool {
        let waiting = |lane: &ControlLane<T>| {
            lane.turn.try_lock().is_some_and(|first| first.is_some() || !lane.waiting.is_empty())
        };
        !self.quick.is_empty() || !self.hashing.is_empty() || self.control.iter().any(waiting)
    }

    /// The turn on each control lane in which jobs wait, as many times as jobs wait there now. Waits for other
    /// threads' turns to end.
    pub(super) fn control_turns(&self) -> impl Iterator<Item = Turn<'_, T>> {
        self.control.iter().flat_map(|lane| {
            // One more, for a job that another thread is at, or has put back.
            let waiting = lane.waiting.len() + usize::from(lane.waiting.is_empty() && lane.turn.is_locked());
            std::iter::repeat_with(|| Turn { waiting: &lane.waiting, first: lane.turn.lock() }).take(waiting)
        })
    }

    /// Every job left, whoever's turn it is.
    pub(super) fn drain(&self) -> Vec<Job<T>> {
        let control = self.control.iter().flat_map(|lane| {
            let mut turn = Turn { waiting: &lane.waiting, first: lane.turn.lock() };
            std::iter::from_fn(move || turn.take()).collect::<Vec<_>>()
        });
        control.chain(std::iter::from_fn(|| self.pop_common())).collect()
    }

    /// Jobs that wait in all lanes.
    pub(super) fn len(&self) -> usize {
        let control: usize = self.control.iter().map(|lane| lane.waiting.len()).sum();
        control + self.quick.len() + self.hashing.len()
    }

    /// Takes no more jobs. What waits may be worked on until `deadline`.
    pub(super) fn close(&self, deadline: Instant) {
        let mut closing = self.parking.lock();
        self.closed.store(true, Ordering::SeqCst);
        closing.get_or_insert(deadline);
        self.work.notify_all();
        self.stop.notify_all();
    }

    /// Whether the queue is closed and the time for what waited in it is over.
    pub(super) fn is_overdue(&self) -> bool {
        self.closed.load(Ordering::Relaxed) && self.parking.lock().is_some_and(|end| Instant::now() >= end)
    }

    /// Whether the queue is closed and nothing is left that a thread without a connection should stay for.
    pub(super) fn is_spent(&self) -> bool {
        self.closed.load(Ordering::Relaxed) && (!self.has_work() || self.is_overdue())
    }

    /// Waits, for `pause` or until the queue is closed. A closed queue waits to its deadline at most.
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

    /// No thread works on the queue any more.
    pub(super) fn finish(&self) {
        self.finished.store(true, Ordering::SeqCst);
        fence(Ordering::SeqCst);
    }

    /// Whether a job that was pushed just now may have come too late for every thread.
    pub(super) fn is_finished(&self) -> bool {
        fence(Ordering::SeqCst);
        self.finished.load(Ordering::SeqCst)
    }
}
