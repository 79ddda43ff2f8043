//! `abuse`: attackers beside honest clients, whose report must match what the stub did. A program
//! of its own, so that its floods do not run beside tests that measure times.

// The scenarios' tests use all of it.
#[allow(dead_code, unused_imports)]
#[path = "../scenarios/stub/mod.rs"]
mod stub;

use std::process::Command;

use serde_json::Value;
use stub::{Fault, Script, Stub};

/// The outcome of a run.
struct Ended {
    code: Option<i32>,
    stdout: String,
    stderr: String,
    json: Value,
}

impl std::fmt::Display for Ended {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}\n{}\nexit {:?}", self.stdout, self.stderr, self.code)
    }
}

/// Runs `abuse` against `stub` to its end.
fn launch(stub: &Stub, flags: &str) -> Ended {
    let dir = tempfile::tempdir().unwrap();
    let json = dir.path().join("report.json");
    let output = Command::new(env!("CARGO_BIN_EXE_throng-harness"))
        .arg("abuse")
        .args(stub.flags("abuse"))
        .args(["--verbose", "--seed", "1", "--json"])
        .arg(&json)
        .args(flags.split_whitespace())
        .output()
        .unwrap();
    Ended {
        code: output.status.code(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
        json: serde_json::from_slice(&std::fs::read(&json).unwrap_or_default()).unwrap_or_default(),
    }
}

/// Four clients in each room. Every other message is said in the attacker's room.
const SMALL: &str = "--clients 8 --rate 100 --lead 50ms --drain 1s --sockets 6";

/// Phases of 35 messages.
const SHORT: &str = "--duration 300ms";

/// Two phases with the attack between three quiet ones, and six newcomers or seven in each.
const USUAL: &str = "--newcomers 20 --rounds 2";

/// Limits that no machine breaks, however busy.
const WIDE: &str = "--max-other 100000 --max-same 100000 --max-enter 1m --min-entered 0";

/// Runs attacks against a stub with `script`.
fn run(script: Script, more: &str) -> Ended {
    let stub = Stub::start(script);
    launch(&stub, &format!("{SMALL} {SHORT} {USUAL} {WIDE} {more}"))
}

/// The number at `key` of a phase of the first attack.
fn of_phase(ended: &Ended, phase: usize, key: &str) -> u64 {
    let value = &ended.json["attacks"][0]["phases"][phase][key];
    value.as_u64().unwrap_or_else(|| panic!("no {key} of phase {phase} in {ended}"))
}

#[test]
fn every_attack_on_a_fair_server_leaves_the_honest_clients_alone() {
    // `positions` jumps further than the stub's walkers may.
    let attacks = "world,world-1000,nearby,whisper,list,channel-list,create,kick,ping,heartbeat,deaf,handshakes,slowloris";
    let stub = Stub::start(Script::default());
    // The attacker gives way to the honest clients: on a busy machine it needs time to do anything.
    let times = "--duration 1s --quiet-duration 200ms";
    let more = format!("{SMALL} {WIDE} --newcomers 20 --rounds 1 --attacks {attacks} {times}");
    let ended = launch(&stub, &more);
    assert_eq!(ended.code, Some(0), "{ended}");
    let rows = ended.json["attacks"].as_array().expect("rows");
    assert_eq!(rows.len(), attacks.split(',').count());
    for row in rows {
        let phases = row["phases"].as_array().expect("phases");
        let kinds: Vec<_> = phases.iter().map(|phase| phase["kind"].as_str().expect("text")).collect();
        assert_eq!(kinds, ["quiet", "attack", "quiet"], "{row}");
        for phase in phases {
            let sent = if phase["kind"] == "quiet" { 25 } else { 105 };
            assert_eq!(phase["sent"], sent, "{row}");
            assert!(
                phase["expected"].as_u64() >= Some(sent) && phase["expected"] == phase["received"],
                "{row}"
            );
            assert_eq!(phase["newcomers"], phase["entered"], "{row}");
            assert!(phase["newcomers"].as_u64() >= Some(4), "{row}");
            assert_eq!(phase["attacker"].is_null(), phase["kind"] == "quiet", "{row}");
        }
        let attacked = &row["attacker"];
        let has_sent = attacked["sent_bytes_per_s"].as_f64() > Some(0.0);
        assert!(has_sent || row["attack"] == "slowloris" || row["attack"] == "deaf", "{row}");
    }
}

#[test]
fn quiet_phases_may_be_shorter_than_attacks() {
    let stub = Stub::start(Script::default());
    let more = "--newcomers 0 --rounds 1 --attacks ping --quiet-duration 100ms";
    let ended = launch(&stub, &format!("{SMALL} {SHORT} {WIDE} {more}"));
    assert_eq!(ended.code, Some(0), "{ended}");
    let sent: Vec<u64> = (0..3).map(|phase| of_phase(&ended, phase, "sent")).collect();
    assert_eq!(sent, [15, 35, 15], "{ended}");
    assert!(ended.stdout.contains("1 attacks of 0.3 s each and quiet phases of 0.1 s"), "{ended}");
}

#[test]
fn a_message_lost_beside_an_attack_is_missing() {
    // Message 46 is the twelfth of the first phase with the attack, and said in the other room.
    let fault = |client, index| (client == 5 && index == 46).then_some(Fault::Drop);
    let script = Script { fault, ..Script::default() };
    let ended = run(script, "--attacks ping");
    assert_eq!(ended.code, Some(3), "{ended}");
    let missing: Vec<u64> = (0..5).map(|phase| of_phase(&ended, phase, "missing")).collect();
    assert_eq!(missing, [0, 1, 0, 0, 0], "{ended}");
    assert!(ended.stdout.contains("BROKEN  missing=0"), "{ended}");
    assert_eq!(run(script, "--attacks ping --max-missing 1").code, Some(0));
}

#[test]
fn a_message_announced_as_missed_is_not_missing() {
    // Message 45 is said in the attacker's room.
    let fault = |client, index| (client == 1 && index == 45).then_some(Fault::Withhold);
    let ended = run(Script { fault, ..Script::default() }, "--attacks nearby");
    assert_eq!(ended.code, Some(0), "{ended}");
    assert_eq!((of_phase(&ended, 1, "told"), of_phase(&ended, 1, "missing")), (1, 0), "{ended}");
    assert!(ended.stdout.contains("announced as missed: 1"), "{ended}");
}

#[test]
fn faults_are_found_as_in_other_scenarios() {
    let fault = |client, index| match (client, index) {
        (5, 46) => Some(Fault::Duplicate),
        (6, 48) => Some(Fault::Damage),
        _ => None,
    };
    let ended = run(Script { fault, ..Script::default() }, "--attacks ping");
    assert_eq!(ended.code, Some(3), "{ended}");
    assert_eq!((of_phase(&ended, 1, "duplicated"), of_phase(&ended, 1, "corrupted")), (1, 1), "{ended}");
    assert!(ended.stdout.contains("BROKEN  faults=0"), "{ended}");
}

#[test]
fn a_refused_attacker_is_reported_with_the_reason() {
    // Attackers have the numbers after the honest clients.
    let ended = run(Script { refuses: |client| client == 8, ..Script::default() }, "--attacks world");
    assert_eq!(ended.code, Some(0), "{ended}");
    let told = &ended.json["attacks"][0]["attacker"]["told"]["closed: TicketInvalid"];
    assert!(told.as_u64() >= Some(2), "{ended}");
    assert!(ended.stdout.contains("closed: TicketInvalid"), "{ended}");
}

#[test]
fn newcomers_that_do_not_get_in_break_their_threshold() {
    let stub = Stub::start(Script { refuses: |client| client >= 8 + 64, ..Script::default() });
    let more =
        "--attacks ping --newcomers 20 --rounds 1 --max-other 100000 --max-same 100000 --enter-timeout 200ms";
    let ended = launch(&stub, &format!("{SMALL} {SHORT} {more}"));
    assert_eq!(ended.code, Some(3), "{ended}");
    assert!(ended.stdout.contains("BROKEN  newcomers>=99%        0.0%"), "{ended}");
    let reasons = ended.json["attacks"][0]["phases"][1]["reasons"].to_string();
    assert!(reasons.contains("newcomer put off: TicketInvalid"), "{ended}");
}

#[test]
fn attacks_on_the_login_server_have_newcomers_that_log_in() {
    // Accounts that were never signed up are refused; here, those with numbers from 100,000 on.
    let online = |id: &str| id.rsplit_once('n').is_some_and(|(_, number)| number.len() >= 6);
    let stub = Stub::start(Script { online, ..Script::default() });
    let flags = stub.flags("abuse");
    let login = format!("--login-server {} --login-key {}", flags[1], flags[3]);
    let more = "--attacks guess,seats --newcomers 10 --rounds 1 --enter-timeout 2s";
    let ended = launch(&stub, &format!("{SMALL} {SHORT} {WIDE} {login} {more}"));
    assert_eq!(ended.code, Some(0), "{ended}");
    for attack in 0..2 {
        let row = &ended.json["attacks"][attack];
        assert!(row["attacker"]["told"]["refused: AlreadyOnline"].as_u64() >= Some(6), "{ended}");
        for phase in row["phases"].as_array().expect("phases") {
            assert!(
                phase["entered"].as_u64() >= Some(1) && phase["entered"] == phase["newcomers"],
                "{ended}"
            );
        }
    }
    assert!(stub.seen().sign_ups >= 20, "{:?}", stub.seen());
}

#[test]
fn a_server_that_dies_ends_the_run() {
    let ended = run(Script { dies_at: Some(50), ..Script::default() }, "--attacks ping");
    assert_eq!(ended.code, Some(3), "{ended}");
    assert!(ended.stdout.contains("every honest client lost its session"), "{ended}");
}
