//! One case on a swarm: what is said, what is heard, and what that comes to.

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

/// The number of the probe message, which no message of a schedule has.
const PROBE: u32 = u32::MAX;
/// Time between two warm-up messages of a closed loop.
pub(super) const CLOSED_WARMUP: Duration = Duration::from_millis(10);
/// Most messages of a closed loop; it ends before its time if they run out.
pub(super) const CLOSED_MAX: u32 = 400_000;
/// Mean time between two looks at how late something is read, in nanoseconds.
const LAG_MEAN: f64 = 10e6;

/// How long the parts of a case take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Times {
    /// Speaking before anything counts.
    pub warmup: Duration,
    /// Silence after that, so that nothing of it is delivered, and paid for, in what counts.
    pub pause: Duration,
    /// Speaking that counts.
    pub duration: Duration,
    /// Longest wait for the rest after it.
    pub drain: Duration,
}

/// What is being said.
enum Saying {
    Nothing,
    /// The probe, by this member, as soon as possible.
    Probe(usize),
    Talk {
        warmup: SendCursor,
        counted: Counted,
    },
}

/// The messages that count.
enum Counted {
    /// By a schedule.
    Paced(SendCursor),
    /// Whenever the window is open, within this time.
    Closed { from: Nanos, until: Nanos, next: u32 },
}

/// A case under way. Implements what the swarm asks for, and counts.
pub(super) struct Talk {
    case: Case,
    times: Times,
    payload: Payload,
    traffic: Arc<Traffic>,
    warmup: Arc<Traffic>,
    saying: Saying,
    window: Option<Window>,
    /// When counted messages are due.
    schedule: Arc<SendSchedule>,
    tally: DeliveryLedger,
    recorder: Recorder,
    read_lag: Latencies,
    /// When to look at the lag next.
    lag_at: Nanos,
    rng: Xoshiro256PlusPlus,
    /// By member: whether it is in the room, has got the probe, and how many messages it has got.
    present: Vec<bool>,
    probed: Vec<bool>,
    received: Vec<u32>,
    /// Of the members in the room.
    here: u64,
    probed_here: u64,
    received_here: u64,
    lost: u64,
    sent: u64,
    last_sent: Nanos,
}

impl Talk {
    /// The case among members of which those `present` are in the room at `now`.
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
        let mut tally = DeliveryLedger::new(traffic.clone(), 0..members);
        for (member, _) in present.iter().enumerate().filter(|(_, present)| **present) {
            // They have been in the room for some time.
            tally.asked_in(member, now);
            tally.entered(member, now);
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
            saying: Saying::Nothing,
            window,
            schedule: Arc::new(SendSchedule::even(NEVER, interval)),
            tally,
            recorder: Recorder::default(),
            read_lag: Latencies::new(),
            lag_at: NEVER,
            rng: Xoshiro256PlusPlus::seed_from_u64(seed),
            probed: vec![false; present.len()],
            received: vec![0; present.len()],
            here: present.iter().filter(|present| **present).count() as u64,
            present,
            probed_here: 0,
            received_here: 0,
            lost: 0,
            sent: 0,
            last_sent: 0,
        }
    }

    /// Has the first member say the probe.
    pub(super) fn probe(&mut self) {
        if let Some(speaker) = self.present.iter().position(|present| *present) {
            self.saying = Saying::Probe(speaker);
        }
    }

    /// Members in the room, and how many of them have got the probe.
    pub(super) fn probed(&self) -> (u64, u64) {
        (self.here, self.probed_here)
    }

    /// Begins to talk at `start`: the warm-up first. When what counts begins.
    pub(super) fn talk(&mut self, start: Nanos) -> Nanos {
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
        self.saying = Saying::Talk { warmup, counted };
        self.lag_at = from;
        from
    }

    /// Whether everything has been said at `now`.
    pub(super) fn is_said(&self, now: Nanos) -> bool {
        match &self.saying {
            Saying::Talk { warmup, counted } => {
                warmup.next_due() == NEVER
                    && match counted {
                        Counted::Paced(cursor) => cursor.next_due() == NEVER,
                        Counted::Closed { until, next, .. } => {
                            now >= *until || *next >= self.traffic.messages()
                        }
                    }
            }
            Saying::Nothing | Saying::Probe(_) => true,
        }
    }

    /// Says no more.
    pub(super) fn hush(&mut self) {
        self.saying = Saying::Nothing;
        self.lag_at = NEVER;
    }

    /// Whether everybody in the room has everything.
    pub(super) fn is_drained(&self) -> bool {
        self.received_here == self.sent * self.here
    }

    /// Members that were lost since the case began.
    pub(super) fn lost_members(&self) -> u64 {
        self.lost
    }

    /// What it all comes to.
    pub(super) fn findings(self) -> Findings {
        let mut findings = Findings { workers: 1, ..Findings::default() };
        findings.clients.requested = self.case.members.into();
        findings.clients.connected = self.here + self.lost;
        findings.clients.disconnected = self.lost;
        let start = self.schedule.intended(0);
        let took = Duration::from_nanos(self.last_sent.saturating_sub(start));
        findings.rates = match self.case.load {
            Load::Paced(interval) => {
                let planned = self.traffic.messages();
                Rates::new(planned.into(), interval * planned, self.sent, took + interval)
            }
            // Whatever was sent is what was wanted.
            Load::Closed { .. } => Rates::new(self.sent, took, self.sent, took),
        };
        if let Some(settlement) = settle(vec![self.tally]) {
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

    /// Exponentially distributed, so that no rhythm of the load is seen better than another.
    #[allow(clippy::cast_sign_loss)] // the logarithm of what is below 1 is negative
    fn lag_pause(&mut self) -> Nanos {
        let uniform: f64 = self.rng.random_range(f64::EPSILON..1.0);
        (-uniform.ln() * LAG_MEAN) as Nanos + 1
    }

    /// The next message that counts and whose sender is there: number, sender, intended time.
    fn next_counted(&mut self, now: Nanos) -> Option<(u32, usize, Nanos)> {
        let Saying::Talk { counted, .. } = &mut self.saying else { return None };
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

impl Handler for Talk {
    fn next_due(&self) -> Nanos {
        let due = match &self.saying {
            Saying::Nothing => NEVER,
            Saying::Probe(_) => 0,
            Saying::Talk { warmup, counted } => {
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

    fn due(&mut self, now: Nanos, payload: &mut Vec<u8>) -> Option<usize> {
        match &mut self.saying {
            Saying::Nothing => return None,
            Saying::Probe(speaker) => {
                let speaker = *speaker;
                self.saying = Saying::Nothing;
                self.compose(Purpose::Probe, Stamp::new(PROBE, now, now), payload);
                return Some(speaker);
            }
            Saying::Talk { warmup, .. } => {
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
        self.tally.sent(index, now);
        self.recorder.sent(intended, now);
        if let Some(window) = &mut self.window {
            window.sent();
        }
        self.sent += 1;
        self.last_sent = now;
        self.compose(Purpose::Counted, Stamp::new(index, intended, now), payload);
        Some(sender)
    }

    /// Nothing here allocates: this runs for every delivery.
    fn heard(&mut self, member: usize, payload: &[u8], now: Nanos) {
        match self.payload.read(payload) {
            Reading::Ours(Purpose::Counted, stamp) => {
                // None of these systems numbers the messages of a room, so one number stands for all: only
                // the order of each sender's own is looked at.
                if self.tally.delivered(member, stamp.index, 0, now) == Receipt::First {
                    self.recorder.delivered(stamp, now);
                    if let Some(window) = &mut self.window {
                        window.received(member);
                    }
                    self.received[member] += 1;
                    self.received_here += u64::from(self.present[member]);
                }
            }
            Reading::Ours(Purpose::Probe, stamp) => {
                if stamp.index == PROBE && self.present[member] && !self.probed[member] {
                    self.probed[member] = true;
                    self.probed_here += 1;
                }
            }
            Reading::Corrupt => self.tally.corrupt(),
            Reading::Foreign => self.tally.foreign(),
        }
    }

    fn lost(&mut self, member: usize, now: Nanos) {
        if !std::mem::replace(&mut self.present[member], false) {
            return;
        }
        self.tally.gone(member, now);
        if let Some(window) = &mut self.window {
            window.lost(member);
        }
        self.here -= 1;
        self.lost += 1;
        self.probed_here -= u64::from(self.probed[member]);
        self.received_here -= u64::from(self.received[member]);
    }

    fn turned(&mut self, since: Nanos, now: Nanos) {
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

    fn talk(load: Load, members: u32) -> Talk {
        let case = Case { letter: 'T', members, load };
        Talk::new(case, times(), 64, 1, vec![true; members as usize], 0)
    }

    /// Has everything said that is due at `now`; the messages with their senders.
    fn say(talk: &mut Talk, now: Nanos) -> Vec<(usize, Vec<u8>)> {
        let said = std::iter::from_fn(|| {
            let mut payload = Vec::new();
            talk.due(now, &mut payload).map(|sender| (sender, payload))
        });
        said.collect()
    }

    #[test]
    fn a_paced_case_in_which_one_delivery_is_lost_and_one_doubled() {
        let mut talk = talk(Load::Paced(Duration::from_millis(10)), 3);
        talk.probe();
        for (_, probe) in say(&mut talk, 0) {
            (0..3).for_each(|member| talk.heard(member, &probe, 1));
        }
        assert_eq!(talk.probed(), (3, 3));
        let from = talk.talk(100 * MS);
        assert_eq!((from, talk.next_due()), (130 * MS, 100 * MS));
        assert_eq!(say(&mut talk, 129 * MS).len(), 2, "warm-up");
        let said = say(&mut talk, 155 * MS);
        assert_eq!(said.len(), 3);
        assert!(talk.is_said(155 * MS) && !talk.is_drained());
        for (at, (_, message)) in said.iter().enumerate() {
            (0..3).filter(|member| (at, *member) != (1, 2)).for_each(|member| {
                talk.heard(member, message, 160 * MS);
            });
        }
        talk.heard(0, &said[0].1, 161 * MS);
        talk.heard(0, b"something else", 161 * MS);
        assert!(!talk.is_drained());
        talk.lost(2, 162 * MS);
        assert!(talk.is_drained() && talk.lost_members() == 1);
        let findings = talk.findings();
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
        // From the time at which the first should have been sent, 130 ms, and not from 155 ms.
        let max = findings.recorder.corrected.summary().max;
        assert!((max - 30_000.0).abs() < 100.0, "{max}");
    }

    #[test]
    fn a_closed_loop_waits_for_the_slowest() {
        let mut talk = talk(Load::Closed { ahead: 2 }, 2);
        let from = talk.talk(0);
        let warmup = say(&mut talk, from - 1);
        assert_eq!(warmup.len(), 2);
        let said = say(&mut talk, from);
        assert_eq!(said.len(), 2);
        assert!(talk.next_due() > from - 1 && say(&mut talk, from + 1).is_empty());
        talk.heard(0, &said[0].1, from + MS);
        assert!(say(&mut talk, from + MS).is_empty());
        talk.heard(1, &said[0].1, from + MS);
        assert_eq!(say(&mut talk, from + MS).len(), 1);
        assert!(!talk.is_said(from + 29 * MS) && talk.is_said(from + 30 * MS));
        talk.lost(1, from + 2 * MS);
        talk.heard(0, &said[1].1, from + 2 * MS);
        assert_eq!(say(&mut talk, from + 31 * MS).len(), 0, "its time is over");
    }

    #[test]
    fn reading_late_is_seen_within_what_counts() {
        let mut talk = talk(Load::Paced(Duration::from_millis(10)), 1);
        talk.turned(50 * MS, 60 * MS);
        let from = talk.talk(0);
        talk.turned(from - 1, from + 5 * MS);
        talk.turned(from, from + 7 * MS);
        talk.hush();
        talk.turned(from + 1000 * MS, from + 1001 * MS);
        let lag = talk.findings().read_lag.summary();
        assert_eq!(lag.count, 1);
        assert!((lag.max - 7_000.0).abs() < 10.0, "{lag:?}");
    }
}
