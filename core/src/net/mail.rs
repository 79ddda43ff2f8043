//! Mail to an event loop from other threads.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use mio::net::TcpStream;

use super::endpoint::Endpoint;
use crate::queue::JobQueue;
use crate::wire::CloseReason;

/// An item in the mailbox of a [`Shard`](super::Shard).
pub enum Mail<C> {
    /// A socket from the acceptor.
    Adopt(TcpStream, SocketAddr, Arc<Endpoint>),
    /// Close all sessions with clients; links stay up.
    CloseClients(CloseReason),
    /// Close all sessions. The loop ends with the last of them, or after the given time.
    Stop(CloseReason, Duration),
    /// A command for the application.
    App(C),
}

/// Mailbox of a [`Shard`](super::Shard).
pub type Mailbox<C> = JobQueue<Mail<C>>;
