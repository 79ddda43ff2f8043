//! The places of the chat's users, as the server's effects show them to an onlooker, and what holds
//! for them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use throng_core::SessionId;
use throng_core::content::{Effect, Job, SessionCommand};
use throng_core::room::RoomId;
use throng_core::wire::packets::{
    ChatMessage, Claim, EnterAnswer, History, Outcome, ResumeAnswer, ResumeTokenBytes, RoomResumed, Scope,
    UsersChanged,
};
use throng_core::wire::{CloseReason, Packet};

use super::faults::{Counts, Kind};
use super::world::Plan;

/// Stamps of players' messages are higher; each stands for one message.
pub(super) const STAMPS_FROM: u64 = 1 << 32;

/// The place of a user in the chat.
pub(super) struct Place {
    claim: Claim,
    session: Option<SessionId>,
    /// Time at which a user that is away leaves.
    until: Option<Instant>,
    /// Packets of the user that have reached the server.
    pub(super) handled: u32,
    /// The newest token, and then the one with which the user resumed.
    tokens: Vec<ResumeTokenBytes>,
    /// The user's rooms, with the number of the latest message when it came.
    pub(super) since: BTreeMap<u32, u64>,
    /// True once a thief has used a token.
    pub(super) is_stolen: bool,
}

/// The job under way, as far as it concerns places.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Cause {
    #[default]
    Other,
    /// A client enters.
    Enter(Option<Claim>),
    /// A session presents a token that is good for a user's place.
    Resume(SessionId, u32),
    /// A session presents a token that is not good.
    BadToken(SessionId),
    /// The connection of a user is lost, and its place is kept.
    Detach(u32),
}

/// The places and what was said.
#[derive(Default)]
pub(super) struct Truth {
    /// By user.
    pub(super) places: BTreeMap<u32, Place>,
    pub(super) cause: Cause,
    /// Sessions that the server has closed.
    dropped: BTreeSet<SessionId>,
    /// Sessions of thieves.
    pub(super) thieves: BTreeSet<SessionId>,
    /// Users that notices have named as entered, and as left.
    entered: BTreeSet<u32>,
    left: BTreeSet<u32>,
    /// Stamps and times of the messages of each room, by their numbers.
    said: BTreeMap<u32, Vec<(u64, Instant)>>,
    /// Stamps of players' messages that have taken effect; of whispers, the copy apart.
    done: BTreeSet<(u64, bool)>,
}

/// The truth at a time, for the checks of a client.
pub(super) struct View<'a> {
    pub(super) truth: &'a Truth,
    pub(super) plan: &'a Plan,
    pub(super) now: Instant,
}

impl View<'_> {
    /// Checks that a member that resumes need not be sent the messages of a room up to a number.
    pub(super) fn check_skipped(&self, room: u32, number: u64) {
        let said = self.truth.said.get(&room).map(Vec::as_slice).unwrap_or_default();
        assert!(number <= said.len() as u64, "room {room}: a gap up to {number}");
        let is_old = || said.get(number as usize - 1).is_none_or(|said| self.now - said.1 >= self.plan.age);
        let is_kept = number + self.plan.history as u64 > said.len() as u64 && !is_old();
        assert!(!is_kept || self.plan.is_short_of_bytes(), "room {room}: {number} is kept, and was not sent");
    }

    /// Checks that whispers may be missing.
    pub(super) fn check_whispers_skipped(&self) {
        assert!(self.plan.may_lose_own_packets(), "whispers are kept, and were not sent");
    }
}

impl Truth {
    /// Forgets the places of a chat server that has died.
    pub(super) fn end(&mut self) {
        let done = std::mem::take(&mut self.done);
        *self = Self { done, ..Self::default() };
    }

    pub(super) fn away(&self) -> usize {
        self.places.values().filter(|place| place.session.is_none()).count()
    }

    /// Returns the number of users in a room, with those that are away.
    pub(super) fn members(&self, room: u32) -> usize {
        self.places.values().filter(|place| place.since.contains_key(&room)).count()
    }

    /// Returns the users in a room that are away, or those that are not.
    pub(super) fn users(&self, room: u32, is_away: bool) -> Vec<u32> {
        let is_it = |place: &Place| place.since.contains_key(&room) && place.session.is_none() == is_away;
        self.places.iter().filter(|(_, place)| is_it(place)).map(|(user, _)| *user).collect()
    }

    /// Returns the channels that have members.
    pub(super) fn channels(&self) -> BTreeSet<u32> {
        let rooms = self.places.values().flat_map(|place| place.since.keys().copied());
        rooms.filter(|room| *room != RoomId::WORLD.0).collect()
    }

    pub(super) fn user_of(&self, session: SessionId) -> Option<u32> {
        let place = self.places.iter().find(|(_, place)| place.session == Some(session));
        place.map(|(user, _)| *user)
    }

    /// Returns true if a client is in the chat without a connection.
    fn is_away(&self, account: u64) -> bool {
        self.places.values().any(|place| place.claim.account == account && place.session.is_none())
    }

    pub(super) fn check_accounts(&self) {
        let mut accounts = BTreeSet::new();
        for (user, place) in &self.places {
            assert!(accounts.insert(place.claim.account), "user {user} is not the only one of its account");
        }
    }

    /// Looks at a client's job before the server does. `number` is that of a player's own packet.
    pub(super) fn begin(
        &mut self,
        session: SessionId,
        job: &Job<()>,
        number: Option<u32>,
        plan: &Plan,
        counts: &mut Counts,
    ) {
        use CloseReason::{ConnectionLost, IdleTimeout, PeerClosed, TooSlow};
        let user = self.user_of(session);
        let place = user.and_then(|user| self.places.get_mut(&user));
        match (job, place) {
            (Job::Packet(..), Some(place)) => {
                if let Some(number) = number.filter(|_| !place.is_stolen) {
                    assert_eq!(number, place.handled, "a packet of user {user:?} was lost or came twice");
                }
                place.handled += 1;
            }
            (Job::Packet(_, Packet::ResumeRequest(request), _), None) if !self.dropped.contains(&session) => {
                let token = &request.token;
                let found = self.places.iter_mut().find(|(_, place)| place.tokens.contains(token));
                self.cause = match found {
                    Some((user, place)) => {
                        if place.tokens[0] != *token {
                            counts.add(Kind::ResumedWithOlderToken);
                        }
                        if self.thieves.contains(&session) {
                            counts.add(Kind::TokenStolen);
                            place.is_stolen = true;
                        }
                        Cause::Resume(session, *user)
                    }
                    None => Cause::BadToken(session),
                };
            }
            (Job::Closed(_, closed), Some(_)) if !plan.window.is_zero() => {
                if let Some(user) = user
                    && matches!(closed.reason, ConnectionLost | IdleTimeout | PeerClosed | TooSlow)
                {
                    self.cause = Cause::Detach(user);
                }
            }
            _ => {}
        }
    }

    /// Looks at the effects of a job of the chat server before they are carried out.
    pub(super) fn observe(&mut self, effects: &[Effect], plan: &Plan, now: Instant, counts: &mut Counts) {
        match self.cause {
            Cause::Resume(session, user) => self.resumed(session, user, effects, counts),
            Cause::BadToken(session) => {
                let is_refused = |effect: &Effect| {
                    matches!(effect, Effect::ToSession(to, SessionCommand::Close(CloseReason::PlaceLost))
                        if *to == session)
                };
                assert!(
                    effects.len() == 1 && is_refused(&effects[0]),
                    "a token that is not good has effects"
                );
                counts.add(Kind::TokenRefused);
            }
            Cause::Detach(user) => self.detached(user, effects, plan, now, counts),
            Cause::Enter(_) | Cause::Other => {}
        }
        for effect in effects {
            match effect {
                Effect::ToSession(session, SessionCommand::Close(reason)) => {
                    self.dropped.insert(*session);
                    if let (CloseReason::AlreadyOnline, Cause::Enter(Some(claim))) = (*reason, self.cause) {
                        assert!(!self.is_away(claim.account), "it is refused because of its own place");
                    }
                }
                Effect::ToSession(session, SessionCommand::Send(packet)) => match (&**packet, self.cause) {
                    (Packet::EnterAnswer(answer), Cause::Enter(claim)) => {
                        self.enter(*session, answer, claim, counts);
                    }
                    // A former answer, sent again, is no news.
                    (_, Cause::Resume(..)) => {}
                    (Packet::ChannelKickAnswer(kicked), _) if kicked.outcome == Outcome::Ok => {
                        if let Some(place) = self.places.get_mut(&kicked.user) {
                            place.since.remove(&kicked.channel);
                            if place.session.is_none() {
                                counts.add(Kind::KickedWhileAway);
                            }
                        }
                    }
                    _ => {}
                },
                _ => {}
            }
        }
    }

    fn enter(&mut self, session: SessionId, answer: &EnterAnswer, claim: Option<Claim>, counts: &mut Counts) {
        let Some(claim) = claim else { panic!("a client enters without a ticket") };
        self.end_away(counts, |place| place.claim.account == claim.account);
        let place = Place {
            claim,
            session: Some(session),
            until: None,
            handled: 0,
            tokens: if answer.token.is_empty() { Vec::new() } else { vec![answer.token.clone()] },
            since: BTreeMap::new(),
            is_stolen: false,
        };
        assert!(self.places.insert(answer.user.id, place).is_none(), "an id comes twice");
    }

    /// Ends the places of those that are away and for which a login elsewhere has come.
    fn end_away(&mut self, counts: &mut Counts, is_it: impl Fn(&Place) -> bool) {
        let before = self.places.len();
        self.places.retain(|_, place| place.session.is_some() || !is_it(place));
        if self.places.len() < before {
            counts.add(Kind::AwayReplaced);
        }
    }

    /// Ends the place of a user that is away, because its claim was revoked.
    pub(super) fn revoke(&mut self, claim: Claim, counts: &mut Counts) {
        self.end_away(counts, |place| place.claim == claim);
    }

    /// Ends the places of users that have been away for too long.
    pub(super) fn expire(&mut self, now: Instant, counts: &mut Counts) {
        self.places.retain(|_, place| {
            let is_over = place.until.is_some_and(|until| until <= now);
            if is_over {
                counts.add(Kind::PlaceGivenUp);
            }
            !is_over
        });
    }

    fn resumed(&mut self, session: SessionId, user: u32, effects: &[Effect], counts: &mut Counts) {
        let place = self.places.get_mut(&user).expect("the token is good");
        let earlier = place.session.replace(session);
        place.until = None;
        counts.add(Kind::Resumed);
        if earlier.is_some() {
            counts.add(Kind::ResumedElsewhere);
        }
        let mut answer = None;
        let mut is_closed = false;
        for effect in effects {
            match effect {
                Effect::ToSession(to, SessionCommand::Close(reason)) => {
                    assert_eq!((Some(*to), *reason), (earlier, CloseReason::ResumedElsewhere));
                    is_closed = true;
                }
                effect if is_mark(effect) => {}
                Effect::ToSession(to, command) => {
                    assert_eq!(*to, session, "another one gets something");
                    if let SessionCommand::Send(packet) = command
                        && let Packet::ResumeAnswer(found) = &**packet
                    {
                        answer = Some(found.clone());
                    }
                }
                Effect::Join(id, _) => assert_eq!(*id, session),
                // Of the earlier session, or of a sector whose room ends.
                Effect::Leave(..) => {}
                _ => panic!("others notice that a user resumes"),
            }
        }
        assert_eq!(is_closed, earlier.is_some(), "the earlier session is closed");
        let Some(ResumeAnswer { handled, token, .. }) = answer else { panic!("a good token is refused") };
        assert_eq!(handled, place.handled, "packets that were handled");
        if place.tokens[0] != token {
            place.tokens.insert(0, token);
            place.tokens.truncate(2);
        }
    }

    fn detached(&mut self, user: u32, effects: &[Effect], plan: &Plan, now: Instant, counts: &mut Counts) {
        if let Some(place) = self.places.get_mut(&user) {
            place.session = None;
            place.until = Some(now + plan.window);
        }
        if self.away() > plan.away_max {
            let away = self.places.iter().filter_map(|(user, place)| Some((place.until?, *user)));
            if let Some((_, longest)) = away.min() {
                self.places.remove(&longest);
                counts.add(Kind::PlacesFull);
            }
            return;
        }
        let is_quiet = effects.iter().all(|effect| matches!(effect, Effect::Leave(..)) || is_mark(effect));
        assert!(is_quiet, "others notice that a connection is lost");
    }

    /// Notes that a session has joined a room, whose latest message has the number `latest`.
    pub(super) fn joined(&mut self, session: SessionId, room: RoomId, latest: u64) {
        if room.0 <= RoomId::CHANNEL_MAX
            && !matches!(self.cause, Cause::Resume(..))
            && let Some(user) = self.user_of(session)
            && let Some(place) = self.places.get_mut(&user)
        {
            place.since.insert(room.0, latest);
        }
    }

    /// Notes that a session has left a room. The sessions of users that are away or have resumed
    /// serve no place any more.
    pub(super) fn left(&mut self, session: SessionId, room: RoomId) {
        let Some(user) = self.user_of(session) else { return };
        if room == RoomId::WORLD {
            self.places.remove(&user);
        } else if let Some(place) = self.places.get_mut(&user) {
            place.since.remove(&room.0);
        }
    }

    /// Checks a notice of the world's list.
    pub(super) fn check_notice(&mut self, notice: &UsersChanged) {
        for user in notice.entered.iter().map(|user| user.id) {
            assert!(self.entered.insert(user), "user {user} has entered twice");
        }
        for user in notice.left.iter() {
            assert!(!self.places.contains_key(user), "user {user} has not left");
            assert!(self.left.insert(*user), "user {user} has left twice");
        }
    }

    pub(super) fn check_resumed_room(&self, resumed: &RoomResumed) {
        assert_eq!(resumed.head_count as usize, self.members(resumed.channel), "room {}", resumed.channel);
        let said = self.said.get(&resumed.channel).map_or(0, Vec::len);
        assert_eq!(resumed.sequence, said as u64, "room {}", resumed.channel);
    }

    /// Notes a message to the members of a room, or to those nearby.
    pub(super) fn say(&mut self, message: &ChatMessage, now: Instant) {
        if message.scope != Scope::Nearby {
            let room = if message.scope == Scope::World { RoomId::WORLD.0 } else { message.target };
            self.said.entry(room).or_default().push((message.stamp, now));
        }
        self.take_effect(message.stamp, false);
    }

    /// Notes that a player's message takes effect.
    pub(super) fn take_effect(&mut self, stamp: u64, is_copy: bool) {
        let is_new = stamp < STAMPS_FROM || self.done.insert((stamp, is_copy));
        assert!(is_new, "message {stamp} takes effect twice");
    }

    /// Checks a page of a room's history. A user may read `earlier` messages from before it came.
    pub(super) fn check_history(&self, session: SessionId, page: &History, earlier: u64) {
        let Some(place) = self.user_of(session).and_then(|user| self.places.get(&user)) else { return };
        let since = place.since.get(&page.channel).copied();
        let mut last = None;
        for message in page.messages.iter() {
            let number = message.sequence;
            assert!(last.is_none_or(|last| number == last + 1), "a gap in the history");
            last = Some(number);
            let said = self.said.get(&page.channel).and_then(|said| said.get(number as usize - 1));
            assert_eq!(said.map(|said| said.0), Some(message.stamp), "message {number} was another one");
            assert!(since.is_none_or(|since| number + earlier > since), "it is not the user's to read");
        }
    }
}

/// Returns true for a packet that tells a DB agent whether a user is away.
fn is_mark(effect: &Effect) -> bool {
    matches!(effect, Effect::ToSession(_, SessionCommand::Send(packet)) if matches!(**packet, Packet::DbClaimAway(_)))
}
