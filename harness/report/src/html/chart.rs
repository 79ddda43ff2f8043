//! Line charts as inline SVG, without scripts.
//!
//! A long line is thinned to a fixed number of points, of which the lowest and the highest of each
//! stretch are kept. A chart without a value above zero renders as nothing.

use std::borrow::Cow;
use std::fmt::Write;

use maud::{Markup, Render, html};

use throng_harness_model::text::{format_bytes, format_nanos, format_rate};

/// Width and height of a chart that shares its row with another, in the chart's own pixels, as
/// are all sizes here.
const SMALL: (f64, f64) = (430.0, 190.0);
/// Width of a chart that has a row of its own.
const WIDE: f64 = 860.0;
/// Space for the labels left of the lines.
const LEFT: f64 = 62.0;
const RIGHT: f64 = 14.0;
const TOP: f64 = 10.0;
const BOTTOM: f64 = 26.0;
/// Maximum of ticks on the vertical axis besides zero.
const Y_TICKS: f64 = 4.0;
/// Maximum of ticks on a time axis besides zero.
const TIME_TICKS: f64 = 6.0;
/// Maximum of points of a line for each to be a dot with a tooltip.
const DOTS_MAX: usize = 12;
/// Stretches that a long line is thinned by. Each keeps its lowest and its highest point, so that
/// a peak of one second is visible even in a run of a day.
const STRETCHES_MAX: usize = 300;
/// Columns of a chart of long lines, each with a tooltip.
const TOOLTIPS: usize = 60;
/// Line colors of the style sheet.
const COLORS: usize = 8;

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
    fn show(self, value: f64) -> String {
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

/// Position on the horizontal axis, and the value there, if there is one.
pub(super) type Point = (f64, Option<f64>);

/// A line of a chart.
#[derive(Debug)]
pub struct Line<'a> {
    name: Cow<'a, str>,
    /// From left to right. A point without a value interrupts the line.
    points: Vec<Point>,
    /// True for a dashed line, which leaves a line below it visible.
    is_dashed: bool,
}

impl<'a> Line<'a> {
    /// A solid line.
    pub fn new(name: impl Into<Cow<'a, str>>, points: impl IntoIterator<Item = Point>) -> Self {
        Self { name: name.into(), points: points.into_iter().collect(), is_dashed: false }
    }

    /// The same line, dashed if so.
    #[must_use]
    pub fn dashed_if(self, is_dashed: bool) -> Self {
        Self { is_dashed, ..self }
    }

    /// The position of the last point; 0 without points.
    pub fn end(&self) -> f64 {
        self.points.last().map_or(0.0, |(at, _)| *at)
    }

    /// The class of the line, or of its key, which gives it its color.
    fn class(&self, kind: &str, number: usize) -> String {
        format!("{kind} c{}{}", number % COLORS, if self.is_dashed { " dashed" } else { "" })
    }
}

/// The horizontal axis of a chart. It begins at 0.
#[derive(Debug, Clone)]
pub struct XAxis {
    /// Positions of the labels, and the labels.
    pub ticks: Vec<(f64, String)>,
    /// Above 0.
    pub end: f64,
    /// Names a position in tooltips.
    pub name: fn(f64) -> String,
}

impl XAxis {
    /// An axis of `seconds`, with ticks at times that a clock would show.
    pub fn seconds(seconds: f64) -> Self {
        Self { ticks: time_ticks(seconds), end: seconds, name: time_name }
    }
}

/// Lines over one horizontal axis.
#[derive(Debug)]
pub struct Chart<'a> {
    title: Cow<'a, str>,
    size: (f64, f64),
    unit: Unit,
    axis: XAxis,
    lines: Vec<Line<'a>>,
    /// A highlighted stretch of the axis.
    shade: Option<(f64, f64)>,
}

impl<'a> Chart<'a> {
    /// A chart that shares its row with another.
    pub fn small(
        title: impl Into<Cow<'a, str>>,
        unit: Unit,
        axis: XAxis,
        lines: impl IntoIterator<Item = Line<'a>>,
    ) -> Self {
        let lines = lines.into_iter().collect();
        Self { title: title.into(), size: SMALL, unit, axis, lines, shade: None }
    }

    /// The chart with a row of its own.
    #[must_use]
    pub fn wide(self, height: f64) -> Self {
        Self { size: (WIDE, height), ..self }
    }

    /// The chart with a stretch of its axis highlighted.
    #[must_use]
    pub fn shaded(self, shade: Option<(f64, f64)>) -> Self {
        Self { shade, ..self }
    }

    fn render_caption(&self) -> Markup {
        let has_values = |line: &Line<'_>| line.points.iter().any(|(_, value)| value.is_some());
        let lines = self.lines.iter().enumerate().filter(|(_, line)| has_values(line));
        html! {
            figcaption {
                strong { (self.title) }
                @if self.lines.len() > 1 {
                    @for (number, line) in lines { span class=(line.class("key", number)) { (line.name) } }
                }
            }
        }
    }

    /// A stretch of the horizontal axis from top to bottom.
    fn render_column(&self, frame: &Frame, class: &str, (from, to): (f64, f64), title: &Markup) -> Markup {
        let [left, right] = [from, to].map(|at| frame.x(at.clamp(0.0, self.axis.end)));
        let height = px(self.size.1 - TOP - BOTTOM);
        html! {
            rect class=(class) x=(px(left)) y=(px(TOP)) width=(px(right - left)) height=(height) { (title) }
        }
    }

    /// Invisible columns whose tooltips show the highest value of each line within them. A line
    /// without a point there has the value of the column before.
    fn render_tooltips(&self, frame: &Frame) -> Markup {
        let mut next = vec![0; self.lines.len()];
        let mut shown: Vec<Option<f64>> = vec![None; self.lines.len()];
        let mut columns = Markup::default();
        for column in 0..TOOLTIPS {
            let [from, to] = [column, column + 1].map(|edge| self.axis.end * edge as f64 / TOOLTIPS as f64);
            let mut text = (self.axis.name)(to);
            for ((line, next), shown) in self.lines.iter().zip(&mut next).zip(&mut shown) {
                let points = &line.points[*next..];
                let within = points.iter().take_while(|(at, _)| *at <= to + 1e-9);
                let highest = within.clone().filter_map(|(_, value)| *value).reduce(f64::max);
                let count = within.count();
                *next += count;
                if count > 0 {
                    *shown = highest;
                }
                if let Some(value) = shown {
                    let _ = write!(text, "\n{}: {}", line.name, self.unit.show(*value));
                }
            }
            if shown.iter().any(Option::is_some) {
                let title = html! { title { (text) } };
                self.render_column(frame, "hint", (from, to), &title).render_to(&mut columns.0);
            }
        }
        columns
    }

    fn render_axes(&self, frame: &Frame, y_ticks: &[f64]) -> Markup {
        let (width, height) = self.size;
        let (left, right, label_right) = (px(LEFT), px(width - RIGHT), px(LEFT - 6.0));
        let (bottom, tick_bottom, label_bottom) =
            (px(height - BOTTOM), px(height - BOTTOM + 4.0), px(height - 7.0));
        html! {
            @for (y, tick) in y_ticks.iter().map(|tick| (frame.y(*tick), *tick)) {
                line.grid x1=(left) x2=(right) y1=(px(y)) y2=(px(y)) {}
                text.y x=(label_right) y=(px(y + 4.0)) { (self.unit.show(tick)) }
            }
            @for (x, label) in self.axis.ticks.iter().map(|(at, label)| (px(frame.x(*at)), label)) {
                line.grid x1=(x) x2=(x) y1=(bottom) y2=(tick_bottom) {}
                text.x x=(x) y=(label_bottom) { (label) }
            }
        }
    }

    fn render_line(&self, frame: &Frame, number: usize, line: &Line<'_>) -> Markup {
        let dots = if line.points.len() > DOTS_MAX { &[][..] } else { &line.points };
        let dots = dots.iter().filter_map(|(at, value)| Some((*at, (*value)?)));
        html! {
            path class=(line.class("line", number)) d=(frame.path(&thinned(&line.points))) {}
            @for (at, value) in dots {
                circle class={ "dot c" (number % COLORS) } cx=(px(frame.x(at))) cy=(px(frame.y(value))) r="3" {
                    title { (line.name) " " ((self.axis.name)(at)) ": " (self.unit.show(value)) }
                }
            }
        }
    }
}

impl Render for Chart<'_> {
    fn render(&self) -> Markup {
        let values = self.lines.iter().flat_map(|line| &line.points).filter_map(|(_, value)| *value);
        let highest = values.fold(0.0, f64::max);
        // True also for NaN.
        if !(highest > 0.0 && highest.is_finite()) {
            return Markup::default();
        }
        let y_ticks = round_ticks(highest, self.unit.step_min());
        let y_end = y_ticks.last().copied().unwrap_or(highest);
        let frame = Frame { size: self.size, x_end: self.axis.end, y_end };
        // On a phone a wide chart is scrolled: scaled down, it would be too small to read.
        let is_wide = self.size.0 > SMALL.0;
        let is_long = self.lines.iter().any(|line| line.points.len() > DOTS_MAX);
        html! {
            figure.wide[is_wide].narrow[!is_wide] {
                (self.render_caption())
                svg viewBox={ "0 0 " (self.size.0) " " (self.size.1) } role="img" aria-label=(self.title) {
                    @if let Some(shade) = self.shade {
                        (self.render_column(&frame, "shade", shade, &Markup::default()))
                    }
                    (self.render_axes(&frame, &y_ticks))
                    @for (number, line) in self.lines.iter().enumerate() {
                        (self.render_line(&frame, number, line))
                    }
                    @if is_long { (self.render_tooltips(&frame)) }
                }
            }
        }
    }
}

/// Scale from values to pixels.
struct Frame {
    size: (f64, f64),
    x_end: f64,
    y_end: f64,
}

impl Frame {
    fn x(&self, at: f64) -> f64 {
        LEFT + at / self.x_end * (self.size.0 - LEFT - RIGHT)
    }

    fn y(&self, value: f64) -> f64 {
        let height = self.size.1 - TOP - BOTTOM;
        TOP + height - value / self.y_end * height
    }

    fn path(&self, points: &[Point]) -> String {
        let mut path = String::new();
        let mut drawing = false;
        for (at, value) in points {
            if let Some(value) = value {
                // A stroke of no length after each beginning, whose round ends make a point
                // between two gaps visible.
                let (step, end) = if drawing { ('L', "") } else { ('M', "h0") };
                let _ = write!(path, "{step}{} {}{end}", px(self.x(*at)), px(self.y(*value)));
            }
            drawing = value.is_some();
        }
        path
    }
}

/// A coordinate to a tenth of a pixel.
fn px(value: f64) -> String {
    format!("{value:.1}")
}

/// Round numbers from 0 to the first that is not below `highest`, which is above 0.
fn round_ticks(highest: f64, step_min: f64) -> Vec<f64> {
    let magnitude = 10_f64.powf((highest / Y_TICKS).log10().floor());
    let round = [1.0, 2.0, 5.0, 10.0].map(|factor| factor * magnitude);
    let step = round.into_iter().find(|step| step * Y_TICKS >= highest).unwrap_or(highest).max(step_min);
    ticks(step, highest + step).collect()
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

/// The lowest and the highest point of each stretch of a long line; a short line as it is.
fn thinned(points: &[Point]) -> Vec<Point> {
    if points.len() <= 2 * STRETCHES_MAX {
        return points.to_vec();
    }
    points.chunks(points.len().div_ceil(STRETCHES_MAX)).flat_map(extremes).collect()
}

/// The lowest and the highest point in their order, or a gap if no point has a value.
fn extremes(stretch: &[Point]) -> [Point; 2] {
    let values = || stretch.iter().filter(|(_, value)| value.is_some());
    let by_value = |a: &&Point, b: &&Point| a.1.unwrap_or(0.0).total_cmp(&b.1.unwrap_or(0.0));
    match (values().min_by(by_value), values().max_by(by_value)) {
        (Some(low), Some(high)) if low.0 <= high.0 => [*low, *high],
        (Some(low), Some(high)) => [*high, *low],
        _ => [stretch[0]; 2],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vertical_ticks_are_round_and_reach_the_highest() {
        let check = |highest, step_min, expected: &[f64]| {
            let found = round_ticks(highest, step_min);
            let equal = found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-6);
            assert!(equal && found.len() == expected.len(), "{highest}: {found:?}");
        };
        check(100.0, 1.0, &[0.0, 50.0, 100.0]);
        check(75.0, 0.0, &[0.0, 20.0, 40.0, 60.0, 80.0]);
        check(0.3, 0.0, &[0.0, 0.1, 0.2, 0.3]);
        check(1.0, 1.0, &[0.0, 1.0]);
        check(8_999.0, 1.0, &[0.0, 5_000.0, 10_000.0]);
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
    fn a_gap_interrupts_the_line_and_a_lone_point_is_drawn() {
        let frame = Frame { size: (LEFT + RIGHT + 10.0, TOP + BOTTOM + 10.0), x_end: 10.0, y_end: 10.0 };
        let path = frame.path(&[(0.0, Some(0.0)), (1.0, Some(10.0)), (2.0, None), (3.0, Some(5.0))]);
        assert_eq!(path, "M62.0 20.0h0L63.0 10.0M65.0 15.0h0");
    }

    #[test]
    fn a_long_line_keeps_its_peaks_and_gaps() {
        let mut points: Vec<Point> = (0..86_400).map(|second| (f64::from(second), Some(1.0))).collect();
        points[40_000].1 = Some(99.0);
        points[70_000].1 = Some(0.0);
        points[..1_000].iter_mut().for_each(|point| point.1 = None);
        let thinned = thinned(&points);
        assert!(thinned.len() <= 2 * STRETCHES_MAX, "{}", thinned.len());
        assert!(thinned.contains(&(40_000.0, Some(99.0))) && thinned.contains(&(70_000.0, Some(0.0))));
        assert!(thinned[0].1.is_none() && thinned.is_sorted_by(|a, b| a.0 <= b.0));
    }

    #[test]
    fn a_chart_without_a_value_above_zero_is_not_drawn() {
        let drawn = |value| {
            let line = Line::new("a", [(0.0, value)]);
            !Chart::small("t", Unit::Count, XAxis::seconds(1.0), [line]).render().0.is_empty()
        };
        assert!(drawn(Some(1.0)));
        assert!(!drawn(None) && !drawn(Some(0.0)) && !drawn(Some(f64::NAN)) && !drawn(Some(f64::INFINITY)));
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
