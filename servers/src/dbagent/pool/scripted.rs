//! A database that goes wrong as a test wants it.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use crossbeam_queue::SegQueue;
use parking_lot::Mutex;
use throng_core::wire::packets::{Character, Claim};

use crate::dbagent::procedures::{
    Account, AccountInsert, CharacterInsert, DbError, Fault, HeldList, Holder, NewAccount, NewCharacter,
    OnlineClaim, Procedures, Transfer,
};
use crate::dbagent::sqlite::Sqlite;

/// What the database is to do wrong, and what it was asked.
#[derive(Default)]
pub(super) struct Script {
    /// Faults of the next calls of a procedure; of all calls of `open` while `down`.
    pub(super) faults: Mutex<HashMap<&'static str, Vec<Fault>>>,
    /// Faults that come when the next calls of a procedure have done their work.
    pub(super) afterwards: Mutex<HashMap<&'static str, Vec<Fault>>>,
    pub(super) down: AtomicBool,
    /// Calls wait while this is locked.
    pub(super) gate: Mutex<()>,
    pub(super) calls: SegQueue<&'static str>,
}

impl Script {
    fn call(&self, name: &'static str) -> Result<(), DbError> {
        self.calls.push(name);
        drop(self.gate.lock());
        Self::fail(&self.faults, name)
    }

    fn fail(faults: &Mutex<HashMap<&'static str, Vec<Fault>>>, name: &'static str) -> Result<(), DbError> {
        match faults.lock().get_mut(name).and_then(Vec::pop) {
            Some(fault) => Err(DbError::new(fault, name, "as the script says")),
            None => Ok(()),
        }
    }

    /// A call, with what the script wants before it and after it.
    fn run<T>(&self, name: &'static str, call: impl FnOnce() -> Result<T, DbError>) -> Result<T, DbError> {
        self.call(name)?;
        let done = call()?;
        Self::fail(&self.afterwards, name).map(|()| done)
    }

    /// Until a call has begun. Forgets those before it.
    pub(super) fn wait_for(&self, name: &str) {
        while self.calls.pop() != Some(name) {
            std::thread::yield_now();
        }
    }

    pub(super) fn calls(&self) -> Vec<&'static str> {
        std::iter::from_fn(|| self.calls.pop()).collect()
    }
}

/// SQLite that follows a script.
pub(super) struct Scripted(pub(super) Box<Sqlite>, pub(super) Arc<Script>);

impl Procedures for Scripted {
    fn clock(&mut self) -> Result<u64, DbError> {
        // The tests' own, which stands still.
        Ok(super::tests::NOW_MS)
    }
    fn account_select(&mut self, id_key: &str) -> Result<Option<Account>, DbError> {
        self.1.run("account_select", || self.0.account_select(id_key))
    }
    fn account_insert(&mut self, new: &NewAccount<'_>) -> Result<AccountInsert, DbError> {
        self.1.run("account_insert", || self.0.account_insert(new))
    }
    fn character_select(&mut self, account: u64) -> Result<Option<Character>, DbError> {
        self.1.run("character_select", || self.0.character_select(account))
    }
    fn character_insert(&mut self, new: &NewCharacter<'_>) -> Result<CharacterInsert, DbError> {
        self.1.run("character_insert", || self.0.character_insert(new))
    }
    fn online_claim(&mut self, c: &Claim, h: Holder, over: bool, now: u64) -> Result<OnlineClaim, DbError> {
        self.1.run("online_claim", || self.0.online_claim(c, h, over, now))
    }
    fn online_transfer(&mut self, claim: &Claim, to: Holder, now: u64) -> Result<Transfer, DbError> {
        self.1.run("online_transfer", || self.0.online_transfer(claim, to, now))
    }
    fn online_release(&mut self, claim: &Claim, instance: u64) -> Result<bool, DbError> {
        self.1.run("online_release", || self.0.online_release(claim, instance))
    }
    fn online_sync(&mut self, list: &HeldList<'_>, now: u64, until: u64) -> Result<Vec<Claim>, DbError> {
        self.1.run("online_sync", || self.0.online_sync(list, now, until))
    }
    fn holder_renew(&mut self, holder: Holder, until: u64) -> Result<(), DbError> {
        self.1.run("holder_renew", || self.0.holder_renew(holder, until))
    }
    fn agent_start(&mut self, agent: u64, until: u64) -> Result<(), DbError> {
        self.1.run("agent_start", || self.0.agent_start(agent, until))
    }
    fn close(self: Box<Self>) -> Result<(), DbError> {
        self.1.call("close")?;
        self.0.close()
    }
}
