//! The results of a worker.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use throng_harness_model::breakdown::{Breakdown, ServerClock};
use throng_harness_model::clock::{NEVER, Nanos};
use throng_harness_model::record::{Latencies, Recorder};
use throng_harness_model::results::{
    Churned, Clients, CutCounts, ImpairedClients, ListTimes, Moved, Reasons, Recipient, Reconnected,
};

use crate::verify::DeliveryLedger;

/// Results of a worker. The ledger is not serialized: accounts stay in the process of the clients.
#[derive(Debug, Serialize, Deserialize)]
pub struct WorkerResults {
    /// Accounts of the worker's clients.
    #[serde(skip)]
    pub ledger: DeliveryLedger,
    /// Latencies of messages.
    pub recorder: Recorder,
    /// Parts of the latency of some messages.
    pub breakdown: Breakdown,
    /// Offset of the server's clock to the harness's.
    pub server_clock: ServerClock,
    /// Time that arrived data waits until it is read.
    pub read_lag: Latencies,
    /// Durations of the phases of entering.
    pub phases: BTreeMap<Cow<'static, str>, Latencies>,
    /// Outcomes of the clients, without the number requested and the reasons.
    pub clients: Clients,
    /// The reasons of these outcomes.
    pub reasons: Reasons,
    /// Disconnects and reconnects.
    pub reconnects: Reconnected,
    /// Connections that were cut, and clients that resumed.
    pub resume: CutCounts,
    /// Checks of the user lists that clients keep.
    pub lists: ListTimes,
    /// Joins and leaves of channels during the run.
    pub churn: Churned,
    /// Moves of clients during the run.
    pub moves: Moved,
    /// Outcomes of clients that read slowly or not at all.
    pub impaired: ImpairedClients,
    /// Answers not sent because their sender had not received the message to answer.
    pub unprovoked: u64,
    /// Deliveries to each of the other clients that stayed all the time.
    pub recipients: Vec<Recipient>,
    /// Time when the first client began to enter; [`NEVER`] if none did.
    pub first_begin: Nanos,
    /// Time when the last client had entered; 0 if none did.
    pub last_entry: Nanos,
    /// Time when the last counted message was sent; 0 if none was.
    pub last_sent: Nanos,
}

impl WorkerResults {
    /// Empty results around the accounts of `ledger`.
    pub fn new(ledger: DeliveryLedger) -> Self {
        Self {
            ledger,
            recorder: Recorder::default(),
            breakdown: Breakdown::default(),
            server_clock: ServerClock::default(),
            read_lag: Latencies::new(),
            phases: BTreeMap::new(),
            clients: Clients::default(),
            reasons: Reasons::default(),
            reconnects: Reconnected::default(),
            resume: CutCounts::default(),
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

    /// Adds the results of another worker, except for the ledger, which is settled separately.
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
        for (reason, count) in theirs.retries {
            *ours.retries.entry(reason).or_default() += count;
        }
        ours.queued += theirs.queued;
        ours.queue_position_max = ours.queue_position_max.max(theirs.queue_position_max);
        ours.queue_position_rises += theirs.queue_position_rises;
        self.reasons.merge(other.reasons);
        self.reconnects.asked += other.reconnects.asked;
        self.reconnects.back += other.reconnects.back;
        self.resume.add(&other.resume);
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
    use throng_harness_model::results::Event;

    use super::*;

    #[test]
    fn all_but_the_accounts_is_serialized() {
        let mut results = WorkerResults::new(DeliveryLedger::default());
        results.recorder.sent(1_000, 9_000);
        results.read_lag.record(5_000);
        results.server_clock.sample(10_000, 20_000, 7, 0);
        results.phases.entry("way_in".into()).or_default().record(3_000_000);
        results.reasons.count(Event::Failed, "by chance", 3);
        (results.clients.connected, results.reconnects.asked, results.lists.resyncs) = (5, 6, 7);
        (results.resume.cuts, results.resume.first_cut, results.resume.last_back) = (4, 100, 400);
        results.resume.back.record(300);
        (results.churn.joins, results.impaired.slow, results.last_entry) = (8, 9, 10);
        let bytes = postcard::to_stdvec(&results).expect("serializable");
        let mut merged = WorkerResults::new(DeliveryLedger::default());
        for _ in 0..2 {
            merged.merge(postcard::from_bytes(&bytes).expect("deserializable"));
        }
        assert_eq!(merged.recorder.sender_delay.count(), 2);
        assert_eq!((merged.read_lag.count(), merged.phases["way_in"].count()), (2, 2));
        assert_eq!(merged.server_clock.ours(7), results.server_clock.ours(7));
        assert_eq!((merged.clients.connected, merged.reasons.named()["failed: by chance"]), (10, 6));
        assert_eq!((merged.reconnects.asked, merged.lists.resyncs), (12, 14));
        assert_eq!((merged.resume.cuts, merged.resume.back.count()), (8, 2));
        assert_eq!(merged.resume.summary().last_back_us, Some(0.3));
        assert_eq!((merged.churn.joins, merged.impaired.slow, merged.last_entry), (16, 18, 10));
        assert_eq!((merged.first_begin, merged.last_sent), (NEVER, 0));
    }
}
