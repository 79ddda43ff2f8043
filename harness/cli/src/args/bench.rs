//! Flags of `bench`.

use std::time::Duration;

use clap::Args;
use throng_core::config::parse_duration;
use throng_harness_driver::steps::{Axis, Ladder, OnBad, StepsJob, Strategy};
use throng_harness_model::limits::CLIENTS_MAX;

use super::broadcast::RawTraffic;
use super::common::Common;
use super::examples;
use super::steps::{Broadcasts, Pacing, RawStepping, with_slo};

/// Time between two messages of all clients together, unless the command line says otherwise.
const INTERVAL: Duration = Duration::from_millis(10);

// The steps set the number of clients, so the flag is hidden.
#[derive(Debug, Args)]
#[command(next_help_heading = "Steps", after_help = examples::BENCH)]
#[command(mut_arg("clients", |arg| arg.hide(true)))]
pub(super) struct RawBench {
    /// Clients of each step
    #[arg(long, value_name = "N,N", value_delimiter = ',', default_value = "10,25,50,75,100")]
    steps: Vec<u32>,
    /// Time that messages are sent in each step, twice: on a schedule, then in a closed loop
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = parse_duration)]
    duration: Duration,
    /// Messages in flight to the slowest client in the closed loop
    #[arg(long, value_name = "N", default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    ahead: u32,
    /// Send on the schedule only, without a closed loop and a forecast
    #[arg(long, conflicts_with_all = ["ahead", "forecast"])]
    no_capacity: bool,
    /// Numbers of clients to forecast [default: 2, 5 and 10 times the largest step]
    #[arg(long, value_name = "N,N", value_delimiter = ',', value_parser = clap::value_parser!(u32).range(1..=i64::from(CLIENTS_MAX)))]
    forecast: Vec<u32>,
    /// A step is good only if 99 % of its messages reach the last recipient within this time
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    slo: Option<Duration>,
    #[command(flatten)]
    stepping: RawStepping,
    #[command(flatten)]
    traffic: RawTraffic,
    #[command(flatten)]
    common: Common,
}

impl RawBench {
    pub(super) fn check(mut self) -> Result<StepsJob, String> {
        let pacing = match (self.stepping.interval, self.stepping.each) {
            (interval, None) => Pacing::Total(interval.unwrap_or(INTERVAL)),
            (_, Some(each)) => Pacing::PerClient(each),
        };
        self.common.threshold = with_slo(self.slo, &self.common.threshold)?;
        let factory = Broadcasts::new(self.common, self.traffic, pacing, self.duration, &self.steps)?;
        Ok(StepsJob {
            name: "bench",
            factory: Box::new(factory),
            axis: Axis::Clients,
            strategy: Strategy::Ladder(Ladder::new(self.steps, OnBad::Ignore)),
            pause: self.stepping.pause,
            within: None,
            ahead: (!self.no_capacity).then_some(self.ahead),
            forecast: (!self.no_capacity).then_some(self.forecast),
            every_step_counts: true,
            keep_reports: self.stepping.keep_reports,
        })
    }
}
