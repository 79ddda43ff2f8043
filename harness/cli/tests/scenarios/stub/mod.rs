//! A stub server with planned faults: login and chat on one port, on the core's own event loop, so
//! that the harness's report can be compared with the plan.

mod chat;
mod login;
mod relay;
mod rooms;
mod script;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use relay::Relay;
pub(crate) use relay::{LONG, Pieces};
use rooms::Rooms;
pub(crate) use script::{Fault, Script, Walker};
use tempfile::TempDir;
use throng_core::SessionId;
use throng_core::bucket::Bucket;
use throng_core::clock::unix_ms;
use throng_core::crypto::{ClusterKey, Credentials, StaticKey, Ticket};
use throng_core::limits::CLIENT_BODY_MAX;
use throng_core::net::{
    Acceptor, AcceptorHandle, App, Closed, Endpoint, Listener, Mail, Mailbox, Opened, PeerKind, Sessions,
    Shard, ShardSize,
};
use throng_core::wire::packets::{
    ChannelKickAnswer, ChannelKickRequest, ChannelLeft, ChannelList, EnterAnswer, ExitAnswer, Outcome,
    PongAnswer, ResumeTokenBytes, User, UserList, UsersChanged,
};
use throng_core::wire::{CloseReason, List, Packet, Text};

/// A running stub.
pub(crate) struct Stub {
    address: SocketAddr,
    key: String,
    dir: TempDir,
    acceptor: Option<AcceptorHandle>,
    mailbox: Arc<Mailbox<()>>,
    thread: Option<JoinHandle<()>>,
    received: Arc<AtomicU32>,
    seen: Arc<Mutex<Seen>>,
    relay: Option<Arc<Relay>>,
}

/// Observations of the stub.
#[derive(Debug, Clone, Default)]
pub(crate) struct Seen {
    /// Entries of each character.
    pub entries: BTreeMap<String, u32>,
    /// Sign-up requests.
    pub sign_ups: u32,
    /// Most sessions that had logged in and not entered the chat, at a time.
    pub most_on_the_way: usize,
    /// Most sessions in the chat, at a time.
    pub most_present: usize,
    /// Addresses of connections.
    pub sources: BTreeSet<IpAddr>,
    /// Messages dropped for walkers, and leaked to them, by [`Script::walker`].
    pub walkers_lost: u64,
    pub walkers_leaked: u64,
}

impl Stub {
    pub(crate) fn start(script: Script) -> Self {
        let key = Arc::new(StaticKey::generate().unwrap());
        let cluster = ClusterKey::generate().unwrap();
        let dir = tempfile::tempdir().unwrap();
        cluster.store(&dir.path().join("cluster.key")).unwrap();
        let endpoint = Arc::new(Endpoint {
            peer: PeerKind::Client,
            credentials: Credentials::Server(key.clone()),
            body_max: CLIENT_BODY_MAX,
            outbox_max: 8 << 20,
            handshake_timeout: Duration::from_secs(5),
            first_packet_timeout: None,
            heartbeat: Some(Duration::from_millis(100)),
            // In pieces and on a busy machine a heartbeat takes seconds.
            idle_timeout: Some(Duration::from_mins(1)),
            linger: Duration::from_millis(200),
        });
        let listener = Listener::bind(([127, 0, 0, 1], 0).into(), "stub", 128, endpoint).unwrap();
        // The login hands out this address too, so that players also pass the relay.
        let is_torn = script.pieces.is_some() || script.tears.is_some();
        let relay = is_torn.then(|| Relay::start(listener.address(), script.pieces));
        let address = relay.as_ref().map_or(listener.address(), |relay| relay.address);
        let shard = Shard::new(0, ShardSize::new(script.capacity, 1024)).unwrap();
        let mailbox = shard.mailbox();
        let acceptor = Acceptor::new(vec![listener], std::slice::from_ref(&shard)).unwrap();
        let received = Arc::new(AtomicU32::new(0));
        let seen = Arc::new(Mutex::new(Seen::default()));
        let app = StubApp {
            script,
            address,
            key: *key.public(),
            cluster,
            present: BTreeMap::new(),
            others: strangers(script.strangers),
            outside: Vec::new(),
            logins: HashMap::new(),
            began: Instant::now(),
            uncounted: Bucket::default(),
            rooms: Rooms::default(),
            version: 0,
            later: script.later,
            lingers: script.lingers,
            held: HashMap::new(),
            due: BTreeMap::new(),
            scheduled: 0,
            received: received.clone(),
            seen: seen.clone(),
            relay: relay.clone(),
            relay_addresses: HashMap::new(),
            delivered: 0,
        };
        let thread = std::thread::spawn(move || shard.run(app).unwrap());
        Self {
            address,
            key: hex::encode(key.public()),
            dir,
            acceptor: Some(acceptor.spawn("stub-accept".into()).unwrap()),
            mailbox,
            thread: Some(thread),
            received,
            seen,
            relay,
        }
    }

    /// The flags that direct a scenario to this stub.
    pub(crate) fn flags(&self, scenario: &str) -> Vec<String> {
        let mut flags =
            vec!["--server".into(), self.address.to_string(), "--server-key".into(), self.key.clone()];
        if scenario != "login" {
            let path = self.dir.path().join("cluster.key");
            flags.extend(["--cluster-key".into(), path.to_str().unwrap().into()]);
        }
        flags
    }

    /// The observations so far.
    pub(crate) fn seen(&self) -> Seen {
        self.seen.lock().unwrap().clone()
    }

    /// The relay's counts so far.
    pub(crate) fn pieces(&self) -> Pieces {
        self.relay.as_ref().map(|relay| relay.pieces()).unwrap_or_default()
    }

    /// Waits until it has received `count` counted messages.
    #[track_caller]
    pub(crate) fn wait_for_messages(&self, count: u32) {
        let begun = Instant::now();
        while self.received() < count {
            assert!(begun.elapsed() < Duration::from_mins(1), "{} of {count} messages", self.received());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Counted messages received so far.
    pub(crate) fn received(&self) -> u32 {
        self.received.load(Ordering::Relaxed)
    }
}

impl Drop for Stub {
    fn drop(&mut self) {
        if let Some(acceptor) = self.acceptor.take() {
            acceptor.stop();
        }
        let _ = self.mailbox.push(Mail::Stop(CloseReason::ServerShutdown, Duration::from_millis(100)));
        self.mailbox.ring();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct StubApp {
    script: Script,
    address: SocketAddr,
    key: [u8; 32],
    cluster: ClusterKey,
    /// By client number, which is part of its name.
    present: BTreeMap<u32, (SessionId, User)>,
    /// Other users in the list: strangers, and clients that have left but stay listed.
    others: Vec<User>,
    /// Sessions that have not entered.
    outside: Vec<SessionId>,
    /// Login sessions by the name of their character.
    logins: HashMap<String, SessionId>,
    began: Instant,
    /// The use of the rate of uncounted texts.
    uncounted: Bucket,
    rooms: Rooms,
    /// The version of the user list.
    version: u64,
    later: u32,
    lingers: u32,
    /// Messages held back until the next one for the same client.
    held: HashMap<u32, Vec<Packet>>,
    /// Packets to be sent, by time and then in the order of scheduling.
    due: BTreeMap<(Instant, u64), (SessionId, Packet)>,
    /// Packets scheduled so far.
    scheduled: u64,
    received: Arc<AtomicU32>,
    seen: Arc<Mutex<Seen>>,
    relay: Option<Arc<Relay>>,
    /// The relay's addresses of the sessions.
    relay_addresses: HashMap<SessionId, SocketAddr>,
    /// Messages delivered so far, uncounted ones included.
    delivered: u64,
}

/// The client's number, from a name given by the harness or that of a seeded account.
fn client_of(name: &str) -> u32 {
    match name.rsplit_once('-') {
        Some((_, number)) => number.parse::<u32>().unwrap() - 1,
        None => name.rsplit_once('n').unwrap().1.parse().unwrap(),
    }
}

/// Distance between the user ids of a client's entries: each entry is another user.
const ENTRY: u32 = 1_000_000;

/// The client with the given user id.
fn client_of_user(id: u32) -> u32 {
    (id - 1) % ENTRY
}

/// `count` users with ids that no client has.
fn strangers(count: u32) -> Vec<User> {
    (0..count)
        .map(|number| User { id: u32::MAX - number, name: Text::truncated(&format!("stranger {number}")) })
        .collect()
}

impl StubApp {
    /// The stub's clock, far ahead of the harness's.
    fn now_us(&self) -> u64 {
        self.began.elapsed().as_micros() as u64 + 10_000_000_000
    }

    fn enter(&mut self, sessions: &mut Sessions, id: SessionId, ticket: &Ticket) {
        let client = client_of(&ticket.name);
        let has_been_in = self.seen.lock().unwrap().entries.contains_key(&*ticket.name);
        if (self.script.refuses)(client) || has_been_in && !(self.script.returns)(client) {
            return sessions.close(id, CloseReason::TicketInvalid, "");
        }
        self.outside.retain(|other| *other != id);
        let mut seen = self.seen.lock().unwrap();
        let entries = seen.entries.entry(ticket.name.to_string()).or_default();
        let user = User { id: *entries * ENTRY + client + 1, name: ticket.name.clone() };
        *entries += 1;
        let older = self.present.insert(client, (id, user.clone()));
        assert!(older.is_none(), "{} is in twice", ticket.name);
        let head_count = self.head_count();
        seen.most_present = seen.most_present.max(self.present.len());
        drop(seen);
        let answer = EnterAnswer {
            user: user.clone(),
            head_count,
            shard: (self.script.shard)(client),
            token: ResumeTokenBytes::default(),
            resume_ms: 0,
            heartbeat_ms: 45_000,
        };
        sessions.send(id, &answer.into());
        self.version += 1;
        sessions.send(id, &self.page(0).into());
        self.notify(sessions, vec![user], vec![]);
        if let Some(login) = self.logins.remove(&*ticket.name) {
            sessions.close(login, CloseReason::HandedOver, "");
        }
    }

    /// Sends an answer in order with the scheduled messages.
    fn answer(&mut self, id: SessionId, answer: Packet) {
        self.send_at(Instant::now() + self.script.delay, id, answer);
    }

    fn head_count(&self) -> u32 {
        (self.present.len() + self.others.len()) as u32
    }

    /// A page of the user list, of three users so that there are several pages.
    fn page(&self, after: u32) -> UserList {
        let all = self.present.values().map(|(_, user)| user).chain(&self.others);
        let mut users: Vec<User> = all.filter(|user| user.id > after).cloned().collect();
        users.sort_unstable_by_key(|user| user.id);
        let more = users.len() > 3;
        users.truncate(3);
        let (version, head_count) = (self.version, self.head_count());
        UserList { channel: 0, version, head_count, users: List::new(users).unwrap(), more }
    }

    /// Notifies all clients of entries and leaves, unless the script loses the notice.
    fn notify(&self, sessions: &mut Sessions, entered: Vec<User>, left: Vec<u32>) {
        let (since, version, head_count) = (self.version - 1, self.version, self.head_count());
        let (entered, left) = (List::new(entered).unwrap(), List::new(left).unwrap());
        let notice: Packet =
            UsersChanged { channel: 0, since, version, head_count, complete: true, entered, left }.into();
        if !(self.script.loses_notice)(version) {
            self.present.values().for_each(|(session, _)| sessions.send(*session, &notice));
        }
    }

    /// Removes a session from the chat.
    fn leave(&mut self, sessions: &mut Sessions, id: SessionId) {
        let (rooms, script, others) = (&mut self.rooms, self.script, &mut self.others);
        let mut left = Vec::new();
        self.present.retain(|client, (session, user)| {
            let stays = *session != id;
            if !stays {
                rooms.remove(*client);
                if (script.keeps_left)(*client) {
                    others.push(user.clone());
                } else if !(script.hides_leave)(*client) {
                    left.push(user.id);
                }
            }
            stays
        });
        if !left.is_empty() {
            self.version += 1;
            self.notify(sessions, vec![], left);
        }
    }

    /// Removes a member from a channel for its owner; every member may do so here.
    fn kick(&mut self, sessions: &mut Sessions, id: SessionId, request: &ChannelKickRequest) {
        let ChannelKickRequest { channel, user } = *request;
        let kicked = self.present.get(&client_of_user(user)).map(|(session, _)| *session);
        let outcome = match kicked.filter(|_| self.rooms.kick(client_of_user(user), channel)) {
            Some(kicked) => {
                sessions.send(kicked, &ChannelLeft { channel, outcome: Outcome::Kicked }.into());
                Outcome::Ok
            }
            None => Outcome::NotAMember,
        };
        sessions.send(id, &ChannelKickAnswer { channel, user, outcome }.into());
    }

    /// The client of a session.
    fn client(&self, id: SessionId) -> u32 {
        let found = self.present.iter().find(|(_, (session, _))| *session == id);
        *found.expect("in the chat").0
    }
}

impl App for StubApp {
    type Command = ();

    fn opened(&mut self, _: &mut Sessions, id: SessionId, opened: Opened) {
        self.outside.push(id);
        self.relay_addresses.insert(id, opened.address);
        self.seen.lock().unwrap().sources.insert(opened.address.ip());
    }

    fn packet(&mut self, sessions: &mut Sessions, id: SessionId, packet: Packet) -> Result<(), Packet> {
        match packet {
            Packet::EnterRequest(request) => {
                match Ticket::open(&self.cluster, &request.ticket, &self.key, unix_ms()) {
                    Ok((_, ticket)) => self.enter(sessions, id, &ticket),
                    Err(reason) => sessions.close(id, reason, ""),
                }
            }
            Packet::UserListRequest(request) => {
                let mut after = Some(request.after);
                for _ in 0..request.pages {
                    let Some(page) = after.map(|after| self.page(after)) else { break };
                    after = page.users.last().filter(|_| page.more).map(|user| user.id);
                    sessions.send(id, &page.into());
                }
            }
            Packet::ChatRequest(request) => self.chat(sessions, id, request),
            Packet::ChannelCreateRequest(request) => {
                self.rooms.create(&request.name);
                let answer = self.rooms.join(self.client(id), request.name);
                self.answer(id, answer);
            }
            Packet::ChannelJoinRequest(request) => {
                let answer = self.rooms.join(self.client(id), request.name);
                self.answer(id, answer);
            }
            Packet::ChannelLeaveRequest(request) => {
                let answer = self.rooms.leave(self.client(id), request.channel);
                self.answer(id, answer);
            }
            Packet::ChannelKickRequest(request) => self.kick(sessions, id, &request),
            Packet::ChannelListRequest(_) => {
                sessions.send(id, &ChannelList { channels: List::default(), more: false }.into());
            }
            Packet::PositionUpdate(at) => self.rooms.move_to(self.client(id), at.x, at.y),
            Packet::PingRequest(ping) => {
                let answer: Packet =
                    PongAnswer { token: ping.token, queued_us: 0, server_us: self.now_us() }.into();
                // A fence: it must follow all messages sent before it.
                if ping.token == u64::MAX { self.answer(id, answer) } else { sessions.send(id, &answer) }
            }
            Packet::ExitRequest(_) if self.script.lets_go => {
                self.leave(sessions, id);
                sessions.send(id, &ExitAnswer {}.into());
                sessions.close(id, CloseReason::Goodbye, "");
            }
            Packet::ExitRequest(_) => {}
            other => self.login(sessions, id, other),
        }
        Ok(())
    }

    fn closed(&mut self, sessions: &mut Sessions, id: SessionId, _: Closed) {
        self.outside.retain(|other| *other != id);
        self.relay_addresses.remove(&id);
        self.leave(sessions, id);
    }

    fn command(&mut self, _: &mut Sessions, (): ()) {}

    fn turn(&mut self, sessions: &mut Sessions) -> Option<Instant> {
        while let Some(first) = self.due.first_entry().filter(|first| first.key().0 <= Instant::now()) {
            let (session, packet) = first.remove();
            sessions.send(session, &packet);
        }
        self.due.first_key_value().map(|((at, _), _)| *at)
    }
}
