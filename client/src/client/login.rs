//! The login server's side of a client: sign-up, character, login.

use std::time::{Duration, Instant};

use throng_core::wire::packets::{
    CreateCharacterRequest, EnterRequest, IdText, LoginGranted, LoginRequest, Outcome, PasswordText,
    RequestedName, SignUpRequest,
};
use throng_core::wire::{CloseReason, Packet};

use super::{Attempts, ChatLine, ChatServer, Client, Conn, Phase};
use crate::event::{CommandError, Event, LoginStep};
use crate::line::Received;

/// Time within which servers know that a player has left. A login before may find it online still.
const OFFLINE_WITHIN: Duration = Duration::from_secs(5);

/// A request to the login server.
#[derive(Debug, Clone)]
pub(super) struct Ask {
    pub(super) step: LoginStep,
    pub(super) id: IdText,
    pub(super) password: PasswordText,
    /// Name of the character to create.
    pub(super) name: RequestedName,
}

impl Ask {
    fn packet(&self) -> Packet {
        let (id, password) = (self.id.clone(), self.password.clone());
        match self.step {
            LoginStep::SignUp => SignUpRequest { id, password }.into(),
            LoginStep::CreateCharacter => {
                CreateCharacterRequest { id, password, name: self.name.clone() }.into()
            }
            LoginStep::LogIn => LoginRequest { id, password }.into(),
        }
    }
}

/// State of the login server's side. The session stays open between requests, and until the chat
/// server has accepted the ticket.
#[derive(Default)]
pub(super) struct Login {
    pub(super) conn: Option<Conn>,
    /// The request that waits for the handshake or for its answer.
    ask: Option<Ask>,
    /// The last login, to be repeated.
    last: Option<Ask>,
    /// True from LoginGranted on.
    is_granted: bool,
}

impl Login {
    /// Forgets requests and passwords.
    pub(super) fn forget(&mut self) {
        (self.ask, self.last) = (None, None);
    }

    pub(super) fn can_repeat(&self) -> bool {
        self.last.is_some()
    }
}

impl Client {
    pub(super) fn begin_ask(&mut self, ask: Ask, now: Instant) -> Result<(), CommandError> {
        if self.login.ask.is_some() {
            return Err(CommandError::Busy);
        }
        // The session of an earlier login takes no more requests.
        if std::mem::take(&mut self.login.is_granted)
            && let Some(conn) = self.login.conn.take()
        {
            self.hang_up(conn, Some(CloseReason::Goodbye), now);
        }
        if let Some(conn) = &mut self.login.conn {
            conn.line.send(&ask.packet(), now);
        } else {
            let (address, key) = (self.settings.server.clone(), self.settings.server_key);
            let conn = self.connect(&address, key, now).map_err(CommandError::Connection)?;
            self.login.conn = Some(conn);
        }
        if ask.step == LoginStep::LogIn {
            self.login.last = Some(ask.clone());
        }
        self.login.ask = Some(ask);
        Ok(())
    }

    pub(super) fn try_to_log_in_again(&mut self, now: Instant) {
        let (Some(again), Some(ask)) = (&mut self.again, self.login.last.clone()) else { return };
        again.next = None;
        if let Err(error) = self.begin_ask(ask, now) {
            debug_assert!(matches!(error, CommandError::Connection(_)), "{error}");
            self.again = self.again.map(|again| self.failed(again, now));
        }
    }

    pub(super) fn login_received(&mut self, received: Received, now: Instant) {
        match received {
            Received::Opened => {
                if let (Some(conn), Some(ask)) = (&mut self.login.conn, &self.login.ask) {
                    conn.line.send(&ask.packet(), now);
                }
            }
            Received::Closed(reason) => {
                if let Some(conn) = self.login.conn.take() {
                    self.hang_up(conn, None, now);
                }
                self.login_lost(reason, now);
            }
            Received::Packet(packet) => self.login_packet(packet, now),
        }
    }

    fn login_packet(&mut self, packet: Packet, now: Instant) {
        let step = self.login.ask.as_ref().map(|ask| ask.step);
        match (packet, step) {
            (Packet::LoginQueued(queued), Some(_)) => {
                let wait = Duration::from_millis(queued.wait_ms.into());
                self.tell(Event::Queued { position: queued.position, wait });
            }
            (Packet::SignUpAnswer(answer), Some(LoginStep::SignUp)) => {
                self.answered(answer.outcome, Event::SignedUp, now);
            }
            (Packet::CreateCharacterAnswer(answer), Some(LoginStep::CreateCharacter)) => {
                self.answered(answer.outcome, Event::CharacterCreated, now);
            }
            (Packet::LoginRefused(refused), Some(LoginStep::LogIn)) => self.refused(refused.outcome, now),
            (Packet::LoginGranted(granted), Some(LoginStep::LogIn)) => self.granted(granted, now),
            (Packet::TooFast(it), Some(_)) => {
                self.login.ask = None;
                let wait = Duration::from_millis(it.wait_ms.into());
                match &mut self.again {
                    Some(again) => again.next = Some(now + wait),
                    None => self.tell(Event::TooFast { wait }),
                }
            }
            _ => {
                if let Some(id) = self.login.conn.as_ref().map(|conn| conn.id) {
                    self.violated(id, CloseReason::PacketNotAllowed, now);
                }
            }
        }
    }

    fn answered(&mut self, outcome: Outcome, done: Event, now: Instant) {
        if outcome == Outcome::Ok {
            self.login.ask = None;
            self.tell(done);
        } else {
            self.refused(outcome, now);
        }
    }

    fn refused(&mut self, outcome: Outcome, now: Instant) {
        let Some(ask) = self.login.ask.take() else { return };
        // The place that was lost may still count as online, and servers come back.
        let may_pass = matches!(
            outcome,
            Outcome::TryAgainLater | Outcome::AlreadyOnline | Outcome::ClaimLost | Outcome::InternalError
        );
        let mut again = self.again.take();
        if let Some(until) = self.left_at.take().map(|left_at| left_at + OFFLINE_WITHIN)
            && (ask.step, outcome) == (LoginStep::LogIn, Outcome::AlreadyOnline)
        {
            again.get_or_insert(Attempts { until: Some(until), ..self.attempts(now) });
        }
        match again.filter(|again| may_pass && again.until.is_none_or(|until| now < until)) {
            Some(again) => self.again = Some(self.failed(again, now)),
            None => self.tell(Event::Refused { step: ask.step, outcome }),
        }
    }

    fn granted(&mut self, granted: LoginGranted, now: Instant) {
        (self.login.ask, self.login.is_granted) = (None, true);
        let server = ChatServer { address: granted.chat_address.to_string(), key: granted.chat_key };
        match self.connect(&server.address, server.key, now) {
            Ok(conn) => {
                let phase = Phase::Opening(EnterRequest { ticket: granted.ticket }.into());
                self.chat = Some(ChatLine { conn, phase });
            }
            Err(reason) => self.chat_lost(reason, now),
        }
        self.server = Some(server);
    }

    pub(super) fn login_lost(&mut self, reason: CloseReason, now: Instant) {
        self.login.is_granted = false;
        // Without a request it was an idle session, or one that has done its work.
        if self.login.ask.take().is_none() {
            return;
        }
        match self.again {
            Some(again) => self.again = Some(self.failed(again, now)),
            None => self.tell(Event::Unreachable { reason }),
        }
    }
}
