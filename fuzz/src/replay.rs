//! Replays every target without an engine: its seeds, its findings and mutations of both.

use std::fs;
use std::path::Path;

use super::{CLIENTS, CORE, HARNESS, SERVERS, Target};

/// Longest input that a mutation makes, in bytes; libFuzzer's own limit for small seeds.
const LENGTH_MAX: usize = 4096;

/// Random numbers (SplitMix64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }
}

/// Changes an input as engines do: bits, bytes, numbers at their limits, parts cut, doubled or
/// taken from another input.
fn mutate(bytes: &mut Vec<u8>, other: &[u8], random: &mut Random) {
    for _ in 0..=random.below(4) {
        let at = random.below(bytes.len());
        match random.below(7) {
            0 if !bytes.is_empty() => bytes[at] ^= 1 << random.below(8),
            1 if !bytes.is_empty() => bytes[at] = random.next() as u8,
            2 => {
                let number = [0, 1, 0x7f, 0x80, 0xff, 0x7fff, 0xffff, u64::MAX][random.below(8)];
                let width = 1 << random.below(4);
                for (byte, new) in bytes.iter_mut().skip(at).zip(&number.to_le_bytes()[..width]) {
                    *byte = *new;
                }
            }
            3 => bytes.insert(at, random.next() as u8),
            4 => {
                let end = (at + 1 + random.below(16)).min(bytes.len());
                bytes.drain(at..end);
            }
            5 => {
                let end = (at + 1 + random.below(64)).min(bytes.len());
                let part = bytes[at..end].to_vec();
                bytes.splice(at..at, part);
            }
            _ => {
                let from = random.below(other.len());
                let end = (from + 1 + random.below(64)).min(other.len());
                bytes.splice(at..at, other[from..end].iter().copied());
            }
        }
    }
    bytes.truncate(LENGTH_MAX.max(other.len()));
}

/// Shows the input under test if the test panics.
struct Tried<'a>(&'a Target, &'a [u8]);

impl Drop for Tried<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the input of {} in hexadecimal digits: {}", self.0.name, hex::encode(self.1));
        }
    }
}

fn check(target: &Target, input: &[u8]) {
    let tried = Tried(target, input);
    (target.check)(input);
    drop(tried);
}

fn findings(target: &Target) -> Vec<Vec<u8>> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("findings").join(target.name);
    let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
    entries.map(|entry| fs::read(entry.unwrap().path()).unwrap()).collect()
}

/// Replays the target `name`. `THRONG_FUZZ_SEED` repeats the mutations of another run.
fn replay(name: &str) {
    let mut targets = CORE.iter().chain(SERVERS).chain(CLIENTS).chain(HARNESS);
    let target = targets.find(|target| target.name == name).expect("a target of the tables");
    let seed = std::env::var("THRONG_FUZZ_SEED").ok().map_or(1, |seed| seed.parse().expect("a number"));
    println!("THRONG_FUZZ_SEED={seed}");
    let inputs = [(target.seeds)(), findings(target)].concat();
    check(target, &[]);
    for input in &inputs {
        check(target, input);
    }
    let mut random = Random(seed);
    for _ in 0..target.mutations {
        let mut input = inputs[random.below(inputs.len())].clone();
        mutate(&mut input, &inputs[random.below(inputs.len())], &mut random);
        check(target, &input);
    }
}

macro_rules! replays {
    ($($name:ident)*) => {
        $(
            #[test]
            fn $name() {
                replay(stringify!($name));
            }
        )*

        #[test]
        fn every_target_is_replayed() {
            let names: Vec<_> = CORE.iter().chain(SERVERS).chain(CLIENTS).chain(HARNESS).map(|target| target.name).collect();
            assert_eq!(names, [$(stringify!($name)),*]);
        }
    };
}

replays! {
    frames packets responder initiator session tickets config units files
    admin import names resume
    client
    reports histograms peers answers
}
