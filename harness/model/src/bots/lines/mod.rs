//! Phrases of bots by topic and language, and answers that fit a topic.

mod english;
mod korean;

use serde::{Deserialize, Serialize};

/// The topic of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Topic {
    /// Arriving and saying hello.
    Greetings,
    /// The game.
    Gaming,
    /// Food, work, cats.
    DailyLife,
    /// The weather.
    Weather,
    /// Kind words.
    Encouragement,
    /// Passing thoughts.
    RandomThoughts,
    /// Answers to other messages.
    Reactions,
    /// Messages of a person testing a server.
    ServerTest,
}

impl Topic {
    /// All topics.
    pub const ALL: [Self; 8] = [
        Self::Greetings,
        Self::Gaming,
        Self::DailyLife,
        Self::Weather,
        Self::Encouragement,
        Self::RandomThoughts,
        Self::Reactions,
        Self::ServerTest,
    ];

    /// The topics that a bot raises by itself: all but answers.
    pub const OWN: [Self; 7] = [
        Self::Greetings,
        Self::Gaming,
        Self::DailyLife,
        Self::Weather,
        Self::Encouragement,
        Self::RandomThoughts,
        Self::ServerTest,
    ];

    /// The topic's name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Greetings => "greetings",
            Self::Gaming => "gaming",
            Self::DailyLife => "daily_life",
            Self::Weather => "weather",
            Self::Encouragement => "encouragement",
            Self::RandomThoughts => "random_thoughts",
            Self::Reactions => "reactions",
            Self::ServerTest => "server_test",
        }
    }
}

/// The languages of a conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Languages {
    /// Korean.
    Korean,
    /// English.
    English,
    /// Both: each message in one of them, and an answer in the language of the message it answers.
    #[default]
    Both,
}

/// The language of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Language {
    /// Korean.
    Korean,
    /// English.
    English,
}

impl Language {
    /// All languages.
    pub const ALL: [Self; 2] = [Self::Korean, Self::English];

    /// The language's code in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Korean => "ko",
            Self::English => "en",
        }
    }

    fn phrases(self) -> &'static Phrases {
        match self {
            Self::Korean => &korean::PHRASES,
            Self::English => &english::PHRASES,
        }
    }
}

struct Phrases {
    greetings: &'static [&'static str],
    gaming: &'static [&'static str],
    daily_life: &'static [&'static str],
    weather: &'static [&'static str],
    encouragement: &'static [&'static str],
    random_thoughts: &'static [&'static str],
    server_test: &'static [&'static str],
    /// Answers that fit any topic.
    exclamations: &'static [&'static str],
    on_greetings: &'static [&'static str],
    on_gaming: &'static [&'static str],
    on_daily_life: &'static [&'static str],
    on_weather: &'static [&'static str],
    on_encouragement: &'static [&'static str],
    on_random_thoughts: &'static [&'static str],
    on_server_test: &'static [&'static str],
}

impl Phrases {
    /// Phrases that a bot says by itself; for the topic of answers, those that fit any topic.
    fn own(&self, topic: Topic) -> &'static [&'static str] {
        match topic {
            Topic::Greetings => self.greetings,
            Topic::Gaming => self.gaming,
            Topic::DailyLife => self.daily_life,
            Topic::Weather => self.weather,
            Topic::Encouragement => self.encouragement,
            Topic::RandomThoughts => self.random_thoughts,
            Topic::Reactions => self.exclamations,
            Topic::ServerTest => self.server_test,
        }
    }

    /// Answers that fit `topic` and no other.
    fn on(&self, topic: Topic) -> &'static [&'static str] {
        match topic {
            Topic::Greetings => self.on_greetings,
            Topic::Gaming => self.on_gaming,
            Topic::DailyLife => self.on_daily_life,
            Topic::Weather => self.on_weather,
            Topic::Encouragement => self.on_encouragement,
            Topic::RandomThoughts => self.on_random_thoughts,
            Topic::Reactions => &[],
            Topic::ServerTest => self.on_server_test,
        }
    }
}

/// A phrase.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Line {
    /// The topic.
    pub topic: Topic,
    /// The topic that an answer fits; none if it fits any.
    pub fits: Option<Topic>,
    /// The language.
    pub language: Language,
    /// The words.
    pub text: &'static str,
}

/// All phrases by number, the same in every run.
#[derive(Debug)]
pub struct Book(Vec<Line>);

impl Book {
    /// The phrases of both languages.
    pub fn new() -> Self {
        let mut lines = Vec::new();
        for language in Language::ALL {
            let phrases = language.phrases();
            for topic in Topic::ALL {
                let line = |fits, texts: &'static [&'static str]| {
                    texts.iter().map(move |text| Line { topic, fits, language, text })
                };
                lines.extend(line(None, phrases.own(topic)));
                if topic == Topic::Reactions {
                    lines.extend(Topic::OWN.iter().flat_map(|fits| line(Some(*fits), phrases.on(*fits))));
                }
            }
        }
        Self(lines)
    }

    /// All phrases, by number.
    pub fn lines(&self) -> &[Line] {
        &self.0
    }

    /// The phrase of a number; none if there is no such phrase.
    pub fn get(&self, number: u16) -> Option<&Line> {
        self.0.get(usize::from(number))
    }

    /// The numbers of the phrases for which `fits` returns true.
    pub(super) fn numbers(&self, fits: impl Fn(&Line) -> bool) -> Vec<u16> {
        (0..).zip(&self.0).filter(|(_, line)| fits(line)).map(|(number, _)| number).collect()
    }
}

impl Default for Book {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use throng_core::limits::CHAT_TEXT_MAX;

    use super::*;
    use crate::bots::script::MARK_MAX;
    use crate::payload::PAYLOAD_MIN;

    #[test]
    fn every_phrase_is_valid_and_unique() {
        let book = Book::new();
        let mut texts = HashSet::new();
        for line in book.lines() {
            let text = line.text;
            assert!(PAYLOAD_MIN + MARK_MAX + text.len() <= CHAT_TEXT_MAX && text.len() >= 3, "{text}");
            assert!(!text.chars().any(char::is_control) && text.trim() == text, "{text:?}");
            assert!(texts.insert(text), "{text} is a duplicate");
            let is_hangul = |letter: char| ('가'..='힣').contains(&letter) || ('ㄱ'..='ㅣ').contains(&letter);
            assert_eq!(text.chars().any(is_hangul), line.language == Language::Korean, "{text}");
            assert!(line.fits.is_none() || line.topic == Topic::Reactions, "{text}");
        }
    }

    #[test]
    fn every_topic_has_enough_phrases() {
        let book = Book::new();
        for language in Language::ALL {
            for topic in Topic::ALL {
                let count = |fits: &dyn Fn(&Line) -> bool| {
                    book.numbers(|line| line.language == language && fits(line)).len()
                };
                assert!(count(&|line| line.topic == topic) >= 12, "{language:?} {topic:?}");
                assert!(topic == Topic::Reactions || count(&|line| line.fits == Some(topic)) >= 5);
            }
            let emoji = book.numbers(|line| {
                line.language == language
                    && line.text.chars().any(|c| c >= '\u{2600}' && !('가'..='힣').contains(&c))
            });
            assert!(emoji.len() > 60, "{}", emoji.len());
        }
    }

    #[test]
    fn topic_names_are_unique() {
        let names: HashSet<_> = Topic::ALL.map(Topic::name).into();
        assert_eq!(names.len(), Topic::ALL.len());
        assert!(Topic::OWN.iter().all(|topic| *topic != Topic::Reactions));
    }
}
