//! The sections of a report as tiles and tables, and the command line that repeats a run.

use maud::{Markup, html};

use throng_harness_model::record::LatencyUs;
use throng_harness_model::text::format_count;

use super::micros;
use crate::Report;
use crate::sections::{Place, Row, Section, Value};

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
                tile(label, &Value::Text(micros(*p99)), &note, false)
            });
        let headlines = |section: &Section| -> Vec<Markup> {
            let rows = section.rows.iter().filter(|row| row.place == Place::Headline);
            rows.map(|row| {
                let label = format!("{} {}", section.title, row.label);
                tile(&label, &row.value, &row.note, row.is_bad)
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

/// A headline number. The whole of a share is part of the note.
fn tile(label: &str, value: &Value, note: &str, is_bad: bool) -> Markup {
    let (value, whole) = match value {
        Value::Share(part, whole) => (format_count(*part), format!("of {}", format_count(*whole))),
        value => (value.to_string(), String::new()),
    };
    let notes: Vec<_> = [whole.as_str(), note].into_iter().filter(|note| !note.is_empty()).collect();
    html! {
        .tile.bad[is_bad] {
            span.label { (label) }
            strong { (value) }
            span { (notes.join(", ")) }
        }
    }
}

/// All rows but the headlines, in a table for each section.
pub(super) fn facts(sections: &[Section]) -> Markup {
    html! {
        section {
            h2 { "Details" }
            .facts { @for section in sections { (section_table(section)) } }
        }
    }
}

/// The rows of a section. Zeros share one line below, so that they do not hide other values.
fn section_table(section: &Section) -> Markup {
    let rows = section.rows.iter().filter(|row| row.place != Place::Headline);
    let (zeros, rows): (Vec<_>, Vec<_>) = rows.partition(|row| row.is_zero());
    if rows.is_empty() && zeros.is_empty() {
        return Markup::default();
    }
    let zeros: Vec<_> = zeros.into_iter().map(|row| row.label.as_str()).collect();
    html! {
        div {
            h3 { (section.title) }
            @if !rows.is_empty() { table { tbody { @for row in rows { (table_row(row)) } } } }
            @if !zeros.is_empty() { p.note { "None: " (zeros.join(", ")) "." } }
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

/// A word of a command line, quoted for a shell where needed.
pub(super) fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-+=.,:/@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}
