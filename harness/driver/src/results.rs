//! What a worker gives away at the end.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use throng_harness_model::breakdown::{Breakdown, ServerClock};
use throng_harness_model::clock::{NEVER, Nanos};
use throng_harness_model::record::{Latencies, Recorder};
use throng_harness_model::results::{
    Churned, Clients, ImpairedClients, ListTimes, Moved, Recipient, Reconnected,
};

use crate::verify::DeliveryLedger;

/// What a worker found out. Written down, for another process, it is without the accounts: those stay where the clients are.
#[derive(Debug, Serialize, Deserialize)]
pub struct WorkerResults {
    /// Its clients' accounts.
    #[serde(skip)]
    pub tally: DeliveryLedger,
    /// Latencies of messages.
    pub recorder: Recorder,
    /// Where the time of some of them went.
    pub breakdown: Breakdown,
    /// How the server's clock stands to ours.
    pub server_clock: ServerClock,
    /// How long something that arrived could wait.
    pub read_lag: Latencies,
    /// Parts of the way in.
    pub phases: BTreeMap<Cow<'static, str>, Latencies>,
    /// What became of its clients; those that were asked for are not counted here.
    pub clients: Clients,
    /// Who hung up and came again.
    pub reconnects: Reconnected,
    /// How the lists fared that clients kept.
    pub lists: ListTimes,
    /// How clients came to channels and left them while others talked.
    pub churn: Churned,
    /// How clients moved while others talked.
    pub moves: Moved,
    /// What became of those who did not read as they should.
    pub impaired: ImpairedClients,
    /// Answers that were not given: who was to give them had not heard what they answer.
    pub unprovoked: u64,
    /// What each of the others got, if it was there all the time.
    pub recipients: Vec<Recipient>,
    /// When the first client's way in began; [`NEVER`] if none did.
    pub first_begin: Nanos,
    /// When the last client got in; 0 if none did.
    pub last_entry: Nanos,
    /// When the last counted message was sent; 0 if none was.
    pub last_sent: Nanos,
}

impl WorkerResults {
    /// Nothing found out yet, with the accounts in `tally`.
    pub fn new(tally: DeliveryLedger) -> Self {
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
            moves: Moved::default(),
            impaired: ImpairedClients::default(),
            unprovoked: 0,
            recipients: Vec::new(),
            first_begin: NEVER,
            last_entry: 0,
            last_sent: 0,
        }
    }

    /// Adds what another worker found out, but for the tallies, which are settled by themselves.
    pub fn merge(&mut self, other: Self) {
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
        self.moves.add(other.moves);
        self.impaired.add(other.impaired);
        self.unprovoked += other.unprovoked;
        self.recipients.extend(other.recipients);
        self.first_begin = self.first_begin.min(other.first_begin);
        self.last_entry = self.last_entry.max(other.last_entry);
        self.last_sent = self.last_sent.max(other.last_sent);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_travels_is_all_but_the_accounts() {
        let mut harvest = WorkerResults::new(DeliveryLedger::default());
        harvest.recorder.sent(1_000, 9_000);
        harvest.read_lag.record(5_000);
        harvest.server_clock.sample(10_000, 20_000, 7, 0);
        harvest.phases.entry("way_in".into()).or_default().record(3_000_000);
        harvest.clients.reasons.insert("failed: by chance".into(), 3);
        (harvest.clients.connected, harvest.reconnects.asked, harvest.lists.resyncs) = (5, 6, 7);
        (harvest.churn.joins, harvest.impaired.slow, harvest.last_entry) = (8, 9, 10);
        let bytes = postcard::to_stdvec(&harvest).expect("it can be written");
        let mut merged = WorkerResults::new(DeliveryLedger::default());
        for _ in 0..2 {
            merged.merge(postcard::from_bytes(&bytes).expect("it can be read"));
        }
        assert_eq!(merged.recorder.sender_delay.count(), 2);
        assert_eq!((merged.read_lag.count(), merged.phases["way_in"].count()), (2, 2));
        assert_eq!(merged.server_clock.ours(7), harvest.server_clock.ours(7));
        assert_eq!((merged.clients.connected, merged.clients.reasons["failed: by chance"]), (10, 6));
        assert_eq!((merged.reconnects.asked, merged.lists.resyncs), (12, 14));
        assert_eq!((merged.churn.joins, merged.impaired.slow, merged.last_entry), (16, 18, 10));
        assert_eq!((merged.first_begin, merged.last_sent), (NEVER, 0));
    }
}
