//! Jobs of the simulated processes, and what follows from them: packets, ends and dials.

use throng_core::wire::packets::Outcome;

use super::*;
use crate::simulation_tests::truth::{Cause, View};

impl World {
    pub(super) fn job(&mut self, process: Process, job: Job<()>) {
        let mut effects = Effects::default();
        match process {
            LOGIN => {
                if let Some(login) = &mut self.login {
                    login.job(job, self.now, &mut effects);
                }
            }
            CHAT => {
                if let Some(chat) = &mut self.chat {
                    chat.job(lift(job), self.now, &mut effects);
                }
            }
            agent => {
                if let Some(agent) = &mut self.agents[agent - AGENT] {
                    let job = match job {
                        Job::Packet(session, packet, at) => Job::Packet(session, packet, at),
                        Job::Opened(session, opened) => Job::Opened(session, opened),
                        Job::Closed(session, closed) => Job::Closed(session, closed),
                        Job::Record(()) => return,
                    };
                    agent.role.job(job, self.now, &mut effects);
                }
            }
        }
        self.carry_out(process, &mut effects);
    }

    pub(super) fn carry_out(&mut self, process: Process, effects: &mut Effects) {
        let effects: Vec<Effect> = effects.drain().collect();
        if process == CHAT {
            self.truth.observe(&effects, &self.plan, self.now, &mut self.server.counts);
        }
        for effect in effects {
            match effect {
                Effect::ToSession(to, SessionCommand::Send(packet)) => self.send(process, to, *packet),
                Effect::ToSession(to, SessionCommand::SendEncoded(begin, rest)) => {
                    let packet = Packet::decode(&[&*begin, &*rest].concat());
                    self.send(process, to, packet.expect("the role encodes packets"));
                }
                Effect::ToSession(id, SessionCommand::Close(reason)) => {
                    if reason == CloseReason::LoggedInElsewhere {
                        self.count(Kind::Replaced);
                    }
                    self.close(process, id, reason);
                }
                Effect::Dial(address, _, token) => {
                    let pause = if self.dice.one_in(2) { 0 } else { self.dice.below(1000) };
                    let at = self.now + Duration::from_millis(pause as u64);
                    self.dials.push(Dial { from: process, address, token, at });
                }
                Effect::Join(id, room) => {
                    assert!(self.rooms.insert((id, room)), "{id} is in {room:?} already");
                    let latest = self.latest.get(&room).copied().unwrap_or(0);
                    self.truth.joined(id, room, latest);
                    self.check_caught_up(id, room, latest);
                }
                Effect::Leave(id, room) | Effect::Expel(id, room) => {
                    assert!(self.rooms.remove(&(id, room)), "{id} is not in {room:?}");
                    self.truth.left(id, room);
                }
                Effect::Broadcast(room, class, packet) => self.broadcast(room, class, &packet),
                Effect::Multicast(sender, to, packet) => {
                    if let Packet::ChatMessage(message) = &packet {
                        let recipient = to.first().and_then(|to| self.truth.user_of(*to));
                        let is_copy = message.scope == Scope::Whisper && recipient == Some(sender);
                        self.truth.take_effect(message.stamp, is_copy);
                    }
                    for to in to {
                        self.send(CHAT, to, packet.clone());
                    }
                }
                Effect::Settle(_) | Effect::Revoke(_) => {}
            }
        }
    }

    pub(super) fn broadcast(&mut self, room: RoomId, class: Class, packet: &Packet) {
        if let Packet::ChatMessage(message) = packet {
            self.truth.say(message, self.now);
        }
        if let Packet::UsersChanged(notice) = packet
            && room == RoomId::WORLD
        {
            self.truth.check_notice(notice);
        }
        match packet {
            Packet::ChatMessage(message) if message.scope == Scope::Nearby => self.count(Kind::SpokeToCrowd),
            Packet::ChatMessage(message) => {
                let latest = self.latest.entry(room).or_default();
                assert_eq!(message.sequence, *latest + 1, "{room:?}: a number is missing or came twice");
                *latest = message.sequence;
                self.count(Kind::Spoke);
            }
            Packet::UsersChanged(notice) if notice.entered.len() + notice.left.len() > 1 => {
                self.count(Kind::Coalesced);
            }
            _ => {}
        }
        let to: Vec<_> = self.rooms.iter().filter(|member| member.1 == room).map(|member| member.0).collect();
        assert!(class == Class::Notice || !to.is_empty(), "a message to {room:?}, which is empty");
        for to in to {
            self.send(CHAT, to, packet.clone());
        }
    }

    pub(super) fn send(&mut self, process: Process, to: SessionId, packet: Packet) {
        (process, to, packet.number()).hash(&mut self.digest);
        if let Packet::DbCheckPasswordAnswer(answer) = &packet
            && answer.outcome == Outcome::NoTime
        {
            self.count(Kind::NoTime);
        }
        for link in self.links.iter_mut().filter(|link| !link.is_cut) {
            for end in 0..2 {
                if link.ends[end] == (process, to) {
                    return link.queues[1 - end].push_back(packet);
                }
            }
        }
        match &packet {
            Packet::EnterAnswer(answer) => {
                self.entered(answer.head_count);
                self.spy(&answer.token);
            }
            Packet::ResumeAnswer(answer) => self.spy(&answer.token),
            Packet::RoomResumed(resumed) => self.truth.check_resumed_room(resumed),
            Packet::ChatGap(_) => self.count(Kind::ResumeGap),
            Packet::History(page) => {
                self.count(Kind::HistoryRead);
                let is_world = page.channel == RoomId::WORLD.0;
                let earlier = if is_world { self.plan.on_enter } else { self.plan.on_join };
                self.truth.check_history(to, page, earlier as u64);
            }
            _ => {}
        }
        if matches!(packet, Packet::TooFast(_)) {
            self.count(Kind::TooFast);
        }
        if self.trace && self.rooms.len() < 100 {
            eprintln!("    {to} <- {packet:?}");
        }
        let is_of = |member: &Member| member.login == Some(to) || member.chat == Some(to);
        let Some(number) = self.members.iter().position(is_of) else { return };
        let member = &mut self.members[number];
        if let Packet::LoginGranted(granted) = packet {
            if self.tickets.len() >= TICKETS_MAX {
                self.tickets.pop_front();
            }
            self.tickets.push_back(granted.ticket.clone());
            member.granted = Some(granted);
            return;
        }
        if let Packet::LoginQueued(queued) = packet {
            self.server.counts.add(Kind::Queued);
            // An abuser asks more than once.
            let may_rise = member.is_abuser || member.position.is_none_or(|told| queued.position <= told);
            assert!(may_rise, "its position rises");
            member.position = Some(queued.position);
            return;
        }
        if process == CHAT && !self.arrives(number) {
            return;
        }
        let member = &mut self.members[number];
        if member.is_deaf {
            member.unread += 1;
            if member.unread > BACKLOG {
                // As the shard does whose client takes nothing.
                self.server.counts.add(Kind::NeverRead);
                member.hang_up();
                self.end_client(CHAT, to, CloseReason::TooSlow);
            }
            return;
        }
        member.receive(&packet, &View { truth: &self.truth, plan: &self.plan, now: self.now });
        match packet {
            Packet::ResumeAnswer(_) => {
                if self.members[number].memory.has_lost_answers {
                    self.count(Kind::AnswersForgotten);
                }
                self.send_again(number);
            }
            Packet::ChatMessage(_) if matches!(self.truth.cause, Cause::Resume(..)) => {
                self.count(Kind::CaughtUp);
            }
            _ => {}
        }
    }

    /// Checks an entry into the chat.
    pub(super) fn entered(&mut self, head_count: u32) {
        self.count(Kind::Entered);
        let users = self.rooms.iter().filter(|member| member.1 == RoomId::WORLD).count();
        assert_eq!(head_count as usize, users + 1 + self.truth.away(), "the number of users");
        let Some(ticket) = self.presented.take() else { return };
        // A minted ticket is known by its use until the chat server starts again; from then on only
        // its time of issue tells, by the wall clock.
        let opened = Ticket::open(&ClusterKey::from_bytes(KEY), &ticket, &CHAT_KEY, chat_ms());
        let is_minted = opened.is_ok_and(|(_, ticket)| ticket.claim == 0);
        let start = if is_minted { self.starts[CHAT] } else { 0 };
        assert!(self.opened.insert((start, ticket.to_vec())), "a ticket has opened twice");
    }

    /// Closes a session on behalf of a server.
    pub(super) fn close(&mut self, process: Process, id: SessionId, reason: CloseReason) {
        if reason == CloseReason::TicketExpired {
            self.count(Kind::TicketExpired);
        }
        for link in &mut self.links {
            if link.ends.contains(&(process, id)) {
                link.is_cut = true;
                return;
            }
        }
        for member in &mut self.members {
            if member.login == Some(id) {
                member.login = None;
            }
        }
        self.strays.retain(|stray| stray.1 != id);
        self.lost.retain(|lost| *lost != id);
        self.end_client(process, id, reason);
        if let Some(number) = self.members.iter().position(|member| member.chat == Some(id)) {
            self.chat_closed(number, reason);
        }
    }

    pub(super) fn notice(&mut self, at: usize, end: usize) {
        let link = &mut self.links[at];
        link.is_noticed[end] = true;
        link.queues[end].clear();
        let (process, id) = link.ends[end];
        let dialed = (end == 0).then_some(link.token);
        let closed = Closed { kind: PeerKind::Link, dialed, reason: CloseReason::ConnectionLost };
        self.job(process, Job::Closed(id, closed));
    }

    pub(super) fn connect(&mut self, dial: usize) {
        let Dial { from, address, token, .. } = self.dials.swap_remove(dial);
        let to = usize::from(address.port());
        if !self.is_up(to) {
            let id = self.session();
            let reason = CloseReason::ConnectFailed;
            let closed = Closed { kind: PeerKind::Link, dialed: Some(token), reason };
            // The next attempt is after a pause.
            self.job(from, Job::Closed(id, closed));
            self.tick();
            let pause = Duration::from_millis(50 + self.dice.below(950) as u64);
            for dial in self.dials.iter_mut().filter(|dial| dial.from == from && dial.token == token) {
                dial.at = self.now + pause;
            }
            return;
        }
        let ends = [(from, self.session()), (to, self.session())];
        let queues = Default::default();
        self.links.push(Link { ends, token, queues, is_cut: false, is_noticed: [false; 2] });
        for ((process, id), dialed) in ends.into_iter().zip([Some(token), None]) {
            self.job(process, Job::Opened(id, Opened { kind: PeerKind::Link, address, dialed }));
        }
    }
}
