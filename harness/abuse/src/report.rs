//! The report of `abuse`: the verdict, as text, JSON and a page.

use std::fmt::{self, Write as _};
use std::time::SystemTime;

use serde::Serialize;
use throng_harness_model::text::{format_bytes, format_count, format_nanos, format_rate};
use throng_harness_report::form::{few_lines, wrapped, write_lines};
use throng_harness_report::{Document, Form, Machine, Origin, Verdict, json_text};

use crate::AbuseJob;
use crate::phase::{Figures, Spread, Traffic};
use crate::row::Row;
use crate::run::Results;

/// Version of the report's format.
const FORMAT: u32 = 1;

/// The scenario's name in reports.
pub const SCENARIO: &str = "abuse";

/// The report, as `--json` writes it.
#[derive(Debug, Clone, Serialize)]
pub struct AbuseReport {
    /// The version of this format: 1.
    pub format: u32,
    /// Always `abuse`.
    pub scenario: &'static str,
    /// `pass` if all thresholds of all attacks held; `invalid` if only times broke one, in attacks
    /// that are not valid.
    pub verdict: Verdict,
    /// One row for each attack.
    pub attacks: Vec<Row>,
    /// Honest clients, half of them in the attacker's room.
    pub clients: u32,
    /// Messages a second of all honest clients.
    pub rate_per_s: f64,
    /// Newcomers a second.
    pub newcomers_per_s: f64,
    /// Bytes of each message.
    pub payload: usize,
    /// Seconds counted in each phase with the attack.
    pub duration_s: f64,
    /// Seconds counted in each quiet phase.
    pub quiet_duration_s: f64,
    /// Phases with the attack; there is one quiet phase more.
    pub rounds: u32,
    /// Connections of an attack that needs many.
    pub sockets: u32,
    /// The command line.
    pub command: Vec<String>,
    /// The file whose flags are in the command line; null without one.
    pub scenario_file: Option<String>,
    /// Seed of the texts.
    pub seed: u64,
    /// The harness's version.
    pub version: &'static str,
    /// Start of the run, in seconds since 1970.
    pub started_unix_s: u64,
    /// The machine of the run.
    pub machine: Machine,
}

impl AbuseReport {
    /// Makes the report on the results of `job`.
    pub fn new(job: &AbuseJob, origin: Origin, results: Results) -> Self {
        let since = origin.started.duration_since(SystemTime::UNIX_EPOCH);
        let verdicts: Vec<_> = results.rows.iter().map(|row| row.verdict(job.require_valid)).collect();
        let worst = [Verdict::Fail, Verdict::Invalid].into_iter().find(|bad| verdicts.contains(bad));
        let verdict = if results.interrupted { Verdict::Interrupted } else { worst.unwrap_or(Verdict::Pass) };
        Self {
            format: FORMAT,
            scenario: SCENARIO,
            verdict,
            attacks: results.rows,
            clients: job.clients,
            rate_per_s: job.rate,
            newcomers_per_s: job.newcomers,
            payload: job.payload,
            duration_s: job.duration.as_secs_f64(),
            quiet_duration_s: job.quiet_duration.as_secs_f64(),
            rounds: job.rounds,
            sockets: job.sockets,
            command: origin.command,
            scenario_file: None,
            seed: job.seed,
            version: env!("CARGO_PKG_VERSION"),
            started_unix_s: since.map_or(0, |since| since.as_secs()),
            machine: origin.machine,
        }
    }

    /// The settings in a sentence.
    pub(crate) fn settings(&self) -> String {
        let Self { clients, rate_per_s, newcomers_per_s, payload, duration_s, rounds, seed, .. } = self;
        let quiet = match self.quiet_duration_s {
            quiet if quiet.to_bits() == duration_s.to_bits() => String::new(),
            quiet => format!(" and quiet phases of {quiet} s"),
        };
        format!(
            "{} honest clients, {rate_per_s} messages a second of {payload} B, {newcomers_per_s} newcomers a second, \
             {rounds} attacks of {duration_s} s each{quiet}, seed {seed}",
            format_count((*clients).into())
        )
    }
}

impl Document for AbuseReport {
    fn write_text(&self, f: &mut fmt::Formatter<'_>, form: Form) -> fmt::Result {
        if form.is_verbose {
            self.write_figures(f)?;
        } else {
            self.write_brief(f, form.columns)?;
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

/// A time with its range, in a table's cell.
pub(crate) fn time(spread: Spread) -> String {
    if spread.max > 0.0 { format_nanos(spread.median * 1e3) } else { "-".into() }
}

/// A share in percent.
pub(crate) fn percent(share: f64) -> String {
    format!("{:.0}%", share * 100.0)
}

/// The attacker's traffic in a sentence.
pub(crate) fn traffic(of: &Traffic) -> String {
    let Traffic { sent_bytes_per_s, received_bytes_per_s, packets_per_s, connections, sessions, told } = of;
    let [sent, received] = [sent_bytes_per_s, received_bytes_per_s].map(|rate| format_bytes(whole(*rate)));
    let mut text = format!(
        "{sent}/s sent, {received}/s received, {} packets/s, {} connections, {} handshakes",
        format_rate(*packets_per_s),
        format_count(*connections),
        format_count(*sessions)
    );
    let told = told.iter().map(|(what, count)| format!("; {what}: {}", format_count(*count)));
    text.extend(told);
    text
}

#[allow(clippy::cast_sign_loss)] // a rate is not negative
fn whole(rate: f64) -> u64 {
    rate.round() as u64
}

/// The cells of the medians of one kind of phase.
pub(crate) fn cells(of: &Figures) -> [String; 7] {
    [
        time(of.other_p50_us),
        time(of.other_p99_us),
        time(of.same_p50_us),
        time(of.same_p99_us),
        if of.entered.max > 0.0 || of.enter_p99_us.max > 0.0 {
            percent(of.entered.median)
        } else {
            "-".into()
        },
        time(of.enter_p99_us),
        of.server_cpu.map_or("-".into(), |cpu| percent(cpu.median)),
    ]
}

impl fmt::Display for AbuseReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write_text(f, Form::FULL)
    }
}

/// Columns before the further lines of a sentence.
const HANGING: usize = 4;

/// Most lines of each sentence of the answer.
const ANSWER_LINES: usize = 2;

impl AbuseReport {
    /// Broken thresholds with their attack and finding, and attacks not measured to the end.
    fn broken(&self) -> Vec<String> {
        let of_row = |row: &Row| {
            let checks = row.thresholds.iter().filter(|check| check.is_broken());
            let checks = checks.map(|check| format!("{} {}: {}", row.attack, check.threshold, check.found));
            let failed =
                row.failed.iter().map(|why| format!("{} not measured to the end: {why}", row.attack));
            checks.chain(failed).collect::<Vec<_>>()
        };
        self.attacks.iter().flat_map(of_row).collect()
    }

    fn write_figures(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "\nabuse: {}", self.settings())?;
        for broken in self.broken() {
            writeln!(f, "  BROKEN  {broken}")?;
        }
        writeln!(
            f,
            "Medians of the phases. Latencies from the intended send time: `other` are those of clients in another room,\n\
             `same` those in the attacker's. Server CPU of one core."
        )?;
        for row in &self.attacks {
            write_row(row, f)?;
        }
        writeln!(f, "\n  {}", self.machine)
    }

    /// Writes a line for each attack, and all that was broken unless the answer has it.
    fn write_brief(&self, f: &mut fmt::Formatter<'_>, columns: usize) -> fmt::Result {
        writeln!(f)?;
        let broken = self.broken();
        if broken.len() > 1 {
            for broken in &broken {
                write_lines(f, &wrapped("  BROKEN  ", HANGING, broken.split(' '), columns))?;
            }
        }
        writeln!(f, "  {:<24}{:>18}{:>22}", "p99 without and with", "the other room", "the attacker's")?;
        for row in &self.attacks {
            let held = match (row.held(), row.unclear()) {
                (false, _) => "BROKEN",
                (true, 0) => "held",
                (true, _) => "unclear",
            };
            let of = |spread: fn(&Figures) -> Spread| {
                format!("{} -> {}", time(spread(&row.quiet)), time(spread(&row.attacked)))
            };
            let [other, same] = [of(|figures| figures.other_p99_us), of(|figures| figures.same_p99_us)];
            let invalid = if row.valid { "" } else { "  INVALID" };
            writeln!(f, "  {held:<7} {:<16}{other:>18}{same:>22}{invalid}", row.attack)?;
        }
        writeln!(f)
    }

    fn write_answer(&self, f: &mut fmt::Formatter<'_>, columns: usize) -> fmt::Result {
        let (word, meaning) = throng_harness_report::html::verdict_text(self.verdict);
        writeln!(f, "abuse: {word}: {meaning}")?;
        let held = self.attacks.iter().filter(|row| row.held() && row.unclear() == 0).count();
        let invalid = self.attacks.iter().filter(|row| !row.valid).count();
        let mut outcome = format!("{held} of {} attacks held all thresholds", self.attacks.len());
        let unclear: usize = self.attacks.iter().map(Row::unclear).sum();
        if unclear > 0 {
            let _ = write!(outcome, ", {unclear} thresholds unclear: more --rounds tell more");
        }
        if invalid > 0 {
            let _ = write!(outcome, ", and {invalid} INVALID");
        }
        write_lines(f, &few_lines("  ", HANGING, &outcome, columns, ANSWER_LINES))?;
        match self.broken().first() {
            Some(broken) => write_lines(f, &few_lines("  BROKEN  ", HANGING, broken, columns, ANSWER_LINES)),
            None => Ok(()),
        }
    }
}

fn write_row(row: &Row, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let invalid = if row.valid { "" } else { "  INVALID" };
    writeln!(f, "\n  {}: {}{invalid}", row.attack, row.description)?;
    writeln!(
        f,
        "    {:<9}{:>10}{:>10}{:>10}{:>10}{:>11}{:>10}{:>8}",
        "", "other p50", "p99", "same p50", "p99", "newcomers", "p99", "CPU"
    )?;
    for (name, figures) in [("without", &row.quiet), ("with", &row.attacked)] {
        write!(f, "    {name:<9}")?;
        for (cell, width) in cells(figures).iter().zip([10, 10, 10, 10, 11, 10, 8]) {
            write!(f, "{cell:>width$}")?;
        }
        writeln!(f)?;
    }
    writeln!(f, "    attacker: {}", traffic(&row.attacker))?;
    if row.told > 0 {
        writeln!(f, "    announced as missed: {}", format_count(row.told))?;
    }
    for check in &row.thresholds {
        let outcome = match (check.held, check.unclear) {
            (true, _) => "held",
            (false, true) => "unclear",
            (false, false) => "BROKEN",
        };
        writeln!(f, "    {outcome:<7} {:<22}{}", check.threshold, check.found)?;
    }
    if let Some(why) = &row.failed {
        writeln!(f, "    BROKEN  not measured to the end: {why}")?;
    }
    if !row.valid {
        writeln!(f, "    INVALID: latencies may describe the harness rather than the server")?;
        for reason in &row.invalid_because {
            writeln!(f, "      {reason}")?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use throng_harness_report::{Machine, Text};

    use super::*;
    use crate::Limits;
    use crate::attack::Attack;
    use crate::phase::{Phase, PhaseKind};

    fn report(failed: Option<String>) -> AbuseReport {
        let phase = |kind| Phase { kind, valid: true, missing: 3, ..Phase::default() };
        let phases = vec![phase(PhaseKind::Quiet), phase(PhaseKind::Attack)];
        let row = Row::new(Attack::Nearby, &Limits::default(), phases, failed);
        AbuseReport {
            format: FORMAT,
            scenario: SCENARIO,
            verdict: Verdict::Fail,
            attacks: vec![row],
            clients: 200,
            rate_per_s: 100.0,
            newcomers_per_s: 5.0,
            payload: 128,
            duration_s: 5.0,
            quiet_duration_s: 5.0,
            rounds: 1,
            sockets: 300,
            command: vec!["throng-harness".into(), "abuse".into()],
            scenario_file: None,
            seed: 1,
            version: "0",
            started_unix_s: 0,
            machine: Machine::default(),
        }
    }

    #[test]
    fn text_and_page_name_what_broke() {
        let report = report(Some("<gone>".into()));
        let text = report.to_string();
        for part in
            ["nearby: 1-byte nearby messages", "BROKEN  missing=0", "6", "not measured to the end: <gone>"]
        {
            assert!(text.contains(part), "{part}\n{text}");
        }
        let form = Form { columns: 60, is_verbose: false };
        let brief = Text { document: &report, form }.to_string();
        let answer = "\n\nabuse: FAIL: failures are marked BROKEN\n  0 of 1 attacks held all thresholds\n  BROKEN  nearby ";
        let missing = "\n  BROKEN  nearby missing=0: 6\n";
        assert!(brief.contains(answer) && brief.contains(missing), "{brief}");
        assert!(!brief.contains("1-byte") && brief.lines().count() < text.lines().count(), "{brief}");
        let mut report = report;
        let page = report.to_html("run.html");
        assert!(page.contains("<span class=\"broken\">BROKEN</span><code>missing=0</code>"), "{page}");
        for check in &mut report.attacks[0].thresholds {
            check.unclear = !check.held;
        }
        let page = report.to_html("run.html");
        assert!(page.contains("<span class=\"doubtful\">unclear</span><code>missing=0</code>"), "{page}");
        assert!(page.contains("&lt;gone&gt;") && page.contains("missing=0"), "{page}");
        let json: serde_json::Value = serde_json::from_str(&report.to_json().expect("JSON")).expect("JSON");
        assert_eq!(json["attacks"][0]["missing"], 6);
        assert_eq!(json["attacks"][0]["phases"][1]["kind"], "attack");
    }
}
