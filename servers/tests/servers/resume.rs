//! Clients whose connections are cut, by the load harness: each resumes its place, and the harness
//! accounts for every delivery.

use std::ffi::OsString;
use std::time::SystemTime;

use throng_core::shutdown::Shutdown;
use throng_harness_driver::scenario::drive;
use throng_harness_driver::target;
use throng_harness_model::results::Resumed;
use throng_harness_report::{Machine, Origin, Report, Verdict};

use crate::support::Home;

/// Runs a broadcast of 100 clients that are cut, against `home`.
pub(crate) fn run(home: &Home, flags: &str) -> Report {
    run_crowd(home, 100, flags)
}

/// As [`run`], with so many clients.
pub(crate) fn run_crowd(home: &Home, clients: u32, flags: &str) -> Report {
    let line = format!(
        "throng-harness broadcast --plain --clients {clients} --interval 5ms --seed 1 --resume --data"
    );
    let words = line.split_whitespace().map(Into::into).chain([home.path().into_os_string()]);
    run_harness(words.chain(flags.split_whitespace().map(Into::into)).collect())
}

/// Runs the harness with these arguments.
pub(crate) fn run_harness(args: Vec<OsString>) -> Report {
    let job = throng_harness::args::parse(args).unwrap().task.into_job().unwrap();
    let target = target::resolve(&job.target, job.scenario.entrance(), None).unwrap();
    let findings = drive(&job, &target, &Shutdown::new()).unwrap();
    let origin = Origin { command: Vec::new(), started: SystemTime::now(), machine: Machine::this() };
    Report::new(&job, origin, findings)
}

/// Asserts that each client that was cut is back, and that nothing is missing, doubled, out of
/// order or announced as missed.
#[track_caller]
fn check(home: &Home, flags: &str) -> Resumed {
    let report = run(home, flags);
    assert_eq!(report.verdict, Verdict::Pass, "{report}");
    let Resumed { cuts, resumed, back_us, .. } = report.resume;
    assert_eq!((resumed, back_us.count), (cuts, cuts), "{report}");
    assert_eq!((report.gaps.messages, report.deliveries.indeterminate), (0, 0), "{report}");
    report.resume
}

#[test]
fn every_client_that_is_cut_resumes_and_misses_nothing() {
    let home = Home::new();
    let _server = home.up(&[]);
    for scope in ["world", "channel --channels 5", "whisper"] {
        let resumed = check(&home, &format!("--duration 3s --cut 20%/s --scope {scope}"));
        // A client that is away at its turn is left out.
        assert!((50..=60).contains(&resumed.cuts) && resumed.last_back_us.is_none(), "{scope}: {resumed:?}");
    }
    let resumed = check(&home, "--duration 2s --cut all");
    assert!(resumed.cuts == 100 && resumed.last_back_us >= Some(resumed.back_us.p50), "{resumed:?}");
}

/// Cuts lose messages, and the harness finds what a server does not make up for.
#[test]
fn a_server_that_keeps_nothing_for_lost_connections_is_found_out() {
    let home = Home::new();
    let server = home.up(&["chat.history=0"]);
    let report = run(&home, "--duration 3s --cut 100%/s");
    let Resumed { cuts, resumed, gaps, .. } = report.resume;
    assert!(report.verdict == Verdict::Fail && resumed == cuts && gaps > 0, "{report}");
    assert_eq!((report.deliveries.missing, report.gaps.of_readers), (0, gaps), "{report}");
    drop(server);

    let home = Home::new();
    let _server = home.up(&["chat.resume_window=0s"]);
    let report = run(&home, "--duration 2s --cut 20%/s");
    let Resumed { cuts, resumed, refused, false_notices, .. } = report.resume;
    assert!(report.verdict == Verdict::Fail && refused > 0 && false_notices > 0, "{report}");
    assert_eq!((resumed, refused), (0, cuts), "{report}");
}
