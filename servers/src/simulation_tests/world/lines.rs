//! Players' connections to the chat of the simulated world: they are lost, and resumed.

use throng_core::crypto::ResumeToken;
use throng_core::wire::packets::Claim;

use super::*;
use crate::simulation_tests::lines::Memory;
use crate::simulation_tests::members::resume;

impl World {
    /// Returns an event of a player's connection.
    pub(in crate::simulation_tests) fn line_event(&mut self) -> Event {
        let away: Vec<usize> = (0..PLAYERS).filter(|number| self.is_away(*number)).collect();
        let inside: Vec<usize> = (0..PLAYERS).filter(|number| self.members[*number].is_in).collect();
        if inside.is_empty() && away.is_empty() {
            return Event::Act(self.dice.below(PLAYERS));
        }
        let player = if inside.is_empty() { 0 } else { self.dice.pick(&inside) };
        match self.dice.below(12) {
            0 => Event::Lose(player),
            1 => Event::Break(player),
            2 if !self.lost.is_empty() => Event::Lapse,
            3 | 4 if !away.is_empty() => Event::Act(self.dice.pick(&away)),
            5 => self.due_event().unwrap_or(Event::Chat(player)),
            _ => Event::Chat(player),
        }
    }

    /// Returns true for a player without a connection that may have a place.
    pub(in crate::simulation_tests) fn is_away(&self, number: usize) -> bool {
        let member = &self.members[number];
        member.chat.is_none() && member.memory.can_resume()
    }

    /// Returns false if a packet to a member is lost.
    pub(super) fn arrives(&mut self, number: usize) -> bool {
        match &mut self.members[number].line {
            Line::Well => true,
            Line::Dying(0) => {
                self.count(Kind::AnswersLost);
                false
            }
            Line::Dying(left) => {
                *left -= 1;
                true
            }
        }
    }

    pub(super) fn lose(&mut self, number: usize) {
        let left = self.dice.below(6);
        let member = &mut self.members[number];
        if member.chat.is_some() && member.line == Line::Well {
            member.line = Line::Dying(left);
        }
    }

    /// Breaks a player's connection in the midst of its doings.
    pub(super) fn break_at_work(&mut self, number: usize) {
        for _ in 0..self.dice.below(5) {
            self.do_in_chat(number);
        }
        self.break_line(number);
    }

    /// Breaks a member's connection, with what is on its way to the server from some packet on.
    pub(in crate::simulation_tests) fn break_line(&mut self, number: usize) {
        let Some(session) = self.members[number].hang_up() else { return };
        let is_packet = |job: &ClientJob| job.session == session && matches!(job.job, Job::Packet(..));
        let waiting = self.client_jobs.iter().filter(|job| is_packet(job)).count();
        let mut arrive = self.dice.below(waiting + 1);
        if arrive < waiting {
            self.count(Kind::PacketsLost);
        }
        self.client_jobs.retain(|job| {
            let is_lost = is_packet(job) && arrive == 0;
            arrive -= usize::from(is_packet(job) && !is_lost);
            !is_lost
        });
        if self.dice.one_in(2) {
            self.count(Kind::LineBroken);
            self.end_lost(session);
        } else {
            self.count(Kind::HalfOpen);
            self.lose_sight(session);
        }
    }

    /// Keeps a session open whose client is gone.
    fn lose_sight(&mut self, session: SessionId) {
        if self.lost.len() == LOST_MAX {
            self.lapse();
        }
        if !self.ended.contains(&session) {
            self.lost.push(session);
        }
    }

    pub(super) fn lapse(&mut self) {
        if !self.lost.is_empty() {
            let session = self.lost.swap_remove(self.dice.below(self.lost.len()));
            self.count(Kind::NoticedLate);
            self.end_lost(session);
        }
    }

    fn end_lost(&mut self, session: SessionId) {
        use CloseReason::{ConnectionLost, IdleTimeout, PeerClosed, TooSlow};
        let reason = self.dice.pick(&[ConnectionLost, IdleTimeout, PeerClosed, TooSlow]);
        self.end_client(CHAT, session, reason);
    }

    /// Lets a player resume its place, in calm times over a connection that holds.
    pub(in crate::simulation_tests) fn resume_place(&mut self, number: usize, is_calm: bool) {
        let request = self.members[number].memory.request();
        if !is_calm && self.dice.one_in(8) {
            self.count(Kind::ResumedTwice);
            let other = self.client(CHAT);
            self.client_job(CHAT, other, request.clone());
            self.lose_sight(other);
        }
        let session = self.client(CHAT);
        self.members[number].chat = Some(session);
        if !is_calm && self.dice.one_in(4) {
            self.members[number].line = Line::Dying(self.dice.below(12));
        }
        self.client_job(CHAT, session, request);
    }

    /// Handles the end of a member's session, of which the server tells it unless its line is dead.
    pub(super) fn chat_closed(&mut self, number: usize, reason: CloseReason) {
        let member = &mut self.members[number];
        if member.line == Line::Dying(0) {
            return;
        }
        member.hang_up();
        if reason == CloseReason::PlaceLost {
            self.server.counts.add(Kind::PlaceLost);
            member.memory = Memory::default();
        } else if reason != CloseReason::ResumedElsewhere && self.dice.one_in(2) {
            // The others will try all the same.
            self.members[number].memory = Memory::default();
        }
    }

    /// Sends a packet that the player counts.
    pub(super) fn own_packet(&mut self, number: usize, packet: Packet) {
        let member = &mut self.members[number];
        let Some(session) = member.chat else { return };
        let at = member.memory.send(packet.clone());
        self.queue(CHAT, session, Some(at), Job::Packet(session, packet, self.now));
    }

    /// Sends again what the server has not handled.
    pub(super) fn send_again(&mut self, number: usize) {
        let member = &self.members[number];
        let Some(session) = member.chat else { return };
        let packets: Vec<_> = member.memory.unhandled().map(|(at, packet)| (at, packet.clone())).collect();
        if !packets.is_empty() {
            self.count(Kind::SentAgain);
        }
        for (at, packet) in packets {
            self.queue(CHAT, session, Some(at), Job::Packet(session, packet, self.now));
        }
    }

    /// Notes a packet that the test hands to the server in a player's name.
    pub(super) fn note_own_packet(&mut self, session: SessionId, packet: &Packet) {
        let user = self.truth.user_of(session);
        if let Some(place) = user.and_then(|user| self.truth.places.get_mut(&user)) {
            place.handled += 1;
        }
        if let Some(member) = self.members.iter_mut().find(|member| member.chat == Some(session)) {
            member.memory.send(packet.clone());
        }
    }

    /// Looks at a client's job before the chat server does.
    pub(super) fn look_at(&mut self, session: SessionId, job: &Job<()>, number: Option<u32>) {
        if let Job::Packet(_, Packet::ResumeRequest(request), _) = job
            && self.members.iter().any(|member| member.chat == Some(session))
            && !request.token.starts_with(&self.instance(CHAT).to_le_bytes())
            && !request.token.is_empty()
        {
            self.count(Kind::ForeignEpoch);
        }
        if let Job::Packet(_, Packet::EnterRequest(request), _) = job
            && self.truth.user_of(session).is_none()
        {
            let opened = Ticket::open(&ClusterKey::from_bytes(KEY), &request.ticket, &CHAT_KEY, chat_ms());
            let claim = opened.ok().map(|(_, ticket)| Claim { account: ticket.account, id: ticket.claim });
            self.truth.cause = Cause::Enter(claim);
        }
        self.truth.begin(session, job, number, &self.plan, &mut self.server.counts);
    }

    /// Checks that a member which resumes has caught up with a room by the time it joins.
    pub(super) fn check_caught_up(&mut self, session: SessionId, room: RoomId, latest: u64) {
        let Cause::Resume(_, user) = self.truth.cause else { return };
        let Some(member) = self.members.iter().find(|member| member.chat == Some(session)) else { return };
        if member.line == Line::Well && !member.is_abuser {
            let found = self.truth.places.get(&user).and_then(|place| member.memory.latest(room.0, place));
            assert_eq!(found, Some(latest), "the latest message of {room:?}");
        }
    }

    /// Lets abusers get hold of a token.
    pub(super) fn spy(&mut self, token: &ResumeTokenBytes) {
        if self.plan.has(Group::Abuse) && !token.is_empty() && self.dice.one_in(2) {
            if self.tokens.len() >= TICKETS_MAX {
                self.tokens.pop_front();
            }
            self.tokens.push_back(token.clone());
        }
    }

    /// Presents a token of another one, changed or made up as often as not.
    pub(super) fn present_token(&mut self, session: SessionId) {
        let claim = Claim { account: 1 + self.dice.below(SHARED) as u64, id: self.dice.below(3) as u64 };
        let made_up = ResumeToken { user: self.dice.below(12) as u32, counter: 1, claim };
        // A recent one is more likely to be good.
        let at = self.tokens.len().saturating_sub(1 + self.dice.below(3));
        let known = self.tokens.get(at);
        let token = match (self.dice.below(4), known) {
            (0 | 1, Some(token)) => token.clone(),
            (2, Some(token)) => {
                let mut token = token.to_vec();
                let at = self.dice.below(token.len());
                token[at] ^= 1 << self.dice.below(8);
                ResumeTokenBytes::new(token).expect("its length is as before")
            }
            // Of a process that has never been.
            _ => resume_tokens(0).seal(&made_up),
        };
        self.truth.thieves.insert(session);
        let request = resume(&mut self.dice, token);
        self.client_job(CHAT, session, request);
    }
}
