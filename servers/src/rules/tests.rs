//! The rules by example; the examples of docs/protocol.md among them.

use super::names::MARKS_MAX;
use super::*;
use proptest::prelude::*;
use unicode_normalization::UnicodeNormalization;

/// Returns the rows of a table of docs/protocol.md, `\u{..}` read as the character.
fn doc_table(name: &str) -> Vec<Vec<String>> {
    let document = include_str!("../../../docs/protocol.md");
    let begin = format!("<!-- {name}:begin -->");
    let (_, rest) = document.split_once(&begin).unwrap_or_else(|| panic!("no table {name}"));
    let (table, _) = rest.split_once(&format!("<!-- {name}:end -->")).unwrap();
    let rows = table.trim().lines().skip(2);
    let cells = |row: &str| row.trim_matches('|').split(" | ").map(|cell| unescaped(cell.trim())).collect();
    let rows: Vec<Vec<String>> = rows.map(cells).collect();
    assert!(rows.len() > 10, "{name}");
    rows
}

fn unescaped(cell: &str) -> String {
    let mut parts = cell.trim_matches('`').split("\\u{");
    let mut text = parts.next().unwrap().to_owned();
    for part in parts {
        let (digits, rest) = part.split_once('}').unwrap();
        text.push(char::from_u32(u32::from_str_radix(digits, 16).unwrap()).unwrap());
        text.push_str(rest);
    }
    text
}

#[test]
fn names_of_the_protocol_document() {
    for row in doc_table("names") {
        let [name, verdict, _why] = &row[..] else { panic!("{row:?}") };
        let found = check_name(name);
        match verdict.strip_prefix("as ") {
            Some(other) => {
                assert_eq!(found, check_name(other.trim_matches('`')), "{name:?}");
                assert!(found.is_ok(), "{name:?}");
            }
            None if verdict == "allowed" => assert!(found.is_ok(), "{name:?}"),
            None => assert_eq!(format!("{:?}", found.unwrap_err()), *verdict, "{name:?}"),
        }
    }
}

#[test]
fn passwords_of_the_protocol_document() {
    for row in doc_table("passwords") {
        let [typed, form] = &row[..] else { panic!("{row:?}") };
        let found = match Password::new(typed) {
            Ok(password) => hex::encode(password.expose()),
            Err(outcome) => format!("{outcome:?}"),
        };
        assert_eq!(found, *form, "{typed:?}");
    }
}

#[test]
fn names_that_look_like_another_one_are_that_one_or_refused() {
    for family in [
        &["Admin", "ADMIN", "AdmIn", "Admln", "Adm1n", "🅰dmin", "adrnin"][..],
        &["COM", "com", "СОМ", "сом", "Сом", "C0M"],
        &["Вера", "ВЕРА", "Bepa"],
        &["Οδυσσεύσ", "Οδυσσεύς", "οδυσσεύς"],
        &["Éva", "E\u{301}va", "éVA"],
        &["kr", "🇰🇷"],
        &["❤❤", "❤\u{FE0F}❤"],
        &["O'Brien", "O’Brien", "o`brlen"],
        &["カロ", "力口"],
    ] {
        for name in family {
            assert_eq!(check_name(name), check_name(family[0]), "{name:?}");
            assert!(check_name(name).is_ok(), "{name:?}");
        }
    }
    let different = ["Eva", "Éva", "Evá", "Admin1", "straße", "strasse", "나라", "너라", "vova", "nova"];
    let keys: HashSet<String> = different.iter().map(|name| check_name(name).unwrap()).collect();
    assert_eq!(keys.len(), different.len(), "{keys:?}");
    // The full-width, mathematical and enclosed letters are refused, and so are mixed alphabets.
    for name in ["Ａｄｍｉｎ", "𝐀𝐝𝐦𝐢𝐧", "ⒶⒹⓂⒾⓃ", "ᴀᴅᴍɪɴ", "Аdmin", "Αdmin", "ᎪᎠᎷ", "x²", "№1", "ﬁn", "wait…"]
    {
        assert_eq!(check_name(name), Err(Outcome::NameInvalid), "{name:?}");
        assert_eq!(check_id(&format!("{name}x")), Err(Outcome::IdInvalid), "{name:?}");
        assert_eq!(check_channel(name), Err(Outcome::NameInvalid), "{name:?}");
    }
}

#[test]
fn names_of_all_living_languages_are_names() {
    for name in [
        "Bob",
        "김철수",
        "서울Girl",
        "ㅋㅋㅋ",
        "カナKana",
        "ひらがな漢字",
        "漢字ABC",
        "Éva Szabó",
        "Łukasz",
        "Việt Nam",
        "Søren",
        "Дмитрий",
        "Наташа",
        "Ελένη",
        "محمد",
        "محمد Bob",
        "मनीषा",
        "क्षत्रिय",
        "ศรีสุดา",
        "မြို့",
        "דוד",
        "ქეთევან",
        "Արմեն",
        "O'Brien; DROP TABLE--",
        "C++",
        "★Star★",
        "a.b_c-d",
        "👩‍👩‍👧‍👦 x",
        "🏳\u{FE0F}\u{200D}🌈",
        "1\u{FE0F}\u{20E3}st",
        "👍🏽👍🏽",
        "\u{1F3F4}\u{E0067}\u{E0062}\u{E0065}\u{E006E}\u{E0067}\u{E007F}!",
    ] {
        assert!(check_name(name).is_ok(), "{name:?}");
    }
}

#[test]
fn unreadable_texts_are_no_names() {
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
        "bo\u{9b}b",
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
        "bo\u{034F}b",
        "\u{3164}\u{3164}",
        "\u{2800}\u{2800}",
        "bo\u{E000}b",
        "bo\u{0378}b",
        "bo\u{FFFE}b",
        "bo\u{FFFD}b",
        "bo\u{E0067}b",
        "\u{1F3F4}\u{E007F}",
        "\u{1F3F4}\u{E0067}",
        "bo\u{FEFF}b",
        "b\u{20E3}b",
    ] {
        assert_eq!(check_name(bad), Err(Outcome::NameInvalid), "{bad:?}");
    }
    let marks = "\u{300}\u{301}\u{302}\u{303}";
    let with_marks = |count| format!("Bo{}b", marks.chars().take(count).collect::<String>());
    assert!(check_name(&with_marks(MARKS_MAX)).is_ok());
    for bad in [
        &with_marks(MARKS_MAX + 1),
        "\u{301}\u{302}",
        "\u{301}bob",
        "x \u{301}b",
        "-\u{301}b",
        "a\u{301}\u{301}b",
        "é\u{301}b",
    ] {
        assert_eq!(check_name(bad), Err(Outcome::NameInvalid), "{bad:?}");
    }
}

#[test]
fn lengths_count_characters_as_typed() {
    assert_eq!(check_id("ab"), Err(Outcome::IdInvalid));
    assert!(check_id(&"ä".repeat(32)).is_ok());
    assert_eq!(check_id(&"ä".repeat(33)), Err(Outcome::IdTooLong));
    assert_eq!(check_id(&" ".repeat(33)), Err(Outcome::IdTooLong));
    assert!(check_name(&"x".repeat(24)).is_ok());
    assert_eq!(check_name(&"김".repeat(25)), Err(Outcome::NameTooLong));
    assert!(check_channel(&"🐝".repeat(32)).is_ok());
    assert_eq!(check_channel(&"🐝".repeat(33)), Err(Outcome::NameTooLong));
}

#[test]
fn reserved_names_are_refused_in_every_spelling() {
    let reserved = Reserved::new(["admin", "GM", "관리자", "--"]);
    for name in [
        "Admin",
        "ADMIN",
        "Adm1n",
        "A.d.m.i.n",
        "★Ádmin★",
        "🅰dmin",
        "gm",
        "G M",
        "_GM_",
        "관리자!",
        "관 리자",
    ] {
        assert!(reserved.contains(name), "{name:?}");
    }
    for name in ["Adminton", "sysadmin", "GM-1", "--", "", "관리", "dmin"] {
        assert!(!reserved.contains(name), "{name:?}");
    }
}

#[test]
fn a_password_is_the_same_on_every_keyboard() {
    for (one, other) in [
        ("pässwörter", "pa\u{308}sswo\u{308}rter"),
        ("비밀번호비밀번호", &"비밀번호비밀번호".nfd().collect::<String>()),
        ("two words", "two\u{3000}words"),
    ] {
        let [one, other] = [one, other].map(|text| Password::new(text).unwrap());
        assert_eq!(one.expose(), other.expose());
    }
    let expose = |text| Password::to_check(text).expose().to_vec();
    assert_ne!(expose("Password"), expose("password"));
    assert_ne!(expose("ｐassword"), expose("password"));
    // Lengths are those of the form, not of the typed text.
    let decomposed = |count| "각".repeat(count).nfd().collect::<String>();
    assert!(Password::new(&decomposed(85)).is_ok(), "255 bytes, typed as 765");
    assert_eq!(check_password(&decomposed(86)), Err(Outcome::PasswordTooLong));
    assert_eq!(check_password(&decomposed(7)), Err(Outcome::PasswordInvalid), "7 characters, typed as 21");
    let check = |password: &str, expected| assert_eq!(check_password(password), expected, "{password:?}");
    check("12345678", Ok(()));
    // Letters, emoji and joiners of any age; nothing that cannot be seen.
    check("fuchs 🦊🫠🪿", Ok(()));
    check("👩\u{200D}👧 family", Ok(()));
    check("می\u{200C}خواهم", Ok(()));
    for bad in [
        "\u{AD}", "\u{200B}", "\u{202E}", "\u{FE0F}", "\u{3164}", "\u{1100}", "\u{E000}", "\u{378}",
        "\u{FFFF}", "\u{2028}",
    ] {
        check(&format!("12345678{bad}"), Err(Outcome::PasswordInvalid));
    }
    check("  blanks  ", Ok(()));
    check(&"x".repeat(256), Ok(()));
    check("1234567", Err(Outcome::PasswordInvalid));
    check("1234567\0", Err(Outcome::PasswordInvalid));
    check("12345678\n", Err(Outcome::PasswordInvalid));
    check(&"x".repeat(257), Err(Outcome::PasswordTooLong));
    check(&"\n".repeat(257), Err(Outcome::PasswordTooLong));
    assert_eq!(format!("{:?}", Password::to_check("geheim")), "[secret]");
    assert_eq!(expose("no\nform"), b"no\nform");
}

#[test]
fn the_key_of_every_character_is_bounded_and_knows_no_case() {
    let mut permitted = 0;
    for c in '\0'..=char::MAX {
        let text = c.to_string();
        let after = |before: &str| names::is_permitted(&format!("{before}{c}"));
        if !(names::is_permitted(&text) || after("a") || after("가")) {
            continue;
        }
        permitted += 1;
        let key_of = key(&text);
        assert!(key_of.chars().count() <= KEY_CHARS_MAX, "{c:?}: {key_of:?}");
        assert!(key_of.encode_utf16().count() <= KEY_CHARS_MAX, "{c:?}: {key_of:?}");
        for other in [text.to_lowercase(), text.to_uppercase()] {
            // `ß` and `ŉ` have no capital of one character.
            if other.chars().count() == 1 && other.to_lowercase() == text.to_lowercase() {
                assert_eq!(key(&other), key_of, "{c:?}");
            }
        }
    }
    assert!(permitted > 40_000, "{permitted}");
}

proptest! {
    #[test]
    fn every_text_is_checked_and_its_key_is_bounded(text: String) {
        let _ = check_password(&text);
        let _ = Reserved::default().contains(&text);
        if let Ok(key_of) = check_id(&text) {
            prop_assert!(key_of.trim() == key_of && !key_of.is_empty());
            prop_assert!(key_of.encode_utf16().count() <= ID_CHARS_MAX * KEY_CHARS_MAX);
        }
        if let Ok(key_of) = check_name(&text) {
            prop_assert!(key_of.trim() == key_of && !key_of.is_empty());
        }
    }

    #[test]
    fn the_key_of_words_is_bounded(text in "[a-zA-Z%♪À-ỹ가-힣]{3,32}") {
        if let Ok(key_of) = check_id(&text) {
            prop_assert!(key_of.encode_utf16().count() <= ID_CHARS_MAX * KEY_CHARS_MAX);
        }
    }

    #[test]
    fn case_and_composition_do_not_matter(text in "([a-zA-Zà-öÀ-Ö0-9]{3,12}|[А-Яа-я]{3,12}|[가-힣]{3,12})") {
        let decomposed: String = text.nfd().collect();
        prop_assert!(check_id(&text).is_ok());
        prop_assert_eq!(key(&text), key(&decomposed));
        prop_assert_eq!(key(&text), key(&text.to_uppercase()));
        prop_assert_eq!(key(&text), key(&text.to_lowercase()));
    }

    #[test]
    fn the_form_of_a_password_is_its_own_form(text in "\\PC{0,40}") {
        let once = Password::to_check(&text);
        let again = Password::to_check(std::str::from_utf8(once.expose()).unwrap());
        prop_assert_eq!(once.expose(), again.expose());
        let decomposed: String = text.nfd().collect();
        if check_password(&text).is_ok() && decomposed.nfc().eq(text.nfc()) {
            let other = Password::to_check(&decomposed);
            prop_assert_eq!(once.expose(), other.expose());
        }
    }
}
