//! Thresholds of an attack, held against the medians of its phases.

use std::time::Duration;

use serde::Serialize;
use throng_core::limits::{SENDER_SHARE, UNSENT_MAX};
use throng_harness_model::text::{format_count, format_nanos};
use throng_harness_report::compare::p_larger;

use crate::crowd::RECEIVE_BUFFER;
use crate::phase::{Figures, Phase, PhaseKind, Spread};

/// Largest chance of a broken threshold if an attack costs exactly what it may. Three attacks
/// between four quiet phases have 35 orders, so only one order of theirs is below it.
const LEVEL: f64 = 0.03;

/// The limits that an attack must keep.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Limits {
    /// The most by which the p99 of the other room may grow, as a factor.
    pub other: f64,
    /// The most by which the p99 of the attacker's room may grow, as a factor.
    pub same: f64,
    /// The longest p99 of messages to a client whose line the attacker keeps full. They wait for
    /// what is in front of them there, so that a factor of an idle line's latency says nothing.
    pub full_line: Duration,
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
        Self { other: 1.10, same: 2.0, full_line: full_line(40_000), enter, entered: 0.99, missing: 0 }
    }
}

/// The time that a line of `rate` bytes a second takes for all that may be in front of a message:
/// the client's own receive buffer, which Linux makes twice as large as asked, what the server's
/// system has not sent yet, and the shares of two senders. The client reads its buffer as a whole
/// and then pauses for as long as the line would have taken, so the buffer counts twice.
pub fn full_line(rate: u32) -> Duration {
    let bytes = 2 * 2 * RECEIVE_BUFFER + UNSENT_MAX as usize + 2 * SENDER_SHARE;
    Duration::from_secs_f64(bytes as f64 / f64::from(rate.max(1)))
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
    /// True if it did not hold, and the phases differ too much among themselves to blame the
    /// attack.
    pub unclear: bool,
    /// True for a threshold of a time, false for one of a count.
    #[serde(skip)]
    pub is_about_time: bool,
}

impl Check {
    fn count(threshold: String, found: String, held: bool) -> Self {
        Self { threshold, found, held, unclear: false, is_about_time: false }
    }

    /// The check of a time that was not measured at all.
    fn unmeasured(threshold: String, found: &str) -> Self {
        Self { threshold, found: found.into(), held: false, unclear: false, is_about_time: true }
    }

    /// True if it did not hold, by more than chance explains.
    pub fn is_broken(&self) -> bool {
        !self.held && !self.unclear
    }
}

/// The phases of one kind that count.
pub(crate) struct Side<'a> {
    pub(crate) figures: &'a Figures,
    pub(crate) phases: &'a [&'a Phase],
}

impl Side<'_> {
    fn values(&self, figure: fn(&Phase) -> f64) -> Vec<f64> {
        self.phases.iter().map(|phase| figure(phase)).collect()
    }
}

/// Judges an attack by the phases of both sides; counts are those of all `phases`. With
/// `is_line_full` messages in the attacker's room go to a client whose line it keeps full.
pub(crate) fn judge(
    limits: &Limits,
    is_line_full: bool,
    [quiet, attack]: [&Side<'_>; 2],
    phases: &[Phase],
) -> Vec<Check> {
    let growth = |name, limit, figure: fn(&Phase) -> f64| {
        growth(name, limit, &quiet.values(figure), &attack.values(figure))
    };
    let mut checks = vec![
        growth("other", limits.other, |phase| phase.other_us.p99),
        if is_line_full {
            let values = |side: &Side<'_>| side.values(|phase| phase.same_us.p99);
            within("same", limits.full_line, &values(quiet), &values(attack))
        } else {
            growth("same", limits.same, |phase| phase.same_us.p99)
        },
    ];
    let newcomers =
        |kind| -> u64 { phases.iter().filter(|phase| phase.kind == kind).map(|phase| phase.newcomers).sum() };
    if newcomers(PhaseKind::Attack) > 0 {
        let values = |side: &Side<'_>| side.values(|phase| phase.enter_us.p99);
        checks.push(entering(limits.enter, &values(quiet), &values(attack)));
        let entered = attack.figures.entered.median;
        let threshold = format!("newcomers>={}%", limits.entered * 100.0);
        checks.push(Check::count(threshold, format!("{:.1}%", entered * 100.0), entered >= limits.entered));
    }
    let sum = |count: fn(&Phase) -> u64| -> u64 { phases.iter().map(count).sum() };
    let missing = sum(|phase| phase.missing);
    let threshold = format!("missing={}", limits.missing);
    checks.push(Check::count(threshold, format_count(missing), missing <= limits.missing));
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
    let held = found.is_empty();
    let found = if held { "0".into() } else { found.join(", ") };
    checks.push(Check::count("faults=0".into(), found, held));
    checks
}

fn shown(micros: f64) -> String {
    format_nanos(micros * 1e3)
}

/// Compares two sides whose quiet values, `at_most` applied, bound those with the attack.
fn compare(
    threshold: String,
    difference: impl Fn(f64, f64) -> String,
    at_most: impl Fn(f64) -> f64,
    [quiet, attack]: [&[f64]; 2],
) -> Check {
    let [without, with] = [quiet, attack].map(|side| Spread::of(side.iter().copied()));
    let held = with.median <= at_most(without.median);
    let chance = p_larger(&quiet.iter().copied().map(at_most).collect::<Vec<_>>(), attack);
    let unclear = !held && chance > LEVEL;
    let why = if unclear { format!("; by chance in {:.0}%", chance * 100.0) } else { String::new() };
    let found = format!(
        "{} ({} from {}; {} to {} without{why})",
        difference(without.median, with.median),
        shown(with.median),
        shown(without.median),
        shown(without.min),
        shown(without.max)
    );
    Check { threshold, found, held, unclear, is_about_time: true }
}

fn is_silent(sides: [&[f64]; 2]) -> bool {
    sides.iter().any(|side| Spread::of(side.iter().copied()).median <= 0.0)
}

fn growth(name: &str, limit: f64, quiet: &[f64], attack: &[f64]) -> Check {
    let threshold = format!("{name}.p99<={limit}x");
    if is_silent([quiet, attack]) {
        return Check::unmeasured(threshold, "no message arrived");
    }
    let factor = |without: f64, with: f64| format!("{:.2}x", with / without);
    compare(threshold, factor, |value| value * limit, [quiet, attack])
}

fn within(name: &str, limit: Duration, quiet: &[f64], attack: &[f64]) -> Check {
    let limit_us = limit.as_secs_f64() * 1e6;
    let threshold = format!("{name}.p99<={}", shown(limit_us));
    if is_silent([quiet, attack]) {
        return Check::unmeasured(threshold, "no message arrived");
    }
    compare(threshold, |_, with| shown(with), |_| limit_us, [quiet, attack])
}

fn entering(limit: Duration, quiet: &[f64], attack: &[f64]) -> Check {
    let limit_us = limit.as_secs_f64() * 1e6;
    let threshold = format!("newcomers.p99<=+{}", format_nanos(limit_us * 1e3));
    if is_silent([quiet, attack]) {
        return Check::unmeasured(threshold, "no newcomer got in");
    }
    let more = |without: f64, with: f64| {
        let sign = if with < without { "-" } else { "+" };
        format!("{sign}{}", shown((with - without).abs()))
    };
    compare(threshold, more, |value| value + limit_us, [quiet, attack])
}

#[cfg(test)]
mod tests {
    use throng_harness_model::record::LatencyUs;

    use super::*;

    fn limits() -> Limits {
        let enter = Duration::from_millis(50);
        Limits { other: 1.1, same: 2.0, full_line: Duration::from_secs(1), enter, entered: 0.99, missing: 0 }
    }

    /// A phase with these percentiles, of whose 100 newcomers so many got in.
    fn phase(kind: PhaseKind, other: f64, same: f64, enter: f64, entered: u64) -> Phase {
        let p99 = |p99| LatencyUs { count: 100, p99, ..LatencyUs::default() };
        let (same_us, other_us, enter_us) = (p99(same), p99(other), p99(enter));
        Phase { kind, same_us, other_us, enter_us, newcomers: 100, entered, ..Phase::default() }
    }

    /// The checks of three equal attacks between four quiet phases.
    fn checks(attack: &Phase, spread: f64, is_line_full: bool) -> Vec<Check> {
        let quiet = |at: f64| {
            let by = 1.0 + (at - 1.5) * spread;
            phase(PhaseKind::Quiet, 1_000.0 * by, 1_000.0 * by, 5_000.0 * by, 100)
        };
        let quiet = [0.0, 1.0, 2.0, 3.0].map(quiet);
        let (quiet, attack): (Vec<_>, Vec<_>) = (quiet.iter().collect(), vec![attack; 3]);
        let [without, with] = [&quiet, &attack].map(|phases| Figures::of(phases));
        let side = |figures, phases| Side { figures, phases };
        let phases: Vec<Phase> = quiet.iter().chain(&attack).map(|phase| (*phase).clone()).collect();
        judge(&limits(), is_line_full, [&side(&without, &quiet), &side(&with, &attack)], &phases)
    }

    fn broken(attack: &Phase) -> Vec<String> {
        let broken = checks(attack, 1e-4, false).into_iter().filter(Check::is_broken);
        broken.map(|check| check.threshold).collect()
    }

    #[test]
    fn limits_are_compared_with_the_growth_of_medians() {
        let attack = |other, same, enter, entered| phase(PhaseKind::Attack, other, same, enter, entered);
        let fair = attack(1_100.0, 2_000.0, 55_000.0, 99);
        assert_eq!(broken(&fair), [""; 0]);
        assert_eq!(broken(&attack(1_102.0, 2_000.0, 55_000.0, 100)), ["other.p99<=1.1x"]);
        assert_eq!(broken(&attack(1_000.0, 2_002.0, 55_000.0, 100)), ["same.p99<=2x"]);
        assert_eq!(broken(&attack(1_000.0, 1_000.0, 55_100.0, 100)), ["newcomers.p99<=+50 ms"]);
        assert_eq!(broken(&attack(1_000.0, 1_000.0, 5_000.0, 98)), ["newcomers>=99%"]);
        assert_eq!(broken(&Phase { missing: 1, ..fair.clone() }), ["missing=0"]);
        assert_eq!(broken(&Phase { disconnected: 1, ..fair }), ["faults=0"]);
        // Without newcomers nothing is said about them; without messages nothing is well.
        let silent = Phase { newcomers: 0, ..attack(0.0, 1_000.0, 0.0, 0) };
        assert_eq!(broken(&silent), ["other.p99<=1.1x"]);
    }

    #[test]
    fn a_full_line_is_judged_by_what_it_holds() {
        let broken = |same: f64| {
            let attack = phase(PhaseKind::Attack, 1_000.0, same, 5_000.0, 100);
            let broken = checks(&attack, 1e-4, true).into_iter().filter(Check::is_broken);
            broken.map(|check| format!("{} {}", check.threshold, check.found)).collect::<Vec<_>>()
        };
        assert_eq!(broken(999_000.0), [""; 0]);
        let found = broken(1_100_000.0);
        assert!(found.len() == 1 && found[0].starts_with("same.p99<=1 s 1.10 s (1.10 s from"), "{found:?}");
        // Twice as fast a line, half the time.
        assert_eq!(full_line(80_000) * 2, full_line(40_000));
        assert!(full_line(0) > full_line(1) / 2);
    }

    #[test]
    fn a_difference_that_chance_explains_is_unclear() {
        // The quiet phases themselves reach from 0.4 to 1.6 ms.
        let attack = phase(PhaseKind::Attack, 1_500.0, 1_500.0, 5_000.0, 100);
        let unclear: Vec<_> = checks(&attack, 0.4, false).into_iter().filter(|check| check.unclear).collect();
        assert_eq!(unclear.len(), 1, "{unclear:?}");
        assert_eq!(unclear[0].threshold, "other.p99<=1.1x");
        assert!(unclear[0].found.ends_with("by chance in 20%)"), "{unclear:?}");
        let worse = phase(PhaseKind::Attack, 1_800.0, 1_500.0, 5_000.0, 100);
        assert!(checks(&worse, 0.4, false).iter().any(Check::is_broken));
    }
}
