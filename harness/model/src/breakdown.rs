//! Where a delivery's time went: network in, queue, processing, fan-out, network out.
//!
//! The server stamps a message by its own clock. How that clock stands to ours follows from pings: the server read a ping
//! after we sent it and before we had the answer, so each ping bounds the difference from both sides, and all of them
//! together bound it more closely than any one of them.

use serde::{Deserialize, Serialize};

use crate::clock::Nanos;
use crate::record::{Latencies, LatencyUs};

/// How far two clocks may run apart: 50 millionths.
const DRIFT_DIVISOR: i64 = 20_000;

/// One delivery in this many is taken apart; a power of two.
pub const SAMPLE: u64 = 16;

const _: () = assert!(SAMPLE.is_power_of_two());

/// The server's clock less ours, in nanoseconds, as far as it is known.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerClock {
    bounds: Option<Bounds>,
    /// Answers that came.
    pings: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Bounds {
    low: i64,
    high: i64,
    at: Nanos,
}

impl ServerClock {
    /// A ping was sent at `sent` and its answer read at `received`; the server read it at `server_us` and dealt with it `queued_us`
    /// later, both in microseconds of its own clock.
    pub fn sample(&mut self, sent: Nanos, received: Nanos, server_us: u64, queued_us: u32) {
        self.pings += 1;
        let read = signed(server_us.saturating_mul(1000));
        let handled = read.saturating_add(i64::from(queued_us) * 1000);
        // Microseconds are cut off, so the server may have been up to one later than it says.
        let sample = Bounds {
            low: handled.saturating_sub(signed(received)),
            high: read.saturating_add(1000).saturating_sub(signed(sent)),
            at: received,
        };
        self.bounds = Some(match self.bounds {
            Some(known) => known.aged(received).narrowed(sample),
            None => sample,
        });
    }

    /// Our time when the server's clock read `server_us`; none before the first answer.
    pub fn ours(&self, server_us: u64) -> Option<i64> {
        self.bounds.map(|bounds| signed(server_us.saturating_mul(1000)).saturating_sub(bounds.middle()))
    }

    /// Keeps what is known better.
    pub fn merge(&mut self, other: &Self) {
        let width = |clock: &Self| clock.bounds.map_or(i64::MAX, |bounds| bounds.high - bounds.low);
        if width(other) < width(self) {
            self.bounds = other.bounds;
        }
        self.pings += other.pings;
    }

    /// The figures for a report; none without an answer.
    pub fn summary(&self) -> Option<ServerClockUs> {
        self.bounds.map(|bounds| ServerClockUs {
            offset_us: bounds.middle() / 1000,
            error_us: ((bounds.high - bounds.low) / 2000).max(0),
            pings: self.pings,
        })
    }
}

impl Bounds {
    fn middle(self) -> i64 {
        self.low.midpoint(self.high)
    }

    /// The same some time later: less certain, but about the same middle.
    fn aged(self, now: Nanos) -> Self {
        let drift = signed(now.saturating_sub(self.at)) / DRIFT_DIVISOR;
        Self { low: self.low.saturating_sub(drift), high: self.high.saturating_add(drift), at: now }
    }

    /// What both say; the later one if they cannot both be right.
    fn narrowed(self, sample: Self) -> Self {
        let (low, high) = (self.low.max(sample.low), self.high.min(sample.high));
        if low <= high { Self { low, high, ..sample } } else { sample }
    }
}

fn signed(nanos: u64) -> i64 {
    i64::try_from(nanos).unwrap_or(i64::MAX)
}

/// What is known of the server's clock.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "testing", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct ServerClockUs {
    /// The server's clock less that of the run.
    pub offset_us: i64,
    /// How far that may be off.
    pub error_us: i64,
    /// Pings that it follows from.
    pub pings: u64,
}

/// Chooses deliveries at random, one in [`SAMPLE`]: choosing every sixteenth would mean always the same recipients.
#[derive(Debug, Clone, Copy, Default)]
pub struct Sampler(u64);

impl Sampler {
    /// Whether this one is taken.
    pub fn takes(&mut self) -> bool {
        self.0 = self.0.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        (self.0 >> 32).is_multiple_of(SAMPLE)
    }
}

/// What the server says of one message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamps {
    /// When it read the request, by its clock.
    pub received_us: u64,
    /// From then to the handler.
    pub queued_us: u32,
    /// From there to the sealing.
    pub handled_us: u32,
    /// From there until the frame began to go out; none for what went to one recipient by itself.
    pub fan_out_us: Option<u32>,
}

/// The parts of deliveries' latencies, sampled.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Breakdown {
    network_in: Latencies,
    queue: Latencies,
    processing: Latencies,
    fan_out: Latencies,
    network_out: Latencies,
}

impl Breakdown {
    /// A message that was sent at `sent` has been read at `now`.
    pub fn record(&mut self, clock: &ServerClock, stamps: Stamps, sent: Nanos, now: Nanos) {
        let Some(received) = clock.ours(stamps.received_us) else { return };
        let [queue, processing] =
            [stamps.queued_us, stamps.handled_us].map(|micros| u64::from(micros) * 1000);
        let fan_out = u64::from(stamps.fan_out_us.unwrap_or(0)) * 1000;
        let began = received.saturating_add(signed(queue + processing + fan_out));
        // What lies within the clocks' uncertainty may come out below zero.
        let positive = |nanos: i64| u64::try_from(nanos).unwrap_or(0);
        self.network_in.record(positive(received.saturating_sub(signed(sent))));
        self.queue.record(queue);
        self.processing.record(processing);
        if stamps.fan_out_us.is_some() {
            self.fan_out.record(fan_out);
        }
        self.network_out.record(positive(signed(now).saturating_sub(began)));
    }

    /// Adds what another worker measured.
    pub fn merge(&mut self, other: &Self) {
        self.network_in.merge(&other.network_in);
        self.queue.merge(&other.queue);
        self.processing.merge(&other.processing);
        self.fan_out.merge(&other.fan_out);
        self.network_out.merge(&other.network_out);
    }

    /// The whole distributions, with the names that their figures have in a report.
    pub fn into_parts(self) -> [(&'static str, Latencies); 5] {
        [
            ("network_in", self.network_in),
            ("queue", self.queue),
            ("processing", self.processing),
            ("fan_out", self.fan_out),
            ("network_out", self.network_out),
        ]
    }

    /// The figures for a report.
    pub fn summary(&self) -> BreakdownUs {
        BreakdownUs {
            network_in: self.network_in.summary(),
            queue: self.queue.summary(),
            processing: self.processing.summary(),
            fan_out: self.fan_out.summary(),
            network_out: self.network_out.summary(),
        }
    }
}

/// The parts of the latency in microseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "testing", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct BreakdownUs {
    /// From the sending to the server's reading of the request.
    pub network_in: LatencyUs,
    /// From there to the handler.
    pub queue: LatencyUs,
    /// From there to the sealing.
    pub processing: LatencyUs,
    /// From there until the frame began to go out to the room; only for what is sealed for a room.
    pub fan_out: LatencyUs,
    /// From there (or from the sealing) to the arrival: the sweep over the recipients, the network, and the harness's reading.
    pub network_out: LatencyUs,
}

impl BreakdownUs {
    /// The parts with their names, indented as parts, in the order of time.
    pub fn parts(&self) -> [(&'static str, &LatencyUs); 5] {
        [
            ("  network in", &self.network_in),
            ("  queue", &self.queue),
            ("  processing", &self.processing),
            ("  fan-out", &self.fan_out),
            ("  network out", &self.network_out),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const US: u64 = 1_000;

    #[test]
    fn the_closest_pings_decide() {
        let mut clock = ServerClock::default();
        assert_eq!((clock.ours(5), clock.summary()), (None, None));
        // The server's clock is 1,000,000 us ahead. Slow on the way back, then slow on the way there.
        clock.sample(100 * US, 600 * US, 1_000_150, 0);
        clock.sample(1_000 * US, 1_900 * US, 1_001_800, 50);
        let known = clock.summary().expect("two answers");
        assert!((known.offset_us - 1_000_000).abs() <= known.error_us && known.error_us <= 51, "{known:?}");
        assert_eq!(known.pings, 2);
        let ours = clock.ours(1_000_500).expect("known");
        assert!((ours - 500_000).abs() <= 51_000, "{ours}");
        // A bad ping changes nothing but for the age.
        let before = clock.summary().expect("known");
        clock.sample(2_000 * US, 9_000 * US, 1_005_000, 10);
        let after = clock.summary().expect("known");
        assert!((before.offset_us - after.offset_us).abs() <= 1 && after.error_us <= 52, "{after:?}");
    }

    #[test]
    fn a_clock_that_drifts_is_followed_and_one_that_was_set_is_believed() {
        let mut clock = ServerClock::default();
        for second in 0..1000_u32 {
            let (right, second) = (i64::from(second) * 20, u64::from(second));
            let now = second * 1_000_000;
            // 20 millionths fast, 100 us each way.
            clock.sample(now * US, (now + 200) * US, now + 100 + second * 20, 0);
            let known = clock.summary().expect("an answer");
            assert!((known.offset_us - right).abs() <= known.error_us + 1, "{second}: {known:?}");
        }
        clock.sample(1_001_000_000 * US, 1_001_000_200 * US, 100, 0);
        assert!((clock.summary().expect("known").offset_us + 1_001_000_000).abs() <= 1);
    }

    #[test]
    fn the_best_known_of_several_is_kept() {
        let (mut one, mut other) = (ServerClock::default(), ServerClock::default());
        one.sample(0, 100 * US, 1_000, 0);
        other.sample(0, 10 * US, 1_005, 0);
        one.merge(&other);
        assert_eq!(one.ours(0), other.ours(0));
        one.merge(&ServerClock::default());
        assert_eq!((one.ours(0), one.summary().expect("known").pings), (other.ours(0), 2));
    }

    #[test]
    fn the_parts_add_up() {
        let mut clock = ServerClock::default();
        clock.sample(0, US, 500, 0);
        let mut breakdown = Breakdown::default();
        let stamps = Stamps { received_us: 800, queued_us: 20, handled_us: 5, fan_out_us: Some(40) };
        breakdown.record(&clock, stamps, 100 * US, 1_000 * US);
        breakdown.record(&clock, Stamps { fan_out_us: None, ..stamps }, 100 * US, 1_000 * US);
        breakdown.record(&ServerClock::default(), stamps, 0, 0);
        let mut merged = Breakdown::default();
        merged.merge(&breakdown);
        let found = merged.summary();
        let near =
            |latency: LatencyUs, micros: f64| assert!((latency.p50 - micros).abs() < 2.0, "{latency:?}");
        near(found.network_in, 200.0);
        near(found.queue, 20.0);
        near(found.processing, 5.0);
        near(found.fan_out, 40.0);
        near(found.network_out, 635.0);
        assert_eq!((found.queue.count, found.fan_out.count), (2, 1));
        // Before it was sent, says the clock, which may be.
        breakdown.record(&clock, stamps, 900 * US, 1_000 * US);
        assert_eq!(breakdown.summary().network_in.count, 3);
    }

    #[test]
    fn about_one_in_sixteen_is_taken() {
        let mut sampler = Sampler::default();
        let taken = (0..160_000).filter(|_| sampler.takes()).count();
        assert!((9_000..11_000).contains(&taken), "{taken}");
        // Whoever comes in every sixteenth place is taken as often as others.
        let mut sampler = Sampler::default();
        let places = (0..160_000).filter(|place| sampler.takes() && place % 16 == 3).count();
        assert!((500..750).contains(&places), "{places}");
    }
}
