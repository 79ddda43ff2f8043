//! Pages of user lists, encoded as they are made. When ten thousand users come in, each of whom fetches the whole list,
//! fifty million entries go out: so a full page is made once, and shared by all who ask for it until somebody on it leaves.

use std::collections::BTreeMap;
use std::iter::Peekable;
use std::sync::Arc;

use throng_core::limits::{LIST_BYTES_MAX, USER_PAGE};
use throng_core::metrics;
use throng_core::wire::packets::{Name, User, UserList};
use throng_core::wire::{Body, Writer};

use super::notices::ListState;

/// A [`UserList`], encoded: what is this page's own, and the users, which other pages may share.
pub(super) type Page = (Box<[u8]>, Arc<[u8]>);

/// Bytes before a list's users: how many there are.
const COUNT: usize = 2;

/// Bytes of a user in a list: number, length, name.
pub(super) fn encoded_length(user: &User) -> usize {
    length_of(&user.name)
}

fn length_of(name: &Name) -> usize {
    4 + 2 + name.len()
}

/// The full pages of one list, by the id that they follow.
#[derive(Debug, Default)]
pub(super) struct Pages(BTreeMap<u32, CachedPage>);

#[derive(Debug)]
struct CachedPage {
    last: u32,
    users: Arc<[u8]>,
}

impl Pages {
    /// The page that follows `after`, of a list that goes on with `users` and ends with the id `highest`.
    pub(super) fn page<'a>(
        &mut self,
        list_state: ListState,
        after: u32,
        highest: u32,
        users: impl Fn() -> Box<dyn Iterator<Item = (u32, &'a Name)> + 'a>,
    ) -> Page {
        metrics::USER_PAGES.inc();
        let Some((first, _)) = users().next() else { return empty_of(0, list_state) };
        // A page that was kept for an id before the same user is the same.
        if let Some((_, cached)) = self.0.range(after..first).next_back() {
            return (encode_head(0, list_state, cached.last < highest), cached.users.clone());
        }
        // A new page ends where a kept one begins, so that those that follow stay of use; but not if it gets short by that.
        let next = self.0.range(first..).next().map(|(next, _)| *next);
        let up_to_next = users().take_while(|(id, _)| next.is_none_or(|next| *id <= next));
        let mut page = encode_users(&mut up_to_next.peekable());
        if next.is_some() && page.0.len() - COUNT <= LIST_BYTES_MAX / 2 {
            page = encode_users(&mut users().peekable());
            self.0.retain(|kept, _| *kept < after || *kept >= page.1);
        }
        let (bytes, last) = page;
        let bytes = Arc::<[u8]>::from(bytes);
        // Whatever clients ask for, pages that are kept do not overlap, so they are no more than the list itself.
        let is_free = self.0.range(..after).next_back().is_none_or(|(_, cached)| cached.last <= after);
        if last < highest && is_free {
            self.0.insert(after, CachedPage { last, users: bytes.clone() });
        }
        (encode_head(0, list_state, last < highest), bytes)
    }

    /// A user enters or leaves: the page that it stands on is not that any more.
    pub(super) fn invalidate(&mut self, id: u32) {
        let found = self.0.range(..id).next_back().filter(|(_, cached)| id <= cached.last);
        if let Some(after) = found.map(|(after, _)| *after) {
            self.0.remove(&after);
        }
    }
}

/// The page of a channel's list that goes on with `users`.
pub(super) fn channel_page<'a>(
    channel: u32,
    list_state: ListState,
    users: impl Iterator<Item = (u32, &'a Name)>,
) -> Page {
    metrics::USER_PAGES.inc();
    let mut users = users.peekable();
    let (bytes, _) = encode_users(&mut users);
    (encode_head(channel, list_state, users.peek().is_some()), bytes.into())
}

/// The page that nobody is on: of a channel that the asker is not in.
pub(super) fn empty(channel: u32) -> Page {
    empty_of(channel, ListState { version: 0, head_count: 0 })
}

fn empty_of(channel: u32, list_state: ListState) -> Page {
    (encode_head(channel, list_state, false), Arc::new([0; COUNT]))
}

fn encode_head(channel: u32, list_state: ListState, more: bool) -> Box<[u8]> {
    let mut out = Vec::with_capacity(19);
    let mut writer = Writer::new(&mut out);
    writer.u16(UserList::NUMBER);
    writer.u32(channel);
    writer.u64(list_state.version);
    writer.u32(list_state.head_count);
    writer.u8(u8::from(more));
    out.into()
}

/// As many of `users` as fit a page, encoded as the field is, and the last one's id. Those that do not fit stay in the iterator.
fn encode_users<'a>(users: &mut Peekable<impl Iterator<Item = (u32, &'a Name)>>) -> (Vec<u8>, u32) {
    let mut out = vec![0; COUNT];
    let (mut count, mut last) = (0u16, 0);
    while let Some((id, name)) = users.next_if(|(_, name)| {
        usize::from(count) < USER_PAGE && out.len() - COUNT + length_of(name) <= LIST_BYTES_MAX
    }) {
        let mut writer = Writer::new(&mut out);
        writer.u32(id);
        writer.u16(name.len() as u16);
        writer.bytes(name.as_bytes());
        (count, last) = (count + 1, id);
    }
    out[..COUNT].copy_from_slice(&count.to_le_bytes());
    (out, last)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use throng_core::wire::{List, Packet, Text};

    fn decode((head, users): &Page) -> UserList {
        match Packet::decode(&[&**head, users].concat()) {
            Ok(Packet::UserList(page)) => page,
            other => panic!("{other:?}"),
        }
    }

    fn users_length(users: &[User]) -> usize {
        users.iter().map(encoded_length).sum()
    }

    proptest! {
        /// The packet table's own encoding is the measure, whatever is kept.
        #[test]
        fn a_page_is_what_the_packet_table_makes_of_it(
            steps in prop::collection::vec((0u8..4, any::<prop::sample::Index>(), ".{0,24}"), 0..500),
        ) {
            let (mut pages, mut users, mut last, mut version) = (Pages::default(), BTreeMap::new(), 0, 0);
            for (what, pick, name) in steps {
                version += 1;
                match what {
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
                        let mut encoded = Vec::new();
                        Packet::from(wanted).encode(&mut encoded);
                        prop_assert_eq!([&*page.0, &page.1].concat(), encoded);
                        let length = users_length(&found.users);
                        // A page that was kept may end earlier than a new one would.
                        prop_assert!(length <= LIST_BYTES_MAX && (count == named.len() || length > LIST_BYTES_MAX / 2));
                    }
                    _ => {
                        // Long names, so that there is more than one page.
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
