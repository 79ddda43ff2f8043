//! The login server's role: from id and password to a ticket.
//!
//! A login passes from the login server to the DB agent (password, claim), the chat server, the DB
//! agent again (character; the claim changes hands), the chat server, the login server and the
//! client. A login that ends on the way releases what it held, so an account is online exactly
//! while a server holds its claim.

mod door;
mod handlers;
mod stays;
mod throttle;

use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use throng_core::bucket::{self, Bucket};
use throng_core::config::Limits;
use throng_core::content::{Call, Effects, HandlerTable, Job, Role};
use throng_core::crypto::ClusterKey;
use throng_core::limits::PENDING_REQUESTS_MAX;
use throng_core::links::{Links, Pending};
use throng_core::log::LineBudget;
use throng_core::net::{Closed, Opened, PeerKind, network_of};
use throng_core::wire::packets::{
    self, ChatCancelLogin, Claim, CreateCharacterAnswer, CreateCharacterRequest, DbCheckPassword, DbSignUp,
    DbVerifyAccount, IdText, LoginRefused, LoginRequest, Origin, Outcome, PasswordText, RequestedName,
    SignUpAnswer, TooFast,
};
use throng_core::wire::{Body, CloseReason, Packet};
use throng_core::{SessionId, metrics};

use crate::held_claims::HeldClaims;
use crate::rules::Reserved;
use door::{Admitted, Door, Seat};
use stays::Stays;
use throttle::{Throttle, Wait};

/// Phase of a session of the login server.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// A client that may send a request.
    Idle,
    /// A client whose request is under way.
    Busy,
    /// A client that has a ticket and has not entered the chat yet.
    Granted,
    /// A link whose peer has not introduced itself.
    UnidentifiedLink,
    /// A link to a DB agent.
    DbAgentLink,
    /// A link to a chat server.
    ChatLink,
}

/// Settings of the login server.
pub struct LoginSettings {
    /// True if a login replaces a session that is online; otherwise the login is refused.
    pub take_over: bool,
    /// Most clients at a time. Of the last sixteenth of these seats each newcomer takes the oldest
    /// one that is held without a ticket.
    pub seats: usize,
    /// Time that a client may stay without a ticket. Time in the queue does not count.
    pub stay: Duration,
    /// Most requests that wait for the hash of their password.
    pub queue: usize,
    /// Lifetime of a ticket.
    pub ticket_lifetime: Duration,
    /// Time in which another server must answer; after it, the client is told to try again later.
    pub request_timeout: Duration,
    /// The key that seals tickets.
    pub cluster: ClusterKey,
    /// Ids and names that players cannot take.
    pub reserved: Reserved,
    /// Rates of addresses and accounts, and the networks whose clients are exempt.
    pub limits: Limits,
}

/// The login server.
pub struct LoginRole {
    table: HandlerTable<Login, Phase>,
    login: Login,
}

/// The login server's state.
pub struct Login {
    settings: LoginSettings,
    now_ms: fn() -> u64,
    phases: HashMap<SessionId, Phase>,
    stays: Stays,
    throttle: Throttle,
    /// The clients in `phases`.
    clients: HashMap<SessionId, Client>,
    links: Links,
    held_claims: HeldClaims,
    requests: Pending<ClientRequest>,
    /// Requests that wait until the DB agents have time for the hash of their password.
    door: Door<ClientRequest>,
    /// Requests that are refused for the time being, and the time of their answers.
    put_off: VecDeque<(Instant, ClientRequest)>,
    /// Issued tickets, by the claim's number.
    grants: HashMap<u64, Grant>,
    /// Expiry of each ticket and its claim's number; in order, because all tickets live equally
    /// long.
    expiries: VecDeque<(Instant, u64)>,
    /// Chooses among the chat servers in turn.
    chat_turn: usize,
    /// Users that each chat server may still take, by its link, if it has told.
    room: HashMap<SessionId, u32>,
}

/// A client's session.
struct Client {
    address: SocketAddr,
    /// Requests that need the hash of a password.
    attempts: u32,
    refusals: Bucket,
}

/// A client's request that waits for another server.
struct ClientRequest {
    client: SessionId,
    asker: Asker,
    step: Step,
}

/// The account that a request is for, and the address that it came from.
#[derive(Clone)]
struct Asker {
    id: IdText,
    /// None if the session has ended.
    address: Option<SocketAddr>,
    /// The network that the limits hold; none if it is exempt.
    network: Option<IpAddr>,
}

/// Lines about refused requests: 50 at once, then one a second. Any client can cause them.
static REFUSALS: LineBudget = LineBudget::new(50, Duration::from_secs(1));

/// Pause before a client hears that it must try again later, because the queue is full or the DB
/// agent has failed. Guessers, who ask again at once, would otherwise keep all servers busy with
/// refusals.
const PUT_OFF: Duration = Duration::from_millis(250);

/// The answer that a request waits for.
enum Step {
    /// The hash of a password.
    Hash(Box<Hash>),
    /// The chat server's confirmation that it expects the login.
    HandOver { chat: SessionId, claim: Claim },
    /// A new character.
    Character,
}

/// A request that needs the hash of a password.
struct Hash {
    want: Want,
    password: PasswordText,
    origin: Origin,
    /// The DB agent that has the request, and the request's seat at the door; none while it waits
    /// there.
    sent: Option<(SessionId, Seat)>,
}

/// The purpose of a password.
enum Want {
    LogIn,
    SignUp,
    /// A character with this name.
    Character(RequestedName),
}

/// A client that has a ticket.
#[derive(Clone, Copy)]
struct Grant {
    client: SessionId,
    chat: SessionId,
    claim: Claim,
}

impl LoginRole {
    /// Creates a login server without clients.
    pub fn new(settings: LoginSettings, links: Links, now_ms: fn() -> u64) -> Self {
        let requests = Pending::new(settings.request_timeout);
        let door = Door::new(settings.queue);
        let login = Login {
            throttle: Throttle::new(settings.limits.clone()),
            settings,
            now_ms,
            phases: HashMap::new(),
            stays: Stays::default(),
            clients: HashMap::new(),
            links,
            held_claims: HeldClaims::default(),
            requests,
            door,
            put_off: VecDeque::new(),
            grants: HashMap::new(),
            expiries: VecDeque::new(),
            chat_turn: 0,
            room: HashMap::new(),
        };
        Self { table: handlers::table(), login }
    }
}

impl Role for LoginRole {
    type Record = ();

    fn job(&mut self, job: Job<()>, now: Instant, effects: &mut Effects) {
        match job {
            Job::Packet(session, packet, received) => {
                // Late packets of a session that has ended are dropped.
                if let Some(phase) = self.login.phases.get(&session).copied() {
                    let mut call = Call { session, received, now, effects };
                    if !self.table.run(&mut self.login, &mut call, phase, packet) {
                        self.login.remove_session(session, now, effects);
                    }
                }
            }
            Job::Opened(session, opened) => self.login.opened(session, &opened, now, effects),
            Job::Closed(session, closed) => self.login.closed(session, &closed, now, effects),
            Job::Record(()) => {}
        }
    }

    fn tick(&mut self, now: Instant, effects: &mut Effects) -> Option<Instant> {
        let login = &mut self.login;
        for pending in login.requests.expire(now) {
            login.not_served(&pending, now, effects);
        }
        while let Some((_, pending)) = login.put_off.pop_front_if(|(at, _)| *at <= now) {
            login.fail_request(&pending, Outcome::TryAgainLater, effects);
        }
        while let Some((_, claim)) = login.expiries.pop_front_if(|(at, _)| *at <= now) {
            // The chat server would release the claim by itself, but only after the client was told
            // to log in again.
            if let Some(grant) = login.grants.remove(&claim) {
                effects.send(grant.chat, ChatCancelLogin { claim: grant.claim });
                effects.close(grant.client, CloseReason::TicketExpired);
            }
        }
        while let Some(session) = login.stays.overdue(now) {
            login.close_client(session, CloseReason::LoginTimeout, now, effects);
        }
        login.open_door(now, effects);
        for (client, queued) in login.door.tell(now) {
            effects.send(client, queued);
        }
        login.show_door();
        let expiry = login.expiries.front().map(|(at, _)| *at);
        let answer = login.put_off.front().map(|(at, _)| *at);
        let next_dial = login.links.tick(now, effects);
        let (request, stay) = (login.requests.next_deadline(), login.stays.next_deadline());
        let door = login.door.next_deadline(now);
        [next_dial, request, stay, expiry, answer, door].into_iter().flatten().min()
    }
}

impl Login {
    fn opened(&mut self, session: SessionId, opened: &Opened, now: Instant, effects: &mut Effects) {
        match opened.kind {
            PeerKind::Client => {
                self.make_room(now, effects);
                self.phases.insert(session, Phase::Idle);
                self.stays.begin(session, now + self.settings.stay);
                let address = opened.address;
                self.clients.insert(session, Client { address, attempts: 0, refusals: Bucket::default() });
            }
            PeerKind::Link => {
                self.phases.insert(session, Phase::UnidentifiedLink);
                self.links.opened(session, opened, effects);
            }
        }
    }

    fn closed(&mut self, session: SessionId, closed: &Closed, now: Instant, effects: &mut Effects) {
        self.remove_session(session, now, effects);
        let Some(link) = self.links.closed(session, closed, now) else { return };
        self.room.remove(&session);
        for pending in self.requests.fail_link(session) {
            self.not_served(&pending, now, effects);
        }
        if link.hello.role == packets::Role::DbAgent {
            self.held_claims.links_changed(&self.links, effects);
        }
    }

    /// Takes the seat of a client without a ticket if only the last sixteenth of the seats is
    /// free.
    fn make_room(&mut self, now: Instant, effects: &mut Effects) {
        let seats = self.settings.seats;
        if self.stays.len() + self.grants.len() < seats - seats / 16 {
            return;
        }
        let oldest = self.stays.oldest(|session| self.phases.get(&session) == Some(&Phase::Idle));
        if let Some(session) = oldest {
            metrics::SEATS_TAKEN_BACK.inc();
            self.close_client(session, CloseReason::ServerFull, now, effects);
        }
    }

    fn close_client(&mut self, session: SessionId, reason: CloseReason, now: Instant, effects: &mut Effects) {
        self.remove_session(session, now, effects);
        effects.close(session, reason);
    }

    /// Removes a session that has ended or is about to. Packets that it has sent already are
    /// dropped; the answer to its pending request finds that it is gone. One that waits at the door
    /// leaves the queue.
    fn remove_session(&mut self, session: SessionId, now: Instant, effects: &mut Effects) {
        self.stays.end(session);
        if let Some(request) = self.door.leave(session, now) {
            self.give_back(&request);
        }
        self.clients.remove(&session);
        if self.phases.remove(&session) == Some(Phase::Granted) {
            // The client left before it entered the chat, so its ticket is void.
            for (_, grant) in self.grants.extract_if(|_, grant| grant.client == session) {
                effects.send(grant.chat, ChatCancelLogin { claim: grant.claim });
            }
        }
    }

    /// Returns the asker of a request for account `id` over `client`.
    fn asker(&self, client: SessionId, id: &IdText) -> Asker {
        let address = self.clients.get(&client).map(|client| client.address);
        let network = address.and_then(|address| self.throttle.network(address.ip()));
        Asker { id: id.clone(), address, network }
    }

    /// Takes a request that needs the hash of a password to the door. It waits there if others wait
    /// or are with the DB agents.
    fn ask_for_hash(&mut self, asker: Asker, want: Want, password: PasswordText, call: &mut Call<'_>) {
        let client = call.session;
        let origin = self.origin(client);
        let hash = Hash { want, password, origin, sent: None };
        let request = ClientRequest { client, asker, step: Step::Hash(Box::new(hash)) };
        // Without the servers that it needs, a newcomer does not begin to wait.
        if !self.has_servers_for(&request) {
            return self.fail_request(&request, Outcome::TryAgainLater, call.effects);
        }
        if let Some(phase) = self.phases.get_mut(&client) {
            *phase = Phase::Busy;
        }
        let evicted = self.door.arrive(client, origin, request, call.now);
        self.open_door(call.now, call.effects);
        if self.door.contains(client) {
            metrics::LOGINS_QUEUED.inc();
            self.stays.pause(client, call.now);
        }
        if let Some((evicted, request)) = evicted {
            metrics::LOGIN_QUEUE_FULL.inc();
            self.stays.resume(evicted, call.now);
            self.refuse_request(request, Outcome::TryAgainLater, call);
        }
    }

    /// Returns true if the servers are up that a request for a hash needs. Without a chat server
    /// the password of a login need not be checked.
    fn has_servers_for(&self, request: &ClientRequest) -> bool {
        let is_login = matches!(&request.step, Step::Hash(hash) if matches!(hash.want, Want::LogIn));
        self.held_claims.ready_count() > 0
            && (!is_login || self.links.up(packets::Role::Chat).next().is_some())
    }

    /// Sends requests from the door to the DB agents, as many as these have time for.
    fn open_door(&mut self, now: Instant, effects: &mut Effects) {
        if self.door.len() == 0 {
            return;
        }
        let agents = self.held_claims.ready_agents();
        while let Some(first) = self.door.first() {
            if !self.has_servers_for(first) {
                if self.door.is_patient(now) {
                    return;
                }
                let Some((client, request)) = self.door.turn_away(now) else { return };
                self.stays.resume(client, now);
                self.fail_request(&request, Outcome::TryAgainLater, effects);
                continue;
            }
            // Since it came, its address may have sent too many wrong passwords.
            if let Some((packet, wait)) = self.is_too_fast(first, now) {
                let Some((client, request)) = self.door.turn_away(now) else { return };
                self.stays.resume(client, now);
                self.too_fast(client, &request.asker, packet, wait, now, effects);
                continue;
            }
            self.door.has_server();
            let Some(admitted) = self.door.admit(&agents, now) else { return };
            self.send_hash(admitted, now, effects);
        }
    }

    /// Returns the packet's number and the wait if a request with a password comes too fast by now.
    fn is_too_fast(&self, request: &ClientRequest, now: Instant) -> Option<(u16, Wait)> {
        let Step::Hash(hash) = &request.step else { return None };
        let packet = match hash.want {
            Want::LogIn => LoginRequest::NUMBER,
            Want::Character(_) => CreateCharacterRequest::NUMBER,
            Want::SignUp => return None,
        };
        self.throttle.check_password(request.asker.network, now).err().map(|wait| (packet, wait))
    }

    /// Sends a request from the door to a DB agent.
    fn send_hash(&mut self, admitted: Admitted<ClientRequest>, now: Instant, effects: &mut Effects) {
        let Admitted { agent, seat, request } = admitted;
        let ClientRequest { client, asker, step } = request;
        let Step::Hash(mut hash) = step else { return };
        self.stays.resume(client, now);
        let (id, password, origin) = (asker.id.clone(), hash.password.clone(), hash.origin);
        let take_over = self.settings.take_over;
        hash.sent = Some((agent, seat));
        let packet: fn(_, _, _, _, _) -> Packet = match hash.want {
            Want::LogIn => |request, id, password, take_over, origin| {
                DbCheckPassword { request, id, password, take_over, origin }.into()
            },
            Want::SignUp => {
                |request, id, password, _, origin| DbSignUp { request, id, password, origin }.into()
            }
            Want::Character(_) => {
                |request, id, password, _, origin| DbVerifyAccount { request, id, password, origin }.into()
            }
        };
        let pending = ClientRequest { client, asker, step: Step::Hash(hash) };
        self.send_request(Some(agent), pending, now, effects, |request| {
            packet(request, id, password, take_over, origin)
        });
    }

    /// Ends a request that another server has not answered, in time or at all.
    fn not_served(&mut self, pending: &ClientRequest, now: Instant, effects: &mut Effects) {
        if let Step::Hash(hash) = &pending.step
            && let Some((agent, _)) = hash.sent
        {
            self.door.failed(agent, now);
        }
        self.fail_request(pending, Outcome::TryAgainLater, effects);
    }

    /// Takes the answer of a DB agent to a request for a hash. Returns the request, unless it waits
    /// at the door again because the agent had no time for it.
    fn hashed(&mut self, call: &Call<'_>, request: u64, outcome: Outcome) -> Option<ClientRequest> {
        let mut pending = self.requests.answered(call.session, request)?;
        let Step::Hash(hash) = &mut pending.step else { return Some(pending) };
        let Some((agent, seat)) = hash.sent.take() else { return Some(pending) };
        let client = pending.client;
        match outcome {
            Outcome::NoTime => {
                self.door.refused(agent, call.now);
                if self.phases.contains_key(&client) {
                    self.stays.pause(client, call.now);
                    self.door.put_back(client, seat, pending, call.now);
                } else {
                    self.give_back(&pending);
                }
                return None;
            }
            Outcome::TryAgainLater => self.door.failed(agent, call.now),
            _ => self.door.served(agent, call.now),
        }
        Some(pending)
    }

    /// Takes a sign-up that came to nothing off the count of its address.
    fn give_back(&mut self, request: &ClientRequest) {
        if matches!(&request.step, Step::Hash(hash) if matches!(hash.want, Want::SignUp)) {
            self.throttle.not_signed_up(request.asker.network);
        }
    }

    /// Publishes the state of the door.
    fn show_door(&self) {
        let gauge = |count| i64::try_from(count).unwrap_or(i64::MAX);
        metrics::LOGIN_QUEUE.set(gauge(self.door.len()));
        metrics::LOGIN_WINDOW.set(gauge(self.door.window(self.held_claims.ready_count())));
    }

    /// Returns the origin of a client's request that needs the hash of a password, and counts the
    /// request among the client's attempts.
    fn origin(&mut self, client: SessionId) -> Origin {
        let wait_ms = u32::try_from(self.settings.request_timeout.as_millis()).unwrap_or(u32::MAX);
        let Some(client) = self.clients.get_mut(&client) else {
            return Origin { wait_ms, ..Origin::UNKNOWN };
        };
        let attempts = client.attempts;
        client.attempts = attempts.saturating_add(1);
        let address = match network_of(client.address.ip()) {
            IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
            IpAddr::V6(network) => network.octets(),
        };
        Origin { address, attempts, wait_ms }
    }

    /// Answers a request that the DB agent has refused to carry out or has failed to.
    fn refuse_request(&mut self, pending: ClientRequest, outcome: Outcome, call: &mut Call<'_>) {
        if outcome == Outcome::TryAgainLater && self.put_off.len() < PENDING_REQUESTS_MAX {
            self.put_off.push_back((call.now + PUT_OFF, pending));
        } else {
            self.fail_request(&pending, outcome, call.effects);
        }
    }

    /// Refuses a client's packet of the type `packet`, which came too fast. Closes a client that
    /// goes on.
    fn too_fast(
        &mut self,
        session: SessionId,
        asker: &Asker,
        packet: u16,
        wait: Wait,
        now: Instant,
        effects: &mut Effects,
    ) {
        metrics::TOO_FAST.inc();
        log_refusal("request", asker, wait.reason);
        let Some(client) = self.clients.get_mut(&session) else { return };
        if client.refusals.take(bucket::REFUSALS, now).is_err() {
            return self.close_client(session, CloseReason::TooFast, now, effects);
        }
        self.phases.insert(session, Phase::Idle);
        effects.send(session, TooFast::new(packet, 0, wait.time));
    }

    /// Ends a request that failed: releases its claim and answers the client.
    fn fail_request(&mut self, pending: &ClientRequest, outcome: Outcome, effects: &mut Effects) {
        if outcome == Outcome::TryAgainLater {
            metrics::TRY_AGAIN_LATER.inc();
        }
        if let Step::HandOver { chat, claim } = pending.step {
            // The chat server may or may not have the claim by now, and releases it if it has.
            effects.send(chat, ChatCancelLogin { claim });
            self.held_claims.release(claim, effects);
        }
        self.answer_client(pending, outcome, effects);
    }

    /// Answers a client's request. The client may send another one then.
    fn answer_client(&mut self, request: &ClientRequest, outcome: Outcome, effects: &mut Effects) {
        let is_login = match &request.step {
            Step::HandOver { .. } => true,
            Step::Hash(hash) => matches!(hash.want, Want::LogIn),
            Step::Character => false,
        };
        let is_sign_up = matches!(&request.step, Step::Hash(hash) if matches!(hash.want, Want::SignUp));
        let (what, refused, packet): (_, _, Packet) = if is_login {
            ("login", &metrics::LOGINS_REFUSED, LoginRefused { outcome }.into())
        } else if is_sign_up {
            ("sign-up", &metrics::SIGN_UPS_REFUSED, SignUpAnswer { outcome }.into())
        } else {
            ("character", &metrics::CHARACTERS_REFUSED, CreateCharacterAnswer { outcome }.into())
        };
        if outcome != Outcome::Ok {
            refused.of(outcome).inc();
            log_refusal(what, &request.asker, outcome.name());
        }
        if !matches!(outcome, Outcome::Ok | Outcome::IdTaken) {
            self.give_back(request);
        }
        if let Some(phase) = self.phases.get_mut(&request.client) {
            *phase = Phase::Idle;
            effects.send(request.client, packet);
        }
    }

    /// Sends a request to another server for a client; `packet` makes the packet from the request's
    /// number. Without a link, or with too many requests pending, the client is told to try again
    /// later.
    fn send_request<P: Into<Packet>>(
        &mut self,
        link: Option<SessionId>,
        pending: ClientRequest,
        now: Instant,
        effects: &mut Effects,
        packet: impl FnOnce(u64) -> P,
    ) {
        let Some(link) = link else {
            return self.not_served(&pending, now, effects);
        };
        let client = pending.client;
        match self.requests.add(link, pending, now) {
            Ok(request) => {
                if let Some(phase) = self.phases.get_mut(&client) {
                    *phase = Phase::Busy;
                }
                effects.send(link, packet(request));
            }
            Err(pending) => self.not_served(&pending, now, effects),
        }
    }

    /// Returns the chat server for the next login: of those that are up the one with the most room.
    /// Those that have as much, or have not told, take turns.
    fn next_chat_server(&mut self) -> Option<SessionId> {
        let mut up: Vec<SessionId> = self.links.up(packets::Role::Chat).map(|(id, _)| id).collect();
        self.chat_turn = self.chat_turn.wrapping_add(1);
        let first = self.chat_turn % up.len().max(1);
        up.rotate_left(first);
        let room = |chat: &SessionId| self.room.get(chat).copied();
        let chosen = up.iter().copied().rev().max_by_key(room)?;
        // Until the server tells anew, further logins count the users on their way.
        if let Some(free) = self.room.get_mut(&chosen) {
            *free = free.saturating_sub(1);
        }
        Some(chosen)
    }
}

/// Logs a refused request. The account is the client's own text, and is escaped.
fn log_refusal(what: &'static str, asker: &Asker, reason: &'static str) {
    let Some(suppressed) = REFUSALS.take(Instant::now()) else { return };
    let suppressed = (suppressed > 0).then_some(suppressed);
    let address = asker.address.map_or_else(|| "(gone)".to_owned(), |address| address.to_string());
    tracing::info!(account = ?asker.id, reason, address, suppressed, "{what} refused");
}

#[cfg(test)]
impl LoginRole {
    /// Returns the size of each table, for the simulation.
    pub(crate) fn census(&self) -> Vec<(&'static str, usize)> {
        let Login { phases, stays, clients, put_off, held_claims, requests, grants, expiries, .. } =
            &self.login;
        let door = &self.login.door;
        let links = self.login.links.all().count();
        vec![
            ("phases", phases.len() - links),
            ("stays", stays.len()),
            ("clients", clients.len()),
            ("requests at the door", door.len()),
            ("hashes at the agents", door.at_agents()),
            ("requests put off", put_off.len()),
            ("held claims", held_claims.count()),
            ("claims in doubt", held_claims.in_doubt()),
            ("requests", requests.len()),
            ("grants", grants.len()),
            ("expiries", expiries.len()),
        ]
    }
}

#[cfg(test)]
mod tests;
