//! Tests of the live view at several sizes.

use proptest::prelude::*;
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use throng_harness_model::results::{PARTS, Part};

use super::*;

const S: Nanos = 1_000_000_000;

fn facts() -> Facts {
    Facts {
        scenario: "broadcast",
        target: "127.0.0.1:9200".into(),
        seed: 42,
        requested: 1_000,
        is_to_all: true,
        has_rate: true,
        subject: Subject::Messages,
        standing: None,
        latency_limit: Some(("limit", 5_000.0)),
    }
}

/// The state after twelve of thirty seconds.
fn state() -> State {
    let totals = Totals {
        connected: 998,
        refused: 1,
        disconnected: 1,
        sent: 6_000,
        received: 5_982_000,
        left: 3,
        cuts: 12,
        away: 2,
        ..Totals::default()
    };
    let interval = Some((Duration::from_micros(1_600), Duration::from_millis(2)));
    let own = Own { cpu: Some(0.42), rss_bytes: 12_000_000, read_lag: 90_000 };
    let mut state = State {
        phase: (Phase::Sending, Some(30 * S)),
        now: 12 * S,
        totals,
        interval,
        own,
        planned_end: Some(30 * S),
        ..State::default()
    };
    for second in 0..12_u32 {
        state.add_row(Second {
            at_s: f64::from(second),
            sent_per_s: 624.9,
            received_per_s: 600_000.0 - f64::from(second) * 1_000.0,
            p50_us: 900.0,
            p90_us: 1_500.0,
            p99_us: 2_500.0 + f64::from(second),
            max_us: 7_000.0,
            server_cpu: Some(0.93),
            server_rss_bytes: Some(40_000_000),
            ..Second::default()
        });
    }
    state.add_line(3 * S, "all clients are in".into());
    state.add_line(10 * S, "625.0 messages a second instead of 500.0".into());
    state
}

/// The view as text, one string for each row of the terminal.
fn rendered(width: u16, height: u16, facts: &Facts, state: &State) -> Vec<String> {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).expect("memory");
    terminal.draw(|frame| draw(frame, facts, state)).expect("memory");
    let cells = terminal.backend().buffer().content();
    cells
        .chunks(usize::from(width).max(1))
        .map(|row| row.iter().map(ratatui::buffer::Cell::symbol).collect::<String>().trim_end().to_owned())
        .collect()
}

#[track_caller]
fn expect(lines: &[String], texts: &[&str]) {
    for text in texts {
        assert!(lines.iter().any(|line| line.contains(text)), "no {text:?} in\n{}", lines.join("\n"));
    }
}

const TEXTS: &[&str] = &[
    " broadcast  127.0.0.1:9200  seed 42",
    " sending  12 s since the beginning, 18 s left",
    "998 of 1,000 connected",
    "1 refused   0 failed   1 lost   3 left   12 cut, 2 away",
    " 625.0/s offered (planned 500.0/s)",
    "589,000 deliveries/s",
    "600,000/s ",
    " p99 of each second, limit 5 ms",
    " 5 ms ",
    "0 s ",
    " 30 s",
    "p50 900 us     p90 1.50 ms",
    "p99 2.51 ms    max 7 ms",
    " server     93% CPU    40.0 MB",
    " harness    42% CPU    12.0 MB   reads within 90 us",
    "   10 s  625.0 messages a second instead of 500.0",
    " + -  rate   0  planned rate   p  pause   q  end with results   ?  help",
];

#[test]
fn a_usual_terminal_shows_everything() {
    let lines = rendered(80, 24, &facts(), &state());
    expect(&lines, TEXTS);
    expect(&lines, &[" 624.9/s sent, 589,000 deliveries/s", " 5,982,000 of 5,988,000 so far, 99.9%"]);
    assert!(lines.iter().any(|line| line.contains('▇') || line.contains('█')), "no sparkline: {lines:#?}");
}

#[test]
fn a_large_terminal_shows_longer_texts() {
    let lines = rendered(120, 40, &facts(), &state());
    expect(&lines, TEXTS);
    expect(
        &lines,
        &[
            "625.0/s offered (planned 500.0/s), 624.9/s sent",
            "5,982,000 deliveries of 5,988,000 so far, 99.9%",
        ],
    );
    expect(&lines, &["    3 s  all clients are in"]);
}

#[test]
fn figures_of_a_large_run_fit() {
    let mut state = state();
    state.totals = Totals { connected: 9_000, sent: 888_888, received: 7_999_991_000, ..state.totals };
    state.interval = Some((Duration::from_micros(20), Duration::from_micros(25)));
    state.add_row(Second { sent_per_s: 50_000.0, received_per_s: 450_000_000.0, ..Second::default() });
    let lines = rendered(
        80,
        24,
        &Facts { seed: u64::MAX, target: "[2001:db8:85a3:8d3:1319:8a2e:370:7348]:9200".into(), ..facts() },
        &state,
    );
    let texts = [
        " broadcast  [2001:db8:85a3:8d3:1319:8a2e:370:7348]:9200  seed 18446744073709551615",
        " 50000.0/s offered (planned 40000.0/s)",
        " 450,000,000 deliveries/s",
        " 100.0% of 7,999,992,000 so far",
    ];
    expect(&lines, &texts[1..]);
    // The seed would need three more columns.
    assert_eq!(lines[0], " broadcast  [2001:db8:85a3:8d3:1319:8a2e:370:7348]:9200");
    expect(
        &rendered(
            90,
            24,
            &Facts {
                seed: u64::MAX,
                target: "[2001:db8:85a3:8d3:1319:8a2e:370:7348]:9200".into(),
                ..facts()
            },
            &state,
        ),
        &texts[..1],
    );
}

#[test]
fn a_step_shows_its_position_and_the_verdicts_before_it() {
    let before = [
        "1  10 clients  good, last p99 3.2 ms",
        "2  20 clients  server's limit: missing=0: found 60 of 360 deliveries",
    ];
    let standing = Standing {
        scenario: "ramp",
        step: "step 3 of 6, 50 clients".into(),
        before: before.map(String::from).into(),
    };
    let first = Standing { before: Vec::new(), ..standing.clone() };
    let facts = Facts { has_rate: false, standing: Some(standing), ..facts() };
    let lines = rendered(80, 24, &facts, &state());
    expect(
        &lines,
        &[" ramp  step 3 of 6, 50 clients  127.0.0.1:9200  seed 42", " Previous steps ", before[0]],
    );
    expect(&lines, &[" 2  20 clients  server's limit: missing=0: fou…", "   10 s  625.0 messages a seco…"]);
    assert!(!lines.iter().any(|line| line.contains("planned rate")), "{lines:#?}");
    expect(&rendered(120, 40, &facts, &state()), &before);
    let lines = rendered(80, 24, &Facts { standing: Some(first), ..facts }, &state());
    expect(&lines, &["   10 s  625.0 messages a second instead of 500.0"]);
    assert!(!lines.iter().any(|line| line.contains("Previous steps")), "{lines:#?}");
}

/// The state of a login run: in the last second 600 clients entered, with existing accounts.
fn logins() -> State {
    let part = |done, each| Part { done, took: done * each };
    let before = Totals {
        connected: 30,
        entry: part(5_000, 50_000_000),
        parts: [part(5_050, 2_000_000); PARTS.len()],
        ..Totals::default()
    };
    let mut now = Totals { connected: 38, left: 5_562, entering: 64, retries: 12, ..before };
    for _ in 0..600 {
        now.entry.add(45_200_000);
        now.parts[0].add(3_000_000);
        now.parts[3].add(31_500_000);
    }
    let mut state = State { now: 12 * S, totals: now, ..State::default() };
    state.add_entering(Entering::between(&(10 * S, Totals::default()), &(11 * S, before)));
    state.add_entering(Entering::between(&(11 * S, before), &(12 * S, now)));
    state
}

#[test]
fn a_run_without_messages_shows_entries() {
    let facts = Facts {
        scenario: "login",
        requested: 10_000,
        is_to_all: false,
        has_rate: false,
        subject: Subject::Entries { leaves: true },
        ..facts()
    };
    for (width, height) in [(80, 24), (120, 40)] {
        let lines = rendered(width, height, &facts, &logins());
        let texts = [
            "5,600 of 10,000 entries, 38 connected",
            " 600.0 entries/s, 64 entering",
            " so far, 12 retries",
            "5,000/s ",
            " 49.5 ms on average so far",
            " dial login 2.11 ms sign up    2 ms",
            " character  2 ms    log in     5.13 ms",
            " dial chat  2 ms    enter      2 ms",
            " mean of each second",
            "50 ms ",
            "1 s ago",
        ];
        expect(&lines, &texts);
        assert!(
            !lines.iter().any(|line| line.contains("Latency") || line.contains("deliveries")),
            "{lines:#?}"
        );
    }
    // A client with a ticket has two steps to show; a run without entries has none.
    let mut state = logins();
    for part in 0..4 {
        state.totals.parts[part] = Part::default();
    }
    let lines =
        rendered(80, 24, &Facts { subject: Subject::Entries { leaves: false }, ..facts.clone() }, &state);
    expect(&lines, &["38 of 10,000 connected", " dial chat  2 ms    enter      2 ms"]);
    assert!(!lines.iter().any(|line| line.contains("dial login")), "{lines:#?}");
    expect(
        &rendered(80, 24, &facts, &State::default()),
        &[" 0.0 entries/s, 0 entering", " - on average so far"],
    );
}

#[test]
fn a_run_without_deliveries_shows_zeros() {
    let facts = Facts { scenario: "connect", is_to_all: false, has_rate: false, ..facts() };
    let lines = rendered(80, 24, &facts, &State::default());
    expect(&lines, &["connecting", "0 of 1,000 connected", " 0.0/s sent", "p50 -", "server       - CPU"]);
    assert!(!lines.iter().any(|line| line.contains("rate")), "{lines:#?}");
}

#[test]
fn a_paused_display_says_so() {
    let lines = rendered(80, 24, &facts(), &State { is_paused: true, ..state() });
    expect(&lines, &["PAUSED", " p  go on"]);
}

#[test]
fn the_words_of_bots_stand_beside_the_log_or_the_previous_steps() {
    let mut state = state();
    state.add_said(S, "bot 3: anyone up for the raid?".into());
    state.add_said(2 * S, "bot 8 to bot 3: give me a minute".into());
    let words = [" Said ", " bot 3: anyone up for the raid?", " bot 8 to bot 3: give me a minute"];
    let lines = rendered(80, 24, &facts(), &state);
    expect(&lines, &words);
    expect(&lines, &["What happened"]);
    let before = vec!["1  10 clients  good".to_owned()];
    let standing = Some(Standing { scenario: "bots", step: "step 2 of 6".into(), before });
    let lines = rendered(80, 24, &Facts { standing, ..facts() }, &state);
    expect(&lines, &words);
    expect(&lines, &[" Previous steps ", " 1  10 clients  good"]);
}

#[test]
fn the_help_names_keys_and_figures() {
    let shown =
        |has_rate| rendered(80, 24, &Facts { has_rate, ..facts() }, &State { is_help: true, ..state() });
    let all = shown(true);
    expect(
        &all,
        &["Help, ? hides it", "a quarter more or fewer messages a second", "q  Ctrl+C     end in order"],
    );
    let fixed = shown(false);
    expect(&fixed, &["Help, ? hides it", "reads within  the harness's own delay"]);
    assert!(!fixed.iter().any(|line| line.contains("a quarter more")), "{fixed:#?}");
}

#[test]
fn the_limit_is_a_line_and_the_axis_has_the_planned_time() {
    let lines = rendered(120, 40, &facts(), &state());
    let axis = lines.iter().find(|line| line.trim_end().ends_with(" 30 s")).expect("a time axis");
    assert_eq!(axis.matches("0 s").count(), 4, "both charts, from 0 s to 30 s: {axis}");
    assert!(lines.iter().any(|line| line.ends_with(&"─".repeat(40)) && line.contains("5 ms")), "{lines:#?}");
    // Without a planned end the newest second is at the right.
    let lines = rendered(120, 40, &facts(), &State { planned_end: None, ..state() });
    expect(&lines, &["11 s ago", "now"]);
}

#[test]
fn rows_and_log_lines_are_bounded() {
    let mut state = State::default();
    for n in 0..5_000_u32 {
        state.add_row(Second { at_s: f64::from(n), ..Second::default() });
        state.add_line(0, n.to_string());
    }
    assert_eq!((state.rows.len(), state.log.len()), (ROWS_KEPT, LOG_KEPT));
    assert_eq!(state.log.back().map(|(_, line)| line.as_str()), Some("4999"));
}

#[test]
fn elapsed_times_look_like_a_clock() {
    let check = |seconds: u64, shown: &str| assert_eq!(elapsed(seconds * 1_000_000_000), shown);
    check(0, "0 s");
    check(59, "59 s");
    check(61, "1:01");
    check(7_384, "2:03:04");
}

proptest! {
    /// The view survives any size of the terminal and any figure.
    #[test]
    fn any_size_and_any_figure_can_be_drawn(
        width in 0_u16..220, height in 0_u16..70, count in any::<u64>(), micros in any::<f64>(), until in any::<u64>(),
    ) {
        let mut state = state();
        state.totals = Totals { connected: count, sent: count, received: count, reconnecting: count, cuts: count, ..state.totals };
        state.phase.1 = Some(until);
        state.now = count;
        state.own.read_lag = count;
        state.add_row(Second { p99_us: micros, received_per_s: micros, server_cpu: Some(micros), ..Second::default() });
        state.add_entering(Entering { at_s: micros, per_s: micros, mean_time: Some(micros) });
        let standing = Standing { scenario: "ramp", step: count.to_string(), before: vec![micros.to_string()] };
        for (requested, subject) in [(0, Subject::Messages), (count, Subject::Entries { leaves: true })] {
            let standing = (requested > 0).then(|| standing.clone());
            let lines = rendered(width, height, &Facts { requested, subject, standing, ..facts() }, &state);
            prop_assert_eq!(lines.len(), usize::from(height) * usize::from(width > 0));
        }
    }
}
