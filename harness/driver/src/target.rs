//! The server to connect to, and its keys.

use std::io;
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::time::Duration;

use thiserror::Error;
use throng_core::crypto::{ClusterKey, KeyError};
use throng_core::endpoints::{Endpoints, EndpointsError};
use throng_harness_model::procstat::{self, ProcError};
use throng_harness_model::target::{Endpoint, Entrance, Target, TargetSource};

/// File in which `throng up` keeps the cluster key.
const CLUSTER_KEY_FILE: &str = "cluster.key";

/// Reason why the target cannot be determined.
#[derive(Debug, Error)]
pub enum TargetError {
    /// The data directory does not name its servers.
    #[error(transparent)]
    Endpoints(#[from] EndpointsError),
    /// The process that wrote the endpoints file is gone.
    #[error("{} was left by process {pid}, which is gone: start `throng up --data {}` again", path.display(), data.display())]
    Stale {
        /// Path of the endpoints file.
        path: PathBuf,
        /// The data directory.
        data: PathBuf,
        /// Id of the process.
        pid: u32,
    },
    /// A fleet without a data directory.
    #[error("--data names no directory")]
    NoNode,
    /// The required role does not run on the data directory.
    #[error("no {role} server runs on {} ({} names none): start it, or use `throng up`", data.display(), Endpoints::FILE)]
    NoRole {
        /// `login` or `chat`.
        role: &'static str,
        /// The data directory.
        data: PathBuf,
    },
    /// The host name cannot be resolved.
    #[error("cannot find `{server}`: {source}; --server wants HOST:PORT, as in 127.0.0.1:9200")]
    Address {
        /// Value of `--server`.
        server: String,
        /// The system's error.
        source: io::Error,
    },
    /// The cluster's key cannot be used.
    #[error("tickets need the cluster's key: {0}")]
    ClusterKey(#[from] KeyError),
    /// No cluster key was named.
    #[error("tickets need the cluster's key: name its file with --cluster-key")]
    NoClusterKey,
    /// The server's process cannot be observed.
    #[error("--server-pid: {0}")]
    Pid(#[from] ProcError),
}

/// Determines the target for `entrance`. `pid` overrides the process that the data directory names.
pub fn resolve(source: &TargetSource, entrance: Entrance, pid: Option<u32>) -> Result<Target, TargetError> {
    if let Some(pid) = pid {
        procstat::sample(pid)?;
    }
    match source {
        TargetSource::Data(data) => from_data(data, entrance, pid),
        TargetSource::Fleet(nodes) => {
            let [first, others @ ..] = &nodes[..] else { return Err(TargetError::NoNode) };
            let mut target = from_data(first, entrance, pid)?;
            let others = others.iter().map(|data| Ok(from_data(data, entrance, None)?.server));
            target.nodes = others.collect::<Result<_, TargetError>>()?;
            Ok(target)
        }
        TargetSource::Flags { server, server_key, cluster_key } => {
            let cluster_key = match (entrance, cluster_key) {
                (Entrance::Login, _) => None,
                (Entrance::Ticket, Some(path)) => Some(ClusterKey::load(path)?),
                (Entrance::Ticket, None) => return Err(TargetError::NoClusterKey),
            };
            let server = Endpoint { address: look_up(server)?, key: *server_key };
            Ok(Target { server, nodes: Vec::new(), cluster_key, pid })
        }
    }
}

fn from_data(data: &Path, entrance: Entrance, pid: Option<u32>) -> Result<Target, TargetError> {
    let known = Endpoints::read(data)?;
    let (role, entry) = match entrance {
        Entrance::Login => ("login", known.login),
        Entrance::Ticket => ("chat", known.chat),
    };
    // Each role may run in its own process.
    let role_pid = entry.as_ref().and_then(|entry| entry.pid).unwrap_or(known.pid);
    if procstat::sample(role_pid).is_err() {
        let path = data.join(Endpoints::FILE);
        return Err(TargetError::Stale { path, data: data.into(), pid: role_pid });
    }
    let server = entry.and_then(|entry| Some(Endpoint { address: entry.address, key: entry.public_key()? }));
    let server = server.ok_or_else(|| TargetError::NoRole { role, data: data.into() })?;
    let cluster_key = match entrance {
        Entrance::Login => None,
        Entrance::Ticket => Some(ClusterKey::load(&data.join(CLUSTER_KEY_FILE))?),
    };
    Ok(Target { server, nodes: Vec::new(), cluster_key, pid: pid.or(Some(role_pid)) })
}

/// Time in which one address of a name must accept a connection for the next one not to be tried.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// Returns the first address of the name, of either family, that accepts a connection; if none
/// does, the first, whose failure is reported later.
fn look_up(server: &str) -> Result<SocketAddr, TargetError> {
    let failed = |source| TargetError::Address { server: server.into(), source };
    let addresses: Vec<SocketAddr> = server.to_socket_addrs().map_err(failed)?.collect();
    let Some(first) = addresses.first() else {
        return Err(failed(io::Error::new(io::ErrorKind::NotFound, "the name has no address")));
    };
    if addresses.len() == 1 {
        return Ok(*first);
    }
    let accepts = |address: &&SocketAddr| TcpStream::connect_timeout(address, CONNECT_TIMEOUT).is_ok();
    Ok(*addresses.iter().find(accepts).unwrap_or(first))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// A data directory as `throng up` leaves it; `edit` changes the endpoints file.
    fn data(edit: impl Fn(String) -> String) -> tempfile::TempDir {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let text = format!(
            "pid = {}\n[login]\naddress = \"127.0.0.1:9000\"\nkey = \"{}\"\n[chat]\naddress = \"[::1]:9200\"\nkey = \"{}\"\n",
            std::process::id(),
            "01".repeat(32),
            "02".repeat(32),
        );
        fs::write(dir.path().join(Endpoints::FILE), edit(text)).expect("writable");
        let key = ClusterKey::generate().expect("random bytes");
        key.store(&dir.path().join(CLUSTER_KEY_FILE)).expect("writable");
        dir
    }

    fn resolve_data(dir: &Path, entrance: Entrance) -> Result<Target, TargetError> {
        resolve(&TargetSource::Data(dir.into()), entrance, None)
    }

    #[test]
    fn a_data_directory_gives_address_keys_and_process() {
        let dir = data(|text| text);
        let chat = resolve_data(dir.path(), Entrance::Ticket).expect("complete");
        assert_eq!(chat.server, Endpoint { address: "[::1]:9200".parse().unwrap(), key: [2; 32] });
        assert!(chat.cluster_key.is_some());
        assert_eq!(chat.pid, Some(std::process::id()));
        let login = resolve_data(dir.path(), Entrance::Login).expect("complete");
        assert_eq!(login.server, Endpoint { address: "127.0.0.1:9000".parse().unwrap(), key: [1; 32] });
        assert!(login.cluster_key.is_none());
    }

    #[test]
    fn errors_name_the_file_and_a_remedy() {
        let check = |dir: &Path, parts: &[&str]| {
            let error = resolve_data(dir, Entrance::Ticket).unwrap_err().to_string();
            assert!(parts.iter().all(|part| error.contains(part)), "{error}");
        };
        let empty = tempfile::tempdir().expect("a temporary directory");
        check(empty.path(), &["no servers' data in ", ": start `throng up --data "]);
        check(data(|_| "pid = \"x\"\n".into()).path(), &[Endpoints::FILE, "is damaged"]);
        check(data(|_| format!("pid = {}\n", std::process::id())).path(), &["no chat server runs on"]);
        check(
            data(|text| text.replace(&"02".repeat(32), "0g")).path(),
            &["the key of", "is not 64 hexadecimal digits"],
        );
        // Above the kernel's largest process number.
        let gone = data(|text| text.replace(&format!("pid = {}", std::process::id()), "pid = 4194305"));
        check(gone.path(), &["left by process 4194305", "start `throng up"]);
        let keyless = data(|text| text);
        fs::remove_file(keyless.path().join(CLUSTER_KEY_FILE)).expect("the key file exists");
        check(keyless.path(), &["cluster.key", "tickets need the cluster's key"]);
    }

    #[test]
    fn a_name_with_addresses_of_both_families_gives_the_one_that_answers() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let found = look_up(&format!("localhost:{port}")).expect("localhost has an address");
        assert_eq!(found, listener.local_addr().expect("an address"));
    }

    #[test]
    fn flags_give_the_target_by_hand() {
        let dir = data(|text| text);
        let flags = |server: &str, cluster_key: Option<PathBuf>| TargetSource::Flags {
            server: server.into(),
            server_key: [3; 32],
            cluster_key,
        };
        let cluster_key = Some(dir.path().join(CLUSTER_KEY_FILE));
        let chat = resolve(&flags("127.0.0.1:1", cluster_key), Entrance::Ticket, None).expect("complete");
        assert_eq!((chat.server.key, chat.pid), ([3; 32], None));
        assert!(resolve(&flags("127.0.0.1:1", None), Entrance::Login, None).is_ok());

        let check = |source: &TargetSource, pid, part: &str| {
            let error = resolve(source, Entrance::Ticket, pid).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        };
        check(&flags("127.0.0.1:1", None), None, "--cluster-key");
        check(&flags("127.0.0.1", Some(dir.path().join(CLUSTER_KEY_FILE))), None, "HOST:PORT");
        check(&flags("127.0.0.1:1", None), Some(4_194_305), "--server-pid");
    }
}
