//! The display of a run: a live view if it has a terminal, else a line a second.
//!
//! It runs on the run's own thread, which otherwise sleeps, and reads only numbers that workers
//! publish anyway.

use std::io;
use std::time::Duration;

use throng_core::shutdown::{Cause, Shutdown};
use throng_harness_model::clock::Nanos;
use throng_harness_model::exit::EXIT_INTERRUPTED;
use throng_harness_model::procstat::Sample;
use throng_harness_model::results::{Second, Totals};
use throng_harness_model::text::format_count;
use throng_harness_terminal::{Action, RateKey, Screen};

use super::Progress;
use super::view::{Entering, Facts, Own, Phase, State, draw};

/// The display of a run.
#[derive(Debug)]
pub struct Display(Kind);

#[derive(Debug)]
enum Kind {
    Lines(Progress<io::Stderr>),
    View(Box<LiveView>),
}

#[derive(Debug)]
struct LiveView {
    screen: Screen,
    facts: Facts,
    state: State,
    /// The frozen state, while the display is paused.
    frozen: Option<State>,
    /// CPU time of the harness's own process at the latest row.
    own_cpu: Option<(Nanos, Duration)>,
    /// The totals at the latest row.
    counted: (Nanos, Totals),
    /// Clients lost, refused and failed, as of the latest log line.
    logged: [u64; 3],
}

impl Display {
    /// Takes the terminal, if there is one and the run may use it, until [`Display::finish`].
    pub fn open(is_plain: bool, facts: Facts, shutdown: &Shutdown) -> Self {
        let screen = if is_plain { None } else { Screen::open(shutdown) };
        let view = |screen| {
            let state = State::default();
            let counted = (0, Totals::default());
            Box::new(LiveView { screen, facts, state, frozen: None, own_cpu: None, counted, logged: [0; 3] })
        };
        Self(screen.map_or_else(|| Kind::Lines(Progress::stderr()), |screen| Kind::View(view(screen))))
    }

    /// Returns true if the display will have keys once it is open.
    pub fn has_keys(is_plain: bool) -> bool {
        !is_plain && Screen::is_possible()
    }

    /// Shows the run's new phase, and its end if the clock decides it.
    pub fn phase(&mut self, phase: Phase, now: Nanos, until: Option<Nanos>) {
        if let Kind::View(view) = &mut self.0 {
            let before = std::mem::replace(&mut view.state.phase, (phase, until));
            if matches!(phase, Phase::Sending | Phase::Staying) && until.is_some() {
                view.state.planned_end = until;
            }
            if before.0 != phase || now == 0 {
                view.state.add_line(now, phase.name().to_owned());
            }
        }
    }

    /// Shows the interval between messages from now on, and the planned interval.
    pub fn rate(&mut self, now: Nanos, interval: Duration, planned: Duration) {
        if let Kind::View(view) = &mut self.0 {
            let before = view.state.interval.replace((interval, planned));
            if before.is_some_and(|(before, _)| before != interval) {
                let rate = |interval: Duration| 1.0 / interval.as_secs_f64().max(1e-9);
                let before = before.map_or(0.0, |(before, _)| rate(before));
                let line = format!("{:.1} messages a second instead of {before:.1}", rate(interval));
                view.state.add_line(now, line);
            }
        }
    }

    /// Shows a line of a bot.
    pub fn said(&mut self, now: Nanos, line: String) {
        if let Kind::View(view) = &mut self.0 {
            view.state.add_said(now, line);
        }
    }

    /// Shows a row of the timeline. `own` is a sample of this process at that time.
    pub fn show(&mut self, now: Nanos, row: &Second, own: &Sample) {
        match &mut self.0 {
            Kind::Lines(lines) => lines.show(row),
            Kind::View(view) => view.add(now, row, own),
        }
    }

    /// Reads the keyboard, and draws when a frame is due. Handles quitting and pausing; returns a
    /// key that changes the rate.
    pub fn update(
        &mut self,
        now: Nanos,
        totals: &Totals,
        read_lag: Nanos,
        shutdown: &Shutdown,
    ) -> Option<RateKey> {
        let Kind::View(view) = &mut self.0 else { return None };
        if let Ok(key) = view.update(now, totals, read_lag, shutdown) {
            return key;
        }
        // The terminal is gone, but the run continues, and stderr may still have a reader.
        self.0 = Kind::Lines(Progress::stderr());
        None
    }

    /// Releases the terminal.
    pub fn finish(&mut self) {
        match &mut self.0 {
            Kind::Lines(lines) => lines.finish(),
            Kind::View(_) => self.0 = Kind::Lines(Progress::stderr()),
        }
    }
}

impl LiveView {
    fn add(&mut self, now: Nanos, row: &Second, own: &Sample) {
        let before = self.own_cpu.replace((now, own.cpu));
        let share = before
            .filter(|(at, _)| *at < now)
            .map(|(at, cpu)| own.cpu.saturating_sub(cpu).as_secs_f64() * 1e9 / (now - at) as f64);
        self.state.own = Own { cpu: share, rss_bytes: own.rss_bytes, ..self.state.own };
        self.state.add_row(row.clone());
        let counted = (now, self.state.totals);
        self.state.add_entering(Entering::between(&self.counted, &counted));
        self.counted = counted;
        self.log_losses(now);
    }

    fn update(
        &mut self,
        now: Nanos,
        totals: &Totals,
        read_lag: Nanos,
        shutdown: &Shutdown,
    ) -> io::Result<Option<RateKey>> {
        self.state.now = now;
        self.state.totals = *totals;
        if read_lag > 0 {
            self.state.own.read_lag = read_lag;
        }
        let mut rate_key = None;
        for action in self.screen.actions()? {
            self.screen.hurry();
            match action {
                Action::Quit if shutdown.is_requested() => shutdown.force(EXIT_INTERRUPTED.into()),
                Action::Quit => {
                    self.state.add_line(now, "ending with results; press again to end at once".into());
                    self.frozen = None;
                    shutdown.request(Cause::Interrupted);
                }
                Action::Pause => {
                    self.frozen = match self.frozen.take() {
                        None => Some(State { is_paused: true, ..self.state.clone() }),
                        Some(_) => None,
                    };
                }
                Action::Help => self.state.is_help = !self.state.is_help,
                Action::Rate(key) if self.facts.has_rate => rate_key = Some(key),
                Action::Rate(_) => {}
            }
        }
        if let Some(frozen) = &mut self.frozen {
            frozen.is_help = self.state.is_help;
        }
        let (facts, state) = (&self.facts, self.frozen.as_ref().unwrap_or(&self.state));
        self.screen.draw(|frame| draw(frame, facts, state))?;
        Ok(rate_key)
    }

    /// Logs clients that were lost, refused or failed since the latest row.
    fn log_losses(&mut self, now: Nanos) {
        let totals = &self.state.totals;
        let counts = [totals.disconnected, totals.refused, totals.failed];
        let names = ["lost", "refused", "failed"];
        let logged = std::mem::replace(&mut self.logged, counts);
        let changes = names.iter().zip(counts).zip(logged).filter(|((_, count), logged)| count > logged);
        let changes: Vec<String> = changes
            .map(|((name, count), logged)| format!("{} clients {name}", format_count(count - logged)))
            .collect();
        if !changes.is_empty() {
            self.state.add_line(now, changes.join(", "));
        }
    }
}
