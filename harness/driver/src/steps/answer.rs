//! The answer of a ramp in one or two sentences: how many players at which rate, by which goal,
//! what ran out first, and what to do for more.

use std::fmt::Write as _;

use throng_harness_model::text::{format_count, format_rate};
use throng_harness_report::Report;

use super::{Axis, Found, LimitedBy, Step};

/// Formats the answer. `report` is that of the step that stands for the run; `is_cut` is true if
/// the user or the time ended the steps early.
pub(super) fn answer(axis: Axis, found: Found, steps: &[Step], report: &Report, is_cut: bool) -> String {
    let bad = found.bad.and_then(|bad| steps.iter().rfind(|step| step.size == bad && !step.good));
    let limit = bad.and_then(|step| step.limited_by);
    let held = |good| {
        let step = steps.iter().rfind(|step| step.size == good && step.good);
        holds(axis, found, step, report)
    };
    let mut text = match (found.good, limit) {
        (None, _) => format!("No number is known: {}", too_many(axis, bad)),
        // The size that was good says what other programs left, and nothing of the server.
        (Some(good), Some(LimitedBy::Machine)) => {
            format!(
                "Cannot tell how many: {}. With what was left, it held {}",
                too_many(axis, bad),
                held(good)
            )
        }
        (Some(good), _) => format!("The server holds {}; {}", held(good), bound(axis, bad, is_cut)),
    };
    let _ = write!(text, ". {}", advice(limit, found, is_cut));
    text
}

/// Formats the greatest good size, its rate and the goal, as what is held.
fn holds(axis: Axis, found: Found, step: Option<&Step>, report: &Report) -> String {
    let size = found.good.unwrap_or_default();
    let about = match (found.confirmed, found.bad) {
        (true, Some(_)) => "",
        (true, None) => "at least ",
        (false, _) => "about ",
    };
    let what = match axis {
        Axis::Clients => format!("{about}{} players", format_count(size.into())),
        Axis::Rate => format!(
            "{about}{} messages/s among {} players",
            format_count(size.into()),
            format_count(report.clients.requested)
        ),
    };
    let mut text = what;
    if let Some(step) = step {
        let rates = &step.rates;
        let messages = format!("{} messages/s", format_rate(rates.achieved_per_s));
        let deliveries = format!("{} deliveries/s", format_rate(rates.deliveries_per_s));
        let _ = match axis {
            Axis::Clients => write!(text, " with {messages} ({deliveries})"),
            Axis::Rate => write!(text, " ({deliveries})"),
        };
    }
    let goals: Vec<_> = report.thresholds.iter().map(|checked| checked.threshold.as_str()).collect();
    let times: Vec<_> =
        goals.into_iter().filter(|goal| goal.contains(".p") || goal.starts_with('p')).collect();
    if !times.is_empty() {
        let _ = write!(text, " within {}", times.join(", "));
    }
    if !found.confirmed {
        text.push_str(", not confirmed");
    }
    text
}

/// Formats the bound on the other side.
fn bound(axis: Axis, bad: Option<&Step>, is_cut: bool) -> String {
    match bad {
        Some(_) => too_many(axis, bad),
        None if is_cut => "the steps ended before a limit".into(),
        None => "no limit was met".into(),
    }
}

/// Formats the smallest size that was not good, and what ran out.
fn too_many(axis: Axis, bad: Option<&Step>) -> String {
    let Some(step) = bad else { return "no step was completed".into() };
    let size = format_count(step.size.into());
    let unit = match axis {
        Axis::Clients => "",
        Axis::Rate => " messages/s",
    };
    let why = step.because.first().map_or("", String::as_str);
    match step.limited_by {
        Some(LimitedBy::Server) => {
            let cpu = step.server_cpu().map(|cpu| format!(", the server at {:.0} % of a core", cpu * 100.0));
            format!("{size}{unit} are too many for it ({why}{})", cpu.unwrap_or_default())
        }
        Some(LimitedBy::Harness) => format!(
            "at {size}{unit} the harness ran out first, at {:.0} % of its cores ({why})",
            step.harness_load * 100.0
        ),
        Some(LimitedBy::Machine) => {
            format!("at {size}{unit} other programs used the machine ({why})")
        }
        Some(LimitedBy::Unexplained) => format!("{size}{unit} were too many, and nothing shows why ({why})"),
        None => format!("the step of {size}{unit} was cut short"),
    }
}

/// Formats what to do for more.
fn advice(limit: Option<LimitedBy>, found: Found, is_cut: bool) -> &'static str {
    match limit {
        Some(LimitedBy::Server) if found.good.is_none() => {
            "Start with fewer (--from), or allow more time (--slo)"
        }
        Some(LimitedBy::Server) => {
            "For more: a faster core, fewer messages a player, smaller rooms, or a longer --slo"
        }
        Some(LimitedBy::Harness) => "For more: --processes on spare cores, or the harness on another machine",
        Some(LimitedBy::Machine) => "End other programs, and run it again",
        Some(LimitedBy::Unexplained) => {
            "Run it again; `throng-harness monitor` beside it shows the server's queues"
        }
        None if is_cut => "Let it run to its end, with a longer --within if that ended it",
        None => "For more: a larger --to",
    }
}

#[cfg(test)]
mod tests {
    use throng_harness_model::procstat::Usage;
    use throng_harness_model::results::Rates;
    use throng_harness_report::Checked;

    use super::*;

    fn step(size: u32, limited_by: Option<LimitedBy>) -> Step {
        let rates = Rates { achieved_per_s: 950.0, deliveries_per_s: 902_500.0, ..Rates::default() };
        let because = limited_by.map(|_| "last_recipient.p99=100ms: found 180 ms".to_owned());
        let server = Some(Usage { cpu_s: 9.7, ..Usage::default() });
        Step {
            size,
            good: limited_by.is_none(),
            because: because.into_iter().collect(),
            limited_by,
            rates,
            server,
            measured_s: 10.0,
            harness_load: 0.93,
            ..Step::default()
        }
    }

    fn report() -> Report {
        let mut report = Report::default();
        for threshold in ["connected=100%", "last_recipient.p99=100ms"] {
            report.thresholds.push(Checked { threshold: threshold.into(), found: String::new(), held: true });
        }
        report.clients.requested = 40;
        report
    }

    fn of(axis: Axis, good: Option<u32>, bad: Option<LimitedBy>, confirmed: bool) -> String {
        let steps: Vec<_> = good
            .map(|size| step(size, None))
            .into_iter()
            .chain(bad.map(|why| step(1_000, Some(why))))
            .collect();
        let found = Found { good, bad: bad.map(|_| 1_000), confirmed };
        answer(axis, found, &steps, &report(), false)
    }

    #[test]
    fn the_answer_names_number_rate_goal_and_bottleneck() {
        assert_eq!(
            of(Axis::Clients, Some(950), Some(LimitedBy::Server), true),
            "The server holds 950 players with 950 messages/s (902,500 deliveries/s) within \
             last_recipient.p99=100ms; 1,000 are too many for it (last_recipient.p99=100ms: found 180 ms, \
             the server at 97 % of a core). For more: a faster core, fewer messages a player, smaller \
             rooms, or a longer --slo"
        );
        let harness = of(Axis::Rate, Some(950), Some(LimitedBy::Harness), false);
        assert!(
            harness
                .starts_with("The server holds about 950 messages/s among 40 players (902,500 deliveries/s)")
                && harness.contains("at 1,000 messages/s the harness ran out first, at 93 % of its cores"),
            "{harness}"
        );
    }

    #[test]
    fn the_answer_does_not_blame_the_server_without_evidence() {
        let machine = of(Axis::Clients, None, Some(LimitedBy::Machine), false);
        assert!(
            machine.starts_with("No number is known: at 1,000 other programs used the machine"),
            "{machine}"
        );
        assert!(machine.ends_with("End other programs, and run it again"), "{machine}");
        let machine = of(Axis::Clients, Some(950), Some(LimitedBy::Machine), false);
        assert!(
            machine.starts_with("Cannot tell how many: at 1,000 other programs used the machine")
                && machine.contains(". With what was left, it held about 950 players with 950 messages/s"),
            "{machine}"
        );
        let open = of(Axis::Clients, Some(5), None, true);
        assert!(open.starts_with("The server holds at least 5 players"), "{open}");
        assert!(open.ends_with("no limit was met. For more: a larger --to"), "{open}");
    }
}
