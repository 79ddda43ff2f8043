//! What all sessions of one kind have in common: keys, limits and patience.

use std::time::Duration;

use crate::crypto::Credentials;

/// What stands at the other end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PeerKind {
    /// A player's client, or, in the load harness, the server that the client talks to.
    Client,
    /// Another server of the cluster.
    Link,
}

/// The rules of a listener, or of the connections dialled to one kind of server.
#[derive(Debug)]
pub struct Endpoint {
    /// What stands at the other end.
    pub peer: PeerKind,
    /// How the two ends know each other.
    pub credentials: Credentials,
    /// Longest frame body taken from the peer after the handshake, in bytes.
    pub body_max: usize,
    /// Bytes that may wait for the peer's socket before it counts as too slow. One
    /// frame more may be queued than fits.
    pub outbox_max: usize,
    /// From connecting to the end of the handshake.
    pub handshake_timeout: Duration,
    /// From the end of the handshake to the peer's first packet, if that is limited.
    pub first_packet_timeout: Option<Duration>,
    /// Silence after which the peer is asked for a sign of life, if it is.
    pub heartbeat: Option<Duration>,
    /// Silence after which the peer is given up, if it is.
    pub idle_timeout: Option<Duration>,
    /// How long a closing session waits for the peer to take what is queued for it,
    /// and for the peer's own close.
    pub linger: Duration,
}
