//! The page of `peers`.

use throng_core::clock::utc_text;
use throng_harness_model::text::{format_count, format_rate};
use throng_harness_report::html::{Markup, how_it_was_run, micros, page, table};

use crate::{BareSummary, Case, Failure, PeersReport, Summary, Taken};

/// Share of the offered deliveries below which a system has not kept up, so that its rate is worth drawing.
const KEPT_UP: f64 = 0.99;

/// A class of the style sheet for what must not be overlooked.
const BROKEN: &str = "broken";
/// The same for what may not mean what it looks like.
const DOUBTFUL: &str = "doubtful";

/// Where a case's table has the CPU time as a multiple of the bare writer's, if there was one at the pace of the case.
const OF_BARE: usize = 6;

/// A horizontal bar of one system.
struct Bar<'a> {
    name: &'a str,
    /// From where to where on the axis, which goes from 0 to 1.
    span: (f64, f64),
    shown: String,
    /// The number of its colour.
    colour: usize,
    /// Whether it is drawn so that nobody relies on it.
    is_pale: bool,
}

/// The powers of ten between which latencies are drawn: one system's are milliseconds, and another's, which does not keep up, seconds.
struct Decades {
    low: f64,
    high: f64,
}

impl PeersReport {
    /// The report as a page of HTML that needs nothing besides itself.
    pub(super) fn page(&self) -> String {
        let (class, word, meaning) = self.outcome();
        page(&format!("peers: {word}"), |html| {
            self.html_header(html);
            html.element("section", &[("class", &format_args!("verdict {class}"))], |html| {
                html.element("p", &[], |html| {
                    html.leaf("strong", &[], word);
                    html.text(format_args!(" {meaning}"));
                });
                let text = "Latencies count from the time a message should have been sent (F: was sent). Figures are medians of the \
                            repetitions; losses are those of the worst one. The sender of a message is a recipient everywhere.";
                html.leaf("p", &[("class", &"note")], text);
            });
            self.html_invalid(html);
            self.cases.iter().for_each(|case| self.html_case(html, case));
            self.html_bare(html);
            self.html_failures(html);
            self.html_origin(html);
        })
    }

    /// A class, a word and a sentence.
    fn outcome(&self) -> (&'static str, &'static str, String) {
        match (self.interrupted, self.failures.len()) {
            (true, _) => ("interrupted", "INTERRUPTED", "These are the cases that were complete.".into()),
            (false, 0) => ("pass", "COMPLETE", "Every case was measured with every system.".into()),
            (false, count) => {
                ("fail", "INCOMPLETE", format!("Not measured: {}, see below.", format_count(count as u64)))
            }
        }
    }

    fn html_header(&self, html: &mut Markup) {
        let Self { payload, duration_s, warmup_s, drain_s, .. } = self;
        let repetitions = self.medians.iter().map(|summary| summary.repetitions).max().unwrap_or(0);
        let times = if repetitions == 1 { "once" } else { &format!("{repetitions} times") };
        html.element("header", &[], |html| {
            html.leaf("h1", &[], "peers");
            let text = format_args!(
                "{payload} B a message, {duration_s} s a case after {warmup_s} s of warm-up, up to {drain_s} s of drain, {times}; {}",
                self.began()
            );
            html.leaf("p", &[], text);
        });
    }

    /// That some rows are no evidence, before anybody reads their figures.
    fn html_invalid(&self, html: &mut Markup) {
        let invalid = self.rows.iter().filter(|row| !row.valid).count();
        if invalid == 0 {
            return;
        }
        html.element("section", &[("class", &"verdict invalid")], |html| {
            html.element("p", &[], |html| {
                html.leaf("strong", &[], "INVALID");
                html.text(format_args!(
                    " The latencies of {} of {} rows say more about the harness than about the server (deliveries are exact all the \
                     same). They are marked, and the reasons stand under each case's table.",
                    format_count(invalid as u64),
                    format_count(self.rows.len() as u64)
                ));
            });
        });
    }

    fn html_case(&self, html: &mut Markup, case: &Case) {
        let found: Vec<_> = self.medians.iter().filter(|summary| summary.case == case.letter).collect();
        let bare = self.bare_medians.iter().find(|bare| bare.case == Some(case.letter));
        html.element("section", &[], |html| {
            html.leaf("h2", &[], case);
            if found.is_empty() {
                return html.leaf("p", &[], "Nothing was measured.");
            }
            case_table(html, &found, bare);
            case_charts(html, case, &found, bare);
            self.html_reasons(html, case, &found);
        });
    }

    /// Why rows of a case are not all that they should be.
    fn html_reasons(&self, html: &mut Markup, case: &Case, found: &[&Summary]) {
        let rows = || self.rows.iter().filter(|row| row.case == case.letter);
        if rows().all(|row| row.valid && row.incomplete_because.is_empty()) {
            return;
        }
        let systems = found.iter().map(|summary| summary.system.as_str());
        html.element("ul", &[("class", &"note")], |html| {
            for row in systems.flat_map(|system| rows().filter(move |row| row.system == system)) {
                let marks = [
                    ("INCOMPLETE", BROKEN, &row.incomplete_because),
                    ("INVALID", DOUBTFUL, &row.invalid_because),
                ];
                for (mark, class, reasons) in marks.iter().filter(|(_, _, reasons)| !reasons.is_empty()) {
                    html.element("li", &[], |html| {
                        html.leaf("span", &[("class", class)], mark);
                        html.text(format_args!(
                            " {} #{}: {}",
                            row.system,
                            row.repetition,
                            reasons.join("; ")
                        ));
                    });
                }
            }
        });
    }

    fn html_bare(&self, html: &mut Markup) {
        let (paced, fast): (Vec<_>, Vec<_>) = self.bare_medians.iter().partition(|bare| bare.case.is_some());
        if self.bare_medians.is_empty() {
            return;
        }
        html.element("section", &[], |html| {
            html.leaf("h2", &[], "Bare: what it costs to do nothing but write");
            let sockets = |bare: &BareSummary| format_count(bare.sockets.into());
            if !paced.is_empty() {
                let rows = paced.iter().map(|bare| {
                    let case = bare.case.map_or_else(String::new, |case| case.to_string());
                    let each = format!("{:.2}", bare.deliveries_per_write);
                    vec![case, sockets(bare), each, cpu(bare.cpu_us_per_delivery)]
                });
                table(html, &["at the pace of", "sockets", "messages a write", "CPU a delivery"], rows);
            }
            if !fast.is_empty() {
                let rows = fast.iter().map(|bare| {
                    let bytes = format!("{} B", bare.bytes);
                    vec![sockets(bare), bytes, cpu(bare.cpu_us_per_write), cpu(bare.us_per_write)]
                });
                table(html, &["sockets, as fast as it goes", "a write", "CPU a write", "passed"], rows);
            }
            let text = "A process that does nothing but write to as many sockets, one after the other, on the servers' core. At the pace of a \
                        case it gives each what has become due, and sleeps when nobody lacks anything, as a server does.";
            html.leaf("p", &[("class", &"note")], text);
        });
    }

    fn html_failures(&self, html: &mut Markup) {
        if self.failures.is_empty() {
            return;
        }
        html.element("section", &[], |html| {
            html.leaf("h2", &[], "Not measured");
            html.element("ul", &[], |html| {
                for Failure { system, case, repetition, why } in &self.failures {
                    html.leaf("li", &[], format_args!("{case} {system} #{repetition}: {why}"));
                }
            });
        });
    }

    fn html_origin(&self, html: &mut Markup) {
        let (server, client, machine) = (self.server_core, self.client_core, &self.machine);
        let facts = [
            ("Seed", self.seed.to_string()),
            ("Version", format!("throng-harness {}", self.version)),
            ("Began", self.began()),
            ("Machine", machine.to_string()),
            ("Cores", format!("servers on core {server}, harness on core {client}")),
        ];
        let systems = self.systems.iter().map(|Taken { system, version }| (system.as_str(), version.clone()));
        how_it_was_run(html, &self.command, facts.into_iter().chain(systems));
    }

    fn began(&self) -> String {
        utc_text(self.started_unix_s.saturating_mul(1_000))
    }
}

/// CPU time, which is told to a hundredth of a microsecond whatever its size: that is how it is compared.
fn cpu(micros: f64) -> String {
    format!("{micros:.2} us")
}

/// A latency, if anything was delivered: without that there is none, not one of zero.
fn latency(summary: &Summary, micros_of: f64) -> Option<String> {
    (summary.deliveries_per_s > 0.0).then(|| micros(micros_of))
}

fn is_doubtful(summary: &Summary) -> bool {
    summary.invalid > 0
}

/// What was lost, and so on, in words.
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

fn case_table(html: &mut Markup, found: &[&Summary], bare: Option<&BareSummary>) {
    let mut heads =
        vec!["", "deliveries/s", "p50", "p99", "longest", "CPU a delivery", "harness", "latencies", "losses"];
    if bare.is_some() {
        heads.insert(OF_BARE, "of bare");
    }
    html.element("div", &[("class", &"scroll")], |html| {
        html.element("table", &[], |html| {
            html.element("thead", &[], |html| {
                html.element("tr", &[], |html| heads.iter().for_each(|head| html.leaf("th", &[], head)));
            });
            html.element("tbody", &[], |html| {
                for summary in found {
                    html.element("tr", &[], |html| {
                        html.leaf("th", &[], &summary.system);
                        for (class, cell) in cells(summary, bare) {
                            match class {
                                Some(class) => html.leaf("td", &[("class", &class)], cell),
                                None => html.leaf("td", &[], cell),
                            }
                        }
                    });
                }
            });
        });
    });
}

/// A row of a case's table but for its name, each cell with its class if it has one.
fn cells(summary: &Summary, bare: Option<&BareSummary>) -> Vec<(Option<&'static str>, String)> {
    let doubt = is_doubtful(summary).then_some(DOUBTFUL);
    let [p50, p99, max] = [summary.p50_us, summary.p99_us, summary.max_us]
        .map(|micros| (doubt, latency(summary, micros).unwrap_or_else(|| "-".into())));
    let each = summary.server_cpu_us_per_delivery;
    let validity = if is_doubtful(summary) {
        format!("INVALID {} of {}", summary.invalid, summary.repetitions)
    } else {
        "valid".into()
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

fn case_charts(html: &mut Markup, case: &Case, found: &[&Summary], bare: Option<&BareSummary>) {
    let kept_up = |summary: &&Summary| {
        case.offered_per_s().is_some_and(|offered| summary.deliveries_per_s >= offered * KEPT_UP)
    };
    // Where everybody does what is asked, their rates are all the same.
    let has_rates = !found.iter().all(kept_up);
    html.element("div", &[("class", &"charts")], |html| {
        latency_bars(html, if has_rates { "broad" } else { "narrow" }, found);
        let costs = found.iter().filter_map(|summary| {
            summary.server_cpu_us_per_delivery.map(|micros| (summary.system.as_str(), micros, 2))
        });
        let floor = bare.map(|bare| ("bare", bare.cpu_us_per_delivery, 7));
        amount_bars(html, "CPU a delivery", cpu, &costs.chain(floor).collect::<Vec<_>>());
        if has_rates {
            let rates = found.iter().map(|summary| (summary.system.as_str(), summary.deliveries_per_s, 3));
            amount_bars(html, "Deliveries a second", format_rate, &rates.collect::<Vec<_>>());
        }
    });
}

/// Adds a bar from the median to the 99th percentile of each system that delivered anything.
fn latency_bars(html: &mut Markup, class: &str, found: &[&Summary]) {
    let delivered: Vec<_> = found.iter().filter(|summary| summary.deliveries_per_s > 0.0).collect();
    let latencies = delivered.iter().flat_map(|summary| [summary.p50_us, summary.p99_us]);
    let Some(decades) = Decades::around(latencies) else { return };
    let bars = delivered.iter().map(|summary| {
        let [p50, p99] = [summary.p50_us, summary.p99_us];
        Bar {
            name: &summary.system,
            span: (decades.place(p50), decades.place(p99)),
            shown: format!("{} to {}", micros(p50), micros(p99)),
            colour: 0,
            is_pale: is_doubtful(summary),
        }
    });
    bars_figure(html, class, "Latency, p50 to p99", &decades.ticks(), bars.collect());
}

/// Adds a bar for each (name, amount, colour), the largest as long as there is room; none if all are empty.
fn amount_bars(html: &mut Markup, title: &str, show: fn(f64) -> String, amounts: &[(&str, f64, usize)]) {
    let largest = amounts.iter().map(|(_, amount, _)| *amount).fold(0.0, f64::max);
    if largest > 0.0 && largest.is_finite() {
        let bars = amounts.iter().map(|(name, amount, colour)| {
            let (span, shown) = ((0.0, amount / largest), show(*amount));
            Bar { name, span, shown, colour: *colour, is_pale: false }
        });
        bars_figure(html, "narrow", title, &[], bars.collect());
    }
}

fn bars_figure(html: &mut Markup, class: &str, title: &str, ticks: &[(f64, String)], bars: Vec<Bar<'_>>) {
    // A line at each tick, all the same distance from each other.
    let lines = match ticks.len() {
        0 | 1 => String::new(),
        count => format!("background-size:{:.3}% 100%", 100.0 / (count - 1) as f64),
    };
    let track = if ticks.is_empty() { "track" } else { "track lined" };
    html.element("figure", &[("class", &class)], |html| {
        html.element("figcaption", &[], |html| {
            html.leaf("strong", &[], title);
            if bars.iter().any(|bar| bar.is_pale) {
                html.leaf("span", &[("class", &DOUBTFUL)], "pale: INVALID");
            }
        });
        html.element("div", &[("class", &"bars")], |html| {
            for Bar { name, span: (from, to), shown, colour, is_pale } in bars {
                let [from, to] = [from, to].map(|at| at.clamp(0.0, 1.0) * 100.0);
                let class = format_args!("c{colour}{}", if is_pale { " pale" } else { "" });
                let style = format_args!("margin-left:{from:.2}%;width:{:.2}%", (to - from).max(0.0));
                html.leaf("span", &[], name);
                html.element("span", &[("class", &track), ("style", &lines)], |html| {
                    html.leaf("span", &[("class", &class), ("style", &style)], "");
                });
                html.leaf("span", &[("class", &"value")], shown);
            }
            if !ticks.is_empty() {
                html.element("span", &[("class", &"ticks")], |html| {
                    for (at, label) in ticks {
                        html.leaf("span", &[("style", &format_args!("left:{:.2}%", at * 100.0))], label);
                    }
                });
            }
        });
    });
}

impl Decades {
    /// Around times in microseconds, of which those below 1 are as if they were 1; none if there are none.
    fn around(times: impl Iterator<Item = f64>) -> Option<Self> {
        let (low, high) =
            times.fold((f64::INFINITY, 0.0_f64), |(low, high), time| (low.min(time), high.max(time)));
        let (low, high) = (low.max(1.0).log10().floor(), high.max(1.0).log10().ceil());
        (low.is_finite() && high.is_finite()).then_some(Self { low, high: high.max(low + 1.0) })
    }

    fn place(&self, micros: f64) -> f64 {
        (micros.max(1.0).log10() - self.low) / (self.high - self.low)
    }

    fn ticks(&self) -> Vec<(f64, String)> {
        let powers =
            (0..100).map(|place| self.low + f64::from(place)).take_while(|power| *power <= self.high);
        powers.map(|power| 10_f64.powf(power)).map(|time| (self.place(time), micros(time))).collect()
    }
}

#[cfg(test)]
mod tests {

    use throng_harness_report::Document;
    use throng_harness_report::html::fixture::check_page;

    use super::*;
    use crate::fixture::report as test_report;

    /// The page of a report with some figures, after `change`.
    fn page_of(change: impl FnOnce(&mut PeersReport)) -> String {
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
        let page = report.to_html();
        check_page(&page);
        page
    }

    #[track_caller]
    fn check(page: &str, parts: &[&str]) {
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
                "<title>peers: COMPLETE</title>",
                "128 B a message, 1 s a case after 1 s of warm-up, up to 1 s of drain, 2 times; 1970-01-01T00:00:00Z",
                "verdict pass",
                "The latencies of 1 of 3 rows say more",
                "<h2>A: 1,000 members, a message every 10ms, 100,000 deliveries/s</h2>",
                "<th>redis</th><td>100,006</td><td>7.13 ms</td><td>22.4 ms</td><td>41.5 ms</td><td>9.37 us</td><td>x1.87</td>\
                 <td>79%</td><td>valid</td><td>none</td>",
                "<th>throng</th><td>99,925</td><td class=\"doubtful\">5.50 ms</td>",
                "<td class=\"doubtful\">INVALID 1 of 2</td><td>none</td>",
                "<span class=\"doubtful\">INVALID</span> throng #2: somebody sneezed</li>",
                // From 1 ms to 100 ms; the second is not to be relied on.
                "<span class=\"c0\" style=\"margin-left:42.66%;width:24.88%\"></span></span><span class=\"value\">7.13 ms to 22.4 ms",
                "<span class=\"c0 pale\" style=\"margin-left:37.02%;width:29.80%\"></span></span><span class=\"value\">5.50 ms to 21.7",
                "<span style=\"left:50.00%\">10 ms</span>",
                "<span class=\"c7\" style=\"margin-left:0.00%;width:53.36%\"></span></span><span class=\"value\">5.00 us</span>",
                "<h2>F: 1,000 members, at most 200 messages ahead of the slowest</h2><p>Nothing was measured.</p>",
                "<th>A</th><td>1,000</td><td>1.50</td><td>5.00 us</td>",
                "<th>1,000</th><td>128 B</td><td>3.50 us</td><td>5.00 us</td>",
                "<code>throng-harness peers</code>",
                "<dt>Seed</dt><dd>5</dd>",
                "<dt>redis</dt><dd>Redis 7</dd>",
                "servers on core 0, harness on core 1",
            ],
        );
        for absent in ["Deliveries a second", "Not measured", "INCOMPLETE"] {
            assert!(!page.contains(absent), "{absent} in:\n{page}");
        }
        // Of a report without cases there is still a page.
        let nothing = page_of(|report| {
            (report.cases, report.medians, report.rows) = (Vec::new(), Vec::new(), Vec::new());
            (report.bare_medians, report.systems) = (Vec::new(), Vec::new());
        });
        check(&nothing, &["COMPLETE", "How it was run"]);
    }

    #[test]
    fn latencies_lie_between_powers_of_ten() {
        let check = |times: &[f64], shown: &str| {
            let decades = Decades::around(times.iter().copied());
            let ticks = decades.map(|decades| decades.ticks()).unwrap_or_default();
            let ticks: Vec<_> = ticks.into_iter().map(|(at, label)| format!("{at:.2} {label}")).collect();
            assert_eq!(ticks.join(", "), shown, "{times:?}");
        };
        check(&[5_500.0, 21_700.0], "0.00 1 ms, 0.50 10 ms, 1.00 100 ms");
        check(&[150.0, 7_000_000.0], "0.00 100 us, 0.20 1 ms, 0.40 10 ms, 0.60 100 ms, 0.80 1 s, 1.00 10 s");
        check(&[1_000.0, 1_000.0], "0.00 1 ms, 1.00 10 ms");
        check(&[0.0, 0.5], "0.00 1 us, 1.00 10 us");
        check(&[], "");
    }

    #[test]
    fn what_went_wrong_is_told() {
        let lost = |report: &mut PeersReport| {
            let summary = &mut report.medians[0];
            (summary.missing, summary.reordered, summary.corrupted) = (1_234, 0, 2);
            summary.deliveries_per_s *= 0.9;
            (report.medians[1].deliveries_per_s, report.medians[1].server_cpu_us_per_delivery) = (0.0, None);
            report.rows[0].incomplete_because = vec!["nobody <came>".into()];
            let why = "it fell over".into();
            report.failures = vec![Failure { system: "redis".into(), case: 'E', repetition: 2, why }];
        };
        let page = page_of(lost);
        check(
            &page,
            &[
                "<title>peers: INCOMPLETE</title>",
                "verdict fail",
                "<td class=\"broken\">1,234 missing, 2 CORRUPTED</td>",
                "<strong>Deliveries a second</strong>",
                "<span class=\"value\">90,006</span>",
                "<span class=\"broken\">INCOMPLETE</span> throng #1: nobody &lt;came&gt;",
                "<h2>Not measured</h2><ul><li>E redis #2: it fell over</li></ul>",
                "<th>throng</th><td>0</td><td class=\"doubtful\">-</td>",
            ],
        );
        let page = page_of(|report| {
            report.interrupted = true;
            report.bare_medians.retain(|bare| bare.case.is_none());
        });
        check(&page, &["INTERRUPTED", "verdict interrupted", "as fast as it goes"]);
        assert!(!page.contains("of bare") && !page.contains("at the pace of</th>"), "{page}");
    }
}
