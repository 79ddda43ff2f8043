//! The report of `monitor`: the verdict, as text, JSON and a page.

use std::fmt;
use std::time::SystemTime;

use serde::Serialize;
use throng_harness_model::text::{format_bytes, format_count, format_nanos};
use throng_harness_report::form::{few_lines, wrapped, write_lines};
use throng_harness_report::html::verdict_text;
use throng_harness_report::{Document, Form, Machine, Origin, Verdict, json_text};

use super::follow::Sample;
use super::record::Judged;
use super::{MonitorJob, Watched};

/// Version of the report's format.
const FORMAT: u32 = 1;

/// A message of the watch.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Warning {
    /// Seconds since the start of the watch.
    pub at_s: f64,
    /// The message.
    pub text: String,
}

/// The results of one server.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ServerReport {
    /// The roles of its process, joined by a plus.
    pub name: String,
    /// Its process ids, in order; at most the last thousand.
    pub pids: Vec<u32>,
    /// Samples while it was down.
    #[serde(rename = "looks_down")]
    pub samples_down: u64,
    /// Number of times it went down.
    pub went_down: u64,
    /// Mean CPU time as a share of one core; null if unknown.
    pub cpu_mean: Option<f64>,
    /// Highest CPU time as a share of one core; null if unknown.
    pub cpu_max: Option<f64>,
    /// Highest resident memory in bytes.
    pub rss_max_bytes: Option<u64>,
    /// The samples, oldest first, at most 3,600. In a longer watch neighboring samples are merged
    /// into one with the worst figures of both.
    #[serde(rename = "looks")]
    pub samples: Vec<Sample>,
}

/// The report, as `--json` writes it.
#[derive(Debug, Clone, Serialize)]
pub struct MonitorReport {
    /// The version of this format: 1.
    pub format: u32,
    /// Always `monitor`.
    pub scenario: &'static str,
    /// `pass` if all thresholds held.
    pub verdict: Verdict,
    /// Each threshold and its result.
    pub thresholds: Vec<Judged>,
    /// The results of each server.
    pub servers: Vec<ServerReport>,
    /// The first thousand messages.
    pub warnings: Vec<Warning>,
    /// Number of times that the servers were sampled.
    #[serde(rename = "looks")]
    pub samples: u64,
    /// Time between two samples, in seconds.
    pub interval_s: f64,
    /// Consecutive samples that break a threshold.
    pub patience: u32,
    /// Duration of the watch, in seconds.
    pub measured_s: f64,
    /// The command line.
    pub command: Vec<String>,
    /// The file whose flags are in the command line; null without one.
    pub scenario_file: Option<String>,
    /// The harness's version.
    pub version: &'static str,
    /// Start of the watch, in seconds since 1970.
    pub started_unix_s: u64,
    /// The machine of the watch.
    pub machine: Machine,
}

impl MonitorReport {
    /// Makes the report on the results of `job`, and judges its limits.
    pub fn new(job: &MonitorJob, origin: Origin, watched: Watched) -> Self {
        let judge = |judge: &super::Judge| judge.judge(job.patience.into(), watched.samples);
        let thresholds: Vec<Judged> = watched.judges.iter().map(judge).collect();
        let verdict = match (watched.interrupted, thresholds.iter().all(|threshold| threshold.held)) {
            (true, _) => Verdict::Interrupted,
            (false, true) => Verdict::Pass,
            (false, false) => Verdict::Fail,
        };
        let since_epoch = origin.started.duration_since(SystemTime::UNIX_EPOCH);
        Self {
            format: FORMAT,
            scenario: "monitor",
            verdict,
            thresholds,
            servers: watched.servers.into_iter().map(ServerReport::new).collect(),
            warnings: watched.warnings,
            samples: watched.samples,
            interval_s: job.interval.as_secs_f64(),
            patience: job.patience,
            measured_s: watched.took.as_secs_f64(),
            command: origin.command,
            scenario_file: None,
            version: env!("CARGO_PKG_VERSION"),
            started_unix_s: since_epoch.map_or(0, |since| since.as_secs()),
            machine: origin.machine,
        }
    }
}

impl Document for MonitorReport {
    fn write_text(&self, f: &mut fmt::Formatter<'_>, form: Form) -> fmt::Result {
        if form.is_verbose {
            self.write_figures(f)?;
        } else {
            self.write_exceptions(f, form.columns)?;
        }
        self.write_answer(f, form.columns)
    }

    fn to_json(&self) -> serde_json::Result<String> {
        json_text(self)
    }

    fn to_html(&self, file: &str) -> String {
        self.page(file)
    }

    fn exit_code(&self) -> u8 {
        self.verdict.exit_code()
    }
}

impl ServerReport {
    fn new(record: super::ServerRecord) -> Self {
        let samples = record.history.into_samples();
        let values = |of: fn(&Sample) -> Option<f64>| samples.iter().filter_map(of);
        let most = |of| values(of).reduce(f64::max);
        let cpus = values(|sample| sample.cpu);
        let (sum, count) = cpus.fold((0.0, 0_u32), |(sum, count), cpu| (sum + cpu, count + 1));
        #[allow(clippy::cast_sign_loss)] // sizes are not below 0, and the cast saturates
        let rss_max_bytes = most(|sample| sample.rss_bytes).map(|bytes| bytes as u64);
        Self {
            name: record.name,
            pids: record.pids,
            samples_down: record.down,
            went_down: record.went_down,
            cpu_mean: (count > 0).then(|| sum / f64::from(count)),
            cpu_max: most(|sample| sample.cpu),
            rss_max_bytes,
            samples,
        }
    }

    /// The mean and the highest CPU share as text.
    pub(crate) fn shown_cpu(&self) -> String {
        let shares = self.cpu_mean.zip(self.cpu_max);
        shares.map_or("-".into(), |(mean, max)| format!("{:.0}% ({:.0}% at most)", mean * 100.0, max * 100.0))
    }
}

impl fmt::Display for MonitorReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write_text(f, Form::FULL)
    }
}

/// Columns before the further lines of a sentence.
const HANGING: usize = 4;

/// Most lines of each sentence of the answer.
const ANSWER_LINES: usize = 2;

impl MonitorReport {
    /// The thresholds that were broken, with the findings.
    fn broken(&self) -> impl Iterator<Item = String> {
        let broken = self.thresholds.iter().filter(|judged| !judged.held);
        broken.map(|judged| format!("{}: {}", judged.threshold, judged.found))
    }

    fn write_figures(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (word, _) = verdict_text(self.verdict);
        let measured = format_nanos(self.measured_s * 1e9);
        writeln!(f, "\nmonitor: {word}, {} samples in {measured}", format_count(self.samples))?;
        for broken in self.broken() {
            writeln!(f, "  BROKEN  {broken}")?;
        }
        writeln!(f)?;
        self.servers.iter().try_for_each(|server| write_server(f, server))?;
        writeln!(f)?;
        for judged in &self.thresholds {
            let sign = if judged.held { "held  " } else { "BROKEN" };
            writeln!(f, "  {sign}  {:<24} {}", judged.threshold, judged.found)?;
        }
        writeln!(f)
    }

    /// Writes the thresholds that were broken, unless the answer has them, and the servers that
    /// were down.
    fn write_exceptions(&self, f: &mut fmt::Formatter<'_>, columns: usize) -> fmt::Result {
        writeln!(f)?;
        let broken: Vec<_> = if self.broken().count() > 1 { self.broken().collect() } else { Vec::new() };
        for broken in &broken {
            write_lines(f, &wrapped("  BROKEN  ", HANGING, broken.split(' '), columns))?;
        }
        let down = || self.servers.iter().filter(|server| server.samples_down > 0);
        down().try_for_each(|server| write_server(f, server))?;
        if broken.is_empty() && down().next().is_none() { Ok(()) } else { writeln!(f) }
    }

    fn write_answer(&self, f: &mut fmt::Formatter<'_>, columns: usize) -> fmt::Result {
        let (word, meaning) = verdict_text(self.verdict);
        writeln!(f, "monitor: {word}: {meaning}")?;
        let down = self.servers.iter().filter(|server| server.samples_down > 0).count();
        let outcome = format!(
            "{} samples in {} of {} servers, of which {} down at times",
            format_count(self.samples),
            format_nanos(self.measured_s * 1e9),
            self.servers.len(),
            if down == 0 { "none was".to_owned() } else { format!("{down} were") }
        );
        write_lines(f, &few_lines("  ", HANGING, &outcome, columns, ANSWER_LINES))?;
        match self.broken().next() {
            Some(broken) => write_lines(f, &few_lines("  BROKEN  ", HANGING, &broken, columns, ANSWER_LINES)),
            None => Ok(()),
        }
    }
}

fn write_server(f: &mut fmt::Formatter<'_>, server: &ServerReport) -> fmt::Result {
    let memory = server.rss_max_bytes.map_or("-".into(), format_bytes);
    write!(f, "  {:<20} CPU {}, memory {memory} at most", server.name, server.shown_cpu())?;
    if server.samples_down > 0 {
        let [samples, times] = [server.samples_down, server.went_down].map(format_count);
        write!(f, ", DOWN in {samples} samples, went down {times} times")?;
    }
    writeln!(f)
}
