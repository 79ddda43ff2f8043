//! `connect`.

use std::time::Duration;

use clap::Args;
use throng_core::config::parse_duration;

use super::common::Common;

#[derive(Debug, Args)]
pub(super) struct RawConnect {
    #[command(flatten)]
    pub(super) common: Common,
    /// How long everybody stays once all have entered
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = parse_duration)]
    pub(super) duration: Duration,
}
