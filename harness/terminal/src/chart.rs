//! A section with figures, and a history of one of them under it.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Style, Stylize};
use ratatui::text::Line;
use ratatui::widgets::{Paragraph, RenderDirection, Sparkline};

use super::fit::{fits, fitting};
use super::panes::{elapsed, titled};

/// Steps of the scale to one of the values: what is counted in ones is told apart, too.
const STEPS: f64 = 1_000.0;

/// The right end of the time's axis.
const NOW: &str = "now";

/// What a chart is about.
#[derive(Debug)]
pub struct Chart<'a> {
    /// The section's title.
    pub title: &'a str,
    /// What is to be read in it.
    pub lines: Vec<Line<'a>>,
    /// What the bars are; nothing where the lines say it.
    pub bars: &'a str,
    /// A value with its unit.
    pub show: fn(f64) -> String,
    /// The bars' colour.
    pub colour: Color,
}

/// Draws the lines, and in what is left of the area the last values of `history` that fit, the newest at the right. Each has the
/// time at which it was measured, in seconds. Above them is said what the highest of them is, and below how far they go back.
pub fn draw_chart(
    frame: &mut Frame<'_>,
    area: Rect,
    chart: Chart<'_>,
    history: impl DoubleEndedIterator<Item = (f64, f64)>,
) {
    frame.render_widget(titled(chart.title), area);
    let height = u16::try_from(chart.lines.len()).unwrap_or(u16::MAX);
    let left = area.height.saturating_sub(1).saturating_sub(height);
    // Bars before their scale.
    let (scale, time) = (u16::from(left >= 2), u16::from(left >= 3));
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
    let what = if chart.bars.is_empty() { String::new() } else { format!("{}, ", chart.bars) };
    // Without a bar there is nothing to scale.
    if top > 0.0 {
        let top = (chart.show)(top);
        let top = fitting(scale.width, [format!(" {what}top {top}"), format!(" top {top}")]);
        frame.render_widget(Line::from(top).dark_gray(), scale);
    }
    draw_time(frame, time, newest - oldest, shown.len());
    #[allow(clippy::cast_sign_loss)] // nothing below 0 is ever measured, and the cast saturates
    let values = shown.iter().map(|(_, value)| (value * STEPS) as u64);
    let sparkline = Sparkline::default().data(values).direction(RenderDirection::RightToLeft);
    frame.render_widget(sparkline.style(Style::new().fg(chart.colour)), bars);
}

/// How long ago the oldest of `count` bars was measured, below it if there is room.
fn draw_time(frame: &mut Frame<'_>, area: Rect, seconds: f64, count: usize) {
    #[allow(clippy::cast_sign_loss)] // the oldest is not newer than the newest, and the cast saturates
    let span = format!("{} ago", elapsed((seconds.round() * 1e9) as u64));
    let columns = usize::from(area.width);
    let room = columns.saturating_sub(NOW.len() + 1);
    // Of a single bar, or with room for one time only, there is nothing else to say.
    let line = if count < 2 || !fits(&span, u16::try_from(room).unwrap_or(u16::MAX)) {
        format!("{NOW:>columns$}")
    } else {
        let from = columns.saturating_sub(count).min(room - span.len());
        format!("{:from$}{span}{NOW:>rest$}", "", rest = columns - from - span.len())
    };
    frame.render_widget(Line::from(line).dark_gray(), area);
}
