//! The client's side of resuming, as docs/protocol.md describes it ("Resuming"). Packets go in, and
//! the ResumeRequest and the requests to send again come out.

use std::collections::VecDeque;

use throng_core::wire::List;
use throng_core::wire::packets::{
    HeldChannel, Outcome, Packet, ResumeAnswer, ResumeRequest, ResumeTokenBytes, Scope,
};
use throng_harness_model::clock::Nanos;

/// A client's place in the chat, over all of its connections.
#[derive(Debug, Default)]
pub struct Resumption {
    token: ResumeTokenBytes,
    /// Time of the cut; none while the connection is up.
    cut_at: Option<Nanos>,
    /// Requests sent, or waiting for the next connection.
    sent: u32,
    /// The latest of them, which the server may not have handled.
    unhandled: VecDeque<Packet>,
    /// Answers received.
    answers: u32,
    /// Number of the latest whisper.
    whispers: u64,
    /// Number of the latest message of the world.
    world: u64,
    channels: Vec<HeldChannel>,
    list_version: u64,
    /// After a resume: the number of the world's last missed message; [`u64::MAX`] until it is
    /// known.
    catching_up: Option<u64>,
}

impl Resumption {
    /// Returns the place of a client that has just entered.
    pub fn new(token: ResumeTokenBytes) -> Self {
        Self { token, ..Self::default() }
    }

    /// Returns true while the connection is cut.
    pub fn is_away(&self) -> bool {
        self.cut_at.is_some()
    }

    /// Counts and keeps a request. Returns true if it is to be sent now; otherwise it waits for the
    /// next connection.
    pub fn request(&mut self, request: &Packet) -> bool {
        self.sent = self.sent.wrapping_add(1);
        self.unhandled.push_back(request.clone());
        !self.is_away()
    }

    /// Drops the requests up to the message with this stamp, which has come back to its sender.
    pub fn saw_own(&mut self, stamp: u64) {
        let is_it = |request: &Packet| matches!(request, Packet::ChatRequest(it) if it.stamp == stamp);
        if let Some(at) = self.unhandled.iter().position(is_it) {
            self.unhandled.drain(..=at);
        }
    }

    /// Notes a message. It runs for every delivery.
    pub fn heard(&mut self, scope: Scope, target: u32, sequence: u64) {
        let held = match scope {
            Scope::World => Some(&mut self.world),
            Scope::Channel => self.channel(target),
            Scope::Whisper => Some(&mut self.whispers),
            Scope::Nearby => None,
        };
        if let Some(held) = held {
            *held = sequence.max(*held);
        }
        if self.catching_up.is_some() {
            self.finish_catching_up();
        }
    }

    fn channel(&mut self, number: u32) -> Option<&mut u64> {
        let held = self.channels.iter_mut().find(|held| held.channel == number);
        held.map(|held| &mut held.sequence)
    }

    /// Notes the version of the world's list.
    pub fn listed(&mut self, version: u64) {
        self.list_version = self.list_version.max(version);
    }

    /// Notes a packet other than a message. Returns the number of messages that a resumed client
    /// has missed for good.
    pub fn received(&mut self, packet: &Packet) -> u64 {
        match packet {
            Packet::ChatRefused(_) | Packet::ChannelKickAnswer(_) | Packet::TooFast(_) => self.answered(),
            Packet::ChannelAnswer(answer) => {
                self.answered();
                if answer.outcome == Outcome::Ok && self.channel(answer.channel).is_none() {
                    self.channels.push(HeldChannel { channel: answer.channel, sequence: 0 });
                }
            }
            Packet::ChannelLeft(left) => {
                self.answered();
                if matches!(left.outcome, Outcome::Ok | Outcome::Kicked) {
                    self.channels.retain(|held| held.channel != left.channel);
                }
            }
            Packet::UserList(list) if list.channel == 0 && self.list_version == 0 => {
                self.list_version = list.version;
            }
            Packet::UsersChanged(notice) if notice.channel == 0 => self.listed(notice.version),
            Packet::RoomResumed(room) if room.channel == 0 && self.catching_up.is_some() => {
                self.catching_up = Some(room.sequence);
                self.finish_catching_up();
            }
            Packet::ChatGap(gap) => {
                let missed = if self.catching_up.is_some() { gap.missed } else { 0 };
                let held = match gap.scope {
                    Scope::World => Some(&mut self.world),
                    Scope::Channel => self.channel(gap.channel),
                    Scope::Whisper => Some(&mut self.whispers),
                    Scope::Nearby => None,
                };
                if let Some(held) = held {
                    *held = held.saturating_add(gap.missed);
                }
                self.finish_catching_up();
                return missed;
            }
            _ => {}
        }
        0
    }

    fn answered(&mut self) {
        self.answers = self.answers.wrapping_add(1);
    }

    /// The world's messages come last.
    fn finish_catching_up(&mut self) {
        self.catching_up.take_if(|last| self.world >= *last);
    }

    /// Notes that the connection is cut.
    pub fn cut(&mut self, now: Nanos) {
        self.cut_at = Some(now);
        self.catching_up = None;
    }

    /// Returns the request that resumes the place over a new connection.
    pub fn resume_request(&self) -> ResumeRequest {
        ResumeRequest {
            token: self.token.clone(),
            answers: self.answers,
            whispers: self.whispers,
            world: self.world,
            list_version: self.list_version,
            // A client is in one channel at a time.
            channels: List::new(self.channels.clone()).unwrap_or_default(),
        }
    }

    /// Takes the place again. Returns the time of the cut, and the requests to send again. None if
    /// the connection is not cut, or the answer contradicts what the client has seen. In a fleet
    /// the server may be another one, which has not got the answers that were lost with the line.
    pub fn resumed(&mut self, answer: &ResumeAnswer, is_fleet: bool) -> Option<(Nanos, Vec<Packet>)> {
        let known = self.sent.wrapping_sub(self.unhandled.len() as u32);
        let news = answer.handled.wrapping_sub(known) as usize;
        let lost = answer.answers_from.wrapping_sub(self.answers).wrapping_sub(1);
        let lost_max = if is_fleet { u32::MAX / 2 } else { 0 };
        if news > self.unhandled.len() || lost > lost_max {
            return None;
        }
        self.answers = self.answers.wrapping_add(lost);
        let cut_at = self.cut_at.take()?;
        self.token = answer.token.clone();
        self.catching_up = Some(u64::MAX);
        self.unhandled.drain(..news);
        self.sent = answer.handled;
        let again: Vec<_> = std::mem::take(&mut self.unhandled).into_iter().filter(matters).collect();
        for request in &again {
            self.request(request);
        }
        Some((cut_at, again))
    }
}

/// Returns true for a request that is still of use after a cut. A ping would measure the cut, and
/// the pages of a list are requested anew.
fn matters(request: &Packet) -> bool {
    !matches!(request, Packet::PingRequest(_) | Packet::UserListRequest(_))
}

#[cfg(test)]
mod tests {
    use throng_core::wire::packets::{
        ChannelAnswer, ChannelLeft, ChatGap, ChatRefused, ChatRequest, PingRequest, RoomResumed, TooFast,
        UserList, UserListRequest, UsersChanged,
    };
    use throng_core::wire::{Bytes, Text};

    use super::*;

    fn token(number: u8) -> ResumeTokenBytes {
        Bytes::new([number]).unwrap()
    }

    fn say(stamp: u64) -> Packet {
        ChatRequest { scope: Scope::World, target: 0, stamp, text: Text::truncated("hi") }.into()
    }

    fn answer(handled: u32, answers_from: u32) -> ResumeAnswer {
        ResumeAnswer { handled, answers_from, token: token(2), shard: 0 }
    }

    fn stamps(requests: &[Packet]) -> Vec<u64> {
        let stamp = |request: &Packet| match request {
            Packet::ChatRequest(request) => request.stamp,
            other => panic!("{other:?}"),
        };
        requests.iter().map(stamp).collect()
    }

    #[test]
    fn only_requests_that_the_server_has_not_handled_are_sent_again() {
        let mut place = Resumption::new(token(1));
        assert!((1..=5).all(|stamp| place.request(&say(stamp))));
        // Messages of its own come back in order, so the second stands for the first.
        place.saw_own(2);
        place.saw_own(2);
        place.cut(77);
        assert!(!place.request(&say(6)), "it waits for the next connection");
        assert_eq!(place.resume_request().token, token(1));
        let (cut_at, again) = place.resumed(&answer(3, 1), false).unwrap();
        assert_eq!((cut_at, stamps(&again)), (77, vec![4, 5, 6]));
        assert!(!place.is_away() && place.resume_request().token == token(2));
        // Those are counted once: the next cut finds five of six handled.
        place.cut(88);
        let (_, again) = place.resumed(&answer(5, 1), false).unwrap();
        assert_eq!(stamps(&again), [6]);
        assert!(place.request(&say(7)));
        place.cut(99);
        assert!(place.resumed(&answer(7, 1), false).unwrap().1.is_empty());
    }

    #[test]
    fn pings_and_requests_for_lists_are_not_sent_again_and_not_counted() {
        let mut place = Resumption::new(token(1));
        place.request(&say(1));
        place.request(&PingRequest { token: 9 }.into());
        place.request(&UserListRequest { channel: 0, after: 0, pages: 4 }.into());
        place.request(&say(2));
        place.cut(1);
        assert_eq!(stamps(&place.resumed(&answer(1, 1), false).unwrap().1), [2]);
        place.cut(2);
        assert!(place.resumed(&answer(2, 1), false).unwrap().1.is_empty());
    }

    #[test]
    fn an_answer_that_contradicts_the_client_is_refused() {
        let check = |handled, answers_from, is_good: bool| {
            let mut place = Resumption::new(token(1));
            (1..=4).for_each(|stamp| assert!(place.request(&say(stamp))));
            place.saw_own(2);
            place.received(&ChatRefused { stamp: 1, outcome: Outcome::NotAMember }.into());
            place.cut(5);
            assert_eq!(place.resumed(&answer(handled, answers_from), false).is_some(), is_good, "{handled}");
        };
        check(1, 2, false);
        check(2, 2, true);
        check(4, 2, true);
        check(5, 2, false);
        check(u32::MAX, 2, false);
        // Answers are lost, or come twice.
        check(2, 3, false);
        check(2, 1, false);
        let mut place = Resumption::new(token(1));
        place.cut(5);
        assert!(place.resumed(&answer(0, 4), true).is_some(), "lost with another server of the fleet");
        assert_eq!(place.resume_request().answers, 3);
        assert!(Resumption::new(token(1)).resumed(&answer(0, 1), false).is_none(), "it was not cut");
    }

    #[test]
    fn the_request_has_all_that_was_received() {
        let mut place = Resumption::new(token(1));
        let list =
            |version| UserList { channel: 0, version, head_count: 9, users: List::default(), more: true };
        let notice = |channel, version| UsersChanged {
            channel,
            since: version - 1,
            version,
            head_count: 9,
            complete: false,
            entered: List::default(),
            left: List::default(),
        };
        place.received(&list(10).into());
        place.received(&list(12).into());
        assert_eq!(place.resume_request().list_version, 10, "the version of the first page");
        place.received(&notice(0, 15).into());
        place.received(&notice(3, 99).into());
        place.listed(17);
        let joined =
            |channel, outcome| ChannelAnswer { outcome, channel, name: Text::default(), head_count: 2 };
        place.received(&joined(3, Outcome::Ok).into());
        place.received(&joined(4, Outcome::Ok).into());
        place.received(&joined(0, Outcome::NotAMember).into());
        place.received(&ChannelLeft { channel: 4, outcome: Outcome::Ok }.into());
        place.received(&ChannelLeft { channel: 3, outcome: Outcome::NotAMember }.into());
        place.received(&TooFast { packet: 0, stamp: 0, wait_ms: 1 }.into());
        place.heard(Scope::World, 0, 100);
        place.heard(Scope::Channel, 3, 7);
        place.heard(Scope::Channel, 4, 9);
        place.heard(Scope::Whisper, 1, 5);
        place.heard(Scope::Nearby, 0, 0);
        place.received(&ChatGap { scope: Scope::World, channel: 0, missed: 20 }.into());
        let wanted = ResumeRequest {
            token: token(1),
            answers: 6,
            whispers: 5,
            world: 120,
            list_version: 17,
            channels: List::new(vec![HeldChannel { channel: 3, sequence: 7 }]).unwrap(),
        };
        assert_eq!(place.resume_request(), wanted);
    }

    #[test]
    fn gaps_count_until_the_client_has_caught_up() {
        let gap = |scope, missed| ChatGap { scope, channel: 0, missed }.into();
        let mut place = Resumption::new(token(1));
        place.heard(Scope::World, 0, 10);
        assert_eq!(place.received(&gap(Scope::World, 5)), 0, "it was slow");
        place.cut(1);
        place.resumed(&answer(0, 1), false).unwrap();
        assert_eq!(place.received(&gap(Scope::Whisper, 2)), 2);
        place.received(&RoomResumed { channel: 0, sequence: 30, version: 1, head_count: 1 }.into());
        assert_eq!(place.received(&gap(Scope::World, 13)), 13);
        (29..=30).for_each(|sequence| place.heard(Scope::World, 0, sequence));
        assert_eq!(place.received(&gap(Scope::World, 4)), 0);
        assert_eq!((place.resume_request().world, place.resume_request().whispers), (34, 2));
        // Nothing was missed.
        place.cut(2);
        place.resumed(&answer(0, 1), false).unwrap();
        place.received(&RoomResumed { channel: 0, sequence: 34, version: 1, head_count: 1 }.into());
        assert_eq!(place.received(&gap(Scope::World, 4)), 0);
    }
}
