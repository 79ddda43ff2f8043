//! Hashed timer wheel (Varghese and Lauck, 1987, scheme 6) for the many coarse deadlines of
//! sessions. It reads no clock: `now` goes in, expired values come out.

use std::time::{Duration, Instant};

/// Number of slots of a wheel; a power of two.
const SLOTS: usize = 1024;

/// Largest capacity that an empty slot keeps, in entries.
const SLOT_KEPT: usize = 8;

/// Deadlines, rounded up to `resolution`, each with a value of type `T`.
///
/// Arming is O(1). A call of [`Self::expire`] costs the slots that time has passed over and the
/// entries in them. Entries cannot be canceled: an owner ignores the values that it has lost
/// interest in, as it must for stale ids anyway, and arms again for a later deadline.
#[derive(Debug)]
pub struct Wheel<T> {
    slots: Vec<Vec<Entry<T>>>,
    start: Instant,
    resolution: Duration,
    /// First tick that has not expired.
    next: u64,
    armed: usize,
}

#[derive(Debug)]
struct Entry<T> {
    tick: u64,
    value: T,
}

impl<T> Wheel<T> {
    /// Creates a wheel that starts at `now`. A resolution below a millisecond counts as one
    /// millisecond.
    pub fn new(now: Instant, resolution: Duration) -> Self {
        Self {
            slots: (0..SLOTS).map(|_| Vec::new()).collect(),
            start: now,
            resolution: resolution.max(Duration::from_millis(1)),
            next: 0,
            armed: 0,
        }
    }

    /// Returns the number of armed deadlines.
    pub fn len(&self) -> usize {
        self.armed
    }

    /// Returns true if no deadline is armed.
    pub fn is_empty(&self) -> bool {
        self.armed == 0
    }

    /// Arms a deadline. [`Self::expire`] returns `value` at `deadline` or at most one resolution
    /// later, never before it.
    pub fn arm(&mut self, deadline: Instant, value: T) {
        let since_start = deadline.saturating_duration_since(self.start).as_nanos();
        let tick = since_start.div_ceil(self.resolution.as_nanos());
        let tick = u64::try_from(tick).unwrap_or(u64::MAX).max(self.next);
        self.slots[slot(tick)].push(Entry { tick, value });
        self.armed += 1;
    }

    /// Appends the values whose deadline has passed at `now` to `expired`, in no particular order.
    pub fn expire(&mut self, now: Instant, expired: &mut Vec<T>) {
        let elapsed = now.saturating_duration_since(self.start).as_nanos();
        let current = u64::try_from(elapsed / self.resolution.as_nanos()).unwrap_or(u64::MAX);
        if current < self.next {
            return;
        }
        // A whole round visits every slot, and no slot needs a second visit.
        let turns = (current - self.next + 1).min(SLOTS as u64);
        for tick in self.next..self.next + turns {
            let entries = &mut self.slots[slot(tick)];
            let mut at = 0;
            while at < entries.len() {
                if entries[at].tick <= current {
                    expired.push(entries.swap_remove(at).value);
                    self.armed -= 1;
                } else {
                    at += 1;
                }
            }
            // A burst that filled a slot once must not occupy memory for ever.
            if entries.is_empty() && entries.capacity() > SLOT_KEPT {
                *entries = Vec::new();
            }
        }
        self.next = current + 1;
    }

    /// Returns the time of the next tick, for the next call of [`Self::expire`], if a deadline is
    /// armed. An owner of ten thousand deadlines wakes up once a resolution, which is cheaper than
    /// a search for the earliest deadline each time it goes to sleep.
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
        /// Compares with a plain list of deadlines: no value comes early, more than a resolution
        /// late, twice or never.
        #[test]
        fn behaves_as_a_list_of_deadlines(
            resolution in 1u64..100,
            steps in proptest::collection::vec((0u64..300_000, 0u64..20_000), 1..200),
        ) {
            let start = Instant::now();
            let resolution = Duration::from_millis(resolution);
            let mut wheel = Wheel::new(start, resolution);
            let mut model: Vec<(Instant, usize)> = Vec::new();
            let mut now = start;
            let mut expired = Vec::new();
            for (name, (delay, pass)) in steps.into_iter().enumerate() {
                let deadline = now + Duration::from_millis(delay);
                wheel.arm(deadline, name);
                model.push((deadline, name));
                now += Duration::from_millis(pass);
                expired.clear();
                wheel.expire(now, &mut expired);
                for name in &expired {
                    let at = model.iter().position(|entry| entry.1 == *name);
                    let (deadline, _) = model.swap_remove(at.expect("a value that was armed and has not expired"));
                    prop_assert!(deadline <= now, "early");
                }
                prop_assert!(model.iter().all(|entry| now < entry.0 + resolution), "late");
                prop_assert_eq!(wheel.len(), model.len());
                match wheel.next_expiry() {
                    None => prop_assert!(model.is_empty()),
                    Some(at) => {
                        let earliest = model.iter().map(|entry| entry.0).min().unwrap();
                        prop_assert!(at < earliest + resolution, "the next tick is late");
                    }
                }
            }
        }
    }
}
