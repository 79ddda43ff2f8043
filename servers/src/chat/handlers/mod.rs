//! The handler table of the chat server, with one function for each packet.

#![expect(clippy::needless_pass_by_value, reason = "a handler owns its packet")]

mod channels;
mod links;
mod messages;

use throng_core::clock::{micros, monotonic_us};
use throng_core::content::{Call, HandlerTable};
use throng_core::limits::LIST_PAGES_MAX;
use throng_core::metrics;
use throng_core::room::RoomId;
use throng_core::wire::CloseReason;
use throng_core::wire::packets::{
    Claim, EnterAnswer, EnterRequest, ExitAnswer, ExitRequest, LoginNotifyEntered, PingRequest, PongAnswer,
    PositionUpdate, UserListRequest,
};

use super::{Chat, Departure, Expected, Phase};
use crate::chat::list_state::ListState;
use crate::chat::pages::Page;

/// Returns the table of every packet that the chat server accepts.
pub(super) fn table() -> HandlerTable<Chat, Phase> {
    HandlerTable::default()
        .on(&[Phase::Connected, Phase::Entered], enter)
        .on(&[Phase::Entered], user_list)
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
    if chat.users.by_session(call.session).is_some() {
        chat.close_session(call.session, CloseReason::AlreadyRegistered, call);
        return;
    }
    let (ticket, expected) = match chat.admission.admit(&request.ticket, (chat.now_ms)()) {
        Ok(admitted) => admitted,
        Err(reason) => return chat.close_session(call.session, reason, call),
    };
    let claim = Claim { account: ticket.account, id: ticket.claim };
    if let Some(older) = chat.users.by_account(claim.account).map(|user| user.session) {
        if !chat.settings.take_over {
            if expected.is_some() {
                chat.held_claims.release(claim, call.effects);
            }
            return chat.close_session(call.session, CloseReason::AlreadyOnline, call);
        }
        chat.close_session(older, CloseReason::LoggedInElsewhere, call);
    }
    metrics::TICKETS_USED.inc();
    metrics::CHAT_USERS.add(1);
    let user = chat.users.enter(call.session, claim, ticket.name);
    chat.phases.insert(call.session, Phase::Entered);
    // The notice and the first page are made before the session joins the world: an immediate
    // notice then skips it, and it misses no later one.
    let list_state = chat.users.list_state();
    chat.notices.entered(RoomId::WORLD, &user, list_state, call.now, call.effects);
    // Shard numbers are below SHARDS_MAX.
    let shard = call.session.shard() as u8;
    call.effects.send(call.session, EnterAnswer { user, head_count: list_state.head_count, shard });
    let page = chat.users.page(0);
    call.effects.send_encoded(call.session, page.head, page.users);
    call.effects.join(call.session, RoomId::WORLD);
    if let Some(Expected { login, claim, .. }) = expected {
        call.effects.send(login, LoginNotifyEntered { claim });
    }
}

fn user_list(chat: &mut Chat, call: &mut Call<'_>, request: UserListRequest) {
    let UserListRequest { channel: number, after, pages } = request;
    let Some(user) = chat.users.by_session(call.session) else { return };
    let channel = chat.channels.get(number).filter(|channel| channel.contains(user.user.id));
    let mut next = Some(after);
    for _ in 0..pages.clamp(1, LIST_PAGES_MAX) {
        let Some(after) = next else { return };
        let page = match channel {
            _ if number == RoomId::WORLD.0 => chat.users.page(after),
            Some(channel) => chat.users.channel_page(number, channel, after),
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
    chat.remove_session(call.session, Departure::Voluntary, call);
    call.effects.send(call.session, ExitAnswer {});
    call.effects.close(call.session, CloseReason::Goodbye);
}

fn ping(_: &mut Chat, call: &mut Call<'_>, request: PingRequest) {
    let queued_us = queued_us(call);
    call.effects.send(
        call.session,
        PongAnswer { token: request.token, queued_us, server_us: monotonic_us(call.received) },
    );
}

/// Returns the time that the packet has waited for its handler, in microseconds.
fn queued_us(call: &Call<'_>) -> u32 {
    u32::try_from(micros(call.now.saturating_duration_since(call.received))).unwrap_or(u32::MAX)
}
