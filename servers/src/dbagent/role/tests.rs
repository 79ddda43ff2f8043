//! Replies of DB threads that change the online state after the request was answered.

use parking_lot::Mutex;
use throng_core::net::PeerKind;
use throng_core::wire::List;
use throng_core::wire::packets::Role as PeerRole;

use super::*;
use crate::role_fixture::{hello, links};

const LEASE: Duration = Duration::from_secs(15);
const INSTANCE: u64 = 7;

/// DB threads that keep each request.
#[derive(Default)]
struct Recorder {
    jobs: Mutex<Vec<request::Job<Tag>>>,
    stats: PoolStats,
}

impl Executor for Recorder {
    fn try_submit(&self, job: request::Job<Tag>) -> Result<(), Rejected<Tag>> {
        self.jobs.lock().push(job);
        Ok(())
    }

    fn depth(&self) -> usize {
        self.jobs.lock().len()
    }

    fn hung(&self) -> usize {
        0
    }

    fn hash_time(&self) -> Duration {
        Duration::ZERO
    }

    fn addresses(&self) -> usize {
        0
    }

    fn stats(&self) -> &PoolStats {
        &self.stats
    }
}

/// A DB agent with one link, from the process [`INSTANCE`].
struct Scenario {
    role: DbAgentRole,
    threads: Arc<Recorder>,
    link: SessionId,
    now: Instant,
}

impl Scenario {
    fn new() -> Self {
        let now = Instant::now();
        let settings = DbAgentSettings {
            comeback: Duration::from_secs(2),
            lease: LEASE,
            lease_grace: Duration::from_secs(1),
            request_timeout: Duration::from_secs(1),
        };
        let threads = Arc::new(Recorder::default());
        let agent_links = links(PeerRole::DbAgent, 1, Vec::new(), now);
        let role = DbAgentRole::new(settings, agent_links, threads.clone(), now);
        let link = SessionId::new(0, 3, 0);
        let mut scenario = Self { role, threads, link, now };
        scenario.open_link();
        scenario.packet(list(1));
        for tag in scenario.take_tags() {
            scenario.reply(tag, Answer::SyncHeld { outcome: Outcome::Ok, conflicts: Vec::new() });
        }
        scenario
    }

    fn open_link(&mut self) {
        self.open_link_of(PeerRole::Login, INSTANCE);
    }

    fn open_link_of(&mut self, role: PeerRole, instance: u64) {
        let address = ([127, 0, 0, 1], 9).into();
        self.job(Job::Opened(self.link, Opened { kind: PeerKind::Link, address, dialed: None }));
        self.packet(hello(role, instance));
    }

    fn job(&mut self, job: Job<Reply<Tag>>) -> Vec<String> {
        let mut effects = Effects::default();
        self.role.job(job, self.now, &mut effects);
        effects.describe()
    }

    fn packet(&mut self, packet: impl Into<throng_core::wire::Packet>) -> Vec<String> {
        self.job(Job::Packet(self.link, packet.into(), self.now))
    }

    fn reply(&mut self, tag: Tag, answer: Answer) -> Vec<String> {
        self.job(Job::Record(Reply { tag, answer }))
    }

    /// Returns the tags of the waiting lists and logins.
    fn take_tags(&mut self) -> Vec<Tag> {
        let jobs = std::mem::take(&mut *self.threads.jobs.lock());
        let is_wanted =
            |request: &Request| matches!(request, Request::SyncHeld { .. } | Request::CheckPassword { .. });
        jobs.into_iter().filter(|job| is_wanted(&job.request)).map(|job| job.tag).collect()
    }

    /// Requests a login and lets it time out.
    fn timed_out_login(&mut self) -> Tag {
        let (id, password) = ("bob", "password");
        let id = packets::IdText::new(id).unwrap();
        let password = packets::PasswordText::new(password).unwrap();
        self.packet(DbCheckPassword { request: 5, origin: Origin::UNKNOWN, id, password, take_over: true });
        let [tag] = self.take_tags()[..] else { panic!("one login waits") };
        self.now += Duration::from_secs(1);
        let mut effects = Effects::default();
        self.role.tick(self.now, &mut effects);
        assert!(effects.describe()[0].contains("TryAgainLater"));
        tag
    }

    fn closed(&self) -> Vec<String> {
        vec![format!("{} closed: InternalError", self.link)]
    }
}

fn list(number: u64) -> DbHeldClaims {
    DbHeldClaims { list: number, claims: List::default(), last: true }
}

/// Found by the simulation: the list voided the claims of the later one, and no request over the
/// new link was answered.
#[test]
fn a_list_that_comes_late_over_an_older_link_changes_nothing() {
    let mut scenario = Scenario::new();
    let older = scenario.link;
    scenario.link = SessionId::new(0, 4, 0);
    scenario.open_link();
    assert!(scenario.packet(list(3)).is_empty());
    assert_eq!(scenario.take_tags().len(), 1);
    let newer = std::mem::replace(&mut scenario.link, older);
    let closed = scenario.closed();
    assert_eq!(scenario.packet(list(2)), closed);
    assert!(scenario.take_tags().is_empty(), "it is not compared");
    let reason = CloseReason::InternalError;
    scenario.job(Job::Closed(older, Closed { kind: PeerKind::Link, dialed: None, reason }));
    scenario.link = newer;
    let tag = scenario.timed_out_login();
    let closed = scenario.closed();
    assert_eq!(scenario.reply(tag, Answer::Overtaken), closed, "the newer link is in use");
}

/// Found by the simulation: the undoing was repeated, or a later login had replaced the claim, and
/// what it had displaced was forgotten. The player stayed in the chat without a claim.
#[test]
fn a_claim_that_is_undone_has_all_processes_list_their_claims_anew() {
    let mut scenario = Scenario::new();
    let tag = scenario.timed_out_login();
    let mut closed = scenario.closed();
    scenario.link = SessionId::new(0, 4, 0);
    scenario.open_link_of(PeerRole::Chat, INSTANCE + 1);
    scenario.packet(list(1));
    closed.extend(scenario.closed());
    for outcome in [Outcome::Ok, Outcome::TryAgainLater, Outcome::InternalError] {
        let mut effects = scenario.reply(tag, Answer::UndoClaim { outcome });
        effects.sort();
        assert_eq!(effects, closed, "{outcome:?}");
    }
}

/// Found by the simulation: the holder's link was new, and the list that followed was older than
/// one that another agent had compared. The player stayed in the chat without a claim.
#[test]
fn the_holder_of_a_displaced_claim_is_told_before_its_first_list() {
    let mut scenario = Scenario::new();
    let tag = scenario.timed_out_login();
    scenario.link = SessionId::new(0, 4, 0);
    scenario.open_link_of(PeerRole::Chat, INSTANCE + 1);
    let [claim, displaced] = [40, 41].map(|id| Claim { account: 4, id });
    let held = Some(Held { instance: INSTANCE + 1, claim: displaced });
    let revoked = format!(
        "{} <- {:?}",
        scenario.link,
        throng_core::wire::Packet::from(DbClaimRevoked { claim: displaced })
    );
    let answer = Answer::CheckPassword { outcome: Outcome::Ok, claim, displaced: held };
    assert_eq!(scenario.reply(tag, answer), [revoked]);
}

#[test]
fn a_claim_that_may_have_been_made_has_its_process_list_its_claims_anew() {
    let mut scenario = Scenario::new();
    let tag = scenario.timed_out_login();
    let closed = scenario.closed();
    let failed = Answer::ReleaseClaim { outcome: Outcome::InternalError };
    assert_eq!(scenario.reply(tag, failed), closed);
    assert_eq!(scenario.reply(tag, Answer::Overtaken), closed);
}

/// A claim that stays marked would let another login in beside a player that is back. A mark that
/// is not made only keeps a player waiting.
#[test]
fn a_mark_is_passed_on_for_its_process_and_listed_anew_if_it_cannot_be_undone() {
    let mut scenario = Scenario::new();
    let claim = Claim { account: 4, id: 40 };
    scenario.threads.jobs.lock().clear();
    for is_away in [true, false] {
        assert!(scenario.packet(DbClaimAway { claim, is_away }).is_empty());
        let job = scenario.threads.jobs.lock().pop().unwrap();
        assert_eq!(job.request, Request::MarkClaim { claim, instance: INSTANCE, is_away });
        assert!(scenario.reply(job.tag, Answer::MarkClaim { outcome: Outcome::Ok, is_away }).is_empty());
        let closed = if is_away { Vec::new() } else { scenario.closed() };
        for outcome in [Outcome::TryAgainLater, Outcome::InternalError] {
            assert_eq!(scenario.reply(job.tag, Answer::MarkClaim { outcome, is_away }), closed);
        }
    }
}

#[test]
fn a_mark_that_comes_late_over_an_older_link_is_ignored() {
    let mut scenario = Scenario::new();
    let older = scenario.link;
    scenario.link = SessionId::new(0, 4, 0);
    scenario.open_link();
    scenario.packet(list(2));
    scenario.threads.jobs.lock().clear();
    let mark = DbClaimAway { claim: Claim { account: 4, id: 40 }, is_away: true };
    let newer = std::mem::replace(&mut scenario.link, older);
    assert!(scenario.packet(mark.clone()).is_empty());
    assert!(scenario.threads.jobs.lock().is_empty());
    scenario.link = newer;
    scenario.packet(mark);
    assert_eq!(scenario.threads.jobs.lock().len(), 1);
}

/// Found by the simulation: another login had the account of a claim and left, while no agent could
/// renew the lease. The player stayed in the chat without a claim.
#[test]
fn a_lease_that_had_ended_has_its_process_list_its_claims_anew() {
    let mut scenario = Scenario::new();
    let begin = scenario.now;
    let renewed = Answer::RenewHolder { outcome: Outcome::Ok };
    let tag = |lease_until| Tag { lease_until: Some(lease_until), ..Tag::new(scenario.link, INSTANCE, 0) };
    let tags = [1, 2, 3].map(|fifth| tag(begin + LEASE + fifth * LEASE / 5));
    scenario.now = begin + LEASE * 9 / 10;
    assert!(scenario.reply(tags[0], renewed.clone()).is_empty());
    scenario.now = begin + LEASE;
    assert!(scenario.reply(tags[1], renewed.clone()).is_empty());
    scenario.now = begin + LEASE + 2 * LEASE / 5;
    let closed = scenario.closed();
    assert_eq!(scenario.reply(tags[2], renewed.clone()), closed);
    assert!(scenario.reply(tags[2], renewed).is_empty(), "closed once");
}

#[test]
fn a_request_is_answered_before_its_server_gives_up() {
    let time = |wait_ms, timeout_ms| {
        time_for(Origin { wait_ms, ..Origin::UNKNOWN }, Duration::from_millis(timeout_ms)).as_millis()
    };
    assert_eq!([time(1500, 1000), time(0, 1000), time(800, 1000)], [1000, 1000, 700]);
    assert!(time(u32::MAX, 1000) == 1000 && time(1, 1000) <= 1);
}
