//! The report of a run of several steps: the report of its representative step, and the result of
//! all.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use serde::{Deserialize, Serialize};
use throng_harness_model::procstat::Usage;
use throng_harness_model::record::{Latencies, LatencyUs};
use throng_harness_model::results::{Clients, Deliveries, Gaps, Rates};
use throng_harness_model::text::{format_bytes, format_count, format_nanos, format_rate};
use throng_harness_report::{Document, Form, ReadError, Report, ReportFile, Verdict, json_text};

use crate::steps::forecast_text::forecast_lines;
use crate::steps::{Axis, Bottleneck, Capacity, Forecast, Found, Judged, LimitedBy, Phase, Trial};

/// One step. Keys that also occur in a report have the same meaning there.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "testing", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct Step {
    /// Number of the step, from 1.
    pub number: u32,
    /// Size of the step: clients, or messages per second.
    pub size: u32,
    /// Purpose.
    pub phase: Option<Phase>,
    /// Start of the step in seconds since the start of the whole run.
    pub started_s: f64,
    /// True if all thresholds held, every delivery was made, and all offered messages were sent.
    pub good: bool,
    /// Reasons why the step is not good.
    pub because: Vec<String>,
    /// Limit that the step met; null for a good or interrupted step.
    pub limited_by: Option<LimitedBy>,
    /// Verdict by the thresholds.
    pub verdict: Verdict,
    /// True if the step is evidence about the server.
    pub valid: bool,
    /// Outcomes of the clients.
    pub clients: Clients,
    /// Counted messages that were sent.
    pub sent: u64,
    /// Rates.
    pub rates: Rates,
    /// Outcomes of all (message, recipient) pairs.
    pub deliveries: Deliveries,
    /// Missed messages that the server announced to clients.
    pub gaps: Gaps,
    /// Latency from the intended send time to arrival.
    pub latency_us: LatencyUs,
    /// Latency from the intended send time to the last recipient of each message.
    pub last_recipient_us: LatencyUs,
    /// Duration of the measured part, in seconds.
    pub measured_s: f64,
    /// Resource use of the server's process; null if it is unknown.
    pub server: Option<Usage>,
    /// CPU time of the server per delivery, in microseconds.
    pub server_cpu_us_per_delivery: Option<f64>,
    /// CPU time of all harness processes, as a share of what their event loops could have used.
    pub harness_load: f64,
    /// Capacity of the server with the clients of this step, if it was measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub capacity: Option<Capacity>,
    /// The whole report, with `--keep-reports`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub report: Option<Box<Report>>,
}

impl Step {
    /// Returns step `number` for `trial`, from its report and judgment.
    pub fn new(number: u32, trial: Trial, report: &Report, judged: Judged) -> Self {
        Self {
            number,
            size: trial.size,
            phase: Some(trial.phase),
            started_s: 0.0,
            good: judged.good,
            because: judged.because,
            limited_by: judged.limited_by,
            verdict: report.verdict,
            valid: report.valid,
            clients: report.clients.clone(),
            sent: report.sent,
            rates: report.rates,
            deliveries: report.deliveries.clone(),
            gaps: report.gaps,
            latency_us: report.latency_us,
            last_recipient_us: report.last_recipient_us,
            measured_s: report.measured_s,
            server: report.server,
            server_cpu_us_per_delivery: report.server_cpu_us_per_delivery,
            harness_load: report.harness_load,
            capacity: None,
            report: None,
        }
    }

    /// Returns the CPU time of the server as a share of one core.
    pub fn server_cpu(&self) -> Option<f64> {
        self.server.filter(|_| self.measured_s > 0.0).map(|server| server.cpu_s / self.measured_s)
    }

    /// Returns `good`, or whose limit the step met, or that it was interrupted.
    pub fn outcome(&self) -> &'static str {
        match (self.good, self.limited_by) {
            (true, _) => "good",
            (false, Some(LimitedBy::Server)) => "server's limit",
            (false, Some(LimitedBy::Unexplained)) => "not explained",
            (false, Some(LimitedBy::Harness)) => "harness's limit",
            (false, Some(LimitedBy::Machine)) => "machine busy",
            (false, None) => "cut short",
        }
    }
}

/// Result of the steps.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "testing", derive(schemars::JsonSchema))]
pub struct Limit {
    /// Unit of the sizes.
    pub over: Axis,
    /// The greatest good size, below all bad ones unless steps are only compared; null if no size
    /// was good.
    pub good: Option<u32>,
    /// The smallest size that met the server's limit. Without one, the smallest above the good one
    /// at which the harness or the machine was not good enough. Null if all were good.
    pub bad: Option<u32>,
    /// True if the good size was good again after the bad one was known.
    pub confirmed: bool,
    /// Limit that the bad size met. Only the server's limit says something about the server.
    pub limited_by: Option<LimitedBy>,
    /// Reasons why the bad size was not good.
    pub because: Vec<String>,
    /// Number of the step that the rest of the report is about.
    pub reported_step: u32,
    /// Summary in one sentence.
    pub summary: String,
    /// The result in words: how many, at which rate, by which goal, what ran out first, and what to
    /// do for more. Null if steps are only compared.
    #[serde(default)]
    pub answer: Option<String>,
}

/// Iterates over the steps that count: neither repeated nor interrupted ones.
pub(super) fn judged(steps: &[Step]) -> impl Iterator<Item = &Step> {
    let next_phases = steps.iter().skip(1).map(|step| step.phase).chain([None]);
    let counts = |(step, next): &(&Step, Option<Phase>)| {
        *next != Some(Phase::Repeat) && (step.good || step.limited_by.is_some())
    };
    steps.iter().zip(next_phases).filter(counts).map(|(step, _)| step)
}

impl Limit {
    /// Returns the result of `steps`, from `found` by the strategy. The summary says so if steps
    /// were only compared, or the run was interrupted.
    pub fn new(
        over: Axis,
        found: Found,
        steps: &[Step],
        reported_step: Option<u32>,
        only_compared: bool,
        is_cut: bool,
    ) -> Self {
        let of_bad =
            |whose| steps.iter().rfind(|step| step.limited_by == Some(whose) && Some(step.size) == found.bad);
        let by_evidence = [LimitedBy::Server, LimitedBy::Unexplained, LimitedBy::Harness, LimitedBy::Machine];
        let bad = by_evidence.into_iter().find_map(of_bad);
        let limited_by = bad.and_then(|step| step.limited_by);
        let because = bad.map_or_else(Vec::new, |step| step.because.clone());
        let size = |size: Option<u32>| size.map_or(String::new(), |size| over.show(size));
        let why = because.first().map_or(String::new(), |why| format!(": {why}"));
        let not_good = match limited_by {
            Some(LimitedBy::Harness) => format!(
                "{} met the harness's own limit: nothing is known of the server's{}",
                size(found.bad),
                because.first().map_or(String::new(), |why| format!(" ({why})"))
            ),
            Some(LimitedBy::Machine) => format!(
                "the machine was too busy to tell about {}{}",
                size(found.bad),
                because.first().map_or(String::new(), |why| format!(" ({why})"))
            ),
            Some(LimitedBy::Unexplained) => {
                format!("{} were not, and nothing shows the cause{why}", size(found.bad))
            }
            _ => format!("{} were not{why}", size(found.bad)),
        };
        let mut summary = match (found.good, found.bad) {
            (Some(_), _) if only_compared => {
                let (good, all) = (judged(steps).filter(|step| step.good).count(), judged(steps).count());
                format!("{good} of {all} steps were good, the largest with {}", size(found.good))
            }
            (None, None) if is_cut => "the harness did not keep up".to_owned(),
            (None, None) => "no step was completed".to_owned(),
            (Some(_), None) if is_cut => format!("good up to {}, and no limit was met", size(found.good)),
            (Some(_), None) => {
                format!("good up to {}, where the steps ended: no limit was met", size(found.good))
            }
            (None, Some(_)) => {
                let once = if steps.iter().any(|step| step.good) { " in every attempt" } else { "" };
                let why = because.first().map_or(String::new(), |why| format!(", {why}"));
                match limited_by {
                    Some(LimitedBy::Harness | LimitedBy::Machine) => {
                        format!("no step was good{once}; {not_good}")
                    }
                    _ => format!("no step was good{once}: with {}{why}", size(found.bad)),
                }
            }
            (Some(_), Some(_)) => {
                let confirmed = if found.confirmed { " (confirmed)" } else { " (not confirmed)" };
                format!("{} were good{confirmed}; {not_good}", size(found.good))
            }
        };
        if is_cut {
            let completed = judged(steps).count();
            summary = match completed {
                0 => "the run was cut short before a step was completed".to_owned(),
                1 => format!("the run was cut short after 1 step: {summary}"),
                _ => format!("the run was cut short after {completed} steps: {summary}"),
            };
        }
        let Found { good, bad, confirmed } = found;
        let reported_step = reported_step.unwrap_or(1);
        Self { over, good, bad, confirmed, limited_by, because, reported_step, summary, answer: None }
    }
}

/// Report of a run of several steps: that of the representative step, and the result of all.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "testing", derive(schemars::JsonSchema))]
pub struct SteppedReport {
    /// Report of the representative step.
    #[serde(flatten)]
    pub report: Report,
    /// Result of the steps.
    pub limit: Limit,
    /// Forecast for more clients; null if none was requested.
    pub forecast: Option<Forecast>,
    /// All steps, in order.
    pub steps: Vec<Step>,
}

impl fmt::Display for SteppedReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write_text(f, Form::FULL)
    }
}

impl Document for SteppedReport {
    fn write_text(&self, f: &mut fmt::Formatter<'_>, form: Form) -> fmt::Result {
        let result = self.limit.answer.as_ref().unwrap_or(&self.limit.summary);
        self.report.write_with(f, form, |f| self.write_steps(f), &self.brief_steps(form.columns), result)
    }

    fn to_json(&self) -> serde_json::Result<String> {
        json_text(self)
    }

    fn to_html(&self, file: &str) -> String {
        self.report.page_with(file, &self.html_steps())
    }

    fn exit_code(&self) -> u8 {
        self.report.exit_code()
    }
}

impl SteppedReport {
    /// Writes a table of all steps, and their result.
    fn write_steps(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let limit = &self.limit;
        let rows: Vec<_> = self.steps.iter().map(Step::cells).collect();
        let widths = widths(&STEP_HEADS, &rows);
        write_row(f, &widths, &STEP_HEADS)?;
        writeln!(f)?;
        for (step, cells) in self.steps.iter().zip(&rows) {
            write_row(f, &widths, cells)?;
            writeln!(f, "  {}{}", step.outcome(), step.purpose())?;
            step.because.iter().try_for_each(|why| writeln!(f, "        - {why}"))?;
        }
        writeln!(f, "\n  limit       {}", limit.summary)?;
        self.write_capacities(f)?;
        let all = self.steps.len();
        writeln!(f, "\n  Step {} of {all} in full:\n", limit.reported_step)
    }

    fn write_capacities(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let measured = || self.steps.iter().filter_map(|step| Some((step, step.capacity.as_ref()?)));
        let rows: Vec<_> = measured().map(|(step, capacity)| capacity_cells(step, capacity)).collect();
        if !rows.is_empty() {
            let widths = widths(&CAPACITY_HEADS, &rows);
            writeln!(
                f,
                "\n  capacity    closed loop, a bounded number of messages ahead of the slowest client"
            )?;
            write_row(f, &widths, &CAPACITY_HEADS)?;
            writeln!(f)?;
            for ((_, capacity), cells) in measured().zip(&rows) {
                write_row(f, &widths, cells)?;
                writeln!(f)?;
                if let Some(why) = &capacity.unusable_because {
                    writeln!(f, "        - {why}")?;
                }
            }
        }
        let Some(forecast) = &self.forecast else { return Ok(()) };
        writeln!(f)?;
        for (name, line) in forecast_lines(forecast) {
            writeln!(f, "  {name:<10}  {line}")?;
        }
        Ok(())
    }
}

/// A report as stored in a file.
#[derive(Debug, Clone)]
pub enum WrittenReport {
    /// Report of one run.
    Run(Box<Report>),
    /// Report of several steps.
    Steps(Box<SteppedReport>),
}

impl WrittenReport {
    /// Reads a report that this version or an earlier one wrote, as [`Report::read`] does.
    pub fn read(path: &Path) -> Result<Self, ReadError> {
        let file = ReportFile::open(path)?;
        let report: Report = file.parse()?;
        if !file.has_steps() {
            return Ok(Self::Run(Box::new(report)));
        }
        // A malformed part about steps must not pass for an absent one.
        let why = "`limit`, `steps` and `forecast` are inconsistent";
        file.parse().map(|report| Self::Steps(Box::new(report))).map_err(|_| file.damaged(why))
    }

    /// Returns the report of the run, or of the representative step.
    pub fn into_report(self) -> Report {
        match self {
            Self::Run(report) => *report,
            Self::Steps(stepped) => stepped.report,
        }
    }

    /// Returns the report as a document.
    pub fn document(&self) -> &dyn Document {
        match self {
            Self::Run(report) => &**report,
            Self::Steps(stepped) => &**stepped,
        }
    }

    /// Returns the distributions of the run, or of the representative step.
    pub fn histograms(&self) -> &BTreeMap<String, Latencies> {
        match self {
            Self::Run(report) => &report.histograms,
            Self::Steps(stepped) => &stepped.report.histograms,
        }
    }
}

/// Heads of the columns of steps.
pub(super) const STEP_HEADS: [&str; 11] = [
    "step",
    "clients",
    "messages/s",
    "of offered",
    "deliveries/s",
    "missing",
    "p50",
    "p99",
    "last p99",
    "CPU",
    "memory",
];

/// Heads of the columns of capacities.
pub(super) const CAPACITY_HEADS: [&str; 6] =
    ["clients", "messages/s", "deliveries/s", "server CPU", "a CPU second", "bottleneck"];

impl Step {
    /// Returns the step's row under [`STEP_HEADS`].
    pub(super) fn cells(&self) -> [String; 11] {
        let time = |micros: f64| format_nanos(micros * 1e3);
        [
            self.number.to_string(),
            format_count(self.clients.connected),
            format!("{:.1}", self.rates.achieved_per_s),
            format!("{:.1}", self.rates.offered_per_s),
            format_rate(self.rates.deliveries_per_s),
            format_count(self.deliveries.missing),
            time(self.latency_us.p50),
            time(self.latency_us.p99),
            time(self.last_recipient_us.p99),
            self.server_cpu().map_or("-".into(), |share| format!("{:.0}%", share * 100.0)),
            self.server.map_or("-".into(), |server| format_bytes(server.rss_bytes)),
        ]
    }

    /// Formats the purpose of the step, unless it is the next one as planned.
    pub(super) fn purpose(&self) -> &'static str {
        match self.phase {
            Some(Phase::Confirm) => " (confirmation)",
            Some(Phase::Narrow) => " (narrowing)",
            Some(Phase::Repeat) => " (repeated)",
            Some(Phase::Climb) | None => "",
        }
    }
}

/// Returns the capacity's row under [`CAPACITY_HEADS`].
pub(super) fn capacity_cells(step: &Step, capacity: &Capacity) -> [String; 6] {
    let messages_per_s =
        if capacity.measured_s > 0.0 { capacity.sent as f64 / capacity.measured_s } else { 0.0 };
    let bottleneck = match capacity.limited_by {
        Some(Bottleneck::Server) => "the server",
        Some(Bottleneck::Harness) => "the harness",
        Some(Bottleneck::Neither) => "neither",
        None => "-",
    };
    [
        format_count(step.clients.requested),
        format_rate(messages_per_s),
        format_rate(capacity.deliveries_per_s),
        capacity.server_cpu.map_or("-".into(), |share| format!("{:.0}%", share * 100.0)),
        capacity.deliveries_per_cpu_s.map_or("-".into(), format_rate),
        bottleneck.into(),
    ]
}

fn widths<const N: usize>(heads: &[&str; N], rows: &[[String; N]]) -> [usize; N] {
    std::array::from_fn(|column| {
        let cells = rows.iter().map(|row| row[column].len());
        cells.chain([heads[column].len()]).max().unwrap_or_default()
    })
}

/// Writes a row of right-aligned cells.
fn write_row<const N: usize>(
    f: &mut fmt::Formatter<'_>,
    widths: &[usize; N],
    cells: &[impl AsRef<str>; N],
) -> fmt::Result {
    cells.iter().zip(widths).try_for_each(|(cell, width)| write!(f, "  {:>width$}", cell.as_ref()))
}
