//! The room of one server, in which several cases run on the same connections.

use std::io;
use std::time::Duration;

use thiserror::Error;
use throng_core::shutdown::Shutdown;
use throng_harness_model::clock::{Nanos, RunClock, nanos};
use throng_harness_model::procstat::{Meter, ProcError};
use throng_harness_model::results::Findings;
use throng_harness_model::text::format_count;

use super::bare::Deaf;
use super::case::Case;
use super::clients::Clients;
use super::process::{Server, ServerError};
use super::system::Peer;
use super::traffic::{Talk, Times};

/// How long nothing may happen while members join, or while the probe is on its way.
const PATIENCE: Duration = Duration::from_secs(30);
/// From the decision to talk to the first message.
const LEAD: Nanos = 50_000_000;

/// Why a case has no results.
#[derive(Debug, Error)]
pub enum RoomError {
    /// There is no server.
    #[error(transparent)]
    Server(#[from] ServerError),
    /// The event loop gave out.
    #[error("the members' event loop cannot go on: {0}")]
    Loop(#[from] io::Error),
    /// A process cannot be observed.
    #[error(transparent)]
    Meter(#[from] ProcError),
    /// What was waited for did not come.
    #[error("{0}")]
    InVain(String),
    /// Somebody wants the run to end.
    #[error("interrupted")]
    Interrupted,
}

/// A server with members in its room.
pub(super) struct Room<'a> {
    clients: Clients<'a>,
    server: Server,
    clock: RunClock,
    members: usize,
    /// Whether nothing of an earlier case is still on its way, and nobody is gone.
    is_fresh: bool,
}

impl<'a> Room<'a> {
    /// Starts `peer` on `core` and has so many `members` join.
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

    /// Whether another case may run here.
    pub(super) fn is_fresh(&mut self) -> bool {
        self.is_fresh && self.server.ended().is_none()
    }

    fn enter(&mut self, shutdown: &Shutdown) -> Result<(), RoomError> {
        let mut last = (0, self.clock.now());
        while self.clients.invite(self.server.address(), self.members)? {
            self.clients.turn(&mut Deaf)?;
            self.look(shutdown)?;
            let gone: u64 = self.clients.reasons().values().sum();
            let reached = self.clients.here() as u64 + gone;
            if reached != last.0 {
                last = (reached, self.clock.now());
            }
            if self.clock.now() > last.1 + nanos(PATIENCE) {
                let [here, all] = [self.clients.here(), self.members].map(|count| format_count(count as u64));
                return Err(RoomError::InVain(format!(
                    "{here} of {all} members were in the room, and nobody else got in for {PATIENCE:?}"
                )));
            }
        }
        if self.clients.here() < self.members {
            let reasons: Vec<_> =
                self.clients.reasons().iter().map(|(why, count)| format!("{count} {why}")).collect();
            let [here, all] = [self.clients.here(), self.members].map(|count| format_count(count as u64));
            return Err(RoomError::InVain(format!(
                "only {here} of {all} members got into the room: {}",
                reasons.join(", ")
            )));
        }
        Ok(())
    }

    fn look(&mut self, shutdown: &Shutdown) -> Result<(), RoomError> {
        if shutdown.is_requested() {
            return Err(RoomError::Interrupted);
        }
        if let Some(status) = self.server.ended() {
            return Err(RoomError::InVain(format!(
                "the server has ended ({status}):\n{}",
                self.server.log()
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
        let present = (0..self.members).map(|member| self.clients.is_here(member)).collect();
        let mut talk = Talk::new(case, times, payload, seed, present, self.clock.now());
        self.probe(&mut talk, shutdown)?;
        let mut server = Meter::start(self.server.pid())?;
        let mut harness = Meter::start_own()?;
        let from = talk.talk(self.clock.now() + LEAD);
        while self.clock.now() < from {
            self.clients.turn(&mut talk)?;
            self.look(shutdown)?;
        }
        server.reset();
        harness.reset();
        let begun = self.clock.now();
        while !talk.is_said(self.clock.now()) {
            self.clients.turn(&mut talk)?;
            self.look(shutdown)?;
        }
        talk.hush();
        let until = self.clock.now() + nanos(times.drain);
        while !talk.is_drained() && self.clock.now() < until {
            self.clients.turn(&mut talk)?;
            self.look(shutdown)?;
        }
        let measured = Duration::from_nanos(self.clock.now().saturating_sub(begun));
        server.look();
        harness.look();
        self.is_fresh = talk.is_drained() && talk.lost_members() == 0;
        let mut findings = talk.findings();
        findings.clients.reasons.clone_from(self.clients.reasons());
        findings.measured = measured;
        findings.server = Some(server.usage());
        findings.harness = Some(harness.usage());
        Ok(findings)
    }

    /// Waits until one message has reached everybody, and with it all that was sent before it.
    fn probe(&mut self, talk: &mut Talk, shutdown: &Shutdown) -> Result<(), RoomError> {
        talk.probe();
        let mut last = (0, self.clock.now());
        loop {
            let (here, probed) = talk.probed();
            if probed == here {
                return Ok(());
            }
            if probed != last.0 {
                last = (probed, self.clock.now());
            }
            if self.clock.now() > last.1 + nanos(PATIENCE) {
                let [probed, here] = [probed, here].map(format_count);
                return Err(RoomError::InVain(format!(
                    "the probe message has reached {probed} of {here} members, and nobody else for {PATIENCE:?}"
                )));
            }
            self.clients.turn(talk)?;
            self.look(shutdown)?;
        }
    }
}
