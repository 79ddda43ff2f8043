//! The queue at the door: requests for the hash of a password wait here, and not at the DB agents,
//! until there is time for them.
//!
//! The agents have at most a *window* of this server's requests at a time. It is as large as their
//! answers of about [`TARGET`] are many, so that their threads are busy and what they have is done
//! in time. A request that an agent refuses for lack of time comes back to its place, and the
//! window closes a little: no client hears of it. The rest waits in the order of the agents' own
//! lanes ([`FairOrder`]), and hears its position, which never rises.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use throng_core::SessionId;
use throng_core::limits::LOGIN_WINDOW_MAX;
use throng_core::wire::packets::{LoginQueued, Origin};

use crate::fair_order::{FairOrder, Place};

/// Time that the agents take for a full window. Less would leave threads idle between an answer and
/// the next request; more only moves the wait to where it is not told.
const TARGET: Duration = Duration::from_millis(500);
/// Least window for each agent, which keeps some threads busy before a rate is known.
const WINDOW_MIN: usize = 8;
/// Pause after a failure, and after a refusal by agents that have nothing of ours any more.
const PAUSE: Duration = Duration::from_millis(250);
/// Wait before a client is told its position for the first time.
const FIRST_TOLD: Duration = Duration::from_millis(250);
/// Interval between two positions that one client is told.
const TOLD_AGAIN: Duration = Duration::from_secs(2);
/// Interval at which positions are counted.
const PASS: Duration = Duration::from_millis(250);
/// Most clients that are told in one pass, unless the queue is so long that all would not be told
/// within the interval.
const TOLD_AT_ONCE: usize = 1000;
/// Time for which requests keep their places while no server is there to take them: an agent or a
/// chat server that starts anew is back sooner.
const PATIENCE: Duration = Duration::from_secs(10);

/// The queue of requests of type `T`, one for each client at most.
#[derive(Debug)]
pub(super) struct Door<T> {
    capacity: usize,
    waiting: FairOrder<(SessionId, T)>,
    seats: HashMap<SessionId, Seat>,
    /// Requests at each agent.
    at_agents: HashMap<SessionId, usize>,
    pace: Pace,
    /// Bound on the window after refusals for lack of time.
    ceiling: Option<usize>,
    /// Time until which nothing is sent, unless an agent serves a request.
    paused_until: Option<Instant>,
    /// Time since which the first request has no server.
    stuck_since: Option<Instant>,
    /// Time of the next pass; none while the queue is empty.
    pass_at: Option<Instant>,
}

/// A request's place in the queue, or the one that it had.
#[derive(Debug, Clone, Copy)]
pub(super) struct Seat {
    place: Place,
    /// The position that the client was told last.
    told: Option<u32>,
    tell_at: Instant,
}

/// A request that goes to an agent.
pub(super) struct Admitted<T> {
    pub(super) agent: SessionId,
    /// For [`Door::put_back`].
    pub(super) seat: Seat,
    pub(super) request: T,
}

impl<T> Door<T> {
    /// Creates a queue for `capacity` requests.
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            capacity,
            waiting: FairOrder::new(),
            seats: HashMap::new(),
            at_agents: HashMap::new(),
            pace: Pace::default(),
            ceiling: None,
            paused_until: None,
            stuck_since: None,
            pass_at: None,
        }
    }

    /// Adds a client's request. Returns one in return if the queue is full: the last one of the
    /// address with the most requests.
    pub(super) fn arrive(
        &mut self,
        client: SessionId,
        origin: Origin,
        request: T,
        now: Instant,
    ) -> Option<(SessionId, T)> {
        let place = self.waiting.insert(origin.address, origin.attempts, (client, request));
        self.seats.insert(client, Seat { place, told: None, tell_at: now + FIRST_TOLD });
        self.pass_at.get_or_insert(now + PASS);
        if self.waiting.len() <= self.capacity {
            return None;
        }
        let victim = self.waiting.pop_last(&self.waiting.largest(origin.address));
        self.gone(victim, now)
    }

    /// Returns the next request.
    pub(super) fn first(&self) -> Option<&T> {
        self.waiting.first().map(|(_, request)| request)
    }

    /// Removes the next request, which no agent gets.
    pub(super) fn turn_away(&mut self, now: Instant) -> Option<(SessionId, T)> {
        // It cost nothing, and so its address no turn.
        let first = self.waiting.pop_first().map(|(_, first)| first);
        self.gone(first, now)
    }

    /// Removes the request of a client that has left.
    pub(super) fn leave(&mut self, client: SessionId, now: Instant) -> Option<T> {
        let seat = self.seats.get(&client)?;
        let left = self.waiting.remove(&seat.place);
        self.gone(left, now).map(|(_, request)| request)
    }

    fn gone(&mut self, gone: Option<(SessionId, T)>, now: Instant) -> Option<(SessionId, T)> {
        let (client, request) = gone?;
        self.seats.remove(&client);
        self.look(now);
        Some((client, request))
    }

    /// Removes the next request for the one of `agents` that has the fewest, unless these have a
    /// full window. An agent that hangs thus keeps its share, and no more.
    pub(super) fn admit(&mut self, agents: &[SessionId], now: Instant) -> Option<Admitted<T>> {
        self.look(now);
        let is_paused = self.paused_until.is_some_and(|until| until > now);
        if is_paused || self.at_agents() >= self.window(agents.len()) {
            return None;
        }
        let count = |agent| self.at_agents.get(agent).copied().unwrap_or_default();
        let agent = *agents.iter().min_by_key(|agent| count(agent))?;
        let (place, (client, request)) = self.waiting.pop_first()?;
        self.waiting.end_turn(place.address());
        let seat = self.seats.remove(&client)?;
        *self.at_agents.entry(agent).or_default() += 1;
        self.look(now);
        Some(Admitted { agent, seat: Seat { place, ..seat }, request })
    }

    /// Takes account of a request that an agent has served.
    pub(super) fn served(&mut self, agent: SessionId, now: Instant) {
        self.ended(agent);
        self.paused_until = None;
        self.pace.served();
        self.look(now);
    }

    /// Takes account of a request that an agent has not served, and that ends so. If all fail at
    /// once, the queue is not to run through their hands.
    pub(super) fn failed(&mut self, agent: SessionId, now: Instant) {
        self.ended(agent);
        if self.waiting.len() > 0 {
            self.paused_until = Some(now + PAUSE);
        }
    }

    /// Takes account of a request for which an agent had no time.
    pub(super) fn refused(&mut self, agent: SessionId, now: Instant) {
        self.ended(agent);
        let left = self.at_agents();
        self.ceiling = Some(self.ceiling.map_or(left, |ceiling| ceiling.min(left)).max(1));
        self.pace.refused();
        if left == 0 {
            self.paused_until = Some(now + PAUSE);
        }
    }

    /// Puts a request back for which an agent had no time.
    pub(super) fn put_back(&mut self, client: SessionId, seat: Seat, request: T, now: Instant) {
        self.waiting.put_back(seat.place, (client, request));
        self.seats.insert(client, seat);
        self.pass_at.get_or_insert(now + PASS);
    }

    fn ended(&mut self, agent: SessionId) {
        if let Some(count) = self.at_agents.get_mut(&agent) {
            *count -= 1;
            if *count == 0 {
                self.at_agents.remove(&agent);
            }
        }
    }

    /// Returns true while the first request, which has no server, keeps its place.
    pub(super) fn is_patient(&mut self, now: Instant) -> bool {
        now < *self.stuck_since.get_or_insert(now) + PATIENCE
    }

    /// Notes that the first request has a server.
    pub(super) fn has_server(&mut self) {
        self.stuck_since = None;
    }

    /// Returns the number of requests in the queue.
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Returns true if the request of this client is in the queue.
    pub(super) fn contains(&self, client: SessionId) -> bool {
        self.seats.contains_key(&client)
    }

    /// Returns the number of requests at the agents.
    pub(super) fn at_agents(&self) -> usize {
        self.at_agents.values().sum()
    }

    /// Returns the number of requests that so many agents may have at a time.
    pub(super) fn window(&self, agents: usize) -> usize {
        let least = (WINDOW_MIN * agents).min(LOGIN_WINDOW_MAX);
        let wanted = self.pace.rate.map_or(0, |rate| rate * TARGET.as_millis() as u64 / MILLION);
        let wanted = usize::try_from(wanted).unwrap_or(usize::MAX).clamp(least, LOGIN_WINDOW_MAX);
        wanted.min(self.ceiling.unwrap_or(LOGIN_WINDOW_MAX))
    }

    /// Measures the pace while there is a queue; without one, answers are as many as requests. The
    /// window opens again as long as no agent refuses.
    fn look(&mut self, now: Instant) {
        if self.waiting.len() == 0 {
            (self.pace.slice, self.ceiling, self.stuck_since, self.pass_at) = (None, None, None, None);
        } else if self.pace.look(now) {
            let opened = |ceiling: usize| (ceiling + (ceiling / 8).max(1)).min(LOGIN_WINDOW_MAX);
            self.ceiling = self.ceiling.map(opened);
        }
    }

    /// Returns the clients that are due to hear their positions, and what they hear.
    pub(super) fn tell(&mut self, now: Instant) -> Vec<(SessionId, LoginQueued)> {
        self.look(now);
        if self.pass_at.is_none_or(|at| at > now) {
            return Vec::new();
        }
        self.pass_at = Some(now + PASS);
        let passes = TOLD_AGAIN.as_millis() / PASS.as_millis();
        let most = TOLD_AT_ONCE.max(self.len().div_ceil(passes as usize));
        let rate = self.pace.estimate(now);
        let mut told = Vec::new();
        for (position, (client, _)) in (1_u32..).zip(self.waiting.in_order()) {
            let Some(seat) = self.seats.get_mut(client).filter(|seat| seat.tell_at <= now) else { continue };
            let shown = seat.told.map_or(position, |told| told.min(position));
            (seat.told, seat.tell_at) = (Some(shown), now + TOLD_AGAIN);
            let wait_ms = u32::try_from(u64::from(position) * MILLION / rate).unwrap_or(u32::MAX);
            told.push((*client, LoginQueued { position: shown, wait_ms }));
            if told.len() == most {
                break;
            }
        }
        told
    }

    /// Returns the time at which something is due, if nothing happens before.
    pub(super) fn next_deadline(&self, now: Instant) -> Option<Instant> {
        if self.waiting.len() == 0 {
            return None;
        }
        let paused = self.paused_until.filter(|until| *until > now);
        let patience = self.stuck_since.map(|since| since + PATIENCE);
        [self.pass_at, paused, patience].into_iter().flatten().min()
    }
}

/// The rate at which agents serve requests, in requests per 1,000 seconds.
#[derive(Debug, Default)]
struct Pace {
    /// None until the first slice has ended.
    rate: Option<u64>,
    slice: Option<Slice>,
}

/// Milliseconds in 1,000 seconds.
const MILLION: u64 = 1_000_000;

/// A time for which requests are counted.
#[derive(Debug)]
struct Slice {
    since: Instant,
    served: u64,
    is_refused: bool,
}

/// Shortest slice, in which so many requests must have been served, unless it is the longest.
const SLICE_MIN: Duration = Duration::from_millis(250);
const SLICE_SERVED: u64 = 8;
const SLICE_MAX: Duration = Duration::from_secs(2);
/// Weight of the rate before against that of one slice.
const WEIGHT: u64 = 3;
/// Rate of estimates before one is known, and the least one.
const RATE_GUESS: u64 = 20_000;
const RATE_LEAST: u64 = 100;

impl Slice {
    fn rate(&self, now: Instant) -> u64 {
        let time = now.saturating_duration_since(self.since).as_millis() as u64;
        self.served * MILLION / time.max(1)
    }
}

impl Pace {
    fn served(&mut self) {
        if let Some(slice) = &mut self.slice {
            slice.served += 1;
        }
    }

    fn refused(&mut self) {
        if let Some(slice) = &mut self.slice {
            slice.is_refused = true;
        }
    }

    /// Ends the slice if it is long enough. Returns true if no agent has refused a request in it.
    fn look(&mut self, now: Instant) -> bool {
        let next = || Slice { since: now, served: 0, is_refused: false };
        let slice = self.slice.get_or_insert_with(next);
        let time = now.saturating_duration_since(slice.since);
        if time < SLICE_MIN || slice.served < SLICE_SERVED && time < SLICE_MAX {
            return false;
        }
        let rate = slice.rate(now);
        self.rate = Some(self.rate.map_or(rate, |before| (before * WEIGHT + rate) / (WEIGHT + 1)));
        !std::mem::replace(slice, next()).is_refused
    }

    /// Returns the rate to reckon with, which is never zero.
    fn estimate(&self, now: Instant) -> u64 {
        // The first slice has some answers already.
        let first = self.slice.as_ref().filter(|slice| slice.served > 0).map(|slice| slice.rate(now));
        self.rate.or(first).unwrap_or(RATE_GUESS).max(RATE_LEAST)
    }
}

#[cfg(test)]
mod tests;
