//! Flags of `ramp`.

use std::time::Duration;

use clap::Args;
use throng_core::config::parse_duration;
use throng_harness_driver::steps::{Axis, Ladder, OnBad, Search, StepsJob, Strategy};

use super::broadcast::RawTraffic;
use super::common::Common;
use super::examples;
use super::steps::{Broadcasts, Pacing, RawAxis, RawStepping, with_slo};
use crate::args::pattern::Pattern;

/// Duration of a step given by `--steps`.
const STEP_DURATION: Duration = Duration::from_secs(30);
/// Duration of a step of a search.
const SEARCH_DURATION: Duration = Duration::from_secs(10);
/// Duration of a step of the search that runs without flags.
const QUICK_DURATION: Duration = Duration::from_secs(5);
/// Time that the search without flags may take.
const QUICK_WITHIN: Duration = Duration::from_mins(5);
/// Bounds of a search over clients, unless the command line says otherwise. More clients than the
/// upper one need more files than most systems allow a process.
const CLIENTS: (u32, u32) = (100, 9_000);
/// Bounds of a search over messages a second.
const RATES: (u32, u32) = (10, 100_000);
/// Interval of each client's messages, unless the command line says otherwise.
const EACH: Duration = Duration::from_secs(1);

#[derive(Debug, Args)]
#[command(next_help_heading = "Steps", after_help = examples::RAMP)]
#[command(mut_arg("clients", |arg| arg.help("Clients, with steps over the rate; steps over clients set their own number [default: 100]")))]
pub(super) struct RawRamp {
    /// Named series of steps [default: none, but a search over clients within 5 minutes]
    #[arg(long, value_name = "NAME")]
    pattern: Option<Pattern>,
    /// Sizes of the steps instead of a pattern, as in 10,20,50
    #[arg(long, value_name = "N,N", value_delimiter = ',', conflicts_with_all = ["pattern", "search"])]
    steps: Vec<u32>,
    /// Unit of the steps: clients, or messages a second (of --clients clients) [default: clients]
    #[arg(long, value_name = "WHAT", conflicts_with = "search")]
    over: Option<RawAxis>,
    /// Search for the largest good step between --from and --to instead of running given steps
    #[arg(long, value_name = "WHAT", conflicts_with_all = ["pattern", "keep_going"])]
    search: Option<RawAxis>,
    /// Smallest step of the search [default: 100 clients, 10 messages a second]
    #[arg(long, value_name = "N", conflicts_with_all = ["pattern", "steps"])]
    from: Option<u32>,
    /// Largest step of the search [default: 9000 clients, 100000 messages a second]
    #[arg(long, value_name = "N", conflicts_with_all = ["pattern", "steps"])]
    to: Option<u32>,
    /// Time after which no step may end [default: 5m without --pattern, --steps and --search]
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    within: Option<Duration>,
    /// Width of the range, as a share of the limit, at which the search stops
    #[arg(long, value_name = "SHARE", default_value = "5%", value_parser = parse_share)]
    precision: f64,
    /// Time that messages are sent in each step [default: the pattern's; 30s with --steps, 10s with
    /// --search, 5s without any of these]
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    duration: Option<Duration>,
    /// A step is good only if 99 % of its messages reach the last recipient within this time; short
    /// for --threshold last_recipient.p99=TIME, which overrides it
    #[arg(long, value_name = "TIME", default_value = "100ms", value_parser = parse_duration)]
    slo: Duration,
    /// Run all steps, also after a bad one
    #[arg(long)]
    keep_going: bool,
    #[command(flatten)]
    stepping: RawStepping,
    #[command(flatten)]
    traffic: RawTraffic,
    #[command(flatten)]
    common: Common,
}

fn parse_share(text: &str) -> Result<f64, String> {
    let percent = text.strip_suffix('%').and_then(|number| number.trim().parse::<f64>().ok());
    match percent {
        Some(percent) if (0.1..=50.0).contains(&percent) => Ok(percent / 100.0),
        _ => Err(format!("`{text}` is not a share: write 0.1% to 50%")),
    }
}

impl RawRamp {
    pub(super) fn check(mut self) -> Result<StepsJob, String> {
        let axis = Axis::from(self.search.or(self.over).unwrap_or(RawAxis::Clients));
        let pacing = match (axis, self.stepping.interval, self.stepping.each) {
            (Axis::Clients, Some(interval), _) => Pacing::Total(interval),
            (Axis::Clients, None, each) => Pacing::PerClient(each.unwrap_or(EACH)),
            (Axis::Rate, None, None) => Pacing::Stepped { clients: self.common.clients() },
            (Axis::Rate, ..) => {
                return Err(
                    "--interval and --each set the rate, which --over rate takes from the steps".into()
                );
            }
        };
        let is_quick = self.pattern.is_none() && self.steps.is_empty() && self.search.is_none();
        let (strategy, sizes, duration) = if self.search.is_some() || is_quick {
            let (least, most) = if axis == Axis::Clients { CLIENTS } else { RATES };
            let (from, to) = (self.from.unwrap_or(least), self.to.unwrap_or(most));
            if from > to {
                return Err(format!("--from {from} is above --to {to}"));
            }
            let duration = if is_quick { QUICK_DURATION } else { SEARCH_DURATION };
            (Strategy::Search(Search::new(from, to, self.precision)), vec![from, to], duration)
        } else {
            let (sizes, duration) = match self.pattern {
                Some(pattern) => (pattern.sizes(), pattern.duration()),
                None => (self.steps, STEP_DURATION),
            };
            let on_bad = if self.keep_going { OnBad::GoOn } else { OnBad::FallBack };
            (Strategy::Ladder(Ladder::new(sizes.clone(), on_bad)), sizes, duration)
        };
        self.common.threshold = with_slo(Some(self.slo), &self.common.threshold)?;
        let duration = self.duration.unwrap_or(duration);
        let factory = Broadcasts::new(self.common, self.traffic, pacing, duration, &sizes)?;
        Ok(StepsJob {
            name: "ramp",
            factory: Box::new(factory),
            axis,
            strategy,
            pause: self.stepping.pause,
            within: self.within.or(is_quick.then_some(QUICK_WITHIN)),
            ahead: None,
            forecast: None,
            every_step_counts: false,
            keep_reports: self.stepping.keep_reports,
        })
    }
}
