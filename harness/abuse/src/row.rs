//! One attack: its phases, and the medians that are compared.

use std::collections::BTreeMap;

use serde::Serialize;
use throng_harness_report::Verdict;

use crate::attack::Attack;
use crate::judge::{Check, Limits, Side, judge};
use crate::phase::{Figures, Phase, PhaseKind, Spread, Traffic};

/// One attack with its results.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Row {
    /// The attack's name.
    pub attack: &'static str,
    /// The attack in a few words.
    pub description: &'static str,
    /// Medians of the quiet phases.
    pub quiet: Figures,
    /// Medians of the phases with the attack.
    pub attacked: Figures,
    /// Medians of the attacker's traffic, with the sums of its connections and of what it was told.
    pub attacker: Traffic,
    /// Pairs missing without a word, in all phases.
    pub missing: u64,
    /// Pairs announced as missed, in all phases.
    pub told: u64,
    /// The thresholds and what was found.
    pub thresholds: Vec<Check>,
    /// True if the latencies are evidence about the server: at least half of the phases of each
    /// kind are valid, and only those count.
    pub valid: bool,
    /// The reasons of phases that are not valid.
    pub invalid_because: Vec<String>,
    /// The reason why the attack could not be measured to its end; null if it was.
    pub failed: Option<String>,
    /// The phases in order.
    pub phases: Vec<Phase>,
}

impl Row {
    /// Compares `phases`; `failed` names the cause if there should have been more.
    pub(crate) fn new(attack: Attack, limits: &Limits, phases: Vec<Phase>, failed: Option<String>) -> Self {
        let of = |kind| phases.iter().filter(move |phase: &&Phase| phase.kind == kind).collect::<Vec<_>>();
        let all_attacked = of(PhaseKind::Attack);
        let attacker = traffic_of(&all_attacked);
        let (quiet_phases, is_enough) = counting(of(PhaseKind::Quiet));
        let (attacked_phases, is_enough_attacked) = counting(all_attacked);
        let valid = is_enough && is_enough_attacked;
        let (quiet, attacked) = (Figures::of(&quiet_phases), Figures::of(&attacked_phases));
        let thresholds = judge(
            limits,
            attack.has_slow_victim(),
            [
                &Side { figures: &quiet, phases: &quiet_phases },
                &Side { figures: &attacked, phases: &attacked_phases },
            ],
            &phases,
        );
        let mut invalid_because: Vec<String> = Vec::new();
        for reason in phases.iter().flat_map(|phase| &phase.invalid_because) {
            if !invalid_because.contains(reason) {
                invalid_because.push(reason.clone());
            }
        }
        Self {
            attack: attack.name(),
            description: attack.description(),
            quiet,
            attacked,
            attacker,
            missing: phases.iter().map(|phase| phase.missing).sum(),
            told: phases.iter().map(|phase| phase.told).sum(),
            thresholds,
            valid,
            invalid_because,
            failed,
            phases,
        }
    }

    /// True if no threshold was broken, and the attack was measured to its end.
    pub fn held(&self) -> bool {
        self.failed.is_none() && !self.thresholds.iter().any(Check::is_broken)
    }

    /// The number of thresholds that did not hold, perhaps by chance.
    pub fn unclear(&self) -> usize {
        self.thresholds.iter().filter(|check| check.unclear).count()
    }

    /// The verdict on the attack. Times that broke a threshold say nothing of the server unless
    /// they are valid, nor do times that chance explains. Those that held need be valid only if
    /// `require_valid`.
    pub fn verdict(&self, require_valid: bool) -> Verdict {
        let counts_held = self.thresholds.iter().all(|check| check.held || check.is_about_time);
        match (self.failed.is_none() && counts_held, self.held(), self.valid) {
            (false, ..) | (true, false, true) => Verdict::Fail,
            (true, false, false) => Verdict::Invalid,
            (true, true, valid) if self.unclear() > 0 || (require_valid && !valid) => Verdict::Invalid,
            (true, true, _) => Verdict::Pass,
        }
    }
}

/// Returns the valid phases of `all` and true; or all and false if fewer than half are valid.
fn counting(all: Vec<&Phase>) -> (Vec<&Phase>, bool) {
    let sound: Vec<&Phase> = all.iter().filter(|phase| phase.valid).copied().collect();
    let is_enough = 2 * sound.len() >= all.len() && !sound.is_empty();
    (if is_enough { sound } else { all }, is_enough)
}

fn traffic_of(phases: &[&Phase]) -> Traffic {
    let all: Vec<&Traffic> = phases.iter().filter_map(|phase| phase.attacker.as_ref()).collect();
    let median = |figure: fn(&Traffic) -> f64| Spread::of(all.iter().map(|one| figure(one))).median;
    let mut told = BTreeMap::new();
    for (what, count) in all.iter().flat_map(|one| &one.told) {
        *told.entry(what.clone()).or_default() += count;
    }
    Traffic {
        sent_bytes_per_s: median(|one| one.sent_bytes_per_s),
        received_bytes_per_s: median(|one| one.received_bytes_per_s),
        packets_per_s: median(|one| one.packets_per_s),
        connections: all.iter().map(|one| one.connections).sum(),
        sessions: all.iter().map(|one| one.sessions).sum(),
        told,
    }
}

#[cfg(test)]
mod tests {
    use throng_harness_model::record::LatencyUs;

    use super::*;

    fn phase(kind: PhaseKind, p99: f64, valid: bool) -> Phase {
        let latency = LatencyUs { count: 100, p99, ..LatencyUs::default() };
        let invalid_because = if valid { vec![] } else { vec!["late".to_owned()] };
        Phase { kind, same_us: latency, other_us: latency, valid, invalid_because, ..Phase::default() }
    }

    #[test]
    fn phases_that_are_not_valid_do_not_count_if_enough_are() {
        use PhaseKind::{Attack as A, Quiet as Q};
        let row = |phases: &[(PhaseKind, f64, bool)]| {
            let phases = phases.iter().map(|(kind, p99, valid)| phase(*kind, *p99, *valid)).collect();
            Row::new(Attack::World, &Limits::default(), phases, None)
        };
        let fair = row(&[(Q, 100.0, true), (A, 105.0, true), (Q, 900.0, false), (A, 900.0, false)]);
        assert!(fair.valid && fair.held(), "{fair:?}");
        assert_eq!((fair.quiet.other_p99_us.median, fair.attacked.other_p99_us.median), (100.0, 105.0));
        assert_eq!(fair.invalid_because, ["late"]);
        let late = row(&[(Q, 100.0, true), (A, 900.0, false), (A, 900.0, false), (A, 100.0, true)]);
        assert!(!late.valid && late.unclear() == 2, "{late:?}");
        assert_eq!(late.attacked.other_p99_us, Spread::of([900.0, 900.0, 100.0]));
        assert!(!Row::new(Attack::World, &Limits::default(), vec![], Some("why".into())).valid);
    }

    #[test]
    fn times_that_are_not_valid_break_nothing() {
        use PhaseKind::{Attack as A, Quiet as Q};
        let row = |attacked: f64, valid: bool, missing: u64| {
            let attack = Phase { missing, ..phase(A, attacked, valid) };
            let phases = [vec![phase(Q, 100.0, valid); 4], vec![attack; 3]].concat();
            Row::new(Attack::World, &Limits::default(), phases, None)
        };
        let check = |row: &Row, verdict: Verdict, required: Verdict| {
            assert_eq!([false, true].map(|required| row.verdict(required)), [verdict, required], "{row:?}");
        };
        check(&row(105.0, true, 0), Verdict::Pass, Verdict::Pass);
        check(&row(900.0, true, 0), Verdict::Fail, Verdict::Fail);
        check(&row(105.0, false, 0), Verdict::Pass, Verdict::Invalid);
        check(&row(900.0, false, 0), Verdict::Invalid, Verdict::Invalid);
        check(&row(900.0, false, 1), Verdict::Fail, Verdict::Fail);
        let few = vec![phase(Q, 100.0, true), phase(A, 900.0, true)];
        let few = Row::new(Attack::World, &Limits::default(), few, None);
        check(&few, Verdict::Invalid, Verdict::Invalid);
        let gone =
            Row::new(Attack::World, &Limits::default(), vec![phase(Q, 100.0, false)], Some("why".into()));
        check(&gone, Verdict::Fail, Verdict::Fail);
    }
}
