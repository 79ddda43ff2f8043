//! The lane of requests that hash a password: fair to the addresses of clients, and without hashes
//! whose requests have expired.
//!
//! Addresses take turns. Of one address, the session that has tried least goes first. So guessers
//! delay neither players elsewhere nor those behind the same router, once they have tried more
//! often. The lane knows the time that a hash takes, and refuses at arrival what would end too
//! late.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::request::{Job, Refusal};

/// Weight of one hash in the average of their times.
const WEIGHT: u32 = 8;

/// A bounded lane of jobs.
pub(super) struct FairLane<T> {
    capacity: usize,
    state: Mutex<State<T>>,
}

type Address = [u8; 16];

struct State<T> {
    /// Only addresses with jobs, so that the number of jobs bounds the number of addresses.
    backlogs: HashMap<Address, Backlog<T>>,
    /// Addresses by the number of their next turn.
    turns: BTreeMap<u64, Address>,
    /// Addresses by their number of jobs.
    sizes: BTreeSet<(usize, Address)>,
    /// The latest number of a turn or a job.
    last: u64,
    jobs: usize,
    /// Average time of a hash, with the calls of the database around it; zero until one has ended.
    hash_time: Duration,
}

/// Jobs of one address.
struct Backlog<T> {
    turn: u64,
    /// By the attempts of their session, then by arrival.
    jobs: BTreeMap<(u32, u64), Waiting<T>>,
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

#[derive(Clone, Copy)]
enum End {
    First,
    Last,
}

impl<T> FairLane<T> {
    /// Creates a lane for `capacity` jobs, at least one.
    pub(super) fn new(capacity: usize) -> Self {
        let state = State {
            backlogs: HashMap::new(),
            turns: BTreeMap::new(),
            sizes: BTreeSet::new(),
            last: 0,
            jobs: 0,
            hash_time: Duration::ZERO,
        };
        Self { capacity: capacity.max(1), state: Mutex::new(state) }
    }

    /// Adds a job, which `threads` threads are there to execute. Returns a job that has no place in
    /// return: the last of this address if it would end too late, or the last of the address with
    /// the most jobs if the lane is full.
    pub(super) fn push(&self, job: Job<T>, threads: usize, now: Instant) -> Result<(), (Refusal, Job<T>)> {
        let mut state = self.state.lock();
        let address = job.origin.address;
        state.insert(job, now);
        let (refusal, victim) = if !state.last_is_in_time(&address, threads, now) {
            (Refusal::Late, address)
        } else if state.jobs > self.capacity {
            (Refusal::Full, state.largest(address))
        } else {
            return Ok(());
        };
        state.remove(victim, End::Last).map_or(Ok(()), |victim| Err((refusal, victim.job)))
    }

    /// Removes the next job. A job that is too late costs its address no turn.
    pub(super) fn pop(&self, now: Instant) -> Option<Popped<T>> {
        let mut state = self.state.lock();
        let address = *state.turns.first_key_value()?.1;
        let waiting = state.remove(address, End::First)?;
        if now >= waiting.job.deadline || now + state.hash_time_of(&waiting) > waiting.job.deadline {
            return Some(Popped::Late(waiting.job));
        }
        state.end_turn(address);
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
        self.state.lock().jobs
    }

    /// Returns the number of addresses with jobs.
    pub(super) fn addresses(&self) -> usize {
        self.state.lock().backlogs.len()
    }
}

impl<T> State<T> {
    fn insert(&mut self, job: Job<T>, now: Instant) {
        self.last += 1;
        let number = self.last;
        let address = job.origin.address;
        let turns = &mut self.turns;
        let backlog = self.backlogs.entry(address).or_insert_with(|| {
            turns.insert(number, address);
            Backlog { turn: number, jobs: BTreeMap::new() }
        });
        self.sizes.remove(&(backlog.jobs.len(), address));
        backlog.jobs.insert((job.origin.attempts, number), Waiting { job, since: now });
        self.sizes.insert((backlog.jobs.len(), address));
        self.jobs += 1;
    }

    fn remove(&mut self, address: Address, end: End) -> Option<Waiting<T>> {
        let backlog = self.backlogs.get_mut(&address)?;
        let size = backlog.jobs.len();
        let (_, waiting) = match end {
            End::First => backlog.jobs.pop_first(),
            End::Last => backlog.jobs.pop_last(),
        }?;
        self.jobs -= 1;
        self.sizes.remove(&(size, address));
        if size > 1 {
            self.sizes.insert((size - 1, address));
        } else {
            self.turns.remove(&backlog.turn);
            self.backlogs.remove(&address);
        }
        Some(waiting)
    }

    fn end_turn(&mut self, address: Address) {
        let Some(backlog) = self.backlogs.get_mut(&address) else { return };
        self.turns.remove(&backlog.turn);
        self.last += 1;
        backlog.turn = self.last;
        self.turns.insert(self.last, address);
    }

    /// Returns the address with the most jobs: `newcomer`, if no other has more.
    fn largest(&self, newcomer: Address) -> Address {
        match self.sizes.last() {
            Some((most, largest)) if !self.sizes.contains(&(*most, newcomer)) => *largest,
            _ => newcomer,
        }
    }

    /// Time to reckon with for the hash of a job: half more than the average, as hashes compete for
    /// the processor, but half of the job's own time at most. A job whose turn comes in the first
    /// half is thus begun whatever was measured, and measures anew.
    fn hash_time_of(&self, waiting: &Waiting<T>) -> Duration {
        (self.hash_time * 3 / 2).min(waiting.job.deadline.saturating_duration_since(waiting.since) / 2)
    }

    /// Returns true unless the last job of an address would end too late.
    fn last_is_in_time(&self, address: &Address, threads: usize, now: Instant) -> bool {
        let Some(backlog) = self.backlogs.get(address) else { return true };
        let Some((_, last)) = backlog.jobs.last_key_value() else { return true };
        let own = backlog.jobs.len();
        // Before it, every other address has as many turns as this one, or as many as it has jobs.
        let others = (self.jobs - own).min((self.backlogs.len() - 1).saturating_mul(own));
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
