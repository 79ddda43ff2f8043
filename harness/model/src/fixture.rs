//! Jobs for tests, as the command line parses them from few flags, and parts of results.

use std::time::Duration;

use crate::audiences::ScopeMix;
use crate::results::Recipient;
use crate::spec::{Broadcast, Job, Lists, Scenario, Setting};
use crate::target::TargetSource;
use crate::threshold::Threshold;

const SECOND: Duration = Duration::from_secs(1);

/// A broadcast of ten seconds by two senders, with a message every 10 ms.
pub fn broadcast() -> Broadcast {
    Broadcast {
        messages: 1_000,
        duration: 10 * SECOND,
        interval: Duration::from_millis(10),
        payload: 128,
        senders: 2,
        warmup: SECOND,
        pause: Duration::ZERO,
        drain: 10 * SECOND,
        setting: Setting::default(),
        ahead: None,
        is_adjustable: false,
        leave: true,
    }
}

/// A setting that mixes messages to the world, to a channel, to clients nearby and to one client.
pub fn mixed() -> Setting {
    Setting { speech: ScopeMix::Mixed, channels: 10, side: 3, sector_size: 100, ..Setting::default() }
}

/// A run of `scenario` with 100 clients against the servers of the data directory `d`.
pub fn job(scenario: Scenario) -> Job {
    Job {
        scenario,
        target: TargetSource::Data("d".into()),
        server_pid: None,
        clients: 100,
        connect_interval: Duration::from_millis(1),
        connect_timeout: 30 * SECOND,
        workers: 1,
        processes: 1,
        sources: None,
        lists: Lists::default(),
        seed: 7,
        json: None,
        html: None,
        hgrm: None,
        thresholds: Threshold::defaults(),
        plain: false,
        standing: None,
        require_valid: false,
    }
}

/// `clients` recipients that entered in the order of their numbers, with mean latencies of
/// `mean_us`.
pub fn recipients(clients: u32, mean_us: impl Fn(u32) -> u64) -> Vec<Recipient> {
    let one = |client| Recipient {
        client,
        shard: (client % 2) as u8,
        entered: u64::from(client) * 1_000,
        received: 4,
        waited: mean_us(client) * 4_000,
        longest_us: 9,
    };
    (0..clients).rev().map(one).collect()
}

/// Checks that a figure of a histogram, which rounds, is `expected`.
#[track_caller]
pub fn near(value: f64, expected: f64) {
    assert!((value - expected).abs() <= expected * 0.002 + 1.0, "{value} is not about {expected}");
}
