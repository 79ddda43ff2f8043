//! Metrics that the harness reads from admin ports.

use throng_core::metrics;
use throng_core::text::has_control;
use throng_harness_monitor::metrics::Metrics;

use crate::Target;

pub(crate) const ANSWERS: Target = Target { name: "answers", check, seeds, mutations: 5_000 };

fn seeds() -> Vec<Vec<u8>> {
    let mut seeds = vec![
        b"a 1\nb{x=\"1\"} 2\nb{x=\"}2\",y=\"z\"} 3.5 1700000000\nc NaN\nd\n{} 5\n e -4\n".to_vec(),
        b"a 1e308\na 1e308\na -inf\n".to_vec(),
    ];
    seeds.extend(metrics::render().lines().filter(|line| !line.starts_with('#')).take(8).map(Into::into));
    seeds
}

/// Parses metrics. Every name is a word, and has a value.
fn check(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let metrics = Metrics::parse(text);
    for name in metrics.names() {
        assert!(!name.is_empty() && !has_control(name) && text.contains(name), "{name:?}");
        assert!(metrics.get(name).is_some());
    }
}
