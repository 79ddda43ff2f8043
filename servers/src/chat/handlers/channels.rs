//! Requests to create, join, leave and list channels, and to kick members.

use std::time::Instant;

use throng_core::content::{Call, Effects};
use throng_core::room::RoomId;
use throng_core::wire::packets::{
    ChannelAnswer, ChannelCreateRequest, ChannelJoinRequest, ChannelKickAnswer, ChannelKickRequest,
    ChannelLeaveRequest, ChannelLeft, ChannelListRequest, ChannelName, Outcome, WishedChannel,
};

use super::history;
use crate::chat::continuation::Continuation;
use crate::chat::seats::Actor;
use crate::chat::{Change, Chat, Deed};
use crate::rules;

pub(super) fn create(chat: &mut Chat, call: &mut Call<'_>, request: ChannelCreateRequest) {
    let Some(Actor { user, .. }) = chat.seats.actor(call.session) else { return };
    let Some(account) = account(chat, user) else { return };
    let verdict = chat.throttle.judge_channel(call.session, account, call.now);
    if !chat.carry_out(verdict, call) {
        return;
    }
    let name = request.name;
    let is_reserved = chat.settings.reserved.contains(&name);
    match rules::check_channel(&name) {
        Err(outcome) => refuse(chat, user, name, outcome, call.now, call.effects),
        Ok(_) if is_reserved => refuse(chat, user, name, Outcome::NameReserved, call.now, call.effects),
        Ok(_) => {
            let made = Deed::MakeChannel(ChannelName::truncated(&name));
            chat.act(made, Continuation::Create { user, name }, call);
        }
    }
}

/// Carries on the request of a user to make a channel.
pub(in crate::chat) fn created(
    chat: &mut Chat,
    user: u32,
    name: WishedChannel,
    applied: &Result<Change, Outcome>,
    now: Instant,
    effects: &mut Effects,
) {
    if applied.is_ok()
        && let Some(session) = chat.seats.session(user)
        && let Some(account) = account(chat, user)
    {
        chat.throttle.made_channel(session, account, now);
    }
    answer(chat, user, name, applied, now, effects);
}

fn account(chat: &Chat, user: u32) -> Option<u64> {
    chat.world.users.get(user).map(|presence| presence.claim.account)
}

pub(super) fn join(chat: &mut Chat, call: &mut Call<'_>, request: ChannelJoinRequest) {
    let Some(Actor { user, .. }) = chat.seats.actor(call.session) else { return };
    let name = request.name;
    let channel = rules::check_channel(&name)
        .and_then(|key| chat.world.channels.find(&key).ok_or(Outcome::NoSuchChannel));
    match channel {
        Ok(channel) => chat.act(Deed::Join { channel }, Continuation::Join { user, name }, call),
        Err(outcome) => refuse(chat, user, name, outcome, call.now, call.effects),
    }
}

pub(super) fn leave(chat: &mut Chat, call: &mut Call<'_>, request: ChannelLeaveRequest) {
    let Some(Actor { user, .. }) = chat.seats.actor(call.session) else { return };
    let channel = request.channel;
    chat.act(Deed::Part { channel }, Continuation::Part { user, channel }, call);
}

/// Carries on the request of a user to leave a channel. The membership has ended, so that nothing
/// said in the channel follows the answer.
pub(in crate::chat) fn parted(
    chat: &mut Chat,
    user: u32,
    channel: u32,
    applied: &Result<Change, Outcome>,
    now: Instant,
    effects: &mut Effects,
) {
    chat.answer(user, ChannelLeft { channel, outcome: outcome(applied) }, now, effects);
}

pub(super) fn kick(chat: &mut Chat, call: &mut Call<'_>, request: ChannelKickRequest) {
    let ChannelKickRequest { channel, user: member } = request;
    let Some(Actor { user, .. }) = chat.seats.actor(call.session) else { return };
    chat.act(Deed::Kick { channel, member }, Continuation::Kick { user, channel, member }, call);
}

/// Carries on the request of a user to kick a member.
pub(in crate::chat) fn kicked(
    chat: &mut Chat,
    user: u32,
    channel: u32,
    member: u32,
    applied: &Result<Change, Outcome>,
    now: Instant,
    effects: &mut Effects,
) {
    let answer = ChannelKickAnswer { channel, user: member, outcome: outcome(applied) };
    chat.answer(user, answer, now, effects);
}

fn outcome(applied: &Result<Change, Outcome>) -> Outcome {
    applied.as_ref().err().copied().unwrap_or(Outcome::Ok)
}

pub(super) fn list(chat: &mut Chat, call: &mut Call<'_>, request: ChannelListRequest) {
    call.effects.send(call.session, chat.world.channels.list(request.after));
}

/// Answers a request to be in a channel. A member gets the first page of the list before it joins
/// the room, so that the page precedes every message.
pub(in crate::chat) fn answer(
    chat: &mut Chat,
    user: u32,
    name: WishedChannel,
    applied: &Result<Change, Outcome>,
    now: Instant,
    effects: &mut Effects,
) {
    let (number, is_new) = match applied {
        Ok(Change::ChannelMade { channel } | Change::Joined { channel, .. }) => (*channel, true),
        Ok(Change::WasMember { channel }) => (*channel, false),
        Ok(_) => return,
        Err(outcome) => return refuse(chat, user, name, *outcome, now, effects),
    };
    let Some(channel) = chat.world.channels.get(number) else { return };
    let answer = ChannelAnswer {
        outcome: Outcome::Ok,
        channel: number,
        name: WishedChannel::truncated(channel.name()),
        head_count: channel.list_state().head_count,
    };
    let page = chat.world.users.channel_page(number, channel, 0);
    chat.answer(user, answer, now, effects);
    let Some(session) = chat.seats.session(user) else { return };
    effects.send_encoded(session, page.head, page.users);
    if is_new {
        history::send_latest(chat, session, user, number, effects);
        effects.join(session, RoomId(number));
    }
}

fn refuse(
    chat: &mut Chat,
    user: u32,
    name: WishedChannel,
    outcome: Outcome,
    now: Instant,
    effects: &mut Effects,
) {
    let refused = ChannelAnswer { outcome, channel: 0, name, head_count: 0 };
    chat.answer(user, refused, now, effects);
}
