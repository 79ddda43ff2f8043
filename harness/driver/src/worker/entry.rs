//! The way into the chat: dialling in time, the steps of a login, trying again, giving up.

use std::cmp::Reverse;
use std::io;

use rand::RngExt;
use throng_core::clock::unix_ms;
use throng_core::net::Sessions;
use throng_core::wire::packets::{
    CreateCharacterRequest, EnterAnswer, EnterRequest, LoginGranted, LoginRequest, Outcome, SignUpRequest,
};
use throng_core::wire::{CloseReason, Packet};
use throng_harness_model::clock::{NEVER, Nanos};
use throng_harness_model::plan::{EntryPath, Server};

use super::Worker;
use super::client::{Client, Grant, Step, Token};
use crate::command::Why;

/// Connections begun in one turn: each costs some 100 us for its keys.
const DIALS_PER_TURN: usize = 8;

/// Attempts to connect, in a row, before a client is turned away.
const DIALS_MAX: u8 = 5;

/// The pause before the second attempt, in nanoseconds; each further one is twice as long.
const PAUSE: Nanos = 100_000_000;

/// How often the pause is doubled at most.
const PAUSE_DOUBLINGS: u8 = 4;

/// Why a step did not succeed, and what that means for trying it again.
struct Setback {
    why: Why,
    /// Whether the server said no.
    refused: bool,
    /// Attempts, in a row, before the client is turned away; its deadline holds in any case.
    tries_max: u8,
}

impl Setback {
    /// A connection that failed.
    fn of_connection(why: impl Into<Why>, refused: bool) -> Self {
        Self { why: why.into(), refused, tries_max: DIALS_MAX }
    }

    /// An answer that says "not now".
    fn of_answer(outcome: Outcome) -> Self {
        Self { why: outcome.name().into(), refused: true, tries_max: u8::MAX }
    }
}

/// Whether it makes sense to connect again.
fn may_pass(reason: CloseReason) -> bool {
    matches!(
        reason,
        CloseReason::ServerFull
            | CloseReason::ServerShutdown
            | CloseReason::ConnectFailed
            | CloseReason::ConnectionLost
            | CloseReason::PeerClosed
    )
}

/// Whether the server has said no, as opposed to something having broken.
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
    /// Ways in that begin in all, over all rounds.
    fn ways_in(&self) -> usize {
        self.clients.len() * self.plan.rounds as usize
    }

    /// When the next way in begins; never while as many clients are on theirs as may be.
    pub(super) fn next_begin(&self) -> Nanos {
        let is_anybody_left = self.begun < self.clients.len() || !self.again.is_empty();
        let is_full = self.on_the_way.len() >= self.entry_limiter.limit()
            || self.plan.leaves && self.totals.connected >= self.entry_limiter.limit() as u64;
        if is_anybody_left && !is_full { self.plan.begin.intended(self.number(self.begun)) } else { NEVER }
    }

    /// Begins the ways in that are due; true if there are more than one turn takes.
    pub(super) fn begin_due(&mut self, sessions: &mut Sessions, now: Nanos) -> bool {
        for _ in 0..DIALS_PER_TURN {
            if self.next_begin() > now {
                return false;
            }
            let first = (self.begun < self.clients.len()).then_some(self.begun);
            let Some(place) = first.or_else(|| self.again.pop_front().map(|place| place as usize)) else {
                return false;
            };
            self.begun += 1;
            self.begin(sessions, place, now);
        }
        self.next_begin() <= now
    }

    /// A client's way in begins, its first one or that of another round.
    pub(super) fn begin(&mut self, sessions: &mut Sessions, place: usize, now: Nanos) {
        let step = self.first_step();
        let client = &mut self.clients[place];
        // That of the last round: the login server may be slower to close it than the chat server to let go.
        if let Some(login) = client.login.take() {
            sessions.close(login, CloseReason::Goodbye, "");
        }
        // The last round may have left us online for a moment.
        client.repeated |= client.rounds > 0;
        client.rounds += 1;
        (client.step, client.tries, client.began) = (step, 0, now);
        self.on_the_way.insert(self.deadline(place));
        self.harvest.first_begin = self.harvest.first_begin.min(now);
        self.perform(sessions, place);
    }

    /// A client's entry in the order of those on their way in.
    fn deadline(&self, place: usize) -> (Nanos, u32) {
        (self.clients[place].began.saturating_add(self.plan.timeout), place as u32)
    }

    /// A client is out again, or was never in: it waits for its next round, if there is one.
    pub(super) fn round_over(&mut self, place: usize) {
        if self.clients[place].rounds < self.plan.rounds && self.begun < self.ways_in() {
            self.again.push_back(place as u32);
        }
    }

    /// Whether it is recorded who is in the room when. Where nothing is said nobody will ask.
    pub(super) fn keeps_stays(&self) -> bool {
        self.counting && self.plan.traffic.messages() > 0
    }

    fn first_step(&self) -> Step {
        match self.plan.way {
            EntryPath::Ticket(..) => Step::DialChat,
            EntryPath::Login(_) => Step::DialLogin,
        }
    }

    /// A client's step is done: on to the next.
    pub(super) fn advance(&mut self, sessions: &mut Sessions, place: usize, next: Step) {
        let now = self.plan.clock.at(sessions.now());
        self.step_took(place, now);
        let client = &mut self.clients[place];
        (client.step, client.tries) = (next, 0);
        self.perform(sessions, place);
    }

    /// A client's step is done.
    fn step_took(&mut self, place: usize, now: Nanos) {
        let Client { step, since, .. } = self.clients[place];
        let took = now.saturating_sub(since);
        self.harvest.phases.entry(step.name().into()).or_default().record(took);
        if let Some(part) = step.part() {
            self.totals.parts[part].add(took);
        }
    }

    /// The login server is there: on to what a client needs of it.
    pub(super) fn greeted(&mut self, sessions: &mut Sessions, place: usize) {
        let has_account = self.clients[place].has_account || self.plan.identities.has_accounts();
        self.advance(sessions, place, if has_account { Step::LogIn } else { Step::SignUp });
    }

    /// Does what a client's step asks for.
    fn perform(&mut self, sessions: &mut Sessions, place: usize) {
        let number = self.number(place);
        let client = &mut self.clients[place];
        if client.tries == 0 {
            client.since = self.plan.clock.now();
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
            Err(error) => self.no_socket(sessions, place, &error),
        }
    }

    fn dial_chat(&mut self, sessions: &mut Sessions, place: usize) {
        let plan = self.plan.clone();
        let granted = self.clients[place].grant.as_ref().map(|grant| grant.server.clone());
        let server = match &plan.way {
            EntryPath::Ticket(server, _) => Some(server.clone()),
            EntryPath::Login(_) => granted,
        };
        let Some(server) = server else { return };
        match self.dial(sessions, &server, Token::Chat(place as u32)) {
            Ok(id) => self.clients[place].chat = Some(id),
            Err(error) => self.no_socket(sessions, place, &error),
        }
    }

    fn no_socket(&mut self, sessions: &mut Sessions, place: usize, error: &io::Error) {
        let why = format!("cannot open a socket ({})", error.kind());
        let step = self.clients[place].step;
        self.try_again(sessions, place, step, Setback::of_connection(why, false));
    }

    /// Presents the ticket.
    fn enter(&mut self, sessions: &mut Sessions, place: usize) {
        let Some(session) = self.clients[place].chat else { return };
        let ticket = match &self.plan.way {
            EntryPath::Ticket(server, cluster) => {
                self.plan.identities.ticket(self.number(place), cluster, server.key, unix_ms()).ok()
            }
            EntryPath::Login(_) => self.clients[place].grant.as_ref().map(|grant| grant.ticket.clone()),
        };
        let Some(ticket) = ticket else {
            return self.turn_away(sessions, place, false, "no ticket could be made");
        };
        if self.keeps_stays() {
            self.harvest.tally.asked_in(place, self.plan.clock.now());
        }
        sessions.send(session, &EnterRequest { ticket }.into());
    }

    /// Deals with a packet of the login server; false if it has no place here.
    pub(super) fn login_packet(&mut self, sessions: &mut Sessions, place: usize, packet: Packet) -> bool {
        let client = &self.clients[place];
        let (step, repeated) = (client.step, client.repeated);
        match (step, packet) {
            (Step::SignUp, Packet::SignUpAnswer(answer)) => match answer.outcome {
                Outcome::IdTaken if repeated => self.advance(sessions, place, Step::CreateCharacter),
                outcome => self.answered(sessions, place, outcome, Step::CreateCharacter),
            },
            (Step::CreateCharacter, Packet::CreateCharacterAnswer(answer)) => match answer.outcome {
                Outcome::CharacterExists if repeated => self.settled(sessions, place),
                Outcome::Ok => self.settled(sessions, place),
                outcome => self.answered(sessions, place, outcome, Step::LogIn),
            },
            (Step::LogIn, Packet::LoginGranted(granted)) => self.granted(sessions, place, granted),
            (Step::LogIn, Packet::LoginRefused(refused)) => match refused.outcome {
                // An attempt whose answer was lost, or the last round, may have left us online for a moment.
                Outcome::AlreadyOnline if repeated => {
                    self.try_again(sessions, place, step, Setback::of_answer(Outcome::AlreadyOnline));
                }
                outcome => self.answered(sessions, place, outcome, Step::DialChat),
            },
            _ => return false,
        }
        true
    }

    /// A client's account and character are there.
    fn settled(&mut self, sessions: &mut Sessions, place: usize) {
        self.clients[place].has_account = true;
        self.advance(sessions, place, Step::LogIn);
    }

    fn answered(&mut self, sessions: &mut Sessions, place: usize, outcome: Outcome, next: Step) {
        let step = self.clients[place].step;
        match outcome {
            Outcome::Ok => self.advance(sessions, place, next),
            Outcome::TryAgainLater => {
                self.entry_limiter.put_off(self.on_the_way.len());
                self.try_again(sessions, place, step, Setback::of_answer(outcome));
            }
            outcome => {
                self.turn_away(sessions, place, true, &format!("{} ({})", outcome.name(), step.name()));
            }
        }
    }

    fn granted(&mut self, sessions: &mut Sessions, place: usize, granted: LoginGranted) {
        let Ok(address) = granted.chat_address.parse() else {
            let why = format!("the chat server's address {:?} is not IP:PORT", &*granted.chat_address);
            return self.turn_away(sessions, place, false, &why);
        };
        let known = self.chats.iter().find(|chat| chat.address == address && chat.key == granted.chat_key);
        let server = if let Some(server) = known {
            server.clone()
        } else {
            let EntryPath::Login(login) = &self.plan.way else { return };
            let server = Server::new(address, granted.chat_key, login.endpoint.handshake_timeout);
            self.chats.push(server.clone());
            server
        };
        self.clients[place].grant = Some(Box::new(Grant { server, ticket: granted.ticket }));
        self.advance(sessions, place, Step::DialChat);
    }

    /// The server has let a client in.
    pub(super) fn entered(&mut self, sessions: &mut Sessions, place: usize, answer: &EnterAnswer) {
        let now = self.plan.clock.at(sessions.now());
        let began = self.clients[place].began;
        self.plan.presence.set(self.number(place), answer.user.id);
        self.begin_list(place, now);
        let took = now.saturating_sub(began);
        self.harvest.phases.entry("way_in".into()).or_default().record(took);
        self.totals.way_in.add(took);
        if !self.is_back(place, now) {
            self.harvest.clients.connected += 1;
            self.harvest.last_entry = now;
        }
        self.totals.connected += 1;
        self.on_the_way.remove(&self.deadline(place));
        self.entry_limiter.entered();
        if self.keeps_stays() {
            self.harvest.tally.entered(place, now);
        }
        self.step_took(place, now);
        let client = &mut self.clients[place];
        client.grant = None;
        client.shard = answer.shard;
        // The first page comes by itself.
        (client.step, client.since) = (Step::List, now);
    }

    /// The last page of the user list has come, for the first time.
    pub(super) fn listed(&mut self, sessions: &mut Sessions, place: usize) {
        self.totals.listed += 1;
        self.advance(sessions, place, Step::Inside);
        if self.plan.leaves {
            self.ask_out(sessions, place);
        }
    }

    /// A client's session with the login server has ended.
    pub(super) fn login_closed(&mut self, sessions: &mut Sessions, place: usize, reason: CloseReason) {
        let client = &mut self.clients[place];
        client.login = None;
        // The chat server tells the login server of the entry, which may be faster than telling us.
        if !client.step.is_before_the_door() || reason == CloseReason::HandedOver {
            return;
        }
        // Without the login session the ticket is void: from the beginning.
        if let Some(chat) = client.chat.take() {
            sessions.close(chat, CloseReason::Goodbye, "");
        }
        if client.step == Step::Enter && self.keeps_stays() {
            self.harvest.tally.gone(place, self.plan.clock.at(sessions.now()));
        }
        self.leg_failed(sessions, place, Step::DialLogin, reason);
    }

    pub(super) fn leg_failed(
        &mut self,
        sessions: &mut Sessions,
        place: usize,
        from: Step,
        reason: CloseReason,
    ) {
        let refused = is_refusal(reason);
        if may_pass(reason) {
            self.entry_limiter.put_off(self.on_the_way.len());
            self.try_again(sessions, place, from, Setback::of_connection(reason.name(), refused));
        } else {
            self.turn_away(sessions, place, refused, reason.name());
        }
    }

    /// Has a client go on at `step` after a pause, unless it has tried often enough or its time
    /// will be over; then it is turned away.
    fn try_again(&mut self, sessions: &mut Sessions, place: usize, step: Step, setback: Setback) {
        let Setback { why, refused, tries_max } = setback;
        let now = self.plan.clock.now();
        let client = &mut self.clients[place];
        client.tries = client.tries.saturating_add(1);
        client.repeated = true;
        let pause = PAUSE << (client.tries - 1).min(PAUSE_DOUBLINGS);
        let at = now + self.rng.random_range(pause / 2..=pause);
        let is_late = at >= client.began.saturating_add(self.plan.timeout);
        if is_late || client.tries >= tries_max {
            return self.turn_away(sessions, place, refused, &why);
        }
        client.step = step;
        if client.rests_until == 0 {
            client.rests_until = at;
            self.retries.push(Reverse((at, place as u32)));
        }
        self.totals.retried += 1;
        *self.harvest.clients.retries.entry(why.into_owned()).or_default() += 1;
    }

    /// Has those try again whose pause is over.
    pub(super) fn retry_due(&mut self, sessions: &mut Sessions, now: Nanos) {
        while let Some(Reverse((at, place))) = self.retries.peek().copied() {
            if at > now {
                return;
            }
            self.retries.pop();
            let client = &mut self.clients[place as usize];
            // Another time is that of a pause which ended with its way in.
            if client.rests_until == at {
                client.rests_until = 0;
                self.perform(sessions, place as usize);
            }
        }
    }

    /// Turns away those whose time is over.
    pub(super) fn expire(&mut self, sessions: &mut Sessions, now: Nanos) {
        while let Some((at, place)) = self.on_the_way.first().copied()
            && at <= now
        {
            self.entry_limiter.put_off(self.on_the_way.len());
            let why = format!("{} was not done in time", self.clients[place as usize].step.name());
            self.turn_away(sessions, place as usize, false, &why);
        }
    }

    /// A client that is on its way will not get in.
    fn turn_away(&mut self, sessions: &mut Sessions, place: usize, refused: bool, why: &str) {
        self.on_the_way.remove(&self.deadline(place));
        let keeps_stays = self.keeps_stays();
        let client = &mut self.clients[place];
        if client.step == Step::Enter && client.chat.is_some() && keeps_stays {
            self.harvest.tally.gone(place, self.plan.clock.at(sessions.now()));
        }
        (client.step, client.rests_until) = (Step::Out, 0);
        for session in [client.chat.take(), client.login.take()].into_iter().flatten() {
            sessions.close(session, CloseReason::Goodbye, "");
        }
        if self.stays_away(place, why) {
            // It was in once: it has not been refused.
        } else if refused {
            self.totals.refused += 1;
            self.count_reason("refused", why);
        } else {
            self.totals.failed += 1;
            self.count_reason("failed", why);
        }
        self.round_over(place);
    }

    /// Nobody else gets in, in this round or another.
    pub(super) fn give_up_all(&mut self, sessions: &mut Sessions, why: &str) {
        let ways_in = self.ways_in();
        while let Some(place) = self.returning.pop_front() {
            self.stays_away(place as usize, why);
        }
        let never_begun = (ways_in - std::mem::replace(&mut self.begun, ways_in)) as u64;
        self.again.clear();
        while let Some((_, place)) = self.on_the_way.first().copied() {
            self.turn_away(sessions, place as usize, false, why);
        }
        if never_begun > 0 {
            self.totals.failed += never_begun;
            self.count_reasons("failed", why, never_begun);
        }
    }
}
