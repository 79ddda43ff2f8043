//! The number of clients of a worker that may be entering at a time: fixed, or adaptive.
//!
//! An adaptive limit grows with each client that enters, and is halved when the server defers one.
//! It serves runs that measure the traffic after the entries. Runs that measure entering itself use
//! a fixed limit, because their load must not depend on the server.

/// The first limit.
const INITIAL: u32 = 16;

/// The lowest limit: deferred clients spend most of their time in a backoff.
const MIN: u32 = 4;

/// A fixed or adaptive limit.
#[derive(Debug)]
pub(super) struct EntryLimiter {
    current: u32,
    max: u32,
    /// None if the limit is fixed.
    adapting: Option<Adapting>,
}

#[derive(Debug, Default)]
struct Adapting {
    /// True once the limit has been halved: it then grows by one a round, instead of one a client.
    was_halved: bool,
    /// Clients that have entered since the limit grew.
    entered: u32,
    /// Clients that were entering at the latest halving, and whose outcome is outstanding. A
    /// deferral of one of them tells nothing new.
    superseded: u32,
}

impl EntryLimiter {
    /// A fixed limit of `max` (at least 1).
    pub(super) fn fixed(max: u32) -> Self {
        Self { current: max.max(1), max: max.max(1), adapting: None }
    }

    /// A limit of at most `max` (at least 1), halved while the server defers clients.
    pub(super) fn adaptive(max: u32) -> Self {
        let max = max.max(1);
        Self { current: INITIAL.min(max), max, adapting: Some(Adapting::default()) }
    }

    /// The number of clients that may be entering now.
    pub(super) fn limit(&self) -> usize {
        self.current as usize
    }

    /// Counts a client that has entered.
    pub(super) fn entered(&mut self) {
        let Some(adapting) = &mut self.adapting else { return };
        adapting.superseded = adapting.superseded.saturating_sub(1);
        adapting.entered += 1;
        // Doubles with each round until the first halving, and grows by one a round after it.
        let needed = if adapting.was_halved { self.current } else { 1 };
        if adapting.entered >= needed {
            adapting.entered = 0;
            self.current = (self.current + 1).min(self.max);
        }
    }

    /// The server has deferred a client, or left it waiting for too long, while `entering` clients
    /// were entering. Halves the limit, once for all of these clients.
    pub(super) fn defer(&mut self, entering: usize) {
        let Some(adapting) = &mut self.adapting else { return };
        if adapting.superseded > 0 {
            adapting.superseded -= 1;
            return;
        }
        adapting.superseded = u32::try_from(entering).unwrap_or(u32::MAX).saturating_sub(1);
        (adapting.was_halved, adapting.entered) = (true, 0);
        self.current = (self.current / 2).max(MIN.min(self.max));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn enter(limiter: &mut EntryLimiter, times: usize) {
        (0..times).for_each(|_| limiter.entered());
    }

    #[test]
    fn the_limit_doubles_until_the_first_deferral_and_then_grows_by_one() {
        let mut limiter = EntryLimiter::adaptive(256);
        assert_eq!(limiter.limit(), 16);
        enter(&mut limiter, 16);
        assert_eq!(limiter.limit(), 32);
        enter(&mut limiter, 32);
        assert_eq!(limiter.limit(), 64);
        limiter.defer(64);
        assert_eq!(limiter.limit(), 32);
        // Outcomes of the other 63 do not halve the limit again.
        (0..40).for_each(|_| limiter.defer(64));
        enter(&mut limiter, 23);
        assert_eq!(limiter.limit(), 32);
        limiter.defer(32);
        assert_eq!(limiter.limit(), 16);
        // Growth by one a round.
        enter(&mut limiter, 31);
        assert_eq!(limiter.limit(), 17);
        enter(&mut limiter, 17);
        assert_eq!(limiter.limit(), 18);
        enter(&mut limiter, 100_000);
        assert_eq!(limiter.limit(), 256);
    }

    #[test]
    fn the_limit_stays_above_its_minimum() {
        let mut limiter = EntryLimiter::adaptive(256);
        (0..1_000).for_each(|_| limiter.defer(1));
        assert_eq!(limiter.limit(), 4);
        let mut narrow = EntryLimiter::adaptive(0);
        narrow.defer(1);
        assert_eq!(narrow.limit(), 1);
    }

    #[test]
    fn a_fixed_limit_does_not_change() {
        let mut limiter = EntryLimiter::fixed(7);
        limiter.defer(7);
        enter(&mut limiter, 50);
        assert_eq!((limiter.limit(), EntryLimiter::fixed(0).limit()), (7, 1));
    }

    proptest! {
        #[test]
        fn the_limit_stays_within_its_bounds(most in 0_u32..300, steps in prop::collection::vec((any::<bool>(), 0_usize..300), 0..400)) {
            let mut limiter = EntryLimiter::adaptive(most);
            for (enters, entering) in steps {
                let before = limiter.limit();
                if enters { limiter.entered() } else { limiter.defer(entering) }
                let most = most.max(1) as usize;
                prop_assert!((4.min(most)..=most).contains(&limiter.limit()));
                prop_assert!(limiter.limit() <= before + 1 && limiter.limit() >= before / 2);
            }
        }
    }
}
