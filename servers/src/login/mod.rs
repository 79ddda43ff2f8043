//! The login server's role: from id and password to a ticket.
//!
//! A login passes from the login server to the DB agent (password, claim), the chat server, the DB
//! agent again (character; the claim changes hands), the chat server, the login server and the
//! client. A login that ends on the way releases what it held, so an account is online exactly
//! while a server holds its claim.

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
    self, ChatCancelLogin, Claim, CreateCharacterAnswer, IdText, LoginRefused, Origin, Outcome,
    RequestedName, SignUpAnswer, TooFast,
};
use throng_core::wire::{CloseReason, Packet};
use throng_core::{SessionId, metrics};

use crate::held_claims::HeldClaims;
use crate::rules::Reserved;
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
    /// Time that a client may stay without a ticket.
    pub stay: Duration,
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
    /// Requests that the DB agent has no time for, and the time of their answers.
    put_off: VecDeque<(Instant, ClientRequest)>,
    /// Issued tickets, by the claim's number.
    grants: HashMap<u64, Grant>,
    /// Expiry of each ticket and its claim's number; in order, because all tickets live equally
    /// long.
    expiries: VecDeque<(Instant, u64)>,
    /// Chooses among the chat servers in turn.
    chat_turn: usize,
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

/// Pause before a client hears that the DB agent has no time for its password. Guessers, who ask
/// again at once, would otherwise keep all servers busy with refusals.
const PUT_OFF: Duration = Duration::from_millis(250);

/// The answer that a request waits for.
enum Step {
    /// The password of a login.
    Password,
    /// The chat server's confirmation that it expects the login.
    HandOver { chat: SessionId, claim: Claim },
    /// A new account.
    SignUp,
    /// The password of an account that is to get a character.
    Verify(RequestedName),
    /// A new character.
    Character,
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
            put_off: VecDeque::new(),
            grants: HashMap::new(),
            expiries: VecDeque::new(),
            chat_turn: 0,
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
                        self.login.remove_session(session, effects);
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
            login.fail_request(&pending, Outcome::TryAgainLater, effects);
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
            login.close_client(session, CloseReason::LoginTimeout, effects);
        }
        let expiry = login.expiries.front().map(|(at, _)| *at);
        let answer = login.put_off.front().map(|(at, _)| *at);
        let next_dial = login.links.tick(now, effects);
        [next_dial, login.requests.next_deadline(), login.stays.next_deadline(), expiry, answer]
            .into_iter()
            .flatten()
            .min()
    }
}

impl Login {
    fn opened(&mut self, session: SessionId, opened: &Opened, now: Instant, effects: &mut Effects) {
        match opened.kind {
            PeerKind::Client => {
                self.make_room(effects);
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
        self.remove_session(session, effects);
        let Some(link) = self.links.closed(session, closed, now) else { return };
        for pending in self.requests.fail_link(session) {
            self.fail_request(&pending, Outcome::TryAgainLater, effects);
        }
        if link.hello.role == packets::Role::DbAgent {
            self.held_claims.links_changed(&self.links, effects);
        }
    }

    /// Takes the seat of a client without a ticket if only the last sixteenth of the seats is
    /// free.
    fn make_room(&mut self, effects: &mut Effects) {
        let seats = self.settings.seats;
        if self.stays.len() + self.grants.len() < seats - seats / 16 {
            return;
        }
        let oldest = self.stays.oldest(|session| self.phases.get(&session) == Some(&Phase::Idle));
        if let Some(session) = oldest {
            metrics::SEATS_TAKEN_BACK.inc();
            self.close_client(session, CloseReason::ServerFull, effects);
        }
    }

    fn close_client(&mut self, session: SessionId, reason: CloseReason, effects: &mut Effects) {
        self.remove_session(session, effects);
        effects.close(session, reason);
    }

    /// Removes a session that has ended or is about to. Packets that it has sent already are
    /// dropped; the answer to its pending request finds that it is gone.
    fn remove_session(&mut self, session: SessionId, effects: &mut Effects) {
        self.stays.end(session);
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
    fn too_fast(&mut self, session: SessionId, asker: &Asker, packet: u16, wait: Wait, call: &mut Call<'_>) {
        metrics::TOO_FAST.inc();
        log_refusal("request", asker, wait.reason);
        let Some(client) = self.clients.get_mut(&session) else { return };
        if client.refusals.take(bucket::REFUSALS, call.now).is_err() {
            return self.close_client(session, CloseReason::TooFast, call.effects);
        }
        self.phases.insert(session, Phase::Idle);
        call.effects.send(session, TooFast::new(packet, 0, wait.time));
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
        let (what, refused, packet): (_, _, Packet) = match request.step {
            Step::Password | Step::HandOver { .. } => {
                ("login", &metrics::LOGINS_REFUSED, LoginRefused { outcome }.into())
            }
            Step::SignUp => ("sign-up", &metrics::SIGN_UPS_REFUSED, SignUpAnswer { outcome }.into()),
            Step::Verify(_) | Step::Character => {
                ("character", &metrics::CHARACTERS_REFUSED, CreateCharacterAnswer { outcome }.into())
            }
        };
        if outcome != Outcome::Ok {
            refused.of(outcome).inc();
            log_refusal(what, &request.asker, outcome.name());
        }
        if matches!(request.step, Step::SignUp) && !matches!(outcome, Outcome::Ok | Outcome::IdTaken) {
            self.throttle.not_signed_up(request.asker.network);
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
        call: &mut Call<'_>,
        packet: impl FnOnce(u64) -> P,
    ) {
        let Some(link) = link else {
            return self.fail_request(&pending, Outcome::TryAgainLater, call.effects);
        };
        let client = pending.client;
        match self.requests.add(link, pending, call.now) {
            Ok(request) => {
                if let Some(phase) = self.phases.get_mut(&client) {
                    *phase = Phase::Busy;
                }
                call.effects.send(link, packet(request));
            }
            Err(pending) => self.fail_request(&pending, Outcome::TryAgainLater, call.effects),
        }
    }

    /// Returns the next chat server that is up, in turn.
    fn next_chat_server(&mut self) -> Option<SessionId> {
        let up: Vec<SessionId> = self.links.up(packets::Role::Chat).map(|(id, _)| id).collect();
        self.chat_turn = self.chat_turn.wrapping_add(1);
        up.get(self.chat_turn % up.len().max(1)).copied()
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
        let links = self.login.links.all().count();
        vec![
            ("phases", phases.len() - links),
            ("stays", stays.len()),
            ("clients", clients.len()),
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
