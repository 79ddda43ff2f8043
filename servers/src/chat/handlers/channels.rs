//! Channels: made, joined, left, listed.

use throng_core::content::Call;
use throng_core::room::RoomId;
use throng_core::wire::packets::{
    ChannelAnswer, ChannelCreateRequest, ChannelJoinRequest, ChannelKickAnswer, ChannelKickRequest,
    ChannelLeaveRequest, ChannelLeft, ChannelListRequest, ChannelName, Outcome, WishedChannel,
};

use crate::chat::{Chat, Departure};
use crate::rules;

pub(super) fn create(chat: &mut Chat, call: &mut Call<'_>, request: ChannelCreateRequest) {
    let made = create_channel(chat, call, &request.name);
    answer(chat, call, request.name, made);
}

pub(super) fn join(chat: &mut Chat, call: &mut Call<'_>, request: ChannelJoinRequest) {
    let joined = join_channel(chat, call, &request.name);
    answer(chat, call, request.name, joined);
}

pub(super) fn leave(chat: &mut Chat, call: &mut Call<'_>, request: ChannelLeaveRequest) {
    let Some(user) = chat.users.by_session(call.session).map(|user| user.user.id) else { return };
    // Once it has been told that it is out, it gets nothing more of what is said there.
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

/// A channel, and whether the user has just come in.
type ChannelEntry = Result<(u32, bool), Outcome>;

fn create_channel(chat: &mut Chat, call: &Call<'_>, name: &WishedChannel) -> ChannelEntry {
    let key = rules::check_channel(name)?;
    if chat.channels.find(&key).is_some() {
        return Err(Outcome::NameTaken);
    }
    let user = chat.users.by_session_mut(call.session).ok_or(Outcome::NoSuchUser)?;
    if user.channels.len() >= chat.settings.channels_per_user {
        return Err(Outcome::TooManyChannels);
    }
    let number = chat.channels.create(ChannelName::truncated(name), key, user.user.id)?;
    user.channels.push(number);
    Ok((number, true))
}

fn join_channel(chat: &mut Chat, call: &mut Call<'_>, name: &WishedChannel) -> ChannelEntry {
    let key = rules::check_channel(name)?;
    let number = chat.channels.find(&key).ok_or(Outcome::NoSuchChannel)?;
    let user = chat.users.by_session_mut(call.session).ok_or(Outcome::NoSuchUser)?;
    if user.channels.contains(&number) {
        return Ok((number, false));
    }
    if user.channels.len() >= chat.settings.channels_per_user {
        return Err(Outcome::TooManyChannels);
    }
    let list_state = chat.channels.join(number, user.user.id).ok_or(Outcome::NoSuchChannel)?;
    user.channels.push(number);
    chat.notices.entered(RoomId(number), &user.user, list_state, call.now, call.effects);
    Ok((number, true))
}

/// Says how it went. Who is in gets the first page of the list, and then what is said, in this order.
fn answer(chat: &mut Chat, call: &mut Call<'_>, name: WishedChannel, joined: ChannelEntry) {
    let found = joined.and_then(|(number, is_new)| {
        let channel = chat.channels.get(number).ok_or(Outcome::NoSuchChannel)?;
        Ok((number, is_new, channel))
    });
    match found {
        Ok((number, is_new, channel)) => {
            let name = WishedChannel::truncated(channel.name());
            let head_count = channel.list_state().head_count;
            let (outcome, room) = (Outcome::Ok, RoomId(number));
            call.effects.send(call.session, ChannelAnswer { outcome, channel: number, name, head_count });
            let (begin, users) = chat.users.channel_page(number, channel, 0);
            call.effects.send_encoded(call.session, begin, users);
            if is_new {
                call.effects.join(call.session, room);
            }
        }
        Err(outcome) => {
            call.effects.send(call.session, ChannelAnswer { outcome, channel: 0, name, head_count: 0 });
        }
    }
}

/// Takes a user out of a channel: Ok, or NotAMember.
fn remove_from_channel(
    chat: &mut Chat,
    call: &mut Call<'_>,
    number: u32,
    user: u32,
    departure: Departure,
) -> Outcome {
    let Some(list_state) = chat.channels.leave(number, user) else { return Outcome::NotAMember };
    // Its members are in the chat: who leaves that leaves its channels.
    let Some(member) = chat.users.by_id_mut(user) else { return Outcome::NotAMember };
    member.channels.retain(|other| *other != number);
    let session = member.session;
    chat.leave_room(RoomId(number), (user, session), list_state, departure, call.now, call.effects);
    Outcome::Ok
}
