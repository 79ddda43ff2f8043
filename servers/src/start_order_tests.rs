//! Test: login server, chat server and DB agent become ready in whatever order they start.
//!
//! The roles run in one thread under virtual time, and their packets pass through a queue. The DB
//! agent has an embedded database and real DB threads, whose replies the test awaits.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use throng_core::SessionId;
use throng_core::config::Config;
use throng_core::content::{Effect, Effects, Job, Role as _, SessionCommand};
use throng_core::crypto::ClusterKey;
use throng_core::links::{LinkBoard, Peer};
use throng_core::net::{Closed, Opened, PeerKind};
use throng_core::wire::packets::Role;
use throng_core::wire::{CloseReason, Packet};

use crate::chat::{Admission, ChatRole, ChatSettings};
use crate::dbagent::migrate::migrate_sqlite;
use crate::dbagent::password::PasswordCost;
use crate::dbagent::pool::{Pool, PoolConfig};
use crate::dbagent::request::Reply;
use crate::dbagent::role::{DbAgentRole, DbAgentSettings, Tag};
use crate::dbagent::sqlite::SqliteFile;
use crate::login::{LoginRole, LoginSettings};
use crate::readiness::{CountDbThreads, DbThreads, Readiness};
use crate::role_fixture::{CHAT_KEY, KEY, RETRY_MAX, lift, links_on, now_ms, reset_clock, resume_tokens};
use crate::rules::Reserved;

const ALL: [Role; 3] = [Role::Login, Role::Chat, Role::DbAgent];

/// Longest wait for a DB thread.
const PATIENCE: Duration = Duration::from_mins(1);

/// A role that runs in the test.
enum Running {
    Login(Box<LoginRole>),
    Chat(Box<ChatRole>),
    DbAgent(Box<DbAgentRole>),
}

impl Running {
    fn job(&mut self, job: Job<()>, now: Instant, effects: &mut Effects) {
        match self {
            Self::Login(role) => role.job(job, now, effects),
            Self::Chat(role) => role.job(lift(job), now, effects),
            Self::DbAgent(role) => {
                let job = match job {
                    Job::Opened(id, opened) => Job::Opened(id, opened),
                    Job::Closed(id, closed) => Job::Closed(id, closed),
                    Job::Packet(id, packet, received) => Job::Packet(id, packet, received),
                    Job::Record(()) => return,
                };
                role.job(job, now, effects);
            }
        }
    }

    fn tick(&mut self, now: Instant, effects: &mut Effects) -> Option<Instant> {
        match self {
            Self::Login(role) => role.tick(now, effects),
            Self::Chat(role) => role.tick(now, effects),
            Self::DbAgent(role) => role.tick(now, effects),
        }
    }
}

struct Process {
    running: Running,
    readiness: Readiness,
    board: Arc<LinkBoard>,
    next_tick: Instant,
}

/// The processes that have started, and the packets between them.
struct World {
    now: Instant,
    processes: HashMap<u8, Process>,
    sessions: u32,
    /// The other end of each link.
    peers: HashMap<SessionId, (Role, SessionId)>,
    jobs: VecDeque<(Role, Job<()>)>,
    replies: Option<Receiver<Reply<Tag>>>,
    dir: tempfile::TempDir,
}

fn port(role: Role) -> u16 {
    1 + role as u16
}

impl World {
    fn new() -> Self {
        reset_clock();
        Self {
            now: Instant::now(),
            processes: HashMap::new(),
            sessions: 0,
            peers: HashMap::new(),
            jobs: VecDeque::new(),
            replies: None,
            dir: tempfile::tempdir().unwrap(),
        }
    }

    /// Starts the process of a role.
    fn start(&mut self, role: Role) {
        let peers: &[Role] = match role {
            Role::Login => &[Role::Chat, Role::DbAgent],
            Role::Chat => &[Role::DbAgent],
            Role::DbAgent => &[],
        };
        let peer = |role: &Role| Peer { role: *role, address: ([127, 0, 0, 1], port(*role)).into() };
        let board: Arc<LinkBoard> = Arc::default();
        let instance = 1 + role as u64;
        let links = links_on(board.clone(), role, instance, peers.iter().map(peer).collect(), self.now);
        let cluster = ClusterKey::from_bytes(KEY);
        let mut count = None;
        let running = match role {
            Role::Login => {
                let settings = LoginSettings {
                    take_over: false,
                    seats: 10,
                    stay: Duration::from_mins(1),
                    queue: 100,
                    ticket_lifetime: Duration::from_secs(30),
                    request_timeout: Duration::from_secs(1),
                    cluster,
                    limits: Config::default().limits,
                    reserved: Reserved::default(),
                };
                Running::Login(Box::new(LoginRole::new(settings, links, now_ms)))
            }
            Role::Chat => {
                let settings = ChatSettings::of(&Config::default());
                let admission = Admission::new(cluster, CHAT_KEY, now_ms());
                Running::Chat(Box::new(ChatRole::new(settings, admission, resume_tokens(1), links, now_ms)))
            }
            Role::DbAgent => {
                let pool = self.start_pool();
                let threads = pool.clone();
                count = Some(Box::new(move || DbThreads { usable: threads.usable(), hung: threads.hung() })
                    as CountDbThreads);
                let settings = DbAgentSettings {
                    comeback: Duration::from_secs(2),
                    lease: Duration::from_secs(15),
                    lease_grace: Duration::from_secs(1),
                    request_timeout: Duration::from_secs(1),
                };
                Running::DbAgent(Box::new(DbAgentRole::new(settings, links, pool, self.now)))
            }
        };
        let readiness = Readiness::new(board.clone(), count);
        self.processes.insert(role as u8, Process { running, readiness, board, next_tick: self.now });
        if role == Role::DbAgent {
            // The agent's own first request, which a connected thread has executed.
            self.await_reply();
        }
    }

    fn start_pool(&mut self) -> Arc<Pool<Tag>> {
        let path = self.dir.path().join("throng.db");
        migrate_sqlite(&path, PATIENCE, 0).unwrap();
        let file = SqliteFile::new(path, PATIENCE);
        let (sender, replies) = mpsc::channel();
        self.replies = Some(replies);
        let password = PasswordCost { memory_kib: 64, iterations: 1 };
        let config = PoolConfig { threads: 1, password, ..PoolConfig::default() };
        let sink = move |reply| {
            // Refused once the test is over.
            let _ = sender.send(reply);
        };
        Arc::new(Pool::start(&config, move || Ok(Box::new(file.connect()?)), sink).unwrap())
    }

    fn await_reply(&mut self) {
        let reply = self.replies.as_ref().unwrap().recv_timeout(PATIENCE).expect("a DB thread answers");
        let mut effects = Effects::default();
        if let Some(Process { running: Running::DbAgent(role), .. }) =
            self.processes.get_mut(&(Role::DbAgent as u8))
        {
            role.job(Job::Record(reply), self.now, &mut effects);
        }
        self.carry_out(Role::DbAgent, effects);
    }

    fn carry_out(&mut self, role: Role, mut effects: Effects) {
        for effect in effects.drain().collect::<Vec<_>>() {
            match effect {
                Effect::ToSession(to, SessionCommand::Send(packet)) => self.send(to, *packet),
                Effect::ToSession(to, SessionCommand::SendEncoded(begin, rest)) => {
                    let packet = Packet::decode(&[&*begin, &*rest].concat()).unwrap();
                    self.send(to, packet);
                }
                Effect::ToSession(id, SessionCommand::Close(reason)) => {
                    panic!("{role:?} closes {id}: {reason:?}")
                }
                Effect::Dial(address, _, token) => self.dial(role, address.port(), token),
                _ => panic!("no client is here"),
            }
        }
    }

    fn send(&mut self, from: SessionId, packet: Packet) {
        let (role, at) = self.peers[&from];
        self.jobs.push_back((role, Job::Packet(at, packet, self.now)));
    }

    fn dial(&mut self, from: Role, to: u16, token: u64) {
        let to = *ALL.iter().find(|role| port(**role) == to).unwrap();
        if !self.processes.contains_key(&(to as u8)) {
            let reason = CloseReason::ConnectFailed;
            let closed = Closed { kind: PeerKind::Link, dialed: Some(token), reason };
            return self.jobs.push_back((from, Job::Closed(SessionId::from_bits(u64::MAX), closed)));
        }
        self.sessions += 2;
        let [near, far] = [1, 0].map(|back| SessionId::new(0, self.sessions - back, 0));
        self.peers.extend([(near, (to, far)), (far, (from, near))]);
        for (role, id, dialed) in [(from, near, Some(token)), (to, far, None)] {
            let address = ([127, 0, 0, 1], port(to)).into();
            self.jobs.push_back((role, Job::Opened(id, Opened { kind: PeerKind::Link, address, dialed })));
        }
    }

    /// Delivers what is under way, and lets the roles do what is due.
    fn settle(&mut self) {
        loop {
            if let Some((role, job)) = self.jobs.pop_front() {
                let mut effects = Effects::default();
                let process = self.processes.get_mut(&(role as u8)).unwrap();
                process.running.job(job, self.now, &mut effects);
                process.next_tick = self.now;
                self.carry_out(role, effects);
                continue;
            }
            let due = ALL.into_iter().find(|role| {
                self.processes.get(&(*role as u8)).is_some_and(|process| process.next_tick <= self.now)
            });
            if let Some(role) = due {
                let mut effects = Effects::default();
                let process = self.processes.get_mut(&(role as u8)).unwrap();
                let next = process.running.tick(self.now, &mut effects);
                process.next_tick = next
                    .unwrap_or(self.now + Duration::from_mins(1))
                    .max(self.now + Duration::from_millis(1));
                self.carry_out(role, effects);
                continue;
            }
            // A list of claims is with a DB thread, which knows no virtual time.
            if self.processes.values().any(|process| process.board.to_json().contains("comparing claims")) {
                self.await_reply();
                continue;
            }
            return;
        }
    }

    /// Lets time pass up to `until`, or until the processes are ready.
    fn run(&mut self, until: Instant) {
        self.settle();
        while !self.is_ready() {
            let next = self.processes.values().map(|process| process.next_tick).min().unwrap_or(until);
            if next > until {
                break;
            }
            self.now = next;
            self.settle();
        }
    }

    fn is_ready(&self) -> bool {
        self.processes.len() == ALL.len()
            && self.processes.values().all(|process| process.readiness.missing().is_empty())
    }
}

#[test]
fn the_servers_become_ready_in_whatever_order_they_start() {
    for first in ALL {
        for second in ALL {
            let third = ALL.into_iter().find(|role| ![first, second].contains(role)).unwrap();
            if first == second {
                continue;
            }
            // Long enough for the pauses between two dials to have grown to the longest.
            for pause in [Duration::ZERO, Duration::from_secs(10)] {
                let mut world = World::new();
                for role in [first, second] {
                    world.start(role);
                    let until = world.now + pause;
                    world.run(until);
                    world.now = until;
                    assert!(!world.is_ready(), "{first:?}, {second:?}");
                }
                world.start(third);
                let started = world.now;
                world.run(started + RETRY_MAX);
                let missing = world.processes.values().flat_map(|process| process.readiness.missing());
                let missing: Vec<_> = missing.map(|missing| missing.to_string()).collect();
                assert!(world.is_ready(), "{first:?}, {second:?}, {third:?}: {missing:?}");
            }
        }
    }
}
