//! Attacks of connections that are not in the chat.

use std::time::{Duration, Instant};

use throng_core::wire::Packet;
use throng_core::wire::packets::{Heartbeat, LoginRequest};
use throng_harness_model::plan::Server;

use super::{Behavior, Context};
use crate::line::Line;
use crate::scene::Scene;

/// Handshakes on their way.
const HANDSHAKES: usize = 64;

/// The time between two bytes of a slow handshake, and between two heartbeats of a seat holder.
const PAUSE: Duration = Duration::from_secs(1);

/// A plausible first frame, never finished: the header and the preface, then zeros.
const FIRST_FRAME: [u8; 8] = [50, 0, 1, 1, 1, 0, 0, 0];

/// Connections that end as soon as their handshake is complete, and begin anew.
pub(super) struct Handshakes;

impl Behavior for Handshakes {
    fn lines(&self) -> usize {
        HANDSHAKES
    }

    fn opened(&mut self, _: usize, line: &mut Line, _: &mut Context<'_>) {
        line.hang_up();
    }

    fn packet(&mut self, _: usize, _: &mut Line, _: Packet, _: &mut Context<'_>) {}

    fn act(&mut self, _: usize, _: &mut Line, _: &mut Context<'_>) {}

    fn lost(&mut self, _: usize) {}
}

/// Connections that send a byte a second.
pub(super) struct Slowloris(Vec<(usize, Option<Instant>)>);

impl Slowloris {
    pub(super) fn new(sockets: usize) -> Self {
        Self(vec![(0, None); sockets])
    }
}

impl Behavior for Slowloris {
    fn lines(&self) -> usize {
        self.0.len()
    }

    fn shakes(&self) -> bool {
        false
    }

    fn opened(&mut self, _: usize, _: &mut Line, _: &mut Context<'_>) {}

    fn packet(&mut self, _: usize, _: &mut Line, _: Packet, _: &mut Context<'_>) {}

    fn act(&mut self, at: usize, line: &mut Line, context: &mut Context<'_>) {
        let (sent, due) = &mut self.0[at];
        if due.is_none_or(|due| due <= context.now)
            && let Some(byte) = FIRST_FRAME.get(*sent)
        {
            line.send_raw(&[*byte]);
            (*sent, *due) = (*sent + 1, Some(context.now + PAUSE));
        }
    }

    fn lost(&mut self, at: usize) {
        self.0[at] = (0, None);
    }
}

/// Connections to the login server that try one wrong password after the other.
pub(super) struct Guessers(usize);

impl Guessers {
    pub(super) fn new(sockets: usize) -> Self {
        Self(sockets)
    }
}

fn guess(at: usize, line: &mut Line, context: &mut Context<'_>) {
    let (id, password) = context.scene.guess(at);
    line.send(LoginRequest { id, password }, context.tally);
}

impl Behavior for Guessers {
    fn lines(&self) -> usize {
        self.0
    }

    fn server<'a>(&self, scene: &'a Scene) -> Option<&'a Server> {
        scene.login.as_ref()
    }

    fn opened(&mut self, at: usize, line: &mut Line, context: &mut Context<'_>) {
        guess(at, line, context);
    }

    fn packet(&mut self, at: usize, line: &mut Line, packet: Packet, context: &mut Context<'_>) {
        if let Packet::LoginRefused(_) = packet {
            guess(at, line, context);
        }
    }

    fn act(&mut self, _: usize, _: &mut Line, _: &mut Context<'_>) {}

    fn lost(&mut self, _: usize) {}
}

/// Connections to the login server that fail one login, and then stay.
pub(super) struct Seats(Vec<Option<Instant>>);

impl Seats {
    pub(super) fn new(sockets: usize) -> Self {
        Self(vec![None; sockets])
    }
}

impl Behavior for Seats {
    fn lines(&self) -> usize {
        self.0.len()
    }

    fn server<'a>(&self, scene: &'a Scene) -> Option<&'a Server> {
        scene.login.as_ref()
    }

    fn opened(&mut self, at: usize, line: &mut Line, context: &mut Context<'_>) {
        guess(at, line, context);
    }

    fn packet(&mut self, at: usize, _: &mut Line, packet: Packet, context: &mut Context<'_>) {
        if let Packet::LoginRefused(_) = packet {
            self.0[at] = Some(context.now);
        }
    }

    fn act(&mut self, at: usize, line: &mut Line, context: &mut Context<'_>) {
        if let Some(due) = &mut self.0[at]
            && *due <= context.now
        {
            *due = context.now + PAUSE;
            line.send(Heartbeat { token: 0 }, context.tally);
        }
    }

    fn lost(&mut self, at: usize) {
        self.0[at] = None;
    }
}
