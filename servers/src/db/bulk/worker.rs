//! A thread that creates accounts over a connection of its own.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::mpsc::Receiver;
use std::thread;
use std::time::{Duration, Instant};

use indicatif::ProgressBar;
use parking_lot::Mutex;
use throng_core::clock::unix_ms;
use throng_core::config::Secret;

use super::account::{AccountSpec, CharacterName, Credential, Problem};
use super::stop::Stop;
use super::summary::{Plan, RowResult, Summary};
use crate::dbagent::inserts;
use crate::dbagent::password::{PasswordError, Passwords};
use crate::dbagent::procedures::{
    Account, AccountInsert, CharacterInsert, DbError, NewAccount, NewCharacter, Procedures,
};
use crate::rules::Password;

/// Attempts at a call while the database has a transient fault.
const ATTEMPTS_MAX: u32 = 10;

/// First pause between two attempts. Each later pause is twice as long, up to [`BACKOFF_MAX`]: some
/// 20 seconds in all, in which a database can restart. Pauses are shortened at random, so that the
/// threads do not retry at the same moment.
const BACKOFF_MIN: Duration = Duration::from_millis(100);

/// Longest pause between two attempts.
const BACKOFF_MAX: Duration = Duration::from_secs(5);

/// Opens a connection to the database.
pub(super) type Connect<'a> = dyn Fn() -> Result<Box<dyn Procedures>, DbError> + Sync + 'a;

/// State shared by all threads of a run.
pub(super) struct Shared<'a> {
    pub(super) connect: &'a Connect<'a>,
    pub(super) plan: Plan,
    /// Milliseconds by which the database's clock is ahead of this process's clock.
    pub(super) ahead_ms: i64,
    pub(super) start: Instant,
    pub(super) bar: ProgressBar,
    pub(super) summary: &'a Mutex<Summary>,
    /// True once the run is stopped.
    pub(super) is_stopped: AtomicBool,
}

impl Shared<'_> {
    /// Counts the result of a row and advances the progress bar.
    pub(super) fn count(&self, number: u64, weight: u64, result: RowResult) {
        let rows = {
            let mut summary = self.summary.lock();
            summary.count(&self.plan, number, result);
            summary.rows()
        };
        self.bar.inc(weight);
        if !self.bar.is_hidden() {
            let rate = rows as f64 / self.start.elapsed().as_secs_f64().max(f64::EPSILON);
            self.bar.set_message(format!("{rows} done, {rate:.1}/s"));
        }
    }

    fn now_ms(&self) -> u64 {
        unix_ms().saturating_add_signed(self.ahead_ms)
    }
}

/// An account for a thread to create.
pub(super) struct Task {
    pub(super) number: u64,
    pub(super) weight: u64,
    pub(super) account: AccountSpec,
}

pub(super) struct Worker<'a> {
    shared: &'a Shared<'a>,
    passwords: Passwords,
    /// `None` until the first call, and after the connection broke.
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

    /// Creates accounts until there are no more tasks or the run is stopped. An error stops all
    /// threads.
    pub(super) fn run(mut self, tasks: &Receiver<Task>) -> Result<(), Stop> {
        let result = self.work(tasks);
        if result.is_err() {
            self.shared.is_stopped.store(true, Relaxed);
        }
        result
    }

    fn work(&mut self, tasks: &Receiver<Task>) -> Result<(), Stop> {
        for Task { number, weight, account } in tasks {
            if self.shared.is_stopped.load(Relaxed) {
                break;
            }
            let result = self.create(&account)?;
            self.shared.count(number, weight, result);
        }
        self.database.take().map_or(Ok(()), |database| Ok(database.close()?))
    }

    fn create(&mut self, spec: &AccountSpec) -> Result<RowResult, Stop> {
        // The insert decides whether the id is taken. Looking first tells accounts that existed
        // before this run, which `complete` handles.
        if let Some(existing) = self.call(|database, _| database.account_select(&spec.id_key))? {
            return self.complete(spec, &existing);
        }
        let hash = match &spec.credential {
            Credential::Password(password) => {
                Secret::new(self.passwords.hash(&Password::to_check(password.expose()))?)
            }
            Credential::Hash(hash) => hash.clone(),
        };
        let Some(account) = self.insert_account(spec, hash.expose())? else {
            return Ok(RowResult::Exists(Problem::Exists(spec.id.clone())));
        };
        let Some(name) = &spec.character else { return Ok(RowResult::Created) };
        Ok(match self.insert_character(account, name)? {
            CharacterInsert::Inserted(_) => RowResult::Created,
            refused => RowResult::CreatedWithoutCharacter(without_character(spec, refused)),
        })
    }

    /// Compares an existing account with its row. Adds the character if the account lacks it, which
    /// an interrupted run may have left.
    fn complete(&mut self, spec: &AccountSpec, existing: &Account) -> Result<RowResult, Stop> {
        let Some(name) = &spec.character else { return self.compare(spec, existing) };
        match self.call(|database, _| database.character_select(existing.account))? {
            Some(character) if *character.name == *name.name => return self.compare(spec, existing),
            Some(_) => return Ok(RowResult::Exists(Problem::OtherCharacter(spec.id.clone()))),
            None => {}
        }
        // A player may have signed up with the id, and will choose a name for the character.
        if !self.matches_credential(spec, existing)? {
            return Ok(RowResult::Exists(Problem::OtherPassword(spec.id.clone())));
        }
        Ok(match self.insert_character(existing.account, name)? {
            CharacterInsert::Inserted(_) => RowResult::CharacterAdded,
            refused => RowResult::Exists(without_character(spec, refused)),
        })
    }

    /// Compares id and password of an existing account with its row, so that a file may be imported
    /// again, and another player's account with the id is still told. Costs a hash.
    fn compare(&mut self, spec: &AccountSpec, existing: &Account) -> Result<RowResult, Stop> {
        let id = spec.id.clone();
        Ok(if self.shared.plan.may_exist || existing.id != spec.id {
            RowResult::Exists(Problem::Exists(id))
        } else if self.matches_credential(spec, existing)? {
            RowResult::Unchanged
        } else {
            RowResult::Exists(Problem::Changed(id))
        })
    }

    fn matches_credential(&mut self, spec: &AccountSpec, existing: &Account) -> Result<bool, PasswordError> {
        match &spec.credential {
            Credential::Password(password) => {
                match self.passwords.verify(&existing.password_hash, &Password::to_check(password.expose())) {
                    // No password matches an invalid hash.
                    Err(PasswordError::Stored(_)) => Ok(false),
                    verified => verified,
                }
            }
            Credential::Hash(hash) => Ok(hash.expose() == existing.password_hash),
        }
    }

    /// Returns the number of the new account, or `None` if the id is taken.
    fn insert_account(&mut self, spec: &AccountSpec, password_hash: &str) -> Result<Option<u64>, Stop> {
        let now_ms = self.shared.now_ms();
        let new = NewAccount { id: &spec.id, id_key: &spec.id_key, password_hash, now_ms };
        let inserted = self.call(|database, is_retry| inserts::insert_account(database, &new, is_retry))?;
        Ok(match inserted {
            AccountInsert::Inserted(account) => Some(account),
            AccountInsert::IdTaken => None,
        })
    }

    fn insert_character(&mut self, account: u64, name: &CharacterName) -> Result<CharacterInsert, Stop> {
        let now_ms = self.shared.now_ms();
        let new = NewCharacter { account, name: &name.name, name_key: &name.key, now_ms };
        Ok(self.call(|database, is_retry| inserts::insert_character(database, &new, is_retry))?)
    }

    /// Runs `body` over the connection, and retries it with `true` while the database has a
    /// transient fault: an earlier attempt may have taken effect.
    fn call<V>(
        &mut self,
        mut body: impl FnMut(&mut dyn Procedures, bool) -> Result<V, DbError>,
    ) -> Result<V, DbError> {
        let mut pause = BACKOFF_MIN;
        let mut attempt = 1;
        loop {
            match self.connected().and_then(|database| body(database, attempt > 1)) {
                Err(error) if error.fault.is_transient() && attempt < ATTEMPTS_MAX && !self.is_stopped() => {
                    if error.fault.breaks_connection() {
                        self.database = None;
                    }
                    thread::sleep(pause.mul_f64(rand::random_range(0.5..1.0)));
                    pause = (pause * 2).min(BACKOFF_MAX);
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

/// Returns the problem of an account whose character was refused.
fn without_character(spec: &AccountSpec, refused: CharacterInsert) -> Problem {
    match refused {
        // Another process has inserted a character at this moment.
        CharacterInsert::CharacterExists => Problem::OtherCharacter(spec.id.clone()),
        _ => Problem::NameTaken(spec.id.clone()),
    }
}
