//! Rules for ids, passwords, and names of characters and channels, and their comparison keys.
//!
//! The rules are here and not in a database, so that every engine applies the same ones. Ids and
//! names are stored exactly as typed, beside a key that the databases compare byte for byte.
//!
//! **Key**: without variation selectors; in Unicode normal form C; lower case, character by
//! character (so `Σ`, `σ` and `ς` are one); normal form C again.
//!
//! **Ids and names** consist of assigned, visible characters of any script: letters, marks, digits,
//! punctuation, symbols, emoji. These are not allowed:
//! - control, format, private-use and unassigned characters, and line and paragraph separators.
//!   They include the marks that change the direction of text, and zero-width characters. (A key
//!   could change if a later Unicode version gave an unassigned character a lower case.)
//! - characters that fonts show as nothing, such as the Hangul fillers;
//! - white space, except single blanks (U+0020) between other characters.
//!
//! Emoji sequences stay whole: a zero-width joiner may follow and precede an emoji, a variation
//! selector may follow an emoji (or stand in a keycap), and tag characters may stand in a flag.
//!
//! **Passwords** are taken byte for byte and contain no control characters.

use throng_core::limits::{
    CHANNEL_CHARS_MAX, CHANNEL_CHARS_MIN, ID_CHARS_MAX, ID_CHARS_MIN, NAME_CHARS_MAX, NAME_CHARS_MIN,
    PASSWORD_BYTES_MAX, PASSWORD_CHARS_MIN,
};
use throng_core::wire::packets::Outcome;
use unicode_normalization::UnicodeNormalization;
use unicode_properties::{GeneralCategory, UnicodeEmoji, UnicodeGeneralCategory};

/// Maximum growth from a text to its key, in characters and in bytes.
pub const KEY_GROWTH: usize = 3;

const ZERO_WIDTH_JOINER: char = '\u{200D}';
const TEXT_SELECTOR: char = '\u{FE0E}';
const EMOJI_SELECTOR: char = '\u{FE0F}';
const KEYCAP: char = '\u{20E3}';
const BLACK_FLAG: char = '\u{1F3F4}';
const TAG_END: char = '\u{E007F}';

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

/// Accepts a permitted password. Fails with PasswordInvalid or PasswordTooLong.
pub fn check_password(password: &str) -> Result<(), Outcome> {
    if password.len() > PASSWORD_BYTES_MAX {
        return Err(Outcome::PasswordTooLong);
    }
    if password.chars().count() < PASSWORD_CHARS_MIN || password.chars().any(char::is_control) {
        return Err(Outcome::PasswordInvalid);
    }
    Ok(())
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
    let chars: Vec<char> = text.chars().collect();
    if chars.len() < min_chars || !(0..chars.len()).all(|at| is_permitted(&chars, at)) {
        return Err(invalid);
    }
    Ok(key(text))
}

/// Returns the comparison key of a text. The key of a key is the key itself.
pub fn key(text: &str) -> String {
    text.chars()
        .filter(|c| !matches!(*c, TEXT_SELECTOR | EMOJI_SELECTOR))
        .nfc()
        .flat_map(char::to_lowercase)
        .map(|c| if c == 'ς' { 'σ' } else { c })
        .nfc()
        .collect()
}

fn is_permitted(chars: &[char], at: usize) -> bool {
    let before = at.checked_sub(1).map(|i| chars[i]);
    let after = chars.get(at + 1).copied();
    match chars[at] {
        ' ' => before.is_some_and(|c| c != ' ') && after.is_some(),
        ZERO_WIDTH_JOINER => {
            let joined = chars[..at].iter().rev().find(|c| **c != EMOJI_SELECTOR).copied();
            joined.is_some_and(is_emoji) && after.is_some_and(is_emoji)
        }
        EMOJI_SELECTOR => {
            let keycap = before.is_some_and(UnicodeEmoji::is_emoji_char) && after == Some(KEYCAP);
            keycap || before.is_some_and(is_emoji)
        }
        TEXT_SELECTOR => before.is_some_and(is_emoji),
        '\u{E0020}'..=TAG_END => is_in_flag(chars, at),
        c => is_visible(c),
    }
}

/// Returns true if a character is an emoji by itself. Unicode's tables list digits, `#` and `*` as
/// emoji because keycaps use them.
fn is_emoji(c: char) -> bool {
    c.is_emoji_char() && !c.is_ascii()
}

/// Returns true if the tag character at `at` belongs to a flag such as England's: a black flag,
/// tags, the end tag.
fn is_in_flag(chars: &[char], at: usize) -> bool {
    let is_tag = |c: &&char| ('\u{E0020}'..TAG_END).contains(*c);
    let tags_before = chars[..at].iter().rev().take_while(is_tag).count();
    let begins_with_flag = at > tags_before && chars[at - tags_before - 1] == BLACK_FLAG;
    let end = at + chars[at..].iter().take_while(is_tag).count();
    // An end tag right after the flag would make a sequence without tags.
    begins_with_flag && chars.get(end) == Some(&TAG_END) && (end > at || tags_before > 0)
}

fn is_visible(c: char) -> bool {
    // Default-ignorable characters (Unicode, DerivedCoreProperties) that are no format characters,
    // and the Braille blank.
    let blank = matches!(c,
        '\u{034F}' | '\u{115F}' | '\u{1160}' | '\u{17B4}' | '\u{17B5}' | '\u{180B}'..='\u{180F}'
        | '\u{2800}' | '\u{3164}' | '\u{FE00}'..='\u{FE0F}' | '\u{FFA0}' | '\u{E0000}'..='\u{E0FFF}');
    let category = c.general_category();
    !blank
        && !c.is_whitespace()
        && !matches!(
            category,
            GeneralCategory::Control
                | GeneralCategory::Format
                | GeneralCategory::PrivateUse
                | GeneralCategory::Surrogate
                | GeneralCategory::Unassigned
                | GeneralCategory::LineSeparator
                | GeneralCategory::ParagraphSeparator
        )
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names() {
        let check = |name: &str, expected: Result<&str, Outcome>| {
            assert_eq!(check_name(name), expected.map(str::to_owned), "{name:?}");
        };
        let invalid = Err(Outcome::NameInvalid);
        check("Bob", Ok("bob"));
        check("김철수", Ok("김철수"));
        check("O'Brien; DROP TABLE--", Ok("o'brien; drop table--"));
        check("Éva Szabó", Ok("éva szabó"));
        check("E\u{301}va", Ok("éva"));
        check("ΟΔΥΣΣΕΥΣ", Ok("οδυσσευσ"));
        check("Οδυσσεύς", Ok("οδυσσεύσ"));
        check("한글\u{1F600}", Ok("한글\u{1F600}"));
        check("👩‍👩‍👧‍👦 x", Ok("👩‍👩‍👧‍👦 x"));
        check("🏳\u{FE0F}\u{200D}🌈", Ok("🏳\u{200D}🌈"));
        check("❤\u{FE0F}❤", Ok("❤❤"));
        check("1\u{FE0F}\u{20E3}st", Ok("1\u{20E3}st"));
        check("👍🏽👍🏽", Ok("👍🏽👍🏽"));
        let england = "\u{1F3F4}\u{E0067}\u{E0062}\u{E0065}\u{E006E}\u{E0067}\u{E007F}";
        check(england, Ok(england));
        check(&"x".repeat(24), Ok(&"x".repeat(24)));
        check(&"김".repeat(25), Err(Outcome::NameTooLong));
        for bad in [
            "",
            "x",
            " bob",
            "bob ",
            "bo  b",
            "bo\tb",
            "bo\nb",
            "bo\0b",
            "bo\u{7f}b",
            "bo\u{200B}b",
            "bo\u{200D}b",
            "\u{200D}👩",
            "👩\u{200D}",
            "bo\u{200C}b",
            "bo\u{FE0F}b",
            "bob1\u{FE0F}",
            "bo\u{202E}b",
            "bo\u{2066}b",
            "bo\u{2028}b",
            "bo\u{2029}b",
            "bo\u{00A0}b",
            "bo\u{3000}b",
            "bo\u{00AD}b",
            "\u{3164}\u{3164}",
            "\u{2800}\u{2800}",
            "bo\u{E000}b",
            "bo\u{0378}b",
            "bo\u{E0067}b",
            "\u{1F3F4}\u{E007F}",
            "\u{1F3F4}\u{E0067}",
            "bo\u{FEFF}b",
        ] {
            check(bad, invalid);
        }
    }

    #[test]
    fn ids() {
        let check = |id: &str, expected: Result<&str, Outcome>| {
            assert_eq!(check_id(id), expected.map(str::to_owned), "{id:?}");
        };
        check("BOB", Ok("bob"));
        check("ab", Err(Outcome::IdInvalid));
        check(" bob", Err(Outcome::IdInvalid));
        check(&"ä".repeat(32), Ok(&"ä".repeat(32)));
        check(&"ä".repeat(33), Err(Outcome::IdTooLong));
        check(&" ".repeat(33), Err(Outcome::IdTooLong));
    }

    #[test]
    fn channels() {
        let check = |name: &str, expected: Result<&str, Outcome>| {
            assert_eq!(check_channel(name), expected.map(str::to_owned), "{name:?}");
        };
        check("Trade & Barter", Ok("trade & barter"));
        check("x", Err(Outcome::NameInvalid));
        check("trade ", Err(Outcome::NameInvalid));
        check(&"🐝".repeat(32), Ok(&"🐝".repeat(32)));
        check(&"🐝".repeat(33), Err(Outcome::NameTooLong));
    }

    #[test]
    fn passwords() {
        let check = |password: &str, expected| assert_eq!(check_password(password), expected, "{password:?}");
        check("12345678", Ok(()));
        check("  blanks  ", Ok(()));
        check("비밀번호비밀번호", Ok(()));
        check(&"x".repeat(256), Ok(()));
        check("1234567", Err(Outcome::PasswordInvalid));
        check("1234567\0", Err(Outcome::PasswordInvalid));
        check("12345678\n", Err(Outcome::PasswordInvalid));
        check(&"x".repeat(257), Err(Outcome::PasswordTooLong));
    }

    #[test]
    fn the_key_of_every_character_is_bounded_and_is_its_own_key() {
        for c in ('\0'..=char::MAX).filter(|c| is_visible(*c)) {
            let text = c.to_string();
            let key_of = key(&text);
            assert!(key_of.chars().count() <= KEY_GROWTH, "{c:?}");
            assert!(key_of.len() <= KEY_GROWTH * text.len(), "{c:?}");
            assert_eq!(key(&key_of), key_of, "{c:?}");
        }
    }

    proptest! {
        #[test]
        fn a_key_is_its_own_key_and_every_text_is_checked(text: String) {
            let once = key(&text);
            prop_assert_eq!(key(&once), once);
            let _ = check_password(&text);
            if let Ok(key_of) = check_id(&text) {
                prop_assert!(key_of.trim() == key_of && !key_of.is_empty());
            }
            if let Ok(key_of) = check_name(&text) {
                prop_assert!(key_of.trim() == key_of && !key_of.is_empty());
            }
        }

        #[test]
        fn case_and_composition_do_not_matter(text in "[a-zA-Zà-öÀ-ÖА-Яа-я가-힣0-9]{3,12}") {
            let decomposed: String = text.nfd().collect();
            prop_assert_eq!(check_id(&text), check_id(&decomposed));
            prop_assert_eq!(key(&text), key(&text.to_uppercase()));
        }
    }
}
