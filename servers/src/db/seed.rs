//! `throng db seed`: creates accounts with characters for tests, `seed-000001` and so on.

use thiserror::Error;
use throng_core::config::{Config, Secret};
use throng_core::limits::NAME_CHARS_MAX;

use super::bulk::{self, AccountSpec, BulkError, Credential, Plan, Problem, Row, Stop};
use super::output::Print;
use crate::dbagent::database::Database;
use crate::rules;

/// Error of `throng db seed`.
#[derive(Debug, Error)]
pub enum SeedError {
    /// The ids and names would break a rule.
    #[error(
        "the ids and names would be such as {example:?}, but {problem}: \
         give another --prefix, of at most {prefix_max} characters for so many accounts"
    )]
    Prefix {
        /// The longest id.
        example: String,
        /// The rule that the id breaks.
        problem: Problem,
        /// Longest permitted prefix, in characters.
        prefix_max: usize,
    },
    /// The password breaks a rule.
    #[error("{0}: give another --password")]
    Password(Problem),
    /// The run failed.
    #[error(transparent)]
    Bulk(#[from] BulkError),
}

/// Accounts of a seed.
pub(super) struct Seed<'a> {
    /// Number of accounts after the run.
    pub(super) count: u64,
    /// Prefix of ids and names.
    pub(super) prefix: &'a str,
    /// Password of all accounts.
    pub(super) password: &'a str,
}

impl Seed<'_> {
    /// Returns the id, and name, with this number.
    fn id(&self, number: u64) -> String {
        format!("{}-{number:06}", self.prefix)
    }

    /// Checks all ids, names and the password against the rules.
    fn check(&self) -> Result<(), SeedError> {
        rules::check_password(self.password)
            .map_err(|outcome| SeedError::Password(Problem::Rule(outcome)))?;
        // The last id is the longest: if it is permitted, all are.
        let example = self.id(self.count);
        let checked = rules::check_id(&example).and_then(|_| rules::check_name(&example));
        checked.map(|_| ()).map_err(|outcome| {
            let suffix = example.chars().count() - self.prefix.chars().count();
            let prefix_max = NAME_CHARS_MAX.saturating_sub(suffix);
            SeedError::Prefix { example, problem: Problem::Rule(outcome), prefix_max }
        })
    }

    /// Yields the accounts in order.
    fn rows(&self) -> impl Iterator<Item = Result<Row, Stop>> {
        let password = Secret::new(self.password);
        (1..=self.count).map(move |number| {
            let id = self.id(number);
            let account = AccountSpec::new(&id, Credential::Password(password.clone()), &id);
            Ok(Row { number, weight: 1, account })
        })
    }
}

/// Creates the missing accounts of a seed. Returns false if an id or a name belongs to another
/// account.
pub(super) fn run(
    config: &Config,
    database: &Database,
    seed: &Seed<'_>,
    print: &mut Print<'_>,
) -> Result<bool, SeedError> {
    seed.check()?;
    let plan = Plan { unit: "number", total: seed.count, may_exist: true };
    Ok(bulk::run(config, database, plan, seed.rows(), print)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seed(count: u64, prefix: &'static str, password: &'static str) -> Seed<'static> {
        Seed { count, prefix, password }
    }

    #[test]
    fn numbers_have_six_digits_or_more() {
        let seed = seed(1_000_000, "seed", "seed-password");
        assert_eq!((seed.id(1), seed.id(1_000_000)), ("seed-000001".into(), "seed-1000000".into()));
        let rows: Vec<_> = seed.rows().take(3).map(|row| row.unwrap().number).collect();
        assert_eq!(rows, [1, 2, 3]);
    }

    #[test]
    fn an_impossible_seed_is_refused_before_the_first_account() {
        assert!(seed(999_999, "a-prefix-of-17-ch", "seed-password").check().is_ok());
        assert!(seed(0, "김", "seed-password").check().is_ok());
        let check = |count, prefix, password, wanted: &[&str]| {
            let error = seed(count, prefix, password).check().unwrap_err().to_string();
            assert!(wanted.iter().all(|wanted| error.contains(wanted)), "{prefix:?}: {error}");
        };
        let password = "seed-password";
        check(1, "a-prefix-of-18-chr", password, &["\"a-prefix-of-18-chr-000001\"", "24", "at most 17"]);
        check(1_000_000, "a-prefix-of-17-ch", password, &["24 characters", "at most 16"]);
        check(1, &"x".repeat(40).leak()[..], password, &["32 characters", "--prefix"]);
        check(1, " x", password, &["blanks at the ends", "\" x-000001\""]);
        check(1, "a\0b", password, &["\"a\\0b-000001\"", "--prefix"]);
        check(1, "seed", "short", &["8 characters", "--password"]);
        assert!(!seed(1, "seed", "geheim\n").check().unwrap_err().to_string().contains("geheim"));
    }
}
