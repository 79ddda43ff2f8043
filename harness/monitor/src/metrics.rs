//! The subset of Prometheus's text format that Throng's servers write: one value a line, no commas
//! in labels.

use std::collections::BTreeMap;

/// The metrics of one answer: the values of each name, over all labels.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Metrics(BTreeMap<String, Vec<f64>>);

impl Metrics {
    /// Parses an answer; lines without a value are skipped.
    pub fn parse(text: &str) -> Self {
        let mut metrics = BTreeMap::<String, Vec<f64>>::new();
        for line in text.lines().map(str::trim).filter(|line| !line.starts_with('#')) {
            let Some((name, rest)) = split_name(line) else { continue };
            // A timestamp may follow the value.
            let value = rest.split_ascii_whitespace().next().and_then(|value| value.parse::<f64>().ok());
            if let Some(value) = value.filter(|value| value.is_finite()) {
                metrics.entry(name.to_owned()).or_default().push(value);
            }
        }
        Self(metrics)
    }

    /// The value of a metric, summed over its labels. None if the server has no such metric.
    pub fn get(&self, name: &str) -> Option<f64> {
        Some(self.0.get(name)?.iter().sum())
    }

    /// The names of all metrics.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }
}

/// Splits a line into the metric's name and the text after its labels.
fn split_name(line: &str) -> Option<(&str, &str)> {
    let end = line.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == ':'))?;
    let (name, rest) = line.split_at(end);
    let rest = match rest.strip_prefix('{') {
        Some(labels) => labels.rsplit_once('}')?.1,
        None => rest,
    };
    (!name.is_empty()).then_some((name, rest))
}

#[cfg(test)]
mod tests {
    use throng_core::metrics::{self, render};
    use throng_core::wire::CloseReason;
    use throng_core::wire::packets::Role;

    use super::*;

    #[test]
    fn the_metrics_of_throngs_servers_are_parsed() {
        metrics::SECTORS.add(7);
        metrics::CLOSED.of(CloseReason::TooSlow).add(3);
        metrics::CLOSED.of(CloseReason::ServerFull).add(2);
        // `throng up` runs several roles, each with figures of its own.
        metrics::in_role(Role::Chat, || metrics::SESSIONS.add(2));
        metrics::in_role(Role::Login, || metrics::SESSIONS.add(3));
        let read = Metrics::parse(&render());
        assert_eq!(read.get("throng_net_sessions"), Some(5.0));
        assert_eq!(read.get("throng_chat_sectors"), Some(7.0));
        assert!(read.get("throng_net_closed_total").is_some_and(|sum| sum >= 5.0));
        for (name, _, _) in metrics::TABLE {
            assert!(read.get(name).is_some(), "{name}");
        }
        assert_eq!(read.get("throng_absent"), None);
    }

    #[test]
    fn labels_timestamps_and_bad_lines_are_handled() {
        let text = "# HELP a What it is: b 5\n# TYPE a gauge\na 1\nb{x=\"1\"} 2\nb{x=\"}2\",y=\"z\"} 3.5 1700000000\n\
                    c NaN\nd\n{} 5\n e -4\n";
        let read = Metrics::parse(text);
        let value = |name| read.get(name);
        assert_eq!([value("a"), value("b"), value("e")], [Some(1.0), Some(5.5), Some(-4.0)]);
        assert_eq!([value("c"), value("d"), value("")], [None; 3]);
    }
}
