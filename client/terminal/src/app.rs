//! The state of the screen, and what keys and events do to it.

use std::time::Instant;

use ratatui::layout::Rect;
use throng_client::{Driver, Event, is_control};
use tui_input::{Input, InputRequest};
use zeroize::Zeroizing;

use crate::command::{self, COMMANDS, Command};
use crate::door::{Door, Field, Progress};
use crate::keys::Action;
use crate::layout::{Areas, Spot, spot};
use crate::model::{After, Model};
use crate::users::UserPane;

/// Events that are taken before keys are looked at again.
const EVENTS_PER_TURN: usize = 512;

/// Bytes of a message.
pub(crate) const TEXT_MAX: usize = 1_024;

/// Fields of a person that is not in the chat yet.
#[derive(Debug, Default)]
pub(crate) struct Form {
    pub(crate) id: Input,
    pub(crate) password: Input,
    pub(crate) name: Input,
    pub(crate) focus: usize,
    pub(crate) is_sign_up: bool,
    pub(crate) error: Option<(Option<Field>, String)>,
    pub(crate) status: String,
}

impl Form {
    /// Returns the fields in use, with their titles.
    pub(crate) fn fields(&self) -> Vec<(Field, &'static str, &Input)> {
        let mut fields =
            vec![(Field::Id, "Account", &self.id), (Field::Password, "Password", &self.password)];
        if self.is_sign_up {
            fields.push((Field::Name, "Character", &self.name));
        }
        fields
    }

    fn focused(&mut self) -> &mut Input {
        match self.focus {
            0 => &mut self.id,
            1 => &mut self.password,
            _ => &mut self.name,
        }
    }
}

/// Everything that is drawn.
#[derive(Default)]
pub(crate) struct App {
    pub(crate) model: Model,
    pub(crate) input: Input,
    /// Present until the person is in.
    pub(crate) form: Option<Form>,
    /// A pasted text of several lines, until Enter or another key decides about it.
    pub(crate) pasted: Option<String>,
    pub(crate) users: UserPane,
    pub(crate) door: Option<Door>,
    pub(crate) is_over: bool,
}

impl App {
    /// Takes what has happened in the chat. Returns true if there was anything.
    pub(crate) fn take_events(&mut self, driver: &Driver) -> bool {
        let now = Instant::now();
        if let Some(door) = &mut self.door {
            let progress = door.knock(driver, now);
            self.pass(progress);
        }
        let mut is_any = false;
        for _ in 0..EVENTS_PER_TURN {
            let Some(event) = driver.poll_event() else { break };
            is_any = true;
            self.take(event, driver, now);
        }
        is_any
    }

    pub(crate) fn take(&mut self, event: Event, driver: &Driver, now: Instant) {
        let progress = self.door.as_mut().map(|door| door.handle(&event, now));
        match progress {
            Some(progress) if self.form.is_some() => {
                let is_open = progress == Progress::Open;
                self.pass(progress);
                if is_open {
                    self.model.handle(event, driver);
                }
            }
            _ => self.model.handle(event, driver),
        }
    }

    fn pass(&mut self, progress: Progress) {
        let Some(form) = &mut self.form else { return };
        match progress {
            Progress::None => {}
            Progress::Waiting(text) => form.status = text,
            Progress::Refused(field, text) => {
                form.error = Some((field, text));
                form.focus = match field {
                    Some(Field::Id) => 0,
                    Some(Field::Name) if form.is_sign_up => 2,
                    _ => 1,
                };
                self.door = None;
            }
            Progress::Open => (self.form, self.door) = (None, None),
        }
    }

    /// Does what a key means, on a screen of this size.
    pub(crate) fn act(&mut self, action: Action, driver: &Driver, screen: Rect) {
        if action == Action::Quit {
            self.is_over = true;
        } else if self.form.is_some() {
            self.act_on_form(action);
        } else {
            self.act_on_chat(action, driver, screen);
        }
    }

    fn act_on_form(&mut self, action: Action) {
        let Some(form) = &mut self.form else { return };
        let count = form.fields().len();
        match action {
            Action::Edit(request) => {
                form.error = None;
                form.focused().handle(request);
            }
            Action::Paste(text) => insert(form.focused(), text.lines().next().unwrap_or_default()),
            Action::Complete => form.focus = (form.focus + 1) % count,
            Action::Back => form.focus = (form.focus + count - 1) % count,
            Action::Switch => {
                (form.is_sign_up, form.error) = (!form.is_sign_up, None);
                form.focus = form.focus.min(form.fields().len() - 1);
            }
            Action::Enter if form.focus + 1 < count => form.focus += 1,
            Action::Enter if self.door.is_none() => {
                let password = Zeroizing::new(form.password.value().to_owned());
                let (id, name) = (form.id.value(), form.name.value());
                (form.error, form.status) = (None, "one moment".into());
                self.door = Some(Door::new(id, password, name, form.is_sign_up, Instant::now()));
            }
            _ => {}
        }
    }

    fn act_on_chat(&mut self, action: Action, driver: &Driver, screen: Rect) {
        if let Some(text) = self.pasted.take() {
            // Enter sends the lines one by one; any other key drops them.
            if action == Action::Enter {
                for line in text.lines().filter(|line| !line.trim().is_empty()) {
                    self.model.carry_out(Command::Say(line.into()), driver);
                }
            }
            return;
        }
        match action {
            Action::Edit(request) => drop(self.input.handle(request)),
            Action::Paste(text) if text.trim_end().contains(['\n', '\r']) => {
                self.pasted = Some(text.replace("\r\n", "\n").replace('\r', "\n"));
            }
            Action::Paste(text) => insert(&mut self.input, text.trim_end_matches(['\n', '\r'])),
            Action::Enter => self.enter(driver),
            Action::Complete => self.complete(driver),
            Action::Next => self.model.show((self.model.open + 1) % self.model.tabs.len()),
            Action::Previous | Action::Back => {
                let count = self.model.tabs.len();
                self.model.show((self.model.open + count - 1) % count);
            }
            Action::Tab(at) => self.model.show(at),
            Action::Scroll(screens) => {
                let step = isize::try_from(screen.height.saturating_sub(6).max(1)).unwrap_or(1);
                self.scroll(screens * step);
            }
            Action::ScrollUsers(screens) => self.users.scroll_screens(screens),
            Action::Find if self.input.value().is_empty() && self.model.tab().found.is_none() => {
                insert(&mut self.input, "/find ");
            }
            Action::Find => self.model.search(""),
            Action::Clear => {
                let tab = self.model.tab_mut();
                (tab.found, tab.scroll) = (None, 0);
                self.users.search("");
            }
            Action::Wheel(rows, at) => match spot(&self.model, screen, at) {
                Spot::Users => self.users.scroll(-rows),
                Spot::Tab(_) | Spot::Elsewhere => self.scroll(rows),
            },
            Action::Click(at) => {
                if let Spot::Tab(tab) = spot(&self.model, screen, at) {
                    self.model.show(tab);
                }
            }
            Action::Switch | Action::Redraw | Action::Quit => {}
        }
    }

    /// Moves the lines: up is positive.
    fn scroll(&mut self, lines: isize) {
        let tab = self.model.tab_mut();
        let most = tab.lines.len().saturating_sub(1);
        tab.scroll = tab.scroll.saturating_add_signed(lines).min(most);
    }

    fn enter(&mut self, driver: &Driver) {
        // A line that is too long stays, so that it can be made shorter.
        if self.input.value().len() > TEXT_MAX {
            return;
        }
        let command = command::parse(&self.input.value_and_reset());
        if !matches!(command, Some(Ok(Command::Find(_) | Command::Users(_)))) {
            self.model.tab_mut().scroll = 0;
        }
        match command {
            None => {}
            Some(Err(error)) => self.model.error(error.to_string()),
            Some(Ok(Command::Users(part))) => self.users.search(&part),
            Some(Ok(command)) => {
                self.is_over |= self.model.carry_out(command, driver) == After::Quit;
            }
        }
    }

    /// Completes the word before the cursor: a command, or a user of the chat.
    fn complete(&mut self, driver: &Driver) {
        let before: String = self.input.value().chars().take(self.input.cursor()).collect();
        let word = before.rsplit(' ').next().unwrap_or_default();
        let Some(rest) = (if before == word && word.starts_with('/') {
            let names = COMMANDS.iter().map(|(usage, _)| usage.split(' ').next().unwrap_or(usage));
            completion(word, names.map(str::to_owned))
        } else {
            driver.command(|client, _| {
                let room = self.model.tab().room().unwrap_or(0);
                let roster = client.roster(room)?;
                completion(word, roster.iter().map(|(_, name)| name.to_string()))
            })
        }) else {
            return;
        };
        insert(&mut self.input, &rest);
    }

    /// Looks up the users that a screen of this size shows.
    pub(crate) fn look_up_users(&mut self, driver: &Driver, screen: Rect) {
        let Some(room) = self.model.tab().room() else { return };
        let rows = Areas::of(screen, &self.model).user_rows();
        driver.command(|client, _| self.users.look_up(client.roster(room), rows));
    }
}

fn insert(input: &mut Input, text: &str) {
    for c in text.chars().filter(|c| !is_control(*c)) {
        input.handle(InputRequest::InsertChar(c));
    }
}

/// Returns what is missing of the word: what all names that begin with it have in common, and a
/// blank after a whole one. Case is as typed.
fn completion(word: &str, names: impl Iterator<Item = String>) -> Option<String> {
    if word.is_empty() {
        return None;
    }
    let lower = word.to_lowercase();
    let mut found: Option<(String, bool)> = None;
    for name in names.filter(|name| name.to_lowercase().starts_with(&lower)) {
        let rest: String = name.chars().skip(word.chars().count()).collect();
        found = Some(match found {
            None => (rest, true),
            Some((common, _)) => {
                let same = common.chars().zip(rest.chars()).take_while(|(one, other)| one == other);
                (same.map(|(one, _)| one).collect(), false)
            }
        });
    }
    found.map(|(rest, is_whole)| if is_whole { rest + " " } else { rest })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_completed_as_far_as_names_agree() {
        let names = || ["Beekeeper", "Beehive", "바다", "바람"].into_iter().map(str::to_owned);
        assert_eq!(completion("bee", names()).as_deref(), Some(""));
        assert_eq!(completion("beek", names()).as_deref(), Some("eeper "));
        assert_eq!(completion("바", names()).as_deref(), Some(""));
        assert_eq!(completion("바다", names()).as_deref(), Some(" "));
        assert_eq!((completion("x", names()), completion("", names())), (None, None));
    }
}
