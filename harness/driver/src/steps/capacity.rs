//! What a server can make at most with so many clients: the same run as a closed loop.
//!
//! A run by a schedule has as many deliveries as the schedule asks for, until the server cannot follow; what it could
//! have made does not show. So it is asked for as many as it can make: the next message follows as soon as the slowest
//! client lacks fewer than a certain number.

use serde::{Deserialize, Serialize};
use throng_harness_report::{LOAD_MAX, Report};

use super::judge::faults;

/// Who set the pace of a closed loop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "testing", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Pace {
    /// The server, which had no time left, or whose CPU time is not known while the harness had some.
    Server,
    /// The harness, which had no time left.
    Harness,
    /// Both had time left: the machine was busy with something else, or everybody waited.
    Neither,
}

/// What the closed loop of a step came to.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "testing", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct Capacity {
    /// Messages that were ahead of the slowest client at most.
    pub ahead: u32,
    /// Messages sent.
    pub sent: u64,
    /// How long that took, in seconds.
    pub measured_s: f64,
    /// Deliveries in a second.
    pub deliveries_per_s: f64,
    /// Deliveries in a second of the server's CPU time; null if that is not known, or below 0.2 s, too little to be told.
    pub deliveries_per_cpu_s: Option<f64>,
    /// The server's CPU time as a share of one core; null if it is not known.
    pub server_cpu: Option<f64>,
    /// The CPU time of all the harness's processes together, as a share of what their event loops could have used.
    pub harness_load: f64,
    /// Who set the pace.
    pub limited_by: Option<Pace>,
    /// Why this is no measurement, if it is none.
    pub unusable_because: Option<String>,
}

/// CPU seconds below which the 10 ms that the kernel counts in say too little.
pub(super) const CPU_S_MIN: f64 = 0.2;

impl Capacity {
    /// What the closed loop's report says.
    pub(super) fn of(report: &Report, ahead: u32) -> Self {
        let server_cpu =
            report.server.filter(|_| report.measured_s > 0.0).map(|server| server.cpu_s / report.measured_s);
        let told = report.server.filter(|server| server.cpu_s >= CPU_S_MIN);
        let received = report.latency_us.count as f64;
        let nothing = (received <= 0.0).then(|| "nothing was delivered".to_owned());
        // How late it reads does not tell: everything waits in a closed loop, and its beginning, when all messages are due at
        // once, keeps the pacer busy.
        let limited_by = match server_cpu {
            _ if report.harness_was_busy() => Pace::Harness,
            Some(share) if share <= LOAD_MAX => Pace::Neither,
            _ => Pace::Server,
        };
        Self {
            ahead,
            sent: report.sent,
            measured_s: report.measured_s,
            deliveries_per_s: report.rates.deliveries_per_s,
            deliveries_per_cpu_s: told.map(|server| received / server.cpu_s),
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

    /// The closed loop of ten seconds in which the server and the harness used so much of a core.
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
    fn who_had_no_time_left_set_the_pace() {
        for (server, harness_load, pace) in [
            (Some(0.95), 0.40, Pace::Server),
            // On several cores.
            (Some(1.70), 0.40, Pace::Server),
            (Some(0.48), 0.95, Pace::Harness),
            (None, 0.95, Pace::Harness),
            (Some(0.48), 0.45, Pace::Neither),
            (Some(0.38), 0.21, Pace::Neither),
            (Some(0.01), 0.21, Pace::Neither),
            (None, 0.21, Pace::Server),
        ] {
            let found = capacity(server, harness_load).limited_by;
            assert_eq!(found, Some(pace), "server {server:?}, harness {harness_load}");
        }
    }

    #[test]
    fn too_little_cpu_time_tells_nothing_but_is_known() {
        let little = capacity(Some(0.019), 0.2);
        assert_eq!((little.deliveries_per_cpu_s, little.server_cpu), (None, Some(0.019)));
        assert_eq!(capacity(Some(0.02), 0.2).deliveries_per_cpu_s, Some(5_000.0));
        assert_eq!(capacity(None, 0.2).server_cpu, None);
    }
}
