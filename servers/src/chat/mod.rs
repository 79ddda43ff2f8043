//! The chat server's role: who is in, who is told what.
//!
//! Everything here is a function from state, packet and time to effects.

mod admission;
mod handlers;
mod users;

use std::collections::HashMap;
use std::time::{Duration, Instant};

use throng_core::content::{Call, Effects, HandlerTable, Job, Phases, Role};
use throng_core::net::{Class, Closed, Opened, PeerKind, RoomId};
use throng_core::terminal::{Pending, Terminals};
use throng_core::wire::packets::{
    self, Claim, DbLoadCharacter, LoginNotifyEntered, LoginNotifyLoaded, Outcome, UsersChanged,
};
use throng_core::wire::{CloseReason, List};
use throng_core::{SessionId, metrics};

pub use admission::{Admission, Expected};
pub use users::{Presence, Users};

use crate::holdings::Holdings;

/// The room that everybody is in.
pub const WORLD: RoomId = RoomId(0);

/// A client that has not entered.
const FRESH: Phases = Phases(1);
/// A user.
const ENTERED: Phases = Phases(2);
/// A link that has not said who it is.
const STRANGER: Phases = Phases(4);
/// A link to a DB agent.
const DB_AGENT: Phases = Phases(8);
/// A link from a login server.
const LOGIN: Phases = Phases(16);

/// What the chat server needs to know at its start.
pub struct ChatSettings {
    /// Whether a second session of an account takes the first one's place, or is refused.
    pub take_over: bool,
    /// How long a ticket is good.
    pub ticket_lifetime: Duration,
    /// How long the DB agent may take to answer.
    pub request_timeout: Duration,
}

/// The chat server.
pub struct ChatRole {
    table: HandlerTable<Chat>,
    chat: Chat,
}

/// The chat server's state.
pub struct Chat {
    settings: ChatSettings,
    now_ms: fn() -> u64,
    phases: HashMap<SessionId, Phases>,
    users: Users,
    admission: Admission,
    terminals: Terminals,
    holdings: Holdings,
    /// Characters that are being loaded for logins.
    loads: Pending<Load>,
    /// The number of the last message.
    sequence: u64,
}

/// A login that waits for its character.
struct Load {
    login: SessionId,
    request: u64,
    claim: Claim,
    is_cancelled: bool,
}

impl ChatRole {
    /// A chat server with nobody in it.
    pub fn new(
        settings: ChatSettings,
        admission: Admission,
        terminals: Terminals,
        now_ms: fn() -> u64,
    ) -> Self {
        let loads = Pending::new(settings.request_timeout);
        let chat = Chat {
            settings,
            now_ms,
            phases: HashMap::new(),
            users: Users::default(),
            admission,
            terminals,
            holdings: Holdings::default(),
            loads,
            sequence: 0,
        };
        Self { table: handlers::table(), chat }
    }
}

impl Role for ChatRole {
    type Record = ();

    fn job(&mut self, job: Job<()>, now: Instant, effects: &mut Effects) {
        match job {
            Job::Packet(session, packet, received) => {
                // A session that is not known has ended; its last packets are nobody's.
                if let Some(phase) = self.chat.phases.get(&session).copied() {
                    let mut call = Call { session, received, now, effects };
                    if !self.table.run(&mut self.chat, &mut call, phase, packet) {
                        self.chat.forget(session, effects);
                    }
                }
            }
            Job::Opened(session, opened) => self.chat.opened(session, &opened, effects),
            Job::Closed(session, closed) => self.chat.closed(session, &closed, now, effects),
            Job::Record(()) => {}
        }
    }

    fn tick(&mut self, now: Instant, effects: &mut Effects) -> Option<Instant> {
        let chat = &mut self.chat;
        for load in chat.loads.expire(now) {
            // Whether the claim came over is not known; giving it up is right in either case.
            chat.holdings.release(load.claim, effects);
            answer_login(&load, Outcome::TryAgainLater, None, effects);
        }
        for claim in chat.admission.sweep((chat.now_ms)()) {
            tracing::debug!(account = claim.account, "the ticket expired unused");
            chat.holdings.release(claim, effects);
        }
        let sweep = Some(now + Duration::from_secs(1));
        [chat.terminals.tick(now, effects), chat.loads.next_deadline(), sweep].into_iter().flatten().min()
    }
}

impl Chat {
    fn opened(&mut self, session: SessionId, opened: &Opened, effects: &mut Effects) {
        match opened.kind {
            PeerKind::Client => drop(self.phases.insert(session, FRESH)),
            PeerKind::Link => {
                self.phases.insert(session, STRANGER);
                self.terminals.opened(session, opened, effects);
            }
        }
    }

    fn closed(&mut self, session: SessionId, closed: &Closed, now: Instant, effects: &mut Effects) {
        self.forget(session, effects);
        if closed.kind == PeerKind::Link {
            self.link_closed(session, closed, now, effects);
        }
    }

    fn link_closed(&mut self, session: SessionId, closed: &Closed, now: Instant, effects: &mut Effects) {
        let Some(link) = self.terminals.closed(session, closed, now) else { return };
        match link.hello.role {
            packets::Role::DbAgent => {
                for load in self.loads.fail_link(session) {
                    answer_login(&load, Outcome::TryAgainLater, None, effects);
                }
                self.holdings.links_changed(&self.terminals, effects);
            }
            packets::Role::Login => {
                for claim in self.admission.cancel_all_of(session) {
                    self.holdings.release(claim, effects);
                }
                for load in self.loads.iter_mut().filter(|load| load.login == session) {
                    load.is_cancelled = true;
                }
            }
            packets::Role::Chat => {}
        }
    }

    /// A session is over, or about to be: its user leaves, and packets that it has sent
    /// before it learns of it are nobody's.
    fn forget(&mut self, session: SessionId, effects: &mut Effects) {
        self.phases.remove(&session);
        self.user_leaves(session, effects);
    }

    /// Takes the user of a session out and tells the others. Its session may live on for a moment.
    fn user_leaves(&mut self, session: SessionId, effects: &mut Effects) {
        let Some(gone) = self.users.leave(session) else { return };
        metrics::CHAT_USERS.add(-1);
        effects.leave(session, WORLD);
        let version = self.users.version();
        let notice = UsersChanged {
            channel: 0,
            since: version - 1,
            version,
            head_count: self.users.count(),
            complete: true,
            entered: List::default(),
            left: List::new(vec![gone.user.id]).unwrap_or_default(),
        };
        effects.broadcast(WORLD, Class::Notice, notice);
        if self.holdings.holds(&gone.claim) {
            self.holdings.release(gone.claim, effects);
        }
    }

    /// Ends a client's session with a reason.
    fn throw_out(&mut self, session: SessionId, reason: CloseReason, effects: &mut Effects) {
        self.forget(session, effects);
        effects.close(session, reason);
    }
}

fn answer_login(load: &Load, outcome: Outcome, character: Option<packets::Character>, effects: &mut Effects) {
    let claim = load.claim;
    effects.send(load.login, LoginNotifyLoaded { request: load.request, outcome, claim, character });
}

#[cfg(test)]
mod tests;
