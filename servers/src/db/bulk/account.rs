//! Accounts to create, and the reasons for which one is refused.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};

use thiserror::Error;
use throng_core::config::Secret;
use throng_core::limits::{
    ID_CHARS_MAX, ID_CHARS_MIN, NAME_CHARS_MAX, NAME_CHARS_MIN, PASSWORD_BYTES_MAX, PASSWORD_CHARS_MIN,
};
use throng_core::wire::packets::Outcome;

use crate::dbagent::password::StoredHashError;
use crate::rules;

/// Reason why a row did not create its account as specified. Shows valid ids and no other text of
/// the file, which may be a password.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Problem {
    /// A sign-up would be refused too.
    #[error("{}", rule(*.0))]
    Rule(Outcome),
    /// The row and the header do not match.
    #[error(
        "it has {found} columns, and the header has {wanted}: values with commas, such as every password_hash, \
         go into quotation marks"
    )]
    Columns {
        /// Columns of the row.
        found: usize,
        /// Columns of the header.
        wanted: usize,
    },
    /// A line break in a value. No id, name or password has one, so a quotation mark is wrong.
    #[error(
        "a value goes on over the end of the line: look for a quotation mark that is missing or too many"
    )]
    LineBreak,
    /// The row is not UTF-8.
    #[error("it is not UTF-8: save the file as UTF-8")]
    Encoding,
    /// No password could be verified against the hash.
    #[error("the password_hash is not an argon2id hash as a PHC string: {0}")]
    Hash(StoredHashError),
    /// The account exists and is left unchanged.
    #[error("\"{0}\" is there already")]
    Exists(String),
    /// The account exists, with another password or hash.
    #[error("\"{0}\" is there already with another password")]
    Changed(String),
    /// The account exists, with another character.
    #[error("\"{0}\" is there already, with a character of another name")]
    OtherCharacter(String),
    /// The account exists without a character. Its password differs, so it may belong to another
    /// player.
    #[error("\"{0}\" is there already with another password, and is not given the character")]
    OtherPassword(String),
    /// The account exists now, without its character.
    #[error("\"{0}\" is left without a character: another one has the name")]
    NameTaken(String),
}

fn rule(outcome: Outcome) -> String {
    match outcome {
        Outcome::IdInvalid => format!(
            "the id has fewer than {ID_CHARS_MIN} characters, or some that are not for ids \
             (control or invisible ones, blanks at the ends, letters of scripts that do not mix)"
        ),
        Outcome::IdTooLong => format!("the id has more than {ID_CHARS_MAX} characters"),
        Outcome::PasswordInvalid => {
            format!(
                "the password has fewer than {PASSWORD_CHARS_MIN} characters, or some that are not for \
                 passwords (control, invisible or unassigned ones)"
            )
        }
        Outcome::PasswordTooLong => format!("the password has more than {PASSWORD_BYTES_MAX} bytes"),
        Outcome::NameInvalid => format!(
            "the name has fewer than {NAME_CHARS_MIN} characters, or some that are not for names \
             (control or invisible ones, blanks at the ends, letters of scripts that do not mix)"
        ),
        Outcome::NameTooLong => format!("the name has more than {NAME_CHARS_MAX} characters"),
        other => format!("it was refused ({other:?})"),
    }
}

/// Credential of an account.
#[derive(Debug, Clone)]
pub(in crate::db) enum Credential {
    /// A password, to be hashed.
    Password(Secret),
    /// The valid hash of a password.
    Hash(Secret),
}

/// An account to create. It satisfies the rules of a sign-up.
#[derive(Debug)]
pub(in crate::db) struct AccountSpec {
    pub(super) id: String,
    pub(super) id_key: String,
    pub(super) credential: Credential,
    pub(super) character: Option<CharacterName>,
}

/// Name of a character and its comparison key.
#[derive(Debug)]
pub(super) struct CharacterName {
    pub(super) name: String,
    pub(super) key: String,
}

impl AccountSpec {
    /// Checks an account against the rules. An empty `name` means no character.
    pub(in crate::db) fn new(id: &str, credential: Credential, name: &str) -> Result<Self, Problem> {
        let id_key = rules::check_id(id).map_err(Problem::Rule)?;
        if let Credential::Password(password) = &credential {
            rules::check_password(password.expose()).map_err(Problem::Rule)?;
        }
        let character = if name.is_empty() {
            None
        } else {
            let key = rules::check_name(name).map_err(Problem::Rule)?;
            Some(CharacterName { name: name.to_owned(), key })
        };
        Ok(Self { id: id.to_owned(), id_key, credential, character })
    }

    /// Returns the index of the thread that creates the account. Rows with the same id go to the
    /// same thread and keep their order, so the first of them gets the id. Of rows with the same
    /// name any may get it.
    pub(super) fn lane(&self, lanes: usize) -> usize {
        let mut hasher = DefaultHasher::new();
        self.id_key.hash(&mut hasher);
        (hasher.finish() % lanes as u64) as usize
    }
}

/// Row of a file or of a seed.
#[derive(Debug)]
pub(in crate::db) struct Row {
    /// Line in the file, or number in the seed.
    pub(in crate::db) number: u64,
    /// Share of the row in [`super::Plan::total`].
    pub(in crate::db) weight: u64,
    /// The account, or the reason why it is refused.
    pub(in crate::db) account: Result<AccountSpec, Problem>,
}
