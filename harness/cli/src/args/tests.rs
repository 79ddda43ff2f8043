//! Command lines, and the errors of bad ones.

use std::time::Duration;
use throng_core::limits::PASSWORD_WIRE_MAX;
use throng_core::wire::SecretText;
use throng_harness_model::cuts::CutPattern;
use throng_harness_model::identity::Seeded;
use throng_harness_model::spec::{Connect, Lists, Login, Stay};
use throng_harness_model::target::{Entrance, TargetSource};
use throng_harness_peers::{CASES, System};

use super::*;

const KEY: &str = "0102030405060708090a0b0c0d0e0f100102030405060708090a0b0c0d0e0f10";

fn parse(line: &str) -> Result<Job, String> {
    let line = line.replace("KEY", KEY);
    let cli = Cli::try_parse_from(std::iter::once("throng-harness").chain(line.split_whitespace()));
    let task = cli.map_err(|error| error.to_string())?.check()?;
    Ok(task.into_job().expect("a scenario with Throng's clients"))
}

#[test]
fn the_parser_is_consistent() {
    Cli::command().debug_assert();
}

#[test]
fn a_broadcast_with_defaults() {
    let job = parse("broadcast").expect("complete");
    let Scenario::Broadcast(broadcast) = &job.scenario else { panic!("{job:?}") };
    assert_eq!(
        (broadcast.messages, broadcast.interval, broadcast.payload, broadcast.senders),
        (3000, Duration::from_millis(10), 128, 100)
    );
    assert_eq!((job.clients, job.workers), (100, 1));
    assert_eq!(job.target, TargetSource::Data("throng-data".into()));
    assert_eq!(job.thresholds, Threshold::defaults());
}

#[test]
fn a_broadcast_by_hand() {
    let job = parse(
        "broadcast --server 10.0.0.1:9200 --server-key KEY --cluster-key c.key --clients 9000 --workers 2 \
         --interval 11.25ms --duration 10s --payload 512 --senders 7 --seed 5 --json out.json --html out.html --drain 1.5s \
         --threshold p99=20ms --threshold missing=off --server-pid 77 --require-valid",
    )
    .expect("complete");
    let Scenario::Broadcast(broadcast) = &job.scenario else { panic!("{job:?}") };
    assert_eq!((broadcast.messages, broadcast.senders, broadcast.payload), (889, 7, 512));
    assert_eq!((job.clients, job.workers, job.seed, job.server_pid), (9000, 2, 5, Some(77)));
    assert_eq!((job.json, job.html), (Some("out.json".into()), Some("out.html".into())));
    assert_eq!(job.thresholds.len(), Threshold::defaults().len() + 1);
    assert!(matches!(job.target, TargetSource::Flags { cluster_key: Some(_), .. }) && job.require_valid);
}

#[test]
fn a_setting_is_derived_from_its_flags() {
    let setting = |line: &str| {
        let job = parse(&format!("broadcast --data d --clients 1000 {line}")).expect("complete");
        let Scenario::Broadcast(broadcast) = job.scenario else { panic!("no broadcast") };
        (broadcast.setting, broadcast.senders)
    };
    let (world, senders) = setting("--deaf 5 --deaf-for 2s --slow 3");
    assert_eq!((world.channels, world.side, world.deaf, world.slow, senders), (0, 0, 5, 3, 992));
    assert_eq!((world.deaf_for, world.slow_rate), (Some(Duration::from_secs(2)), 10_000));
    assert_eq!(world.cut, None);
    assert_eq!(setting("--cut 2%/s --resume").0.cut, Some(CutPattern::PerSecond(200)));
    assert_eq!(setting("--scope channel --cut all --resume").0.cut, Some(CutPattern::All));
    let (channel, senders) = setting("--scope channel --channels 20 --churn 1000/s");
    assert_eq!((channel.channels, channel.side, channel.churn, senders), (20, 0, Some(1_000), 500));
    assert_eq!(
        (setting("--scope nearby --audience 90").0.side, setting("--scope mixed --sectors 26").0.side),
        (10, 6)
    );
    assert_eq!(setting("--scope mixed").0.channels, 10);
    let (walking, senders) = setting("--scope nearby --moves 300/s");
    assert_eq!((walking.moves, senders), (Some(300), 500));
}

#[test]
fn a_connect_with_everything() {
    let job = parse("connect --data d --rate 500/s --ramp 2s --hold 7s --churn 20 --storm --lists all")
        .expect("complete");
    let connect =
        Connect { hold: Duration::from_secs(7), ramp: Duration::from_secs(2), churn: Some(20), storm: true };
    assert_eq!((job.scenario, job.connect_interval), (Scenario::Connect(connect), Duration::from_millis(2)));
    assert_eq!(job.lists, Lists::All);
}

#[test]
fn a_login_needs_no_cluster_key() {
    let job = parse("login --server localhost:9000 --server-key KEY --clients 500").expect("complete");
    let login = Login { in_flight: 32, seeded: None, stay: Stay::Hold(Duration::ZERO) };
    assert_eq!(job.scenario, Scenario::Login(login));
    assert_eq!((job.scenario.entrance(), job.scenario.rounds()), (Entrance::Login, 1));
}

#[test]
fn a_login_with_accounts_that_exist() {
    let check = |more: &str, seeded: Option<(&str, &str)>, stay| {
        let job = parse(&format!("login --data d --clients 500 {more}")).expect("complete");
        let seeded = seeded.map(|(prefix, password)| Seeded {
            prefix: prefix.into(),
            password: SecretText::new(password).expect("short"),
        });
        assert_eq!(job.scenario, Scenario::Login(Login { in_flight: 32, seeded, stay }), "{more}");
        assert!(!format!("{job:?}").contains("password: \""), "{job:?}");
    };
    let hold = Stay::Hold(Duration::ZERO);
    check("--seeded seed", Some(("seed", "seed-password")), hold);
    check("--seeded bot --password=secret-secret", Some(("bot", "secret-secret")), hold);
    check("--seeded 12345678901234567", Some(("12345678901234567", "seed-password")), hold);
    check("--leave", None, Stay::Leave { rounds: 1 });
    check("--leave --duration 0s --rounds 20", None, Stay::Leave { rounds: 20 });
    let rounds = |line| parse(line).expect("complete").scenario.rounds();
    assert_eq!(rounds("login --data d --clients 1000000 --leave --rounds 100"), 100);
    assert_eq!(rounds("broadcast --data d"), 1);
}

#[test]
fn the_seed_is_drawn_unless_given() {
    let seed = || parse("connect --data d").expect("complete").seed;
    assert_ne!(seed(), seed());
}

#[test]
fn bad_command_lines_are_refused() {
    let check = |line: &str, part: &str| match parse(line) {
        Ok(job) => panic!("{line}: {job:?}"),
        Err(error) => assert!(error.contains(part), "{line}: {error}"),
    };
    check("", "Usage");
    check("fly --data d", "unrecognized subcommand");
    check("connect --server a:1", "--server-key");
    check("connect --data d --server a:1 --server-key KEY", "cannot be used with");
    check("connect --server a:1 --server-key KEY", "add --cluster-key FILE");
    check("connect --server a:1 --server-key 12 --cluster-key f", "64 hexadecimal digits");
    check("login --server a:1 --server-key KEY --cluster-key f", "leave --cluster-key out");
    check("connect --data d --clients 0", "0 is not in 1..=1000000");
    check("connect --data d --clients 2 --workers 3", "at most one worker a client");
    check("connect --data d --connect-timeout 0s", "lets no client in");
    check("connect --data d --json out --html out", "one would replace the other");
    check("login --data d --workers 3 --in-flight 2", "every worker needs a login");
    check("login --data d --password secret-secret", "--seeded <PREFIX>");
    check("login --data d --rounds 2", "--leave");
    check("login --data d --leave --rounds 0", "0 is not in 1..");
    check("login --data d --leave --duration 1s", "with --leave none stays");
    check("login --data d --clients 1000000 --leave --rounds 101", "more than 100000000 logins");
    check("login --data d --leave --rounds 4294967295", "more than 100000000 logins");
    check("login --data d --seeded 123456789012345678", "`123456789012345678-000100` has more than the 24");
    check("login --data d --clients 1000000 --seeded 12345678901234567", "`12345678901234567-1000000`");
    check(
        &format!("login --data d --seeded s --password {}", "x".repeat(PASSWORD_WIRE_MAX + 1)),
        "--password is longer",
    );
    check("connect --data d --leave", "unexpected argument");
    check("connect --data d --interval 1ms", "unexpected argument");
    check("broadcast --data d --interval 10", "10 has no unit: write 10s");
    check("broadcast --data d --interval 0s", "no interval");
    check("broadcast --data d --duration 0s", "sends nothing");
    check("broadcast --data d --duration 10h --interval 1ms", "lengthen --interval");
    check("broadcast --data d --payload 10", "too small: a message carries");
    check("broadcast --data d --payload 9999", "at most 1024 bytes");
    check("broadcast --data d --clients 5 --senders 6", "from 1 to 5 can send");
    check("broadcast --data d --senders 0", "from 1 to 100 can send");
    check("broadcast --data d --channels 3", "--channels needs --scope channel");
    check("broadcast --data d --scope whisper --churn 5/s", "--churn needs --scope channel");
    check("broadcast --data d --scope channel --sectors 5", "--sectors needs --scope nearby");
    check("broadcast --data d --scope channel --channels 101", "each channel needs one that stays");
    check("broadcast --data d --scope channel --channels 51 --churn 5/s", "for 50 clients that send");
    check("broadcast --data d --scope channel --churn x", "is not a rate");
    check("broadcast --data d --deaf 60 --slow 40", "leave none of --clients 100");
    check("broadcast --data d --scope channel --churn 5 --deaf 50", "--deaf and --slow must be fewer");
    check("broadcast --data d --deaf 5 --senders 96", "from 1 to 95 can send");
    check("broadcast --data d --deaf-for 5s", "--deaf");
    check("broadcast --data d --cut 2%/s", "--resume");
    check("broadcast --data d --cut 2/s --resume", "write 0.01%/s to 100%/s");
    check("broadcast --data d --cut all --resume --scope mixed", "nearby messages are not kept");
    check("broadcast --data d --cut all --resume --slow 3", "cannot be used with");
    check("broadcast --data d --scope whisper --clients 1", "needs two clients");
    check("broadcast --data d --scope channel --moves 5/s", "--moves needs --scope nearby");
    check("broadcast --data d --scope nearby --moves 5/s --sectors 1", "more than one sector");
    check("broadcast --data d --scope nearby --moves 5/s --deaf 50", "--deaf and --slow must be fewer");
    check("connect --data d --rate 5/s --connect-interval 1ms", "cannot be used with");
    check("broadcast --data d --threshold p98=1s", "cannot have a threshold");
}

/// The text printed for `line`: help or an error.
fn printed(line: &str) -> String {
    let words = std::iter::once("throng-harness").chain(line.split_whitespace());
    super::parse(words.map(OsString::from).collect()).expect_err(line).to_string()
}

#[test]
fn conflicts_are_reported_with_the_usage_of_the_scenario() {
    let check = |line: &str, wrong: &str, scenario: &str| {
        let text = printed(line);
        assert!(text.starts_with(&format!("error: {wrong}")), "{text}");
        assert!(text.contains(&format!("Usage: throng-harness {scenario} [OPTIONS]")), "{text}");
        assert!(!text.contains("<COMMAND>"), "{text}");
    };
    check("broadcast --data d --interval 10h --duration 0s", "--duration 0s sends nothing", "broadcast");
    check("ramp --data d --steps 5 --workers 6", "--workers 6 for --clients 5", "ramp");
    check("monitor --data d --interval 1ms", "--interval is too short", "monitor");
    check("report a a", "a is on both sides", "report");
}

#[test]
fn help_shows_the_default_of_clients_where_there_is_one() {
    let check = |scenario: &str, start: Option<&str>| {
        let text = printed(&format!("{scenario} --help"));
        let found = text.split_once("--clients <N>").map(|(_, after)| after.trim_start());
        match start {
            Some(start) => assert!(found.is_some_and(|found| found.starts_with(start)), "{text}"),
            None => assert_eq!(found, None, "{text}"),
        }
    };
    for scenario in ["connect", "login", "broadcast"] {
        check(scenario, Some("Clients [default: 100]"));
        assert_eq!(parse(&format!("{scenario} --data d")).expect("complete").clients, 100);
    }
    check("ramp", Some("Clients, with steps over the rate"));
    check("bots", Some("Bots [default: as the preset says]"));
    check("bench", None);
}

fn peers(line: &str) -> Result<PeersJob, String> {
    let cli = Cli::try_parse_from(["throng-harness", "peers"].into_iter().chain(line.split_whitespace()));
    match cli.map_err(|error| error.to_string())?.check()? {
        Task::Peers(job) => Ok(job),
        task => panic!("{task:?}"),
    }
}

#[test]
fn peers_with_defaults() {
    let job = peers("").expect("complete");
    let names: Vec<_> = job.systems.iter().map(|system| system.name()).collect();
    assert_eq!(names, ["throng", "redis", "nats", "inspircd", "mosquitto", "uwebsockets"]);
    assert_eq!(job.cases, CASES);
    assert_eq!((job.repeat, job.payload, job.server_core, job.client_core), (3, 128, 0, 1));
    // Even if no system keeps up in any case, sending alone leaves time for members to enter.
    let times = job.times;
    let each = times.warmup + times.pause + times.duration + times.drain;
    assert!(each * 6 * 8 * 3 < job.limit * 4 / 5, "{each:?}");
}

#[test]
fn peers_by_hand() {
    let job = peers(
        "--systems nats,throng --cases e,A --duration 10s --repeat 1 --payload 64 --server-core 2 --client-core 3 \
         --seed 7 --json out.json --html out.html --throng /bin/throng --limit 1h",
    )
    .expect("complete");
    assert_eq!(job.systems, ["nats", "throng"].map(|name| System::named(name).expect("it is one")));
    let letters: String = job.cases.iter().map(|case| case.letter).collect();
    assert_eq!(letters, "AE", "in the order of their sizes");
    assert_eq!((job.repeat, job.payload, job.seed, job.limit), (1, 64, 7, Duration::from_hours(1)));
    assert_eq!((job.server_core, job.client_core), (2, 3));
    assert_eq!((job.json, job.html), (Some("out.json".into()), Some("out.html".into())));
    assert_eq!(job.throng, Some("/bin/throng".into()));
}

#[test]
fn bad_peers_are_refused() {
    let check = |line: &str, part: &str| match peers(line) {
        Ok(job) => panic!("{line}: {job:?}"),
        Err(error) => assert!(error.contains(part), "{line}: {error}"),
    };
    check("--systems redis,kafka", "there is no `kafka`; choose from throng, redis");
    check("--systems redis,redis", "names redis twice");
    check("--cases A,I", "there is no `I`; choose from A to H");
    check("--cases a,A", "twice");
    check("--payload 10", "--payload 10 is not from");
    check("--payload 500", "too large for inspircd");
    check("--duration 0s", "--duration must be above 0s");
    check("--warmup 100000h", "--warmup is too long");
    check("--repeat 0", "0 is not in 1..");
    check("--json out --html out", "one would replace the other");
    assert!(peers("--payload 500 --systems redis").is_ok());
}

fn steps(line: &str) -> Result<StepsJob, String> {
    let cli = Cli::try_parse_from(std::iter::once("throng-harness").chain(line.split_whitespace()));
    match cli.map_err(|error| error.to_string())?.check()? {
        Task::Steps(job) => Ok(job),
        task => panic!("{task:?}"),
    }
}

/// The (clients, time between two messages, duration) of the step of `size`.
fn step(job: &StepsJob, size: u32) -> (u32, Duration, Duration) {
    let job = job.factory.job(size).expect("possible");
    let Scenario::Broadcast(broadcast) = &job.scenario else { panic!("{job:?}") };
    (job.clients, broadcast.interval, broadcast.duration)
}

#[test]
fn a_ramp_is_made_of_broadcasts() {
    let ramp = |more: &str| steps(&format!("ramp --data d {more}")).expect("complete");
    let (ms, s) = (Duration::from_millis, Duration::from_secs);
    let quick = ramp("");
    assert_eq!((quick.name, quick.first(), quick.strategy.planned()), ("ramp", 100, None));
    assert_eq!((step(&quick, 9_000).2, quick.within), (s(5), Some(Duration::from_mins(5))));
    assert_eq!(ramp("--from 7 --to 90 --within 2m").within, Some(Duration::from_mins(2)));
    assert_eq!(ramp("--over rate --clients 40").first(), 10);
    let gradual = ramp("--pattern gradual");
    assert_eq!((gradual.first(), gradual.strategy.planned(), gradual.within), (10, Some(6), None));
    assert_eq!(step(&gradual, 50), (50, ms(20), s(60)));
    let job = gradual.factory.job(10).expect("possible");
    assert!(job.thresholds.iter().any(|threshold| threshold.to_string() == "last_recipient.p99=100ms"));
    assert_eq!(step(&ramp("--pattern stress --each 2s"), 200), (200, ms(10), s(30)));
    assert_eq!(step(&ramp("--steps 3,4 --interval 5ms --duration 7s"), 4), (4, ms(5), s(7)));
    assert_eq!(step(&ramp("--over rate --clients 40 --steps 100,200"), 200), (40, ms(5), s(30)));
    assert_eq!(step(&ramp("--search clients --from 10 --to 1000"), 500), (500, ms(2), s(10)));
    // Small steps have no more workers than clients, and thresholds replace the objective.
    let job =
        ramp("--steps 1,8 --workers 4 --threshold last_recipient.p99=7ms").factory.job(1).expect("possible");
    assert_eq!((job.workers, job.clients), (1, 1));
    let all: Vec<_> = job.thresholds.iter().map(ToString::to_string).collect();
    assert!(all.contains(&"last_recipient.p99=7ms".into()) && all.len() == Threshold::defaults().len() + 1);
}

#[test]
fn bots_run_in_steps() {
    let gradual = steps("bots --data d --preset gradual").expect("complete");
    assert_eq!(
        (gradual.name, gradual.strategy.planned(), gradual.every_step_counts),
        ("bots", Some(6), false)
    );
    let job = gradual.factory.job(30).expect("possible");
    let Scenario::Bots(bots) = &job.scenario else { panic!("{job:?}") };
    assert_eq!((job.clients, bots.duration), (30, Duration::from_mins(1)));
    assert!(gradual.factory.closed(30, 9).is_none());
    let benchmark =
        steps("bots --data d --preset benchmark --steps 5,9 --duration 40s --pauses 1s..2s --workers 7");
    let benchmark = benchmark.expect("complete");
    assert_eq!(
        (benchmark.first(), benchmark.strategy.planned(), benchmark.every_step_counts),
        (5, Some(2), true)
    );
    let job = benchmark.factory.job(5).expect("possible");
    assert_eq!((job.clients, job.workers, job.thresholds), (5, 5, Threshold::defaults()));
    let error = steps("bots --data d --steps 5,9").expect_err("no steps");
    assert!(error.contains("--steps needs --preset gradual or --preset benchmark"), "{error}");
    for clients in [7, 10] {
        let error = steps(&format!("bots --data d --preset gradual --clients {clients}"));
        let error = error.expect_err("the steps set the clients");
        assert!(error.contains(&format!("--clients {clients} conflicts with steps")), "{error}");
    }
}

#[test]
fn a_bench_has_closed_loops() {
    let bench = |more: &str| steps(&format!("bench --data d {more}")).expect("complete");
    let job = bench("--workers 2 --threshold p99=1ms --forecast 200,500");
    assert_eq!(
        (job.strategy.planned(), job.ahead, job.forecast.as_deref()),
        (Some(5), Some(200), Some(&[200, 500][..]))
    );
    assert_eq!(step(&job, 25), (25, Duration::from_millis(10), Duration::from_secs(10)));
    let closed = job.factory.closed(25, 200).expect("every client receives every message");
    let Scenario::Broadcast(broadcast) = &closed.scenario else { panic!("{closed:?}") };
    assert_eq!((broadcast.ahead, closed.workers, closed.clients), (Some(200), 1, 25));
    assert_eq!(closed.thresholds, Threshold::defaults());
    assert!(bench("--scope channel").factory.closed(25, 200).is_none());
    assert!(bench("--slow 2").factory.closed(25, 200).is_none());
    assert_eq!(bench("--no-capacity").forecast, None);
}

#[test]
fn bad_steps_are_refused() {
    let check = |line: &str, part: &str| match steps(line) {
        Ok(job) => panic!("{line}: {job:?}"),
        Err(error) => assert!(error.contains(part), "{line}: {error}"),
    };
    check("ramp --data d --clients 50", "--clients 50 conflicts with steps that are numbers of clients");
    // Also if it is the default.
    check("ramp --data d --clients 100", "--clients 100 conflicts");
    check("ramp --data d --search clients --from 1 --to 5 --clients 9", "--clients 9 conflicts");
    check("bench --data d --clients 100", "--clients 100 conflicts");
    check("ramp --data d --pattern flat", "invalid value 'flat'");
    check("ramp --data d --steps 0,5", "a step of 0 clients: use from 1 to 1000000");
    check("ramp --data d --steps 5 --pattern step", "cannot be used with");
    check("ramp --data d --interval 1ms --each 1s", "cannot be used with");
    check("ramp --data d --over rate --each 1s", "takes from the steps");
    check("ramp --data d --search clients --from 9 --to 5", "--from 9 is above --to 5");
    check("ramp --data d --search clients --from 1 --to 5 --precision 5", "is not a share");
    check("ramp --data d --from 1 --steps 5", "cannot be used with");
    check(
        "ramp --data d --steps 100,100000 --duration 100s",
        "a step of 100000 clients with a message every",
    );
    check("ramp --data d --steps 5 --workers 6", "--workers 6 for --clients 5");
    check("ramp --data d --steps 20,10 --senders 15", "--senders 15 of --clients 10");
    check("bench --data d --forecast 0", "0 is not in 1..");
    check("bench --data d --no-capacity --forecast 9", "cannot be used with");
}
