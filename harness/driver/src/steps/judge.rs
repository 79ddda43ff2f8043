//! Whether a step was good, and whose limit it met if it was not.

use serde::{Deserialize, Serialize};
use throng_harness_model::results::BotsReport;
use throng_harness_report::{Report, Verdict};

/// Whose limit a step met.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "testing", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum LimitedBy {
    /// The server did not do what was asked of it, by clients that were up to it.
    Server,
    /// The harness itself, or the machine that it is on, so that nothing is known of the server.
    Harness,
}

/// How a step was.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Judged {
    /// All thresholds held, every delivery was made, and the run is valid evidence, so what was offered was also sent.
    pub good: bool,
    /// Why it is not good.
    pub because: Vec<String>,
    /// Whose limit that is; none of a step that is good.
    pub limited_by: Option<LimitedBy>,
}

/// What a step says of its size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The server was up to it.
    Good,
    /// The server was not.
    Bad,
    /// The harness was not, so nothing is known of the server.
    Unknown,
}

impl Judged {
    /// What that says of the step's size; not to be asked of one that was interrupted.
    pub fn outcome(&self) -> Outcome {
        match (self.good, self.limited_by) {
            (true, _) => Outcome::Good,
            (false, Some(LimitedBy::Harness)) => Outcome::Unknown,
            (false, _) => Outcome::Bad,
        }
    }
}

/// Judges a step by its report. One that was interrupted is not good, and nobody's limit.
pub fn judge(report: &Report) -> Judged {
    if report.verdict == Verdict::Interrupted {
        return Judged { because: vec!["it was interrupted".into()], ..Judged::default() };
    }
    let mut because = faults(report);
    because.extend(report.invalid_because.iter().cloned());
    let good = because.is_empty();
    Judged { good, limited_by: (!good).then(|| limited_by(report)), because }
}

/// What was not done as it should, whosever fault it is.
pub(super) fn faults(report: &Report) -> Vec<String> {
    let broken = report.thresholds.iter().filter(|checked| !checked.held);
    let mut faults: Vec<_> =
        broken.map(|checked| format!("{}: found {}", checked.threshold, checked.found)).collect();
    faults.extend(report.incomplete_because.iter().cloned());
    if report.server.is_some_and(|server| !server.alive) {
        faults.push("the server's process is gone".into());
    }
    faults
}

fn limited_by(report: &Report) -> LimitedBy {
    let clients = &report.clients;
    let turned_away = clients.refused + clients.failed + clients.disconnected > 0;
    // Without clients that the server refused or lost, or bots that heard nothing to answer, whatever was not sent the harness did not send.
    let is_quiet = report.bots.as_ref().is_some_and(BotsReport::are_lightened);
    let sent_too_little = !report.valid && !turned_away && !is_quiet && report.incomplete_because.is_empty();
    if report.harness_at_its_limit() || sent_too_little { LimitedBy::Harness } else { LimitedBy::Server }
}

#[cfg(test)]
mod tests {

    use throng_harness_model::record::LatencyUs;
    use throng_harness_report::Checked;

    use super::*;

    fn report() -> Report {
        let mut report = Report::default();
        (report.verdict, report.valid) = (Verdict::Pass, true);
        report.clients.requested = 10;
        report.clients.connected = 10;
        report.latency_us = LatencyUs { count: 100, p99: 3_000.0, ..LatencyUs::default() };
        report
    }

    #[track_caller]
    fn check(change: impl FnOnce(&mut Report), because: &str, limited_by: Option<LimitedBy>) {
        let mut report = report();
        change(&mut report);
        let judged = judge(&report);
        assert_eq!(judged.good, because.is_empty());
        assert_eq!((judged.because.join("; ").as_str(), judged.limited_by), (because, limited_by));
    }

    fn broken(threshold: &str, found: &str) -> Checked {
        Checked { threshold: threshold.into(), found: found.into(), held: false }
    }

    #[test]
    fn a_good_step() {
        check(|_| {}, "", None);
    }

    #[test]
    fn what_the_server_did_not_do_is_its_limit() {
        let server = Some(LimitedBy::Server);
        let slow = |report: &mut Report| report.thresholds.push(broken("last_recipient.p99=50ms", "61.0 ms"));
        check(slow, "last_recipient.p99=50ms: found 61.0 ms", server);
        let left_out = |report: &mut Report| report.thresholds.push(broken("gaps=0", "1,500 of 90,000"));
        check(left_out, "gaps=0: found 1,500 of 90,000", server);
        check(
            |report| report.incomplete_because.push("every client lost its session".into()),
            "every client lost its session",
            server,
        );
        // Clients that were refused cannot send: that is not the harness's fault.
        check(
            |report| {
                report.thresholds.push(broken("connected=100%", "8 of 10"));
                report.clients.refused = 2;
                report.valid = false;
                report.invalid_because.push("only 8.0 of 10.0 messages a second were sent".into());
            },
            "connected=100%: found 8 of 10; only 8.0 of 10.0 messages a second were sent",
            server,
        );
    }

    #[test]
    fn a_harness_that_is_too_slow_says_nothing_of_the_server() {
        let harness = Some(LimitedBy::Harness);
        let doubt = |report: &mut Report| {
            report.valid = false;
            report.invalid_because.push("a doubt".into());
        };
        check(doubt, "a doubt", harness);
        let busy = |report: &mut Report| {
            doubt(report);
            report.harness_load = 0.95;
            report.clients.disconnected = 1;
            report.thresholds.push(broken("disconnected=0", "1 of 10"));
        };
        check(busy, "disconnected=0: found 1 of 10; a doubt", harness);
        let late = |report: &mut Report| {
            doubt(report);
            report.read_lag_us = LatencyUs { count: 1_000, p99: 2_000.0, ..LatencyUs::default() };
            report.clients.refused = 1;
        };
        check(late, "a doubt", harness);
    }

    #[test]
    fn a_step_that_was_cut_is_nobodys_limit() {
        check(|report| report.verdict = Verdict::Interrupted, "it was interrupted", None);
    }
}
