//! Flags of `bots`.

use std::time::Duration;

use clap::{Args, ValueEnum};
use throng_core::config::{format_duration, parse_duration};
use throng_harness_driver::steps::{Axis, Ladder, OnBad, StepFactory, StepsJob, Strategy};
use throng_harness_model::bots::{Languages, Manner, Pauses};
use throng_harness_model::limits::MESSAGES_MAX;
use throng_harness_model::spec::{Bots, Job, Scenario};
use throng_harness_model::target::Entrance;

use super::common::Common;
use super::examples;
use super::steps::{take_largest, with_clients, with_slo};
use super::{Task, job};
use crate::args::pattern::Pattern;

/// Latency objective for the last recipient in `--preset gradual`.
const SLO: Duration = Duration::from_millis(100);
/// Time between two steps.
const PAUSE: Duration = Duration::from_secs(1);

/// Longest duration of `--preset persistent`. The whole conversation is drawn at the start and
/// kept, at about 55 bytes a message: 130 MB for 100 bots.
const PERSISTENT: Duration = Duration::from_hours(72);

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Preset {
    /// 1 bot for a minute
    Single,
    /// 10 bots for 5 minutes
    Safe,
    /// 100 bots for 30 minutes
    Stress,
    /// 100 bots until Ctrl+C, for at most three days
    Persistent,
    /// 10, 20, 30, 50, 70 and 100 bots, a minute each, until the limit is found, as in `ramp`
    Gradual,
    /// 10, 25, 50, 75 and 100 bots, a minute each, compared as in `bench`
    Benchmark,
}

impl Preset {
    /// The number of bots, or none for a preset in steps.
    fn clients(self) -> Option<u32> {
        match self {
            Self::Single => Some(1),
            Self::Safe => Some(10),
            Self::Stress | Self::Persistent => Some(100),
            Self::Gradual | Self::Benchmark => None,
        }
    }

    /// The number of bots of each step, for a preset in steps.
    fn steps(self) -> Option<Vec<u32>> {
        match self {
            Self::Gradual => Some(Pattern::Gradual.sizes()),
            Self::Benchmark => Some(vec![10, 25, 50, 75, 100]),
            _ => None,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum RawLanguage {
    /// Korean
    Ko,
    /// English
    En,
    /// Each message in one of the two
    Both,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Conversation", after_help = examples::BOTS)]
#[command(mut_arg("clients", |arg| arg.help("Bots [default: as the preset says]")))]
pub(super) struct RawBots {
    /// Number of bots and duration, unless --clients and --duration are given
    #[arg(long, value_name = "NAME", default_value = "safe")]
    preset: Preset,
    /// Bots of each step, with --preset gradual or benchmark [default: as the preset says]
    #[arg(long, value_name = "N,N", value_delimiter = ',')]
    steps: Vec<u32>,
    /// Time that the bots talk, in each step if there are several [default: as the preset says]
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    duration: Option<Duration>,
    /// Pause of a bot between two of its messages; each personality uses a part of the range
    #[arg(long, value_name = "MIN..MAX", default_value = "5s..25s", value_parser = parse_pauses)]
    pauses: Pauses,
    /// Language of the bots
    #[arg(long, value_name = "LANGUAGE", default_value = "both")]
    language: RawLanguage,
    /// Enter through the login server, as players do, each with a new account
    #[arg(long, conflicts_with = "cluster_key")]
    login: bool,
    /// Longest wait for outstanding deliveries after the last message
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = parse_duration)]
    drain: Duration,
    #[command(flatten)]
    pub(super) common: Common,
}

/// Makes conversations of several sizes from the job of the largest.
#[derive(Debug)]
struct Conversations(Job);

impl StepFactory for Conversations {
    fn job(&self, size: u32) -> Result<Job, String> {
        Ok(with_clients(&self.0, size))
    }

    /// Bots pause by themselves, so there is no closed loop.
    fn closed(&self, _: u32, _: u32) -> Option<Job> {
        None
    }
}

impl RawBots {
    /// Makes one job, or several steps if the preset has them.
    pub(super) fn task(mut self) -> Result<Task, String> {
        match self.preset.steps() {
            Some(sizes) => self.by_steps(sizes).map(Task::Steps),
            None if !self.steps.is_empty() => {
                Err("--steps needs --preset gradual or --preset benchmark".into())
            }
            None => {
                self.common.clients = self.common.clients.or(self.preset.clients());
                let bots = self.check()?;
                job(self.common, Scenario::Bots(bots)).map(Task::Run)
            }
        }
    }

    fn by_steps(mut self, of_preset: Vec<u32>) -> Result<StepsJob, String> {
        let sizes = if self.steps.is_empty() { of_preset } else { std::mem::take(&mut self.steps) };
        let is_ramp = self.preset == Preset::Gradual;
        if is_ramp {
            self.common.threshold = with_slo(Some(SLO), &self.common.threshold)?;
        }
        take_largest(&mut self.common, &sizes)?;
        let bots = self.check()?;
        let base = job(self.common, Scenario::Bots(bots))?;
        Ok(StepsJob {
            name: "bots",
            factory: Box::new(Conversations(base)),
            axis: Axis::Clients,
            strategy: Strategy::Ladder(Ladder::new(
                sizes,
                if is_ramp { OnBad::FallBack } else { OnBad::Ignore },
            )),
            pause: PAUSE,
            within: None,
            ahead: None,
            forecast: None,
            every_step_counts: !is_ramp,
            keep_reports: false,
        })
    }

    pub(super) fn check(&self) -> Result<Bots, String> {
        let (clients, pauses) = (self.common.clients(), self.pauses);
        let longest = Bots::longest(clients, pauses);
        let duration = self.duration.unwrap_or(match self.preset {
            Preset::Single | Preset::Gradual | Preset::Benchmark => Duration::from_mins(1),
            Preset::Safe => Duration::from_mins(5),
            Preset::Stress => Duration::from_mins(30),
            Preset::Persistent => PERSISTENT.min(longest),
        });
        if duration < pauses.max {
            return Err(format!(
                "--duration {} is shorter than the longest of --pauses, {}, so a bot might say nothing: \
                 lengthen --duration or shorten --pauses",
                format_duration(duration),
                format_duration(pauses.max)
            ));
        }
        if duration > longest {
            return Err(format!(
                "--duration {} for --clients {clients} can make more than {MESSAGES_MAX} messages, the most that \
                 can be accounted for: use at most {}, fewer clients or longer --pauses",
                format_duration(duration),
                format_duration(longest)
            ));
        }
        let languages = match self.language {
            RawLanguage::Ko => Languages::Korean,
            RawLanguage::En => Languages::English,
            RawLanguage::Both => Languages::Both,
        };
        Ok(Bots {
            duration,
            manner: Manner { pauses, languages },
            entrance: if self.login { Entrance::Login } else { Entrance::Ticket },
            drain: self.drain,
        })
    }
}

fn parse_pauses(text: &str) -> Result<Pauses, String> {
    let (min, max) = text.split_once("..").ok_or("write two times, as in 5s..25s")?;
    let parse = |text| parse_duration(text).map_err(|error| error.to_string());
    let pauses = Pauses { min: parse(min)?, max: parse(max)? };
    if pauses.min.is_zero() || pauses.max < pauses.min {
        return Err("the first time must be the shorter one and above 0s, as in 5s..25s".into());
    }
    Ok(pauses)
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use throng_harness_model::bots::Script;

    use super::*;
    use crate::args::Cli;

    fn parse(line: &str) -> Result<(Job, Bots), String> {
        let line = format!("throng-harness bots --data d {line}");
        let cli = Cli::try_parse_from(line.split_whitespace()).map_err(|error| error.to_string())?;
        let job = cli.check()?.into_job().expect("a scenario");
        let Scenario::Bots(bots) = job.scenario else { panic!("{job:?}") };
        Ok((job, bots))
    }

    #[test]
    fn presets_set_clients_and_duration() {
        let check = |line: &str, clients, seconds| {
            let (job, bots) = parse(line).expect("complete");
            assert_eq!((job.clients, bots.duration.as_secs()), (clients, seconds), "{line}");
        };
        check("", 10, 300);
        check("--preset single", 1, 60);
        check("--preset safe", 10, 300);
        check("--preset stress", 100, 1_800);
        check("--preset persistent", 100, 72 * 3_600);
        check("--preset stress --clients 7 --duration 2m", 7, 120);
        check("--clients 3", 3, 300);
        // Limited by the number of messages that can be accounted for.
        check("--preset persistent --clients 1000", 1_000, 7_999 * 5);
    }

    #[test]
    fn flags_override_the_defaults() {
        let (job, bots) = parse("--pauses 1.5s..2s --language ko --login --drain 3s").expect("complete");
        let pauses = Pauses { min: Duration::from_millis(1_500), max: Duration::from_secs(2) };
        assert_eq!(bots.manner, Manner { pauses, languages: Languages::Korean });
        assert_eq!((job.scenario.entrance(), bots.drain), (Entrance::Login, Duration::from_secs(3)));
        let (job, bots) = parse("").expect("complete");
        assert_eq!((job.scenario.entrance(), bots.manner), (Entrance::Ticket, Manner::default()));
        assert_eq!(job.scenario.name(), "bots");
    }

    #[test]
    fn bad_values_are_refused() {
        let check = |line: &str, what: &str| {
            let error = parse(line).expect_err(line);
            assert!(error.contains(what), "{line}: {error}");
        };
        check("--duration 24s", "--duration 24s is shorter than the longest of --pauses, 25s");
        check("--duration 90h --clients 1000", "can make more than 8000000 messages");
        check("--pauses 5s", "two times");
        check("--pauses 5s..1s", "the first time must be the shorter one");
        check("--pauses 0s..1s", "above 0s");
        check("--preset many", "possible values: single, safe, stress, persistent, gradual, benchmark");
    }

    #[test]
    fn the_longest_conversation_has_no_more_messages_than_can_be_accounted_for() {
        // A bot at the highest rate: one message at once, then one after every shortest pause.
        let pause = Duration::from_nanos(5);
        let pauses = Pauses { min: pause, max: pause };
        for clients in [1, 3, 1_000, 999_999, 1_000_000] {
            let turns = Bots::longest(clients, pauses).as_nanos() / pause.as_nanos() + 1;
            let messages = u64::from(clients) * u64::try_from(turns).expect("few");
            assert!(
                (7 * MESSAGES_MAX / 8..=MESSAGES_MAX).contains(&(messages as u32)),
                "{clients}: {messages}"
            );
        }
        let script = Script::draw(1, 20, Manner { pauses, ..Manner::default() }, pause * 50);
        assert!((20 * 49..=20 * 51).contains(&script.messages()), "{}", script.messages());
    }
}
