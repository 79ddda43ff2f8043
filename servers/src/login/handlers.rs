//! The login server's handler table: one function a packet.

#![expect(clippy::needless_pass_by_value, reason = "a handler is given its packet for good")]

use throng_core::crypto::Ticket;
use throng_core::wire::packets::{
    Character, ChatNotifyLogin, CreateCharacterRequest, DbCheckPassword, DbCheckPasswordAnswer,
    DbClaimRevoked, DbClaimsSynced, DbCreateCharacter, DbCreateCharacterAnswer, DbSignUp, DbSignUpAnswer,
    DbVerifyAccount, DbVerifyAccountAnswer, LinkHello, LoginGranted, LoginNotifyEntered, LoginNotifyLoaded,
    LoginRequest, Role, SignUpRequest,
};

use super::{
    Call, ChatCancelLogin, Claim, CloseReason, Granted, HandlerTable, Login, Outcome, Phase, SessionId, Step,
    Waiting, metrics,
};

/// Every packet that the login server takes.
pub(super) fn table() -> HandlerTable<Login, Phase> {
    HandlerTable::default()
        .on(&[Phase::Idle], log_in)
        .on(&[Phase::Idle], sign_up)
        .on(&[Phase::Idle], create_character)
        .on(&[Phase::Unidentified], hello)
        .on(&[Phase::DbAgent], password_checked)
        .on(&[Phase::DbAgent], signed_up)
        .on(&[Phase::DbAgent], account_verified)
        .on(&[Phase::DbAgent], character_created)
        .on(&[Phase::DbAgent], claims_synced)
        .on(&[Phase::DbAgent], claim_revoked)
        .on(&[Phase::Chat], hand_over_done)
        .on(&[Phase::Chat], client_entered)
}

fn log_in(login: &mut Login, call: &mut Call<'_>, request: LoginRequest) {
    let LoginRequest { id, password } = request;
    let take_over = login.settings.take_over;
    // Without a chat server the password need not be looked at.
    let has_chat = login.terminals.up(Role::Chat).next().is_some();
    let agent = login.holdings.agent().filter(|_| has_chat);
    let waiting = Waiting { client: call.session, step: Step::Password };
    login.ask(agent, waiting, call, |request| DbCheckPassword { request, id, password, take_over });
}

fn sign_up(login: &mut Login, call: &mut Call<'_>, request: SignUpRequest) {
    let SignUpRequest { id, password } = request;
    let waiting = Waiting { client: call.session, step: Step::SignUp };
    let agent = login.holdings.agent();
    login.ask(agent, waiting, call, |request| DbSignUp { request, id, password });
}

fn create_character(login: &mut Login, call: &mut Call<'_>, request: CreateCharacterRequest) {
    let CreateCharacterRequest { id, password, name } = request;
    let waiting = Waiting { client: call.session, step: Step::Verify(name) };
    let agent = login.holdings.agent();
    login.ask(agent, waiting, call, |request| DbVerifyAccount { request, id, password });
}

fn hello(login: &mut Login, call: &mut Call<'_>, hello: LinkHello) {
    let role = hello.role;
    if login.terminals.identify(call.session, hello, &[], call.now, call.effects).is_none() {
        return;
    }
    match role {
        Role::Chat => {
            login.phases.insert(call.session, Phase::Chat);
        }
        Role::DbAgent => {
            login.phases.insert(call.session, Phase::DbAgent);
            login.holdings.links_changed(&login.terminals, call.effects);
        }
        Role::Login => {}
    }
}

fn password_checked(login: &mut Login, call: &mut Call<'_>, answer: DbCheckPasswordAnswer) {
    let DbCheckPasswordAnswer { request, outcome, claim } = answer;
    let waiting = login.pending.answered(call.session, request);
    let waiting = waiting.filter(|waiting| login.phases.contains_key(&waiting.client));
    if outcome != Outcome::Ok {
        if let Some(waiting) = waiting {
            login.fail(&waiting, outcome, call.effects);
        }
        return;
    }
    let Some(Waiting { client, .. }) = waiting else {
        // Too late, or the client has gone: nobody is online by this.
        return login.holdings.release(claim, call.effects);
    };
    login.holdings.hold(claim);
    if let Some(chat) = login.choose_chat() {
        let waiting = Waiting { client, step: Step::HandOver { chat, claim } };
        login.ask(Some(chat), waiting, call, |request| ChatNotifyLogin { request, claim });
    } else {
        login.holdings.release(claim, call.effects);
        let waiting = Waiting { client, step: Step::Password };
        login.fail(&waiting, Outcome::TryAgainLater, call.effects);
    }
}

fn hand_over_done(login: &mut Login, call: &mut Call<'_>, answer: LoginNotifyLoaded) {
    let LoginNotifyLoaded { request, outcome, claim, character } = answer;
    let Some(waiting) = login.pending.answered(call.session, request) else {
        // It was cancelled when its time was over, and the cancellation has overtaken nothing.
        return;
    };
    let (Outcome::Ok, Some(character)) = (outcome, character) else {
        return login.fail(&waiting, outcome, call.effects);
    };
    let client = waiting.client;
    if !login.phases.contains_key(&client) {
        login.holdings.forget(&claim);
        return call.effects.send(call.session, ChatCancelLogin { claim });
    }
    match granted(login, call.session, claim, character) {
        Ok(packet) => {
            login.holdings.forget(&claim);
            metrics::LOGINS_GRANTED.inc();
            login.phases.insert(client, Phase::Granted);
            login.granted.insert(claim.id, Granted { client, chat: call.session, claim });
            login.expiries.push_back((call.now + login.settings.ticket_lifetime, claim.id));
            call.effects.send(client, packet);
        }
        Err(outcome) => login.fail(&waiting, outcome, call.effects),
    }
}

/// The packet that admits a character to the chat server behind a link.
fn granted(
    login: &Login,
    chat: SessionId,
    claim: Claim,
    character: Character,
) -> Result<LoginGranted, Outcome> {
    let link = login.terminals.get(chat).ok_or(Outcome::TryAgainLater)?;
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
        tracing::error!(%error, "cannot make a ticket");
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
    if let Some(granted) = login.granted.remove(&entered.claim.id) {
        call.effects.close(granted.client, CloseReason::HandedOver);
    }
}

fn signed_up(login: &mut Login, call: &mut Call<'_>, answer: DbSignUpAnswer) {
    if let Some(waiting) = login.pending.answered(call.session, answer.request) {
        login.answer(waiting.client, &waiting.step, answer.outcome, call.effects);
    }
}

fn account_verified(login: &mut Login, call: &mut Call<'_>, answer: DbVerifyAccountAnswer) {
    let Some(waiting) = login.pending.answered(call.session, answer.request) else { return };
    let Waiting { client, step: Step::Verify(name) } = waiting else { return };
    if answer.outcome != Outcome::Ok {
        return login.answer(client, &Step::Character, answer.outcome, call.effects);
    }
    let account = answer.account;
    let waiting = Waiting { client, step: Step::Character };
    login.ask(Some(call.session), waiting, call, |request| DbCreateCharacter { request, account, name });
}

fn character_created(login: &mut Login, call: &mut Call<'_>, answer: DbCreateCharacterAnswer) {
    if let Some(waiting) = login.pending.answered(call.session, answer.request) {
        login.answer(waiting.client, &waiting.step, answer.outcome, call.effects);
    }
}

fn claims_synced(login: &mut Login, call: &mut Call<'_>, _: DbClaimsSynced) {
    login.holdings.synced(call.session, call.effects);
    login.terminals.ready(call.session);
}

fn claim_revoked(login: &mut Login, call: &mut Call<'_>, revoked: DbClaimRevoked) {
    // A login under way learns of it from the hand-over, which fails with ClaimLost. Released, and
    // not only forgotten: a list of ours that the DB agent came to after the claim was gone
    // may have brought it back.
    login.holdings.release(revoked.claim, call.effects);
}
