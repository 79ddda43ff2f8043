//! Counters of the DB threads.

use std::sync::atomic::{AtomicU64, AtomicUsize};

/// Counters of a pool since its start.
#[derive(Debug, Default)]
pub struct PoolStats {
    /// Requests executed, whatever their outcome.
    pub served: AtomicU64,
    /// Requests that failed because of a fault.
    pub failed: AtomicU64,
    /// Requests answered TryAgainLater without being executed: expired, or no connection to the
    /// database.
    pub expired: AtomicU64,
    /// Requests answered TryAgainLater without a hash because it would have ended too late.
    pub late: AtomicU64,
    /// Requests refused because their queue was full.
    pub rejected: AtomicU64,
    /// Retries: control requests that failed and stayed queued, and other requests that were
    /// started again over a new connection.
    pub retried: AtomicU64,
    /// Threads that took the place of one that hung.
    pub replaced: AtomicU64,
    /// Connections opened.
    pub connections: AtomicU64,
    /// Threads connected now.
    pub connected: AtomicUsize,
}
