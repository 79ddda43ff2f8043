//! The sections of a report as tiles and tables, and the command line that repeats a run.

use maud::{Markup, html};

use throng_harness_model::record::LatencyUs;
use throng_harness_model::text::format_count;

use super::micros;
use crate::Report;
use crate::sections::{Place, Row, Section, Value};

/// Letters of a figure that fit in a tile in its large font.
const TILE_LETTERS: usize = 9;

impl Report {
    /// The headline rows of all sections, with the most important latencies before the server's.
    pub(super) fn html_tiles(&self, sections: &[Section]) -> Markup {
        let latencies = [
            ("latency p99", Some(&self.latency_us)),
            ("last recipient p99", Some(&self.last_recipient_us)),
            ("entry p99", self.phases_us.get("way_in")),
        ];
        let latencies = latencies
            .into_iter()
            .filter_map(|(label, latency)| Some((label, latency.filter(|latency| latency.count > 0)?)))
            .map(|(label, LatencyUs { p50, p99, max, .. })| {
                let note = format!("median {}, max {}", micros(*p50), micros(*max));
                let note = if self.valid { note } else { format!("INVALID; {note}") };
                let tone = if self.valid { Tone::Plain } else { Tone::Doubtful };
                tile(label, &micros(*p99), &note, tone)
            });
        let headlines = |section: &Section| -> Vec<Markup> {
            let rows = section.rows.iter().filter(|row| row.place == Place::Headline);
            rows.map(|row| {
                let label = format!("{} {}", section.title, row.label);
                row_tile(&label, row)
            })
            .collect()
        };
        let (processes, clients): (Vec<_>, Vec<_>) =
            sections.iter().partition(|section| section.title == "server");
        html! {
            section.tiles {
                @for tile in clients.into_iter().flat_map(headlines) { (tile) }
                @for tile in latencies { (tile) }
                @for tile in processes.into_iter().flat_map(headlines) { (tile) }
            }
        }
    }

    /// Facts that are needed to repeat the run.
    pub(super) fn html_origin(&self) -> Markup {
        let traffic = match (&self.traffic, &self.traffic_sent) {
            (None, _) => String::new(),
            (Some(planned), None) => format!("{planned} planned"),
            (Some(planned), Some(sent)) if planned == sent => format!("{planned}, all of it sent"),
            (Some(planned), Some(sent)) => format!("{planned} planned, {sent} sent"),
        };
        let facts = [
            ("Seed", self.seed.to_string()),
            ("Traffic", traffic),
            ("Version", format!("throng-harness {}", self.version)),
            ("Started", self.began()),
            ("Machine", self.machine.to_string()),
        ];
        how_it_was_run(&self.command, facts.into_iter().filter(|(_, value)| !value.is_empty()))
    }
}

/// The judgment that colors a tile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    /// None.
    Plain,
    /// Good.
    Good,
    /// Bad.
    Bad,
    /// No evidence.
    Doubtful,
}

/// A headline figure.
pub fn tile(label: &str, value: &str, note: &str, tone: Tone) -> Markup {
    let class = match tone {
        Tone::Plain => "plain",
        Tone::Good => "good",
        Tone::Bad => "bad",
        Tone::Doubtful => "doubt",
    };
    let is_long = value.chars().count() > TILE_LETTERS;
    html! {
        div class={ "tile " (class) } {
            span.label { (label) }
            strong class=[is_long.then_some("long")] { (value) }
            span { (note) }
        }
    }
}

/// The tile of a row. The whole of a share is part of the note.
fn row_tile(label: &str, row: &Row) -> Markup {
    let (value, whole) = match &row.value {
        Value::Share(part, whole) => (format_count(*part), format!("of {}", format_count(*whole))),
        value => (value.to_string(), String::new()),
    };
    let notes: Vec<_> = [whole.as_str(), &row.note].into_iter().filter(|note| !note.is_empty()).collect();
    tile(label, &value, &notes.join(", "), if row.is_bad { Tone::Bad } else { Tone::Plain })
}

/// All rows but the headlines, in a table for each section. Zeros share one line below, so that
/// they do not hide other values.
pub(super) fn facts(sections: &[Section]) -> Markup {
    let is_shown = |row: &&Row| row.place != Place::Headline;
    let rows = sections.iter().flat_map(|section| &section.rows);
    let has_zeros = rows.filter(is_shown).any(Row::is_zero);
    let tables = sections.iter().map(|section| {
        let rows: Vec<_> = section.rows.iter().filter(is_shown).filter(|row| !row.is_zero()).collect();
        (section.title, rows)
    });
    html! {
        section {
            h2 { "Details" }
            .facts {
                @for (title, rows) in tables.filter(|(_, rows)| !rows.is_empty()) {
                    div { h3 { (title) } table { tbody { @for row in rows { (table_row(row)) } } } }
                }
            }
            @if has_zeros { p.note { "Nothing else to report: all other counts are 0." } }
        }
    }
}

fn table_row(row: &Row) -> Markup {
    html! {
        tr {
            th { (row.label) @if !row.note.is_empty() { " " span.note { (row.note) } } }
            td class=[row.is_bad.then_some("broken")] { (row.value.to_string()) }
        }
    }
}

/// The command line of a run, and `facts`, each with its name.
pub fn how_it_was_run<'a>(command: &[String], facts: impl IntoIterator<Item = (&'a str, String)>) -> Markup {
    let words: Vec<_> = command.iter().map(|word| quoted(word)).collect();
    html! {
        section {
            h2 { "How it was run" }
            pre { code { (words.join(" ")) } }
            dl { @for (name, value) in facts { dt { (name) } dd { (value) } } }
        }
    }
}

/// The servers that a command line names: a data directory, or an address; none by default.
pub fn target(command: &[String]) -> Option<&str> {
    let is_flag = |word: &&String| matches!(word.split('=').next(), Some("--data" | "--server"));
    let mut words = command.iter();
    match words.find(is_flag)?.split_once('=') {
        Some((_, value)) => Some(value),
        None => words.next().map(String::as_str),
    }
}

/// A word of a command line, quoted for a shell where needed.
pub(super) fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-+=.,:/@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}
