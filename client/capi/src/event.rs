//! Events as C sees them.

use std::ffi::c_char;
use std::time::Duration;

use throng_client::{Audience, Event, LoginStep, Message};

/// The recipients of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub enum ThrongScope {
    /// All users in the chat. The target is 0.
    World = 0,
    /// The members of a channel, which is the target.
    Channel = 1,
    /// The users near the sender. The target is 0.
    Nearby = 2,
    /// One user, which is the target.
    Whisper = 3,
}

/// Kind of an event, and the fields that it has besides `size` and `kind`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub enum ThrongEventKind {
    /// The account exists now.
    SignedUp = 0,
    /// The account has a character now.
    CharacterCreated = 1,
    /// A request to the login server is refused. `code`: the outcome (throng_outcome_text).
    /// `scope`: 0 sign-up, 1 character, 2 login.
    Refused = 2,
    /// A request to the login server waits for its turn. `count`: place in the queue, 1 is next.
    /// `micros`: estimate of the wait.
    Queued = 3,
    /// A request came too fast and was not handled. `micros`: the time to wait.
    TooFast = 4,
    /// The login server cannot be reached. `code`: the reason (throng_reason_text).
    Unreachable = 5,
    /// The client is in the chat. `user`, `name`: its own. `count`: users in the chat.
    Entered = 6,
    /// The connection is lost; the client tries to resume. `code`: the reason.
    Away = 7,
    /// The client is back in its place. `micros`: the time that it was away.
    Resumed = 8,
    /// The client is not in the chat any more. `code`: the reason. `flag`: 1 if it logs in again by
    /// itself.
    Left = 9,
    /// A message. `scope`, `target`, `sequence`, `user`, `name`, `text`. `flag`: 1 for the client's
    /// own, with its `stamp`.
    Message = 10,
    /// An earlier message of a room, as Message. A History follows the last one of a page.
    PastMessage = 11,
    /// The end of a page of a room's history. `target`: the channel, 0 for the world. `count`:
    /// messages of the page. `flag`: 1 if there are earlier ones.
    History = 12,
    /// A message of this client was not delivered. `stamp`. `code`: the outcome. With `flag` 1 it
    /// came too fast instead, and `micros` is the time to wait.
    MessageRefused = 13,
    /// The place was lost before it was known whether a message had been delivered. `stamp`.
    MessageUncertain = 14,
    /// Messages that this client has missed. `scope`, `target`, `count`.
    Missed = 15,
    /// A user has entered. `target`: the channel, 0 for the world. `user`, `name`.
    UserEntered = 16,
    /// A user has left. `target`, `user`, `name`.
    UserLeft = 17,
    /// The list of a room is complete for the first time: see throng_users. `target`.
    Listed = 18,
    /// The client is in a channel. `target`, `name`: the channel. `count`: its users.
    Joined = 19,
    /// A channel cannot be made or joined. `name`. `code`: the outcome.
    JoinRefused = 20,
    /// The client is not in a channel any more. `target`: the channel. `code`: the outcome.
    ChannelLeft = 21,
    /// Result of a kick. `target`: the channel. `user`. `code`: the outcome.
    KickAnswered = 22,
    /// A channel of the list of channels. `target`, `name`. `count`: its users. A Channels follows
    /// the last one of a page.
    Channel = 23,
    /// The end of a page of the list of channels. `count`: channels of the page. `flag`: 1 if there
    /// are more.
    Channels = 24,
    /// The answer to throng_ping. `micros`: the round trip.
    Pong = 25,
    /// An event that this version of the interface has no kind for.
    Other = 26,
}

/// UTF-8 text: `length` bytes, without a zero at the end.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct ThrongText {
    /// The first byte; never null.
    pub data: *const c_char,
    /// Number of bytes.
    pub length: usize,
}

impl ThrongText {
    pub(crate) fn of(text: &str) -> Self {
        Self { data: text.as_ptr().cast(), length: text.len() }
    }
}

/// Event of a client. Fields that a kind does not have are 0 or empty.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct ThrongEvent {
    /// Size of this structure, set by the caller: a library of a later version then writes no more.
    pub size: usize,
    /// Kind of the event.
    pub kind: ThrongEventKind,
    /// An outcome or the reason of an end.
    pub code: u32,
    /// Kind of the recipients (throng_scope), or another small number.
    pub scope: u32,
    /// The channel, the user whispered to, or 0.
    pub target: u32,
    /// A user.
    pub user: u32,
    /// 0 or 1.
    pub flag: u32,
    /// Number of a message in its room.
    pub sequence: u64,
    /// Number that throng_say gave to a message.
    pub stamp: u64,
    /// A number of things.
    pub count: u64,
    /// A time in microseconds.
    pub micros: u64,
    /// A name.
    pub name: ThrongText,
    /// The text of a message. It comes from others: show its control characters as something else.
    pub text: ThrongText,
}

impl ThrongEvent {
    pub(crate) fn new(kind: ThrongEventKind) -> Self {
        Self {
            size: size_of::<Self>(),
            kind,
            code: 0,
            scope: 0,
            target: 0,
            user: 0,
            flag: 0,
            sequence: 0,
            stamp: 0,
            count: 0,
            micros: 0,
            name: ThrongText::of(""),
            text: ThrongText::of(""),
        }
    }
}

/// Returns an item of an event that is a page; none after the last one, and for other events.
pub(crate) fn of_item(event: &Event, item: usize) -> Option<ThrongEvent> {
    match event {
        Event::History { messages, .. } => {
            messages.get(item).map(|message| of_message(ThrongEventKind::PastMessage, message))
        }
        Event::Channels { channels, .. } => channels.get(item).map(|info| ThrongEvent {
            target: info.channel,
            count: info.head_count.into(),
            name: ThrongText::of(&info.name),
            ..ThrongEvent::new(ThrongEventKind::Channel)
        }),
        _ => None,
    }
}

fn of_message(kind: ThrongEventKind, message: &Message) -> ThrongEvent {
    let (scope, target) = address(message.audience);
    ThrongEvent {
        scope: scope as u32,
        target,
        user: message.sender.id,
        flag: message.own.is_some().into(),
        sequence: message.sequence,
        stamp: message.own.map_or(0, |stamp| stamp.0),
        name: ThrongText::of(&message.sender.name),
        text: ThrongText::of(&message.text),
        ..ThrongEvent::new(kind)
    }
}

/// Returns the recipients that a scope and a target name.
pub(crate) fn audience(scope: u32, target: u32) -> Option<Audience> {
    let all = [Audience::World, Audience::Channel(target), Audience::Nearby, Audience::Whisper(target)];
    all.into_iter().find(|audience| address(*audience).0 as u32 == scope)
}

fn address(audience: Audience) -> (ThrongScope, u32) {
    match audience {
        Audience::World => (ThrongScope::World, 0),
        Audience::Channel(channel) => (ThrongScope::Channel, channel),
        Audience::Nearby => (ThrongScope::Nearby, 0),
        Audience::Whisper(user) => (ThrongScope::Whisper, user),
    }
}

fn micros(time: Duration) -> u64 {
    time.as_micros() as u64
}

/// Returns an event, or the end of a page.
pub(crate) fn of_event(event: &Event) -> ThrongEvent {
    use ThrongEventKind as Kind;
    let new = ThrongEvent::new;
    match event {
        Event::SignedUp => new(Kind::SignedUp),
        Event::CharacterCreated => new(Kind::CharacterCreated),
        Event::Refused { step, outcome } => {
            let scope = match step {
                LoginStep::SignUp => 0,
                LoginStep::CreateCharacter => 1,
                LoginStep::LogIn => 2,
            };
            ThrongEvent { code: *outcome as u32, scope, ..new(Kind::Refused) }
        }
        Event::Queued { position, wait } => {
            ThrongEvent { count: (*position).into(), micros: micros(*wait), ..new(Kind::Queued) }
        }
        Event::TooFast { wait } => ThrongEvent { micros: micros(*wait), ..new(Kind::TooFast) },
        Event::Unreachable { reason } => ThrongEvent { code: *reason as u32, ..new(Kind::Unreachable) },
        Event::Entered { user, head_count } => ThrongEvent {
            user: user.id,
            count: (*head_count).into(),
            name: ThrongText::of(&user.name),
            ..new(Kind::Entered)
        },
        Event::Away { reason } => ThrongEvent { code: *reason as u32, ..new(Kind::Away) },
        Event::Resumed { after } => ThrongEvent { micros: micros(*after), ..new(Kind::Resumed) },
        Event::Left { reason, returns } => {
            ThrongEvent { code: *reason as u32, flag: (*returns).into(), ..new(Kind::Left) }
        }
        Event::Message(message) => of_message(Kind::Message, message),
        Event::History { room, messages, more } => ThrongEvent {
            target: *room,
            count: messages.len() as u64,
            flag: (*more).into(),
            ..new(Kind::History)
        },
        Event::MessageRefused { stamp, outcome, wait } => ThrongEvent {
            code: outcome.map_or(0, |outcome| outcome as u32),
            flag: outcome.is_none().into(),
            stamp: stamp.0,
            micros: micros(*wait),
            ..new(Kind::MessageRefused)
        },
        Event::MessageUncertain { stamp } => ThrongEvent { stamp: stamp.0, ..new(Kind::MessageUncertain) },
        Event::Missed { audience, count } => {
            let (scope, target) = address(*audience);
            ThrongEvent { scope: scope as u32, target, count: *count, ..new(Kind::Missed) }
        }
        Event::UserEntered { room, user } => ThrongEvent {
            target: *room,
            user: user.id,
            name: ThrongText::of(&user.name),
            ..new(Kind::UserEntered)
        },
        Event::UserLeft { room, user } => ThrongEvent {
            target: *room,
            user: user.id,
            name: ThrongText::of(&user.name),
            ..new(Kind::UserLeft)
        },
        Event::Listed { room } => ThrongEvent { target: *room, ..new(Kind::Listed) },
        Event::Joined { channel, name, head_count } => ThrongEvent {
            target: *channel,
            count: (*head_count).into(),
            name: ThrongText::of(name),
            ..new(Kind::Joined)
        },
        Event::JoinRefused { name, outcome } => {
            ThrongEvent { code: *outcome as u32, name: ThrongText::of(name), ..new(Kind::JoinRefused) }
        }
        Event::ChannelLeft { channel, outcome } => {
            ThrongEvent { target: *channel, code: *outcome as u32, ..new(Kind::ChannelLeft) }
        }
        Event::KickAnswered { channel, user, outcome } => {
            ThrongEvent { target: *channel, user: *user, code: *outcome as u32, ..new(Kind::KickAnswered) }
        }
        Event::Channels { channels, more } => {
            ThrongEvent { count: channels.len() as u64, flag: (*more).into(), ..new(Kind::Channels) }
        }
        Event::Pong { round_trip } => ThrongEvent { micros: micros(*round_trip), ..new(Kind::Pong) },
        _ => new(Kind::Other),
    }
}
