//! The event loops: sessions, their sockets and their timers.
//!
//! [`session`], [`outbox`], [`table`], [`rooms`] and [`room_log`] know no socket and no clock.
//! [`shard`], `sessions`, `dialer` and [`acceptor`] are the only places that import mio.

pub mod acceptor;
mod dialer;
pub mod endpoint;
pub mod outbox;
pub mod room_log;
pub mod rooms;
pub mod session;
mod sessions;
pub mod shard;
pub mod table;

pub use acceptor::{Acceptor, AcceptorHandle, ListenError, Listener};
pub use endpoint::{Endpoint, PeerKind};
pub use rooms::LogLimits;
pub use shard::{App, Closed, Mail, Mailbox, Net, Opened, Shard, ShardSize};
