//! Serialization of distributions, for reports and between the harness's processes.

use std::io::Read;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use flate2::read::ZlibDecoder;
use hdrhistogram::serialization::{Deserializer, Serializer, V2DeflateSerializer};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::{DIGITS, HIGHEST, LOWEST, Latencies};

/// The cookie of a compressed HdrHistogram V2, which its length follows.
const V2_DEFLATE: [u8; 4] = 0x1c84_9314_u32.to_be_bytes();
/// The cookie of the HdrHistogram V2 inside.
const V2: [u8; 4] = 0x1c84_9313_u32.to_be_bytes();
/// Bytes before the counts: cookie, length, offset, digits, lowest, highest, ratio.
const V2_HEADER: usize = 40;
/// The most bytes of one count.
const V2_COUNT_MAX: usize = 9;

/// An error in reading a histogram of the harness.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum HistogramError {
    /// Not a compressed HdrHistogram V2, or truncated.
    #[error("not a compressed HdrHistogram V2")]
    Format,
    /// A histogram with another range or precision.
    #[error(
        "this HdrHistogram cannot be merged with others: its bounds are not 1 us to 1 h with {DIGITS} digits"
    )]
    Bounds,
    /// Not base64.
    #[error("the histogram is not valid base64")]
    Base64,
}

impl Latencies {
    /// Serializes the distribution to a compressed HdrHistogram V2, which HdrHistogram's
    /// implementations in other languages read too. A few kilobytes, however much was recorded.
    pub fn to_v2_deflate(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        V2DeflateSerializer::new()
            .serialize(&self.0, &mut bytes)
            .expect("writing to a vector succeeds, and the counts fit the format");
        bytes
    }

    /// Reads the bytes written by [`Self::to_v2_deflate`]. Untrusted bytes are rejected without a
    /// panic, and allocate no more than a histogram needs.
    pub fn from_v2_deflate(bytes: &[u8]) -> Result<Self, HistogramError> {
        use HistogramError::{Bounds, Format};
        let empty = Self::new();
        let (form, rest) = bytes.split_first_chunk().ok_or(Format)?;
        let (_, compressed) = rest.split_first_chunk::<4>().ok_or(Format)?;
        if *form != V2_DEFLATE {
            return Err(Format);
        }
        // The library trusts the lengths and bounds of the header, so they are checked first.
        let longest = V2_HEADER + V2_COUNT_MAX * empty.0.distinct_values();
        let mut plain = Vec::new();
        ZlibDecoder::new(compressed).take(longest as u64 + 1).read_to_end(&mut plain).map_err(|_| Format)?;
        if plain.len() < V2_HEADER || plain.len() > longest || plain[..4] != V2 {
            return Err(Format);
        }
        let number = |at: usize| plain[at..at + 4].iter().fold(0, |all, byte| all << 8 | u64::from(*byte));
        if number(4) != (plain.len() - V2_HEADER) as u64 {
            return Err(Format);
        }
        let bounds = [number(12), number(16) << 32 | number(20), number(24) << 32 | number(28)];
        if bounds != [u64::from(DIGITS), LOWEST, HIGHEST] {
            return Err(Bounds);
        }
        let read = Deserializer::new().deserialize(&mut plain.as_slice());
        read.map(Self).map_err(|_| Format)
    }
}

/// As [`Latencies::to_v2_deflate`], in base64 if the format is readable by people.
impl Serialize for Latencies {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let bytes = self.to_v2_deflate();
        if serializer.is_human_readable() {
            serializer.serialize_str(&BASE64.encode(bytes))
        } else {
            bytes.serialize(serializer)
        }
    }
}

impl<'de> Deserialize<'de> for Latencies {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let bytes = if deserializer.is_human_readable() {
            let text = String::deserialize(deserializer)?;
            BASE64.decode(text).map_err(|_| serde::de::Error::custom(HistogramError::Base64))?
        } else {
            Vec::deserialize(deserializer)?
        };
        Self::from_v2_deflate(&bytes).map_err(serde::de::Error::custom)
    }
}

#[cfg(feature = "testing")]
impl schemars::JsonSchema for Latencies {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Distribution".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "string",
            "contentEncoding": "base64",
            "description": "A whole distribution in nanoseconds: a compressed HdrHistogram V2 from 1,000 to 3,600,000,000,000 with 3 digits, in base64. HdrHistogram's implementations in other languages read it.",
        })
    }
}

#[cfg(test)]
mod tests {
    use hdrhistogram::Histogram;
    use proptest::prelude::*;

    use super::*;

    const MS: u64 = 1_000_000;

    #[test]
    fn a_serialized_histogram_is_equal_and_a_damaged_one_is_rejected() {
        let mut latencies = Latencies::new();
        for nanos in (0..2_000).map(|step| step * step * step).chain([0, u64::MAX]) {
            latencies.record(nanos);
        }
        for written in [latencies, Latencies::new()] {
            let read = Latencies::from_v2_deflate(&written.to_v2_deflate()).expect("written by this program");
            assert_eq!((read.summary(), &read), (written.summary(), &written));
            let mut merged = written.clone();
            merged.merge(&read);
            assert_eq!((merged.count(), read.since(&written).count()), (2 * written.count(), 0));
        }
        let mut huge = Histogram::<u64>::new_with_bounds(1, u64::MAX / 2, 3).expect("valid bounds");
        huge.record(u64::MAX / 4).expect("within them");
        let (mut ours, mut long) = (Latencies::new().to_v2_deflate(), Vec::new());
        V2DeflateSerializer::new().serialize(&huge, &mut long).expect("writing to a vector succeeds");
        ours.truncate(ours.len() / 2);
        for damaged in [&[][..], b"HIST", &ours, &long] {
            let error = Latencies::from_v2_deflate(damaged).expect_err("not a histogram");
            assert!(error.to_string().contains("HdrHistogram"), "{error}");
        }
    }

    #[test]
    fn a_distribution_survives_serialization_and_merging() {
        let mut latencies = Latencies::new();
        assert_eq!(Latencies::from_v2_deflate(&latencies.to_v2_deflate()), Ok(latencies.clone()));
        (0..100_000_u64).for_each(|turn| latencies.record(turn * turn * 370));
        let bytes = latencies.to_v2_deflate();
        assert!(bytes.len() < 20_000, "{}", bytes.len());
        let back = Latencies::from_v2_deflate(&bytes).expect("written by this program");
        assert_eq!((&back, back.summary()), (&latencies, latencies.summary()));
        let text = serde_json::to_string(&latencies).expect("text");
        assert_eq!(serde_json::from_str::<Latencies>(&text).expect("written by this program"), latencies);
        // The histograms of two processes merge into that of one.
        let mut both = back;
        both.merge(&latencies);
        assert_eq!(both.count(), 200_000);
    }

    #[test]
    fn other_bytes_are_rejected() {
        let bytes = Latencies::new().to_v2_deflate();
        for cut in 0..bytes.len() {
            assert!(Latencies::from_v2_deflate(&bytes[..cut]).is_err(), "{cut}");
        }
        let mut histogram = Histogram::<u64>::new_with_bounds(1, 1_000, 2).expect("valid");
        histogram.record(7).expect("within");
        let mut other = Vec::new();
        V2DeflateSerializer::new().serialize(&histogram, &mut other).expect("a vector");
        assert_eq!(Latencies::from_v2_deflate(&other), Err(HistogramError::Bounds));
        let error = serde_json::from_str::<Latencies>("\"?\"").expect_err("no base64").to_string();
        assert!(error.contains("base64"), "{error}");
    }

    proptest! {
        #[test]
        fn untrusted_bytes_cause_no_panic(mut bytes in any::<Vec<u8>>(), flips in any::<Vec<(u16, u8)>>()) {
            let _ = Latencies::from_v2_deflate(&bytes);
            let mut latencies = Latencies::new();
            latencies.record(5 * MS);
            bytes = latencies.to_v2_deflate();
            for (at, value) in flips {
                let at = usize::from(at) % bytes.len();
                bytes[at] ^= value;
            }
            let _ = Latencies::from_v2_deflate(&bytes);
        }
    }
}
