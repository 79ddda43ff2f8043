//! Thresholds of an attack, held against the medians of its phases.

use std::time::Duration;

use serde::Serialize;
use throng_harness_model::text::{format_count, format_nanos};

use crate::phase::{Figures, Phase, PhaseKind, Spread};

/// The limits that an attack must keep.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Limits {
    /// The most by which the p99 of the other room may grow, as a factor.
    pub other: f64,
    /// The most by which the p99 of the attacker's room may grow, as a factor.
    pub same: f64,
    /// The most by which newcomers' p99 may grow.
    pub enter: Duration,
    /// The least share of newcomers that get in in time, from 0 to 1.
    pub entered: f64,
    /// The most messages that may be missing without a word, in all phases together.
    pub missing: u64,
}

impl Default for Limits {
    /// The limits that hold unless flags say otherwise.
    fn default() -> Self {
        let enter = Duration::from_millis(50);
        Self { other: 1.10, same: 2.0, enter, entered: 0.99, missing: 0 }
    }
}

/// A threshold and what was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    /// The threshold, as in `other.p99<=1.10x`.
    pub threshold: String,
    /// The finding, as text.
    pub found: String,
    /// True if it held.
    pub held: bool,
}

/// Judges an attack by the medians `quiet` and `attack`; counts are those of all `phases`.
pub(crate) fn judge(limits: &Limits, quiet: &Figures, attack: &Figures, phases: &[Phase]) -> Vec<Check> {
    let mut checks = vec![
        growth("other", limits.other, quiet.other_p99_us, attack.other_p99_us),
        growth("same", limits.same, quiet.same_p99_us, attack.same_p99_us),
    ];
    let newcomers =
        |kind| -> u64 { phases.iter().filter(|phase| phase.kind == kind).map(|phase| phase.newcomers).sum() };
    if newcomers(PhaseKind::Attack) > 0 {
        checks.push(entering(limits.enter, quiet.enter_p99_us, attack.enter_p99_us));
        checks.push(Check {
            threshold: format!("newcomers>={}%", limits.entered * 100.0),
            found: format!("{:.1}%", attack.entered.median * 100.0),
            held: attack.entered.median >= limits.entered,
        });
    }
    let sum = |count: fn(&Phase) -> u64| -> u64 { phases.iter().map(count).sum() };
    let missing = sum(|phase| phase.missing);
    checks.push(Check {
        threshold: format!("missing={}", limits.missing),
        found: format_count(missing),
        held: missing <= limits.missing,
    });
    let faults = [
        ("duplicated", sum(|phase| phase.duplicated)),
        ("unexplained breaks", sum(|phase| phase.breaks)),
        ("corrupted", sum(|phase| phase.corrupted)),
        ("clients lost", sum(|phase| phase.disconnected)),
    ];
    let found: Vec<String> = faults
        .iter()
        .filter(|(_, count)| *count > 0)
        .map(|(name, count)| format!("{} {name}", format_count(*count)))
        .collect();
    checks.push(Check {
        threshold: "faults=0".into(),
        held: found.is_empty(),
        found: if found.is_empty() { "0".into() } else { found.join(", ") },
    });
    checks
}

fn shown(micros: f64) -> String {
    format_nanos(micros * 1e3)
}

fn growth(name: &str, limit: f64, quiet: Spread, attack: Spread) -> Check {
    let threshold = format!("{name}.p99<={limit}x");
    if quiet.median <= 0.0 || attack.median <= 0.0 {
        return Check { threshold, found: "no message arrived".into(), held: false };
    }
    let factor = attack.median / quiet.median;
    let held = factor <= limit;
    let noise = format!("{} to {} without", shown(quiet.min), shown(quiet.max));
    let within = if !held && attack.median <= quiet.max { ", within the noise" } else { "" };
    let found =
        format!("{factor:.2}x ({} from {}; {noise}{within})", shown(attack.median), shown(quiet.median));
    Check { threshold, found, held }
}

fn entering(limit: Duration, quiet: Spread, attack: Spread) -> Check {
    let limit_us = limit.as_secs_f64() * 1e6;
    let threshold = format!("newcomers.p99<=+{}", format_nanos(limit_us * 1e3));
    if quiet.median <= 0.0 || attack.median <= 0.0 {
        return Check { threshold, found: "no newcomer got in".into(), held: false };
    }
    let more = attack.median - quiet.median;
    let sign = if more < 0.0 { "-" } else { "+" };
    let noise = format!("{} to {} without", shown(quiet.min), shown(quiet.max));
    let found = format!(
        "{sign}{} ({} from {}; {noise})",
        shown(more.abs()),
        shown(attack.median),
        shown(quiet.median)
    );
    Check { threshold, found, held: more <= limit_us }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spread(median: f64) -> Spread {
        Spread { median, min: median * 0.9, max: median * 1.2 }
    }

    fn figures(other: f64, same: f64, enter: f64, entered: f64) -> Figures {
        Figures {
            other_p99_us: spread(other),
            same_p99_us: spread(same),
            enter_p99_us: spread(enter),
            entered: spread(entered),
            ..Figures::default()
        }
    }

    fn limits() -> Limits {
        Limits { other: 1.1, same: 2.0, enter: Duration::from_millis(50), entered: 0.99, missing: 0 }
    }

    /// The thresholds that `attack` breaks beside the same quiet phases.
    fn broken(attack: &Figures, change: impl Fn(&mut Phase)) -> Vec<String> {
        let quiet = figures(1_000.0, 1_000.0, 5_000.0, 1.0);
        let mut phase = Phase { kind: PhaseKind::Attack, newcomers: 10, ..Phase::default() };
        change(&mut phase);
        let checks = judge(&limits(), &quiet, attack, &[phase]);
        checks.into_iter().filter(|check| !check.held).map(|check| check.threshold).collect()
    }

    #[test]
    fn limits_are_compared_with_the_growth_of_medians() {
        let fair = figures(1_100.0, 2_000.0, 55_000.0, 0.99);
        assert_eq!(broken(&fair, |_| {}), [""; 0]);
        assert_eq!(broken(&figures(1_101.0, 2_000.0, 55_000.0, 1.0), |_| {}), ["other.p99<=1.1x"]);
        assert_eq!(broken(&figures(1_000.0, 2_001.0, 55_000.0, 1.0), |_| {}), ["same.p99<=2x"]);
        assert_eq!(broken(&figures(1_000.0, 1_000.0, 55_100.0, 1.0), |_| {}), ["newcomers.p99<=+50 ms"]);
        assert_eq!(broken(&figures(1_000.0, 1_000.0, 5_000.0, 0.98), |_| {}), ["newcomers>=99%"]);
        assert_eq!(broken(&fair, |phase| phase.missing = 1), ["missing=0"]);
        assert_eq!(broken(&fair, |phase| phase.disconnected = 1), ["faults=0"]);
        // Without newcomers nothing is said about them; without messages nothing is well.
        let silent = figures(0.0, 1_000.0, 0.0, 0.0);
        assert_eq!(broken(&silent, |phase| phase.newcomers = 0), ["other.p99<=1.1x"]);
    }
}
