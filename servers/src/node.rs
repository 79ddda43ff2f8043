//! The threads of one role: shards, content threads and an acceptor.
//!
//! All parts are built before the first thread starts, and stop in a fixed order: acceptor,
//! clients, queued work, links, threads. The deadline of the stop bounds the wait.

use std::io;
use std::sync::{Arc, Weak};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use thiserror::Error;
use throng_core::content::{Caused, ContentApp, ContentPool, Dispatcher, Job, Lane, Role, RoomPolicy};
use throng_core::metrics;
use throng_core::net::{Acceptor, AcceptorHandle, Listener, LogLimits, Mail, Mailbox, Shard, ShardSize};
use throng_core::wire::CloseReason;

/// A role cannot be started.
#[derive(Debug, Error)]
#[error("cannot start the {role} role ({stage}): {source}")]
pub struct StartError {
    role: &'static str,
    stage: &'static str,
    source: io::Error,
}

/// The size of a role.
#[derive(Debug, Clone, Copy)]
pub struct NodeSize {
    /// Number of event loops.
    pub shards: usize,
    /// Maximum number of client sessions, over all shards.
    pub clients: usize,
    /// Capacity of each shard's mailbox, in items.
    pub mailbox: usize,
    /// Number of content threads.
    pub content_threads: usize,
    /// Limits of the room logs that each shard keeps for members that are behind.
    pub logs: LogLimits,
    /// Time after which a client is closed whose socket takes nothing while data waits for it.
    pub slow_timeout: Duration,
    /// Size of the system's send buffer for one client's socket, in bytes.
    pub send_buffer: usize,
    /// Capacity of each content thread's lane, in jobs.
    pub lane: usize,
    /// Conditions under which rooms have keys of their own.
    pub rooms: RoomPolicy,
}

/// The parts of a role that is built and not started.
pub struct NodeParts<R> {
    name: &'static str,
    shards: Vec<Shard<Caused>>,
    pool: ContentPool<R>,
    rooms: RoomPolicy,
}

impl<R: Send + 'static> NodeParts<R> {
    /// Builds the shards and lanes of the role called `name`.
    pub fn build(name: &'static str, size: NodeSize) -> Result<Self, StartError> {
        let shard_size = ShardSize {
            clients: size.clients.div_ceil(size.shards.max(1)),
            mailbox: size.mailbox,
            logs: size.logs,
            slow_timeout: size.slow_timeout,
            send_buffer: size.send_buffer,
        };
        let shards = (0..size.shards.max(1))
            .map(|index| Shard::new(index, shard_size))
            .collect::<io::Result<Vec<_>>>()
            .map_err(|source| StartError { role: name, stage: "event loops", source })?;
        Ok(Self { name, shards, pool: ContentPool::new(size.content_threads, size.lane), rooms: size.rooms })
    }

    /// Returns the lanes, for the role's helper threads.
    pub fn lanes(&self) -> &[Arc<Lane<R>>] {
        self.pool.lanes()
    }

    /// Starts the threads, whose metrics are those of this thread's role. `on_failure` is called
    /// when an event loop fails.
    pub fn start(
        mut self,
        role: impl Role<Record = R>,
        listeners: Vec<Listener>,
        on_failure: impl Fn() + Clone + Send + 'static,
    ) -> Result<Node<R>, StartError> {
        let name = self.name;
        let failed = |stage| move |source| StartError { role: name, stage, source };
        let mailboxes: Vec<_> = self.shards.iter().map(Shard::mailbox).collect();
        let acceptor = Acceptor::new(listeners, &self.shards).map_err(failed("acceptor"))?;
        let dispatcher = Dispatcher::new(mailboxes.clone());
        let mut shards = Vec::new();
        for (index, shard) in self.shards.into_iter().enumerate() {
            let app = ContentApp::new(index, self.pool.lanes().to_vec(), shard.mailbox());
            let on_failure = on_failure.clone();
            let thread_name = format!("{name}-shard-{index}");
            let mailbox: Weak<Mailbox<Caused>> = Arc::downgrade(&shard.mailbox());
            metrics::watch(metrics::Queue::Mailbox, thread_name.clone(), mailbox);
            let run = metrics::in_same_role(move || {
                if let Err(error) = shard.run(app) {
                    tracing::error!(%error, "an event loop failed");
                    on_failure();
                }
            });
            let thread = std::thread::Builder::new().name(thread_name).spawn(run);
            shards.push(thread.map_err(failed("event loop"))?);
        }
        self.pool.spawn(name, role, self.rooms, &dispatcher).map_err(failed("content threads"))?;
        let acceptor = acceptor.spawn(format!("{name}-accept")).map_err(failed("acceptor"))?;
        Ok(Node { name, acceptor, shards, mailboxes, pool: self.pool })
    }
}

/// A running role.
pub struct Node<R> {
    name: &'static str,
    acceptor: AcceptorHandle,
    shards: Vec<JoinHandle<()>>,
    mailboxes: Vec<Arc<Mailbox<Caused>>>,
    pool: ContentPool<R>,
}

/// Interval at which the drained queues are checked.
const DRAIN_POLL: Duration = Duration::from_millis(5);

/// Time in which links may still send what is queued.
const LINK_LINGER: Duration = Duration::from_millis(200);

/// A role that accepts no more connections and has told every client to go.
pub struct Draining<R> {
    name: &'static str,
    shards: Vec<JoinHandle<()>>,
    mailboxes: Vec<Arc<Mailbox<Caused>>>,
    pool: ContentPool<R>,
}

impl<R: Send + 'static> Node<R> {
    /// Has the role handle a record.
    pub fn tell(&self, record: R) {
        push_record(&self.pool, record);
    }

    /// Begins to stop the role: closes the listeners and the connections of all clients.
    pub fn drain(self, reason: CloseReason) -> Draining<R> {
        tracing::info!(role = self.name, "draining");
        self.acceptor.stop();
        send_to_all(&self.mailboxes, || Mail::CloseClients(reason));
        Draining { name: self.name, shards: self.shards, mailboxes: self.mailboxes, pool: self.pool }
    }
}

impl<R: Send + 'static> Draining<R> {
    /// Has the role handle a last record once the queued work is complete.
    pub fn finish_with(&self, record: R, deadline: Instant) {
        wait_idle(&self.pool, &self.mailboxes, deadline);
        push_record(&self.pool, record);
    }

    /// Stops the role. Queued work completes first, so that claims are released over the links;
    /// then the links close and the threads end.
    pub fn stop(self, deadline: Instant) {
        wait_idle(&self.pool, &self.mailboxes, deadline);
        let patience = deadline.saturating_duration_since(Instant::now()).max(LINK_LINGER);
        send_to_all(&self.mailboxes, || Mail::Stop(CloseReason::ServerShutdown, patience));
        for shard in self.shards {
            // The panic hook has reported a shard that panicked.
            let _ = shard.join();
        }
        self.pool.stop();
        tracing::info!(role = self.name, "stopped");
    }
}

fn push_record<R: Send + 'static>(pool: &ContentPool<R>, record: R) {
    if let Some(lane) = pool.lanes().first() {
        // Refused only if its thread has ended.
        let _ = lane.push(Job::Record(record).into());
        lane.ring();
    }
}

fn send_to_all(mailboxes: &[Arc<Mailbox<Caused>>], make: impl Fn() -> Mail<Caused>) {
    for mailbox in mailboxes {
        // Refused only by a shard that has stopped already.
        let _ = mailbox.push(make());
        mailbox.ring();
    }
}

/// Waits until the queues were empty in four checks in a row, or until the deadline.
fn wait_idle<R: Send + 'static>(
    pool: &ContentPool<R>,
    mailboxes: &[Arc<Mailbox<Caused>>],
    deadline: Instant,
) {
    let mut idle = 0;
    while idle < 4 && Instant::now() < deadline {
        std::thread::sleep(DRAIN_POLL);
        let is_idle = pool.is_idle() && mailboxes.iter().all(|mailbox| mailbox.is_empty());
        idle = if is_idle { idle + 1 } else { 0 };
    }
}
