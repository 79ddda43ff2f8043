//! Requests for the history of rooms.

use throng_core::SessionId;
use throng_core::content::{Call, Effects};
use throng_core::limits::{HISTORY_PAGE, LIST_BYTES_MAX};
use throng_core::room::RoomId;
use throng_core::wire::packets::{ChatMessage, History, HistoryRequest, PastMessage};
use throng_core::wire::{List, Packet};

use crate::chat::{Chat, Series};

pub(super) fn history(chat: &mut Chat, call: &mut Call<'_>, request: HistoryRequest) {
    let HistoryRequest { channel, before, count } = request;
    let Some(user) = chat.seats.user(call.session) else { return };
    let page = page(chat, user, channel, before, count.into());
    let page = page.unwrap_or(History { channel, messages: List::default(), more: false });
    call.effects.send(call.session, page);
}

/// Sends a user that has just come to a room its latest messages, if it may read any.
pub(super) fn send_latest(chat: &Chat, session: SessionId, user: u32, channel: u32, effects: &mut Effects) {
    let page = page(chat, user, channel, 0, HISTORY_PAGE);
    if let Some(page) = page.filter(|page| !page.messages.is_empty()) {
        effects.send(session, page);
    }
}

/// Returns up to `count` messages of a room from before number `before`, or the latest ones if it
/// is 0. Returns `None` if the user is not in the room.
fn page(chat: &Chat, user: u32, channel: u32, before: u64, count: usize) -> Option<History> {
    let earlier = if channel == RoomId::WORLD.0 {
        chat.settings.history_on_enter
    } else {
        chat.settings.history_on_join
    };
    // What was said before it came, but for the latest, is not the user's to read.
    let first_readable = chat.world.since(user, channel)?.saturating_sub(earlier) + 1;
    let end = if before == 0 { u64::MAX } else { before };
    let latest = chat.world.latest(channel)?;
    let from = end.min(latest + 1).saturating_sub(count as u64).max(first_readable);
    let series = Series::Room(channel);
    let kept: Vec<_> = chat.history.from(series, from).take_while(|(number, _)| *number < end).collect();
    let mut bytes = 0;
    let fitting = kept.iter().rev().take(HISTORY_PAGE).take_while(|(_, message)| {
        bytes += message.len();
        bytes <= LIST_BYTES_MAX
    });
    let kept = &kept[kept.len() - fitting.count()..];
    let first = kept.first().map_or(end, |(number, _)| *number);
    let more = chat.history.from(series, first_readable).next().is_some_and(|(number, _)| number < first);
    let messages = kept.iter().filter_map(|(_, message)| past(message));
    Some(History { channel, messages: List::take_from(&mut messages.into_iter()), more })
}

fn past(encoded: &[u8]) -> Option<PastMessage> {
    let Ok(Packet::ChatMessage(message)) = Packet::decode(encoded) else { return None };
    let ChatMessage { sequence, sender, stamp, times, text, .. } = message;
    Some(PastMessage { sequence, sender, stamp, received_us: times.received_us, text })
}
