//! A worker: one event loop and the clients that live on it.
//!
//! Client c of a run belongs to worker `c % workers` and has the place `c / workers` there.
//! Everything happens on the worker's own thread; other threads send [`Command`]s, read its
//! [`Panel`] and get its [`WorkerResults`] at the end.

mod chat_servers;
mod client;
mod entry;
mod entry_limiter;
mod impaired;
mod incoming;
mod leaving;
mod lists;
mod messages;
mod moves;
mod ping;
mod reconnect;
mod rooms;

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap, VecDeque};
use std::sync::{Arc, mpsc};
use std::time::Instant;

use rand::SeedableRng;
use rand::rngs::Xoshiro256PlusPlus;
use throng_core::SessionId;
use throng_core::net::{App, Closed, Mailbox, Opened, Sessions};
use throng_core::wire::{CloseReason, Packet};
use throng_harness_model::breakdown::Sampler;
use throng_harness_model::clock::{NEVER, Nanos};
use throng_harness_model::payload::Recent;
use throng_harness_model::plan::{Plan, Server};
use throng_harness_model::results::Totals;
use throng_harness_model::schedule::{SendCursor, Traffic};

use crate::command::Command;
use crate::live::Panel;
use crate::results::WorkerResults;
use crate::verify::DeliveryLedger;
use crate::window::Window;
use chat_servers::ChatServers;
use client::{Client, Step, Token};
use entry_limiter::EntryLimiter;
use impaired::Impaired;
use incoming::Incoming;
use lists::ListWork;
use messages::LeakProbe;
use moves::Moves;
use ping::Pinger;
use reconnect::Reconnects;
use rooms::Rooms;

/// The interval at which a worker publishes its latencies, in nanoseconds.
const PUBLISH_EVERY: Nanos = 500_000_000;

/// The application on a worker's event loop.
pub struct Worker {
    plan: Arc<Plan>,
    index: u32,
    panels: Arc<[Panel]>,
    /// The worker's own mailbox, for requesting another turn.
    mailbox: Arc<Mailbox<Command>>,
    clients: Vec<Client>,
    /// The token of the latest session in each slot.
    owners: Vec<Token>,
    /// Entries begun: the first of each client in order, then further rounds.
    entries_begun: usize,
    /// Clients that wait for their next round, each once.
    next_round: VecDeque<u32>,
    /// Entering clients by deadline.
    entering: BTreeSet<(Nanos, u32)>,
    entry_limiter: EntryLimiter,
    /// Scheduled attempts.
    retries: BinaryHeap<Reverse<(Nanos, u32)>>,
    /// Chat servers named in login answers.
    chat_servers: ChatServers,
    rng: Xoshiro256PlusPlus,
    warmup: Option<SendCursor>,
    counted: Option<SendCursor>,
    /// The window of a closed loop, which holds counted messages back.
    window: Option<Window>,
    leak_probe: LeakProbe,
    /// The payload that was read last.
    recent: Recent,
    pinger: Pinger,
    rooms: Rooms,
    moves: Moves,
    lists: ListWork,
    reconnects: Reconnects,
    /// Disconnected clients that are to reconnect, in order.
    returning: VecDeque<u32>,
    impaired: Impaired,
    sampler: Sampler,
    /// False once results are frozen.
    is_counting: bool,
    /// The next client to be asked to leave; none before [`Command::Leave`].
    next_to_leave: Option<usize>,
    /// Clients whose exit has no answer yet.
    leaving: u32,
    /// Arrival times of [`Command::Lag`] that are not measured yet.
    lags: Vec<Nanos>,
    totals: Totals,
    published: Nanos,
    results: WorkerResults,
}

impl Worker {
    /// Worker number `index` of the plan. `mailbox` is its own loop's.
    pub fn new(plan: Arc<Plan>, index: u32, panels: Arc<[Panel]>, mailbox: Arc<Mailbox<Command>>) -> Self {
        let count = plan.share(plan.clients, index) as usize;
        let ids = (index..plan.clients).step_by(plan.workers as usize);
        // The leak probe has the account after the last client.
        let ledger = DeliveryLedger::new(plan.traffic.clone(), ids.chain([plan.clients]));
        let results = WorkerResults::new(ledger);
        let in_flight = plan.share(plan.in_flight, index);
        let entry_limiter =
            if plan.is_adaptive { EntryLimiter::adaptive(in_flight) } else { EntryLimiter::fixed(in_flight) };
        Self {
            index,
            panels,
            mailbox,
            clients: (0..count).map(|_| Client::default()).collect(),
            owners: Vec::new(),
            entries_begun: 0,
            next_round: VecDeque::new(),
            entering: BTreeSet::new(),
            entry_limiter,
            retries: BinaryHeap::new(),
            chat_servers: ChatServers::default(),
            rng: Xoshiro256PlusPlus::seed_from_u64(plan.seed ^ u64::from(index)),
            warmup: None,
            counted: None,
            window: None,
            leak_probe: LeakProbe::default(),
            recent: Recent::default(),
            pinger: Pinger::default(),
            rooms: Rooms::default(),
            moves: Moves::default(),
            lists: ListWork::default(),
            reconnects: Reconnects::default(),
            returning: VecDeque::new(),
            impaired: Impaired::default(),
            sampler: Sampler::default(),
            is_counting: true,
            next_to_leave: None,
            leaving: 0,
            lags: Vec::new(),
            totals: Totals::default(),
            published: 0,
            results,
            plan,
        }
    }

    /// The number in the run of the client in `place`.
    fn number(&self, place: usize) -> u32 {
        place as u32 * self.plan.workers + self.index
    }

    /// The owner of session `id`; none if the owner has dropped it.
    fn owner(&self, id: SessionId) -> Option<Token> {
        let token = *self.owners.get(id.slot())?;
        let session = match token {
            Token::Chat(place) => self.clients[place as usize].chat,
            Token::Login(place) => self.clients[place as usize].login,
            Token::LeakProbe => self.leak_probe.session,
        };
        (session == Some(id)).then_some(token)
    }

    fn dial(&mut self, sessions: &mut Sessions, server: &Server, token: Token) -> std::io::Result<SessionId> {
        let source = match token {
            Token::Login(place) | Token::Chat(place) => {
                self.plan.source(self.number(place as usize), server.address)
            }
            Token::LeakProbe => None,
        };
        let id = sessions.dial_from(source, server.address, &server.endpoint, token.to_bits())?;
        if self.owners.len() <= id.slot() {
            self.owners.resize(id.slot() + 1, Token::LeakProbe);
        }
        self.owners[id.slot()] = token;
        Ok(id)
    }

    fn count_reason(&mut self, kind: &str, why: &str) {
        self.count_reasons(kind, why, 1);
    }

    fn count_reasons(&mut self, kind: &str, why: &str, count: u64) {
        *self.results.clients.reasons.entry(format!("{kind}: {why}")).or_default() += count;
    }

    fn publish(&mut self) {
        self.totals.on_the_way = self.entering.len() as u64;
        self.panels[self.index as usize].publish(self.totals);
    }

    fn publish_latencies(&mut self, now: Nanos) {
        if now >= self.published + PUBLISH_EVERY {
            self.published = now;
            self.panels[self.index as usize].publish_latencies(&self.results.recorder.corrected);
        }
    }

    /// The time of the next scheduled work.
    fn next_due(&self) -> Nanos {
        let counted = self.counted.as_ref().filter(|_| !self.is_held_back());
        let cursors = [self.warmup.as_ref(), counted].into_iter().flatten();
        let send = cursors.map(SendCursor::next_due).min().unwrap_or(NEVER);
        let retry = self.retries.peek().map_or(NEVER, |Reverse((at, _))| *at);
        let deadline = self.entering.first().map_or(NEVER, |(at, _)| *at);
        let others = [self.next_entry_at(), self.leak_probe.redial_at, self.pinger.due];
        let more = [
            self.rooms.next_due(),
            self.moves.next_due(),
            self.impaired.next_due(),
            self.lists.next_due(),
            self.reconnects.next_due(),
        ];
        [send, retry, deadline].into_iter().chain(others).chain(more).min().unwrap_or(NEVER)
    }

    fn send_results(&mut self, to: &mpsc::Sender<WorkerResults>) {
        let empty = WorkerResults::new(DeliveryLedger::default());
        let mut results = std::mem::replace(&mut self.results, empty);
        self.is_counting = false;
        results.clients.refused = self.totals.refused;
        results.clients.failed = self.totals.failed;
        results.clients.disconnected = self.totals.disconnected;
        let ledger = &results.tally;
        let recipients =
            self.clients.iter().enumerate().filter_map(|(place, client)| {
                client.recipient(self.number(place), ledger.entered_at(place)?)
            });
        results.recipients = recipients.collect();
        // The receiver is gone only if the run has failed.
        let _ = to.send(results);
    }
}

impl App for Worker {
    type Command = Command;

    fn opened(&mut self, sessions: &mut Sessions, id: SessionId, _: Opened) {
        match self.owner(id) {
            Some(Token::Login(place)) => self.login_opened(sessions, place as usize),
            Some(Token::Chat(place)) => self.advance(sessions, place as usize, Step::Enter),
            Some(Token::LeakProbe) => self.totals.outside = 1,
            None => {}
        }
    }

    fn packet(&mut self, sessions: &mut Sessions, id: SessionId, packet: Packet) -> Result<(), Packet> {
        let is_allowed = match (self.owner(id), packet) {
            (Some(Token::Chat(place)), packet) => self.chat_packet(sessions, place as usize, packet),
            (Some(Token::Login(place)), packet) => self.login_packet(sessions, place as usize, packet),
            (Some(Token::LeakProbe), packet) => {
                self.leak_probe_received(sessions, &packet);
                true
            }
            (None, _) => true,
        };
        if !is_allowed {
            sessions.close(id, CloseReason::PacketNotAllowed, "");
        }
        Ok(())
    }

    fn room_packet(&mut self, sessions: &mut Sessions, id: SessionId, room: u32, encoded: &[u8]) -> bool {
        let Some(Token::Chat(place)) = self.owner(id) else { return false };
        let Some(message) = Incoming::parse(encoded).filter(|message| message.room() == Some(room)) else {
            return self.skip_notice(place as usize, room, encoded);
        };
        self.message_received(sessions, place as usize, &message);
        true
    }

    fn closed(&mut self, sessions: &mut Sessions, id: SessionId, closed: Closed) {
        match self.owner(id) {
            Some(Token::Chat(place)) => self.chat_closed(sessions, place as usize, closed.reason),
            Some(Token::Login(place)) => self.login_closed(sessions, place as usize, closed.reason),
            Some(Token::LeakProbe) => self.leak_probe_closed(sessions, closed.reason),
            None => {}
        }
        // `closed` is called after the turn's end, so its consequences need another turn.
        self.mailbox.ring();
    }

    fn command(&mut self, sessions: &mut Sessions, command: Command) {
        match command {
            Command::GiveUp(why) => self.give_up_entries(sessions, &why),
            Command::Watch => self.watch(sessions),
            Command::Probe => self.probe(sessions),
            Command::LookAtLists(check) => self.set_list_check(check),
            Command::Reconnect(per_second) => self.reconnect(per_second),
            Command::Storm => self.storm(sessions),
            Command::Gather(gather) => self.gather(gather),
            Command::Wake => self.wake_impaired(sessions),
            Command::Talk { warmup, counted } => {
                self.begin_churn(counted.start());
                self.begin_moves(counted.start());
                self.impair_from(counted.start());
                let plan = &self.plan;
                let cursor = |traffic: &Arc<Traffic>, schedule| {
                    Some(SendCursor::new(traffic.clone(), schedule, self.index, plan.workers))
                };
                (self.warmup, self.counted) = (cursor(&plan.warmup, warmup), cursor(&plan.traffic, counted));
                self.window = plan.ahead.map(|ahead| self.open_window(ahead));
            }
            Command::Lag(since) => self.lags.push(since),
            Command::Hush => {
                (self.warmup, self.counted) = (None, None);
                self.end_pings();
                self.end_churn();
                self.end_moves();
                self.totals.hushed = 1;
            }
            Command::Freeze => self.is_counting = false,
            Command::Leave => {
                self.give_up_entries(sessions, "the run is over");
                self.next_to_leave = Some(0);
            }
            Command::WorkerResults(to) => self.send_results(&to),
        }
    }

    fn turn(&mut self, sessions: &mut Sessions) -> Option<Instant> {
        let now = self.plan.clock.now();
        self.expire_entries(sessions, now);
        self.retry_due(sessions, now);
        let more_to_begin = self.entries_due(sessions, now);
        let more_to_begin = self.reconnects_due(sessions, now) || more_to_begin;
        let more_to_send = self.send_due(sessions);
        self.redial_leak_probe(sessions, now);
        self.ping_due(sessions, now);
        self.rooms_due(sessions, now);
        self.moves_due(sessions, now);
        self.impaired_due(sessions, now);
        self.lists_due(sessions, now);
        self.leave_due(sessions);
        // Every socket that was readable when this turn began has been read by now.
        for since in self.lags.drain(..) {
            let lag = self.plan.clock.now().saturating_sub(since);
            self.results.read_lag.record(lag);
            self.panels[self.index as usize].publish_read_lag(lag);
        }
        self.publish();
        self.publish_latencies(now);
        self.plan.clock.instant(if more_to_begin || more_to_send { now } else { self.next_due() })
    }
}
