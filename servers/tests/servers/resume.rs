//! Clients whose connections are cut, by the load harness: each resumes its place, and the harness
//! accounts for every delivery.

use std::time::SystemTime;

use throng_core::shutdown::Shutdown;
use throng_harness_driver::scenario::drive;
use throng_harness_driver::target;
use throng_harness_model::results::Resumed;
use throng_harness_report::{Machine, Origin, Report, Verdict};

use crate::support::Home;

/// Runs a broadcast of 100 clients against `home`. Asserts that each client that was cut is back,
/// and that nothing is missing, doubled, out of order or announced as missed.
#[track_caller]
fn check(home: &Home, flags: &str) -> Resumed {
    let line = "throng-harness broadcast --plain --clients 100 --interval 5ms --seed 1 --resume --data";
    let words = line.split_whitespace().map(Into::into).chain([home.path().into_os_string()]);
    let args = words.chain(flags.split_whitespace().map(Into::into)).collect();
    let job = throng_harness::args::parse(args).unwrap().task.into_job().unwrap();
    let target = target::resolve(&job.target, job.scenario.entrance(), None).unwrap();
    let findings = drive(&job, &target, &Shutdown::new()).unwrap();
    let origin = Origin { command: Vec::new(), started: SystemTime::now(), machine: Machine::this() };
    let report = Report::new(&job, origin, findings);
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
