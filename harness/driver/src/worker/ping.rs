//! Pings: samples of the server's clock, and fences behind requests that have no answer.

use throng_core::net::Sessions;
use throng_core::wire::packets::{PingRequest, PongAnswer};
use throng_harness_model::clock::Nanos;

use super::Worker;
use super::client::Client;
use super::rooms::FENCE;

/// Number of initial pings, sent while nothing else is under way, and the pause between them.
const FIRST: u32 = 16;
const FIRST_PAUSE: Nanos = 3_000_000;

/// The pause between later pings.
const PAUSE: Nanos = 2_000_000_000;

/// The schedule of a worker's pings.
#[derive(Debug, Default)]
pub(super) struct Pinger {
    /// The time of the next ping; none while no pings are sent.
    pub(super) due: Option<Nanos>,
    sent: u32,
    /// The client that sends the next ping.
    place: usize,
}

impl Worker {
    pub(super) fn begin_pings(&mut self, now: Nanos) {
        self.pinger = Pinger { due: Some(now), ..Pinger::default() };
    }

    pub(super) fn end_pings(&mut self) {
        self.pinger.due = None;
    }

    pub(super) fn ping_due(&mut self, sessions: &mut Sessions, now: Nanos) {
        if self.pinger.due.is_none_or(|due| due > now) {
            return;
        }
        self.pinger.sent += 1;
        self.pinger.due = Some(now + if self.pinger.sent < FIRST { FIRST_PAUSE } else { PAUSE });
        if !self.clients.get(self.pinger.place).is_some_and(Client::is_present) {
            self.pinger.place = self.clients.iter().position(Client::is_present).unwrap_or(0);
        }
        if self.clients.get(self.pinger.place).is_some_and(Client::is_present) {
            let token = self.plan.clock.now();
            self.request(sessions, self.pinger.place, PingRequest { token });
        }
    }

    /// Handles the answer to a ping.
    pub(super) fn pong_received(&mut self, sessions: &Sessions, place: usize, pong: &PongAnswer) {
        let now = self.plan.clock.at(sessions.now());
        if pong.token == FENCE {
            if !self.finish_catching_up(place) && !self.finish_move(place, now) {
                self.fenced(place, now);
            }
        } else if pong.token <= now {
            self.results.server_clock.sample(pong.token, now, pong.server_us, pong.queued_us);
        }
    }
}
