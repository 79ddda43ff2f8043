//! Clients that read slowly, or not at all.

use throng_core::net::Sessions;
use throng_core::wire::CloseReason;
use throng_core::wire::packets::{ChatGap, PingRequest, Scope};
use throng_harness_model::audiences::WORLD;
use throng_harness_model::clock::{NEVER, Nanos};
use throng_harness_model::plan::ImpairmentKind;

use super::Worker;
use super::client::Stay;
use super::rooms::FENCE;

/// The receive buffer of a client that does not read, in bytes. The system's default is megabytes,
/// and would hide the client from the server for minutes.
const RECEIVE_BUFFER: usize = 16 * 1024;

/// The receive buffer once the client reads again: the backlog would take minutes through a small
/// one.
const WIDE_BUFFER: usize = 1024 * 1024;

/// The interval at which slow clients get a budget for reading, in nanoseconds.
const TICK: Nanos = 20_000_000;

/// Ticks per second.
const TICKS: i64 = 50;

/// Approximate size of a message without its text, in bytes.
const OVERHEAD: usize = 110;

/// A worker's impaired clients.
#[derive(Debug, Default)]
pub(super) struct Impaired {
    /// The start of the impairment; none before the messages begin.
    pub(super) from: Option<Nanos>,
    has_begun: bool,
    /// The end of the deaf clients' impairment.
    until: Nanos,
    /// The next refill of the slow clients' budgets.
    tick: Nanos,
    deaf: Vec<u32>,
    /// Slow clients and the bytes that each may still read.
    slow: Vec<(u32, i64)>,
}

impl Impaired {
    /// The time of the next work.
    pub(super) fn next_due(&self) -> Nanos {
        match self.from {
            None => NEVER,
            Some(from) if !self.has_begun => from,
            Some(_) => self.until.min(self.tick),
        }
    }
}

impl Worker {
    /// Schedules the impairment for `from`, if the plan has any.
    pub(super) fn impair_from(&mut self, from: Nanos) {
        if !self.plan.impairment.is_none() {
            self.impaired.from = Some(from);
        }
    }

    pub(super) fn impaired_due(&mut self, sessions: &mut Sessions, now: Nanos) {
        if self.impaired.next_due() > now {
            return;
        }
        let impairment = self.plan.impairment;
        if !std::mem::replace(&mut self.impaired.has_begun, true) {
            self.impair(sessions, now);
        }
        if self.impaired.until <= now {
            self.impaired.until = NEVER;
            for place in &self.impaired.deaf {
                if let Some(session) = self.clients[*place as usize].chat {
                    sessions.limit_receive_buffer(session, WIDE_BUFFER);
                    sessions.pause_reading(session, false);
                }
            }
        }
        if self.impaired.tick <= now {
            self.impaired.tick = now + TICK;
            let more = i64::from(impairment.slow_rate) / TICKS;
            for (place, budget) in &mut self.impaired.slow {
                *budget = (*budget + more).min(i64::from(impairment.slow_rate));
                if let (true, Some(session)) = (*budget > 0, self.clients[*place as usize].chat) {
                    sessions.pause_reading(session, false);
                }
            }
        }
    }

    fn impair(&mut self, sessions: &mut Sessions, now: Nanos) {
        let plan = self.plan.clone();
        self.impaired.until = plan.impairment.deaf_for.map_or(NEVER, |time| now.saturating_add(time));
        self.impaired.tick = if plan.impairment.slow > 0 { now } else { NEVER };
        for place in 0..self.clients.len() {
            let Some(kind) = plan.impairment.kind(self.number(place), plan.clients) else { continue };
            let Some(session) = self.clients[place].chat.filter(|_| self.clients[place].is_present()) else {
                continue;
            };
            self.results.ledger.impair(place);
            self.clients[place].is_impaired = true;
            sessions.limit_receive_buffer(session, RECEIVE_BUFFER);
            match kind {
                ImpairmentKind::Deaf => {
                    self.results.impaired.deaf += 1;
                    self.impaired.deaf.push(place as u32);
                    sessions.pause_reading(session, true);
                }
                ImpairmentKind::Slow => {
                    self.results.impaired.slow += 1;
                    self.impaired.slow.push((place as u32, 0));
                }
            }
        }
    }

    /// Counts an impaired client that has lost its session, an expected outcome.
    pub(super) fn impaired_closed(&mut self, reason: CloseReason) {
        self.results.impaired.closed += 1;
        *self.results.impaired.reasons.entry(reason.name().to_owned()).or_default() += 1;
    }

    /// Charges a message to a slow client's budget.
    pub(super) fn read_by_impaired(&mut self, sessions: &mut Sessions, place: usize, text: usize) {
        let Some((_, budget)) = self.impaired.slow.iter_mut().find(|(slow, _)| *slow as usize == place)
        else {
            return;
        };
        *budget -= i64::try_from(text + OVERHEAD).unwrap_or(i64::MAX);
        if let (true, Some(session)) = (*budget <= 0, self.clients[place].chat) {
            sessions.pause_reading(session, true);
        }
    }

    /// Has impaired clients read their whole backlog, so that each learns if its session is alive.
    pub(super) fn resume_impaired(&mut self, sessions: &mut Sessions) {
        (self.impaired.until, self.impaired.tick) = (NEVER, NEVER);
        let slow = std::mem::take(&mut self.impaired.slow);
        let all: Vec<u32> =
            self.impaired.deaf.iter().copied().chain(slow.iter().map(|(place, _)| *place)).collect();
        for place in all {
            let Some(session) = self.clients[place as usize].chat else { continue };
            sessions.limit_receive_buffer(session, WIDE_BUFFER);
            sessions.pause_reading(session, false);
            self.clients[place as usize].is_catching_up = true;
            self.totals.catching_up += 1;
            self.request(sessions, place as usize, PingRequest { token: FENCE });
        }
        self.totals.resumed = 1;
    }

    /// The client has read its backlog, or has lost its session; false if it was not catching up.
    pub(super) fn finish_catching_up(&mut self, place: usize) -> bool {
        let is_catching_up = std::mem::replace(&mut self.clients[place].is_catching_up, false);
        self.totals.catching_up -= u64::from(is_catching_up);
        is_catching_up
    }

    /// Records a gap that the server has announced to a client.
    pub(super) fn gap_received(&mut self, place: usize, gap: &ChatGap) {
        if self.messages.is_frozen {
            return;
        }
        let audience = match (gap.scope, self.clients[place].stay) {
            (Scope::World, _) => Some(WORLD),
            (
                Scope::Channel,
                Stay::In { channel, .. } | Stay::Leaving { channel, .. } | Stay::Joining(channel),
            ) => Some(self.plan.audiences.in_channel(channel)),
            _ => None,
        };
        self.results.ledger.gap(place, audience, gap.missed);
    }
}
