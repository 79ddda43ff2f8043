//! Handler table of a role: the handler of each packet, and the phases in which the packet is
//! allowed.

use std::collections::HashMap;
use std::time::Instant;

use super::effects::Effects;
use crate::SessionId;
use crate::wire::{Body, CloseReason, Packet};

/// Context of a handler's call.
pub struct Call<'a> {
    /// Session that sent the packet.
    pub session: SessionId,
    /// Time at which the packet was read.
    pub received: Instant,
    /// Time of the call.
    pub now: Instant,
    /// Effects that the handler asks for.
    pub effects: &'a mut Effects,
}

type Handler<S> = Box<dyn Fn(&mut S, &mut Call<'_>, Packet) + Send>;

/// Handlers of all packets that a role accepts. `S` is the role's state, and `P` its enum of the
/// phases that a session can be in. A packet that is not in the table, or is not allowed in the
/// session's phase, closes the session.
pub struct HandlerTable<S, P: 'static> {
    handlers: HashMap<u16, (&'static [P], Handler<S>)>,
}

impl<S, P> Default for HandlerTable<S, P> {
    fn default() -> Self {
        Self { handlers: HashMap::new() }
    }
}

impl<S: 'static, P: Copy + PartialEq> HandlerTable<S, P> {
    /// Adds the handler of one packet, which is allowed in `phases`. Panics if the packet has a
    /// handler.
    #[must_use]
    pub fn on<B>(mut self, phases: &'static [P], handler: fn(&mut S, &mut Call<'_>, B)) -> Self
    where
        B: Body + TryFrom<Packet> + 'static,
    {
        let run = move |state: &mut S, call: &mut Call<'_>, packet: Packet| {
            if let Ok(body) = B::try_from(packet) {
                handler(state, call, body);
            }
        };
        let previous = self.handlers.insert(B::NUMBER, (phases, Box::new(run)));
        assert!(previous.is_none(), "{} has two handlers", B::NAME);
        self
    }

    /// Runs the handler of a packet from a session in `phase`. Returns false if the packet is not
    /// allowed: then the session is being closed, and the caller must ignore further packets of it.
    #[must_use]
    pub fn run(&self, state: &mut S, call: &mut Call<'_>, phase: P, packet: Packet) -> bool {
        match self.handlers.get(&packet.number()) {
            Some((phases, handler)) if phases.contains(&phase) => {
                handler(state, call, packet);
                true
            }
            _ => {
                tracing::debug!(session = %call.session, packet = packet.name(), "packet not allowed");
                call.effects.close(call.session, CloseReason::PacketNotAllowed);
                false
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::packets::{ExitAnswer, ExitRequest, PingRequest};

    #[derive(Clone, Copy, PartialEq)]
    enum Phase {
        One,
        Two,
    }

    #[test]
    fn only_listed_packets_in_listed_phases_are_run() {
        let table: HandlerTable<Vec<u64>, Phase> = HandlerTable::default()
            .on(&[Phase::One, Phase::Two], |state: &mut Vec<u64>, _, ping: PingRequest| {
                state.push(ping.token);
            })
            .on(&[Phase::Two], |state: &mut Vec<u64>, _, _: ExitRequest| state.clear());
        let check = |phase, packet: Packet, wanted: &[u64], closed: bool| {
            let mut state = vec![1];
            let mut effects = Effects::default();
            let now = Instant::now();
            let session = SessionId::new(0, 1, 0);
            let mut call = Call { session, received: now, now, effects: &mut effects };
            assert_ne!(table.run(&mut state, &mut call, phase, packet), closed);
            assert_eq!(state, wanted);
            assert_eq!(effects.describe().len(), usize::from(closed));
        };
        check(Phase::One, PingRequest { token: 2 }.into(), &[1, 2], false);
        check(Phase::Two, ExitRequest {}.into(), &[], false);
        check(Phase::One, ExitRequest {}.into(), &[1], true);
        check(Phase::One, ExitAnswer {}.into(), &[1], true);
    }
}
