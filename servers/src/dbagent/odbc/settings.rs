//! The database server of the configuration: driver, connection string and timeouts.

use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::time::Duration;

use odbc_api::escape_attribute_value;
use throng_core::config::{Config, Odbc, Secret};

use super::driver::{Places, find_driver};
use crate::dbagent::dialect::Dialect;
use crate::dbagent::procedures::{DbError, Fault};

impl Dialect {
    /// Names of drivers, in order of preference.
    fn drivers(self) -> &'static [&'static str] {
        match self {
            Self::Postgres => &["PostgreSQL Unicode", "psqlodbcw.so"],
            Self::MsSql => &[
                "ODBC Driver 18 for SQL Server",
                "ODBC Driver 17 for SQL Server",
                "FreeTDS",
                "libtdsodbc.so",
            ],
        }
    }

    fn packages(self) -> &'static str {
        match self {
            Self::Postgres => "Install psqlodbc (Debian: odbc-postgresql)",
            Self::MsSql => {
                "Install FreeTDS (Debian: tdsodbc) or Microsoft's msodbcsql18 (from Microsoft's package repository)"
            }
        }
    }

    fn port(self) -> u32 {
        match self {
            Self::Postgres => 5432,
            Self::MsSql => 1433,
        }
    }

    /// Statements that set up a new session.
    pub(super) fn session_settings(self, source: &OdbcSource) -> String {
        let query = source.query_timeout.as_millis();
        let lock = source.lock_timeout.as_millis();
        match self {
            // A server that has lost its client notices during a statement, and releases its locks.
            Self::Postgres => format!(
                "SET statement_timeout = {query}; SET lock_timeout = {lock}; \
                 SET idle_in_transaction_session_timeout = 60000"
            ),
            Self::MsSql => format!("SET LOCK_TIMEOUT {lock}"),
        }
    }
}

/// A database server and the settings to connect to it.
#[derive(Debug, Clone)]
pub struct OdbcSource {
    /// Dialect of the server.
    pub dialect: Dialect,
    /// Connection string for the driver manager.
    pub(super) connection_string: Secret,
    /// Name of the database in messages, without the password.
    pub place: String,
    pub(super) connect_timeout: Duration,
    pub(super) query_timeout: Duration,
    pub(super) lock_timeout: Duration,
}

impl OdbcSource {
    /// Reads the server's settings from the configuration.
    pub fn new(config: &Config, dialect: Dialect) -> Result<Self, DbError> {
        let odbc = &config.odbc;
        let (connection_string, place) = if odbc.connection_string.is_empty() {
            let password = match &odbc.password_file {
                Some(file) => read_password(&config.resolve(file))?,
                None => odbc.password.clone(),
            };
            let driver = driver(&odbc.driver, dialect)?;
            let place = format!("{} at {}:{}", odbc.database, odbc.server, port(odbc, dialect));
            (composed(odbc, dialect, &driver, &password), place)
        } else {
            let text = odbc.connection_string.expose();
            (with_driver_path(text, dialect)?, "the database of odbc.connection_string".into())
        };
        Ok(Self {
            dialect,
            connection_string,
            place,
            connect_timeout: odbc.connect_timeout,
            query_timeout: odbc.query_timeout,
            lock_timeout: odbc.lock_timeout,
        })
    }
}

impl OdbcSource {
    /// Returns a copy with timeouts long enough for an operator's commands.
    #[must_use]
    pub fn with_long_timeouts(&self) -> Self {
        let timeout = Duration::from_mins(1);
        Self { connect_timeout: timeout, query_timeout: timeout, lock_timeout: timeout, ..self.clone() }
    }
}

fn port(odbc: &Odbc, dialect: Dialect) -> u32 {
    if odbc.port == 0 { dialect.port() } else { odbc.port }
}

fn driver(name: &str, dialect: Dialect) -> Result<String, DbError> {
    let names = if name.is_empty() { dialect.drivers() } else { &[name] };
    let path = find_driver(names, &Places::of_system(), dialect.packages())
        .map_err(|error| DbError::new(Fault::Driver, "odbc.driver", error))?;
    Ok(path.to_string_lossy().into_owned())
}

/// Composes the connection string from single keys. Drivers of one engine differ in the names of
/// attributes.
fn composed(odbc: &Odbc, dialect: Dialect, driver: &str, password: &Secret) -> Secret {
    let mut text = String::new();
    let mut add = |key: &str, value: &str| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{key}={};", escape_attribute_value(value));
    };
    add("Driver", driver);
    let server = odbc.server.as_str();
    let port = port(odbc, dialect).to_string();
    let is_freetds = driver.contains("tdsodbc");
    if dialect == Dialect::MsSql && !is_freetds {
        add("Server", &format!("{server},{port}"));
    } else {
        add("Server", server);
        add("Port", &port);
    }
    add("Database", &odbc.database);
    if !odbc.user.is_empty() {
        add("UID", &odbc.user);
        add("PWD", password.expose());
    }
    if is_freetds {
        add("TDS_Version", "7.4");
        add("ClientCharset", "UTF-8");
    }
    text.push_str(odbc.options.expose());
    Secret::new(text)
}

/// Replaces the driver's name in a connection string by its path.
fn with_driver_path(text: &str, dialect: Dialect) -> Result<Secret, DbError> {
    let attribute = |part: &str| {
        let (key, value) = part.split_once('=')?;
        key.trim().eq_ignore_ascii_case("driver").then(|| value.trim().trim_matches(['{', '}']).to_owned())
    };
    let mut parts: Vec<String> = Vec::new();
    // A `;` in braces is part of a value.
    let mut depth = 0_u32;
    let pieces = text.split_inclusive(|c| {
        match c {
            '{' => depth += 1,
            '}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        c == ';' && depth == 0
    });
    for piece in pieces {
        let part = piece.strip_suffix(';').unwrap_or(piece);
        parts.push(match attribute(part) {
            Some(name) => format!("Driver={}", escape_attribute_value(&driver(&name, dialect)?)),
            None => part.to_owned(),
        });
    }
    Ok(Secret::new(parts.join(";")))
}

/// Reads a password file, which has one line.
fn read_password(path: &Path) -> Result<Secret, DbError> {
    let place = path.display().to_string();
    let text = fs::read_to_string(path).map_err(|error| DbError::new(Fault::Denied, &place, error))?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = fs::metadata(path).map(|file| file.permissions().mode()).unwrap_or_default();
        if mode & 0o077 != 0 {
            let why = format!("other users can read the password in this file: chmod 600 {place}");
            return Err(DbError::new(Fault::Denied, place, why));
        }
    }
    Ok(Secret::new(text.trim_end_matches(['\r', '\n'])))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn connection_strings_are_composed_from_keys() {
        let odbc = Odbc {
            server: "db.example".into(),
            user: "throng".into(),
            options: Secret::new("Encrypt=yes"),
            ..Odbc::default()
        };
        let password = Secret::new("p;a}ss");
        let check = |dialect, driver, expected: &str| {
            assert_eq!(composed(&odbc, dialect, driver, &password).expose(), expected);
        };
        check(
            Dialect::Postgres,
            "/x/psqlodbcw.so",
            "Driver=/x/psqlodbcw.so;Server=db.example;Port=5432;Database=throng;UID=throng;PWD={p;a}}ss};Encrypt=yes",
        );
        check(
            Dialect::MsSql,
            "/x/libtdsodbc.so",
            "Driver=/x/libtdsodbc.so;Server=db.example;Port=1433;Database=throng;UID=throng;PWD={p;a}}ss};\
             TDS_Version=7.4;ClientCharset=UTF-8;Encrypt=yes",
        );
        check(
            Dialect::MsSql,
            "/x/libmsodbcsql-18.so",
            "Driver=/x/libmsodbcsql-18.so;Server=db.example,1433;Database=throng;UID=throng;PWD={p;a}}ss};Encrypt=yes",
        );
    }

    #[test]
    fn a_driver_in_a_connection_string_becomes_a_path() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("driver.so");
        fs::write(&path, "").unwrap();
        let text = format!("Server=x; driver ={{{}}};PWD={{a;Driver=b}};UID=u", path.display());
        let found = with_driver_path(&text, Dialect::Postgres).unwrap();
        let expected = format!("Server=x;Driver={};PWD={{a;Driver=b}};UID=u", path.display());
        assert_eq!(found.expose(), expected);
        let error = with_driver_path("Driver=/nowhere/x.so", Dialect::MsSql).unwrap_err();
        assert_eq!(error.fault, Fault::Driver);
        assert!(
            error.to_string().contains("/nowhere/x.so") && error.to_string().contains("tdsodbc"),
            "{error}"
        );
    }

    #[test]
    fn a_password_file_must_be_private() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("password");
        fs::write(&path, "geheim 비밀\n").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(read_password(&path).unwrap_err().to_string().contains("chmod 600"));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        assert_eq!(read_password(&path).unwrap().expose(), "geheim 비밀");
    }
}
