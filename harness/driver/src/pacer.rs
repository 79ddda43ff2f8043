//! The thread that wakes workers in time to send.
//!
//! The time-out of an event loop has a resolution of 1 ms, which is too coarse for sending. The
//! pacer sleeps to the microsecond, then rings the worker whose client is due. It hands nothing
//! over, since each worker knows its own schedule. So no queue can fill, and ringing a worker that
//! is late anyway costs nothing.
//!
//! At random times the pacer also has the workers measure their read lag.

use std::io;
use std::num::NonZeroU64;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt, SeedableRng};
use rustix::thread::set_current_timer_slack;
use throng_core::net::{Mail, Mailbox};
use throng_harness_model::clock::{Nanos, RunClock, nanos};
use throng_harness_model::plan::Plan;
use throng_harness_model::schedule::SendCursor;
use throng_harness_model::send_schedule::SendSchedule;

use crate::command::Command;

/// Mean time between two measurements of the workers' read lag.
const LAG_MEAN: Duration = Duration::from_millis(10);

/// Longest sleep; bounds the time until the thread notices a request to stop.
const SLEEP_MAX: Duration = Duration::from_millis(100);

/// Delay in nanoseconds by which the kernel may end a sleep of the pacer.
const SLACK: NonZeroU64 = NonZeroU64::MIN;

/// Handle of the pacer thread.
#[derive(Debug)]
pub struct Pacer {
    thread: JoinHandle<()>,
    stop: Arc<AtomicBool>,
}

impl Pacer {
    /// Starts the thread, which rings workers for the messages of `warmup` and `counted`.
    /// `mailboxes` belong to the workers of the plan from number `first` on.
    pub fn start(
        plan: &Plan,
        warmup: &Arc<SendSchedule>,
        counted: &Arc<SendSchedule>,
        mailboxes: Vec<Arc<Mailbox<Command>>>,
        first: u32,
    ) -> io::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let cursor = |traffic: &Arc<_>, schedule: &Arc<_>| {
            SendCursor::new(Arc::clone(traffic), Arc::clone(schedule), 0, 1)
        };
        let pacer = PacerLoop {
            clock: plan.clock,
            cursors: [cursor(&plan.warmup, warmup), cursor(&plan.traffic, counted)],
            workers: plan.workers,
            first,
            mailboxes,
            rng: Xoshiro256PlusPlus::seed_from_u64(plan.seed),
            next_lag: counted.start(),
        };
        let thread = thread::Builder::new().name("pacer".into()).spawn({
            let stop = stop.clone();
            move || pacer.run_until(&stop)
        })?;
        Ok(Self { thread, stop })
    }

    /// Ends the thread.
    pub fn stop(self) {
        self.stop.store(true, Ordering::Release);
        self.thread.thread().unpark();
        // The thread cannot panic unless the standard library fails.
        let _ = self.thread.join();
    }
}

struct PacerLoop {
    clock: RunClock,
    cursors: [SendCursor; 2],
    /// Workers of the whole plan; `mailboxes` start at number `first`.
    workers: u32,
    first: u32,
    mailboxes: Vec<Arc<Mailbox<Command>>>,
    rng: Xoshiro256PlusPlus,
    /// Time of the next read lag measurement.
    next_lag: Nanos,
}

impl PacerLoop {
    fn run_until(mut self, stop: &AtomicBool) {
        // By default the kernel ends a sleep up to 50 us late, to wake several threads at once. A
        // kernel that refuses costs these 50 us.
        let _ = set_current_timer_slack(Some(SLACK));
        while !stop.load(Ordering::Acquire) {
            let now = self.clock.now();
            for cursor in &mut self.cursors {
                while let Some(due) = cursor.pop(now) {
                    // Workers of other processes are rung by the pacer there.
                    let at = (due.sender % self.workers).checked_sub(self.first);
                    if let Some(mailbox) = at.and_then(|at| self.mailboxes.get(at as usize)) {
                        mailbox.ring();
                    }
                }
            }
            // Measured from the intended time: when the whole process was stopped, this thread is
            // late, and reading was late too.
            while self.next_lag <= now {
                self.measure_lag(self.next_lag);
                self.next_lag += self.lag_pause();
            }
            let due = self.cursors.iter().map(SendCursor::next_due).min();
            let next = due.unwrap_or(self.next_lag).min(self.next_lag);
            let sleep = Duration::from_nanos(next.saturating_sub(self.clock.now()));
            thread::park_timeout(sleep.min(SLEEP_MAX));
        }
    }

    fn measure_lag(&self, at: Nanos) {
        for mailbox in &self.mailboxes {
            // A worker whose mailbox is full is asked again in some milliseconds.
            let _ = mailbox.try_push(Mail::App(Command::MeasureReadLag(at)));
            mailbox.ring();
        }
    }

    /// Exponentially distributed, so that sampling does not favor any period of the load.
    #[allow(clippy::cast_sign_loss)] // the logarithm of a number below 1 is negative
    fn lag_pause(&mut self) -> Nanos {
        let uniform: f64 = self.rng.random_range(f64::EPSILON..1.0);
        (-uniform.ln() * nanos(LAG_MEAN) as f64) as Nanos + 1
    }
}
