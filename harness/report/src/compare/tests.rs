use throng_harness_model::procstat::Usage;
use throng_harness_model::results::Second;

use super::bootstrap::tests::rows;
use super::*;

/// A report of a minute in which the server is `factor` times as slow as usual.
fn report(seed: u64, factor: f64) -> Report {
    report_on(seed, factor, 1.0)
}

/// The same on a machine that is `machine` times as slow as usual, for everybody.
fn report_on(seed: u64, factor: f64, machine: f64) -> Report {
    let noise = |kind: u64, level: f64| rows(seed * 100 + kind, level * machine, 64);
    let (p50, p99, last) =
        (noise(1, 5_000.0 * factor), noise(2, 12_000.0 * factor), noise(3, 9_000.0 * factor));
    let (cpu, own) = (noise(4, 0.45), noise(5, 0.4));
    let row = |at: usize| Second {
        at_s: at as f64 + 1.0,
        connected: 1_000,
        sent: 50 * (at.saturating_sub(1)) as u64,
        received: 50_000 * (at.saturating_sub(1)) as u64,
        p50_us: p50[at],
        p99_us: p99[at],
        last_recipient_p50_us: last[at],
        last_recipient_p99_us: p99[at] * 1.1,
        server_cpu: Some(cpu[at]),
        harness_cpu: Some(own[at]),
        ..Second::default()
    };
    let mut report = Report {
        scenario: "broadcast".into(),
        version: "1".into(),
        valid: true,
        rounds: 1,
        sent: 3_150,
        traffic: Some("x".into()),
        timeline: (0..64).map(row).collect(),
        server: Some(Usage { rss_bytes: 30_000_000, ..Usage::default() }),
        ..Report::default()
    };
    (report.clients.requested, report.clients.connected) = (1_000, 1_000);
    report
}

pub(super) fn side(seeds: std::ops::Range<u64>, factor: f64) -> Vec<Named> {
    let named = |seed| Named { path: format!("{seed}.json").into(), report: report(seed, factor) };
    seeds.map(named).collect()
}

pub(super) fn compare(baseline: &[Named], new: &[Named]) -> Comparison {
    Comparison::new(baseline, new, 0.05).expect("one scenario")
}

#[test]
fn the_same_server_shows_no_difference_and_a_slower_one_does() {
    let (mut different, mut slower) = (0, 0);
    for seed in 0..100 {
        let (a, b) = (side(2 * seed..2 * seed + 1, 1.0), side(2 * seed + 1..2 * seed + 2, 1.0));
        different += usize::from(compare(&a, &b).outcome != Outcome::Same);
        let c = side(2 * seed + 1..2 * seed + 2, 1.1);
        slower += usize::from(compare(&a, &c).is_worse());
    }
    assert!(different <= 5, "{different} of 100 pairs of the same server differ");
    assert!(slower >= 95, "{slower} of 100 pairs show the slower server");
}

#[test]
fn the_moods_of_the_machine_are_divided_out() {
    // By up to 15 % either way, another one for each run.
    let side = |seed: u64, factor: f64| -> Vec<Named> {
        let named = |run: u64| {
            let seed = 3 * seed + run;
            let mood = (seed * 7_919 % 101) as f64 / 50.0 - 1.0;
            Named { path: "a.json".into(), report: report_on(seed, factor, 1.0 + 0.15 * mood) }
        };
        (0..3).map(named).collect()
    };
    let (mut different, mut slower, mut certain) = (0, 0, 0);
    for seed in 0..40 {
        let (a, b, c) = (side(2 * seed, 1.0), side(2 * seed + 1, 1.0), side(2 * seed + 1, 1.1));
        different += usize::from(compare(&a, &b).outcome != Outcome::Same);
        let found = compare(&a, &c);
        slower += usize::from(found.is_worse());
        let is_certain = |figure: &Compared| figure.interval.is_some_and(|[low, _]| low > 0.0);
        certain += usize::from(found.figures.iter().any(is_certain));
    }
    assert!(different <= 2, "{different} of 40 pairs of the same server differ");
    assert!(slower >= 37, "{slower} of 40 pairs show the slower server");
    assert!(
        certain <= 20,
        "{certain} of 40 pairs would have shown it without the control, so this tests nothing"
    );
}

#[test]
fn what_the_machine_does_not_decide_needs_no_control() {
    // A network takes most of the time; the harness's own cost goes up and down and says nothing of it.
    let side = |seed: u64, factor: f64| -> Vec<Named> {
        let mut side = self::side(3 * seed..3 * seed + 3, factor);
        for (named, mood) in side.iter_mut().zip([0.8, 1.0, 1.25]) {
            for row in &mut named.report.timeline {
                row.harness_cpu = row.harness_cpu.map(|cpu| cpu * mood);
            }
        }
        side
    };
    let comparison = compare(&side(1, 1.0), &side(2, 1.1));
    let figure = comparison.figures.iter().find(|figure| figure.name == "latency p50").expect("measured");
    assert!(figure.controlled.is_some_and(|controlled| !controlled.decides), "{figure:?}");
    assert_eq!(figure.finding, Finding::Worse, "{figure:?}");
}

#[test]
fn what_only_the_control_did_is_no_difference() {
    // The same latencies while the harness came to pay 20 % more for them.
    let (a, mut b) = (side(0..3, 1.0), side(3..6, 1.0));
    for row in b.iter_mut().flat_map(|named| &mut named.report.timeline) {
        row.harness_cpu = row.harness_cpu.map(|cpu| cpu * 1.2);
    }
    assert_eq!(compare(&a, &b).outcome, Outcome::Same);
    // And other messages are other work for it.
    b[0].report.traffic = Some("y".into());
    let comparison = compare(&a, &b);
    assert!(comparison.figures.iter().all(|figure| figure.controlled.is_none()), "{comparison}");
}

#[test]
fn figures_have_a_direction() {
    let (a, mut b) = (side(0..3, 1.0), side(3..6, 1.3));
    let finding = |comparison: &Comparison, name: &str| {
        comparison.figures.iter().find(|figure| figure.name == name).map(|figure| figure.finding)
    };
    let worse = compare(&a, &b);
    assert!(worse.is_worse());
    assert_eq!(finding(&worse, "latency p50"), Some(Finding::Worse));
    assert_eq!(finding(&worse, "server CPU per delivery"), Some(Finding::Same));
    assert_eq!(finding(&worse, "deliveries"), Some(Finding::Same));
    assert_eq!(finding(&worse, "server memory at the end"), Some(Finding::Untested));
    assert_eq!((finding(&worse, "logins"), finding(&worse, "server CPU")), (None, None));
    let better = compare(&b, &a);
    assert_eq!(
        (better.outcome, finding(&better, "last recipient p99")),
        (Outcome::Better, Some(Finding::Better))
    );
    let figure = better.figures.iter().find(|figure| figure.name == "latency p50").expect("measured");
    let [low, high] = figure.interval.expect("tested");
    assert!(low < -0.2 && high > -0.26 && high < -0.2, "{figure:?}");
    for row in &mut b[0].report.timeline {
        row.harness_cpu = row.harness_cpu.map(|cpu| cpu * 3.0);
    }
    b[1].report.valid = false;
    let invalid = compare(&a, &b);
    assert_eq!(finding(&invalid, "latency p50"), Some(Finding::Untested));
    assert_eq!(finding(&invalid, "server CPU per delivery"), Some(Finding::Same));
    assert!(invalid.doubts[0].starts_with("4.json is INVALID, so its latencies"), "{:?}", invalid.doubts);
}

#[test]
fn one_lost_delivery_is_worse() {
    let (a, mut b) = (side(0..1, 1.0), side(1..2, 1.0));
    b[0].report.deliveries.missing = 1;
    let comparison = compare(&a, &b);
    assert!(comparison.is_worse());
    let text = comparison.to_string();
    assert!(text.contains("faulty deliveries") && text.contains("WORSE: something got"), "{text}");
}

#[test]
fn a_short_run_is_not_judged() {
    let (mut a, mut b) = (side(0..1, 1.0), side(1..2, 5.0));
    for side in [&mut a, &mut b] {
        side[0].report.timeline.truncate(8);
    }
    let comparison = compare(&a, &b);
    assert_eq!(comparison.outcome, Outcome::Untested);
    assert!(comparison.doubts[0].contains("fewer than 20 full seconds"), "{:?}", comparison.doubts);
}

#[test]
fn only_one_scenario_at_a_time() {
    let (a, mut b) = (side(0..1, 1.0), side(1..2, 1.0));
    b[0].report.scenario = "login".into();
    let error = Comparison::new(&a, &b, 0.05).expect_err("two scenarios").to_string();
    assert_eq!(
        error,
        "1.json is of the scenario `login` and 0.json of `broadcast`: compare reports of one scenario"
    );
}

#[test]
fn figures_of_whole_runs_take_five_of_them() {
    let with = |seeds: std::ops::Range<u64>, bytes: u64| {
        let mut side = side(seeds.clone(), 1.0);
        for (named, seed) in side.iter_mut().zip(seeds) {
            let rss_bytes = bytes + 100_000 * (seed % 5);
            named.report.server = Some(Usage { rss_bytes, ..Usage::default() });
        }
        side
    };
    let comparison = compare(&with(0..5, 30_000_000), &with(5..10, 36_000_000));
    let memory = comparison.figures.iter().find(|figure| figure.name.contains("memory")).expect("known");
    assert_eq!((memory.finding, memory.interval.is_some()), (Finding::Worse, true), "{memory:?}");
}
