//! Lines of a chart, and the points that a long one is thinned to.

use std::borrow::Cow;

/// Stretches that a long line is thinned by. Each keeps its lowest and its highest point, so that
/// a peak of one second is visible even in a run of a day.
const STRETCHES_MAX: usize = 300;
/// Line colors of the style sheet.
const COLORS: usize = 8;

/// Position on the horizontal axis, and the value there, if there is one.
pub(in crate::html) type Point = (f64, Option<f64>);

/// The shape of a mark, and so its color.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mark {
    /// A dot in the color of its line.
    Good,
    /// A cross.
    Bad,
    /// A hollow diamond, for a point that is no evidence.
    Doubtful,
}

/// A marked point of a line.
#[derive(Debug, Clone)]
pub struct Marked {
    /// Position on the horizontal axis.
    pub at: f64,
    /// The value there.
    pub value: f64,
    /// The shape.
    pub mark: Mark,
    /// Remark in the tooltip; empty without one.
    pub note: String,
}

/// A line of a chart.
#[derive(Debug)]
pub struct Line<'a> {
    pub(super) name: Cow<'a, str>,
    /// From left to right. A point without a value interrupts the line.
    pub(super) points: Vec<Point>,
    /// None if the points of a short line are to be dots.
    pub(super) marks: Option<Vec<Marked>>,
    is_dashed: bool,
    pub(super) is_filled: bool,
}

impl<'a> Line<'a> {
    /// A solid line.
    pub fn new(name: impl Into<Cow<'a, str>>, points: impl IntoIterator<Item = Point>) -> Self {
        let points = points.into_iter().collect();
        Self { name: name.into(), points, marks: None, is_dashed: false, is_filled: false }
    }

    /// The same line, dashed if so, which leaves a line below it visible.
    #[must_use]
    pub fn dashed_if(self, is_dashed: bool) -> Self {
        Self { is_dashed, ..self }
    }

    /// The same line with these marks, which need not be on it.
    #[must_use]
    pub fn marked(self, marks: Vec<Marked>) -> Self {
        Self { marks: Some(marks), ..self }
    }

    /// The same line with its area filled and no dots.
    #[must_use]
    pub fn filled(self) -> Self {
        Self { is_filled: true, marks: Some(Vec::new()), ..self }
    }

    /// The position of the last point; 0 without points.
    pub fn end(&self) -> f64 {
        self.points.last().map_or(0.0, |(at, _)| *at)
    }

    pub(super) fn has_values(&self) -> bool {
        self.values().next().is_some()
    }

    /// All values, of points and marks.
    pub(super) fn values(&self) -> impl Iterator<Item = f64> {
        let marks = self.marks.iter().flatten().map(|marked| marked.value);
        self.points.iter().filter_map(|(_, value)| *value).chain(marks)
    }

    /// The class of the line, or of its key, which gives it its color.
    pub(super) fn class(&self, kind: &str, number: usize) -> String {
        format!("{kind} c{}{}", number % COLORS, if self.is_dashed { " dashed" } else { "" })
    }
}

/// The lowest and the highest point of each stretch of a long line; a short line as it is.
pub(super) fn thinned(points: &[Point]) -> Vec<Point> {
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

/// The band between two lines with points at the same positions: a polygon for each stretch
/// without a gap, along the lower line and back along the upper one.
pub(super) fn band(lower: &[Point], upper: &[Point]) -> Vec<Vec<(f64, f64)>> {
    let edges: Vec<_> = lower.iter().zip(upper).map(|(low, high)| (low.0, low.1.zip(high.1))).collect();
    let chunk = edges.len().div_ceil(STRETCHES_MAX).max(1);
    let stretches = edges.chunks(chunk).map(|stretch| {
        let within = stretch.iter().filter_map(|(_, edges)| *edges);
        let outer = within.reduce(|(low, high), (lower, higher)| (low.min(lower), high.max(higher)));
        (stretch[0].0, outer)
    });
    let stretches: Vec<_> = stretches.collect();
    let parts = stretches.split(|(_, edges)| edges.is_none());
    parts
        .map(|part| {
            let edges = || part.iter().filter_map(|(at, edges)| Some((*at, (*edges)?)));
            let back = edges().rev().map(|(at, (_, high))| (at, high));
            edges().map(|(at, (low, _))| (at, low)).chain(back).collect::<Vec<_>>()
        })
        .filter(|polygon| polygon.len() > 2)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_line_keeps_its_peaks_and_gaps() {
        let mut points: Vec<Point> = (0..86_400).map(|second| (f64::from(second), Some(1.0))).collect();
        points[40_000].1 = Some(99.0);
        points[70_000].1 = Some(0.0);
        points[..1_000].iter_mut().for_each(|point| point.1 = None);
        let thin = thinned(&points);
        assert!(thin.len() <= 2 * STRETCHES_MAX, "{}", thin.len());
        assert!(thin.contains(&(40_000.0, Some(99.0))) && thin.contains(&(70_000.0, Some(0.0))));
        assert!(thin[0].1.is_none() && thin.is_sorted_by(|a, b| a.0 <= b.0));
        let upper: Vec<Point> =
            points.iter().map(|(at, value)| (*at, value.map(|value| value + 1.0))).collect();
        let [polygon] = &band(&points, &upper)[..] else { panic!("one gap, at the start") };
        assert!(polygon.len() <= 2 * STRETCHES_MAX, "{}", polygon.len());
        let values = polygon.iter().map(|(_, value)| *value);
        assert_eq!((values.clone().fold(9.0, f64::min), values.fold(0.0, f64::max)), (0.0, 100.0));
    }

    #[test]
    fn a_band_ends_at_a_gap() {
        let lower = [(0.0, Some(1.0)), (1.0, Some(2.0)), (2.0, None), (3.0, Some(3.0)), (4.0, Some(4.0))];
        let upper = lower.map(|(at, value)| (at, value.map(|value| value * 10.0)));
        let corners = [
            vec![(0.0, 1.0), (1.0, 2.0), (1.0, 20.0), (0.0, 10.0)],
            vec![(3.0, 3.0), (4.0, 4.0), (4.0, 40.0), (3.0, 30.0)],
        ];
        assert_eq!(band(&lower, &upper), corners);
        // A lone second has no width.
        assert_eq!(band(&lower[..1], &upper[..1]), Vec::<Vec<_>>::new());
    }
}
