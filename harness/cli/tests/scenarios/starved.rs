//! Runs beside processes that take their CPU time.

use std::io;
use std::process::{Child, Command, Stdio};

use super::*;

/// Processes that keep one core busy, for a minute at most.
struct Rivals(Vec<Child>);

impl Rivals {
    fn start(core: &str, count: usize) -> io::Result<Self> {
        let rival = || {
            let mut rival = Command::new("timeout");
            rival.args(["60", "taskset", "-c", core, "sh", "-c", "while :; do :; done"]);
            rival.stdout(Stdio::null()).spawn()
        };
        Ok(Self((0..count).map(|_| rival()).collect::<Result<_, _>>()?))
    }
}

impl Drop for Rivals {
    fn drop(&mut self) {
        for rival in &mut self.0 {
            // `timeout` passes a TERM on to its child, which it could not do with a KILL.
            let _ = kill_process(Pid::from_child(rival), Signal::TERM);
            let _ = rival.wait();
        }
    }
}

/// The first core that this process may use.
fn first_core() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).unwrap();
    list.trim().split([',', '-']).next().unwrap().to_owned()
}

/// The harness shares its core with processes of a higher priority. Its delays as a sender and a
/// reader are short beside a latency that the stub makes long, so that only the scheduler's own
/// figures tell.
#[test]
fn a_run_that_the_machine_starved_is_no_evidence() {
    let core = first_core();
    let stub = Stub::start(Script { delay: Duration::from_millis(200), ..Script::default() });
    let mut harness = Command::new("taskset");
    harness.args(["-c", &core, "nice", "-n", "5", env!("CARGO_BIN_EXE_throng-harness")]);
    let more = "--clients 16 --interval 10ms --duration 1s --warmup 20ms --seed 1";
    let rivals = Rivals::start(&core, 3).unwrap();
    let ended = Run::spawn(&mut harness, "broadcast", stub.flags("broadcast"), more).end();
    drop(rivals);
    assert_eq!(ended.text("valid"), "false", "{ended}");
    let because = ended.text("invalid_because");
    assert!(because.contains("the machine withheld a core from the harness's thread"), "{ended}");
    let withheld = ended.json["scheduling"]["harness"]["withheld"].as_f64().unwrap();
    assert!(withheld > 0.05 && ended.json["scheduling"]["others_cpu"].as_f64().unwrap() > 0.3, "{ended}");
    let seconds = ended.json["timeline"].as_array().unwrap();
    assert!(seconds.iter().any(|second| second["harness_withheld"].as_f64() > Some(0.05)), "{ended}");
}
