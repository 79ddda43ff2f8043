//! The command line of Throng's load harness, which drives thousands of clients and accounts for
//! every delivery.
//!
//! ```text
//!   args, target           the task, and the address of the server
//!        |
//!   schedule, payload      the messages, their senders and times: drawn from the seed alone
//!        |
//!   worker threads         each with its own clients, a DeliveryLedger (verify), a Recorder
//!        |                 (record) and a Panel (live), and no locks between them; in this
//!        |                 process or in several (crew)
//!   settle, merge          one result of all workers
//!        |
//!   report                 thresholds, verdict, text, JSON, page, exit code
//! ```
//! The run's own thread (scenario) starts the workers (fleet), sends them commands and watches
//! their panels; the pacer wakes them when a message is due. Nothing above the workers, and
//! neither ledger nor recorder, uses a socket: they take messages with their times, and return
//! results.
//!
//! `ramp` and `bench` repeat such runs (steps). `peers` measures other systems with the same
//! messages and the same accounting. `monitor` watches servers without a load.

pub mod app;
pub mod args;
pub mod reload;
#[cfg(test)]
mod schema;
