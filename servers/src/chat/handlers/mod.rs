//! The chat server's handler table: one function a packet.

#![expect(clippy::needless_pass_by_value, reason = "a handler is given its packet for good")]

use throng_core::wire::packets::{
    ChatCancelLogin, ChatMessage, ChatNotifyLogin, ChatRequest, DbClaimRevoked, DbClaimsSynced,
    DbLoadCharacterAnswer, EnterAnswer, EnterRequest, ExitAnswer, ExitRequest, LinkHello, PingRequest,
    PongAnswer, Role, ServerTimes, UserListRequest, UsersChanged,
};

use super::{
    Call, Chat, Claim, Class, CloseReason, DB_AGENT, DbLoadCharacter, ENTERED, Expected, FRESH, HandlerTable,
    LOGIN, List, Load, LoginNotifyEntered, Outcome, STRANGER, WORLD, answer_login, metrics,
};
use throng_core::clock::monotonic_us;

/// Every packet that the chat server takes.
pub(super) fn table() -> HandlerTable<Chat> {
    HandlerTable::default()
        .on(FRESH.or(ENTERED), enter)
        .on(ENTERED, user_list)
        .on(ENTERED, chat)
        .on(ENTERED, exit)
        .on(ENTERED, ping)
        .on(STRANGER, hello)
        .on(LOGIN, notify_login)
        .on(LOGIN, cancel_login)
        .on(DB_AGENT, character_loaded)
        .on(DB_AGENT, claims_synced)
        .on(DB_AGENT, claim_revoked)
}

fn enter(chat: &mut Chat, call: &mut Call<'_>, request: EnterRequest) {
    if chat.users.of_session(call.session).is_some() {
        chat.throw_out(call.session, CloseReason::AlreadyRegistered, call.effects);
        return;
    }
    let (ticket, expected) = match chat.admission.admit(&request.ticket, (chat.now_ms)()) {
        Ok(admitted) => admitted,
        Err(reason) => return chat.throw_out(call.session, reason, call.effects),
    };
    let claim = Claim { account: ticket.account, id: ticket.claim };
    if let Some(older) = chat.users.of_account(claim.account).map(|user| user.session) {
        if !chat.settings.take_over {
            if expected.is_some() {
                chat.holdings.release(claim, call.effects);
            }
            return chat.throw_out(call.session, CloseReason::AlreadyOnline, call.effects);
        }
        chat.throw_out(older, CloseReason::LoggedInElsewhere, call.effects);
    }
    metrics::TICKETS_USED.inc();
    metrics::CHAT_USERS.add(1);
    let user = chat.users.enter(call.session, claim, ticket.name);
    chat.phases.insert(call.session, ENTERED);
    // The others are told before the newcomer joins the room, so it is not told of itself; its
    // list is taken before it joins, so it misses nobody and hears of nobody twice.
    let version = chat.users.version();
    let notice = UsersChanged {
        channel: 0,
        since: version - 1,
        version,
        head_count: chat.users.count(),
        complete: true,
        entered: List::new(vec![user.clone()]).unwrap_or_default(),
        left: List::default(),
    };
    call.effects.broadcast(WORLD, Class::Notice, notice);
    call.effects.send(call.session, EnterAnswer { user, head_count: chat.users.count() });
    call.effects.send(call.session, chat.users.page(0));
    call.effects.join(call.session, WORLD);
    if let Some(Expected { login, claim, .. }) = expected {
        call.effects.send(login, LoginNotifyEntered { claim });
    }
}

fn user_list(chat: &mut Chat, call: &mut Call<'_>, request: UserListRequest) {
    call.effects.send(call.session, chat.users.page(request.after));
}

fn chat(chat: &mut Chat, call: &mut Call<'_>, request: ChatRequest) {
    let Some(sender) = chat.users.of_session(call.session) else { return };
    if request.text.is_empty() {
        return chat.throw_out(call.session, CloseReason::MalformedPacket, call.effects);
    }
    chat.sequence += 1;
    metrics::BROADCASTS.inc();
    let queued = call.now.saturating_duration_since(call.received).as_micros();
    let message = ChatMessage {
        scope: request.scope,
        target: request.target,
        sequence: chat.sequence,
        sender: sender.user.clone(),
        stamp: request.stamp,
        times: ServerTimes {
            received_us: monotonic_us(call.received),
            queued_us: u32::try_from(queued).unwrap_or(u32::MAX),
            handled_us: 0,
        },
        text: request.text,
    };
    call.effects.broadcast(WORLD, Class::Chat, message);
}

fn exit(chat: &mut Chat, call: &mut Call<'_>, _: ExitRequest) {
    chat.forget(call.session, call.effects);
    call.effects.send(call.session, ExitAnswer {});
    call.effects.close(call.session, CloseReason::Goodbye);
}

fn ping(_: &mut Chat, call: &mut Call<'_>, request: PingRequest) {
    let queued = call.now.saturating_duration_since(call.received).as_micros();
    let queued_us = u32::try_from(queued).unwrap_or(u32::MAX);
    call.effects.send(
        call.session,
        PongAnswer { token: request.token, queued_us, server_us: monotonic_us(call.received) },
    );
}

fn hello(chat: &mut Chat, call: &mut Call<'_>, hello: LinkHello) {
    let role = hello.role;
    let link = chat.terminals.greeted(call.session, hello, &[Role::Login], call.now, call.effects);
    if link.is_none() {
        return;
    }
    match role {
        Role::Login => drop(chat.phases.insert(call.session, LOGIN)),
        Role::DbAgent => {
            chat.phases.insert(call.session, DB_AGENT);
            chat.holdings.links_changed(&chat.terminals, call.effects);
        }
        Role::Chat => {}
    }
}

fn notify_login(chat: &mut Chat, call: &mut Call<'_>, request: ChatNotifyLogin) {
    let ChatNotifyLogin { request, claim } = request;
    let load = Load { login: call.session, request, claim, is_cancelled: false };
    let Some(agent) = chat.holdings.agent() else {
        return answer_login(&load, Outcome::TryAgainLater, None, call.effects);
    };
    match chat.loads.add(agent, load, call.now) {
        Ok(request) => call.effects.send(agent, DbLoadCharacter { request, claim }),
        Err(load) => answer_login(&load, Outcome::TryAgainLater, None, call.effects),
    }
}

fn cancel_login(chat: &mut Chat, call: &mut Call<'_>, cancel: ChatCancelLogin) {
    if chat.admission.cancel(&cancel.claim) {
        chat.holdings.release(cancel.claim, call.effects);
    } else if let Some(load) = chat.loads.iter_mut().find(|load| load.claim == cancel.claim) {
        load.is_cancelled = true;
    }
}

fn character_loaded(chat: &mut Chat, call: &mut Call<'_>, answer: DbLoadCharacterAnswer) {
    let load = chat.loads.answered(call.session, answer.request);
    let is_ours = answer.outcome == Outcome::Ok;
    match load.filter(|load| !load.is_cancelled) {
        Some(load) => {
            if is_ours {
                // The ticket is yet to be made, so it is good for a little longer than from now.
                let lifetime = chat.settings.ticket_lifetime + chat.settings.request_timeout;
                let until_ms = (chat.now_ms)() + lifetime.as_millis() as u64;
                chat.holdings.hold(load.claim);
                chat.admission.expect(Expected { claim: load.claim, login: load.login, until_ms });
            }
            answer_login(&load, answer.outcome, answer.character, call.effects);
        }
        // Too late, or nobody wants it any more: the claim that came over goes back.
        None if is_ours => chat.holdings.release(answer.claim, call.effects),
        None => {}
    }
}

fn claims_synced(chat: &mut Chat, call: &mut Call<'_>, _: DbClaimsSynced) {
    chat.holdings.synced(call.session, call.effects);
    chat.terminals.ready(call.session);
}

fn claim_revoked(chat: &mut Chat, call: &mut Call<'_>, revoked: DbClaimRevoked) {
    // Released, and not only forgotten: a list of ours that the DB agent came to after the claim was
    // gone may have brought it back.
    chat.holdings.release(revoked.claim, call.effects);
    chat.admission.cancel(&revoked.claim);
    // The word that the claim came over may be on its way still, from another DB thread: it is void.
    if let Some(load) = chat.loads.iter_mut().find(|load| load.claim == revoked.claim && !load.is_cancelled) {
        load.is_cancelled = true;
        answer_login(load, Outcome::ClaimLost, None, call.effects);
    }
    let user = chat.users.of_account(revoked.claim.account);
    if let Some(user) = user.filter(|user| user.claim == revoked.claim) {
        let session = user.session;
        chat.throw_out(session, CloseReason::LoggedInElsewhere, call.effects);
    }
}
