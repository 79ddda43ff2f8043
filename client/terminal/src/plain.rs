//! Lines in, lines out: for pipes, screen readers and bots.
//!
//! Each line of stdin is said, or is a command. Each line of stdout begins with its tab in
//! brackets: `[World] Bee: hello`, `[#hive] * 2 came`. Complaints go to stderr. At the end of stdin
//! the client leaves, once what it has said has come back.

use std::io::{self, BufRead, IsTerminal, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::ExitCode;
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant};

use throng_client::Driver;
use zeroize::Zeroizing;

use crate::StartError;
use crate::args::Args;
use crate::command;
use crate::door::{Door, Progress};
use crate::model::{After, Model, State};
use crate::servers;
use crate::tab::Kind;
use crate::transcript::Transcript;

/// Longest wait for stdin before events are looked at.
const STEP: Duration = Duration::from_millis(20);

/// Time after the end of stdin within which the last messages come back.
const FAREWELL: Duration = Duration::from_secs(5);

/// Bytes that a file of a password may have.
const PASSWORD_FILE_MAX: u64 = 4 * 1_024;

/// Runs the client until stdin ends, or the chat does.
pub fn run(args: &Args) -> Result<ExitCode, StartError> {
    let settings = servers::find(args)?;
    let id = args.user.as_deref().ok_or(StartError::Usage("--plain needs --user ID"))?;
    let password = password(args)?;
    let driver = Driver::start(settings).map_err(StartError::io("a socket"))?;
    let mut stdout = io::stdout();
    let character = args.character.as_deref().unwrap_or_default();
    let mut door = Door::new(id, password, character, args.sign_up, Instant::now());
    loop {
        let mut progress = door.knock(&driver, Instant::now());
        let mut event = None;
        if progress == Progress::None {
            event = driver.wait_event(STEP);
            if let Some(event) = &event {
                progress = door.handle(event, Instant::now());
            }
        }
        match (progress, event) {
            (Progress::Waiting(text), _) => eprintln!("{text}"),
            (Progress::Refused(_, text), _) => {
                eprintln!("{text}");
                return Ok(ExitCode::FAILURE);
            }
            (Progress::Open, Some(entered)) => {
                let mut model = Model::new(transcript(args)?);
                model.handle(entered, &driver);
                return chat(model, &driver, &lines_of_stdin(), &mut stdout)
                    .map_err(StartError::io("stdout"));
            }
            (Progress::None | Progress::Open, _) => {}
        }
    }
}

/// Returns the lines of stdin, read on a thread.
fn lines_of_stdin() -> Receiver<String> {
    let (sender, lines) = sync_channel(64);
    std::thread::spawn(move || {
        let mut stdin = io::stdin().lock();
        let mut line = Vec::new();
        while stdin.read_until(b'\n', &mut line).is_ok_and(|count| count > 0) {
            let text = String::from_utf8_lossy(&line).into_owned();
            if sender.send(text).is_err() {
                return;
            }
            line.clear();
        }
    });
    lines
}

fn chat(
    mut model: Model,
    driver: &Driver,
    lines: &Receiver<String>,
    out: &mut impl Write,
) -> io::Result<ExitCode> {
    let mut end: Option<Instant> = None;
    loop {
        print(&mut model, out)?;
        if end.is_some_and(|end| end <= Instant::now()) {
            return Ok(ExitCode::SUCCESS);
        }
        match lines.recv_timeout(if end.is_some() { Duration::ZERO } else { STEP }) {
            Ok(line) => match command::parse(&line) {
                None => {}
                Some(Err(error)) => model.error(error.to_string()),
                Some(Ok(command)) => match model.carry_out(command, driver) {
                    After::Quit => end = Some(Instant::now() + FAREWELL),
                    After::Stay => {}
                },
            },
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => {
                end.get_or_insert(Instant::now() + FAREWELL);
            }
        }
        let patience = if end.is_some() { STEP } else { Duration::ZERO };
        let mut event = driver.wait_event(patience);
        while let Some(it) = event {
            model.handle(it, driver);
            event = driver.poll_event();
        }
        let is_settled = driver.command(|client, _| !client.is_waiting());
        if end.is_some() && is_settled {
            end = Some(Instant::now());
        }
        if model.state == State::Out {
            print(&mut model, out)?;
            return Ok(if end.is_some() { ExitCode::SUCCESS } else { ExitCode::FAILURE });
        }
    }
}

/// Prints the new lines of all tabs, and forgets them.
fn print(model: &mut Model, out: &mut impl Write) -> io::Result<()> {
    for tab in &mut model.tabs {
        for line in tab.lines.drain(..) {
            match line.kind {
                Kind::Error => eprintln!("[{}] {}", tab.title, line.text),
                _ => writeln!(out, "[{}] {line}", tab.title)?,
            }
        }
    }
    if let Err(error) = model.transcript.flush() {
        eprintln!("cannot write the log, which ends here: {error}");
    }
    out.flush()
}

/// Returns the file of all lines, if there is to be one.
pub(crate) fn transcript(args: &Args) -> Result<Transcript, StartError> {
    let Some(path) = &args.log else { return Ok(Transcript::default()) };
    let name = path.display().to_string();
    let (transcript, mode) = Transcript::append_to(path).map_err(StartError::io(&name))?;
    private(name, mode)?;
    Ok(transcript)
}

/// Refuses a file with these permission bits that others may read.
fn private(path: String, mode: u32) -> Result<(), StartError> {
    let mode = mode & 0o777;
    if mode & 0o077 != 0 {
        return Err(StartError::Exposed { path, mode });
    }
    Ok(())
}

/// Returns the password of the file, or asks for it.
pub(crate) fn password(args: &Args) -> Result<Zeroizing<String>, StartError> {
    match &args.password_file {
        Some(path) => read_password(path),
        None if io::stdin().is_terminal() => {
            let text = rpassword::prompt_password("password: ").map_err(StartError::io("the terminal"))?;
            Ok(Zeroizing::new(text))
        }
        None => Err(StartError::Usage("without a terminal the password comes with --password-file FILE")),
    }
}

fn read_password(path: &Path) -> Result<Zeroizing<String>, StartError> {
    let name = path.display().to_string();
    let file = std::fs::File::open(path).map_err(StartError::io(&name))?;
    let mode = file.metadata().map_err(StartError::io(&name))?.permissions().mode();
    private(name.clone(), mode)?;
    let mut text = Zeroizing::new(String::new());
    file.take(PASSWORD_FILE_MAX).read_to_string(&mut text).map_err(StartError::io(name))?;
    Ok(Zeroizing::new(text.trim_end_matches(['\r', '\n']).into()))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use clap::Parser;

    use super::*;

    #[test]
    fn lines_are_not_appended_to_a_file_that_others_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let args = Args::parse_from(["throng-client", "--log", path.to_str().unwrap()]);
        transcript(&args).unwrap();
        transcript(&args).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(matches!(transcript(&args), Err(StartError::Exposed { mode: 0o644, .. })));
    }

    #[test]
    fn a_password_is_read_from_a_private_file_only() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("password");
        fs::write(&path, "a long password\n").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(read_password(&path), Err(StartError::Exposed { mode: 0o640, .. })));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        assert_eq!(&**read_password(&path).unwrap(), "a long password");
    }
}
