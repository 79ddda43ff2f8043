//! Steps and forecast in a few lines.

use std::fmt::Write as _;

use throng_harness_model::text::{format_nanos, format_rate};
use throng_harness_report::form::wrapped;

use crate::steps::forecast_text::forecast_lines;
use crate::steps::{Axis, Step, SteppedReport};

/// Columns before the further lines of a step.
const BRIEF_INDENT: usize = 6;

/// Columns before the lines of a forecast, in which their titles are.
const FORECAST_INDENT: usize = 14;

impl Step {
    /// Formats number, size and outcome of the step in a line.
    pub(super) fn line(&self, axis: Axis) -> String {
        let mut text = format!("{}  {}  {}", self.number, axis.show(self.size), self.outcome());
        match self.because.first() {
            Some(because) => _ = write!(text, ": {because}"),
            None if self.last_recipient_us.count > 0 => {
                _ = write!(text, ", last p99 {}", format_nanos(self.last_recipient_us.p99 * 1e3));
            }
            None => {}
        }
        if let Some(capacity) = &self.capacity {
            _ = write!(text, ", at most {}/s", format_rate(capacity.deliveries_per_s));
        }
        text
    }
}

impl SteppedReport {
    /// Returns a line for each step, and the forecast, in lines of `columns`.
    pub(super) fn brief_steps(&self, columns: usize) -> Vec<String> {
        let mut lines = Vec::new();
        for step in &self.steps {
            let step = step.line(self.limit.over);
            let (number, rest) = step.split_once(' ').unwrap_or_default();
            lines.extend(wrapped(&format!("{number:>4}  "), BRIEF_INDENT, rest.trim().split(' '), columns));
        }
        let forecast = self.forecast.iter().flat_map(forecast_lines);
        for (title, line) in forecast {
            lines.extend(wrapped(&format!("  {title:<12}"), FORECAST_INDENT, line.split(' '), columns));
        }
        lines
    }
}
