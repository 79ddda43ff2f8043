//! Event loops: sessions, their sockets, and their timers.
//!
//! [`session`](crate::session), [`table`], [`membership`] and [`room_log`] know neither sockets nor
//! clocks. On top of them `conn`, `sessions`, [`shard`] and [`acceptor`] bring in mio; each uses
//! only those before it. Tables and queues are bounded by [`ShardSize`] and
//! [`limits`](crate::limits).

pub mod acceptor;
mod addresses;
mod conn;
mod dial_side;
mod dialer;
mod lifecycle;
mod mail;
pub mod membership;
pub mod room_log;
mod seats;
mod sessions;
pub mod shard;
mod shard_size;
mod shares;
pub mod table;

pub use crate::session::{Endpoint, PeerKind};
pub use acceptor::{Acceptor, AcceptorHandle, ListenError, Listener};
pub use addresses::{Addresses, network_of};
pub use dialer::DialError;
pub use lifecycle::{Closed, Opened};
pub use mail::{Mail, Mailbox};
pub use membership::LogLimits;
pub use sessions::Sessions;
pub use sessions::app::App;
pub use shard::Shard;
pub use shard_size::ShardSize;
