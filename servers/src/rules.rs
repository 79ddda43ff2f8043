//! Rules for ids, passwords, and names of characters and channels, and their comparison keys.
//!
//! The rules are here and not in a database, so that every engine applies the same ones. Ids and
//! names are stored exactly as typed, beside a key that the databases compare byte for byte. Names
//! that look alike have one key ([`key`]), so that no player can pass for another.
//!
//! docs/protocol.md states the rules for users, with examples that the tests read.

use std::collections::HashSet;

use throng_core::limits::{
    CHANNEL_CHARS_MAX, CHANNEL_CHARS_MIN, ID_CHARS_MAX, ID_CHARS_MIN, NAME_CHARS_MAX, NAME_CHARS_MIN,
};
use throng_core::wire::packets::Outcome;
use unicode_properties::{GeneralCategoryGroup, UnicodeGeneralCategory};

mod names;
mod passwords;
mod skeleton;
#[cfg(test)]
mod tests;

pub use passwords::{Password, check_password};
pub use skeleton::{KEY_CHARS_MAX, key};

/// Returns the key of a permitted id. Fails with IdInvalid or IdTooLong.
pub fn check_id(id: &str) -> Result<String, Outcome> {
    check_text(id, ID_CHARS_MIN, ID_CHARS_MAX, Outcome::IdInvalid, Outcome::IdTooLong)
}

/// Returns the key of a permitted character name. Fails with NameInvalid or NameTooLong.
pub fn check_name(name: &str) -> Result<String, Outcome> {
    check_text(name, NAME_CHARS_MIN, NAME_CHARS_MAX, Outcome::NameInvalid, Outcome::NameTooLong)
}

/// Returns the key of a permitted channel name. Fails with NameInvalid or NameTooLong.
pub fn check_channel(name: &str) -> Result<String, Outcome> {
    check_text(name, CHANNEL_CHARS_MIN, CHANNEL_CHARS_MAX, Outcome::NameInvalid, Outcome::NameTooLong)
}

fn check_text(
    text: &str,
    min_chars: usize,
    max_chars: usize,
    invalid: Outcome,
    too_long: Outcome,
) -> Result<String, Outcome> {
    // The length comes first and bounds the work that follows to a few dozen characters.
    if text.chars().count() > max_chars {
        return Err(too_long);
    }
    if text.chars().count() < min_chars || !names::is_permitted(text) {
        return Err(invalid);
    }
    Ok(key(text))
}

/// Ids and names that players cannot take. The operator can: imports do not ask.
#[derive(Debug, Clone, Default)]
pub struct Reserved(HashSet<String>);

impl Reserved {
    /// Reserves these names, and whatever looks like one of them.
    pub fn new<T: AsRef<str>>(names: impl IntoIterator<Item = T>) -> Self {
        let cores = names.into_iter().map(|name| core_of(name.as_ref()));
        Self(cores.filter(|core| !core.is_empty()).collect())
    }

    /// Returns true if an id or name is reserved, whatever its case, its look-alikes, its accents
    /// and the punctuation, blanks and symbols in it.
    pub fn contains(&self, text: &str) -> bool {
        self.0.contains(&core_of(text))
    }
}

/// Returns the letters and digits of a text's key, without marks.
fn core_of(text: &str) -> String {
    use unicode_normalization::UnicodeNormalization;
    let is_core = |c: &char| {
        matches!(c.general_category_group(), GeneralCategoryGroup::Letter | GeneralCategoryGroup::Number)
    };
    key(text).nfd().filter(is_core).collect()
}
