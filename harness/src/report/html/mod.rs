//! The report as one page that a browser shows: no other file, no script, nothing fetched.

mod chart;
mod fairness;
mod markup;
mod monitor;
mod notes;
mod steps;

use std::fmt::Display;

use throng_core::clock::utc_text;

use self::chart::{Chart, Line, Unit, time_ticks};
use self::markup::Markup;
use super::summary::memory;
use super::{Report, Verdict, format_bytes, format_count, format_rate};
use crate::duration::format_nanos;
use crate::live::Second;
use crate::procstat::Usage;
use crate::record::LatencyUs;

const STYLE: &str = include_str!("style.css");

/// Where the figures stand on an axis that has as much room for 90 % to 99 % as for 99 % to
/// 99.9 %. The longest has no place on it: it stands where 99.99 % would.
const PERCENTILES: [(f64, &str); 5] =
    [(std::f64::consts::LOG10_2, "p50"), (1.0, "p90"), (2.0, "p99"), (3.0, "p99.9"), (4.0, "max")];

/// A headline number.
struct Tile {
    label: &'static str,
    value: String,
    note: String,
    /// Whether it is nothing that one hopes for.
    bad: bool,
}

impl Tile {
    fn new(label: &'static str, value: impl Into<String>, note: impl Into<String>) -> Self {
        Self { label, value: value.into(), note: note.into(), bad: false }
    }

    fn bad_if(self, bad: bool) -> Self {
        Self { bad, ..self }
    }
}

impl Report {
    /// The report as a page of HTML that needs nothing besides itself.
    pub fn to_html(&self) -> String {
        let mut html = Markup::default();
        html.verbatim("<!DOCTYPE html>\n");
        html.element("html", &[("lang", &"en")], |html| {
            html.element("head", &[], |html| self.html_head(html));
            html.element("body", &[], |html| {
                html.element("main", &[], |html| {
                    self.html_verdict(html);
                    self.html_steps(html);
                    self.html_tiles(html);
                    self.html_latencies(html);
                    self.html_timeline(html);
                    self.html_fairness(html);
                    self.html_counts(html);
                    self.html_processes(html);
                    self.html_origin(html);
                });
            });
        });
        let mut page = html.into_string();
        page.push('\n');
        page
    }

    fn html_head(&self, html: &mut Markup) {
        html.void("meta", &[("charset", &"utf-8")]);
        html.void("meta", &[("name", &"viewport"), ("content", &"width=device-width, initial-scale=1")]);
        html.leaf("title", &[], format_args!("{}: {}", self.scenario, verdict(self.verdict).word));
        html.element("style", &[], |html| html.verbatim(STYLE));
    }

    /// What held, and what did not.
    fn html_verdict(&self, html: &mut Markup) {
        let verdict = verdict(self.verdict);
        html.element("header", &[], |html| {
            html.leaf("h1", &[], &self.scenario);
            let measured = format_nanos(self.measured_s * 1e9);
            html.leaf("p", &[], format_args!("{measured} measured, seed {}, {}", self.seed, self.began()));
        });
        html.element("section", &[("class", &format_args!("verdict {}", verdict.class))], |html| {
            html.element("p", &[], |html| {
                html.leaf("strong", &[], verdict.word);
                html.text(format_args!(" {}", verdict.meaning));
            });
            if !self.rate_changes.is_empty() {
                html.leaf(
                    "p",
                    &[],
                    format_args!("This is not the planned run: {}.", self.shown_rate_changes()),
                );
            }
            for reason in &self.incomplete_because {
                html.element("p", &[], |html| {
                    html.leaf("span", &[("class", &"broken")], "BROKEN");
                    html.text(format_args!(" {reason}"));
                });
            }
            if !self.thresholds.is_empty() {
                self.html_thresholds(html);
            }
        });
        if !self.valid {
            html.element("section", &[("class", &"verdict invalid")], |html| self.html_doubts(html));
        }
    }

    fn html_thresholds(&self, html: &mut Markup) {
        html.element("ul", &[("class", &"thresholds")], |html| {
            for checked in &self.thresholds {
                let (class, sign) = if checked.held { ("held", "held") } else { ("broken", "BROKEN") };
                html.element("li", &[], |html| {
                    html.leaf("span", &[("class", &class)], sign);
                    html.leaf("code", &[], &checked.threshold);
                    html.leaf("span", &[], format_args!("found {}", checked.found));
                });
            }
        });
    }

    fn html_doubts(&self, html: &mut Markup) {
        html.element("p", &[], |html| {
            html.leaf("strong", &[], "INVALID");
            let weight = if self.require_valid {
                "and --require-valid is set"
            } else {
                "deliveries are exact all the same"
            };
            html.text(format_args!(" These latencies are no evidence about the server ({weight})."));
        });
        html.element("ul", &[], |html| {
            self.invalid_because.iter().for_each(|reason| html.leaf("li", &[], reason));
        });
    }

    fn html_tiles(&self, html: &mut Markup) {
        html.element("section", &[("class", &"tiles")], |html| {
            for tile in self.tiles() {
                let class = if tile.bad { "tile bad" } else { "tile" };
                html.element("div", &[("class", &class)], |html| {
                    html.leaf("span", &[("class", &"label")], tile.label);
                    html.leaf("strong", &[], tile.value);
                    html.leaf("span", &[], tile.note);
                });
            }
        });
    }

    fn tiles(&self) -> Vec<Tile> {
        let (clients, rates) = (&self.clients, &self.rates);
        let connected = Tile::new(
            "Clients connected",
            format_count(clients.connected),
            format!(
                "of {}{}, {} lost again",
                format_count(self.entries_requested()),
                self.in_rounds(),
                format_count(clients.disconnected)
            ),
        );
        let mut tiles =
            vec![connected.bad_if(clients.connected < self.entries_requested() || clients.disconnected > 0)];
        if let Some(logins) = rates.logins_per_s {
            let note = "from the first beginning to the last entry";
            tiles.push(Tile::new("Logins a second", format!("{logins:.1}/s"), note));
        }
        if self.sent > 0 {
            tiles.extend(self.delivery_tiles());
        } else {
            let note = format!("of {:.1}/s begun", rates.offered_per_s);
            tiles.push(Tile::new("Rate of entering", format!("{:.1}/s", rates.achieved_per_s), note));
        }
        let mut time = |label, latency: &LatencyUs| {
            if latency.count > 0 {
                let [p50, p99, max] = [latency.p50, latency.p99, latency.max].map(micros);
                tiles.push(Tile::new(label, p99, format!("median {p50}, max {max}")));
            }
        };
        time("Latency, p99", &self.latency_us);
        time("Last recipient, p99", &self.last_recipient_us);
        if let Some(way_in) = self.phases_us.get("way_in") {
            time("The way in, p99", way_in);
        }
        if let Some(server) = &self.server {
            let each = self.server_cpu_us_per_delivery;
            let note = each.map_or_else(
                || if server.alive { "" } else { "the process is gone" }.to_owned(),
                |each| format!("{each:.2} us per delivery"),
            );
            let cpu = Tile::new("Server's CPU time", format!("{:.2} s", server.cpu_s), note);
            tiles.push(cpu.bad_if(!server.alive));
            let note = format!("{} at the start", format_bytes(server.rss_start_bytes));
            tiles.push(Tile::new("Server's memory", format_bytes(server.rss_bytes), note));
        }
        tiles
    }

    fn delivery_tiles(&self) -> [Tile; 3] {
        let (deliveries, rates) = (&self.deliveries, &self.rates);
        let faults = deliveries.missing
            + deliveries.duplicated
            + deliveries.reordered
            + deliveries.leaked
            + deliveries.corrupted;
        [
            Tile::new(
                "Messages sent",
                format_count(self.sent),
                format!("{:.1}/s of {:.1}/s offered", rates.achieved_per_s, rates.offered_per_s),
            ),
            Tile::new(
                "Deliveries received",
                format_count(deliveries.received),
                format!(
                    "of {}, {}/s",
                    format_count(deliveries.expected),
                    format_rate(rates.deliveries_per_s)
                ),
            ),
            Tile::new(
                "Faulty deliveries",
                format_count(faults),
                "missing, duplicated, reordered, leaked, corrupted",
            )
            .bad_if(faults > 0),
        ]
    }

    fn html_latencies(&self, html: &mut Markup) {
        let measured = self.measured_latencies();
        if measured.is_empty() {
            return;
        }
        html.element("section", &[], |html| {
            html.leaf("h2", &[], "Latency");
            self.percentile_chart().draw(html);
            let rows = measured.into_iter().map(|(name, l)| {
                let times = [l.mean, l.p50, l.p90, l.p99, l.p999, l.max].map(micros);
                let name = name.trim_start().replace('_', " ");
                [name, format_count(l.count)].into_iter().chain(times).collect()
            });
            table(html, &["", "count", "mean", "p50", "p90", "p99", "p99.9", "max"], rows);
            if self.latency_us.count > 0 {
                html.leaf(
                    "p",
                    &[("class", &"note")],
                    "Latency: from the time a message should have been sent to its arrival. Uncorrected: from \
                     the time it was sent. First, last recipient and skew: one value for each message.",
                );
            }
            self.html_clock(html);
        });
    }

    /// Messages' latencies, or the parts of the way in when there were no messages.
    fn percentile_chart(&self) -> Chart<'_> {
        let messages = [
            ("corrected", &self.latency_us),
            ("uncorrected", &self.latency_uncorrected_us),
            ("last recipient", &self.last_recipient_us),
        ];
        let phases = self.phases_us.iter().map(|(name, latency)| (name.as_str(), latency));
        let shown: Vec<_> = if self.latency_us.count > 0 { messages.into() } else { phases.collect() };
        let line = |(name, l): (_, &LatencyUs)| {
            let figures = [l.p50, l.p90, l.p99, l.p999, l.max];
            let points = PERCENTILES.iter().zip(figures).map(|((at, _), figure)| (*at, Some(figure)));
            Line { name, points: points.collect() }
        };
        Chart {
            title: "Latency by percentile",
            size: (860.0, 300.0),
            unit: Unit::Micros,
            x_ticks: PERCENTILES.map(|(at, label)| (at, label.to_owned())).into(),
            x_end: 4.1,
            lines: shown.into_iter().filter(|(_, latency)| latency.count > 0).map(line).collect(),
        }
    }

    fn html_timeline(&self, html: &mut Markup) {
        // One point makes no line.
        let [_, .., last] = &self.timeline[..] else { return };
        let end = last.at_s;
        html.element("section", &[], |html| {
            html.leaf("h2", &[], "Second by second");
            html.element("div", &[("class", &"charts")], |html| {
                for (title, unit, series) in TIMELINE {
                    let line = |(name, value): &(&'static str, Figure)| Line {
                        name,
                        points: self.timeline.iter().map(|row| (row.at_s, value(row))).collect(),
                    };
                    let lines = series.iter().map(line).collect();
                    let (size, x_ticks) = ((430.0, 190.0), time_ticks(end));
                    Chart { title, size, unit: *unit, x_ticks, x_end: end, lines }.draw(html);
                }
            });
        });
    }

    /// Counts that the headline numbers leave out.
    fn html_counts(&self, html: &mut Markup) {
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
                    ("clients that did not read", self.impaired.deaf),
                    ("clients that read slowly", self.impaired.slow),
                    ("of both, closed", self.impaired.closed),
                    ("deliveries that they had not come to", deliveries.behind),
                    ("joinings of channels", self.churn.joins),
                    ("leavings of channels", self.churn.leaves),
                ];
                rows.extend(counts.iter().map(|(name, count)| count_row(name, *count)));
            }
            table(html, &["", "count"], rows);
            if !deliveries.missing_examples.is_empty() {
                let pairs = deliveries.missing_examples.iter();
                let pairs: Vec<_> =
                    pairs.map(|pair| format!("{} at client {}", pair.message, pair.client)).collect();
                let text = format_args!("Missing, for example: message {}.", pairs.join(", message "));
                html.leaf("p", &[("class", &"note")], text);
            }
        });
    }

    fn html_processes(&self, html: &mut Markup) {
        let usage = |name: &str, usage: &Usage, more: String| {
            let [cpu, peak] = [format!("{:.2} s", usage.cpu_s), format_bytes(usage.rss_peak_bytes)];
            let more = if usage.alive { more } else { "the process is gone".into() };
            vec![name.to_owned(), cpu, memory(usage), peak, more]
        };
        let server = self.server.as_ref().map(|server| {
            let each = self.server_cpu_us_per_delivery;
            usage("server", server, each.map_or(String::new(), |each| format!("{each:.2} us per delivery")))
        });
        let harness = self.harness.as_ref().map(|harness| {
            usage("harness", harness, format!("{:.0}% of its threads", self.harness_load * 100.0))
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
    fn html_origin(&self, html: &mut Markup) {
        let words: Vec<_> = self.command.iter().map(|word| quoted(word)).collect();
        let machine = &self.machine;
        let memory = format_bytes(machine.memory_bytes);
        let of = format!("{} x {}, {memory}, Linux {}", machine.cores, machine.cpu, machine.kernel);
        let facts = [
            ("Seed", self.seed.to_string()),
            ("Version", format!("throng-harness {}", self.version)),
            ("Began", self.began()),
            ("Machine", of),
        ];
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

    fn began(&self) -> String {
        utc_text(self.started_unix_s.saturating_mul(1_000))
    }
}

/// One of a row's figures, if the row has it.
type Figure = fn(&Second) -> Option<f64>;

/// A chart of the timeline: title, unit, and lines.
type Plan = (&'static str, Unit, &'static [(&'static str, Figure)]);

/// All charts of the timeline. Those with nothing above zero are left out.
const TIMELINE: &[Plan] = &[
    (
        "Clients",
        Unit::Count,
        &[
            ("in the chat", |row| Some(row.connected as f64)),
            ("lost so far", |row| Some(row.disconnected as f64)),
        ],
    ),
    (
        "Latency of what was received",
        Unit::Micros,
        // Zero means that nothing was received.
        &[("p50", |row| above_zero(row.p50_us)), ("p99", |row| above_zero(row.p99_us))],
    ),
    ("Messages sent a second", Unit::Count, &[("sent", |row| Some(row.sent_per_s))]),
    ("Deliveries a second", Unit::Count, &[("received", |row| Some(row.received_per_s))]),
    ("Server's CPU, of one core", Unit::Share, &[("CPU", |row| row.server_cpu)]),
    ("Server's memory", Unit::Bytes, &[("memory", |row| row.server_rss_bytes.map(|bytes| bytes as f64))]),
];

fn above_zero(value: f64) -> Option<f64> {
    (value > 0.0).then_some(value)
}

/// How a verdict is shown.
struct Shown {
    class: &'static str,
    word: &'static str,
    meaning: &'static str,
}

fn verdict(verdict: Verdict) -> Shown {
    let (class, word, meaning) = match verdict {
        Verdict::Pass => ("pass", "PASS", "All thresholds held."),
        Verdict::Fail => ("fail", "FAIL", "See what is broken."),
        Verdict::Interrupted => ("interrupted", "INTERRUPTED", "The results cover what was done until then."),
    };
    Shown { class, word, meaning }
}

fn micros(micros: f64) -> String {
    format_nanos(micros * 1e3)
}

fn count_row(name: impl Display, count: u64) -> Vec<String> {
    vec![name.to_string(), format_count(count)]
}

/// Adds a table; each row's first cell names the row.
fn table(html: &mut Markup, heads: &[&str], rows: impl IntoIterator<Item = Vec<String>>) {
    html.element("div", &[("class", &"scroll")], |html| {
        html.element("table", &[], |html| {
            html.element("thead", &[], |html| {
                html.element("tr", &[], |html| heads.iter().for_each(|head| html.leaf("th", &[], head)));
            });
            html.element("tbody", &[], |html| {
                for row in rows {
                    html.element("tr", &[], |html| {
                        for (column, cell) in row.iter().enumerate() {
                            html.leaf(if column == 0 { "th" } else { "td" }, &[], cell);
                        }
                    });
                }
            });
        });
    });
}

/// A word of a command line as a shell would read it back.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-+=.,:/@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests;
