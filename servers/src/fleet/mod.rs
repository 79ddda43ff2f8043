//! A fleet: chat servers that read the same batches in the same order from a bus.
//!
//! Each node publishes batches, and reads those of all nodes, its own too, in the one order that
//! the bus gives them. The [`Ledger`] is the state of that order: the nodes that take part, and the
//! number of the latest batch of each. It is a fold, the same on all nodes at the same sequence,
//! and decides alone which batches count. The [`Member`] is one node's side: it makes batches, and
//! publishes them again until they have come back. Neither knows what is in the batches, nor
//! sockets, clocks or threads. The [`Bus`] carries sealed batches over NATS JetStream.

mod batch;
mod bus;
mod ledger;
mod member;
mod settings;

pub use batch::{Batch, Body, NodeInfo};
pub use bus::{Bus, Command, Event, StartError};
pub use ledger::{Ledger, Node, Verdict};
pub use member::{Member, Outgoing, Reading, Timing};
pub use settings::{BusSettings, Login};
