//! Messages at the stub, and their faults.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use throng_core::SessionId;
use throng_core::config::Rate;
use throng_core::net::{PeerKind, Sessions};
use throng_core::wire::packets::{
    ChatMessage, ChatRefused, ChatRequest, Outcome, Scope, ServerTimes, TooFast, User,
};
use throng_core::wire::{Body, CloseReason, Packet, Text};

use super::script::{Fault, Walker};
use super::{StubApp, client_of_user};

/// The number of a counted message, from the documented form of its text.
fn index_of(text: &str) -> Option<u32> {
    u32::from_str_radix(text.strip_prefix('M')?.get(8..16)?, 16).ok()
}

fn message(
    sequence: u64,
    sender: &User,
    text: Text<1024>,
    times: ServerTimes,
    (scope, target): (Scope, u32),
) -> ChatMessage {
    let sender = sender.clone();
    ChatMessage { scope, target, sequence, sender, stamp: 0, times, text }
}

/// Rate of texts without a number: a fair server keeps a flood from filling the buffers of its
/// other clients.
const UNCOUNTED: Rate = Rate::new(250, Duration::from_millis(100));

impl StubApp {
    pub(super) fn chat(&mut self, sessions: &mut Sessions, id: SessionId, request: ChatRequest) {
        let ChatRequest { scope, target, stamp, text } = request;
        let script = self.script;
        let found = self.present.iter().find(|(_, (session, _))| *session == id);
        let Some((sender_client, (_, sender))) = found else { return };
        let (sender_client, to) = (*sender_client, (scope, target));
        let times = ServerTimes { received_us: self.now_us(), ..script.times };
        let index = index_of(&text);
        if index.is_some_and(|index| (script.refuses_message)(index)) {
            return sessions.send(id, &ChatRefused { stamp, outcome: Outcome::NotAMember }.into());
        }
        if index.is_none()
            && let Err(wait) = self.uncounted.take(UNCOUNTED, Instant::now())
        {
            let wait_ms = wait.as_millis() as u32 + 1;
            return sessions.send(id, &TooFast { packet: ChatRequest::NUMBER, stamp, wait_ms }.into());
        }
        let leaks = index.is_some_and(|index| (script.leaks_to_former)(index));
        let (sequence, recipients) =
            self.rooms.recipients(sender_client, to, leaks, self.present.keys().copied());
        let message = message(sequence, sender, text, times, to);
        let Some(index) = index else {
            let message: Packet = message.into();
            if script.probes {
                self.delivered += 1;
                let present = recipients.iter().filter_map(|client| self.present.get(client));
                present.for_each(|(session, _)| sessions.send(*session, &message));
            }
            return;
        };
        self.received.fetch_add(1, Ordering::Relaxed);
        if let Some((client, _)) = script.cuts.filter(|(_, at)| *at == index)
            && let Some((session, _)) = self.present.remove(&client)
        {
            sessions.close(session, CloseReason::TooSlow, "");
        }
        if script.dies_at == Some(index) {
            return sessions.close_all(PeerKind::Client, CloseReason::ServerShutdown, "");
        }
        if script.stalls_at.is_some_and(|at| index >= at) {
            return;
        }
        self.delivered += 1;
        self.tear(index, &recipients);
        self.deliver(sessions, index, &recipients, &message);
        let packet: Packet = message.into();
        let others = self.present.keys().filter(|client| (script.leaks_to)(**client, index));
        let others: Vec<u32> = others.filter(|client| !recipients.contains(client)).copied().collect();
        for client in others {
            self.send_at(Instant::now(), self.present[&client].0, packet.clone());
        }
        if scope == Scope::Nearby {
            self.leak_to_walkers(sender_client, index, &packet);
        }
        if (script.leaks)(index) {
            self.outside.iter().for_each(|session| sessions.send(*session, &packet));
        }
    }

    /// Tears the connections for which the script tears off the message about to be delivered.
    fn tear(&self, index: u32, recipients: &[u32]) {
        let (Some(relay), Some(tears)) = (&self.relay, self.script.tears) else { return };
        for client in recipients {
            let address = self.present.get(client).and_then(|(session, _)| self.relay_addresses.get(session));
            if let (Some(address), Some(keep)) = (address, tears(*client, index)) {
                relay.tear(*address, self.delivered, keep);
            }
        }
    }

    /// Delivers a message to its recipients, with the planned faults.
    fn deliver(&mut self, sessions: &mut Sessions, index: u32, recipients: &[u32], message: &ChatMessage) {
        let script = self.script;
        let ChatMessage { scope, target, .. } = *message;
        let at = Instant::now() + script.delay;
        // Most deliveries are alike, so the message is encoded once for them.
        let packet: Packet = message.clone().into();
        let mut encoded = Vec::new();
        packet.encode(&mut encoded);
        let mut alike = Vec::new();
        let too_many = self.present.len() >= script.drops_from;
        let left_out = self.present.keys().next().copied().filter(|_| too_many);
        for client in recipients.iter().filter(|client| Some(**client) != left_out) {
            let Some((session, _)) = self.present.get(client) else { continue };
            let session = *session;
            let distance = if scope == Scope::Nearby {
                self.rooms.distance(client_of_user(message.sender.id), *client)
            } else {
                None
            };
            if let Some(distance) = distance.filter(|_| self.rooms.has_moved(*client))
                && (script.walker)(index, distance) == Walker::Drop
            {
                self.seen.lock().unwrap().walkers_lost += 1;
                continue;
            }
            match (script.fault)(*client, index) {
                Some(Fault::Drop) => {}
                Some(Fault::Withhold) => *self.rooms.withheld.entry(*client).or_default() += 1,
                Some(Fault::Misplace) => {
                    let message = ChatMessage { scope: Scope::Nearby, ..message.clone() };
                    self.send_at(at, session, message.into());
                }
                Some(Fault::Late) => self.held.entry(*client).or_default().push(packet.clone()),
                Some(Fault::Duplicate) => {
                    self.send_at(at, session, packet.clone());
                    self.send_at(at, session, packet.clone());
                }
                Some(Fault::Damage) => {
                    let text = Text::new(format!("{}!", &message.text[..message.text.len() - 1])).unwrap();
                    self.send_at(at, session, ChatMessage { text, ..message.clone() }.into());
                }
                Some(Fault::Renumber) => {
                    let sequence = message.sequence - 1;
                    self.send_at(at, session, ChatMessage { sequence, ..message.clone() }.into());
                }
                Some(Fault::Hold(millis)) => {
                    self.send_at(at + Duration::from_millis(millis), session, packet.clone());
                }
                None => {
                    let channel = if scope == Scope::Channel { target } else { 0 };
                    let gap_scope = if scope == Scope::Whisper { Scope::Nearby } else { scope };
                    let gap = self.rooms.gap(*client, gap_scope, channel);
                    let held = self.held.remove(client).unwrap_or_default();
                    if gap.is_none() && held.is_empty() && script.delay.is_zero() && self.due.is_empty() {
                        alike.push(session);
                        continue;
                    }
                    if let Some(gap) = gap {
                        self.send_at(at, session, gap);
                    }
                    self.send_at(at, session, packet.clone());
                    for held in held {
                        self.send_at(at, session, held);
                    }
                }
            }
        }
        // A multicast would leave messages out where a reader is behind.
        for session in alike {
            sessions.send_encoded(session, &encoded);
        }
    }

    /// Delivers a nearby message to the walkers to which the script leaks it.
    fn leak_to_walkers(&mut self, sender_client: u32, index: u32, packet: &Packet) {
        let walkers = self.present.iter().filter(|(client, _)| self.rooms.has_moved(**client));
        let far = walkers.filter(|(client, _)| {
            let distance = self.rooms.distance(sender_client, **client);
            distance.is_some_and(|distance| (self.script.walker)(index, distance) == Walker::Leak)
        });
        let far: Vec<SessionId> = far.map(|(_, (session, _))| *session).collect();
        self.seen.lock().unwrap().walkers_leaked += far.len() as u64;
        for session in far {
            self.send_at(Instant::now(), session, packet.clone());
        }
    }

    /// Schedules a packet, in order with earlier ones of the same time.
    pub(super) fn send_at(&mut self, at: Instant, session: SessionId, packet: Packet) {
        self.scheduled += 1;
        self.due.insert((at, self.scheduled), (session, packet));
    }
}
