//! Line charts as inline SVG, without scripts.
//!
//! A chart makes room for its labels, whole and apart from each other, in the widest fonts. A long
//! line is thinned to a fixed number of points, of which the lowest and the highest of each
//! stretch are kept. A chart without a value above zero renders as nothing.

mod axis;
mod labels;
mod line;

use std::borrow::Cow;
use std::fmt::Write;

use maud::{Markup, Render, html};

use self::axis::YAxis;
use self::labels::{Placed, placed, width};
use self::line::{band, thinned};

pub use self::axis::{Unit, XAxis};
pub(super) use self::line::Point;
pub use self::line::{Line, Mark, Marked};

/// Width and height of a chart that shares its row with another, in the chart's own pixels, as
/// are all sizes here.
const SMALL: (f64, f64) = (430.0, 190.0);
/// Width of a chart that has a row of its own.
const WIDE: f64 = 860.0;
/// Least space left of the lines.
const LEFT: f64 = 30.0;
const RIGHT: f64 = 16.0;
const TOP: f64 = 12.0;
/// Space above the lines for the names of verticals.
const TOP_NAMED: f64 = 24.0;
const BOTTOM: f64 = 28.0;
/// Half of a label's height.
const HALF_LINE: f64 = 4.0;
/// Maximum of points of a line for each to be a dot with a tooltip.
const DOTS_MAX: usize = 12;
/// Columns of a chart of long lines, each with a tooltip.
const TOOLTIPS: usize = 60;

/// A value that the values of a chart should not exceed.
#[derive(Debug, Clone)]
pub struct Limit {
    /// Name and value, in words.
    pub name: String,
    /// The value.
    pub value: f64,
    /// Position on the horizontal axis at which the limit ends; none if it ends with the axis.
    pub until: Option<f64>,
}

/// Lines over one horizontal axis.
#[derive(Debug)]
pub struct Chart<'a> {
    title: Cow<'a, str>,
    size: (f64, f64),
    unit: Unit,
    axis: XAxis,
    lines: Vec<Line<'a>>,
    limits: Vec<Limit>,
    /// Named positions of the horizontal axis.
    verticals: Vec<(f64, String)>,
    /// A highlighted stretch of the axis.
    shade: Option<(f64, f64)>,
    has_bands: bool,
    may_be_log: bool,
}

impl<'a> Chart<'a> {
    /// A chart that shares its row with another.
    pub fn small(
        title: impl Into<Cow<'a, str>>,
        unit: Unit,
        axis: XAxis,
        lines: impl IntoIterator<Item = Line<'a>>,
    ) -> Self {
        Self {
            title: title.into(),
            size: SMALL,
            unit,
            axis,
            lines: lines.into_iter().collect(),
            limits: Vec::new(),
            verticals: Vec::new(),
            shade: None,
            has_bands: false,
            may_be_log: false,
        }
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

    /// The chart with the area between each line and the next one tinted.
    #[must_use]
    pub fn banded(self) -> Self {
        Self { has_bands: true, ..self }
    }

    /// The chart with a logarithmic vertical axis if its values differ much.
    #[must_use]
    pub fn log_if_wide(self) -> Self {
        Self { may_be_log: true, ..self }
    }

    /// The chart with limits. One far above all values is only named.
    #[must_use]
    pub fn limited(self, limits: impl IntoIterator<Item = Limit>) -> Self {
        Self { limits: limits.into_iter().collect(), ..self }
    }

    /// The chart with named positions of its axis, from left to right. Those whose names would
    /// overlap are left out.
    #[must_use]
    pub fn with_verticals(self, verticals: Vec<(f64, String)>) -> Self {
        Self { verticals, ..self }
    }

    fn render_caption(&self, y: &YAxis) -> Markup {
        let has_keys = self.lines.len() > 1 || !self.limits.is_empty();
        let lines = self.lines.iter().enumerate();
        let lines = lines.filter(|(_, line)| has_keys && line.has_values());
        html! {
            figcaption {
                strong { (self.title) }
                @for (number, line) in lines { span class=(line.class("key", number)) { (line.name) } }
                @for limit in &self.limits {
                    span.key.limit { (limit.name) @if !y.has(limit.value) { " (above the chart)" } }
                }
            }
        }
    }

    /// A stretch of the horizontal axis from top to bottom.
    fn render_column(
        &self,
        frame: &Frame<'_>,
        class: &str,
        (from, to): (f64, f64),
        title: &Markup,
    ) -> Markup {
        let [left, right] = [from, to].map(|at| frame.x(at.clamp(self.axis.start, self.axis.end)));
        let (top, height) = (px(frame.top), px(frame.bottom - frame.top));
        html! {
            rect class=(class) x=(px(left)) y=(top) width=(px(right - left)) height=(height) { (title) }
        }
    }

    /// Invisible columns whose tooltips show the highest value of each line within them. A line
    /// without a point there has the value of the column before.
    fn render_tooltips(&self, frame: &Frame) -> Markup {
        let mut next = vec![0; self.lines.len()];
        let mut shown: Vec<Option<f64>> = vec![None; self.lines.len()];
        let mut columns = Markup::default();
        for column in 0..TOOLTIPS {
            let [from, to] = [column, column + 1].map(|edge| {
                self.axis.start + (self.axis.end - self.axis.start) * edge as f64 / TOOLTIPS as f64
            });
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

    fn render_axes(&self, frame: &Frame<'_>) -> Markup {
        let (left, right, label_right) = (px(frame.left), px(frame.right), px(frame.left - 6.0));
        let (top, bottom, label_bottom) = (px(frame.top), px(frame.bottom), px(self.size.1 - 8.0));
        let labels = self.axis.ticks.iter().map(|(at, label)| (frame.x(*at), label.as_str()));
        html! {
            @for (y, tick) in frame.y.ticks.iter().map(|tick| (frame.y(*tick), *tick)) {
                line.grid x1=(left) x2=(right) y1=(px(y)) y2=(px(y)) {}
                text.y x=(label_right) y=(px(y + HALF_LINE)) { (self.unit.show(tick)) }
            }
            @for x in self.axis.ticks.iter().map(|(at, _)| px(frame.x(*at))) {
                line.grid x1=(x) x2=(x) y1=(top) y2=(bottom) {}
            }
            @for Placed { middle, label, .. } in placed(labels, self.size.0) {
                text.x x=(px(middle)) y=(label_bottom) { (label) }
            }
        }
    }

    fn render_verticals(&self, frame: &Frame<'_>) -> Markup {
        let (top, bottom, label_bottom) = (px(frame.top), px(frame.bottom), px(frame.top - 6.0));
        let names = self.verticals.iter().map(|(at, name)| (frame.x(*at), name.as_str()));
        html! {
            @for Placed { at, middle, label } in placed(names, self.size.0) {
                line.vertical x1=(px(at)) x2=(px(at)) y1=(top) y2=(bottom) {}
                text.x x=(px(middle)) y=(label_bottom) { (label) }
            }
        }
    }

    fn render_limits(&self, frame: &Frame<'_>) -> Markup {
        let shown = self.limits.iter().filter(|limit| frame.y.has(limit.value));
        html! {
            @for limit in shown {
                @let y = px(frame.y(limit.value));
                @let right = px(limit.until.map_or(frame.right, |until| frame.x(until.min(self.axis.end))));
                line.limit x1=(px(frame.left)) x2=(right) y1=(y) y2=(y) { title { (limit.name) } }
            }
        }
    }

    fn render_bands(&self, frame: &Frame<'_>) -> Markup {
        let lines: Vec<_> = self.lines.iter().enumerate().filter(|(_, line)| line.has_values()).collect();
        html! {
            @for pair in lines.windows(2) {
                @let [(_, lower), (number, upper)] = [pair[0], pair[1]];
                @for polygon in band(&lower.points, &upper.points) {
                    @let points = polygon.into_iter().map(|(at, value)| (at, Some(value))).collect::<Vec<_>>();
                    path class=(upper.class("band", number)) d={ (frame.path(&points)) "Z" } {}
                }
            }
        }
    }

    fn render_line(&self, frame: &Frame<'_>, number: usize, line: &Line<'_>) -> Markup {
        let has_dots = line.points.len() <= DOTS_MAX;
        let dots = line.points.iter().filter(|_| has_dots).filter_map(|(at, value)| {
            Some(Marked { at: *at, value: (*value)?, mark: Mark::Good, note: String::new() })
        });
        let dots: Vec<_> = line.marks.clone().unwrap_or_else(|| dots.collect());
        let path = frame.path(&thinned(&line.points));
        html! {
            @if line.is_filled {
                @let (end, start) = (px(frame.x(line.end())), line.points.first().map_or(0.0, |point| point.0));
                @let foot = format!("V{}H{}Z", px(frame.bottom), px(frame.x(start)));
                path class=(line.class("band", number)) d={ (path) "H" (end) (foot) } {}
            }
            path class=(line.class("line", number)) d=(path) {}
            @for marked in &dots { (self.render_mark(frame, number, line, marked)) }
        }
    }

    fn render_mark(&self, frame: &Frame<'_>, number: usize, line: &Line<'_>, marked: &Marked) -> Markup {
        let Marked { at, value, mark, note } = marked;
        let (x, y) = (frame.x(*at), frame.y(*value));
        let comma = if note.is_empty() { "" } else { ", " };
        let title = html! {
            title { (line.name) " " ((self.axis.name)(*at)) ": " (self.unit.show(*value)) (comma) (note) }
        };
        let [left, right, top, bottom] = [x - 4.0, x + 4.0, y - 4.0, y + 4.0].map(px);
        let (x, y) = (px(x), px(y));
        match mark {
            Mark::Good => {
                html! { circle class={ "dot " (line.class("", number).trim()) } cx=(x) cy=(y) r="3" { (title) } }
            }
            Mark::Bad => {
                html! { path.cross d=(format!("M{left} {top}L{right} {bottom}M{left} {bottom}L{right} {top}")) { (title) } }
            }
            Mark::Doubtful => {
                html! { path.hollow d=(format!("M{left} {y}L{x} {top}L{right} {y}L{x} {bottom}Z")) { (title) } }
            }
        }
    }
}

impl Render for Chart<'_> {
    fn render(&self) -> Markup {
        let values: Vec<f64> = self.lines.iter().flat_map(Line::values).collect();
        let limits: Vec<f64> = self.limits.iter().map(|limit| limit.value).collect();
        let Some(y) = YAxis::new(self.unit, &values, &limits, self.may_be_log) else {
            return Markup::default();
        };
        let labels = y.ticks.iter().map(|tick| width(&self.unit.show(*tick)));
        let left = labels.fold(LEFT, f64::max) + 8.0;
        let (right, bottom) = (self.size.0 - RIGHT, self.size.1 - BOTTOM);
        let top = if self.verticals.is_empty() { TOP } else { TOP_NAMED };
        let frame = Frame { left, right, top, bottom, axis: (self.axis.start, self.axis.end), y: &y };
        // On a phone a wide chart is scrolled: scaled down, it would be too small to read.
        let is_wide = self.size.0 > SMALL.0;
        let is_long = self.lines.iter().any(|line| line.points.len() > DOTS_MAX);
        html! {
            figure.wide[is_wide].narrow[!is_wide] {
                (self.render_caption(&y))
                svg viewBox={ "0 0 " (self.size.0) " " (self.size.1) } role="img" aria-label=(self.title) {
                    @if let Some(shade) = self.shade {
                        (self.render_column(&frame, "shade", shade, &Markup::default()))
                    }
                    (self.render_axes(&frame))
                    @if self.has_bands { (self.render_bands(&frame)) }
                    (self.render_limits(&frame))
                    (self.render_verticals(&frame))
                    @for (number, line) in self.lines.iter().enumerate() {
                        (self.render_line(&frame, number, line))
                    }
                    @if is_long { (self.render_tooltips(&frame)) }
                }
            }
        }
    }
}

/// Scale from values to pixels, within the edges of the lines' part of the picture.
struct Frame<'a> {
    left: f64,
    right: f64,
    top: f64,
    bottom: f64,
    /// Start and end of the horizontal axis.
    axis: (f64, f64),
    y: &'a YAxis,
}

impl Frame<'_> {
    fn x(&self, at: f64) -> f64 {
        let (start, end) = self.axis;
        self.left + (at - start) / (end - start) * (self.right - self.left)
    }

    fn y(&self, value: f64) -> f64 {
        self.bottom - self.y.place(value) * (self.bottom - self.top)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_interrupts_the_line_and_a_lone_point_is_drawn() {
        let y = YAxis::new(Unit::Count, &[10.0], &[], false).expect("above zero");
        let frame = Frame { left: 62.0, right: 72.0, top: 10.0, bottom: 20.0, axis: (0.0, 10.0), y: &y };
        let path = frame.path(&[(0.0, Some(0.0)), (1.0, Some(10.0)), (2.0, None), (3.0, Some(5.0))]);
        assert_eq!(path, "M62.0 20.0h0L63.0 10.0M65.0 15.0h0");
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
    fn marks_differ_in_shape_and_limits_are_named() {
        let mark = |at, mark, note: &str| Marked { at, value: 2e3, mark, note: note.into() };
        let marks =
            vec![mark(1.0, Mark::Good, ""), mark(2.0, Mark::Bad, "late"), mark(3.0, Mark::Doubtful, "")];
        let axis = XAxis::numbers(3.0, |at| format!("{at:.0} clients"));
        let line = Line::new("p99", [(1.0, Some(2e3)), (3.0, Some(2e3))]).marked(marks);
        let limit = |name: &str, value| Limit { name: name.into(), value, until: None };
        let chart = Chart::small("t", Unit::Micros, axis, [line]);
        let drawn = chart.limited([limit("near", 5e3), limit("far", 5e6)]).render().0;
        for part in [
            "r=\"3\"><title>p99 1 clients: 2 ms</title>",
            "<path class=\"cross\"",
            "<title>p99 2 clients: 2 ms, late</title>",
            "<path class=\"hollow\"",
            "<span class=\"key limit\">near</span>",
            "<title>near</title>",
            "<span class=\"key limit\">far (above the chart)</span>",
        ] {
            assert!(drawn.contains(part), "no `{part}` in {drawn}");
        }
        assert!(!drawn.contains("<title>far"), "{drawn}");
    }
}
