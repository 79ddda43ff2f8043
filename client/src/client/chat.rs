//! The chat server's side of a client: entering, resuming, and everything in between.

use std::time::{Duration, Instant};

use rand::RngExt;
use throng_core::limits::LIST_PAGES_MAX;
use throng_core::roster::{Change, Step};
use throng_core::wire::packets::{
    ChannelAnswer, ChatMessage, ChatRequest, EnterAnswer, History, Outcome, PongAnswer, PositionUpdate,
    ResumeAnswer, RoomResumed, Scope, TooFast, UserList, UserListRequest, UsersChanged,
};
use throng_core::wire::{Body, CloseReason, Packet};

use super::{ChatLine, ChatServer, Client, Phase};
use crate::event::{Audience, Event, Message, Stamp};
use crate::line::{PATIENCE, Received};
use crate::place::{Order, Place};

/// Bit of the tokens of pings that the client sends by itself.
pub(super) const OWN_PING: u64 = 1 << 63;

/// Returns true if the server keeps the place of a user whose session ends for this reason, or if
/// another attempt to resume it may succeed.
fn is_resumable(reason: CloseReason) -> bool {
    matches!(
        reason,
        CloseReason::ConnectFailed
            | CloseReason::ConnectionLost
            | CloseReason::PeerClosed
            | CloseReason::IdleTimeout
            | CloseReason::HandshakeTimeout
            | CloseReason::TooSlow
            | CloseReason::ServerFull
            | CloseReason::TooManyConnections
            | CloseReason::Moved
            // Bytes that were changed on their way.
            | CloseReason::SealBroken
    )
}

/// Returns true if a client that has lost its place for this reason may log in again by itself.
fn may_return(reason: CloseReason) -> bool {
    !matches!(
        reason,
        CloseReason::Goodbye
            | CloseReason::LoggedInElsewhere
            | CloseReason::ResumedElsewhere
            | CloseReason::TooFast
            | CloseReason::VersionMismatch
            | CloseReason::HandshakeFailed
            | CloseReason::MalformedPacket
            | CloseReason::PacketNotAllowed
    )
}

impl Client {
    pub(super) fn chat_received(&mut self, received: Received, now: Instant) {
        match received {
            Received::Opened => {
                if let Some(ChatLine { conn, phase }) = &mut self.chat
                    && let Phase::Opening(first) = phase
                {
                    conn.line.send(first, now);
                    *phase = Phase::Asking(now + PATIENCE);
                }
            }
            Received::Closed(reason) => {
                if let Some(chat) = self.chat.take() {
                    self.hang_up(chat.conn, None, now);
                }
                self.chat_lost(reason, now);
            }
            Received::Packet(packet) => {
                if let Err(reason) = self.chat_packet(packet, now)
                    && let Some(id) = self.chat.as_ref().map(|chat| chat.conn.id)
                {
                    self.violated(id, reason, now);
                }
            }
        }
    }

    /// Deals with the end of the connection to the chat server.
    pub(super) fn chat_lost(&mut self, reason: CloseReason, now: Instant) {
        let window = self.place.as_ref().map(|place| place.resume_window);
        match (window, self.away) {
            (None, _) => self.not_entered(reason, now),
            (Some(_), Some(away)) if is_resumable(reason) => {
                self.away = Some(self.failed(away, now));
                self.go_to_next_node();
            }
            (Some(window), None) if is_resumable(reason) && !window.is_zero() => {
                if reason == CloseReason::Moved {
                    self.go_to_next_node();
                }
                self.away = Some(self.attempts(now));
                self.tell(Event::Away { reason });
            }
            _ => self.leave(reason, now),
        }
    }

    /// Has the next attempt to resume go to another server of the fleet.
    fn go_to_next_node(&mut self) {
        let (Some(place), Some(server)) = (&self.place, &mut self.server) else { return };
        // At random, so that the players of one server are spread over the others.
        let others: Vec<_> = place.nodes.iter().filter(|node| node.key != server.key).collect();
        if !others.is_empty() {
            let node = others[self.rng.random_range(0..others.len())];
            *server = ChatServer { address: node.address.to_string(), key: node.key };
        }
    }

    fn not_entered(&mut self, reason: CloseReason, now: Instant) {
        // With its session the login ends, and the account is offline.
        if let Some(conn) = self.login.conn.take() {
            self.hang_up(conn, Some(CloseReason::Goodbye), now);
            self.left_at = Some(now);
        }
        match self.again {
            Some(again) => self.again = Some(self.failed(again, now)),
            None => self.tell(Event::Unreachable { reason }),
        }
    }

    /// Gives up the place, and logs in again if that is wanted.
    pub(super) fn leave(&mut self, reason: CloseReason, now: Instant) {
        if let Some(chat) = self.chat.take() {
            self.hang_up(chat.conn, None, now);
        }
        let returns = self.settings.log_in_again && self.login.can_repeat() && may_return(reason);
        if returns {
            self.again = Some(self.attempts(now));
        }
        self.give_up(reason, returns);
    }

    /// Forgets the place after the player has left.
    pub(super) fn give_up_place(&mut self, reason: CloseReason, now: Instant) {
        self.left_at = Some(now);
        self.give_up(reason, false);
    }

    fn give_up(&mut self, reason: CloseReason, returns: bool) {
        self.away = None;
        let Some(mut place) = self.place.take() else { return };
        self.tell(Event::Left { reason, returns });
        let waiting = place.requests.take_all().into_iter().filter_map(|it| ChatRequest::try_from(it).ok());
        for request in place.unseen.into_iter().chain(waiting) {
            self.tell(Event::MessageUncertain { stamp: Stamp(request.stamp) });
        }
    }

    pub(super) fn try_to_resume(&mut self, now: Instant) {
        let (Some(place), Some(server), Some(away)) = (&self.place, self.server.clone(), &mut self.away)
        else {
            return;
        };
        away.next = None;
        let first = place.resume_request().into();
        match self.connect(&server.address, server.key, now) {
            Ok(conn) => self.chat = Some(ChatLine { conn, phase: Phase::Opening(first) }),
            Err(reason) => self.chat_lost(reason, now),
        }
    }

    fn chat_packet(&mut self, packet: Packet, now: Instant) -> Result<(), CloseReason> {
        let Some(ChatLine { phase, .. }) = &self.chat else { return Ok(()) };
        match (phase, packet) {
            (Phase::Asking(_), Packet::EnterAnswer(answer)) if self.place.is_none() => {
                self.entered(answer);
                Ok(())
            }
            (Phase::Asking(_), Packet::ResumeAnswer(answer)) if self.away.is_some() => {
                self.resumed(&answer, now);
                Ok(())
            }
            (Phase::In, packet) => {
                if let Some(place) = &mut self.place {
                    place.count(&packet);
                }
                self.room_packet(packet, now)
            }
            _ => Err(CloseReason::PacketNotAllowed),
        }
    }

    fn entered(&mut self, answer: EnterAnswer) {
        self.again = None;
        let place = Place::new(answer);
        self.tell(Event::Entered { user: place.user.clone(), head_count: place.head_count });
        self.place = Some(place);
        self.open();
    }

    fn open(&mut self) {
        if let (Some(chat), Some(place)) = (&mut self.chat, &self.place) {
            chat.phase = Phase::In;
            chat.conn.line.set_heartbeat(place.heartbeat);
        }
    }

    fn resumed(&mut self, answer: &ResumeAnswer, now: Instant) {
        let (Some(place), Some(away)) = (&mut self.place, self.away) else { return };
        let Some(settled) = place.resume(answer) else { return self.leave(CloseReason::PlaceLost, now) };
        let (nearby, handled): (Vec<_>, Vec<_>) = settled
            .handled
            .into_iter()
            .partition(|it| matches!(it, Packet::ChatRequest(it) if it.scope == Scope::Nearby));
        // Pages and notices that were on their way are lost.
        for room in place.rooms.values_mut() {
            (room.is_stale, room.start_over_at) = (true, None);
        }
        let is_listed = place.rooms.get(&0).is_some_and(|world| world.roster.is_complete());
        let position = place.position;
        place.unseen.extend(nearby.into_iter().filter_map(|it| ChatRequest::try_from(it).ok()));
        self.away = None;
        self.open();
        self.tell(Event::Resumed { after: now.saturating_duration_since(away.since) });
        let is_page =
            |request: &Packet| matches!(request, Packet::HistoryRequest(_) | Packet::ChannelListRequest(_));
        let is_void = |request: &Packet| {
            matches!(request, Packet::UserListRequest(_) | Packet::PingRequest(_) | Packet::PositionUpdate(_))
        };
        let pages = handled.into_iter().filter(is_page);
        let again = settled.again.into_iter().filter(|request| !is_void(request));
        for request in pages.chain(again).collect::<Vec<_>>() {
            self.send(request, now);
        }
        if let Some((x, y)) = position {
            self.send(PositionUpdate { x, y }.into(), now);
        }
        if !is_listed {
            self.request_list(0, now);
        }
    }

    fn room_packet(&mut self, packet: Packet, now: Instant) -> Result<(), CloseReason> {
        let Some(place) = &mut self.place else { return Ok(()) };
        match packet {
            Packet::ChatMessage(message) => return self.message(message),
            Packet::UsersChanged(notice) => self.notice(&notice, now),
            Packet::UserList(page) => self.page(&page, now),
            Packet::ChatGap(gap) => {
                place.skip(&gap);
                let audience = Audience::of(gap.scope, gap.channel);
                self.tell(Event::Missed { audience, count: gap.missed });
            }
            Packet::ChatRefused(refused) => {
                place.requests.take(|it| matches!(it, Packet::ChatRequest(it) if it.stamp == refused.stamp));
                place.unseen.retain(|it| it.stamp != refused.stamp);
                let (stamp, outcome) = (Stamp(refused.stamp), Some(refused.outcome));
                self.tell(Event::MessageRefused { stamp, outcome, wait: Duration::ZERO });
            }
            Packet::TooFast(it) => self.too_fast(&it, now),
            Packet::ChannelAnswer(answer) => return self.joined(answer),
            Packet::ChannelLeft(left) => {
                let channel = left.channel;
                place.requests.take(
                    |it| matches!(it, Packet::ChannelLeaveRequest(request) if request.channel == channel),
                );
                if matches!(left.outcome, Outcome::Ok | Outcome::Kicked) {
                    place.rooms.remove(&channel);
                }
                self.tell(Event::ChannelLeft { channel, outcome: left.outcome });
            }
            Packet::ChannelKickAnswer(answer) => {
                place.requests.take(|it| matches!(it, Packet::ChannelKickRequest(_)));
                let (channel, user, outcome) = (answer.channel, answer.user, answer.outcome);
                self.tell(Event::KickAnswered { channel, user, outcome });
            }
            Packet::ChannelList(page) => {
                place.requests.take(|it| matches!(it, Packet::ChannelListRequest(_)));
                self.tell(Event::Channels { channels: page.channels.into_vec(), more: page.more });
            }
            Packet::History(page) => self.history(page),
            Packet::RoomResumed(room) => self.room_resumed(&room, now),
            Packet::ChatNodes(it) => place.nodes = it.nodes.into_vec(),
            Packet::PongAnswer(pong) => self.pong(&pong, now),
            Packet::ExitAnswer(_) => {}
            _ => return Err(CloseReason::PacketNotAllowed),
        }
        Ok(())
    }

    fn message(&mut self, message: ChatMessage) -> Result<(), CloseReason> {
        let Some(place) = &mut self.place else { return Ok(()) };
        let (scope, target, sequence) = (message.scope, message.target, message.sequence);
        match place.hear(scope, if scope == Scope::Channel { target } else { 0 }, sequence) {
            Order::Repeated => return Ok(()),
            // Something was removed on the way; the server still has it.
            Order::Broken => return Err(CloseReason::SealBroken),
            Order::Next => {}
        }
        let own = (message.sender.id == place.user.id).then_some(Stamp(message.stamp));
        if own.is_some() {
            place.requests.saw_own(message.stamp);
        }
        let audience = Audience::of(scope, target);
        self.tell(Event::Message(Message {
            audience,
            sequence,
            sender: message.sender,
            own,
            text: message.text,
        }));
        Ok(())
    }

    fn history(&mut self, page: History) {
        let Some(place) = &mut self.place else { return };
        let room = page.channel;
        place.requests.take(|it| matches!(it, Packet::HistoryRequest(it) if it.channel == room));
        let audience = if room == 0 { Audience::World } else { Audience::Channel(room) };
        let own_id = place.user.id;
        let messages = page.messages.into_vec().into_iter().map(|past| Message {
            audience,
            sequence: past.sequence,
            own: (past.sender.id == own_id).then_some(Stamp(past.stamp)),
            sender: past.sender,
            text: past.text,
        });
        let messages = messages.collect();
        self.tell(Event::History { room, messages, more: page.more });
    }

    fn too_fast(&mut self, it: &TooFast, now: Instant) {
        let Some(place) = &mut self.place else { return };
        let wait = Duration::from_millis(it.wait_ms.into());
        if it.packet == ChatRequest::NUMBER {
            place
                .requests
                .take(|request| matches!(request, Packet::ChatRequest(request) if request.stamp == it.stamp));
            self.tell(Event::MessageRefused { stamp: Stamp(it.stamp), outcome: None, wait });
            return;
        }
        place.requests.take(|request| request.number() == it.packet);
        if it.packet == UserListRequest::NUMBER {
            // The answer does not say which one, but all that wait are behind it.
            for room in place.rooms.values_mut().filter(|room| !room.roster.is_complete()) {
                room.start_over_at = Some(now + wait);
            }
            return;
        }
        self.tell(Event::TooFast { wait });
    }

    fn joined(&mut self, answer: ChannelAnswer) -> Result<(), CloseReason> {
        let Some(place) = &mut self.place else { return Ok(()) };
        // Answers come in the order of the requests.
        place
            .requests
            .take(|it| matches!(it, Packet::ChannelCreateRequest(_) | Packet::ChannelJoinRequest(_)));
        if answer.outcome != Outcome::Ok {
            self.tell(Event::JoinRefused { name: answer.name, outcome: answer.outcome });
            return Ok(());
        }
        if !place.join(&answer) {
            return Err(CloseReason::PacketNotAllowed);
        }
        let (channel, name, head_count) = (answer.channel, answer.name, answer.head_count);
        self.tell(Event::Joined { channel, name, head_count });
        Ok(())
    }

    fn page(&mut self, page: &UserList, now: Instant) {
        let Some(place) = &mut self.place else { return };
        let number = page.channel;
        place.requests.take(|it| matches!(it, Packet::UserListRequest(it) if it.channel == number));
        let Some(room) = place.rooms.get_mut(&number) else { return };
        let (mut changes, was_complete) = (Vec::new(), room.roster.was_complete());
        let step = room.roster.handle_page(page, &mut changes);
        let is_listed = !was_complete && room.roster.was_complete();
        self.tell_changes(number, changes, was_complete);
        if is_listed {
            self.tell(Event::Listed { room: number });
        }
        self.take_step(number, step, now);
    }

    fn notice(&mut self, notice: &UsersChanged, now: Instant) {
        let Some(place) = &mut self.place else { return };
        let number = notice.channel;
        let Some(room) = place.rooms.get_mut(&number) else { return };
        let (mut changes, was_complete) = (Vec::new(), room.roster.was_complete());
        let step = room.roster.handle_notice(notice, &mut changes);
        self.tell_changes(number, changes, was_complete);
        self.take_step(number, step, now);
    }

    fn tell_changes(&mut self, room: u32, changes: Vec<Change>, was_complete: bool) {
        for change in changes.into_iter().filter(|_| was_complete) {
            self.tell(match change {
                Change::Entered(user) => Event::UserEntered { room, user },
                Change::Left(user) => Event::UserLeft { room, user },
            });
        }
    }

    fn take_step(&mut self, room: u32, step: Step, now: Instant) {
        match step {
            Step::Wait | Step::Follows => {}
            Step::Request(after) => {
                self.send(UserListRequest { channel: room, after, pages: LIST_PAGES_MAX }.into(), now);
            }
            Step::StartOver => self.start_list_over(room, now),
        }
    }

    fn room_resumed(&mut self, resumed: &RoomResumed, now: Instant) {
        let number = resumed.channel;
        if number == 0 {
            self.tell_unseen();
            self.drop_lost_channels();
        }
        if let Some(place) = &mut self.place {
            place.catch_up(number, resumed.sequence);
        }
        let found = self.place.as_mut().and_then(|place| place.rooms.get_mut(&number));
        let Some(room) = found else { return };
        // World's changes come as a notice. A channel of which the client did not know has just got
        // its first page.
        if !std::mem::take(&mut room.is_stale) || number == 0 {
            return;
        }
        if !room.roster.is_complete() || room.roster.version() != resumed.version {
            self.request_list(number, now);
        }
    }

    /// Drops the channels that the server has not named, of which it is the last room. The answer
    /// that the user is not in them any more was lost with its server.
    fn drop_lost_channels(&mut self) {
        let Some(place) = &mut self.place else { return };
        let lost = place.rooms.extract_if(1.., |_, room| room.is_stale);
        for channel in lost.map(|(channel, _)| channel).collect::<Vec<_>>() {
            self.tell(Event::ChannelLeft { channel, outcome: Outcome::NotAMember });
        }
    }

    /// Tells of messages to users nearby that were delivered: no refusal was among the answers.
    fn tell_unseen(&mut self) {
        let Some(place) = &mut self.place else { return };
        let sender = place.user.clone();
        for request in std::mem::take(&mut place.unseen) {
            let (sender, own) = (sender.clone(), Some(Stamp(request.stamp)));
            let (audience, text) = (Audience::Nearby, request.text);
            self.tell(Event::Message(Message { audience, sequence: 0, sender, own, text }));
        }
    }

    fn pong(&mut self, pong: &PongAnswer, now: Instant) {
        let now = self.micros(now);
        if let Some(place) = &mut self.place {
            place.requests.saw_pong(pong.token);
        }
        if pong.token & OWN_PING == 0 {
            let micros = now.saturating_sub(pong.token).saturating_sub(pong.queued_us.into());
            self.tell(Event::Pong { round_trip: Duration::from_micros(micros) });
        }
    }
}
