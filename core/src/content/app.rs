//! The loop's side of the content threads: events become jobs, commands become frames.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use super::pool::{Job, Lane};
use crate::SessionId;
use crate::net::{App, Closed, Endpoint, Opened, PeerKind, Sessions};
use crate::room::{Class, RoomId};
use crate::wire::{CloseReason, Packet};

/// What a content thread asks of a shard.
pub enum Command {
    /// Send a packet to a session.
    Send(SessionId, Box<Packet>),
    /// Send an encoded packet to a session, in two pieces, of which others may share the second.
    SendEncoded(SessionId, Box<[u8]>, Arc<[u8]>),
    /// Send an encoded packet to each of some sessions, as chat.
    Multicast(Box<[SessionId]>, Arc<[u8]>),
    /// Send each member of a room that this shard has the room's new key, after all that was sealed with the older
    /// one and before all that is sealed with it.
    Rekey(RoomId, Arc<Packet>),
    /// Send an encoded packet to each member of a room that this shard has.
    Copies(RoomId, Class, Arc<[u8]>),
    /// Append a frame, sealed at the given time with the room's key, to the room's log.
    Append(RoomId, Class, Arc<[u8]>, Instant),
    /// Make a session a member of a room.
    Join(SessionId, RoomId),
    /// End a session's membership of a room.
    Leave(SessionId, RoomId),
    /// End a session.
    Close(SessionId, CloseReason),
    /// Connect to another server.
    Dial(SocketAddr, Arc<Endpoint>, u64),
}

/// The lane, out of `lanes`, that all jobs of a session take.
pub fn lane_of(id: SessionId, lanes: usize) -> usize {
    (id.slot() ^ id.shard()) % lanes
}

/// The application of a server's shards: it hands everything to the content threads.
pub struct ContentApp<R> {
    shard: usize,
    lanes: Vec<Arc<Lane<R>>>,
    /// For each lane, beginnings and ends of sessions that it had no room for; while there are
    /// any, the lane takes no packets, which keeps every session's order. The table bounds it: a
    /// beginning is here only while its session lives, and an end only of a session that
    /// lived when the lane had room last.
    backlog: Vec<VecDeque<Job<R>>>,
}

impl<R: Send + 'static> ContentApp<R> {
    /// For shard number `shard`.
    pub fn new(shard: usize, lanes: Vec<Arc<Lane<R>>>) -> Self {
        let backlog = lanes.iter().map(|_| VecDeque::new()).collect();
        Self { shard, lanes, backlog }
    }

    /// Hands over a job that must not be lost.
    fn hand_over(&mut self, id: SessionId, job: Job<R>) {
        let lane = lane_of(id, self.lanes.len());
        self.backlog[lane].push_back(job);
        self.drain_backlog(lane);
    }

    /// Hands over the end of a session, unless nobody was told of its beginning.
    fn end(&mut self, id: SessionId, closed: Closed) {
        let backlog = &mut self.backlog[lane_of(id, self.lanes.len())];
        let beginning =
            backlog.iter().rposition(|job| matches!(job, Job::Opened(opened, _) if *opened == id));
        let is_unheard_of = beginning.and_then(|at| backlog.remove(at)).is_some();
        // Whoever dialled waits for an answer in any case.
        if !is_unheard_of || closed.dialled.is_some() {
            self.hand_over(id, Job::Closed(id, closed));
        }
    }

    fn drain_backlog(&mut self, lane: usize) {
        let queue = &self.lanes[lane];
        while let Some(job) = self.backlog[lane].pop_front() {
            if let Err(job) = queue.try_push_or_register(job, self.shard) {
                self.backlog[lane].push_front(job);
                break;
            }
        }
        queue.ring();
    }
}

impl<R: Send + 'static> App for ContentApp<R> {
    type Command = Command;

    fn opened(&mut self, _net: &mut Sessions, id: SessionId, opened: Opened) {
        self.hand_over(id, Job::Opened(id, opened));
    }

    fn packet(&mut self, sessions: &mut Sessions, id: SessionId, packet: Packet) -> Result<(), Packet> {
        let lane = lane_of(id, self.lanes.len());
        if !self.backlog[lane].is_empty() {
            self.drain_backlog(lane);
            if !self.backlog[lane].is_empty() {
                return Err(packet);
            }
        }
        let job = Job::Packet(id, packet, sessions.now());
        match self.lanes[lane].try_push_or_register(job, self.shard) {
            Ok(()) => {
                self.lanes[lane].ring();
                Ok(())
            }
            Err(Job::Packet(_, packet, _)) => Err(packet),
            Err(_) => unreachable!("a queue gives back what it was given"),
        }
    }

    fn closed(&mut self, _net: &mut Sessions, id: SessionId, closed: Closed) {
        self.end(id, closed);
    }

    fn is_behind(&self) -> bool {
        self.backlog.iter().any(|jobs| !jobs.is_empty())
    }

    fn command(&mut self, sessions: &mut Sessions, command: Command) {
        match command {
            Command::Send(id, packet) => sessions.send(id, &packet),
            Command::SendEncoded(id, begin, rest) => sessions.send_pieces(id, &[&begin, &rest]),
            Command::Multicast(to, encoded) => sessions.multicast(&to, &encoded),
            Command::Rekey(room, key) => sessions.rekey(room, &key),
            Command::Copies(room, class, encoded) => sessions.copies(room, class, &encoded),
            Command::Append(room, class, frame, sealed) => sessions.append(room, class, &frame, sealed),
            Command::Join(id, room) => sessions.join(id, room),
            Command::Leave(id, room) => sessions.leave(id, room),
            Command::Close(id, reason) => sessions.close(id, reason, ""),
            Command::Dial(address, endpoint, token) => {
                if let Err(error) = sessions.dial(address, &endpoint, token) {
                    tracing::warn!(%address, %error, "cannot dial");
                    // Nobody has the id; the token says which attempt failed.
                    let id = SessionId::from_bits(u64::MAX);
                    let reason = CloseReason::ConnectFailed;
                    let closed = Closed { kind: PeerKind::Link, dialled: Some(token), reason };
                    self.hand_over(id, Job::Closed(id, closed));
                }
            }
        }
    }

    fn turn(&mut self, _net: &mut Sessions) -> Option<Instant> {
        for lane in 0..self.lanes.len() {
            if !self.backlog[lane].is_empty() {
                self.drain_backlog(lane);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(generation: u32) -> SessionId {
        SessionId::new(0, 5, generation)
    }

    fn app(capacity: usize) -> (ContentApp<()>, Arc<Lane<()>>) {
        let lane = Arc::new(Lane::new(capacity, || {}));
        (ContentApp::new(0, vec![lane.clone()]), lane)
    }

    fn open(app: &mut ContentApp<()>, generation: u32) {
        let opened = Opened { kind: PeerKind::Client, address: ([127, 0, 0, 1], 9).into(), dialled: None };
        app.hand_over(id(generation), Job::Opened(id(generation), opened));
    }

    fn close(app: &mut ContentApp<()>, generation: u32, dialled: Option<u64>) {
        let closed = Closed { kind: PeerKind::Client, dialled, reason: CloseReason::PeerClosed };
        app.end(id(generation), closed);
    }

    /// What the content thread gets, as it makes room one by one.
    fn drain(app: &mut ContentApp<()>, lane: &Lane<()>) -> Vec<String> {
        let mut jobs = Vec::new();
        while let Some(job) = lane.pop() {
            jobs.push(match job {
                Job::Opened(id, _) => format!("+{}", id.generation()),
                Job::Closed(id, _) => format!("-{}", id.generation()),
                Job::Packet(..) | Job::Record(()) => unreachable!("none was pushed"),
            });
            app.drain_backlog(0);
        }
        assert!(!app.is_behind());
        jobs
    }

    #[test]
    fn beginnings_and_ends_outlast_a_full_lane_in_order() {
        let (mut app, lane) = app(1);
        open(&mut app, 0);
        close(&mut app, 0, None);
        open(&mut app, 1);
        assert!(app.is_behind());
        assert_ne!(lane.take_starved(), 0, "room will be reported");
        assert_eq!(drain(&mut app, &lane), ["+0", "-0", "+1"]);
    }

    #[test]
    fn sessions_that_come_and_go_while_the_lane_is_full_leave_nothing() {
        let (mut app, lane) = app(1);
        open(&mut app, 0);
        for generation in 1..10_000 {
            open(&mut app, generation);
            close(&mut app, generation, None);
        }
        assert!(app.backlog[0].is_empty());
        open(&mut app, 10_000);
        close(&mut app, 10_000, Some(7));
        assert_eq!(drain(&mut app, &lane), ["+0", "-10000"], "whoever dialled is told in any case");
    }
}
