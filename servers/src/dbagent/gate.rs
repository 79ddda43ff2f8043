//! The gate through which DB threads connect: one at a time, and with growing pauses after
//! failures.
//!
//! To a database server a new connection is its most expensive request. Threads that all connect at
//! once, give up together and begin again together can keep a slow server busy for ever.

use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

/// Pause after the first failure. Each further one doubles it, up to [`BACKOFF_MAX`]. Pauses are
/// shortened at random, so that several agents do not connect at the same moment.
const BACKOFF_MIN: Duration = Duration::from_millis(10);

/// Longest pause between two attempts.
pub(super) const BACKOFF_MAX: Duration = Duration::from_millis(500);

/// Time without a failure after which the next pause is the shortest again. A success alone does
/// not shorten it: a read-only server accepts every connection.
const BACKOFF_RESET: Duration = Duration::from_secs(2);

#[derive(Default)]
pub(super) struct Gate {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// Number of the pass that is out, and the time from which it no longer counts.
    pass: Option<(u64, Instant)>,
    passes: u64,
    failures: u32,
    failed_at: Option<Instant>,
    /// Earliest time of the next attempt.
    not_before: Option<Instant>,
}

impl State {
    fn fail(&mut self, now: Instant) {
        if self.failed_at.is_none_or(|at| now.duration_since(at) > BACKOFF_RESET) {
            self.failures = 0;
        }
        let pause = BACKOFF_MIN.saturating_mul(1 << self.failures.min(16)).min(BACKOFF_MAX);
        self.failures += 1;
        self.failed_at = Some(now);
        self.not_before = Some(now + pause.mul_f64(rand::random_range(0.5..1.0)));
    }
}

/// The right to connect, until it is dropped.
pub(super) struct Pass<'a> {
    gate: &'a Gate,
    number: u64,
}

impl Gate {
    /// Waits for a pass, until `until` at most or until `stop` returns true. A thread that hangs
    /// keeps its pass for no more than `limit`.
    pub(super) fn enter(&self, until: Instant, limit: Duration, stop: impl Fn() -> bool) -> Option<Pass<'_>> {
        let mut state = self.state.lock();
        loop {
            let now = Instant::now();
            let free_at = [state.pass.map(|(_, end)| end), state.not_before].into_iter().flatten().max();
            let Some(free_at) = free_at.filter(|at| *at > now) else {
                state.passes += 1;
                let number = state.passes;
                state.pass = Some((number, now + limit));
                return Some(Pass { gate: self, number });
            };
            if now >= until || stop() {
                return None;
            }
            self.changed.wait_until(&mut state, free_at.min(until));
        }
    }

    /// Makes the next attempt wait: the last connection was of no use.
    pub(super) fn fail(&self) {
        self.state.lock().fail(Instant::now());
    }

    /// Makes waiting threads ask `stop` again.
    pub(super) fn wake(&self) {
        let _state = self.state.lock();
        self.changed.notify_all();
    }
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        let mut state = self.gate.state.lock();
        if state.pass.is_some_and(|(number, _)| number == self.number) {
            state.pass = None;
            self.gate.changed.notify_all();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_mins(1);

    fn try_enter(gate: &Gate, limit: Duration) -> Option<Pass<'_>> {
        gate.enter(Instant::now(), limit, || false)
    }

    #[test]
    fn one_thread_at_a_time_has_a_pass() {
        let gate = Gate::default();
        let pass = try_enter(&gate, LONG).unwrap();
        assert!(try_enter(&gate, LONG).is_none());
        assert!(gate.enter(Instant::now() + LONG, LONG, || true).is_none(), "the end of the pool is noticed");
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| gate.enter(Instant::now() + LONG, LONG, || false).is_some());
            drop(pass);
            assert!(waiting.join().unwrap());
        });
    }

    #[test]
    fn a_thread_that_hangs_does_not_keep_the_others_out() {
        let gate = Gate::default();
        let hung = try_enter(&gate, Duration::ZERO).unwrap();
        let pass = try_enter(&gate, LONG).unwrap();
        // Its return takes nothing from the thread that has the pass now.
        drop(hung);
        assert!(try_enter(&gate, LONG).is_none());
        drop(pass);
        assert!(try_enter(&gate, LONG).is_some());
    }

    #[test]
    fn pauses_grow_and_a_quiet_time_makes_them_short_again() {
        let mut state = State::default();
        let mut now = Instant::now();
        let mut pause = |state: &mut State, after: Duration| {
            now += after;
            state.fail(now);
            state.not_before.unwrap() - now
        };
        assert!(pause(&mut state, Duration::ZERO) <= BACKOFF_MIN);
        for _ in 0..100 {
            assert!(pause(&mut state, Duration::from_millis(1)) <= BACKOFF_MAX);
        }
        assert!(pause(&mut state, Duration::from_millis(1)) >= BACKOFF_MAX / 2);
        assert!(pause(&mut state, BACKOFF_RESET * 2) <= BACKOFF_MIN);
    }
}
