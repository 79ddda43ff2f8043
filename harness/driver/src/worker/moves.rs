//! Clients that move while others send.
//!
//! A move is a PositionUpdate to the middle of a neighboring sector, and a ping behind it. Until
//! the pong arrives, sectors that hear only one of the two places may or may not hear the client.
//! In sectors that hear both places it stays a member throughout.

use throng_core::net::Sessions;
use throng_core::wire::packets::{PingRequest, PositionUpdate};
use throng_harness_model::clock::Nanos;

use super::Worker;
use super::rooms::FENCE;
use super::turns::Turns;

/// Mixed into the seed, so that the turns differ from the turns of `--churn`.
const SALT: u64 = 0x006d_6f76_6573;

/// The position of a client.
#[derive(Debug, Clone, Copy)]
struct Place {
    sector: u32,
    /// The destination, until the server has confirmed it.
    to: Option<u32>,
}

/// A worker's position in the schedule of moves.
#[derive(Debug, Default)]
pub(super) struct Moves {
    pub(super) turns: Turns,
    /// By client; empty if no client moves.
    places: Vec<Place>,
}

impl Worker {
    /// Starts the moves at `start`, if the plan has any.
    pub(super) fn begin_moves(&mut self, start: Nanos) {
        let Some(moves) = self.plan.moves else { return };
        let audiences = &self.plan.audiences;
        let sector = |place| audiences.sector(self.number(place)).unwrap_or(0);
        self.moves.places =
            (0..self.clients.len()).map(|place| Place { sector: sector(place), to: None }).collect();
        self.moves.turns = Turns::new(start, Some(moves.per_second));
    }

    pub(super) fn end_moves(&mut self) {
        self.moves.turns = Turns::default();
    }

    pub(super) fn moves_due(&mut self, sessions: &mut Sessions, now: Nanos) {
        let Some(moves) = self.plan.moves else { return };
        while let Some(turn) = self.moves.turns.pop(now) {
            let (client, draw) = moves.turn(self.plan.seed ^ SALT, turn);
            if let Some(place) = self.place(client) {
                self.begin_move(sessions, place, draw);
            }
        }
    }

    /// Moves a client to a neighboring sector; counts a client that is still moving as skipped.
    fn begin_move(&mut self, sessions: &mut Sessions, place: usize, draw: u64) {
        if !self.clients[place].is_present() {
            return;
        }
        let Place { sector: from, to: None } = self.moves.places[place] else {
            self.results.moves.skipped += 1;
            return;
        };
        let plan = self.plan.clone();
        let Some(to) = plan.audiences.beside(from, draw) else { return };
        let now = plan.clock.now();
        self.moves.places[place].to = Some(to);
        self.results.moves.made += 1;
        let has_messages = |audience: &u32| plan.traffic.count(*audience) > 0;
        for audience in plan.audiences.heard_only_from(from, to).filter(has_messages) {
            self.results.ledger.leaving(place, audience, now);
        }
        for audience in plan.audiences.heard_only_from(to, from).filter(has_messages) {
            self.results.ledger.joining(place, audience, now);
        }
        let (x, y) = plan.audiences.middle(to);
        self.request(sessions, place, PositionUpdate { x, y });
        self.request(sessions, place, PingRequest { token: FENCE });
    }

    /// The server has processed everything before the client's fence; false if no move was pending.
    pub(super) fn finish_move(&mut self, place: usize, now: Nanos) -> bool {
        let Some(Place { sector: from, to: Some(to) }) = self.moves.places.get(place).copied() else {
            return false;
        };
        self.moves.places[place] = Place { sector: to, to: None };
        let plan = self.plan.clone();
        let has_messages = |audience: &u32| plan.traffic.count(*audience) > 0;
        for audience in plan.audiences.heard_only_from(from, to).filter(has_messages) {
            self.results.ledger.membership_ended(place, audience, now);
        }
        for audience in plan.audiences.heard_only_from(to, from).filter(has_messages) {
            self.results.ledger.joined(place, audience, now);
        }
        true
    }
}
