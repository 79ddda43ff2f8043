//! The report as text for a terminal.

use std::fmt;

use throng_harness_model::text::{format_count, format_nanos};

use super::form::{few_lines, wrapped, write_lines};
use super::sections::{LATENCY_HEADS, Place, Row, Section, micros};
use super::{Document, Form, Report};

/// Columns of the running text of all figures.
const WIDTH: usize = 100;
/// Columns before the facts of a section, which its title has room in.
const INDENT: usize = 14;
/// Columns before the further lines of a sentence of the answer.
const HANGING: usize = 4;

/// Most lines of the answer.
const ANSWER_LINES: usize = 6;

/// Most lines of its verdict, and of what was broken first. The outcome has the rest.
const SENTENCE_LINES: usize = 2;

const BROKEN: &str = "  BROKEN  ";
const INVALID: &str = "  INVALID  ";

/// The section whose items are no exceptions.
const FAIRNESS: &str = "fairness";

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write_text(f, Form::FULL)
    }
}

impl Report {
    /// Writes the text in a form, with what `steps` writes below the verdict, or the lines of
    /// `brief`. The last six lines at most have the verdict, the `outcome`, and the first thing
    /// that was broken.
    pub fn write_with(
        &self,
        f: &mut fmt::Formatter<'_>,
        form: Form,
        steps: impl FnOnce(&mut fmt::Formatter<'_>) -> fmt::Result,
        brief: &[String],
        outcome: &str,
    ) -> fmt::Result {
        writeln!(f)?;
        if form.is_verbose {
            self.write_figures(f, steps)?;
        } else {
            self.write_exceptions(f, form, brief)?;
        }
        self.write_answer(f, form, outcome)
    }

    fn write_figures(
        &self,
        f: &mut fmt::Formatter<'_>,
        steps: impl FnOnce(&mut fmt::Formatter<'_>) -> fmt::Result,
    ) -> fmt::Result {
        let measured = format_nanos(self.measured_s * 1e9);
        let (word, meaning) = self.headline();
        writeln!(f, "{} for {measured}, seed {}", self.scenario, self.seed)?;
        writeln!(f, "{word}: {meaning}")?;
        for broken in self.broken() {
            writeln!(f, "{BROKEN}{broken}")?;
        }
        if let Some(changes) = self.rate_change_warning() {
            writeln!(f, "{changes}")?;
        }
        writeln!(f)?;
        steps(f)?;
        self.sections().iter().try_for_each(|section| write_section(f, section, WIDTH))?;
        writeln!(f, "  {:<12}{}", "machine", self.machine)?;
        self.write_latencies(f)?;
        self.write_thresholds(f)?;
        writeln!(f)
    }

    /// Writes all that was broken or is unusual, unless the answer has it, and `brief` in between.
    fn write_exceptions(&self, f: &mut fmt::Formatter<'_>, form: Form, brief: &[String]) -> fmt::Result {
        let line = |title: &str, text: &str| wrapped(title, HANGING, text.split(' '), form.columns);
        let broken: Vec<_> = self.broken().collect();
        let is_answered = |of: &[String]| of.len() <= 1;
        let mut lines = Vec::new();
        if !is_answered(&broken) {
            lines.extend(broken.iter().flat_map(|broken| line(BROKEN, broken)));
        }
        lines.extend_from_slice(brief);
        if !(is_answered(&self.invalid_because) && broken.is_empty()) {
            lines.extend(self.invalid_because.iter().flat_map(|reason| line(INVALID, reason)));
        }
        lines.extend(self.rate_change_warning().iter().flat_map(|changes| line("  ", changes)));
        write_lines(f, &lines)?;
        let sections: Vec<_> = self.sections().into_iter().filter_map(exceptions).collect();
        sections.iter().try_for_each(|section| write_section(f, section, form.columns))?;
        if lines.is_empty() && sections.is_empty() { Ok(()) } else { writeln!(f) }
    }

    /// Broken thresholds with their findings, and reasons why the run is not complete.
    fn broken(&self) -> impl Iterator<Item = String> {
        let thresholds = self.applicable_thresholds().filter(|checked| !checked.held);
        let thresholds = thresholds.map(|checked| format!("{}: found {}", checked.threshold, checked.found));
        thresholds.chain(self.incomplete_because.iter().cloned())
    }

    /// The figures that a run is made for, in a sentence without full stop.
    pub(super) fn outcome_text(&self) -> String {
        let entered = format!(
            "{} of {} clients",
            format_count(self.clients.connected),
            format_count(self.entries_requested())
        );
        if self.deliveries.expected == 0 {
            return entered;
        }
        let resumed = match self.resume.cuts {
            0 => String::new(),
            cuts => format!(
                ", {} of {} cuts resumed, p99 {}",
                format_count(self.resume.resumed),
                format_count(cuts),
                micros(self.resume.back_us.p99)
            ),
        };
        format!(
            "{entered}, {} of {} deliveries, p50 {}, p99 {}{resumed}",
            format_count(self.deliveries.received),
            format_count(self.deliveries.expected),
            micros(self.latency_us.p50),
            micros(self.latency_us.p99)
        )
    }

    /// Writes the verdict, the outcome and the first fault.
    fn write_answer(&self, f: &mut fmt::Formatter<'_>, form: Form, outcome: &str) -> fmt::Result {
        let (word, meaning) = self.headline();
        let verdict = format!("{}: {word}: {meaning}", self.scenario);
        let broken = self.broken().next().map(|broken| (BROKEN, broken));
        let fault = broken.or_else(|| Some((INVALID, self.invalid_because.first()?.clone())));
        let lines = |title, sentence: &str, most| few_lines(title, HANGING, sentence, form.columns, most);
        let verdict = lines("", &verdict, SENTENCE_LINES);
        // A long outcome, as of a ramp, names the fault itself.
        let left = ANSWER_LINES - verdict.len();
        let is_long = lines("  ", outcome, left).len() > left - SENTENCE_LINES;
        let most = if is_long { 1 } else { SENTENCE_LINES };
        let fault = fault.map_or_else(Vec::new, |(title, fault)| lines(title, &fault, most));
        write_lines(f, &verdict)?;
        write_lines(f, &lines("  ", outcome, left - fault.len()))?;
        write_lines(f, &fault)
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
            write_lines(f, &wrapped("  ", 2, note.split(' '), WIDTH))?;
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
            reasons.try_for_each(|reason| write_lines(f, &wrapped("  -   ", 6, reason.split(' '), WIDTH)))?;
        }
        Ok(())
    }
}

/// The rows of a section that a good run does not have; none if there are none.
fn exceptions(section: Section) -> Option<Section> {
    let Section { title, mut rows } = section;
    rows.retain(|row| {
        let is_item = row.place == Place::Item && title != FAIRNESS;
        is_item || row.is_bad || (row.is_rare && !row.is_zero())
    });
    (!rows.is_empty()).then_some(Section { title, rows })
}

/// Writes the facts of a section: items on lines of their own, all others as running text.
fn write_section(f: &mut fmt::Formatter<'_>, section: &Section, columns: usize) -> fmt::Result {
    let (items, line): (Vec<_>, Vec<_>) = section.rows.iter().partition(|row| row.place == Place::Item);
    let shown = line.into_iter().filter(|row| !(row.is_rare && row.is_zero()));
    let mut phrases: Vec<_> = shown.map(|row| format!("{} {},", row.value, phrase(row))).collect();
    phrases.last_mut().map(String::pop);
    let title = format!("  {:<1$}", section.title, INDENT - 2);
    let mut begin = title.as_str();
    if !phrases.is_empty() {
        write_lines(f, &wrapped(begin, INDENT, phrases.iter().map(String::as_str), columns))?;
        begin = "";
    }
    for row in items {
        let begin = std::mem::take(&mut begin);
        writeln!(f, "{begin:INDENT$}{:>9}  {}", row.value, phrase(row))?;
    }
    Ok(())
}

/// Label and note of a row.
fn phrase(row: &Row) -> String {
    if row.note.is_empty() { row.label.clone() } else { format!("{} ({})", row.label, row.note) }
}
