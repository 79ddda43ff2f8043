//! What the microbenchmarks in `benches/` share.
//!
//! A group is one operation. In it stand one or more ways of ours to do it and one or more baselines, whose names
//! begin with "baseline: "; `scripts/measure/benches` sets each of ours beside each baseline of its group.

pub mod crowd;
pub mod packets;

use std::time::{Duration, Instant};

use criterion::Criterion;

/// How long each benchmark runs unless the command line says otherwise: there are many.
pub fn criterion() -> Criterion {
    Criterion::default()
        .sample_size(50)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
}

/// For criterion's `iter_custom`: the time of `iterations` of `work`, with `after`, which is not measured, when so many
/// as a turn holds are done.
pub fn in_turns<S>(
    iterations: u64,
    turn: u64,
    state: &mut S,
    mut work: impl FnMut(&mut S),
    mut after: impl FnMut(&mut S),
) -> Duration {
    let (mut left, mut total) = (iterations, Duration::ZERO);
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
