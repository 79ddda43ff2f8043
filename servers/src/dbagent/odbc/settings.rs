//! The database server of the configuration: driver, connection string and timeouts.

use std::borrow::Cow;
use std::fmt::Write;
use std::io;
use std::net::{TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use odbc_api::escape_attribute_value;
use throng_core::config::{Config, Odbc, Secret};

use super::driver::{Places, find_driver};
use crate::dbagent::dialect::Dialect;
use crate::dbagent::pool::DriverLimits;
use crate::dbagent::procedures::{DbError, Fault};
use crate::private_file;

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

    /// Statements that set up a new session whose statements may take `query`.
    pub(super) fn session_settings(self, source: &OdbcSource, query: Duration) -> String {
        let lock = source.lock_timeout.as_millis();
        match self {
            // A server that has lost its client notices during a statement, and releases its locks.
            Self::Postgres => format!(
                "{}; SET lock_timeout = {lock}; SET idle_in_transaction_session_timeout = 60000",
                statement_timeout(query)
            ),
            Self::MsSql => format!("SET LOCK_TIMEOUT {lock}"),
        }
    }
}

/// PostgreSQL's statement that limits the later ones of a session.
pub(super) fn statement_timeout(query: Duration) -> String {
    format!("SET statement_timeout = {}", query.as_millis())
}

/// Time for which data sent to PostgreSQL may stay unacknowledged before the connection counts as
/// lost. Without it TCP alone decides, after minutes and with pauses of half a minute.
const TCP_USER_TIMEOUT: Duration = Duration::from_secs(3);

/// Silence of a connection after which TCP probes it, and the interval of the probes.
const TCP_KEEPALIVE: [Duration; 2] = [Duration::from_secs(5), Duration::from_secs(1)];

/// Time for which a server that did not answer before is tried with a bare TCP connection. Drivers
/// wait until TCP repeats itself, which takes seconds, and miss the server's return meanwhile.
const REACH_TIMEOUT: Duration = Duration::from_millis(500);

/// Address of a server for bare TCP connections.
#[derive(Debug)]
pub(super) struct Reach {
    host: String,
    port: u16,
    /// True after a connection could not be opened.
    is_doubtful: AtomicBool,
}

impl Reach {
    /// Returns the address, unless only the driver understands the server's name: a list, a named
    /// instance or a socket's path.
    fn new(server: &str, port: u32) -> Option<Self> {
        let is_plain = !server.is_empty() && !server.contains([',', '\\', '/']);
        let port = u16::try_from(port).ok().filter(|_| is_plain)?;
        Some(Self { host: server.to_owned(), port, is_doubtful: AtomicBool::new(false) })
    }

    /// Notes the result of connecting.
    pub(super) fn note(&self, is_lost: bool) {
        self.is_doubtful.store(is_lost, Relaxed);
    }

    /// Checks that the server accepts TCP connections, if it is doubtful.
    pub(super) fn check(&self) -> io::Result<()> {
        if !self.is_doubtful.load(Relaxed) {
            return Ok(());
        }
        let mut failed = io::Error::from(io::ErrorKind::AddrNotAvailable);
        for address in (self.host.as_str(), self.port).to_socket_addrs()? {
            match TcpStream::connect_timeout(&address, REACH_TIMEOUT) {
                Ok(_) => return Ok(()),
                Err(error) => failed = error,
            }
        }
        Err(failed)
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
    pub(super) reach: Option<Arc<Reach>>,
    pub(super) connect_timeout: Duration,
    pub(super) query_timeout: Duration,
    pub(super) lock_timeout: Duration,
}

impl OdbcSource {
    /// Reads the server's settings from the configuration.
    pub fn new(config: &Config, dialect: Dialect) -> Result<Self, DbError> {
        let odbc = &config.odbc;
        let mut reach = None;
        let (connection_string, place) = if odbc.connection_string.is_empty() {
            let password = match &odbc.password_file {
                Some(file) => private_file::read(&config.resolve(file))
                    .map_err(|error| DbError::new(Fault::Denied, file.display().to_string(), error))?,
                None => odbc.password.clone(),
            };
            let driver = driver(&odbc.driver, dialect)?;
            let port = port(odbc, dialect);
            let place = format!("{} at {}:{port}", odbc.database, odbc.server);
            reach = Reach::new(&odbc.server, port).map(Arc::new);
            (composed(odbc, dialect, &driver, &password)?, place)
        } else {
            let text = odbc.connection_string.expose();
            (with_driver_path(text, dialect)?, "the database of odbc.connection_string".into())
        };
        Ok(Self {
            dialect,
            connection_string,
            place,
            reach,
            connect_timeout: odbc.connect_timeout,
            query_timeout: odbc.query_timeout,
            lock_timeout: odbc.lock_timeout,
        })
    }
}

impl OdbcSource {
    /// Times after which calls of the driver count as hung: twice what the server or the driver
    /// itself permits.
    pub fn limits(&self) -> DriverLimits {
        let more = Duration::from_secs(1);
        DriverLimits {
            connect: self.connect_timeout * 2 + more,
            call: self.query_timeout.max(self.lock_timeout) * 2 + more,
        }
    }

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
fn composed(odbc: &Odbc, dialect: Dialect, driver: &str, password: &Secret) -> Result<Secret, DbError> {
    let mut text = String::new();
    let is_freetds = driver.contains("tdsodbc");
    if is_freetds {
        let values = [
            ("odbc.server", odbc.server.as_str()),
            ("odbc.database", &odbc.database),
            ("odbc.user", &odbc.user),
            ("odbc.password", password.expose()),
        ];
        for (key, value) in values {
            check_freetds_value(key, value)?;
        }
    }
    let mut add = |key: &str, value: &str| {
        let value = if is_freetds { quoted_for_freetds(value) } else { quoted(value) };
        // Writing to a String cannot fail.
        let _ = write!(text, "{key}={value};");
    };
    add("Driver", driver);
    let server = odbc.server.as_str();
    let port = port(odbc, dialect).to_string();
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
    if driver.contains("psqlodbc") {
        let [idle, interval] = TCP_KEEPALIVE.map(|time| time.as_secs());
        // The last is for libpq, to which the driver passes it on.
        let _ = write!(
            text,
            "KeepaliveTime={idle};KeepaliveInterval={interval};pqopt={{tcp_user_timeout={}}};",
            TCP_USER_TIMEOUT.as_millis()
        );
    }
    text.push_str(odbc.options.expose());
    Ok(Secret::new(text))
}

/// Quotes a value. A brace at its begin, or a blank at an end, would be taken for no part of it.
fn quoted(value: &str) -> Cow<'_, str> {
    if value.starts_with('{') || value.trim() != value {
        return format!("{{{}}}", value.replace('}', "}}")).into();
    }
    escape_attribute_value(value)
}

/// Returns true if FreeTDS needs braces around a value.
fn needs_braces(value: &str) -> bool {
    value.contains(';') || value.starts_with('{')
}

/// Quotes a value for FreeTDS. In braces, versions before 1.4 take everything up to `};` as it is,
/// and later ones read `}}` as `}` and refuse a single one. All take a value without braces as it
/// is.
fn quoted_for_freetds(value: &str) -> Cow<'_, str> {
    if needs_braces(value) { format!("{{{value}}}").into() } else { value.into() }
}

/// Refuses a value that no quotation makes the same for every FreeTDS.
fn check_freetds_value(key: &str, value: &str) -> Result<(), DbError> {
    if needs_braces(value) && value.contains('}') {
        let why = "FreeTDS before 1.4 and later versions read a value differently that contains `}` and \
                   also `;`, or begins with `{`: choose another one, or use Microsoft's driver";
        return Err(DbError::new(Fault::Driver, key, why));
    }
    Ok(())
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

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn connection_strings_are_composed_from_keys() {
        let odbc = Odbc {
            server: "db.example".into(),
            user: "throng".into(),
            options: Secret::new("Encrypt=yes"),
            ..Odbc::default()
        };
        let password = Secret::new("p;a}ss");
        let check = |password: &Secret, dialect, driver, expected: &str| {
            assert_eq!(composed(&odbc, dialect, driver, password).unwrap().expose(), expected);
        };
        check(
            &password,
            Dialect::Postgres,
            "/x/psqlodbcw.so",
            "Driver=/x/psqlodbcw.so;Server=db.example;Port=5432;Database=throng;UID=throng;PWD={p;a}}ss};\
             KeepaliveTime=5;KeepaliveInterval=1;pqopt={tcp_user_timeout=3000};Encrypt=yes",
        );
        check(
            &password,
            Dialect::MsSql,
            "/x/libmsodbcsql-18.so",
            "Driver=/x/libmsodbcsql-18.so;Server=db.example,1433;Database=throng;UID=throng;PWD={p;a}}ss};Encrypt=yes",
        );
    }

    #[test]
    fn a_brace_at_the_begin_of_a_password_is_part_of_it() {
        for (value, expected) in [
            ("plain", "plain"),
            ("{abc", "{{abc}"),
            ("{a}b", "{{a}}b}"),
            ("a;b", "{a;b}"),
            (" blank ", "{ blank }"),
        ] {
            assert_eq!(quoted(value), expected, "{value}");
        }
    }

    /// FreeTDS before 1.4 does not undo `}}`, and 1.4 refuses a single `}` within braces.
    #[test]
    fn a_brace_in_a_password_reaches_every_freetds_or_is_refused() {
        let odbc = Odbc { user: "throng".into(), ..Odbc::default() };
        let compose = |password: &str| {
            composed(&odbc, Dialect::MsSql, "/x/libtdsodbc.so", &Secret::new(password)).map(|composed| {
                let composed = composed.expose().to_owned();
                composed.split_once(";PWD=").unwrap().1.split_once(";TDS_Version").unwrap().0.to_owned()
            })
        };
        for (password, quoted) in [
            ("plain", "plain"),
            ("p}ss", "p}ss"),
            ("}", "}"),
            ("p{ss}", "p{ss}"),
            ("p;ss", "{p;ss}"),
            ("{pss", "{{pss}"),
            ("p=ss w", "p=ss w"),
        ] {
            assert_eq!(compose(password).unwrap(), quoted, "{password}");
        }
        for password in ["p;a}ss", "{pss}", "};"] {
            let error = compose(password).unwrap_err().to_string();
            assert!(error.starts_with("odbc.password") && error.contains("before 1.4"), "{error}");
            assert!(!error.contains(password), "{error}");
        }
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
}
