//! Counts, processes, and what it takes to repeat the run.

use std::fmt::Display;

use throng_harness_model::procstat::Usage;
use throng_harness_model::results::{Churned, Moved};
use throng_harness_model::text::{format_bytes, format_count, format_nanos, format_rate};

use super::markup::Markup;
use super::table;
use crate::Report;
use crate::summary::memory;

impl Report {
    /// Counts that the headline numbers leave out.
    pub(super) fn html_counts(&self, html: &mut Markup) {
        let (clients, deliveries) = (&self.clients, &self.deliveries);
        html.element("section", &[], |html| {
            html.leaf("h2", &[], "Counts");
            let counts = [
                ("clients refused", clients.refused),
                ("clients failed", clients.failed),
                ("clients disconnected", clients.disconnected),
            ];
            let mut rows: Vec<_> = counts.iter().map(|(name, count)| count_row(name, *count)).collect();
            rows.extend(clients.reasons.iter().map(|(reason, count)| count_row(reason, *count)));
            let retries = clients.retries.iter();
            rows.extend(
                retries.map(|(reason, count)| count_row(format_args!("tried again: {reason}"), *count)),
            );
            let again = &self.reconnects;
            if again.asked > 0 {
                let counts = [
                    ("times that a client hung up to come again", again.asked),
                    ("of these, back in", again.back),
                ];
                rows.extend(counts.iter().map(|(name, count)| count_row(name, *count)));
            }
            if self.sent > 0 {
                let counts = [
                    ("deliveries missing", deliveries.missing),
                    ("deliveries duplicated", deliveries.duplicated),
                    ("deliveries reordered", deliveries.reordered),
                    ("deliveries leaked", deliveries.leaked),
                    ("deliveries corrupted", deliveries.corrupted),
                    ("messages numbered inconsistently", deliveries.inconsistent),
                    ("messages that reached nobody", deliveries.unheard_messages),
                    (
                        "deliveries undecidable: the recipient was entering or leaving",
                        deliveries.indeterminate,
                    ),
                    ("messages of others seen", deliveries.foreign),
                    ("times that a client was told that it missed messages", self.gaps.told),
                    ("deliveries missed and told of", self.gaps.messages),
                    ("of these, at clients that read as fast as they could", self.gaps.of_readers),
                    ("clients that did not read", self.impaired.deaf),
                    ("clients that read slowly", self.impaired.slow),
                    ("of both, closed", self.impaired.closed),
                    ("deliveries that they had not come to", deliveries.behind),
                ];
                rows.extend(counts.iter().map(|(name, count)| count_row(name, *count)));
                rows.extend(self.coming_and_going());
                let reasons = self.impaired.reasons.iter();
                rows.extend(reasons.map(|(reason, count)| {
                    count_row(format_args!("of those that did not read, or slowly: {reason}"), *count)
                }));
            }
            // A page of zeros would hide the one that is none.
            let (zeros, rows): (Vec<_>, Vec<_>) = rows.into_iter().partition(|row| row[1] == "0");
            if !rows.is_empty() {
                table(html, &["", "count"], rows);
            }
            if !zeros.is_empty() {
                let names: Vec<_> = zeros.into_iter().map(|mut row| row.swap_remove(0)).collect();
                html.leaf("p", &[("class", &"note")], format_args!("None: {}.", names.join("; ")));
            }
            if let Some(seconds) = again.storm_s {
                let text =
                    format_args!("All were back {} after the storm began.", format_nanos(seconds * 1e9));
                html.leaf("p", &[("class", &"note")], text);
            }
            if !deliveries.missing_examples.is_empty() {
                let pairs = deliveries.missing_examples.iter();
                let pairs: Vec<_> =
                    pairs.map(|pair| format!("{} at client {}", pair.message, pair.client)).collect();
                let text = format_args!("Missing, for example: message {}.", pairs.join(", message "));
                html.leaf("p", &[("class", &"note")], text);
            }
        });
    }

    /// Who came, went and walked while others talked, in runs with any of that.
    fn coming_and_going(&self) -> Vec<Vec<String>> {
        let Churned { joins, leaves, skipped: waiting } = self.churn;
        let Moved { made, skipped: walking } = self.moves;
        let churn = [
            ("joinings of channels", joins),
            ("leavings of channels", leaves),
            ("turns to join or leave, of clients that waited for an answer", waiting),
        ];
        let moves = [
            ("moves to a neighbouring sector", made),
            ("turns to move, of clients that were on their way", walking),
        ];
        let groups = [&churn[..], &moves[..]];
        let groups = groups.into_iter().filter(|group| group.iter().any(|(_, count)| *count > 0));
        groups.flatten().map(|(name, count)| count_row(name, *count)).collect()
    }

    pub(super) fn html_processes(&self, html: &mut Markup) {
        let usage = |name: &str, usage: &Usage, more: String| {
            let [cpu, peak] = [format!("{:.2} s", usage.cpu_s), format_bytes(usage.rss_peak_bytes)];
            let more = if usage.alive { more } else { "the process is gone".into() };
            vec![name.to_owned(), cpu, memory(usage), peak, more]
        };
        let server = self
            .server
            .as_ref()
            .map(|server| usage("server", server, self.shown_cpu_per_delivery().unwrap_or_default()));
        let harness = self.harness.as_ref().map(|harness| {
            let load = self.harness_load * 100.0;
            let each = self.harness_memory.per_client_bytes;
            // Versions before did not tell it.
            let each = if each > 0.0 {
                format!(", {} bytes for each client", format_rate(each))
            } else {
                String::new()
            };
            usage("harness", harness, format!("{load:.0}% of its threads{each}"))
        });
        let rows: Vec<_> = server.into_iter().chain(harness).collect();
        if !rows.is_empty() {
            html.element("section", &[], |html| {
                html.leaf("h2", &[], "Processes");
                table(html, &["", "CPU", "memory", "peak", ""], rows);
            });
        }
    }

    /// What it takes to repeat the run.
    pub(super) fn html_origin(&self, html: &mut Markup) {
        let facts = [
            ("Seed", self.seed.to_string()),
            ("Traffic", self.traffic_text()),
            ("Version", format!("throng-harness {}", self.version)),
            ("Began", self.began()),
            ("Machine", self.machine.to_string()),
        ];
        how_it_was_run(html, &self.command, facts.into_iter().filter(|(_, value)| !value.is_empty()));
    }

    /// What stands for the traffic, and whether it was sent; empty without any.
    fn traffic_text(&self) -> String {
        match (&self.traffic, &self.traffic_sent) {
            (None, _) => String::new(),
            (Some(planned), None) => format!("{planned} was to be sent"),
            (Some(planned), Some(sent)) if planned == sent => format!("{planned}, all of which was sent"),
            (Some(planned), Some(sent)) => format!("{planned} was to be sent, {sent} was"),
        }
    }
}

/// What it takes to repeat a run: its command line, and `facts`, each with its name.
pub fn how_it_was_run<'a>(
    html: &mut Markup,
    command: &[String],
    facts: impl IntoIterator<Item = (&'a str, String)>,
) {
    let words: Vec<_> = command.iter().map(|word| quoted(word)).collect();
    html.element("section", &[], |html| {
        html.leaf("h2", &[], "How it was run");
        html.element("pre", &[], |html| html.leaf("code", &[], words.join(" ")));
        html.element("dl", &[], |html| {
            for (name, value) in facts {
                html.leaf("dt", &[], name);
                html.leaf("dd", &[], value);
            }
        });
    });
}

fn count_row(name: impl Display, count: u64) -> Vec<String> {
    vec![name.to_string(), format_count(count)]
}

/// A word of a command line as a shell would read it back.
pub(super) fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-+=.,:/@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}
