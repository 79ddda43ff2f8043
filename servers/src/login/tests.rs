//! Points at which a login can break off, and the claims that are released there.

use super::*;
use crate::role_fixture::{CLAIM, KEY, RoleFixture, character, login_request, now_ms, sent, step_clock};
use throng_core::wire::List;
use throng_core::wire::packets::{
    ChatNotifyLogin, DbCheckPassword, DbCheckPasswordAnswer, DbClaimRevoked, DbClaimsSynced, DbHeldClaims,
    DbReleaseClaim, LoginRequest, Role as PeerRole,
};
use throng_core::wire::packets::{LoginNotifyEntered, LoginNotifyLoaded};

const REQUEST_TIMEOUT: Duration = Duration::from_millis(1500);
const TICKET_LIFETIME: Duration = Duration::from_secs(5);
const STAY: Duration = Duration::from_mins(1);
const SEATS: usize = 32;
/// The login server's peers, in the order of their indexes.
const PEERS: [PeerRole; 2] = [PeerRole::Chat, PeerRole::DbAgent];

/// A login server with a DB agent, a chat server and a client.
struct Scenario {
    fixture: RoleFixture<LoginRole>,
    agent: SessionId,
    chat: SessionId,
    client: SessionId,
    /// The number of the latest list.
    last_list: u64,
}

impl Scenario {
    fn new() -> Self {
        let settings = LoginSettings {
            take_over: false,
            seats: SEATS,
            stay: STAY,
            ticket_lifetime: TICKET_LIFETIME,
            request_timeout: REQUEST_TIMEOUT,
            cluster: ClusterKey::from_bytes(KEY),
            reserved: Reserved::new(["admin"]),
        };
        let mut fixture =
            RoleFixture::new(PeerRole::Login, &PEERS, |links| LoginRole::new(settings, links, now_ms));
        let chat = fixture.open_link(PeerRole::Chat, Some(0)).0;
        let agent = fixture.open_db_agent(1);
        let client = fixture.open_client();
        Self { fixture, agent, chat, client, last_list: 1 }
    }

    /// The client has sent its login request.
    fn password_requested() -> Self {
        let mut scenario = Self::new();
        let lines = scenario.fixture.deliver(scenario.client, login_request());
        let LoginRequest { id, password } = login_request();
        let check = DbCheckPassword { request: 1, id, password, take_over: false };
        assert_eq!(lines, [sent(scenario.agent, check)]);
        scenario
    }

    /// The password was right, and the chat server was notified.
    fn handed_over() -> Self {
        let mut scenario = Self::password_requested();
        let lines = scenario.confirm_password();
        assert_eq!(lines, [sent(scenario.chat, ChatNotifyLogin { request: 2, claim: CLAIM })]);
        scenario
    }

    /// The client has its ticket.
    fn granted() -> Self {
        let mut scenario = Self::handed_over();
        let lines = scenario.answer_hand_over(Outcome::Ok);
        assert!(lines.len() == 1 && lines[0].contains("LoginGranted"), "{lines:?}");
        scenario
    }

    fn confirm_password(&mut self) -> Vec<String> {
        let answer = DbCheckPasswordAnswer { request: 1, outcome: Outcome::Ok, claim: CLAIM };
        self.fixture.deliver(self.agent, answer)
    }

    fn answer_hand_over(&mut self, outcome: Outcome) -> Vec<String> {
        let character = (outcome == Outcome::Ok).then(character);
        self.fixture.deliver(self.chat, LoginNotifyLoaded { request: 2, outcome, claim: CLAIM, character })
    }

    fn refusal_line(&self, outcome: Outcome) -> String {
        sent(self.client, LoginRefused { outcome })
    }

    fn release_line(&self) -> String {
        sent(self.agent, DbReleaseClaim { claim: CLAIM })
    }

    fn cancel_line(&self) -> String {
        sent(self.chat, ChatCancelLogin { claim: CLAIM })
    }

    /// Cuts the DB agent's link, brings it up again and returns the claims in the list that is
    /// sent.
    fn claims_after_relink(&mut self) -> Vec<Claim> {
        self.fixture.close_link(self.agent);
        let (agent, lines) = self.fixture.open_link(PeerRole::DbAgent, Some(1));
        self.agent = agent;
        self.last_list += 1;
        let list = self.last_list;
        let list =
            |claims| sent(agent, DbHeldClaims { list, claims: List::new(claims).unwrap(), last: true });
        let held = if lines == [list(vec![CLAIM])] { vec![CLAIM] } else { Vec::new() };
        assert_eq!(lines, [list(held.clone())]);
        held
    }
}

#[test]
fn seat_holders_make_room_for_newcomers_and_players_that_log_in_do_not() {
    // The first client's request is under way.
    let mut scenario = Scenario::password_requested();
    let holders: Vec<_> = (0..SEATS - SEATS / 16 - 1).map(|_| scenario.fixture.open_client()).collect();
    for holder in &holders[..3] {
        let (_, lines) = scenario.fixture.open_client_lines();
        assert_eq!(lines, [format!("{holder} closed: ServerFull")]);
    }
}

#[test]
fn a_client_without_a_ticket_has_a_deadline_whatever_it_sends() {
    let mut scenario = Scenario::new();
    for _ in 0..3 {
        scenario.fixture.deliver(scenario.client, login_request());
        let lines = scenario.fixture.advance(STAY / 4);
        assert_eq!(lines, [scenario.refusal_line(Outcome::TryAgainLater)]);
    }
    assert_eq!(scenario.fixture.advance(STAY / 4), [format!("{} closed: LoginTimeout", scenario.client)]);
    let mut scenario = Scenario::granted();
    let lines = scenario.fixture.advance(STAY);
    assert!(lines.iter().all(|line| !line.contains("LoginTimeout")), "{lines:?}");
}

#[test]
fn a_client_that_leaves_during_the_password_check_is_not_online() {
    let mut scenario = Scenario::password_requested();
    assert!(scenario.fixture.close_client(scenario.client).is_empty());
    assert_eq!(scenario.confirm_password(), [scenario.release_line()]);
    assert_eq!(scenario.claims_after_relink(), []);
}

#[test]
fn an_answer_after_the_timeout_is_undone() {
    let mut scenario = Scenario::password_requested();
    assert_eq!(scenario.fixture.advance(REQUEST_TIMEOUT), [scenario.refusal_line(Outcome::TryAgainLater)]);
    assert_eq!(scenario.confirm_password(), [scenario.release_line()]);
    assert_eq!(scenario.claims_after_relink(), []);

    let mut scenario = Scenario::handed_over();
    let wanted =
        [scenario.cancel_line(), scenario.release_line(), scenario.refusal_line(Outcome::TryAgainLater)];
    assert_eq!(scenario.fixture.advance(REQUEST_TIMEOUT), wanted);
    assert!(scenario.answer_hand_over(Outcome::Ok).is_empty());
    assert_eq!(scenario.claims_after_relink(), []);
}

#[test]
fn the_hand_over_of_a_client_that_left_is_cancelled() {
    for outcome in [Outcome::Ok, Outcome::ClaimLost] {
        let mut scenario = Scenario::handed_over();
        assert!(scenario.fixture.close_client(scenario.client).is_empty());
        assert_eq!(scenario.claims_after_relink(), [CLAIM]);
        let lines = scenario.answer_hand_over(outcome);
        assert_eq!(lines[0], scenario.cancel_line());
        assert_eq!(scenario.claims_after_relink(), []);
    }
}

#[test]
fn every_failure_of_the_hand_over_is_reported_and_releases_the_claim() {
    for outcome in [Outcome::NoCharacter, Outcome::ClaimLost, Outcome::TryAgainLater, Outcome::InternalError]
    {
        let mut scenario = Scenario::handed_over();
        assert_eq!(
            scenario.answer_hand_over(outcome),
            [scenario.cancel_line(), scenario.release_line(), scenario.refusal_line(outcome)]
        );
        assert_eq!(scenario.claims_after_relink(), []);
        // The client may send another request.
        assert_eq!(
            scenario.fixture.deliver(scenario.client, login_request()),
            [scenario.refusal_line(Outcome::TryAgainLater)]
        );
    }
}

#[test]
fn a_lost_link_fails_its_pending_requests_at_once() {
    let mut scenario = Scenario::password_requested();
    assert_eq!(scenario.fixture.close_link(scenario.agent), [scenario.refusal_line(Outcome::TryAgainLater)]);
    assert!(scenario.confirm_password().is_empty(), "a packet of a lost link has an effect");

    let mut scenario = Scenario::handed_over();
    let lines = scenario.fixture.close_link(scenario.chat);
    assert_eq!(
        lines,
        [scenario.cancel_line(), scenario.release_line(), scenario.refusal_line(Outcome::TryAgainLater)]
    );
    assert_eq!(scenario.claims_after_relink(), []);
}

#[test]
fn a_hand_over_survives_the_loss_of_the_db_agent() {
    let mut scenario = Scenario::handed_over();
    assert_eq!(scenario.claims_after_relink(), [CLAIM]);
    assert!(scenario.answer_hand_over(Outcome::Ok)[0].contains("LoginGranted"));
    assert_eq!(scenario.claims_after_relink(), []);
}

/// The DB agent may compare the list after the chat server has released the claim.
#[test]
fn a_claim_transferred_during_a_list_comparison_is_released() {
    let mut scenario = Scenario::handed_over();
    scenario.fixture.close_link(scenario.agent);
    scenario.agent = scenario.fixture.open_link(PeerRole::DbAgent, Some(1)).0;
    scenario.answer_hand_over(Outcome::Ok);
    assert_eq!(scenario.fixture.deliver(scenario.agent, DbClaimsSynced {}), [scenario.release_line()]);
}

#[test]
fn a_ticket_is_void_when_its_client_leaves_misbehaves_or_times_out() {
    let mut scenario = Scenario::granted();
    assert_eq!(scenario.fixture.close_client(scenario.client), [scenario.cancel_line()]);

    let mut scenario = Scenario::granted();
    let closed = format!("{} closed: PacketNotAllowed", scenario.client);
    assert_eq!(scenario.fixture.deliver(scenario.client, login_request()), [closed, scenario.cancel_line()]);
    assert!(scenario.fixture.close_client(scenario.client).is_empty());

    let mut scenario = Scenario::granted();
    let closed = format!("{} closed: TicketExpired", scenario.client);
    assert_eq!(scenario.fixture.advance(TICKET_LIFETIME), [scenario.cancel_line(), closed]);
    assert!(scenario.fixture.close_client(scenario.client).is_empty());

    let mut scenario = Scenario::granted();
    let closed = format!("{} closed: HandedOver", scenario.client);
    assert_eq!(scenario.fixture.deliver(scenario.chat, LoginNotifyEntered { claim: CLAIM }), [closed]);
    assert!(scenario.fixture.close_client(scenario.client).is_empty());
    assert!(scenario.fixture.advance(TICKET_LIFETIME).is_empty());
}

#[test]
fn a_wall_clock_that_jumps_ends_no_login_sooner_or_later() {
    for step in [3600, -3600] {
        let mut scenario = Scenario::granted();
        step_clock(step);
        assert!(scenario.fixture.advance(TICKET_LIFETIME / 2).is_empty());
        let closed = format!("{} closed: TicketExpired", scenario.client);
        let lines = scenario.fixture.advance(TICKET_LIFETIME / 2);
        assert_eq!(lines, [scenario.cancel_line(), closed]);

        let mut scenario = Scenario::password_requested();
        step_clock(step);
        assert!(scenario.fixture.advance(REQUEST_TIMEOUT / 2).is_empty());
        let refused = [scenario.refusal_line(Outcome::TryAgainLater)];
        assert_eq!(scenario.fixture.advance(REQUEST_TIMEOUT / 2), refused);
    }
}

#[test]
fn a_revoked_claim_is_not_listed_again() {
    let mut scenario = Scenario::handed_over();
    assert_eq!(
        scenario.fixture.deliver(scenario.agent, DbClaimRevoked { claim: CLAIM }),
        [scenario.release_line()]
    );
    assert_eq!(scenario.claims_after_relink(), []);
}

#[test]
fn without_a_synced_db_agent_or_a_chat_server_logins_are_refused_at_once() {
    let mut scenario = Scenario::new();
    scenario.fixture.close_link(scenario.agent);
    let refused = [scenario.refusal_line(Outcome::TryAgainLater)];
    assert_eq!(scenario.fixture.deliver(scenario.client, login_request()), refused);
    scenario.fixture.open_link(PeerRole::DbAgent, Some(1));
    assert_eq!(scenario.fixture.deliver(scenario.client, login_request()), refused);

    let mut scenario = Scenario::new();
    scenario.fixture.close_link(scenario.chat);
    assert_eq!(scenario.fixture.deliver(scenario.client, login_request()), refused);
}

/// Regression: the check for any chat server took a turn as well, so one of two got every login.
#[test]
fn chat_servers_take_turns() {
    let mut scenario = Scenario::new();
    let second = scenario.fixture.open_link(PeerRole::Chat, Some(0)).0;
    let mut told = Vec::new();
    for request in [1, 3, 5, 7] {
        let client = scenario.fixture.open_client();
        scenario.fixture.deliver(client, login_request());
        let answer = DbCheckPasswordAnswer { request, outcome: Outcome::Ok, claim: CLAIM };
        told.extend(scenario.fixture.deliver(scenario.agent, answer));
    }
    let of = |chat: SessionId| told.iter().filter(|line| line.starts_with(&format!("{chat} <-"))).count();
    assert_eq!((of(scenario.chat), of(second)), (2, 2), "{told:?}");
}
