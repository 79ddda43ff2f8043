//! The timeline: one row a second.

use std::time::Duration;

use serde::Serialize;

use super::panel::{Panel, Totals, sum};
use crate::clock::Nanos;
use crate::procstat::Sample;
use crate::record::Latencies;

/// One row of the timeline: what happened since the row before.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Second {
    /// Seconds since the run began.
    pub at_s: f64,
    /// Clients in the chat now.
    pub connected: u64,
    /// Clients thrown out so far.
    pub disconnected: u64,
    /// Times so far that a client has left in order.
    pub left: u64,
    /// Messages sent so far.
    pub sent: u64,
    /// Messages received so far.
    pub received: u64,
    /// Messages sent a second.
    pub sent_per_s: f64,
    /// Messages received a second.
    pub received_per_s: f64,
    /// Median latency of what was received since, in microseconds; 0 for nothing.
    pub p50_us: f64,
    /// 90th percentile likewise.
    pub p90_us: f64,
    /// 99th percentile likewise.
    pub p99_us: f64,
    /// Longest likewise.
    pub max_us: f64,
    /// The server's share of one core.
    pub server_cpu: Option<f64>,
    /// The server's resident memory.
    pub server_rss_bytes: Option<u64>,
}

/// Turns panels into rows.
#[derive(Debug, Default)]
pub struct Timeline {
    rows: Vec<Second>,
    last_at: Nanos,
    last_totals: Totals,
    last_latencies: Latencies,
    last_cpu: Option<Duration>,
}

impl Timeline {
    /// Adds the row for `now`, with the server's process as it is now, if it can be seen.
    pub fn tick(&mut self, now: Nanos, panels: &[Panel], server: Option<&Sample>) -> &Second {
        let totals = sum(panels);
        let mut latencies = Latencies::new();
        for panel in panels {
            latencies.merge(&panel.latencies.lock());
        }
        let recent = latencies.since(&self.last_latencies).summary();
        let seconds = (now.saturating_sub(self.last_at).max(1)) as f64 / 1e9;
        let per_second = |now: u64, before: u64| now.saturating_sub(before) as f64 / seconds;
        let cpu = server.map(|sample| sample.cpu);
        let row = Second {
            at_s: now as f64 / 1e9,
            connected: totals.connected,
            disconnected: totals.disconnected,
            left: totals.left,
            sent: totals.sent,
            received: totals.received,
            sent_per_s: per_second(totals.sent, self.last_totals.sent),
            received_per_s: per_second(totals.received, self.last_totals.received),
            p50_us: recent.p50,
            p90_us: recent.p90,
            p99_us: recent.p99,
            max_us: recent.max,
            server_cpu: cpu
                .zip(self.last_cpu)
                .map(|(now, before)| (now.saturating_sub(before)).as_secs_f64() / seconds),
            server_rss_bytes: server.map(|sample| sample.rss_bytes),
        };
        (self.last_at, self.last_totals, self.last_latencies, self.last_cpu) = (now, totals, latencies, cpu);
        self.rows.push(row);
        &self.rows[self.rows.len() - 1]
    }

    /// All rows, for the report.
    pub fn into_rows(self) -> Vec<Second> {
        self.rows
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_hold_what_happened_since_the_last() {
        let panels = [Panel::default(), Panel::default()];
        let mut timeline = Timeline::default();
        let mut latencies = Latencies::new();
        let totals = Totals { connected: 5, sent: 10, received: 50, ..Totals::default() };
        for panel in &panels {
            panel.publish(totals);
        }
        latencies.record(2_000_000);
        panels[0].publish_latencies(&latencies);
        timeline.tick(1_000_000_000, &panels, None);
        panels[1].publish(Totals { sent: 40, ..totals });
        latencies.record(8_000_000);
        panels[0].publish_latencies(&latencies);
        timeline.tick(3_000_000_000, &panels, None);
        timeline.tick(4_000_000_000, &panels, None);

        let [first, second, third] = timeline.into_rows().try_into().expect("three ticks");
        assert_eq!((first.connected, first.sent, first.sent_per_s), (10, 20, 20.0));
        assert!((first.p50_us - 2000.0).abs() < 5.0, "{first:?}");
        assert_eq!((second.sent, second.sent_per_s, second.received_per_s), (50, 15.0, 0.0));
        assert!((second.p50_us - 8000.0).abs() < 10.0, "only the new one counts: {second:?}");
        assert!(third.max_us < 1.0, "nothing new: {third:?}");
    }
}
