//! A step that the harness was not up to is made again before it is judged: a machine that was busy with something else for
//! a moment says nothing of the server, and should not end a ramp.

use super::{Found, Outcome, Phase, Strategy, Trial};

/// How often a step is made again at most.
const REPEATS_MAX: u32 = 2;

/// A course whose steps are made again, up to `REPEATS_MAX` times each, while the harness is not up to them. So it has at
/// most three times as many steps.
#[derive(Debug, Clone, PartialEq)]
pub struct Retries {
    strategy: Strategy,
    /// How often the next step has been made already.
    repeats: u32,
    /// Repetitions of all steps.
    repeated: usize,
}

impl Retries {
    /// The steps of `course`.
    pub fn new(strategy: Strategy) -> Self {
        Self { strategy, repeats: 0, repeated: 0 }
    }

    /// The next step; none when it is over.
    pub fn next(&self) -> Option<Trial> {
        let trial = self.strategy.next()?;
        Some(if self.repeats > 0 { Trial { phase: Phase::Repeat, ..trial } } else { trial })
    }

    /// How [`next`](Self::next) went. True if it is to be made again.
    pub fn judged(&mut self, outcome: Outcome) -> bool {
        if outcome == Outcome::Unknown && self.repeats < REPEATS_MAX {
            self.repeats += 1;
            self.repeated += 1;
            return true;
        }
        self.repeats = 0;
        self.strategy.judged(outcome);
        false
    }

    /// What is known so far.
    pub fn found(&self) -> Found {
        self.strategy.found()
    }

    /// How many steps there are, with the repetitions until now, if that is known before.
    pub fn planned(&self) -> Option<usize> {
        self.strategy.planned().map(|planned| planned + self.repeated)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{Just, any, prop, prop_assert, prop_assert_eq, prop_oneof, proptest};
    use rand::rngs::Xoshiro256PlusPlus;
    use rand::{RngExt, SeedableRng};

    use super::*;
    use crate::steps::{Ladder, OnBad, Search};

    /// Goes through `course` with a model: the sizes that were tried, a repetition with an asterisk and a confirmation in
    /// parentheses, and what was found.
    fn walk(strategy: Strategy, mut model: impl FnMut(u32) -> Outcome) -> (Vec<String>, Found) {
        let mut tries = Retries::new(strategy);
        let mut tried = Vec::new();
        while let Some(Trial { size, phase }) = tries.next() {
            tried.push(match phase {
                Phase::Repeat => format!("{size}*"),
                Phase::Confirm => format!("({size})"),
                Phase::Climb | Phase::Narrow => size.to_string(),
            });
            tries.judged(model(size));
            assert!(tried.len() <= 1_000, "{tried:?}");
        }
        (tried, tries.found())
    }

    fn ladder(sizes: &[u32], on_bad: OnBad) -> Strategy {
        Strategy::Ladder(Ladder::new(sizes.to_vec(), on_bad))
    }

    /// A server that is good up to `limit`.
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
    fn a_harness_that_is_late_from_a_size_on_ends_it_there() {
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
    fn what_the_harness_was_not_up_to_says_nothing_of_larger_sizes() {
        let at_20 = |size| if size == 20 { Outcome::Unknown } else { server(30)(size) };
        let (tried, found) = walk(ladder(&[10, 20, 30], OnBad::GoOn), at_20);
        assert_eq!(tried, ["10", "20", "20*", "20*", "30"]);
        assert_eq!(found, Found { good: Some(30), bad: None, confirmed: false });
        let (_, found) = walk(ladder(&[10, 20, 30, 40], OnBad::GoOn), at_20);
        assert_eq!(found, Found { good: Some(30), bad: Some(40), confirmed: true });
    }

    #[test]
    fn what_could_not_be_confirmed_is_still_good() {
        for strategy in [ladder(&[1, 2, 4], OnBad::FallBack), Strategy::Search(Search::new(1, 4, 0.05))] {
            let mut confirms = false;
            let (tried, found) = walk(strategy, |size| {
                // The harness is late at everything after the server's limit was met.
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
        // One in a thousand steps is late three times, and a ramp has some fifteen.
        assert!(
            ladders >= SEEDS * 95 / 100 && searches >= SEEDS * 95 / 100,
            "{ladders} {searches} of {SEEDS}"
        );
    }

    proptest! {
        #[test]
        fn it_ends_and_the_harness_takes_nothing_away(
            sizes in prop::collection::vec(1_u32..20, 1..12),
            seed in any::<u64>(),
            on_bad in prop_oneof![Just(OnBad::FallBack), Just(OnBad::GoOn), Just(OnBad::Ignore)],
        ) {
            let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
            let mut log = Vec::new();
            let mut model = |size| {
                let outcomes = [Outcome::Good, Outcome::Unknown, Outcome::Bad];
                let outcome = outcomes[rng.random_range(0..3)];
                log.push((size, outcome));
                outcome
            };
            let (tried, found) = walk(ladder(&sizes, on_bad), &mut model);
            prop_assert!(tried.len() <= 6 * sizes.len(), "{:?}", tried);
            let least_bad = log.iter().filter(|(_, outcome)| *outcome == Outcome::Bad).map(|(size, _)| *size).min();
            // Below what the server was not up to, the greatest that was good and never bad is what is found.
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
            prop_assert!(tried.len() <= 3 * 60, "{:?}", tried);
            prop_assert!(found.bad.is_none_or(|bad| found.good.is_none_or(|good| good < bad)));
        }
    }
}
