//! Newcomers: each enters, asks a question, is answered, and leaves.

use throng_core::SessionId;
use throng_core::net::Sessions;
use throng_core::wire::packets::{EnterRequest, ExitRequest, LoginRequest, PingRequest, TicketBytes};
use throng_core::wire::{CloseReason, Packet};
use throng_harness_model::clock::Nanos;

use super::{HonestApp, Owner};

/// The pause before a newcomer tries again, in nanoseconds.
const RETRY: Nanos = 500_000_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// At the login server.
    LoggingIn,
    /// On its way into the chat, until its ping is answered.
    Entering,
    /// Done, or given up.
    Leaving,
}

/// A newcomer.
#[derive(Debug)]
pub(super) struct Newcomer {
    intended: Nanos,
    step: Step,
    /// The number in the run of its account.
    number: u32,
    chat: Option<SessionId>,
    login: Option<SessionId>,
    ticket: Option<TicketBytes>,
    is_counted: bool,
}

impl Newcomer {
    pub(super) fn is_on_the_way(&self) -> bool {
        self.step != Step::Leaving
    }
}

impl HonestApp {
    /// Begins newcomers, gives up late ones, and lets others try again. Returns the time of the
    /// next call.
    pub(super) fn newcomers_due(&mut self, sessions: &mut Sessions, now: Nanos) -> Option<Nanos> {
        self.expire_newcomers(sessions, now);
        while let Some((at, number)) = self.newcomer_retries.front().copied()
            && at <= now
        {
            self.newcomer_retries.pop_front();
            self.start_newcomer(sessions, number);
        }
        let talk = self.talk;
        let due = talk.map(|talk| talk.newcomer_at(self.newcomers_begun));
        let due = due.zip(talk).filter(|(due, talk)| *due < talk.until).map(|(due, _)| due);
        if let (Some(intended), Some(talk)) = (due, talk)
            && intended <= now
        {
            self.newcomers_begun += 1;
            self.begin_newcomer(sessions, intended, intended >= talk.count_from);
            return Some(now);
        }
        let retry = self.newcomer_retries.front().map(|(at, _)| *at);
        let late = self.newcomers.values().filter(|newcomer| newcomer.is_on_the_way());
        let late = late.map(|newcomer| newcomer.intended + self.settings.enter_timeout).min();
        [due, retry, late].into_iter().flatten().min()
    }

    fn begin_newcomer(&mut self, sessions: &mut Sessions, intended: Nanos, is_counted: bool) {
        let id = self.next_newcomer;
        self.next_newcomer += 1;
        // Accounts are used in turn; with tickets every newcomer is another one.
        let account = self.settings.accounts.map_or(id, |accounts| id % accounts.max(1));
        let number = self.settings.scene.newcomer(account);
        let step = if self.settings.accounts.is_some() { Step::LoggingIn } else { Step::Entering };
        self.heard.newcomers += u64::from(is_counted);
        let newcomer = Newcomer { intended, step, number, chat: None, login: None, ticket: None, is_counted };
        self.newcomers.insert(id, newcomer);
        self.start_newcomer(sessions, id);
    }

    /// Connects a newcomer to the server that its step needs.
    fn start_newcomer(&mut self, sessions: &mut Sessions, id: u32) {
        let scene = self.settings.scene.clone();
        let Some(newcomer) = self.newcomers.get_mut(&id).filter(|newcomer| newcomer.is_on_the_way()) else {
            return;
        };
        let (server, owner) = match (newcomer.step, &scene.login) {
            (Step::LoggingIn, Some(login)) => (login, Owner::LoggingIn(id)),
            _ => (&scene.chat, Owner::Newcomer(id)),
        };
        // A login session that is still there asks again.
        if let (Owner::LoggingIn(_), Some(session)) = (owner, newcomer.login) {
            return self.login_opened(sessions, session, id);
        }
        match sessions.dial(server.address, &server.endpoint, 0) {
            Ok(session) => {
                match owner {
                    Owner::LoggingIn(_) => newcomer.login = Some(session),
                    _ => newcomer.chat = Some(session),
                }
                self.owners.insert(session, owner);
            }
            Err(error) => self.try_later(id, &format!("cannot dial ({error})")),
        }
    }

    fn try_later(&mut self, id: u32, why: &str) {
        self.count_reason(format!("newcomer put off: {why}"));
        self.newcomer_retries.push_back((self.now() + RETRY, id));
    }

    pub(super) fn login_opened(&mut self, sessions: &mut Sessions, session: SessionId, id: u32) {
        let Some(newcomer) = self.newcomers.get(&id) else { return };
        let identities = &self.settings.scene.identities;
        let request = LoginRequest {
            id: identities.id(newcomer.number),
            password: identities.password(newcomer.number),
        };
        sessions.send(session, &request.into());
    }

    pub(super) fn login_packet(
        &mut self,
        sessions: &mut Sessions,
        session: SessionId,
        id: u32,
        packet: Packet,
    ) {
        let Some(newcomer) = self.newcomers.get_mut(&id).filter(|newcomer| newcomer.is_on_the_way()) else {
            return sessions.close(session, CloseReason::Goodbye, "");
        };
        match packet {
            Packet::LoginGranted(granted) => {
                newcomer.ticket = Some(granted.ticket);
                newcomer.step = Step::Entering;
                self.start_newcomer(sessions, id);
            }
            Packet::LoginRefused(refused) => self.try_later(id, refused.outcome.name()),
            _ => {}
        }
    }

    pub(super) fn newcomer_opened(&mut self, sessions: &mut Sessions, session: SessionId, id: u32) {
        let Some(newcomer) = self.newcomers.get_mut(&id) else { return };
        let minted = || self.settings.scene.ticket(newcomer.number);
        let Some(ticket) = newcomer.ticket.take().or_else(minted) else { return };
        sessions.send(session, &EnterRequest { ticket }.into());
        sessions.send(session, &PingRequest { token: 0 }.into());
    }

    pub(super) fn newcomer_packet(
        &mut self,
        sessions: &mut Sessions,
        session: SessionId,
        id: u32,
        packet: &Packet,
    ) {
        let now = self.now();
        let Some(newcomer) = self.newcomers.get_mut(&id) else { return };
        if matches!(packet, Packet::PongAnswer(_)) && newcomer.step == Step::Entering {
            newcomer.step = Step::Leaving;
            if newcomer.is_counted {
                self.heard.entered += 1;
                self.heard.entering.record(now.saturating_sub(newcomer.intended));
            }
            sessions.send(session, &ExitRequest {}.into());
        }
    }

    /// A session of a newcomer has ended: with the login server, or with the chat server.
    pub(super) fn newcomer_closed(
        &mut self,
        sessions: &mut Sessions,
        id: u32,
        reason: CloseReason,
        is_login: bool,
    ) {
        let Some(newcomer) = self.newcomers.get_mut(&id) else { return };
        if is_login {
            newcomer.login = None;
        } else {
            newcomer.chat = None;
        }
        match (newcomer.step, is_login) {
            (Step::Leaving, _) => {
                if let (false, Some(login)) = (is_login, newcomer.login) {
                    sessions.close(login, CloseReason::Goodbye, "");
                }
                if newcomer.chat.is_none() && newcomer.login.is_none() {
                    self.newcomers.remove(&id);
                }
            }
            // The login server has heard of the entry before the answer came.
            (Step::Entering, true) => {}
            (Step::Entering | Step::LoggingIn, _) => {
                // A ticket is good once, so a player starts over.
                if self.settings.accounts.is_some() {
                    newcomer.step = Step::LoggingIn;
                }
                self.try_later(id, reason.name());
            }
        }
    }

    fn expire_newcomers(&mut self, sessions: &mut Sessions, now: Nanos) {
        let timeout = self.settings.enter_timeout;
        let is_late = |newcomer: &Newcomer| newcomer.is_on_the_way() && newcomer.intended + timeout <= now;
        let late: Vec<u32> =
            self.newcomers.iter().filter(|(_, newcomer)| is_late(newcomer)).map(|(id, _)| *id).collect();
        for id in late {
            let Some(newcomer) = self.newcomers.get_mut(&id) else { continue };
            let was = newcomer.step;
            newcomer.step = Step::Leaving;
            let (is_counted, sessions_of) = (newcomer.is_counted, [newcomer.chat, newcomer.login]);
            for session in sessions_of.into_iter().flatten() {
                sessions.close(session, CloseReason::Goodbye, "");
            }
            if sessions_of == [None, None] {
                self.newcomers.remove(&id);
            }
            if is_counted {
                let step = if was == Step::LoggingIn { "at the login server" } else { "at the chat server" };
                self.count_reason(format!("newcomer late: {step}"));
            }
        }
    }

    /// Counts the newcomers that are still on their way as late.
    pub(super) fn give_up_newcomers(&mut self) {
        let on_the_way = self.newcomers.values_mut().filter(|newcomer| newcomer.is_on_the_way());
        let mut late = 0;
        for newcomer in on_the_way {
            late += u64::from(std::mem::replace(&mut newcomer.is_counted, false));
        }
        if late > 0 {
            *self.heard.reasons.entry("newcomer late: the phase was over".into()).or_default() += late;
        }
    }
}
