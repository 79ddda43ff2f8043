//! `throng db seed`: accounts with characters for tests, `seed-000001` and so on.

use throng_core::config::{Config, Secret};
use throng_core::limits::NAME_CHARS_MAX;

use super::Print;
use super::bulk::{self, BulkError, Credential, Plan, Problem, Row, Stop, Wish};
use crate::dbagent::database::Database;
use crate::rules;

/// What is to be made.
pub(super) struct Seed<'a> {
    /// How many there are to be in the end.
    pub(super) count: u64,
    /// What ids and names begin with.
    pub(super) prefix: &'a str,
    /// The password of all of them.
    pub(super) password: &'a str,
}

impl Seed<'_> {
    /// The id, and the name, with this number.
    fn id(&self, number: u64) -> String {
        format!("{}-{number:06}", self.prefix)
    }

    /// Whether all of it may be made.
    fn check(&self) -> Result<(), BulkError> {
        rules::check_password(self.password)
            .map_err(|outcome| BulkError::Password(Problem::Rule(outcome)))?;
        // What is permitted with the last number, the longest one, is so with all.
        let example = self.id(self.count);
        let checked = rules::check_id(&example).and_then(|_| rules::check_name(&example));
        checked.map(|_| ()).map_err(|outcome| {
            let number = example.chars().count() - self.prefix.chars().count();
            let room = NAME_CHARS_MAX.saturating_sub(number);
            BulkError::Prefix { example, problem: Problem::Rule(outcome), room }
        })
    }

    /// The accounts, in order.
    fn rows(&self) -> impl Iterator<Item = Result<Row, Stop>> {
        let password = Secret::new(self.password);
        (1..=self.count).map(move |number| {
            let id = self.id(number);
            let wish = Wish::new(&id, Credential::Password(password.clone()), &id);
            Ok(Row { at: number, weight: 1, wish })
        })
    }
}

/// Makes what is missing of a seed. False: a name or id is somebody else's.
pub(super) fn run(
    config: &Config,
    database: &Database,
    seed: &Seed<'_>,
    print: &mut Print<'_>,
) -> Result<bool, BulkError> {
    seed.check()?;
    let plan = Plan { unit: "number", total: seed.count, may_exist: true };
    bulk::run(config, database, plan, seed.rows(), print)
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
        let rows: Vec<_> = seed.rows().take(3).map(|row| row.unwrap().at).collect();
        assert_eq!(rows, [1, 2, 3]);
    }

    #[test]
    fn what_could_not_be_made_is_refused_before_anything_is() {
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
