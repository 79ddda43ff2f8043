//! Resuming: a user whose connection was lost goes on over a new one.

use std::sync::Arc;

use throng_core::content::Call;
use throng_core::crypto::ResumeToken;
use throng_core::limits::LIST_BYTES_MAX;
use throng_core::metrics;
use throng_core::room::RoomId;
use throng_core::wire::packets::{
    ChatGap, Claim, HeldChannel, ResumeAnswer, ResumeRequest, ResumeTokenBytes, RoomResumed, Scope,
    UsersChanged,
};
use throng_core::wire::{CloseReason, List};

use super::shard_of;
use crate::chat::pages::{Page, encoded_length};
use crate::chat::{Chat, Fact, Series};

/// Returns the token of a user, empty if this server keeps no place for lost connections.
pub(super) fn token(chat: &Chat, user: u32, claim: Claim, counter: u32) -> ResumeTokenBytes {
    if chat.settings.resume_window.is_zero() {
        return ResumeTokenBytes::default();
    }
    chat.tokens.seal(&ResumeToken { user, counter: counter.into(), claim })
}

pub(super) fn resume(chat: &mut Chat, call: &mut Call<'_>, request: ResumeRequest) {
    let Some(token) = check(chat, &request.token) else {
        metrics::RESUMES_REFUSED.inc();
        return chat.close_session(call.session, CloseReason::PlaceLost, call);
    };
    // Everything is verified; changes begin here.
    let (user, claim) = (token.user, token.claim);
    if let Some(earlier) = chat.seats.session(user) {
        chat.leave_rooms(user, call.effects);
        chat.throttle.detach(earlier, user);
        call.effects.close(earlier, CloseReason::ResumedElsewhere);
    }
    let counter = token.counter as u32;
    let Some((counter, handled)) = chat.seats.resume(call.session, user, counter) else { return };
    chat.throttle.resume(call.session, user);
    metrics::RESUMES.inc();
    chat.commit(Fact::Back { user }, call.now, call.effects);

    let token = self::token(chat, user, claim, counter);
    let shard = shard_of(call.session);
    let kept = chat.history.from(Series::Answers(user), u64::from(request.answers) + 1).next();
    let next = chat.seats.answers(user).wrapping_add(1);
    let answers_from = kept.map_or(next, |(number, _)| number as u32);
    call.effects.send(call.session, ResumeAnswer { handled, answers_from, token, shard });

    let mut missed = Missed { chat, call, budget: chat.settings.resume_bytes };
    missed.send_answers(user, request.answers.into());
    missed.send_whispers(user, request.whispers);
    missed.send_channels(user, &request.channels);
    missed.send_room(user, RoomId::WORLD.0, request.world);
    missed.send_list_changes(request.list_version);
    call.effects.join(call.session, RoomId::WORLD);
}

/// Returns the content of a token with which a user may resume now.
fn check(chat: &Chat, token: &ResumeTokenBytes) -> Option<ResumeToken> {
    let token = chat.tokens.open(token)?;
    let presence = chat.world.users.get(token.user)?;
    let counter = u32::try_from(token.counter).ok()?;
    let is_current = presence.claim == token.claim && chat.seats.is_current(token.user, counter);
    is_current.then_some(token)
}

/// Sends a client what it has missed, before anything new.
struct Missed<'a, 'b> {
    chat: &'a Chat,
    call: &'a mut Call<'b>,
    /// Bytes that may still be sent.
    budget: usize,
}

impl Missed<'_, '_> {
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
                self.call.effects.send_encoded(self.call.session, head, users);
                self.send_room(user, number, 0);
            }
            self.call.effects.join(self.call.session, RoomId(number));
        }
    }

    fn send_room(&mut self, user: u32, channel: u32, held: u64) {
        // Until the first message a client has no number. What was said before it came is not the
        // user's to read.
        let Some(since) = self.chat.world.since(user, channel) else { return };
        let held = held.max(since);
        let Some(sequence) = self.chat.world.sequence(channel) else { return };
        let Some(list_state) = self.chat.world.list_state(channel) else { return };
        let (version, head_count) = (list_state.version, list_state.head_count);
        self.call.effects.send(self.call.session, RoomResumed { channel, sequence, version, head_count });
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
            self.call.effects.send(self.call.session, ChatGap { scope, channel, missed });
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
        self.call.effects.send(self.call.session, notice);
    }

    fn send_encoded(&mut self, packet: &[u8]) {
        self.call.effects.send_encoded(self.call.session, packet.into(), Arc::default());
    }
}
