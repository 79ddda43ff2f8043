//! The charts of a run without messages: entries, and the time to enter.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::{Color, Stylize};
use ratatui::text::{Line, Span};
use throng_harness_model::clock::Nanos;
use throng_harness_model::results::PARTS;
use throng_harness_model::text::{format_count, format_rate};
use throng_harness_terminal::fit::fitting;
use throng_harness_terminal::{Chart, draw_chart};

use super::{State, Totals, time};

/// The steps of an entry, in the order of [`PARTS`], short enough for narrow columns.
const NAMES: [&str; PARTS.len()] = ["dial login", "sign up", "character", "log in", "dial chat", "enter"];

/// Entries during some time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Entering {
    /// The end of that time, in seconds since the run began.
    pub at_s: f64,
    /// Entries per second.
    pub per_s: f64,
    /// Mean duration of an entry, in nanoseconds.
    pub mean_time: Option<f64>,
}

impl Entering {
    /// The entries between two readings of the totals.
    pub fn between(before: &(Nanos, Totals), now: &(Nanos, Totals)) -> Self {
        let ((begun, before), (ended, now)) = (before, now);
        let seconds = ended.saturating_sub(*begun).max(1) as f64 / 1e9;
        let new = now.entry.since(before.entry);
        Self { at_s: *ended as f64 / 1e9, per_s: new.done as f64 / seconds, mean_time: new.mean() }
    }
}

/// Draws the rate of entries.
pub(super) fn draw_entries(frame: &mut Frame<'_>, area: Rect, state: &State) {
    let totals = &state.totals;
    let per_s = state.entering.back().map_or(0.0, |entering| entering.per_s);
    let [entered, entering, retried] = [totals.entry.done, totals.entering, totals.retries].map(format_count);
    let totals_line = [
        format!(" {entered} entries so far, {retried} retries"),
        format!(" {entered} so far, {retried} retries"),
    ];
    let lines = vec![
        Line::from(vec![
            Span::from(format!(" {per_s:.1} entries/s")).bold(),
            Span::from(format!(", {entering} entering")),
        ]),
        Line::from(fitting(area.width, totals_line)),
    ];
    let show = |value| format!("{}/s", format_rate(value));
    let (bars, color, until_s) = ("entries", Color::Cyan, state.until_s());
    let chart = Chart { title: "Entries", lines, bars, show, color, until_s, limit: None };
    draw_chart(frame, area, chart, state.entering.iter().map(|row| (row.at_s, row.per_s)));
}

/// Draws the duration of entries, and of their steps.
pub(super) fn draw_entry_times(frame: &mut Frame<'_>, area: Rect, state: &State) {
    let totals = &state.totals;
    let mut lines = vec![Line::from(format!(" {} on average so far", time(totals.entry.mean()))).bold()];
    // Steps that the entry path skips are left out.
    let parts = NAMES.iter().zip(totals.parts).filter(|(_, part)| part.done > 0);
    let parts: Vec<String> =
        parts.map(|(name, part)| format!(" {name:<10} {:<7}", time(part.mean()))).collect();
    lines.extend(parts.chunks(2).map(|pair| Line::from(pair.concat())));
    let show = |nanos| time(Some(nanos));
    let (bars, color, until_s) = ("mean of each second", Color::Magenta, state.until_s());
    let chart = Chart { title: "Time to enter", lines, bars, show, color, until_s, limit: None };
    let history = state.entering.iter().map(|row| (row.at_s, row.mean_time.unwrap_or(0.0)));
    draw_chart(frame, area, chart, history);
}
