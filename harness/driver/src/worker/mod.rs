//! A worker: one event loop and the clients that live on it.
//!
//! Client c of a run belongs to worker `c % workers` and has the place `c / workers` there.
//! Everything happens on the worker's own thread; other threads send [`Command`]s, read its
//! [`Panel`] and get its [`WorkerResults`] at the end.

mod chat_servers;
mod client;
mod cuts;
mod entry;
mod entry_limiter;
mod impaired;
mod leak_probe;
mod leaving;
mod lists;
mod messages;
mod moves;
mod ping;
mod publishing;
mod reconnect;
mod rooms;
mod turns;

use std::sync::{Arc, mpsc};
use std::time::Instant;

use rand::SeedableRng;
use rand::rngs::Xoshiro256PlusPlus;
use throng_core::SessionId;
use throng_core::net::{App, Closed, Mailbox, Opened, Sessions};
use throng_core::wire::{CloseReason, Packet};
use throng_harness_model::clock::{NEVER, Nanos};
use throng_harness_model::plan::{Plan, Server};
use throng_harness_model::results::{Event, Totals};

use crate::command::{Command, Why};
use crate::live::Panel;
use crate::results::WorkerResults;
use crate::verify::DeliveryLedger;
use client::{Client, Token};
use cuts::CutWork;
use entry::Entries;
use impaired::Impaired;
use leak_probe::LeakProbe;
use leaving::Exits;
use lists::ListWork;
use messages::Messages;
use moves::Moves;
use ping::Pinger;
use publishing::Publishing;
use reconnect::Reconnects;
use rooms::Rooms;

/// The application on a worker's event loop.
pub struct Worker {
    plan: Arc<Plan>,
    index: u32,
    /// The worker's own mailbox, for requesting another turn.
    mailbox: Arc<Mailbox<Command>>,
    clients: Vec<Client>,
    /// The token of the latest session in each slot.
    owners: Vec<Token>,
    /// Draws pauses, so that clients do not retry all at once.
    rng: Xoshiro256PlusPlus,
    entries: Entries,
    reconnects: Reconnects,
    cuts: CutWork,
    exits: Exits,
    messages: Messages,
    leak_probe: LeakProbe,
    pinger: Pinger,
    rooms: Rooms,
    moves: Moves,
    lists: ListWork,
    impaired: Impaired,
    publishing: Publishing,
    totals: Totals,
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
        Self {
            index,
            mailbox,
            clients: (0..count)
                .map(|place| Client { node: place as u32 * plan.workers + index, ..Client::default() })
                .collect(),
            owners: Vec::new(),
            rng: Xoshiro256PlusPlus::seed_from_u64(plan.seed ^ u64::from(index)),
            entries: Entries::new(&plan, index),
            reconnects: Reconnects::default(),
            cuts: CutWork::default(),
            exits: Exits::default(),
            messages: Messages::default(),
            leak_probe: LeakProbe::default(),
            pinger: Pinger::default(),
            rooms: Rooms::default(),
            moves: Moves::default(),
            lists: ListWork::default(),
            impaired: Impaired::default(),
            publishing: Publishing::new(panels),
            totals: Totals::default(),
            results,
            plan,
        }
    }

    /// The number in the run of the client in `place`.
    fn number(&self, place: usize) -> u32 {
        place as u32 * self.plan.workers + self.index
    }

    /// The place of a client of the run; none if the client belongs to another worker.
    fn place(&self, client: u32) -> Option<usize> {
        let workers = self.plan.workers;
        (client % workers == self.index).then_some((client / workers) as usize)
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

    fn count_reason(&mut self, event: Event, cause: impl Into<Why>) {
        self.results.reasons.count(event, cause, 1);
    }

    /// The time of the next scheduled work.
    fn next_due(&self) -> Nanos {
        let all = [
            self.next_entry_at(),
            self.entries.next_due(),
            self.reconnects.turns.next_due(),
            self.next_cut_work(),
            self.messages.next_due(),
            self.leak_probe.redial_at.unwrap_or(NEVER),
            self.pinger.due.unwrap_or(NEVER),
            self.rooms.next_due(),
            self.moves.turns.next_due(),
            self.impaired.next_due(),
            self.lists.next_due(),
        ];
        all.into_iter().min().unwrap_or(NEVER)
    }

    fn send_results(&mut self, to: &mpsc::Sender<WorkerResults>) {
        let empty = WorkerResults::new(DeliveryLedger::default());
        let mut results = std::mem::replace(&mut self.results, empty);
        self.messages.is_frozen = true;
        results.clients.refused = self.totals.refused;
        results.clients.failed = self.totals.failed;
        results.clients.disconnected = self.totals.disconnected;
        let ledger = &results.ledger;
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
            Some(Token::Chat(place)) => self.chat_opened(sessions, place as usize),
            Some(Token::LeakProbe) => self.totals.leak_probe_placed = 1,
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
        let Some(message) = self.room_message(sessions, room, encoded) else {
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
            Command::GiveUpEntries(why) => self.give_up_entries(sessions, &why),
            Command::StartProbing => self.start_probing(sessions),
            Command::SendProbe => self.probe(sessions),
            Command::CheckLists(check) => self.set_list_check(check),
            Command::Reconnect(per_second) => self.reconnect(per_second),
            Command::ReconnectAll => self.reconnect_all(sessions),
            Command::JoinRooms(joiners) => self.start_joining(joiners),
            Command::ResumeReading => self.resume_impaired(sessions),
            Command::StartSending { warmup, counted } => {
                self.begin_churn(counted.start());
                self.begin_moves(counted.start());
                self.begin_cuts(counted.start());
                self.impair_from(counted.start());
                self.start_sending(warmup, counted);
            }
            Command::MeasureReadLag(since) => self.publishing.arrivals.push(since),
            Command::StopSending => {
                self.messages.stop();
                self.end_pings();
                self.end_churn();
                self.end_moves();
                self.end_cuts();
                self.totals.stopped_sending = 1;
            }
            Command::StopCounting => self.messages.is_frozen = true,
            Command::Leave => {
                self.give_up_entries(sessions, &"the run is over".into());
                self.give_up_resuming(sessions);
                self.exits.begin();
            }
            Command::HandOverResults(to) => self.send_results(&to),
        }
    }

    fn turn(&mut self, sessions: &mut Sessions) -> Option<Instant> {
        let now = self.plan.clock.now();
        self.expire_entries(sessions, now);
        self.retry_due(sessions, now);
        let more_to_begin = self.entries_due(sessions, now);
        let more_to_begin = self.reconnects_due(sessions, now) || more_to_begin;
        let more_to_begin = self.cuts_due(sessions, now) || more_to_begin;
        let more_to_send = self.send_due(sessions);
        self.redial_leak_probe(sessions, now);
        self.ping_due(sessions, now);
        self.rooms_due(sessions, now);
        self.moves_due(sessions, now);
        self.impaired_due(sessions, now);
        self.lists_due(sessions, now);
        self.leave_due(sessions);
        self.publish(now);
        self.plan.clock.instant(if more_to_begin || more_to_send { now } else { self.next_due() })
    }
}
