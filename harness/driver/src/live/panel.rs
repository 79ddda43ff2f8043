//! Panels: each worker publishes its numbers in one, for any thread to read.

use std::sync::atomic::{AtomicU64, Ordering};

use crossbeam_utils::CachePadded;
use parking_lot::Mutex;
use throng_harness_model::clock::Nanos;
use throng_harness_model::record::Latencies;
use throng_harness_model::results::Totals;
use zerocopy::transmute;

/// The number of fields of [`Totals`].
const TOTALS: usize = size_of::<Totals>() / size_of::<u64>();

/// One cell for each field.
#[derive(Debug)]
struct Numbers([AtomicU64; TOTALS]);

impl Default for Numbers {
    fn default() -> Self {
        Self(std::array::from_fn(|_| AtomicU64::new(0)))
    }
}

/// The published numbers of one worker.
#[derive(Debug, Default)]
pub struct Panel {
    totals: CachePadded<Numbers>,
    pub(super) latencies: Mutex<Latencies>,
    /// The read lag measured last, in nanoseconds.
    read_lag: AtomicU64,
    /// One more than the number of the counted message received last; 0 before the first.
    heard: AtomicU64,
}

impl Panel {
    /// Publishes totals, every turn of the event loop: it costs a few stores. A reader may see some
    /// numbers newer than others.
    pub fn publish(&self, totals: Totals) {
        let numbers: [u64; TOTALS] = transmute!(totals);
        for (cell, value) in self.totals.0.iter().zip(numbers) {
            cell.store(value, Ordering::Relaxed);
        }
    }

    /// Publishes all latencies so far. It copies 200 kB, so a caller should not do it much more
    /// than once a second. Skipped while a reader holds the lock.
    pub fn publish_latencies(&self, latencies: &Latencies) {
        if let Some(mut shown) = self.latencies.try_lock() {
            shown.copy_from(latencies);
        }
    }

    /// Publishes the read lag: the time from a message's arrival until it was read, in nanoseconds.
    pub fn publish_read_lag(&self, lag: Nanos) {
        self.read_lag.store(lag, Ordering::Relaxed);
    }

    /// The read lag published last, in nanoseconds; 0 before the first.
    pub fn read_lag(&self) -> Nanos {
        self.read_lag.load(Ordering::Relaxed)
    }

    /// Publishes the number of the counted message received last.
    pub fn publish_heard(&self, index: u32) {
        self.heard.store(u64::from(index) + 1, Ordering::Relaxed);
    }

    /// The number published last.
    pub fn heard(&self) -> Option<u32> {
        self.heard.load(Ordering::Relaxed).checked_sub(1).map(|index| index as u32)
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

/// The sum of all workers' totals.
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

    use throng_harness_model::results::{PARTS, Part};

    use super::*;

    /// Totals whose fields all differ.
    fn counted(from: u64) -> Totals {
        let numbers: [u64; TOTALS] = std::array::from_fn(|place| from + place as u64);
        transmute!(numbers)
    }

    #[test]
    fn published_totals_are_read_and_summed() {
        let panels = [Panel::default(), Panel::default()];
        assert_eq!(panels[0].totals(), Totals::default());
        panels[0].publish(counted(1));
        panels[1].publish(counted(1_000));
        assert_eq!((panels[0].totals(), panels[1].totals()), (counted(1), counted(1_000)));
        let all = sum(&panels);
        assert_eq!((all.connected, all.listed), (1_001, 1_003));
        assert_eq!(panels[0].heard(), None);
        for index in [0, u32::MAX] {
            panels[0].publish_heard(index);
            assert_eq!(panels[0].heard(), Some(index));
        }
        let last = 1_001 + 2 * (TOTALS as u64 - 1);
        assert_eq!(all.parts[PARTS.len() - 1], Part { done: last - 2, took: last });
    }
}
