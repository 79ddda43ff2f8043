//! The `connect` scenario: clients enter with tickets, stay, and leave; some may reconnect.

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

/// From the end of the churn until the last disconnects have begun.
const AFTER_CHURN: Duration = Duration::from_millis(100);

/// Has all clients enter and stay for a while, then reconnect in a storm if asked to.
pub(super) fn run(run: &mut Run<'_>, connect: Connect) -> Result<(), Halt> {
    run.begin_measuring();
    run.enter()?;
    run.check_lists()?;
    run.fleet.send_all(|| Command::Reconnect(connect.churn));
    run.hold(connect.hold)?;
    run.fleet.send_all(|| Command::Reconnect(None));
    if connect.churn.is_some() {
        run.hold(AFTER_CHURN)?;
        wait_for_reconnects(run, 0)?;
        // Only clients that stayed are checked: a client that reconnects fetches its list anew.
        run.check_lists()?;
    }
    if connect.storm {
        let from = run.now();
        run.phase(Phase::Storm, None);
        run.fleet.send_all(|| Command::ReconnectAll);
        let workers = run.plan.workers.into();
        wait_for_reconnects(run, workers)?;
        run.storm_s = Some(run.now().saturating_sub(from) as f64 / 1e9);
        run.check_lists()?;
    }
    Ok(())
}

/// Waits until `storm_begun` workers have disconnected their clients, and then until every client
/// has reconnected or been given up.
fn wait_for_reconnects(run: &mut Run<'_>, storm_begun: u64) -> Result<(), Halt> {
    let patience = run.job.connect_timeout;
    run.wait(
        patience,
        |now| now.connected + now.listed + now.storm_begun,
        |now, _| now.storm_begun >= storm_begun && now.reconnecting == 0 && now.listed == now.connected,
        |now| {
            format!(
                "{} clients had not reconnected, and none did for {}",
                format_count(now.reconnecting),
                format_duration(patience)
            )
        },
    )?;
    run.require_clients("before they reconnected")
}

/// Clients that began to enter, and clients that entered, per second over all rounds.
pub(super) fn rates(plan: &Plan, connected: u64, last_entry: Nanos) -> Rates {
    let elapsed = Duration::from_nanos(last_entry.saturating_sub(plan.begin.intended(0)));
    let planned = plan.clients * plan.rounds;
    let time = plan.begin.intended(planned).saturating_sub(plan.begin.intended(0));
    Rates::new(planned.into(), Duration::from_nanos(time), connected, elapsed)
}
