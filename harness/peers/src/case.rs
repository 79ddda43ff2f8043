//! The cases: members in the room, and the rate of messages.

use std::fmt;
use std::time::Duration;

/// Most messages by which a closed loop is ahead of the slowest member.
pub const AHEAD: u32 = 200;

/// The cases, in the order of a run; reports are in the order of letters. Within a size the hardest
/// comes last, because a server that fell behind is restarted after it.
pub const CASES: [Case; 8] = [
    Case::paced('G', 100, 1_000),
    Case::paced('A', 1_000, 10_000),
    Case { letter: 'F', members: 1_000, load: Load::Closed { ahead: AHEAD } },
    Case::paced('B', 1_000, 4_000),
    Case::paced('H', 3_000, 30_000),
    Case::paced('C', 5_000, 50_000),
    Case::paced('D', 9_000, 30_000),
    Case::paced('E', 9_000, 11_250),
];

/// The load of a room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Case {
    /// The case's name.
    pub letter: char,
    /// Members of the room.
    pub members: u32,
    /// The schedule of messages.
    pub load: Load,
}

/// The schedule of messages; the sender of each message is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Load {
    /// A message after every interval, regardless of earlier ones.
    Paced(Duration),
    /// A message whenever the slowest member lacks fewer messages than this.
    Closed {
        /// Most messages that it may lack.
        ahead: u32,
    },
}

impl Case {
    const fn paced(letter: char, members: u32, micros: u64) -> Self {
        Self { letter, members, load: Load::Paced(Duration::from_micros(micros)) }
    }

    /// The case with the given letter, upper or lower case.
    pub fn named(letter: &str) -> Option<Self> {
        CASES
            .into_iter()
            .find(|case| letter.trim().eq_ignore_ascii_case(case.letter.encode_utf8(&mut [0; 4])))
    }

    /// Time between two messages; none for a closed loop.
    pub fn interval(&self) -> Option<Duration> {
        match self.load {
            Load::Paced(interval) => Some(interval),
            Load::Closed { .. } => None,
        }
    }

    /// Deliveries offered a second; none for a closed loop.
    pub fn offered_per_s(&self) -> Option<f64> {
        self.interval().map(|interval| f64::from(self.members) / interval.as_secs_f64())
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let members = throng_harness_model::text::format_count(self.members.into());
        match self.load {
            Load::Paced(interval) => {
                let offered = throng_harness_model::text::format_rate(self.offered_per_s().unwrap_or(0.0));
                write!(
                    f,
                    "{}: {members} members, a message every {interval:?}, {offered} deliveries/s",
                    self.letter
                )
            }
            Load::Closed { ahead } => {
                write!(f, "{}: {members} members, at most {ahead} messages ahead of the slowest", self.letter)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cases_are_named_by_letters() {
        let shown = |letter| Case::named(letter).expect("it is one").to_string();
        assert_eq!(shown("e"), "E: 9,000 members, a message every 11.25ms, 800,000 deliveries/s");
        assert_eq!(shown(" F"), "F: 1,000 members, at most 200 messages ahead of the slowest");
        assert_eq!(shown("G"), "G: 100 members, a message every 1ms, 100,000 deliveries/s");
        assert_eq!([Case::named("I"), Case::named(""), Case::named("AB")], [None; 3]);
    }

    #[test]
    fn cases_of_one_size_are_adjacent() {
        let mut sizes: Vec<u32> = CASES.iter().map(|case| case.members).collect();
        sizes.dedup();
        assert_eq!(sizes, [100, 1_000, 3_000, 5_000, 9_000]);
    }
}
