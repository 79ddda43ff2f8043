//! Runs of several steps; each is a whole run with more clients, or at a higher rate, than the
//! step before.
//!
//! ```text
//!   ladder, search   the next step, from the outcomes so far
//!   retries          repeats a step that was not good
//!   judge            the judgment of a step, and whose limit it met
//!   capacity         the capacity of a step's server
//!   forecast         the capacity with more clients
//!   run              makes one step after the other
//!   answer           the result in a sentence or two
//!   verdict          the verdict on all of them
//! ```
//! Only `run` knows that a step is a run. The content of a step is up to its [`StepFactory`], so
//! any scenario can be run by steps. The command line chooses the sizes.

mod answer;
mod brief;
mod capacity;
mod forecast;
mod forecast_text;
mod judge;
mod ladder;
mod page;
mod report;
mod retries;
mod run;
mod search;
mod usl;
mod verdict;

use std::fmt::Debug;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use throng_harness_model::spec::Job;

pub use capacity::{Bottleneck, Capacity};
pub use forecast::{Basis, Forecast, HeldOut, LeftOut, Measured, Predicted, STEPS_MIN};
pub use judge::{Judged, LimitedBy, Outcome, judge};
pub use ladder::{Ladder, OnBad};
pub use report::{Limit, Step, SteppedReport, WrittenReport};
pub use retries::Retries;
pub use run::run;
pub use search::Search;
pub use usl::Usl;

/// Quantity that grows from step to step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "testing", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Axis {
    /// Clients.
    Clients,
    /// Messages per second, over all clients.
    Rate,
}

impl Axis {
    /// Formats a size with its unit.
    pub fn show(self, size: u32) -> String {
        let count = throng_harness_model::text::format_count(size.into());
        match self {
            Self::Clients => format!("{count} clients"),
            Self::Rate => format!("{count} messages/s"),
        }
    }
}

/// Purpose of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "testing", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// Climb as planned.
    Climb,
    /// Narrow the gap between a good size and a bad one.
    Narrow,
    /// Confirm that a good size is good again.
    Confirm,
    /// Repeat the previous step, which was not good.
    Repeat,
}

/// A step to make.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trial {
    /// Clients, or messages per second.
    pub size: u32,
    /// Purpose.
    pub phase: Phase,
}

/// Result of the steps so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Found {
    /// The greatest good size. It is below all bad ones, unless steps are only compared.
    pub good: Option<u32>,
    /// The smallest size that met the server's limit. Without one, the smallest above the good one
    /// at which the harness or the machine was not good enough.
    pub bad: Option<u32>,
    /// True if the good size was good again after the bad one was known.
    pub confirmed: bool,
}

/// Chooses the next step. It ends after a bounded number of steps, whatever their outcomes.
#[derive(Debug, Clone, PartialEq)]
pub enum Strategy {
    /// A given list of sizes.
    Ladder(Ladder),
    /// A search for the greatest good size between two bounds.
    Search(Search),
}

impl Strategy {
    /// Returns the next step, or `None` at the end.
    pub fn next(&self) -> Option<Trial> {
        match self {
            Self::Ladder(ladder) => ladder.next(),
            Self::Search(search) => search.next(),
        }
    }

    /// Takes the outcome of the step from [`next`](Self::next).
    pub fn judged(&mut self, outcome: Outcome) {
        match self {
            Self::Ladder(ladder) => ladder.judged(outcome),
            Self::Search(search) => search.judged(outcome),
        }
    }

    /// Returns the result so far.
    pub fn found(&self) -> Found {
        match self {
            Self::Ladder(ladder) => ladder.found(),
            Self::Search(search) => search.found(),
        }
    }

    /// Returns the number of steps that a search still needs, the next one included, if all goes
    /// well; `None` for a given list.
    pub fn remaining(&self) -> Option<usize> {
        match self {
            Self::Ladder(_) => None,
            Self::Search(search) => Some(search.remaining()),
        }
    }

    /// Returns the number of steps, if it is known in advance.
    pub fn planned(&self) -> Option<usize> {
        match self {
            Self::Ladder(ladder) => Some(ladder.planned()),
            Self::Search(_) => None,
        }
    }
}

/// Creates the run of a step.
pub trait StepFactory: Debug {
    /// Returns the run for `size`, which is clients or messages per second. Everything else,
    /// including thresholds, is equal for all sizes. The error says what to change on the command
    /// line.
    fn job(&self, size: u32) -> Result<Job, String>;

    /// Returns a closed loop of the clients of `size`, at most `ahead` messages ahead of the
    /// slowest. `None` if not every client gets every message, so that the slowest is unknown.
    fn closed(&self, size: u32, ahead: u32) -> Option<Job>;
}

/// A run of several steps.
#[derive(Debug)]
pub struct StepsJob {
    /// The scenario's name on the command line.
    pub name: &'static str,
    /// Creates the run of each step.
    pub factory: Box<dyn StepFactory>,
    /// Quantity that grows.
    pub axis: Axis,
    /// Chooses the steps.
    pub strategy: Strategy,
    /// Pause between two steps, in which the server recovers.
    pub pause: Duration,
    /// Time after which no step may end, judged by those before; `None` for no limit.
    pub within: Option<Duration>,
    /// Messages ahead of the slowest client when each step's capacity is measured; `None` to skip
    /// that.
    pub ahead: Option<u32>,
    /// Sizes to forecast; `None` for no forecast.
    pub forecast: Option<Vec<u32>>,
    /// True if a step that is not good fails the run. A ramp, in contrast, looks for such a step.
    pub every_step_counts: bool,
    /// True if the report includes the whole report of each step.
    pub keep_reports: bool,
}

impl StepsJob {
    /// Returns the size of the first step.
    pub fn first(&self) -> u32 {
        self.strategy.next().map_or(0, |trial| trial.size)
    }
}
