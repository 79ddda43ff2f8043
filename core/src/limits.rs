//! Every bound in one place, and how the bounds relate.
//!
//! A queue, table, buffer or loop that is not bounded here, or by a
//! configuration key whose range refers to here, is a bug.

use std::time::Duration;

/// Bytes before every frame's body: length (u16) and kind (u8).
pub const FRAME_HEADER: usize = 3;

/// Bytes that AES-GCM adds to a sealed body.
pub const SEAL_TAG: usize = 16;

/// Bytes of a room-sealed frame's body before what is sealed: key number (u32), frame number (u64) and
/// fan-out time (u32).
pub const ROOM_HEADER: usize = 16;

/// Longest frame body, in bytes, before the handshake is done. Enough for a
/// Noise message with its preface; a stranger gets no more of our memory.
pub const HANDSHAKE_BODY_MAX: usize = 256;

/// Longest frame body, in bytes, that a server takes from a client.
pub const CLIENT_BODY_MAX: usize = 4 * 1024;

/// Longest frame body, in bytes, that a client takes from a server, and that
/// two servers take from each other.
pub const SERVER_BODY_MAX: usize = 16 * 1024;

/// Bytes that one read may bring in, and so the most that a stalled session
/// can hold back.
pub const READ_CHUNK: usize = 64 * 1024;

/// Reads from one session before the loop looks at the others again.
pub const READS_PER_TURN: usize = 4;

/// Time for which a loop reads from open sessions, and then from the others, before it writes; what is being read then is finished. However
/// small and many the frames are that some send, the rest must not wait for all of them.
pub const READING: Duration = Duration::from_millis(1);

/// Sessions that are not open yet, or no more, read before the loop looks at the others again. A handshake takes 150 us: a
/// crowd at the door must not hold up those who are in, who get as much time after it (see [`SWEEP_SLICE`]).
pub const HANDSHAKES_PER_TURN: usize = 16;

/// Mail taken from a shard's mailbox before it looks at its sockets again.
pub const MAIL_PER_TURN: usize = 256;

/// The same, while more is queued for sessions than goes out in a turn.
pub const MAIL_PER_FULL_TURN: usize = 16;

/// Jobs that a content thread runs under one lock of its role.
pub const JOBS_PER_TURN: usize = 64;

/// Readiness events taken from the kernel in one call.
pub const EVENTS_PER_POLL: usize = 1024;

/// Connections that one pass of the acceptor takes before it delivers them.
pub const ACCEPTS_PER_TURN: usize = 64;

/// Connection slots, beyond the configured sessions, kept to say "server full".
pub const REFUSAL_SLOTS: usize = 64;

/// Most sessions one shard can address: slots are 24 bits of a [`crate::SessionId`].
pub const SESSIONS_PER_SHARD_MAX: usize = 1 << 24;

/// Most shards one role can have: 8 bits of a [`crate::SessionId`], less one value kept free.
pub const SHARDS_MAX: usize = 64;

/// Sealed frames in one direction after which both sides replace its key.
/// AES-GCM with counter nonces is safe for far more (RFC 9001, section 6.6
/// allows 2^23 full-size packets); rekeying sooner costs nothing.
pub const REKEY_INTERVAL: u64 = 1 << 20;

/// Frames sealed with one room key, at most, as for [`REKEY_INTERVAL`].
pub const ROOM_KEY_FRAMES: u64 = 1 << 20;

/// Room keys that a client keeps, one for each room that it can be in.
pub const ROOM_KEYS_PER_SESSION: usize = CHANNELS_PER_USER_MAX + 1;

/// Bytes that may wait in a client's own write buffer, beyond which it gets no more messages, and beyond half of which no notices: the rest is
/// for its answers. Large rooms have logs for what waits.
pub const OUTBOX_CHAT_MAX: usize = 32 * 1024;

/// Bytes of one segment of a room log.
pub const SEGMENT_BYTES: usize = 64 * 1024;

/// Members written to in one slice of the sweep, before the loop looks at its sockets and its mail again. More, if the rest of
/// the turn took longer than they: members of rooms have half of a busy loop's time.
pub const SWEEP_SLICE: usize = 32;

/// Sessions that one command sends the same packet to.
pub const MULTICAST_SLICE: usize = 256;

/// Sessions with something of their own to be written, served in one turn of the loop.
pub const FLUSHES_PER_TURN: usize = 64;

/// Sessions with something of their own to be written, beyond which a shard takes only [`MAIL_PER_FULL_TURN`] items of mail.
pub const UNFLUSHED_MAX: usize = 256;

/// Pieces of one vectored write. What does not fit follows in another.
pub const WRITE_PIECES: usize = 16;

/// Write buffers that a shard keeps for reuse.
pub const SPARE_BUFFERS: usize = 128;

/// Largest write buffer, in bytes, that is kept and not freed.
pub const SPARE_BUFFER_BYTES: usize = 4 * 1024;

/// Frames sealed for mail before a shard looks at its sockets again.
pub const SENDS_PER_TURN: usize = 64 * 1024;

/// Account ids: longest in bytes on the wire. Longer than [`ID_CHARS_MAX`]
/// allows, so that too long an id gets an answer and not a closed connection.
pub const ID_WIRE_MAX: usize = 255;
/// Account ids: fewest characters (Unicode scalar values).
pub const ID_CHARS_MIN: usize = 3;
/// Account ids: most characters (Unicode scalar values).
pub const ID_CHARS_MAX: usize = 32;

/// Passwords: longest in bytes on the wire.
pub const PASSWORD_WIRE_MAX: usize = 512;
/// Passwords: fewest characters (Unicode scalar values).
pub const PASSWORD_CHARS_MIN: usize = 8;
/// Passwords: most bytes of UTF-8 that are accepted.
pub const PASSWORD_BYTES_MAX: usize = 256;

/// Memory of one password hash: most KiB, also of hashes that the database brings.
pub const ARGON2_KIB_MAX: u32 = 1 << 20;
/// Passes of one password hash over its memory: most.
pub const ARGON2_ITERATIONS_MAX: u32 = 100;

/// Releases, lists and renewals that may wait for DB threads, in each of their lanes.
pub const DB_CONTROL_QUEUE: usize = 16 * 1024;

/// Character names: longest in bytes on the wire when a client asks for one.
pub const NAME_WIRE_MAX: usize = 255;
/// Character names: fewest characters (Unicode scalar values).
pub const NAME_CHARS_MIN: usize = 2;
/// Character names: most characters (Unicode scalar values).
pub const NAME_CHARS_MAX: usize = 24;
/// Character names: most bytes of UTF-8, four a character.
pub const NAME_BYTES_MAX: usize = 4 * NAME_CHARS_MAX;

/// Longest chat text in bytes of UTF-8.
pub const CHAT_TEXT_MAX: usize = 1024;

/// Users in one page of the user list, at most. As many are in it as fit [`LIST_BYTES_MAX`].
pub const USER_PAGE: usize = 1024;

/// Bytes of the lists in one page or notice. With long names that is 160 users, with usual ones 700.
pub const LIST_BYTES_MAX: usize = SERVER_BODY_MAX - 64 - ROOM_HEADER - SEAL_TAG;

/// Users that one notice names as having entered, at most; together with those who left they fit [`LIST_BYTES_MAX`].
pub const ENTERED_MAX: usize = 1024;
/// Users that one notice names as having left, at most.
pub const LEFT_MAX: usize = 2048;

/// Channel names: longest in bytes on the wire when a client asks for one.
pub const CHANNEL_WIRE_MAX: usize = 255;
/// Channel names: fewest characters (Unicode scalar values).
pub const CHANNEL_CHARS_MIN: usize = 2;
/// Channel names: most characters (Unicode scalar values).
pub const CHANNEL_CHARS_MAX: usize = 32;
/// Channel names: most bytes of UTF-8, four a character.
pub const CHANNEL_BYTES_MAX: usize = 4 * CHANNEL_CHARS_MAX;
/// Channels in one page of the list of channels.
pub const CHANNEL_PAGE: usize = 64;
/// Most channels that one chat server may be configured for.
pub const CHANNELS_MAX: usize = 1 << 20;
/// Most channels that one user may be allowed to be in at a time.
pub const CHANNELS_PER_USER_MAX: usize = 256;

/// Longest side of a sector that may be configured, in the game's units.
pub const SECTOR_SIZE_MAX: u32 = 1 << 30;

/// Claims in one page of a holder's list ([`crate::wire::packets::DbHeldClaims`]).
pub const CLAIM_PAGE: usize = 512;

/// Longest sealed ticket in bytes.
pub const TICKET_MAX: usize = 256;

/// Tickets a chat server remembers as used until they expire.
pub const USED_TICKETS_MAX: usize = 1 << 20;

/// Requests that may wait for an answer over one server link.
pub const PENDING_REQUESTS_MAX: usize = 16 * 1024;

/// Links to other servers, in and out, of one process.
pub const LINKS_MAX: usize = 64;

/// Most sessions one role may be configured for.
pub const SESSIONS_MAX: usize = 1_000_000;

/// Most threads of one kind (content, database) in one process.
pub const THREADS_MAX: usize = 64;

/// Longest queue (mailbox, lane, database requests) that may be configured, in entries.
pub const QUEUE_MAX: usize = 1 << 20;

/// Log lines that wait for the log thread; more are dropped and counted.
pub const LOG_QUEUE: usize = 8192;

/// Log lines kept in memory for a crash report.
pub const LOG_RECENT: usize = 200;

/// Bytes kept of each of those lines.
pub const LOG_RECENT_LINE_MAX: usize = 1024;

/// Crash reports that one process writes; further panics are only logged.
pub const CRASH_REPORTS_MAX: usize = 16;

/// Crash reports that stay in the directory when a process starts, the youngest.
pub const CRASH_REPORTS_KEPT: usize = 64;

/// Connections to the admin HTTP server at one time.
pub const ADMIN_CONNECTIONS_MAX: usize = 32;

/// Longest body that the admin HTTP server takes, in bytes.
pub const ADMIN_BODY_MAX: usize = 4 * 1024;

const _: () = {
    assert!(SESSIONS_MAX + LINKS_MAX + REFUSAL_SLOTS <= SESSIONS_PER_SHARD_MAX);
    assert!(SERVER_BODY_MAX <= u16::MAX as usize);
    assert!(HANDSHAKE_BODY_MAX <= CLIENT_BODY_MAX && CLIENT_BODY_MAX <= SERVER_BODY_MAX);
    assert!(READ_CHUNK >= 2 * (FRAME_HEADER + SERVER_BODY_MAX));
    // A user is an id (4), a length (2) and a name. A page has 24 bytes of its own, a notice 36.
    assert!(4 + 2 + NAME_BYTES_MAX <= LIST_BYTES_MAX);
    assert!(CHANNEL_PAGE * (8 + 2 + CHANNEL_BYTES_MAX) + 16 + SEAL_TAG <= SERVER_BODY_MAX);
    assert!(CHANNEL_BYTES_MAX <= CHANNEL_WIRE_MAX);
    assert!(CLAIM_PAGE * 16 + 16 + SEAL_TAG <= SERVER_BODY_MAX);
    assert!(ID_CHARS_MAX * 4 <= ID_WIRE_MAX && NAME_BYTES_MAX <= NAME_WIRE_MAX);
    assert!(PASSWORD_BYTES_MAX <= PASSWORD_WIRE_MAX);
    assert!(ID_WIRE_MAX + PASSWORD_WIRE_MAX + NAME_WIRE_MAX + 64 <= CLIENT_BODY_MAX);
    assert!(CHAT_TEXT_MAX + NAME_BYTES_MAX + 128 <= CLIENT_BODY_MAX);
    assert!(TICKET_MAX + 64 <= CLIENT_BODY_MAX);
    assert!(FRAME_HEADER + SERVER_BODY_MAX <= SEGMENT_BYTES);
    assert!(SHARDS_MAX < u8::MAX as usize);
};
