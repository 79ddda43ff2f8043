//! Memory of a simulated client: its place in the chat, with which it goes on over another
//! connection.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use throng_core::room::RoomId;
use throng_core::wire::packets::{
    ChatGap, ChatMessage, ChatRequest, EnterAnswer, HeldChannel, Outcome, ResumeAnswer, ResumeRequest,
    ResumeTokenBytes, Scope, UsersChanged,
};
use throng_core::wire::{List, Packet};

use super::truth::{Cause, Place, View};

/// State of a member's connection to the chat.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Line {
    #[default]
    Well,
    /// This many packets still reach the member, which does not know that the rest is lost.
    Dying(usize),
}

/// A client's memory of its place.
#[derive(Default)]
pub(super) struct Memory {
    pub(super) user: u32,
    /// The newest token that has come.
    token: ResumeTokenBytes,
    /// Answers that have come.
    answers: u32,
    /// Number of the latest whisper.
    whispers: u64,
    /// The rooms that the client is in as far as it knows, with the number of the latest message.
    rooms: BTreeMap<u32, u64>,
    /// Rooms that the server has named since the latest ResumeAnswer.
    resumed: BTreeSet<u32>,
    /// True if answers were lost for good, until the server has named the rooms again.
    pub(super) has_lost_answers: bool,
    /// Version of the world's list, and its users.
    version: u64,
    pub(super) roster: BTreeSet<u32>,
    /// Own packets that the server has handled, as far as the client knows, and those after them.
    handled: u32,
    sent: VecDeque<Packet>,
    /// Stamps of messages without an answer.
    unanswered: BTreeSet<u64>,
    /// Stamps of messages that were handled, and whose answers or copies may be lost.
    uncertain: BTreeSet<u64>,
}

impl Memory {
    /// Returns true if the client has a token.
    pub(super) fn can_resume(&self) -> bool {
        !self.token.is_empty()
    }

    pub(super) fn request(&self) -> ResumeRequest {
        let held = self.rooms.iter().filter(|(room, _)| **room != RoomId::WORLD.0);
        let mut held = held.map(|(channel, sequence)| HeldChannel { channel: *channel, sequence: *sequence });
        ResumeRequest {
            token: self.token.clone(),
            answers: self.answers,
            whispers: self.whispers,
            world: self.rooms.get(&RoomId::WORLD.0).copied().unwrap_or_default(),
            list_version: self.version,
            channels: List::take_from(&mut held),
        }
    }

    /// Remembers an own packet. Returns its number.
    pub(super) fn send(&mut self, packet: Packet) -> u32 {
        if let Packet::ChatRequest(ChatRequest { stamp, .. }) = packet {
            self.unanswered.insert(stamp);
        }
        self.sent.push_back(packet);
        self.count() - 1
    }

    /// Returns the number of own packets so far.
    pub(super) fn count(&self) -> u32 {
        self.handled + self.sent.len() as u32
    }

    /// Yields the own packets that the server may not have handled, with their numbers.
    pub(super) fn unhandled(&self) -> impl Iterator<Item = (u32, &Packet)> {
        (self.handled..).zip(&self.sent)
    }

    /// Checks that all is answered. `handled` is the number of own packets that reached the server.
    pub(super) fn check_settled(&self, handled: u32) {
        assert_eq!(handled, self.count(), "own packets of user {} have vanished", self.user);
        assert!(
            self.unanswered.is_empty(),
            "messages of user {} have vanished: {:?}",
            self.user,
            self.unanswered
        );
    }

    /// Handles a packet of the chat server. An abuser does not know what it has sent.
    pub(super) fn receive(&mut self, packet: &Packet, view: &View<'_>, is_abuser: bool) {
        if let Packet::EnterAnswer(EnterAnswer { user, token, .. }) = packet {
            *self = Self { user: user.id, token: token.clone(), ..Self::default() };
            self.rooms.insert(RoomId::WORLD.0, 0);
            return;
        }
        let Some(place) = view.truth.places.get(&self.user) else { return };
        let is_own = !is_abuser && !place.is_stolen;
        match packet {
            Packet::ResumeAnswer(answer) => self.resume(answer, is_own, view),
            Packet::RoomResumed(resumed) => {
                self.resumed.insert(resumed.channel);
                self.rooms.entry(resumed.channel).or_default();
                if resumed.channel == RoomId::WORLD.0 {
                    let is_known = self.rooms.keys().all(|room| self.resumed.contains(room));
                    assert!(is_known || self.has_lost_answers, "a channel was lost without a word");
                    self.rooms.retain(|room, _| self.resumed.contains(room));
                    self.has_lost_answers = false;
                }
            }
            Packet::UserList(page) if page.channel == RoomId::WORLD.0 && !is_abuser => {
                self.version = page.version;
                self.roster = page.users.iter().map(|user| user.id).collect();
            }
            Packet::UsersChanged(notice) if notice.channel == RoomId::WORLD.0 && !is_abuser => {
                self.apply(notice);
            }
            Packet::ChatMessage(message) => self.hear(message, place, is_own),
            Packet::ChatGap(gap) => self.skip(gap, place, view),
            Packet::ChatRefused(refused) => {
                self.answers += 1;
                let is_known = self.answered(refused.stamp);
                assert!(is_known || !is_own, "a message was refused twice");
            }
            Packet::TooFast(too_fast) => {
                self.answers += 1;
                self.answered(too_fast.stamp);
            }
            Packet::ChannelAnswer(answer) => {
                self.answers += 1;
                if answer.outcome == Outcome::Ok {
                    self.rooms.entry(answer.channel).or_default();
                }
            }
            Packet::ChannelLeft(left) => {
                self.answers += 1;
                if left.outcome != Outcome::NotAMember {
                    self.rooms.remove(&left.channel);
                    // What a former member has missed, its own messages included, does not follow.
                    if matches!(view.truth.cause, Cause::Resume(..)) {
                        self.doubt();
                    }
                }
            }
            Packet::ChannelKickAnswer(_) => self.answers += 1,
            _ => {}
        }
    }

    fn answered(&mut self, stamp: u64) -> bool {
        self.unanswered.remove(&stamp) || self.uncertain.remove(&stamp)
    }

    fn resume(&mut self, answer: &ResumeAnswer, is_own: bool, view: &View<'_>) {
        self.token = answer.token.clone();
        self.resumed.clear();
        if is_own {
            let new = answer.handled.checked_sub(self.handled).expect("what was handled stays so") as usize;
            for packet in self.sent.drain(..new) {
                // Nearby messages of the meantime are lost.
                if let Packet::ChatRequest(ChatRequest { scope: Scope::Nearby, stamp, .. }) = packet
                    && self.unanswered.remove(&stamp)
                {
                    self.uncertain.insert(stamp);
                }
            }
        } else {
            self.sent.clear();
            self.unanswered.clear();
        }
        self.handled = answer.handled;
        let lost = answer.answers_from.checked_sub(self.answers + 1).expect("no answer comes twice");
        self.has_lost_answers |= lost > 0;
        self.answers += lost;
        if lost > 0 {
            assert!(view.plan.may_lose_own_packets(), "answers are kept, and were not sent");
            self.doubt();
        }
    }

    /// Gives up waiting for the answers to messages that were handled.
    fn doubt(&mut self) {
        let sent = self.sent.iter().filter_map(|packet| match packet {
            Packet::ChatRequest(request) => Some(request.stamp),
            _ => None,
        });
        let sent: BTreeSet<u64> = sent.collect();
        let handled: Vec<u64> = self.unanswered.difference(&sent).copied().collect();
        self.unanswered.retain(|stamp| sent.contains(stamp));
        self.uncertain.extend(handled);
    }

    fn apply(&mut self, notice: &UsersChanged) {
        assert!(notice.complete, "few users fit one notice");
        if notice.version <= self.version {
            return;
        }
        assert!(notice.since <= self.version, "a notice is missing: {notice:?} after {}", self.version);
        self.version = notice.version;
        self.roster.extend(notice.entered.iter().map(|user| user.id));
        self.roster.retain(|user| !notice.left.contains(user));
    }

    /// Returns the number of the latest message of a room that has come, or was said before the
    /// member came.
    pub(super) fn latest(&self, room: u32, place: &Place) -> Option<u64> {
        let since = place.since.get(&room).copied().unwrap_or_default();
        self.rooms.get(&room).map(|latest| since.max(*latest))
    }

    fn hear(&mut self, message: &ChatMessage, place: &Place, is_own: bool) {
        match message.scope {
            Scope::Nearby => {}
            Scope::Whisper => {
                let wanted = self.whispers + 1;
                assert_eq!(message.sequence, wanted, "a whisper is missing or came twice");
                self.whispers = message.sequence;
            }
            Scope::World | Scope::Channel => {
                let room = if message.scope == Scope::World { RoomId::WORLD.0 } else { message.target };
                let latest = self.latest(room, place);
                let latest = latest.unwrap_or_else(|| panic!("a message of room {room}, which it is not in"));
                assert_eq!(message.sequence, latest + 1, "room {room}: a message is missing or came twice");
                self.rooms.insert(room, message.sequence);
            }
        }
        if message.sender.id == self.user && is_own {
            assert!(self.answered(message.stamp), "its message came back twice");
        }
    }

    /// Counts messages that are not kept any more.
    fn skip(&mut self, gap: &ChatGap, place: &Place, view: &View<'_>) {
        self.doubt();
        if gap.scope == Scope::Whisper {
            self.whispers += gap.missed;
            return view.check_whispers_skipped();
        }
        let latest = self.latest(gap.channel, place).expect("a gap in a room that it is in") + gap.missed;
        self.rooms.insert(gap.channel, latest);
        view.check_skipped(gap.channel, latest);
    }
}
