//! The steps of a player: sign up, create a character, log in, enter.

use throng_core::wire::packets::{
    CreateCharacterAnswer, CreateCharacterRequest, EnterAnswer, ExitAnswer, ExitRequest, IdText,
    LoginGranted, LoginRefused, LoginRequest, Outcome, PasswordText, RequestedName, SignUpAnswer,
    SignUpRequest, UserList,
};
use throng_core::wire::{CloseReason, Packet};

use super::{Client, End, ServerAddr, wait_for};

/// An account and its password.
#[derive(Debug, Clone)]
pub(crate) struct Player {
    pub(crate) id: String,
    pub(crate) password: String,
}

/// A player with a ticket, and the session with the login server that it keeps until it has
/// entered.
pub(crate) struct TicketHolder {
    pub(crate) login: Client,
    pub(crate) granted: LoginGranted,
}

impl Player {
    pub(crate) fn named(id: &str) -> Self {
        Self { id: id.into(), password: format!("password of {id}") }
    }

    /// Creates an account, and a character with the same name. Tries again when it is told to, as
    /// on a busy machine.
    pub(crate) fn create(login: ServerAddr, id: &str) -> Self {
        let player = Self::named(id);
        let mut client = Client::connect(login);
        let tried = |outcome| (outcome != Outcome::TryAgainLater).then_some(outcome);
        let signed_up = wait_for("an account is made", || tried(player.sign_up(&mut client)));
        assert_eq!(signed_up, Outcome::Ok);
        let made = wait_for("a character is made", || tried(player.create_character(&mut client, id)));
        assert_eq!(made, Outcome::Ok);
        player
    }

    pub(crate) fn sign_up(&self, login: &mut Client) -> Outcome {
        self.send_sign_up(login);
        Self::signed_up(login)
    }

    /// Sends a sign-up request without waiting for its answer.
    pub(crate) fn send_sign_up(&self, login: &mut Client) {
        login.send(SignUpRequest { id: self.id(), password: self.password() });
    }

    /// Receives the answer to a sign-up request.
    pub(crate) fn signed_up(login: &mut Client) -> Outcome {
        login.expect::<SignUpAnswer>().outcome
    }

    pub(crate) fn create_character(&self, login: &mut Client, name: &str) -> Outcome {
        let name = RequestedName::new(name).unwrap();
        let request = CreateCharacterRequest { id: self.id(), password: self.password(), name };
        login.ask::<CreateCharacterAnswer>(request).outcome
    }

    pub(crate) fn request(&self) -> LoginRequest {
        LoginRequest { id: self.id(), password: self.password() }
    }

    /// Logs in over a session, which stays open.
    pub(crate) fn log_in_over(&self, login: &mut Client) -> Result<LoginGranted, Outcome> {
        login.send(self.request());
        answer(login)
    }

    /// Logs in over a new session.
    pub(crate) fn log_in(&self, login: ServerAddr) -> Result<TicketHolder, Outcome> {
        let mut client = Client::connect(login);
        self.log_in_over(&mut client).map(|granted| TicketHolder { login: client, granted })
    }

    /// Logs in as soon as the account is not online.
    pub(crate) fn log_in_when_free(&self, login: ServerAddr) -> TicketHolder {
        wait_for("the account is free", || match self.log_in(login) {
            Ok(ticket_holder) => Some(ticket_holder),
            Err(Outcome::AlreadyOnline) => None,
            Err(other) => panic!("{other:?}"),
        })
    }

    /// Logs in as soon as the account is not online, and enters the chat.
    pub(crate) fn enter(&self, login: ServerAddr) -> Client {
        self.log_in_when_free(login).enter().0
    }

    fn id(&self) -> IdText {
        IdText::new(self.id.as_str()).unwrap()
    }

    fn password(&self) -> PasswordText {
        PasswordText::new(self.password.as_str()).unwrap()
    }
}

/// Receives the answer to a login request.
pub(crate) fn answer(login: &mut Client) -> Result<LoginGranted, Outcome> {
    match login.receive() {
        Ok(Packet::LoginGranted(granted)) => Ok(granted),
        Ok(Packet::LoginRefused(LoginRefused { outcome })) => Err(outcome),
        other => panic!("no answer to a login request: {other:?}"),
    }
}

impl TicketHolder {
    /// Returns the address of the chat server for which the ticket is valid.
    pub(crate) fn chat(&self) -> ServerAddr {
        ServerAddr { address: self.granted.chat_address.parse().unwrap(), key: self.granted.chat_key }
    }

    /// Enters the chat. The login server then closes its session.
    pub(crate) fn enter(mut self) -> (Client, EnterAnswer, UserList) {
        let entered = Client::enter(self.chat(), self.granted.ticket.clone());
        assert_eq!(self.login.end(), End::Told(CloseReason::HandedOver));
        entered
    }
}

/// Leaves the chat in order.
pub(crate) fn exit(mut chat: Client) {
    chat.send(ExitRequest {});
    chat.skip_to::<ExitAnswer>();
    assert_eq!(chat.end(), End::Told(CloseReason::Goodbye));
}
