//! A fixture that runs one role without threads, for tests.
//!
//! Packets and session events go in, and effects come out, as values or as lines of text.

use std::cell::Cell;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use throng_core::SessionId;
use throng_core::content::{Effects, Job, Role};
use throng_core::crypto::{ClusterKey, Credentials, ResumeTokens};
use throng_core::links::{Backoff, LinkBoard, Links, Peer};
use throng_core::net::{Closed, Endpoint, Opened, PeerKind};
use throng_core::wire::packets::{
    self, Character, Claim, DbClaimsSynced, LinkHello, LoginRequest, PasswordText,
};
use throng_core::wire::{CloseReason, Packet, Text};

thread_local!(static NOW_MS: Cell<u64> = const { Cell::new(0) });

/// The wall clock of the test's thread, in milliseconds; [`RoleFixture::advance`] moves it.
pub(crate) fn now_ms() -> u64 {
    NOW_MS.get()
}

pub(crate) fn reset_clock() {
    NOW_MS.set(1_000_000);
}

pub(crate) fn advance_clock(time: Duration) {
    NOW_MS.set(now_ms() + time.as_millis() as u64);
}

/// Sets the wall clock forward or back; no other clock notices.
pub(crate) fn step_clock(seconds: i64) {
    NOW_MS.set(now_ms().saturating_add_signed(seconds * 1000));
}

pub(crate) const KEY: [u8; 32] = [9; 32];
pub(crate) const CHAT_KEY: [u8; 32] = [7; 32];
/// Returns the resume tokens of the chat server's start with this number.
pub(crate) fn resume_tokens(start: u64) -> ResumeTokens {
    let mut epoch = [0; 16];
    epoch[..8].copy_from_slice(&start.to_le_bytes());
    ResumeTokens::new(&ClusterKey::from_bytes(KEY), epoch)
}

pub(crate) const CLAIM: Claim = Claim { account: 4, id: 40 };

/// Returns the job for a role whose helpers have nothing to say.
pub(crate) fn lift<R>(job: Job<()>) -> Job<R> {
    match job {
        Job::Opened(session, opened) => Job::Opened(session, opened),
        Job::Packet(session, packet, received) => Job::Packet(session, packet, received),
        Job::Closed(session, closed) => Job::Closed(session, closed),
        Job::Record(()) => unreachable!("no helper says anything"),
    }
}

/// A role, its clock and its sessions.
pub(crate) struct RoleFixture<R> {
    role: R,
    now: Instant,
    sessions: u32,
}

impl<R: Role> RoleFixture<R> {
    /// Creates the fixture of a role with links to `peers`; `make` makes the role from its links.
    pub(crate) fn new(role: packets::Role, peers: &[packets::Role], make: impl FnOnce(Links) -> R) -> Self {
        reset_clock();
        let now = Instant::now();
        let peers = peers.iter().map(|role| Peer { role: *role, address: ([127, 0, 0, 1], 9).into() });
        let links = links(role, instance(role), peers.collect(), now);
        let mut fixture = Self { role: make(links), now, sessions: 0 };
        fixture.advance(Duration::ZERO);
        fixture
    }

    /// Brings up a link to a server and returns the effects of its hello. For a link that this side
    /// dialed, `dialled` is the peer's index.
    pub(crate) fn open_link(
        &mut self,
        role: packets::Role,
        dialled: Option<u64>,
    ) -> (SessionId, Vec<String>) {
        let link = self.open(PeerKind::Link, dialled).0;
        (link, self.deliver(link, hello(role, instance(role))))
    }

    /// Brings up a link to a DB agent that has compared the claims.
    pub(crate) fn open_db_agent(&mut self, dialled: u64) -> SessionId {
        let (agent, _) = self.open_link(packets::Role::DbAgent, Some(dialled));
        self.deliver(agent, DbClaimsSynced {});
        agent
    }

    pub(crate) fn open_client(&mut self) -> SessionId {
        self.open(PeerKind::Client, None).0
    }

    /// Opens a session of a client with this address.
    pub(crate) fn open_client_at(&mut self, address: IpAddr) -> SessionId {
        self.open_at(address, PeerKind::Client, None).0
    }

    /// Opens a client's session. Returns it with the effects.
    pub(crate) fn open_client_lines(&mut self) -> (SessionId, Vec<String>) {
        let (id, effects) = self.open(PeerKind::Client, None);
        (id, effects.describe())
    }

    fn open(&mut self, kind: PeerKind, dialed: Option<u64>) -> (SessionId, Effects) {
        self.open_at([127, 0, 0, 1].into(), kind, dialed)
    }

    fn open_at(&mut self, address: IpAddr, kind: PeerKind, dialed: Option<u64>) -> (SessionId, Effects) {
        self.sessions += 1;
        let id = SessionId::new(0, self.sessions, 0);
        let address = (address, 9).into();
        let effects = self.job(Job::Opened(id, Opened { kind, address, dialed }));
        (id, effects)
    }

    pub(crate) fn deliver(&mut self, from: SessionId, packet: impl Into<Packet>) -> Vec<String> {
        self.deliver_effects(from, packet).describe()
    }

    pub(crate) fn deliver_effects(&mut self, from: SessionId, packet: impl Into<Packet>) -> Effects {
        self.job(Job::Packet(from, packet.into(), self.now))
    }

    pub(crate) fn close_client(&mut self, id: SessionId) -> Vec<String> {
        self.close_client_effects(id).describe()
    }

    pub(crate) fn close_client_effects(&mut self, id: SessionId) -> Effects {
        self.close_client_effects_for(id, CloseReason::PeerClosed)
    }

    pub(crate) fn close_client_effects_for(&mut self, id: SessionId, reason: CloseReason) -> Effects {
        self.closed(id, PeerKind::Client, reason)
    }

    /// Ends a client's session for a reason that its shard has found.
    pub(crate) fn close_client_for(&mut self, id: SessionId, reason: CloseReason) -> Vec<String> {
        self.closed(id, PeerKind::Client, reason).describe()
    }

    pub(crate) fn close_link(&mut self, id: SessionId) -> Vec<String> {
        self.closed(id, PeerKind::Link, CloseReason::PeerClosed).describe()
    }

    fn closed(&mut self, id: SessionId, kind: PeerKind, reason: CloseReason) -> Effects {
        self.job(Job::Closed(id, Closed { kind, dialed: None, reason }))
    }

    /// Has the role handle what a helper says.
    pub(crate) fn record(&mut self, record: R::Record) -> Effects {
        self.job(Job::Record(record))
    }

    fn job(&mut self, job: Job<R::Record>) -> Effects {
        let mut effects = Effects::default();
        self.role.job(job, self.now, &mut effects);
        effects
    }

    pub(crate) fn now(&self) -> Instant {
        self.now
    }

    pub(crate) fn role(&self) -> &R {
        &self.role
    }

    /// Lets time pass.
    pub(crate) fn advance(&mut self, time: Duration) -> Vec<String> {
        self.advance_effects(time).describe()
    }

    pub(crate) fn advance_effects(&mut self, time: Duration) -> Effects {
        self.now += time;
        advance_clock(time);
        let mut effects = Effects::default();
        self.role.tick(self.now, &mut effects);
        effects
    }
}

/// Returns the line for a packet that is sent.
pub(crate) fn sent(to: SessionId, packet: impl Into<Packet>) -> String {
    format!("{to} <- {:?}", packet.into())
}

pub(crate) fn login_request() -> LoginRequest {
    LoginRequest { id: Text::truncated("alice"), password: PasswordText::new("password").unwrap() }
}

pub(crate) fn character() -> Character {
    Character { id: 1, name: Text::truncated("Alice"), level: 1, experience: 0 }
}

fn instance(role: packets::Role) -> u64 {
    1 + role as u64
}

pub(crate) fn hello(role: packets::Role, instance: u64) -> LinkHello {
    let client_address = Text::truncated("127.0.0.1:9200");
    LinkHello { role, name: Text::truncated(role.name()), instance, client_address, client_key: CHAT_KEY }
}

/// Returns the links of the server process `instance`.
pub(crate) fn links(role: packets::Role, instance: u64, peers: Vec<Peer>, now: Instant) -> Links {
    links_on(Arc::default(), role, instance, peers, now)
}

/// Longest pause between two dials of a [`links_on`].
pub(crate) const RETRY_MAX: Duration = Duration::from_secs(1);

/// Returns the links of the server process `instance`, whose state `board` shows.
pub(crate) fn links_on(
    board: Arc<LinkBoard>,
    role: packets::Role,
    instance: u64,
    peers: Vec<Peer>,
    now: Instant,
) -> Links {
    let backoff = Backoff { min: Duration::from_millis(50), max: RETRY_MAX };
    Links::new(hello(role, instance), Arc::new(endpoint()), backoff, peers, now, board)
}

/// Returns links that dial with these pauses.
pub(crate) fn links_with(
    backoff: Backoff,
    role: packets::Role,
    instance: u64,
    peers: Vec<Peer>,
    now: Instant,
) -> Links {
    Links::new(hello(role, instance), Arc::new(endpoint()), backoff, peers, now, Arc::default())
}

/// Returns link rules under which nothing is sent.
fn endpoint() -> Endpoint {
    Endpoint {
        peer: PeerKind::Link,
        credentials: Credentials::Link(ClusterKey::from_bytes(KEY)),
        body_max: 0,
        outbox_max: 0,
        handshake_timeout: Duration::ZERO,
        first_packet_timeout: None,
        heartbeat: None,
        idle_timeout: None,
        linger: Duration::ZERO,
    }
}
