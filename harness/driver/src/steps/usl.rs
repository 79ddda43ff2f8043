//! The Universal Scalability Law: `X(N) = lambda N / (1 + sigma (N - 1) + kappa N (N - 1))`.
//!
//! The law comes from processors and users of one system (N. J. Gunther, Guerrilla Capacity
//! Planning). Here N is the number of members of a room, and X its rate of deliveries. A message
//! has a fixed cost and a cost for each member, so X = N / (fixed + each N), which is the law with
//! kappa 0. Kappa is the further cost of a member caused by the presence of others.

use rmpfit::{MPFitter, MPPar, MPResult};
use serde::{Deserialize, Serialize};

/// Parameters of the law; none is negative.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "testing", derive(schemars::JsonSchema))]
pub struct Usl {
    /// Value with one member; above 0.
    pub lambda: f64,
    /// Share of the work that does not grow with the members ("contention").
    pub sigma: f64,
    /// Cost that members cause each other ("coherency").
    pub kappa: f64,
}

/// Upper bound of `lambda`, as a multiple of the highest measured value. Without it, measurements
/// that fall from the first on would make `lambda` infinite.
const LAMBDA_MAX: f64 = 1_000.0;

/// Parameters of the fit.
const PARAMETERS: usize = 3;

impl Usl {
    /// Returns the value at `n`, which must be at least 1.
    pub fn at(&self, n: f64) -> f64 {
        self.lambda * n / (1.0 + self.sigma * (n - 1.0) + self.kappa * n * (n - 1.0))
    }

    /// Returns the position of the maximum; `None` if the value only rises or only falls. A
    /// negligible fall counts as none, since a flat curve may have its maximum anywhere.
    pub fn peak(&self) -> Option<f64> {
        let peak = ((1.0 - self.sigma) / self.kappa).sqrt();
        let is_peak = peak.is_finite() && peak > 1.0 && self.at(10.0 * peak) < 0.95 * self.at(peak);
        is_peak.then_some(peak)
    }

    /// Fits the law to `points` by least squares of the relative errors. Returns `None` for fewer
    /// than three different `n`, or if a value is not a finite number above 0.
    ///
    /// The inverted law, `N / X = a + b (N - 1) + c N (N - 1)`, is linear. So there is a single
    /// best solution for non-negative a, b and c, and the fit finds it from any starting point.
    pub fn fit(points: &[(f64, f64)]) -> Option<Self> {
        let are_numbers = points.iter().all(|(n, x)| *n >= 1.0 && n.is_finite() && *x > 0.0 && x.is_finite());
        let mut sizes: Vec<f64> = points.iter().map(|(n, _)| *n).collect();
        sizes.sort_by(f64::total_cmp);
        sizes.dedup();
        if !are_numbers || sizes.len() < PARAMETERS {
            return None;
        }
        let (n_max, x_max) =
            points.iter().fold((0.0, 0.0), |max: (f64, f64), (n, x)| (max.0.max(*n), max.1.max(*x)));
        // In units that make all parameters about 1.
        let units = [1.0 / x_max, 1.0 / x_max, 1.0 / (x_max * n_max)];
        let at_least = |limit_low| MPPar { limited_low: true, limit_low, ..MPPar::new() };
        let bounds = [at_least(1.0 / LAMBDA_MAX), at_least(0.0), at_least(0.0)];
        let mut fitting = Fitting { points, units, bounds };
        let mut found = [1.0, 0.5, 0.1];
        fitting.mpfit(&mut found).ok()?;
        let [a, b, c] = std::array::from_fn(|parameter| found[parameter] * units[parameter]);
        let law = Self { lambda: 1.0 / a, sigma: b / a, kappa: c / a };
        let all = [law.lambda, law.sigma, law.kappa];
        (all.iter().all(|parameter| parameter.is_finite() && *parameter >= 0.0)).then_some(law)
    }
}

/// The fit in the form that the solver expects.
struct Fitting<'a> {
    points: &'a [(f64, f64)],
    units: [f64; PARAMETERS],
    bounds: [MPPar; PARAMETERS],
}

impl MPFitter for Fitting<'_> {
    fn eval(&mut self, params: &[f64], deviates: &mut [f64]) -> MPResult<()> {
        let [a, b, c] = std::array::from_fn(|parameter| params[parameter] * self.units[parameter]);
        for ((n, x), deviate) in self.points.iter().zip(deviates) {
            let inverted = a + b * (n - 1.0) + c * n * (n - 1.0);
            *deviate = x / n * inverted - 1.0;
        }
        Ok(())
    }

    fn number_of_points(&self) -> usize {
        self.points.len()
    }

    fn parameters(&self) -> &[MPPar] {
        &self.bounds
    }
}

#[cfg(test)]
mod tests {
    use rand::rngs::Xoshiro256PlusPlus;
    use rand::{RngExt, SeedableRng};

    use super::*;

    const SIZES: [f64; 5] = [10.0, 25.0, 50.0, 75.0, 100.0];

    fn points(mut law: impl FnMut(f64) -> f64) -> Vec<(f64, f64)> {
        SIZES.iter().map(|n| (*n, law(*n))).collect()
    }

    #[track_caller]
    fn near(found: f64, expected: f64, share: f64) {
        assert!((found - expected).abs() <= share * expected.abs() + 1e-7, "{found} is not about {expected}");
    }

    #[test]
    fn exact_measurements_give_exact_parameters() {
        for law in [
            Usl { lambda: 9_000.0, sigma: 0.03, kappa: 0.000_5 },
            Usl { lambda: 1_000_000.0, sigma: 0.2, kappa: 0.0 },
            Usl { lambda: 0.5, sigma: 0.0, kappa: 0.01 },
            Usl { lambda: 700.0, sigma: 0.9, kappa: 0.1 },
        ] {
            let found = Usl::fit(&points(|n| law.at(n))).expect("five points");
            near(found.lambda, law.lambda, 1e-4);
            near(found.sigma, law.sigma, 1e-3);
            near(found.kappa, law.kappa, 1e-3);
        }
    }

    #[test]
    fn noise_changes_extrapolations_little() {
        let law = Usl { lambda: 20_000.0, sigma: 0.02, kappa: 0.000_1 };
        for seed in 0..100 {
            let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
            let noisy = points(|n| law.at(n) * rng.random_range(0.98..1.02));
            let found = Usl::fit(&noisy).unwrap_or_else(|| panic!("seed {seed}: no fit of {noisy:?}"));
            for n in SIZES {
                assert!((found.at(n) / law.at(n) - 1.0).abs() < 0.03, "seed {seed}: {found:?} at {n}");
            }
            assert!((found.at(200.0) / law.at(200.0) - 1.0).abs() < 0.3, "seed {seed}: {found:?}");
        }
    }

    #[test]
    fn no_nearby_parameters_are_better() {
        for seed in 0..50 {
            let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
            let wild = points(|_| rng.random_range(1_000.0..100_000.0));
            let found = Usl::fit(&wild).unwrap_or_else(|| panic!("seed {seed}: no fit of {wild:?}"));
            let error = |law: &Usl| wild.iter().map(|(n, x)| (x / law.at(*n) - 1.0).powi(2)).sum::<f64>();
            let least = error(&found) * (1.0 + 1e-6);
            let x_max = wild.iter().map(|(_, x)| *x).fold(0.0, f64::max);
            for (lambda, sigma, kappa) in [
                (1.01, 1.0, 1.0),
                (0.99, 1.0, 1.0),
                (1.0, 1.01, 1.0),
                (1.0, 0.99, 1.0),
                (1.0, 1.0, 1.01),
                (1.0, 1.0, 0.99),
            ] {
                // The fit may end at the bound of lambda.
                let lambda = (found.lambda * lambda).min(LAMBDA_MAX * x_max);
                let other = Usl { lambda, sigma: found.sigma * sigma, kappa: found.kappa * kappa };
                assert!(
                    error(&other) >= least * (1.0 - 1e-5),
                    "seed {seed}: {other:?} is better than {found:?}"
                );
            }
        }
    }

    #[test]
    fn degenerate_measurements_give_plausible_laws() {
        let flat = Usl::fit(&points(|_| 5_000.0)).expect("five points");
        near(flat.at(1_000.0), 5_000.0, 0.01);
        assert_eq!(flat.peak(), None);
        let straight = Usl::fit(&points(|n| 3.0 * n)).expect("five points");
        near(straight.at(1_000.0), 3_000.0, 0.01);
        let more_than_straight = Usl::fit(&points(|n| n * n)).expect("five points");
        assert!(more_than_straight.sigma >= 0.0 && more_than_straight.kappa >= 0.0, "{more_than_straight:?}");
        let falling = Usl::fit(&points(|n| 1e6 / n)).expect("five points");
        assert!(falling.at(200.0) < falling.at(100.0) && falling.lambda.is_finite(), "{falling:?}");
        for x in [1e-9, 1e12] {
            near(Usl::fit(&points(|_| x)).expect("five points").at(100.0), x, 0.01);
        }
    }

    #[test]
    fn unusable_measurements_have_no_fit() {
        assert_eq!(Usl::fit(&[]), None);
        assert_eq!(Usl::fit(&[(10.0, 1.0), (20.0, 2.0), (20.0, 2.1)]), None);
        for x in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert_eq!(Usl::fit(&points(|n| if n > 60.0 { x } else { n })), None, "{x}");
        }
    }

    #[test]
    fn the_value_is_highest_at_the_peak() {
        let law = Usl { lambda: 100.0, sigma: 0.02, kappa: 0.000_1 };
        let peak = law.peak().expect("a law with kappa above 0 has a peak");
        assert!(law.at(peak) > law.at(peak - 1.0) && law.at(peak) > law.at(peak + 1.0));
        assert_eq!(Usl { kappa: 0.0, ..law }.peak(), None);
        assert_eq!(Usl { sigma: 2.0, ..law }.peak(), None);
        assert_eq!(Usl { sigma: 1.0, kappa: 0.0, ..law }.peak(), None);
    }
}
