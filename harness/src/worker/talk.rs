//! What is said and heard in the chat.

use throng_core::SessionId;
use throng_core::net::Net;
use throng_core::wire::packets::{ChatRequest, Scope};
use throng_core::wire::{CloseReason, Packet, Text};

use super::client::{Step, Token};
use super::incoming::Incoming;
use super::{Way, Worker};
use crate::clock::{NEVER, Nanos};
use crate::payload::{Purpose, Reading, Stamp};
use crate::schedule::{Due, SendCursor};
use crate::verify::Receipt;
use crate::window::Window;

/// The number of the probe message, which no message of a schedule has.
const PROBE: u32 = u32::MAX;

/// Messages sent in one turn, so that reading goes on when much is overdue.
const SENDS_PER_TURN: usize = 256;

/// The pause before the connection that listens for leaks is made again, in nanoseconds.
const REDIAL_PAUSE: Nanos = 1_000_000_000;

/// A connection that never enters the chat: whatever it hears of the run has leaked.
///
/// A server closes connections that ask for nothing, so it is made again while the run lasts.
pub(super) struct Outsider {
    pub(super) session: Option<SessionId>,
    /// When it is made again; never unless it was closed.
    pub(super) redial_at: Nanos,
}

impl Default for Outsider {
    fn default() -> Self {
        Self { session: None, redial_at: NEVER }
    }
}

impl Worker {
    /// Deals with a packet of the chat server; false if it has no place here.
    pub(super) fn chat_packet(&mut self, net: &mut Net, place: usize, packet: Packet) -> bool {
        match (self.clients[place].step, packet) {
            (_, Packet::ChatMessage(message)) => self.heard(net, place, &Incoming::of(&message)),
            (_, Packet::PongAnswer(pong)) => self.ponged(net, &pong),
            (_, Packet::UsersChanged(_)) | (Step::Leaving, Packet::ExitAnswer(_) | Packet::UserList(_)) => {}
            (Step::Enter, Packet::EnterAnswer(_)) => self.entered(net, place),
            (Step::List, Packet::UserList(list)) => self.listed(net, place, &list),
            _ => return false,
        }
        true
    }

    /// A client has received a message. Nothing here allocates: this runs for every delivery.
    pub(super) fn heard(&mut self, net: &Net, place: usize, message: &Incoming<'_>) {
        if !self.counting {
            return;
        }
        let now = self.plan.clock.at(net.now());
        match self.recent.read(&self.plan.payload, message.text) {
            Reading::Ours(Purpose::Counted, stamp) => {
                let receipt = self.harvest.tally.delivered(place, stamp.index, message.sequence, now);
                if receipt == Receipt::First {
                    self.harvest.recorder.delivered(stamp, now);
                    self.totals.received += 1;
                    if self.sampler.takes() {
                        let stamps = message.stamps(net.fan_out_us());
                        self.harvest.breakdown.record(&self.harvest.server_clock, stamps, stamp.sent(), now);
                    }
                    if let Some(window) = &mut self.window {
                        window.received(place);
                    }
                    let client = &mut self.clients[place];
                    if client.step.is_present() {
                        client.received += 1;
                        self.totals.received_by_present += 1;
                    }
                }
            }
            Reading::Ours(Purpose::Probe, stamp) => {
                let client = &mut self.clients[place];
                if stamp.index == PROBE
                    && client.step.is_present()
                    && !std::mem::replace(&mut client.probed, true)
                {
                    self.totals.probed += 1;
                }
            }
            Reading::Corrupt => self.harvest.tally.corrupt(),
            Reading::Foreign => self.harvest.tally.foreign(),
        }
    }

    /// What reaches the connection that never entered. Its account is the last one of the
    /// tally; without a stay in the room all that it gets is a leak.
    pub(super) fn overheard(&mut self, net: &mut Net, packet: &Packet) {
        let Packet::ChatMessage(message) = packet else { return };
        if let Reading::Ours(Purpose::Counted, stamp) = self.plan.payload.read(message.text.as_bytes())
            && self.counting
        {
            let now = self.plan.clock.at(net.now());
            self.harvest.tally.delivered(self.clients.len(), stamp.index, message.sequence, now);
        }
    }

    pub(super) fn outsider_closed(&mut self, net: &mut Net, reason: CloseReason) {
        self.outsider.session = None;
        // A server without room for it, or gone, is left in peace.
        if reason == CloseReason::FirstPacketTimeout && self.counting {
            self.outsider.redial_at = self.plan.clock.at(net.now()) + REDIAL_PAUSE;
        }
        self.totals.outside = 1;
    }

    pub(super) fn redial_outsider(&mut self, net: &mut Net, now: Nanos) {
        if self.outsider.redial_at <= now {
            self.outsider.redial_at = NEVER;
            self.listen_outside(net);
        }
    }

    fn listen_outside(&mut self, net: &mut Net) {
        let plan = self.plan.clone();
        let Way::Ticket(server, _) = &plan.way else { return };
        match self.dial(net, server, Token::Outsider) {
            Ok(id) => self.outsider.session = Some(id),
            Err(_) => self.totals.outside = 1,
        }
    }

    /// Opens the connection that listens for leaks, and begins to ping.
    pub(super) fn watch(&mut self, net: &mut Net) {
        if self.index == 0 {
            self.listen_outside(net);
        }
        self.begin_pings(self.plan.clock.now());
    }

    /// Has the first client say the probe.
    pub(super) fn probe(&mut self, net: &mut Net) {
        let speaker = self.clients.iter().find(|client| client.step.is_present());
        if let Some(session) = speaker.and_then(|client| client.chat) {
            let now = self.plan.clock.now();
            self.say(net, session, Purpose::Probe, Stamp::new(PROBE, now, now));
        }
    }

    /// The window of a closed loop; who is not in the chat now is not waited for.
    pub(super) fn open_window(&self, ahead: u32) -> Window {
        let mut window = Window::new(ahead, self.clients.len());
        for (place, client) in self.clients.iter().enumerate() {
            if !client.step.is_present() {
                window.lost(place);
            }
        }
        window
    }

    /// Whether the slowest client has to get something before anything else is sent.
    pub(super) fn is_held_back(&self) -> bool {
        self.window.as_ref().is_some_and(|window| !window.is_open())
    }

    /// Sends the messages that are due; true if there are more than one turn takes.
    pub(super) fn send_due(&mut self, net: &mut Net) -> bool {
        for _ in 0..SENDS_PER_TURN {
            let now = self.plan.clock.now();
            let pop = |cursor: &mut Option<SendCursor>| cursor.as_mut().and_then(|cursor| cursor.pop(now));
            let is_held_back = self.is_held_back();
            if let Some(due) = pop(&mut self.warmup) {
                self.send(net, Purpose::Probe, due, now);
            } else if let Some(due) = Some(&mut self.counted).filter(|_| !is_held_back).and_then(pop) {
                // In a closed loop the right time is when it may be sent.
                let intended = if self.window.is_some() { now } else { due.intended };
                self.send(net, Purpose::Counted, Due { intended, ..due }, now);
            } else {
                return false;
            }
        }
        true
    }

    /// Sends a message of the schedule, unless its sender is not in the chat any more.
    fn send(&mut self, net: &mut Net, purpose: Purpose, due: Due, now: Nanos) {
        self.totals.scheduled += 1;
        let client = &self.clients[(due.sender / self.plan.workers) as usize];
        let (true, Some(session)) = (client.step.is_present(), client.chat) else { return };
        if purpose == Purpose::Counted {
            self.harvest.tally.sent(due.index, now);
            self.harvest.recorder.sent(due.intended, now);
            self.harvest.last_sent = now;
            self.totals.sent += 1;
            if let Some(window) = &mut self.window {
                window.sent();
            }
        }
        self.say(net, session, purpose, Stamp::new(due.index, due.intended, now));
    }

    fn say(&self, net: &mut Net, session: SessionId, purpose: Purpose, stamp: Stamp) {
        let text = self.plan.payload.compose(purpose, stamp);
        let text = Text::new(text).expect("a payload is no longer than a chat text may be");
        let request = ChatRequest { scope: Scope::World, target: 0, stamp: stamp.sent(), text };
        net.send(session, &request.into());
    }
}
