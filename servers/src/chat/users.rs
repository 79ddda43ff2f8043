//! The users in the chat, by session, id and account.

use std::collections::HashMap;

use throng_core::SessionId;
use throng_core::wire::packets::{Claim, Name, User};

use super::channels::Channel;
use super::list_state::ListState;
use super::pages::{Page, Pages};
use super::roster::Roster;

/// A user in the chat.
#[derive(Debug, Clone)]
pub struct Presence {
    /// The user as others see it.
    pub user: User,
    /// The user's session.
    pub session: SessionId,
    /// The account and the claim by which it is online. The claim's number is 0 for a minted
    /// ticket.
    pub claim: Claim,
    /// The channels of which the user is a member; they are few.
    pub channels: Vec<u32>,
}

/// A user and its session, as rooms need them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Member {
    pub(super) user: u32,
    pub(super) session: SessionId,
}

impl Presence {
    pub(super) fn member(&self) -> Member {
        Member { user: self.user.id, session: self.session }
    }
}

/// The users of a chat server.
#[derive(Debug, Default)]
pub struct Users {
    last_id: u32,
    present: HashMap<SessionId, Presence>,
    by_id: HashMap<u32, SessionId>,
    by_account: HashMap<u64, SessionId>,
    /// The same users, for pages of the list.
    roster: Roster,
    pages: Pages,
    /// Number of changes of the list.
    version: u64,
}

impl Users {
    /// Adds a user. Neither its session nor its account may be in the chat already.
    pub fn enter(&mut self, session: SessionId, claim: Claim, name: Name) -> User {
        debug_assert!(!self.present.contains_key(&session) && !self.by_account.contains_key(&claim.account));
        // After 2^32 users the ids wrap around; ids in use are then skipped.
        let id = loop {
            self.last_id = self.last_id.wrapping_add(1).max(1);
            if !self.by_id.contains_key(&self.last_id) {
                break self.last_id;
            }
        };
        let user = User { id, name };
        self.version += 1;
        self.by_id.insert(id, session);
        self.by_account.insert(claim.account, session);
        self.roster.insert(&user);
        self.pages.invalidate(id);
        self.present.insert(session, Presence { user: user.clone(), session, claim, channels: Vec::new() });
        user
    }

    /// Removes the user of a session.
    pub fn leave(&mut self, session: SessionId) -> Option<Presence> {
        let presence = self.present.remove(&session)?;
        self.by_id.remove(&presence.user.id);
        self.by_account.remove(&presence.claim.account);
        self.roster.remove(presence.user.id);
        self.pages.invalidate(presence.user.id);
        self.version += 1;
        Some(presence)
    }

    /// Returns the user of a session.
    pub fn by_session(&self, session: SessionId) -> Option<&Presence> {
        self.present.get(&session)
    }

    /// Returns the user of a session, to change its channels.
    pub fn by_session_mut(&mut self, session: SessionId) -> Option<&mut Presence> {
        self.present.get_mut(&session)
    }

    /// Returns the user with this id.
    pub fn by_id(&self, id: u32) -> Option<&Presence> {
        self.present.get(self.by_id.get(&id)?)
    }

    /// Returns the user with this id, to change its channels.
    pub fn by_id_mut(&mut self, id: u32) -> Option<&mut Presence> {
        self.present.get_mut(self.by_id.get(&id)?)
    }

    /// Returns the user of an account.
    pub fn by_account(&self, account: u64) -> Option<&Presence> {
        self.present.get(self.by_account.get(&account)?)
    }

    /// Returns the number of users.
    pub fn count(&self) -> u32 {
        self.present.len() as u32
    }

    /// Returns the state of the world's user list.
    pub fn list_state(&self) -> ListState {
        ListState { version: self.version, head_count: self.count() }
    }

    /// Returns the page of the world's list that follows the user id `after`.
    pub(super) fn page(&mut self, after: u32) -> Page {
        let list_state = self.list_state();
        let roster = &self.roster;
        self.pages.page(list_state, after, roster.last(), || Box::new(roster.after(after)))
    }

    /// Returns the page of a channel's list that follows the user id `after`.
    pub(super) fn channel_page(&self, number: u32, channel: &Channel, after: u32) -> Page {
        Page::of_channel(number, channel.list_state(), self.roster.select(channel.members_after(after)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use throng_core::limits::USER_PAGE;
    use throng_core::wire::{Packet, Text};

    fn enter(users: &mut Users, slot: u32) -> u32 {
        let claim = Claim { account: u64::from(slot) + 1000, id: 0 };
        users.enter(SessionId::new(0, slot, 0), claim, Text::truncated("n")).id
    }

    #[test]
    fn pages_hold_each_user_once_in_order() {
        for count in [0, 1, USER_PAGE, USER_PAGE + 1, 3 * USER_PAGE] {
            let mut users = Users::default();
            let wanted: Vec<u32> = (0..count as u32).map(|slot| enter(&mut users, slot)).collect();
            let mut found = Vec::new();
            let mut after = 0;
            loop {
                let Page { head, users: encoded, next } = users.page(after);
                let page = Packet::decode(&[&*head, &*encoded].concat());
                let Ok(Packet::UserList(page)) = page else { panic!("not a user list") };
                assert_eq!(page.head_count as usize, count);
                found.extend(page.users.iter().map(|user| user.id));
                assert_eq!(next, page.users.last().filter(|_| page.more).map(|last| last.id));
                let Some(last) = next else { break };
                after = last;
            }
            assert_eq!(found, wanted);
        }
    }

    #[test]
    fn ids_are_not_reused_and_skip_ids_in_use() {
        let mut users = Users::default();
        let first = enter(&mut users, 1);
        let gone = enter(&mut users, 2);
        users.leave(SessionId::new(0, 2, 0)).unwrap();
        assert!(users.by_account(1002).is_none());
        assert_ne!(enter(&mut users, 3), gone);
        users.last_id = u32::MAX;
        let wrapped = enter(&mut users, 4);
        assert!(wrapped != 0 && wrapped != first);
    }
}
