//! The systems that are measured: one line for each.

use super::irc::InspIrcd;
use super::mqtt::Mosquitto;
use super::nats::Nats;
use super::redis::Redis;
use super::system::Peer;
use super::uwebsockets::UWebSockets;

/// All systems other than Throng, in the order of reports.
pub const PEERS: [&dyn Peer; 5] = [&Redis, &Nats, &InspIrcd, &Mosquitto, &UWebSockets];

/// Throng's own name among the systems.
pub const THRONG: &str = "throng";

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn names_are_unique_and_configurations_complete() {
        let names: std::collections::BTreeSet<_> = PEERS.iter().map(|peer| peer.name()).collect();
        assert_eq!(names.len(), PEERS.len());
        assert!(!names.contains(THRONG));
        for peer in PEERS {
            assert!(!peer.package().is_empty() && !peer.program().contains('/'));
            let config = peer.configuration(4321, Path::new("/some/dir"));
            assert!(config.contains("4321") && config.contains("127.0.0.1"), "{config}");
        }
    }
}
