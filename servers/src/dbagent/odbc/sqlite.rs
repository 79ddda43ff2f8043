//! SQLite through its ODBC driver, with the statements of the embedded SQLite. Tests use it to hold
//! the ODBC layer against a second driver.

use std::path::Path;
use std::time::Duration;

use super::connection::OdbcConnection;
use super::driver::{Places, find_driver};
use crate::dbagent::procedures::{DbError, Fault};
use crate::dbagent::query::{Kind, QueryRecord, Value};
use crate::dbagent::sqlite::{Durability, SqliteProcedures, Statements};

/// Connection to an SQLite file through its ODBC driver.
#[derive(Debug)]
pub struct SqliteDriver {
    connection: OdbcConnection,
    place: &'static str,
}

/// Opens the file at `path` through SQLite's ODBC driver. The file must have all migrations. A
/// statement waits up to `busy` for other writers.
pub fn connect_sqlite(path: &Path, busy: Duration) -> Result<SqliteProcedures<SqliteDriver>, DbError> {
    let place = path.display().to_string();
    let driver = find_driver(&["SQLite3"], &Places::of_system(), "Install it (Debian: libsqliteodbc)")
        .map_err(|error| DbError::new(Fault::Driver, &place, error))?;
    let string = format!(
        "Driver={};Database={place};Timeout={};FKSupport=1;SyncPragma=FULL",
        driver.display(),
        busy.as_millis()
    );
    let connection = OdbcConnection::connect(&place, &string, busy)?;
    Ok(SqliteProcedures(SqliteDriver { connection, place: "SQLite" }))
}

/// Pairs each value with the type that its variant implies.
fn bindings<'v>(arguments: &[Value<'v>]) -> impl Iterator<Item = (Value<'v>, Kind)> {
    arguments.iter().map(|value| match value {
        Value::Number(_) => (*value, Kind::Number),
        Value::Text(_) => (*value, Kind::Text(255)),
    })
}

impl Statements for SqliteDriver {
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
        self.connection.rows(self.place, sql, bindings(arguments), columns)
    }

    fn execute(&mut self, sql: &'static str, arguments: &[Value<'_>]) -> Result<usize, DbError> {
        self.connection.execute(self.place, sql, bindings(arguments))
    }

    fn write<T>(
        &mut self,
        procedure: &'static str,
        _: Durability,
        body: impl FnOnce(&mut Self) -> Result<T, DbError>,
    ) -> Result<T, DbError> {
        self.at(procedure).connection.run(procedure, "BEGIN IMMEDIATE")?;
        let result = body(self).and_then(|value| {
            self.connection.run(procedure, "COMMIT")?;
            Ok(value)
        });
        if result.is_err() {
            // The first error is the one to report, and some errors have rolled back by themselves.
            let _ = self.connection.run(procedure, "ROLLBACK");
        }
        result
    }

    fn close(self) -> Result<(), DbError> {
        self.connection.close()
    }
}
