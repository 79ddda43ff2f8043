//! Checks of thresholds against a report.

use serde::{Deserialize, Serialize};
use throng_harness_model::record::LatencyUs;
use throng_harness_model::text::{format_count, format_nanos};
use throng_harness_model::threshold::{Bound, Counter, Figure, Rule, Series, Threshold};

use super::Report;

/// A threshold with its outcome.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "testing", derive(schemars::JsonSchema))]
pub struct Checked {
    /// The threshold as written on the command line.
    pub threshold: String,
    /// The value that was found.
    pub found: String,
    /// True if the threshold held.
    pub held: bool,
}

impl Checked {
    /// Checks `threshold` against a report; none if the threshold is off.
    pub fn new(threshold: &Threshold, report: &Report) -> Option<Self> {
        let (found, held) = match threshold.rule() {
            Rule::Off(_) => return None,
            Rule::Time(series, figure, limit) => match latency(report, series) {
                // A latency without values breaks its threshold.
                latency if latency.count == 0 => ("nothing measured".into(), false),
                latency => {
                    let micros = value(latency, figure);
                    (format_nanos(micros * 1e3), micros <= limit.as_secs_f64() * 1e6)
                }
            },
            Rule::Count(counter, bound) => {
                let (count, of) = count(report, counter);
                // In hundredths, so that whole percentages of whole numbers compare exactly.
                let (hundredths, limit) = match bound {
                    Bound::Count(limit) => (count as f64, limit as f64),
                    Bound::Percent(percent) => (count as f64 * 100.0, percent * of as f64),
                };
                let held = if counter.is_least() { hundredths >= limit } else { hundredths <= limit };
                let [count, of] = [count, of].map(format_count);
                (format!("{count} of {of}"), held)
            }
        };
        Some(Self { threshold: threshold.to_string(), found, held })
    }

    /// True for thresholds on a time.
    pub(crate) fn is_about_time(&self) -> bool {
        self.threshold.parse().is_ok_and(Threshold::is_about_time)
    }

    /// True for thresholds on counts of deliveries or of their messages.
    pub(crate) fn is_about_deliveries(&self) -> bool {
        self.counter().is_some_and(Counter::is_about_deliveries)
    }

    /// True for thresholds on user lists.
    pub(crate) fn is_about_lists(&self) -> bool {
        self.counter() == Some(Counter::HeadCountMismatches)
    }

    /// True for thresholds on clients whose connections were cut.
    pub(crate) fn is_about_cuts(&self) -> bool {
        self.counter().is_some_and(Counter::is_about_cuts)
    }

    fn counter(&self) -> Option<Counter> {
        Counter::named(self.threshold.split('=').next().unwrap_or_default())
    }
}

/// A latency of the report.
fn latency(report: &Report, series: Series) -> &LatencyUs {
    match series {
        Series::Latency => &report.latency_us,
        Series::Uncorrected => &report.latency_uncorrected_us,
        Series::FirstRecipient => &report.first_recipient_us,
        Series::LastRecipient => &report.last_recipient_us,
        Series::Skew => &report.recipient_skew_us,
        Series::SenderDelay => &report.sender_delay_us,
        Series::ReadLag => &report.read_lag_us,
        Series::Back => &report.resume.back_us,
    }
}

/// A figure of a latency, in microseconds.
fn value(latency: &LatencyUs, figure: Figure) -> f64 {
    match figure {
        Figure::Mean => latency.mean,
        Figure::P50 => latency.p50,
        Figure::P90 => latency.p90,
        Figure::P99 => latency.p99,
        Figure::P999 => latency.p999,
        Figure::Max => latency.max,
    }
}

/// The count, and the largest possible count.
fn count(report: &Report, counter: Counter) -> (u64, u64) {
    let (clients, deliveries) = (&report.clients, &report.deliveries);
    let entries = report.entries_requested();
    match counter {
        Counter::Connected => (clients.connected, entries),
        Counter::Refused => (clients.refused, entries),
        Counter::Failed => (clients.failed, entries),
        Counter::Disconnected => (clients.disconnected, clients.connected),
        Counter::Missing => (deliveries.missing, deliveries.expected),
        Counter::Gaps => (report.gaps.of_readers, deliveries.expected),
        Counter::Duplicated => (deliveries.duplicated, deliveries.expected),
        Counter::Reordered => (deliveries.reordered, deliveries.expected),
        Counter::Leaked => (deliveries.leaked, deliveries.expected),
        Counter::Corrupted => (deliveries.corrupted, deliveries.expected),
        Counter::Inconsistent => (deliveries.inconsistent, report.sent),
        Counter::HeadCountMismatches => (report.lists.head_count_mismatches, report.lists.notices),
        Counter::Resumed => (report.resume.resumed, report.resume.cuts),
        Counter::FalseNotices => (report.resume.false_notices, report.lists.notices),
    }
}

#[cfg(test)]
mod tests {

    use throng_harness_model::results::Gaps;

    use super::*;

    fn check_text(text: &str, report: &Report) -> Option<Checked> {
        Checked::new(&text.parse().expect("valid"), report)
    }

    #[test]
    fn thresholds_hold_or_break() {
        let mut report = Report { rounds: 1, ..Report::default() };
        report.clients.requested = 100;
        report.clients.connected = 96;
        report.deliveries.expected = 1000;
        report.deliveries.missing = 4;
        report.latency_us = LatencyUs { count: 9, p99: 20_000.0, ..LatencyUs::default() };
        let check = |report: &Report, text: &str, held, found: &str| {
            let checked = check_text(text, report).expect("on");
            assert_eq!((checked.held, checked.found.as_str()), (held, found), "{text}");
        };
        check(&report, "connected=100%", false, "96 of 100");
        check(&report, "connected=96%", true, "96 of 100");
        check(&report, "connected=96", true, "96 of 100");
        check(&report, "connected=97", false, "96 of 100");
        check(&report, "missing=3", false, "4 of 1,000");
        check(&report, "missing=0.4%", true, "4 of 1,000");
        check(&report, "leaked=0", true, "0 of 1,000");
        // Only the announced losses of clients that read as fast as they could count.
        report.gaps = Gaps { told: 2, messages: 12, of_readers: 5 };
        check(&report, "gaps=0", false, "5 of 1,000");
        check(&report, "gaps=0.5%", true, "5 of 1,000");
        (report.lists.notices, report.lists.head_count_mismatches) = (70, 2);
        check(&report, "head_count_mismatches=1", false, "2 of 70");
        (report.resume.cuts, report.resume.resumed) = (8, 7);
        check(&report, "resumed=100%", false, "7 of 8");
        check(&report, "resumed>=7", true, "7 of 8");
        check(&report, "false_notices=0", true, "0 of 70");
        check(&report, "back.p99=1h", false, "nothing measured");
        report.resume.back_us = LatencyUs { count: 7, p99: 80_000.0, ..LatencyUs::default() };
        check(&report, "back.p99=80ms", true, "80 ms");
        check(&report, "p99=20ms", true, "20 ms");
        check(&report, "p99=19.9ms", false, "20 ms");
        check(&report, "last_recipient.p99=1h", false, "nothing measured");
        let about_deliveries = |text: &str| check_text(text, &report).expect("on").is_about_deliveries();
        let all = [
            "missing=0",
            "inconsistent=0",
            "gaps=0",
            "connected=1",
            "head_count_mismatches=0",
            "resumed=1",
            "p99=1s",
        ];
        assert_eq!(all.map(about_deliveries), [true, true, true, false, false, false, false]);
        let about_time = |text: &str| check_text(text, &report).expect("on").is_about_time();
        assert_eq!(all.map(about_time), [false, false, false, false, false, false, true]);
        assert_eq!(check_text("p99=off", &report), None);
        // A second entry of one client does not make up for a missing entry of another.
        report.rounds = 2;
        report.clients.connected = 198;
        let checked = check_text("connected=100%", &report).expect("on");
        assert_eq!((checked.held, checked.found.as_str()), (false, "198 of 200"));
    }
}
