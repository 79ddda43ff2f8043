//! The judgment of a step: good or not, and whose limit it met.

use serde::{Deserialize, Serialize};
use throng_harness_model::results::BotsReport;
use throng_harness_report::{Report, Verdict};

/// Limit that a step met.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "testing", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum LimitedBy {
    /// The server did not meet the demand, and it shows: it lost clients or messages, its busiest
    /// thread had no time left, or messages waited inside of it.
    Server,
    /// The demand was not met, and nothing shows the cause.
    Unexplained,
    /// The harness failed to keep up, so the step says nothing about the server.
    Harness,
    /// Other processes or other machines had the CPU time that harness and server waited for.
    Machine,
}

impl LimitedBy {
    /// True if the step says something about the server.
    pub fn is_about_server(self) -> bool {
        matches!(self, Self::Server | Self::Unexplained)
    }
}

/// Load of the server's busiest thread from which the server is at its limit.
const SERVER_LOAD_MIN: f64 = 0.8;

/// Share of the latency that a message spends inside of the server, from which the server is at its
/// limit.
const INSIDE_SHARE_MIN: f64 = 0.5;

/// Judgment of a step.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Judged {
    /// True if all thresholds held, every delivery was made, and all offered messages were sent.
    pub good: bool,
    /// Reasons why the step is not good.
    pub because: Vec<String>,
    /// Limit that the step met; `None` for a good or interrupted step.
    pub limited_by: Option<LimitedBy>,
}

/// Outcome of a step for its size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The server handled the size.
    Good,
    /// The server did not handle the size.
    Bad,
    /// The harness or the machine was not good enough, so nothing is known about the server.
    Unknown,
}

impl Judged {
    /// Returns the outcome for the step's size. Meaningless for an interrupted step.
    pub fn outcome(&self) -> Outcome {
        match (self.good, self.limited_by) {
            (true, _) => Outcome::Good,
            (false, Some(limit)) if !limit.is_about_server() => Outcome::Unknown,
            (false, _) => Outcome::Bad,
        }
    }
}

/// Judges a step by its report. An interrupted step is not good, and met no limit.
///
/// A late harness and a busy machine make latencies longer, never shorter. So a step whose
/// thresholds held in spite of them is good, if all of its load was offered.
pub fn judge(report: &Report) -> Judged {
    if report.verdict == Verdict::Interrupted {
        return Judged { because: vec!["it was interrupted".into()], ..Judged::default() };
    }
    let mut because = faults(report);
    if because.is_empty() && !report.was_lighter() {
        return Judged { good: true, ..Judged::default() };
    }
    because.extend(report.invalid_because.iter().cloned());
    Judged { good: false, limited_by: Some(limited_by(report)), because }
}

/// Returns the faults of a run, regardless of their cause.
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
    let lost_clients = clients.refused + clients.failed + clients.disconnected > 0;
    // If the server refused or lost no clients, and no bots went without a message to answer,
    // unsent messages are the harness's fault.
    let has_idle_bots = report.bots.as_ref().is_some_and(BotsReport::are_lightened);
    let sent_too_little =
        report.was_lighter() && !lost_clients && !has_idle_bots && report.incomplete_because.is_empty();
    if report.was_starved() {
        LimitedBy::Machine
    } else if report.harness_at_its_limit() || sent_too_little {
        LimitedBy::Harness
    } else if lost_clients || has_lost_messages(report) || server_is_busy(report) {
        LimitedBy::Server
    } else {
        LimitedBy::Unexplained
    }
}

fn has_lost_messages(report: &Report) -> bool {
    let deliveries = &report.deliveries;
    let lost = deliveries.missing + report.gaps.of_readers;
    lost > 0 || !report.incomplete_because.is_empty() || report.server.is_some_and(|server| !server.alive)
}

/// True if the server's own figures show that it was at its limit, or if there are none.
fn server_is_busy(report: &Report) -> bool {
    let parts = &report.breakdown_us;
    let inside = parts.queue.p99 + parts.processing.p99 + parts.fan_out.p99;
    let waits_inside = inside > INSIDE_SHARE_MIN * report.latency_us.p99;
    let load = report.scheduling.as_ref().and_then(|found| found.server_load);
    waits_inside || load.is_none_or(|load| load >= SERVER_LOAD_MIN)
}

#[cfg(test)]
mod tests {

    use throng_harness_model::record::LatencyUs;
    use throng_harness_model::scheduling::{Scheduling, Waited};
    use throng_harness_report::Checked;

    use super::*;

    fn report() -> Report {
        let mut report = Report::default();
        (report.verdict, report.valid) = (Verdict::Pass, true);
        report.clients.requested = 10;
        report.clients.connected = 10;
        report.deliveries.expected = 100;
        report.latency_us = LatencyUs { count: 100, p99: 3_000.0, mean: 1_000.0, ..LatencyUs::default() };
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
    fn a_good_step_met_no_limit() {
        check(|_| {}, "", None);
    }

    #[test]
    fn a_failure_of_the_server_is_its_limit() {
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
        // Refused clients cannot send, so the shortfall is not the harness's fault.
        check(
            |report| {
                report.thresholds.push(broken("connected=100%", "8 of 10"));
                report.clients.refused = 2;
                report.valid = false;
                (report.rates.offered_per_s, report.rates.achieved_per_s) = (10.0, 8.0);
                report.invalid_because.push("only 8.0 of 10.0 messages a second were sent".into());
            },
            "connected=100%: found 8 of 10; only 8.0 of 10.0 messages a second were sent",
            server,
        );
    }

    #[test]
    fn a_slow_harness_says_nothing_about_the_server() {
        let harness = Some(LimitedBy::Harness);
        let doubt = |report: &mut Report| {
            report.valid = false;
            report.invalid_because.push("a doubt".into());
        };
        let unsent = |report: &mut Report| {
            doubt(report);
            (report.rates.offered_per_s, report.rates.achieved_per_s) = (10.0, 8.0);
        };
        check(unsent, "a doubt", harness);
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
            report.thresholds.push(broken("p99=1ms", "3.00 ms"));
        };
        check(late, "p99=1ms: found 3.00 ms; a doubt", harness);
    }

    #[test]
    fn what_held_beside_a_late_harness_holds() {
        let late = |report: &mut Report| {
            report.valid = false;
            report.invalid_because.push("the harness itself read late".into());
            report.read_lag_us = LatencyUs { count: 1_000, p99: 2_000.0, ..LatencyUs::default() };
            report.scheduling = Some(scheduling(0.5, 0.2));
        };
        check(late, "", None);
    }

    /// Figures of a run whose harness was kept waiting for a share of the time, and whose server
    /// had some load.
    fn scheduling(withheld: f64, server_load: f64) -> Scheduling {
        let harness = Waited { withheld, ..Waited::default() };
        Scheduling { harness, server_load: Some(server_load), ..Scheduling::default() }
    }

    #[test]
    fn a_time_that_is_missed_is_the_servers_limit_only_with_evidence() {
        let slow = |withheld, load, inside: f64| {
            move |report: &mut Report| {
                report.thresholds.push(broken("p99=1ms", "3.00 ms"));
                report.scheduling = Some(scheduling(withheld, load));
                report.breakdown_us.queue.p99 = inside;
            }
        };
        let because = "p99=1ms: found 3.00 ms";
        check(slow(0.5, 0.9, 2_000.0), because, Some(LimitedBy::Machine));
        check(slow(0.0, 0.9, 0.0), because, Some(LimitedBy::Server));
        check(slow(0.0, 0.12, 2_000.0), because, Some(LimitedBy::Server));
        check(slow(0.0, 0.12, 1_000.0), because, Some(LimitedBy::Unexplained));
    }

    #[test]
    fn an_interrupted_step_met_no_limit() {
        check(|report| report.verdict = Verdict::Interrupted, "it was interrupted", None);
    }
}
