//! `monitor`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use throng_core::config::parse_duration;

use crate::monitor::MonitorJob;
use crate::monitor::limit::Limit;

#[derive(Debug, Args)]
pub(super) struct RawMonitor {
    /// Data directory of the servers: which processes they are, and where they answer, is read from it
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// How long to watch [default: until Ctrl+C]
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    duration: Option<Duration>,
    /// Time between two looks
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = parse_duration)]
    interval: Duration,
    /// Limit that makes the watching fail, as in cpu=80%, rss=500MB, files=80%, queue=1000, links=2 (at least),
    /// throng_net_stalls_total=0/s, up=off; repeatable
    #[arg(long, value_name = "NAME=LIMIT")]
    threshold: Vec<Limit>,
    /// Looks in a row on the wrong side that break a threshold; `up` is broken by one
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    patience: u32,
    /// Write the report to this file as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write the report to this file as a page for a browser, which needs no other file
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Lines instead of a picture, also in a terminal
    #[arg(long)]
    plain: bool,
}

/// The shortest time between two looks: each asks every server three things.
const INTERVAL_MIN: Duration = Duration::from_millis(50);

impl RawMonitor {
    pub(super) fn check(self) -> Result<MonitorJob, String> {
        if self.interval < INTERVAL_MIN {
            return Err(
                "--interval is too short: each look takes time from the servers; the shortest is 50ms".into(),
            );
        }
        if self.duration.is_some_and(|duration| duration < self.interval) {
            return Err("--duration is shorter than --interval: CPU and rates need two looks".into());
        }
        if self.json.is_some() && self.json == self.html {
            return Err("--json and --html name the same file: one would replace the other".into());
        }
        Ok(MonitorJob {
            data: self.data,
            duration: self.duration,
            interval: self.interval,
            limits: Limit::with_default(&self.threshold),
            patience: self.patience,
            json: self.json,
            html: self.html,
            plain: self.plain,
        })
    }
}
