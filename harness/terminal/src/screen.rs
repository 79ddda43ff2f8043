//! Ownership of the terminal: raw mode and the alternate screen.
//!
//! The terminal is restored however the program ends, also by a panic or a forced end.

use std::io::{self, IsTerminal, Stdout};
use std::panic;
use std::sync::Once;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use ratatui::backend::CrosstermBackend;
use ratatui::crossterm::cursor::Show;
use ratatui::crossterm::execute;
use ratatui::crossterm::terminal::{
    Clear, ClearType, EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode, size,
};
use ratatui::{Frame, Terminal};
use throng_core::shutdown::Shutdown;

use super::keyboard::Keyboard;
use crate::{Action, ascii};

/// Columns of the terminal that stdout is; none if it is none, or has no size.
pub fn stdout_columns() -> Option<usize> {
    let size = io::stdout().is_terminal().then(size)?;
    size.ok().map(|(columns, _)| usize::from(columns)).filter(|columns| *columns > 0)
}

/// The shortest time between two frames.
const REDRAW: Duration = Duration::from_millis(250);

/// The shortest time between two reads of the keyboard.
const POLL: Duration = Duration::from_millis(40);

/// True while the terminal is raw and on the alternate screen. It must be restored only once:
/// leaving the alternate screen moves the cursor back to where it was on entry, onto text that has
/// been written since.
static IS_TAKEN: AtomicBool = AtomicBool::new(false);

/// The terminal while the harness owns it.
#[derive(Debug)]
pub struct Screen {
    /// Present until the terminal is restored.
    terminal: Option<Terminal<CrosstermBackend<Stdout>>>,
    keyboard: Keyboard,
    redraw_at: Instant,
    poll_at: Instant,
    is_utf8: bool,
}

impl Screen {
    /// True if there is a terminal that can be taken.
    pub fn is_possible() -> bool {
        let is_dumb = std::env::var_os("TERM").is_none_or(|term| term.is_empty() || term == "dumb");
        let are_terminals =
            io::stdin().is_terminal() && io::stdout().is_terminal() && io::stderr().is_terminal();
        !is_dumb && are_terminals
    }

    /// Takes the terminal if stdin, stdout and stderr all are one; redirected output must not
    /// contain drawings. A panic and a forced end restore the terminal before they print anything.
    pub fn open(shutdown: &Shutdown) -> Option<Self> {
        if !Self::is_possible() {
            return None;
        }
        let terminal = acquire().inspect_err(|_| _ = restore()).ok()?;
        shutdown.before_forced_end(|| _ = restore());
        let now = Instant::now();
        let is_utf8 = ascii::is_utf8(|name| std::env::var(name).ok());
        let keyboard = Keyboard::default();
        Some(Self { terminal: Some(terminal), keyboard, redraw_at: now, poll_at: now, is_utf8 })
    }

    /// Returns the actions of the keys pressed since the last call. Never blocks; fails when the
    /// terminal is gone.
    pub fn actions(&mut self) -> io::Result<Vec<Action>> {
        let now = Instant::now();
        if now < self.poll_at {
            return Ok(Vec::new());
        }
        self.poll_at = now + POLL;
        self.keyboard.read_actions(io::stdin())
    }

    /// Makes the next call of [`Self::draw`] draw without delay.
    pub fn hurry(&mut self) {
        self.redraw_at = Instant::now();
    }

    /// Draws a frame in the terminal's current size, if the last one is old enough. Fails if a
    /// panic elsewhere has restored the terminal.
    pub fn draw(&mut self, render: impl FnOnce(&mut Frame<'_>)) -> io::Result<()> {
        let Some(terminal) = self.terminal.as_mut().filter(|_| IS_TAKEN.load(Ordering::Acquire)) else {
            return Err(io::ErrorKind::NotConnected.into());
        };
        let now = Instant::now();
        if now >= self.redraw_at {
            self.redraw_at = now + REDRAW;
            terminal.draw(|frame| {
                render(frame);
                if !self.is_utf8 {
                    ascii::replace(frame.buffer_mut());
                }
            })?;
        }
        Ok(())
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        if !restore() {
            // Its drop would show the cursor once more, and panic if the terminal and stderr are
            // gone.
            std::mem::forget(self.terminal.take());
        }
    }
}

/// Makes the terminal raw and enters the alternate screen. A later panic restores the terminal
/// before it prints its message.
fn acquire() -> io::Result<Terminal<CrosstermBackend<Stdout>>> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let previous = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            let _ = restore();
            previous(info);
        }));
    });
    IS_TAKEN.store(true, Ordering::Release);
    enable_raw_mode()?;
    // The last frame of an earlier run may still be there.
    execute!(io::stdout(), EnterAlternateScreen, Clear(ClearType::All))?;
    Terminal::new(CrosstermBackend::new(io::stdout()))
}

/// Leaves the alternate screen and raw mode, and shows the cursor. Returns false if this was done
/// before or the terminal is gone; neither needs anything more.
fn restore() -> bool {
    IS_TAKEN.swap(false, Ordering::AcqRel) && {
        let is_left = execute!(io::stdout(), LeaveAlternateScreen, Show).is_ok();
        disable_raw_mode().is_ok() && is_left
    }
}
