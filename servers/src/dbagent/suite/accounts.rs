//! Accounts and characters.

use throng_core::limits::{ID_CHARS_MAX, NAME_CHARS_MAX};
use throng_core::wire::packets::{Character, Name};

use super::{Checked, Trial, at_once, create_character, sign_up};
use crate::dbagent::procedures::{Account, AccountInsert, CharacterInsert, NewAccount};
use crate::rules;

pub(super) fn account_round_trip(t: &mut Trial<'_>) -> Checked {
    for rest in ["Plain", "한글 이름", "👩‍👩‍👧‍👦\u{1F600}", "É e\u{301} ß", "ı İ ΣΑΣ"]
    {
        let account = t.account(rest)?;
        let id = t.id(rest);
        let wanted = Account { account, id: id.clone(), password_hash: format!("$hash of {id}$") };
        expect!(t.db.account_select(&rules::key(&id))?, Some(wanted));
    }
    Ok(())
}

pub(super) fn unknown_account(t: &mut Trial<'_>) -> Checked {
    t.account("Bob")?;
    let key = rules::key(&t.id("Bob"));
    for unknown in ["", &t.id("Bob"), &format!("{key} "), &format!(" {key}"), &t.id("bo"), &t.id("bo%")] {
        expect!(t.db.account_select(unknown)?, None);
    }
    Ok(())
}

pub(super) fn hostile_texts(t: &mut Trial<'_>) -> Checked {
    for rest in [
        "'; DROP TABLE x;--",
        "' OR '1'='1",
        "\"quoted\" [b] `c`",
        "%_\\?:1 $1 @p {d}",
        "a''b\\'c",
        "/* x */ -- y",
        "<b>&amp;",
    ] {
        let account = t.account(rest)?;
        let id = t.id(rest);
        expect!(t.db.account_select(&rules::key(&id))?.map(|found| found.id), Some(id.clone()));
        expect!(matches!(t.character(account, &id)?, CharacterInsert::Inserted(_)), true);
        expect!(t.db.character_select(account)?.map(|found| found.name.into_string()), Some(id));
    }
    Ok(())
}

pub(super) fn longest_texts(t: &mut Trial<'_>) -> Checked {
    // U+1D160 is the character whose key grows most: three of four bytes each.
    for filler in ['x', '힣', '\u{1F600}', '\u{1D160}'] {
        let rest = |most: usize, tag: &str| filler.to_string().repeat(most - tag.chars().count());
        let account = t.account(&rest(ID_CHARS_MAX, &t.tag))?;
        let id = t.id(&rest(ID_CHARS_MAX, &t.tag));
        expect!(t.db.account_select(&rules::key(&id))?.map(|found| found.id), Some(id));
        let name = t.id(&rest(NAME_CHARS_MAX, &t.tag));
        expect!(matches!(t.character(account, &name)?, CharacterInsert::Inserted(_)), true);
        expect!(t.db.character_select(account)?.map(|found| found.name.into_string()), Some(name));
    }
    let hash = "h".repeat(255);
    let id = t.id("hash");
    t.db.account_insert(&NewAccount { id: &id, id_key: &id, password_hash: &hash, now_ms: u64::MAX })?;
    expect!(t.db.account_select(&id)?.map(|found| found.password_hash), Some(hash));
    Ok(())
}

pub(super) fn id_taken(t: &mut Trial<'_>) -> Checked {
    let first = t.account("Éva")?;
    for same in ["Éva", "ÉVA", "éva", "e\u{301}va"] {
        expect!(t.sign_up(&t.id(same))?, AccountInsert::IdTaken);
    }
    let kept = t.db.account_select(&rules::key(&t.id("Éva")))?;
    expect!(kept.map(|found| (found.account, found.id)), Some((first, t.id("Éva"))));
    // Neither accents nor composed look-alikes are the same, nor do digits or width fold.
    for other in ["eva", "éva1", "ｅva", "éva\u{301}"] {
        t.account(other)?;
    }
    Ok(())
}

pub(super) fn concurrent_sign_ups(t: &mut Trial<'_>) -> Checked {
    let id = t.id("same");
    let made = at_once(t.connections, 50, |number, db| {
        let id = if number % 2 == 0 { id.clone() } else { id.to_uppercase() };
        Ok(matches!(sign_up(db, &id)?, AccountInsert::Inserted(_)))
    })?;
    expect!(made, 1);
    Ok(())
}

pub(super) fn character_round_trip(t: &mut Trial<'_>) -> Checked {
    let account = t.account("a")?;
    expect!(t.db.character_select(account)?, None);
    let name = t.id("김 \u{1F600}É");
    let CharacterInsert::Inserted(id) = t.character(account, &name)? else {
        return Err("the character was not made".into());
    };
    let name = Name::new(name).map_err(|error| error.to_string())?;
    expect!(t.db.character_select(account)?, Some(Character { id, name, level: 1, experience: 0 }));
    Ok(())
}

pub(super) fn character_conflicts(t: &mut Trial<'_>) -> Checked {
    let (first, second) = (t.account("a")?, t.account("b")?);
    let (name, other) = (t.id("Name"), t.id("Other"));
    expect!(matches!(t.character(first, &name)?, CharacterInsert::Inserted(_)), true);
    expect!(t.character(second, &t.id("NAME"))?, CharacterInsert::NameTaken);
    expect!(t.character(first, &other)?, CharacterInsert::CharacterExists);
    expect!(t.character(first, &name)?, CharacterInsert::CharacterExists);
    for nobody in [u64::MAX, 0, 1 << 63] {
        expect!(t.character(nobody, &other)?, CharacterInsert::NoSuchAccount);
        expect!(t.character(nobody, &name)?, CharacterInsert::NoSuchAccount);
        expect!(t.db.character_select(nobody)?, None);
    }
    expect!(matches!(t.character(second, &other)?, CharacterInsert::Inserted(_)), true);
    Ok(())
}

pub(super) fn concurrent_names(t: &mut Trial<'_>) -> Checked {
    let accounts: Vec<u64> =
        (0..20).map(|number| t.account(&number.to_string())).collect::<Result<_, _>>()?;
    let name = t.id("same");
    let made = at_once(t.connections, accounts.len(), |number, db| {
        Ok(matches!(create_character(db, accounts[number], &name)?, CharacterInsert::Inserted(_)))
    })?;
    expect!(made, 1);
    Ok(())
}
