//! The conversation of bots, drawn before the run.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt, SeedableRng};
use serde::{Deserialize, Serialize};

use super::lines::{Book, Language, Languages, Line, Topic};
use super::people::{Pauses, Personality};
use crate::clock::{NEVER, Nanos, nanos};
use crate::limits::MESSAGES_MAX;
use crate::schedule::Traffic;

/// Stands for no message.
const NONE: u32 = u32::MAX;

/// Chances, in percent, that a message that is no answer is offered to a first bot, and then to a
/// second one too.
const ANSWER_PERCENT: [u32; 2] = [60, 20];

/// The most bots that are asked to answer a message before it stays unanswered.
const CANDIDATES_MAX: u32 = 6;

/// The share of answers that fit one topic only, in percent.
const FITTING_PERCENT: u32 = 70;

/// The most bytes before the phrase: a space and, for an answer, the mark of the message it
/// answers.
pub(super) const MARK_MAX: usize = 1 + ANSWER_MARK.len() + 10 + 1;

/// Precedes the number of the message that is answered.
const ANSWER_MARK: &str = "↩#";

/// Settings of a conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Manner {
    /// The pauses between two messages of a bot.
    pub pauses: Pauses,
    /// The languages.
    pub languages: Languages,
}

/// A conversation: senders, times, phrases, and the messages that answers refer to. Message k of
/// the traffic is message k here.
#[derive(Debug)]
pub struct Script {
    traffic: Arc<Traffic>,
    /// Times of the messages since the beginning of the conversation.
    offsets: Arc<[Nanos]>,
    /// Numbers of the messages' phrases.
    lines: Vec<u16>,
    /// The message that each message answers, or [`NONE`].
    answers: Vec<u32>,
    book: Book,
}

impl Script {
    /// Draws the conversation of `bots` bots (clients 0 and up) within `duration`. It has at most
    /// [`MESSAGES_MAX`] messages and ends with the last of them. The same arguments give the same
    /// conversation; a longer conversation starts with the shorter one.
    pub fn draw(seed: u64, bots: u32, manner: Manner, duration: Duration) -> Self {
        Draft::new(seed, bots, manner).write(nanos(duration))
    }

    /// Senders of the messages.
    pub fn traffic(&self) -> &Arc<Traffic> {
        &self.traffic
    }

    /// Times of the messages since the beginning of the conversation, in nanoseconds.
    pub fn offsets(&self) -> &Arc<[Nanos]> {
        &self.offsets
    }

    /// The number of messages.
    pub fn messages(&self) -> u32 {
        self.lines.len() as u32
    }

    /// The phrase of message `index`; none if there is no such message.
    pub fn line(&self, index: u32) -> Option<&Line> {
        self.book.get(*self.lines.get(index as usize)?)
    }

    /// The message that message `index` answers; none if it is no answer.
    pub fn answers(&self, index: u32) -> Option<u32> {
        self.answers.get(index as usize).copied().filter(|answered| *answered != NONE)
    }

    /// Appends the text of message `index` after its stamp: a space, for an answer the mark of the
    /// message it answers, and the phrase.
    pub fn write_words(&self, index: u32, out: &mut Vec<u8>) {
        let mut mark = [0; MARK_MAX];
        out.extend_from_slice(self.mark(index, &mut mark));
        out.extend_from_slice(self.line(index).map_or(&[], |line| line.text.as_bytes()));
    }

    /// Returns true if `words` is the text of message `index` after its stamp. Runs for every
    /// delivery and does not allocate.
    pub fn has_words(&self, index: u32, words: &[u8]) -> bool {
        let Some(line) = self.line(index) else { return false };
        let mut mark = [0; MARK_MAX];
        words.strip_prefix(self.mark(index, &mut mark)) == Some(line.text.as_bytes())
    }

    fn mark<'a>(&self, index: u32, space: &'a mut [u8; MARK_MAX]) -> &'a [u8] {
        let mut rest = &mut space[..];
        let written = match self.answers(index) {
            Some(answered) => write!(rest, " {ANSWER_MARK}{answered} "),
            None => write!(rest, " "),
        };
        debug_assert!(written.is_ok(), "the mark has room for any number");
        let unused = rest.len();
        &space[..MARK_MAX - unused]
    }
}

/// The next message of a bot.
#[derive(Debug, Clone, Copy)]
struct Next {
    at: Nanos,
    /// The message to answer, or [`NONE`].
    answers: u32,
}

/// A bot while the conversation is drawn.
#[derive(Debug, Clone, Copy)]
struct Bot {
    /// The time of its last message; none before the first.
    last: Option<Nanos>,
    /// The phrase of its last message.
    last_line: u16,
    next: Next,
}

/// A conversation while it is drawn.
struct Draft {
    rng: Xoshiro256PlusPlus,
    manner: Manner,
    bots: Vec<Bot>,
    /// Times of the bots' next messages. An entry that differs from [`Bot::next`] has been
    /// replaced.
    queue: BinaryHeap<Reverse<(Nanos, u32)>>,
    book: Book,
    choices: Choices,
    senders: Vec<u32>,
    offsets: Vec<Nanos>,
    lines: Vec<u16>,
    answers: Vec<u32>,
}

/// Numbers of the phrases for each occasion.
struct Choices {
    /// Phrases of each topic and language.
    own: [[Vec<u16>; 2]; Topic::ALL.len()],
    /// Answers that fit a topic, in each language.
    fitting: [[Vec<u16>; 2]; Topic::ALL.len()],
}

impl Choices {
    fn of(book: &Book) -> Self {
        let own = |topic, language| {
            book.numbers(|line| line.topic == topic && line.fits.is_none() && line.language == language)
        };
        let fitting =
            |topic, language| book.numbers(|line| line.fits == Some(topic) && line.language == language);
        Self {
            own: Topic::ALL.map(|topic| Language::ALL.map(|language| own(topic, language))),
            fitting: Topic::ALL.map(|topic| Language::ALL.map(|language| fitting(topic, language))),
        }
    }
}

impl Draft {
    fn new(seed: u64, bots: u32, manner: Manner) -> Self {
        let rng = Xoshiro256PlusPlus::seed_from_u64(seed ^ 0x626f_7473);
        let book = Book::new();
        let silent = Bot { last: None, last_line: u16::MAX, next: Next { at: NEVER, answers: NONE } };
        Self {
            rng,
            manner,
            bots: vec![silent; bots as usize],
            queue: BinaryHeap::new(),
            choices: Choices::of(&book),
            book,
            senders: Vec::new(),
            offsets: Vec::new(),
            lines: Vec::new(),
            answers: Vec::new(),
        }
    }

    fn write(mut self, end: Nanos) -> Script {
        for bot in 0..self.bots.len() as u32 {
            // Bots start spread out: each within the length of its longest pause.
            let (_, longest) = self.manner.pauses.of(Personality::of(bot));
            let at = self.rng.random_range(0..longest.max(1));
            self.plan(bot, Next { at, answers: NONE });
        }
        while let Some(Reverse((at, bot))) = self.queue.pop()
            && at < end
            && self.lines.len() < MESSAGES_MAX as usize
        {
            if self.bots[bot as usize].next.at == at {
                self.add_message(bot);
            }
        }
        let clients = self.bots.len() as u32;
        Script {
            traffic: Arc::new(Traffic::of(self.senders, clients)),
            offsets: self.offsets.into(),
            lines: self.lines,
            answers: self.answers,
            book: self.book,
        }
    }

    fn plan(&mut self, bot: u32, next: Next) {
        self.bots[bot as usize].next = next;
        self.queue.push(Reverse((next.at, bot)));
    }

    /// Adds the next message of a bot, plans the message after it, and may plan answers by other
    /// bots.
    fn add_message(&mut self, bot: u32) {
        let Next { at, answers } = self.bots[bot as usize].next;
        let line = self.choose(bot, answers);
        let index = self.lines.len() as u32;
        self.senders.push(bot);
        self.offsets.push(at);
        self.lines.push(line);
        self.answers.push(answers);
        let this = &mut self.bots[bot as usize];
        (this.last, this.last_line) = (Some(at), line);
        let (shortest, longest) = self.manner.pauses.of(Personality::of(bot));
        let pause = self.rng.random_range(shortest..=longest);
        self.plan(bot, Next { at: at.saturating_add(pause.max(1)), answers: NONE });
        // An answer gets no answer, so that a thread ends.
        if answers == NONE && self.bots.len() > 1 {
            for chance in ANSWER_PERCENT {
                if !self.happens(chance) {
                    break;
                }
                self.plan_answer(bot, index, at);
            }
        }
    }

    /// Plans an answer to message `index`, which `speaker` sends at `at`, if one of the bots drawn
    /// is willing and free.
    fn plan_answer(&mut self, speaker: u32, index: u32, at: Nanos) {
        for _ in 0..CANDIDATES_MAX {
            let bot = self.rng.random_range(0..self.bots.len() as u32);
            let personality = Personality::of(bot);
            if bot == speaker || !self.happens(personality.answer_percent()) {
                continue;
            }
            let (soonest, latest) = self.manner.pauses.before_answers();
            let at = at.saturating_add(self.rng.random_range(soonest..=latest));
            let (shortest, _) = self.manner.pauses.of(personality);
            let Bot { last, next, .. } = self.bots[bot as usize];
            let has_paused = last.is_none_or(|last| at >= last.saturating_add(shortest));
            // Otherwise the bot has something to say before `at`, or already answers another
            // message.
            if has_paused && next.answers == NONE && at < next.at {
                return self.plan(bot, Next { at, answers: index });
            }
        }
    }

    /// Draws a phrase for a bot that answers message `answers`, or none.
    fn choose(&mut self, bot: u32, answers: u32) -> u16 {
        let Bot { last, last_line, .. } = self.bots[bot as usize];
        let answered = self.lines.get(answers as usize).and_then(|line| self.book.get(*line)).copied();
        let (topic, fits, language) = if let Some(answered) = answered {
            let fits = Some(answered.topic).filter(|_| self.happens(FITTING_PERCENT));
            (Topic::Reactions, fits, answered.language)
        } else {
            let personality = Personality::of(bot);
            let number = self.rng.random_range(0..personality.weight_sum());
            // A bot's first message is a greeting.
            let topic = if last.is_none() { Topic::Greetings } else { personality.topic(number) };
            let language = match self.manner.languages {
                Languages::Korean => Language::Korean,
                Languages::English => Language::English,
                Languages::Both => Language::ALL[self.rng.random_range(0..Language::ALL.len())],
            };
            (topic, None, language)
        };
        let choices = match fits {
            Some(fits) => &self.choices.fitting[fits as usize][language as usize],
            None => &self.choices.own[topic as usize][language as usize],
        };
        let chosen = choices[self.rng.random_range(0..choices.len())];
        if chosen != last_line {
            return chosen;
        }
        // A bot does not say a phrase twice in a row.
        let after = choices.iter().position(|line| *line == chosen).map_or(0, |at| (at + 1) % choices.len());
        choices[after]
    }

    /// True with a probability of `percent` percent.
    fn happens(&mut self, percent: u32) -> bool {
        self.rng.random_range(0..100) < percent
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    const S: Nanos = 1_000_000_000;

    fn script(seed: u64, bots: u32, seconds: u64) -> Script {
        Script::draw(seed, bots, Manner::default(), Duration::from_secs(seconds))
    }

    fn senders(script: &Script) -> Vec<u32> {
        (0..script.messages())
            .map(|index| script.traffic().sender(index).expect("every message has a sender"))
            .collect()
    }

    #[test]
    fn the_seed_determines_the_conversation() {
        let (one, same, other) = (script(7, 20, 600), script(7, 20, 600), script(8, 20, 600));
        let all = |script: &Script| {
            (senders(script), script.offsets.to_vec(), script.lines.clone(), script.answers.clone())
        };
        assert_eq!(all(&one), all(&same));
        assert_ne!(all(&one), all(&other));
        // A longer conversation starts with the shorter one.
        let (longer, messages) = (all(&script(7, 20, 900)), one.lines.len());
        assert!(longer.0.len() > messages);
        assert_eq!(longer.2[..messages], one.lines[..]);
        assert_eq!(longer.1[..messages], one.offsets[..]);
        // Regression guard: results of different versions are only comparable while this holds.
        assert_eq!((&one.lines[..6], messages), (&[149, 148, 144, 151, 10, 234][..], 1093));
    }

    #[test]
    fn pauses_are_within_the_range_of_the_personality() {
        for (bots, seed) in [(1, 1), (5, 2), (100, 3)] {
            let script = script(seed, bots, 1_800);
            assert!(
                script.offsets.is_sorted() && script.offsets.last().is_some_and(|last| *last < 1_800 * S)
            );
            let mut last: HashMap<u32, Nanos> = HashMap::new();
            for (sender, at) in senders(&script).into_iter().zip(script.offsets.iter()) {
                let (shortest, longest) = Pauses::default().of(Personality::of(sender));
                match last.insert(sender, *at) {
                    Some(last) => {
                        let pause = at - last;
                        assert!((shortest..=longest).contains(&pause), "{bots} bots, {sender}: {pause} ns");
                    }
                    None => assert!(*at < longest, "{sender} starts too late"),
                }
            }
            assert_eq!(last.len() as u32, bots, "every bot says something");
        }
    }

    #[test]
    fn answers_follow_and_fit_the_message_they_answer() {
        let script = script(5, 30, 1_200);
        let mut answered = 0;
        for index in 0..script.messages() {
            let line = script.line(index).expect("a line");
            let Some(original) = script.answers(index) else {
                assert_ne!(line.topic, Topic::Reactions);
                continue;
            };
            answered += 1;
            let to = script.line(original).expect("a line");
            let delay = script.offsets[index as usize] - script.offsets[original as usize];
            assert!((S..=5 * S).contains(&delay), "{delay}");
            assert!(line.fits.is_none_or(|fits| fits == to.topic), "{line:?} to {to:?}");
            assert_eq!((line.topic, line.language), (Topic::Reactions, to.language));
            assert_ne!(script.traffic.sender(index), script.traffic.sender(original));
            assert!(script.answers(original).is_none());
        }
        let share = f64::from(answered) / f64::from(script.messages());
        assert!((0.2..0.4).contains(&share), "{share}");
        // A single bot has no other to answer.
        let alone = Script::draw(5, 1, Manner::default(), Duration::from_mins(10));
        assert!(alone.answers.iter().all(|answers| *answers == NONE) && alone.messages() > 20);
    }

    #[test]
    fn personalities_and_languages_shape_the_conversation() {
        let script = script(9, 100, 1_800);
        let mut said: HashMap<Personality, HashMap<Topic, u32>> = HashMap::new();
        let mut languages = [0_u32; 2];
        for (index, sender) in senders(&script).into_iter().enumerate() {
            let line = script.line(index as u32).expect("a line");
            *said.entry(Personality::of(sender)).or_default().entry(line.topic).or_default() += 1;
            languages[line.language as usize] += 1;
        }
        let sum = |personality| said[&personality].values().sum::<u32>();
        // The personalities with the shortest pauses say most.
        assert!(sum(Personality::Cheerleader) > sum(Personality::Friendly));
        assert!(sum(Personality::Friendly) > sum(Personality::Observer));
        let most = |personality| {
            let own = said[&personality].iter().filter(|(topic, _)| **topic != Topic::Reactions);
            *own.max_by_key(|(_, count)| **count).expect("some").0
        };
        assert_eq!(most(Personality::Gamer), Topic::Gaming);
        assert_eq!(most(Personality::Tester), Topic::ServerTest);
        assert!(languages[0].abs_diff(languages[1]) * 5 < script.messages(), "{languages:?}");
        for (languages, language) in
            [(Languages::Korean, Language::Korean), (Languages::English, Language::English)]
        {
            let manner = Manner { languages, ..Manner::default() };
            let script = Script::draw(9, 10, manner, Duration::from_mins(5));
            assert!(
                (0..script.messages())
                    .all(|index| script.line(index).is_some_and(|line| line.language == language))
            );
        }
    }

    #[test]
    fn the_conversation_scales_with_the_pauses() {
        let ms = Duration::from_millis(1);
        let pauses = Pauses { min: 5 * ms, max: 25 * ms };
        let short = Script::draw(4, 10, Manner { pauses, ..Manner::default() }, 600 * ms);
        let (short_of, as_many) = (short.messages(), script(4, 10, 600).messages());
        assert!(short_of.abs_diff(as_many) * 10 < as_many, "{short_of} and {as_many}");
        assert!((0..short.messages()).any(|index| short.answers(index).is_some()));
        let none = Pauses { min: Duration::from_nanos(1), max: Duration::from_nanos(1) };
        let fastest =
            Script::draw(4, 2, Manner { pauses: none, ..Manner::default() }, Duration::from_nanos(50));
        assert!((50..=100).contains(&fastest.messages()), "{}", fastest.messages());
    }

    #[test]
    fn words_are_compared_to_the_byte() {
        let script = script(5, 30, 300);
        let answer = (0..script.messages()).find(|index| script.answers(*index).is_some()).expect("some");
        for index in [0, answer] {
            let mut words = Vec::new();
            script.write_words(index, &mut words);
            let text = String::from_utf8(words.clone()).expect("text");
            let line = script.line(index).expect("a line").text;
            match script.answers(index) {
                Some(answered) => assert_eq!(text, format!(" ↩#{answered} {line}")),
                None => assert_eq!(text, format!(" {line}")),
            }
            assert!(script.has_words(index, &words) && !script.has_words(script.messages(), &words));
            for at in 0..words.len() {
                let mut damaged = words.clone();
                damaged[at] ^= 1;
                assert!(!script.has_words(index, &damaged) && !script.has_words(index, &words[..at]));
            }
            words.push(b' ');
            assert!(!script.has_words(index, &words));
        }
    }
}
