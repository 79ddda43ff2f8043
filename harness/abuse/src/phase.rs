//! One phase, and the figures of several.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;
use throng_harness_model::record::{Latencies, LatencyUs, Recorder};
use throng_harness_model::results::{Deliveries, Findings, Gaps, Rates};
use throng_harness_report::{LOAD_MAX, doubts};

use crate::crowd::{Counts, Heard};
use crate::line::Tally;

/// The kind of a phase.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum PhaseKind {
    /// Honest clients only.
    #[default]
    Quiet,
    /// With the attack.
    Attack,
}

/// Traffic of the attacker in the counted part of a phase.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Traffic {
    /// Bytes a second that it sent.
    pub sent_bytes_per_s: f64,
    /// Bytes a second that it received.
    pub received_bytes_per_s: f64,
    /// Packets a second that it sent.
    pub packets_per_s: f64,
    /// Connections that it began.
    pub connections: u64,
    /// Handshakes that it completed.
    pub sessions: u64,
    /// Refusals and ends that the server told it, counted by name, over the whole phase.
    pub told: BTreeMap<String, u64>,
}

/// The results of one phase.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Phase {
    /// Quiet, or with the attack.
    pub kind: PhaseKind,
    /// Latency of messages in the attacker's room, from the intended send time.
    pub same_us: LatencyUs,
    /// Latency of messages in the other room.
    pub other_us: LatencyUs,
    /// From a newcomer's intended start to its first answer in the chat.
    pub enter_us: LatencyUs,
    /// Newcomers that began.
    pub newcomers: u64,
    /// Newcomers that got in and were answered in time.
    pub entered: u64,
    /// Messages sent by honest clients.
    pub sent: u64,
    /// Of those, the ones that the server refused.
    pub refused: u64,
    /// Expected (message, recipient) pairs.
    pub expected: u64,
    /// Pairs that arrived.
    pub received: u64,
    /// Pairs that did not arrive, and that no ChatGap announced.
    pub missing: u64,
    /// Pairs that did not arrive, and that a ChatGap announced.
    pub told: u64,
    /// Copies after the first, or to clients outside the audience.
    pub duplicated: u64,
    /// Breaks in the numbers of a room's messages that no ChatGap explains.
    pub breaks: u64,
    /// Messages whose text was changed.
    pub corrupted: u64,
    /// Honest clients that lost their session.
    pub disconnected: u64,
    /// Reasons of refused messages, lost sessions and newcomers put off or late.
    pub reasons: BTreeMap<String, u64>,
    /// CPU time of the servers' processes as a share of one core; null if unknown.
    pub server_cpu: Option<f64>,
    /// CPU time of the honest clients' thread as a share of one core.
    pub honest_load: f64,
    /// Share of the time in which that thread was ready and waited for a core.
    pub honest_wait: f64,
    /// From the intended send time to the actual one.
    pub sender_delay_us: LatencyUs,
    /// Time that arrived data waited for the honest clients to read it.
    pub read_lag_us: LatencyUs,
    /// The attacker's traffic; null in a quiet phase.
    pub attacker: Option<Traffic>,
    /// True if the latencies are evidence about the server.
    pub valid: bool,
    /// The reasons if they are not.
    pub invalid_because: Vec<String>,
}

/// Measurements of a phase beside those of the honest clients.
pub(crate) struct Measured {
    pub(crate) kind: PhaseKind,
    /// The counted part.
    pub(crate) time: Duration,
    /// Messages that were to be sent, with those before the counted part.
    pub(crate) offered: u64,
    pub(crate) server_cpu: Option<Duration>,
    /// The attacker's traffic in the counted part, and in the whole phase.
    pub(crate) traffic: Option<(Tally, Tally)>,
}

impl Phase {
    pub(crate) fn new(measured: Measured, heard: Heard) -> Self {
        let Measured { kind, time, offered, server_cpu, traffic } = measured;
        let seconds = time.as_secs_f64().max(f64::MIN_POSITIVE);
        let elapsed = heard.ran.elapsed.as_secs_f64().max(f64::MIN_POSITIVE);
        let share = |time: Duration| time.as_secs_f64() / elapsed;
        let (honest_load, honest_wait) = (share(heard.ran.on_core), share(heard.ran.waiting));
        let (same_us, other_us) = (heard.same.summary(), heard.other.summary());
        let [sender_delay_us, read_lag_us] =
            [&heard.recorder.sender_delay, &heard.read_lag].map(Latencies::summary);
        let Counts { sent, refused, expected, received, missing, told, duplicated, breaks } = heard.counts;
        let mut invalid_because = Vec::new();
        // Ready all the time, it was behind: data waited although each turn was short.
        if honest_load + honest_wait > LOAD_MAX {
            invalid_because.push(format!(
                "the honest clients' thread ran for {:.0}% of the time and waited for a core for {:.0}%: \
                 use fewer --clients, or an idle machine with more cores",
                honest_load * 100.0,
                honest_wait * 100.0
            ));
        }
        // The harness must not be late beside the shorter latency, which the attack may leave
        // alone.
        let corrected = if other_us.p99 < same_us.p99 { heard.other } else { heard.same };
        let recorder = Recorder { corrected, ..heard.recorder };
        let gaps = Gaps { told, ..Gaps::default() };
        let deliveries = Deliveries { expected, received, missing, gaps, ..Deliveries::default() };
        invalid_because.extend(doubts(
            &Findings {
                deliveries: Some(deliveries),
                rates: Rates::new(offered, time, sent, time),
                recorder,
                read_lag: heard.read_lag,
                workers: 1,
                ..Findings::default()
            },
            0.0,
        ));
        let attacker = traffic.map(|(counted, whole)| Traffic {
            sent_bytes_per_s: counted.sent_bytes as f64 / seconds,
            received_bytes_per_s: counted.received_bytes as f64 / seconds,
            packets_per_s: counted.packets as f64 / seconds,
            connections: whole.connections,
            sessions: whole.sessions,
            told: whole.told,
        });
        Self {
            kind,
            same_us,
            other_us,
            enter_us: heard.entering.summary(),
            newcomers: heard.newcomers,
            entered: heard.entered,
            sent,
            refused,
            expected,
            received,
            missing,
            told,
            duplicated,
            breaks,
            corrupted: heard.corrupted,
            disconnected: heard.disconnected,
            reasons: heard.reasons,
            server_cpu: server_cpu.map(|cpu| cpu.as_secs_f64() / seconds),
            honest_load,
            honest_wait,
            sender_delay_us,
            read_lag_us,
            attacker,
            valid: invalid_because.is_empty(),
            invalid_because,
        }
    }
}

/// A median with the least and the greatest value.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Spread {
    /// The middle value, or the mean of the two in the middle.
    pub median: f64,
    /// The least value.
    pub min: f64,
    /// The greatest value.
    pub max: f64,
}

impl Spread {
    /// The spread of `values`; all zero without any.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Self {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let (Some(min), Some(max)) = (values.first(), values.last()) else { return Self::default() };
        let middle = values.len() / 2;
        let median = match values.len() % 2 {
            1 => values[middle],
            _ => f64::midpoint(values[middle - 1], values[middle]),
        };
        Self { median, min: *min, max: *max }
    }
}

/// Figures of the phases of one kind, over the rounds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Figures {
    /// Phases that count.
    pub phases: usize,
    /// Median latency in the attacker's room.
    pub same_p50_us: Spread,
    /// 99th percentile there.
    pub same_p99_us: Spread,
    /// Median latency in the other room.
    pub other_p50_us: Spread,
    /// 99th percentile there.
    pub other_p99_us: Spread,
    /// 99th percentile of newcomers' ways in.
    pub enter_p99_us: Spread,
    /// Share of newcomers that got in in time.
    pub entered: Spread,
    /// CPU time of the servers as a share of one core; null if unknown.
    pub server_cpu: Option<Spread>,
}

impl Figures {
    /// The figures of `phases`.
    pub(crate) fn of(phases: &[&Phase]) -> Self {
        let spread = |figure: fn(&Phase) -> f64| Spread::of(phases.iter().map(|phase| figure(phase)));
        let with_newcomers = phases.iter().filter(|phase| phase.newcomers > 0);
        let share = |phase: &&&Phase| phase.entered as f64 / phase.newcomers as f64;
        let cpu: Vec<f64> = phases.iter().filter_map(|phase| phase.server_cpu).collect();
        Self {
            phases: phases.len(),
            same_p50_us: spread(|phase| phase.same_us.p50),
            same_p99_us: spread(|phase| phase.same_us.p99),
            other_p50_us: spread(|phase| phase.other_us.p50),
            other_p99_us: spread(|phase| phase.other_us.p99),
            enter_p99_us: spread(|phase| phase.enter_us.p99),
            entered: Spread::of(with_newcomers.map(|phase| share(&phase))),
            server_cpu: (!cpu.is_empty()).then(|| Spread::of(cpu)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spreads() {
        assert_eq!(Spread::of([]), Spread::default());
        assert_eq!(Spread::of([3.0, 1.0, 9.0]), Spread { median: 3.0, min: 1.0, max: 9.0 });
        assert_eq!(Spread::of([3.0, 1.0]), Spread { median: 2.0, min: 1.0, max: 3.0 });
    }
}
