//! Tests of the procedures on real databases: on every engine, and PostgreSQL's own behavior.

use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::sync::Arc;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use throng_core::wire::packets::{IdText, Origin, Outcome, PasswordText, RequestedName};
use throng_servers::dbagent::migrate::{MigrateError, migrate_odbc, migrate_sqlite, status_odbc};
use throng_servers::dbagent::odbc::{OdbcConnection, OdbcSource, Stored, connect_sqlite};
use throng_servers::dbagent::password::{PasswordCost, Passwords, cost_of};
use throng_servers::dbagent::pool::{Pool, PoolConfig};
use throng_servers::dbagent::procedures::{DbError, Fault, NewAccount, Procedures};
use throng_servers::dbagent::request::{Answer, Job, Reply, Request};
use throng_servers::dbagent::sqlite::SqliteFile;
use throng_servers::dbagent::suite::suite;
use throng_servers::rules::{self, Password};

use crate::support::{Database, Home, PATIENCE, Postgres, Stopwatch, wait_until};

#[test]
fn the_suite_passes_on_postgres_for_a_role_that_may_only_execute() {
    let database = Postgres::shared().database();
    let source = database.as_agent();
    let make = || Ok(Box::new(Stored::connect(&source)?) as Box<dyn Procedures>);
    let checks = suite(&make).unwrap_or_else(|failure| panic!("{failure}"));
    assert!(checks > 20);
}

#[test]
fn the_suite_passes_on_sqlite_through_its_odbc_driver() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("throng.db");
    migrate_sqlite(&path, PATIENCE, 0).unwrap();
    let make = || Ok(Box::new(connect_sqlite(&path, PATIENCE)?) as Box<dyn Procedures>);
    let checks = suite(&make).unwrap_or_else(|failure| panic!("{failure}"));
    assert!(checks > 20);
}

#[test]
fn the_role_of_an_agent_may_execute_and_nothing_else() {
    let database = Postgres::shared().database();
    let mut connection = OdbcConnection::open(&database.as_agent()).unwrap();
    for statement in [
        "SELECT * FROM throng.accounts",
        "SELECT * FROM throng.schema_migrations",
        "INSERT INTO throng.accounts (id, id_key, password_hash, created_ms) VALUES ('a', 'a', 'a', 1)",
        "DELETE FROM throng.online",
        "SELECT throng.prune_online(0)",
        "CREATE TABLE throng.mine (x integer)",
        "DROP FUNCTION throng.p_Clock_Select()",
    ] {
        let error = connection.run("test", statement).unwrap_err();
        assert_eq!(error.fault, Fault::Denied, "{statement}: {error}");
    }
}

#[test]
fn many_processes_may_migrate_a_server_at_once() {
    let database = Postgres::shared().empty_database();
    let source = database.as_owner();
    let pending = status_odbc(&source).unwrap();
    assert!(pending.len() == 3 && pending.iter().all(|status| status.applied_ms.is_none()));
    let error = Stored::connect(&source).unwrap_err();
    assert_eq!(error.fault, Fault::Schema, "{error}");
    let applied: usize = thread::scope(|scope| {
        let threads: Vec<_> =
            (0..8).map(|_| scope.spawn(|| migrate_odbc(&source, 1000).unwrap().len())).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    assert_eq!(applied, 3);
    assert!(status_odbc(&source).unwrap().iter().all(|status| status.applied_ms == Some(1000)));
    assert_eq!(migrate_odbc(&source, 2000).unwrap(), [0_u32; 0]);
}

#[test]
fn a_newer_and_an_edited_schema_are_refused() {
    let database = Postgres::shared().database();
    let check = |change: &str, undo: &str, wanted: &str| {
        database.sql(change);
        let migrated = migrate_odbc(&database.as_owner(), 1).unwrap_err().to_string();
        assert!(migrated.contains(wanted), "{migrated}");
        let connected = Stored::connect(&database.as_agent()).unwrap_err();
        assert!(connected.fault == Fault::Schema && connected.to_string().contains(wanted), "{connected}");
        database.sql(undo);
    };
    check(
        "INSERT INTO throng.schema_migrations VALUES (99, 'later', 'x', 1)",
        "DELETE FROM throng.schema_migrations WHERE number = 99",
        "newer than this program: it has migration 99",
    );
    check(
        "UPDATE throng.schema_migrations SET checksum = reverse(checksum) WHERE number = 2",
        "UPDATE throng.schema_migrations SET checksum = reverse(checksum) WHERE number = 2",
        "migration 2 (online)",
    );
    Stored::connect(&database.as_agent()).unwrap();
}

#[test]
fn a_migration_that_fails_leaves_nothing_behind() {
    let database = Postgres::shared().empty_database();
    let source = database.as_owner();
    // The table of the second migration exists already.
    database.sql("CREATE SCHEMA throng AUTHORIZATION throng_owner; CREATE TABLE throng.online (x integer)");
    let error = migrate_odbc(&source, 1).unwrap_err();
    assert!(matches!(error, MigrateError::Failed { number: 2, .. }), "{error}");
    assert_eq!(
        database.sql("SELECT to_regclass('throng.leases') IS NULL"),
        "t",
        "the failed migration was not rolled back"
    );
    database.sql("DROP TABLE throng.online");
    assert_eq!(migrate_odbc(&source, 2).unwrap(), [2, 3]);
}

/// Faults of a database in production, and the result of a call that meets them.
#[test]
fn faults_are_told_apart_and_a_deadlock_victim_is_retried() {
    let database = Postgres::shared().database();
    let mut stored = Stored::connect(&database.as_agent()).unwrap();
    let mut owner = database.connect();

    // Another session holds a lock for longer than the lock timeout.
    owner.set_autocommit("test", false).unwrap();
    owner.run("test", "LOCK TABLE throng.accounts").unwrap();
    let stopwatch = Stopwatch::start();
    assert_eq!(stored.account_select("bob").unwrap_err().fault, Fault::Busy);
    assert!(stopwatch.elapsed() >= Duration::from_millis(900), "{:?}", stopwatch.elapsed());
    stopwatch.assert_within("the wait for the lock", Duration::from_secs(5));
    owner.rollback("test").unwrap();
    assert_eq!(stored.account_select("bob").unwrap(), None, "the connection is unusable");

    // A transaction that cannot be serialized is rolled back and retried until it succeeds.
    database.sql(
        "CREATE SEQUENCE throng.attempts; GRANT USAGE ON SEQUENCE throng.attempts TO PUBLIC;
         CREATE OR REPLACE FUNCTION throng.p_Agent_Start(p_agent bigint, p_until_ms bigint)
         RETURNS TABLE (result integer) LANGUAGE plpgsql AS $$
         BEGIN
             IF nextval('throng.attempts') < 4 THEN RAISE EXCEPTION 'victim' USING ERRCODE = '40P01'; END IF;
             RETURN QUERY SELECT 0;
         END $$",
    );
    stored.agent_start(1, 1).unwrap();
    assert_eq!(database.sql("SELECT last_value FROM throng.attempts"), "4");
    // The number of retries is bounded.
    database
        .sql("ALTER SEQUENCE throng.attempts RESTART; ALTER SEQUENCE throng.attempts MAXVALUE 1000000 CYCLE");
    database.sql(
        "CREATE OR REPLACE FUNCTION throng.p_Agent_Start(p_agent bigint, p_until_ms bigint)
         RETURNS TABLE (result integer) LANGUAGE plpgsql AS $$
         BEGIN RAISE EXCEPTION 'victim' USING ERRCODE = '40001'; END $$",
    );
    assert_eq!(stored.agent_start(1, 1).unwrap_err().fault, Fault::Conflict);

    // A row with an invalid value.
    database.sql(
        "INSERT INTO throng.accounts (id, id_key, password_hash, created_ms) VALUES ('x', 'x', 'x', 1);
         ALTER TABLE throng.characters DROP CONSTRAINT characters_level_check;
         INSERT INTO throng.characters (account, name, name_key, created_ms, level)
         SELECT account, 'x', 'x', 1, -1 FROM throng.accounts",
    );
    let account = stored.account_select("x").unwrap().unwrap().account;
    assert_eq!(stored.character_select(account).unwrap_err().fault, Fault::BadRecord);

    // An operator terminates the session.
    Postgres::shared().terminate_all(&database.name);
    let error = stored.account_select("bob").unwrap_err();
    assert!(error.fault == Fault::Lost && error.fault.breaks_connection(), "{error}");
    drop(stored);
    drop(owner);
}

/// A driver manager with one lock for all would make every thread hang with the first.
#[test]
fn a_thread_that_hangs_while_it_connects_does_not_stop_the_others() {
    let database = Postgres::shared().database();
    let mut stored = Stored::connect(&database.as_agent()).unwrap();
    let silent = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let source = database.as_agent_at(silent.local_addr().unwrap().port());
    thread::scope(|scope| {
        let hanging = scope.spawn(|| Stored::connect(&source).map(|_| ()).unwrap_err());
        let (socket, _) = silent.accept().unwrap();
        stored.clock().unwrap();
        assert_eq!(stored.account_select("nobody").unwrap(), None);
        assert!(!hanging.is_finished());
        drop((socket, silent));
        assert_eq!(hanging.join().unwrap().fault, Fault::Lost);
    });
}

/// A pool on a database, and the receiver of its answers.
struct PoolTest {
    pool: Pool<u32>,
    answers: mpsc::Receiver<Reply<u32>>,
}

impl PoolTest {
    fn new(factory: impl Fn() -> Result<Box<dyn Procedures>, DbError> + Send + Sync + 'static) -> Self {
        let config =
            PoolConfig { password: PasswordCost { memory_kib: 8, iterations: 1 }, ..PoolConfig::default() };
        let (sender, answers) = mpsc::channel();
        let sink = move |reply| {
            // Refused only when the test has ended.
            let _ = sender.send(reply);
        };
        let pool = Pool::start(&config, factory, sink).unwrap();
        Self { pool, answers }
    }

    fn on_postgres(source: OdbcSource) -> Self {
        Self::new(move || Ok(Box::new(Stored::connect(&source)?)))
    }

    fn ask(&self, request: Request) -> Answer {
        let deadline = Instant::now() + PATIENCE;
        self.pool.try_submit(Job { request, origin: Origin::UNKNOWN, tag: 0, deadline }).unwrap();
        self.answers.recv_timeout(PATIENCE).unwrap().answer
    }
}

/// A login with the right password stores its hash at today's cost; a wrong one changes nothing.
fn check_renewal(test: &PoolTest, mut database: Box<dyn Procedures>) {
    let costly = PasswordCost { memory_kib: 64, iterations: 2 };
    let password = Password::to_check("the right one");
    let hash = Passwords::new(costly).unwrap().hash(&password).unwrap();
    let key = rules::key("veteran");
    let new = NewAccount { id: "veteran", id_key: &key, password_hash: &hash, now_ms: 0 };
    database.account_insert(&new).unwrap();
    let log_in = |password: &str| {
        let id = IdText::new("veteran").unwrap();
        let password = PasswordText::new(password).unwrap();
        test.ask(Request::VerifyAccount { id, password }).outcome()
    };
    let mut stored = || database.account_select(&key).unwrap().unwrap().password_hash;
    assert_eq!(log_in("a wrong one"), Outcome::BadCredentials);
    assert_eq!(stored(), hash);
    assert_eq!(log_in("the right one"), Outcome::Ok);
    let renewed = stored();
    assert_eq!(cost_of(&renewed), "v=19,m=8,t=1,p=1");
    assert_eq!(log_in("the right one"), Outcome::Ok);
    assert_eq!(stored(), renewed, "a hash at today's cost stays");
    assert_eq!(log_in("a wrong one"), Outcome::BadCredentials);
    let costs =
        [database.password_cost_next("").unwrap(), database.password_cost_next("v=19,m=8,t=1,p=1").unwrap()];
    assert_eq!(costs, [Some("v=19,m=8,t=1,p=1".into()), None]);
}

#[test]
fn postgres_stores_the_hash_of_a_right_login_anew_at_todays_cost() {
    let database = Postgres::shared().database();
    let source = database.as_agent();
    check_renewal(&PoolTest::on_postgres(source.clone()), Box::new(Stored::connect(&source).unwrap()));
}

#[test]
fn sqlite_stores_the_hash_of_a_right_login_anew_at_todays_cost() {
    let dir = tempfile::tempdir().unwrap();
    let file = SqliteFile::new(dir.path().join("throng.db"), PATIENCE);
    migrate_sqlite(file.path(), PATIENCE, 0).unwrap();
    let connection = Box::new(file.connect().unwrap());
    check_renewal(&PoolTest::new(move || Ok(Box::new(file.connect()?))), connection);
}

fn sign_up_request(id: &str, password: &str) -> Request {
    Request::SignUp { id: IdText::new(id).unwrap(), password: PasswordText::new(password).unwrap() }
}

fn check_hostile_texts(test: &PoolTest) {
    let sign_up = |id: &str, password: &str| test.ask(sign_up_request(id, password)).outcome();
    let verify = |id: &str, password: &str| {
        let id = IdText::new(id).unwrap();
        let password = PasswordText::new(password).unwrap();
        match test.ask(Request::VerifyAccount { id, password }) {
            Answer::VerifyAccount { outcome: Outcome::Ok, account } => Ok(account),
            other => Err(other.outcome()),
        }
    };
    let longest = "🐝".repeat(32);
    for id in [
        "'; DROP TABLE accounts; --",
        "Robert'); DELETE FROM online;--",
        "' OR ''='",
        "\"; SELECT 1; \"",
        "semi;colon",
        "back\\slash\\'",
        "per%cent_[a-z]",
        "{CALL p_Online_Release(?)}",
        "? $1 :id @id {d '2000-01-01'}",
        "한국어 이름",
        "👩‍👩‍👧‍👦 가족",
        "e\u{301} محمد ꧅",
        &longest,
    ] {
        let password = format!("{id}'\";--\\");
        assert_eq!(sign_up(id, &password), Outcome::Ok, "{id}");
        let account = verify(id, &password).unwrap_or_else(|outcome| panic!("{id}: {outcome:?}"));
        assert_eq!(sign_up(id, "another password"), Outcome::IdTaken, "{id}");
        assert_eq!(verify(id, &format!("{password} ")), Err(Outcome::BadCredentials), "{id}");
        let name: String = id.chars().take(24).collect();
        let name = name.trim_end();
        let request = Request::CreateCharacter { account, name: RequestedName::new(name).unwrap() };
        assert_eq!(test.ask(request).outcome(), Outcome::Ok, "{name}");
    }
    for (id, password, outcome) in [
        ("nul\0id", "password", Outcome::IdInvalid),
        ("line\nbreak", "password", Outcome::IdInvalid),
        (" blank before", "password", Outcome::IdInvalid),
        ("blank after ", "password", Outcome::IdInvalid),
        (&*"x".repeat(33), "password", Outcome::IdTooLong),
        (&*"🐝".repeat(33), "password", Outcome::IdTooLong),
        ("alice", "nul\0password", Outcome::PasswordInvalid),
        ("alice", &*"p".repeat(257), Outcome::PasswordTooLong),
    ] {
        assert_eq!(sign_up(id, password), outcome, "{id:?}");
        assert_eq!(verify(id, password), Err(Outcome::BadCredentials), "{id:?}");
    }
    for (name, outcome) in [
        ("nul\0name", Outcome::NameInvalid),
        (&*"🐝".repeat(25), Outcome::NameTooLong),
        ("x", Outcome::NameInvalid),
    ] {
        let request = Request::CreateCharacter { account: 1, name: RequestedName::new(name).unwrap() };
        assert_eq!(test.ask(request).outcome(), outcome, "{name:?}");
    }
    // Look-alikes of an id log in as it and cannot sign up; passwords have one form.
    assert_eq!(sign_up("Bаrbаrа", "password"), Outcome::IdInvalid);
    assert_eq!(sign_up("ореrа", "password"), Outcome::IdInvalid);
    assert_eq!(sign_up("opera-1", "pässwörter"), Outcome::Ok);
    assert_eq!(sign_up("ОРЕRА-1", "password"), Outcome::IdInvalid);
    assert_eq!(sign_up("OPERA-l", "password"), Outcome::IdTaken);
    assert!(verify("Opera-1", "pa\u{308}sswo\u{308}rter").is_ok());
    // A password may have the greatest length.
    let bees = "🐝".repeat(64);
    assert_eq!(sign_up("bees", &bees), Outcome::Ok);
    assert!(verify("BEES", &bees).is_ok());
    assert_eq!(verify("bees", &bees[4..]), Err(Outcome::BadCredentials));
}

#[test]
fn postgres_stores_hostile_texts_unchanged_or_refuses_them() {
    let database = Postgres::shared().database();
    check_hostile_texts(&PoolTest::on_postgres(database.as_agent()));
    assert_eq!(database.sql("SELECT count(*) FROM throng.accounts"), "15");
    assert_eq!(database.sql("SELECT id FROM throng.accounts WHERE id LIKE 'semi%'"), "semi;colon");
}

#[test]
fn sqlite_stores_hostile_texts_unchanged_or_refuses_them() {
    let dir = tempfile::tempdir().unwrap();
    let file = SqliteFile::new(dir.path().join("throng.db"), PATIENCE);
    migrate_sqlite(file.path(), PATIENCE, 0).unwrap();
    check_hostile_texts(&PoolTest::new(move || Ok(Box::new(file.connect()?))));
}

/// A database that answers only after every deadline: each caller is told in time, and a sign-up
/// that completes late happens once.
#[test]
fn a_slow_database_fills_a_bounded_queue_and_no_request_runs_twice() {
    let database = Postgres::shared().database();
    let source = database.as_agent();
    let config = PoolConfig {
        queue: 8,
        password: PasswordCost { memory_kib: 8, iterations: 1 },
        ..PoolConfig::default()
    };
    let (sender, answers) = mpsc::channel();
    let pool = Arc::new(
        Pool::start(
            &config,
            move || Ok(Box::new(Stored::connect(&source)?)),
            move |reply: Reply<u32>| {
                // Refused only when the test has ended.
                let _ = sender.send(reply);
            },
        )
        .unwrap(),
    );
    wait_until("the pool is connected", || {
        pool.stats().connected.load(std::sync::atomic::Ordering::Relaxed) == 2
    });
    let mut owner = database.connect();
    owner.set_autocommit("test", false).unwrap();
    owner.run("test", "LOCK TABLE throng.accounts IN EXCLUSIVE MODE").unwrap();
    let submit = |tag| {
        // Far longer than twenty submissions take, so that none expires in the queue meanwhile.
        let deadline = Instant::now() + Duration::from_secs(1);
        pool.try_submit(Job {
            request: sign_up_request("same", "password"),
            origin: Origin::UNKNOWN,
            tag,
            deadline,
        })
    };
    let refused = (0..20).filter(|tag| submit(*tag).is_err()).count();
    assert!(
        (10..=12).contains(&refused),
        "two requests run and eight wait, but {refused} of 20 were refused"
    );
    let outcomes: Vec<Outcome> =
        (refused..20).map(|_| answers.recv_timeout(PATIENCE).unwrap().answer.outcome()).collect();
    assert!(outcomes.iter().all(|outcome| *outcome == Outcome::TryAgainLater), "{outcomes:?}");
    owner.rollback("test").unwrap();
    for (tag, wanted) in [(20, Outcome::Ok), (21, Outcome::IdTaken)] {
        let deadline = Instant::now() + PATIENCE;
        pool.try_submit(Job {
            request: sign_up_request("same", "password"),
            origin: Origin::UNKNOWN,
            tag,
            deadline,
        })
        .unwrap();
        assert_eq!(answers.recv_timeout(PATIENCE).unwrap().answer.outcome(), wanted);
    }
    assert_eq!(database.sql("SELECT count(*) FROM throng.accounts"), "1");
}

fn check(database: &Database<'_>, user: &str, more: &[&str], command: &str) -> (Option<i32>, String) {
    let mut settings = database.settings();
    settings.push(format!("odbc.user={user}"));
    settings.extend(more.iter().map(|setting| (*setting).to_owned()));
    let (code, stdout, stderr) = Home::new().run_and_read(command, &settings);
    (code, stdout + &stderr)
}

#[test]
fn db_check_names_what_is_missing() {
    let database = Postgres::shared().empty_database();
    let agent = "throng_agent_1";
    let checked = |user: &str, more: &[&str], command: &str, code: i32, told: &[&str]| {
        let (found, text) = check(&database, user, more, command);
        assert_eq!(found, Some(code), "{text}");
        for told in told {
            assert!(text.contains(told), "{told:?} is missing in:\n{text}");
        }
    };
    let owner = "throng_owner";
    checked(owner, &["odbc.driver=/nowhere/x.so"], "db check", 1, &["/nowhere/x.so", "odbc-postgresql"]);
    checked(owner, &["odbc.port=1"], "db check", 1, &["WRONG connection"]);
    checked("nobody", &[], "db check", 1, &["WRONG connection", "nobody", "check user and password"]);
    checked(
        owner,
        &["odbc.database=none"],
        "db check",
        1,
        &["WRONG connection", "\"none\" does not exist", "odbc.database"],
    );
    let (_, text) = check(&database, owner, &["odbc.database=none"], "db check");
    assert!(!text.contains("password"), "{text}");
    checked(
        owner,
        &[],
        "db check",
        1,
        &["ok    connection", "WRONG p_AccountData_Insert", "throng db migrate"],
    );
    checked(owner, &[], "db migrate", 0, &["3 migrations applied", "003 procedures"]);
    checked(owner, &[], "db status", 0, &["001 accounts", "002 online"]);
    checked(owner, &[], "db check", 0, &["ok    schema", "ok    p_Online_Sync"]);
    checked(agent, &[], "db check", 1, &["WRONG p_Schema_Select", "agent_role.sql"]);
    database.grant();
    // The information schema hides the table of migrations from the agent.
    checked(agent, &[], "db status", 0, &["001 accounts", "003 procedures"]);
    let (_, text) = check(&database, agent, &[], "db status");
    assert!(!text.contains("pending"), "{text}");
    checked(
        agent,
        &[],
        "db check",
        0,
        &[
            "ok    schema",
            "ok    rows",
            "003 (procedures) is the newest",
            "ok    p_Schema_Select",
            "ok    p_Agent_Start",
        ],
    );
    // The check leaves no rows behind.
    assert_eq!(database.sql("SELECT count(*) FROM throng.leases"), "0");
    checked(agent, &[], "db check --full", 1, &["WRONG empty", "owner of the schema"]);
    checked(owner, &[], "db check --full", 0, &["ok    full", "checks of the procedures", "ok    emptied"]);
    assert_eq!(database.sql("SELECT count(*) FROM throng.accounts"), "0");
    database.sql(
        "INSERT INTO throng.accounts (id, id_key, password_hash, created_ms) VALUES ('bob', 'bob', 'x', 1)",
    );
    checked(owner, &[], "db check --full", 1, &["WRONG empty", "a database of its own"]);
    let (_, text) = check(&database, owner, &[], "db check --full");
    assert!(!text.contains("bug"), "{text}");
    checked(owner, &[], "db check", 0, &["ok    rows                   1 can be read"]);
    assert_eq!(database.sql("SELECT count(*) FROM throng.accounts"), "1");
}

/// Overwrites pages in the middle of the embedded database.
fn overwrite_pages(home: &Home) {
    let path = home.path().join("throng.db");
    let mut bytes = fs::read(&path).unwrap();
    let page = 4096;
    assert!(bytes.len() > 12 * page, "{} bytes", bytes.len());
    let middle = bytes.len() / page / 2 * page;
    bytes[middle..middle + 2 * page].fill(0xa5);
    fs::write(&path, bytes).unwrap();
}

#[test]
fn an_overwritten_page_fails_the_check_and_the_start() {
    let home = Home::new();
    fs::create_dir(home.path()).unwrap();
    assert_eq!(home.run("db migrate", &[]).0, Some(0));
    assert_eq!(home.run("db seed --count 200", &[]).0, Some(0));
    let (code, stdout, _) = home.run_and_read("db check", &[] as &[&str]);
    assert!(code == Some(0) && stdout.contains("ok    pages"), "{stdout}");
    overwrite_pages(&home);
    let (code, stdout, _) = home.run_and_read("db check", &[] as &[&str]);
    assert!(code == Some(1) && stdout.contains("WRONG pages"), "{stdout}");
    assert!(stdout.contains("restore the last backup") && stdout.len() < 2000, "{stdout}");
    let (code, stderr) = home.run("up", &[]);
    assert!(code == Some(1) && stderr.contains("the database is damaged"), "{stderr}");
}
