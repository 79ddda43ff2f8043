//! Reports for tests of this crate and of the crates that build on it.

use std::time::{Duration, SystemTime};

use throng_harness_model::fixture;
use throng_harness_model::payload::Stamp;
use throng_harness_model::procstat::Usage;
use throng_harness_model::record::{Recorder, Spread};
use throng_harness_model::results::{Clients, Deliveries, Findings, Pair, Rates};
use throng_harness_model::spec::{Job, Scenario};
use throng_harness_model::threshold::Threshold;

use super::{Machine, Origin};

/// Nanoseconds in a millisecond.
pub const MS: u64 = 1_000_000;

/// A broadcast of two clients with the flags `--threshold` and `--require-valid` of `line`.
pub fn job(line: &str) -> Job {
    let mut words = line.split_whitespace();
    let (mut changes, mut require_valid) = (Vec::<Threshold>::new(), false);
    while let Some(word) = words.next() {
        match word {
            "--threshold" => changes.push(words.next().expect("a limit").parse().expect("valid")),
            "--require-valid" => require_valid = true,
            other => panic!("{other} is not known here"),
        }
    }
    let base = fixture::job(Scenario::Broadcast(fixture::broadcast()));
    Job { clients: 2, seed: 9, thresholds: Threshold::with_defaults(&changes), require_valid, ..base }
}

/// The origin of a report from a made-up machine.
pub fn origin() -> Origin {
    Origin {
        command: vec!["throng-harness".into(), "broadcast".into()],
        started: SystemTime::UNIX_EPOCH + Duration::from_secs(77),
        machine: Machine {
            cpu: "Test CPU".into(),
            cores: 4,
            cores_online: 4,
            kernel: "6.1".into(),
            memory_bytes: 8_000_000_000,
        },
    }
}

/// A process that used `cpu_s` seconds of CPU time.
pub fn usage(cpu_s: f64) -> Usage {
    let rss = 12_300_000;
    Usage { pid: 1, cpu_s, rss_bytes: rss, rss_start_bytes: rss, rss_peak_bytes: rss, alive: true }
}

/// Findings of two clients and ten messages 1 ms apart, received after 2 and 3 ms. The first `lost`
/// messages do not reach the second client.
pub fn findings(lost: u32) -> Findings {
    let (mut recorder, mut spread) = (Recorder::default(), Spread::default());
    let due = |index: u32| (100 + u64::from(index)) * MS;
    for index in 0..10 {
        recorder.sent(due(index), due(index));
        let receivers = if index < lost { 1 } else { 2 };
        for client in 0..receivers {
            recorder.delivered(Stamp::new(index, due(index), due(index)), due(index) + (client + 2) * MS);
        }
        spread.first.record(2 * MS);
        spread.last.record((receivers + 1) * MS);
        spread.skew.record((receivers - 1) * MS);
    }
    let deliveries = Deliveries {
        expected: 20,
        received: 20 - u64::from(lost),
        missing: lost.into(),
        missing_examples: (0..lost).map(|message| Pair { client: 1, message }).collect(),
        ..Deliveries::default()
    };
    Findings {
        clients: Clients { requested: 2, connected: 2, ..Clients::default() },
        sent: 10,
        spread,
        deliveries: Some(deliveries),
        recorder,
        rates: Rates::new(10, Duration::from_millis(10), 10, Duration::from_millis(10)),
        measured: Duration::from_millis(10),
        server: Some(usage(0.2)),
        harness: Some(usage(0.005)),
        workers: 1,
        ..Findings::default()
    }
}
