//! Numbered migrations: which there are, which a database has had, and applying the rest.
//!
//! A migration is a file `sql/<dialect>/NNN_name.sql`, compiled in. Once released it is
//! never edited: a database remembers its checksum, and a program
//! whose files differ refuses to touch it.

use std::fmt;

use sha2::{Digest, Sha256};
use thiserror::Error;
use throng_core::clock;

use super::dialect::Dialect;
use super::procedures::DbError;
use super::query::{QueryRecord, from_ms};

/// One step of a schema.
#[derive(Debug, Clone, Copy)]
pub struct Migration {
    /// Its place in the order, from 1 without gaps.
    pub number: u32,
    /// What it is about.
    pub name: &'static str,
    /// The statements.
    pub sql: &'static str,
}

impl Migration {
    /// SHA-256 of the statements, in hexadecimal. A checkout with CRLF has the same.
    pub fn checksum(&self) -> String {
        hex::encode(Sha256::digest(self.sql.replace("\r\n", "\n")))
    }
}

macro_rules! migrations {
    ($dialect:literal: $($number:literal $name:literal),*) => {
        &[$(Migration {
            number: $number,
            name: $name,
            sql: include_str!(concat!("../../../sql/", $dialect, "/00", $number, "_", $name, ".sql")),
        }),*]
    };
}

/// SQLite's schema.
pub const SQLITE: &[Migration] = migrations!("sqlite": 1 "accounts", 2 "online", 3 "agents");

/// PostgreSQL's schema.
pub const POSTGRES: &[Migration] = migrations!("postgres": 1 "accounts", 2 "online", 3 "procedures");

/// SQL Server's schema.
pub const MSSQL: &[Migration] = migrations!("mssql": 1 "accounts", 2 "online", 3 "procedures");

/// The schema of a database server.
pub fn known(dialect: Dialect) -> &'static [Migration] {
    match dialect {
        Dialect::Postgres => POSTGRES,
        Dialect::MsSql => MSSQL,
    }
}

/// A migration that a database has had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recorded {
    /// Its number.
    pub number: u32,
    /// Its name then.
    pub name: String,
    /// Its checksum then.
    pub checksum: String,
    /// When it was applied, in milliseconds since 1970 (UTC).
    pub applied_ms: u64,
}

impl Recorded {
    /// A row of `p_Schema_Select`.
    pub(super) fn read(row: &QueryRecord) -> Result<Self, DbError> {
        Ok(Self {
            number: u32::try_from(row.number(0)?).map_err(|error| row.impossible(error))?,
            name: row.text(1)?.to_owned(),
            checksum: row.text(2)?.to_owned(),
            applied_ms: from_ms(row.number(3)?),
        })
    }
}

/// One row of `throng db status`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// The migration's number.
    pub number: u32,
    /// Its name.
    pub name: &'static str,
    /// When it was applied, in milliseconds since 1970 (UTC); `None` while it is pending.
    pub applied_ms: Option<u64>,
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let when = self.applied_ms.map_or_else(|| "pending".into(), clock::utc_text);
        write!(f, "{:03} {:<12} {when}", self.number, self.name)
    }
}

/// Why a schema was left as it is.
#[derive(Debug, Error)]
pub enum MigrateError {
    /// There is no database.
    #[error("there is no database at {place}: make one with `throng db migrate`")]
    Missing {
        /// Where it was looked for.
        place: String,
    },
    /// The database has migrations that this program does not know.
    #[error(
        "the schema of {place} is newer than this program: it has migration {found}, the newest one known \
         here is {known}. Run the version of throng that made it, or a later one"
    )]
    Newer {
        /// The database.
        place: String,
        /// The newest migration it has had.
        found: u32,
        /// The newest one compiled in.
        known: u32,
    },
    /// A migration was changed after it had been applied.
    #[error(
        "migration {number} ({name}) of {place} is not the one in this program: its file was edited after it was \
         applied. Restore the file, and make the change in a migration of its own"
    )]
    Edited {
        /// The database.
        place: String,
        /// The migration.
        number: u32,
        /// Its name in the database.
        name: String,
    },
    /// A migration is missing among those recorded.
    #[error(
        "the record of {place} is broken: migration {number} is missing though later ones are there. \
         Restore the table `schema_migrations` from a backup"
    )]
    Gap {
        /// The database.
        place: String,
        /// The migration that is missing.
        number: u32,
    },
    /// A migration failed; the database is as it was before it.
    #[error("migration {number} ({name}) failed and was rolled back: {source}")]
    Failed {
        /// The migration.
        number: u32,
        /// Its name.
        name: &'static str,
        /// What the database says.
        source: DbError,
    },
    /// The database could not be used.
    #[error(transparent)]
    Database(#[from] DbError),
}

/// What of `known` has still to be applied to a database with this record, in ascending order of numbers.
pub fn pending<'m>(
    place: &str,
    known: &'m [Migration],
    recorded: &[Recorded],
) -> Result<&'m [Migration], MigrateError> {
    let newest = |number: Option<u32>| number.unwrap_or(0);
    let (found, here) = (newest(recorded.last().map(|r| r.number)), newest(known.last().map(|m| m.number)));
    if found > here {
        return Err(MigrateError::Newer { place: place.into(), found, known: here });
    }
    for (migration, was) in known.iter().zip(recorded) {
        if was.number != migration.number {
            return Err(MigrateError::Gap { place: place.into(), number: migration.number });
        }
        if was.checksum != migration.checksum() {
            let name = was.name.clone();
            return Err(MigrateError::Edited { place: place.into(), number: was.number, name });
        }
    }
    Ok(known.get(recorded.len()..).unwrap_or_default())
}

/// The rows of `throng db status` for a database with this record.
pub fn status_of(
    place: &str,
    known: &[Migration],
    recorded: &[Recorded],
) -> Result<Vec<Status>, MigrateError> {
    pending(place, known, recorded)?;
    let row = |(at, migration): (usize, &Migration)| Status {
        number: migration.number,
        name: migration.name,
        applied_ms: recorded.get(at).map(|r| r.applied_ms),
    };
    Ok(known.iter().enumerate().map(row).collect())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;

    #[test]
    fn numbers_follow_file_names_without_gaps() {
        for (dialect, migrations) in [("sqlite", SQLITE), ("postgres", POSTGRES), ("mssql", MSSQL)] {
            let files = Path::new(env!("CARGO_MANIFEST_DIR")).join("../sql").join(dialect);
            let mut names: Vec<_> =
                fs::read_dir(files).unwrap().map(|f| f.unwrap().file_name().into_string().unwrap()).collect();
            names.retain(|name| name.starts_with(|c: char| c.is_ascii_digit()));
            names.sort();
            let known: Vec<_> =
                migrations.iter().map(|m| format!("{:03}_{}.sql", m.number, m.name)).collect();
            assert_eq!(names, known);
            assert!(migrations.iter().zip(1..).all(|(migration, number)| migration.number == number));
        }
    }

    #[test]
    fn line_ends_do_not_change_a_checksum() {
        let lf = Migration { number: 1, name: "x", sql: "SELECT 1;\nSELECT 2;\n" };
        assert_eq!(lf.checksum(), Migration { sql: "SELECT 1;\r\nSELECT 2;\r\n", ..lf }.checksum());
    }
}
