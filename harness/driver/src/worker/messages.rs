//! Chat messages: sending by schedule, receiving, and the leak probe.

use throng_core::SessionId;
use throng_core::net::Sessions;
use throng_core::wire::packets::{ChatRefused, ChatRequest, Scope};
use throng_core::wire::{CloseReason, Packet, Text};
use throng_harness_model::audiences::ScopeMix;
use throng_harness_model::clock::{NEVER, Nanos};
use throng_harness_model::payload::{Purpose, Reading, Stamp};
use throng_harness_model::plan::EntryPath;
use throng_harness_model::schedule::{Due, SendCursor};

use super::Worker;
use super::client::{Stay, Step, Token};
use super::incoming::Incoming;
use crate::verify::Receipt;
use crate::window::Window;

/// The number of the probe message, which no message of a schedule has.
const PROBE: u32 = u32::MAX;

/// Set in the stamps of requests whose messages are counted; the lower bits are the number.
const COUNTED: u64 = 1 << 32;

/// Messages sent in one turn, so that reading goes on while many are overdue.
const SENDS_PER_TURN: usize = 256;

/// The pause before the leak probe reconnects, in nanoseconds.
const REDIAL_PAUSE: Nanos = 1_000_000_000;

/// A connection that never enters the chat: any message of the run that reaches it has leaked.
/// Servers close connections that request nothing, so it reconnects during the run.
pub(super) struct LeakProbe {
    pub(super) session: Option<SessionId>,
    /// The time of the next connection; [`NEVER`] while connected.
    pub(super) redial_at: Nanos,
}

impl Default for LeakProbe {
    fn default() -> Self {
        Self { session: None, redial_at: NEVER }
    }
}

impl Worker {
    /// Handles a packet of the chat server; false if the packet is not allowed in this step.
    pub(super) fn chat_packet(&mut self, sessions: &mut Sessions, place: usize, packet: Packet) -> bool {
        match (self.clients[place].step, packet) {
            (_, Packet::ChatMessage(message)) => {
                self.message_received(sessions, place, &Incoming::of(&message));
            }
            (_, Packet::PongAnswer(pong)) => self.pong_received(sessions, place, &pong),
            (_, Packet::UsersChanged(notice)) if notice.channel == 0 => self.notice(sessions, place, &notice),
            (_, Packet::UsersChanged(_)) | (Step::Leaving, Packet::ExitAnswer(_) | Packet::UserList(_)) => {}
            (_, Packet::ChannelAnswer(answer)) => {
                let now = self.plan.clock.at(sessions.now());
                self.channel_answered(place, &answer, now);
            }
            (_, Packet::ChannelLeft(left)) => {
                let now = self.plan.clock.at(sessions.now());
                self.channel_left(place, &left, now);
            }
            (_, Packet::ChatGap(gap)) => self.gap_received(place, &gap),
            (_, Packet::ChatRefused(refused)) => self.refused(place, &refused),
            // The list of a channel; the list of the chat has a step of its own.
            (_, Packet::UserList(list)) if list.channel != 0 => {}
            (Step::Enter, Packet::EnterAnswer(answer)) => self.entered(sessions, place, &answer),
            (Step::List | Step::Inside, Packet::UserList(list)) => self.page(sessions, place, &list),
            _ => return false,
        }
        true
    }

    /// Handles a received message. It runs for every delivery, so nothing here allocates.
    pub(super) fn message_received(&mut self, sessions: &mut Sessions, place: usize, message: &Incoming<'_>) {
        if !self.is_counting {
            return;
        }
        let now = self.plan.clock.at(sessions.now());
        match self.recent.read(&self.plan.payload, message.text) {
            Reading::Ours(Purpose::Counted, stamp) if !self.matches_schedule(place, stamp.index, message) => {
                self.results.tally.corrupt();
            }
            Reading::Ours(Purpose::Counted, stamp) => {
                let receipt = self.results.tally.delivered(place, stamp.index, message.sequence, now);
                if receipt == Receipt::First {
                    self.totals.received += 1;
                    if self.clients[place].is_impaired {
                        // An impaired client reads late on purpose, so its latencies tell nothing
                        // of the server.
                        return self.read_by_impaired(sessions, place, message.text.len());
                    }
                    self.results.recorder.delivered(stamp, now);
                    if self.sampler.takes() {
                        let stamps = message.stamps(sessions.fan_out_us());
                        self.results.breakdown.record(&self.results.server_clock, stamps, stamp.sent(), now);
                    }
                    if let Some(window) = &mut self.window {
                        window.received(place);
                    }
                    let client = &mut self.clients[place];
                    if client.step.is_present() {
                        client.received += 1;
                        client.record_latency(now.saturating_sub(stamp.intended));
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
            Reading::Corrupt => self.results.tally.corrupt(),
            Reading::Foreign => self.results.tally.foreign(),
        }
    }

    /// Returns true if a message came in the scope and the channel it was sent to.
    fn matches_schedule(&self, place: usize, index: u32, message: &Incoming<'_>) -> bool {
        let audiences = &self.plan.audiences;
        if audiences.speech() == ScopeMix::World || index >= self.plan.traffic.messages() {
            return message.scope == Scope::World;
        }
        let (audience, _) = self.plan.traffic.place(index);
        // A message of another channel is a leak, which the ledger judges.
        let channel = match self.clients[place].stay {
            Stay::In { channel, number } | Stay::Leaving { channel, number } => {
                Some(number).filter(|_| audiences.in_channel(channel) == audience)
            }
            Stay::Out | Stay::Joining(_) => None,
        };
        audiences.scope(audience) == message.scope
            && (message.scope != Scope::Channel || channel.is_none_or(|number| number == message.target))
    }

    /// Handles the refusal of a client's message.
    fn refused(&mut self, place: usize, refused: &ChatRefused) {
        if self.is_counting && refused.stamp & COUNTED != 0 {
            let is_own = self.results.tally.refused(place, refused.stamp as u32);
            // Refusing a message that this client did not send does not excuse its delivery.
            let kind = if is_own { "message refused" } else { "message of another refused" };
            self.count_reason(kind, refused.outcome.name());
        }
    }

    /// Records a message that the leak probe received. The probe has the last account of the
    /// ledger, without a stay in any room, so every delivery to it counts as a leak.
    pub(super) fn leak_probe_received(&mut self, sessions: &mut Sessions, packet: &Packet) {
        let Packet::ChatMessage(message) = packet else { return };
        if let Reading::Ours(Purpose::Counted, stamp) = self.plan.payload.read(message.text.as_bytes())
            && self.is_counting
        {
            let now = self.plan.clock.at(sessions.now());
            self.results.tally.delivered(self.clients.len(), stamp.index, message.sequence, now);
        }
    }

    pub(super) fn leak_probe_closed(&mut self, sessions: &mut Sessions, reason: CloseReason) {
        self.leak_probe.session = None;
        // If the server is full or gone, the probe does not reconnect.
        if reason == CloseReason::FirstPacketTimeout && self.is_counting {
            self.leak_probe.redial_at = self.plan.clock.at(sessions.now()) + REDIAL_PAUSE;
        }
        self.totals.outside = 1;
    }

    pub(super) fn redial_leak_probe(&mut self, sessions: &mut Sessions, now: Nanos) {
        if self.leak_probe.redial_at <= now {
            self.leak_probe.redial_at = NEVER;
            self.dial_leak_probe(sessions);
        }
    }

    fn dial_leak_probe(&mut self, sessions: &mut Sessions) {
        let plan = self.plan.clone();
        let server = match &plan.way {
            EntryPath::Ticket(server, _) => Some(server.clone()),
            // The chat server that the first login was sent to.
            EntryPath::Login(_) => self.chat_servers.first(),
        };
        match server.map(|server| self.dial(sessions, &server, Token::LeakProbe)) {
            Some(Ok(id)) => self.leak_probe.session = Some(id),
            Some(Err(_)) | None => self.totals.outside = 1,
        }
    }

    /// Connects the leak probe and starts the pings.
    pub(super) fn watch(&mut self, sessions: &mut Sessions) {
        if self.index == 0 {
            self.dial_leak_probe(sessions);
        }
        self.begin_pings(self.plan.clock.now());
    }

    /// Sends the probe message from the first client that is in the chat.
    pub(super) fn probe(&mut self, sessions: &mut Sessions) {
        let sender = self.clients.iter().find(|client| client.step.is_present());
        if let Some(session) = sender.and_then(|client| client.chat) {
            let now = self.plan.clock.now();
            self.send_message(
                sessions,
                session,
                Purpose::Probe,
                Stamp::new(PROBE, now, now),
                (Scope::World, 0),
            );
        }
    }

    /// Opens the window of a closed loop, without the clients that are not in the chat.
    pub(super) fn open_window(&self, ahead: u32) -> Window {
        let mut window = Window::new(ahead, self.clients.len());
        for (place, client) in self.clients.iter().enumerate() {
            if !client.step.is_present() {
                window.lost(place);
            }
        }
        window
    }

    /// True while the closed loop's window is full.
    pub(super) fn is_held_back(&self) -> bool {
        self.window.as_ref().is_some_and(|window| !window.is_open())
    }

    /// Sends the messages that are due; true if more are due than one turn takes.
    pub(super) fn send_due(&mut self, sessions: &mut Sessions) -> bool {
        for _ in 0..SENDS_PER_TURN {
            let now = self.plan.clock.now();
            let pop = |cursor: &mut Option<SendCursor>| cursor.as_mut().and_then(|cursor| cursor.pop(now));
            let is_held_back = self.is_held_back();
            if let Some(due) = pop(&mut self.warmup) {
                self.send_scheduled(sessions, Purpose::Probe, due, now);
            } else if let Some(due) = Some(&mut self.counted).filter(|_| !is_held_back).and_then(pop) {
                // In a closed loop a message is due when the window opens.
                let intended = if self.window.is_some() { now } else { due.intended };
                self.send_scheduled(sessions, Purpose::Counted, Due { intended, ..due }, now);
            } else {
                return false;
            }
        }
        true
    }

    /// Sends a message of the schedule, unless its sender has left the chat.
    fn send_scheduled(&mut self, sessions: &mut Sessions, purpose: Purpose, due: Due, now: Nanos) {
        self.totals.scheduled += 1;
        let client = &self.clients[(due.sender / self.plan.workers) as usize];
        let (true, Some(session)) = (client.step.is_present(), client.chat) else { return };
        let Some(to) = self.address(client.stay, purpose, due.index) else { return };
        if purpose == Purpose::Counted && !self.has_received_prompt(due) {
            self.results.unprovoked += 1;
            return;
        }
        if purpose == Purpose::Counted {
            self.results.tally.sent(due.index, now);
            self.results.recorder.sent(due.intended, now);
            self.results.last_sent = now;
            self.totals.sent += 1;
            if let Some(window) = &mut self.window {
                window.sent();
            }
        }
        self.send_message(sessions, session, purpose, Stamp::new(due.index, due.intended, now), to);
    }

    /// Returns true if the message answers nothing, or if its sender has received the message that
    /// it answers.
    fn has_received_prompt(&self, due: Due) -> bool {
        let answered = self.plan.script.as_ref().and_then(|script| script.answers(due.index));
        let place = (due.sender / self.plan.workers) as usize;
        answered.is_none_or(|answered| self.results.tally.has_received(place, answered))
    }

    /// The scope and target of a message; none if its sender is not in the channel, or its
    /// recipient not in the chat.
    fn address(&self, stay: Stay, purpose: Purpose, index: u32) -> Option<(Scope, u32)> {
        let traffic = match purpose {
            Purpose::Counted => &self.plan.traffic,
            Purpose::Probe => &self.plan.warmup,
        };
        let (audience, ordinal) = traffic.place(index);
        let scope = self.plan.audiences.scope(audience);
        let target = match (scope, stay) {
            (Scope::World | Scope::Nearby, _) => Some(0),
            (Scope::Channel, Stay::In { channel, number })
                if self.plan.audiences.in_channel(channel) == audience =>
            {
                Some(number)
            }
            (Scope::Channel, _) => None,
            (Scope::Whisper, _) => self.plan.presence.user(traffic.whispered_to(ordinal)?),
        };
        Some((scope, target?))
    }

    fn send_message(
        &self,
        sessions: &mut Sessions,
        session: SessionId,
        purpose: Purpose,
        stamp: Stamp,
        (scope, target): (Scope, u32),
    ) {
        let number = u64::from(stamp.index) | if purpose == Purpose::Counted { COUNTED } else { 0 };
        let text = self.plan.payload.compose(purpose, stamp);
        let text = Text::new(text).expect("a payload is no longer than a chat text may be");
        let request = ChatRequest { scope, target, stamp: number, text };
        sessions.send(session, &request.into());
    }
}
