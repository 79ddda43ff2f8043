//! Runs of several steps with simulated servers: the order of the runs, and the report.

use std::collections::VecDeque;
use std::time::SystemTime;

use clap::Parser;
use throng_core::shutdown::Shutdown;
use throng_harness::args::{Cli, Task};
use throng_harness_driver::steps::{Basis, LimitedBy, Phase, SteppedReport, StepsJob, Usl, run};
use throng_harness_model::exit::{EXIT_BROKEN, EXIT_INTERRUPTED, EXIT_INVALID, EXIT_OK};
use throng_harness_model::procstat::Usage;
use throng_harness_model::record::Spread;
use throng_harness_model::results::{Clients, Deliveries, Findings, Rates, Second};
use throng_harness_model::spec::{Job, Scenario, Standing};
use throng_harness_model::target::{Endpoint, Target};
use throng_harness_report::{Document, Form, Machine, Origin, Text};

const MS: u64 = 1_000_000;

fn job(line: &str) -> StepsJob {
    let line = format!("throng-harness {line} --data d --seed 9 --pause 0s");
    match Cli::try_parse_from(line.split_whitespace()).expect("valid").check().expect("valid") {
        Task::Steps(job) => job,
        task => panic!("{task:?}"),
    }
}

fn target() -> Target {
    let server = Endpoint { address: ([127, 0, 0, 1], 9).into(), key: [0; 32] };
    Target { server, nodes: Vec::new(), cluster_key: None, pid: None }
}

/// Findings in which every message reached its last recipient after `last_ms`, and `missing`
/// deliveries are missing.
fn findings(job: &Job, last_ms: u64, missing: u64) -> Findings {
    let Scenario::Broadcast(broadcast) = &job.scenario else { panic!("{job:?}") };
    let (messages, clients) = (u64::from(broadcast.messages), u64::from(job.clients));
    let expected = messages * clients;
    let mut found = Findings {
        clients: Clients { requested: clients, connected: clients, ..Clients::default() },
        sent: messages,
        deliveries: Some(Deliveries {
            expected,
            received: expected - missing,
            missing,
            ..Deliveries::default()
        }),
        rates: Rates::new(messages, broadcast.duration, messages, broadcast.duration),
        measured: broadcast.duration,
        spread: Spread::default(),
        workers: 1,
        timeline: vec![Second::default()],
        ..Findings::default()
    };
    found.recorder.corrected.record(last_ms * MS);
    found.spread.last.record(last_ms * MS);
    found
}

/// Result of a run of several steps: its report, (clients, is a closed loop) of all runs, and the
/// progress messages.
type RunOutcome = (Result<SteppedReport, String>, Vec<(u32, bool)>, Vec<String>);

/// Runs `line`, with `server` as every step's result.
fn run_line(
    line: &str,
    shutdown: &Shutdown,
    mut server: impl FnMut(&Job) -> Result<Findings, &'static str>,
) -> RunOutcome {
    let origin = Origin { command: vec![], started: SystemTime::UNIX_EPOCH, machine: Machine::default() };
    let (mut runs, mut messages) = (Vec::new(), Vec::new());
    let report = run(
        &job(line),
        &origin,
        &target(),
        shutdown,
        &mut |text| messages.push(text.to_owned()),
        |job, _| {
            let closed = matches!(&job.scenario, Scenario::Broadcast(broadcast) if broadcast.ahead.is_some());
            runs.push((job.clients, closed));
            server(job)
        },
    );
    (report, runs, messages)
}

/// The standings shown in the live views of the runs of `line`.
fn standings(line: &str, server: impl Fn(&Job) -> Findings) -> Vec<Standing> {
    let mut standings = Vec::new();
    let (report, ..) = run_line(line, &Shutdown::new(), |job| {
        standings.extend(job.standing.as_deref().cloned());
        Ok(server(job))
    });
    report.expect("it can be run");
    standings
}

#[test]
fn every_run_shows_the_standing_of_the_steps() {
    let slow = |job: &Job| findings(job, if job.clients > 20 { 150 } else { 5 }, 0);
    let ramp = standings("ramp --steps 20,30,40", slow);
    let steps: Vec<_> = ramp.iter().map(|standing| standing.step.as_str()).collect();
    assert_eq!(
        steps,
        [
            "step 1 of 3, 20 clients",
            "step 2 of 3, 30 clients",
            "step 3 of 4, 30 clients, repeated because it was not good",
            "step 4, 20 clients, to confirm the result",
        ]
    );
    assert!(ramp.iter().all(|standing| standing.scenario == "ramp"));
    assert_eq!(ramp[0].before, [""; 0]);
    assert_eq!(
        ramp[3].before,
        [
            "1  20 clients  good, last p99 5.00 ms",
            "2  30 clients  server's limit: last_recipient.p99=100ms: found 150 ms",
            "3  30 clients  server's limit: last_recipient.p99=100ms: found 150 ms"
        ]
    );
    let bench = standings("bench --steps 10,20", slow);
    let steps: Vec<_> = bench.iter().map(|standing| standing.step.as_str()).collect();
    assert_eq!(steps[1], "step 1 of 2, 10 clients in a closed loop");
    assert_eq!((steps.len(), steps[2]), (4, "step 2 of 2, 20 clients"));
    // The standing has the step's own result during its closed loop, and the capacity afterwards.
    assert_eq!(bench[1].before, ["1  10 clients  good, last p99 5.00 ms"]);
    assert!(bench[2].before[0].starts_with("1  10 clients  good, last p99 5.00 ms, at most "), "{bench:?}");
    let rate = standings("ramp --over rate --clients 5 --steps 1000", slow);
    assert_eq!(rate[0].step, "step 1 of 1, 1,000 messages/s");
}

#[test]
fn a_ramp_finds_the_limit_and_confirms_it() {
    let slow = |job: &Job| Ok(findings(job, if job.clients > 20 { 150 } else { 5 }, 0));
    let (report, runs, messages) = run_line("ramp --steps 10,20,30,40", &Shutdown::new(), slow);
    let report = report.expect("it can be run");
    assert_eq!(runs, [(10, false), (20, false), (30, false), (30, false), (20, false)]);
    assert_eq!(
        (report.report.scenario.as_str(), report.exit_code(), report.report.clients.connected),
        ("ramp", EXIT_OK, 20)
    );
    let limit = &report.limit;
    assert_eq!((limit.good, limit.bad, limit.confirmed, limit.reported_step), (Some(20), Some(30), true, 5));
    assert_eq!(limit.limited_by, Some(LimitedBy::Server));
    assert_eq!(
        limit.summary,
        "20 clients were good (confirmed); 30 clients were not: last_recipient.p99=100ms: found 150 ms"
    );
    assert_eq!(messages[0], "step 1 of 4: 10 clients, 10.0 messages/s for 30s");
    assert_eq!(messages[8], "step 5: 20 clients, 20.0 messages/s for 30s, to confirm the result");
    let text = report.to_string();
    for part in
        ["server's limit", "good (confirmation)", "Step 5 of 5 in full", "held    last_recipient.p99=100ms"]
    {
        assert!(text.contains(part), "no `{part}` in:\n{text}");
    }
    let json = serde_json::to_value(&report).expect("JSON");
    assert_eq!((&json["verdict"], &json["clients"]["connected"]), (&"pass".into(), &20.into()));
    let steps = json["steps"].as_array().expect("steps");
    assert_eq!(steps.len(), 5);
    assert_eq!((&steps[2]["good"], &steps[2]["limited_by"]), (&false.into(), &"server".into()));
    assert_eq!((&steps[4]["phase"], &steps[4]["size"]), (&"confirm".into(), &20.into()));
    assert_eq!(json["limit"]["good"], 20);
    assert!(json["forecast"].is_null() && steps[0].get("report").is_none());
}

#[test]
fn a_ramp_whose_first_step_is_bad_fails() {
    let (report, runs, _) =
        run_line("ramp --pattern gradual", &Shutdown::new(), |job| Ok(findings(job, 5, 1)));
    let report = report.expect("it can be run");
    assert_eq!((runs.len(), report.exit_code()), (2, EXIT_BROKEN));
    let limit = &report.limit;
    assert_eq!((limit.good, limit.bad, limit.reported_step), (None, Some(10), 1));
    assert!(limit.summary.starts_with("no step was good: with 10 clients, missing=0"), "{limit:?}");
    assert!(report.to_string().contains("BROKEN  a good step              found none"), "{report}");
}

#[test]
fn the_harnesss_limit_is_not_reported_as_the_servers() {
    let busy = |job: &Job| {
        let mut found = findings(job, if job.clients > 10 { 150 } else { 5 }, 0);
        let cpu_s = if job.clients > 10 { 29.0 } else { 3.0 };
        found.harness =
            Some(Usage { pid: 1, cpu_s, rss_bytes: 1, rss_start_bytes: 1, rss_peak_bytes: 1, alive: true });
        Ok(found)
    };
    let (report, _, messages) = run_line("ramp --steps 10,20", &Shutdown::new(), busy);
    let report = report.expect("it can be run");
    let limit = &report.limit;
    assert_eq!((limit.limited_by, report.exit_code()), (Some(LimitedBy::Harness), EXIT_INVALID));
    assert!(report.to_string().contains("\nINVALID: harness or machine were not good"), "{report}");
    assert!(limit.summary.contains("the harness's own limit: nothing is known of the server's"), "{limit:?}");
    assert!(messages[3].contains("because of the harness's limit and not the server's"), "{messages:?}");
}

/// Findings of a harness without CPU time left.
fn busy(found: Findings) -> Findings {
    let usage =
        Usage { pid: 1, cpu_s: 29.9, rss_bytes: 1, rss_start_bytes: 1, rss_peak_bytes: 1, alive: true };
    Findings { harness: Some(usage), ..found }
}

#[test]
fn a_step_that_overloads_the_harness_is_repeated() {
    let mut late = VecDeque::from([true, false, true, true, false]);
    let server = |job: &Job| {
        let is_late = late.pop_front().unwrap_or(false);
        let found = findings(job, if is_late || job.clients > 20 { 150 } else { 5 }, 0);
        Ok(if is_late { busy(found) } else { found })
    };
    let (report, runs, messages) = run_line("ramp --steps 10,20,30", &Shutdown::new(), server);
    let report = report.expect("it can be run");
    assert_eq!(
        runs.iter().map(|(clients, _)| *clients).collect::<Vec<_>>(),
        [10, 10, 20, 20, 20, 30, 30, 20]
    );
    let stepped = &report;
    assert_eq!((stepped.steps[1].phase, stepped.steps[1].good), (Some(Phase::Repeat), true));
    let limit = &stepped.limit;
    assert_eq!((limit.good, limit.bad, limit.limited_by), (Some(20), Some(30), Some(LimitedBy::Server)));
    assert!(limit.summary.starts_with("20 clients were good (confirmed); 30 clients were not"), "{limit:?}");
    assert_eq!(
        messages[2],
        "step 2 of 4: 10 clients, 10.0 messages/s for 30s, repeated because it was not good"
    );
    assert!(messages[4].starts_with("step 3 of 4: 20 clients"), "{messages:?}");
    assert!(report.to_string().contains("harness's limit (repeated)"), "{report}");
}

#[test]
fn a_step_that_overloads_the_harness_is_no_limit_of_the_server() {
    let late_at = |late: u32| {
        move |job: &Job| {
            let found = findings(job, if job.clients == late { 150 } else { 5 }, 0);
            Ok(if job.clients == late { busy(found) } else { found })
        }
    };
    let (report, runs, _) = run_line("ramp --steps 10,20,30 --keep-going", &Shutdown::new(), late_at(20));
    let report = report.expect("it can be run");
    let limit = &report.limit;
    assert_eq!((runs.len(), limit.good, limit.bad, report.exit_code()), (5, Some(30), None, EXIT_OK));
    let (report, runs, _) = run_line("ramp --steps 10,20", &Shutdown::new(), late_at(10));
    let report = report.expect("it can be run");
    assert_eq!((runs.len(), report.exit_code()), (3, EXIT_INVALID));
    let summary = &report.limit.summary;
    let wanted =
        "no step was good; 10 clients met the harness's own limit: nothing is known of the server's (";
    assert!(summary.starts_with(wanted) && !summary.contains("were not"), "{summary}");
    // A lost delivery is no matter of the harness's time.
    let lossy = |job: &Job| Ok(busy(findings(job, 150, 1)));
    let (report, _, _) = run_line("ramp --steps 10,20", &Shutdown::new(), lossy);
    assert_eq!(report.expect("it can be run").exit_code(), EXIT_BROKEN);
}

#[test]
fn a_bench_counts_the_last_try_of_a_step() {
    let mut tries = 0;
    let server = |job: &Job| {
        tries += 1;
        // The overload also breaks the latency objective.
        Ok(if tries == 1 { busy(findings(job, 60, 0)) } else { findings(job, 5, 0) })
    };
    let (report, runs, _) = run_line("bench --steps 10,20 --slo 50ms", &Shutdown::new(), server);
    let report = report.expect("it can be run");
    assert_eq!(runs, [(10, false), (10, false), (10, true), (20, false), (20, true)]);
    assert_eq!(report.exit_code(), EXIT_OK, "{report}");
    assert!(report.to_string().contains("2 of 2 steps were good"), "{report}");
    // A step that stays without evidence cannot be judged, unless it was good all the same.
    let late = |last_ms, more: &str| {
        let line = format!("bench --steps 10,20 {more}");
        let server = |job: &Job| Ok(busy(findings(job, last_ms, 0)));
        run_line(&line, &Shutdown::new(), server).0.expect("it can be run")
    };
    let report = late(60, "--slo 50ms");
    assert_eq!(report.exit_code(), EXIT_INVALID, "{report}");
    assert!(report.to_string().contains("found step 3: last_recipient.p99=50ms: found 60.0 ms"), "{report}");
    assert_eq!(late(5, "--slo 50ms").exit_code(), EXIT_OK);
    assert_eq!(late(5, "--require-valid").exit_code(), EXIT_INVALID);
    assert_eq!(late(60, "").exit_code(), EXIT_OK);
    // Missing deliveries count even if the harness was overloaded.
    let mut tries = 0;
    let server = |job: &Job| {
        tries += 1;
        Ok(if tries == 1 { busy(findings(job, 5, 1)) } else { findings(job, 5, 0) })
    };
    let (report, runs, _) = run_line("bench --steps 10,20", &Shutdown::new(), server);
    let report = report.expect("it can be run");
    assert_eq!((runs.len(), report.exit_code()), (5, EXIT_BROKEN));
    assert!(report.to_string().contains("found step 1: missing=0: found 1 of"), "{report}");
}

#[test]
fn an_interrupted_run_is_reported_as_cut_short() {
    let cut_from = |number: usize| {
        let mut runs = 0;
        move |job: &Job| {
            runs += 1;
            Ok(Findings { interrupted: runs >= number, ..findings(job, 5, 0) })
        }
    };
    for (line, number, summary) in [
        (
            "ramp --steps 5,10,20",
            3,
            "the run was cut short after 2 steps: good up to 10 clients, and no limit was met",
        ),
        ("ramp --steps 5,10,20", 1, "the run was cut short before a step was completed"),
        ("bench --steps 5,10,20", 1, "the run was cut short before a step was completed"),
        (
            "bench --steps 5,10,20",
            3,
            "the run was cut short after 1 step: 1 of 1 steps were good, the largest with 5 clients",
        ),
    ] {
        let (report, _, _) = run_line(line, &Shutdown::new(), cut_from(number));
        let report = report.expect("it can be run");
        let stepped = &report;
        assert_eq!((stepped.limit.summary.as_str(), report.exit_code()), (summary, EXIT_INTERRUPTED));
        let none = stepped.forecast.as_ref().map(|forecast| forecast.none_because.as_deref());
        if let Some(none) = none {
            assert!(none.is_some_and(|none| none.starts_with("the run was cut short, with ")), "{none:?}");
        }
        let text = report.to_string();
        assert!(!text.contains("no step was good") && text.contains(summary), "{text}");
    }
}

#[test]
fn a_search_over_the_rate_has_a_fixed_number_of_clients() {
    let rate = |job: &Job| match &job.scenario {
        Scenario::Broadcast(broadcast) => 1.0 / broadcast.interval.as_secs_f64(),
        _ => 0.0,
    };
    let slow = |job: &Job| Ok(findings(job, if rate(job) > 333.0 { 150 } else { 5 }, 0));
    let line = "ramp --search rate --from 100 --to 10000 --clients 7";
    let (report, runs, messages) = run_line(line, &Shutdown::new(), slow);
    let report = report.expect("it can be run");
    assert!(runs.iter().all(|(clients, _)| *clients == 7));
    let limit = &report.limit;
    assert!(limit.confirmed && limit.good.is_some_and(|good| (315..=333).contains(&good)), "{limit:?}");
    assert!(limit.summary.contains("messages/s were good"), "{limit:?}");
    assert!(messages.iter().any(|text| text.contains("between the good and the bad sizes")), "{messages:?}");
    assert!(messages[0].starts_with("step 1: 7 clients, 100.0 messages/s for 10s"), "{messages:?}");
}

#[test]
fn a_ramp_without_flags_searches_and_answers() {
    let slow = |job: &Job| Ok(findings(job, if job.clients > 700 { 150 } else { 5 }, 0));
    let (report, _, messages) = run_line("ramp", &Shutdown::new(), slow);
    let report = report.expect("it can be run");
    let limit = &report.limit;
    assert!(limit.confirmed && limit.good.is_some_and(|good| (665..=700).contains(&good)), "{limit:?}");
    let answer = limit.answer.as_deref().expect("an answer");
    for part in ["The server holds ", " players with ", "are too many for it", "For more: "] {
        assert!(answer.contains(part), "no `{part}` in: {answer}");
    }
    assert!(messages[0].starts_with("step 1: 100 clients, 100.0 messages/s for 5s"), "{messages:?}");
    let brief = Text { document: &report, form: Form { columns: 80, is_verbose: false } }.to_string();
    let last: Vec<_> = brief.trim_end().lines().rev().take(6).collect();
    assert!(last.iter().any(|line| line.starts_with("ramp: PASS")), "{brief}");
}

#[test]
fn a_step_that_would_not_end_in_time_is_not_begun() {
    let (report, runs, _) = run_line("ramp --within 0s", &Shutdown::new(), |job| Ok(findings(job, 5, 0)));
    let report = report.expect("it can be run");
    assert_eq!((runs.len(), report.exit_code(), report.limit.good), (1, EXIT_OK, Some(100)));
    let answer = report.limit.answer.expect("an answer");
    assert!(answer.contains("about 100 players") && answer.contains("not confirmed"), "{answer}");
    assert!(answer.contains("the steps ended before a limit"), "{answer}");
}

#[test]
fn an_interrupted_step_is_in_the_report() {
    let shutdown = Shutdown::new();
    let cut = |job: &Job| {
        let interrupted = job.clients == 30;
        Ok(Findings { interrupted, ..findings(job, 5, 0) })
    };
    let (report, runs, _) = run_line("ramp --pattern gradual", &shutdown, cut);
    let report = report.expect("it can be run");
    assert_eq!((runs.len(), report.exit_code()), (3, EXIT_INTERRUPTED));
    let stepped = &report;
    assert_eq!(
        (stepped.limit.good, stepped.limit.bad, report.report.clients.connected),
        (Some(20), None, 20)
    );
    assert_eq!((stepped.steps[2].outcome(), stepped.steps[2].good), ("cut short", false));
    // Between two steps.
    let (report, runs, _) = run_line("ramp --steps 10,20", &shutdown, |job| {
        shutdown.request(throng_core::shutdown::Cause::Interrupted);
        Ok(findings(job, 5, 0))
    });
    let report = report.expect("it can be run");
    assert_eq!((runs.len(), report.exit_code()), (1, EXIT_INTERRUPTED));
    assert_eq!(report.limit.good, Some(10));
}

#[test]
fn a_server_that_goes_away_ends_the_run() {
    let mut answers = VecDeque::from([Ok(5), Ok(5), Err("cannot connect")]);
    let mut server = |job: &Job| answers.pop_front().expect("three runs").map(|last| findings(job, last, 0));
    let (report, _, _) = run_line("ramp --pattern gradual", &Shutdown::new(), &mut server);
    let report = report.expect("the first step could be made");
    assert_eq!((report.exit_code(), report.report.clients.connected), (EXIT_BROKEN, 20));
    assert_eq!(report.report.incomplete_because, ["step 3 could not be run: cannot connect"]);
    let (report, _, _) = run_line("ramp --pattern gradual", &Shutdown::new(), |_| Err("cannot connect"));
    assert_eq!(report.map(drop), Err("cannot connect".to_owned()));
}

#[test]
fn a_bench_compares_all_steps_and_forecasts() {
    let law = Usl { lambda: 500.0, sigma: 0.05, kappa: 0.0 };
    let server = |job: &Job| {
        let mut found = findings(job, 5, 0);
        // One recorded delivery, at the CPU time of the law.
        let x = law.at(f64::from(job.clients));
        let count = 10_000_u64;
        (1..count).for_each(|_| found.recorder.corrected.record(5 * MS));
        found.server = Some(Usage {
            pid: 1,
            cpu_s: count as f64 / x,
            rss_bytes: 1,
            rss_start_bytes: 1,
            rss_peak_bytes: 1,
            alive: true,
        });
        Ok(found)
    };
    let (report, runs, _) = run_line("bench --keep-reports --forecast 400", &Shutdown::new(), server);
    let report = report.expect("it can be run");
    let all = [10, 25, 50, 75, 100];
    assert_eq!(
        runs,
        all.iter().flat_map(|clients| [(*clients, false), (*clients, true)]).collect::<Vec<_>>()
    );
    assert_eq!(
        (report.report.scenario.as_str(), report.exit_code(), report.report.clients.connected),
        ("bench", EXIT_OK, 100)
    );
    let forecast = report.forecast.as_ref().expect("a bench has one");
    assert_eq!((forecast.basis, forecast.predicted.len()), (Some(Basis::ServerCpu), 1));
    assert!((forecast.predicted[0].deliveries_per_s / law.at(400.0) - 1.0).abs() < 0.01, "{forecast:?}");
    let json = serde_json::to_value(&report).expect("JSON");
    assert_eq!(json["steps"][0]["report"]["clients"]["connected"], 10);
    assert!(json["forecast"]["held_out"]["error_percent"].as_f64().is_some_and(|error| error.abs() < 1.0));
    let text = report.to_string();
    for part in [
        "forecast    400 clients",
        "its error   for 100 clients the smaller steps alone",
        "Universal Scalability Law",
    ] {
        assert!(text.contains(part), "no `{part}` in:\n{text}");
    }
    let page = report.to_html("run.html");
    for part in [
        "<h2>Steps</h2>",
        "<h2>Capacity</h2>",
        "Latency by clients",
        "measured 100 clients:",
        "of step 5 of 5",
    ] {
        assert!(page.contains(part), "no `{part}` in:\n{page}");
    }
    assert!(!page.contains("NaN"), "{page}");
}

#[test]
fn a_bench_fails_with_any_bad_step() {
    let line = "bench --steps 10,20,30 --slo 50ms --no-capacity";
    let slow = |job: &Job| Ok(findings(job, if job.clients == 10 { 60 } else { 5 }, 0));
    let (report, runs, _) = run_line(line, &Shutdown::new(), slow);
    let report = report.expect("it can be run");
    assert_eq!((runs.len(), report.exit_code(), report.report.clients.connected), (4, EXIT_BROKEN, 30));
    assert!(report.forecast.is_none());
    let text = report.to_string();
    let broken = "BROKEN  all steps                found step 2: last_recipient.p99=50ms: found 60.0 ms";
    assert!(
        text.contains(broken) && text.contains("2 of 3 steps were good, the largest with 30 clients"),
        "{text}"
    );
    // A loss in a closed loop counts as well.
    let lossy = |job: &Job| {
        let is_closed = matches!(&job.scenario, Scenario::Broadcast(broadcast) if broadcast.ahead.is_some());
        Ok(findings(job, 5, u64::from(is_closed && job.clients == 20)))
    };
    let (report, _, _) = run_line("bench --steps 10,20", &Shutdown::new(), lossy);
    let report = report.expect("it can be run");
    assert_eq!(report.exit_code(), EXIT_BROKEN);
    assert!(report.to_string().contains("found step 2: missing=0: found 1 of"), "{report}");
    let (report, _, _) = run_line("bench --steps 10,20,30", &Shutdown::new(), |job| Ok(findings(job, 5, 0)));
    let report = report.expect("it can be run");
    let none = report.forecast.as_ref().and_then(|forecast| forecast.none_because.clone());
    assert!(none.is_some_and(|none| none.contains("there are 3")), "{report}");
    assert_eq!(report.exit_code(), EXIT_OK);
}
