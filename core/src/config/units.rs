//! Durations and byte sizes as people write them, exact and without floating point.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use thiserror::Error;

/// Reasons for which a text is not a duration or byte size.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum UnitError {
    /// There is no number at the start.
    #[error("there is no number in {0:?}")]
    NoNumber(String),
    /// A time without a unit.
    #[error("{0} has no unit: write {0}s")]
    NoUnit(String),
    /// The number has an unknown unit.
    #[error("{found:?} is not a unit: write one of {units}")]
    Unit {
        /// The text after the number.
        found: String,
        /// The known units.
        units: &'static str,
    },
    /// A fraction of the smallest unit.
    #[error("{0:?} is finer than the smallest unit")]
    TooFine(String),
    /// A quantity that does not fit.
    #[error("{0:?} is too large")]
    TooLarge(String),
}

/// The name of a unit, and its size in the smallest unit.
type Unit = (&'static str, u64);

/// Nanoseconds in each unit, the largest first.
const TIME_UNITS: &[Unit] = &[
    ("h", 3_600_000_000_000),
    ("m", 60_000_000_000),
    ("s", 1_000_000_000),
    ("ms", 1_000_000),
    ("us", 1_000),
    ("ns", 1),
];

/// Bytes in each unit, the largest first.
const SIZE_UNITS: &[Unit] = &[("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("", 1)];

/// Parses a duration such as `500us`, `11.25ms`, `1.5s`, `2m` or `1h`.
///
/// The unit (`ns`, `us` or `µs`, `ms`, `s`, `m`, `h`) is required.
pub fn parse_duration(text: &str) -> Result<Duration, UnitError> {
    let nanos = parse_quantity(text, |unit| {
        let unit = if unit == "µs" { "us" } else { unit };
        scale_of(TIME_UNITS, unit, "ns, us, ms, s, m, h")
    });
    match nanos {
        Err(UnitError::Unit { found, .. }) if found.is_empty() => Err(UnitError::NoUnit(text.trim().into())),
        nanos => nanos.map(Duration::from_nanos),
    }
}

/// Formats a duration as [`parse_duration`] reads it. Exact up to 584 years, the longest that it
/// reads.
pub fn format_duration(duration: Duration) -> String {
    let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
    if nanos == 0 {
        return "0s".into();
    }
    // Minutes and hours only if they are whole: "1.5s" reads well, "1.5h" invites mistakes.
    let fits = |(name, scale): &&Unit| match *name {
        "h" | "m" => nanos.is_multiple_of(*scale),
        _ => nanos >= *scale,
    };
    let (name, scale) = TIME_UNITS.iter().find(fits).copied().unwrap_or(("ns", 1));
    let digits = scale.ilog10() as usize;
    let fraction = match (nanos % scale, digits) {
        (0, _) => String::new(),
        (rest, digits) => format!(".{rest:0digits$}").trim_end_matches('0').to_owned(),
    };
    format!("{}{fraction}{name}", nanos / scale)
}

/// A number of bytes, written `4096`, `64KiB`, `1.5MiB` or `2GiB`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct ByteSize(u64);

impl ByteSize {
    /// Returns a size of this many bytes.
    pub const fn new(bytes: u64) -> Self {
        Self(bytes)
    }

    /// Returns the number of bytes.
    pub const fn as_u64(self) -> u64 {
        self.0
    }

    /// Returns the number of bytes, saturating at `usize::MAX`.
    pub fn as_usize(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }

    /// Returns the number of whole KiB, rounded down, as argon2 counts its memory.
    pub fn as_kib(self) -> u32 {
        u32::try_from(self.0 / 1024).unwrap_or(u32::MAX)
    }
}

impl FromStr for ByteSize {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        parse_quantity(text, |unit| {
            let unit = if unit == "B" { "" } else { unit };
            scale_of(SIZE_UNITS, unit, "KiB, MiB, GiB, or none for bytes")
        })
        .map(Self)
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fits = |(_, scale): &&Unit| self.0 != 0 && self.0.is_multiple_of(*scale);
        let (name, scale) = SIZE_UNITS.iter().find(fits).copied().unwrap_or(("", 1));
        write!(f, "{}{name}", self.0 / scale)
    }
}

fn scale_of(units: &[Unit], found: &str, names: &'static str) -> Result<u64, UnitError> {
    units
        .iter()
        .find(|(name, _)| *name == found)
        .map(|(_, scale)| *scale)
        .ok_or_else(|| UnitError::Unit { found: found.into(), units: names })
}

/// Parses a decimal number followed by a unit, and returns it in the smallest unit.
fn parse_quantity(text: &str, scale_of: impl Fn(&str) -> Result<u64, UnitError>) -> Result<u64, UnitError> {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    if whole.is_empty() || fraction.is_empty() || fraction.contains('.') {
        return Err(UnitError::NoNumber(text.into()));
    }
    let scale = u128::from(scale_of(unit.trim_start())?);
    let too_large = || UnitError::TooLarge(text.into());
    let whole: u128 = whole.parse().map_err(|_| too_large())?;
    let fraction = fraction.trim_end_matches('0');
    let rest = if fraction.is_empty() {
        0
    } else {
        // No unit has more than 19 digits, and the product of 19 digits with a scale fits 128 bits.
        let too_fine = || UnitError::TooFine(text.into());
        let digits =
            u32::try_from(fraction.len()).ok().filter(|digits| *digits <= 19).ok_or_else(too_fine)?;
        let product = fraction.parse::<u128>().map_err(|_| too_fine())? * scale;
        let divisor = 10_u128.pow(digits);
        if !product.is_multiple_of(divisor) {
            return Err(too_fine());
        }
        product / divisor
    };
    let total = whole.checked_mul(scale).and_then(|whole| whole.checked_add(rest)).ok_or_else(too_large)?;
    u64::try_from(total).map_err(|_| too_large())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn durations_are_read_exactly() {
        let check = |text: &str, nanos: u64| {
            assert_eq!(parse_duration(text), Ok(Duration::from_nanos(nanos)), "{text}");
        };
        check("500us", 500_000);
        check("500µs", 500_000);
        check("11.25ms", 11_250_000);
        check("1.5s", 1_500_000_000);
        check(" 2 m ", 120_000_000_000);
        check("1h", 3_600_000_000_000);
        check("0.1h", 360_000_000_000);
        check("0s", 0);
        check("0.000000001s", 1);
        check("1.50000000000000000000000s", 1_500_000_000);
    }

    #[test]
    fn invalid_durations_are_refused_with_the_reason() {
        let check = |text: &str, wanted: &str| {
            let message = parse_duration(text).unwrap_err().to_string();
            assert!(message.contains(wanted), "{text}: {message}");
        };
        check("", "no number");
        check("ms", "no number");
        check("-1s", "no number");
        check(".5s", "no number");
        check("1.s", "no number");
        check("1.2.3s", "no number");
        check("15", "15 has no unit: write 15s");
        check("15 parsecs", "\"parsecs\" is not a unit: write one of ns, us, ms, s, m, h");
        check(" 1.5", "1.5 has no unit: write 1.5s");
        check("0.5ns", "finer");
        check("0.00000000000000000000001s", "finer");
        check("99999999999h", "too large");
        check("999999999999999999999999999999999999999999s", "too large");
    }

    #[test]
    fn durations_are_formatted_in_readable_units() {
        let check = |nanos: u64, text: &str| assert_eq!(format_duration(Duration::from_nanos(nanos)), text);
        check(0, "0s");
        check(500_000, "500us");
        check(11_250_000, "11.25ms");
        check(1_500_000_000, "1.5s");
        check(90_000_000_000, "90s");
        check(120_000_000_000, "2m");
        check(7_200_000_000_000, "2h");
        check(1_001, "1.001us");
        check(1, "1ns");
    }

    #[test]
    fn byte_sizes_are_read_and_written() {
        let check = |text: &str, bytes: u64, written: &str| {
            let size: ByteSize = text.parse().unwrap();
            assert_eq!((size.as_u64(), size.to_string().as_str()), (bytes, written), "{text}");
        };
        check("64KiB", 65_536, "64KiB");
        check("16MiB", 16 << 20, "16MiB");
        check("1.5MiB", 3 << 19, "1536KiB");
        check("2 GiB", 2 << 30, "2GiB");
        check("100", 100, "100");
        check("100B", 100, "100");
        check("0", 0, "0");
        assert!("64KB".parse::<ByteSize>().unwrap_err().to_string().contains("KiB, MiB, GiB"));
        assert!("0.3KiB".parse::<ByteSize>().unwrap_err().to_string().contains("finer"));
        assert_eq!(ByteSize::new(19 << 20).as_kib(), 19 * 1024);
    }

    proptest! {
        #[test]
        fn every_duration_survives_a_round_trip(nanos in any::<u64>()) {
            let duration = Duration::from_nanos(nanos);
            prop_assert_eq!(parse_duration(&format_duration(duration)), Ok(duration));
        }

        #[test]
        fn every_size_survives_a_round_trip(bytes in any::<u64>()) {
            prop_assert_eq!(ByteSize::new(bytes).to_string().parse(), Ok(ByteSize::new(bytes)));
        }

        #[test]
        fn no_text_panics(text in ".{0,40}|[0-9.]{0,50}(ns|s|h|KiB)?") {
            let _ = parse_duration(&text);
            let _ = text.parse::<ByteSize>();
        }
    }
}
