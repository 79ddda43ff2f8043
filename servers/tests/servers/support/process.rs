//! `throng` as a process that is started on free ports, awaited until it is ready, and killed when
//! dropped.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;

use rusqlite::Connection;
use rusqlite::types::FromSql;
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use throng_core::clock::unix_ms;
use throng_core::crypto::{ClusterKey, PublicKey, Ticket};
use throng_core::wire::Text;
use throng_core::wire::packets::TicketBytes;

use super::{PATIENCE, wait_for};

/// Settings of every process: ports of the system's choice, cheap hashes, no log on the console,
/// and requests that no busy machine times out.
const SETTINGS: &[&str] = &[
    "login.listen=127.0.0.1:0",
    "chat.listen=127.0.0.1:0",
    "chat.link_listen=127.0.0.1:0",
    "dbagent.listen=127.0.0.1:0",
    "admin.listen=127.0.0.1:0",
    "dbagent.argon2_memory=8KiB",
    "dbagent.argon2_iterations=1",
    "log.console=false",
    // Beyond the tests' patience: only a lost link makes a server answer "try again later".
    "login.request_timeout=60s",
    "dbagent.request_timeout=59s",
];

/// The address and the public key of a server, as clients need them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ServerAddr {
    pub(crate) address: SocketAddr,
    pub(crate) key: PublicKey,
}

/// A data directory, deleted when dropped.
pub(crate) struct Home(TempDir);

impl Home {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    /// Creates a data directory with keys, which single roles require.
    pub(crate) fn with_keys() -> Self {
        let home = Self::new();
        let (code, stderr) = home.run("keygen", &[]);
        assert_eq!(code, Some(0), "{stderr}");
        home
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.0.path().join("data")
    }

    /// Starts `throng up` with these settings (`section.key=value`) besides the usual ones, and
    /// waits until it is ready, or says what is missing.
    pub(crate) fn up(&self, settings: &[&str]) -> Server {
        self.start("up", settings)
    }

    /// Starts a role and waits until it is ready. A single role whose peers do not run may say what
    /// is missing instead.
    pub(crate) fn start(&self, role: &str, settings: &[impl AsRef<str>]) -> Server {
        let is_single = role != "up";
        Server::start(self, role, settings, |line| {
            line == "ready" || is_single && line.starts_with("not ready: ")
        })
    }

    /// Starts a role and waits until it says what is missing.
    pub(crate) fn start_unready(&self, role: &str, settings: &[impl AsRef<str>]) -> Server {
        Server::start(self, role, settings, |line| line.starts_with("not ready: "))
    }

    /// Runs a command to its end. Returns its exit code and standard error.
    pub(crate) fn run(&self, command: &str, settings: &[&str]) -> (Option<i32>, String) {
        let (code, _, stderr) = self.run_and_read(command, settings);
        (code, stderr)
    }

    /// Runs a command of one or more words to its end. Returns its exit code, standard output and
    /// standard error.
    pub(crate) fn run_and_read(
        &self,
        command: &str,
        settings: &[impl AsRef<str>],
    ) -> (Option<i32>, String, String) {
        let mut child = self.spawn(command, settings);
        let stdout = lines_of(child.stdout.take().unwrap());
        let status = wait_for("the command ends", || child.try_wait().unwrap());
        let mut stderr = String::new();
        child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
        let stdout: Vec<String> = stdout.iter().collect();
        (status.code(), stdout.join("\n"), stderr)
    }

    /// Starts a command and does not wait for it.
    pub(crate) fn spawn(&self, command: &str, settings: &[impl AsRef<str>]) -> Child {
        let mut throng = Command::new(env!("CARGO_BIN_EXE_throng"));
        throng.env_clear().args(command.split(' ')).arg("--data").arg(self.path());
        let settings = settings.iter().map(AsRef::as_ref);
        throng.args(SETTINGS.iter().copied().chain(settings).flat_map(|setting| ["--set", setting]));
        throng.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    pub(crate) fn cluster_key(&self) -> ClusterKey {
        ClusterKey::load(&self.path().join("cluster.key")).unwrap()
    }

    /// Returns the single value that a query on the database returns.
    pub(crate) fn query<T: FromSql>(&self, sql: &str) -> T {
        let conn = Connection::open(self.path().join("throng.db")).unwrap();
        conn.busy_timeout(PATIENCE).unwrap();
        conn.query_row(sql, (), |row| row.get(0)).unwrap()
    }

    /// Returns the number of accounts that the database has as online.
    pub(crate) fn online(&self) -> i64 {
        self.query("SELECT count(*) FROM online")
    }

    /// Returns the number of those whose users have lost their connections.
    pub(crate) fn away(&self) -> i64 {
        self.query("SELECT count(*) FROM online WHERE is_away = 1")
    }

    /// Mints a ticket as the load harness does, for `account` at the chat server with `chat_key`;
    /// `change` may change it.
    pub(crate) fn mint(
        &self,
        chat_key: PublicKey,
        account: u64,
        change: impl FnOnce(&mut Ticket),
    ) -> TicketBytes {
        let name = Text::truncated(&format!("minted {account}"));
        let issued_ms = unix_ms();
        let expires_ms = issued_ms + 60_000;
        let mut ticket =
            Ticket { account, claim: 0, character: account, name, chat_key, issued_ms, expires_ms };
        change(&mut ticket);
        ticket.mint(&self.cluster_key()).unwrap()
    }
}

/// A process that is ready.
pub(crate) struct Server {
    child: Child,
    /// Lines that come after those that the server printed at its start.
    printed: Receiver<String>,
    /// The log file.
    log: PathBuf,
    lines: Vec<String>,
}

impl Server {
    fn start(home: &Home, role: &str, settings: &[impl AsRef<str>], is_last: impl Fn(&str) -> bool) -> Self {
        let mut child = home.spawn(role, settings);
        let printed = lines_of(child.stdout.take().unwrap());
        let log = if role == "up" { "throng.log".to_owned() } else { format!("throng-{role}.log") };
        let mut server = Self { child, printed, log: home.path().join(log), lines: Vec::new() };
        loop {
            match server.printed.recv_timeout(PATIENCE) {
                Ok(line) => {
                    let is_last = is_last(&line);
                    server.lines.push(line);
                    if is_last {
                        break;
                    }
                }
                Err(RecvTimeoutError::Timeout) => panic!("throng {role} is not ready after {PATIENCE:?}"),
                Err(RecvTimeoutError::Disconnected) => {
                    let mut stderr = String::new();
                    server.child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
                    panic!("throng {role} did not start: {stderr}");
                }
            }
        }
        server
    }

    /// Returns the rest of the line that the process printed for `name` before it was ready.
    fn said(&self, name: &str) -> &str {
        let said = self.lines.iter().find_map(|line| line.strip_prefix(&format!("{name:<14} ")));
        said.unwrap_or_else(|| panic!("the process printed no {name:?}: {:#?}", self.lines))
    }

    pub(crate) fn address(&self, name: &str) -> SocketAddr {
        self.said(name).split(' ').next().unwrap().parse().unwrap()
    }

    fn server_addr(&self, name: &str) -> ServerAddr {
        let (address, key) = self.said(name).split_once("  key ").unwrap();
        let mut server_addr = ServerAddr { address: address.parse().unwrap(), key: PublicKey::default() };
        hex::decode_to_slice(key, &mut server_addr.key).unwrap();
        server_addr
    }

    pub(crate) fn login(&self) -> ServerAddr {
        self.server_addr("login")
    }

    pub(crate) fn chat(&self) -> ServerAddr {
        self.server_addr("chat")
    }

    pub(crate) fn admin_address(&self) -> SocketAddr {
        let url = self.said("admin");
        url.trim_start_matches("http://").trim_end_matches("/metrics").parse().unwrap()
    }

    /// Returns the line that says what is missing.
    pub(crate) fn unready(&self) -> &str {
        self.lines.iter().find(|line| line.starts_with("not ready: ")).expect("it was not ready")
    }

    /// Waits until the server prints this line.
    pub(crate) fn wait_for_line(&self, wanted: &str) {
        while self.printed.recv_timeout(PATIENCE).unwrap() != wanted {}
    }

    /// Returns the text of the log so far.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Returns a page of the admin server.
    pub(crate) fn admin(&self, path: &str) -> String {
        let (status, body) = self.ask_admin(path);
        assert_eq!(status, 200, "{path}: {body}");
        body
    }

    /// Returns the status and the body of a page of the admin server.
    pub(crate) fn ask_admin(&self, path: &str) -> (u16, String) {
        let address = self.admin_address();
        let mut socket = TcpStream::connect_timeout(&address, PATIENCE).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        write!(socket, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
    }

    /// Returns the value of a metric, the sum over its labels; if `name` includes one label, over
    /// the lines that have it.
    pub(crate) fn metric(&self, name: &str) -> u64 {
        let page = self.admin("/metrics");
        let (bare, label) = name.split_once('{').unwrap_or((name, "}"));
        let label = label.trim_end_matches('}');
        let value = |line: &str| {
            let rest = line.strip_prefix(bare)?;
            let (labels, rest) =
                rest.strip_prefix('{').and_then(|rest| rest.split_once('}')).unwrap_or(("", rest));
            let has_label = label.is_empty() || labels.split(',').any(|known| known == label);
            rest.strip_prefix(' ').filter(|_| has_label)?.parse::<u64>().ok()
        };
        let values: Vec<u64> = page.lines().filter_map(value).collect();
        assert!(!values.is_empty(), "no metric {name}");
        values.iter().sum()
    }

    /// Returns the number of sessions that the process has closed for `reason`.
    pub(crate) fn closed_for(&self, reason: &str) -> u64 {
        self.metric(&format!("throng_net_closed_total{{reason=\"{reason}\"}}"))
    }

    /// Returns the number of links that take requests.
    pub(crate) fn links_up(&self) -> usize {
        self.admin("/links").matches("\":\"up\"").count()
    }

    /// Kills the process and waits until it is gone.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Waits until the process has ended by itself and returns its exit code.
    pub(crate) fn exit_code(mut self) -> Option<i32> {
        wait_for("the process ends", || self.child.try_wait().unwrap()).code()
    }

    fn log_tail(&self) -> String {
        let text = self.log();
        // The last lines, preceded by earlier errors.
        let lines: Vec<&str> = text.lines().collect();
        let (before, last) = lines.split_at(lines.len().saturating_sub(40));
        let errors = before.iter().filter(|line| line.contains("ERROR")).take(20);
        errors.chain(last).copied().collect::<Vec<_>>().join("\n")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("-- the end of {}:\n{}", self.log.display(), self.log_tail());
        }
        // Both calls fail only if the process has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Returns the lines that come out of `pipe`, which is read to its end so that the writer never
/// blocks.
fn lines_of(pipe: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, lines) = mpsc::channel();
    thread::spawn(move || {
        for line in BufReader::new(pipe).lines().map_while(Result::ok) {
            let _ = sender.send(line);
        }
    });
    lines
}
