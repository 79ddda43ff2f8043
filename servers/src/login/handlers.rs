//! The handler table of the login server, with one function for each packet.

#![expect(clippy::needless_pass_by_value, reason = "a handler owns its packet")]

use throng_core::crypto::Ticket;
use throng_core::wire::Body;
use throng_core::wire::packets::{
    Character, ChatNotifyLogin, CreateCharacterAnswer, CreateCharacterRequest, DbCheckPasswordAnswer,
    DbClaimRevoked, DbClaimsSynced, DbCreateCharacter, DbCreateCharacterAnswer, DbSignUpAnswer,
    DbVerifyAccountAnswer, LinkHello, LoginGranted, LoginNotifyEntered, LoginNotifyLoaded, LoginNotifyRoom,
    LoginRequest, Role, SignUpAnswer, SignUpRequest,
};

use super::{
    Asker, Call, ChatCancelLogin, Claim, ClientRequest, CloseReason, Grant, HandlerTable, Login, Outcome,
    Phase, SessionId, Step, Want, metrics,
};

/// Returns the table of every packet that the login server accepts.
pub(super) fn table() -> HandlerTable<Login, Phase> {
    HandlerTable::default()
        .on(&[Phase::Idle], log_in)
        .on(&[Phase::Idle], sign_up)
        .on(&[Phase::Idle], create_character)
        .on(&[Phase::UnidentifiedLink], hello)
        .on(&[Phase::DbAgentLink], password_checked)
        .on(&[Phase::DbAgentLink], signed_up)
        .on(&[Phase::DbAgentLink], account_verified)
        .on(&[Phase::DbAgentLink], character_created)
        .on(&[Phase::DbAgentLink], claims_synced)
        .on(&[Phase::DbAgentLink], claim_revoked)
        .on(&[Phase::ChatLink], hand_over_done)
        .on(&[Phase::ChatLink], client_entered)
        .on(&[Phase::ChatLink], room_changed)
}

fn log_in(login: &mut Login, call: &mut Call<'_>, request: LoginRequest) {
    let LoginRequest { id, password } = request;
    let asker = login.asker(call.session, &id);
    if let Err(wait) = login.throttle.check_password(asker.network, call.now) {
        return login.too_fast(call.session, &asker, LoginRequest::NUMBER, wait, call.now, call.effects);
    }
    login.ask_for_hash(asker, Want::LogIn, password, call);
}

fn sign_up(login: &mut Login, call: &mut Call<'_>, request: SignUpRequest) {
    let SignUpRequest { id, password } = request;
    if login.settings.reserved.contains(&id) {
        return call.effects.send(call.session, SignUpAnswer { outcome: Outcome::NameReserved });
    }
    let asker = login.asker(call.session, &id);
    if let Err(wait) = login.throttle.sign_up(asker.network, call.now) {
        return login.too_fast(call.session, &asker, SignUpRequest::NUMBER, wait, call.now, call.effects);
    }
    login.ask_for_hash(asker, Want::SignUp, password, call);
}

fn create_character(login: &mut Login, call: &mut Call<'_>, request: CreateCharacterRequest) {
    let CreateCharacterRequest { id, password, name } = request;
    if login.settings.reserved.contains(&name) {
        return call.effects.send(call.session, CreateCharacterAnswer { outcome: Outcome::NameReserved });
    }
    let asker = login.asker(call.session, &id);
    if let Err(wait) = login.throttle.check_password(asker.network, call.now) {
        let packet = CreateCharacterRequest::NUMBER;
        return login.too_fast(call.session, &asker, packet, wait, call.now, call.effects);
    }
    login.ask_for_hash(asker, Want::Character(name), password, call);
}

fn hello(login: &mut Login, call: &mut Call<'_>, hello: LinkHello) {
    let role = hello.role;
    if login.links.identify(call.session, hello, &[], call.now, call.effects).is_none() {
        return;
    }
    match role {
        Role::Chat => {
            login.phases.insert(call.session, Phase::ChatLink);
        }
        Role::DbAgent => {
            login.phases.insert(call.session, Phase::DbAgentLink);
            login.held_claims.links_changed(&login.links, call.effects);
        }
        Role::Login => {}
    }
}

fn password_checked(login: &mut Login, call: &mut Call<'_>, answer: DbCheckPasswordAnswer) {
    let DbCheckPasswordAnswer { request, outcome, claim } = answer;
    let pending = login.hashed(call, request, outcome);
    if let Some(pending) = &pending {
        count_failure(login, &pending.asker, outcome, call);
    }
    let pending = pending.filter(|pending| login.phases.contains_key(&pending.client));
    if outcome != Outcome::Ok {
        if let Some(pending) = pending {
            login.refuse_request(pending, outcome, call);
        }
        return;
    }
    let Some(pending) = pending else {
        // The request has timed out or the client has gone, so the claim is released.
        return login.held_claims.release(claim, call.effects);
    };
    if let Err(wait) = login.throttle.log_in(pending.asker.network, claim.account, call.now) {
        login.held_claims.release(claim, call.effects);
        let (client, packet) = (pending.client, LoginRequest::NUMBER);
        return login.too_fast(client, &pending.asker, packet, wait, call.now, call.effects);
    }
    let Some(chat) = login.next_chat_server() else {
        login.held_claims.release(claim, call.effects);
        return login.fail_request(&pending, Outcome::TryAgainLater, call.effects);
    };
    login.held_claims.insert(claim);
    let pending = ClientRequest { step: Step::HandOver { chat, claim }, ..pending };
    login.send_request(Some(chat), pending, call.now, call.effects, |request| ChatNotifyLogin {
        request,
        claim,
    });
}

/// Counts a wrong password against the address that it came from. Unknown ids count alike.
fn count_failure(login: &mut Login, asker: &Asker, outcome: Outcome, call: &Call<'_>) {
    if outcome == Outcome::BadCredentials {
        login.throttle.failed(asker.network, call.now);
    }
}

fn hand_over_done(login: &mut Login, call: &mut Call<'_>, answer: LoginNotifyLoaded) {
    let LoginNotifyLoaded { request, outcome, claim, character } = answer;
    let Some(pending) = login.requests.answered(call.session, request) else {
        // The request has timed out. Its cancellation follows it on the same link, in order.
        return;
    };
    let (Outcome::Ok, Some(character)) = (outcome, character) else {
        return login.fail_request(&pending, outcome, call.effects);
    };
    let client = pending.client;
    if !login.phases.contains_key(&client) {
        login.held_claims.remove_transferred(&claim, call.effects);
        return call.effects.send(call.session, ChatCancelLogin { claim });
    }
    match mint_grant(login, call.session, claim, character) {
        Ok(packet) => {
            login.held_claims.remove_transferred(&claim, call.effects);
            metrics::LOGINS_GRANTED.inc();
            login.phases.insert(client, Phase::Granted);
            login.stays.end(client);
            login.grants.insert(claim.id, Grant { client, chat: call.session, claim });
            login.expiries.push_back((call.now + login.settings.ticket_lifetime, claim.id));
            call.effects.send(client, packet);
        }
        Err(outcome) => login.fail_request(&pending, outcome, call.effects),
    }
}

/// Mints the packet that admits a character to the chat server behind a link.
fn mint_grant(
    login: &Login,
    chat: SessionId,
    claim: Claim,
    character: Character,
) -> Result<LoginGranted, Outcome> {
    let link = login.links.get(chat).ok_or(Outcome::TryAgainLater)?;
    let lifetime_ms = login.settings.ticket_lifetime.as_millis() as u64;
    let issued_ms = (login.now_ms)();
    let ticket = Ticket {
        account: claim.account,
        claim: claim.id,
        character: character.id,
        name: character.name.clone(),
        chat_key: link.hello.client_key,
        issued_ms,
        expires_ms: issued_ms + lifetime_ms,
    };
    let ticket = ticket.mint(&login.settings.cluster).map_err(|error| {
        tracing::error!(%error, "cannot mint a ticket");
        Outcome::InternalError
    })?;
    Ok(LoginGranted {
        chat_address: link.hello.client_address.clone(),
        chat_key: link.hello.client_key,
        name: character.name,
        ticket,
        ticket_lifetime_ms: u32::try_from(lifetime_ms).unwrap_or(u32::MAX),
    })
}

fn client_entered(login: &mut Login, call: &mut Call<'_>, entered: LoginNotifyEntered) {
    if let Some(grant) = login.grants.remove(&entered.claim.id) {
        call.effects.close(grant.client, CloseReason::HandedOver);
    }
}

fn room_changed(login: &mut Login, call: &mut Call<'_>, room: LoginNotifyRoom) {
    login.room.insert(call.session, room.free);
}

fn signed_up(login: &mut Login, call: &mut Call<'_>, answer: DbSignUpAnswer) {
    let Some(pending) = login.hashed(call, answer.request, answer.outcome) else { return };
    if answer.outcome == Outcome::Ok {
        login.answer_client(&pending, Outcome::Ok, call.effects);
    } else {
        login.refuse_request(pending, answer.outcome, call);
    }
}

fn account_verified(login: &mut Login, call: &mut Call<'_>, answer: DbVerifyAccountAnswer) {
    let Some(pending) = login.hashed(call, answer.request, answer.outcome) else { return };
    count_failure(login, &pending.asker, answer.outcome, call);
    if answer.outcome != Outcome::Ok {
        return login.refuse_request(pending, answer.outcome, call);
    }
    let ClientRequest { client, asker, step: Step::Hash(hash) } = pending else { return };
    let Want::Character(name) = hash.want else { return };
    let account = answer.account;
    let (link, pending) = (Some(call.session), ClientRequest { client, asker, step: Step::Character });
    login.send_request(link, pending, call.now, call.effects, |request| DbCreateCharacter {
        request,
        account,
        name,
    });
}

fn character_created(login: &mut Login, call: &mut Call<'_>, answer: DbCreateCharacterAnswer) {
    if let Some(pending) = login.requests.answered(call.session, answer.request) {
        login.answer_client(&pending, answer.outcome, call.effects);
    }
}

fn claims_synced(login: &mut Login, call: &mut Call<'_>, _: DbClaimsSynced) {
    login.held_claims.synced(call.session, call.effects);
    login.links.ready(call.session);
}

fn claim_revoked(login: &mut Login, call: &mut Call<'_>, revoked: DbClaimRevoked) {
    // A login under way learns of it from its hand-over, which fails with ClaimLost. The claim is
    // released, and not only removed: the DB agent may have compared one of our lists after the
    // claim was gone, and thereby restored it.
    login.held_claims.release(revoked.claim, call.effects);
}
