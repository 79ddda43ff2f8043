//! The report as text for a terminal.

use std::fmt;

use throng_harness_model::text::{format_count, format_nanos};

use super::Report;
use super::sections::{LATENCY_HEADS, Place, Row, Section, micros};

/// Columns of the summary's running text.
const WIDTH: usize = 100;
/// Columns before the facts of a section, which its title has room in.
const INDENT: usize = 14;

/// Most lines of the reason in the last lines of a summary.
const REASON_LINES: usize = 2;

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write_with(f, |_| Ok(()), &self.outcome_text())
    }
}

impl Report {
    /// Writes the summary, with what `steps` writes below the verdict. The last lines have the
    /// verdict once more, the `outcome`, and the first thing that was broken.
    pub fn write_with(
        &self,
        f: &mut fmt::Formatter<'_>,
        steps: impl FnOnce(&mut fmt::Formatter<'_>) -> fmt::Result,
        outcome: &str,
    ) -> fmt::Result {
        let measured = format_nanos(self.measured_s * 1e9);
        let (word, meaning) = self.headline();
        writeln!(f, "\n{} for {measured}, seed {}", self.scenario, self.seed)?;
        writeln!(f, "{word}: {meaning}")?;
        if let Some(changes) = self.rate_change_warning() {
            writeln!(f, "{changes}")?;
        }
        writeln!(f)?;
        steps(f)?;
        self.sections().iter().try_for_each(|section| write_section(f, section))?;
        writeln!(f, "  {:<12}{}", "machine", self.machine)?;
        self.write_latencies(f)?;
        self.write_thresholds(f)?;
        self.write_conclusion(f, outcome)
    }

    /// The figures that a run is made for, in a sentence without full stop.
    fn outcome_text(&self) -> String {
        let entered = format!(
            "{} of {} clients",
            format_count(self.clients.connected),
            format_count(self.entries_requested())
        );
        if self.deliveries.expected == 0 {
            return entered;
        }
        format!(
            "{entered}, {} of {} deliveries, p50 {}, p99 {}",
            format_count(self.deliveries.received),
            format_count(self.deliveries.expected),
            micros(self.latency_us.p50),
            micros(self.latency_us.p99)
        )
    }

    /// Writes the verdict, the outcome and the first fault in six lines at most.
    fn write_conclusion(&self, f: &mut fmt::Formatter<'_>, outcome: &str) -> fmt::Result {
        let (word, meaning) = self.headline();
        writeln!(f, "\n{}: {word}: {meaning}", self.scenario)?;
        write_few(f, "", outcome)?;
        let broken = self.applicable_thresholds().find(|checked| !checked.held);
        let broken = broken.map(|checked| format!("{}: found {}", checked.threshold, checked.found));
        let broken = broken.as_deref().or(self.incomplete_because.first().map(String::as_str));
        match (broken, self.invalid_because.first()) {
            (Some(reason), _) => write_few(f, "BROKEN  ", reason),
            (None, Some(reason)) => write_few(f, "INVALID  ", reason),
            (None, None) => Ok(()),
        }
    }

    fn write_latencies(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rows = self.latency_rows();
        if rows.is_empty() {
            return Ok(());
        }
        let heads = LATENCY_HEADS.map(str::to_owned).into();
        writeln!(f)?;
        for row in [heads].iter().chain(&rows) {
            write!(f, "  {:<16}{:>14}", row[0], row[1])?;
            row[2..].iter().try_for_each(|time| write!(f, "{time:>10}"))?;
            writeln!(f)?;
        }
        for note in self.latency_notes() {
            write_wrapped(f, "", 2, note.split(' '))?;
        }
        Ok(())
    }

    fn write_thresholds(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f)?;
        for checked in self.applicable_thresholds() {
            let sign = if checked.held { "held  " } else { "BROKEN" };
            writeln!(f, "  {sign}  {:<24} found {}", checked.threshold, checked.found)?;
        }
        for reason in &self.incomplete_because {
            writeln!(f, "  BROKEN  {reason}")?;
        }
        if !self.valid {
            writeln!(f, "\n  INVALID: {}", self.invalid_text())?;
            let mut reasons = self.invalid_because.iter();
            reasons.try_for_each(|reason| write_wrapped(f, "  -", 6, reason.split(' ')))?;
        }
        Ok(())
    }
}

/// Writes the facts of a section: items on lines of their own, all others as running text.
fn write_section(f: &mut fmt::Formatter<'_>, section: &Section) -> fmt::Result {
    let (items, line): (Vec<_>, Vec<_>) = section.rows.iter().partition(|row| row.place == Place::Item);
    let shown = line.into_iter().filter(|row| !(row.is_rare && row.is_zero()));
    let mut phrases: Vec<_> = shown.map(|row| format!("{} {},", row.value, phrase(row))).collect();
    phrases.last_mut().map(String::pop);
    write_wrapped(f, section.title, INDENT, phrases.iter().map(String::as_str))?;
    items.iter().try_for_each(|row| writeln!(f, "{:INDENT$}{:>9}  {}", "", row.value, phrase(row)))
}

/// Label and note of a row.
fn phrase(row: &Row) -> String {
    if row.note.is_empty() { row.label.clone() } else { format!("{} ({})", row.label, row.note) }
}

/// Writes a sentence in [`REASON_LINES`] lines at most.
fn write_few(f: &mut fmt::Formatter<'_>, title: &str, sentence: &str) -> fmt::Result {
    let room = REASON_LINES * (WIDTH - 4) - title.len();
    let mut text: String = sentence.chars().take(room).collect();
    if text.len() < sentence.len() {
        text.truncate(text.rfind(' ').unwrap_or(text.len()));
        text.push_str(" ...");
    }
    write_wrapped(f, "", 2, format!("{title}{text}").split(' '))
}

/// Writes pieces with spaces between them, in lines of [`WIDTH`] that begin at column `indent`.
/// The first line has `title` there.
fn write_wrapped<'a>(
    f: &mut fmt::Formatter<'_>,
    title: &str,
    indent: usize,
    pieces: impl Iterator<Item = &'a str>,
) -> fmt::Result {
    let title = format!("  {title}");
    let mut line = format!("{title:<indent$}");
    for piece in pieces {
        if line.len() > indent && line.chars().count() + piece.chars().count() > WIDTH {
            writeln!(f, "{}", line.trim_end())?;
            line = " ".repeat(indent);
        }
        line.push_str(piece);
        line.push(' ');
    }
    writeln!(f, "{}", line.trim_end())
}
