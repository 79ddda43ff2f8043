//! The page of a comparison.

use maud::{Markup, html};

use super::chart::{Chart, Line, Unit, XAxis};
use super::latency::{by_percentile, is_skewed};
use super::timeline::{Figure, above_zero};
use super::{banner, header, page, sentence, table_of, title};
use crate::compare::text::CONTROLLED;
use crate::compare::{Comparison, Finding, Named, Outcome};
use crate::merged;

/// Distributions that are drawn for both sides, and the titles of their charts.
const DISTRIBUTIONS: [(&str, &str); 2] = [
    ("latency", "Latency by percentile, over all runs of a side"),
    ("last_recipient", "Last recipient by percentile, over all runs of a side"),
];

/// Runs of a side that are drawn second by second. More lines could not be told apart.
const RUNS_SHOWN: usize = 4;

const SECONDS: [(&str, Unit, Figure); 4] = [
    ("p50 of each second's latencies", Unit::Micros, |row| above_zero(row.p50_us)),
    ("p99 of each second's latencies", Unit::Micros, |row| above_zero(row.p99_us)),
    ("Deliveries per second", Unit::Count, |row| Some(row.received_per_s)),
    ("Server CPU, of one core", Unit::Share, |row| row.server_cpu),
];

impl Comparison {
    /// The comparison as a page of HTML that needs no other file.
    /// `file` is the name of its file, for the title.
    pub fn to_html(&self, file: &str, baseline: &[Named], new: &[Named]) -> String {
        let (word, meaning) = self.outcome_text();
        let class = match self.outcome {
            Outcome::Worse => "fail",
            Outcome::Untested => "interrupted",
            Outcome::Same | Outcome::Better => "pass",
        };
        let subtitle = format!("{}; {}", self.sides_text(), self.traffic_text());
        let details = html! {
            (self.html_figures())
            p.note { "As a rule, " (self.rule_text()) "." }
            @for doubt in &self.doubts { p.note { "Note: " (doubt) "." } }
        };
        let content = html! {
            (header(&format!("{} compared", self.of), &subtitle))
            (banner(class, word, &sentence(meaning), &details))
            (distributions(baseline, new))
            (seconds(baseline, new))
            (self.html_sides(baseline, new))
        };
        page(&title(&[&format!("{}: {word}", self.of), &self.sides_text(), file]), &content)
    }

    fn html_figures(&self) -> Markup {
        let class = |finding| match finding {
            Finding::Better => "held",
            Finding::Worse => "broken",
            Finding::Same | Finding::Different | Finding::Untested => "plain",
        };
        let body = html! {
            @for figure in &self.figures {
                tr {
                    th { (figure.name) }
                    td { (figure.baseline_text()) }
                    td { (figure.new_text()) }
                    td { (figure.change_text()) }
                    td { (figure.p_text()) }
                    td class=(class(figure.finding)) { (figure.finding.text()) }
                }
                @if let Some(controlled) = figure.controlled {
                    tr {
                        th colspan="3" { (CONTROLLED) }
                        td { (controlled.change_text()) }
                        td {}
                        td { (controlled.decides_text()) }
                    }
                }
            }
        };
        table_of(&["", "baseline (range)", "new (range)", "change", "p", "finding"], &body)
    }

    fn html_sides(&self, baseline: &[Named], new: &[Named]) -> Markup {
        let runs = [("Baseline", baseline), ("New", new)];
        let runs = runs.into_iter().flat_map(|(side, runs)| runs.iter().map(move |run| (side, run)));
        html! {
            section {
                h2 { "Reports" }
                dl {
                    @for (side, Named { path, report }) in runs {
                        dt { (side) }
                        dd { (path.display().to_string()) ", " (report.began()) ", " (report.machine.to_string()) }
                    }
                    @for differing in &self.differing {
                        dt { "Differs" }
                        dd { (differing.what) ": " (differing.baseline) " | " (differing.new) }
                    }
                    dt { "Version" }
                    dd { "throng-harness " (self.version) }
                }
            }
        }
    }
}

/// Distributions of both sides in one chart each.
fn distributions(baseline: &[Named], new: &[Named]) -> Markup {
    let [baseline, new] = [baseline, new].map(merged);
    let charts: Vec<_> = DISTRIBUTIONS
        .iter()
        .filter_map(|(name, title)| {
            let sides = [("baseline".into(), baseline.get(*name)?), ("new".into(), new.get(*name)?)];
            let is_skewed = sides.iter().any(|(_, latencies)| is_skewed(&latencies.summary()));
            let chart = by_percentile(title, sides);
            Some(if is_skewed { chart.log_if_wide() } else { chart })
        })
        .collect();
    html! {
        @if !charts.is_empty() {
            section { h2 { "Latencies of whole runs" } @for chart in charts { (chart) } }
        }
    }
}

/// The runs second by second, each from its own start.
fn seconds(baseline: &[Named], new: &[Named]) -> Markup {
    let runs = [("baseline", true, baseline), ("new", false, new)];
    let runs: Vec<_> = runs
        .into_iter()
        .flat_map(|(side, is_dashed, runs)| {
            let runs = runs.iter().take(RUNS_SHOWN).zip(1..);
            runs.map(move |(run, number)| (format!("{side} {number}"), is_dashed, &run.report.timeline))
        })
        .collect();
    let ends = runs.iter().filter_map(|(_, _, timeline)| timeline.last()).map(|row| row.at_s);
    let end = ends.fold(0.0, f64::max);
    if end <= 0.0 || !end.is_finite() {
        return Markup::default();
    }
    let chart = |(title, unit, figure): (&'static str, Unit, Figure)| {
        let lines = runs.iter().map(|(name, is_dashed, timeline)| {
            let points = timeline.iter().map(|row| (row.at_s, figure(row)));
            Line::new(name, points).dashed_if(*is_dashed)
        });
        Chart::small(title, unit, XAxis::seconds(end), lines)
    };
    html! {
        section {
            h2 { "Second by second" }
            .charts { @for plan in SECONDS { (chart(plan)) } }
            p.note { "A run's percentile is that of all of its deliveries, and not the mean of its seconds." }
        }
    }
}
