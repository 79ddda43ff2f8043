//! What more clients would come to, by the Universal Scalability Law, and how far off such a forecast is.

use serde::{Deserialize, Serialize};

use super::capacity::CPU_S_MIN;
use super::{Capacity, Pace, Usl};

/// Fewest steps for a forecast: the law has three parameters, and one step is kept to hold the forecast against.
pub const STEPS_MIN: usize = 4;

/// What is fitted, and forecast.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "testing", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Basis {
    /// Deliveries in a second of the server's CPU time, whoever set the pace.
    ServerCpu,
    /// Deliveries in a second, where the server set the pace. Its CPU time is not known.
    ClosedLoop,
}

impl Basis {
    /// What one delivery figure counts.
    pub fn unit(self) -> &'static str {
        match self {
            Self::ServerCpu => "deliveries a second of the server's CPU",
            Self::ClosedLoop => "deliveries a second of wall-clock time, where the server set the pace",
        }
    }

    /// What a step has to say in this unit, or why nothing.
    fn figure(self, capacity: &Capacity) -> Result<f64, String> {
        if let Some(why) = &capacity.unusable_because {
            return Err(why.clone());
        }
        match (self, capacity.limited_by) {
            (Self::ServerCpu, _) => capacity.deliveries_per_cpu_s.ok_or_else(|| match capacity.server_cpu {
                Some(_) => format!(
                    "the server used too little CPU time to be told, less than {CPU_S_MIN} s (a longer --duration helps)"
                ),
                None => "the server's CPU time is not known".into(),
            }),
            (Self::ClosedLoop, Some(Pace::Server)) => Ok(capacity.deliveries_per_s),
            (Self::ClosedLoop, Some(Pace::Harness)) => Err("the harness set the pace and not the server \
                (with --data, or --server-pid, the server's CPU time is used instead)"
                .into()),
            (Self::ClosedLoop, Some(Pace::Neither) | None) => Err("the server did not set the pace".into()),
        }
    }
}

/// A step that did not go into the fit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "testing", derive(schemars::JsonSchema))]
pub struct LeftOut {
    /// Members of the room.
    pub clients: u32,
    /// Why.
    pub because: String,
}

/// A step's measurement, as it went into the fit or not.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "testing", derive(schemars::JsonSchema))]
pub struct Measured {
    /// Members of the room.
    pub clients: u32,
    /// What was measured.
    pub deliveries_per_s: f64,
}

/// A room that was not measured.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "testing", derive(schemars::JsonSchema))]
pub struct Predicted {
    /// Members of the room.
    pub clients: u32,
    /// What it can have.
    pub deliveries_per_s: f64,
    /// The messages that these are: each is delivered to every member.
    pub messages_per_s: f64,
}

/// The largest room that was measured, as the others would have forecast it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "testing", derive(schemars::JsonSchema))]
pub struct HeldOut {
    /// Members of the room.
    pub clients: u32,
    /// What was measured.
    pub measured: f64,
    /// What the fit of all smaller ones says.
    pub predicted: f64,
    /// How much more that is than what was measured, in percent of it; below 0 if it is less.
    pub error_percent: f64,
}

/// A forecast, or why there is none.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "testing", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct Forecast {
    /// What the figures are.
    pub basis: Option<Basis>,
    /// The law, fitted to all that was measured.
    pub law: Option<Usl>,
    /// The root of the mean square of its relative errors there, in percent.
    pub fit_error_percent: Option<f64>,
    /// Members beyond which more of them get less; none if there is no such number.
    pub peak_clients: Option<f64>,
    /// What was measured and fitted.
    pub measured: Vec<Measured>,
    /// What was not, as it says nothing in the unit of the others.
    pub left_out: Vec<LeftOut>,
    /// How far off such a forecast was for the largest room.
    pub held_out: Option<HeldOut>,
    /// The forecast.
    pub predicted: Vec<Predicted>,
    /// Why there is none.
    pub none_because: Option<String>,
}

impl Forecast {
    /// A forecast for rooms of `sizes` from what was measured with so many clients; without sizes, for 2, 5 and 10 times the
    /// largest.
    pub fn new(steps: &[(u32, &Capacity)], sizes: &[u32]) -> Self {
        // Figures of one kind only, and which kind must not depend on how the steps went.
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

    /// No forecast, since the run was cut short when so much was measured.
    pub(super) fn cut(self) -> Self {
        let measured = self.measured.len();
        let because = format!(
            "the run was cut short, with {measured} of the {STEPS_MIN} steps measured that it needs at least"
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
        let (Some(law), Some(of_smaller)) = (Usl::fit(&points), Usl::fit(smaller)) else {
            let because = "the measurements cannot be fitted by the Universal Scalability Law";
            return Self { none_because: Some(because.into()), ..forecast };
        };
        let squares = points.iter().map(|(n, x)| (law.at(*n) / x - 1.0).powi(2)).sum::<f64>();
        let largest_clients = measured.last().map_or(0, |(clients, _)| *clients);
        let predicted = of_smaller.at(largest.0);
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
        if usable == steps { String::new() } else { format!(": of {steps} steps the others were left out") };
    let unit = basis.unit();
    format!(
        "a forecast needs {STEPS_MIN} steps with different numbers of clients, three for its parameters and one to hold it \
         against; measured in {unit}, there are {usable}{of}"
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
            limited_by: Some(Pace::Server),
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
    fn more_clients_are_forecast_by_the_servers_cpu() {
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
    fn the_largest_step_is_held_against_the_forecast_of_the_others() {
        let found = forecast(&[100, 10, 25, 50], |_, _| {}, &[300]);
        let held_out = found.held_out.expect("four steps");
        assert_eq!(held_out.clients, 100);
        near(held_out.predicted, 2.0 * LAW.at(100.0));
        assert!(held_out.error_percent.abs() < 0.1, "{held_out:?}");
        assert_eq!(found.predicted.len(), 1);
        // The largest is a quarter less than the others lead to expect.
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
    fn without_the_servers_cpu_only_steps_count_in_which_it_set_the_pace() {
        let no_cpu = |_, capacity: &mut Capacity| capacity.deliveries_per_cpu_s = None;
        let found = forecast(&[10, 25, 50, 75], no_cpu, &[200]);
        assert_eq!(found.basis, Some(Basis::ClosedLoop));
        near(found.predicted[0].deliveries_per_s, LAW.at(200.0));
        let busy = |clients, capacity: &mut Capacity| {
            capacity.deliveries_per_cpu_s = None;
            if clients > 50 {
                capacity.limited_by = Some(Pace::Harness);
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
    fn a_step_in_which_nobody_set_the_pace_says_nothing_by_the_wall_clock() {
        let waited = |clients, capacity: &mut Capacity| {
            capacity.deliveries_per_cpu_s = None;
            if clients == 25 {
                capacity.limited_by = Some(Pace::Neither);
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
        assert!(found.left_out[0].because.contains("too little CPU time to be told"), "{:?}", found.left_out);
        // All five would do by the wall clock, but that is another unit.
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
        let spoilt = |clients, capacity: &mut Capacity| {
            capacity.unusable_because = (clients == 10).then(|| "missing=0: found 3 of 10".into());
        };
        assert!(forecast(&[10, 20, 30, 40], spoilt, &[]).none_because.is_some());
    }

    #[test]
    fn degenerate_measurements_make_no_nonsense() {
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
