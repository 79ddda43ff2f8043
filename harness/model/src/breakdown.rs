//! The parts of a delivery's latency: network in, queue, processing, fan-out, network out.
//!
//! The server stamps a message by its own clock. Pings give the offset of that clock from the run's
//! clock: the server reads a ping after it was sent and before its answer arrived, so each ping
//! bounds the offset from both sides. The intersection of all bounds is narrower than any single
//! one.

use serde::{Deserialize, Serialize};

use crate::clock::Nanos;
use crate::record::{Latencies, LatencyUs};

/// Divisor of the drift allowed between two clocks: 50 parts per million.
const DRIFT_DIVISOR: i64 = 20_000;

/// One delivery in `SAMPLE` is broken down; a power of two.
pub const SAMPLE: u64 = 16;

const _: () = assert!(SAMPLE.is_power_of_two());

/// The offset of the server's clock: the server's time minus the run's, in nanoseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerClock {
    bounds: Option<Bounds>,
    /// Answered pings.
    pings: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Bounds {
    low: i64,
    high: i64,
    at: Nanos,
}

impl ServerClock {
    /// Adds a ping that was sent at `sent` and whose answer was read at `received`. The server read
    /// it at `server_us` and handled it `queued_us` later, in microseconds of its own clock.
    pub fn sample(&mut self, sent: Nanos, received: Nanos, server_us: u64, queued_us: u32) {
        self.pings += 1;
        let read = signed(server_us.saturating_mul(1000));
        let handled = read.saturating_add(i64::from(queued_us) * 1000);
        // The server truncates to microseconds, so the true time is up to 1 us later.
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

    /// The run's time at which the server's clock read `server_us`, in nanoseconds; none before the
    /// first answer.
    pub fn ours(&self, server_us: u64) -> Option<i64> {
        self.bounds.map(|bounds| signed(server_us.saturating_mul(1000)).saturating_sub(bounds.middle()))
    }

    /// Keeps the narrower bounds of both.
    pub fn merge(&mut self, other: &Self) {
        let width = |clock: &Self| clock.bounds.map_or(i64::MAX, |bounds| bounds.high - bounds.low);
        if width(other) < width(self) {
            self.bounds = other.bounds;
        }
        self.pings += other.pings;
    }

    /// The figures for a report; none before the first answer.
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

    /// Widens the bounds by the drift since they were taken; the middle stays.
    fn aged(self, now: Nanos) -> Self {
        let drift = signed(now.saturating_sub(self.at)) / DRIFT_DIVISOR;
        Self { low: self.low.saturating_sub(drift), high: self.high.saturating_add(drift), at: now }
    }

    /// Intersects the bounds; returns the later sample if they contradict each other.
    fn narrowed(self, sample: Self) -> Self {
        let (low, high) = (self.low.max(sample.low), self.high.min(sample.high));
        if low <= high { Self { low, high, ..sample } } else { sample }
    }
}

fn signed(nanos: u64) -> i64 {
    i64::try_from(nanos).unwrap_or(i64::MAX)
}

/// The offset of the server's clock, with its uncertainty.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "testing", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct ServerClockUs {
    /// The server's clock minus the run's, in microseconds.
    pub offset_us: i64,
    /// The largest possible error of the offset, in microseconds.
    pub error_us: i64,
    /// Pings that the offset is derived from.
    pub pings: u64,
}

/// Selects one delivery in [`SAMPLE`] at random. Taking every sixteenth would always select the
/// same recipients.
#[derive(Debug, Clone, Copy, Default)]
pub struct Sampler(u64);

impl Sampler {
    /// Returns true if this delivery is selected.
    pub fn takes(&mut self) -> bool {
        self.0 = self.0.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        (self.0 >> 32).is_multiple_of(SAMPLE)
    }
}

/// The server's times of one message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamps {
    /// The time at which the server read the request, in microseconds of its clock.
    pub received_us: u64,
    /// Microseconds from then until the handler ran.
    pub queued_us: u32,
    /// Microseconds from then until the message was sealed.
    pub handled_us: u32,
    /// Microseconds from then until the fan-out of the frame began; none for a message to a single
    /// recipient.
    pub fan_out_us: Option<u32>,
}

/// The parts of sampled deliveries' latencies.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Breakdown {
    network_in: Latencies,
    queue: Latencies,
    processing: Latencies,
    fan_out: Latencies,
    network_out: Latencies,
}

impl Breakdown {
    /// Adds a message that was sent at `sent` and read at `now`. Ignored before the offset of the
    /// server's clock is known.
    pub fn record(&mut self, clock: &ServerClock, stamps: Stamps, sent: Nanos, now: Nanos) {
        let Some(received) = clock.ours(stamps.received_us) else { return };
        let [queue, processing] =
            [stamps.queued_us, stamps.handled_us].map(|micros| u64::from(micros) * 1000);
        let fan_out = u64::from(stamps.fan_out_us.unwrap_or(0)) * 1000;
        let fan_out_began = received.saturating_add(signed(queue + processing + fan_out));
        // A time below the clocks' uncertainty may come out negative.
        let positive = |nanos: i64| u64::try_from(nanos).unwrap_or(0);
        self.network_in.record(positive(received.saturating_sub(signed(sent))));
        self.queue.record(queue);
        self.processing.record(processing);
        if stamps.fan_out_us.is_some() {
            self.fan_out.record(fan_out);
        }
        self.network_out.record(positive(signed(now).saturating_sub(fan_out_began)));
    }

    /// Adds the distributions of another worker.
    pub fn merge(&mut self, other: &Self) {
        self.network_in.merge(&other.network_in);
        self.queue.merge(&other.queue);
        self.processing.merge(&other.processing);
        self.fan_out.merge(&other.fan_out);
        self.network_out.merge(&other.network_out);
    }

    /// The distributions, with the names of their figures in a report.
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

/// The parts of the latency, in microseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "testing", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct BreakdownUs {
    /// From the send to the server's read of the request.
    pub network_in: LatencyUs,
    /// From the server's read to the handler.
    pub queue: LatencyUs,
    /// From the handler to the sealing of the message.
    pub processing: LatencyUs,
    /// From the sealing until the fan-out of the frame began; only for messages sealed for a room.
    pub fan_out: LatencyUs,
    /// From the beginning of the fan-out (or from the sealing) to arrival: the sweep over the
    /// recipients, the network, and the harness's read.
    pub network_out: LatencyUs,
}

impl BreakdownUs {
    /// The parts in the order of time, with their names, which are indented.
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
    fn the_bounds_of_all_pings_are_intersected() {
        let mut clock = ServerClock::default();
        assert_eq!((clock.ours(5), clock.summary()), (None, None));
        // The server's clock is 1,000,000 us ahead. The first ping is slow on its way back, the
        // second on its way there.
        clock.sample(100 * US, 600 * US, 1_000_150, 0);
        clock.sample(1_000 * US, 1_900 * US, 1_001_800, 50);
        let known = clock.summary().expect("two answers");
        assert!((known.offset_us - 1_000_000).abs() <= known.error_us && known.error_us <= 51, "{known:?}");
        assert_eq!(known.pings, 2);
        let ours = clock.ours(1_000_500).expect("known");
        assert!((ours - 500_000).abs() <= 51_000, "{ours}");
        // A bad ping changes nothing but the age of the bounds.
        let before = clock.summary().expect("known");
        clock.sample(2_000 * US, 9_000 * US, 1_005_000, 10);
        let after = clock.summary().expect("known");
        assert!((before.offset_us - after.offset_us).abs() <= 1 && after.error_us <= 52, "{after:?}");
    }

    #[test]
    fn a_drifting_clock_and_one_that_was_set_are_followed() {
        let mut clock = ServerClock::default();
        for second in 0..1000_u32 {
            let (offset, second) = (i64::from(second) * 20, u64::from(second));
            let now = second * 1_000_000;
            // The server's clock is 20 ppm fast; each way takes 100 us.
            clock.sample(now * US, (now + 200) * US, now + 100 + second * 20, 0);
            let known = clock.summary().expect("an answer");
            assert!((known.offset_us - offset).abs() <= known.error_us + 1, "{second}: {known:?}");
        }
        clock.sample(1_001_000_000 * US, 1_001_000_200 * US, 100, 0);
        assert!((clock.summary().expect("known").offset_us + 1_001_000_000).abs() <= 1);
    }

    #[test]
    fn merging_keeps_the_narrower_bounds() {
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
        // By the clock's estimate the server read it before it was sent, which the uncertainty
        // allows.
        breakdown.record(&clock, stamps, 900 * US, 1_000 * US);
        assert_eq!(breakdown.summary().network_in.count, 3);
    }

    #[test]
    fn about_one_delivery_in_sixteen_is_selected() {
        let mut sampler = Sampler::default();
        let taken = (0..160_000).filter(|_| sampler.takes()).count();
        assert!((9_000..11_000).contains(&taken), "{taken}");
        // Every sixteenth delivery is selected no more often than the others.
        let mut sampler = Sampler::default();
        let places = (0..160_000).filter(|place| sampler.takes() && place % 16 == 3).count();
        assert!((500..750).contains(&places), "{places}");
    }
}
