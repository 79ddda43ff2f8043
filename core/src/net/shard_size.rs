//! Bounds of one shard.

use std::time::Duration;

use super::membership::LogLimits;

/// Bounds of one shard's tables, queues and patience.
#[derive(Debug, Clone, Copy)]
pub struct ShardSize {
    /// Most accepted sessions with clients. Dialed sessions share the whole table.
    pub clients: usize,
    /// Most items in the mailbox.
    pub mailbox: usize,
    /// Bounds of the room logs.
    pub logs: LogLimits,
    /// Longest time for which a client's socket may accept nothing while bytes wait for it. Then
    /// the client is closed as too slow.
    pub slow_timeout: Duration,
    /// Send buffer that the system is asked to give each client's socket, in bytes.
    pub send_buffer: usize,
}

impl ShardSize {
    /// Creates the bounds for `clients` sessions and a mailbox of `mailbox` items. The other bounds
    /// are the defaults of the configuration.
    pub fn new(clients: usize, mailbox: usize) -> Self {
        let logs = LogLimits { segments: [16, 2], pool: 1024 };
        Self { clients, mailbox, logs, slow_timeout: Duration::from_secs(30), send_buffer: 256 * 1024 }
    }
}
