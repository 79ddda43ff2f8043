//! Throng's load harness: drives thousands of clients and accounts for every delivery.
//!
//! ```text
//!   cli, target            what to do, and where
//!        |
//!   schedule, payload      what is sent when by whom: decided by the seed alone
//!        |
//!   worker threads         each with its own clients: a Tally (verify), a Recorder
//!        |                 (record) and a Panel (live), no locks between them
//!   settle, merge          one result for all of them
//!        |
//!   report                 thresholds, verdict, JSON, summary, exit code
//! ```
//! Nothing in these modules knows a socket: what was sent and received goes in with the
//! time at which it happened, results come out.

pub mod app;
pub mod cli;
pub mod clock;
pub mod duration;
pub mod live;
pub mod payload;
pub mod procstat;
pub mod record;
pub mod report;
pub mod schedule;
pub mod target;
pub mod threshold;
pub mod verify;
