//! Addresses to dial, with an IP address or a host name, and the look-up of names.

use std::fmt;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::str::FromStr;
use std::sync::Arc;
use std::thread;

use parking_lot::Mutex;
use smol_str::SmolStr;
use thiserror::Error;

use crate::limits::{HOST_ADDRESSES_MAX, HOST_NAME_MAX};

/// An address to dial.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum HostAddress {
    /// An IP address.
    Ip(SocketAddr),
    /// A host name, which is looked up for each attempt to connect.
    Name {
        /// The name.
        host: SmolStr,
        /// The port.
        port: u16,
    },
}

/// A text that is no [`HostAddress`].
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("it is not HOST:PORT, with a host name or an IP address (in brackets if it has colons)")]
pub struct HostAddressError;

impl HostAddress {
    /// Returns the port.
    pub fn port(&self) -> u16 {
        match self {
            Self::Ip(address) => address.port(),
            Self::Name { port, .. } => *port,
        }
    }
}

impl From<SocketAddr> for HostAddress {
    fn from(address: SocketAddr) -> Self {
        Self::Ip(address)
    }
}

impl From<([u8; 4], u16)> for HostAddress {
    fn from(address: ([u8; 4], u16)) -> Self {
        Self::Ip(address.into())
    }
}

impl FromStr for HostAddress {
    type Err = HostAddressError;

    fn from_str(text: &str) -> Result<Self, HostAddressError> {
        if let Ok(address) = text.parse() {
            return Ok(Self::Ip(address));
        }
        let (host, port) = text.rsplit_once(':').ok_or(HostAddressError)?;
        let port = port.parse().map_err(|_| HostAddressError)?;
        if !is_host_name(host) {
            return Err(HostAddressError);
        }
        Ok(Self::Name { host: host.into(), port })
    }
}

impl fmt::Display for HostAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(address) => address.fmt(f),
            Self::Name { host, port } => write!(f, "{host}:{port}"),
        }
    }
}

/// Returns true for a text that can be a host name: letters, digits, dashes and dots, and not only
/// digits and dots, which would be a mistyped address.
pub fn is_host_name(host: &str) -> bool {
    (1..=HOST_NAME_MAX).contains(&host.len())
        && host.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b))
        && !host.bytes().all(|b| b.is_ascii_digit() || b == b'.')
}

type Found = io::Result<Vec<SocketAddr>>;

/// A look-up of a name, on a thread of its own: the system's resolver may take many seconds.
/// Its holder starts no second one for the same name, which bounds the threads.
#[derive(Debug, Clone)]
pub struct Lookup(Arc<Mutex<Option<Found>>>);

impl Lookup {
    /// Starts the look-up.
    pub fn start(host: &str, port: u16) -> Self {
        let lookup = Self(Arc::default());
        let (slot, name) = (lookup.0.clone(), host.to_owned());
        let started = thread::Builder::new().name("resolver".into()).spawn(move || {
            let found = (name.as_str(), port).to_socket_addrs().and_then(distinct);
            *slot.lock() = Some(found);
        });
        if let Err(error) = started {
            *lookup.0.lock() = Some(Err(error));
        }
        lookup
    }

    /// Returns the addresses, of both families, in the order in which they are to be tried; none
    /// before the look-up is done and after they have been taken.
    pub fn take(&self) -> Option<Found> {
        self.0.lock().take()
    }
}

/// Keeps the first of equal addresses. No address at all is an error.
fn distinct(addresses: impl Iterator<Item = SocketAddr>) -> Found {
    let mut found = Vec::new();
    for address in addresses {
        if !found.contains(&address) && found.len() < HOST_ADDRESSES_MAX {
            found.push(address);
        }
    }
    if found.is_empty() {
        return Err(io::Error::new(io::ErrorKind::NotFound, "the name has no address"));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn names_and_addresses_of_both_families_are_read() {
        let check = |text: &str| assert_eq!(text.parse::<HostAddress>().unwrap().to_string(), text);
        check("127.0.0.1:9200");
        check("[::1]:9200");
        check("localhost:9200");
        check("chat-1.example.org:0");
        for text in ["", "localhost", ":1", "::1:1", "a b:1", "chat:65536", "127.0.0:1", "chat:x", "[chat]:1"]
        {
            assert!(text.parse::<HostAddress>().is_err(), "{text}");
        }
        assert!(format!("{}:1", "a".repeat(HOST_NAME_MAX + 1)).parse::<HostAddress>().is_err());
    }

    #[test]
    fn a_name_is_looked_up_on_another_thread() {
        let wait = |lookup: Lookup| {
            let deadline = Instant::now() + Duration::from_mins(1);
            loop {
                match lookup.take() {
                    Some(found) => return found,
                    None => assert!(Instant::now() < deadline, "no answer"),
                }
                thread::sleep(Duration::from_millis(1));
            }
        };
        let found = wait(Lookup::start("localhost", 9200)).unwrap();
        assert!(
            found.iter().all(|address| address.ip().is_loopback() && address.port() == 9200),
            "{found:?}"
        );
        // RFC 6761: no such name exists.
        wait(Lookup::start("no-such-host.invalid", 1)).unwrap_err();
    }

    #[test]
    fn equal_addresses_are_tried_once() {
        let [a, b] = ["[::1]:1", "127.0.0.1:1"].map(|text| text.parse::<SocketAddr>().unwrap());
        assert_eq!(distinct([a, a, b, a].into_iter()).unwrap(), [a, b]);
        assert!(distinct([].into_iter()).is_err());
    }
}
