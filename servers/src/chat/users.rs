//! The users in the chat, by id and account.

use std::collections::{BTreeSet, HashMap, VecDeque};

use throng_core::limits::LIST_CHANGES_KEPT;
use throng_core::wire::packets::{Claim, User};

use super::channels::Channel;
use super::fact::Counts;
use super::list_state::ListState;
use super::pages::{Page, Pages};
use super::roster::Roster;

/// A user in the chat.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Presence {
    /// The user as others see it.
    pub user: User,
    /// The account and the claim by which it is online. The claim's number is 0 for a minted
    /// ticket.
    pub claim: Claim,
    /// Number of the world's latest message when the user entered.
    pub since: u64,
    /// Number of the latest whisper to or by the user.
    pub whispers: u64,
    /// The server that it is, or was, connected to.
    pub node: u32,
    /// Number of times that the user has resumed: what it did over an earlier connection, and
    /// comes late, is void.
    pub turn: u32,
    /// Number of its newest resume token.
    pub token: u32,
    /// Progress of its requests, as far as all servers know.
    pub counts: Counts,
    /// True while the user has no connection.
    pub is_away: bool,
    /// The channels of which the user is a member; they are few.
    pub channels: Vec<Membership>,
}

/// A user's membership of a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Membership {
    /// The channel.
    pub channel: u32,
    /// Number of the channel's latest message when the user joined.
    pub since: u64,
}

impl Presence {
    /// Returns the user's membership of a channel.
    pub fn membership(&self, channel: u32) -> Option<Membership> {
        self.channels.iter().find(|membership| membership.channel == channel).copied()
    }

    /// Returns true if the user may resume with its token of this number. The newest one may not
    /// have reached the client, so the one before is good until it is used.
    pub fn accepts(&self, token: u32) -> bool {
        token > 0 && (token == self.token || token.checked_add(1) == Some(self.token))
    }
}

/// The users of a chat server.
#[derive(Debug, Default)]
pub struct Users {
    last_id: u32,
    present: HashMap<u32, Presence>,
    by_account: HashMap<u64, u32>,
    /// The same users, for pages of the list.
    roster: Roster,
    pages: Pages,
    /// Number of changes of the list.
    version: u64,
    /// Users of the latest changes, the newest last.
    changed: VecDeque<u32>,
}

impl Users {
    /// Returns a free id. After 2^32 users the ids wrap around, and those in use are skipped.
    pub fn next_id(&self) -> u32 {
        let mut id = self.last_id;
        loop {
            id = id.wrapping_add(1).max(1);
            if !self.present.contains_key(&id) {
                return id;
            }
        }
    }

    /// Adds a user. `since` is the number of the world's latest message. Returns `None` if its id
    /// or its account is in the chat already.
    pub fn enter(&mut self, user: User, claim: Claim, node: u32, since: u64) -> Option<()> {
        let id = user.id;
        if self.present.contains_key(&id) || self.by_account.contains_key(&claim.account) {
            return None;
        }
        self.last_id = id;
        self.change(id);
        self.by_account.insert(claim.account, id);
        self.roster.insert(&user);
        self.pages.invalidate(id);
        let presence = Presence {
            user,
            claim,
            since,
            whispers: 0,
            node,
            turn: 0,
            token: 1,
            counts: Counts::default(),
            is_away: false,
            channels: Vec::new(),
        };
        self.present.insert(id, presence);
        Some(())
    }

    /// Removes a user. Its channels are the caller's affair.
    pub fn leave(&mut self, id: u32) -> Option<Presence> {
        let presence = self.present.remove(&id)?;
        self.by_account.remove(&presence.claim.account);
        self.roster.remove(id);
        self.pages.invalidate(id);
        self.change(id);
        Some(presence)
    }

    fn change(&mut self, id: u32) {
        self.version += 1;
        if self.changed.len() == LIST_CHANGES_KEPT {
            self.changed.pop_front();
        }
        self.changed.push_back(id);
    }

    /// Returns the users that have entered since `version` and are still there, and the ids of
    /// those that are not. Returns `None` if the changes are not kept any more.
    pub fn changes_since(&self, version: u64) -> Option<(Vec<User>, Vec<u32>)> {
        let count = usize::try_from(self.version.checked_sub(version)?).ok()?;
        let from = self.changed.len().checked_sub(count)?;
        let changed: BTreeSet<u32> = self.changed.range(from..).copied().collect();
        let entered = changed.iter().filter_map(|id| self.get(*id)).map(|found| found.user.clone()).collect();
        let left = changed.iter().filter(|id| !self.present.contains_key(id)).copied().collect();
        Some((entered, left))
    }

    /// Returns the user with this id.
    pub fn get(&self, id: u32) -> Option<&Presence> {
        self.present.get(&id)
    }

    /// Returns the user with this id, to change its channels.
    pub(super) fn get_mut(&mut self, id: u32) -> Option<&mut Presence> {
        self.present.get_mut(&id)
    }

    /// Returns the user with this id while it is in this turn.
    pub(super) fn in_turn(&mut self, id: u32, turn: u32) -> Option<&mut Presence> {
        self.get_mut(id).filter(|presence| presence.turn == turn)
    }

    /// Returns the user of an account.
    pub fn by_account(&self, account: u64) -> Option<&Presence> {
        self.get(*self.by_account.get(&account)?)
    }

    /// Returns the latest id, the list's version, and the users of its latest changes.
    pub(super) fn counters(&self) -> (u32, u64, &VecDeque<u32>) {
        (self.last_id, self.version, &self.changed)
    }

    /// Yields the users in the order of their ids.
    pub(super) fn by_id(&self) -> impl Iterator<Item = &Presence> {
        self.roster.after(0).filter_map(|(id, _)| self.get(id))
    }

    /// Returns a list as it was.
    pub(super) fn restored(
        last_id: u32,
        version: u64,
        changed: VecDeque<u32>,
        present: Vec<Presence>,
    ) -> Self {
        let mut users = Self { last_id, version, changed, ..Self::default() };
        for presence in present {
            let id = presence.user.id;
            users.by_account.insert(presence.claim.account, id);
            users.roster.insert(&presence.user);
            users.present.insert(id, presence);
        }
        users
    }

    /// Yields the users, in any order.
    pub fn iter(&self) -> impl Iterator<Item = &Presence> {
        self.present.values()
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
impl Users {
    /// Returns all users by their ids.
    pub(super) fn sorted(&self) -> Vec<&Presence> {
        let mut users: Vec<_> = self.present.values().collect();
        users.sort_unstable_by_key(|presence| presence.user.id);
        assert_eq!(users.len(), self.by_account.len());
        users
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use throng_core::limits::USER_PAGE;
    use throng_core::wire::{Packet, Text};

    fn enter(users: &mut Users, account: u64) -> u32 {
        let user = User { id: users.next_id(), name: Text::truncated("n") };
        let id = user.id;
        users.enter(user, Claim { account, id: 0 }, 0, 0).unwrap();
        id
    }

    #[test]
    fn pages_hold_each_user_once_in_order() {
        for count in [0, 1, USER_PAGE, USER_PAGE + 1, 3 * USER_PAGE] {
            let mut users = Users::default();
            let wanted: Vec<u32> = (0..count as u64).map(|account| enter(&mut users, account)).collect();
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
        users.leave(gone).unwrap();
        assert!(users.by_account(2).is_none());
        assert_ne!(enter(&mut users, 3), gone);
        users.last_id = u32::MAX;
        let wrapped = enter(&mut users, 4);
        assert!(wrapped != 0 && wrapped != first);
        let taken = User { id: first, name: Text::truncated("n") };
        assert_eq!(users.enter(taken, Claim { account: 9, id: 0 }, 0, 0), None);
        let free = User { id: users.next_id(), name: Text::truncated("n") };
        assert_eq!(users.enter(free, Claim { account: 1, id: 0 }, 0, 0), None);
    }

    #[test]
    fn the_latest_changes_lead_from_an_older_list_to_this_one() {
        let mut users = Users::default();
        let ids: Vec<u32> = (0..5).map(|account| enter(&mut users, account)).collect();
        users.leave(ids[1]).unwrap();
        users.leave(ids[4]).unwrap();
        let named = |version| {
            let (entered, left) = users.changes_since(version)?;
            Some((entered.iter().map(|user| user.id).collect::<Vec<_>>(), left))
        };
        assert_eq!(named(7), Some((vec![], vec![])));
        assert_eq!(named(6), Some((vec![], vec![ids[4]])));
        assert_eq!(named(2), Some((vec![ids[2], ids[3]], vec![ids[1], ids[4]])));
        assert_eq!(named(8), None, "a version that is yet to come");
        for account in 10..10 + LIST_CHANGES_KEPT as u64 {
            enter(&mut users, account);
        }
        assert!(users.changes_since(6).is_none() && users.changes_since(7).is_some());
    }
}
