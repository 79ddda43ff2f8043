//! The live view of a run in the terminal, drawn from plain data alone.
//!
//! It fits into 80 columns and 24 rows. Where room is short, texts have shorter variants or end in
//! `…`.

mod entering;

use std::collections::VecDeque;
use std::time::Duration;

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Stylize};
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;
use throng_harness_model::clock::Nanos;
use throng_harness_model::results::{Second, Totals};
use throng_harness_model::spec::Standing;
use throng_harness_model::text::{format_bytes, format_count, format_nanos, format_rate};
use throng_harness_terminal::fit::{beginning, fits, fitting};
use throng_harness_terminal::{
    Chart, draw_bar, draw_chart, draw_footer, draw_help, draw_lines, draw_log, elapsed, titled,
};

pub use entering::Entering;

/// Rows kept for the charts: those of more than an hour.
const ROWS_KEPT: usize = 4_000;

/// Log lines kept.
const LOG_KEPT: usize = 200;

/// The phase of a run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Phase {
    /// Clients enter.
    #[default]
    Connecting,
    /// Clients complete their user lists.
    Lists,
    /// Clients join their channels and sectors.
    JoiningRooms,
    /// A probe message is on its way to all clients.
    Probe,
    /// Clients send messages that are not counted.
    WarmUp,
    /// Clients send counted messages.
    Sending,
    /// Clients stay connected.
    Staying,
    /// All clients disconnect and reconnect.
    Storm,
    /// Deliveries in flight arrive.
    Draining,
    /// Clients leave.
    Leaving,
}

impl Phase {
    /// The name shown to the user.
    pub fn name(self) -> &'static str {
        match self {
            Self::Connecting => "connecting",
            Self::Lists => "lists",
            Self::JoiningRooms => "joining rooms",
            Self::Probe => "probe",
            Self::WarmUp => "warm-up",
            Self::Sending => "sending",
            Self::Staying => "staying",
            Self::Storm => "storm",
            Self::Draining => "draining",
            Self::Leaving => "leaving",
        }
    }
}

/// The subject of the charts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subject {
    /// Messages and their latency.
    Messages,
    /// Entries, in a run without messages.
    Entries {
        /// True if clients leave as soon as they have entered.
        leaves: bool,
    },
}

/// The facts that hold for the whole run.
#[derive(Debug, Clone)]
pub struct Facts {
    /// The scenario's name; `standing` has the name if the run is a step of another scenario.
    pub scenario: &'static str,
    /// The server's address.
    pub target: String,
    /// The seed of the traffic.
    pub seed: u64,
    /// Entries requested, over all rounds.
    pub requested: u64,
    /// True if every message goes to all clients, so that messages sent determine the expected
    /// deliveries.
    pub is_to_all: bool,
    /// True if keys change the rate.
    pub has_rate: bool,
    /// The subject of the charts.
    pub subject: Subject,
    /// The position among the steps, if the run is one of several.
    pub standing: Option<Standing>,
    /// The limit of latencies, in microseconds, and its name in the chart.
    pub latency_limit: Option<(&'static str, f64)>,
}

/// The harness's own resource usage.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Own {
    /// CPU usage as a share of one core.
    pub cpu: Option<f64>,
    /// Resident memory, in bytes.
    pub rss_bytes: u64,
    /// The latest read lag, in nanoseconds.
    pub read_lag: Nanos,
}

/// The changing state of a run.
#[derive(Debug, Clone, Default)]
pub struct State {
    /// The phase, and its end if the clock decides it.
    pub phase: (Phase, Option<Nanos>),
    /// Time since the run began, in nanoseconds.
    pub now: Nanos,
    /// The totals of all workers.
    pub totals: Totals,
    /// The interval between messages, if there are any: current and planned.
    pub interval: Option<(Duration, Duration)>,
    /// Resource usage of the harness itself.
    pub own: Own,
    /// The latest rows of the timeline, oldest first.
    pub rows: VecDeque<Second>,
    /// Entries in the time of each row, oldest first.
    pub entering: VecDeque<Entering>,
    /// Log lines with their times.
    pub log: VecDeque<(Nanos, String)>,
    /// Lines of bots with their times; none in other scenarios.
    pub said: VecDeque<(Nanos, String)>,
    /// True while the display is paused.
    pub is_paused: bool,
    /// The planned end of the part that is counted, once it has begun.
    pub planned_end: Option<Nanos>,
    /// True while the help is shown.
    pub is_help: bool,
}

impl State {
    /// Adds a row, and drops the oldest if there are too many.
    pub fn add_row(&mut self, row: Second) {
        keep(&mut self.rows, row, ROWS_KEPT);
    }

    /// Adds the entries since the previous row.
    pub fn add_entering(&mut self, entering: Entering) {
        keep(&mut self.entering, entering, ROWS_KEPT);
    }

    /// Adds a line of a bot.
    pub fn add_said(&mut self, now: Nanos, line: String) {
        keep(&mut self.said, (now, line), LOG_KEPT);
    }

    /// Adds a line to the log.
    pub fn add_line(&mut self, now: Nanos, line: String) {
        keep(&mut self.log, (now, line), LOG_KEPT);
    }
}

fn keep<T>(items: &mut VecDeque<T>, item: T, most: usize) {
    if items.len() >= most {
        items.pop_front();
    }
    items.push_back(item);
}

/// Draws the view at any size of the terminal.
pub fn draw(frame: &mut Frame<'_>, facts: &Facts, state: &State) {
    let sizes = [
        Constraint::Length(2),
        Constraint::Length(3),
        Constraint::Fill(2),
        Constraint::Length(3),
        Constraint::Fill(1),
        Constraint::Length(1),
    ];
    let [head, clients, charts, processes, below, foot] = Layout::vertical(sizes).areas(frame.area());
    draw_head(frame, head, facts, state);
    draw_clients(frame, clients, facts, state);
    let [left, right] = Layout::horizontal([Constraint::Fill(1); 2]).spacing(1).areas(charts);
    match facts.subject {
        Subject::Messages => {
            draw_messages(frame, left, facts, state);
            draw_latency(frame, right, facts, state);
        }
        Subject::Entries { .. } => {
            entering::draw_entries(frame, left, state);
            entering::draw_entry_times(frame, right, state);
        }
    }
    draw_processes(frame, processes, state);
    draw_below(frame, below, facts, state);
    draw_keys(frame, foot, facts, state.is_paused);
    if state.is_help {
        draw_help(frame, if facts.has_rate { &HELP } else { &HELP[RATE_KEYS..] });
    }
}

/// Draws the lowest panes: at most two of the log, the previous steps, and the words of bots.
fn draw_below(frame: &mut Frame<'_>, area: Rect, facts: &Facts, state: &State) {
    let before = facts.standing.as_ref().map_or(&[][..], |standing| &standing.before);
    if before.is_empty() && state.said.is_empty() {
        return draw_log(frame, area, &state.log);
    }
    let columns = [Constraint::Fill(2), Constraint::Fill(3)];
    let [left, right] = Layout::horizontal(columns).spacing(1).areas(area);
    let steps = |frame: &mut Frame<'_>, area| {
        draw_lines(frame, area, "Previous steps", before.iter().map(|step| format!(" {step}")));
    };
    if state.said.is_empty() {
        draw_log(frame, left, &state.log);
        return steps(frame, right);
    }
    if before.is_empty() {
        draw_log(frame, left, &state.log);
    } else {
        steps(frame, left);
    }
    draw_lines(frame, right, "Said", state.said.iter().map(|(_, line)| format!(" {line}")));
}

/// Entries of [`HELP`] about the rate.
const RATE_KEYS: usize = 2;

/// Keys and panes, with their meanings.
const HELP: [(&str, &str); 10] = [
    ("+  -", "a quarter more or fewer messages a second"),
    ("0", "the planned rate"),
    ("p", "freeze or resume the display; the run goes on"),
    ("q  Ctrl+C", "end in order, with results; a second time: at once"),
    ("?", "show or hide this"),
    ("lost", "clients whose session ended before they left"),
    ("offered", "messages that the schedule asks for"),
    ("so far", "deliveries of messages sent x clients present"),
    ("p99", "99 of 100 deliveries of the last second arrived within it"),
    ("reads within", "the harness's own delay in reading what arrived"),
];

impl State {
    /// The end of the time axis in seconds, if the whole time is planned and kept.
    fn until_s(&self) -> Option<f64> {
        let until = self.planned_end.map(|end| end as f64 / 1e9);
        until.filter(|until| *until < ROWS_KEPT as f64)
    }
}

fn draw_head(frame: &mut Frame<'_>, area: Rect, facts: &Facts, state: &State) {
    let (phase, until) = state.phase;
    let left = until.map_or(String::new(), |until| {
        format!(", {} left", format_nanos(until.saturating_sub(state.now) as f64))
    });
    let paused = if state.is_paused { "  PAUSED" } else { "" };
    let name = facts.standing.as_ref().map_or(facts.scenario, |standing| standing.scenario);
    let name = Span::from(format!(" {name} ")).bold().reversed();
    let room = area.width.saturating_sub(columns(&name));
    let step = facts.standing.as_ref();
    let step = step.map_or(String::new(), |standing| beginning(&format!(" {} ", standing.step), room));
    let step = Span::from(step).bold();
    let room = room.saturating_sub(columns(&step));
    let place = format!(" {}", facts.target);
    let place = fitting(room, [format!("{place}  seed {}", facts.seed), place]);
    let lines = vec![
        Line::from(vec![name, step, Span::from(place)]),
        Line::from(vec![
            Span::from(format!(" {}", phase.name())).bold(),
            Span::from(format!("  {} since the beginning{left}", elapsed(state.now))),
            Span::from(paused).yellow().bold(),
        ]),
    ];
    frame.render_widget(Paragraph::new(lines), area);
}

fn draw_clients(frame: &mut Frame<'_>, area: Rect, facts: &Facts, state: &State) {
    let totals = &state.totals;
    let [_, bar, counts] = Layout::vertical([Constraint::Length(1); 3]).areas(area);
    frame.render_widget(titled("Clients"), area);
    let requested = format_count(facts.requested);
    let (done, label) = if facts.subject == (Subject::Entries { leaves: true }) {
        let [entered, connected] = [totals.entry.done, totals.connected].map(format_count);
        (totals.entry.done, format!("{entered} of {requested} entries, {connected} connected"))
    } else {
        (totals.connected, format!("{} of {requested} connected", format_count(totals.connected)))
    };
    draw_bar(frame, bar, &label, share(done, facts.requested));
    let mut spans = vec![Span::from(" ")];
    for (name, count) in
        [("refused", totals.refused), ("failed", totals.failed), ("lost", totals.disconnected)]
    {
        let span = Span::from(format!("{} {name}", format_count(count)));
        spans.push(if count > 0 { span.red().bold() } else { span });
        spans.push(Span::from("   "));
    }
    spans.push(Span::from(format!("{} left", format_count(totals.left))));
    if totals.reconnecting > 0 {
        spans.push(Span::from(format!("   {} reconnecting", format_count(totals.reconnecting))));
    }
    if totals.cuts > 0 {
        let [cuts, away] = [totals.cuts, totals.away].map(format_count);
        spans.push(Span::from(format!("   {cuts} cut, {away} away")));
    }
    frame.render_widget(Line::from(spans), counts);
}

fn draw_messages(frame: &mut Frame<'_>, area: Rect, facts: &Facts, state: &State) {
    let last = state.rows.back();
    let (sent, received) = last.map_or((0.0, 0.0), |row| (row.sent_per_s, row.received_per_s));
    let (sent, received) = (format!("{sent:.1}/s sent"), format!("{} deliveries/s", format_rate(received)));
    let offered = state.interval.map(|(now, planned)| {
        let changed =
            if now == planned { String::new() } else { format!(" (planned {:.1}/s)", rate(planned)) };
        format!("{:.1}/s offered{changed}", rate(now))
    });
    let together = offered.as_ref().map_or(sent.clone(), |offered| format!("{offered}, {sent}"));
    let [first, second] = match offered {
        // The rate sent joins the line that has room for it.
        Some(offered) if !fits(&together, area.width.saturating_sub(1)) => {
            let second = fitting(area.width, [format!(" {sent}, {received}"), format!(" {received}")]);
            [beginning(&format!(" {offered}"), area.width), second]
        }
        _ => [format!(" {together}"), format!(" {received}")],
    };
    let lines = vec![
        Line::from(first),
        Line::from(second).bold(),
        Line::from(deliveries_so_far(&state.totals, facts.is_to_all, area.width)),
    ];
    let show = |value| format!("{}/s", format_rate(value));
    let (bars, color, until_s) = ("deliveries", Color::Cyan, state.until_s());
    let chart = Chart { title: "Messages", lines, bars, show, color, until_s, limit: None };
    draw_chart(frame, area, chart, state.rows.iter().map(|row| (row.at_s, row.received_per_s)));
}

/// The deliveries so far, as a text that fits into `columns`.
fn deliveries_so_far(totals: &Totals, is_to_all: bool, columns: u16) -> String {
    let received = format_count(totals.received);
    let expected = totals.sent.saturating_mul(totals.connected);
    if !is_to_all || expected == 0 {
        return fitting(columns, [format!(" {received} deliveries so far")]);
    }
    // Messages in flight are not yet missing; only the final report decides.
    let percent = format!("{:.1}%", share(totals.received, expected) * 100.0);
    let expected = format_count(expected);
    let variants = [
        format!(" {received} deliveries of {expected} so far, {percent}"),
        format!(" {received} of {expected} so far, {percent}"),
        format!(" {percent} of {expected} so far"),
        format!(" {percent} so far"),
    ];
    fitting(columns, variants)
}

fn draw_latency(frame: &mut Frame<'_>, area: Rect, facts: &Facts, state: &State) {
    let last = state.rows.back();
    let figure = |of: fn(&Second) -> f64| time(last.map(of).filter(|us| *us > 0.0).map(|us| us * 1e3));
    let lines = vec![
        Line::from(format!(" p50 {:<10} p90 {}", figure(|row| row.p50_us), figure(|row| row.p90_us))),
        Line::from(vec![
            Span::from(format!(" p99 {:<10}", figure(|row| row.p99_us))).bold(),
            Span::from(format!(" max {}", figure(|row| row.max_us))),
        ]),
    ];
    let title = "Latency of the last second";
    let show = |us| format_nanos(us * 1e3);
    let (bars, color, until_s) = ("p99 of each second", Color::Magenta, state.until_s());
    let chart = Chart { title, lines, bars, show, color, until_s, limit: facts.latency_limit };
    draw_chart(frame, area, chart, state.rows.iter().map(|row| (row.at_s, row.p99_us)));
}

fn draw_processes(frame: &mut Frame<'_>, area: Rect, state: &State) {
    let last = state.rows.back();
    let cpu = |share: Option<f64>| share.map_or("-".into(), |share| format!("{:.0}%", share * 100.0));
    let memory = |bytes: Option<u64>| bytes.map_or("-".into(), format_bytes);
    let server = last.and_then(|row| row.server_cpu);
    let own = &state.own;
    let lines = vec![
        Line::from(format!(
            " server   {:>5} CPU  {:>9}",
            cpu(server),
            memory(last.and_then(|row| row.server_rss_bytes))
        )),
        Line::from(format!(
            " harness  {:>5} CPU  {:>9}   reads within {}",
            cpu(own.cpu),
            memory((own.rss_bytes > 0).then_some(own.rss_bytes)),
            if own.read_lag > 0 { format_nanos(own.read_lag as f64) } else { "-".into() }
        )),
    ];
    let block = titled("Processes (CPU of one core)");
    frame.render_widget(Paragraph::new(lines).block(block), area);
}

fn draw_keys(frame: &mut Frame<'_>, area: Rect, facts: &Facts, is_paused: bool) {
    let mut keys = Vec::new();
    if facts.has_rate {
        keys.extend([("+ -", "rate"), ("0", "planned rate")]);
    }
    keys.extend([("p", if is_paused { "go on" } else { "pause" }), ("q", "end with results"), ("?", "help")]);
    draw_footer(frame, area, &keys);
}

/// Formats a time in nanoseconds; `-` without one.
fn time(nanos: Option<f64>) -> String {
    nanos.map_or("-".into(), format_nanos)
}

fn columns(span: &Span<'_>) -> u16 {
    u16::try_from(span.width()).unwrap_or(u16::MAX)
}

/// The ratio of `count` to `of`, from 0 to 1; 0 if `of` is 0.
fn share(count: u64, of: u64) -> f64 {
    if of == 0 { 0.0 } else { (count as f64 / of as f64).clamp(0.0, 1.0) }
}

/// Messages per second at this interval.
fn rate(interval: Duration) -> f64 {
    1.0 / interval.as_secs_f64().max(1e-9)
}

#[cfg(test)]
mod tests;
