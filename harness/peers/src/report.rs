//! The report of `peers`: a table for each case, and JSON.

use std::fmt;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use throng_harness_model::exit::{EXIT_BROKEN, EXIT_INTERRUPTED, EXIT_OK};
use throng_harness_model::text::{format_count, format_rate};
use throng_harness_report::form::{few_lines, write_lines};
use throng_harness_report::{Document, Form, Machine, Origin, json_text};

use super::bare::Bare;
use super::case::Case;
use super::row::{Row, Summary, median};
use super::{PeersJob, Results};

/// Version of the report's format.
pub(super) const FORMAT: u32 = 1;

/// The scenario's name in reports.
pub const SCENARIO: &str = "peers";

/// A system that took part.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Taken {
    /// Its name.
    pub system: String,
    /// The version that its program prints.
    pub version: String,
}

/// A case that was not measured.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// The system.
    pub system: String,
    /// The case's letter.
    pub case: char,
    /// The repetition.
    pub repetition: u32,
    /// The reason.
    pub why: String,
}

/// Medians of the cost of a `write`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BareSummary {
    /// Sockets, written to in turn.
    pub sockets: u32,
    /// Bytes of each write, or of each message at the pace of a case.
    pub bytes: usize,
    /// The case whose pace was kept; null if unpaced.
    pub case: Option<char>,
    /// Median CPU microseconds of a write.
    pub cpu_us_per_write: f64,
    /// Median CPU microseconds of a delivery.
    #[serde(default)]
    pub cpu_us_per_delivery: f64,
    /// Median of the messages in a write.
    #[serde(default)]
    pub deliveries_per_write: f64,
    /// Median elapsed microseconds of a write.
    pub us_per_write: f64,
}

/// The report, as `--json` writes it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PeersReport {
    /// The version of this format: 1.
    pub format: u32,
    /// `peers`.
    pub scenario: String,
    /// True if the user stopped the run; only complete cases have rows.
    pub interrupted: bool,
    /// The systems that took part.
    pub systems: Vec<Taken>,
    /// Always true: the sender of a message is also a recipient.
    pub sender_is_recipient: bool,
    /// Bytes of each message.
    pub payload: usize,
    /// Seconds measured in each case.
    pub duration_s: f64,
    /// Seconds of warm-up before the measurement.
    pub warmup_s: f64,
    /// Seconds of silence between warm-up and measurement.
    pub pause_s: f64,
    /// Longest wait for outstanding deliveries, in seconds.
    pub drain_s: f64,
    /// The core of servers.
    pub server_core: usize,
    /// The core of the harness.
    pub client_core: usize,
    /// Medians over the repetitions.
    pub medians: Vec<Summary>,
    /// Medians of the cost of a bare `write`.
    pub bare_medians: Vec<BareSummary>,
    /// Cases that were not measured.
    pub failures: Vec<Failure>,
    /// One row for each case, system and repetition.
    pub rows: Vec<Row>,
    /// The cost of a bare `write` in each repetition.
    pub bare: Vec<Bare>,
    /// The command line.
    pub command: Vec<String>,
    /// Seed of the traffic.
    pub seed: u64,
    /// The harness's version.
    pub version: String,
    /// Start of the run, in seconds since 1970.
    pub started_unix_s: u64,
    /// The machine of the run.
    pub machine: Machine,
    /// The cases of the job, in the order of their letters.
    #[serde(skip)]
    pub cases: Vec<Case>,
}

impl PeersReport {
    /// Makes the report on the results of `job`.
    pub fn new(job: &PeersJob, origin: Origin, results: Results) -> Self {
        let mut cases = job.cases.clone();
        cases.sort_by_key(|case| case.letter);
        let mut medians = Vec::new();
        for case in &cases {
            for system in &job.systems {
                let of = |row: &&Row| row.case == case.letter && row.system == system.name();
                medians.extend(Summary::of(&results.rows.iter().filter(of).collect::<Vec<_>>()));
            }
        }
        let since = origin.started.duration_since(SystemTime::UNIX_EPOCH);
        Self {
            format: FORMAT,
            scenario: SCENARIO.into(),
            interrupted: results.interrupted,
            systems: results.systems,
            sender_is_recipient: true,
            payload: job.payload,
            duration_s: job.times.duration.as_secs_f64(),
            warmup_s: job.times.warmup.as_secs_f64(),
            pause_s: job.times.pause.as_secs_f64(),
            drain_s: job.times.drain.as_secs_f64(),
            server_core: job.server_core,
            client_core: job.client_core,
            medians,
            bare_medians: bare_medians(&results.bare),
            failures: results.failures,
            rows: results.rows,
            bare: results.bare,
            command: origin.command,
            seed: job.seed,
            version: env!("CARGO_PKG_VERSION").into(),
            started_unix_s: since.map_or(0, |since| since.as_secs()),
            machine: origin.machine,
            cases,
        }
    }
}

/// Columns before the further lines of a sentence.
const HANGING: usize = 4;

/// Most lines of the failure in the answer.
const ANSWER_LINES: usize = 2;

impl Document for PeersReport {
    fn write_text(&self, f: &mut fmt::Formatter<'_>, form: Form) -> fmt::Result {
        if form.is_verbose {
            self.write_preface(f)?;
        }
        self.write_cases(f)?;
        if form.is_verbose {
            self.write_bare(f)?;
            self.write_doubts(f)?;
            self.write_machine(f)?;
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
        match (self.interrupted, self.failures.is_empty()) {
            (true, _) => EXIT_INTERRUPTED,
            (false, true) => EXIT_OK,
            (false, false) => EXIT_BROKEN,
        }
    }
}

fn bare_medians(all: &[Bare]) -> Vec<BareSummary> {
    let kind = |bare: &Bare| (bare.case, bare.sockets, bare.bytes);
    let mut kinds: Vec<_> = all.iter().map(kind).collect();
    kinds.sort_unstable();
    kinds.dedup();
    let summary = |(case, sockets, bytes)| {
        let alike = all.iter().filter(|bare| kind(bare) == (case, sockets, bytes));
        let of = |figure: fn(&Bare) -> f64| median(alike.clone().map(figure).collect());
        BareSummary {
            sockets,
            bytes,
            case,
            cpu_us_per_write: of(|bare| bare.cpu_us_per_write),
            cpu_us_per_delivery: of(|bare| bare.cpu_us_per_delivery),
            deliveries_per_write: of(|bare| bare.deliveries as f64 / bare.writes.max(1) as f64),
            us_per_write: of(|bare| bare.us_per_write),
        }
    };
    kinds.into_iter().map(summary).collect()
}

impl fmt::Display for PeersReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write_text(f, Form::FULL)
    }
}

impl PeersReport {
    fn write_preface(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { payload, duration_s, warmup_s, drain_s, seed, .. } = self;
        writeln!(
            f,
            "\npeers: {payload} B, {duration_s} s a case after {warmup_s} s of warm-up, up to {drain_s} s of drain, seed {seed}"
        )?;
        if self.interrupted {
            writeln!(f, "INTERRUPTED: only complete cases are shown")?;
        }
        writeln!(
            f,
            "Latencies in ms from the intended send time (F: the actual one). Medians of the repetitions; missing,\n\
             duplicated, reordered and disconnected are of the worst repetition. The sender is a recipient everywhere.\n"
        )?;
        for Taken { system, version } in &self.systems {
            writeln!(f, "  {system:<12}{version}")?;
        }
        Ok(())
    }

    /// Writes the table of each case.
    fn write_cases(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for case in &self.cases {
            writeln!(f, "\n  {case}")?;
            writeln!(
                f,
                "  {:<11}{:>13}{:>10}{:>10}{:>10}{:>12}{:>11}{:>5}{:>6}{:>6}{:>9}",
                "",
                "deliveries/s",
                "p50",
                "p99",
                "max",
                "CPU us/del.",
                "missing",
                "dup",
                "reord",
                "disc",
                "harness"
            )?;
            for summary in self.medians.iter().filter(|summary| summary.case == case.letter) {
                write_summary(summary, f)?;
            }
        }
        Ok(())
    }

    fn write_machine(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let machine = &self.machine;
        writeln!(
            f,
            "\n  servers on core {}, harness on core {}; {} x {}, Linux {}",
            self.server_core, self.client_core, machine.cores, machine.cpu, machine.kernel
        )
    }

    /// Writes how much was measured, and the first case that was not.
    fn write_answer(&self, f: &mut fmt::Formatter<'_>, columns: usize) -> fmt::Result {
        let outcome = match (self.interrupted, self.failures.len()) {
            (true, _) => "INTERRUPTED: only complete cases are shown".to_owned(),
            (false, 0) => "every case was measured".to_owned(),
            (false, failures) => format!("INCOMPLETE: {failures} measurements failed or were left out"),
        };
        writeln!(f, "\npeers: {outcome}")?;
        let invalid = self.rows.iter().filter(|row| !row.valid).count();
        writeln!(f, "  {} measurements, {invalid} of them INVALID", self.rows.len())?;
        match self.failures.first() {
            Some(Failure { system, case, repetition, why }) => {
                let failure = format!("{case} {system} #{repetition}: {why}");
                write_lines(f, &few_lines("  NOT MEASURED  ", HANGING, &failure, columns, ANSWER_LINES))
            }
            None => Ok(()),
        }
    }
}

fn write_summary(summary: &Summary, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    // Without deliveries there is no latency, rather than one of zero.
    let latency = |micros: f64, digits| match summary.deliveries_per_s {
        0.0 => "-".into(),
        _ => format!("{:.digits$}", micros / 1e3),
    };
    let [p50, p99, max] = [(summary.p50_us, 2), (summary.p99_us, 1), (summary.max_us, 1)]
        .map(|(micros, digits)| latency(micros, digits));
    let cpu = summary.server_cpu_us_per_delivery.map_or("-".into(), |micros| format!("{micros:.2}"));
    write!(
        f,
        "  {:<11}{:>13}{p50:>10}{p99:>10}{max:>10}{cpu:>12}{:>11}{:>5}{:>6}{:>6}{:>8.0}%",
        summary.system,
        format_rate(summary.deliveries_per_s),
        format_count(summary.missing),
        format_count(summary.duplicated),
        format_count(summary.reordered),
        format_count(summary.disconnected),
        summary.harness_load * 100.0,
    )?;
    if summary.corrupted > 0 {
        write!(f, "  {} CORRUPTED", format_count(summary.corrupted))?;
    }
    if summary.invalid > 0 {
        write!(f, "  INVALID {} of {}", summary.invalid, summary.repetitions)?;
    }
    writeln!(f)
}

impl PeersReport {
    fn write_bare(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (paced, fast): (Vec<_>, Vec<_>) = self.bare_medians.iter().partition(|bare| bare.case.is_some());
        if !fast.is_empty() {
            writeln!(f, "\n  cost of a write() in a process that does nothing else")?;
        }
        for bare in fast {
            writeln!(
                f,
                "  {:>6} sockets, {:>5} B: {:6.2} us of CPU, {:6.2} us elapsed",
                format_count(bare.sockets.into()),
                bare.bytes,
                bare.cpu_us_per_write,
                bare.us_per_write
            )?;
        }
        if !paced.is_empty() {
            writeln!(
                f,
                "\n  its cost of a delivery at the pace of a case, where a write takes all due messages"
            )?;
        }
        for bare in paced {
            write!(
                f,
                "  {}: {:>6} sockets, {:5.2} messages a write: {:6.2} us of CPU a delivery",
                bare.case.unwrap_or(' '),
                format_count(bare.sockets.into()),
                bare.deliveries_per_write,
                bare.cpu_us_per_delivery
            )?;
            for summary in self.medians.iter().filter(|summary| Some(summary.case) == bare.case) {
                if let Some(cpu) = summary.server_cpu_us_per_delivery {
                    write!(f, "  {} x{:.2}", summary.system, cpu / bare.cpu_us_per_delivery)?;
                }
            }
            writeln!(f)?;
        }
        Ok(())
    }

    fn write_doubts(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let invalid: Vec<&Row> = self.rows.iter().filter(|row| !row.valid).collect();
        if !invalid.is_empty() {
            writeln!(
                f,
                "\n  INVALID: the latencies of these rows reflect the harness more than the server (deliveries are exact)"
            )?;
        }
        for row in invalid {
            let why = row.invalid_because.join("; ");
            writeln!(f, "    {} {} #{}: {why}", row.case, row.system, row.repetition)?;
        }
        for row in self.rows.iter().filter(|row| !row.incomplete_because.is_empty()) {
            let why = row.incomplete_because.join("; ");
            writeln!(f, "\n  INCOMPLETE  {} {} #{}: {why}", row.case, row.system, row.repetition)?;
        }
        for Failure { system, case, repetition, why } in &self.failures {
            writeln!(f, "\n  NOT MEASURED  {case} {system} #{repetition}: {why}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::CASES;
    use crate::fixture::{job, report};

    #[test]
    fn tables_are_in_the_order_of_the_job() {
        let failure =
            Failure { system: "redis".into(), case: 'F', repetition: 1, why: "it fell over".into() };
        let report = report(false, vec![failure]);
        let text = report.to_string();
        let names: Vec<_> = report.medians.iter().map(|summary| summary.system.as_str()).collect();
        assert_eq!(names, ["redis", "throng"]);
        for part in [
            "A: 1,000 members, a message every 10ms, 100,000 deliveries/s",
            "INVALID 1 of 2",
            "A throng #2: somebody sneezed",
            "NOT MEASURED  F redis #1: it fell over",
            "1,000 sockets,   128 B:   3.50 us of CPU",
            "A:  1,000 sockets,  1.50 messages a write:   5.00 us of CPU a delivery\n",
            "Redis 7",
        ] {
            assert!(text.contains(part), "no `{part}` in:\n{text}");
        }
        let json = serde_json::to_value(&report).expect("JSON");
        assert_eq!((&json["scenario"], &json["seed"]), (&"peers".into(), &5.into()));
        assert_eq!(json["rows"].as_array().map(Vec::len), Some(3));
        assert_eq!(json["medians"][1]["p50_us"].as_f64().map(f64::round), Some(2001.0), "0.1 % of precision");
    }

    #[test]
    fn tables_are_in_the_order_of_letters() {
        let job = PeersJob { cases: CASES.into(), ..job() };
        let origin =
            Origin { command: Vec::new(), started: SystemTime::UNIX_EPOCH, machine: Machine::default() };
        let report = PeersReport::new(&job, origin, Results::default());
        let letters: String = report.cases.iter().map(|case| case.letter).collect();
        assert_eq!(letters, "ABCDEFGH");
    }

    #[test]
    fn exit_codes() {
        let failure = Failure { system: "redis".into(), case: 'F', repetition: 1, why: String::new() };
        assert_eq!(report(false, Vec::new()).exit_code(), EXIT_OK);
        assert_eq!(report(false, vec![failure.clone()]).exit_code(), EXIT_BROKEN);
        assert_eq!(report(true, vec![failure]).exit_code(), EXIT_INTERRUPTED);
    }
}
