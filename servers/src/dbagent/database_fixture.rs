//! Test fixture: a database that fails as a test's script says.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::mpsc::{self, Receiver, Sender};

use crossbeam_queue::SegQueue;
use parking_lot::{Mutex, MutexGuard};
use throng_core::wire::packets::{Character, Claim};

use super::procedures::{
    Account, AccountInsert, CharacterInsert, DbError, Fault, HeldList, Holder, NewAccount, NewCharacter,
    OnlineClaim, Procedures, Transfer,
};

/// Moment of a scripted fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum When {
    /// The call fails without effect.
    Before,
    /// The call takes effect, and its answer is lost.
    After,
}

/// Faults that the databases of a test return, and a record of the calls.
#[derive(Default)]
pub(crate) struct Script {
    /// Faults of the next calls of a procedure; the last one comes first.
    faults: Mutex<HashMap<&'static str, Vec<(Fault, When)>>>,
    /// Time of the database's clock; `None` for the clock of the system.
    clock_ms: Option<u64>,
    /// True while connections cannot be opened.
    pub(crate) is_down: AtomicBool,
    gate: Mutex<()>,
    /// The next call of a procedure waits until the other end is dropped.
    hangs: Mutex<HashMap<&'static str, Receiver<()>>>,
    calls: SegQueue<&'static str>,
}

impl Script {
    /// Creates a script whose database has a clock that stands still.
    pub(crate) fn with_clock(clock_ms: u64) -> Self {
        Self { clock_ms: Some(clock_ms), ..Self::default() }
    }

    /// Sets the faults of the next calls of a procedure; the last one comes first.
    pub(crate) fn fail(&self, procedure: &'static str, faults: &[(Fault, When)]) {
        self.faults.lock().insert(procedure, faults.to_vec());
    }

    /// Blocks every call until the guard is dropped.
    pub(crate) fn close_gate(&self) -> MutexGuard<'_, ()> {
        self.gate.lock()
    }

    /// Makes the next call of `procedure` hang until the returned value is dropped, and then go on.
    #[must_use]
    pub(crate) fn hang(&self, procedure: &'static str) -> Sender<()> {
        let (sender, receiver) = mpsc::channel();
        self.hangs.lock().insert(procedure, receiver);
        sender
    }

    /// Waits until a call of `procedure` has begun. Forgets the calls before it.
    pub(crate) fn wait_for(&self, procedure: &str) {
        while self.calls.pop() != Some(procedure) {
            std::thread::yield_now();
        }
    }

    /// Returns and forgets the recorded calls.
    pub(crate) fn take_calls(&self) -> Vec<&'static str> {
        std::iter::from_fn(|| self.calls.pop()).collect()
    }

    /// Opens a connection to a database through the script.
    pub(crate) fn open(
        self: &Arc<Self>,
        connect: impl FnOnce() -> Result<Box<dyn Procedures>, DbError>,
    ) -> Result<Box<dyn Procedures>, DbError> {
        self.calls.push("open");
        if self.is_down.load(Relaxed) {
            return Err(DbError::new(Fault::Lost, "open", "scripted fault"));
        }
        Ok(Box::new(ScriptedDatabase { database: connect()?, script: Arc::clone(self) }))
    }

    /// Records a call and runs it with its scripted fault, if any.
    fn run<T>(
        &self,
        procedure: &'static str,
        call: impl FnOnce() -> Result<T, DbError>,
    ) -> Result<T, DbError> {
        self.calls.push(procedure);
        let hang = self.hangs.lock().remove(procedure);
        if let Some(end) = hang {
            // Nothing is ever sent.
            let _ = end.recv();
        }
        // Waits while a test keeps the gate closed.
        drop(self.gate.lock());
        let fault = self.faults.lock().get_mut(procedure).and_then(Vec::pop);
        let Some((fault, when)) = fault else { return call() };
        if when == When::After {
            call()?;
        }
        Err(DbError::new(fault, procedure, "scripted fault"))
    }
}

/// A database whose calls go through a [`Script`].
struct ScriptedDatabase {
    database: Box<dyn Procedures>,
    script: Arc<Script>,
}

impl Procedures for ScriptedDatabase {
    fn clock(&mut self) -> Result<u64, DbError> {
        self.script.clock_ms.map_or_else(|| self.database.clock(), Ok)
    }
    fn account_select(&mut self, id_key: &str) -> Result<Option<Account>, DbError> {
        self.script.run("account_select", || self.database.account_select(id_key))
    }
    fn account_insert(&mut self, new: &NewAccount<'_>) -> Result<AccountInsert, DbError> {
        self.script.run("account_insert", || self.database.account_insert(new))
    }
    fn password_replace(&mut self, account: u64, old_hash: &str, new_hash: &str) -> Result<bool, DbError> {
        self.script.run("password_replace", || self.database.password_replace(account, old_hash, new_hash))
    }
    fn password_cost_next(&mut self, after: &str) -> Result<Option<String>, DbError> {
        // As the clock, not a part of any request.
        self.database.password_cost_next(after)
    }
    fn character_select(&mut self, account: u64) -> Result<Option<Character>, DbError> {
        self.script.run("character_select", || self.database.character_select(account))
    }
    fn character_insert(&mut self, new: &NewCharacter<'_>) -> Result<CharacterInsert, DbError> {
        self.script.run("character_insert", || self.database.character_insert(new))
    }
    fn online_claim(
        &mut self,
        claim: &Claim,
        holder: Holder,
        take_over: bool,
        now_ms: u64,
    ) -> Result<OnlineClaim, DbError> {
        self.script.run("online_claim", || self.database.online_claim(claim, holder, take_over, now_ms))
    }
    fn online_transfer(&mut self, claim: &Claim, to: Holder, now_ms: u64) -> Result<Transfer, DbError> {
        self.script.run("online_transfer", || self.database.online_transfer(claim, to, now_ms))
    }
    fn online_release(&mut self, claim: &Claim, instance: u64) -> Result<bool, DbError> {
        self.script.run("online_release", || self.database.online_release(claim, instance))
    }
    fn online_away(&mut self, claim: &Claim, holder: Holder, is_away: bool) -> Result<bool, DbError> {
        self.script.run("online_away", || self.database.online_away(claim, holder, is_away))
    }
    fn online_sync(
        &mut self,
        list: &HeldList<'_>,
        now_ms: u64,
        lease_until_ms: u64,
    ) -> Result<Vec<Claim>, DbError> {
        self.script.run("online_sync", || self.database.online_sync(list, now_ms, lease_until_ms))
    }
    fn holder_renew(&mut self, holder: Holder, lease_until_ms: u64) -> Result<(), DbError> {
        self.script.run("holder_renew", || self.database.holder_renew(holder, lease_until_ms))
    }
    fn agent_start(&mut self, agent: u64, until_ms: u64) -> Result<(), DbError> {
        self.script.run("agent_start", || self.database.agent_start(agent, until_ms))
    }
    fn look_after(&mut self) -> bool {
        self.database.look_after()
    }
    fn close(self: Box<Self>) -> Result<(), DbError> {
        let Self { database, script } = *self;
        script.run("close", || database.close())
    }
}
