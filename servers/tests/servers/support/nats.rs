//! A private NATS server with a directory and a port of its own.

use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use super::{spare_port, wait_until};

/// A NATS server with JetStream, which is killed when dropped.
pub(crate) struct Nats {
    dir: TempDir,
    pub(crate) port: u16,
    server: Child,
}

impl Nats {
    /// Starts a server that keeps its streams in files.
    pub(crate) fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let port = spare_port();
        let server = spawn(&dir, port);
        Self { dir, port, server }
    }

    /// Kills the server.
    pub(crate) fn kill(&mut self) {
        self.server.kill().unwrap();
        self.server.wait().unwrap();
    }

    /// Starts the server again after [`Self::kill`].
    pub(crate) fn resume(&mut self) {
        self.server = spawn(&self.dir, self.port);
    }
}

impl Drop for Nats {
    fn drop(&mut self) {
        // Both calls fail only if the process has ended already.
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

fn spawn(dir: &TempDir, port: u16) -> Child {
    let program = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../.venv/bin/nats-server");
    let server = Command::new(&program)
        .args(["--addr", "127.0.0.1", "--port", &port.to_string(), "--jetstream", "--store_dir"])
        .arg(dir.path())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap_or_else(|error| panic!("{}: {error}; scripts/setup installs it", program.display()));
    wait_until("NATS takes connections", || TcpStream::connect(("127.0.0.1", port)).is_ok());
    server
}
