//! What a process with workers tells the one that started it, again and again.

use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use throng_harness_model::clock::Nanos;
use throng_harness_model::plan::Plan;
use throng_harness_model::results::Totals;

use super::message::{ChildEvent, Present};
use super::stall_timer::BEAT_EVERY;
use crate::live::Panel;

/// How often the workers' panels are looked at: as often as the run looks at its own.
pub(super) const REPORT_EVERY: Duration = Duration::from_millis(10);

/// How often latencies are told: as often as workers publish them.
const LATENCIES_EVERY: Duration = Duration::from_millis(500);

/// Changes that are told at a time.
const CHANGES: usize = 8_192;

/// Tells what has changed.
pub(super) struct Reporter {
    plan: Arc<Plan>,
    /// The workers of this process, and the panels of all.
    workers: Range<u32>,
    panels: Arc<[Panel]>,
    totals: Vec<(Totals, Nanos)>,
    /// Latencies told of each worker.
    counts: Vec<u64>,
    latencies_at: Option<Instant>,
    /// The clients of this process, in order, as they were told; and up to which change.
    users: Vec<u32>,
    changes: u64,
    /// When something was last told.
    told_at: Option<Instant>,
}

impl Reporter {
    /// One that has told nothing yet of the workers with these numbers.
    pub(super) fn new(plan: &Arc<Plan>, workers: Range<u32>, panels: Arc<[Panel]>) -> Self {
        let count = workers.len();
        let clients: u32 = workers.clone().map(|worker| plan.share(plan.clients, worker)).sum();
        Self {
            plan: plan.clone(),
            workers,
            panels,
            totals: vec![Default::default(); count],
            counts: vec![0; count],
            latencies_at: None,
            users: vec![0; clients as usize],
            changes: 0,
            told_at: None,
        }
    }

    /// Tells everything that is new at `now`; if that is nothing for a while, that there is somebody.
    pub(super) fn report<E>(
        &mut self,
        now: Instant,
        mut tell: impl FnMut(&ChildEvent) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut is_silent = true;
        let mut tell = |news: &ChildEvent| {
            is_silent = false;
            tell(news)
        };
        let own = &self.panels[self.workers.start as usize..self.workers.end as usize];
        // First the totals are read and then who is there, and told in the other order: who knows that somebody is
        // in knows under which number.
        let totals: Vec<_> = own.iter().map(|panel| (steady(panel), panel.read_lag())).collect();
        for changes in self.news_of_clients().chunks(CHANGES) {
            tell(&ChildEvent::Present(changes.into()))?;
        }
        if totals != self.totals {
            tell(&ChildEvent::Totals(totals.clone()))?;
            self.totals = totals;
        }
        if self.latencies_at.is_none_or(|at| now >= at) {
            self.latencies_at = Some(now + LATENCIES_EVERY);
            let own = &self.panels[self.workers.start as usize..self.workers.end as usize];
            for ((panel, told), worker) in own.iter().zip(&mut self.counts).zip(0..) {
                let latencies = panel.latencies();
                if latencies.count() != *told {
                    *told = latencies.count();
                    tell(&ChildEvent::Latencies(worker, latencies))?;
                }
            }
        }
        if now >= *self.told_at.get_or_insert(now) + BEAT_EVERY {
            tell(&ChildEvent::Alive)?;
        }
        if !is_silent {
            self.told_at = Some(now);
        }
        Ok(())
    }

    /// Own clients that have come or gone.
    fn news_of_clients(&mut self) -> Vec<Present> {
        // Counted first, so that what happens meanwhile is found the next time.
        let changes = self.plan.presence.changes();
        if std::mem::replace(&mut self.changes, changes) == changes {
            return Vec::new();
        }
        let (plan, workers) = (&self.plan, &self.workers);
        // Each round of dealing gives this process one client for each of its workers.
        let rounds = (0..plan.clients).step_by(plan.workers as usize);
        let own = rounds.flat_map(|first| workers.clone().map(move |worker| first.saturating_add(worker)));
        let own = own.filter(|client| *client < plan.clients);
        let mut news = Vec::new();
        for (client, told) in own.zip(&mut self.users) {
            let user = plan.presence.user(client).unwrap_or(0);
            if std::mem::replace(told, user) != user {
                news.push((client, user));
            }
        }
        news
    }
}

/// A worker's totals, of which those that say that something is over are not newer than the others: what they end is
/// in what goes with them.
fn steady(panel: &Panel) -> Totals {
    let before = panel.totals();
    Totals {
        hushed: before.hushed,
        woken: before.woken,
        stormed: before.stormed,
        lists_looked_at: before.lists_looked_at,
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

    fn told(reporter: &mut Reporter, now: Instant) -> Vec<ChildEvent> {
        let mut all = Vec::new();
        let mut tell = |news: &ChildEvent| {
            let bytes = postcard::to_stdvec(news).expect("it can be written");
            all.push(postcard::from_bytes(&bytes).expect("it can be read"));
            Ok::<_, ()>(())
        };
        reporter.report(now, &mut tell).expect("nothing fails here");
        all
    }

    #[test]
    fn only_what_is_new_is_told_and_who_is_there_comes_first() {
        let connect = Scenario::Connect(Connect::default());
        let plan = Arc::new(plan_of(&Job { clients: 11, workers: 2, processes: 2, ..fixture::job(connect) }));
        let panels: Arc<[Panel]> = (0..4).map(|_| Panel::default()).collect();
        let mut reporter = Reporter::new(&plan, 2..4, panels.clone());
        let begun = Instant::now();
        assert!(told(&mut reporter, begun).is_empty());
        // Clients 2, 3, 6, 7 and 10 are here; 4 and 8 are elsewhere.
        for client in [3, 4, 8, 10] {
            plan.presence.set(client, 100 + client);
        }
        plan.presence.set(7, 107);
        plan.presence.set(7, 0);
        let totals = Totals { connected: 2, hushed: 1, ..Totals::default() };
        panels[3].publish(totals);
        panels[3].publish_read_lag(70_000);
        panels[1].publish(totals);
        let news = told(&mut reporter, begun);
        assert!(
            matches!(&news[..], [ChildEvent::Present(changes), ChildEvent::Totals(all)]
                if changes == &[(3, 103), (10, 110)] && all == &[Default::default(), (totals, 70_000)]),
            "{news:?}"
        );
        assert!(told(&mut reporter, begun).is_empty());
        plan.presence.set(3, 0);
        let news = told(&mut reporter, begun);
        assert!(matches!(&news[..], [ChildEvent::Present(changes)] if changes == &[(3, 0)]), "{news:?}");

        let mut latencies = Latencies::new();
        latencies.record(5_000_000);
        panels[2].publish_latencies(&latencies);
        assert!(told(&mut reporter, begun).is_empty(), "not that often");
        let news = told(&mut reporter, begun + LATENCIES_EVERY);
        assert!(matches!(&news[..], [ChildEvent::Latencies(0, told)] if *told == latencies), "{news:?}");
        assert!(told(&mut reporter, begun + 2 * LATENCIES_EVERY).is_empty());
        // There is nothing new for a second.
        let beat = begun + LATENCIES_EVERY + BEAT_EVERY;
        let news = told(&mut reporter, beat);
        assert!(matches!(&news[..], [ChildEvent::Alive]), "{news:?}");
        assert!(told(&mut reporter, beat + BEAT_EVERY / 2).is_empty());
        assert!(matches!(&told(&mut reporter, beat + BEAT_EVERY)[..], [ChildEvent::Alive]));
    }
}
