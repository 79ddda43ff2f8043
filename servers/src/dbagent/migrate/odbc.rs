//! Migrations of a database server.
//!
//! Each migration is a transaction under a lock of the server: an advisory lock in PostgreSQL, an
//! application lock in SQL Server. Both locks end with the transaction.

use crate::dbagent::dialect::Dialect;
use crate::dbagent::odbc::{OdbcConnection, OdbcSource, Stored};
use crate::dbagent::procedures::{DbError, Fault, Procedures};
use crate::dbagent::query::{Kind, Value, to_ms};
use crate::dbagent::schema::{MigrateError, Migration, Recorded, Status, known, pending, status_of};

/// Applies the pending migrations as the owner of the schema. Returns the numbers applied, without
/// those that another process applied meanwhile.
pub fn migrate_odbc(source: &OdbcSource, now_ms: u64) -> Result<Vec<u32>, MigrateError> {
    migrate_with(known(source.dialect), source, now_ms)
}

/// Returns the applied and the pending migrations. Changes nothing. An agent's user may not see the
/// table of migrations and asks the procedure, which a database without all migrations lacks.
pub fn status_odbc(source: &OdbcSource) -> Result<Vec<Status>, MigrateError> {
    let mut stored = Stored::connect_unchecked(source)?;
    let recorded = match stored.migrations() {
        Err(error) if error.fault == Fault::Schema => recorded(stored.connection(), source.dialect)?,
        recorded => recorded?,
    };
    Box::new(stored).close()?;
    status_of(&source.place, known(source.dialect), &recorded)
}

/// Number of the lock. Any number that no other application uses will do.
const LOCK: &str = "8241990170530287";

fn migrate_with(known: &[Migration], source: &OdbcSource, now_ms: u64) -> Result<Vec<u32>, MigrateError> {
    let mut connection = OdbcConnection::open(source)?;
    // Creating a large index may take long, and so may the migration of another process.
    for statement in without_time_limits(source.dialect) {
        connection.run(PLACE, statement)?;
    }
    connection.set_autocommit(PLACE, false)?;
    let mut applied = Vec::new();
    while let Some(next) = apply_next(&mut connection, known, source, now_ms)? {
        applied.push(next);
    }
    connection.close()?;
    Ok(applied)
}

const PLACE: &str = "migrate";

/// Applies the first pending migration in a transaction. Returns `None` if none is pending.
fn apply_next(
    connection: &mut OdbcConnection,
    known: &[Migration],
    source: &OdbcSource,
    now_ms: u64,
) -> Result<Option<u32>, MigrateError> {
    let dialect = source.dialect;
    let result = (|| {
        for statement in preparations(dialect) {
            connection.run(PLACE, &statement)?;
        }
        let recorded = recorded(connection, dialect)?;
        let Some(next) = pending(&source.place, known, &recorded)?.first() else { return Ok(None) };
        apply(connection, dialect, next, now_ms).map_err(|error| MigrateError::Failed {
            number: next.number,
            name: next.name,
            source: error,
        })?;
        Ok(Some(next.number))
    })();
    let ended = match result {
        Ok(Some(_)) => connection.commit(PLACE),
        _ => connection.rollback(PLACE),
    };
    if result.is_ok() {
        ended?;
    }
    result
}

/// Statements that remove the time limits of a session.
fn without_time_limits(dialect: Dialect) -> &'static [&'static str] {
    match dialect {
        Dialect::Postgres => &["SET statement_timeout = 0", "SET lock_timeout = 0"],
        Dialect::MsSql => &["SET LOCK_TIMEOUT -1"],
    }
}

/// Statements that take the lock and create the record of migrations.
fn preparations(dialect: Dialect) -> Vec<String> {
    match dialect {
        Dialect::Postgres => vec![
            format!("DO $$ BEGIN PERFORM pg_advisory_xact_lock({LOCK}); END $$"),
            "CREATE SCHEMA IF NOT EXISTS throng".into(),
            "CREATE TABLE IF NOT EXISTS throng.schema_migrations (
                 number     integer     PRIMARY KEY,
                 name       varchar(64) NOT NULL,
                 checksum   varchar(64) NOT NULL,
                 applied_ms bigint      NOT NULL
             )"
            .into(),
        ],
        Dialect::MsSql => vec![
            format!(
                "DECLARE @locked INT; \
                 EXEC @locked = sp_getapplock @Resource = N'throng_{LOCK}', @LockMode = 'Exclusive', \
                 @LockOwner = 'Transaction', @LockTimeout = 60000; \
                 IF @locked < 0 THROW 50001, 'another process is migrating', 1"
            ),
            "IF OBJECT_ID('dbo.schema_migrations') IS NULL
             CREATE TABLE dbo.schema_migrations (
                 number     INT          NOT NULL PRIMARY KEY,
                 name       NVARCHAR(64) NOT NULL,
                 checksum   NVARCHAR(64) NOT NULL,
                 applied_ms BIGINT       NOT NULL
             )"
            .into(),
        ],
    }
}

/// Returns the recorded migrations. A new database has no record and returns an empty list.
fn recorded(connection: &mut OdbcConnection, dialect: Dialect) -> Result<Vec<Recorded>, DbError> {
    // Both engines have the standard's information schema.
    let text = "SELECT COUNT(*) FROM INFORMATION_SCHEMA.TABLES WHERE TABLE_SCHEMA = ? AND TABLE_NAME = ?";
    let names = [dialect.schema(), "schema_migrations"].map(|name| (Value::Text(name), Kind::Text(64)));
    let count = connection.rows("schema_migrations", text, names.into_iter(), &[Kind::Number])?;
    if count.first().map_or(Ok(0), |row| row.number(0))? == 0 {
        return Ok(Vec::new());
    }
    let text = format!(
        "SELECT number, name, checksum, applied_ms FROM {}.schema_migrations ORDER BY number",
        dialect.schema()
    );
    let columns = [Kind::Small, Kind::Text(64), Kind::Text(64), Kind::Number];
    let rows = connection.rows("schema_migrations", &text, std::iter::empty(), &columns)?;
    rows.iter().map(Recorded::read).collect::<Result<_, _>>()
}

fn apply(
    connection: &mut OdbcConnection,
    dialect: Dialect,
    migration: &Migration,
    now_ms: u64,
) -> Result<(), DbError> {
    for batch in batches(migration.sql) {
        connection.run(PLACE, &batch)?;
    }
    let text = format!(
        "INSERT INTO {}.schema_migrations (number, name, checksum, applied_ms) VALUES (?, ?, ?, ?)",
        dialect.schema()
    );
    let checksum = migration.checksum();
    let values = [
        (Value::Number(i64::from(migration.number)), Kind::Small),
        (Value::Text(migration.name), Kind::Text(64)),
        (Value::Text(&checksum), Kind::Text(64)),
        (Value::Number(to_ms(now_ms)), Kind::Number),
    ];
    connection.rows("schema_migrations", &text, values.into_iter(), &[]).map(|_| ())
}

/// Splits a file into batches at lines `GO`. PostgreSQL's files have no such line.
fn batches(sql: &str) -> Vec<String> {
    let lines: Vec<&str> = sql.lines().collect();
    let batches = lines.split(|line| line.trim().eq_ignore_ascii_case("GO"));
    let has_statement = |batch: &String| {
        batch.lines().any(|line| !line.trim().is_empty() && !line.trim_start().starts_with("--"))
    };
    batches.map(|batch| batch.join("\n")).filter(has_statement).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_end_with_go() {
        let sql =
            "-- a comment\nCREATE TABLE a (x INT);\nGO\n\n  go \n-- nothing\nGO\nSELECT 1 AS GO\nFROM a;\n";
        assert_eq!(batches(sql), ["-- a comment\nCREATE TABLE a (x INT);", "SELECT 1 AS GO\nFROM a;"]);
    }
}
