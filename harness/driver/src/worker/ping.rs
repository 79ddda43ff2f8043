//! Pings: how the server's clock stands to ours, and a fence behind what has no answer.

use throng_core::net::Sessions;
use throng_core::wire::packets::{PingRequest, PongAnswer};
use throng_harness_model::clock::{NEVER, Nanos};

use super::Worker;
use super::rooms::FENCE;

/// The first pings, while nothing else is under way, and the pause between two of them.
const FIRST: u32 = 16;
const FIRST_PAUSE: Nanos = 3_000_000;

/// The pause between two later ones.
const PAUSE: Nanos = 2_000_000_000;

/// When and by whom a worker's next ping is sent.
#[derive(Debug)]
pub(super) struct Pinger {
    pub(super) due: Nanos,
    sent: u32,
    /// The client whose turn it is.
    place: usize,
}

impl Default for Pinger {
    fn default() -> Self {
        Self { due: NEVER, sent: 0, place: 0 }
    }
}

impl Worker {
    /// Pings are sent from now on.
    pub(super) fn begin_pings(&mut self, now: Nanos) {
        self.pinger = Pinger { due: now, ..Pinger::default() };
    }

    /// No more pings.
    pub(super) fn end_pings(&mut self) {
        self.pinger.due = NEVER;
    }

    pub(super) fn ping_due(&mut self, sessions: &mut Sessions, now: Nanos) {
        if self.pinger.due > now {
            return;
        }
        self.pinger.sent += 1;
        self.pinger.due = now + if self.pinger.sent < FIRST { FIRST_PAUSE } else { PAUSE };
        let is_able = |client: &super::Client| client.step.is_present();
        if !self.clients.get(self.pinger.place).is_some_and(is_able) {
            self.pinger.place = self.clients.iter().position(is_able).unwrap_or(0);
        }
        if let Some(session) = self.clients.get(self.pinger.place).and_then(|client| client.chat) {
            sessions.send(session, &PingRequest { token: self.plan.clock.now() }.into());
        }
    }

    /// The answer to a ping.
    pub(super) fn ponged(&mut self, sessions: &Sessions, place: usize, pong: &PongAnswer) {
        let now = self.plan.clock.at(sessions.now());
        if pong.token == FENCE {
            if !self.awake(place) && !self.arrived(place, now) {
                self.fenced(place, now);
            }
        } else if pong.token <= now {
            self.harvest.server_clock.sample(pong.token, now, pong.server_us, pong.queued_us);
        }
    }
}
