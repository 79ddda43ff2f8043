//! What all workers of a run have in common: decided before it, and never changed.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use throng_core::crypto::{ClusterKey, Credentials, PublicKey};
use throng_core::limits::SERVER_BODY_MAX;
use throng_core::net::{Endpoint, PeerKind};

use super::{Churn, Impairment, Lists, Presence};
use crate::audiences::Audiences;
use crate::bots::Script;
use crate::clock::{Nanos, RunClock};
use crate::identity::Identities;
use crate::payload::Payload;
use crate::schedule::{Pace, Traffic};

/// Bytes that may wait for one client's socket.
const OUTBOX_MAX: usize = 256 * 1024;

/// How long a closed connection may take to be taken note of.
const LINGER: Duration = Duration::from_millis(500);

/// A server to connect to.
#[derive(Debug, Clone)]
pub struct Server {
    /// Where it listens.
    pub address: SocketAddr,
    /// Its public key.
    pub key: PublicKey,
    /// The rules for connections to it.
    pub endpoint: Arc<Endpoint>,
}

impl Server {
    /// The server at `address`; a connection to it has `handshake_timeout` to get ready.
    pub fn new(address: SocketAddr, key: PublicKey, handshake_timeout: Duration) -> Self {
        let endpoint = Endpoint {
            peer: PeerKind::Client,
            credentials: Credentials::Client(key),
            body_max: SERVER_BODY_MAX,
            outbox_max: OUTBOX_MAX,
            handshake_timeout,
            // Whether the other end is alive is the server's to ask; a run has deadlines of its own.
            first_packet_timeout: None,
            heartbeat: None,
            idle_timeout: None,
            linger: LINGER,
        };
        Self { address, key, endpoint: Arc::new(endpoint) }
    }
}

/// How the clients of a run get in.
#[derive(Debug)]
pub enum EntryPath {
    /// Straight to the chat server, with tickets sealed with the cluster's key.
    Ticket(Server, ClusterKey),
    /// As players: to the login server, each with an account of its own.
    Login(Server),
}

/// What all workers of a run have in common.
#[derive(Debug)]
pub struct Plan {
    /// The run's one clock.
    pub clock: RunClock,
    /// Clients of the run, at least 1.
    pub clients: u32,
    /// Workers, of all processes together, from 1 to the number of clients.
    pub workers: u32,
    /// Loopback addresses that clients connect from, in turn; with 1 the system chooses, as it does for a server elsewhere.
    pub sources: u32,
    /// How clients get in.
    pub way: EntryPath,
    /// When each client's way in begins.
    pub begin: Pace,
    /// How long it may take, in nanoseconds.
    pub timeout: Nanos,
    /// Most clients on their way in at a time, at least one for each worker.
    pub in_flight: u32,
    /// Whether there are fewer while the server puts clients off.
    pub is_adaptive: bool,
    /// Whether each client leaves as soon as it has the user list. Then there are at most as many in
    /// the chat as may be on their way.
    pub leaves: bool,
    /// How often each client comes in; once unless it leaves.
    pub rounds: u32,
    /// Who the clients are.
    pub cast: Identities,
    /// What they say.
    pub payload: Payload,
    /// Who sends what before counting begins; empty for a run without messages.
    pub warmup: Arc<Traffic>,
    /// Who sends what is counted; likewise.
    pub traffic: Arc<Traffic>,
    /// What bots say: that traffic, with the words.
    pub script: Option<Arc<Script>>,
    /// Who belongs to which audience.
    pub crowd: Audiences,
    /// Who joins and leaves channels while others talk.
    pub churn: Option<Churn>,
    /// Who moves from sector to sector while others talk.
    pub moves: Option<Churn>,
    /// Who does not read as it should.
    pub impairment: Impairment,
    /// Whether clients hang up and come again.
    pub reconnects: bool,
    /// Who keeps the user list.
    pub lists: Lists,
    /// Who is in the chat.
    pub presence: Presence,
    /// For a closed loop: counted messages are sent as soon as at most this many are ahead of the
    /// slowest client, whatever the schedule says. Only with one worker.
    pub ahead: Option<u32>,
    /// Decides pauses between attempts.
    pub seed: u64,
}

impl Plan {
    /// `total` things dealt to the workers: the share of `worker`.
    pub fn share(&self, total: u32, worker: u32) -> u32 {
        total / self.workers + u32::from(worker < total % self.workers)
    }

    /// What tells by the name of a user in the chat whether it is a client of this run, in whatever process.
    pub fn knows_own(&self) -> impl Fn(&str) -> bool {
        |name| self.cast.is_client(name, self.clients)
    }

    /// The address that a client connects to `server` from; none if the system may choose, as it must for one that cannot be
    /// reached from loopback: a login server may send clients to any.
    pub fn source(&self, client: u32, server: SocketAddr) -> Option<IpAddr> {
        let source = |number| IpAddr::from(Ipv4Addr::from_bits(Ipv4Addr::LOCALHOST.to_bits() + number));
        let is_near = server.is_ipv4() && server.ip().is_loopback();
        (self.sources > 1 && is_near).then(|| source(client % self.sources))
    }
}
