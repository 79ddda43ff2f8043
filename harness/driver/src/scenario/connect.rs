//! Clients enter with tickets, stay, and leave; some may hang up and come again meanwhile.

use std::time::Duration;

use throng_core::config::format_duration;
use throng_harness_model::clock::Nanos;
use throng_harness_model::plan::Plan;
use throng_harness_model::results::Rates;
use throng_harness_model::spec::Connect;
use throng_harness_model::text::format_count;

use super::{Halt, Run};
use crate::command::Command;
use crate::live::Phase;

/// From the end of the coming and going until it is sure that nobody else hangs up.
const AFTER_CHURN: Duration = Duration::from_millis(100);

/// Everybody enters and stays for a while.
pub(super) fn run(run: &mut Run<'_>, connect: Connect) -> Result<(), Halt> {
    run.begin_measuring();
    run.enter()?;
    run.look_at_lists()?;
    run.fleet.tell(|| Command::Reconnect(connect.churn));
    run.hold(connect.hold)?;
    run.fleet.tell(|| Command::Reconnect(None));
    if connect.churn.is_some() {
        // A moment for those whose turn came last.
        run.hold(AFTER_CHURN)?;
        all_back(run, 0)?;
        // Of those who stayed: whoever comes back has its list anew.
        run.look_at_lists()?;
    }
    if connect.storm {
        let from = run.now();
        run.phase(Phase::Storm, None);
        run.fleet.tell(|| Command::Storm);
        let workers = run.plan.workers.into();
        all_back(run, workers)?;
        run.storm_s = Some(run.now().saturating_sub(from) as f64 / 1e9);
        run.look_at_lists()?;
    }
    Ok(())
}

/// Waits until everybody who hung up is in again, or is known not to get in; before that, until so many workers have had
/// everybody hang up.
fn all_back(run: &mut Run<'_>, stormed: u64) -> Result<(), Halt> {
    let patience = run.job.connect_timeout;
    run.wait(
        patience,
        |now| now.connected + now.listed + now.stormed,
        |now, _| now.stormed >= stormed && now.away == 0 && now.listed == now.connected,
        |now| {
            format!(
                "{} clients were still to come again, and nobody did for {}",
                format_count(now.away),
                format_duration(patience)
            )
        },
    )?;
    run.still_there("when they were to come again")
}

/// Clients that began their way in, and that were in, each second, over all rounds.
pub(super) fn rates(plan: &Plan, connected: u64, last_entry: Nanos) -> Rates {
    let took = Duration::from_nanos(last_entry.saturating_sub(plan.begin.intended(0)));
    let planned = plan.clients * plan.rounds;
    let time = plan.begin.intended(planned).saturating_sub(plan.begin.intended(0));
    Rates::new(planned.into(), Duration::from_nanos(time), connected, took)
}
