use super::*;
use crate::dbagent::cpu_time_fixture::{median, thread_cpu_seconds};
use crate::dbagent::database_fixture::{Script, When};
use crate::dbagent::migrate::migrate_sqlite;
use crate::dbagent::procedures::{Fault, Held};
use crate::dbagent::request::{Answer, Request};
use crate::dbagent::sqlite::SqliteFile;
use std::sync::atomic::AtomicUsize;
use std::sync::mpsc::{self, Receiver};
use std::time::Duration;
use throng_core::wire::packets::{Claim, IdText, Origin, Outcome, PasswordText, RequestedName};

const CHEAP: PasswordCost = PasswordCost { memory_kib: 64, iterations: 1 };
const LOGIN: u64 = 1;
const CHAT: u64 = 2;
const NOW_MS: u64 = 1_000;

/// Returns the end of a lease that outlasts the test.
fn lease() -> Instant {
    Instant::now() + Duration::from_hours(24)
}

/// Time until the deadline of a request.
const DEADLINE: Duration = Duration::from_mins(1);
/// Longest wait for a reply. A reply within it is not the effect of a deadline.
const PATIENCE: Duration = Duration::from_secs(40);

/// A pool on a new database, and its replies. Tags are any numbers.
struct Bench {
    pool: Arc<Pool<u32>>,
    answers: Receiver<Reply<u32>>,
    script: Arc<Script>,
    dir: tempfile::TempDir,
}

impl Bench {
    fn new(threads: usize, queue: usize) -> Self {
        Self::with_limits(threads, queue, DriverLimits::default())
    }

    fn with_limits(threads: usize, queue: usize, limits: DriverLimits) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("throng.db");
        migrate_sqlite(&path, PATIENCE, 0).unwrap();
        let file = SqliteFile::new(path, PATIENCE);
        let script = Arc::new(Script::with_clock(NOW_MS));
        let (sender, answers) = mpsc::channel();
        let config = PoolConfig {
            threads,
            queue,
            control_queue: 64,
            password: CHEAP,
            agent: 1,
            limits,
            end_wait: Duration::from_millis(100),
        };
        let factory_script = Arc::clone(&script);
        let factory = move || factory_script.open(|| Ok(Box::new(file.connect()?)));
        let sink = move |reply| {
            let _ = sender.send(reply);
        };
        let pool = Arc::new(Pool::start(&config, factory, sink).unwrap());
        Self { pool, answers, script, dir }
    }

    fn submit(&self, tag: u32, request: Request) {
        self.pool.try_submit(job(tag, request)).unwrap_or_else(|rejected| panic!("{rejected}"));
    }

    fn answer(&self) -> Reply<u32> {
        self.answers.recv_timeout(PATIENCE).expect("every request is answered")
    }

    fn ask(&self, request: Request) -> Answer {
        self.submit(0, request);
        self.answer().answer
    }

    /// Blocks every call of the database until the guard is dropped, with the one thread in a call.
    fn hold(&self) -> parking_lot::MutexGuard<'_, ()> {
        let gate = self.script.close_gate();
        self.submit(u32::MAX, create(0, "held"));
        self.script.wait_for("character_insert");
        gate
    }

    /// Makes the next calls of a procedure fail without effect; the last fault comes first.
    fn fault(&self, procedure: &'static str, faults: &[Fault]) {
        let faults: Vec<_> = faults.iter().map(|fault| (*fault, When::Before)).collect();
        self.script.fail(procedure, &faults);
    }

    /// Loses the connection after the next call of a procedure, before its answer.
    fn lose_answer(&self, procedure: &'static str) {
        self.script.fail(procedure, &[(Fault::Lost, When::After)]);
    }

    fn leases(&self) {
        for instance in [LOGIN, CHAT] {
            let renewed = self.ask(Request::RenewHolder { instance, lease_until: lease() });
            assert_eq!(renewed, Answer::RenewHolder { outcome: Outcome::Ok });
        }
    }

    fn sign_up(&self, name: &str) {
        let signed_up = self.ask(sign_up(name));
        assert_eq!(signed_up, Answer::SignUp { outcome: Outcome::Ok });
    }

    fn log_in(&self, name: &str) -> Claim {
        match self.ask(check(name, "password", false)) {
            Answer::CheckPassword { outcome: Outcome::Ok, claim, displaced: None } => claim,
            other => panic!("{other:?}"),
        }
    }
}

fn job(tag: u32, request: Request) -> Job<u32> {
    Job { request, origin: Origin::UNKNOWN, tag, deadline: Instant::now() + DEADLINE }
}

fn id(text: &str) -> IdText {
    IdText::new(text).unwrap()
}

fn secret(text: &str) -> PasswordText {
    PasswordText::new(text).unwrap()
}

fn sign_up(name: &str) -> Request {
    Request::SignUp { id: id(name), password: secret("password") }
}

fn check(name: &str, password: &str, take_over: bool) -> Request {
    Request::CheckPassword { id: id(name), password: secret(password), take_over, instance: LOGIN }
}

fn create(account: u64, name: &str) -> Request {
    Request::CreateCharacter { account, name: RequestedName::new(name).unwrap() }
}

fn mark(claim: &Claim, is_away: bool) -> Request {
    Request::MarkClaim { claim: *claim, instance: LOGIN, is_away }
}

fn release(claim: &Claim, instance: u64) -> Request {
    Request::ReleaseClaim { claim: *claim, instance }
}

#[test]
fn a_player_signs_up_logs_in_and_is_displaced() {
    let bench = Bench::new(2, 16);
    bench.leases();
    bench.sign_up("Bob");
    let refused = |outcome| Answer::SignUp { outcome };
    assert_eq!(bench.ask(sign_up("BOB")), refused(Outcome::IdTaken));
    assert_eq!(bench.ask(sign_up("b")), refused(Outcome::IdInvalid));
    assert_eq!(bench.ask(sign_up(&"b".repeat(33))), refused(Outcome::IdTooLong));
    let weak = Request::SignUp { id: id("eve"), password: secret("short") };
    assert_eq!(bench.ask(weak), refused(Outcome::PasswordInvalid));

    let verify = |password| bench.ask(Request::VerifyAccount { id: id("bob"), password: secret(password) });
    let Answer::VerifyAccount { outcome: Outcome::Ok, account } = verify("password") else { panic!() };
    let bad = Answer::VerifyAccount { outcome: Outcome::BadCredentials, account: 0 };
    assert_eq!(verify("passw0rd"), bad);

    let claim = bench.log_in("bob");
    assert_eq!(claim.account, account);
    let load = |claim: &Claim| bench.ask(Request::LoadCharacter { claim: *claim, instance: CHAT });
    let nothing = |outcome| Answer::LoadCharacter { outcome, character: None };
    assert_eq!(load(&claim), nothing(Outcome::NoCharacter));

    for (account, name, outcome) in [
        (account, "x", Outcome::NameInvalid),
        (account, &*"x".repeat(25), Outcome::NameTooLong),
        (u64::MAX, "Bobby", Outcome::BadCredentials),
        (account, "Bobby 김", Outcome::Ok),
        (account, "Other", Outcome::CharacterExists),
    ] {
        assert_eq!(bench.ask(create(account, name)), Answer::CreateCharacter { outcome }, "{name}");
    }
    let Answer::LoadCharacter { outcome: Outcome::Ok, character: Some(character) } = load(&claim) else {
        panic!()
    };
    assert_eq!((&*character.name, character.level), ("Bobby 김", 1));

    // The chat server holds the claim now.
    bench.ask(release(&claim, LOGIN));
    assert_eq!(bench.ask(check("bob", "password", false)).outcome(), Outcome::AlreadyOnline);
    let Answer::CheckPassword { outcome: Outcome::Ok, claim: second, displaced: Some(displaced) } =
        bench.ask(check("bob", "password", true))
    else {
        panic!()
    };
    assert_eq!((displaced.instance, &displaced.claim), (CHAT, &claim));
    assert_eq!(load(&claim), nothing(Outcome::ClaimLost));
    let sync = |instance, claims| {
        bench.ask(Request::SyncHeld { instance, list: 1, is_first: true, claims, lease_until: lease() })
    };
    let conflicts = Answer::SyncHeld { outcome: Outcome::Ok, conflicts: vec![claim] };
    assert_eq!(sync(CHAT, vec![claim]), conflicts);
    assert_eq!(bench.ask(release(&second, LOGIN)), Answer::ReleaseClaim { outcome: Outcome::Ok });
    bench.log_in("bob");
}

#[test]
fn a_login_displaces_a_claim_that_is_away_and_no_other() {
    let bench = Bench::new(1, 16);
    bench.leases();
    bench.sign_up("bob");
    let claim = bench.log_in("bob");
    for (is_away, outcome) in [(true, None), (false, Some(Outcome::AlreadyOnline)), (true, Some(Outcome::Ok))]
    {
        let marked = bench.ask(mark(&claim, is_away));
        assert_eq!(marked, Answer::MarkClaim { outcome: Outcome::Ok, is_away });
        let Some(outcome) = outcome else { continue };
        let Answer::CheckPassword { outcome: found, displaced, .. } =
            bench.ask(check("bob", "password", false))
        else {
            panic!("no answer to a login")
        };
        assert_eq!(found, outcome);
        let wanted = Held { instance: LOGIN, claim };
        assert_eq!(displaced, (outcome == Outcome::Ok).then_some(wanted));
    }
}

/// The latest mark decides whether another login may have the account.
#[test]
fn marks_survive_a_lost_connection_in_order() {
    for (marks, outcome) in [([true, false], Outcome::AlreadyOnline), ([false, true], Outcome::Ok)] {
        let bench = Bench::new(1, 16);
        bench.leases();
        bench.sign_up("bob");
        let claim = bench.log_in("bob");
        bench.fault("online_away", &[Fault::Lost, Fault::Busy, Fault::Full, Fault::Lost]);
        let gate = bench.hold();
        for (tag, is_away) in (1..).zip(marks) {
            bench.submit(tag, mark(&claim, is_away));
        }
        bench.submit(3, check("bob", "password", false));
        drop(gate);
        let replies: Vec<_> = (0..4).map(|_| bench.answer()).map(|r| (r.tag, r.answer.outcome())).collect();
        assert_eq!(replies[1..], [(1, Outcome::Ok), (2, Outcome::Ok), (3, outcome)]);
    }
}

#[test]
fn the_agent_is_told_of_a_mark_that_may_have_come_late() {
    let bench = Bench::with_limits(1, 16, SHORT);
    bench.leases();
    bench.sign_up("bob");
    let claim = bench.log_in("bob");
    let hang = bench.script.hang("online_away");
    bench.submit(1, mark(&claim, true));
    bench.submit(2, mark(&claim, false));
    let replies = [bench.answer(), bench.answer()].map(|reply| (reply.tag, reply.answer.outcome()));
    assert_eq!(replies, [(1, Outcome::Ok), (2, Outcome::Ok)]);
    drop(hang);
    let overtaken = bench.answer();
    assert_eq!((overtaken.tag, overtaken.answer), (1, Answer::Overtaken));
}

#[test]
fn a_login_through_a_server_without_a_lease_is_refused() {
    let bench = Bench::new(1, 16);
    bench.sign_up("bob");
    assert_eq!(bench.ask(check("bob", "password", false)).outcome(), Outcome::TryAgainLater);
}

#[test]
fn all_wrong_credentials_get_the_same_answer() {
    let bench = Bench::new(1, 16);
    bench.leases();
    bench.sign_up("bob");
    for (name, password) in [
        ("bob", "passw0rd"),
        ("bob", ""),
        ("nobody", "password"),
        ("", "password"),
        ("b\0b", "password"),
        ("' OR 1=1 --", "password"),
        (&"x".repeat(255), &"x".repeat(512)),
    ] {
        let answer = bench.ask(check(name, password, true));
        let claim = Claim { account: 0, id: 0 };
        let outcome = Outcome::BadCredentials;
        assert_eq!(answer, Answer::CheckPassword { outcome, claim, displaced: None }, "{name}");
    }
}

#[test]
fn unknown_impossible_and_wrong_credentials_take_the_same_time() {
    let bench = Bench::new(1, 16);
    let file = SqliteFile::new(bench.dir.path().join("throng.db"), PATIENCE);
    // Costly enough for a skipped hash to stand out.
    let password = PasswordCost { memory_kib: 256, iterations: 1 };
    let config = PoolConfig { threads: 1, password, ..PoolConfig::default() };
    let (sender, answers) = mpsc::channel();
    let sink = move |reply: Reply<u32>| {
        let _ = sender.send((reply.answer.outcome(), thread_cpu_seconds()));
    };
    let pool = Pool::start(&config, move || Ok(Box::new(file.connect()?)), sink).unwrap();
    // Returns the outcome, and the CPU time of the DB thread up to its reply.
    let ask = |request| {
        pool.try_submit(job(0, request)).unwrap();
        answers.recv_timeout(PATIENCE).unwrap()
    };
    let (outcome, mut last) = ask(sign_up("bob"));
    assert_eq!(outcome, Outcome::Ok);
    let too_long = "x".repeat(255);
    let names = ["bob", "nobody", "", " x ", &too_long];
    let mut times = names.map(|_| Vec::new());
    for _ in 0..21 {
        for (times, name) in times.iter_mut().zip(names) {
            let (outcome, now) = ask(check(name, "passw0rd", false));
            assert_eq!(outcome, Outcome::BadCredentials);
            times.push(now - last);
            last = now;
        }
    }
    let medians = times.map(median);
    for (median, name) in medians.iter().zip(names) {
        let ratio = median / medians[0];
        assert!((0.5..2.0).contains(&ratio), "{name:?}: ratio of the medians {ratio}");
    }
}

#[test]
fn a_full_queue_refuses_jobs_and_control_requests_go_first() {
    let bench = Bench::new(1, 2);
    bench.leases();
    let gate = bench.hold();
    bench.submit(1, sign_up("one"));
    bench.submit(2, sign_up("two"));
    let rejected = bench.pool.try_submit(job(3, sign_up("three"))).unwrap_err();
    assert!(matches!(rejected, Rejected::Full(Job { tag: 3, .. })));
    bench.submit(4, create(77, "quick"));
    bench.submit(5, release(&Claim { account: 1, id: 1 }, CHAT));
    bench.submit(6, Request::RenewHolder { instance: CHAT, lease_until: lease() });
    assert_eq!(bench.pool.depth(), 5);
    drop(gate);
    let order: Vec<u32> = (0..6).map(|_| bench.answer().tag).collect();
    assert_eq!(order, [u32::MAX, 5, 6, 4, 1, 2]);
    assert_eq!(bench.pool.stats().rejected.load(Relaxed), 1);
}

#[test]
fn a_release_that_arrives_during_the_hash_is_executed_before_the_claim() {
    let bench = Bench::new(1, 16);
    bench.leases();
    bench.sign_up("bob");
    let claim = bench.log_in("bob");
    // The gate stops the thread in `account_select`, after it has taken the login from the queue.
    let gate = bench.script.close_gate();
    bench.script.take_calls();
    bench.submit(1, check("bob", "password", false));
    bench.script.wait_for("account_select");
    bench.submit(2, release(&claim, LOGIN));
    drop(gate);
    let replies = [bench.answer(), bench.answer()];
    assert_eq!(
        replies.map(|reply| (reply.tag, reply.answer.outcome())),
        [(2, Outcome::Ok), (1, Outcome::Ok)]
    );
}

#[test]
fn expired_requests_are_not_executed_but_expired_releases_are() {
    let bench = Bench::new(1, 16);
    let gate = bench.hold();
    let deadline = Instant::now();
    bench.pool.try_submit(Job { deadline, ..job(1, sign_up("late")) }).unwrap();
    let late = release(&Claim { account: 1, id: 1 }, CHAT);
    bench.pool.try_submit(Job { deadline, ..job(2, late) }).unwrap();
    drop(gate);
    assert_eq!(bench.answer().tag, u32::MAX);
    assert_eq!(bench.answer().answer, Answer::ReleaseClaim { outcome: Outcome::Ok });
    assert_eq!(bench.answer().answer, Answer::SignUp { outcome: Outcome::TryAgainLater });
    assert!(!bench.script.take_calls().contains(&"account_insert"));
    assert_eq!(bench.pool.stats().late.load(Relaxed), 1);
}

#[test]
fn a_lost_connection_is_replaced_and_releases_survive_it_in_order() {
    let bench = Bench::new(1, 16);
    bench.leases();
    bench.sign_up("bob");
    let claim = bench.log_in("bob");
    bench.fault("online_release", &[Fault::Lost, Fault::Busy, Fault::Full, Fault::Lost]);
    bench.fault("account_insert", &[Fault::Lost]);
    bench.script.take_calls();
    let gate = bench.hold();
    bench.submit(1, release(&claim, LOGIN));
    bench.submit(
        2,
        Request::SyncHeld { instance: LOGIN, list: 1, is_first: true, claims: vec![], lease_until: lease() },
    );
    bench.submit(3, sign_up("eve"));
    bench.submit(4, sign_up("eve"));
    drop(gate);
    let replies: Vec<_> = (0..5).map(|_| bench.answer()).map(|r| (r.tag, r.answer.outcome())).collect();
    assert_eq!(replies[1..], [(1, Outcome::Ok), (2, Outcome::Ok), (3, Outcome::Ok), (4, Outcome::IdTaken)]);
    assert_eq!(bench.script.take_calls().iter().filter(|call| **call == "open").count(), 3);
    assert_eq!(bench.pool.stats().retried.load(Relaxed), 5);
    bench.log_in("bob");
}

#[test]
fn a_request_whose_answer_was_lost_takes_effect_once() {
    let bench = Bench::new(1, 16);
    bench.leases();
    bench.lose_answer("account_insert");
    bench.sign_up("bob");
    assert_eq!(bench.ask(sign_up("bob")).outcome(), Outcome::IdTaken);
    bench.lose_answer("online_claim");
    let claim = bench.log_in("bob");
    bench.lose_answer("character_insert");
    assert_eq!(bench.ask(create(claim.account, "Bob")).outcome(), Outcome::Ok);
    assert_eq!(bench.ask(create(claim.account, "Bob")).outcome(), Outcome::CharacterExists);
    bench.lose_answer("online_transfer");
    let load = bench.ask(Request::LoadCharacter { claim, instance: CHAT });
    assert_eq!(load.outcome(), Outcome::Ok);
    assert_eq!(bench.ask(check("bob", "password", false)).outcome(), Outcome::AlreadyOnline);
    // A repeated take-over still returns the displaced claim.
    bench.lose_answer("online_claim");
    let Answer::CheckPassword { outcome: Outcome::Ok, displaced: Some(displaced), .. } =
        bench.ask(check("bob", "password", true))
    else {
        panic!("no claim was displaced")
    };
    assert_eq!((displaced.instance, displaced.claim), (CHAT, claim));
    assert_eq!(bench.pool.stats().retried.load(Relaxed), 5);
}

/// Found by the simulation: the account stayed online with a claim that no server knew of.
#[test]
fn a_claim_whose_answer_is_lost_with_the_database_is_undone() {
    for take_over in [false, true] {
        let bench = Bench::new(1, 16);
        bench.leases();
        bench.sign_up("bob");
        let claim = bench.log_in("bob");
        bench.ask(mark(&claim, !take_over));
        bench.lose_answer("online_claim");
        bench.script.is_down.store(true, Relaxed);
        bench.submit(1, check("bob", "password", take_over));
        let refused = bench.answer();
        assert_eq!((refused.tag, refused.answer.outcome()), (1, Outcome::TryAgainLater));
        bench.script.is_down.store(false, Relaxed);
        let undone = bench.answer();
        // The holder of the displaced claim has to be told: its account is free.
        assert_eq!((undone.tag, undone.answer), (1, Answer::UndoClaim { outcome: Outcome::Ok }));
        bench.log_in("bob");
    }
}

/// Found by the simulation: the primary server made the claim and died, and the new connection led
/// to a read-only one.
#[test]
fn a_claim_whose_answer_is_lost_is_undone_after_a_read_only_database() {
    let bench = Bench::new(1, 16);
    bench.leases();
    bench.sign_up("bob");
    bench.script.fail("online_claim", &[(Fault::ReadOnly, When::Before), (Fault::Lost, When::After)]);
    bench.submit(1, check("bob", "password", false));
    assert_eq!(bench.answer().answer.outcome(), Outcome::TryAgainLater);
    assert_eq!(bench.answer().answer, Answer::UndoClaim { outcome: Outcome::Ok });
    bench.log_in("bob");
}

/// Found by the simulation, as the one above.
#[test]
fn a_transfer_whose_answer_is_lost_with_the_database_is_released() {
    let bench = Bench::new(1, 16);
    bench.leases();
    bench.sign_up("bob");
    let claim = bench.log_in("bob");
    assert_eq!(bench.ask(create(claim.account, "Bob")).outcome(), Outcome::Ok);
    bench.lose_answer("online_transfer");
    bench.script.is_down.store(true, Relaxed);
    bench.submit(1, Request::LoadCharacter { claim, instance: CHAT });
    assert_eq!(bench.answer().answer.outcome(), Outcome::TryAgainLater);
    bench.script.is_down.store(false, Relaxed);
    let released = bench.answer();
    assert_eq!((released.tag, released.answer), (1, Answer::ReleaseClaim { outcome: Outcome::Ok }));
    bench.log_in("bob");
}

/// Found by the simulation: such a thread may never return to say that it has made the claim.
#[test]
fn the_agent_is_told_of_a_thread_that_is_given_up_with_a_claim() {
    let bench = Bench::with_limits(1, 16, SHORT);
    bench.leases();
    bench.sign_up("bob");
    // Its claim may have displaced another one: any with take-over, or one that was away.
    for take_over in [false, true] {
        let hang = bench.script.hang("online_claim");
        bench.submit(1, check("bob", "password", take_over));
        let given_up = bench.answer();
        let undo = Answer::UndoClaim { outcome: Outcome::TryAgainLater };
        assert_eq!((given_up.tag, given_up.answer), (1, undo));
        drop(hang);
        assert_eq!(bench.answer().answer.outcome(), Outcome::Ok);
    }
}

#[test]
fn a_name_that_is_taken_stays_taken_over_a_new_connection() {
    let bench = Bench::new(1, 16);
    bench.sign_up("bob");
    for (id, name) in [("eve", "Eve"), ("mallory", "Eve")] {
        bench.sign_up(id);
        let Answer::VerifyAccount { account, .. } =
            bench.ask(Request::VerifyAccount { id: self::id(id), password: secret("password") })
        else {
            panic!()
        };
        bench.fault("character_insert", &[Fault::Lost]);
        let outcome = if id == "eve" { Outcome::Ok } else { Outcome::NameTaken };
        assert_eq!(bench.ask(create(account, name)).outcome(), outcome, "{id}");
    }
    bench.fault("account_insert", &[Fault::Lost]);
    assert_eq!(bench.ask(sign_up("bob")).outcome(), Outcome::IdTaken);
}

#[test]
fn permanent_faults_are_answered_and_not_retried() {
    let bench = Bench::new(1, 16);
    bench.leases();
    for (fault, outcome) in [
        (Fault::Busy, Outcome::TryAgainLater),
        (Fault::Full, Outcome::TryAgainLater),
        (Fault::Damaged, Outcome::InternalError),
        (Fault::Schema, Outcome::InternalError),
        (Fault::Refused, Outcome::InternalError),
    ] {
        bench.fault("account_insert", &[fault]);
        assert_eq!(bench.ask(sign_up("bob")).outcome(), outcome, "{fault:?}");
    }
    bench.fault("online_release", &[Fault::Damaged]);
    let released = bench.ask(release(&Claim { account: 1, id: 1 }, LOGIN));
    assert_eq!(released.outcome(), Outcome::InternalError);
    assert_eq!(bench.pool.stats().failed.load(Relaxed), 6);
    assert!(!bench.script.take_calls().contains(&"close"));
    bench.sign_up("bob");
}

#[test]
fn without_a_database_logins_are_refused_and_releases_wait() {
    let bench = Bench::new(2, 16);
    bench.leases();
    bench.sign_up("bob");
    let claim = bench.log_in("bob");
    bench.script.is_down.store(true, Relaxed);
    bench.fault("account_select", &[Fault::Lost, Fault::Lost]);
    for _ in 0..2 {
        assert_eq!(bench.ask(check("bob", "password", false)).outcome(), Outcome::TryAgainLater);
    }
    bench.submit(7, release(&claim, LOGIN));
    let late = job(8, check("bob", "password", false));
    let deadline = late.deadline;
    bench.pool.try_submit(late).unwrap();
    let reply = bench.answer();
    assert_eq!((reply.tag, reply.answer.outcome()), (8, Outcome::TryAgainLater));
    assert!(Instant::now() < deadline, "the login waited for its deadline");
    bench.script.is_down.store(false, Relaxed);
    let reply = bench.answer();
    assert_eq!((reply.tag, reply.answer.outcome()), (7, Outcome::Ok));
    bench.log_in("bob");
}

/// The pool keeps old connections to a demoted server, on which nothing can be written, though new
/// ones lead to its successor.
#[test]
fn connections_that_turned_read_only_are_replaced_and_no_release_is_lost() {
    let bench = Bench::new(1, 16);
    bench.leases();
    bench.sign_up("bob");
    let claim = bench.log_in("bob");
    bench.script.take_calls();
    bench.fault("account_insert", &[Fault::ReadOnly]);
    bench.sign_up("eve");
    assert_eq!(bench.script.take_calls(), ["account_insert", "open", "account_insert"]);

    // The new connection is read-only too, for a while.
    bench.fault("account_insert", &[Fault::ReadOnly; 2]);
    assert_eq!(bench.ask(sign_up("amy")).outcome(), Outcome::TryAgainLater);
    bench.sign_up("amy");
    bench.script.take_calls();
    bench.fault("online_release", &[Fault::ReadOnly; 9]);
    bench.submit(1, release(&claim, LOGIN));
    bench.submit(2, Request::RenewHolder { instance: LOGIN, lease_until: lease() });
    let replies = [bench.answer(), bench.answer()].map(|reply| (reply.tag, reply.answer.outcome()));
    assert_eq!(replies, [(1, Outcome::Ok), (2, Outcome::Ok)]);
    let opened = bench.script.take_calls().iter().filter(|call| **call == "open").count();
    assert_eq!(opened, 9, "each connection that answered read-only is replaced");
    bench.log_in("bob");
}

/// Calls that hang for a while make their threads be replaced.
const SHORT: DriverLimits = DriverLimits { connect: Duration::from_mins(5), call: Duration::from_millis(50) };

#[test]
fn a_hung_thread_is_replaced_and_its_control_job_is_not_lost() {
    let bench = Bench::with_limits(1, 16, SHORT);
    bench.leases();
    bench.sign_up("bob");
    let claim = bench.log_in("bob");
    // A release hangs, and behind it wait a renewal, which must keep its place, and a login.
    let hang = bench.script.hang("online_release");
    bench.submit(1, release(&claim, LOGIN));
    bench.submit(2, Request::RenewHolder { instance: LOGIN, lease_until: lease() });
    let replies = [bench.answer(), bench.answer()].map(|reply| (reply.tag, reply.answer.outcome()));
    assert_eq!(replies, [(1, Outcome::Ok), (2, Outcome::Ok)]);
    let claim = bench.log_in("bob");
    assert_eq!((bench.pool.hung(), bench.pool.stats().replaced.load(Relaxed)), (1, 1));
    assert_eq!((bench.pool.stats().connected.load(Relaxed), bench.pool.usable()), (2, 1));

    // The late release takes nothing from the new login, and its thread ends.
    drop(hang);
    while bench.pool.hung() > 0 {
        std::thread::yield_now();
    }
    assert_eq!(bench.ask(check("bob", "password", false)).outcome(), Outcome::AlreadyOnline);
    // A renewal that comes late may have shortened a lease: the agent is told.
    let hang = bench.script.hang("holder_renew");
    bench.submit(3, Request::RenewHolder { instance: LOGIN, lease_until: lease() });
    assert_eq!(bench.answer().answer, Answer::RenewHolder { outcome: Outcome::Ok });
    drop(hang);
    let overtaken = bench.answer();
    assert_eq!((overtaken.tag, overtaken.answer), (3, Answer::Overtaken));
    assert_eq!(bench.ask(release(&claim, LOGIN)).outcome(), Outcome::Ok);
    assert_eq!(bench.pool.shutdown(Instant::now() + PATIENCE).unwrap(), 0);
    assert_eq!(bench.pool.stats().connected.load(Relaxed), 0);
}

#[test]
fn a_login_that_hangs_is_answered_when_it_returns_and_the_others_before() {
    let bench = Bench::with_limits(2, 16, SHORT);
    bench.leases();
    bench.sign_up("bob");
    let hangs: Vec<_> = (0..2)
        .map(|tag| {
            bench.script.take_calls();
            let hang = bench.script.hang("account_select");
            bench.submit(tag, check("bob", "passw0rd", false));
            bench.script.wait_for("account_select");
            hang
        })
        .collect();
    bench.submit(7, check("bob", "passw0rd", false));
    assert_eq!(bench.answer().tag, 7);
    drop(hangs);
    let mut late = [bench.answer().tag, bench.answer().tag];
    late.sort_unstable();
    assert_eq!(late, [0, 1]);
}

/// A driver may never come back. The end of the process waits for it a while, and no longer.
#[test]
fn a_shutdown_leaves_threads_behind_that_hang() {
    let bench = Bench::with_limits(2, 16, DriverLimits::default());
    let hang = bench.script.hang("online_release");
    bench.submit(1, release(&Claim { account: 1, id: 1 }, LOGIN));
    bench.submit(2, release(&Claim { account: 1, id: 2 }, LOGIN));
    bench.script.wait_for("online_release");
    assert_eq!(bench.pool.shutdown(Instant::now()).unwrap(), 1);
    // The releases are answered all the same, once.
    let replies = [bench.answer(), bench.answer()].map(|reply| (reply.tag, reply.answer.outcome()));
    assert_eq!(replies, [(1, Outcome::TryAgainLater), (2, Outcome::TryAgainLater)]);
    drop(hang);
    while bench.pool.stats().connected.load(Relaxed) > 0 {
        std::thread::yield_now();
    }
    assert!(bench.answers.try_recv().is_err(), "the release is answered twice");
}

/// The threads look at the log between requests, and without a request while it is large.
#[test]
fn an_idle_pool_cuts_the_log_of_the_embedded_database() {
    let bench = Bench::new(2, 16);
    let path = bench.dir.path().join("throng.db");
    let log = || std::fs::metadata(path.with_extension("db-wal")).unwrap().len();
    let open = || rusqlite::Connection::open(&path).unwrap();
    let reader = open();
    reader.execute_batch("BEGIN; SELECT count(*) FROM accounts").unwrap();
    open().execute_batch("CREATE TABLE filler AS SELECT zeroblob(20000000) x").unwrap();
    let large = log();
    while throng_core::metrics::DB_WAL.get() < 20_000_000 {
        bench.leases();
        std::thread::sleep(Duration::from_millis(5));
    }
    drop(reader);
    let deadline = Instant::now() + PATIENCE;
    while log() > 16 << 20 {
        assert!(Instant::now() < deadline, "the log stays at {large} bytes");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A server on which connecting costs CPU time that all attempts share, as SQL Server's and
/// Babelfish's do on a cold start.
struct SlowServer {
    connecting: AtomicUsize,
    most: AtomicUsize,
    cost: Duration,
    patience: Duration,
}

impl SlowServer {
    fn connect(&self) -> Result<(), DbError> {
        const STEP: Duration = Duration::from_millis(1);
        let began_at = Instant::now();
        let mut left = self.cost;
        self.most.fetch_max(self.connecting.fetch_add(1, Relaxed) + 1, Relaxed);
        while !left.is_zero() && began_at.elapsed() < self.patience {
            std::thread::sleep(STEP);
            left = left.saturating_sub(STEP / self.connecting.load(Relaxed).max(1) as u32);
        }
        self.connecting.fetch_sub(1, Relaxed);
        if left.is_zero() { Ok(()) } else { Err(DbError::new(Fault::Lost, "slow server", "timeout")) }
    }
}

#[test]
fn two_agents_of_eight_threads_all_connect_to_a_slow_server() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("throng.db");
    migrate_sqlite(&path, PATIENCE, 0).unwrap();
    // All 16 at once would take 16 x 20 ms each, and give up after a fifth of it.
    let cost = Duration::from_millis(20);
    let server = Arc::new(SlowServer {
        connecting: AtomicUsize::new(0),
        most: AtomicUsize::new(0),
        cost,
        patience: cost * 3,
    });
    let pools: Vec<Pool<u32>> = (0..2)
        .map(|_| {
            let file = SqliteFile::new(&path, PATIENCE);
            let server = Arc::clone(&server);
            let config = PoolConfig { threads: 8, password: CHEAP, ..PoolConfig::default() };
            let connect = move || {
                server.connect()?;
                Ok(Box::new(file.connect()?) as Box<dyn Procedures>)
            };
            Pool::start(&config, connect, |_| {}).unwrap()
        })
        .collect();
    let deadline = Instant::now() + PATIENCE;
    while pools.iter().any(|pool| pool.stats().connected.load(Relaxed) < 8) {
        assert!(Instant::now() < deadline, "not every thread is connected");
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(server.most.load(Relaxed) <= 2, "an agent connects with several threads at once");
}

#[test]
fn a_shutdown_executes_the_queue_closes_and_refuses_new_requests() {
    let bench = Bench::new(2, 64);
    for number in 0..20 {
        bench.submit(number, sign_up(&format!("player{number}")));
    }
    bench.pool.shutdown(Instant::now() + Duration::from_secs(20)).unwrap();
    let mut tags: Vec<u32> = bench
        .answers
        .try_iter()
        .map(|reply| {
            assert_eq!(reply.answer.outcome(), Outcome::Ok);
            reply.tag
        })
        .collect();
    tags.sort_unstable();
    assert_eq!(tags, (0..20).collect::<Vec<_>>());
    assert!(matches!(bench.pool.try_submit(job(1, sign_up("late"))), Err(Rejected::Closed(_))));
    assert!(!bench.dir.path().join("throng.db-wal").exists(), "the databases are closed");
    assert_eq!(bench.pool.stats().connected.load(Relaxed), 0);
}

#[test]
fn a_shutdown_past_its_deadline_refuses_the_rest() {
    let bench = Bench::new(1, 64);
    let gate = bench.hold();
    for number in 0..5 {
        bench.submit(number, sign_up(&format!("player{number}")));
    }
    bench.submit(5, release(&Claim { account: 1, id: 1 }, LOGIN));
    std::thread::scope(|scope| {
        let down = scope.spawn(|| bench.pool.shutdown(Instant::now()));
        while !matches!(bench.pool.try_submit(job(9, sign_up("late"))), Err(Rejected::Closed(_))) {
            std::thread::yield_now();
        }
        drop(gate);
        down.join().unwrap().unwrap();
    });
    let outcomes: Vec<Outcome> =
        bench.answers.try_iter().filter(|r| r.tag <= 5).map(|r| r.answer.outcome()).collect();
    assert_eq!(outcomes, [Outcome::TryAgainLater; 6]);
}

#[test]
fn a_shutdown_while_the_database_is_away_ends() {
    let bench = Bench::new(2, 64);
    bench.script.is_down.store(true, Relaxed);
    bench.fault("online_release", &[Fault::Lost, Fault::Lost]);
    bench.submit(1, release(&Claim { account: 1, id: 1 }, LOGIN));
    bench.pool.shutdown(Instant::now() + Duration::from_millis(50)).unwrap();
    assert_eq!(bench.answer().answer, Answer::ReleaseClaim { outcome: Outcome::TryAgainLater });
}

#[test]
fn every_accepted_request_is_answered_exactly_once() {
    for round in 0..8 {
        let bench = Bench::new(3, 8);
        bench.fault("online_release", &[Fault::Lost; 5]);
        let accepted: u32 = std::thread::scope(|scope| {
            let submitters: Vec<_> = (0..4)
                .map(|submitter| {
                    let pool = &bench.pool;
                    scope.spawn(move || {
                        let submit = |number: u32| {
                            let claim = Claim { account: 1, id: u64::from(number) + 1 };
                            let request = match number % 3 {
                                0 => release(&claim, u64::from(number)),
                                1 => create(u64::MAX, "nobody"),
                                _ => Request::LoadCharacter { claim, instance: CHAT },
                            };
                            u32::from(pool.try_submit(job(submitter * 1000 + number, request)).is_ok())
                        };
                        (0..200).map(submit).sum::<u32>()
                    })
                })
                .collect();
            // In every other round the deadline is over at once.
            let drain = Duration::from_millis(100 * (round % 2));
            bench.pool.shutdown(Instant::now() + drain).unwrap();
            submitters.into_iter().map(|submitter| submitter.join().unwrap()).sum()
        });
        let mut tags: Vec<u32> = bench.answers.try_iter().map(|reply| reply.tag).collect();
        assert_eq!(tags.len(), accepted as usize);
        tags.sort_unstable();
        tags.dedup();
        assert_eq!(tags.len(), accepted as usize);
        assert_eq!(bench.pool.depth(), 0);
    }
}

#[test]
fn debug_output_hides_the_password() {
    let password = "hunter2";
    let request = check("bob", "hunter2 hunter2", true);
    assert!(!format!("{request:?}").contains(password));
    assert!(!format!("{:?}", job(1, request)).contains(password));
}
