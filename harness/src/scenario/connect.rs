//! Clients enter with tickets, stay, and leave.

use std::time::Duration;

use super::{Halt, Run};
use crate::cli::Job;
use crate::clock::Nanos;
use crate::report::Rates;
use crate::worker::Plan;

/// Everybody enters and stays for `hold`.
pub(super) fn run(run: &mut Run<'_>, hold: Duration) -> Result<(), Halt> {
    run.begin_measuring();
    run.enter()?;
    run.look_at_lists()?;
    run.hold(hold)
}

/// Clients that began their way in, and that were in, each second, over all rounds.
pub(super) fn rates(plan: &Plan, job: &Job, connected: u64, last_entry: Nanos) -> Rates {
    let took = Duration::from_nanos(last_entry.saturating_sub(plan.begin.intended(0)));
    let planned = plan.clients * plan.rounds;
    Rates::new(planned.into(), job.connect_interval * planned, connected, took)
}
