//! The cases: how many are in the room, and how often somebody speaks.

use std::fmt;
use std::time::Duration;

/// How far ahead of the slowest member a closed loop may be.
pub const AHEAD: u32 = 200;

/// The cases, by their letters. Within a group of the same size the hardest comes last, because a server that
/// could not follow is started anew after it.
pub const CASES: [Case; 6] = [
    Case::paced('A', 1_000, 10_000),
    Case { letter: 'F', members: 1_000, load: Load::Closed { ahead: AHEAD } },
    Case::paced('B', 1_000, 4_000),
    Case::paced('C', 5_000, 50_000),
    Case::paced('D', 9_000, 30_000),
    Case::paced('E', 9_000, 11_250),
];

/// What the members of a room do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Case {
    /// Its name.
    pub letter: char,
    /// Members of the room.
    pub members: u32,
    /// Who speaks when.
    pub load: Load,
}

/// When members speak. Who does is drawn for each message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Load {
    /// One of them after every interval, whatever became of the messages before.
    Paced(Duration),
    /// One of them whenever the slowest member lacks fewer messages than this.
    Closed {
        /// Messages that it may lack.
        ahead: u32,
    },
}

impl Case {
    const fn paced(letter: char, members: u32, micros: u64) -> Self {
        Self { letter, members, load: Load::Paced(Duration::from_micros(micros)) }
    }

    /// The case of a letter.
    pub fn named(letter: &str) -> Option<Self> {
        CASES
            .into_iter()
            .find(|case| letter.trim().eq_ignore_ascii_case(case.letter.encode_utf8(&mut [0; 4])))
    }

    /// Time between two messages, if that is fixed.
    pub fn interval(&self) -> Option<Duration> {
        match self.load {
            Load::Paced(interval) => Some(interval),
            Load::Closed { .. } => None,
        }
    }

    /// Deliveries to be made in a second, if that is fixed.
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
    fn letters_and_what_they_mean() {
        let shown = |letter| Case::named(letter).expect("it is one").to_string();
        assert_eq!(shown("e"), "E: 9,000 members, a message every 11.25ms, 800,000 deliveries/s");
        assert_eq!(shown(" F"), "F: 1,000 members, at most 200 messages ahead of the slowest");
        assert_eq!([Case::named("G"), Case::named(""), Case::named("AB")], [None; 3]);
    }

    #[test]
    fn cases_of_one_size_are_neighbours() {
        let mut sizes: Vec<u32> = CASES.iter().map(|case| case.members).collect();
        sizes.dedup();
        assert_eq!(sizes, [1_000, 5_000, 9_000]);
    }
}
