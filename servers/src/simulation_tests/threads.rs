//! A model of the DB threads of one agent ([`crate::dbagent::pool`]), which a test moves on by one
//! statement at a time.
//!
//! It follows the real threads in what a role can notice: lanes and their order, attempts and their
//! deadlines, pauses between connections, calls that hang and the threads that take their place.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use throng_core::limits::DB_HUNG_MAX;
use throng_core::wire::packets::{Character, Claim, Outcome};

use super::faults::{Counts, Kind};
use super::tables::Tables;
use crate::dbagent::db_clock::DbClock;
use crate::dbagent::inserts::{insert_account, insert_character};
use crate::dbagent::pool::{PoolStats, Rejected};
use crate::dbagent::procedures::{
    Account, AccountInsert, CharacterInsert, DbError, Fault, HeldList, Holder, NewAccount, NewCharacter,
    OnlineClaim, Procedures, Transfer,
};
use crate::dbagent::request::{Answer, Job, Reply, Request};
use crate::dbagent::role::{Executor, Tag};
use crate::dice::Dice;
use crate::rules;

/// DB threads of an agent.
const THREADS: usize = 2;
pub(super) const CONTROL_LANES: usize = 4;
/// Capacity of the quick and of the hashing queue, and of a control lane: small, so that they fill.
pub(super) const QUEUE: usize = 16;
pub(super) const CONTROL_QUEUE: usize = 64;
/// Hashes that wait in an agent, beyond which a further one would end too late.
const HASHES: usize = 2;
/// Time after which a call counts as hung.
const CALL_MAX: Duration = Duration::from_secs(10);
const BACKOFF_MIN: Duration = Duration::from_millis(10);
const BACKOFF_MAX: Duration = Duration::from_millis(500);
const ATTEMPTS_MAX: u32 = 3;
const READ_ONLY_ATTEMPTS: u32 = 2;

/// State of the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    Well,
    /// Statements that write fail. A new connection may be opened, and does not help.
    ReadOnly,
    /// Statements do not end.
    Hanging,
    /// No connection can be opened, and each one breaks at its next statement.
    Down,
}

/// A fault of the next statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Trick {
    /// Its commit is done, and its answer is lost with the connection.
    LoseAnswer,
    /// The connection breaks before it.
    LoseRequest,
}

/// The database server, which all agents share.
pub(super) struct Server {
    pub(super) tables: Tables,
    pub(super) mode: Mode,
    pub(super) trick: Option<Trick>,
    pub(super) dice: Dice,
    pub(super) counts: Counts,
    /// True if statements are shown.
    pub(super) trace: bool,
}

/// The remainder of a call that hangs.
#[derive(Debug)]
enum Late {
    /// It has taken effect; its answer is late.
    Done(Value),
    /// It takes effect when it ends.
    AtEnd,
    /// It has no effect, and fails when the database comes back.
    Lost,
    /// It never ends, and has taken effect or not.
    Never,
}

/// A statement of the procedures.
#[derive(Debug)]
enum Statement {
    Account(String),
    Character(u64),
    Claim {
        claim: Claim,
        take_over: bool,
        instance: u64,
    },
    Transfer {
        claim: Claim,
        instance: u64,
    },
    SignUp {
        id: String,
        key: String,
        hash: String,
    },
    CreateCharacter {
        account: u64,
        name: String,
        key: String,
    },
    /// A control request as it is.
    Control(Arc<Job<Tag>>),
}

#[derive(Debug)]
enum Value {
    Account(Option<Account>),
    Character(Option<Character>),
    Claimed(OnlineClaim),
    Moved(Transfer),
    SignedUp(AccountInsert),
    Created(CharacterInsert),
    Answer(Answer),
}

impl Statement {
    fn writes(&self) -> bool {
        !matches!(self, Self::Account(_) | Self::Character(_))
    }

    fn run(
        &self,
        tables: &mut Tables,
        clock: &DbClock,
        agent: u64,
        now: Instant,
        is_retry: bool,
    ) -> Result<Value, DbError> {
        let now_ms = clock.at(now);
        let holder = |instance: u64| Holder { instance, agent };
        Ok(match self {
            Self::Account(key) => Value::Account(tables.account_select(key)?),
            Self::Character(account) => Value::Character(tables.character_select(*account)?),
            Self::Claim { claim, take_over, instance } => {
                Value::Claimed(tables.online_claim(claim, holder(*instance), *take_over, now_ms)?)
            }
            Self::Transfer { claim, instance } => {
                Value::Moved(tables.online_transfer(claim, holder(*instance), now_ms)?)
            }
            Self::SignUp { id, key, hash } => {
                let new = NewAccount { id, id_key: key, password_hash: hash, now_ms };
                Value::SignedUp(insert_account(tables, &new, is_retry)?)
            }
            Self::CreateCharacter { account, name, key } => {
                let new = NewCharacter { account: *account, name, name_key: key, now_ms };
                Value::Created(insert_character(tables, &new, is_retry)?)
            }
            Self::Control(job) => Value::Answer(match &job.request {
                Request::UndoClaim { claim, instance } => {
                    tables.online_release(claim, *instance)?;
                    Answer::UndoClaim { outcome: Outcome::Ok }
                }
                Request::ReleaseClaim { claim, instance } => {
                    tables.online_release(claim, *instance)?;
                    Answer::ReleaseClaim { outcome: Outcome::Ok }
                }
                Request::MarkClaim { claim, instance, is_away } => {
                    tables.online_away(claim, holder(*instance), *is_away)?;
                    Answer::MarkClaim { outcome: Outcome::Ok, is_away: *is_away }
                }
                Request::SyncHeld { instance, list, is_first, claims, lease_until } => {
                    let list = HeldList {
                        holder: holder(*instance),
                        number: *list,
                        is_first: *is_first,
                        claims: claims.as_slice(),
                    };
                    let conflicts = tables.online_sync(&list, now_ms, clock.at(*lease_until))?;
                    Answer::SyncHeld { outcome: Outcome::Ok, conflicts }
                }
                Request::RenewHolder { instance, lease_until } => {
                    tables.holder_renew(holder(*instance), clock.at(*lease_until))?;
                    Answer::RenewHolder { outcome: Outcome::Ok }
                }
                Request::AgentStart { until } => {
                    tables.agent_start(agent, clock.at(*until))?;
                    Answer::AgentStart { outcome: Outcome::Ok }
                }
                other => unreachable!("{other:?} is no control request"),
            }),
        })
    }
}

/// A statement under way or about to be.
struct Call {
    job: Arc<Job<Tag>>,
    /// The control lane whose turn the thread has.
    lane: Option<usize>,
    statement: Statement,
    attempt: u32,
    is_answer_lost: bool,
}

struct Hung {
    call: Call,
    late: Late,
    since: Instant,
}

struct Thread {
    number: u64,
    is_connected: bool,
    clock: DbClock,
    /// A verified login that is to be claimed once the control lanes are empty.
    verified: Option<(Arc<Job<Tag>>, u64)>,
    next: Option<Call>,
    hung: Option<Hung>,
    is_given_up: bool,
}

#[derive(Default)]
struct Lane {
    waiting: VecDeque<Job<Tag>>,
    /// The job of the turn.
    first: Option<Arc<Job<Tag>>>,
    holder: Option<u64>,
}

impl Lane {
    fn has_work(&self) -> bool {
        self.holder.is_none() && (self.first.is_some() || !self.waiting.is_empty())
    }
}

/// The DB threads, their queue and the replies that the role has not got yet.
pub(super) struct Crew {
    agent: u64,
    lanes: [Lane; CONTROL_LANES],
    quick: VecDeque<Job<Tag>>,
    hashing: VecDeque<Job<Tag>>,
    threads: Vec<Thread>,
    last_thread: u64,
    replies: VecDeque<Reply<Tag>>,
    /// No thread connects before.
    connect_at: Option<Instant>,
    failures: u32,
}

/// The queue as the role sees it.
pub(super) struct Handle {
    crew: Arc<Mutex<Crew>>,
    stats: PoolStats,
}

impl Handle {
    pub(super) fn new(crew: Arc<Mutex<Crew>>) -> Self {
        Self { crew, stats: PoolStats::default() }
    }
}

impl Executor for Handle {
    fn try_submit(&self, job: Job<Tag>) -> Result<(), Rejected<Tag>> {
        let crew = &mut *self.crew.lock();
        let (queue, max) = match lane_of(&job.request) {
            Some(lane) => (&mut crew.lanes[lane].waiting, CONTROL_QUEUE),
            None if matches!(
                job.request,
                Request::LoadCharacter { .. } | Request::CreateCharacter { .. }
            ) =>
            {
                (&mut crew.quick, QUEUE)
            }
            None if crew.hashing.len() >= HASHES => return Err(Rejected::Late(job)),
            None => (&mut crew.hashing, QUEUE),
        };
        if queue.len() >= max {
            return Err(Rejected::Full(job));
        }
        queue.push_back(job);
        Ok(())
    }

    fn depth(&self) -> usize {
        self.crew.lock().depth()
    }

    fn hash_time(&self) -> Duration {
        Duration::ZERO
    }

    fn addresses(&self) -> usize {
        0
    }

    fn hung(&self) -> usize {
        self.crew.lock().threads.iter().filter(|thread| thread.is_given_up).count()
    }

    fn stats(&self) -> &PoolStats {
        &self.stats
    }
}

fn lane_of(request: &Request) -> Option<usize> {
    match request {
        Request::ReleaseClaim { instance, .. }
        | Request::UndoClaim { instance, .. }
        | Request::MarkClaim { instance, .. }
        | Request::SyncHeld { instance, .. }
        | Request::RenewHolder { instance, .. } => Some((*instance % CONTROL_LANES as u64) as usize),
        Request::AgentStart { .. } => Some(0),
        _ => None,
    }
}

/// Returns the request that undoes a statement which gives a claim to a process.
fn undo_of(statement: &Statement) -> Option<Request> {
    match *statement {
        Statement::Claim { claim, instance, .. } => Some(Request::UndoClaim { claim, instance }),
        Statement::Transfer { claim, instance } => Some(Request::ReleaseClaim { claim, instance }),
        _ => None,
    }
}

impl Crew {
    pub(super) fn new(agent: u64) -> Self {
        let mut crew = Self {
            agent,
            lanes: Default::default(),
            quick: VecDeque::new(),
            hashing: VecDeque::new(),
            threads: Vec::new(),
            last_thread: 0,
            replies: VecDeque::new(),
            connect_at: None,
            failures: 0,
        };
        for _ in 0..THREADS {
            crew.add_thread();
        }
        crew
    }

    fn add_thread(&mut self) {
        self.last_thread += 1;
        self.threads.push(Thread {
            number: self.last_thread,
            is_connected: false,
            clock: DbClock::default(),
            verified: None,
            next: None,
            hung: None,
            is_given_up: false,
        });
    }

    /// Number of queued requests.
    pub(super) fn depth(&self) -> usize {
        let control: usize = self.lanes.iter().map(|lane| lane.waiting.len()).sum();
        control + self.quick.len() + self.hashing.len()
    }

    /// Returns the indexes of the threads that can go on.
    pub(super) fn ready(&self, mode: Mode, now: Instant) -> impl Iterator<Item = usize> {
        let has_work = self.has_control_work() || !self.quick.is_empty() || !self.hashing.is_empty();
        let is_ready = move |thread: &Thread| {
            if let Some(hung) = &thread.hung {
                return mode != Mode::Hanging && !matches!(hung.late, Late::Never);
            }
            if thread.next.is_some() || thread.verified.is_some() {
                return true;
            }
            if !thread.is_connected {
                return mode != Mode::Hanging && self.connect_at.is_none_or(|at| at <= now);
            }
            has_work
        };
        self.threads.iter().enumerate().filter(move |(_, thread)| is_ready(thread)).map(|(at, _)| at)
    }

    fn has_control_work(&self) -> bool {
        self.lanes.iter().any(Lane::has_work)
    }

    pub(super) fn replies(&self) -> usize {
        self.replies.len()
    }

    /// Returns a reply that the role gets now. Replies of one thread keep their order; those of
    /// several threads do not.
    pub(super) fn take_reply(&mut self, at: usize) -> Option<Reply<Tag>> {
        // Replies about online state keep the order of their lane.
        let is_control = |reply: &Reply<Tag>| {
            !matches!(
                reply.answer,
                Answer::CheckPassword { .. }
                    | Answer::LoadCharacter { .. }
                    | Answer::SignUp { .. }
                    | Answer::VerifyAccount { .. }
                    | Answer::CreateCharacter { .. }
            )
        };
        let at = at % self.replies.len().max(1);
        let reply = self.replies.get(at)?;
        let at = if is_control(reply) { self.replies.iter().position(is_control)? } else { at };
        self.replies.remove(at)
    }

    fn reply(&mut self, job: &Job<Tag>, answer: Answer) {
        self.replies.push_back(Reply { tag: job.tag, answer });
    }

    fn refuse(&mut self, job: &Job<Tag>) {
        self.reply(job, job.request.refused(Outcome::TryAgainLater));
    }

    /// Has another thread take the place of each one that hangs for too long. Calls that are lost
    /// end when the database is back.
    pub(super) fn watch(&mut self, server: &mut Server, now: Instant) {
        for at in 0..self.threads.len() {
            let given_up = self.threads.iter().filter(|thread| thread.is_given_up).count();
            let thread = &mut self.threads[at];
            let is_due = thread.hung.as_ref().is_some_and(|hung| now >= hung.since + CALL_MAX);
            if !is_due || thread.is_given_up || given_up >= DB_HUNG_MAX {
                continue;
            }
            thread.is_given_up = true;
            let number = thread.number;
            for lane in self.lanes.iter_mut().filter(|lane| lane.holder == Some(number)) {
                lane.holder = None;
            }
            server.counts.add(Kind::ThreadReplaced);
            // It may have made the claim with which it hangs.
            if let Some(Hung { call, .. }) = &self.threads[at].hung
                && let Some(undo) = undo_of(&call.statement)
            {
                let job = call.job.clone();
                self.reply(&job, undo.refused(Outcome::TryAgainLater));
            }
            self.add_thread();
        }
    }

    /// The database is back: calls that would never have ended fail, except of threads that have
    /// been replaced.
    pub(super) fn comes_back(&mut self) {
        for thread in self.threads.iter_mut().filter(|thread| !thread.is_given_up) {
            if let Some(hung) = &mut thread.hung
                && matches!(hung.late, Late::Never)
            {
                hung.late = Late::Lost;
            }
        }
    }

    /// Calls that hang when their agent dies: the database may still carry them out.
    pub(super) fn die(self, server: &mut Server, now: Instant) {
        for thread in self.threads {
            if let Some(Hung { call, late: Late::AtEnd, .. }) = thread.hung
                && server.mode != Mode::ReadOnly
                && server.dice.one_in(2)
            {
                // No process learns of the result.
                let _ = call.statement.run(&mut server.tables, &thread.clock, self.agent, now, false);
            }
        }
    }

    fn fail_gate(&mut self, now: Instant) {
        let pause = BACKOFF_MIN.saturating_mul(1 << self.failures.min(16)).min(BACKOFF_MAX);
        self.failures += 1;
        self.connect_at = Some(now + pause);
    }

    /// Moves a thread on by one step.
    pub(super) fn go_on(&mut self, at: usize, server: &mut Server, now: Instant) {
        let thread = &mut self.threads[at];
        if let Some(Hung { mut call, late, .. }) = thread.hung.take() {
            let was_given_up = thread.is_given_up;
            thread.is_given_up = false;
            let result = match late {
                Late::Done(value) => Ok(value),
                Late::AtEnd => Ok(call
                    .statement
                    .run(&mut server.tables, &thread.clock, self.agent, now, call.attempt > 1)
                    .expect("the model has no faults of its own")),
                Late::Lost | Late::Never => Err(Fault::Lost),
            };
            if server.trace {
                eprintln!("  late, {:?}: {result:?}", call.statement);
            }
            server.counts.add(if was_given_up { Kind::AnswerAfterReplacement } else { Kind::LateAnswer });
            let result = match result {
                Ok(value) => Some(Ok(value)),
                Err(fault) => self.retry(at, &mut call, fault, server, now),
            };
            let Some(result) = result else {
                return self.call(at, call, server, now);
            };
            self.finish(at, call, result);
            self.let_go(at);
        } else if let Some(call) = thread.next.take() {
            self.call(at, call, server, now);
        } else if let Some((job, account)) = thread.verified.take() {
            if !thread.is_connected {
                return self.refuse(&job);
            }
            // Releases that arrived during the hash are executed first.
            let is_late = now >= job.deadline;
            if !is_late && self.has_control_work() {
                self.threads[at].verified = Some((job, account));
                return self.take_control(at, server, now);
            }
            if is_late {
                return self.refuse(&job);
            }
            let Request::CheckPassword { take_over, instance, .. } = &job.request else { return };
            let claim = Claim { account, id: server.dice.next().max(1) };
            let statement = Statement::Claim { claim, take_over: *take_over, instance: *instance };
            self.call(
                at,
                Call { job, lane: None, statement, attempt: 1, is_answer_lost: false },
                server,
                now,
            );
        } else if !thread.is_connected {
            self.connect(at, server, now);
        } else if self.has_control_work() {
            self.take_control(at, server, now);
        } else if let Some(job) = self.quick.pop_front().or_else(|| self.hashing.pop_front()) {
            self.take(at, job, server, now);
        }
    }

    /// Removes a thread that has returned if there are enough without it.
    fn let_go(&mut self, at: usize) {
        let working = self.threads.iter().filter(|thread| !thread.is_given_up).count();
        let thread = &self.threads[at];
        if working > THREADS && thread.hung.is_none() && thread.next.is_none() && thread.verified.is_none() {
            self.threads.remove(at);
        }
    }

    fn connect(&mut self, at: usize, server: &mut Server, now: Instant) {
        if server.mode == Mode::Down {
            self.fail_gate(now);
            if !self.threads.iter().any(|thread| thread.is_connected) {
                let jobs: Vec<_> = self.quick.drain(..).chain(self.hashing.drain(..)).collect();
                for job in &jobs {
                    self.refuse(job);
                }
            }
            return;
        }
        let thread = &mut self.threads[at];
        thread.is_connected = true;
        thread.clock = DbClock::default();
    }

    fn take_control(&mut self, at: usize, server: &mut Server, now: Instant) {
        let Some(lane) = self.lanes.iter().position(Lane::has_work) else { return };
        let number = self.threads[at].number;
        let state = &mut self.lanes[lane];
        if state.first.is_none() {
            state.first = state.waiting.pop_front().map(Arc::new);
        }
        let Some(job) = state.first.clone() else { return };
        state.holder = Some(number);
        let statement = Statement::Control(job.clone());
        self.call(
            at,
            Call { job, lane: Some(lane), statement, attempt: 1, is_answer_lost: false },
            server,
            now,
        );
    }

    fn take(&mut self, at: usize, job: Job<Tag>, server: &mut Server, now: Instant) {
        if now >= job.deadline {
            return self.refuse(&job);
        }
        let statement = match &job.request {
            Request::CheckPassword { id, .. } | Request::VerifyAccount { id, .. } => {
                Statement::Account(rules::check_id(id).unwrap_or_default())
            }
            Request::LoadCharacter { claim, .. } => Statement::Character(claim.account),
            Request::SignUp { id, password } => match rules::check_id(id) {
                Ok(key) => {
                    let hash = password.expose().to_owned();
                    Statement::SignUp { id: id.to_string(), key, hash }
                }
                Err(outcome) => return self.reply(&job, Answer::SignUp { outcome }),
            },
            Request::CreateCharacter { account, name } => match rules::check_name(name) {
                Ok(key) => Statement::CreateCharacter { account: *account, name: name.to_string(), key },
                Err(outcome) => return self.reply(&job, Answer::CreateCharacter { outcome }),
            },
            other => unreachable!("{other:?} is a control request"),
        };
        self.call(
            at,
            Call { job: job.into(), lane: None, statement, attempt: 1, is_answer_lost: false },
            server,
            now,
        );
    }

    /// Runs a statement, and again over new connections as far as the real threads would.
    fn call(&mut self, at: usize, mut call: Call, server: &mut Server, now: Instant) {
        let result = loop {
            let attempt = self.attempt(at, &call, server, now);
            if server.trace {
                eprintln!("  {:?}: {attempt:?}", call.statement);
            }
            match attempt {
                Attempt::Hangs(late) => {
                    server.counts.add(Kind::Hang);
                    self.threads[at].hung = Some(Hung { call, late, since: now });
                    return;
                }
                Attempt::Ends(Ok(value)) => break Ok(value),
                Attempt::Ends(Err(fault)) => {
                    if let Some(result) = self.retry(at, &mut call, fault, server, now) {
                        break result;
                    }
                }
            }
        };
        self.finish(at, call, result);
    }

    /// Decides on another attempt after a broken connection. Returns the result if there is none.
    fn retry(
        &mut self,
        at: usize,
        call: &mut Call,
        fault: Fault,
        server: &mut Server,
        now: Instant,
    ) -> Option<Result<Value, Fault>> {
        call.is_answer_lost |= fault == Fault::Lost;
        let is_read_only = fault == Fault::ReadOnly;
        let attempts = if is_read_only { READ_ONLY_ATTEMPTS } else { ATTEMPTS_MAX };
        if call.attempt >= attempts && is_read_only {
            self.fail_gate(now);
        }
        if call.attempt >= attempts || now >= call.job.deadline {
            return Some(Err(fault));
        }
        self.threads[at].is_connected = false;
        // The gate may be closed for longer than the request has time.
        let may_connect = matches!(server.mode, Mode::Well | Mode::ReadOnly) && !server.dice.one_in(4);
        if !may_connect {
            self.fail_gate(now);
            return Some(Err(fault));
        }
        let thread = &mut self.threads[at];
        thread.is_connected = true;
        thread.clock = DbClock::default();
        call.attempt += 1;
        None
    }

    fn attempt(&mut self, at: usize, call: &Call, server: &mut Server, now: Instant) -> Attempt {
        let agent = self.agent;
        let thread = &mut self.threads[at];
        let Server { tables, mode, trick, dice, counts, .. } = server;
        if !thread.clock.is_current(now) {
            thread.clock = DbClock::read(now, tables.rows().clock_ms);
        }
        let clock = &thread.clock;
        let is_retry = call.attempt > 1;
        let mut run =
            || call.statement.run(tables, clock, agent, now, is_retry).expect("the model has no faults");
        match mode {
            Mode::Hanging => Attempt::Hangs(match dice.below(4) {
                0 => Late::Done(run()),
                1 => Late::AtEnd,
                2 => Late::Lost,
                _ => {
                    if dice.one_in(2) {
                        run();
                    }
                    Late::Never
                }
            }),
            Mode::Down => {
                counts.add(Kind::BrokenConnection);
                Attempt::Ends(Err(Fault::Lost))
            }
            Mode::ReadOnly if call.statement.writes() => {
                counts.add(Kind::ReadOnlyRefusal);
                Attempt::Ends(Err(Fault::ReadOnly))
            }
            Mode::Well | Mode::ReadOnly => match trick.take() {
                Some(Trick::LoseAnswer) => {
                    run();
                    counts.add(Kind::LostAnswer);
                    Attempt::Ends(Err(Fault::Lost))
                }
                Some(Trick::LoseRequest) => {
                    counts.add(Kind::BrokenConnection);
                    Attempt::Ends(Err(Fault::Lost))
                }
                None => Attempt::Ends(Ok(run())),
            },
        }
    }

    /// Handles the result of a call as a thread does.
    fn finish(&mut self, at: usize, call: Call, result: Result<Value, Fault>) {
        let number = self.threads[at].number;
        if result.is_err() {
            self.threads[at].is_connected = false;
        }
        let Call { job, lane, statement, is_answer_lost, .. } = call;
        let Some(lane) = lane else {
            let is_success = matches!(
                &result,
                Ok(Value::Claimed(OnlineClaim::Claimed { .. }) | Value::Moved(Transfer::Moved))
            );
            let undo = if is_answer_lost && !is_success { undo_of(&statement) } else { None };
            match result {
                Ok(value) => self.go_on_with(at, job.clone(), statement, value),
                Err(_) => self.refuse(&job),
            }
            if let Some(request) = undo {
                self.undo(&job, request);
            }
            return;
        };
        let lane = &mut self.lanes[lane];
        if lane.holder == Some(number) {
            lane.holder = None;
            if let Ok(Value::Answer(answer)) = result {
                lane.first = None;
                self.reply(&job, answer);
            }
        } else if matches!(
            job.request,
            Request::MarkClaim { .. } | Request::SyncHeld { .. } | Request::RenewHolder { .. }
        ) {
            self.reply(&job, Answer::Overtaken);
        }
    }

    /// Undoes a claim or a transfer whose answer was lost.
    fn undo(&mut self, job: &Job<Tag>, request: Request) {
        let Some(lane) = lane_of(&request) else { return };
        let waiting = &mut self.lanes[lane].waiting;
        if waiting.len() < CONTROL_QUEUE {
            waiting.push_back(Job { request, origin: job.origin, tag: job.tag, deadline: job.deadline });
        } else {
            self.reply(job, request.refused(Outcome::TryAgainLater));
        }
    }

    /// Goes on with a request after its statement.
    fn go_on_with(&mut self, at: usize, job: Arc<Job<Tag>>, statement: Statement, value: Value) {
        let answer = match (value, &job.request) {
            (Value::Account(account), request) => {
                let (Request::CheckPassword { password, .. } | Request::VerifyAccount { password, .. }) =
                    request
                else {
                    unreachable!("no other request selects an account")
                };
                match account.filter(|account| account.password_hash == password.expose()) {
                    None => request.refused(Outcome::BadCredentials),
                    Some(found) if matches!(request, Request::CheckPassword { .. }) => {
                        // The hash takes its time.
                        self.threads[at].verified = Some((job, found.account));
                        return;
                    }
                    Some(found) => Answer::VerifyAccount { outcome: Outcome::Ok, account: found.account },
                }
            }
            (Value::Character(found), Request::LoadCharacter { claim, instance }) => {
                let Some(found) = found else {
                    return self.reply(&job, job.request.refused(Outcome::NoCharacter));
                };
                let statement = Statement::Transfer { claim: *claim, instance: *instance };
                // The name is the account's, so it is not kept.
                drop(found);
                let call = Call { job, lane: None, statement, attempt: 1, is_answer_lost: false };
                self.threads[at].next = Some(call);
                return;
            }
            (Value::Moved(Transfer::Moved), Request::LoadCharacter { claim, .. }) => {
                let name = throng_core::wire::Text::truncated("name");
                let character = Character { id: claim.account, name, level: 1, experience: 0 };
                Answer::LoadCharacter { outcome: Outcome::Ok, character: Some(character) }
            }
            (Value::Moved(Transfer::Lost), request) => request.refused(Outcome::ClaimLost),
            (Value::Moved(Transfer::NoLease), request) => request.refused(Outcome::TryAgainLater),
            (Value::Claimed(claimed), request) => match (claimed, statement) {
                (OnlineClaim::Claimed { displaced }, Statement::Claim { claim, .. }) => {
                    Answer::CheckPassword { outcome: Outcome::Ok, claim, displaced }
                }
                (OnlineClaim::AlreadyOnline, _) => request.refused(Outcome::AlreadyOnline),
                _ => request.refused(Outcome::TryAgainLater),
            },
            (Value::SignedUp(AccountInsert::Inserted(_)), _) => Answer::SignUp { outcome: Outcome::Ok },
            (Value::SignedUp(AccountInsert::IdTaken), _) => Answer::SignUp { outcome: Outcome::IdTaken },
            (Value::Created(created), _) => Answer::CreateCharacter {
                outcome: match created {
                    CharacterInsert::Inserted(_) => Outcome::Ok,
                    CharacterInsert::NoSuchAccount => Outcome::BadCredentials,
                    CharacterInsert::CharacterExists => Outcome::CharacterExists,
                    CharacterInsert::NameTaken => Outcome::NameTaken,
                },
            },
            _ => unreachable!("the value is not of this request"),
        };
        self.reply(&job, answer);
    }
}

#[derive(Debug)]
enum Attempt {
    Ends(Result<Value, Fault>),
    Hangs(Late),
}
