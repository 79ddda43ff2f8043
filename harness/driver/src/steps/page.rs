//! The steps of a ramp or a bench: a table, charts by size, and the forecast.

use maud::{Markup, html};

use throng_harness_model::text::{format_count, format_rate};
use throng_harness_report::html::{Chart, Line, Unit, XAxis, sentence, table};

use crate::steps::forecast_text::forecast_lines;
use crate::steps::report::{CAPACITY_HEADS, STEP_HEADS, capacity_cells};
use crate::steps::{Axis, Basis, Forecast, Phase, Step, SteppedReport};

/// Points of the fitted curve.
const CURVE_POINTS: u32 = 60;
/// Labels that fit below the chart of a forecast.
const LABELS_MAX: f64 = 14.0;

impl SteppedReport {
    /// All steps; the rest of the page is about one of them.
    pub(super) fn html_steps(&self) -> Markup {
        let stepped = self;
        let mut heads = STEP_HEADS.to_vec();
        heads.insert(1, "result");
        let rows = stepped.steps.iter().map(|step| {
            let mut cells = step.cells().to_vec();
            cells.insert(1, format!("{}{}", step.outcome(), step.purpose()));
            cells
        });
        let reasons = stepped.steps.iter().flat_map(|step| step.because.iter().map(move |why| (step, why)));
        html! {
            section {
                h2 { "Steps" }
                p { (sentence(&stepped.limit.summary)) }
                (step_charts(stepped))
                (table(&heads, rows))
                @if reasons.clone().next().is_some() {
                    ul { @for (step, why) in reasons { li { "Step " (step.number) ": " (why) } } }
                }
                p.note {
                    "Last p99: 99 in 100 messages had reached their last recipient by then. Everything below, \
                     and the thresholds above, are of step "
                    (stepped.limit.reported_step) " of " (stepped.steps.len()) "."
                }
            }
            (capacity(stepped))
        }
    }
}

fn step_charts(stepped: &SteppedReport) -> Markup {
    let steps = &stepped.steps;
    let places = || (1_u32..).map(f64::from).zip(steps);
    let label = |step: &Step| {
        let again = if step.phase == Some(Phase::Confirm) { " again" } else { "" };
        format!("{}{again}", format_count(step.size.into()))
    };
    let axis = XAxis {
        ticks: places().map(|(at, step)| (at, label(step))).collect(),
        start: 0.0,
        end: steps.len() as f64 + 1.0,
        name: |at| format!("step {at:.0}"),
    };
    let line = |name: &'static str, value: fn(&Step) -> Option<f64>| {
        Line::new(name, places().map(|(at, step)| (at, value(step))))
    };
    let latency = vec![
        line("p50", |step| (step.latency_us.count > 0).then_some(step.latency_us.p50)),
        line("p99", |step| (step.latency_us.count > 0).then_some(step.latency_us.p99)),
        line("last recipient p99", |step| {
            (step.last_recipient_us.count > 0).then_some(step.last_recipient_us.p99)
        })
        .dashed_if(true),
    ];
    let deliveries = vec![line("deliveries", |step| Some(step.rates.deliveries_per_s))];
    let cpu =
        vec![line("server, of one core", Step::server_cpu), line("harness", |step| Some(step.harness_load))];
    let memory = vec![line("server", |step| step.server.map(|server| server.rss_bytes as f64))];
    let messages = vec![
        line("achieved", |step| Some(step.rates.achieved_per_s)),
        line("offered", |step| Some(step.rates.offered_per_s)).dashed_if(true),
    ];
    let knows_memory = steps.iter().any(|step| step.server.is_some());
    let charts = [
        ("Latency", Unit::Micros, latency),
        ("Deliveries per second", Unit::Count, deliveries),
        ("CPU", Unit::Share, cpu),
        if knows_memory {
            ("Server memory", Unit::Bytes, memory)
        } else {
            ("Messages per second", Unit::Count, messages)
        },
    ];
    let over = match stepped.limit.over {
        Axis::Clients => "clients",
        Axis::Rate => "rate",
    };
    html! {
        .charts {
            @for (title, unit, lines) in charts {
                (Chart::small(format!("{title} by {over}"), unit, axis.clone(), lines))
            }
        }
    }
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
            (table(&CAPACITY_HEADS, rows))
            ul {
                @for (_, line) in forecast.map(forecast_lines).unwrap_or_default() { li { (sentence(&line)) } }
            }
            p.note {
                "Closed loop: the next message is sent when the slowest client is few enough messages behind. \
                 A CPU second: deliveries per second of the server's CPU time, on any number of cores."
            }
        }
    }
}

fn forecast_chart(forecast: &Forecast) -> Option<Chart<'static>> {
    let law = forecast.law.as_ref()?;
    let measured = || forecast.measured.iter().map(|point| (point.clients, point.deliveries_per_s));
    let predicted = || forecast.predicted.iter().map(|point| (point.clients, point.deliveries_per_s));
    let mut sizes: Vec<u32> = measured().chain(predicted()).map(|(clients, _)| clients).collect();
    sizes.sort_unstable();
    let end = f64::from(*sizes.last().filter(|largest| **largest > 0)?);
    // The law begins with one member.
    let at = |point: u32| 1.0 + (end - 1.0) * f64::from(point) / f64::from(CURVE_POINTS);
    let curve = (0..=CURVE_POINTS).map(|point| (at(point), Some(law.at(at(point)))));
    let dots = |(clients, deliveries): (u32, f64)| (f64::from(clients), Some(deliveries));
    // A label that would overlap the one before it is left out.
    let mut last = f64::NEG_INFINITY;
    let labeled = sizes.into_iter().filter(|clients| {
        let has_room = f64::from(*clients) - last > end / LABELS_MAX;
        if has_room {
            last = f64::from(*clients);
        }
        has_room
    });
    let ticks = labeled.map(|clients| (f64::from(clients), format_count(clients.into()))).collect();
    let title = match forecast.basis {
        Some(Basis::ServerCpu) => "Deliveries per second of the server's CPU time, by clients",
        _ => "Deliveries per second, by clients",
    };
    let lines = [
        Line::new("measured", measured().map(dots)),
        Line::new("fitted", curve).dashed_if(true),
        Line::new("forecast", predicted().map(dots)),
    ];
    Some(Chart::small(title, Unit::Count, XAxis { ticks, start: 0.0, end, name: format_rate }, lines).wide(260.0))
}
