//! The test that every implementation of [`Procedures`] has to pass.
//!
//! It is no `#[cfg(test)]` code: an operator can run it against a database that may be
//! written to. It leaves accounts behind, with ids that are drawn anew each time.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use parking_lot::Mutex;
use thiserror::Error;
use throng_core::wire::packets::Claim;

use super::procedures::{
    AccountInsert, CharacterInsert, DbError, HeldList, Holder, NewAccount, NewCharacter, OnlineClaim,
    Procedures, agent_number,
};
use crate::rules;

/// Makes one more connection to the database under test.
pub type Make<'a> = dyn Fn() -> Result<Box<dyn Procedures>, DbError> + Sync + 'a;

/// The first check that did not hold.
#[derive(Debug, Error)]
#[error("{check}: {detail}")]
pub struct SuiteFailure {
    /// Which check.
    pub check: &'static str,
    /// What was expected and what came.
    pub detail: String,
}

type Checked = Result<(), String>;
type Check = fn(&mut Trial<'_>) -> Checked;

const CHECKS: &[(&str, Check)] = &[
    ("an account comes back exactly", accounts::account_round_trip),
    ("an unknown key has no account", accounts::unknown_account),
    ("texts are data, whatever they look like", accounts::hostile_texts),
    ("ids and names of the greatest length fit", accounts::longest_texts),
    ("an id is given once", accounts::id_taken),
    ("50 sign-ups of one id at once make one account", accounts::concurrent_sign_ups),
    ("a character comes back exactly", accounts::character_round_trip),
    ("characters are unique by account and by name", accounts::character_conflicts),
    ("20 characters of one name at once are one character", accounts::concurrent_names),
    ("a claim calls an account online until it is released", online::claim_and_release),
    ("a claim without a lease is none", online::claim_needs_lease),
    ("a claim ends with its holder's lease", online::lease_ends),
    ("a take-over says whom it displaced", online::take_over),
    ("a claim moves, and only the last holder releases it", online::transfer),
    ("20 claims of one account at once are one claim", online::concurrent_claims),
    ("numbers keep all their bits", online::extremes),
    ("a list of claims replaces what was known", online::sync_replaces),
    ("a list of claims meets those of others", online::sync_conflicts),
    ("a call that is repeated has the same answer", online::repeats),
    ("claims hold by the lease of an agent, and come over to another", online::agents),
    ("a list that comes after a later one takes nothing up", online::late_lists),
    ("an agent's start ends the leases that it gave before", online::agent_starts),
    ("the clock runs", online::clock),
    ("what long dead processes left is removed", online::prune),
];

/// Runs every check over connections that `make` makes. Returns how many there were.
pub fn suite(make: &Make<'_>) -> Result<usize, SuiteFailure> {
    let connections = Connections { make, idle: Mutex::default() };
    for &(check, run) in CHECKS {
        let failed = |detail| SuiteFailure { check, detail };
        let mut trial = Trial::new(&connections).map_err(failed)?;
        run(&mut trial).map_err(failed)?;
        connections.put_back(trial.db);
    }
    for db in connections.idle.into_inner() {
        let failed = |error: DbError| SuiteFailure { check: "closing", detail: error.to_string() };
        db.close().map_err(failed)?;
    }
    Ok(CHECKS.len())
}

/// Connections, used again and again: on some servers the first calls over one take a second.
struct Connections<'a> {
    make: &'a Make<'a>,
    idle: Mutex<Vec<Box<dyn Procedures>>>,
}

impl Connections<'_> {
    fn take(&self) -> Result<Box<dyn Procedures>, DbError> {
        let idle = self.idle.lock().pop();
        idle.map_or_else(self.make, Ok)
    }

    fn put_back(&self, db: Box<dyn Procedures>) {
        self.idle.lock().push(db);
    }
}

/// One check's connection, and names that no other check uses.
struct Trial<'a> {
    connections: &'a Connections<'a>,
    db: Box<dyn Procedures>,
    /// Begins every id and name.
    tag: String,
    /// Begins every account and instance that is not the database's own.
    base: u64,
    /// The number of the last list.
    lists: u64,
}

/// The time at which all checks happen, far from every real lease: 2001-09-09.
const NOW: u64 = 1_000_000_000_000;
const LATER: u64 = NOW + 30_000;

/// Ends the check unless both are equal.
macro_rules! expect {
    ($found:expr, $expected:expr) => {{
        let (found, expected) = ($found, $expected);
        if found != expected {
            let what = stringify!($found);
            return Err(format!("line {}: {what} is {found:?} and not {expected:?}", line!()));
        }
    }};
}

mod accounts;
mod online;

impl From<DbError> for String {
    fn from(error: DbError) -> Self {
        error.to_string()
    }
}

impl<'a> Trial<'a> {
    fn new(connections: &'a Connections<'a>) -> Result<Self, String> {
        let base = rand::random::<u64>() & !0xffff;
        // Short: there is to be room for what a check adds to it.
        let tag: String = (0..6).map(|_| char::from(b'a' + rand::random_range(0..26))).collect();
        Ok(Self { connections, db: connections.take()?, tag, base, lists: 0 })
    }

    fn id(&self, rest: &str) -> String {
        format!("{}{rest}", self.tag)
    }

    fn sign_up(&mut self, id: &str) -> Result<AccountInsert, DbError> {
        sign_up(self.db.as_mut(), id)
    }

    fn account(&mut self, rest: &str) -> Result<u64, String> {
        let id = self.id(rest);
        match self.sign_up(&id)? {
            AccountInsert::Inserted(account) => Ok(account),
            AccountInsert::IdTaken => Err(format!("{id} is taken")),
        }
    }

    fn character(&mut self, account: u64, name: &str) -> Result<CharacterInsert, DbError> {
        create_character(self.db.as_mut(), account, name)
    }

    /// A process with a lease until [`LATER`].
    fn instance(&mut self, number: u64) -> Result<Holder, DbError> {
        let holder = self.holder(number);
        self.db.holder_renew(holder, LATER)?;
        Ok(holder)
    }

    /// A process without a lease.
    fn holder(&self, number: u64) -> Holder {
        Holder { instance: self.base + number, agent: self.agent(1) }
    }

    /// A DB agent of this check's.
    fn agent(&self, number: u32) -> u64 {
        agent_number(&self.tag, number)
    }

    fn claim_of(&self, account: u64, id: u64) -> Claim {
        Claim { account: self.base + account, id }
    }

    fn claim(&mut self, claim: &Claim, holder: Holder, take_over: bool) -> Result<OnlineClaim, DbError> {
        self.db.online_claim(claim, holder, take_over, NOW)
    }

    /// The first list over a link.
    fn sync(&mut self, holder: Holder, claims: &[Claim]) -> Result<Vec<Claim>, DbError> {
        self.lists += 1;
        let list = HeldList { holder, number: self.lists, is_first: true, claims };
        self.db.online_sync(&list, NOW, LATER)
    }

    /// Whether a claim for the account would be refused. Leaves none behind.
    fn is_online(&mut self, account: u64) -> Result<bool, DbError> {
        let prober = self.instance(0xffff)?;
        let probe = Claim { account, id: 0xffff };
        let online = self.claim(&probe, prober, false)? == OnlineClaim::AlreadyOnline;
        self.db.online_release(&probe, prober.instance)?;
        Ok(online)
    }
}

const SYNCED: Vec<Claim> = Vec::new();
const CLAIMED: OnlineClaim = OnlineClaim::Claimed { displaced: None };

fn sign_up(db: &mut dyn Procedures, id: &str) -> Result<AccountInsert, DbError> {
    let id_key = rules::key(id);
    let hash = format!("$hash of {id}$");
    db.account_insert(&NewAccount { id, id_key: &id_key, password_hash: &hash, now_ms: NOW })
}

fn create_character(db: &mut dyn Procedures, account: u64, name: &str) -> Result<CharacterInsert, DbError> {
    let name_key = rules::key(name);
    db.character_insert(&NewCharacter { account, name, name_key: &name_key, now_ms: NOW })
}

/// Runs `work` on `count` connections at once and counts where it says true.
fn at_once(
    connections: &Connections<'_>,
    count: usize,
    work: impl Fn(usize, &mut dyn Procedures) -> Result<bool, DbError> + Sync,
) -> Result<usize, String> {
    let yes = AtomicUsize::new(0);
    let start = std::sync::Barrier::new(count);
    let one = |number: usize| -> Checked {
        let db = connections.take();
        start.wait();
        let mut db = db?;
        if work(number, db.as_mut())? {
            yes.fetch_add(1, Ordering::Relaxed);
        }
        connections.put_back(db);
        Ok(())
    };
    let one = &one;
    thread::scope(|scope| {
        let threads: Vec<_> = (0..count).map(|number| scope.spawn(move || one(number))).collect();
        threads
            .into_iter()
            .try_for_each(|thread| thread.join().unwrap_or_else(|_| Err("a thread panicked".into())))
    })?;
    Ok(yes.into_inner())
}
