//! Axes: their ranges and ticks.

use throng_harness_model::text::{format_bytes, format_nanos, format_rate};

/// Maximum of steps between the ticks of a linear axis.
const STEPS_MAX: f64 = 4.0;
/// Maximum of ticks on a time axis besides zero.
const TIME_TICKS: f64 = 6.0;
/// Maximum of ticks of a logarithmic axis that has more than one in each decade.
const LOG_TICKS: usize = 8;
/// Highest over lowest value from which on an axis is logarithmic, if it may be.
const LOG_SPAN: f64 = 20.0;
/// Highest over lowest value of an axis.
const LOG_SPAN_MAX: f64 = 1e9;
/// A limit above so many times the highest value is left out of a linear axis, as it would squash
/// the lines.
const LIMIT_REACH: f64 = 3.0;

/// Unit of a chart's values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// A number of things, or of things per second.
    Count,
    /// A time in microseconds.
    Micros,
    /// A share: 1 is 100 %.
    Share,
    /// A size in bytes.
    Bytes,
}

impl Unit {
    pub(super) fn show(self, value: f64) -> String {
        match self {
            Self::Count => format_rate(value),
            Self::Share => format!("{:.0}%", value * 100.0),
            Self::Micros | Self::Bytes if value <= 0.0 => "0".into(),
            Self::Micros => format_nanos(value * 1e3),
            #[allow(clippy::cast_sign_loss)] // it is above 0
            Self::Bytes => format_bytes(value as u64),
        }
    }

    /// The smallest distance of two ticks whose labels differ.
    fn step_min(self) -> f64 {
        match self {
            Self::Count => 1.0,
            Self::Micros => 0.001,
            Self::Share => 0.01,
            Self::Bytes => 1_000.0,
        }
    }
}

/// The horizontal axis of a chart.
#[derive(Debug, Clone)]
pub struct XAxis {
    /// Positions of the labels, and the labels, from left to right.
    pub ticks: Vec<(f64, String)>,
    /// Position of the left end.
    pub start: f64,
    /// Position of the right end, above `start`.
    pub end: f64,
    /// Names a position in tooltips.
    pub name: fn(f64) -> String,
}

impl XAxis {
    /// An axis of `seconds`, with ticks at times that a clock would show.
    pub fn seconds(seconds: f64) -> Self {
        Self { ticks: time_ticks(seconds), start: 0.0, end: seconds, name: time_name }
    }

    /// An axis of numbers from 0 to a round one that is not below `highest`, which is above 0.
    pub fn numbers(highest: f64, name: fn(f64) -> String) -> Self {
        let ticks = round_ticks(highest, 1.0);
        let end = ticks.last().copied().unwrap_or(highest);
        let ticks = ticks.into_iter().map(|tick| (tick, format_rate(tick))).collect();
        Self { ticks, start: 0.0, end, name }
    }

    /// A logarithmic axis around times in microseconds. Its positions are their logarithms.
    pub fn decades(lowest: f64, highest: f64) -> Self {
        let highest = highest.max(1e-3);
        let ticks = log_ticks(lowest.max(highest / LOG_SPAN_MAX), highest);
        let (start, end) = (ticks[0].log10(), ticks[ticks.len() - 1].log10());
        let ticks = labeled(&ticks).map(|tick| (tick.log10(), Unit::Micros.show(tick))).collect();
        Self { ticks, start, end, name: |at| Unit::Micros.show(10_f64.powf(at)) }
    }
}

/// The vertical axis of a chart.
#[derive(Debug)]
pub(super) struct YAxis {
    /// Values of the labels, from below.
    pub(super) ticks: Vec<f64>,
    low: f64,
    high: f64,
    is_log: bool,
}

impl YAxis {
    /// An axis for `values` and those of `limits` that are within its reach. It begins at 0, unless
    /// it may be logarithmic and the values differ enough. None without a value above zero.
    pub(super) fn new(unit: Unit, values: &[f64], limits: &[f64], may_be_log: bool) -> Option<Self> {
        let highest = values.iter().copied().fold(0.0, f64::max);
        // True also for NaN.
        if !(highest > 0.0 && highest.is_finite()) {
            return None;
        }
        let above_zero = |value: &f64| *value > 0.0 && value.is_finite();
        let lowest = values.iter().copied().filter(above_zero).fold(highest, f64::min);
        if may_be_log && highest / lowest >= LOG_SPAN {
            let limits = || limits.iter().copied().filter(above_zero);
            let highest = limits().fold(highest, f64::max);
            // A file may hold any number, and an axis has few labels.
            let lowest = limits().fold(lowest, f64::min).max(highest / LOG_SPAN_MAX);
            let all = log_ticks(lowest, highest);
            let (low, high) = (all[0].log10(), all[all.len() - 1].log10());
            return Some(Self { ticks: labeled(&all).collect(), low, high, is_log: true });
        }
        let reach = highest * LIMIT_REACH;
        let highest = limits.iter().copied().filter(|limit| *limit <= reach).fold(highest, f64::max);
        let ticks = round_ticks(highest, unit.step_min());
        let high = ticks.last().copied().unwrap_or(highest);
        Some(Self { ticks, low: 0.0, high, is_log: false })
    }

    /// The position of a value: 0 at the lower end, 1 at the upper one, and 0 below it.
    pub(super) fn place(&self, value: f64) -> f64 {
        let at = if self.is_log { value.max(f64::MIN_POSITIVE).log10() } else { value };
        ((at - self.low) / (self.high - self.low)).max(0.0)
    }

    /// True if the value is within the axis.
    pub(super) fn has(&self, value: f64) -> bool {
        self.place(value) <= 1.0 + 1e-9
    }
}

/// Round numbers from 0 to the first that is not below `highest`, which is above 0.
fn round_ticks(highest: f64, step_min: f64) -> Vec<f64> {
    let magnitude = 10_f64.powf((highest / STEPS_MAX).log10().floor());
    let round = [1.0, 2.0, 5.0, 10.0].map(|factor| factor * magnitude);
    let step = round.into_iter().find(|step| step * STEPS_MAX >= highest).unwrap_or(highest).max(step_min);
    ticks(step, highest + step).collect()
}

/// The numbers 1, 2 and 5 of each decade from the last that is not above `lowest` to the first that
/// is not below `highest`; at least two. Both are above 0.
fn log_ticks(lowest: f64, highest: f64) -> Vec<f64> {
    let (first, last) = (lowest.log10().floor(), highest.log10().floor());
    let decades = (0..100).map(|decade| first + f64::from(decade)).take_while(|decade| *decade <= last + 1.0);
    // A quotient is exact where a product with a negative power of ten is not.
    let power = |decade: f64| {
        move |factor: f64| {
            if decade < 0.0 { factor / 10_f64.powf(-decade) } else { factor * 10_f64.powf(decade) }
        }
    };
    let all: Vec<f64> = decades.flat_map(|decade| [1.0, 2.0, 5.0].map(power(decade))).collect();
    let near = |tick: f64| tick * 1e-9;
    let from = all.iter().rposition(|tick| *tick <= lowest + near(lowest)).unwrap_or(0);
    let to = all.iter().position(|tick| *tick >= highest - near(highest)).unwrap_or(all.len() - 1);
    all[from..=to.max(from + 1)].to_vec()
}

/// The ticks that have a label: all, or if those are too many, the powers of ten and the ends that
/// are far from one.
fn labeled(ticks: &[f64]) -> impl Iterator<Item = f64> {
    let is_few = ticks.len() <= LOG_TICKS;
    let [first, last] = [ticks[0], ticks[ticks.len() - 1]];
    // From 0 to 1 within a decade, of which 5 has 0.7.
    let part = |tick: f64| (tick.log10() + 1e-9).rem_euclid(1.0);
    let is_labeled = move |tick: f64| match part(tick) {
        part if part < 0.1 => true,
        part if tick <= first => part < 0.5,
        part => tick >= last && part > 0.5,
    };
    ticks.iter().copied().filter(move |tick| is_few || is_labeled(*tick))
}

fn time_name(seconds: f64) -> String {
    if seconds > 0.0 { format_nanos(seconds * 1e9) } else { "0".into() }
}

/// Ticks over `seconds` at times that a clock would show.
fn time_ticks(seconds: f64) -> Vec<(f64, String)> {
    const STEPS: [u32; 17] =
        [1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1_200, 1_800, 3_600, 7_200, 14_400, 28_800, 86_400];
    let mut steps = STEPS.into_iter().map(f64::from);
    let step = steps.find(|step| step * TIME_TICKS >= seconds).unwrap_or(seconds / TIME_TICKS);
    // Rounding must not lose a tick at the very end of the axis.
    ticks(step, seconds + step * 0.01).map(|at| (at, time_name(at))).collect()
}

/// Multiples of `step` from 0 to below `end`.
fn ticks(step: f64, end: f64) -> impl Iterator<Item = f64> {
    (0..100).map(move |count| f64::from(count) * step).take_while(move |tick| *tick < end)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(found: &[f64], expected: &[f64]) -> bool {
        let alike = |(a, b): (&f64, &f64)| (a - b).abs() <= b.abs() * 1e-6;
        found.len() == expected.len() && found.iter().zip(expected).all(alike)
    }

    #[test]
    fn vertical_ticks_are_round_and_reach_the_highest() {
        let check = |highest, step_min, expected: &[f64]| {
            let found = round_ticks(highest, step_min);
            assert!(near(&found, expected), "{highest}: {found:?}");
        };
        check(100.0, 1.0, &[0.0, 50.0, 100.0]);
        check(75.0, 0.0, &[0.0, 20.0, 40.0, 60.0, 80.0]);
        check(0.3, 0.0, &[0.0, 0.1, 0.2, 0.3]);
        check(1.0, 1.0, &[0.0, 1.0]);
        check(8_999.0, 1.0, &[0.0, 5_000.0, 10_000.0]);
    }

    #[test]
    fn logarithmic_ticks_enclose_the_values() {
        let check = |lowest, highest, expected: &[f64], shown: &[f64]| {
            let found = log_ticks(lowest, highest);
            assert!(near(&found, expected), "{lowest} to {highest}: {found:?}");
            let labels: Vec<f64> = labeled(&found).collect();
            assert!(near(&labels, shown), "{lowest} to {highest}: {labels:?}");
        };
        check(3.0, 70.0, &[2.0, 5.0, 10.0, 20.0, 50.0, 100.0], &[2.0, 5.0, 10.0, 20.0, 50.0, 100.0]);
        check(1.0, 1.0, &[1.0, 2.0], &[1.0, 2.0]);
        check(0.001, 0.005, &[0.001, 0.002, 0.005], &[0.001, 0.002, 0.005]);
        let many = log_ticks(300.0, 7e6);
        assert_eq!((many[0], many[many.len() - 1]), (200.0, 1e7), "{many:?}");
        assert!(near(&labeled(&many).collect::<Vec<_>>(), &[200.0, 1e3, 1e4, 1e5, 1e6, 1e7]), "{many:?}");
        let many: Vec<_> = labeled(&log_ticks(500.0, 5e6)).collect();
        assert!(near(&many, &[1e3, 1e4, 1e5, 1e6, 5e6]), "{many:?}");
    }

    #[test]
    fn an_axis_is_logarithmic_only_if_its_values_differ_much() {
        let axis = |values: &[f64], limits: &[f64]| {
            YAxis::new(Unit::Micros, values, limits, true).expect("above zero")
        };
        assert!(near(&axis(&[10.0, 190.0], &[]).ticks, &[0.0, 50.0, 100.0, 150.0, 200.0]));
        let log = axis(&[10.0, 1_000.0], &[]);
        assert!((log.place(100.0) - 0.5).abs() < 1e-9 && log.place(0.0).abs() < 1e-9, "{log:?}");
        // A limit is drawn unless it would squash the lines.
        assert!(axis(&[10.0, 100.0], &[300.0]).has(300.0));
        assert!(!axis(&[10.0, 100.0], &[301.0]).has(301.0));
        let log = axis(&[10.0, 1_000.0], &[1.0, 1e6]);
        assert!(log.has(1e6) && log.place(1.0).abs() < 1e-9 && log.place(10.0) > 0.1, "{log:?}");
        for nothing in [&[][..], &[0.0], &[f64::NAN], &[f64::INFINITY]] {
            assert!(YAxis::new(Unit::Micros, nothing, &[5.0], true).is_none(), "{nothing:?}");
        }
    }

    #[test]
    fn time_ticks_are_round_times() {
        let check = |seconds, labels: &str| {
            let found: Vec<String> = time_ticks(seconds).into_iter().map(|(_, label)| label).collect();
            assert_eq!(found.join(" "), labels, "{seconds}");
        };
        check(2.0, "0 1 s 2 s");
        check(12.0, "0 2 s 4 s 6 s 8 s 10 s 12 s");
        check(12.01, "0 5 s 10 s");
        check(600.0, "0 2 min 4 min 6 min 8 min 10 min");
        check(60_000.0, "0 4 h 8 h 12 h 16 h");
    }

    #[test]
    fn values_have_their_unit() {
        let check = |unit: Unit, value, shown: &str| assert_eq!(unit.show(value), shown);
        check(Unit::Count, 8_000.0, "8,000");
        check(Unit::Micros, 1_500.0, "1.50 ms");
        check(Unit::Micros, 0.0, "0");
        check(Unit::Share, 0.5, "50%");
        check(Unit::Bytes, 2e6, "2.0 MB");
    }
}
