//! The stage of an attack: servers, names and places that attackers and honest clients share.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU32, Ordering};

use throng_core::clock::unix_ms;
use throng_core::crypto::ClusterKey;
use throng_core::wire::packets::{IdText, PasswordText, PositionUpdate, TicketBytes, WishedChannel};
use throng_harness_model::identity::Identities;
use throng_harness_model::plan::Server;

/// The channel of the honest clients that share the attacker's room.
const NEAR_CHANNEL: u32 = 0;
/// The channel of the others.
const FAR_CHANNEL: u32 = 1;
/// The number of the first channel that an attacker makes.
const OWN_CHANNELS: u32 = 2;

/// The most attackers that enter the chat.
pub(crate) const MEMBERS_MAX: u32 = 64;

/// Sectors between the attacker's place and that of the honest clients of the other room.
const FAR: i32 = 1_000;

/// Shared by all parts of one attack.
#[derive(Debug)]
pub(crate) struct Scene {
    pub(crate) chat: Server,
    pub(crate) login: Option<Server>,
    pub(crate) cluster: ClusterKey,
    pub(crate) identities: Identities,
    /// Honest clients; attackers and newcomers have the numbers after them.
    pub(crate) clients: u32,
    pub(crate) sector_size: i32,
    /// Connections of an attack that needs many.
    pub(crate) sockets: usize,
    /// The address from which attackers connect.
    pub(crate) source: Option<IpAddr>,
    /// The victim's user id; 0 until it has entered.
    victim: AtomicU32,
}

impl Scene {
    pub(crate) fn new(
        (chat, login): (Server, Option<Server>),
        cluster: ClusterKey,
        identities: Identities,
        clients: u32,
        sector_size: i32,
        (sockets, source): (usize, Option<IpAddr>),
    ) -> Self {
        let victim = AtomicU32::new(0);
        Self { chat, login, cluster, identities, clients, sector_size, sockets, source, victim }
    }

    /// A ticket for client `number`; none if the system has no randomness to give.
    pub(crate) fn ticket(&self, number: u32) -> Option<TicketBytes> {
        self.identities.ticket(number, &self.cluster, self.chat.key, unix_ms()).ok()
    }

    /// The number of attacker `at`.
    pub(crate) fn attacker(&self, at: usize) -> u32 {
        self.clients + (at as u32).min(MEMBERS_MAX - 1)
    }

    /// The number of newcomer `count`, or of account `count`.
    pub(crate) fn newcomer(&self, count: u32) -> u32 {
        self.clients + MEMBERS_MAX + count
    }

    pub(crate) fn near_channel(&self) -> WishedChannel {
        self.identities.channel(NEAR_CHANNEL)
    }

    pub(crate) fn far_channel(&self) -> WishedChannel {
        self.identities.channel(FAR_CHANNEL)
    }

    /// The name of the attacker's channel number `count`.
    pub(crate) fn own_channel(&self, count: u32) -> WishedChannel {
        self.identities.channel(OWN_CHANNELS.saturating_add(count))
    }

    /// An account that does not exist, and a password.
    pub(crate) fn guess(&self, at: usize) -> (IdText, PasswordText) {
        let number = self.newcomer(0) + 100_000 + at as u32;
        (self.identities.id(number), self.identities.password(number))
    }

    /// The middle of the sector that is `x` and `y` sectors from the attacker's.
    pub(crate) fn sector(&self, x: i32, y: i32) -> PositionUpdate {
        let middle = |sector: i32| sector.saturating_mul(self.sector_size) + self.sector_size / 2;
        PositionUpdate { x: middle(x), y: middle(y) }
    }

    /// The place of honest client `number` of a group: in a block of two by two sectors, so that
    /// all of a group hear each other.
    pub(crate) fn place(&self, number: u32, is_far: bool) -> PositionUpdate {
        let from = if is_far { FAR } else { 0 };
        let [x, y] = [number & 1, number >> 1 & 1].map(u32::cast_signed);
        self.sector(from + x, from + y)
    }

    pub(crate) fn set_victim(&self, user: u32) {
        self.victim.store(user, Ordering::Relaxed);
    }

    pub(crate) fn victim(&self) -> u32 {
        self.victim.load(Ordering::Relaxed)
    }
}
