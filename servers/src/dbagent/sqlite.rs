//! [`Procedures`] on the embedded SQLite.
//!
//! The file has a write-ahead log. How hard a commit is pressed onto the disk depends on
//! what it is for, and is switched on the one connection between transactions:
//! - accounts and characters: `synchronous = FULL`, a flush for each commit.
//!   What a player was told is done survives a power cut.
//! - online state: `synchronous = NORMAL`. The last moments may be lost in a power
//!   cut (never with a crash of the process alone, and never consistency); the machine's
//!   servers are gone then too, and theirs report what they hold when
//!   they link up again. A login takes three such commits. Measured here: a commit takes
//!   280 us with FULL and 11 us with NORMAL, switching takes 0.7 us. On disks
//!   without a fast cache FULL costs milliseconds.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rusqlite::ffi;
use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension, Params, Row, TransactionBehavior};
use throng_core::wire::packets::{Character, Claim, Name};

use super::migrate;
use super::procedures::{
    Account, AccountInsert, CharacterInsert, DbError, Fault, Held, NewAccount, NewCharacter, OnlineClaim,
    PRUNE_AFTER_MS, PRUNE_CLAIMS_MAX, PRUNE_HOLDERS_MAX, Procedures, Transfer,
};

/// A database file: where it is, how long to wait for it, and whose turn it is to write.
///
/// All connections of a process should come from one `SqliteFile`. SQLite lets one connection write at
/// a time and has the others ask again after a sleep; here they park and are woken. (50 sign-ups from
/// 50 threads: 1.3 s asking again, 0.1 s taking turns.)
#[derive(Debug)]
pub struct SqliteFile {
    path: PathBuf,
    busy: Duration,
    writing: Mutex<()>,
}

/// One connection to the database.
#[derive(Debug)]
pub struct Sqlite {
    file: Arc<SqliteFile>,
    conn: Connection,
    durability: Durability,
}

/// What a commit has to survive; see the module's comment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Durability {
    PowerCut,
    ProcessCrash,
}

impl SqliteFile {
    /// The file at `path`. A statement waits `busy` for writers of this process, and as long for
    /// those of others, before it fails with [`Fault::Busy`].
    pub fn new(path: impl Into<PathBuf>, busy: Duration) -> Arc<Self> {
        Arc::new(Self { path: path.into(), busy, writing: Mutex::new(()) })
    }

    /// Opens a connection. The file must exist and have had all migrations.
    pub fn connect(self: &Arc<Self>) -> Result<Sqlite, DbError> {
        self.connect_with(OpenFlags::SQLITE_OPEN_READ_WRITE)
    }

    /// Lets no lease run longer than `until_ms`. For the start of a DB agent: the servers that were
    /// linked to the one before link up again and renew theirs, and those that died with
    /// it do not keep their accounts online for the rest of a whole lease.
    pub fn shorten_leases(self: &Arc<Self>, until_ms: u64) -> Result<(), DbError> {
        let mut sqlite = self.connect()?;
        sqlite.write("shorten leases", Durability::ProcessCrash, |conn| {
            let sql = "UPDATE holders SET lease_until_ms = ?1 WHERE lease_until_ms > ?1";
            execute(conn, sql, (to_ms(until_ms),))
        })?;
        Box::new(sqlite).close()
    }

    fn connect_with(self: &Arc<Self>, flags: OpenFlags) -> Result<Sqlite, DbError> {
        let place = self.path.display().to_string();
        let failed = |error: &rusqlite::Error| fault(&place, error);
        if !self.path.exists() {
            return Err(DbError::new(Fault::Schema, &place, "there is no such file"));
        }
        let conn = connect(&self.path, flags, self.busy)?;
        // SQLite falls back to reading only, without a word, when it may not write.
        if conn.is_readonly("main").map_err(|error| failed(&error))? {
            return Err(DbError::new(Fault::ReadOnly, &place, "it could only be opened for reading"));
        }
        let recorded = migrate::recorded(&conn).map_err(|error| failed(&error))?;
        match migrate::pending(&place, migrate::SQLITE, &recorded) {
            Ok([]) => {}
            Ok(some) => {
                let detail = format!("{} migrations are pending", some.len());
                return Err(DbError::new(Fault::Schema, place, detail));
            }
            Err(error) => return Err(DbError::new(Fault::Schema, place, error)),
        }
        set_durability(&conn, Durability::PowerCut).map_err(|error| failed(&error))?;
        Ok(Sqlite { file: Arc::clone(self), conn, durability: Durability::PowerCut })
    }
}

impl Sqlite {
    /// Runs `body` in a transaction that holds the write lock from its start.
    fn write<T>(
        &mut self,
        procedure: &'static str,
        durability: Durability,
        body: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, DbError> {
        let file = Arc::clone(&self.file);
        let Some(_turn) = file.writing.try_lock_for(file.busy) else {
            return Err(DbError::new(Fault::Busy, procedure, "other threads keep writing"));
        };
        self.try_write(durability, body).map_err(|error| fault(procedure, &error))
    }

    fn try_write<T>(
        &mut self,
        durability: Durability,
        body: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> rusqlite::Result<T> {
        if self.durability != durability {
            set_durability(&self.conn, durability)?;
            self.durability = durability;
        }
        // Dropped without a commit, the transaction is rolled back.
        let tx = self.conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let value = body(&tx)?;
        tx.commit()?;
        Ok(value)
    }
}

impl Procedures for Sqlite {
    fn account_select(&mut self, id_key: &str) -> Result<Option<Account>, DbError> {
        one(
            &self.conn,
            "SELECT account, id, password_hash FROM accounts WHERE id_key = ?1",
            (id_key,),
            |row| {
                Ok(Account { account: from_bits(row.get(0)?), id: row.get(1)?, password_hash: row.get(2)? })
            },
        )
        .map_err(|error| fault("p_AccountData_Select", &error))
    }

    fn account_insert(&mut self, new: &NewAccount<'_>) -> Result<AccountInsert, DbError> {
        self.write("p_AccountData_Insert", Durability::PowerCut, |conn| {
            let account = one(
                conn,
                "INSERT INTO accounts (id, id_key, password_hash, created_ms) VALUES (?1, ?2, ?3, ?4)
                 ON CONFLICT (id_key) DO NOTHING RETURNING account",
                (new.id, new.id_key, new.password_hash, to_ms(new.now_ms)),
                |row| row.get(0),
            )?;
            Ok(account.map_or(AccountInsert::IdTaken, |account| AccountInsert::Inserted(from_bits(account))))
        })
    }

    fn character_select(&mut self, account: u64) -> Result<Option<Character>, DbError> {
        const PROCEDURE: &str = "p_Character_Select";
        let found = one(
            &self.conn,
            "SELECT character, name, level, experience FROM characters WHERE account = ?1",
            (to_bits(account),),
            |row| Ok((from_bits(row.get(0)?), row.get::<_, String>(1)?, row.get(2)?, from_bits(row.get(3)?))),
        )
        .map_err(|error| fault(PROCEDURE, &error))?;
        let Some((id, name, level, experience)) = found else { return Ok(None) };
        let name = Name::new(name).map_err(|error| {
            DbError::new(Fault::BadRecord, PROCEDURE, format!("name of character {id}: {error}"))
        })?;
        Ok(Some(Character { id, name, level, experience }))
    }

    fn character_insert(&mut self, new: &NewCharacter<'_>) -> Result<CharacterInsert, DbError> {
        self.write("p_Character_Insert", Durability::PowerCut, |conn| {
            let inserted = one(
                conn,
                "INSERT INTO characters (account, name, name_key, created_ms) VALUES (?1, ?2, ?3, ?4)
                 ON CONFLICT DO NOTHING RETURNING character",
                (to_bits(new.account), new.name, new.name_key, to_ms(new.now_ms)),
                |row| row.get(0),
            );
            match inserted {
                Ok(Some(character)) => Ok(CharacterInsert::Inserted(from_bits(character))),
                Err(error) if !is_foreign_key(&error) => Err(error),
                // The constraints have decided; what follows only finds the words for it.
                Ok(None) | Err(_) => explain_character(conn, new.account),
            }
        })
    }

    fn online_claim(
        &mut self,
        claim: &Claim,
        instance: u64,
        take_over: bool,
        now_ms: u64,
    ) -> Result<OnlineClaim, DbError> {
        self.write("p_Online_Claim", Durability::ProcessCrash, |conn| {
            if !has_lease(conn, instance, now_ms)? {
                return Ok(OnlineClaim::NoLease);
            }
            let displaced = one(
                conn,
                "SELECT o.claim, o.instance FROM online o JOIN holders h ON h.instance = o.instance
                 WHERE o.account = ?1 AND h.lease_until_ms > ?2",
                (to_bits(claim.account), to_ms(now_ms)),
                |row| {
                    let claim = Claim { account: claim.account, id: from_bits(row.get(0)?) };
                    Ok(Held { instance: from_bits(row.get(1)?), claim })
                },
            )?;
            if displaced.is_some() && !take_over {
                return Ok(OnlineClaim::AlreadyOnline);
            }
            execute(
                conn,
                "INSERT INTO online (account, claim, instance) VALUES (?1, ?2, ?3)
                 ON CONFLICT (account) DO UPDATE SET claim = excluded.claim, instance = excluded.instance",
                (to_bits(claim.account), to_bits(claim.id), to_bits(instance)),
            )?;
            Ok(OnlineClaim::Claimed { displaced })
        })
    }

    fn online_transfer(&mut self, claim: &Claim, to_instance: u64, now_ms: u64) -> Result<Transfer, DbError> {
        self.write("p_Online_Transfer", Durability::ProcessCrash, |conn| {
            if !has_lease(conn, to_instance, now_ms)? {
                return Ok(Transfer::NoLease);
            }
            let moved = execute(
                conn,
                "UPDATE online SET instance = ?3 WHERE account = ?1 AND claim = ?2",
                (to_bits(claim.account), to_bits(claim.id), to_bits(to_instance)),
            )?;
            Ok(if moved == 1 { Transfer::Moved } else { Transfer::Lost })
        })
    }

    fn online_release(&mut self, claim: &Claim, instance: u64) -> Result<bool, DbError> {
        self.write("p_Online_Release", Durability::ProcessCrash, |conn| release(conn, claim, instance))
    }

    fn online_sync(
        &mut self,
        instance: u64,
        held: &[Claim],
        now_ms: u64,
        lease_until_ms: u64,
    ) -> Result<Vec<Claim>, DbError> {
        self.write("p_Online_Sync", Durability::ProcessCrash, |conn| {
            renew(conn, instance, lease_until_ms)?;
            release_all_but(conn, instance, held)?;
            let mut conflicts = Vec::new();
            for claim in held.iter().filter(|claim| claim.id != 0) {
                if !take_up(conn, claim, instance, now_ms)? {
                    conflicts.push(*claim);
                }
            }
            prune(conn, now_ms)?;
            Ok(conflicts)
        })
    }

    fn holder_renew(&mut self, instance: u64, lease_until_ms: u64) -> Result<(), DbError> {
        self.write("p_Holder_Renew", Durability::ProcessCrash, |conn| renew(conn, instance, lease_until_ms))
    }

    fn close(self: Box<Self>) -> Result<(), DbError> {
        // The last connection to close moves the log's content into the file and removes the log. Of
        // two that close at the same instant each would take the other for the last.
        let _turn = self.file.writing.lock();
        self.conn.close().map_err(|(_, error)| fault("close", &error))
    }
}

/// Why a character could not be inserted.
fn explain_character(conn: &Connection, account: u64) -> rusqlite::Result<CharacterInsert> {
    let exists = |sql| one(conn, sql, (to_bits(account),), |_| Ok(())).map(|found| found.is_some());
    Ok(if !exists("SELECT 1 FROM accounts WHERE account = ?1")? {
        CharacterInsert::NoSuchAccount
    } else if exists("SELECT 1 FROM characters WHERE account = ?1")? {
        CharacterInsert::CharacterExists
    } else {
        CharacterInsert::NameTaken
    })
}

fn has_lease(conn: &Connection, instance: u64, now_ms: u64) -> rusqlite::Result<bool> {
    let sql = "SELECT 1 FROM holders WHERE instance = ?1 AND lease_until_ms > ?2";
    Ok(one(conn, sql, (to_bits(instance), to_ms(now_ms)), |_| Ok(()))?.is_some())
}

fn renew(conn: &Connection, instance: u64, lease_until_ms: u64) -> rusqlite::Result<()> {
    execute(
        conn,
        "INSERT INTO holders (instance, lease_until_ms) VALUES (?1, ?2)
         ON CONFLICT (instance) DO UPDATE SET lease_until_ms = excluded.lease_until_ms",
        (to_bits(instance), to_ms(lease_until_ms)),
    )
    .map(|_| ())
}

fn release(conn: &Connection, claim: &Claim, instance: u64) -> rusqlite::Result<bool> {
    let released = execute(
        conn,
        "DELETE FROM online WHERE account = ?1 AND claim = ?2 AND instance = ?3",
        (to_bits(claim.account), to_bits(claim.id), to_bits(instance)),
    )?;
    Ok(released == 1)
}

/// Releases the claims of `instance` that are not among `held`.
fn release_all_but(conn: &Connection, instance: u64, held: &[Claim]) -> rusqlite::Result<()> {
    let held: HashSet<(u64, u64)> = held.iter().map(|claim| (claim.account, claim.id)).collect();
    let known: Vec<Claim> = conn
        .prepare_cached("SELECT account, claim FROM online WHERE instance = ?1")?
        .query_map((to_bits(instance),), |row| {
            Ok(Claim { account: from_bits(row.get(0)?), id: from_bits(row.get(1)?) })
        })?
        .collect::<rusqlite::Result<_>>()?;
    for claim in known.iter().filter(|claim| !held.contains(&(claim.account, claim.id))) {
        release(conn, claim, instance)?;
    }
    Ok(())
}

/// Takes a claim up unless its account is validly claimed. False: by another login.
fn take_up(conn: &Connection, claim: &Claim, instance: u64, now_ms: u64) -> rusqlite::Result<bool> {
    let taken = execute(
        conn,
        "INSERT INTO online (account, claim, instance) VALUES (?1, ?2, ?3)
         ON CONFLICT (account) DO UPDATE SET claim = excluded.claim, instance = excluded.instance
         WHERE NOT EXISTS (SELECT 1 FROM holders h WHERE h.instance = online.instance AND h.lease_until_ms > ?4)",
        (to_bits(claim.account), to_bits(claim.id), to_bits(instance), to_ms(now_ms)),
    )?;
    if taken == 1 {
        return Ok(true);
    }
    let sql = "SELECT claim FROM online WHERE account = ?1";
    let there = one(conn, sql, (to_bits(claim.account),), |row| row.get(0))?;
    Ok(there == Some(to_bits(claim.id)))
}

/// Removes what long dead instances left, a bounded part of it at a time.
fn prune(conn: &Connection, now_ms: u64) -> rusqlite::Result<()> {
    let before = to_ms(now_ms.saturating_sub(PRUNE_AFTER_MS));
    execute(
        conn,
        "DELETE FROM online WHERE account IN
         (SELECT o.account FROM holders h JOIN online o ON o.instance = h.instance
          WHERE h.lease_until_ms < ?1 LIMIT ?2)",
        (before, PRUNE_CLAIMS_MAX),
    )?;
    execute(
        conn,
        "DELETE FROM holders WHERE instance IN
         (SELECT h.instance FROM holders h WHERE h.lease_until_ms < ?1
          AND NOT EXISTS (SELECT 1 FROM online o WHERE o.instance = h.instance) LIMIT ?2)",
        (before, PRUNE_HOLDERS_MAX),
    )?;
    Ok(())
}

fn execute(conn: &Connection, sql: &str, params: impl Params) -> rusqlite::Result<usize> {
    conn.prepare_cached(sql)?.execute(params)
}

fn one<T>(
    conn: &Connection,
    sql: &str,
    params: impl Params,
    read: impl FnOnce(&Row<'_>) -> rusqlite::Result<T>,
) -> rusqlite::Result<Option<T>> {
    conn.prepare_cached(sql)?.query_one(params, read).optional()
}

fn set_durability(conn: &Connection, durability: Durability) -> rusqlite::Result<()> {
    let level = match durability {
        Durability::PowerCut => "FULL",
        Durability::ProcessCrash => "NORMAL",
    };
    conn.pragma_update(None, "synchronous", level)
}

/// A connection with what every connection needs. `path` is a path, never a URI.
pub(super) fn connect(path: &Path, flags: OpenFlags, busy: Duration) -> Result<Connection, DbError> {
    let open = || {
        // One thread at a time uses it, so SQLite's own locks around each call are not needed.
        let conn = Connection::open_with_flags(path, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
        conn.busy_timeout(busy)?;
        conn.pragma_update(None, "foreign_keys", true)?;
        // A schema from a stranger's file cannot run functions with side effects.
        conn.pragma_update(None, "trusted_schema", false)?;
        Ok(conn)
    };
    open().map_err(|error| fault(&path.display().to_string(), &error))
}

/// The typed fault of an SQLite error.
pub(super) fn fault(place: &str, error: &rusqlite::Error) -> DbError {
    use rusqlite::Error as E;
    let kind = match error {
        E::SqliteFailure(ffi::Error { extended_code: ffi::SQLITE_READONLY_DBMOVED, .. }, _) => Fault::Lost,
        E::SqliteFailure(failure, _) => match failure.code {
            ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => Fault::Busy,
            ErrorCode::CannotOpen | ErrorCode::SystemIoFailure => Fault::Lost,
            ErrorCode::DiskFull => Fault::Full,
            ErrorCode::ReadOnly | ErrorCode::PermissionDenied => Fault::ReadOnly,
            ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase => Fault::Damaged,
            _ => Fault::Refused,
        },
        E::FromSqlConversionFailure(..)
        | E::IntegralValueOutOfRange(..)
        | E::Utf8Error(..)
        | E::InvalidColumnType(..) => Fault::BadRecord,
        _ => Fault::Refused,
    };
    DbError::new(kind, place, error)
}

/// Whether somebody else has the database locked.
pub(super) fn is_busy(error: &rusqlite::Error) -> bool {
    fault("", error).fault == Fault::Busy
}

fn is_foreign_key(error: &rusqlite::Error) -> bool {
    matches!(error, rusqlite::Error::SqliteFailure(failure, _)
        if failure.extended_code == ffi::SQLITE_CONSTRAINT_FOREIGNKEY)
}

/// An unsigned number as a column holds it, bit for bit.
fn to_bits(number: u64) -> i64 {
    number.cast_signed()
}

/// The number that [`to_bits`] gave.
fn from_bits(bits: i64) -> u64 {
    bits.cast_unsigned()
}

/// A time as a column holds it, at most its maximum.
pub(super) fn to_ms(time: u64) -> i64 {
    i64::try_from(time).unwrap_or(i64::MAX)
}

/// The time that [`to_ms`] gave; what is before 1970 is 1970.
pub(super) fn from_ms(time: i64) -> u64 {
    u64::try_from(time).unwrap_or(0)
}

#[cfg(test)]
mod tests;
