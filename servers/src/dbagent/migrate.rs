//! Applies pending migrations and reports their status, for the embedded SQLite and for database
//! servers.
//!
//! [`super::schema`] has the migrations themselves. Each one is a transaction of its own under a
//! lock, so any number of processes may migrate at once: one of them applies it, the others find it
//! applied.

mod odbc;
mod sqlite;

pub use super::schema::{MigrateError, Status};
pub use odbc::{migrate_odbc, status_odbc};
pub use sqlite::{migrate_sqlite, status_sqlite};
