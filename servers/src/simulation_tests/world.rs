//! The servers, the links between them, the database and the members, as queues of pending events.

mod clients;
mod effects;
mod lines;
mod processes;

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet, HashSet, VecDeque};
use std::hash::{DefaultHasher, Hash as _};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use throng_core::SessionId;
use throng_core::config::{Config, Limits, Rate};
use throng_core::content::{Effect, Effects, Job, Role as _, SessionCommand};
use throng_core::crypto::{ClusterKey, Ticket};
use throng_core::links::{Backoff, Peer};
use throng_core::net::{Closed, Opened, PeerKind};
use throng_core::room::{Class, RoomId};
use throng_core::wire::packets::{
    ChannelCreateRequest, ChannelJoinRequest, ChannelKickRequest, ChannelLeaveRequest, ChannelListRequest,
    EnterRequest, ExitRequest, ResumeTokenBytes, Role as PeerRole, Scope, TicketBytes, UserListRequest,
};
use throng_core::wire::{CloseReason, Packet, Text};

use super::faults::{Counts, Kind};
use super::lines::Line;
use super::members::{
    ABUSERS, ACCOUNTS, BACKLOG, Member, PLAYERS, PROBE, SHARED, any_packet, login_request, position, speech,
};
use super::tables::Tables;
use super::threads::{Crew, Handle, Mode, Server, Trick};
use super::truth::{Cause, Truth};
use crate::chat::{Admission, ChatRole, ChatSettings};
use crate::dbagent::procedures::{NewAccount, NewCharacter, Procedures as _, agent_number};
use crate::dbagent::role::{DbAgentRole, DbAgentSettings};
use crate::dice::Dice;
use crate::login::{LoginRole, LoginSettings};
use crate::role_fixture::{
    CHAT_KEY, KEY, advance_clock, lift, links_with, now_ms, reset_clock, resume_tokens,
};
use crate::rules::Reserved;

/// Index of a process.
pub(super) type Process = usize;
pub(super) const LOGIN: Process = 0;
pub(super) const CHAT: Process = 1;
/// The first DB agent.
pub(super) const AGENT: Process = 2;
pub(super) const AGENTS: usize = 2;
pub(super) const PROCESSES: usize = AGENT + AGENTS;

const REQUEST_TIMEOUT: Duration = Duration::from_millis(1500);
const LEASE: Duration = Duration::from_secs(15);
const GRACE: Duration = Duration::from_secs(1);
const DIAL_MAX: Duration = Duration::from_secs(1);
/// Longest pause of a process, in milliseconds.
const PAUSE_MAX: usize = 15_000;
/// Sessions that abusers leave open at a time.
const STRAYS_MAX: usize = 8;
/// Tickets that abusers know, and resume tokens.
const TICKETS_MAX: usize = 8;
/// Connections at a time that are lost without the server's knowledge.
const LOST_MAX: usize = 8;
/// Bytes of missed messages that a client is sent: plenty, or few.
const RESUME_BYTES: [usize; 3] = [256 * 1024, 256 * 1024, 300];
/// Time for which messages are kept: longer than a run, or shorter than a place.
const AGES: [Duration; 3] = [Duration::from_mins(10), Duration::from_mins(10), Duration::from_secs(1)];

thread_local! {
    /// Milliseconds by which the wall clock of each process is ahead.
    static SKEWS: [Cell<i64>; PROCESSES] = const { [const { Cell::new(0) }; PROCESSES] };
}

fn wall_ms(process: Process) -> u64 {
    SKEWS.with(|skews| now_ms().saturating_add_signed(skews[process].get()))
}

fn login_ms() -> u64 {
    wall_ms(LOGIN)
}

fn chat_ms() -> u64 {
    wall_ms(CHAT)
}

/// An event that can happen next.
#[derive(Debug, Clone, Copy, Hash)]
pub(super) enum Event {
    /// A packet arrives at one end of a link.
    Deliver(usize, usize),
    /// One end of a link learns that it is cut.
    Notice(usize, usize),
    /// A packet, the beginning or the end of a client's session arrives.
    Client(usize),
    /// A DB thread of an agent goes on.
    Thread(usize, usize),
    /// A DB thread's result reaches its agent.
    Report(usize, usize),
    /// A server connects to another.
    Connect(usize),
    /// A member takes the next step towards the chat.
    Act(usize),
    /// A member in the chat does something.
    Chat(usize),
    /// A member goes away.
    Leave(usize),
    /// From some packet on, nothing reaches a member, which does not know.
    Lose(usize),
    /// A member's connection to the chat breaks, and it knows.
    Break(usize),
    /// The server learns that a connection is lost.
    Lapse,
    /// An abuser does something.
    Abuse(usize),
    /// A link is cut. Packets on their way may still arrive.
    Cut(usize),
    /// A process dies or, if it is down, starts.
    Kill(Process),
    /// A process stops for a while, or goes on.
    Pause(Process),
    /// The wall clock of a process steps.
    Clock(Process),
    /// The database changes its state.
    Database,
    /// The next statement goes wrong.
    Trick,
    /// Time passes.
    Pass(Duration),
}

/// Groups of faults; each run has some of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Group {
    Links,
    Processes,
    Pauses,
    Clocks,
    Database,
    Statements,
    Lines,
    Abuse,
}

impl Group {
    const ALL: [Self; 8] = [
        Self::Links,
        Self::Processes,
        Self::Pauses,
        Self::Clocks,
        Self::Database,
        Self::Statements,
        Self::Lines,
        Self::Abuse,
    ];
}

struct Link {
    ends: [(Process, SessionId); 2],
    /// The token by which the first end dialed.
    token: u64,
    /// Packets on their way to each end.
    queues: [VecDeque<Packet>; 2],
    is_cut: bool,
    /// For each end, true once it knows that the link is cut.
    is_noticed: [bool; 2],
}

struct Dial {
    from: Process,
    address: SocketAddr,
    token: u64,
    /// No earlier.
    at: Instant,
}

/// A client's job on its way to a server.
struct ClientJob {
    process: Process,
    session: SessionId,
    /// Number of a player's own packet.
    number: Option<u32>,
    job: Job<()>,
}

struct Agent {
    role: DbAgentRole,
    crew: Arc<Mutex<Crew>>,
}

/// Settings of a run.
pub(super) struct Plan {
    pub(super) take_over: bool,
    pub(super) ticket_lifetime: Duration,
    /// Time for which the chat server keeps a place; zero keeps none.
    pub(super) window: Duration,
    pub(super) away_max: usize,
    /// Messages of each room that are kept, and for how long.
    pub(super) history: usize,
    pub(super) age: Duration,
    pub(super) on_join: usize,
    pub(super) on_enter: usize,
    pub(super) resume_bytes: usize,
    pub(super) groups: Vec<Group>,
}

impl Plan {
    pub(super) fn draw(dice: &mut Dice) -> Self {
        let take_over = dice.one_in(2);
        // Tickets expire all the time or never. If they never do, no expiry repairs a lost release.
        let ticket_lifetime = Duration::from_secs(dice.pick(&[1, 5, 3600]));
        // In some of the runs the servers are well, so that players talk more.
        let calm = [Group::Lines, Group::Abuse];
        let all = if dice.one_in(6) { &calm[..] } else { &Group::ALL };
        let groups = all.iter().copied().filter(|_| dice.one_in(2)).collect();
        let window = Duration::from_millis(dice.pick(&[0, 500, 1000, 2000]));
        Self {
            take_over,
            ticket_lifetime,
            window,
            away_max: dice.pick(&[100, 100, 100, 1]),
            history: dice.pick(&[1000, 1000, 3, 0]),
            age: dice.pick(&AGES),
            on_join: dice.pick(&[20, 2, 0]),
            on_enter: dice.pick(&[0, 3]),
            resume_bytes: dice.pick(&RESUME_BYTES),
            groups,
        }
    }

    /// Returns true if no server, link or database has faults.
    pub(super) fn is_calm(&self) -> bool {
        self.groups.iter().all(|group| matches!(group, Group::Lines | Group::Abuse))
    }

    /// Returns true if a client that resumes may be sent less than is kept.
    pub(super) fn is_short_of_bytes(&self) -> bool {
        self.resume_bytes < RESUME_BYTES[0]
    }

    /// Returns true if whispers and answers may be gone before their client resumes.
    pub(super) fn may_lose_own_packets(&self) -> bool {
        self.is_short_of_bytes() || self.age < AGES[0] || self.has(Group::Abuse)
    }

    pub(super) fn has(&self, group: Group) -> bool {
        self.groups.contains(&group)
    }
}

pub(super) struct World {
    pub(super) plan: Plan,
    began: Instant,
    pub(super) now: Instant,
    pub(super) dice: Dice,
    pub(super) login: Option<LoginRole>,
    pub(super) chat: Option<ChatRole>,
    agents: [Option<Agent>; AGENTS],
    /// Number of starts of each process.
    starts: [u64; PROCESSES],
    paused_until: [Option<Instant>; PROCESSES],
    pub(super) server: Server,
    sessions: u32,
    links: Vec<Link>,
    dials: Vec<Dial>,
    client_jobs: Vec<ClientJob>,
    /// Sessions in rooms, as the chat server's shards would have them.
    pub(super) rooms: BTreeSet<(SessionId, RoomId)>,
    /// The number of the latest message of each room.
    latest: BTreeMap<RoomId, u64>,
    pub(super) members: Vec<Member>,
    pub(super) truth: Truth,
    /// Sessions of the chat whose connections are lost, which the server does not know.
    lost: Vec<SessionId>,
    /// Sessions whose end is queued or has arrived.
    ended: BTreeSet<SessionId>,
    /// Resume tokens that abusers have got hold of.
    tokens: VecDeque<ResumeTokenBytes>,
    /// Open sessions that abusers have left behind.
    strays: Vec<(Process, SessionId)>,
    /// The ticket of the latest request to enter that has arrived.
    presented: Option<TicketBytes>,
    /// Tickets that abusers have got hold of.
    tickets: VecDeque<TicketBytes>,
    /// Tickets that have opened the chat, minted ones with the chat server's start.
    opened: HashSet<(u64, Vec<u8>)>,
    stamps: u64,
    due: Vec<Event>,
    pub(super) trace: bool,
    /// Hash of all events and packets so far.
    pub(super) digest: DefaultHasher,
}

impl World {
    /// Creates a world of `seed` in which all servers have started.
    pub(super) fn new(seed: u64) -> Self {
        reset_clock();
        // Far from 1970, so that clocks can step back.
        advance_clock(Duration::from_hours(24 * 365));
        SKEWS.with(|skews| skews.iter().for_each(|skew| skew.set(0)));
        let mut dice = Dice::new(seed);
        let plan = Plan::draw(&mut dice);
        let mut tables = Tables::default();
        for (number, id) in (1..).zip(ACCOUNTS) {
            let new = NewAccount { id, id_key: &crate::rules::key(id), password_hash: "password", now_ms: 0 };
            tables.account_insert(&new).expect("the model has no faults");
            let (name, name_key) = (id, id);
            let new = NewCharacter { account: number, name, name_key, now_ms: 0 };
            tables.character_insert(&new).expect("the model has no faults");
        }
        // Another clock than the servers'.
        tables.rows().clock_ms = 1_700_000_000_000;
        let counts = Counts::default();
        let server = Server {
            tables,
            mode: Mode::Well,
            trick: None,
            dice: Dice::new(dice.next()),
            counts,
            trace: false,
        };
        let now = Instant::now();
        let mut world = Self {
            plan,
            began: now,
            now,
            dice,
            login: None,
            chat: None,
            agents: [None, None],
            starts: [0; PROCESSES],
            paused_until: [None; PROCESSES],
            server,
            sessions: 0,
            links: Vec::new(),
            dials: Vec::new(),
            client_jobs: Vec::new(),
            rooms: BTreeSet::new(),
            latest: BTreeMap::new(),
            members: (0..=PROBE).map(Member::new).collect(),
            truth: Truth::default(),
            lost: Vec::new(),
            ended: BTreeSet::new(),
            tokens: VecDeque::new(),
            strays: Vec::new(),
            presented: None,
            tickets: VecDeque::new(),
            opened: HashSet::new(),
            stamps: 0,
            due: Vec::new(),
            trace: false,
            digest: DefaultHasher::new(),
        };
        for process in 0..PROCESSES {
            world.start(process);
        }
        world.apply(Event::Pass(Duration::ZERO));
        world
    }

    fn count(&mut self, kind: Kind) {
        self.server.counts.add(kind);
    }

    /// Fills `due` with the pending events of the servers and the network.
    fn find_due(&mut self) {
        let mut due = std::mem::take(&mut self.due);
        due.clear();
        for (at, link) in self.links.iter().enumerate() {
            for end in 0..2 {
                if link.is_noticed[end] || !self.runs(link.ends[end].0) {
                    continue;
                }
                if !link.queues[end].is_empty() {
                    due.push(Event::Deliver(at, end));
                }
                if link.is_cut {
                    due.push(Event::Notice(at, end));
                }
            }
        }
        let mut seen = 0u64;
        for (at, job) in self.client_jobs.iter().enumerate() {
            // The first job of a session; 64 sessions at a time.
            let bit = 1 << (job.session.slot() % 64);
            if seen & bit == 0 && self.runs(job.process) {
                due.push(Event::Client(at));
            }
            seen |= bit;
        }
        for (number, agent) in self.agents.iter().enumerate() {
            if let Some(agent) = agent.as_ref().filter(|_| self.paused_until[AGENT + number].is_none()) {
                let crew = agent.crew.lock();
                due.extend(
                    crew.ready(self.server.mode, self.now).map(|thread| Event::Thread(number, thread)),
                );
                due.extend((0..crew.replies()).map(|reply| Event::Report(number, reply)));
            }
        }
        let is_due = |dial: &Dial| dial.at <= self.now && self.runs(dial.from) && self.answers(dial);
        due.extend((0..self.dials.len()).filter(|at| is_due(&self.dials[*at])).map(Event::Connect));
        self.due = due;
    }

    /// Returns false for a process that is paused: it neither takes nor refuses a connection.
    fn answers(&self, dial: &Dial) -> bool {
        self.paused_until[usize::from(dial.address.port())].is_none()
    }

    /// Returns a random pending event, if there is one.
    pub(super) fn due_event(&mut self) -> Option<Event> {
        self.find_due();
        let at = self.dice.below(self.due.len());
        self.due.get(at).copied()
    }

    /// Returns an event that members, faults or time cause.
    pub(super) fn external_event(&mut self) -> Event {
        let dice = &mut self.dice;
        loop {
            let group = match dice.below(20) {
                0..=4 => return Event::Act(dice.below(PLAYERS)),
                5..=8 => return Event::Chat(dice.below(PLAYERS)),
                9 if dice.one_in(2) => return Event::Leave(dice.below(PLAYERS)),
                9..=12 => {
                    return Event::Pass(Duration::from_millis(dice.pick(&[20, 50, 200, 800, 3000])));
                }
                13 => Group::Links,
                14 => Group::Processes,
                15 => Group::Pauses,
                16 => Group::Clocks,
                17 => Group::Database,
                18 => Group::Statements,
                _ => Group::Abuse,
            };
            if !self.plan.groups.contains(&group) {
                continue;
            }
            return match group {
                Group::Links if self.links.is_empty() => continue,
                Group::Links => Event::Cut(dice.below(self.links.len())),
                Group::Processes => Event::Kill(dice.below(PROCESSES)),
                Group::Pauses => Event::Pause(dice.below(PROCESSES)),
                Group::Clocks => Event::Clock(dice.below(PROCESSES)),
                Group::Database => Event::Database,
                Group::Statements => Event::Trick,
                // These come beside the others.
                Group::Lines => continue,
                Group::Abuse => Event::Abuse(PLAYERS + dice.below(ABUSERS)),
            };
        }
    }

    pub(super) fn apply(&mut self, event: Event) {
        event.hash(&mut self.digest);
        if self.trace {
            eprintln!("{:?} {event:?}", self.now.duration_since(self.began));
        }
        match event {
            Event::Deliver(at, end) => {
                let (process, id) = self.links[at].ends[end];
                if let Some(packet) = self.links[at].queues[end].pop_front() {
                    if let Packet::DbClaimRevoked(revoked) = &packet
                        && process == CHAT
                    {
                        self.truth.revoke(revoked.claim, &mut self.server.counts);
                    }
                    if self.trace {
                        eprintln!("  process {process}, {id}: {packet:?}");
                    }
                    self.job(process, Job::Packet(id, packet, self.now));
                }
            }
            Event::Notice(at, end) => self.notice(at, end),
            Event::Client(at) => {
                let ClientJob { process, session, number, job } = self.client_jobs.remove(at);
                if self.trace {
                    match &job {
                        Job::Packet(_, packet, _) => eprintln!("  process {process}, {session}: {packet:?}"),
                        Job::Opened(..) => eprintln!("  process {process}, {session} opened"),
                        _ => eprintln!("  process {process}, {session} closed"),
                    }
                }
                let is_end = matches!(job, Job::Closed(..));
                if let Job::Packet(_, Packet::EnterRequest(request), _) = &job {
                    self.presented = Some(request.ticket.clone());
                }
                if process == CHAT {
                    self.look_at(session, &job, number);
                }
                self.job(process, job);
                self.truth.cause = Cause::Other;
                let is_in_room = self.rooms.iter().any(|member| member.0 == session);
                assert!(!is_end || !is_in_room, "{session} has ended and is in a room");
            }
            Event::Thread(agent, thread) => {
                if let Some(agent) = &self.agents[agent] {
                    agent.crew.lock().go_on(thread, &mut self.server, self.now);
                }
            }
            Event::Report(agent, reply) => {
                let taken = self.agents[agent].as_ref().and_then(|agent| agent.crew.lock().take_reply(reply));
                if let Some(reply) = taken {
                    if self.trace {
                        eprintln!("  agent {agent}: {reply:?}");
                    }
                    if reply.answer == crate::dbagent::request::Answer::Overtaken {
                        self.count(Kind::Overtaken);
                    }
                    let mut effects = Effects::default();
                    if let Some(agent) = &mut self.agents[agent] {
                        agent.role.job(Job::Record(reply), self.now, &mut effects);
                    }
                    self.carry_out(AGENT + agent, &mut effects);
                }
            }
            Event::Connect(dial) => self.connect(dial),
            Event::Act(member) => self.act(member),
            Event::Chat(member) => self.do_in_chat(member),
            Event::Leave(member) => self.leave(member),
            Event::Lose(member) => self.lose(member),
            Event::Break(member) => self.break_at_work(member),
            Event::Lapse => self.lapse(),
            Event::Abuse(member) => self.abuse(member),
            Event::Cut(at) => {
                self.links[at].is_cut = true;
                self.count(Kind::LinkCut);
            }
            Event::Kill(process) if self.is_up(process) => self.kill(process),
            Event::Kill(process) => self.start(process),
            Event::Pause(process) => self.pause(process),
            Event::Clock(process) => {
                let hour_ms = 3_600_000;
                let step = self.dice.below(2 * hour_ms).cast_signed() as i64 - hour_ms.cast_signed() as i64;
                // The error of a clock is an hour at most.
                let skew = SKEWS.with(|skews| skews[process].replace(step));
                self.count(if step > skew { Kind::ClockForward } else { Kind::ClockBack });
            }
            Event::Database => {
                let modes = [Mode::Well, Mode::Well, Mode::ReadOnly, Mode::Hanging, Mode::Down];
                let mode = self.dice.pick(&modes);
                match mode {
                    Mode::ReadOnly => self.count(Kind::TurnedReadOnly),
                    Mode::Down => self.count(Kind::DatabaseDown),
                    Mode::Well | Mode::Hanging => {}
                }
                self.set_mode(mode);
            }
            Event::Trick => {
                self.server.trick = Some(self.dice.pick(&[Trick::LoseAnswer, Trick::LoseRequest]));
            }
            Event::Pass(time) => self.pass(time),
        }
        self.tick();
    }

    fn set_mode(&mut self, mode: Mode) {
        if self.server.mode == Mode::Hanging && mode != Mode::Hanging {
            for agent in self.agents.iter().flatten() {
                agent.crew.lock().comes_back();
            }
        }
        self.server.mode = mode;
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        advance_clock(time);
        self.server.tables.rows().clock_ms += time.as_millis() as u64;
        for process in 0..PROCESSES {
            if self.paused_until[process].is_some_and(|until| until <= self.now) {
                self.resume(process);
            }
        }
        for number in 0..AGENTS {
            if self.runs(AGENT + number)
                && let Some(agent) = &self.agents[number]
            {
                agent.crew.lock().watch(&mut self.server, self.now);
            }
        }
    }

    /// Ends all faults: each process runs, clocks agree, and the database is well.
    pub(super) fn end_faults(&mut self) {
        for process in 0..PROCESSES {
            if self.paused_until[process].is_some() {
                self.resume(process);
            }
            if !self.is_up(process) {
                self.start(process);
            }
        }
        SKEWS.with(|skews| skews.iter().for_each(|skew| skew.set(0)));
        self.set_mode(Mode::Well);
        self.server.trick = None;
        for (process, session) in std::mem::take(&mut self.strays) {
            self.end_client(process, session, CloseReason::PeerClosed);
        }
        for number in 0..PLAYERS {
            if self.members[number].line != Line::Well {
                self.break_line(number);
            }
        }
        while !self.lost.is_empty() {
            self.lapse();
        }
        for number in PLAYERS..PROBE {
            self.leave(number);
        }
        self.tick();
    }

    /// Asks for the lists of users and channels, whose answers the caller gets.
    pub(super) fn lists(&mut self, session: SessionId, channels: &BTreeSet<u32>) -> Vec<Packet> {
        let mut packets: Vec<Packet> = vec![ChannelListRequest { after: 0 }.into()];
        packets.push(UserListRequest { channel: 0, after: 0, pages: 1 }.into());
        packets.extend(
            channels.iter().map(|channel| UserListRequest { channel: *channel, after: 0, pages: 1 }.into()),
        );
        let mut answers = Vec::new();
        for packet in packets {
            self.note_own_packet(session, &packet);
            let mut effects = Effects::default();
            if let Some(chat) = &mut self.chat {
                chat.job(Job::Packet(session, packet, self.now), self.now, &mut effects);
            }
            for effect in effects.drain() {
                match effect {
                    Effect::ToSession(_, SessionCommand::Send(packet)) => answers.push(*packet),
                    Effect::ToSession(_, SessionCommand::SendEncoded(begin, rest)) => {
                        let packet = Packet::decode(&[&*begin, &*rest].concat());
                        answers.push(packet.expect("the role encodes packets"));
                    }
                    _ => {}
                }
            }
        }
        answers
    }

    /// Returns the sizes of the tables of all processes, with the process and the table.
    pub(super) fn census(&self) -> Vec<(&'static str, &'static str, usize)> {
        let mut census = Vec::new();
        let login = self.login.iter().flat_map(LoginRole::census).map(|(table, size)| ("login", table, size));
        let chat = self.chat.iter().flat_map(ChatRole::census).map(|(table, size)| ("chat", table, size));
        census.extend(login);
        census.extend(chat);
        for agent in self.agents.iter().flatten() {
            census.extend(agent.role.census().into_iter().map(|(table, size)| ("agent", table, size)));
            census.push(("agent", "queued requests", agent.crew.lock().depth()));
        }
        census
    }

    /// Returns the number of links.
    pub(super) fn links(&self) -> usize {
        self.links.len()
    }

    pub(super) fn client_jobs(&self) -> usize {
        self.client_jobs.len()
    }

    /// Returns the number of sessions of clients, open or ending.
    pub(super) fn clients(&self) -> usize {
        let own = self
            .members
            .iter()
            .map(|member| usize::from(member.login.is_some()) + usize::from(member.chat.is_some()));
        let ending = self.client_jobs.iter().filter(|job| matches!(job.job, Job::Closed(..))).count();
        own.sum::<usize>() + self.strays.len() + self.lost.len() + ending
    }
}
