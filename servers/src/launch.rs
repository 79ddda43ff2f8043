//! Starts the roles from the configuration, one of them or all in one process, and stops them.
//!
//! The DB agent starts first and stops last, so that the other roles can release their claims.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use thiserror::Error;
use throng_core::clock::unix_ms;
use throng_core::config::{ByteSize, Config, Duplicate};
use throng_core::content::{Job, RoomPolicy};
use throng_core::crypto::{ClusterKey, Credentials, KeyError, PublicKey, ResumeTokens, StaticKey};
use throng_core::endpoints::{self, Endpoints, EndpointsError};
use throng_core::host::HostAddress;
use throng_core::limits::{CLIENT_BODY_MAX, SEGMENT_BYTES, SERVER_BODY_MAX};
use throng_core::links::{Backoff, LinkBoard, Links, Missing, Peer};
use throng_core::metrics;
use throng_core::net::{Addresses, Endpoint, ListenError, Listener, LogLimits, PeerKind};
use throng_core::shutdown::{Cause, Shutdown};
use throng_core::wire::packets::{self, Address, LinkHello};
use throng_core::wire::{CloseReason, Text, TooLong};

use crate::admin::{self, AdminError, AdminHandle, AdminSources};
use crate::chat::{self, Admission, ChatRole, ChatSettings, FleetSettings};
use crate::dbagent::database::Database;
use crate::dbagent::migrate::MigrateError;
use crate::dbagent::password::PasswordCost;
use crate::dbagent::pool::{self, Pool, PoolConfig};
use crate::dbagent::procedures::{DbError, Fault, Procedures, agent_number};
use crate::dbagent::request::Reply;
use crate::dbagent::role::{DbAgentRole, DbAgentSettings, Tag};
use crate::fleet::{self, Bus, BusSettings, NodeInfo, Timing};
use crate::login::{LoginRole, LoginSettings};
use crate::manifest::{Manifest, ManifestError};
use crate::memory::{self, TrimPolicy};
use crate::node::{self, Node, NodeParts, NodeSize};
use crate::private_file::PrivateFileError;
use crate::process::Process;
use crate::readiness::{CountDbThreads, DbThreads, Readiness, ReadyWatch, all};
use crate::role::Role;
use crate::rules::Reserved;

/// Errors of running roles.
#[derive(Debug, Error)]
pub enum LaunchError {
    /// A key file is missing or invalid.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// A listener cannot be opened.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// The bus of the fleet cannot be started.
    #[error(transparent)]
    Bus(#[from] fleet::StartError),
    /// A file with a secret cannot be used.
    #[error(transparent)]
    Secret(#[from] PrivateFileError),
    /// Threads or pollers cannot be created.
    #[error(transparent)]
    Start(#[from] node::StartError),
    /// The database cannot be opened, or has the wrong schema.
    #[error(transparent)]
    Migrate(#[from] MigrateError),
    /// The DB threads cannot be started.
    #[error(transparent)]
    Pool(#[from] pool::StartError),
    /// The database cannot be used.
    #[error("cannot use the database: {0}")]
    Database(DbError),
    /// The database did not close cleanly.
    #[error("the database did not close cleanly: {0}")]
    Close(DbError),
    /// The manifest of the data directory cannot be written.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// The admin server cannot be started.
    #[error(transparent)]
    Admin(#[from] AdminError),
    /// `endpoints.toml` cannot be written.
    #[error(transparent)]
    Endpoints(#[from] EndpointsError),
    /// The chat server's public address does not fit a packet.
    #[error("chat.public_address is too long: {0}")]
    Address(#[from] TooLong),
    /// Standard output cannot be written.
    #[error("cannot write to standard output: {0}")]
    Output(#[from] io::Error),
}

/// Runs the roles until the process is asked to end, and stops them in order.
pub fn run(config: &Config, roles: &[Role], process: &mut Process) -> Result<(), LaunchError> {
    let running = Running::start(config, roles, process.sessions_that_fit(), &process.shutdown)?;
    let manifest = Manifest::of_roles(config, roles);
    let mut ready = ReadyWatch::new(running.readiness());
    let published = manifest.record().map_err(LaunchError::from);
    let admin = match published.and_then(|()| publish(config, roles, process, &running, &mut ready)) {
        Ok(admin) => admin,
        Err(error) => {
            running.abort();
            return Err(error);
        }
    };
    let mut is_marked = mark_open(&manifest);
    let mut trim_policy = TrimPolicy::default();
    let mut trim_at = Instant::now() + memory::CHECK_INTERVAL;
    let cause = loop {
        if let Some(cause) =
            process.shutdown.wait_timeout(if is_marked { ready.interval() } else { MARK_INTERVAL })
        {
            break cause;
        }
        let now = Instant::now();
        if !is_marked {
            is_marked = mark_open(&manifest);
        }
        if ready.look(now) {
            // The process serves all the same if its output is not read any more.
            let _ = print("ready\n");
        }
        if now >= trim_at {
            trim_at = now + memory::CHECK_INTERVAL;
            if trim_policy.should_trim(metrics::SESSIONS.get()) {
                memory::trim();
            }
        }
    };
    tracing::info!(?cause, "shutting down");
    if let Err(error) = manifest.mark_closed() {
        tracing::warn!("{error}");
    }
    let stopped = running.stop(Instant::now() + config.shutdown.drain);
    if let Ok(1..) = stopped {
        end_at_last(process.shutdown.clone())?;
    }
    if let Some(admin) = admin {
        admin.join();
    }
    stopped.map(|_| ())
}

/// Ends the process soon, if a driver that hangs keeps it from ending by itself.
fn end_at_last(shutdown: Shutdown) -> io::Result<()> {
    std::thread::Builder::new().name("end".into()).spawn(move || {
        std::thread::sleep(END_AT_LAST);
        shutdown.force(shutdown.exit_code().into());
    })?;
    Ok(())
}

/// Interval at which a database without a log is looked at.
const MARK_INTERVAL: Duration = Duration::from_millis(100);

/// Marks the embedded database as open. Returns false to try again: it has no log yet.
fn mark_open(manifest: &Manifest) -> bool {
    manifest.mark_open().unwrap_or_else(|error| {
        // The mark guards against a mistake of an operator, and is no reason to end.
        tracing::warn!("{error}");
        true
    })
}

/// Makes the running roles known: on the admin port, in `endpoints.toml` and on standard output.
fn publish(
    config: &Config,
    roles: &[Role],
    process: &mut Process,
    running: &Running,
    ready: &mut ReadyWatch,
) -> Result<Option<AdminHandle>, LaunchError> {
    let admin = start_admin(config, process, running)?;
    let missing = ready.wait(&process.shutdown, READY_WAIT_MAX);
    let mut endpoints = running.endpoints();
    endpoints.set_admin(admin.as_ref().map(|admin| admin.address));
    process.data.publish(endpoints)?;
    print_startup(running, roles, admin.as_ref(), process, &missing)?;
    Ok(admin)
}

fn start_admin(
    config: &Config,
    process: &Process,
    running: &Running,
) -> Result<Option<AdminHandle>, LaunchError> {
    let Some(listen) = config.admin.listen else { return Ok(None) };
    let board = running.board.clone();
    let readiness = running.readiness();
    let sources = AdminSources {
        hosts: config.admin.hosts.clone(),
        metrics: metrics::render,
        missing: Box::new(move || readiness.missing()),
        links: Box::new(move || board.to_json()),
        log: process.log_handle(),
        shutdown: process.shutdown.clone(),
    };
    Ok(Some(admin::start(listen, sources)?))
}

/// Prints the addresses, a few commands to try, and the line `ready`, or instead of it a line that
/// says what is missing.
fn print_startup(
    running: &Running,
    roles: &[Role],
    admin: Option<&AdminHandle>,
    process: &Process,
    missing: &[Missing],
) -> io::Result<()> {
    let mut lines = Vec::new();
    for ListenAddress { name, address, key } in &running.listening {
        let key = key.map_or_else(String::new, |key| format!("  key {}", hex::encode(key)));
        lines.push(format!("{name:<14} {address}{key}"));
    }
    if let Some(admin) = admin {
        lines.push(format!("{:<14} http://{}/metrics", "admin", admin.address));
    }
    let data = process.data.path().display();
    lines.push(format!("{:<14} {data}", "data"));
    let sessions = [(Role::Login, running.sessions.login), (Role::Chat, running.sessions.chat)];
    for (role, sessions) in sessions.iter().filter(|(role, _)| roles.contains(role)) {
        lines.push(format!("{:<14} {sessions} for the {role} server", "sessions"));
    }
    if roles.len() == Role::ALL.len() {
        let harness = "  cargo run --release --bin throng-harness --";
        lines.push("\nTo try it, run in another terminal:".into());
        lines
            .push(format!("{harness} broadcast --data {data} --clients 100 --interval 100ms --duration 10s"));
        lines.push(format!("{harness} login --data {data} --clients 20\n"));
    }
    lines.push(if missing.is_empty() { "ready\n".into() } else { format!("not ready: {}\n", all(missing)) });
    print(&lines.join("\n"))
}

/// Prints to standard output. A reader that has gone away is no failure.
fn print(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => result,
    }
}

/// The running DB agent.
struct DbAgentNode {
    node: Node<Reply<Tag>>,
    pool: Arc<Pool<Tag>>,
}

/// The running chat server.
struct ChatNode {
    node: Node<fleet::Event>,
    /// The bus of its fleet.
    bus: Option<Bus>,
}

/// A listener as standard output shows it.
struct ListenAddress {
    name: &'static str,
    address: SocketAddr,
    /// The public key, which clients need and links do not.
    key: Option<PublicKey>,
}

/// Sessions with clients, by server.
#[derive(Clone, Copy)]
struct SessionLimits {
    login: usize,
    chat: usize,
}

/// The running roles.
pub struct Running {
    login: Option<Node<()>>,
    chat: Option<ChatNode>,
    dbagent: Option<DbAgentNode>,
    listening: Vec<ListenAddress>,
    endpoints: Endpoints,
    sessions: SessionLimits,
    board: Arc<LinkBoard>,
}

impl Running {
    /// Starts the roles, the DB agent first. `capacity` is the number of sessions for which the
    /// process has files; if fewer than configured fit, the roles share them in proportion.
    /// `shutdown` is requested when an event loop fails.
    pub fn start(
        config: &Config,
        roles: &[Role],
        capacity: u64,
        shutdown: &Shutdown,
    ) -> Result<Self, LaunchError> {
        let cluster = ClusterKey::load(&config.resolve(&config.link.cluster_key_file))?;
        let mut starter = Starter {
            config,
            link: Arc::new(link_endpoint(config, &cluster)),
            cluster,
            shutdown,
            chat_links: config.login.chat.clone(),
            login_agents: config.login.dbagent.clone(),
            chat_agents: config.chat.dbagent.clone(),
            running: Self {
                login: None,
                chat: None,
                dbagent: None,
                listening: Vec::new(),
                endpoints: Endpoints { pid: std::process::id(), ..Endpoints::default() },
                sessions: allot_sessions(config, roles, capacity),
                board: Arc::default(),
            },
        };
        for role in [Role::DbAgent, Role::Chat, Role::Login].iter().filter(|role| roles.contains(role)) {
            let started = metrics::in_role(role.on_the_wire(), || match role {
                Role::DbAgent => starter.dbagent(),
                Role::Chat => starter.chat(),
                Role::Login => starter.login(),
            });
            if let Err(error) = started {
                starter.running.abort();
                return Err(error);
            }
        }
        Ok(starter.running)
    }

    /// Returns the readiness of the roles.
    fn readiness(&self) -> Readiness {
        let pool = self.dbagent.as_ref().map(|dbagent| Arc::downgrade(&dbagent.pool));
        let database = pool.map(|pool| -> CountDbThreads {
            Box::new(move || {
                let count = |pool: Arc<Pool<Tag>>| DbThreads { usable: pool.usable(), hung: pool.hung() };
                pool.upgrade().map(count).unwrap_or_default()
            })
        });
        let has_bus = self.chat.as_ref().is_some_and(|chat| chat.bus.is_some());
        let readiness = Readiness::new(self.board.clone(), database);
        if has_bus { readiness.in_fleet() } else { readiness }
    }

    /// Returns the addresses on which the roles listen.
    pub fn endpoints(&self) -> Endpoints {
        self.endpoints.clone()
    }

    /// Stops the roles that run after another one failed to start, because their threads hold the
    /// database.
    fn abort(self) {
        if let Err(second) = self.stop(Instant::now()) {
            tracing::error!("{second}");
        }
    }

    /// Stops the roles by `deadline`: clients are told, claims are released, the database is
    /// closed. Returns the number of DB threads that hang and are left behind.
    pub fn stop(self, deadline: Instant) -> Result<usize, LaunchError> {
        self.board.end();
        // All clients are told at once. The DB agent stops after the other roles have released
        // their claims.
        if let Some(ChatNode { node, bus: Some(_) }) = &self.chat {
            give_away(node, deadline);
        }
        let login = self.login.map(|login| login.drain(CloseReason::ServerShutdown));
        let chat = self.chat.map(|ChatNode { node, bus }| {
            // The users of a fleet resume at another node.
            let reason = if bus.is_some() { CloseReason::Moved } else { CloseReason::ServerShutdown };
            (node.drain(reason), bus)
        });
        if let Some(login) = login {
            login.stop(deadline);
        }
        if let Some((chat, bus)) = chat {
            if bus.is_some() {
                chat.finish_with(fleet::Event::Ending, deadline);
            }
            chat.stop(deadline);
            if let Some(bus) = bus {
                bus.stop();
            }
        }
        if let Some(DbAgentNode { node, pool }) = self.dbagent {
            let deadline = deadline.max(Instant::now() + DB_STOP_MIN);
            node.drain(CloseReason::ServerShutdown).stop(deadline);
            return pool.shutdown(deadline).map_err(LaunchError::Close);
        }
        Ok(0)
    }
}

/// Interval at which a node that gives its users away looks whether it has any left.
const GIVE_AWAY_POLL: Duration = Duration::from_millis(20);

/// Time that a starting process may take to become ready before it says what is missing.
const READY_WAIT_MAX: Duration = Duration::from_secs(2);

/// Minimum time for the DB agent to stop, even if the other roles have used up the deadline.
const DB_STOP_MIN: Duration = Duration::from_millis(500);

/// Time after the orderly end in which a process with a hanging driver has to be gone.
const END_AT_LAST: Duration = Duration::from_secs(1);

/// Time that the start waits for a database server. The DB threads go on waiting after it.
const START_CHECK_MAX: Duration = Duration::from_secs(30);

/// Interval at which the start, while it waits for the server, looks for a signal.
const START_CHECK_POLL: Duration = Duration::from_millis(50);

/// The state of the start, one role after the other.
struct Starter<'a> {
    config: &'a Config,
    cluster: ClusterKey,
    link: Arc<Endpoint>,
    shutdown: &'a Shutdown,
    /// Addresses of the peers: as configured, or those of a role that runs in the same process. The
    /// ports of `throng up` may therefore be 0.
    chat_links: Vec<HostAddress>,
    login_agents: Vec<HostAddress>,
    chat_agents: Vec<HostAddress>,
    running: Running,
}

impl Starter<'_> {
    fn dbagent(&mut self) -> Result<(), LaunchError> {
        let config = &self.config.dbagent;
        let database = Database::of(self.config).map_err(LaunchError::Database)?;
        check_database(&database, self.shutdown)?;
        let listener = self.listen(config.listen, "dbagent.listen", &self.link)?;
        let address = listener.address();
        let parts = NodeParts::build("dbagent", self.size(0))?;
        let lane = parts.lanes()[0].clone();
        let pool_config = PoolConfig {
            threads: config.threads,
            queue: config.queue,
            password: PasswordCost {
                memory_kib: config.argon2_memory.as_kib(),
                iterations: config.argon2_iterations,
            },
            agent: agent_number(&config.name, rand::random()),
            limits: database.limits(),
            ..PoolConfig::default()
        };
        let connect = move || database.connect();
        let sink = move |reply| {
            // Refused only when the content threads have ended, and the answer is not needed any
            // more.
            let _ = lane.push(Job::Record(reply).into());
            lane.ring();
        };
        let pool = Arc::new(Pool::start(&pool_config, connect, sink)?);
        let settings = DbAgentSettings {
            comeback: config.lease_grace + self.config.link.retry_max,
            lease: config.lease,
            lease_grace: config.lease_grace,
            request_timeout: config.request_timeout,
        };
        let links = self.links(packets::Role::DbAgent, &config.name, None, Vec::new());
        let role = DbAgentRole::new(settings, links, pool.clone(), Instant::now());
        let node = parts.start(role, vec![listener], on_failure(self.shutdown))?;
        self.running.dbagent = Some(DbAgentNode { node, pool });
        self.chat_agents = vec![address.into()];
        self.login_agents = vec![address.into()];
        self.running.listening.push(ListenAddress { name: "dbagent", address, key: None });
        self.running.endpoints.dbagent = Some(endpoints::Endpoint::new(address, None));
        Ok(())
    }

    fn chat(&mut self) -> Result<(), LaunchError> {
        let config = &self.config.chat;
        let key = Arc::new(StaticKey::load(&self.config.resolve(&config.key_file), "chat.key_file")?);
        let public = *key.public();
        let clients = self.listen(config.listen, "chat.listen", &self.client_endpoint(key))?;
        let link_listener = self.listen(config.link_listen, "chat.link_listen", &self.link)?;
        let address = clients.address();
        let link_address = link_listener.address();
        let advertised = match config.public_address.as_str() {
            "" => address.to_string(),
            public => public.to_owned(),
        };
        let client_address = Address::new(advertised)?;
        let client_side = Some((client_address.clone(), public));
        let peers = peers(packets::Role::DbAgent, &self.chat_agents);
        let links = self.links(packets::Role::Chat, &config.name, client_side, peers);
        let settings = ChatSettings::of(self.config);
        let admission = Admission::new(self.cluster.clone(), public, unix_ms());
        let tokens = ResumeTokens::new(&self.cluster, rand::random());
        let parts = NodeParts::build("chat", self.size(self.running.sessions.chat))?;
        let description = chat::description(&settings);
        let mut role = ChatRole::new(settings, admission, tokens, links, unix_ms);
        let mut bus = None;
        if let Some(settings) = BusSettings::of(self.config, description)? {
            let lane = parts.lanes()[0].clone();
            let sink = move |event| {
                // Refused only when the content threads have ended.
                let _ = lane.push(Job::Record(event).into());
                lane.ring();
            };
            let started = Bus::start(settings, self.cluster.clone(), sink)?;
            let settings = FleetSettings {
                timing: Timing::of(self.config),
                info: NodeInfo { name: Text::truncated(&config.name), client_address, client_key: public },
                cluster: self.cluster.clone(),
                instance: rand::random(),
                outlet: Box::new(started.outlet()),
            };
            role = role.in_fleet(settings, Instant::now());
            bus = Some(started);
        }
        let node = parts.start(role, vec![clients, link_listener], on_failure(self.shutdown))?;
        self.running.chat = Some(ChatNode { node, bus });
        self.chat_links = vec![link_address.into()];
        self.running.listening.push(ListenAddress { name: "chat", address, key: Some(public) });
        self.running.listening.push(ListenAddress { name: "chat links", address: link_address, key: None });
        self.running.endpoints.chat = Some(endpoints::Endpoint::new(address, Some(&public)));
        Ok(())
    }

    fn login(&mut self) -> Result<(), LaunchError> {
        let config = &self.config.login;
        let key = Arc::new(StaticKey::load(&self.config.resolve(&config.key_file), "login.key_file")?);
        let public = *key.public();
        let listener = self.listen(config.listen, "login.listen", &self.client_endpoint(key))?;
        let address = listener.address();
        let mut peers_of_login = peers(packets::Role::Chat, &self.chat_links);
        peers_of_login.extend(peers(packets::Role::DbAgent, &self.login_agents));
        let links = self.links(packets::Role::Login, &config.name, None, peers_of_login);
        let settings = LoginSettings {
            take_over: config.duplicate == Duplicate::Kick,
            seats: self.running.sessions.login,
            stay: config.stay,
            queue: config.queue,
            ticket_lifetime: self.config.ticket.lifetime,
            request_timeout: config.request_timeout,
            cluster: self.cluster.clone(),
            reserved: Reserved::new(&self.config.names.reserved),
            limits: self.config.limits.clone(),
        };
        let role = LoginRole::new(settings, links, unix_ms);
        let parts = NodeParts::build("login", self.size(self.running.sessions.login))?;
        self.running.login = Some(parts.start(role, vec![listener], on_failure(self.shutdown))?);
        self.running.listening.push(ListenAddress { name: "login", address, key: Some(public) });
        self.running.endpoints.login = Some(endpoints::Endpoint::new(address, Some(&public)));
        Ok(())
    }

    fn listen(
        &self,
        address: SocketAddr,
        what: &'static str,
        endpoint: &Arc<Endpoint>,
    ) -> Result<Listener, ListenError> {
        let listener = Listener::bind(address, what, self.config.net.backlog, endpoint.clone())?;
        Ok(match endpoint.peer {
            PeerKind::Client => listener.limited_by(Addresses::new(self.config.limits.clone())),
            PeerKind::Link => listener,
        })
    }

    fn size(&self, clients: usize) -> NodeSize {
        let net = &self.config.net;
        let content = &self.config.content;
        NodeSize {
            shards: net.shards,
            clients,
            mailbox: net.mailbox,
            logs: LogLimits {
                segments: [segments(net.chat_log), segments(net.notice_log)],
                pool: segments(net.log_pool),
            },
            slow_timeout: net.slow_timeout,
            send_buffer: net.send_buffer.as_usize(),
            content_threads: content.threads,
            lane: content.lane,
            rooms: RoomPolicy { log_from: content.log_from, key_lifetime: content.key_lifetime },
        }
    }

    /// Returns the rules for clients of the server with `key`.
    fn client_endpoint(&self, key: Arc<StaticKey>) -> Arc<Endpoint> {
        let net = &self.config.net;
        Arc::new(Endpoint {
            peer: PeerKind::Client,
            credentials: Credentials::Server(key),
            body_max: CLIENT_BODY_MAX,
            outbox_max: net.outbox.as_usize(),
            handshake_timeout: net.handshake_timeout,
            first_packet_timeout: Some(net.first_packet_timeout),
            heartbeat: Some(net.heartbeat),
            idle_timeout: Some(net.idle_timeout),
            linger: net.linger,
        })
    }

    /// Creates the links of a role that introduces itself as `name`. A chat server adds the address
    /// and the key that clients use.
    fn links(
        &self,
        role: packets::Role,
        name: &str,
        client_side: Option<(Address, PublicKey)>,
        peers: Vec<Peer>,
    ) -> Links {
        let (client_address, client_key) = client_side.unwrap_or_default();
        let instance = rand::random();
        let hello = LinkHello { role, name: Text::truncated(name), instance, client_address, client_key };
        let backoff = Backoff { min: self.config.link.retry_min, max: self.config.link.retry_max };
        let board = self.running.board.clone();
        Links::new(hello, self.link.clone(), backoff, peers, Instant::now(), board)
    }
}

/// Gives the users of a node to the others, in two thirds of the time that there is.
fn give_away(node: &Node<fleet::Event>, deadline: Instant) {
    let time = deadline.saturating_duration_since(Instant::now()) * 2 / 3;
    let until = Instant::now() + time;
    // Until the role has read the event, and counts its sessions.
    metrics::FLEET_DRAINING.set(1);
    node.tell(fleet::Event::Draining(time));
    while Instant::now() < until && metrics::FLEET_DRAINING.get() > 0 {
        std::thread::sleep(GIVE_AWAY_POLL);
    }
}

/// Checks the database before the DB agent serves it. An embedded database is created and migrated.
/// A database server is its operators' to migrate: a permanent fault ends the start, and the DB
/// threads wait for a server that is away.
fn check_database(database: &Database, shutdown: &Shutdown) -> Result<(), LaunchError> {
    let checked = match database {
        Database::Sqlite(file) => {
            file.check_at_start().map_err(LaunchError::Database)?;
            database.migrate()?;
            database.connect().and_then(Procedures::close)
        }
        Database::Odbc(_) => check_server(database, shutdown)?,
    };
    match checked {
        // A file that is read-only now will be so later.
        Err(error)
            if error.fault.is_transient()
                && !(error.fault == Fault::ReadOnly && matches!(database, Database::Sqlite(_))) =>
        {
            tracing::warn!("{error}");
            Ok(())
        }
        result => result.map_err(LaunchError::Database),
    }
}

/// Connects to a database server once, on a thread of its own: a driver may hang, and the end of
/// the process does not wait for it.
fn check_server(database: &Database, shutdown: &Shutdown) -> io::Result<Result<(), DbError>> {
    let (sender, result) = mpsc::channel();
    let place = database.place();
    let database = database.clone();
    std::thread::Builder::new().name("db-check".into()).spawn(move || {
        // Refused only if the receiver has stopped waiting.
        let _ = sender.send(database.connect().and_then(Procedures::close));
    })?;
    let start = Instant::now();
    loop {
        match result.recv_timeout(START_CHECK_POLL) {
            Ok(checked) => return Ok(checked),
            Err(RecvTimeoutError::Timeout)
                if !shutdown.is_requested() && start.elapsed() < START_CHECK_MAX => {}
            Err(_) => return Ok(Err(DbError::new(Fault::Lost, place, "the server does not answer"))),
        }
    }
}

/// Returns the rules for links, in either direction.
fn link_endpoint(config: &Config, cluster: &ClusterKey) -> Endpoint {
    Endpoint {
        peer: PeerKind::Link,
        credentials: Credentials::Link(cluster.clone()),
        body_max: SERVER_BODY_MAX,
        outbox_max: config.link.outbox.as_usize(),
        handshake_timeout: config.net.handshake_timeout,
        first_packet_timeout: Some(config.net.handshake_timeout),
        heartbeat: Some(config.link.heartbeat),
        idle_timeout: Some(config.link.timeout),
        linger: config.net.linger,
    }
}

fn peers(role: packets::Role, addresses: &[HostAddress]) -> Vec<Peer> {
    addresses.iter().map(|address| Peer { role, address: address.clone() }).collect()
}

fn on_failure(shutdown: &Shutdown) -> impl Fn() + Clone + Send + 'static {
    let shutdown = shutdown.clone();
    move || shutdown.request(Cause::Failed)
}

/// Returns the sessions of the login and the chat server: as configured, or in proportion if the
/// process has files for `capacity` sessions only.
fn allot_sessions(config: &Config, roles: &[Role], capacity: u64) -> SessionLimits {
    let wanted = |role: Role, sessions: usize| if roles.contains(&role) { sessions as u64 } else { 0 };
    let login = wanted(Role::Login, config.login.max_sessions);
    let chat = wanted(Role::Chat, config.chat.max_sessions);
    let all = login + chat;
    let allot = |sessions: u64| {
        let allotted = if all <= capacity { sessions } else { sessions * capacity / all };
        allotted.max(1) as usize
    };
    SessionLimits { login: allot(login), chat: allot(chat) }
}

/// Returns the number of segments for a room log of this size, at least one.
fn segments(size: ByteSize) -> usize {
    size.as_usize().div_ceil(SEGMENT_BYTES).max(1)
}
