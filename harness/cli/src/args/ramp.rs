//! `ramp`.

use std::time::Duration;

use clap::Args;
use throng_core::config::parse_duration;
use throng_harness_driver::steps::{Axis, Ladder, OnBad, Search, StepsJob, Strategy};

use super::broadcast::RawTalk;
use super::common::Common;
use super::steps::{Broadcasts, RawAxis, RawStepping, Talking, with_slo};
use crate::args::pattern::Pattern;

/// Time of a step whose size is given by hand.
const STEP_DURATION: Duration = Duration::from_secs(30);
/// Time of a step of a search.
const SEARCH_DURATION: Duration = Duration::from_secs(10);
/// How often each client speaks, unless the command line says otherwise.
const EACH: Duration = Duration::from_secs(1);

#[derive(Debug, Args)]
#[command(mut_arg("clients", |arg| arg.help("Clients, where the steps are over the rate: otherwise they say how many [default: 100]")))]
pub(super) struct RawRamp {
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    talk: RawTalk,
    #[command(flatten)]
    stepping: RawStepping,
    /// Which steps there are
    #[arg(long, value_name = "NAME", default_value = "gradual")]
    pattern: Pattern,
    /// Which steps there are, instead of those of a pattern, as in 10,20,50
    #[arg(long, value_name = "N,N", value_delimiter = ',', conflicts_with_all = ["pattern", "search"])]
    steps: Vec<u32>,
    /// What the steps are numbers of: clients, or messages a second (of --clients clients)
    #[arg(long, value_name = "WHAT", default_value = "clients", conflicts_with = "search")]
    over: RawAxis,
    /// Instead of given steps, search for the greatest number that is good, between --from and --to
    #[arg(long, value_name = "WHAT", conflicts_with_all = ["pattern", "keep_going"], requires = "from", requires = "to")]
    search: Option<RawAxis>,
    /// Where the search begins
    #[arg(long, value_name = "N", requires = "search")]
    from: Option<u32>,
    /// Where it ends
    #[arg(long, value_name = "N", requires = "search")]
    to: Option<u32>,
    /// How exactly it is to be known
    #[arg(long, value_name = "SHARE", requires = "search", default_value = "5%", value_parser = parse_share)]
    precision: f64,
    /// How long messages are sent in each step [default: the pattern's; 30s with --steps, 10s with --search]
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    duration: Option<Duration>,
    /// In a good step all but one in a hundred messages have reached the last recipient by then; the same as --threshold
    /// last_recipient.p99=TIME, which replaces it
    #[arg(long, value_name = "TIME", default_value = "100ms", value_parser = parse_duration)]
    slo: Duration,
    /// Make all steps, also after one that is not good
    #[arg(long)]
    keep_going: bool,
}

fn parse_share(text: &str) -> Result<f64, String> {
    let percent = text.strip_suffix('%').and_then(|number| number.trim().parse::<f64>().ok());
    match percent {
        Some(percent) if (0.1..=50.0).contains(&percent) => Ok(percent / 100.0),
        _ => Err(format!("`{text}` is no share: write 0.1% to 50%")),
    }
}

impl RawRamp {
    pub(super) fn check(mut self) -> Result<StepsJob, String> {
        let axis = Axis::from(self.search.unwrap_or(self.over));
        let talking = match (axis, self.stepping.interval, self.stepping.each) {
            (Axis::Clients, Some(interval), _) => Talking::Together(interval),
            (Axis::Clients, None, each) => Talking::Each(each.unwrap_or(EACH)),
            (Axis::Rate, None, None) => Talking::Stepped { clients: self.common.clients() },
            (Axis::Rate, ..) => {
                return Err(
                    "--interval and --each say how often clients speak; over the rate the steps do".into()
                );
            }
        };
        let (strategy, sizes, duration) =
            if let (Some(_), Some(from), Some(to)) = (self.search, self.from, self.to) {
                if from > to {
                    return Err(format!("--from {from} is above --to {to}"));
                }
                (Strategy::Search(Search::new(from, to, self.precision)), vec![from, to], SEARCH_DURATION)
            } else {
                let (sizes, duration) = if self.steps.is_empty() {
                    (self.pattern.sizes(), self.pattern.duration())
                } else {
                    (self.steps, STEP_DURATION)
                };
                let on_bad = if self.keep_going { OnBad::GoOn } else { OnBad::FallBack };
                (Strategy::Ladder(Ladder::new(sizes.clone(), on_bad)), sizes, duration)
            };
        self.common.threshold = with_slo(Some(self.slo), &self.common.threshold)?;
        let duration = self.duration.unwrap_or(duration);
        let factory = Broadcasts::new(self.common, self.talk, talking, duration, &sizes)?;
        Ok(StepsJob {
            name: "ramp",
            factory: Box::new(factory),
            axis,
            strategy,
            pause: self.stepping.pause,
            ahead: None,
            forecast: None,
            every_step_counts: false,
            keep_reports: self.stepping.keep_reports,
        })
    }
}
