//! The servers, the links between them and the players, as queues of pending events.

use std::collections::{HashSet, VecDeque};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use throng_core::SessionId;
use throng_core::config::Config;
use throng_core::content::{Effect, Effects, Job, Role as _, SessionCommand};
use throng_core::crypto::ClusterKey;
use throng_core::links::Peer;
use throng_core::net::{Closed, Opened, PeerKind};
use throng_core::room::RoomId;
use throng_core::wire::packets::{
    ChannelCreateRequest, ChannelJoinRequest, ChannelLeaveRequest, EnterRequest, LoginGranted, LoginRequest,
    PasswordText, Role as PeerRole,
};
use throng_core::wire::{CloseReason, Packet, Text};

use super::agents::{AGENTS, Agents};
use crate::chat::{Admission, ChatRole, ChatSettings};
use crate::login::{LoginRole, LoginSettings};
use crate::role_fixture::{CHAT_KEY, KEY, advance_clock, hello, links, now_ms, reset_clock};
use crate::rules::Reserved;

pub(super) const CHAT: u64 = 2;

/// The port of the first DB agent.
const AGENT_PORT: u16 = 2;

/// An event that can happen next.
#[derive(Debug, Clone, Copy)]
pub(super) enum Event {
    /// A packet arrives at one end of a link.
    Deliver(usize, usize),
    /// One end of a link learns that it is cut.
    Notice(usize, usize),
    /// A link is cut. Packets on their way may still arrive.
    Cut(usize),
    /// A DB thread runs a job.
    Db(usize),
    /// A DB thread's result reaches the DB agent.
    Report(usize),
    /// A DB agent crashes or, if it is down, restarts.
    Crash(usize),
    /// A server connects to another.
    Connect(usize),
    /// A server learns that a client's session has ended.
    Gone(usize),
    /// A player takes the next step.
    Act(usize),
    /// A player creates a channel, joins it or leaves it.
    Channel(usize),
    /// A player goes away.
    Leave(usize),
    /// Time passes.
    Pass(Duration),
}

struct Link {
    ends: [(PeerRole, SessionId); 2],
    /// The token by which the first end dialed.
    token: u64,
    /// Packets on their way to each end.
    queues: [VecDeque<Packet>; 2],
    is_cut: bool,
    /// For each end, true once it knows that the link is cut.
    is_noticed: [bool; 2],
}

/// A player; all players share a few accounts.
#[derive(Default)]
pub(super) struct Player {
    account: usize,
    login: Option<SessionId>,
    granted: Option<LoginGranted>,
    chat: Option<SessionId>,
    pub(super) is_in: bool,
}

pub(super) struct World {
    now: Instant,
    login: LoginRole,
    chat: ChatRole,
    agents: Agents,
    sessions: u32,
    links: Vec<Link>,
    dials: Vec<(PeerRole, SocketAddr, u64)>,
    gone: Vec<(PeerRole, SessionId)>,
    /// Sessions in rooms, as the chat server's shards would have them.
    members: HashSet<(SessionId, RoomId)>,
    pub(super) players: Vec<Player>,
}

impl World {
    /// Creates servers that are not linked yet, and six players with two accounts.
    pub(super) fn new(take_over: bool, ticket_lifetime: Duration) -> Self {
        reset_clock();
        let now = Instant::now();
        let cluster = ClusterKey::from_bytes(KEY);
        let peer = |role, port| Peer { role, address: ([127, 0, 0, 1], port).into() };
        let agents: Vec<Peer> =
            (0..AGENTS).map(|agent| peer(PeerRole::DbAgent, AGENT_PORT + agent as u16)).collect();
        let request_timeout = Duration::from_millis(1500);
        let login = LoginRole::new(
            LoginSettings {
                take_over,
                seats: 100,
                stay: Duration::from_secs(20),
                ticket_lifetime,
                request_timeout,
                cluster: cluster.clone(),
                reserved: Reserved::default(),
                limits: Config::default().limits,
            },
            links(PeerRole::Login, 1, [vec![peer(PeerRole::Chat, 1)], agents.clone()].concat(), now),
            now_ms,
        );
        let chat = ChatRole::new(
            ChatSettings {
                take_over,
                ticket_lifetime,
                request_timeout,
                ..ChatSettings::of(&Config::default())
            },
            Admission::new(cluster, CHAT_KEY, now_ms()),
            links(PeerRole::Chat, CHAT, agents, now),
            now_ms,
        );
        let player = |number: usize| Player { account: number % 2, ..Player::default() };
        let mut world = Self {
            now,
            login,
            chat,
            agents: Agents::default(),
            sessions: 0,
            links: Vec::new(),
            dials: Vec::new(),
            gone: Vec::new(),
            members: HashSet::new(),
            players: (0..6).map(player).collect(),
        };
        world.apply(Event::Pass(Duration::ZERO));
        world
    }

    /// Returns the pending events of the servers and the network.
    pub(super) fn due_events(&self) -> Vec<Event> {
        let mut due_events = Vec::new();
        for (at, link) in self.links.iter().enumerate() {
            for end in 0..2 {
                if !link.is_noticed[end] && !link.queues[end].is_empty() {
                    due_events.push(Event::Deliver(at, end));
                }
                if link.is_cut && !link.is_noticed[end] {
                    due_events.push(Event::Notice(at, end));
                }
            }
        }
        due_events.extend(self.agents.ready().into_iter().map(Event::Db));
        due_events.extend((0..self.agents.replies()).map(Event::Report));
        due_events.extend((0..self.dials.len()).map(Event::Connect));
        due_events.extend((0..self.gone.len()).map(Event::Gone));
        due_events
    }

    /// Returns the events that players, faults and time may cause.
    pub(super) fn external_events(&self) -> Vec<Event> {
        let mut external_events = Vec::new();
        for number in 0..self.players.len() {
            external_events.extend([Event::Act(number), Event::Act(number), Event::Leave(number)]);
            external_events.push(Event::Channel(number));
        }
        let up = |at: &usize| !self.links[*at].is_cut;
        external_events.extend((0..self.links.len()).filter(up).map(Event::Cut));
        external_events.extend((0..AGENTS).map(Event::Crash));
        external_events.extend([50, 800, 3000].map(|ms| Event::Pass(Duration::from_millis(ms))));
        external_events
    }

    pub(super) fn apply(&mut self, event: Event) {
        match event {
            Event::Deliver(at, end) => {
                let (role, id) = self.links[at].ends[end];
                if let Some(packet) = self.links[at].queues[end].pop_front() {
                    self.job(role, Job::Packet(id, packet, self.now));
                }
            }
            Event::Notice(at, end) => self.notice(at, end),
            Event::Cut(at) => self.links[at].is_cut = true,
            Event::Db(job) => self.agents.run(job, self.now),
            Event::Report(reply) => {
                for (link, packet) in self.agents.report(reply) {
                    self.send(link, packet);
                }
            }
            Event::Crash(agent) if self.agents.is_down(agent) => self.agents.start(agent, self.now),
            Event::Crash(agent) => {
                for link in self.agents.crash(agent, self.now) {
                    self.close(PeerRole::DbAgent, link);
                }
            }
            Event::Connect(dial) => self.connect(dial),
            Event::Gone(at) => {
                let (role, id) = self.gone.swap_remove(at);
                let closed = Closed { kind: PeerKind::Client, dialed: None, reason: CloseReason::PeerClosed };
                self.job(role, Job::Closed(id, closed));
                assert!(self.members.iter().all(|member| member.0 != id), "{id} has ended and is in a room");
            }
            Event::Act(player) => self.act(player),
            Event::Channel(player) => self.channel(player),
            Event::Leave(player) => self.leave(player),
            Event::Pass(time) => {
                self.now += time;
                advance_clock(time);
                self.agents.renew(self.now);
            }
        }
        let mut effects = Effects::default();
        self.login.tick(self.now, &mut effects);
        self.carry_out(PeerRole::Login, &mut effects);
        self.chat.tick(self.now, &mut effects);
        self.carry_out(PeerRole::Chat, &mut effects);
        // Links are named by their index, so only the last ones can be removed.
        while self.links.last().is_some_and(|link| link.is_noticed == [true; 2]) {
            self.links.pop();
        }
    }

    /// Returns true if the database has the player's account online at the chat server.
    pub(super) fn is_online(&self, player: &Player) -> bool {
        self.agents.is_online_at(id_of(player.account).len() as u64, CHAT, self.now)
    }

    /// Starts DB agents until `count` of them are up.
    pub(super) fn raise_agents(&mut self, count: usize) {
        for agent in 0..AGENTS {
            let up = (0..AGENTS).filter(|agent| !self.agents.is_down(*agent)).count();
            if up < count {
                self.agents.start(agent, self.now);
            }
        }
    }

    /// Returns the accounts that are online in the database.
    pub(super) fn online(&self) -> Vec<u64> {
        self.agents.online(self.now)
    }

    pub(super) fn account(&self, player: usize) -> usize {
        self.players[player].account
    }

    fn job(&mut self, role: PeerRole, job: Job<()>) {
        let mut effects = Effects::default();
        match (role, job) {
            (PeerRole::Login, job) => self.login.job(job, self.now, &mut effects),
            (PeerRole::Chat, job) => self.chat.job(job, self.now, &mut effects),
            (PeerRole::DbAgent, Job::Packet(id, packet, _)) => self.agents.packet(id, packet, self.now),
            (PeerRole::DbAgent, Job::Closed(id, _)) => self.agents.closed(id, self.now),
            (PeerRole::DbAgent, Job::Opened(id, opened)) => {
                self.agents.opened(id, usize::from(opened.address.port() - AGENT_PORT));
                self.send(id, hello(PeerRole::DbAgent, 3).into());
            }
            (PeerRole::DbAgent, Job::Record(())) => {}
        }
        self.carry_out(role, &mut effects);
    }

    fn carry_out(&mut self, role: PeerRole, effects: &mut Effects) {
        for effect in effects.drain() {
            match effect {
                Effect::ToSession(to, SessionCommand::Send(packet)) => self.send(to, *packet),
                Effect::ToSession(to, SessionCommand::SendEncoded(begin, rest)) => {
                    self.send(
                        to,
                        Packet::decode(&[&*begin, &*rest].concat()).expect("the role encodes packets"),
                    );
                }
                Effect::ToSession(id, SessionCommand::Close(_)) => self.close(role, id),
                Effect::Dial(address, _, token) => self.dials.push((role, address, token)),
                Effect::Join(id, room) => {
                    assert!(self.members.insert((id, room)), "{id} is in {room:?} already");
                }
                Effect::Leave(id, room) | Effect::Expel(id, room) => {
                    assert!(self.members.remove(&(id, room)), "{id} is not in {room:?}");
                }
                // Messages reach no player: the players of the simulation only come and go.
                _ => {}
            }
        }
    }

    fn send(&mut self, to: SessionId, packet: Packet) {
        for link in self.links.iter_mut().filter(|link| !link.is_cut) {
            for end in 0..2 {
                if link.ends[end].1 == to {
                    return link.queues[1 - end].push_back(packet);
                }
            }
        }
        let is_of = |player: &&mut Player| player.login == Some(to) || player.chat == Some(to);
        let Some(player) = self.players.iter_mut().find(is_of) else { return };
        match packet {
            Packet::LoginGranted(granted) => player.granted = Some(granted),
            Packet::EnterAnswer(_) => player.is_in = true,
            _ => {}
        }
    }

    /// Closes a session on behalf of a server.
    fn close(&mut self, role: PeerRole, id: SessionId) {
        for link in self.links.iter_mut().filter(|link| link.ends.iter().any(|end| end.1 == id)) {
            link.is_cut = true;
        }
        for player in &mut self.players {
            if player.login == Some(id) {
                player.login = None;
                self.gone.push((role, id));
            }
            if player.chat == Some(id) {
                player.chat = None;
                player.is_in = false;
                self.gone.push((role, id));
            }
        }
    }

    fn notice(&mut self, at: usize, end: usize) {
        let link = &mut self.links[at];
        link.is_noticed[end] = true;
        let (role, id) = link.ends[end];
        let dialed = (end == 0).then_some(link.token);
        let closed = Closed { kind: PeerKind::Link, dialed, reason: CloseReason::ConnectionLost };
        self.job(role, Job::Closed(id, closed));
    }

    fn connect(&mut self, dial: usize) {
        let (from, address, token) = self.dials.swap_remove(dial);
        let to = if address.port() == 1 { PeerRole::Chat } else { PeerRole::DbAgent };
        if to == PeerRole::DbAgent && self.agents.is_down(usize::from(address.port() - AGENT_PORT)) {
            let id = self.session();
            let reason = CloseReason::ConnectFailed;
            let closed = Closed { kind: PeerKind::Link, dialed: Some(token), reason };
            return self.job(from, Job::Closed(id, closed));
        }
        let ends = [(from, self.session()), (to, self.session())];
        let queues = Default::default();
        self.links.push(Link { ends, token, queues, is_cut: false, is_noticed: [false; 2] });
        for ((role, id), dialed) in ends.into_iter().zip([Some(token), None]) {
            self.job(role, Job::Opened(id, Opened { kind: PeerKind::Link, address, dialed }));
        }
    }

    /// Logs in, or enters with the ticket.
    fn act(&mut self, number: usize) {
        let player = &self.players[number];
        if player.chat.is_some() {
            return;
        }
        match (&player.granted, player.login) {
            (Some(granted), _) => {
                let ticket = granted.ticket.clone();
                let chat = self.client(PeerRole::Chat);
                let player = &mut self.players[number];
                player.chat = Some(chat);
                player.granted = None;
                self.job(PeerRole::Chat, Job::Packet(chat, EnterRequest { ticket }.into(), self.now));
            }
            (None, None) => {
                let id = Text::truncated(id_of(player.account));
                let password = PasswordText::new("password").expect("it is short");
                let login = self.client(PeerRole::Login);
                self.players[number].login = Some(login);
                self.job(PeerRole::Login, Job::Packet(login, LoginRequest { id, password }.into(), self.now));
            }
            // The player waits for an answer, was refused or is in the chat, and leaves.
            (None, Some(_)) => self.leave(number),
        }
    }

    /// Leaves the channel, or creates and joins it. All players want the same one.
    fn channel(&mut self, number: usize) {
        let Some(session) = self.players[number].chat else { return };
        let name = Text::truncated("channel");
        let is_member = |member: &&(SessionId, RoomId)| member.0 == session && member.1 != RoomId::WORLD;
        let packets: Vec<Packet> = match self.members.iter().find(is_member) {
            Some((_, room)) => vec![ChannelLeaveRequest { channel: room.0 }.into()],
            None => {
                vec![ChannelCreateRequest { name: name.clone() }.into(), ChannelJoinRequest { name }.into()]
            }
        };
        for packet in packets {
            self.job(PeerRole::Chat, Job::Packet(session, packet, self.now));
        }
    }

    /// Returns the number of sessions in rooms of the chat server.
    pub(super) fn members(&self) -> usize {
        self.members.len()
    }

    fn leave(&mut self, number: usize) {
        let player = &mut self.players[number];
        player.granted = None;
        player.is_in = false;
        self.gone.extend(player.login.take().map(|id| (PeerRole::Login, id)));
        self.gone.extend(player.chat.take().map(|id| (PeerRole::Chat, id)));
    }

    fn client(&mut self, role: PeerRole) -> SessionId {
        let id = self.session();
        let address = ([127, 0, 0, 1], 9).into();
        self.job(role, Job::Opened(id, Opened { kind: PeerKind::Client, address, dialed: None }));
        id
    }

    fn session(&mut self) -> SessionId {
        self.sessions += 1;
        SessionId::new(0, self.sessions, 0)
    }
}

/// Returns the id of an account. The model numbers accounts by the length of their ids.
fn id_of(account: usize) -> &'static str {
    ["one", "four"][account]
}
