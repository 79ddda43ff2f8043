//! The exact two-sided permutation test of a comparison, and its correction for several figures.
//!
//! If the sides do not differ, every assignment of the runs to the sides was equally likely. The
//! p-value is the share of assignments whose rank sum lies at least as far from its mean as the
//! observed one (Good, *Permutation Tests*, 2000; Ernst, "Permutation Methods: A Basis for Exact
//! Inference", Statistical Science 19(4), 2004). The test assumes no distribution. It assumes that
//! runs are exchangeable, so the sides must be measured in turns: a drift then reaches both alike.
//!
//! Ranks in place of the values keep one stalled run from hiding a difference, and let all
//! assignments be counted for any number of runs (shift algorithm: Streitberg and Röhmel,
//! Statistical Software Newsletter 12, 1986). So nothing is sampled, and there is no seed.
//!
//! Five runs a side have C(10,5) = 252 assignments. The smallest p-value is 2/252 = 0.8 %: every
//! run of one side lies above every run of the other. Holm's correction (Scandinavian Journal of
//! Statistics 6, 1979) multiplies the smallest p-value by the number of figures, and the largest
//! comparison has twelve: 12 x 0.8 % = 9.5 %. Hence [`LEVEL`] is 10 %, the lowest round level at
//! which five runs a side can show a difference in a single figure. It holds for a comparison as a
//! whole: of ten comparisons of identical servers, at most one on average calls any figure
//! different. With four runs a side the smallest p-value is 2/70 = 2.9 %, which is too much for
//! four figures or more.

/// Largest adjusted p-value of a difference.
pub(super) const LEVEL: f64 = 0.1;

/// Returns the share of assignments of all runs to the two sides, whose sizes stay as they are,
/// with a rank sum at least as far from its mean as the observed one. Equal values share a rank.
pub(super) fn p_value([baseline, new]: [&[f64]; 2]) -> f64 {
    let (observed, sums) = observed_and_possible(baseline, new);
    let mean = new.len() * (baseline.len() + new.len() + 1);
    let observed = observed.abs_diff(mean);
    sums.iter().enumerate().filter(|(sum, _)| sum.abs_diff(mean) >= observed).map(|(_, share)| share).sum()
}

/// Returns the share of assignments with a rank sum of `new` at least as large as the observed one:
/// small if the values of `new` are larger than chance explains. One-sided, otherwise as the test
/// of this module. 1 if a side is empty.
pub fn p_larger(baseline: &[f64], new: &[f64]) -> f64 {
    let (observed, sums) = observed_and_possible(baseline, new);
    sums.iter().skip(observed).sum()
}

/// Returns twice the rank sum of `new`, and the share of assignments for each possible one.
fn observed_and_possible(baseline: &[f64], new: &[f64]) -> (usize, Vec<f64>) {
    let all = [baseline, new].concat();
    // Twice the rank: the mean rank of equal values may end in a half.
    let rank = |value: &f64| {
        let below = all.iter().filter(|other| *other < value).count();
        let above = all.iter().filter(|other| *other > value).count();
        below + all.len() - above + 1
    };
    let mut ranks: Vec<usize> = all.iter().map(rank).collect();
    // Rounding must not depend on the order of the runs.
    ranks.sort_unstable();
    (new.iter().map(rank).sum(), rank_sums(&ranks, new.len()))
}

/// Returns, at index `s`, the share of the choices of `count` ranks that sum up to `s`.
fn rank_sums(ranks: &[usize], count: usize) -> Vec<f64> {
    let mut shares = vec![vec![0.0; ranks.iter().sum::<usize>() + 1]; count + 1];
    shares[0][0] = 1.0;
    let mut largest = 0;
    for (seen, rank) in (1..).zip(ranks) {
        largest += rank;
        for chosen in (1..=count.min(seen)).rev() {
            // The share of the choices of `chosen` out of `seen` ranks that include this one.
            let with = chosen as f64 / seen as f64;
            for sum in 0..=largest {
                let before = sum.checked_sub(*rank).map_or(0.0, |rest| shares[chosen - 1][rest]);
                shares[chosen][sum] = (1.0 - with) * shares[chosen][sum] + with * before;
            }
        }
    }
    shares.swap_remove(count)
}

/// Returns the smallest p-value that sides of these sizes can have.
pub(super) fn smallest_p_value(sizes: [usize; 2]) -> f64 {
    (1..=sizes[1]).map(|at| at as f64 / (sizes[0] + at) as f64).product::<f64>() * 2.0
}

/// Adjusts p-values for their number by Holm's step-down method.
pub(super) fn adjust(mut p_values: Vec<&mut f64>) {
    p_values.sort_by(|a, b| a.total_cmp(b));
    let (count, mut least) = (p_values.len(), 0.0_f64);
    for (at, p) in p_values.into_iter().enumerate() {
        least = least.max(*p * (count - at) as f64).min(1.0);
        *p = least;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Counts the assignments one by one.
    fn by_enumeration(baseline: &[f64], new: &[f64]) -> f64 {
        let all = [baseline, new].concat();
        let rank = |value: f64| -> f64 {
            let side = |is_below: bool| all.iter().filter(|other| (**other < value) == is_below).count();
            let above = all.iter().filter(|other| **other > value).count();
            (side(true) as f64 + 1.0 + (all.len() - above) as f64) / 2.0
        };
        let distance = |chosen: u32| {
            let ranks = all.iter().enumerate().filter(|(at, _)| chosen >> at & 1 == 1);
            let sum: f64 = ranks.map(|(_, value)| rank(*value)).sum();
            (sum - new.len() as f64 * (all.len() as f64 + 1.0) / 2.0).abs()
        };
        let observed = distance(((1 << new.len()) - 1) << baseline.len());
        let choices = (0..1_u32 << all.len()).filter(|chosen| chosen.count_ones() as usize == new.len());
        let (count, far) = choices.fold((0, 0), |(count, far), chosen| {
            (count + 1, far + u32::from(distance(chosen) >= observed - 1e-9))
        });
        f64::from(far) / f64::from(count)
    }

    #[test]
    fn separated_sides_have_the_smallest_p_value() {
        let [low, high] = [[1.0, 2.0, 3.0, 4.0, 5.0], [6.0, 7.0, 8.0, 9.0, 1e9]];
        let check = |baseline: &[f64], new: &[f64], p: f64| {
            assert!((p_value([baseline, new]) - p).abs() < 1e-12, "{baseline:?} {new:?}");
        };
        check(&low, &high, 2.0 / 252.0);
        check(&low[..4], &high[..4], 2.0 / 70.0);
        check(&low, &high[..3], 2.0 / 56.0);
        // One pair out of order has two assignments more on either end.
        check(&[1.0, 2.0, 3.0, 4.0, 6.0], &[5.0, 7.0, 8.0, 9.0, 10.0], 4.0 / 252.0);
        check(&[1.0; 5], &[1.0; 5], 1.0);
        for sizes in [[5, 5], [4, 4], [5, 3], [3, 5], [10, 10]] {
            let all: Vec<f64> = (0..sizes[0] + sizes[1]).map(|value| value as f64).collect();
            let (baseline, new) = all.split_at(sizes[0]);
            check(baseline, new, smallest_p_value(sizes));
        }
    }

    #[test]
    fn a_one_sided_test_sees_larger_values_only() {
        let [low, high] = [[1.0, 2.0, 3.0, 4.0, 5.0], [6.0, 7.0, 8.0, 9.0, 1e9]];
        let check = |baseline: &[f64], new: &[f64], p: f64| {
            assert!((p_larger(baseline, new) - p).abs() < 1e-12, "{baseline:?} {new:?}");
        };
        check(&low, &high, 1.0 / 252.0);
        check(&high, &low, 1.0);
        check(&low[..4], &high[..3], 1.0 / 35.0);
        check(&[1.0, 2.0, 3.0, 4.0, 6.0], &[5.0, 7.0, 8.0, 9.0, 10.0], 2.0 / 252.0);
        check(&[1.0; 5], &[1.0; 5], 1.0);
        check(&low, &[], 1.0);
    }

    #[test]
    fn many_runs_are_counted_exactly() {
        // Interleaved sides of 30 runs: the rank sums differ by 30 of 915.
        let side = |first: u32| (0..30).map(|at| f64::from(2 * at + first)).collect::<Vec<_>>();
        let p = p_value([&side(0), &side(1)]);
        assert!((p - 0.831_500_482_872_4).abs() < 1e-9, "{p}");
        let sums = rank_sums(&(1..=40).collect::<Vec<_>>(), 20);
        assert!((sums.iter().sum::<f64>() - 1.0).abs() < 1e-9);
    }

    #[test]
    fn adjusting_follows_holm() {
        let mut p_values = [0.04, 0.01, 0.5, 0.03];
        adjust(p_values.iter_mut().collect());
        for (found, wanted) in p_values.iter().zip([0.09, 0.04, 0.5, 0.09]) {
            assert!((found - wanted).abs() < 1e-12, "{p_values:?}");
        }
        let mut large = [0.7, 0.6];
        adjust(large.iter_mut().collect());
        assert!(large.iter().all(|p| (p - 1.0).abs() < 1e-12), "{large:?}");
    }

    proptest! {
        #[test]
        fn p_values_are_those_of_an_enumeration(
            baseline in prop::collection::vec(0_u8..12, 1..6),
            new in prop::collection::vec(0_u8..12, 1..6),
        ) {
            let [baseline, new] = [baseline, new].map(|side| side.into_iter().map(f64::from).collect::<Vec<_>>());
            prop_assert!((p_value([&baseline, &new]) - by_enumeration(&baseline, &new)).abs() < 1e-9);
        }
    }
}
