//! The forecast for larger rooms by the Universal Scalability Law, and its error.

use serde::{Deserialize, Serialize};

use super::capacity::CPU_S_MIN;
use super::{Bottleneck, Capacity, Usl};

/// Fewest steps for a forecast: three to fit the parameters of the law, and one to check it.
pub const STEPS_MIN: usize = 4;

/// Error of a forecast, in percent, above which it is unreliable.
pub(super) const ERROR_MAX_PERCENT: f64 = 20.0;

/// Quantity that is fitted and forecast.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "testing", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Basis {
    /// Deliveries per second of the server's CPU time, whichever process was the bottleneck.
    ServerCpu,
    /// Deliveries per second of steps in which the server was the bottleneck; its CPU time is
    /// unknown.
    ClosedLoop,
}

impl Basis {
    /// Returns the unit in words.
    pub fn unit(self) -> &'static str {
        match self {
            Self::ServerCpu => "deliveries a second of the server's CPU",
            Self::ClosedLoop => "deliveries a second of wall-clock time, where the server was the bottleneck",
        }
    }

    /// Returns a step's figure in this unit, or the reason why it has none.
    fn figure(self, capacity: &Capacity) -> Result<f64, String> {
        if let Some(why) = &capacity.unusable_because {
            return Err(why.clone());
        }
        match (self, capacity.limited_by) {
            (Self::ServerCpu, _) => capacity.deliveries_per_cpu_s.ok_or_else(|| match capacity.server_cpu {
                Some(_) => format!(
                    "the server used less than {CPU_S_MIN} s of CPU time, too little to measure (a longer --duration helps)"
                ),
                None => "the server's CPU time is not known".into(),
            }),
            (Self::ClosedLoop, Some(Bottleneck::Server)) => Ok(capacity.deliveries_per_s),
            (Self::ClosedLoop, Some(Bottleneck::Harness)) => Err("the harness was the bottleneck, not the server \
                (with --data or --server-pid, the server's CPU time is used instead)"
                .into()),
            (Self::ClosedLoop, Some(Bottleneck::Neither) | None) => Err("the server was not the bottleneck".into()),
        }
    }
}

/// A step that was excluded from the fit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "testing", derive(schemars::JsonSchema))]
pub struct LeftOut {
    /// Members of the room.
    pub clients: u32,
    /// Reason of the exclusion.
    pub because: String,
}

/// A step's figure, as it went into the fit.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "testing", derive(schemars::JsonSchema))]
pub struct Measured {
    /// Members of the room.
    pub clients: u32,
    /// Measured deliveries per second, in the unit of the basis.
    pub deliveries_per_s: f64,
}

/// A room that was not measured.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "testing", derive(schemars::JsonSchema))]
pub struct Predicted {
    /// Members of the room.
    pub clients: u32,
    /// Forecast deliveries per second, in the unit of the basis.
    pub deliveries_per_s: f64,
    /// Messages per second that these deliveries amount to: each message is delivered to every
    /// member.
    pub messages_per_s: f64,
}

/// The largest measured room, compared with its forecast from the smaller ones.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "testing", derive(schemars::JsonSchema))]
pub struct HeldOut {
    /// Members of the room.
    pub clients: u32,
    /// Measured deliveries per second, in the unit of the basis.
    pub measured: f64,
    /// Forecast of the fit to all smaller rooms.
    pub predicted: f64,
    /// Deviation of the forecast from the measurement, in percent of the measurement; negative if
    /// the forecast is lower.
    pub error_percent: f64,
}

/// A forecast, or the reason why there is none.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "testing", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct Forecast {
    /// Unit of the figures.
    pub basis: Option<Basis>,
    /// The law, fitted to all measured steps.
    pub law: Option<Usl>,
    /// Root mean square of the law's relative errors at the measured steps, in percent.
    pub fit_error_percent: Option<f64>,
    /// Members at which throughput peaks; null if there is no peak.
    pub peak_clients: Option<f64>,
    /// Steps that were fitted.
    pub measured: Vec<Measured>,
    /// Steps that have no figure in the unit of the basis.
    pub left_out: Vec<LeftOut>,
    /// Check of the forecast against the largest room.
    pub held_out: Option<HeldOut>,
    /// Forecasts by size of the room.
    pub predicted: Vec<Predicted>,
    /// Reason why there is no forecast.
    pub none_because: Option<String>,
}

impl Forecast {
    /// Returns a forecast for rooms of `sizes` from the capacities by number of clients. Without
    /// sizes, it is for 2, 5 and 10 times the largest.
    pub fn new(steps: &[(u32, &Capacity)], sizes: &[u32]) -> Self {
        // All figures must have the same unit, and it must not depend on the outcome of the steps.
        let is_known = |capacity: &Capacity| capacity.server_cpu.or(capacity.deliveries_per_cpu_s).is_some();
        let by_cpu = steps.iter().any(|(_, capacity)| is_known(capacity));
        let basis = if by_cpu { Basis::ServerCpu } else { Basis::ClosedLoop };
        let (mut measured, mut left_out) = (Vec::new(), Vec::new());
        for (clients, capacity) in steps {
            match basis.figure(capacity) {
                Ok(figure) => measured.push((*clients, figure)),
                Err(because) => left_out.push(LeftOut { clients: *clients, because }),
            }
        }
        Self { left_out, ..Self::of(basis, measured, steps.len(), sizes) }
    }

    /// Returns true if the law does not describe the steps: the largest room, or all of them, are
    /// too far from it.
    pub(super) fn is_guess(&self) -> bool {
        let held_out = self.held_out.map(|held| held.error_percent.abs());
        held_out.into_iter().chain(self.fit_error_percent).any(|error| error > ERROR_MAX_PERCENT)
    }

    /// Gives the interruption as the reason if too few steps were measured.
    pub(super) fn cut(self) -> Self {
        let measured = self.measured.len();
        let because = format!(
            "the run was cut short, with {measured} steps measured, and a forecast needs {STEPS_MIN}"
        );
        if measured < STEPS_MIN { Self { none_because: Some(because), ..self } } else { self }
    }

    fn of(basis: Basis, mut measured: Vec<(u32, f64)>, steps: usize, sizes: &[u32]) -> Self {
        measured.sort_by_key(|(clients, _)| *clients);
        measured.dedup_by_key(|(clients, _)| *clients);
        let points: Vec<_> = measured.iter().map(|(clients, x)| (f64::from(*clients), *x)).collect();
        let mut forecast = Self {
            basis: Some(basis),
            measured: measured
                .iter()
                .map(|(clients, deliveries_per_s)| Measured {
                    clients: *clients,
                    deliveries_per_s: *deliveries_per_s,
                })
                .collect(),
            ..Self::default()
        };
        let Some((largest, smaller)) = points.split_last().filter(|_| points.len() >= STEPS_MIN) else {
            return Self { none_because: Some(too_few(basis, points.len(), steps)), ..forecast };
        };
        let (Some(law), Some(smaller_law)) = (Usl::fit(&points), Usl::fit(smaller)) else {
            let because = "the measurements cannot be fitted by the Universal Scalability Law";
            return Self { none_because: Some(because.into()), ..forecast };
        };
        let squares = points.iter().map(|(n, x)| (law.at(*n) / x - 1.0).powi(2)).sum::<f64>();
        let largest_clients = measured.last().map_or(0, |(clients, _)| *clients);
        let predicted = smaller_law.at(largest.0);
        forecast.held_out = Some(HeldOut {
            clients: largest_clients,
            measured: largest.1,
            predicted,
            error_percent: (predicted / largest.1 - 1.0) * 100.0,
        });
        let multiples = [2, 5, 10].map(|factor| largest_clients.saturating_mul(factor));
        let sizes = if sizes.is_empty() { &multiples[..] } else { sizes };
        forecast.predicted = sizes
            .iter()
            .map(|clients| {
                let deliveries_per_s = law.at(f64::from(*clients));
                let messages_per_s = deliveries_per_s / f64::from(*clients);
                Predicted { clients: *clients, deliveries_per_s, messages_per_s }
            })
            .collect();
        forecast.fit_error_percent = Some((squares / points.len() as f64).sqrt() * 100.0);
        forecast.peak_clients = law.peak();
        forecast.law = Some(law);
        forecast
    }
}

fn too_few(basis: Basis, usable: usize, steps: usize) -> String {
    let of =
        if usable == steps { String::new() } else { format!(": of {steps} steps the others were excluded") };
    let unit = basis.unit();
    format!(
        "a forecast needs {STEPS_MIN} steps with different numbers of clients, three to fit its parameters and one to check \
         it; measured in {unit}, there are {usable}{of}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const LAW: Usl = Usl { lambda: 4_000.0, sigma: 0.02, kappa: 0.000_05 };

    fn capacity(clients: u32) -> Capacity {
        let x = LAW.at(f64::from(clients));
        Capacity {
            deliveries_per_s: x,
            deliveries_per_cpu_s: Some(2.0 * x),
            limited_by: Some(Bottleneck::Server),
            ..Capacity::default()
        }
    }

    fn forecast(sizes: &[u32], change: impl Fn(u32, &mut Capacity), wanted: &[u32]) -> Forecast {
        let made: Vec<_> = sizes
            .iter()
            .map(|clients| {
                let mut capacity = capacity(*clients);
                change(*clients, &mut capacity);
                (*clients, capacity)
            })
            .collect();
        let steps: Vec<_> = made.iter().map(|(clients, capacity)| (*clients, capacity)).collect();
        let forecast = Forecast::new(&steps, wanted);
        let json = serde_json::to_string(&forecast).expect("JSON");
        assert!(!json.contains("NaN") && !json.contains("inf"), "{json}");
        forecast
    }

    #[track_caller]
    fn near(found: f64, expected: f64) {
        assert!((found / expected - 1.0).abs() < 1e-3, "{found} is not about {expected}");
    }

    #[test]
    fn the_forecast_uses_the_servers_cpu_time() {
        let found = forecast(&[10, 25, 50, 75, 100], |_, _| {}, &[]);
        assert_eq!((found.basis, &found.none_because), (Some(Basis::ServerCpu), &None));
        let sizes: Vec<_> = found.predicted.iter().map(|predicted| predicted.clients).collect();
        assert_eq!(sizes, [200, 500, 1_000]);
        for predicted in &found.predicted {
            near(predicted.deliveries_per_s, 2.0 * LAW.at(f64::from(predicted.clients)));
            near(predicted.messages_per_s, predicted.deliveries_per_s / f64::from(predicted.clients));
        }
        near(found.peak_clients.expect("a peak"), (0.98_f64 / 0.000_05).sqrt());
        assert!(found.fit_error_percent.is_some_and(|error| error < 0.01), "{found:?}");
        assert_eq!(found.measured.len(), 5);
    }

    #[test]
    fn the_largest_step_checks_the_forecast_of_the_others() {
        let found = forecast(&[100, 10, 25, 50], |_, _| {}, &[300]);
        let held_out = found.held_out.expect("four steps");
        assert_eq!(held_out.clients, 100);
        near(held_out.predicted, 2.0 * LAW.at(100.0));
        assert!(held_out.error_percent.abs() < 0.1, "{held_out:?}");
        assert_eq!(found.predicted.len(), 1);
        // The largest is a quarter below the forecast from the others.
        let less = |clients, capacity: &mut Capacity| {
            if clients == 100 {
                capacity.deliveries_per_cpu_s = Some(1.5 * LAW.at(100.0));
            }
        };
        let held_out = forecast(&[10, 25, 50, 100], less, &[]).held_out.expect("four steps");
        near(held_out.measured, 1.5 * LAW.at(100.0));
        near(held_out.error_percent, 100.0 / 3.0);
    }

    #[test]
    fn without_cpu_time_only_steps_count_in_which_the_server_was_the_bottleneck() {
        let no_cpu = |_, capacity: &mut Capacity| capacity.deliveries_per_cpu_s = None;
        let found = forecast(&[10, 25, 50, 75], no_cpu, &[200]);
        assert_eq!(found.basis, Some(Basis::ClosedLoop));
        near(found.predicted[0].deliveries_per_s, LAW.at(200.0));
        let busy = |clients, capacity: &mut Capacity| {
            capacity.deliveries_per_cpu_s = None;
            if clients > 50 {
                capacity.limited_by = Some(Bottleneck::Harness);
            }
        };
        let found = forecast(&[10, 25, 50, 75, 100], busy, &[]);
        let because = found.none_because.expect("three are too few");
        assert!(because.contains("there are 3: of 5 steps"), "{because}");
        let left_out: Vec<_> = found.left_out.iter().map(|step| step.clients).collect();
        assert_eq!(left_out, [75, 100]);
        assert!(found.left_out[0].because.contains("--server-pid"), "{:?}", found.left_out);
        assert!(found.law.is_none() && found.predicted.is_empty());
    }

    #[test]
    fn without_cpu_time_a_step_limited_by_neither_is_excluded() {
        let waited = |clients, capacity: &mut Capacity| {
            capacity.deliveries_per_cpu_s = None;
            if clients == 25 {
                capacity.limited_by = Some(Bottleneck::Neither);
            }
        };
        let found = forecast(&[10, 25, 50, 75, 100], waited, &[]);
        assert_eq!((found.basis, found.measured.len()), (Some(Basis::ClosedLoop), 4));
        assert_eq!((found.left_out[0].clients, &found.none_because), (25, &None));
    }

    #[test]
    fn too_little_cpu_time_does_not_change_the_basis() {
        let little = |most: u32| {
            move |clients, capacity: &mut Capacity| {
                capacity.server_cpu = Some(0.5);
                if clients <= most {
                    capacity.deliveries_per_cpu_s = None;
                }
            }
        };
        let found = forecast(&[10, 25, 50, 75, 100], little(10), &[]);
        assert_eq!((found.basis, found.measured.len()), (Some(Basis::ServerCpu), 4));
        assert!(found.left_out[0].because.contains("too little to measure"), "{:?}", found.left_out);
        // All five have a figure by the wall clock, but in another unit.
        for most in [25, 100] {
            let found = forecast(&[10, 25, 50, 75, 100], little(most), &[]);
            assert_eq!((found.basis, found.law), (Some(Basis::ServerCpu), None));
            let because = found.none_because.expect("too few");
            assert!(because.contains("a second of the server's CPU, there are"), "{because}");
        }
    }

    #[test]
    fn too_few_steps_make_no_forecast() {
        for sizes in [&[][..], &[10], &[10, 20, 30], &[10, 20, 30, 30]] {
            let because = forecast(sizes, |_, _| {}, &[]).none_because.expect("too few");
            assert!(because.starts_with("a forecast needs 4 steps"), "{because}");
        }
        let unusable = |clients, capacity: &mut Capacity| {
            capacity.unusable_because = (clients == 10).then(|| "missing=0: found 3 of 10".into());
        };
        assert!(forecast(&[10, 20, 30, 40], unusable, &[]).none_because.is_some());
    }

    #[test]
    fn degenerate_measurements_give_finite_forecasts() {
        let fixed = |x: f64| move |_, capacity: &mut Capacity| capacity.deliveries_per_cpu_s = Some(x);
        let flat = forecast(&[10, 25, 50, 75], fixed(5_000.0), &[]);
        assert!((flat.predicted[2].deliveries_per_s / 5_000.0 - 1.0).abs() < 0.02, "{flat:?}");
        let straight = |clients, capacity: &mut Capacity| {
            capacity.deliveries_per_cpu_s = Some(3.0 * f64::from(clients));
        };
        let straight = forecast(&[10, 25, 50, 75], straight, &[]);
        assert!((straight.predicted[2].deliveries_per_s / 2_250.0 - 1.0).abs() < 0.02, "{straight:?}");
        for x in [0.0, f64::NAN, f64::INFINITY] {
            let none = forecast(&[10, 25, 50, 75], fixed(x), &[]);
            assert!(none.none_because.is_some_and(|because| because.contains("cannot be fitted")), "{x}");
        }
    }
}
