//! The owner of a channel that kicks an accomplice and speaks, so that every member gets a new key;
//! the accomplice comes back at once.

use throng_core::wire::packets::{
    ChannelCreateRequest, ChannelJoinRequest, ChannelKickRequest, ChatRequest, EnterRequest, Outcome, Scope,
};
use throng_core::wire::{Packet, Text};

use super::{AHEAD, Behavior, Context};
use crate::line::Line;

/// The place of the owner's connection.
const OWNER: usize = 0;
/// The place of the accomplice's.
const ACCOMPLICE: usize = 1;

/// The two connections.
#[derive(Debug, Default)]
pub(super) struct Kick {
    /// The channel; 0 until the owner has made it.
    channel: u32,
    /// The accomplice's user id; 0 while it is outside.
    user: u32,
    /// True if the accomplice is a member that has not been kicked.
    is_in: bool,
    /// True if the accomplice is to ask for membership.
    is_out: bool,
}

impl Behavior for Kick {
    fn lines(&self) -> usize {
        2
    }

    fn stays(&self) -> bool {
        true
    }

    fn is_ready(&self) -> bool {
        self.channel != 0 && self.user != 0
    }

    fn opened(&mut self, at: usize, line: &mut Line, context: &mut Context<'_>) {
        let Some(ticket) = context.scene.ticket(context.scene.attacker(at)) else { return line.hang_up() };
        line.send(EnterRequest { ticket }, context.tally);
        let name = context.scene.near_channel();
        if at == OWNER {
            line.send(ChannelCreateRequest { name: name.clone() }, context.tally);
            // An owner that comes back finds its channel in other hands, and can only join it.
            line.send(ChannelJoinRequest { name }, context.tally);
        }
    }

    fn packet(&mut self, at: usize, _: &mut Line, packet: Packet, _: &mut Context<'_>) {
        match (at, packet) {
            (ACCOMPLICE, Packet::EnterAnswer(answer)) => {
                (self.user, self.is_out) = (answer.user.id, true);
            }
            (OWNER, Packet::ChannelAnswer(answer)) if answer.outcome == Outcome::Ok => {
                self.channel = answer.channel;
            }
            (ACCOMPLICE, Packet::ChannelAnswer(answer)) => {
                (self.is_in, self.is_out) = (answer.outcome == Outcome::Ok, answer.outcome != Outcome::Ok);
            }
            (ACCOMPLICE, Packet::ChannelLeft(_) | Packet::TooFast(_)) => self.is_out = true,
            (OWNER, Packet::TooFast(_)) => self.is_in = true,
            // Refused, perhaps for being too fast: the accomplice is still in.
            (OWNER, Packet::ChannelKickAnswer(answer))
                if !matches!(answer.outcome, Outcome::Ok | Outcome::NotAMember) =>
            {
                self.is_in = true;
            }
            _ => {}
        }
    }

    fn act(&mut self, at: usize, line: &mut Line, context: &mut Context<'_>) {
        if line.waiting() >= AHEAD || self.channel == 0 {
            return;
        }
        let channel = self.channel;
        if at == ACCOMPLICE && std::mem::take(&mut self.is_out) {
            line.send(ChannelJoinRequest { name: context.scene.near_channel() }, context.tally);
        }
        if at == OWNER && std::mem::take(&mut self.is_in) {
            line.send(ChannelKickRequest { channel, user: self.user }, context.tally);
            let text = Text::truncated("x");
            let say = ChatRequest { scope: Scope::Channel, target: channel, stamp: 0, text };
            line.send(say, context.tally);
        }
    }

    fn lost(&mut self, at: usize) {
        if at == OWNER {
            self.channel = 0;
        } else {
            (self.user, self.is_in, self.is_out) = (0, false, false);
        }
    }
}
