//! Entries into the chat: scheduled connections, the login steps, retries, and giving up.

use std::cmp::Reverse;
use std::io;

use rand::RngExt;
use throng_core::clock::unix_ms;
use throng_core::host::HostAddress;
use throng_core::net::Sessions;
use throng_core::wire::packets::{
    CreateCharacterRequest, EnterAnswer, EnterRequest, LoginGranted, LoginRequest, Outcome, SignUpRequest,
};
use throng_core::wire::{CloseReason, Packet};
use throng_harness_model::clock::{NEVER, Nanos, nanos};
use throng_harness_model::plan::EntryPath;

use super::Worker;
use super::chat_servers::{Found, LOOKUP_POLL};
use super::client::{Client, Grant, Step, Token};
use crate::command::Why;

/// Connections begun in one turn: the keys of each cost some 100 µs.
const DIALS_PER_TURN: usize = 8;

/// Consecutive attempts to connect before a client is given up.
const DIAL_ATTEMPTS_MAX: u8 = 5;

/// Backoff before the second attempt, in nanoseconds; it doubles with each further attempt.
const BACKOFF_FIRST: Nanos = 100_000_000;

/// The most doublings of the backoff.
const BACKOFF_DOUBLINGS: u8 = 4;

/// A failed step, and the policy for retrying it.
struct StepFailure {
    why: Why,
    /// True if the server refused the step.
    refused: bool,
    /// Consecutive attempts before the client is given up; its deadline applies in any case.
    attempts_max: u8,
}

impl StepFailure {
    /// A failed connection.
    fn of_connection(why: impl Into<Why>, refused: bool) -> Self {
        Self { why: why.into(), refused, attempts_max: DIAL_ATTEMPTS_MAX }
    }

    /// An answer that asks the client to retry later.
    fn of_answer(outcome: Outcome) -> Self {
        Self { why: outcome.name().into(), refused: true, attempts_max: u8::MAX }
    }
}

/// Returns true if another attempt to connect may succeed.
fn is_transient(reason: CloseReason) -> bool {
    matches!(
        reason,
        CloseReason::ServerFull
            | CloseReason::ServerShutdown
            | CloseReason::ConnectFailed
            | CloseReason::ConnectionLost
            | CloseReason::PeerClosed
    )
}

/// Returns true if the server refused the connection; false if something broke.
fn is_refusal(reason: CloseReason) -> bool {
    reason.is_sent()
        && !matches!(
            reason,
            CloseReason::Goodbye
                | CloseReason::HandshakeTimeout
                | CloseReason::HandshakeFailed
                | CloseReason::FrameTooLong
                | CloseReason::UnexpectedFrame
                | CloseReason::SealBroken
                | CloseReason::MalformedPacket
        )
}

impl Worker {
    /// The number of entries, over all rounds.
    fn entries(&self) -> usize {
        self.clients.len() * self.plan.rounds as usize
    }

    /// The time of the next entry; [`NEVER`] while the limiter allows no more.
    pub(super) fn next_entry_at(&self) -> Nanos {
        let has_more = self.entries_begun < self.clients.len() || !self.next_round.is_empty();
        let is_full = self.entering.len() >= self.entry_limiter.limit()
            || self.plan.leaves && self.totals.connected >= self.entry_limiter.limit() as u64;
        if has_more && !is_full { self.plan.begin.intended(self.number(self.entries_begun)) } else { NEVER }
    }

    /// Begins the entries that are due; true if more are due than one turn takes.
    pub(super) fn entries_due(&mut self, sessions: &mut Sessions, now: Nanos) -> bool {
        for _ in 0..DIALS_PER_TURN {
            if self.next_entry_at() > now {
                return false;
            }
            let first = (self.entries_begun < self.clients.len()).then_some(self.entries_begun);
            let Some(place) = first.or_else(|| self.next_round.pop_front().map(|place| place as usize))
            else {
                return false;
            };
            self.entries_begun += 1;
            self.begin_entry(sessions, place, now);
        }
        self.next_entry_at() <= now
    }

    /// Begins a client's entry.
    pub(super) fn begin_entry(&mut self, sessions: &mut Sessions, place: usize, now: Nanos) {
        let step = self.first_step();
        let client = &mut self.clients[place];
        // The login server may close the last round's session after the chat server closes its own.
        if let Some(login) = client.login.take() {
            sessions.close(login, CloseReason::Goodbye, "");
        }
        // After the last round the account may be online for a moment longer.
        client.repeated |= client.rounds > 0;
        client.rounds += 1;
        (client.step, client.failed_attempts, client.entry_began_at) = (step, 0, now);
        self.entering.insert(self.deadline(place));
        self.results.first_begin = self.results.first_begin.min(now);
        self.perform(sessions, place);
    }

    /// The key of a client in `entering`.
    fn deadline(&self, place: usize) -> (Nanos, u32) {
        (self.clients[place].entry_began_at.saturating_add(self.plan.timeout), place as u32)
    }

    /// Queues the client for its next round, if there is one.
    pub(super) fn end_round(&mut self, place: usize) {
        if self.clients[place].rounds < self.plan.rounds && self.entries_begun < self.entries() {
            self.next_round.push_back(place as u32);
        }
    }

    /// Returns true while the ledger records stays in the chat: results are not frozen, and the
    /// run sends counted messages.
    pub(super) fn records_stays(&self) -> bool {
        self.is_counting && self.plan.traffic.messages() > 0
    }

    fn first_step(&self) -> Step {
        match self.plan.way {
            EntryPath::Ticket(..) => Step::DialChat,
            EntryPath::Login(_) => Step::DialLogin,
        }
    }

    /// Ends a client's step and begins the next one.
    pub(super) fn advance(&mut self, sessions: &mut Sessions, place: usize, next: Step) {
        let now = self.plan.clock.at(sessions.now());
        self.record_step(place, now);
        let client = &mut self.clients[place];
        (client.step, client.failed_attempts) = (next, 0);
        self.perform(sessions, place);
    }

    /// Records the duration of a client's step.
    fn record_step(&mut self, place: usize, now: Nanos) {
        let Client { step, step_began_at, .. } = self.clients[place];
        let elapsed = now.saturating_sub(step_began_at);
        self.results.phases.entry(step.name().into()).or_default().record(elapsed);
        if let Some(part) = step.part() {
            self.totals.parts[part].add(elapsed);
        }
    }

    /// The login session is open: requests the first thing that the client still needs.
    pub(super) fn login_opened(&mut self, sessions: &mut Sessions, place: usize) {
        let has_account = self.clients[place].has_account || self.plan.identities.has_accounts();
        self.advance(sessions, place, if has_account { Step::LogIn } else { Step::SignUp });
    }

    /// Sends the request of a client's step.
    fn perform(&mut self, sessions: &mut Sessions, place: usize) {
        let number = self.number(place);
        let client = &mut self.clients[place];
        if client.failed_attempts == 0 {
            client.step_began_at = self.plan.clock.now();
        }
        let identities = &self.plan.identities;
        let (id, password) = (|| identities.id(number), || identities.password(number));
        let request: Packet = match client.step {
            Step::DialLogin => return self.dial_login(sessions, place),
            Step::DialChat => return self.dial_chat(sessions, place),
            Step::Enter => return self.enter(sessions, place),
            Step::SignUp => SignUpRequest { id: id(), password: password() }.into(),
            Step::CreateCharacter => {
                CreateCharacterRequest { id: id(), password: password(), name: identities.name(number) }
                    .into()
            }
            Step::LogIn => LoginRequest { id: id(), password: password() }.into(),
            Step::Idle | Step::List | Step::Inside | Step::Leaving | Step::Out => return,
        };
        if let Some(session) = client.login {
            sessions.send(session, &request);
        }
    }

    fn dial_login(&mut self, sessions: &mut Sessions, place: usize) {
        let plan = self.plan.clone();
        let EntryPath::Login(server) = &plan.way else { return };
        match self.dial(sessions, server, Token::Login(place as u32)) {
            Ok(id) => self.clients[place].login = Some(id),
            Err(error) => self.socket_failed(sessions, place, &error),
        }
    }

    fn dial_chat(&mut self, sessions: &mut Sessions, place: usize) {
        let plan = self.plan.clone();
        let server = match &plan.way {
            EntryPath::Ticket(server, _) => server.clone(),
            EntryPath::Login(_) => match self.granted_server(place) {
                Found::Server(server) => server,
                Found::Later => return self.perform_later(place, nanos(LOOKUP_POLL)),
                Found::Failed(why) => {
                    let failure = StepFailure::of_connection(why, false);
                    return self.retry_later(sessions, place, Step::DialChat, failure);
                }
            },
        };
        match self.dial(sessions, &server, Token::Chat(place as u32)) {
            Ok(id) => self.clients[place].chat = Some(id),
            Err(error) => self.socket_failed(sessions, place, &error),
        }
    }

    /// Returns the chat server that the client's login answer has named.
    fn granted_server(&mut self, place: usize) -> Found {
        let client = &mut self.clients[place];
        let Some(grant) = &mut client.grant else { return Found::Failed("no ticket was granted".into()) };
        let failed = if client.failed_attempts > 0 { grant.dialed } else { None };
        let found = self.chat_servers.find(grant.server, failed, self.plan.clock.now());
        if let Found::Server(server) = &found {
            grant.dialed = Some(server.address);
        }
        found
    }

    fn socket_failed(&mut self, sessions: &mut Sessions, place: usize, error: &io::Error) {
        let why = format!("cannot open a socket ({})", error.kind());
        let step = self.clients[place].step;
        self.retry_later(sessions, place, step, StepFailure::of_connection(why, false));
    }

    fn enter(&mut self, sessions: &mut Sessions, place: usize) {
        let Some(session) = self.clients[place].chat else { return };
        let ticket = match &self.plan.way {
            EntryPath::Ticket(server, cluster) => {
                self.plan.identities.ticket(self.number(place), cluster, server.key, unix_ms()).ok()
            }
            EntryPath::Login(_) => self.clients[place].grant.as_ref().map(|grant| grant.ticket.clone()),
        };
        let Some(ticket) = ticket else {
            return self.give_up(sessions, place, false, "no ticket could be made");
        };
        if self.records_stays() {
            self.results.tally.asked_in(place, self.plan.clock.now());
        }
        sessions.send(session, &EnterRequest { ticket }.into());
    }

    /// Handles a packet of the login server; false if the packet is not allowed in this step.
    pub(super) fn login_packet(&mut self, sessions: &mut Sessions, place: usize, packet: Packet) -> bool {
        let client = &self.clients[place];
        let (step, repeated) = (client.step, client.repeated);
        match (step, packet) {
            (Step::SignUp, Packet::SignUpAnswer(answer)) => match answer.outcome {
                Outcome::IdTaken if repeated => self.advance(sessions, place, Step::CreateCharacter),
                outcome => self.step_answered(sessions, place, outcome, Step::CreateCharacter),
            },
            (Step::CreateCharacter, Packet::CreateCharacterAnswer(answer)) => match answer.outcome {
                Outcome::CharacterExists if repeated => self.account_ready(sessions, place),
                Outcome::Ok => self.account_ready(sessions, place),
                outcome => self.step_answered(sessions, place, outcome, Step::LogIn),
            },
            (Step::LogIn, Packet::LoginGranted(granted)) => self.granted(sessions, place, granted),
            (Step::LogIn, Packet::LoginRefused(refused)) => match refused.outcome {
                // The answer to an attempt may have been lost, or the last round is still online.
                Outcome::AlreadyOnline if repeated => {
                    self.retry_later(sessions, place, step, StepFailure::of_answer(Outcome::AlreadyOnline));
                }
                outcome => self.step_answered(sessions, place, outcome, Step::DialChat),
            },
            _ => return false,
        }
        true
    }

    /// The client's account and character exist.
    fn account_ready(&mut self, sessions: &mut Sessions, place: usize) {
        self.clients[place].has_account = true;
        self.advance(sessions, place, Step::LogIn);
    }

    fn step_answered(&mut self, sessions: &mut Sessions, place: usize, outcome: Outcome, next: Step) {
        let step = self.clients[place].step;
        match outcome {
            Outcome::Ok => self.advance(sessions, place, next),
            Outcome::TryAgainLater => {
                self.entry_limiter.defer(self.entering.len());
                self.retry_later(sessions, place, step, StepFailure::of_answer(outcome));
            }
            outcome => {
                self.give_up(sessions, place, true, &format!("{} ({})", outcome.name(), step.name()));
            }
        }
    }

    fn granted(&mut self, sessions: &mut Sessions, place: usize, granted: LoginGranted) {
        let Ok(address) = granted.chat_address.parse::<HostAddress>() else {
            let why = format!("the chat server's address {:?} is not HOST:PORT", &*granted.chat_address);
            return self.give_up(sessions, place, false, &why);
        };
        let EntryPath::Login(login) = &self.plan.way else { return };
        let timeout = login.endpoint.handshake_timeout;
        let server = self.chat_servers.number(&address, granted.chat_key, timeout);
        self.clients[place].grant = Some(Box::new(Grant { server, dialed: None, ticket: granted.ticket }));
        self.advance(sessions, place, Step::DialChat);
    }

    /// The chat server has accepted the client.
    pub(super) fn entered(&mut self, sessions: &mut Sessions, place: usize, answer: &EnterAnswer) {
        let now = self.plan.clock.at(sessions.now());
        let began = self.clients[place].entry_began_at;
        self.plan.presence.set(self.number(place), answer.user.id);
        self.begin_list(place, now);
        let elapsed = now.saturating_sub(began);
        self.results.phases.entry("way_in".into()).or_default().record(elapsed);
        self.totals.way_in.add(elapsed);
        if !self.record_return(place, now) {
            self.results.clients.connected += 1;
            self.results.last_entry = now;
        }
        self.totals.connected += 1;
        self.entering.remove(&self.deadline(place));
        self.entry_limiter.entered();
        if self.records_stays() {
            self.results.tally.entered(place, now);
        }
        self.record_step(place, now);
        let client = &mut self.clients[place];
        client.grant = None;
        client.shard = answer.shard;
        // The server sends the first page of the user list unasked.
        (client.step, client.step_began_at) = (Step::List, now);
    }

    /// The last page of the first user list has arrived.
    pub(super) fn listed(&mut self, sessions: &mut Sessions, place: usize) {
        self.totals.listed += 1;
        self.advance(sessions, place, Step::Inside);
        if self.plan.leaves {
            self.request_exit(sessions, place);
        }
    }

    /// A client's session with the login server has closed.
    pub(super) fn login_closed(&mut self, sessions: &mut Sessions, place: usize, reason: CloseReason) {
        let client = &mut self.clients[place];
        client.login = None;
        // The chat server reports the entry to the login server, perhaps before its answer arrives
        // here.
        if !client.step.is_entering() || reason == CloseReason::HandedOver {
            return;
        }
        // Closing the login session voids the ticket, so the client starts over.
        if let Some(chat) = client.chat.take() {
            sessions.close(chat, CloseReason::Goodbye, "");
        }
        if client.step == Step::Enter && self.records_stays() {
            self.results.tally.gone(place, self.plan.clock.at(sessions.now()));
        }
        self.connection_failed(sessions, place, Step::DialLogin, reason);
    }

    pub(super) fn connection_failed(
        &mut self,
        sessions: &mut Sessions,
        place: usize,
        from: Step,
        reason: CloseReason,
    ) {
        let refused = is_refusal(reason);
        if is_transient(reason) {
            self.entry_limiter.defer(self.entering.len());
            self.retry_later(sessions, place, from, StepFailure::of_connection(reason.name(), refused));
        } else {
            self.give_up(sessions, place, refused, reason.name());
        }
    }

    /// Schedules another attempt at `step` after a randomized backoff. Gives the client up if its
    /// attempts are used up, or if the attempt would begin after its deadline.
    fn retry_later(&mut self, sessions: &mut Sessions, place: usize, step: Step, failure: StepFailure) {
        let StepFailure { why, refused, attempts_max } = failure;
        let now = self.plan.clock.now();
        let client = &mut self.clients[place];
        client.failed_attempts = client.failed_attempts.saturating_add(1);
        client.repeated = true;
        let backoff = BACKOFF_FIRST << (client.failed_attempts - 1).min(BACKOFF_DOUBLINGS);
        let at = now + self.rng.random_range(backoff / 2..=backoff);
        let is_late = at >= client.entry_began_at.saturating_add(self.plan.timeout);
        if is_late || client.failed_attempts >= attempts_max {
            return self.give_up(sessions, place, refused, &why);
        }
        client.step = step;
        self.perform_at(place, at);
        self.totals.retried += 1;
        *self.results.clients.retries.entry(why.into_owned()).or_default() += 1;
    }

    /// Performs the client's step again after a while, without counting it as a retry.
    fn perform_later(&mut self, place: usize, delay: Nanos) {
        self.perform_at(place, self.plan.clock.now() + delay);
    }

    fn perform_at(&mut self, place: usize, at: Nanos) {
        let client = &mut self.clients[place];
        if client.retry_at == 0 {
            client.retry_at = at;
            self.retries.push(Reverse((at, place as u32)));
        }
    }

    /// Begins the attempts that are due.
    pub(super) fn retry_due(&mut self, sessions: &mut Sessions, now: Nanos) {
        while let Some(Reverse((at, place))) = self.retries.peek().copied() {
            if at > now {
                return;
            }
            self.retries.pop();
            let client = &mut self.clients[place as usize];
            // Any other time belongs to an entry that has ended meanwhile.
            if client.retry_at == at {
                client.retry_at = 0;
                self.perform(sessions, place as usize);
            }
        }
    }

    /// Gives up the clients whose deadline has passed.
    pub(super) fn expire_entries(&mut self, sessions: &mut Sessions, now: Nanos) {
        while let Some((at, place)) = self.entering.first().copied()
            && at <= now
        {
            self.entry_limiter.defer(self.entering.len());
            let why = format!("{} was not done in time", self.clients[place as usize].step.name());
            self.give_up(sessions, place as usize, false, &why);
        }
    }

    /// Gives up a client that is entering.
    fn give_up(&mut self, sessions: &mut Sessions, place: usize, refused: bool, why: &str) {
        self.entering.remove(&self.deadline(place));
        let records_stays = self.records_stays();
        let client = &mut self.clients[place];
        if client.step == Step::Enter && client.chat.is_some() && records_stays {
            self.results.tally.gone(place, self.plan.clock.at(sessions.now()));
        }
        (client.step, client.retry_at) = (Step::Out, 0);
        for session in [client.chat.take(), client.login.take()].into_iter().flatten() {
            sessions.close(session, CloseReason::Goodbye, "");
        }
        if self.record_no_return(place, why) {
            // A reconnecting client has been accepted before: `record_no_return` counts it.
        } else if refused {
            self.totals.refused += 1;
            self.count_reason("refused", why);
        } else {
            self.totals.failed += 1;
            self.count_reason("failed", why);
        }
        self.end_round(place);
    }

    /// Gives up all entries, of this round and of later ones.
    pub(super) fn give_up_entries(&mut self, sessions: &mut Sessions, why: &str) {
        let entries = self.entries();
        while let Some(place) = self.returning.pop_front() {
            self.record_no_return(place as usize, why);
        }
        let never_begun = (entries - std::mem::replace(&mut self.entries_begun, entries)) as u64;
        self.next_round.clear();
        while let Some((_, place)) = self.entering.first().copied() {
            self.give_up(sessions, place as usize, false, why);
        }
        if never_begun > 0 {
            self.totals.failed += never_begun;
            self.count_reasons("failed", why, never_begun);
        }
    }
}
