//! Abusive members beside honest ones: what an attack costs others.
//!
//! ```text
//!   for each attack:
//!     honest clients enter ─▶ quiet ─▶ attack ─▶ quiet ─▶ attack ─▶ ... ─▶ quiet ─▶ they leave
//! ```
//! `attack` lists the attacks, `behavior` says what each sends, and `attacker` runs one on a thread
//! of its own, over connections of `line`. `crowd` has the honest clients and the newcomers, and
//! accounts for each of their messages. `run` is the order of the phases, `phase` has the
//! figures of each, `row` compares their medians, and `judge` holds them against the thresholds.
//!
//! The honest clients are not those of the driver. A run of the driver has one audience, one place
//! on the map and one latency; here two groups talk in different rooms at the same time, and are
//! compared apart. One group is in a channel that an attacker owns. Two runs of the driver side by
//! side would take each other for strangers in the chat that they share, and would enter anew in
//! each phase. Payload, histograms, doubts about the harness and core's event loop are shared.

mod accounts;
mod attack;
mod attacker;
mod behavior;
mod crowd;
mod judge;
mod line;
mod page;
mod phase;
mod report;
mod row;
mod run;
mod scene;

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use throng_harness_model::target::TargetSource;

pub use attack::{Attack, Room};
pub use judge::{Check, Limits, full_line};
pub use line::Tally;
pub use phase::{Figures, Phase, PhaseKind, Spread, Traffic};
pub use report::{AbuseReport, SCENARIO};
pub use row::Row;
pub use run::{AbuseError, Results, run};

/// The most pairs of clients and messages in a phase.
pub const PAIRS_MAX: u64 = 50_000_000;

/// A checked command line.
#[derive(Debug, Clone, PartialEq)]
pub struct AbuseJob {
    /// The attacks to run, in order.
    pub attacks: Vec<Attack>,
    /// The chat server.
    pub target: TargetSource,
    /// The login server; none if it is unknown, and no attack needs it.
    pub login: Option<TargetSource>,
    /// The server's process, if it is named.
    pub server_pid: Option<u32>,
    /// Honest clients, at least 4.
    pub clients: u32,
    /// Messages a second of all honest clients, above 0.
    pub rate: f64,
    /// Newcomers a second; 0 for none.
    pub newcomers: f64,
    /// Bytes of each message.
    pub payload: usize,
    /// The counted length of a phase with the attack.
    pub duration: Duration,
    /// The counted length of a quiet phase.
    pub quiet_duration: Duration,
    /// The time before the counted part of a phase, and the pause after a phase.
    pub lead: Duration,
    /// The longest wait for another message in flight after a phase.
    pub drain: Duration,
    /// The longest way in of a newcomer.
    pub enter_timeout: Duration,
    /// Attack phases, from 1; there is one quiet phase more.
    pub rounds: u32,
    /// Connections of an attack that needs many.
    pub sockets: u32,
    /// Bytes a second that a slow victim reads.
    pub slow_rate: u32,
    /// The side of the server's sectors.
    pub sector_size: u32,
    /// The address of this machine from which attackers connect.
    pub attack_from: Option<IpAddr>,
    /// The thresholds.
    pub limits: Limits,
    /// True if an attack whose latencies are not valid fails the run.
    pub require_valid: bool,
    /// Seed of the texts.
    pub seed: u64,
    /// The file for the JSON report.
    pub json: Option<PathBuf>,
    /// The file for the HTML page.
    pub html: Option<PathBuf>,
}
