//! The handler table of a role: which packet, in which phases of a session, runs what.

use std::collections::HashMap;
use std::time::Instant;

use super::effects::Effects;
use crate::SessionId;
use crate::wire::{Body, CloseReason, Packet};

/// A set of phases that a session can be in; each role numbers its own, one bit a phase.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Phases(pub u8);

impl Phases {
    /// Both sets together.
    #[must_use]
    pub const fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    fn contains(self, phase: Self) -> bool {
        self.0 & phase.0 != 0
    }
}

/// Who calls a handler, when, and where its effects go.
pub struct Call<'a> {
    /// The session that sent the packet.
    pub session: SessionId,
    /// When the packet was read.
    pub received: Instant,
    /// When the handler runs.
    pub now: Instant,
    /// What the handler wants done.
    pub effects: &'a mut Effects,
}

type Handler<S> = Box<dyn Fn(&mut S, &mut Call<'_>, Packet) + Send>;

/// Every packet a role takes, with its handler. A packet that is not in the table, or comes in
/// another phase, costs its sender the session.
pub struct HandlerTable<S> {
    handlers: HashMap<u16, (Phases, Handler<S>)>,
}

impl<S> Default for HandlerTable<S> {
    fn default() -> Self {
        Self { handlers: HashMap::new() }
    }
}

impl<S: 'static> HandlerTable<S> {
    /// Adds the handler of one packet.
    #[must_use]
    pub fn on<P>(mut self, phases: Phases, handler: fn(&mut S, &mut Call<'_>, P)) -> Self
    where
        P: Body + TryFrom<Packet> + 'static,
    {
        let run = move |state: &mut S, call: &mut Call<'_>, packet: Packet| {
            if let Ok(body) = P::try_from(packet) {
                handler(state, call, body);
            }
        };
        let previous = self.handlers.insert(P::NUMBER, (phases, Box::new(run)));
        assert!(previous.is_none(), "{} has two handlers", P::NAME);
        self
    }

    /// Runs the handler of `packet`, from a session in `phase`. False: the packet is not allowed,
    /// and the session is being closed; what else it has sent already is not to be heard.
    #[must_use]
    pub fn run(&self, state: &mut S, call: &mut Call<'_>, phase: Phases, packet: Packet) -> bool {
        match self.handlers.get(&packet.number()) {
            Some((phases, handler)) if phases.contains(phase) => {
                handler(state, call, packet);
                true
            }
            _ => {
                tracing::debug!(session = %call.session, packet = packet.name(), "not allowed here");
                call.effects.close(call.session, CloseReason::PacketNotAllowed);
                false
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::packets::{ExitRequest, PingRequest};

    const ONE: Phases = Phases(1);
    const TWO: Phases = Phases(2);

    #[test]
    fn only_listed_packets_in_listed_phases_are_run() {
        let table: HandlerTable<Vec<u64>> = HandlerTable::default()
            .on(ONE.or(TWO), |state: &mut Vec<u64>, _, ping: PingRequest| state.push(ping.token))
            .on(TWO, |state: &mut Vec<u64>, _, _: ExitRequest| state.clear());
        let check = |phase, packet: Packet, wanted: &[u64], closed: bool| {
            let (mut state, mut effects) = (vec![1], Effects::default());
            let (session, now) = (SessionId::new(0, 1, 0), Instant::now());
            let mut call = Call { session, received: now, now, effects: &mut effects };
            assert_ne!(table.run(&mut state, &mut call, phase, packet), closed);
            assert_eq!(state, wanted);
            assert_eq!(effects.describe().len(), usize::from(closed));
        };
        check(ONE, PingRequest { token: 2 }.into(), &[1, 2], false);
        check(TWO, ExitRequest {}.into(), &[], false);
        check(ONE, ExitRequest {}.into(), &[1], true);
        check(ONE, crate::wire::packets::ExitAnswer {}.into(), &[1], true);
    }
}
