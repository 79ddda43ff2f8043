//! The numbered migrations of each dialect, and the comparison with those that a database records.
//!
//! A migration is a file `sql/<dialect>/NNN_name.sql`, compiled into the program. A released file
//! is never edited: every database records the file's checksum, and a program whose files differ
//! refuses to use it.

use std::fmt;

use sha2::{Digest, Sha256};
use thiserror::Error;
use throng_core::clock;
use throng_core::text::escaped;

use super::dialect::Dialect;
use super::procedures::DbError;
use super::query::{QueryRecord, from_ms};

/// One step of a schema.
#[derive(Debug, Clone, Copy)]
pub struct Migration {
    /// Position in the order, from 1 without gaps.
    pub number: u32,
    /// Subject, as in the file's name.
    pub name: &'static str,
    /// Text of the file.
    pub sql: &'static str,
}

impl Migration {
    /// Returns the SHA-256 of the file in hexadecimal. CRLF counts as LF, so a checkout with CRLF
    /// matches.
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

/// Migrations of SQLite.
pub const SQLITE: &[Migration] = migrations!("sqlite": 1 "accounts", 2 "online", 3 "agents");

/// Migrations of PostgreSQL.
pub const POSTGRES: &[Migration] = migrations!("postgres": 1 "accounts", 2 "online", 3 "procedures");

/// Migrations of SQL Server.
pub const MSSQL: &[Migration] = migrations!("mssql": 1 "accounts", 2 "online", 3 "procedures");

/// Returns the migrations of a database server.
pub fn known(dialect: Dialect) -> &'static [Migration] {
    match dialect {
        Dialect::Postgres => POSTGRES,
        Dialect::MsSql => MSSQL,
    }
}

/// A migration that a database records as applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recorded {
    /// Number of the migration.
    pub number: u32,
    /// Name at the time.
    pub name: String,
    /// Checksum at the time.
    pub checksum: String,
    /// Time of its application, in milliseconds since 1970 (UTC).
    pub applied_ms: u64,
}

impl Recorded {
    /// Reads a row of `p_Schema_Select`.
    pub(super) fn read(row: &QueryRecord) -> Result<Self, DbError> {
        Ok(Self {
            number: u32::try_from(row.number(0)?).map_err(|error| row.bad_record(error))?,
            name: row.text(1)?.to_owned(),
            checksum: row.text(2)?.to_owned(),
            applied_ms: from_ms(row.number(3)?),
        })
    }
}

/// Row of `throng db status`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// Number of the migration.
    pub number: u32,
    /// Name of the migration.
    pub name: &'static str,
    /// Time of its application, in milliseconds since 1970 (UTC); `None` while it is pending.
    pub applied_ms: Option<u64>,
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let when = self.applied_ms.map_or_else(|| "pending".into(), clock::utc_text);
        write!(f, "{:03} {:<12} {when}", self.number, self.name)
    }
}

/// Error of a migration or of the check of a schema.
#[derive(Debug, Error)]
pub enum MigrateError {
    /// The database does not exist.
    #[error("there is no database at {place}: create it with `throng db migrate`")]
    Missing {
        /// Path of the file.
        place: String,
    },
    /// The database records migrations that this program does not know.
    #[error(
        "the schema of {place} is newer than this program: it has migration {found}, the newest one known \
         here is {known}. Run the version of throng that made it, or a later one"
    )]
    Newer {
        /// Name of the database.
        place: String,
        /// Newest recorded migration.
        found: u32,
        /// Newest migration of this program.
        known: u32,
    },
    /// A migration was edited after it had been applied.
    #[error(
        "migration {number} ({name}) of {place} is not the one in this program: its file was edited after it was \
         applied. Restore the file, and make the change in a migration of its own"
    )]
    Edited {
        /// Name of the database.
        place: String,
        /// Number of the migration.
        number: u32,
        /// Recorded name of the migration.
        name: String,
    },
    /// The record has a gap.
    #[error(
        "the record of {place} is broken: migration {number} is missing, but later ones are recorded. \
         Restore the table `schema_migrations` from a backup"
    )]
    Gap {
        /// Name of the database.
        place: String,
        /// Number of the missing migration.
        number: u32,
    },
    /// A migration failed and was rolled back.
    #[error("migration {number} ({name}) failed and was rolled back: {source}")]
    Failed {
        /// Number of the migration.
        number: u32,
        /// Name of the migration.
        name: &'static str,
        /// Error of the database.
        source: DbError,
    },
    /// The database cannot be used.
    #[error(transparent)]
    Database(#[from] DbError),
}

/// Returns the part of `known` that is not in `recorded`, in ascending order.
pub fn pending<'m>(
    place: &str,
    known: &'m [Migration],
    recorded: &[Recorded],
) -> Result<&'m [Migration], MigrateError> {
    let newest_recorded = recorded.last().map_or(0, |row| row.number);
    let newest_known = known.last().map_or(0, |migration| migration.number);
    if newest_recorded > newest_known {
        return Err(MigrateError::Newer { place: place.into(), found: newest_recorded, known: newest_known });
    }
    for (migration, row) in known.iter().zip(recorded) {
        if row.number != migration.number {
            return Err(MigrateError::Gap { place: place.into(), number: migration.number });
        }
        if row.checksum != migration.checksum() {
            let name = escaped(&row.name).into_owned();
            return Err(MigrateError::Edited { place: place.into(), number: row.number, name });
        }
    }
    Ok(known.get(recorded.len()..).unwrap_or_default())
}

/// Returns the rows of `throng db status`.
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
