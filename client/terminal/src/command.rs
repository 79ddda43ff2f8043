//! Lines that a person types: text, or a command that begins with a slash.

use thiserror::Error;

/// A line that was entered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Say this in the tab that is open.
    Say(String),
    /// Join a channel, or make it.
    Join(String),
    /// Leave the channel that is open, or close a tab of whispers.
    Leave,
    /// Whisper to a user; without a text, open a tab for it.
    Whisper(String, String),
    /// Say this to the users nearby.
    Nearby(String),
    /// Kick a user from the channel that is open.
    Kick(String),
    /// Set the position.
    Move(i32, i32),
    /// List the users whose names have this in them.
    Who(String),
    /// List the channels.
    List,
    /// Earlier messages of the tab that is open.
    History,
    /// Search the lines of the tab that is open; without a text, go on to the next one above.
    Find(String),
    /// In the list beside the lines, show the users whose names have this in them.
    Users(String),
    /// Measure the round trip.
    Ping,
    /// Show the commands.
    Help,
    /// Leave the chat and end.
    Quit,
}

/// Reasons for which a line is none of [`Command`].
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum CommandError {
    /// There is no such command.
    #[error("no command /{0}: /help lists them. To say it, begin with two slashes")]
    Unknown(String),
    /// A word is missing, or is not what it should be.
    #[error("usage: {0}")]
    Usage(&'static str),
}

/// Commands with their arguments and meanings, for help and completion.
pub const COMMANDS: &[(&str, &str)] = &[
    ("/join NAME", "join a channel, or make it"),
    ("/leave", "leave this channel, or close this tab"),
    ("/w NAME TEXT", "whisper to a user"),
    ("/near TEXT", "say something to the users nearby"),
    ("/move X Y", "set your position"),
    ("/who [PART]", "list the users here"),
    ("/list", "list the channels"),
    ("/kick NAME", "kick a user from this channel, if it is yours"),
    ("/history", "earlier messages"),
    ("/find [TEXT]", "search the lines here, from the last one up; again: the next one"),
    ("/users [PART]", "show only these users in the list at the right"),
    ("/ping", "measure the round trip"),
    ("/help", "this list"),
    ("/quit", "leave the chat"),
];

fn usage(name: &str) -> CommandError {
    let found = COMMANDS.iter().find(|(usage, _)| usage[1..].split(' ').next() == Some(name));
    CommandError::Usage(found.map_or("/help", |(usage, _)| usage))
}

/// Parses a line. None for an empty one.
pub fn parse(line: &str) -> Option<Result<Command, CommandError>> {
    let line = line.trim_end_matches(['\r', '\n']);
    if line.trim().is_empty() {
        return None;
    }
    let Some(words) = line.strip_prefix('/') else { return Some(Ok(Command::Say(line.into()))) };
    if words.starts_with('/') {
        return Some(Ok(Command::Say(words.into())));
    }
    let (name, rest) = words.split_once(' ').unwrap_or((words, ""));
    let rest = rest.trim();
    let needed = |make: fn(String) -> Command| {
        if rest.is_empty() { Err(usage(name)) } else { Ok(make(rest.into())) }
    };
    Some(match name {
        "join" | "j" => needed(Command::Join),
        "leave" | "close" => Ok(Command::Leave),
        "w" | "msg" | "whisper" => whisper(rest),
        "near" => needed(Command::Nearby),
        "kick" => needed(Command::Kick),
        "move" => position(rest).ok_or_else(|| usage("move")),
        "who" | "names" => Ok(Command::Who(rest.into())),
        "list" => Ok(Command::List),
        "history" => Ok(Command::History),
        "find" => Ok(Command::Find(rest.into())),
        "users" => Ok(Command::Users(rest.into())),
        "ping" => Ok(Command::Ping),
        "help" => Ok(Command::Help),
        "quit" | "exit" => Ok(Command::Quit),
        _ => Err(CommandError::Unknown(name.into())),
    })
}

/// A name with blanks stands in quotes.
fn whisper(rest: &str) -> Result<Command, CommandError> {
    let (name, text) = match rest.strip_prefix('"').and_then(|rest| rest.split_once('"')) {
        Some(parts) => parts,
        None => rest.split_once(' ').unwrap_or((rest, "")),
    };
    if name.is_empty() {
        return Err(usage("w"));
    }
    Ok(Command::Whisper(name.into(), text.trim().into()))
}

fn position(rest: &str) -> Option<Command> {
    let (x, y) = rest.split_once(' ')?;
    Some(Command::Move(x.parse().ok()?, y.trim().parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_text_or_commands() {
        let ok = |line| parse(line).unwrap().unwrap();
        assert_eq!(parse("  \n"), None);
        assert_eq!(ok("hello /join x\n"), Command::Say("hello /join x".into()));
        assert_eq!(ok("//etc/passwd"), Command::Say("/etc/passwd".into()));
        assert_eq!(ok("/join  bee hive "), Command::Join("bee hive".into()));
        assert_eq!(ok("/w Bee  hi there"), Command::Whisper("Bee".into(), "hi there".into()));
        assert_eq!(ok("/w \"Queen Bee\" hi"), Command::Whisper("Queen Bee".into(), "hi".into()));
        assert_eq!(ok("/w Bee"), Command::Whisper("Bee".into(), String::new()));
        assert_eq!(ok("/move -3 70"), Command::Move(-3, 70));
        assert_eq!(ok("/who"), Command::Who(String::new()));
    }

    #[test]
    fn wrong_commands_say_what_is_right() {
        let error = |line| parse(line).unwrap().unwrap_err().to_string();
        assert_eq!(error("/join"), "usage: /join NAME");
        assert_eq!(error("/w"), "usage: /w NAME TEXT");
        assert_eq!(error("/move 1"), "usage: /move X Y");
        assert!(error("/frob").starts_with("no command /frob"));
    }

    #[test]
    fn every_command_of_the_list_is_known() {
        for (usage, _) in COMMANDS {
            let words: Vec<&str> = usage.split(' ').collect();
            let line = match words[0] {
                "/move" => "/move 1 2".into(),
                _ => usage.replace(['[', ']'], ""),
            };
            assert!(parse(&line).unwrap().is_ok(), "{line}");
        }
    }
}
