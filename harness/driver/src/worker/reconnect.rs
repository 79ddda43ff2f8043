//! Clients that disconnect and reconnect: some at a steady rate, or all at once.

use std::collections::VecDeque;

use throng_core::net::Sessions;
use throng_core::wire::CloseReason;
use throng_harness_model::clock::Nanos;
use throng_harness_model::results::Event;
use throng_harness_model::split_mix::mixed;

use super::Worker;
use super::client::Step;
use super::turns::Turns;
use crate::command::Why;

/// Connections begun in one turn.
const DIALS_PER_TURN: usize = 8;

/// A worker's position in the schedule of reconnects.
#[derive(Debug, Default)]
pub(super) struct Reconnects {
    pub(super) turns: Turns,
    /// Disconnected clients that are to reconnect, in order, each once.
    queue: VecDeque<u32>,
}

impl Worker {
    /// Has `per_second` clients of all workers together disconnect and reconnect; none ends it.
    pub(super) fn reconnect(&mut self, per_second: Option<u32>) {
        self.reconnects.turns = Turns::new(self.plan.clock.now(), per_second);
    }

    /// Disconnects all clients at once; they reconnect.
    pub(super) fn reconnect_all(&mut self, sessions: &mut Sessions) {
        let now = self.plan.clock.now();
        for place in 0..self.clients.len() {
            self.disconnect(sessions, place, now);
        }
        self.totals.storm_begun = 1;
    }

    /// Begins the reconnects that are due; true if more are due than one turn takes.
    pub(super) fn reconnects_due(&mut self, sessions: &mut Sessions, now: Nanos) -> bool {
        while let Some(turn) = self.reconnects.turns.pop(now) {
            let client = mixed(self.plan.seed ^ u64::from(turn)) % u64::from(self.plan.clients);
            if let Some(place) = self.place(client as u32) {
                self.disconnect(sessions, place, now);
            }
        }
        for _ in 0..DIALS_PER_TURN {
            if !self.entries.has_room() {
                return false;
            }
            let Some(place) = self.reconnects.queue.pop_front() else { return false };
            self.begin_entry(sessions, place as usize, now);
        }
        !self.reconnects.queue.is_empty() && self.entries.has_room()
    }

    /// Disconnects a client that is in the chat, and queues its reconnect.
    fn disconnect(&mut self, sessions: &mut Sessions, place: usize, now: Nanos) {
        let number = self.number(place);
        let client = &mut self.clients[place];
        let (Step::Inside, Some(session)) = (client.step, client.chat) else { return };
        client.chat = None;
        client.step = Step::Idle;
        client.disconnected_at = now.max(1);
        client.kept = None;
        self.totals.listed -= 1;
        self.totals.connected -= 1;
        self.totals.reconnecting += 1;
        self.plan.presence.set(number, 0);
        self.results.reconnects.asked += 1;
        self.reconnects.queue.push_back(place as u32);
        sessions.close(session, CloseReason::Goodbye, "");
    }

    /// Counts a client that has entered as reconnected; false if it enters for the first time.
    pub(super) fn record_return(&mut self, place: usize, now: Nanos) -> bool {
        let disconnected_at = std::mem::take(&mut self.clients[place].disconnected_at);
        if disconnected_at == 0 {
            return false;
        }
        self.totals.reconnecting -= 1;
        self.results.reconnects.back += 1;
        self.results
            .phases
            .entry("reconnect".into())
            .or_default()
            .record(now.saturating_sub(disconnected_at));
        true
    }

    /// Gives up the reconnects that have not begun.
    pub(super) fn give_up_reconnects(&mut self, why: &Why) {
        while let Some(place) = self.reconnects.queue.pop_front() {
            self.record_no_return(place as usize, why);
        }
    }

    /// Counts a given-up client as disconnected; false if it was never in the chat.
    pub(super) fn record_no_return(&mut self, place: usize, why: &Why) -> bool {
        if std::mem::take(&mut self.clients[place].disconnected_at) == 0 {
            return false;
        }
        self.totals.reconnecting -= 1;
        self.totals.disconnected += 1;
        self.count_reason(Event::Reconnecting, why.clone());
        true
    }
}
