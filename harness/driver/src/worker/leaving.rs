//! The way out of the chat: in order, or by losing the session.

use throng_core::net::Sessions;
use throng_core::wire::CloseReason;
use throng_core::wire::packets::ExitRequest;
use throng_harness_model::clock::Nanos;

use super::Worker;
use super::client::Step;

/// Clients of one worker that are leaving at a time: enough for a server to tell the others of
/// many at once, not so many that the notices pile up.
const LEAVING_MAX: u32 = 512;

impl Worker {
    /// A client's session with the chat server has ended.
    pub(super) fn chat_closed(&mut self, sessions: &mut Sessions, place: usize, reason: CloseReason) {
        let now = self.plan.clock.at(sessions.now());
        let client = &mut self.clients[place];
        client.chat = None;
        match client.step {
            Step::DialChat | Step::Enter => {
                if client.step == Step::Enter && self.keeps_stays() {
                    self.harvest.tally.gone(place, now);
                }
                self.leg_failed(sessions, place, Step::DialChat, reason);
            }
            Step::List | Step::Inside => self.lost(place, now, reason),
            Step::Leaving => {
                self.leaving -= 1;
                self.plan.presence.set(self.number(place), 0);
                self.totals.connected -= 1;
                self.clients[place].step = Step::Out;
                if reason == CloseReason::Goodbye {
                    self.totals.left += 1;
                } else if self.clients[place].is_impaired {
                    self.impaired_closed(reason);
                } else {
                    self.totals.disconnected += 1;
                    self.count_reason("leaving", reason.name());
                }
                self.round_over(place);
            }
            _ => {}
        }
    }

    /// A client that was in has lost its session.
    fn lost(&mut self, place: usize, now: Nanos, reason: CloseReason) {
        if self.keeps_stays() {
            self.harvest.tally.gone(place, now);
        }
        if let Some(window) = &mut self.window {
            window.lost(place);
        }
        self.plan.presence.set(self.number(place), 0);
        self.left_rooms(place);
        self.awake(place);
        let client = &mut self.clients[place];
        let was_listed = std::mem::replace(&mut client.step, Step::Out) == Step::Inside;
        self.totals.listed -= u64::from(was_listed);
        self.totals.connected -= 1;
        self.totals.probed -= u64::from(client.probed);
        // And its figures are not those of one who was there all the time.
        self.totals.received_by_present -= u64::from(std::mem::take(&mut client.received));
        if self.clients[place].is_impaired {
            self.impaired_closed(reason);
        } else {
            self.totals.disconnected += 1;
            self.count_reason("disconnected", reason.name());
        }
        self.round_over(place);
    }

    /// Has some clients leave, once they are to.
    pub(super) fn leave_due(&mut self, sessions: &mut Sessions) {
        let Some(mut place) = self.left else { return };
        while place < self.clients.len() && self.leaving < LEAVING_MAX {
            self.ask_out(sessions, place);
            place += 1;
        }
        self.left = Some(place);
    }

    /// A client that is in the chat asks to leave it.
    pub(super) fn ask_out(&mut self, sessions: &mut Sessions, place: usize) {
        let client = &mut self.clients[place];
        let (true, Some(session)) = (client.step.is_present(), client.chat) else { return };
        let was_listed = std::mem::replace(&mut client.step, Step::Leaving) == Step::Inside;
        self.totals.listed -= u64::from(was_listed);
        self.leaving += 1;
        sessions.send(session, &ExitRequest {}.into());
    }
}
