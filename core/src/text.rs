//! Control characters in texts from outside: recognized, and escaped for logs and terminals.
//!
//! A text reaches terminals, logs and pages of people who did not write it. There a control
//! character is a command: it moves the cursor, fills the clipboard, begins a line that looks like
//! another one's, or shows a text in another order than it has.

use std::borrow::Cow;

/// Returns true if terminals or pages obey a character instead of showing it:
/// - C0 and C1 controls and DEL, tab and line feed among them;
/// - line and paragraph separators (U+2028, U+2029);
/// - overrides, embeddings and isolates of the direction of text (U+202A to U+202E, U+2066 to
///   U+2069), and the deprecated format controls after them (up to U+206F);
/// - interlinear annotations (U+FFF9 to U+FFFB) and the language tag (U+E0001).
///
/// Joiners, variation selectors, direction marks (U+200E, U+200F, U+061C) and the tags of flags
/// are none: Persian, Hebrew, Indic scripts and emoji need them, and their effect ends with the
/// characters beside them.
pub fn is_control(c: char) -> bool {
    // Nearly every character of nearly every text ends here.
    if (' '..'\u{7f}').contains(&c) {
        return false;
    }
    c.is_control()
        || matches!(c,
            '\u{2028}'..='\u{202E}' | '\u{2066}'..='\u{206F}' | '\u{FFF9}'..='\u{FFFB}' | '\u{E0001}')
}

/// Returns true if a text has a control character ([`is_control`]).
pub fn has_control(text: &str) -> bool {
    text.chars().any(is_control)
}

/// Returns a text with its control characters written as in Rust: `\n`, `\u{1b}`.
pub fn escaped(text: &str) -> Cow<'_, str> {
    if !has_control(text) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if is_control(c) {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
    }
    Cow::Owned(out)
}

/// Returns a text of several lines with its control characters but the line feeds written as
/// [`escaped`] does.
pub fn escaped_lines(text: &str) -> Cow<'_, str> {
    let is_obeyed = |c: char| c != '\n' && is_control(c);
    if !text.chars().any(is_obeyed) {
        return Cow::Borrowed(text);
    }
    let lines: Vec<_> = text.split('\n').map(escaped).collect();
    Cow::Owned(lines.join("\n"))
}

/// Returns a log line with everything but its last line feed escaped, so that one event is one
/// line whatever it quotes.
pub fn escaped_line(line: &[u8]) -> Cow<'_, [u8]> {
    let (text, end) = match line.split_last() {
        Some((b'\n', text)) => (text, "\n"),
        _ => (line, ""),
    };
    if text.iter().all(|byte| (b' '..0x7f).contains(byte)) {
        return Cow::Borrowed(line);
    }
    let text = String::from_utf8_lossy(text);
    if matches!(text, Cow::Borrowed(text) if !has_control(text)) {
        return Cow::Borrowed(line);
    }
    Cow::Owned((escaped(&text) + end).into_owned().into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_or_page_obeys_is_a_control_character() {
        for c in ('\0'..'\u{20}').chain('\u{7f}'..='\u{9f}').chain('\u{202A}'..='\u{202E}') {
            assert!(is_control(c), "{c:?}");
        }
        for c in ['\u{2028}', '\u{2029}', '\u{2066}', '\u{2069}', '\u{206F}', '\u{FFF9}', '\u{E0001}'] {
            assert!(is_control(c), "{c:?}");
        }
        for text in [
            "plain ~",
            "ünï\u{A0}",
            "می\u{200C}خواهم",
            "👩\u{200D}👧 ❤\u{FE0F}",
            "א\u{200F}!",
            "क\u{94D}\u{200D}ष",
        ] {
            assert!(!has_control(text), "{text:?}");
        }
        assert!(!has_control("\u{1F3F4}\u{E0067}\u{E0062}\u{E0065}\u{E006E}\u{E0067}\u{E007F}"), "a flag");
    }

    #[test]
    fn escape_sequences_and_lines_of_their_own_become_visible() {
        assert_eq!(escaped("a\nb\t\u{1b}[2J\0"), "a\\nb\\t\\u{1b}[2J\\u{0}");
        assert_eq!(escaped("\u{9b}31m \u{202E}gpj.exe\u{2028}"), "\\u{9b}31m \\u{202e}gpj.exe\\u{2028}");
        assert!(matches!(escaped("한글 \u{200D}"), Cow::Borrowed(_)));
        assert_eq!(escaped_lines("a\n\tb\u{1b}\n\n\u{202E}\n"), "a\n\\tb\\u{1b}\n\n\\u{202e}\n");
        assert!(matches!(escaped_lines("a\n\nb\n"), Cow::Borrowed(_)));
        assert_eq!(&*escaped_line(b"level message\n"), b"level message\n");
        assert_eq!(
            &*escaped_line(b"detail=x\n2026 ERROR forged\x1b]52;c;\x07\n"),
            b"detail=x\\n2026 ERROR forged\\u{1b}]52;c;\\u{7}\n"
        );
        assert_eq!(&*escaped_line("ä\u{85}".as_bytes()), "ä\\u{85}".as_bytes());
        assert_eq!(&*escaped_line(b"\xff\x1b\n"), "\u{FFFD}\\u{1b}\n".as_bytes());
        assert!(matches!(escaped_line("한글\n".as_bytes()), Cow::Borrowed(_)));
    }
}
