//! Pauses between attempts.

use std::time::Duration;

use rand::RngExt;
use rand::rngs::SmallRng;

/// Longest pause.
const MAX: Duration = Duration::from_secs(8);

/// First pause.
const MIN: Duration = Duration::from_millis(250);

/// Returns the pause before an attempt after `failures` failed ones: twice as long each time, and
/// by chance down to nothing, so that clients that were lost together come back apart ("full
/// jitter").
pub(crate) fn pause(failures: u32, rng: &mut SmallRng) -> Duration {
    let longest = MIN.saturating_mul(1 << failures.min(16)).min(MAX);
    longest.mul_f64(rng.random_range(0.0..1.0))
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    #[test]
    fn pauses_grow_up_to_a_limit() {
        let mut rng = SmallRng::seed_from_u64(1);
        let mut longest = |failures| (0..1_000).map(|_| pause(failures, &mut rng)).max().unwrap();
        let found: Vec<_> = [0, 1, 2, 40].map(&mut longest).to_vec();
        for (found, limit) in found.iter().zip([250, 500, 1_000, 8_000].map(Duration::from_millis)) {
            assert!(*found <= limit && *found > limit.mul_f64(0.9), "{found:?} of {limit:?}");
        }
    }
}
