//! What workers show: numbers of their own that anybody may read.

use std::sync::atomic::{AtomicU64, Ordering};

use crossbeam_utils::CachePadded;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use crate::clock::Nanos;
use crate::record::Latencies;

/// One worker's running totals.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    /// Clients in the chat now.
    pub connected: u64,
    /// Of these, the ones that have the complete user list.
    pub listed: u64,
    /// Of these, the ones that the probe message has reached.
    pub probed: u64,
    /// Clients that the server will not let in.
    pub refused: u64,
    /// Clients that will not get in for another cause.
    pub failed: u64,
    /// Clients that were thrown out.
    pub disconnected: u64,
    /// Times that a client has left the chat in order.
    pub left: u64,
    /// Messages of the schedule that have had their turn, sent or not.
    pub scheduled: u64,
    /// Messages sent and counted.
    pub sent: u64,
    /// Messages received, first copies.
    pub received: u64,
    /// Of these, the ones received by clients that are in the chat now.
    pub received_by_present: u64,
    /// 1 once the connection outside the room that listens for leaks is there, or cannot be.
    pub outside: u64,
    /// 1 once the worker sends no more.
    pub hushed: u64,
    /// Times that a client has found its place, or will find none.
    pub gathered: u64,
    /// Impaired clients that have not read everything.
    pub asleep: u64,
    /// 1 once they have been told to.
    pub woken: u64,
    /// Clients in the chat that keep their user list.
    pub lists_kept: u64,
    /// Of these, the ones whose list has of the run's clients exactly those that are there.
    pub lists_exact: u64,
    /// Of these, the ones whose list has more of them: some have left.
    pub lists_larger: u64,
    /// For the how manieth time the three have been counted.
    pub lists_looked_at: u64,
    /// Clients that have hung up and are to come again.
    pub away: u64,
    /// 1 once everybody has hung up who was to.
    pub stormed: u64,
}

/// How many numbers [`Totals`] are.
const TOTALS: usize = 22;

impl Totals {
    fn into_array(self) -> [u64; TOTALS] {
        let Self { connected, listed, probed, refused, failed, disconnected, left, .. } = self;
        let Self { scheduled, sent, received, received_by_present, outside, hushed, .. } = self;
        let Self { gathered, asleep, woken, .. } = self;
        let Self { lists_kept, lists_exact, lists_larger, lists_looked_at, away, stormed, .. } = self;
        [
            connected,
            listed,
            probed,
            refused,
            failed,
            disconnected,
            left,
            scheduled,
            sent,
            received,
            received_by_present,
            outside,
            hushed,
            gathered,
            asleep,
            woken,
            lists_kept,
            lists_exact,
            lists_larger,
            lists_looked_at,
            away,
            stormed,
        ]
    }

    fn from_array(numbers: [u64; TOTALS]) -> Self {
        let [connected, listed, probed, refused, failed, disconnected, left, rest @ ..] = numbers;
        let [
            scheduled,
            sent,
            received,
            received_by_present,
            outside,
            hushed,
            gathered,
            asleep,
            woken,
            lists @ ..,
        ] = rest;
        let [lists_kept, lists_exact, lists_larger, lists_looked_at, away, stormed] = lists;
        Self {
            connected,
            listed,
            probed,
            refused,
            failed,
            disconnected,
            left,
            scheduled,
            sent,
            received,
            received_by_present,
            outside,
            hushed,
            gathered,
            asleep,
            woken,
            lists_kept,
            lists_exact,
            lists_larger,
            lists_looked_at,
            away,
            stormed,
        }
    }
}

/// Where one worker publishes its totals.
#[derive(Debug, Default)]
pub struct Panel {
    totals: CachePadded<[AtomicU64; TOTALS]>,
    pub(super) latencies: Mutex<Latencies>,
    /// How long something that had arrived waited for its reading, when that was last looked at.
    read_lag: AtomicU64,
}

impl Panel {
    /// Publishes totals; some stores, so it can be done every turn of the event loop. A reader
    /// may see some numbers newer than others.
    pub fn publish(&self, totals: Totals) {
        for (cell, value) in self.totals.iter().zip(totals.into_array()) {
            cell.store(value, Ordering::Relaxed);
        }
    }

    /// Publishes all latencies so far; copies 200 kB, so once a second is right. Skipped when the
    /// display is reading at this moment.
    pub fn publish_latencies(&self, latencies: &Latencies) {
        if let Some(mut shown) = self.latencies.try_lock() {
            shown.copy_from(latencies);
        }
    }

    /// Publishes how long something that had arrived waited for its reading, in nanoseconds.
    pub fn publish_read_lag(&self, lag: Nanos) {
        self.read_lag.store(lag, Ordering::Relaxed);
    }

    /// The read lag published last; 0 before the first.
    pub fn read_lag(&self) -> Nanos {
        self.read_lag.load(Ordering::Relaxed)
    }

    /// A copy of the latencies published last.
    pub fn latencies(&self) -> Latencies {
        self.latencies.lock().clone()
    }

    /// The totals published last.
    pub fn totals(&self) -> Totals {
        Totals::from_array(std::array::from_fn(|cell| self.totals[cell].load(Ordering::Relaxed)))
    }
}

/// All workers' totals at one moment.
pub fn sum<'a>(panels: impl IntoIterator<Item = &'a Panel>) -> Totals {
    let mut sums = [0; TOTALS];
    for panel in panels {
        sums.iter_mut().zip(panel.totals().into_array()).for_each(|(sum, number)| *sum += number);
    }
    Totals::from_array(sums)
}
