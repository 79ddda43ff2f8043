//! Distributions written down: in reports, and between the harness's processes.

use std::io::Read;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use flate2::read::ZlibDecoder;
use hdrhistogram::serialization::{Deserializer, Serializer, V2DeflateSerializer};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::{DIGITS, HIGHEST, LOWEST, Latencies};

/// What a histogram in HdrHistogram's form V2, compressed, begins with, and its length follows.
const V2_DEFLATE: [u8; 4] = 0x1c84_9314_u32.to_be_bytes();
/// The same for what is inside.
const V2: [u8; 4] = 0x1c84_9313_u32.to_be_bytes();
/// Bytes inside before the counts: form, length, offset, digits, lowest, highest, ratio.
const V2_HEADER: usize = 40;
/// Bytes of one count, at most.
const V2_COUNT_MAX: usize = 9;

/// Why bytes or text are no histogram of this program's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum HistogramError {
    /// Not the form at all, or cut off.
    #[error("this is no histogram in HdrHistogram's form V2, compressed")]
    Form,
    /// Another range or precision.
    #[error(
        "this HdrHistogram has other bounds than 1 us to 1 h with {DIGITS} digits, so it cannot be put together with others"
    )]
    Bounds,
    /// Not base64.
    #[error("the histogram is not written in base64")]
    Base64,
}

impl Latencies {
    /// The whole distribution as bytes: HdrHistogram's form V2, compressed, which its implementations in other languages read
    /// too. Some kilobytes, however much was recorded.
    pub fn to_v2_deflate(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        V2DeflateSerializer::new()
            .serialize(&self.0, &mut bytes)
            .expect("a vector takes everything, and the counts have room in the form");
        bytes
    }

    /// The distribution that [`Self::to_v2_deflate`] made `bytes` of. Bytes from elsewhere never make it panic or allocate more
    /// than a histogram needs.
    pub fn from_v2_deflate(bytes: &[u8]) -> Result<Self, HistogramError> {
        use HistogramError::{Bounds, Form};
        let empty = Self::new();
        let (form, rest) = bytes.split_first_chunk().ok_or(Form)?;
        let (_, compressed) = rest.split_first_chunk::<4>().ok_or(Form)?;
        if *form != V2_DEFLATE {
            return Err(Form);
        }
        // The library believes what the header says of lengths and bounds, so that is looked at first.
        let longest = V2_HEADER + V2_COUNT_MAX * empty.0.distinct_values();
        let mut plain = Vec::new();
        ZlibDecoder::new(compressed).take(longest as u64 + 1).read_to_end(&mut plain).map_err(|_| Form)?;
        if plain.len() < V2_HEADER || plain.len() > longest || plain[..4] != V2 {
            return Err(Form);
        }
        let number = |at: usize| plain[at..at + 4].iter().fold(0, |all, byte| all << 8 | u64::from(*byte));
        if number(4) != (plain.len() - V2_HEADER) as u64 {
            return Err(Form);
        }
        let bounds = [number(12), number(16) << 32 | number(20), number(24) << 32 | number(28)];
        if bounds != [u64::from(DIGITS), LOWEST, HIGHEST] {
            return Err(Bounds);
        }
        let read = Deserializer::new().deserialize(&mut plain.as_slice());
        read.map(Self).map_err(|_| Form)
    }
}

/// [`Latencies::to_v2_deflate`]; in base64 where people read it, as in a report.
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
            "description": "A whole distribution in nanoseconds: an HdrHistogram from 1,000 to 3,600,000,000,000 with 3 digits, in its form V2, compressed, in base64. HdrHistogram's implementations read it, as does any that reads the V2 form.",
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
    fn a_histogram_is_the_same_when_it_has_been_written_and_read() {
        let mut latencies = Latencies::new();
        for nanos in (0..2_000).map(|step| step * step * step).chain([0, u64::MAX]) {
            latencies.record(nanos);
        }
        for written in [latencies, Latencies::new()] {
            let read = Latencies::from_v2_deflate(&written.to_v2_deflate()).expect("its own bytes");
            assert_eq!((read.summary(), &read), (written.summary(), &written));
            let mut merged = written.clone();
            merged.merge(&read);
            assert_eq!((merged.count(), read.since(&written).count()), (2 * written.count(), 0));
        }
        let mut huge = Histogram::<u64>::new_with_bounds(1, u64::MAX / 2, 3).expect("valid bounds");
        huge.record(u64::MAX / 4).expect("within them");
        let (mut ours, mut long) = (Latencies::new().to_v2_deflate(), Vec::new());
        V2DeflateSerializer::new().serialize(&huge, &mut long).expect("a Vec takes it");
        ours.truncate(ours.len() / 2);
        for damaged in [&[][..], b"HIST", &ours, &long] {
            let error = Latencies::from_v2_deflate(damaged).expect_err("no histogram of ours");
            assert!(error.to_string().contains("HdrHistogram"), "{error}");
        }
    }

    #[test]
    fn a_distribution_comes_back_whole() {
        let mut latencies = Latencies::new();
        assert_eq!(Latencies::from_v2_deflate(&latencies.to_v2_deflate()), Ok(latencies.clone()));
        (0..100_000_u64).for_each(|turn| latencies.record(turn * turn * 370));
        let bytes = latencies.to_v2_deflate();
        assert!(bytes.len() < 20_000, "{}", bytes.len());
        let back = Latencies::from_v2_deflate(&bytes).expect("its own");
        assert_eq!((&back, back.summary()), (&latencies, latencies.summary()));
        let text = serde_json::to_string(&latencies).expect("text");
        assert_eq!(serde_json::from_str::<Latencies>(&text).expect("its own"), latencies);
        // Two processes' put together are what one would have had.
        let mut both = back;
        both.merge(&latencies);
        assert_eq!(both.count(), 200_000);
    }

    #[test]
    fn what_is_no_distribution_is_refused() {
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
        fn bytes_from_elsewhere_do_no_harm(mut bytes in any::<Vec<u8>>(), flips in any::<Vec<(u16, u8)>>()) {
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
