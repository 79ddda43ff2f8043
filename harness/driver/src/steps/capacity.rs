//! The capacity of a server with a given number of clients, measured by a closed loop.
//!
//! A scheduled run has as many deliveries as its schedule, until the server cannot follow, so it
//! does not show the server's capacity. In a closed loop the next message is sent as soon as the
//! slowest client lacks fewer than a given number of messages.

use serde::{Deserialize, Serialize};
use throng_harness_report::{LOAD_MAX, Report};

use super::judge::faults;

/// Process that limited a closed loop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "testing", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Bottleneck {
    /// The server: it had no CPU time left, or its CPU time is unknown while the harness had some
    /// left.
    Server,
    /// The harness: it had no CPU time left.
    Harness,
    /// Neither: both had CPU time left, since the machine was busy otherwise or all were waiting.
    Neither,
}

/// Result of a step's closed loop.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "testing", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct Capacity {
    /// Most messages that the sender was ahead of the slowest client.
    pub ahead: u32,
    /// Messages sent.
    pub sent: u64,
    /// Duration of the closed loop, in seconds.
    pub measured_s: f64,
    /// Deliveries per second.
    pub deliveries_per_s: f64,
    /// Deliveries per second of the server's CPU time; null if the CPU time is unknown, or below
    /// 0.2 s and so too little to measure.
    pub deliveries_per_cpu_s: Option<f64>,
    /// CPU time of the server as a share of one core; null if it is unknown.
    pub server_cpu: Option<f64>,
    /// CPU time of all harness processes, as a share of what their event loops could have used.
    pub harness_load: f64,
    /// Process that was the bottleneck.
    pub limited_by: Option<Bottleneck>,
    /// Reason why the result is unusable; null if it is usable.
    pub unusable_because: Option<String>,
}

/// CPU seconds needed for a usable figure: the kernel counts in units of 10 ms.
pub(super) const CPU_S_MIN: f64 = 0.2;

impl Capacity {
    /// Returns the capacity from the report of a closed loop.
    pub(super) fn of(report: &Report, ahead: u32) -> Self {
        let server_cpu =
            report.server.filter(|_| report.measured_s > 0.0).map(|server| server.cpu_s / report.measured_s);
        let measurable = report.server.filter(|server| server.cpu_s >= CPU_S_MIN);
        let received = report.latency_us.count as f64;
        let nothing = (received <= 0.0).then(|| "nothing was delivered".to_owned());
        // The read lag is no evidence: in a closed loop everything waits. At its start all messages
        // are due at once, which keeps the pacer busy.
        let limited_by = match server_cpu {
            _ if report.harness_was_busy() => Bottleneck::Harness,
            Some(share) if share <= LOAD_MAX => Bottleneck::Neither,
            _ => Bottleneck::Server,
        };
        Self {
            ahead,
            sent: report.sent,
            measured_s: report.measured_s,
            deliveries_per_s: report.rates.deliveries_per_s,
            deliveries_per_cpu_s: measurable.map(|server| received / server.cpu_s),
            server_cpu,
            harness_load: report.harness_load,
            limited_by: Some(limited_by),
            unusable_because: faults(report).into_iter().next().or(nothing),
        }
    }
}

#[cfg(test)]
mod tests {

    use throng_harness_model::procstat::Usage;
    use throng_harness_model::record::LatencyUs;

    use super::*;

    /// Returns the capacity from a closed loop of 10 s with these shares of a core.
    fn capacity(server: Option<f64>, harness_load: f64) -> Capacity {
        let usage =
            |cpu_s| Usage { pid: 1, cpu_s, rss_bytes: 1, rss_start_bytes: 1, rss_peak_bytes: 1, alive: true };
        let report = Report {
            measured_s: 10.0,
            harness_load,
            server: server.map(|share| usage(share * 10.0)),
            latency_us: LatencyUs { count: 1_000, ..LatencyUs::default() },
            ..Report::default()
        };
        Capacity::of(&report, 200)
    }

    #[test]
    fn the_process_without_cpu_time_left_is_the_bottleneck() {
        for (server, harness_load, bottleneck) in [
            (Some(0.95), 0.40, Bottleneck::Server),
            // On several cores.
            (Some(1.70), 0.40, Bottleneck::Server),
            (Some(0.48), 0.95, Bottleneck::Harness),
            (None, 0.95, Bottleneck::Harness),
            (Some(0.48), 0.45, Bottleneck::Neither),
            (Some(0.38), 0.21, Bottleneck::Neither),
            (Some(0.01), 0.21, Bottleneck::Neither),
            (None, 0.21, Bottleneck::Server),
        ] {
            let found = capacity(server, harness_load).limited_by;
            assert_eq!(found, Some(bottleneck), "server {server:?}, harness {harness_load}");
        }
    }

    #[test]
    fn too_little_cpu_time_gives_only_its_share() {
        let little = capacity(Some(0.019), 0.2);
        assert_eq!((little.deliveries_per_cpu_s, little.server_cpu), (None, Some(0.019)));
        assert_eq!(capacity(Some(0.02), 0.2).deliveries_per_cpu_s, Some(5_000.0));
        assert_eq!(capacity(None, 0.2).server_cpu, None);
    }
}
