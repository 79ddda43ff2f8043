//! An ODBC connection: statements are prepared once, values are bound, rows are read.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use odbc_api::handles::{Statement, StatementConnection};
use odbc_api::parameter::{InputParameter, VarWCharBox, WithDataType};
use odbc_api::{
    Connection, ConnectionOptions, ConnectionTransitions, Cursor, CursorImpl, CursorRow, DataType,
    IntoParameter, Nullable, Prepared, SharedConnection, environment,
};

use super::fault::db_error;
use super::settings::{OdbcSource, statement_timeout};
use crate::dbagent::dialect::Dialect;
use crate::dbagent::procedures::{DbError, Fault};
use crate::dbagent::query::{Field, Kind, Procedure, QueryRecord, QueryStatement, Value};

type Statements = Prepared<StatementConnection<SharedConnection<'static>>>;

/// Retries of a call that was rolled back because of another transaction.
const CONFLICTS_MAX: u32 = 8;

/// Connection to a database server. It is used by one thread at a time.
pub struct OdbcConnection {
    /// `None` only while the connection is being closed.
    connection: Option<SharedConnection<'static>>,
    /// Prepared statements by their text.
    prepared: HashMap<String, Statements>,
    query_timeout: Option<usize>,
    /// Buffer for the text being read.
    wide: Vec<u16>,
}

impl std::fmt::Debug for OdbcConnection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OdbcConnection").field("prepared", &self.prepared.len()).finish_non_exhaustive()
    }
}

impl OdbcConnection {
    /// Connects, and sets the timeouts of the session.
    pub fn open(source: &OdbcSource) -> Result<Self, DbError> {
        let mut connection = Self::open_slowly(source)?;
        connection.limit_statements(source)?;
        Ok(connection)
    }

    /// Connects. Statements may take as long as connecting, until [`Self::limit_statements`]: the
    /// first ones of a connection wait for a cold server's catalogs and plans.
    pub(super) fn open_slowly(source: &OdbcSource) -> Result<Self, DbError> {
        let opened = Self::try_open(source);
        if let Some(reach) = &source.reach {
            reach.note(opened.as_ref().is_err_and(|error| error.fault == Fault::Lost));
        }
        opened
    }

    fn try_open(source: &OdbcSource) -> Result<Self, DbError> {
        if let Some(reach) = &source.reach {
            reach.check().map_err(|error| DbError::new(Fault::Lost, &source.place, error))?;
        }
        let mut connection =
            Self::connect(&source.place, source.connection_string.expose(), source.connect_timeout)?;
        let settings = source.dialect.session_settings(source, source.connect_timeout);
        connection.run(&source.place, &settings)?;
        connection.set_query_timeout(source.dialect, source.connect_timeout);
        Ok(connection)
    }

    /// Sets the time that later statements may take.
    pub(super) fn limit_statements(&mut self, source: &OdbcSource) -> Result<(), DbError> {
        self.set_query_timeout(source.dialect, source.query_timeout);
        match source.dialect {
            Dialect::Postgres => self.run(&source.place, &statement_timeout(source.query_timeout)),
            Dialect::MsSql => Ok(()),
        }
    }

    /// Sets the time that statements prepared from now on may take. PostgreSQL limits its
    /// statements itself, and its driver would set a timeout before each of them.
    fn set_query_timeout(&mut self, dialect: Dialect, timeout: Duration) {
        let seconds = timeout.as_millis().div_ceil(1000) as usize;
        self.query_timeout = (dialect == Dialect::MsSql).then_some(seconds);
    }

    /// Connects with a connection string.
    pub(super) fn connect(place: &str, string: &str, timeout: Duration) -> Result<Self, DbError> {
        let options = ConnectionOptions {
            login_timeout_sec: Some(timeout.as_secs().max(1) as u32),
            ..ConnectionOptions::default()
        };
        let failed = |error| {
            let DbError { fault, detail, .. } = db_error(place, &error);
            // The driver manager has no SQLSTATE for a library that it cannot load.
            let fault = if detail.contains("Can't open lib") { Fault::Driver } else { fault };
            // Any other error here means that there is no connection. psqlodbc has one SQLSTATE for
            // all reasons, so permanent refusals are recognized by PostgreSQL's messages.
            let fault = match fault {
                Fault::Lost | Fault::Refused => refusal(&detail),
                fault => fault,
            };
            DbError::new(fault, place, detail)
        };
        let environment = environment().map_err(failed)?;
        let connection = environment.connect_with_connection_string(string, options).map_err(failed)?;
        Ok(Self {
            connection: Some(Arc::new(Mutex::new(connection))),
            prepared: HashMap::new(),
            query_timeout: None,
            wide: Vec::new(),
        })
    }

    /// Runs `body` with the raw connection.
    fn with<T>(
        &self,
        place: &str,
        body: impl FnOnce(&Connection<'static>) -> Result<T, odbc_api::Error>,
    ) -> Result<T, DbError> {
        let gone = || DbError::new(Fault::Lost, place, "the connection is closed");
        let connection = self.connection.as_ref().ok_or_else(gone)?;
        // `body` does not panic, and a panic would leave the connection as it was.
        let connection = connection.lock().unwrap_or_else(PoisonError::into_inner);
        body(&connection).map_err(|error| self::error(place, &connection, &error))
    }

    /// Converts an error of one of this connection's statements.
    fn error(&self, place: &str, error: &odbc_api::Error) -> DbError {
        match &self.connection {
            Some(connection) => {
                self::error(place, &connection.lock().unwrap_or_else(PoisonError::into_inner), error)
            }
            None => db_error(place, error),
        }
    }

    /// Runs a statement without parameters and discards its rows.
    pub fn run(&mut self, place: &str, sql: &str) -> Result<(), DbError> {
        self.with(place, |connection| {
            let Some(cursor) = connection.execute(sql, (), None)? else { return Ok(()) };
            end(cursor)
        })
    }

    /// Turns autocommit on (the default) or off. While it is off, [`Self::commit`] commits.
    pub fn set_autocommit(&mut self, place: &str, is_on: bool) -> Result<(), DbError> {
        self.with(place, |connection| connection.set_autocommit(is_on))
    }

    /// Commits the changes since the last commit.
    pub fn commit(&mut self, place: &str) -> Result<(), DbError> {
        self.with(place, Connection::commit)
    }

    /// Rolls back the changes since the last commit.
    pub fn rollback(&mut self, place: &str) -> Result<(), DbError> {
        self.with(place, Connection::rollback)
    }

    /// Name of the database server's product.
    pub fn product(&mut self, place: &str) -> Result<String, DbError> {
        self.with(place, Connection::database_management_system_name)
    }

    /// Calls a procedure. A call that was rolled back because of another transaction is retried, up
    /// to eight times.
    pub fn call(
        &mut self,
        dialect: Dialect,
        statement: &QueryStatement<'_>,
    ) -> Result<Vec<QueryRecord>, DbError> {
        let Procedure { name, columns, .. } = statement.procedure;
        let text = call_text(dialect, statement.procedure);
        let kinds: Vec<Kind> = columns.iter().map(|(_, kind)| *kind).collect();
        let mut conflicts = 0;
        loop {
            match self.rows(name, &text, statement.bindings(), &kinds) {
                Err(error) if error.fault == Fault::Conflict && conflicts < CONFLICTS_MAX => {
                    conflicts += 1;
                    throng_core::metrics::DB_RETRIED.inc();
                    // Lets the other transaction finish; at random, so that victims do not collide
                    // again.
                    let pause = rand::random_range(0.5..1.0) * f64::from(1 << conflicts);
                    std::thread::sleep(Duration::from_secs_f64(pause / 1000.0));
                }
                result => return result,
            }
        }
    }

    /// Runs a statement with bound values. Returns its rows.
    pub fn rows<'v>(
        &mut self,
        place: &'static str,
        text: &str,
        bindings: impl Iterator<Item = (Value<'v>, Kind)>,
        columns: &[Kind],
    ) -> Result<Vec<QueryRecord>, DbError> {
        let parameters: Vec<Box<dyn InputParameter>> = bindings.map(parameter).collect();
        self.prepare(place, text)?;
        let Some(prepared) = self.prepared.get_mut(text) else {
            return Err(DbError::new(Fault::Refused, place, "the statement is not prepared"));
        };
        let rows = match prepared.execute(&parameters[..]) {
            Ok(Some(mut cursor)) => {
                let rows = read(&mut cursor, place, columns, &mut self.wide);
                // The cursor is closed even after an error, so that the statement can run again.
                let ended = end(cursor);
                rows.and_then(|rows| ended.map(|()| rows))
            }
            Ok(None) => Ok(Vec::new()),
            Err(error) => Err(error),
        };
        rows.map_err(|error| self.error(place, &error))
    }

    /// Runs a statement with bound values. Returns the number of rows that it changed.
    pub(super) fn execute<'v>(
        &mut self,
        place: &'static str,
        text: &str,
        bindings: impl Iterator<Item = (Value<'v>, Kind)>,
    ) -> Result<usize, DbError> {
        self.rows(place, text, bindings, &[])?;
        let Some(prepared) = self.prepared.get_mut(text) else { return Ok(0) };
        let count = prepared.row_count();
        Ok(count.map_err(|error| self.error(place, &error))?.unwrap_or(0))
    }

    fn prepare(&mut self, place: &str, text: &str) -> Result<(), DbError> {
        if self.prepared.contains_key(text) {
            return Ok(());
        }
        let gone = || DbError::new(Fault::Lost, place, "the connection is closed");
        let connection = self.connection.clone().ok_or_else(gone)?;
        let prepared = connection.into_prepared(text);
        let mut prepared = prepared.map_err(|error| self.error(place, &error))?;
        if let Some(seconds) = self.query_timeout {
            // A driver without such a timeout will do: the server has limits of its own.
            let _ = prepared.set_query_timeout_sec(seconds);
        }
        self.prepared.insert(text.to_owned(), prepared);
        Ok(())
    }

    /// Disconnects. Dropping the connection does the same without reporting errors.
    pub fn close(mut self) -> Result<(), DbError> {
        self.disconnect()
    }

    fn disconnect(&mut self) -> Result<(), DbError> {
        self.prepared.clear();
        let Some(connection) = self.connection.take() else { return Ok(()) };
        let Some(connection) = Arc::into_inner(connection) else { return Ok(()) };
        let connection = connection.into_inner().unwrap_or_else(PoisonError::into_inner);
        // `Connection` panics on drop if it cannot disconnect, for example from a server that has
        // gone away; its handle does not.
        let mut handle = connection.into_handle();
        let mut disconnected = handle.disconnect().into_result(&handle);
        if disconnected.is_err() {
            // A transaction is open.
            let _ = handle.rollback().into_result(&handle);
            disconnected = handle.disconnect().into_result(&handle);
        }
        disconnected.map_err(|error| {
            // A connected handle cannot be freed. Leaks its memory and lets the process go on.
            std::mem::forget(handle);
            db_error("disconnect", &error)
        })
    }
}

impl Drop for OdbcConnection {
    fn drop(&mut self) {
        if let Err(error) = self.disconnect() {
            tracing::debug!("{error}");
        }
    }
}

/// Converts an error. Drivers do not always have an SQLSTATE for a connection that has just been
/// cut, but report it as dead.
fn error(place: &str, connection: &Connection<'_>, error: &odbc_api::Error) -> DbError {
    let error = db_error(place, error);
    if error.fault == Fault::Refused && connection.is_dead().unwrap_or(false) {
        return DbError { fault: Fault::Lost, ..error };
    }
    error
}

/// Returns the fault of a connection that could not be opened, by PostgreSQL's messages: a denial
/// stays one however often it is retried.
fn refusal(message: &str) -> Fault {
    let denials = ["authentication failed", "no pg_hba.conf entry", "no password supplied"];
    let is_absent = |what: &str| message.contains(what) && message.contains("\" does not exist");
    if is_absent("database \"") {
        Fault::NoDatabase
    } else if is_absent("role \"") || denials.iter().any(|words| message.contains(words)) {
        Fault::Denied
    } else {
        Fault::Lost
    }
}

/// Returns the text of a procedure's call.
pub(super) fn call_text(dialect: Dialect, procedure: &Procedure) -> String {
    let marks = vec!["?"; procedure.parameters.len()].join(", ");
    let schema = dialect.schema();
    let name = procedure.name;
    match dialect {
        Dialect::Postgres => format!("SELECT * FROM {schema}.{name}({marks})"),
        Dialect::MsSql if procedure.parameters.is_empty() => format!("{{CALL {schema}.{name}}}"),
        Dialect::MsSql => format!("{{CALL {schema}.{name}({marks})}}"),
    }
}

/// Binds a value. Text is bound as UTF-16 with the length of the parameter, so that all calls of a
/// procedure have the same types and one plan on the server. Narrow text would depend on character
/// sets.
fn parameter((value, kind): (Value<'_>, Kind)) -> Box<dyn InputParameter> {
    match (value, kind) {
        (Value::Number(number), Kind::Small) => {
            Box::new(i32::try_from(number).unwrap_or(i32::MAX).into_parameter())
        }
        (Value::Number(number), _) => Box::new(number.into_parameter()),
        (Value::Text(text), kind) => {
            let units: Vec<u16> = text.encode_utf16().collect();
            let length = match kind {
                Kind::Text(most) => most,
                Kind::Number | Kind::Small => units.len(),
            };
            let length = std::num::NonZeroUsize::new(length.max(units.len()));
            Box::new(WithDataType::new(VarWCharBox::from_vec(units), DataType::WVarchar { length }))
        }
    }
}

fn read<S: Statement>(
    cursor: &mut CursorImpl<S>,
    place: &'static str,
    columns: &[Kind],
    wide: &mut Vec<u16>,
) -> Result<Vec<QueryRecord>, odbc_api::Error> {
    let mut rows = Vec::new();
    while let Some(mut row) = cursor.next_row()? {
        let fields = columns.iter().zip(1..).map(|(kind, at)| field(&mut row, at, *kind, wide));
        rows.push(QueryRecord::new(place, fields.collect::<Result<_, _>>()?));
    }
    Ok(rows)
}

fn field(
    row: &mut CursorRow<'_>,
    at: u16,
    kind: Kind,
    wide: &mut Vec<u16>,
) -> Result<Field, odbc_api::Error> {
    Ok(match kind {
        Kind::Number | Kind::Small => {
            let mut number = Nullable::<i64>::null();
            row.get_data(at, &mut number)?;
            number.into_opt().map_or(Field::Null, Field::Number)
        }
        Kind::Text(_) => {
            if row.get_wide_text(at, wide)? {
                Field::Text(String::from_utf16_lossy(wide))
            } else {
                Field::Null
            }
        }
    })
}

/// Closes a cursor. Dropping it would panic if the driver returns an error.
fn end<S: Statement>(cursor: CursorImpl<S>) -> Result<(), odbc_api::Error> {
    let mut statement = cursor.into_stmt();
    statement.close_cursor().into_result(&statement)
}
