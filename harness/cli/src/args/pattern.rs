//! Named ramps: the sizes of their steps, and the duration of each.

use std::time::Duration;

use clap::ValueEnum;

/// A named ramp.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Pattern {
    /// 10, 20, 30, 50, 70, 100; a minute each
    Gradual,
    /// 1, 2, 3 and so on to 10
    Linear,
    /// 5, 10, 15 and so on to 50
    Step,
    /// 1, 2, 4, 8, 16, 32, 64
    Exponential,
    /// 10, 100, 10
    Spike,
    /// 5, 10, 15 and so on to 40, and back
    Ramp,
    /// 20, for ten minutes
    Sustained,
    /// 10, 25, 50, 75, 100, 150, 200
    Stress,
}

impl Pattern {
    /// The size of each step.
    pub(super) fn sizes(self) -> Vec<u32> {
        match self {
            Self::Gradual => vec![10, 20, 30, 50, 70, 100],
            Self::Linear => (1..=10).collect(),
            Self::Step => (1..=10).map(|step| step * 5).collect(),
            Self::Exponential => (0..=6).map(|step| 1 << step).collect(),
            Self::Spike => vec![10, 100, 10],
            Self::Ramp => (1..=8).chain((1..=7).rev()).map(|step| step * 5).collect(),
            Self::Sustained => vec![20],
            Self::Stress => vec![10, 25, 50, 75, 100, 150, 200],
        }
    }

    /// The duration of each step.
    pub(super) fn duration(self) -> Duration {
        match self {
            Self::Gradual => Duration::from_mins(1),
            Self::Sustained => Duration::from_mins(10),
            _ => Duration::from_secs(30),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_the_documented_ones() {
        let check = |pattern: Pattern, sizes: &[u32]| assert_eq!(pattern.sizes(), sizes, "{pattern:?}");
        check(Pattern::Gradual, &[10, 20, 30, 50, 70, 100]);
        check(Pattern::Linear, &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
        check(Pattern::Step, &[5, 10, 15, 20, 25, 30, 35, 40, 45, 50]);
        check(Pattern::Exponential, &[1, 2, 4, 8, 16, 32, 64]);
        check(Pattern::Spike, &[10, 100, 10]);
        check(Pattern::Ramp, &[5, 10, 15, 20, 25, 30, 35, 40, 35, 30, 25, 20, 15, 10, 5]);
        check(Pattern::Sustained, &[20]);
        check(Pattern::Stress, &[10, 25, 50, 75, 100, 150, 200]);
        assert_eq!(Pattern::Gradual.duration(), Duration::from_mins(1));
    }
}
