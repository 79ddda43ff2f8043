//! The greatest good size between two bounds: doubled until it is bad, then bisected, then
//! confirmed.

use std::collections::BTreeSet;

use super::{Found, Outcome, Phase, Trial};

/// Most failed confirmations before the search ends.
const FAILURES_MAX: u32 = 3;

/// A strategy that searches for the greatest good size.
#[derive(Debug, Clone, PartialEq)]
pub struct Search {
    to: u32,
    /// Largest gap between a good and a bad size, as a share of the bad one.
    precision: f64,
    next: Option<Trial>,
    /// Sizes that were good, all below `bad`.
    good: BTreeSet<u32>,
    /// The smallest size that was not good, by the server's limit or the harness's.
    bad: Option<u32>,
    failures: u32,
    confirmed: bool,
}

impl Search {
    /// Returns a search from `from` (at least 1) up to `to`. It ends when the limit is known to
    /// `precision`, a share above 0 and below 1, or to 1.
    pub fn new(from: u32, to: u32, precision: f64) -> Self {
        let from = from.max(1);
        let next = Some(Trial { size: from, phase: Phase::Climb });
        let good = BTreeSet::new();
        Self { to: to.max(from), precision, next, good, bad: None, failures: 0, confirmed: false }
    }

    pub(super) fn next(&self) -> Option<Trial> {
        self.next
    }

    pub(super) fn judged(&mut self, outcome: Outcome) {
        let Some(Trial { size, phase }) = self.next else { return };
        let is_good = outcome == Outcome::Good;
        if phase == Phase::Confirm && outcome == Outcome::Unknown {
            // A harness that did not keep up does not refute the size; it just stays unconfirmed.
            self.next = None;
            return;
        }
        // Nothing can be found above a size at which the harness did not keep up, so it counts as
        // bad.
        if is_good {
            self.good.insert(size);
        } else {
            self.good.remove(&size);
            self.bad = Some(size);
        }
        self.next = match (phase, is_good) {
            (Phase::Confirm, true) => {
                self.confirmed = true;
                None
            }
            (Phase::Confirm, false) if self.failures == FAILURES_MAX => None,
            (Phase::Confirm, false) => {
                self.failures += 1;
                self.next_trial()
            }
            (Phase::Climb | Phase::Narrow | Phase::Repeat, _) => self.next_trial(),
        };
    }

    fn next_trial(&self) -> Option<Trial> {
        // The first size is bad, perhaps only by its last trial, so no limit can be found.
        let good = self.good.last().copied()?;
        let Some(bad) = self.bad else {
            return Some(if good == self.to {
                Trial { size: good, phase: Phase::Confirm }
            } else {
                Trial { size: good.saturating_mul(2).min(self.to), phase: Phase::Climb }
            });
        };
        let gap = bad - good;
        let is_near = gap <= 1 || f64::from(gap) <= self.precision * f64::from(bad);
        Some(if is_near {
            Trial { size: good, phase: Phase::Confirm }
        } else {
            Trial { size: good + gap / 2, phase: Phase::Narrow }
        })
    }

    /// Returns the number of steps from the next one to the end, if each comes out as hoped: the
    /// next doubling is bad, and the result is confirmed.
    pub(super) fn remaining(&self) -> usize {
        let Some(Trial { size, phase }) = self.next else { return 0 };
        if phase == Phase::Confirm {
            return 1;
        }
        let (mut steps, mut gap, bad) = match (self.good.last(), self.bad) {
            (Some(good), Some(bad)) => (1, bad - good, bad),
            _ => (2, size / 2, size),
        };
        while gap > 1 && f64::from(gap) > self.precision * f64::from(bad) {
            (steps, gap) = (steps + 1, gap / 2);
        }
        steps
    }

    pub(super) fn found(&self) -> Found {
        Found { good: self.good.last().copied(), bad: self.bad, confirmed: self.confirmed }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand::rngs::Xoshiro256PlusPlus;
    use rand::{RngExt, SeedableRng};

    use super::*;

    /// Most steps that a search may take.
    fn bound(from: u32, to: u32, precision: f64) -> f64 {
        let doublings = f64::from(to / from).log2().ceil() + 2.0;
        let halvings = (1.0 / precision).log2().ceil() + 2.0;
        doublings + f64::from(FAILURES_MAX + 1) * (halvings + 1.0)
    }

    /// Searches with the answers of `is_good`. Returns the steps tried and the result.
    #[track_caller]
    fn search(
        from: u32,
        to: u32,
        precision: f64,
        mut is_good: impl FnMut(u32) -> bool,
    ) -> (Vec<Trial>, Found) {
        let mut search = Search::new(from, to, precision);
        let mut tried = Vec::new();
        while let Some(trial) = search.next() {
            tried.push(trial);
            search.judged(if is_good(trial.size) { Outcome::Good } else { Outcome::Bad });
            assert!(tried.len() as f64 <= bound(from, to, precision), "{tried:?}");
        }
        (tried, search.found())
    }

    #[test]
    fn a_sharp_limit_is_found_to_the_precision() {
        let (tried, found) = search(10, 1_000, 0.05, |size| size <= 337);
        let sizes: Vec<_> = tried.iter().map(|trial| trial.size).collect();
        assert_eq!(sizes, [10, 20, 40, 80, 160, 320, 640, 480, 400, 360, 340, 330, 330]);
        assert_eq!(found, Found { good: Some(330), bad: Some(340), confirmed: true });
        // The precision ends at adjacent sizes.
        let (_, found) = search(1, 1_000_000, 0.000_001, |size| size <= 33_337);
        assert_eq!(found, Found { good: Some(33_337), bad: Some(33_338), confirmed: true });
    }

    #[test]
    fn the_remaining_steps_are_known_once_a_bad_size_is() {
        let mut search = Search::new(10, 1_000, 0.05);
        let mut remaining = Vec::new();
        while let Some(trial) = search.next() {
            remaining.push(search.remaining());
            search.judged(if trial.size <= 337 { Outcome::Good } else { Outcome::Bad });
        }
        // From 640 on, 10 20 40 80 160 320 640 | 480 400 360 340 330, and 330 again.
        assert_eq!(remaining[7..], [5, 4, 3, 3, 2, 1], "{remaining:?}");
        assert_eq!((remaining[3], remaining.len(), search.remaining()), (6, 13, 0));
    }

    #[test]
    fn without_a_limit_the_greatest_is_confirmed() {
        let (tried, found) = search(100, 1_000, 0.05, |_| true);
        let sizes: Vec<_> = tried.iter().map(|trial| trial.size).collect();
        assert_eq!(sizes, [100, 200, 400, 800, 1_000, 1_000]);
        assert_eq!(tried.last().map(|trial| trial.phase), Some(Phase::Confirm));
        assert_eq!(found, Found { good: Some(1_000), bad: None, confirmed: true });
        assert_eq!(search(7, 7, 0.05, |_| true).1.good, Some(7));
    }

    #[test]
    fn a_bad_first_step_ends_the_search() {
        let (tried, found) = search(100, 1_000, 0.05, |_| false);
        assert_eq!(tried.len(), 1);
        assert_eq!(found, Found { good: None, bad: Some(100), confirmed: false });
    }

    #[test]
    fn the_search_ends_without_confirmation() {
        let mut seen = BTreeSet::new();
        // Each size is good once and never again.
        let (_, found) = search(10, 10_000, 0.05, |size| size < 3_000 && seen.insert(size));
        assert!(!found.confirmed && found.good < found.bad, "{found:?}");
    }

    #[test]
    fn a_noisy_limit_is_found_approximately() {
        const SEEDS: u64 = 200;
        let mut confirmed = 0;
        for seed in 0..SEEDS {
            let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
            // Always good below 450 and never above 550; in between the odds fall.
            let (_, found) =
                search(10, 10_000, 0.05, |size| f64::from(size) < rng.random_range(450.0..550.0));
            let good = found.good.expect("small ones are always good");
            assert!((200..550).contains(&good), "seed {seed}: {found:?}");
            assert!(found.bad.is_some_and(|bad| bad >= 450), "seed {seed}: {found:?}");
            confirmed += u64::from(found.confirmed);
        }
        assert!(confirmed >= SEEDS * 95 / 100, "{confirmed} of {SEEDS} confirmed");
    }

    proptest! {
        #[test]
        fn a_sharp_limit_is_always_found(from in 1_u32..100, more in 0_u32..100_000, limit in 0_u32..200_000, percent in 1_u32..50) {
            let (to, precision) = (from + more, f64::from(percent) / 100.0);
            let (tried, found) = search(from, to, precision, |size| size <= limit);
            prop_assert!(tried.iter().all(|trial| (from..=to).contains(&trial.size)));
            match found.good {
                None => prop_assert!(limit < from),
                Some(good) => {
                    prop_assert!(good <= limit && found.confirmed);
                    let near = |bad: u32| bad > limit && (bad - good == 1 || f64::from(bad - good) <= precision * f64::from(bad));
                    prop_assert!(found.bad.map_or(good == to, near), "{:?}", found);
                }
            }
        }

        #[test]
        fn the_search_ends_for_any_answers(answers in prop::collection::vec(any::<bool>(), 0..200), to in 1_u32..1_000_000) {
            let mut answers = answers.into_iter();
            let (_, found) = search(1, to, 0.05, |_| answers.next().unwrap_or(true));
            prop_assert!(found.good.is_none() || found.bad.is_none_or(|bad| found.good < Some(bad)));
        }
    }
}
