//! What sort of people bots are.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::lines::Topic;
use crate::clock::{Nanos, nanos};

/// How somebody behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Personality {
    /// Greets everybody and answers often.
    Friendly,
    /// Talks about the game.
    Gamer,
    /// Says little.
    Observer,
    /// Has a kind word for all, and many of them.
    Cheerleader,
    /// Looks whether everything works.
    Tester,
}

impl Personality {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Friendly, Self::Gamer, Self::Observer, Self::Cheerleader, Self::Tester];

    /// That of a client: each fifth has the same.
    pub fn of(client: u32) -> Self {
        Self::ALL[client as usize % Self::ALL.len()]
    }

    /// The name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Friendly => "friendly",
            Self::Gamer => "gamer",
            Self::Observer => "observer",
            Self::Cheerleader => "cheerleader",
            Self::Tester => "tester",
        }
    }

    /// Its share of the range of pauses, in percent from the shortest to the longest.
    fn share(self) -> (u32, u32) {
        match self {
            Self::Friendly => (15, 65),
            Self::Gamer => (5, 50),
            Self::Observer => (50, 100),
            Self::Cheerleader => (0, 25),
            Self::Tester => (25, 75),
        }
    }

    /// Of a hundred messages that it could answer, how many it does.
    pub(super) fn answers(self) -> u32 {
        match self {
            Self::Friendly => 70,
            Self::Gamer => 40,
            Self::Observer => 15,
            Self::Cheerleader => 90,
            Self::Tester => 30,
        }
    }

    /// How much it likes to talk about each topic of [`Topic::OWN`], in that order, in relation to the others.
    fn tastes(self) -> [u32; Topic::OWN.len()] {
        match self {
            // Greetings, gaming, daily life, weather, encouragement, random thoughts, server test.
            Self::Friendly => [5, 2, 5, 4, 3, 3, 1],
            Self::Gamer => [2, 12, 1, 1, 2, 2, 1],
            Self::Observer => [1, 1, 4, 5, 1, 6, 1],
            Self::Cheerleader => [4, 3, 2, 1, 10, 1, 1],
            Self::Tester => [1, 2, 1, 1, 1, 2, 12],
        }
    }

    /// The topic for a number below [`Self::taste_sum`]; the more it likes one, the more numbers lead there.
    pub(super) fn topic(self, mut number: u32) -> Topic {
        for (topic, taste) in Topic::OWN.into_iter().zip(self.tastes()) {
            if number < taste {
                return topic;
            }
            number -= taste;
        }
        Topic::Greetings
    }

    /// See [`Self::topic`].
    pub(super) fn taste_sum(self) -> u32 {
        self.tastes().iter().sum()
    }
}

/// How long bots are silent between two messages: each personality has a part of this range.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pauses {
    /// The shortest of all, above zero.
    pub min: Duration,
    /// The longest, at least as long.
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
        let (from, to) = personality.share();
        let (min, max) = (nanos(self.min), nanos(self.max));
        let at = |percent: u32| min + (max - min) / 100 * u64::from(percent);
        (at(from), at(to))
    }

    /// The shortest and the longest time from a message to its answer, in nanoseconds: 1 to 5 seconds for the usual pauses.
    pub fn before_answers(self) -> (Nanos, Nanos) {
        let min = nanos(self.min);
        ((min / 5).max(1), min.max(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_personality_has_its_pauses() {
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
    fn everybody_talks_about_everything_and_likes_some_more() {
        let most = |personality: Personality| {
            let topics = (0..personality.taste_sum()).map(|number| personality.topic(number));
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
    fn personalities_are_shared_out_evenly() {
        let of = |personality| (0..100).filter(|client| Personality::of(*client) == personality).count();
        assert_eq!(Personality::ALL.map(of), [20; 5]);
    }
}
