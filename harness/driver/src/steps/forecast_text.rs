//! The text of a forecast.

use throng_harness_model::text::{format_count, format_rate};
use throng_harness_report::compare::percent;

use crate::steps::forecast::ERROR_MAX_PERCENT;
use crate::steps::{Basis, Forecast};

/// Most digits after the decimal point.
const DIGITS_MAX: u8 = 12;

/// Returns the lines of the forecast, each with its label or an empty one.
pub(super) fn forecast_lines(forecast: &Forecast) -> Vec<(&'static str, String)> {
    let left_out = forecast
        .left_out
        .iter()
        .map(|step| format!("{} clients excluded: {}", format_count(step.clients.into()), step.because));
    if let Some(why) = &forecast.none_because {
        let none = ("forecast", format!("none: {why}"));
        return [none].into_iter().chain(left_out.map(|line| ("", line))).collect();
    }
    let unit = match forecast.basis {
        Some(Basis::ServerCpu) => "a second of the server's CPU",
        _ => "a second of wall-clock time",
    };
    let mut lines: Vec<_> = forecast
        .predicted
        .iter()
        .map(|predicted| {
            let line = format!(
                "{} clients: {} deliveries {unit}, which are {} messages to the room",
                format_count(predicted.clients.into()),
                format_rate(predicted.deliveries_per_s),
                figures(predicted.messages_per_s)
            );
            ("", line)
        })
        .collect();
    if let Some(first) = lines.first_mut() {
        first.0 = "forecast";
    }
    if let Some(held) = &forecast.held_out {
        let line = format!(
            "for {} clients the smaller steps alone lead to {}, and {} were measured: {}",
            format_count(held.clients.into()),
            format_rate(held.predicted),
            format_rate(held.measured),
            percent(held.error_percent / 100.0)
        );
        lines.push(("its error", line));
    }
    lines.extend(left_out.map(|line| ("", line)));
    if let (Some(law), Some(error)) = (&forecast.law, forecast.fit_error_percent) {
        let line = format!(
            "Universal Scalability Law, lambda {}, sigma {}, kappa {}; its error at the steps is {error:.1}%",
            figures(law.lambda),
            figures(law.sigma),
            figures(law.kappa)
        );
        lines.push(("by", line));
    }
    if let Some(peak) = forecast.peak_clients {
        lines.push(("", format!("throughput falls beyond {} clients", format_rate(peak))));
    }
    if forecast.is_guess() {
        let why = format!(
            "with an error above {ERROR_MAX_PERCENT:.0}% this is a guess: the law does not describe these steps"
        );
        lines.push(("CAREFUL", why));
    }
    lines
}

/// Formats a non-negative number with three significant figures, no exponent, and commas between
/// thousands.
fn figures(value: f64) -> String {
    if value >= 100.0 {
        return format_rate(value);
    }
    let is_enough = |digits: &u8| value * 10_f64.powi((*digits).into()) >= 100.0;
    // Any smaller number is shown as 0.
    let digits = usize::from((1..DIGITS_MAX).find(is_enough).unwrap_or(DIGITS_MAX));
    let text = format!("{value:.digits$}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::steps::{HeldOut, Predicted, Usl};

    #[test]
    fn numbers_have_no_exponent() {
        let check = |value, text: &str| assert_eq!(figures(value), text);
        check(0.0, "0");
        check(0.000_001_234_5, "0.00000123");
        check(0.02, "0.02");
        check(1.25, "1.25");
        check(10.0, "10");
        check(99.96, "100");
        check(1_234.5, "1,235");
        check(1e-30, "0");
    }

    #[test]
    fn a_large_error_is_flagged() {
        let lines = |error_percent, fit| {
            let forecast = Forecast {
                basis: Some(Basis::ClosedLoop),
                law: Some(Usl { lambda: 41_234.0, sigma: 0.031, kappa: 0.000_012 }),
                fit_error_percent: Some(fit),
                held_out: Some(HeldOut { clients: 80, measured: 1e6, predicted: 1e6, error_percent }),
                predicted: vec![Predicted {
                    clients: 1_000,
                    deliveries_per_s: 2_345_678.0,
                    messages_per_s: 2_345.7,
                }],
                ..Forecast::default()
            };
            forecast_lines(&forecast)
        };
        let near = lines(-0.01, 20.0);
        let texts: Vec<_> = near.iter().map(|(_, line)| line.as_str()).collect();
        assert_eq!(
            texts,
            [
                "1,000 clients: 2,345,678 deliveries a second of wall-clock time, which are 2,346 messages to the room",
                "for 80 clients the smaller steps alone lead to 1,000,000, and 1,000,000 were measured: 0.0%",
                "Universal Scalability Law, lambda 41,234, sigma 0.031, kappa 0.000012; its error at the steps is 20.0%",
            ]
        );
        for far in [lines(-20.1, 1.0), lines(0.0, 20.1)] {
            assert_eq!(far.last().map(|(name, _)| *name), Some("CAREFUL"), "{far:?}");
        }
    }
}
