//! Passwords in one form: the profile OpaqueString of PRECIS (RFC 8265, section 4.2).
//!
//! Keyboards and systems spell one text in several ways: `é` as one character or as two, Hangul as
//! syllables or as jamo. Every password takes the same form before it is measured, hashed or
//! compared: spaces become U+0020, and the whole takes Unicode's normal form C. Control, invisible
//! and unassigned characters are refused, case and width stay.
//!
//! Written by hand on current tables: precis-core 0.2 has those of Unicode 6.3, of 2013, and
//! refuses every later letter and emoji. In two points this is not the RFC's order or letter.
//! Characters are judged in the form, because its class has no jamo, and macOS spells Hangul in
//! them. Characters that it allows in a context only, joiners among them, are allowed in any.

use std::fmt;

use throng_core::limits::{PASSWORD_BYTES_MAX, PASSWORD_CHARS_MIN, PASSWORD_WIRE_MAX};
use throng_core::wire::packets::Outcome;
use unicode_normalization::UnicodeNormalization;
use unicode_properties::{GeneralCategory, GeneralCategoryGroup, UnicodeGeneralCategory};
use zeroize::Zeroizing;

/// A password in the form in which it is hashed: wiped when dropped, never shown by `Debug`.
pub struct Password(Zeroizing<String>);

impl Password {
    /// Takes a new password. Fails with PasswordInvalid or PasswordTooLong.
    pub fn new(text: &str) -> Result<Self, Outcome> {
        let Some(password) = Self::in_form(text) else {
            // Counted as it is, for want of a form.
            let is_long = text.len() > PASSWORD_BYTES_MAX;
            return Err(if is_long { Outcome::PasswordTooLong } else { Outcome::PasswordInvalid });
        };
        if password.0.len() > PASSWORD_BYTES_MAX {
            return Err(Outcome::PasswordTooLong);
        }
        if password.0.chars().count() < PASSWORD_CHARS_MIN {
            return Err(Outcome::PasswordInvalid);
        }
        Ok(password)
    }

    /// Takes a password to compare with a stored hash. A text that has no form stays as it is: it
    /// is hashed all the same, so the time tells nothing, and a hash from elsewhere may match it.
    pub fn to_check(text: &str) -> Self {
        Self::in_form(text).unwrap_or_else(|| Self(Zeroizing::new(text.to_owned())))
    }

    /// Returns the bytes to hash.
    pub fn expose(&self) -> &[u8] {
        self.0.as_bytes()
    }

    /// Applies the profile. `None` if the text is empty or has a character that no password has.
    fn in_form(text: &str) -> Option<Self> {
        // Enough for the longest text, so that nothing is copied while it grows.
        let mut form = Zeroizing::new(String::with_capacity(text.len().max(PASSWORD_WIRE_MAX)));
        form.extend(text.chars().map(space).nfc());
        if form.is_empty() || !form.chars().all(is_allowed) {
            return None;
        }
        Some(Self(form))
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

/// Accepts a permitted password. Fails with PasswordInvalid or PasswordTooLong.
pub fn check_password(password: &str) -> Result<(), Outcome> {
    Password::new(password).map(|_| ())
}

fn space(c: char) -> char {
    if c.general_category() == GeneralCategory::SpaceSeparator { ' ' } else { c }
}

/// Returns true for the characters of the class FreeformClass (RFC 8264, sections 8 and 9).
fn is_allowed(c: char) -> bool {
    use GeneralCategoryGroup::{Letter, Mark, Number, Punctuation, Symbol};
    match c {
        // Joiners.
        '\u{200C}' | '\u{200D}' => true,
        // Exceptions (RFC 5892, section 2.6); jamo of old Hangul, which compose no syllable here;
        // ignorable characters that are letters or marks.
        '\u{0640}'
        | '\u{07FA}'
        | '\u{302E}'
        | '\u{302F}'
        | '\u{3031}'..='\u{3035}'
        | '\u{303B}'
        | '\u{1100}'..='\u{11FF}'
        | '\u{A960}'..='\u{A97F}'
        | '\u{D7B0}'..='\u{D7FF}'
        | '\u{034F}'
        | '\u{17B4}'
        | '\u{17B5}'
        | '\u{180B}'..='\u{180F}'
        | '\u{3164}'
        | '\u{FE00}'..='\u{FE0F}'
        | '\u{FFA0}'
        | '\u{E0000}'..='\u{E0FFF}' => false,
        c => {
            let is_shown =
                matches!(c.general_category_group(), Letter | Mark | Number | Punctuation | Symbol);
            is_shown || c.general_category() == GeneralCategory::SpaceSeparator
        }
    }
}
