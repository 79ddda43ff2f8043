//! Permitted characters of ids and names, alone and side by side.
//!
//! **Characters** are assigned and visible: letters, marks, digits, punctuation, symbols, emoji.
//! These are not allowed:
//! - control, format, private-use and unassigned characters, line and paragraph separators, and
//!   U+FFFD. They include the marks that change the direction of text, and zero-width characters.
//!   (A key could change if a later Unicode version gave an unassigned character a lower case.)
//! - characters that fonts show as nothing, such as the Hangul fillers;
//! - white space, except single blanks (U+0020) between other characters;
//! - letters and digits that UTS #39 restricts: obsolete and technical ones, and variants such as
//!   full-width, mathematical and superscript ones. The single jamo of Korean keyboards, variants
//!   to Unicode, are allowed.
//! - punctuation and symbols that are variants of others, such as `…` and `Ⓐ`.
//!
//! **Scripts** mix as on UTS #39's level "moderately restrictive": one script; Latin with Chinese,
//! Japanese or Korean; Latin with one other script in wide use, but Greek and Cyrillic.
//!
//! **Marks** follow a letter or a digit, at most [`MARKS_MAX`] that take no place of their own, and
//! none twice in a row.
//!
//! Emoji sequences stay whole: a zero-width joiner may follow and precede an emoji, a variation
//! selector may follow an emoji (or stand in a keycap), and tag characters may stand in a flag.

use unicode_normalization::UnicodeNormalization;
use unicode_properties::{GeneralCategory, GeneralCategoryGroup, UnicodeEmoji, UnicodeGeneralCategory};
use unicode_security::{RestrictionLevel, RestrictionLevelDetection};

/// Most combining marks on one base: Vietnamese needs two, Burmese and Hebrew three.
pub(super) const MARKS_MAX: usize = 3;

const ZERO_WIDTH_JOINER: char = '\u{200D}';
const TEXT_SELECTOR: char = '\u{FE0E}';
const EMOJI_SELECTOR: char = '\u{FE0F}';
const KEYCAP: char = '\u{20E3}';
const BLACK_FLAG: char = '\u{1F3F4}';
const TAG_END: char = '\u{E007F}';

/// Returns true if a text consists of permitted characters in a permitted order.
pub(super) fn is_permitted(text: &str) -> bool {
    let chars: Vec<char> = text.chars().collect();
    (0..chars.len()).all(|at| is_permitted_at(&chars, at)) && scripts_fit(&chars) && marks_fit(text)
}

fn is_permitted_at(chars: &[char], at: usize) -> bool {
    let before = at.checked_sub(1).map(|i| chars[i]);
    let after = chars.get(at + 1).copied();
    match chars[at] {
        ' ' => before.is_some_and(|c| c != ' ') && after.is_some(),
        ZERO_WIDTH_JOINER => {
            let joined = chars[..at].iter().rev().find(|c| **c != EMOJI_SELECTOR).copied();
            joined.is_some_and(is_emoji) && after.is_some_and(is_emoji)
        }
        EMOJI_SELECTOR => {
            let keycap = before.is_some_and(is_key) && after == Some(KEYCAP);
            keycap || before.is_some_and(is_emoji)
        }
        TEXT_SELECTOR => before.is_some_and(is_emoji),
        KEYCAP => {
            let on =
                if before == Some(EMOJI_SELECTOR) { at.checked_sub(2).map(|i| chars[i]) } else { before };
            on.is_some_and(is_key)
        }
        '\u{E0020}'..=TAG_END => is_in_flag(chars, at),
        c => is_visible(c) && (is_word(c) || !is_variant(c)),
    }
}

/// Returns true for the characters of keycaps.
fn is_key(c: char) -> bool {
    c.is_ascii_digit() || matches!(c, '#' | '*')
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
    // the Braille blank, and the replacement for what could not be read.
    let blank = matches!(c,
        '\u{034F}' | '\u{115F}' | '\u{1160}' | '\u{17B4}' | '\u{17B5}' | '\u{180B}'..='\u{180F}'
        | '\u{2800}' | '\u{3164}' | '\u{FE00}'..='\u{FE0F}' | '\u{FFA0}' | '\u{FFFD}'
        | '\u{E0000}'..='\u{E0FFF}');
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

/// Returns true for letters, marks and numbers: the characters of words.
fn is_word(c: char) -> bool {
    use GeneralCategoryGroup::{Letter, Mark, Number};
    matches!(c.general_category_group(), Letter | Mark | Number)
}

/// Returns true if Unicode has the character for the sake of its looks, as a variant of others.
fn is_variant(c: char) -> bool {
    !std::iter::once(c).nfkc().eq(std::iter::once(c).nfc())
}

/// Returns true if the words' characters are for identifiers, and their scripts may stand together.
fn scripts_fit(chars: &[char]) -> bool {
    // A single jamo has the script of a syllable. A keycap is a symbol.
    let words = chars.iter().filter(|c| is_word(**c) && **c != KEYCAP && !is_selector(**c));
    let words: String = words.map(|c| if is_single_jamo(*c) { '가' } else { *c }).collect();
    // Some decompositions are restricted, but never their normal form.
    let words: String = words.nfc().collect();
    words.check_restriction_level(RestrictionLevel::ModeratelyRestrictive)
}

fn is_selector(c: char) -> bool {
    matches!(c, TEXT_SELECTOR | EMOJI_SELECTOR)
}

/// Returns true for the letters that Korean keyboards type one by one.
fn is_single_jamo(c: char) -> bool {
    ('\u{3131}'..='\u{3163}').contains(&c)
}

/// Returns true if every mark has a base, and no base too many marks.
fn marks_fit(text: &str) -> bool {
    use GeneralCategory::{EnclosingMark, NonspacingMark, SpacingMark};
    let mut has_base = false;
    let mut marks = 0;
    let mut before = None;
    for c in text.nfd().filter(|c| *c != KEYCAP && !is_selector(*c)) {
        match c.general_category() {
            NonspacingMark | EnclosingMark if !has_base || marks == MARKS_MAX || before == Some(c) => {
                return false;
            }
            NonspacingMark | EnclosingMark => marks += 1,
            SpacingMark if !has_base => return false,
            SpacingMark => {}
            _ => (has_base, marks) = (is_word(c), 0),
        }
        before = Some(c);
    }
    true
}
