//! What workers show: numbers of their own that anybody may read.

use std::sync::atomic::{AtomicU64, Ordering};

use crossbeam_utils::CachePadded;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use zerocopy::{FromBytes, Immutable, IntoBytes, transmute};

use crate::clock::Nanos;
use crate::record::Latencies;

/// One worker's running totals: numbers only, so that they can be published, read and summed as what they are.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, FromBytes, IntoBytes, Immutable,
)]
#[repr(C)]
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
    /// Clients on their way in.
    pub on_the_way: u64,
    /// Times that one of them tried something again.
    pub retried: u64,
    /// Whole ways in: `done` is the times that somebody has come into the chat.
    pub way_in: Part,
    /// The parts of it, those of [`PARTS`].
    pub parts: [Part; PARTS.len()],
}

/// How many numbers [`Totals`] are.
const TOTALS: usize = size_of::<Totals>() / size_of::<u64>();

/// What clients do one after the other on their way in, as reports have it; those with tickets begin with `dial_chat`.
pub const PARTS: [&str; 6] = ["dial_login", "sign_up", "create_character", "log_in", "dial_chat", "enter"];

/// How often something on the way in was done, and how long that took.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, FromBytes, IntoBytes, Immutable,
)]
#[repr(C)]
pub struct Part {
    /// Times.
    pub done: u64,
    /// Nanoseconds, all of them together.
    pub took: Nanos,
}

impl Part {
    /// It was done once more, and took so long.
    pub fn add(&mut self, took: Nanos) {
        self.done += 1;
        self.took = self.took.saturating_add(took);
    }

    /// What was done since `before`.
    #[must_use]
    pub fn since(self, before: Self) -> Self {
        Self { done: self.done.saturating_sub(before.done), took: self.took.saturating_sub(before.took) }
    }

    /// The mean time, in nanoseconds; none if it was not done.
    pub fn mean(self) -> Option<f64> {
        (self.done > 0).then(|| self.took as f64 / self.done as f64)
    }
}

/// A place for each number.
#[derive(Debug)]
struct Numbers([AtomicU64; TOTALS]);

impl Default for Numbers {
    fn default() -> Self {
        Self(std::array::from_fn(|_| AtomicU64::new(0)))
    }
}

/// Where one worker publishes its totals.
#[derive(Debug, Default)]
pub struct Panel {
    totals: CachePadded<Numbers>,
    pub(super) latencies: Mutex<Latencies>,
    /// How long something that had arrived waited for its reading, when that was last looked at.
    read_lag: AtomicU64,
}

impl Panel {
    /// Publishes totals; some stores, so it can be done every turn of the event loop. A reader
    /// may see some numbers newer than others.
    pub fn publish(&self, totals: Totals) {
        let numbers: [u64; TOTALS] = transmute!(totals);
        for (cell, value) in self.totals.0.iter().zip(numbers) {
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
        let numbers: [u64; TOTALS] = std::array::from_fn(|cell| self.totals.0[cell].load(Ordering::Relaxed));
        transmute!(numbers)
    }
}

/// All workers' totals at one moment.
pub fn sum<'a>(panels: impl IntoIterator<Item = &'a Panel>) -> Totals {
    let mut sums = [0_u64; TOTALS];
    for panel in panels {
        let numbers: [u64; TOTALS] = transmute!(panel.totals());
        sums.iter_mut().zip(numbers).for_each(|(sum, number)| *sum = sum.saturating_add(number));
    }
    transmute!(sums)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Totals of which every number is another one.
    fn counted(from: u64) -> Totals {
        let numbers: [u64; TOTALS] = std::array::from_fn(|place| from + place as u64);
        transmute!(numbers)
    }

    #[test]
    fn what_is_published_is_read_and_summed() {
        let panels = [Panel::default(), Panel::default()];
        assert_eq!(panels[0].totals(), Totals::default());
        panels[0].publish(counted(1));
        panels[1].publish(counted(1_000));
        assert_eq!((panels[0].totals(), panels[1].totals()), (counted(1), counted(1_000)));
        let all = sum(&panels);
        assert_eq!((all.connected, all.listed), (1_001, 1_003));
        let last = 1_001 + 2 * (TOTALS as u64 - 1);
        assert_eq!(all.parts[PARTS.len() - 1], Part { done: last - 2, took: last });
    }

    #[test]
    fn a_mean_may_be_that_of_what_is_new() {
        let mut part = Part::default();
        part.add(5_000);
        let before = part;
        assert_eq!((before.mean(), part.since(before).mean()), (Some(5_000.0), None));
        part.add(1_000);
        part.add(2_000);
        assert_eq!(part.since(before).mean(), Some(1_500.0));
    }
}
