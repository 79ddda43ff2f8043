//! Panes and labels that views share.

use std::collections::VecDeque;

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::{Style, Stylize};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Borders, Paragraph};
use throng_harness_model::clock::Nanos;

use super::fit::beginning;

/// Draws the latest events that fit.
pub fn draw_log(frame: &mut Frame<'_>, area: Rect, log: &VecDeque<(Nanos, String)>) {
    let lines = log.iter().map(|(at, line)| format!(" {:>7}  {line}", elapsed(*at)));
    draw_lines(frame, area, "What happened", lines);
}

/// Draws the last lines that fit.
pub fn draw_lines(
    frame: &mut Frame<'_>,
    area: Rect,
    title: &str,
    lines: impl DoubleEndedIterator<Item = String>,
) {
    let room = usize::from(area.height).saturating_sub(1);
    let mut last: Vec<_> =
        lines.rev().take(room).map(|line| Line::from(beginning(&line, area.width))).collect();
    last.reverse();
    frame.render_widget(Paragraph::new(last).block(titled(title)), area);
}

/// Draws keys and their meanings.
pub fn draw_footer(frame: &mut Frame<'_>, area: Rect, keys: &[(&str, &str)]) {
    let spans = keys.iter().flat_map(|(key, meaning)| {
        [Span::from(format!(" {key} ")).reversed(), Span::from(format!(" {meaning}  "))]
    });
    frame.render_widget(Line::from(spans.collect::<Vec<_>>()), area);
}

/// A pane with a title over a line.
pub fn titled(title: &str) -> Block<'_> {
    let title = Span::from(format!(" {title} ")).cyan().bold();
    Block::new().borders(Borders::TOP).border_style(Style::new().dark_gray()).title(title)
}

/// Formats a time since the start, in whole seconds.
pub fn elapsed(nanos: Nanos) -> String {
    let seconds = nanos / 1_000_000_000;
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, s) => format!("{s} s"),
        (0, m, s) => format!("{m}:{s:02}"),
        (h, m, s) => format!("{h}:{m:02}:{s:02}"),
    }
}
