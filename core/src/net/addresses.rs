//! Connections of each client's address: how many at a time, and how fast new ones come.
//!
//! One IPv4 address, or one IPv6 network of 64 bits, counts as one address: a home or a host gets
//! that many. Several households may share an IPv4 address, so the limits are generous.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;

use crate::bucket::Bucket;
use crate::config::Limits;
use crate::limits::ADDRESSES_KEPT;
use crate::wire::CloseReason;

/// Addresses with connections to one role.
pub struct Addresses {
    limits: Limits,
    table: Mutex<Table>,
}

#[derive(Default)]
struct Table {
    addresses: HashMap<IpAddr, Address>,
    /// Number of addresses at which those that are not in use are removed.
    purge_at: usize,
}

#[derive(Default)]
struct Address {
    connections: usize,
    handshakes: Bucket,
}

/// The place of one connection among those of its address, until it is dropped.
pub(super) struct Place {
    addresses: Arc<Addresses>,
    address: IpAddr,
}

impl Addresses {
    /// Creates a table for one role.
    pub fn new(limits: Limits) -> Arc<Self> {
        Arc::new(Self { limits, table: Mutex::default() })
    }

    /// Counts a new connection at `now`. Returns no place if the address is exempt, and fails with
    /// the reason for the peer if the address has too many connections or opens them too fast.
    pub(super) fn admit(self: &Arc<Self>, peer: IpAddr, now: Instant) -> Result<Option<Place>, CloseReason> {
        if self.limits.is_exempt(peer) {
            return Ok(None);
        }
        let key = network_of(peer);
        let mut table = self.table.lock();
        if table.addresses.len() >= table.purge_at.max(ADDRESSES_KEPT) {
            table.addresses.retain(|_, address| address.connections > 0 || !address.handshakes.is_full(now));
            table.purge_at = 2 * table.addresses.len();
        }
        let address = table.addresses.entry(key).or_default();
        if address.connections >= self.limits.connections {
            return Err(CloseReason::TooManyConnections);
        }
        address.handshakes.take(self.limits.handshakes, now).map_err(|_| CloseReason::TooFast)?;
        address.connections += 1;
        Ok(Some(Place { addresses: self.clone(), address: key }))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // The entry stays for its bucket, until the next purge.
        if let Some(address) = self.addresses.table.lock().addresses.get_mut(&self.address) {
            address.connections = address.connections.saturating_sub(1);
        }
    }
}

/// Returns the address under which a peer is counted: its IPv4 address, or its IPv6 network of 64
/// bits.
pub fn network_of(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
        address @ IpAddr::V4(_) => address,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::{Config, Rate};

    fn addresses(connections: usize, handshakes: Rate) -> Arc<Addresses> {
        Addresses::new(Limits { connections, handshakes, ..Config::default().limits })
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn an_address_has_a_number_of_connections_and_a_network_of_ipv6_counts_as_one() {
        let now = Instant::now();
        for (same, also, other) in [
            ("192.0.2.1", "::ffff:192.0.2.1", "192.0.2.2"),
            ("2001:db8::1", "2001:db8::ffff:1", "2001:db8:0:1::1"),
        ] {
            let addresses = addresses(2, Rate::OFF);
            let first = addresses.admit(ip(same), now).unwrap();
            let _second = addresses.admit(ip(also), now).unwrap();
            let refused = addresses.admit(ip(same), now).map(|_| ());
            assert_eq!(refused, Err(CloseReason::TooManyConnections));
            assert!(addresses.admit(ip(other), now).is_ok_and(|place| place.is_some()));
            drop(first);
            assert!(addresses.admit(ip(same), now).is_ok(), "a connection has ended");
        }
    }

    #[test]
    fn connections_that_come_too_fast_are_refused_unless_the_address_is_exempt() {
        let now = Instant::now();
        let addresses = addresses(100, Rate::new(2, Duration::from_secs(2)));
        let open = |text, now| addresses.admit(ip(text), now).map(|place| place.is_some());
        assert_eq!([(); 3].map(|()| open("192.0.2.1", now)), [Ok(true), Ok(true), Err(CloseReason::TooFast)]);
        assert_eq!(open("192.0.2.1", now + Duration::from_secs(1)), Ok(true));
        assert!((0..9).all(|_| open("127.0.0.1", now) == Ok(false)));
    }

    #[test]
    fn the_table_is_bounded_by_the_connections() {
        let addresses = addresses(1, Rate::new(1, Duration::from_secs(1)));
        let mut now = Instant::now();
        let _place = addresses.admit(ip("198.51.100.1"), now).unwrap();
        for number in 0..3 * ADDRESSES_KEPT as u32 {
            now += Duration::from_millis(1);
            let _ = addresses.admit(std::net::Ipv4Addr::from_bits(0x0a00_0000 + number).into(), now);
            assert!(addresses.table.lock().addresses.len() <= ADDRESSES_KEPT);
        }
        assert!(addresses.table.lock().addresses.contains_key(&ip("198.51.100.1")));
    }
}
