//! Results of a run, and its progress while it is under way.

mod bots;
mod counts;
mod deliveries;
mod fairness;
mod progress;
mod reasons;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::Duration;

pub use bots::{BotsReport, Reactions, Spoken};
pub use counts::{
    Churned, Clients, CutCounts, HarnessMemory, ImpairedClients, ListReport, ListTimes, Moved, Rates,
    Reconnected, Resumed,
};
pub use deliveries::{Deliveries, Gaps, Pair};
pub use fairness::{Fairness, Group, Recipient, ShardGroup, Slowest};
pub use progress::{PARTS, Part, RateChange, Second, Totals};
pub use reasons::{Event, Reasons};

use super::breakdown::{Breakdown, ServerClockUs};
use super::clock::Nanos;
use super::procstat::Usage;
use super::record::{Latencies, Recorder, Spread};
use super::scheduling::Scheduling;

/// All results of a scenario before they are judged.
#[derive(Debug, Default)]
pub struct Findings {
    /// True if the user stopped the run.
    pub interrupted: bool,
    /// The conditions that were not met in time. The run fails if there are any.
    pub incomplete_because: Vec<String>,
    /// Outcome of the clients.
    pub clients: Clients,
    /// Counted messages that were sent.
    pub sent: u64,
    /// Outcome of the deliveries; none for scenarios without messages.
    pub deliveries: Option<Deliveries>,
    /// Memory of the harness's processes.
    pub harness_memory: HarnessMemory,
    /// Clients that disconnected and entered again.
    pub reconnects: Reconnected,
    /// Clients whose connections were cut.
    pub resume: CutCounts,
    /// User lists of the clients.
    pub lists: ListReport,
    /// Clients that joined and left channels.
    pub churn: Churned,
    /// Clients that moved.
    pub moves: Moved,
    /// Clients that did not read as fast as they could.
    pub impaired: ImpairedClients,
    /// The conversation of bots; none without bots.
    pub bots: Option<BotsReport>,
    /// Differences in latency between the recipients that were not impaired.
    pub fairness: Option<Fairness>,
    /// Latencies of all workers, merged.
    pub recorder: Recorder,
    /// Parts of the latency of sampled deliveries.
    pub breakdown: Breakdown,
    /// The offset of the server's clock; none if it is unknown.
    pub server_clock: Option<ServerClockUs>,
    /// Times to the first and the last recipients.
    pub spread: Spread,
    /// The longest time that arrived data could wait for the event loop to read it, at random
    /// moments.
    pub read_lag: Latencies,
    /// Other times by name: phases of connecting and logging in.
    pub phases: BTreeMap<Cow<'static, str>, Latencies>,
    /// Rates; that of deliveries is derived from the other fields.
    pub rates: Rates,
    /// Fingerprint of the planned traffic; none for scenarios without messages.
    pub traffic: Option<String>,
    /// Fingerprint of the traffic that was sent; none for scenarios without messages.
    pub traffic_sent: Option<String>,
    /// The beginning of the measured part.
    pub measured_from: Nanos,
    /// The length of the measured part.
    pub measured: Duration,
    /// The server's process in the measured part; none if it could not be observed.
    pub server: Option<Usage>,
    /// The harness's processes in the measured part, added up.
    pub harness: Option<Usage>,
    /// CPU time that others had in the measured part; none if the kernel does not tell.
    pub scheduling: Option<Scheduling>,
    /// Event-loop threads of all processes.
    pub workers: u32,
    /// The timeline, a row a second.
    pub timeline: Vec<Second>,
    /// Changes of the rate by keys.
    pub rate_changes: Vec<RateChange>,
}
