//! A database in memory that fulfills the contract of [`Procedures`].

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};
use throng_core::wire::Text;
use throng_core::wire::packets::{Character, Claim};

use crate::dbagent::password::cost_of;
use crate::dbagent::procedures::{
    Account, AccountInsert, CharacterInsert, DbError, Held, HeldList, Holder, NewAccount, NewCharacter,
    OnlineClaim, PRUNE_AFTER_MS, Procedures, Transfer,
};

/// A connection to the database. All connections share the rows.
#[derive(Clone, Default)]
pub(super) struct Tables(Arc<Mutex<Rows>>);

#[derive(Default)]
pub(super) struct Rows {
    accounts: Vec<Account>,
    /// By the comparison key.
    accounts_by_key: BTreeMap<String, u64>,
    /// By account, with the comparison key.
    characters: BTreeMap<u64, (String, Character)>,
    pub(super) online: BTreeMap<u64, Row>,
    /// End of each lease in milliseconds, by process and agent.
    leases: BTreeMap<(u64, u64), u64>,
    /// The number of the latest list of each process.
    holders: BTreeMap<u64, u64>,
    /// Milliseconds since 1970 (UTC).
    pub(super) clock_ms: u64,
}

/// An account that is online.
#[derive(Debug, Clone)]
pub(super) struct Row {
    pub(super) claim: u64,
    pub(super) holder: Holder,
    pub(super) is_away: bool,
    displaced: Option<Held>,
}

impl Rows {
    fn has_lease(&self, holder: Holder, now_ms: u64) -> bool {
        self.leases.get(&(holder.instance, holder.agent)).is_some_and(|until| *until > now_ms)
    }

    /// Returns the claim of an account that is valid by the database's clock.
    pub(super) fn valid(&self, account: u64) -> Option<&Row> {
        self.online.get(&account).filter(|row| self.has_lease(row.holder, self.clock_ms))
    }

    /// Returns the accounts that are online.
    pub(super) fn online(&self) -> Vec<u64> {
        self.online.keys().copied().filter(|account| self.valid(*account).is_some()).collect()
    }

    fn renew(&mut self, holder: Holder, until_ms: u64) {
        self.leases.insert((holder.instance, holder.agent), saturated(until_ms));
    }

    fn prune(&mut self, now_ms: u64) {
        let before = saturated(now_ms.saturating_sub(PRUNE_AFTER_MS));
        let Self { online, leases, holders, .. } = self;
        let is_dead = |leases: &BTreeMap<(u64, u64), u64>, holder: Holder| {
            leases.get(&(holder.instance, holder.agent)).is_some_and(|until| *until < before)
        };
        online.retain(|_, row| !is_dead(leases, row.holder));
        leases.retain(|_, until| *until >= before);
        holders.retain(|instance, _| leases.range((*instance, 0)..=(*instance, u64::MAX)).next().is_some());
    }
}

/// Returns a time as a signed column holds it.
fn saturated(ms: u64) -> u64 {
    ms.min(i64::MAX.cast_unsigned())
}

impl Tables {
    pub(super) fn rows(&self) -> MutexGuard<'_, Rows> {
        self.0.lock()
    }
}

impl Procedures for Tables {
    fn clock(&mut self) -> Result<u64, DbError> {
        Ok(self.rows().clock_ms)
    }

    fn account_select(&mut self, id_key: &str) -> Result<Option<Account>, DbError> {
        let rows = self.rows();
        Ok(rows.accounts_by_key.get(id_key).map(|account| rows.accounts[*account as usize - 1].clone()))
    }

    fn account_insert(&mut self, new: &NewAccount<'_>) -> Result<AccountInsert, DbError> {
        let mut rows = self.rows();
        if rows.accounts_by_key.contains_key(new.id_key) {
            return Ok(AccountInsert::IdTaken);
        }
        let account = rows.accounts.len() as u64 + 1;
        let password_hash = new.password_hash.to_owned();
        rows.accounts.push(Account { account, id: new.id.to_owned(), password_hash });
        rows.accounts_by_key.insert(new.id_key.to_owned(), account);
        Ok(AccountInsert::Inserted(account))
    }

    fn password_replace(&mut self, account: u64, old_hash: &str, new_hash: &str) -> Result<bool, DbError> {
        let mut rows = self.rows();
        let found = rows.accounts.iter_mut().find(|found| found.account == account);
        let found = found.filter(|found| [old_hash, new_hash].contains(&&*found.password_hash));
        Ok(found.map(|found| new_hash.clone_into(&mut found.password_hash)).is_some())
    }

    fn password_cost_next(&mut self, after: &str) -> Result<Option<String>, DbError> {
        let rows = self.rows();
        let costs = rows.accounts.iter().map(|account| cost_of(&account.password_hash));
        Ok(costs.filter(|cost| **cost > *after).min())
    }

    fn character_select(&mut self, account: u64) -> Result<Option<Character>, DbError> {
        Ok(self.rows().characters.get(&account).map(|(_, character)| character.clone()))
    }

    fn character_insert(&mut self, new: &NewCharacter<'_>) -> Result<CharacterInsert, DbError> {
        let mut rows = self.rows();
        if new.account == 0 || new.account > rows.accounts.len() as u64 {
            return Ok(CharacterInsert::NoSuchAccount);
        }
        if rows.characters.contains_key(&new.account) {
            return Ok(CharacterInsert::CharacterExists);
        }
        if rows.characters.values().any(|(key, _)| key == new.name_key) {
            return Ok(CharacterInsert::NameTaken);
        }
        let id = rows.characters.len() as u64 + 1;
        let character = Character { id, name: Text::truncated(new.name), level: 1, experience: 0 };
        rows.characters.insert(new.account, (new.name_key.to_owned(), character));
        Ok(CharacterInsert::Inserted(id))
    }

    fn online_claim(
        &mut self,
        claim: &Claim,
        holder: Holder,
        take_over: bool,
        now_ms: u64,
    ) -> Result<OnlineClaim, DbError> {
        let mut rows = self.rows();
        if !rows.has_lease(holder, now_ms) {
            return Ok(OnlineClaim::NoLease);
        }
        let mut displaced = None;
        if let Some(row) = rows.online.get(&claim.account) {
            if row.claim == claim.id && row.holder.instance == holder.instance {
                return Ok(OnlineClaim::Claimed { displaced: row.displaced.clone() });
            }
            if rows.has_lease(row.holder, now_ms) {
                if !take_over && !row.is_away {
                    return Ok(OnlineClaim::AlreadyOnline);
                }
                let claim = Claim { account: claim.account, id: row.claim };
                displaced = Some(Held { instance: row.holder.instance, claim });
            }
        }
        let row = Row { claim: claim.id, holder, is_away: false, displaced: displaced.clone() };
        rows.online.insert(claim.account, row);
        Ok(OnlineClaim::Claimed { displaced })
    }

    fn online_transfer(&mut self, claim: &Claim, to: Holder, now_ms: u64) -> Result<Transfer, DbError> {
        let mut rows = self.rows();
        if !rows.has_lease(to, now_ms) {
            return Ok(Transfer::NoLease);
        }
        let row = rows.online.get_mut(&claim.account).filter(|row| row.claim == claim.id);
        Ok(row.map_or(Transfer::Lost, |row| {
            row.is_away &= row.holder.instance == to.instance;
            row.holder = to;
            Transfer::Moved
        }))
    }

    fn online_release(&mut self, claim: &Claim, instance: u64) -> Result<bool, DbError> {
        let mut rows = self.rows();
        let is_it = |row: &Row| row.claim == claim.id && row.holder.instance == instance;
        let is_held = rows.online.get(&claim.account).is_some_and(is_it);
        if is_held {
            rows.online.remove(&claim.account);
        }
        Ok(is_held)
    }

    fn online_away(&mut self, claim: &Claim, holder: Holder, is_away: bool) -> Result<bool, DbError> {
        let mut rows = self.rows();
        let row = rows.online.get_mut(&claim.account);
        let row = row.filter(|row| row.claim == claim.id && row.holder == holder);
        Ok(row.map(|row| row.is_away = is_away).is_some())
    }

    fn online_sync(
        &mut self,
        list: &HeldList<'_>,
        now_ms: u64,
        lease_until_ms: u64,
    ) -> Result<Vec<Claim>, DbError> {
        let mut rows = self.rows();
        let HeldList { holder, number, is_first, mut claims } = *list;
        let latest = rows.holders.entry(holder.instance).or_insert(number);
        if *latest > number {
            claims = &[];
        }
        *latest = number.max(*latest);
        rows.renew(holder, lease_until_ms);
        if is_first {
            let is_listed = |account: u64, row: &Row| claims.contains(&Claim { account, id: row.claim });
            rows.online.retain(|account, row| row.holder != holder || is_listed(*account, row));
        }
        let mut conflicts = Vec::new();
        for claim in claims.iter().filter(|claim| claim.id != 0) {
            let row = rows.online.get(&claim.account);
            let is_ours = |row: &Row| row.claim == claim.id && row.holder.instance == holder.instance;
            match row.filter(|row| !is_ours(row) && rows.has_lease(row.holder, now_ms)) {
                Some(row) if row.claim == claim.id => {}
                Some(_) => conflicts.push(*claim),
                None => {
                    let row = Row { claim: claim.id, holder, is_away: false, displaced: None };
                    rows.online.insert(claim.account, row);
                }
            }
        }
        rows.prune(now_ms);
        Ok(conflicts)
    }

    fn holder_renew(&mut self, holder: Holder, lease_until_ms: u64) -> Result<(), DbError> {
        self.rows().renew(holder, lease_until_ms);
        Ok(())
    }

    fn agent_start(&mut self, agent: u64, until_ms: u64) -> Result<(), DbError> {
        for ((_, other), until) in &mut self.rows().leases {
            if *other >> 32 == agent >> 32 && *other != agent {
                *until = saturated(until_ms).min(*until);
            }
        }
        Ok(())
    }

    fn close(self: Box<Self>) -> Result<(), DbError> {
        Ok(())
    }
}

/// Holds the model against the contract that every real database has to fulfill.
#[test]
fn the_database_in_memory_passes_the_suite() {
    let tables = Tables::default();
    tables.rows().clock_ms = 1_700_000_000_000;
    let connect = || Ok(Box::new(tables.clone()) as Box<dyn Procedures>);
    crate::dbagent::suite::suite(&connect).unwrap_or_else(|failure| panic!("{failure}"));
}
