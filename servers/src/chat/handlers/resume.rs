//! Resuming: a user whose connection was lost goes on over a new one.

use std::sync::Arc;
use std::time::Instant;

use throng_core::SessionId;
use throng_core::content::{Call, Effects};
use throng_core::crypto::ResumeToken;
use throng_core::limits::LIST_BYTES_MAX;
use throng_core::metrics;
use throng_core::room::RoomId;
use throng_core::wire::packets::{
    ChatGap, HeldChannel, Outcome, ResumeAnswer, ResumeRequest, ResumeTokenBytes, RoomResumed, Scope,
    UsersChanged,
};
use throng_core::wire::{CloseReason, List};

use super::shard_of;
use crate::chat::continuation::Continuation;
use crate::chat::pages::{Page, encoded_length};
use crate::chat::seats::Actor;
use crate::chat::{Change, Chat, Fact, Presence, Series};

/// Returns the newest token of a user, empty if this server keeps no place for lost connections.
pub(super) fn token(chat: &Chat, user: u32) -> ResumeTokenBytes {
    match chat.world.users.get(user) {
        Some(presence) if !chat.settings.resume_window.is_zero() => {
            let Presence { token, claim, .. } = *presence;
            chat.tokens.seal(&ResumeToken { user, counter: token.into(), claim })
        }
        _ => ResumeTokenBytes::default(),
    }
}

pub(super) fn resume(chat: &mut Chat, call: &mut Call<'_>, request: ResumeRequest) {
    let Some((user, token)) = check(chat, &request.token) else {
        metrics::RESUMES_REFUSED.inc();
        return chat.close_session(call.session, CloseReason::PlaceLost, call);
    };
    // Everything is verified; changes begin here.
    if chat.fleet.as_ref().is_some_and(|fleet| !fleet.takes_users(call.now)) {
        metrics::FLEET_REFUSED.inc();
        return chat.close_session(call.session, CloseReason::Moved, call);
    }
    let session = chat.seats.session(user);
    let earlier = chat.detach(user, call.effects);
    if let Some(session) = session {
        call.effects.close(session, CloseReason::ResumedElsewhere);
    }
    let counts = earlier.map(|Actor { user, handled, .. }| chat.counts(user, handled));
    let then = Continuation::Resume { session: call.session, request: Box::new(request), earlier };
    let back = Fact::Back { user, token, counts };
    chat.propose(back, then, Some(call.session), call.now, call.effects);
}

/// Carries on the request of a session to take the place of a user.
pub(in crate::chat) fn resumed(
    chat: &mut Chat,
    session: SessionId,
    request: &ResumeRequest,
    earlier: Option<Actor>,
    applied: Result<Change, Outcome>,
    now: Instant,
    effects: &mut Effects,
) {
    let reason = match applied {
        Err(Outcome::TryAgainLater) => CloseReason::Moved,
        _ => CloseReason::PlaceLost,
    };
    let Ok(Change::Back { user, turn, counts, .. }) = applied else {
        metrics::RESUMES_REFUSED.inc();
        chat.seats.remove(session);
        chat.throttle.forget(session);
        effects.close(session, reason);
        if let Some(Actor { user, turn, handled }) = earlier {
            let away = Fact::Away { user, turn, counts: chat.counts(user, handled) };
            chat.propose(away, Continuation::Nothing, None, now, effects);
        }
        return;
    };
    let handled = counts.handled;
    let actor = Actor { user, turn, handled };
    if !chat.seats.contains(session) {
        return chat.propose(Fact::Away { user, turn, counts }, Continuation::Nothing, None, now, effects);
    }
    // Another server may have refused more by itself, which changed nothing.
    let answered = chat.seats.answers(user).unwrap_or(counts.answers.max(request.answers));
    chat.seats.resume(session, actor, answered);
    chat.throttle.resume(session, user);
    metrics::RESUMES.inc();

    let token = self::token(chat, user);
    let shard = shard_of(session);
    let kept = chat.history.from(Series::Answers(user), u64::from(request.answers) + 1).next();
    let answers_from = kept.map_or(answered.wrapping_add(1), |(number, _)| number as u32);
    effects.send(session, ResumeAnswer { handled, answers_from, token, shard });
    chat.name_nodes(session, effects);

    let mut missed = Missed { chat, session, effects, budget: chat.settings.resume_bytes };
    missed.send_answers(user, request.answers.into());
    missed.send_whispers(user, request.whispers);
    missed.send_channels(user, &request.channels);
    missed.send_room(user, RoomId::WORLD.0, request.world);
    missed.send_list_changes(request.list_version);
    effects.join(session, RoomId::WORLD);
}

/// Returns the user that may resume with a token now, and the token's number.
fn check(chat: &Chat, token: &ResumeTokenBytes) -> Option<(u32, u32)> {
    let ResumeToken { user, counter, claim } = chat.tokens.open(token)?;
    let presence = chat.world.users.get(user)?;
    let counter = u32::try_from(counter).ok()?;
    (presence.claim == claim && presence.accepts(counter)).then_some((user, counter))
}

/// Sends a client what it has missed, before anything new.
struct Missed<'a> {
    chat: &'a Chat,
    session: SessionId,
    effects: &'a mut Effects,
    /// Bytes that may still be sent.
    budget: usize,
}

impl Missed<'_> {
    fn send_answers(&mut self, user: u32, held: u64) {
        let chat = self.chat;
        for (_, answer) in chat.history.from(Series::Answers(user), held.saturating_add(1)) {
            self.budget = self.budget.saturating_sub(answer.len());
            self.send_encoded(answer);
        }
    }

    fn send_whispers(&mut self, user: u32, held: u64) {
        let latest = self.chat.world.users.get(user).map_or(0, |presence| presence.whispers);
        self.send_messages(Series::Whispers(user), held, latest, Scope::Whisper, 0);
    }

    /// Sends what was missed in the channels of a user, and joins them.
    fn send_channels(&mut self, user: u32, held: &[HeldChannel]) {
        let chat = self.chat;
        let Some(presence) = chat.world.users.get(user) else { return };
        for membership in &presence.channels {
            let number = membership.channel;
            if let Some(held) = held.iter().find(|held| held.channel == number) {
                self.send_room(user, number, held.sequence);
            } else if let Some(channel) = chat.world.channels.get(number) {
                // The client does not know that it has joined.
                let Page { head, users, .. } = chat.world.users.channel_page(number, channel, 0);
                self.effects.send_encoded(self.session, head, users);
                self.send_room(user, number, 0);
            }
            self.effects.join(self.session, RoomId(number));
        }
    }

    fn send_room(&mut self, user: u32, channel: u32, held: u64) {
        // Until the first message a client has no number. What was said before it came is not the
        // user's to read.
        let Some(since) = self.chat.world.since(user, channel) else { return };
        let held = held.max(since);
        let Some(sequence) = self.chat.world.latest(channel) else { return };
        let Some(list_state) = self.chat.world.list_state(channel) else { return };
        let (version, head_count) = (list_state.version, list_state.head_count);
        self.effects.send(self.session, RoomResumed { channel, sequence, version, head_count });
        let scope = if channel == RoomId::WORLD.0 { Scope::World } else { Scope::Channel };
        self.send_messages(Series::Room(channel), held, sequence, scope, channel);
    }

    /// Sends the messages after number `held`, up to `latest`. What is not kept, or is too much, is
    /// a gap in front of them.
    fn send_messages(&mut self, series: Series, held: u64, latest: u64, scope: Scope, channel: u32) {
        let chat = self.chat;
        let kept: Vec<_> = chat.history.from(series, held.saturating_add(1)).collect();
        let fitting = kept.iter().rev().take_while(|(_, message)| {
            let rest = self.budget.checked_sub(message.len());
            self.budget = rest.unwrap_or(self.budget);
            rest.is_some()
        });
        let fitting = fitting.count();
        let missed = latest.saturating_sub(held).saturating_sub(fitting as u64);
        if missed > 0 {
            metrics::RESUME_GAPS.inc();
            self.effects.send(self.session, ChatGap { scope, channel, missed });
        }
        for (_, message) in &kept[kept.len() - fitting..] {
            self.send_encoded(message);
        }
    }

    /// Sends a notice that leads from the client's version of the world's list to this one.
    fn send_list_changes(&mut self, since: u64) {
        let users = &self.chat.world.users;
        let list_state = users.list_state();
        if list_state.version == since {
            return;
        }
        let named = users.changes_since(since).and_then(|(entered, left)| {
            let bytes: usize = entered.iter().map(encoded_length).sum();
            let fits = bytes + size_of_val(&left[..]) <= LIST_BYTES_MAX;
            fits.then_some((List::new(entered).ok()?, List::new(left).ok()?))
        });
        let complete = named.is_some();
        let (entered, left) = named.unwrap_or_default();
        let notice = UsersChanged {
            channel: RoomId::WORLD.0,
            since: since.min(list_state.version),
            version: list_state.version,
            head_count: list_state.head_count,
            complete,
            entered,
            left,
        };
        self.effects.send(self.session, notice);
    }

    fn send_encoded(&mut self, packet: &[u8]) {
        self.effects.send_encoded(self.session, packet.into(), Arc::default());
    }
}
