//! A server whose faults are known: login and chat on one port, on the core's own event loop,
//! so that what the harness reports can be held against what was done to it.

mod rooms;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rooms::Rooms;
use tempfile::TempDir;
use throng_core::SessionId;
use throng_core::clock::unix_ms;
use throng_core::crypto::{ClusterKey, Credentials, StaticKey, Ticket};
use throng_core::limits::CLIENT_BODY_MAX;
use throng_core::net::{
    Acceptor, AcceptorHandle, App, Closed, Endpoint, Listener, Mail, Mailbox, Net, Opened, PeerKind, Shard,
    ShardSize,
};
use throng_core::wire::packets::{
    ChatMessage, ChatRefused, ChatRequest, CreateCharacterAnswer, EnterAnswer, ExitAnswer, LoginGranted,
    LoginRefused, Name, Outcome, PongAnswer, Scope, ServerTimes, SignUpAnswer, User, UserList, UsersChanged,
};
use throng_core::wire::{CloseReason, List, Packet, Text};

/// What is done wrong with one message for one client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It is not delivered.
    Drop,
    /// It is delivered twice.
    Duplicate,
    /// It is delivered after the next one for the same client.
    Late,
    /// One letter of it is changed.
    Damage,
    /// It is not delivered, and the client is told so before the next.
    Keep,
    /// It is said to be of another scope.
    Misplace,
}

/// What the stub does. The default is a server without fault. Messages are numbered as the
/// harness numbers those that it counts; only they are touched.
#[derive(Clone, Copy)]
pub(crate) struct Script {
    /// The fault of a (client, message) pair.
    pub fault: fn(u32, u32) -> Option<Fault>,
    /// With so many in the chat, the first of them gets no message.
    pub drops_from: usize,
    /// Whether a message also goes to connections that have not entered.
    pub leaks: fn(u32) -> bool,
    /// Whether a message to a channel also goes to those who have left it.
    pub leaks_to_former: fn(u32) -> bool,
    /// Whether a message is refused.
    pub refuses_message: fn(u32) -> bool,
    /// How long every message is held.
    pub delay: Duration,
    /// This message closes that client's session, before it is delivered to anybody.
    pub cuts: Option<(u32, u32)>,
    /// This message and all after it are delivered to nobody.
    pub stalls_at: Option<u32>,
    /// This message closes all sessions.
    pub dies_at: Option<u32>,
    /// Whether a client is not let in.
    pub refuses: fn(u32) -> bool,
    /// Whether a client is let in who has been in before.
    pub returns: fn(u32) -> bool,
    /// Sessions that there is room for.
    pub capacity: usize,
    /// Requests of the login that are answered "try again later", from the first.
    pub later: u32,
    /// Whether the probe is delivered.
    pub probes: bool,
    /// Whether anybody is let go.
    pub lets_go: bool,
    /// The one password of all accounts: they exist, and nobody signs up. Without one everybody must.
    pub password: Option<&'static str>,
    /// Whether an account is online by something else.
    pub online: fn(&str) -> bool,
    /// Logins, from the first, of those who have been in before, that find them online still.
    pub lingers: u32,
    /// Whether the notice that leads to a version of the user list is lost.
    pub loses_notice: fn(u64) -> bool,
    /// What it says of the time that messages take in it.
    pub times: ServerTimes,
}

impl Default for Script {
    fn default() -> Self {
        Self {
            fault: |_, _| None,
            drops_from: usize::MAX,
            leaks: |_| false,
            leaks_to_former: |_| false,
            refuses_message: |_| false,
            delay: Duration::ZERO,
            cuts: None,
            stalls_at: None,
            dies_at: None,
            refuses: |_| false,
            returns: |_| true,
            capacity: 1000,
            later: 0,
            probes: true,
            lets_go: true,
            password: None,
            online: |_| false,
            lingers: 0,
            loses_notice: |_| false,
            times: ServerTimes { received_us: 0, queued_us: 0, handled_us: 0 },
        }
    }
}

/// A running stub.
pub(crate) struct Stub {
    address: SocketAddr,
    key: String,
    dir: TempDir,
    acceptor: Option<AcceptorHandle>,
    mailbox: Arc<Mailbox<()>>,
    thread: Option<JoinHandle<()>>,
    heard: Arc<AtomicU32>,
    seen: Arc<Mutex<Seen>>,
}

/// What the stub has seen of those who connect and log in.
#[derive(Debug, Clone, Default)]
pub(crate) struct Seen {
    /// How often each character was in the chat.
    pub entries: BTreeMap<String, u32>,
    /// Sign-ups asked for.
    pub sign_ups: u32,
    /// Most that had logged in and were not in the chat, at a time.
    pub most_on_the_way: usize,
    /// Most in the chat at a time.
    pub most_present: usize,
    /// Addresses that connections came from.
    pub sources: BTreeSet<IpAddr>,
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
            outbox_max: 1 << 20,
            handshake_timeout: Duration::from_secs(5),
            first_packet_timeout: None,
            heartbeat: Some(Duration::from_millis(100)),
            idle_timeout: Some(Duration::from_secs(5)),
            linger: Duration::from_millis(200),
        });
        let listener = Listener::bind(([127, 0, 0, 1], 0).into(), "stub", 128, endpoint).unwrap();
        let address = listener.address();
        let shard = Shard::new(0, ShardSize::new(script.capacity, 1024)).unwrap();
        let mailbox = shard.mailbox();
        let acceptor = Acceptor::new(vec![listener], std::slice::from_ref(&shard)).unwrap();
        let heard = Arc::new(AtomicU32::new(0));
        let seen = Arc::new(Mutex::new(Seen::default()));
        let app = StubApp {
            script,
            address,
            key: *key.public(),
            cluster,
            present: BTreeMap::new(),
            outside: Vec::new(),
            logins: HashMap::new(),
            began: Instant::now(),
            rooms: Rooms::default(),
            version: 0,
            later: script.later,
            lingers: script.lingers,
            held: HashMap::new(),
            due: VecDeque::new(),
            heard: heard.clone(),
            seen: seen.clone(),
        };
        let thread = std::thread::spawn(move || shard.run(app).unwrap());
        Self {
            address,
            key: hex::encode(key.public()),
            dir,
            acceptor: Some(acceptor.spawn("stub-accept".into()).unwrap()),
            mailbox,
            thread: Some(thread),
            heard,
            seen,
        }
    }

    /// The flags that lead a scenario to this stub.
    pub(crate) fn flags(&self, scenario: &str) -> Vec<String> {
        let mut flags =
            vec!["--server".into(), self.address.to_string(), "--server-key".into(), self.key.clone()];
        if scenario != "login" {
            let path = self.dir.path().join("cluster.key");
            flags.extend(["--cluster-key".into(), path.to_str().unwrap().into()]);
        }
        flags
    }

    /// What was seen of logins so far.
    pub(crate) fn seen(&self) -> Seen {
        self.seen.lock().unwrap().clone()
    }

    /// Counted messages heard so far.
    pub(crate) fn heard(&self) -> u32 {
        self.heard.load(Ordering::Relaxed)
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
    /// By client number, which its name says.
    present: BTreeMap<u32, (SessionId, User)>,
    /// Sessions that have not entered.
    outside: Vec<SessionId>,
    /// Login sessions by the name of their character.
    logins: HashMap<String, SessionId>,
    began: Instant,
    rooms: Rooms,
    /// The version of the user list.
    version: u64,
    later: u32,
    lingers: u32,
    /// Messages that wait for the next one for the same client.
    held: HashMap<u32, Packet>,
    due: VecDeque<(Instant, SessionId, Packet)>,
    heard: Arc<AtomicU32>,
    seen: Arc<Mutex<Seen>>,
}

/// The number of a counted message, from the text's documented form.
fn index_of(text: &str) -> Option<u32> {
    u32::from_str_radix(text.strip_prefix('M')?.get(8..16)?, 16).ok()
}

/// The client's number, from the names that the harness gives or those of seeded accounts.
fn client_of(name: &str) -> u32 {
    match name.rsplit_once('-') {
        Some((_, number)) => number.parse::<u32>().unwrap() - 1,
        None => name.rsplit_once('n').unwrap().1.parse().unwrap(),
    }
}

fn message(
    sequence: u64,
    sender: &User,
    text: Text<1024>,
    times: ServerTimes,
    (scope, target): (Scope, u32),
) -> ChatMessage {
    let sender = sender.clone();
    ChatMessage { scope, target, sequence, sender, stamp: 0, times, text }
}

impl StubApp {
    /// The stub's clock, which is far ahead of anybody else's.
    fn now_us(&self) -> u64 {
        self.began.elapsed().as_micros() as u64 + 10_000_000_000
    }

    fn enter(&mut self, net: &mut Net, id: SessionId, ticket: &Ticket) {
        let client = client_of(&ticket.name);
        let has_been_in = self.seen.lock().unwrap().entries.contains_key(&*ticket.name);
        if (self.script.refuses)(client) || has_been_in && !(self.script.returns)(client) {
            return net.close(id, CloseReason::TicketInvalid, "");
        }
        self.outside.retain(|other| *other != id);
        let user = User { id: client + 1, name: ticket.name.clone() };
        let older = self.present.insert(client, (id, user.clone()));
        assert!(older.is_none(), "{} is in twice", ticket.name);
        let head_count = self.present.len() as u32;
        let mut seen = self.seen.lock().unwrap();
        *seen.entries.entry(ticket.name.to_string()).or_default() += 1;
        seen.most_present = seen.most_present.max(self.present.len());
        drop(seen);
        net.send(id, &EnterAnswer { user: user.clone(), head_count }.into());
        self.version += 1;
        net.send(id, &self.page(0));
        self.tell(net, vec![user], vec![]);
        if let Some(login) = self.logins.remove(&*ticket.name) {
            net.close(login, CloseReason::HandedOver, "");
        }
    }

    fn chat(&mut self, net: &mut Net, id: SessionId, request: ChatRequest) {
        let ChatRequest { scope, target, stamp, text } = request;
        let script = self.script;
        let found = self.present.iter().find(|(_, (session, _))| *session == id);
        let Some((speaker, (_, sender))) = found else { return };
        let (speaker, to) = (*speaker, (scope, target));
        let times = ServerTimes { received_us: self.now_us(), ..script.times };
        let index = index_of(&text);
        if index.is_some_and(|index| (script.refuses_message)(index)) {
            return net.send(id, &ChatRefused { stamp, outcome: Outcome::NotAMember }.into());
        }
        let leaks = index.is_some_and(|index| (script.leaks_to_former)(index));
        let (sequence, hearers) = self.rooms.hearers(speaker, to, leaks, self.present.keys().copied());
        let Some(index) = index else {
            let message: Packet = message(sequence, sender, text, times, to).into();
            if script.probes {
                let sessions = hearers.iter().filter_map(|client| self.present.get(client));
                sessions.for_each(|(session, _)| net.send(*session, &message));
            }
            return;
        };
        self.heard.fetch_add(1, Ordering::Relaxed);
        let message = message(sequence, sender, text, times, to);
        if let Some((client, _)) = script.cuts.filter(|(_, at)| *at == index)
            && let Some((session, _)) = self.present.remove(&client)
        {
            net.close(session, CloseReason::TooSlow, "");
        }
        if script.dies_at == Some(index) {
            return net.close_all(PeerKind::Client, CloseReason::ServerShutdown, "");
        }
        if script.stalls_at.is_some_and(|at| index >= at) {
            return;
        }
        let at = Instant::now() + script.delay;
        let too_many = self.present.len() >= script.drops_from;
        let left_out = self.present.keys().next().copied().filter(|_| too_many);
        for client in hearers.iter().filter(|client| Some(**client) != left_out) {
            let Some((session, _)) = self.present.get(client) else { continue };
            let mut deliver = |message: Packet| self.due.push_back((at, *session, message));
            match (script.fault)(*client, index) {
                Some(Fault::Drop) => {}
                Some(Fault::Keep) => *self.rooms.kept.entry(*client).or_default() += 1,
                Some(Fault::Misplace) => {
                    deliver(ChatMessage { scope: Scope::Nearby, ..message.clone() }.into());
                }
                Some(Fault::Late) => drop(self.held.insert(*client, message.clone().into())),
                Some(Fault::Duplicate) => {
                    deliver(message.clone().into());
                    deliver(message.clone().into());
                }
                Some(Fault::Damage) => {
                    let text = Text::new(format!("{}!", &message.text[..message.text.len() - 1])).unwrap();
                    deliver(ChatMessage { text, ..message.clone() }.into());
                }
                None => {
                    let channel = if scope == Scope::Channel { target } else { 0 };
                    let told = if scope == Scope::Whisper { Scope::Nearby } else { scope };
                    self.rooms.gap(*client, told, channel).into_iter().for_each(&mut deliver);
                    deliver(message.clone().into());
                    self.held.remove(client).into_iter().for_each(deliver);
                }
            }
        }
        if (script.leaks)(index) {
            self.outside.iter().for_each(|session| net.send(*session, &message.clone().into()));
        }
    }

    /// Whether an account is online, or said to be.
    fn is_online(&mut self, id: &str) -> bool {
        let has_been_in = self.seen.lock().unwrap().entries.contains_key(id);
        let lingers = has_been_in && self.lingers > 0;
        self.lingers -= u32::from(lingers);
        lingers || (self.script.online)(id)
    }

    /// Answers in order with the messages that are held.
    fn answer(&mut self, id: SessionId, answer: Packet) {
        self.due.push_back((Instant::now() + self.script.delay, id, answer));
    }

    /// A page of the user list, of three users so that there are several.
    fn page(&self, after: u32) -> Packet {
        let mut users: Vec<User> =
            self.present.values().map(|(_, user)| user.clone()).filter(|user| user.id > after).collect();
        let more = users.len() > 3;
        users.truncate(3);
        let (version, head_count) = (self.version, self.present.len() as u32);
        UserList { channel: 0, version, head_count, users: List::new(users).unwrap(), more }.into()
    }

    /// Tells everybody who came or went, unless that is to be lost.
    fn tell(&self, net: &mut Net, entered: Vec<User>, left: Vec<u32>) {
        let (since, version, head_count) = (self.version - 1, self.version, self.present.len() as u32);
        let (entered, left) = (List::new(entered).unwrap(), List::new(left).unwrap());
        let notice: Packet =
            UsersChanged { channel: 0, since, version, head_count, complete: true, entered, left }.into();
        if !(self.script.loses_notice)(version) {
            self.present.values().for_each(|(session, _)| net.send(*session, &notice));
        }
    }

    /// Somebody is out of the chat.
    fn leave(&mut self, net: &mut Net, id: SessionId) {
        let rooms = &mut self.rooms;
        let mut left = Vec::new();
        self.present.retain(|client, (session, user)| {
            let stays = *session != id;
            if !stays {
                rooms.gone(*client);
                left.push(user.id);
            }
            stays
        });
        if !left.is_empty() {
            self.version += 1;
            self.tell(net, vec![], left);
        }
    }

    /// The client whose session this is.
    fn client(&self, id: SessionId) -> u32 {
        let found = self.present.iter().find(|(_, (session, _))| *session == id);
        *found.expect("in the chat").0
    }

    fn login(&mut self, net: &mut Net, id: SessionId, packet: Packet) {
        let is_later = self.later > 0;
        self.later = self.later.saturating_sub(1);
        let outcome = if is_later { Outcome::TryAgainLater } else { Outcome::Ok };
        let answer: Packet = match packet {
            Packet::SignUpRequest(_) => {
                self.seen.lock().unwrap().sign_ups += 1;
                SignUpAnswer { outcome }.into()
            }
            Packet::CreateCharacterRequest(_) => CreateCharacterAnswer { outcome }.into(),
            Packet::LoginRequest(request)
                if self.script.password.is_some_and(|right| right != request.password.expose()) =>
            {
                LoginRefused { outcome: Outcome::BadCredentials }.into()
            }
            Packet::LoginRequest(request) if self.is_online(&request.id) => {
                LoginRefused { outcome: Outcome::AlreadyOnline }.into()
            }
            Packet::LoginRequest(request) => {
                let name = Name::truncated(&request.id);
                self.logins.insert(name.to_string(), id);
                let mut seen = self.seen.lock().unwrap();
                seen.most_on_the_way = seen.most_on_the_way.max(self.logins.len());
                drop(seen);
                let (issued_ms, expires_ms) = (unix_ms(), unix_ms() + 10_000);
                let chat_key = self.key;
                let ticket = Ticket {
                    account: 1,
                    claim: 1,
                    character: 1,
                    name: name.clone(),
                    chat_key,
                    issued_ms,
                    expires_ms,
                };
                LoginGranted {
                    chat_address: Text::new(self.address.to_string()).unwrap(),
                    chat_key,
                    name,
                    ticket: ticket.mint(&self.cluster).unwrap(),
                    ticket_lifetime_ms: 10_000,
                }
                .into()
            }
            other => panic!("the harness sent {}", other.name()),
        };
        net.send(id, &answer);
    }
}

impl App for StubApp {
    type Command = ();

    fn opened(&mut self, _: &mut Net, id: SessionId, opened: Opened) {
        self.outside.push(id);
        self.seen.lock().unwrap().sources.insert(opened.address.ip());
    }

    fn packet(&mut self, net: &mut Net, id: SessionId, packet: Packet) -> Result<(), Packet> {
        match packet {
            Packet::EnterRequest(request) => {
                match Ticket::open(&self.cluster, &request.ticket, &self.key, unix_ms()) {
                    Ok((_, ticket)) => self.enter(net, id, &ticket),
                    Err(reason) => net.close(id, reason, ""),
                }
            }
            Packet::UserListRequest(request) => {
                net.send(id, &self.page(request.after));
            }
            Packet::ChatRequest(request) => self.chat(net, id, request),
            Packet::ChannelCreateRequest(request) => {
                self.rooms.make(&request.name);
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
            Packet::PositionUpdate(at) => self.rooms.stand(self.client(id), at.x, at.y),
            Packet::PingRequest(ping) => {
                let server_us = self.now_us();
                net.send(id, &PongAnswer { token: ping.token, queued_us: 0, server_us }.into());
            }
            Packet::ExitRequest(_) if self.script.lets_go => {
                self.leave(net, id);
                net.send(id, &ExitAnswer {}.into());
                net.close(id, CloseReason::Goodbye, "");
            }
            Packet::ExitRequest(_) => {}
            other => self.login(net, id, other),
        }
        Ok(())
    }

    fn closed(&mut self, net: &mut Net, id: SessionId, _: Closed) {
        self.outside.retain(|other| *other != id);
        self.leave(net, id);
    }

    fn command(&mut self, _: &mut Net, (): ()) {}

    fn turn(&mut self, net: &mut Net) -> Option<Instant> {
        while let Some((_, session, message)) = self.due.pop_front_if(|(at, _, _)| *at <= Instant::now()) {
            net.send(session, &message);
        }
        self.due.front().map(|(at, _, _)| *at)
    }
}
