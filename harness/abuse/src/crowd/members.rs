//! The honest clients themselves: entering, their place and channel, and what they say.

use throng_core::SessionId;
use throng_core::net::Sessions;
use throng_core::wire::packets::{
    ChannelCreateRequest, ChannelJoinRequest, ChatRequest, EnterRequest, Outcome, PingRequest, Scope,
};
use throng_core::wire::{CloseReason, Packet, Text};
use throng_harness_model::clock::Nanos;
use throng_harness_model::payload::{Purpose, Reading, Stamp};

use super::ledger::{Audience, Numbered};
use super::{HonestApp, Owner, is_background, near_clients};
use crate::attack::Room;
use throng_harness_driver::incoming::Incoming;

/// Clients on their way in at a time.
const ENTERING_MAX: u32 = 32;
/// The pause before a client tries again to enter, in nanoseconds.
const RETRY: Nanos = 200_000_000;
/// Messages sent in one turn, so that reading goes on while many are overdue.
const SENDS_PER_TURN: usize = 256;
/// The interval at which a slow client's budget grows, in nanoseconds.
const TICK: Nanos = 20_000_000;
/// Ticks a second.
const TICKS: i64 = 50;
/// The receive buffer of a slow client, in bytes.
pub(crate) const RECEIVE_BUFFER: usize = 16 * 1024;
/// The receive buffer of a slow client that catches up, in bytes.
const WIDE_BUFFER: usize = 1024 * 1024;
/// Approximate size of a message without its text, in bytes.
const OVERHEAD: usize = 110;
/// The token of the ping that follows a client's position and join.
const FENCE: u64 = u64::MAX;

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Step {
    #[default]
    Idle,
    /// Dialed, or waiting to be.
    Entering,
    /// In the chat; the channel has not answered.
    Joining,
    /// In the channel; the ping behind the position has no answer.
    Placing,
    Ready,
    Lost,
}

/// An honest client.
#[derive(Debug, Clone, Default)]
pub(super) struct Member {
    step: Step,
    session: Option<SessionId>,
    /// Its user id.
    pub(super) user: u32,
    channel: u32,
}

impl Member {
    pub(super) fn is_ready(&self) -> bool {
        self.step == Step::Ready
    }

    pub(super) fn is_lost(&self) -> bool {
        self.step == Step::Lost
    }
}

/// The line of a client that reads slowly.
#[derive(Debug)]
pub(super) struct SlowLine {
    rate: u32,
    budget: i64,
    due: Option<Nanos>,
}

impl SlowLine {
    pub(super) fn new(rate: u32) -> Self {
        Self { rate, budget: 0, due: None }
    }
}

impl HonestApp {
    pub(super) fn is_present(&self, client: u32) -> bool {
        self.members.get(client as usize).is_some_and(Member::is_ready)
    }

    fn is_far(&self, client: u32) -> bool {
        client >= near_clients(self.settings.scene.clients)
    }

    /// True for the first client of a group, which makes its channel.
    fn is_founder(&self, client: u32) -> bool {
        client == 0 || client == near_clients(self.settings.scene.clients)
    }

    /// Begins entries that are due. True if there are more to begin at once.
    pub(super) fn members_due(&mut self, sessions: &mut Sessions, now: Nanos) -> bool {
        while let Some((at, client)) = self.retries.front().copied()
            && at <= now
        {
            self.retries.pop_front();
            self.dial_member(sessions, client);
        }
        let mut in_turn = 0;
        while self.next_client < self.settings.scene.clients && self.entering < ENTERING_MAX {
            if in_turn == ENTERING_MAX {
                return true;
            }
            in_turn += 1;
            let client = self.next_client;
            self.next_client += 1;
            self.entering += 1;
            self.dial_member(sessions, client);
        }
        false
    }

    fn dial_member(&mut self, sessions: &mut Sessions, client: u32) {
        let chat = &self.settings.scene.chat;
        self.members[client as usize].step = Step::Entering;
        match sessions.dial(chat.address, &chat.endpoint, 0) {
            Ok(id) => {
                self.owners.insert(id, Owner::Member(client));
                self.members[client as usize].session = Some(id);
            }
            Err(error) => self.enter_again(client, format!("cannot dial ({error})")),
        }
    }

    /// Has a client that could not enter try again.
    fn enter_again(&mut self, client: u32, why: String) {
        self.trouble = Some(why);
        self.members[client as usize] = Member { step: Step::Entering, ..Member::default() };
        self.retries.push_back((self.now() + RETRY, client));
    }

    pub(super) fn member_opened(&mut self, sessions: &mut Sessions, id: SessionId, client: u32) {
        let Some(ticket) = self.settings.scene.ticket(client) else {
            return sessions.close(id, CloseReason::Goodbye, "");
        };
        sessions.send(id, &EnterRequest { ticket }.into());
        let is_far = self.is_far(client);
        let place = self.settings.scene.place(client, is_far);
        sessions.send(id, &place.into());
    }

    pub(super) fn member_packet(
        &mut self,
        sessions: &mut Sessions,
        id: SessionId,
        client: u32,
        packet: Packet,
    ) {
        let step = self.members[client as usize].step;
        match (step, packet) {
            (_, Packet::ChatMessage(message)) => {
                self.message_received(sessions, client, Incoming::of(&message));
            }
            (_, Packet::ChatRefused(refused)) => {
                if let Some(index) = (refused.stamp as u32).checked_sub(self.base) {
                    self.ledger.refuse(index);
                    self.count_reason(format!("message refused: {}", refused.outcome.name()));
                }
            }
            (_, Packet::TooFast(too_fast)) => {
                if let Some(index) = (too_fast.stamp as u32).checked_sub(self.base) {
                    self.ledger.refuse(index);
                }
                self.count_reason("message refused: too fast".into());
            }
            (_, Packet::ChatGap(gap)) => {
                let room = match gap.scope {
                    Scope::World => Some(Numbered::World),
                    Scope::Channel => Some(Numbered::Channel),
                    Scope::Nearby | Scope::Whisper => None,
                };
                self.ledger.gap(client, room, gap.missed);
            }
            (Step::Entering, Packet::EnterAnswer(answer)) => {
                self.members[client as usize].user = answer.user.id;
                self.members[client as usize].step = Step::Joining;
                self.join(sessions, id, client);
            }
            (Step::Joining, Packet::ChannelAnswer(answer)) if answer.outcome == Outcome::Ok => {
                let is_far = self.is_far(client);
                let member = &mut self.members[client as usize];
                (member.channel, member.step) = (answer.channel, Step::Placing);
                self.entering -= 1;
                sessions.send(id, &PingRequest { token: FENCE }.into());
                if !std::mem::replace(&mut self.has_channel[usize::from(is_far)], true) {
                    self.admit_group(sessions, is_far);
                }
            }
            (Step::Joining, Packet::ChannelAnswer(answer)) => {
                self.trouble = Some(format!("no channel: {}", answer.outcome.name()));
            }
            (Step::Placing, Packet::PongAnswer(pong)) if pong.token == FENCE => {
                self.members[client as usize].step = Step::Ready;
            }
            (_, packet) if is_background(&packet) => {}
            _ => {}
        }
    }

    /// Requests the membership of a client, unless its channel is still to be made by another one.
    fn join(&mut self, sessions: &mut Sessions, id: SessionId, client: u32) {
        let is_far = self.is_far(client);
        let scene = &self.settings.scene;
        let name = if is_far { scene.far_channel() } else { scene.near_channel() };
        if self.has_channel[usize::from(is_far)] {
            sessions.send(id, &ChannelJoinRequest { name }.into());
        } else if self.is_founder(client) {
            sessions.send(id, &ChannelCreateRequest { name }.into());
        }
    }

    /// Has the waiting clients of a group join the channel that now exists.
    fn admit_group(&mut self, sessions: &mut Sessions, is_far: bool) {
        for client in 0..self.settings.scene.clients {
            let Member { step, session, .. } = self.members[client as usize];
            if let (Step::Joining, Some(session), true) = (step, session, self.is_far(client) == is_far) {
                self.join(sessions, session, client);
            }
        }
    }

    pub(super) fn member_closed(&mut self, client: u32, reason: CloseReason) {
        match self.members[client as usize].step {
            Step::Placing | Step::Ready => {
                let member = &mut self.members[client as usize];
                (member.step, member.session) = (Step::Lost, None);
                self.heard.disconnected += 1;
                self.count_reason(format!("client lost: {}", reason.name()));
            }
            Step::Entering | Step::Joining => self.enter_again(client, reason.name().into()),
            Step::Idle | Step::Lost => {}
        }
    }

    /// Sends the messages that are due. True if there are more.
    pub(super) fn messages_due(&mut self, sessions: &mut Sessions) -> bool {
        let Some(talk) = self.talk else { return false };
        for _ in 0..SENDS_PER_TURN {
            let index = self.ledger.sent();
            let intended = talk.message_at(index.into());
            let now = self.now();
            if intended > now || intended >= talk.until {
                return false;
            }
            self.say(sessions, index, intended, now);
            if intended >= talk.count_from {
                self.heard.recorder.sent(intended, now);
            }
        }
        true
    }

    /// Sends message `index` of the phase. The groups take turns, and so do their members.
    fn say(&mut self, sessions: &mut Sessions, index: u32, intended: Nanos, now: Nanos) {
        let is_far = index % 2 == 1;
        let near = near_clients(self.settings.scene.clients);
        let of_group = index / 2;
        let audience = match (is_far, self.settings.room) {
            (true, _) if of_group % 2 == 1 => Audience::Nearby,
            (true, _) | (false, Room::Channel) => Audience::Channel,
            (false, Room::World) => Audience::World,
            (false, Room::Nearby) => Audience::Nearby,
            (false, Room::Victim) => Audience::Victim,
        };
        let (first, count) = match audience {
            _ if is_far => (near, self.settings.scene.clients - near),
            // The victim does not whisper to itself.
            Audience::Victim => (1, near - 1),
            _ => (0, near),
        };
        let at = |turn: u32| first + (of_group + turn) % count;
        let sender = (0..count).map(at).find(|client| self.is_present(*client));
        let sender = sender.unwrap_or(first);
        let number = self.base + index;
        self.ledger.send(sender, audience);
        let member = &self.members[sender as usize];
        let Some(session) = member.session.filter(|_| member.is_ready()) else {
            // No member of the group is left.
            return self.ledger.refuse(index);
        };
        let (scope, target) = match audience {
            Audience::World => (Scope::World, 0),
            Audience::Channel => (Scope::Channel, member.channel),
            Audience::Nearby => (Scope::Nearby, 0),
            Audience::Victim => (Scope::Whisper, self.members[0].user),
        };
        let stamp = Stamp::new(number, intended, now);
        let text = Text::truncated(&self.settings.payload.compose(Purpose::Counted, stamp));
        sessions.send(session, &ChatRequest { scope, target, stamp: number.into(), text }.into());
    }

    pub(super) fn message_received(&mut self, sessions: &mut Sessions, client: u32, message: Incoming<'_>) {
        let room = match message.scope {
            Scope::World => Some(Numbered::World),
            Scope::Channel => Some(Numbered::Channel),
            Scope::Nearby | Scope::Whisper => None,
        };
        if let Some(room) = room {
            self.ledger.number(client, room, message.sequence);
        }
        if client == 0 {
            self.charge_slow(sessions, message.text.len());
        }
        let stamp = match self.recent.read(&self.settings.payload, message.text) {
            Reading::Ours(_, stamp) => stamp,
            Reading::Corrupt => {
                self.heard.corrupted += 1;
                return;
            }
            Reading::Foreign => return,
        };
        // A message of an earlier phase was missing there.
        let Some(index) = stamp.index.checked_sub(self.base) else { return };
        let Some((sender, audience)) = self.ledger.message(index) else { return };
        if !self.ledger.receive(client, index, message.sequence) {
            return;
        }
        // The victim's copy is the subject; the sender's own comes back on a fast line.
        let is_own = audience == Audience::Victim && client == sender;
        if self.talk.is_some_and(|talk| stamp.intended >= talk.count_from) && !is_own {
            let latency = self.now().saturating_sub(stamp.intended);
            let latencies = if index % 2 == 1 { &mut self.heard.other } else { &mut self.heard.same };
            latencies.record(latency);
        }
    }

    /// Begins to read slowly, in the client that does.
    pub(super) fn slow_down(&mut self, sessions: &mut Sessions) {
        if let (Some(slow), Some(session)) = (&mut self.slow, self.members[0].session) {
            slow.due = Some(self.settings.clock.now());
            sessions.limit_receive_buffer(session, RECEIVE_BUFFER);
        }
    }

    /// Has the slow client read all that waits for it.
    pub(super) fn wake_slow(&mut self, sessions: &mut Sessions) {
        if let (Some(slow), Some(session)) = (&mut self.slow, self.members[0].session) {
            slow.due = None;
            sessions.limit_receive_buffer(session, WIDE_BUFFER);
            sessions.pause_reading(session, false);
        }
    }

    fn charge_slow(&mut self, sessions: &mut Sessions, text: usize) {
        let Some(slow) = self.slow.as_mut().filter(|slow| slow.due.is_some()) else { return };
        slow.budget -= i64::try_from(text + OVERHEAD).unwrap_or(i64::MAX);
        if let (true, Some(session)) = (slow.budget <= 0, self.members[0].session) {
            sessions.pause_reading(session, true);
        }
    }

    /// Gives the slow client more to read. Returns the time of the next call.
    pub(super) fn slow_due(&mut self, sessions: &mut Sessions, now: Nanos) -> Option<Nanos> {
        let slow = self.slow.as_mut()?;
        let due = slow.due?;
        if due > now {
            return Some(due);
        }
        let rate = i64::from(slow.rate);
        slow.budget = (slow.budget + rate / TICKS).min(rate / TICKS);
        slow.due = Some(now + TICK);
        if let (true, Some(session)) = (slow.budget > 0, self.members[0].session) {
            sessions.pause_reading(session, false);
        }
        slow.due
    }
}
