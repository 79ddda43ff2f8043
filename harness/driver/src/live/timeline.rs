//! The timeline: one row a second.

use std::time::Duration;

use throng_harness_model::clock::Nanos;
use throng_harness_model::procstat::Sample;
use throng_harness_model::record::Latencies;
use throng_harness_model::results::{Second, Totals};
use throng_harness_model::scheduling::Scheduling;

use super::panel::{Panel, sum};

/// Makes rows from the workers' panels.
#[derive(Debug, Default)]
pub struct Timeline {
    rows: Vec<Second>,
    last_at: Nanos,
    last_totals: Totals,
    last_latencies: Latencies,
    last_cpu: Option<Duration>,
    last_own_cpu: Option<Duration>,
}

impl Timeline {
    /// Adds the row for `now`. `server` and `harness` are samples of the processes at that time, if
    /// they can be observed, and `scheduling` is that since the row before.
    pub fn tick(
        &mut self,
        now: Nanos,
        panels: &[Panel],
        server: Option<&Sample>,
        harness: Option<&Sample>,
        scheduling: Option<&Scheduling>,
    ) -> &Second {
        let totals = sum(panels);
        let mut latencies = Latencies::new();
        for panel in panels {
            latencies.merge(&panel.latencies.lock());
        }
        let recent = latencies.since(&self.last_latencies).summary();
        let seconds = (now.saturating_sub(self.last_at).max(1)) as f64 / 1e9;
        let per_second = |now: u64, before: u64| now.saturating_sub(before) as f64 / seconds;
        let [cpu, own_cpu] = [server, harness].map(|sample| sample.map(|sample| sample.cpu));
        let used = |now: Option<Duration>, before: Option<Duration>| {
            now.zip(before).map(|(now, before)| now.saturating_sub(before).as_secs_f64())
        };
        let server_used = used(cpu, self.last_cpu);
        let received = totals.received.saturating_sub(self.last_totals.received);
        let row = Second {
            at_s: now as f64 / 1e9,
            connected: totals.connected,
            disconnected: totals.disconnected,
            left: totals.left,
            away: totals.away,
            sent: totals.sent,
            received: totals.received,
            sent_per_s: per_second(totals.sent, self.last_totals.sent),
            received_per_s: per_second(totals.received, self.last_totals.received),
            p50_us: recent.p50,
            p90_us: recent.p90,
            p99_us: recent.p99,
            max_us: recent.max,
            server_cpu: server_used.map(|used| used / seconds),
            server_rss_bytes: server.map(|sample| sample.rss_bytes),
            server_cpu_us_per_delivery: server_used
                .filter(|_| received > 0)
                .map(|used| used * 1e6 / received as f64),
            harness_cpu: used(own_cpu, self.last_own_cpu).map(|used| used / seconds),
            harness_rss_bytes: harness.map(|sample| sample.rss_bytes),
            others_cpu: scheduling.map(|found| found.others_cpu),
            steal: scheduling.map(|found| found.steal),
            cpu_pressure: scheduling.and_then(|found| found.pressure),
            harness_withheld: scheduling.map(|found| found.harness.withheld),
            server_withheld: scheduling.and_then(|found| Some(found.server.as_ref()?.withheld)),
            // The rest is known once the workers' messages have been merged.
            ..Second::default()
        };
        (self.last_at, self.last_totals, self.last_latencies) = (now, totals, latencies);
        (self.last_cpu, self.last_own_cpu) = (cpu, own_cpu);
        self.rows.push(row);
        &self.rows[self.rows.len() - 1]
    }

    /// All rows, for the report.
    pub fn into_rows(self) -> Vec<Second> {
        self.rows
    }
}

/// Adds to each row the time until its messages reached their last recipient. `messages` are due
/// times, in order, each with the time to its last recipient. A message belongs to the first row
/// that ends after it was due.
pub fn add_last_recipients(rows: &mut [Second], messages: impl IntoIterator<Item = (Nanos, Nanos)>) {
    let mut messages = messages.into_iter().peekable();
    let mut times = Latencies::new();
    for row in rows {
        times.clear();
        while let Some((_, last)) = messages.next_if(|(due, _)| *due as f64 / 1e9 <= row.at_s) {
            times.record(last);
        }
        let figures = times.summary();
        (row.last_recipient_p50_us, row.last_recipient_p99_us) = (figures.p50, figures.p99);
    }
}

#[cfg(test)]
mod tests {

    use throng_harness_model::procstat::Meter;

    use super::*;

    #[test]
    fn rows_cover_the_time_since_the_row_before() {
        let panels = [Panel::default(), Panel::default()];
        let mut timeline = Timeline::default();
        let mut latencies = Latencies::new();
        let totals = Totals { connected: 5, sent: 10, received: 50, ..Totals::default() };
        for panel in &panels {
            panel.publish(totals);
        }
        latencies.record(2_000_000);
        panels[0].publish_latencies(&latencies);
        timeline.tick(1_000_000_000, &panels, None, None, None);
        panels[1].publish(Totals { sent: 40, ..totals });
        latencies.record(8_000_000);
        panels[0].publish_latencies(&latencies);
        timeline.tick(3_000_000_000, &panels, None, None, None);
        timeline.tick(4_000_000_000, &panels, None, None, None);

        let [first, second, third] = timeline.into_rows().try_into().expect("three ticks");
        assert_eq!((first.connected, first.sent, first.sent_per_s), (10, 20, 20.0));
        assert!((first.p50_us - 2000.0).abs() < 5.0, "{first:?}");
        assert_eq!((second.sent, second.sent_per_s, second.received_per_s), (50, 15.0, 0.0));
        assert!((second.p50_us - 8000.0).abs() < 10.0, "only the new one counts: {second:?}");
        assert!(third.max_us < 1.0, "nothing new: {third:?}");
    }

    #[test]
    fn both_processes_are_in_a_row() {
        let panels = [Panel::default()];
        let mut timeline = Timeline::default();
        let mut meter = Meter::start_own().expect("this process runs");
        let before = *meter.sample();
        timeline.tick(1_000_000_000, &panels, Some(&before), None, None);
        panels[0].publish(Totals { received: 200, ..Totals::default() });
        let mut after = before;
        after.cpu += Duration::from_millis(500);
        timeline.tick(3_000_000_000, &panels, Some(&after), Some(&before), None);
        timeline.tick(4_000_000_000, &panels, None, Some(&after), None);
        let [first, second, third] = timeline.into_rows().try_into().expect("three ticks");
        assert_eq!((first.server_cpu, first.harness_cpu, first.harness_rss_bytes), (None, None, None));
        assert_eq!((second.server_cpu, second.server_cpu_us_per_delivery), (Some(0.25), Some(2_500.0)));
        assert_eq!((second.harness_cpu, second.harness_rss_bytes), (None, Some(before.rss_bytes)));
        assert_eq!((third.server_cpu, third.server_cpu_us_per_delivery), (None, None));
        assert_eq!(third.harness_cpu, Some(0.5));
    }

    #[test]
    fn last_recipients_belong_to_the_rows_of_their_messages() {
        let mut rows = [1.0, 2.0, 3.0].map(|at_s| Second { at_s, ..Second::default() });
        let due = |tenths: Nanos| tenths * 100_000_000;
        let messages = [(due(15), 4_000_000), (due(20), 4_000_000), (due(21), 9_000_000), (due(90), 1)];
        add_last_recipients(&mut rows, messages);
        let found = rows.map(|row| row.last_recipient_p50_us);
        assert!(
            found[0] < 1.0 && (found[1] - 4_000.0).abs() < 5.0 && (found[2] - 9_000.0).abs() < 9.0,
            "{found:?}"
        );
    }
}
