//! The lane of requests that hash a password: fair to the addresses of clients, and without hashes
//! whose requests have expired.
//!
//! Addresses take turns. Of one address, the session that has tried least goes first. So guessers
//! delay neither players elsewhere nor those behind the same router, once they have tried more
//! often. The lane knows the time that a hash takes, and refuses at arrival what would end too
//! late.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::request::{Job, Refusal};
use crate::fair_order::{Address, FairOrder};

/// Weight of one hash in the average of their times.
const WEIGHT: u32 = 8;

/// A bounded lane of jobs.
pub(super) struct FairLane<T> {
    capacity: usize,
    state: Mutex<State<T>>,
}

struct State<T> {
    waiting: FairOrder<Waiting<T>>,
    /// Average time of a hash, with the calls of the database around it; zero until one has ended.
    hash_time: Duration,
}

struct Waiting<T> {
    job: Job<T>,
    since: Instant,
}

/// A job that has left the lane.
pub(super) enum Popped<T> {
    /// It can be done in time.
    Due(Job<T>),
    /// Its hash would end after its deadline.
    Late(Job<T>),
}

impl<T> FairLane<T> {
    /// Creates a lane for `capacity` jobs, at least one.
    pub(super) fn new(capacity: usize) -> Self {
        let state = State { waiting: FairOrder::new(), hash_time: Duration::ZERO };
        Self { capacity: capacity.max(1), state: Mutex::new(state) }
    }

    /// Adds a job, which `threads` threads are there to execute. Returns a job that has no place in
    /// return: the last of this address if it would end too late, or the last of the address with
    /// the most jobs if the lane is full.
    pub(super) fn push(&self, job: Job<T>, threads: usize, now: Instant) -> Result<(), (Refusal, Job<T>)> {
        let mut state = self.state.lock();
        let (address, attempts) = (job.origin.address, job.origin.attempts);
        state.waiting.insert(address, attempts, Waiting { job, since: now });
        let (refusal, victim) = if !state.last_is_in_time(&address, threads, now) {
            (Refusal::Late, address)
        } else if state.waiting.len() > self.capacity {
            (Refusal::Full, state.waiting.largest(address))
        } else {
            return Ok(());
        };
        state.waiting.pop_last(&victim).map_or(Ok(()), |victim| Err((refusal, victim.job)))
    }

    /// Removes the next job. A job that is too late costs its address no turn.
    pub(super) fn pop(&self, now: Instant) -> Option<Popped<T>> {
        let mut state = self.state.lock();
        let (place, waiting) = state.waiting.pop_first()?;
        if now >= waiting.job.deadline || now + state.hash_time_of(&waiting) > waiting.job.deadline {
            return Some(Popped::Late(waiting.job));
        }
        state.waiting.end_turn(place.address());
        Some(Popped::Due(waiting.job))
    }

    /// Takes account of the time that a hash took.
    pub(super) fn measured(&self, time: Duration) {
        self.state.lock().measured(time);
    }

    /// Returns the average time of a hash; zero until one has ended.
    pub(super) fn hash_time(&self) -> Duration {
        self.state.lock().hash_time
    }

    /// Returns the number of jobs.
    pub(super) fn len(&self) -> usize {
        self.state.lock().waiting.len()
    }

    /// Returns the number of addresses with jobs.
    pub(super) fn addresses(&self) -> usize {
        self.state.lock().waiting.addresses()
    }
}

impl<T> State<T> {
    /// Time to reckon with for the hash of a job: half more than the average, as hashes compete for
    /// the processor, but half of the job's own time at most. A job whose turn comes in the first
    /// half is thus begun whatever was measured, and measures anew.
    fn hash_time_of(&self, waiting: &Waiting<T>) -> Duration {
        (self.hash_time * 3 / 2).min(waiting.job.deadline.saturating_duration_since(waiting.since) / 2)
    }

    /// Returns true unless the last job of an address would end too late.
    fn last_is_in_time(&self, address: &Address, threads: usize, now: Instant) -> bool {
        let Some((last, own)) = self.waiting.last_of(address) else { return true };
        // Before it, every other address has as many turns as this one, or as many as it has jobs.
        let others = (self.waiting.len() - own).min((self.waiting.addresses() - 1).saturating_mul(own));
        let before = u32::try_from(own - 1 + others).unwrap_or(u32::MAX);
        let hash = self.hash_time_of(last);
        let wait = self.hash_time.min(hash).saturating_mul(before)
            / u32::try_from(threads).unwrap_or(u32::MAX).max(1);
        let left = last.job.deadline.saturating_duration_since(now);
        // Only the hopeless are refused: a job that turns out to be late costs no hash either.
        wait.saturating_add(hash) <= left
    }

    fn measured(&mut self, time: Duration) {
        self.hash_time = if self.hash_time.is_zero() {
            time
        } else {
            // One call that hung says little about the next.
            let time = time.min(self.hash_time * 4);
            (self.hash_time * (WEIGHT - 1) + time) / WEIGHT
        };
    }
}

#[cfg(test)]
mod tests;
