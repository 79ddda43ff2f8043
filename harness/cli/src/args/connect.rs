//! Flags of `connect`.

use std::time::Duration;

use clap::Args;
use throng_core::config::parse_duration;
use throng_harness_model::spec::Connect;

use super::common::Common;
use super::examples;
use super::setting::parse_rate;

#[derive(Debug, Args)]
#[command(next_help_heading = "Connections", after_help = examples::CONNECT)]
pub(super) struct RawConnect {
    /// Time that all clients stay once all have entered
    #[arg(long, visible_alias = "hold", value_name = "TIME", default_value = "10s", value_parser = parse_duration)]
    pub(super) duration: Duration,
    /// Connections started a second, instead of --connect-interval
    #[arg(long, value_name = "N/s", conflicts_with = "connect_interval", value_parser = parse_rate)]
    pub(super) rate: Option<u32>,
    /// Time in which the connection rate rises from zero to its full value
    #[arg(long, value_name = "TIME", default_value = "0s", value_parser = parse_duration)]
    ramp: Duration,
    /// Reconnects a second, of all clients together, while the others stay
    #[arg(long, value_name = "N/s", value_parser = parse_rate)]
    churn: Option<u32>,
    /// Then disconnect all clients at once, and reconnect them
    #[arg(long)]
    storm: bool,
    #[command(flatten)]
    pub(super) common: Common,
}

impl RawConnect {
    pub(super) fn check(&self) -> Connect {
        Connect { hold: self.duration, ramp: self.ramp, churn: self.churn, storm: self.storm }
    }

    /// The time between two connections.
    pub(super) fn interval(&self) -> Duration {
        self.rate.map_or(self.common.connect_interval, |rate| Duration::from_secs(1) / rate)
    }
}
