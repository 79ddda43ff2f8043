//! A DB thread: takes requests, does them over its one connection, hands the answers to the sink.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use thiserror::Error;
use throng_core::wire::packets::{Claim, Outcome};
use tracing::{error, info, warn};

use super::password::{PasswordError, Passwords};
use super::pool::PoolStats;
use super::procedures::{
    AccountInsert, CharacterInsert, DbError, Fault, NewAccount, NewCharacter, OnlineClaim, Procedures,
    Transfer,
};
use super::queue::{Queue, Task, Turn};
use super::request::{Answer, Job, Reply, Request};
use super::rules;

/// The pause after a first connection that failed, and the longest one. Doubled from one
/// to the next, and shortened by chance, so that many agents do not come back all at once.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(10), Duration::from_millis(500));

/// The pause before a release, list or renewal is tried again over a connection that works.
const RETRY_PAUSE: Duration = Duration::from_millis(50);

/// A thread's failures are logged this often at most; the rest are counted.
const LOG_INTERVAL: Duration = Duration::from_secs(1);

pub(super) type Factory = Box<dyn Fn() -> Result<Box<dyn Procedures>, DbError> + Send + Sync>;
pub(super) type Sink<T> = Box<dyn Fn(Reply<T>) + Send + Sync>;

/// What all DB threads of a pool share.
pub(super) struct Shared<T> {
    pub(super) queue: Queue<T>,
    pub(super) stats: PoolStats,
    pub(super) factory: Factory,
    pub(super) sink: Sink<T>,
    pub(super) now_ms: fn() -> u64,
}

impl<T> Shared<T> {
    pub(super) fn reply(&self, job: Job<T>, answer: Answer) {
        (self.sink)(Reply { tag: job.tag, answer });
    }

    /// Answers a job that will not be done.
    pub(super) fn turn_away(&self, job: Job<T>) {
        self.stats.expired.fetch_add(1, Relaxed);
        let answer = job.request.refused(Outcome::TryAgainLater);
        self.reply(job, answer);
    }
}

/// Why a request was not done.
#[derive(Debug, Error)]
enum Failure {
    #[error("its caller has given up")]
    Expired,
    #[error(transparent)]
    Database(#[from] DbError),
    #[error(transparent)]
    Password(#[from] PasswordError),
}

impl Failure {
    fn outcome(&self) -> Outcome {
        match self {
            Self::Expired => Outcome::TryAgainLater,
            Self::Database(error) => error.fault.outcome(),
            Self::Password(_) => Outcome::InternalError,
        }
    }
}

pub(super) struct Worker<T> {
    shared: Arc<Shared<T>>,
    passwords: Passwords,
    /// `None` from the moment the connection is found broken until `connect` has made another.
    database: Option<Box<dyn Procedures>>,
    last_logged: Option<Instant>,
    unlogged: u64,
}

impl<T> Worker<T> {
    pub(super) fn new(shared: Arc<Shared<T>>, passwords: Passwords) -> Self {
        Self { shared, passwords, database: None, last_logged: None, unlogged: 0 }
    }

    /// Works until the queue is closed, and empty or overdue. The error is that of closing the database.
    pub(super) fn run(mut self) -> Result<(), DbError> {
        let shared = Arc::clone(&self.shared);
        while self.database.is_some() || self.connect() {
            match shared.queue.next() {
                Some(Task::Control(turn)) => self.control(turn),
                Some(Task::Job(job)) => self.serve(job),
                None => break,
            }
        }
        match self.database.take() {
            Some(database) => {
                shared.stats.connected.fetch_sub(1, Relaxed);
                database.close()
            }
            None => Ok(()),
        }
    }

    /// Makes a connection, trying until it works. False when the queue closed before.
    fn connect(&mut self) -> bool {
        let shared = Arc::clone(&self.shared);
        let (mut pause, longest) = BACKOFF;
        loop {
            match (shared.factory)() {
                Ok(database) => {
                    self.database = Some(database);
                    shared.stats.connected.fetch_add(1, Relaxed);
                    shared.stats.connections.fetch_add(1, Relaxed);
                    info!("connected to the database");
                    return true;
                }
                Err(error) => self.log(&error.into()),
            }
            if shared.stats.connected.load(Relaxed) == 0 {
                // Nobody can help these now, and their callers are better told at once.
                for _ in 0..shared.queue.len() {
                    let Some(job) = shared.queue.pop_common() else { break };
                    shared.turn_away(job);
                }
            }
            if shared.queue.is_spent() {
                return false;
            }
            shared.queue.pause(pause.mul_f64(rand::random_range(0.5..1.0)));
            pause = (pause * 2).min(longest);
        }
    }

    fn disconnect(&mut self) {
        if self.database.take().is_some() {
            self.shared.stats.connected.fetch_sub(1, Relaxed);
        }
    }

    /// Does a job of a common lane, unless its caller has given up.
    fn serve(&mut self, job: Job<T>) {
        let shared = Arc::clone(&self.shared);
        if Instant::now() >= job.deadline || shared.queue.is_overdue() {
            return shared.turn_away(job);
        }
        match self.execute(&job.request, job.deadline) {
            Ok(answer) => {
                shared.stats.served.fetch_add(1, Relaxed);
                shared.reply(job, answer);
            }
            Err(Failure::Expired) => shared.turn_away(job),
            Err(failure) => self.fail(job, &failure),
        }
    }

    /// Does the first job of a control lane. While the database cannot, the job stays the first.
    fn control(&mut self, mut turn: Turn<'_, T>) {
        let shared = Arc::clone(&self.shared);
        let Some(job) = turn.take() else { return };
        if shared.queue.is_overdue() {
            return shared.turn_away(job);
        }
        match self.execute(&job.request, job.deadline) {
            Ok(answer) => {
                shared.stats.served.fetch_add(1, Relaxed);
                // Still in turn: the answers keep the order, too.
                shared.reply(job, answer);
            }
            Err(Failure::Database(error)) if error.fault.passes() => {
                turn.put_back(job);
                drop(turn);
                shared.stats.retried.fetch_add(1, Relaxed);
                let broken = error.fault.breaks_connection();
                self.log(&error.into());
                if broken {
                    self.disconnect();
                    // This thread is busy with its connection: another one may try.
                    shared.queue.wake_one();
                } else {
                    shared.queue.pause(RETRY_PAUSE);
                }
            }
            Err(failure) => self.fail(job, &failure),
        }
    }

    fn fail(&mut self, job: Job<T>, failure: &Failure) {
        self.shared.stats.failed.fetch_add(1, Relaxed);
        self.log(failure);
        if matches!(failure, Failure::Database(error) if error.fault.breaks_connection()) {
            self.disconnect();
        }
        let answer = job.request.refused(failure.outcome());
        self.shared.reply(job, answer);
    }

    fn log(&mut self, failure: &Failure) {
        if self.last_logged.is_some_and(|last| last.elapsed() < LOG_INTERVAL) {
            self.unlogged += 1;
            return;
        }
        self.last_logged = Some(Instant::now());
        let unlogged = std::mem::take(&mut self.unlogged);
        if failure.outcome() == Outcome::TryAgainLater {
            warn!(unlogged, "{failure}");
        } else {
            error!(unlogged, "{failure}");
        }
    }

    fn database(&mut self) -> Result<&mut dyn Procedures, DbError> {
        match &mut self.database {
            Some(database) => Ok(database.as_mut()),
            None => Err(DbError::new(Fault::Lost, "DB thread", "it has just been lost")),
        }
    }

    fn execute(&mut self, request: &Request, deadline: Instant) -> Result<Answer, Failure> {
        let now_ms = (self.shared.now_ms)();
        Ok(match request {
            Request::CheckPassword { id, password, take_over, instance } => {
                match self.verify(id, password.expose())? {
                    Some(account) => self.claim(account, *instance, *take_over, deadline)?,
                    None => request.refused(Outcome::BadCredentials),
                }
            }
            Request::LoadCharacter { claim, instance } => self.load_character(request, claim, *instance)?,
            Request::SignUp { id, password } => {
                Answer::SignUp { outcome: self.sign_up(id, password.expose(), deadline)? }
            }
            Request::VerifyAccount { id, password } => match self.verify(id, password.expose())? {
                Some(account) => Answer::VerifyAccount { outcome: Outcome::Ok, account },
                None => request.refused(Outcome::BadCredentials),
            },
            Request::CreateCharacter { account, name } => {
                Answer::CreateCharacter { outcome: self.create_character(*account, name)? }
            }
            Request::ReleaseClaim { claim, instance } => {
                self.database()?.online_release(claim, *instance)?;
                Answer::ReleaseClaim { outcome: Outcome::Ok }
            }
            Request::SyncHeld { instance, claims, lease_until_ms } => {
                let conflicts = self.database()?.online_sync(*instance, claims, now_ms, *lease_until_ms)?;
                Answer::SyncHeld { outcome: Outcome::Ok, conflicts }
            }
            Request::RenewHolder { instance, lease_until_ms } => {
                self.database()?.holder_renew(*instance, *lease_until_ms)?;
                Answer::RenewHolder { outcome: Outcome::Ok }
            }
        })
    }

    /// The account whose id and password these are. `None` takes as long as a wrong password, whatever is wrong.
    fn verify(&mut self, id: &str, password: &str) -> Result<Option<u64>, Failure> {
        // An id that nobody may have is an unknown one. The database is asked all the same,
        // with a key that no account has.
        let key = rules::check_id(id).unwrap_or_default();
        let account = self.database()?.account_select(&key)?;
        let stored = account.as_ref().map(|account| account.password_hash.as_str());
        let right = self.passwords.verify(stored, password)?;
        Ok(account.filter(|_| right).map(|account| account.account))
    }

    fn claim(
        &mut self,
        account: u64,
        instance: u64,
        take_over: bool,
        deadline: Instant,
    ) -> Result<Answer, Failure> {
        // Releases that came while the password was hashed go first: whoever logs out and in
        // again at once must not be told that they are online.
        let shared = Arc::clone(&self.shared);
        for turn in shared.queue.control_turns() {
            self.control(turn);
            if self.database.is_none() || Instant::now() >= deadline {
                break;
            }
        }
        // A claim that nobody waits for any more would only be a ghost.
        if Instant::now() >= deadline {
            return Err(Failure::Expired);
        }
        let now_ms = (shared.now_ms)();
        let claim = Claim { account, id: rand::random_range(1..=u64::MAX) };
        let claimed = self.database()?.online_claim(&claim, instance, take_over, now_ms)?;
        let refused =
            |outcome| Answer::CheckPassword { outcome, claim: Claim { account: 0, id: 0 }, displaced: None };
        Ok(match claimed {
            OnlineClaim::Claimed { displaced } => {
                Answer::CheckPassword { outcome: Outcome::Ok, claim, displaced }
            }
            OnlineClaim::AlreadyOnline => refused(Outcome::AlreadyOnline),
            OnlineClaim::NoLease => refused(Outcome::TryAgainLater),
        })
    }

    fn load_character(&mut self, request: &Request, claim: &Claim, instance: u64) -> Result<Answer, Failure> {
        let now_ms = (self.shared.now_ms)();
        let database = self.database()?;
        // The character first: an account without one has nothing to do in the chat, and its claim
        // stays with the login server, which gives it up.
        let Some(character) = database.character_select(claim.account)? else {
            return Ok(request.refused(Outcome::NoCharacter));
        };
        Ok(match database.online_transfer(claim, instance, now_ms)? {
            Transfer::Moved => Answer::LoadCharacter { outcome: Outcome::Ok, character: Some(character) },
            Transfer::Lost => request.refused(Outcome::ClaimLost),
            Transfer::NoLease => request.refused(Outcome::TryAgainLater),
        })
    }

    fn sign_up(&mut self, id: &str, password: &str, deadline: Instant) -> Result<Outcome, Failure> {
        let id_key = match rules::check_id(id) {
            Ok(key) => key,
            Err(outcome) => return Ok(outcome),
        };
        if let Err(outcome) = rules::check_password(password) {
            return Ok(outcome);
        }
        let password_hash = self.passwords.hash(password)?;
        if Instant::now() >= deadline {
            return Err(Failure::Expired);
        }
        let now_ms = (self.shared.now_ms)();
        let new = NewAccount { id, id_key: &id_key, password_hash: &password_hash, now_ms };
        Ok(match self.database()?.account_insert(&new)? {
            AccountInsert::Inserted(_) => Outcome::Ok,
            AccountInsert::IdTaken => Outcome::IdTaken,
        })
    }

    fn create_character(&mut self, account: u64, name: &str) -> Result<Outcome, Failure> {
        let name_key = match rules::check_name(name) {
            Ok(key) => key,
            Err(outcome) => return Ok(outcome),
        };
        let now_ms = (self.shared.now_ms)();
        let new = NewCharacter { account, name, name_key: &name_key, now_ms };
        Ok(match self.database()?.character_insert(&new)? {
            CharacterInsert::Inserted(_) => Outcome::Ok,
            CharacterInsert::NoSuchAccount => Outcome::BadCredentials,
            CharacterInsert::CharacterExists => Outcome::CharacterExists,
            CharacterInsert::NameTaken => Outcome::NameTaken,
        })
    }
}
