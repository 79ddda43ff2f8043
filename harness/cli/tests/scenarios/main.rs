//! The binary against a stub server with planned faults: the report must match the plan.

mod bots;
mod keys;
mod plan;
mod processes;
mod rooms;
mod send_schedule;
mod starved;
mod steps;
mod stub;
mod torn;
mod view;

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use clap::Parser;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use stub::{Fault, Script, Stub};
use tempfile::TempDir;
use throng_core::shutdown::Shutdown;
use throng_core::wire::packets::ServerTimes;
use throng_harness::args::Cli;
use throng_harness_driver::scenario::drive;
use throng_harness_driver::target;
use throng_harness_model::results::Findings;
use throng_harness_model::spec::{Job, Scenario};

const CLIENTS: u64 = 8;
const MESSAGES: u64 = 60;

/// A started run of the binary.
struct Run {
    child: Child,
    json: PathBuf,
    _dir: TempDir,
}

/// The outcome of a run.
struct Ended {
    code: Option<i32>,
    stdout: String,
    stderr: String,
    json: Value,
}

fn start(stub: &Stub, scenario: &str, more: &str) -> Run {
    start_many(stub, CLIENTS, scenario, more)
}

fn start_many(stub: &Stub, clients: u64, scenario: &str, more: &str) -> Run {
    launch(stub, scenario, &format!("--clients {clients} {more}"))
}

/// Starts a run with the scenario's default number of clients.
fn launch(stub: &Stub, scenario: &str, more: &str) -> Run {
    Run::spawn(&mut binary(), scenario, stub.flags(scenario), &format!("--seed 1 {more}"))
}

fn binary() -> Command {
    Command::new(env!("CARGO_BIN_EXE_throng-harness"))
}

/// A run in this process, for settings without a flag.
fn job(stub: &Stub, scenario: &str, flags: &str) -> Job {
    let line = ["throng-harness", scenario].into_iter().chain(flags.split_whitespace());
    let args = line.map(str::to_owned).chain(stub.flags(scenario));
    Cli::try_parse_from(args).unwrap().check().unwrap().into_job().unwrap()
}

/// The findings of a run in this process.
fn driven(job: &Job) -> Findings {
    let target = target::resolve(&job.target, job.scenario.entrance(), None).unwrap();
    drive(job, &target, &Shutdown::new()).unwrap()
}

impl Run {
    /// Starts `binary` with the flags of a server and more flags.
    fn spawn(binary: &mut Command, scenario: &str, flags: Vec<String>, more: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let json = dir.path().join("report.json");
        let command = binary.args([scenario, "--verbose"]).args(flags).arg("--json").arg(&json);
        let command = command.args(more.split_whitespace()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Self { child: command.spawn().unwrap(), json, _dir: dir }
    }

    fn end(self) -> Ended {
        let output = self.child.wait_with_output().unwrap();
        let json = std::fs::read(&self.json).unwrap_or_default();
        Ended {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
            json: serde_json::from_slice(&json).unwrap_or_default(),
        }
    }
}

impl Ended {
    /// The number at a JSON pointer.
    fn number(&self, pointer: &str) -> u64 {
        let value = self.json.pointer(pointer).unwrap_or_else(|| panic!("no {pointer} in {self}"));
        value.as_u64().unwrap_or_else(|| panic!("{pointer} is {value}"))
    }

    /// The time at a JSON pointer, in microseconds.
    fn micros(&self, pointer: &str) -> f64 {
        let time = self.json.pointer(pointer).and_then(Value::as_f64);
        time.unwrap_or_else(|| panic!("no {pointer} in {self}"))
    }

    /// The value of `key` as text.
    fn text(&self, key: &str) -> String {
        self.json[key].to_string()
    }

    #[track_caller]
    fn expect(&self, code: i32, numbers: &[(&str, u64)]) {
        assert_eq!(self.code, Some(code), "{self}");
        for (pointer, number) in numbers {
            assert_eq!(self.number(pointer), *number, "{pointer}\n{self}");
        }
    }
}

impl std::fmt::Display for Ended {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}\n{}\nexit {:?}", self.stdout, self.stderr, self.code)
    }
}

/// 60 messages, 5 ms apart. Only runs that lack deliveries wait for the whole drain.
const TRAFFIC: &str = "--interval 5ms --duration 300ms --warmup 20ms --drain 1s";

/// Runs eight clients and 60 messages against a stub with `script`; checks the exit code, and the
/// numbers that differ from those of a run without faults.
#[track_caller]
fn check(script: Script, more: &str, code: i32, changed: &[(&str, u64)]) -> Ended {
    let stub = Stub::start(script);
    let ended = start(&stub, "broadcast", &format!("{TRAFFIC} {more}")).end();
    let all = CLIENTS * MESSAGES;
    let mut numbers = vec![
        ("/clients/connected", CLIENTS),
        ("/clients/disconnected", 0),
        ("/sent", MESSAGES),
        ("/deliveries/expected", all),
        ("/deliveries/received", all),
        ("/deliveries/missing", 0),
        ("/deliveries/duplicated", 0),
        ("/deliveries/reordered", 0),
        ("/deliveries/leaked", 0),
        ("/deliveries/corrupted", 0),
        ("/deliveries/inconsistent", 0),
        ("/deliveries/indeterminate", 0),
    ];
    for (pointer, number) in changed {
        numbers.iter_mut().filter(|(known, _)| known == pointer).for_each(|(_, known)| *known = *number);
    }
    ended.expect(code, &numbers);
    ended
}

#[test]
fn a_server_without_fault_passes() {
    let ended = check(Script::default(), "", 0, &[]);
    assert!(ended.stdout.contains("PASS"), "{ended}");
    assert_eq!(ended.number("/latency_us/count"), CLIENTS * MESSAGES);
    assert_eq!(ended.text("incomplete_because"), "[]");
    check(Script::default(), "--workers 3 --senders 1", 0, &[]);
}

#[test]
fn every_lost_delivery_is_missing() {
    let fault = |client, message| (client == 3 && message % 10 == 0 || message == 59).then_some(Fault::Drop);
    let lost = 6 + CLIENTS;
    let numbers = [("/deliveries/received", CLIENTS * MESSAGES - lost), ("/deliveries/missing", lost)];
    let ended = check(Script { fault, ..Script::default() }, "", 3, &numbers);
    let examples = ended.json["deliveries"]["missing_examples"].as_array().unwrap();
    assert!(examples.contains(&serde_json::json!({"client": 3, "message": 20})), "{ended}");
    check(Script { fault, ..Script::default() }, "--threshold missing=14", 0, &numbers);
}

#[test]
fn duplicates_reordering_and_damage_are_distinguished() {
    let duplicate = |client, message| (client < 2 && message == 7).then_some(Fault::Duplicate);
    check(Script { fault: duplicate, ..Script::default() }, "", 3, &[("/deliveries/duplicated", 2)]);
    let late = |client, message| (client == 5 && message % 20 == 4).then_some(Fault::Late);
    check(Script { fault: late, ..Script::default() }, "", 3, &[("/deliveries/reordered", 3)]);
    let damage = |client, message| (client == 1 && message == 2).then_some(Fault::Damage);
    let all_but_one = CLIENTS * MESSAGES - 1;
    let numbers =
        [("/deliveries/corrupted", 1), ("/deliveries/missing", 1), ("/deliveries/received", all_but_one)];
    check(Script { fault: damage, ..Script::default() }, "", 3, &numbers);
}

#[test]
fn a_message_to_a_session_that_has_not_entered_has_leaked() {
    let leaks = |message| message % 20 == 0;
    check(Script { leaks, ..Script::default() }, "", 3, &[("/deliveries/leaked", 3)]);
}

#[test]
fn a_delay_is_measured_from_the_intended_time() {
    let delay = Duration::from_millis(300);
    let ended = check(Script { delay, ..Script::default() }, "", 0, &[]);
    assert!((300_000.0..450_000.0).contains(&ended.micros("/latency_us/p50")), "{ended}");
    assert!(ended.micros("/first_recipient_us/p50") >= 300_000.0, "{ended}");
    assert!(ended.micros("/sender_delay_us/p50") < 150_000.0, "{ended}");
}

#[test]
fn the_parts_of_a_delay_are_distinguished() {
    let times = ServerTimes { received_us: 0, queued_us: 20_000, handled_us: 5_000 };
    let script = Script { delay: Duration::from_millis(50), times, ..Script::default() };
    let ended = start(&Stub::start(script), "broadcast", "--interval 2ms --duration 600ms").end();
    assert_eq!(ended.code, Some(0), "{ended}");
    let near = |part: &str, from: f64, to: f64| {
        let found = ended.micros(&format!("/breakdown_us/{part}/p50"));
        assert!((from..=to).contains(&found), "{part} {found}\n{ended}");
    };
    near("queue", 19_900.0, 20_100.0);
    near("processing", 4_950.0, 5_050.0);
    // The stub holds a message for 50 ms, and reports 25 of them as queue and processing.
    near("network_out", 24_000.0, f64::MAX);
    let parts = ["network_in", "queue", "processing", "network_out"];
    let sum: f64 = parts.iter().map(|part| ended.micros(&format!("/breakdown_us/{part}/mean"))).sum();
    let whole = ended.micros("/latency_uncorrected_us/mean");
    assert!((whole * 0.7..whole * 1.3).contains(&sum), "{sum} of {whole}\n{ended}");
    assert_eq!(ended.number("/breakdown_us/fan_out/count"), 0);
    let count = ended.number("/breakdown_us/queue/count");
    assert!((80..250).contains(&count), "one in 16 of 2,400: {count}");
    let error = ended.micros("/server_clock/error_us");
    assert!(error < 100_000.0 && ended.number("/server_clock/pings") >= 8, "{ended}");
    assert!(ended.stdout.contains("network in"), "{ended}");
}

#[test]
fn a_stall_is_missing_deliveries_and_ends() {
    let got = 40 * CLIENTS;
    let numbers = [("/deliveries/received", got), ("/deliveries/missing", CLIENTS * MESSAGES - got)];
    check(Script { stalls_at: Some(40), ..Script::default() }, "", 3, &numbers);
}

#[test]
fn a_member_that_the_server_closes_is_disconnected() {
    let stub = Stub::start(Script { cuts: Some((2, 30)), ..Script::default() });
    // The one sender stays, so that every message is sent.
    let ended = start(&stub, "broadcast", &format!("{TRAFFIC} --senders 1")).end();
    ended.expect(
        3,
        &[("/clients/connected", CLIENTS), ("/clients/disconnected", 1), ("/deliveries/duplicated", 0)],
    );
    assert_eq!(ended.number("/clients/reasons/disconnected: TooSlow"), 1);
    // It is a member until it learns of the close, so that message 30 at least was due to it.
    assert!(ended.number("/deliveries/missing") >= 1, "{ended}");
}

#[test]
fn a_run_that_loses_the_server_ends_with_its_results() {
    let stub = Stub::start(Script { dies_at: Some(30), ..Script::default() });
    let begun = Instant::now();
    let ended = start(&stub, "broadcast", TRAFFIC).end();
    ended.expect(3, &[("/clients/connected", CLIENTS), ("/clients/disconnected", CLIENTS)]);
    assert!(ended.number("/deliveries/received") >= 20 * CLIENTS, "{ended}");
    assert!(ended.text("incomplete_because").contains("every client lost its session with"), "{ended}");
    assert!(begun.elapsed() < Duration::from_secs(10));
}

#[test]
fn every_phase_ends_and_reports_what_it_waited_for() {
    let check = |script: Script, more: &str, what: &str| {
        let ended = start(&Stub::start(script), "broadcast", &format!("{TRAFFIC} {more}")).end();
        assert_eq!(ended.code, Some(3), "{ended}");
        assert!(ended.text("incomplete_because").contains(what), "{ended}");
        ended
    };
    let probe = "the probe message has reached 0 of 8 clients";
    check(Script { probes: false, ..Script::default() }, "--connect-timeout 2s", probe);
    let ended = check(Script { refuses: |_| true, ..Script::default() }, "", "not one client is in the chat");
    ended.expect(3, &[("/clients/refused", CLIENTS), ("/clients/reasons/refused: TicketInvalid", CLIENTS)]);
}

#[test]
fn a_client_that_is_refused_is_not_connected() {
    let stub = Stub::start(Script { refuses: |client| client == 7, ..Script::default() });
    let connect = "--duration 50ms";
    let numbers = [("/clients/connected", 7), ("/clients/refused", 1), ("/clients/failed", 0)];
    start(&stub, "connect", connect).end().expect(3, &numbers);
    start(&stub, "connect", &format!("{connect} --threshold connected=80%")).end().expect(0, &numbers);
}

#[test]
fn a_full_server_is_retried_and_then_counted_as_refusing() {
    let stub = Stub::start(Script { capacity: 5, ..Script::default() });
    let ended = start(&stub, "connect", "--duration 50ms").end();
    ended.expect(3, &[("/clients/connected", 5), ("/clients/refused", 3)]);
    assert_eq!(ended.number("/clients/reasons/refused: ServerFull"), 3);
    assert_eq!(ended.number("/clients/retries/ServerFull"), 3 * 4);
}

#[test]
fn players_enter_through_the_login_server() {
    let stub = Stub::start(Script { later: 3, ..Script::default() });
    let ended = start(&stub, "login", "--in-flight 4").end();
    ended.expect(0, &[("/clients/connected", CLIENTS), ("/clients/retries/TryAgainLater", 3)]);
    for phase in ["dial_login", "sign_up", "create_character", "log_in", "dial_chat", "enter", "way_in"] {
        assert_eq!(ended.number(&format!("/phases_us/{phase}/count")), CLIENTS, "{phase}\n{ended}");
    }
    let stub = Stub::start(Script { later: u32::MAX, ..Script::default() });
    let ended = start(&stub, "login", "--connect-timeout 2s").end();
    ended.expect(3, &[("/clients/connected", 0)]);
    assert!(ended.number("/clients/retries/TryAgainLater") >= CLIENTS, "{ended}");
}

#[test]
fn players_wait_in_the_queue_of_the_login_server() {
    let stub = Stub::start(Script { queue: &[250, 90, 90], ..Script::default() });
    let ended = start(&stub, "login", "").end();
    ended.expect(0, &[("/clients/connected", CLIENTS), ("/clients/queued", 3 * CLIENTS)]);
    ended.expect(0, &[("/clients/queue_position_max", 250), ("/clients/queue_position_rises", 0)]);
    assert!(ended.json["clients"]["retries"].as_object().unwrap().is_empty(), "{ended}");
    let stub = Stub::start(Script { queue: &[3, 4], ..Script::default() });
    let ended = start(&stub, "login", "").end();
    ended.expect(0, &[("/clients/queue_position_rises", 3 * CLIENTS)]);
}

#[test]
fn existing_accounts_only_log_in() {
    let password = Some("secret-secret");
    let stub = Stub::start(Script { password, ..Script::default() });
    let ended = start(&stub, "login", "--seeded bot --password secret-secret").end();
    ended.expect(0, &[("/clients/connected", CLIENTS), ("/clients/disconnected", 0), ("/rounds", 1)]);
    for phase in ["dial_login", "log_in", "dial_chat", "enter", "user_list", "way_in"] {
        assert_eq!(ended.number(&format!("/phases_us/{phase}/count")), CLIENTS, "{phase}\n{ended}");
    }
    assert!(ended.json["phases_us"].get("sign_up").is_none(), "{ended}");
    assert!(ended.json["rates"]["logins_per_s"].as_f64().unwrap() > 0.0, "{ended}");
    let seen = stub.seen();
    let names: Vec<_> = (1..=CLIENTS).map(|number| format!("bot-{number:06}")).collect();
    assert_eq!((seen.entries.keys().cloned().collect::<Vec<_>>(), seen.sign_ups), (names, 0));
    // No output of the run contains the password.
    assert!(ended.text("command").contains("\"--password\",\"[secret]\""), "{ended}");
    for text in [&ended.json.to_string(), &ended.stdout, &ended.stderr] {
        assert!(!text.contains("secret-secret"), "{text}");
    }
    let ended = start(&stub, "login", "--seeded bot").end();
    ended.expect(3, &[("/clients/connected", 0), ("/clients/refused", CLIENTS)]);
    assert_eq!(ended.number("/clients/reasons/refused: BadCredentials (log_in)"), CLIENTS);
}

#[test]
fn an_account_that_is_online_elsewhere_is_refused() {
    let online = |id: &str| id == "seed-000003";
    let stub = Stub::start(Script { password: Some("seed-password"), online, ..Script::default() });
    let ended = start(&stub, "login", "--seeded seed --leave").end();
    ended.expect(3, &[("/clients/connected", CLIENTS - 1), ("/clients/refused", 1)]);
    assert_eq!(ended.number("/clients/reasons/refused: AlreadyOnline (log_in)"), 1);
    assert_eq!(ended.text("incomplete_because"), "[]");
}

#[test]
fn clients_that_leave_at_once_enter_again_in_every_round() {
    let check = |script: Script, more: &str, sign_ups: u64| {
        let rounds = 5;
        let stub = Stub::start(script);
        let more = format!("--leave --rounds 5 --in-flight 3 --connect-interval 0s {more}");
        let ended = start(&stub, "login", &more).end();
        let entries = rounds * CLIENTS;
        ended.expect(
            0,
            &[
                ("/clients/requested", CLIENTS),
                ("/rounds", rounds),
                ("/clients/connected", entries),
                ("/clients/refused", 0),
                ("/clients/failed", 0),
                ("/clients/disconnected", 0),
                ("/phases_us/way_in/count", entries),
                ("/phases_us/log_in/count", entries),
                ("/phases_us/user_list/count", entries),
            ],
        );
        let seen = stub.seen();
        assert!(seen.entries.values().all(|entries| u64::from(*entries) == rounds), "{seen:?}");
        assert_eq!((seen.entries.len() as u64, u64::from(seen.sign_ups)), (CLIENTS, sign_ups));
        // The server learns of an entry a moment later than the client.
        assert!(seen.most_on_the_way <= 3 && seen.most_present <= 2 * 3, "{seen:?}");
        // The achieved rate starts with the first login, which is not before it was due.
        let rate = |name: &str| ended.json["rates"][name].as_f64().unwrap();
        assert!(rate("logins_per_s") >= rate("achieved_per_s") && rate("achieved_per_s") > 0.0, "{ended}");
        assert!(ended.stdout.contains("40 of 40 connected (5 rounds), 0 refused"), "{ended}");
        ended
    };
    check(Script::default(), "", CLIENTS);
    let seeded = Script { password: Some("seed-password"), ..Script::default() };
    check(seeded, "--seeded seed --workers 3", 0);
    // Still online from the round before for a moment, and retried until it is not.
    let ended = check(Script { lingers: 4, ..seeded }, "--seeded seed", 0);
    assert_eq!(ended.number("/clients/retries/AlreadyOnline"), 4);
}

#[test]
fn a_refused_client_is_refused_in_every_round() {
    let refuses = |client| client == 7;
    let stub = Stub::start(Script { refuses, ..Script::default() });
    let ended = start(&stub, "login", "--leave --rounds 3").end();
    ended.expect(3, &[("/clients/connected", 3 * (CLIENTS - 1)), ("/clients/refused", 3)]);
    assert!(ended.stdout.contains("found 21 of 24"), "{ended}");
}

#[test]
fn a_round_that_does_not_end_is_abandoned() {
    let stub = Stub::start(Script { lets_go: false, ..Script::default() });
    let ended = start(&stub, "login", "--leave --rounds 3 --connect-timeout 2s").end();
    ended.expect(3, &[("/clients/connected", CLIENTS), ("/clients/failed", 2 * CLIENTS)]);
    assert!(
        ended.text("incomplete_because").contains("had left the chat 0 of 24 times, 8 were still in it"),
        "{ended}"
    );
    let stub = Stub::start(Script { refuses: |_| true, ..Script::default() });
    let ended = start(&stub, "login", "--leave --rounds 3").end();
    ended.expect(3, &[("/clients/connected", 0), ("/clients/refused", 3 * CLIENTS)]);
    assert!(ended.text("incomplete_because").contains("not one client got into the chat"), "{ended}");
}

#[test]
fn ctrl_c_ends_the_run_with_its_results() {
    let stub = Stub::start(Script::default());
    let run = start(&stub, "broadcast", "--interval 5ms --duration 60s --warmup 0s");
    stub.wait_for_messages(20);
    kill_process(Pid::from_child(&run.child), Signal::INT).unwrap();
    let ended = run.end();
    ended.expect(
        130,
        &[("/deliveries/missing", 0), ("/clients/connected", CLIENTS), ("/clients/disconnected", 0)],
    );
    assert!(ended.number("/sent") >= 20 && ended.stdout.contains("INTERRUPTED"), "{ended}");
    assert_eq!(ended.number("/deliveries/received"), ended.number("/sent") * CLIENTS);
}

#[test]
fn without_a_server_no_run_starts() {
    let stub = Stub::start(Script::default());
    // A login needs no file of the stub, which is removed with it.
    let flags = stub.flags("login");
    drop(stub);
    let output = binary().arg("login").args(flags).output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(
        stderr.contains("cannot connect to 127.0.0.1:") && stderr.contains("is the server running"),
        "{stderr}"
    );
}

#[test]
fn bad_command_lines_exit_with_usage() {
    let check = |arguments: &[&str]| {
        let output = binary().args(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
    };
    check(&[]);
    check(&["broadcast", "--server", "localhost:9200"]);
    check(&["broadcast", "--data", "d", "--payload", "1"]);
    check(&["login", "--data", "d", "--leave", "--duration", "1s"]);
    check(&["login", "--data", "d", "--rounds", "2"]);
}

// Only `peers` runs closed loops of this kind, so there is no command line.
#[test]
fn a_closed_loop_never_gets_ahead_of_the_slowest() {
    let delay = Duration::from_millis(20);
    let stub = Stub::start(Script { delay, ..Script::default() });
    let mut job = job(&stub, "broadcast", "--clients 8 --warmup 20ms --duration 500ms");
    let Scenario::Broadcast(broadcast) = &mut job.scenario else { panic!("{job:?}") };
    (broadcast.ahead, broadcast.leave, broadcast.messages) = (Some(3), false, 100_000);
    let found = driven(&job);
    let deliveries = found.deliveries.unwrap();
    assert_eq!((deliveries.missing, deliveries.received), (0, found.sent * 8));
    // Three at a time, each of which takes at least the stub's delay.
    let most = 3 * (500 / 20 + 1);
    assert!(found.sent > 3 && found.sent <= most, "{} of at most {most}", found.sent);
    assert!(found.recorder.corrected.summary().p50 >= 19_900.0);
    assert_eq!(found.clients.disconnected, 0);
    assert!(found.measured < Duration::from_secs(5), "{:?}", found.measured);
}
