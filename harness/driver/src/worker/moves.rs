//! Clients that walk about while others talk.
//!
//! A move is a PositionUpdate to the middle of a sector beside the client's own, and a ping. Until its answer has come the
//! client may be heard from, or not, in the sectors that only one of its two places hears; in those that both hear it stays a
//! member throughout.

use throng_core::net::Sessions;
use throng_core::wire::packets::{PingRequest, PositionUpdate};
use throng_harness_model::clock::{NEVER, Nanos};
use throng_harness_model::schedule::Pace;

use super::Worker;
use super::rooms::FENCE;

/// What is mixed into the seed, so that turns are others than those of --churn.
const SALT: u64 = 0x006d_6f76_6573;

/// Where a client stands.
#[derive(Debug, Clone, Copy)]
struct Place {
    sector: u32,
    /// Where it is going, until the server is known to know.
    to: Option<u32>,
}

/// A worker's way through the moves.
#[derive(Debug, Default)]
pub(super) struct Moves {
    /// When turns come, while they do, and the next one.
    pace: Option<(Pace, u32)>,
    /// By client; empty unless somebody moves.
    places: Vec<Place>,
}

impl Moves {
    /// When there is something to do.
    pub(super) fn next_due(&self) -> Nanos {
        self.pace.map_or(NEVER, |(pace, next)| pace.intended(next))
    }
}

impl Worker {
    /// Has clients move from `start` on, if the plan has any that do.
    pub(super) fn begin_moves(&mut self, start: Nanos) {
        let Some(moves) = self.plan.moves else { return };
        let audiences = &self.plan.audiences;
        let sector = |place| audiences.sector(self.number(place)).unwrap_or(0);
        self.moves.places =
            (0..self.clients.len()).map(|place| Place { sector: sector(place), to: None }).collect();
        self.moves.pace = Some((Pace::per_second(start, moves.per_second), 0));
    }

    pub(super) fn end_moves(&mut self) {
        self.moves.pace = None;
    }

    pub(super) fn moves_due(&mut self, sessions: &mut Sessions, now: Nanos) {
        let plan = self.plan.clone();
        let Some(moves) = plan.moves else { return };
        while let Some((pace, next)) = self.moves.pace
            && pace.intended(next) <= now
        {
            self.moves.pace = Some((pace, next + 1));
            let (client, draw) = moves.turn(plan.seed ^ SALT, next);
            if client % plan.workers == self.index {
                self.go(sessions, (client / plan.workers) as usize, draw);
            }
        }
    }

    /// A client goes to a sector beside its own. One that is on its way already does not.
    fn go(&mut self, sessions: &mut Sessions, place: usize, draw: u64) {
        let client = &self.clients[place];
        let (true, Some(session)) = (client.step.is_present(), client.chat) else { return };
        let Place { sector: from, to: None } = self.moves.places[place] else {
            self.harvest.moves.skipped += 1;
            return;
        };
        let plan = self.plan.clone();
        let Some(to) = plan.audiences.beside(from, draw) else { return };
        let now = plan.clock.now();
        self.moves.places[place].to = Some(to);
        self.harvest.moves.made += 1;
        let is_used = |audience: &u32| plan.traffic.count(*audience) > 0;
        for audience in plan.audiences.heard_only_from(from, to).filter(is_used) {
            self.harvest.tally.leaving(place, audience, now);
        }
        for audience in plan.audiences.heard_only_from(to, from).filter(is_used) {
            self.harvest.tally.joining(place, audience, now);
        }
        let (x, y) = plan.audiences.middle(to);
        sessions.send(session, &PositionUpdate { x, y }.into());
        sessions.send(session, &PingRequest { token: FENCE }.into());
    }

    /// The server has dealt with all that a client sent before its fence; false if that was no move.
    pub(super) fn arrived(&mut self, place: usize, now: Nanos) -> bool {
        let Some(Place { sector: from, to: Some(to) }) = self.moves.places.get(place).copied() else {
            return false;
        };
        self.moves.places[place] = Place { sector: to, to: None };
        let plan = self.plan.clone();
        let is_used = |audience: &u32| plan.traffic.count(*audience) > 0;
        for audience in plan.audiences.heard_only_from(from, to).filter(is_used) {
            self.harvest.tally.faded(place, audience, now);
        }
        for audience in plan.audiences.heard_only_from(to, from).filter(is_used) {
            self.harvest.tally.joined(place, audience, now);
        }
        true
    }
}
