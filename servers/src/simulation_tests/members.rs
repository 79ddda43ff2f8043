//! The members of the simulation: players that follow the protocol, and abusers that do not.

use throng_core::SessionId;
use throng_core::wire::packets::{
    ChannelCreateRequest, ChannelJoinRequest, ChannelKickRequest, ChannelLeaveRequest, ChannelListRequest,
    ChatRequest, ChatText, Claim, CreateCharacterRequest, DbReleaseClaim, EnterRequest, ExitRequest,
    HeldChannel, HistoryRequest, LoginGranted, LoginRequest, PasswordText, PingRequest, PositionUpdate,
    ResumeRequest, ResumeTokenBytes, Scope, SignUpRequest, TicketBytes, UserListRequest,
};
use throng_core::wire::{List, Packet, Text};

use super::lines::{Line, Memory};
use super::truth::View;
use crate::dice::Dice;

/// Ids of the accounts, whose numbers begin with 1. Players share the first ones.
pub(super) const ACCOUNTS: [&str; 5] = ["one", "two", "three", "evil", "probe"];
/// Number of accounts that players share.
pub(super) const SHARED: usize = 3;
/// The account of the abusers.
const EVIL: usize = 3;
/// The account for logins that must succeed.
const SURE: usize = 4;
/// Members: the players, the abusers, and the one whose logins must succeed.
pub(super) const PLAYERS: usize = 6;
pub(super) const ABUSERS: usize = 2;
pub(super) const PROBE: usize = PLAYERS + ABUSERS;

/// Packets that wait for a member that does not read, beyond which its session is closed.
pub(super) const BACKLOG: usize = 8;

#[expect(clippy::struct_excessive_bools, reason = "they are independent")]
#[derive(Default)]
pub(super) struct Member {
    pub(super) account: usize,
    pub(super) is_abuser: bool,
    pub(super) login: Option<SessionId>,
    pub(super) granted: Option<LoginGranted>,
    pub(super) chat: Option<SessionId>,
    pub(super) is_in: bool,
    /// True once its login was refused.
    pub(super) is_refused: bool,
    /// The position of its login in the queue that it was told last.
    pub(super) position: Option<u32>,
    pub(super) is_deaf: bool,
    /// Packets that a deaf member has not read.
    pub(super) unread: usize,
    /// State of its connection to the chat.
    pub(super) line: Line,
    /// Its place in the chat, which outlives connections.
    pub(super) memory: Memory,
}

impl Member {
    pub(super) fn new(number: usize) -> Self {
        let account = match number {
            PROBE => SURE,
            _ if number >= PLAYERS => EVIL,
            _ => number % SHARED,
        };
        Self { account, is_abuser: (PLAYERS..PROBE).contains(&number), ..Self::default() }
    }

    /// Forgets the session of the chat, which has ended, and not its place.
    pub(super) fn hang_up(&mut self) -> Option<SessionId> {
        self.is_in = false;
        self.is_deaf = false;
        self.unread = 0;
        self.line = Line::Well;
        self.chat.take()
    }

    /// Handles a packet of a server.
    pub(super) fn receive(&mut self, packet: &Packet, view: &View<'_>) {
        match packet {
            Packet::LoginRefused(_) => self.is_refused = true,
            Packet::EnterAnswer(_) | Packet::ResumeAnswer(_) => self.is_in = true,
            _ => {}
        }
        self.memory.receive(packet, view, self.is_abuser);
    }
}

pub(super) fn login_request(account: usize, is_right: bool) -> Packet {
    let password = if is_right { "password" } else { "wrong password" };
    let password = PasswordText::new(password).expect("it is short");
    LoginRequest { id: Text::truncated(ACCOUNTS[account]), password }.into()
}

/// Returns a message to a random audience.
pub(super) fn speech(dice: &mut Dice, stamp: u64, channel: u32) -> Packet {
    let (scope, target) = match dice.below(7) {
        0 | 1 => (Scope::World, 0),
        2 | 3 => (Scope::Channel, channel),
        4 | 5 => (Scope::Nearby, 0),
        _ => (Scope::Whisper, dice.below(12) as u32),
    };
    ChatRequest { scope, target, stamp, text: ChatText::truncated("hello") }.into()
}

pub(super) fn position(dice: &mut Dice) -> Packet {
    let far = [0, 0, 0, 0, 0, 100_000];
    PositionUpdate { x: dice.pick(&far), y: dice.pick(&far) }.into()
}

pub(super) fn history(dice: &mut Dice, channel: u32) -> Packet {
    let before = dice.pick(&[0, 0, 1, 4, u64::MAX]);
    HistoryRequest { channel: dice.pick(&[0, channel]), before, count: dice.pick(&[0, 1, 20, 255]) }.into()
}

/// Returns a request to resume with a token, by a client that says anything about what it has.
pub(super) fn resume(dice: &mut Dice, token: ResumeTokenBytes) -> Packet {
    let numbers = [0, 1, 5, u64::MAX];
    let channels = (0..dice.below(3))
        .map(|_| HeldChannel { channel: dice.below(4) as u32, sequence: dice.pick(&numbers) });
    let channels = List::take_from(&mut channels.collect::<Vec<_>>().into_iter());
    ResumeRequest {
        token,
        answers: dice.pick(&[0, 1, 5, u32::MAX]),
        whispers: dice.pick(&numbers),
        world: dice.pick(&numbers),
        list_version: dice.pick(&numbers),
        channels,
    }
    .into()
}

/// Returns any packet that an abuser may think of.
pub(super) fn any_packet(dice: &mut Dice, ticket: Option<TicketBytes>, channel: u32) -> Packet {
    let name = dice.pick(&["channel", "other", "third", "", "x\u{1b}"]);
    let user = dice.below(16) as u32;
    match dice.below(24) {
        0 => login_request(dice.below(SHARED), dice.one_in(2)),
        1 => {
            let password = PasswordText::new("password").expect("it is short");
            SignUpRequest { id: Text::truncated(dice.pick(&["one", "new", "newer"])), password }.into()
        }
        2 => {
            let password = PasswordText::new("password").expect("it is short");
            let id = Text::truncated(dice.pick(&["one", "new", "newer"]));
            let name = Text::truncated(dice.pick(&["name", "Nom", "x"]));
            CreateCharacterRequest { id, password, name }.into()
        }
        3 | 4 => EnterRequest {
            ticket: ticket.unwrap_or_else(|| TicketBytes::new(vec![0; 80]).expect("it is short")),
        }
        .into(),
        5 => UserListRequest { channel: dice.pick(&[0, channel, 99]), after: user, pages: 2 }.into(),
        6 => ExitRequest {}.into(),
        7 => PingRequest { token: dice.next() }.into(),
        8 | 9 => ChannelCreateRequest { name: Text::truncated(name) }.into(),
        10 | 11 => ChannelJoinRequest { name: Text::truncated(name) }.into(),
        12 => ChannelLeaveRequest { channel }.into(),
        13..=15 => ChannelKickRequest { channel, user }.into(),
        16 => ChannelListRequest { after: user }.into(),
        17 => position(dice),
        18 => history(dice, channel),
        19 => resume(dice, ResumeTokenBytes::default()),
        20 => DbReleaseClaim { claim: Claim { account: 1, id: 1 } }.into(),
        _ => speech(dice, 1, channel),
    }
}
