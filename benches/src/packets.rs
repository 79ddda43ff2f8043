//! Packets as they occur in a full chat, and the same fields in JSON.

use serde::{Deserialize, Serialize};
use throng_core::limits::LIST_BYTES_MAX;
use throng_core::wire::packets::{self, ChatMessage, Scope, ServerTimes, UserList, UsersChanged};
use throng_core::wire::{List, Packet, Text};

/// A user, in JSON.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct User {
    id: u32,
    name: String,
}

/// [`ChatMessage`] in JSON, field by field.
#[derive(Debug, Serialize, Deserialize)]
pub struct JsonMessage {
    scope: u8,
    target: u32,
    sequence: u64,
    sender: User,
    stamp: u64,
    received_us: u64,
    queued_us: u32,
    handled_us: u32,
    text: String,
}

/// [`UsersChanged`] in JSON.
#[derive(Debug, Serialize, Deserialize)]
pub struct JsonChange {
    channel: u32,
    since: u64,
    version: u64,
    head_count: u32,
    complete: bool,
    entered: Vec<User>,
    left: Vec<u32>,
}

/// [`UserList`] in JSON.
#[derive(Debug, Serialize, Deserialize)]
pub struct JsonPage {
    channel: u32,
    version: u64,
    head_count: u32,
    users: Vec<User>,
    more: bool,
}

/// Names of a usual length, not of the longest that is allowed.
fn users(count: usize) -> Vec<User> {
    (1000..).take(count).map(|id| User { id, name: format!("player-{id:05}") }).collect()
}

fn ours<const MAX: usize>(users: &[User]) -> List<packets::User, MAX> {
    List::take_from(
        &mut users.iter().map(|user| packets::User { id: user.id, name: Text::truncated(&user.name) }),
    )
}

/// Returns a message with `bytes` bytes of text.
pub fn message(bytes: usize) -> (Packet, JsonMessage) {
    let text = "x".repeat(bytes);
    let sender = User { id: 1042, name: "player-01042".to_owned() };
    let stamp = 1_790_000_000_123_456;
    let received_us = 3_600_123_456;
    let packet = ChatMessage {
        scope: Scope::World,
        target: 0,
        sequence: 123_456,
        sender: packets::User { id: sender.id, name: Text::truncated(&sender.name) },
        stamp,
        times: ServerTimes { received_us, queued_us: 120, handled_us: 4 },
        text: Text::truncated(&text),
    };
    let json = JsonMessage {
        scope: 0,
        target: 0,
        sequence: 123_456,
        sender,
        stamp,
        received_us,
        queued_us: 120,
        handled_us: 4,
        text,
    };
    (packet.into(), json)
}

/// Bytes of a user in a list: id, length of the name, and name.
const USER_BYTES: usize = 4 + 2 + "player-01042".len();

/// Returns a full notice; half of its bytes name users that entered.
pub fn change() -> (Packet, JsonChange) {
    let half = LIST_BYTES_MAX / 2;
    let entered = users(half / USER_BYTES);
    let left: Vec<u32> = (5000..).take(half / 4).collect();
    let packet = UsersChanged {
        channel: 0,
        since: 40_000,
        version: 40_640,
        head_count: 9000,
        complete: true,
        entered: ours(&entered),
        left: List::take_from(&mut left.iter().copied()),
    };
    let json = JsonChange {
        channel: 0,
        since: 40_000,
        version: 40_640,
        head_count: 9000,
        complete: true,
        entered,
        left,
    };
    (packet.into(), json)
}

/// Returns a full page of a user list.
pub fn page() -> (Packet, JsonPage) {
    let users = users(LIST_BYTES_MAX / USER_BYTES);
    let packet = UserList { channel: 0, version: 40_640, head_count: 9000, users: ours(&users), more: true };
    let json = JsonPage { channel: 0, version: 40_640, head_count: 9000, users, more: true };
    (packet.into(), json)
}

/// Encodes a packet.
pub fn encoded(packet: &Packet) -> Vec<u8> {
    let mut out = Vec::new();
    packet.encode(&mut out);
    out
}
