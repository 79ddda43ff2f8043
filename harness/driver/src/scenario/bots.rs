//! The `bots` scenario: bots enter and talk to each other by a script drawn in advance.

use std::time::Duration;

use throng_harness_model::bots::Script;
use throng_harness_model::clock::{NEVER, nanos};
use throng_harness_model::results::Rates;
use throng_harness_model::send_schedule::SendSchedule;
use throng_harness_model::spec::Bots;

use super::broadcast::{self, LEAD};
use super::{Halt, Run};
use crate::verify::MessageLog;

/// Runs the phases of `broadcast`, without a warm-up: the messages are too few for one.
pub(super) fn run(run: &mut Run<'_>, bots: &Bots) -> Result<(), Halt> {
    broadcast::prepare(run)?;
    let start = run.now() + LEAD;
    let offsets = run.plan.script.as_ref().map(|script| script.offsets().clone());
    let counted = SendSchedule::listed(start, offsets.unwrap_or_default());
    let warmup = SendSchedule::even(start, Duration::ZERO);
    broadcast::exchange(run, warmup, counted, NEVER, bots.drain)
}

/// Messages offered and sent per second. Answers to messages that never arrived are not offered.
pub(super) fn rates(
    bots: &Bots,
    script: &Script,
    log: &MessageLog,
    unprovoked: u64,
    schedule: &SendSchedule,
) -> Rates {
    let offered = u64::from(script.messages()).saturating_sub(unprovoked);
    let sent = log.iter().filter(|message| message.was_sent()).count() as u64;
    let last = log.iter().zip(0..).filter(|(message, _)| message.was_sent()).last();
    let elapsed = last.map_or(Duration::ZERO, |(message, index)| {
        // The time until the next message would have been due belongs to the last one.
        let end = nanos(bots.duration);
        let offset = |index: u32| script.offsets().get(index as usize).copied().unwrap_or(end);
        let late = message.sent.saturating_sub(schedule.intended(index));
        Duration::from_nanos(offset(index + 1).saturating_add(late))
    });
    Rates::new(offered, bots.duration, sent, elapsed)
}
