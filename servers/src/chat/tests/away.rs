//! Claims of users that have lost their connection: what the DB agents are told of them, and when.

use throng_core::crypto::ResumeToken;
use throng_core::wire::packets::{DbClaimAway, ResumeRequest};

use super::*;

const WINDOW: Duration = Duration::from_secs(30);
const AGENTS: usize = 2;

/// A chat server that keeps places, with two DB agents, a login server, a user that came by a login
/// and one that watches.
struct Lost {
    fixture: RoleFixture<ChatRole>,
    agents: [SessionId; AGENTS],
    client: SessionId,
}

impl Lost {
    fn new() -> Self {
        let mut fixture = chat_that_keeps(WINDOW, &[PeerRole::DbAgent; AGENTS]);
        let agents = [0, 1].map(|dialed| fixture.open_db_agent(dialed));
        let login = fixture.open_link(PeerRole::Login, None).0;
        let lines = fixture.deliver(login, ChatNotifyLogin { request: 7, claim: CLAIM });
        let load = |agent| sent(agent, DbLoadCharacter { request: 1, claim: CLAIM });
        let asked = agents.into_iter().find(|agent| lines == [load(*agent)]).unwrap();
        let character = Some(character());
        let answer = DbLoadCharacterAnswer { request: 1, outcome: Outcome::Ok, claim: CLAIM, character };
        fixture.deliver(asked, answer);
        let client = fixture.open_client();
        let lines = fixture.deliver(client, enter_request(CLAIM.id));
        assert!(lines[0].contains("EnterAnswer"), "{lines:?}");
        let witness = fixture.open_client();
        fixture.deliver(witness, ticket(CLAIM.account + 1, 0, "Witness"));
        Self { fixture, agents, client }
    }

    fn lose_connection(&mut self) -> Vec<String> {
        self.fixture.close_client_for(self.client, CloseReason::ConnectionLost)
    }

    /// Resumes with the first token.
    fn resume(&mut self) -> Vec<String> {
        let token = resume_tokens(1).seal(&ResumeToken { user: 1, counter: 1, claim: CLAIM });
        let channels = List::default();
        let request = ResumeRequest { token, answers: 0, whispers: 0, world: 0, list_version: 3, channels };
        self.client = self.fixture.open_client();
        self.fixture.deliver(self.client, request)
    }

    /// Returns the lines of a mark to every agent.
    fn marks(&self, is_away: bool) -> Vec<String> {
        self.agents.map(|agent| mark(agent, is_away)).to_vec()
    }
}

fn mark(agent: SessionId, is_away: bool) -> String {
    sent(agent, DbClaimAway { claim: CLAIM, is_away })
}

/// Returns the lines to DB agents about claims.
fn claims(lines: &[String]) -> Vec<String> {
    let is_wanted = |line: &&String| ["DbClaimAway", "DbReleaseClaim"].iter().any(|name| line.contains(name));
    lines.iter().filter(is_wanted).cloned().collect()
}

#[test]
fn every_agent_is_told_when_a_user_goes_away_and_when_it_is_back() {
    let mut lost = Lost::new();
    let lines = lost.lose_connection();
    assert_eq!(claims(&lines), lost.marks(true), "{lines:?}");
    assert_eq!(lines.len(), 1 + AGENTS, "it leaves the room: {lines:?}");
    let lines = lost.resume();
    assert!(lines.iter().any(|line| line.contains("ResumeAnswer")), "{lines:?}");
    assert_eq!(claims(&lines), lost.marks(false));
    assert_eq!(claims(&lost.lose_connection()), lost.marks(true));
}

#[test]
fn a_connection_that_replaces_an_open_one_is_no_news() {
    let mut lost = Lost::new();
    let lines = lost.resume();
    assert!(lines.iter().any(|line| line.contains("ResumedElsewhere")), "{lines:?}");
    assert_eq!(claims(&lines), [] as [&str; 0]);
}

#[test]
fn a_minted_ticket_has_no_claim_to_mark() {
    let mut fixture = chat_that_keeps(WINDOW, &[PeerRole::DbAgent]);
    fixture.open_db_agent(0);
    let client = fixture.open_client();
    fixture.deliver(client, ticket(5, 0, "Minted"));
    assert_eq!(fixture.close_client(client), [format!("{client} leaves 0")]);
}

#[test]
fn a_user_that_is_not_back_in_time_is_released() {
    let mut lost = Lost::new();
    lost.lose_connection();
    let lines = lost.fixture.advance(WINDOW);
    assert_eq!(claims(&lines), lost.agents.map(|agent| sent(agent, DbReleaseClaim { claim: CLAIM })));
}

/// Another login has displaced the claim.
#[test]
fn a_claim_that_is_revoked_while_its_user_is_away_ends_the_place_at_once() {
    let mut lost = Lost::new();
    lost.lose_connection();
    let lines = lost.fixture.deliver(lost.agents[0], DbClaimRevoked { claim: CLAIM });
    assert_eq!(claims(&lines), lost.agents.map(|agent| sent(agent, DbReleaseClaim { claim: CLAIM })));
    let left = lines.iter().filter(|line| line.starts_with("room 0 <- UsersChanged"));
    assert_eq!(left.count(), 1, "{lines:?}");
    let lines = lost.resume();
    assert_eq!(lines, [format!("{} closed: PlaceLost", lost.client)]);
    let lines = lost.fixture.advance(WINDOW);
    assert!(lines.is_empty(), "{lines:?}");
}

/// The other login was faster, and its news come later.
#[test]
fn a_claim_that_is_revoked_after_its_user_is_back_closes_the_new_session() {
    let mut lost = Lost::new();
    lost.lose_connection();
    lost.resume();
    let lines = lost.fixture.deliver(lost.agents[1], DbClaimRevoked { claim: CLAIM });
    assert_eq!(claims(&lines), lost.agents.map(|agent| sent(agent, DbReleaseClaim { claim: CLAIM })));
    assert!(lines.contains(&format!("{} closed: LoggedInElsewhere", lost.client)), "{lines:?}");
}

#[test]
fn an_agent_that_compares_a_list_is_told_afterwards() {
    let mut lost = Lost::new();
    let other = lost.agents[1];
    lost.fixture.close_link(lost.agents[0]);
    let (agent, _) = lost.fixture.open_link(PeerRole::DbAgent, Some(0));
    // The other one compares a list too, since the first one's link was lost.
    assert_eq!(claims(&lost.lose_connection()), [] as [&str; 0]);
    for link in [agent, other] {
        assert_eq!(lost.fixture.deliver(link, DbClaimsSynced {}), [mark(link, true)]);
    }
    lost.agents = [other, agent];
    assert_eq!(claims(&lost.resume()), lost.marks(false));
}

#[test]
fn what_happens_without_an_agent_is_told_after_the_next_list_if_it_still_holds() {
    for is_back in [false, true] {
        let mut lost = Lost::new();
        if is_back {
            lost.lose_connection();
        }
        for agent in lost.agents {
            lost.fixture.close_link(agent);
        }
        let lines = if is_back { lost.resume() } else { lost.lose_connection() };
        assert_eq!(claims(&lines), [] as [&str; 0]);
        let (agent, lines) = lost.fixture.open_link(PeerRole::DbAgent, Some(0));
        // The list clears the mark of before.
        assert!(lines[0].contains("DbHeldClaims") && lines[0].contains("id: 40"), "{lines:?}");
        let told = lost.fixture.deliver(agent, DbClaimsSynced {});
        assert_eq!(told, if is_back { vec![] } else { vec![mark(agent, true)] });
    }
}
