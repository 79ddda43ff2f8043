//! Three command lines of each scenario, shown at the end of its help.

pub(super) const CONNECT: &str = "\
Examples:
  throng-harness connect --clients 10000 --rate 500/s --hold 1m    10,000 sessions that do nothing
  throng-harness connect --clients 1000 --churn 50/s --hold 30s    50 of them reconnect a second
  throng-harness connect --clients 1000 --storm                    all reconnect at once";

pub(super) const LOGIN: &str = "\
Examples:
  throng-harness login --clients 20                                sign up, log in and enter
  throng-harness login --clients 500 --leave --rounds 20 --seeded seed    logins a second
  throng-harness login --clients 200 --in-flight 64 --duration 1m --json run.json";

pub(super) const BROADCAST: &str = "\
Examples:
  throng-harness broadcast --clients 1000 --interval 2ms --html run.html
  throng-harness broadcast --scope channel --channels 20 --churn 100/s --threshold 'p99<=20ms'
  throng-harness broadcast --clients 500 --deaf 20 --deaf-for 10s    20 that stop reading";

pub(super) const BOTS: &str = "\
Examples:
  throng-harness bots                                              10 bots for 5 minutes
  throng-harness bots --preset stress --login                      100 players for half an hour
  throng-harness bots --pauses 500ms..2s --language ko --duration 1m";

pub(super) const RAMP: &str = "\
Examples:
  throng-harness ramp                                              how many players, in 5 minutes
  throng-harness ramp --steps 500,1000,2000 --interval 10ms --slo 50ms
  throng-harness ramp --search clients --from 100 --to 9000 --interval 10ms";

pub(super) const BENCH: &str = "\
Examples:
  throng-harness bench                                             10, 25, 50, 75 and 100 clients
  throng-harness bench --steps 100,250,500,750,1000 --interval 20ms --html bench.html
  throng-harness bench --steps 100,200,400,800 --forecast 5000,10000";

pub(super) const PEERS: &str = "\
Examples:
  throng-harness peers --json peers.json --html peers.html         everything, at most 20 minutes
  throng-harness peers --systems throng,redis --cases A,F --repeat 1
  throng-harness peers --cases C --payload 512 --systems throng,nats,redis";

pub(super) const ABUSE: &str = "\
Examples:
  throng-harness abuse --html abuse.html                           all attacks, 15 minutes
  throng-harness abuse --attacks nearby,kick --clients 1000 --rounds 5
  throng-harness abuse --attacks guess --max-enter 100ms --require-valid";

pub(super) const MONITOR: &str = "\
Examples:
  throng-harness monitor                                           until q or Ctrl+C
  throng-harness monitor --duration 8h --threshold 'cpu<=80%' --threshold 'links>=6'
  throng-harness monitor --interval 5s --threshold 'rss<=500MB' --plain --json night.json";

/// Examples and exit codes.
pub(super) const REPORT: &str = "\
Examples:
  throng-harness report run.json                                   shows it again
  throng-harness report run.json --html run.html --hgrm distributions
  throng-harness report --baseline=a-{1..5}.json b-{1..5}.json     compares two sides

Measure the sides in turns (a, b, a, b).

Exit codes: 0 shown, or nothing got significantly worse; 1 nothing was tested, or a file cannot be \
read or written; 2 usage, or the reports are of different scenarios; 3 something got significantly \
worse.";

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::super::Cli;
    use super::*;

    #[test]
    fn each_scenario_has_three_examples_that_are_complete() {
        let all = [CONNECT, LOGIN, BROADCAST, BOTS, RAMP, BENCH, PEERS, ABUSE, MONITOR, REPORT];
        for examples in all {
            let lines: Vec<_> =
                examples.lines().filter(|line| line.starts_with("  throng-harness ")).collect();
            assert_eq!(lines.len(), 3, "{examples}");
            for line in lines {
                assert!(line.len() <= 100, "{line}");
                // A remark follows four spaces or more.
                let command = line.trim().split("    ").next().unwrap_or_default().replace('\'', "");
                let parsed = Cli::try_parse_from(command.split_whitespace());
                let task = parsed.map_err(|error| error.to_string()).and_then(Cli::check);
                assert!(task.is_ok(), "{command}: {task:?}");
            }
        }
    }
}
