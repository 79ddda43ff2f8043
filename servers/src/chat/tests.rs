//! Where an entry into the chat can break off, and what is given back then.

use super::*;
use crate::role_fixture::{CHAT_KEY, CLAIM, KEY, RoleFixture, character, now_ms, sent};
use throng_core::config::Config;
use throng_core::crypto::{ClusterKey, Ticket};
use throng_core::wire::List;
use throng_core::wire::packets::{
    ChatCancelLogin, ChatNotifyLogin, ChatRequest, DbClaimRevoked, DbHeldClaims, DbLoadCharacter,
    DbLoadCharacterAnswer, DbReleaseClaim, EnterRequest, LoginNotifyEntered, PingRequest, Role as Name,
    Scope, UsersChanged,
};
use throng_core::wire::{Packet, Text};

mod model;
mod order;

const PATIENCE: Duration = Duration::from_millis(1500);
const LIFETIME: Duration = Duration::from_secs(5);

/// A chat server with a DB agent and a login server.
struct Scene {
    stand: RoleFixture<ChatRole>,
    agent: SessionId,
    login: SessionId,
    /// Lists sent so far.
    lists: u64,
}

impl Scene {
    fn new() -> Self {
        let settings = ChatSettings {
            take_over: false,
            ticket_lifetime: LIFETIME,
            request_timeout: PATIENCE,
            ..ChatSettings::of(&Config::default())
        };
        let mut stand = RoleFixture::new(Name::Chat, &[Name::DbAgent], |terminals| {
            let admission = Admission::new(ClusterKey::from_bytes(KEY), CHAT_KEY, now_ms());
            ChatRole::new(settings, admission, terminals, now_ms)
        });
        let agent = stand.agent(0);
        let login = stand.link(Name::Login, None).0;
        Self { stand, agent, login, lists: 1 }
    }

    /// A login is announced, and its character is asked for.
    fn loading() -> Self {
        let mut scene = Self::new();
        let lines = scene.stand.packet(scene.login, ChatNotifyLogin { request: 7, claim: CLAIM });
        assert_eq!(lines, [sent(scene.agent, DbLoadCharacter { request: 1, claim: CLAIM })]);
        scene
    }

    /// The login may come.
    fn expecting() -> Self {
        let mut scene = Self::loading();
        assert_eq!(scene.loaded(Outcome::Ok), [scene.told(Outcome::Ok)]);
        scene
    }

    /// It is in.
    fn entered() -> (Self, SessionId) {
        let mut scene = Self::expecting();
        let client = scene.stand.client();
        let lines = scene.enter(client, CLAIM.id);
        assert!(lines.iter().any(|line| line.contains("EnterAnswer")), "{lines:?}");
        assert_eq!(lines.last(), Some(&sent(scene.login, LoginNotifyEntered { claim: CLAIM })));
        (scene, client)
    }

    fn loaded(&mut self, outcome: Outcome) -> Vec<String> {
        let character = (outcome == Outcome::Ok).then(character);
        let answer = DbLoadCharacterAnswer { request: 1, outcome, claim: CLAIM, character };
        self.stand.packet(self.agent, answer)
    }

    fn enter(&mut self, client: SessionId, claim: u64) -> Vec<String> {
        self.stand.packet(client, enter_request(claim))
    }

    /// What the login server is told.
    fn told(&self, outcome: Outcome) -> String {
        let character = (outcome == Outcome::Ok).then(character);
        sent(self.login, LoginNotifyLoaded { request: 7, outcome, claim: CLAIM, character })
    }

    fn release(&self) -> String {
        sent(self.agent, DbReleaseClaim { claim: CLAIM })
    }

    /// Nobody comes in by the login's ticket.
    fn refuses_its_ticket(&mut self) {
        let client = self.stand.client();
        assert_eq!(self.enter(client, CLAIM.id), [format!("{client} closed: TicketUsed")]);
    }

    /// What the DB agent is told that this server holds, when it comes back.
    fn held(&mut self) -> Vec<Claim> {
        self.stand.link_gone(self.agent);
        let (agent, lines) = self.stand.link(Name::DbAgent, Some(0));
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

fn enter_request(claim: u64) -> EnterRequest {
    ticket(CLAIM.account, claim, "Alice")
}

/// A ticket of nobody's login has the claim 0.
fn ticket(account: u64, claim: u64, name: &str) -> EnterRequest {
    let (issued_ms, expires_ms) = (now_ms(), now_ms() + 5000);
    let name = Text::truncated(name);
    let ticket = Ticket { account, claim, character: 1, name, chat_key: CHAT_KEY, issued_ms, expires_ms };
    EnterRequest { ticket: ticket.mint(&ClusterKey::from_bytes(KEY)).unwrap() }
}

#[test]
fn a_login_that_is_cancelled_leaves_nothing_at_any_step() {
    let cancel = ChatCancelLogin { claim: CLAIM };
    let mut scene = Scene::loading();
    assert!(scene.stand.packet(scene.login, cancel.clone()).is_empty());
    assert_eq!(scene.loaded(Outcome::Ok), [scene.release()]);
    scene.refuses_its_ticket();
    assert_eq!(scene.held(), []);

    let mut scene = Scene::expecting();
    assert_eq!(scene.stand.packet(scene.login, cancel.clone()), [scene.release()]);
    scene.refuses_its_ticket();
    assert_eq!(scene.held(), []);

    // Too late: who is in, is in.
    let (mut scene, _) = Scene::entered();
    assert!(scene.stand.packet(scene.login, cancel).is_empty());
    assert_eq!(scene.held(), [CLAIM]);
}

#[test]
fn an_answer_that_comes_too_late_is_undone() {
    let mut scene = Scene::loading();
    assert_eq!(scene.stand.pass(PATIENCE), [scene.release(), scene.told(Outcome::TryAgainLater)]);
    assert_eq!(scene.loaded(Outcome::Ok), [scene.release()]);
    scene.refuses_its_ticket();
    assert_eq!(scene.held(), []);
}

#[test]
fn failures_are_passed_on_and_hold_nothing() {
    for outcome in [Outcome::NoCharacter, Outcome::ClaimLost, Outcome::TryAgainLater, Outcome::InternalError]
    {
        let mut scene = Scene::loading();
        assert_eq!(scene.loaded(outcome), [scene.told(outcome)]);
        scene.refuses_its_ticket();
        assert_eq!(scene.held(), []);
    }
}

#[test]
fn the_loss_of_the_db_agent_hurts_only_what_was_under_way() {
    let mut scene = Scene::loading();
    assert_eq!(scene.stand.link_gone(scene.agent), [scene.told(Outcome::TryAgainLater)]);
    assert!(scene.loaded(Outcome::Ok).is_empty(), "the link is gone, and what it says is nobody's");

    let mut scene = Scene::expecting();
    assert_eq!(scene.held(), [CLAIM]);
    let client = scene.stand.client();
    assert!(scene.enter(client, CLAIM.id).len() > 1);
    assert_eq!(scene.held(), [CLAIM]);
    // Nobody to tell: the next list does.
    scene.stand.link_gone(scene.agent);
    let lines = scene.stand.client_gone(client);
    assert!(lines.iter().all(|line| !line.contains("DbReleaseClaim")), "{lines:?}");
    assert_eq!(scene.held(), []);
}

#[test]
fn the_loss_of_a_login_server_voids_its_tickets() {
    let mut scene = Scene::loading();
    assert!(scene.stand.link_gone(scene.login).is_empty());
    assert_eq!(scene.loaded(Outcome::Ok), [scene.release()]);
    scene.refuses_its_ticket();

    let mut scene = Scene::expecting();
    assert_eq!(scene.stand.link_gone(scene.login), [scene.release()]);
    scene.refuses_its_ticket();

    let (mut scene, _) = Scene::entered();
    assert!(scene.stand.link_gone(scene.login).is_empty());
    assert_eq!(scene.held(), [CLAIM]);
}

#[test]
fn a_ticket_that_nobody_brings_is_given_up() {
    let mut scene = Scene::expecting();
    assert!(scene.stand.pass(LIFETIME).is_empty(), "it was made later than it was expected");
    assert_eq!(scene.stand.pass(PATIENCE), [scene.release()]);
    scene.refuses_its_ticket();
}

#[test]
fn a_revoked_claim_ends_what_rests_on_it_at_any_step() {
    let revoked = DbClaimRevoked { claim: CLAIM };
    // The word that it came over is still on its way.
    let mut scene = Scene::loading();
    let lines = scene.stand.packet(scene.agent, revoked.clone());
    assert_eq!(lines, [scene.release(), scene.told(Outcome::ClaimLost)]);
    assert_eq!(scene.loaded(Outcome::Ok), [scene.release()]);
    scene.refuses_its_ticket();
    assert_eq!(scene.held(), []);

    let mut scene = Scene::expecting();
    assert_eq!(scene.stand.packet(scene.agent, revoked.clone()), [scene.release()]);
    scene.refuses_its_ticket();

    let (mut scene, client) = Scene::entered();
    let lines = scene.stand.packet(scene.agent, revoked.clone());
    assert_eq!(lines.last(), Some(&format!("{client} closed: LoggedInElsewhere")));
    assert_eq!(lines.iter().filter(|line| **line == scene.release()).count(), 1, "{lines:?}");
    // The end of the session finds nothing more to do.
    assert!(scene.stand.client_gone(client).is_empty());
}

#[test]
fn a_user_is_released_once_however_it_leaves() {
    let ends: [fn(&mut Scene, SessionId) -> Vec<String>; 4] = [
        |scene, client| scene.stand.client_gone(client),
        |scene, client| scene.stand.packet(client, throng_core::wire::packets::ExitRequest {}),
        |scene, client| scene.stand.packet(client, throng_core::wire::packets::ExitAnswer {}),
        |scene, client| scene.enter(client, 0),
    ];
    for end in ends {
        let (mut scene, client) = Scene::entered();
        let witness = scene.stand.client();
        scene.stand.packet(witness, ticket(CLAIM.account + 1, 0, "Witness"));
        let mut lines = end(&mut scene, client);
        lines.extend(scene.stand.client_gone(client));
        let notice = UsersChanged {
            channel: 0,
            since: 2,
            version: 3,
            head_count: 1,
            complete: true,
            entered: List::default(),
            left: List::new(vec![1]).unwrap(),
        };
        let told = format!("room 0 <- {:?}", Packet::from(notice));
        for once in [scene.release(), format!("{client} leaves 0"), told] {
            assert_eq!(lines.iter().filter(|line| **line == once).count(), 1, "{once} in {lines:?}");
        }
    }
}

/// Found by the tests with hostile peers: what stood behind a bad packet was still obeyed.
#[test]
fn nothing_is_heard_after_a_bad_packet() {
    let bad: [Packet; 3] = [
        PingRequest { token: 1 }.into(),
        enter_request(1).into(), // a ticket of a login that nobody expects
        throng_core::wire::packets::ExitAnswer {}.into(),
    ];
    for packet in bad {
        let mut scene = Scene::expecting();
        let client = scene.stand.client();
        assert_eq!(scene.stand.packet(client, packet).len(), 1);
        assert!(scene.enter(client, CLAIM.id).is_empty());
    }
    let (mut scene, client) = Scene::entered();
    scene
        .stand
        .packet(client, ChatRequest { scope: Scope::World, target: 0, stamp: 0, text: Text::default() });
    assert!(
        scene
            .stand
            .packet(
                client,
                ChatRequest { scope: Scope::World, target: 0, stamp: 0, text: Text::truncated("hello?") }
            )
            .is_empty()
    );
}
