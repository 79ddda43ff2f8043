//! What a run has said, and what became of it, as a part of its results.

use std::sync::Arc;
use std::time::Duration;

use super::{bots, broadcast};
use crate::cli::{Job, Scenario};
use crate::clock::{NEVER, Nanos};
use crate::fingerprint::fingerprint;
use crate::live::add_last_recipients;
use crate::record::Spread;
use crate::report::{BotsReport, Findings, Rates};
use crate::rhythm::Rhythm;
use crate::verify::{MessageLog, Settlement};
use crate::worker::Plan;

/// All workers' accounts of the messages.
pub(super) struct Said {
    pub(super) settlement: Settlement,
    /// When they were due, if it came to that.
    pub(super) counted: Option<Arc<Rhythm>>,
    /// Bots' answers that were not given.
    pub(super) unprovoked: u64,
    /// When the last one was sent.
    pub(super) last_sent: Nanos,
}

impl Said {
    /// Adds it to what a run of `job` by `plan` has found.
    pub(super) fn report(self, job: &Job, plan: &Plan, findings: &mut Findings) {
        let Self { settlement, counted, unprovoked, last_sent } = self;
        let Settlement { sent, deliveries, log } = settlement;
        let counted = counted.unwrap_or_else(|| Arc::new(Rhythm::listed(NEVER, Arc::default())));
        findings.sent = sent;
        findings.deliveries = Some(deliveries);
        match (&job.scenario, &plan.script) {
            (Scenario::Broadcast(broadcast), _) => {
                let messages = plan.traffic.messages();
                findings.rates = broadcast::rates(broadcast, &counted, messages, sent, last_sent);
                // In a closed loop nothing was due at a time of its own.
                if broadcast.ahead.is_none() {
                    spread(findings, &log, &counted);
                }
                findings.traffic = Some(traffic(plan, broadcast.payload, &counted));
            }
            (Scenario::Bots(bots), Some(script)) => {
                findings.rates = bots::rates(bots, script, &log, unprovoked, &counted);
                spread(findings, &log, &counted);
                // What bots say has a length of its own each time, which the seed decides too.
                findings.traffic = Some(traffic(plan, 0, &counted));
                findings.bots = Some(BotsReport::new(plan.clients, script, &log, unprovoked));
            }
            _ => {}
        }
        let is_closed_loop = plan.ahead.is_some();
        if findings.interrupted && !is_closed_loop && last_sent > 0 {
            // Of a plan that was cut short only what came before counts.
            let took = Duration::from_nanos(last_sent.saturating_sub(counted.start()));
            findings.rates = Rates::new(counted.due_before(last_sent + 1).into(), took, sent, took);
        }
    }
}

/// How messages reached their recipients as a whole, over the run and in each row of its timeline.
fn spread(findings: &mut Findings, log: &MessageLog, counted: &Rhythm) {
    findings.spread = Spread::of(log, counted);
    add_last_recipients(&mut findings.timeline, Spread::last_recipients(log, counted));
}

/// What tells this traffic from another.
fn traffic(plan: &Plan, payload: usize, counted: &Rhythm) -> String {
    let due = |index| counted.intended(index).saturating_sub(counted.start());
    fingerprint(&plan.traffic, counted.due_before(NEVER), &plan.crowd, plan.clients, payload, due)
}
