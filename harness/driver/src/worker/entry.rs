//! Entries into the chat: scheduled connections, the login steps, retries, and giving up.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap, VecDeque};
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
use throng_harness_model::plan::{EntryPath, Plan};
use throng_harness_model::results::Event;

use super::Worker;
use super::chat_servers::{ChatServers, Found, LOOKUP_POLL};
use super::client::{Client, Grant, InQueue, Step, Token};
use super::entry_limiter::EntryLimiter;
use crate::command::Why;
use crate::resumption::Resumption;

/// Connections begun in one turn: the keys of each cost some 100 µs.
const DIALS_PER_TURN: usize = 8;

/// Consecutive attempts to connect before a client is given up.
const DIAL_ATTEMPTS_MAX: u8 = 5;

/// Backoff before the second attempt, in nanoseconds; it doubles with each further attempt.
const BACKOFF_FIRST: Nanos = 100_000_000;

/// The most doublings of the backoff.
const BACKOFF_DOUBLINGS: u8 = 4;

/// A worker's entering clients. A client is in `entering` from the beginning of
/// its entry until it is accepted or given up, with its deadline as the key.
pub(super) struct Entries {
    /// Entries begun: the first of each client in order, then further rounds.
    begun: usize,
    /// Clients that wait for their next round, each once.
    next_round: VecDeque<u32>,
    /// Entering clients by deadline.
    pub(super) entering: BTreeSet<(Nanos, u32)>,
    pub(super) limiter: EntryLimiter,
    /// Scheduled attempts; one whose time is not the client's `retry_at` is obsolete.
    retries: BinaryHeap<Reverse<(Nanos, u32)>>,
    /// Chat servers named in login answers.
    pub(super) chat_servers: ChatServers,
}

impl Entries {
    /// No entries of worker `index`, and its share of the plan's limit.
    pub(super) fn new(plan: &Plan, index: u32) -> Self {
        let in_flight = plan.share(plan.in_flight, index);
        let limiter =
            if plan.is_adaptive { EntryLimiter::adaptive(in_flight) } else { EntryLimiter::fixed(in_flight) };
        Self {
            begun: 0,
            next_round: VecDeque::new(),
            entering: BTreeSet::new(),
            limiter,
            retries: BinaryHeap::new(),
            chat_servers: ChatServers::default(),
        }
    }

    /// The time of the next attempt or deadline.
    pub(super) fn next_due(&self) -> Nanos {
        let retry = self.retries.peek().map_or(NEVER, |Reverse((at, _))| *at);
        let deadline = self.entering.first().map_or(NEVER, |(at, _)| *at);
        retry.min(deadline)
    }

    /// Returns true while another client may begin to enter.
    pub(super) fn has_room(&self) -> bool {
        self.entering.len() < self.limiter.limit()
    }

    /// Counts an entry that the server deferred.
    fn defer(&mut self) {
        self.limiter.defer(self.entering.len());
    }
}

/// A failed step, and the policy for retrying it.
struct StepFailure {
    /// The event if the client is given up: [`Event::Refused`] or [`Event::Failed`].
    event: Event,
    why: Why,
    /// Consecutive attempts before the client is given up; its deadline applies in any case.
    attempts_max: u8,
}

impl StepFailure {
    /// A failed connection.
    fn of_connection(event: Event, why: impl Into<Why>) -> Self {
        Self { event, why: why.into(), attempts_max: DIAL_ATTEMPTS_MAX }
    }

    /// An answer that asks the client to retry later.
    fn of_answer(outcome: Outcome) -> Self {
        Self { event: Event::Refused, why: outcome.name().into(), attempts_max: u8::MAX }
    }
}

/// Returns true if another attempt to connect may succeed.
pub(super) fn is_transient(reason: CloseReason) -> bool {
    matches!(
        reason,
        CloseReason::ServerFull
            | CloseReason::ServerShutdown
            | CloseReason::ConnectFailed
            | CloseReason::ConnectionLost
            | CloseReason::Moved
            | CloseReason::PeerClosed
            | CloseReason::Unavailable
    )
}

/// Tells whether the server refused the connection, or something broke.
fn end_of(reason: CloseReason) -> Event {
    match reason {
        CloseReason::Goodbye
        | CloseReason::HandshakeTimeout
        | CloseReason::HandshakeFailed
        | CloseReason::FrameTooLong
        | CloseReason::UnexpectedFrame
        | CloseReason::SealBroken
        | CloseReason::MalformedPacket => Event::Failed,
        reason if reason.is_sent() => Event::Refused,
        _ => Event::Failed,
    }
}

impl Worker {
    /// The number of entries, over all rounds.
    fn all_entries(&self) -> usize {
        self.clients.len() * self.plan.rounds as usize
    }

    /// The time of the next entry; [`NEVER`] while the limiter allows no more.
    pub(super) fn next_entry_at(&self) -> Nanos {
        let has_more = self.entries.begun < self.clients.len() || !self.entries.next_round.is_empty();
        let is_full = !self.entries.has_room()
            || self.plan.leaves && self.totals.connected >= self.entries.limiter.limit() as u64;
        if has_more && !is_full { self.plan.begin.intended(self.number(self.entries.begun)) } else { NEVER }
    }

    /// Begins the entries that are due; true if more are due than one turn takes.
    pub(super) fn entries_due(&mut self, sessions: &mut Sessions, now: Nanos) -> bool {
        for _ in 0..DIALS_PER_TURN {
            if self.next_entry_at() > now {
                return false;
            }
            let first = (self.entries.begun < self.clients.len()).then_some(self.entries.begun);
            let Some(place) =
                first.or_else(|| self.entries.next_round.pop_front().map(|place| place as usize))
            else {
                return false;
            };
            self.entries.begun += 1;
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
        (client.step, client.failed_attempts, client.entry_began_at, client.queue) = (step, 0, now, None);
        self.entries.entering.insert(self.deadline(place));
        self.results.first_begin = self.results.first_begin.min(now);
        self.perform(sessions, place);
    }

    /// The key of a client in `entering`. A client that moves on in the login server's queue has
    /// its time anew.
    fn deadline(&self, place: usize) -> (Nanos, u32) {
        let client = &self.clients[place];
        let moved_at = client.queue.as_ref().map_or(0, |queue| queue.moved_at);
        (client.entry_began_at.max(moved_at).saturating_add(self.plan.timeout), place as u32)
    }

    /// The client was told its position in the login server's queue, and waits on.
    fn queued(&mut self, sessions: &Sessions, place: usize, position: u32) {
        let clients = &mut self.results.clients;
        let told = self.clients[place].queue.as_ref().and_then(|queue| queue.position);
        clients.queued += u64::from(told.is_none());
        clients.queue_position_max = clients.queue_position_max.max(position.into());
        clients.queue_position_rises += u64::from(told.is_some_and(|told| position > told));
        if told.is_none_or(|told| position < told) {
            let moved_at = self.plan.clock.at(sessions.now());
            self.entries.entering.remove(&self.deadline(place));
            self.clients[place].queue = Some(Box::new(InQueue { position: Some(position), moved_at }));
            self.entries.entering.insert(self.deadline(place));
        }
    }

    /// Queues the client for its next round, if there is one.
    pub(super) fn end_round(&mut self, place: usize) {
        if self.clients[place].rounds < self.plan.rounds && self.entries.begun < self.all_entries() {
            self.entries.next_round.push_back(place as u32);
        }
    }

    /// Returns true while the ledger records stays in the chat: results are not frozen, and the
    /// run sends counted messages.
    fn records_stays(&self) -> bool {
        !self.messages.is_frozen && self.plan.traffic.messages() > 0
    }

    /// Records in the ledger that a client's session with the chat server has ended.
    pub(super) fn record_end_of_stay(&mut self, place: usize, now: Nanos) {
        if self.records_stays() {
            self.results.ledger.session_ended(place, now);
        }
    }

    fn first_step(&self) -> Step {
        match self.plan.entry_path {
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
        if let Some(queue) = &mut client.queue {
            queue.position = None;
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
        let EntryPath::Login(server) = &plan.entry_path else { return };
        match self.dial(sessions, server, Token::Login(place as u32)) {
            Ok(id) => self.clients[place].login = Some(id),
            Err(error) => self.socket_failed(sessions, place, &error),
        }
    }

    fn dial_chat(&mut self, sessions: &mut Sessions, place: usize) {
        let plan = self.plan.clone();
        let server = match &plan.entry_path {
            EntryPath::Ticket(..) => {
                let Some(server) = plan.node(self.clients[place].node) else { return };
                server.clone()
            }
            EntryPath::Login(_) => match self.granted_server(place) {
                Found::Server(server) => server,
                Found::Later => return self.perform_later(place, nanos(LOOKUP_POLL)),
                Found::Failed(why) => {
                    let failure = StepFailure::of_connection(Event::Failed, why);
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
        let found = self.entries.chat_servers.find(grant.server, failed, self.plan.clock.now());
        if let Found::Server(server) = &found {
            grant.dialed = Some(server.address);
        }
        found
    }

    fn socket_failed(&mut self, sessions: &mut Sessions, place: usize, error: &io::Error) {
        let why = format!("cannot open a socket ({})", error.kind());
        let step = self.clients[place].step;
        self.retry_later(sessions, place, step, StepFailure::of_connection(Event::Failed, why));
    }

    fn enter(&mut self, sessions: &mut Sessions, place: usize) {
        let Some(session) = self.clients[place].chat else { return };
        let ticket = match &self.plan.entry_path {
            EntryPath::Ticket(_, cluster) => {
                let server = self.plan.node(self.clients[place].node);
                server.and_then(|server| {
                    let number = self.number(place);
                    self.plan.identities.ticket(number, cluster, server.key, unix_ms()).ok()
                })
            }
            EntryPath::Login(_) => self.clients[place].grant.as_ref().map(|grant| grant.ticket.clone()),
        };
        let Some(ticket) = ticket else {
            return self.give_up(sessions, place, Event::Failed, "no ticket could be made".into());
        };
        if self.records_stays() {
            self.results.ledger.entry_requested(place, self.plan.clock.now());
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
            (Step::SignUp | Step::CreateCharacter | Step::LogIn, Packet::LoginQueued(queued)) => {
                self.queued(sessions, place, queued.position);
            }
            (Step::SignUp | Step::CreateCharacter | Step::LogIn, Packet::TooFast(_)) => {
                let why = format!("too fast ({}): see limits.exempt", step.name());
                self.give_up(sessions, place, Event::Refused, why.into());
            }
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
                self.entries.defer();
                self.retry_later(sessions, place, step, StepFailure::of_answer(outcome));
            }
            outcome => {
                let why = format!("{} ({})", outcome.name(), step.name());
                self.give_up(sessions, place, Event::Refused, why.into());
            }
        }
    }

    fn granted(&mut self, sessions: &mut Sessions, place: usize, granted: LoginGranted) {
        let Ok(address) = granted.chat_address.parse::<HostAddress>() else {
            let why = format!("the chat server's address {:?} is not HOST:PORT", &*granted.chat_address);
            return self.give_up(sessions, place, Event::Failed, why.into());
        };
        let EntryPath::Login(login) = &self.plan.entry_path else { return };
        let timeout = login.endpoint.handshake_timeout;
        let server = self.entries.chat_servers.number(&address, granted.chat_key, timeout);
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
        self.totals.entry.add(elapsed);
        if !self.record_return(place, now) {
            self.results.clients.connected += 1;
            self.results.last_entry = now;
        }
        self.totals.connected += 1;
        self.entries.entering.remove(&self.deadline(place));
        self.entries.limiter.entered();
        if self.records_stays() {
            self.results.ledger.entered(place, now);
        }
        self.record_step(place, now);
        let client = &mut self.clients[place];
        client.grant = None;
        client.resumption = self.plan.resumes.then(|| Box::new(Resumption::new(answer.token.clone())));
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
        if client.step == Step::Enter {
            self.record_end_of_stay(place, self.plan.clock.at(sessions.now()));
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
        let event = end_of(reason);
        if is_transient(reason) {
            self.entries.defer();
            self.retry_later(sessions, place, from, StepFailure::of_connection(event, reason.name()));
        } else {
            self.give_up(sessions, place, event, reason.name().into());
        }
    }

    /// Schedules another attempt at `step` after a randomized backoff. Gives the client up if its
    /// attempts are used up, or if the attempt would begin after its deadline.
    fn retry_later(&mut self, sessions: &mut Sessions, place: usize, step: Step, failure: StepFailure) {
        let StepFailure { event, why, attempts_max } = failure;
        let now = self.plan.clock.now();
        let client = &mut self.clients[place];
        client.failed_attempts = client.failed_attempts.saturating_add(1);
        client.repeated = true;
        let backoff = BACKOFF_FIRST << (client.failed_attempts - 1).min(BACKOFF_DOUBLINGS);
        let at = now + self.rng.random_range(backoff / 2..=backoff);
        let is_used_up = client.failed_attempts >= attempts_max;
        if is_used_up || at >= self.deadline(place).0 {
            return self.give_up(sessions, place, event, why);
        }
        self.clients[place].step = step;
        self.perform_at(place, at);
        self.totals.retries += 1;
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
            self.entries.retries.push(Reverse((at, place as u32)));
        }
    }

    /// Begins the attempts that are due.
    pub(super) fn retry_due(&mut self, sessions: &mut Sessions, now: Nanos) {
        while let Some(Reverse((at, place))) = self.entries.retries.peek().copied() {
            if at > now {
                return;
            }
            self.entries.retries.pop();
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
        while let Some((at, place)) = self.entries.entering.first().copied()
            && at <= now
        {
            self.entries.defer();
            let why = format!("{} was not done in time", self.clients[place as usize].step.name());
            self.give_up(sessions, place as usize, Event::Failed, why.into());
        }
    }

    /// Gives up a client that is entering.
    fn give_up(&mut self, sessions: &mut Sessions, place: usize, event: Event, why: Why) {
        self.entries.entering.remove(&self.deadline(place));
        if self.clients[place].step == Step::Enter && self.clients[place].chat.is_some() {
            self.record_end_of_stay(place, self.plan.clock.at(sessions.now()));
        }
        let client = &mut self.clients[place];
        (client.step, client.retry_at) = (Step::Out, 0);
        for session in [client.chat.take(), client.login.take()].into_iter().flatten() {
            sessions.close(session, CloseReason::Goodbye, "");
        }
        // A reconnecting client has been accepted before, and counts as disconnected.
        if !self.record_no_return(place, &why) {
            match event {
                Event::Refused => self.totals.refused += 1,
                _ => self.totals.failed += 1,
            }
            self.count_reason(event, why);
        }
        self.end_round(place);
    }

    /// Gives up all entries, of this round and of later ones.
    pub(super) fn give_up_entries(&mut self, sessions: &mut Sessions, why: &Why) {
        self.give_up_reconnects(why);
        let entries = self.all_entries();
        let never_begun = (entries - std::mem::replace(&mut self.entries.begun, entries)) as u64;
        self.entries.next_round.clear();
        while let Some((_, place)) = self.entries.entering.first().copied() {
            self.give_up(sessions, place as usize, Event::Failed, why.clone());
        }
        if never_begun > 0 {
            self.totals.failed += never_begun;
            self.results.reasons.count(Event::Failed, why.clone(), never_begun);
        }
    }
}
