//! The real other systems: each is started, has ten members and three messages, and is stopped.
//!
//! Tests whose names begin with `needs_` need the packages of these systems, which `scripts/setup`
//! installs. `scripts/test --no-peers` leaves out exactly these tests.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use throng_core::shutdown::{Cause, Shutdown};
use throng_harness_peers::{Case, Load, PeersError, PeersJob, Results, System, Times, pin, run};

const MEMBERS: u32 = 10;

/// Ten members, three messages 20 ms apart, and then a short closed loop.
fn job(system: &str) -> PeersJob {
    let cores = pin::allowed().expect("the system says");
    PeersJob {
        systems: vec![System::named(system).expect("it is one")],
        cases: vec![
            Case { letter: 'A', members: MEMBERS, load: Load::Paced(Duration::from_millis(20)) },
            Case { letter: 'F', members: MEMBERS, load: Load::Closed { ahead: 5 } },
        ],
        times: Times {
            warmup: Duration::from_millis(40),
            pause: Duration::from_millis(20),
            duration: Duration::from_millis(60),
            drain: Duration::from_secs(20),
        },
        repeat: 1,
        payload: 128,
        // On a single core both share it, which suffices for counting.
        server_core: cores[0],
        client_core: cores[cores.len() - 1],
        seed: 1,
        limit: Duration::from_mins(5),
        json: None,
        html: None,
        throng: None,
        bare: Some(PathBuf::from(env!("CARGO_BIN_EXE_throng-harness"))),
    }
}

fn measure(job: &PeersJob) -> (Result<Results, PeersError>, Vec<String>) {
    let mut messages = Vec::new();
    let results = run(job, &Shutdown::new(), &mut |text| messages.push(text.to_owned()));
    (results, messages)
}

/// Number of processes with `name` in their arguments that a test may have started.
fn children(name: &str) -> usize {
    let me = std::process::id();
    let of = |path: &Path| {
        let stat = std::fs::read_to_string(path.join("stat")).ok()?;
        let (head, tail) = stat.rsplit_once(") ")?;
        (head.ends_with(&format!("({name}")) && tail.split(' ').nth(1) == Some(&me.to_string())).then_some(())
    };
    std::fs::read_dir("/proc").expect("there").flatten().filter_map(|entry| of(&entry.path())).count()
}

#[track_caller]
fn check(system: &str, program: &str) {
    let (results, messages) = measure(&job(system));
    let results = results.unwrap_or_else(|error| panic!("{error}"));
    assert!(results.failures.is_empty(), "{:?}", results.failures);
    let [paced, closed] = results.rows.as_slice() else { panic!("{messages:?}") };
    let found = (paced.sent, paced.connected, paced.deliveries.expected, paced.deliveries.received);
    assert_eq!(found, (3, 10, 30, 30), "{paced:?}");
    assert_eq!(paced.latency_us.count, 30);
    for row in [paced, closed] {
        let deliveries = &row.deliveries;
        let faults = [deliveries.missing, deliveries.duplicated, deliveries.reordered, deliveries.corrupted];
        assert_eq!((faults, row.disconnected), ([0; 4], 0), "{row:?}");
        assert!(row.server.is_some_and(|server| server.alive), "{row:?}");
    }
    assert!(closed.sent > 5, "{closed:?}");
    assert_eq!(closed.deliveries.received, closed.sent * u64::from(MEMBERS));
    assert!(!results.systems[0].version.is_empty());
    let batches: Vec<usize> = results.bare.iter().map(|bare| bare.bytes).collect();
    assert_eq!(batches[..2], [128, 1280], "{messages:?}");
    // The closed loop has no pace, and so no bare writer.
    assert_eq!(results.bare.iter().filter_map(|bare| bare.case).collect::<Vec<_>>(), ['A'], "{messages:?}");
    assert!(
        results.bare.iter().all(|bare| bare.writes >= 10 && bare.us_per_write > 0.0),
        "{:?}",
        results.bare
    );
    assert_eq!(children(program), 0, "{system} still runs");
}

#[test]
fn needs_redis() {
    check("redis", "redis-server");
}

#[test]
fn needs_nats() {
    check("nats", "nats-server");
}

#[test]
fn needs_inspircd() {
    check("inspircd", "inspircd");
}

#[test]
fn needs_mosquitto() {
    check("mosquitto", "mosquitto");
}

#[test]
fn needs_uwebsockets() {
    check("uwebsockets", "python3");
}

#[test]
fn a_missing_throng_is_named() {
    let job = PeersJob { throng: Some("/nonexistent/throng".into()), ..job("throng") };
    let error = measure(&job).0.expect_err("it is not there").to_string();
    assert!(error.contains("/nonexistent/throng") && error.contains("cargo build"), "{error}");
}

#[test]
fn a_missing_core_is_named() {
    let job = PeersJob { server_core: 900, ..job("redis") };
    let error = measure(&job).0.expect_err("there are fewer").to_string();
    assert!(error.contains("core 900") && error.contains("--server-core"), "{error}");
}

#[test]
fn no_case_starts_without_time() {
    let job = PeersJob { limit: Duration::ZERO, bare: None, ..job("redis") };
    let results = measure(&job).0.expect("nothing is wrong");
    assert_eq!((results.rows.len(), results.failures.len()), (0, 2));
    assert!(results.failures[0].why.contains("--limit"), "{:?}", results.failures);
}

#[test]
fn a_requested_shutdown_ends_the_run_at_once() {
    let shutdown = Shutdown::new();
    shutdown.request(Cause::Interrupted);
    let results = run(&job("redis"), &shutdown, &mut |_| {}).expect("nothing is wrong");
    assert!(results.interrupted && results.rows.is_empty() && results.failures.is_empty());
}

#[test]
fn needs_redis_which_it_stops_when_interrupted() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let [json, html] = ["peers.json", "peers.html"].map(|name| dir.path().join(name));
    let cores = pin::allowed().expect("the system says");
    let [server, client] = [cores[0], cores[cores.len() - 1]].map(|core| core.to_string());
    let mut child = Command::new(env!("CARGO_BIN_EXE_throng-harness"))
        .args(["peers", "--systems", "redis", "--cases", "A", "--duration", "60s", "--json"])
        .arg(&json)
        .arg("--html")
        .arg(&html)
        .args(["--server-core", &server, "--client-core", &client])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("it was built");
    let server = wait_for(|| child_of(child.id(), "redis-server"));
    kill_process(Pid::from_child(&child), Signal::INT).expect("it runs");
    assert_eq!(child.wait().expect("it is ours").code(), Some(130));
    assert!(!Path::new(&format!("/proc/{server}")).exists(), "redis still runs");
    let report: serde_json::Value =
        serde_json::from_slice(&std::fs::read(&json).expect("written")).expect("JSON");
    assert_eq!((&report["interrupted"], &report["systems"][0]["system"]), (&true.into(), &"redis".into()));
    let page = std::fs::read_to_string(&html).expect("written");
    assert!(page.contains("<title>peers: INTERRUPTED "), "{page}");
}

/// The child `name` of process `parent`.
fn child_of(parent: u32, name: &str) -> Option<u32> {
    let children = std::fs::read_to_string(format!("/proc/{parent}/task/{parent}/children")).ok()?;
    children.split_whitespace().find_map(|pid| {
        let comm = std::fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
        (comm.trim() == name).then(|| pid.parse().ok())?
    })
}

fn wait_for<T>(mut look: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(begun.elapsed() < Duration::from_mins(1), "timed out");
        std::thread::sleep(Duration::from_millis(10));
    }
}
