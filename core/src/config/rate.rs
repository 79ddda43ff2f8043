//! Rates of requests, as people write them.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use thiserror::Error;

use super::units::{UnitError, format_duration, parse_duration};

/// A number of requests in a time: so many at once, and as many again spread over the time. Written
/// `20/5s`, or `off` for any number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate(Option<(u32, Duration)>);

impl Rate {
    /// Any number of requests.
    pub const OFF: Self = Self(None);

    /// A rate of `count` requests, at least one, in `per`.
    pub const fn new(count: u32, per: Duration) -> Self {
        Self(Some((if count == 0 { 1 } else { count }, per)))
    }

    /// Returns the number of requests and their time; none for any number.
    pub const fn limit(self) -> Option<(u32, Duration)> {
        self.0
    }
}

/// Reasons for which a text is not a rate.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum RateError {
    /// There is no number, no slash, or a number of zero.
    #[error("{0:?} is not a rate: write a number from 1 to 1000000 and a time, as in 20/5s, or off")]
    Form(String),
    /// The time is not a duration.
    #[error("the time of the rate: {0}")]
    Time(#[from] UnitError),
}

impl FromStr for Rate {
    type Err = RateError;

    fn from_str(text: &str) -> Result<Self, RateError> {
        let form = || RateError::Form(text.to_owned());
        if text.trim() == "off" {
            return Ok(Self::OFF);
        }
        let (count, per) = text.split_once('/').ok_or_else(form)?;
        let count = count.trim().parse().ok().filter(|count| (1..=1_000_000).contains(count));
        let per = parse_duration(per.trim())?;
        if per.is_zero() {
            return Err(form());
        }
        Ok(Self::new(count.ok_or_else(form)?, per))
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            None => f.write_str("off"),
            Some((count, per)) => write!(f, "{count}/{}", format_duration(per)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_read_as_they_are_written() {
        for text in ["20/5s", "1/1h", "1000000/1ms", "off"] {
            assert_eq!(text.parse::<Rate>().map(|rate| rate.to_string()), Ok(text.into()));
        }
        for text in ["", "20", "0/5s", "-1/5s", "1000001/1s", "5/0s", "5/s", "5/5", "on", "1/2/3s"] {
            assert!(text.parse::<Rate>().is_err(), "{text}");
        }
    }
}
