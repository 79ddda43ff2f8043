//! The procedures as statements in SQLite's SQL, which has no stored procedures. [`Statements`]
//! runs them on the embedded library or through an ODBC driver.

use std::collections::HashSet;

use throng_core::clock::steady_unix_ms;
use throng_core::wire::packets::{Character, Claim};

use crate::dbagent::password;
use crate::dbagent::procedures::{
    Account, AccountInsert, CharacterInsert, DbError, Fault, Held, HeldList, Holder, NewAccount,
    NewCharacter, OnlineClaim, PRUNE_AFTER_MS, PRUNE_CLAIMS_MAX, PRUNE_HOLDERS_MAX, Procedures, Transfer,
};
use crate::dbagent::query::{Kind, QueryRecord, Value, to_bits, to_ms};

/// Event that a commit has to survive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// A power cut: accounts and characters.
    PowerCut,
    /// The end of the process: online state, which the servers report again.
    ProcessCrash,
}

/// Runs SQLite's statements over one connection.
pub trait Statements: Send {
    /// Sets the procedure that errors of the following statements name.
    fn at(&mut self, procedure: &'static str) -> &mut Self;

    /// Returns the rows of a query with columns of these types.
    fn rows(
        &mut self,
        sql: &'static str,
        arguments: &[Value<'_>],
        columns: &[Kind],
    ) -> Result<Vec<QueryRecord>, DbError>;

    /// Runs a statement without rows. Returns the number of rows that it changed.
    fn execute(&mut self, sql: &'static str, arguments: &[Value<'_>]) -> Result<usize, DbError>;

    /// Runs `body` in a transaction that holds the write lock from its start.
    fn write<T>(
        &mut self,
        procedure: &'static str,
        durability: Durability,
        body: impl FnOnce(&mut Self) -> Result<T, DbError>,
    ) -> Result<T, DbError>;

    /// Does what [`Procedures::look_after`] says.
    fn look_after(&mut self) -> bool {
        false
    }

    /// Closes the connection.
    fn close(self) -> Result<(), DbError>;

    /// Returns the first row of a query, if any.
    fn row(
        &mut self,
        sql: &'static str,
        arguments: &[Value<'_>],
        columns: &[Kind],
    ) -> Result<Option<QueryRecord>, DbError> {
        Ok(self.rows(sql, arguments, columns)?.into_iter().next())
    }

    /// Returns the row, one number, of a query that must have one.
    fn required_row(&mut self, sql: &'static str, arguments: &[Value<'_>]) -> Result<QueryRecord, DbError> {
        let none = || DbError::new(Fault::BadRecord, "SQLite", "a row that was just written is missing");
        self.row(sql, arguments, &[Kind::Number])?.ok_or_else(none)
    }

    /// Returns true if the query, which selects 1, has a row.
    fn exists(&mut self, sql: &'static str, arguments: &[Value<'_>]) -> Result<bool, DbError> {
        Ok(self.row(sql, arguments, &[Kind::Number])?.is_some())
    }
}

/// [`Procedures`] implemented by SQLite's statements.
#[derive(Debug)]
pub struct SqliteProcedures<S>(pub S);

const NUMBER: Kind = Kind::Number;
const TEXT: Kind = Kind::Text(255);

fn number(value: u64) -> Value<'static> {
    Value::Number(to_bits(value))
}

fn time(value: u64) -> Value<'static> {
    Value::Number(to_ms(value))
}

impl<S: Statements> Procedures for SqliteProcedures<S> {
    fn clock(&mut self) -> Result<u64, DbError> {
        // The file has no clock of its own, and its one agent needs none that steps.
        Ok(steady_unix_ms())
    }

    fn account_select(&mut self, id_key: &str) -> Result<Option<Account>, DbError> {
        let found = self.0.at("p_AccountData_Select").row(
            "SELECT account, id, password_hash FROM accounts WHERE id_key = ?1",
            &[Value::Text(id_key)],
            &[NUMBER, TEXT, TEXT],
        )?;
        found.as_ref().map(Account::read).transpose()
    }

    fn account_insert(&mut self, new: &NewAccount<'_>) -> Result<AccountInsert, DbError> {
        self.0.write("p_AccountData_Insert", Durability::PowerCut, |db| {
            let inserted = db.execute(
                "INSERT INTO accounts (id, id_key, password_hash, password_cost, created_ms)
                 VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT (id_key) DO NOTHING",
                &[
                    Value::Text(new.id),
                    Value::Text(new.id_key),
                    Value::Text(new.password_hash),
                    Value::Text(&password::cost_of(new.password_hash)),
                    time(new.now_ms),
                ],
            )?;
            if inserted == 0 {
                return Ok(AccountInsert::IdTaken);
            }
            let sql = "SELECT account FROM accounts WHERE id_key = ?1";
            db.required_row(sql, &[Value::Text(new.id_key)])?.bits(0).map(AccountInsert::Inserted)
        })
    }

    fn password_replace(&mut self, account: u64, old_hash: &str, new_hash: &str) -> Result<bool, DbError> {
        self.0.write("p_Password_Replace", Durability::PowerCut, |db| {
            let new_cost = password::cost_of(new_hash);
            // Each parameter occurs once: SQLite's ODBC driver counts the marks. The new hash as
            // the old one is a repeated call, whose answer was lost.
            let replaced = db.execute(
                "UPDATE accounts SET password_hash = ?1, password_cost = ?2
                 WHERE account = ?3 AND password_hash IN (?4, ?5)",
                &[
                    Value::Text(new_hash),
                    Value::Text(&new_cost),
                    number(account),
                    Value::Text(old_hash),
                    Value::Text(new_hash),
                ],
            )?;
            Ok(replaced == 1)
        })
    }

    fn password_cost_next(&mut self, after: &str) -> Result<Option<String>, DbError> {
        let found = self.0.at("p_PasswordCost_Next").row(
            "SELECT password_cost FROM accounts WHERE password_cost > ?1 ORDER BY password_cost LIMIT 1",
            &[Value::Text(after)],
            &[TEXT],
        )?;
        found.map(|row| row.text(0).map(str::to_owned)).transpose()
    }

    fn character_select(&mut self, account: u64) -> Result<Option<Character>, DbError> {
        let found = self.0.at("p_Character_Select").row(
            "SELECT character, name, level, experience FROM characters WHERE account = ?1",
            &[number(account)],
            &[NUMBER, TEXT, NUMBER, NUMBER],
        )?;
        found.as_ref().map(QueryRecord::character).transpose()
    }

    fn character_insert(&mut self, new: &NewCharacter<'_>) -> Result<CharacterInsert, DbError> {
        self.0.write("p_Character_Insert", Durability::PowerCut, |db| {
            let account = [number(new.account)];
            // Inserts no row for an unknown account; the foreign key guards other ways to insert.
            let inserted = db.execute(
                "INSERT INTO characters (account, name, name_key, created_ms)
                 SELECT account, ?2, ?3, ?4 FROM accounts WHERE account = ?1
                 ON CONFLICT DO NOTHING",
                &[account[0], Value::Text(new.name), Value::Text(new.name_key), time(new.now_ms)],
            )?;
            // The constraints have decided; these queries only find the reason.
            Ok(if inserted == 1 {
                let sql = "SELECT character FROM characters WHERE account = ?1";
                CharacterInsert::Inserted(db.required_row(sql, &account)?.bits(0)?)
            } else if !db.exists("SELECT 1 FROM accounts WHERE account = ?1", &account)? {
                CharacterInsert::NoSuchAccount
            } else if db.exists("SELECT 1 FROM characters WHERE account = ?1", &account)? {
                CharacterInsert::CharacterExists
            } else {
                CharacterInsert::NameTaken
            })
        })
    }

    fn online_claim(
        &mut self,
        claim: &Claim,
        holder: Holder,
        take_over: bool,
        now_ms: u64,
    ) -> Result<OnlineClaim, DbError> {
        self.0.write("p_Online_Claim", Durability::ProcessCrash, |db| {
            if !has_lease(db, holder, now_ms)? {
                return Ok(OnlineClaim::NoLease);
            }
            let held = db.row(
                "SELECT claim, instance, displaced_claim, displaced_instance, is_away, EXISTS (
                     SELECT 1 FROM leases l
                     WHERE l.instance = o.instance AND l.agent = o.agent AND l.lease_until_ms > ?2)
                 FROM online o WHERE account = ?1",
                &[number(claim.account), time(now_ms)],
                &[NUMBER; 6],
            )?;
            let mut displaced = None;
            if let Some(held) = held {
                if held.bits(0)? == claim.id && held.bits(1)? == holder.instance {
                    // A repeated call, the answer to which was lost.
                    return Ok(OnlineClaim::Claimed {
                        displaced: Held::read(
                            claim.account,
                            held.optional_number(2)?,
                            held.optional_number(3)?,
                        ),
                    });
                }
                let (is_away, is_valid) = (held.number(4)? != 0, held.number(5)? != 0);
                if is_valid {
                    // An away claim gives way to any login.
                    if !take_over && !is_away {
                        return Ok(OnlineClaim::AlreadyOnline);
                    }
                    displaced = Held::read(claim.account, held.optional_number(0)?, held.optional_number(1)?);
                }
            }
            let arguments =
                [number(claim.account), number(claim.id), number(holder.instance), number(holder.agent)];
            if let Some(Held { instance, claim }) = &displaced {
                let displaced = [number(claim.id), number(*instance)];
                db.execute(
                    "INSERT OR REPLACE INTO online
                     (account, claim, instance, agent, displaced_claim, displaced_instance)
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
                    &[&arguments[..], &displaced].concat(),
                )?;
            } else {
                db.execute(
                    "INSERT OR REPLACE INTO online (account, claim, instance, agent) VALUES (?1, ?2, ?3, ?4)",
                    &arguments,
                )?;
            }
            Ok(OnlineClaim::Claimed { displaced })
        })
    }

    fn online_transfer(&mut self, claim: &Claim, to: Holder, now_ms: u64) -> Result<Transfer, DbError> {
        self.0.write("p_Online_Transfer", Durability::ProcessCrash, |db| {
            if !has_lease(db, to, now_ms)? {
                return Ok(Transfer::NoLease);
            }
            // Each parameter occurs once: SQLite's ODBC driver counts the marks. A repeated call
            // leaves the mark of its new holder.
            let moved = db.execute(
                "UPDATE online SET instance = ?3, agent = ?4, is_away = is_away AND instance = ?5
                 WHERE account = ?1 AND claim = ?2",
                &[
                    number(claim.account),
                    number(claim.id),
                    number(to.instance),
                    number(to.agent),
                    number(to.instance),
                ],
            )?;
            Ok(if moved == 1 { Transfer::Moved } else { Transfer::Lost })
        })
    }

    fn online_release(&mut self, claim: &Claim, instance: u64) -> Result<bool, DbError> {
        self.0.write("p_Online_Release", Durability::ProcessCrash, |db| release(db, claim, instance))
    }

    fn online_away(&mut self, claim: &Claim, holder: Holder, is_away: bool) -> Result<bool, DbError> {
        self.0.write("p_Online_Away", Durability::ProcessCrash, |db| {
            let marked = db.execute(
                "UPDATE online SET is_away = ?5
                 WHERE account = ?1 AND claim = ?2 AND instance = ?3 AND agent = ?4",
                &[
                    number(claim.account),
                    number(claim.id),
                    number(holder.instance),
                    number(holder.agent),
                    Value::Number(i64::from(is_away)),
                ],
            )?;
            Ok(marked == 1)
        })
    }

    fn online_sync(
        &mut self,
        list: &HeldList<'_>,
        now_ms: u64,
        lease_until_ms: u64,
    ) -> Result<Vec<Claim>, DbError> {
        self.0.write("p_Online_Sync", Durability::ProcessCrash, |db| {
            let is_latest = db.execute(
                "INSERT INTO holders (instance, list) VALUES (?1, ?2)
                 ON CONFLICT (instance) DO UPDATE SET list = excluded.list WHERE list <= excluded.list",
                &[number(list.holder.instance), number(list.number)],
            )?;
            renew(db, list.holder, lease_until_ms)?;
            // A list that is not the latest counts as empty: a later one has moved all claims.
            let claims = if is_latest == 0 { &[] } else { list.claims };
            if list.is_first {
                release_all_but(db, list.holder, claims)?;
            }
            let mut conflicts = Vec::new();
            for claim in claims.iter().filter(|claim| claim.id != 0) {
                if !take_up(db, claim, list.holder, now_ms)? {
                    conflicts.push(*claim);
                }
            }
            prune(db, now_ms)?;
            Ok(conflicts)
        })
    }

    fn holder_renew(&mut self, holder: Holder, lease_until_ms: u64) -> Result<(), DbError> {
        self.0.write("p_Holder_Renew", Durability::ProcessCrash, |db| renew(db, holder, lease_until_ms))
    }

    fn agent_start(&mut self, agent: u64, until_ms: u64) -> Result<(), DbError> {
        self.0.write("p_Agent_Start", Durability::ProcessCrash, |db| {
            // Each parameter occurs once: SQLite's ODBC driver counts the marks.
            db.execute(
                "UPDATE leases SET lease_until_ms = ?1
                 WHERE lease_until_ms > ?2 AND agent / 4294967296 = ?3 AND agent <> ?4",
                &[time(until_ms), time(until_ms), number(agent >> 32), number(agent)],
            )
            .map(|_| ())
        })
    }

    fn look_after(&mut self) -> bool {
        self.0.look_after()
    }

    fn close(self: Box<Self>) -> Result<(), DbError> {
        self.0.close()
    }
}

fn has_lease(db: &mut impl Statements, holder: Holder, now_ms: u64) -> Result<bool, DbError> {
    db.exists(
        "SELECT 1 FROM leases WHERE instance = ?1 AND agent = ?2 AND lease_until_ms > ?3",
        &[number(holder.instance), number(holder.agent), time(now_ms)],
    )
}

fn renew(db: &mut impl Statements, holder: Holder, lease_until_ms: u64) -> Result<(), DbError> {
    db.execute(
        "INSERT INTO leases (instance, agent, lease_until_ms) VALUES (?1, ?2, ?3)
         ON CONFLICT (instance, agent) DO UPDATE SET lease_until_ms = excluded.lease_until_ms",
        &[number(holder.instance), number(holder.agent), time(lease_until_ms)],
    )
    .map(|_| ())
}

fn release(db: &mut impl Statements, claim: &Claim, instance: u64) -> Result<bool, DbError> {
    let released = db.execute(
        "DELETE FROM online WHERE account = ?1 AND claim = ?2 AND instance = ?3",
        &[number(claim.account), number(claim.id), number(instance)],
    )?;
    Ok(released == 1)
}

/// Releases the holder's claims that are not in `held`.
fn release_all_but(db: &mut impl Statements, holder: Holder, held: &[Claim]) -> Result<(), DbError> {
    let Holder { instance, agent } = holder;
    let held: HashSet<(u64, u64)> = held.iter().map(|claim| (claim.account, claim.id)).collect();
    let known = db.rows(
        "SELECT account, claim FROM online WHERE instance = ?1 AND agent = ?2",
        &[number(instance), number(agent)],
        &[NUMBER, NUMBER],
    )?;
    for row in known {
        let claim = Claim { account: row.bits(0)?, id: row.bits(1)? };
        if !held.contains(&(claim.account, claim.id)) {
            release(db, &claim, instance)?;
        }
    }
    Ok(())
}

/// Takes up a claim unless its account has a valid claim of another process. Returns false if that
/// claim belongs to another login.
fn take_up(db: &mut impl Statements, claim: &Claim, holder: Holder, now_ms: u64) -> Result<bool, DbError> {
    let taken = db.execute(
        "INSERT INTO online (account, claim, instance, agent) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT (account) DO UPDATE SET claim = excluded.claim, instance = excluded.instance,
             agent = excluded.agent, is_away = 0, displaced_claim = NULL, displaced_instance = NULL
         WHERE (claim = excluded.claim AND instance = excluded.instance) OR NOT EXISTS (
             SELECT 1 FROM leases l
             WHERE l.instance = online.instance AND l.agent = online.agent AND l.lease_until_ms > ?5)",
        &[
            number(claim.account),
            number(claim.id),
            number(holder.instance),
            number(holder.agent),
            time(now_ms),
        ],
    )?;
    if taken == 1 {
        return Ok(true);
    }
    let held = db.row("SELECT claim FROM online WHERE account = ?1", &[number(claim.account)], &[NUMBER])?;
    held.map_or(Ok(false), |held| Ok(held.bits(0)? == claim.id))
}

/// Removes a bounded number of rows left by processes that died long ago.
fn prune(db: &mut impl Statements, now_ms: u64) -> Result<(), DbError> {
    let before = time(now_ms.saturating_sub(PRUNE_AFTER_MS));
    let most = |rows: u32| Value::Number(i64::from(rows));
    // CROSS JOIN keeps the order: unless a lease has expired, no row of `online` is read.
    db.execute(
        "DELETE FROM online WHERE account IN
         (SELECT o.account FROM leases l CROSS JOIN online o
          ON o.instance = l.instance AND o.agent = l.agent
          WHERE l.lease_until_ms < ?1 LIMIT ?2)",
        &[before, most(PRUNE_CLAIMS_MAX)],
    )?;
    db.execute(
        "DELETE FROM leases WHERE (instance, agent) IN
         (SELECT l.instance, l.agent FROM leases l WHERE l.lease_until_ms < ?1
          AND NOT EXISTS (SELECT 1 FROM online o WHERE o.instance = l.instance AND o.agent = l.agent)
          LIMIT ?2)",
        &[before, most(PRUNE_HOLDERS_MAX)],
    )?;
    db.execute(
        "DELETE FROM holders WHERE instance IN
         (SELECT h.instance FROM holders h
          WHERE NOT EXISTS (SELECT 1 FROM leases l WHERE l.instance = h.instance) LIMIT ?1)",
        &[most(PRUNE_HOLDERS_MAX)],
    )
    .map(|_| ())
}
