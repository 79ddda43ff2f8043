//! The way into the chat: sign-up, character, login.

use std::time::{Duration, Instant};

use throng_client::{Driver, Event, LoginStep, Outcome};
use zeroize::Zeroizing;

/// Pause before a request that was answered "try again later" is repeated.
const PAUSE: Duration = Duration::from_secs(1);

/// Field of a form that an error is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Field {
    /// The account's id.
    Id,
    /// The password.
    Password,
    /// The character's name.
    Name,
}

/// Progress of a [`Door`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress {
    /// Nothing new.
    None,
    /// A sentence for the user.
    Waiting(String),
    /// Closed: a sentence, and the field that it is about.
    Refused(Option<Field>, String),
    /// In the chat.
    Open,
}

/// A person that wants to come in.
#[derive(Debug)]
pub struct Door {
    id: String,
    password: Zeroizing<String>,
    name: String,
    /// The next request, and its time.
    next: Option<(LoginStep, Instant)>,
}

impl Door {
    /// Returns a door that has not been knocked at. Without a name, the character gets the id.
    pub fn new(id: &str, password: Zeroizing<String>, name: &str, is_new: bool, now: Instant) -> Self {
        let name = if name.is_empty() { id } else { name };
        let first = if is_new { LoginStep::SignUp } else { LoginStep::LogIn };
        Self { id: id.into(), password, name: name.into(), next: Some((first, now)) }
    }

    /// Makes the next request if it is due.
    pub fn knock(&mut self, driver: &Driver, now: Instant) -> Progress {
        let Some((step, _)) = self.next.take_if(|(_, at)| *at <= now) else { return Progress::None };
        let result = driver.command(|client, now| match step {
            LoginStep::SignUp => client.sign_up(&self.id, &self.password, now),
            LoginStep::CreateCharacter => client.create_character(&self.id, &self.password, &self.name, now),
            LoginStep::LogIn => client.log_in(&self.id, &self.password, now),
        });
        match result {
            Ok(()) => Progress::None,
            Err(error) => Progress::Refused(None, error.to_string()),
        }
    }

    /// Takes an event.
    pub fn handle(&mut self, event: &Event, now: Instant) -> Progress {
        match event {
            Event::SignedUp => self.next = Some((LoginStep::CreateCharacter, now)),
            Event::CharacterCreated => self.next = Some((LoginStep::LogIn, now)),
            Event::Refused { step: LoginStep::LogIn, outcome: Outcome::NoCharacter } => {
                self.next = Some((LoginStep::CreateCharacter, now));
            }
            Event::Refused { step, outcome: Outcome::TryAgainLater } => {
                self.next = Some((*step, now + PAUSE));
                return Progress::Waiting("the servers are busy: trying again".into());
            }
            Event::Refused { outcome, .. } => {
                let (field, sentence) = explain(*outcome);
                return Progress::Refused(field, sentence.into());
            }
            Event::Queued { position, wait } => {
                return Progress::Waiting(format!(
                    "number {position} in the queue, about {} s",
                    wait.as_secs().max(1)
                ));
            }
            Event::TooFast { wait } => {
                let seconds = wait.as_secs().max(1);
                return Progress::Refused(None, format!("too many attempts: wait {seconds} s"));
            }
            Event::Unreachable { reason } => {
                return Progress::Refused(None, format!("the server cannot be reached ({})", reason.name()));
            }
            Event::Entered { .. } => return Progress::Open,
            _ => {}
        }
        Progress::None
    }
}

/// Returns a sentence about a refusal, and the field that it is about.
fn explain(outcome: Outcome) -> (Option<Field>, &'static str) {
    match outcome {
        Outcome::BadCredentials => (Some(Field::Password), "unknown id or wrong password"),
        Outcome::AlreadyOnline => (Some(Field::Id), "this account is online already"),
        Outcome::IdTaken => (Some(Field::Id), "this id is taken, or looks like one that is"),
        Outcome::IdInvalid => (Some(Field::Id), "an id has 3 to 32 visible characters of one script"),
        Outcome::IdTooLong => (Some(Field::Id), "an id has at most 32 characters"),
        Outcome::PasswordInvalid => (Some(Field::Password), "a password has at least 8 characters"),
        Outcome::PasswordTooLong => (Some(Field::Password), "a password has at most 256 bytes"),
        Outcome::NameTaken => (Some(Field::Name), "this name is taken, or looks like one that is"),
        Outcome::NameInvalid => (Some(Field::Name), "a name has 2 to 24 visible characters of one script"),
        Outcome::NameTooLong => (Some(Field::Name), "a name has at most 24 characters"),
        Outcome::NameReserved => (Some(Field::Name), "the server keeps this name for its staff"),
        Outcome::CharacterExists => (Some(Field::Name), "the account has a character already"),
        Outcome::ClaimLost => (None, "another login of the account came in between"),
        _ => (None, "the server could not do it"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_without_a_character_gets_one() {
        let now = Instant::now();
        let mut door = Door::new("bee", Zeroizing::new("secret".into()), "", false, now);
        let refused = Event::Refused { step: LoginStep::LogIn, outcome: Outcome::NoCharacter };
        assert_eq!(door.handle(&refused, now), Progress::None);
        assert_eq!((door.next, &*door.name), (Some((LoginStep::CreateCharacter, now)), "bee"));
        assert_eq!(door.handle(&Event::CharacterCreated, now), Progress::None);
        assert_eq!(door.next, Some((LoginStep::LogIn, now)));
    }

    #[test]
    fn refusals_name_their_field_and_busy_servers_are_asked_again() {
        let now = Instant::now();
        let mut door = Door::new("bee", Zeroizing::new("secret".into()), "Bee", true, now);
        let refused = |outcome| Event::Refused { step: LoginStep::SignUp, outcome };
        let Progress::Refused(field, _) = door.handle(&refused(Outcome::IdTaken), now) else { panic!() };
        assert_eq!(field, Some(Field::Id));
        assert!(matches!(door.handle(&refused(Outcome::TryAgainLater), now), Progress::Waiting(_)));
        assert_eq!(door.next, Some((LoginStep::SignUp, now + PAUSE)));
    }
}
