//! Clients of the simulated world: players and abusers.

use super::*;
use crate::simulation_tests::lines::{Line, Memory};
use crate::simulation_tests::members::history;
use crate::simulation_tests::truth::STAMPS_FROM;

impl World {
    /// Logs in, or enters with the ticket.
    pub(super) fn act(&mut self, number: usize) {
        let member = &mut self.members[number];
        if member.chat.is_some() {
            // A member that does not read leaves at some time, and one that gets nothing notices.
            if member.is_deaf {
                self.leave(number);
            } else if member.line != Line::Well {
                self.break_line(number);
            }
            return;
        }
        if member.memory.can_resume() {
            let is_abuser = member.is_abuser;
            if !self.is_up(CHAT) {
                return;
            }
            if !is_abuser && !self.dice.one_in(6) {
                return self.resume_place(number, false);
            }
            self.members[number].memory = Memory::default();
        }
        let member = &mut self.members[number];
        match (member.granted.take(), member.login) {
            (Some(granted), _) => {
                if !self.is_up(CHAT) {
                    return;
                }
                let ticket = granted.ticket;
                let chat = self.client(CHAT);
                let member = &mut self.members[number];
                member.chat = Some(chat);
                self.client_job(CHAT, chat, EnterRequest { ticket });
            }
            (None, None) => {
                if !self.is_up(LOGIN) {
                    return;
                }
                let request = login_request(self.members[number].account, true);
                let login = self.client(LOGIN);
                let member = &mut self.members[number];
                (member.is_refused, member.position) = (false, None);
                member.login = Some(login);
                self.client_job(LOGIN, login, request);
            }
            // The player waits for an answer or was refused, and leaves.
            (None, Some(_)) => self.leave(number),
        }
    }

    /// Returns a channel of a session.
    pub(super) fn channel_of(&self, session: SessionId) -> Option<u32> {
        let is_channel = |room: u32| (1..=RoomId::CHANNEL_MAX).contains(&room);
        let mut rooms = self.rooms.iter().filter(|member| member.0 == session).map(|member| member.1.0);
        rooms.find(|room| is_channel(*room))
    }

    pub(super) fn do_in_chat(&mut self, number: usize) {
        let member = &self.members[number];
        let Some(session) = member.chat.filter(|_| member.is_in) else { return };
        let channel = self.channel_of(session);
        let name = Text::truncated("channel");
        // Most are in one channel, where the owner kicks those that are away.
        let wish = match channel {
            None => self.dice.pick(&[0, 2, 2, 18]),
            Some(channel) if self.truth.users(channel, true).is_empty() => 18,
            Some(_) => self.dice.pick(&[11, 18, 18]),
        };
        let choice = if wish == 18 { self.dice.below(18) } else { wish };
        let packet: Packet = match choice {
            0 | 1 => ChannelCreateRequest { name }.into(),
            2 | 3 => ChannelJoinRequest { name }.into(),
            4 => ChannelLeaveRequest { channel: channel.unwrap_or(1) }.into(),
            5..=7 => position(&mut self.dice),
            8 => ExitRequest {}.into(),
            9 | 10 if self.plan.has(Group::Abuse) && self.dice.one_in(2) => {
                self.members[number].is_deaf = true;
                return;
            }
            11 => self.kick(channel.unwrap_or(1)),
            12 => history(&mut self.dice, channel.unwrap_or(1)),
            _ => {
                self.stamps += 1;
                speech(&mut self.dice, STAMPS_FROM + self.stamps, channel.unwrap_or(1))
            }
        };
        self.own_packet(number, packet);
    }

    /// Returns a request to kick a member of a channel, one that is away if there is one.
    fn kick(&mut self, channel: u32) -> Packet {
        let mut users = self.truth.users(channel, true);
        if users.is_empty() {
            users = self.truth.users(channel, false);
        }
        let user = if users.is_empty() { 1 } else { self.dice.pick(&users) };
        ChannelKickRequest { channel, user }.into()
    }

    /// Lets an abuser do something.
    pub(super) fn abuse(&mut self, number: usize) {
        match self.dice.below(8) {
            0 => self.act(number),
            1 => {
                if self.members[number].chat.or(self.members[number].login).is_some() {
                    self.count(Kind::ClosedBusy);
                }
                self.leave(number);
            }
            2 | 3 if self.strays.len() < STRAYS_MAX => {
                let process = self.dice.pick(&[LOGIN, CHAT]);
                if !self.is_up(process) {
                    return;
                }
                let session = self.client(process);
                self.strays.push((process, session));
                // Often for the account of another one.
                if process == LOGIN {
                    self.count(Kind::ForeignLogin);
                    let request = login_request(self.dice.below(SHARED + 1), self.dice.one_in(2));
                    self.client_job(process, session, request);
                } else if self.dice.one_in(2) {
                    self.replay(session);
                } else {
                    self.present_token(session);
                }
            }
            4 if !self.strays.is_empty() => {
                let (process, session) = self.strays.swap_remove(self.dice.below(self.strays.len()));
                self.end_client(process, session, CloseReason::PeerClosed);
            }
            _ => self.flood(number),
        }
    }

    /// Presents a ticket that was seen before, or a new one that no login belongs to.
    pub(super) fn replay(&mut self, session: SessionId) {
        let ticket = if self.tickets.is_empty() || self.dice.one_in(4) {
            let issued_ms = wall_ms(self.dice.pick(&[LOGIN, CHAT]));
            let minted = Ticket {
                account: SHARED as u64 + 1,
                claim: 0,
                character: 1,
                name: Text::truncated("minted"),
                chat_key: CHAT_KEY,
                issued_ms,
                expires_ms: issued_ms + 2000,
            };
            let minted = minted.mint(&ClusterKey::from_bytes(KEY)).expect("it is short");
            if self.tickets.len() >= TICKETS_MAX {
                self.tickets.pop_front();
            }
            self.tickets.push_back(minted.clone());
            minted
        } else {
            self.count(Kind::TicketReplayed);
            self.tickets[self.dice.below(self.tickets.len())].clone()
        };
        self.client_job(CHAT, session, EnterRequest { ticket });
    }

    /// Sends many packets at once, over a session of an abuser.
    pub(super) fn flood(&mut self, number: usize) {
        let member = &self.members[number];
        let own = [(LOGIN, member.login), (CHAT, member.chat)];
        let own = own.into_iter().filter_map(|(process, session)| Some((process, session?)));
        let strays = self.strays.iter().copied();
        let sessions: Vec<_> = own.chain(strays).collect();
        if sessions.is_empty() {
            return self.act(number);
        }
        let (process, session) = self.dice.pick(&sessions);
        let packets = self.dice.pick(&[1, 2, 5, 80]);
        let is_flood = packets > 5;
        if is_flood {
            self.count(Kind::Flood);
            // Often without reading what it causes.
            let is_deaf = self.members[number].is_in && self.dice.one_in(2);
            self.members[number].is_deaf |= is_deaf;
        }
        let channel = self.channel_of(session).unwrap_or(1);
        for _ in 0..packets {
            let packet = if is_flood {
                speech(&mut self.dice, 1, channel)
            } else {
                any_packet(&mut self.dice, self.tickets.back().cloned(), channel)
            };
            match &packet {
                Packet::DbReleaseClaim(_) => self.count(Kind::ForeignPacket),
                Packet::ChannelKickRequest(ChannelKickRequest { .. }) => self.count(Kind::Kicked),
                _ => {}
            }
            self.client_job(process, session, packet);
        }
    }

    /// Lets a member go away for good, with or without a word.
    pub(in crate::simulation_tests) fn leave(&mut self, number: usize) {
        let reasons = [CloseReason::Goodbye, CloseReason::PeerClosed, CloseReason::ConnectionLost];
        let reason = self.dice.pick(&reasons);
        self.leave_for(number, reason);
    }

    pub(in crate::simulation_tests) fn leave_for(&mut self, number: usize, reason: CloseReason) {
        let member = &mut self.members[number];
        member.granted = None;
        member.memory = Memory::default();
        let sessions = [(LOGIN, member.login.take()), (CHAT, member.hang_up())];
        for (process, session) in sessions {
            if let Some(session) = session {
                self.end_client(process, session, reason);
            }
        }
    }

    /// Queues the end of a client's session, once.
    pub(super) fn end_client(&mut self, process: Process, session: SessionId, reason: CloseReason) {
        if self.ended.insert(session) {
            let closed = Closed { kind: PeerKind::Client, dialed: None, reason };
            self.queue(process, session, None, Job::Closed(session, closed));
        }
    }

    pub(super) fn client(&mut self, process: Process) -> SessionId {
        let session = self.session();
        let address = ([203, 0, 113, 9], 9).into();
        let opened = Opened { kind: PeerKind::Client, address, dialed: None };
        self.queue(process, session, None, Job::Opened(session, opened));
        session
    }

    pub(super) fn queue(&mut self, process: Process, session: SessionId, number: Option<u32>, job: Job<()>) {
        self.client_jobs.push(ClientJob { process, session, number, job });
    }

    pub(super) fn client_job(&mut self, process: Process, session: SessionId, packet: impl Into<Packet>) {
        let job = Job::Packet(session, packet.into(), self.now);
        self.queue(process, session, None, job);
    }

    pub(super) fn session(&mut self) -> SessionId {
        self.sessions += 1;
        SessionId::new(0, self.sessions, 0)
    }
}
