//! `libthrong`: [`throng_client`] for C, and for all that speaks C.
//!
//! Handles are opaque, functions flat, events a queue that is polled. No function lets a panic out.
//! `throng.h` is made from this file.

use std::ffi::{c_char, c_int};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use throng_client::{
    Audience, Client, CloseReason, CommandError, Driver, Event, LoginStep, Message, Outcome, Settings,
};

/// Result of a function.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub enum ThrongStatus {
    /// Done, or under way.
    Ok = 0,
    /// An argument is null, out of range, or not UTF-8; or the key is not 64 hexadecimal digits; or
    /// a structure's size is not of this version.
    InvalidArgument = 1,
    /// The client is not in the chat: log in first.
    NotInTheChat = 2,
    /// The client is in the chat, or on its way there: log out first.
    LoggedIn = 3,
    /// Another request to the login server waits for its answer.
    Busy = 4,
    /// A text is longer than the server takes.
    TooLong = 5,
    /// A text has no characters.
    Empty = 6,
    /// Too many requests wait for the server.
    TooMany = 7,
    /// The system gives no socket, no thread or no randomness.
    System = 8,
    /// A fault of this library. The client is of no use any more: free it.
    Internal = 9,
}

impl From<CommandError> for ThrongStatus {
    fn from(error: CommandError) -> Self {
        match error {
            CommandError::NotInTheChat => Self::NotInTheChat,
            CommandError::LoggedIn => Self::LoggedIn,
            CommandError::Busy => Self::Busy,
            CommandError::TooLong { .. } => Self::TooLong,
            CommandError::Empty => Self::Empty,
            CommandError::TooMany => Self::TooMany,
            CommandError::Connection(_) => Self::System,
        }
    }
}

/// State of a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub enum ThrongState {
    /// Not in the chat.
    Out = 0,
    /// In the chat.
    In = 1,
    /// The connection is lost, and the client tries to resume its place.
    Away = 2,
}

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
    fn of(text: &str) -> Self {
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
    fn new(kind: ThrongEventKind) -> Self {
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

/// Settings of a client.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct ThrongSettings {
    /// Size of this structure.
    pub size: usize,
    /// Address of the login server, `host:port`.
    pub server: ThrongText,
    /// Public key of the login server: 64 hexadecimal digits.
    pub server_key: ThrongText,
    /// 1 to log in again when the place in the chat is lost; 0 not to.
    pub log_in_again: u32,
}

/// A client. Its content is private.
pub struct ThrongClient {
    driver: Driver,
    /// The event that was polled last, whose texts the caller may read.
    current: Option<Event>,
    /// Items of a page that were given out.
    items: usize,
}

impl ThrongClient {
    fn command<T>(
        &self,
        command: impl FnOnce(&mut Client, Instant) -> Result<T, CommandError>,
    ) -> ThrongStatus {
        self.driver.command(command).map_or_else(ThrongStatus::from, |_| ThrongStatus::Ok)
    }

    /// Moves on to the next event or item. False if there is none.
    fn advance(&mut self, wait: Duration) -> bool {
        let items = match &self.current {
            Some(Event::History { messages, .. }) => messages.len(),
            Some(Event::Channels { channels, .. }) => channels.len(),
            _ => 0,
        };
        // A page has an event for each item, and one more for its end.
        if self.items < items {
            self.items += 1;
            return true;
        }
        self.items = 0;
        self.current = if wait.is_zero() { self.driver.poll_event() } else { self.driver.wait_event(wait) };
        self.current.is_some()
    }

    fn event(&self) -> Option<ThrongEvent> {
        let event = self.current.as_ref()?;
        let item = self.items;
        Some(match event {
            Event::History { messages, .. } if item < messages.len() => {
                of_message(ThrongEventKind::PastMessage, &messages[item])
            }
            Event::Channels { channels, .. } if item < channels.len() => {
                let info = &channels[item];
                ThrongEvent {
                    target: info.channel,
                    count: info.head_count.into(),
                    name: ThrongText::of(&info.name),
                    ..ThrongEvent::new(ThrongEventKind::Channel)
                }
            }
            event => of(event),
        })
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
fn of(event: &Event) -> ThrongEvent {
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

/// Runs a function, and turns a panic into a status.
fn guard(function: impl FnOnce() -> ThrongStatus) -> ThrongStatus {
    catch_unwind(AssertUnwindSafe(function)).unwrap_or(ThrongStatus::Internal)
}

/// Returns the text at `data`. None if it is null or not UTF-8.
///
/// # Safety
///
/// `data` is null, or points to `length` bytes that nothing changes during `'a`.
unsafe fn text<'a>(data: *const c_char, length: usize) -> Option<&'a str> {
    if length == 0 {
        return Some("");
    }
    if data.is_null() || length > isize::MAX as usize {
        return None;
    }
    // SAFETY: the pointer is not null, and the caller vouches for the bytes.
    let bytes = unsafe { std::slice::from_raw_parts(data.cast(), length) };
    std::str::from_utf8(bytes).ok()
}

/// Gives a client a command with texts.
///
/// # Safety
///
/// `client` is null or a client; the texts are as [`text`] wants them.
unsafe fn with_texts<T, const N: usize>(
    client: *const ThrongClient,
    texts: [(*const c_char, usize); N],
    command: impl FnOnce(&mut Client, [&str; N], Instant) -> Result<T, CommandError>,
) -> ThrongStatus {
    guard(|| {
        // SAFETY: as the caller vouches for.
        let client = unsafe { client.as_ref() };
        // SAFETY: likewise.
        let texts = texts.map(|(data, length)| unsafe { text(data, length) });
        match client {
            Some(client) if texts.iter().all(Option::is_some) => {
                let texts = texts.map(Option::unwrap_or_default);
                client.command(|client, now| command(client, texts, now))
            }
            _ => ThrongStatus::InvalidArgument,
        }
    })
}

/// Returns the version of the interface: major << 16 | minor << 8 | patch. A program works with
/// each library of the same major version that is not older.
#[unsafe(no_mangle)]
pub extern "C" fn throng_version() -> u32 {
    let part = |text: &str| text.parse().unwrap_or(0_u32);
    let (major, minor) = (env!("CARGO_PKG_VERSION_MAJOR"), env!("CARGO_PKG_VERSION_MINOR"));
    part(major) << 16 | part(minor) << 8 | part(env!("CARGO_PKG_VERSION_PATCH"))
}

/// Returns a sentence about a status, a static string. Any number may be passed.
#[unsafe(no_mangle)]
pub extern "C" fn throng_status_text(status: u32) -> *const c_char {
    let text = match status {
        0 => c"done",
        1 => c"an argument is null, out of range or not UTF-8",
        2 => c"not in the chat: log in first",
        3 => c"logged in already: log out first",
        4 => c"another request waits for its answer",
        5 => c"the text is too long",
        6 => c"the text is empty",
        7 => c"the server does not answer: too many requests wait",
        8 => c"the system gives no socket, no thread or no randomness",
        9 => c"a fault of libthrong",
        _ => c"unknown status",
    };
    text.as_ptr()
}

/// Names with a zero at the end.
macro_rules! names {
    ($value:expr, $kind:ident: $($variant:ident)*) => {
        match $value {
            $( code if code == $kind::$variant as u32 => {
                concat!(stringify!($variant), "\0").as_ptr().cast()
            } )*
            _ => c"Unknown".as_ptr(),
        }
    };
}

/// Returns the name of an outcome, a static string as in docs/protocol.md: `BadCredentials`.
#[unsafe(no_mangle)]
pub extern "C" fn throng_outcome_text(code: u32) -> *const c_char {
    names!(code, Outcome: Ok BadCredentials AlreadyOnline NoCharacter TryAgainLater IdTaken IdInvalid
        IdTooLong PasswordInvalid PasswordTooLong NameTaken NameInvalid NameTooLong CharacterExists
        ClaimLost InternalError NoSuchChannel NotAMember TooManyChannels NoSuchUser NotTheOwner
        NoPosition Kicked TextInvalid NameReserved NoTime)
}

/// Returns the name of the reason of an end, a static string as in docs/protocol.md: `PlaceLost`.
#[unsafe(no_mangle)]
pub extern "C" fn throng_reason_text(code: u32) -> *const c_char {
    names!(code, CloseReason: Goodbye ServerFull VersionMismatch HandshakeTimeout HandshakeFailed
        FirstPacketTimeout IdleTimeout FrameTooLong UnexpectedFrame SealBroken MalformedPacket
        PacketNotAllowed TicketInvalid TicketExpired TicketUsed AlreadyRegistered AlreadyOnline
        LoggedInElsewhere TooSlow ServerShutdown HandedOver WrongPeer InternalError LoginTimeout
        TooFast TooManyConnections PlaceLost ResumedElsewhere ConnectFailed PeerClosed ConnectionLost)
}

/// Makes a client and its thread. It connects to nothing before it is asked to. Free it with
/// throng_client_free. `*client` is null unless the status is Ok.
///
/// # Safety
///
/// `settings` and `client` are null or valid; so are the texts of `settings`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn throng_client_new(
    settings: *const ThrongSettings,
    client: *mut *mut ThrongClient,
) -> ThrongStatus {
    guard(|| {
        // SAFETY: as the caller vouches for.
        let (Some(settings), Some(client)) = (unsafe { settings.as_ref() }, unsafe { client.as_mut() })
        else {
            return ThrongStatus::InvalidArgument;
        };
        *client = std::ptr::null_mut();
        if settings.size < size_of::<ThrongSettings>() {
            return ThrongStatus::InvalidArgument;
        }
        let ThrongSettings { server, server_key, log_in_again, .. } = *settings;
        // SAFETY: likewise.
        let texts = [server, server_key].map(|it| unsafe { text(it.data, it.length) });
        let [Some(server), Some(key)] = texts else { return ThrongStatus::InvalidArgument };
        let Some(settings) = Settings::with_key_text(server, key) else {
            return ThrongStatus::InvalidArgument;
        };
        match Driver::start(Settings { log_in_again: log_in_again != 0, ..settings }) {
            Ok(driver) => {
                *client = Box::into_raw(Box::new(ThrongClient { driver, current: None, items: 0 }));
                ThrongStatus::Ok
            }
            Err(_) => ThrongStatus::System,
        }
    })
}

/// Leaves the chat and frees a client. Takes half a second at most. Null is allowed.
///
/// # Safety
///
/// `client` is null or a client, and is not used afterwards.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn throng_client_free(client: *mut ThrongClient) {
    guard(|| {
        if !client.is_null() {
            // SAFETY: it comes from `Box::into_raw`, and the caller uses it no more.
            drop(unsafe { Box::from_raw(client) });
        }
        ThrongStatus::Ok
    });
}

/// Creates an account. Answered by SignedUp, Refused, TooFast or Unreachable.
///
/// # Safety
///
/// `client` and the texts are null or valid.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn throng_sign_up(
    client: *const ThrongClient,
    id: *const c_char,
    id_length: usize,
    password: *const c_char,
    password_length: usize,
) -> ThrongStatus {
    let texts = [(id, id_length), (password, password_length)];
    // SAFETY: as the caller vouches for.
    unsafe { with_texts(client, texts, |client, [id, password], now| client.sign_up(id, password, now)) }
}

/// Creates the character of an account. Answered by CharacterCreated, Refused, TooFast or
/// Unreachable.
///
/// # Safety
///
/// `client` and the texts are null or valid.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn throng_create_character(
    client: *const ThrongClient,
    id: *const c_char,
    id_length: usize,
    password: *const c_char,
    password_length: usize,
    name: *const c_char,
    name_length: usize,
) -> ThrongStatus {
    let texts = [(id, id_length), (password, password_length), (name, name_length)];
    // SAFETY: as the caller vouches for.
    unsafe {
        with_texts(client, texts, |client, [id, password, name], now| {
            client.create_character(id, password, name, now)
        })
    }
}

/// Logs in and enters the chat. Answered by Entered, Refused, TooFast or Unreachable.
///
/// # Safety
///
/// `client` and the texts are null or valid.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn throng_log_in(
    client: *const ThrongClient,
    id: *const c_char,
    id_length: usize,
    password: *const c_char,
    password_length: usize,
) -> ThrongStatus {
    let texts = [(id, id_length), (password, password_length)];
    // SAFETY: as the caller vouches for.
    unsafe { with_texts(client, texts, |client, [id, password], now| client.log_in(id, password, now)) }
}

/// Leaves the chat, or gives up on the way there. Nothing is tried again.
///
/// # Safety
///
/// `client` is null or valid.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn throng_log_out(client: *const ThrongClient) -> ThrongStatus {
    // SAFETY: as the caller vouches for.
    unsafe {
        with_texts(client, [], |client, [], now| {
            client.log_out(now);
            Ok(())
        })
    }
}

/// Returns the state of a client; Out for null.
///
/// # Safety
///
/// `client` is null or valid.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn throng_client_state(client: *const ThrongClient) -> ThrongState {
    let mut state = ThrongState::Out;
    guard(|| {
        // SAFETY: as the caller vouches for.
        if let Some(client) = unsafe { client.as_ref() } {
            state = client.driver.command(|client, _| match client.user() {
                None => ThrongState::Out,
                Some(_) if client.is_away() => ThrongState::Away,
                Some(_) => ThrongState::In,
            });
        }
        ThrongStatus::Ok
    });
    state
}

/// Sends a message; while the client is away, once it is back. `scope` is a throng_scope. Writes
/// the number of the message to `stamp` unless that is null: its Message or MessageRefused has it
/// too.
///
/// # Safety
///
/// `client`, `text` and `stamp` are null or valid.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn throng_say(
    client: *const ThrongClient,
    scope: u32,
    target: u32,
    text: *const c_char,
    text_length: usize,
    stamp: *mut u64,
) -> ThrongStatus {
    let audience = match scope {
        0 => Audience::World,
        1 => Audience::Channel(target),
        2 => Audience::Nearby,
        3 => Audience::Whisper(target),
        _ => return ThrongStatus::InvalidArgument,
    };
    let mut given = 0;
    // SAFETY: as the caller vouches for.
    let status = unsafe {
        with_texts(client, [(text, text_length)], |client, [text], now| {
            client.say(audience, text, now).map(|stamp| given = stamp.0)
        })
    };
    // SAFETY: likewise.
    if let Some(stamp) = unsafe { stamp.as_mut() } {
        *stamp = given;
    }
    status
}

/// Creates a channel and joins it. Answered by Joined, JoinRefused or TooFast.
///
/// # Safety
///
/// `client` and `name` are null or valid.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn throng_channel_create(
    client: *const ThrongClient,
    name: *const c_char,
    name_length: usize,
) -> ThrongStatus {
    // SAFETY: as the caller vouches for.
    unsafe {
        with_texts(client, [(name, name_length)], |client, [name], now| client.create_channel(name, now))
    }
}

/// Joins a channel. Answered by Joined, JoinRefused or TooFast.
///
/// # Safety
///
/// `client` and `name` are null or valid.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn throng_channel_join(
    client: *const ThrongClient,
    name: *const c_char,
    name_length: usize,
) -> ThrongStatus {
    // SAFETY: as the caller vouches for.
    unsafe { with_texts(client, [(name, name_length)], |client, [name], now| client.join_channel(name, now)) }
}

/// Leaves a channel. Answered by ChannelLeft or TooFast.
///
/// # Safety
///
/// `client` is null or valid.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn throng_channel_leave(client: *const ThrongClient, channel: u32) -> ThrongStatus {
    // SAFETY: as the caller vouches for.
    unsafe { with_texts(client, [], |client, [], now| client.leave_channel(channel, now)) }
}

/// Kicks a user from a channel that the client owns. Answered by KickAnswered or TooFast.
///
/// # Safety
///
/// `client` is null or valid.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn throng_channel_kick(
    client: *const ThrongClient,
    channel: u32,
    user: u32,
) -> ThrongStatus {
    // SAFETY: as the caller vouches for.
    unsafe { with_texts(client, [], |client, [], now| client.kick(channel, user, now)) }
}

/// Requests the channels after a number; 0 for the first ones. Answered by a Channel for each, and
/// Channels.
///
/// # Safety
///
/// `client` is null or valid.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn throng_channel_list(client: *const ThrongClient, after: u32) -> ThrongStatus {
    // SAFETY: as the caller vouches for.
    unsafe { with_texts(client, [], |client, [], now| client.list_channels(after, now)) }
}

/// Requests at most `count` messages of a room (a channel, or 0 for the world) with numbers below
/// `before`, or the latest ones with 0. Answered by a PastMessage for each, and History.
///
/// # Safety
///
/// `client` is null or valid.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn throng_history(
    client: *const ThrongClient,
    room: u32,
    before: u64,
    count: u8,
) -> ThrongStatus {
    // SAFETY: as the caller vouches for.
    unsafe { with_texts(client, [], |client, [], now| client.request_history(room, before, count, now)) }
}

/// Sets the position, in the game's own units. Not answered.
///
/// # Safety
///
/// `client` is null or valid.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn throng_move(client: *const ThrongClient, x: i32, y: i32) -> ThrongStatus {
    // SAFETY: as the caller vouches for.
    unsafe { with_texts(client, [], |client, [], now| client.move_to(x, y, now)) }
}

/// Measures the round trip. Answered by Pong.
///
/// # Safety
///
/// `client` is null or valid.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn throng_ping(client: *const ThrongClient) -> ThrongStatus {
    // SAFETY: as the caller vouches for.
    unsafe { with_texts(client, [], |client, [], now| client.ping(now)) }
}

/// Checks the connection at once: for a system that tells of another network, or wakes up.
///
/// # Safety
///
/// `client` is null or valid.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn throng_probe(client: *const ThrongClient) -> ThrongStatus {
    // SAFETY: as the caller vouches for.
    unsafe {
        with_texts(client, [], |client, [], now| {
            client.probe(now);
            Ok(())
        })
    }
}

/// Takes the next event. Returns 1 and fills `event` if there is one, 0 if there is none, and -1
/// if an argument is null or `event->size` is too small. The texts are valid until the next
/// throng_poll or throng_wait of the client, or until it is freed.
///
/// # Safety
///
/// `client` and `event` are null or valid.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn throng_poll(client: *mut ThrongClient, event: *mut ThrongEvent) -> c_int {
    // SAFETY: as the caller vouches for.
    unsafe { take(client, event, Duration::ZERO) }
}

/// As throng_poll, but waits for an event, at most for so many milliseconds.
///
/// # Safety
///
/// `client` and `event` are null or valid.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn throng_wait(
    client: *mut ThrongClient,
    milliseconds: u32,
    event: *mut ThrongEvent,
) -> c_int {
    // SAFETY: as the caller vouches for.
    unsafe { take(client, event, Duration::from_millis(milliseconds.into())) }
}

/// # Safety
///
/// `client` and `event` are null or valid.
unsafe fn take(client: *mut ThrongClient, event: *mut ThrongEvent, wait: Duration) -> c_int {
    let mut found = 0;
    let status = guard(|| {
        // SAFETY: as the caller vouches for.
        let Some(client) = (unsafe { client.as_mut() }) else { return ThrongStatus::InvalidArgument };
        // SAFETY: likewise. There is no reference: only the size is initialized for sure.
        if event.is_null() || unsafe { (&raw const (*event).size).read() } < size_of::<ThrongEvent>() {
            return ThrongStatus::InvalidArgument;
        }
        if client.advance(wait)
            && let Some(next) = client.event()
        {
            // SAFETY: there is space for an event of this version.
            unsafe { event.write(next) };
            found = 1;
        }
        ThrongStatus::Ok
    });
    if status == ThrongStatus::Ok { found } else { -1 }
}

/// Writes the ids of a room's users (a channel, or 0 for the world), by ascending id, at most
/// `capacity` of them. Returns how many users there are; 0 if the client is not in the room.
///
/// # Safety
///
/// `client` is null or valid; `ids` is null, or has space for `capacity` numbers.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn throng_users(
    client: *const ThrongClient,
    room: u32,
    ids: *mut u32,
    capacity: usize,
) -> usize {
    let mut count = 0;
    guard(|| {
        // SAFETY: as the caller vouches for.
        let Some(client) = (unsafe { client.as_ref() }) else { return ThrongStatus::InvalidArgument };
        client.driver.command(|client, _| {
            let Some(roster) = client.roster(room) else { return };
            count = roster.len();
            if !ids.is_null() {
                for (at, (id, _)) in roster.iter().take(capacity).enumerate() {
                    // SAFETY: `at` is below `capacity`.
                    unsafe { ids.add(at).write(id) };
                }
            }
        });
        ThrongStatus::Ok
    });
    count
}

/// Copies the name of a user of a room: at most `capacity` bytes. Returns its length in bytes; 0 if
/// there is no such user. A name that does not fit is not copied. 96 bytes always do.
///
/// # Safety
///
/// `client` is null or valid; `name` is null, or has space for `capacity` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn throng_user_name(
    client: *const ThrongClient,
    room: u32,
    user: u32,
    name: *mut c_char,
    capacity: usize,
) -> usize {
    let mut length = 0;
    guard(|| {
        // SAFETY: as the caller vouches for.
        let Some(client) = (unsafe { client.as_ref() }) else { return ThrongStatus::InvalidArgument };
        client.driver.command(|client, _| {
            let Some(found) = client.roster(room).and_then(|roster| roster.name(user)) else { return };
            length = found.len();
            if !name.is_null() && length <= capacity {
                // SAFETY: `length` bytes fit, and the two do not overlap.
                unsafe { name.cast::<u8>().copy_from_nonoverlapping(found.as_ptr(), length) };
            }
        });
        ThrongStatus::Ok
    });
    length
}
