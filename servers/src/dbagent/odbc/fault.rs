//! Converts ODBC errors to typed faults.

use odbc_api::Error;
use odbc_api::handles::Record;

use crate::dbagent::procedures::{DbError, Fault};

/// Converts an ODBC error at a place.
pub(super) fn db_error(place: &str, error: &Error) -> DbError {
    match record_of(error) {
        Some(record) => {
            let state = record.state.as_str();
            let message = String::from_utf16_lossy(&record.message);
            // Errors are logged on one line.
            let message = message.split_whitespace().collect::<Vec<_>>().join(" ");
            let fault = if record.native_error == BABELFISH_UNMAPPED {
                fault_of_babelfish(&message)
            } else {
                fault_of(state, record.native_error)
            };
            let detail = format!("{message} (SQLSTATE {state}, error {})", record.native_error);
            DbError::new(fault, place, detail)
        }
        None => match error {
            Error::FailedAllocatingEnvironment | Error::UnsupportedOdbcApiVersion(_) => {
                DbError::new(Fault::Driver, place, error)
            }
            // A failure without diagnostics is a lost connection more often than not.
            Error::NoDiagnostics { .. } => DbError::new(Fault::Lost, place, error),
            _ => DbError::new(Fault::Refused, place, error),
        },
    }
}

/// Native error of Babelfish for all errors without a number of SQL Server's. Their messages are
/// PostgreSQL's.
const BABELFISH_UNMAPPED: i32 = 33_557_097;

fn fault_of_babelfish(message: &str) -> Fault {
    const WORDS: &[(&str, Fault)] = &[
        ("does not exist", Fault::Schema),
        ("permission denied", Fault::Denied),
        ("deadlock detected", Fault::Conflict),
        ("could not serialize", Fault::Conflict),
        ("lock timeout", Fault::Busy),
        ("statement timeout", Fault::Busy),
        ("terminating connection", Fault::Lost),
        ("read-only transaction", Fault::ReadOnly),
        ("No space left", Fault::Full),
    ];
    WORDS.iter().find(|(words, _)| message.contains(words)).map_or(Fault::Refused, |(_, fault)| *fault)
}

fn record_of(error: &Error) -> Option<&Record> {
    match error {
        Error::Diagnostics { record, .. }
        | Error::InvalidRowArraySize { record, .. }
        | Error::UnableToRepresentNull(record)
        | Error::OracleOdbcDriverDoesNotSupport64Bit(record) => Some(record),
        _ => None,
    }
}

/// Returns the fault of an SQLSTATE (ODBC's, and PostgreSQL's own, which psqlodbc passes on), or of
/// SQL Server's error number where the SQLSTATE is unspecific.
fn fault_of(state: &str, native: i32) -> Fault {
    match native {
        // Deadlock victim; the procedures' own error for rows that come and go; snapshot and
        // optimistic conflicts.
        1205 | 50_001 | 3960 | 41302 | 41305 | 41325 => return Fault::Conflict,
        // Lock request timeout.
        1222 => return Fault::Busy,
        // No such procedure; no such table.
        2812 | 208 => return Fault::Schema,
        // EXECUTE or SELECT permission denied; login failed; the database cannot be opened.
        229 | 230 | 18456 | 4060 => return Fault::Denied,
        // Log or data file full.
        9002 | 1105 | 1101 => return Fault::Full,
        // The database is read-only.
        3906 => return Fault::ReadOnly,
        // Checksum and page errors.
        823..=825 => return Fault::Damaged,
        // Server is shutting down; connection killed.
        6005 | 596 => return Fault::Lost,
        _ => {}
    }
    match state {
        "40001" | "40P01" => Fault::Conflict,
        // Lock and statement timeouts: the statement was rolled back.
        "HYT00" | "55P03" | "57014" | "S1T00" => Fault::Busy,
        "HYT01" => Fault::Lost,
        "25006" => Fault::ReadOnly,
        "42501" | "28000" | "28P01" | "3D000" => Fault::Denied,
        "42883" | "42P01" | "42S02" | "3F000" | "42000" if native == 0 || state != "42000" => Fault::Schema,
        // The driver manager's: no such driver, no such entry, a library that cannot be loaded.
        "IM002" | "IM003" | "IM004" | "IM005" => Fault::Driver,
        "53100" | "54000" => Fault::Full,
        "XX001" | "XX002" => Fault::Damaged,
        _ => match state.get(..2) {
            // Connection errors; shutdown, crash or an operator's intervention (57P01 to 57P05);
            // too many connections.
            Some("08" | "57" | "53") => Fault::Lost,
            _ => Fault::Refused,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn babelfish_errors_are_classified_by_message() {
        for (message, expected) in [
            ("[FreeTDS][SQL Server]relation \"x_dbo.schema_migrations\" does not exist", Fault::Schema),
            ("[FreeTDS][SQL Server]permission denied for procedure p_online_claim", Fault::Denied),
            ("[FreeTDS][SQL Server]canceling statement due to lock timeout", Fault::Busy),
            ("[FreeTDS][SQL Server]something else", Fault::Refused),
        ] {
            assert_eq!(fault_of_babelfish(message), expected, "{message}");
        }
    }

    #[test]
    fn errors_are_classified_by_sqlstate_and_number() {
        for (state, native, expected) in [
            ("40001", 0, Fault::Conflict),
            ("40P01", 0, Fault::Conflict),
            ("42000", 1205, Fault::Conflict),
            ("55P03", 0, Fault::Busy),
            ("57014", 0, Fault::Busy),
            ("HYT00", 0, Fault::Busy),
            ("42000", 1222, Fault::Busy),
            ("08S01", 0, Fault::Lost),
            ("08001", 0, Fault::Lost),
            ("57P01", 0, Fault::Lost),
            ("57P03", 0, Fault::Lost),
            ("53300", 0, Fault::Lost),
            ("53100", 0, Fault::Full),
            ("25006", 0, Fault::ReadOnly),
            ("42501", 0, Fault::Denied),
            ("42000", 229, Fault::Denied),
            ("28P01", 0, Fault::Denied),
            ("42883", 0, Fault::Schema),
            ("42000", 2812, Fault::Schema),
            ("IM002", 0, Fault::Driver),
            ("XX001", 0, Fault::Damaged),
            ("22001", 0, Fault::Refused),
            ("42000", 102, Fault::Refused),
            ("", 0, Fault::Refused),
        ] {
            assert_eq!(fault_of(state, native), expected, "{state} {native}");
        }
    }
}
