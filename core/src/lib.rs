//! Throng's core: the parts that login, chat and database servers share, and that the load harness
//! uses from the client's side.
//!
//! ```text
//!            clients (TCP)                other servers (links)
//!                 |                               |
//!   acceptor --> shard 0 .. shard N-1    mio event loops; each owns its sessions
//!                  ^   |                 and timers; never blocks, takes no lock
//!          mail    |   | jobs            (both bounded, lock-free; one wake)
//!                  |   v
//!                content 0 .. content M-1  run the handlers; own no socket
//! ```
//!
//! The modules `wire`, `crypto` and most of `net` know no socket, clock or thread: bytes and `now`
//! go in, bytes and events come out.

pub mod bucket;
pub mod clock;
pub mod config;
pub mod content;
pub mod crash;
pub mod crypto;
#[cfg(test)]
mod documents;
pub mod endpoints;
pub mod host;
pub mod limits;
pub mod links;
pub mod log;
pub mod metrics;
pub mod net;
pub mod queue;
pub mod rlimit;
pub mod room;
pub mod session_id;
pub mod shutdown;
pub mod text;
pub mod timer;
pub mod window;
pub mod wire;

pub use session_id::SessionId;
