//! Limits on the figures of watched servers.

use std::fmt;
use std::str::FromStr;

use throng_harness_model::text::{format_bytes, format_rate};
use throng_harness_model::threshold::split_limit;

use super::follow::Sample;

/// Prefix of all metrics' names.
const METRIC_PREFIX: &str = "throng_";

/// The subject of a limit.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Subject {
    /// The server is up.
    Up,
    /// One of [`FIGURES`].
    Figure(&'static Figure),
    /// A value of `/metrics`; of a counter, its growth a second.
    Metric(String),
}

/// The unit of a figure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unit {
    /// A share of a core, in percent.
    Share,
    Bytes,
    Count,
    /// A count, or a share of the process's limit in percent.
    CountOrShare,
}

/// A figure that limits can name.
struct Figure {
    name: &'static str,
    unit: Unit,
    /// True for a minimum, false for a maximum.
    is_least: bool,
    of: fn(&Sample) -> Option<f64>,
}

impl PartialEq for Figure {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for Figure {}

impl fmt::Debug for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

const fn most(name: &'static str, unit: Unit, of: fn(&Sample) -> Option<f64>) -> Figure {
    Figure { name, unit, is_least: false, of }
}

static FIGURES: [Figure; 11] = [
    most("cpu", Unit::Share, |sample| sample.cpu),
    most("rss", Unit::Bytes, |sample| sample.rss_bytes),
    most("files", Unit::CountOrShare, |sample| sample.files),
    most("sockets", Unit::Count, |sample| sample.sockets),
    most("sessions", Unit::Count, |sample| sample.sessions),
    most("users", Unit::Count, |sample| sample.users),
    most("queue", Unit::Count, |sample| sample.content_queue),
    most("mailbox", Unit::Count, |sample| sample.mailbox),
    most("db_queue", Unit::Count, |sample| sample.db_queue),
    most("log_pool", Unit::Bytes, |sample| sample.log_pool_bytes),
    Figure { name: "links", unit: Unit::Count, is_least: true, of: |sample| sample.links_up },
];

/// One limit: a maximum, or a minimum for `links`.
#[derive(Debug, Clone, PartialEq)]
pub struct Limit {
    subject: Subject,
    /// `None` if the limit is switched off.
    value: Option<f64>,
    /// True if `value` is a share of the process's own maximum.
    is_share: bool,
    text: String,
}

/// A sample measured against a limit.
#[derive(Debug, Clone, PartialEq)]
pub struct Measured {
    /// True if the limit is crossed.
    pub is_crossed: bool,
    /// Order of samples: the higher, the worse.
    pub badness: f64,
    /// The figure as text.
    pub shown: String,
}

impl Limit {
    /// The default limit: every server is up.
    pub fn up() -> Self {
        Self { subject: Subject::Up, value: Some(1.0), is_share: false, text: "up".into() }
    }

    /// `up` and the limits of the command line; the last one on each subject counts.
    pub fn with_default(asked: &[Self]) -> Vec<Self> {
        let mut all = vec![Self::up()];
        for limit in asked {
            match all.iter_mut().find(|known| known.subject == limit.subject) {
                Some(known) => *known = limit.clone(),
                None => all.push(limit.clone()),
            }
        }
        all.retain(|limit| limit.value.is_some());
        all
    }

    /// True if a single sample breaks the limit.
    pub fn is_strict(&self) -> bool {
        self.subject == Subject::Up
    }

    /// Measures a sample; none if the figure is unknown.
    pub fn measure(&self, sample: &Sample) -> Option<Measured> {
        let limit = self.value?;
        let (value, is_least, unit) = match &self.subject {
            Subject::Up => {
                let shown = if sample.is_up { "up" } else { "DOWN" }.to_owned();
                let badness = if sample.is_up { 0.0 } else { 1.0 };
                return Some(Measured { is_crossed: !sample.is_up, badness, shown });
            }
            Subject::Figure(figure) => ((figure.of)(sample)?, figure.is_least, figure.unit),
            Subject::Metric(name) => (sample.metric(name)?, false, Unit::Count),
        };
        let (value, unit) =
            if self.is_share { (value / sample.files_max?.max(1.0), Unit::Share) } else { (value, unit) };
        let badness = if is_least { -value } else { value };
        let is_crossed = if is_least { value < limit } else { value > limit };
        Some(Measured { is_crossed, badness, shown: unit.show(value) })
    }
}

impl Unit {
    fn show(self, value: f64) -> String {
        match self {
            Self::Share => format!("{:.0}%", value * 100.0),
            #[allow(clippy::cast_sign_loss)] // sizes are not below 0, and the cast saturates
            Self::Bytes => format_bytes(value as u64),
            Self::Count | Self::CountOrShare => format_rate(value),
        }
    }
}

impl FromStr for Limit {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, sign, value) = split_limit(text).ok_or_else(|| {
            format!(
                "`{text}` is not a threshold: write NAME=LIMIT, as in cpu=80% or rss=500MB, or with <= or >="
            )
        })?;
        let text = format!("{name}={value}");
        let limit = |subject, value, is_share| Self { subject, value, is_share, text: text.clone() };
        let subject = match FIGURES.iter().find(|figure| figure.name == name) {
            Some(figure) => Subject::Figure(figure),
            None if name == "up" => Subject::Up,
            None if name.starts_with(METRIC_PREFIX) => Subject::Metric(name.to_owned()),
            None => {
                let names: Vec<_> = FIGURES.iter().map(|figure| figure.name).collect();
                return Err(format!(
                    "`{name}` cannot have a threshold: it is up, {}, or a metric such as throng_net_stalls_total",
                    names.join(", ")
                ));
            }
        };
        sign.check(name, matches!(&subject, Subject::Figure(figure) if figure.is_least))?;
        if value == "off" {
            return Ok(limit(subject, None, false));
        }
        let unit = match &subject {
            Subject::Up => return Err(format!("`{value}` is not a limit for up, which can only be `off`")),
            Subject::Figure(figure) => figure.unit,
            Subject::Metric(_) => Unit::Count,
        };
        let (value, is_share) = match (unit, value.strip_suffix('%')) {
            (Unit::Share | Unit::CountOrShare, Some(percent)) => {
                (number(percent).map(|share| share / 100.0), true)
            }
            (Unit::Share, None) => {
                return Err(format!("`{value}` is not a share of a core: write {name}=80%"));
            }
            (Unit::Bytes, _) => (bytes(value), false),
            (Unit::Count | Unit::CountOrShare, _) => {
                (number(value.strip_suffix("/s").unwrap_or(value)), false)
            }
        };
        let example = match unit {
            Unit::Bytes => "a size as in 500MB or 512MiB",
            Unit::CountOrShare => "a count, or a share as in 80%",
            Unit::Share => "a share as in 80%",
            Unit::Count => "a count",
        };
        let value =
            value.ok_or_else(|| format!("`{text}` has no limit: write {name}= and {example}, or `off`"))?;
        Ok(limit(subject, Some(value), is_share && unit == Unit::CountOrShare))
    }
}

fn number(text: &str) -> Option<f64> {
    text.trim().parse().ok().filter(|value: &f64| value.is_finite() && *value >= 0.0)
}

/// Parses a size: a number with a unit.
fn bytes(text: &str) -> Option<f64> {
    const UNITS: [(&str, f64); 8] = [
        ("KiB", 1024.0),
        ("MiB", 1_048_576.0),
        ("GiB", 1_073_741_824.0),
        ("kB", 1e3),
        ("KB", 1e3),
        ("MB", 1e6),
        ("GB", 1e9),
        ("B", 1.0),
    ];
    let unit = UNITS.iter().find_map(|(unit, times)| Some((text.strip_suffix(unit)?, *times)));
    let (digits, times) = unit.unwrap_or((text, 1.0));
    number(digits).map(|value| value * times)
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::super::metrics::Metrics;
    use super::*;

    fn limit(text: &str) -> Limit {
        text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    fn sample() -> Sample {
        Sample {
            is_up: true,
            cpu: Some(0.81),
            rss_bytes: Some(500e6),
            files: Some(900.0),
            files_max: Some(1_000.0),
            links_up: Some(1.0),
            ..Sample::default()
        }
    }

    #[test]
    fn figures_are_measured_against_limits() {
        let check = |text: &str, is_crossed: bool, shown: &str| {
            let measured = limit(text).measure(&sample()).expect("known");
            assert_eq!((measured.is_crossed, measured.shown.as_str()), (is_crossed, shown), "{text}");
        };
        check("cpu=80%", true, "81%");
        check("cpu=81%", false, "81%");
        check("cpu=150%", false, "81%");
        check("rss=500MB", false, "500.0 MB");
        check("rss=0.4GB", true, "500.0 MB");
        check("rss=476MiB", true, "500.0 MB");
        check("rss=500000000", false, "500.0 MB");
        check("files=899", true, "900");
        check("files=89%", true, "90%");
        check("files=90%", false, "90%");
        check("links=2", true, "1");
        check("links=1", false, "1");
        assert_eq!(limit("queue=5").measure(&sample()), None, "an unknown figure crosses no limit");
    }

    #[test]
    fn counters_are_limited_by_their_growth() {
        let at = |at_s, text| Sample { at_s, metrics: Metrics::parse(text), ..sample() };
        let before = at(1.0, "throng_net_stalls_total 10\nthrong_net_sessions 5");
        let mut now = at(3.0, "throng_net_stalls_total 20\nthrong_net_sessions 6");
        now.grown_since(&before);
        let check = |text: &str, is_crossed| {
            assert_eq!(limit(text).measure(&now).expect("known").is_crossed, is_crossed, "{text}");
        };
        check("throng_net_stalls_total=4/s", true);
        check("throng_net_stalls_total=5", false);
        check("throng_net_sessions=5", true);
        check("throng_net_sessions=6", false);
    }

    #[test]
    fn up_is_a_default_limit_that_one_sample_breaks() {
        let limits = |asked: &[&str]| {
            let asked: Vec<Limit> = asked.iter().map(|text| limit(text)).collect();
            Limit::with_default(&asked).iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(limits(&["cpu=80%", "rss=5MB", "cpu=90%"]), "up cpu=90% rss=5MB");
        assert_eq!(limits(&["up=off", "cpu=off"]), "");
        assert_eq!(limits(&["cpu<=80%", "links >= 7"]), "up cpu=80% links=7");
        let down = Sample { is_up: false, ..sample() };
        assert!(Limit::up().is_strict() && Limit::up().measure(&down).is_some_and(|found| found.is_crossed));
        assert!(!limit("cpu=1%").is_strict());
    }

    #[test]
    fn bad_limits_are_refused() {
        let check = |text: &str, part: &str| {
            let error = text.parse::<Limit>().unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        };
        check("cpu", "NAME=LIMIT");
        check("cpus=80%", "`cpus` cannot have a threshold: it is up, cpu, rss");
        check("cpu=80", "write cpu=80%");
        check("cpu>=80%", "cpu may be at most its limit: write cpu<=LIMIT");
        check("links<=7", "links must be at least its limit: write links>=LIMIT");
        check("cpu=-1%", "a share as in 80%");
        check("rss=lots", "500MB");
        check("rss=5%", "500MB");
        check("queue=5%", "write queue= and a count");
        check("files=x", "or a share as in 80%");
        check("up=1", "can only be `off`");
        check("users=inf", "a count");
    }
}
