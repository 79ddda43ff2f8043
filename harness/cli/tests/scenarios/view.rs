//! The binary in a terminal: its display, its keys, and the terminal's state afterwards.

use std::fs::File;
use std::io::{Read, Write};
use std::num::NonZero;
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags};
use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, Termios, Winsize, tcgetattr, tcsetwinsize};
use serde_json::Value;
use throng_core::shutdown::Shutdown;
use throng_harness_driver::live::{Display, Facts, Subject};

use crate::binary;
use crate::stub::{Script, Stub};

const PATIENCE: Duration = Duration::from_mins(1);
const ROWS: NonZero<u16> = NonZero::new(24).unwrap();
const COLUMNS: NonZero<u16> = NonZero::new(80).unwrap();

/// A pseudo-terminal and the text written to it.
struct Pty {
    /// The user's side; `None` once it is closed.
    person: Option<File>,
    reader: Option<JoinHandle<()>>,
    is_over: Arc<AtomicBool>,
    /// The program's side.
    program: OwnedFd,
    shown: Arc<Mutex<vt100::Parser>>,
    before: Termios,
}

impl Pty {
    fn open() -> Self {
        let person = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&person).unwrap();
        unlockpt(&person).unwrap();
        let name = ptsname(&person, Vec::new()).unwrap();
        let program = rustix::fs::open(name, OFlags::RDWR | OFlags::NOCTTY, Mode::empty()).unwrap();
        tcsetwinsize(
            &program,
            Winsize { ws_row: ROWS.get(), ws_col: COLUMNS.get(), ws_xpixel: 0, ws_ypixel: 0 },
        )
        .unwrap();
        let before = tcgetattr(&program).unwrap();
        let shown = Arc::new(Mutex::new(vt100::Parser::new(ROWS, COLUMNS, 200)));
        let person = File::from(person);
        let (mut side, screen) = (person.try_clone().unwrap(), shown.clone());
        let is_over = Arc::new(AtomicBool::new(false));
        let ends = is_over.clone();
        let reader = thread::spawn(move || {
            let mut bytes = [0; 4096];
            while !ends.load(Ordering::Relaxed) {
                let wait = Timespec { tv_sec: 0, tv_nsec: 20_000_000 };
                if poll(&mut [PollFd::new(&side, PollFlags::IN)], Some(&wait)).unwrap() == 0 {
                    continue;
                }
                // Fails when the program's side is closed.
                let Ok(read @ 1..) = side.read(&mut bytes) else { break };
                screen.lock().unwrap().process(&bytes[..read]);
            }
        });
        Self { person: Some(person), reader: Some(reader), is_over, program, shown, before }
    }

    fn spawn(&self, command: &mut Command) -> Child {
        let end = || Stdio::from(self.program.try_clone().unwrap());
        command
            .stdin(end())
            .stdout(end())
            .stderr(end())
            .env("TERM", "xterm-256color")
            .env("RUST_BACKTRACE", "0")
            .env("LC_ALL", "C.UTF-8")
            .spawn()
            .unwrap()
    }

    fn press(&mut self, keys: &str) {
        self.person.as_mut().unwrap().write_all(keys.as_bytes()).unwrap();
    }

    /// Closes the terminal's window.
    fn hang_up(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        self.reader.take().unwrap().join().unwrap();
        self.person = None;
    }

    fn text(&self) -> String {
        self.shown.lock().unwrap().screen().contents()
    }

    /// The text on the screen and in the scrollback.
    fn history(&self) -> String {
        let mut shown = self.shown.lock().unwrap();
        let mut rows = Vec::new();
        shown.screen_mut().set_scrollback(usize::MAX);
        for above in (0..=shown.screen().scrollback()).rev() {
            shown.screen_mut().set_scrollback(above);
            rows.extend(shown.screen().rows(0, COLUMNS.get()).next());
        }
        rows.extend(shown.screen().rows(0, COLUMNS.get()).skip(1));
        rows.join("\n")
    }

    #[track_caller]
    fn wait_for(&self, wanted: &str) {
        self.wait_until(wanted, |pty| pty.text().contains(wanted));
    }

    #[track_caller]
    fn wait_until(&self, what: &str, is_so: impl Fn(&Self) -> bool) {
        let begun = Instant::now();
        while !is_so(self) {
            assert!(begun.elapsed() < PATIENCE, "no {what:?} in\n{}", self.text());
            thread::sleep(Duration::from_millis(10));
        }
    }

    fn is_raw(&self) -> bool {
        !tcgetattr(&self.program).unwrap().local_modes.contains(LocalModes::ICANON)
    }

    /// Checks that the terminal is in cooked mode, on its main screen, with a cursor.
    #[track_caller]
    fn expect_restored(&self) {
        let now = tcgetattr(&self.program).unwrap();
        assert_eq!((now.local_modes, now.input_modes), (self.before.local_modes, self.before.input_modes));
        assert_eq!(now.output_modes, self.before.output_modes);
        // The reader may not yet have the last bytes.
        self.wait_until("the usual screen", |pty| {
            let shown = pty.shown.lock().unwrap();
            !shown.screen().alternate_screen() && !shown.screen().hide_cursor()
        });
    }
}

fn harness(stub: &Stub, scenario: &str, more: &str) -> Command {
    with_default_clients(stub, scenario, &format!("--clients 8 {more}"))
}

fn with_default_clients(stub: &Stub, scenario: &str, more: &str) -> Command {
    let mut command = binary();
    command.arg(scenario).args(stub.flags(scenario)).args(["--seed", "1"]).args(more.split_whitespace());
    command
}

#[test]
fn keys_change_the_rate_and_end_the_run_and_the_terminal_is_restored() {
    let stub = Stub::start(Script::default());
    let dir = tempfile::tempdir().unwrap();
    let json = dir.path().join("report.json");
    let mut pty = Pty::open();
    let traffic = "--interval 20ms --duration 10m --warmup 20ms";
    let mut child = pty.spawn(harness(&stub, "broadcast", traffic).arg("--json").arg(&json));
    pty.wait_for(" broadcast  127.0.0.1:");
    pty.wait_for("8 of 8 connected");
    pty.wait_for(" 50.0/s offered");
    pty.wait_for(" sending");
    assert!(pty.is_raw());
    pty.press("+");
    pty.wait_for(" 62.5/s offered (planned 50.0/s)");
    pty.press("-");
    pty.wait_for(" 46.9/s offered (planned 50.0/s)");
    pty.press("p");
    pty.wait_for("PAUSED");
    pty.press("p0");
    pty.wait_for(" 50.0/s offered, ");
    pty.press("q");
    assert_eq!(child.wait().unwrap().code(), Some(130), "{}", pty.text());
    pty.expect_restored();
    pty.wait_for("broadcast: INTERRUPTED: ");
    let report: Value = serde_json::from_slice(&std::fs::read(&json).unwrap()).unwrap();
    assert_eq!(report["verdict"], "interrupted");
    assert_eq!(report["deliveries"]["missing"], 0);
    let changes = report["rate_changes"].as_array().unwrap();
    let intervals: Vec<f64> = changes.iter().map(|change| change["interval_us"].as_f64().unwrap()).collect();
    assert_eq!(intervals, [16_000.0, 21_333.333, 20_000.0]);
    assert!(changes.windows(2).all(|pair| pair[0]["at_s"].as_f64() <= pair[1]["at_s"].as_f64()));
}

#[test]
fn the_key_ctrl_c_ends_a_run_as_the_signal_does() {
    let stub = Stub::start(Script::default());
    let mut pty = Pty::open();
    let mut child = pty.spawn(&mut harness(&stub, "connect", "--duration 10m"));
    pty.wait_for(" staying");
    assert!(!pty.text().contains("rate"), "{}", pty.text());
    pty.press("\x03");
    assert_eq!(child.wait().unwrap().code(), Some(130), "{}", pty.text());
    pty.expect_restored();
}

#[test]
fn a_key_that_arrives_with_a_resize_is_handled() {
    let stub = Stub::start(Script::default());
    let mut pty = Pty::open();
    let mut child = pty.spawn(&mut harness(&stub, "connect", "--duration 10m"));
    pty.wait_for(" staying");
    for (rows, shown) in [(30, "PAUSED"), (24, " p  pause "), (30, "PAUSED")] {
        let size = Winsize { ws_row: rows, ws_col: COLUMNS.get(), ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&pty.program, size).unwrap();
        pty.press("p");
        kill_process(Pid::from_child(&child), Signal::WINCH).unwrap();
        pty.wait_for(shown);
    }
    // The beginning of an escape sequence, never completed.
    pty.press("\x1b[");
    pty.press("\x03");
    assert_eq!(child.wait().unwrap().code(), Some(130), "{}", pty.text());
    pty.expect_restored();
}

#[test]
fn a_ramp_shows_each_step_and_ends_with_one_key() {
    // Beside the stub's delay that of a busy machine is short, and so makes no step invalid.
    let stub = Stub::start(Script { delay: Duration::from_millis(500), ..Script::default() });
    let mut pty = Pty::open();
    let traffic =
        "--steps 2,3,4 --interval 20ms --duration 4s --warmup 20ms --drain 10s --pause 3s --slo 10s";
    let mut child = pty.spawn(&mut with_default_clients(&stub, "ramp", traffic));
    pty.wait_for(" ramp  step 1 of 3, 2 clients  127.0.0.1:");
    assert!(!pty.text().contains("rate"), "{}", pty.text());
    // Between two steps the terminal is restored, and shows the first step's result.
    pty.wait_until("the first step's beginning and result", |pty| {
        let text = pty.text();
        text.contains("step 1 of 3: 2 clients, 50.0 messages/s for 4s") && text.contains("step 1: ")
    });
    // If the first step is repeated after all, there are four.
    pty.wait_for(" ramp  step 2 of ");
    pty.wait_for("1  2 clients  ");
    pty.press("q");
    assert_eq!(child.wait().unwrap().code(), Some(130), "{}", pty.text());
    pty.expect_restored();
    pty.wait_until("INTERRUPTED", |pty| pty.history().contains("INTERRUPTED"));
    let all = pty.history();
    assert!(all.contains("step 2 of ") && !all.contains("step 3"), "{all}");
}

#[test]
fn a_run_goes_on_without_its_terminal() {
    let stub = Stub::start(Script::default());
    let dir = tempfile::tempdir().unwrap();
    let json = dir.path().join("report.json");
    let mut pty = Pty::open();
    let mut child = pty.spawn(harness(&stub, "connect", "--duration 2s").arg("--json").arg(&json));
    pty.wait_for(" staying");
    pty.hang_up();
    assert_eq!(child.wait().unwrap().code(), Some(0));
    let report: Value = serde_json::from_slice(&std::fs::read(&json).unwrap()).unwrap();
    assert_eq!((&report["verdict"], &report["clients"]["connected"]), (&"pass".into(), &8.into()));
}

#[test]
fn a_plain_ramp_leaves_the_terminal_alone() {
    let stub = Stub::start(Script::default());
    let pty = Pty::open();
    let traffic = "--steps 2 --interval 20ms --duration 1s --warmup 20ms --drain 1s --slo 10s --plain";
    let mut child = pty.spawn(&mut with_default_clients(&stub, "ramp", traffic));
    pty.wait_for("1s  2 connected");
    assert!(!pty.is_raw());
    child.wait().unwrap();
    pty.expect_restored();
    assert!(pty.history().contains("step 1: "), "{}", pty.history());
}

#[test]
fn a_plain_run_leaves_the_terminal_alone() {
    let stub = Stub::start(Script::default());
    let pty = Pty::open();
    let mut child = pty.spawn(&mut harness(&stub, "connect", "--duration 1500ms --plain"));
    pty.wait_for("1s  8 connected");
    assert!(!pty.is_raw());
    assert_eq!(child.wait().unwrap().code(), Some(0), "{}", pty.text());
    pty.expect_restored();
}

// Not a test: the process for the test below that panics or is killed.
#[test]
fn child_with_an_abnormal_end() {
    let Ok(end) = std::env::var("VIEW_CHILD") else { return };
    let shutdown = Shutdown::new();
    let facts = Facts {
        scenario: "view",
        target: String::new(),
        seed: 0,
        requested: 1,
        is_to_all: false,
        has_rate: false,
        subject: Subject::Messages,
        latency_limit: None,
        standing: None,
    };
    let mut display = Display::open(false, facts, &shutdown);
    assert!(Display::has_keys(false));
    display.update(0, &throng_harness_model::results::Totals::default(), 0, &shutdown);
    match end.as_str() {
        "panic" => panic!("on purpose"),
        "panic elsewhere" => {
            assert!(thread::spawn(|| panic!("on purpose")).join().is_err());
            // The message of a panicking thread is an error, and errors go to the main screen.
            drop(display);
            std::process::exit(1);
        }
        _ => shutdown.force(130),
    }
}

#[test]
fn the_terminal_is_restored_after_a_panic_and_a_forced_end() {
    for (end, code) in [("panic", 101), ("panic elsewhere", 1), ("force", 130)] {
        let pty = Pty::open();
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "view::child_with_an_abnormal_end", "--nocapture"]);
        let mut child = pty.spawn(command.env("VIEW_CHILD", end));
        assert_eq!(child.wait().unwrap().code(), Some(code), "{end}\n{}", pty.text());
        pty.expect_restored();
        if end != "force" {
            pty.wait_for("on purpose");
        }
    }
}
