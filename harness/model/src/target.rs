//! The servers that clients connect to, and their keys.

use std::net::SocketAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use throng_core::crypto::{ClusterKey, PublicKey};

/// The entrance of clients into the chat.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Entrance {
    /// Straight to the chat server, with tickets minted by the harness.
    Ticket,
    /// Through the login server, as players do.
    Login,
}

/// The target as the command line names it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum TargetSource {
    /// A data directory of `throng up`.
    Data(PathBuf),
    /// Data directories of the chat servers of a fleet, over which clients are spread.
    Fleet(Vec<PathBuf>),
    /// Named by flags.
    Flags {
        /// `HOST:PORT` of the login server for [`Entrance::Login`], else of the chat server.
        server: String,
        /// The server's public key.
        server_key: PublicKey,
        /// The file with the cluster's key, which is needed to mint tickets.
        cluster_key: Option<PathBuf>,
    },
}

/// A server to connect to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Endpoint {
    /// The address on which it listens.
    pub address: SocketAddr,
    /// Its public key.
    pub key: PublicKey,
}

/// The server that the clients of a run connect to first.
#[derive(Debug, Clone)]
pub struct Target {
    /// The login server for [`Entrance::Login`], else the chat server.
    pub server: Endpoint,
    /// Further chat servers of its fleet.
    pub nodes: Vec<Endpoint>,
    /// The key that seals tickets; present for [`Entrance::Ticket`].
    pub cluster_key: Option<ClusterKey>,
    /// The server's process, if it is known and runs on this machine.
    pub pid: Option<u32>,
}
