//! Errors of a configuration: a [`ConfigError`] lists every [`Problem`], and a [`ValueError`] is
//! the reason why a key refuses its value.

use std::io;
use std::num::ParseIntError;
use std::path::PathBuf;

use thiserror::Error;

use super::origin::Origin;
use super::rate::RateError;
use super::units::UnitError;
use crate::host::HostAddress;

/// A reason to refuse a key's value.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ValueError {
    /// A TOML value of another type than the key's.
    #[error("{0} is not what this key takes")]
    Kind(&'static str),
    /// A TOML array where the key has one value.
    #[error("a single value is expected, not a list")]
    UnexpectedList,
    /// A single TOML value where the key has a list.
    #[error("a list in [ ] is expected")]
    ExpectedList,
    /// Not a boolean.
    #[error("it is neither true nor false")]
    Boolean,
    /// Not an integer of the key's width.
    #[error("as a whole number: {0}")]
    Integer(#[from] ParseIntError),
    /// Not a duration or byte size.
    #[error(transparent)]
    Unit(#[from] UnitError),
    /// Not an IP address with a port.
    #[error("it is not an IP address with a port")]
    Address,
    /// Not a host and a port.
    #[error("it is not HOST:PORT, with a host name or an IP address")]
    HostAddress,
    /// An empty path.
    #[error("it is empty")]
    EmptyPath,
    /// A path with a zero byte.
    #[error("a path cannot have a zero byte")]
    ZeroByte,
    /// Not one of the words that the key allows.
    #[error("there is no such choice")]
    Choice,
    /// Outside of the key's range.
    #[error("it is out of range")]
    Range,
    /// Not a server name.
    #[error("it is not a server name")]
    Name,
    /// Not the name of a world.
    #[error("it is not the name of a world")]
    World,
    /// `host:port` without the port.
    #[error("there is no port")]
    NoPort,
    /// `host:port` with a port that is not a number from 1 to 65535.
    #[error("the port is not a number from 1 to 65535")]
    Port,
    /// `host:port` with a host that is neither a name nor an address.
    #[error("the host is neither a name nor an address")]
    Host,
    /// An empty text, a long one, or one with control characters, in a list of names.
    #[error("one of its items is not a name")]
    ReservedName,
    /// A list with too few or too many items.
    #[error("it has {0} items")]
    Count(usize),
    /// An address with port 0 in a list of servers to connect to.
    #[error("{0} has no port to connect to")]
    NoPeerPort(HostAddress),
    /// An address that is listed twice.
    #[error("{0} is listed twice")]
    Duplicate(HostAddress),
    /// Not a log filter; the text is the filter's own reason.
    #[error("{0}")]
    Filter(String),
    /// A text that is not a rate.
    #[error(transparent)]
    Rate(#[from] RateError),
    /// A text that is not a network.
    #[error("is not a network: write an address and a prefix length, as in 10.0.0.0/8 or fd00::/8")]
    Network,
    /// Any reason to refuse a secret value: the real one could show a part of it.
    #[error("it is not allowed")]
    Hidden,
}

/// One problem of a configuration.
#[derive(Debug, Error)]
pub enum Problem {
    /// The file cannot be read.
    #[error("cannot read the configuration file {}: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The file is not TOML.
    #[error("{origin}: {message}")]
    Syntax {
        /// The place of the error.
        origin: Origin,
        /// The parser's message.
        message: String,
    },
    /// A section or key that does not exist.
    #[error("there is no {what} {name:?} ({origin}); {}", advice(hint.as_ref()))]
    Unknown {
        /// "section" or "key".
        what: &'static str,
        /// The name as given.
        name: String,
        /// The place of the name.
        origin: Origin,
        /// The name that was probably intended.
        hint: Option<String>,
    },
    /// A value that its key refuses.
    #[error("{name} = {value} ({origin}): {reason}; allowed: {allowed}")]
    BadValue {
        /// `section.key`.
        name: &'static str,
        /// The value as given, unless it is secret.
        value: String,
        /// The place of the value.
        origin: Origin,
        /// The reason to refuse it.
        reason: ValueError,
        /// The allowed values in words.
        allowed: String,
    },
    /// A flag that assigns nothing.
    #[error("flag {flag} {text:?}: write SECTION.KEY=VALUE, for example net.shards=2")]
    NoAssignment {
        /// The flag.
        flag: String,
        /// The argument of the flag.
        text: String,
    },
    /// Two values that contradict each other.
    #[error(
        "{left} = {left_value} ({left_origin}) must be {relation} {right} = {right_value} ({right_origin}): {reason}"
    )]
    Contradiction {
        /// One key.
        left: &'static str,
        /// The value of `left`.
        left_value: String,
        /// The origin of the value of `left`.
        left_origin: Origin,
        /// The required relation, such as "longer than".
        relation: &'static str,
        /// The other key.
        right: &'static str,
        /// The value of `right`.
        right_value: String,
        /// The origin of the value of `right`.
        right_origin: Origin,
        /// The reason for the relation.
        reason: &'static str,
    },
}

fn advice(hint: Option<&String>) -> String {
    match hint {
        Some(hint) => format!("did you mean {hint:?}?"),
        None => "`throng config print` lists them all".into(),
    }
}

/// Every problem of a configuration.
#[derive(Debug, Error)]
#[error("{}", problems.iter().map(Problem::to_string).collect::<Vec<_>>().join("\n"))]
pub struct ConfigError {
    /// The problems, in the order of the sources; never empty.
    pub problems: Vec<Problem>,
}
