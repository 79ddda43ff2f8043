//! The servers as real processes, talked to over real sockets. One test binary, so that what
//! starts processes and talks to them is compiled, and linked, once.

mod agents;
mod bulk;
mod chaos;
mod database;
mod duplicate;
mod flow;
mod hostile;
mod limits;
mod monitor;
mod processes;
mod rooms;
mod shutdown;
mod start;
mod support;
