//! What a run shows of itself while it is under way, and what keys do to it.

use std::time::Duration;

use throng_harness_model::audiences::ScopeMix;
use throng_harness_model::clock::{NEVER, Nanos, nanos};
use throng_harness_model::results::{RateChange, Totals};
use throng_harness_model::spec::{Job, Scenario, Stay};
use throng_harness_model::target::Target;
use throng_harness_terminal::RateKey;

use super::Run;
use super::broadcast::LEAD;
use crate::live::{Facts, Panel, Phase, Subject};

/// What stays the same for the whole run.
pub(super) fn facts(job: &Job, target: &Target) -> Facts {
    let is_to_all = match &job.scenario {
        Scenario::Broadcast(broadcast) => {
            let setting = &broadcast.setting;
            setting.speech == ScopeMix::World && setting.deaf + setting.slow == 0
        }
        Scenario::Bots(_) => true,
        _ => false,
    };
    Facts {
        scenario: job.scenario.name(),
        target: target.server.address.to_string(),
        seed: job.seed,
        requested: u64::from(job.clients) * u64::from(job.scenario.rounds()),
        is_to_all,
        has_rate: is_adjustable(job),
        subject: match &job.scenario {
            Scenario::Connect(_) => Subject::Entries { leaves: false },
            Scenario::Login(login) => Subject::Entries { leaves: matches!(login.stay, Stay::Leave { .. }) },
            Scenario::Broadcast(_) | Scenario::Bots(_) => Subject::Messages,
        },
        standing: job.standing.as_deref().cloned(),
    }
}

/// The time between two messages, where that is the same all the time.
pub(super) fn interval(job: &Job) -> Option<Duration> {
    match &job.scenario {
        Scenario::Broadcast(broadcast) if broadcast.ahead.is_none() => Some(broadcast.interval),
        _ => None,
    }
}

/// Whether keys may change how often messages come. Of several steps that is what each is about.
fn is_adjustable(job: &Job) -> bool {
    interval(job).is_some() && job.standing.is_none()
}

/// The same job with messages for higher rates, if it is one whose rate may change.
pub(super) fn adjustable(job: &Job) -> Option<Job> {
    if !is_adjustable(job) {
        return None;
    }
    let mut job = job.clone();
    if let Scenario::Broadcast(broadcast) = &mut job.scenario {
        broadcast.is_adjustable = true;
    }
    Some(job)
}

impl Run<'_> {
    /// The run does something else from now on; a clock may decide when that ends.
    pub(super) fn phase(&mut self, phase: Phase, until: Option<Nanos>) {
        let now = self.now();
        self.display.phase(phase, now, until);
    }

    /// Shows how things stand, and does what a key wants.
    pub(super) fn display_totals(&mut self, totals: &Totals, now: Nanos) {
        let read_lag = self.fleet.panels().iter().map(Panel::read_lag).max().unwrap_or(0);
        if let Some(key) = self.display.look(now, totals, read_lag, self.shutdown) {
            self.change_rate(key);
        }
    }

    /// Has messages come more or less often from soon on. Nothing happens before they come at all, or at the end.
    fn change_rate(&mut self, key: RateKey) {
        let (Scenario::Broadcast(broadcast), Some(counted)) = (&self.job.scenario, &self.counted) else {
            return;
        };
        // So fast that there are as many messages as were drawn, and none are wanting.
        let shortest = broadcast.duration / broadcast.messages_drawn().max(1);
        let before = self
            .rate_changes
            .last()
            .map_or(broadcast.interval, |change| Duration::from_nanos(change.interval));
        let wanted = key.interval(before, broadcast.interval, shortest);
        let at = self.plan.clock.now().saturating_add(LEAD);
        // That message keeps its time, and those after it follow faster or slower.
        let from = counted.intended(counted.due_before(at));
        if wanted == before || from == NEVER || !self.fleet.change_rate(at, wanted) {
            return;
        }
        self.rate_changes.push(RateChange::new(from, nanos(wanted)));
        self.display.rate(from, wanted, broadcast.interval);
    }
}
