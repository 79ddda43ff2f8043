//! The room of one server, in which cases run in turn on the same connections.

use std::io;
use std::time::Duration;

use thiserror::Error;
use throng_core::shutdown::Shutdown;
use throng_harness_model::clock::{Nanos, RunClock, nanos};
use throng_harness_model::procstat::{Meter, ProcError};
use throng_harness_model::results::Findings;
use throng_harness_model::scheduling::SchedulingMeter;
use throng_harness_model::text::format_count;

use super::bare::NullHandler;
use super::case::Case;
use super::clients::Clients;
use super::process::{Server, ServerError};
use super::system::Peer;
use super::traffic::{CaseRun, Times};

/// Longest time without progress while members join or the probe spreads.
const PATIENCE: Duration = Duration::from_secs(30);
/// Time from the start of sending to the first message.
const LEAD: Nanos = 50_000_000;

/// The reason that a case has no results.
#[derive(Debug, Error)]
pub enum RoomError {
    /// The server does not run.
    #[error(transparent)]
    Server(#[from] ServerError),
    /// The event loop failed.
    #[error("the members' event loop failed: {0}")]
    Loop(#[from] io::Error),
    /// A process cannot be observed.
    #[error(transparent)]
    Meter(#[from] ProcError),
    /// The room did not make progress, or its server ended.
    #[error("{0}")]
    Stalled(String),
    /// The user stopped the run.
    #[error("interrupted")]
    Interrupted,
}

/// A server with members in its room.
pub(super) struct Room<'a> {
    clients: Clients<'a>,
    server: Server,
    clock: RunClock,
    members: usize,
    /// True if no message of an earlier case is outstanding and no member was lost.
    is_fresh: bool,
}

impl<'a> Room<'a> {
    /// Starts `peer` on `core` and has `members` join.
    pub(super) fn open(
        peer: &'a dyn Peer,
        core: usize,
        members: u32,
        shutdown: &Shutdown,
    ) -> Result<Self, RoomError> {
        let server = Server::start(peer, core)?;
        let clock = RunClock::start();
        let members = members as usize;
        let clients = Clients::new(peer, clock, members)?;
        let mut room = Self { clients, server, clock, members, is_fresh: true };
        room.enter(shutdown)?;
        Ok(room)
    }

    /// True if another case may run in this room.
    pub(super) fn is_fresh(&mut self) -> bool {
        self.is_fresh && self.server.exit_status().is_none()
    }

    fn enter(&mut self, shutdown: &Shutdown) -> Result<(), RoomError> {
        let mut last = (0, self.clock.now());
        while self.clients.connect(self.server.address(), self.members)? {
            self.clients.turn(&mut NullHandler)?;
            self.check(shutdown)?;
            let closed: u64 = self.clients.reasons().total();
            let reached = self.clients.joined() as u64 + closed;
            if reached != last.0 {
                last = (reached, self.clock.now());
            }
            if self.clock.now() > last.1 + nanos(PATIENCE) {
                let [joined, all] =
                    [self.clients.joined(), self.members].map(|count| format_count(count as u64));
                return Err(RoomError::Stalled(format!(
                    "{joined} of {all} members were in the room, and no other entered for {PATIENCE:?}"
                )));
            }
        }
        if self.clients.joined() < self.members {
            let reasons = self.clients.reasons().named();
            let reasons: Vec<_> = reasons.iter().map(|(why, count)| format!("{count} {why}")).collect();
            let [joined, all] = [self.clients.joined(), self.members].map(|count| format_count(count as u64));
            return Err(RoomError::Stalled(format!(
                "only {joined} of {all} members entered the room: {}",
                reasons.join(", ")
            )));
        }
        Ok(())
    }

    fn check(&mut self, shutdown: &Shutdown) -> Result<(), RoomError> {
        if shutdown.is_requested() {
            return Err(RoomError::Interrupted);
        }
        if let Some(status) = self.server.exit_status() {
            return Err(RoomError::Stalled(format!(
                "the server has ended ({status}):\n{}",
                self.server.log_end()
            )));
        }
        Ok(())
    }

    /// Runs `case` with messages of `payload` bytes.
    pub(super) fn run(
        &mut self,
        case: Case,
        times: Times,
        payload: usize,
        seed: u64,
        shutdown: &Shutdown,
    ) -> Result<Findings, RoomError> {
        self.is_fresh = false;
        let present = (0..self.members).map(|member| self.clients.is_joined(member)).collect();
        let mut run = CaseRun::new(case, times, payload, seed, present, self.clock.now());
        self.probe(&mut run, shutdown)?;
        let mut server = Meter::start(self.server.pid())?;
        let mut harness = Meter::start_own()?;
        let mut threads = SchedulingMeter::start(vec![std::process::id()], Some(self.server.pid()));
        let from = run.start(self.clock.now() + LEAD);
        while self.clock.now() < from {
            self.clients.turn(&mut run)?;
            self.check(shutdown)?;
        }
        server.reset();
        harness.reset();
        threads.reset();
        let begun = self.clock.now();
        while !run.is_sent(self.clock.now()) {
            self.clients.turn(&mut run)?;
            self.check(shutdown)?;
        }
        run.stop();
        let until = self.clock.now() + nanos(times.drain);
        while !run.is_drained() && self.clock.now() < until {
            self.clients.turn(&mut run)?;
            self.check(shutdown)?;
        }
        let measured = Duration::from_nanos(self.clock.now().saturating_sub(begun));
        server.sample();
        harness.sample();
        let scheduling = threads.since_first();
        self.is_fresh = run.is_drained() && run.lost_members() == 0;
        let mut findings = run.findings();
        findings.clients.reasons = self.clients.reasons().named();
        findings.measured = measured;
        findings.server = Some(server.usage());
        findings.harness = Some(harness.usage());
        findings.scheduling = scheduling;
        Ok(findings)
    }

    /// Waits until one message has reached every member, and so every message sent before it.
    fn probe(&mut self, run: &mut CaseRun, shutdown: &Shutdown) -> Result<(), RoomError> {
        run.probe();
        let mut last = (0, self.clock.now());
        loop {
            let (here, probed) = run.probed();
            if probed == here {
                return Ok(());
            }
            if probed != last.0 {
                last = (probed, self.clock.now());
            }
            if self.clock.now() > last.1 + nanos(PATIENCE) {
                let [probed, here] = [probed, here].map(format_count);
                return Err(RoomError::Stalled(format!(
                    "the probe message has reached {probed} of {here} members, and no other for {PATIENCE:?}"
                )));
            }
            self.clients.turn(run)?;
            self.check(shutdown)?;
        }
    }
}
