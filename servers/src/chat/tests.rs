//! Points at which an entry into the chat can break off, and the claims that are released there.

use super::*;
use crate::role_fixture::{
    CHAT_KEY, CLAIM, KEY, RoleFixture, character, now_ms, resume_tokens, sent, step_clock,
};
use throng_core::config::Config;
use throng_core::crypto::{ClusterKey, Ticket};
use throng_core::wire::List;
use throng_core::wire::packets::{
    ChannelCreateRequest, ChannelLeaveRequest, ChatCancelLogin, ChatNotifyLogin, ChatRequest, DbClaimRevoked,
    DbClaimsSynced, DbHeldClaims, DbLoadCharacter, DbLoadCharacterAnswer, DbReleaseClaim, EnterAnswer,
    EnterRequest, LoginNotifyEntered, PingRequest, ResumeTokenBytes, Role as PeerRole, Scope, TooFast, User,
    UsersChanged, WishedChannel,
};
use throng_core::wire::{Body, Packet, Text};

mod away;
mod fleet;
mod fleet_simulation;
mod model;
mod order;
mod resume;

const REQUEST_TIMEOUT: Duration = Duration::from_millis(1500);
const TICKET_LIFETIME: Duration = Duration::from_secs(5);

/// A chat server with a DB agent and a login server.
struct Scenario {
    fixture: RoleFixture<ChatRole>,
    agent: SessionId,
    login: SessionId,
    /// The number of the latest list.
    last_list: u64,
    start: Instant,
}

/// Returns a chat server that dials these peers and keeps no places.
fn chat_with(peers: &[PeerRole]) -> RoleFixture<ChatRole> {
    chat_that_keeps(Duration::ZERO, peers)
}

/// Returns a chat server that keeps the place of a lost connection for `resume_window`.
fn chat_that_keeps(resume_window: Duration, peers: &[PeerRole]) -> RoleFixture<ChatRole> {
    let settings = ChatSettings {
        take_over: false,
        ticket_lifetime: TICKET_LIFETIME,
        request_timeout: REQUEST_TIMEOUT,
        resume_window,
        ..ChatSettings::of(&Config::default())
    };
    RoleFixture::new(PeerRole::Chat, peers, |links| {
        let admission = Admission::new(ClusterKey::from_bytes(KEY), CHAT_KEY, now_ms());
        ChatRole::new(settings, admission, resume_tokens(1), links, now_ms)
    })
}

impl Scenario {
    fn new() -> Self {
        let mut fixture = chat_with(&[PeerRole::DbAgent]);
        let agent = fixture.open_db_agent(0);
        let login = fixture.open_link(PeerRole::Login, None).0;
        let start = fixture.now();
        Self { fixture, agent, login, last_list: 1, start }
    }

    /// A login was announced, and its character was requested.
    fn load_requested() -> Self {
        let mut scenario = Self::new();
        let lines = scenario.fixture.deliver(scenario.login, ChatNotifyLogin { request: 7, claim: CLAIM });
        assert_eq!(lines, [sent(scenario.agent, DbLoadCharacter { request: 1, claim: CLAIM })]);
        scenario
    }

    /// The login's client may enter.
    fn login_expected() -> Self {
        let mut scenario = Self::load_requested();
        assert_eq!(scenario.answer_load(Outcome::Ok), [scenario.load_notice(Outcome::Ok)]);
        scenario
    }

    /// The login's client has entered.
    fn entered() -> (Self, SessionId) {
        let mut scenario = Self::login_expected();
        let client = scenario.fixture.open_client();
        let lines = scenario.enter(client, CLAIM.id);
        assert!(lines.iter().any(|line| line.contains("EnterAnswer")), "{lines:?}");
        assert_eq!(lines.last(), Some(&sent(scenario.login, LoginNotifyEntered { claim: CLAIM })));
        (scenario, client)
    }

    fn answer_load(&mut self, outcome: Outcome) -> Vec<String> {
        let character = (outcome == Outcome::Ok).then(character);
        let answer = DbLoadCharacterAnswer { request: 1, outcome, claim: CLAIM, character };
        self.fixture.deliver(self.agent, answer)
    }

    fn enter(&mut self, client: SessionId, claim: u64) -> Vec<String> {
        self.fixture.deliver(client, enter_request(claim))
    }

    /// Returns the line of the login server's notification.
    fn load_notice(&self, outcome: Outcome) -> String {
        let character = (outcome == Outcome::Ok).then(character);
        sent(self.login, LoginNotifyLoaded { request: 7, outcome, claim: CLAIM, character })
    }

    fn release_line(&self) -> String {
        sent(self.agent, DbReleaseClaim { claim: CLAIM })
    }

    /// Asserts that the login's ticket admits no client.
    fn assert_ticket_refused(&mut self) {
        let client = self.fixture.open_client();
        assert_eq!(self.enter(client, CLAIM.id), [format!("{client} closed: TicketUsed")]);
    }

    /// Cuts the DB agent's link, brings it up again and returns the claims in the list that is
    /// sent.
    fn claims_after_relink(&mut self) -> Vec<Claim> {
        self.fixture.close_link(self.agent);
        let (agent, lines) = self.fixture.open_link(PeerRole::DbAgent, Some(0));
        self.agent = agent;
        self.last_list += 1;
        let list = self.last_list;
        let list =
            |claims| sent(agent, DbHeldClaims { list, claims: List::new(claims).unwrap(), last: true });
        let claims_after_relink = if lines == [list(vec![CLAIM])] { vec![CLAIM] } else { Vec::new() };
        assert_eq!(lines, [list(claims_after_relink.clone())]);
        claims_after_relink
    }
}

/// The answer to an entry, of a chat server that keeps no places.
fn enter_answer(user: User, head_count: u32) -> EnterAnswer {
    let token = ResumeTokenBytes::default();
    EnterAnswer { user, head_count, shard: 0, token, resume_ms: 0, heartbeat_ms: 45_000 }
}

fn enter_request(claim: u64) -> EnterRequest {
    ticket(CLAIM.account, claim, "Alice")
}

/// Mints a ticket; claim 0 belongs to no login.
fn ticket(account: u64, claim: u64, name: &str) -> EnterRequest {
    let issued_ms = now_ms();
    let expires_ms = issued_ms + 5000;
    let name = Text::truncated(name);
    let ticket = Ticket { account, claim, character: 1, name, chat_key: CHAT_KEY, issued_ms, expires_ms };
    EnterRequest { ticket: ticket.mint(&ClusterKey::from_bytes(KEY)).unwrap() }
}

/// Found by the simulation: the agent released the claim of a user that was in the chat, and
/// another login of the account could follow.
#[test]
fn a_claim_that_crosses_a_list_on_its_way_is_listed_again() {
    let mut fixture = chat_with(&[PeerRole::DbAgent; 2]);
    let agents = [0, 1].map(|dialed| fixture.open_db_agent(dialed));
    let login = fixture.open_link(PeerRole::Login, None).0;
    let lines = fixture.deliver(login, ChatNotifyLogin { request: 7, claim: CLAIM });
    let load = |agent| sent(agent, DbLoadCharacter { request: 1, claim: CLAIM });
    let (asked, other) =
        if lines == [load(agents[0])] { (agents[0], agents[1]) } else { (agents[1], agents[0]) };
    assert_eq!(lines, [load(asked)]);
    let list =
        |list, claims| sent(asked, DbHeldClaims { list, claims: List::new(claims).unwrap(), last: true });
    assert_eq!(fixture.close_link(other), [list(3, vec![])]);
    let character = Some(character());
    let answer = DbLoadCharacterAnswer { request: 1, outcome: Outcome::Ok, claim: CLAIM, character };
    assert_eq!(fixture.deliver(asked, answer).len(), 1);
    assert_eq!(fixture.deliver(asked, DbClaimsSynced {}), [list(4, vec![CLAIM])]);
    assert!(fixture.deliver(asked, DbClaimsSynced {}).is_empty());
}

/// The claim may have been displaced by one that was undone while this agent compared a list
/// without it: the player would stay in the chat, and the account would be free.
#[test]
fn a_claim_that_comes_over_after_another_agent_compared_a_list_is_listed_again() {
    let mut fixture = chat_with(&[PeerRole::DbAgent; 2]);
    let agents = [0, 1].map(|dialed| fixture.open_db_agent(dialed));
    let login = fixture.open_link(PeerRole::Login, None).0;
    let lines = fixture.deliver(login, ChatNotifyLogin { request: 7, claim: CLAIM });
    let asked = usize::from(lines == [sent(agents[1], DbLoadCharacter { request: 1, claim: CLAIM })]);
    let other = 1 - asked;
    fixture.close_link(agents[other]);
    let list =
        |to, list, claims| sent(to, DbHeldClaims { list, claims: List::new(claims).unwrap(), last: true });
    let (link, lines) = fixture.open_link(PeerRole::DbAgent, Some(other as u64));
    assert_eq!(lines, [list(link, 4, vec![])]);
    assert!(fixture.deliver(link, DbClaimsSynced {}).is_empty());
    let character = Some(character());
    let answer = DbLoadCharacterAnswer { request: 1, outcome: Outcome::Ok, claim: CLAIM, character };
    assert_eq!(fixture.deliver(agents[asked], answer)[0], list(link, 5, vec![CLAIM]));
}

#[test]
fn a_cancelled_login_leaves_no_claim_at_any_step() {
    let cancel = ChatCancelLogin { claim: CLAIM };
    let mut scenario = Scenario::load_requested();
    assert!(scenario.fixture.deliver(scenario.login, cancel.clone()).is_empty());
    assert_eq!(scenario.answer_load(Outcome::Ok), [scenario.release_line()]);
    scenario.assert_ticket_refused();
    assert_eq!(scenario.claims_after_relink(), []);

    let mut scenario = Scenario::login_expected();
    assert_eq!(scenario.fixture.deliver(scenario.login, cancel.clone()), [scenario.release_line()]);
    scenario.assert_ticket_refused();
    assert_eq!(scenario.claims_after_relink(), []);

    // A cancellation after the entry has no effect.
    let (mut scenario, _) = Scenario::entered();
    assert!(scenario.fixture.deliver(scenario.login, cancel).is_empty());
    assert_eq!(scenario.claims_after_relink(), [CLAIM]);
}

#[test]
fn an_answer_after_the_timeout_is_undone() {
    let mut scenario = Scenario::load_requested();
    assert_eq!(
        scenario.fixture.advance(REQUEST_TIMEOUT),
        [scenario.release_line(), scenario.load_notice(Outcome::TryAgainLater)]
    );
    assert_eq!(scenario.answer_load(Outcome::Ok), [scenario.release_line()]);
    scenario.assert_ticket_refused();
    assert_eq!(scenario.claims_after_relink(), []);
}

#[test]
fn failures_are_reported_and_leave_no_claim() {
    for outcome in [Outcome::NoCharacter, Outcome::ClaimLost, Outcome::TryAgainLater, Outcome::InternalError]
    {
        let mut scenario = Scenario::load_requested();
        assert_eq!(scenario.answer_load(outcome), [scenario.load_notice(outcome)]);
        scenario.assert_ticket_refused();
        assert_eq!(scenario.claims_after_relink(), []);
    }
}

#[test]
fn the_loss_of_the_db_agent_fails_only_pending_loads() {
    let mut scenario = Scenario::load_requested();
    assert_eq!(scenario.fixture.close_link(scenario.agent), [scenario.load_notice(Outcome::TryAgainLater)]);
    assert!(scenario.answer_load(Outcome::Ok).is_empty(), "a packet of a lost link has an effect");

    let mut scenario = Scenario::login_expected();
    assert_eq!(scenario.claims_after_relink(), [CLAIM]);
    let client = scenario.fixture.open_client();
    assert!(scenario.enter(client, CLAIM.id).len() > 1);
    assert_eq!(scenario.claims_after_relink(), [CLAIM]);
    // Without a link no release is sent, and the next list settles it.
    scenario.fixture.close_link(scenario.agent);
    let lines = scenario.fixture.close_client(client);
    assert!(lines.iter().all(|line| !line.contains("DbReleaseClaim")), "{lines:?}");
    assert_eq!(scenario.claims_after_relink(), []);
}

#[test]
fn the_loss_of_a_login_server_voids_its_tickets() {
    let mut scenario = Scenario::load_requested();
    assert!(scenario.fixture.close_link(scenario.login).is_empty());
    assert_eq!(scenario.answer_load(Outcome::Ok), [scenario.release_line()]);
    scenario.assert_ticket_refused();

    let mut scenario = Scenario::login_expected();
    assert_eq!(scenario.fixture.close_link(scenario.login), [scenario.release_line()]);
    scenario.assert_ticket_refused();

    let (mut scenario, _) = Scenario::entered();
    assert!(scenario.fixture.close_link(scenario.login).is_empty());
    assert_eq!(scenario.claims_after_relink(), [CLAIM]);
}

#[test]
fn an_unused_ticket_expires_and_releases_its_claim() {
    let mut scenario = Scenario::login_expected();
    assert!(
        scenario.fixture.advance(TICKET_LIFETIME).is_empty(),
        "the login was expected before its ticket was minted"
    );
    assert_eq!(scenario.fixture.advance(REQUEST_TIMEOUT), [scenario.release_line()]);
    scenario.assert_ticket_refused();
}

#[test]
fn the_claims_of_a_hundred_tickets_that_are_never_used_are_released() {
    let mut scenario = Scenario::new();
    let claims: Vec<Claim> = (1..=100).map(|account| Claim { account, id: 100 + account }).collect();
    for claim in &claims {
        let notice = ChatNotifyLogin { request: claim.account, claim: *claim };
        assert_eq!(scenario.fixture.deliver(scenario.login, notice).len(), 1);
        let answer = DbLoadCharacterAnswer {
            request: claim.account,
            outcome: Outcome::Ok,
            claim: *claim,
            character: Some(character()),
        };
        assert_eq!(scenario.fixture.deliver(scenario.agent, answer).len(), 1);
        scenario.fixture.advance(Duration::from_millis(10));
    }
    let mut released = Vec::new();
    while released.len() < claims.len() {
        let lines = scenario.fixture.advance(Duration::from_secs(1));
        assert!(
            scenario.fixture.now() < scenario.start + Duration::from_mins(1),
            "{} released",
            released.len()
        );
        released.extend(lines);
    }
    released.sort();
    let mut wanted: Vec<_> =
        claims.iter().map(|claim| sent(scenario.agent, DbReleaseClaim { claim: *claim })).collect();
    wanted.sort();
    assert_eq!(released, wanted);
    assert_eq!(scenario.claims_after_relink(), []);
}

/// An administrator or a time server may set the wall clock.
#[test]
fn a_wall_clock_that_jumps_costs_one_attempt_to_enter_and_no_session_in_the_chat() {
    const HOUR: i64 = 3600;
    for (step, reason) in [(HOUR, "TicketExpired"), (-HOUR, "TicketInvalid")] {
        let (mut scenario, _client) = Scenario::entered();
        step_clock(step);
        let lines = scenario.fixture.advance(Duration::from_mins(10));
        assert!(lines.is_empty(), "{lines:?}");

        let mut scenario = Scenario::login_expected();
        let client = scenario.fixture.open_client();
        let request = enter_request(CLAIM.id);
        step_clock(step);
        assert_eq!(scenario.fixture.deliver(client, request), [format!("{client} closed: {reason}")]);
        // The claim is released when the ticket would have expired, not an hour sooner or later.
        assert!(scenario.fixture.advance(TICKET_LIFETIME).is_empty());
        assert_eq!(scenario.fixture.advance(REQUEST_TIMEOUT), [scenario.release_line()]);
        // The next login gets a ticket of the clock as it is now.
        let mut scenario = Scenario::load_requested();
        step_clock(step);
        scenario.answer_load(Outcome::Ok);
        let client = scenario.fixture.open_client();
        let lines = scenario.enter(client, CLAIM.id);
        assert!(lines.iter().any(|line| line.contains("EnterAnswer")), "{lines:?}");
    }
}

/// A pulled cable ends no connection: the shard notices that heartbeats go unanswered.
#[test]
fn the_claim_of_a_user_that_times_out_is_released() {
    for reason in [CloseReason::IdleTimeout, CloseReason::ConnectionLost, CloseReason::TooSlow] {
        let (mut scenario, client) = Scenario::entered();
        let lines = scenario.fixture.close_client_for(client, reason);
        assert!(lines.contains(&scenario.release_line()), "{reason:?}: {lines:?}");
        assert_eq!(scenario.claims_after_relink(), []);
    }
}

#[test]
fn a_revoked_claim_ends_its_login_or_session_at_any_step() {
    let revoked = DbClaimRevoked { claim: CLAIM };
    // The answer that the claim came over is still on its way.
    let mut scenario = Scenario::load_requested();
    let lines = scenario.fixture.deliver(scenario.agent, revoked.clone());
    assert_eq!(lines, [scenario.release_line(), scenario.load_notice(Outcome::ClaimLost)]);
    assert_eq!(scenario.answer_load(Outcome::Ok), [scenario.release_line()]);
    scenario.assert_ticket_refused();
    assert_eq!(scenario.claims_after_relink(), []);

    let mut scenario = Scenario::login_expected();
    assert_eq!(scenario.fixture.deliver(scenario.agent, revoked.clone()), [scenario.release_line()]);
    scenario.assert_ticket_refused();

    let (mut scenario, client) = Scenario::entered();
    let lines = scenario.fixture.deliver(scenario.agent, revoked.clone());
    assert_eq!(lines.last(), Some(&format!("{client} closed: LoggedInElsewhere")));
    assert_eq!(lines.iter().filter(|line| **line == scenario.release_line()).count(), 1, "{lines:?}");
    // The end of the session has no further effect.
    assert!(scenario.fixture.close_client(client).is_empty());
}

#[test]
fn the_claim_of_a_user_is_released_once_in_every_kind_of_departure() {
    let ends: [fn(&mut Scenario, SessionId) -> Vec<String>; 4] = [
        |scenario, client| scenario.fixture.close_client(client),
        |scenario, client| scenario.fixture.deliver(client, throng_core::wire::packets::ExitRequest {}),
        |scenario, client| scenario.fixture.deliver(client, throng_core::wire::packets::ExitAnswer {}),
        |scenario, client| scenario.enter(client, 0),
    ];
    for end in ends {
        let (mut scenario, client) = Scenario::entered();
        let witness = scenario.fixture.open_client();
        scenario.fixture.deliver(witness, ticket(CLAIM.account + 1, 0, "Witness"));
        let mut lines = end(&mut scenario, client);
        lines.extend(scenario.fixture.close_client(client));
        let notice = UsersChanged {
            channel: 0,
            since: 2,
            version: 3,
            head_count: 1,
            complete: true,
            entered: List::default(),
            left: List::new(vec![1]).unwrap(),
        };
        let load_notice = format!("room 0 <- {:?}", Packet::from(notice));
        for once in [scenario.release_line(), format!("{client} leaves 0"), load_notice] {
            assert_eq!(lines.iter().filter(|line| **line == once).count(), 1, "{once} in {lines:?}");
        }
    }
}

/// Regression: packets behind a bad one were still handled.
#[test]
fn packets_behind_a_bad_one_are_dropped() {
    let bad: [Packet; 3] = [
        PingRequest { token: 1 }.into(),
        enter_request(1).into(), // the ticket of a login that is not expected
        throng_core::wire::packets::ExitAnswer {}.into(),
    ];
    for packet in bad {
        let mut scenario = Scenario::login_expected();
        let client = scenario.fixture.open_client();
        assert_eq!(scenario.fixture.deliver(client, packet).len(), 1);
        assert!(scenario.enter(client, CLAIM.id).is_empty());
    }
    let (mut scenario, client) = Scenario::entered();
    scenario
        .fixture
        .deliver(client, ChatRequest { scope: Scope::World, target: 0, stamp: 0, text: Text::default() });
    assert!(
        scenario
            .fixture
            .deliver(
                client,
                ChatRequest { scope: Scope::World, target: 0, stamp: 0, text: Text::truncated("hello?") }
            )
            .is_empty()
    );
}

#[test]
fn an_account_that_makes_channels_too_fast_is_told_to_wait() {
    let mut scenario = Scenario::login_expected();
    let client = scenario.fixture.open_client_at([192, 0, 2, 1].into());
    scenario.enter(client, CLAIM.id);
    let make =
        |number: u32| ChannelCreateRequest { name: WishedChannel::truncated(&format!("room {number}")) };
    for number in 1..=20 {
        let lines = scenario.fixture.deliver(client, make(number));
        assert!(lines[0].contains("outcome: Ok"), "{lines:?}");
        scenario.fixture.deliver(client, ChannelLeaveRequest { channel: number });
    }
    let refused = TooFast { packet: ChannelCreateRequest::NUMBER, stamp: 0, wait_ms: 30_000 };
    assert_eq!(scenario.fixture.deliver(client, make(21)), [sent(client, refused)]);
}
