//! Requests to create, join, leave and list channels, and to kick members.

use throng_core::content::Call;
use throng_core::room::RoomId;
use throng_core::wire::packets::{
    ChannelAnswer, ChannelCreateRequest, ChannelJoinRequest, ChannelKickAnswer, ChannelKickRequest,
    ChannelLeaveRequest, ChannelLeft, ChannelListRequest, ChannelName, Outcome, WishedChannel,
};

use super::history;
use crate::chat::{Channel, Chat, Departure, Fact};
use crate::rules;

pub(super) fn create(chat: &mut Chat, call: &mut Call<'_>, request: ChannelCreateRequest) {
    let user = chat.seats.user(call.session).and_then(|user| chat.world.users.get(user));
    let Some(account) = user.map(|user| user.claim.account) else { return };
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
    let Some(user) = chat.seats.user(call.session) else { return };
    // The membership ends before the answer, so that nothing said in the channel follows it.
    let outcome = part(chat, call, request.channel, user, Departure::Voluntary);
    chat.answer(user, ChannelLeft { channel: request.channel, outcome }, call.now, call.effects);
}

pub(super) fn kick(chat: &mut Chat, call: &mut Call<'_>, request: ChannelKickRequest) {
    let ChannelKickRequest { channel, user } = request;
    let Some(sender) = chat.seats.user(call.session) else { return };
    let found = chat.world.channels.get(channel).filter(|channel| channel.contains(sender));
    let outcome = match found.map(Channel::owner) {
        None => Outcome::NotAMember,
        Some(owner) if owner != sender => Outcome::NotTheOwner,
        Some(_) => part(chat, call, channel, user, Departure::Kicked),
    };
    if outcome == Outcome::Ok {
        chat.answer(user, ChannelLeft { channel, outcome: Outcome::Kicked }, call.now, call.effects);
    }
    chat.answer(sender, ChannelKickAnswer { channel, user, outcome }, call.now, call.effects);
}

pub(super) fn list(chat: &mut Chat, call: &mut Call<'_>, request: ChannelListRequest) {
    call.effects.send(call.session, chat.world.channels.list(request.after));
}

/// Result of a request to be in a channel.
enum Entry {
    /// The user has become a member.
    New(u32),
    /// The user was a member already.
    Old(u32),
}

fn create_channel(chat: &mut Chat, call: &mut Call<'_>, name: &WishedChannel) -> Result<Entry, Outcome> {
    let key = rules::check_channel(name)?;
    if chat.settings.reserved.contains(name) {
        return Err(Outcome::NameReserved);
    }
    let channels = &chat.world.channels;
    if channels.find(&key).is_some() {
        return Err(Outcome::NameTaken);
    }
    let user = check_room_for_channel(chat, call)?;
    if !channels.has_room() {
        return Err(Outcome::TooManyChannels);
    }
    let channel = channels.next_number();
    let made = Fact::ChannelMade { channel, name: ChannelName::truncated(name), owner: user };
    chat.commit(made, call.now, call.effects).ok_or(Outcome::TooManyChannels)?;
    Ok(Entry::New(channel))
}

fn join_channel(chat: &mut Chat, call: &mut Call<'_>, name: &WishedChannel) -> Result<Entry, Outcome> {
    let key = rules::check_channel(name)?;
    let channel = chat.world.channels.find(&key).ok_or(Outcome::NoSuchChannel)?;
    let user = chat.seats.user(call.session).ok_or(Outcome::NoSuchUser)?;
    if chat.world.channels.get(channel).is_some_and(|channel| channel.contains(user)) {
        return Ok(Entry::Old(channel));
    }
    check_room_for_channel(chat, call)?;
    chat.commit(Fact::Joined { channel, user }, call.now, call.effects).ok_or(Outcome::NoSuchChannel)?;
    Ok(Entry::New(channel))
}

/// Returns the user of a call if it may be in another channel.
fn check_room_for_channel(chat: &Chat, call: &Call<'_>) -> Result<u32, Outcome> {
    let user = chat.seats.user(call.session).and_then(|user| chat.world.users.get(user));
    let user = user.ok_or(Outcome::NoSuchUser)?;
    if user.channels.len() >= chat.settings.channels_per_user {
        return Err(Outcome::TooManyChannels);
    }
    Ok(user.user.id)
}

/// Answers a request to be in a channel. A member gets the first page of the list before it joins
/// the room, so that the page precedes every message.
fn answer(chat: &mut Chat, call: &mut Call<'_>, name: WishedChannel, entry: Result<Entry, Outcome>) {
    let Some(user) = chat.seats.user(call.session) else { return };
    if let Err(outcome) = entry.and_then(|entry| confirm(chat, call, user, &entry)) {
        let refused = ChannelAnswer { outcome, channel: 0, name, head_count: 0 };
        chat.answer(user, refused, call.now, call.effects);
    }
}

fn confirm(chat: &mut Chat, call: &mut Call<'_>, user: u32, entry: &Entry) -> Result<(), Outcome> {
    let (Entry::New(number) | Entry::Old(number)) = *entry;
    let channel = chat.world.channels.get(number).ok_or(Outcome::NoSuchChannel)?;
    let answer = ChannelAnswer {
        outcome: Outcome::Ok,
        channel: number,
        name: WishedChannel::truncated(channel.name()),
        head_count: channel.list_state().head_count,
    };
    let page = chat.world.users.channel_page(number, channel, 0);
    chat.answer(user, answer, call.now, call.effects);
    call.effects.send_encoded(call.session, page.head, page.users);
    if let Entry::New(number) = entry {
        history::send_latest(chat, call, user, *number);
        call.effects.join(call.session, RoomId(*number));
    }
    Ok(())
}

/// Removes a user from a channel. Returns Ok or NotAMember.
fn part(chat: &mut Chat, call: &mut Call<'_>, channel: u32, user: u32, departure: Departure) -> Outcome {
    match chat.commit(Fact::Parted { channel, user, departure }, call.now, call.effects) {
        Some(_) => Outcome::Ok,
        None => Outcome::NotAMember,
    }
}
