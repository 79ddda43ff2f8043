//! `throng db check`: whether the database is fit to be served from, and what is missing.

use std::io;
use std::sync::Arc;
use std::time::Instant;

use thiserror::Error;
use throng_core::config::Config;

use super::Print;
use crate::dbagent::database::Database;
use crate::dbagent::migrate::Status;
use crate::dbagent::odbc::{OdbcSource, Stored};
use crate::dbagent::procedures::{DbError, Fault, Procedures};
use crate::dbagent::query::{Kind, Procedure, Value, procedures};
use crate::dbagent::sqlite::{SqliteFile, Statements};
use crate::dbagent::suite::suite;

/// The check could not be made.
#[derive(Debug, Error)]
pub enum CheckError {
    /// Standard output is gone.
    #[error("cannot write to standard output: {0}")]
    Output(#[from] io::Error),
}

/// Prints what is checked and how it went. False: something is missing.
pub(super) fn run(config: &Config, full: bool, print: &mut Print<'_>) -> Result<bool, CheckError> {
    let mut report = Report { print, is_well: true };
    report.check(config, full)?;
    Ok(report.is_well)
}

struct Report<'a, 'p> {
    print: &'a mut Print<'p>,
    is_well: bool,
}

impl Report<'_, '_> {
    fn check(&mut self, config: &Config, full: bool) -> io::Result<()> {
        let Some(database) = self.line("settings", Database::of(config), Database::place)? else {
            return Ok(());
        };
        let is_ready = match &database {
            Database::Sqlite(file) => self.line("schema", file.connect(), |_| newest(&database))?.is_some(),
            Database::Odbc(source) => self.server(source)?,
        };
        if !is_ready || !full {
            return Ok(());
        }
        // Dozens connect at once in these checks: a small server may take longer for that than players may wait.
        let database = match database {
            Database::Odbc(source) => Database::Odbc(Arc::new(source.with_long_timeouts())),
            sqlite @ Database::Sqlite(_) => sqlite,
        };
        let emptier = Emptier(&database);
        if self
            .line("empty", emptier.is_empty(), |()| "there are no accounts, and nobody is online".into())?
            .is_none()
        {
            return Ok(());
        }
        let began = Instant::now();
        let checks = suite(&|| database.connect());
        let told = |checks: &usize| format!("{checks} checks of the procedures in {:.1?}", began.elapsed());
        self.line("full", checks, told)?;
        self.line("emptied", emptier.empty(), |()| "what the checks made is removed".into())?;
        Ok(())
    }

    /// A database server. True: it is fit to be served from.
    fn server(&mut self, source: &OdbcSource) -> io::Result<bool> {
        let began = Instant::now();
        let connected = Stored::connect_unchecked(source).and_then(|mut stored| {
            let product = stored.connection().product("connection")?;
            Ok((stored, product))
        });
        let told =
            |(_, product): &(Stored, String)| format!("{product}, connected in {:.1?}", began.elapsed());
        let Some((mut stored, _)) = self.line("connection", connected, told)? else { return Ok(false) };
        let mut is_ready = true;
        for procedure in procedures::ALL {
            let tried = try_out(&mut stored, procedure);
            let is_lost = tried.as_ref().is_err_and(|error| error.fault.breaks_connection());
            is_ready &= self.line(procedure.name, tried, |()| "may be executed".into())?.is_some();
            if is_lost {
                return Ok(false);
            }
        }
        let schema = Stored::connect(source);
        let newest = || newest(&Database::Odbc(Arc::new(source.clone())));
        Ok(self.line("schema", schema, |_| newest())?.is_some() && is_ready)
    }

    /// A line of the report; what there is, if it is there.
    fn line<T, E: std::fmt::Display>(
        &mut self,
        what: &str,
        result: Result<T, E>,
        told: impl FnOnce(&T) -> String,
    ) -> io::Result<Option<T>> {
        Ok(match result {
            Ok(value) => {
                (self.print)(&format!("ok    {what:<22} {}\n", told(&value)))?;
                Some(value)
            }
            Err(error) => {
                self.is_well = false;
                (self.print)(&format!("WRONG {what:<22} {error}\n"))?;
                None
            }
        })
    }
}

/// The newest migration that the database has had; it has had all.
fn newest(database: &Database) -> String {
    let text = |status: &Status| format!("migration {:03} ({}) is the newest", status.number, status.name);
    // An agent's user cannot read the table itself, and need not.
    let rows = database.status().unwrap_or_default();
    rows.last().map_or_else(|| "all migrations have been applied".into(), text)
}

/// Executes a procedure, and undoes it.
fn try_out(stored: &mut Stored, procedure: &'static Procedure) -> Result<(), DbError> {
    let name = procedure.name;
    stored.connection().set_autocommit(name, false)?;
    let called = stored.call(procedure, &arguments(procedure, &format!("check-{:x}", rand::random::<u32>())));
    let undone = stored.connection().rollback(name);
    stored.connection().set_autocommit(name, true)?;
    called.map(|_| ()).and(undone)
}

/// Arguments that no other row has anything to do with.
fn arguments<'t>(procedure: &Procedure, text: &'t str) -> Vec<Value<'t>> {
    let value = |(name, kind): &(&str, Kind)| match (*name, kind) {
        // A page of a list without a claim in it.
        ("claims", _) => Value::Text(""),
        (_, Kind::Text(_)) => Value::Text(text),
        (_, Kind::Small) => Value::Number(0),
        (_, Kind::Number) => Value::Number(rand::random::<i64>() | 1),
    };
    procedure.parameters.iter().map(value).collect()
}

/// Looks whether a database is empty, and empties it: as its owner, by plain statements.
struct Emptier<'a>(&'a Database);

/// In an order that foreign keys allow.
const TABLES: [&str; 6] = ["characters", "accounts", "online", "leases", "holders", "listed"];

impl Emptier<'_> {
    fn is_empty(&self) -> Result<(), DbError> {
        let is_empty = match self.0 {
            Database::Sqlite(file) => is_empty_sqlite(file)?,
            Database::Odbc(source) => {
                let mut stored = Stored::connect(source).map_err(as_owner)?;
                let mut rows = 0;
                for table in TABLES {
                    let text = format!("SELECT COUNT(*) FROM {}.{table}", source.dialect.schema());
                    let connection = stored.connection();
                    let counted = connection.rows("full check", &text, std::iter::empty(), &[Kind::Number]);
                    let counted = counted.map_err(as_owner)?;
                    rows += counted.first().map_or(Ok(0), |row| row.number(0))?;
                }
                rows == 0
            }
        };
        if is_empty {
            return Ok(());
        }
        let why = "it is not empty, and the full check would remove what is in it. Use a database of its own";
        Err(DbError::new(Fault::Refused, self.0.place(), why))
    }

    fn empty(&self) -> Result<(), DbError> {
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

/// The error of somebody who may only execute procedures says who may do more.
fn as_owner(error: DbError) -> DbError {
    if error.fault == Fault::Denied {
        let detail = format!("{}. The full check is for the owner of the schema", error.detail);
        return DbError { detail, ..error };
    }
    error
}
