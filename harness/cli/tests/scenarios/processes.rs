//! Runs with several processes: the accounts are those of one, and the run ends in order whichever
//! process is killed.

use std::os::unix::process::CommandExt;
use std::process::Stdio;
use std::time::{Duration, Instant};
use std::{fs, thread};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};

use crate::stub::{Fault, Script, Stub};
use crate::{Ended, MESSAGES, Run, binary};

const CLIENTS: u64 = 40;
const ALL: u64 = CLIENTS * MESSAGES;

/// 60 messages for more clients than elsewhere, with time for a busy machine.
const TRAFFIC: &str = "--interval 20ms --duration 1200ms --warmup 20ms --drain 3s";

/// Starts a run in a process group of its own, as a terminal does.
fn start(stub: &Stub, scenario: &str, more: &str) -> Run {
    let flags = stub.flags(scenario);
    Run::spawn(binary().process_group(0), scenario, flags, &format!("--clients 40 --seed 1 {more}"))
}

#[track_caller]
fn check(script: Script, scenario: &str, more: &str, code: i32, numbers: &[(&str, u64)]) -> Ended {
    let ended = start(&Stub::start(script), scenario, more).end();
    ended.expect(code, numbers);
    ended
}

/// The child processes of a run, once there are `count`.
fn members(run: &Run, count: usize) -> Vec<Pid> {
    let parent = run.child.id().to_string();
    let is_child = |stat: &str| {
        stat.rsplit_once(')').and_then(|(_, rest)| rest.split_whitespace().nth(1)) == Some(parent.as_str())
    };
    wait_for("the processes", || {
        let pids = fs::read_dir("/proc").unwrap().filter_map(|entry| {
            let path = entry.ok()?.path();
            let stat = fs::read_to_string(path.join("stat")).ok()?;
            let pid = path.file_name()?.to_str()?.parse().ok()?;
            is_child(&stat).then(|| Pid::from_raw(pid)).flatten()
        });
        Some(pids.collect::<Vec<_>>()).filter(|pids| pids.len() == count)
    })
}

fn wait_for<T>(what: &str, look: impl Fn() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(begun.elapsed() < Duration::from_secs(30), "timed out waiting for {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

fn is_gone(pid: Pid) -> bool {
    // A zombie has no command line.
    fs::read(format!("/proc/{}/cmdline", pid.as_raw_nonzero())).map_or(true, |line| line.is_empty())
}

#[test]
fn the_results_of_all_processes_are_reported() {
    let fault = |client, message| match (client, message % 20) {
        (3 | 22, 5) => Some(Fault::Drop),
        (17 | 38, 8) => Some(Fault::Duplicate),
        (9, 11) => Some(Fault::Late),
        (30, 2) => Some(Fault::Damage),
        (21, 14) => Some(Fault::Withhold),
        _ => None,
    };
    let leaks = |message| message == 50;
    let script = Script { fault, leaks, ..Script::default() };
    let ended = check(
        script,
        "broadcast",
        &format!("{TRAFFIC} --processes 2 --workers 2 --lists all"),
        3,
        &[
            ("/clients/connected", CLIENTS),
            ("/clients/disconnected", 0),
            ("/sent", MESSAGES),
            ("/deliveries/expected", ALL),
            ("/deliveries/received", ALL - 6 - 3 - 3),
            ("/deliveries/missing", 6 + 3),
            ("/deliveries/duplicated", 6),
            ("/deliveries/reordered", 3),
            ("/deliveries/corrupted", 3),
            ("/deliveries/leaked", 1),
            ("/deliveries/inconsistent", 0),
            ("/deliveries/indeterminate", 0),
            ("/gaps/told", 3),
            ("/gaps/messages", 3),
            ("/gaps/of_readers", 3),
            ("/latency_us/count", ALL - 6 - 3 - 3),
            ("/sender_delay_us/count", MESSAGES),
            ("/last_recipient_us/count", MESSAGES),
            ("/phases_us/way_in/count", CLIENTS),
            ("/lists/kept", CLIENTS),
            ("/lists/exact", CLIENTS),
        ],
    );
    let examples = &ended.json["deliveries"]["missing_examples"];
    let missing = [(3, 5), (3, 25), (3, 45), (22, 5), (22, 25), (22, 45), (30, 2), (30, 22), (30, 42)];
    let missing = missing.map(|(client, message)| serde_json::json!({"client": client, "message": message}));
    assert_eq!(examples.as_array().unwrap(), &missing, "{ended}");
    // Three processes, one of which is the run's own.
    assert!(ended.number("/harness/rss_bytes") > 3_000_000 && ended.json["harness"]["alive"] == true);
    let rows = ended.json["timeline"].as_array().unwrap();
    let last = &rows[rows.len() - 1];
    assert_eq!(last["received"].as_u64(), Some(ALL - 12), "{last}");
    assert!(rows.iter().any(|row| row["max_us"].as_f64() > Some(0.0)), "no latencies in the rows: {ended}");
}

#[test]
fn whispers_and_channels_reach_clients_of_other_processes() {
    let whisper = format!("{TRAFFIC} --scope whisper --lists none --processes 4");
    // All clients are known before the first message, so every message is sent, to two recipients.
    let numbers = [("/sent", MESSAGES), ("/deliveries/expected", 2 * MESSAGES), ("/deliveries/missing", 0)];
    check(Script::default(), "broadcast", &whisper, 0, &numbers);
    let mixed = format!("{TRAFFIC} --scope mixed --channels 4 --audience 10 --processes 3");
    let ended = check(Script::default(), "broadcast", &mixed, 0, &[("/sent", MESSAGES)]);
    let expected = ended.number("/deliveries/expected");
    assert!(expected > 10 * MESSAGES && ended.number("/deliveries/received") == expected, "{ended}");
}

#[test]
fn players_and_reconnecting_clients_are_spread_over_processes() {
    let login = "--processes 3 --in-flight 6 --leave --rounds 2 --connect-interval 0s";
    let numbers = [
        ("/clients/connected", 2 * CLIENTS),
        ("/clients/failed", 0),
        ("/phases_us/log_in/count", 2 * CLIENTS),
    ];
    check(Script::default(), "login", login, 0, &numbers);
    let storm = "--processes 2 --duration 100ms --storm --rate 1000/s";
    let numbers = [
        ("/clients/connected", CLIENTS),
        ("/reconnects/asked", CLIENTS),
        ("/reconnects/back", CLIENTS),
        ("/clients/disconnected", 0),
    ];
    check(Script::default(), "connect", storm, 0, &numbers);
}

#[test]
fn clients_connect_from_several_addresses() {
    let stub = Stub::start(Script::default());
    let ended = start(&stub, "connect", "--duration 50ms --processes 2 --sources 3").end();
    ended.expect(0, &[("/clients/connected", CLIENTS)]);
    let sources: Vec<_> = stub.seen().sources.iter().map(ToString::to_string).collect();
    assert_eq!(sources, ["127.0.0.1", "127.0.0.2", "127.0.0.3"]);
}

#[test]
fn a_process_that_dies_ends_the_run() {
    let stub = Stub::start(Script::default());
    let run = start(&stub, "broadcast", "--interval 5ms --duration 60s --warmup 0s --processes 3");
    let members = members(&run, 3);
    stub.wait_for_messages(10);
    // A process ignores requests to end, which are for the run to handle.
    kill_process(members[0], Signal::TERM).unwrap();
    kill_process(members[2], Signal::INT).unwrap();
    stub.wait_for_messages(stub.received() + 10);
    kill_process(members[1], Signal::KILL).unwrap();
    let ended = run.end();
    assert_eq!(ended.code, Some(1), "{ended}");
    let pid = members[1].as_raw_nonzero();
    assert!(ended.stderr.contains(&format!("(pid {pid}) has died (signal: 9 (SIGKILL))")), "{ended}");
    assert!(members.into_iter().all(is_gone), "{ended}");
    assert!(ended.json.is_null(), "{ended}");
}

#[test]
fn a_stopped_process_is_abandoned() {
    let stub = Stub::start(Script::default());
    let run = start(&stub, "broadcast", "--interval 5ms --duration 10m --warmup 0s --processes 4");
    let members = members(&run, 4);
    stub.wait_for_messages(10);
    // With two stopped, either may be found first, and both must be killed.
    let stopped = [members[1], members[3]];
    for pid in stopped {
        kill_process(pid, Signal::STOP).unwrap();
    }
    expect_abandoned(run, &members, &stopped, "without its figures, which are due every second");
}

/// Checks that the run ends because one of the `stopped` processes did not do what was due.
#[track_caller]
fn expect_abandoned(run: Run, members: &[Pid], stopped: &[Pid], why: &str) {
    let begun = Instant::now();
    let ended = run.end();
    let took = begun.elapsed();
    assert!((8..40).contains(&took.as_secs()), "{took:?}\n{ended}");
    assert_eq!(ended.code, Some(1), "{ended}");
    let is_named =
        |pid: &Pid| ended.stderr.contains(&format!("(pid {}) was killed after 10", pid.as_raw_nonzero()));
    assert!(stopped.iter().any(is_named) && ended.stderr.contains(why), "{ended}");
    assert!(members.iter().copied().all(is_gone), "{ended}");
    assert!(ended.json.is_null(), "{ended}");
}

#[test]
fn ctrl_c_does_not_wait_for_a_stopped_process() {
    let stub = Stub::start(Script::default());
    let run = start(&stub, "connect", "--duration 10m --processes 2");
    let members = members(&run, 2);
    wait_for("the clients", || (stub.seen().most_present as u64 == CLIENTS).then_some(()));
    kill_process(members[1], Signal::STOP).unwrap();
    kill_process_group(Pid::from_child(&run.child), Signal::INT).unwrap();
    expect_abandoned(run, &members, &members[1..], "without its workers' results");
}

#[test]
fn no_process_outlives_the_run() {
    let stub = Stub::start(Script::default());
    let mut run = start(&stub, "broadcast", "--interval 5ms --duration 60s --warmup 0s --processes 2");
    let members = members(&run, 2);
    stub.wait_for_messages(10);
    run.child.kill().unwrap();
    run.child.wait().unwrap();
    for pid in members {
        wait_for("the end of the processes", || is_gone(pid).then_some(()));
    }
}

#[test]
fn ctrl_c_reaches_all_processes_and_the_results_are_written() {
    let stub = Stub::start(Script::default());
    let run = start(&stub, "broadcast", "--interval 5ms --duration 60s --warmup 0s --processes 2");
    let members = members(&run, 2);
    stub.wait_for_messages(20);
    kill_process_group(Pid::from_child(&run.child), Signal::INT).unwrap();
    let ended = run.end();
    let all_there =
        [("/deliveries/missing", 0), ("/clients/connected", CLIENTS), ("/clients/disconnected", 0)];
    ended.expect(130, &all_there);
    assert!(ended.number("/sent") >= 20 && ended.stdout.contains("INTERRUPTED"), "{ended}");
    assert_eq!(ended.number("/deliveries/received"), ended.number("/sent") * CLIENTS);
    assert!(members.into_iter().all(is_gone), "{ended}");
}

#[test]
fn the_hidden_subcommand_refers_to_its_flag() {
    let output = binary().arg("crew-member").stdin(Stdio::null()).output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("--processes") && output.stdout.is_empty(), "{stderr}");
}
