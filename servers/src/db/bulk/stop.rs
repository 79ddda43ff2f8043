//! Reasons that stop a run.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

use crate::dbagent::password::PasswordError;
use crate::dbagent::procedures::DbError;

/// Reason that stops the whole run.
#[derive(Debug, Error)]
pub enum Stop {
    /// The database has a permanent fault.
    #[error(transparent)]
    Database(#[from] DbError),
    /// Passwords cannot be hashed.
    #[error(transparent)]
    Password(#[from] PasswordError),
    /// The file cannot be read further.
    #[error("{}, line {line}: cannot read on: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The first line that cannot be read.
        line: u64,
        /// Error of the system.
        source: io::Error,
    },
    /// The system refuses a thread.
    #[error("cannot start a thread: {0}; check the limits on processes (ulimit -u) and memory")]
    Thread(io::Error),
}
