//! The thread that wakes workers in time to send.
//!
//! An event loop's own time-out comes in whole milliseconds, which is too coarse for a message
//! that is due. The pacer sleeps to the microsecond, and then rings at the worker whose
//! client has something to say. It hands nothing over: what is due the worker knows itself,
//! so there is no queue that could fill, and a ring at a worker that is late anyway costs nothing.
//!
//! At random times it also asks the workers how long something that arrives now has to wait.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt, SeedableRng};
use throng_core::net::{Mail, Mailbox};
use throng_harness_model::clock::{Nanos, RunClock, nanos};
use throng_harness_model::plan::Plan;
use throng_harness_model::schedule::SendCursor;
use throng_harness_model::send_schedule::SendSchedule;

use crate::command::Command;

/// Mean time between two looks at the workers' lag.
const LAG_MEAN: Duration = Duration::from_millis(10);

/// Longest sleep: nothing is due, but the end of the thread may be asked for.
const SLEEP_MAX: Duration = Duration::from_millis(100);

/// The running thread.
#[derive(Debug)]
pub struct Pacer {
    thread: JoinHandle<()>,
    stop: Arc<AtomicBool>,
}

impl Pacer {
    /// Rings at the workers behind `mailboxes`, which are those of the plan from number `first` on, for the messages
    /// that are due at `warmup` and `counted`.
    pub fn start(
        plan: &Plan,
        warmup: &Arc<SendSchedule>,
        counted: &Arc<SendSchedule>,
        mailboxes: Vec<Arc<Mailbox<Command>>>,
        first: u32,
    ) -> io::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let whole = |traffic: &Arc<_>, schedule: &Arc<_>| {
            SendCursor::new(Arc::clone(traffic), Arc::clone(schedule), 0, 1)
        };
        let bells = Bells {
            clock: plan.clock,
            cursors: [whole(&plan.warmup, warmup), whole(&plan.traffic, counted)],
            workers: plan.workers,
            first,
            mailboxes,
            rng: Xoshiro256PlusPlus::seed_from_u64(plan.seed),
            lag_at: counted.start(),
        };
        let thread = thread::Builder::new().name("pacer".into()).spawn({
            let stop = stop.clone();
            move || bells.ring_until(&stop)
        })?;
        Ok(Self { thread, stop })
    }

    /// Ends the thread.
    pub fn stop(self) {
        self.stop.store(true, Ordering::Release);
        self.thread.thread().unpark();
        // It cannot panic with anything but the standard library's own failure.
        let _ = self.thread.join();
    }
}

/// What the thread rings by.
struct Bells {
    clock: RunClock,
    cursors: [SendCursor; 2],
    /// Workers of the plan, and the first of them that is behind one of the mailboxes.
    workers: u32,
    first: u32,
    mailboxes: Vec<Arc<Mailbox<Command>>>,
    rng: Xoshiro256PlusPlus,
    /// When to look at the lag next.
    lag_at: Nanos,
}

impl Bells {
    fn ring_until(mut self, stop: &AtomicBool) {
        while !stop.load(Ordering::Acquire) {
            let now = self.clock.now();
            for cursor in &mut self.cursors {
                while let Some(due) = cursor.pop(now) {
                    // Those of other processes have a pacer there.
                    let at = (due.sender % self.workers).checked_sub(self.first);
                    if let Some(mailbox) = at.and_then(|at| self.mailboxes.get(at as usize)) {
                        mailbox.ring();
                    }
                }
            }
            // From the time at which it should have been looked: when this thread is late, because the
            // whole process was stopped, then so was the reading.
            while self.lag_at <= now {
                self.look_at_lag(self.lag_at);
                self.lag_at += self.pause();
            }
            let due = self.cursors.iter().map(SendCursor::next_due).min();
            let next = due.unwrap_or(self.lag_at).min(self.lag_at);
            let sleep = Duration::from_nanos(next.saturating_sub(self.clock.now()));
            thread::park_timeout(sleep.min(SLEEP_MAX));
        }
    }

    fn look_at_lag(&self, at: Nanos) {
        for mailbox in &self.mailboxes {
            // A worker with a full mailbox is asked again in some milliseconds.
            let _ = mailbox.try_push(Mail::App(Command::Lag(at)));
            mailbox.ring();
        }
    }

    /// Exponentially distributed, so that no rhythm of the load is seen better than another.
    #[allow(clippy::cast_sign_loss)] // the logarithm of what is below 1 is negative
    fn pause(&mut self) -> Nanos {
        let uniform: f64 = self.rng.random_range(f64::EPSILON..1.0);
        (-uniform.ln() * nanos(LAG_MEAN) as f64) as Nanos + 1
    }
}
