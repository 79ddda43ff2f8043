//! Fuzz targets: each hands any bytes to code that faces the network, or files from elsewhere, and
//! panics if that code does, or breaks its word.
//!
//! The tests replay each target's seeds, its findings (`findings/TARGET/`), and some mutations of
//! both. `scripts/fuzz` explores: it builds the programs in `engine/` with counters of coverage.
//!
//! A target is deterministic as far as its subject is, keeps no state that a later input sees, and
//! looks at every byte, so that the engine can tell which of them matter.

#[cfg(feature = "servers")]
mod admin;
#[cfg(feature = "harness")]
mod answers;
#[cfg(feature = "clients")]
mod client;
mod config;
mod files;
mod handshake;
#[cfg(feature = "servers")]
mod import;
mod input;
#[cfg(feature = "servers")]
mod names;
#[cfg(feature = "harness")]
mod peers;
#[cfg(all(test, feature = "clients", feature = "servers", feature = "harness"))]
mod replay;
#[cfg(feature = "harness")]
mod reports;
#[cfg(feature = "servers")]
mod resume;
mod session;
mod ticket;
mod vectors;
mod wire;

use std::fs;
use std::path::Path;
use std::sync::OnceLock;

/// A target.
#[derive(Clone, Copy)]
pub struct Target {
    /// Its name on the command line.
    pub name: &'static str,
    /// Takes an input; panics if it has found a fault.
    pub check: fn(&[u8]),
    /// Inputs to start from.
    pub seeds: fn() -> Vec<Vec<u8>>,
    /// Mutations that a test tries: as many as take a second or two without optimization.
    pub mutations: u32,
}

/// Targets of the core.
pub const CORE: &[Target] = &[
    wire::FRAMES,
    wire::PACKETS,
    handshake::RESPONDER,
    handshake::INITIATOR,
    session::SESSION,
    ticket::TICKETS,
    config::CONFIG,
    config::UNITS,
    files::FILES,
];

/// Targets of the servers.
#[cfg(feature = "servers")]
pub const SERVERS: &[Target] = &[admin::ADMIN, import::IMPORT, names::NAMES, resume::RESUME];

/// Targets of the players' client.
#[cfg(feature = "clients")]
pub const CLIENTS: &[Target] = &[client::CLIENT];

/// Targets of the harness.
#[cfg(feature = "harness")]
pub const HARNESS: &[Target] = &[reports::REPORTS, reports::HISTOGRAMS, peers::PEERS, answers::ANSWERS];

/// Environment variable that names the target of a program in `engine/`.
pub const TARGET: &str = "THRONG_FUZZ_TARGET";

/// Environment variable that names a directory for the seeds of the target.
pub const SEEDS: &str = "THRONG_FUZZ_SEEDS";

static CHOSEN: OnceLock<Target> = OnceLock::new();

/// Chooses the target that [`TARGET`] names, and writes its seeds to the directory that [`SEEDS`]
/// names. Panics if there is no such target or directory.
pub fn start(targets: &[Target]) {
    let name = std::env::var(TARGET).unwrap_or_else(|error| panic!("{TARGET}: {error}"));
    let target = targets.iter().find(|target| target.name == name);
    let target = target.unwrap_or_else(|| panic!("this program has no target {name}"));
    if let Some(directory) = std::env::var_os(SEEDS) {
        for (number, seed) in (target.seeds)().iter().enumerate() {
            let path = Path::new(&directory).join(format!("seed-{number}"));
            fs::write(&path, seed).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        }
    }
    CHOSEN.get_or_init(|| *target);
}

/// Runs the target that [`start`] has chosen.
pub fn run(bytes: &[u8]) {
    let target = CHOSEN.get().expect("the engine starts before it runs");
    (target.check)(bytes);
}
