//! Repeats a step that was not good, before it bounds anything. One noisy moment must not end a
//! ramp, and a machine that was busy for a moment says nothing about the server.

use throng_harness_model::text::format_count;

use super::{Found, Outcome, Phase, Strategy, Trial};

/// Most repetitions of a step in which the harness or the machine was not good enough.
const UNKNOWN_MAX: u32 = 2;

/// Outcomes of the same kind that decide about a size once it was bad.
const MAJORITY: u32 = 2;

/// A strategy whose steps are repeated: a bad one until two of three agree, and one that says
/// nothing at most twice. That makes at most five times as many steps.
#[derive(Debug, Clone, PartialEq)]
pub struct Retries {
    strategy: Strategy,
    /// Outcomes of the next step so far.
    tries: Tries,
    /// Repetitions of all steps.
    total_repeats: usize,
}

/// Outcomes of the same step.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Tries {
    good: u32,
    bad: u32,
    unknown: u32,
}

impl Tries {
    /// Takes another outcome; returns the one that the tries agree on.
    fn decide(&mut self, outcome: Outcome) -> Option<Outcome> {
        let (count, enough) = match outcome {
            Outcome::Good if self.bad == 0 => return Some(Outcome::Good),
            Outcome::Good => (&mut self.good, MAJORITY),
            Outcome::Bad => (&mut self.bad, MAJORITY),
            Outcome::Unknown => (&mut self.unknown, UNKNOWN_MAX + 1),
        };
        *count += 1;
        (*count == enough).then_some(outcome)
    }
}

impl Retries {
    /// Wraps `strategy`.
    pub fn new(strategy: Strategy) -> Self {
        Self { strategy, tries: Tries::default(), total_repeats: 0 }
    }

    /// Returns the next step, or `None` at the end.
    pub fn next(&self) -> Option<Trial> {
        let trial = self.strategy.next()?;
        let is_first = self.tries == Tries::default();
        Some(if is_first { trial } else { Trial { phase: Phase::Repeat, ..trial } })
    }

    /// Takes the outcome of the step from [`next`](Self::next). Returns true if the step is to be
    /// repeated.
    pub fn judged(&mut self, outcome: Outcome) -> bool {
        let Some(decided) = self.tries.decide(outcome) else {
            self.total_repeats += 1;
            return true;
        };
        self.tries = Tries::default();
        self.strategy.judged(decided);
        false
    }

    /// Returns the result so far.
    pub fn found(&self) -> Found {
        self.strategy.found()
    }

    /// Formats how far a search is: the number of steps that it still needs, and the sizes between
    /// which it looks. `number` is that of the next step. Empty for a given list of steps.
    pub fn progress(&self, number: usize) -> String {
        let Some(remaining) = self.strategy.remaining() else { return String::new() };
        let about = format!(" of about {}", number + remaining.saturating_sub(1));
        match (self.strategy.found().good, self.strategy.found().bad) {
            (Some(good), Some(bad)) => {
                format!("{about}, between {} and {}", format_count(good.into()), format_count(bad.into()))
            }
            _ => about,
        }
    }

    /// Returns the number of steps including the repetitions so far, if it is known in advance.
    pub fn planned(&self) -> Option<usize> {
        self.strategy.planned().map(|planned| planned + self.total_repeats)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{Just, any, prop, prop_assert, prop_assert_eq, prop_oneof, proptest};
    use rand::rngs::Xoshiro256PlusPlus;
    use rand::{RngExt, SeedableRng};

    use super::*;
    use crate::steps::{Ladder, OnBad, Search};

    /// Runs `strategy` with the outcomes of `model`. Returns the sizes tried, repetitions with an
    /// asterisk and confirmations in parentheses, and the result.
    fn walk(strategy: Strategy, mut model: impl FnMut(u32) -> Outcome) -> (Vec<String>, Found) {
        walk_phases(strategy, |size, _| model(size))
    }

    /// As [`walk`], with a model that also knows the purpose of each try.
    fn walk_phases(strategy: Strategy, mut model: impl FnMut(u32, Phase) -> Outcome) -> (Vec<String>, Found) {
        let mut retries = Retries::new(strategy);
        let mut tried = Vec::new();
        while let Some(Trial { size, phase }) = retries.next() {
            tried.push(match phase {
                Phase::Repeat => format!("{size}*"),
                Phase::Confirm => format!("({size})"),
                Phase::Climb | Phase::Narrow => size.to_string(),
            });
            retries.judged(model(size, phase));
            assert!(tried.len() <= 1_000, "{tried:?}");
        }
        (tried, retries.found())
    }

    fn ladder(sizes: &[u32], on_bad: OnBad) -> Strategy {
        Strategy::Ladder(Ladder::new(sizes.to_vec(), on_bad))
    }

    /// A server that handles sizes up to `limit`.
    fn server(limit: u32) -> impl Fn(u32) -> Outcome {
        move |size| if size <= limit { Outcome::Good } else { Outcome::Bad }
    }

    #[test]
    fn a_harness_that_was_late_once_does_not_end_a_ramp() {
        let mut answers =
            [Outcome::Unknown, Outcome::Good, Outcome::Unknown, Outcome::Unknown, Outcome::Good];
        answers.reverse();
        let mut answers = answers.to_vec();
        let strategy = ladder(&[5, 10], OnBad::FallBack);
        let (tried, found) = walk(strategy, |_| answers.pop().expect("five steps"));
        assert_eq!(tried, ["5", "5*", "10", "10*", "10*"]);
        assert_eq!(found, Found { good: Some(10), bad: None, confirmed: false });
    }

    #[test]
    fn one_noisy_step_does_not_end_a_search() {
        // At 12 % of its CPU time, the server missed the goal once.
        let mut is_noisy = true;
        let (tried, found) = walk(Strategy::Search(Search::new(100, 800, 0.05)), |size| {
            if size == 400 && std::mem::take(&mut is_noisy) { Outcome::Bad } else { server(600)(size) }
        });
        assert_eq!(tried[..6], ["100", "200", "400", "400*", "400*", "800"]);
        assert_eq!(found, Found { good: Some(600), bad: Some(625), confirmed: true });
    }

    #[test]
    fn two_of_three_tries_decide() {
        use Outcome::{Bad, Good, Unknown};
        let decide = |outcomes: &[Outcome]| {
            let mut tries = Tries::default();
            outcomes.iter().map(|outcome| tries.decide(*outcome)).collect::<Vec<_>>()
        };
        assert_eq!(decide(&[Good]), [Some(Good)]);
        assert_eq!(decide(&[Unknown, Good]), [None, Some(Good)]);
        assert_eq!(decide(&[Bad, Bad]), [None, Some(Bad)]);
        assert_eq!(decide(&[Bad, Good, Good]), [None, None, Some(Good)]);
        assert_eq!(decide(&[Bad, Good, Bad]), [None, None, Some(Bad)]);
        assert_eq!(decide(&[Unknown, Bad, Unknown, Good, Bad]), [None, None, None, None, Some(Bad)]);
        assert_eq!(decide(&[Unknown, Bad, Unknown, Unknown]), [None, None, None, Some(Unknown)]);
    }

    #[test]
    fn a_harness_that_is_late_from_a_size_on_ends_the_ramp() {
        let late = |size| if size >= 30 { Outcome::Unknown } else { Outcome::Good };
        let (tried, found) = walk(ladder(&[10, 20, 30, 40], OnBad::FallBack), late);
        assert_eq!(tried, ["10", "20", "30", "30*", "30*", "(20)"]);
        assert_eq!(found, Found { good: Some(20), bad: Some(30), confirmed: true });
        let (tried, found) = walk(Strategy::Search(Search::new(4, 64, 0.05)), late);
        assert_eq!(tried[..6], ["4", "8", "16", "32", "32*", "32*"]);
        assert_eq!(found, Found { good: Some(29), bad: Some(30), confirmed: true });
        // From the first size on.
        let (tried, found) = walk(ladder(&[30, 40], OnBad::FallBack), late);
        assert_eq!((tried.len(), found), (3, Found { good: None, bad: Some(30), confirmed: false }));
    }

    #[test]
    fn a_size_beyond_the_harness_says_nothing_about_larger_ones() {
        let at_20 = |size| if size == 20 { Outcome::Unknown } else { server(30)(size) };
        let (tried, found) = walk(ladder(&[10, 20, 30], OnBad::GoOn), at_20);
        assert_eq!(tried, ["10", "20", "20*", "20*", "30"]);
        assert_eq!(found, Found { good: Some(30), bad: None, confirmed: false });
        let (_, found) = walk(ladder(&[10, 20, 30, 40], OnBad::GoOn), at_20);
        assert_eq!(found, Found { good: Some(30), bad: Some(40), confirmed: true });
    }

    #[test]
    fn an_unconfirmed_size_is_still_good() {
        for strategy in [ladder(&[1, 2, 4], OnBad::FallBack), Strategy::Search(Search::new(1, 4, 0.05))] {
            let mut confirms = false;
            let (tried, found) = walk(strategy, |size| {
                // The harness is late at every step after the server's limit was met.
                let outcome = if confirms { Outcome::Unknown } else { server(2)(size) };
                confirms |= size > 2 && outcome == Outcome::Bad;
                outcome
            });
            assert_eq!((found.good, found.confirmed), (Some(2), false), "{tried:?}");
        }
    }

    #[test]
    fn a_harness_that_is_late_at_random_seldom_matters() {
        const SEEDS: u64 = 300;
        let sizes: Vec<_> = (1..=20).map(|step| step * 5).collect();
        let (mut ladders, mut searches) = (0, 0);
        for seed in 0..SEEDS {
            let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
            let mut model = |size| if rng.random_bool(0.1) { Outcome::Unknown } else { server(62)(size) };
            let (tried, found) = walk(ladder(&sizes, OnBad::FallBack), &mut model);
            assert!(found.good.is_none_or(|good| good <= 60), "seed {seed}: {tried:?}");
            ladders += u64::from(found == Found { good: Some(60), bad: Some(65), confirmed: true });
            let (tried, found) = walk(Strategy::Search(Search::new(5, 1_000, 0.05)), &mut model);
            assert!(found.good.is_none_or(|good| good <= 62), "seed {seed}: {tried:?}");
            searches += u64::from(found.good.is_some_and(|good| good >= 59) && found.confirmed);
        }
        // A step is late three times with odds of 1 in 1,000, and a ramp has about fifteen steps.
        assert!(
            ladders >= SEEDS * 95 / 100 && searches >= SEEDS * 95 / 100,
            "{ladders} {searches} of {SEEDS}"
        );
    }

    proptest! {
        #[test]
        fn the_steps_end_and_a_late_harness_loses_no_result(
            sizes in prop::collection::vec(1_u32..20, 1..12),
            seed in any::<u64>(),
            on_bad in prop_oneof![Just(OnBad::FallBack), Just(OnBad::GoOn), Just(OnBad::Ignore)],
        ) {
            let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
            // The last try of each step, which decided.
            let mut log = Vec::new();
            let mut model = |size, phase| {
                let outcomes = [Outcome::Good, Outcome::Unknown, Outcome::Bad];
                let outcome = outcomes[rng.random_range(0..3)];
                if phase == Phase::Repeat {
                    log.pop();
                }
                log.push((size, outcome));
                outcome
            };
            let (tried, found) = walk_phases(ladder(&sizes, on_bad), &mut model);
            prop_assert!(tried.len() <= 10 * sizes.len(), "{:?}", tried);
            let least_bad = log.iter().filter(|(_, outcome)| *outcome == Outcome::Bad).map(|(size, _)| *size).min();
            // The result is the greatest size below the server's limit that was good and never bad.
            if on_bad != OnBad::Ignore {
                let good = log.iter().filter(|(size, outcome)| *outcome == Outcome::Good && least_bad.is_none_or(|bad| *size < bad));
                prop_assert_eq!(found.good, good.map(|(size, _)| *size).max());
            }
            if least_bad.is_some() {
                prop_assert_eq!(found.bad, least_bad);
            } else if let (Some(good), Some(bad)) = (found.good, found.bad) {
                prop_assert!(good < bad);
            }
            let mut model = |_| [Outcome::Good, Outcome::Unknown, Outcome::Bad][rng.random_range(0..3)];
            let (tried, found) = walk(Strategy::Search(Search::new(1, 100_000, 0.05)), &mut model);
            prop_assert!(tried.len() <= 5 * 60, "{:?}", tried);
            prop_assert!(found.bad.is_none_or(|bad| found.good.is_none_or(|good| good < bad)));
        }
    }
}
