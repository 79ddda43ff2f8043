//! The honest clients of one attack, and newcomers: an application on core's event loop.
//!
//! Half of the clients share the attacker's room, the others are in another channel and far away.
//! All say something by a fixed schedule, and latencies count from the intended time.

mod ledger;
mod members;
mod newcomers;
mod pacer;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::io;
use std::sync::{Arc, mpsc};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use throng_core::SessionId;
use throng_core::net::{App, Closed, Mail, Mailbox, Opened, Sessions, Shard, ShardSize};
use throng_core::wire::packets::{Close, UsersChanged};
use throng_core::wire::{CloseReason, Packet};
use throng_harness_driver::incoming::Incoming;
use throng_harness_model::clock::{Nanos, RunClock};
use throng_harness_model::payload::{Payload, Recent};
use throng_harness_model::record::{Latencies, Recorder};

pub(crate) use ledger::Counts;
use ledger::Ledger;
pub(crate) use members::RECEIVE_BUFFER;
use members::{Member, SlowLine};
use newcomers::Newcomer;
use pacer::Pacer;

use crate::attack::Room;
use crate::scene::Scene;

/// Commands that may wait for the loop.
const MAILBOX: usize = 1024;

/// Newcomers' connections beside those of the clients, closing ones included.
const SPARE_SESSIONS: usize = 4096;

/// The time for closing connections in order at the end.
const STOP_PATIENCE: Duration = Duration::from_millis(500);

/// The longest wait for an answer of the loop.
const ANSWER_PATIENCE: Duration = Duration::from_secs(30);

/// The schedule of one phase. Times are those of the run's clock.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Talk {
    /// The first message.
    pub(crate) from: Nanos,
    /// The first message whose latency counts.
    pub(crate) count_from: Nanos,
    /// The end.
    pub(crate) until: Nanos,
    /// Between two messages; never 0.
    pub(crate) interval: Nanos,
    /// Between two newcomers; never 0, and very long without newcomers.
    pub(crate) newcomer_interval: Nanos,
}

impl Talk {
    /// The time at which message `index` is due.
    fn message_at(&self, index: u64) -> Nanos {
        self.from.saturating_add(index.saturating_mul(self.interval))
    }

    /// The time at which newcomer `index` is due, the first after one interval.
    fn newcomer_at(&self, index: u64) -> Nanos {
        self.from.saturating_add((index + 1).saturating_mul(self.newcomer_interval))
    }
}

/// A command to the loop.
pub(crate) enum Command {
    /// Begins a phase.
    Talk(Talk),
    /// Measures the read lag of data that arrived at this time.
    Lag(Nanos),
    /// Has a slow client read all that waits for it, up to the next phase.
    Wake,
    /// Asks for the progress.
    Progress(mpsc::Sender<Progress>),
    /// Ends the phase, and asks for its results.
    Finish(mpsc::Sender<Heard>),
}

/// The state of the honest side.
#[derive(Debug, Clone, Default)]
pub(crate) struct Progress {
    /// Clients that are in the chat, in their channel and at their place.
    pub(crate) ready: u32,
    /// Clients that have lost their session.
    pub(crate) lost: u32,
    /// Pairs that have neither arrived nor been announced as missed.
    pub(crate) waiting: u64,
    /// Newcomers on their way.
    pub(crate) entering: usize,
    /// True if messages or newcomers of the phase have still to begin, also late.
    pub(crate) is_talking: bool,
    /// The user id of client 0.
    pub(crate) victim: u32,
    /// The latest failure of a client to enter.
    pub(crate) trouble: Option<String>,
}

/// The results of a phase.
#[derive(Debug, Clone, Default)]
pub(crate) struct Heard {
    /// Latencies of messages in the attacker's room.
    pub(crate) same: Latencies,
    /// Latencies of messages in the other room.
    pub(crate) other: Latencies,
    /// The delay of sending.
    pub(crate) recorder: Recorder,
    pub(crate) read_lag: Latencies,
    pub(crate) counts: Counts,
    /// Messages whose text was changed.
    pub(crate) corrupted: u64,
    /// Newcomers that began in the counted part.
    pub(crate) newcomers: u64,
    /// Of those, the ones that got in and were answered in time.
    pub(crate) entered: u64,
    /// From a newcomer's intended start to its first answer.
    pub(crate) entering: Latencies,
    /// Clients that lost their session in this phase.
    pub(crate) disconnected: u64,
    /// Reasons of newcomers that were turned away or late, and of lost sessions.
    pub(crate) reasons: BTreeMap<String, u64>,
    /// Time of the loop's thread in the counted part.
    pub(crate) ran: ThreadTime,
}

/// The settings of the honest side.
pub(crate) struct Settings {
    pub(crate) clock: RunClock,
    pub(crate) scene: Arc<Scene>,
    pub(crate) payload: Payload,
    /// The room of the clients near the attack.
    pub(crate) room: Room,
    /// True if the near clients' channel exists before them.
    pub(crate) channel_exists: bool,
    /// Bytes a second that client 0 reads, if it is slow.
    pub(crate) slow: Option<u32>,
    /// The longest way in of a newcomer.
    pub(crate) enter_timeout: Nanos,
    /// The accounts with which newcomers log in; none if they have tickets.
    pub(crate) accounts: Option<u32>,
    pub(crate) seed: u64,
}

/// The owner of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Owner {
    Member(u32),
    Newcomer(u32),
    /// A newcomer's session with the login server.
    LoggingIn(u32),
}

/// The honest clients, running on a thread of their own.
pub(crate) struct Crowd {
    mailbox: Arc<Mailbox<Command>>,
    thread: Option<JoinHandle<io::Result<()>>>,
    pacer: Option<Pacer>,
    clock: RunClock,
    seed: u64,
}

impl Crowd {
    /// Starts the loop, in which all clients begin to enter.
    pub(crate) fn start(settings: Settings) -> io::Result<Self> {
        let sessions = settings.scene.clients as usize + SPARE_SESSIONS;
        let shard = Shard::new(0, ShardSize::new(sessions, MAILBOX))?;
        let mailbox = shard.mailbox();
        let (clock, seed) = (settings.clock, settings.seed);
        let app = HonestApp::new(settings, mailbox.clone());
        let thread = thread::Builder::new().name("honest".into()).spawn(move || shard.run(app))?;
        mailbox.ring();
        Ok(Self { mailbox, thread: Some(thread), pacer: None, clock, seed })
    }

    /// Begins a phase.
    pub(crate) fn talk(&mut self, talk: Talk) -> io::Result<()> {
        self.tell(Command::Talk(talk));
        self.pacer = Some(Pacer::start(self.clock, talk, self.seed, self.mailbox.clone())?);
        Ok(())
    }

    /// Has a slow client read all that waits for it, so that the next phase begins without a
    /// backlog.
    pub(crate) fn wake(&self) {
        self.tell(Command::Wake);
    }

    /// The progress; none if the loop has ended or does not answer.
    pub(crate) fn progress(&self) -> Option<Progress> {
        self.ask(Command::Progress)
    }

    /// Ends the phase; none if the loop has ended or does not answer.
    pub(crate) fn finish(&mut self) -> Option<Heard> {
        self.pacer = None;
        self.ask(Command::Finish)
    }

    fn tell(&self, command: Command) {
        // A loop that has ended refuses it; the next question finds out.
        let _ = self.mailbox.push(Mail::App(command));
        self.mailbox.ring();
    }

    fn ask<T>(&self, question: impl FnOnce(mpsc::Sender<T>) -> Command) -> Option<T> {
        let (sender, receiver) = mpsc::channel();
        self.tell(question(sender));
        receiver.recv_timeout(ANSWER_PATIENCE).ok()
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        self.pacer = None;
        let _ = self.mailbox.push(Mail::Stop(CloseReason::Goodbye, STOP_PATIENCE));
        self.mailbox.ring();
        if let Some(thread) = self.thread.take() {
            // Its results have been taken.
            let _ = thread.join();
        }
    }
}

/// The application on the honest clients' event loop.
struct HonestApp {
    settings: Settings,
    mailbox: Arc<Mailbox<Command>>,
    owners: HashMap<SessionId, Owner>,
    members: Vec<Member>,
    /// Clients that are on their way in.
    entering: u32,
    /// The next client to begin.
    next_client: u32,
    /// Clients that try again, by time.
    retries: VecDeque<(Nanos, u32)>,
    /// True for a group whose channel exists.
    has_channel: [bool; 2],
    trouble: Option<String>,
    slow: Option<SlowLine>,
    newcomers: BTreeMap<u32, Newcomer>,
    next_newcomer: u32,
    newcomer_retries: VecDeque<(Nanos, u32)>,
    /// Newcomers' intended starts in this phase.
    newcomers_begun: u64,
    ledger: Ledger,
    /// The number of the phase's first message.
    base: u32,
    talk: Option<Talk>,
    /// The thread's time at the beginning of the counted part.
    ran_from: Option<ThreadTime>,
    ran_until: Option<ThreadTime>,
    recent: Recent,
    lags: Vec<Nanos>,
    heard: Heard,
}

impl HonestApp {
    fn new(settings: Settings, mailbox: Arc<Mailbox<Command>>) -> Self {
        let clients = settings.scene.clients;
        Self {
            members: (0..clients).map(|_| Member::default()).collect(),
            ledger: Ledger::new(clients, near_clients(clients)),
            has_channel: [settings.channel_exists, false],
            slow: settings.slow.map(SlowLine::new),
            settings,
            mailbox,
            owners: HashMap::new(),
            entering: 0,
            next_client: 0,
            retries: VecDeque::new(),
            trouble: None,
            newcomers: BTreeMap::new(),
            next_newcomer: 0,
            newcomer_retries: VecDeque::new(),
            newcomers_begun: 0,
            base: 0,
            talk: None,
            ran_from: None,
            ran_until: None,
            recent: Recent::default(),
            lags: Vec::new(),
            heard: Heard::default(),
        }
    }

    fn now(&self) -> Nanos {
        self.settings.clock.now()
    }

    fn count_reason(&mut self, reason: String) {
        *self.heard.reasons.entry(reason).or_default() += 1;
    }

    fn begin(&mut self, talk: Talk) {
        self.base += self.ledger.sent();
        self.ledger.begin();
        self.newcomers_begun = 0;
        (self.ran_from, self.ran_until) = (None, None);
        self.heard = Heard::default();
        self.talk = Some(talk);
    }

    fn progress(&self) -> Progress {
        let counts = match self.ledger.outstanding() {
            0 => Counts::default(),
            _ => self.ledger.settle(|client| self.is_present(client)),
        };
        Progress {
            ready: self.members.iter().filter(|member| member.is_ready()).count() as u32,
            lost: self.members.iter().filter(|member| member.is_lost()).count() as u32,
            waiting: counts.missing,
            entering: self.newcomers.values().filter(|newcomer| newcomer.is_on_the_way()).count(),
            is_talking: self.talk.is_some_and(|talk| {
                let message = talk.message_at(self.ledger.sent().into());
                message.min(talk.newcomer_at(self.newcomers_begun)) < talk.until
            }),
            victim: self.members.first().map_or(0, |member| member.user),
            trouble: self.trouble.clone(),
        }
    }

    fn finish(&mut self) -> Heard {
        self.talk = None;
        self.give_up_newcomers();
        let mut heard = std::mem::take(&mut self.heard);
        heard.counts = self.ledger.settle(|client| self.is_present(client));
        let end = self.ran_until.unwrap_or_else(|| ThreadTime::at(self.now()));
        heard.ran = self.ran_from.map_or_else(ThreadTime::default, |from| end.since(from));
        heard
    }

    /// Notes the thread's time at the bounds of the counted part.
    fn note_time(&mut self, now: Nanos) {
        let Some(talk) = self.talk else { return };
        if now >= talk.count_from && self.ran_from.is_none() {
            self.ran_from = Some(ThreadTime::at(now));
        }
        if now >= talk.until && self.ran_until.is_none() {
            self.ran_until = Some(ThreadTime::at(now));
        }
    }
}

/// The number of clients in the attacker's room.
pub(crate) fn near_clients(clients: u32) -> u32 {
    clients / 2
}

/// Time in which a thread ran, or would have.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct ThreadTime {
    /// Time on a core.
    pub(crate) on_core: Duration,
    /// Time in which it was ready and waited for a core.
    pub(crate) waiting: Duration,
    /// Time that has passed on the run's clock.
    pub(crate) elapsed: Duration,
}

impl ThreadTime {
    /// The times of this thread so far; zero where the kernel does not tell.
    fn at(now: Nanos) -> Self {
        let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
        let mut fields = text.split_ascii_whitespace().map_while(|field| field.parse().ok());
        let [on_core, waiting] = [fields.next(), fields.next()].map(Option::unwrap_or_default);
        let [on_core, waiting, elapsed] = [on_core, waiting, now].map(Duration::from_nanos);
        Self { on_core, waiting, elapsed }
    }

    fn since(self, earlier: Self) -> Self {
        Self {
            on_core: self.on_core.saturating_sub(earlier.on_core),
            waiting: self.waiting.saturating_sub(earlier.waiting),
            elapsed: self.elapsed.saturating_sub(earlier.elapsed),
        }
    }
}

impl App for HonestApp {
    type Command = Command;

    fn opened(&mut self, sessions: &mut Sessions, id: SessionId, _: Opened) {
        match self.owners.get(&id).copied() {
            Some(Owner::Member(client)) => self.member_opened(sessions, id, client),
            Some(Owner::Newcomer(number)) => self.newcomer_opened(sessions, id, number),
            Some(Owner::LoggingIn(number)) => self.login_opened(sessions, id, number),
            None => {}
        }
    }

    fn packet(&mut self, sessions: &mut Sessions, id: SessionId, packet: Packet) -> Result<(), Packet> {
        match self.owners.get(&id).copied() {
            Some(Owner::Member(client)) => self.member_packet(sessions, id, client, packet),
            Some(Owner::Newcomer(number)) => self.newcomer_packet(sessions, id, number, &packet),
            Some(Owner::LoggingIn(number)) => self.login_packet(sessions, id, number, packet),
            None => {}
        }
        Ok(())
    }

    fn room_packet(&mut self, sessions: &mut Sessions, id: SessionId, room: u32, encoded: &[u8]) -> bool {
        if let Some(Owner::Member(client)) = self.owners.get(&id).copied()
            && let Some(message) = Incoming::parse(encoded).filter(|message| message.is_of(room))
        {
            self.message_received(sessions, client, message);
        }
        // Notices, and messages to newcomers, are not looked at.
        true
    }

    fn closed(&mut self, sessions: &mut Sessions, id: SessionId, closed: Closed) {
        match self.owners.remove(&id) {
            Some(Owner::Member(client)) => self.member_closed(client, closed.reason),
            Some(Owner::Newcomer(number)) => self.newcomer_closed(sessions, number, closed.reason, false),
            Some(Owner::LoggingIn(number)) => self.newcomer_closed(sessions, number, closed.reason, true),
            None => {}
        }
        // `closed` comes after the turn's end, so its consequences need another turn.
        self.mailbox.ring();
    }

    fn command(&mut self, sessions: &mut Sessions, command: Command) {
        match command {
            Command::Talk(talk) => {
                self.begin(talk);
                self.slow_down(sessions);
            }
            Command::Wake => self.wake_slow(sessions),
            Command::Lag(since) => self.lags.push(since),
            // The receiver may have given up meanwhile.
            Command::Progress(to) => drop(to.send(self.progress())),
            Command::Finish(to) => {
                let heard = self.finish();
                drop(to.send(heard));
            }
        }
    }

    fn turn(&mut self, sessions: &mut Sessions) -> Option<Instant> {
        let now = self.now();
        self.note_time(now);
        let has_more = self.members_due(sessions, now) | self.messages_due(sessions);
        let slow = self.slow_due(sessions, now);
        let newcomers = self.newcomers_due(sessions, now);
        // Every socket that was readable when this turn began has been read by now.
        for since in std::mem::take(&mut self.lags) {
            self.heard.read_lag.record(self.settings.clock.now().saturating_sub(since));
        }
        let retry = self.retries.front().map(|(at, _)| *at);
        let next = [slow, newcomers, retry].into_iter().flatten().min();
        let next = if has_more { Some(now) } else { next };
        next.and_then(|at| self.settings.clock.instant(at))
    }
}

/// True for packets that need no reaction of a client.
fn is_background(packet: &Packet) -> bool {
    matches!(
        packet,
        Packet::UsersChanged(UsersChanged { .. }) | Packet::UserList(_) | Packet::Close(Close { .. })
    )
}
