//! The display of watched servers: a live view, or a line for each sample.

use std::collections::VecDeque;
use std::fmt::Write as _;

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Stylize};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Paragraph, Row, Table};
use throng_harness_model::clock::{Nanos, nanos};
use throng_harness_model::text::{format_bytes, format_nanos, format_rate};
use throng_harness_terminal::{Chart, draw_chart, draw_footer, draw_help, draw_log, elapsed, fit, titled};

use super::MonitorJob;
use super::follow::Sample;
use super::record::Judge;

/// The state of a healthy server.
const OK: &str = "ok";

/// Most values kept for each chart, and most lines of the log.
const KEPT: usize = 600;

/// Columns of the servers' table after the name: title, width, and rank. Where not all fit, the
/// column of the lowest rank is left out first.
const COLUMNS: [(&str, u16, u8); 10] = [
    ("state", 9, 10),
    ("pid", 7, 2),
    ("CPU", 5, 9),
    ("memory", 8, 8),
    ("files", 6, 1),
    ("sockets", 7, 4),
    ("sess.", 6, 5),
    ("users", 6, 7),
    ("queue", 6, 6),
    ("links", 5, 3),
];

/// Keys and columns, with their meanings.
const HELP: [(&str, &str); 9] = [
    ("p", "freeze or resume the display; the samples go on"),
    ("q  Ctrl+C", "end in order, with results; a second time: at once"),
    ("?", "show or hide this"),
    ("state", "its answer to /health; DOWN without one"),
    ("CPU", "of one core"),
    ("sockets", "open connections; sess.: those that completed their handshake"),
    ("users", "players in the chat"),
    ("queue", "jobs that wait for content, event loop and database threads"),
    ("links", "connections to other servers: up / configured"),
];

/// Rows of the view outside of the servers' rows: at least the parts above and below the table, and
/// its head.
const OTHER_ROWS: u16 = 13;
/// Fewest servers shown, however small the terminal.
const SERVERS_MIN: u16 = 3;

/// The live view's data, updated by each sample.
#[derive(Debug, Clone)]
pub struct Picture {
    title: String,
    until: Option<Nanos>,
    now: Nanos,
    servers: Vec<(String, Sample)>,
    /// Each limit, and whether it is crossed now.
    limits: Vec<(String, bool)>,
    /// CPU and bytes sent a second, summed over the servers, each with its time in seconds.
    cpu: VecDeque<(f64, f64)>,
    sent: VecDeque<(f64, f64)>,
    log: VecDeque<(Nanos, String)>,
    is_help: bool,
    /// The copy shown while the display is paused.
    frozen: Option<Box<Picture>>,
}

impl Picture {
    /// A view without samples.
    pub fn new(job: &MonitorJob) -> Self {
        Self {
            title: job.data.display().to_string(),
            until: job.duration.map(nanos),
            now: 0,
            servers: Vec::new(),
            limits: Vec::new(),
            cpu: VecDeque::new(),
            sent: VecDeque::new(),
            log: VecDeque::new(),
            is_help: false,
            frozen: None,
        }
    }

    /// Adds one sample of each server, and the new messages.
    pub fn add(&mut self, now: Nanos, servers: Vec<(String, Sample)>, judges: &[Judge], messages: &[String]) {
        let sum =
            |of: fn(&Sample) -> Option<f64>| servers.iter().filter_map(|(_, sample)| of(sample)).sum::<f64>();
        let sums = [sum(|sample| sample.cpu), sum(|sample| sample.bytes_out_per_s)];
        for (values, sum) in [&mut self.cpu, &mut self.sent].into_iter().zip(sums) {
            keep(values, (now as f64 / 1e9, sum));
        }
        for line in messages {
            keep(&mut self.log, (now, line.clone()));
        }
        self.limits = judges.iter().map(|judge| (judge.limit().to_string(), judge.is_crossed())).collect();
        self.servers = servers;
        self.now = now;
    }

    /// Updates the clock between two samples.
    pub fn set_now(&mut self, now: Nanos) {
        self.now = now;
    }

    /// Pauses the display, or resumes it.
    pub fn pause(&mut self) {
        self.frozen = match self.frozen.take() {
            None => Some(Box::new(self.clone())),
            Some(_) => None,
        };
    }

    /// Shows the help, or hides it.
    pub fn toggle_help(&mut self) {
        self.is_help = !self.is_help;
    }

    /// The last sample of each server.
    pub fn samples(&self) -> impl Iterator<Item = (&str, &Sample)> {
        self.servers.iter().map(|(name, sample)| (name.as_str(), sample))
    }

    /// Draws the view, at any size of the terminal.
    pub fn draw(&self, frame: &mut Frame<'_>) {
        self.frozen.as_deref().unwrap_or(self).draw_all(frame, self.frozen.is_some());
        if self.is_help {
            draw_help(frame, &HELP);
        }
    }

    fn draw_all(&self, frame: &mut Frame<'_>, is_paused: bool) {
        let most = frame.area().height.saturating_sub(OTHER_ROWS).max(SERVERS_MIN);
        let rows = u16::try_from(self.servers.len()).unwrap_or(u16::MAX).min(most);
        let sizes = [
            Constraint::Length(2),
            Constraint::Length(rows + 2),
            Constraint::Fill(2),
            Constraint::Length(2),
            Constraint::Fill(2),
            Constraint::Length(1),
        ];
        let [head, servers, charts, limits, log, foot] = Layout::vertical(sizes).areas(frame.area());
        self.draw_head(frame, head, is_paused);
        self.draw_servers(frame, servers, usize::from(rows));
        let [left, right] = Layout::horizontal([Constraint::Fill(1); 2]).spacing(1).areas(charts);
        let last = |values: &VecDeque<(f64, f64)>| values.back().map_or(0.0, |(_, value)| *value);
        let lines = vec![Line::from(format!(" {} of one core, all servers", percent(last(&self.cpu))))];
        let chart = Chart {
            title: "CPU",
            lines,
            bars: "",
            show: percent,
            color: Color::Cyan,
            until_s: None,
            limit: None,
        };
        draw_chart(frame, left, chart, self.cpu.iter().copied());
        let lines = vec![Line::from(format!(" {} a second, all servers", bytes(last(&self.sent))))];
        let show = |value| format!("{}/s", bytes(value));
        let chart =
            Chart { title: "Sent", lines, bars: "", show, color: Color::Magenta, until_s: None, limit: None };
        draw_chart(frame, right, chart, self.sent.iter().copied());
        self.draw_limits(frame, limits);
        draw_log(frame, log, &self.log);
        let pause = if is_paused { "resume" } else { "pause the display" };
        draw_footer(frame, foot, &[("p", pause), ("q", "end with results"), ("?", "help")]);
    }

    fn draw_head(&self, frame: &mut Frame<'_>, area: Rect, is_paused: bool) {
        const NAME: &str = " monitor ";
        let left = self.until.map_or(String::new(), |until| {
            format!(", {} left", format_nanos(until.saturating_sub(self.now) as f64))
        });
        let title = fit::end(&self.title, area.width.saturating_sub(NAME.len() as u16 + 1));
        let lines = vec![
            Line::from(vec![Span::from(NAME).bold().reversed(), Span::from(format!(" {title}"))]),
            Line::from(vec![
                Span::from(format!(" {} since the beginning{left}", elapsed(self.now))),
                Span::from(if is_paused { "  PAUSED" } else { "" }).yellow().bold(),
            ]),
        ];
        frame.render_widget(Paragraph::new(lines), area);
    }

    fn draw_servers(&self, frame: &mut Frame<'_>, area: Rect, room: usize) {
        let mut servers: Vec<_> = self.servers.iter().collect();
        let mut title = "Servers".to_owned();
        if servers.len() > room {
            // Healthy servers are left out first; the report has them all.
            servers.sort_by_key(|(_, sample)| sample.state == OK);
            servers.truncate(room);
            title = format!("Servers ({room} of {})", self.servers.len());
        }
        let name = servers.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
        let name = u16::try_from(name).unwrap_or(u16::MAX);
        let kept = kept_columns(area.width.saturating_sub(name));
        let others: u16 = kept.iter().map(|column| COLUMNS[*column].1 + 1).sum();
        let room = area.width.saturating_sub(others);
        let rows = servers.into_iter().map(|(name, sample)| {
            let mut others = cells(sample);
            let others = kept.iter().map(|column| std::mem::take(&mut others[*column]));
            let row = Row::new(std::iter::once(fit::ends(name, room)).chain(others));
            match sample.state.as_str() {
                OK => row,
                "DOWN" => row.red().bold(),
                _ => row.yellow(),
            }
        });
        let heads = std::iter::once("server").chain(kept.iter().map(|column| COLUMNS[*column].0));
        let widths = kept.iter().map(|column| Constraint::Length(COLUMNS[*column].1));
        let widths = std::iter::once(Constraint::Fill(1)).chain(widths);
        let table = Table::new(rows, widths).header(Row::new(heads).dark_gray()).block(titled(&title));
        frame.render_widget(table, area);
    }

    fn draw_limits(&self, frame: &mut Frame<'_>, area: Rect) {
        let mut limits: Vec<_> = self.limits.iter().collect();
        // Crossed limits come first, in case not all fit.
        limits.sort_by_key(|(_, is_crossed)| !is_crossed);
        let mut line = Line::default();
        for (place, (limit, is_crossed)) in limits.iter().enumerate() {
            let span = Span::from(format!(" {limit} "));
            let more = format!(" and {} more", limits.len() - place);
            let reserved = if place + 1 < limits.len() { more.len() } else { 0 };
            if line.width() + span.width() + reserved > usize::from(area.width) {
                line.push_span(Span::from(more));
                break;
            }
            line.push_span(if *is_crossed { span.red().bold().reversed() } else { span.green() });
        }
        frame.render_widget(Paragraph::new(line).block(titled("Thresholds")), area);
    }
}

fn keep<T>(items: &mut VecDeque<T>, item: T) {
    if items.len() >= KEPT {
        items.pop_front();
    }
    items.push_back(item);
}

/// The indices of the [`COLUMNS`] that fit into `room` columns of the terminal.
fn kept_columns(room: u16) -> Vec<usize> {
    let mut kept: Vec<usize> = (0..COLUMNS.len()).collect();
    while kept.len() > 1 && kept.iter().map(|column| COLUMNS[*column].1 + 1).sum::<u16>() > room {
        let Some(first) = kept.iter().copied().min_by_key(|column| COLUMNS[*column].2) else { break };
        kept.retain(|column| *column != first);
    }
    kept
}

/// The cells of a server's row, without the name.
fn cells(sample: &Sample) -> [String; COLUMNS.len()] {
    let count = |value: Option<f64>| value.map_or("-".into(), format_rate);
    [
        sample.state.clone(),
        sample.pid.map_or("-".into(), |pid| pid.to_string()),
        sample.cpu.map_or("-".into(), percent),
        sample.rss_bytes.map_or("-".into(), bytes),
        count(sample.files),
        count(sample.sockets),
        count(sample.sessions),
        count(sample.users),
        count(queued(sample)),
        sample.links_up.zip(sample.links).map_or("-".into(), |(up, all)| format!("{up:.0}/{all:.0}")),
    ]
}

/// All queues of a server: for content threads, event loops and databases.
fn queued(sample: &Sample) -> Option<f64> {
    let queues = [sample.content_queue, sample.mailbox, sample.db_queue];
    queues.iter().any(Option::is_some).then(|| queues.iter().flatten().sum())
}

/// Formats a share of one core.
fn percent(share: f64) -> String {
    format!("{:.0}%", share * 100.0)
}

#[allow(clippy::cast_sign_loss)] // sizes are not below 0, and the cast saturates
fn bytes(value: f64) -> String {
    format_bytes(value as u64)
}

/// A sample as a line of text.
pub fn line(name: &str, sample: &Sample) -> String {
    let mut line = format!("{:5.0}s  {name}  {}", sample.at_s, sample.state);
    let mut add = |value: Option<String>, what: &str| {
        if let Some(value) = value {
            write!(line, "  {value}{what}").expect("a String takes everything");
        }
    };
    add(sample.cpu.map(|share| format!("{:.0}%", share * 100.0)), " CPU");
    add(sample.rss_bytes.map(bytes), "");
    add(sample.files.map(format_rate), " files");
    add(sample.sockets.map(format_rate), " sockets");
    add(sample.sessions.map(format_rate), " sessions");
    add(sample.users.map(format_rate), " users");
    add(queued(sample).map(format_rate), " queued");
    add(sample.links_up.zip(sample.links).map(|(up, all)| format!("{up:.0}/{all:.0}")), " links");
    line
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    use super::*;

    fn job() -> MonitorJob {
        MonitorJob {
            data: "throng-data".into(),
            duration: Some(Duration::from_mins(1)),
            interval: Duration::from_secs(1),
            limits: Vec::new(),
            patience: 3,
            json: None,
            html: None,
            plain: false,
        }
    }

    fn sample() -> Sample {
        Sample {
            at_s: 12.0,
            is_up: true,
            state: "ok".into(),
            pid: Some(4_711),
            cpu: Some(0.93),
            rss_bytes: Some(45.2e6),
            files: Some(1_040.0),
            sockets: Some(1_020.0),
            sessions: Some(1_010.0),
            users: Some(1_000.0),
            content_queue: Some(2.0),
            db_queue: Some(1.0),
            links_up: Some(1.0),
            links: Some(2.0),
            bytes_out_per_s: Some(5e8),
            ..Sample::default()
        }
    }

    fn picture(value: f64) -> Picture {
        let mut picture = Picture::new(&job());
        let down = Sample { state: "DOWN".into(), ..Sample::default() };
        let mut judges: Vec<Judge> =
            ["cpu=80%", "rss=1GB"].map(|limit| Judge::new(limit.parse().expect("valid"))).into();
        let messages: Vec<String> =
            judges.iter_mut().filter_map(|judge| judge.observe(0, "chat", &sample())).collect();
        let servers = vec![
            ("chat".into(), Sample { cpu: Some(value), ..sample() }),
            ("login+chat+dbagent".into(), down),
        ];
        picture.add(12_000_000_000, servers, &judges, &messages);
        picture
    }

    fn drawn(width: u16, height: u16, picture: &Picture) -> Vec<String> {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).expect("memory");
        terminal.draw(|frame| picture.draw(frame)).expect("memory");
        let cells = terminal.backend().buffer().content();
        let row = |row: &[ratatui::buffer::Cell]| row.iter().map(ratatui::buffer::Cell::symbol).collect();
        cells.chunks(usize::from(width).max(1)).map(row).collect()
    }

    #[track_caller]
    fn expect(lines: &[String], wanted: &str) {
        assert!(lines.iter().any(|line| line.contains(wanted)), "no {wanted:?} in\n{}", lines.join("\n"));
    }

    #[test]
    fn the_picture_has_every_server_and_every_limit() {
        for (width, height) in [(80, 24), (120, 40)] {
            let lines = drawn(width, height, &picture(0.93));
            expect(&lines, " monitor  throng-data");
            expect(&lines, "12 s since the beginning, 48 s left");
            expect(&lines, "45.2 MB");
            expect(&lines, "login+chat+dbagent ");
            expect(&lines, " DOWN ");
            expect(&lines, "93% ");
            expect(&lines, "500.0 MB/s");
            expect(&lines, "500.0 MB a second, all servers");
            expect(&lines, " cpu=80%  rss=1GB ");
            expect(&lines, "   12 s  WARNING chat: 93%, threshold cpu=80%");
            expect(&lines, " p  pause the display   q  end with results   ?  help");
        }
        // Columns of low rank are left out first.
        expect(&drawn(80, 24, &picture(0.93)), " ok        93%   45.2 MB  1,020   1,010  1,000  3      1/2");
        let all = "ok        4711    93%   45.2 MB  1,040  1,020   1,010  1,000  3      1/2";
        expect(&drawn(120, 40, &picture(0.93)), all);
        let narrow = drawn(40, 24, &picture(0.93));
        expect(&narrow, "server");
        expect(&narrow, "login+chat+dbagent ");
        expect(&narrow, " DOWN      -");
        expect(&drawn(24, 24, &picture(0.93)), "login+…dbagent DOWN");
        let mut paused = picture(0.93);
        paused.pause();
        paused.add(13_000_000_000, vec![("other".into(), sample())], &[], &[]);
        let lines = drawn(80, 24, &paused);
        expect(&lines, "PAUSED");
        expect(&lines, "chat");
        paused.pause();
        expect(&drawn(80, 24, &paused), "other");
        paused.toggle_help();
        let lines = drawn(80, 24, &paused);
        expect(&lines, "Help, ? hides it");
        expect(&lines, "links      connections to other servers: up / configured");
        paused.toggle_help();
        assert!(!drawn(80, 24, &paused).iter().any(|line| line.contains("Help")));
    }

    #[test]
    fn crossed_limits_and_unhealthy_servers_come_first() {
        let limits = [
            "cpu=99%",
            "rss=1GB",
            "files=80%",
            "sessions=5000",
            "users=5000",
            "sockets=5000",
            "mailbox=100",
            "queue=100",
            "db_queue=10",
            "cpu=80%",
        ];
        let mut judges: Vec<Judge> = limits.map(|limit| Judge::new(limit.parse().expect("valid"))).into();
        for judge in &mut judges {
            judge.observe(0, "chat", &sample());
        }
        let mut servers: Vec<_> = (0..30).map(|n| (format!("chat{n}"), sample())).collect();
        servers[29].1.state = "DOWN".into();
        let mut picture = Picture::new(&MonitorJob { data: "/a/directory".repeat(9).into(), ..job() });
        picture.add(0, servers, &judges, &[]);
        let lines = drawn(80, 24, &picture);
        expect(&lines, " Servers (11 of 30) ");
        expect(&lines, "chat29");
        expect(&lines, "chat9 ");
        assert!(!lines.iter().any(|line| line.contains("chat10")), "{lines:#?}");
        expect(&lines, " cpu=80%  cpu=99% ");
        expect(&lines, " and 4 more");
        expect(&lines, "ctory/a/directory");
        expect(&lines, " monitor  …");
        expect(&drawn(80, 60, &picture), "chat10");
        expect(&drawn(120, 60, &picture), " db_queue=10 ");
    }

    #[test]
    fn a_line_has_the_known_figures() {
        assert_eq!(
            line("chat", &sample()),
            "   12s  chat  ok  93% CPU  45.2 MB  1,040 files  1,020 sockets  1,010 sessions  1,000 users  3 queued  1/2 links"
        );
        let down = Sample { at_s: 3.0, state: "DOWN".into(), ..Sample::default() };
        assert_eq!(line("chat", &down), "    3s  chat  DOWN");
    }

    proptest! {
        #[test]
        fn any_size_and_figure_can_be_drawn(width in 0_u16..200, height in 0_u16..60, value in any::<f64>()) {
            let lines = drawn(width, height, &picture(value));
            prop_assert_eq!(lines.len(), usize::from(height) * usize::from(width > 0));
        }
    }
}
