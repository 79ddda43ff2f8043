//! Players log in and enter the chat: with a new account each, which they sign up and make a character
//! for, or with accounts that exist.

use std::time::Duration;

use throng_core::config::format_duration;
use throng_harness_model::clock::Nanos;
use throng_harness_model::spec::{Connect, Login, Stay};
use throng_harness_model::text::format_count;

use super::{Halt, Run};
use crate::command::Command;

/// Everybody comes the whole way. How they get in is the plan's; the steps on the way are the
/// workers'.
pub(super) fn run(run: &mut Run<'_>, login: &Login) -> Result<(), Halt> {
    match login.stay {
        // The phases are those of `connect`.
        Stay::Hold(hold) => super::connect::run(run, Connect { hold, ..Connect::default() }),
        Stay::Leave { rounds } => {
            run.begin_measuring();
            come_and_go(run, rounds)
        }
    }
}

/// Entries into the chat in each second from the first beginning to the last entry.
pub(super) fn per_second(entries: u64, first_begin: Nanos, last_entry: Nanos) -> f64 {
    match Duration::from_nanos(last_entry.saturating_sub(first_begin)) {
        Duration::ZERO => 0.0,
        took => entries as f64 / took.as_secs_f64(),
    }
}

/// Waits until every client has been in, and has left, as often as it was to, or is known not to.
fn come_and_go(run: &mut Run<'_>, rounds: u32) -> Result<(), Halt> {
    let requested = u64::from(run.job.clients) * u64::from(rounds);
    let patience = run.job.connect_timeout + run.job.connect_interval;
    let done = run.wait(
        patience,
        // Grows by one with each that comes in or is refused, and with each that leaves.
        |now| now.connected + 2 * now.left + now.refused,
        |now, _| now.left + now.refused + now.failed + now.disconnected >= requested,
        |now| {
            format!(
                "clients had been in the chat and had left it {} of {} times, {} were still there, and nobody else got in or out for {}",
                format_count(now.left),
                format_count(requested),
                format_count(now.connected),
                format_duration(patience)
            )
        },
    );
    if let Err(Halt::Incomplete(_)) = done {
        run.fleet.tell(|| Command::GiveUp("nobody got in any more".into()));
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
