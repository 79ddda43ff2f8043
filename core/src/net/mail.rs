//! Mail to an event loop from other threads.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_queue::ArrayQueue;
use mio::net::TcpStream;

use super::addresses::Place;
use crate::queue::JobQueue;
use crate::session::endpoint::Endpoint;
use crate::wire::CloseReason;

/// An item in the mailbox of a [`Shard`](super::Shard).
pub enum Mail<C> {
    /// Close all sessions with clients; links stay up. Clients with queued data are kept until
    /// they have received it; a later stop bounds the wait.
    CloseClients(CloseReason),
    /// Close all sessions. The loop ends with the last of them, or after the given time.
    Stop(CloseReason, Duration),
    /// A command for the application.
    App(C),
}

/// A socket that the acceptor has accepted for a shard.
pub(super) struct Accepted {
    pub(super) socket: TcpStream,
    pub(super) peer: SocketAddr,
    pub(super) endpoint: Arc<Endpoint>,
    pub(super) place: Option<Place>,
}

/// Accepted sockets on their way to a [`Shard`](super::Shard). Apart from its mailbox, so that
/// newcomers do not wait behind the work that members cause, and are not refused for it.
pub(super) type Accepts = ArrayQueue<Accepted>;

/// Mailbox of a [`Shard`](super::Shard).
pub type Mailbox<C> = JobQueue<Mail<C>>;
