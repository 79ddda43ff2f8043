use std::fs;
use std::time::Duration;

use throng_harness_model::exit::{EXIT_BROKEN, EXIT_INTERRUPTED, EXIT_INVALID, EXIT_OK};
use throng_harness_model::fixture::recipients;
use throng_harness_model::spec::{Login, Scenario, Stay};

use super::fixture::{MS, findings, job, origin, usage};
use super::*;

#[test]
fn a_good_run_passes() {
    let report = Report::new(&job("--threshold p99=4ms"), origin(), findings(0));
    assert_eq!((report.verdict, report.exit_code()), (Verdict::Pass, EXIT_OK));
    assert!(report.valid, "{:?}", report.invalid_because);
    let text = report.to_string();
    for part in [
        "PASS: all thresholds held",
        "2 of 2 connected, 0 refused, 0 failed, 0 disconnected",
        "10 sent (1000.0/s of 1000.0/s offered)",
        "20 of 20 received (2,000/s), 0 faulty",
        "0 missing, 0 duplicated, 0 reordered, 0 leaked, 0 corrupted",
        "2000% CPU of one core (0.20 s, 10000.00 us per delivery),",
        "4 x Test CPU, 8.00 GB, Linux 6.1",
        "held    p99=4ms                  found 3.00 ms",
        "last recipient              10   3.00 ms   3.00 ms",
    ] {
        assert!(text.contains(part), "no `{part}` in:\n{text}");
    }
}

#[test]
fn cpu_time_below_the_resolution_of_the_kernel_is_not_shown() {
    let shown = |cpu_s| {
        let report = Report::new(&job(""), origin(), Findings { server: Some(usage(cpu_s)), ..findings(0) });
        assert!(report.server_cpu_us_per_delivery.is_some());
        let texts = [report.to_string(), report.to_html("run.html")];
        texts.map(|text| text.contains("s per delivery"))
    };
    assert_eq!((shown(0.09), shown(0.1)), ([false; 2], [true; 2]));
}

#[test]
fn exit_codes_follow_from_thresholds() {
    let check = |line: &str, findings: Findings, code| {
        let report = Report::new(&job(line), origin(), findings);
        assert_eq!(report.exit_code(), code, "{line}\n{report}");
    };
    check("", findings(0), EXIT_OK);
    check("", findings(1), EXIT_BROKEN);
    check("--threshold missing=1", findings(1), EXIT_OK);
    check("--threshold p50=1ms", findings(0), EXIT_BROKEN);
    check("", Findings { interrupted: true, ..findings(1) }, EXIT_INTERRUPTED);
    let busy = || Findings { harness: Some(usage(0.0099)), ..findings(0) };
    check("", busy(), EXIT_OK);
    check("--require-valid", busy(), EXIT_INVALID);
    // Times of such a run are no evidence, whether they held or not, and counts are.
    check("--threshold p99=4ms", busy(), EXIT_INVALID);
    check("--threshold p50=1ms", busy(), EXIT_INVALID);
    check("--threshold p50=off", busy(), EXIT_OK);
    check("--threshold p50=1ms", Findings { harness: Some(usage(0.0099)), ..findings(1) }, EXIT_BROKEN);
    check("--require-valid", Findings { harness: Some(usage(0.0099)), ..findings(1) }, EXIT_BROKEN);
    check("--require-valid", Findings { interrupted: true, ..busy() }, EXIT_INTERRUPTED);
    let lost = Clients { requested: 2, connected: 2, disconnected: 1, ..Clients::default() };
    check("", Findings { clients: lost, ..findings(0) }, EXIT_BROKEN);
    let stuck = vec!["the probe message has reached 1 of 2 clients after 30s".into()];
    check("", Findings { incomplete_because: stuck.clone(), ..findings(0) }, EXIT_BROKEN);
    check("--require-valid", Findings { incomplete_because: stuck, ..busy() }, EXIT_BROKEN);
}

#[test]
fn doubts_make_a_report_invalid() {
    let check = |findings: Findings, part: &str| {
        let report = Report::new(&job(""), origin(), findings);
        assert!(!report.valid && report.invalid_because.iter().any(|doubt| doubt.contains(part)), "{report}");
        assert!(report.to_string().contains("INVALID"), "{report}");
    };
    check(Findings { harness: Some(usage(0.0091)), ..findings(0) }, "used 91% of the CPU time");
    check(Findings { deliveries: Some(Deliveries::default()), ..findings(0) }, "no delivery was expected");
    let slow = Rates::new(10, Duration::from_millis(10), 9, Duration::from_millis(10));
    check(Findings { rates: slow, ..findings(0) }, "only 900.0 of 1000.0 messages a second");
    let mut late = findings(0);
    // Two thirds of all: of so few delays only the median counts.
    (0..20).for_each(|_| late.recorder.sent(0, 2 * MS));
    check(late, "the harness itself sent late");
    let mut busy = findings(0);
    busy.read_lag.record(2 * MS);
    check(busy, "the harness itself read late");
}

#[test]
fn the_last_lines_have_the_answer() {
    let last = |findings: Findings, more: &str, lines: &[&str]| {
        let report = Report::new(&job(more), origin(), findings);
        for is_verbose in [true, false] {
            let text = shown(&report, Form { columns: 80, is_verbose });
            let (_, end) = text.rsplit_once("\n\n").unwrap_or(("", text.trim_start()));
            assert!(end.lines().count() <= 6 && end.lines().all(|line| line.len() <= 80), "{end}");
            for (line, part) in end.lines().zip(lines) {
                assert!(line.starts_with(part), "no `{part}` in:\n{end}");
            }
        }
    };
    let figures = "  2 of 2 clients, 20 of 20 deliveries, p50 2.00 ms, p99 3.00 ms";
    last(findings(0), "", &["broadcast: PASS: all thresholds held", figures]);
    let mut late = findings(0);
    (0..20).for_each(|_| late.recorder.sent(0, 2 * MS));
    let doubt = "  INVALID  the harness itself sent late: p50 2.00 ms";
    let verdict = "broadcast: PASS, latencies INVALID: all thresholds held, by latencies that are";
    last(late, "", &[verdict, "    no evidence", figures, doubt]);
    let figures = "  2 of 2 clients, 19 of 20 deliveries";
    let broken = "  BROKEN  missing=0: found 1 of 20";
    last(findings(1), "", &["broadcast: FAIL: failures are marked BROKEN", figures, broken]);
    let stuck = vec![format!("the probe message has reached 1 of 2 clients {}", "and so on ".repeat(40))];
    let stuck = Findings { incomplete_because: stuck, ..findings(0) };
    last(stuck, "", &["broadcast: FAIL", "  2 of 2", "  BROKEN  the probe message", "    so on and"]);
}

fn shown(report: &Report, form: Form) -> String {
    Text { document: report, form }.to_string()
}

#[test]
fn the_short_text_has_the_answer_and_what_is_unusual() {
    let check = |findings: Findings, more: &str, columns, text: &str| {
        let report = Report::new(&job(more), origin(), findings);
        assert_eq!(shown(&report, Form { columns, is_verbose: false }), text);
    };
    let passed = "
broadcast: PASS: all thresholds held
  2 of 2 clients, 20 of 20 deliveries, p50 2.00 ms, p99 3.00 ms
";
    check(findings(0), "", 80, passed);
    let narrow = "
broadcast: PASS: all thresholds held
  2 of 2 clients, 20 of 20 deliveries,
    p50 2.00 ms, p99 3.00 ms
";
    check(findings(0), "", 40, narrow);
    let reasons = [("TooManyConnections".into(), 1)].into();
    let clients = Clients { requested: 3, connected: 2, refused: 1, reasons, ..Clients::default() };
    let broken = "
  BROKEN  connected=100%: found 2 of 3
  BROKEN  missing=0: found 1 of 20
  INVALID  the harness used 99% of the CPU time available to its 1 event-loop
    thread(s): use more --workers or cores, or less load
  clients     2 of 3 connected
                      1  TooManyConnections
  deliveries  1 faulty
  faults       client 1  missed message 0

broadcast: FAIL, latencies INVALID: failures are marked BROKEN
  2 of 3 clients, 19 of 20 deliveries, p50 2.00 ms, p99 3.00 ms
  BROKEN  connected=100%: found 2 of 3
";
    check(Findings { clients, harness: Some(usage(0.0099)), ..findings(1) }, "", 80, broken);
}

#[test]
fn what_was_broken_is_above_what_held() {
    let text = Report::new(&job(""), origin(), findings(1)).to_string();
    let at = |part: &str| text.find(part).unwrap_or_else(|| panic!("no `{part}` in:\n{text}"));
    assert!(at("  BROKEN  missing=0") < at("  clients     2 of 2 connected"), "{text}");
    assert!(at("  BROKEN  missing=0  ") < at("  held    connected=100%"), "{text}");
}

#[test]
fn the_json_has_the_documented_keys() {
    let report = Report::new(&job(""), origin(), findings(1));
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().join("report.json");
    check_writable(&path).expect("writable");
    report.write_json(&path).expect("writable");
    let json: serde_json::Value = serde_json::from_slice(&fs::read(&path).expect("written")).expect("JSON");
    for key in [
        "clients/requested clients/connected clients/refused clients/failed clients/disconnected sent",
        "deliveries/expected deliveries/received deliveries/missing deliveries/duplicated deliveries/reordered",
        "deliveries/leaked latency_us/p50 latency_us/p90 latency_us/p99 latency_us/p999 latency_us/max",
        "latency_us/mean latency_uncorrected_us/p99 last_recipient_us/p99 sender_delay_us/p99 server/cpu_s",
        "server/rss_bytes harness/cpu_s harness/rss_bytes rates/offered_per_s rates/achieved_per_s valid verdict",
        "command seed version machine/cpu machine/cores rounds",
    ]
    .iter()
    .flat_map(|keys| keys.split(' '))
    {
        assert!(json.pointer(&format!("/{key}")).is_some_and(|value| !value.is_null()), "no {key} in {json:#}");
    }
    assert_eq!(json["verdict"], "fail");
    assert_eq!(json["deliveries"]["missing"], 1);
    assert_eq!(json["deliveries"]["missing_examples"][0]["message"], 0);
    assert_eq!((&json["seed"], &json["started_unix_s"]), (&9.into(), &77.into()));
}

#[test]
fn the_login_rate_covers_all_rounds() {
    let stay = Stay::Leave { rounds: 3 };
    let scenario = Scenario::Login(Login { in_flight: 32, seeded: None, stay });
    let job = Job { scenario, clients: 10, ..job("") };
    let found = |connected| Findings {
        clients: Clients { requested: 10, connected, ..Clients::default() },
        rates: Rates { logins_per_s: Some(12.5), ..Rates::default() },
        ..Findings::default()
    };
    let report = Report::new(&job, origin(), found(30));
    assert_eq!(report.verdict, Verdict::Pass, "{report}");
    let text = report.to_string();
    for part in ["30 of 30 connected (3 rounds), 0 refused", "12.5/s achieved (first attempt to last entry)"]
    {
        assert!(text.contains(part), "no `{part}` in:\n{text}");
    }
    // A run that sends nothing can lose nothing.
    assert!(text.contains("disconnected=0") && !text.contains("missing=0"), "{text}");
    assert!(!text.contains("resumed") && !text.contains("false_notices"), "{text}");
    let json = serde_json::to_value(&report).expect("JSON");
    assert_eq!(json["thresholds"].as_array().map(Vec::len), Some(12));
    assert_eq!((&json["rates"]["logins_per_s"], &json["rounds"]), (&12.5.into(), &3.into()));
    assert_eq!(json["clients"]["requested"], 10);
    assert_eq!(Report::new(&job, origin(), found(29)).verdict, Verdict::Fail);
    let broadcast = Report::new(&super::fixture::job(""), origin(), findings(0));
    assert_eq!((broadcast.rates.logins_per_s, broadcast.rounds), (None, 1));
}

#[test]
fn check_writable_names_the_file() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let error = check_writable(&dir.path().join("none/report.json")).unwrap_err().to_string();
    assert!(error.contains("none/report.json"), "{error}");
}

#[test]
fn a_changed_rate_is_reported() {
    let changed = |rate_changes: Vec<RateChange>| {
        let report =
            Report::new(&job(""), origin(), Findings { sent: 5, rate_changes, ..Findings::default() });
        let json = serde_json::to_value(&report).expect("JSON");
        (report.to_string(), report.to_html("run.html"), json["rate_changes"].clone())
    };
    let (text, page, json) = changed(vec![RateChange::new(2_500 * MS, 8 * MS)]);
    let warning = "This is not the planned run: the rate was CHANGED by hand: 125.0/s from 2.50 s.";
    assert!(text.contains(warning) && page.contains(warning), "{text}");
    assert_eq!(json, serde_json::json!([{ "at_s": 2.5, "interval_us": 8000.0 }]));
    let (text, page, json) = changed(Vec::new());
    assert!(
        !text.contains("CHANGED") && !page.contains("not the planned run") && json == serde_json::json!([])
    );
}

#[test]
fn a_report_names_the_client_that_waits_longest() {
    let found = || Findings {
        fairness: Fairness::of(recipients(200, |client| 1_000 + 10 * u64::from(client))),
        ..findings(0)
    };
    let report = Report::new(&job(""), origin(), found());
    let text = report.to_string();
    for part in [
        "1.10 ms p5 of client means (200 clients), 2 ms p50 of client means,",
        "2.90 ms p95 of client means",
        "2.99 ms longest client mean (client 199)",
        "x2.64 slowest over fastest entry group (group 10 of 10)",
        "1.99 ms  mean on server event loop 0 (100 clients)",
        "2 ms  mean on server event loop 1 (100 clients)",
    ] {
        assert!(text.contains(part), "no `{part}` in:\n{text}");
    }
    let page = report.to_html("run.html");
    assert!(
        page.contains("Mean latency by order of entry, first tenth to last")
            && page.contains("mean on server event loop 1"),
        "{page}"
    );
    let few = Findings { fairness: Fairness::of(recipients(4, |_| 1_000)), ..findings(0) };
    let page = Report::new(&job(""), origin(), few).to_html("run.html");
    assert!(page.contains("Mean latency by order of entry, first client to last"), "{page}");
    let json = serde_json::to_value(&report).expect("JSON");
    assert_eq!(json["fairness"]["by_shard"][1]["clients"], 100);
    let none = Report::new(&job(""), origin(), findings(0));
    assert!(!none.to_string().contains("fairness") && !none.to_html("run.html").contains("Fairness"));
    assert!(serde_json::to_value(&none).expect("JSON")["fairness"].is_null());
}
