//! The live display of a run, and the keys that change its rate.

use std::time::Duration;

use throng_harness_model::audiences::ScopeMix;
use throng_harness_model::clock::{NEVER, Nanos, nanos};
use throng_harness_model::results::{RateChange, Totals};
use throng_harness_model::spec::{Job, Scenario, Stay};
use throng_harness_model::target::Target;
use throng_harness_model::threshold::{Figure, Rule, Series};
use throng_harness_terminal::RateKey;

use super::Run;
use super::broadcast::LEAD;
use crate::live::{Facts, Panel, Phase, Subject};

/// The facts that hold for the whole run.
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
        latency_limit: latency_limit(job),
    }
}

/// The threshold of the p99 latency in microseconds, or else of the last recipients'.
fn latency_limit(job: &Job) -> Option<(&'static str, f64)> {
    let limit_of = |wanted: Series, name: &'static str| {
        job.thresholds.iter().find_map(|threshold| match threshold.rule() {
            Rule::Time(series, Figure::P99, limit) if series == wanted => {
                Some((name, limit.as_secs_f64() * 1e6))
            }
            _ => None,
        })
    };
    limit_of(Series::Latency, "limit").or_else(|| limit_of(Series::LastRecipient, "limit of the last"))
}

/// The time between two messages; none if it is not constant.
pub(super) fn interval(job: &Job) -> Option<Duration> {
    match &job.scenario {
        Scenario::Broadcast(broadcast) if broadcast.ahead.is_none() => Some(broadcast.interval),
        _ => None,
    }
}

/// Returns true if keys may change the rate. In a run with steps each step has its own rate.
fn is_adjustable(job: &Job) -> bool {
    interval(job).is_some() && job.standing.is_none()
}

/// The job with additional messages drawn for higher rates; none if its rate cannot change.
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
    /// Shows the run's new phase, and its end if the clock decides it.
    pub(super) fn phase(&mut self, phase: Phase, until: Option<Nanos>) {
        let now = self.now();
        self.display.phase(phase, now, until);
    }

    /// Updates the display, and applies a key.
    pub(super) fn display_totals(&mut self, totals: &Totals, now: Nanos) {
        let read_lag = self.fleet.panels().iter().map(Panel::read_lag).max().unwrap_or(0);
        self.show_said(now);
        if let Some(key) = self.display.update(now, totals, read_lag, self.shutdown) {
            self.change_rate(key);
        }
    }

    /// Shows the bots' latest message that a worker has received. Several between two looks are
    /// too fast to read, so the others are left out.
    fn show_said(&mut self, now: Nanos) {
        let Some(script) = &self.plan.script else { return };
        let heard = self.fleet.panels().iter().filter_map(Panel::heard).max();
        let Some(index) = heard.filter(|index| self.said.is_none_or(|last| *index > last)) else { return };
        self.said = Some(index);
        if let (Some(sender), Some(line)) = (script.traffic().sender(index), script.line(index)) {
            let answered = script.answers(index).and_then(|answered| script.traffic().sender(answered));
            let to = answered.map_or(String::new(), |bot| format!(" to bot {bot}"));
            self.display.said(now, format!("bot {sender}{to}: {}", line.text));
        }
    }

    /// Changes the interval of messages from shortly after now. Does nothing before the messages
    /// begin, or at their end.
    fn change_rate(&mut self, key: RateKey) {
        let (Scenario::Broadcast(broadcast), Some(counted)) = (&self.job.scenario, &self.counted) else {
            return;
        };
        // The rate at which all the messages drawn are used up.
        let shortest = broadcast.duration / broadcast.messages_drawn().max(1);
        let current = self
            .rate_changes
            .last()
            .map_or(broadcast.interval, |change| Duration::from_nanos(change.interval));
        let interval = key.interval(current, broadcast.interval, shortest);
        let at = self.plan.clock.now().saturating_add(LEAD);
        // The first message after `at` keeps its time; those after it follow at the new interval.
        let from = counted.intended(counted.due_before(at));
        if interval == current || from == NEVER || !self.fleet.change_rate(at, interval) {
            return;
        }
        self.rate_changes.push(RateChange::new(from, nanos(interval)));
        self.display.rate(from, interval, broadcast.interval);
    }
}
