//! The numbers that a worker publishes on its panel while the run goes on.

use std::sync::Arc;

use throng_harness_model::clock::Nanos;

use super::Worker;
use crate::live::Panel;

/// The interval at which a worker publishes its latencies, in nanoseconds.
const LATENCIES_EVERY: Nanos = 500_000_000;

/// A worker's panel.
pub(super) struct Publishing {
    /// Those of all workers; each writes its own.
    panels: Arc<[Panel]>,
    /// The time of the latest latencies.
    latencies_at: Nanos,
    /// Arrival times of data whose read lag is not measured yet.
    pub(super) arrivals: Vec<Nanos>,
    /// The counted message received last.
    pub(super) heard: Option<u32>,
}

impl Publishing {
    /// Nothing is published yet.
    pub(super) fn new(panels: Arc<[Panel]>) -> Self {
        Self { panels, latencies_at: 0, arrivals: Vec::new(), heard: None }
    }
}

impl Worker {
    /// Publishes at the end of a turn that began at `now`: every socket that was readable then has
    /// been read by now.
    pub(super) fn publish(&mut self, now: Nanos) {
        let panel = &self.publishing.panels[self.index as usize];
        for arrived in self.publishing.arrivals.drain(..) {
            let lag = self.plan.clock.now().saturating_sub(arrived);
            self.results.read_lag.record(lag);
            panel.publish_read_lag(lag);
        }
        self.totals.entering = self.entries.entering.len() as u64;
        panel.publish(self.totals);
        if let Some(index) = self.publishing.heard.take() {
            panel.publish_heard(index);
        }
        if now >= self.publishing.latencies_at + LATENCIES_EVERY {
            self.publishing.latencies_at = now;
            panel.publish_latencies(&self.results.recorder.corrected);
        }
    }
}
