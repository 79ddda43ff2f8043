//! Plans, results, limits and text of a run: the vocabulary of the harness.
//!
//! No socket, no command line and no terminal.

pub mod audiences;
pub mod bots;
pub mod breakdown;
pub mod clock;
pub mod cuts;
pub mod exit;
pub mod fingerprint;
#[cfg(any(test, feature = "testing"))]
pub mod fixture;
pub mod identity;
pub mod limits;
pub mod payload;
pub mod plan;
pub mod presence;
pub mod procstat;
pub mod record;
pub mod results;
pub mod schedule;
pub mod scheduling;
pub mod send_schedule;
pub mod spec;
pub mod split_mix;
pub mod target;
pub mod text;
pub mod threshold;
