//! Chat servers that login answers name, by IP address or by host name.
//!
//! A name is looked up on a thread of its own, at most one at a time, and anew for an attempt that
//! comes a second after the last look-up. Its addresses are tried in order: the first one that has
//! not failed serves all clients.

use std::net::SocketAddr;
use std::time::Duration;

use throng_core::crypto::PublicKey;
use throng_core::host::{HostAddress, Lookup};
use throng_harness_model::clock::{Nanos, nanos};
use throng_harness_model::plan::Server;

/// Time for which the addresses of a name are used.
const FRESH: Duration = Duration::from_secs(1);

/// Time after which a client asks again for an address that is being looked up.
pub(super) const LOOKUP_POLL: Duration = Duration::from_millis(5);

/// The servers, in the order in which answers named them first.
#[derive(Debug, Default)]
pub(super) struct ChatServers(Vec<Named>);

#[derive(Debug)]
struct Named {
    address: HostAddress,
    key: PublicKey,
    handshake_timeout: Duration,
    /// One for each address of the name.
    servers: Vec<Server>,
    /// The server in use.
    current: usize,
    looked_at: Option<Nanos>,
    lookup: Option<Lookup>,
}

/// An answer to a client that wants to connect.
#[derive(Debug)]
pub(super) enum Found {
    /// The server to connect to.
    Server(Server),
    /// The name is being looked up: ask again after [`LOOKUP_POLL`].
    Later,
    /// The name has no address.
    Failed(String),
}

impl ChatServers {
    /// Returns the number of a server that an answer has named.
    pub(super) fn number(
        &mut self,
        address: &HostAddress,
        key: PublicKey,
        handshake_timeout: Duration,
    ) -> usize {
        if let Some(known) = self.0.iter().position(|named| named.address == *address && named.key == key) {
            return known;
        }
        let servers = match address {
            HostAddress::Ip(address) => vec![Server::new(*address, key, handshake_timeout)],
            HostAddress::Name { .. } => Vec::new(),
        };
        let address = address.clone();
        let named =
            Named { address, key, handshake_timeout, servers, current: 0, looked_at: None, lookup: None };
        self.0.push(named);
        self.0.len() - 1
    }

    /// Returns the first server, if its address is known.
    pub(super) fn first(&self) -> Option<Server> {
        let named = self.0.first()?;
        named.servers.get(named.current).cloned()
    }

    /// Returns the server to connect to. `failed` is the address that the client has just tried in
    /// vain.
    pub(super) fn find(&mut self, number: usize, failed: Option<SocketAddr>, now: Nanos) -> Found {
        let Some(named) = self.0.get_mut(number) else { return Found::Failed("no such server".into()) };
        let HostAddress::Name { host, port } = &named.address else { return named.current() };
        // Not again for each of a thousand clients that have tried the same address.
        if failed.is_some() && named.servers.get(named.current).map(|server| server.address) == failed {
            named.current += 1;
        }
        let is_fresh = named.looked_at.is_some_and(|at| now < at + nanos(FRESH));
        let is_used_up = named.current >= named.servers.len();
        if named.lookup.is_none() && is_fresh && !is_used_up {
            return named.current();
        }
        let lookup = named.lookup.get_or_insert_with(|| Lookup::start(host, *port));
        let Some(result) = lookup.take() else { return Found::Later };
        named.lookup = None;
        match result {
            Ok(addresses) => {
                let before = named.servers.get(named.current).map(|server| server.address);
                let server = |address| Server::new(address, named.key, named.handshake_timeout);
                // The address in use is kept as long as the name has it.
                named.current = addresses.iter().position(|at| Some(*at) == before).unwrap_or(0);
                named.servers = addresses.into_iter().map(server).collect();
                named.looked_at = Some(now);
                named.current()
            }
            Err(error) => Found::Failed(format!("cannot look up {host} ({error})")),
        }
    }
}

impl Named {
    fn current(&self) -> Found {
        match self.servers.get(self.current) {
            Some(server) => Found::Server(server.clone()),
            None => Found::Later,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(1);

    /// Asks until the look-up is done.
    fn find(servers: &mut ChatServers, failed: Option<SocketAddr>, now: Nanos) -> Found {
        let deadline = Instant::now() + Duration::from_mins(1);
        loop {
            match servers.find(0, failed, now) {
                Found::Later => assert!(Instant::now() < deadline, "no answer"),
                found => return found,
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    #[test]
    fn a_chat_server_with_a_host_name_is_looked_up_and_each_of_its_addresses_tried() {
        let mut servers = ChatServers::default();
        let name = "localhost:9200".parse().unwrap();
        assert_eq!(servers.number(&name, [1; 32], TIMEOUT), 0);
        assert!(servers.first().is_none(), "not looked up yet");
        let Found::Server(first) = find(&mut servers, None, 0) else { panic!("localhost has an address") };
        assert!(first.address.ip().is_loopback() && first.address.port() == 9200);
        let other: SocketAddr = "127.0.0.9:9200".parse().unwrap();
        servers.0[0].servers.push(Server::new(other, [1; 32], TIMEOUT));
        servers.0[0].servers.retain(|server| [first.address, other].contains(&server.address));
        for _ in 0..2 {
            let Found::Server(next) = servers.find(0, Some(first.address), 1) else { panic!("no address") };
            assert_eq!(next.address, other);
        }
        // All addresses have failed: the name is looked up anew.
        let Found::Server(again) = find(&mut servers, Some(other), 2) else { panic!("no address") };
        assert_eq!(again.address, first.address);
    }

    #[test]
    fn a_name_without_an_address_is_an_error_and_an_address_needs_no_look_up() {
        let mut servers = ChatServers::default();
        servers.number(&"no-such-host.invalid:1".parse().unwrap(), [1; 32], TIMEOUT);
        assert!(matches!(find(&mut servers, None, 0), Found::Failed(why) if why.contains("no-such-host")));
        assert_eq!(servers.number(&"[::1]:2".parse().unwrap(), [1; 32], TIMEOUT), 1);
        assert_eq!(servers.number(&"[::1]:2".parse().unwrap(), [1; 32], TIMEOUT), 1);
        let Found::Server(server) = servers.find(1, None, 0) else { panic!("it is an address") };
        assert_eq!(servers.find(1, Some(server.address), 0).address(), Some(server.address));
    }

    impl Found {
        fn address(&self) -> Option<SocketAddr> {
            match self {
                Self::Server(server) => Some(server.address),
                Self::Later | Self::Failed(_) => None,
            }
        }
    }
}
