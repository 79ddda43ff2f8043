//! The comparison key of ids and names: the skeleton of UTS #39, without regard to case.

use unicode_normalization::UnicodeNormalization;
use unicode_security::skeleton;

/// Most characters, and most UTF-16 units, that a character of a permitted text adds to its key:
/// some Hangul syllables have six. The key columns of the databases follow from it.
pub const KEY_CHARS_MAX: usize = 6;

/// Returns the comparison key of a text. Texts that look alike, or differ in case only, have the
/// same key:
/// 1. In normal form C, each character in lower case by itself, without regard to context or
///    language (so `ς` is `σ`); or in upper case, if only that looks like ASCII (Cyrillic `к` and
///    `К`).
/// 2. Letters that are emoji (`🅰`, the halves of flags) as letters.
/// 3. The skeleton of UTS #39: prototypes of confusable characters, nothing for invisible ones.
/// 4. In lower case again, and `i` as `l`: in most fonts a capital I is a small l.
/// 5. In normal form C.
pub fn key(text: &str) -> String {
    let folded: String =
        text.nfc().map(letter_of_emoji).map(|c| if c == 'ς' { 'σ' } else { c }).flat_map(fold).collect();
    let look: String = skeleton(&folded).flat_map(char::to_lowercase).collect();
    look.chars().map(|c| if c == 'i' { 'l' } else { c }).nfc().collect()
}

/// Folds the case of a character: to the case that looks like ASCII, the lower one first.
fn fold(c: char) -> impl Iterator<Item = char> {
    let mut lower = c.to_lowercase();
    let mut upper = c.to_uppercase();
    let looks_latin = |c: char| skeleton(c.encode_utf8(&mut [0; 4])).all(|c| c.is_ascii());
    if let (Some(small), Some(capital)) = (lower.next(), upper.next())
        && lower.len() == 0
        && upper.len() == 0
        && small != capital
        && !looks_latin(small)
        && looks_latin(capital)
    {
        let look: String = skeleton(capital.encode_utf8(&mut [0; 4])).flat_map(char::to_lowercase).collect();
        return Folded::Look(look.into_bytes().into_iter());
    }
    Folded::Lower(c.to_lowercase())
}

/// Result of [`fold`].
enum Folded {
    Lower(std::char::ToLowercase),
    /// ASCII.
    Look(std::vec::IntoIter<u8>),
}

impl Iterator for Folded {
    type Item = char;
    fn next(&mut self) -> Option<char> {
        match self {
            Self::Lower(lower) => lower.next(),
            Self::Look(look) => look.next().map(char::from),
        }
    }
}

/// Returns the letter that an emoji shows: in circles, in squares, or as half of a flag.
fn letter_of_emoji(c: char) -> char {
    let from = match c {
        '\u{1F150}'..='\u{1F169}' => 0x1F150,
        '\u{1F170}'..='\u{1F189}' => 0x1F170,
        '\u{1F1E6}'..='\u{1F1FF}' => 0x1F1E6,
        c => return c,
    };
    char::from(b'a' + (u32::from(c) - from) as u8)
}
