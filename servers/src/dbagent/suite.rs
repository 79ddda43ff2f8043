//! The conformance test that every implementation of [`Procedures`] has to pass.
//!
//! `throng db check --full` runs it on an operator's database, and the tests run it on every
//! engine. It leaves rows behind, with ids drawn at random.

use thiserror::Error;

use super::procedures::{DbError, Procedures};
use trial::{CheckError, Connections, Trial};

mod accounts;
mod online;
mod trial;

/// Opens one more connection to the database under test.
pub type Connect<'a> = dyn Fn() -> Result<Box<dyn Procedures>, DbError> + Sync + 'a;

/// The first check that failed.
#[derive(Debug, Error)]
#[error("{check}: {source}")]
pub struct SuiteFailure {
    /// Name of the check.
    pub check: &'static str,
    /// Reason of the failure.
    pub source: CheckError,
}

type Check = fn(&mut Trial<'_>) -> Result<(), CheckError>;

const CHECKS: &[(&str, Check)] = &[
    ("an account is read back unchanged", accounts::account_round_trip),
    ("an unknown key has no account", accounts::unknown_account),
    ("texts with SQL in them are data", accounts::hostile_texts),
    ("ids and names of the greatest length fit", accounts::longest_texts),
    ("an id is unique", accounts::id_taken),
    ("50 concurrent sign-ups of one id make one account", accounts::concurrent_sign_ups),
    ("a hash is replaced once, and only if it is the verified one", accounts::password_replace),
    ("20 concurrent replacements of a hash make one", accounts::concurrent_replacements),
    ("the costs of passwords in use can be listed", accounts::password_costs),
    ("a character is read back unchanged", accounts::character_round_trip),
    ("characters are unique by account and by name", accounts::character_conflicts),
    ("20 concurrent characters of one name make one character", accounts::concurrent_names),
    ("an account is online from its claim to the release", online::claim_and_release),
    ("a claim without a lease is refused", online::claim_needs_lease),
    ("a claim ends with its holder's lease", online::lease_ends),
    ("a take-over returns the displaced claim", online::take_over),
    ("a claim can be transferred, and only its holder releases it", online::transfer),
    ("an away claim gives way to any login", online::away_claims),
    ("a claim that changes hands is not away", online::away_transfers),
    ("a list clears the marks of away claims", online::away_lists),
    ("20 concurrent claims on one account make one claim", online::concurrent_claims),
    ("numbers keep all their bits", online::extremes),
    ("a list of claims replaces the recorded ones", online::sync_replaces),
    ("a list of claims conflicts with other holders' claims", online::sync_conflicts),
    ("a repeated call has the same result", online::repeats),
    ("claims depend on the lease of one agent and move to another", online::agents),
    ("a list that arrives after a later one takes nothing up", online::late_lists),
    ("the start of an agent ends leases of its predecessors", online::agent_starts),
    ("the clock runs", online::clock),
    ("rows of processes that died long ago are removed", online::prune),
];

/// Runs all checks over connections that `connect` opens. Returns their number.
pub fn suite(connect: &Connect<'_>) -> Result<usize, SuiteFailure> {
    let connections = Connections::new(connect);
    for &(check, run) in CHECKS {
        let failed = |source| SuiteFailure { check, source };
        let mut trial = Trial::new(&connections).map_err(|error| failed(error.into()))?;
        run(&mut trial).map_err(failed)?;
        connections.put_back(trial.db);
    }
    let closed = connections.close();
    closed.map_err(|error| SuiteFailure { check: "closing", source: error.into() })?;
    Ok(CHECKS.len())
}
