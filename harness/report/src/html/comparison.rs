//! Two sides held against each other, as a page.

use super::chart::{Chart, Line, Unit, time_name, time_ticks};
use super::latency::by_percentile;
use super::markup::Markup;
use super::page;
use super::timeline::Figure;
use crate::compare::text::CONTROLLED;
use crate::compare::{Comparison, Finding, Named, Outcome};
use crate::{Report, merged};

/// Distributions that are drawn for both sides, and their charts' titles.
const DISTRIBUTIONS: [(&str, &str); 2] =
    [("latency", "Latency by percentile"), ("last_recipient", "Last recipient by percentile")];

/// Most runs of a side whose lines can still be told apart.
const RUNS_SHOWN: usize = 4;

const SECONDS: [(&str, Unit, Figure); 4] = [
    ("Latency p50", Unit::Micros, |row| Some(row.p50_us).filter(|p50| *p50 > 0.0)),
    ("Latency p99", Unit::Micros, |row| Some(row.p99_us).filter(|p99| *p99 > 0.0)),
    ("Deliveries a second", Unit::Count, |row| Some(row.received_per_s)),
    ("Server's CPU, of one core", Unit::Share, |row| row.server_cpu),
];

impl Comparison {
    /// The comparison as a page of HTML that needs nothing besides itself.
    pub fn to_html(&self, baseline: &[Named], new: &[Named]) -> String {
        let (word, meaning) = self.outcome_text();
        page(&format!("{}: {word}", self.of), |html| {
            html.element("header", &[], |html| {
                html.leaf("h1", &[], format_args!("{} compared", self.of));
                html.leaf("p", &[], format_args!("{}; {}", self.sides_text(), self.traffic_text()));
            });
            let class = match self.outcome {
                Outcome::Worse => "fail",
                Outcome::Untested => "interrupted",
                Outcome::Same | Outcome::Better => "pass",
            };
            html.element("section", &[("class", &format_args!("verdict {class}"))], |html| {
                html.element("p", &[], |html| {
                    html.leaf("strong", &[], word);
                    html.text(format_args!(" {meaning}."));
                });
                self.html_figures(html);
                html.leaf("p", &[("class", &"note")], format_args!("As a rule, {}.", self.rule_text()));
                self.doubts
                    .iter()
                    .for_each(|doubt| html.leaf("p", &[("class", &"note")], format_args!("Note: {doubt}.")));
            });
            distributions(html, baseline, new);
            seconds(html, baseline, new);
            self.html_sides(html, baseline, new);
        })
    }

    fn html_figures(&self, html: &mut Markup) {
        let heads = ["", "baseline (range)", "new (range)", "change", "p", "finding"];
        html.element("div", &[("class", &"scroll")], |html| {
            html.element("table", &[], |html| {
                html.element("thead", &[], |html| {
                    html.element("tr", &[], |html| heads.iter().for_each(|head| html.leaf("th", &[], head)));
                });
                html.element("tbody", &[], |html| {
                    for figure in &self.figures {
                        let class = match figure.finding {
                            Finding::Better => "held",
                            Finding::Worse => "broken",
                            Finding::Same | Finding::Different | Finding::Untested => "plain",
                        };
                        html.element("tr", &[], |html| {
                            html.leaf("th", &[], &figure.name);
                            html.leaf("td", &[], figure.baseline_text());
                            html.leaf("td", &[], figure.new_text());
                            html.leaf("td", &[], figure.change_text());
                            html.leaf("td", &[], figure.p_text());
                            html.leaf("td", &[("class", &class)], figure.finding.text());
                        });
                        if let Some(controlled) = figure.controlled {
                            html.element("tr", &[("class", &"detail")], |html| {
                                html.leaf("th", &[("colspan", &3)], CONTROLLED);
                                html.leaf("td", &[], controlled.change_text());
                                html.leaf("td", &[], "");
                                html.leaf("td", &[], controlled.decides_text());
                            });
                        }
                    }
                });
            });
        });
    }

    fn html_sides(&self, html: &mut Markup, baseline: &[Named], new: &[Named]) {
        html.element("section", &[], |html| {
            html.leaf("h2", &[], "What was compared");
            html.element("dl", &[], |html| {
                for (side, runs) in [("Baseline", baseline), ("New", new)] {
                    for Named { path, report } in runs {
                        html.leaf("dt", &[], side);
                        let (file, began, machine) = (path.display(), report.began(), &report.machine);
                        html.leaf("dd", &[], format_args!("{file}, of {began}, on {machine}"));
                    }
                }
                for differing in &self.differing {
                    html.leaf("dt", &[], "Differs");
                    let (what, baseline, new) = (&differing.what, &differing.baseline, &differing.new);
                    html.leaf("dd", &[], format_args!("{what}: {baseline} | {new}"));
                }
                html.leaf("dt", &[], "Version");
                html.leaf("dd", &[], format_args!("throng-harness {}", self.version));
            });
        });
    }
}

/// Both sides' distributions over each other.
fn distributions(html: &mut Markup, baseline: &[Named], new: &[Named]) {
    let [baseline, new] = [baseline, new].map(merged);
    let shown = DISTRIBUTIONS.iter().filter_map(|(name, title)| {
        Some((*title, [("baseline", baseline.get(*name)?), ("new", new.get(*name)?)]))
    });
    let shown: Vec<_> = shown.collect();
    if shown.is_empty() {
        return;
    }
    html.element("section", &[], |html| {
        html.leaf("h2", &[], "Latency");
        for (title, sides) in &shown {
            by_percentile(title, sides.map(|(side, latencies)| (side.into(), latencies))).draw(html);
        }
    });
}

/// The runs second by second, each from its own beginning.
fn seconds(html: &mut Markup, baseline: &[Named], new: &[Named]) {
    let side = |name: &'static str, side: &[Named]| -> Vec<(String, Report)> {
        let shown = side.iter().take(RUNS_SHOWN).zip(1..);
        shown.map(|(named, run)| (format!("{name} {run}"), named.report.clone())).collect()
    };
    let runs: Vec<_> = side("baseline", baseline).into_iter().chain(side("new", new)).collect();
    let end =
        runs.iter().filter_map(|(_, report)| report.timeline.last()).map(|row| row.at_s).fold(0.0, f64::max);
    if end <= 0.0 {
        return;
    }
    html.element("section", &[], |html| {
        html.leaf("h2", &[], "Second by second");
        html.element("div", &[("class", &"charts")], |html| {
            for (title, unit, value) in SECONDS {
                let lines = runs.iter().map(|(name, report)| {
                    Line::new(name, report.timeline.iter().map(|row| (row.at_s, value(row))).collect())
                });
                let lines = lines.collect();
                let (size, x_ticks) = ((430.0, 190.0), time_ticks(end));
                Chart { title, size, unit, x_ticks, x_end: end, x_name: time_name, shade: None, lines }
                    .draw(html);
            }
        });
    });
}
