//! Chat messages: their scopes and their recipients.

use std::time::Instant;

use throng_core::clock::monotonic_us;
use throng_core::content::{Call, Effects};
use throng_core::metrics;
use throng_core::text::{has_control, is_control};
use throng_core::wire::CloseReason;
use throng_core::wire::packets::{ChatRefused, ChatRequest, ChatText, Outcome, Scope, ServerTimes};

use super::queued_us;
use crate::chat::continuation::Continuation;
use crate::chat::seats::Actor;
use crate::chat::{Change, Chat, Deed, Words};

pub(in crate::chat) fn chat(chat: &mut Chat, call: &mut Call<'_>, request: ChatRequest) {
    let has_target = matches!(request.scope, Scope::Channel | Scope::Whisper);
    if request.text.is_empty() || (!has_target && request.target != 0) {
        return chat.close_session(call.session, CloseReason::MalformedPacket, call);
    }
    let Some(Actor { user, .. }) = chat.seats.actor(call.session) else { return };
    let ChatRequest { scope, target, stamp, text } = request;
    let text = match presentable(text, chat.settings.drop_control_characters) {
        Ok(text) => text,
        Err(outcome) => return refuse(chat, user, stamp, outcome, call.now, call.effects),
    };
    let times =
        ServerTimes { received_us: monotonic_us(call.received), queued_us: queued_us(call), handled_us: 0 };
    let words = Words { scope, target, stamp, times, text };
    let deed = match (scope, chat.sectors.sector(call.session)) {
        (Scope::Nearby, Some(sector)) => Deed::SayNearby { sector, words },
        (Scope::Nearby, None) => {
            return refuse(chat, user, stamp, Outcome::NoPosition, call.now, call.effects);
        }
        _ => Deed::Say(words),
    };
    chat.act(deed, Continuation::Say { user, stamp }, call);
}

/// Carries on the request of a user to say something.
pub(in crate::chat) fn said(
    chat: &mut Chat,
    user: u32,
    stamp: u64,
    applied: &Result<Change, Outcome>,
    now: Instant,
    effects: &mut Effects,
) {
    match applied {
        Ok(Change::Whispered { .. }) => metrics::WHISPERS.inc(),
        Ok(Change::SaidNearby { .. }) => metrics::NEARBY_MESSAGES.inc(),
        Ok(Change::Said(message)) if message.scope == Scope::World => metrics::BROADCASTS.inc(),
        Ok(_) => metrics::CHANNEL_MESSAGES.inc(),
        Err(outcome) => refuse(chat, user, stamp, *outcome, now, effects),
    }
}

fn refuse(chat: &mut Chat, user: u32, stamp: u64, outcome: Outcome, now: Instant, effects: &mut Effects) {
    metrics::MESSAGES_REFUSED.inc();
    chat.answer(user, ChatRefused { stamp, outcome }, now, effects);
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
