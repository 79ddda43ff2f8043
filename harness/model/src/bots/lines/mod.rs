//! What bots can say: phrases by topic in two languages, and answers that fit what they answer.

mod english;
mod korean;

use serde::{Deserialize, Serialize};

/// What a message is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Topic {
    /// Coming and saying hello.
    Greetings,
    /// The game.
    Gaming,
    /// Food, work, cats.
    DailyLife,
    /// The weather.
    Weather,
    /// Kind words.
    Encouragement,
    /// What comes to one's mind.
    RandomThoughts,
    /// Answers to what others say.
    Reactions,
    /// What somebody says who tests a server.
    ServerTest,
}

impl Topic {
    /// All of them.
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

    /// The ones that somebody brings up.
    pub const OWN: [Self; 7] = [
        Self::Greetings,
        Self::Gaming,
        Self::DailyLife,
        Self::Weather,
        Self::Encouragement,
        Self::RandomThoughts,
        Self::ServerTest,
    ];

    /// The name in reports.
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

/// Which languages are spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Languages {
    /// Korean.
    Korean,
    /// English.
    English,
    /// Each message in one of them, and an answer in that of what it answers.
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
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Korean, Self::English];

    /// The name in reports.
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

/// All that is said in one language.
struct Phrases {
    greetings: &'static [&'static str],
    gaming: &'static [&'static str],
    daily_life: &'static [&'static str],
    weather: &'static [&'static str],
    encouragement: &'static [&'static str],
    random_thoughts: &'static [&'static str],
    server_test: &'static [&'static str],
    /// Answers to anything.
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
    /// What somebody says by himself; anything for the topic of answers.
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

    /// Answers that fit this topic and no other.
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

/// One thing that can be said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Line {
    /// What it is about.
    pub topic: Topic,
    /// For an answer: what it fits; none if it fits anything.
    pub fits: Option<Topic>,
    /// Its language.
    pub language: Language,
    /// The words.
    pub text: &'static str,
}

/// All lines, by number; the same in every run.
#[derive(Debug)]
pub struct Book(Vec<Line>);

impl Book {
    /// The lines of both languages.
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

    /// All of them.
    pub fn lines(&self) -> &[Line] {
        &self.0
    }

    /// The line with a number; none if there is no such line.
    pub fn get(&self, number: u16) -> Option<&Line> {
        self.0.get(usize::from(number))
    }

    /// The numbers of lines for which `fits` is true.
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
    fn every_line_can_be_said_and_is_there_once() {
        let book = Book::new();
        let mut texts = HashSet::new();
        for line in book.lines() {
            let text = line.text;
            assert!(PAYLOAD_MIN + MARK_MAX + text.len() <= CHAT_TEXT_MAX && text.len() >= 3, "{text}");
            assert!(!text.chars().any(char::is_control) && text.trim() == text, "{text:?}");
            assert!(texts.insert(text), "{text} is there twice");
            let is_hangul = |letter: char| ('가'..='힣').contains(&letter) || ('ㄱ'..='ㅣ').contains(&letter);
            assert_eq!(text.chars().any(is_hangul), line.language == Language::Korean, "{text}");
            assert!(line.fits.is_none() || line.topic == Topic::Reactions, "{text}");
        }
    }

    #[test]
    fn there_is_enough_to_say_of_everything() {
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
    fn names_are_told_apart() {
        let names: HashSet<_> = Topic::ALL.map(Topic::name).into();
        assert_eq!(names.len(), Topic::ALL.len());
        assert!(Topic::OWN.iter().all(|topic| *topic != Topic::Reactions));
    }
}
