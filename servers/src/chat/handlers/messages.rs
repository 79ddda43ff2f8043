//! Chat messages: their scopes and their recipients.

use throng_core::clock::monotonic_us;
use throng_core::content::Call;
use throng_core::metrics;
use throng_core::room::Class;
use throng_core::text::{has_control, is_control};
use throng_core::wire::CloseReason;
use throng_core::wire::packets::{
    ChatMessage, ChatRefused, ChatRequest, ChatText, Outcome, Scope, ServerTimes,
};

use super::queued_us;
use crate::chat::sectors::Audience;
use crate::chat::{Chat, Fact};

pub(in crate::chat) fn chat(chat: &mut Chat, call: &mut Call<'_>, request: ChatRequest) {
    let has_target = matches!(request.scope, Scope::Channel | Scope::Whisper);
    if request.text.is_empty() || (!has_target && request.target != 0) {
        return chat.close_session(call.session, CloseReason::MalformedPacket, call);
    }
    let stamp = request.stamp;
    let Some(user) = chat.seats.user(call.session) else { return };
    if let Err(outcome) = say(chat, call, user, request) {
        metrics::MESSAGES_REFUSED.inc();
        chat.answer(user, ChatRefused { stamp, outcome }, call.now, call.effects);
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
fn say(chat: &mut Chat, call: &mut Call<'_>, user: u32, request: ChatRequest) -> Result<(), Outcome> {
    let sender = chat.world.users.get(user).ok_or(Outcome::NoSuchUser)?.user.clone();
    let ChatRequest { scope, target, stamp, text } = request;
    let text = presentable(text, chat.settings.drop_control_characters)?;
    let times =
        ServerTimes { received_us: monotonic_us(call.received), queued_us: queued_us(call), handled_us: 0 };
    let message = ChatMessage { scope, target, sequence: 0, sender, stamp, times, text };
    match scope {
        Scope::World => {
            metrics::BROADCASTS.inc();
            chat.commit(Fact::Said(message), call.now, call.effects);
        }
        Scope::Channel => {
            let channel = chat.world.channels.get(target);
            if !channel.is_some_and(|channel| channel.contains(message.sender.id)) {
                return Err(Outcome::NotAMember);
            }
            metrics::CHANNEL_MESSAGES.inc();
            chat.commit(Fact::Said(message), call.now, call.effects);
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
            chat.commit(Fact::Whispered(message), call.now, call.effects).ok_or(Outcome::NoSuchUser)?;
            metrics::WHISPERS.inc();
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
