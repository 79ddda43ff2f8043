//! Migrations of an SQLite file.

use std::fs::{DirBuilder, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;
use std::time::{Duration, Instant};

use rusqlite::{Connection, OpenFlags, TransactionBehavior};

use crate::dbagent::procedures::{DbError, Fault};
use crate::dbagent::query::to_ms;
use crate::dbagent::schema::{MigrateError, Migration, SQLITE, Status, pending, status_of};
use crate::dbagent::sqlite::{self, recorded};

/// Creates the database at `path` if it does not exist, readable by its owner only, and applies the
/// pending migrations. Returns the numbers applied, without those that another process applied
/// meanwhile.
pub fn migrate_sqlite(path: &Path, busy: Duration, now_ms: u64) -> Result<Vec<u32>, MigrateError> {
    migrate_sqlite_with(SQLITE, path, busy, now_ms)
}

/// Returns the applied and the pending migrations of the database at `path`. Changes nothing.
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
        // The write lock comes first, so that two processes do not find the same migration pending.
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

/// Creates the file for its owner only: SQLite would make it readable for all users, and it
/// contains password hashes. The write-ahead log and its index inherit the file's mode.
fn create_private(path: &Path) -> io::Result<()> {
    if let Some(parent) = path.parent() {
        DirBuilder::new().recursive(true).mode(0o700).create(parent)?;
    }
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}

/// Switches the file to a write-ahead log, permanently. While another process does so, SQLite
/// returns "busy" without its usual waiting.
fn use_write_ahead_log(conn: &Connection, busy: Duration) -> rusqlite::Result<()> {
    let deadline = Instant::now() + busy;
    loop {
        match conn.pragma_update_and_check(None, "journal_mode", "wal", |_| Ok(())) {
            Err(error) if sqlite::is_busy(&error) && Instant::now() < deadline => {
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

    const BUSY: Duration = Duration::from_mins(1);
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
    fn a_new_migration_is_pending_until_applied() {
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
}
