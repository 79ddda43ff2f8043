//! The page of `peers`.

mod bars;
mod matrix;

use maud::{Markup, html};
use throng_core::clock::utc_text;
use throng_harness_model::text::{format_count, format_rate};
use throng_harness_report::html::{banner, header, how_it_was_run, micros, page, table, table_of, title};

use self::bars::{amount_bars, latency_bars};
use crate::registry::THRONG;
use crate::{BareSummary, Case, Failure, PeersReport, Summary, Taken};

/// Share of the offered deliveries below which a system has not kept up. Only then do rates differ
/// enough to be drawn.
const KEPT_UP: f64 = 0.99;

/// Class of the style sheet for failures.
const BROKEN: &str = "broken";
/// Class of the style sheet for figures that are no evidence.
const DOUBTFUL: &str = "doubtful";

/// Column of a case's table for the CPU time as a multiple of the bare writer's, if a bare writer
/// ran at the pace of the case.
const OF_BARE: usize = 6;

impl PeersReport {
    /// The report as a page of HTML that needs no other file. `file` is the name of its file, for
    /// the title.
    pub(super) fn page(&self, file: &str) -> String {
        let (class, word, meaning) = self.outcome();
        let definitions = html! {
            p.note {
                "Latencies count from the scheduled send time (F: the actual one). Figures are medians over the \
                 repetitions; losses are those of the worst one. The sender of a message is always a recipient."
            }
        };
        let content = html! {
            (self.html_header())
            (banner(class, word, &meaning, &definitions))
            (self.html_invalid())
            (self.html_matrix())
            @for case in self.cases_in_order() { (self.html_case(case)) }
            (self.html_bare())
            (self.html_failures())
            (self.html_origin())
        };
        page(&title(&[&format!("peers: {word}"), &self.systems_in_order().join(", "), file]), &content)
    }

    /// The measured cases by letter; they were run in another order.
    fn cases_in_order(&self) -> Vec<&Case> {
        let mut cases: Vec<_> = self.cases.iter().collect();
        cases.sort_by_key(|case| case.letter);
        cases
    }

    /// The measured systems, Throng first.
    fn systems_in_order(&self) -> Vec<&str> {
        let mut systems: Vec<&str> = Vec::new();
        for system in self.medians.iter().map(|summary| summary.system.as_str()) {
            if !systems.contains(&system) {
                systems.push(system);
            }
        }
        systems.sort_by_key(|system| *system != THRONG);
        systems
    }

    /// The figures of a case, those of Throng first.
    fn found(&self, case: &Case) -> Vec<&Summary> {
        let mut found: Vec<_> = self.medians.iter().filter(|summary| summary.case == case.letter).collect();
        found.sort_by_key(|summary| summary.system != THRONG);
        found
    }

    /// A class, a word and a sentence.
    fn outcome(&self) -> (&'static str, &'static str, String) {
        match (self.interrupted, self.failures.len()) {
            (true, _) => ("interrupted", "INTERRUPTED", "Only complete cases are shown.".into()),
            (false, 0) => ("pass", "COMPLETE", "Every case was measured with every system.".into()),
            (false, count) => {
                ("fail", "INCOMPLETE", format!("Not measured: {}, see below.", format_count(count as u64)))
            }
        }
    }

    fn html_header(&self) -> Markup {
        let Self { payload, duration_s, warmup_s, drain_s, .. } = self;
        let repetitions = self.medians.iter().map(|summary| summary.repetitions).max().unwrap_or(0);
        let repetitions =
            if repetitions == 1 { "1 repetition".into() } else { format!("{repetitions} repetitions") };
        header(
            "peers",
            &format!(
                "{payload} B per message, {duration_s} s per case after {warmup_s} s of warm-up, up to {drain_s} s of drain, \
                 {repetitions}; {}",
                self.began()
            ),
        )
    }

    /// The number of rows that are no evidence, above all figures.
    fn html_invalid(&self) -> Markup {
        let invalid = self.rows.iter().filter(|row| !row.valid).count();
        let meaning = format!(
            "The latencies of {} of {} rows are no evidence about the server (deliveries are exact all the same). \
             They are marked, with reasons below each case's table.",
            format_count(invalid as u64),
            format_count(self.rows.len() as u64)
        );
        html! {
            @if invalid > 0 { (banner("invalid", "INVALID", &meaning, &Markup::default())) }
        }
    }

    fn html_case(&self, case: &Case) -> Markup {
        let found = self.found(case);
        let bare = self.bare_medians.iter().find(|bare| bare.case == Some(case.letter));
        html! {
            section {
                h2 { (case.to_string()) }
                @if found.is_empty() {
                    p { "Nothing was measured." }
                } @else {
                    (case_table(&found, bare))
                    (case_charts(case, &found, bare))
                    (self.html_reasons(case, &found))
                }
            }
        }
    }

    /// The reasons of marks in a case's table.
    fn html_reasons(&self, case: &Case, found: &[&Summary]) -> Markup {
        let rows =
            |system| self.rows.iter().filter(move |row| row.case == case.letter && row.system == system);
        let rows = found.iter().flat_map(|summary| rows(summary.system.as_str()));
        let reasons = rows.flat_map(|row| {
            let marks = [
                ("INCOMPLETE", BROKEN, &row.incomplete_because),
                ("INVALID", DOUBTFUL, &row.invalid_because),
            ];
            marks.into_iter().filter(|(_, _, reasons)| !reasons.is_empty()).map(move |mark| (row, mark))
        });
        html! {
            @if reasons.clone().next().is_some() {
                ul.note {
                    @for (row, (mark, class, reasons)) in reasons {
                        li {
                            span class=(class) { (mark) }
                            " " (row.system) " #" (row.repetition) ": " (reasons.join("; "))
                        }
                    }
                }
            }
        }
    }

    fn html_bare(&self) -> Markup {
        let (paced, fast): (Vec<_>, Vec<_>) = self.bare_medians.iter().partition(|bare| bare.case.is_some());
        if self.bare_medians.is_empty() {
            return Markup::default();
        }
        let sockets = |bare: &BareSummary| format_count(bare.sockets.into());
        let paced_rows = paced.iter().map(|bare| {
            let case = bare.case.map_or_else(String::new, |case| case.to_string());
            let each = format!("{:.2}", bare.deliveries_per_write);
            vec![case, sockets(bare), each, cpu(bare.cpu_us_per_delivery)]
        });
        let fast_rows = fast.iter().map(|bare| {
            let bytes = format!("{} B", bare.bytes);
            vec![sockets(bare), bytes, cpu(bare.cpu_us_per_write), cpu(bare.us_per_write)]
        });
        html! {
            section {
                h2 { "Bare: the cost of writing alone" }
                @if !paced.is_empty() {
                    (table(&["at the pace of", "sockets", "messages per write", "CPU per delivery"], paced_rows))
                }
                @if !fast.is_empty() {
                    (table(&["sockets, at full speed", "bytes per write", "CPU per write", "time per write"], fast_rows))
                }
                p.note {
                    "A process on the servers' core that only writes to as many sockets, one after the other. At the \
                     pace of a case it writes to each socket what has become due, and sleeps when nothing is due, as a \
                     server does."
                }
            }
        }
    }

    fn html_failures(&self) -> Markup {
        html! {
            @if !self.failures.is_empty() {
                section {
                    h2 { "Not measured" }
                    ul {
                        @for Failure { system, case, repetition, why } in &self.failures {
                            li { (case) " " (system) " #" (repetition) ": " (why) }
                        }
                    }
                }
            }
        }
    }

    fn html_origin(&self) -> Markup {
        let (server, client, machine) = (self.server_core, self.client_core, &self.machine);
        let facts = [
            ("Seed", self.seed.to_string()),
            ("Version", format!("throng-harness {}", self.version)),
            ("Started", self.began()),
            ("Machine", machine.to_string()),
            ("Cores", format!("servers on core {server}, harness on core {client}")),
        ];
        let mut taken: Vec<_> = self.systems.iter().collect();
        taken.sort_by_key(|taken| taken.system != THRONG);
        let systems = taken.into_iter().map(|Taken { system, version }| (system.as_str(), version.clone()));
        how_it_was_run(&self.command, facts.into_iter().chain(systems))
    }

    fn began(&self) -> String {
        utc_text(self.started_unix_s.saturating_mul(1_000))
    }
}

/// CPU time, always to a hundredth of a microsecond, so that values compare.
fn cpu(micros: f64) -> String {
    format!("{micros:.2} us")
}

fn is_doubtful(summary: &Summary) -> bool {
    summary.invalid > 0
}

/// Counts of lost and faulty deliveries and lost clients; none if all are 0.
fn losses(summary: &Summary) -> Option<String> {
    let counts = [
        (summary.missing, "missing"),
        (summary.duplicated, "duplicated"),
        (summary.reordered, "reordered"),
        (summary.corrupted, "CORRUPTED"),
        (summary.disconnected, "disconnected"),
    ];
    let lost = counts.iter().filter(|(count, _)| *count > 0);
    let lost: Vec<_> = lost.map(|(count, what)| format!("{} {what}", format_count(*count))).collect();
    (!lost.is_empty()).then(|| lost.join(", "))
}

/// The class that highlights Throng.
fn own(system: &str) -> Option<&'static str> {
    (system == THRONG).then_some("own")
}

fn case_table(found: &[&Summary], bare: Option<&BareSummary>) -> Markup {
    let mut heads =
        vec!["", "deliveries/s", "p50", "p99", "max", "CPU per delivery", "harness", "latencies", "losses"];
    if bare.is_some() {
        heads.insert(OF_BARE, "of bare");
    }
    let body = html! {
        @for summary in found {
            tr class=[own(&summary.system)] {
                th { (summary.system) }
                @for (class, cell) in cells(summary, bare) { td class=[class] { (cell) } }
            }
        }
    };
    table_of(&heads, &body)
}

/// The cells of a row of a case's table without its name, each with its class if it has one.
fn cells(summary: &Summary, bare: Option<&BareSummary>) -> Vec<(Option<&'static str>, String)> {
    let doubt = is_doubtful(summary).then_some(DOUBTFUL);
    // Without deliveries there is no latency, rather than one of 0.
    let is_known = summary.deliveries_per_s > 0.0;
    let [p50, p99, max] = [summary.p50_us, summary.p99_us, summary.max_us]
        .map(|time| (doubt, if is_known { micros(time) } else { "-".into() }));
    let each = summary.server_cpu_us_per_delivery;
    let validity = match doubt {
        Some(_) => format!("INVALID {} of {}", summary.invalid, summary.repetitions),
        None => "valid".into(),
    };
    let lost = losses(summary);
    let mut cells = vec![
        (None, format_rate(summary.deliveries_per_s)),
        p50,
        p99,
        max,
        (None, each.map_or_else(|| "-".into(), cpu)),
        (None, format!("{:.0}%", summary.harness_load * 100.0)),
        (doubt, validity),
        (lost.is_some().then_some(BROKEN), lost.unwrap_or_else(|| "none".into())),
    ];
    if let Some(bare) = bare {
        let of_bare = each.map(|each| format!("x{:.2}", each / bare.cpu_us_per_delivery));
        cells.insert(OF_BARE - 1, (None, of_bare.unwrap_or_else(|| "-".into())));
    }
    cells
}

fn case_charts(case: &Case, found: &[&Summary], bare: Option<&BareSummary>) -> Markup {
    let kept_up = |summary: &&Summary| {
        case.offered_per_s().is_some_and(|offered| summary.deliveries_per_s >= offered * KEPT_UP)
    };
    // If all systems keep up, their rates are alike.
    let has_rates = !found.iter().all(kept_up);
    let costs = found.iter().filter_map(|summary| {
        summary.server_cpu_us_per_delivery.map(|micros| (summary.system.as_str(), micros, 2))
    });
    let floor = bare.map(|bare| ("bare", bare.cpu_us_per_delivery, 7));
    let costs: Vec<_> = costs.chain(floor).collect();
    let rates = found.iter().map(|summary| (summary.system.as_str(), summary.deliveries_per_s, 3));
    html! {
        .charts {
            (latency_bars(if has_rates { "broad" } else { "narrow" }, found))
            (amount_bars("CPU per delivery", cpu, &costs))
            @if has_rates { (amount_bars("Deliveries per second", format_rate, &rates.collect::<Vec<_>>())) }
        }
    }
}

#[cfg(test)]
mod tests {

    use throng_harness_report::Document;
    use throng_harness_report::html::fixture::check_page;

    use super::*;
    use crate::fixture::report as test_report;

    /// The page of a report with some figures, after `change`.
    pub(super) fn page_of(change: impl FnOnce(&mut PeersReport)) -> String {
        let mut report = test_report(false, Vec::new());
        let figures = [
            (100_006.4, 7_131.1, 22_429.7, 41_549.8, 9.37, 0.79),
            (99_924.9, 5_500.0, 21_700.0, 34_734.1, 8.6, 0.82),
        ];
        for (summary, (rate, p50, p99, max, cpu, load)) in report.medians.iter_mut().zip(figures) {
            (summary.deliveries_per_s, summary.harness_load) = (rate, load);
            (summary.p50_us, summary.p99_us, summary.max_us) = (p50, p99, max);
            summary.server_cpu_us_per_delivery = Some(cpu);
        }
        change(&mut report);
        let page = report.to_html("run.html");
        check_page(&page);
        page
    }

    #[track_caller]
    pub(super) fn check(page: &str, parts: &[&str]) {
        for part in parts {
            assert!(page.contains(part), "no `{part}` in:\n{page}");
        }
    }

    #[test]
    fn each_case_has_its_systems_and_their_marks() {
        let page = page_of(|_| {});
        check(
            &page,
            &[
                "<title>peers: COMPLETE \u{b7} throng, redis \u{b7} run.html</title>",
                "128 B per message, 1 s per case after 1 s of warm-up, up to 1 s of drain, 2 repetitions; 1970-01-01T00:00:00Z",
                "verdict pass",
                "The latencies of 1 of 3 rows are no evidence",
                "<h2>A: 1,000 members, a message every 10ms, 100,000 deliveries/s</h2>",
                "<th>redis</th><td>100,006</td><td>7.13 ms</td><td>22.4 ms</td><td>41.5 ms</td><td>9.37 µs</td><td>x1.87</td>\
                 <td>79%</td><td>valid</td><td>none</td>",
                "<th>throng</th><td>99,925</td><td class=\"doubtful\">5.50 ms</td>",
                "<td class=\"doubtful\">INVALID 1 of 2</td><td>none</td>",
                "<span class=\"doubtful\">INVALID</span> throng #2: somebody sneezed</li>",
                // The axis goes from 1 ms to 100 ms; the second bar is no evidence.
                "<span class=\"c0\" style=\"margin-left:42.66%;width:24.88%\"></span></span><span class=\"value\">7.13 ms to 22.4 ms",
                "<span class=\"c0 pale\" style=\"margin-left:37.02%;width:29.80%\"></span></span><span class=\"value\">5.50 ms to 21.7",
                "<span style=\"left:50.00%\">10 ms</span>",
                "<span class=\"c7\" style=\"margin-left:0.00%;width:53.36%\"></span></span><span class=\"value\">5.00 µs</span>",
                "<h2>F: 1,000 members, at most 200 messages ahead of the slowest</h2><p>Nothing was measured.</p>",
                "<th>A</th><td>1,000</td><td>1.50</td><td>5.00 µs</td>",
                "<th>1,000</th><td>128 B</td><td>3.50 µs</td><td>5.00 µs</td>",
                "<code>throng-harness peers</code>",
                "<dt>Seed</dt><dd>5</dd>",
                "<dt>redis</dt><dd>Redis 7</dd>",
                "servers on core 0, harness on core 1",
            ],
        );
        for absent in ["Deliveries per second", "Not measured", "INCOMPLETE"] {
            assert!(!page.contains(absent), "{absent} in:\n{page}");
        }
        // A report without cases still has a page.
        let nothing = page_of(|report| {
            (report.cases, report.medians, report.rows) = (Vec::new(), Vec::new(), Vec::new());
            (report.bare_medians, report.systems) = (Vec::new(), Vec::new());
        });
        check(&nothing, &["COMPLETE", "How it was run"]);
    }

    #[test]
    fn losses_and_failures_are_marked() {
        let lost = |report: &mut PeersReport| {
            let summary = &mut report.medians[0];
            (summary.missing, summary.reordered, summary.corrupted) = (1_234, 0, 2);
            summary.deliveries_per_s *= 0.9;
            (report.medians[1].deliveries_per_s, report.medians[1].server_cpu_us_per_delivery) = (0.0, None);
            report.rows[0].incomplete_because = vec!["no client <came>".into()];
            let why = "it fell over".into();
            report.failures = vec![Failure { system: "redis".into(), case: 'E', repetition: 2, why }];
        };
        let page = page_of(lost);
        check(
            &page,
            &[
                "<title>peers: INCOMPLETE \u{b7} throng, redis \u{b7} run.html</title>",
                "verdict fail",
                "<td class=\"broken\">1,234 missing, 2 CORRUPTED</td>",
                "<strong>Deliveries per second</strong>",
                "<span class=\"value\">90,006</span>",
                "<span class=\"broken\">INCOMPLETE</span> throng #1: no client &lt;came&gt;",
                "<h2>Not measured</h2><ul><li>E redis #2: it fell over</li></ul>",
                "<th>throng</th><td>0</td><td class=\"doubtful\">-</td>",
            ],
        );
        let page = page_of(|report| {
            report.interrupted = true;
            report.bare_medians.retain(|bare| bare.case.is_none());
        });
        check(&page, &["INTERRUPTED", "verdict interrupted", "at full speed"]);
        assert!(!page.contains("of bare") && !page.contains("at the pace of</th>"), "{page}");
    }
}
