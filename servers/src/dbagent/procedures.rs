//! The DB agent's stored procedures, whatever database runs them.
//!
//! [`Procedures`] has one method for each procedure of sql/README.md, which
//! sets out names, parameters, results and comparison rules for all dialects.
//! [`super::suite`] is the test that every implementation has to pass.
//!
//! Numbers: accounts, claims, instances and experience points are `u64` here and
//! signed 64-bit columns there, bit for bit the same; SQL only ever compares
//! them for equality. Times are milliseconds since 1970 (UTC) and saturate at
//! the column's maximum.

use std::fmt;

use sha2::{Digest, Sha256};
use thiserror::Error;
use throng_core::wire::packets::{Character, Claim, Outcome};

/// An account as the database has it.
#[derive(Clone, PartialEq, Eq)]
pub struct Account {
    /// The account's number.
    pub account: u64,
    /// Its id as it was typed at the sign-up.
    pub id: String,
    /// Its password's hash, a PHC string.
    pub password_hash: String,
}

impl fmt::Debug for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A hash is not a password, but whoever reads it can begin guessing.
        write!(f, "Account {{ account: {}, id: {:?}, password_hash: [secret] }}", self.account, self.id)
    }
}

/// An account to be made.
#[derive(Clone, Copy)]
pub struct NewAccount<'a> {
    /// The id as typed, stored exactly.
    pub id: &'a str,
    /// The id's comparison key ([`crate::rules`]); no two accounts have the same.
    pub id_key: &'a str,
    /// The password's hash, a PHC string.
    pub password_hash: &'a str,
    /// Now.
    pub now_ms: u64,
}

/// A character to be made.
#[derive(Clone, Copy)]
pub struct NewCharacter<'a> {
    /// The account it belongs to.
    pub account: u64,
    /// The name as typed, stored exactly.
    pub name: &'a str,
    /// The name's comparison key ([`crate::rules`]); no two characters have the same.
    pub name_key: &'a str,
    /// Now.
    pub now_ms: u64,
}

/// How [`Procedures::account_insert`] went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AccountInsert {
    /// Made, with this number.
    Inserted(u64),
    /// Another account has the key.
    IdTaken,
}

/// How [`Procedures::character_insert`] went. When several apply, the first of
/// `NoSuchAccount`, `CharacterExists`, `NameTaken` is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CharacterInsert {
    /// Made, with this number.
    Inserted(u64),
    /// There is no such account.
    NoSuchAccount,
    /// The account has a character already.
    CharacterExists,
    /// Another character has the key.
    NameTaken,
}

/// A server process, by way of the DB agent that it is linked to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Holder {
    /// The server process.
    pub instance: u64,
    /// The DB agent ([`agent_number`]).
    pub agent: u64,
}

/// The number of a DB agent's process: the upper half is that of the agent's name, the lower one is drawn at its
/// start. So a new process of the same name knows its predecessors' leases ([`Procedures::agent_start`]).
pub fn agent_number(name: &str, drawn: u32) -> u64 {
    let digest = Sha256::digest(name.as_bytes());
    // 31 bits, so that the number is positive as the databases see it.
    let half = u32::from_le_bytes([digest[0], digest[1], digest[2], digest[3] & 0x7f]);
    u64::from(half) << 32 | u64::from(drawn)
}

/// A claim and the server process that holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// The process.
    pub instance: u64,
    /// What it holds.
    pub claim: Claim,
}

/// How [`Procedures::online_claim`] went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OnlineClaim {
    /// The instance holds the claim.
    Claimed {
        /// The valid claim that had to go for it, with `take_over`.
        displaced: Option<Held>,
    },
    /// The account is online.
    AlreadyOnline,
    /// The instance has no valid lease, so its claim would count for nothing: renew first.
    NoLease,
}

/// The claims that a server process holds.
#[derive(Debug, Clone, Copy)]
pub struct HeldList<'a> {
    /// Who holds them, and over which DB agent it says so.
    pub holder: Holder,
    /// The number of the list: the process counts its lists, over whatever link it sends them.
    pub number: u64,
    /// Whether nothing was asked over this link before. Then whatever came to the process by way of this agent and is
    /// not in the list is a leftover of an earlier link.
    pub is_first: bool,
    /// The claims.
    pub claims: &'a [Claim],
}

/// How [`Procedures::online_transfer`] went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transfer {
    /// The new instance holds the claim (or held it already).
    Moved,
    /// There is no such claim any more.
    Lost,
    /// The new instance has no valid lease; the claim stays where it is.
    NoLease,
}

/// The stored procedures, over one connection.
///
/// An account is online while a valid claim for it exists. A claim is held by one server process
/// by way of one DB agent; it is valid while the lease is that this agent gave this process. So
/// whoever dies without a word, process or agent, loses its claims at the lease's end, unless the
/// process lists them with another agent.
///
/// Uniqueness is the schema's business: no implementation looks first and
/// inserts then. Every procedure happens entirely or not at all. All but the
/// two inserts may be repeated without harm, with the same answer.
pub trait Procedures: Send {
    /// `p_Clock_Select`: the database's clock, in milliseconds since 1970 (UTC). With several DB agents
    /// it is the one by which leases are measured.
    fn clock(&mut self) -> Result<u64, DbError>;

    /// `p_AccountData_Select`: the account with this key.
    fn account_select(&mut self, id_key: &str) -> Result<Option<Account>, DbError>;

    /// `p_AccountData_Insert`: makes an account; durable when it returns.
    fn account_insert(&mut self, new: &NewAccount<'_>) -> Result<AccountInsert, DbError>;

    /// `p_Character_Select`: the account's character.
    fn character_select(&mut self, account: u64) -> Result<Option<Character>, DbError>;

    /// `p_Character_Insert`: makes a character of level 1; durable when it returns.
    fn character_insert(&mut self, new: &NewCharacter<'_>) -> Result<CharacterInsert, DbError>;

    /// `p_Online_Claim`: calls `claim.account` online, for `holder`. Any other valid claim is in
    /// the way, the same instance's too; with `take_over` it is replaced.
    fn online_claim(
        &mut self,
        claim: &Claim,
        holder: Holder,
        take_over: bool,
        now_ms: u64,
    ) -> Result<OnlineClaim, DbError>;

    /// `p_Online_Transfer`: moves the claim from whoever holds it to `to`.
    fn online_transfer(&mut self, claim: &Claim, to: Holder, now_ms: u64) -> Result<Transfer, DbError>;

    /// `p_Online_Release`: gives the claim up, if `instance` holds it. Says whether it did.
    fn online_release(&mut self, claim: &Claim, instance: u64) -> Result<bool, DbError>;

    /// `p_Online_Sync`: compares a list of claims with what is known, and renews the holder's lease.
    ///
    /// With `is_first`, claims of this holder that are not listed are released. Listed claims whose account
    /// nobody validly holds are taken up, and those that the process holds by way of another agent
    /// come over to this one. Returned are the listed claims whose account is another
    /// login's by now. A listed claim that moved on to another instance stays there and
    /// is not returned: it is the same login. Listed claims with the number 0 are left out.
    ///
    /// Lists of one process may come over several agents, and in any order. Where a later one has been compared
    /// already, that one took all claims over; then nothing of this list is taken up, nothing is returned, and with
    /// `is_first` whatever is left of this holder's claims is released.
    ///
    /// Also removes a bounded number of claims and leases of long dead processes.
    fn online_sync(
        &mut self,
        list: &HeldList<'_>,
        now_ms: u64,
        lease_until_ms: u64,
    ) -> Result<Vec<Claim>, DbError>;

    /// `p_Holder_Renew`: the lease of `holder` ends at `lease_until_ms`, be that later or
    /// sooner than before: what a wrong clock wrote is put right by the next renewal.
    fn holder_renew(&mut self, holder: Holder, lease_until_ms: u64) -> Result<(), DbError>;

    /// `p_Agent_Start`: leases that earlier processes of this agent's name gave end at `until_ms` at the latest.
    /// The servers that were linked to them link up again, and those that died with them do not keep their
    /// accounts online for the rest of a whole lease.
    fn agent_start(&mut self, agent: u64, until_ms: u64) -> Result<(), DbError>;

    /// Closes the connection. Dropping it does the same, but cannot say what went wrong.
    fn close(self: Box<Self>) -> Result<(), DbError>;
}

/// How long a lease must be over before its row, and claims under it, are removed.
pub const PRUNE_AFTER_MS: u64 = 60 * 60 * 1000;
/// Claims of dead instances that one [`Procedures::online_sync`] removes at most.
pub const PRUNE_CLAIMS_MAX: u32 = 1024;
/// Leases that one [`Procedures::online_sync`] removes at most.
pub const PRUNE_HOLDERS_MAX: u32 = 16;

/// What kind of thing went wrong in a database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fault {
    /// Somebody else had it locked for longer than we wait.
    Busy,
    /// The connection is broken or could not be made. Whether a statement under way was done is not known.
    Lost,
    /// It fell victim to a deadlock or to another transaction, and was undone. Again, it may work.
    Conflict,
    /// No space left.
    Full,
    /// It cannot be written.
    ReadOnly,
    /// The login, or what its user may do.
    Denied,
    /// The driver cannot be loaded, or does not take the settings.
    Driver,
    /// Its content is no database, or a broken one.
    Damaged,
    /// Its tables are not those that this program needs.
    Schema,
    /// A record holds what it cannot hold.
    BadRecord,
    /// Anything else that the database objects to.
    Refused,
}

impl Fault {
    /// Whether it may be gone when the same is tried again later.
    pub fn passes(self) -> bool {
        matches!(self, Self::Busy | Self::Lost | Self::Conflict | Self::Full)
    }

    /// Whether only a new connection can help.
    pub fn breaks_connection(self) -> bool {
        self == Self::Lost
    }

    /// What the peer that asked is told.
    pub fn outcome(self) -> Outcome {
        match self {
            Self::Busy | Self::Lost | Self::Conflict => Outcome::TryAgainLater,
            _ => Outcome::InternalError,
        }
    }

    fn what_and_advice(self) -> (&'static str, &'static str) {
        match self {
            Self::Busy => ("the database is busy", "it will be tried again"),
            Self::Lost => ("there is no connection to the database", "a new one will be made"),
            Self::Conflict => ("another transaction was in the way", "it will be tried again"),
            Self::Denied => (
                "the database does not let us",
                "check user and password, and grant what sql/<dialect>/agent_role.sql grants",
            ),
            Self::Driver => {
                ("the ODBC driver does not work", "check the section [odbc] of the configuration")
            }
            Self::Full => ("the database has no space left", "free some on its disk, or raise its limit"),
            Self::ReadOnly => (
                "the database cannot be written",
                "check the owner and mode of its file and directory, and how the file system is mounted",
            ),
            Self::Damaged => (
                "the database is damaged",
                "stop the servers, keep a copy of the file, and restore the last backup",
            ),
            Self::Schema => ("the database lacks what this version needs", "run `throng db migrate`"),
            Self::BadRecord => {
                ("a record holds an impossible value", "look at what else writes to this database")
            }
            Self::Refused => ("the database refused", "this is a fault of the program: please report it"),
        }
    }
}

/// A procedure did not run: what was wrong, where, and what to do.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{place}: {}: {detail} ({})", fault.what_and_advice().0, fault.what_and_advice().1)]
pub struct DbError {
    /// The kind of fault.
    pub fault: Fault,
    /// The procedure, or the file.
    pub place: String,
    /// The database's own words; never a value that a client sent.
    pub detail: String,
}

impl DbError {
    /// A fault at a place.
    pub fn new(fault: Fault, place: impl Into<String>, detail: impl fmt::Display) -> Self {
        Self { fault, place: place.into(), detail: detail.to_string() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_says_what_where_and_what_to_do() {
        let error = DbError::new(Fault::Full, "p_AccountData_Insert", "database or disk is full");
        assert_eq!(
            error.to_string(),
            "p_AccountData_Insert: the database has no space left: database or disk is full \
             (free some on its disk, or raise its limit)"
        );
    }

    #[test]
    fn an_agent_is_known_by_its_name() {
        let [first, second] = [1, u32::MAX].map(|drawn| agent_number("dbagent-1", drawn));
        assert_eq!(first >> 32, second >> 32);
        assert_ne!(first, second);
        assert_ne!(first >> 32, agent_number("dbagent-2", 1) >> 32);
        assert!([first, second].iter().all(|number| number.cast_signed() > 0));
    }

    #[test]
    fn a_hash_is_not_shown() {
        let account = Account { account: 1, id: "bob".into(), password_hash: "$argon2id$x".into() };
        assert!(!format!("{account:?}").contains("argon2id"));
    }
}
