//! The server processes of a run: started on a core, awaited until they are ready, and stopped.
//!
//! A server has a directory of its own and a free port of the loopback address. Dropping a
//! [`Server`] stops exactly the process that it started. The system kills the process if this one
//! is killed.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};
use std::{env, io, thread};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use thiserror::Error;
use throng_harness_model::text::one_line;

use super::pin::{self, PinError};
use super::system::{Peer, Source};

/// Longest time until a server listens.
const READY_TIMEOUT: Duration = Duration::from_secs(30);
/// Longest time for a server to end after SIGTERM, before it is killed.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);
/// Interval at which a server is polled.
const POLL_INTERVAL: Duration = Duration::from_millis(10);
/// Lines of a server's output that an error shows.
const LOG_LINES: usize = 12;
/// Directories of servers in Debian, which a user's PATH often lacks.
const SYSTEM_PATHS: [&str; 3] = ["/usr/local/sbin", "/usr/sbin", "/sbin"];
/// Name of the configuration file.
const CONFIG_FILE: &str = "server.conf";
/// Name of the file with a server's output.
const LOG_FILE: &str = "output.log";

/// The reason that a server does not run.
#[derive(Debug, Error)]
pub enum ServerError {
    /// The program is missing.
    #[error(
        "{name} is not installed ({program} is not in the PATH): `apt-get install {package}`, or scripts/setup --peers-only for all of them, or leave it out with --systems"
    )]
    NotInstalled {
        /// The system.
        name: &'static str,
        /// Its program.
        program: &'static str,
        /// The package that contains it.
        package: &'static str,
    },
    /// The Python package is missing.
    #[error(
        "{name} is not installed (no .venv of this directory or one above has the package {package}): scripts/setup --peers-only, or leave it out with --systems"
    )]
    NoPythonPackage {
        /// The system.
        name: &'static str,
        /// The package.
        package: &'static str,
    },
    /// Throng's own program is missing.
    #[error(
        "{} does not exist: build it with `cargo build --release --bins`, or name another one with --throng PATH", path.display()
    )]
    NoThrong {
        /// The path where it was expected.
        path: PathBuf,
    },
    /// The system refuses a file, a port or a process.
    #[error("cannot {what} for {name}: {source}")]
    System {
        /// The operation that failed.
        what: &'static str,
        /// The system.
        name: &'static str,
        /// The system's error.
        source: io::Error,
    },
    /// The core does not exist.
    #[error(transparent)]
    Pin(#[from] PinError),
    /// The server ended before it was ready.
    #[error("{name} ended with {status} before it was ready. The end of its output:\n{log}")]
    Ended {
        /// The system.
        name: &'static str,
        /// Its exit status.
        status: ExitStatus,
        /// The end of its output.
        log: String,
    },
    /// The server runs, but does not listen.
    #[error("{name} was not ready after {READY_TIMEOUT:?}. The end of its output:\n{log}")]
    NotReady {
        /// The system.
        name: &'static str,
        /// The end of its output.
        log: String,
    },
}

/// A running server.
#[derive(Debug)]
pub(super) struct Server {
    name: &'static str,
    child: Child,
    address: SocketAddr,
    dir: TempDir,
}

impl Server {
    /// Starts `peer` on `core` and waits until it accepts connections.
    pub(super) fn start(peer: &dyn Peer, core: usize) -> Result<Self, ServerError> {
        let name = peer.name();
        let program = program_of(peer)?;
        let dir = directory(name)?;
        let port = free_port().map_err(system(name, "find a free port"))?;
        let config = dir.path().join(CONFIG_FILE);
        fs::write(&config, peer.configuration(port, dir.path()))
            .map_err(system(name, "write the configuration"))?;
        let mut command = Command::new(program);
        command.args(peer.arguments(&config));
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        Self::launch(name, &command, core, address, dir)?
            .until_ready(|server| TcpStream::connect_timeout(&server.address, POLL_INTERVAL).is_ok())
    }

    /// Starts `command` on `core`, as the server `name` at `address` with the directory `dir`.
    pub(super) fn launch(
        name: &'static str,
        command: &Command,
        core: usize,
        address: SocketAddr,
        dir: TempDir,
    ) -> Result<Self, ServerError> {
        let log = File::create(dir.path().join(LOG_FILE)).map_err(system(name, "write a log"))?;
        let errors = log.try_clone().map_err(system(name, "write a log"))?;
        let mut command = with_parent_death_signal(command);
        // A process group of its own, so that Ctrl+C reaches only the harness, which stops the
        // server.
        command.current_dir(dir.path()).process_group(0);
        command.stdin(Stdio::null()).stdout(log).stderr(errors);
        let child = pin::on(core, || command.spawn())?.map_err(system(name, "start a process"))?;
        Ok(Self { name, child, address, dir })
    }

    /// Waits until `is_ready`.
    pub(super) fn until_ready(
        mut self,
        mut is_ready: impl FnMut(&Self) -> bool,
    ) -> Result<Self, ServerError> {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.exit_status() {
                return Err(ServerError::Ended { name: self.name, status, log: self.log_end() });
            }
            if is_ready(&self) {
                return Ok(self);
            }
            if begun.elapsed() > READY_TIMEOUT {
                return Err(ServerError::NotReady { name: self.name, log: self.log_end() });
            }
            thread::sleep(POLL_INTERVAL);
        }
    }

    /// The address it listens on.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its process id.
    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Its directory.
    pub(super) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Its output, as it wrote it.
    pub(super) fn log(&self) -> String {
        let bytes = fs::read(self.dir.path().join(LOG_FILE)).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Its exit status, if it has ended.
    pub(super) fn exit_status(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// The last lines of its output, for an error.
    pub(super) fn log_end(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        let end = &lines[lines.len().saturating_sub(LOG_LINES)..];
        end.iter().map(|line| one_line(line.as_bytes())).collect::<Vec<_>>().join("\n")
    }

    fn stop(&mut self) {
        if self.exit_status().is_some() {
            return;
        }
        // The process has not been reaped, so the id is still its own.
        let _ = kill_process(Pid::from_child(&self.child), Signal::TERM);
        let begun = Instant::now();
        while self.exit_status().is_none() {
            if begun.elapsed() > STOP_TIMEOUT {
                let _ = self.child.kill();
                let _ = self.child.wait();
                return;
            }
            thread::sleep(POLL_INTERVAL);
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}

/// The path of the program of `peer`.
pub(super) fn program_of(peer: &dyn Peer) -> Result<PathBuf, ServerError> {
    let (name, program, package) = (peer.name(), peer.program(), peer.package());
    match peer.source() {
        Source::Debian => find(program).ok_or(ServerError::NotInstalled { name, program, package }),
        Source::Python => {
            let near = [env::current_dir(), env::current_exe()];
            let dirs = near.iter().flatten().flat_map(|path| path.ancestors());
            find_in_venv(dirs, program, package).ok_or(ServerError::NoPythonPackage { name, package })
        }
    }
}

/// Finds `program` in the first `.venv` of `dirs` that has the Python package `package`.
fn find_in_venv<'a>(
    dirs: impl IntoIterator<Item = &'a Path>,
    program: &str,
    package: &str,
) -> Option<PathBuf> {
    let has_package = |venv: &PathBuf| {
        let versions = fs::read_dir(venv.join("lib")).into_iter().flatten().flatten();
        let mut packages = versions.map(|version| version.path().join("site-packages").join(package));
        packages.any(|path| path.is_dir())
    };
    let venvs = dirs.into_iter().map(|dir| dir.join(".venv"));
    venvs.filter(has_package).map(|venv| venv.join("bin").join(program)).find(|path| path.is_file())
}

/// The first line that `program` prints when asked for its version, or nothing.
pub(super) fn version(program: &Path, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).stdin(Stdio::null()).output();
    let Ok(output) = output else { return String::new() };
    let text = if output.stdout.is_empty() { output.stderr } else { output.stdout };
    one_line(text.split(|byte| *byte == b'\n').next().unwrap_or_default())
}

fn find(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let dirs = env::split_paths(&path).chain(SYSTEM_PATHS.map(PathBuf::from));
    dirs.map(|dir| dir.join(program)).find(|path| path.is_file())
}

/// A directory for the server `name`, removed when dropped.
pub(super) fn directory(name: &'static str) -> Result<TempDir, ServerError> {
    let dir = tempfile::Builder::new().prefix("throng-peers.").tempdir();
    dir.map_err(system(name, "make a directory"))
}

/// A port that is free now. If another process takes it first, the server reports the error.
fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

/// Wraps `command` so that the system kills the process when this one ends, where util-linux has
/// `setpriv`. The process id stays the same.
fn with_parent_death_signal(command: &Command) -> Command {
    let Some(setpriv) = find("setpriv") else {
        let mut plain = Command::new(command.get_program());
        plain.args(command.get_args());
        return plain;
    };
    let mut bound = Command::new(setpriv);
    bound.args(["--pdeathsig", "KILL", "--"]).arg(command.get_program()).args(command.get_args());
    bound
}

fn system(name: &'static str, what: &'static str) -> impl FnOnce(io::Error) -> ServerError {
    move |source| ServerError::System { what, name, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn core() -> usize {
        pin::allowed().expect("the system says").into_iter().next().expect("this runs on a core")
    }

    fn launch(script: &str) -> Server {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        let dir = directory("script").expect("a temporary directory");
        Server::launch("script", &command, core(), ([127, 0, 0, 1], 1).into(), dir).expect("sh is everywhere")
    }

    fn exists(pid: u32) -> bool {
        Path::new(&format!("/proc/{pid}")).exists()
    }

    #[test]
    fn a_server_is_awaited_pinned_and_stopped() {
        let server = launch("echo here; exec sleep 60").until_ready(|server| server.log() == "here\n");
        let server = server.expect("it says so at once");
        let (pid, dir) = (server.pid(), server.dir().to_owned());
        let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
        assert!(status.contains(&format!("Cpus_allowed_list:\t{}\n", core())), "{status}");
        drop(server);
        assert!(!exists(pid) && !dir.exists());
    }

    #[test]
    fn a_server_that_ignores_sigterm_is_killed() {
        let server = launch("trap '' TERM; echo here; while :; do sleep 0.1; done");
        let server = server.until_ready(|server| server.log() == "here\n").expect("it says so at once");
        let pid = server.pid();
        drop(server);
        assert!(!exists(pid));
    }

    #[test]
    fn the_output_of_a_server_that_ends_is_in_the_error() {
        let error = launch("echo no such thing >&2; exit 3").until_ready(|_| false).unwrap_err().to_string();
        assert!(error.contains("exit status: 3") && error.contains("no such thing"), "{error}");
    }

    #[test]
    fn the_output_and_the_version_of_a_server_command_no_terminal() {
        let print = "printf 'a\\033]52;c;eA==\\007\\n\\342\\200\\256b\\000\\n'";
        let error = launch(&format!("{print}; exit 3")).until_ready(|_| false).unwrap_err().to_string();
        assert!(error.ends_with("a\\u{1b}]52;c;eA==\\u{7}\n\\u{202e}b\\u{0}"), "{error}");
        let dir = directory("script").expect("a temporary directory");
        let program = dir.path().join("program");
        fs::write(&program, format!("#!/bin/sh\n{print}\n")).expect("writable");
        let version = || version(Path::new("sh"), &[program.to_str().expect("UTF-8")]);
        assert_eq!(version(), "a\\u{1b}]52;c;eA==\\u{7}");
    }

    #[test]
    fn a_missing_program_is_named_with_its_package() {
        let error =
            ServerError::NotInstalled { name: "redis", program: "redis-server", package: "redis-server" };
        assert!(error.to_string().contains("apt-get install redis-server"), "{error}");
        let error = ServerError::NoPythonPackage { name: "uwebsockets", package: "socketify" };
        assert!(error.to_string().contains("scripts/setup --peers-only"), "{error}");
        assert_eq!(find("no-such-program-anywhere"), None);
        assert!(find("sh").is_some());
    }

    #[test]
    fn a_python_package_is_found_in_the_venv_of_a_directory_above() {
        let dir = directory("script").expect("a temporary directory");
        let [below, bin] = ["a/b", ".venv/bin"].map(|path| dir.path().join(path));
        let site = dir.path().join(".venv/lib/python3.11/site-packages");
        // A closer one that lacks the package, and one that has it.
        for path in [&below, &bin, &site.join("some"), &dir.path().join("a/.venv/bin")] {
            fs::create_dir_all(path).expect("writable");
        }
        fs::write(bin.join("python3"), "").expect("writable");
        let find = |package| find_in_venv(below.ancestors(), "python3", package);
        assert_eq!(find("some"), Some(bin.join("python3")));
        assert_eq!(find("other"), None);
    }
}
