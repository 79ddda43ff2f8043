//! The event loops: sessions, their sockets and their timers.
//!
//! [`session`], [`outbox`], [`table`], [`membership`] and [`room_log`] know no socket and no clock.
//! [`shard`], `sessions`, `dialer` and [`acceptor`] are the only places that import mio.

pub mod acceptor;
mod dialer;
pub mod endpoint;
pub mod membership;
pub mod outbox;
pub mod room_log;
pub mod session;
mod sessions;
pub mod shard;
pub mod table;

pub use acceptor::{Acceptor, AcceptorHandle, ListenError, Listener};
pub use endpoint::{Endpoint, PeerKind};
pub use membership::LogLimits;
pub use shard::{App, Closed, Mail, Mailbox, Opened, Sessions, Shard, ShardSize};
