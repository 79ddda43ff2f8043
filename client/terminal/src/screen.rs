//! The terminal: raw mode, the alternate screen, and the loop of keys, events and frames.

use std::io::{self, Stdout, stdout};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use ratatui::backend::CrosstermBackend;
use ratatui::crossterm::cursor::Show;
use ratatui::crossterm::event::{
    self, DisableBracketedPaste, DisableMouseCapture, EnableBracketedPaste, EnableMouseCapture,
};
use ratatui::crossterm::execute;
use ratatui::crossterm::terminal::{
    Clear, ClearType, EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode, size,
};
use ratatui::layout::{Position, Rect};
use ratatui::{Terminal, TerminalOptions, Viewport};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use throng_client::{Client, Driver};
use tui_input::Input;

use crate::StartError;
use crate::app::{App, Form};
use crate::args::Args;
use crate::door::Door;
use crate::keys::{Action, action};
use crate::model::{Model, State};
use crate::{plain, servers, view};

/// Longest time between an event of the chat and the frame that shows it. A key is shown at once.
const FRAME: Duration = Duration::from_millis(16);

/// Pause between two measurements of the round trip.
const PING_EVERY: Duration = Duration::from_secs(15);

/// Time that the loop has to end in order.
const PATIENCE: Duration = Duration::from_secs(1);

/// The terminal, restored when dropped.
struct Screen(Terminal<CrosstermBackend<Stdout>>);

fn restore() {
    // There is nothing left to do if the terminal is gone.
    let _ = execute!(stdout(), DisableMouseCapture, DisableBracketedPaste, LeaveAlternateScreen, Show);
    let _ = disable_raw_mode();
}

impl Screen {
    fn open(has_mouse: bool) -> io::Result<Self> {
        let hook = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            restore();
            hook(info);
        }));
        enable_raw_mode()?;
        execute!(stdout(), EnterAlternateScreen, EnableBracketedPaste)
            .and_then(|()| if has_mouse { execute!(stdout(), EnableMouseCapture) } else { Ok(()) })
            .and_then(|()| new_terminal())
            .map(Self)
            .inspect_err(|_| restore())
    }
}

/// Returns an empty terminal of the present size. Its viewport is fixed: otherwise ratatui clears
/// it by itself after a resize, and asks the terminal for the cursor, whose answer comes among the
/// keys.
fn new_terminal() -> io::Result<Terminal<CrosstermBackend<Stdout>>> {
    execute!(stdout(), Clear(ClearType::All))?;
    let (width, height) = size()?;
    let viewport = Viewport::Fixed(Rect::new(0, 0, width, height));
    Terminal::with_options(CrosstermBackend::new(stdout()), TerminalOptions { viewport })
}

impl Drop for Screen {
    fn drop(&mut self) {
        restore();
    }
}

/// Runs the client until the person quits.
pub fn run(args: &Args) -> Result<ExitCode, StartError> {
    let settings = servers::find(args)?;
    let server = settings.server.clone();
    let driver = Arc::new(Driver::start(settings).map_err(StartError::io("a socket"))?);
    let transcript = plain::transcript(args)?;
    let mut app = App { model: Model::new(transcript), ..App::default() };
    let mut form = Form {
        id: Input::new(args.user.clone().unwrap_or_default()),
        name: Input::new(args.character.clone().unwrap_or_default()),
        is_sign_up: args.sign_up,
        status: format!("server {server}"),
        ..Form::default()
    };
    form.focus = usize::from(args.user.is_some());
    if args.password_file.is_some() {
        let password = plain::password(args)?;
        app.door =
            Some(Door::new(form.id.value(), password, form.name.value(), args.sign_up, Instant::now()));
    }
    app.form = Some(form);

    let is_stopped = Arc::new(AtomicBool::new(false));
    end_on_signals(is_stopped.clone(), Arc::downgrade(&driver)).map_err(StartError::io("signals"))?;
    let terminal = StartError::io("the terminal: --plain needs none");
    let mut screen = Screen::open(args.mouse).map_err(terminal)?;
    let result = run_loop(&mut app, &mut screen.0, &driver, &is_stopped);
    drop(screen);
    result.map_err(StartError::io("the terminal"))?;
    Ok(ExitCode::SUCCESS)
}

/// Ends the program on SIGTERM, SIGHUP and SIGINT: in order if its loop goes on, and else at once.
/// A terminal that is gone keeps crossterm reading for ever. The thread does not keep the driver,
/// which leaves the chat as it is dropped.
fn end_on_signals(is_stopped: Arc<AtomicBool>, driver: Weak<Driver>) -> io::Result<()> {
    let mut signals = Signals::new([SIGTERM, SIGHUP, SIGINT])?;
    std::thread::Builder::new().name("signals".into()).spawn(move || {
        if let Some(signal) = signals.forever().next() {
            is_stopped.store(true, Ordering::Relaxed);
            std::thread::sleep(PATIENCE);
            if let Some(driver) = driver.upgrade() {
                driver.command(Client::log_out);
                std::thread::sleep(FRAME);
            }
            restore();
            std::process::exit(128 + signal);
        }
    })?;
    Ok(())
}

fn run_loop(
    app: &mut App,
    terminal: &mut Terminal<CrosstermBackend<Stdout>>,
    driver: &Driver,
    is_stopped: &AtomicBool,
) -> io::Result<()> {
    let (mut is_changed, mut drawn_at) = (true, Instant::now());
    let mut ping_at = Instant::now();
    while !app.is_over && !is_stopped.load(Ordering::Relaxed) {
        let mut is_urgent = false;
        // A key is waited for, and every key that has come is taken before a frame.
        let mut wait = FRAME;
        while event::poll(wait)? {
            wait = Duration::ZERO;
            if let Some(action) = action(event::read()?) {
                is_urgent = true;
                if action == Action::Redraw {
                    *terminal = new_terminal()?;
                }
                let screen = Rect::from((Position::ORIGIN, terminal.size()?));
                app.act(action, driver, screen);
            }
        }
        is_changed |= app.take_events(driver);
        if app.model.state == State::In && ping_at <= Instant::now() {
            // Without a place there is no round trip to measure.
            let _ = driver.command(Client::ping);
            ping_at = Instant::now() + PING_EVERY;
        }
        if let Err(error) = app.model.transcript.flush() {
            app.model.error(format!("cannot write the log, which ends here: {error}"));
        }
        // The time since the connection was lost is on the screen.
        is_changed |= matches!(app.model.state, State::Away(_));
        if is_urgent || is_changed && drawn_at.elapsed() >= FRAME {
            let screen = Rect::from((Position::ORIGIN, terminal.size()?));
            app.look_up_users(driver, screen);
            terminal.draw(|frame| view::draw(frame, app))?;
            (is_changed, drawn_at) = (false, Instant::now());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Read;
    use std::process::{Command, Stdio};

    use rustix::fs::{Mode, OFlags, open};
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
    use rustix::termios::{LocalModes, tcgetattr};

    use super::*;

    /// Set in the process that panics.
    const PANICS: &str = "THRONG_TEST_PANICS";

    #[test]
    fn a_panic_leaves_the_terminal_as_it_was() {
        if std::env::var_os(PANICS).is_some() {
            let _screen = Screen::open(true).unwrap();
            panic!("the panic itself");
        }
        let controller = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&controller).unwrap();
        unlockpt(&controller).unwrap();
        let name = ptsname(&controller, Vec::new()).unwrap();
        let terminal = File::from(open(&*name, OFlags::RDWR | OFlags::NOCTTY, Mode::empty()).unwrap());
        let before = tcgetattr(&terminal).unwrap().local_modes;
        assert!(before.contains(LocalModes::ICANON | LocalModes::ECHO));
        let copy = || Stdio::from(terminal.try_clone().unwrap());
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "screen::tests::a_panic_leaves_the_terminal_as_it_was", "--nocapture"])
            .env(PANICS, "1")
            .stdin(copy())
            .stdout(copy())
            .stderr(copy())
            .spawn()
            .unwrap();
        assert!(!child.wait().unwrap().success());
        assert_eq!(tcgetattr(&terminal).unwrap().local_modes, before);

        // The terminal holds all that was written: less than its buffer.
        drop(terminal);
        let mut written = Vec::new();
        // The end of a terminal without a program is an error.
        let _ = File::from(controller).read_to_end(&mut written);
        let written = String::from_utf8_lossy(&written);
        let at = |text: &str| written.find(text).unwrap_or_else(|| panic!("no {text:?} in {written:?}"));
        let (restored, told) = (at("\u{1b}[?1049l"), at("the panic itself"));
        assert!(at("\u{1b}[?1049h") < restored && restored < told, "{written:?}");
        assert!(at("\u{1b}[?1000l") < told && at("\u{1b}[?2004l") < told, "{written:?}");
    }
}
