//! What can be known to fail before a single client is made.

use std::fs;
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use thiserror::Error;
use throng_core::rlimit::FileLimit;

use crate::cli::{Job, Login, Scenario, Stay};
use crate::target::Target;

/// Open files for everything but clients.
const RESERVED_FILES: u64 = 64;

/// Where the kernel says which ports it gives to outgoing connections.
const PORT_RANGE: &str = "/proc/sys/net/ipv4/ip_local_port_range";

/// Longest wait for the server to accept.
const REACH_TIMEOUT: Duration = Duration::from_secs(5);

/// Why a run makes no sense.
#[derive(Debug, Error)]
pub enum PreflightError {
    /// The limit on open files is too low.
    #[error(
        "{connections} connections need {} open files, and this process may have {limit}: raise it with `ulimit -n {}`, or use fewer --clients",
        connections + RESERVED_FILES, connections + RESERVED_FILES
    )]
    Files {
        /// Connections at one time.
        connections: u64,
        /// The limit in force.
        limit: FileLimit,
    },
    /// There are too few ports for that many connections to one server.
    #[error(
        "{connections} connections to one address need as many local ports, and the system has {ports}: widen net.ipv4.ip_local_port_range, as in `sysctl -w net.ipv4.ip_local_port_range=\"1024 65535\"`, or use fewer --clients"
    )]
    Ports {
        /// Connections at one time.
        connections: u64,
        /// Ports that the kernel gives to outgoing connections.
        ports: u64,
    },
    /// Nobody listens.
    #[error("cannot connect to {address}: {source}; is the server running, and is this its address?")]
    Unreachable {
        /// The server's address.
        address: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
}

/// Checks what `job` needs of this machine, and that the server is there.
pub fn check(job: &Job, target: &Target) -> Result<(), PreflightError> {
    let connections = connections(job);
    // One that cannot be raised may still be enough.
    let limit = FileLimit::raise().unwrap_or_else(|_| FileLimit::current());
    check_files(connections, limit)?;
    if let Some(ports) = fs::read_to_string(PORT_RANGE).ok().as_deref().and_then(ports_in) {
        check_ports(connections, ports)?;
    }
    let address = target.server.address;
    TcpStream::connect_timeout(&address, job.connect_timeout.min(REACH_TIMEOUT))
        .map(drop)
        .map_err(|source| PreflightError::Unreachable { address, source })
}

/// Connections of `job` at one time, at most.
fn connections(job: &Job) -> u64 {
    let clients = u64::from(job.clients);
    match &job.scenario {
        // Those in the chat are at most as many as those on their way; each may have two.
        Scenario::Login(Login { in_flight, stay: Stay::Leave { .. }, .. }) => {
            2 * clients.min(2 * u64::from(*in_flight))
        }
        // While they enter, players have two.
        Scenario::Login(login) => clients + u64::from(login.in_flight),
        // One listens for leaks.
        Scenario::Connect(connect) if connect.reconnects() => 2 * clients + 1,
        Scenario::Connect(_) | Scenario::Broadcast(_) => clients + 1,
    }
}

fn check_files(connections: u64, limit: FileLimit) -> Result<(), PreflightError> {
    if limit.sessions_that_fit(RESERVED_FILES) < connections {
        return Err(PreflightError::Files { connections, limit });
    }
    Ok(())
}

fn check_ports(connections: u64, ports: u64) -> Result<(), PreflightError> {
    if ports < connections { Err(PreflightError::Ports { connections, ports }) } else { Ok(()) }
}

/// How many ports a range as the kernel writes it has.
fn ports_in(range: &str) -> Option<u64> {
    let mut ends = range.split_ascii_whitespace().map(str::parse::<u64>);
    let (first, last) = (ends.next()?.ok()?, ends.next()?.ok()?);
    (last + 1).checked_sub(first)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::Cli;

    #[test]
    fn who_leaves_needs_no_connection_any_more() {
        let check = |line: &str, count| {
            let line = format!("throng-harness {line} --data d --clients 9000");
            let job = Cli::try_parse_from(line.split(' '))
                .expect("valid")
                .check()
                .expect("valid")
                .into_job()
                .expect("a scenario");
            assert_eq!(connections(&job), count, "{line}");
        };
        check("connect", 9001);
        check("login --in-flight 20", 9020);
        check("login --in-flight 20 --leave --rounds 7", 80);
        check("login --in-flight 9000 --leave", 18_000);
    }

    #[test]
    fn too_few_files_or_ports_name_the_setting() {
        let limit = FileLimit { before: 1024, now: 1024, hard: 1024 };
        assert!(check_files(960, limit).is_ok());
        let error = check_files(961, limit).unwrap_err().to_string();
        assert!(error.contains("`ulimit -n 1025`") && error.contains("1024 open files"), "{error}");
        assert!(check_ports(28_232, 28_232).is_ok());
        let error = check_ports(30_000, 28_232).unwrap_err().to_string();
        assert!(error.contains("net.ipv4.ip_local_port_range"), "{error}");
    }

    #[test]
    fn port_ranges_as_the_kernel_writes_them() {
        assert_eq!(ports_in("32768\t60999\n"), Some(28_232));
        assert_eq!(ports_in("5 5"), Some(1));
        for damaged in ["", "1", "9 5", "a b"] {
            assert_eq!(ports_in(damaged), None, "{damaged}");
        }
    }
}
