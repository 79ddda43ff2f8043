//! Descriptions of sessions that applications get when a session opens or ends.

use std::net::SocketAddr;

use crate::session::endpoint::PeerKind;
use crate::wire::CloseReason;

/// A session that has completed its handshake.
#[derive(Debug, Clone, Copy)]
pub struct Opened {
    /// Kind of the peer.
    pub kind: PeerKind,
    /// Address of the peer.
    pub address: SocketAddr,
    /// Token given to [`Sessions::dial`](super::Sessions::dial); none if the peer connected to us.
    pub dialed: Option<u64>,
}

/// A session that has ended, or a connection that could not be established.
#[derive(Debug, Clone, Copy)]
pub struct Closed {
    /// Kind of the peer.
    pub kind: PeerKind,
    /// Token given to [`Sessions::dial`](super::Sessions::dial); none if the peer connected to us.
    pub dialed: Option<u64>,
    /// Reason of the end.
    pub reason: CloseReason,
}
