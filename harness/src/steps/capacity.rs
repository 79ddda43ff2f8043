//! What a server can make at most with so many clients: the same run as a closed loop.
//!
//! A run by a schedule has as many deliveries as the schedule asks for, until the server cannot follow; what it could
//! have made does not show. So it is asked for as many as it can make: the next message follows as soon as the slowest
//! client lacks fewer than a certain number.

use serde::{Deserialize, Serialize};

use super::LimitedBy;
use super::judge::faults;
use crate::report::Report;

/// What the closed loop of a step came to.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
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
    /// Deliveries in a second of the server's CPU time; null if that is not known, or too short to be measured.
    pub deliveries_per_cpu_s: Option<f64>,
    /// The server's CPU time as a share of one core.
    pub server_cpu: Option<f64>,
    /// The CPU time of all the harness's processes together, as a share of what their event loops could have used.
    pub harness_load: f64,
    /// Who set the pace: the harness, when it had no time left.
    pub limited_by: Option<LimitedBy>,
    /// Why this is no measurement, if it is none.
    pub unusable_because: Option<String>,
}

/// CPU seconds below which the 10 ms that the kernel counts in say too little.
const CPU_S_MIN: f64 = 0.2;

impl Capacity {
    /// What the closed loop's report says.
    pub(super) fn of(report: &Report, ahead: u32) -> Self {
        let server = report.server.filter(|server| server.cpu_s >= CPU_S_MIN);
        let received = report.latency_us.count as f64;
        let nothing = (received <= 0.0).then(|| "nothing was delivered".to_owned());
        // How late it reads does not tell: everything waits in a closed loop, and its beginning, when all messages are due at
        // once, keeps the pacer busy.
        let limited_by = if report.harness_was_busy() { LimitedBy::Harness } else { LimitedBy::Server };
        Self {
            ahead,
            sent: report.sent,
            measured_s: report.measured_s,
            deliveries_per_s: report.rates.deliveries_per_s,
            deliveries_per_cpu_s: server.map(|server| received / server.cpu_s),
            server_cpu: server
                .filter(|_| report.measured_s > 0.0)
                .map(|server| server.cpu_s / report.measured_s),
            harness_load: report.harness_load,
            limited_by: Some(limited_by),
            unusable_because: faults(report).into_iter().next().or(nothing),
        }
    }
}
