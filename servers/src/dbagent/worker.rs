//! A DB thread: executes requests over its one connection and passes the replies to the sink.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use thiserror::Error;
use throng_core::limits::PASSWORD_COSTS_MAX;
use throng_core::metrics;
use throng_core::wire::packets::{Claim, Origin, Outcome, Role};
use tracing::info;

use super::crew::{Crew, Ended, Place};
use super::db_clock::DbClock;
use super::fault_log::FaultLog;
use super::gate::{BACKOFF_MAX, Gate};
use super::inserts::{insert_account, insert_character};
use super::password::{PasswordError, Passwords};
use super::procedures::{
    Account, AccountInsert, CharacterInsert, DbError, Fault, HeldList, Holder, NewAccount, NewCharacter,
    OnlineClaim, Procedures, Transfer,
};
use super::queue::{Queue, Task, Turn};
use super::request::{Answer, Job, Lane, Reply, Request};
use super::stats::PoolStats;
use crate::rules::{self, Password};

/// Times after which a call of the driver counts as hung. Its thread is then replaced.
#[derive(Debug, Clone, Copy)]
pub struct DriverLimits {
    /// Time to open a connection and to check the schema.
    pub connect: Duration,
    /// Time to run a procedure.
    pub call: Duration,
}

impl Default for DriverLimits {
    fn default() -> Self {
        Self { connect: Duration::from_secs(30), call: Duration::from_secs(10) }
    }
}

/// Pause before a control request is retried over a connection that works.
const RETRY_PAUSE: Duration = Duration::from_millis(50);

/// Attempts at a request whose connection breaks, each over a new connection. The deadline may end
/// them sooner.
const ATTEMPTS_MAX: u32 = 3;

/// Attempts at a request that a read-only database refuses: the new connection may lead to another
/// server, and a third one would not.
const READ_ONLY_ATTEMPTS: u32 = 2;

/// Claims of a list for which it is granted the time of one more call.
const CLAIMS_PER_CALL: usize = 1000;

/// Interval at which an idle thread looks after a database that asks for it.
const IDLE_INTERVAL: Duration = Duration::from_secs(1);

/// Age at which the costs of passwords in use are read again.
const COSTS_MAX_AGE: Duration = Duration::from_secs(30);

pub(super) type Factory = Box<dyn Fn() -> Result<Box<dyn Procedures>, DbError> + Send + Sync>;
pub(super) type Sink<T> = Box<dyn Fn(Reply<T>) + Send + Sync>;

/// State shared by all DB threads of a pool.
pub(super) struct Shared<T> {
    pub(super) queue: Queue<T>,
    pub(super) stats: PoolStats,
    pub(super) crew: Crew,
    /// Through which the threads connect.
    pub(super) gate: Gate,
    pub(super) fault_log: FaultLog,
    /// Logins whose claim is being made or moved, by the number of the thread, with the answer
    /// that says that it has not been undone.
    pub(super) claiming: Mutex<HashMap<u64, (T, Answer)>>,
    pub(super) limits: DriverLimits,
    pub(super) factory: Factory,
    pub(super) sink: Sink<T>,
    pub(super) agent: u64,
}

impl<T: Copy> Shared<T> {
    pub(super) fn reply(&self, tag: T, answer: Answer) {
        (self.sink)(Reply { tag, answer });
    }

    /// Answers NoTime to a job whose hash would end too late. If no thread was there before its
    /// deadline, the database was away, and waiting again may be in vain.
    fn too_late(&self, job: &Job<T>) {
        self.stats.late.fetch_add(1, Relaxed);
        let is_over = Instant::now() >= job.deadline;
        let refused = || job.request.refused(Outcome::TryAgainLater);
        self.reply(job.tag, if is_over { refused() } else { job.request.no_time() });
    }

    /// Tells the agent of a thread that is given up: it may have made the claim with which it
    /// hangs, and may never return to say so.
    pub(super) fn give_up(&self, thread: u64) {
        if let Some((tag, answer)) = self.claiming.lock().remove(&thread) {
            self.reply(tag, answer);
        }
    }

    /// Answers TryAgainLater to a job that will not be executed.
    pub(super) fn refuse(&self, job: &Job<T>) {
        self.stats.expired.fetch_add(1, Relaxed);
        self.reply(job.tag, job.request.refused(Outcome::TryAgainLater));
    }
}

/// Reason why a request was not executed.
#[derive(Debug, Error)]
enum Failure {
    #[error("the deadline of the request is over")]
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

/// Returns true if a password was hashed for an answer. Ids and passwords that cannot be are
/// refused without.
fn has_hashed(request: &Request, answer: &Answer) -> bool {
    use Outcome::{AlreadyOnline, BadCredentials, IdTaken, Ok};
    request.lane() == Lane::Hashing
        && matches!(answer.outcome(), Ok | BadCredentials | AlreadyOnline | IdTaken)
}

pub(super) struct Worker<T> {
    shared: Arc<Shared<T>>,
    /// The call of the driver under way, which the pool watches.
    place: Arc<Place>,
    passwords: Passwords,
    /// `None` from the moment the connection breaks until `connect` has opened another.
    database: Option<Box<dyn Procedures>>,
    /// True once this thread is one too many, after others that hung have returned.
    is_let_go: bool,
    /// Time at which `database` was connected.
    connected_at: Option<Instant>,
    /// The database's clock.
    clock: DbClock,
    /// Tag of the latest job of the quick or the hashing lane.
    tag: Option<T>,
    /// True if the answer to an attempt of the latest call was lost.
    is_answer_lost: bool,
    /// Request that undoes the present one, which may have taken effect without an answer.
    undo: Option<Request>,
    /// Time at which the costs of passwords in use were read; `None` if they have to be.
    costs_read_at: Option<Instant>,
}

impl<T: Copy> Worker<T> {
    pub(super) fn new(shared: Arc<Shared<T>>, place: Arc<Place>, passwords: Passwords) -> Self {
        Self {
            shared,
            place,
            passwords,
            database: None,
            is_let_go: false,
            connected_at: None,
            clock: DbClock::default(),
            tag: None,
            is_answer_lost: false,
            undo: None,
            costs_read_at: None,
        }
    }

    /// Executes requests until the queue is closed and either empty or overdue, or until there are
    /// enough threads without this one. Returns the error of closing the database.
    pub(super) fn run(self) -> Ended {
        metrics::in_role(Role::DbAgent, || self.work())
    }

    fn work(mut self) -> Ended {
        let shared = Arc::clone(&self.shared);
        while !self.may_go() && (self.database.is_some() || self.connect()) {
            let idle = self.look_after().then_some(IDLE_INTERVAL);
            match shared.queue.next(self.place.number, idle) {
                Some(Task::Control(turn)) => self.control(turn),
                Some(Task::Job(job)) => self.serve(&job),
                Some(Task::Late(job)) => shared.too_late(&job),
                Some(Task::Idle) => {}
                None => break,
            }
        }
        let Some(database) = self.take_database() else { return Ok(()) };
        self.in_driver(shared.limits.call, |_| database.close())
    }

    /// Runs a call of the driver, which counts as hung after `limit`.
    fn in_driver<V>(&mut self, limit: Duration, call: impl FnOnce(&mut Self) -> V) -> V {
        self.place.begin(limit);
        let value = call(self);
        if self.place.end() {
            self.shared.crew.take_back();
            info!("the call that hung has ended");
        }
        value
    }

    /// Returns true, from then on, if there are enough threads without this one.
    fn may_go(&mut self) -> bool {
        if !self.is_let_go {
            self.is_let_go = self.shared.crew.let_go(self.database.is_some());
        }
        self.is_let_go
    }

    /// Opens a connection and retries until one works. Returns false if the queue closes first, or
    /// if there are enough threads without this one.
    fn connect(&mut self) -> bool {
        let shared = Arc::clone(&self.shared);
        while !self.may_go() && !shared.queue.is_spent() {
            match self.connect_once(Instant::now() + BACKOFF_MAX) {
                Some(Ok(())) => return true,
                Some(Err(error)) => self.log(&error.into()),
                // Another thread connects, or the pause is not over.
                None => continue,
            }
            if shared.crew.usable() == 0 {
                // No thread can serve these callers, so they had better be told at once.
                for _ in 0..shared.queue.len() {
                    let Some(job) = shared.queue.pop_common() else { break };
                    shared.refuse(&job);
                }
            }
        }
        false
    }

    /// Opens a connection, if this thread may do so before `until`.
    fn connect_once(&mut self, until: Instant) -> Option<Result<(), DbError>> {
        let shared = Arc::clone(&self.shared);
        let limit = shared.limits.connect;
        let pass = shared.gate.enter(until, limit, || shared.queue.is_spent())?;
        let connected = self.in_driver(limit, |worker| (worker.shared.factory)());
        if connected.is_err() {
            shared.gate.fail();
        }
        drop(pass);
        Some(connected.map(|database| {
            self.database = Some(database);
            self.clock = DbClock::default();
            self.connected_at = Some(Instant::now());
            self.costs_read_at = None;
            self.place.set_connected(true);
            shared.stats.connected.fetch_add(1, Relaxed);
            shared.stats.connections.fetch_add(1, Relaxed);
            shared.fault_log.connected(Instant::now());
        }))
    }

    /// Takes the connection, which counts no more from now on.
    fn take_database(&mut self) -> Option<Box<dyn Procedures>> {
        let database = self.database.take()?;
        self.place.set_connected(false);
        self.shared.stats.connected.fetch_sub(1, Relaxed);
        Some(database)
    }

    fn disconnect(&mut self) {
        if let Some(database) = self.take_database() {
            self.in_driver(self.shared.limits.call, |_| drop(database));
        }
    }

    /// Does what the database wants done between requests. Returns true if it wants to be asked
    /// again, even without a request.
    fn look_after(&mut self) -> bool {
        let limit = self.shared.limits.call;
        self.in_driver(limit, |worker| worker.database.as_mut().is_some_and(|database| database.look_after()))
    }

    /// Executes a job of the quick or the hashing lane, unless its deadline is over.
    fn serve(&mut self, job: &Job<T>) {
        let shared = Arc::clone(&self.shared);
        if Instant::now() >= job.deadline || shared.queue.is_overdue() {
            return shared.refuse(job);
        }
        let began_at = Instant::now();
        self.tag = Some(job.tag);
        match self.execute(&job.request, job.deadline) {
            Ok(answer) => {
                // A job that had to wait for a new connection says nothing about hashes.
                let is_undisturbed = self.connected_at.is_some_and(|at| at <= began_at);
                if is_undisturbed && has_hashed(&job.request, &answer) {
                    shared.queue.hashing().measured(began_at.elapsed());
                }
                shared.fault_log.served(Instant::now());
                shared.stats.served.fetch_add(1, Relaxed);
                shared.reply(job.tag, answer);
            }
            Err(Failure::Expired) => shared.refuse(job),
            Err(failure) => self.fail(job, &failure),
        }
        if let Some(request) = self.undo.take() {
            let undo = Job { request, origin: Origin::UNKNOWN, tag: job.tag, deadline: job.deadline };
            // The number of threads matters only to the lane of hashes.
            if let Err((_, undo)) = shared.queue.push(undo, 1) {
                // Without it the list of its process has to tell which claims remain.
                shared.reply(job.tag, undo.request.refused(Outcome::TryAgainLater));
            }
        }
    }

    /// Runs a call that gives a claim to a process. If an attempt may have taken effect whose
    /// answer was lost, `undo` follows the request, unless the caller clears it because of a
    /// success.
    fn call_claiming<V>(
        &mut self,
        undo: Request,
        deadline: Instant,
        body: impl FnMut(&mut dyn Procedures, bool) -> Result<V, DbError>,
    ) -> Result<V, DbError> {
        let shared = Arc::clone(&self.shared);
        let thread = self.place.number;
        if let Some(tag) = self.tag {
            shared.claiming.lock().insert(thread, (tag, undo.refused(Outcome::TryAgainLater)));
        }
        self.is_answer_lost = false;
        let result = self.call(deadline, body);
        shared.claiming.lock().remove(&thread);
        self.undo = self.is_answer_lost.then_some(undo);
        result
    }

    /// Executes the first job of a control lane. If the database has a transient fault, the job
    /// stays first.
    fn control(&mut self, turn: Turn<'_, T>) {
        let shared = Arc::clone(&self.shared);
        let job = turn.job();
        if shared.queue.is_overdue() {
            if turn.finish() {
                shared.refuse(&job);
            }
            return;
        }
        match self.execute(&job.request, job.deadline) {
            Ok(answer) => {
                shared.fault_log.served(Instant::now());
                if turn.finish() {
                    shared.stats.served.fetch_add(1, Relaxed);
                    // The sink runs before the turn ends, so that the replies keep the order too.
                    shared.reply(job.tag, answer);
                } else {
                    self.overtaken(&job);
                }
            }
            Err(Failure::Database(error)) if error.fault.is_transient() => {
                let is_overtaken = !turn.is_held();
                // The job stays the first of its lane.
                drop(turn);
                if is_overtaken {
                    self.overtaken(&job);
                }
                shared.stats.retried.fetch_add(1, Relaxed);
                let is_broken = error.fault.breaks_connection();
                self.log(&error.into());
                if is_broken {
                    self.disconnect();
                    // This thread now reconnects; another one may have a connection.
                    shared.queue.wake_one();
                } else {
                    shared.queue.pause(RETRY_PAUSE);
                }
            }
            Err(failure) => {
                if turn.finish() {
                    self.fail(&job, &failure);
                } else {
                    self.overtaken(&job);
                }
            }
        }
    }

    /// Tells the agent of a call that ended after another thread had answered for it.
    fn overtaken(&self, job: &Job<T>) {
        use Request::{MarkClaim, RenewHolder, SyncHeld};
        if matches!(job.request, MarkClaim { .. } | SyncHeld { .. } | RenewHolder { .. }) {
            self.shared.reply(job.tag, Answer::Overtaken);
        }
    }

    fn fail(&mut self, job: &Job<T>, failure: &Failure) {
        self.shared.stats.failed.fetch_add(1, Relaxed);
        self.log(failure);
        if matches!(failure, Failure::Database(error) if error.fault.breaks_connection()) {
            self.disconnect();
        }
        self.shared.reply(job.tag, job.request.refused(failure.outcome()));
    }

    fn log(&self, failure: &Failure) {
        let (log, now) = (&self.shared.fault_log, Instant::now());
        if failure.outcome() == Outcome::TryAgainLater {
            log.failed(failure, now);
        } else {
            log.broken(failure, now);
        }
    }

    /// Runs `body` over the connection. If the connection breaks, runs it again over a new one with
    /// `true`: the former attempt may have taken effect.
    fn call<V>(
        &mut self,
        deadline: Instant,
        body: impl FnMut(&mut dyn Procedures, bool) -> Result<V, DbError>,
    ) -> Result<V, DbError> {
        self.call_within(self.shared.limits.call, deadline, body)
    }

    /// Does the same for a body that counts as hung after `limit`.
    fn call_within<V>(
        &mut self,
        limit: Duration,
        deadline: Instant,
        mut body: impl FnMut(&mut dyn Procedures, bool) -> Result<V, DbError>,
    ) -> Result<V, DbError> {
        let mut attempt = 1;
        loop {
            let result = self.in_driver(limit, |worker| match &mut worker.database {
                Some(database) => body(database.as_mut(), attempt > 1),
                None => Err(DbError::new(Fault::Lost, "DB thread", "the connection has just been lost")),
            });
            let error = match result {
                Err(error) if error.fault.breaks_connection() && self.database.is_some() => error,
                result => return result,
            };
            self.is_answer_lost |= error.fault == Fault::Lost;
            let is_read_only = error.fault == Fault::ReadOnly;
            let attempts = if is_read_only { READ_ONLY_ATTEMPTS } else { ATTEMPTS_MAX };
            if attempt == attempts && is_read_only {
                // A server that has changed its mind would be asked without a pause otherwise.
                self.shared.gate.fail();
            }
            if attempt == attempts || Instant::now() >= deadline {
                return Err(error);
            }
            self.disconnect();
            // If there is no new connection, the fault of the old one is the cause to report.
            if !matches!(self.connect_once(deadline), Some(Ok(()))) {
                return Err(error);
            }
            self.shared.stats.retried.fetch_add(1, Relaxed);
            attempt += 1;
        }
    }

    /// Returns the time by the database's clock, by which several agents agree on who is online.
    fn now_ms(&mut self, deadline: Instant) -> Result<u64, DbError> {
        if !self.clock.is_current(Instant::now()) {
            let database_ms = self.call(deadline, |database, _| database.clock())?;
            self.clock = DbClock::read(Instant::now(), database_ms);
        }
        Ok(self.clock.at(Instant::now()))
    }

    /// The process `instance` as a holder through this agent.
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
            Request::UndoClaim { claim, instance } => {
                self.call(deadline, |database, _| database.online_release(claim, *instance))?;
                Answer::UndoClaim { outcome: Outcome::Ok }
            }
            Request::MarkClaim { claim, instance, is_away } => {
                let holder = self.holder(*instance);
                self.call(deadline, |database, _| database.online_away(claim, holder, *is_away))?;
                Answer::MarkClaim { outcome: Outcome::Ok, is_away: *is_away }
            }
            Request::SyncHeld { instance, list, is_first, claims, lease_until } => {
                let lease_until_ms = self.clock.at(*lease_until);
                let list = HeldList {
                    holder: self.holder(*instance),
                    number: *list,
                    is_first: *is_first,
                    claims: claims.as_slice(),
                };
                // A long list is many calls.
                let calls = 1 + claims.len() / CLAIMS_PER_CALL;
                let limit = self.shared.limits.call.saturating_mul(calls as u32);
                let conflicts = self.call_within(limit, deadline, |database, _| {
                    database.online_sync(&list, now_ms, lease_until_ms)
                })?;
                Answer::SyncHeld { outcome: Outcome::Ok, conflicts }
            }
            Request::RenewHolder { instance, lease_until } => {
                let holder = self.holder(*instance);
                let lease_until_ms = self.clock.at(*lease_until);
                self.call(deadline, |database, _| database.holder_renew(holder, lease_until_ms))?;
                Answer::RenewHolder { outcome: Outcome::Ok }
            }
            Request::AgentStart { until } => {
                let agent = self.shared.agent;
                let until_ms = self.clock.at(*until);
                self.call(deadline, |database, _| database.agent_start(agent, until_ms))?;
                Answer::AgentStart { outcome: Outcome::Ok }
            }
        })
    }

    /// Reads the costs of passwords in use, each of which every check pays.
    fn read_costs(&mut self, deadline: Instant) -> Result<(), DbError> {
        if self.costs_read_at.is_some_and(|at| at.elapsed() < COSTS_MAX_AGE) {
            return Ok(());
        }
        let costs = self.call(deadline, |database, _| {
            let mut costs = Vec::new();
            let mut after = String::new();
            while costs.len() < PASSWORD_COSTS_MAX
                && let Some(cost) = database.password_cost_next(&after)?
            {
                after.clone_from(&cost);
                costs.push(cost);
            }
            Ok(costs)
        })?;
        self.passwords.set_costs_in_use(&costs);
        self.costs_read_at = Some(Instant::now());
        Ok(())
    }

    /// Stores the hash of a right password at today's cost. The login goes on without it.
    fn renew_hash(&mut self, account: &Account, new_hash: &str, deadline: Instant) {
        let old_hash = &account.password_hash;
        let replaced =
            self.call(deadline, |database, _| database.password_replace(account.account, old_hash, new_hash));
        if let Err(error) = replaced {
            self.log(&error.into());
        }
    }

    /// Returns the account that has this id and password. Takes as long for an unknown or
    /// impossible id as for a wrong password, whatever the cost of the stored hash.
    fn verify(&mut self, id: &str, password: &str, deadline: Instant) -> Result<Option<u64>, Failure> {
        // An impossible id is looked up like an unknown one, with a key that no account has:
        // skipping the call would show in the time.
        let key = rules::check_id(id).unwrap_or_default();
        self.read_costs(deadline)?;
        let account = self.call(deadline, |database, _| database.account_select(&key))?;
        if Instant::now() >= deadline {
            return Err(Failure::Expired);
        }
        let stored = account.as_ref().map(|account| account.password_hash.as_str());
        let checked = self.passwords.check(stored, &Password::to_check(password))?;
        let Some(account) = account.filter(|_| checked.is_right) else { return Ok(None) };
        if let Some(new_hash) = checked.renewed {
            self.renew_hash(&account, &new_hash, deadline);
        }
        Ok(Some(account.account))
    }

    fn claim(
        &mut self,
        account: u64,
        instance: u64,
        take_over: bool,
        deadline: Instant,
    ) -> Result<Answer, Failure> {
        // Releases that arrived during the hash are executed first, so that a player who logs out
        // and in again at once is not refused as online.
        let shared = Arc::clone(&self.shared);
        for turn in shared.queue.control_turns(self.place.number, deadline) {
            self.control(turn);
            if self.database.is_none() || Instant::now() >= deadline {
                break;
            }
        }
        // No server waits for a claim made after the deadline, so none would release it.
        if Instant::now() >= deadline {
            return Err(Failure::Expired);
        }
        let now_ms = self.now_ms(deadline)?;
        let claim = Claim { account, id: rand::random_range(1..=u64::MAX) };
        let holder = self.holder(instance);
        // Without take-over too it may displace a claim, one that is away.
        let undo = Request::UndoClaim { claim, instance };
        let claimed = self.call_claiming(undo, deadline, |database, _| {
            database.online_claim(&claim, holder, take_over, now_ms)
        })?;
        let refused =
            |outcome| Answer::CheckPassword { outcome, claim: Claim { account: 0, id: 0 }, displaced: None };
        Ok(match claimed {
            OnlineClaim::Claimed { displaced } => {
                self.undo = None;
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
        // The character comes first: without one the claim stays with the login server, which
        // releases it.
        let character = self.call(deadline, |database, _| database.character_select(claim.account))?;
        let Some(character) = character else { return Ok(request.refused(Outcome::NoCharacter)) };
        let to = self.holder(instance);
        let now_ms = self.now_ms(deadline)?;
        let undo = Request::ReleaseClaim { claim: *claim, instance };
        let moved =
            self.call_claiming(undo, deadline, |database, _| database.online_transfer(claim, to, now_ms))?;
        Ok(match moved {
            Transfer::Moved => {
                self.undo = None;
                Answer::LoadCharacter { outcome: Outcome::Ok, character: Some(character) }
            }
            Transfer::Lost => request.refused(Outcome::ClaimLost),
            Transfer::NoLease => request.refused(Outcome::TryAgainLater),
        })
    }

    fn sign_up(&mut self, id: &str, password: &str, deadline: Instant) -> Result<Outcome, Failure> {
        let id_key = match rules::check_id(id) {
            Ok(key) => key,
            Err(outcome) => return Ok(outcome),
        };
        let password = match Password::new(password) {
            Ok(password) => password,
            Err(outcome) => return Ok(outcome),
        };
        let password_hash = self.passwords.hash(&password)?;
        if Instant::now() >= deadline {
            return Err(Failure::Expired);
        }
        let now_ms = self.now_ms(deadline)?;
        let new = NewAccount { id, id_key: &id_key, password_hash: &password_hash, now_ms };
        let inserted = self.call(deadline, |database, is_retry| insert_account(database, &new, is_retry))?;
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
        let inserted =
            self.call(deadline, |database, is_retry| insert_character(database, &new, is_retry))?;
        Ok(match inserted {
            CharacterInsert::Inserted(_) => Outcome::Ok,
            CharacterInsert::NoSuchAccount => Outcome::BadCredentials,
            CharacterInsert::CharacterExists => Outcome::CharacterExists,
            CharacterInsert::NameTaken => Outcome::NameTaken,
        })
    }
}
