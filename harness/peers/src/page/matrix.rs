//! The overview of the page of `peers`: systems and cases in one table.

use maud::{Markup, html};
use throng_harness_report::html::{micros, table_of};

use super::{BROKEN, DOUBTFUL, cpu, is_doubtful, losses, own};
use crate::{Case, PeersReport, Summary};

impl PeersReport {
    /// All systems and cases at a glance.
    pub(super) fn html_matrix(&self) -> Markup {
        let (cases, systems) = (self.cases_in_order(), self.systems_in_order());
        if systems.is_empty() {
            return Markup::default();
        }
        let of = |system: &str, case: &Case| {
            self.medians.iter().find(|summary| summary.case == case.letter && summary.system == system)
        };
        let letters: Vec<_> = cases.iter().map(|case| case.letter.to_string()).collect();
        let heads: Vec<_> = [""].into_iter().chain(letters.iter().map(String::as_str)).collect();
        let body = html! {
            @for system in &systems {
                tr class=[own(system)] {
                    th { (system) }
                    @for case in &cases {
                        @match of(system, case) {
                            Some(summary) => (matrix_cell(summary)),
                            None => td { "-" },
                        }
                    }
                }
            }
        };
        html! {
            section.matrix {
                h2 { "Overview" }
                (table_of(&heads, &body))
                p.note {
                    "In each cell p50 and p99 of the latency, then the server's CPU time of a delivery. "
                    span class=(DOUBTFUL) { "Amber" }
                    ": a repetition's latencies are INVALID. "
                    span class=(BROKEN) { "Red" }
                    ": losses."
                }
                ul.note { @for case in &cases { li { (case.to_string()) } } }
            }
        }
    }
}

/// Latencies and CPU time of one system in one case.
fn matrix_cell(summary: &Summary) -> Markup {
    let lost = losses(summary);
    let class = match (&lost, is_doubtful(summary)) {
        (Some(_), _) => Some(BROKEN),
        (None, true) => Some(DOUBTFUL),
        (None, false) => None,
    };
    let is_known = summary.deliveries_per_s > 0.0;
    let each = summary.server_cpu_us_per_delivery.map_or_else(|| "-".into(), cpu);
    html! {
        td class=[class] title=[lost] {
            @if is_known { (micros(summary.p50_us)) br; (micros(summary.p99_us)) } @else { "-" }
            br;
            span.note { (each) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{check, page_of};
    use super::*;

    #[test]
    fn the_overview_has_throng_first_and_the_cases_by_letter() {
        let page = page_of(|report| {
            report.cases = ["F", "C", "A"].map(|letter| Case::named(letter).expect("it is one")).into();
            let of_c = Summary { case: 'C', missing: 7, ..report.medians[0].clone() };
            report.medians.push(of_c);
        });
        let (_, overview) = page.split_once("<h2>Overview</h2>").expect("an overview");
        let (overview, cases) = overview.split_once("</section>").expect("its end");
        check(
            overview,
            &[
                "<tr><th></th><th>A</th><th>C</th><th>F</th></tr>",
                "<tbody><tr class=\"own\"><th>throng</th><td class=\"doubtful\">5.50 ms<br>21.7 ms<br><span class=\"note\">8.60 µs</span>\
                 </td><td>-</td><td>-</td></tr><tr><th>redis</th><td>7.13 ms<br>22.4 ms",
                "<td class=\"broken\" title=\"7 missing\">",
            ],
        );
        let letters: Vec<_> = cases.split("<h2>").skip(1).filter_map(|rest| rest.chars().next()).collect();
        assert_eq!(letters[..3], ['A', 'C', 'F'], "{cases}");
        let (throng, redis) = (cases.find("<th>throng</th>"), cases.find("<th>redis</th>"));
        assert!(throng.is_some() && throng < redis, "{cases}");
        check(cases, &["<span class=\"own\">throng</span>", "<span>redis</span>"]);
    }
}
