//! A pane with figures and the history of one of them.

use ratatui::Frame;
use ratatui::buffer::Buffer;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Style, Stylize};
use ratatui::text::Line;
use ratatui::widgets::Paragraph;

use super::fit::{fits, fitting};
use super::panes::{elapsed, titled};

/// The label at the right end of the time axis.
const NOW: &str = "now";

/// Bars of one to eight eighths of a row.
const EIGHTHS: [&str; 8] = ["▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"];

/// The line at the limit.
const LIMIT: &str = "─";

/// A limit is drawn if it is at most this many times the highest value: above, it would flatten the
/// bars.
const LIMIT_MAX: f64 = 4.0;

/// Fewest columns, and rows of bars, of a pane with labels at the vertical axis.
const LABELED: (u16, u16) = (30, 2);

/// The contents of a chart.
#[derive(Debug)]
pub struct Chart<'a> {
    /// The pane's title.
    pub title: &'a str,
    /// The lines above the bars.
    pub lines: Vec<Line<'a>>,
    /// The meaning of the bars; empty where the lines name it.
    pub bars: &'a str,
    /// Formats a value with its unit.
    pub show: fn(f64) -> String,
    /// The color of the bars.
    pub color: Color,
    /// The end of the time axis in seconds, if it is planned; without one the newest value is at
    /// the right end.
    pub until_s: Option<f64>,
    /// A limit of the values, and its name.
    pub limit: Option<(&'a str, f64)>,
}

/// Draws the lines and, below them, `history` as bars. Each value comes with its time in seconds.
/// With a planned end the whole time has room, and a column shows the highest of its values.
/// Otherwise each of the latest values that fit is a bar. The scale stands at the left or, with
/// little room, above the bars, and the time below.
pub fn draw_chart(
    frame: &mut Frame<'_>,
    area: Rect,
    mut chart: Chart<'_>,
    history: impl DoubleEndedIterator<Item = (f64, f64)>,
) {
    frame.render_widget(titled(chart.title), area);
    let height = u16::try_from(chart.lines.len()).unwrap_or(u16::MAX);
    let free = area.height.saturating_sub(1).saturating_sub(height);
    // With little room the bars come first, then the scale, then the time axis.
    let (scale, time) = (u16::from(free >= 2), u16::from(free >= 3));
    let sizes = [
        Constraint::Length(1),
        Constraint::Length(height),
        Constraint::Length(scale),
        Constraint::Fill(1),
        Constraint::Length(time),
    ];
    let [_, text, scale, bars, time] = Layout::vertical(sizes).areas(area);
    frame.render_widget(Paragraph::new(std::mem::take(&mut chart.lines)), text);
    let history: Vec<_> = history.filter(|(at, value)| at.is_finite() && value.is_finite()).collect();
    let highest = history.iter().map(|(_, value)| *value).fold(0.0, f64::max);
    let limit = chart.limit.filter(|(_, limit)| *limit > 0.0);
    let top = match limit {
        Some((_, limit)) if limit <= highest * LIMIT_MAX => highest.max(limit),
        _ => highest,
    };
    let is_labeled = top > 0.0 && scale.height > 0 && bars.width >= LABELED.0 && bars.height >= LABELED.1;
    draw_scale(frame, scale, &chart, limit, (!is_labeled && highest > 0.0).then_some(highest));
    let (labels, bars) = if is_labeled { label(frame, bars, top, chart.show) } else { (0, bars) };
    let time = Rect { x: time.x + labels, width: time.width - labels, ..time };
    let columns = match chart.until_s {
        Some(until_s) => {
            draw_line(frame, time, "0 s", &elapsed_s(until_s));
            spread(&history, until_s, bars.width)
        }
        None => latest(frame, time, &history, bars.width),
    };
    if top > 0.0 {
        let limit = limit.map(|(_, limit)| limit).filter(|limit| *limit <= top);
        draw_bars(frame.buffer_mut(), bars, &columns, top, limit, chart.color);
    }
}

/// Draws the name of the bars, their highest value unless the axis has it, and the limit.
fn draw_scale(
    frame: &mut Frame<'_>,
    area: Rect,
    chart: &Chart<'_>,
    limit: Option<(&str, f64)>,
    highest: Option<f64>,
) {
    let top = highest.map(|highest| format!("top {}", (chart.show)(highest)));
    let named = limit.map(|(name, limit)| format!("{name} {}", (chart.show)(limit)));
    let join = |parts: &[Option<&str>]| {
        let parts: Vec<_> = parts.iter().flatten().copied().filter(|part| !part.is_empty()).collect();
        format!(" {}", parts.join(", "))
    };
    let (top, named) = (top.as_deref(), named.as_deref());
    let variants = [join(&[Some(chart.bars), top, named]), join(&[Some(chart.bars), top]), join(&[top])];
    frame.render_widget(Line::from(fitting(area.width, variants)).dark_gray(), area);
}

/// Labels the vertical axis at its top, in the middle and at its bottom. Returns the columns that
/// the labels take, and the area that is left.
fn label(frame: &mut Frame<'_>, area: Rect, top: f64, show: fn(f64) -> String) -> (u16, Rect) {
    let rows = f64::from(area.height);
    let middle = area.height / 2;
    // The middle label stands for the bottom edge of its row.
    let half = top * (rows - f64::from(middle) - 1.0) / rows;
    let labels = [(0, show(top)), (middle, show(half)), (area.height - 1, show(0.0))];
    let labels = &labels[if area.height >= 4 { 0..3 } else { 0..1 }];
    let wide = labels.iter().map(|(_, label)| Line::from(label.as_str()).width()).max().unwrap_or(0);
    let taken = u16::try_from(wide + 2).unwrap_or(u16::MAX).min(area.width / 2);
    for (row, label) in labels {
        let row = Rect { y: area.y + row, height: 1, width: taken.saturating_sub(1), ..area };
        frame.render_widget(Line::from(label.as_str()).dark_gray().right_aligned(), row);
    }
    (taken, Rect { x: area.x + taken, width: area.width - taken, ..area })
}

/// The highest value of each of `width` columns from the beginning to `until_s`. A value holds
/// since the one before it.
fn spread(history: &[(f64, f64)], until_s: f64, width: u16) -> Vec<f64> {
    let mut columns = vec![0.0; usize::from(width)];
    let end = history.last().map_or(until_s, |(at, _)| at.max(until_s)).max(1e-9);
    let mut before = 0.0;
    for (at, value) in history {
        let place = |at: f64| at / end * f64::from(width);
        #[allow(clippy::cast_sign_loss)] // times are not negative, and the cast saturates
        let (from, to) = (place(before).floor() as usize, place(*at).ceil() as usize);
        let (from, to) = (from.min(columns.len()), to.min(columns.len()));
        for column in &mut columns[from.min(to)..to] {
            *column = value.max(*column);
        }
        before = at.max(before);
    }
    columns
}

/// The latest values, the newest in the last of `width` columns. Draws their time axis.
fn latest(frame: &mut Frame<'_>, time: Rect, history: &[(f64, f64)], width: u16) -> Vec<f64> {
    let shown = &history[history.len().saturating_sub(usize::from(width))..];
    if let (Some((oldest, _)), Some((newest, _))) = (shown.first(), shown.last()) {
        let span = format!("{} ago", elapsed_s(newest - oldest));
        draw_time(frame, time, &span, shown.len());
    }
    let mut columns = vec![0.0; usize::from(width) - shown.len()];
    columns.extend(shown.iter().map(|(_, value)| *value));
    columns
}

fn draw_bars(buffer: &mut Buffer, area: Rect, columns: &[f64], top: f64, limit: Option<f64>, color: Color) {
    let rows = f64::from(area.height);
    #[allow(clippy::cast_sign_loss)] // heights are not negative, and the cast saturates
    let eighths = |value: f64| (value / top * rows * 8.0).round() as u16;
    let limit_row =
        limit.map(|limit| (eighths(limit).saturating_sub(1) / 8).min(area.height.saturating_sub(1)));
    for (x, value) in (area.x..area.right()).zip(columns) {
        for row in 0..area.height {
            let filled = eighths(*value).saturating_sub(row * 8).min(8);
            let cell = &mut buffer[(x, area.bottom() - 1 - row)];
            if filled > 0 {
                cell.set_symbol(EIGHTHS[usize::from(filled) - 1]).set_fg(color);
            } else if limit_row == Some(row) {
                cell.set_symbol(LIMIT).set_fg(Color::Yellow);
            }
        }
    }
}

/// Draws the age of the oldest of `count` bars below it, if there is room.
fn draw_time(frame: &mut Frame<'_>, area: Rect, span: &str, count: usize) {
    let columns = usize::from(area.width);
    let room = columns.saturating_sub(NOW.len() + 1);
    // A single bar, or room for one label only, gets the right label alone.
    let line = if count < 2 || !fits(span, u16::try_from(room).unwrap_or(u16::MAX)) {
        format!("{NOW:>columns$}")
    } else {
        let from = columns.saturating_sub(count).min(room - span.len());
        format!("{:from$}{span}{NOW:>rest$}", "", rest = columns - from - span.len())
    };
    frame.render_widget(Line::from(line).style(Style::new().dark_gray()), area);
}

/// Draws both ends of the time axis, if there is room.
fn draw_line(frame: &mut Frame<'_>, area: Rect, from: &str, to: &str) {
    let columns = usize::from(area.width);
    let rest = columns.saturating_sub(from.len());
    if rest > to.len() {
        frame.render_widget(Line::from(format!("{from}{to:>rest$}")).dark_gray(), area);
    }
}

fn elapsed_s(seconds: f64) -> String {
    #[allow(clippy::cast_sign_loss)] // the span is not negative, and the cast saturates
    elapsed((seconds.round() * 1e9) as u64)
}

#[cfg(test)]
mod tests {
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    use super::*;

    #[test]
    fn a_planned_time_has_room_for_all_of_it() {
        let history = [(1.0, 3.0), (2.0, 5.0), (3.0, 4.0), (4.0, 1.0)];
        assert_eq!(spread(&history, 8.0, 8), [3.0, 5.0, 4.0, 1.0, 0.0, 0.0, 0.0, 0.0]);
        // A column shows the highest of its values, and a value fills all of its columns.
        assert_eq!(spread(&history, 8.0, 4), [5.0, 4.0, 0.0, 0.0]);
        assert_eq!(spread(&history[..1], 2.0, 4), [3.0, 3.0, 0.0, 0.0]);
        // Beyond the plan the axis grows.
        assert_eq!(spread(&history, 2.0, 4), [3.0, 5.0, 4.0, 1.0]);
        assert_eq!(spread(&[], 2.0, 2), [0.0, 0.0]);
    }

    /// The rows of a chart of `width` columns and nine rows.
    fn drawn(width: u16, until_s: Option<f64>, limit: Option<(&str, f64)>) -> Vec<String> {
        let mut terminal = Terminal::new(TestBackend::new(width, 9)).expect("memory");
        let show = |value: f64| format!("{value} ms");
        let bars = "p99";
        let chart = Chart { title: "T", lines: Vec::new(), bars, show, color: Color::Cyan, until_s, limit };
        let history = [(1.0, 12.0), (2.0, 6.0), (3.0, 12.0)];
        terminal.draw(|frame| draw_chart(frame, frame.area(), chart, history.into_iter())).expect("memory");
        let cells = terminal.backend().buffer().content().chunks(usize::from(width));
        let row = |row: &[ratatui::buffer::Cell]| row.iter().map(ratatui::buffer::Cell::symbol).collect();
        cells.map(row).map(|row: String| row.trim_end().to_owned()).collect()
    }

    #[test]
    fn axes_are_labeled_and_a_limit_is_a_line() {
        let rows = drawn(32, Some(6.0), Some(("limit", 24.0)));
        assert_eq!(rows[1], " p99, limit 24 ms");
        let bars = "─".repeat(25);
        assert!(rows[2].ends_with(&bars) && rows[2].starts_with(" 24 ms "), "{rows:#?}");
        assert!(rows[5].starts_with(" 8 ms ") || rows[5].contains(" ms "), "{rows:#?}");
        assert!(rows[7].starts_with("  0 ms "), "{rows:#?}");
        assert!(rows[8].contains("0 s") && rows[8].ends_with("6 s"), "{rows:#?}");
        // Half of the time is over.
        assert!(rows[7].chars().filter(|symbol| *symbol == '█').count() == 13, "{rows:#?}");
    }

    #[test]
    fn a_narrow_chart_and_a_distant_limit_keep_the_bars() {
        let rows = drawn(24, None, Some(("limit", 1_000.0)));
        assert_eq!(rows[1], " p99, top 12 ms");
        assert!(rows[2].ends_with("█ █") && rows[8].ends_with("now"), "{rows:#?}");
        let rows = drawn(40, None, Some(("limit", 1_000.0)));
        assert_eq!(rows[1], " p99, limit 1000 ms");
        assert!(rows[2].starts_with(" 12 ms ") && rows[2].ends_with("█ █"), "{rows:#?}");
    }
}
