//! What is decided before a run: the same in all its processes, because it follows from the same, and never changed.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use throng_core::crypto::{ClusterKey, Credentials, PublicKey};
use throng_core::limits::SERVER_BODY_MAX;
use throng_core::net::{Endpoint, PeerKind};

use super::audiences::Audiences;
use super::bots::Script;
use super::clock::{Nanos, RunClock, nanos};
use super::identity::Identities;
use super::limits::{IN_FLIGHT, MESSAGES_MAX};
use super::payload::{PAYLOAD_MIN, Payload};
use super::presence::Presence;
use super::schedule::{Pace, Traffic, points_in};
use super::spec::{Job, Lists, Scenario, Setting, Stay};
use super::target::Target;

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
    pub identities: Identities,
    /// What they say.
    pub payload: Payload,
    /// Who sends what before counting begins; empty for a run without messages.
    pub warmup: Arc<Traffic>,
    /// Who sends what is counted; likewise.
    pub traffic: Arc<Traffic>,
    /// What bots say: that traffic, with the words.
    pub script: Option<Arc<Script>>,
    /// Who belongs to which audience.
    pub audiences: Audiences,
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
        |name| self.identities.is_client(name, self.clients)
    }

    /// The address that a client connects to `server` from; none if the system may choose, as it must for one that cannot be
    /// reached from loopback: a login server may send clients to any.
    pub fn source(&self, client: u32, server: SocketAddr) -> Option<IpAddr> {
        let source = |number| IpAddr::from(Ipv4Addr::from_bits(Ipv4Addr::LOCALHOST.to_bits() + number));
        let is_near = server.is_ipv4() && server.ip().is_loopback();
        (self.sources > 1 && is_near).then(|| source(client % self.sources))
    }
}

/// Which clients do not read as they should: the last of all.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Impairment {
    /// Clients that stop reading.
    pub deaf: u32,
    /// How long they do, in nanoseconds; none for the rest of the run.
    pub deaf_for: Option<Nanos>,
    /// Clients that read slowly.
    pub slow: u32,
    /// How many bytes each of them reads a second.
    pub slow_rate: u32,
}

/// How a client reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ImpairmentKind {
    /// It stops reading.
    Deaf,
    /// It reads slowly.
    Slow,
}

impl Impairment {
    /// Clients that are impaired in either way.
    pub fn count(&self) -> u32 {
        self.deaf + self.slow
    }

    /// Whether nobody is.
    pub fn is_none(&self) -> bool {
        self.count() == 0
    }

    /// How a client of so many is impaired, if it is.
    pub fn kind(&self, client: u32, clients: u32) -> Option<ImpairmentKind> {
        match clients - client {
            from_end if from_end <= self.deaf => Some(ImpairmentKind::Deaf),
            from_end if from_end <= self.count() => Some(ImpairmentKind::Slow),
            _ => None,
        }
    }
}

/// Who comes and goes, or moves, while others talk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Churn {
    /// Joinings and leavings, or moves, a second, of all clients together.
    pub per_second: u32,
    /// The clients that do: from this number on,
    pub first: u32,
    /// and so many.
    pub count: u32,
}

impl Churn {
    /// The client whose turn number `index` is, and a number for what it does.
    pub fn turn(self, seed: u64, index: u32) -> (u32, u64) {
        let drawn = mixed(seed ^ u64::from(index));
        (self.first + (drawn % u64::from(self.count.max(1))) as u32, drawn >> 32)
    }
}

/// Bits that look like chance (the finisher of SplitMix64).
pub fn mixed(seed: u64) -> u64 {
    let mut z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ z >> 31
}

/// What a run has besides its job and its target, the same in all its processes.
#[derive(Debug, Clone, Copy)]
pub struct Given {
    /// The run's one clock.
    pub clock: RunClock,
    /// Its number, which no other run has.
    pub run: u32,
    /// Addresses of ours that clients connect from, at least 1.
    pub sources: u32,
}

/// Everything that is decided before the run, in each of its processes alike.
pub fn plan(job: &Job, target: &Target, Given { clock, run, sources }: Given) -> Plan {
    let server = Server::new(target.server.address, target.server.key, job.connect_timeout);
    let way = match &target.cluster_key {
        Some(cluster) => EntryPath::Ticket(server, cluster.clone()),
        None => EntryPath::Login(server),
    };
    let (in_flight, leaves, seeded) = match &job.scenario {
        Scenario::Login(login) => {
            let leaves = matches!(login.stay, Stay::Leave { .. });
            (login.in_flight, leaves, login.seeded.clone())
        }
        Scenario::Connect(_) | Scenario::Broadcast(_) | Scenario::Bots(_) => (IN_FLIGHT, false, None),
    };
    let (payload, senders, warmup, messages) = match &job.scenario {
        Scenario::Broadcast(broadcast) => {
            let warmup = points_in(broadcast.warmup, broadcast.interval).unwrap_or(MESSAGES_MAX);
            (broadcast.payload, broadcast.senders, warmup, broadcast.messages_drawn())
        }
        _ => (PAYLOAD_MIN, 0, 0, 0),
    };
    let ahead = match &job.scenario {
        Scenario::Broadcast(broadcast) => broadcast.ahead,
        _ => None,
    };
    let (ramp, reconnects) = match &job.scenario {
        Scenario::Connect(connect) => (connect.ramp, connect.reconnects()),
        _ => (Duration::ZERO, false),
    };
    let setting = match &job.scenario {
        Scenario::Broadcast(broadcast) => broadcast.setting,
        _ => Setting::default(),
    };
    let audiences = setting.audiences(job.clients, job.seed);
    let speakers = setting.speakers(job.clients);
    let draw = |messages| Traffic::draw(job.seed, speakers, senders, messages).among(&audiences, job.seed);
    let script = script(job);
    let traffic = script.as_ref().map_or_else(|| Arc::new(draw(messages)), |script| script.traffic().clone());
    let warmup = Arc::new(draw(warmup));
    let impairment = Impairment {
        deaf: setting.deaf,
        deaf_for: setting.deaf_for.map(nanos),
        slow: setting.slow,
        slow_rate: setting.slow_rate,
    };
    let churn = |per_second| Churn {
        per_second,
        first: speakers,
        count: job.clients - speakers - impairment.count(),
    };
    Plan {
        clock,
        clients: job.clients,
        workers: job.workers * job.processes,
        sources,
        way,
        begin: Pace::new(clock.now(), job.connect_interval).with_ramp(ramp),
        timeout: nanos(job.connect_timeout),
        in_flight,
        is_adaptive: script.is_some(),
        leaves,
        rounds: job.scenario.rounds(),
        identities: Identities::new(run, job.seed).with_accounts(seeded),
        payload: Payload::new(run, job.seed, payload).saying(script.clone()),
        warmup,
        traffic,
        script,
        audiences,
        churn: setting.churn.map(churn),
        moves: setting.moves.map(churn),
        impairment,
        reconnects,
        lists: job.lists,
        presence: Presence::new(job.clients),
        ahead,
        seed: job.seed,
    }
}

/// What they are to say; none for other scenarios.
fn script(job: &Job) -> Option<Arc<Script>> {
    match &job.scenario {
        Scenario::Bots(bots) => {
            let script = Script::draw(job.seed, job.clients, bots.manner, bots.duration);
            Some(Arc::new(script))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_clients_are_impaired() {
        let impairment = Impairment { deaf: 2, slow: 3, ..Impairment::default() };
        let kinds: Vec<_> = (0..10).map(|client| impairment.kind(client, 10)).collect();
        let (deaf, slow) = (Some(ImpairmentKind::Deaf), Some(ImpairmentKind::Slow));
        assert_eq!(kinds, [None, None, None, None, None, slow, slow, slow, deaf, deaf]);
        assert!(Impairment::default().is_none() && !impairment.is_none());
    }

    #[test]
    fn everybody_who_may_comes_and_goes() {
        let churn = Churn { per_second: 1_000, first: 50, count: 20 };
        let mut turns = [0; 20];
        for index in 0..10_000 {
            let (client, _) = churn.turn(7, index);
            turns[(client - 50) as usize] += 1;
        }
        assert!(turns.iter().all(|turns| (350..650).contains(turns)), "{turns:?}");
        assert_eq!(churn.turn(7, 3), churn.turn(7, 3));
        assert_ne!(churn.turn(7, 3), churn.turn(8, 3));
    }
}
