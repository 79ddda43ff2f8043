//! The stored procedures of the DB agent, independent of the database that runs them.
//!
//! [`Procedures`] has one method for each procedure of sql/README.md, which defines names,
//! parameters, results and comparison rules for all dialects. Every implementation has to pass
//! [`super::suite`].
//!
//! Accounts, claims, instances and experience points are `u64` here and signed 64-bit columns in
//! SQL, bit for bit. SQL compares them for equality only, except that `p_Agent_Start` divides agent
//! numbers. Times are milliseconds since 1970 (UTC) and saturate at the column's maximum.

use std::fmt;

use sha2::{Digest, Sha256};
use thiserror::Error;
use throng_core::text::escaped;
use throng_core::wire::packets::{Character, Claim, Outcome};

/// An account as stored in the database.
#[derive(Clone, PartialEq, Eq)]
pub struct Account {
    /// Number of the account.
    pub account: u64,
    /// Id as typed at the sign-up.
    pub id: String,
    /// Hash of the password, a PHC string.
    pub password_hash: String,
}

impl fmt::Debug for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A hash is not a password, but a reader of the log could start guessing from it.
        write!(f, "Account {{ account: {}, id: {:?}, password_hash: [secret] }}", self.account, self.id)
    }
}

/// An account to insert.
#[derive(Clone, Copy)]
pub struct NewAccount<'a> {
    /// Id as typed; stored exactly.
    pub id: &'a str,
    /// Comparison key of the id ([`crate::rules`]), unique among accounts.
    pub id_key: &'a str,
    /// Hash of the password, a PHC string.
    pub password_hash: &'a str,
    /// Time of the insert, in milliseconds since 1970 (UTC).
    pub now_ms: u64,
}

/// A character to insert.
#[derive(Clone, Copy)]
pub struct NewCharacter<'a> {
    /// Account of the character.
    pub account: u64,
    /// Name as typed; stored exactly.
    pub name: &'a str,
    /// Comparison key of the name ([`crate::rules`]), unique among characters.
    pub name_key: &'a str,
    /// Time of the insert, in milliseconds since 1970 (UTC).
    pub now_ms: u64,
}

/// Result of [`Procedures::account_insert`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AccountInsert {
    /// The account was inserted with this number.
    Inserted(u64),
    /// Another account has the key.
    IdTaken,
}

/// Result of [`Procedures::character_insert`]. If several refusals apply, the first of
/// `NoSuchAccount`, `CharacterExists`, `NameTaken` is returned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CharacterInsert {
    /// The character was inserted with this number.
    Inserted(u64),
    /// The account does not exist.
    NoSuchAccount,
    /// The account already has a character.
    CharacterExists,
    /// Another character has the key.
    NameTaken,
}

/// A server process together with the DB agent that it is linked to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Holder {
    /// Number of the server process.
    pub instance: u64,
    /// Number of the DB agent ([`agent_number`]).
    pub agent: u64,
}

/// Returns the number of a DB agent's process. The upper 32 bits follow from the agent's name and
/// the lower ones are `drawn` at its start, so that a new process finds the leases of its
/// predecessors ([`Procedures::agent_start`]).
pub fn agent_number(name: &str, drawn: u32) -> u64 {
    let digest = Sha256::digest(name.as_bytes());
    // 31 bits: the number is positive as a signed column.
    let half = u32::from_le_bytes([digest[0], digest[1], digest[2], digest[3] & 0x7f]);
    u64::from(half) << 32 | u64::from(drawn)
}

/// A claim and its holder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// The server process that holds the claim.
    pub instance: u64,
    /// The claim.
    pub claim: Claim,
}

/// Result of [`Procedures::online_claim`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OnlineClaim {
    /// The instance holds the claim.
    Claimed {
        /// The valid claim that was replaced: an away one, or any with `take_over`.
        displaced: Option<Held>,
    },
    /// Another valid claim exists, and it is not away.
    AlreadyOnline,
    /// The instance has no valid lease, under which its claim could be valid. Renew the lease
    /// first.
    NoLease,
}

/// All claims of a server process.
#[derive(Debug, Clone, Copy)]
pub struct HeldList<'a> {
    /// The process that holds them, and the DB agent to which it sent the list.
    pub holder: Holder,
    /// Number of the list. The process counts its lists across all its links.
    pub number: u64,
    /// True for the first list over a link. Claims that the process obtained through this agent and
    /// does not list are then left over from an earlier link.
    pub is_first: bool,
    /// The claims.
    pub claims: &'a [Claim],
}

/// Result of [`Procedures::online_transfer`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transfer {
    /// The new instance holds the claim, perhaps since before.
    Moved,
    /// The claim does not exist any more.
    Lost,
    /// The new instance has no valid lease; the claim stays with its holder.
    NoLease,
}

/// The stored procedures over one connection.
///
/// An account is online while a valid claim on it exists. A claim is held by one server process
/// through one DB agent and is valid while the lease lasts that this agent gave the process. A
/// process or an agent that dies silently therefore loses its claims when the lease ends, unless
/// the process lists them with another agent.
///
/// Uniqueness is decided by constraints: no implementation looks first and inserts then. Every
/// procedure takes effect entirely or not at all. All except the two inserts may be repeated with
/// the same result.
pub trait Procedures: Send {
    /// `p_Clock_Select`: returns the database's clock in milliseconds since 1970 (UTC), by which
    /// leases are measured.
    fn clock(&mut self) -> Result<u64, DbError>;

    /// `p_AccountData_Select`: returns the account with this key.
    fn account_select(&mut self, id_key: &str) -> Result<Option<Account>, DbError>;

    /// `p_AccountData_Insert`: inserts an account; durable on return.
    fn account_insert(&mut self, new: &NewAccount<'_>) -> Result<AccountInsert, DbError>;

    /// `p_Password_Replace`: replaces an account's hash if it is still `old_hash`. Returns true if
    /// the account has the new hash. Durable on return.
    fn password_replace(&mut self, account: u64, old_hash: &str, new_hash: &str) -> Result<bool, DbError>;

    /// `p_PasswordCost_Next`: returns the cost in use that follows `after` in the order of bytes.
    /// Starts with `""`.
    fn password_cost_next(&mut self, after: &str) -> Result<Option<String>, DbError>;

    /// `p_Character_Select`: returns the character of an account.
    fn character_select(&mut self, account: u64) -> Result<Option<Character>, DbError>;

    /// `p_Character_Insert`: inserts a character of level 1; durable on return.
    fn character_insert(&mut self, new: &NewCharacter<'_>) -> Result<CharacterInsert, DbError>;

    /// `p_Online_Claim`: claims `claim.account` for `holder`. Any other valid claim, also one of
    /// the same instance, is a refusal without `take_over` and is replaced with it. One that is
    /// away is always replaced.
    fn online_claim(
        &mut self,
        claim: &Claim,
        holder: Holder,
        take_over: bool,
        now_ms: u64,
    ) -> Result<OnlineClaim, DbError>;

    /// `p_Online_Transfer`: moves the claim from its present holder to `to`. It is not away
    /// afterwards, unless `to` has held it before.
    fn online_transfer(&mut self, claim: &Claim, to: Holder, now_ms: u64) -> Result<Transfer, DbError>;

    /// `p_Online_Release`: releases the claim if `instance` holds it. Returns true if it did.
    fn online_release(&mut self, claim: &Claim, instance: u64) -> Result<bool, DbError>;

    /// `p_Online_Away`: marks the claim as away, or as not away, if `holder` holds it. Returns true
    /// if it does.
    ///
    /// The agent of `holder` matters: a call that comes late, after the process has listed its
    /// claims to another agent, must not undo what that agent has been told since.
    fn online_away(&mut self, claim: &Claim, holder: Holder, is_away: bool) -> Result<bool, DbError>;

    /// `p_Online_Sync`: compares a list of claims with the database and renews the holder's lease.
    /// Returns the void claims: the listed ones whose account has a valid claim of another number.
    ///
    /// With `is_first`, releases the claims of this holder that are not listed. Takes up listed
    /// claims whose account has no valid claim, and moves those that the process holds through
    /// another agent to this one. A listed claim that another instance has taken over by transfer
    /// stays there and is not void. Listed claims with the number 0 are ignored. No claim that the
    /// process holds by the list is away afterwards: a mark may be left over from a lost link.
    ///
    /// Lists of one process may arrive through several agents in any order. After a later list an
    /// earlier one counts as empty: the later one has already moved all claims. With `is_first`
    /// that releases the remaining claims of this holder.
    ///
    /// Also removes a bounded number of claims and leases of processes that died long ago.
    fn online_sync(
        &mut self,
        list: &HeldList<'_>,
        now_ms: u64,
        lease_until_ms: u64,
    ) -> Result<Vec<Claim>, DbError>;

    /// `p_Holder_Renew`: sets the end of `holder`'s lease to `lease_until_ms`, later or earlier
    /// than before. A renewal thus corrects a lease that was written by a wrong clock.
    fn holder_renew(&mut self, holder: Holder, lease_until_ms: u64) -> Result<(), DbError>;

    /// `p_Agent_Start`: ends leases that earlier processes of this agent's name gave at `until_ms`
    /// at the latest. Their servers link up again until then; accounts of servers that died with
    /// them do not stay online for the rest of a whole lease.
    fn agent_start(&mut self, agent: u64, until_ms: u64) -> Result<(), DbError>;

    /// Does what the database needs between requests, if it can be done now. Returns true to be
    /// called again about a second later, even if no request comes.
    fn look_after(&mut self) -> bool {
        false
    }

    /// Closes the connection. Dropping it does the same without reporting errors.
    fn close(self: Box<Self>) -> Result<(), DbError>;
}

/// Time after the end of a lease, in milliseconds, until its row and the claims under it are
/// removed.
pub const PRUNE_AFTER_MS: u64 = 60 * 60 * 1000;
/// Upper bound of claims that one [`Procedures::online_sync`] removes.
pub const PRUNE_CLAIMS_MAX: u32 = 1024;
/// Upper bound of leases that one [`Procedures::online_sync`] removes.
pub const PRUNE_HOLDERS_MAX: u32 = 16;

/// Kind of a database fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fault {
    /// Another connection held a lock for longer than the timeout.
    Busy,
    /// The connection is broken or could not be opened. A statement in progress may have taken
    /// effect.
    Lost,
    /// The transaction was rolled back because of a deadlock or a conflict. A retry may succeed.
    Conflict,
    /// The disk or the database is full.
    Full,
    /// The database is read-only, as a demoted server is after a fail-over. A new connection may
    /// reach the server that took its place.
    ReadOnly,
    /// The login failed, or its user lacks a permission.
    Denied,
    /// The server has no database of this name.
    NoDatabase,
    /// The driver cannot be loaded, or rejects the settings.
    Driver,
    /// The file is damaged or no database.
    Damaged,
    /// The schema is not the one that this program needs.
    Schema,
    /// A record holds an impossible value.
    BadRecord,
    /// Any other error that the database reports.
    Refused,
}

impl Fault {
    /// Returns true if a later retry may succeed.
    pub fn is_transient(self) -> bool {
        matches!(self, Self::Busy | Self::Lost | Self::Conflict | Self::Full | Self::ReadOnly)
    }

    /// Returns true if only a new connection can help.
    pub fn breaks_connection(self) -> bool {
        matches!(self, Self::Lost | Self::ReadOnly)
    }

    /// Outcome that the peer is told.
    pub fn outcome(self) -> Outcome {
        if self.is_transient() { Outcome::TryAgainLater } else { Outcome::InternalError }
    }

    fn what_and_advice(self) -> (&'static str, &'static str) {
        match self {
            Self::Busy => ("the database is busy", "the request will be retried"),
            Self::Lost => ("there is no connection to the database", "a new one will be opened"),
            Self::Conflict => ("another transaction was in the way", "the request will be retried"),
            Self::Denied => (
                "the database does not let us do this",
                "check user and password, and grant what sql/<dialect>/agent_role.sql grants",
            ),
            Self::NoDatabase => (
                "there is no such database, or this user may not open it",
                "create it as docs/operations.md shows, or correct odbc.database",
            ),
            Self::Driver => {
                ("the ODBC driver cannot be used", "check the section [odbc] of the configuration")
            }
            Self::Full => ("the database is full", "free space on its disk, or raise its limit"),
            Self::ReadOnly => (
                "the database is read-only",
                "if it stays so: check that this is the primary server; for a file, its owner, mode and mount",
            ),
            Self::Damaged => (
                "the database is damaged",
                "stop the servers, keep a copy of the file, and restore the last backup",
            ),
            Self::Schema => ("the schema is not the one of this version", "run `throng db migrate`"),
            Self::BadRecord => {
                ("a record holds an impossible value", "look at what else writes to this database")
            }
            Self::Refused => {
                ("the database refused the statement", "this is a bug in the program: please report it")
            }
        }
    }
}

/// Error of a procedure: the fault, its place, and advice.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{place}: {}: {detail} ({})", fault.what_and_advice().0, fault.what_and_advice().1)]
pub struct DbError {
    /// Kind of the fault.
    pub fault: Fault,
    /// The procedure or the file.
    pub place: String,
    /// The database's message; never contains a value that a client sent.
    pub detail: String,
}

impl DbError {
    /// Creates the error of a fault at a place. Control characters in the database's message are
    /// escaped: `throng db` prints it on a terminal.
    pub fn new(fault: Fault, place: impl Into<String>, detail: impl fmt::Display) -> Self {
        Self { fault, place: place.into(), detail: escaped(&detail.to_string()).into_owned() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_has_place_fault_and_advice() {
        let error = DbError::new(Fault::Full, "p_AccountData_Insert", "database or disk is full");
        assert_eq!(
            error.to_string(),
            "p_AccountData_Insert: the database is full: database or disk is full \
             (free space on its disk, or raise its limit)"
        );
    }

    #[test]
    fn a_database_cannot_command_the_terminal_that_shows_its_message() {
        let error = DbError::new(Fault::Refused, "p_X", "bad\nthrong: all is well\u{1b}[1A");
        assert!(error.to_string().contains("bad\\nthrong: all is well\\u{1b}[1A"), "{error}");
    }

    #[test]
    fn agent_numbers_of_one_name_share_a_half() {
        let [first, second] = [1, u32::MAX].map(|drawn| agent_number("dbagent-1", drawn));
        assert_eq!(first >> 32, second >> 32);
        assert_ne!(first, second);
        assert_ne!(first >> 32, agent_number("dbagent-2", 1) >> 32);
        assert!([first, second].iter().all(|number| number.cast_signed() > 0));
    }

    #[test]
    fn debug_output_hides_the_hash() {
        let account = Account { account: 1, id: "bob".into(), password_hash: "$argon2id$x".into() };
        assert!(!format!("{account:?}").contains("argon2id"));
    }
}
