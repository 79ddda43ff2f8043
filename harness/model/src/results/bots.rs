//! What bots said: by whom, about what, and in answer to what.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::bots::{Language, Personality, Script, Topic};

/// The part of the report that is about a conversation of bots. Messages are those that were sent.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "testing", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct BotsReport {
    /// By personality.
    pub personalities: BTreeMap<String, Spoken>,
    /// Messages by topic.
    pub topics: BTreeMap<String, u64>,
    /// Messages by language, as `ko` and `en`.
    pub languages: BTreeMap<String, u64>,
    /// Answers to what others said.
    pub reactions: Reactions,
}

/// What the bots of one personality said.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "testing", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct Spoken {
    /// Bots of this personality.
    pub bots: u64,
    /// Messages.
    pub messages: u64,
    /// Of these, answers.
    pub reactions: u64,
}

/// Answers to what others said.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "testing", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct Reactions {
    /// Answers that were sent.
    pub sent: u64,
    /// Answers that were not, because the bot had not received what it would have answered when its time came.
    pub unprovoked: u64,
}

/// Share of the answers that may be missing, for want of what they answer, in a run that was as lively as planned.
const UNPROVOKED_MAX: f64 = 0.01;

impl BotsReport {
    /// Whether a server that was late made its own load lighter: so many answers were not given.
    pub fn are_lightened(&self) -> bool {
        let Reactions { sent, unprovoked } = self.reactions;
        // One may have been an accident.
        unprovoked > 1 && unprovoked as f64 > UNPROVOKED_MAX * (sent + unprovoked) as f64
    }

    /// What so many bots said of their script: the messages with the numbers `sent`.
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
    fn what_was_not_sent_was_not_said() {
        let script = Script::draw(3, 7, Manner::default(), Duration::from_mins(5));
        let answer =
            (0..script.messages()).find(|index| script.answers(*index).is_some()).expect("an answer");
        let sent = (0..script.messages()).filter(|index| *index != answer);
        let report = BotsReport::new(7, &script, sent, 1);
        let said = u64::from(script.messages()) - 1;
        let sums = [
            report.personalities.values().map(|spoken| spoken.messages).sum::<u64>(),
            report.topics.values().sum(),
            report.languages.values().sum(),
        ];
        assert_eq!(sums, [said; 3]);
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
