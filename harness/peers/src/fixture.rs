//! A made-up report, for tests.

use std::time::{Duration, SystemTime};

use throng_harness_model::results::Findings;
use throng_harness_report::{Machine, Origin};

use crate::bare::Bare;
use crate::row::Row;
use crate::{Case, Failure, PeersJob, PeersReport, Results, System, Taken, Times};

/// Two systems in two cases of the same size.
pub(crate) fn job() -> PeersJob {
    let second = Duration::from_secs(1);
    PeersJob {
        systems: ["redis", "throng"].map(|name| System::named(name).expect("it is one")).into(),
        cases: ["A", "F"].map(|letter| Case::named(letter).expect("it is one")).into(),
        times: Times { warmup: second, pause: second, duration: second, drain: second },
        repeat: 2,
        payload: 128,
        server_core: 0,
        client_core: 1,
        seed: 5,
        limit: second,
        json: None,
        html: None,
        throng: None,
        bare: None,
    }
}

/// Of the two cases only the first was measured: redis once, and throng twice, the
/// second time with a doubt.
pub fn report(interrupted: bool, failures: Vec<Failure>) -> PeersReport {
    let second = Duration::from_secs(1);
    let job = job();
    let row = |system, repetition| {
        let mut findings = Findings { workers: 1, measured: second, ..Findings::default() };
        findings.recorder.corrected.record(2_000_000);
        Row::new(system, job.cases[0], repetition, findings)
    };
    let mut doubtful = row("throng", 2);
    doubtful.doubt("somebody sneezed".into());
    let bare = |repetition, cpu_us_per_write| Bare {
        sockets: 1_000,
        bytes: 128,
        case: None,
        repetition,
        writes: 1,
        deliveries: 1,
        cpu_us_per_write,
        cpu_us_per_delivery: cpu_us_per_write,
        us_per_write: 5.0,
    };
    let paced = |repetition, deliveries, cpu_us_per_delivery| Bare {
        case: Some('A'),
        deliveries,
        cpu_us_per_delivery,
        ..bare(repetition, 4.0)
    };
    let results = Results {
        systems: vec![Taken { system: "redis".into(), version: "Redis 7".into() }],
        rows: vec![row("throng", 1), row("redis", 1), doubtful],
        bare: vec![bare(1, 4.0), bare(2, 3.0), paced(1, 1, 6.0), paced(2, 2, 4.0)],
        failures,
        interrupted,
    };
    let origin = Origin {
        command: vec!["throng-harness".into(), "peers".into()],
        started: SystemTime::UNIX_EPOCH,
        machine: Machine::default(),
    };
    PeersReport::new(&job, origin, results)
}
