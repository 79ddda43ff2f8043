//! Continuations: the rest of a request, once its fact has been applied or refused.

use std::time::Instant;

use throng_core::SessionId;
use throng_core::content::Effects;
use throng_core::wire::packets::{Outcome, ResumeRequest, WishedChannel};

use super::seats::Actor;
use super::{Change, Chat, Expected, handlers};

/// The rest of a request.
#[derive(Debug)]
pub(super) enum Continuation {
    /// No client waits for it.
    Nothing,
    /// A session enters.
    Enter {
        /// The session.
        session: SessionId,
        /// The login that was expected with its ticket.
        expected: Option<Expected>,
    },
    /// A session has left, and is told so.
    Exit(SessionId),
    /// A session takes the place of a user.
    Resume {
        /// The session.
        session: SessionId,
        /// The messages that it has.
        request: Box<ResumeRequest>,
        /// The user's earlier session, which was closed for it.
        earlier: Option<Actor>,
    },
    /// A user makes a channel.
    Create {
        /// The user.
        user: u32,
        /// Name of the channel, as it was typed.
        name: WishedChannel,
    },
    /// A user joins a channel.
    Join {
        /// The user.
        user: u32,
        /// Name of the channel, as it was typed.
        name: WishedChannel,
    },
    /// A user leaves a channel.
    Part {
        /// The user.
        user: u32,
        /// The channel.
        channel: u32,
    },
    /// The owner of a channel kicks a member.
    Kick {
        /// The owner.
        user: u32,
        /// The channel.
        channel: u32,
        /// The member.
        member: u32,
    },
    /// A user says something.
    Say {
        /// The user.
        user: u32,
        /// Its mark.
        stamp: u64,
    },
}

impl Chat {
    /// Carries on the request of a fact that has been applied or refused.
    pub(super) fn carry_on(
        &mut self,
        then: Continuation,
        applied: Result<Change, Outcome>,
        now: Instant,
        effects: &mut Effects,
    ) {
        match then {
            Continuation::Nothing => {}
            Continuation::Enter { session, expected } => {
                handlers::entered(self, session, expected, applied, now, effects);
            }
            Continuation::Exit(session) => handlers::exited(session, effects),
            Continuation::Resume { session, request, earlier } => {
                handlers::resume::resumed(self, session, &request, earlier, applied, now, effects);
            }
            Continuation::Create { user, name } => {
                handlers::channels::created(self, user, name, &applied, now, effects);
            }
            Continuation::Join { user, name } => {
                handlers::channels::answer(self, user, name, &applied, now, effects);
            }
            Continuation::Part { user, channel } => {
                handlers::channels::parted(self, user, channel, &applied, now, effects);
            }
            Continuation::Kick { user, channel, member } => {
                handlers::channels::kicked(self, user, channel, member, &applied, now, effects);
            }
            Continuation::Say { user, stamp } => {
                handlers::messages::said(self, user, stamp, &applied, now, effects);
            }
        }
    }
}
