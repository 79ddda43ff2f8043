//! The terminal while it is ours: raw, on its other screen, and given back however that ends.

use std::io::{self, IsTerminal};
use std::time::{Duration, Instant};

use ratatui::crossterm::event::{self, Event, KeyEvent};
use ratatui::{DefaultTerminal, Frame};
use throng_core::shutdown::Shutdown;

/// Time between two pictures, at least.
const REDRAW: Duration = Duration::from_millis(250);

/// Time between two looks at the keyboard, at least.
const LISTEN: Duration = Duration::from_millis(40);

/// The terminal.
#[derive(Debug)]
pub(crate) struct Screen {
    terminal: DefaultTerminal,
    redraw_at: Instant,
    listen_at: Instant,
}

impl Screen {
    /// Takes the terminal, if there is one on all three of stdin, stdout and stderr: what goes to a file, or comes from one, must
    /// not have pictures in it. A panic and a forced end give it back before anything is said.
    pub(crate) fn open(shutdown: &Shutdown) -> Option<Self> {
        let is_dumb = std::env::var_os("TERM").is_none_or(|term| term.is_empty() || term == "dumb");
        let all = io::stdin().is_terminal() && io::stdout().is_terminal() && io::stderr().is_terminal();
        if is_dumb || !all {
            return None;
        }
        let terminal = ratatui::try_init().inspect_err(|_| ratatui::restore()).ok()?;
        shutdown.before_forced_end(ratatui::restore);
        let now = Instant::now();
        Some(Self { terminal, redraw_at: now, listen_at: now })
    }

    /// The keys that were pressed since the last look. Never waits.
    pub(crate) fn keys(&mut self) -> io::Result<Vec<KeyEvent>> {
        let mut keys = Vec::new();
        let now = Instant::now();
        if now < self.listen_at {
            return Ok(keys);
        }
        self.listen_at = now + LISTEN;
        while event::poll(Duration::ZERO)? {
            match event::read()? {
                Event::Key(key) => keys.push(key),
                Event::Resize(..) => self.redraw_at = now,
                _ => {}
            }
        }
        Ok(keys)
    }

    /// Has the next picture drawn without delay.
    pub(crate) fn hurry(&mut self) {
        self.redraw_at = Instant::now();
    }

    /// Draws a picture if the last one is old enough.
    pub(crate) fn draw(&mut self, picture: impl FnOnce(&mut Frame<'_>)) -> io::Result<()> {
        let now = Instant::now();
        if now >= self.redraw_at {
            self.redraw_at = now + REDRAW;
            self.terminal.draw(picture)?;
        }
        Ok(())
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        ratatui::restore();
    }
}
