//! Rules that all sessions of one kind share: keys, limits and timeouts.

use std::time::Duration;

use crate::crypto::Credentials;

/// Kind of a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PeerKind {
    /// A player's client, or, in the load harness, the server that the client talks to.
    Client,
    /// Another server of the cluster.
    Link,
}

/// Rules for the connections of one listener, or for those dialed to one kind of server.
#[derive(Debug)]
pub struct Endpoint {
    /// Kind of the peer.
    pub peer: PeerKind,
    /// Keys with which the two ends authenticate each other.
    pub credentials: Credentials,
    /// Longest frame body accepted from the peer after the handshake, in bytes.
    pub body_max: usize,
    /// Most bytes that may wait for the peer's socket; beyond, the peer is too slow. The frame that
    /// passes the limit is still queued.
    pub outbox_max: usize,
    /// Longest time from connecting to the end of the handshake.
    pub handshake_timeout: Duration,
    /// Longest time from the end of the handshake to the peer's first packet; none for no limit.
    pub first_packet_timeout: Option<Duration>,
    /// Silence of the peer after which it is sent a heartbeat; none for no heartbeats.
    pub heartbeat: Option<Duration>,
    /// Silence of the peer after which the session is closed; none for no limit.
    pub idle_timeout: Option<Duration>,
    /// Longest time for which a closing session waits for the peer to accept what is queued, and
    /// for the peer's own close. While its loop ends, what is queued has the time of the stop.
    pub linger: Duration,
}
