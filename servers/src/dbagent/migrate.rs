//! Numbered migrations: which there are, which a database has had, and applying the rest.
//!
//! A migration is a file `sql/<dialect>/NNN_name.sql`, compiled in. Once released it is
//! never edited: a database remembers its checksum, and a program
//! whose files differ refuses to touch it.

use std::fmt;
use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use rusqlite::{Connection, OpenFlags, TransactionBehavior};
use sha2::{Digest, Sha256};
use thiserror::Error;
use throng_core::clock;

use super::procedures::{DbError, Fault};
use super::query::{from_ms, to_ms};
use super::sqlite;

/// One step of a schema.
#[derive(Debug, Clone, Copy)]
pub struct Migration {
    /// Its place in the order, from 1 without gaps.
    pub number: u32,
    /// What it is about.
    pub name: &'static str,
    /// The statements.
    pub sql: &'static str,
}

impl Migration {
    /// SHA-256 of the statements, in hexadecimal. A checkout with CRLF has the same.
    pub fn checksum(&self) -> String {
        hex::encode(Sha256::digest(self.sql.replace("\r\n", "\n")))
    }
}

/// SQLite's schema.
pub const SQLITE: &[Migration] = &[
    Migration { number: 1, name: "accounts", sql: include_str!("../../../sql/sqlite/001_accounts.sql") },
    Migration { number: 2, name: "online", sql: include_str!("../../../sql/sqlite/002_online.sql") },
    Migration { number: 3, name: "agents", sql: include_str!("../../../sql/sqlite/003_agents.sql") },
];

/// A migration that a database has had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recorded {
    /// Its number.
    pub number: u32,
    /// Its name then.
    pub name: String,
    /// Its checksum then.
    pub checksum: String,
    /// When it was applied, in milliseconds since 1970 (UTC).
    pub applied_ms: u64,
}

/// One row of `throng db status`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// The migration's number.
    pub number: u32,
    /// Its name.
    pub name: &'static str,
    /// When it was applied, in milliseconds since 1970 (UTC); `None` while it is pending.
    pub applied_ms: Option<u64>,
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let when = self.applied_ms.map_or_else(|| "pending".into(), clock::utc_text);
        write!(f, "{:03} {:<12} {when}", self.number, self.name)
    }
}

/// Why a schema was left as it is.
#[derive(Debug, Error)]
pub enum MigrateError {
    /// There is no database.
    #[error("there is no database at {place}: make one with `throng db migrate`")]
    Missing {
        /// Where it was looked for.
        place: String,
    },
    /// The database has migrations that this program does not know.
    #[error(
        "the schema of {place} is newer than this program: it has migration {found}, the newest one known \
         here is {known}. Run the version of throng that made it, or a later one"
    )]
    Newer {
        /// The database.
        place: String,
        /// The newest migration it has had.
        found: u32,
        /// The newest one compiled in.
        known: u32,
    },
    /// A migration was changed after it had been applied.
    #[error(
        "migration {number} ({name}) of {place} is not the one in this program: its file was edited after it was \
         applied. Restore the file, and make the change in a migration of its own"
    )]
    Edited {
        /// The database.
        place: String,
        /// The migration.
        number: u32,
        /// Its name in the database.
        name: String,
    },
    /// A migration is missing among those recorded.
    #[error(
        "the record of {place} is broken: migration {number} is missing though later ones are there. \
         Restore the table `schema_migrations` from a backup"
    )]
    Gap {
        /// The database.
        place: String,
        /// The migration that is missing.
        number: u32,
    },
    /// A migration failed; the database is as it was before it.
    #[error("migration {number} ({name}) failed and was rolled back: {source}")]
    Failed {
        /// The migration.
        number: u32,
        /// Its name.
        name: &'static str,
        /// What the database says.
        source: DbError,
    },
    /// The database could not be used.
    #[error(transparent)]
    Database(#[from] DbError),
}

/// What of `known` has still to be applied to a database with this record, in ascending order of numbers.
pub fn pending<'m>(
    place: &str,
    known: &'m [Migration],
    recorded: &[Recorded],
) -> Result<&'m [Migration], MigrateError> {
    let newest = |number: Option<u32>| number.unwrap_or(0);
    let (found, here) = (newest(recorded.last().map(|r| r.number)), newest(known.last().map(|m| m.number)));
    if found > here {
        return Err(MigrateError::Newer { place: place.into(), found, known: here });
    }
    for (migration, was) in known.iter().zip(recorded) {
        if was.number != migration.number {
            return Err(MigrateError::Gap { place: place.into(), number: migration.number });
        }
        if was.checksum != migration.checksum() {
            let name = was.name.clone();
            return Err(MigrateError::Edited { place: place.into(), number: was.number, name });
        }
    }
    Ok(known.get(recorded.len()..).unwrap_or_default())
}

/// The rows of `throng db status` for a database with this record.
pub fn status_of(
    place: &str,
    known: &[Migration],
    recorded: &[Recorded],
) -> Result<Vec<Status>, MigrateError> {
    pending(place, known, recorded)?;
    let row = |(at, migration): (usize, &Migration)| Status {
        number: migration.number,
        name: migration.name,
        applied_ms: recorded.get(at).map(|r| r.applied_ms),
    };
    Ok(known.iter().enumerate().map(row).collect())
}

/// Makes the SQLite database at `path` if there is none, readable by its owner only, and applies what is
/// pending. Returns the numbers applied; none if another process did it meanwhile.
pub fn migrate_sqlite(path: &Path, busy: Duration, now_ms: u64) -> Result<Vec<u32>, MigrateError> {
    migrate_sqlite_with(SQLITE, path, busy, now_ms)
}

/// What the SQLite database at `path` has had, and what is pending. Changes nothing.
pub fn status_sqlite(path: &Path, busy: Duration) -> Result<Vec<Status>, MigrateError> {
    let place = path.display().to_string();
    if !path.exists() {
        return Err(MigrateError::Missing { place });
    }
    let conn = sqlite::connect(path, OpenFlags::SQLITE_OPEN_READ_ONLY, busy)?;
    let recorded = recorded(&conn).map_err(|error| sqlite::fault(&place, &error))?;
    status_of(&place, SQLITE, &recorded)
}

fn migrate_sqlite_with(
    known: &[Migration],
    path: &Path,
    busy: Duration,
    now_ms: u64,
) -> Result<Vec<u32>, MigrateError> {
    let place = path.display().to_string();
    let failed = |error: &rusqlite::Error| sqlite::fault(&place, error);
    create_private(path).map_err(|error| DbError::new(Fault::Lost, &place, error))?;
    let mut conn = sqlite::connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE, busy)?;
    use_write_ahead_log(&conn, busy).map_err(|error| failed(&error))?;
    let mut applied = Vec::new();
    loop {
        // The write lock comes first, so that two processes cannot both find the same one pending.
        let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate).map_err(|e| failed(&e))?;
        let recorded = recorded(&tx).map_err(|error| failed(&error))?;
        let Some(next) = pending(&place, known, &recorded)?.first() else { break };
        apply(&tx, next, now_ms).and_then(|()| tx.commit()).map_err(|error| MigrateError::Failed {
            number: next.number,
            name: next.name,
            source: failed(&error),
        })?;
        applied.push(next.number);
    }
    conn.close().map_err(|(_, error)| failed(&error))?;
    Ok(applied)
}

fn apply(conn: &Connection, migration: &Migration, now_ms: u64) -> rusqlite::Result<()> {
    conn.execute_batch(
        "CREATE TABLE IF NOT EXISTS schema_migrations (
            number     INTEGER PRIMARY KEY,
            name       TEXT    NOT NULL,
            checksum   TEXT    NOT NULL,
            applied_ms INTEGER NOT NULL
        ) STRICT;",
    )?;
    conn.execute_batch(migration.sql)?;
    conn.execute(
        "INSERT INTO schema_migrations (number, name, checksum, applied_ms) VALUES (?1, ?2, ?3, ?4)",
        (migration.number, migration.name, migration.checksum(), to_ms(now_ms)),
    )?;
    Ok(())
}

/// The migrations that a database has had, by number. A new database has no record, which is an empty one.
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

/// SQLite would make the file readable for everybody, and there are password hashes in it. Its
/// log and its index take the file's mode.
fn create_private(path: &Path) -> io::Result<()> {
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}

/// The change to a write-ahead log stays with the file. While another process makes it, SQLite
/// says "busy" without the usual waiting.
fn use_write_ahead_log(conn: &Connection, busy: Duration) -> rusqlite::Result<()> {
    let give_up = Instant::now() + busy;
    loop {
        match conn.pragma_update_and_check(None, "journal_mode", "wal", |_| Ok(())) {
            Err(error) if sqlite::is_busy(&error) && Instant::now() < give_up => {
                std::thread::sleep(Duration::from_millis(5));
            }
            result => return result,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    const BUSY: Duration = Duration::from_secs(10);
    const ONE: Migration = Migration { number: 1, name: "one", sql: "CREATE TABLE one (x INTEGER) STRICT;" };
    const TWO: Migration = Migration { number: 2, name: "two", sql: "CREATE TABLE two (x INTEGER) STRICT;" };

    fn database() -> (tempfile::TempDir, std::path::PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("throng.db");
        (dir, path)
    }

    #[test]
    fn migrations_are_applied_in_order_and_once() {
        let (_dir, path) = database();
        assert!(matches!(status_sqlite(&path, BUSY), Err(MigrateError::Missing { .. })));
        assert_eq!(migrate_sqlite(&path, BUSY, 1000).unwrap(), [1, 2, 3]);
        assert_eq!(migrate_sqlite(&path, BUSY, 2000).unwrap(), [0_u32; 0]);
        let status = status_sqlite(&path, BUSY).unwrap();
        assert_eq!(status[0], Status { number: 1, name: "accounts", applied_ms: Some(1000) });
        assert_eq!(status.len(), SQLITE.len());
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn numbers_follow_file_names_without_gaps() {
        let files = Path::new(env!("CARGO_MANIFEST_DIR")).join("../sql/sqlite");
        let mut names: Vec<_> =
            fs::read_dir(files).unwrap().map(|f| f.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        let known: Vec<_> = SQLITE.iter().map(|m| format!("{:03}_{}.sql", m.number, m.name)).collect();
        assert_eq!(names, known);
        assert!(SQLITE.iter().zip(1..).all(|(migration, number)| migration.number == number));
    }

    #[test]
    fn what_was_added_later_is_pending_until_it_is_applied() {
        let (_dir, path) = database();
        assert_eq!(migrate_sqlite_with(&[ONE], &path, BUSY, 1).unwrap(), [1]);
        let conn = sqlite::connect(&path, OpenFlags::SQLITE_OPEN_READ_ONLY, BUSY).unwrap();
        let rows = status_of("x", &[ONE, TWO], &recorded(&conn).unwrap()).unwrap();
        assert_eq!(rows.iter().map(|row| row.applied_ms).collect::<Vec<_>>(), [Some(1), None]);
        assert_eq!(migrate_sqlite_with(&[ONE, TWO], &path, BUSY, 2).unwrap(), [2]);
    }

    #[test]
    fn newer_edited_and_broken_records_are_refused() {
        let (_dir, path) = database();
        migrate_sqlite_with(&[ONE, TWO], &path, BUSY, 1).unwrap();
        let check = |known: &[Migration], wanted: &str| {
            let message = migrate_sqlite_with(known, &path, BUSY, 2).unwrap_err().to_string();
            assert!(message.contains(wanted), "{message}");
        };
        check(&[ONE], "newer than this program: it has migration 2");
        let edited = Migration { sql: "CREATE TABLE one (y INTEGER) STRICT;", ..ONE };
        check(&[edited, TWO], "migration 1 (one)");
        Connection::open(&path)
            .unwrap()
            .execute("DELETE FROM schema_migrations WHERE number = 1", ())
            .unwrap();
        check(&[ONE, TWO], "migration 1 is missing");
    }

    #[test]
    fn a_failing_migration_leaves_nothing_behind() {
        let (_dir, path) = database();
        let bad = Migration { sql: "CREATE TABLE two (x INTEGER) STRICT; NONSENSE;", ..TWO };
        let message = migrate_sqlite_with(&[ONE, bad], &path, BUSY, 1).unwrap_err().to_string();
        assert!(message.starts_with("migration 2 (two) failed and was rolled back"), "{message}");
        assert_eq!(migrate_sqlite_with(&[ONE, TWO], &path, BUSY, 1).unwrap(), [2]);
    }

    #[test]
    fn any_number_of_processes_may_migrate_at_once() {
        let (_dir, path) = database();
        let applied: usize = std::thread::scope(|scope| {
            let threads: Vec<_> =
                (0..8).map(|_| scope.spawn(|| migrate_sqlite(&path, BUSY, 1).unwrap().len())).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert_eq!(applied, SQLITE.len());
    }

    #[test]
    fn line_ends_do_not_change_a_checksum() {
        let crlf = Migration { sql: "SELECT 1;\r\nSELECT 2;\r\n", ..ONE };
        assert_eq!(crlf.checksum(), Migration { sql: "SELECT 1;\nSELECT 2;\n", ..ONE }.checksum());
    }
}
