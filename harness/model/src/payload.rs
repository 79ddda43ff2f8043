//! Texts of the harness's messages, and their recognition on delivery.
//!
//! ```text
//! M rrrrrrrr iiiiiiii tttttttttttttttt dddddddd filler...      (without the spaces)
//! | run      index    intended, ns     delay, us
//! M counted, P probe or warm-up
//! ```
//! The fields are hexadecimal digits, so the text remains valid text. The filler is a slice of a
//! pool generated from the seed, and the stamp selects the slice: a changed stamp no longer matches
//! its filler, except for one change in four thousand. The comparison costs a `memcmp`. Bots send a
//! phrase of their [`Script`] instead of filler, for people to read; it depends on the index alone.

use std::sync::Arc;

use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt, SeedableRng};
use throng_core::limits::CHAT_TEXT_MAX;

use crate::bots::Script;
use crate::clock::Nanos;

/// Bytes that all texts of one kind and run start with: the kind and the run.
const PREFIX: usize = 1 + 8;
/// Bytes of index, intended time and delay in binary.
const FIELDS: usize = 4 + 8 + 4;
/// The fewest bytes of a text: the stamp without filler.
pub const PAYLOAD_MIN: usize = PREFIX + 2 * FIELDS;
/// The most bytes of a text.
pub const PAYLOAD_MAX: usize = CHAT_TEXT_MAX;

/// Offsets into the pool at which a filler can start; a power of two.
const FILLER_STARTS: usize = 4096;

const _: () = assert!(PAYLOAD_MIN < PAYLOAD_MAX && FILLER_STARTS.is_power_of_two());

/// The header of a message: its number and its times.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    /// The message's number in the run.
    pub index: u32,
    /// The time at which it should have been sent.
    pub intended: Nanos,
    /// The delay of the send in microseconds; 71 minutes at most.
    pub delay_us: u32,
}

impl Stamp {
    /// The stamp of message `index`, due at `intended` and sent at `sent`.
    pub fn new(index: u32, intended: Nanos, sent: Nanos) -> Self {
        let delay_us = sent.saturating_sub(intended) / 1000;
        Self { index, intended, delay_us: u32::try_from(delay_us).unwrap_or(u32::MAX) }
    }

    /// The time at which the message was sent, to the microsecond.
    pub fn sent(self) -> Nanos {
        self.intended.saturating_add(u64::from(self.delay_us) * 1000)
    }
}

/// The purpose of a message: measured or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// A counted message: every recipient must receive it.
    Counted,
    /// A probe or warm-up message, sent before counting begins.
    Probe,
}

/// The classification of a received text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reading {
    /// A message of this run, unchanged.
    Ours(Purpose, Stamp),
    /// A text with this run's prefix whose stamp, length or rest was changed.
    Corrupt,
    /// A text of another run or of a person.
    Foreign,
}

/// Composes and recognizes the texts of one run.
#[derive(Debug)]
pub struct Payload {
    counted: [u8; PREFIX],
    probe: [u8; PREFIX],
    length: usize,
    pool: Vec<u8>,
    /// The words of counted messages, in place of filler.
    script: Option<Arc<Script>>,
}

impl Payload {
    /// Texts of `length` bytes, clamped to [`PAYLOAD_MIN`]..=[`PAYLOAD_MAX`], of `run`, a number
    /// unique to the run. `seed` determines the filler.
    pub fn new(run: u32, seed: u64, length: usize) -> Self {
        const LETTERS: &[u8] = b"abcdefghijklmnopqrstuvwxyz      ";
        let length = length.clamp(PAYLOAD_MIN, PAYLOAD_MAX);
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
        let pool = (0..FILLER_STARTS + PAYLOAD_MAX).map(|_| LETTERS[rng.random_range(0..LETTERS.len())]);
        let prefix = |kind| {
            let mut prefix = [kind; PREFIX];
            encode(&run.to_be_bytes(), &mut prefix[1..]);
            prefix
        };
        Self { counted: prefix(b'M'), probe: prefix(b'P'), length, pool: pool.collect(), script: None }
    }

    /// Has counted messages carry the words of `script`, if there is one; `length` is then that of
    /// probes.
    #[must_use]
    pub fn saying(self, script: Option<Arc<Script>>) -> Self {
        Self { script, ..self }
    }

    /// Draws a number for [`Self::new`] from the system's random source.
    pub fn draw_run() -> u32 {
        rand::rng().random()
    }

    /// Composes the text of a message.
    pub fn compose(&self, purpose: Purpose, stamp: Stamp) -> String {
        let mut fields = [0; FIELDS];
        fields[..4].copy_from_slice(&stamp.index.to_be_bytes());
        fields[4..12].copy_from_slice(&stamp.intended.to_be_bytes());
        fields[12..].copy_from_slice(&stamp.delay_us.to_be_bytes());
        let mut text = Vec::with_capacity(self.length);
        text.resize(PAYLOAD_MIN, 0);
        text[..PREFIX].copy_from_slice(match purpose {
            Purpose::Counted => &self.counted,
            Purpose::Probe => &self.probe,
        });
        encode(&fields, &mut text[PREFIX..]);
        match self.script_of(purpose) {
            Some(script) => script.write_words(stamp.index, &mut text),
            None => text.extend_from_slice(self.filler(stamp)),
        }
        String::from_utf8(text).expect("digits, letters and lines are UTF-8")
    }

    /// Classifies `text`. Runs for every delivery and does not allocate.
    pub fn read(&self, text: &[u8]) -> Reading {
        let purpose = match text.first_chunk() {
            Some(prefix) if *prefix == self.counted => Purpose::Counted,
            Some(prefix) if *prefix == self.probe => Purpose::Probe,
            _ => return Reading::Foreign,
        };
        let Some((digits, rest)) = text[PREFIX..].split_at_checked(2 * FIELDS) else {
            return Reading::Corrupt;
        };
        let mut fields = [0; FIELDS];
        if hex::decode_to_slice(digits, &mut fields).is_err() {
            return Reading::Corrupt;
        }
        let [i0, i1, i2, i3, t0, t1, t2, t3, t4, t5, t6, t7, d0, d1, d2, d3] = fields;
        let stamp = Stamp {
            index: u32::from_be_bytes([i0, i1, i2, i3]),
            intended: u64::from_be_bytes([t0, t1, t2, t3, t4, t5, t6, t7]),
            delay_us: u32::from_be_bytes([d0, d1, d2, d3]),
        };
        let is_whole = match self.script_of(purpose) {
            Some(script) => script.has_words(stamp.index, rest),
            None => rest == self.filler(stamp),
        };
        if is_whole { Reading::Ours(purpose, stamp) } else { Reading::Corrupt }
    }

    fn script_of(&self, purpose: Purpose) -> Option<&Script> {
        self.script.as_deref().filter(|_| purpose == Purpose::Counted)
    }

    fn filler(&self, stamp: Stamp) -> &[u8] {
        // Fibonacci hashing, once for each field, so that neighbors start far apart. The high bits,
        // which depend on every bit of a field, are folded into the low ones.
        let mix = |mixed: u64, field: u64| {
            let mixed = (mixed ^ field).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            mixed ^ mixed >> 32
        };
        let mixed = mix(mix(mix(0, stamp.index.into()), stamp.intended), stamp.delay_us.into());
        let start = mixed as usize & (FILLER_STARTS - 1);
        &self.pool[start..start + self.length - PAYLOAD_MIN]
    }
}

/// The number of texts that [`Recent`] caches; a power of two.
const RECENT: usize = 64;

/// A cache of recent texts with their readings. A message to thousands of recipients is decoded
/// once; other copies are compared with the first, byte by byte, so damage is still detected.
#[derive(Debug, Default)]
pub struct Recent {
    length: usize,
    readings: Vec<Reading>,
    /// Texts of `length` bytes each, one after the other.
    texts: Vec<u8>,
}

impl Recent {
    /// As [`Payload::read`].
    pub fn read(&mut self, payload: &Payload, text: &[u8]) -> Reading {
        if text.len() != payload.length {
            return payload.read(text);
        }
        if self.length != payload.length {
            self.length = payload.length;
            self.readings = vec![Reading::Foreign; RECENT];
            // No message consists of zeros; a text of zeros is foreign.
            self.texts = vec![0; RECENT * self.length];
        }
        let slot = slot(text);
        let known = &mut self.texts[slot * self.length..][..self.length];
        if *known != *text {
            known.copy_from_slice(text);
            self.readings[slot] = payload.read(text);
        }
        self.readings[slot]
    }
}

/// The slot of a text, from the last digits of its index, so that messages close in time do not
/// collide. `text` must be as long as a payload.
fn slot(text: &[u8]) -> usize {
    let digit = |at: usize| usize::from(text[at] & 15) + 9 * usize::from(text[at] >> 6);
    (digit(PREFIX + 6) * 16 + digit(PREFIX + 7)) % RECENT
}

/// Fills the whole of `out` with `bytes` in hexadecimal digits.
fn encode(bytes: &[u8], out: &mut [u8]) {
    hex::encode_to_slice(bytes, out).expect("`out` has two digits for each byte");
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::bots::Manner;
    use proptest::prelude::*;

    fn stamp() -> Stamp {
        Stamp { index: 0x12, intended: 0x0a_bcde, delay_us: 3 }
    }

    #[test]
    fn the_text_has_the_documented_form() {
        let text = Payload::new(0xfeed_beef, 1, PAYLOAD_MIN).compose(Purpose::Counted, stamp());
        assert_eq!(text, "Mfeedbeef0000001200000000000abcde00000003");
        assert_eq!(Payload::new(1, 1, 128).compose(Purpose::Probe, stamp()).len(), 128);
    }

    #[test]
    fn texts_depend_on_seed_and_index() {
        let filler = |seed, index| {
            let stamp = Stamp { index, ..stamp() };
            Payload::new(1, seed, 128).compose(Purpose::Counted, stamp).split_off(PAYLOAD_MIN)
        };
        assert_eq!(filler(5, 1), filler(5, 1));
        assert_ne!(filler(5, 1), filler(6, 1));
        assert_ne!(filler(5, 1), filler(5, 2));
    }

    #[test]
    fn ours_foreign_and_corrupt_texts_are_told_apart() {
        let payload = Payload::new(7, 1, 128);
        let text = payload.compose(Purpose::Counted, stamp());
        let check = |text: &[u8], reading| assert_eq!(payload.read(text), reading);
        check(text.as_bytes(), Reading::Ours(Purpose::Counted, stamp()));
        check(payload.compose(Purpose::Probe, stamp()).as_bytes(), Reading::Ours(Purpose::Probe, stamp()));
        check(Payload::new(8, 1, 128).compose(Purpose::Counted, stamp()).as_bytes(), Reading::Foreign);
        check(b"", Reading::Foreign);
        check("안녕하세요, everybody".as_bytes(), Reading::Foreign);
        check(&text.as_bytes()[..100], Reading::Corrupt);
        for damaged in [PREFIX, PAYLOAD_MIN, 127] {
            let mut text = text.clone().into_bytes();
            text[damaged] = b'!';
            check(&text, Reading::Corrupt);
        }
    }

    #[test]
    fn a_changed_digit_in_the_stamp_is_detected() {
        let payload = Payload::new(7, 1, 128);
        let (mut tried, mut undetected) = (0, 0);
        for index in 0..200 {
            let stamp = Stamp { index, intended: 1_000_000_000 + u64::from(index) * 2_000_000, delay_us: 90 };
            let text = payload.compose(Purpose::Counted, stamp).into_bytes();
            for (at, digit) in
                (PREFIX..PAYLOAD_MIN).flat_map(|at| b"0123456789abcdef".map(|digit| (at, digit)))
            {
                let mut damaged = text.clone();
                if std::mem::replace(&mut damaged[at], digit) != digit {
                    tried += 1;
                    undetected += u32::from(payload.read(&damaged) != Reading::Corrupt);
                }
            }
        }
        assert!(tried == 200 * 32 * 15 && undetected < tried / 2_000, "{undetected} of {tried}");
    }

    #[test]
    fn the_send_time_follows_from_the_delay() {
        let stamp = Stamp::new(1, 10_000, 12_999);
        assert_eq!((stamp.delay_us, stamp.sent()), (2, 12_000));
        assert_eq!(Stamp::new(1, 10_000, 9_000).delay_us, 0);
        assert_eq!(Stamp::new(1, 0, u64::MAX).delay_us, u32::MAX);
    }

    proptest! {
        #[test]
        fn a_composed_text_is_read_back(
            index: u32, intended: u64, delay_us: u32, run: u32, seed: u64, length in PAYLOAD_MIN..=PAYLOAD_MAX,
        ) {
            let payload = Payload::new(run, seed, length);
            let stamp = Stamp { index, intended, delay_us };
            let text = payload.compose(Purpose::Counted, stamp);
            prop_assert_eq!(text.len(), length);
            prop_assert_eq!(payload.read(text.as_bytes()), Reading::Ours(Purpose::Counted, stamp));
        }

        #[test]
        fn texts_of_bots_are_read_back(seed: u64, run: u32, damaged in 0_usize..1_000, by in 1_u8..=255) {
            let script = Script::draw(seed, 10, Manner::default(), Duration::from_mins(1));
            let messages = script.messages();
            let payload = Payload::new(run, seed, 48).saying(Some(Arc::new(script)));
            let mut recent = Recent::default();
            for index in 0..messages {
                let stamp = Stamp { index, ..stamp() };
                let mut text = payload.compose(Purpose::Counted, stamp).into_bytes();
                prop_assert_eq!(recent.read(&payload, &text), Reading::Ours(Purpose::Counted, stamp));
                // The damage is in the words; another digit in the stamp would make a valid other
                // stamp.
                let at = PAYLOAD_MIN + damaged % (text.len() - PAYLOAD_MIN);
                text[at] ^= by;
                prop_assert_eq!(recent.read(&payload, &text), Reading::Corrupt);
            }
            // A message beyond the script.
            let unscripted = payload.compose(Purpose::Counted, Stamp { index: messages, ..stamp() });
            prop_assert_eq!(payload.read(unscripted.as_bytes()), Reading::Corrupt);
            let probe = payload.compose(Purpose::Probe, stamp());
            prop_assert_eq!((probe.len(), recent.read(&payload, probe.as_bytes())), (48, Reading::Ours(Purpose::Probe, stamp())));
        }

        #[test]
        fn the_cache_reads_as_the_payload_does(texts in prop::collection::vec((0_u32..200, 0_u8..4), 1..300)) {
            let payload = Payload::new(3, 4, 50);
            let mut recent = Recent::default();
            for (index, damage) in texts {
                let mut text = payload.compose(Purpose::Counted, Stamp { index, ..stamp() }).into_bytes();
                match damage {
                    0 => text[40] ^= 1,
                    1 => text[0] = b'X',
                    2 => text.truncate(45),
                    _ => {}
                }
                prop_assert_eq!(recent.read(&payload, &text), payload.read(&text));
            }
        }

        #[test]
        fn any_bytes_are_read_without_a_panic(mut bytes: Vec<u8>, ours: bool) {
            let payload = Payload::new(0, 0, 64);
            if ours {
                bytes.splice(..0, payload.counted);
                bytes.resize(64, b'0');
            }
            let _ = payload.read(&bytes);
        }
    }
}
