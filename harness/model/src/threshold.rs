//! Thresholds of a run: `p99=20ms`, `missing=0`, `connected=95%`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use throng_core::config::{format_duration, parse_duration};

/// One of a report's latencies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Series {
    /// From the intended send time to arrival.
    Latency,
    /// From the actual send time to arrival.
    Uncorrected,
    /// From the intended send time to the first recipient.
    FirstRecipient,
    /// From the intended send time to the last recipient.
    LastRecipient,
    /// From the first recipient to the last.
    Skew,
    /// From the intended send time to the actual one.
    SenderDelay,
    /// From arrival at the harness to the read.
    ReadLag,
    /// From the cut of a connection to the client's return.
    Back,
}

/// One figure of a latency.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Figure {
    /// The mean.
    Mean,
    /// The median.
    P50,
    /// The 90th percentile.
    P90,
    /// The 99th percentile.
    P99,
    /// The 99.9th percentile.
    P999,
    /// The maximum.
    Max,
}

/// A counter of a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Counter {
    /// Entries into the chat.
    Connected,
    /// Clients that the server turned away with a reason.
    Refused,
    /// Clients that did not enter for another cause.
    Failed,
    /// Lost sessions.
    Disconnected,
    /// Deliveries that did not arrive.
    Missing,
    /// Announced losses of clients that read as fast as they can.
    Gaps,
    /// Copies after the first.
    Duplicated,
    /// Deliveries out of order.
    Reordered,
    /// Deliveries to clients outside the audience.
    Leaked,
    /// Deliveries that differ from the message.
    Corrupted,
    /// Messages without one room number for all recipients.
    Inconsistent,
    /// User lists whose length differed from the server's count.
    HeadCountMismatches,
    /// Cut clients that resumed.
    Resumed,
    /// Cut clients that notices named as entered or left.
    FalseNotices,
}

const SERIES: [(&str, Series); 8] = [
    ("latency", Series::Latency),
    ("uncorrected", Series::Uncorrected),
    ("first_recipient", Series::FirstRecipient),
    ("last_recipient", Series::LastRecipient),
    ("skew", Series::Skew),
    ("sender_delay", Series::SenderDelay),
    ("read_lag", Series::ReadLag),
    ("back", Series::Back),
];

const FIGURES: [(&str, Figure); 6] = [
    ("mean", Figure::Mean),
    ("p50", Figure::P50),
    ("p90", Figure::P90),
    ("p99", Figure::P99),
    ("p999", Figure::P999),
    ("max", Figure::Max),
];

const COUNTERS: [(&str, Counter); 14] = [
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
    ("resumed", Counter::Resumed),
    ("false_notices", Counter::FalseNotices),
];

/// The subject of a threshold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Metric {
    /// A figure of a latency.
    Time(Series, Figure),
    /// A counter.
    Count(Counter),
}

/// The limit of a count.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Bound {
    /// An absolute count.
    Count(u64),
    /// A percentage, from 0 to 100, of the largest possible count.
    Percent(f64),
}

/// The requirement of a threshold.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Rule {
    /// A time of at most this long.
    Time(Series, Figure, Duration),
    /// A count within a bound.
    Count(Counter, Bound),
    /// No requirement, in place of the default.
    Off(Metric),
}

/// A threshold: an upper limit, or a lower one for `connected` and `resumed`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Threshold(Rule);

impl Counter {
    /// The counter with this name on the command line.
    pub fn named(name: &str) -> Option<Self> {
        COUNTERS.iter().find(|(known, _)| *known == name).map(|(_, counter)| *counter)
    }

    /// True for counters of deliveries or of their messages.
    pub fn is_about_deliveries(self) -> bool {
        let is_about_clients =
            matches!(self, Self::Connected | Self::Refused | Self::Failed | Self::Disconnected);
        !is_about_clients && self != Self::HeadCountMismatches && !self.is_about_cuts()
    }

    /// True for counters of clients whose connections were cut.
    pub fn is_about_cuts(self) -> bool {
        matches!(self, Self::Resumed | Self::FalseNotices)
    }

    /// True for a counter that is good if it is large: its limit is the least value.
    pub fn is_least(self) -> bool {
        matches!(self, Self::Connected | Self::Resumed)
    }
}

impl Threshold {
    /// The default thresholds. All clients are connected and none is disconnected. Every delivery
    /// is made once, in order, unchanged and to members only. Clients that read as fast as they can
    /// miss nothing, and user lists are as long as the server says. Every client that is cut
    /// resumes, and no notice names it.
    pub fn defaults() -> Vec<Self> {
        let all = COUNTERS.iter().map(|(_, counter)| *counter);
        // A client that is refused or fails is not connected, so it already breaks `connected`.
        all.filter(|counter| !matches!(counter, Counter::Refused | Counter::Failed))
            .map(|counter| {
                let bound = if counter.is_least() { Bound::Percent(100.0) } else { Bound::Count(0) };
                Self(Rule::Count(counter, bound))
            })
            .collect()
    }

    /// The defaults, with `changes` added or in place of those on the same metric.
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

    /// True for a threshold of a time, false for one of a count.
    pub fn is_about_time(self) -> bool {
        matches!(self.metric(), Metric::Time(..))
    }

    /// The requirement.
    pub fn rule(&self) -> Rule {
        self.0
    }

    fn metric(self) -> Metric {
        match self.0 {
            Rule::Time(series, figure, _) => Metric::Time(series, figure),
            Rule::Count(counter, _) => Metric::Count(counter),
            Rule::Off(metric) => metric,
        }
    }
}

impl FromStr for Threshold {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, sign, value) = split_limit(text).ok_or_else(|| {
            format!(
                "`{text}` is not a threshold: write NAME=LIMIT, as in p99=20ms or missing=0, or with <= or >="
            )
        })?;
        let metric = parse_metric(name)?;
        sign.check(name, matches!(metric, Metric::Count(counter) if counter.is_least()))?;
        Ok(Self(match (metric, value) {
            (metric, "off") => Rule::Off(metric),
            (Metric::Time(series, figure), value) => {
                Rule::Time(series, figure, parse_duration(value).map_err(|error| error.to_string())?)
            }
            (Metric::Count(counter), value) => Rule::Count(counter, parse_bound(name, value)?),
        }))
    }
}

/// The sign between a figure and its limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sign {
    /// `=`: at most or at least, as fits the figure.
    Either,
    /// `<=`.
    AtMost,
    /// `>=`.
    AtLeast,
}

impl Sign {
    /// Fails if the limit of `name`, the least value if `is_least`, cannot have this sign.
    pub fn check(self, name: &str, is_least: bool) -> Result<(), String> {
        match (self, is_least) {
            (Self::AtLeast, false) => Err(format!("{name} may be at most its limit: write {name}<=LIMIT")),
            (Self::AtMost, true) => Err(format!("{name} must be at least its limit: write {name}>=LIMIT")),
            _ => Ok(()),
        }
    }
}

/// Splits `NAME=LIMIT`, `NAME<=LIMIT` or `NAME>=LIMIT`.
pub fn split_limit(text: &str) -> Option<(&str, Sign, &str)> {
    let (name, value) = text.split_once('=')?;
    let (name, sign) = match (name.strip_suffix('<'), name.strip_suffix('>')) {
        (Some(name), _) => (name, Sign::AtMost),
        (None, Some(name)) => (name, Sign::AtLeast),
        (None, None) => (name, Sign::Either),
    };
    Some((name.trim(), sign, value.trim()))
}

fn parse_bound(name: &str, value: &str) -> Result<Bound, String> {
    let Some(percent) = value.strip_suffix('%') else {
        return value.parse().map(Bound::Count).map_err(|_| {
            format!("`{value}` is not a limit for {name}: write a count, a share as in 5%, or `off`")
        });
    };
    match percent.trim().parse() {
        Ok(percent) if (0.0..=100.0).contains(&percent) => Ok(Bound::Percent(percent)),
        _ => Err(format!("`{value}` is not a share: write 0% to 100%")),
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

    #[test]
    fn thresholds_are_parsed_and_displayed() {
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
            "back.p99=500ms",
        ] {
            check(text);
        }
        for text in [
            "missing=0",
            "connected=95%",
            "disconnected=2",
            "reordered=off",
            "p99=off",
            "leaked=0.5%",
            "resumed=99.9%",
            "false_notices=1",
        ] {
            check(text);
        }
        assert_eq!("latency.p99=1s".parse::<Threshold>(), "p99=1000ms".parse());
        assert_eq!("p99 <= 1s".parse::<Threshold>(), "p99=1s".parse());
        assert_eq!("connected>=95%".parse::<Threshold>(), "connected=95%".parse());
    }

    #[test]
    fn errors_name_the_mistake() {
        let check = |text: &str, part: &str| {
            let error = text.parse::<Threshold>().unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        };
        check("p99", "NAME=LIMIT");
        check("p98=1ms", "`p98` cannot have a threshold: it is one of connected, ");
        check("last_recipient=1ms", "as in last_recipient.p99");
        check("p99=20", "20 has no unit: write 20s");
        check("p99<20ms", "or with <= or >=");
        check("p99>=20ms", "p99 may be at most its limit: write p99<=LIMIT");
        check("connected<=5", "connected must be at least its limit: write connected>=LIMIT");
        check("resumed<=5", "resumed must be at least its limit");
        check("missing=1ms", "write a count");
        check("connected=101%", "0% to 100%");
        check("connected=-1%", "0% to 100%");
        check("=1", "cannot have a threshold");
    }

    #[test]
    fn changes_replace_the_default_on_the_same_metric() {
        let all = |changes: &[&str]| {
            let changes: Vec<Threshold> = changes.iter().map(|text| text.parse().expect("valid")).collect();
            Threshold::with_defaults(&changes).iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
        };
        let rest = "gaps=0 duplicated=0 reordered=0 leaked=0 corrupted=0 inconsistent=0 head_count_mismatches=0 \
                    resumed=100% false_notices=0";
        assert_eq!(all(&[]), format!("connected=100% disconnected=0 missing=0 {rest}"));
        assert_eq!(
            all(&["missing=3", "p99=20ms", "connected=off", "p99=30ms"]),
            format!("connected=off disconnected=0 missing=3 {rest} p99=30ms")
        );
    }
}
