//! The plan of a run: everything decided before it starts.
//!
//! All processes derive the same plan from the same input, and it never changes.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use throng_core::crypto::{ClusterKey, Credentials, PublicKey};
use throng_core::limits::SERVER_BODY_MAX;
use throng_core::net::{Endpoint, PeerKind};

use super::audiences::Audiences;
use super::bots::Script;
use super::clock::{Nanos, RunClock, nanos};
use super::cuts::Cuts;
use super::identity::Identities;
use super::limits::{IN_FLIGHT, MESSAGES_MAX};
use super::payload::{PAYLOAD_MIN, Payload};
use super::presence::Presence;
use super::schedule::{Pace, Traffic, points_in};
use super::spec::{Broadcast, Connect, Job, Lists, Scenario, Setting, Stay};
use super::split_mix::mixed;
use super::target::{self, Target};

/// The most bytes queued for one client's socket.
const OUTBOX_MAX: usize = 256 * 1024;

/// The longest time that a closing session waits for its peer to take the queued bytes and close.
const LINGER: Duration = Duration::from_millis(500);

/// A server that clients connect to.
#[derive(Debug, Clone)]
pub struct Server {
    /// The address on which it listens.
    pub address: SocketAddr,
    /// The server's public key.
    pub key: PublicKey,
    /// The settings of connections to it.
    pub endpoint: Arc<Endpoint>,
}

impl Server {
    /// The server at `address`. A connection must complete its handshake within
    /// `handshake_timeout`.
    pub fn new(address: SocketAddr, key: PublicKey, handshake_timeout: Duration) -> Self {
        let endpoint = Endpoint {
            peer: PeerKind::Client,
            credentials: Credentials::Client(key),
            body_max: SERVER_BODY_MAX,
            outbox_max: OUTBOX_MAX,
            handshake_timeout,
            // Heartbeats are up to the server; a run has deadlines of its own.
            first_packet_timeout: None,
            heartbeat: None,
            idle_timeout: None,
            linger: LINGER,
        };
        Self { address, key, endpoint: Arc::new(endpoint) }
    }
}

/// The path on which clients enter.
#[derive(Debug)]
pub enum EntryPath {
    /// Straight to the chat servers in turn, with tickets sealed by the cluster's key.
    Ticket(Vec<Server>, ClusterKey),
    /// As players do: through the login server, each with an account of its own.
    Login(Server),
}

/// The plan that all workers of a run share.
#[expect(clippy::struct_excessive_bools, reason = "each is a property of the run by itself")]
#[derive(Debug)]
pub struct Plan {
    /// The run's clock.
    pub clock: RunClock,
    /// Clients of the run, at least 1.
    pub clients: u32,
    /// Workers of all processes together, from 1 to the number of clients.
    pub workers: u32,
    /// Loopback addresses that clients connect from, in turn. With 1 the system chooses, as it does
    /// for a server on another machine.
    pub sources: u32,
    /// The path on which clients enter.
    pub entry_path: EntryPath,
    /// The times at which clients start to enter.
    pub begin: Pace,
    /// The longest time to enter, in nanoseconds.
    pub timeout: Nanos,
    /// The most clients entering at a time, at least one for each worker.
    pub in_flight: u32,
    /// True if fewer clients enter at a time while the server defers some.
    pub is_adaptive: bool,
    /// True if each client leaves as soon as it has the user list. Then at most `in_flight` clients
    /// are in the chat.
    pub leaves: bool,
    /// The number of times that each client enters; 1 unless clients leave.
    pub rounds: u32,
    /// Identities of the clients.
    pub identities: Identities,
    /// Composes and recognizes the clients' texts.
    pub payload: Payload,
    /// Senders of the messages before counting starts; empty for a run without messages.
    pub warmup: Arc<Traffic>,
    /// Senders of the counted messages; empty for a run without messages.
    pub traffic: Arc<Traffic>,
    /// The conversation of bots: `traffic` with its words.
    pub script: Option<Arc<Script>>,
    /// Members of each audience.
    pub audiences: Audiences,
    /// Clients that join and leave channels while others send.
    pub churn: Option<Churn>,
    /// Clients that move from sector to sector while others send.
    pub moves: Option<Churn>,
    /// Clients that stop reading or read slowly.
    pub impairment: Impairment,
    /// Connections that clients lose, and after which they resume.
    pub cuts: Option<Cuts>,
    /// True if clients resume after they have lost their connections, for whatever reason.
    pub resumes: bool,
    /// True if clients disconnect and enter again.
    pub reconnects: bool,
    /// The clients that keep the user list.
    pub lists: Lists,
    /// The clients that are in the chat.
    pub presence: Presence,
    /// For a closed loop: a counted message is sent as soon as at most this many are ahead of the
    /// slowest client, whatever its scheduled time. Only with one worker.
    pub ahead: Option<u32>,
    /// Seed of the pauses between attempts.
    pub seed: u64,
}

impl Plan {
    /// The chat server of a client that enters with a ticket, and that is at the server of number
    /// `node`; numbers go on around the servers. None for a client that logs in.
    pub fn node(&self, node: u32) -> Option<&Server> {
        let EntryPath::Ticket(servers, _) = &self.entry_path else { return None };
        servers.get(node as usize % servers.len())
    }

    /// The number of a server other than `node`, if there is one, for a client of this number.
    /// Those of one server are spread over the others.
    pub fn other_node(&self, node: u32, client: u32) -> u32 {
        let EntryPath::Ticket(servers, _) = &self.entry_path else { return node };
        let others = (servers.len() as u64 - 1).max(1);
        let step = mixed(self.seed ^ u64::from(client) << 32 ^ u64::from(node)) % others;
        (node + 1 + step as u32) % servers.len() as u32
    }

    /// True if clients are spread over the servers of a fleet, whose clocks differ.
    pub fn is_fleet(&self) -> bool {
        matches!(&self.entry_path, EntryPath::Ticket(servers, _) if servers.len() > 1)
    }

    /// The share of `worker` when `total` things are dealt to the workers.
    pub fn share(&self, total: u32, worker: u32) -> u32 {
        total / self.workers + u32::from(worker < total % self.workers)
    }

    /// A predicate on the names of chat users that is true for clients of this run, in any process.
    pub fn knows_own(&self) -> impl Fn(&str) -> bool {
        |name| self.identities.is_client(name, self.clients)
    }

    /// The address from which a client connects to `server`. None if the system is to choose, as it
    /// must for a server that is not on loopback; a login server may send clients to any address.
    pub fn source(&self, client: u32, server: SocketAddr) -> Option<IpAddr> {
        let source = |number| IpAddr::from(Ipv4Addr::from_bits(Ipv4Addr::LOCALHOST.to_bits() + number));
        let is_near = server.is_ipv4() && server.ip().is_loopback();
        (self.sources > 1 && is_near).then(|| source(client % self.sources))
    }
}

/// Clients that do not read as fast as they can: the last ones of the run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Impairment {
    /// Clients that stop reading.
    pub deaf: u32,
    /// The time for which they stop, in nanoseconds; none for the rest of the run.
    pub deaf_for: Option<Nanos>,
    /// Clients that read slowly.
    pub slow: u32,
    /// Bytes that each of them reads a second.
    pub slow_rate: u32,
}

/// The impairment of a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ImpairmentKind {
    /// It stops reading.
    Deaf,
    /// It reads slowly.
    Slow,
}

impl Impairment {
    /// The number of impaired clients.
    pub fn count(&self) -> u32 {
        self.deaf + self.slow
    }

    /// True if no client is impaired.
    pub fn is_none(&self) -> bool {
        self.count() == 0
    }

    /// The impairment of a client out of `clients`; none if it reads normally.
    pub fn kind(&self, client: u32, clients: u32) -> Option<ImpairmentKind> {
        match clients - client {
            from_end if from_end <= self.deaf => Some(ImpairmentKind::Deaf),
            from_end if from_end <= self.count() => Some(ImpairmentKind::Slow),
            _ => None,
        }
    }
}

/// Clients that join and leave channels, or move, while others send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Churn {
    /// Joins and leaves, or moves, a second, of all these clients together.
    pub per_second: u32,
    /// The first of these clients.
    pub first: u32,
    /// The number of these clients.
    pub count: u32,
}

impl Churn {
    /// The client of turn `index`, and a random number that decides its action.
    pub fn turn(self, seed: u64, index: u32) -> (u32, u64) {
        let drawn = mixed(seed ^ u64::from(index));
        (self.first + (drawn % u64::from(self.count.max(1))) as u32, drawn >> 32)
    }
}

/// Input of [`plan`] besides the job and the target, the same in all processes of a run.
#[derive(Debug, Clone, Copy)]
pub struct Given {
    /// The run's clock.
    pub clock: RunClock,
    /// The run's number, unique to it.
    pub run: u32,
    /// Local addresses that clients connect from, at least 1.
    pub sources: u32,
}

/// Makes the plan of a run; equal arguments give equal plans.
pub fn plan(job: &Job, target: &Target, Given { clock, run, sources }: Given) -> Plan {
    let server =
        |endpoint: &target::Endpoint| Server::new(endpoint.address, endpoint.key, job.connect_timeout);
    let entry_path = match &target.cluster_key {
        Some(cluster) => {
            let servers = std::iter::once(&target.server).chain(&target.nodes).map(server);
            EntryPath::Ticket(servers.collect(), cluster.clone())
        }
        None => EntryPath::Login(server(&target.server)),
    };
    let (connect, login, broadcast) = match &job.scenario {
        Scenario::Connect(connect) => (Some(connect), None, None),
        Scenario::Login(login) => (None, Some(login), None),
        Scenario::Broadcast(broadcast) => (None, None, Some(broadcast)),
        Scenario::Bots(_) => (None, None, None),
    };
    let setting = broadcast.map_or_else(Setting::default, |broadcast| broadcast.setting);
    let audiences = setting.audiences(job.clients, job.seed);
    let speakers = setting.speakers(job.clients);
    let senders = broadcast.map_or(0, |broadcast| broadcast.senders);
    let draw = |messages: Option<u32>| {
        let traffic = Traffic::draw(job.seed, speakers, senders, messages.unwrap_or(0));
        Arc::new(traffic.among(&audiences, job.seed))
    };
    let script = script(job);
    let traffic = match &script {
        Some(script) => script.traffic().clone(),
        None => draw(broadcast.map(Broadcast::messages_drawn)),
    };
    let warmup = draw(
        broadcast.map(|broadcast| points_in(broadcast.warmup, broadcast.interval).unwrap_or(MESSAGES_MAX)),
    );
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
        entry_path,
        begin: Pace::new(clock.now(), job.connect_interval)
            .with_ramp(connect.map_or(Duration::ZERO, |connect| connect.ramp)),
        timeout: nanos(job.connect_timeout),
        in_flight: login.map_or(IN_FLIGHT, |login| login.in_flight),
        is_adaptive: script.is_some(),
        leaves: login.is_some_and(|login| matches!(login.stay, Stay::Leave { .. })),
        rounds: job.scenario.rounds(),
        identities: Identities::new(run, job.seed)
            .with_accounts(login.and_then(|login| login.seeded.clone())),
        payload: Payload::new(run, job.seed, broadcast.map_or(PAYLOAD_MIN, |broadcast| broadcast.payload))
            .saying(script.clone()),
        warmup,
        traffic,
        script,
        audiences,
        churn: setting.churn.map(churn),
        moves: setting.moves.map(churn),
        impairment,
        cuts: broadcast.and_then(|broadcast| {
            let pattern = broadcast.setting.cut?;
            Some(Cuts::new(pattern, job.clients, broadcast.duration, job.seed))
        }),
        resumes: setting.resume,
        reconnects: connect.is_some_and(Connect::reconnects),
        lists: job.lists,
        presence: Presence::new(job.clients),
        ahead: broadcast.and_then(|broadcast| broadcast.ahead),
        seed: job.seed,
    }
}

/// The conversation of the job's bots; none for other scenarios.
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
    fn turns_are_spread_over_the_clients_of_the_churn() {
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
