//! The ways in which attackers behave: what each sends when, without sockets of its own.

mod kick;
mod members;
mod strangers;

use std::time::Instant;

use throng_core::wire::Packet;
use throng_harness_model::plan::Server;

use crate::attack::Attack;
use crate::line::{Line, Tally};
use crate::scene::Scene;

/// Bytes that may wait for a socket before an attacker seals more.
pub(crate) const AHEAD: usize = 64 * 1024;

/// Surroundings of a behavior in one call.
pub(crate) struct Context<'a> {
    pub(crate) scene: &'a Scene,
    pub(crate) tally: &'a mut Tally,
    pub(crate) now: Instant,
}

/// An attack as its connections see it. `at` is a connection's place, below [`Self::lines`].
pub(crate) trait Behavior: Send {
    /// Connections.
    fn lines(&self) -> usize;

    /// The server that connections go to; none if it is unknown.
    fn server<'a>(&self, scene: &'a Scene) -> Option<&'a Server> {
        Some(&scene.chat)
    }

    /// False if connections begin no handshake.
    fn shakes(&self) -> bool {
        true
    }

    /// False for connections that are not read until they end.
    fn reads(&self) -> bool {
        true
    }

    /// True if connections stay between two attacks.
    fn stays(&self) -> bool {
        false
    }

    /// True once everything is in place for the honest clients to come.
    fn is_ready(&self) -> bool {
        true
    }

    /// A connection has completed its handshake.
    fn opened(&mut self, at: usize, line: &mut Line, context: &mut Context<'_>);

    /// A packet has arrived, other than messages and notices.
    fn packet(&mut self, at: usize, line: &mut Line, packet: Packet, context: &mut Context<'_>);

    /// Sends more, until [`AHEAD`] bytes wait or there is nothing to send.
    fn act(&mut self, at: usize, line: &mut Line, context: &mut Context<'_>);

    /// A connection has ended.
    fn lost(&mut self, at: usize);
}

/// The behavior of `attack`.
pub(crate) fn of(attack: Attack, scene: &Scene) -> Box<dyn Behavior> {
    match attack {
        Attack::Kick => Box::new(kick::Kick::default()),
        Attack::Handshakes => Box::new(strangers::Handshakes),
        Attack::Slowloris => Box::new(strangers::Slowloris::new(scene.sockets)),
        Attack::Guess => Box::new(strangers::Guessers::new(scene.sockets)),
        Attack::Seats => Box::new(strangers::Seats::new(scene.sockets)),
        attack => Box::new(members::Members::new(attack)),
    }
}
