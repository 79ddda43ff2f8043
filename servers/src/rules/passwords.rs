//! Passwords in one form: the profile OpaqueString of PRECIS (RFC 8265, section 4.2).
//!
//! Keyboards and systems spell one text in several ways: `é` as one character or as two, Hangul as
//! syllables or as jamo. Every password takes the same form before it is measured, hashed or
//! compared: spaces become U+0020, and the whole takes Unicode's normal form C. Control characters
//! and unassigned ones are refused, case and width stay.

use std::fmt;

use precis_profiles::OpaqueString;
use precis_profiles::precis_core::profile::Profile;
use throng_core::limits::{PASSWORD_BYTES_MAX, PASSWORD_CHARS_MIN, PASSWORD_WIRE_MAX};
use throng_core::wire::packets::Outcome;
use unicode_normalization::UnicodeNormalization;
use unicode_properties::{GeneralCategory, UnicodeGeneralCategory};
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
        // The crate maps and composes too, but does not wipe its copies. Enough for the longest
        // text, so that nothing is copied while it grows.
        let mut form = Zeroizing::new(String::with_capacity(text.len().max(PASSWORD_WIRE_MAX)));
        form.extend(text.chars().map(space).nfc());
        // The characters are judged in the form and not as typed: the profile has no jamo, and
        // some systems spell Hangul in them.
        OpaqueString::new().prepare(form.as_str()).ok()?;
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
