//! Channels and places: how clients come to belong to more than the chat, and come and go while others talk.

use throng_core::net::Sessions;
use throng_core::wire::Packet;
use throng_core::wire::packets::{
    ChannelAnswer, ChannelCreateRequest, ChannelJoinRequest, ChannelLeaveRequest, ChannelLeft, Outcome,
    PingRequest, PositionUpdate,
};
use throng_harness_model::clock::{NEVER, Nanos};
use throng_harness_model::plan::Churn;
use throng_harness_model::schedule::Pace;

use super::Worker;
use super::client::Stay;
use crate::command::Gather;

/// Clients of one worker that are finding their places at a time.
const GATHERING_MAX: usize = 256;

/// The token of a ping that says: what was sent before it has been dealt with. No time is that late.
pub(super) const FENCE: u64 = u64::MAX;

/// A worker's way through gathering and churn.
#[derive(Debug, Default)]
pub(super) struct Rooms {
    /// Who gathers, and the next one of them to be asked to.
    gathering: Option<(Gather, usize)>,
    /// Clients that wait for answers.
    under_way: usize,
    /// When turns of the churn come, while it goes on, and the next one.
    churn: Option<(Pace, u32)>,
}

impl Rooms {
    /// When there is something to do.
    pub(super) fn next_due(&self) -> Nanos {
        match (self.gathering, self.churn) {
            (Some(_), _) if self.under_way < GATHERING_MAX => 0,
            (_, Some((pace, next))) => pace.intended(next),
            _ => NEVER,
        }
    }
}

impl Worker {
    /// Has clients find their places from now on.
    pub(super) fn gather(&mut self, who: Gather) {
        self.rooms.gathering = Some((who, 0));
    }

    /// Has clients come and go from `start` on, if the plan has any.
    pub(super) fn begin_churn(&mut self, start: Nanos) {
        let pace = |churn: Churn| Pace::per_second(start, churn.per_second);
        self.rooms.churn = self.plan.churn.map(|churn| (pace(churn), 0));
    }

    pub(super) fn end_churn(&mut self) {
        self.rooms.churn = None;
    }

    /// Does what is due of both.
    pub(super) fn rooms_due(&mut self, sessions: &mut Sessions, now: Nanos) {
        while let Some((who, place)) = self.rooms.gathering
            && self.rooms.under_way < GATHERING_MAX
        {
            if place == self.clients.len() {
                self.rooms.gathering = None;
                break;
            }
            self.rooms.gathering = Some((who, place + 1));
            self.find_place(sessions, place, who, now);
        }
        self.churn_due(sessions, now);
    }

    fn find_place(&mut self, sessions: &mut Sessions, place: usize, who: Gather, now: Nanos) {
        let number = self.number(place);
        let plan = self.plan.clone();
        let audiences = &plan.audiences;
        if who == Gather::Founders && !audiences.is_founder(number) {
            return;
        }
        let mut waits_for = 0;
        let session = self.clients[place].chat.filter(|_| self.clients[place].step.is_present());
        if let (Some(session), Some(home), Stay::Out) =
            (session, audiences.home(number), self.clients[place].stay)
        {
            let name = plan.identities.channel(home);
            let request: Packet = match who {
                Gather::Founders => ChannelCreateRequest { name }.into(),
                Gather::All => ChannelJoinRequest { name }.into(),
            };
            self.joining(place, home, now);
            sessions.send(session, &request);
            waits_for += 1;
        }
        if let (Some(session), Some((x, y)), Gather::All) = (session, audiences.position(number), who) {
            for audience in
                audiences.within_earshot(number).filter(|audience| plan.traffic.count(*audience) > 0)
            {
                self.harvest.tally.joining(place, audience, now);
            }
            sessions.send(session, &PositionUpdate { x, y }.into());
            sessions.send(session, &PingRequest { token: FENCE }.into());
            waits_for += 1;
        }
        self.clients[place].waits_for = waits_for;
        if waits_for == 0 {
            self.totals.gathered += 1;
        } else {
            self.rooms.under_way += 1;
        }
    }

    /// One thing has come that a client waited for to have found its place.
    fn found(&mut self, place: usize) {
        let client = &mut self.clients[place];
        if client.waits_for > 0 {
            client.waits_for -= 1;
            if client.waits_for == 0 {
                self.totals.gathered += 1;
                self.rooms.under_way -= 1;
            }
        }
    }

    /// A client that may be waiting for something is gone.
    pub(super) fn left_rooms(&mut self, place: usize) {
        self.clients[place].stay = Stay::Out;
        while self.clients[place].waits_for > 0 {
            self.found(place);
        }
    }

    /// The server has dealt with all that a client sent before its fence.
    pub(super) fn fenced(&mut self, place: usize, now: Nanos) {
        let plan = self.plan.clone();
        let audiences = &plan.audiences;
        for audience in
            audiences.within_earshot(self.number(place)).filter(|audience| plan.traffic.count(*audience) > 0)
        {
            self.harvest.tally.joined(place, audience, now);
        }
        self.found(place);
    }

    fn joining(&mut self, place: usize, channel: u32, now: Nanos) {
        self.clients[place].stay = Stay::Joining(channel);
        self.harvest.tally.joining(place, self.plan.audiences.in_channel(channel), now);
    }

    /// The answer to a client's joining, or making, a channel.
    pub(super) fn channel_answered(&mut self, place: usize, answer: &ChannelAnswer, now: Nanos) {
        let Stay::Joining(channel) = self.clients[place].stay else { return };
        let audience = self.plan.audiences.in_channel(channel);
        if answer.outcome == Outcome::Ok {
            self.clients[place].stay = Stay::In { channel, number: answer.channel };
            self.harvest.tally.joined(place, audience, now);
        } else {
            self.clients[place].stay = Stay::Out;
            self.harvest.tally.left(place, audience, now);
            self.count_reason("channel", answer.outcome.name());
        }
        self.found(place);
    }

    /// A client is out of a channel.
    pub(super) fn channel_left(&mut self, place: usize, left: &ChannelLeft, now: Nanos) {
        let stay = self.clients[place].stay;
        let (Stay::Leaving { channel, number } | Stay::In { channel, number }) = stay else { return };
        if number != left.channel {
            return;
        }
        if left.outcome != Outcome::Ok {
            self.count_reason("channel", left.outcome.name());
        }
        self.clients[place].stay = Stay::Out;
        self.harvest.tally.left(place, self.plan.audiences.in_channel(channel), now);
    }

    fn churn_due(&mut self, sessions: &mut Sessions, now: Nanos) {
        let plan = self.plan.clone();
        let Some(churn) = plan.churn else { return };
        while let Some((pace, next)) = self.rooms.churn
            && pace.intended(next) <= now
        {
            self.rooms.churn = Some((pace, next + 1));
            let (client, draw) = churn.turn(plan.seed, next);
            if client % plan.workers == self.index {
                self.come_or_go(sessions, (client / plan.workers) as usize, draw);
            }
        }
    }

    /// A client that is in a channel leaves it; one that is in none joins one. One that waits for an answer does neither.
    fn come_or_go(&mut self, sessions: &mut Sessions, place: usize, draw: u64) {
        let now = self.plan.clock.now();
        let client = &self.clients[place];
        let (true, Some(session)) = (client.step.is_present(), client.chat) else { return };
        match client.stay {
            Stay::In { channel, number } => {
                self.harvest.tally.leaving(place, self.plan.audiences.in_channel(channel), now);
                self.clients[place].stay = Stay::Leaving { channel, number };
                sessions.send(session, &ChannelLeaveRequest { channel: number }.into());
                self.harvest.churn.leaves += 1;
            }
            Stay::Out => {
                let channel = (draw % u64::from(self.plan.audiences.channels().max(1))) as u32;
                self.joining(place, channel, now);
                sessions.send(
                    session,
                    &ChannelJoinRequest { name: self.plan.identities.channel(channel) }.into(),
                );
                self.harvest.churn.joins += 1;
            }
            Stay::Joining(_) | Stay::Leaving { .. } => self.harvest.churn.skipped += 1,
        }
    }
}
