//! Tests of the load harness's `monitor` against real servers that stop and return.

use std::sync::mpsc;
use std::time::{Duration, Instant, SystemTime};

use throng_core::shutdown::{Cause, Shutdown};
use throng_harness_monitor::follow::{Followed, Sample};
use throng_harness_monitor::limit::Limit;
use throng_harness_monitor::{MonitorJob, MonitorReport, Watched};
use throng_harness_report::{Document, Machine, Origin, Verdict};

use crate::support::{ChatGroup, Cluster, Home, PATIENCE, wait_for, wait_until};

/// Returns the sample of the server `name`.
fn of(followed: &Followed, samples: Vec<Sample>, name: &str) -> Sample {
    let names: Vec<&str> = followed.servers().iter().map(|server| server.name.as_str()).collect();
    let sample = samples.into_iter().zip(&names).find(|(_, known)| **known == name);
    sample.unwrap_or_else(|| panic!("no {name} in {names:?}")).0
}

#[test]
fn three_processes_are_watched_while_one_dies_and_comes_back() {
    let mut cluster = Cluster::start(&[]);
    let mut group = ChatGroup::enter(&cluster.home, cluster.chat_addr(), 20);
    let mut followed = Followed::find(&cluster.home.path()).unwrap();
    let mut second = 0.0;
    let mut sample = |name: &str| {
        second += 1.0;
        let samples = followed.sample(second);
        assert_eq!(samples.len(), 3);
        of(&followed, samples, name)
    };
    let before = wait_for("nothing is queued", || {
        Some(sample("chat"))
            .filter(|sample| (sample.content_queue, sample.log_pool_bytes) == (Some(0.0), Some(0.0)))
    });
    assert!(before.is_up && before.state == "ok", "{before:?}");
    assert_eq!((before.users, before.links_up, before.links), (Some(20.0), Some(2.0), Some(2.0)));
    assert!(before.sessions.is_some_and(|sessions| sessions >= 22.0), "{before:?}");
    assert!(before.sockets.is_some_and(|sockets| sockets >= 22.0), "{before:?}");
    assert!(before.files > before.sockets && before.files_max >= before.files, "{before:?}");
    assert!(before.mailbox.is_some() && before.rss_bytes.is_some_and(|bytes| bytes > 1e6), "{before:?}");
    assert_eq!(sample("dbagent").db_queue, Some(0.0));
    group.round();
    let after = sample("chat");
    assert!(after.bytes_out_per_s.is_some_and(|rate| rate > 0.0) && after.cpu.is_some(), "{after:?}");

    cluster.chat.take().unwrap().kill();
    let gone = sample("chat");
    assert!(!gone.is_up && gone.state == "DOWN", "{gone:?}");
    wait_until("the other servers notice", || sample("login").links_up == Some(1.0));
    cluster.start_chat();
    cluster.linked();
    let back = sample("chat");
    assert!(back.is_up && back.pid != before.pid && back.users == Some(0.0), "{back:?}");
    assert!(back.bytes_out_per_s.is_none(), "a rate was computed from another process's counters: {back:?}");
    assert_eq!(sample("login").links_up, Some(2.0));
}

fn job(home: &Home, duration: Option<Duration>, limits: &[&str]) -> MonitorJob {
    let limits: Vec<Limit> = limits.iter().map(|limit| limit.parse().unwrap()).collect();
    MonitorJob {
        data: home.path(),
        duration,
        interval: Duration::from_millis(50),
        limits: Limit::with_default(&limits),
        patience: 3,
        json: None,
        html: None,
        plain: true,
    }
}

fn report(job: &MonitorJob, watched: Watched) -> MonitorReport {
    let origin = Origin { command: Vec::new(), started: SystemTime::now(), machine: Machine::this() };
    MonitorReport::new(job, origin, watched)
}

fn watch(job: &MonitorJob) -> MonitorReport {
    report(job, throng_harness_monitor::run(job, &Shutdown::new(), &mut |_| {}).unwrap())
}

#[test]
fn a_watch_with_a_duration_ends_and_checks_its_limits() {
    let home = Home::new();
    let server = home.up(&[]);
    // Long enough for two samples on a busy machine.
    let time = Some(Duration::from_secs(1));
    let report = watch(&job(&home, time, &["rss=10GB", "links=6", "throng_panics_total=0/s"]));
    assert_eq!((report.verdict, report.exit_code()), (Verdict::Pass, 0), "{report}");
    assert_eq!((report.servers.len(), report.servers[0].name.as_str()), (1, "login+chat+dbagent"));
    assert!(report.samples >= 2 && report.servers[0].samples.len() as u64 == report.samples, "{report}");
    assert!(report.warnings.is_empty() && report.servers[0].rss_max_bytes > Some(1_000_000), "{report}");
    let page = report.to_html("watch.html");
    assert!(page.contains("PASS") && page.contains("Memory") && page.contains("<svg"), "{page}");

    let report = watch(&job(&home, time, &["rss=1MB", "links=6"]));
    assert_eq!((report.verdict, report.exit_code()), (Verdict::Fail, 3), "{report}");
    assert!(report.warnings[0].text.starts_with("WARNING login+chat+dbagent: "), "{:?}", report.warnings);

    // A killed server leaves its endpoints file behind, and is down all the same.
    server.kill();
    let report = watch(&job(&home, time, &[]));
    assert_eq!(report.exit_code(), 3, "{report}");
    assert_eq!(report.servers[0].samples_down, report.samples);
}

#[test]
fn a_server_that_goes_down_breaks_the_threshold_up() {
    let home = Home::new();
    let server = home.up(&[]);
    let shutdown = Shutdown::new();
    let (lines, printed) = mpsc::channel();
    let watching = std::thread::spawn({
        let job = job(&home, None, &[]);
        let shutdown = shutdown.clone();
        move || {
            let watched = throng_harness_monitor::run(&job, &shutdown, &mut |line| {
                // Refused when the test has ended.
                let _ = lines.send(line.to_owned());
            });
            report(&job, watched.unwrap())
        }
    });
    let wait_for_line = |wanted: &str| {
        let deadline = Instant::now() + PATIENCE;
        while !printed.recv_timeout(PATIENCE).unwrap().contains(wanted) {
            assert!(Instant::now() < deadline, "no line with {wanted:?}");
        }
    };
    wait_for_line("login+chat+dbagent  ok  ");
    server.kill();
    wait_for_line("login+chat+dbagent  DOWN");
    wait_for_line("WARNING login+chat+dbagent: DOWN, threshold up");
    let _again = home.up(&[]);
    wait_for_line("login+chat+dbagent: now process ");
    shutdown.request(Cause::Interrupted);
    let report = watching.join().unwrap();
    assert_eq!((report.verdict, report.exit_code()), (Verdict::Interrupted, 130), "{report}");
    let server = &report.servers[0];
    assert_eq!((server.went_down, server.pids.len()), (1, 2), "{report}");
    assert!(!report.thresholds[0].held && report.thresholds[0].threshold == "up", "{report}");
}
