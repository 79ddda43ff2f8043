use proptest::prelude::*;
use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt, SeedableRng};

use super::*;
use throng_harness_model::procstat::Usage;
use throng_harness_model::record::LatencyUs;

/// Distribution of the runs of a side.
#[derive(Clone, Copy)]
struct Server {
    /// Latencies and CPU time, of which 1 is usual.
    slowness: f64,
    /// Spread of each figure from run to run.
    noise: f64,
    /// Spread of the machine's speed from run to run, which server and harness share.
    machine: f64,
    traffic: Option<&'static str>,
}

const USUAL: Server = Server { slowness: 1.0, noise: 0.03, machine: 0.0, traffic: Some("x") };

impl Server {
    fn slower(self, slowness: f64) -> Self {
        Self { slowness, ..self }
    }

    /// Draws the reports of `runs` runs.
    fn runs(self, runs: usize, rng: &mut Xoshiro256PlusPlus) -> Vec<Named> {
        (0..runs).map(|at| Named { path: format!("{at}.json").into(), report: self.run(rng) }).collect()
    }

    fn run(self, rng: &mut Xoshiro256PlusPlus) -> Report {
        let mut normal = || (0..12).map(|_| rng.random::<f64>()).sum::<f64>() - 6.0;
        let speed = (self.machine * normal()).exp();
        let mut draw = |level: f64| level * speed * (self.noise * normal()).exp();
        let (slow, count) = (self.slowness, 3_150_000);
        let mut latency = |p50: f64, p99: f64| LatencyUs {
            count,
            p50: draw(p50 * slow),
            p99: draw(p99 * slow),
            ..LatencyUs::default()
        };
        let (latency_us, last_recipient_us) = (latency(5_000.0, 12_000.0), latency(9_000.0, 14_000.0));
        let harness_cpu_s = draw(9.0) * count as f64 / 1e6;
        let mut report = Report {
            scenario: "broadcast".into(),
            version: "1".into(),
            valid: true,
            rounds: 1,
            sent: 3_150,
            traffic: self.traffic.map(str::to_owned),
            latency_us,
            last_recipient_us,
            server_cpu_us_per_delivery: Some(draw(9.4 * slow)),
            server: Some(Usage { rss_bytes: 30_000_000, ..Usage::default() }),
            harness: Some(Usage { cpu_s: harness_cpu_s, ..Usage::default() }),
            ..Report::default()
        };
        (report.rates.deliveries_per_s, report.rates.achieved_per_s) = (50_000.0, 50.0);
        (report.clients.requested, report.clients.connected) = (1_000, 1_000);
        report
    }
}

fn compare(baseline: &[Named], new: &[Named]) -> Comparison {
    Comparison::new(baseline, new, 0.05).expect("one scenario")
}

/// Compares two sides of `runs` runs for each of `count` seeds.
fn comparisons(count: u64, runs: usize, [baseline, new]: [Server; 2], noise: f64) -> Vec<Comparison> {
    let compared = (0..count).map(|seed| {
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
        let [baseline, new] = [baseline, new].map(|server| server.runs(runs, &mut rng));
        Comparison::new(&baseline, &new, noise).expect("one scenario")
    });
    compared.collect()
}

fn sides() -> [Vec<Named>; 2] {
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(1);
    [USUAL.runs(5, &mut rng), USUAL.slower(1.3).runs(5, &mut rng)]
}

#[track_caller]
fn figure<'a>(comparison: &'a Comparison, name: &str) -> &'a Compared {
    let found = comparison.figures.iter().find(|figure| figure.name == name);
    found.unwrap_or_else(|| panic!("no {name} in {comparison}"))
}

#[test]
fn identical_servers_differ_no_more_often_than_the_level_says() {
    // Without a least change, so that the test alone decides.
    for (count, runs, machine) in [(500, 5, 0.0), (500, 5, 0.2), (100, 8, 0.0)] {
        let server = Server { machine, ..USUAL };
        let all = comparisons(count as u64, runs, [server; 2], 0.0);
        let different = all.iter().filter(|comparison| comparison.outcome != Outcome::Same).count();
        assert!(10 * different <= count, "{different} of {count} differ with {runs} runs a side");
        // A test that never rejects would pass, too.
        assert!(100 * different >= count, "{different} of {count} differ with {runs} runs a side");
    }
}

#[test]
fn a_slower_server_is_found() {
    for (runs, slowness, least) in [(5, 1.15, 98), (10, 1.08, 98)] {
        let all = comparisons(100, runs, [USUAL, USUAL.slower(slowness)], 0.05);
        let found = all.iter().filter(|comparison| comparison.is_worse()).count();
        assert!(found >= least, "{found} of 100 slowdowns to {slowness} found with {runs} runs a side");
    }
}

#[test]
fn the_control_removes_the_speed_of_the_machine() {
    let server = Server { machine: 0.15, ..USUAL };
    let found = |traffic: Option<&'static str>| {
        let [baseline, new] = [server, server.slower(1.3)].map(|server| Server { traffic, ..server });
        let all = comparisons(100, 5, [baseline, new], 0.05);
        all.iter().filter(|comparison| comparison.is_worse()).count()
    };
    // Reports that do not say which traffic they had are compared without the control.
    let [controlled, raw] = [Some("x"), None].map(found);
    assert!(controlled >= 90, "{controlled} of 100 slowdowns found");
    assert!(raw <= 50, "{raw} of 100 slowdowns found without the control");
}

#[test]
fn a_control_that_explains_nothing_does_not_decide() {
    // A network takes most of the time; the harness's own cost varies and says nothing of it.
    let [baseline, new] = sides().map(|mut side| {
        for (named, mood) in side.iter_mut().zip([0.8, 1.0, 1.25, 0.9, 1.1]) {
            let harness = named.report.harness.as_mut().expect("measured");
            harness.cpu_s *= mood;
        }
        side
    });
    let comparison = compare(&baseline, &new);
    let figure = figure(&comparison, "latency p50");
    assert!(figure.controlled.is_some_and(|controlled| !controlled.decides), "{figure:?}");
    assert_eq!(figure.finding, Finding::Worse, "{figure:?}");
}

#[test]
fn a_change_of_the_control_alone_is_no_difference() {
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(2);
    let [baseline, mut new] = [0; 2].map(|_| USUAL.runs(5, &mut rng));
    for named in &mut new {
        named.report.harness.as_mut().expect("measured").cpu_s *= 1.2;
    }
    let comparison = compare(&baseline, &new);
    assert_eq!(comparison.outcome, Outcome::Same, "{comparison}");
    assert_eq!(figure(&comparison, HARNESS_COST).finding, Finding::Different, "{comparison}");
    assert!(comparison.doubts[0].starts_with("the harness's own cost of a delivery changed by +"));
}

#[test]
fn other_traffic_has_no_control() {
    let [baseline, mut new] = sides();
    new[0].report.traffic = Some("y".into());
    let comparison = compare(&baseline, &new);
    assert!(comparison.figures.iter().all(|figure| figure.controlled.is_none()), "{comparison}");
    assert!(comparison.is_worse(), "{comparison}");
    // If the harness slowed down as much as the server, it may have been the machine.
    for named in &mut new {
        named.report.harness.as_mut().expect("measured").cpu_s *= 1.3;
    }
    let comparison = compare(&baseline, &new);
    assert_eq!(comparison.outcome, Outcome::Same, "{comparison}");
    assert_eq!(figure(&comparison, HARNESS_COST).finding, Finding::Different, "{comparison}");
}

#[test]
fn figures_have_a_direction() {
    let [usual, slow] = sides();
    let worse = compare(&usual, &slow);
    assert!(worse.is_worse());
    for (name, finding) in [
        ("latency p50", Finding::Worse),
        ("server CPU per delivery", Finding::Worse),
        ("deliveries", Finding::Same),
        ("server memory at the end", Finding::Same),
        (HARNESS_COST, Finding::Same),
    ] {
        assert_eq!(figure(&worse, name).finding, finding, "{name}");
    }
    assert!(worse.figures.iter().all(|figure| !["logins", "server CPU"].contains(&&*figure.name)));
    let better = compare(&slow, &usual);
    let p99 = figure(&better, "last recipient p99");
    assert_eq!((better.outcome, p99.finding), (Outcome::Better, Finding::Better));
    let p50 = figure(&better, "latency p50");
    assert!(p50.change.is_some_and(|change| (-0.28..-0.18).contains(&change)), "{p50:?}");
    let [low, high] = p50.new_range;
    assert!(low < p50.new && p50.new < high && high < p50.baseline_range[0], "{p50:?}");
}

#[test]
fn small_changes_are_noise_however_significant() {
    let [baseline, new] = [1.0, 1.04].map(|slowness| {
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(3);
        Server { noise: 0.001, ..USUAL }.slower(slowness).runs(5, &mut rng)
    });
    let outcome = |noise| Comparison::new(&baseline, &new, noise).expect("one scenario").outcome;
    assert_eq!((outcome(0.05), outcome(0.02)), (Outcome::Same, Outcome::Worse));
}

#[test]
fn a_run_that_is_not_valid_is_no_evidence_of_latencies() {
    let [baseline, mut new] = sides();
    new[1].report.valid = false;
    let comparison = compare(&baseline, &new);
    assert_eq!(figure(&comparison, "latency p50").finding, Finding::Untested);
    assert_eq!(figure(&comparison, "server CPU per delivery").finding, Finding::Worse);
    assert!(comparison.doubts[0].starts_with("1.json is INVALID, so latencies"), "{:?}", comparison.doubts);
}

#[test]
fn one_lost_delivery_is_worse() {
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(4);
    let [baseline, mut new] = [0; 2].map(|_| USUAL.runs(5, &mut rng));
    new[0].report.deliveries.missing = 1;
    let comparison = compare(&baseline, &new);
    assert!(comparison.is_worse());
    let text = comparison.to_string();
    assert!(text.contains("faulty deliveries") && text.contains("1 (0-1)"), "{text}");
    // Figures that a run lacks are left out; a count that got better is no test by itself.
    for named in &mut new {
        let traffic = named.report.traffic.take();
        named.report = Report { valid: true, traffic, scenario: "broadcast".into(), ..Report::default() };
    }
    let comparison = compare(&baseline, &new);
    assert_eq!(comparison.outcome, Outcome::Untested, "{comparison}");
    assert_eq!(
        comparison.untested_because.as_deref(),
        Some("the reports have no measured figure in common that is evidence")
    );
}

#[test]
fn fewer_than_five_runs_of_a_side_are_not_tested() {
    let [baseline, mut new] = sides();
    new[0].report.deliveries.missing = 1;
    assert_eq!(compare(&[], &new).outcome, Outcome::Untested);
    for (some, others) in [(1, 1), (4, 5), (5, 4)] {
        let comparison = compare(&baseline[..some], &new[..others]);
        assert_eq!(comparison.outcome, Outcome::Untested);
        let is_shown = |figure: &Compared| figure.finding == Finding::Untested && figure.p.is_none();
        assert!(comparison.figures.iter().all(is_shown), "{comparison}");
        let p50 = figure(&comparison, "latency p50");
        assert!(p50.change.is_some_and(|change| change > 0.15), "{p50:?}");
        let because = comparison.untested_because.expect("nothing is tested");
        assert!(because.contains(&format!("baseline has {some} and the new side {others}:")), "{because}");
    }
    assert!(compare(&baseline, &new).is_worse());
}

#[test]
fn five_runs_suffice_for_the_phases_of_a_login() {
    let side = |slowness: f64| -> Vec<Named> {
        let run = |at: u32| {
            let level = slowness * (1.0 + f64::from(at) / 100.0);
            let took = LatencyUs { p50: 900.0 * level, p99: 2_000.0 * level, ..LatencyUs::default() };
            let phases = "dial_login sign_up create_character log_in dial_chat enter user_list way_in";
            let phases_us = phases.split(' ').map(|phase| (phase.to_owned(), took)).collect();
            let server = Usage { cpu_s: 2.0, rss_bytes: 30_000_000, ..Usage::default() };
            let mut report =
                Report { phases_us, server: Some(server), measured_s: 10.0, ..Report::default() };
            report.rates.logins_per_s = Some(80.0);
            Named { path: "a.json".into(), report }
        };
        (0..5).map(run).collect()
    };
    let comparison = compare(&side(1.0), &side(1.2));
    assert_eq!((comparison.tested, comparison.outcome), (12, Outcome::Worse), "{comparison}");
    assert_eq!(figure(&comparison, "sign up p50").finding, Finding::Worse);
    assert_eq!(figure(&comparison, "way in p99").finding, Finding::Worse);
    let p = figure(&comparison, "log in p50").p.expect("tested");
    assert!((p - 12.0 * 2.0 / 252.0).abs() < 1e-9, "{p}");
}

#[test]
fn figures_that_are_too_many_for_the_runs_are_not_tested() {
    assert_eq!(untested_because([5, 5], 12), None);
    let because = untested_because([5, 5], 13).expect("too many");
    assert!(because.starts_with("13 figures take more than 5 and 5 runs"), "{because}");
    assert_eq!(untested_because([6, 6], 13), None);
}

#[test]
fn reports_are_of_one_scenario() {
    let [baseline, mut new] = sides();
    new[2].report.scenario = "login".into();
    let error = Comparison::new(&baseline, &new, 0.05).expect_err("two scenarios").to_string();
    assert_eq!(
        error,
        "2.json is of the scenario `login` and 0.json of `broadcast`: compare reports of one scenario"
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn the_order_of_runs_and_sides_does_not_matter(
        (seed, slowness, runs) in (any::<u64>(), 0.8..1.2_f64, 5..8_usize),
        order in Just((0..7_usize).collect::<Vec<_>>()).prop_shuffle(),
    ) {
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
        let server = Server { machine: 0.05, ..USUAL };
        let (a, b) = (server.runs(runs, &mut rng), server.slower(slowness).runs(5, &mut rng));
        let reordered: Vec<Named> =
            order.iter().filter_map(|at| a.get(*at)).cloned().collect();
        let (comparison, again) = (compare(&a, &b), compare(&reordered, &b));
        prop_assert_eq!(&comparison.figures, &again.figures);
        let swapped = compare(&b, &a);
        for (figure, swapped) in comparison.figures.iter().zip(&swapped.figures) {
            let mirrored = match figure.finding {
                Finding::Better => Finding::Worse,
                Finding::Worse => Finding::Better,
                same => same,
            };
            prop_assert_eq!(swapped.finding, mirrored, "{}", &figure.name);
            let difference = figure.p.zip(swapped.p).map_or(0.0, |(p, swapped)| (p - swapped).abs());
            prop_assert!(difference < 1e-9, "{}", &figure.name);
        }
    }
}
