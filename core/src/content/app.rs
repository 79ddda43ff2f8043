//! The shards' side of the content threads: events become jobs, commands become frames.

use std::collections::VecDeque;
use std::fmt::Display;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use super::command::{Caused, Command, SessionCommand};
use super::job::{Job, Lane, Task, lane_of};
use crate::SessionId;
use crate::limits::{JOBS_PER_WAKE, LIST_PAGES_MAX, WINDOW_PAGE_UNITS, WINDOW_TEXT_BYTES, WINDOW_UNITS};
use crate::log::Outage;
use crate::metrics;
use crate::net::{App, Closed, Mailbox, Opened, PeerKind, Sessions};
use crate::window::Window;
use crate::wire::{CloseReason, Packet};

/// Application of a server's shards. It passes everything on to the content threads.
pub struct ContentApp<R> {
    shard: usize,
    lanes: Vec<Arc<Lane<R>>>,
    /// For each lane, `Opened` and `Closed` jobs that it had no room for. While there are any, the
    /// lane accepts no packets, which keeps the order of every session. The session table bounds
    /// the backlog: an `Opened` job is removed with its session, and a `Closed` job belongs to a
    /// session that was alive when the lane last had room.
    backlog: Vec<VecDeque<Job<R>>>,
    /// Windows of the clients, by the session's slot. Links have none: they carry the packets of
    /// many.
    windows: Vec<Option<Arc<Window>>>,
    /// Jobs queued in each lane since its thread was last woken.
    unannounced: Vec<usize>,
    /// Wakes the shard.
    wake: Arc<dyn Fn() + Send + Sync>,
}

impl<R: Send + 'static> ContentApp<R> {
    /// Creates the application of shard number `shard`, whose mailbox is `mailbox`.
    pub fn new(shard: usize, lanes: Vec<Arc<Lane<R>>>, mailbox: Arc<Mailbox<Caused>>) -> Self {
        let backlog = lanes.iter().map(|_| VecDeque::new()).collect();
        let unannounced = vec![0; lanes.len()];
        let wake = Arc::new(move || mailbox.ring());
        Self { shard, lanes, backlog, windows: Vec::new(), unannounced, wake }
    }

    /// Queues a job that must not be lost.
    fn push(&mut self, id: SessionId, job: Job<R>) {
        let lane = lane_of(id, self.lanes.len());
        self.backlog[lane].push_back(job);
        self.drain_backlog(lane);
    }

    /// Queues the end of a session, unless its `Opened` job is still in the backlog: then both are
    /// dropped.
    fn push_closed(&mut self, id: SessionId, closed: Closed) {
        let backlog = &mut self.backlog[lane_of(id, self.lanes.len())];
        let opened = backlog.iter().rposition(|job| matches!(job, Job::Opened(opened, _) if *opened == id));
        let is_unknown = opened.and_then(|at| backlog.remove(at)).is_some();
        // A dial is answered in any case.
        if !is_unknown || closed.dialed.is_some() {
            self.push(id, Job::Closed(id, closed));
        }
    }

    fn drain_backlog(&mut self, lane: usize) {
        while let Some(job) = self.backlog[lane].pop_front() {
            if let Err(Task { job, .. }) = self.lanes[lane].try_push_or_register(job.into(), self.shard) {
                self.backlog[lane].push_front(job);
                return self.announce(lane);
            }
            self.queued(lane);
        }
    }

    /// Counts a job that was queued. A content thread is woken once for many: on the shard's own
    /// core each wake-up is two switches between the threads. A core of its own should not wait for
    /// long, though.
    fn queued(&mut self, lane: usize) {
        self.unannounced[lane] += 1;
        if self.unannounced[lane] >= JOBS_PER_WAKE {
            self.announce(lane);
        }
    }

    fn announce(&mut self, lane: usize) {
        self.unannounced[lane] = 0;
        self.lanes[lane].ring();
    }

    fn announce_all(&mut self) {
        for lane in 0..self.lanes.len() {
            if self.unannounced[lane] > 0 {
                self.announce(lane);
            }
        }
    }
}

impl<R: Send + 'static> App for ContentApp<R> {
    type Command = Caused;

    fn opened(&mut self, _sessions: &mut Sessions, id: SessionId, opened: Opened) {
        if self.windows.len() <= id.slot() {
            self.windows.resize(id.slot() + 1, None);
        }
        // A window of its own for each session: what an earlier one in this slot has caused may
        // still be under way.
        self.windows[id.slot()] = (opened.kind == PeerKind::Client).then(|| Window::new(self.wake.clone()));
        self.push(id, Job::Opened(id, opened));
    }

    fn packet(&mut self, sessions: &mut Sessions, id: SessionId, packet: Packet) -> Result<(), Packet> {
        let lane = lane_of(id, self.lanes.len());
        if !self.backlog[lane].is_empty() {
            self.drain_backlog(lane);
            if !self.backlog[lane].is_empty() {
                return Err(packet);
            }
        }
        let window = self.windows.get(id.slot()).and_then(Option::as_ref);
        let charge = window.map(|window| window.admit(units(&packet)));
        if matches!(charge, Some(None)) {
            metrics::WINDOW_WAITS.inc();
            return Err(packet);
        }
        let task = Task { job: Job::Packet(id, packet, sessions.now()), charge: charge.flatten() };
        match self.lanes[lane].try_push_or_register(task, self.shard) {
            Ok(()) => {
                self.queued(lane);
                Ok(())
            }
            Err(Task { job: Job::Packet(_, packet, _), .. }) => Err(packet),
            Err(_) => unreachable!("a full queue gives back the job that was pushed"),
        }
    }

    fn closed(&mut self, _sessions: &mut Sessions, id: SessionId, closed: Closed) {
        if let Some(window) = self.windows.get_mut(id.slot()) {
            *window = None;
        }
        self.push_closed(id, closed);
    }

    fn is_behind(&self) -> bool {
        self.backlog.iter().any(|jobs| !jobs.is_empty())
    }

    fn command(&mut self, sessions: &mut Sessions, Caused { command, charge }: Caused) {
        match command {
            Command::ToSession(id, SessionCommand::Send(packet)) => sessions.send(id, &packet),
            Command::ToSession(id, SessionCommand::SendEncoded(begin, rest)) => {
                sessions.send_pieces(id, &[&begin, &rest]);
            }
            Command::ToSession(id, SessionCommand::Close(reason)) => sessions.close(id, reason, ""),
            Command::Multicast(sender, to, encoded) => sessions.multicast(sender, &to, &encoded),
            Command::Rekey(room, key) => sessions.rekey(room, &key),
            Command::Settle(room) => sessions.settle(room),
            Command::Copies(room, class, encoded) => sessions.copies(room, class, &encoded),
            Command::Append(room, class, frame, sealed_at) => {
                sessions.append(room, class, &frame, sealed_at);
                return sessions.hold_until_swept(room, charge);
            }
            Command::Join(id, room) => sessions.join(id, room),
            Command::Leave(id, room) => sessions.leave(id, room),
            Command::Dial(address, endpoint, token) => {
                let dialed = sessions.dial(address, &endpoint, token);
                log_dial(&NO_DIALS, address, dialed.as_ref().err(), sessions.now());
                if dialed.is_err() {
                    // There is no session; the token identifies the dial.
                    let id = SessionId::from_bits(u64::MAX);
                    let reason = CloseReason::ConnectFailed;
                    let closed = Closed { kind: PeerKind::Link, dialed: Some(token), reason };
                    self.push(id, Job::Closed(id, closed));
                }
            }
        }
        sessions.hold_until_flushed(charge);
    }

    fn turn(&mut self, _sessions: &mut Sessions) -> Option<Instant> {
        for lane in 0..self.lanes.len() {
            if !self.backlog[lane].is_empty() {
                self.drain_backlog(lane);
            }
        }
        self.announce_all();
        None
    }

    fn end_turn(&mut self) {
        self.announce_all();
    }
}

/// Dials that the system refuses at once, for example for lack of file descriptors.
static NO_DIALS: Outage = Outage::new();

fn log_dial(outage: &Outage, address: SocketAddr, error: Option<&impl Display>, now: Instant) {
    if let Some(error) = error {
        if let Some(lasting) = outage.occurs(now) {
            tracing::warn!(%address, %error, "cannot dial{lasting}");
        }
    } else if let Some(lasting) = outage.ends(now) {
        tracing::info!(%address, "can dial again{lasting}");
    }
}

/// Returns the units that a packet takes of its sender's window.
fn units(packet: &Packet) -> u32 {
    match packet {
        Packet::ChatRequest(request) => 1 + (request.text.len() / WINDOW_TEXT_BYTES) as u32,
        Packet::UserListRequest(request) => {
            WINDOW_PAGE_UNITS * u32::from(request.pages.clamp(1, LIST_PAGES_MAX))
        }
        Packet::ChannelListRequest(_) | Packet::HistoryRequest(_) => WINDOW_PAGE_UNITS,
        // It may send as much as many pages.
        Packet::ResumeRequest(_) => WINDOW_UNITS,
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use super::*;
    use crate::log::fixture::captured;
    use crate::wire::List;
    use crate::wire::packets::{HistoryRequest, PingRequest, ResumeRequest, ResumeTokenBytes};

    fn id(generation: u32) -> SessionId {
        SessionId::new(0, 5, generation)
    }

    fn app(capacity: usize) -> (ContentApp<()>, Arc<Lane<()>>) {
        let lane = Arc::new(Lane::new(capacity, || {}));
        (ContentApp::new(0, vec![lane.clone()], Arc::new(Mailbox::new(8, || {}))), lane)
    }

    fn open(app: &mut ContentApp<()>, generation: u32) {
        let opened = Opened { kind: PeerKind::Client, address: ([127, 0, 0, 1], 9).into(), dialed: None };
        app.push(id(generation), Job::Opened(id(generation), opened));
    }

    fn close(app: &mut ContentApp<()>, generation: u32, dialed: Option<u64>) {
        let closed = Closed { kind: PeerKind::Client, dialed, reason: CloseReason::PeerClosed };
        app.push_closed(id(generation), closed);
    }

    /// Takes all jobs as the content thread would, making room for one at a time.
    fn drain(app: &mut ContentApp<()>, lane: &Lane<()>) -> Vec<String> {
        let mut jobs = Vec::new();
        while let Some(Task { job, .. }) = lane.pop() {
            jobs.push(match job {
                Job::Opened(id, _) => format!("+{}", id.generation()),
                Job::Closed(id, _) => format!("-{}", id.generation()),
                Job::Packet(..) | Job::Record(()) => unreachable!("the test pushes neither"),
            });
            app.drain_backlog(0);
        }
        assert!(!app.is_behind());
        jobs
    }

    #[test]
    fn a_content_thread_is_woken_once_for_the_jobs_of_a_turn() {
        let wakes = Arc::new(AtomicUsize::new(0));
        let count = wakes.clone();
        let lane = Arc::new(Lane::new(2 * JOBS_PER_WAKE, move || {
            count.fetch_add(1, Ordering::Relaxed);
        }));
        let mut app = ContentApp::new(0, vec![lane.clone()], Arc::new(Mailbox::new(8, || {})));
        open(&mut app, 0);
        open(&mut app, 1);
        assert_eq!(wakes.load(Ordering::Relaxed), 0, "more jobs may follow");
        app.end_turn();
        app.end_turn();
        assert_eq!(wakes.load(Ordering::Relaxed), 1);
        lane.clear_bell();
        for generation in 2..2 + JOBS_PER_WAKE as u32 {
            open(&mut app, generation);
        }
        assert_eq!(wakes.load(Ordering::Relaxed), 2, "many jobs do not wait for the end of the turn");
        drain(&mut app, &lane);
    }

    #[test]
    fn a_request_takes_more_of_the_window_the_more_it_may_send() {
        let resume = ResumeRequest {
            token: ResumeTokenBytes::default(),
            answers: 0,
            whispers: 0,
            world: 0,
            list_version: 0,
            channels: List::default(),
        };
        let page = HistoryRequest { channel: 0, before: 0, count: 255 };
        let ping = PingRequest { token: 1 };
        assert_eq!([units(&ping.into()), units(&page.into()), units(&resume.into())], [1, 4, 8]);
    }

    #[test]
    fn opened_and_closed_jobs_outlast_a_full_lane_in_order() {
        let (mut app, lane) = app(1);
        open(&mut app, 0);
        close(&mut app, 0, None);
        open(&mut app, 1);
        assert!(app.is_behind());
        assert_ne!(lane.take_registered(), 0, "the shard is registered for room");
        assert_eq!(drain(&mut app, &lane), ["+0", "-0", "+1"]);
    }

    #[test]
    fn dials_that_the_system_refuses_are_logged_once_and_so_is_their_end() {
        let (start, outage) = (Instant::now(), Outage::new());
        let address = ([127, 0, 0, 1], 9).into();
        let log = |second, error: Option<&&str>| {
            log_dial(&outage, address, error, start + Duration::from_secs(second));
        };
        let lines = captured(|| {
            log(0, None);
            for second in 1..=90 {
                log(second, Some(&"no descriptor"));
            }
            log(91, None);
            log(92, None);
        });
        assert_eq!(
            lines,
            [
                "WARN cannot dial address=127.0.0.1:9 error=no descriptor",
                "WARN cannot dial (61 times in 60 s) address=127.0.0.1:9 error=no descriptor",
                "INFO can dial again (90 times in 90 s) address=127.0.0.1:9",
            ]
        );
    }

    #[test]
    fn sessions_that_come_and_go_while_the_lane_is_full_leave_no_jobs() {
        let (mut app, lane) = app(1);
        open(&mut app, 0);
        for generation in 1..10_000 {
            open(&mut app, generation);
            close(&mut app, generation, None);
        }
        assert!(app.backlog[0].is_empty());
        open(&mut app, 10_000);
        close(&mut app, 10_000, Some(7));
        assert_eq!(drain(&mut app, &lane), ["+0", "-10000"], "a dial is answered in any case");
    }
}
