//! Throng itself: `throng up` on ports of its own, and the scenario `broadcast` against it.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use thiserror::Error;
use throng_core::shutdown::Shutdown;
use throng_harness_driver::scenario::{self, RunError};
use throng_harness_driver::target::{self, TargetError};
use throng_harness_model::limits::MESSAGES_MAX;
use throng_harness_model::results::Findings;
use throng_harness_model::schedule::points_in;
use throng_harness_model::spec::{Broadcast, Job, Scenario, Setting};
use throng_harness_model::target::{Entrance, TargetSource};
use throng_harness_model::threshold::Threshold;

use super::case::{Case, Load};
use super::process::{self, Server, ServerError};
use super::registry::THRONG;
use super::traffic::{CLOSED_MAX, CLOSED_WARMUP, Times};

/// The line that `throng up` prints when it accepts clients.
const READY: &str = "ready";
/// Configuration keys of listeners, which get free ports.
const LISTENERS: [&str; 4] = ["login.listen", "chat.listen", "chat.link_listen", "dbagent.listen"];
/// Longest time for a client to enter.
const CONNECT_TIMEOUT: Duration = Duration::from_mins(1);

/// The reason that a case with Throng has no results.
#[derive(Debug, Error)]
pub enum ThrongError {
    /// The servers do not run.
    #[error(transparent)]
    Server(#[from] ServerError),
    /// The data directory does not tell the address.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// The scenario failed.
    #[error(transparent)]
    Run(#[from] RunError),
    /// The user stopped the run.
    #[error("interrupted")]
    Interrupted,
}

/// The servers of a run.
pub(super) struct Throng {
    server: Server,
}

impl Throng {
    /// Starts `program` on `core`.
    pub(super) fn start(program: &Path, core: usize) -> Result<Self, ServerError> {
        let dir = process::directory(THRONG)?;
        let mut command = Command::new(program);
        command.arg("up").arg("--data").arg(dir.path().join("data"));
        for listener in LISTENERS {
            command.args(["--set", &format!("{listener}=127.0.0.1:0")]);
        }
        command.args(["--set", "admin.listen=", "--set", "log.console=false"]);
        // The data directory tells the addresses.
        let address = (Ipv4Addr::LOCALHOST, 0).into();
        let server = Server::launch(THRONG, &command, core, address, dir)?;
        let server = server.until_ready(|server| server.log().lines().any(|line| line == READY))?;
        Ok(Self { server })
    }

    /// Runs `case` with new clients. A server runs one case only.
    pub(super) fn run(
        self,
        case: Case,
        times: Times,
        payload: usize,
        seed: u64,
        shutdown: &Shutdown,
    ) -> Result<Findings, ThrongError> {
        let source = TargetSource::Data(self.server.dir().join("data"));
        let target = target::resolve(&source, Entrance::Ticket, None)?;
        let findings = scenario::drive(&job(case, times, payload, seed, source), &target, shutdown)?;
        if findings.interrupted { Err(ThrongError::Interrupted) } else { Ok(findings) }
    }
}

fn job(case: Case, times: Times, payload: usize, seed: u64, target: TargetSource) -> Job {
    let (interval, messages, ahead) = match case.load {
        Load::Paced(interval) => {
            (interval, points_in(times.duration, interval).unwrap_or(MESSAGES_MAX), None)
        }
        Load::Closed { ahead } => (CLOSED_WARMUP, CLOSED_MAX, Some(ahead)),
    };
    let broadcast = Broadcast {
        messages,
        duration: times.duration,
        interval,
        payload,
        senders: case.members,
        warmup: times.warmup,
        pause: times.pause,
        drain: times.drain,
        setting: Setting::default(),
        ahead,
        is_adjustable: false,
        // The server is stopped next, and 9,000 clients leaving one by one cause 40 million
        // notices.
        leave: false,
    };
    Job {
        scenario: Scenario::Broadcast(broadcast),
        target,
        server_pid: None,
        clients: case.members,
        connect_interval: Duration::ZERO,
        connect_timeout: CONNECT_TIMEOUT,
        workers: 1,
        processes: 1,
        sources: None,
        lists: throng_harness_model::spec::Lists::Sample,
        seed,
        json: None,
        html: None,
        hgrm: None,
        thresholds: Threshold::defaults(),
        plain: true,
        standing: None,
        require_valid: false,
    }
}

/// The path of Throng's program: as given, or beside the harness.
pub(super) fn program(given: Option<&Path>) -> Result<PathBuf, ServerError> {
    let path = match given {
        Some(path) => path.to_owned(),
        None => std::env::current_exe().unwrap_or_default().with_file_name(THRONG),
    };
    if path.is_file() { Ok(path) } else { Err(ServerError::NoThrong { path }) }
}
