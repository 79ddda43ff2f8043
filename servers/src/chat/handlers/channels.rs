//! Requests to create, join, leave and list channels, and to kick members.

use throng_core::content::Call;
use throng_core::room::RoomId;
use throng_core::wire::packets::{
    ChannelAnswer, ChannelCreateRequest, ChannelJoinRequest, ChannelKickAnswer, ChannelKickRequest,
    ChannelLeaveRequest, ChannelLeft, ChannelListRequest, ChannelName, Outcome, WishedChannel,
};

use crate::chat::{Chat, Departure};
use crate::rules;

pub(super) fn create(chat: &mut Chat, call: &mut Call<'_>, request: ChannelCreateRequest) {
    let Some(account) = chat.users.by_session(call.session).map(|user| user.claim.account) else { return };
    let verdict = chat.throttle.judge_channel(call.session, account, call.now);
    if !chat.carry_out(verdict, call) {
        return;
    }
    let made = create_channel(chat, call, &request.name);
    if made.is_ok() {
        chat.throttle.made_channel(call.session, account, call.now);
    }
    answer(chat, call, request.name, made);
}

pub(super) fn join(chat: &mut Chat, call: &mut Call<'_>, request: ChannelJoinRequest) {
    let joined = join_channel(chat, call, &request.name);
    answer(chat, call, request.name, joined);
}

pub(super) fn leave(chat: &mut Chat, call: &mut Call<'_>, request: ChannelLeaveRequest) {
    let Some(user) = chat.users.by_session(call.session).map(|user| user.user.id) else { return };
    // The membership ends before the answer, so that nothing said in the channel follows it.
    let outcome = remove_from_channel(chat, call, request.channel, user, Departure::Voluntary);
    call.effects.send(call.session, ChannelLeft { channel: request.channel, outcome });
}

pub(super) fn kick(chat: &mut Chat, call: &mut Call<'_>, request: ChannelKickRequest) {
    let ChannelKickRequest { channel, user } = request;
    let Some(owner) = chat.users.by_session(call.session).map(|user| user.user.id) else { return };
    let outcome = match chat.channels.get_for_member(channel, owner).map(|channel| channel.owner()) {
        None => Outcome::NotAMember,
        Some(other) if other != owner => Outcome::NotTheOwner,
        Some(_) => remove_from_channel(chat, call, channel, user, Departure::Kicked),
    };
    if outcome == Outcome::Ok
        && let Some(kicked) = chat.users.by_id(user)
    {
        call.effects.send(kicked.session, ChannelLeft { channel, outcome: Outcome::Kicked });
    }
    call.effects.send(call.session, ChannelKickAnswer { channel, user, outcome });
}

pub(super) fn list(chat: &mut Chat, call: &mut Call<'_>, request: ChannelListRequest) {
    call.effects.send(call.session, chat.channels.list(request.after));
}

/// Result of a request to be in a channel.
enum Entry {
    /// The user has become a member.
    New(u32),
    /// The user was a member already.
    Old(u32),
}

fn create_channel(chat: &mut Chat, call: &Call<'_>, name: &WishedChannel) -> Result<Entry, Outcome> {
    let key = rules::check_channel(name)?;
    if chat.settings.reserved.contains(name) {
        return Err(Outcome::NameReserved);
    }
    if chat.channels.find(&key).is_some() {
        return Err(Outcome::NameTaken);
    }
    let user = chat.users.by_session_mut(call.session).ok_or(Outcome::NoSuchUser)?;
    if user.channels.len() >= chat.settings.channels_per_user {
        return Err(Outcome::TooManyChannels);
    }
    let number = chat.channels.create(ChannelName::truncated(name), key, user.user.id)?;
    user.channels.push(number);
    Ok(Entry::New(number))
}

fn join_channel(chat: &mut Chat, call: &mut Call<'_>, name: &WishedChannel) -> Result<Entry, Outcome> {
    let key = rules::check_channel(name)?;
    let number = chat.channels.find(&key).ok_or(Outcome::NoSuchChannel)?;
    let user = chat.users.by_session_mut(call.session).ok_or(Outcome::NoSuchUser)?;
    if user.channels.contains(&number) {
        return Ok(Entry::Old(number));
    }
    if user.channels.len() >= chat.settings.channels_per_user {
        return Err(Outcome::TooManyChannels);
    }
    let list_state = chat.channels.join(number, user.user.id).ok_or(Outcome::NoSuchChannel)?;
    user.channels.push(number);
    chat.notices.entered(RoomId(number), &user.user, list_state, call.now, call.effects);
    Ok(Entry::New(number))
}

/// Answers a request to be in a channel. A member gets the first page of the list before it joins
/// the room, so that the page precedes every message.
fn answer(chat: &mut Chat, call: &mut Call<'_>, name: WishedChannel, entry: Result<Entry, Outcome>) {
    if let Err(outcome) = entry.and_then(|entry| confirm(chat, call, &entry)) {
        call.effects.send(call.session, ChannelAnswer { outcome, channel: 0, name, head_count: 0 });
    }
}

fn confirm(chat: &Chat, call: &mut Call<'_>, entry: &Entry) -> Result<(), Outcome> {
    let (Entry::New(number) | Entry::Old(number)) = *entry;
    let channel = chat.channels.get(number).ok_or(Outcome::NoSuchChannel)?;
    let answer = ChannelAnswer {
        outcome: Outcome::Ok,
        channel: number,
        name: WishedChannel::truncated(channel.name()),
        head_count: channel.list_state().head_count,
    };
    call.effects.send(call.session, answer);
    let page = chat.users.channel_page(number, channel, 0);
    call.effects.send_encoded(call.session, page.head, page.users);
    if let Entry::New(number) = entry {
        call.effects.join(call.session, RoomId(*number));
    }
    Ok(())
}

/// Removes a user from a channel. Returns Ok or NotAMember.
fn remove_from_channel(
    chat: &mut Chat,
    call: &mut Call<'_>,
    number: u32,
    user: u32,
    departure: Departure,
) -> Outcome {
    let Some(list_state) = chat.channels.leave(number, user) else { return Outcome::NotAMember };
    // Members of channels are in the chat: a user that leaves the chat leaves its channels first.
    let Some(presence) = chat.users.by_id_mut(user) else { return Outcome::NotAMember };
    presence.channels.retain(|other| *other != number);
    let member = presence.member();
    chat.leave_room(RoomId(number), member, list_state, departure, call);
    Outcome::Ok
}
