//! Runs of several steps: each is a whole run with more clients, or at a higher rate, than the one before.
//!
//! ```text
//!   pattern     which sizes there are                         ramp, bench: the command line
//!   course      what to try next, from what was good so far   ladder, search
//!   tries       the same again if the harness was not up to it
//!   judge       whether a step was good, and whose limit it met
//!   capacity    what a step's server could make at most
//!   forecast    what that comes to with more clients
//!   run         one step after the other
//! ```
//! Nothing but `run` knows that a step is a run. What a step does is up to its [`StepFactory`], so any scenario can
//! be gone through by steps.

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

use std::fmt::Debug;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use throng_harness_model::spec::Job;

pub use capacity::{Capacity, Pace};
pub use forecast::{Basis, Forecast, HeldOut, LeftOut, Measured, Predicted, STEPS_MIN};
pub use judge::{Judged, LimitedBy, Outcome, judge};
pub use ladder::{Ladder, OnBad};
pub use report::{Limit, Step, SteppedReport, WrittenReport};
pub use retries::Retries;
pub use run::run;
pub use search::Search;
pub use usl::Usl;

/// What becomes larger from step to step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "testing", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Axis {
    /// Clients.
    Clients,
    /// Messages a second, of all clients together.
    Rate,
}

impl Axis {
    /// A size with what it counts.
    pub fn show(self, size: u32) -> String {
        let count = throng_harness_model::text::format_count(size.into());
        match self {
            Self::Clients => format!("{count} clients"),
            Self::Rate => format!("{count} messages/s"),
        }
    }
}

/// What a step is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "testing", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// To go up as it was planned.
    Climb,
    /// To come nearer to the limit between a good size and a bad one.
    Narrow,
    /// To see whether what was good is so again.
    Confirm,
    /// To do the step before once more, which the harness was not up to.
    Repeat,
}

/// A step that is to be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trial {
    /// Clients, or messages a second.
    pub size: u32,
    /// What for.
    pub phase: Phase,
}

/// What the steps so far come to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Found {
    /// The greatest size that was good; below all that were not, unless steps are only compared.
    pub good: Option<u32>,
    /// The smallest size that was not, by the server; without one, the smallest above the good one that the harness was
    /// not up to.
    pub bad: Option<u32>,
    /// Whether the good one was so again when the bad one was known.
    pub confirmed: bool,
}

/// Decides what to try next. It ends after a bounded number of steps, whatever they find.
#[derive(Debug, Clone, PartialEq)]
pub enum Strategy {
    /// Sizes that are given.
    Ladder(Ladder),
    /// The greatest good size between two.
    Search(Search),
}

impl Strategy {
    /// The next step; none when it is over.
    pub fn next(&self) -> Option<Trial> {
        match self {
            Self::Ladder(ladder) => ladder.next(),
            Self::Search(search) => search.next(),
        }
    }

    /// How [`next`](Self::next) went.
    pub fn judged(&mut self, outcome: Outcome) {
        match self {
            Self::Ladder(ladder) => ladder.judged(outcome),
            Self::Search(search) => search.judged(outcome),
        }
    }

    /// What is known so far.
    pub fn found(&self) -> Found {
        match self {
            Self::Ladder(ladder) => ladder.found(),
            Self::Search(search) => search.found(),
        }
    }

    /// How many steps there are, if that is known before.
    pub fn planned(&self) -> Option<usize> {
        match self {
            Self::Ladder(ladder) => Some(ladder.planned()),
            Self::Search(_) => None,
        }
    }
}

/// Makes the run of a step.
pub trait StepFactory: Debug {
    /// The run for `size`: so many clients, or messages a second. Everything else, thresholds included, is the same for
    /// all sizes. The error says what to change on the command line.
    fn job(&self, size: u32) -> Result<Job, String>;

    /// The same clients as fast as the server lets them, at most `ahead` messages ahead of the slowest; none if
    /// not everybody gets every message, so that nobody knows who is slowest.
    fn closed(&self, size: u32, ahead: u32) -> Option<Job>;
}

/// A run of several steps.
#[derive(Debug)]
pub struct StepsJob {
    /// The scenario's name on the command line.
    pub name: &'static str,
    /// What a step does.
    pub factory: Box<dyn StepFactory>,
    /// What becomes larger.
    pub axis: Axis,
    /// Which steps there are.
    pub strategy: Strategy,
    /// Time between two steps, in which the server gets over the older one.
    pub pause: Duration,
    /// How each step's capacity is measured, if it is.
    pub ahead: Option<u32>,
    /// Sizes for which a forecast is made, if any is wanted.
    pub forecast: Option<Vec<u32>>,
    /// Whether a step that is not good fails the run. In a ramp that is what it looks for.
    pub every_step_counts: bool,
    /// Whether the report has each step's whole report.
    pub keep_reports: bool,
}

impl StepsJob {
    /// The size of the first step.
    pub fn first(&self) -> u32 {
        self.strategy.next().map_or(0, |trial| trial.size)
    }
}
