//! A tab: its lines, and how far they are read.

use std::collections::VecDeque;
use std::fmt;

use crate::text::{clock, safe};
use crate::transcript::Transcript;

/// Lines that a tab keeps. Older ones are dropped; `/history` brings back what the server has.
pub const LINES_MAX: usize = 5_000;

/// Subject of a tab.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject {
    /// The whole chat.
    World,
    /// A channel.
    Channel(u32),
    /// Whispers with a user, by name: its number changes each time it enters.
    Whisper(String),
}

/// Kind of a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A message.
    Message {
        /// The sender's name.
        sender: String,
        /// True if this client has sent it.
        is_own: bool,
        /// True if it names this client's user.
        is_mention: bool,
        /// True for users nearby.
        is_nearby: bool,
    },
    /// Users that came and left, one after the other without a message in between.
    Crowd {
        /// Users that came.
        came: u32,
        /// Users that left.
        left: u32,
    },
    /// Something about the chat.
    Notice,
    /// Something that went wrong.
    Error,
}

/// A line of a tab. Its texts have no control characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// Local time of arrival, hours and minutes.
    pub clock: String,
    /// The kind.
    pub kind: Kind,
    /// The text.
    pub text: String,
}

impl fmt::Display for Line {
    /// Writes the line as it is written without a screen, but for the time.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            Kind::Message { sender, is_nearby, .. } => {
                write!(f, "{sender}{}: {}", if *is_nearby { " (nearby)" } else { "" }, self.text)
            }
            Kind::Crowd { .. } | Kind::Notice => write!(f, "* {}", self.text),
            Kind::Error => write!(f, "! {}", self.text),
        }
    }
}

/// A tab.
#[derive(Debug)]
pub struct Tab {
    /// The subject.
    pub subject: Subject,
    /// The title.
    pub title: String,
    /// The lines, the oldest first.
    pub lines: VecDeque<Line>,
    /// Messages since it was last open.
    pub unread: usize,
    /// Those of them that name this client's user, and all whispers.
    pub mentions: usize,
    /// Lines below the end of the screen; 0 follows what is new.
    pub scroll: usize,
    /// The text that was searched for, in lower case.
    pub found: Option<String>,
    /// Number of the earliest message that is known; 0 for none.
    pub(crate) earliest: u64,
    transcript: Transcript,
}

impl Tab {
    pub(crate) fn new(subject: Subject, title: String, transcript: Transcript) -> Self {
        Self {
            subject,
            title,
            lines: VecDeque::new(),
            unread: 0,
            mentions: 0,
            scroll: 0,
            found: None,
            earliest: 0,
            transcript,
        }
    }

    /// Returns the channel, or 0, of a tab that has a user list.
    pub fn room(&self) -> Option<u32> {
        match self.subject {
            Subject::World => Some(0),
            Subject::Channel(channel) => Some(channel),
            Subject::Whisper(_) => None,
        }
    }

    /// Scrolls up to the next line that has the text which was searched for, in the message or the
    /// sender's name. False if there is none.
    pub fn find_earlier(&mut self, end: usize) -> bool {
        let Some(text) = &self.found else { return false };
        let has_text = |line: &Line| {
            let sender = match &line.kind {
                Kind::Message { sender, .. } => sender.as_str(),
                Kind::Crowd { .. } | Kind::Notice | Kind::Error => "",
            };
            line.text.to_lowercase().contains(text) || sender.to_lowercase().contains(text)
        };
        let Some(at) = self.lines.range(..end).rposition(has_text) else { return false };
        self.scroll = self.lines.len() - 1 - at;
        true
    }

    fn push(&mut self, line: Line) {
        self.transcript.add(&self.title, &line);
        if self.lines.len() == LINES_MAX {
            self.lines.pop_front();
        }
        self.lines.push_back(line);
        // The lines on the screen stay where they are.
        if self.scroll > 0 {
            self.scroll = (self.scroll + 1).min(self.lines.len());
        }
    }

    pub(crate) fn say(&mut self, kind: Kind, text: impl Into<String>) {
        self.push(Line { clock: clock(), kind, text: text.into() });
    }

    /// Counts users that come and leave into one line.
    pub(crate) fn crowd(&mut self, name: &str, is_coming: bool) {
        let (came, left) = if is_coming { (1, 0) } else { (0, 1) };
        let verb = if is_coming { "came" } else { "left" };
        let line =
            Line { clock: clock(), kind: Kind::Crowd { came, left }, text: format!("{} {verb}", safe(name)) };
        let Some(Line { kind: Kind::Crowd { came, left }, text, clock: at }) = self.lines.back_mut() else {
            return self.push(line);
        };
        *if is_coming { &mut *came } else { &mut *left } += 1;
        (*text, *at) = (crowd_text(*came, *left), clock());
        self.transcript.add(&self.title, &line);
    }
}

fn crowd_text(came: u32, left: u32) -> String {
    match (came, left) {
        (came, 0) => format!("{came} came"),
        (0, left) => format!("{left} left"),
        (came, left) => format!("{came} came, {left} left"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crowd_is_one_line() {
        let mut tab = Tab::new(Subject::World, "World".into(), Transcript::default());
        tab.crowd("Bee", true);
        assert_eq!(tab.lines[0].text, "Bee came");
        tab.crowd("Ant\u{1b}[2J", true);
        tab.crowd("Bee", false);
        assert_eq!((tab.lines.len(), &*tab.lines[0].text), (1, "2 came, 1 left"));
        tab.say(Kind::Notice, "in between");
        tab.crowd("A\u{1b}nt", false);
        assert_eq!(tab.lines[2].text, "A\\u{1b}nt left");
    }

    #[test]
    fn a_tab_keeps_a_bounded_number_of_lines_and_the_place_of_its_reader() {
        let mut tab = Tab::new(Subject::World, "World".into(), Transcript::default());
        for number in 0..LINES_MAX + 10 {
            tab.say(Kind::Notice, number.to_string());
        }
        assert_eq!((tab.lines.len(), &*tab.lines[0].text, tab.scroll), (LINES_MAX, "10", 0));
        tab.scroll = 3;
        tab.say(Kind::Notice, "new");
        assert_eq!(tab.scroll, 4);
    }
}
