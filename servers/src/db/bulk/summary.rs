//! Results of the rows of a run, counted and listed.

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use super::account::Problem;
use crate::db::output::Print;

/// Problems listed one by one; further ones are counted.
const LISTED_MAX: usize = 20;

/// Description of the rows of a run.
#[derive(Debug, Clone, Copy)]
pub(in crate::db) struct Plan {
    /// Unit of [`super::account::Row::number`] in messages.
    pub(in crate::db) unit: &'static str,
    /// Weight of all rows.
    pub(in crate::db) total: u64,
    /// True if an account that exists already is no problem.
    pub(in crate::db) may_exist: bool,
}

/// Result of a row.
pub(super) enum RowResult {
    /// The account was created, with its character if it has one.
    Created,
    /// The account was created without its character.
    CreatedWithoutCharacter(Problem),
    /// The account existed and is not quite what the row says. It stays as it is.
    Exists(Problem),
    /// The account existed and is what the row says.
    Unchanged,
    /// The account existed and got its missing character.
    CharacterAdded,
    /// The row was refused.
    Refused(Problem),
}

/// Counts of a run.
#[derive(Debug, Default)]
pub(super) struct Summary {
    pub(super) created: u64,
    pub(super) without_character: u64,
    pub(super) existing: u64,
    pub(super) completed: u64,
    pub(super) refused: u64,
    pub(super) problems: u64,
    /// The first problems by number of their row; threads report them in any order.
    pub(super) listed: BTreeMap<u64, Problem>,
}

impl Summary {
    /// Counts the result of the row `number`.
    pub(super) fn count(&mut self, plan: &Plan, number: u64, result: RowResult) {
        let problem = match result {
            RowResult::Created => {
                self.created += 1;
                None
            }
            RowResult::CreatedWithoutCharacter(problem) => {
                self.created += 1;
                self.without_character += 1;
                Some(problem)
            }
            RowResult::Exists(problem) => {
                self.existing += 1;
                let is_wanted = matches!(problem, Problem::Exists(_) | Problem::OtherCharacter(_));
                (!(plan.may_exist && is_wanted)).then_some(problem)
            }
            RowResult::Unchanged => {
                self.existing += 1;
                None
            }
            RowResult::CharacterAdded => {
                self.existing += 1;
                self.completed += 1;
                None
            }
            RowResult::Refused(problem) => {
                self.refused += 1;
                Some(problem)
            }
        };
        if let Some(problem) = problem {
            self.problems += 1;
            self.listed.insert(number, problem);
            if self.listed.len() > LISTED_MAX {
                self.listed.pop_last();
            }
        }
    }

    /// Number of rows counted.
    pub(super) fn rows(&self) -> u64 {
        self.created + self.existing + self.refused
    }

    /// Prints the listed problems, then the counts and the rate.
    pub(super) fn print(&self, plan: &Plan, elapsed: Duration, print: &mut Print<'_>) -> io::Result<()> {
        for (number, problem) in &self.listed {
            print(&format!("{} {number}: {problem}\n", plan.unit))?;
        }
        let unlisted = self.problems - self.listed.len() as u64;
        if unlisted > 0 {
            print(&format!("and {unlisted} more\n"))?;
        }
        let of_them = |count: u64, what: &str| match count {
            0 => String::new(),
            _ => format!(" ({count} of them {what})"),
        };
        let seconds = elapsed.as_secs_f64();
        print(&format!(
            "{} accounts made{}, {} there already{}, {} refused, in {seconds:.1} s ({:.1}/s)\n",
            self.created,
            of_them(self.without_character, "without their character"),
            self.existing,
            of_them(self.completed, "given the character that they lacked"),
            self.refused,
            self.created as f64 / seconds.max(f64::EPSILON),
        ))
    }
}
