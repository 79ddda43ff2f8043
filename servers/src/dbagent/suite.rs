//! The test that every implementation of [`Procedures`] has to pass.
//!
//! It is no `#[cfg(test)]` code: an operator can run it against a database that may be
//! written to. It leaves accounts behind, with ids that are drawn anew each time.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use parking_lot::Mutex;
use thiserror::Error;
use throng_core::limits::{ID_CHARS_MAX, NAME_CHARS_MAX};
use throng_core::wire::packets::{Character, Claim, Name};

use super::procedures::{
    Account, AccountInsert, CharacterInsert, DbError, Held, HeldList, Holder, NewAccount, NewCharacter,
    OnlineClaim, PRUNE_AFTER_MS, Procedures, Transfer, agent_number,
};
use super::rules;

/// Makes one more connection to the database under test.
pub type Make<'a> = dyn Fn() -> Result<Box<dyn Procedures>, DbError> + Sync + 'a;

/// The first check that did not hold.
#[derive(Debug, Error)]
#[error("{check}: {detail}")]
pub struct SuiteFailure {
    /// Which check.
    pub check: &'static str,
    /// What was expected and what came.
    pub detail: String,
}

type Checked = Result<(), String>;
type Check = fn(&mut Trial<'_>) -> Checked;

const CHECKS: &[(&str, Check)] = &[
    ("an account comes back exactly", account_round_trip),
    ("an unknown key has no account", unknown_account),
    ("texts are data, whatever they look like", hostile_texts),
    ("ids and names of the greatest length fit", longest_texts),
    ("an id is given once", id_taken),
    ("50 sign-ups of one id at once make one account", concurrent_sign_ups),
    ("a character comes back exactly", character_round_trip),
    ("characters are unique by account and by name", character_conflicts),
    ("20 characters of one name at once are one character", concurrent_names),
    ("a claim calls an account online until it is released", claim_and_release),
    ("a claim without a lease is none", claim_needs_lease),
    ("a claim ends with its holder's lease", lease_ends),
    ("a take-over says whom it displaced", take_over),
    ("a claim moves, and only the last holder releases it", transfer),
    ("20 claims of one account at once are one claim", concurrent_claims),
    ("numbers keep all their bits", extremes),
    ("a list of claims replaces what was known", sync_replaces),
    ("a list of claims meets those of others", sync_conflicts),
    ("a call that is repeated has the same answer", repeats),
    ("claims hold by the lease of an agent, and come over to another", agents),
    ("a list that comes after a later one takes nothing up", late_lists),
    ("an agent's start ends the leases that it gave before", agent_starts),
    ("the clock runs", clock),
    ("what long dead processes left is removed", prune),
];

/// Runs every check over connections that `make` makes. Returns how many there were.
pub fn suite(make: &Make<'_>) -> Result<usize, SuiteFailure> {
    let connections = Connections { make, idle: Mutex::default() };
    for &(check, run) in CHECKS {
        let failed = |detail| SuiteFailure { check, detail };
        let mut trial = Trial::new(&connections).map_err(failed)?;
        run(&mut trial).map_err(failed)?;
        connections.put_back(trial.db);
    }
    for db in connections.idle.into_inner() {
        let failed = |error: DbError| SuiteFailure { check: "closing", detail: error.to_string() };
        db.close().map_err(failed)?;
    }
    Ok(CHECKS.len())
}

/// Connections, used again and again: on some servers the first calls over one take a second.
struct Connections<'a> {
    make: &'a Make<'a>,
    idle: Mutex<Vec<Box<dyn Procedures>>>,
}

impl Connections<'_> {
    fn take(&self) -> Result<Box<dyn Procedures>, DbError> {
        let idle = self.idle.lock().pop();
        idle.map_or_else(self.make, Ok)
    }

    fn put_back(&self, db: Box<dyn Procedures>) {
        self.idle.lock().push(db);
    }
}

/// One check's connection, and names that no other check uses.
struct Trial<'a> {
    connections: &'a Connections<'a>,
    db: Box<dyn Procedures>,
    /// Begins every id and name.
    tag: String,
    /// Begins every account and instance that is not the database's own.
    base: u64,
    /// The number of the last list.
    lists: u64,
}

/// The time at which all checks happen, far from every real lease: 2001-09-09.
const NOW: u64 = 1_000_000_000_000;
const LATER: u64 = NOW + 30_000;

macro_rules! expect {
    ($found:expr, $expected:expr) => {{
        let (found, expected) = ($found, $expected);
        if found != expected {
            let what = stringify!($found);
            return Err(format!("line {}: {what} is {found:?} and not {expected:?}", line!()));
        }
    }};
}

impl From<DbError> for String {
    fn from(error: DbError) -> Self {
        error.to_string()
    }
}

impl<'a> Trial<'a> {
    fn new(connections: &'a Connections<'a>) -> Result<Self, String> {
        let base = rand::random::<u64>() & !0xffff;
        // Short: there is to be room for what a check adds to it.
        let tag: String = (0..6).map(|_| char::from(b'a' + rand::random_range(0..26))).collect();
        Ok(Self { connections, db: connections.take()?, tag, base, lists: 0 })
    }

    fn id(&self, rest: &str) -> String {
        format!("{}{rest}", self.tag)
    }

    fn sign_up(&mut self, id: &str) -> Result<AccountInsert, DbError> {
        sign_up(self.db.as_mut(), id)
    }

    fn account(&mut self, rest: &str) -> Result<u64, String> {
        let id = self.id(rest);
        match self.sign_up(&id)? {
            AccountInsert::Inserted(account) => Ok(account),
            AccountInsert::IdTaken => Err(format!("{id} is taken")),
        }
    }

    fn character(&mut self, account: u64, name: &str) -> Result<CharacterInsert, DbError> {
        create_character(self.db.as_mut(), account, name)
    }

    /// A process with a lease until [`LATER`].
    fn instance(&mut self, number: u64) -> Result<Holder, DbError> {
        let holder = self.holder(number);
        self.db.holder_renew(holder, LATER)?;
        Ok(holder)
    }

    /// A process without a lease.
    fn holder(&self, number: u64) -> Holder {
        Holder { instance: self.base + number, agent: self.agent(1) }
    }

    /// A DB agent of this check's.
    fn agent(&self, number: u32) -> u64 {
        agent_number(&self.tag, number)
    }

    fn claim_of(&self, account: u64, id: u64) -> Claim {
        Claim { account: self.base + account, id }
    }

    fn claim(&mut self, claim: &Claim, holder: Holder, take_over: bool) -> Result<OnlineClaim, DbError> {
        self.db.online_claim(claim, holder, take_over, NOW)
    }

    /// The first list over a link.
    fn sync(&mut self, holder: Holder, claims: &[Claim]) -> Result<Vec<Claim>, DbError> {
        self.lists += 1;
        let list = HeldList { holder, number: self.lists, is_first: true, claims };
        self.db.online_sync(&list, NOW, LATER)
    }

    /// Whether a claim for the account would be refused. Leaves none behind.
    fn is_online(&mut self, account: u64) -> Result<bool, DbError> {
        let prober = self.instance(0xffff)?;
        let probe = Claim { account, id: 0xffff };
        let online = self.claim(&probe, prober, false)? == OnlineClaim::AlreadyOnline;
        self.db.online_release(&probe, prober.instance)?;
        Ok(online)
    }
}

const SYNCED: Vec<Claim> = Vec::new();
const CLAIMED: OnlineClaim = OnlineClaim::Claimed { displaced: None };

fn sign_up(db: &mut dyn Procedures, id: &str) -> Result<AccountInsert, DbError> {
    let id_key = rules::key(id);
    let hash = format!("$hash of {id}$");
    db.account_insert(&NewAccount { id, id_key: &id_key, password_hash: &hash, now_ms: NOW })
}

fn create_character(db: &mut dyn Procedures, account: u64, name: &str) -> Result<CharacterInsert, DbError> {
    let name_key = rules::key(name);
    db.character_insert(&NewCharacter { account, name, name_key: &name_key, now_ms: NOW })
}

/// Runs `work` on `count` connections at once and counts where it says true.
fn at_once(
    connections: &Connections<'_>,
    count: usize,
    work: impl Fn(usize, &mut dyn Procedures) -> Result<bool, DbError> + Sync,
) -> Result<usize, String> {
    let yes = AtomicUsize::new(0);
    let start = std::sync::Barrier::new(count);
    let one = |number: usize| -> Checked {
        let db = connections.take();
        start.wait();
        let mut db = db?;
        if work(number, db.as_mut())? {
            yes.fetch_add(1, Ordering::Relaxed);
        }
        connections.put_back(db);
        Ok(())
    };
    let one = &one;
    thread::scope(|scope| {
        let threads: Vec<_> = (0..count).map(|number| scope.spawn(move || one(number))).collect();
        threads
            .into_iter()
            .try_for_each(|thread| thread.join().unwrap_or_else(|_| Err("a thread panicked".into())))
    })?;
    Ok(yes.into_inner())
}

fn account_round_trip(t: &mut Trial<'_>) -> Checked {
    for rest in ["Plain", "한글 이름", "👩‍👩‍👧‍👦\u{1F600}", "É e\u{301} ß", "ı İ ΣΑΣ"]
    {
        let account = t.account(rest)?;
        let id = t.id(rest);
        let wanted = Account { account, id: id.clone(), password_hash: format!("$hash of {id}$") };
        expect!(t.db.account_select(&rules::key(&id))?, Some(wanted));
    }
    Ok(())
}

fn unknown_account(t: &mut Trial<'_>) -> Checked {
    t.account("Bob")?;
    let key = rules::key(&t.id("Bob"));
    for unknown in ["", &t.id("Bob"), &format!("{key} "), &format!(" {key}"), &t.id("bo"), &t.id("bo%")] {
        expect!(t.db.account_select(unknown)?, None);
    }
    Ok(())
}

fn hostile_texts(t: &mut Trial<'_>) -> Checked {
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

fn longest_texts(t: &mut Trial<'_>) -> Checked {
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

fn id_taken(t: &mut Trial<'_>) -> Checked {
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

fn concurrent_sign_ups(t: &mut Trial<'_>) -> Checked {
    let id = t.id("same");
    let made = at_once(t.connections, 50, |number, db| {
        let id = if number % 2 == 0 { id.clone() } else { id.to_uppercase() };
        Ok(matches!(sign_up(db, &id)?, AccountInsert::Inserted(_)))
    })?;
    expect!(made, 1);
    Ok(())
}

fn character_round_trip(t: &mut Trial<'_>) -> Checked {
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

fn character_conflicts(t: &mut Trial<'_>) -> Checked {
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

fn concurrent_names(t: &mut Trial<'_>) -> Checked {
    let accounts: Vec<u64> =
        (0..20).map(|number| t.account(&number.to_string())).collect::<Result<_, _>>()?;
    let name = t.id("same");
    let made = at_once(t.connections, accounts.len(), |number, db| {
        Ok(matches!(create_character(db, accounts[number], &name)?, CharacterInsert::Inserted(_)))
    })?;
    expect!(made, 1);
    Ok(())
}

fn claim_and_release(t: &mut Trial<'_>) -> Checked {
    let (a, b) = (t.instance(1)?, t.instance(2)?);
    let claim = t.claim_of(1, 10);
    expect!(t.claim(&claim, a, false)?, CLAIMED);
    expect!(t.claim(&t.claim_of(1, 11), a, false)?, OnlineClaim::AlreadyOnline);
    expect!(t.claim(&t.claim_of(1, 11), b, false)?, OnlineClaim::AlreadyOnline);
    expect!(t.claim(&t.claim_of(2, 11), b, false)?, CLAIMED);
    expect!(t.db.online_release(&claim, b.instance)?, false);
    expect!(t.db.online_release(&t.claim_of(1, 11), a.instance)?, false);
    expect!(t.is_online(claim.account)?, true);
    expect!(t.db.online_release(&claim, a.instance)?, true);
    expect!(t.db.online_release(&claim, a.instance)?, false);
    expect!(t.claim(&t.claim_of(1, 12), b, false)?, CLAIMED);
    Ok(())
}

fn claim_needs_lease(t: &mut Trial<'_>) -> Checked {
    let claim = t.claim_of(1, 10);
    let stranger = t.holder(1);
    expect!(t.claim(&claim, stranger, false)?, OnlineClaim::NoLease);
    expect!(t.claim(&claim, stranger, true)?, OnlineClaim::NoLease);
    t.db.holder_renew(stranger, NOW)?;
    expect!(t.claim(&claim, stranger, false)?, OnlineClaim::NoLease);
    t.db.holder_renew(stranger, NOW + 1)?;
    expect!(t.claim(&claim, stranger, false)?, CLAIMED);
    Ok(())
}

fn lease_ends(t: &mut Trial<'_>) -> Checked {
    let (a, b) = (t.instance(1)?, t.holder(2));
    t.db.holder_renew(b, u64::MAX)?;
    let (old, new) = (t.claim_of(1, 10), t.claim_of(1, 11));
    expect!(t.claim(&old, a, false)?, CLAIMED);
    expect!(t.db.online_claim(&new, b, false, LATER - 1)?, OnlineClaim::AlreadyOnline);
    // Nobody is displaced: the old claim counted for nothing.
    expect!(t.db.online_claim(&new, b, false, LATER)?, CLAIMED);
    t.db.holder_renew(a, LATER + 30_000)?;
    expect!(t.db.online_release(&old, a.instance)?, false);
    expect!(t.db.online_transfer(&old, a, LATER)?, Transfer::Lost);
    // A renewal also takes a lease back.
    t.db.holder_renew(b, LATER)?;
    expect!(t.db.online_claim(&t.claim_of(1, 12), a, false, LATER)?, CLAIMED);
    Ok(())
}

fn take_over(t: &mut Trial<'_>) -> Checked {
    let (a, b) = (t.instance(1)?, t.instance(2)?);
    let (first, second, third) = (t.claim_of(1, 10), t.claim_of(1, 11), t.claim_of(1, 12));
    expect!(t.claim(&first, a, true)?, CLAIMED);
    let displaced = Some(Held { instance: a.instance, claim: first });
    expect!(t.claim(&second, b, true)?, OnlineClaim::Claimed { displaced });
    let displaced = Some(Held { instance: b.instance, claim: second });
    expect!(t.claim(&third, b, true)?, OnlineClaim::Claimed { displaced });
    // Those who went cannot touch the one who came.
    expect!(t.db.online_release(&first, a.instance)?, false);
    expect!(t.db.online_release(&second, b.instance)?, false);
    expect!(t.db.online_transfer(&second, a, NOW)?, Transfer::Lost);
    expect!(t.is_online(third.account)?, true);
    Ok(())
}

fn transfer(t: &mut Trial<'_>) -> Checked {
    let (login, chat) = (t.instance(1)?, t.instance(2)?);
    let claim = t.claim_of(1, 10);
    expect!(t.db.online_transfer(&claim, chat, NOW)?, Transfer::Lost);
    expect!(t.claim(&claim, login, false)?, CLAIMED);
    expect!(t.db.online_transfer(&claim, t.holder(3), NOW)?, Transfer::NoLease);
    expect!(t.db.online_transfer(&claim, chat, NOW)?, Transfer::Moved);
    expect!(t.db.online_transfer(&claim, chat, NOW)?, Transfer::Moved);
    expect!(t.db.online_release(&claim, login.instance)?, false);
    expect!(t.is_online(claim.account)?, true);
    expect!(t.db.online_release(&claim, chat.instance)?, true);
    expect!(t.db.online_transfer(&claim, chat, NOW)?, Transfer::Lost);
    Ok(())
}

fn concurrent_claims(t: &mut Trial<'_>) -> Checked {
    let instances: Vec<Holder> = (0..4).map(|number| t.instance(number)).collect::<Result<_, _>>()?;
    for round in 1..=5 {
        let account = t.claim_of(round, 1).account;
        let claimed = at_once(t.connections, 20, |number, db| {
            let claim = Claim { account, id: number as u64 + 1 };
            Ok(db.online_claim(&claim, instances[number % 4], false, NOW)? == CLAIMED)
        })?;
        expect!(claimed, 1);
        // With take-over all get in, one after the other, and all but the last are displaced once.
        let displaced = at_once(t.connections, 20, |number, db| {
            let claim = Claim { account, id: number as u64 + 100 };
            let claimed = db.online_claim(&claim, instances[number % 4], true, NOW)?;
            Ok(matches!(claimed, OnlineClaim::Claimed { displaced: Some(_) }))
        })?;
        expect!(displaced, 20);
    }
    Ok(())
}

fn extremes(t: &mut Trial<'_>) -> Checked {
    let all = [1, u64::MAX, u64::MAX - 1, 1 << 63, (1 << 63) - 1, 0x8000_0000_0000_0001];
    for account in all {
        for id in all {
            let holder = |instance| Holder { instance, agent: account };
            let (one, other) = (holder(account ^ t.base), holder(id.wrapping_add(1) ^ !t.base));
            t.db.holder_renew(one, LATER)?;
            t.db.holder_renew(other, LATER)?;
            let claim = Claim { account, id };
            expect!(matches!(t.claim(&claim, one, true)?, OnlineClaim::Claimed { .. }), true);
            let next = Claim { account, id: id ^ 2 };
            let displaced = Some(Held { instance: one.instance, claim });
            expect!(t.claim(&next, other, true)?, OnlineClaim::Claimed { displaced });
            expect!(t.db.online_transfer(&next, one, NOW)?, Transfer::Moved);
            expect!(t.sync(one, std::slice::from_ref(&next))?, SYNCED);
            expect!(t.db.online_release(&next, one.instance)?, true);
        }
    }
    Ok(())
}

fn sync_replaces(t: &mut Trial<'_>) -> Checked {
    let (a, b) = (t.instance(1)?, t.instance(2)?);
    let claims: Vec<Claim> = (0..600).map(|number| t.claim_of(number, number + 1)).collect();
    for claim in &claims[..3] {
        expect!(t.claim(claim, a, false)?, CLAIMED);
    }
    let foreign = t.claim_of(1000, 1);
    expect!(t.claim(&foreign, b, false)?, CLAIMED);
    // 0 and 1 are forgotten, 2 stays, the others are new, and a number 0 is no claim.
    let mut held = claims[2..].to_vec();
    held.push(t.claim_of(2000, 0));
    held.push(claims[2]);
    expect!(t.sync(a, &held)?, SYNCED);
    for (number, claim) in claims.iter().enumerate().filter(|(number, _)| number % 100 < 4) {
        expect!((number, t.is_online(claim.account)?), (number, number >= 2));
    }
    expect!(t.is_online(foreign.account)?, true);
    expect!(t.is_online(t.base + 2000)?, false);
    expect!(t.sync(a, &[])?, SYNCED);
    expect!(t.is_online(claims[2].account)?, false);
    expect!(t.is_online(claims[599].account)?, false);
    expect!(t.is_online(foreign.account)?, true);
    Ok(())
}

fn sync_conflicts(t: &mut Trial<'_>) -> Checked {
    let (a, b) = (t.instance(1)?, t.instance(2)?);
    let dead = t.holder(3);
    t.db.holder_renew(dead, NOW + 1)?;
    let [lost, moved, abandoned, replaced] = [1, 2, 3, 4].map(|account| t.claim_of(account, 10));
    expect!(t.claim(&t.claim_of(1, 99), b, false)?, CLAIMED);
    expect!(t.claim(&moved, b, false)?, CLAIMED);
    expect!(t.db.online_claim(&t.claim_of(3, 99), dead, false, NOW)?, CLAIMED);
    // Its own claim of another number, whose answer never arrived.
    expect!(t.claim(&t.claim_of(4, 99), a, false)?, CLAIMED);
    t.db.holder_renew(dead, NOW)?;
    let held = [lost, moved, abandoned, replaced];
    expect!(t.sync(a, &held)?, vec![lost]);
    expect!(t.db.online_release(&t.claim_of(1, 99), b.instance)?, true);
    expect!(t.db.online_release(&moved, a.instance)?, false);
    expect!(t.db.online_release(&moved, b.instance)?, true);
    expect!(t.db.online_release(&abandoned, a.instance)?, true);
    expect!(t.db.online_release(&replaced, a.instance)?, true);
    // The list came with a lease.
    let fresh = t.holder(4);
    expect!(t.sync(fresh, &[])?, SYNCED);
    expect!(t.claim(&t.claim_of(5, 1), fresh, false)?, CLAIMED);
    Ok(())
}

/// What a call says again when its answer was lost.
fn repeats(t: &mut Trial<'_>) -> Checked {
    let (a, b) = (t.instance(1)?, t.instance(2)?);
    let (first, second) = (t.claim_of(1, 10), t.claim_of(1, 11));
    for _ in 0..2 {
        expect!(t.claim(&first, a, false)?, CLAIMED);
    }
    let displaced = Some(Held { instance: a.instance, claim: first });
    for take_over in [true, true, false] {
        expect!(t.claim(&second, b, take_over)?, OnlineClaim::Claimed { displaced: displaced.clone() });
    }
    // The same number at another process is another claim.
    expect!(t.claim(&second, a, false)?, OnlineClaim::AlreadyOnline);
    let list = HeldList { holder: b, number: 1, is_first: true, claims: &[first, second] };
    for _ in 0..2 {
        expect!(t.db.online_sync(&list, NOW, LATER)?, vec![first]);
    }
    Ok(())
}

fn agents(t: &mut Trial<'_>) -> Checked {
    let (one, other) = (t.instance(1)?, Holder { agent: t.agent(2), ..t.holder(1) });
    let [kept, lost, late] = [1, 2, 3].map(|account| t.claim_of(account, 10));
    expect!(t.claim(&kept, other, false)?, OnlineClaim::NoLease);
    t.db.holder_renew(other, LATER)?;
    for claim in [&kept, &lost] {
        expect!(t.claim(claim, one, false)?, CLAIMED);
    }
    // The process has lost the link to the one agent, and names what it holds to the other.
    let list = HeldList { holder: other, number: 1, is_first: false, claims: &[kept] };
    expect!(t.db.online_sync(&list, NOW, LATER)?, SYNCED);
    expect!(t.is_online(lost.account)?, true);
    t.db.holder_renew(one, NOW)?;
    // What came by the one agent and was not named is free, and what was named is held by the other.
    expect!(t.is_online(kept.account)?, true);
    expect!(t.is_online(lost.account)?, false);
    // What came by an agent is not touched by another one's first list, and is by its own.
    t.db.holder_renew(one, LATER)?;
    expect!(t.claim(&late, other, false)?, CLAIMED);
    t.lists = 1;
    expect!(t.sync(one, &[kept])?, SYNCED);
    expect!(t.is_online(late.account)?, true);
    expect!(t.sync(other, &[kept])?, SYNCED);
    expect!(t.is_online(late.account)?, false);
    expect!(t.is_online(kept.account)?, true);
    Ok(())
}

fn late_lists(t: &mut Trial<'_>) -> Checked {
    let (a, b) = (t.instance(1)?, t.instance(2)?);
    let (kept, left, gone) = (t.claim_of(1, 10), t.claim_of(2, 10), t.claim_of(3, 10));
    let other = Holder { agent: t.agent(2), ..a };
    let (all, one, last) = ([kept, left, gone], [kept], [gone]);
    let list = |holder, number, is_first, claims| HeldList { holder, number, is_first, claims };
    expect!(t.claim(&left, a, false)?, CLAIMED);
    expect!(t.db.online_sync(&list(other, 2, true, &one), NOW, LATER)?, SYNCED);
    // The first of two lists comes last. What it says is no longer so, and what is left of its link goes.
    t.db.holder_renew(a, NOW)?;
    expect!(t.db.online_sync(&list(a, 1, false, &all), NOW, LATER)?, SYNCED);
    expect!(t.is_online(gone.account)?, false);
    expect!(t.is_online(left.account)?, true);
    expect!(t.db.online_sync(&list(a, 1, true, &all), NOW, LATER)?, SYNCED);
    expect!(t.is_online(left.account)?, false);
    // It renews the lease all the same, and takes nothing from the other agent.
    expect!(t.claim(&t.claim_of(4, 1), a, false)?, CLAIMED);
    t.db.holder_renew(a, NOW)?;
    expect!(t.is_online(kept.account)?, true);
    // Each process counts for itself.
    expect!(t.db.online_sync(&list(b, 1, true, &last), NOW, LATER)?, SYNCED);
    expect!(t.is_online(gone.account)?, true);
    Ok(())
}

fn agent_starts(t: &mut Trial<'_>) -> Checked {
    let old = t.instance(1)?;
    let (new, foreign) =
        (Holder { agent: t.agent(2), ..old }, Holder { agent: agent_number("other", 1), ..old });
    t.db.holder_renew(new, LATER)?;
    t.db.holder_renew(foreign, LATER)?;
    t.db.agent_start(new.agent, NOW + 1)?;
    t.db.agent_start(new.agent, NOW + 10)?;
    for (account, holder, is_valid) in [(1, old, false), (2, new, true), (3, foreign, true)] {
        let claimed = t.db.online_claim(&t.claim_of(account, 1), holder, false, NOW + 1)?;
        expect!((account, claimed), (account, if is_valid { CLAIMED } else { OnlineClaim::NoLease }));
    }
    Ok(())
}

fn clock(t: &mut Trial<'_>) -> Checked {
    let first = t.db.clock()?;
    let second = t.db.clock()?;
    // From 2020 to 2100, and not backwards.
    expect!((1_577_836_800_000..4_102_444_800_000).contains(&first), true);
    expect!(second >= first && second - first < 60_000, true);
    Ok(())
}

fn prune(t: &mut Trial<'_>) -> Checked {
    let (dead, alive) = (t.instance(1)?, t.instance(2)?);
    let [left, kept] = [1, 2].map(|account| t.claim_of(account, 10));
    expect!(t.claim(&left, dead, false)?, CLAIMED);
    expect!(t.claim(&kept, alive, false)?, CLAIMED);
    let long_after = LATER + PRUNE_AFTER_MS + 1;
    // Other checks' leases are in the way, a bounded number of them at a time.
    for _ in 0..64 {
        t.lists += 1;
        let claims = std::slice::from_ref(&kept);
        let list = HeldList { holder: alive, number: t.lists, is_first: true, claims };
        expect!(t.db.online_sync(&list, long_after, long_after + 1)?, SYNCED);
    }
    expect!(t.db.online_release(&left, dead.instance)?, false);
    expect!(t.db.online_release(&kept, alive.instance)?, true);
    Ok(())
}
