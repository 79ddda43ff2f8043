//! Checks of accounts and characters.

use throng_core::limits::{ID_CHARS_MAX, NAME_CHARS_MAX};
use throng_core::wire::packets::{Character, Name};

use super::trial::{CheckError, Checked, Trial, check_eq, concurrently, create_character, sign_up};
use crate::dbagent::procedures::{Account, AccountInsert, CharacterInsert, NewAccount};
use crate::rules;

pub(super) fn account_round_trip(t: &mut Trial<'_>) -> Checked {
    for rest in ["Plain", "한글 이름", "👩‍👩‍👧‍👦\u{1F600}", "É e\u{301} ß", "ı İ ΣΑΣ"]
    {
        let account = t.account(rest)?;
        let id = t.id(rest);
        let wanted = Account { account, id: id.clone(), password_hash: format!("$hash of {id}$") };
        check_eq!(t.db.account_select(&rules::key(&id))?, Some(wanted));
    }
    Ok(())
}

pub(super) fn unknown_account(t: &mut Trial<'_>) -> Checked {
    t.account("Bob")?;
    let key = rules::key(&t.id("Bob"));
    for unknown in ["", &t.id("Bob"), &format!("{key} "), &format!(" {key}"), &t.id("bo"), &t.id("bo%")] {
        check_eq!(t.db.account_select(unknown)?, None);
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
        check_eq!(t.db.account_select(&rules::key(&id))?.map(|found| found.id), Some(id.clone()));
        check_eq!(matches!(t.character(account, &id)?, CharacterInsert::Inserted(_)), true);
        check_eq!(t.db.character_select(account)?.map(|found| found.name.into_string()), Some(id));
    }
    Ok(())
}

pub(super) fn longest_texts(t: &mut Trial<'_>) -> Checked {
    // U+AF66 and U+1D160 are among the characters with the longest keys: six characters, and three
    // of four bytes.
    for filler in ['x', '힣', '\u{AF66}', '\u{1F600}', '\u{1D160}'] {
        let rest = |most: usize, tag: &str| filler.to_string().repeat(most - tag.chars().count());
        let account = t.account(&rest(ID_CHARS_MAX, &t.tag))?;
        let id = t.id(&rest(ID_CHARS_MAX, &t.tag));
        check_eq!(t.db.account_select(&rules::key(&id))?.map(|found| found.id), Some(id));
        let name = t.id(&rest(NAME_CHARS_MAX, &t.tag));
        check_eq!(matches!(t.character(account, &name)?, CharacterInsert::Inserted(_)), true);
        check_eq!(t.db.character_select(account)?.map(|found| found.name.into_string()), Some(name));
    }
    let hash = "h".repeat(255);
    let id = t.id("hash");
    t.db.account_insert(&NewAccount { id: &id, id_key: &id, password_hash: &hash, now_ms: u64::MAX })?;
    check_eq!(t.db.account_select(&id)?.map(|found| found.password_hash), Some(hash));
    Ok(())
}

pub(super) fn id_taken(t: &mut Trial<'_>) -> Checked {
    let first = t.account("Éva")?;
    for same in ["Éva", "ÉVA", "éva", "e\u{301}va"] {
        check_eq!(t.sign_up(&t.id(same))?, AccountInsert::IdTaken);
    }
    let kept = t.db.account_select(&rules::key(&t.id("Éva")))?;
    check_eq!(kept.map(|found| (found.account, found.id)), Some((first, t.id("Éva"))));
    // Accents and digits make a different id.
    for other in ["eva", "éva1", "éva\u{301}"] {
        t.account(other)?;
    }
    // Look-alikes do not.
    for same in ["ｅva", "еvа", "𝐞va", "EVA"] {
        check_eq!(t.sign_up(&t.id(same))?, AccountInsert::IdTaken);
    }
    Ok(())
}

pub(super) fn concurrent_sign_ups(t: &mut Trial<'_>) -> Checked {
    let id = t.id("same");
    let inserted = concurrently(t.connections, 50, |number, db| {
        let id = if number % 2 == 0 { id.clone() } else { id.to_uppercase() };
        Ok(matches!(sign_up(db, &id)?, AccountInsert::Inserted(_)))
    })?;
    check_eq!(inserted, 1);
    Ok(())
}

pub(super) fn character_round_trip(t: &mut Trial<'_>) -> Checked {
    let account = t.account("a")?;
    check_eq!(t.db.character_select(account)?, None);
    let name = t.id("김 \u{1F600}É");
    let id = match t.character(account, &name)? {
        CharacterInsert::Inserted(id) => id,
        refused => return Err(CheckError::Character(refused)),
    };
    let name = Name::new(name)?;
    check_eq!(t.db.character_select(account)?, Some(Character { id, name, level: 1, experience: 0 }));
    Ok(())
}

pub(super) fn character_conflicts(t: &mut Trial<'_>) -> Checked {
    let first = t.account("a")?;
    let second = t.account("b")?;
    let name = t.id("Name");
    let other = t.id("Other");
    check_eq!(matches!(t.character(first, &name)?, CharacterInsert::Inserted(_)), true);
    check_eq!(t.character(second, &t.id("NAME"))?, CharacterInsert::NameTaken);
    check_eq!(t.character(first, &other)?, CharacterInsert::CharacterExists);
    check_eq!(t.character(first, &name)?, CharacterInsert::CharacterExists);
    for unknown in [u64::MAX, 0, 1 << 63] {
        check_eq!(t.character(unknown, &other)?, CharacterInsert::NoSuchAccount);
        check_eq!(t.character(unknown, &name)?, CharacterInsert::NoSuchAccount);
        check_eq!(t.db.character_select(unknown)?, None);
    }
    check_eq!(matches!(t.character(second, &other)?, CharacterInsert::Inserted(_)), true);
    Ok(())
}

pub(super) fn concurrent_names(t: &mut Trial<'_>) -> Checked {
    let accounts: Vec<u64> =
        (0..20).map(|number| t.account(&number.to_string())).collect::<Result<_, _>>()?;
    let name = t.id("same");
    let inserted = concurrently(t.connections, accounts.len(), |number, db| {
        Ok(matches!(create_character(db, accounts[number], &name)?, CharacterInsert::Inserted(_)))
    })?;
    check_eq!(inserted, 1);
    Ok(())
}

/// A hash of this cost, which no password matches.
fn hash_of_cost(memory_kib: u32, output: char) -> String {
    let output = output.to_string().repeat(43);
    format!("$argon2id$v=19$m={memory_kib},t=1,p=1$c29tZXNhbHRzb21lc2FsdA${output}")
}

fn stored_hash(t: &mut Trial<'_>, id: &str) -> Result<Option<String>, CheckError> {
    Ok(t.db.account_select(&rules::key(id))?.map(|found| found.password_hash))
}

pub(super) fn password_replace(t: &mut Trial<'_>) -> Checked {
    let account = t.account("bob")?;
    let other = t.account("other")?;
    let id = t.id("bob");
    let first = format!("$hash of {id}$");
    check_eq!(t.db.password_replace(account, "$another$", "$new$")?, false);
    // Hashes are texts with a case.
    check_eq!(t.db.password_replace(account, &first.to_uppercase(), "$new$")?, false);
    check_eq!(stored_hash(t, &id)?, Some(first.clone()));
    for _ in 0..2 {
        // The second call finds the work of the first one.
        check_eq!(t.db.password_replace(account, &first, "$new$")?, true);
        check_eq!(stored_hash(t, &id)?, Some("$new$".into()));
    }
    check_eq!(t.db.password_replace(account, &first, "$newer$")?, false);
    check_eq!(t.db.password_replace(u64::MAX, &first, "$newer$")?, false);
    check_eq!(stored_hash(t, &id)?, Some("$new$".into()));
    let id = t.id("other");
    check_eq!(t.db.account_select(&rules::key(&id))?.map(|found| found.account), Some(other));
    check_eq!(stored_hash(t, &id)?, Some(format!("$hash of {id}$")));
    Ok(())
}

pub(super) fn concurrent_replacements(t: &mut Trial<'_>) -> Checked {
    let account = t.account("bob")?;
    let first = format!("$hash of {}$", t.id("bob"));
    let replaced = concurrently(t.connections, 20, |number, db| {
        db.password_replace(account, &first, &format!("$number {number}$"))
    })?;
    check_eq!(replaced, 1);
    Ok(())
}

pub(super) fn password_costs(t: &mut Trial<'_>) -> Checked {
    // Costs that no configuration has, so that accounts of an operator's database do not matter.
    let costs = [8, 9].map(|memory_kib| hash_of_cost(memory_kib, 'A'));
    let mut accounts = Vec::new();
    for (number, hash) in costs.iter().enumerate() {
        let id = t.id(&format!("cost{number}"));
        let new = NewAccount { id: &id, id_key: &id, password_hash: hash, now_ms: 0 };
        match t.db.account_insert(&new)? {
            AccountInsert::Inserted(account) => accounts.push(account),
            AccountInsert::IdTaken => return Err(CheckError::IdTaken(id)),
        }
    }
    let mut found = Vec::new();
    let mut after = String::new();
    while let Some(cost) = t.db.password_cost_next(&after)? {
        check_eq!(cost > after, true);
        after.clone_from(&cost);
        found.push(cost);
    }
    check_eq!(found.contains(&"v=19,m=8,t=1,p=1".to_owned()), true);
    check_eq!(found.contains(&"v=19,m=9,t=1,p=1".to_owned()), true);
    check_eq!(t.db.password_cost_next("v=19,m=9,t=1,p")?, Some("v=19,m=9,t=1,p=1".into()));
    // A replaced hash takes its cost along: every check of a password would pay it.
    for (account, hash) in accounts.iter().zip(&costs) {
        check_eq!(t.db.password_replace(*account, hash, "$none$")?, true);
    }
    check_eq!(t.db.password_cost_next("v=19,m=9,t=1,p")? == Some("v=19,m=9,t=1,p=1".into()), false);
    Ok(())
}
