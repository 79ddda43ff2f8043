//! Turns at a steady pace: of joins and leaves, of moves, of reconnects.

use throng_harness_model::clock::{NEVER, Nanos};
use throng_harness_model::schedule::Pace;

/// The pace and the next turn; none while no turns are taken.
#[derive(Debug, Default)]
pub(super) struct Turns(Option<(Pace, u32)>);

impl Turns {
    /// `per_second` turns from `start` on, or none.
    pub(super) fn new(start: Nanos, per_second: Option<u32>) -> Self {
        Self(per_second.map(|count| (Pace::per_second(start, count), 0)))
    }

    /// The time of the next turn.
    pub(super) fn next_due(&self) -> Nanos {
        self.0.map_or(NEVER, |(pace, next)| pace.intended(next))
    }

    /// Takes the next turn if it is due, and returns its number.
    pub(super) fn pop(&mut self, now: Nanos) -> Option<u32> {
        let (pace, next) = self.0.as_mut()?;
        let turn = *next;
        (pace.intended(turn) <= now).then(|| {
            *next += 1;
            turn
        })
    }
}
