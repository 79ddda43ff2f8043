//! Where clients connect, and with which keys.

use std::net::SocketAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use throng_core::crypto::{ClusterKey, PublicKey};

/// How clients get in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Entrance {
    /// Straight to the chat server, with tickets that the harness makes.
    Ticket,
    /// By the login server, as players do.
    Login,
}

/// What the command line says about the target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum TargetSource {
    /// A data directory of `throng up`.
    Data(PathBuf),
    /// Given by hand.
    Flags {
        /// `HOST:PORT` of the login server for [`Entrance::Login`], else of the chat server.
        server: String,
        /// Its public key.
        server_key: PublicKey,
        /// The file with the cluster's key, without which no ticket can be made.
        cluster_key: Option<PathBuf>,
    },
}

/// A server to connect to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Endpoint {
    /// Where it listens.
    pub address: SocketAddr,
    /// Its public key.
    pub key: PublicKey,
}

/// Where the clients of a run connect first.
#[derive(Debug, Clone)]
pub struct Target {
    /// The login server for [`Entrance::Login`], else the chat server.
    pub server: Endpoint,
    /// What tickets are sealed with; there for [`Entrance::Ticket`].
    pub cluster_key: Option<ClusterKey>,
    /// The server's process, if it is known and runs on this machine.
    pub pid: Option<u32>,
}
