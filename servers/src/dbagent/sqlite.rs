//! [`Procedures`](super::procedures::Procedures) on the embedded SQLite.
//!
//! The file has a write-ahead log. The one connection switches `synchronous` between transactions:
//! - accounts and characters: `FULL`, a flush for each commit. A confirmed sign-up survives a power
//!   cut.
//! - online state: `NORMAL`. A power cut may lose the last moments, but never consistency; a crash
//!   of the process loses nothing. The servers of the machine end with the power too, and servers
//!   elsewhere report their claims when they link up again. A login takes three such commits.
//!
//! A reader that stays open keeps the log from beginning anew, and it grows. The DB threads look at
//! it between requests, and cut it once the reader is gone ([`Statements::look_after`]).
//!
//! Measured here: a commit takes 280 µs with `FULL` and 11 µs with `NORMAL`, and a switch 0.7 µs.
//! On a disk without a fast cache `FULL` takes milliseconds.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rusqlite::ffi;
use rusqlite::types::ToSqlOutput;
use rusqlite::{Connection, ErrorCode, OpenFlags, Row, ToSql};
use throng_core::metrics;

use super::procedures::{DbError, Fault};
use super::query::{Field, Kind, QueryRecord, Value, from_ms};
use super::schema::{self, Recorded};

pub mod statements;

pub use statements::{Durability, SqliteProcedures, Statements};

/// A database file, its busy timeout, and the lock that writers take in turn.
///
/// All connections of a process should come from one `SqliteFile`. SQLite lets one connection write
/// at a time and makes the others poll; with the lock they park and are woken. Measured with 50
/// sign-ups from 50 threads: 1.3 s polling, 0.1 s with the lock.
#[derive(Debug)]
pub struct SqliteFile {
    path: PathBuf,
    busy: Duration,
    writing: Mutex<()>,
    care: Mutex<Care>,
}

/// The last look at the write-ahead log.
#[derive(Debug, Default)]
struct Care {
    looked_at: Option<Instant>,
    /// True if the log was larger than [`LOG_LIMIT`] then.
    is_large: bool,
}

/// Size of the write-ahead log, in bytes, above which it is moved into the file and cut. SQLite
/// begins a smaller one anew by itself, unless a reader needs it.
const LOG_LIMIT: u64 = 16 << 20;

/// Shortest interval between two looks at the log.
const LOOK_INTERVAL: Duration = Duration::from_millis(900);

/// Time that a cut of the log waits for other writers of this process.
const CUT_WAIT: Duration = Duration::from_millis(50);

/// Messages of a damaged file that are shown.
const DAMAGES_MAX: u32 = 5;

/// Size of a file, in bytes, up to which the start of an agent looks at all of it: some tenths of a
/// second.
const START_BYTES_MAX: u64 = 64 << 20;

/// Tables that the start looks at in a larger file. Those of accounts and characters grow with the
/// number of players.
const START_TABLES: [&str; 4] = ["schema_migrations", "leases", "holders", "online"];

/// The procedures over one connection to the embedded SQLite.
pub type Sqlite = SqliteProcedures<Embedded>;

/// A connection to the embedded SQLite.
#[derive(Debug)]
pub struct Embedded {
    file: Arc<SqliteFile>,
    conn: Connection,
    durability: Durability,
    /// Current procedure, named in errors.
    place: &'static str,
}

impl SqliteFile {
    /// Creates a handle for the file at `path`. A statement waits up to `busy` for writers of this
    /// process, and as long for those of others, before it fails with [`Fault::Busy`].
    pub fn new(path: impl Into<PathBuf>, busy: Duration) -> Arc<Self> {
        Arc::new(Self { path: path.into(), busy, writing: Mutex::new(()), care: Mutex::default() })
    }

    /// Path of the file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Looks at every page of the file. Returns its size in bytes.
    pub fn check_pages(&self) -> Result<u64, DbError> {
        self.quick_check(&[])?;
        Ok(size_of(&self.path))
    }

    /// Looks at the file before it is served from: at all of it, or at the tables of the online
    /// state if it is large. A file that does not exist is sound.
    pub fn check_at_start(&self) -> Result<(), DbError> {
        match size_of(&self.path) {
            0 => Ok(()),
            size if size <= START_BYTES_MAX => self.quick_check(&[]),
            _ => self.quick_check(&START_TABLES),
        }
    }

    /// Looks at these tables, or at the whole file if there are none.
    fn quick_check(&self, tables: &[&str]) -> Result<(), DbError> {
        let place = self.path.display().to_string();
        let conn = connect(&self.path, OpenFlags::SQLITE_OPEN_READ_WRITE, self.busy)?;
        let failed = |error: &rusqlite::Error| fault(&place, error);
        let mut pragmas: Vec<String> =
            tables.iter().map(|table| format!("PRAGMA quick_check('{table}')")).collect();
        if tables.is_empty() {
            pragmas.push(format!("PRAGMA quick_check({DAMAGES_MAX})"));
        }
        for pragma in pragmas {
            let mut statement = conn.prepare(&pragma).map_err(|error| failed(&error))?;
            let rows =
                statement.query_map((), |row| row.get::<_, String>(0)).map_err(|error| failed(&error))?;
            let found = rows.take(DAMAGES_MAX as usize).collect::<rusqlite::Result<Vec<_>>>();
            let found = found.map_err(|error| failed(&error))?;
            if found != ["ok"] {
                // A message of several lines becomes one.
                let words = found.iter().flat_map(|damage| damage.split_whitespace());
                return Err(DbError::new(Fault::Damaged, place, words.collect::<Vec<_>>().join(" ")));
            }
        }
        Ok(())
    }

    /// Size of the write-ahead log in bytes.
    fn log_bytes(&self) -> u64 {
        let mut log = self.path.clone().into_os_string();
        log.push("-wal");
        size_of(Path::new(&log))
    }

    /// Opens a connection. The file must exist and have all migrations.
    pub fn connect(self: &Arc<Self>) -> Result<Sqlite, DbError> {
        self.connect_with(OpenFlags::SQLITE_OPEN_READ_WRITE)
    }

    fn connect_with(self: &Arc<Self>, flags: OpenFlags) -> Result<Sqlite, DbError> {
        let place = self.path.display().to_string();
        let failed = |error: &rusqlite::Error| fault(&place, error);
        if !self.path.exists() {
            return Err(DbError::new(Fault::Schema, &place, "the file does not exist"));
        }
        let conn = connect(&self.path, flags, self.busy)?;
        // Without permission to write, SQLite silently opens the file read-only.
        if conn.is_readonly("main").map_err(|error| failed(&error))? {
            return Err(DbError::new(Fault::ReadOnly, &place, "the file could only be opened for reading"));
        }
        let recorded = recorded(&conn).map_err(|error| failed(&error))?;
        match schema::pending(&place, schema::SQLITE, &recorded) {
            Ok([]) => {}
            Ok(some) => {
                let detail = format!("{} migrations are pending", some.len());
                return Err(DbError::new(Fault::Schema, place, detail));
            }
            Err(error) => return Err(DbError::new(Fault::Schema, place, error)),
        }
        set_durability(&conn, Durability::PowerCut).map_err(|error| failed(&error))?;
        let file = Arc::clone(self);
        Ok(SqliteProcedures(Embedded { file, conn, durability: Durability::PowerCut, place: "SQLite" }))
    }
}

/// Returns the size of a file in bytes; 0 if there is none.
fn size_of(path: &Path) -> u64 {
    std::fs::metadata(path).map_or(0, |file| file.len())
}

impl Embedded {
    /// Moves the write-ahead log into the file and cuts it, as far as readers permit.
    fn cut_log(&self) -> rusqlite::Result<()> {
        let checkpoint = |mode: &str| {
            self.conn.query_row(&format!("PRAGMA wal_checkpoint({mode})"), (), |row| {
                Ok((row.get::<_, i64>(1)?, row.get::<_, i64>(2)?))
            })
        };
        // Waits for no reader, and leaves little to the second step, which locks out writers.
        let (logged, moved) = checkpoint("PASSIVE")?;
        if logged == moved
            && let Some(_turn) = self.file.writing.try_lock_for(CUT_WAIT)
        {
            checkpoint("TRUNCATE")?;
        }
        Ok(())
    }

    /// Sets the durability and begins a transaction that holds the write lock.
    fn begin(&mut self, durability: Durability) -> rusqlite::Result<()> {
        if self.durability != durability {
            set_durability(&self.conn, durability)?;
            self.durability = durability;
        }
        self.conn.execute_batch("BEGIN IMMEDIATE")
    }
}

impl Statements for Embedded {
    fn at(&mut self, procedure: &'static str) -> &mut Self {
        self.place = procedure;
        self
    }

    fn rows(
        &mut self,
        sql: &'static str,
        arguments: &[Value<'_>],
        columns: &[Kind],
    ) -> Result<Vec<QueryRecord>, DbError> {
        let read = |row: &Row<'_>| {
            let fields = columns.iter().enumerate().map(|(at, kind)| field(row, at, *kind));
            Ok(QueryRecord::new(self.place, fields.collect::<rusqlite::Result<_>>()?))
        };
        let run = || {
            let mut statement = self.conn.prepare_cached(sql)?;
            let rows = statement.query_map(rusqlite::params_from_iter(arguments), read)?;
            rows.collect::<rusqlite::Result<_>>()
        };
        run().map_err(|error| fault(self.place, &error))
    }

    fn execute(&mut self, sql: &'static str, arguments: &[Value<'_>]) -> Result<usize, DbError> {
        let run = || self.conn.prepare_cached(sql)?.execute(rusqlite::params_from_iter(arguments));
        run().map_err(|error| fault(self.place, &error))
    }

    fn write<T>(
        &mut self,
        procedure: &'static str,
        durability: Durability,
        body: impl FnOnce(&mut Self) -> Result<T, DbError>,
    ) -> Result<T, DbError> {
        let file = Arc::clone(&self.file);
        let Some(_turn) = file.writing.try_lock_for(file.busy) else {
            return Err(DbError::new(Fault::Busy, procedure, "other threads hold the write lock"));
        };
        self.at(procedure).begin(durability).map_err(|error| fault(procedure, &error))?;
        let result = body(self).and_then(|value| {
            self.conn.execute_batch("COMMIT").map_err(|error| fault(procedure, &error))?;
            Ok(value)
        });
        if result.is_err() && !self.conn.is_autocommit() {
            // The first error is the one to report, and some errors have rolled back by themselves.
            let _ = self.conn.execute_batch("ROLLBACK");
        }
        result
    }

    fn look_after(&mut self) -> bool {
        let file = Arc::clone(&self.file);
        // If another thread is looking now, it will also come back.
        let Some(mut care) = file.care.try_lock() else { return false };
        if care.looked_at.is_some_and(|at| at.elapsed() < LOOK_INTERVAL) {
            return care.is_large;
        }
        care.looked_at = Some(Instant::now());
        let mut bytes = file.log_bytes();
        if bytes > LOG_LIMIT {
            // A reader ends the attempt and not the wait.
            let cut = self.conn.busy_timeout(Duration::ZERO).and_then(|()| self.cut_log());
            let restored = self.conn.busy_timeout(file.busy);
            if let Err(error) = cut.and(restored) {
                tracing::debug!("{}", fault("write-ahead log", &error));
            }
            bytes = file.log_bytes();
        }
        metrics::DB_WAL.set(i64::try_from(bytes).unwrap_or(i64::MAX));
        care.is_large = bytes > LOG_LIMIT;
        care.is_large
    }

    fn close(self) -> Result<(), DbError> {
        // The last connection to close moves the log into the file and removes the log. Of two that
        // close at the same moment each would take the other for the last.
        let _turn = self.file.writing.lock();
        self.conn.close().map_err(|(_, error)| fault("close", &error))
    }
}

impl ToSql for Value<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(match self {
            Self::Number(number) => ToSqlOutput::from(*number),
            Self::Text(text) => ToSqlOutput::from(*text),
        })
    }
}

fn field(row: &Row<'_>, at: usize, kind: Kind) -> rusqlite::Result<Field> {
    Ok(match kind {
        Kind::Number | Kind::Small => row.get::<_, Option<i64>>(at)?.map_or(Field::Null, Field::Number),
        Kind::Text(_) => row.get::<_, Option<String>>(at)?.map_or(Field::Null, Field::Text),
    })
}

fn set_durability(conn: &Connection, durability: Durability) -> rusqlite::Result<()> {
    let level = match durability {
        Durability::PowerCut => "FULL",
        Durability::ProcessCrash => "NORMAL",
    };
    conn.pragma_update(None, "synchronous", level)
}

/// Opens a connection with the settings that all connections share. `path` is never read as a URI.
pub(super) fn connect(path: &Path, flags: OpenFlags, busy: Duration) -> Result<Connection, DbError> {
    let open = || {
        // A connection is used by one thread at a time, so SQLite needs no lock around each call.
        let conn = Connection::open_with_flags(path, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
        conn.busy_timeout(busy)?;
        conn.pragma_update(None, "foreign_keys", true)?;
        // The schema of a foreign file cannot call functions with side effects.
        conn.pragma_update(None, "trusted_schema", false)?;
        // A log that begins anew is cut to this size.
        conn.pragma_update(None, "journal_size_limit", LOG_LIMIT.cast_signed())?;
        Ok(conn)
    };
    open().map_err(|error| fault(&path.display().to_string(), &error))
}

/// Returns the recorded migrations by number. A new database has no record and returns an empty
/// list.
pub(super) fn recorded(conn: &Connection) -> rusqlite::Result<Vec<Recorded>> {
    let tables: u32 = conn.query_row(
        "SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name = 'schema_migrations'",
        (),
        |row| row.get(0),
    )?;
    if tables == 0 {
        return Ok(Vec::new());
    }
    conn.prepare("SELECT number, name, checksum, applied_ms FROM schema_migrations ORDER BY number")?
        .query_map((), |row| {
            let [number, name, checksum, applied] = [0, 1, 2, 3];
            Ok(Recorded {
                number: row.get(number)?,
                name: row.get(name)?,
                checksum: row.get(checksum)?,
                applied_ms: from_ms(row.get(applied)?),
            })
        })?
        .collect()
}

/// Converts an SQLite error to a typed fault.
pub(super) fn fault(place: &str, error: &rusqlite::Error) -> DbError {
    use rusqlite::Error as E;
    let kind = match error {
        E::SqliteFailure(ffi::Error { extended_code: ffi::SQLITE_READONLY_DBMOVED, .. }, _) => Fault::Lost,
        E::SqliteFailure(failure, _) => match failure.code {
            ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked | ErrorCode::FileLockingProtocolFailed => {
                Fault::Busy
            }
            ErrorCode::CannotOpen | ErrorCode::SystemIoFailure | ErrorCode::OutOfMemory => Fault::Lost,
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

/// Returns true if another connection has the database locked.
pub(super) fn is_busy(error: &rusqlite::Error) -> bool {
    fault("", error).fault == Fault::Busy
}

#[cfg(test)]
mod tests;
