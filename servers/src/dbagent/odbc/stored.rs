//! [`Procedures`] as calls of stored procedures.

use std::fmt::Write;

use throng_core::wire::packets::{Character, Claim};

use super::connection::OdbcConnection;
use super::settings::OdbcSource;
use crate::dbagent::dialect::Dialect;
use crate::dbagent::password;
use crate::dbagent::procedures::{
    Account, AccountInsert, CharacterInsert, DbError, Fault, Held, HeldList, Holder, NewAccount,
    NewCharacter, OnlineClaim, Procedures, Transfer,
};
use crate::dbagent::query::procedures::{
    ACCOUNT_INSERT, ACCOUNT_SELECT, AGENT_START, CHARACTER_INSERT, CHARACTER_SELECT, CLOCK_SELECT,
    HOLDER_RENEW, ONLINE_AWAY, ONLINE_CLAIM, ONLINE_LIST, ONLINE_RELEASE, ONLINE_SYNC, ONLINE_TRANSFER,
    PASSWORD_COST_NEXT, PASSWORD_REPLACE, SCHEMA_SELECT,
};
use crate::dbagent::query::{
    LIST_CLAIMS, Procedure, QueryRecord, QueryStatement, Value, from_ms, to_bits, to_ms,
};
use crate::dbagent::schema::{self, Recorded};

/// The procedures of a database server over one connection.
#[derive(Debug)]
pub struct Stored {
    connection: OdbcConnection,
    dialect: Dialect,
}

impl Stored {
    /// Connects. The database must have all migrations and no others.
    pub fn connect(source: &OdbcSource) -> Result<Self, DbError> {
        let connection = OdbcConnection::open_slowly(source)?;
        let mut stored = Self { connection, dialect: source.dialect };
        let recorded = stored.migrations()?;
        match schema::pending(&source.place, schema::known(source.dialect), &recorded) {
            Ok([]) => {
                stored.connection.limit_statements(source)?;
                Ok(stored)
            }
            Ok(some) => {
                let detail = format!("{} migrations are pending", some.len());
                Err(DbError::new(Fault::Schema, &source.place, detail))
            }
            Err(error) => Err(DbError::new(Fault::Schema, &source.place, error)),
        }
    }

    /// Connects without checking the migrations.
    pub fn connect_unchecked(source: &OdbcSource) -> Result<Self, DbError> {
        Ok(Self { connection: OdbcConnection::open(source)?, dialect: source.dialect })
    }

    /// The connection, for statements other than procedures.
    pub fn connection(&mut self) -> &mut OdbcConnection {
        &mut self.connection
    }

    /// `p_Schema_Select`: returns the recorded migrations.
    pub fn migrations(&mut self) -> Result<Vec<Recorded>, DbError> {
        let rows = self.call(&SCHEMA_SELECT, &[])?;
        rows.iter().map(Recorded::read).collect()
    }

    /// Calls a procedure.
    pub fn call(
        &mut self,
        procedure: &'static Procedure,
        arguments: &[Value<'_>],
    ) -> Result<Vec<QueryRecord>, DbError> {
        self.connection.call(self.dialect, &QueryStatement::new(procedure, arguments))
    }

    /// Calls a procedure that always returns one row.
    fn one(
        &mut self,
        procedure: &'static Procedure,
        arguments: &[Value<'_>],
    ) -> Result<QueryRecord, DbError> {
        let rows = self.call(procedure, arguments)?;
        let none = || DbError::new(Fault::BadRecord, procedure.name, "the procedure returned no row");
        rows.into_iter().next().ok_or_else(none)
    }

    /// Returns the meaning of a row's result code.
    fn result<T: Clone, const N: usize>(row: &QueryRecord, meanings: &[T; N]) -> Result<T, DbError> {
        let code = row.number(0)?;
        let meaning = usize::try_from(code).ok().and_then(|code| meanings.get(code)).cloned();
        meaning.ok_or_else(|| row.bad_record(format!("there is no result {code}")))
    }
}

fn number(value: u64) -> Value<'static> {
    Value::Number(to_bits(value))
}

fn time(value: u64) -> Value<'static> {
    Value::Number(to_ms(value))
}

fn flag(value: bool) -> Value<'static> {
    Value::Number(i64::from(value))
}

impl Procedures for Stored {
    fn clock(&mut self) -> Result<u64, DbError> {
        self.one(&CLOCK_SELECT, &[])?.number(0).map(from_ms)
    }

    fn account_select(&mut self, id_key: &str) -> Result<Option<Account>, DbError> {
        self.call(&ACCOUNT_SELECT, &[Value::Text(id_key)])?.first().map(Account::read).transpose()
    }

    fn account_insert(&mut self, new: &NewAccount<'_>) -> Result<AccountInsert, DbError> {
        let row = self.one(
            &ACCOUNT_INSERT,
            &[
                Value::Text(new.id),
                Value::Text(new.id_key),
                Value::Text(new.password_hash),
                Value::Text(&password::cost_of(new.password_hash)),
                time(new.now_ms),
            ],
        )?;
        let is_inserted = Self::result(&row, &[true, false])?;
        Ok(if is_inserted { AccountInsert::Inserted(row.bits(1)?) } else { AccountInsert::IdTaken })
    }

    fn password_replace(&mut self, account: u64, old_hash: &str, new_hash: &str) -> Result<bool, DbError> {
        let new_cost = password::cost_of(new_hash);
        let hashes = [old_hash, new_hash, &new_cost].map(Value::Text);
        let row = self.one(&PASSWORD_REPLACE, &[&[number(account)], &hashes[..]].concat())?;
        Self::result(&row, &[true, false])
    }

    fn password_cost_next(&mut self, after: &str) -> Result<Option<String>, DbError> {
        let rows = self.call(&PASSWORD_COST_NEXT, &[Value::Text(after)])?;
        rows.first().map(|row| row.text(0).map(str::to_owned)).transpose()
    }

    fn character_select(&mut self, account: u64) -> Result<Option<Character>, DbError> {
        self.call(&CHARACTER_SELECT, &[number(account)])?.first().map(QueryRecord::character).transpose()
    }

    fn character_insert(&mut self, new: &NewCharacter<'_>) -> Result<CharacterInsert, DbError> {
        let row = self.one(
            &CHARACTER_INSERT,
            &[number(new.account), Value::Text(new.name), Value::Text(new.name_key), time(new.now_ms)],
        )?;
        let refusal = Self::result(
            &row,
            &[
                None,
                Some(CharacterInsert::NoSuchAccount),
                Some(CharacterInsert::CharacterExists),
                Some(CharacterInsert::NameTaken),
            ],
        )?;
        refusal.map_or_else(|| Ok(CharacterInsert::Inserted(row.bits(1)?)), Ok)
    }

    fn online_claim(
        &mut self,
        claim: &Claim,
        holder: Holder,
        take_over: bool,
        now_ms: u64,
    ) -> Result<OnlineClaim, DbError> {
        let row = self.one(
            &ONLINE_CLAIM,
            &[
                number(claim.account),
                number(claim.id),
                number(holder.instance),
                number(holder.agent),
                flag(take_over),
                time(now_ms),
            ],
        )?;
        let displaced = Held::read(claim.account, row.optional_number(1)?, row.optional_number(2)?);
        Self::result(
            &row,
            &[OnlineClaim::Claimed { displaced }, OnlineClaim::AlreadyOnline, OnlineClaim::NoLease],
        )
    }

    fn online_transfer(&mut self, claim: &Claim, to: Holder, now_ms: u64) -> Result<Transfer, DbError> {
        let row = self.one(
            &ONLINE_TRANSFER,
            &[number(claim.account), number(claim.id), number(to.instance), number(to.agent), time(now_ms)],
        )?;
        Self::result(&row, &[Transfer::Moved, Transfer::Lost, Transfer::NoLease])
    }

    fn online_release(&mut self, claim: &Claim, instance: u64) -> Result<bool, DbError> {
        let row = self.one(&ONLINE_RELEASE, &[number(claim.account), number(claim.id), number(instance)])?;
        Self::result(&row, &[true, false])
    }

    fn online_away(&mut self, claim: &Claim, holder: Holder, is_away: bool) -> Result<bool, DbError> {
        let row = self.one(
            &ONLINE_AWAY,
            &[
                number(claim.account),
                number(claim.id),
                number(holder.instance),
                number(holder.agent),
                flag(is_away),
            ],
        )?;
        Self::result(&row, &[true, false])
    }

    fn online_sync(
        &mut self,
        list: &HeldList<'_>,
        now_ms: u64,
        lease_until_ms: u64,
    ) -> Result<Vec<Claim>, DbError> {
        let instance = number(list.holder.instance);
        let list_number = number(list.number);
        // A page only adds to the rows noted for this list, so it may be sent again.
        let mut page = String::new();
        for claims in list.claims.chunks(LIST_CLAIMS) {
            page.clear();
            for claim in claims {
                // Writing to a String cannot fail.
                let _ = write!(page, "{:>20}{:>20}", to_bits(claim.account), to_bits(claim.id));
            }
            self.one(&ONLINE_LIST, &[instance, list_number, Value::Text(&page), time(now_ms)])?;
        }
        let rows = self.call(
            &ONLINE_SYNC,
            &[
                instance,
                number(list.holder.agent),
                list_number,
                flag(list.is_first),
                time(now_ms),
                time(lease_until_ms),
            ],
        )?;
        let mut conflicts = Vec::new();
        for row in &rows {
            match row.number(0)? {
                0 => {}
                1 => conflicts.push(Claim { account: row.bits(1)?, id: row.bits(2)? }),
                code => return Err(row.bad_record(format!("there is no result {code}"))),
            }
        }
        Ok(conflicts)
    }

    fn holder_renew(&mut self, holder: Holder, lease_until_ms: u64) -> Result<(), DbError> {
        let arguments = [number(holder.instance), number(holder.agent), time(lease_until_ms)];
        let row = self.one(&HOLDER_RENEW, &arguments)?;
        Self::result(&row, &[()])
    }

    fn agent_start(&mut self, agent: u64, until_ms: u64) -> Result<(), DbError> {
        let row = self.one(&AGENT_START, &[number(agent), time(until_ms)])?;
        Self::result(&row, &[()])
    }

    fn close(self: Box<Self>) -> Result<(), DbError> {
        self.connection.close()
    }
}
