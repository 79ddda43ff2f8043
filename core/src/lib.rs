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
//! The modules `wire`, `crypto`, `session` and most of `net` know no socket, clock or thread: bytes
//! and `now` go in, bytes and events come out. The first three, and what they use, are all that a
//! client needs: without the feature `server` nothing else is compiled.

#[cfg(feature = "server")]
pub mod bucket;
#[cfg(feature = "server")]
pub mod clock;
#[cfg(feature = "server")]
pub mod config;
#[cfg(feature = "server")]
pub mod content;
#[cfg(feature = "server")]
pub mod crash;
pub mod crypto;
#[cfg(all(test, feature = "server"))]
mod documents;
#[cfg(feature = "server")]
pub mod endpoints;
#[cfg(feature = "server")]
pub mod host;
pub mod limits;
#[cfg(feature = "server")]
pub mod links;
#[cfg(feature = "server")]
pub mod log;
pub mod metrics;
#[cfg(feature = "server")]
pub mod net;
#[cfg(feature = "server")]
pub mod queue;
#[cfg(feature = "server")]
pub mod rlimit;
pub mod room;
pub mod roster;
pub mod session;
#[cfg(feature = "server")]
pub mod session_id;
#[cfg(feature = "server")]
pub mod shutdown;
pub mod text;
#[cfg(feature = "server")]
pub mod timer;
#[cfg(feature = "server")]
pub mod window;
pub mod wire;

#[cfg(feature = "server")]
pub use session_id::SessionId;
