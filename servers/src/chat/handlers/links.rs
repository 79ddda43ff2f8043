//! Packets of the links: logins from login servers, and answers from DB agents.

use throng_core::content::Call;
use throng_core::wire::packets::{
    ChatCancelLogin, ChatNotifyLogin, DbClaimRevoked, DbClaimsSynced, DbLoadCharacterAnswer, LinkHello,
    Outcome, Role,
};

use crate::chat::{Chat, Expected, Load, Phase, answer_login};

pub(super) fn hello(chat: &mut Chat, call: &mut Call<'_>, hello: LinkHello) {
    let role = hello.role;
    let link = chat.links.identify(call.session, hello, &[Role::Login], call.now, call.effects);
    if link.is_none() {
        return;
    }
    match role {
        Role::Login => {
            chat.seats.set_phase(call.session, Phase::LoginLink);
            chat.tell_room_to(call.session, call.effects);
        }
        Role::DbAgent => {
            chat.seats.set_phase(call.session, Phase::DbAgentLink);
            chat.held_claims.links_changed(&chat.links, call.effects);
        }
        Role::Chat => {}
    }
}

pub(super) fn notify_login(chat: &mut Chat, call: &mut Call<'_>, request: ChatNotifyLogin) {
    let ChatNotifyLogin { request, claim } = request;
    let load = Load::new(Some(call.session), request, claim, &chat.held_claims);
    chat.load_character(load, call.now, call.effects);
}

pub(super) fn cancel_login(chat: &mut Chat, call: &mut Call<'_>, cancel: ChatCancelLogin) {
    if chat.admission.cancel(&cancel.claim) {
        chat.held_claims.release(cancel.claim, call.effects);
    } else if let Some(load) = chat.loads.iter_mut().find(|load| load.claim == cancel.claim) {
        load.is_cancelled = true;
    }
}

pub(super) fn character_loaded(chat: &mut Chat, call: &mut Call<'_>, answer: DbLoadCharacterAnswer) {
    let load = chat.loads.answered(call.session, answer.request);
    let is_ours = answer.outcome == Outcome::Ok;
    match load.filter(|load| !load.is_cancelled) {
        Some(Load { login: None, claim, comparisons, .. }) if is_ours => {
            let user = chat.world.users.by_account(claim.account).filter(|user| user.claim == claim);
            match user.map(|user| user.node) {
                Some(node) if chat.is_here(node) => {
                    chat.held_claims.insert_moved(claim, comparisons, call.effects);
                }
                // It has moved on, and the next server asks for the claim as well.
                Some(_) => {}
                None => chat.held_claims.release(claim, call.effects),
            }
        }
        Some(load) if load.login.is_none() => chat.load_failed(&load, call.effects),
        Some(load) => {
            if is_ours {
                // The login server is yet to mint the ticket, so it expires later than one minted
                // now.
                let lifetime = chat.settings.ticket_lifetime + chat.settings.request_timeout;
                let until = call.now + lifetime;
                chat.held_claims.insert_moved(load.claim, load.comparisons, call.effects);
                if let Some(login) = load.login {
                    chat.admission.expect(Expected { claim: load.claim, login, until });
                }
            }
            answer_login(&load, answer.outcome, answer.character, call.effects);
        }
        // The login has timed out or was cancelled, so the claim that came over is released.
        None if is_ours => chat.held_claims.release(answer.claim, call.effects),
        None => {}
    }
}

pub(super) fn claims_synced(chat: &mut Chat, call: &mut Call<'_>, _: DbClaimsSynced) {
    chat.held_claims.synced(call.session, call.effects);
    chat.links.ready(call.session);
}

pub(super) fn claim_revoked(chat: &mut Chat, call: &mut Call<'_>, revoked: DbClaimRevoked) {
    // A release, and not only a removal: the DB agent may have compared one of our lists after the
    // claim was gone, and thereby restored it.
    chat.held_claims.release(revoked.claim, call.effects);
    chat.admission.cancel(&revoked.claim);
    // The answer that the claim came over may still be on its way from another DB thread. It is
    // void.
    if let Some(load) = chat.loads.iter_mut().find(|load| load.claim == revoked.claim && !load.is_cancelled) {
        load.is_cancelled = true;
        answer_login(load, Outcome::ClaimLost, None, call.effects);
    }
    let user = chat.world.users.by_account(revoked.claim.account);
    if let Some(user) = user.filter(|user| user.claim == revoked.claim).map(|user| user.user.id) {
        chat.put_out(user, call.now, call.effects);
    }
}
