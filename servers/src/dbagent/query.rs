//! Calls of stored procedures and what comes back: the procedure by name, its parameters
//! bound (a value never becomes part of a statement's text), rows as typed records.
//!
//! The table of [`procedures`] is that of sql/README.md; a test holds the two, and the
//! declarations in `sql/`, against each other.

use std::fmt;

use throng_core::wire::packets::{Character, Claim, Name};

use super::procedures::{Account, DbError, Fault, Held};

/// What a parameter or a column holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A signed 64-bit number: BIGINT.
    Number,
    /// A small number, a flag or a result code: INTEGER.
    Small,
    /// A text of at most so many UTF-16 units: NVARCHAR(n) in T-SQL.
    Text(usize),
}

/// A stored procedure.
#[derive(Debug, PartialEq, Eq)]
pub struct Procedure {
    /// Its name, the same in every dialect.
    pub name: &'static str,
    /// Its parameters, in order.
    pub parameters: &'static [(&'static str, Kind)],
    /// The columns of its rows, in order.
    pub columns: &'static [(&'static str, Kind)],
}

/// A procedure with what it is to be called with.
#[derive(Debug, Clone)]
pub struct QueryStatement<'a> {
    /// The procedure.
    pub procedure: &'static Procedure,
    /// One for each parameter.
    pub arguments: Vec<Value<'a>>,
}

/// A value bound to a parameter.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Value<'a> {
    /// For [`Kind::Number`] and [`Kind::Small`].
    Number(i64),
    /// For [`Kind::Text`].
    Text(&'a str),
}

impl fmt::Debug for Value<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => write!(f, "{number}"),
            // It may be a password's hash.
            Self::Text(text) => write!(f, "[text of {} bytes]", text.len()),
        }
    }
}

impl<'a> QueryStatement<'a> {
    /// A call of `procedure`.
    pub fn new(procedure: &'static Procedure, arguments: &[Value<'a>]) -> Self {
        debug_assert_eq!(procedure.parameters.len(), arguments.len(), "{}", procedure.name);
        Self { procedure, arguments: arguments.to_vec() }
    }

    /// Each argument with the kind of its parameter.
    pub fn bindings(&self) -> impl Iterator<Item = (Value<'a>, Kind)> {
        self.arguments.iter().zip(self.procedure.parameters).map(|(value, (_, kind))| (*value, *kind))
    }
}

/// A field of a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Field {
    /// NULL.
    Null,
    /// A number of either size.
    Number(i64),
    /// A text.
    Text(String),
}

/// A row, its fields in the order of the columns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueryRecord {
    place: &'static str,
    fields: Vec<Field>,
}

impl QueryRecord {
    /// A row that `place` (a procedure) returned.
    pub fn new(place: &'static str, fields: Vec<Field>) -> Self {
        Self { place, fields }
    }

    /// The number in column `at` (from 0), or None when it is NULL.
    pub fn optional(&self, at: usize) -> Result<Option<i64>, DbError> {
        match self.fields.get(at) {
            Some(Field::Number(number)) => Ok(Some(*number)),
            Some(Field::Null) => Ok(None),
            found => Err(self.bad(at, "a number", found)),
        }
    }

    /// The number in column `at` (from 0).
    pub fn number(&self, at: usize) -> Result<i64, DbError> {
        self.optional(at)?.ok_or_else(|| self.bad(at, "a number", Some(&Field::Null)))
    }

    /// The unsigned number whose bits are in column `at` (from 0).
    pub fn bits(&self, at: usize) -> Result<u64, DbError> {
        self.number(at).map(from_bits)
    }

    /// The text in column `at` (from 0).
    pub fn text(&self, at: usize) -> Result<&str, DbError> {
        match self.fields.get(at) {
            Some(Field::Text(text)) => Ok(text),
            found => Err(self.bad(at, "a text", found)),
        }
    }

    fn bad(&self, at: usize, wanted: &str, found: Option<&Field>) -> DbError {
        let found = match found {
            None => "missing",
            Some(Field::Null) => "NULL",
            Some(Field::Number(_)) => "a number",
            Some(Field::Text(_)) => "a text",
        };
        self.impossible(format!("column {} should be {wanted} and is {found}", at + 1))
    }

    /// The error that this record cannot be.
    pub fn impossible(&self, why: impl fmt::Display) -> DbError {
        DbError::new(Fault::BadRecord, self.place, why)
    }
}

impl Account {
    /// The account in a row of `account, id, password_hash`.
    pub(super) fn read(row: &QueryRecord) -> Result<Self, DbError> {
        let (id, password_hash) = (row.text(1)?.to_owned(), row.text(2)?.to_owned());
        Ok(Self { account: row.bits(0)?, id, password_hash })
    }
}

impl QueryRecord {
    /// The character in a row of `character, name, level, experience`.
    pub(super) fn character(&self) -> Result<Character, DbError> {
        let id = self.bits(0)?;
        let bad =
            |what: &str, why: &dyn fmt::Display| self.impossible(format!("{what} of character {id}: {why}"));
        let name = Name::new(self.text(1)?).map_err(|error| bad("name", &error))?;
        let level = u32::try_from(self.number(2)?).map_err(|error| bad("level", &error))?;
        Ok(Character { id, name, level, experience: self.bits(3)? })
    }
}

impl Held {
    /// Who was displaced on an account, by the columns for claim and instance: nobody where they are NULL.
    pub(super) fn read(account: u64, claim: Option<i64>, instance: Option<i64>) -> Option<Self> {
        let claim = Claim { account, id: from_bits(claim?) };
        Some(Self { instance: from_bits(instance?), claim })
    }
}

/// An unsigned number as a column holds it, bit for bit.
pub fn to_bits(number: u64) -> i64 {
    number.cast_signed()
}

/// The number that [`to_bits`] gave.
pub fn from_bits(bits: i64) -> u64 {
    bits.cast_unsigned()
}

/// A time as a column holds it, at most its maximum.
pub fn to_ms(time: u64) -> i64 {
    i64::try_from(time).unwrap_or(i64::MAX)
}

/// The time that [`to_ms`] gave; what is before 1970 is 1970.
pub fn from_ms(time: i64) -> u64 {
    u64::try_from(time).unwrap_or(0)
}

/// Every procedure.
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
            /// All of them.
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
            ("id" Text(64), "id_key" Text(192), "password_hash" Text(255), "now_ms" Number)
            -> ("result" Small, "account" Number);
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
/// UTF-16 units of such a page: two numbers of 20 characters a claim.
pub const LIST_UNITS: usize = LIST_CLAIMS * 40;

#[cfg(test)]
mod tests;
