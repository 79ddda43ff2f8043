//! Shared parts of the microbenchmarks in `benches/`.
//!
//! A group measures one operation: one or more implementations of Throng, and one or more
//! baselines, whose names begin with "baseline: ". `scripts/measure/benches` compares each
//! implementation with each baseline of its group.

pub mod crowd;
pub mod packets;

use std::time::{Duration, Instant};

use criterion::Criterion;

/// Returns Criterion's defaults for this crate: short runs, because there are many.
pub fn criterion() -> Criterion {
    Criterion::default()
        .sample_size(50)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
}

/// Returns the time of `iterations` runs of `work`, for criterion's `iter_custom`. After each
/// `turn` runs, `after` runs outside of the measurement.
pub fn timed_turns<S>(
    iterations: u64,
    turn: u64,
    state: &mut S,
    mut work: impl FnMut(&mut S),
    mut after: impl FnMut(&mut S),
) -> Duration {
    let mut left = iterations;
    let mut total = Duration::ZERO;
    while left > 0 {
        let count = left.min(turn);
        let start = Instant::now();
        (0..count).for_each(|_| work(state));
        total += start.elapsed();
        after(state);
        left -= count;
    }
    total
}
