//! What a worker gives away at the end.

use std::collections::BTreeMap;

use crate::breakdown::{Breakdown, ServerClock};
use crate::clock::{NEVER, Nanos};
use crate::record::{Latencies, Recorder};
use crate::report::{Churned, Clients, ImpairedClients, ListTimes, Reconnected};
use crate::verify::Tally;

/// What a worker found out.
#[derive(Debug)]
pub struct Harvest {
    /// Its clients' accounts.
    pub tally: Tally,
    /// Latencies of messages.
    pub recorder: Recorder,
    /// Where the time of some of them went.
    pub breakdown: Breakdown,
    /// How the server's clock stands to ours.
    pub server_clock: ServerClock,
    /// How long something that arrived could wait.
    pub read_lag: Latencies,
    /// Parts of the way in.
    pub phases: BTreeMap<&'static str, Latencies>,
    /// What became of its clients; those that were asked for are not counted here.
    pub clients: Clients,
    /// Who hung up and came again.
    pub reconnects: Reconnected,
    /// How the lists fared that clients kept.
    pub lists: ListTimes,
    /// How clients came to channels and left them while others talked.
    pub churn: Churned,
    /// What became of those who did not read as they should.
    pub impaired: ImpairedClients,
    /// When the first client's way in began; [`NEVER`] if none did.
    pub first_begin: Nanos,
    /// When the last client got in; 0 if none did.
    pub last_entry: Nanos,
    /// When the last counted message was sent; 0 if none was.
    pub last_sent: Nanos,
}

impl Harvest {
    pub(super) fn new(tally: Tally) -> Self {
        Self {
            tally,
            recorder: Recorder::default(),
            breakdown: Breakdown::default(),
            server_clock: ServerClock::default(),
            read_lag: Latencies::new(),
            phases: BTreeMap::new(),
            clients: Clients::default(),
            reconnects: Reconnected::default(),
            lists: ListTimes::default(),
            churn: Churned::default(),
            impaired: ImpairedClients::default(),
            first_begin: NEVER,
            last_entry: 0,
            last_sent: 0,
        }
    }

    /// Adds what another worker found out; the tally it gives back, to be settled with ours.
    pub fn merge(&mut self, other: Self) -> Tally {
        self.recorder.merge(&other.recorder);
        self.breakdown.merge(&other.breakdown);
        self.server_clock.merge(&other.server_clock);
        self.read_lag.merge(&other.read_lag);
        for (name, latencies) in other.phases {
            self.phases.entry(name).or_default().merge(&latencies);
        }
        let (ours, theirs) = (&mut self.clients, other.clients);
        ours.connected += theirs.connected;
        ours.refused += theirs.refused;
        ours.failed += theirs.failed;
        ours.disconnected += theirs.disconnected;
        for (all, more) in [(&mut ours.reasons, theirs.reasons), (&mut ours.retries, theirs.retries)] {
            for (reason, count) in more {
                *all.entry(reason).or_default() += count;
            }
        }
        self.reconnects.asked += other.reconnects.asked;
        self.reconnects.back += other.reconnects.back;
        self.lists.add(other.lists);
        self.churn.add(other.churn);
        self.impaired.add(other.impaired);
        self.first_begin = self.first_begin.min(other.first_begin);
        self.last_entry = self.last_entry.max(other.last_entry);
        self.last_sent = self.last_sent.max(other.last_sent);
        other.tally
    }
}
