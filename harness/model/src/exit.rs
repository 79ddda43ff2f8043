//! Exit codes of the harness.

/// All thresholds held.
pub const EXIT_OK: u8 = 0;
/// The run could not start.
pub const EXIT_NOT_RUN: u8 = 1;
/// The command line is invalid.
pub const EXIT_USAGE: u8 = 2;
/// A threshold was broken: of a count, or of a time in a valid run.
pub const EXIT_BROKEN: u8 = 3;
/// The harness or the machine was not good enough to judge the server. All counts held, but the run
/// is not valid, and a threshold of a time or `--require-valid` asks for latencies that are.
pub const EXIT_INVALID: u8 = 4;
/// The user stopped the run; its results have been written.
pub const EXIT_INTERRUPTED: u8 = 130;
