//! A private PostgreSQL cluster with a directory and a port of its own. It ends with this process,
//! however the process ends.

use std::fs;
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

use tempfile::TempDir;
use throng_core::config::{Config, Engine, Secret};
use throng_servers::dbagent::migrate::migrate_odbc;
use throng_servers::dbagent::odbc::{Dialect, OdbcConnection, OdbcSource};

use super::{spare_port, wait_until};

/// The login role of a DB agent.
const AGENT: &str = "throng_agent_1";
const OWNER: &str = "throng_owner";

/// A running cluster.
pub(crate) struct Postgres {
    dir: TempDir,
    programs: PathBuf,
    pub(crate) port: u16,
    server: Option<Child>,
}

impl Postgres {
    /// Returns the cluster that all tests share; each test has a database of its own.
    pub(crate) fn shared() -> &'static Self {
        static SHARED: OnceLock<Postgres> = OnceLock::new();
        SHARED.get_or_init(Self::start)
    }

    /// Starts a cluster for a test that stops it.
    pub(crate) fn start() -> Self {
        let programs = programs();
        let dir = tempfile::Builder::new().prefix("throng-postgres").tempdir().unwrap();
        let mut postgres = Self { dir, programs, port: spare_port(), server: None };
        let root = postgres.dir.path();
        if is_root() {
            // PostgreSQL refuses to run as root, so its files belong to its own user.
            let status = Command::new("chown").arg("postgres").arg(root).status().unwrap();
            assert!(status.success());
        }
        let initdb = postgres
            .command("initdb")
            .args(["--pgdata", "data", "--username", "postgres", "--auth", "trust"])
            .args(["--encoding", "UTF8", "--locale", "C.UTF-8", "--no-sync"])
            .stdout(Stdio::null())
            .status()
            .unwrap();
        assert!(initdb.success(), "initdb");
        postgres.resume();
        postgres.sql("postgres", &format!("CREATE ROLE {OWNER} LOGIN; CREATE ROLE {AGENT} LOGIN"));
        postgres
    }

    /// Returns a command for a program of PostgreSQL's, in the cluster's directory and as a
    /// permitted user.
    fn command(&self, program: &str) -> Command {
        let program = self.programs.join(program);
        let mut command = if is_root() {
            let mut runuser = Command::new("runuser");
            runuser.args(["--user", "postgres", "--"]).arg(program);
            runuser
        } else {
            Command::new(program)
        };
        command.env("LC_ALL", "C.UTF-8").current_dir(self.dir.path()).process_group(0);
        command
    }

    /// Starts the server and waits until it accepts connections.
    pub(crate) fn resume(&mut self) {
        // The shell stops the server when it is told to, or when its input ends with this process.
        // In the latter case the files are not needed any more.
        let server = self.programs.join("postgres");
        let script = format!(
            "{} -D data -p {} -k {} -c listen_addresses=127.0.0.1 -c max_connections=300 -c fsync=off \
             -c shared_buffers=64MB -c log_min_messages=fatal >log 2>&1 & server=$!; \
             read -r word; kill -INT $server; wait $server; [ \"$word\" = keep ] || rm -rf {}",
            server.display(),
            self.port,
            self.dir.path().display(),
            self.dir.path().display(),
        );
        let mut shell = if is_root() {
            let mut runuser = Command::new("runuser");
            runuser.args(["--user", "postgres", "--", "sh"]);
            runuser
        } else {
            Command::new("sh")
        };
        shell.args(["-c", &script]).current_dir(self.dir.path()).stdin(Stdio::piped()).process_group(0);
        self.server = Some(shell.spawn().unwrap());
        wait_until("PostgreSQL accepts connections", || {
            let status = self
                .command("pg_isready")
                .args(["-q", "-h", "127.0.0.1", "-p", &self.port.to_string()])
                .status();
            status.is_ok_and(|status| status.success())
        });
    }

    /// Stops the server, which cuts off its clients.
    pub(crate) fn stop(&mut self) {
        let Some(mut server) = self.server.take() else { return };
        server.stdin.take().unwrap().write_all(b"keep\n").unwrap();
        server.wait().unwrap();
    }

    /// Runs SQL as the superuser and returns the output.
    pub(crate) fn sql(&self, database: &str, sql: &str) -> String {
        let mut psql = Command::new(self.programs.join("psql"))
            .args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-h", "127.0.0.1", "-U", "postgres"])
            .args(["-p", &self.port.to_string(), "-d", database, "-f", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        psql.stdin.take().unwrap().write_all(sql.as_bytes()).unwrap();
        let output = psql.wait_with_output().unwrap();
        assert!(output.status.success(), "psql: {sql}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// Creates a database with the schema, and an agent's login role that may only execute its
    /// procedures.
    pub(crate) fn database(&self) -> Database<'_> {
        let database = self.empty_database();
        migrate_odbc(&database.source(OWNER), 1).unwrap();
        database.grant();
        database
    }

    /// Creates an empty database.
    pub(crate) fn empty_database(&self) -> Database<'_> {
        static LAST: AtomicU32 = AtomicU32::new(0);
        let name = format!("throng_{}", LAST.fetch_add(1, Ordering::Relaxed));
        self.sql("postgres", &format!("CREATE DATABASE {name} OWNER {OWNER}"));
        Database { server: self, name }
    }

    /// Returns a database that exists already.
    #[allow(dead_code, reason = "for tests/chaos.rs, which shares this module")]
    pub(crate) fn existing(&self, name: &str) -> Database<'_> {
        Database { server: self, name: name.to_owned() }
    }

    /// Terminates every connection to the database, as an operator would.
    pub(crate) fn terminate_all(&self, database: &str) {
        self.sql(
            "postgres",
            &format!(
                "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = '{database}'"
            ),
        );
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.stop();
    }
}

/// A database of a cluster.
pub(crate) struct Database<'p> {
    server: &'p Postgres,
    pub(crate) name: String,
}

impl Database<'_> {
    /// Creates the agent's role and login from the file that the documentation names.
    pub(crate) fn grant(&self) {
        static TURN: Mutex<()> = Mutex::new(());
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../sql/postgres/agent_role.sql");
        let role = fs::read_to_string(file).unwrap();
        // The role belongs to the whole cluster, which the tests share.
        let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        self.sql(&format!("SET client_min_messages = error; {role}; GRANT throng_agent TO {AGENT}"));
    }

    pub(crate) fn sql(&self, sql: &str) -> String {
        self.server.sql(&self.name, sql)
    }

    /// Returns the source of connections for this user.
    fn source(&self, user: &str) -> OdbcSource {
        OdbcSource::new(&self.config(user), Dialect::Postgres).unwrap()
    }

    /// Returns the source of an agent's connections to another port.
    pub(crate) fn as_agent_at(&self, port: u16) -> OdbcSource {
        let mut config = self.config(AGENT);
        config.odbc.port = port.into();
        OdbcSource::new(&config, Dialect::Postgres).unwrap()
    }

    pub(crate) fn as_agent(&self) -> OdbcSource {
        self.source(AGENT)
    }

    pub(crate) fn as_owner(&self) -> OdbcSource {
        self.source(OWNER)
    }

    pub(crate) fn connect(&self) -> OdbcConnection {
        OdbcConnection::open(&self.as_owner()).unwrap()
    }

    fn config(&self, user: &str) -> Config {
        let mut config = Config::default();
        config.dbagent.engine = Engine::Postgres;
        config.odbc.port = self.server.port.into();
        config.odbc.database.clone_from(&self.name);
        config.odbc.user = user.into();
        config.odbc.password = Secret::new("unused");
        config
    }

    /// Returns the settings of a process that uses the database.
    pub(crate) fn settings(&self) -> Vec<String> {
        vec![
            "dbagent.engine=postgres".into(),
            format!("odbc.port={}", self.server.port),
            format!("odbc.database={}", self.name),
            format!("odbc.user={AGENT}"),
        ]
    }
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Returns the directory of PostgreSQL's programs. Debian keeps them by version, outside of PATH.
fn programs() -> PathBuf {
    let mut versions: Vec<PathBuf> = fs::read_dir("/usr/lib/postgresql")
        .map(|dir| dir.filter_map(|entry| Some(entry.ok()?.path().join("bin"))).collect())
        .unwrap_or_default();
    versions.retain(|bin| bin.join("initdb").exists());
    versions.sort();
    versions.pop().expect(
        "there is no PostgreSQL: scripts/setup installs what the tests need (postgresql, odbc-postgresql)",
    )
}
