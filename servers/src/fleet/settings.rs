//! Settings of the bus, from the configuration.

use std::path::PathBuf;
use std::time::Duration;

use throng_core::config::{Config, Secret};

use super::member::Timing;
use crate::private_file::{self, PrivateFileError};

/// Least silence of a stream that is taken for a fault.
const SILENCE_MIN: Duration = Duration::from_millis(1500);

/// Proof of a node towards NATS.
#[derive(Debug, Clone)]
pub enum Login {
    /// None: NATS takes all that reach its port.
    None,
    /// A user and its password.
    Password(String, Secret),
    /// The seed of an nkey.
    Nkey(Secret),
    /// The text of a credentials file.
    Credentials(Secret),
}

/// Settings of the bus.
#[derive(Debug, Clone)]
pub struct BusSettings {
    /// Addresses of NATS servers.
    pub servers: Vec<String>,
    /// Proof towards them.
    pub login: Login,
    /// True to refuse a connection without TLS.
    pub tls: bool,
    /// File with the certificates of the authorities to trust, instead of the system's.
    pub tls_ca: Option<PathBuf>,
    /// Name of this node among the connections.
    pub name: String,
    /// Name of the world: part of the names of stream, bucket and store.
    pub world: String,
    /// Servers that keep what the stream has.
    pub replicas: usize,
    /// True to keep it in memory only.
    pub in_memory: bool,
    /// Time for which the stream keeps a batch.
    pub retention: Duration,
    /// Bytes that the stream keeps.
    pub retention_size: u64,
    /// Silence of the stream after which its consumer is made anew. A node hears at least its own
    /// heartbeats.
    pub silence: Duration,
    /// Settings and version that all nodes must share, encoded.
    pub description: Vec<u8>,
}

impl BusSettings {
    /// Takes the settings from the configuration. None if the chat server is the only one.
    pub fn of(config: &Config, description: Vec<u8>) -> Result<Option<Self>, PrivateFileError> {
        let fleet = &config.fleet;
        if fleet.nats.is_empty() {
            return Ok(None);
        }
        let read = |file: &PathBuf| private_file::read(&config.resolve(file));
        let login = match (&fleet.credentials_file, &fleet.nkey_file) {
            (Some(file), _) => Login::Credentials(read(file)?),
            (None, Some(file)) => Login::Nkey(read(file)?),
            (None, None) if fleet.user.is_empty() => Login::None,
            (None, None) => Login::Password(fleet.user.clone(), fleet.password.clone()),
        };
        Ok(Some(Self {
            servers: fleet.nats.iter().map(|address| format!("nats://{address}")).collect(),
            login,
            tls: fleet.tls,
            tls_ca: fleet.tls_ca.as_ref().map(|file| config.resolve(file)),
            name: config.chat.name.clone(),
            world: fleet.world.clone(),
            replicas: fleet.replicas,
            in_memory: fleet.in_memory,
            retention: fleet.retention,
            retention_size: fleet.retention_size.as_u64(),
            silence: (4 * fleet.heartbeat).max(SILENCE_MIN),
            description,
        }))
    }
}

impl Timing {
    /// Takes the times from the configuration.
    pub fn of(config: &Config) -> Self {
        let fleet = &config.fleet;
        Self {
            heartbeat: fleet.heartbeat,
            dead_after: fleet.dead_after,
            // A node knows that it is cut off before the others declare it dead.
            cut_after: fleet.dead_after * 5 / 6,
            resend_after: 2 * fleet.heartbeat,
        }
    }
}
