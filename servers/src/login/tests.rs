//! Points at which a login can break off, and the claims that are released there.

use super::*;
use crate::role_fixture::{CLAIM, KEY, RoleFixture, character, login_request, now_ms, sent, step_clock};
use throng_core::config::{Config, Rate};
use throng_core::wire::packets::{
    ChatNotifyLogin, CreateCharacterRequest, DbCheckPassword, DbCheckPasswordAnswer, DbClaimRevoked,
    DbClaimsSynced, DbHeldClaims, DbReleaseClaim, DbSignUp, DbSignUpAnswer, DbVerifyAccount,
    DbVerifyAccountAnswer, LoginRequest, Origin, Role as PeerRole, SignUpRequest,
};
use throng_core::wire::packets::{LoginNotifyEntered, LoginNotifyLoaded};
use throng_core::wire::{Body, List};

const REQUEST_TIMEOUT: Duration = Duration::from_millis(1500);
const TICKET_LIFETIME: Duration = Duration::from_secs(5);
const STAY: Duration = Duration::from_mins(1);
const SEATS: usize = 32;
const QUEUE: usize = 12;
/// The login server's peers, in the order of their indexes.
const PEERS: [PeerRole; 2] = [PeerRole::Chat, PeerRole::DbAgent];

/// A client of the fixture after so many attempts.
fn loopback(attempts: u32) -> Origin {
    let address = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 127, 0, 0, 1];
    Origin { address, attempts, wait_ms: 1500 }
}

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
        Self::with_limits(Config::default().limits)
    }

    fn with_limits(limits: Limits) -> Self {
        let settings = LoginSettings {
            take_over: false,
            seats: SEATS,
            stay: STAY,
            queue: QUEUE,
            ticket_lifetime: TICKET_LIFETIME,
            request_timeout: REQUEST_TIMEOUT,
            cluster: ClusterKey::from_bytes(KEY),
            reserved: Reserved::new(["admin"]),
            limits,
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
        let check = DbCheckPassword { request: 1, id, password, take_over: false, origin: loopback(0) };
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
fn requests_for_a_hash_carry_the_address_and_the_attempts_of_their_client() {
    let mut scenario = Scenario::password_requested();
    let (client, agent) = (scenario.client, scenario.agent);
    let LoginRequest { id, password } = login_request();
    let refused = Claim { account: 0, id: 0 };
    let answer = DbCheckPasswordAnswer { request: 1, outcome: Outcome::BadCredentials, claim: refused };
    scenario.fixture.deliver(agent, answer);
    let lines =
        scenario.fixture.deliver(client, SignUpRequest { id: id.clone(), password: password.clone() });
    let sign_up = DbSignUp { request: 2, id: id.clone(), password: password.clone(), origin: loopback(1) };
    assert_eq!(lines, [sent(agent, sign_up)]);
    scenario.fixture.deliver(agent, DbSignUpAnswer { request: 2, outcome: Outcome::Ok });
    let create =
        CreateCharacterRequest { id: id.clone(), password: password.clone(), name: RequestedName::default() };
    let verify =
        DbVerifyAccount { request: 3, id: id.clone(), password: password.clone(), origin: loopback(2) };
    assert_eq!(scenario.fixture.deliver(client, create), [sent(agent, verify)]);

    // Another session begins anew, and an IPv6 client counts with its network.
    let client = scenario.fixture.open_client_at("2001:db8:1:2:3:4:5:6".parse().unwrap());
    let address = [0x20, 0x01, 0x0d, 0xb8, 0, 1, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0];
    let origin = Origin { address, ..loopback(0) };
    let check = DbCheckPassword { request: 4, id, password, take_over: false, origin };
    assert_eq!(scenario.fixture.deliver(client, login_request()), [sent(agent, check)]);
}

/// Guessers ask again at once, and the answers of a failing DB agent come at once.
#[test]
fn a_client_hears_after_a_pause_that_the_db_agent_has_failed() {
    let mut scenario = Scenario::password_requested();
    let answer = DbCheckPasswordAnswer {
        request: 1,
        outcome: Outcome::TryAgainLater,
        claim: Claim { account: 0, id: 0 },
    };
    assert!(scenario.fixture.deliver(scenario.agent, answer).is_empty());
    assert!(scenario.fixture.advance(PUT_OFF / 2).is_empty());
    assert_eq!(scenario.fixture.advance(PUT_OFF / 2), [scenario.refusal_line(Outcome::TryAgainLater)]);
    let (id, password) = (login_request().id, login_request().password);
    let (client, agent) = (scenario.client, scenario.agent);
    scenario.fixture.deliver(client, SignUpRequest { id: id.clone(), password: password.clone() });
    let answer = DbSignUpAnswer { request: 2, outcome: Outcome::TryAgainLater };
    assert!(scenario.fixture.deliver(agent, answer).is_empty());
    let answer = SignUpAnswer { outcome: Outcome::TryAgainLater };
    assert_eq!(scenario.fixture.advance(PUT_OFF), [sent(client, answer)]);
    scenario.fixture.deliver(client, CreateCharacterRequest { id, password, name: RequestedName::default() });
    let answer = DbVerifyAccountAnswer { request: 3, outcome: Outcome::TryAgainLater, account: 0 };
    assert!(scenario.fixture.deliver(agent, answer).is_empty());
    let answer = CreateCharacterAnswer { outcome: Outcome::TryAgainLater };
    assert_eq!(scenario.fixture.advance(PUT_OFF), [sent(client, answer)]);
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

/// Found by the simulation: the chat server had got the claim and lost it to another login, and the
/// list restored it for the login server. The account stayed online without a player.
#[test]
fn a_claim_that_is_known_as_transferred_after_a_list_comparison_is_released() {
    let mut scenario = Scenario::handed_over();
    assert_eq!(scenario.claims_after_relink(), [CLAIM]);
    assert!(scenario.fixture.deliver(scenario.agent, DbClaimsSynced {}).is_empty());
    assert_eq!(scenario.answer_hand_over(Outcome::Ok)[0], scenario.release_line());
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

/// Clients at addresses that the limits hold, and the requests that they make.
struct Held {
    scenario: Scenario,
}

impl Held {
    fn new(change: impl FnOnce(&mut Limits)) -> Self {
        let mut limits = Config::default().limits;
        change(&mut limits);
        Self { scenario: Scenario::with_limits(limits) }
    }

    fn open(&mut self, address: &str) -> SessionId {
        self.scenario.fixture.open_client_at(address.parse().unwrap())
    }

    /// Sends a login of a client, which the DB agent answers so. Returns the effects of both.
    fn log_in(&mut self, client: SessionId, outcome: Outcome) -> Vec<String> {
        let lines = self.scenario.fixture.deliver(client, login_request());
        let claim = if outcome == Outcome::Ok { CLAIM } else { Claim { account: 0, id: 0 } };
        self.answer(lines, |request| DbCheckPasswordAnswer { request, outcome, claim }.into())
    }

    fn sign_up(&mut self, client: SessionId, outcome: Outcome) -> Vec<String> {
        let LoginRequest { id, password } = login_request();
        let lines = self.scenario.fixture.deliver(client, SignUpRequest { id, password });
        self.answer(lines, |request| DbSignUpAnswer { request, outcome }.into())
    }

    fn create_character(&mut self, client: SessionId, outcome: Outcome) -> Vec<String> {
        let LoginRequest { id, password } = login_request();
        let name = RequestedName::default();
        let lines = self.scenario.fixture.deliver(client, CreateCharacterRequest { id, password, name });
        self.answer(lines, |request| DbVerifyAccountAnswer { request, outcome, account: 0 }.into())
    }

    /// Answers a request that was sent to the DB agent, if one was.
    fn answer(&mut self, lines: Vec<String>, answer: impl FnOnce(u64) -> Packet) -> Vec<String> {
        match self.request_of(&lines) {
            Some(request) => self.scenario.fixture.deliver(self.scenario.agent, answer(request)),
            None => lines,
        }
    }

    /// Returns the number of the request to the DB agent among these effects.
    fn request_of(&self, lines: &[String]) -> Option<u64> {
        let asked = lines[0].strip_prefix(&format!("{} <- ", self.scenario.agent))?;
        asked.split_once("request: ")?.1.split(',').next()?.parse().ok()
    }
}

fn too_fast(client: SessionId, packet: u16, wait_ms: u32) -> [String; 1] {
    [sent(client, TooFast { packet, stamp: 0, wait_ms })]
}

#[test]
fn wrong_passwords_count_against_their_address_and_not_against_the_account() {
    let mut held = Held::new(|limits| limits.failed_logins = Rate::new(3, Duration::from_secs(30)));
    let (guesser, other) = (held.open("192.0.2.1"), held.open("192.0.2.2"));
    let refused = |client| [sent(client, LoginRefused { outcome: Outcome::BadCredentials })];
    assert_eq!(held.log_in(guesser, Outcome::BadCredentials), refused(guesser));
    // Another session of the address, and another packet with a password.
    let second = held.open("::ffff:192.0.2.1");
    held.create_character(second, Outcome::BadCredentials);
    // A client that does not wait for the answer is counted all the same.
    let third = held.open("192.0.2.1");
    let lines = held.scenario.fixture.deliver(third, login_request());
    let request = held.request_of(&lines).unwrap();
    held.scenario.fixture.close_client(third);
    let outcome = Outcome::BadCredentials;
    let answer = DbCheckPasswordAnswer { request, outcome, claim: Claim { account: 0, id: 0 } };
    assert!(held.scenario.fixture.deliver(held.scenario.agent, answer).is_empty());

    // No password is checked any more, right or wrong.
    for client in [guesser, second] {
        assert_eq!(held.log_in(client, Outcome::Ok), too_fast(client, LoginRequest::NUMBER, 10_000));
    }
    let lines = held.create_character(guesser, Outcome::Ok);
    assert_eq!(lines, too_fast(guesser, CreateCharacterRequest::NUMBER, 10_000));
    // The same account from another address.
    assert!(held.log_in(other, Outcome::Ok)[0].contains("ChatNotifyLogin"));
    held.scenario.fixture.advance(Duration::from_secs(10));
    assert_eq!(held.log_in(guesser, Outcome::BadCredentials), refused(guesser));
    assert_eq!(held.log_in(guesser, Outcome::Ok).len(), 1);
}

#[test]
fn exempt_addresses_are_held_to_nothing_and_an_ipv6_network_counts_as_one() {
    let mut held = Held::new(|limits| {
        limits.failed_logins = Rate::new(1, Duration::from_secs(30));
        limits.sign_ups = Rate::new(1, Duration::from_secs(30));
    });
    let [first, second, other] = ["2001:db8::1", "2001:db8::2:1", "2001:db8:0:1::1"].map(|at| held.open(at));
    held.log_in(first, Outcome::BadCredentials);
    assert_eq!(held.log_in(second, Outcome::Ok), too_fast(second, LoginRequest::NUMBER, 30_000));
    assert_eq!(held.sign_up(other, Outcome::Ok), [sent(other, SignUpAnswer { outcome: Outcome::Ok })]);
    assert_eq!(held.sign_up(other, Outcome::Ok), too_fast(other, SignUpRequest::NUMBER, 30_000));
    let exempt = held.scenario.client;
    for _ in 0..5 {
        let refused = [sent(exempt, LoginRefused { outcome: Outcome::BadCredentials })];
        assert_eq!(held.log_in(exempt, Outcome::BadCredentials), refused);
        assert_eq!(held.sign_up(exempt, Outcome::Ok), [sent(exempt, SignUpAnswer { outcome: Outcome::Ok })]);
    }
}

#[test]
fn sign_ups_count_if_they_make_an_account_or_tell_of_one() {
    let mut held = Held::new(|limits| limits.sign_ups = Rate::new(2, Duration::from_mins(1)));
    let client = held.open("192.0.2.1");
    for outcome in [Outcome::IdInvalid, Outcome::IdTaken, Outcome::PasswordTooLong, Outcome::Ok] {
        assert_eq!(held.sign_up(client, outcome), [sent(client, SignUpAnswer { outcome })]);
    }
    assert_eq!(held.sign_up(client, Outcome::Ok), too_fast(client, SignUpRequest::NUMBER, 30_000));
}

#[test]
fn an_account_logs_in_at_a_rate_and_a_refused_login_keeps_no_claim() {
    let mut held = Held::new(|limits| limits.logins = Rate::new(1, Duration::from_mins(1)));
    let [first, second] = ["192.0.2.1", "192.0.2.2"].map(|address| held.open(address));
    assert!(held.log_in(first, Outcome::Ok)[0].contains("ChatNotifyLogin"));
    held.scenario.fixture.close_client(first);
    let [too_fast] = too_fast(second, LoginRequest::NUMBER, 60_000);
    assert_eq!(held.log_in(second, Outcome::Ok), [held.scenario.release_line(), too_fast]);
    assert_eq!(
        held.log_in(second, Outcome::BadCredentials),
        [sent(second, LoginRefused { outcome: Outcome::BadCredentials })],
        "the session goes on"
    );
    assert!(held.log_in(held.scenario.client, Outcome::Ok)[0].contains("ChatNotifyLogin"), "exempt");
}

#[test]
fn a_client_that_goes_on_too_fast_is_closed() {
    let mut held = Held::new(|limits| limits.sign_ups = Rate::new(1, Duration::from_mins(1)));
    let client = held.open("192.0.2.1");
    held.sign_up(client, Outcome::Ok);
    for _ in 0..100 {
        assert_eq!(held.sign_up(client, Outcome::Ok), too_fast(client, SignUpRequest::NUMBER, 60_000));
    }
    assert_eq!(held.sign_up(client, Outcome::Ok), [format!("{client} closed: TooFast")]);
}

/// Clients that all log in at once, most of which wait at the door.
struct Crowd {
    scenario: Scenario,
    clients: Vec<SessionId>,
    /// Numbers of the requests that the DB agent has.
    asked: VecDeque<u64>,
}

/// Requests that one DB agent has at a time before its rate is known.
const WINDOW: usize = 8;

impl Crowd {
    fn new(count: usize) -> Self {
        let mut crowd = Self { scenario: Scenario::new(), clients: Vec::new(), asked: VecDeque::new() };
        for _ in 0..count {
            let client = crowd.scenario.fixture.open_client();
            crowd.clients.push(client);
            let lines = crowd.scenario.fixture.deliver(client, login_request());
            assert!(crowd.sort(lines).is_empty());
        }
        assert_eq!(crowd.asked.len(), count.min(WINDOW));
        crowd
    }

    /// Takes the requests to the DB agent out of these effects, and returns the others.
    fn sort(&mut self, lines: Vec<String>) -> Vec<String> {
        let (asked, others): (Vec<_>, Vec<_>) = lines.into_iter().partition(|line| line.contains("<- Db"));
        let numbers = asked.iter().map(|line| line.split_once("request: ").unwrap().1);
        self.asked.extend(numbers.map(|rest| rest.split(',').next().unwrap().parse::<u64>().unwrap()));
        others
    }

    fn advance(&mut self, time: Duration) -> Vec<String> {
        let lines = self.scenario.fixture.advance(time);
        self.sort(lines)
    }

    /// Lets the DB agent answer its oldest request.
    fn answer(&mut self, outcome: Outcome) -> Vec<String> {
        let request = self.asked.pop_front().unwrap();
        let answer = DbCheckPasswordAnswer { request, outcome, claim: Claim { account: 0, id: 0 } };
        let lines = self.scenario.fixture.deliver(self.scenario.agent, answer);
        let mut others = self.sort(lines);
        others.extend(self.advance(Duration::ZERO));
        others
    }
}

fn is_queued(line: &str, client: SessionId, position: u32) -> bool {
    line.starts_with(&format!("{client} <- LoginQueued(LoginQueued {{ position: {position}, wait_ms: "))
}

#[test]
fn logins_beyond_the_window_wait_and_hear_their_positions() {
    let mut crowd = Crowd::new(WINDOW + 2);
    let told = crowd.advance(Duration::from_millis(250));
    let waiting = [crowd.clients[WINDOW], crowd.clients[WINDOW + 1]];
    assert!(told.len() == 2 && is_queued(&told[0], waiting[0], 1), "{told:?}");
    assert!(is_queued(&told[1], waiting[1], 2), "{told:?}");
    assert!(crowd.asked.len() == WINDOW);
    let refused = |client| sent(client, LoginRefused { outcome: Outcome::BadCredentials });
    let first = crowd.clients[0];
    assert_eq!(crowd.answer(Outcome::BadCredentials), [refused(first)]);
    assert_eq!(crowd.asked.len(), WINDOW, "the next one goes to the agent");
    assert_eq!(crowd.answer(Outcome::BadCredentials), [refused(crowd.clients[1])]);
    for at in 2..crowd.clients.len() {
        assert_eq!(crowd.answer(Outcome::BadCredentials), [refused(crowd.clients[at])]);
    }
    assert!(crowd.asked.is_empty() && crowd.advance(Duration::from_secs(3)).is_empty());
}

#[test]
fn a_request_for_which_the_agent_has_no_time_waits_and_is_sent_again() {
    let mut crowd = Crowd::new(WINDOW + 1);
    assert!(crowd.answer(Outcome::NoTime).is_empty(), "nobody is refused");
    assert_eq!(crowd.asked.len(), WINDOW - 1, "the window closes");
    let refused = sent(crowd.clients[1], LoginRefused { outcome: Outcome::BadCredentials });
    assert_eq!(crowd.answer(Outcome::BadCredentials), [refused]);
    assert_eq!(crowd.asked.len(), WINDOW - 1, "the refused one goes first");
    for _ in 0..WINDOW - 2 {
        crowd.answer(Outcome::BadCredentials);
    }
    let refused = sent(crowd.clients[0], LoginRefused { outcome: Outcome::BadCredentials });
    assert_eq!(crowd.answer(Outcome::BadCredentials), [refused]);

    // An agent that has nothing of ours is asked again after a pause.
    let mut crowd = Crowd::new(1);
    assert!(crowd.answer(Outcome::NoTime).is_empty() && crowd.asked.is_empty());
    let told = crowd.advance(Duration::from_millis(250));
    assert!(told.is_empty() && crowd.asked.len() == 1, "{told:?}");
    // Its client leaves, and it is forgotten.
    crowd.scenario.fixture.close_client(crowd.clients[0]);
    assert!(crowd.answer(Outcome::NoTime).is_empty());
    assert!(crowd.advance(Duration::from_secs(1)).is_empty() && crowd.asked.is_empty());
}

#[test]
fn only_a_full_queue_refuses_a_login() {
    let mut crowd = Crowd::new(WINDOW + QUEUE);
    let client = crowd.scenario.fixture.open_client();
    let lines = crowd.scenario.fixture.deliver(client, login_request());
    assert!(lines.is_empty(), "{lines:?}");
    let lines = crowd.advance(PUT_OFF);
    let refused = sent(client, LoginRefused { outcome: Outcome::TryAgainLater });
    assert_eq!(lines.iter().filter(|line| !line.contains("LoginQueued")).collect::<Vec<_>>(), [&refused]);
    // Another address has its place: the last one of the full address makes room.
    let client = crowd.scenario.fixture.open_client_at("192.0.2.1".parse().unwrap());
    assert!(crowd.scenario.fixture.deliver(client, login_request()).is_empty());
    let lines = crowd.advance(PUT_OFF);
    let refused = sent(crowd.clients[WINDOW + QUEUE - 1], LoginRefused { outcome: Outcome::TryAgainLater });
    assert!(lines.contains(&refused), "{lines:?}");
}

#[test]
fn a_client_that_leaves_the_queue_is_not_asked_for() {
    let mut crowd = Crowd::new(WINDOW + 2);
    let left = crowd.clients.remove(WINDOW);
    crowd.scenario.fixture.close_client(left);
    let told = crowd.advance(Duration::from_millis(250));
    assert!(told.len() == 1 && is_queued(&told[0], crowd.clients[WINDOW], 1), "{told:?}");
    for at in 0..crowd.clients.len() {
        let refused = sent(crowd.clients[at], LoginRefused { outcome: Outcome::BadCredentials });
        assert_eq!(crowd.answer(Outcome::BadCredentials), [refused]);
    }
    assert!(crowd.asked.is_empty());
}

#[test]
fn time_in_the_queue_does_not_count_as_a_stay() {
    let mut crowd = Crowd::new(1);
    let client = crowd.clients[0];
    let closed = format!("{client} closed: LoginTimeout");
    let pause = Duration::from_millis(250);
    let mut lines = Vec::new();
    for _ in 0..2 * STAY.as_millis() / pause.as_millis() {
        lines.extend(crowd.answer(Outcome::NoTime));
        lines.extend(crowd.advance(pause));
    }
    assert!(!lines.contains(&closed), "{lines:?}");
    crowd.answer(Outcome::BadCredentials);
    assert!(crowd.advance(STAY.saturating_sub(pause)).is_empty());
    assert_eq!(crowd.advance(pause), [closed]);
}

#[test]
fn clients_in_the_queue_make_no_room() {
    let mut crowd = Crowd::new(WINDOW + QUEUE);
    // The scenario's own client and these are idle; the others wait.
    let idle: Vec<_> =
        (WINDOW + QUEUE + 1..SEATS - SEATS / 16).map(|_| crowd.scenario.fixture.open_client()).collect();
    for holder in [crowd.scenario.client].iter().chain(&idle) {
        let (_, lines) = crowd.scenario.fixture.open_client_lines();
        assert_eq!(lines, [format!("{holder} closed: ServerFull")]);
    }
}

#[test]
fn the_queue_keeps_its_places_while_an_agent_starts_anew_and_not_for_ever() {
    let mut crowd = Crowd::new(WINDOW + 2);
    let lines = crowd.scenario.fixture.close_link(crowd.scenario.agent);
    assert_eq!(lines.len(), WINDOW, "those that the agent had: {lines:?}");
    crowd.asked.clear();
    let told = crowd.advance(Duration::from_secs(2));
    assert!(told.len() == 2 && told.iter().all(|line| line.contains("LoginQueued")), "{told:?}");
    crowd.scenario.agent = crowd.scenario.fixture.open_db_agent(1);
    assert!(crowd.advance(Duration::ZERO).is_empty() && crowd.asked.len() == 2);

    let mut crowd = Crowd::new(WINDOW + 2);
    crowd.scenario.fixture.close_link(crowd.scenario.agent);
    crowd.advance(Duration::ZERO);
    let lines = crowd.advance(Duration::from_secs(10));
    let refused = crowd.clients[WINDOW..].iter();
    let refused: Vec<_> =
        refused.map(|client| sent(*client, LoginRefused { outcome: Outcome::TryAgainLater })).collect();
    assert_eq!(lines, refused);
}

#[test]
fn guesses_that_wait_are_not_tried_once_their_address_has_guessed_too_often() {
    let mut held = Held::new(|limits| limits.failed_logins = Rate::new(1, Duration::from_secs(30)));
    let guessers: Vec<_> = (0..WINDOW + 2).map(|_| held.open("192.0.2.1")).collect();
    let mut asked = Vec::new();
    for guesser in &guessers {
        asked.extend(held.scenario.fixture.deliver(*guesser, login_request()));
    }
    assert_eq!(asked.len(), WINDOW);
    let request = held.request_of(&asked).unwrap();
    let claim = Claim { account: 0, id: 0 };
    let answer = DbCheckPasswordAnswer { request, outcome: Outcome::BadCredentials, claim };
    held.scenario.fixture.deliver(held.scenario.agent, answer);
    let lines = held.scenario.fixture.advance(Duration::ZERO);
    let told = guessers[WINDOW..].iter().flat_map(|guesser| too_fast(*guesser, LoginRequest::NUMBER, 30_000));
    assert_eq!(lines, told.collect::<Vec<_>>());
}
