//! What command lines mean, and what is said of those that mean nothing.

use clap::CommandFactory;
use throng_core::wire::SecretText;

use super::*;
use crate::identity::Seeded;
use crate::peers::{CASES, System};

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
    let job = parse("broadcast --data throng-data").expect("complete");
    let Scenario::Broadcast(broadcast) = &job.scenario else { panic!("{job:?}") };
    assert_eq!(
        (broadcast.messages, broadcast.interval, broadcast.payload, broadcast.senders),
        (1000, Duration::from_millis(10), 128, 100)
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
fn a_setting_is_worked_out() {
    let setting = |line: &str| {
        let job = parse(&format!("broadcast --data d --clients 1000 {line}")).expect("complete");
        let Scenario::Broadcast(broadcast) = job.scenario else { panic!("no broadcast") };
        (broadcast.setting, broadcast.senders)
    };
    let (world, senders) = setting("--deaf 5 --deaf-for 2s --slow 3");
    assert_eq!((world.channels, world.side, world.deaf, world.slow, senders), (0, 0, 5, 3, 992));
    assert_eq!((world.deaf_for, world.slow_rate), (Some(Duration::from_secs(2)), 10_000));
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
fn what_is_wrong_is_said() {
    let check = |line: &str, part: &str| match parse(line) {
        Ok(job) => panic!("{line}: {job:?}"),
        Err(error) => assert!(error.contains(part), "{line}: {error}"),
    };
    check("", "Usage");
    check("fly --data d", "unrecognized subcommand");
    check("connect", "--data <DIR>");
    check("connect --server a:1", "--server-key");
    check("connect --data d --server a:1 --server-key KEY", "cannot be used with");
    check("connect --server a:1 --server-key KEY", "add --cluster-key FILE");
    check("connect --server a:1 --server-key 12 --cluster-key f", "64 hexadecimal digits");
    check("login --server a:1 --server-key KEY --cluster-key f", "leave --cluster-key out");
    check("connect --data d --clients 0", "0 is not in 1..=1000000");
    check("connect --data d --clients 2 --workers 3", "at most one each");
    check("connect --data d --connect-timeout 0s", "lets nobody in");
    check("connect --data d --json out --html out", "one would replace the other");
    check("login --data d --workers 3 --in-flight 2", "every worker needs one");
    check("login --data d --password secret-secret", "--seeded <PREFIX>");
    check("login --data d --rounds 2", "--leave");
    check("login --data d --leave --rounds 0", "0 is not in 1..");
    check("login --data d --leave --duration 1s", "with --leave nobody does");
    check("login --data d --clients 1000000 --leave --rounds 101", "more than 100000000 logins");
    check("login --data d --leave --rounds 4294967295", "more than 100000000 logins");
    check("login --data d --seeded 123456789012345678", "`123456789012345678-000100` has more than the 24");
    check("login --data d --clients 1000000 --seeded 12345678901234567", "`12345678901234567-1000000`");
    check(&format!("login --data d --seeded s --password {}", "x".repeat(513)), "--password is longer");
    check("connect --data d --leave", "unexpected argument");
    check("connect --data d --interval 1ms", "unexpected argument");
    check("broadcast --data d --interval 10", "is not a unit");
    check("broadcast --data d --interval 0s", "no interval");
    check("broadcast --data d --duration 0s", "sends nothing");
    check("broadcast --data d --duration 10h --interval 1ms", "lengthen --interval");
    check("broadcast --data d --payload 10", "too small: a message carries");
    check("broadcast --data d --payload 9999", "at most 1024 bytes");
    check("broadcast --data d --clients 5 --senders 6", "from 1 to 5 can send");
    check("broadcast --data d --senders 0", "from 1 to 100 can send");
    check("broadcast --data d --channels 3", "--channels is of use with --scope channel");
    check("broadcast --data d --scope whisper --churn 5/s", "--churn is of use with --scope channel");
    check("broadcast --data d --scope channel --sectors 5", "--sectors is of use with --scope nearby");
    check("broadcast --data d --scope channel --channels 101", "each channel needs one who stays");
    check("broadcast --data d --scope channel --channels 51 --churn 5/s", "for 50 clients that speak");
    check("broadcast --data d --scope channel --churn x", "is no rate");
    check("broadcast --data d --deaf 60 --slow 40", "leave nobody of --clients 100");
    check("broadcast --data d --scope channel --churn 5 --deaf 50", "--deaf and --slow must be fewer");
    check("broadcast --data d --deaf 5 --senders 96", "from 1 to 95 can send");
    check("broadcast --data d --deaf-for 5s", "--deaf");
    check("broadcast --data d --scope whisper --clients 1", "needs two clients");
    check("broadcast --data d --scope channel --moves 5/s", "--moves is of use with --scope nearby");
    check("broadcast --data d --scope nearby --moves 5/s --sectors 1", "more than one sector");
    check("broadcast --data d --scope nearby --moves 5/s --deaf 50", "--deaf and --slow must be fewer");
    check("connect --data d --rate 5/s --connect-interval 1ms", "cannot be used with");
    check("broadcast --data d --threshold p98=1s", "cannot have a threshold");
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
    assert_eq!(names, ["throng", "redis", "nats", "inspircd", "mosquitto"]);
    assert_eq!(job.cases, CASES);
    assert_eq!((job.repeat, job.payload, job.server_core, job.client_core), (3, 128, 0, 1));
    // Even if nobody could follow anywhere, talking alone leaves time for members to come in.
    let times = job.times;
    let each = times.warmup + times.pause + times.duration + times.drain;
    assert!(each * 5 * 6 * 3 < job.limit * 4 / 5, "{each:?}");
}

#[test]
fn peers_by_hand() {
    let job = peers(
        "--systems nats,throng --cases e,A --duration 10s --repeat 1 --payload 64 --server-core 2 --client-core 3 \
         --seed 7 --json out.json --throng /bin/throng --limit 1h",
    )
    .expect("complete");
    assert_eq!(job.systems, ["nats", "throng"].map(|name| System::named(name).expect("it is one")));
    assert_eq!(job.cases, [CASES[0], CASES[5]], "in the order of their sizes");
    assert_eq!((job.repeat, job.payload, job.seed, job.limit), (1, 64, 7, Duration::from_hours(1)));
    assert_eq!((job.server_core, job.client_core), (2, 3));
    assert_eq!((job.json, job.throng), (Some("out.json".into()), Some("/bin/throng".into())));
}

#[test]
fn what_is_wrong_with_peers_is_said() {
    let check = |line: &str, part: &str| match peers(line) {
        Ok(job) => panic!("{line}: {job:?}"),
        Err(error) => assert!(error.contains(part), "{line}: {error}"),
    };
    check("--systems redis,kafka", "there is no `kafka`; choose from throng, redis");
    check("--systems redis,redis", "names one twice: redis");
    check("--cases A,G", "there is no `G`");
    check("--cases a,A", "names one twice");
    check("--payload 10", "--payload 10 is not from");
    check("--payload 500", "too large for inspircd");
    check("--duration 0s", "--duration must be above 0s");
    check("--warmup 100000h", "--warmup is too long");
    check("--repeat 0", "0 is not in 1..");
    assert!(peers("--payload 500 --systems redis").is_ok());
}
