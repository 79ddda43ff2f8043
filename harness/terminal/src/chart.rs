//! A pane with figures and the history of one of them.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Style, Stylize};
use ratatui::text::Line;
use ratatui::widgets::{Paragraph, RenderDirection, Sparkline};

use super::fit::{fits, fitting};
use super::panes::{elapsed, titled};

/// Sparkline units per unit of the value, so that fractions of a small count remain visible.
const STEPS: f64 = 1_000.0;

/// The label at the right end of the time axis.
const NOW: &str = "now";

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
}

/// Draws the lines and, below them, a bar for each of the latest values of `history` that fit, the
/// newest at the right. Each value comes with its time in seconds. The maximum is written above the
/// bars and the covered time below, if there is room.
pub fn draw_chart(
    frame: &mut Frame<'_>,
    area: Rect,
    chart: Chart<'_>,
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
    frame.render_widget(Paragraph::new(chart.lines), text);
    let shown: Vec<(f64, f64)> = history.rev().take(usize::from(bars.width)).collect();
    let (Some((newest, _)), Some((oldest, _))) = (shown.first(), shown.last()) else { return };
    let top = shown.iter().map(|(_, value)| *value).fold(0.0, f64::max);
    let label = if chart.bars.is_empty() { String::new() } else { format!("{}, ", chart.bars) };
    // Without a bar there is nothing to scale.
    if top > 0.0 {
        let top = (chart.show)(top);
        let top = fitting(scale.width, [format!(" {label}top {top}"), format!(" top {top}")]);
        frame.render_widget(Line::from(top).dark_gray(), scale);
    }
    draw_time(frame, time, newest - oldest, shown.len());
    #[allow(clippy::cast_sign_loss)] // values are not negative, and the cast saturates
    let values = shown.iter().map(|(_, value)| (value * STEPS) as u64);
    let sparkline = Sparkline::default().data(values).direction(RenderDirection::RightToLeft);
    frame.render_widget(sparkline.style(Style::new().fg(chart.color)), bars);
}

/// Draws the age of the oldest of `count` bars below it, if there is room.
fn draw_time(frame: &mut Frame<'_>, area: Rect, seconds: f64, count: usize) {
    #[allow(clippy::cast_sign_loss)] // the span is not negative, and the cast saturates
    let span = format!("{} ago", elapsed((seconds.round() * 1e9) as u64));
    let columns = usize::from(area.width);
    let room = columns.saturating_sub(NOW.len() + 1);
    // A single bar, or room for one label only, gets the right label alone.
    let line = if count < 2 || !fits(&span, u16::try_from(room).unwrap_or(u16::MAX)) {
        format!("{NOW:>columns$}")
    } else {
        let from = columns.saturating_sub(count).min(room - span.len());
        format!("{:from$}{span}{NOW:>rest$}", "", rest = columns - from - span.len())
    };
    frame.render_widget(Line::from(line).dark_gray(), area);
}
