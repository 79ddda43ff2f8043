//! Pages of user lists, encoded as they are made: when ten thousand users come in, each of whom fetches the whole list,
//! fifty million entries go out, and a name should be copied once.

use throng_core::limits::{LIST_BYTES_MAX, USER_PAGE};
use throng_core::metrics;
use throng_core::wire::packets::{Name, User, UserList};
use throng_core::wire::{Body, Writer};

use super::notices::Tally;

/// Bytes of a page beside its users.
const OWN_BYTES: usize = 25;

/// Bytes of a user in a list: number, length, name.
pub(super) fn encoded_length(user: &User) -> usize {
    4 + 2 + user.name.len()
}

/// The [`UserList`] of as many of `users` as fit a page, encoded.
pub(super) fn encode<'a>(
    channel: u32,
    tally: Tally,
    users: impl Iterator<Item = (u32, &'a Name)>,
) -> Box<[u8]> {
    metrics::USER_PAGES.inc();
    let mut out = Vec::with_capacity(OWN_BYTES + LIST_BYTES_MAX.min(tally.head_count as usize * 40));
    let mut writer = Writer::new(&mut out);
    writer.u16(UserList::NUMBER);
    writer.u32(channel);
    writer.u64(tally.version);
    writer.u32(tally.head_count);
    let count_at = 2 + 4 + 8 + 4;
    writer.u16(0);
    let (mut count, mut bytes, mut more) = (0u16, 0, false);
    for (id, name) in users {
        bytes += 4 + 2 + name.len();
        if usize::from(count) == USER_PAGE || bytes > LIST_BYTES_MAX {
            more = true;
            break;
        }
        writer.u32(id);
        writer.u16(name.len() as u16);
        writer.bytes(name.as_bytes());
        count += 1;
    }
    writer.u8(u8::from(more));
    out[count_at..count_at + 2].copy_from_slice(&count.to_le_bytes());
    out.into()
}

/// The page that nobody is on: of a channel that the asker is not in.
pub(super) fn empty(channel: u32) -> Box<[u8]> {
    encode(channel, Tally { version: 0, head_count: 0 }, std::iter::empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use throng_core::wire::{List, Packet, Text};

    proptest! {
        /// The packet table's own encoding is the measure.
        #[test]
        fn a_page_is_what_the_packet_table_makes_of_it(
            names in prop::collection::vec(".{0,24}", 0..300), channel: u32, version: u64,
        ) {
            let users: Vec<_> = (1..).zip(names).map(|(id, name)| User { id, name: Text::truncated(&name) }).collect();
            let tally = Tally { version, head_count: users.len() as u32 };
            let encoded = encode(channel, tally, users.iter().map(|user| (user.id, &user.name)));
            let Ok(Packet::UserList(page)) = Packet::decode(&encoded) else { panic!("it is a page") };
            let count = page.users.len();
            let wanted = UserList {
                channel, version, head_count: tally.head_count,
                users: List::new(users[..count].to_vec()).unwrap(), more: count < users.len(),
            };
            prop_assert_eq!(page, wanted);
            let length = |users: &[User]| users.iter().map(encoded_length).sum::<usize>();
            prop_assert_eq!(encoded.len(), OWN_BYTES - 4 + length(&users[..count]));
            prop_assert!(count == users.len() || length(&users[..=count]) > LIST_BYTES_MAX, "as many as fit");
        }
    }
}
