//! Bounds of all queues, tables, buffers and loops, and asserts of how they relate.
//!
//! A queue, table, buffer or loop without a bound here, or in a configuration key whose range is
//! based on a constant here, is a bug.

use std::time::Duration;

/// Bytes of a frame's header: length (u16) and kind (u8).
pub const FRAME_HEADER: usize = 3;

/// Bytes that AES-GCM adds to a sealed body.
pub const SEAL_TAG: usize = 16;

/// Bytes before the sealed part of the body of a frame that a room's key seals: key number (u32),
/// frame number (u64) and fan-out time (u32).
pub const ROOM_HEADER: usize = 16;

/// Bytes at the front of a room's frame that are authenticated: frame header, key, number.
pub const ROOM_AUTHENTICATED: usize = FRAME_HEADER + 12;

/// Position of the sealed packet in a room's frame.
pub const ROOM_SEALED: usize = FRAME_HEADER + ROOM_HEADER;

/// Longest frame body before the end of the handshake, in bytes. Fits a Noise message with its
/// preface, and bounds the memory that an unauthenticated peer can use.
pub const HANDSHAKE_BODY_MAX: usize = 256;

/// Longest frame body that a server accepts from a client, in bytes.
pub const CLIENT_BODY_MAX: usize = 4 * 1024;

/// Longest frame body that a client or another server accepts from a server, in bytes.
pub const SERVER_BODY_MAX: usize = 16 * 1024;

/// Most bytes of one read, and so the most that a stalled session can hold back.
pub const READ_CHUNK: usize = 64 * 1024;

/// Most reads from one session in a turn of the loop. A client of a server is read once.
pub const READS_PER_TURN: usize = 4;

/// Read budget of a turn for open sessions. A read in progress is completed. Bounds the time for
/// which a flood of small frames can delay writes.
pub const READ_BUDGET: Duration = Duration::from_millis(1);

/// Read budget of a turn for handshaking and closing sessions. A handshake takes 60 to 120 us, so
/// that a burst of them delays each turn by three to five. The sweep then gets as much time (see
/// [`SWEEP_SLICE`]).
pub const HANDSHAKE_BUDGET: Duration = Duration::from_micros(300);

/// Most items of mail that a shard takes in a turn.
pub const MAIL_PER_TURN: usize = 256;

/// Most items of mail that a shard takes in a turn while more is queued for its sessions than a
/// turn writes (see [`SENDS_PER_TURN`] and [`UNFLUSHED_MAX`]).
pub const MAIL_PER_FULL_TURN: usize = 16;

/// Units of work of one client that are under way at a time, from its packets to the last write
/// that they cause. A packet takes one, and larger or dearer ones more.
pub const WINDOW_UNITS: u32 = 8;

/// Bytes of a chat text for which a message takes a further unit of its sender's window.
pub const WINDOW_TEXT_BYTES: usize = 256;

/// Units that a request for a list or a history takes of the window, for each page: a page has up
/// to 16 KiB.
pub const WINDOW_PAGE_UNITS: u32 = 4;

/// Most bytes of one read from a client of a server. A read is handled as a whole, so this bounds
/// the time that one client's small packets can take from the others.
pub const CLIENT_READ_CHUNK: usize = 2 * (FRAME_HEADER + CLIENT_BODY_MAX);

/// Most commands that wait for one shard beyond its mailbox before the content threads wait.
pub const SPILL_MAX: usize = 64 * 1024;

/// Addresses of clients that are kept without a connection, for the rate of their new ones.
pub const ADDRESSES_KEPT: usize = 16 * 1024;

/// Accounts or addresses that are kept for each of their rates ([`crate::bucket::Buckets`]).
pub const BUCKETS_KEPT: usize = 64 * 1024;

/// Most accepted sockets that wait for one shard.
pub const ADOPT_QUEUE: usize = 1024;

/// Most accepted sockets that a shard adopts in a turn.
pub const ADOPTS_PER_TURN: usize = 64;

/// Most jobs that a content thread runs before it releases the lock of its role.
pub const JOBS_PER_TURN: usize = 64;

/// Most jobs that a shard queues for a content thread before it wakes the thread within a turn.
pub const JOBS_PER_WAKE: usize = 16;

/// Most readiness events taken from the kernel in one call.
pub const EVENTS_PER_POLL: usize = 1024;

/// Most connections that the acceptor takes from one listener before it wakes the shards.
pub const ACCEPTS_PER_TURN: usize = 64;

/// Session slots beyond the configured ones, for peers that are told that the server is full.
pub const REFUSAL_SLOTS: usize = 64;

/// Most sessions of one shard: a slot has 24 bits of a [`crate::SessionId`].
pub const SESSIONS_PER_SHARD_MAX: usize = 1 << 24;

/// Most shards of one role. Each shard has a bit among the producers that
/// [`JobQueue::take_registered`](crate::queue::JobQueue::take_registered) returns.
pub const SHARDS_MAX: usize = 64;

/// Sealed frames of one direction after which both sides replace its key. AES-GCM with counter
/// nonces is safe for far more (RFC 9001, section 6.6, allows 2^23 full-size packets), but rekeying
/// costs nothing.
pub const REKEY_INTERVAL: u64 = 1 << 20;

/// Most frames sealed with one room key, for the reason of [`REKEY_INTERVAL`].
pub const ROOM_KEY_FRAMES: u64 = 1 << 20;

/// Most room keys that a client keeps: one for each room that it can be in. Those are the world,
/// channels, and the rooms of nine sectors.
pub const ROOM_KEYS_PER_SESSION: usize = 1 + CHANNELS_PER_USER_MAX + 9;

/// Bytes in a client's outbox beyond which no more messages are queued there, and beyond half of
/// which no notices. The rest of the outbox is for answers. Messages of large rooms wait in logs
/// instead.
pub const OUTBOX_CHAT_MAX: usize = 32 * 1024;

/// Bytes of one sender's whispers and nearby messages in the outbox of a slow recipient beyond
/// which the recipient misses more of them. Other senders' still wait there.
pub const SENDER_SHARE: usize = 4 * 1024;

/// Bytes that the system may hold for a client's socket and has not sent yet. What waits beyond it
/// waits with us, where each sender has a share, and where a newer key or a gap can take its place.
pub const UNSENT_MAX: u32 = 8 * 1024;

/// Bytes of one segment of a room log.
pub const SEGMENT_BYTES: usize = 64 * 1024;

/// Members written to in one slice of the sweep. A turn writes at least one slice, and further ones
/// for as long as the rest of the turn took, so that rooms get half of a busy loop's time.
pub const SWEEP_SLICE: usize = 32;

/// Most sessions to which one command sends a packet.
pub const MULTICAST_SLICE: usize = 256;

/// Most sessions with frames of their own that are written to in a turn, outside of the sweep.
pub const FLUSHES_PER_TURN: usize = 64;

/// Sessions with frames of their own to write beyond which a shard takes only
/// [`MAIL_PER_FULL_TURN`] items of mail.
pub const UNFLUSHED_MAX: usize = 256;

/// Most pieces of one vectored write. Further pieces follow in another write.
pub const WRITE_PIECES: usize = 16;

/// Most write buffers that a shard keeps for reuse.
pub const SPARE_BUFFERS: usize = 128;

/// Largest write buffer that is kept for reuse, in bytes; larger ones are freed.
pub const SPARE_BUFFER_BYTES: usize = 4 * 1024;

/// Frames sealed in a turn beyond which a shard takes only [`MAIL_PER_FULL_TURN`] items of mail.
pub const SENDS_PER_TURN: usize = 64 * 1024;

/// Account ids: most bytes on the wire. More than [`ID_CHARS_MAX`] characters need, so that an id
/// that is too long gets an answer and not a closed connection.
pub const ID_WIRE_MAX: usize = 255;
/// Account ids: fewest characters (Unicode scalar values).
pub const ID_CHARS_MIN: usize = 3;
/// Account ids: most characters (Unicode scalar values).
pub const ID_CHARS_MAX: usize = 32;

/// Passwords: most bytes on the wire. Three times [`PASSWORD_BYTES_MAX`] and more, because a
/// password may come decomposed and is measured composed.
pub const PASSWORD_WIRE_MAX: usize = 1024;
/// Passwords: fewest characters (Unicode scalar values), in the form that is hashed.
pub const PASSWORD_CHARS_MIN: usize = 8;
/// Passwords: most bytes of UTF-8 that are accepted, in the form that is hashed.
pub const PASSWORD_BYTES_MAX: usize = 256;

/// Most names that may be reserved.
pub const RESERVED_NAMES_MAX: usize = 1024;

/// Password hashes: most memory, in KiB, also for hashes read from the database.
pub const ARGON2_KIB_MAX: u32 = 1 << 20;
/// Password hashes: most passes over the memory.
pub const ARGON2_ITERATIONS_MAX: u32 = 100;

/// Most costs of password hashes that are in use at one time. Every check of a password pays each
/// of them, so that its time does not tell whose cost it is.
pub const PASSWORD_COSTS_MAX: usize = 8;

/// Most releases, lists and renewals that wait for DB threads, in each lane.
pub const DB_CONTROL_QUEUE: usize = 16 * 1024;

/// DB threads of an agent that may be replaced at one time because they hang in their driver; each
/// keeps memory for the hash of a password. Beyond it requests wait, and are answered by their
/// deadlines.
pub const DB_HUNG_MAX: usize = 8;

/// Character names: most bytes on the wire when a client asks for one.
pub const NAME_WIRE_MAX: usize = 255;
/// Character names: fewest characters (Unicode scalar values).
pub const NAME_CHARS_MIN: usize = 2;
/// Character names: most characters (Unicode scalar values).
pub const NAME_CHARS_MAX: usize = 24;
/// Character names: most bytes of UTF-8, four a character.
pub const NAME_BYTES_MAX: usize = 4 * NAME_CHARS_MAX;

/// Longest chat text, in bytes of UTF-8.
pub const CHAT_TEXT_MAX: usize = 1024;

/// Most users in one page of the user list. [`LIST_BYTES_MAX`] bounds it further.
pub const USER_PAGE: usize = 1024;

/// Most pages of a user list that answer one request. They make half as many system calls and
/// wake-ups of a list of ten thousand users as one page would, and fit the receive buffer that a
/// connection begins with.
pub const LIST_PAGES_MAX: u8 = 4;

/// Most bytes of the lists in one page or notice: 160 users with the longest names, 700 with usual
/// ones.
pub const LIST_BYTES_MAX: usize = SERVER_BODY_MAX - 64 - ROOM_HEADER - SEAL_TAG;

/// Most users that one notice lists as entered. [`LIST_BYTES_MAX`] bounds both lists together.
pub const ENTERED_MAX: usize = 1024;
/// Most users that one notice lists as left.
pub const LEFT_MAX: usize = 2048;

/// Channel names: most bytes on the wire when a client asks for one.
pub const CHANNEL_WIRE_MAX: usize = 255;
/// Channel names: fewest characters (Unicode scalar values).
pub const CHANNEL_CHARS_MIN: usize = 2;
/// Channel names: most characters (Unicode scalar values).
pub const CHANNEL_CHARS_MAX: usize = 32;
/// Channel names: most bytes of UTF-8, four a character.
pub const CHANNEL_BYTES_MAX: usize = 4 * CHANNEL_CHARS_MAX;
/// Most channels in one page of the channel list.
pub const CHANNEL_PAGE: usize = 64;
/// Most channels that may be configured for one chat server.
pub const CHANNELS_MAX: usize = 1 << 20;
/// Most channels of one user that may be configured.
pub const CHANNELS_PER_USER_MAX: usize = 256;

/// Most chat servers of a fleet.
pub const CHAT_NODES_MAX: usize = 64;

/// Longest side of a sector that may be configured, in units of the game.
pub const SECTOR_SIZE_MAX: u32 = 1 << 30;

/// Most claims in one page of a holder's list ([`crate::wire::packets::DbHeldClaims`]).
pub const CLAIM_PAGE: usize = 512;

/// Longest sealed ticket, in bytes.
pub const TICKET_MAX: usize = 256;

/// Length of a sealed resume token, in bytes.
pub const RESUME_TOKEN_MAX: usize = 60;

/// Most messages of a room that may be configured to be kept.
pub const HISTORY_MAX: usize = 1 << 20;

/// Most messages in one page of a room's history. [`LIST_BYTES_MAX`] bounds it further.
pub const HISTORY_PAGE: usize = 128;

/// Latest whispers, and latest answers, that are kept for a user that may resume its place.
pub const OWN_PACKETS_KEPT: usize = 64;

/// Latest changes of the list of the whole chat that are kept for users that resume their places.
pub const LIST_CHANGES_KEPT: usize = 1024;

/// Longest time for which the place of a lost connection can be kept.
pub const RESUME_WINDOW_MAX: Duration = Duration::from_mins(10);

/// Longest time by which the issue of a ticket may lie in the future, by the clock of the chat
/// server that it is presented to: the difference of two machines' clocks.
pub const TICKET_SKEW_MAX: Duration = Duration::from_secs(5);

/// Longest life of a ticket from its issue to its expiry, and of the memory of its use.
pub const TICKET_LIFETIME_MAX: Duration = Duration::from_hours(1);

/// Most used tickets that a chat server remembers until they expire.
pub const USED_TICKETS_MAX: usize = 1 << 20;

/// Most requests of one kind that wait for answers of other servers.
pub const PENDING_REQUESTS_MAX: usize = 16 * 1024;

/// Most requests that may be configured to wait at the login server for the hash of their password.
pub const LOGIN_QUEUE_MAX: usize = 100_000;

/// Most requests for the hash of a password that one login server has at the DB agents.
pub const LOGIN_WINDOW_MAX: usize = 1024;

/// Most links of one shard to other servers, accepted and dialed. Also the most servers that a
/// role dials.
pub const LINKS_MAX: usize = 64;

/// Most sessions that may be configured for one role.
pub const SESSIONS_MAX: usize = 1_000_000;

/// Most threads of one kind (content, database) of one process.
pub const THREADS_MAX: usize = 64;

/// Longest queue (mailbox, lane, database requests) that may be configured, in items.
pub const QUEUE_MAX: usize = 1 << 20;

/// Most log lines that wait for the log thread; further ones are dropped and counted.
pub const LOG_QUEUE: usize = 8192;

/// Latest log lines that are kept in memory for a crash report.
pub const LOG_RECENT: usize = 200;

/// Most bytes that are kept of each of the [`LOG_RECENT`] lines.
pub const LOG_RECENT_LINE_MAX: usize = 1024;

/// Most crash reports that one process writes; further panics are only logged.
pub const CRASH_REPORTS_MAX: usize = 16;

/// Most crash reports that stay in the directory when a process starts; older ones are deleted.
pub const CRASH_REPORTS_KEPT: usize = 64;

/// Most connections to the admin HTTP server at one time.
pub const ADMIN_CONNECTIONS_MAX: usize = 32;

/// Longest host name, in bytes, as in DNS.
pub const HOST_NAME_MAX: usize = 253;

/// Most addresses of one name that are tried.
pub const HOST_ADDRESSES_MAX: usize = 16;

/// Most names in `admin.hosts`.
pub const ADMIN_HOSTS_MAX: usize = 16;

/// Longest body that the admin HTTP server accepts, in bytes.
pub const ADMIN_BODY_MAX: usize = 4 * 1024;

const _: () = {
    assert!(SESSIONS_MAX + LINKS_MAX + REFUSAL_SLOTS <= SESSIONS_PER_SHARD_MAX);
    assert!(SERVER_BODY_MAX <= u16::MAX as usize);
    assert!(LOGIN_WINDOW_MAX < PENDING_REQUESTS_MAX);
    assert!(HANDSHAKE_BODY_MAX <= CLIENT_BODY_MAX && CLIENT_BODY_MAX <= SERVER_BODY_MAX);
    assert!(READ_CHUNK >= 2 * (FRAME_HEADER + SERVER_BODY_MAX));
    // A user is an id (4), a length (2) and a name. The header of a page has 24 bytes, that of a
    // notice 36.
    assert!(4 + 2 + NAME_BYTES_MAX <= LIST_BYTES_MAX);
    assert!(CHANNEL_PAGE * (8 + 2 + CHANNEL_BYTES_MAX) + 16 + SEAL_TAG <= SERVER_BODY_MAX);
    assert!(CHANNEL_BYTES_MAX <= CHANNEL_WIRE_MAX);
    assert!(CLAIM_PAGE * 16 + 16 + SEAL_TAG <= SERVER_BODY_MAX);
    assert!(ID_CHARS_MAX * 4 <= ID_WIRE_MAX && NAME_BYTES_MAX <= NAME_WIRE_MAX);
    assert!(3 * PASSWORD_BYTES_MAX <= PASSWORD_WIRE_MAX);
    assert!(ID_WIRE_MAX + PASSWORD_WIRE_MAX + NAME_WIRE_MAX + 64 <= CLIENT_BODY_MAX);
    assert!(CHAT_TEXT_MAX + NAME_BYTES_MAX + 128 <= CLIENT_BODY_MAX);
    assert!(TICKET_MAX + 64 <= CLIENT_BODY_MAX);
    assert!(RESUME_TOKEN_MAX + CHANNELS_PER_USER_MAX * 12 + 64 <= CLIENT_BODY_MAX);
    // The fields of a past message take less room than those of the message.
    assert!(CHAT_TEXT_MAX + NAME_BYTES_MAX + 64 <= LIST_BYTES_MAX);
    assert!(FRAME_HEADER + SERVER_BODY_MAX <= SEGMENT_BYTES);
    // A shard has 8 bits of a session id, of which one value stays free for the poller's waker.
    assert!(SHARDS_MAX < u8::MAX as usize);
};
