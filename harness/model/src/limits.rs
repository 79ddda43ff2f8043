//! Limits of a run, and the relations between them.

use throng_core::limits::SHARDS_MAX;

/// The most clients of one run.
pub const CLIENTS_MAX: u32 = 1_000_000;

/// The most processes of one run.
pub const PROCESSES_MAX: u32 = 64;

/// The most addresses that clients connect from: 127.0.0.1 to 127.0.0.254.
pub const SOURCES_MAX: u32 = 254;

/// The most clients entering at a time, except in `login`.
pub const IN_FLIGHT: u32 = 256;

/// The most entries into the chat, over all clients and rounds.
pub const ENTRIES_MAX: u32 = 100_000_000;

/// The most messages that one run may schedule. Each of them is known, and accounted for, by
/// number.
pub const MESSAGES_MAX: u32 = 8_000_000;

/// The most steps that a command line may name.
pub const STEPS_MAX: usize = 1_000;

/// Bits of an account number that hold the client's number.
pub const CLIENT_BITS: u32 = 20;

// Every client has an account number of its own within its run.
const _: () = assert!(CLIENTS_MAX <= 1 << CLIENT_BITS);
// Workers of all processes are counted in 32 bits.
const _: () = assert!(PROCESSES_MAX as u64 * SHARDS_MAX as u64 <= u32::MAX as u64);
// Each client may send and enter at least once.
const _: () = assert!(CLIENTS_MAX <= MESSAGES_MAX && CLIENTS_MAX <= ENTRIES_MAX);
// A source is the last byte of an address, which is neither 0 nor 255.
const _: () = assert!(SOURCES_MAX < 255);
const _: () = assert!(0 < IN_FLIGHT && IN_FLIGHT <= CLIENTS_MAX);
