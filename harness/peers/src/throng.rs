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
use super::system::THRONG;
use super::traffic::{CLOSED_MAX, CLOSED_WARMUP, Times};

/// What `throng up` prints when clients may come.
const READY: &str = "ready";
/// Listeners that get a free port.
const LISTENERS: [&str; 4] = ["login.listen", "chat.listen", "chat.link_listen", "dbagent.listen"];
/// How long a client may take to get in.
const CONNECT_TIMEOUT: Duration = Duration::from_mins(1);

/// Why a case with Throng has no results.
#[derive(Debug, Error)]
pub enum ThrongError {
    /// It does not run.
    #[error(transparent)]
    Server(#[from] ServerError),
    /// It does not say where it listens.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// The scenario has no results.
    #[error(transparent)]
    Run(#[from] RunError),
    /// Somebody wants the run to end.
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
        // Where it listens it tells through its data directory.
        let address = (Ipv4Addr::LOCALHOST, 0).into();
        let server = Server::launch(THRONG, &command, core, address, dir)?;
        let server = server.until_ready(|server| server.log().lines().any(|line| line == READY))?;
        Ok(Self { server })
    }

    /// Runs `case`, with everybody coming in for it; it is the only one of this server.
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
        // The server is stopped then, and 9,000 that leave one by one are 40 million notices.
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

/// Where Throng's program is, unless somebody says otherwise: beside the harness's own.
pub(super) fn program(given: Option<&Path>) -> Result<PathBuf, ServerError> {
    let path = match given {
        Some(path) => path.to_owned(),
        None => std::env::current_exe().unwrap_or_default().with_file_name(THRONG),
    };
    if path.is_file() { Ok(path) } else { Err(ServerError::NoThrong { path }) }
}
