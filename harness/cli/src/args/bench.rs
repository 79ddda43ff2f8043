//! `bench`.

use std::time::Duration;

use clap::Args;
use throng_core::config::parse_duration;
use throng_harness_driver::steps::{Axis, Ladder, OnBad, StepsJob, Strategy};
use throng_harness_model::limits::CLIENTS_MAX;

use super::broadcast::RawTalk;
use super::common::Common;
use super::steps::{Broadcasts, RawStepping, Talking, with_slo};

/// Time between two messages of all clients together, unless the command line says otherwise.
const INTERVAL: Duration = Duration::from_millis(10);

// Its steps say how many clients there are, so the flag would only be in the way.
#[derive(Debug, Args)]
#[command(mut_arg("clients", |arg| arg.hide(true)))]
pub(super) struct RawBench {
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    talk: RawTalk,
    #[command(flatten)]
    stepping: RawStepping,
    /// How many clients each step has
    #[arg(long, value_name = "N,N", value_delimiter = ',', default_value = "10,25,50,75,100")]
    steps: Vec<u32>,
    /// How long messages are sent in each step; twice, by a schedule and as fast as they are served
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = parse_duration)]
    duration: Duration,
    /// Messages that are ahead of the slowest client when they are sent as fast as they are served
    #[arg(long, value_name = "N", default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    ahead: u32,
    /// Send by the schedule only: then there is no forecast
    #[arg(long, conflicts_with_all = ["ahead", "forecast"])]
    no_capacity: bool,
    /// Numbers of clients that a forecast is made for [default: 2, 5 and 10 times the largest step]
    #[arg(long, value_name = "N,N", value_delimiter = ',', value_parser = clap::value_parser!(u32).range(1..=i64::from(CLIENTS_MAX)))]
    forecast: Vec<u32>,
    /// A step is good only if all but one in a hundred messages have reached the last recipient by then
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    slo: Option<Duration>,
}

impl RawBench {
    pub(super) fn check(mut self) -> Result<StepsJob, String> {
        let talking = match (self.stepping.interval, self.stepping.each) {
            (interval, None) => Talking::Together(interval.unwrap_or(INTERVAL)),
            (_, Some(each)) => Talking::Each(each),
        };
        self.common.threshold = with_slo(self.slo, &self.common.threshold)?;
        let factory = Broadcasts::new(self.common, self.talk, talking, self.duration, &self.steps)?;
        Ok(StepsJob {
            name: "bench",
            factory: Box::new(factory),
            axis: Axis::Clients,
            strategy: Strategy::Ladder(Ladder::new(self.steps, OnBad::Ignore)),
            pause: self.stepping.pause,
            ahead: (!self.no_capacity).then_some(self.ahead),
            forecast: (!self.no_capacity).then_some(self.forecast),
            every_step_counts: true,
            keep_reports: self.stepping.keep_reports,
        })
    }
}
