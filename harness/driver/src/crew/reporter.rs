//! Periodic reports of a process with workers to the process that started it.

use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use throng_harness_model::clock::Nanos;
use throng_harness_model::plan::Plan;
use throng_harness_model::results::Totals;

use super::message::{ChildEvent, Present};
use super::stall_timer::HEARTBEAT_EVERY;
use crate::live::Panel;

/// The interval at which the workers' panels are read: the same as in the run's own thread.
pub(super) const REPORT_EVERY: Duration = Duration::from_millis(10);

/// The interval at which latencies are sent: the same as workers publish them.
const LATENCIES_EVERY: Duration = Duration::from_millis(500);

/// Changes of presence sent at a time.
const CHANGES: usize = 8_192;

/// Sends changes of the workers' panels and of the clients' presence.
pub(super) struct Reporter {
    plan: Arc<Plan>,
    /// The workers of this process; `panels` has those of all workers.
    workers: Range<u32>,
    panels: Arc<[Panel]>,
    totals: Vec<(Totals, Nanos, Option<u32>)>,
    /// Number of latencies last sent for each worker.
    latency_counts: Vec<u64>,
    latencies_at: Option<Instant>,
    /// The user numbers last sent, for the clients of this process in order.
    users: Vec<u32>,
    /// The count of presence changes that `users` covers.
    changes: u64,
    /// The time of the latest event.
    last_event_at: Option<Instant>,
}

impl Reporter {
    /// A reporter of the workers with these numbers.
    pub(super) fn new(plan: &Arc<Plan>, workers: Range<u32>, panels: Arc<[Panel]>) -> Self {
        let count = workers.len();
        let clients: u32 = workers.clone().map(|worker| plan.share(plan.clients, worker)).sum();
        Self {
            plan: plan.clone(),
            workers,
            panels,
            totals: vec![Default::default(); count],
            latency_counts: vec![0; count],
            latencies_at: None,
            users: vec![0; clients as usize],
            changes: 0,
            last_event_at: None,
        }
    }

    /// Sends the changes at `now`, or a heartbeat after a while without changes.
    pub(super) fn report<E>(
        &mut self,
        now: Instant,
        mut send: impl FnMut(&ChildEvent) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut is_silent = true;
        let mut send = |event: &ChildEvent| {
            is_silent = false;
            send(event)
        };
        let own = &self.panels[self.workers.start as usize..self.workers.end as usize];
        // Totals are read before the presence and sent after it, so that a reader that sees a
        // client counted as present also knows its user number.
        let totals = own.iter().map(|panel| (consistent_totals(panel), panel.read_lag(), panel.heard()));
        let totals: Vec<_> = totals.collect();
        for changes in self.presence_changes().chunks(CHANGES) {
            send(&ChildEvent::Present(changes.into()))?;
        }
        if totals != self.totals {
            send(&ChildEvent::Totals(totals.clone()))?;
            self.totals = totals;
        }
        if self.latencies_at.is_none_or(|at| now >= at) {
            self.latencies_at = Some(now + LATENCIES_EVERY);
            let own = &self.panels[self.workers.start as usize..self.workers.end as usize];
            for ((panel, last), worker) in own.iter().zip(&mut self.latency_counts).zip(0..) {
                let latencies = panel.latencies();
                if latencies.count() != *last {
                    *last = latencies.count();
                    send(&ChildEvent::Latencies(worker, latencies))?;
                }
            }
        }
        if now >= *self.last_event_at.get_or_insert(now) + HEARTBEAT_EVERY {
            send(&ChildEvent::Alive)?;
        }
        if !is_silent {
            self.last_event_at = Some(now);
        }
        Ok(())
    }

    /// Changes of presence among this process's clients.
    fn presence_changes(&mut self) -> Vec<Present> {
        // The count is read first, so that concurrent changes are found the next time.
        let changes = self.plan.presence.changes();
        if std::mem::replace(&mut self.changes, changes) == changes {
            return Vec::new();
        }
        let (plan, workers) = (&self.plan, &self.workers);
        // Clients are dealt to workers in turn: each round gives every worker one client.
        let rounds = (0..plan.clients).step_by(plan.workers as usize);
        let own = rounds.flat_map(|first| workers.clone().map(move |worker| first.saturating_add(worker)));
        let own = own.filter(|client| *client < plan.clients);
        let mut changes = Vec::new();
        for (client, last) in own.zip(&mut self.users) {
            let user = plan.presence.user(client).unwrap_or(0);
            if std::mem::replace(last, user) != user {
                changes.push((client, user));
            }
        }
        changes
    }
}

/// A worker's totals, whose end marks are read before the counts: the counts cover everything that
/// an end mark promises.
fn consistent_totals(panel: &Panel) -> Totals {
    let before = panel.totals();
    Totals {
        stopped_sending: before.stopped_sending,
        resumed: before.resumed,
        storm_begun: before.storm_begun,
        list_check: before.list_check,
        ..panel.totals()
    }
}

#[cfg(test)]
mod tests {

    use throng_harness_model::fixture;
    use throng_harness_model::record::Latencies;
    use throng_harness_model::spec::{Connect, Job, Scenario};

    use super::*;
    use crate::crew::tests::plan_of;

    fn reported(reporter: &mut Reporter, now: Instant) -> Vec<ChildEvent> {
        let mut all = Vec::new();
        let mut send = |event: &ChildEvent| {
            let bytes = postcard::to_stdvec(event).expect("it can be written");
            all.push(postcard::from_bytes(&bytes).expect("it can be read"));
            Ok::<_, ()>(())
        };
        reporter.report(now, &mut send).expect("the sink accepts everything");
        all
    }

    #[test]
    fn only_changes_are_sent_and_presence_comes_first() {
        let connect = Scenario::Connect(Connect::default());
        let plan = Arc::new(plan_of(&Job { clients: 11, workers: 2, processes: 2, ..fixture::job(connect) }));
        let panels: Arc<[Panel]> = (0..4).map(|_| Panel::default()).collect();
        let mut reporter = Reporter::new(&plan, 2..4, panels.clone());
        let begun = Instant::now();
        assert!(reported(&mut reporter, begun).is_empty());
        // Clients 2, 3, 6, 7 and 10 belong to this process; 4 and 8 do not.
        for client in [3, 4, 8, 10] {
            plan.presence.set(client, 100 + client);
        }
        plan.presence.set(7, 107);
        plan.presence.set(7, 0);
        let totals = Totals { connected: 2, stopped_sending: 1, ..Totals::default() };
        panels[3].publish(totals);
        panels[3].publish_read_lag(70_000);
        panels[3].publish_heard(7);
        panels[1].publish(totals);
        let events = reported(&mut reporter, begun);
        assert!(
            matches!(&events[..], [ChildEvent::Present(changes), ChildEvent::Totals(all)]
                if changes == &[(3, 103), (10, 110)] && all == &[Default::default(), (totals, 70_000, Some(7))]),
            "{events:?}"
        );
        assert!(reported(&mut reporter, begun).is_empty());
        plan.presence.set(3, 0);
        let events = reported(&mut reporter, begun);
        assert!(matches!(&events[..], [ChildEvent::Present(changes)] if changes == &[(3, 0)]), "{events:?}");

        let mut latencies = Latencies::new();
        latencies.record(5_000_000);
        panels[2].publish_latencies(&latencies);
        assert!(reported(&mut reporter, begun).is_empty(), "latencies are sent every {LATENCIES_EVERY:?}");
        let events = reported(&mut reporter, begun + LATENCIES_EVERY);
        assert!(
            matches!(&events[..], [ChildEvent::Latencies(0, found)] if *found == latencies),
            "{events:?}"
        );
        assert!(reported(&mut reporter, begun + 2 * LATENCIES_EVERY).is_empty());
        // After a second without changes comes a heartbeat.
        let heartbeat = begun + LATENCIES_EVERY + HEARTBEAT_EVERY;
        let events = reported(&mut reporter, heartbeat);
        assert!(matches!(&events[..], [ChildEvent::Alive]), "{events:?}");
        assert!(reported(&mut reporter, heartbeat + HEARTBEAT_EVERY / 2).is_empty());
        assert!(matches!(&reported(&mut reporter, heartbeat + HEARTBEAT_EVERY)[..], [ChildEvent::Alive]));
    }
}
