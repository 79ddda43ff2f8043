//! The chat as a person sees it, without a screen: tabs with their lines and unread counts.

use std::time::{Duration, Instant};

use throng_client::{Audience, Client, CommandError, Driver, Event, Message, Outcome, Stamp};

use crate::command::{COMMANDS, Command};
use crate::tab::{Kind, LINES_MAX, Line, Subject, Tab};
use crate::text::safe;
use crate::transcript::Transcript;

/// Tabs that stay open. A further one closes the whispers that were opened first: others decide how
/// many there are.
pub const TABS_MAX: usize = 64;

/// Messages that `/history` requests at once.
const HISTORY_PAGE: u8 = 50;

/// Names that `/who` shows.
const WHO_MAX: usize = 200;

/// State of the connection, for the status line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Not in the chat.
    Out,
    /// On the way back into the chat after the place was lost.
    Returning,
    /// In the chat.
    In,
    /// The connection is lost since this time.
    Away(Instant),
}

/// Consequence of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum After {
    /// Go on.
    Stay,
    /// End the program.
    Quit,
}

/// The chat as a person sees it.
#[derive(Debug)]
pub struct Model {
    /// The tabs; the first is the world's.
    pub tabs: Vec<Tab>,
    /// Index of the tab that is open.
    pub open: usize,
    /// State of the connection.
    pub state: State,
    /// Name of the own user; empty before the first entry.
    pub name: String,
    /// The latest round trip.
    pub round_trip: Option<Duration>,
    /// The latest return: its time, and the time away.
    pub returned: Option<(Instant, Duration)>,
    /// Messages missed since the connection was last lost.
    pub missed: u64,
    /// Channels to make if they do not exist.
    wished: Vec<String>,
    /// Channels that were lost with the place, to be joined again after a new login.
    lost: Vec<String>,
    /// Round trips that the person has asked for.
    asked: u32,
    /// The file of all lines.
    pub transcript: Transcript,
}

impl Default for Model {
    fn default() -> Self {
        Self::new(Transcript::default())
    }
}

impl Model {
    /// Returns a model that is not in the chat yet.
    pub fn new(transcript: Transcript) -> Self {
        Self {
            tabs: vec![Tab::new(Subject::World, "World".into(), transcript.clone())],
            open: 0,
            state: State::Out,
            name: String::new(),
            round_trip: None,
            returned: None,
            missed: 0,
            wished: Vec::new(),
            lost: Vec::new(),
            asked: 0,
            transcript,
        }
    }

    /// Returns the tab that is open.
    pub fn tab(&self) -> &Tab {
        &self.tabs[self.open]
    }

    /// Returns the tab that is open.
    pub fn tab_mut(&mut self) -> &mut Tab {
        &mut self.tabs[self.open]
    }

    /// Opens a tab, and counts it as read.
    pub fn show(&mut self, at: usize) {
        self.open = at.min(self.tabs.len() - 1);
        let tab = self.tab_mut();
        (tab.unread, tab.mentions) = (0, 0);
    }

    /// Adds a sentence to the open tab.
    pub fn notice(&mut self, text: impl Into<String>) {
        self.tab_mut().say(Kind::Notice, text);
    }

    /// Adds a complaint to the open tab.
    pub fn error(&mut self, text: impl Into<String>) {
        self.tab_mut().say(Kind::Error, text);
    }

    fn find(&mut self, subject: &Subject) -> Option<usize> {
        self.tabs.iter().position(|tab| match (&tab.subject, subject) {
            (Subject::Whisper(one), Subject::Whisper(other)) => one.eq_ignore_ascii_case(other),
            (one, other) => one == other,
        })
    }

    fn tab_of(&mut self, subject: Subject, title: &str) -> usize {
        if let Some(at) = self.find(&subject) {
            return at;
        }
        let is_whisper = |tab: &Tab| matches!(tab.subject, Subject::Whisper(_));
        let mut others = self.tabs.iter().enumerate().filter(|(at, _)| *at != self.open);
        if self.tabs.len() >= TABS_MAX
            && let Some(at) = others.find(|(_, tab)| is_whisper(tab)).map(|(at, _)| at)
        {
            self.tabs.remove(at);
            self.open -= usize::from(at < self.open);
        }
        self.tabs.push(Tab::new(subject, safe(title).into_owned(), self.transcript.clone()));
        self.tabs.len() - 1
    }

    fn room(&mut self, room: u32) -> Option<&mut Tab> {
        let subject = if room == 0 { Subject::World } else { Subject::Channel(room) };
        self.find(&subject).map(|at| &mut self.tabs[at])
    }

    /// Takes an event of the client.
    pub fn handle(&mut self, event: Event, driver: &Driver) {
        match event {
            Event::Entered { user, head_count } => {
                (self.name, self.state) = (user.name.to_string(), State::In);
                let text = format!("you are in as {}, one of {head_count}", safe(&user.name));
                self.tabs[0].say(Kind::Notice, text);
                for name in std::mem::take(&mut self.lost) {
                    self.join(name, driver);
                }
            }
            Event::Away { reason } => {
                (self.state, self.missed) = (State::Away(Instant::now()), 0);
                self.notice(format!("the connection is lost ({}): trying to resume", reason.name()));
            }
            Event::Resumed { after } => {
                (self.state, self.returned) = (State::In, Some((Instant::now(), after)));
                self.notice(format!("back after {:.1} s", after.as_secs_f64()));
            }
            Event::Left { reason, returns } => {
                self.state = if returns { State::Returning } else { State::Out };
                let end = if returns { ": logging in again" } else { "" };
                self.notice(format!("you have left the chat ({}){end}", reason.name()));
                self.leave_channels(returns);
            }
            Event::Unreachable { reason } => {
                self.error(format!("the server cannot be reached ({})", reason.name()));
            }
            Event::Refused { outcome, .. } => self.error(format!("the login is refused: {}", outcome.name())),
            Event::Queued { position, .. } => self.notice(format!("number {position} in the queue")),
            Event::TooFast { wait } => self.error(format!("too fast: wait {} ms", wait.as_millis())),
            Event::Message(message) => self.message(&message, driver),
            Event::History { room, messages, more } => self.history(room, &messages, more),
            Event::MessageRefused { outcome, wait, .. } => self.error(match outcome {
                Some(outcome) => format!("not delivered: {}", explain(outcome)),
                None => format!("not delivered, too fast: wait {} ms", wait.as_millis()),
            }),
            Event::MessageUncertain { stamp: Stamp(_) } => {
                self.error("a message of yours may not have been delivered");
            }
            Event::Missed { audience, count } => {
                self.missed += count;
                let room = if let Audience::Channel(channel) = audience { channel } else { 0 };
                if let Some(tab) = self.room(room) {
                    tab.say(Kind::Notice, format!("{count} messages missed"));
                }
            }
            Event::UserEntered { room, user } => {
                if let Some(tab) = self.room(room) {
                    tab.crowd(&user.name, true);
                }
            }
            Event::UserLeft { room, user } => {
                if let Some(tab) = self.room(room) {
                    tab.crowd(&user.name, false);
                }
            }
            Event::Joined { channel, name, head_count } => {
                self.joined(channel, &name, head_count);
            }
            Event::JoinRefused { name, outcome } => self.not_joined(&name, outcome, driver),
            Event::ChannelLeft { channel, outcome } => {
                if let Some(at) = self.find(&Subject::Channel(channel)) {
                    let tab = self.tabs.remove(at);
                    self.show(if self.open >= at { self.open.saturating_sub(1) } else { self.open });
                    let kicked = if outcome == Outcome::Kicked { ": its owner has kicked you" } else { "" };
                    self.notice(format!("you have left {}{kicked}", tab.title));
                }
            }
            Event::KickAnswered { outcome: Outcome::Ok, .. } => self.notice("kicked"),
            Event::KickAnswered { outcome, .. } => self.error(explain(outcome)),
            Event::Channels { channels, more } => {
                for info in &channels {
                    self.notice(format!("#{}, {} users", safe(&info.name), info.head_count));
                }
                if let (true, Some(last)) = (more, channels.last().map(|info| info.channel)) {
                    let result = driver.command(|client, now| client.list_channels(last, now));
                    self.report(result);
                } else if channels.is_empty() {
                    self.notice("no channels: /join makes one");
                }
            }
            Event::Pong { round_trip } => {
                self.round_trip = Some(round_trip);
                if self.asked > 0 {
                    self.asked -= 1;
                    self.notice(format!("round trip {:.1} ms", round_trip.as_secs_f64() * 1e3));
                }
            }
            _ => {}
        }
    }

    fn join(&mut self, name: String, driver: &Driver) {
        let result = driver.command(|client, now| client.join_channel(&name, now));
        self.wished.push(name);
        self.report(result);
    }

    /// Searches the open tab upwards: for a text from its end, or on from where it stands.
    pub fn search(&mut self, text: &str) {
        let tab = self.tab_mut();
        let mut end = tab.lines.len();
        if text.is_empty() {
            end -= (tab.scroll + 1).min(end);
        } else {
            tab.found = Some(text.to_lowercase());
        }
        if tab.found.is_none() {
            return self.error("usage: /find TEXT");
        }
        if !tab.find_earlier(end) {
            let earlier = if text.is_empty() { "earlier" } else { "here" };
            self.notice(format!("nothing {earlier}: /history brings more from the server"));
        }
    }

    /// Channels are left with the chat. Those of a client that returns are joined again, and keep
    /// their tabs: a text that is typed must not go elsewhere.
    fn leave_channels(&mut self, returns: bool) {
        if returns {
            let channels = self.tabs.iter().filter(|tab| matches!(tab.subject, Subject::Channel(_)));
            self.lost = channels.filter_map(|tab| tab.title.strip_prefix('#')).map(str::to_owned).collect();
        } else {
            self.lost.clear();
            self.tabs.retain(|tab| !matches!(tab.subject, Subject::Channel(_)));
            self.show(self.open);
        }
    }

    fn joined(&mut self, channel: u32, name: &str, head_count: u32) {
        self.wished.retain(|wish| !wish.eq_ignore_ascii_case(name));
        let title = safe(&format!("#{name}")).into_owned();
        let is_here = |tab: &Tab| matches!(tab.subject, Subject::Channel(_)) && tab.title == title;
        let known = self.tabs.iter().position(is_here);
        let subject = Subject::Channel(channel);
        let is_back = known.is_some_and(|at| self.tabs[at].subject != subject);
        let at = known.unwrap_or_else(|| self.tab_of(subject.clone(), &title));
        self.tabs[at].subject = subject;
        self.tabs[at].say(Kind::Notice, format!("you are in {title}, one of {head_count}"));
        if !is_back {
            self.show(at);
        }
    }

    fn not_joined(&mut self, name: &str, outcome: Outcome, driver: &Driver) {
        let wish = self.wished.iter().position(|wish| wish.eq_ignore_ascii_case(name));
        let wish = wish.map(|at| self.wished.remove(at));
        if let (Outcome::NoSuchChannel, Some(name)) = (outcome, wish) {
            let result = driver.command(|client, now| client.create_channel(&name, now));
            self.report(result);
            return;
        }
        self.error(format!("cannot join #{}: {}", safe(name), explain(outcome)));
    }

    fn message(&mut self, message: &Message, driver: &Driver) {
        let is_own = message.own.is_some();
        let at = match message.audience {
            Audience::World | Audience::Nearby => 0,
            Audience::Channel(channel) => match self.find(&Subject::Channel(channel)) {
                Some(at) => at,
                None => return,
            },
            Audience::Whisper(target) => {
                let receiver = || {
                    let name = driver.command(|client, _| name_of(client, target));
                    name.unwrap_or_else(|| format!("user {target}"))
                };
                let name = if is_own { receiver() } else { message.sender.name.to_string() };
                self.tab_of(Subject::Whisper(name.clone()), &name)
            }
        };
        let is_mention = !is_own && is_mention(&message.text, &self.name);
        let is_open = self.open == at;
        let tab = &mut self.tabs[at];
        if message.audience != Audience::Nearby && tab.earliest == 0 {
            tab.earliest = message.sequence;
        }
        tab.say(kind_of(message, is_mention), safe(&message.text));
        if !is_open && !is_own {
            tab.unread += 1;
            tab.mentions += usize::from(is_mention || matches!(tab.subject, Subject::Whisper(_)));
        }
    }

    /// Puts earlier messages before the lines that are there.
    fn history(&mut self, room: u32, messages: &[Message], more: bool) {
        let name = self.name.clone();
        let Some(tab) = self.room(room) else { return };
        let Some(first) = messages.first() else {
            tab.say(Kind::Notice, "nothing earlier is kept");
            return;
        };
        let known = tab.earliest;
        tab.earliest = if known == 0 { first.sequence } else { first.sequence.min(known) };
        // Servers keep no time of the day with a message.
        let at = "--:--";
        let earlier = messages.iter().filter(|message| known == 0 || message.sequence < known);
        for message in earlier.rev() {
            if tab.lines.len() == LINES_MAX {
                break;
            }
            let kind = kind_of(message, is_mention(&message.text, &name));
            tab.lines.push_front(Line { clock: at.into(), kind, text: safe(&message.text).into_owned() });
        }
        let text =
            if more { "earlier messages: more with /history" } else { "earlier messages: these are all" };
        if tab.lines.len() < LINES_MAX {
            tab.lines.push_front(Line { clock: at.into(), kind: Kind::Notice, text: text.into() });
        }
    }

    fn report(&mut self, result: Result<(), CommandError>) {
        if let Err(error) = result {
            self.error(error.to_string());
        }
    }

    /// Carries out a command.
    pub fn carry_out(&mut self, command: Command, driver: &Driver) -> After {
        let room = self.tab().room();
        let result = match command {
            Command::Say(text) => {
                let audience = match self.tab().subject.clone() {
                    Subject::World => Some(Audience::World),
                    Subject::Channel(channel) => Some(Audience::Channel(channel)),
                    Subject::Whisper(name) => self.user(&name, driver).map(Audience::Whisper),
                };
                let Some(audience) = audience else { return After::Stay };
                driver.command(|client, now| client.say(audience, &text, now)).map(drop)
            }
            Command::Nearby(text) => {
                driver.command(|client, now| client.say(Audience::Nearby, &text, now)).map(drop)
            }
            Command::Whisper(name, text) => {
                let Some(user) = self.user(&name, driver) else { return After::Stay };
                if text.is_empty() {
                    let at = self.tab_of(Subject::Whisper(name.clone()), &name);
                    self.show(at);
                    return After::Stay;
                }
                driver.command(|client, now| client.say(Audience::Whisper(user), &text, now)).map(drop)
            }
            Command::Join(name) => {
                self.join(name.trim_start_matches('#').to_owned(), driver);
                Ok(())
            }
            Command::Leave => match (self.tab().subject.clone(), self.open) {
                (Subject::Channel(channel), _) => {
                    driver.command(|client, now| client.leave_channel(channel, now))
                }
                (Subject::Whisper(_), at) => {
                    self.tabs.remove(at);
                    self.show(at.saturating_sub(1));
                    Ok(())
                }
                (Subject::World, _) => {
                    self.error("this is the whole chat: /quit leaves it");
                    Ok(())
                }
            },
            Command::Kick(name) => match (room, self.user(&name, driver)) {
                (Some(channel @ 1..), Some(user)) => {
                    driver.command(|client, now| client.kick(channel, user, now))
                }
                (Some(1..), None) => Ok(()),
                _ => {
                    self.error("no one is kicked from here: open a channel of yours");
                    Ok(())
                }
            },
            Command::Move(x, y) => driver.command(|client, now| client.move_to(x, y, now)),
            // On a screen the list at the right shows them instead.
            Command::Who(part) | Command::Users(part) => {
                self.who(room.unwrap_or(0), &part, driver);
                Ok(())
            }
            Command::List => driver.command(|client, now| client.list_channels(0, now)),
            Command::History => {
                if let Some(room) = room {
                    let before = self.tab().earliest;
                    driver.command(|client, now| client.request_history(room, before, HISTORY_PAGE, now))
                } else {
                    self.error("whispers have no history");
                    Ok(())
                }
            }
            Command::Ping => {
                self.asked += 1;
                driver.command(Client::ping)
            }
            Command::Find(text) => {
                self.search(&text);
                Ok(())
            }
            Command::Help => {
                for (usage, meaning) in COMMANDS {
                    self.notice(format!("{usage}: {meaning}"));
                }
                Ok(())
            }
            Command::Quit => return After::Quit,
        };
        self.report(result);
        After::Stay
    }

    /// Returns a user of the chat by its name, or says that there is none.
    fn user(&mut self, name: &str, driver: &Driver) -> Option<u32> {
        let found = driver.command(|client, _| {
            let users = client.roster(0)?;
            users.iter().find(|(_, found)| found.eq_ignore_ascii_case(name)).map(|(id, _)| id)
        });
        if found.is_none() {
            self.error(format!("{} is not in the chat", safe(name)));
        }
        found
    }

    fn who(&mut self, room: u32, part: &str, driver: &Driver) {
        let part = part.to_lowercase();
        let (count, names) = driver.command(|client, _| {
            let Some(roster) = client.roster(room) else { return (0, Vec::new()) };
            let names = roster
                .iter()
                .map(|(_, name)| name)
                .filter(|name| part.is_empty() || name.to_lowercase().contains(&part));
            (roster.len(), names.take(WHO_MAX).map(|name| safe(name).into_owned()).collect())
        });
        self.notice(format!("{count} users here; {}", names.join(", ")));
    }
}

/// Returns the name of a user of the chat.
fn name_of(client: &Client, user: u32) -> Option<String> {
    client.roster(0)?.name(user).map(ToString::to_string)
}

fn kind_of(message: &Message, is_mention: bool) -> Kind {
    Kind::Message {
        sender: safe(&message.sender.name).into_owned(),
        is_own: message.own.is_some(),
        is_mention,
        is_nearby: message.audience == Audience::Nearby,
    }
}

/// Returns true if a text has a name as a word, in whatever case.
fn is_mention(text: &str, name: &str) -> bool {
    if name.is_empty() {
        return false;
    }
    let (text, name) = (text.to_lowercase(), name.to_lowercase());
    let is_edge = |c: Option<char>| c.is_none_or(|c| !c.is_alphanumeric());
    text.match_indices(&name).any(|(at, found)| {
        is_edge(text[..at].chars().next_back()) && is_edge(text[at + found.len()..].chars().next())
    })
}

fn explain(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::NoSuchChannel => "there is no such channel",
        Outcome::NotAMember => "not a member",
        Outcome::TooManyChannels => "there are too many channels, or you are in too many",
        Outcome::NoSuchUser => "there is no such user",
        Outcome::NotTheOwner => "only the channel's owner may do this",
        Outcome::NoPosition => "you have no position: /move X Y",
        Outcome::TextInvalid => "the text has control characters",
        Outcome::NameTaken => "there is a channel of this name, or one that looks like it",
        Outcome::NameInvalid => "a channel's name has 2 to 32 visible characters of one script",
        Outcome::NameTooLong => "a channel's name has at most 32 characters",
        Outcome::NameReserved => "the server keeps this name for its staff",
        other => other.name(),
    }
}

#[cfg(test)]
mod tests {
    use throng_client::CloseReason;

    use super::*;

    #[test]
    fn names_are_mentioned_as_words() {
        assert!(
            is_mention("hi BEE!", "Bee") && is_mention("bee", "Bee") && is_mention("안녕 벌아, 벌", "벌")
        );
        assert!(!is_mention("beehive", "Bee") && !is_mention("hi", "") && !is_mention("frisbee", "bee"));
    }

    #[test]
    fn whispers_of_ever_new_users_close_the_first_ones() {
        let mut model = Model::default();
        let hive = model.tab_of(Subject::Channel(1), "#hive");
        let friend = model.tab_of(Subject::Whisper("Bee".into()), "Bee");
        model.show(friend);
        for number in 0..10 * TABS_MAX {
            let name = format!("stranger {number}");
            let at = model.tab_of(Subject::Whisper(name.clone()), &name);
            assert_eq!(model.tabs[at].title, name);
        }
        assert_eq!(model.tabs.len(), TABS_MAX);
        assert_eq!((&*model.tab().title, &*model.tabs[hive].title), ("Bee", "#hive"));
    }

    #[test]
    fn a_client_that_returns_keeps_its_tabs_and_the_one_that_is_open() {
        let driver = Driver::start(throng_client::Settings::new("127.0.0.1:1", [0; 32])).unwrap();
        let mut model = Model::default();
        model.joined(1, "hive", 1);
        model.joined(2, "nest", 1);
        model.show(1);
        model.handle(Event::Left { reason: CloseReason::PlaceLost, returns: true }, &driver);
        assert_eq!((&*model.lost, model.open), (&["hive".to_owned(), "nest".to_owned()][..], 1));
        model.joined(7, "nest", 1);
        model.joined(8, "hive", 3);
        let subjects: Vec<_> = model.tabs.iter().map(|tab| tab.subject.clone()).collect();
        assert_eq!(subjects, [Subject::World, Subject::Channel(8), Subject::Channel(7)]);
        assert_eq!((model.open, &*model.tab().title), (1, "#hive"));
        model.handle(Event::Left { reason: CloseReason::Goodbye, returns: false }, &driver);
        assert_eq!((model.tabs.len(), model.open, model.lost.len()), (1, 0, 0));
    }

    #[test]
    fn a_search_goes_up_from_line_to_line() {
        let mut model = Model::default();
        for text in ["one bee", "ant", "Two BEES", "wasp"] {
            model.notice(text);
        }
        model.search("bee");
        assert_eq!(model.tab().scroll, 1);
        model.search("");
        assert_eq!(model.tab().scroll, 3);
        model.search("");
        assert_eq!((model.tab().lines.len(), model.tab().scroll), (5, 4), "it stays, and says so");
        model.search("no such text");
        assert!(model.tab().lines[5].text.starts_with("nothing here"));
    }

    #[test]
    fn all_lines_are_kept_in_a_file_of_their_own() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let (transcript, mode) = Transcript::append_to(&path).unwrap();
        assert_eq!(mode & 0o777, 0o600);
        let mut model = Model::new(transcript);
        for name in ["Bee", "A\u{1b}nt"] {
            model.tabs[0].crowd(name, true);
        }
        model.error("too fast");
        model.transcript.flush().unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        let lines: Vec<_> = text.lines().map(|line| line.split_once(" [").unwrap().1).collect();
        assert_eq!(lines, ["World] * Bee came", "World] * A\\u{1b}nt came", "World] ! too fast"]);
    }
}
