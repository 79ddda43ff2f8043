//! Inserts that may be retried over a new connection.
//!
//! If a connection breaks during an insert, the insert may have taken effect. The retry is then
//! refused by the row of the first attempt, which these functions recognize as their own.

use super::procedures::{AccountInsert, CharacterInsert, DbError, NewAccount, NewCharacter, Procedures};

/// Inserts an account. In a retry, an account with the same hash counts as inserted: the hash has a
/// random salt, so no other request can have made it.
pub fn insert_account(
    database: &mut dyn Procedures,
    new: &NewAccount<'_>,
    is_retry: bool,
) -> Result<AccountInsert, DbError> {
    let inserted = database.account_insert(new)?;
    if !is_retry || inserted != AccountInsert::IdTaken {
        return Ok(inserted);
    }
    let existing = database.account_select(new.id_key)?;
    let own = existing.filter(|account| account.password_hash == new.password_hash);
    Ok(own.map_or(inserted, |account| AccountInsert::Inserted(account.account)))
}

/// Inserts a character. In a retry, a character with the same name counts as inserted: an account
/// has only one character.
pub fn insert_character(
    database: &mut dyn Procedures,
    new: &NewCharacter<'_>,
    is_retry: bool,
) -> Result<CharacterInsert, DbError> {
    let inserted = database.character_insert(new)?;
    if !is_retry || inserted != CharacterInsert::CharacterExists {
        return Ok(inserted);
    }
    let existing = database.character_select(new.account)?;
    let own = existing.filter(|character| *character.name == *new.name);
    Ok(own.map_or(inserted, |character| CharacterInsert::Inserted(character.id)))
}
