//! Chat messages: sending by schedule, and receiving.

use std::sync::Arc;

use throng_core::net::Sessions;
use throng_core::wire::packets::{ChatRequest, Scope};
use throng_core::wire::{Packet, Text};
use throng_harness_model::audiences::ScopeMix;
use throng_harness_model::breakdown::{Sampler, Stamps};
use throng_harness_model::clock::{NEVER, Nanos};
use throng_harness_model::payload::{Purpose, Reading, Recent, Stamp};
use throng_harness_model::results::Event;
use throng_harness_model::schedule::{Due, SendCursor, Traffic};
use throng_harness_model::send_schedule::SendSchedule;

use super::Worker;
use super::client::{Client, Stay, Step};
use crate::incoming::{Heard, HeardFrames, Incoming};
use crate::verify::Receipt;
use crate::window::Window;

/// The number of the probe message, which no message of a schedule has.
const PROBE: u32 = u32::MAX;

/// Set in the stamps of requests whose messages are counted; the lower bits are the number.
const COUNTED: u64 = 1 << 32;

/// Messages sent in one turn, so that reading goes on while many are overdue.
const SENDS_PER_TURN: usize = 256;

/// A worker's sending and receiving of messages.
#[derive(Default)]
pub(super) struct Messages {
    /// The position in each schedule; none before sending starts and after it ends.
    warmup: Option<SendCursor>,
    counted: Option<SendCursor>,
    /// The window of a closed loop, which holds counted messages back.
    pub(super) window: Option<Window>,
    /// The payload that was read last.
    recent: Recent,
    /// Messages of room frames, of which other clients receive copies.
    frames: HeardFrames,
    /// Chooses the deliveries whose latency is broken down.
    sampler: Sampler,
    /// True once nothing more is counted.
    pub(super) is_frozen: bool,
}

impl Messages {
    /// The time of the next message to send.
    pub(super) fn next_due(&self) -> Nanos {
        let counted = self.counted.as_ref().filter(|_| !self.is_held_back());
        let cursors = [self.warmup.as_ref(), counted].into_iter().flatten();
        cursors.map(SendCursor::next_due).min().unwrap_or(NEVER)
    }

    /// Sends no more.
    pub(super) fn stop(&mut self) {
        (self.warmup, self.counted) = (None, None);
    }

    /// True while the closed loop's window is full.
    fn is_held_back(&self) -> bool {
        self.window.as_ref().is_some_and(|window| !window.is_open())
    }
}

impl Worker {
    /// Handles a packet of the chat server; false if the packet is not allowed in this step.
    pub(super) fn chat_packet(&mut self, sessions: &mut Sessions, place: usize, packet: Packet) -> bool {
        if let Some(resumption) = &mut self.clients[place].resumption {
            self.results.resume.gaps += resumption.received(&packet);
        }
        match (self.clients[place].step, packet) {
            (_, Packet::ChatMessage(message)) => {
                let heard = self.read(&Incoming::of(&message));
                self.message_received(sessions, place, &heard);
            }
            (_, Packet::PongAnswer(pong)) => self.pong_received(sessions, place, &pong),
            (_, Packet::UsersChanged(notice)) if notice.channel == 0 => self.notice(sessions, place, &notice),
            (
                _,
                Packet::UsersChanged(_) | Packet::RoomResumed(_) | Packet::History(_) | Packet::ChatNodes(_),
            )
            | (Step::Leaving, Packet::ExitAnswer(_) | Packet::UserList(_)) => {}
            (_, Packet::ChannelAnswer(answer)) => {
                let now = self.plan.clock.at(sessions.now());
                self.channel_answered(place, &answer, now);
            }
            (_, Packet::ChannelLeft(left)) => {
                let now = self.plan.clock.at(sessions.now());
                self.channel_left(place, &left, now);
            }
            (Step::Inside, Packet::ResumeAnswer(answer)) => return self.resumed(sessions, place, &answer),
            (_, Packet::ChatGap(gap)) => self.gap_received(place, &gap),
            (_, Packet::ChatRefused(refused)) => self.refused(place, refused.stamp, refused.outcome.name()),
            (_, Packet::TooFast(too_fast)) => self.refused(place, too_fast.stamp, "TooFast"),
            // The list of a channel; the list of the chat has a step of its own.
            (_, Packet::UserList(list)) if list.channel != 0 => {}
            (Step::Enter, Packet::EnterAnswer(answer)) => self.entered(sessions, place, &answer),
            (Step::List | Step::Inside, Packet::UserList(list)) => self.page(sessions, place, &list),
            _ => return false,
        }
        true
    }

    /// Reads the text of a message.
    fn read(&mut self, message: &Incoming<'_>) -> Heard {
        message.heard(self.messages.recent.read(&self.plan.payload, message.text))
    }

    /// Reads an encoded packet of the room; none if it is not a message that belongs there. Copies
    /// of a frame are read once.
    pub(super) fn room_message(&mut self, sessions: &Sessions, room: u32, encoded: &[u8]) -> Option<Heard> {
        let serial = sessions.frame_serial();
        let kept = serial.and_then(|serial| self.messages.frames.get(serial));
        let heard = if let Some(heard) = kept {
            heard
        } else {
            let heard = self.read(&Incoming::parse(encoded)?);
            if let Some(serial) = serial {
                self.messages.frames.insert(serial, heard);
            }
            heard
        };
        Some(heard).filter(|heard| heard.is_of(room))
    }

    /// Handles a received message. It runs for every delivery, so nothing here allocates.
    pub(super) fn message_received(&mut self, sessions: &mut Sessions, place: usize, message: &Heard) {
        self.note_for_resuming(place, message);
        if self.messages.is_frozen {
            return;
        }
        let now = self.plan.clock.at(sessions.now());
        match message.reading {
            Reading::Ours(Purpose::Counted, stamp) if !self.matches_schedule(place, stamp.index, message) => {
                self.results.ledger.corrupt();
            }
            Reading::Ours(Purpose::Counted, stamp) => {
                let receipt = self.results.ledger.delivered(place, stamp.index, message.sequence, now);
                if receipt == Receipt::First {
                    self.totals.received += 1;
                    self.publishing.heard = Some(stamp.index);
                    if self.clients[place].is_impaired {
                        // An impaired client reads late on purpose, so its latencies tell nothing
                        // of the server.
                        return self.read_by_impaired(sessions, place, message.length);
                    }
                    self.results.recorder.delivered(stamp, now);
                    if !self.plan.is_fleet() && self.messages.sampler.takes() {
                        let stamps = Stamps { fan_out_us: sessions.fan_out_us(), ..message.stamps };
                        self.results.breakdown.record(&self.results.server_clock, stamps, stamp.sent(), now);
                    }
                    if let Some(window) = &mut self.messages.window {
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
            Reading::Corrupt => self.results.ledger.corrupt(),
            Reading::Foreign => self.results.ledger.foreign(),
        }
    }

    /// Notes a message for a client that may have to resume.
    fn note_for_resuming(&mut self, place: usize, message: &Heard) {
        let number = self.number(place);
        let Some(resumption) = &mut self.clients[place].resumption else { return };
        resumption.heard(message.scope, message.target, message.sequence);
        if let Reading::Ours(purpose, stamp) = message.reading {
            let traffic = match purpose {
                Purpose::Counted => &self.plan.traffic,
                Purpose::Probe => &self.plan.warmup,
            };
            if traffic.sender(stamp.index) == Some(number) {
                resumption.saw_own(request_stamp(purpose, stamp.index));
            }
        }
    }

    /// Returns true if a message came in the scope and the channel it was sent to.
    fn matches_schedule(&self, place: usize, index: u32, message: &Heard) -> bool {
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
    fn refused(&mut self, place: usize, stamp: u64, why: &'static str) {
        if !self.messages.is_frozen && stamp & COUNTED != 0 {
            let is_own = self.results.ledger.refused(place, stamp as u32);
            // Refusing a message that this client did not send does not excuse its delivery.
            let event = if is_own { Event::MessageRefused } else { Event::OtherMessageRefused };
            self.count_reason(event, why);
        }
    }

    /// Sends the probe message from the first client that is in the chat.
    pub(super) fn probe(&mut self, sessions: &mut Sessions) {
        if let Some(place) = self.clients.iter().position(Client::is_present) {
            let now = self.plan.clock.now();
            self.send_message(
                sessions,
                place,
                Purpose::Probe,
                Stamp::new(PROBE, now, now),
                (Scope::World, 0),
            );
        }
    }

    /// Starts sending by these schedules.
    pub(super) fn start_sending(&mut self, warmup: Arc<SendSchedule>, counted: Arc<SendSchedule>) {
        let plan = &self.plan;
        let cursor = |traffic: &Arc<Traffic>, schedule| {
            Some(SendCursor::new(traffic.clone(), schedule, self.index, plan.workers))
        };
        self.messages.warmup = cursor(&plan.warmup, warmup);
        self.messages.counted = cursor(&plan.traffic, counted);
        self.messages.window = plan.ahead.map(|ahead| self.open_window(ahead));
    }

    /// Opens the window of a closed loop, without the clients that are not in the chat.
    fn open_window(&self, ahead: u32) -> Window {
        let mut window = Window::new(ahead, self.clients.len());
        for (place, client) in self.clients.iter().enumerate() {
            if !client.step.is_present() {
                window.lost(place);
            }
        }
        window
    }

    /// Sends the messages that are due; true if more are due than one turn takes.
    pub(super) fn send_due(&mut self, sessions: &mut Sessions) -> bool {
        for _ in 0..SENDS_PER_TURN {
            let now = self.plan.clock.now();
            let pop = |cursor: &mut Option<SendCursor>| cursor.as_mut().and_then(|cursor| cursor.pop(now));
            let is_held_back = self.messages.is_held_back();
            if let Some(due) = pop(&mut self.messages.warmup) {
                self.send_scheduled(sessions, Purpose::Probe, due, now);
            } else if let Some(due) = Some(&mut self.messages.counted).filter(|_| !is_held_back).and_then(pop)
            {
                // In a closed loop a message is due when the window opens.
                let intended = if self.messages.window.is_some() { now } else { due.intended };
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
        let place = (due.sender / self.plan.workers) as usize;
        let client = &self.clients[place];
        if !client.is_present() {
            return;
        }
        let Some(to) = self.address(client.stay, purpose, due.index) else { return };
        if purpose == Purpose::Counted && !self.has_received_prompt(due) {
            self.results.unprovoked += 1;
            return;
        }
        if purpose == Purpose::Counted {
            self.results.ledger.sent(due.index, now);
            self.results.recorder.sent(due.intended, now);
            self.results.last_sent = now;
            self.totals.sent += 1;
            if let Some(window) = &mut self.messages.window {
                window.sent();
            }
        }
        self.send_message(sessions, place, purpose, Stamp::new(due.index, due.intended, now), to);
    }

    /// Returns true if the message answers nothing, or if its sender has received the message that
    /// it answers.
    fn has_received_prompt(&self, due: Due) -> bool {
        let answered = self.plan.script.as_ref().and_then(|script| script.answers(due.index));
        let place = (due.sender / self.plan.workers) as usize;
        answered.is_none_or(|answered| self.results.ledger.has_received(place, answered))
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
        &mut self,
        sessions: &mut Sessions,
        place: usize,
        purpose: Purpose,
        stamp: Stamp,
        (scope, target): (Scope, u32),
    ) {
        let number = request_stamp(purpose, stamp.index);
        let text = self.plan.payload.compose(purpose, stamp);
        let text = Text::new(text).expect("a payload is no longer than a chat text may be");
        let request = ChatRequest { scope, target, stamp: number, text };
        self.request(sessions, place, request);
    }
}

/// The stamp of the request for a message.
fn request_stamp(purpose: Purpose, index: u32) -> u64 {
    u64::from(index) | if purpose == Purpose::Counted { COUNTED } else { 0 }
}
