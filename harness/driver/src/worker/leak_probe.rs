//! The leak probe: a connection outside of the chat, which no message may reach.

use throng_core::SessionId;
use throng_core::net::Sessions;
use throng_core::wire::{CloseReason, Packet};
use throng_harness_model::clock::Nanos;
use throng_harness_model::payload::{Purpose, Reading};
use throng_harness_model::plan::EntryPath;

use super::Worker;
use super::client::Token;

/// The pause before the leak probe reconnects, in nanoseconds.
const REDIAL_PAUSE: Nanos = 1_000_000_000;

/// A connection that never enters the chat: any message of the run that reaches it has leaked.
/// Servers close connections that request nothing, so it reconnects during the run.
#[derive(Default)]
pub(super) struct LeakProbe {
    pub(super) session: Option<SessionId>,
    /// The time of the next connection; none while connected.
    pub(super) redial_at: Option<Nanos>,
}

impl Worker {
    /// Records a message that the leak probe received. The probe has the last account of the
    /// ledger, without a stay in any room, so every delivery to it counts as a leak.
    pub(super) fn leak_probe_received(&mut self, sessions: &mut Sessions, packet: &Packet) {
        let Packet::ChatMessage(message) = packet else { return };
        if let Reading::Ours(Purpose::Counted, stamp) = self.plan.payload.read(message.text.as_bytes())
            && !self.messages.is_frozen
        {
            let now = self.plan.clock.at(sessions.now());
            self.results.ledger.delivered(self.clients.len(), stamp.index, message.sequence, now);
        }
    }

    pub(super) fn leak_probe_closed(&mut self, sessions: &mut Sessions, reason: CloseReason) {
        self.leak_probe.session = None;
        // If the server is full or gone, the probe does not reconnect.
        if reason == CloseReason::FirstPacketTimeout && !self.messages.is_frozen {
            self.leak_probe.redial_at = Some(self.plan.clock.at(sessions.now()) + REDIAL_PAUSE);
        }
        self.totals.leak_probe_placed = 1;
    }

    pub(super) fn redial_leak_probe(&mut self, sessions: &mut Sessions, now: Nanos) {
        if self.leak_probe.redial_at.take_if(|at| *at <= now).is_some() {
            self.dial_leak_probe(sessions);
        }
    }

    fn dial_leak_probe(&mut self, sessions: &mut Sessions) {
        let plan = self.plan.clone();
        let server = match &plan.entry_path {
            EntryPath::Ticket(..) => plan.node(0).cloned(),
            // The chat server that the first login was sent to.
            EntryPath::Login(_) => self.entries.chat_servers.first(),
        };
        match server.map(|server| self.dial(sessions, &server, Token::LeakProbe)) {
            Some(Ok(id)) => self.leak_probe.session = Some(id),
            Some(Err(_)) | None => self.totals.leak_probe_placed = 1,
        }
    }

    /// Connects the leak probe and starts the pings.
    pub(super) fn start_probing(&mut self, sessions: &mut Sessions) {
        if self.index == 0 {
            self.dial_leak_probe(sessions);
        }
        self.begin_pings(self.plan.clock.now());
    }
}
