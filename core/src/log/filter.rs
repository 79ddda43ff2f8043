//! Filters: the levels that reach the log, by target.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;
use tracing_subscriber::filter::{EnvFilter, LevelFilter};

/// Targets that are off unless a filter names them. The ODBC library logs every message of a
/// driver; the DB threads log the ones that matter, with their context.
const QUIET: &str = "odbc_api=off";

/// Levels by target: `info`, or `warn,throng_core::net=debug`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter {
    directives: String,
}

/// A text that is not a [`Filter`].
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error(
    "{directives:?} is not a log level: {reason}; write error, warn, info, debug, trace or off, \
     and TARGET=LEVEL after commas"
)]
pub struct FilterError {
    /// The text.
    pub directives: String,
    /// The reason for refusing it.
    pub reason: String,
}

impl Filter {
    /// The filter as `tracing` applies it.
    pub(super) fn build(&self) -> EnvFilter {
        parse(&self.directives).expect("the directives were parsed when the filter was made")
    }
}

/// `info`.
impl Default for Filter {
    fn default() -> Self {
        Self { directives: "info".into() }
    }
}

impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.directives)
    }
}

impl FromStr for Filter {
    type Err = FilterError;

    fn from_str(directives: &str) -> Result<Self, FilterError> {
        parse(directives).map(|_| Self { directives: directives.into() })
    }
}

/// Parses directives more strictly than `tracing`, which takes a mistyped level for a target.
fn parse(directives: &str) -> Result<EnvFilter, FilterError> {
    let refused = |reason: String| FilterError { directives: directives.into(), reason };
    // Span filters, `[span{field=value}]=level`, have commas of their own.
    if directives.contains('[') {
        return EnvFilter::builder().parse(directives).map_err(|error| refused(error.to_string()));
    }
    let parts: Vec<&str> = directives.split(',').map(str::trim).collect();
    for part in &parts {
        let level = part.rsplit_once('=').map_or(*part, |(_, level)| level);
        if level.is_empty() || level.parse::<LevelFilter>().is_err() {
            return Err(refused(format!("there is no level {level:?}")));
        }
    }
    EnvFilter::builder()
        .parse(format!("{QUIET},{}", parts.join(",")))
        .map_err(|error| refused(error.to_string()))
}

/// Directives of an installed filter, without those that [`Filter::build`] adds.
pub(super) fn directives_of(filter: &EnvFilter) -> String {
    let directives = filter.to_string();
    match directives.strip_prefix(QUIET).and_then(|rest| rest.strip_prefix(',')) {
        Some(given) => given.to_owned(),
        None => directives,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directives_are_checked_strictly() {
        let check = |directives: &str, is_valid: bool| {
            assert_eq!(directives.parse::<Filter>().is_ok(), is_valid, "{directives:?}");
        };
        check("info", true);
        check("WARN", true);
        check("off", true);
        check("info,throng_core::net=debug", true);
        check("warn, throng_servers=trace", true);
        check("info,[session{id=5}]=debug", true);
        check("", false);
        check("inof", false);
        check("info,", false);
        check("info,throng_core=", false);
        check("info,throng_core=loud", false);
        check("info,throng core=[", false);
    }

    #[test]
    fn the_default_is_valid() {
        assert_eq!("info".parse(), Ok(Filter::default()));
    }
}
