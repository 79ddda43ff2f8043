//! The messages of a run and their deliveries, as a part of its findings.

use std::sync::Arc;
use std::time::Duration;

use throng_harness_model::clock::{NEVER, Nanos};
use throng_harness_model::fingerprint::Planned;
use throng_harness_model::plan::Plan;
use throng_harness_model::results::{BotsReport, Findings, Rates};
use throng_harness_model::send_schedule::SendSchedule;
use throng_harness_model::spec::{Job, Scenario};

use super::{bots, broadcast};
use crate::live::add_last_recipients;
use crate::verify::{MessageLog, Settlement};

/// The settled messages of all workers.
pub(super) struct MessageResults {
    pub(super) settlement: Settlement,
    /// The schedule of counted messages, if they came to be scheduled.
    pub(super) counted: Option<Arc<SendSchedule>>,
    /// Bots' answers that were skipped, because the message to answer had not arrived.
    pub(super) unprovoked: u64,
    /// The time of the last message sent.
    pub(super) last_sent: Nanos,
}

impl MessageResults {
    /// Adds the messages to the findings of a run of `job` by `plan`.
    pub(super) fn report(self, job: &Job, plan: &Plan, findings: &mut Findings) {
        let Self { settlement, counted, unprovoked, last_sent } = self;
        let Settlement { sent, deliveries, log } = settlement;
        let counted = counted.unwrap_or_else(|| Arc::new(SendSchedule::listed(NEVER, Arc::default())));
        findings.sent = sent;
        findings.deliveries = Some(deliveries);
        match (&job.scenario, &plan.script) {
            (Scenario::Broadcast(broadcast), _) => {
                let messages = plan.traffic.messages();
                findings.rates = broadcast::rates(broadcast, &counted, messages, sent, last_sent);
                // In a closed loop no message has a due time of its own.
                if broadcast.ahead.is_none() {
                    spread(findings, &log, &counted);
                }
                add_traffic(findings, plan, broadcast.payload, &counted, &log);
            }
            (Scenario::Bots(bots), Some(script)) => {
                findings.rates = bots::rates(bots, script, &log, unprovoked, &counted);
                spread(findings, &log, &counted);
                // Bots' messages differ in length, which the seed decides too.
                add_traffic(findings, plan, 0, &counted, &log);
                findings.bots = Some(BotsReport::new(plan.clients, script, log.sent_messages(), unprovoked));
            }
            _ => {}
        }
        let is_closed_loop = plan.ahead.is_some();
        if findings.interrupted && !is_closed_loop && last_sent > 0 {
            // An interrupted run offered only the messages due before its end.
            let elapsed = Duration::from_nanos(last_sent.saturating_sub(counted.start()));
            findings.rates = Rates::new(counted.due_before(last_sent + 1).into(), elapsed, sent, elapsed);
        }
    }
}

/// Adds the spread of deliveries, over the run and in each row of its timeline.
fn spread(findings: &mut Findings, log: &MessageLog, counted: &SendSchedule) {
    findings.spread = log.spread(counted);
    add_last_recipients(&mut findings.timeline, log.last_recipients(counted));
}

/// Adds the fingerprints of the planned and of the sent traffic.
fn add_traffic(
    findings: &mut Findings,
    plan: &Plan,
    payload: usize,
    counted: &SendSchedule,
    log: &MessageLog,
) {
    let due = |index| counted.intended(index).saturating_sub(counted.start());
    let planned = Planned {
        traffic: &plan.traffic,
        audiences: &plan.audiences,
        clients: plan.clients,
        payload,
        seed: plan.seed,
        churn: plan.churn,
        moves: plan.moves,
    };
    let to_send = 0..counted.due_before(NEVER).min(plan.traffic.messages());
    // A message's number determines its sender, audience and text: a delivery that differs from
    // them counts as `corrupted`.
    let sent = log.sent_messages();
    findings.traffic = Some(planned.fingerprint(to_send, due));
    findings.traffic_sent = Some(planned.fingerprint(sent, due));
}
