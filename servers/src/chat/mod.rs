//! The chat server's role: users, channels, messages and user lists.
//!
//! The role reads no socket and no clock. Each handler is a function from state, packet and time to
//! effects.

mod admission;
mod channels;
mod continuation;
mod encoding;
mod fact;
mod fleet;
mod handlers;
mod history;
mod list_state;
mod notices;
mod pages;
mod roster;
mod seats;
mod sectors;
mod snapshot;
mod throttle;
mod users;
mod world;

use std::time::{Duration, Instant};

use throng_core::config::{Config, ControlCharacters, Duplicate, Limits};
use throng_core::content::{Call, Effects, HandlerTable, Job, Role};
use throng_core::crypto::ResumeTokens;
use throng_core::limits::OWN_PACKETS_KEPT;
use throng_core::links::{Links, Pending};
use throng_core::net::{Closed, Opened, PeerKind};
use throng_core::room::{Class, RoomId};
use throng_core::wire::packets::{
    self, ChannelLeft, ChatMessage, Claim, DbLoadCharacter, LoginNotifyLoaded, Outcome, Scope,
};
use throng_core::wire::{CloseReason, Packet};
use throng_core::{SessionId, metrics};

pub use admission::{Admission, Expected};
pub use channels::{Channel, Channels};
use continuation::Continuation;
pub use fact::{Change, Counts, Deed, Departure, Fact, Words};
use fleet::Fleet;
pub use fleet::{FleetSettings, description};
pub use history::{History, HistoryLimits, Series};
pub use list_state::ListState;
pub use notices::Notices;
pub use roster::Roster;
use seats::{Actor, Phase, Seats};
use sectors::Audience;
pub use sectors::{Sector, Sectors};
use throttle::{Throttle, Verdict};
pub use users::{Membership, Presence, Users};
pub use world::{World, WorldLimits};

use crate::fleet::Event;
use crate::held_claims::HeldClaims;
use crate::rules::Reserved;

/// The server itself, where it is the only one.
const HERE: u32 = 0;

/// Part of a client's outbox that the messages which it has missed may take when it resumes.
const RESUME_SHARE: usize = 4;

/// Settings of the chat server.
pub struct ChatSettings {
    /// True if a new session of an account replaces the older one; otherwise the new one is
    /// refused.
    pub take_over: bool,
    /// Lifetime of a ticket.
    pub ticket_lifetime: Duration,
    /// Time in which the DB agent must answer.
    pub request_timeout: Duration,
    /// Bounds of what users share.
    pub world: WorldLimits,
    /// True if control characters are dropped from messages; otherwise the messages are refused.
    pub drop_control_characters: bool,
    /// Names that no channel can have.
    pub reserved: Reserved,
    /// Side of a sector, in units of a position.
    pub sector_size: u32,
    /// Users within hearing from which on a sector gets a room of its own.
    pub crowd: usize,
    /// Rates to which clients are held, and the networks whose clients are exempt.
    pub limits: Limits,
    /// Rooms up to this number of users announce each change at once.
    pub notice_at_once: usize,
    /// Interval at which larger rooms announce their changes.
    pub notice_interval: Duration,
    /// Bounds of what is kept of messages.
    pub history: HistoryLimits,
    /// Latest messages that a user may read that has just joined a channel.
    pub history_on_join: u64,
    /// Latest messages that a user may read that has just entered the chat.
    pub history_on_enter: u64,
    /// Time for which the place of a lost connection is kept. Zero keeps none.
    pub resume_window: Duration,
    /// Most places that are kept at a time.
    pub away_max: usize,
    /// Most bytes of missed messages that a client which resumes is sent.
    pub resume_bytes: usize,
    /// Silence of a client after which it is sent a heartbeat.
    pub heartbeat: Duration,
}

impl ChatSettings {
    /// Takes the settings from the configuration.
    pub fn of(config: &Config) -> Self {
        Self {
            take_over: config.login.duplicate == Duplicate::Kick,
            ticket_lifetime: config.ticket.lifetime,
            request_timeout: config.login.request_timeout,
            world: WorldLimits {
                channels: config.chat.channels,
                channels_per_user: config.chat.channels_per_user,
            },
            drop_control_characters: config.chat.control_characters == ControlCharacters::Drop,
            reserved: Reserved::new(&config.names.reserved),
            sector_size: config.chat.sector_size,
            crowd: config.content.log_from,
            limits: config.limits.clone(),
            notice_at_once: config.chat.notice_at_once,
            notice_interval: config.chat.notice_interval,
            history: HistoryLimits {
                pool: config.chat.history_pool.as_usize(),
                messages: config.chat.history,
                own: if config.chat.resume_window.is_zero() { 0 } else { OWN_PACKETS_KEPT },
                age: config.chat.history_age,
            },
            history_on_join: config.chat.history_on_join as u64,
            history_on_enter: config.chat.history_on_enter as u64,
            resume_window: config.chat.resume_window,
            away_max: config.chat.max_sessions,
            resume_bytes: config.net.outbox.as_usize() / RESUME_SHARE,
            heartbeat: config.net.heartbeat,
        }
    }
}

/// The chat server.
pub struct ChatRole {
    table: HandlerTable<Chat, Phase>,
    chat: Chat,
}

/// The chat server's state.
pub struct Chat {
    settings: ChatSettings,
    now_ms: fn() -> u64,
    /// Changed by [`Chat::commit`] only.
    world: World,
    seats: Seats,
    history: History,
    tokens: ResumeTokens,
    sectors: Sectors,
    throttle: Throttle,
    notices: Notices,
    admission: Admission,
    links: Links,
    held_claims: HeldClaims,
    loads: Pending<Load>,
    /// None where this server is the only one.
    fleet: Option<Fleet>,
    /// All facts so far.
    #[cfg(test)]
    facts: Vec<Fact>,
}

/// A login whose character is being loaded, or a user that has resumed here and whose claim is to
/// follow.
struct Load {
    /// The link to the login server; none for a user that has resumed.
    login: Option<SessionId>,
    request: u64,
    claim: Claim,
    /// Lists of claims that DB agents had compared before.
    comparisons: u64,
    is_cancelled: bool,
}

impl Load {
    fn new(login: Option<SessionId>, request: u64, claim: Claim, held_claims: &HeldClaims) -> Self {
        Self { login, request, claim, comparisons: held_claims.comparisons(), is_cancelled: false }
    }
}

impl ChatRole {
    /// Creates a chat server without users.
    pub fn new(
        settings: ChatSettings,
        admission: Admission,
        tokens: ResumeTokens,
        links: Links,
        now_ms: fn() -> u64,
    ) -> Self {
        let loads = Pending::new(settings.request_timeout);
        let chat = Chat {
            now_ms,
            world: World::new(settings.world),
            seats: Seats::default(),
            history: History::new(settings.history),
            tokens,
            sectors: Sectors::new(settings.sector_size, settings.crowd),
            throttle: Throttle::new(&settings.limits),
            notices: Notices::new(settings.notice_at_once as u32, settings.notice_interval),
            admission,
            links,
            held_claims: HeldClaims::default(),
            loads,
            fleet: None,
            settings,
            #[cfg(test)]
            facts: Vec::new(),
        };
        Self { table: handlers::table(), chat }
    }

    fn handle(&mut self, packet: Packet, call: &mut Call<'_>) {
        // Late packets of a session that has ended are dropped.
        let Some(phase) = self.chat.seats.packet(call.session) else { return };
        let verdict = self.chat.throttle.judge(call.session, &packet, call.now);
        if self.chat.carry_out(verdict, call) && !self.table.run(&mut self.chat, call, phase, packet) {
            self.chat.remove_session(call.session, Continuation::Nothing, call);
        }
    }

    /// Makes the server a node of a fleet. It takes no users before the bus has told where the
    /// order begins.
    #[must_use]
    pub fn in_fleet(mut self, settings: FleetSettings, now: Instant) -> Self {
        self.chat.fleet = Some(Fleet::new(settings, now));
        self
    }
}

impl Role for ChatRole {
    type Record = Event;

    fn job(&mut self, job: Job<Event>, now: Instant, effects: &mut Effects) {
        match job {
            Job::Packet(session, packet, received) => {
                if let Some(fleet) = &mut self.chat.fleet
                    && fleet.must_wait(session, &packet)
                {
                    return fleet.hold(session, packet, received, effects.charge());
                }
                self.handle(packet, &mut Call { session, received, now, effects });
            }
            Job::Opened(session, opened) => self.chat.opened(session, &opened, effects),
            Job::Closed(session, closed) => {
                let mut call = Call { session, received: now, now, effects };
                self.chat.closed(&closed, &mut call);
            }
            Job::Record(event) => {
                self.chat.hear(event, now, effects);
                while let Some((session, packet, received)) = self.chat.next_released() {
                    self.handle(packet, &mut Call { session, received, now, effects });
                }
            }
        }
    }

    fn tick(&mut self, now: Instant, effects: &mut Effects) -> Option<Instant> {
        let chat = &mut self.chat;
        for load in chat.loads.expire(now) {
            // The DB agent may have moved the claim here already. A release is harmless if it has
            // not.
            if load.login.is_some() {
                chat.held_claims.release(load.claim, effects);
            }
            chat.load_failed(&load, effects);
        }
        for claim in chat.admission.sweep(now, (chat.now_ms)()) {
            tracing::debug!(account = claim.account, "the ticket expired unused");
            chat.held_claims.release(claim, effects);
        }
        let poll = if chat.fleet.is_some() {
            chat.tick_fleet(now, effects)
        } else {
            while let Some(user) = chat.seats.next_to_leave(now, chat.settings.away_max) {
                chat.give_up(user, now, effects);
            }
            None
        };
        chat.history.sweep(now);
        chat.sectors.sweep(now, effects);
        let notices = chat.notices.tick(now, effects);
        let sweep = Some(now + Duration::from_secs(1));
        let next_dial = chat.links.tick(now, effects);
        [next_dial, chat.next_leave(now), chat.loads.next_deadline(), notices, sweep, poll]
            .into_iter()
            .flatten()
            .min()
    }
}

impl Chat {
    fn opened(&mut self, session: SessionId, opened: &Opened, effects: &mut Effects) {
        match opened.kind {
            PeerKind::Client => {
                self.seats.set_phase(session, Phase::Connected);
                if !self.settings.limits.is_exempt(opened.address.ip()) {
                    self.throttle.hold(session);
                }
            }
            PeerKind::Link => {
                self.seats.set_phase(session, Phase::UnidentifiedLink);
                self.links.opened(session, opened, effects);
            }
        }
    }

    fn closed(&mut self, closed: &Closed, call: &mut Call<'_>) {
        if let Some(fleet) = &mut self.fleet {
            fleet.forget(call.session);
        }
        match self.seats.user(call.session) {
            Some(user) if self.keeps_place(closed.reason) => self.lose(user, call),
            _ => self.remove_session(call.session, Continuation::Nothing, call),
        }
        if closed.kind == PeerKind::Link {
            self.link_closed(closed, call);
        }
    }

    fn link_closed(&mut self, closed: &Closed, call: &mut Call<'_>) {
        let Some(link) = self.links.closed(call.session, closed, call.now) else { return };
        match link.hello.role {
            packets::Role::DbAgent => {
                for load in self.loads.fail_link(call.session) {
                    self.load_failed(&load, call.effects);
                }
                self.held_claims.links_changed(&self.links, call.effects);
            }
            packets::Role::Login => {
                for claim in self.admission.cancel_all_from(call.session) {
                    self.held_claims.release(claim, call.effects);
                }
                for load in self.loads.iter_mut().filter(|load| load.login == Some(call.session)) {
                    load.is_cancelled = true;
                }
            }
            packets::Role::Chat => {}
        }
    }

    /// Returns the time at which the next user leaves that is away.
    fn next_leave(&self, now: Instant) -> Option<Instant> {
        // A node that is cut off lets no user go.
        let may_go = self.fleet.as_ref().is_none_or(|fleet| fleet.accepts(now));
        self.seats.next_leave().filter(|_| may_go)
    }

    /// Returns the progress of the requests of a user here. A server alone counts no answers: they
    /// are for other servers.
    fn counts(&self, user: u32, handled: u32) -> Counts {
        let answers = if self.fleet.is_some() { self.seats.answers(user) } else { None };
        Counts { handled, answers: answers.unwrap_or(0) }
    }

    /// Proposes what the user of a call does.
    fn act(&mut self, deed: Deed, then: Continuation, call: &mut Call<'_>) {
        let Some(Actor { user, turn, handled }) = self.seats.actor(call.session) else { return };
        let did = Fact::Did { user, turn, counts: self.counts(user, handled), deed };
        self.propose(did, then, Some(call.session), call.now, call.effects);
    }

    /// Applies a fact, and lets the sessions here that it concerns see the change.
    fn commit(
        &mut self,
        node: u32,
        fact: Fact,
        now: Instant,
        effects: &mut Effects,
    ) -> Result<Change, Outcome> {
        #[cfg(test)]
        self.facts.push(fact.clone());
        let change = self.world.apply(node, fact)?;
        match &change {
            Change::ChannelMade { .. } | Change::WasMember { .. } => {}
            Change::Away { user, claim } => {
                self.seats.set_away(*user, now + self.settings.resume_window);
                self.held_claims.set_away(*claim, true, effects);
            }
            Change::Back { user, claim, .. } if self.is_here(node) => {
                self.welcome(*user, *claim, now, effects);
            }
            Change::Back { user, claim, .. } => {
                if let Some(session) = self.seats.session(*user) {
                    self.detach(*user, effects);
                    effects.close(session, CloseReason::ResumedElsewhere);
                }
                self.seats.vacate(*user);
                self.throttle.vacate(*user);
                self.history.forget(Series::Answers(*user));
                self.held_claims.hand_over(claim);
            }
            Change::Entered { user, list_state } => {
                metrics::CHAT_USERS.add(1);
                self.notices.entered(RoomId::WORLD, user, *list_state, now, effects);
            }
            Change::Left { presence, departure, channels, list_state } => {
                metrics::CHAT_USERS.add(-1);
                self.see_off(presence, *departure, effects);
                let user = presence.user.id;
                for (channel, list_state) in channels {
                    self.left_room(RoomId(*channel), user, *list_state, now, effects);
                }
                self.left_room(RoomId::WORLD, user, *list_state, now, effects);
                self.history.forget(Series::Whispers(user));
                self.history.forget(Series::Answers(user));
                if self.held_claims.contains(&presence.claim) {
                    self.held_claims.release(presence.claim, effects);
                }
            }
            Change::Joined { channel, user, list_state } => {
                self.notices.entered(RoomId(*channel), user, *list_state, now, effects);
            }
            Change::Parted { channel, user, departure, list_state } => {
                let room = RoomId(*channel);
                departure.end_membership(self.seats.session(*user), room, effects);
                self.left_room(room, *user, *list_state, now, effects);
                if *departure == Departure::Kicked {
                    let kicked = ChannelLeft { channel: *channel, outcome: Outcome::Kicked };
                    self.answer(*user, kicked, now, effects);
                }
            }
            Change::Said(message) => {
                let room =
                    if message.scope == Scope::Channel { RoomId(message.target) } else { RoomId::WORLD };
                let packet = Packet::from(message.clone());
                self.history.push(Series::Room(room.0), message.sequence, now, |out| packet.encode(out));
                effects.broadcast(room, Class::Chat, packet);
            }
            Change::SaidNearby { message, sector } => {
                let sender = message.sender.id;
                let session = self.seats.session(sender);
                let here = session.and_then(|session| self.sectors.audience(session, now, effects));
                match here.unwrap_or_else(|| self.sectors.audience_of(*sector, now, effects)) {
                    Audience::Sessions(sessions) => effects.multicast(sender, sessions, message.clone()),
                    Audience::Room(room) => effects.broadcast(room, Class::Chat, message.clone()),
                }
            }
            Change::Whispered { message, copy } => {
                let sender = message.sender.id;
                if let Some(number) = copy {
                    let copy = ChatMessage { sequence: *number, ..message.clone() };
                    self.whisper(sender, copy, now, effects);
                }
                self.whisper(message.target, message.clone(), now, effects);
            }
        }
        Ok(change)
    }

    /// Returns true if a node of the fleet is this one.
    fn is_here(&self, node: u32) -> bool {
        self.fleet.as_ref().is_none_or(|fleet| fleet.id() == Some(node))
    }

    /// Has the claim of a user that has resumed here follow it.
    fn welcome(&mut self, user: u32, claim: Claim, now: Instant, effects: &mut Effects) {
        if self.seats.answers(user).is_some() {
            return self.held_claims.set_away(claim, false, effects);
        }
        // A minted ticket has no claim.
        if claim.id != 0 {
            self.load_character(Load::new(None, 0, claim, &self.held_claims), now, effects);
        }
    }

    /// Asks a DB agent for a character, and for the claim with it.
    fn load_character(&mut self, load: Load, now: Instant, effects: &mut Effects) {
        let claim = load.claim;
        let load = match self.held_claims.next_agent() {
            None => load,
            Some(agent) => match self.loads.add(agent, load, now) {
                Ok(request) => return effects.send(agent, DbLoadCharacter { request, claim }),
                Err(load) => load,
            },
        };
        self.load_failed(&load, effects);
    }

    /// Ends a load that an agent has not answered, or without the claim.
    fn load_failed(&mut self, load: &Load, effects: &mut Effects) {
        if load.login.is_some() {
            return answer_login(load, Outcome::TryAgainLater, None, effects);
        }
        let is_here = self.world.users.by_account(load.claim.account);
        if is_here.is_some_and(|presence| presence.claim == load.claim && self.is_here(presence.node)) {
            self.held_claims.take_up(load.claim, effects);
        }
    }

    /// Ends the session of a user that has left, if it has one: another login has put it out.
    fn see_off(&mut self, presence: &Presence, departure: Departure, effects: &mut Effects) {
        let user = presence.user.id;
        let session = self.seats.session(user);
        leave_rooms(&mut self.sectors, session, presence, departure, effects);
        if let Some(session) = session {
            effects.close(session, CloseReason::LoggedInElsewhere);
            self.seats.remove(session);
            self.throttle.forget(session);
        }
        self.seats.vacate(user);
        self.throttle.vacate(user);
    }

    /// Announces that a user has left a room. It is off the room's list already, whose state is
    /// `list_state`.
    fn left_room(
        &mut self,
        room: RoomId,
        user: u32,
        list_state: ListState,
        now: Instant,
        effects: &mut Effects,
    ) {
        self.notices.left(room, user, list_state, now, effects);
        if list_state.head_count == 0 && room != RoomId::WORLD {
            self.history.forget(Series::Room(room.0));
        }
    }

    /// Delivers a whisper to its recipient, or the copy to its sender.
    fn whisper(&mut self, to: u32, message: ChatMessage, now: Instant, effects: &mut Effects) {
        let (sender, number) = (message.sender.id, message.sequence);
        let packet = Packet::from(message);
        self.history.push(Series::Whispers(to), number, now, |out| packet.encode(out));
        if let Some(to) = self.seats.session(to) {
            effects.multicast(sender, vec![to], packet);
        }
    }

    /// Sends a user the answer to a request, or what stands for one, and keeps it in case the user
    /// resumes without it.
    fn answer(&mut self, user: u32, packet: impl Into<Packet>, now: Instant, effects: &mut Effects) {
        let packet = packet.into();
        let Some(number) = self.seats.answer(user) else { return };
        self.history.push(Series::Answers(user), number.into(), now, |out| packet.encode(out));
        if let Some(session) = self.seats.session(user) {
            effects.send(session, packet);
        }
    }

    /// Removes a session that has ended or is about to, with its user. Packets that it has sent
    /// already are dropped.
    fn remove_session(&mut self, session: SessionId, then: Continuation, call: &mut Call<'_>) {
        let actor = self.seats.actor(session);
        if let Some(presence) = actor.and_then(|actor| self.world.users.get(actor.user)) {
            leave_rooms(&mut self.sectors, Some(session), presence, Departure::Voluntary, call.effects);
        }
        self.seats.remove(session);
        self.throttle.forget(session);
        if let Some(Actor { user, turn, .. }) = actor {
            let left = Fact::Left { user, turn, departure: Departure::Voluntary };
            self.propose(left, then, None, call.now, call.effects);
        }
    }

    /// Carries out a verdict on the packet of a call. Returns true if the packet is to be handled.
    fn carry_out(&mut self, verdict: Verdict, call: &mut Call<'_>) -> bool {
        match verdict {
            Verdict::Handle => return true,
            Verdict::Refuse(too_fast) => match self.seats.user(call.session) {
                Some(user) => self.answer(user, too_fast, call.now, call.effects),
                None => call.effects.send(call.session, too_fast),
            },
            Verdict::Close => self.close_session(call.session, CloseReason::TooFast, call),
        }
        false
    }

    /// Returns true if the user of a session that has ended for this reason may resume.
    fn keeps_place(&self, reason: CloseReason) -> bool {
        use CloseReason::{ConnectionLost, IdleTimeout, Moved, PeerClosed, TooSlow};
        !self.settings.resume_window.is_zero()
            && matches!(reason, ConnectionLost | IdleTimeout | Moved | PeerClosed | TooSlow)
    }

    /// Keeps the place of a user whose session has been lost.
    fn lose(&mut self, user: u32, call: &mut Call<'_>) {
        if let Some(Actor { user, turn, handled }) = self.detach(user, call.effects) {
            let away = Fact::Away { user, turn, counts: self.counts(user, handled) };
            self.propose(away, Continuation::Nothing, None, call.now, call.effects);
        }
    }

    /// Takes its session from a user, which stays in its rooms.
    fn detach(&mut self, user: u32, effects: &mut Effects) -> Option<Actor> {
        let session = self.seats.session(user)?;
        if let Some(presence) = self.world.users.get(user) {
            leave_rooms(&mut self.sectors, Some(session), presence, Departure::Voluntary, effects);
        }
        self.throttle.detach(session, user);
        self.seats.detach(session)
    }

    /// Lets a user leave that is away.
    fn give_up(&mut self, user: u32, now: Instant, effects: &mut Effects) {
        let Some(turn) = self.world.users.get(user).map(|presence| presence.turn) else { return };
        let left = Fact::Left { user, turn, departure: Departure::Voluntary };
        self.propose(left, Continuation::Nothing, None, now, effects);
    }

    /// Puts a user out of the chat, because its account has logged in elsewhere.
    fn put_out(&mut self, user: u32, now: Instant, effects: &mut Effects) {
        let left = Fact::Left { user, turn: 0, departure: Departure::Kicked };
        self.propose(left, Continuation::Nothing, None, now, effects);
    }

    /// Closes a client's session, whose user leaves by itself.
    fn close_session(&mut self, session: SessionId, reason: CloseReason, call: &mut Call<'_>) {
        self.remove_session(session, Continuation::Nothing, call);
        call.effects.close(session, reason);
    }
}

/// Ends the memberships of a user's session. One that has none still has the keys of its rooms.
fn leave_rooms(
    sectors: &mut Sectors,
    session: Option<SessionId>,
    presence: &Presence,
    departure: Departure,
    effects: &mut Effects,
) {
    if let Some(session) = session {
        sectors.remove(session, departure, effects);
    }
    for membership in &presence.channels {
        departure.end_membership(session, RoomId(membership.channel), effects);
    }
    departure.end_membership(session, RoomId::WORLD, effects);
}

impl Departure {
    /// Ends the membership of a user's session.
    fn end_membership(self, session: Option<SessionId>, room: RoomId, effects: &mut Effects) {
        match (self, session) {
            (Self::Voluntary, Some(session)) => effects.leave(session, room),
            (Self::Kicked, Some(session)) => effects.expel(session, room),
            // The client still has the key, and may hear the room's frames on their way to others.
            (Self::Kicked, None) => effects.revoke(room),
            (Self::Voluntary, None) => {}
        }
    }
}

fn answer_login(load: &Load, outcome: Outcome, character: Option<packets::Character>, effects: &mut Effects) {
    let Load { login, request, claim, .. } = *load;
    if let Some(login) = login {
        effects.send(login, LoginNotifyLoaded { request, outcome, claim, character });
    }
}

#[cfg(test)]
impl ChatRole {
    /// Returns the size of each table, for the simulation.
    pub(crate) fn census(&self) -> Vec<(&'static str, usize)> {
        let Chat { world, seats, history, sectors, throttle, notices, admission, held_claims, loads, .. } =
            &self.chat;
        let (used, expected) = admission.counts();
        vec![
            ("sessions", seats.count() - self.chat.links.all().count()),
            ("users", world.users.count() as usize),
            ("users away", seats.away()),
            ("history", history.count()),
            ("channels", world.channels.count()),
            ("sectors", sectors.count()),
            ("throttled clients", throttle.count()),
            ("notices", notices.count()),
            ("used tickets", used),
            ("expected logins", expected),
            ("held claims", held_claims.count()),
            ("claims in doubt", held_claims.in_doubt()),
            ("loads", loads.len()),
        ]
    }
}

#[cfg(test)]
mod tests;
