//! Throng's load harness: drives thousands of clients and accounts for every delivery.
//!
//! ```text
//!   cli, target            what to do, and where
//!        |
//!   schedule, rhythm,      what is sent when by whom: decided by the seed alone
//!   payload
//!        |
//!   worker threads         each with its own clients: a Tally (verify), a Recorder
//!        |                 (record) and a Panel (live), no locks between them;
//!        |                 of this process, or of several (crew)
//!   settle, merge          one result for all of them
//!        |
//!   report                 thresholds, verdict, summary, JSON, HTML, exit code
//! ```
//! A run's own thread (scenario) starts the workers (fleet), tells them what to do next and
//! watches their panels; the pacer wakes them when a message is due. Everything above the
//! workers in the picture, and what they fill, knows no socket: what was sent and received
//! goes in with the time at which it happened, results come out.
//!
//! `ramp` and `bench` are such runs one after the other (steps).
//!
//! `peers` measures other systems with the same messages and the same accounting.

pub mod app;
pub mod args;
pub mod reload;
#[cfg(test)]
mod schema;
