//! Pages of user lists, encoded once and shared.
//!
//! Each of ten thousand users that come in fetches the whole list, fifty million entries in all. So
//! a full page is encoded once and shared by every session that asks for it, until a user on it
//! leaves.

use std::collections::BTreeMap;
use std::iter::Peekable;
use std::sync::Arc;

use throng_core::limits::{LIST_BYTES_MAX, USER_PAGE};
use throng_core::metrics;
use throng_core::room::RoomId;
use throng_core::wire::packets::{Name, User, UserList};
use throng_core::wire::{Body, Writer};

use super::list_state::ListState;

/// Bytes of the count that precedes a list's users.
const COUNT_BYTES: usize = 2;

/// Bytes of a user in a list: id, length, name.
pub(super) fn encoded_length(user: &User) -> usize {
    name_entry_length(&user.name)
}

fn name_entry_length(name: &Name) -> usize {
    4 + 2 + name.len()
}

/// An encoded [`UserList`].
pub(super) struct Page {
    /// The fields before the users, which are this page's own.
    pub(super) head: Box<[u8]>,
    /// The users, which other pages may share.
    pub(super) users: Arc<[u8]>,
    /// The id that the next page follows; none after the last page.
    pub(super) next: Option<u32>,
}

impl Page {
    fn new(channel: u32, list_state: ListState, next: Option<u32>, users: Arc<[u8]>) -> Self {
        let mut head = Vec::with_capacity(19);
        let mut writer = Writer::new(&mut head);
        writer.u16(UserList::NUMBER);
        writer.u32(channel);
        writer.u64(list_state.version);
        writer.u32(list_state.head_count);
        writer.u8(u8::from(next.is_some()));
        Self { head: head.into(), users, next }
    }

    /// Encodes the page of a channel's list that goes on with `users`.
    pub(super) fn of_channel<'a>(
        channel: u32,
        list_state: ListState,
        users: impl Iterator<Item = (u32, &'a Name)>,
    ) -> Self {
        metrics::USER_PAGES.inc();
        let mut users = users.peekable();
        let encoded = EncodedUsers::take_from(&mut users);
        let next = users.peek().map(|_| encoded.last_id);
        Self::new(channel, list_state, next, encoded.bytes.into())
    }

    /// Encodes a page without users, after which nothing follows.
    pub(super) fn without_users(channel: u32, list_state: ListState) -> Self {
        Self::new(channel, list_state, None, Arc::new([0; COUNT_BYTES]))
    }
}

/// The users of one page, encoded as the field of a [`UserList`].
struct EncodedUsers {
    bytes: Vec<u8>,
    last_id: u32,
}

impl EncodedUsers {
    /// Encodes as many users as fit a page and leaves the others in the iterator.
    fn take_from<'a>(users: &mut Peekable<impl Iterator<Item = (u32, &'a Name)>>) -> Self {
        let mut bytes = vec![0; COUNT_BYTES];
        let mut count = 0u16;
        let mut last_id = 0;
        while let Some((id, name)) = users.next_if(|(_, name)| {
            let length = bytes.len() - COUNT_BYTES + name_entry_length(name);
            usize::from(count) < USER_PAGE && length <= LIST_BYTES_MAX
        }) {
            let mut writer = Writer::new(&mut bytes);
            writer.u32(id);
            writer.u16(name.len() as u16);
            writer.bytes(name.as_bytes());
            count += 1;
            last_id = id;
        }
        bytes[..COUNT_BYTES].copy_from_slice(&count.to_le_bytes());
        Self { bytes, last_id }
    }
}

/// The full pages of the world's list, by the id that they follow.
///
/// Cached pages never overlap, whatever clients ask for, so they take no more memory than the list.
#[derive(Debug, Default)]
pub(super) struct Pages(BTreeMap<u32, CachedPage>);

#[derive(Debug)]
struct CachedPage {
    last_id: u32,
    users: Arc<[u8]>,
}

impl Pages {
    /// Returns the page that follows the id `after`, of a list that goes on with `users` and ends
    /// with the id `highest`.
    pub(super) fn page<'a>(
        &mut self,
        list_state: ListState,
        after: u32,
        highest: u32,
        users: impl Fn() -> Box<dyn Iterator<Item = (u32, &'a Name)> + 'a>,
    ) -> Page {
        const WORLD: u32 = RoomId::WORLD.0;
        metrics::USER_PAGES.inc();
        let Some((first, _)) = users().next() else { return Page::without_users(WORLD, list_state) };
        // A page cached for any id between `after` and the first user begins with the same user.
        if let Some((_, cached)) = self.0.range(after..first).next_back() {
            let next = Some(cached.last_id).filter(|last| *last < highest);
            return Page::new(WORLD, list_state, next, cached.users.clone());
        }
        // A new page ends where a cached one begins, so that the cached pages behind it stay
        // useful. One that would be less than half full replaces them instead.
        let next = self.0.range(first..).next().map(|(next, _)| *next);
        let up_to_next = users().take_while(|(id, _)| next.is_none_or(|next| *id <= next));
        let mut page = EncodedUsers::take_from(&mut up_to_next.peekable());
        if next.is_some() && page.bytes.len() - COUNT_BYTES <= LIST_BYTES_MAX / 2 {
            page = EncodedUsers::take_from(&mut users().peekable());
            self.0.retain(|cached, _| *cached < after || *cached >= page.last_id);
        }
        let last_id = page.last_id;
        let users = Arc::<[u8]>::from(page.bytes);
        let overlaps = self.0.range(..after).next_back().is_some_and(|(_, cached)| cached.last_id > after);
        if last_id < highest && !overlaps {
            self.0.insert(after, CachedPage { last_id, users: users.clone() });
        }
        Page::new(WORLD, list_state, Some(last_id).filter(|last| *last < highest), users)
    }

    /// Drops the cached page that covers `id`, because its user has entered or left.
    pub(super) fn invalidate(&mut self, id: u32) {
        let found = self.0.range(..id).next_back().filter(|(_, cached)| id <= cached.last_id);
        if let Some(after) = found.map(|(after, _)| *after) {
            self.0.remove(&after);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use throng_core::wire::{List, Packet, Text};

    fn encoded(page: &Page) -> Vec<u8> {
        [&*page.head, &page.users].concat()
    }

    fn decode(page: &Page) -> UserList {
        match Packet::decode(&encoded(page)) {
            Ok(Packet::UserList(page)) => page,
            other => panic!("not a user list: {other:?}"),
        }
    }

    fn users_length(users: &[User]) -> usize {
        users.iter().map(encoded_length).sum()
    }

    proptest! {
        /// Compares every page, cached or not, with the packet table's own encoding.
        #[test]
        fn a_page_is_encoded_as_the_packet_table_encodes_it(
            steps in prop::collection::vec((0u8..4, any::<prop::sample::Index>(), ".{0,24}"), 0..500),
        ) {
            let mut pages = Pages::default();
            let mut users = BTreeMap::new();
            let mut last = 0;
            for (version, (step, pick, name)) in (1..).zip(steps) {
                match step {
                    0 if !users.is_empty() => {
                        let id = *pick.get(&users.keys().copied().collect::<Vec<_>>());
                        users.remove(&id);
                        pages.invalidate(id);
                    }
                    1 => {
                        let after = pick.index(last as usize + 2) as u32;
                        let after = if after.is_multiple_of(2) { 0 } else { after };
                        let list_state = ListState { version, head_count: users.len() as u32 };
                        let rest = || Box::new(users.range(after + 1..).map(|(id, name)| (*id, name))) as Box<_>;
                        let page = pages.page(list_state, after, users.keys().next_back().copied().unwrap_or(0), rest);
                        let found = decode(&page);
                        let named: Vec<_> = rest().map(|(id, name): (u32, &Name)| User { id, name: name.clone() }).collect();
                        let count = found.users.len();
                        let wanted = UserList {
                            channel: 0, version, head_count: list_state.head_count, more: count < named.len(),
                            users: List::new(named[..count].to_vec()).unwrap(),
                        };
                        prop_assert_eq!(&found, &wanted);
                        let mut reference = Vec::new();
                        Packet::from(wanted).encode(&mut reference);
                        prop_assert_eq!(encoded(&page), reference);
                        let length = users_length(&found.users);
                        // A cached page may end earlier than a new one would.
                        prop_assert!(length <= LIST_BYTES_MAX && (count == named.len() || length > LIST_BYTES_MAX / 2));
                    }
                    _ => {
                        // Long names, for more than one page.
                        for _ in 0..8 {
                            last += 1;
                            users.insert(last, Text::truncated(&format!("{name}{last:>60}")));
                            pages.invalidate(last);
                        }
                    }
                }
            }
        }
    }
}
