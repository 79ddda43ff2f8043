//! A thread that makes accounts over a connection of its own.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::mpsc::Receiver;
use std::thread;
use std::time::{Duration, Instant};

use indicatif::ProgressBar;
use parking_lot::Mutex;
use throng_core::clock::unix_ms;
use throng_core::config::Secret;

use super::{Credential, Made, Name, Plan, Problem, Stop, Tally, Wish};
use crate::dbagent::password::{PasswordError, Passwords};
use crate::dbagent::procedures::{
    Account, AccountInsert, CharacterInsert, DbError, NewAccount, NewCharacter, Procedures,
};

/// How often a call is tried while the database has a fault that passes.
const ATTEMPTS_MAX: u32 = 10;

/// The first pause between two tries, and the longest: some 20 seconds altogether, in which a database can restart.
/// Doubled from one to the next, and shortened by chance, so that the threads do not come back all at once.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// Connects to the database.
pub(super) type Connect<'a> = dyn Fn() -> Result<Box<dyn Procedures>, DbError> + Sync + 'a;

/// What all threads of a run share.
pub(super) struct Shared<'a> {
    pub(super) connect: &'a Connect<'a>,
    pub(super) plan: Plan,
    /// By how many milliseconds the database's clock is ahead of ours.
    pub(super) ahead_ms: i64,
    pub(super) began: Instant,
    pub(super) bar: ProgressBar,
    pub(super) tally: &'a Mutex<Tally>,
    /// Set when there is no sense in going on.
    pub(super) is_stopped: AtomicBool,
}

impl Shared<'_> {
    /// Notes what became of a row.
    pub(super) fn count(&self, at: u64, weight: u64, made: Made) {
        let rows = {
            let mut tally = self.tally.lock();
            tally.count(&self.plan, at, made);
            tally.rows()
        };
        self.bar.inc(weight);
        if !self.bar.is_hidden() {
            let rate = rows as f64 / self.began.elapsed().as_secs_f64().max(f64::EPSILON);
            self.bar.set_message(format!("{rows} done, {rate:.1}/s"));
        }
    }

    fn now_ms(&self) -> u64 {
        unix_ms().saturating_add_signed(self.ahead_ms)
    }
}

/// A row that a thread is to do.
pub(super) struct Task {
    pub(super) at: u64,
    pub(super) weight: u64,
    pub(super) wish: Wish,
}

pub(super) struct Worker<'a> {
    shared: &'a Shared<'a>,
    passwords: Passwords,
    /// `None` until it is needed, and when it was found broken.
    database: Option<Box<dyn Procedures>>,
}

impl<'a> Worker<'a> {
    pub(super) fn new(
        shared: &'a Shared<'a>,
        passwords: Passwords,
        database: Option<Box<dyn Procedures>>,
    ) -> Self {
        Self { shared, passwords, database }
    }

    /// Works until there are no more tasks, or something ends it for all.
    pub(super) fn run(mut self, tasks: &Receiver<Task>) -> Result<(), Stop> {
        let done = self.work(tasks);
        if done.is_err() {
            self.shared.is_stopped.store(true, Relaxed);
        }
        done
    }

    fn work(&mut self, tasks: &Receiver<Task>) -> Result<(), Stop> {
        for Task { at, weight, wish } in tasks {
            if self.shared.is_stopped.load(Relaxed) {
                break;
            }
            let made = self.make(&wish)?;
            self.shared.count(at, weight, made);
        }
        self.database.take().map_or(Ok(()), |database| Ok(database.close()?))
    }

    fn make(&mut self, wish: &Wish) -> Result<Made, Stop> {
        // Whether the id is taken is for the insert to say. Looking first spares the hash of a password when a run
        // is repeated, and what follows is for accounts that were there before this run.
        if let Some(there) = self.call(|database, _| database.account_select(&wish.id_key))? {
            return self.complete(wish, &there);
        }
        let hash = match &wish.credential {
            Credential::Password(password) => Secret::new(self.passwords.hash(password.expose())?),
            Credential::Hash(hash) => hash.clone(),
        };
        let Some(account) = self.insert_account(wish, hash.expose())? else {
            return Ok(Made::Exists(Problem::Exists(wish.id.clone())));
        };
        let Some(name) = &wish.character else { return Ok(Made::Account) };
        Ok(match self.insert_character(account, name)? {
            CharacterInsert::Inserted(_) => Made::Account,
            refused => Made::AccountOnly(without_character(wish, refused)),
        })
    }

    /// For an account that is there already: a run that was interrupted may have left it without its character.
    fn complete(&mut self, wish: &Wish, there: &Account) -> Result<Made, Stop> {
        let exists = || Made::Exists(Problem::Exists(wish.id.clone()));
        let Some(name) = &wish.character else { return Ok(exists()) };
        match self.call(|database, _| database.character_select(there.account))? {
            Some(character) if *character.name == *name.name => return Ok(exists()),
            Some(_) => return Ok(Made::Exists(Problem::OtherCharacter(wish.id.clone()))),
            None => {}
        }
        // Somebody else may have signed up with the id, who is to choose a name without our help.
        if !self.is_owner(wish, there)? {
            return Ok(Made::Exists(Problem::Stranger(wish.id.clone())));
        }
        Ok(match self.insert_character(there.account, name)? {
            CharacterInsert::Inserted(_) => Made::Character,
            refused => Made::Exists(without_character(wish, refused)),
        })
    }

    fn is_owner(&mut self, wish: &Wish, there: &Account) -> Result<bool, PasswordError> {
        match &wish.credential {
            Credential::Password(password) => {
                match self.passwords.verify(Some(&there.password_hash), password.expose()) {
                    // Nobody can prove to own an account with such a hash.
                    Err(PasswordError::Stored(_)) => Ok(false),
                    verified => verified,
                }
            }
            Credential::Hash(hash) => Ok(hash.expose() == there.password_hash),
        }
    }

    /// The number of the account made; none if another has the id.
    fn insert_account(&mut self, wish: &Wish, password_hash: &str) -> Result<Option<u64>, Stop> {
        let (id, id_key) = (&*wish.id, &*wish.id_key);
        let new = NewAccount { id, id_key, password_hash, now_ms: self.shared.now_ms() };
        let inserted = self.call(|database, again| match database.account_insert(&new)? {
            // Perhaps by ourselves, over the connection that broke: there was no such account a moment ago, and the
            // hash has a salt that nobody else drew.
            AccountInsert::IdTaken if again => {
                let there = database.account_select(id_key)?;
                let ours = there.filter(|there| there.password_hash == password_hash);
                Ok(ours.map_or(AccountInsert::IdTaken, |ours| AccountInsert::Inserted(ours.account)))
            }
            inserted => Ok(inserted),
        })?;
        Ok(match inserted {
            AccountInsert::Inserted(account) => Some(account),
            AccountInsert::IdTaken => None,
        })
    }

    fn insert_character(&mut self, account: u64, name: &Name) -> Result<CharacterInsert, Stop> {
        let new =
            NewCharacter { account, name: &name.name, name_key: &name.key, now_ms: self.shared.now_ms() };
        let inserted = self.call(|database, again| match database.character_insert(&new)? {
            // As with accounts. An account has one character: if it has this name, it is the one.
            CharacterInsert::CharacterExists if again => {
                let there = database.character_select(account)?;
                let ours = there.filter(|there| *there.name == *name.name);
                Ok(ours.map_or(CharacterInsert::CharacterExists, |ours| CharacterInsert::Inserted(ours.id)))
            }
            inserted => Ok(inserted),
        })?;
        Ok(inserted)
    }

    /// Runs `body` over the connection, and again while the database has a fault that passes; from the second time
    /// on `body` is told so: what it did before may have been done.
    fn call<V>(
        &mut self,
        mut body: impl FnMut(&mut dyn Procedures, bool) -> Result<V, DbError>,
    ) -> Result<V, DbError> {
        let (mut pause, longest) = BACKOFF;
        let mut attempt = 1;
        loop {
            match self.connected().and_then(|database| body(database, attempt > 1)) {
                Err(error) if error.fault.passes() && attempt < ATTEMPTS_MAX && !self.is_stopped() => {
                    if error.fault.breaks_connection() {
                        self.database = None;
                    }
                    thread::sleep(pause.mul_f64(rand::random_range(0.5..1.0)));
                    pause = (pause * 2).min(longest);
                    attempt += 1;
                }
                result => return result,
            }
        }
    }

    fn is_stopped(&self) -> bool {
        self.shared.is_stopped.load(Relaxed)
    }

    fn connected(&mut self) -> Result<&mut dyn Procedures, DbError> {
        let database = match self.database.take() {
            Some(database) => database,
            None => (self.shared.connect)()?,
        };
        Ok(self.database.insert(database).as_mut())
    }
}

/// Why an account has no character now, or another one than was wished for.
fn without_character(wish: &Wish, refused: CharacterInsert) -> Problem {
    match refused {
        // Made by somebody else at this very moment.
        CharacterInsert::CharacterExists => Problem::OtherCharacter(wish.id.clone()),
        _ => Problem::NameTaken(wish.id.clone()),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::path::Path;
    use std::sync::Arc;

    use throng_core::wire::packets::{Character, Claim};

    use super::super::{Row, make_all};
    use super::*;
    use crate::dbagent::migrate::migrate_sqlite;
    use crate::dbagent::password::PasswordCost;
    use crate::dbagent::procedures::{Fault, HeldList, Holder, OnlineClaim, Transfer};
    use crate::dbagent::sqlite::SqliteFile;

    const CHEAP: PasswordCost = PasswordCost { memory_kib: 8, iterations: 1 };

    /// Faults of the next calls of a procedure, and whether they come when the work is done.
    type Script = Mutex<HashMap<&'static str, Vec<(Fault, bool)>>>;

    /// A database that goes wrong as a test wants it.
    struct Scripted(Box<dyn Procedures>, Arc<Script>);

    impl Scripted {
        fn run<T>(
            &mut self,
            name: &'static str,
            call: impl FnOnce(&mut dyn Procedures) -> Result<T, DbError>,
        ) -> Result<T, DbError> {
            match self.1.lock().get_mut(name).and_then(Vec::pop) {
                Some((fault, is_done)) => {
                    if is_done {
                        call(self.0.as_mut())?;
                    }
                    Err(DbError::new(fault, name, "as the script says"))
                }
                None => call(self.0.as_mut()),
            }
        }
    }

    impl Procedures for Scripted {
        fn clock(&mut self) -> Result<u64, DbError> {
            self.0.clock()
        }
        fn account_select(&mut self, id_key: &str) -> Result<Option<Account>, DbError> {
            self.run("account_select", |database| database.account_select(id_key))
        }
        fn account_insert(&mut self, new: &NewAccount<'_>) -> Result<AccountInsert, DbError> {
            self.run("account_insert", |database| database.account_insert(new))
        }
        fn character_select(&mut self, account: u64) -> Result<Option<Character>, DbError> {
            self.run("character_select", |database| database.character_select(account))
        }
        fn character_insert(&mut self, new: &NewCharacter<'_>) -> Result<CharacterInsert, DbError> {
            self.run("character_insert", |database| database.character_insert(new))
        }
        fn online_claim(
            &mut self,
            c: &Claim,
            h: Holder,
            over: bool,
            now: u64,
        ) -> Result<OnlineClaim, DbError> {
            self.0.online_claim(c, h, over, now)
        }
        fn online_transfer(&mut self, claim: &Claim, to: Holder, now: u64) -> Result<Transfer, DbError> {
            self.0.online_transfer(claim, to, now)
        }
        fn online_release(&mut self, claim: &Claim, instance: u64) -> Result<bool, DbError> {
            self.0.online_release(claim, instance)
        }
        fn online_sync(&mut self, list: &HeldList<'_>, now: u64, until: u64) -> Result<Vec<Claim>, DbError> {
            self.0.online_sync(list, now, until)
        }
        fn holder_renew(&mut self, holder: Holder, until: u64) -> Result<(), DbError> {
            self.0.holder_renew(holder, until)
        }
        fn agent_start(&mut self, agent: u64, until: u64) -> Result<(), DbError> {
            self.0.agent_start(agent, until)
        }
        fn close(self: Box<Self>) -> Result<(), DbError> {
            self.0.close()
        }
    }

    /// Makes these accounts, each with a character of its name, while the database follows a script.
    fn make(
        dir: &Path,
        ids: &[&str],
        script: HashMap<&'static str, Vec<(Fault, bool)>>,
    ) -> (Tally, Result<(), Stop>) {
        let path = dir.join("throng.db");
        migrate_sqlite(&path, Duration::from_secs(10), 0).unwrap();
        let file = SqliteFile::new(path, Duration::from_secs(10));
        let script = Arc::new(Mutex::new(script));
        let connect = || -> Result<Box<dyn Procedures>, DbError> {
            Ok(Box::new(Scripted(Box::new(file.connect()?), Arc::clone(&script))))
        };
        let rows = ids.iter().zip(1..).map(|(id, at)| {
            let credential = Credential::Password(Secret::new("password"));
            Ok(Row { at, weight: 1, wish: Wish::new(id, credential, id) })
        });
        let tally = Mutex::default();
        let plan = Plan { unit: "line", total: ids.len() as u64, may_exist: false };
        let done = make_all(2, CHEAP, &connect, plan, &tally, rows);
        (tally.into_inner(), done)
    }

    #[test]
    fn faults_that_pass_are_tried_again_and_ones_own_work_is_recognised() {
        let dir = tempfile::tempdir().unwrap();
        let script = HashMap::from([
            ("account_select", vec![(Fault::Busy, false), (Fault::Lost, true)]),
            ("account_insert", vec![(Fault::Lost, true), (Fault::Conflict, false), (Fault::Lost, false)]),
            ("character_insert", vec![(Fault::Lost, true), (Fault::Full, false)]),
        ]);
        let (tally, done) = make(dir.path(), &["first", "second", "third"], script);
        done.unwrap();
        assert_eq!((tally.made, tally.existed, tally.problems), (3, 0, 0), "{tally:?}");
    }

    #[test]
    fn other_faults_end_it() {
        let dir = tempfile::tempdir().unwrap();
        let script = HashMap::from([("account_insert", vec![(Fault::ReadOnly, false)])]);
        let ids: Vec<String> = (0..1000).map(|number| format!("id-{number}")).collect();
        let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
        let (tally, done) = make(dir.path(), &ids, script);
        assert!(matches!(done, Err(Stop::Database(DbError { fault: Fault::ReadOnly, .. }))), "{done:?}");
        assert!(tally.made < 999, "{tally:?}");
    }

    #[test]
    fn an_interrupted_run_is_completed_by_the_next() {
        let dir = tempfile::tempdir().unwrap();
        let interrupted = HashMap::from([("character_insert", vec![(Fault::Refused, false)])]);
        make(dir.path(), &["first"], interrupted).1.unwrap_err();
        let (tally, done) = make(dir.path(), &["first", "FIRST", "second"], HashMap::new());
        done.unwrap();
        assert_eq!((tally.made, tally.existed, tally.completed), (1, 2, 1), "{tally:?}");
        assert_eq!(
            tally.listed.into_iter().collect::<Vec<_>>(),
            [(2, Problem::OtherCharacter("FIRST".into()))]
        );
    }
}
