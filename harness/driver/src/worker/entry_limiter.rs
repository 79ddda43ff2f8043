//! How many clients of a worker may be on their way in at a time: always as many, or as many as the server bears.
//!
//! The second is what connecting in batches is for: more with each that gets in, half as many when the server puts one off. It is
//! for runs that measure what comes after the entering. Where the way in is itself what is measured the load has to
//! be what was asked for, and not what the server makes of it.

/// Clients on their way at first.
const FIRST: u32 = 16;

/// Clients on their way at least: those who are put off rest for most of that time.
const LEAST: u32 = 4;

/// A limit that may adapt.
#[derive(Debug)]
pub(super) struct EntryLimiter {
    now: u32,
    most: u32,
    /// None if the limit stays.
    adapting: Option<Adapting>,
}

#[derive(Debug, Default)]
struct Adapting {
    /// Whether somebody has been put off: before that the limit grows with each that gets in.
    is_cautious: bool,
    /// Those who got in since the limit grew.
    entered: u32,
    /// Those who were on their way when the server was found to have too many, and have not been heard of since.
    known: u32,
}

impl EntryLimiter {
    /// Always `most` (at least 1).
    pub(super) fn fixed(most: u32) -> Self {
        Self { now: most.max(1), most: most.max(1), adapting: None }
    }

    /// At most `most` (at least 1), and fewer while the server puts clients off.
    pub(super) fn adaptive(most: u32) -> Self {
        let most = most.max(1);
        Self { now: FIRST.min(most), most, adapting: Some(Adapting::default()) }
    }

    /// How many may be on their way now.
    pub(super) fn limit(&self) -> usize {
        self.now as usize
    }

    /// A client has got in.
    pub(super) fn entered(&mut self) {
        let Some(adapting) = &mut self.adapting else { return };
        adapting.known = adapting.known.saturating_sub(1);
        adapting.entered += 1;
        // Twice as many with each round at first, later one more.
        let needed = if adapting.is_cautious { self.now } else { 1 };
        if adapting.entered >= needed {
            adapting.entered = 0;
            self.now = (self.now + 1).min(self.most);
        }
    }

    /// The server has put a client off, or has left it waiting for too long, while `on_the_way` were. Half as many from now on; what the
    /// others of them find out is no news.
    pub(super) fn put_off(&mut self, on_the_way: usize) {
        let Some(adapting) = &mut self.adapting else { return };
        if adapting.known > 0 {
            adapting.known -= 1;
            return;
        }
        adapting.known = u32::try_from(on_the_way).unwrap_or(u32::MAX).saturating_sub(1);
        (adapting.is_cautious, adapting.entered) = (true, 0);
        self.now = (self.now / 2).max(LEAST.min(self.most));
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
    fn it_doubles_until_somebody_is_put_off() {
        let mut limiter = EntryLimiter::adaptive(256);
        assert_eq!(limiter.limit(), 16);
        enter(&mut limiter, 16);
        assert_eq!(limiter.limit(), 32);
        enter(&mut limiter, 32);
        assert_eq!(limiter.limit(), 64);
        limiter.put_off(64);
        assert_eq!(limiter.limit(), 32);
        // The others of the 64 say nothing new, whatever becomes of them.
        (0..40).for_each(|_| limiter.put_off(64));
        enter(&mut limiter, 23);
        assert_eq!(limiter.limit(), 32);
        limiter.put_off(32);
        assert_eq!(limiter.limit(), 16);
        // One more for each round.
        enter(&mut limiter, 31);
        assert_eq!(limiter.limit(), 17);
        enter(&mut limiter, 17);
        assert_eq!(limiter.limit(), 18);
        enter(&mut limiter, 100_000);
        assert_eq!(limiter.limit(), 256);
    }

    #[test]
    fn it_never_closes() {
        let mut limiter = EntryLimiter::adaptive(256);
        (0..1_000).for_each(|_| limiter.put_off(1));
        assert_eq!(limiter.limit(), 4);
        let mut narrow = EntryLimiter::adaptive(0);
        narrow.put_off(1);
        assert_eq!(narrow.limit(), 1);
    }

    #[test]
    fn one_that_is_fixed_stays() {
        let mut limiter = EntryLimiter::fixed(7);
        limiter.put_off(7);
        enter(&mut limiter, 50);
        assert_eq!((limiter.limit(), EntryLimiter::fixed(0).limit()), (7, 1));
    }

    proptest! {
        #[test]
        fn it_stays_within_its_bounds(most in 0_u32..300, steps in prop::collection::vec((any::<bool>(), 0_usize..300), 0..400)) {
            let mut limiter = EntryLimiter::adaptive(most);
            for (enters, on_the_way) in steps {
                let before = limiter.limit();
                if enters { limiter.entered() } else { limiter.put_off(on_the_way) }
                let most = most.max(1) as usize;
                prop_assert!((4.min(most)..=most).contains(&limiter.limit()));
                prop_assert!(limiter.limit() <= before + 1 && limiter.limit() >= before / 2);
            }
        }
    }
}
