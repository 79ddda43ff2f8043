//! Types of configuration keys: reading, showing and bounding of their values.

use std::fmt;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;
use zeroize::{Zeroize, ZeroizeOnDrop};

use super::problem::ValueError;
use super::rate::Rate;
use super::units::{ByteSize, format_duration, parse_duration};
use crate::host::{HostAddress, is_host_name};
use crate::limits::{ADMIN_HOSTS_MAX, CHANNEL_BYTES_MAX, LINKS_MAX, RESERVED_NAMES_MAX};
use crate::log::{Filter, FilterError};
use crate::text::has_control;

/// Kind of a TOML value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    String,
    Integer,
    Boolean,
    /// A fraction, date or table, which no key takes.
    Other(&'static str),
}

/// A value as its source states it.
#[derive(Debug, Clone)]
pub(super) enum Raw {
    /// Plain text of an environment variable or flag.
    Text(String),
    /// One TOML value.
    Toml(Kind, String),
    /// A TOML array.
    Array(Vec<Raw>),
}

impl Raw {
    /// Formats the value for messages, much as it was written.
    pub(super) fn show(&self) -> String {
        match self {
            Self::Text(text) | Self::Toml(Kind::String, text) => format!("{text:?}"),
            Self::Toml(_, text) => text.clone(),
            Self::Array(items) => {
                format!("[{}]", items.iter().map(Self::show).collect::<Vec<_>>().join(", "))
            }
        }
    }
}

/// A type that a key can have. `parse(text())` returns the same value.
pub(super) trait Value: Sized {
    /// Describes the values of the type, for documentation and messages.
    fn shape() -> String;

    /// Parses a text.
    fn parse(text: &str) -> Result<Self, ValueError>;

    /// Formats the value as text.
    fn text(&self) -> String;

    /// Returns true if a TOML file may write the value as this kind.
    fn takes(kind: Kind) -> bool {
        kind == Kind::String
    }

    /// Formats the value as a TOML literal.
    fn toml(&self) -> String {
        quoted(&self.text())
    }

    /// Reads the value of a source.
    fn read(raw: &Raw) -> Result<Self, ValueError> {
        match raw {
            Raw::Text(text) => Self::parse(text),
            Raw::Toml(kind, text) if Self::takes(*kind) => Self::parse(text),
            Raw::Toml(kind, _) => Err(ValueError::Kind(kind.name())),
            Raw::Array(_) => Err(ValueError::UnexpectedList),
        }
    }
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::String => "a string in quotes",
            Self::Integer => "a number without quotes",
            Self::Boolean => "true or false",
            Self::Other(name) => name,
        }
    }
}

/// Formats a TOML basic string.
fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

impl Value for bool {
    fn shape() -> String {
        "true or false".into()
    }
    fn parse(text: &str) -> Result<Self, ValueError> {
        text.trim().parse().map_err(|_| ValueError::Boolean)
    }
    fn text(&self) -> String {
        self.to_string()
    }
    fn takes(kind: Kind) -> bool {
        kind == Kind::Boolean
    }
    fn toml(&self) -> String {
        self.text()
    }
}

macro_rules! integer_value {
    ($($ty:ident),*) => {$(
        impl Value for $ty {
            fn shape() -> String {
                "a whole number".into()
            }
            fn parse(text: &str) -> Result<Self, ValueError> {
                Ok(text.trim().parse()?)
            }
            fn text(&self) -> String {
                self.to_string()
            }
            fn takes(kind: Kind) -> bool {
                kind == Kind::Integer
            }
            fn toml(&self) -> String {
                self.text()
            }
        }
    )*};
}
integer_value!(usize, u32, i32);

impl Value for Duration {
    fn shape() -> String {
        "a duration such as 500us, 11.25ms, 1.5s, 2m or 1h".into()
    }
    fn parse(text: &str) -> Result<Self, ValueError> {
        Ok(parse_duration(text)?)
    }
    fn text(&self) -> String {
        format_duration(*self)
    }
    fn takes(kind: Kind) -> bool {
        // A number without a unit reaches `parse`, which reports the missing unit.
        matches!(kind, Kind::String | Kind::Integer)
    }
}

impl Value for ByteSize {
    fn shape() -> String {
        "a size such as 65536, 64KiB or 16MiB".into()
    }
    fn parse(text: &str) -> Result<Self, ValueError> {
        Ok(text.parse()?)
    }
    fn text(&self) -> String {
        self.to_string()
    }
    fn takes(kind: Kind) -> bool {
        matches!(kind, Kind::String | Kind::Integer)
    }
}

impl Value for SocketAddr {
    fn shape() -> String {
        "an IP address and a port such as 127.0.0.1:9000 or [::1]:9000".into()
    }
    fn parse(text: &str) -> Result<Self, ValueError> {
        text.trim().parse().map_err(|_| ValueError::Address)
    }
    fn text(&self) -> String {
        self.to_string()
    }
}

impl Value for HostAddress {
    fn shape() -> String {
        "a host name or IP address and a port such as chat-1.example.org:9201, 127.0.0.1:9201 or [::1]:9201"
            .into()
    }
    fn parse(text: &str) -> Result<Self, ValueError> {
        text.trim().parse().map_err(|_| ValueError::HostAddress)
    }
    fn text(&self) -> String {
        self.to_string()
    }
}

impl Value for PathBuf {
    fn shape() -> String {
        "a path".into()
    }
    fn parse(text: &str) -> Result<Self, ValueError> {
        match text {
            "" => Err(ValueError::EmptyPath),
            text if text.contains('\0') => Err(ValueError::ZeroByte),
            text => Ok(Self::from(text)),
        }
    }
    fn text(&self) -> String {
        self.to_string_lossy().into_owned()
    }
}

impl Value for String {
    fn shape() -> String {
        "a text".into()
    }
    fn parse(text: &str) -> Result<Self, ValueError> {
        Ok(text.to_owned())
    }
    fn text(&self) -> String {
        self.clone()
    }
}

/// A text that is never shown, and wiped when it is dropped. Its key is marked `secret` as well.
#[derive(Clone, Default, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct Secret(String);

impl Secret {
    /// Returns a secret with this text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// Returns the text.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Returns true if the text is empty.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

impl Value for Secret {
    fn shape() -> String {
        String::shape()
    }
    fn parse(text: &str) -> Result<Self, ValueError> {
        Ok(Self::new(text))
    }
    fn text(&self) -> String {
        self.0.clone()
    }
}

impl Value for Filter {
    fn shape() -> String {
        "error, warn, info, debug, trace or off, and TARGET=LEVEL after commas: \"info,throng_core::net=debug\"".into()
    }
    fn parse(text: &str) -> Result<Self, ValueError> {
        text.parse().map_err(|error: FilterError| ValueError::Filter(error.reason))
    }
    fn text(&self) -> String {
        self.to_string()
    }
}

impl Value for Rate {
    fn shape() -> String {
        "a rate such as 20/5s (20 at once, and 20 more spread over each 5s), or off".into()
    }
    fn parse(text: &str) -> Result<Self, ValueError> {
        Ok(text.parse()?)
    }
    fn text(&self) -> String {
        self.to_string()
    }
}

impl Value for IpNet {
    fn shape() -> String {
        "a network such as 10.0.0.0/8 or fd00::/8".into()
    }
    fn parse(text: &str) -> Result<Self, ValueError> {
        text.trim().parse().map_err(|_| ValueError::Network)
    }
    fn text(&self) -> String {
        self.to_string()
    }
}

/// An empty text means no value.
impl<T: Value> Value for Option<T> {
    fn shape() -> String {
        format!("{}, or \"\" for none", T::shape())
    }
    fn parse(text: &str) -> Result<Self, ValueError> {
        if text.is_empty() { Ok(None) } else { T::parse(text).map(Some) }
    }
    fn text(&self) -> String {
        self.as_ref().map(T::text).unwrap_or_default()
    }
    fn takes(kind: Kind) -> bool {
        kind == Kind::String || T::takes(kind)
    }
}

/// A list is an array in TOML, and separated by commas elsewhere.
impl<T: Value> Value for Vec<T> {
    fn shape() -> String {
        format!("a list, each item {}", T::shape())
    }
    fn parse(text: &str) -> Result<Self, ValueError> {
        if text.trim().is_empty() {
            return Ok(Self::new());
        }
        text.split(',').map(|item| T::parse(item.trim())).collect()
    }
    fn text(&self) -> String {
        self.iter().map(T::text).collect::<Vec<_>>().join(",")
    }
    fn toml(&self) -> String {
        format!("[{}]", self.iter().map(T::toml).collect::<Vec<_>>().join(", "))
    }
    fn read(raw: &Raw) -> Result<Self, ValueError> {
        match raw {
            Raw::Text(text) => Self::parse(text),
            Raw::Array(items) => items.iter().map(T::read).collect(),
            Raw::Toml(..) => Err(ValueError::ExpectedList),
        }
    }
}

/// Declares an enumeration whose values are words in a configuration.
macro_rules! config_enum {
    (
        $(#[doc = $doc:literal])*
        $name:ident { $( $(#[doc = $variant_doc:literal])* $variant:ident = $word:literal ),* $(,)? }
    ) => {
        $(#[doc = $doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $name { $( $(#[doc = $variant_doc])* $variant, )* }

        impl $crate::config::value::Value for $name {
            fn shape() -> String {
                [$( concat!("\"", $word, "\"") ),*].join(" or ")
            }
            fn parse(text: &str) -> Result<Self, $crate::config::ValueError> {
                match text.trim() {
                    $( $word => Ok(Self::$variant), )*
                    _ => Err($crate::config::ValueError::Choice),
                }
            }
            fn text(&self) -> String {
                match self { $( Self::$variant => $word, )* }.into()
            }
        }
    };
}
pub(super) use config_enum;

/// A restriction of a key's values beyond its type.
pub(super) trait Rule<T> {
    /// Refuses a value that breaks the rule.
    fn check(&self, value: &T) -> Result<(), ValueError>;
    /// Describes the allowed values.
    fn allowed(&self) -> String;
}

/// Allows every value of the type.
pub(super) struct Any;

impl<T: Value> Rule<T> for Any {
    fn check(&self, _: &T) -> Result<(), ValueError> {
        Ok(())
    }
    fn allowed(&self) -> String {
        T::shape()
    }
}

impl<T: Value + PartialOrd> Rule<T> for RangeInclusive<T> {
    fn check(&self, value: &T) -> Result<(), ValueError> {
        if self.contains(value) { Ok(()) } else { Err(ValueError::Range) }
    }
    fn allowed(&self) -> String {
        format!("{}, from {} to {}", T::shape(), self.start().text(), self.end().text())
    }
}

/// Allows names that servers tell each other and that logs show.
pub(super) struct Name;

impl Rule<String> for Name {
    fn check(&self, value: &String) -> Result<(), ValueError> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if (1..=64).contains(&value.len()) && value.chars().all(allowed) {
            Ok(())
        } else {
            Err(ValueError::Name)
        }
    }
    fn allowed(&self) -> String {
        "1 to 64 of the characters a-z, A-Z, 0-9, \"-\", \"_\" and \".\"".into()
    }
}

/// Allows `host:port` with a host name or an address, or nothing. At most 255 characters, the limit
/// of the packet field.
pub(super) struct HostPort;

impl Rule<String> for HostPort {
    fn check(&self, value: &String) -> Result<(), ValueError> {
        if value.is_empty() {
            return Ok(());
        }
        let (host, port) = value.rsplit_once(':').ok_or(ValueError::NoPort)?;
        if port.parse().is_ok_and(|port: u16| port != 0) {
            let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
            let host_is_good = match bare {
                Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
                None => is_host_name(host) || host.parse::<std::net::Ipv4Addr>().is_ok(),
            };
            if host_is_good && value.len() <= 255 {
                return Ok(());
            }
            return Err(ValueError::Host);
        }
        Err(ValueError::Port)
    }
    fn allowed(&self) -> String {
        "HOST:PORT of at most 255 characters such as chat.example.org:9200, or \"\"".into()
    }
}

/// Allows a list of host names.
pub(super) struct HostNames;

impl Rule<Vec<String>> for HostNames {
    fn check(&self, value: &Vec<String>) -> Result<(), ValueError> {
        if value.len() > ADMIN_HOSTS_MAX {
            return Err(ValueError::Count(value.len()));
        }
        if value.iter().all(|host| is_host_name(host)) { Ok(()) } else { Err(ValueError::Host) }
    }
    fn allowed(&self) -> String {
        format!("a list of at most {ADMIN_HOSTS_MAX} host names such as ops.example.org")
    }
}

/// Allows the addresses of the servers to link to.
pub(super) struct Peers;

impl Rule<Vec<HostAddress>> for Peers {
    fn check(&self, value: &Vec<HostAddress>) -> Result<(), ValueError> {
        if value.is_empty() || value.len() > LINKS_MAX {
            return Err(ValueError::Count(value.len()));
        }
        if let Some(address) = value.iter().find(|address| address.port() == 0) {
            return Err(ValueError::NoPeerPort(address.clone()));
        }
        match value.iter().enumerate().find(|(at, address)| value[..*at].contains(address)) {
            Some((_, twice)) => Err(ValueError::Duplicate(twice.clone())),
            None => Ok(()),
        }
    }
    fn allowed(&self) -> String {
        format!("{}; 1 to {LINKS_MAX} items, each once", <Vec<HostAddress>>::shape())
    }
}

/// Allows the addresses of servers to connect to, or none.
pub(super) struct MaybePeers;

impl Rule<Vec<HostAddress>> for MaybePeers {
    fn check(&self, value: &Vec<HostAddress>) -> Result<(), ValueError> {
        if value.is_empty() { Ok(()) } else { Peers.check(value) }
    }
    fn allowed(&self) -> String {
        format!("{}; at most {LINKS_MAX} items, each once", <Vec<HostAddress>>::shape())
    }
}

/// Allows the name of a world, which is part of NATS subjects.
pub(super) struct WorldName;

impl Rule<String> for WorldName {
    fn check(&self, value: &String) -> Result<(), ValueError> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
        if (1..=32).contains(&value.len()) && value.chars().all(allowed) {
            Ok(())
        } else {
            Err(ValueError::World)
        }
    }
    fn allowed(&self) -> String {
        "1 to 32 of the characters a-z, A-Z, 0-9, \"-\" and \"_\"".into()
    }
}

/// Allows the names that players cannot take.
pub(super) struct ReservedNames;

impl Rule<Vec<String>> for ReservedNames {
    fn check(&self, value: &Vec<String>) -> Result<(), ValueError> {
        if value.len() > RESERVED_NAMES_MAX {
            return Err(ValueError::Count(value.len()));
        }
        let is_name = |name: &String| (1..=CHANNEL_BYTES_MAX).contains(&name.len()) && !has_control(name);
        if value.iter().all(is_name) { Ok(()) } else { Err(ValueError::ReservedName) }
    }
    fn allowed(&self) -> String {
        format!(
            "{}; at most {RESERVED_NAMES_MAX} items, each of 1 to {CHANNEL_BYTES_MAX} bytes",
            <Vec<String>>::shape()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check<T: Value>(rule: &impl Rule<T>, text: &str, wanted: Result<(), &str>) {
        let found = T::parse(text).and_then(|value| rule.check(&value));
        match (&found, wanted) {
            (Ok(()), Ok(())) => {}
            (Err(found), Err(wanted)) if found.to_string().contains(wanted) => {}
            _ => panic!("{text:?}: {found:?}, not {wanted:?}"),
        }
    }

    #[test]
    fn rules_accept_and_refuse() {
        check::<usize>(&(1..=64), "64", Ok(()));
        check::<usize>(&(1..=64), "0", Err("out of range"));
        check::<usize>(&(1..=64), "-1", Err("invalid digit"));
        check::<usize>(&Any, "x", Err("whole number"));
        check::<bool>(&Any, "yes", Err("neither true nor false"));
        check(&Name, "chat-1.eu_2", Ok(()));
        check(&Name, "", Err("not a server name"));
        check(&Name, "a b", Err("not a server name"));
        check(&Name, &"x".repeat(65), Err("not a server name"));
        check(&WorldName, "eu-1_a", Ok(()));
        check(&WorldName, "eu.1", Err("not the name of a world"));
        check(&WorldName, "", Err("not the name of a world"));
        check(&MaybePeers, "", Ok(()));
        check(&MaybePeers, "127.0.0.1:1,127.0.0.1:1", Err("twice"));
        check(&HostPort, "", Ok(()));
        check(&HostPort, "chat.example.org:9200", Ok(()));
        check(&HostPort, "[::1]:9200", Ok(()));
        check(&HostPort, "::1:9200", Err("neither a name nor an address"));
        check(&HostPort, "chat.example.org", Err("no port"));
        check(&HostPort, "chat:0", Err("1 to 65535"));
        check(&HostPort, ":9200", Err("the host"));
        check(&HostNames, "", Ok(()));
        check(&HostNames, "ops.example.org, host-2", Ok(()));
        check(&HostNames, "ops.example.org:9400", Err("the host"));
        check(&HostNames, "*", Err("the host"));
        check(&HostNames, &["a"; ADMIN_HOSTS_MAX + 1].join(","), Err("17 items"));
        check(&Peers, "127.0.0.1:1, [::1]:2", Ok(()));
        check(&Peers, "", Err("0 items"));
        check(&Peers, "127.0.0.1:0", Err("no port to connect to"));
        check(&Peers, "127.0.0.1:1,127.0.0.1:1", Err("twice"));
        check(&Peers, "localhost:1, chat-2.example.org:9201", Ok(()));
        check(&Peers, "localhost:1,localhost:1", Err("twice"));
        check(&Peers, "local host:1", Err("not HOST:PORT"));
        check(&ReservedNames, "admin, 관리자", Ok(()));
        check(&ReservedNames, "", Ok(()));
        check(&ReservedNames, "admin,,gm", Err("not a name"));
        check(&ReservedNames, "ad\nmin", Err("not a name"));
        check::<Filter>(&Any, "info,throng_core::net=debug", Ok(()));
        check::<Filter>(&Any, "inof", Err("inof"));
        check::<PathBuf>(&Any, "", Err("empty"));
        check::<Option<PathBuf>>(&Any, "", Ok(()));
    }

    #[test]
    fn toml_kinds_are_told_apart() {
        let integer = Raw::Toml(Kind::Integer, "5".into());
        let string = Raw::Toml(Kind::String, "5".into());
        let boolean = Raw::Toml(Kind::Boolean, "false".into());
        assert_eq!(usize::read(&integer), Ok(5));
        assert!(usize::read(&string).is_err());
        assert!(String::read(&integer).is_err());
        assert!(<Option<PathBuf>>::read(&boolean).is_err(), "`file = false` became a file called \"false\"");
        assert_eq!(ByteSize::read(&integer), Ok(ByteSize::new(5)));
        assert!(Duration::read(&integer).unwrap_err().to_string().contains("has no unit: write "));
        assert!(<Vec<SocketAddr>>::read(&string).unwrap_err().to_string().contains("a list"));
        assert!(bool::read(&Raw::Array(vec![])).unwrap_err().to_string().contains("not a list"));
    }

    #[test]
    fn strings_are_quoted_for_toml() {
        for text in ["", "plain", "a\"b\\c", "line\nbreak", "tab\t, 'quote'", "\u{7f}\u{1}ü"] {
            let document = format!("key = {}", quoted(text));
            let table: toml::Table = document.parse().unwrap();
            assert_eq!(table["key"].as_str(), Some(text), "{document}");
        }
    }
}
