//! `throng db`: what an operator does with the database.

use std::io;

use thiserror::Error;
use throng_core::config::Config;

use crate::cli::DbCommand;
use crate::dbagent::database::Database;
use crate::dbagent::migrate::MigrateError;
use crate::dbagent::procedures::DbError;

mod bulk;
mod check;
mod import;
mod seed;

pub use bulk::BulkError;
pub use check::CheckError;

/// Why a command could not be done.
#[derive(Debug, Error)]
pub enum DbCommandError {
    /// The schema was left as it is.
    #[error(transparent)]
    Migrate(#[from] MigrateError),
    /// The database cannot be used.
    #[error(transparent)]
    Database(#[from] DbError),
    /// The check could not be made.
    #[error(transparent)]
    Check(#[from] CheckError),
    /// Accounts could not be made.
    #[error(transparent)]
    Bulk(#[from] BulkError),
    /// Standard output is gone.
    #[error("cannot write to standard output: {0}")]
    Output(#[from] io::Error),
}

/// Prints to standard output.
pub type Print<'a> = dyn FnMut(&str) -> io::Result<()> + 'a;

/// Does what the command says. False: it was done, and something is not as it should be.
pub fn run(command: &DbCommand, config: &Config, print: &mut Print<'_>) -> Result<bool, DbCommandError> {
    // Found bad, the database is what `check` tells about.
    if let DbCommand::Check { full, .. } = command {
        return Ok(check::run(config, *full, print)?);
    }
    let database = Database::of(config)?;
    match command {
        DbCommand::Migrate(_) => {
            let applied = database.migrate()?;
            print(&format!("{}: {} migrations applied\n", database.place(), applied.len()))?;
            status(&database, print)?;
        }
        DbCommand::Status(_) => status(&database, print)?,
        DbCommand::ImportAccounts { file, .. } => return Ok(import::run(config, &database, file, print)?),
        DbCommand::Seed { count, prefix, password, .. } => {
            return Ok(seed::run(config, &database, &seed::Seed { count: *count, prefix, password }, print)?);
        }
        DbCommand::Check { .. } => {}
    }
    Ok(true)
}

fn status(database: &Database, print: &mut Print<'_>) -> Result<(), DbCommandError> {
    for status in database.status()? {
        print(&format!("{status}\n"))?;
    }
    Ok(())
}
