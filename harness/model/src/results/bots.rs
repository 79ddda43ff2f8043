//! Results of a conversation of bots: messages by personality, topic and language, and answers.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::bots::{Language, Personality, Script, Topic};

/// Results of a conversation of bots. Only messages that were sent count.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "testing", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct BotsReport {
    /// Messages by personality.
    pub personalities: BTreeMap<String, Spoken>,
    /// Messages by topic.
    pub topics: BTreeMap<String, u64>,
    /// Messages by language, as `ko` and `en`.
    pub languages: BTreeMap<String, u64>,
    /// Answers to what others said.
    pub reactions: Reactions,
}

/// Messages of the bots of one personality.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "testing", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct Spoken {
    /// Bots of this personality.
    pub bots: u64,
    /// Messages that they sent.
    pub messages: u64,
    /// Answers among these messages.
    pub reactions: u64,
}

/// Answers to messages of other bots.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "testing", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct Reactions {
    /// Answers that were sent.
    pub sent: u64,
    /// Answers that were not sent, because the bot had not received the message to answer in time.
    pub unprovoked: u64,
}

/// The share of answers that may be unprovoked in a run with the planned load.
const UNPROVOKED_MAX: f64 = 0.01;

impl BotsReport {
    /// True if a slow server made its own load lighter, since too many answers were not sent.
    pub fn are_lightened(&self) -> bool {
        let Reactions { sent, unprovoked } = self.reactions;
        // A single one may be an accident.
        unprovoked > 1 && unprovoked as f64 > UNPROVOKED_MAX * (sent + unprovoked) as f64
    }

    /// Counts the messages with the numbers `sent` of the script of `bots` bots.
    pub fn new(bots: u32, script: &Script, sent: impl Iterator<Item = u32>, unprovoked: u64) -> Self {
        let mut report = Self::default();
        report.reactions.unprovoked = unprovoked;
        for personality in Personality::ALL {
            report.personalities.insert(personality.name().to_owned(), Spoken::default());
        }
        for bot in 0..bots {
            report.personalities.entry(Personality::of(bot).name().to_owned()).or_default().bots += 1;
        }
        report.topics.extend(Topic::ALL.map(|topic| (topic.name().to_owned(), 0)));
        report.languages.extend(Language::ALL.map(|language| (language.name().to_owned(), 0)));
        for index in sent {
            let (Some(line), Some(sender)) = (script.line(index), script.traffic().sender(index)) else {
                continue;
            };
            let is_answer = u64::from(script.answers(index).is_some());
            let spoken = report.personalities.entry(Personality::of(sender).name().to_owned()).or_default();
            spoken.messages += 1;
            spoken.reactions += is_answer;
            report.reactions.sent += is_answer;
            *report.topics.entry(line.topic.name().to_owned()).or_default() += 1;
            *report.languages.entry(line.language.name().to_owned()).or_default() += 1;
        }
        report
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::bots::Manner;

    #[test]
    fn only_sent_messages_count() {
        let script = Script::draw(3, 7, Manner::default(), Duration::from_mins(5));
        let answer =
            (0..script.messages()).find(|index| script.answers(*index).is_some()).expect("an answer");
        let sent = (0..script.messages()).filter(|index| *index != answer);
        let report = BotsReport::new(7, &script, sent, 1);
        let counted = u64::from(script.messages()) - 1;
        let sums = [
            report.personalities.values().map(|spoken| spoken.messages).sum::<u64>(),
            report.topics.values().sum(),
            report.languages.values().sum(),
        ];
        assert_eq!(sums, [counted; 3]);
        let answers = (0..script.messages()).filter(|index| script.answers(*index).is_some()).count() as u64;
        assert_eq!(report.reactions, Reactions { sent: answers - 1, unprovoked: 1 });
        assert_eq!(report.topics["reactions"], answers - 1);
        let reactions = report.personalities.values().map(|spoken| spoken.reactions).sum::<u64>();
        let bots: Vec<_> =
            report.personalities.iter().map(|(name, spoken)| (name.as_str(), spoken.bots)).collect();
        assert_eq!(reactions, answers - 1);
        assert_eq!(bots, [("cheerleader", 1), ("friendly", 2), ("gamer", 2), ("observer", 1), ("tester", 1)]);
    }
}
