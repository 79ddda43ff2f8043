//! The steps of a run of several: a table, and how figures change with their sizes.

use throng_harness_model::text::{format_count, format_rate};
use throng_harness_report::html::{Chart, Line, Markup, Unit, table};

use crate::steps::forecast_text::forecast_lines;
use crate::steps::report::{CAPACITY_HEADS, STEP_HEADS, capacity_cells};
use crate::steps::{Axis, Basis, Forecast, Phase, Step, SteppedReport};

/// Points that the fitted curve is drawn with.
const CURVE_POINTS: u32 = 60;

impl SteppedReport {
    /// What the steps were, above the figures of the one that the report is of.
    pub(super) fn html_steps(&self, html: &mut Markup) {
        let stepped = self;
        html.element("section", &[], |html| {
            html.leaf("h2", &[], "Steps");
            html.leaf("p", &[], sentence(&stepped.limit.summary));
            step_charts(html, stepped);
            let mut heads = STEP_HEADS.to_vec();
            heads.insert(1, "result");
            let rows = stepped.steps.iter().map(|step| {
                let mut cells = step.cells().to_vec();
                cells.insert(1, format!("{}{}", step.outcome(), step.purpose()));
                cells
            });
            table(html, &heads, rows);
            reasons(html, &stepped.steps);
            let all = stepped.steps.len();
            let text = format_args!(
                "Last p99: 99 in 100 messages had reached their last recipient by then. Everything below, and the thresholds \
                 above, are of step {} of {all}.",
                stepped.limit.reported_step
            );
            html.leaf("p", &[("class", &"note")], text);
        });
        html_capacity(html, stepped);
    }
}

/// Why steps were not good.
fn reasons(html: &mut Markup, steps: &[Step]) {
    if steps.iter().all(|step| step.because.is_empty()) {
        return;
    }
    html.element("ul", &[], |html| {
        for step in steps {
            for why in &step.because {
                html.leaf("li", &[], format_args!("Step {}: {why}", step.number));
            }
        }
    });
}

/// With a capital letter and a full stop.
fn sentence(text: &str) -> String {
    let mut characters = text.chars();
    let first = characters.next().map(|first| first.to_uppercase().to_string()).unwrap_or_default();
    format!("{first}{}.", characters.as_str())
}

/// Where the chart's steps are, from left to right.
fn place(index: usize) -> f64 {
    index as f64 + 1.0
}

fn step_charts(html: &mut Markup, stepped: &SteppedReport) {
    let steps = &stepped.steps;
    let label = |step: &Step| {
        let again = if step.phase == Some(Phase::Confirm) { " again" } else { "" };
        format!("{}{again}", format_count(step.size.into()))
    };
    let x_ticks: Vec<_> = steps.iter().enumerate().map(|(at, step)| (place(at), label(step))).collect();
    let line = |name: &'static str, value: fn(&Step) -> Option<f64>| {
        Line::new(name, steps.iter().enumerate().map(|(at, step)| (place(at), value(step))).collect())
    };
    let over = match stepped.limit.over {
        Axis::Clients => "clients",
        Axis::Rate => "rate",
    };
    // The fourth shows the server's memory, or if that is not known, what there was of the messages that there were to be.
    let fourth = if steps.iter().any(|step| step.server.is_some()) {
        let memory = line("server", |step| step.server.map(|server| server.rss_bytes as f64));
        ("Server's memory", Unit::Bytes, vec![memory])
    } else {
        let lines = vec![
            line("achieved", |step| Some(step.rates.achieved_per_s)),
            line("offered", |step| Some(step.rates.offered_per_s)).dashed_if(true),
        ];
        ("Messages sent a second", Unit::Count, lines)
    };
    let charts = [
        (
            "Latency",
            Unit::Micros,
            vec![
                line("p50", |step| (step.latency_us.count > 0).then_some(step.latency_us.p50)),
                line("p99", |step| (step.latency_us.count > 0).then_some(step.latency_us.p99)),
                line("last recipient p99", |step| {
                    (step.last_recipient_us.count > 0).then_some(step.last_recipient_us.p99)
                })
                .dashed_if(true),
            ],
        ),
        (
            "Deliveries a second",
            Unit::Count,
            vec![line("deliveries", |step| Some(step.rates.deliveries_per_s))],
        ),
        (
            "CPU",
            Unit::Share,
            vec![
                line("server, of one core", Step::server_cpu),
                line("harness", |step| Some(step.harness_load)),
            ],
        ),
        fourth,
    ];
    html.element("div", &[("class", &"charts")], |html| {
        for (title, unit, lines) in charts {
            let (x_ticks, x_end) = (x_ticks.clone(), place(steps.len()));
            let x_name = |at| format!("step {at:.0}");
            let title = &format!("{title} by {over}");
            Chart { title, size: (430.0, 190.0), unit, x_ticks, x_end, x_name, shade: None, lines }
                .draw(html);
        }
    });
}

/// What was measured and what is forecast.
fn html_capacity(html: &mut Markup, stepped: &SteppedReport) {
    let measured = || stepped.steps.iter().filter_map(|step| Some((step, step.capacity.as_ref()?)));
    if measured().next().is_none() && stepped.forecast.is_none() {
        return;
    }
    html.element("section", &[], |html| {
        html.leaf("h2", &[], "Capacity");
        let forecast = stepped.forecast.as_ref();
        if let Some(forecast) = forecast {
            forecast_chart(html, forecast);
        }
        table(html, &CAPACITY_HEADS, measured().map(|(step, capacity)| capacity_cells(step, capacity).into()));
        html.element("ul", &[], |html| {
            for (_, line) in forecast.map(forecast_lines).unwrap_or_default() {
                html.leaf("li", &[], sentence(&line));
            }
        });
        html.leaf(
            "p",
            &[("class", &"note")],
            "Messages were sent as fast as they were served: the next one when the slowest client lacked few enough. A CPU \
             second: deliveries for each second of the server's CPU time, on however many cores.",
        );
    });
}

fn forecast_chart(html: &mut Markup, forecast: &Forecast) {
    let Some(law) = &forecast.law else { return };
    let predicted = forecast.predicted.iter().map(|predicted| predicted.clients);
    let sizes = forecast.measured.iter().map(|measured| measured.clients).chain(predicted);
    let Some(largest) = sizes.clone().max().filter(|largest| *largest > 0) else { return };
    let end = f64::from(largest);
    // The law begins with one member.
    let at = |point: u32| 1.0 + (end - 1.0) * f64::from(point) / f64::from(CURVE_POINTS);
    let curve = (0..=CURVE_POINTS).map(|point| (at(point), Some(law.at(at(point))))).collect();
    let dots = |points: Vec<(u32, f64)>| {
        points.into_iter().map(|(clients, x)| (f64::from(clients), Some(x))).collect()
    };
    let measured =
        forecast.measured.iter().map(|measured| (measured.clients, measured.deliveries_per_s)).collect();
    let predicted: Vec<_> =
        forecast.predicted.iter().map(|predicted| (predicted.clients, predicted.deliveries_per_s)).collect();
    let mut x_ticks: Vec<_> =
        sizes.map(|clients| (f64::from(clients), format_count(clients.into()))).collect();
    x_ticks.sort_by(|a, b| a.0.total_cmp(&b.0));
    // Labels that would stand on each other are left out.
    let mut last = f64::NEG_INFINITY;
    x_ticks.retain(|(at, _)| {
        let has_room = at - last > end / 14.0;
        if has_room {
            last = *at;
        }
        has_room
    });
    let title = match forecast.basis {
        Some(Basis::ServerCpu) => "Deliveries in a second of the server's CPU, by clients",
        _ => "Deliveries in a second, by clients",
    };
    Chart {
        title,
        size: (860.0, 260.0),
        unit: Unit::Count,
        x_ticks,
        x_end: end,
        x_name: format_rate,
        shade: None,
        lines: vec![
            Line::new("measured", dots(measured)),
            Line::new("fitted", curve).dashed_if(true),
            Line::new("forecast", dots(predicted)),
        ],
    }
    .draw(html);
}
