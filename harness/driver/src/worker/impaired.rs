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

/// Bytes that the system holds for a client that does not read: without a limit it takes megabytes, and the server
/// would not notice for minutes.
const RECEIVE_BUFFER: usize = 16 * 1024;

/// And once it reads again: through a small one it would take minutes to come to the end.
const WIDE_BUFFER: usize = 1024 * 1024;

/// How often slow clients get leave to read on, in nanoseconds.
const TICK: Nanos = 20_000_000;

/// How often that is in a second.
const TICKS: i64 = 50;

/// Bytes of a message besides its text, roughly.
const OVERHEAD: usize = 110;

/// A worker's impaired clients.
#[derive(Debug, Default)]
pub(super) struct Impaired {
    /// From when on they are; none before the talking.
    pub(super) from: Option<Nanos>,
    has_begun: bool,
    /// When deaf ones hear again.
    until: Nanos,
    /// When slow ones get leave to read on.
    tick: Nanos,
    deaf: Vec<u32>,
    /// And the bytes that each may still read.
    slow: Vec<(u32, i64)>,
}

impl Impaired {
    /// When there is something to do.
    pub(super) fn next_due(&self) -> Nanos {
        match self.from {
            None => NEVER,
            Some(from) if !self.has_begun => from,
            Some(_) => self.until.min(self.tick),
        }
    }
}

impl Worker {
    /// Clients are impaired from `from` on.
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
            let Some(session) = self.clients[place].chat.filter(|_| self.clients[place].step.is_present())
            else {
                continue;
            };
            self.harvest.tally.impair(place);
            self.clients[place].is_impaired = true;
            sessions.limit_receive_buffer(session, RECEIVE_BUFFER);
            match kind {
                ImpairmentKind::Deaf => {
                    self.harvest.impaired.deaf += 1;
                    self.impaired.deaf.push(place as u32);
                    sessions.pause_reading(session, true);
                }
                ImpairmentKind::Slow => {
                    self.harvest.impaired.slow += 1;
                    self.impaired.slow.push((place as u32, 0));
                }
            }
        }
    }

    /// An impaired client has lost its session, which is what may become of it.
    pub(super) fn impaired_closed(&mut self, reason: CloseReason) {
        self.harvest.impaired.closed += 1;
        *self.harvest.impaired.reasons.entry(reason.name().to_owned()).or_default() += 1;
    }

    /// An impaired client has read a message.
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

    /// Impaired clients read all that there is, and so find out whether they are still there.
    pub(super) fn wake_impaired(&mut self, sessions: &mut Sessions) {
        (self.impaired.until, self.impaired.tick) = (NEVER, NEVER);
        let slow = std::mem::take(&mut self.impaired.slow);
        let all: Vec<u32> =
            self.impaired.deaf.iter().copied().chain(slow.iter().map(|(place, _)| *place)).collect();
        for place in all {
            let Some(session) = self.clients[place as usize].chat else { continue };
            sessions.limit_receive_buffer(session, WIDE_BUFFER);
            sessions.pause_reading(session, false);
            self.clients[place as usize].is_waking = true;
            self.totals.asleep += 1;
            sessions.send(session, &PingRequest { token: FENCE }.into());
        }
        self.totals.woken = 1;
    }

    /// An impaired client has read everything, or is gone.
    pub(super) fn awake(&mut self, place: usize) -> bool {
        let is_waking = std::mem::replace(&mut self.clients[place].is_waking, false);
        self.totals.asleep -= u64::from(is_waking);
        is_waking
    }

    /// A client has been told that it missed messages.
    pub(super) fn missed(&mut self, place: usize, gap: &ChatGap) {
        if !self.counting {
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
        self.harvest.tally.gap(place, audience, gap.missed);
    }
}
