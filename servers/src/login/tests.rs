//! Where a login can break off, and what is given back then.

use super::*;
use crate::role_fixture::{CLAIM, KEY, RoleFixture, character, login_request, now_ms, sent};
use throng_core::wire::List;
use throng_core::wire::packets::{
    ChatNotifyLogin, DbCheckPassword, DbCheckPasswordAnswer, DbClaimRevoked, DbClaimsSynced, DbHeldClaims,
    DbReleaseClaim, LoginRequest, Role as Name,
};
use throng_core::wire::packets::{LoginNotifyEntered, LoginNotifyLoaded};

const PATIENCE: Duration = Duration::from_millis(1500);
const LIFETIME: Duration = Duration::from_secs(5);
/// The login server's peers, in their order.
const PEERS: [Name; 2] = [Name::Chat, Name::DbAgent];

/// A login server with a DB agent, a chat server and a client.
struct Scene {
    stand: RoleFixture<LoginRole>,
    agent: SessionId,
    chat: SessionId,
    client: SessionId,
    /// Lists sent so far.
    lists: u64,
}

impl Scene {
    fn new() -> Self {
        let settings = LoginSettings {
            take_over: false,
            ticket_lifetime: LIFETIME,
            request_timeout: PATIENCE,
            cluster: ClusterKey::from_bytes(KEY),
        };
        let mut stand =
            RoleFixture::new(Name::Login, &PEERS, |terminals| LoginRole::new(settings, terminals, now_ms));
        let chat = stand.link(Name::Chat, Some(0)).0;
        let agent = stand.agent(1);
        let client = stand.client();
        Self { stand, agent, chat, client, lists: 1 }
    }

    /// The client has asked.
    fn asked() -> Self {
        let mut scene = Self::new();
        let lines = scene.stand.packet(scene.client, login_request());
        let LoginRequest { id, password } = login_request();
        let check = DbCheckPassword { request: 1, id, password, take_over: false };
        assert_eq!(lines, [sent(scene.agent, check)]);
        scene
    }

    /// The password was right, and the chat server has been told.
    fn handed_over() -> Self {
        let mut scene = Self::asked();
        let lines = scene.password_is_right();
        assert_eq!(lines, [sent(scene.chat, ChatNotifyLogin { request: 2, claim: CLAIM })]);
        scene
    }

    /// The client has its ticket.
    fn granted() -> Self {
        let mut scene = Self::handed_over();
        let lines = scene.loaded(Outcome::Ok);
        assert!(lines.len() == 1 && lines[0].contains("LoginGranted"), "{lines:?}");
        scene
    }

    fn password_is_right(&mut self) -> Vec<String> {
        let answer = DbCheckPasswordAnswer { request: 1, outcome: Outcome::Ok, claim: CLAIM };
        self.stand.packet(self.agent, answer)
    }

    fn loaded(&mut self, outcome: Outcome) -> Vec<String> {
        let character = (outcome == Outcome::Ok).then(character);
        self.stand.packet(self.chat, LoginNotifyLoaded { request: 2, outcome, claim: CLAIM, character })
    }

    fn refusal(&self, outcome: Outcome) -> String {
        sent(self.client, LoginRefused { outcome })
    }

    fn release(&self) -> String {
        sent(self.agent, DbReleaseClaim { claim: CLAIM })
    }

    fn cancel(&self) -> String {
        sent(self.chat, ChatCancelLogin { claim: CLAIM })
    }

    /// What the DB agent is told that this server holds, when it comes back.
    fn held(&mut self) -> Vec<Claim> {
        self.stand.link_gone(self.agent);
        let (agent, lines) = self.stand.link(Name::DbAgent, Some(1));
        self.agent = agent;
        self.lists += 1;
        let list = self.lists;
        let list =
            |claims| sent(agent, DbHeldClaims { list, claims: List::new(claims).unwrap(), last: true });
        let held = if lines == [list(vec![CLAIM])] { vec![CLAIM] } else { Vec::new() };
        assert_eq!(lines, [list(held.clone())]);
        held
    }
}

#[test]
fn a_client_that_leaves_while_its_password_is_checked_is_not_online() {
    let mut scene = Scene::asked();
    assert!(scene.stand.client_gone(scene.client).is_empty());
    assert_eq!(scene.password_is_right(), [scene.release()]);
    assert_eq!(scene.held(), []);
}

#[test]
fn an_answer_that_comes_too_late_is_undone() {
    let mut scene = Scene::asked();
    assert_eq!(scene.stand.pass(PATIENCE), [scene.refusal(Outcome::TryAgainLater)]);
    assert_eq!(scene.password_is_right(), [scene.release()]);
    assert_eq!(scene.held(), []);

    let mut scene = Scene::handed_over();
    let wanted = [scene.cancel(), scene.release(), scene.refusal(Outcome::TryAgainLater)];
    assert_eq!(scene.stand.pass(PATIENCE), wanted);
    assert!(scene.loaded(Outcome::Ok).is_empty());
    assert_eq!(scene.held(), []);
}

#[test]
fn a_client_that_leaves_during_the_hand_over_is_called_back() {
    for outcome in [Outcome::Ok, Outcome::ClaimLost] {
        let mut scene = Scene::handed_over();
        assert!(scene.stand.client_gone(scene.client).is_empty());
        assert_eq!(scene.held(), [CLAIM]);
        let lines = scene.loaded(outcome);
        assert_eq!(lines[0], scene.cancel());
        assert_eq!(scene.held(), []);
    }
}

#[test]
fn every_failure_of_the_hand_over_is_told_and_gives_the_claim_back() {
    for outcome in [Outcome::NoCharacter, Outcome::ClaimLost, Outcome::TryAgainLater, Outcome::InternalError]
    {
        let mut scene = Scene::handed_over();
        assert_eq!(scene.loaded(outcome), [scene.cancel(), scene.release(), scene.refusal(outcome)]);
        assert_eq!(scene.held(), []);
        // It may ask again.
        assert_eq!(
            scene.stand.packet(scene.client, login_request()),
            [scene.refusal(Outcome::TryAgainLater)]
        );
    }
}

#[test]
fn a_lost_link_is_answered_at_once_whatever_was_under_way() {
    let mut scene = Scene::asked();
    assert_eq!(scene.stand.link_gone(scene.agent), [scene.refusal(Outcome::TryAgainLater)]);
    assert!(scene.password_is_right().is_empty(), "the link is gone, and what it says is nobody's");

    let mut scene = Scene::handed_over();
    let lines = scene.stand.link_gone(scene.chat);
    assert_eq!(lines, [scene.cancel(), scene.release(), scene.refusal(Outcome::TryAgainLater)]);
    assert_eq!(scene.held(), []);
}

#[test]
fn a_hand_over_survives_the_loss_of_the_db_agent() {
    let mut scene = Scene::handed_over();
    assert_eq!(scene.held(), [CLAIM]);
    assert!(scene.loaded(Outcome::Ok)[0].contains("LoginGranted"));
    assert_eq!(scene.held(), []);
}

/// The list may reach the DB agent after the chat server has given the claim up again.
#[test]
fn a_claim_that_moved_on_while_the_lists_were_compared_is_released_for_certain() {
    let mut scene = Scene::handed_over();
    scene.stand.link_gone(scene.agent);
    scene.agent = scene.stand.link(Name::DbAgent, Some(1)).0;
    scene.loaded(Outcome::Ok);
    assert_eq!(scene.stand.packet(scene.agent, DbClaimsSynced {}), [scene.release()]);
}

#[test]
fn a_ticket_is_void_when_its_client_leaves_misbehaves_or_waits_too_long() {
    let mut scene = Scene::granted();
    assert_eq!(scene.stand.client_gone(scene.client), [scene.cancel()]);

    let mut scene = Scene::granted();
    let closed = format!("{} closed: PacketNotAllowed", scene.client);
    assert_eq!(scene.stand.packet(scene.client, login_request()), [closed, scene.cancel()]);
    assert!(scene.stand.client_gone(scene.client).is_empty());

    let mut scene = Scene::granted();
    let closed = format!("{} closed: TicketExpired", scene.client);
    assert_eq!(scene.stand.pass(LIFETIME), [scene.cancel(), closed]);
    assert!(scene.stand.client_gone(scene.client).is_empty());

    let mut scene = Scene::granted();
    let closed = format!("{} closed: HandedOver", scene.client);
    assert_eq!(scene.stand.packet(scene.chat, LoginNotifyEntered { claim: CLAIM }), [closed]);
    assert!(scene.stand.client_gone(scene.client).is_empty());
    assert!(scene.stand.pass(LIFETIME).is_empty());
}

#[test]
fn a_claim_that_was_revoked_is_not_named_again() {
    let mut scene = Scene::handed_over();
    assert_eq!(scene.stand.packet(scene.agent, DbClaimRevoked { claim: CLAIM }), [scene.release()]);
    assert_eq!(scene.held(), []);
}

#[test]
fn without_a_db_agent_that_has_compared_or_a_chat_server_nobody_waits() {
    let mut scene = Scene::new();
    scene.stand.link_gone(scene.agent);
    let refused = [scene.refusal(Outcome::TryAgainLater)];
    assert_eq!(scene.stand.packet(scene.client, login_request()), refused);
    scene.stand.link(Name::DbAgent, Some(1));
    assert_eq!(scene.stand.packet(scene.client, login_request()), refused);

    let mut scene = Scene::new();
    scene.stand.link_gone(scene.chat);
    assert_eq!(scene.stand.packet(scene.client, login_request()), refused);
}

/// Once, the look whether there is a chat server at all took a turn too: with two of them, one got every login.
#[test]
fn chat_servers_take_turns() {
    let mut scene = Scene::new();
    let second = scene.stand.link(Name::Chat, Some(0)).0;
    let mut told = Vec::new();
    for request in [1, 3, 5, 7] {
        let client = scene.stand.client();
        scene.stand.packet(client, login_request());
        let answer = DbCheckPasswordAnswer { request, outcome: Outcome::Ok, claim: CLAIM };
        told.extend(scene.stand.packet(scene.agent, answer));
    }
    let of = |chat: SessionId| told.iter().filter(|line| line.starts_with(&format!("{chat} <-"))).count();
    assert_eq!((of(scene.chat), of(second)), (2, 2), "{told:?}");
}
