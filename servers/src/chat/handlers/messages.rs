//! Chat messages: their scopes and their recipients.

use throng_core::clock::monotonic_us;
use throng_core::content::Call;
use throng_core::metrics;
use throng_core::room::{Class, RoomId};
use throng_core::wire::CloseReason;
use throng_core::wire::packets::{ChatMessage, ChatRefused, ChatRequest, Outcome, Scope, ServerTimes};

use super::queued_us;
use crate::chat::Chat;
use crate::chat::sectors::Audience;

pub(in crate::chat) fn chat(chat: &mut Chat, call: &mut Call<'_>, request: ChatRequest) {
    let has_target = matches!(request.scope, Scope::Channel | Scope::Whisper);
    if request.text.is_empty() || (!has_target && request.target != 0) {
        return chat.close_session(call.session, CloseReason::MalformedPacket, call);
    }
    let stamp = request.stamp;
    if let Err(outcome) = say(chat, call, request) {
        metrics::MESSAGES_REFUSED.inc();
        call.effects.send(call.session, ChatRefused { stamp, outcome });
    }
}

/// Delivers a message. Fails with NotAMember, NoSuchUser or NoPosition.
fn say(chat: &mut Chat, call: &mut Call<'_>, request: ChatRequest) -> Result<(), Outcome> {
    let sender = chat.users.by_session(call.session).ok_or(Outcome::NoSuchUser)?;
    let ChatRequest { scope, target, stamp, text } = request;
    let mut message = ChatMessage {
        scope,
        target,
        sequence: 0,
        sender: sender.user.clone(),
        stamp,
        times: ServerTimes {
            received_us: monotonic_us(call.received),
            queued_us: queued_us(call),
            handled_us: 0,
        },
        text,
    };
    match scope {
        Scope::World => {
            chat.sequence += 1;
            message.sequence = chat.sequence;
            metrics::BROADCASTS.inc();
            call.effects.broadcast(RoomId::WORLD, Class::Chat, message);
        }
        Scope::Channel => {
            let channel = chat.channels.get_for_member(target, sender.user.id).ok_or(Outcome::NotAMember)?;
            message.sequence = channel.next_sequence();
            metrics::CHANNEL_MESSAGES.inc();
            call.effects.broadcast(RoomId(target), Class::Chat, message);
        }
        Scope::Nearby => {
            let audience = chat.sectors.audience(call.session, call.now, call.effects);
            let audience = audience.ok_or(Outcome::NoPosition)?;
            metrics::NEARBY_MESSAGES.inc();
            match audience {
                Audience::Sessions(sessions) => call.effects.multicast(call.session, sessions, message),
                Audience::Room(room) => call.effects.broadcast(room, Class::Chat, message),
            }
        }
        Scope::Whisper => {
            let target = chat.users.by_id(target).ok_or(Outcome::NoSuchUser)?;
            let mut recipients = vec![call.session];
            if target.session != call.session {
                recipients.push(target.session);
            }
            metrics::WHISPERS.inc();
            call.effects.multicast(call.session, recipients, message);
        }
    }
    Ok(())
}
