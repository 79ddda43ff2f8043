//! What a run must hold to: `p99=20ms`, `missing=0`, `connected=95%`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use throng_core::config::{format_duration, parse_duration};

use crate::model::text::{format_count, format_nanos};
use crate::record::LatencyUs;
use crate::report::Report;

/// One of a report's latencies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Series {
    Latency,
    Uncorrected,
    FirstRecipient,
    LastRecipient,
    Skew,
    SenderDelay,
    ReadLag,
}

/// One figure of a latency.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Figure {
    Mean,
    P50,
    P90,
    P99,
    P999,
    Max,
}

/// Something that is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Counter {
    Connected,
    Refused,
    Failed,
    Disconnected,
    Missing,
    Gaps,
    Duplicated,
    Reordered,
    Leaked,
    Corrupted,
    Inconsistent,
    HeadCountMismatches,
}

const SERIES: [(&str, Series); 7] = [
    ("latency", Series::Latency),
    ("uncorrected", Series::Uncorrected),
    ("first_recipient", Series::FirstRecipient),
    ("last_recipient", Series::LastRecipient),
    ("skew", Series::Skew),
    ("sender_delay", Series::SenderDelay),
    ("read_lag", Series::ReadLag),
];

const FIGURES: [(&str, Figure); 6] = [
    ("mean", Figure::Mean),
    ("p50", Figure::P50),
    ("p90", Figure::P90),
    ("p99", Figure::P99),
    ("p999", Figure::P999),
    ("max", Figure::Max),
];

const COUNTERS: [(&str, Counter); 12] = [
    ("connected", Counter::Connected),
    ("refused", Counter::Refused),
    ("failed", Counter::Failed),
    ("disconnected", Counter::Disconnected),
    ("missing", Counter::Missing),
    ("gaps", Counter::Gaps),
    ("duplicated", Counter::Duplicated),
    ("reordered", Counter::Reordered),
    ("leaked", Counter::Leaked),
    ("corrupted", Counter::Corrupted),
    ("inconsistent", Counter::Inconsistent),
    ("head_count_mismatches", Counter::HeadCountMismatches),
];

/// What a threshold is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Metric {
    Time(Series, Figure),
    Count(Counter),
}

/// Where the limit of a count lies.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Bound {
    Count(u64),
    /// Of all that the count could be, from 0 to 100.
    Percent(f64),
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Rule {
    Time(Series, Figure, Duration),
    Count(Counter, Bound),
    /// There is no limit, not even the one that holds by default.
    Off(Metric),
}

/// One requirement: at most so much, or at least so many for `connected`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Threshold(Rule);

/// How a run did against one threshold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Checked {
    /// The threshold as it is written on the command line.
    pub threshold: String,
    /// What was found.
    pub found: String,
    /// Whether it held.
    pub held: bool,
}

impl Threshold {
    /// What holds unless it is changed: everyone connected, nobody disconnected, every delivery made once, in order,
    /// unchanged and to members only, none left out for clients that read, and user lists as long as the server says.
    pub fn defaults() -> Vec<Self> {
        let all = COUNTERS.iter().map(|(_, counter)| *counter);
        // Whoever is refused or fails is not connected: once is enough.
        all.filter(|counter| !matches!(counter, Counter::Refused | Counter::Failed))
            .map(|counter| match counter {
                Counter::Connected => Self(Rule::Count(counter, Bound::Percent(100.0))),
                _ => Self(Rule::Count(counter, Bound::Count(0))),
            })
            .collect()
    }

    /// The defaults with `changes` in place of those about the same metric, or added.
    pub fn with_defaults(changes: &[Self]) -> Vec<Self> {
        let mut all = Self::defaults();
        for change in changes {
            match all.iter_mut().find(|known| known.metric() == change.metric()) {
                Some(known) => *known = *change,
                None => all.push(*change),
            }
        }
        all
    }

    /// Whether it is about a time, and not about something that is counted.
    pub fn is_about_time(self) -> bool {
        matches!(self.metric(), Metric::Time(..))
    }

    fn metric(self) -> Metric {
        match self.0 {
            Rule::Time(series, figure, _) => Metric::Time(series, figure),
            Rule::Count(counter, _) => Metric::Count(counter),
            Rule::Off(metric) => metric,
        }
    }

    /// Compares with a report; none if the threshold is off.
    pub fn check(&self, report: &Report) -> Option<Checked> {
        let (found, held) = match self.0 {
            Rule::Off(_) => return None,
            Rule::Time(series, figure, limit) => match series.of(report) {
                // What was never measured holds to nothing.
                latency if latency.count == 0 => ("nothing measured".into(), false),
                latency => {
                    let micros = figure.of(latency);
                    (format_nanos(micros * 1e3), micros <= limit.as_secs_f64() * 1e6)
                }
            },
            Rule::Count(counter, bound) => {
                let (count, of) = counter.of(report);
                // In hundredths, so that whole percentages of whole numbers compare exactly.
                let (hundredths, limit) = match bound {
                    Bound::Count(limit) => (count as f64, limit as f64),
                    Bound::Percent(percent) => (count as f64 * 100.0, percent * of as f64),
                };
                let at_least = counter == Counter::Connected;
                let held = if at_least { hundredths >= limit } else { hundredths <= limit };
                let [count, of] = [count, of].map(format_count);
                (format!("{count} of {of}"), held)
            }
        };
        Some(Checked { threshold: self.to_string(), found, held })
    }
}

impl Checked {
    /// Whether it is about a count of deliveries or of the messages that they are of.
    pub(crate) fn is_about_deliveries(&self) -> bool {
        self.counter().is_some_and(Counter::is_about_deliveries)
    }

    /// Whether it is about user lists.
    pub(crate) fn is_about_lists(&self) -> bool {
        self.counter() == Some(Counter::HeadCountMismatches)
    }

    fn counter(&self) -> Option<Counter> {
        let name = self.threshold.split('=').next().unwrap_or_default();
        COUNTERS.iter().find(|(known, _)| *known == name).map(|(_, counter)| *counter)
    }
}

impl Series {
    fn of(self, report: &Report) -> &LatencyUs {
        match self {
            Self::Latency => &report.latency_us,
            Self::Uncorrected => &report.latency_uncorrected_us,
            Self::FirstRecipient => &report.first_recipient_us,
            Self::LastRecipient => &report.last_recipient_us,
            Self::Skew => &report.recipient_skew_us,
            Self::SenderDelay => &report.sender_delay_us,
            Self::ReadLag => &report.read_lag_us,
        }
    }
}

impl Figure {
    fn of(self, latency: &LatencyUs) -> f64 {
        match self {
            Self::Mean => latency.mean,
            Self::P50 => latency.p50,
            Self::P90 => latency.p90,
            Self::P99 => latency.p99,
            Self::P999 => latency.p999,
            Self::Max => latency.max,
        }
    }
}

impl Counter {
    fn is_about_deliveries(self) -> bool {
        let is_about_clients =
            matches!(self, Self::Connected | Self::Refused | Self::Failed | Self::Disconnected);
        !is_about_clients && self != Self::HeadCountMismatches
    }

    /// The count, and all that it could have been.
    fn of(self, report: &Report) -> (u64, u64) {
        let (clients, deliveries) = (&report.clients, &report.deliveries);
        let entries = report.entries_requested();
        match self {
            Self::Connected => (clients.connected, entries),
            Self::Refused => (clients.refused, entries),
            Self::Failed => (clients.failed, entries),
            Self::Disconnected => (clients.disconnected, clients.connected),
            Self::Missing => (deliveries.missing, deliveries.expected),
            Self::Gaps => (report.gaps.of_readers, deliveries.expected),
            Self::Duplicated => (deliveries.duplicated, deliveries.expected),
            Self::Reordered => (deliveries.reordered, deliveries.expected),
            Self::Leaked => (deliveries.leaked, deliveries.expected),
            Self::Corrupted => (deliveries.corrupted, deliveries.expected),
            Self::Inconsistent => (deliveries.inconsistent, report.sent),
            Self::HeadCountMismatches => (report.lists.head_count_mismatches, report.lists.notices),
        }
    }
}

impl FromStr for Threshold {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, value) = text.split_once('=').ok_or_else(|| {
            format!("`{text}` is no threshold: write NAME=LIMIT, as in p99=20ms or missing=0")
        })?;
        let metric = parse_metric(name.trim())?;
        Ok(Self(match (metric, value.trim()) {
            (metric, "off") => Rule::Off(metric),
            (Metric::Time(series, figure), value) => {
                Rule::Time(series, figure, parse_duration(value).map_err(|error| error.to_string())?)
            }
            (Metric::Count(counter), value) => Rule::Count(counter, parse_bound(name.trim(), value)?),
        }))
    }
}

fn parse_bound(name: &str, value: &str) -> Result<Bound, String> {
    let Some(percent) = value.strip_suffix('%') else {
        return value.parse().map(Bound::Count).map_err(|_| {
            format!("`{value}` is no limit for {name}: write a count, a share as in 5%, or `off`")
        });
    };
    match percent.trim().parse() {
        Ok(percent) if (0.0..=100.0).contains(&percent) => Ok(Bound::Percent(percent)),
        _ => Err(format!("`{value}` is no share: write 0% to 100%")),
    }
}

fn parse_metric(name: &str) -> Result<Metric, String> {
    fn find<T: Copy>(table: &[(&str, T)], name: &str) -> Option<T> {
        table.iter().find(|(known, _)| *known == name).map(|(_, value)| *value)
    }
    let (series, figure) = name.split_once('.').unwrap_or(("latency", name));
    let time = find(&SERIES, series)
        .zip(find(&FIGURES, figure))
        .map(|(series, figure)| Metric::Time(series, figure));
    time.or_else(|| find(&COUNTERS, name).map(Metric::Count)).ok_or_else(|| {
        fn names<T>(table: &[(&'static str, T)]) -> String {
            table.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ")
        }
        format!(
            "`{name}` cannot have a threshold: it is one of {}; or {} of the latency; or one of these of {}, as in last_recipient.p99",
            names(&COUNTERS),
            names(&FIGURES),
            names(&SERIES),
        )
    })
}

impl fmt::Display for Threshold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fn name<T: PartialEq>(table: &[(&'static str, T)], value: &T) -> &'static str {
            table.iter().find(|(_, known)| known == value).map_or("", |(name, _)| name)
        }
        match self.metric() {
            Metric::Time(Series::Latency, figure) => f.write_str(name(&FIGURES, &figure))?,
            Metric::Time(series, figure) => {
                write!(f, "{}.{}", name(&SERIES, &series), name(&FIGURES, &figure))?;
            }
            Metric::Count(counter) => f.write_str(name(&COUNTERS, &counter))?,
        }
        match self.0 {
            Rule::Time(_, _, limit) => write!(f, "={}", format_duration(limit)),
            Rule::Count(_, Bound::Count(limit)) => write!(f, "={limit}"),
            Rule::Count(_, Bound::Percent(percent)) => write!(f, "={percent}%"),
            Rule::Off(_) => f.write_str("=off"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verify::Gaps;

    #[test]
    fn thresholds_as_they_are_written() {
        let check = |text: &str| {
            let threshold: Threshold = text.parse().unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(threshold.to_string(), text);
        };
        for text in [
            "p99=20ms",
            "mean=16ms",
            "last_recipient.p999=1.5s",
            "sender_delay.max=500us",
            "skew.p50=1ms",
            "read_lag.p99=2ms",
        ] {
            check(text);
        }
        for text in
            ["missing=0", "connected=95%", "disconnected=2", "reordered=off", "p99=off", "leaked=0.5%"]
        {
            check(text);
        }
        assert_eq!("latency.p99=1s".parse::<Threshold>(), "p99=1000ms".parse());
    }

    #[test]
    fn what_is_wrong_is_said() {
        let check = |text: &str, part: &str| {
            let error = text.parse::<Threshold>().unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        };
        check("p99", "NAME=LIMIT");
        check("p98=1ms", "`p98` cannot have a threshold: it is one of connected, ");
        check("last_recipient=1ms", "as in last_recipient.p99");
        check("p99=20", "is not a unit");
        check("missing=1ms", "write a count");
        check("connected=101%", "0% to 100%");
        check("connected=-1%", "0% to 100%");
        check("=1", "cannot have a threshold");
    }

    #[test]
    fn changes_replace_the_default_about_the_same_metric() {
        let all = |changes: &[&str]| {
            let changes: Vec<Threshold> = changes.iter().map(|text| text.parse().expect("valid")).collect();
            Threshold::with_defaults(&changes).iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
        };
        let rest =
            "gaps=0 duplicated=0 reordered=0 leaked=0 corrupted=0 inconsistent=0 head_count_mismatches=0";
        assert_eq!(all(&[]), format!("connected=100% disconnected=0 missing=0 {rest}"));
        assert_eq!(
            all(&["missing=3", "p99=20ms", "connected=off", "p99=30ms"]),
            format!("connected=off disconnected=0 missing=3 {rest} p99=30ms")
        );
    }

    #[test]
    fn held_or_broken() {
        let mut report = Report { rounds: 1, ..Report::default() };
        report.clients.requested = 100;
        report.clients.connected = 96;
        report.deliveries.expected = 1000;
        report.deliveries.missing = 4;
        report.latency_us = LatencyUs { count: 9, p99: 20_000.0, ..LatencyUs::default() };
        let check = |report: &Report, text: &str, held, found: &str| {
            let checked = text.parse::<Threshold>().expect("valid").check(report).expect("on");
            assert_eq!((checked.held, checked.found.as_str()), (held, found), "{text}");
        };
        check(&report, "connected=100%", false, "96 of 100");
        check(&report, "connected=96%", true, "96 of 100");
        check(&report, "connected=96", true, "96 of 100");
        check(&report, "connected=97", false, "96 of 100");
        check(&report, "missing=3", false, "4 of 1,000");
        check(&report, "missing=0.4%", true, "4 of 1,000");
        check(&report, "leaked=0", true, "0 of 1,000");
        // Of those that clients were told of only the ones count that nobody had to expect.
        report.gaps = Gaps { told: 2, messages: 12, of_readers: 5 };
        check(&report, "gaps=0", false, "5 of 1,000");
        check(&report, "gaps=0.5%", true, "5 of 1,000");
        (report.lists.notices, report.lists.head_count_mismatches) = (70, 2);
        check(&report, "head_count_mismatches=1", false, "2 of 70");
        check(&report, "p99=20ms", true, "20 ms");
        check(&report, "p99=19.9ms", false, "20 ms");
        check(&report, "last_recipient.p99=1h", false, "nothing measured");
        let about_deliveries = |text: &str| {
            text.parse::<Threshold>().expect("valid").check(&report).expect("on").is_about_deliveries()
        };
        let all =
            ["missing=0", "inconsistent=0", "gaps=0", "connected=1", "head_count_mismatches=0", "p99=1s"];
        assert_eq!(all.map(about_deliveries), [true, true, true, false, false, false]);
        assert_eq!("p99=off".parse::<Threshold>().expect("valid").check(&report), None);
        // One that was never in is not made up for by others that were in twice.
        report.rounds = 2;
        report.clients.connected = 198;
        let checked = "connected=100%".parse::<Threshold>().expect("valid").check(&report).expect("on");
        assert_eq!((checked.held, checked.found.as_str()), (false, "198 of 200"));
    }
}
