//! The environment of a check: its connection, unique names and numbers, and shorthands for calls.

use std::sync::Barrier;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use parking_lot::Mutex;
use thiserror::Error;
use throng_core::wire::TooLong;
use throng_core::wire::packets::Claim;

use crate::dbagent::procedures::{
    AccountInsert, CharacterInsert, DbError, HeldList, Holder, NewAccount, NewCharacter, OnlineClaim,
    Procedures, agent_number,
};
use crate::rules;

/// Reason why a check failed.
#[derive(Debug, Error)]
pub enum CheckError {
    /// A procedure failed.
    #[error(transparent)]
    Database(#[from] DbError),
    /// A result is not the expected one.
    #[error("line {line}: {expression} is {found} and not {expected}")]
    Mismatch {
        /// Line of the check's source.
        line: u32,
        /// Source of the expression.
        expression: &'static str,
        /// Its value.
        found: String,
        /// The expected value.
        expected: String,
    },
    /// An id of the check, drawn at random, exists already.
    #[error("the id {0} is taken")]
    IdTaken(String),
    /// A character could not be inserted.
    #[error("the character was not inserted: {0:?}")]
    Character(CharacterInsert),
    /// A name of the check does not fit a packet.
    #[error(transparent)]
    Name(#[from] TooLong),
    /// A thread of the check panicked.
    #[error("a thread panicked")]
    Panicked,
}

/// Result of a check.
pub(super) type Checked = Result<(), CheckError>;

/// Ends the check with a mismatch unless both values are equal.
macro_rules! check_eq {
    ($found:expr, $expected:expr) => {{
        let found = $found;
        let expected = $expected;
        if found != expected {
            return Err(crate::dbagent::suite::trial::CheckError::Mismatch {
                line: line!(),
                expression: stringify!($found),
                found: format!("{found:?}"),
                expected: format!("{expected:?}"),
            });
        }
    }};
}
pub(super) use check_eq;

type Connect<'a> = dyn Fn() -> Result<Box<dyn Procedures>, DbError> + Sync + 'a;

/// Connections that checks reuse: on some servers the first calls over a connection take a second.
pub(super) struct Connections<'a> {
    connect: &'a Connect<'a>,
    idle: Mutex<Vec<Box<dyn Procedures>>>,
}

impl<'a> Connections<'a> {
    pub(super) fn new(connect: &'a Connect<'a>) -> Self {
        Self { connect, idle: Mutex::default() }
    }

    fn take(&self) -> Result<Box<dyn Procedures>, DbError> {
        let idle = self.idle.lock().pop();
        idle.map_or_else(self.connect, Ok)
    }

    pub(super) fn put_back(&self, db: Box<dyn Procedures>) {
        self.idle.lock().push(db);
    }

    pub(super) fn close(self) -> Result<(), DbError> {
        self.idle.into_inner().into_iter().try_for_each(Procedures::close)
    }
}

/// Time of all checks, far from every real lease: 2001-09-09.
pub(super) const NOW: u64 = 1_000_000_000_000;
/// End of the leases of a check.
pub(super) const LATER: u64 = NOW + 30_000;

/// Result of a list of claims without conflicts.
pub(super) const SYNCED: Vec<Claim> = Vec::new();
/// Result of a claim that displaced no other.
pub(super) const CLAIMED: OnlineClaim = OnlineClaim::Claimed { displaced: None };

/// A check's connection, and names and numbers that no other check uses.
pub(super) struct Trial<'a> {
    pub(super) connections: &'a Connections<'a>,
    pub(super) db: Box<dyn Procedures>,
    /// Prefix of every id and name.
    pub(super) tag: String,
    /// Base of every account and instance number that the database does not assign.
    pub(super) base: u64,
    /// Number of the latest list of claims.
    pub(super) lists: u64,
}

impl<'a> Trial<'a> {
    pub(super) fn new(connections: &'a Connections<'a>) -> Result<Self, DbError> {
        let base = rand::random::<u64>() & !0xffff;
        // Short enough to leave room for the rest of an id.
        let tag: String = (0..6).map(|_| char::from(b'a' + rand::random_range(0..26))).collect();
        Ok(Self { connections, db: connections.take()?, tag, base, lists: 0 })
    }

    pub(super) fn id(&self, rest: &str) -> String {
        format!("{}{rest}", self.tag)
    }

    pub(super) fn sign_up(&mut self, id: &str) -> Result<AccountInsert, DbError> {
        sign_up(self.db.as_mut(), id)
    }

    pub(super) fn account(&mut self, rest: &str) -> Result<u64, CheckError> {
        let id = self.id(rest);
        match self.sign_up(&id)? {
            AccountInsert::Inserted(account) => Ok(account),
            AccountInsert::IdTaken => Err(CheckError::IdTaken(id)),
        }
    }

    pub(super) fn character(&mut self, account: u64, name: &str) -> Result<CharacterInsert, DbError> {
        create_character(self.db.as_mut(), account, name)
    }

    /// Returns the processes 1 to `N` with leases until [`LATER`].
    pub(super) fn instances<const N: usize>(&mut self) -> Result<[Holder; N], DbError> {
        let holders = std::array::from_fn(|index| self.holder(index as u64 + 1));
        holders.iter().try_for_each(|holder| self.db.holder_renew(*holder, LATER))?;
        Ok(holders)
    }

    /// Returns a process with a lease until [`LATER`].
    pub(super) fn instance(&mut self, number: u64) -> Result<Holder, DbError> {
        let holder = self.holder(number);
        self.db.holder_renew(holder, LATER)?;
        Ok(holder)
    }

    /// Returns a process without a lease.
    pub(super) fn holder(&self, number: u64) -> Holder {
        Holder { instance: self.base + number, agent: self.agent(1) }
    }

    pub(super) fn agent(&self, number: u32) -> u64 {
        agent_number(&self.tag, number)
    }

    pub(super) fn claim_of(&self, account: u64, id: u64) -> Claim {
        Claim { account: self.base + account, id }
    }

    pub(super) fn claim(
        &mut self,
        claim: &Claim,
        holder: Holder,
        take_over: bool,
    ) -> Result<OnlineClaim, DbError> {
        self.db.online_claim(claim, holder, take_over, NOW)
    }

    /// Syncs a list as the first one over a link.
    pub(super) fn sync(&mut self, holder: Holder, claims: &[Claim]) -> Result<Vec<Claim>, DbError> {
        self.lists += 1;
        let list = HeldList { holder, number: self.lists, is_first: true, claims };
        self.db.online_sync(&list, NOW, LATER)
    }

    /// Returns true if a claim on the account is refused. Leaves no claim behind.
    pub(super) fn is_online(&mut self, account: u64) -> Result<bool, DbError> {
        let prober = self.instance(0xffff)?;
        let probe = Claim { account, id: 0xffff };
        let online = self.claim(&probe, prober, false)? == OnlineClaim::AlreadyOnline;
        self.db.online_release(&probe, prober.instance)?;
        Ok(online)
    }
}

pub(super) fn sign_up(db: &mut dyn Procedures, id: &str) -> Result<AccountInsert, DbError> {
    let id_key = rules::key(id);
    let hash = format!("$hash of {id}$");
    db.account_insert(&NewAccount { id, id_key: &id_key, password_hash: &hash, now_ms: NOW })
}

pub(super) fn create_character(
    db: &mut dyn Procedures,
    account: u64,
    name: &str,
) -> Result<CharacterInsert, DbError> {
    let name_key = rules::key(name);
    db.character_insert(&NewCharacter { account, name, name_key: &name_key, now_ms: NOW })
}

/// Runs `work` concurrently on `count` connections. Returns how many of the calls returned true.
pub(super) fn concurrently(
    connections: &Connections<'_>,
    count: usize,
    work: impl Fn(usize, &mut dyn Procedures) -> Result<bool, DbError> + Sync,
) -> Result<usize, CheckError> {
    let successes = AtomicUsize::new(0);
    let start = Barrier::new(count);
    let one = |number: usize| -> Checked {
        let db = connections.take();
        // All threads reach the barrier, also one without a connection.
        start.wait();
        let mut db = db?;
        if work(number, db.as_mut())? {
            successes.fetch_add(1, Ordering::Relaxed);
        }
        connections.put_back(db);
        Ok(())
    };
    let one = &one;
    thread::scope(|scope| {
        let threads: Vec<_> = (0..count).map(|number| scope.spawn(move || one(number))).collect();
        threads.into_iter().try_for_each(|thread| thread.join().unwrap_or(Err(CheckError::Panicked)))
    })?;
    Ok(successes.into_inner())
}
