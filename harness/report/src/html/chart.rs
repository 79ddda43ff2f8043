//! Line charts as inline SVG.

use std::borrow::Cow;
use std::fmt::{Display, Write};

use throng_harness_model::text::{format_bytes, format_nanos, format_rate};

use super::markup::Markup;

/// Width above which a chart is not made as small as it takes.
const WIDE: f64 = 600.0;
/// Room for the labels left of the lines, in the chart's own pixels, as are all sizes here.
const LEFT: f64 = 62.0;
const RIGHT: f64 = 14.0;
const TOP: f64 = 10.0;
const BOTTOM: f64 = 26.0;
/// Ticks on the vertical axis besides zero, at most.
const Y_TICKS: f64 = 4.0;
/// Ticks on a time axis besides zero, at most.
const TIME_TICKS: f64 = 6.0;
/// A line of at most this many points shows each of them, with its value.
const DOTS_MAX: usize = 12;
/// Pieces that a long line is cut into. Of each the lowest and the highest point are drawn, so
/// a peak of one second is seen even in a run of a day.
const PIECES_MAX: usize = 300;
/// Pieces of the horizontal axis that tell their values when they are pointed at.
const HINTS: usize = 60;
/// Line colours that the style sheet has.
const COLOURS: usize = 8;

/// What a chart's values are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// A number of things, or of things a second.
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

/// A point: where on the horizontal axis, and how high, if there is a value at all.
pub(super) type Point = (f64, Option<f64>);

/// One line of a chart.
#[derive(Debug)]
pub struct Line<'a> {
    /// What it shows.
    pub name: Cow<'a, str>,
    /// From left to right. Where there is no value, the line is interrupted.
    pub points: Vec<Point>,
    /// Whether it has gaps, through which a line that it may lie on is seen.
    pub is_dashed: bool,
}

impl<'a> Line<'a> {
    /// A solid line.
    pub fn new(name: impl Into<Cow<'a, str>>, points: Vec<Point>) -> Self {
        Self { name: name.into(), points, is_dashed: false }
    }

    /// The same line, dashed if so.
    #[must_use]
    pub fn dashed_if(self, is_dashed: bool) -> Self {
        Self { is_dashed, ..self }
    }

    /// Its class, or that of its key, in its colour.
    fn class(&self, kind: &str, number: usize) -> String {
        format!("{kind} c{}{}", number % COLOURS, if self.is_dashed { " dashed" } else { "" })
    }
}

/// Lines over one horizontal axis.
#[derive(Debug)]
pub struct Chart<'a> {
    /// What it shows.
    pub title: &'a str,
    /// Width and height.
    pub size: (f64, f64),
    /// What the values are.
    pub unit: Unit,
    /// Labels of the horizontal axis, which begins at 0.
    pub x_ticks: Vec<(f64, String)>,
    /// Where the horizontal axis ends; above 0.
    pub x_end: f64,
    /// What a place on it is called.
    pub x_name: fn(f64) -> String,
    /// A part of it that is marked.
    pub shade: Option<(f64, f64)>,
    /// What is drawn.
    pub lines: Vec<Line<'a>>,
}

impl Chart<'_> {
    /// Adds the chart with its title and legend, unless it would show nothing above zero.
    pub fn draw(&self, html: &mut Markup) {
        let values = self.lines.iter().flat_map(|line| &line.points).filter_map(|(_, value)| *value);
        let highest = values.fold(0.0, f64::max);
        // Written so that it is also true of what is no number.
        if !(highest > 0.0 && highest.is_finite()) {
            return;
        }
        let y_ticks = round_ticks(highest, self.unit.step_min());
        let frame =
            Frame { size: self.size, x_end: self.x_end, y_end: y_ticks.last().copied().unwrap_or(highest) };
        // A wide one would be too small to read on a phone, and is scrolled there.
        let class = if self.size.0 > WIDE { "wide" } else { "narrow" };
        html.element("figure", &[("class", &class)], |html| {
            html.element("figcaption", &[], |html| self.draw_caption(html));
            let view = format!("0 0 {} {}", self.size.0, self.size.1);
            let attributes: [(_, &dyn Display); 3] =
                [("viewBox", &view), ("role", &"img"), ("aria-label", &self.title)];
            html.element("svg", &attributes, |html| {
                self.draw_shade(html, &frame);
                self.draw_axes(html, &frame, &y_ticks);
                for (number, line) in self.lines.iter().enumerate() {
                    self.draw_line(html, &frame, number, line);
                }
                if self.lines.iter().any(|line| line.points.len() > DOTS_MAX) {
                    self.draw_hints(html, &frame);
                }
            });
        });
    }

    fn draw_caption(&self, html: &mut Markup) {
        html.leaf("strong", &[], self.title);
        if let [_, _, ..] = self.lines[..] {
            let has_values = |line: &Line<'_>| line.points.iter().any(|(_, value)| value.is_some());
            for (number, line) in self.lines.iter().enumerate().filter(|(_, line)| has_values(line)) {
                html.leaf("span", &[("class", &line.class("key", number))], &line.name);
            }
        }
    }

    fn draw_shade(&self, html: &mut Markup, frame: &Frame) {
        let Some((from, to)) = self.shade else { return };
        self.draw_column(html, frame, "shade", (from, to), |_| {});
    }

    /// A stretch of the horizontal axis from top to bottom, as an element of a class.
    fn draw_column(
        &self,
        html: &mut Markup,
        frame: &Frame,
        class: &str,
        (from, to): (f64, f64),
        content: impl FnOnce(&mut Markup),
    ) {
        let [left, right] = [from, to].map(|at| frame.x(at.clamp(0.0, self.x_end)));
        let height = frame.size.1 - TOP - BOTTOM;
        let attributes: [(_, &dyn Display); 5] = [
            ("class", &class),
            ("x", &Px(left)),
            ("y", &Px(TOP)),
            ("width", &Px(right - left)),
            ("height", &Px(height)),
        ];
        html.element("rect", &attributes, content);
    }

    /// Columns that nobody sees and that say, when pointed at, what is in them: the highest value of each line, or where there is no point
    /// the one before.
    fn draw_hints(&self, html: &mut Markup, frame: &Frame) {
        let mut next = vec![0; self.lines.len()];
        let mut shown: Vec<Option<f64>> = vec![None; self.lines.len()];
        for hint in 0..HINTS {
            let [from, to] = [hint, hint + 1].map(|edge| self.x_end * edge as f64 / HINTS as f64);
            let mut text = (self.x_name)(to);
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
                self.draw_column(html, frame, "hint", (from, to), |html| html.leaf("title", &[], &text));
            }
        }
    }

    fn draw_axes(&self, html: &mut Markup, frame: &Frame, y_ticks: &[f64]) {
        let (width, height) = frame.size;
        for tick in y_ticks {
            let y = Px(frame.y(*tick));
            html.void(
                "line",
                &[("class", &"grid"), ("x1", &Px(LEFT)), ("x2", &Px(width - RIGHT)), ("y1", &y), ("y2", &y)],
            );
            let label = self.unit.show(*tick);
            html.leaf("text", &[("class", &"y"), ("x", &Px(LEFT - 6.0)), ("y", &Px(y.0 + 4.0))], label);
        }
        for (at, label) in &self.x_ticks {
            let (x, bottom) = (Px(frame.x(*at)), height - BOTTOM);
            html.void(
                "line",
                &[("class", &"grid"), ("x1", &x), ("x2", &x), ("y1", &Px(bottom)), ("y2", &Px(bottom + 4.0))],
            );
            html.leaf("text", &[("class", &"x"), ("x", &x), ("y", &Px(height - 7.0))], label);
        }
    }

    fn draw_line(&self, html: &mut Markup, frame: &Frame, number: usize, line: &Line<'_>) {
        let path = frame.path(&thinned(&line.points));
        html.void("path", &[("class", &line.class("line", number)), ("d", &path)]);
        if line.points.len() > DOTS_MAX {
            return;
        }
        for (at, value) in &line.points {
            let Some(value) = value else { continue };
            let (x, y) = (Px(frame.x(*at)), Px(frame.y(*value)));
            let class = format_args!("dot c{}", number % COLOURS);
            html.element("circle", &[("class", &class), ("cx", &x), ("cy", &y), ("r", &3)], |html| {
                let (name, label, value) = (&line.name, (self.x_name)(*at), self.unit.show(*value));
                html.leaf("title", &[], format_args!("{name} {label}: {value}"));
            });
        }
    }
}

/// Where values are on the drawing.
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
                // A stroke of no length after each beginning: with round ends it makes a point
                // between two gaps visible.
                let (step, end) = if drawing { ('L', "") } else { ('M', "h0") };
                let _ = write!(path, "{step}{} {}{end}", Px(self.x(*at)), Px(self.y(*value)));
            }
            drawing = value.is_some();
        }
        path
    }
}

/// A coordinate, written to a tenth.
struct Px(f64);

impl Display for Px {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:.1}", self.0)
    }
}

/// Round numbers from 0 to the first that is not below `highest`, which is above 0.
fn round_ticks(highest: f64, step_min: f64) -> Vec<f64> {
    let magnitude = 10_f64.powf((highest / Y_TICKS).log10().floor());
    let round = [1.0, 2.0, 5.0, 10.0].map(|factor| factor * magnitude);
    let step = round.into_iter().find(|step| step * Y_TICKS >= highest).unwrap_or(highest).max(step_min);
    ticks(step, highest + step).collect()
}

/// What a time is called.
pub fn time_name(seconds: f64) -> String {
    if seconds > 0.0 { format_nanos(seconds * 1e9) } else { "0".into() }
}

/// Ticks of a time axis over `seconds`, at times that a clock would show.
pub fn time_ticks(seconds: f64) -> Vec<(f64, String)> {
    const STEPS: [u32; 17] =
        [1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1_200, 1_800, 3_600, 7_200, 14_400, 28_800, 86_400];
    let mut steps = STEPS.into_iter().map(f64::from);
    let step = steps.find(|step| step * TIME_TICKS >= seconds).unwrap_or(seconds / TIME_TICKS);
    // The last tick may be the axis' end, rounding or not.
    ticks(step, seconds + step * 0.01).map(|at| (at, time_name(at))).collect()
}

/// Multiples of `step` from 0 to below `end`.
fn ticks(step: f64, end: f64) -> impl Iterator<Item = f64> {
    (0..100).map(move |count| f64::from(count) * step).take_while(move |tick| *tick < end)
}

/// The lowest and the highest point of each piece of a long line; a short one as it is.
fn thinned(points: &[Point]) -> Vec<Point> {
    if points.len() <= 2 * PIECES_MAX {
        return points.to_vec();
    }
    points.chunks(points.len().div_ceil(PIECES_MAX)).flat_map(extremes).collect()
}

/// The lowest and the highest point, in their order; without any value, a gap.
fn extremes(piece: &[Point]) -> [Point; 2] {
    let values = || piece.iter().filter(|(_, value)| value.is_some());
    let by_value = |a: &&Point, b: &&Point| a.1.unwrap_or(0.0).total_cmp(&b.1.unwrap_or(0.0));
    match (values().min_by(by_value), values().max_by(by_value)) {
        (Some(low), Some(high)) if low.0 <= high.0 => [*low, *high],
        (Some(low), Some(high)) => [*high, *low],
        _ => [piece[0]; 2],
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
    fn time_ticks_are_a_clocks() {
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
        assert!(thinned.len() <= 2 * PIECES_MAX, "{}", thinned.len());
        assert!(thinned.contains(&(40_000.0, Some(99.0))) && thinned.contains(&(70_000.0, Some(0.0))));
        assert!(thinned[0].1.is_none() && thinned.is_sorted_by(|a, b| a.0 <= b.0));
    }

    #[test]
    fn what_shows_nothing_is_not_drawn() {
        let drawn = |value| {
            let mut html = Markup::default();
            let lines = vec![Line::new("a", vec![(0.0, value)])];
            let (size, unit) = ((300.0, 100.0), Unit::Count);
            Chart {
                title: "t",
                size,
                unit,
                x_ticks: vec![],
                x_end: 1.0,
                x_name: time_name,
                shade: None,
                lines,
            }
            .draw(&mut html);
            !html.into_string().is_empty()
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
