//! What a run may have at most, and how these limits hang together.

use throng_core::limits::SHARDS_MAX;

/// Most clients of one run.
pub const CLIENTS_MAX: u32 = 1_000_000;

/// Most processes of one run.
pub const PROCESSES_MAX: u32 = 64;

/// Most addresses that clients connect from: 127.0.0.1 to 127.0.0.254.
pub const SOURCES_MAX: u32 = 254;

/// Most clients on their way in at a time, but for `login`.
pub const IN_FLIGHT: u32 = 256;

/// Most times, over all clients and rounds, that somebody comes in.
pub const ENTRIES_MAX: u32 = 100_000_000;

/// Most messages that one run may schedule: they are all known, and accounted for, by number.
pub const MESSAGES_MAX: u32 = 8_000_000;

/// Most steps of one run that are named on its command line.
pub const STEPS_MAX: usize = 1_000;

/// Bits of an account number that hold the client's.
pub const CLIENT_BITS: u32 = 20;

// Every client has a number of its own within its run's account numbers.
const _: () = assert!(CLIENTS_MAX <= 1 << CLIENT_BITS);
// Workers of all processes are counted in 32 bits.
const _: () = assert!(PROCESSES_MAX as u64 * SHARDS_MAX as u64 <= u32::MAX as u64);
// Each client may send, and come in, once at least.
const _: () = assert!(CLIENTS_MAX <= MESSAGES_MAX && CLIENTS_MAX <= ENTRIES_MAX);
// Sources are the last byte of an address, which is neither 0 nor 255.
const _: () = assert!(SOURCES_MAX < 255);
const _: () = assert!(0 < IN_FLIGHT && IN_FLIGHT <= CLIENTS_MAX);
