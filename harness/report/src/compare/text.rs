//! A comparison for people.

use std::fmt;

use throng_harness_model::text::{format_bytes, format_count, format_nanos, format_rate};

use super::{Compared, Comparison, Controlled, Finding, Outcome, Unit};

impl Unit {
    /// A value for people.
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
}

impl Finding {
    /// In words.
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
    /// The change for people.
    pub fn change_text(&self) -> String {
        self.change.map_or_else(|| "-".into(), percent)
    }

    /// The interval for people.
    pub fn interval_text(&self) -> String {
        interval_text(self.interval)
    }
}

/// What the change in units of the harness's cost is called.
pub(crate) const CONTROLLED: &str = "in units of the harness's cost";

impl Controlled {
    /// The change for people.
    pub fn change_text(&self) -> String {
        percent(self.change)
    }

    /// The interval for people.
    pub fn interval_text(&self) -> String {
        interval_text(self.interval)
    }

    /// Whether it decides, in words.
    pub fn decides_text(&self) -> &'static str {
        if self.decides { "decides" } else { "" }
    }
}

fn interval_text(interval: Option<[f64; 2]>) -> String {
    interval.map_or_else(|| "-".into(), |[low, high]| format!("{} to {}", percent(low), percent(high)))
}

/// A change in percent, with its sign if it has one when it is shown.
pub fn percent(share: f64) -> String {
    let text = format!("{:+.1}%", share * 100.0);
    if text[1..] == *"0.0%" { text[1..].to_owned() } else { text }
}

/// So many runs.
fn runs(count: usize) -> String {
    if count == 1 { "1 run".into() } else { format!("{count} runs") }
}

impl Comparison {
    /// The outcome in a word and a sentence.
    pub fn outcome_text(&self) -> (&'static str, &'static str) {
        match self.outcome {
            Outcome::Same => {
                ("NO SIGNIFICANT DIFFERENCE", "nothing that was tested got significantly better or worse")
            }
            Outcome::Better => ("BETTER", "something got better, and nothing significantly worse"),
            Outcome::Worse => ("WORSE", "something got significantly worse"),
            Outcome::Untested => ("NOT TESTED", "there is too little of anything to tell a difference by"),
        }
    }

    /// How much is held against how much.
    pub fn sides_text(&self) -> String {
        let [baseline, new] = [self.baseline.len(), self.new.len()].map(runs);
        format!("{new} held against {baseline}")
    }

    /// What is known of the traffic, in a sentence.
    pub fn traffic_text(&self) -> &'static str {
        match self.same_traffic {
            Some(true) => "both sides were to send the same messages to the same clients at the same times",
            Some(false) => "the sides did not send the same traffic",
            None => "the reports do not say whether the traffic was the same",
        }
    }

    /// How the figures are to be read, in a sentence.
    pub fn rule_text(&self) -> String {
        format!(
            "a difference is significant when its {:.0}% interval does not hold 0 and it is above {:.1}%; of a time and the same {CONTROLLED} \
             the one with the narrower interval decides",
            self.confidence * 100.0,
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
        for differing in &self.differing {
            let (what, baseline, new) = (&differing.what, &differing.baseline, &differing.new);
            writeln!(f, "  {:<10}  {what}: {baseline} | {new}", "DIFFERS")?;
        }
        for doubt in &self.doubts {
            writeln!(f, "  {:<10}  {doubt}", "NOTE")?;
        }
        let wide = self.figures.iter().map(|figure| figure.name.len()).max().unwrap_or_default();
        let wide = wide.max(CONTROLLED.len() + 2);
        writeln!(
            f,
            "\n  {:<wide$}{:>12}{:>12}{:>10}{:>22}   finding",
            "", "baseline", "new", "change", "99% interval"
        )?;
        for figure in &self.figures {
            let [baseline, new] = [figure.baseline, figure.new].map(|value| figure.unit.show(value));
            writeln!(
                f,
                "  {:<wide$}{baseline:>12}{new:>12}{:>10}{:>22}   {}",
                figure.name,
                figure.change_text(),
                figure.interval_text(),
                figure.finding.text()
            )?;
            if let Some(controlled) = figure.controlled {
                writeln!(
                    f,
                    "    {CONTROLLED:<inner$}{:>24}{:>10}{:>22}   {}",
                    "",
                    controlled.change_text(),
                    controlled.interval_text(),
                    controlled.decides_text(),
                    inner = wide - 2
                )?;
            }
        }
        writeln!(f, "\n  ({})", self.rule_text())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_as_nothing_has_no_sign() {
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
}
