//! Calls of stored procedures as typed data: name, bound parameters and rows.
//!
//! Values are always bound and never become part of a statement's text. A test compares the table
//! of [`procedures`] with sql/README.md and with the declarations in `sql/`.

use std::fmt;

use throng_core::wire::packets::{Character, Claim, Name};

use super::procedures::{Account, DbError, Fault, Held};

/// Type of a parameter or a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Signed 64-bit number: BIGINT.
    Number,
    /// Small number, flag or result code: INTEGER.
    Small,
    /// Text of at most this many UTF-16 units: NVARCHAR(n) in T-SQL.
    Text(usize),
}

/// Declaration of a stored procedure.
#[derive(Debug, PartialEq, Eq)]
pub struct Procedure {
    /// Name, the same in every dialect.
    pub name: &'static str,
    /// Parameters in order.
    pub parameters: &'static [(&'static str, Kind)],
    /// Columns of a row in order.
    pub columns: &'static [(&'static str, Kind)],
}

/// A procedure and the arguments of a call.
#[derive(Debug, Clone)]
pub struct QueryStatement<'a> {
    /// The procedure.
    pub procedure: &'static Procedure,
    /// One argument for each parameter.
    pub arguments: Vec<Value<'a>>,
}

/// Value bound to a parameter.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Value<'a> {
    /// Value of a [`Kind::Number`] or [`Kind::Small`].
    Number(i64),
    /// Value of a [`Kind::Text`].
    Text(&'a str),
}

impl fmt::Debug for Value<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => write!(f, "{number}"),
            // The text may be the hash of a password.
            Self::Text(text) => write!(f, "[text of {} bytes]", text.len()),
        }
    }
}

impl<'a> QueryStatement<'a> {
    /// Creates a call of `procedure`.
    pub fn new(procedure: &'static Procedure, arguments: &[Value<'a>]) -> Self {
        debug_assert_eq!(procedure.parameters.len(), arguments.len(), "{}", procedure.name);
        Self { procedure, arguments: arguments.to_vec() }
    }

    /// Yields each argument with the type of its parameter.
    pub fn bindings(&self) -> impl Iterator<Item = (Value<'a>, Kind)> {
        self.arguments.iter().zip(self.procedure.parameters).map(|(value, (_, kind))| (*value, *kind))
    }
}

/// Field of a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Field {
    /// NULL.
    Null,
    /// Number of either size.
    Number(i64),
    /// Text.
    Text(String),
}

/// Row of a result, with fields in the order of the columns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueryRecord {
    place: &'static str,
    fields: Vec<Field>,
}

impl QueryRecord {
    /// Creates a row that the procedure `place` returned.
    pub fn new(place: &'static str, fields: Vec<Field>) -> Self {
        Self { place, fields }
    }

    /// Returns the number in column `at` (from 0), or `None` for NULL.
    pub fn optional_number(&self, at: usize) -> Result<Option<i64>, DbError> {
        match self.fields.get(at) {
            Some(Field::Number(number)) => Ok(Some(*number)),
            Some(Field::Null) => Ok(None),
            found => Err(self.mismatch(at, "a number", found)),
        }
    }

    /// Returns the number in column `at` (from 0).
    pub fn number(&self, at: usize) -> Result<i64, DbError> {
        self.optional_number(at)?.ok_or_else(|| self.mismatch(at, "a number", Some(&Field::Null)))
    }

    /// Returns the unsigned number whose bits are in column `at` (from 0).
    pub fn bits(&self, at: usize) -> Result<u64, DbError> {
        self.number(at).map(from_bits)
    }

    /// Returns the text in column `at` (from 0).
    pub fn text(&self, at: usize) -> Result<&str, DbError> {
        match self.fields.get(at) {
            Some(Field::Text(text)) => Ok(text),
            found => Err(self.mismatch(at, "a text", found)),
        }
    }

    fn mismatch(&self, at: usize, wanted: &str, found: Option<&Field>) -> DbError {
        let found = match found {
            None => "missing",
            Some(Field::Null) => "NULL",
            Some(Field::Number(_)) => "a number",
            Some(Field::Text(_)) => "a text",
        };
        self.bad_record(format!("column {} should be {wanted} and is {found}", at + 1))
    }

    /// Returns the error for an impossible value in this row.
    pub fn bad_record(&self, why: impl fmt::Display) -> DbError {
        DbError::new(Fault::BadRecord, self.place, why)
    }
}

impl Account {
    /// Reads a row of `account, id, password_hash`.
    pub(super) fn read(row: &QueryRecord) -> Result<Self, DbError> {
        Ok(Self {
            account: row.bits(0)?,
            id: row.text(1)?.to_owned(),
            password_hash: row.text(2)?.to_owned(),
        })
    }
}

impl QueryRecord {
    /// Reads a row of `character, name, level, experience`.
    pub(super) fn character(&self) -> Result<Character, DbError> {
        let id = self.bits(0)?;
        let bad =
            |what: &str, why: &dyn fmt::Display| self.bad_record(format!("{what} of character {id}: {why}"));
        let name = Name::new(self.text(1)?).map_err(|error| bad("name", &error))?;
        let level = u32::try_from(self.number(2)?).map_err(|error| bad("level", &error))?;
        Ok(Character { id, name, level, experience: self.bits(3)? })
    }
}

impl Held {
    /// Reads the displaced claim of an account from its columns; `None` if they are NULL.
    pub(super) fn read(account: u64, claim: Option<i64>, instance: Option<i64>) -> Option<Self> {
        let claim = Claim { account, id: from_bits(claim?) };
        Some(Self { instance: from_bits(instance?), claim })
    }
}

/// Converts an unsigned number to a column's value, bit for bit.
pub fn to_bits(number: u64) -> i64 {
    number.cast_signed()
}

/// Inverse of [`to_bits`].
pub fn from_bits(bits: i64) -> u64 {
    bits.cast_unsigned()
}

/// Converts a time to a column's value, saturating at its maximum.
pub fn to_ms(time: u64) -> i64 {
    i64::try_from(time).unwrap_or(i64::MAX)
}

/// Inverse of [`to_ms`]; a time before 1970 becomes 0.
pub fn from_ms(time: i64) -> u64 {
    u64::try_from(time).unwrap_or(0)
}

/// Declarations of all procedures.
pub mod procedures {
    use super::Kind::{Number, Small, Text};
    use super::Procedure;

    macro_rules! table {
        ($($ident:ident = $name:literal ($($parameter:literal $kind:expr),*) -> ($($column:literal $of:expr),*);)*) => {
            $(
                #[doc = concat!("`", $name, "`")]
                pub static $ident: Procedure = Procedure {
                    name: $name,
                    parameters: &[$(($parameter, $kind)),*],
                    columns: &[$(($column, $of)),*],
                };
            )*
            /// All procedures.
            pub static ALL: &[&Procedure] = &[$(&$ident),*];
        };
    }

    table! {
        SCHEMA_SELECT = "p_Schema_Select" ()
            -> ("number" Small, "name" Text(64), "checksum" Text(64), "applied_ms" Number);
        CLOCK_SELECT = "p_Clock_Select" () -> ("now_ms" Number);
        ACCOUNT_SELECT = "p_AccountData_Select" ("id_key" Text(192))
            -> ("account" Number, "id" Text(64), "password_hash" Text(255));
        ACCOUNT_INSERT = "p_AccountData_Insert"
            ("id" Text(64), "id_key" Text(192), "password_hash" Text(255), "password_cost" Text(64),
             "now_ms" Number)
            -> ("result" Small, "account" Number);
        PASSWORD_REPLACE = "p_Password_Replace"
            ("account" Number, "old_hash" Text(255), "new_hash" Text(255), "new_cost" Text(64))
            -> ("result" Small);
        PASSWORD_COST_NEXT = "p_PasswordCost_Next" ("after" Text(64)) -> ("password_cost" Text(64));
        CHARACTER_SELECT = "p_Character_Select" ("account" Number)
            -> ("character" Number, "name" Text(48), "level" Number, "experience" Number);
        CHARACTER_INSERT = "p_Character_Insert"
            ("account" Number, "name" Text(48), "name_key" Text(144), "now_ms" Number)
            -> ("result" Small, "character" Number);
        ONLINE_CLAIM = "p_Online_Claim"
            ("account" Number, "claim" Number, "instance" Number, "agent" Number, "take_over" Small, "now_ms" Number)
            -> ("result" Small, "displaced_claim" Number, "displaced_instance" Number);
        ONLINE_TRANSFER = "p_Online_Transfer"
            ("account" Number, "claim" Number, "to_instance" Number, "agent" Number, "now_ms" Number)
            -> ("result" Small);
        ONLINE_RELEASE = "p_Online_Release" ("account" Number, "claim" Number, "instance" Number)
            -> ("result" Small);
        ONLINE_AWAY = "p_Online_Away"
            ("account" Number, "claim" Number, "instance" Number, "agent" Number, "is_away" Small)
            -> ("result" Small);
        ONLINE_LIST = "p_Online_List"
            ("instance" Number, "list" Number, "claims" Text(super::LIST_UNITS), "now_ms" Number)
            -> ("result" Small);
        ONLINE_SYNC = "p_Online_Sync"
            ("instance" Number, "agent" Number, "list" Number, "is_first" Small, "now_ms" Number,
             "lease_until_ms" Number)
            -> ("result" Small, "account" Number, "claim" Number);
        HOLDER_RENEW = "p_Holder_Renew" ("instance" Number, "agent" Number, "lease_until_ms" Number)
            -> ("result" Small);
        AGENT_START = "p_Agent_Start" ("agent" Number, "until_ms" Number) -> ("result" Small);
    }
}

/// Claims in one call of `p_Online_List`: as many as fit into an NVARCHAR(4000).
pub const LIST_CLAIMS: usize = 100;
/// UTF-16 units of a full page: each claim takes two numbers of 20 characters.
pub const LIST_UNITS: usize = LIST_CLAIMS * 40;

#[cfg(test)]
mod tests;
