//! What is shown while a run is under way, and its timeline: one row a second.
//!
//! Workers write numbers into panels of their own, the main thread reads them: no worker
//! ever waits for the display, and none is told anything by it.

use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crossbeam_utils::CachePadded;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use crate::clock::Nanos;
use crate::duration::format_nanos;
use crate::procstat::Sample;
use crate::record::Latencies;
use crate::report::{format_bytes, format_count, format_rate};

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
    /// Of these, the ones whose list has exactly the run's clients that are there.
    pub lists_exact: u64,
    /// Of these, the ones whose list has more: others are there too.
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
    latencies: Mutex<Latencies>,
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

/// Shows rows to a person, or writes them to a log.
#[derive(Debug)]
pub struct Progress<W> {
    out: W,
    /// Whether a row replaces the one before it.
    replaces: bool,
}

impl Progress<io::Stderr> {
    /// Progress on stderr: one line that changes on a terminal, else a line for each row.
    pub fn stderr() -> Self {
        let out = io::stderr();
        Self { replaces: out.is_terminal(), out }
    }
}

impl<W: Write> Progress<W> {
    /// Shows a row. An output that is gone does not stop the run.
    pub fn show(&mut self, row: &Second) {
        let line = line(row);
        let _ = if self.replaces {
            write!(self.out, "\r\x1b[2K{line}").and_then(|()| self.out.flush())
        } else {
            writeln!(self.out, "{line}")
        };
    }

    /// Leaves the last row and goes to a new line.
    pub fn finish(&mut self) {
        if self.replaces {
            let _ = writeln!(self.out);
        }
    }
}

fn line(row: &Second) -> String {
    let mut line = format!("{:5.0}s  {} connected", row.at_s, format_count(row.connected));
    let mut add = |text: std::fmt::Arguments<'_>| line.write_fmt(text).expect("a String takes everything");
    if row.disconnected > 0 {
        add(format_args!(", {} LOST", format_count(row.disconnected)));
    }
    if row.left > 0 {
        add(format_args!(", {} left", format_count(row.left)));
    }
    if row.sent > 0 {
        add(format_args!("  sent {:.0}/s", row.sent_per_s));
        add(format_args!("  received {}/s", format_rate(row.received_per_s)));
    }
    if row.max_us > 0.0 {
        let [p50, p99, max] = [row.p50_us, row.p99_us, row.max_us].map(|micros| format_nanos(micros * 1e3));
        add(format_args!("  p50 {p50}, p99 {p99}, max {max}"));
    }
    if let Some(cpu) = row.server_cpu {
        add(format_args!("  server {:.0}% CPU", cpu * 100.0));
    }
    if let Some(rss) = row.server_rss_bytes {
        add(format_args!(" {}", format_bytes(rss)));
    }
    line
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

    fn shown(replaces: bool, rows: &[Second]) -> String {
        let mut progress = Progress { out: Vec::new(), replaces };
        for row in rows {
            progress.show(row);
        }
        progress.finish();
        String::from_utf8(progress.out).expect("text")
    }

    #[test]
    fn lines_say_what_matters() {
        let row = Second {
            at_s: 12.01,
            connected: 9000,
            disconnected: 2,
            sent: 100,
            sent_per_s: 88.9,
            received_per_s: 800_000.4,
            p50_us: 34_100.0,
            p99_us: 74_000.0,
            max_us: 80_500.0,
            server_cpu: Some(0.98),
            server_rss_bytes: Some(45_200_000),
            ..Second::default()
        };
        let full = "   12s  9,000 connected, 2 LOST  sent 89/s  received 800,000/s  p50 34.1 ms, p99 74 ms, max 80.5 ms  server 98% CPU 45.2 MB";
        assert_eq!(line(&row), full);
        assert_eq!(line(&Second { at_s: 1.0, connected: 7, ..Second::default() }), "    1s  7 connected");
        let leaving = Second { at_s: 2.0, connected: 7, left: 1_234, ..Second::default() };
        assert_eq!(line(&leaving), "    2s  7 connected, 1,234 left");
        assert_eq!(shown(false, &[row.clone(), row.clone()]), format!("{full}\n{full}\n"));
        assert_eq!(shown(true, &[row.clone(), row]), format!("\r\x1b[2K{full}\r\x1b[2K{full}\n"));
    }
}
