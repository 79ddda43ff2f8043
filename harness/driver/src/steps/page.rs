//! The steps of a ramp or a bench: the answer in tiles, charts by load, a table, and the forecast.

use maud::{Markup, html};
use throng_harness_model::text::{format_count, format_nanos, format_rate};
use throng_harness_model::threshold::{Figure, Series};
use throng_harness_report::compare::percent;
use throng_harness_report::html::{
    Chart, Limit, Line, Mark, Marked, Tone, Unit, XAxis, sentence, table, table_of, tile, time_limits,
};

use crate::steps::forecast_text::forecast_lines;
use crate::steps::report::{CAPACITY_HEADS, STEP_HEADS, capacity_cells};
use crate::steps::{Axis, Basis, Forecast, LimitedBy, Step, SteppedReport};

/// Points of the fitted curve.
const CURVE_POINTS: u32 = 60;
/// Reasons that are shown without a click.
const REASONS_OPEN: usize = 6;

/// A figure of a step, if it has one.
type StepFigure = fn(&Step) -> Option<f64>;

impl SteppedReport {
    /// The answer and all steps; the rest of the page is about one of them.
    pub(super) fn html_steps(&self) -> Markup {
        let reasons = self.steps.iter().flat_map(|step| step.because.iter().map(move |why| (step, why)));
        html! {
            (self.answer())
            section {
                h2 { "Steps" }
                p { (sentence(self.limit.answer.as_ref().unwrap_or(&self.limit.summary))) }
                (self.step_charts())
                (self.step_table())
                @if reasons.clone().next().is_some() {
                    details open[reasons.clone().count() <= REASONS_OPEN] {
                        summary { "Steps that were not good" }
                        ul { @for (step, why) in reasons { li { "Step " (step.number) ": " (why) } } }
                    }
                }
                p.note {
                    "Last p99: 99 in 100 messages had reached their last recipient by then. Everything below, \
                     and the thresholds above, are of step "
                    (self.limit.reported_step) " of " (self.steps.len()) "."
                }
            }
            (capacity(self))
        }
    }

    /// The result of all steps in tiles.
    fn answer(&self) -> Markup {
        let limit = &self.limit;
        let unit = match limit.over {
            Axis::Clients => "clients",
            Axis::Rate => "messages/s",
        };
        let confirmed = if limit.confirmed { ", confirmed" } else { "" };
        let good = match limit.good {
            Some(size) => (format_count(size.into()), format!("{unit}{confirmed}"), Tone::Good),
            None => ("none".to_owned(), String::new(), Tone::Bad),
        };
        let whose = limit.limited_by.map_or("", |whose| outcome_text(Some(whose)));
        let bad_tone = if is_evidence(limit.limited_by) { Tone::Bad } else { Tone::Doubtful };
        let reported = self.steps.iter().find(|step| step.number == limit.reported_step);
        let reported = reported.filter(|step| step.last_recipient_us.count > 0);
        let slo = time_limits(&self.report.thresholds)
            .find(|limit| (limit.series, limit.figure) == (Series::LastRecipient, Figure::P99));
        let slo = slo.map_or(String::new(), |slo| format!("at most {}", format_nanos(slo.micros * 1e3)));
        html! {
            section.tiles {
                (tile("largest good step", &good.0, &good.1, good.2))
                @if let Some(bad) = limit.bad {
                    (tile("not good", &format_count(bad.into()), &format!("{unit}, {whose}"), bad_tone))
                }
                @if let Some(step) = reported {
                    @let label = format!("last recipient p99 with {}", limit.over.show(step.size));
                    @let tone = if step.valid { Tone::Plain } else { Tone::Doubtful };
                    (tile(&label, &format_nanos(step.last_recipient_us.p99 * 1e3), &slo, tone))
                }
                @if let Some(forecast) = &self.forecast { (forecast_tile(forecast)) }
            }
        }
    }

    /// Charts by the load of the steps. A line joins the last step of each load that is evidence.
    fn step_charts(&self) -> Markup {
        let name: fn(f64) -> String = match self.limit.over {
            Axis::Clients => |at| format!("{} clients", format_rate(at)),
            Axis::Rate => |at| format!("{} messages/s", format_rate(at)),
        };
        let largest = self.steps.iter().map(|step| step.size).max().unwrap_or(0).max(1);
        let axis = XAxis::numbers(largest.into(), name);
        let memory: StepFigure = |step| step.server.map(|server| server.rss_bytes as f64);
        let last = if self.steps.iter().any(|step| step.server.is_some()) {
            self.chart("Server memory", Unit::Bytes, &axis, &[("server", memory)])
        } else {
            let achieved: StepFigure = |step| Some(step.rates.achieved_per_s);
            let offered: StepFigure = |step| Some(step.rates.offered_per_s);
            self.chart("Messages sent", Unit::Count, &axis, &[("achieved", achieved), ("offered", offered)])
        };
        let charts = [
            self.latency_chart(&axis),
            self.chart(
                "Deliveries per second",
                Unit::Count,
                &axis,
                &[("deliveries", |step| Some(step.rates.deliveries_per_s))],
            ),
            self.chart(
                "CPU",
                Unit::Share,
                &axis,
                &[
                    ("server, of one core", Step::server_cpu),
                    ("harness, of its threads", |step| Some(step.harness_load)),
                ],
            ),
            last,
        ];
        html! {
            .charts { @for chart in charts { (chart) } }
            p.note {
                span class="mark good" { "good" } " "
                span class="mark bad" { "not good" } " "
                span class="mark doubt" { "no evidence of the server: harness, machine, or cut short" }
            }
        }
    }

    fn latency_chart(&self, axis: &XAxis) -> Chart<'_> {
        let figures: [(&str, StepFigure); 3] = [
            ("p50", |step| (step.latency_us.count > 0).then_some(step.latency_us.p50)),
            ("p99", |step| (step.latency_us.count > 0).then_some(step.latency_us.p99)),
            ("last recipient p99", |step| {
                (step.last_recipient_us.count > 0).then_some(step.last_recipient_us.p99)
            }),
        ];
        let drawn = [
            (Series::Latency, Figure::P50),
            (Series::Latency, Figure::P99),
            (Series::LastRecipient, Figure::P99),
        ];
        let limits = time_limits(&self.report.thresholds);
        let limits = limits.filter(|limit| drawn.contains(&(limit.series, limit.figure)));
        let limits = limits.map(|limit| Limit { name: limit.name, value: limit.micros, until: None });
        self.chart("Latency", Unit::Micros, axis, &figures).log_if_wide().limited(limits)
    }

    fn chart(
        &self,
        title: &'static str,
        unit: Unit,
        axis: &XAxis,
        figures: &[(&'static str, StepFigure)],
    ) -> Chart<'_> {
        let lines = figures.iter().enumerate().map(|(number, (name, figure))| {
            // The one that may coincide with the first.
            self.line(name, *figure).dashed_if(number == 1)
        });
        let over = match self.limit.over {
            Axis::Clients => "clients",
            Axis::Rate => "rate",
        };
        Chart::small(format!("{title} by {over}"), unit, axis.clone(), lines)
    }

    /// A mark for each step, and a line by load through those that are evidence.
    fn line(&self, name: &'static str, figure: StepFigure) -> Line<'static> {
        let mut by_load: Vec<&Step> = self.steps.iter().collect();
        // Steps of one load stay in the order of time.
        by_load.sort_by_key(|step| step.size);
        let marks = by_load.iter().filter_map(|step| {
            let note = format!("step {}, {}{}", step.number, step.outcome(), step.purpose());
            Some(Marked { at: step.size.into(), value: figure(step)?, mark: mark(step), note })
        });
        let marks = marks.collect();
        by_load.retain(|step| mark(step) != Mark::Doubtful);
        let last = by_load.chunk_by(|step, next| step.size == next.size).filter_map(|steps| steps.last());
        Line::new(name, last.map(|step| (f64::from(step.size), figure(step)))).marked(marks)
    }

    fn step_table(&self) -> Markup {
        let mut heads = STEP_HEADS.to_vec();
        heads.insert(1, "result");
        let body = html! {
            @for step in &self.steps {
                @let [number, cells @ ..] = step.cells();
                @let class = match mark(step) { Mark::Good => "held", Mark::Bad => "broken", Mark::Doubtful => "doubtful" };
                tr {
                    th { (number) }
                    td class=(class) { (step.outcome()) (step.purpose()) }
                    @for cell in cells { td { (cell) } }
                }
            }
        };
        table_of(&heads, &body)
    }
}

/// True if a limit says something about the server.
fn is_evidence(limited_by: Option<LimitedBy>) -> bool {
    matches!(limited_by, Some(LimitedBy::Server | LimitedBy::Unexplained))
}

fn mark(step: &Step) -> Mark {
    match step.limited_by {
        _ if step.good => Mark::Good,
        limited_by if is_evidence(limited_by) => Mark::Bad,
        _ => Mark::Doubtful,
    }
}

fn outcome_text(limited_by: Option<LimitedBy>) -> &'static str {
    Step { limited_by, ..Step::default() }.outcome()
}

/// The error of a forecast, which tells whether to trust it.
fn forecast_tile(forecast: &Forecast) -> Markup {
    let Some(held) = &forecast.held_out else {
        return tile("forecast", "none", "", Tone::Plain);
    };
    let checked =
        format!("forecast of {} clients against its measurement", format_count(held.clients.into()));
    let (note, tone) = if forecast.is_guess() {
        (format!("not to be trusted: {checked}"), Tone::Doubtful)
    } else {
        (checked, Tone::Plain)
    };
    tile("error of the forecast", &percent(held.error_percent / 100.0), &note, tone)
}

/// The measured capacities, and those forecast for more clients.
fn capacity(stepped: &SteppedReport) -> Markup {
    let measured = stepped.steps.iter().filter_map(|step| Some((step, step.capacity.as_ref()?)));
    let rows: Vec<_> = measured.map(|(step, capacity)| Vec::from(capacity_cells(step, capacity))).collect();
    let forecast = stepped.forecast.as_ref();
    if rows.is_empty() && forecast.is_none() {
        return Markup::default();
    }
    html! {
        section {
            h2 { "Capacity" }
            @if let Some(chart) = forecast.and_then(forecast_chart) { (chart) }
            @if forecast.is_some_and(|forecast| forecast.law.is_some() && forecast.is_guess()) {
                p.doubtful { "The forecast is not drawn, as its error is too large." }
            }
            (table(&CAPACITY_HEADS, rows))
            @if let Some(forecast) = forecast {
                ul class=[forecast.is_guess().then_some("doubtful")] {
                    @for (_, line) in forecast_lines(forecast) { li { (sentence(&line)) } }
                }
            }
            p.note {
                "Closed loop: the next message is sent when the slowest client is few enough messages behind. \
                 A CPU second: deliveries per second of the server's CPU time, on any number of cores."
            }
        }
    }
}

/// The measured capacities with the fitted curve, and the forecast ones unless they are a guess.
fn forecast_chart(forecast: &Forecast) -> Option<Chart<'static>> {
    let law = forecast.law.as_ref()?;
    let measured = || forecast.measured.iter().map(|point| (point.clients, point.deliveries_per_s));
    let predicted = || {
        let trusted = forecast.predicted.iter().filter(|_| !forecast.is_guess());
        trusted.map(|point| (point.clients, point.deliveries_per_s))
    };
    let largest =
        measured().chain(predicted()).map(|(clients, _)| clients).max().filter(|largest| *largest > 0)?;
    let end = f64::from(largest);
    // The law begins with one member.
    let at = |point: u32| 1.0 + (end - 1.0) * f64::from(point) / f64::from(CURVE_POINTS);
    let curve = (0..=CURVE_POINTS).map(|point| (at(point), Some(law.at(at(point)))));
    let dots = |(clients, deliveries): (u32, f64)| (f64::from(clients), Some(deliveries));
    let title = match forecast.basis {
        Some(Basis::ServerCpu) => "Deliveries per second of the server's CPU time, by clients",
        _ => "Deliveries per second, by clients",
    };
    let mut predicted: Vec<_> = predicted().map(dots).collect();
    predicted.sort_by(|(left, _), (right, _)| left.total_cmp(right));
    let lines = [
        Line::new("measured", measured().map(dots)),
        Line::new("fitted", curve).dashed_if(true),
        Line::new("forecast", predicted),
    ];
    let axis = XAxis::numbers(end, |at| format!("{} clients", format_rate(at)));
    Some(Chart::small(title, Unit::Count, axis, lines).wide(260.0))
}

#[cfg(test)]
mod tests {
    use throng_harness_model::record::LatencyUs;
    use throng_harness_report::html::fixture::check_page;
    use throng_harness_report::{Checked, Document, Report};

    use super::*;
    use crate::steps::{HeldOut, Limit as Found, Measured, Phase, Predicted, Usl};

    const LAW: Usl = Usl { lambda: 4_000.0, sigma: 0.02, kappa: 0.0 };

    /// A report of steps with these sizes, each with the limit that it met.
    fn report(steps: &[(u32, Phase, Option<LimitedBy>)], forecast: Option<Forecast>) -> SteppedReport {
        let steps = (1_u32..).zip(steps).map(|(number, (size, phase, limited_by))| {
            let (size, phase, limited_by) = (*size, Some(*phase), *limited_by);
            let p99 = if limited_by.is_some() { 5e6 } else { f64::from(size) * 100.0 };
            let times = LatencyUs { count: 9, p50: 500.0, p99, ..LatencyUs::default() };
            let (latency_us, last_recipient_us) = (times, times);
            let good = limited_by.is_none();
            Step {
                number,
                size,
                phase,
                limited_by,
                good,
                valid: true,
                latency_us,
                last_recipient_us,
                ..Step::default()
            }
        });
        let found =
            |threshold: &str| Checked { threshold: threshold.into(), found: "1 ms".into(), held: true };
        let thresholds = ["missing=0", "last_recipient.p99=100ms"].map(found).into();
        SteppedReport {
            report: Report { scenario: "ramp".into(), valid: true, thresholds, ..Report::default() },
            limit: Found {
                over: Axis::Clients,
                good: Some(500),
                bad: Some(600),
                confirmed: true,
                limited_by: Some(LimitedBy::Server),
                because: Vec::new(),
                reported_step: 6,
                summary: "500 clients were good".into(),
                answer: None,
            },
            forecast,
            steps: steps.collect(),
        }
    }

    #[track_caller]
    fn page(report: &SteppedReport) -> String {
        let page = report.to_html("ramp.html");
        check_page(&page);
        page
    }

    /// The positions of the corners of a chart's line.
    fn corners(chart: &str, number: usize) -> Vec<f64> {
        let (_, path) = chart.split_once(&format!("<path class=\"line c{number}")).expect("a line");
        let path = path.split('"').nth(2).expect("its points");
        let points = path.split(['M', 'L']).skip(1);
        points.map(|point| point.split(' ').next().expect("x").parse().expect("a number")).collect()
    }

    #[test]
    fn loads_are_in_numeric_order_and_bad_steps_differ_in_shape() {
        let (climb, narrow) = (Phase::Climb, Phase::Narrow);
        let server = Some(LimitedBy::Server);
        let page = page(&report(
            &[
                (100, climb, None),
                (400, climb, None),
                (800, climb, server),
                (600, narrow, Some(LimitedBy::Machine)),
                (600, Phase::Repeat, server),
                (500, Phase::Confirm, None),
            ],
            None,
        ));
        let (_, chart) = page.split_once("Latency by clients").expect("the chart");
        let (chart, others) = chart.split_once("</svg>").expect("its end");
        for number in 0..3 {
            let found = corners(chart, number);
            assert_eq!(found.len(), 5, "one corner for each load: {found:?}");
            assert!(found.is_sorted_by(|left, right| left < right), "{found:?}");
            // 400 is three times as far from 100 as 500 from 400.
            assert!(((found[1] - found[0]) / (found[2] - found[1]) - 3.0).abs() < 0.02, "{found:?}");
        }
        assert_eq!(
            ["class=\"cross\"", "class=\"hollow\"", "<circle"].map(|mark| chart.matches(mark).count()),
            [6, 3, 9]
        );
        for part in [
            "<span class=\"key limit\">last recipient p99 at most 100 ms</span>",
            "<line class=\"limit\"",
            "<title>p99 600 clients: 5 s, step 5, server's limit (repeated)</title>",
        ] {
            assert!(chart.contains(part), "no `{part}` in:\n{chart}");
        }
        assert!(others.contains("<td class=\"doubtful\">machine busy (narrowing)</td>"), "{others}");
        let first = page.split("class=\"tile ").nth(1).expect("a tile");
        assert!(first.starts_with("good\"><span class=\"label\">largest good step</span><strong"), "{first}");
        assert!(first.contains("<strong>500</strong><span>clients, confirmed</span>"), "{first}");
        assert!(page.contains("<strong>600</strong><span>clients, server's limit</span>"), "{page}");
    }

    #[test]
    fn a_forecast_above_its_error_is_not_drawn() {
        let shown = |error_percent, fit| {
            let sizes = [10, 50, 100, 200];
            let measured =
                sizes.map(|clients| Measured { clients, deliveries_per_s: LAW.at(clients.into()) });
            let predicted = [(1_000, 250.0), (400, 99.0)].map(|(clients, messages_per_s)| Predicted {
                clients,
                deliveries_per_s: LAW.at(clients.into()),
                messages_per_s,
            });
            let forecast = Forecast {
                basis: Some(Basis::ServerCpu),
                law: Some(LAW),
                fit_error_percent: Some(fit),
                measured: measured.into(),
                held_out: Some(HeldOut { clients: 200, measured: 1.0, predicted: 2.0, error_percent }),
                predicted: predicted.into(),
                ..Forecast::default()
            };
            page(&report(&[(100, Phase::Climb, None)], Some(forecast)))
        };
        let near = shown(-19.9, 3.0);
        assert!(near.contains("<title>forecast 1,000 clients: ") && !near.contains("not drawn"), "{near}");
        let (_, chart) = near.split_once("of the server's CPU time, by clients").expect("the chart");
        assert!(corners(chart, 2).is_sorted_by(|left, right| left < right), "{chart}");
        for far in [shown(101.0, 3.0), shown(1.0, 20.1)] {
            assert!(!far.contains("<title>forecast ") && far.contains("The forecast is not drawn"), "{far}");
            assert!(far.contains("tile doubt\"><span class=\"label\">error of the forecast</span>"), "{far}");
            assert!(far.contains("<title>measured 200 clients: "), "{far}");
        }
    }
}
