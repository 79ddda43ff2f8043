//! Runs of several steps against the stub: they must find the stub's limit.

use std::io::{BufRead, BufReader};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::stub::{Script, Stub};
use crate::{Ended, launch};

/// Ten messages of each client: few, and held long by the stub. A harness that is late by less than
/// that makes no step invalid, however busy the machine is.
const STEP: &str = "--each 200ms --duration 2s --warmup 20ms --drain 2s --pause 10ms --slo 10s";
const DELAY: Duration = Duration::from_millis(500);

/// A stub that drops the messages of one client from `from` clients on.
fn stub(from: usize) -> Stub {
    Stub::start(Script { drops_from: from, delay: DELAY, ..Script::default() })
}

/// The steps that count: on a busy machine some are repeated.
fn steps(ended: &Ended) -> Vec<&Value> {
    let all = ended.json["steps"].as_array().unwrap_or_else(|| panic!("no steps in {ended}"));
    let is_repeated = |at: usize| all.get(at + 1).is_some_and(|next| next["phase"] == "repeat");
    all.iter().enumerate().filter(|(at, _)| !is_repeated(*at)).map(|(_, step)| step).collect()
}

/// The sizes of these steps, good ones in parentheses.
fn sizes(ended: &Ended) -> String {
    let size = |step: &Value| match step["good"].as_bool() {
        Some(true) => format!("({})", step["size"]),
        _ => step["size"].to_string(),
    };
    steps(ended).into_iter().map(size).collect::<Vec<_>>().join(" ")
}

#[test]
fn a_ramp_finds_the_servers_limit_and_confirms_the_step_below() {
    let ended = launch(&stub(5), "ramp", &format!("{STEP} --steps 2,4,6,8 --keep-reports")).end();
    assert_eq!(sizes(&ended), "(2) (4) 6 (4)", "{ended}");
    ended.expect(0, &[("/clients/connected", 4), ("/limit/good", 4), ("/limit/bad", 6)]);
    let steps = steps(&ended);
    assert_eq!(ended.json["limit"]["reported_step"], steps[3]["number"], "{ended}");
    let limit = &ended.json["limit"];
    assert_eq!((&limit["confirmed"], &limit["limited_by"]), (&true.into(), &"server".into()), "{ended}");
    // The first client received none of its 60 messages.
    assert_eq!(limit["because"][0], "missing=0: found 60 of 360", "{ended}");
    assert_eq!(steps[2]["report"]["deliveries"]["missing"], 60, "{ended}");
    assert_eq!(steps[1]["deliveries"]["received"], 40 * 4, "{ended}");
    assert!(ended.stdout.contains("4 clients were good (confirmed); 6 clients were not"), "{ended}");
    assert!(ended.stderr.contains(": 4 clients, 20.0 messages/s for 2s, to confirm the result"), "{ended}");
}

#[test]
fn a_ramp_with_keep_going_runs_all_steps() {
    let ended = launch(&stub(3), "ramp", &format!("{STEP} --steps 2,3,1 --keep-going")).end();
    assert_eq!(sizes(&ended), "(2) 3 (1) (2)", "{ended}");
    ended.expect(0, &[("/limit/good", 2), ("/limit/bad", 3), ("/sent", 20)]);
}

#[test]
fn a_ramp_that_starts_above_the_limit_fails() {
    let ended = launch(&stub(1), "ramp", &format!("{STEP} --steps 2,4")).end();
    assert_eq!(sizes(&ended), "2", "{ended}");
    ended.expect(3, &[("/clients/connected", 2), ("/limit/bad", 2)]);
    assert!(ended.json["limit"]["good"].is_null() && ended.stdout.contains("no step was good"), "{ended}");
    // The stub delivers everything, but late.
    let ended =
        launch(&stub(9), "ramp", &format!("{STEP} --steps 2 --threshold last_recipient.p99=20ms")).end();
    assert_eq!((sizes(&ended).as_str(), ended.code), ("2", Some(3)), "{ended}");
    assert!(ended.text("limit").contains("last_recipient.p99=20ms: found"), "{ended}");
}

#[test]
fn a_search_finds_the_servers_limit() {
    let ended = launch(&stub(6), "ramp", &format!("{STEP} --search clients --from 1 --to 50")).end();
    assert_eq!(sizes(&ended), "(1) (2) (4) 8 6 (5) (5)", "{ended}");
    ended.expect(0, &[("/limit/good", 5), ("/limit/bad", 6), ("/clients/connected", 5)]);
}

#[test]
fn a_bench_measures_capacities_and_forecasts() {
    // So few messages in flight that the stub's delay decides the capacity, and not the machine.
    let line = "--steps 2,4,6,8 --duration 2s --interval 50ms --warmup 20ms --drain 10s --pause 10ms --ahead 3 --forecast 16";
    let ended = launch(&stub(100), "bench", line).end();
    ended.expect(0, &[("/clients/connected", 8)]);
    // Three messages in flight at a time, each of which takes at least the stub's delay.
    let most = |clients: f64| 3.0 * clients / DELAY.as_secs_f64();
    for (step, clients) in steps(&ended).into_iter().zip([2.0, 4.0, 6.0, 8.0]) {
        let capacity = step["capacity"]["deliveries_per_s"].as_f64().unwrap();
        let most = most(clients);
        assert!((most * 0.5..most * 1.05).contains(&capacity), "{capacity} of {most}\n{ended}");
    }
    let forecast = &ended.json["forecast"];
    assert_eq!(forecast["basis"], "closed_loop", "{ended}");
    let [predicted, error] = ["/predicted/0/deliveries_per_s", "/held_out/error_percent"]
        .map(|at| forecast.pointer(at).and_then(Value::as_f64));
    let near = most(16.0) * 0.5..most(16.0) * 1.25;
    assert!(predicted.is_some_and(|predicted| near.contains(&predicted)), "{ended}");
    assert!(error.is_some_and(|error| error.abs() < 50.0), "{ended}");
    // One step with a broken threshold suffices.
    let line = "--steps 2,3 --duration 1s --warmup 20ms --drain 2s --pause 10ms --no-capacity";
    let ended = launch(&stub(3), "bench", line).end();
    assert_eq!((sizes(&ended).as_str(), ended.code), ("(2) 3", Some(3)), "{ended}");
    assert!(ended.json["forecast"].is_null(), "{ended}");
}

#[test]
fn ctrl_c_ends_a_ramp_with_the_completed_steps() {
    let stub = stub(100);
    let mut run = launch(&stub, "ramp", &format!("{STEP} --steps {}", ["2"; 50].join(",")));
    let mut progress = BufReader::new(run.child.stderr.take().unwrap()).lines().map(Result::unwrap);
    progress.find(|line| line.ends_with(": good")).unwrap();
    // Each step sends twenty messages, so this is within the next one.
    stub.wait_for_messages(stub.received() + 5);
    kill_process(Pid::from_child(&run.child), Signal::INT).unwrap();
    let ended = run.end();
    ended.expect(130, &[("/clients/connected", 2), ("/limit/good", 2), ("/sent", 20)]);
    let steps = steps(&ended);
    assert_eq!(steps.len(), 2, "{ended}");
    assert_eq!((&steps[0]["good"], &steps[1]["good"]), (&true.into(), &false.into()), "{ended}");
    assert_eq!(
        (&steps[1]["verdict"], &steps[1]["limited_by"]),
        (&"interrupted".into(), &Value::Null),
        "{ended}"
    );
    assert!(ended.stdout.contains("INTERRUPTED") && ended.stdout.contains("cut short"), "{ended}");
    assert!(ended.stdout.contains("the run was cut short after 1 step: good up to 2 clients"), "{ended}");
}
