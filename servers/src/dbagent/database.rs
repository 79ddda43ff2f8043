//! The database of the configuration, embedded or a server.

use std::sync::Arc;
use std::time::Duration;

use throng_core::clock::unix_ms;
use throng_core::config::Config;

use super::dialect::Dialect;
use super::migrate::{self, MigrateError, Status};
use super::odbc::{OdbcSource, Stored};
use super::pool::DriverLimits;
use super::procedures::{DbError, Procedures};
use super::sqlite::SqliteFile;

/// Busy timeout of the embedded database.
const SQLITE_BUSY: Duration = Duration::from_secs(2);

/// A database that is not yet connected.
#[derive(Debug, Clone)]
pub enum Database {
    /// The embedded SQLite.
    Sqlite(Arc<SqliteFile>),
    /// A database server.
    Odbc(Arc<OdbcSource>),
}

impl Database {
    /// Returns the database of `dbagent.engine`.
    pub fn of(config: &Config) -> Result<Self, DbError> {
        Ok(match Dialect::of(config.dbagent.engine) {
            None => Self::Sqlite(SqliteFile::new(config.resolve(&config.dbagent.database), SQLITE_BUSY)),
            Some(dialect) => Self::Odbc(Arc::new(OdbcSource::new(config, dialect)?)),
        })
    }

    /// Name of the database in messages.
    pub fn place(&self) -> String {
        match self {
            Self::Sqlite(file) => file.path().display().to_string(),
            Self::Odbc(source) => source.place.clone(),
        }
    }

    /// Connects. The database must have all migrations and no others.
    pub fn connect(&self) -> Result<Box<dyn Procedures>, DbError> {
        Ok(match self {
            Self::Sqlite(file) => Box::new(file.connect()?),
            Self::Odbc(source) => Box::new(Stored::connect(source)?),
        })
    }

    /// Times after which calls of the driver count as hung.
    pub fn limits(&self) -> DriverLimits {
        match self {
            Self::Sqlite(_) => DriverLimits::default(),
            Self::Odbc(source) => source.limits(),
        }
    }

    /// Applies the pending migrations and returns their numbers. On a server, only the owner of the
    /// schema may.
    pub fn migrate(&self) -> Result<Vec<u32>, MigrateError> {
        match self {
            Self::Sqlite(file) => migrate::migrate_sqlite(file.path(), SQLITE_BUSY, unix_ms()),
            Self::Odbc(source) => migrate::migrate_odbc(source, unix_ms()),
        }
    }

    /// Returns the applied and the pending migrations.
    pub fn status(&self) -> Result<Vec<Status>, MigrateError> {
        match self {
            Self::Sqlite(file) => migrate::status_sqlite(file.path(), SQLITE_BUSY),
            Self::Odbc(source) => migrate::status_odbc(source),
        }
    }
}
