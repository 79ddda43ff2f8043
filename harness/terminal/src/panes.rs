//! Panes and labels that views share.

use std::collections::VecDeque;

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::{Color, Style, Stylize};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Borders, Clear, Paragraph};
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

/// Draws keys or names with their meanings over the picture, as much as fits.
pub fn draw_help(frame: &mut Frame<'_>, entries: &[(&str, &str)]) {
    let wide = entries.iter().map(|(key, _)| key.chars().count()).max().unwrap_or_default();
    let lines: Vec<String> =
        entries.iter().map(|(key, meaning)| format!(" {key:<wide$}  {meaning} ")).collect();
    let longest = lines.iter().map(|line| line.chars().count()).max().unwrap_or_default();
    let size = |count: usize| u16::try_from(count + 2).unwrap_or(u16::MAX);
    let area = frame.area().centered(
        ratatui::layout::Constraint::Length(size(longest)),
        ratatui::layout::Constraint::Length(size(lines.len())),
    );
    frame.render_widget(Clear, area);
    let lines: Vec<_> =
        lines.iter().map(|line| Line::from(beginning(line, area.width.saturating_sub(2)))).collect();
    frame.render_widget(Paragraph::new(lines).block(Block::bordered().title(" Help, ? hides it ")), area);
}

/// Draws a share as a bar with its text beside it, which is readable in any theme.
pub fn draw_bar(frame: &mut Frame<'_>, area: Rect, text: &str, share: f64) {
    let text = beginning(&format!(" {text}  "), area.width);
    let taken = u16::try_from(Span::raw(text.as_str()).width()).unwrap_or(area.width);
    let room = area.width.saturating_sub(taken + 1);
    #[allow(clippy::cast_sign_loss)] // a share is not negative, and the cast saturates
    let full = usize::from(((share.clamp(0.0, 1.0) * f64::from(room)) as u16).min(room));
    let bar = [
        Span::from(text).bold(),
        Span::styled("█".repeat(full), Style::new().fg(Color::Green)),
        Span::styled("░".repeat(usize::from(room) - full), Style::new().fg(Color::DarkGray)),
    ];
    frame.render_widget(Line::from(bar.to_vec()), area);
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
