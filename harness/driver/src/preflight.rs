//! Checks that find, before the first client connects, that a run cannot work.

use std::net::{SocketAddr, TcpStream};
use std::sync::Once;
use std::time::Duration;
use std::{fs, io};

use thiserror::Error;
use throng_core::rlimit::FileLimit;
use throng_harness_model::cuts::CutPattern;
use throng_harness_model::limits::{IN_FLIGHT, PROCESSES_MAX, SOURCES_MAX};
use throng_harness_model::spec::{Bots, Job, Login, Scenario, Stay};
use throng_harness_model::target::{Entrance, Target};

/// Open files for everything but clients.
const RESERVED_FILES: u64 = 64;

/// The kernel's range of local ports for outgoing connections.
const PORT_RANGE: &str = "/proc/sys/net/ipv4/ip_local_port_range";

/// The kernel's bound on connections that wait to be accepted; it caps the backlog that a server
/// asks for.
const BACKLOG: &str = "/proc/sys/net/core/somaxconn";

/// Share of an address's ports to use, in percent, when the number of addresses is chosen here.
/// Other programs connect too, and a closed connection keeps its port for a while.
const PORTS_USED: u64 = 90;

/// Ensures that the warning about a slow start is printed once.
static WARNED: Once = Once::new();

/// Longest wait for the server to accept.
const REACH_TIMEOUT: Duration = Duration::from_secs(5);

/// Reason why a run cannot start.
#[derive(Debug, Error)]
pub enum PreflightError {
    /// The limit on open files is too low.
    #[error(
        "{connections} connections{} need {} open files, and a process may have {limit}: raise it with `ulimit -n {}`, {}or use fewer --clients",
        in_each(*processes), connections + RESERVED_FILES, connections + RESERVED_FILES,
        more_processes(*connections, *processes, limit)
    )]
    Files {
        /// Connections of one process at one time.
        connections: u64,
        /// Processes of the run.
        processes: u32,
        /// The limit in force.
        limit: FileLimit,
    },
    /// The system has too few local ports for the connections to one server.
    #[error(
        "{connections} connections to one address need as many local ports, and the system has {ports} for each of {sources} source address(es): widen net.ipv4.ip_local_port_range, as in `sysctl -w net.ipv4.ip_local_port_range=\"1024 65535\"`, {}or use fewer --clients",
        if *may_spread { format!("connect from more addresses with --sources {}, ", connections.div_ceil((*ports).max(1))) } else { String::new() }
    )]
    Ports {
        /// Connections at one time.
        connections: u64,
        /// Local ports of each address.
        ports: u64,
        /// Source addresses of the clients.
        sources: u32,
        /// True if clients can connect from more addresses.
        may_spread: bool,
    },
    /// Several source addresses exist only on the loopback of this machine.
    #[error(
        "--sources {sources} connects from 127.0.0.1, 127.0.0.2 and so on, from which {address} cannot be reached: leave it out, or use a server that listens on 127.0.0.1"
    )]
    Sources {
        /// Source addresses requested.
        sources: u32,
        /// The server's address.
        address: SocketAddr,
    },
    /// The server cannot be reached.
    #[error("cannot connect to {address}: {source}; is the server running, and is this its address?")]
    Unreachable {
        /// The server's address.
        address: SocketAddr,
        /// The system's error.
        source: io::Error,
    },
}

fn in_each(processes: u32) -> String {
    if processes > 1 { format!(" in each of {processes} processes") } else { String::new() }
}

/// Suggests a number of processes that suffices, if it is allowed.
fn more_processes(connections: u64, processes: u32, limit: &FileLimit) -> String {
    let all = connections * u64::from(processes);
    let enough = all.div_ceil(limit.sessions_that_fit(RESERVED_FILES).max(1));
    if enough <= u64::from(PROCESSES_MAX) {
        format!("use more processes with --processes {enough}, ")
    } else {
        String::new()
    }
}

/// Checks that this machine can run `job`, and that the server is reachable. Returns the number of
/// source addresses for the clients. A setting that may only slow down connecting is reported on
/// stderr, once.
pub fn check(job: &Job, target: &Target) -> Result<u32, PreflightError> {
    // The limit may suffice even if it cannot be raised. Child processes inherit it.
    let limit = FileLimit::raise().unwrap_or_else(|_| FileLimit::current());
    check_files(most_per_process(job), job.processes, limit)?;
    let address = target.server.address;
    let ports = fs::read_to_string(PORT_RANGE).ok().as_deref().and_then(ports_in);
    let sources = sources(connections(job, job.clients, 1), ports, job.sources, address)?;
    TcpStream::connect_timeout(&address, job.connect_timeout.min(REACH_TIMEOUT))
        .map_err(|source| PreflightError::Unreachable { address, source })?;
    // The backlog of a server on another machine is unknown.
    let backlog = fs::read_to_string(BACKLOG).ok().filter(|_| address.ip().is_loopback());
    let backlog = backlog.and_then(|text| text.trim().parse().ok());
    if let Some(warning) = backlog.and_then(|backlog| backlog_warning(burst(job), backlog)) {
        // All steps of a ramp get the same warning.
        WARNED.call_once(|| eprintln!("warning: {warning}"));
    }
    Ok(sources)
}

/// Most clients that connect at the same moment; 0 if they connect one after the other.
fn burst(job: &Job) -> u32 {
    let is_storm = match &job.scenario {
        Scenario::Connect(connect) => connect.storm,
        Scenario::Broadcast(broadcast) => broadcast.setting.cut == Some(CutPattern::All),
        Scenario::Login(_) | Scenario::Bots(_) => false,
    };
    if !job.connect_interval.is_zero() && !is_storm {
        return 0;
    }
    let in_flight = match &job.scenario {
        Scenario::Login(login) => login.in_flight,
        Scenario::Connect(_) | Scenario::Broadcast(_) | Scenario::Bots(_) => IN_FLIGHT,
    };
    // Each worker has at least one in flight.
    in_flight.max(job.workers * job.processes).min(job.clients)
}

/// Returns a warning if the burst exceeds the backlog.
fn backlog_warning(burst: u32, backlog: u32) -> Option<String> {
    (burst > backlog).then(|| {
        format!(
            "up to {burst} clients connect at the same moment, and the system lets {backlog} wait for a server to accept them (net.core.somaxconn): the other clients connect a second or more later, which inflates the connect times; raise the limit with `sysctl -w net.core.somaxconn={burst}` and restart the server, or connect one client after the other with --connect-interval or --rate"
        )
    })
}

/// Most simultaneous connections of one of `processes` processes that has `clients` clients of
/// `job`.
fn connections(job: &Job, clients: u32, processes: u32) -> u64 {
    let clients = u64::from(clients);
    // Each worker has at least one in flight.
    let share = |in_flight: u32| u64::from(in_flight.div_ceil(processes).max(job.workers));
    match &job.scenario {
        // Clients in the chat never outnumber those in flight, and each may have two connections.
        Scenario::Login(Login { in_flight, stay: Stay::Leave { .. }, .. }) => {
            2 * clients.min(2 * share(*in_flight))
        }
        // An entering player has two connections.
        Scenario::Login(login) => clients + share(login.in_flight),
        // One connection listens for leaks.
        Scenario::Connect(connect) if connect.reconnects() => 2 * clients + 1,
        Scenario::Broadcast(broadcast) if broadcast.setting.cut.is_some() => 2 * clients + 1,
        Scenario::Bots(Bots { entrance: Entrance::Login, .. }) => clients + clients.min(IN_FLIGHT.into()) + 1,
        Scenario::Connect(_) | Scenario::Broadcast(_) | Scenario::Bots(_) => clients + 1,
    }
}

/// Most simultaneous connections of any process.
fn most_per_process(job: &Job) -> u64 {
    // Clients are dealt to all workers in turn, so the first process has the most.
    let workers = job.workers * job.processes;
    let first = (job.clients % workers).min(job.workers);
    connections(job, job.clients / workers * job.workers + first, job.processes)
}

fn check_files(connections: u64, processes: u32, limit: FileLimit) -> Result<(), PreflightError> {
    if limit.sessions_that_fit(RESERVED_FILES) < connections {
        return Err(PreflightError::Files { connections, processes, limit });
    }
    Ok(())
}

/// Returns the number of source addresses for `connections` to `address`: `wanted`, or as many as
/// needed. `ports` is the number of local ports of each address, if it is known.
fn sources(
    connections: u64,
    ports: Option<u64>,
    wanted: Option<u32>,
    address: SocketAddr,
) -> Result<u32, PreflightError> {
    // All of 127.0.0.0/8 belongs to this machine, and its addresses can connect to each other.
    let may_spread = address.ip().is_loopback() && address.is_ipv4();
    if let Some(sources) = wanted.filter(|sources| *sources > 1 && !may_spread) {
        return Err(PreflightError::Sources { sources, address });
    }
    let Some(ports) = ports else { return Ok(wanted.unwrap_or(1)) };
    let sources = match wanted {
        Some(sources) => sources,
        None if may_spread && connections > ports => {
            let each = (ports * PORTS_USED / 100).max(1);
            u32::try_from(connections.div_ceil(each)).unwrap_or(u32::MAX).min(SOURCES_MAX)
        }
        None => 1,
    };
    // Connections are dealt to the addresses in turn.
    if connections.div_ceil(sources.into()) > ports {
        return Err(PreflightError::Ports { connections, ports, sources, may_spread });
    }
    Ok(sources)
}

/// Counts the ports of a range in the kernel's notation.
fn ports_in(range: &str) -> Option<u64> {
    let mut ends = range.split_ascii_whitespace().map(str::parse::<u64>);
    let (first, last) = (ends.next()?.ok()?, ends.next()?.ok()?);
    (last + 1).checked_sub(first)
}

#[cfg(test)]
mod tests {

    use throng_harness_model::bots::Manner;
    use throng_harness_model::fixture;
    use throng_harness_model::spec::Connect;

    use super::*;

    fn of(scenario: Scenario) -> Job {
        Job { clients: 9000, ..fixture::job(scenario) }
    }

    fn connect(connect: Connect) -> Job {
        of(Scenario::Connect(connect))
    }

    fn storm() -> Connect {
        Connect { storm: true, ..Connect::default() }
    }

    fn login(in_flight: u32, stay: Stay) -> Job {
        of(Scenario::Login(Login { in_flight, seeded: None, stay }))
    }

    fn bots(entrance: Entrance) -> Job {
        let (duration, drain) = (Duration::from_mins(5), Duration::from_secs(10));
        of(Scenario::Bots(Bots { duration, manner: Manner::default(), entrance, drain }))
    }

    const HOLD: Stay = Stay::Hold(Duration::ZERO);

    #[test]
    fn clients_that_left_need_no_connection() {
        let check = |job: Job, count| assert_eq!(connections(&job, job.clients, 1), count, "{job:?}");
        check(connect(Connect::default()), 9001);
        check(connect(storm()), 18_001);
        check(login(20, HOLD), 9020);
        check(bots(Entrance::Ticket), 9001);
        check(bots(Entrance::Login), 9257);
        check(login(20, Stay::Leave { rounds: 7 }), 80);
        check(login(9000, Stay::Leave { rounds: 1 }), 18_000);
    }

    #[test]
    fn each_process_has_its_share() {
        let check = |job: Job, processes, workers, count| {
            let job = Job { processes, workers, ..job };
            assert_eq!(most_per_process(&job), count, "{job:?}");
        };
        check(connect(Connect::default()), 1, 1, 9001);
        check(connect(Connect::default()), 2, 1, 4501);
        check(connect(Connect::default()), 7, 3, 1288);
        check(login(20, HOLD), 3, 1, 3007);
        check(login(20, Stay::Leave { rounds: 1 }), 2, 1, 40);
    }

    #[test]
    fn a_burst_beyond_the_backlog_is_warned_about() {
        let check = |job: &Job, clients| assert_eq!(burst(job), clients, "{job:?}");
        let at_once = |job: Job| Job { connect_interval: Duration::ZERO, ..job };
        check(&connect(Connect::default()), 0);
        let fast = Job {
            connect_interval: Duration::from_micros(20),
            ..connect(Connect { churn: Some(100), ..Connect::default() })
        };
        check(&fast, 0);
        check(&at_once(connect(Connect::default())), 256);
        check(&connect(storm()), 256);
        let many = Job { workers: 20, processes: 20, ..of(Scenario::Broadcast(fixture::broadcast())) };
        check(&at_once(many), 400);
        check(&login(3_000, HOLD), 0);
        check(&at_once(login(3_000, HOLD)), 3_000);
        check(&at_once(login(20_000, HOLD)), 9_000);
        assert_eq!((backlog_warning(0, 128), backlog_warning(128, 128)), (None, None));
        let warning = backlog_warning(256, 128).expect("more than 128");
        for part in ["256 clients", "lets 128", "`sysctl -w net.core.somaxconn=256`"] {
            assert!(warning.contains(part), "{warning}");
        }
    }

    #[test]
    fn too_few_files_name_the_settings() {
        let limit = FileLimit { before: 1024, now: 1024, hard: 1024 };
        assert!(check_files(960, 3, limit).is_ok());
        let check = |connections, processes, parts: &[&str]| {
            let error = check_files(connections, processes, limit).unwrap_err().to_string();
            assert!(parts.iter().all(|part| error.contains(part)), "{error}");
        };
        check(961, 1, &["961 connections need 1025", "`ulimit -n 1025`", "1024 open files", "--processes 2"]);
        check(2_000, 3, &["2000 connections in each of 3 processes", "`ulimit -n 2064`", "--processes 7"]);
    }

    #[test]
    fn as_many_source_addresses_are_used_as_needed() {
        let loopback = ([127, 0, 0, 1], 9200).into();
        let find = |connections, wanted| sources(connections, Some(28_232), wanted, loopback);
        let check = |connections, wanted, found| {
            assert_eq!(find(connections, wanted).expect("enough ports"), found, "{connections} {wanted:?}");
        };
        check(28_232, None, 1);
        check(28_233, None, 2);
        check(100_000, None, 4);
        check(100, Some(3), 3);
        check(56_464, Some(2), 2);
        assert_eq!(sources(1 << 40, None, None, loopback).expect("ports are unknown"), 1);

        let fail = |found: Result<u32, PreflightError>, parts: &[&str]| {
            let error = found.unwrap_err().to_string();
            assert!(parts.iter().all(|part| error.contains(part)), "{error}");
            error
        };
        let range = "net.ipv4.ip_local_port_range";
        fail(find(56_465, Some(2)), &[range, "--sources 3", "28232 for each of 2 source"]);
        fail(find(28_233, Some(1)), &[range, "--sources 2"]);
        fail(find(100_000_000, None), &[range, "each of 254 source"]);
        for elsewhere in ["10.0.0.1:9200", "[::1]:9200"] {
            let address = elsewhere.parse().expect("an address");
            let error = fail(sources(28_233, Some(28_232), None, address), &[range]);
            assert!(!error.contains("--sources"), "{error}");
            fail(sources(5, Some(28_232), Some(2), address), &["--sources 2", elsewhere]);
            assert_eq!(sources(5, Some(28_232), Some(1), address).expect("one source"), 1);
        }
    }

    #[test]
    fn port_ranges_are_parsed() {
        assert_eq!(ports_in("32768\t60999\n"), Some(28_232));
        assert_eq!(ports_in("5 5"), Some(1));
        for damaged in ["", "1", "9 5", "a b"] {
            assert_eq!(ports_in(damaged), None, "{damaged}");
        }
    }
}
