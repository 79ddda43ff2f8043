//! The traffic of one case: sends its messages, accounts for the deliveries, and yields the
//! findings.

use std::sync::Arc;
use std::time::Duration;

use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt, SeedableRng};
use throng_harness_driver::verify::{DeliveryLedger, Receipt, settle};
use throng_harness_driver::window::Window;
use throng_harness_model::clock::{NEVER, Nanos, nanos};
use throng_harness_model::limits::MESSAGES_MAX;
use throng_harness_model::payload::{Payload, Purpose, Reading, Stamp};
use throng_harness_model::record::{Latencies, Recorder};
use throng_harness_model::results::{Findings, Rates};
use throng_harness_model::schedule::{SendCursor, Traffic, points_in};
use throng_harness_model::send_schedule::SendSchedule;

use super::case::{Case, Load};
use super::clients::Handler;

/// Index of the probe message, which no message of a schedule has.
const PROBE: u32 = u32::MAX;
/// Time between two warm-up messages of a closed loop.
pub(super) const CLOSED_WARMUP: Duration = Duration::from_millis(10);
/// Most messages of a closed loop, which ends early if they run out.
pub(super) const CLOSED_MAX: u32 = 400_000;
/// Mean interval of the samples of the read lag, in nanoseconds.
const LAG_MEAN: f64 = 10e6;

/// Durations of the parts of a case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Times {
    /// Sending before the measurement.
    pub warmup: Duration,
    /// Silence after the warm-up, so that its deliveries and their cost stay out of the
    /// measurement.
    pub pause: Duration,
    /// Sending that is measured.
    pub duration: Duration,
    /// Longest wait for outstanding deliveries.
    pub drain: Duration,
}

/// The messages being sent.
enum Sending {
    Idle,
    /// The probe, from this member, as soon as possible.
    Probe(usize),
    Scheduled {
        warmup: SendCursor,
        counted: Counted,
    },
}

/// The counted messages.
enum Counted {
    /// On a schedule.
    Paced(SendCursor),
    /// Whenever the window is open, within these times.
    Closed { from: Nanos, until: Nanos, next: u32 },
}

/// A case in progress.
pub(super) struct CaseRun {
    case: Case,
    times: Times,
    payload: Payload,
    traffic: Arc<Traffic>,
    warmup: Arc<Traffic>,
    sending: Sending,
    window: Option<Window>,
    /// Intended times of the counted messages.
    schedule: Arc<SendSchedule>,
    ledger: DeliveryLedger,
    recorder: Recorder,
    read_lag: Latencies,
    /// Time of the next sample of the read lag.
    lag_at: Nanos,
    rng: Xoshiro256PlusPlus,
    /// Indexed by member: in the room; has the probe; messages received.
    present: Vec<bool>,
    probed: Vec<bool>,
    received: Vec<u32>,
    // Sums over the members in the room.
    members: u64,
    members_probed: u64,
    members_received: u64,
    lost: u64,
    sent: u64,
    last_sent: Nanos,
}

impl CaseRun {
    /// A case among the members that are `present` in the room at `now`.
    pub(super) fn new(
        case: Case,
        times: Times,
        payload: usize,
        seed: u64,
        present: Vec<bool>,
        now: Nanos,
    ) -> Self {
        let members = case.members;
        let (messages, interval) = match case.load {
            Load::Paced(interval) => (points_in(times.duration, interval).unwrap_or(MESSAGES_MAX), interval),
            Load::Closed { .. } => (CLOSED_MAX, CLOSED_WARMUP),
        };
        let draw = |messages| Arc::new(Traffic::draw(seed, members, members, messages));
        let traffic = draw(messages);
        let mut ledger = DeliveryLedger::new(traffic.clone(), 0..members);
        for (member, _) in present.iter().enumerate().filter(|(_, present)| **present) {
            // The ledger counts from the entry, which was earlier.
            ledger.entry_requested(member, now);
            ledger.entered(member, now);
        }
        let mut window = match case.load {
            Load::Paced(_) => None,
            Load::Closed { ahead } => Some(Window::new(ahead, present.len())),
        };
        if let Some(window) = &mut window {
            (0..present.len()).filter(|member| !present[*member]).for_each(|member| window.lost(member));
        }
        Self {
            case,
            times,
            payload: Payload::new(Payload::draw_run(), seed, payload),
            warmup: draw(points_in(times.warmup, interval).unwrap_or(MESSAGES_MAX)),
            traffic,
            sending: Sending::Idle,
            window,
            schedule: Arc::new(SendSchedule::even(NEVER, interval)),
            ledger,
            recorder: Recorder::default(),
            read_lag: Latencies::new(),
            lag_at: NEVER,
            rng: Xoshiro256PlusPlus::seed_from_u64(seed),
            probed: vec![false; present.len()],
            received: vec![0; present.len()],
            members: present.iter().filter(|present| **present).count() as u64,
            present,
            members_probed: 0,
            members_received: 0,
            lost: 0,
            sent: 0,
            last_sent: 0,
        }
    }

    /// Sends the probe from the first member.
    pub(super) fn probe(&mut self) {
        if let Some(sender) = self.present.iter().position(|present| *present) {
            self.sending = Sending::Probe(sender);
        }
    }

    /// Members in the room, and how many of them have received the probe.
    pub(super) fn probed(&self) -> (u64, u64) {
        (self.members, self.members_probed)
    }

    /// Starts sending at `start`, with the warm-up. Returns the start of the measurement.
    pub(super) fn start(&mut self, start: Nanos) -> Nanos {
        let interval = self.case.interval().unwrap_or(CLOSED_WARMUP);
        let warmup = Arc::new(SendSchedule::even(start, interval));
        let from = warmup.intended(self.warmup.messages()).saturating_add(nanos(self.times.pause));
        self.schedule = Arc::new(SendSchedule::even(from, interval));
        let counted = match self.case.load {
            Load::Paced(_) => {
                Counted::Paced(SendCursor::new(self.traffic.clone(), self.schedule.clone(), 0, 1))
            }
            Load::Closed { .. } => {
                Counted::Closed { from, until: from.saturating_add(nanos(self.times.duration)), next: 0 }
            }
        };
        let warmup = SendCursor::new(self.warmup.clone(), warmup, 0, 1);
        self.sending = Sending::Scheduled { warmup, counted };
        self.lag_at = from;
        from
    }

    /// True if every message has been sent by `now`.
    pub(super) fn is_sent(&self, now: Nanos) -> bool {
        match &self.sending {
            Sending::Scheduled { warmup, counted } => {
                warmup.next_due() == NEVER
                    && match counted {
                        Counted::Paced(cursor) => cursor.next_due() == NEVER,
                        Counted::Closed { until, next, .. } => {
                            now >= *until || *next >= self.traffic.messages()
                        }
                    }
            }
            Sending::Idle | Sending::Probe(_) => true,
        }
    }

    /// Stops sending.
    pub(super) fn stop(&mut self) {
        self.sending = Sending::Idle;
        self.lag_at = NEVER;
    }

    /// True if every member in the room has every message.
    pub(super) fn is_drained(&self) -> bool {
        self.members_received == self.sent * self.members
    }

    /// Members lost since the case began.
    pub(super) fn lost_members(&self) -> u64 {
        self.lost
    }

    /// Closes the accounts of the case.
    pub(super) fn findings(self) -> Findings {
        let mut findings = Findings { workers: 1, ..Findings::default() };
        findings.clients.requested = self.case.members.into();
        findings.clients.connected = self.members + self.lost;
        findings.clients.disconnected = self.lost;
        let start = self.schedule.intended(0);
        let took = Duration::from_nanos(self.last_sent.saturating_sub(start));
        findings.rates = match self.case.load {
            Load::Paced(interval) => {
                let planned = self.traffic.messages();
                Rates::new(planned.into(), interval * planned, self.sent, took + interval)
            }
            // A closed loop offers as much as it sends.
            Load::Closed { .. } => Rates::new(self.sent, took, self.sent, took),
        };
        if let Some(settlement) = settle(vec![self.ledger]) {
            findings.sent = settlement.sent;
            if let Load::Paced(_) = self.case.load {
                findings.spread = settlement.log.spread(&self.schedule);
            }
            findings.deliveries = Some(settlement.deliveries);
        }
        findings.recorder = self.recorder;
        findings.read_lag = self.read_lag;
        findings
    }

    fn compose(&self, purpose: Purpose, stamp: Stamp, out: &mut Vec<u8>) {
        out.extend_from_slice(self.payload.compose(purpose, stamp).as_bytes());
    }

    /// Exponentially distributed, so that the samples do not favor any period of the load.
    #[allow(clippy::cast_sign_loss)] // the logarithm of what is below 1 is negative
    fn lag_pause(&mut self) -> Nanos {
        let uniform: f64 = self.rng.random_range(f64::EPSILON..1.0);
        (-uniform.ln() * LAG_MEAN) as Nanos + 1
    }

    /// Takes the next counted message whose sender is present: index, sender, intended time.
    fn next_counted(&mut self, now: Nanos) -> Option<(u32, usize, Nanos)> {
        let Sending::Scheduled { counted, .. } = &mut self.sending else { return None };
        loop {
            let (index, sender, intended) = match counted {
                Counted::Paced(cursor) => {
                    let due = cursor.pop(now)?;
                    (due.index, due.sender, due.intended)
                }
                Counted::Closed { from, until, next } => {
                    let is_open = self.window.as_ref().is_some_and(Window::is_open);
                    if !is_open || now < *from || now >= *until {
                        return None;
                    }
                    let index = *next;
                    let sender = self.traffic.sender(index)?;
                    *next += 1;
                    (index, sender, now)
                }
            };
            if self.present[sender as usize] {
                return Some((index, sender as usize, intended));
            }
        }
    }
}

impl Handler for CaseRun {
    fn next_due(&self) -> Nanos {
        let due = match &self.sending {
            Sending::Idle => NEVER,
            Sending::Probe(_) => 0,
            Sending::Scheduled { warmup, counted } => {
                let counted = match counted {
                    Counted::Paced(cursor) => cursor.next_due(),
                    Counted::Closed { from, next, .. }
                        if self.window.as_ref().is_some_and(Window::is_open)
                            && *next < self.traffic.messages() =>
                    {
                        *from
                    }
                    Counted::Closed { .. } => NEVER,
                };
                warmup.next_due().min(counted)
            }
        };
        due.min(self.lag_at)
    }

    fn pop_due(&mut self, now: Nanos, payload: &mut Vec<u8>) -> Option<usize> {
        match &mut self.sending {
            Sending::Idle => return None,
            Sending::Probe(sender) => {
                let sender = *sender;
                self.sending = Sending::Idle;
                self.compose(Purpose::Probe, Stamp::new(PROBE, now, now), payload);
                return Some(sender);
            }
            Sending::Scheduled { warmup, .. } => {
                while let Some(due) = warmup.pop(now) {
                    let sender = due.sender as usize;
                    if self.present[sender] {
                        self.compose(Purpose::Probe, Stamp::new(due.index, due.intended, now), payload);
                        return Some(sender);
                    }
                }
            }
        }
        let (index, sender, intended) = self.next_counted(now)?;
        self.ledger.sent(index, now);
        self.recorder.sent(intended, now);
        if let Some(window) = &mut self.window {
            window.sent();
        }
        self.sent += 1;
        self.last_sent = now;
        self.compose(Purpose::Counted, Stamp::new(index, intended, now), payload);
        Some(sender)
    }

    /// Runs for every delivery, so it must not allocate.
    fn received(&mut self, member: usize, payload: &[u8], now: Nanos) {
        match self.payload.read(payload) {
            Reading::Ours(Purpose::Counted, stamp) => {
                // No peer numbers the messages of a room, so one number stands for all, and only
                // the order of each sender's messages is checked.
                if self.ledger.delivered(member, stamp.index, 0, now) == Receipt::First {
                    self.recorder.delivered(stamp, now);
                    if let Some(window) = &mut self.window {
                        window.received(member);
                    }
                    self.received[member] += 1;
                    self.members_received += u64::from(self.present[member]);
                }
            }
            Reading::Ours(Purpose::Probe, stamp) => {
                if stamp.index == PROBE && self.present[member] && !self.probed[member] {
                    self.probed[member] = true;
                    self.members_probed += 1;
                }
            }
            Reading::Corrupt => self.ledger.corrupt(),
            Reading::Foreign => self.ledger.foreign(),
        }
    }

    fn disconnected(&mut self, member: usize, now: Nanos) {
        if !std::mem::replace(&mut self.present[member], false) {
            return;
        }
        self.ledger.session_ended(member, now);
        if let Some(window) = &mut self.window {
            window.lost(member);
        }
        self.members -= 1;
        self.lost += 1;
        self.members_probed -= u64::from(self.probed[member]);
        self.members_received -= u64::from(self.received[member]);
    }

    fn turn_ended(&mut self, since: Nanos, now: Nanos) {
        while self.lag_at <= since {
            self.read_lag.record(now.saturating_sub(self.lag_at));
            self.lag_at += self.lag_pause();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Nanos = 1_000_000;

    fn times() -> Times {
        let [warmup, pause, duration] = [20, 10, 30].map(Duration::from_millis);
        Times { warmup, pause, duration, drain: Duration::ZERO }
    }

    fn case_run(load: Load, members: u32) -> CaseRun {
        let case = Case { letter: 'T', members, load };
        CaseRun::new(case, times(), 64, 1, vec![true; members as usize], 0)
    }

    /// Sends all messages due at `now` -> senders and messages.
    fn send(run: &mut CaseRun, now: Nanos) -> Vec<(usize, Vec<u8>)> {
        let sent = std::iter::from_fn(|| {
            let mut payload = Vec::new();
            run.pop_due(now, &mut payload).map(|sender| (sender, payload))
        });
        sent.collect()
    }

    #[test]
    fn a_lost_and_a_duplicated_delivery_are_counted() {
        let mut run = case_run(Load::Paced(Duration::from_millis(10)), 3);
        run.probe();
        for (_, probe) in send(&mut run, 0) {
            (0..3).for_each(|member| run.received(member, &probe, 1));
        }
        assert_eq!(run.probed(), (3, 3));
        let from = run.start(100 * MS);
        assert_eq!((from, run.next_due()), (130 * MS, 100 * MS));
        assert_eq!(send(&mut run, 129 * MS).len(), 2, "warm-up");
        let sent = send(&mut run, 155 * MS);
        assert_eq!(sent.len(), 3);
        assert!(run.is_sent(155 * MS) && !run.is_drained());
        for (at, (_, message)) in sent.iter().enumerate() {
            (0..3).filter(|member| (at, *member) != (1, 2)).for_each(|member| {
                run.received(member, message, 160 * MS);
            });
        }
        run.received(0, &sent[0].1, 161 * MS);
        run.received(0, b"something else", 161 * MS);
        assert!(!run.is_drained());
        run.disconnected(2, 162 * MS);
        assert!(run.is_drained() && run.lost_members() == 1);
        let findings = run.findings();
        let deliveries = findings.deliveries.expect("some");
        assert_eq!(
            (
                deliveries.expected,
                deliveries.received,
                deliveries.missing,
                deliveries.duplicated,
                deliveries.foreign
            ),
            (9, 8, 1, 1, 1)
        );
        assert_eq!((findings.clients.connected, findings.clients.disconnected, findings.sent), (3, 1, 3));
        // From the intended time of the first message, 130 ms, not from 155 ms.
        let max = findings.recorder.corrected.summary().max;
        assert!((max - 30_000.0).abs() < 100.0, "{max}");
    }

    #[test]
    fn a_closed_loop_waits_for_the_slowest() {
        let mut run = case_run(Load::Closed { ahead: 2 }, 2);
        let from = run.start(0);
        let warmup = send(&mut run, from - 1);
        assert_eq!(warmup.len(), 2);
        let sent = send(&mut run, from);
        assert_eq!(sent.len(), 2);
        assert!(run.next_due() > from - 1 && send(&mut run, from + 1).is_empty());
        run.received(0, &sent[0].1, from + MS);
        assert!(send(&mut run, from + MS).is_empty());
        run.received(1, &sent[0].1, from + MS);
        assert_eq!(send(&mut run, from + MS).len(), 1);
        assert!(!run.is_sent(from + 29 * MS) && run.is_sent(from + 30 * MS));
        run.disconnected(1, from + 2 * MS);
        run.received(0, &sent[1].1, from + 2 * MS);
        assert_eq!(send(&mut run, from + 31 * MS).len(), 0, "after its end");
    }

    #[test]
    fn read_lag_is_sampled_during_the_measurement() {
        let mut run = case_run(Load::Paced(Duration::from_millis(10)), 1);
        run.turn_ended(50 * MS, 60 * MS);
        let from = run.start(0);
        run.turn_ended(from - 1, from + 5 * MS);
        run.turn_ended(from, from + 7 * MS);
        run.stop();
        run.turn_ended(from + 1000 * MS, from + 1001 * MS);
        let lag = run.findings().read_lag.summary();
        assert_eq!(lag.count, 1);
        assert!((lag.max - 7_000.0).abs() < 10.0, "{lag:?}");
    }
}
