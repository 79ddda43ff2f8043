//! Exits from the chat: requested ones and lost sessions.

use throng_core::net::Sessions;
use throng_core::wire::CloseReason;
use throng_core::wire::packets::ExitRequest;
use throng_harness_model::clock::Nanos;
use throng_harness_model::results::Event;

use super::Worker;
use super::client::Step;

/// Clients of one worker that are leaving at a time: enough for a server to announce many exits
/// together, and few enough that the notices do not pile up.
const LEAVING_MAX: u32 = 512;

/// A worker's clients that leave in order.
#[derive(Debug, Default)]
pub(super) struct Exits {
    /// The next client to be asked to leave; none before [`Self::begin`].
    next: Option<usize>,
    /// Clients whose exit has no answer yet, at most [`LEAVING_MAX`] of those that [`Self::begin`]
    /// has had asked.
    pending: u32,
}

impl Exits {
    /// Begins to ask all clients, from the first.
    pub(super) fn begin(&mut self) {
        self.next = Some(0);
    }
}

impl Worker {
    /// A client's session with the chat server has closed.
    pub(super) fn chat_closed(&mut self, sessions: &mut Sessions, place: usize, reason: CloseReason) {
        let now = self.plan.clock.at(sessions.now());
        let client = &mut self.clients[place];
        client.chat = None;
        if self.is_away(place) {
            return self.resume_failed(place, now, reason);
        }
        if self.lost_by_server(place, now, reason) {
            return;
        }
        match self.clients[place].step {
            Step::DialChat | Step::Enter => {
                if self.clients[place].step == Step::Enter {
                    self.record_end_of_stay(place, now);
                }
                self.connection_failed(sessions, place, Step::DialChat, reason);
            }
            Step::List | Step::Inside => self.session_lost(place, now, reason),
            Step::Leaving => {
                self.exits.pending -= 1;
                self.plan.presence.set(self.number(place), 0);
                self.totals.connected -= 1;
                self.clients[place].step = Step::Out;
                if reason == CloseReason::Goodbye {
                    self.totals.left += 1;
                } else if self.clients[place].is_impaired {
                    self.impaired_closed(reason);
                } else {
                    self.totals.disconnected += 1;
                    self.count_reason(Event::Leaving, reason.name());
                }
                self.end_round(place);
            }
            _ => {}
        }
    }

    /// A client in the chat has lost its session.
    pub(super) fn session_lost(&mut self, place: usize, now: Nanos, reason: CloseReason) {
        self.record_end_of_stay(place, now);
        if let Some(window) = &mut self.messages.window {
            window.lost(place);
        }
        self.plan.presence.set(self.number(place), 0);
        self.drop_rooms(place);
        self.finish_catching_up(place);
        let client = &mut self.clients[place];
        let was_listed = std::mem::replace(&mut client.step, Step::Out) == Step::Inside;
        self.totals.listed -= u64::from(was_listed);
        self.totals.connected -= 1;
        self.totals.probed -= u64::from(client.probed);
        // `received_by_present` covers only clients that were present throughout.
        self.totals.received_by_present -= u64::from(std::mem::take(&mut client.received));
        if self.clients[place].is_impaired {
            self.impaired_closed(reason);
        } else {
            self.totals.disconnected += 1;
            self.count_reason(Event::Disconnected, reason.name());
        }
        self.end_round(place);
    }

    /// Has more clients leave, up to the limit, once [`Exits::begin`] was called.
    pub(super) fn leave_due(&mut self, sessions: &mut Sessions) {
        let Some(mut place) = self.exits.next else { return };
        while place < self.clients.len() && self.exits.pending < LEAVING_MAX {
            self.request_exit(sessions, place);
            place += 1;
        }
        self.exits.next = Some(place);
    }

    /// Requests the exit of a client that is in the chat.
    pub(super) fn request_exit(&mut self, sessions: &mut Sessions, place: usize) {
        let client = &mut self.clients[place];
        if !client.is_present() {
            return;
        }
        let was_listed = std::mem::replace(&mut client.step, Step::Leaving) == Step::Inside;
        self.totals.listed -= u64::from(was_listed);
        self.exits.pending += 1;
        self.request(sessions, place, ExitRequest {});
    }
}
