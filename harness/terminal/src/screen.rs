//! The terminal while it is ours: raw, on its other screen, and given back however that ends.

use std::io::{self, IsTerminal, Stdout};
use std::panic;
use std::sync::Once;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use ratatui::backend::CrosstermBackend;
use ratatui::crossterm::cursor::Show;
use ratatui::crossterm::execute;
use ratatui::crossterm::terminal::{
    Clear, ClearType, EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode,
};
use ratatui::{Frame, Terminal};
use throng_core::shutdown::Shutdown;

use super::keyboard::Keyboard;
use crate::Action;

/// Time between two pictures, at least.
const REDRAW: Duration = Duration::from_millis(250);

/// Time between two looks at the keyboard, at least.
const LISTEN: Duration = Duration::from_millis(40);

/// Whether the terminal is raw and on its other screen. It must be left once and not twice: leaving puts the cursor to where it was
/// when the screen was entered, and so onto what has been written since.
static IS_TAKEN: AtomicBool = AtomicBool::new(false);

/// The terminal.
#[derive(Debug)]
pub struct Screen {
    /// There until it is given back.
    terminal: Option<Terminal<CrosstermBackend<Stdout>>>,
    keyboard: Keyboard,
    redraw_at: Instant,
    listen_at: Instant,
}

impl Screen {
    /// Whether there is a terminal that can be taken.
    pub fn is_possible() -> bool {
        let is_dumb = std::env::var_os("TERM").is_none_or(|term| term.is_empty() || term == "dumb");
        let all = io::stdin().is_terminal() && io::stdout().is_terminal() && io::stderr().is_terminal();
        !is_dumb && all
    }

    /// Takes the terminal, if there is one on all three of stdin, stdout and stderr: what goes to a file, or comes from one, must
    /// not have pictures in it. A panic and a forced end give it back before anything is said.
    pub fn open(shutdown: &Shutdown) -> Option<Self> {
        if !Self::is_possible() {
            return None;
        }
        let terminal = take().inspect_err(|_| _ = give_back()).ok()?;
        shutdown.before_forced_end(|| _ = give_back());
        let now = Instant::now();
        Some(Self { terminal: Some(terminal), keyboard: Keyboard::default(), redraw_at: now, listen_at: now })
    }

    /// What somebody wants by the keys that were pressed since the last look. Never waits; fails when the terminal is gone.
    pub fn actions(&mut self) -> io::Result<Vec<Action>> {
        let now = Instant::now();
        if now < self.listen_at {
            return Ok(Vec::new());
        }
        self.listen_at = now + LISTEN;
        self.keyboard.typed(io::stdin())
    }

    /// Has the next picture drawn without delay.
    pub fn hurry(&mut self) {
        self.redraw_at = Instant::now();
    }

    /// Draws a picture if the last one is old enough, in the size that the terminal has by then. Fails when a panic somewhere has
    /// given the terminal back.
    pub fn draw(&mut self, picture: impl FnOnce(&mut Frame<'_>)) -> io::Result<()> {
        let Some(terminal) = self.terminal.as_mut().filter(|_| IS_TAKEN.load(Ordering::Acquire)) else {
            return Err(io::ErrorKind::NotConnected.into());
        };
        let now = Instant::now();
        if now >= self.redraw_at {
            self.redraw_at = now + REDRAW;
            terminal.draw(picture)?;
        }
        Ok(())
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        if !give_back() {
            // Dropped, it would show the cursor once more, and panic about a terminal that is gone on a stderr that is gone with it.
            std::mem::forget(self.terminal.take());
        }
    }
}

/// Makes the terminal raw, and goes to its other screen. From now on a panic gives it back before it says anything.
fn take() -> io::Result<Terminal<CrosstermBackend<Stdout>>> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            let _ = give_back();
            before(info);
        }));
    });
    IS_TAKEN.store(true, Ordering::Release);
    enable_raw_mode()?;
    // There may still be the picture of the run before.
    execute!(io::stdout(), EnterAlternateScreen, Clear(ClearType::All))?;
    Terminal::new(CrosstermBackend::new(io::stdout()))
}

/// Leaves the other screen and the raw mode, and shows the cursor, which pictures have none of; only once. False if it has been done
/// before, or the terminal is gone, which needs neither.
fn give_back() -> bool {
    IS_TAKEN.swap(false, Ordering::AcqRel) && {
        let is_left = execute!(io::stdout(), LeaveAlternateScreen, Show).is_ok();
        disable_raw_mode().is_ok() && is_left
    }
}
