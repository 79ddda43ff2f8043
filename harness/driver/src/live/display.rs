//! What a run shows of itself: a picture in the terminal if it has one, else a line a second.
//!
//! All of it happens on the run's own thread, which otherwise sleeps, and only from numbers that workers have published anyway.

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

/// What a run shows of itself.
#[derive(Debug)]
pub struct Display(Kind);

#[derive(Debug)]
enum Kind {
    Lines(Progress<io::Stderr>),
    Picture(Box<Picture>),
}

#[derive(Debug)]
struct Picture {
    screen: Screen,
    facts: Facts,
    state: State,
    /// What is shown while the display stands still.
    still: Option<State>,
    /// The harness's process when it was last looked at.
    sampled: Option<(Nanos, Duration)>,
    /// The totals when clients that came in were last counted.
    counted: (Nanos, Totals),
    /// Clients lost, refused and failed, as they were last told.
    told: [u64; 3],
}

impl Display {
    /// Takes the terminal if there is one and the run may have it, until [`Display::finish`].
    pub fn open(is_plain: bool, facts: Facts, shutdown: &Shutdown) -> Self {
        let screen = if is_plain { None } else { Screen::open(shutdown) };
        let picture = |screen| {
            let state = State::default();
            let counted = (0, Totals::default());
            Box::new(Picture { screen, facts, state, still: None, sampled: None, counted, told: [0; 3] })
        };
        Self(screen.map_or_else(|| Kind::Lines(Progress::stderr()), |screen| Kind::Picture(picture(screen))))
    }

    /// Whether somebody may press keys once it is open.
    pub fn has_keys(is_plain: bool) -> bool {
        !is_plain && Screen::is_possible()
    }

    /// The run does something else from now on. A clock may decide when that ends.
    pub fn phase(&mut self, phase: Phase, now: Nanos, until: Option<Nanos>) {
        if let Kind::Picture(picture) = &mut self.0 {
            let before = std::mem::replace(&mut picture.state.phase, (phase, until));
            if before.0 != phase || now == 0 {
                picture.state.add_line(now, phase.name().to_owned());
            }
        }
    }

    /// The time between two messages from now on, and as planned.
    pub fn rate(&mut self, now: Nanos, interval: Duration, planned: Duration) {
        if let Kind::Picture(picture) = &mut self.0 {
            let before = picture.state.interval.replace((interval, planned));
            if before.is_some_and(|(before, _)| before != interval) {
                let rate = |interval: Duration| 1.0 / interval.as_secs_f64().max(1e-9);
                let before = before.map_or(0.0, |(before, _)| rate(before));
                let line = format!("{:.1} messages a second instead of {before:.1}", rate(interval));
                picture.state.add_line(now, line);
            }
        }
    }

    /// Shows a row of the timeline, and the harness's own process at that time.
    pub fn show(&mut self, now: Nanos, row: &Second, own: &Sample) {
        match &mut self.0 {
            Kind::Lines(lines) => lines.show(row),
            Kind::Picture(picture) => picture.add(now, row, own),
        }
    }

    /// Looks at the keyboard, and draws when it is time. Quitting and standing still are dealt with here; what is left for the run
    /// is a key for another rate.
    pub fn look(
        &mut self,
        now: Nanos,
        totals: &Totals,
        read_lag: Nanos,
        shutdown: &Shutdown,
    ) -> Option<RateKey> {
        let Kind::Picture(picture) = &mut self.0 else { return None };
        if let Ok(key) = picture.look(now, totals, read_lag, shutdown) {
            return key;
        }
        // The terminal is gone. The run is not, and its lines may still find somebody.
        self.0 = Kind::Lines(Progress::stderr());
        None
    }

    /// Gives the terminal back.
    pub fn finish(&mut self) {
        match &mut self.0 {
            Kind::Lines(lines) => lines.finish(),
            Kind::Picture(_) => self.0 = Kind::Lines(Progress::stderr()),
        }
    }
}

impl Picture {
    fn add(&mut self, now: Nanos, row: &Second, own: &Sample) {
        let before = self.sampled.replace((now, own.cpu));
        let share = before
            .filter(|(at, _)| *at < now)
            .map(|(at, cpu)| own.cpu.saturating_sub(cpu).as_secs_f64() * 1e9 / (now - at) as f64);
        self.state.own = Own { cpu: share, rss_bytes: own.rss_bytes, ..self.state.own };
        self.state.add_row(row.clone());
        let counted = (now, self.state.totals);
        self.state.add_entering(Entering::between(&self.counted, &counted));
        self.counted = counted;
        self.tell_losses(now);
    }

    fn look(
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
        let mut wanted = None;
        for action in self.screen.actions()? {
            self.screen.hurry();
            match action {
                Action::Quit if shutdown.is_requested() => shutdown.force(EXIT_INTERRUPTED.into()),
                Action::Quit => {
                    self.state.add_line(now, "ending with results; once more to end at once".into());
                    self.still = None;
                    shutdown.request(Cause::Interrupted);
                }
                Action::Pause => {
                    self.still = match self.still.take() {
                        None => Some(State { is_paused: true, ..self.state.clone() }),
                        Some(_) => None,
                    };
                }
                Action::Rate(key) if self.facts.has_rate => wanted = Some(key),
                Action::Rate(_) => {}
            }
        }
        let (facts, state) = (&self.facts, self.still.as_ref().unwrap_or(&self.state));
        self.screen.draw(|frame| draw(frame, facts, state))?;
        Ok(wanted)
    }

    /// A line when since the last row more clients were lost, or will not get in.
    fn tell_losses(&mut self, now: Nanos) {
        let totals = &self.state.totals;
        let counts = [totals.disconnected, totals.refused, totals.failed];
        let names = ["lost", "refused", "failed"];
        let told = std::mem::replace(&mut self.told, counts);
        let news = names.iter().zip(counts).zip(told).filter(|((_, count), told)| count > told);
        let news: Vec<String> = news
            .map(|((name, count), told)| format!("{} clients {name}", format_count(count - told)))
            .collect();
        if !news.is_empty() {
            self.state.add_line(now, news.join(", "));
        }
    }
}
