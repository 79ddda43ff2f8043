//! Attacks of members of the chat: floods of one kind of packet.

use throng_core::limits::LIST_PAGES_MAX;
use throng_core::wire::packets::{
    ChannelCreateRequest, ChannelJoinRequest, ChannelLeaveRequest, ChannelListRequest, ChatRequest,
    EnterRequest, HeartbeatAnswer, Outcome, PingRequest, Scope, UserListRequest,
};
use throng_core::wire::{Packet, Text};

use super::{AHEAD, Behavior, Context};
use crate::attack::{Attack, Room};
use crate::line::Line;

/// Requests with long answers that may be on their way: the server closes a session to which more
/// than a megabyte of answers waits.
const LISTS_AHEAD: u32 = 32;
/// Requests with short answers that may be on their way.
const REQUESTS_AHEAD: u32 = 1_000;
/// Channels of the attacker's own at a time; servers let a user be in 16 by default.
const CHANNELS_AHEAD: u32 = 8;
/// Members that never read.
const DEAF: usize = 8;
/// Sectors on each side of its place that an attacker walks through.
const WALK: i32 = 8;
/// Bytes of a long text.
const LONG: usize = 1_000;

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Step {
    #[default]
    Outside,
    Joining,
    Inside,
}

/// State of one attacker.
#[derive(Debug, Clone, Default)]
struct Member {
    step: Step,
    /// The number of the honest clients' channel.
    channel: u32,
    /// Requests without an answer.
    ahead: u32,
    /// Packets sent of those that differ.
    turn: u32,
}

/// Members that flood.
pub(super) struct Members {
    attack: Attack,
    all: Vec<Member>,
    /// The flood's packet, encoded once; empty if packets differ.
    encoded: Vec<u8>,
}

impl Members {
    pub(super) fn new(attack: Attack) -> Self {
        let lines = if attack == Attack::Deaf { DEAF } else { 1 };
        Self { attack, all: vec![Member::default(); lines], encoded: Vec::new() }
    }

    /// Encodes the packet of a flood whose packets are all alike.
    fn encode(&mut self, context: &Context<'_>) {
        let say = |scope, target, length| -> Packet {
            let text = Text::truncated(&"x".repeat(length));
            ChatRequest { scope, target, stamp: 0, text }.into()
        };
        let packet = match self.attack {
            Attack::World => say(Scope::World, 0, 1),
            Attack::WorldLarge => say(Scope::World, 0, LONG),
            Attack::Nearby => say(Scope::Nearby, 0, 1),
            Attack::Whisper | Attack::WhisperSlow => say(Scope::Whisper, context.scene.victim(), LONG),
            Attack::Lists | Attack::Deaf => {
                UserListRequest { channel: 0, after: 0, pages: LIST_PAGES_MAX }.into()
            }
            Attack::ChannelLists => ChannelListRequest { after: 0 }.into(),
            Attack::Ping => PingRequest { token: 0 }.into(),
            Attack::Heartbeat => HeartbeatAnswer { token: 0 }.into(),
            _ => return,
        };
        self.encoded.clear();
        packet.encode(&mut self.encoded);
    }

    /// The most requests on their way; none if nothing answers.
    fn ahead_max(&self, at: usize) -> Option<u32> {
        match self.attack {
            Attack::Lists | Attack::ChannelLists => Some(LISTS_AHEAD),
            Attack::Create => Some(CHANNELS_AHEAD),
            Attack::Ping | Attack::Join => Some(REQUESTS_AHEAD),
            // Every other one requests more than it may leave unread.
            Attack::Deaf => Some(if at.is_multiple_of(2) { 0 } else { u32::MAX }),
            _ => None,
        }
    }
}

impl Behavior for Members {
    fn lines(&self) -> usize {
        self.all.len()
    }

    fn reads(&self) -> bool {
        self.attack != Attack::Deaf
    }

    fn opened(&mut self, at: usize, line: &mut Line, context: &mut Context<'_>) {
        self.encode(context);
        let Some(ticket) = context.scene.ticket(context.scene.attacker(at)) else { return line.hang_up() };
        line.send(EnterRequest { ticket }, context.tally);
        line.send(context.scene.sector(0, 0), context.tally);
        let member = &mut self.all[at];
        member.step = Step::Joining;
        if self.attack.room() == Room::Channel {
            line.send(ChannelJoinRequest { name: context.scene.near_channel() }, context.tally);
        }
        if self.attack == Attack::Deaf {
            // It does not read the answers.
            member.step = Step::Inside;
        }
    }

    fn packet(&mut self, at: usize, line: &mut Line, packet: Packet, context: &mut Context<'_>) {
        let is_about_channel = self.attack.room() == Room::Channel;
        let member = &mut self.all[at];
        match (&packet, self.attack) {
            (Packet::EnterAnswer(_), _) if !is_about_channel => member.step = Step::Inside,
            (Packet::ChannelAnswer(answer), _) if member.step == Step::Joining => {
                (member.step, member.channel) = (Step::Inside, answer.channel);
            }
            // Lists and histories come unasked too: with the entry, and with each channel.
            (Packet::EnterAnswer(_) | Packet::History(_), _) | (Packet::ChannelLeft(_), Attack::Join) => {}
            (Packet::UserList(_), attack) if attack != Attack::Lists => {}
            (Packet::ChannelAnswer(answer), Attack::Create) if answer.outcome == Outcome::Ok => {
                line.send(ChannelLeaveRequest { channel: answer.channel }, context.tally);
            }
            // Anything else answers a request, be it a refusal.
            _ => member.ahead = member.ahead.saturating_sub(1),
        }
    }

    fn act(&mut self, at: usize, line: &mut Line, context: &mut Context<'_>) {
        let ahead_max = self.ahead_max(at);
        let member = &mut self.all[at];
        if member.step != Step::Inside {
            return;
        }
        while line.waiting() < AHEAD && ahead_max.is_none_or(|max| member.ahead < max) {
            if ahead_max.is_some() {
                member.ahead += 1;
            }
            member.turn = member.turn.wrapping_add(1);
            match self.attack {
                Attack::Create => {
                    let name = context.scene.own_channel(member.turn);
                    line.send(ChannelCreateRequest { name }, context.tally);
                }
                Attack::Join => {
                    line.send(ChannelLeaveRequest { channel: member.channel }, context.tally);
                    line.send(ChannelJoinRequest { name: context.scene.near_channel() }, context.tally);
                }
                Attack::Positions => {
                    let step = (member.turn % (4 * WALK.unsigned_abs())).cast_signed();
                    // Eight sectors to the right, and back.
                    let x = (step - 2 * WALK).abs() - WALK;
                    line.send(context.scene.sector(x, 0), context.tally);
                }
                _ => line.send_encoded(&self.encoded, context.tally),
            }
        }
    }

    fn lost(&mut self, at: usize) {
        // Its channels may not be gone yet, so their names are not used again.
        self.all[at] = Member { turn: self.all[at].turn, ..Member::default() };
    }
}
