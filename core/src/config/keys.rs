//! The table of keys: the one place that defines them.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;

use super::rate::Rate;
use super::table::settings;
use super::units::ByteSize;
use super::value::{
    HostNames, HostPort, MaybePeers, Name, Peers, ReservedNames, Secret, WorldName, config_enum,
};
use crate::host::HostAddress;
use crate::limits::{
    ARGON2_ITERATIONS_MAX, ARGON2_KIB_MAX, CHANNELS_MAX, CHANNELS_PER_USER_MAX, HISTORY_MAX, HISTORY_PAGE,
    LOGIN_QUEUE_MAX, QUEUE_MAX, RESUME_WINDOW_MAX, SECTOR_SIZE_MAX, SESSIONS_MAX, SHARDS_MAX, THREADS_MAX,
    TICKET_LIFETIME_MAX,
};
use crate::log::Filter;

config_enum! {
    /// Policy for a login to an account that is already online.
    Duplicate {
        /// The second login is refused.
        Refuse = "refuse",
        /// The first session is closed and the second login takes over.
        Kick = "kick",
    }
}

config_enum! {
    /// Treatment of control characters in chat texts.
    ControlCharacters {
        /// The message is refused.
        Refuse = "refuse",
        /// The message is delivered without them.
        Drop = "drop",
    }
}

config_enum! {
    /// Storage of the accounts.
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
    /// The operator's settings. [`Config::load`] reads them, `Config::default()` has the defaults.
    pub Config {
        /// The files of the process.
        data: Data {
            /// Directory for keys, database, log, crash reports and `endpoints.toml`. Relative
            /// paths in other keys are relative to it; it is itself relative to the working
            /// directory.
            dir: PathBuf = "throng-data";
        }

        /// The login server.
        login: Login {
            /// Address that clients connect to.
            listen: SocketAddr = "127.0.0.1:9000";
            /// Name of the server; different for each server.
            name: String = "login-1" in Name;
            /// Maximum of clients at one time; further clients are refused with "server full".
            max_sessions: usize = "4000" in 1..=SESSIONS_MAX;
            /// File with the server's private key, which authenticates the server to clients.
            key_file: PathBuf = "login.key";
            /// Chat servers that players are sent to (their `chat.link_listen`).
            chat: Vec<HostAddress> = "127.0.0.1:9201" in Peers;
            /// DB agents to link to (their `dbagent.listen`).
            dbagent: Vec<HostAddress> = "127.0.0.1:9300" in Peers;
            /// Policy for a login to an account that is already online: refuse the login, or kick
            /// the old session. The place of a lost connection (`chat.resume_window`) is always
            /// given up.
            duplicate: Duplicate = "refuse";
            /// Time that a client may stay without a ticket, whatever it sends. Time in the queue
            /// (`login.queue`) does not count.
            stay: Duration = "2m" in ms(100)..=secs(3600);
            /// Time that a client's request may wait for another server before the answer is "try
            /// again later".
            request_timeout: Duration = "1500ms" in ms(10)..=secs(60);
            /// Most logins, sign-ups and new characters that wait until the DB agents have time for
            /// their password's hash. Beyond it the answer is "try again later", first for the
            /// addresses with the most requests.
            queue: usize = "10000" in 1..=LOGIN_QUEUE_MAX;
        }

        /// The chat server.
        chat: Chat {
            /// Address that clients connect to.
            listen: SocketAddr = "127.0.0.1:9200";
            /// Address that login servers connect to.
            link_listen: SocketAddr = "127.0.0.1:9201";
            /// Name of the server; different for each server.
            name: String = "chat-1" in Name;
            /// Address that clients are told to connect to. Empty means `chat.listen`: set it if
            /// `chat.listen` is 0.0.0.0 or behind a translating router.
            public_address: String = "" in HostPort;
            /// Maximum of clients at one time; further clients are refused with "server full".
            max_sessions: usize = "12000" in 1..=SESSIONS_MAX;
            /// File with the server's private key, which authenticates the server to clients.
            key_file: PathBuf = "chat.key";
            /// DB agents to link to (their `dbagent.listen`).
            dbagent: Vec<HostAddress> = "127.0.0.1:9300" in Peers;
            /// Maximum of channels at one time.
            channels: usize = "20000" in 1..=CHANNELS_MAX;
            /// Maximum of channels that one user may be in at a time.
            channels_per_user: usize = "16" in 1..=CHANNELS_PER_USER_MAX;
            /// Treatment of control characters in chat texts: refuse the message, or drop them from
            /// it. They include line breaks, tabs, terminals' escape sequences and overrides of
            /// the direction of text.
            control_characters: ControlCharacters = "refuse";
            /// Side of a sector, in the game's units. Nearby messages reach the sender's sector and
            /// the eight around it.
            sector_size: u32 = "100" in 1..=SECTOR_SIZE_MAX;
            /// Largest room, in users, that announces each user entering or leaving at once; larger
            /// rooms batch the changes every `notice_interval`.
            notice_at_once: usize = "64" in 0..=SESSIONS_MAX;
            /// Interval at which larger rooms announce the users that entered or left.
            notice_interval: Duration = "500ms" in ms(10)..=secs(60);
            /// Messages of each room that are kept, for clients that resume or page back. 0 keeps
            /// none.
            history: usize = "1000" in 0..=HISTORY_MAX;
            /// Memory for the messages of all rooms together. Beyond it the oldest of all go first.
            history_pool: ByteSize = "64MiB" in kib(64)..=kib(16 << 20);
            /// Time for which a message is kept.
            history_age: Duration = "10m" in secs(1)..=secs(86_400);
            /// Latest messages of a channel that a user is sent when it joins.
            history_on_join: usize = "20" in 0..=HISTORY_PAGE;
            /// Latest messages of the whole chat that a user is sent when it enters.
            history_on_enter: usize = "0" in 0..=HISTORY_PAGE;
            /// Time for which a user whose connection is lost keeps its place, and may resume over
            /// a new one. It stays in the lists, and only then the others are told that it has
            /// left. 0s lets it leave at once.
            resume_window: Duration = "30s" in secs(0)..=RESUME_WINDOW_MAX;
        }

        /// A fleet: several chat servers with one world, over NATS JetStream. See "A fleet" above.
        fleet: Fleet {
            /// Addresses of NATS servers. Empty means that this chat server is the only one.
            nats: Vec<HostAddress> = "" in MaybePeers;
            /// Name of the world that the chat servers share: part of the names of its stream,
            /// bucket and object store.
            world: String = "world" in WorldName;
            /// User of the chat servers, if NATS asks for one with a password.
            user: String = "";
            /// Password of the user. Use THRONG_FLEET_PASSWORD rather than the command line.
            password: Secret = "", secret;
            /// File with the seed of an nkey, readable by its owner only.
            nkey_file: Option<PathBuf> = "";
            /// Credentials file of NATS (a JWT and its seed), readable by its owner only.
            credentials_file: Option<PathBuf> = "";
            /// True to refuse NATS servers without TLS.
            tls: bool = "false";
            /// File with the certificates of authorities that NATS servers may have theirs from.
            tls_ca: Option<PathBuf> = "";
            /// NATS servers that keep each fact: 1 for a trial, 3 in production.
            replicas: usize = "1" in 1..=5;
            /// True to have NATS keep facts in memory only. A NATS server that starts again then
            /// begins an empty world.
            in_memory: bool = "false";
            /// Time for which facts are kept. A server that was away for longer takes a snapshot.
            retention: Duration = "10m" in secs(120)..=secs(86_400);
            /// Bytes of facts that are kept.
            retention_size: ByteSize = "1GiB" in kib(16 << 10)..=kib(1 << 30);
            /// Silence of a chat server after which it says that it is alive.
            heartbeat: Duration = "250ms" in ms(10)..=secs(60);
            /// Silence of a chat server after which the others declare it dead. Its users may
            /// resume at any other.
            dead_after: Duration = "1200ms" in ms(40)..=secs(600);
        }

        /// Ids of accounts, and names of characters and channels.
        names: Names {
            /// Ids and names that players cannot take, whatever their case, their accents, and the
            /// blanks and punctuation in them; nor names that look like them. `throng db import`
            /// can.
            reserved: Vec<String> = "admin,administrator,moderator,system,support,staff,gm,throng" in ReservedNames;
        }

        /// Tickets, which login servers issue and chat servers accept.
        ticket: Ticket {
            /// Validity of a ticket after its issue. The clocks of the servers must agree better
            /// than this, and to 5s: a ticket from the future is refused.
            lifetime: Duration = "30s" in secs(1)..=TICKET_LIFETIME_MAX;
        }

        /// The DB agent.
        dbagent: DbAgent {
            /// Address that login and chat servers connect to.
            listen: SocketAddr = "127.0.0.1:9300";
            /// Name of the agent; different for each server.
            name: String = "dbagent-1" in Name;
            /// Storage of the accounts: the embedded SQLite, or the database server of section
            /// `[odbc]`.
            engine: Engine = "sqlite";
            /// Database file (SQLite); created if missing.
            database: PathBuf = "throng.db";
            /// Threads that access the database and hash passwords, each with its own connection.
            threads: usize = "2" in 1..=THREADS_MAX;
            /// Requests that may wait for a thread. Beyond it, requests are answered "try again
            /// later": of those that hash a password, the latest of the address with the most.
            queue: usize = "1024" in 1..=QUEUE_MAX;
            /// Time that a request may wait for a thread before it is answered "try again later",
            /// as is at once a password whose hash would take longer. Less than
            /// `login.request_timeout`, so that the answer arrives in time.
            request_timeout: Duration = "1s" in ms(10)..=secs(60);
            /// Memory for the hash of one password (argon2id), in whole KiB. Less than 19MiB with
            /// two iterations is weaker than OWASP recommends. A login stores its hash anew after a
            /// change. Until no account has an older one, every check of a password takes the
            /// time of the old and the new one together, so that it tells nothing.
            argon2_memory: ByteSize = "19MiB" in kib(8)..=ARGON2_MEMORY_MAX;
            /// Passes of the hash over its memory.
            argon2_iterations: u32 = "2" in 1..=ARGON2_ITERATIONS_MAX;
            /// Time that an account stays online after the last message from the server that holds
            /// it.
            lease: Duration = "15s" in ms(100)..=secs(600);
            /// Time that a reconnected server has to list the accounts that it holds.
            lease_grace: Duration = "1s" in secs(0)..=secs(60);
        }

        /// Connection to the database server, if `dbagent.engine` is one. See "A database server"
        /// above.
        odbc: Odbc {
            /// Driver: a name from odbcinst.ini, or the path of its .so. Empty means the first one
            /// found among the usual drivers of the engine.
            driver: String = "";
            /// Host of the database server.
            server: String = "127.0.0.1";
            /// Port of the database server; 0 is the engine's usual port.
            port: u32 = "0" in 0..=65_535;
            /// Name of the database.
            database: String = "throng";
            /// User of the DB agent, a member of the role `throng_agent`. `throng db migrate` needs
            /// the owner of the schema.
            user: String = "";
            /// Password of the user. Use a file or THRONG_ODBC_PASSWORD rather than the command
            /// line.
            password: Secret = "", secret;
            /// File with the password, readable by its owner only; takes precedence over
            /// `password`.
            password_file: Option<PathBuf> = "";
            /// Additional attributes for the driver, such as
            /// "Encrypt=yes;TrustServerCertificate=yes".
            options: Secret = "", secret;
            /// Complete connection string, used instead of all keys above.
            connection_string: Secret = "", secret;
            /// Timeout for connecting and for the first statement of a connection, in whole
            /// seconds. One thread of an agent connects at a time.
            connect_timeout: Duration = "10s" in secs(1)..=secs(60);
            /// Time after which a statement is canceled, in whole seconds for SQL Server.
            query_timeout: Duration = "2s" in secs(1)..=secs(600);
            /// Time that a statement may wait for a lock.
            lock_timeout: Duration = "1s" in ms(10)..=secs(600);
        }

        /// Event loops, which own the sockets, for each role of the process.
        net: Net {
            /// Event-loop threads of each role.
            shards: usize = "1" in 1..=SHARDS_MAX;
            /// Timeout for the handshake of a new connection.
            handshake_timeout: Duration = "5s" in ms(10)..=secs(600);
            /// Timeout from the handshake to a client's first packet.
            first_packet_timeout: Duration = "5s" in ms(10)..=secs(600);
            /// Silence of a client after which it is sent a heartbeat.
            heartbeat: Duration = "45s" in ms(10)..=secs(600);
            /// Silence of a client after which its session is closed.
            idle_timeout: Duration = "100s" in ms(20)..=secs(3600);
            /// Time that a closed connection may take to receive the reason.
            linger: Duration = "1s" in secs(0)..=secs(60);
            /// Bytes that may wait to be sent to one client. Beyond it the client is closed as too
            /// slow.
            outbox: ByteSize = "1MiB" in kib(64)..=kib(1 << 20);
            /// Bytes of a room's messages that a shard keeps for members that are behind. A member
            /// that is further behind is told how many messages it has missed. Rounded up to 64
            /// KiB, as are the next two.
            chat_log: ByteSize = "1MiB" in kib(128)..=kib(1 << 20);
            /// Bytes of a room's notices that a shard keeps for members that are behind. A member
            /// that is further behind does not get them.
            notice_log: ByteSize = "128KiB" in kib(128)..=kib(1 << 20);
            /// Bytes of messages and notices that a shard keeps for all rooms together.
            log_pool: ByteSize = "64MiB" in kib(1024)..=kib(16 << 20);
            /// Socket send buffer: bytes that the system may hold for one client. A larger buffer
            /// lets a client on a long and fast line receive faster, but delays the detection of a
            /// client that does not read.
            send_buffer: ByteSize = "256KiB" in kib(16)..=kib(16 << 10);
            /// Time for which a client may take nothing while data waits for it, before it is
            /// closed as too slow.
            slow_timeout: Duration = "30s" in ms(100)..=secs(3600);
            /// Commands that may wait for a shard.
            mailbox: usize = "8192" in 16..=QUEUE_MAX;
            /// Connections that may wait in the kernel to be accepted. The system may allow fewer
            /// (`net.core.somaxconn`).
            backlog: i32 = "4096" in 1..=65_535;
        }

        /// Content threads, which handle packets, for each role of the process.
        content: Content {
            /// Content threads of each role. A session's packets always go to the same thread.
            threads: usize = "1" in 1..=THREADS_MAX;
            /// Packets that may wait for a thread; while the queue is full, its sessions are not
            /// read.
            lane: usize = "4096" in 16..=QUEUE_MAX;
            /// Members from which on a room has a key of its own, so that a message is sealed once
            /// and not for each member.
            log_from: usize = "16" in 2..=SESSIONS_MAX;
            /// Lifetime of a room's key. The next message after it is sealed with a new key.
            key_lifetime: Duration = "10m" in secs(1)..=secs(86_400);
        }

        /// Limits of what one client or address may do. A rate such as `20/5s` allows 20 at once,
        /// and 20 more spread over each 5 seconds. What comes faster is refused with the time to
        /// wait, and a client that goes on is closed.
        limits: Limits {
            /// Networks whose clients no limit of this section holds.
            exempt: Vec<IpNet> = "127.0.0.0/8,::1/128";
            /// Connections at one time from one address (IPv6: one /64 network), for each role.
            connections: usize = "256" in 1..=SESSIONS_MAX;
            /// New connections from one address, for each role.
            handshakes: Rate = "200/10s";
            /// Wrong passwords from one address, for each login server. Beyond it no password from
            /// this address is checked, right or wrong.
            failed_logins: Rate = "30/1m";
            /// Sign-ups from one address, for each login server.
            sign_ups: Rate = "20/10m";
            /// Logins of one account with the right password, for each login server.
            logins: Rate = "10/1m";
            /// Channels that one account makes, for each chat server.
            channels_made: Rate = "20/10m";
            /// Messages of one user to the world.
            world: Rate = "10/5s";
            /// Messages of one user to channels.
            channel: Rate = "20/5s";
            /// Messages of one user to users nearby.
            nearby: Rate = "20/5s";
            /// Whispers of one user.
            whisper: Rate = "20/5s";
            /// Other requests of one user: lists, pings, and all that has to do with channels.
            requests: Rate = "100/10s";
            /// Positions of one user.
            positions: Rate = "60/3s";
        }

        /// Links between servers.
        link: Link {
            /// Silence of a link after which a heartbeat is sent.
            heartbeat: Duration = "1s" in ms(10)..=secs(60);
            /// Silence of a link after which the link is closed as dead.
            timeout: Duration = "4s" in ms(20)..=secs(600);
            /// First pause after a failed connection; each further pause doubles, with jitter.
            retry_min: Duration = "50ms" in ms(1)..=secs(60);
            /// Longest pause between two attempts.
            retry_max: Duration = "1s" in ms(1)..=secs(600);
            /// Bytes that may wait to be sent over one link; beyond it the link is reset.
            outbox: ByteSize = "16MiB" in kib(64)..=kib(4 << 20);
            /// File with the key that all servers of a cluster share.
            cluster_key_file: PathBuf = "cluster.key";
        }

        /// The log.
        log: Log {
            /// Level of the log, and after commas TARGET=LEVEL for parts of the program. It can be
            /// changed while the process runs (`PUT /log` of the admin server).
            level: Filter = "info";
            /// True to log to stderr.
            console: bool = "true";
            /// File to log to as well. By default, a process of one role has a file of its own:
            /// throng-login.log, throng-chat.log or throng-dbagent.log.
            file: Option<PathBuf> = "throng.log";
            /// Size at which the file is rotated.
            file_size: ByteSize = "16MiB" in kib(4)..=kib(4 << 20);
            /// Log files kept, the current one included: throng.log, throng.log.1 and so on.
            files: usize = "5" in 1..=1000;
        }

        /// The admin HTTP server: /health, /ready, /metrics, /links, /log.
        admin: Admin {
            /// Address of the admin port. It asks for no password: keep it on loopback. By default,
            /// a process with the login server alone has port 9401, one with the chat server alone
            /// 9402.
            listen: Option<SocketAddr> = "127.0.0.1:9400";
            /// Host names under which the admin port answers, besides localhost and IP addresses of
            /// its own.
            hosts: Vec<String> = "" in HostNames;
        }

        /// The end of the process.
        shutdown: Shutdown {
            /// Time that clients are given to receive the data that waits for them. After a crash
            /// the process ends after 5s in any case.
            drain: Duration = "3s" in secs(0)..=secs(600);
        }
    }
}
