//! The table of keys: the one place that says what can be configured.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::table::settings;
use super::units::ByteSize;
use super::value::{HostPort, Name, Peers, Secret, config_enum};
use crate::limits::{
    ARGON2_ITERATIONS_MAX, ARGON2_KIB_MAX, CHANNELS_MAX, CHANNELS_PER_USER_MAX, QUEUE_MAX, SECTOR_SIZE_MAX,
    SESSIONS_MAX, SHARDS_MAX, THREADS_MAX,
};
use crate::log::Filter;

config_enum! {
    /// What happens when an account that is online logs in again.
    Duplicate {
        /// The second login is refused.
        Refuse = "refuse",
        /// The first session is closed and the second login takes over.
        Kick = "kick",
    }
}

config_enum! {
    /// What keeps the accounts.
    Engine {
        /// The embedded SQLite.
        Sqlite = "sqlite",
        /// PostgreSQL, through ODBC.
        Postgres = "postgres",
        /// Microsoft SQL Server, or Babelfish, through ODBC.
        MsSql = "mssql",
    }
}

const fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

const fn kib(kibibytes: u64) -> ByteSize {
    ByteSize::new(kibibytes << 10)
}

const ARGON2_MEMORY_MAX: ByteSize = kib(ARGON2_KIB_MAX as u64);

settings! {
    /// What an operator can set. [`Config::load`] makes one, `Config::default()` has the defaults.
    pub Config {
        /// Where the process keeps its files.
        data: Data {
            /// Directory for keys, database, log, crash reports and `endpoints.toml`. Other
            /// paths are relative to it; it is itself relative to the working directory.
            dir: PathBuf = "throng-data";
        }

        /// The login server.
        login: Login {
            /// Where clients connect.
            listen: SocketAddr = "127.0.0.1:9000";
            /// The server's name among the others. Each server needs its own.
            name: String = "login-1" in Name;
            /// Most clients at one time; further ones are told "server full".
            max_sessions: usize = "4000" in 1..=SESSIONS_MAX;
            /// The file with the server's own key, which proves to clients who it is.
            key_file: PathBuf = "login.key";
            /// The chat servers to send players to (their `chat.link_listen`).
            chat: Vec<SocketAddr> = "127.0.0.1:9201" in Peers;
            /// The DB agents to ask (their `dbagent.listen`).
            dbagent: Vec<SocketAddr> = "127.0.0.1:9300" in Peers;
            /// When an account that is online logs in again: refuse the newcomer, or kick the old session.
            duplicate: Duplicate = "refuse";
            /// How long a client's request may wait for another server before it is answered "try again later".
            request_timeout: Duration = "1500ms" in ms(10)..=secs(60);
        }

        /// The chat server.
        chat: Chat {
            /// Where clients connect.
            listen: SocketAddr = "127.0.0.1:9200";
            /// Where login servers connect.
            link_listen: SocketAddr = "127.0.0.1:9201";
            /// The server's name among the others. Each server needs its own.
            name: String = "chat-1" in Name;
            /// The address that clients are told to connect to. Empty means `chat.listen`: set it
            /// when that is 0.0.0.0 or behind a translating router.
            public_address: String = "" in HostPort;
            /// Most clients at one time; further ones are told "server full".
            max_sessions: usize = "12000" in 1..=SESSIONS_MAX;
            /// The file with the server's own key, which proves to clients who it is.
            key_file: PathBuf = "chat.key";
            /// The DB agents to ask (their `dbagent.listen`).
            dbagent: Vec<SocketAddr> = "127.0.0.1:9300" in Peers;
            /// Most channels at one time.
            channels: usize = "20000" in 1..=CHANNELS_MAX;
            /// Most channels that one user may be in at a time.
            channels_per_user: usize = "16" in 1..=CHANNELS_PER_USER_MAX;
            /// The side of a sector, in the game's units. What is said nearby reaches the speaker's sector and the eight around it.
            sector_size: u32 = "100" in 1..=SECTOR_SIZE_MAX;
            /// Users up to whom a room tells of each that enters or leaves at once. With more, it tells once an interval.
            notice_at_once: usize = "64" in 0..=SESSIONS_MAX;
            /// That interval.
            notice_interval: Duration = "500ms" in ms(10)..=secs(60);
        }

        /// Tickets, which a login server issues and a chat server admits by.
        ticket: Ticket {
            /// How long a ticket is valid after its issue. Clocks of servers must agree better than this.
            lifetime: Duration = "30s" in secs(1)..=secs(600);
        }

        /// The DB agent.
        dbagent: DbAgent {
            /// Where login and chat servers connect.
            listen: SocketAddr = "127.0.0.1:9300";
            /// The agent's name among the servers. Each server needs its own.
            name: String = "dbagent-1" in Name;
            /// What keeps the accounts: the embedded SQLite, or a database server that section `[odbc]` leads to.
            engine: Engine = "sqlite";
            /// The database file (SQLite). It is made when it is missing.
            database: PathBuf = "throng.db";
            /// Threads that talk to the database and hash passwords, each with its own connection.
            threads: usize = "2" in 1..=THREADS_MAX;
            /// Requests that may wait for a thread; further ones are answered "try again later".
            queue: usize = "1024" in 1..=QUEUE_MAX;
            /// How long a request may wait for a thread; after that it is answered "try again later".
            /// Below `login.request_timeout`, so that the answer comes in time.
            request_timeout: Duration = "1s" in ms(10)..=secs(60);
            /// Memory that hashing one password takes (argon2id), in whole KiB. Less than 19MiB with
            /// two iterations is weaker than OWASP advises. Existing passwords keep what they were made with.
            argon2_memory: ByteSize = "19MiB" in kib(8)..=ARGON2_MEMORY_MAX;
            /// Passes over that memory.
            argon2_iterations: u32 = "2" in 1..=ARGON2_ITERATIONS_MAX;
            /// How long an account stays "online" without a word from the server that holds it.
            lease: Duration = "15s" in ms(100)..=secs(600);
            /// How long a server whose link came back has to name the accounts that it holds.
            lease_grace: Duration = "1s" in secs(0)..=secs(60);
        }

        /// The way to the database server, where `dbagent.engine` is one. See "A database server" above.
        odbc: Odbc {
            /// The driver: a name from odbcinst.ini, or the path of its .so. Empty: the first one found of those that are
            /// usual for the engine.
            driver: String = "";
            /// The machine that the database server runs on.
            server: String = "127.0.0.1";
            /// The port that it listens on; 0 is the usual one of the engine.
            port: u32 = "0" in 0..=65_535;
            /// The database.
            database: String = "throng";
            /// The user that the DB agent logs in as: a member of the role `throng_agent`. `throng db migrate` needs the owner.
            user: String = "";
            /// The user's password. Better in a file or in THRONG_ODBC_PASSWORD than on a command line.
            password: Secret = "", secret;
            /// A file with the password, which only its owner can read; goes before `password`.
            password_file: Option<PathBuf> = "";
            /// More attributes for the driver, such as "Encrypt=yes;TrustServerCertificate=yes".
            options: Secret = "", secret;
            /// A whole connection string, instead of all of the above.
            connection_string: Secret = "", secret;
            /// How long connecting may take, in whole seconds.
            connect_timeout: Duration = "3s" in secs(1)..=secs(60);
            /// How long a statement may take before it is cancelled, in whole seconds for SQL Server.
            query_timeout: Duration = "2s" in secs(1)..=secs(600);
            /// How long a statement may wait for a lock.
            lock_timeout: Duration = "1s" in ms(10)..=secs(600);
        }

        /// The event loops that talk to clients, for each role of the process.
        net: Net {
            /// Event-loop threads of a role.
            shards: usize = "1" in 1..=SHARDS_MAX;
            /// How long a new connection may take for its handshake.
            handshake_timeout: Duration = "5s" in ms(10)..=secs(600);
            /// How long a client may wait after the handshake before its first packet.
            first_packet_timeout: Duration = "5s" in ms(10)..=secs(600);
            /// After how long without a word from a client it is asked whether it is still there.
            heartbeat: Duration = "45s" in ms(10)..=secs(600);
            /// After how long without a word from a client it is closed.
            idle_timeout: Duration = "100s" in ms(20)..=secs(3600);
            /// How long a closed connection may take to receive the reason.
            linger: Duration = "1s" in secs(0)..=secs(60);
            /// Bytes that may wait to be sent to one client; one that reads too slowly is closed beyond that.
            outbox: ByteSize = "1MiB" in kib(64)..=kib(1 << 20);
            /// Bytes of a room's messages that a shard keeps for members who are behind. Who is further behind is told how
            /// many it has missed. Counted in pieces of 64 KiB, as the next two.
            chat_log: ByteSize = "1MiB" in kib(128)..=kib(1 << 20);
            /// Bytes of a room's notices of who enters and leaves that a shard keeps. Who is further behind goes without.
            notice_log: ByteSize = "128KiB" in kib(128)..=kib(1 << 20);
            /// Bytes of messages and notices that a shard keeps for all rooms together.
            log_pool: ByteSize = "64MiB" in kib(1024)..=kib(16 << 20);
            /// Bytes that the system may hold for one client, beside what the server itself holds. More lets a client on a long and fast
            /// line receive faster, and hides from the server for longer that one does not read.
            send_buffer: ByteSize = "256KiB" in kib(16)..=kib(16 << 10);
            /// How long a client may take nothing, while something waits for it, before it is closed as too slow.
            slow_timeout: Duration = "30s" in ms(100)..=secs(3600);
            /// Commands that may wait for a shard.
            mailbox: usize = "8192" in 16..=QUEUE_MAX;
            /// Connections that may wait in the kernel to be accepted. The system may allow fewer
            /// (`net.core.somaxconn`).
            backlog: i32 = "4096" in 1..=65_535;
        }

        /// The threads that handle packets, for each role of the process.
        content: Content {
            /// Threads of a role. A session's packets always go to the same one.
            threads: usize = "1" in 1..=THREADS_MAX;
            /// Packets that may wait for a thread; sessions are not read while it is full.
            lane: usize = "4096" in 16..=QUEUE_MAX;
            /// Members from which on a room's messages are sealed once, with a key of the room's own, and not for each.
            log_from: usize = "16" in 2..=SESSIONS_MAX;
            /// How long a room's key is used. The next message after that is sealed with a new one.
            key_lifetime: Duration = "10m" in secs(1)..=secs(86_400);
        }

        /// Links between servers.
        link: Link {
            /// After how long without a word over a link a heartbeat is sent.
            heartbeat: Duration = "1s" in ms(10)..=secs(60);
            /// After how long without a word over a link it is taken for dead.
            timeout: Duration = "4s" in ms(20)..=secs(600);
            /// The first pause after a failed connection; each further one is twice as long, give or take.
            retry_min: Duration = "50ms" in ms(1)..=secs(60);
            /// The longest pause between two attempts.
            retry_max: Duration = "1s" in ms(1)..=secs(600);
            /// Bytes that may wait to be sent over one link; it is reset beyond that.
            outbox: ByteSize = "16MiB" in kib(64)..=kib(4 << 20);
            /// The file with the key that all servers of a cluster share.
            cluster_key_file: PathBuf = "cluster.key";
        }

        /// The log.
        log: Log {
            /// What is logged: a level, and after commas TARGET=LEVEL for parts of the program. Can be
            /// changed while the process runs (`PUT /log` of the admin server).
            level: Filter = "info";
            /// Whether to log to stderr.
            console: bool = "true";
            /// The file to log to as well.
            file: Option<PathBuf> = "throng.log";
            /// At which size a new file is begun.
            file_size: ByteSize = "16MiB" in kib(4)..=kib(4 << 20);
            /// How many files are kept, with the one being written: throng.log, throng.log.1 and so on.
            files: usize = "5" in 1..=1000;
        }

        /// The admin HTTP server: /health, /metrics, /links, /log.
        admin: Admin {
            /// Where it listens. It asks for no password: keep it on loopback.
            listen: Option<SocketAddr> = "127.0.0.1:9400";
        }

        /// How the process ends.
        shutdown: Shutdown {
            /// How long clients are given to receive what is waiting for them. After a crash
            /// the process is ended after 5s in any case.
            drain: Duration = "3s" in secs(0)..=secs(600);
        }
    }
}
