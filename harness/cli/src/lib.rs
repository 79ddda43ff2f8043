//! The command line of Throng's load harness, which drives thousands of clients and accounts for
//! every delivery.
//!
//! ```text
//!   args                   what to do, and where
//!     |
//!   model                  what is sent when by whom: decided by the seed alone
//!     |
//!   driver                 worker threads, each with its own clients: a DeliveryLedger (verify), a
//!     |                    Recorder (record) and a Panel (live), no locks between them; of this
//!     |                    process, or of several (crew). Their results become one
//!     |
//!   report                 thresholds, verdict, summary, JSON, HTML, exit code
//! ```
//! The thread of a run (`scenario`) starts the workers (`crew`), sends them commands and watches
//! their panels; the pacer wakes them when a message is due.
//!
//! `ramp` and `bench` are such runs one after the other (`steps`). `peers` measures other systems
//! with the same messages and the same accounting, `abuse` attacks a server beside honest clients
//! of its own, and `monitor` watches servers.

pub mod app;
pub mod args;
pub mod reload;
#[cfg(test)]
mod schema;
mod shown;
