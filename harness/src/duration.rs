//! Durations as people write them: `10s`, `11.25ms`, `500us`.

use std::time::Duration;

/// The units, shortest name first where one ends with another, and their nanoseconds.
const UNITS: [(&str, u128); 8] = [
    ("ns", 1),
    ("us", 1_000),
    ("µs", 1_000),
    ("ms", 1_000_000),
    ("min", 60_000_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
];

/// Reads a duration: a decimal number and its unit (ns, us, ms, s, m or min, h).
///
/// The value is exact: what a nanosecond cannot express, what has no unit and
/// what is longer than about 584 years is refused with the reason.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let text = text.trim();
    let digits_end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits_end);
    if number.is_empty() {
        return Err(format!("`{text}` is not a duration: write a number and a unit, as in 10ms or 1.5s"));
    }
    let unit = unit.trim_start();
    if unit.is_empty() {
        return Err(format!("`{text}` has no unit: write {number}ms or {number}s"));
    }
    let Some((_, scale)) = UNITS.iter().find(|(name, _)| *name == unit) else {
        return Err(format!("`{unit}` in `{text}` is no unit of time: use ns, us, ms, s, m or h"));
    };
    let nanos = scaled(number, *scale).map_err(|why| format!("`{text}` {why}"))?;
    Ok(Duration::from_nanos(nanos))
}

/// `number`, a decimal, times `scale`, which is exact or refused.
fn scaled(number: &str, scale: u128) -> Result<u64, &'static str> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if fraction.contains('.') || (whole.is_empty() && fraction.is_empty()) {
        return Err("is not a number");
    }
    let fraction = fraction.trim_end_matches('0');
    let digits = |text: &str| match text {
        "" => Ok(0),
        // 18 digits leave room for the scale in 128 bits; nothing sensible has more.
        _ if text.trim_start_matches('0').len() > 18 => Err("has too many digits"),
        _ => text.parse::<u128>().map_err(|_| "is not a number"),
    };
    if fraction.len() > 18 {
        return Err("is finer than a nanosecond");
    }
    let denominator = 10_u128.pow(fraction.len() as u32);
    let numerator = digits(fraction)? * scale;
    if !numerator.is_multiple_of(denominator) {
        return Err("is finer than a nanosecond");
    }
    u64::try_from(digits(whole)? * scale + numerator / denominator).map_err(|_| "is too long")
}

/// A duration for people: three significant digits and the unit that suits them.
pub fn format_nanos(nanos: f64) -> String {
    let (value, unit) = match nanos {
        n if n < 1e3 => (n, "ns"),
        n if n < 1e6 => (n / 1e3, "us"),
        n if n < 1e9 => (n / 1e6, "ms"),
        n if n < 120e9 => (n / 1e9, "s"),
        n if n < 7200e9 => (n / 60e9, "min"),
        n => (n / 3600e9, "h"),
    };
    match value {
        v if v >= 100.0 || v.fract() == 0.0 => format!("{v:.0} {unit}"),
        v if v >= 10.0 => format!("{v:.1} {unit}"),
        v => format!("{v:.2} {unit}"),
    }
}

/// As [`format_nanos`], for a [`Duration`].
pub fn format_duration(duration: Duration) -> String {
    format_nanos(duration.as_secs_f64() * 1e9)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(text: &str, nanos: u64) {
        assert_eq!(parse_duration(text), Ok(Duration::from_nanos(nanos)), "{text}");
    }

    #[test]
    fn durations_as_people_write_them() {
        check("11.25ms", 11_250_000);
        check("500us", 500_000);
        check("500 µs", 500_000);
        check("1.5s", 1_500_000_000);
        check("10s", 10_000_000_000);
        check(" 2m ", 120_000_000_000);
        check("2min", 120_000_000_000);
        check("0.5h", 1_800_000_000_000);
        check("1ns", 1);
        check("0s", 0);
        check(".5s", 500_000_000);
        check("1.s", 1_000_000_000);
        check("0.000000001000s", 1);
    }

    #[test]
    fn what_is_wrong_is_said() {
        let check = |text: &str, part: &str| {
            let error = parse_duration(text).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        };
        check("", "not a duration");
        check("ms", "not a duration");
        check("-1s", "not a duration");
        check("10", "no unit");
        check("10 fortnights", "no unit of time");
        check("1.2.3s", "not a number");
        check(".s", "not a number");
        check("0.5ns", "finer than a nanosecond");
        check("99999999999999999h", "too long");
        check("9999999999999999999999s", "too many digits");
    }

    #[test]
    fn shown_with_a_suitable_unit() {
        let check = |nanos: f64, shown: &str| assert_eq!(format_nanos(nanos), shown);
        check(0.0, "0 ns");
        check(850.0, "850 ns");
        check(11_250_000.0, "11.2 ms");
        check(1_234_000.0, "1.23 ms");
        check(10e9, "10 s");
        check(600e9, "10 min");
    }

    proptest! {
        #[test]
        fn any_text_is_judged_without_panic(text: String) {
            let _ = parse_duration(&text);
        }

        #[test]
        fn microseconds_come_back(micros in 0_u64..1 << 50, digits in 0_u64..1000) {
            let nanos = micros * 1000 + digits;
            check(&format!("{micros}.{digits:03}us"), nanos);
        }
    }
}
