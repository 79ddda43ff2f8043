//! `libthrong`: [`throng_client`] for C, and for all that speaks C.
//!
//! Handles are opaque, functions flat, events a queue that is polled. No function lets a panic out.
//! `throng.h` is made from this file.

pub mod event;

use std::collections::BTreeMap;
use std::ffi::{CString, c_char, c_int};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use throng_client::{Client, CloseReason, CommandError, Driver, Event, Outcome, Settings};

use event::{ThrongEvent, ThrongText, audience, of_event, of_item};

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
        // A page has an event for each item, and one more for its end.
        if self.current.as_ref().is_some_and(|event| of_item(event, self.items).is_some()) {
            self.items += 1;
            return true;
        }
        self.items = 0;
        self.current = if wait.is_zero() { self.driver.poll_event() } else { self.driver.wait_event(wait) };
        self.current.is_some()
    }

    fn event(&self) -> Option<ThrongEvent> {
        let event = self.current.as_ref()?;
        Some(of_item(event, self.items).unwrap_or_else(|| of_event(event)))
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

/// Names of a table of core, by their numbers, with a zero at the end.
type Names = LazyLock<BTreeMap<u32, CString>>;

static OUTCOMES: Names = LazyLock::new(|| {
    Outcome::ALL.iter().map(|it| (*it as u32, CString::new(it.name()).unwrap_or_default())).collect()
});

static REASONS: Names = LazyLock::new(|| {
    CloseReason::ALL.iter().map(|it| (*it as u32, CString::new(it.name()).unwrap_or_default())).collect()
});

fn name(names: &'static Names, code: u32) -> *const c_char {
    names.get(&code).map_or(c"Unknown", CString::as_c_str).as_ptr()
}

/// Returns the name of an outcome, a static string as in docs/protocol.md: `BadCredentials`.
#[unsafe(no_mangle)]
pub extern "C" fn throng_outcome_text(code: u32) -> *const c_char {
    name(&OUTCOMES, code)
}

/// Returns the name of the reason of an end, a static string as in docs/protocol.md: `PlaceLost`.
#[unsafe(no_mangle)]
pub extern "C" fn throng_reason_text(code: u32) -> *const c_char {
    name(&REASONS, code)
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
    let Some(audience) = audience(scope, target) else { return ThrongStatus::InvalidArgument };
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

#[cfg(test)]
mod tests {
    use std::ffi::CStr;

    use super::*;

    #[test]
    fn every_outcome_and_reason_has_its_name() {
        // SAFETY: the functions return static strings.
        let text = |text: *const c_char| unsafe { CStr::from_ptr(text) }.to_str().unwrap();
        for outcome in Outcome::ALL {
            assert_eq!(text(throng_outcome_text(*outcome as u32)), outcome.name());
        }
        for reason in CloseReason::ALL {
            assert_eq!(text(throng_reason_text(*reason as u32)), reason.name());
        }
        assert_eq!(text(throng_outcome_text(u32::MAX)), "Unknown");
    }

    #[test]
    fn null_and_nonsense_are_refused() {
        let (none, mut event) = (std::ptr::null_mut(), ThrongEvent::new(event::ThrongEventKind::Other));
        // SAFETY: null is allowed, and the rest is valid.
        unsafe {
            assert_eq!(
                throng_client_new(std::ptr::null(), std::ptr::null_mut()),
                ThrongStatus::InvalidArgument
            );
            assert_eq!(throng_log_out(none), ThrongStatus::InvalidArgument);
            assert_eq!(throng_poll(none, &raw mut event), -1);
            assert_eq!(throng_client_state(none), ThrongState::Out);
            assert_eq!(throng_users(none, 0, std::ptr::null_mut(), 0), 0);
            throng_client_free(none);

            let key = "00".repeat(32);
            let settings = ThrongSettings {
                size: size_of::<ThrongSettings>(),
                server: ThrongText::of("127.0.0.1:1"),
                server_key: ThrongText::of(&key),
                log_in_again: 1,
            };
            let mut client = none;
            assert_eq!(throng_client_new(&raw const settings, &raw mut client), ThrongStatus::Ok);
            assert_eq!(throng_channel_join(client, std::ptr::null(), 3), ThrongStatus::InvalidArgument);
            let latin = b"\xe9";
            let text = latin.as_ptr().cast();
            assert_eq!(throng_channel_join(client, text, 1), ThrongStatus::InvalidArgument);
            let stamp = std::ptr::null_mut();
            assert_eq!(throng_say(client, 9, 0, c"hi".as_ptr(), 2, stamp), ThrongStatus::InvalidArgument);
            assert_eq!(throng_say(client, 0, 0, c"hi".as_ptr(), 2, stamp), ThrongStatus::NotInTheChat);
            event.size = 8;
            assert_eq!(throng_poll(client, &raw mut event), -1);
            throng_client_free(client);
        }
    }
}
