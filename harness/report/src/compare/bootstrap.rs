//! How certain a difference between two sides is.
//!
//! The deliveries of a run are anything but independent: those of one message arrive in one sweep, and a second that is slow is
//! followed by a slow one. A test on single deliveries would call every difference significant. So what is drawn anew here, over and over, is
//! what may be taken for independent: runs, where a side has several, and within a run blocks of some seconds in a row, which keep
//! what belongs together together (the moving-block bootstrap). The difference of the two sides is worked out from each drawing, and between
//! which bounds 99 % of these differences lie is the interval. It is seeded, so that the same reports give the same answer.

use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt, SeedableRng};

use super::series::Series;

/// Share of the drawings that lie in the interval.
pub(super) const CONFIDENCE: f64 = 0.99;
/// Drawings, and how many of them lie beyond either bound.
const DRAWINGS: usize = 2_000;
const BEYOND: usize = DRAWINGS / 200;
/// Fewest rows of a block: what a second leaves behind is over after that.
const BLOCK_MIN: usize = 5;
/// Fewest blocks that a run is cut into, if it has the rows for it.
const BLOCKS_MIN: usize = 4;

/// The difference of two sides, as natural logarithms of ratios.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Difference {
    /// What stands for the baseline, and for the new side.
    pub(super) sides: [f64; 2],
    /// Between which bounds the difference lies.
    pub(super) interval: [f64; 2],
}

/// One run's rows, summed up so that any stretch of them costs two look-ups.
struct Sums {
    /// Of all rows before each; over the rows twice, so that a stretch may run over the end.
    before: Vec<(f64, f64)>,
    rows: usize,
    block: usize,
}

impl Sums {
    /// None for a series without rows.
    fn of(series: &Series) -> Option<Self> {
        let rows = series.len();
        let row = |at: usize| match series {
            Series::Values(values) => (values[at].ln(), 1.0),
            Series::Ratios(ratios) => ratios[at],
        };
        let mut before = vec![(0.0, 0.0)];
        for at in 0..2 * rows {
            let (amount, by) = row(at % rows);
            let (amounts, bys) = before[at];
            before.push((amounts + amount, bys + by));
        }
        // As long as what belongs together, and longer in a long run, by its cube root: that is what the theory asks for.
        let root = (1..=rows).find(|root| root * root * root >= rows).unwrap_or(1);
        let block = BLOCK_MIN.max(root).min(rows / BLOCKS_MIN).max(1);
        (rows > 0).then_some(Self { before, rows, block })
    }

    fn stretch(&self, from: usize, rows: usize) -> (f64, f64) {
        let ((a, b), (c, d)) = (self.before[from], self.before[from + rows]);
        (c - a, d - b)
    }

    /// The sums of as many rows as there are, by blocks that may begin anywhere.
    fn draw(&self, rng: &mut Xoshiro256PlusPlus) -> (f64, f64) {
        let (mut left, mut sums) = (self.rows, (0.0, 0.0));
        while left > 0 {
            let rows = self.block.min(left);
            let (amount, by) = self.stretch(below(rng, self.rows), rows);
            sums = (sums.0 + amount, sums.1 + by);
            left -= rows;
        }
        sums
    }

    /// Drawing a few things from a few makes them seem less different than they are; by this much.
    fn widening(&self) -> f64 {
        widening(self.rows as f64 / self.block as f64)
    }
}

/// A number below `end`, which is not 0. By multiplication, as the hundred thousands of drawings of a comparison are most of its time; and
/// what that prefers is beyond measuring.
fn below(rng: &mut Xoshiro256PlusPlus, end: usize) -> usize {
    ((u128::from(rng.random::<u64>()) * end as u128) >> 64) as usize
}

fn widening(count: f64) -> f64 {
    if count > 1.0 { (count / (count - 1.0)).sqrt() } else { 1.0 }
}

/// What stands for some rows, as a logarithm.
fn value(series: &Series, (amount, by): (f64, f64)) -> f64 {
    match series {
        Series::Values(_) => amount / by,
        Series::Ratios(_) => (amount / by).ln(),
    }
}

/// A side's runs, ready to be drawn from.
struct Side<'a> {
    runs: Vec<(&'a Series, Sums, f64)>,
    middle: f64,
}

impl<'a> Side<'a> {
    /// None if there is no value for a run.
    fn of(runs: &'a [Series]) -> Option<Self> {
        let run = |series: &'a Series| {
            let sums = Sums::of(series)?;
            let value = value(series, sums.stretch(0, sums.rows));
            value.is_finite().then_some((series, sums, value))
        };
        let runs = runs.iter().map(run).collect::<Option<Vec<_>>>()?;
        let middle = runs.iter().map(|(_, _, value)| value).sum::<f64>() / runs.len() as f64;
        (!runs.is_empty()).then_some(Self { runs, middle })
    }

    /// The side as it could have come out as well.
    fn draw(&self, rng: &mut Xoshiro256PlusPlus) -> f64 {
        let (mut between, mut within) = (0.0, 0.0);
        for _ in &self.runs {
            let (series, sums, of_run) = &self.runs[below(rng, self.runs.len())];
            let drawn = value(series, sums.draw(rng));
            between += of_run - self.middle;
            within += if drawn.is_finite() { (drawn - of_run) * sums.widening() } else { 0.0 };
        }
        let count = self.runs.len() as f64;
        self.middle + between / count * widening(count) + within / count
    }
}

/// What stands for one side.
pub(super) fn middle(runs: &[Series]) -> Option<f64> {
    Side::of(runs).map(|side| side.middle)
}

/// The difference of the new side to the baseline, each with the series of its runs; none if a run has no value. `seed` decides the
/// drawings.
pub(super) fn difference(baseline: &[Series], new: &[Series], seed: u64) -> Option<Difference> {
    let (baseline, new) = (Side::of(baseline)?, Side::of(new)?);
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
    let mut drawn: Vec<f64> = (0..DRAWINGS).map(|_| new.draw(&mut rng) - baseline.draw(&mut rng)).collect();
    drawn.sort_by(f64::total_cmp);
    let interval = [drawn[BEYOND], drawn[DRAWINGS - 1 - BEYOND]];
    Some(Difference { sides: [baseline.middle, new.middle], interval })
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A run's rows: about `level`, off by 5 %, and each near the one before it.
    pub(in crate::compare) fn rows(seed: u64, level: f64, count: usize) -> Vec<f64> {
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
        let (off, memory) = (0.05_f64, 0.5_f64);
        let mut normal = || (0..12).map(|_| rng.random::<f64>()).sum::<f64>() - 6.0;
        let mut state = off * normal();
        let fresh = off * (1.0 - memory * memory).sqrt();
        let mut next = || {
            state = memory * state + fresh * normal();
            level * state.exp()
        };
        (0..count).map(|_| next()).collect()
    }

    fn side(seed: u64, level: f64, runs: u64) -> Vec<Series> {
        (0..runs).map(|run| Series::Values(rows(seed * 1_000 + run, level, 60))).collect()
    }

    /// How many of 100 pairs of sides have an interval without 0.
    fn seen(change: f64, runs: u64) -> usize {
        (0..100)
            .filter(|seed| {
                let sides = (side(2 * seed, 6_000.0, runs), side(2 * seed + 1, 6_000.0 * change, runs));
                let found = difference(&sides.0, &sides.1, *seed).expect("both have rows");
                found.interval[0] > 0.0 || found.interval[1] < 0.0
            })
            .count()
    }

    #[test]
    fn intervals_have_what_they_promise() {
        // 99 % of pairs without a difference have none; with 60 rows that depend on each other some more are let through.
        for runs in [1, 3] {
            let (none, slower) = (seen(1.0, runs), seen(1.1, runs));
            assert!(none <= 4, "{none} of 100 pairs without a difference, {runs} runs a side");
            assert!(slower >= 99, "{slower} of 100 pairs with one of 10 %, {runs} runs a side");
        }
    }

    #[test]
    fn rows_that_depend_on_each_other_make_it_wider() {
        let values = rows(1, 100.0, 600);
        // The same values in an order in which none has to do with the one before it.
        let mixed: Vec<f64> = (0..600).map(|at| values[at * 7_919 % 600]).collect();
        let width = |values: &[f64]| {
            let side = [Series::Values(values.to_vec())];
            let found = difference(&side, &side, 1).expect("rows");
            found.interval[1] - found.interval[0]
        };
        assert!(width(&values) > 1.25 * width(&mixed), "{} {}", width(&values), width(&mixed));
    }

    #[test]
    fn runs_that_differ_among_themselves_make_it_wider() {
        let runs = |levels: [f64; 3]| -> Vec<Series> {
            (0..3).map(|run| Series::Values(rows(run, levels[run as usize], 60))).collect()
        };
        let new = runs([110.0; 3]);
        let is_sure =
            |baseline: [f64; 3]| difference(&runs(baseline), &new, 1).expect("rows").interval[0] > 0.0;
        assert!(is_sure([100.0; 3]) && !is_sure([85.0, 100.0, 115.0]));
    }

    #[test]
    fn ratios_are_of_sums() {
        let side = |amount: f64| {
            [Series::Ratios((0..40).map(|at| (amount * f64::from(at), f64::from(at))).collect())]
        };
        let found = difference(&side(2.0), &side(3.0), 1).expect("rows");
        let change = found.sides[1] - found.sides[0];
        assert!((change - 1.5_f64.ln()).abs() < 1e-9, "{found:?}");
        assert!(found.interval.iter().all(|bound| (bound - change).abs() < 1e-9), "{found:?}");
        assert_eq!(difference(&side(2.0), &side(3.0), 1), difference(&side(2.0), &side(3.0), 1));
        assert_eq!(difference(&[], &side(1.0), 1), None);
        assert_eq!(difference(&side(1.0), &[Series::Values(vec![])], 1), None);
        assert_eq!(difference(&side(1.0), &[Series::Ratios(vec![(0.0, 1.0)])], 1), None);
        assert_eq!(middle(&[Series::Values(vec![1.0_f64.exp(), 3.0_f64.exp()])]), Some(2.0));
    }
}
