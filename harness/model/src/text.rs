//! Formatting of numbers for people. `throng_core::config` formats durations as users write them.

/// Formats a duration with three significant digits and a suitable unit.
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

/// Formats a count with commas between thousands.
pub fn format_count(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Formats a rate, which is never negative, as a whole number with commas between thousands.
#[allow(clippy::cast_sign_loss)] // a negative rate would become 0
pub fn format_rate(rate: f64) -> String {
    format_count(rate.round() as u64)
}

/// Formats a size in bytes with a decimal unit.
pub fn format_bytes(bytes: u64) -> String {
    match bytes as f64 {
        b if b < 1e6 => format!("{:.0} kB", b / 1e3),
        b if b < 1e9 => format!("{:.1} MB", b / 1e6),
        b => format!("{:.2} GB", b / 1e9),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_a_suitable_unit() {
        let check = |nanos: f64, shown: &str| assert_eq!(format_nanos(nanos), shown);
        check(0.0, "0 ns");
        check(850.0, "850 ns");
        check(11_250_000.0, "11.2 ms");
        check(1_234_000.0, "1.23 ms");
        check(10e9, "10 s");
        check(600e9, "10 min");
    }

    #[test]
    fn thousands_are_separated() {
        let check = |count, text| assert_eq!(format_count(count), text);
        check(0, "0");
        check(999, "999");
        check(1_000, "1,000");
        check(1_234_567, "1,234,567");
        assert_eq!(format_bytes(45_200_000), "45.2 MB");
        assert_eq!(format_bytes(900_000), "900 kB");
    }
}
