//! The handler table of the chat server, with one function for each packet.

#![expect(clippy::needless_pass_by_value, reason = "a handler owns its packet")]

pub(super) mod channels;
mod history;
mod links;
pub(super) mod messages;
pub(super) mod resume;

use std::time::{Duration, Instant};

use throng_core::SessionId;
use throng_core::clock::{micros, monotonic_us};
use throng_core::content::{Call, Effects, HandlerTable};
use throng_core::limits::LIST_PAGES_MAX;
use throng_core::metrics;
use throng_core::room::RoomId;
use throng_core::wire::CloseReason;
use throng_core::wire::packets::{
    Claim, EnterAnswer, EnterRequest, ExitAnswer, ExitRequest, LoginNotifyEntered, Outcome, PingRequest,
    PongAnswer, PositionUpdate, UserListRequest,
};

use super::continuation::Continuation;
use super::{Change, Chat, Expected, Fact, Phase, World};
use crate::chat::list_state::ListState;
use crate::chat::pages::Page;

/// Returns the table of every packet that the chat server accepts.
pub(super) fn table() -> HandlerTable<Chat, Phase> {
    HandlerTable::default()
        .on(&[Phase::Connected, Phase::Entered], enter)
        .on(&[Phase::Connected], resume::resume)
        .on(&[Phase::Entered], user_list)
        .on(&[Phase::Entered], history::history)
        .on(&[Phase::Entered], position)
        .on(&[Phase::Entered], exit)
        .on(&[Phase::Entered], ping)
        .on(&[Phase::Entered], messages::chat)
        .on(&[Phase::Entered], channels::create)
        .on(&[Phase::Entered], channels::join)
        .on(&[Phase::Entered], channels::leave)
        .on(&[Phase::Entered], channels::kick)
        .on(&[Phase::Entered], channels::list)
        .on(&[Phase::UnidentifiedLink], links::hello)
        .on(&[Phase::LoginLink], links::notify_login)
        .on(&[Phase::LoginLink], links::cancel_login)
        .on(&[Phase::DbAgentLink], links::character_loaded)
        .on(&[Phase::DbAgentLink], links::claims_synced)
        .on(&[Phase::DbAgentLink], links::claim_revoked)
}

fn enter(chat: &mut Chat, call: &mut Call<'_>, request: EnterRequest) {
    if chat.seats.user(call.session).is_some() {
        chat.close_session(call.session, CloseReason::AlreadyRegistered, call);
        return;
    }
    if chat.fleet.as_ref().is_some_and(|fleet| !fleet.takes_users(call.now)) {
        metrics::FLEET_REFUSED.inc();
        return chat.close_session(call.session, CloseReason::Unavailable, call);
    }
    let (ticket, expected) = match chat.admission.admit(&request.ticket, (chat.now_ms)()) {
        Ok(admitted) => admitted,
        Err(reason) => return chat.close_session(call.session, reason, call),
    };
    let claim = Claim { account: ticket.account, id: ticket.claim };
    let older = chat.world.users.by_account(claim.account).map(|older| (older.user.id, older.is_away));
    if let Some((older, is_away)) = older {
        // A player whose client has lost its token does not wait for its own place.
        if !chat.settings.take_over && !is_away {
            if expected.is_some() {
                chat.held_claims.release(claim, call.effects);
            }
            return chat.close_session(call.session, CloseReason::AlreadyOnline, call);
        }
        chat.put_out(older, call.now, call.effects);
    }
    metrics::TICKETS_USED.inc();
    let then = Continuation::Enter { session: call.session, expected };
    let entered = Fact::Entered { name: ticket.name, claim };
    chat.propose(entered, then, Some(call.session), call.now, call.effects);
}

/// Carries on the request of a session to enter.
pub(super) fn entered(
    chat: &mut Chat,
    session: SessionId,
    expected: Option<Expected>,
    applied: Result<Change, Outcome>,
    now: Instant,
    effects: &mut Effects,
) {
    let reason = match applied {
        Err(Outcome::TryAgainLater) => CloseReason::Unavailable,
        // Another login to the account has come first.
        _ => CloseReason::AlreadyOnline,
    };
    let Ok(Change::Entered { user, list_state }) = applied else {
        if let Some(expected) = expected {
            chat.held_claims.release(expected.claim, effects);
        }
        chat.seats.remove(session);
        chat.throttle.forget(session);
        return effects.close(session, reason);
    };
    let id = user.id;
    if !chat.seats.contains(session) {
        return chat.give_up(id, now, effects);
    }
    chat.seats.enter(session, id);
    let answer = EnterAnswer {
        user,
        head_count: list_state.head_count,
        shard: shard_of(session),
        token: resume::token(chat, id),
        resume_ms: millis(chat.settings.resume_window),
        heartbeat_ms: millis(chat.settings.heartbeat),
    };
    effects.send(session, answer);
    chat.name_nodes(session, effects);
    // The notice and the first page are made before the session joins the world: an immediate
    // notice then skips it, and it misses no later one.
    let page = chat.world.users.page(0);
    effects.send_encoded(session, page.head, page.users);
    history::send_latest(chat, session, id, RoomId::WORLD.0, effects);
    effects.join(session, RoomId::WORLD);
    if let Some(Expected { login, claim, .. }) = expected {
        effects.send(login, LoginNotifyEntered { claim });
    }
}

fn user_list(chat: &mut Chat, call: &mut Call<'_>, request: UserListRequest) {
    let UserListRequest { channel: number, after, pages } = request;
    let Some(user) = chat.seats.user(call.session) else { return };
    let World { users, channels, .. } = &mut chat.world;
    let channel = channels.get(number).filter(|channel| channel.contains(user));
    let mut next = Some(after);
    for _ in 0..pages.clamp(1, LIST_PAGES_MAX) {
        let Some(after) = next else { return };
        let page = match channel {
            _ if number == RoomId::WORLD.0 => users.page(after),
            Some(channel) => users.channel_page(number, channel, after),
            None => Page::without_users(number, ListState::default()),
        };
        next = page.next;
        call.effects.send_encoded(call.session, page.head, page.users);
    }
}

fn position(chat: &mut Chat, call: &mut Call<'_>, update: PositionUpdate) {
    chat.sectors.set_position(call.session, update.x, update.y, call.effects);
}

fn exit(chat: &mut Chat, call: &mut Call<'_>, _: ExitRequest) {
    chat.remove_session(call.session, Continuation::Exit(call.session), call);
}

/// Tells a session that it has left.
pub(super) fn exited(session: SessionId, effects: &mut Effects) {
    effects.send(session, ExitAnswer {});
    effects.close(session, CloseReason::Goodbye);
}

fn ping(_: &mut Chat, call: &mut Call<'_>, request: PingRequest) {
    let queued_us = queued_us(call);
    call.effects.send(
        call.session,
        PongAnswer { token: request.token, queued_us, server_us: monotonic_us(call.received) },
    );
}

/// Returns the index of a session's shard, which is below SHARDS_MAX.
fn shard_of(session: SessionId) -> u8 {
    session.shard() as u8
}

/// Returns a time in milliseconds, up to the largest number.
fn millis(time: Duration) -> u32 {
    u32::try_from(time.as_millis()).unwrap_or(u32::MAX)
}

/// Returns the time that the packet has waited for its handler, in microseconds.
fn queued_us(call: &Call<'_>) -> u32 {
    u32::try_from(micros(call.now.saturating_duration_since(call.received))).unwrap_or(u32::MAX)
}
