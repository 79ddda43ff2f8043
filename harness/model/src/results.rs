//! What a run found out.

mod bots;
mod counts;
mod deliveries;
mod fairness;
mod progress;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::Duration;

pub use bots::{BotsReport, Reactions, Spoken};
pub use counts::{
    Churned, Clients, HarnessMemory, ImpairedClients, ListReport, ListTimes, Moved, Rates, Reconnected,
};
pub use deliveries::{Deliveries, Gaps, Pair};
pub use fairness::{Fairness, Group, Recipient, ShardGroup, Slowest};
pub use progress::{PARTS, Part, RateChange, Second, Totals};

use super::breakdown::{Breakdown, ServerClockUs};
use super::clock::Nanos;
use super::procstat::Usage;
use super::record::{Latencies, Recorder, Spread};

/// Everything a scenario found out, before it is judged.
#[derive(Debug, Default)]
pub struct Findings {
    /// Whether the user stopped the run.
    pub interrupted: bool,
    /// What the run waited for in vain; with any of it the run fails.
    pub incomplete_because: Vec<String>,
    /// What became of the clients.
    pub clients: Clients,
    /// Messages that were sent and counted.
    pub sent: u64,
    /// What became of them; none for scenarios that send nothing.
    pub deliveries: Option<Deliveries>,
    /// Their memory.
    pub harness_memory: HarnessMemory,
    /// Who hung up and came again.
    pub reconnects: Reconnected,
    /// The clients' user lists.
    pub lists: ListReport,
    /// Who came to channels and left them meanwhile.
    pub churn: Churned,
    /// Who moved meanwhile.
    pub moves: Moved,
    /// Who did not read as it should.
    pub impaired: ImpairedClients,
    /// What bots said; none without bots.
    pub bots: Option<BotsReport>,
    /// How alike the others were served.
    pub fairness: Option<Fairness>,
    /// All workers' latencies, merged.
    pub recorder: Recorder,
    /// Where the time of some deliveries went.
    pub breakdown: Breakdown,
    /// How the server's clock stood to ours, if that is known.
    pub server_clock: Option<ServerClockUs>,
    /// First and last recipients.
    pub spread: Spread,
    /// How long something that arrived could wait until the event loop had read it.
    pub read_lag: Latencies,
    /// Other times by name: parts of connecting and logging in.
    pub phases: BTreeMap<Cow<'static, str>, Latencies>,
    /// Rates; deliveries are added from the other fields.
    pub rates: Rates,
    /// What tells this traffic from another; none for scenarios that send nothing.
    pub traffic: Option<String>,
    /// The same of what was sent of it.
    pub traffic_sent: Option<String>,
    /// When the measured part began.
    pub measured_from: Nanos,
    /// How long it took.
    pub measured: Duration,
    /// The server's process in the measured part, if it could be seen.
    pub server: Option<Usage>,
    /// The harness's processes in the measured part, all together.
    pub harness: Option<Usage>,
    /// Event-loop threads, over all processes.
    pub workers: u32,
    /// One row a second.
    pub timeline: Vec<Second>,
    /// What keys have made of the rate.
    pub rate_changes: Vec<RateChange>,
}
