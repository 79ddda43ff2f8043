//! Personalities of bots.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::lines::Topic;
use crate::clock::{Nanos, nanos};

/// The personality of a bot: its topics, its pauses and its eagerness to answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Personality {
    /// Greets the others and often answers.
    Friendly,
    /// Talks about the game.
    Gamer,
    /// Says little.
    Observer,
    /// Encourages others, often.
    Cheerleader,
    /// Tests whether the server works.
    Tester,
}

impl Personality {
    /// All personalities.
    pub const ALL: [Self; 5] = [Self::Friendly, Self::Gamer, Self::Observer, Self::Cheerleader, Self::Tester];

    /// The personality of a client; every fifth client has the same one.
    pub fn of(client: u32) -> Self {
        Self::ALL[client as usize % Self::ALL.len()]
    }

    /// The personality's name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Friendly => "friendly",
            Self::Gamer => "gamer",
            Self::Observer => "observer",
            Self::Cheerleader => "cheerleader",
            Self::Tester => "tester",
        }
    }

    /// The personality's part of the range of pauses: where it starts and ends, in percent of the
    /// range.
    fn pause_range(self) -> (u32, u32) {
        match self {
            Self::Friendly => (15, 65),
            Self::Gamer => (5, 50),
            Self::Observer => (50, 100),
            Self::Cheerleader => (0, 25),
            Self::Tester => (25, 75),
        }
    }

    /// The share of messages offered to it that the bot answers, in percent.
    pub(super) fn answer_percent(self) -> u32 {
        match self {
            Self::Friendly => 70,
            Self::Gamer => 40,
            Self::Observer => 15,
            Self::Cheerleader => 90,
            Self::Tester => 30,
        }
    }

    /// Weights of the topics, in the order of [`Topic::OWN`].
    fn weights(self) -> [u32; Topic::OWN.len()] {
        match self {
            // Greetings, gaming, daily life, weather, encouragement, random thoughts, server test.
            Self::Friendly => [5, 2, 5, 4, 3, 3, 1],
            Self::Gamer => [2, 12, 1, 1, 2, 2, 1],
            Self::Observer => [1, 1, 4, 5, 1, 6, 1],
            Self::Cheerleader => [4, 3, 2, 1, 10, 1, 1],
            Self::Tester => [1, 2, 1, 1, 1, 2, 12],
        }
    }

    /// The topic of a number below [`Self::weight_sum`]; each topic has as many numbers as its
    /// weight.
    pub(super) fn topic(self, mut number: u32) -> Topic {
        for (topic, weight) in Topic::OWN.into_iter().zip(self.weights()) {
            if number < weight {
                return topic;
            }
            number -= weight;
        }
        Topic::Greetings
    }

    /// The sum of the weights of [`Self::topic`].
    pub(super) fn weight_sum(self) -> u32 {
        self.weights().iter().sum()
    }
}

/// The range of pauses between two messages of a bot; each personality uses a part of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pauses {
    /// The shortest pause, above zero.
    pub min: Duration,
    /// The longest pause, at least `min`.
    pub max: Duration,
}

impl Default for Pauses {
    /// 5 to 25 seconds.
    fn default() -> Self {
        Self { min: Duration::from_secs(5), max: Duration::from_secs(25) }
    }
}

impl Pauses {
    /// The shortest and the longest pause of a personality, in nanoseconds.
    pub fn of(self, personality: Personality) -> (Nanos, Nanos) {
        let (from, to) = personality.pause_range();
        let (min, max) = (nanos(self.min), nanos(self.max));
        let at = |percent: u32| min + (max - min) / 100 * u64::from(percent);
        (at(from), at(to))
    }

    /// The shortest and the longest time from a message to its answer, in nanoseconds: from a fifth
    /// of the shortest pause to the whole of it, so 1 to 5 seconds by default.
    pub fn before_answers(self) -> (Nanos, Nanos) {
        let min = nanos(self.min);
        ((min / 5).max(1), min.max(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_personality_has_its_range_of_pauses() {
        let seconds = |personality| {
            let (from, to) = Pauses::default().of(personality);
            (from / 1_000_000_000, to / 1_000_000_000)
        };
        let found = Personality::ALL.map(seconds);
        assert_eq!(found, [(8, 18), (6, 15), (15, 25), (5, 10), (10, 20)]);
        assert_eq!(Pauses::default().before_answers(), (1_000_000_000, 5_000_000_000));
        let one = Duration::from_nanos(1);
        let shortest = Pauses { min: one, max: one };
        assert_eq!((shortest.of(Personality::Observer), shortest.before_answers()), ((1, 1), (1, 1)));
    }

    #[test]
    fn all_personalities_talk_about_all_topics_and_prefer_some() {
        let most = |personality: Personality| {
            let topics = (0..personality.weight_sum()).map(|number| personality.topic(number));
            let counts = topics.fold([0; 8], |mut counts, topic| {
                counts[topic as usize] += 1;
                counts
            });
            assert!(Topic::OWN.iter().all(|topic| counts[*topic as usize] > 0), "{personality:?}");
            Topic::OWN.into_iter().max_by_key(|topic| counts[*topic as usize]).expect("seven")
        };
        assert_eq!(most(Personality::Gamer), Topic::Gaming);
        assert_eq!(most(Personality::Cheerleader), Topic::Encouragement);
        assert_eq!(most(Personality::Tester), Topic::ServerTest);
        assert_eq!(most(Personality::Observer), Topic::RandomThoughts);
    }

    #[test]
    fn personalities_are_equally_frequent() {
        let of = |personality| (0..100).filter(|client| Personality::of(*client) == personality).count();
        assert_eq!(Personality::ALL.map(of), [20; 5]);
    }
}
