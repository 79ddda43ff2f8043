//! The login server's role: from id and password to a ticket.
//!
//! A login passes from the login server to the DB agent (password, claim), the chat server, the DB
//! agent again (character; the claim changes hands), the chat server, the login server and the
//! client. A login that ends on the way releases what it held, so an account is online exactly
//! while a server holds its claim.

mod handlers;

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use throng_core::content::{Call, Effects, HandlerTable, Job, Role};
use throng_core::crypto::ClusterKey;
use throng_core::links::{Links, Pending};
use throng_core::net::{Closed, Opened, PeerKind};
use throng_core::wire::packets::{
    self, ChatCancelLogin, Claim, CreateCharacterAnswer, LoginRefused, Outcome, RequestedName, SignUpAnswer,
};
use throng_core::wire::{CloseReason, Packet};
use throng_core::{SessionId, metrics};

use crate::held_claims::HeldClaims;
use crate::rules::Reserved;

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
    /// Lifetime of a ticket.
    pub ticket_lifetime: Duration,
    /// Time in which another server must answer; after it, the client is told to try again later.
    pub request_timeout: Duration,
    /// The key that seals tickets.
    pub cluster: ClusterKey,
    /// Ids and names that players cannot take.
    pub reserved: Reserved,
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
    links: Links,
    held_claims: HeldClaims,
    requests: Pending<ClientRequest>,
    /// Issued tickets, by the claim's number.
    grants: HashMap<u64, Grant>,
    /// Expiry of each ticket and its claim's number; in order, because all tickets live equally
    /// long.
    expiries: VecDeque<(Instant, u64)>,
    /// Chooses among the chat servers in turn.
    chat_turn: usize,
}

/// A client's request that waits for another server.
struct ClientRequest {
    client: SessionId,
    step: Step,
}

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
            settings,
            now_ms,
            phases: HashMap::new(),
            links,
            held_claims: HeldClaims::default(),
            requests,
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
            Job::Opened(session, opened) => self.login.opened(session, &opened, effects),
            Job::Closed(session, closed) => self.login.closed(session, &closed, now, effects),
            Job::Record(()) => {}
        }
    }

    fn tick(&mut self, now: Instant, effects: &mut Effects) -> Option<Instant> {
        let login = &mut self.login;
        for pending in login.requests.expire(now) {
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
        let expiry = login.expiries.front().map(|(at, _)| *at);
        [login.links.tick(now, effects), login.requests.next_deadline(), expiry].into_iter().flatten().min()
    }
}

impl Login {
    fn opened(&mut self, session: SessionId, opened: &Opened, effects: &mut Effects) {
        match opened.kind {
            PeerKind::Client => {
                self.phases.insert(session, Phase::Idle);
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

    /// Removes a session that has ended or is about to. Packets that it has sent already are
    /// dropped; the answer to its pending request finds that it is gone.
    fn remove_session(&mut self, session: SessionId, effects: &mut Effects) {
        if self.phases.remove(&session) == Some(Phase::Granted) {
            // The client left before it entered the chat, so its ticket is void.
            for (_, grant) in self.grants.extract_if(|_, grant| grant.client == session) {
                effects.send(grant.chat, ChatCancelLogin { claim: grant.claim });
            }
        }
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
        self.answer_client(pending.client, &pending.step, outcome, effects);
    }

    /// Answers a client's request. The client may send another one then.
    fn answer_client(&mut self, client: SessionId, step: &Step, outcome: Outcome, effects: &mut Effects) {
        let packet: Packet = match step {
            Step::Password | Step::HandOver { .. } => {
                metrics::LOGINS_REFUSED.inc();
                LoginRefused { outcome }.into()
            }
            Step::SignUp => SignUpAnswer { outcome }.into(),
            Step::Verify(_) | Step::Character => CreateCharacterAnswer { outcome }.into(),
        };
        if let Some(phase) = self.phases.get_mut(&client) {
            *phase = Phase::Idle;
            effects.send(client, packet);
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

#[cfg(test)]
mod tests;
