//! A DB thread: takes requests, does them over its one connection, hands the answers to the sink.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use thiserror::Error;
use throng_core::wire::packets::{Claim, Outcome};
use tracing::{error, info, warn};

use super::password::{PasswordError, Passwords};
use super::procedures::{
    AccountInsert, CharacterInsert, DbError, Fault, HeldList, Holder, NewAccount, NewCharacter, OnlineClaim,
    Procedures, Transfer,
};
use super::queue::{Queue, Task, Turn};
use super::request::{Answer, Job, Reply, Request};
use super::stats::PoolStats;
use crate::rules;

/// The pause after a first connection that failed, and the longest one. Doubled from one
/// to the next, and shortened by chance, so that many agents do not come back all at once.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(10), Duration::from_millis(500));

/// The pause before a release, list or renewal is tried again over a connection that works.
const RETRY_PAUSE: Duration = Duration::from_millis(50);

/// How often a request whose connection broke is begun again over a new one. Its deadline is the other limit.
const ATTEMPTS_MAX: u32 = 3;

/// How old the comparison of our clock with the database's may be.
const CLOCK_EVERY: Duration = Duration::from_secs(30);

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
    pub(super) agent: u64,
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
    /// By how many milliseconds the database's clock is ahead of ours, and when that was seen.
    ahead: (i64, Option<Instant>),
    last_logged: Option<Instant>,
    unlogged: u64,
}

impl<T> Worker<T> {
    pub(super) fn new(shared: Arc<Shared<T>>, passwords: Passwords) -> Self {
        Self { shared, passwords, database: None, ahead: (0, None), last_logged: None, unlogged: 0 }
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
            match self.connect_once() {
                Ok(()) => return true,
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

    fn connect_once(&mut self) -> Result<(), DbError> {
        self.database = Some((self.shared.factory)()?);
        self.ahead.1 = None;
        self.shared.stats.connected.fetch_add(1, Relaxed);
        self.shared.stats.connections.fetch_add(1, Relaxed);
        info!("connected to the database");
        Ok(())
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

    /// Runs `body` over the connection. When that breaks, `body` is run over a new one, and told so: what it did
    /// the first time may have been done.
    fn call<V>(
        &mut self,
        deadline: Instant,
        mut body: impl FnMut(&mut dyn Procedures, bool) -> Result<V, DbError>,
    ) -> Result<V, DbError> {
        let mut attempt = 1;
        loop {
            let Some(database) = &mut self.database else {
                return Err(DbError::new(Fault::Lost, "DB thread", "it has just been lost"));
            };
            match body(database.as_mut(), attempt > 1) {
                Err(error)
                    if error.fault.breaks_connection()
                        && attempt < ATTEMPTS_MAX
                        && Instant::now() < deadline =>
                {
                    self.disconnect();
                    // Without a new one, what the old one said is the cause.
                    if self.connect_once().is_err() {
                        return Err(error);
                    }
                    self.shared.stats.retried.fetch_add(1, Relaxed);
                    attempt += 1;
                }
                result => return result,
            }
        }
    }

    /// The database's time: several agents with clocks of their own agree on who is online by it.
    fn now_ms(&mut self, deadline: Instant) -> Result<u64, DbError> {
        if self.ahead.1.is_none_or(|seen| seen.elapsed() >= CLOCK_EVERY) {
            let clock = self.shared.now_ms;
            let ahead = self.call(deadline, |database, _| {
                let there = database.clock()?.cast_signed();
                Ok(there.wrapping_sub(clock().cast_signed()))
            })?;
            self.ahead = (ahead, Some(Instant::now()));
        }
        Ok(self.to_database_time((self.shared.now_ms)()))
    }

    /// A time of ours as the database's clock has it.
    fn to_database_time(&self, ours_ms: u64) -> u64 {
        ours_ms.saturating_add_signed(self.ahead.0)
    }

    /// The process `instance` by way of this agent.
    fn holder(&self, instance: u64) -> Holder {
        Holder { instance, agent: self.shared.agent }
    }

    fn execute(&mut self, request: &Request, deadline: Instant) -> Result<Answer, Failure> {
        let now_ms = self.now_ms(deadline)?;
        Ok(match request {
            Request::CheckPassword { id, password, take_over, instance } => {
                match self.verify(id, password.expose(), deadline)? {
                    Some(account) => self.claim(account, *instance, *take_over, deadline)?,
                    None => request.refused(Outcome::BadCredentials),
                }
            }
            Request::LoadCharacter { claim, instance } => {
                self.load_character(request, claim, *instance, deadline)?
            }
            Request::SignUp { id, password } => {
                Answer::SignUp { outcome: self.sign_up(id, password.expose(), deadline)? }
            }
            Request::VerifyAccount { id, password } => match self.verify(id, password.expose(), deadline)? {
                Some(account) => Answer::VerifyAccount { outcome: Outcome::Ok, account },
                None => request.refused(Outcome::BadCredentials),
            },
            Request::CreateCharacter { account, name } => {
                Answer::CreateCharacter { outcome: self.create_character(*account, name, deadline)? }
            }
            Request::ReleaseClaim { claim, instance } => {
                self.call(deadline, |database, _| database.online_release(claim, *instance))?;
                Answer::ReleaseClaim { outcome: Outcome::Ok }
            }
            Request::SyncHeld { instance, list, is_first, claims, lease_until_ms } => {
                let lease_until_ms = self.to_database_time(*lease_until_ms);
                let list = HeldList {
                    holder: self.holder(*instance),
                    number: *list,
                    is_first: *is_first,
                    claims: claims.as_slice(),
                };
                let conflicts =
                    self.call(deadline, |database, _| database.online_sync(&list, now_ms, lease_until_ms))?;
                Answer::SyncHeld { outcome: Outcome::Ok, conflicts }
            }
            Request::RenewHolder { instance, lease_until_ms } => {
                let (holder, until) = (self.holder(*instance), self.to_database_time(*lease_until_ms));
                self.call(deadline, |database, _| database.holder_renew(holder, until))?;
                Answer::RenewHolder { outcome: Outcome::Ok }
            }
            Request::AgentStart { until_ms } => {
                let (agent, until) = (self.shared.agent, self.to_database_time(*until_ms));
                self.call(deadline, |database, _| database.agent_start(agent, until))?;
                Answer::AgentStart { outcome: Outcome::Ok }
            }
        })
    }

    /// The account whose id and password these are. `None` takes as long as a wrong password, whatever is wrong.
    fn verify(&mut self, id: &str, password: &str, deadline: Instant) -> Result<Option<u64>, Failure> {
        // An id that nobody may have is an unknown one. The database is asked all the same,
        // with a key that no account has.
        let key = rules::check_id(id).unwrap_or_default();
        let account = self.call(deadline, |database, _| database.account_select(&key))?;
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
        let now_ms = self.now_ms(deadline)?;
        let claim = Claim { account, id: rand::random_range(1..=u64::MAX) };
        let holder = self.holder(instance);
        let claimed =
            self.call(deadline, |database, _| database.online_claim(&claim, holder, take_over, now_ms))?;
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

    fn load_character(
        &mut self,
        request: &Request,
        claim: &Claim,
        instance: u64,
        deadline: Instant,
    ) -> Result<Answer, Failure> {
        // The character first: an account without one has nothing to do in the chat, and its claim
        // stays with the login server, which gives it up.
        let character = self.call(deadline, |database, _| database.character_select(claim.account))?;
        let Some(character) = character else { return Ok(request.refused(Outcome::NoCharacter)) };
        let (to, now_ms) = (self.holder(instance), self.now_ms(deadline)?);
        let moved = self.call(deadline, |database, _| database.online_transfer(claim, to, now_ms))?;
        Ok(match moved {
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
        let now_ms = self.now_ms(deadline)?;
        let new = NewAccount { id, id_key: &id_key, password_hash: &password_hash, now_ms };
        let inserted = self.call(deadline, |database, again| match database.account_insert(&new)? {
            // Perhaps by ourselves, over the connection that broke: the hash has a salt that nobody else drew.
            AccountInsert::IdTaken if again => {
                let there = database.account_select(&id_key)?;
                let ours = there.filter(|there| there.password_hash == password_hash);
                Ok(ours.map_or(AccountInsert::IdTaken, |ours| AccountInsert::Inserted(ours.account)))
            }
            inserted => Ok(inserted),
        })?;
        Ok(match inserted {
            AccountInsert::Inserted(_) => Outcome::Ok,
            AccountInsert::IdTaken => Outcome::IdTaken,
        })
    }

    fn create_character(&mut self, account: u64, name: &str, deadline: Instant) -> Result<Outcome, Failure> {
        let name_key = match rules::check_name(name) {
            Ok(key) => key,
            Err(outcome) => return Ok(outcome),
        };
        let now_ms = self.now_ms(deadline)?;
        let new = NewCharacter { account, name, name_key: &name_key, now_ms };
        let inserted = self.call(deadline, |database, again| match database.character_insert(&new)? {
            // As with accounts. An account has one character: if it has this name, it is the one.
            CharacterInsert::CharacterExists if again => {
                let there = database.character_select(account)?;
                let ours = there.filter(|there| *there.name == *name);
                Ok(ours.map_or(CharacterInsert::CharacterExists, |ours| CharacterInsert::Inserted(ours.id)))
            }
            inserted => Ok(inserted),
        })?;
        Ok(match inserted {
            CharacterInsert::Inserted(_) => Outcome::Ok,
            CharacterInsert::NoSuchAccount => Outcome::BadCredentials,
            CharacterInsert::CharacterExists => Outcome::CharacterExists,
            CharacterInsert::NameTaken => Outcome::NameTaken,
        })
    }
}
