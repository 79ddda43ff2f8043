//! A client's place in the chat, over all of its connections.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use throng_core::limits::CHANNELS_PER_USER_MAX;
use throng_core::roster::Roster;
use throng_core::wire::packets::{
    ChannelAnswer, ChatGap, ChatNode, ChatRequest, EnterAnswer, HeldChannel, Packet, ResumeAnswer,
    ResumeRequest, ResumeTokenBytes, Scope, User,
};
use throng_core::wire::{List, Text};

use crate::requests::{Requests, Settled};

/// A room that the client is in.
#[derive(Debug)]
pub(crate) struct Room {
    pub(crate) name: Text<{ throng_core::limits::CHANNEL_WIRE_MAX }>,
    /// Number of the latest message; 0 for none.
    pub(crate) sequence: u64,
    pub(crate) roster: Roster,
    /// Time at which the list is requested from the start.
    pub(crate) start_over_at: Option<Instant>,
    /// True from a resume until the server tells the state of the room.
    pub(crate) is_stale: bool,
    /// Number of its latest message, as the server has told it; what was missed follows.
    pub(crate) catches_up_to: Option<u64>,
}

impl Room {
    fn new(name: Text<{ throng_core::limits::CHANNEL_WIRE_MAX }>) -> Self {
        Self {
            name,
            sequence: 0,
            roster: Roster::new(),
            start_over_at: None,
            is_stale: false,
            catches_up_to: None,
        }
    }
}

/// Position of a received message among those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    /// The next one.
    Next,
    /// Received before.
    Repeated,
    /// One before it is missing, and no gap tells so.
    Broken,
}

/// State that a new connection goes on from.
pub(crate) struct Place {
    pub(crate) user: User,
    pub(crate) head_count: u32,
    pub(crate) requests: Requests,
    /// Time at which messages that still wait are settled.
    pub(crate) settle_at: Option<Instant>,
    /// By channel; 0 is the world.
    pub(crate) rooms: BTreeMap<u32, Room>,
    /// Time for which the server keeps the place; zero if it does not.
    pub(crate) resume_window: Duration,
    pub(crate) heartbeat: Duration,
    /// The latest one, in the game's own units.
    pub(crate) position: Option<(i32, i32)>,
    /// Chat servers at which the place may be resumed; empty if it is one alone.
    pub(crate) nodes: Vec<ChatNode>,
    token: ResumeTokenBytes,
    /// Messages to users nearby that the server has handled, and whose copies were lost with the
    /// line: no history has them. Refused, if a refusal is among the answers that follow a resume.
    pub(crate) unseen: Vec<ChatRequest>,
    /// Answers received.
    answers: u32,
    /// Number of the latest whisper.
    whispers: u64,
}

impl Place {
    pub(crate) fn new(answer: EnterAnswer) -> Self {
        let window = Duration::from_millis(answer.resume_ms.into());
        Self {
            user: answer.user,
            head_count: answer.head_count,
            requests: Requests::default(),
            settle_at: None,
            rooms: BTreeMap::from([(0, Room::new(Text::default()))]),
            resume_window: if answer.token.is_empty() { Duration::ZERO } else { window },
            heartbeat: Duration::from_millis(answer.heartbeat_ms.into()),
            position: None,
            nodes: Vec::new(),
            token: answer.token,
            unseen: Vec::new(),
            answers: 0,
            whispers: 0,
        }
    }

    /// Counts the packets that count as answers.
    pub(crate) fn count(&mut self, packet: &Packet) {
        let is_answer = matches!(
            packet,
            Packet::ChatRefused(_)
                | Packet::ChannelAnswer(_)
                | Packet::ChannelLeft(_)
                | Packet::ChannelKickAnswer(_)
                | Packet::TooFast(_)
        );
        self.answers = self.answers.wrapping_add(is_answer.into());
    }

    /// Adds the channel of an answer with Ok, unless the client is in it already. False if it is in
    /// as many as a user may be.
    #[must_use]
    pub(crate) fn join(&mut self, answer: &ChannelAnswer) -> bool {
        // The world is one of the rooms.
        if self.rooms.len() > CHANNELS_PER_USER_MAX && !self.rooms.contains_key(&answer.channel) {
            return false;
        }
        self.rooms.entry(answer.channel).or_insert_with(|| Room::new(answer.name.clone()));
        true
    }

    fn latest(&mut self, scope: Scope, channel: u32) -> Option<&mut u64> {
        match scope {
            Scope::World => self.rooms.get_mut(&0).map(|room| &mut room.sequence),
            Scope::Channel => self.rooms.get_mut(&channel).map(|room| &mut room.sequence),
            Scope::Whisper => Some(&mut self.whispers),
            Scope::Nearby => None,
        }
    }

    /// Notes a message's number.
    pub(crate) fn hear(&mut self, scope: Scope, channel: u32, sequence: u64) -> Order {
        let Some(latest) = self.latest(scope, channel) else {
            // A message of a channel that the client is not in.
            return if scope == Scope::Channel { Order::Repeated } else { Order::Next };
        };
        if *latest != 0 && sequence <= *latest {
            return Order::Repeated;
        }
        // A slow line loses whispers too, and the gap counts them as nearby messages.
        let is_next = *latest == 0 || sequence == *latest + 1 || scope == Scope::Whisper;
        *latest = sequence;
        if is_next { Order::Next } else { Order::Broken }
    }

    /// Skips missed messages.
    pub(crate) fn skip(&mut self, gap: &ChatGap) {
        if let Some(latest) = self.latest(gap.scope, gap.channel).filter(|latest| **latest != 0) {
            *latest = latest.saturating_add(gap.missed);
        }
    }

    /// Notes where a room stands. What was missed in the rooms before it has come.
    pub(crate) fn catch_up(&mut self, channel: u32, sequence: u64) {
        for room in self.rooms.values_mut() {
            if let Some(latest) = room.catches_up_to.take() {
                room.sequence = latest.max(room.sequence);
            }
        }
        // World is the last one, and its number is never forgotten.
        if let Some(room) = self.rooms.get_mut(&channel).filter(|_| channel != 0) {
            room.catches_up_to = Some(sequence);
        }
    }

    pub(crate) fn resume_request(&self) -> ResumeRequest {
        let world = self.rooms.get(&0);
        let channels = self.rooms.iter().filter(|(number, _)| **number != 0);
        let held = channels.map(|(channel, room)| HeldChannel { channel: *channel, sequence: room.sequence });
        ResumeRequest {
            token: self.token.clone(),
            answers: self.answers,
            whispers: self.whispers,
            world: world.map_or(0, |room| room.sequence),
            list_version: world.map_or(0, |room| room.roster.version()),
            channels: List::new(held.take(CHANNELS_PER_USER_MAX).collect()).unwrap_or_default(),
        }
    }

    /// Takes the place again. Returns the requests that waited. None if the answer contradicts what
    /// the client has seen.
    pub(crate) fn resume(&mut self, answer: &ResumeAnswer) -> Option<Settled> {
        let settled = self.requests.settle(answer.handled)?;
        self.token = answer.token.clone();
        let lost = answer.answers_from.wrapping_sub(self.answers).wrapping_sub(1);
        if lost > u32::MAX / 2 {
            return None;
        }
        if lost > 0 {
            // The client may have left and joined again, and the numbers with it.
            self.answers = self.answers.wrapping_add(lost);
            self.rooms.iter_mut().filter(|(number, _)| **number != 0).for_each(|(_, room)| room.sequence = 0);
        }
        Some(settled)
    }
}
