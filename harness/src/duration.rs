//! Durations as people read them. How they are written is `throng_core::config`'s.

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

#[cfg(test)]
mod tests {
    use super::*;

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
}
