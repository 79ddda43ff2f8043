//! Texts of others, made fit for a terminal.

use std::borrow::Cow;

use throng_client::escaped;

/// Returns a text whose control characters are visible marks: an escape sequence that it has is
/// shown, and not obeyed.
pub(crate) fn safe(text: &str) -> Cow<'_, str> {
    escaped(text)
}

/// Returns the local time as hours and minutes.
pub(crate) fn clock() -> String {
    jiff::Zoned::now().strftime("%H:%M").to_string()
}
