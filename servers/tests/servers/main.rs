//! Tests of the servers as real processes, over real sockets.
//!
//! They are one test binary, so that the code that starts processes and talks to them is compiled
//! and linked once.

mod agents;
mod bulk;
mod client;
mod database;
mod duplicate;
mod failover;
mod fleet;
mod flow;
mod hostile;
mod limits;
mod monitor;
mod processes;
mod resume;
mod rooms;
mod shutdown;
mod start;
mod support;
