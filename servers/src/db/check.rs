//! `throng db check`: checks that the database can be served from, and reports what is missing.

use std::io;
use std::sync::Arc;
use std::time::Instant;

use thiserror::Error;
use throng_core::config::Config;

use super::output::Print;
use crate::dbagent::database::Database;
use crate::dbagent::migrate::Status;
use crate::dbagent::odbc::{Dialect, OdbcSource, Stored};
use crate::dbagent::procedures::{DbError, Fault, Procedures};
use crate::dbagent::query::{Kind, Procedure, Value, procedures};
use crate::dbagent::sqlite::{SqliteFile, Statements};
use crate::dbagent::suite::suite;

/// Error of `throng db check`.
#[derive(Debug, Error)]
pub enum CheckError {
    /// Standard output cannot be written.
    #[error("cannot write to standard output: {0}")]
    Output(#[from] io::Error),
}

/// Reason why the full check does not run.
#[derive(Debug, Error)]
enum EmptyError {
    /// The database is in use.
    #[error(
        "{0} has rows, and the full check would delete them. Run it on a database of its own, or \
         `throng db check` without --full, which changes nothing"
    )]
    NotEmpty(String),
    /// The database cannot be read.
    #[error(transparent)]
    Database(#[from] DbError),
}

/// Prints a line for each check. Returns false if a check failed.
pub(super) fn run(config: &Config, full: bool, print: &mut Print<'_>) -> Result<bool, CheckError> {
    let mut report = Report { print, is_ok: true };
    report.check(config, full)?;
    Ok(report.is_ok)
}

struct Report<'a, 'p> {
    print: &'a mut Print<'p>,
    is_ok: bool,
}

impl Report<'_, '_> {
    fn check(&mut self, config: &Config, full: bool) -> io::Result<()> {
        let Some(database) = self.line("settings", Database::of(config), Database::place)? else {
            return Ok(());
        };
        let is_ready = match &database {
            Database::Sqlite(file) => {
                self.line("schema", file.connect(), |_| newest(&database))?.is_some() && self.pages(file)?
            }
            Database::Odbc(source) => self.server(source)?,
        };
        if !is_ready || !full {
            return Ok(());
        }
        // These checks open dozens of connections at once, for which a small server may take longer
        // than a player would wait.
        let database = match database {
            Database::Odbc(source) => Database::Odbc(Arc::new(source.with_long_timeouts())),
            sqlite @ Database::Sqlite(_) => sqlite,
        };
        let contents = Contents(&database);
        if self
            .line("empty", contents.require_empty(), |()| {
                "there are no accounts, and no player is online".into()
            })?
            .is_none()
        {
            return Ok(());
        }
        let start = Instant::now();
        let checks = suite(&|| database.connect());
        let describe =
            |checks: &usize| format!("{checks} checks of the procedures in {:.1?}", start.elapsed());
        self.line("full", checks, describe)?;
        self.line("emptied", contents.delete(), |()| "the rows of the checks are deleted".into())?;
        Ok(())
    }

    /// Checks a database server. Returns true if it can be served from.
    fn server(&mut self, source: &OdbcSource) -> io::Result<bool> {
        let start = Instant::now();
        let connected = Stored::connect_unchecked(source).and_then(|mut stored| {
            let product = stored.connection().product("connection")?;
            Ok((stored, product))
        });
        let describe =
            |(_, product): &(Stored, String)| format!("{product}, connected in {:.1?}", start.elapsed());
        let Some((mut stored, _)) = self.line("connection", connected, describe)? else { return Ok(false) };
        let mut is_ready = true;
        for procedure in procedures::ALL {
            let tried = try_procedure(&mut stored, procedure);
            let is_lost = tried.as_ref().is_err_and(|error| error.fault.breaks_connection());
            is_ready &= self.line(procedure.name, tried, |()| "may be executed".into())?.is_some();
            if is_lost {
                return Ok(false);
            }
        }
        let schema = Stored::connect(source);
        let newest = || newest(&Database::Odbc(Arc::new(source.clone())));
        is_ready &= self.line("schema", schema, |_| newest())?.is_some();
        if is_ready {
            is_ready = self.line("rows", read_rows(source), Clone::clone)?.is_some();
        }
        Ok(is_ready)
    }

    /// Looks at every page of an SQLite file. Returns true if none is damaged.
    fn pages(&mut self, file: &SqliteFile) -> io::Result<bool> {
        let start = Instant::now();
        let describe = |bytes: &u64| {
            format!("{:.1} MiB are sound, read in {:.1?}", *bytes as f64 / 1_048_576.0, start.elapsed())
        };
        Ok(self.line("pages", file.check_pages(), describe)?.is_some())
    }

    /// Prints a line of the report. Returns the value if there is one.
    fn line<T, E: std::fmt::Display>(
        &mut self,
        check: &str,
        result: Result<T, E>,
        describe: impl FnOnce(&T) -> String,
    ) -> io::Result<Option<T>> {
        Ok(match result {
            Ok(value) => {
                (self.print)(&format!("ok    {check:<22} {}\n", describe(&value)))?;
                Some(value)
            }
            Err(error) => {
                self.is_ok = false;
                (self.print)(&format!("WRONG {check:<22} {error}\n"))?;
                None
            }
        })
    }
}

/// Describes the newest migration of a database that has all of them.
fn newest(database: &Database) -> String {
    let text = |status: &Status| format!("migration {:03} ({}) is the newest", status.number, status.name);
    let rows = database.status().unwrap_or_default();
    rows.last().map_or_else(|| "all migrations have been applied".into(), text)
}

/// Reads every row of a server's tables, which finds pages that cannot be read. Returns what was
/// read.
fn read_rows(source: &OdbcSource) -> Result<String, DbError> {
    let check = match source.dialect {
        Dialect::Postgres => "pg_amcheck --heapallindexed",
        Dialect::MsSql => "DBCC CHECKDB",
    };
    let mut stored = Stored::connect(&source.with_long_timeouts())?;
    match count_rows(&mut stored, source.dialect) {
        Ok(rows) => Ok(format!("{rows} can be read; damage inside of rows is for {check} to find")),
        // An agent's user may not read the tables.
        Err(error) if error.fault == Fault::Denied => {
            Ok(format!("only the owner may read them; {check} finds damaged pages"))
        }
        Err(error) => Err(error),
    }
}

/// Counts the rows of all tables.
fn count_rows(stored: &mut Stored, dialect: Dialect) -> Result<i64, DbError> {
    let mut rows = 0;
    for table in TABLES {
        let text = format!("SELECT COUNT(*) FROM {}.{table}", dialect.schema());
        let counted = stored.connection().rows("check", &text, std::iter::empty(), &[Kind::Number])?;
        rows += counted.first().map_or(Ok(0), |row| row.number(0))?;
    }
    Ok(rows)
}

/// Calls a procedure and rolls it back.
fn try_procedure(stored: &mut Stored, procedure: &'static Procedure) -> Result<(), DbError> {
    let name = procedure.name;
    stored.connection().set_autocommit(name, false)?;
    let result = stored.call(procedure, &arguments(procedure, &format!("check-{:x}", rand::random::<u32>())));
    let rolled_back = stored.connection().rollback(name);
    stored.connection().set_autocommit(name, true)?;
    result.map(|_| ()).and(rolled_back)
}

/// Returns arguments that match no row.
fn arguments<'t>(procedure: &Procedure, text: &'t str) -> Vec<Value<'t>> {
    let value = |(name, kind): &(&str, Kind)| match (*name, kind) {
        // A page without claims.
        ("claims", _) => Value::Text(""),
        (_, Kind::Text(_)) => Value::Text(text),
        (_, Kind::Small) => Value::Number(0),
        (_, Kind::Number) => Value::Number(rand::random::<i64>() | 1),
    };
    procedure.parameters.iter().map(value).collect()
}

/// Contents of a database, counted and deleted by plain statements as its owner.
struct Contents<'a>(&'a Database);

/// Tables in an order that foreign keys permit to delete in.
const TABLES: [&str; 6] = ["characters", "accounts", "online", "leases", "holders", "listed"];

impl Contents<'_> {
    fn require_empty(&self) -> Result<(), EmptyError> {
        let is_empty = match self.0 {
            Database::Sqlite(file) => is_empty_sqlite(file)?,
            Database::Odbc(source) => {
                let mut stored = Stored::connect(source).map_err(with_owner_hint)?;
                count_rows(&mut stored, source.dialect).map_err(with_owner_hint)? == 0
            }
        };
        if is_empty { Ok(()) } else { Err(EmptyError::NotEmpty(self.0.place())) }
    }

    fn delete(&self) -> Result<(), DbError> {
        match self.0 {
            Database::Sqlite(file) => {
                let mut sqlite = file.connect()?;
                for statement in [
                    "DELETE FROM characters",
                    "DELETE FROM accounts",
                    "DELETE FROM online",
                    "DELETE FROM leases",
                    "DELETE FROM holders",
                ] {
                    sqlite.0.execute(statement, &[])?;
                }
                Box::new(sqlite).close()
            }
            Database::Odbc(source) => {
                let mut stored = Stored::connect(source)?;
                for table in TABLES {
                    let statement = format!("DELETE FROM {}.{table}", source.dialect.schema());
                    stored.connection().run("full check", &statement)?;
                }
                Box::new(stored).close()
            }
        }
    }
}

fn is_empty_sqlite(file: &Arc<SqliteFile>) -> Result<bool, DbError> {
    let sql = "SELECT 1 FROM (SELECT 1 FROM accounts UNION ALL SELECT 1 FROM online UNION ALL SELECT 1 FROM leases)";
    Ok(!file.connect()?.0.exists(sql, &[])?)
}

/// Adds to the error of a user without permission that the check needs the owner.
fn with_owner_hint(error: DbError) -> DbError {
    if error.fault == Fault::Denied {
        let detail = format!("{}. The full check is for the owner of the schema", error.detail);
        return DbError { detail, ..error };
    }
    error
}
