//! The `login` scenario: players log in and enter the chat, with existing accounts or with new ones
//! for which they sign up and create a character.

use std::time::Duration;

use throng_core::config::format_duration;
use throng_harness_model::clock::Nanos;
use throng_harness_model::spec::{Connect, Login, Stay};
use throng_harness_model::text::format_count;

use super::{Halt, Run};
use crate::command::Command;

/// Has all clients log in and enter. The plan decides on their path; the workers run its steps.
pub(super) fn run(run: &mut Run<'_>, login: &Login) -> Result<(), Halt> {
    match login.stay {
        Stay::Hold(hold) => super::connect::run(run, Connect { hold, ..Connect::default() }),
        Stay::Leave { rounds } => {
            run.begin_measuring();
            run_rounds(run, rounds)
        }
    }
}

/// Entries per second, from the first attempt to the last entry.
pub(super) fn per_second(entries: u64, first_begin: Nanos, last_entry: Nanos) -> f64 {
    match Duration::from_nanos(last_entry.saturating_sub(first_begin)) {
        Duration::ZERO => 0.0,
        elapsed => entries as f64 / elapsed.as_secs_f64(),
    }
}

/// Waits until every client has entered and left in every round, or has been given up.
fn run_rounds(run: &mut Run<'_>, rounds: u32) -> Result<(), Halt> {
    let requested = u64::from(run.job.clients) * u64::from(rounds);
    let patience = run.job.connect_timeout + run.job.connect_interval;
    let done = run.wait(
        patience,
        // Grows with each entry, refusal and exit, and each step on the way.
        |now| now.connected + 2 * now.left + now.refused + now.login_steps(),
        |now, _| now.left + now.refused + now.failed + now.disconnected >= requested,
        |now| {
            format!(
                "clients had left the chat {} of {} times, {} were still in it, and none entered or left for {}",
                format_count(now.left),
                format_count(requested),
                format_count(now.connected),
                format_duration(patience)
            )
        },
    );
    if let Err(Halt::Incomplete(_)) = done {
        run.fleet.send_all(|| Command::GiveUpEntries("no more clients got in".into()));
    }
    done?;
    let now = run.fleet.totals();
    match now.left + now.disconnected {
        0 => Err(Halt::Incomplete("not one client got into the chat".into())),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {

    use throng_harness_model::clock::NEVER;

    use super::*;

    #[test]
    fn a_rate_needs_an_entry() {
        let check = |entries, first, last, rate: f64| {
            let found = per_second(entries, first, last);
            assert!((found - rate).abs() < 1e-9, "{found} is not {rate}");
        };
        check(50, 1_000_000_000, 3_000_000_000, 25.0);
        check(0, 1_000_000_000, 0, 0.0);
        check(0, NEVER, 0, 0.0);
    }
}
