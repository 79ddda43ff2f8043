//! Who is in the chat.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;

use throng_core::limits::USER_PAGE;
use throng_core::wire::List;
use throng_core::wire::packets::{Claim, Name, User, UserList};
use throng_core::{SessionId, metrics};

use super::channels::Channel;
use super::notices::Tally;

/// A user in the chat.
#[derive(Debug, Clone)]
pub struct Presence {
    /// What the others see.
    pub user: User,
    /// The session it talks through.
    pub session: SessionId,
    /// The account, and the claim on its being online; the claim's number is 0 for a minted ticket.
    pub claim: Claim,
    /// The channels it is in, which are few.
    pub channels: Vec<u32>,
}

/// The users of a chat server.
#[derive(Debug, Default)]
pub struct Users {
    last_id: u32,
    /// By user id, which is the order of the user list.
    present: BTreeMap<u32, Presence>,
    by_session: HashMap<SessionId, u32>,
    /// Enterings and leavings so far.
    version: u64,
    by_account: HashMap<u64, u32>,
}

impl Users {
    /// Lets a user in. The caller has seen to it that neither its session nor its
    /// account is in already.
    pub fn enter(&mut self, session: SessionId, claim: Claim, name: Name) -> User {
        debug_assert!(
            !self.by_session.contains_key(&session) && !self.by_account.contains_key(&claim.account)
        );
        // After four thousand million users ids start again; then, those that are in use are skipped.
        let id = loop {
            self.last_id = self.last_id.wrapping_add(1).max(1);
            if !self.present.contains_key(&self.last_id) {
                break self.last_id;
            }
        };
        let user = User { id, name };
        self.version += 1;
        self.present.insert(id, Presence { user: user.clone(), session, claim, channels: Vec::new() });
        self.by_session.insert(session, id);
        self.by_account.insert(claim.account, id);
        user
    }

    /// Takes out the user of a session.
    pub fn leave(&mut self, session: SessionId) -> Option<Presence> {
        let id = self.by_session.remove(&session)?;
        let presence = self.present.remove(&id)?;
        self.by_account.remove(&presence.claim.account);
        self.version += 1;
        Some(presence)
    }

    /// The user of a session.
    pub fn of_session(&self, session: SessionId) -> Option<&Presence> {
        self.present.get(self.by_session.get(&session)?)
    }

    /// The same, to note what it joins and leaves.
    pub fn of_session_mut(&mut self, session: SessionId) -> Option<&mut Presence> {
        self.present.get_mut(self.by_session.get(&session)?)
    }

    /// The user with a number.
    pub fn of_id(&self, id: u32) -> Option<&Presence> {
        self.present.get(&id)
    }

    /// The same, to note what it joins and leaves.
    pub fn of_id_mut(&mut self, id: u32) -> Option<&mut Presence> {
        self.present.get_mut(&id)
    }

    /// The user of an account.
    pub fn of_account(&self, account: u64) -> Option<&Presence> {
        self.present.get(self.by_account.get(&account)?)
    }

    /// How many are in.
    pub fn count(&self) -> u32 {
        self.present.len() as u32
    }

    /// How the list of users stands.
    pub fn tally(&self) -> Tally {
        Tally { version: self.version, head_count: self.count() }
    }

    /// The page of the user list that follows the user id `after`.
    pub fn page(&self, after: u32) -> UserList {
        let rest = self.present.range((Bound::Excluded(after), Bound::Unbounded));
        page(0, self.tally(), rest.map(|(_, presence)| &presence.user))
    }

    /// The same for a channel's list.
    pub fn page_of(&self, number: u32, channel: &Channel, after: u32) -> UserList {
        let members = channel.members_after(after).filter_map(|id| self.present.get(&id));
        page(number, channel.tally(), members.map(|presence| &presence.user))
    }
}

fn page<'a>(channel: u32, tally: Tally, rest: impl Iterator<Item = &'a User>) -> UserList {
    metrics::USER_PAGES.inc();
    let mut rest = rest.cloned();
    let mut users = Vec::with_capacity(USER_PAGE.min(tally.head_count as usize));
    users.extend(rest.by_ref().take(USER_PAGE));
    let more = rest.next().is_some();
    let users = List::new(users).unwrap_or_default();
    UserList { channel, version: tally.version, head_count: tally.head_count, users, more }
}

#[cfg(test)]
mod tests {
    use super::*;
    use throng_core::wire::Text;

    fn enter(users: &mut Users, slot: u32) -> u32 {
        let claim = Claim { account: u64::from(slot) + 1000, id: 0 };
        users.enter(SessionId::new(0, slot, 0), claim, Text::truncated("n")).id
    }

    #[test]
    fn pages_hold_everybody_once_in_order() {
        for count in [0, 1, USER_PAGE, USER_PAGE + 1, 3 * USER_PAGE] {
            let mut users = Users::default();
            let wanted: Vec<u32> = (0..count as u32).map(|slot| enter(&mut users, slot)).collect();
            let (mut found, mut after) = (Vec::new(), 0);
            loop {
                let page = users.page(after);
                assert_eq!(page.head_count as usize, count);
                found.extend(page.users.iter().map(|user| user.id));
                let Some(last) = page.users.last().filter(|_| page.more) else { break };
                after = last.id;
            }
            assert_eq!(found, wanted);
        }
    }

    #[test]
    fn ids_are_not_given_twice_and_skip_those_in_use() {
        let mut users = Users::default();
        let first = enter(&mut users, 1);
        let gone = enter(&mut users, 2);
        users.leave(SessionId::new(0, 2, 0)).unwrap();
        assert!(users.of_account(1002).is_none());
        assert_ne!(enter(&mut users, 3), gone);
        users.last_id = u32::MAX;
        let wrapped = enter(&mut users, 4);
        assert!(wrapped != 0 && wrapped != first);
    }

    /// Prints what the lists of 10,000 users cost: `cargo test --release -p throng-servers --lib -- --ignored --nocapture cost_of`
    #[test]
    #[ignore = "a measurement"]
    fn cost_of_pages() {
        let mut users = Users::default();
        for slot in 0..10_000 {
            let claim = Claim { account: u64::from(slot), id: 0 };
            users.enter(SessionId::new(0, slot, 0), claim, Text::truncated(&format!("player-{slot:06}")));
        }
        let (mut made, mut encoded, mut pages) = (0, 0, 0u32);
        for _ in 0..20 {
            let mut after = 0;
            loop {
                let began = std::time::Instant::now();
                let page = users.page(after);
                let last = page.users.last().map(|user| user.id).filter(|_| page.more);
                let packet: Box<throng_core::wire::Packet> = Box::new(page.into());
                made += began.elapsed().as_nanos();
                let began = std::time::Instant::now();
                let mut out = Vec::with_capacity(4096);
                packet.encode(&mut out);
                drop(packet);
                encoded += began.elapsed().as_nanos();
                pages += 1;
                let Some(last) = last else { break };
                after = last;
            }
        }
        let each = |ns: u128| ns / u128::from(pages);
        println!("a page: {} ns to make, {} ns to encode and drop", each(made), each(encoded));
    }
}
