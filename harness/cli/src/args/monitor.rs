//! Flags of `monitor`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use throng_core::config::parse_duration;
use throng_harness_monitor::MonitorJob;
use throng_harness_monitor::limit::Limit;

use super::common::default_data;
use super::examples;

#[derive(Debug, Args)]
#[command(next_help_heading = "Watch", after_help = examples::MONITOR)]
pub(super) struct RawMonitor {
    /// Data directory of the servers, for their processes and addresses [default: throng-data]
    #[arg(long, value_name = "DIR", help_heading = "Server")]
    data: Option<PathBuf>,
    /// Time to watch [default: until Ctrl+C]
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    duration: Option<Duration>,
    /// Time between two samples
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = parse_duration)]
    interval: Duration,
    /// Limit that fails the run, as in 'cpu<=80%', 'rss<=500MB', 'files<=80%', 'queue<=1000',
    /// 'links>=2', 'throng_net_stalls_total<=0/s', or up=off; repeatable. = stands for either
    #[arg(long, value_name = "NAME=LIMIT", help_heading = "Result")]
    threshold: Vec<Limit>,
    /// Consecutive samples beyond the limit that break a threshold; a single one breaks `up`
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..), help_heading = "Result")]
    patience: u32,
    /// Write the report to this file as JSON
    #[arg(long, value_name = "FILE", help_heading = "Result")]
    json: Option<PathBuf>,
    /// Write the report to this file as a self-contained web page
    #[arg(long, value_name = "FILE", help_heading = "Result")]
    html: Option<PathBuf>,
    /// Print lines instead of the live view, also in a terminal
    #[arg(long, help_heading = "Result")]
    plain: bool,
}

/// Shortest time between two samples, each of which makes three requests to every server.
const INTERVAL_MIN: Duration = Duration::from_millis(50);

impl RawMonitor {
    pub(super) fn check(self) -> Result<MonitorJob, String> {
        if self.interval < INTERVAL_MIN {
            return Err(
                "--interval is too short: each sample takes time from the servers; the shortest is 50ms"
                    .into(),
            );
        }
        if self.duration.is_some_and(|duration| duration < self.interval) {
            return Err("--duration is shorter than --interval: CPU and rates need two samples".into());
        }
        if self.json.is_some() && self.json == self.html {
            return Err("--json and --html name the same file: one would replace the other".into());
        }
        Ok(MonitorJob {
            data: self.data.unwrap_or_else(default_data),
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

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::super::{Cli, Task};
    use super::*;

    fn parse(line: &str) -> Result<MonitorJob, String> {
        let cli =
            Cli::try_parse_from(["throng-harness", "monitor"].into_iter().chain(line.split_whitespace()));
        match cli.map_err(|error| error.to_string())?.check()? {
            Task::Monitor(job) => Ok(job),
            task => panic!("{task:?}"),
        }
    }

    #[test]
    fn a_command_line_becomes_a_job() {
        assert_eq!(parse("").expect("complete").data, PathBuf::from("throng-data"));
        let job = parse("--data d").expect("complete");
        assert_eq!((job.duration, job.interval, job.patience), (None, Duration::from_secs(1), 3));
        assert_eq!(job.limits, [Limit::up()]);
        let job = parse("--data d --duration 1m --interval 50ms --threshold cpu=80% --threshold up=off --patience 1 --plain")
            .expect("complete");
        assert_eq!((job.duration, job.patience, job.plain), (Some(Duration::from_mins(1)), 1, true));
        assert_eq!(job.limits, ["cpu=80%".parse().expect("valid")]);
    }

    #[test]
    fn bad_values_are_refused() {
        let check = |line: &str, part: &str| {
            let error = parse(line).unwrap_err();
            assert!(error.contains(part), "{line}: {error}");
        };
        check("--data d --interval 0s", "the shortest is 50ms");
        check("--data d --duration 1s --interval 2s", "need two samples");
        check("--data d --json out --html out", "one would replace the other");
        check("--data d --threshold cpus=5", "`cpus` cannot have a threshold");
        check("--data d --patience 0", "0 is not in 1..");
        check("--data d --clients 5", "unexpected argument");
    }
}
