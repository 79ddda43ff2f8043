//! The chat server's role: users, channels, messages and user lists.
//!
//! The role reads no socket and no clock. Each handler is a function from state, packet and time to
//! effects.

mod admission;
mod channels;
mod handlers;
mod list_state;
mod notices;
mod pages;
mod roster;
mod sectors;
mod throttle;
mod users;

use std::collections::HashMap;
use std::time::{Duration, Instant};

use throng_core::config::{Config, ControlCharacters, Duplicate, Limits};
use throng_core::content::{Call, Effects, HandlerTable, Job, Role};
use throng_core::links::{Links, Pending};
use throng_core::net::{Closed, Opened, PeerKind};
use throng_core::room::RoomId;
use throng_core::wire::CloseReason;
use throng_core::wire::packets::{self, Claim, LoginNotifyLoaded, Outcome};
use throng_core::{SessionId, metrics};

pub use admission::{Admission, Expected};
pub use channels::{Channel, Channels};
pub use list_state::ListState;
pub use notices::Notices;
pub use roster::Roster;
pub use sectors::Sectors;
use throttle::{Throttle, Verdict};
use users::Member;
pub use users::{Presence, Users};

use crate::held_claims::HeldClaims;
use crate::rules::Reserved;

/// Phase of a session of the chat server.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// A client that has not entered the chat.
    Connected,
    /// A user in the chat.
    Entered,
    /// A link whose peer has not introduced itself.
    UnidentifiedLink,
    /// A link to a DB agent.
    DbAgentLink,
    /// A link from a login server.
    LoginLink,
}

/// Settings of the chat server.
pub struct ChatSettings {
    /// True if a new session of an account replaces the older one; otherwise the new one is
    /// refused.
    pub take_over: bool,
    /// Lifetime of a ticket.
    pub ticket_lifetime: Duration,
    /// Time in which the DB agent must answer.
    pub request_timeout: Duration,
    /// Maximum number of channels.
    pub channels: usize,
    /// Maximum number of channels for one user.
    pub channels_per_user: usize,
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
}

impl ChatSettings {
    /// Takes the settings from the configuration.
    pub fn of(config: &Config) -> Self {
        Self {
            take_over: config.login.duplicate == Duplicate::Kick,
            ticket_lifetime: config.ticket.lifetime,
            request_timeout: config.login.request_timeout,
            channels: config.chat.channels,
            channels_per_user: config.chat.channels_per_user,
            drop_control_characters: config.chat.control_characters == ControlCharacters::Drop,
            reserved: Reserved::new(&config.names.reserved),
            sector_size: config.chat.sector_size,
            crowd: config.content.log_from,
            limits: config.limits.clone(),
            notice_at_once: config.chat.notice_at_once,
            notice_interval: config.chat.notice_interval,
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
    phases: HashMap<SessionId, Phase>,
    users: Users,
    channels: Channels,
    sectors: Sectors,
    throttle: Throttle,
    notices: Notices,
    admission: Admission,
    links: Links,
    held_claims: HeldClaims,
    loads: Pending<Load>,
    /// The number of the world's latest message.
    sequence: u64,
}

/// A login whose character is being loaded.
struct Load {
    login: SessionId,
    request: u64,
    claim: Claim,
    /// Lists of claims that DB agents had compared before.
    comparisons: u64,
    is_cancelled: bool,
}

impl ChatRole {
    /// Creates a chat server without users.
    pub fn new(settings: ChatSettings, admission: Admission, links: Links, now_ms: fn() -> u64) -> Self {
        let loads = Pending::new(settings.request_timeout);
        let chat = Chat {
            now_ms,
            phases: HashMap::new(),
            users: Users::default(),
            channels: Channels::new(settings.channels),
            sectors: Sectors::new(settings.sector_size, settings.crowd),
            throttle: Throttle::new(&settings.limits),
            notices: Notices::new(settings.notice_at_once as u32, settings.notice_interval),
            admission,
            links,
            held_claims: HeldClaims::default(),
            loads,
            sequence: 0,
            settings,
        };
        Self { table: handlers::table(), chat }
    }
}

impl Role for ChatRole {
    type Record = ();

    fn job(&mut self, job: Job<()>, now: Instant, effects: &mut Effects) {
        match job {
            Job::Packet(session, packet, received) => {
                // Late packets of a session that has ended are dropped.
                if let Some(phase) = self.chat.phases.get(&session).copied() {
                    let mut call = Call { session, received, now, effects };
                    let verdict = self.chat.throttle.judge(session, &packet, now);
                    if !self.chat.carry_out(verdict, &mut call) {
                        return;
                    }
                    if !self.table.run(&mut self.chat, &mut call, phase, packet) {
                        self.chat.remove_session(session, Departure::Voluntary, &mut call);
                    }
                }
            }
            Job::Opened(session, opened) => self.chat.opened(session, &opened, effects),
            Job::Closed(session, closed) => {
                let mut call = Call { session, received: now, now, effects };
                self.chat.closed(&closed, &mut call);
            }
            Job::Record(()) => {}
        }
    }

    fn tick(&mut self, now: Instant, effects: &mut Effects) -> Option<Instant> {
        let chat = &mut self.chat;
        for load in chat.loads.expire(now) {
            // The DB agent may have moved the claim here already. A release is harmless if it has
            // not.
            chat.held_claims.release(load.claim, effects);
            answer_login(&load, Outcome::TryAgainLater, None, effects);
        }
        for claim in chat.admission.sweep(now, (chat.now_ms)()) {
            tracing::debug!(account = claim.account, "the ticket expired unused");
            chat.held_claims.release(claim, effects);
        }
        chat.sectors.sweep(now, effects);
        let notices = chat.notices.tick(now, effects);
        let sweep = Some(now + Duration::from_secs(1));
        let next_dial = chat.links.tick(now, effects);
        [next_dial, chat.loads.next_deadline(), notices, sweep].into_iter().flatten().min()
    }
}

impl Chat {
    fn opened(&mut self, session: SessionId, opened: &Opened, effects: &mut Effects) {
        match opened.kind {
            PeerKind::Client => {
                self.phases.insert(session, Phase::Connected);
                if !self.settings.limits.is_exempt(opened.address.ip()) {
                    self.throttle.hold(session);
                }
            }
            PeerKind::Link => {
                self.phases.insert(session, Phase::UnidentifiedLink);
                self.links.opened(session, opened, effects);
            }
        }
    }

    fn closed(&mut self, closed: &Closed, call: &mut Call<'_>) {
        self.remove_session(call.session, Departure::Voluntary, call);
        if closed.kind == PeerKind::Link {
            self.link_closed(closed, call);
        }
    }

    fn link_closed(&mut self, closed: &Closed, call: &mut Call<'_>) {
        let Some(link) = self.links.closed(call.session, closed, call.now) else { return };
        match link.hello.role {
            packets::Role::DbAgent => {
                for load in self.loads.fail_link(call.session) {
                    answer_login(&load, Outcome::TryAgainLater, None, call.effects);
                }
                self.held_claims.links_changed(&self.links, call.effects);
            }
            packets::Role::Login => {
                for claim in self.admission.cancel_all_from(call.session) {
                    self.held_claims.release(claim, call.effects);
                }
                for load in self.loads.iter_mut().filter(|load| load.login == call.session) {
                    load.is_cancelled = true;
                }
            }
            packets::Role::Chat => {}
        }
    }

    /// Removes a session that has ended or is about to, with its user. Packets that it has sent
    /// already are dropped.
    fn remove_session(&mut self, session: SessionId, departure: Departure, call: &mut Call<'_>) {
        self.phases.remove(&session);
        self.throttle.forget(session);
        self.remove_user(session, departure, call);
    }

    /// Removes the user of a session from every room and announces it. The session itself may last
    /// a little longer.
    fn remove_user(&mut self, session: SessionId, departure: Departure, call: &mut Call<'_>) {
        let Some(presence) = self.users.leave(session) else { return };
        metrics::CHAT_USERS.add(-1);
        self.sectors.remove(session, departure, call.effects);
        let member = presence.member();
        for number in presence.channels {
            if let Some(list_state) = self.channels.leave(number, member.user) {
                self.leave_room(RoomId(number), member, list_state, departure, call);
            }
        }
        self.leave_room(RoomId::WORLD, member, self.users.list_state(), departure, call);
        if self.held_claims.contains(&presence.claim) {
            self.held_claims.release(presence.claim, call.effects);
        }
    }

    /// Ends a session's membership and announces it. The user is off the room's list already, whose
    /// state is `list_state`.
    fn leave_room(
        &mut self,
        room: RoomId,
        member: Member,
        list_state: ListState,
        departure: Departure,
        call: &mut Call<'_>,
    ) {
        departure.end_membership(member.session, room, call.effects);
        self.notices.left(room, member.user, list_state, call.now, call.effects);
    }

    /// Closes a client's session. A session that a login elsewhere replaces is kicked from its
    /// rooms. Any other reason, even a bad packet, counts as leaving by itself.
    /// Carries out a verdict on the packet of a call. Returns true if the packet is to be handled.
    fn carry_out(&mut self, verdict: Verdict, call: &mut Call<'_>) -> bool {
        match verdict {
            Verdict::Handle => return true,
            Verdict::Refuse(too_fast) => call.effects.send(call.session, too_fast),
            Verdict::Close => self.close_session(call.session, CloseReason::TooFast, call),
        }
        false
    }

    fn close_session(&mut self, session: SessionId, reason: CloseReason, call: &mut Call<'_>) {
        let departure =
            if reason == CloseReason::LoggedInElsewhere { Departure::Kicked } else { Departure::Voluntary };
        self.remove_session(session, departure, call);
        call.effects.close(session, reason);
    }
}

/// The way in which a session leaves a room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Departure {
    /// The session leaves by itself.
    Voluntary,
    /// The session is removed, and must not be able to read later messages.
    Kicked,
}

impl Departure {
    fn end_membership(self, session: SessionId, room: RoomId, effects: &mut Effects) {
        match self {
            Self::Voluntary => effects.leave(session, room),
            Self::Kicked => effects.expel(session, room),
        }
    }
}

fn answer_login(load: &Load, outcome: Outcome, character: Option<packets::Character>, effects: &mut Effects) {
    let claim = load.claim;
    effects.send(load.login, LoginNotifyLoaded { request: load.request, outcome, claim, character });
}

#[cfg(test)]
impl ChatRole {
    /// Returns the size of each table, for the simulation.
    pub(crate) fn census(&self) -> Vec<(&'static str, usize)> {
        let Chat {
            phases, users, channels, sectors, throttle, notices, admission, held_claims, loads, ..
        } = &self.chat;
        let (used, expected) = admission.counts();
        vec![
            ("phases", phases.len() - self.chat.links.all().count()),
            ("users", users.count() as usize),
            ("channels", channels.count()),
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
