//! Rules for ids, names and passwords, and the escaping of texts.

use throng_core::text::{escaped, escaped_line, has_control};
use throng_core::wire::packets::{ChannelName, Name};
use throng_servers::rules::{
    KEY_CHARS_MAX, Password, Reserved, check_channel, check_id, check_name, check_password, key,
};
use unicode_normalization::UnicodeNormalization;

use crate::Target;

pub(crate) const NAMES: Target = Target { name: "names", check, seeds, mutations: 2_000 };

/// The names and passwords of docs/protocol.md.
fn seeds() -> Vec<Vec<u8>> {
    let document = include_str!("../../docs/protocol.md");
    let mut seeds = Vec::new();
    for table in ["passwords", "names"] {
        let begin = document.find(&format!("<!-- {table}:begin -->")).expect("the table begins");
        let end = document.find(&format!("<!-- {table}:end -->")).expect("the table ends");
        let rows = document[begin..end].lines().filter_map(|row| row.strip_prefix("| `")?.split('`').next());
        seeds.extend(rows.map(|row| unescaped(row).into_bytes()));
    }
    assert!(seeds.len() > 40, "{} names", seeds.len());
    seeds
}

/// Replaces `\u{e4}` by the character.
fn unescaped(text: &str) -> String {
    let mut parts = text.split("\\u{");
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (digits, rest) = part.split_once('}').expect("a number in braces");
        let number = u32::from_str_radix(digits, 16).expect("hexadecimal digits");
        out.extend(char::from_u32(number));
        out += rest;
    }
    out
}

/// Judges a text as each kind of name. A permitted one fits its packet unchanged and its column in
/// the database; its forms are one name.
fn check(input: &[u8]) {
    let line = escaped_line(input);
    let shown = String::from_utf8(line.into_owned()).expect("a line is text");
    assert!(!has_control(shown.strip_suffix('\n').unwrap_or(&shown)), "{shown:?}");
    let Ok(text) = std::str::from_utf8(input) else { return };
    let escaped = escaped(text);
    assert!(!has_control(&escaped) && throng_core::text::escaped(&escaped) == escaped);

    let forms: [String; 2] = [text.nfc().collect(), text.nfd().collect()];
    for (rule, is_channel) in
        [(check_id as fn(&str) -> _, false), (check_name as fn(&str) -> _, false), (check_channel, true)]
    {
        let Ok(found) = rule(text) else { continue };
        assert!(!has_control(text), "{text:?} is permitted");
        let chars = text.chars().count();
        assert!(!found.is_empty() && found.chars().count() <= chars * KEY_CHARS_MAX, "{text:?}: {found:?}");
        assert!(found.encode_utf16().count() <= chars * KEY_CHARS_MAX, "{text:?}: {found:?}");
        assert_eq!(found, key(text));
        for form in &forms {
            // A form may be longer or shorter than is permitted: characters count as typed.
            let is_permitted = rule(form).is_ok_and(|key| key == found);
            assert!(is_permitted || form.chars().count() != chars, "{text:?} and {form:?}");
            assert_eq!(key(form), found, "{text:?} and {form:?}");
        }
        let sent = if is_channel {
            ChannelName::new(text).ok().map(ChannelName::into_string)
        } else {
            Name::new(text).ok().map(Name::into_string)
        };
        assert!(sent.is_none_or(|sent| sent == text) || chars > 24, "{text:?}");
    }
    assert!(Reserved::new([text]).contains(text) || !Reserved::new(["admin"]).contains(text));
    check_form(text, &forms);
}

/// A permitted password has one form, which is permitted and stays as it is.
fn check_form(text: &str, forms: &[String; 2]) {
    let new = Password::new(text);
    assert_eq!(new.is_ok(), check_password(text).is_ok());
    let Ok(password) = new else { return };
    let form = std::str::from_utf8(password.expose()).expect("a form is text");
    assert_eq!(Password::to_check(text).expose(), form.as_bytes());
    for same in [form, &forms[0], &forms[1]] {
        assert_eq!(Password::to_check(same).expose(), form.as_bytes(), "{text:?} and {same:?}");
    }
    assert!(check_password(form).is_ok(), "{form:?}");
}
