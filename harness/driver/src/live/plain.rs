//! Progress as lines of text.

use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write};

use ratatui::crossterm::terminal;
use throng_harness_model::results::Second;
use throng_harness_model::text::{format_bytes, format_count, format_nanos, format_rate};

/// Writes rows to a terminal or a log.
#[derive(Debug)]
pub struct Progress<W> {
    out: W,
    /// True if a row replaces the one before it.
    replaces: bool,
    /// Returns the number of characters that fit into a replaced row.
    width: fn() -> usize,
}

impl Progress<io::Stderr> {
    /// Progress on stderr: one changing line on a terminal, else a line for each row.
    pub fn stderr() -> Self {
        let out = io::stderr();
        let width = || terminal::size().map_or(80, |(columns, _)| usize::from(columns)).saturating_sub(1);
        Self { replaces: out.is_terminal(), width, out }
    }
}

impl<W: Write> Progress<W> {
    /// Shows a row; ignores errors, because a closed output must not stop the run.
    pub fn show(&mut self, row: &Second) {
        let mut line = line(row);
        let _ = if self.replaces {
            // A line that wraps could not be erased.
            if let Some((end, _)) = line.char_indices().nth((self.width)()) {
                line.truncate(end);
            }
            write!(self.out, "\r\x1b[2K{line}").and_then(|()| self.out.flush())
        } else {
            writeln!(self.out, "{line}")
        };
    }

    /// Ends the line of the last row.
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
    if row.away > 0 {
        add(format_args!(", {} away", format_count(row.away)));
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
        let server = if row.server_cpu.is_some() { "" } else { "  server" };
        add(format_args!("{server} {}", format_bytes(rss)));
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(replaces: bool, rows: &[Second]) -> String {
        let mut progress = Progress { out: Vec::new(), replaces, width: || 1_000 };
        for row in rows {
            progress.show(row);
        }
        progress.finish();
        String::from_utf8(progress.out).expect("text")
    }

    #[test]
    fn a_line_has_the_figures_of_its_row() {
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
        let leaving = Second { at_s: 2.0, connected: 7, away: 3, left: 1_234, ..Second::default() };
        assert_eq!(line(&leaving), "    2s  7 connected, 3 away, 1,234 left");
        assert_eq!(shown(false, &[row.clone(), row.clone()]), format!("{full}\n{full}\n"));
        assert_eq!(shown(true, &[row.clone(), row.clone()]), format!("\r\x1b[2K{full}\r\x1b[2K{full}\n"));
        let mut narrow = Progress { out: Vec::new(), replaces: true, width: || 26 };
        narrow.show(&row);
        assert_eq!(narrow.out, b"\r\x1b[2K   12s  9,000 connected, 2");
    }
}
