//! The thread that wakes the honest clients' event loop in time, since the loop's own time-out has
//! a resolution of 1 ms. It also has the loop measure its read lag, at random times.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt, SeedableRng};
use throng_core::net::{Mail, Mailbox};
use throng_harness_model::clock::{Nanos, RunClock};

use super::{Command, Talk};

/// Mean time between two measurements of the read lag, in nanoseconds.
const LAG_MEAN: f64 = 5e6;

/// Longest sleep.
const SLEEP_MAX: Duration = Duration::from_millis(100);

/// A running pacer; it ends by itself after the phase, or when dropped.
pub(crate) struct Pacer {
    thread: Option<JoinHandle<()>>,
    stop: Arc<AtomicBool>,
}

impl Pacer {
    pub(crate) fn start(
        clock: RunClock,
        talk: Talk,
        seed: u64,
        mailbox: Arc<Mailbox<Command>>,
    ) -> io::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let thread = thread::Builder::new().name("pacer".into()).spawn({
            let stop = stop.clone();
            move || pace(clock, talk, seed, &mailbox, &stop)
        })?;
        Ok(Self { thread: Some(thread), stop })
    }
}

impl Drop for Pacer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // The thread cannot panic unless the standard library fails.
            let _ = thread.join();
        }
    }
}

fn pace(clock: RunClock, talk: Talk, seed: u64, mailbox: &Mailbox<Command>, stop: &AtomicBool) {
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
    let (mut message, mut newcomer) = (talk.message_at(0), talk.newcomer_at(0));
    let mut lag = talk.count_from;
    while !stop.load(Ordering::Acquire) {
        let now = clock.now();
        if now >= talk.until {
            // The loop notes the end of the phase.
            mailbox.ring();
            return;
        }
        if message <= now || newcomer <= now {
            mailbox.ring();
        }
        let after = |at: Nanos, every: Nanos| {
            if at > now { at } else { at.saturating_add(((now - at) / every + 1).saturating_mul(every)) }
        };
        message = after(message, talk.interval);
        newcomer = after(newcomer, talk.newcomer_interval);
        // Measured from the intended time: a process that was stopped has read late too.
        while lag <= now {
            // A loop whose mailbox is full is asked again in some milliseconds.
            let _ = mailbox.try_push(Mail::App(Command::Lag(lag)));
            mailbox.ring();
            lag += pause(&mut rng);
        }
        let next = message.min(newcomer).min(lag).min(talk.until);
        let sleep = Duration::from_nanos(next.saturating_sub(clock.now()));
        thread::park_timeout(sleep.min(SLEEP_MAX));
    }
}

/// Exponentially distributed, so that sampling favors no period of the load.
#[allow(clippy::cast_sign_loss)] // the logarithm of a number below 1 is negative
fn pause(rng: &mut Xoshiro256PlusPlus) -> Nanos {
    let uniform: f64 = rng.random_range(f64::EPSILON..1.0);
    (-uniform.ln() * LAG_MEAN) as Nanos + 1
}
