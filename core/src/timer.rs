//! A hashed timer wheel (Varghese and Lauck, 1987, scheme 6) for the many coarse
//! deadlines of sessions. It knows no clock: `now` comes in, what is due comes out.

use std::time::{Duration, Instant};

/// Slots of a wheel; a power of two.
const SLOTS: usize = 1024;

/// Entries that an empty slot keeps room for.
const SLOT_KEPT: usize = 8;

/// Deadlines, each with a value of type `T`, rounded up to `resolution`.
///
/// Arming is O(1), a turn costs the slots that time has passed over and the entries in
/// them. There is no cancel: an owner that no longer cares ignores what
/// comes out, as it must for stale ids anyway, and one that wants to be called later arms again.
#[derive(Debug)]
pub struct Wheel<T> {
    slots: Vec<Vec<Entry<T>>>,
    start: Instant,
    resolution: Duration,
    /// The first tick that has not been handed out.
    next: u64,
    armed: usize,
}

#[derive(Debug)]
struct Entry<T> {
    tick: u64,
    value: T,
}

impl<T> Wheel<T> {
    /// A wheel that starts to turn at `now`. A resolution below a millisecond is taken as one.
    pub fn new(now: Instant, resolution: Duration) -> Self {
        Self {
            slots: (0..SLOTS).map(|_| Vec::new()).collect(),
            start: now,
            resolution: resolution.max(Duration::from_millis(1)),
            next: 0,
            armed: 0,
        }
    }

    /// How many deadlines are armed.
    pub fn len(&self) -> usize {
        self.armed
    }

    /// Whether no deadline is armed.
    pub fn is_empty(&self) -> bool {
        self.armed == 0
    }

    /// `value` comes out of the first [`Self::expire`] at or after `deadline`,
    /// never before it and at most one resolution late.
    pub fn arm(&mut self, deadline: Instant, value: T) {
        let since_start = deadline.saturating_duration_since(self.start).as_nanos();
        let tick = since_start.div_ceil(self.resolution.as_nanos());
        let tick = u64::try_from(tick).unwrap_or(u64::MAX).max(self.next);
        self.slots[slot(tick)].push(Entry { tick, value });
        self.armed += 1;
    }

    /// Moves everything that is due at `now` to the end of `due`.
    pub fn expire(&mut self, now: Instant, due: &mut Vec<T>) {
        let elapsed = now.saturating_duration_since(self.start).as_nanos();
        let current = u64::try_from(elapsed / self.resolution.as_nanos()).unwrap_or(u64::MAX);
        if current < self.next {
            return;
        }
        // After a whole round every slot has been seen once, and once is enough.
        let turns = (current - self.next + 1).min(SLOTS as u64);
        for tick in self.next..self.next + turns {
            let entries = &mut self.slots[slot(tick)];
            let mut at = 0;
            while at < entries.len() {
                if entries[at].tick <= current {
                    due.push(entries.swap_remove(at).value);
                    self.armed -= 1;
                } else {
                    at += 1;
                }
            }
            // A slot that a crowd has filled once must not keep the room for it.
            if entries.is_empty() && entries.capacity() > SLOT_KEPT {
                *entries = Vec::new();
            }
        }
        self.next = current + 1;
    }

    /// When to call [`Self::expire`] next, if anything is armed: at the next tick. An owner
    /// of ten thousand deadlines wakes once a resolution, which is cheaper than
    /// looking for the earliest deadline each time it goes to sleep.
    pub fn next_expiry(&self) -> Option<Instant> {
        let nanos = u128::from(self.next) * self.resolution.as_nanos();
        (self.armed > 0).then(|| self.start + Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX)))
    }
}

fn slot(tick: u64) -> usize {
    tick as usize & (SLOTS - 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Against a plain list of deadlines: nothing early, nothing more than a
        /// resolution late, nothing lost or doubled.
        #[test]
        fn behaves_as_a_list_of_deadlines(
            resolution in 1u64..100,
            steps in proptest::collection::vec((0u64..300_000, 0u64..20_000), 1..200),
        ) {
            let start = Instant::now();
            let resolution = Duration::from_millis(resolution);
            let mut wheel = Wheel::new(start, resolution);
            let mut model: Vec<(Instant, usize)> = Vec::new();
            let (mut now, mut due) = (start, Vec::new());
            for (name, (delay, pass)) in steps.into_iter().enumerate() {
                let deadline = now + Duration::from_millis(delay);
                wheel.arm(deadline, name);
                model.push((deadline, name));
                now += Duration::from_millis(pass);
                due.clear();
                wheel.expire(now, &mut due);
                for name in &due {
                    let at = model.iter().position(|entry| entry.1 == *name);
                    let (deadline, _) = model.swap_remove(at.expect("came out once, was armed"));
                    prop_assert!(deadline <= now, "early");
                }
                prop_assert!(model.iter().all(|entry| now < entry.0 + resolution), "late");
                prop_assert_eq!(wheel.len(), model.len());
                match wheel.next_expiry() {
                    None => prop_assert!(model.is_empty()),
                    Some(at) => {
                        let earliest = model.iter().map(|entry| entry.0).min().unwrap();
                        prop_assert!(at < earliest + resolution, "would be woken late");
                    }
                }
            }
        }
    }
}
