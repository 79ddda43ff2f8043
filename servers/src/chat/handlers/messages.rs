//! Chat messages: their scopes and their recipients.

use throng_core::clock::monotonic_us;
use throng_core::content::Call;
use throng_core::metrics;
use throng_core::room::{Class, RoomId};
use throng_core::text::{has_control, is_control};
use throng_core::wire::CloseReason;
use throng_core::wire::packets::{
    ChatMessage, ChatRefused, ChatRequest, ChatText, Outcome, Scope, ServerTimes,
};

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

/// Returns a text that every recipient's terminal and page only shows. Fails with TextInvalid, also
/// if nothing else is in the text.
fn presentable(text: ChatText, drops: bool) -> Result<ChatText, Outcome> {
    if !has_control(&text) {
        return Ok(text);
    }
    let rest: String = text.chars().filter(|c| drops && !is_control(*c)).collect();
    if rest.is_empty() { Err(Outcome::TextInvalid) } else { Ok(ChatText::truncated(&rest)) }
}

/// Delivers a message. Fails with NotAMember, NoSuchUser, NoPosition or TextInvalid.
fn say(chat: &mut Chat, call: &mut Call<'_>, request: ChatRequest) -> Result<(), Outcome> {
    let sender = chat.users.by_session(call.session).ok_or(Outcome::NoSuchUser)?;
    let ChatRequest { scope, target, stamp, text } = request;
    let text = presentable(text, chat.settings.drop_control_characters)?;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_with_control_characters_reaches_no_client_unchanged() {
        let check = |text: &str, drops, wanted: Result<&str, Outcome>| {
            let found = presentable(ChatText::truncated(text), drops);
            assert_eq!(found.as_deref(), wanted.as_ref().map(|text| &**text), "{text:?}");
        };
        for (text, rest) in [
            ("\u{1b}]52;c;AAAA\u{7}hi", "]52;c;AAAAhi"),
            ("\u{9b}2Jx", "2Jx"),
            ("a\0b", "ab"),
            ("hello\nAdmin: hello", "helloAdmin: hello"),
            ("a\tb", "ab"),
            ("\u{202E}exe.\u{2066}gpj\u{2029}", "exe.gpj"),
        ] {
            check(text, false, Err(Outcome::TextInvalid));
            check(text, true, Ok(rest));
        }
        check("\r\n\u{7f}", true, Err(Outcome::TextInvalid));
        for text in ["hi", " ", "👩\u{200D}👧 ❤\u{FE0F}", "می\u{200C}خواهم", "שלום\u{200F}!"]
        {
            check(text, false, Ok(text));
            check(text, true, Ok(text));
        }
    }
}
