//! Channels and sectors: joining them before the messages, and churn during the messages.

use throng_core::net::Sessions;
use throng_core::wire::Packet;
use throng_core::wire::packets::{
    ChannelAnswer, ChannelCreateRequest, ChannelJoinRequest, ChannelLeaveRequest, ChannelLeft, Outcome,
    PingRequest, PositionUpdate,
};
use throng_harness_model::clock::Nanos;
use throng_harness_model::results::Event;

use super::Worker;
use super::client::Stay;
use super::turns::Turns;
use crate::command::Joiners;

/// Clients of one worker that are joining their rooms at a time.
const JOINING_MAX: usize = 256;

/// The token of a ping behind requests without an answer. Other pings carry a time, never this
/// late.
pub(super) const FENCE: u64 = u64::MAX;

/// A worker's progress in joining rooms, and in churn.
#[derive(Debug, Default)]
pub(super) struct Rooms {
    /// The clients that join, and the next one whose turn it is; none once all had theirs.
    joining: Option<(Joiners, usize)>,
    /// Clients with outstanding answers.
    pending: usize,
    churn: Turns,
}

impl Rooms {
    /// The time of the next work.
    pub(super) fn next_due(&self) -> Nanos {
        let may_ask = self.joining.is_some() && self.pending < JOINING_MAX;
        if may_ask { 0 } else { self.churn.next_due() }
    }
}

impl Worker {
    /// Starts joining clients to their channels and sectors.
    pub(super) fn start_joining(&mut self, joiners: Joiners) {
        self.rooms.joining = Some((joiners, 0));
    }

    /// Starts the churn at `start`, if the plan has any.
    pub(super) fn begin_churn(&mut self, start: Nanos) {
        self.rooms.churn = Turns::new(start, self.plan.churn.map(|churn| churn.per_second));
    }

    pub(super) fn end_churn(&mut self) {
        self.rooms.churn = Turns::default();
    }

    /// Does the joining and the churn that are due.
    pub(super) fn rooms_due(&mut self, sessions: &mut Sessions, now: Nanos) {
        while let Some((joiners, place)) = self.rooms.joining
            && self.rooms.pending < JOINING_MAX
        {
            if place == self.clients.len() {
                self.rooms.joining = None;
                break;
            }
            self.rooms.joining = Some((joiners, place + 1));
            self.join_rooms(sessions, place, joiners, now);
        }
        self.churn_due(sessions, now);
    }

    fn join_rooms(&mut self, sessions: &mut Sessions, place: usize, joiners: Joiners, now: Nanos) {
        let number = self.number(place);
        let plan = self.plan.clone();
        let audiences = &plan.audiences;
        if joiners == Joiners::Founders && !audiences.is_founder(number) {
            return;
        }
        let mut pending_answers = 0;
        let is_present = self.clients[place].is_present();
        if let (true, Some(home), Stay::Out) = (is_present, audiences.home(number), self.clients[place].stay)
        {
            let name = plan.identities.channel(home);
            let request: Packet = match joiners {
                Joiners::Founders => ChannelCreateRequest { name }.into(),
                Joiners::All => ChannelJoinRequest { name }.into(),
            };
            self.joining(place, home, now);
            self.request(sessions, place, request);
            pending_answers += 1;
        }
        if let (true, Some((x, y)), Joiners::All) = (is_present, audiences.position(number), joiners) {
            for audience in
                audiences.within_earshot(number).filter(|audience| plan.traffic.count(*audience) > 0)
            {
                self.results.ledger.joining(place, audience, now);
            }
            self.request(sessions, place, PositionUpdate { x, y });
            self.request(sessions, place, PingRequest { token: FENCE });
            pending_answers += 1;
        }
        self.clients[place].pending_answers = pending_answers;
        if pending_answers == 0 {
            self.totals.placed += 1;
        } else {
            self.rooms.pending += 1;
        }
    }

    /// Counts one answer that a joining client was waiting for.
    fn room_answered(&mut self, place: usize) {
        let client = &mut self.clients[place];
        if client.pending_answers > 0 {
            client.pending_answers -= 1;
            if client.pending_answers == 0 {
                self.totals.placed += 1;
                self.rooms.pending -= 1;
            }
        }
    }

    /// Drops the outstanding answers of a client that is gone.
    pub(super) fn drop_rooms(&mut self, place: usize) {
        self.clients[place].stay = Stay::Out;
        while self.clients[place].pending_answers > 0 {
            self.room_answered(place);
        }
    }

    /// The server has processed everything before the client's fence: it is in its sector.
    pub(super) fn fenced(&mut self, place: usize, now: Nanos) {
        let plan = self.plan.clone();
        let audiences = &plan.audiences;
        for audience in
            audiences.within_earshot(self.number(place)).filter(|audience| plan.traffic.count(*audience) > 0)
        {
            self.results.ledger.joined(place, audience, now);
        }
        self.room_answered(place);
    }

    fn joining(&mut self, place: usize, channel: u32, now: Nanos) {
        self.clients[place].stay = Stay::Joining(channel);
        self.results.ledger.joining(place, self.plan.audiences.in_channel(channel), now);
    }

    /// Handles the answer to creating or joining a channel.
    pub(super) fn channel_answered(&mut self, place: usize, answer: &ChannelAnswer, now: Nanos) {
        let Stay::Joining(channel) = self.clients[place].stay else { return };
        let audience = self.plan.audiences.in_channel(channel);
        if answer.outcome == Outcome::Ok {
            self.clients[place].stay = Stay::In { channel, number: answer.channel };
            self.results.ledger.joined(place, audience, now);
        } else {
            self.clients[place].stay = Stay::Out;
            self.results.ledger.left(place, audience, now);
            self.count_reason(Event::Channel, answer.outcome.name());
        }
        self.room_answered(place);
    }

    /// Handles the end of a client's membership in a channel.
    pub(super) fn channel_left(&mut self, place: usize, left: &ChannelLeft, now: Nanos) {
        let stay = self.clients[place].stay;
        let (Stay::Leaving { channel, number } | Stay::In { channel, number }) = stay else { return };
        if number != left.channel {
            return;
        }
        if left.outcome != Outcome::Ok {
            self.count_reason(Event::Channel, left.outcome.name());
        }
        self.clients[place].stay = Stay::Out;
        self.results.ledger.left(place, self.plan.audiences.in_channel(channel), now);
    }

    fn churn_due(&mut self, sessions: &mut Sessions, now: Nanos) {
        let Some(churn) = self.plan.churn else { return };
        while let Some(turn) = self.rooms.churn.pop(now) {
            let (client, draw) = churn.turn(self.plan.seed, turn);
            if let Some(place) = self.place(client) {
                self.join_or_leave(sessions, place, draw);
            }
        }
    }

    /// Has a client leave its channel, or join one if it is in none. A client with a pending answer
    /// is skipped.
    fn join_or_leave(&mut self, sessions: &mut Sessions, place: usize, draw: u64) {
        let now = self.plan.clock.now();
        let client = &self.clients[place];
        if !client.is_present() {
            return;
        }
        match client.stay {
            Stay::In { channel, number } => {
                self.results.ledger.leaving(place, self.plan.audiences.in_channel(channel), now);
                self.clients[place].stay = Stay::Leaving { channel, number };
                self.request(sessions, place, ChannelLeaveRequest { channel: number });
                self.results.churn.leaves += 1;
            }
            Stay::Out => {
                let channel = (draw % u64::from(self.plan.audiences.channels().max(1))) as u32;
                self.joining(place, channel, now);
                let name = self.plan.identities.channel(channel);
                self.request(sessions, place, ChannelJoinRequest { name });
                self.results.churn.joins += 1;
            }
            Stay::Joining(_) | Stay::Leaving { .. } => self.results.churn.skipped += 1,
        }
    }
}
