//! The chat server as a node of a fleet.
//!
//! A fact of its users is proposed, comes back in the order of all nodes, and is applied then, here
//! as everywhere. Until it has come back, the packet's session waits with anything but further
//! messages. While the node is cut off, requests are refused, and nothing of them is half done.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use throng_core::SessionId;
use throng_core::content::Effects;
use throng_core::crypto::{ClusterKey, ResumeTokens};
use throng_core::metrics;
use throng_core::window::Charge;
use throng_core::wire::packets::{ChatNode, ChatNodes, LoginNotifyRoom, Outcome, Role, Scope};
use throng_core::wire::{CloseReason, List, Packet, Reader, Writer};

use super::continuation::Continuation;
use super::{Chat, ChatSettings, Fact, History, World};
use crate::fleet::{Batch, Command, Event, Ledger, Member, Node, NodeInfo, Reading, Timing};

/// Version of facts and snapshots. Nodes of different versions do not share a world.
const VERSION: u32 = 1;

/// Interval at which the longest present node keeps a snapshot.
const SNAPSHOT_INTERVAL: Duration = Duration::from_secs(30);

/// Interval at which login servers are told how much room there is.
const TELL_INTERVAL: Duration = Duration::from_millis(250);

/// Pause after which a node looks again at a user whose time is over, and which another node is to
/// let go.
const LEAVE_RETRY: Duration = Duration::from_secs(1);

/// Settings of a node.
pub struct FleetSettings {
    /// Its times.
    pub timing: Timing,
    /// Its description.
    pub info: NodeInfo,
    /// The key from which resume tokens are made.
    pub cluster: ClusterKey,
    /// Number by which the others know the node, drawn at random.
    pub instance: u64,
    /// The way to the bus.
    pub outlet: Box<dyn Fn(Command) + Send>,
}

/// The node.
pub(super) struct Fleet {
    timing: Timing,
    info: NodeInfo,
    cluster: ClusterKey,
    instance: u64,
    outlet: Box<dyn Fn(Command) + Send>,
    /// None until the bus has told where the order begins.
    member: Option<Member>,
    /// Requests whose facts are proposed and have not come back, in order.
    pending: VecDeque<Pending>,
    /// Sessions with something pending.
    busy: HashMap<SessionId, Busy>,
    /// Sessions that wait for nothing any more.
    released: VecDeque<SessionId>,
    snapshot_at: Instant,
    /// None while the server is to go on.
    drain: Option<Drain>,
    /// True if the node was not cut off at the latest poll.
    is_current: bool,
    /// Room that login servers were told of, and the time of it.
    told: (Option<u32>, Instant),
}

/// Sessions that are given to other nodes.
struct Drain {
    /// The next one last.
    sessions: Vec<SessionId>,
    pause: Duration,
    next: Instant,
}

struct Pending {
    then: Continuation,
    cause: Option<SessionId>,
    /// Part of the cause's window.
    _charge: Option<Charge>,
}

#[derive(Default)]
struct Busy {
    pending: usize,
    held: VecDeque<Held>,
}

/// A packet that waits for what its session has asked for before.
struct Held {
    packet: Packet,
    received: Instant,
    _charge: Option<Charge>,
}

impl Fleet {
    pub(super) fn new(settings: FleetSettings, now: Instant) -> Self {
        let FleetSettings { timing, info, cluster, instance, outlet } = settings;
        Self {
            timing,
            info,
            cluster,
            instance,
            outlet,
            member: None,
            pending: VecDeque::new(),
            busy: HashMap::new(),
            released: VecDeque::new(),
            snapshot_at: now,
            drain: None,
            is_current: false,
            told: (None, now),
        }
    }

    /// Returns this node's number, once it takes part.
    pub(super) fn id(&self) -> Option<u32> {
        self.member.as_ref().and_then(Member::id)
    }

    /// Returns the number of nodes that take part.
    #[cfg(test)]
    pub(super) fn nodes(&self) -> usize {
        self.member.as_ref().map_or(0, |member| member.ledger().nodes().count())
    }

    /// Returns true if requests may be proposed.
    pub(super) fn accepts(&self, now: Instant) -> bool {
        self.member.as_ref().is_some_and(|member| member.is_current(now) && !member.is_full())
    }

    /// Returns true if users may enter or resume here.
    pub(super) fn takes_users(&self, now: Instant) -> bool {
        self.drain.is_none() && self.accepts(now)
    }

    /// Returns true if this node lets the users of a node go whose time is over.
    fn is_responsible_for(&self, node: u32) -> bool {
        let Some(member) = &self.member else { return false };
        let is_there = member.ledger().nodes().any(|(_, other)| other.id == node);
        member.id() == if is_there { Some(node) } else { member.ledger().lowest() }
    }

    /// Returns true if a packet of a session has to wait for what is pending.
    pub(super) fn must_wait(&self, session: SessionId, packet: &Packet) -> bool {
        let Some(busy) = self.busy.get(&session) else { return false };
        let may_follow = matches!(packet, Packet::ChatRequest(request) if request.scope != Scope::Nearby);
        !busy.held.is_empty() || !may_follow
    }

    /// Keeps a packet until nothing of its session is pending.
    pub(super) fn hold(
        &mut self,
        session: SessionId,
        packet: Packet,
        received: Instant,
        charge: Option<Charge>,
    ) {
        let busy = self.busy.entry(session).or_default();
        busy.held.push_back(Held { packet, received, _charge: charge });
    }

    /// Forgets a session that has ended. What is pending of it still comes about.
    pub(super) fn forget(&mut self, session: SessionId) {
        self.busy.remove(&session);
    }

    fn propose(&mut self, fact: &Fact, then: Continuation, cause: Option<SessionId>, charge: Option<Charge>) {
        let Some(member) = &mut self.member else { return };
        member.propose(|out| fact.encode(out));
        if let Some(cause) = cause {
            self.busy.entry(cause).or_default().pending += 1;
        }
        self.pending.push_back(Pending { then, cause, _charge: charge });
        metrics::FLEET_PENDING.set_count(self.pending.len());
    }

    /// Ends the oldest pending request. Returns its continuation.
    fn settle(&mut self) -> Option<Continuation> {
        let Pending { then, cause, .. } = self.pending.pop_front()?;
        metrics::FLEET_PENDING.set_count(self.pending.len());
        if let Some(cause) = cause
            && let Some(busy) = self.busy.get_mut(&cause)
        {
            busy.pending = busy.pending.saturating_sub(1);
            if busy.pending == 0 {
                self.released.push_back(cause);
            }
        }
        Some(then)
    }

    /// Returns the next packet whose session waits for nothing any more.
    fn release(&mut self) -> Option<(SessionId, Held)> {
        while let Some(session) = self.released.front().copied() {
            let busy = self.busy.get_mut(&session).filter(|busy| busy.pending == 0);
            if let Some(held) = busy.and_then(|busy| busy.held.pop_front()) {
                return Some((session, held));
            }
            self.released.pop_front();
            if self.busy.get(&session).is_some_and(|busy| busy.pending == 0 && busy.held.is_empty()) {
                self.busy.remove(&session);
            }
        }
        None
    }
}

/// Returns the nodes as clients are told of them, the longest present first.
fn named(member: &Member) -> ChatNodes {
    let mut nodes: Vec<_> = member.ledger().nodes().map(|(_, node)| node).collect();
    nodes.sort_unstable_by_key(|node| node.id);
    let node =
        |node: &Node| ChatNode { address: node.info.client_address.clone(), key: node.info.client_key };
    ChatNodes { nodes: List::take_from(&mut nodes.into_iter().map(node)) }
}

/// Returns what all nodes of a world must share, encoded.
pub fn description(settings: &ChatSettings) -> Vec<u8> {
    let mut out = Vec::new();
    let mut writer = Writer::new(&mut out);
    writer.u32(VERSION);
    writer.u32(settings.world.channels as u32);
    writer.u32(settings.world.channels_per_user as u32);
    writer.u32(settings.sector_size);
    out
}

impl Chat {
    /// Has a fact applied: at once, or in the order of the fleet. `cause` is the session that asked
    /// for it.
    pub(super) fn propose(
        &mut self,
        fact: Fact,
        then: Continuation,
        cause: Option<SessionId>,
        now: Instant,
        effects: &mut Effects,
    ) {
        let Some(fleet) = &mut self.fleet else {
            let applied = self.commit(super::HERE, fact, now, effects);
            return self.carry_on(then, applied, now, effects);
        };
        // Losses are not refused: they have come about.
        let is_refusable = !matches!(fact, Fact::Left { .. } | Fact::Away { .. });
        if fleet.id().is_none() || is_refusable && !fleet.accepts(now) {
            metrics::FLEET_REFUSED.inc();
            return self.carry_on(then, Err(Outcome::TryAgainLater), now, effects);
        }
        fleet.propose(&fact, then, cause, effects.charge());
    }

    /// Takes the news of the bus.
    pub(super) fn hear(&mut self, event: Event, now: Instant, effects: &mut Effects) {
        let Some(fleet) = &mut self.fleet else { return };
        match event {
            Event::Joined { epoch, sequence, state } => {
                self.close_places(now, effects);
                let Some(fleet) = &mut self.fleet else { return };
                self.tokens = ResumeTokens::new(&fleet.cluster, epoch);
                self.take_state(sequence, state.as_deref(), now);
            }
            Event::Up => {
                if let Some(member) = &mut fleet.member {
                    member.send_again();
                }
            }
            Event::Down => {}
            Event::Draining(time) => {
                let sessions: Vec<_> =
                    self.seats.all().into_iter().rev().map(|(session, _)| session).collect();
                metrics::FLEET_DRAINING.set_count(sessions.len());
                let pause = time / (sessions.len() as u32).max(1);
                fleet.drain = Some(Drain { sessions, pause, next: now });
            }
            Event::Ending => {
                if let Some(member) = &mut fleet.member {
                    member.resign(now);
                }
            }
            Event::Batch(batch) => self.read(batch, now, effects),
        }
    }

    /// Takes the state at a place of the order.
    fn take_state(&mut self, sequence: u64, state: Option<&[u8]>, now: Instant) {
        let mut world = World::new(self.settings.world);
        let mut history = History::new(self.settings.history);
        let mut ledger = Ledger::default();
        if let Some(state) = state {
            let mut reader = Reader::new(state);
            let taken = Ledger::take(&mut reader).and_then(|taken| {
                ledger = taken;
                world.take(&mut reader)?;
                history.take(&mut reader, now)
            });
            if let Err(error) = taken {
                // The cluster key has sealed it, so it is of a node with another program.
                tracing::error!(%error, "fleet: the snapshot cannot be read; is each node of one version?");
                return;
            }
        }
        self.seats.vacate_all();
        for presence in world.users.iter().filter(|presence| presence.is_away) {
            self.seats.set_away(presence.user.id, now + self.settings.resume_window);
        }
        metrics::CHAT_USERS.set(world.users.count().into());
        metrics::CHANNELS.set_count(world.channels.count());
        let members = world.channels.by_number().map(|(_, channel)| channel.list_state().head_count);
        metrics::CHANNEL_MEMBERS.set(members.map(i64::from).sum());
        (self.world, self.history) = (world, history);
        let Some(fleet) = &mut self.fleet else { return };
        let info = fleet.info.clone();
        let instance = fleet.member.as_ref().map_or(fleet.instance, Member::next_instance);
        tracing::info!(sequence, users = self.world.users.count(), "fleet: the state was taken");
        fleet.member = Some(Member::new(fleet.timing, info, instance, ledger, sequence, now));
        fleet.snapshot_at = now + SNAPSHOT_INTERVAL;
    }

    fn read(&mut self, batch: Batch, now: Instant, effects: &mut Effects) {
        let Some(member) = self.fleet.as_mut().and_then(|fleet| fleet.member.as_mut()) else { return };
        let reading = member.read(batch, now);
        metrics::FLEET_NODES.set_count(member.ledger().nodes().count());
        match reading {
            None => metrics::FLEET_VOID.inc(),
            Some(Reading::Up { node, is_own }) => {
                metrics::FLEET_READ.inc();
                tracing::info!(node, is_own, "fleet: a node takes part");
                self.name_nodes_to_all(effects);
            }
            Some(Reading::Dead { node, is_own }) => {
                metrics::FLEET_READ.inc();
                tracing::warn!(node = node.id, name = %*node.info.name, is_own, "fleet: a node was declared dead");
                if is_own {
                    self.close_places(now, effects);
                }
                for fact in self.world.strand(node.id) {
                    // Refused only if there is no such user.
                    let _ = self.commit(node.id, fact, now, effects);
                }
                self.name_nodes_to_all(effects);
            }
            Some(Reading::Facts { node, facts, is_own }) => {
                metrics::FLEET_READ.inc();
                self.apply_all(node, &facts, is_own, now, effects);
            }
        }
    }

    /// Tells a session which servers there are, if this one is not alone.
    pub(super) fn name_nodes(&self, session: SessionId, effects: &mut Effects) {
        if let Some(member) = self.fleet.as_ref().and_then(|fleet| fleet.member.as_ref()) {
            effects.send(session, named(member));
        }
    }

    fn name_nodes_to_all(&self, effects: &mut Effects) {
        let Some(member) = self.fleet.as_ref().and_then(|fleet| fleet.member.as_ref()) else { return };
        let nodes = named(member);
        for (session, _) in self.seats.all() {
            effects.send(session, nodes.clone());
        }
    }

    fn apply_all(&mut self, node: u32, facts: &[u8], is_own: bool, now: Instant, effects: &mut Effects) {
        let mut reader = Reader::new(facts);
        while reader.remaining() > 0 {
            let fact = match Fact::decode(&mut reader) {
                Ok(fact) => fact,
                Err(error) => {
                    tracing::error!(%error, node, "fleet: a fact cannot be read; is each node of one version?");
                    return;
                }
            };
            let applied = self.commit(node, fact, now, effects);
            if !is_own {
                continue;
            }
            if let Some(then) = self.fleet.as_mut().and_then(Fleet::settle) {
                self.carry_on(then, applied, now, effects);
            }
        }
    }

    /// Returns the next packet that has waited long enough: its session, and the time at which it
    /// was read.
    pub(super) fn next_released(&mut self) -> Option<(SessionId, Packet, Instant)> {
        let (session, Held { packet, received, .. }) = self.fleet.as_mut()?.release()?;
        Some((session, packet, received))
    }

    /// Closes the sessions of all users here. Their places are kept, if not by this server.
    fn close_places(&mut self, now: Instant, effects: &mut Effects) {
        while let Some(then) = self.fleet.as_mut().and_then(Fleet::settle) {
            self.carry_on(then, Err(Outcome::TryAgainLater), now, effects);
        }
        for (session, user) in self.seats.all() {
            self.detach(user, effects);
            self.throttle.vacate(user);
            effects.close(session, CloseReason::Moved);
        }
        if let Some(fleet) = &mut self.fleet {
            fleet.busy.clear();
            fleet.released.clear();
        }
    }

    /// Does what is due for the fleet. Returns the time of the next call.
    pub(super) fn tick_fleet(&mut self, now: Instant, effects: &mut Effects) -> Option<Instant> {
        let fleet = self.fleet.as_mut()?;
        let member = fleet.member.as_mut()?;
        let mut batches = Vec::new();
        member.poll(now, &mut batches);
        fleet.is_current = member.is_current(now);
        metrics::FLEET_CURRENT.set(fleet.is_current.into());
        let (next, position) = (member.next_poll(), member.position());
        let is_first = fleet.is_current && member.id() == member.ledger().lowest();
        for batch in batches {
            (fleet.outlet)(Command::Publish(batch));
        }
        if is_first && fleet.snapshot_at <= now {
            fleet.snapshot_at = now + SNAPSHOT_INTERVAL;
            let mut state = Vec::new();
            let mut writer = Writer::new(&mut state);
            member.ledger().put(&mut writer);
            self.world.put(&mut writer);
            self.history.put(&mut writer);
            (fleet.outlet)(Command::KeepSnapshot { sequence: position, state });
        }
        let next = self.drain(now, effects).map_or(next, |at| at.min(next));
        self.tell_room(now, effects);
        self.let_go(now, effects);
        Some(next)
    }

    /// Gives sessions to other nodes whose turn has come. Returns the time of the next turn.
    fn drain(&mut self, now: Instant, effects: &mut Effects) -> Option<Instant> {
        let drain = self.fleet.as_mut()?.drain.as_mut()?;
        while drain.next <= now {
            let session = drain.sessions.pop()?;
            drain.next += drain.pause;
            // It keeps its place, as one that loses its connection.
            effects.close(session, CloseReason::Moved);
            metrics::FLEET_DRAINING.add(-1);
        }
        Some(drain.next)
    }

    /// Tells the login servers how many users this node may still take, if that has changed.
    fn tell_room(&mut self, now: Instant, effects: &mut Effects) {
        let Some(free) = self.free() else { return };
        let Some(fleet) = &mut self.fleet else { return };
        let (told, at) = fleet.told;
        if told == Some(free) || now.saturating_duration_since(at) < TELL_INTERVAL {
            return;
        }
        fleet.told = (Some(free), now);
        for (link, _) in self.links.up(Role::Login) {
            effects.send(link, LoginNotifyRoom { free });
        }
    }

    /// Returns the number of users that this node may still take.
    fn free(&self) -> Option<u32> {
        let used = self.seats.count();
        let fleet = self.fleet.as_ref()?;
        Some(if fleet.is_current && fleet.drain.is_none() {
            self.settings.away_max.saturating_sub(used) as u32
        } else {
            0
        })
    }

    /// Tells a login server whose link has come up how many users this node may still take.
    pub(super) fn tell_room_to(&self, link: SessionId, effects: &mut Effects) {
        if let Some(free) = self.free() {
            effects.send(link, LoginNotifyRoom { free });
        }
    }

    /// Lets users go whose time away is over.
    fn let_go(&mut self, now: Instant, effects: &mut Effects) {
        if self.fleet.as_ref().is_some_and(|fleet| !fleet.accepts(now)) {
            return;
        }
        while let Some(user) = self.seats.next_to_leave(now, usize::MAX) {
            let node = self.world.users.get(user).map(|presence| presence.node);
            let is_ours = |fleet: &Fleet| node.is_some_and(|node| fleet.is_responsible_for(node));
            // Also in case that the fact of this is lost with the node.
            self.seats.set_away(user, now + LEAVE_RETRY);
            if self.fleet.as_ref().is_some_and(is_ours) {
                self.give_up(user, now, effects);
            }
        }
    }
}
