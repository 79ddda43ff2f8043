//! The bus: sealed batches over a stream of NATS JetStream, on a thread of its own.
//!
//! The stream gives the batches of all nodes their order and keeps them for a while. Beside it, a
//! key-value bucket has the description of the world, whose epoch says which order this is, and an
//! object store has the latest snapshot. A stream that is gone, or that has lost what a node needs,
//! begins a new epoch: the nodes that find out agree on it by the revision of the description.
//!
//! The bus may lose a batch to publish: the [`Member`](super::Member) publishes it again.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use async_nats::connection::State;
use async_nats::jetstream::consumer::{DeliverPolicy, push};
use async_nats::jetstream::context::GetStreamErrorKind;
use async_nats::jetstream::{self, kv, object_store, stream};
use async_nats::{Client, ConnectOptions};
use futures_util::StreamExt;
use thiserror::Error;
use throng_core::crypto::resume::Epoch;
use throng_core::crypto::{ClusterKey, FleetKeys, fleet};
use throng_core::metrics;
use tokio::io::AsyncReadExt;
use tokio::sync::{mpsc, watch};

use super::batch::{Batch, Body};
use super::member::Outgoing;
use super::settings::{BusSettings, Login};

/// An order to the bus.
#[derive(Debug)]
pub enum Command {
    /// Publish a batch.
    Publish(Outgoing),
    /// Keep the state at a sequence as the latest snapshot.
    KeepSnapshot {
        /// The sequence.
        sequence: u64,
        /// The state.
        state: Vec<u8>,
    },
}

/// News for the node: of the bus, and of its own process.
#[derive(Debug)]
pub enum Event {
    /// The order begins here. What was read before is of another epoch, or too old to go on from.
    Joined {
        /// The epoch.
        epoch: Epoch,
        /// Place after which batches follow.
        sequence: u64,
        /// The state at that place; none for an empty one.
        state: Option<Vec<u8>>,
    },
    /// The next batch.
    Batch(Batch),
    /// The connection is up again. Batches published before may be lost.
    Up,
    /// The connection is down.
    Down,
    /// The server is about to end: it takes no more users, and gives those that it has to other
    /// nodes, one after the other within this time.
    Draining(Duration),
    /// The server ends: this node leaves the fleet after what its users have done.
    Ending,
}

/// The bus cannot be started.
#[derive(Debug, Error)]
#[error("cannot start the thread of the fleet's bus: {0}")]
pub struct StartError(#[from] io::Error);

/// A fault for which the bus begins anew.
#[derive(Debug, Error)]
enum Fault {
    #[error("NATS: {0}")]
    Nats(#[from] async_nats::Error),
    #[error("cannot connect to NATS: {0}")]
    Connect(#[from] async_nats::ConnectError),
    #[error("the connection to NATS was lost")]
    Reconnected,
    #[error("nothing comes from NATS, not even the heartbeats of this node")]
    Silent,
    #[error("another node has begun a new order")]
    Superseded,
    #[error("the world was made with another cluster key")]
    Foreign,
    #[error("the other nodes of the world have other settings of [chat], or another version")]
    OtherSettings,
    #[error("there are other nodes, and no snapshot of theirs yet")]
    NoSnapshot,
    #[error("{0}")]
    File(#[from] io::Error),
}

impl Fault {
    fn nats(error: impl Into<async_nats::Error>) -> Self {
        Self::Nats(error.into())
    }
}

/// Commands that may wait. Batches beyond it are published again later.
const COMMANDS_MAX: usize = 1024;

/// Interval at which silence is looked for.
const WATCH: Duration = Duration::from_millis(250);

/// Interval at which the description of the world is looked at.
const DESCRIPTION_WATCH: Duration = Duration::from_secs(2);

/// Pause before another attempt.
const RETRY: Duration = Duration::from_millis(250);

/// Time between two equal lines of the log.
const LOG_PAUSE: Duration = Duration::from_mins(1);

/// Time in which the last batches may still be sent at the end.
const LAST_FLUSH: Duration = Duration::from_millis(500);

/// Key of the description, and name of the snapshot.
const DESCRIPTION: &str = "world";
const SNAPSHOT: &str = "snapshot";

/// The thread of the bus.
pub struct Bus {
    commands: mpsc::Sender<Command>,
    stop: watch::Sender<bool>,
    thread: JoinHandle<()>,
}

impl Bus {
    /// Starts the thread. `sink` takes the news; it may wait, and holds up the stream then.
    pub fn start(
        settings: BusSettings,
        cluster: ClusterKey,
        sink: impl Fn(Event) + Send + 'static,
    ) -> Result<Self, StartError> {
        let (commands, received) = mpsc::channel(COMMANDS_MAX);
        let (stop, stopped) = watch::channel(false);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let names = Names {
            stream: format!("throng-{}", settings.world),
            subject: format!("throng.{}.facts", settings.world),
        };
        let carrier = Carrier {
            settings,
            names,
            cluster,
            sink: Box::new(sink),
            commands: received,
            stop: stopped,
            place: None,
            logged: None,
        };
        let run = metrics::in_same_role(move || runtime.block_on(carrier.run()));
        let thread = std::thread::Builder::new().name("fleet-bus".into()).spawn(run)?;
        Ok(Self { commands, stop, thread })
    }

    /// Returns the way to give orders, from any thread and without waiting.
    pub fn outlet(&self) -> impl Fn(Command) + Send + 'static {
        let commands = self.commands.clone();
        move |command| {
            // Refused if too many wait; the member publishes again, and another snapshot follows.
            let _ = commands.try_send(command);
        }
    }

    /// Ends the thread, after it has published what waits.
    pub fn stop(self) {
        self.stop.send_replace(true);
        // The panic hook has reported a panic of the thread.
        let _ = self.thread.join();
    }
}

struct Names {
    stream: String,
    subject: String,
}

/// Place in the order of an epoch.
struct Place {
    keys: FleetKeys,
    sequence: u64,
}

struct Carrier {
    settings: BusSettings,
    names: Names,
    cluster: ClusterKey,
    sink: Box<dyn Fn(Event) + Send>,
    commands: mpsc::Receiver<Command>,
    stop: watch::Receiver<bool>,
    place: Option<Place>,
    /// The fault that was logged last.
    logged: Option<(String, Instant)>,
}

impl Carrier {
    async fn run(mut self) {
        let mut stop = self.stop.clone();
        let mut connected: Option<(Client, mpsc::UnboundedReceiver<()>)> = None;
        while !*stop.borrow() {
            let fault = match &mut connected {
                None => match self.connect().await {
                    Ok(new) => {
                        connected = Some(new);
                        continue;
                    }
                    Err(fault) => fault,
                },
                Some((client, reconnected)) => match self.serve(client, reconnected).await {
                    Ok(()) => break,
                    Err(fault) => fault,
                },
            };
            self.log(&fault);
            (self.sink)(Event::Down);
            if !matches!(fault, Fault::Reconnected | Fault::Silent) {
                let _ = tokio::time::timeout(RETRY, stop.wait_for(|stop| *stop)).await;
            }
        }
        if let Some((client, _)) = connected {
            let _ = tokio::time::timeout(LAST_FLUSH, client.flush()).await;
        }
    }

    /// Logs a fault, unless it has been logged lately.
    fn log(&mut self, fault: &Fault) {
        let text = fault.to_string();
        let is_known =
            self.logged.as_ref().is_some_and(|(logged, at)| *logged == text && at.elapsed() < LOG_PAUSE);
        if !is_known {
            let servers = self.settings.servers.join(", ");
            tracing::warn!(world = self.settings.world, servers, "fleet: {text}");
            self.logged = Some((text, Instant::now()));
        }
    }

    async fn connect(&self) -> Result<(Client, mpsc::UnboundedReceiver<()>), Fault> {
        let (sender, reconnected) = mpsc::unbounded_channel();
        let is_known = AtomicBool::new(false);
        let options = ConnectOptions::new()
            .name(format!("throng {}", self.settings.name))
            .require_tls(self.settings.tls)
            .connection_timeout(Duration::from_secs(2))
            .request_timeout(Some(Duration::from_secs(2)))
            .ping_interval(Duration::from_secs(1))
            .reconnect_delay_callback(|attempts| Duration::from_millis(50 * attempts.min(5) as u64))
            .event_callback(move |event| {
                // The first connection is no news. Refused at the end only.
                if let async_nats::Event::Connected = event
                    && is_known.swap(true, Ordering::Relaxed)
                {
                    let _ = sender.send(());
                }
                std::future::ready(())
            });
        let options = match &self.settings.tls_ca {
            Some(file) => options.add_root_certificates(file.clone()),
            None => options,
        };
        let options = match &self.settings.login {
            Login::None => options,
            Login::Password(user, password) => {
                options.user_and_password(user.clone(), password.expose().into())
            }
            Login::Nkey(seed) => options.nkey(seed.expose().into()),
            Login::Credentials(text) => options.credentials(text.expose())?,
        };
        let client = options.connect(&self.settings.servers[..]).await?;
        Ok((client, reconnected))
    }

    /// Carries batches both ways until a fault, or until the end is asked for.
    async fn serve(
        &mut self,
        client: &Client,
        reconnected: &mut mpsc::UnboundedReceiver<()>,
    ) -> Result<(), Fault> {
        let jetstream = jetstream::new(client.clone());
        while reconnected.try_recv().is_ok() {}
        let Found { stream, descriptions, revision, joined } = self.find(&jetstream).await?;
        let sequence = self.place.as_ref().map_or(0, |place| place.sequence);
        let config = push::OrderedConfig {
            deliver_subject: client.new_inbox(),
            deliver_policy: DeliverPolicy::ByStartSequence { start_sequence: sequence + 1 },
            ..Default::default()
        };
        let consumer = stream.create_consumer(config).await.map_err(Fault::nats)?;
        let mut messages = consumer.messages().await.map_err(Fault::nats)?;
        if let Some(joined) = joined {
            (self.sink)(joined);
        }
        (self.sink)(Event::Up);
        if self.logged.take().is_some() {
            tracing::info!(world = self.settings.world, "fleet: the connection to NATS is up");
        }
        let mut stop = self.stop.clone();
        let mut watch = tokio::time::interval(WATCH);
        let (mut heard_at, mut looked_at) = (Instant::now(), Instant::now());
        loop {
            tokio::select! {
                biased;
                command = self.commands.recv() => match command {
                    Some(command) => self.carry_out(command, client, &jetstream).await?,
                    None => return Ok(()),
                },
                _ = stop.wait_for(|stop| *stop) => {
                    while let Ok(command) = self.commands.try_recv() {
                        self.carry_out(command, client, &jetstream).await?;
                    }
                    return Ok(());
                }
                message = messages.next() => {
                    let Some(message) = message else { return Err(Fault::Silent) };
                    let message = message.map_err(Fault::nats)?;
                    heard_at = Instant::now();
                    let sequence = message.info()?.stream_sequence;
                    self.deliver(sequence, &message.payload);
                }
                Some(()) = reconnected.recv() => return Err(Fault::Reconnected),
                _ = watch.tick() => {
                    if heard_at.elapsed() > self.settings.silence && client.connection_state() == State::Connected {
                        return Err(Fault::Silent);
                    }
                    if looked_at.elapsed() > DESCRIPTION_WATCH && client.connection_state() == State::Connected {
                        looked_at = Instant::now();
                        let entry = descriptions.entry(DESCRIPTION).await.map_err(Fault::nats)?;
                        if entry.is_none_or(|entry| entry.revision != revision) {
                            return Err(Fault::Superseded);
                        }
                    }
                }
            }
        }
    }

    fn deliver(&mut self, sequence: u64, payload: &[u8]) {
        let Some(place) = &mut self.place else { return };
        place.sequence = sequence;
        let opened = place.keys.open_batch(payload);
        let batch = opened.and_then(|opened| {
            let body = Body::decode(&opened.text).ok()?;
            Some(Batch { sequence, instance: opened.instance, counter: opened.counter, body })
        });
        match batch {
            Some(batch) => (self.sink)(Event::Batch(batch)),
            None => metrics::FLEET_UNREADABLE.inc(),
        }
    }

    async fn carry_out(
        &mut self,
        command: Command,
        client: &Client,
        jetstream: &jetstream::Context,
    ) -> Result<(), Fault> {
        let Some(place) = &mut self.place else { return Ok(()) };
        match command {
            // The member repeats later whatever a connection that is down would take.
            Command::Publish(_) if client.connection_state() != State::Connected => {}
            Command::Publish(Outgoing { instance, counter, text }) => {
                let sealed = place.keys.seal_batch(instance, counter, &text);
                metrics::FLEET_PUBLISHED.inc();
                client.publish(self.names.subject.clone(), sealed.into()).await.map_err(Fault::nats)?;
            }
            Command::KeepSnapshot { sequence, state } => {
                let sealed = place.keys.seal_snapshot(sequence, rand::random(), &state);
                let object = [&sequence.to_le_bytes()[..], &sealed].concat();
                let (jetstream, bucket) = (jetstream.clone(), self.names.stream.clone());
                tokio::spawn(async move {
                    let kept = async {
                        let store = jetstream.get_object_store(&bucket).await.map_err(Fault::nats)?;
                        store.put(SNAPSHOT, &mut &object[..]).await.map_err(Fault::nats)?;
                        Ok::<(), Fault>(())
                    };
                    match kept.await {
                        Ok(()) => metrics::FLEET_SNAPSHOTS.inc(),
                        Err(error) => tracing::warn!("fleet: cannot keep a snapshot: {error}"),
                    }
                });
            }
        }
        Ok(())
    }

    /// Finds the place from which to read on, and begins a new epoch where there is none.
    async fn find(&mut self, jetstream: &jetstream::Context) -> Result<Found, Fault> {
        let descriptions = self.descriptions(jetstream).await?;
        let store = self.store(jetstream).await?;
        loop {
            let stream = self.stream(jetstream).await?;
            let state = stream.get_info().await.map_err(Fault::nats)?.state;
            let reaches =
                |sequence: u64| state.first_sequence <= sequence + 1 && sequence <= state.last_sequence;
            let entry = descriptions.entry(DESCRIPTION).await.map_err(Fault::nats)?;
            let entry = entry.filter(|entry| entry.operation == kv::Operation::Put);
            let mut revision = 0;
            let mut is_lost = false;
            if let Some(entry) = entry {
                revision = entry.revision;
                let (epoch, text) = fleet::open_world(&self.cluster, &entry.value).ok_or(Fault::Foreign)?;
                let (base, description) = text.split_first_chunk().ok_or(Fault::OtherSettings)?;
                if *description != self.settings.description {
                    return Err(Fault::OtherSettings);
                }
                let base = u64::from_le_bytes(*base);
                let here = self.place.as_ref().filter(|place| place.keys.epoch() == epoch);
                if here.is_some_and(|place| reaches(place.sequence)) {
                    return Ok(Found { stream, descriptions, revision, joined: None });
                }
                let keys = FleetKeys::new(self.cluster.clone(), epoch);
                let snapshot = snapshot(&store, &keys).await?.filter(|(sequence, _)| *sequence >= base);
                let (sequence, snapshot) =
                    snapshot.map_or((base, None), |(sequence, state)| (sequence, Some(state)));
                // A stream that ends before the place of this node is another one.
                is_lost = here.is_some_and(|place| place.sequence > state.last_sequence);
                if reaches(sequence) && !is_lost {
                    self.place = Some(Place { keys, sequence });
                    let joined = Some(Event::Joined { epoch, sequence, state: snapshot });
                    return Ok(Found { stream, descriptions, revision, joined });
                }
            }
            if !is_lost {
                // Nodes that live say so, and keep a snapshot before long.
                tokio::time::sleep(self.settings.silence).await;
                let now = stream.get_info().await.map_err(Fault::nats)?.state;
                if now.last_sequence > state.last_sequence {
                    return Err(Fault::NoSnapshot);
                }
            }
            let keys = FleetKeys::new(self.cluster.clone(), rand::random());
            let text = [&state.last_sequence.to_le_bytes()[..], &self.settings.description].concat();
            let description = keys.seal_world(&text);
            // One node is first; the others find its description.
            if descriptions.update(DESCRIPTION, description.into(), revision).await.is_ok() {
                let world = &self.settings.world;
                if revision == 0 {
                    tracing::info!(world, "fleet: the world begins");
                } else {
                    tracing::warn!(world, "fleet: a new epoch begins; what was in the stream is lost");
                }
            }
            tokio::time::sleep(WATCH).await;
        }
    }

    async fn stream(&self, jetstream: &jetstream::Context) -> Result<stream::Stream, Fault> {
        match jetstream.get_stream(&self.names.stream).await {
            Ok(stream) => return Ok(stream),
            Err(error) if !is_absent(&error) => return Err(Fault::nats(error)),
            Err(_) => {}
        }
        let config = stream::Config {
            name: self.names.stream.clone(),
            subjects: vec![self.names.subject.clone()],
            max_age: self.settings.retention,
            max_bytes: i64::try_from(self.settings.retention_size).unwrap_or(i64::MAX),
            num_replicas: self.settings.replicas,
            storage: self.storage(),
            discard: stream::DiscardPolicy::Old,
            // Batches carry their own numbers; the ledger counts each once.
            duplicate_window: Duration::from_millis(100),
            ..Default::default()
        };
        jetstream.get_or_create_stream(config).await.map_err(Fault::nats)
    }

    fn storage(&self) -> stream::StorageType {
        if self.settings.in_memory { stream::StorageType::Memory } else { stream::StorageType::File }
    }

    async fn descriptions(&self, jetstream: &jetstream::Context) -> Result<kv::Store, Fault> {
        if let Ok(store) = jetstream.get_key_value(&self.names.stream).await {
            return Ok(store);
        }
        let config = kv::Config {
            bucket: self.names.stream.clone(),
            num_replicas: self.settings.replicas,
            storage: self.storage(),
            history: 1,
            ..Default::default()
        };
        jetstream.create_key_value(config).await.map_err(Fault::nats)
    }

    async fn store(&self, jetstream: &jetstream::Context) -> Result<object_store::ObjectStore, Fault> {
        if let Ok(store) = jetstream.get_object_store(&self.names.stream).await {
            return Ok(store);
        }
        let config = object_store::Config {
            bucket: self.names.stream.clone(),
            num_replicas: self.settings.replicas,
            storage: self.storage(),
            ..Default::default()
        };
        jetstream.create_object_store(config).await.map_err(Fault::nats)
    }
}

/// The beginning of a session of the bus.
struct Found {
    stream: stream::Stream,
    descriptions: kv::Store,
    /// Revision of the description.
    revision: u64,
    joined: Option<Event>,
}

fn is_absent(error: &jetstream::context::GetStreamError) -> bool {
    matches!(
        error.kind(),
        GetStreamErrorKind::JetStream(error) if error.error_code() == jetstream::ErrorCode::STREAM_NOT_FOUND
    )
}

/// Returns the latest snapshot and its sequence, if it is of this epoch.
async fn snapshot(
    store: &object_store::ObjectStore,
    keys: &FleetKeys,
) -> Result<Option<(u64, Vec<u8>)>, Fault> {
    let mut object = match store.get(SNAPSHOT).await {
        Ok(object) => object,
        Err(error) if error.kind() == object_store::GetErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Fault::nats(error)),
    };
    let mut bytes = Vec::new();
    object.read_to_end(&mut bytes).await?;
    let opened = bytes.split_first_chunk().and_then(|(sequence, sealed)| {
        let sequence = u64::from_le_bytes(*sequence);
        Some((sequence, keys.open_snapshot(sequence, sealed)?))
    });
    Ok(opened)
}
