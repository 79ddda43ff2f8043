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
        ("is starting up", Fault::Lost),
        ("is shutting down", Fault::Lost),
        ("in recovery mode", Fault::Lost),
        ("read-only transaction", Fault::ReadOnly),
        ("during recovery", Fault::ReadOnly),
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
    fault_of_number(native).unwrap_or_else(|| fault_of_state(state, native))
}

/// Returns the fault of an error number of SQL Server's.
fn fault_of_number(native: i32) -> Option<Fault> {
    Some(match native {
        // Deadlock victim; the procedures' own error for rows that come and go; snapshot and
        // optimistic conflicts.
        1205 | 50_001 | 3960 | 41302 | 41305 | 41325 => Fault::Conflict,
        // Lock request timeout; out of memory, or of time to get some.
        1222 | 701 | 802 | 8645 | 8651 => Fault::Busy,
        // No such procedure; no such table.
        2812 | 208 => Fault::Schema,
        // EXECUTE or SELECT permission denied; login failed.
        229 | 230 | 18456 => Fault::Denied,
        // The database cannot be opened.
        4060 => Fault::NoDatabase,
        // Log or data file full.
        9002 | 1105 | 1101 => Fault::Full,
        // The database, or its replica, is read-only; the replica takes only readers that say so.
        3906 | 3908 | 978 => Fault::ReadOnly,
        // Checksum and page errors.
        823..=825 => Fault::Damaged,
        // The database is being recovered, restored, taken offline or handed to another replica.
        921 | 922 | 927 | 942 | 952 | 976 | 979 | 982 | 983
        // The server starts, stops, pauses or upgrades; the connection was killed.
        | 596 | 6005 | 17_142 | 17_197 | 18_401 | 18_451
        // The hosted database is moved, throttled or busy.
        | 10_928 | 10_929 | 40_197 | 40_501 | 40_613 | 49_918..=49_920
        // The network aborted or reset the connection, or timed out.
        | 10_053 | 10_054 | 10_060 => Fault::Lost,
        _ => return None,
    })
}

fn fault_of_state(state: &str, native: i32) -> Fault {
    match state {
        "40001" | "40P01" => Fault::Conflict,
        // Lock and statement timeouts: the statement was rolled back.
        "HYT00" | "55P03" | "57014" | "S1T00" => Fault::Busy,
        // Connection timeout; a transaction of ours that failed earlier, or idled, is open; the
        // result is unknown. The connection is of no more use.
        "HYT01" | "25P02" | "25P03" | "40003" => Fault::Lost,
        "25006" => Fault::ReadOnly,
        "42501" | "28000" | "28P01" => Fault::Denied,
        "3D000" => Fault::NoDatabase,
        "42883" | "42P01" | "42S02" | "3F000" | "42000" if native == 0 || state != "42000" => Fault::Schema,
        // The driver manager's: no such driver, no such entry, a library that cannot be loaded.
        "IM002" | "IM003" | "IM004" | "IM005" => Fault::Driver,
        "53100" | "54000" => Fault::Full,
        "XX001" | "XX002" => Fault::Damaged,
        _ => match state.get(..2) {
            // Connection errors; shutdown, crash or an operator's intervention (57P01 to 57P05);
            // too many connections, too little memory; the server's own files.
            Some("08" | "57" | "53" | "58") => Fault::Lost,
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

    /// A fail-over, in the words of each server, must not be a fault for good: callers are told to
    /// try again later, and the connection is replaced.
    #[test]
    fn no_sign_of_a_fail_over_is_permanent() {
        for (state, native) in [
            ("25006", 0),
            ("25P02", 0),
            ("08006", 0),
            ("08S01", 0),
            ("40003", 0),
            ("53200", 0),
            ("53300", 0),
            ("57P01", 0),
            ("57P02", 0),
            ("57P03", 0),
            ("57P04", 0),
            ("57P05", 0),
            ("58030", 0),
            ("42000", 3906),
            ("42000", 976),
            ("42000", 983),
            ("HY000", 952),
            ("HY000", 6005),
            ("HY000", 10054),
            ("HY000", 40613),
        ] {
            let fault = fault_of(state, native);
            assert!(fault.is_transient() && fault.breaks_connection(), "{state} {native}: {fault:?}");
        }
        for (state, native) in
            [("55P03", 0), ("57014", 0), ("40001", 0), ("40P01", 0), ("53100", 0), ("", 701)]
        {
            let fault = fault_of(state, native);
            assert!(fault.is_transient() && !fault.breaks_connection(), "{state} {native}: {fault:?}");
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
            ("42000", 18456, Fault::Denied),
            ("3D000", 0, Fault::NoDatabase),
            ("42000", 4060, Fault::NoDatabase),
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
