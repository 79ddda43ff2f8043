use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;
use throng_core::text::is_control;
use throng_harness_model::breakdown::{ServerClock, Stamps};
use throng_harness_model::record::Latencies;
use throng_harness_model::results::{
    BotsReport, Churned, Clients, CutCounts, Findings, ImpairedClients, ListReport, Moved, Rates, Reactions,
    Reconnected, Second, Spoken,
};
use throng_harness_model::spec::{Job, Login, Scenario, Stay};

use super::facts::quoted;
use super::fixture::check_page;
use super::*;
use crate::Origin;
use crate::compare::{Comparison, Named};
use crate::fixture::{MS, findings, job, origin};

/// The page of a report, which must contain all `parts`.
#[track_caller]
fn check(job: &Job, findings: Findings, parts: &[&str]) -> String {
    let page = Report::new(job, origin(), findings).to_html("run.html");
    check_page(&page);
    for part in parts {
        assert!(page.contains(part), "no `{part}` in:\n{page}");
    }
    page
}

fn timeline(seconds: u32) -> Vec<Second> {
    let row = |second| Second {
        at_s: f64::from(second),
        connected: 2,
        sent_per_s: 1_000.0,
        received_per_s: 2_000.0,
        p50_us: f64::from(second % 2) * 900.0,
        p90_us: 2_000.0,
        p99_us: 3_000.0,
        server_cpu: (second > 1).then_some(0.5),
        server_rss_bytes: Some(12_300_000),
        ..Second::default()
    };
    (1..=seconds).map(row).collect()
}

#[test]
fn a_good_broadcast() {
    let found = Findings { timeline: timeline(5), ..findings(0) };
    let page = check(
        &job("--threshold p99=4ms"),
        found,
        &[
            "<title>broadcast: PASS \u{b7} 2 clients \u{b7} run.html</title>",
            "verdict pass",
            "<code>p99=4ms</code><span>found 3.00 ms</span>",
            "<strong>20</strong><span>of 20, 2,000/s</span>",
            "<strong>2000%</strong><span>0.20 s, 10000.00 \u{b5}s per delivery</span>",
            "<th>last recipient</th><td>10</td><td>3.00 ms</td>",
            "<title>corrected 56%: 3.00 ms</title>",
            "<title>last recipient 90%: 3.00 ms</title>",
            "Histogram of latencies",
            ">p99</text>",
            "<span class=\"key limit\">p99 at most 4 ms</span>",
            "<span class=\"key limit\">the run's p99 at most 4 ms</span>",
            "<path class=\"band c2\"",
            "CPU, of one core",
            "<title>server 2 s: 50%</title>",
            "<code>throng-harness broadcast</code>",
            "<dt>Seed</dt><dd>9</dd>",
            "1970-01-01T00:01:17Z",
            "4 x Test CPU, 8.00 GB, Linux 6.1",
        ],
    );
    for absent in ["BROKEN", "INVALID", "tile bad"] {
        assert!(!page.contains(absent), "{page}");
    }
    check(&job(""), Findings { timeline: timeline(20_000), ..findings(0) }, &["<svg"]);
    check(&job(""), Findings { timeline: timeline(1), ..findings(0) }, &["Latency by percentile"]);
}

#[test]
fn a_title_names_the_size_the_target_and_the_file() {
    let check = |words: &str, shown: &str| {
        let command = words.split(' ').map(str::to_owned).collect();
        let report = Report::new(&job(""), Origin { command, ..origin() }, findings(0));
        let page = report.to_html("a<b.html");
        check_page(&page);
        let title = format!("<title>broadcast: PASS \u{b7} 2 clients \u{b7} {shown}a&lt;b.html</title>");
        assert!(page.contains(&title), "no `{title}` in:\n{page}");
    };
    check("throng-harness broadcast --seed 1", "");
    check("throng-harness broadcast --data", "");
    check("throng-harness broadcast --data some/data --seed 1", "some/data \u{b7} ");
    check("throng-harness broadcast --seed 1 --server=127.0.0.1:9", "127.0.0.1:9 \u{b7} ");
}

#[test]
fn a_long_maximum_leaves_the_percentiles_legible() {
    let chart = |slowest_ms: u64| {
        let mut found = findings(0);
        (0..1_000).for_each(|_| found.recorder.corrected.record(2_000_000));
        found.recorder.corrected.record(slowest_ms * 1_000_000);
        let page = check(&job(""), found, &[]);
        let (_, chart) = page.split_once("Latency by percentile").expect("a chart");
        chart.split_once("</svg>").expect("its end").0.to_owned()
    };
    assert!(chart(39).contains(">0</text>"), "from 0, as the maximum is near");
    let far = chart(400);
    let labels = ["2 ms", "5 ms", "10 ms", "20 ms", "50 ms", "100 ms", "200 ms", "500 ms"];
    assert!(labels.iter().all(|label| far.contains(&format!(">{label}</text>"))), "{far}");
}

#[test]
fn microseconds_have_their_sign_but_in_commands() {
    let check = |text: &str, shown: &str| assert_eq!(with_micro_signs(text), shown);
    check("12.5 us, <b title=\"3 us\">1 us</b>", "12.5 \u{b5}s, <b title=\"3 \u{b5}s\">1 \u{b5}s</b>");
    check("3 users of us, 500us", "3 users of us, 500us");
    check("1 us<code>--name '1 us'</code>2 us", "1 \u{b5}s<code>--name '1 us'</code>2 \u{b5}s");
    check("<code>1 us", "<code>1 us</code>");
}

#[test]
fn a_comparison_is_a_page() {
    let named = |name: &str, lost| Named {
        path: name.into(),
        report: Report::new(&job(""), origin(), Findings { timeline: timeline(20), ..findings(lost) }),
    };
    let baseline = ["a<b>.json", "b.json", "c.json", "d.json", "e.json", "f.json"].map(|name| named(name, 0));
    let new = ["g.json", "h.json", "i.json", "j.json", "k.json"].map(|name| named(name, 1));
    let page = Comparison::new(&baseline, &new, 0.05).expect("one scenario").to_html(
        "compared.html",
        &baseline,
        &new,
    );
    check_page(&page);
    for part in [
        "<title>broadcast: WORSE \u{b7} 5 runs compared with 6 runs \u{b7} compared.html</title>",
        "5 runs compared with 6 runs",
        "<th>faulty deliveries</th><td>0</td><td>1</td><td>-</td><td>-</td><td class=\"broken\">WORSE</td>",
        "<dd>a&lt;b&gt;.json, 1970-01-01T00:01:17Z, 4 x Test CPU, 8.00 GB, Linux 6.1</dd>",
        "Latency by percentile",
        "<span class=\"key c4\">new 1</span>",
    ] {
        assert!(page.contains(part), "no `{part}` in:\n{page}");
    }
}

#[test]
fn a_breakdown_is_a_bar_and_zeros_are_one_line() {
    let mut found = findings(1);
    let mut clock = ServerClock::default();
    clock.sample(0, 100_000, 50, 0);
    // No time in the queue; the parts after it keep their colors.
    let stamps = Stamps { received_us: 60, queued_us: 0, handled_us: 2_000, fan_out_us: Some(3_000) };
    found.breakdown.record(&clock, stamps, 0, 20_000_000);
    found.server_clock = clock.summary();
    let parts = [
        "Breakdown of the mean delivery",
        "title=\"processing: 2",
        "<span class=\"key c4\">network out ",
        "<span class=\"key c1 dashed\">uncorrected</span>",
        "<path class=\"line c1 dashed\"",
        "Nothing else to report: all other counts are 0.",
        "<th>missing</th><td>1</td>",
    ];
    check(&job(""), found, &parts);
}

#[test]
fn sections_of_the_summary_are_on_the_page() {
    let reasons = BTreeMap::from([("closed: too slow".to_owned(), 1)]);
    let mut resume = CutCounts { cuts: 90, resumed: 88, refused: 2, first_cut: 5, ..CutCounts::default() };
    resume.back.record(40 * MS);
    resume.last_back = 5 + 60 * MS;
    let found = Findings {
        resume,
        reconnects: Reconnected { asked: 1_200, back: 1_199, storm_s: Some(2.5) },
        lists: ListReport { kept: 6, exact: 5, entered_s: 1.5, complete_s: 2.0, ..ListReport::default() },
        churn: Churned { joins: 31, leaves: 30, skipped: 3 },
        moves: Moved { made: 41, skipped: 4 },
        impaired: ImpairedClients { deaf: 2, closed: 1, reasons, ..ImpairedClients::default() },
        bots: Some(BotsReport {
            personalities: BTreeMap::from([("gamer".into(), Spoken { bots: 2, messages: 8, reactions: 1 })]),
            topics: BTreeMap::from([("small_talk".into(), 8), ("games".into(), 0)]),
            languages: BTreeMap::from([("en".into(), 6), ("ko".into(), 2)]),
            reactions: Reactions { sent: 1, unprovoked: 5 },
        }),
        ..findings(0)
    };
    let parts = [
        "<th>back in</th><td>1,199 of 1,200</td>",
        "<th>until all were back</th><td>2.50 s</td>",
        "<th>resumed <span class=\"note\">p50 40.0 ms, p99 40.0 ms</span></th><td class=\"broken\">88 of 90</td>",
        "<th>until all were back</th><td>60 ms</td>",
        "<h3>user lists</h3>",
        "<th>until the last page</th><td>2 s</td>",
        "<th>exact <span class=\"note\">never all</span></th><td class=\"broken\">5 of 6</td>",
        "<th>joins</th><td>31</td>",
        "<th>leaves</th><td>30</td>",
        "<th>skipped turns <span class=\"note\">awaiting an answer</span></th><td>3</td>",
        "<th>moves <span class=\"note\">to a neighboring sector</span></th><td>41</td>",
        "<th>skipped turns <span class=\"note\">awaiting an answer</span></th><td>4</td>",
        "<h3>impaired</h3><table><tbody><tr><th>not reading</th><td>2</td>",
        "<th>closed: too slow</th><td>1</td>",
        "<th>gamer <span class=\"note\">bots: 2, answers: 1</span></th><td>8</td>",
        "<th>small talk <span class=\"note\">100.0%</span></th><td>8</td>",
        "<th>en <span class=\"note\">75.0%</span></th><td>6</td>",
        "<h3>answers</h3><table><tbody><tr><th>sent</th><td>1</td></tr><tr><th>not sent <span",
    ];
    let report = Report::new(&job(""), origin(), found);
    let (text, page) = (report.to_string(), report.to_html("run.html"));
    check_page(&page);
    for part in parts {
        assert!(page.contains(part), "no `{part}` in:\n{page}");
    }
    assert!(!page.contains("<th>games") && !text.contains("games"), "{page}");
    assert!(text.lines().all(|line| line.chars().count() <= 100), "{text}");
    let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
    for row in report.sections().iter().flat_map(|section| &section.rows) {
        let phrase = format!("{} {}", row.value, row.label);
        assert!(words.contains(&phrase) || row.is_rare && row.is_zero(), "no `{phrase}` in:\n{text}");
        assert!(page.contains(&row.label) || row.is_zero(), "no `{}` in:\n{page}", row.label);
    }
    let page = check(&job(""), findings(0), &[]);
    for absent in ["cuts", "channels", "moves", "reconnects", "user lists", "impaired", "bots", "answers"] {
        assert!(!page.contains(absent), "{absent} in {page}");
    }
}

#[test]
fn failures_are_above_all_figures() {
    let top = |page: &str, part: &str| {
        let (verdict, _) = page.split_once("class=\"tiles\"").expect("tiles");
        assert!(verdict.contains(part), "no `{part}` in:\n{verdict}");
    };
    let lost = check(&job(""), findings(1), &["tile bad", "<th>missed message 0</th><td>client 1</td>"]);
    top(&lost, "<strong>FAIL</strong>");
    top(&lost, "<span class=\"broken\">BROKEN</span><code>missing=0</code><span>found 1 of 20</span>");
    let stuck = vec!["the probe message has reached 1 of 2 clients".into()];
    let stuck = check(&job(""), Findings { incomplete_because: stuck, ..findings(0) }, &[]);
    top(&stuck, "BROKEN</span> the probe message has reached 1 of 2 clients");
    let mut late = findings(0);
    (0..20).for_each(|_| late.recorder.sent(0, 2_000_000));
    let late =
        check(&job(""), late, &["verdict invalid", "<title>broadcast: PASS, latencies INVALID \u{b7}"]);
    top(&late, "<li>the harness itself sent late");
    let interrupted = check(&job(""), Findings { interrupted: true, ..findings(0) }, &[]);
    top(&interrupted, "<strong>INTERRUPTED</strong>");
}

#[test]
fn a_login_shows_its_phases() {
    let mut took = Latencies::new();
    took.record(7_000_000);
    let found = Findings {
        clients: Clients { requested: 2, connected: 2, ..Clients::default() },
        phases: BTreeMap::from([("sign_up".into(), took.clone()), ("way_in".into(), took)]),
        rates: Rates { logins_per_s: Some(81.25), ..Rates::default() },
        ..Findings::default()
    };
    let job_of = |stay| {
        let scenario = Scenario::Login(Login { in_flight: 1, seeded: None, stay });
        Job { scenario, ..job("") }
    };
    let login = job_of(Stay::Hold(Duration::ZERO));
    let parts = [
        "<h1>login</h1>",
        "<span class=\"label\">entries achieved</span><strong>",
        "<span class=\"label\">logins achieved</span><strong>81.2/s</strong>",
        "<span class=\"label\">clients connected</span><strong>2</strong><span>of 2</span>",
        "<span class=\"label\">entry p99</span><strong>7.00 ms</strong>",
        "<th>sign up</th>",
        "<title>way in 0%: 7.00 ms</title>",
        "PASS",
    ];
    let page = check(&login, found, &parts);
    for absent in ["messages sent", "missing=0", "0 of 0", "user lists", "bots", "reconnects"] {
        assert!(!page.contains(absent), "{absent} in {page}");
    }
    // A run that was interrupted before any client connected.
    check(&login, Findings { interrupted: true, ..Findings::default() }, &["INTERRUPTED"]);
    let found = Findings {
        clients: Clients { requested: 2, connected: 5, refused: 1, ..Clients::default() },
        ..Findings::default()
    };
    let parts = ["<strong>5</strong><span>of 6, 3 rounds</span>", "tile bad", "found 5 of 6"];
    check(&job_of(Stay::Leave { rounds: 3 }), found, &parts);
}

#[test]
fn text_from_outside_is_escaped() {
    let reasons = BTreeMap::from([("refused: <script>alert('1')</script> & \"so\"".to_owned(), 1)]);
    let clients = Clients { requested: 2, connected: 1, refused: 1, reasons, ..Clients::default() };
    let mut origin = origin();
    origin.command.push("</code><img src=x>".into());
    origin.machine.cpu = "A & B <C>".into();
    let page = Report::new(&job(""), origin, Findings { clients, ..findings(0) }).to_html("run.html");
    check_page(&page);
    for part in [
        "refused: &lt;script&gt;alert('1')&lt;/script&gt; &amp; &quot;so&quot;",
        "broadcast '&lt;/code&gt;&lt;img src=x&gt;'",
        "4 x A &amp; B &lt;C&gt;",
    ] {
        assert!(page.contains(part), "no `{part}` in:\n{page}");
    }
}

#[test]
fn control_characters_are_escaped() {
    let page = page("a\0b", &html! { p title="\u{1b}[2K" { "c\u{85}\n\td\u{202E}e" } });
    assert!(page.contains("<title>a\\u{0}b</title>"), "{page}");
    assert!(page.contains("<p title=\"\\u{1b}[2K\">c\\u{85}\n\\td\\u{202e}e</p>"), "{page}");
}

proptest! {
    #[test]
    fn no_text_adds_markup(text in any::<String>()) {
        let paragraph = |text: &str| page("", &html! { p title=(text) { (text) } });
        let (html, empty) = (paragraph(&text), paragraph(""));
        for mark in ['<', '>', '"'] {
            prop_assert_eq!(html.matches(mark).count(), empty.matches(mark).count());
        }
        prop_assert!(!html.contains(|c: char| c != '\n' && is_control(c)));
    }
}

#[test]
fn a_command_can_be_repeated_in_a_shell() {
    let check = |word, shown: &str| assert_eq!(quoted(word), shown);
    check("--threshold=p99=20ms", "--threshold=p99=20ms");
    check("my data", "'my data'");
    check("", "''");
    check("it's", r"'it'\''s'");
}
