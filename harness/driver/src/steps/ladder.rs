//! Steps through given sizes: up to the first that is not good, and back to the last good one.

use std::collections::BTreeSet;

use super::{Found, Outcome, Phase, Trial};

/// Reaction to a bad step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnBad {
    /// End the climb, and confirm the last good step.
    FallBack,
    /// Make all steps, then confirm the last good one.
    GoOn,
    /// Make all steps once each, and confirm none.
    Ignore,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Climbing, at this index.
    Climbing(usize),
    /// Confirming this size.
    Confirming(u32),
    Done,
}

/// A strategy over a given list of sizes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ladder {
    sizes: Vec<u32>,
    on_bad: OnBad,
    state: State,
    /// Sizes that were good each time they were tried.
    good: BTreeSet<u32>,
    /// The smallest size that met the server's limit.
    bad: Option<u32>,
    /// Sizes at which the harness did not keep up. They say nothing about smaller or larger ones.
    unknown: BTreeSet<u32>,
    confirmed: bool,
}

impl Ladder {
    /// Returns the ladder of all `sizes`, in their order.
    pub fn new(sizes: Vec<u32>, on_bad: OnBad) -> Self {
        let state = if sizes.is_empty() { State::Done } else { State::Climbing(0) };
        Self {
            sizes,
            on_bad,
            state,
            good: BTreeSet::new(),
            bad: None,
            unknown: BTreeSet::new(),
            confirmed: false,
        }
    }

    pub(super) fn planned(&self) -> usize {
        self.sizes.len()
    }

    pub(super) fn next(&self) -> Option<Trial> {
        match self.state {
            State::Climbing(at) => Some(Trial { size: self.sizes[at], phase: Phase::Climb }),
            State::Confirming(size) => Some(Trial { size, phase: Phase::Confirm }),
            State::Done => None,
        }
    }

    pub(super) fn judged(&mut self, outcome: Outcome) {
        let Some(Trial { size, .. }) = self.next() else { return };
        let is_good = outcome == Outcome::Good;
        match outcome {
            Outcome::Good if self.bad == Some(size) => {}
            Outcome::Good => {
                self.good.insert(size);
            }
            Outcome::Bad => {
                self.good.remove(&size);
                self.bad = Some(self.bad.map_or(size, |bad| bad.min(size)));
            }
            Outcome::Unknown => {
                self.unknown.insert(size);
            }
        }
        self.state = match self.state {
            State::Climbing(at)
                if (is_good || self.on_bad != OnBad::FallBack) && at + 1 < self.sizes.len() =>
            {
                State::Climbing(at + 1)
            }
            State::Climbing(_) if self.found().bad.is_none() || self.on_bad == OnBad::Ignore => State::Done,
            State::Confirming(_) if is_good => {
                self.confirmed = true;
                State::Done
            }
            // A harness that did not keep up does not refute the size; it just stays unconfirmed.
            State::Confirming(_) if outcome == Outcome::Unknown => State::Done,
            State::Climbing(_) | State::Confirming(_) => {
                self.greatest_good().map_or(State::Done, State::Confirming)
            }
            State::Done => State::Done,
        };
    }

    pub(super) fn found(&self) -> Found {
        let good = self.greatest_good();
        let unknown = || self.unknown.iter().find(|size| good.is_none_or(|good| **size > good)).copied();
        Found { good, bad: self.bad.or_else(unknown), confirmed: self.confirmed }
    }

    /// Returns the greatest good size. Unless bad sizes are ignored, it is below all of them.
    fn greatest_good(&self) -> Option<u32> {
        match (self.bad, self.on_bad) {
            (Some(bad), OnBad::FallBack | OnBad::GoOn) => self.good.range(..bad).next_back().copied(),
            _ => self.good.last().copied(),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Walks the ladder of `sizes` with the answers of `is_good`. Returns the sizes tried,
    /// confirmations in parentheses, and the result.
    fn walk(sizes: &[u32], on_bad: OnBad, mut is_good: impl FnMut(u32) -> bool) -> (String, Found) {
        let mut ladder = Ladder::new(sizes.to_vec(), on_bad);
        let mut tried = Vec::new();
        while let Some(Trial { size, phase }) = ladder.next() {
            tried.push(if phase == Phase::Confirm { format!("({size})") } else { size.to_string() });
            ladder.judged(if is_good(size) { Outcome::Good } else { Outcome::Bad });
            assert!(tried.len() <= 2 * sizes.len(), "{tried:?}");
        }
        (tried.join(" "), ladder.found())
    }

    fn found(good: impl Into<Option<u32>>, bad: impl Into<Option<u32>>, confirmed: bool) -> Found {
        Found { good: good.into(), bad: bad.into(), confirmed }
    }

    #[test]
    fn a_limit_is_met_and_the_last_good_step_is_confirmed() {
        let walked = walk(&[10, 20, 30, 50], OnBad::FallBack, |size| size < 25);
        assert_eq!(walked, ("10 20 30 (20)".into(), found(20, 30, true)));
    }

    #[test]
    fn an_unconfirmed_size_leads_to_the_next_smaller_good_one() {
        let mut answers = [true, true, true, false, false, true].into_iter();
        let walked = walk(&[10, 20, 30, 50], OnBad::FallBack, |_| answers.next().expect("six steps"));
        assert_eq!(walked, ("10 20 30 50 (30) (20)".into(), found(20, 30, true)));
        let mut answers = [true, true, false, false, false].into_iter();
        let walked = walk(&[10, 20, 30], OnBad::FallBack, |_| answers.next().expect("five steps"));
        assert_eq!(walked, ("10 20 30 (20) (10)".into(), found(None, 10, false)));
    }

    #[test]
    fn without_a_limit_nothing_is_confirmed() {
        let walked = walk(&[10, 20], OnBad::FallBack, |_| true);
        assert_eq!(walked, ("10 20".into(), found(20, None, false)));
    }

    #[test]
    fn a_bad_first_step_leaves_no_good_size() {
        let walked = walk(&[10, 20], OnBad::FallBack, |_| false);
        assert_eq!(walked, ("10".into(), found(None, 10, false)));
        assert_eq!(walk(&[], OnBad::FallBack, |_| false), (String::new(), Found::default()));
    }

    #[test]
    fn all_steps_are_made_on_request() {
        let walked = walk(&[10, 100, 10], OnBad::GoOn, |size| size < 50);
        assert_eq!(walked, ("10 100 10 (10)".into(), found(10, 100, true)));
        let walked = walk(&[10, 100, 20], OnBad::Ignore, |size| size != 10);
        assert_eq!(walked, ("10 100 20".into(), found(100, 10, false)));
    }

    #[test]
    fn a_size_that_was_good_only_sometimes_is_not_good() {
        // The server did not recover from the spike.
        let mut answers = [true, false, false].into_iter();
        let walked = walk(&[10, 100, 10], OnBad::GoOn, |_| answers.next().expect("three steps"));
        assert_eq!(walked, ("10 100 10".into(), found(None, 10, false)));
        let mut answers = [false, true].into_iter();
        let walked = walk(&[10, 10], OnBad::GoOn, |_| answers.next().expect("two steps"));
        assert_eq!(walked.1, found(None, 10, false));
    }

    proptest! {
        #[test]
        fn the_ladder_ends_and_its_result_is_true(
            sizes in prop::collection::vec(1_u32..20, 0..12),
            answers in prop::collection::vec(any::<bool>(), 24),
            go_on in any::<bool>(),
        ) {
            let mut answers = answers.into_iter();
            let mut log = Vec::new();
            let on_bad = if go_on { OnBad::GoOn } else { OnBad::FallBack };
            let (_, found) = walk(&sizes, on_bad, |size| {
                let answer = answers.next().unwrap_or(false);
                log.push((size, answer));
                answer
            });
            prop_assert_eq!(found.bad, log.iter().filter(|(_, good)| !good).map(|(size, _)| *size).min());
            if let Some(good) = found.good {
                prop_assert!(log.iter().filter(|(size, _)| *size == good).all(|(_, good)| *good));
                prop_assert!(found.bad.is_none_or(|bad| good < bad));
                prop_assert_eq!(found.confirmed, found.bad.is_some());
            }
        }
    }
}
