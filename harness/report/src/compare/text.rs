//! A comparison as text.

use std::fmt;

use super::{Compared, Comparison, Controlled, Differing, Finding, Outcome, Unit};
use throng_harness_model::text::{format_bytes, format_count, format_nanos, format_rate};

/// Smallest p-value that is shown as it is.
const P_SHOWN_MIN: f64 = 0.001;

impl Unit {
    /// Returns a value with its unit.
    pub fn show(self, value: f64) -> String {
        match self {
            Self::Micros => format_nanos(value * 1e3),
            Self::PerSecond if value < 100.0 => format!("{value:.1}/s"),
            Self::PerSecond => format!("{}/s", format_rate(value)),
            Self::Share => format!("{:.1}%", value * 100.0),
            #[allow(clippy::cast_sign_loss)] // sizes and counts are not negative
            Self::Bytes => format_bytes(value as u64),
            #[allow(clippy::cast_sign_loss)]
            Self::Count => format_count(value as u64),
        }
    }

    /// Returns a value and the range that it is from; the value alone if it is the whole range.
    fn show_in(self, value: f64, [low, high]: [f64; 2]) -> String {
        let texts @ [value, low, high] = &[value, low, high].map(|value| self.show(value));
        let is_digit = |c: char| c.is_ascii_digit() || ".,".contains(c);
        let [unit, units @ ..] = texts.each_ref().map(|text| text.trim_start_matches(is_digit));
        if low == high {
            value.clone()
        } else if units.iter().all(|other| *other == unit) {
            format!("{value} ({}-{})", low.trim_end_matches(unit), high.trim_end_matches(unit))
        } else {
            format!("{value} ({low}-{high})")
        }
    }
}

impl Finding {
    /// Returns the finding in words.
    pub fn text(self) -> &'static str {
        match self {
            Self::Same => "no significant difference",
            Self::Better => "better",
            Self::Worse => "WORSE",
            Self::Different => "different",
            Self::Untested => "not tested",
        }
    }
}

impl Compared {
    /// Returns the baseline's median and range.
    pub fn baseline_text(&self) -> String {
        self.unit.show_in(self.baseline, self.baseline_range)
    }

    /// Returns the new side's median and range.
    pub fn new_text(&self) -> String {
        self.unit.show_in(self.new, self.new_range)
    }

    /// Returns the change in percent.
    pub fn change_text(&self) -> String {
        self.change.map_or_else(|| "-".into(), percent)
    }

    /// Returns the adjusted p-value in percent.
    pub fn p_text(&self) -> String {
        match self.p {
            None => "-".into(),
            Some(p) if p < P_SHOWN_MIN => format!("<{:.1}%", P_SHOWN_MIN * 100.0),
            Some(p) => format!("{:.1}%", p * 100.0),
        }
    }
}

/// Name of the row with the change in units of the harness's cost.
pub(crate) const CONTROLLED: &str = "in units of the harness's cost";

impl Controlled {
    /// Returns the change in percent.
    pub fn change_text(&self) -> String {
        percent(self.change)
    }

    /// Returns a note if these values decide the finding.
    pub fn decides_text(&self) -> &'static str {
        if self.decides { "decides" } else { "" }
    }
}

/// Returns a change in percent, with its sign unless it shows as zero.
pub fn percent(share: f64) -> String {
    let text = format!("{:+.1}%", share * 100.0);
    if text[1..] == *"0.0%" { text[1..].to_owned() } else { text }
}

fn runs(count: usize) -> String {
    if count == 1 { "1 run".into() } else { format!("{count} runs") }
}

impl Comparison {
    /// Returns the outcome in a word and a sentence.
    pub fn outcome_text(&self) -> (&'static str, &str) {
        match self.outcome {
            Outcome::Same => ("NO SIGNIFICANT DIFFERENCE", "no figure got significantly better or worse"),
            Outcome::Better => ("BETTER", "a figure got better, and none significantly worse"),
            Outcome::Worse => ("WORSE", "a figure got significantly worse"),
            Outcome::Untested => ("NOT TESTED", self.untested_because.as_deref().unwrap_or_default()),
        }
    }

    /// Returns the number of runs of each side.
    pub fn sides_text(&self) -> String {
        let [baseline, new] = [self.baseline.len(), self.new.len()].map(runs);
        format!("{new} compared with {baseline}")
    }

    /// Returns whether the sides had the same traffic, as a sentence.
    pub fn traffic_text(&self) -> &'static str {
        match self.same_traffic {
            Some(true) => "both sides were to send the same messages to the same clients at the same times",
            Some(false) => "the sides did not send the same traffic",
            None => "the reports do not say whether the traffic was the same",
        }
    }

    /// Returns the rule for a significant difference, as a sentence.
    pub fn rule_text(&self) -> String {
        format!(
            "a difference is significant if its p, adjusted for {} figures, is at most {:.0}% and the medians differ by more than \
             {:.1}%; of a time and the same {CONTROLLED} the one that varies less over all runs decides",
            self.tested,
            self.level * 100.0,
            self.noise * 100.0
        )
    }
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (word, meaning) = self.outcome_text();
        writeln!(f, "\n{}: {}", self.of, self.sides_text())?;
        writeln!(f, "{word}: {meaning}\n")?;
        for (side, files) in [("baseline", &self.baseline), ("new", &self.new)] {
            for file in files {
                writeln!(f, "  {side:<10}  {}", file.display())?;
            }
        }
        writeln!(f, "  {:<10}  {}", "traffic", self.traffic_text())?;
        for Differing { what, baseline, new } in &self.differing {
            writeln!(f, "  {:<10}  {what}: {baseline} | {new}", "DIFFERS")?;
        }
        for doubt in &self.doubts {
            writeln!(f, "  {:<10}  {doubt}", "NOTE")?;
        }
        let names = self.figures.iter().map(|figure| figure.name.len());
        let wide = names.chain([CONTROLLED.len() + 2]).max().unwrap_or_default();
        let [baseline, new] = ["baseline (range)", "new (range)"];
        writeln!(f, "\n  {:<wide$}{baseline:>26}{new:>26}{:>10}{:>9}   finding", "", "change", "p")?;
        for figure in &self.figures {
            writeln!(
                f,
                "  {:<wide$}{:>26}{:>26}{:>10}{:>9}   {}",
                figure.name,
                figure.baseline_text(),
                figure.new_text(),
                figure.change_text(),
                figure.p_text(),
                figure.finding.text()
            )?;
            if let Some(controlled) = figure.controlled {
                let (name, change) = (format!("  {CONTROLLED}"), controlled.change_text());
                let line =
                    format!("  {name:<wide$}{:>52}{change:>10}{:>9}   {}", "", "", controlled.decides_text());
                writeln!(f, "{}", line.trim_end())?;
            }
        }
        if self.outcome == Outcome::Untested { Ok(()) } else { writeln!(f, "\n  ({})", self.rule_text()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_that_rounds_to_zero_has_no_sign() {
        let check = |share, text: &str| assert_eq!(percent(share), text);
        check(-0.000_4, "0.0%");
        check(0.000_4, "0.0%");
        check(0.0, "0.0%");
        check(-0.000_6, "-0.1%");
        check(0.2, "+20.0%");
        check(-0.2, "-20.0%");
        check(-1.0, "-100.0%");
        check(f64::NAN, "NaN%");
    }

    #[test]
    fn a_range_names_its_unit_once() {
        let check = |unit: Unit, value, range, text: &str| assert_eq!(unit.show_in(value, range), text);
        check(Unit::Micros, 5_610.0, [4_960.0, 7_280.0], "5.61 ms (4.96-7.28)");
        check(Unit::Micros, 990.0, [980.0, 1_100.0], "990 us (980 us-1.10 ms)");
        check(Unit::PerSecond, 50_002.0, [49_998.0, 50_010.0], "50,002/s (49,998-50,010)");
        check(Unit::Share, 0.5, [0.4, 0.61], "50.0% (40.0-61.0)");
        check(Unit::Count, 7.0, [0.0, 7.0], "7 (0-7)");
        check(Unit::Count, 0.0, [0.0, 0.0], "0");
    }
}
