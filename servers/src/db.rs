//! `throng db`: the operator's commands for the database.

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
mod output;
mod seed;

pub use bulk::BulkError;
pub use check::CheckError;
pub use import::ImportError;
#[doc(hidden)]
pub use import::ImportRow;
pub(crate) use import::read_accounts;
pub use output::Print;
pub use seed::SeedError;

/// Error of a command.
#[derive(Debug, Error)]
pub enum DbCommandError {
    /// A migration failed or the schema is unusable.
    #[error(transparent)]
    Migrate(#[from] MigrateError),
    /// The database cannot be used.
    #[error(transparent)]
    Database(#[from] DbError),
    /// The check could not print its report.
    #[error(transparent)]
    Check(#[from] CheckError),
    /// The import failed.
    #[error(transparent)]
    Import(#[from] ImportError),
    /// The seed failed.
    #[error(transparent)]
    Seed(#[from] SeedError),
    /// Standard output cannot be written.
    #[error("cannot write to standard output: {0}")]
    Output(#[from] io::Error),
}

/// Runs a command. Returns false if it ran but found a problem.
pub fn run(command: &DbCommand, config: &Config, print: &mut Print<'_>) -> Result<bool, DbCommandError> {
    // `check` itself reports a configuration without a usable database.
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
