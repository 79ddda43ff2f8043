//! The user list of a room, kept exact from pages and notices by the rules of docs/protocol.md
//! ("User lists").

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use throng_core::limits::LIST_PAGES_MAX;
use throng_core::wire::packets::{Name, User, UserList, UsersChanged};

/// Change of a list that [`Roster::handle_page`] or [`Roster::handle_notice`] found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// A user has entered.
    Entered(User),
    /// A user has left.
    Left(User),
}

/// Step that a list needs next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Nothing; pages or notices may be on their way.
    Wait,
    /// A UserListRequest for [`LIST_PAGES_MAX`] pages after this user id.
    Request(u32),
    /// A UserListRequest from the start, when convenient: something is missing. In a crowd that
    /// enters all at once, a pause of random length saves many vain requests.
    StartOver,
}

/// Users of a room by their ids.
///
/// ```
/// use throng_client::roster::{Roster, Step};
/// use throng_core::wire::packets::{User, UserList, UsersChanged};
/// use throng_core::wire::{Line, List};
///
/// let user = |id| User { id, name: Line::truncated(&format!("User {id}")) };
/// let users = List::new(vec![user(1), user(2)]).unwrap();
/// let page = UserList { channel: 0, version: 2, head_count: 2, more: false, users };
/// let mut roster = Roster::new();
/// assert_eq!(roster.handle_page(&page, &mut Vec::new()), Step::Wait);
/// assert!(roster.is_complete());
///
/// let (entered, left) = (List::new(vec![user(3)]).unwrap(), List::default());
/// let (since, version) = (2, 3);
/// let notice =
///     UsersChanged { channel: 0, since, version, head_count: 3, complete: true, entered, left };
/// let mut changes = Vec::new();
/// roster.handle_notice(&notice, &mut changes);
/// assert_eq!((changes.len(), roster.len()), (1, 3));
/// ```
#[derive(Debug)]
pub struct Roster {
    users: BTreeMap<u32, Name>,
    version: u64,
    /// The highest version among the pages of this pass.
    pages_version: u64,
    must_restart: bool,
    /// Last user id of the page before, while a page is awaited.
    after: Option<u32>,
    /// Pages that are on their way.
    pages: u8,
    /// True after the first whole pass.
    was_complete: bool,
}

impl Roster {
    /// Returns an empty list that awaits the first page, which the server sends by itself.
    #[expect(clippy::new_without_default, reason = "an empty list is not a usual value of it")]
    pub fn new() -> Self {
        Self {
            users: BTreeMap::new(),
            version: 0,
            pages_version: 0,
            must_restart: false,
            after: Some(0),
            pages: 1,
            was_complete: false,
        }
    }

    /// Returns the number of users.
    pub fn len(&self) -> usize {
        self.users.len()
    }

    /// Returns true if there are no users.
    pub fn is_empty(&self) -> bool {
        self.users.is_empty()
    }

    /// Returns the name of a user.
    pub fn name(&self, id: u32) -> Option<&Name> {
        self.users.get(&id)
    }

    /// Iterates over ids and names, by ascending id.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (u32, &Name)> {
        self.users.iter().map(|(id, name)| (*id, name))
    }

    /// Returns the version that the list has, as far as it is known.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// Returns true if all pages have arrived and nothing is known to be missing.
    pub fn is_complete(&self) -> bool {
        self.was_complete && self.after.is_none() && !self.must_restart
    }

    /// Returns true if the list has been complete at least once.
    pub fn was_complete(&self) -> bool {
        self.was_complete
    }

    /// Notes that the list is requested from the start.
    pub fn start_over(&mut self) {
        (self.after, self.pages) = (Some(0), LIST_PAGES_MAX);
    }

    /// Applies a page. Adds what it changes to `changes`.
    pub fn handle_page(&mut self, page: &UserList, changes: &mut Vec<Change>) -> Step {
        // An answer that nothing asked for.
        let Some(after) = self.after else { return Step::Wait };
        let last = page.users.last().filter(|_| page.more).map_or(u32::MAX, |user| user.id);
        if after < last {
            let named = |id: &u32| page.users.binary_search_by_key(id, |user| user.id).is_ok();
            let gone: Vec<u32> =
                self.users.range(after + 1..=last).map(|(id, _)| *id).filter(|id| !named(id)).collect();
            for id in gone {
                self.remove(id, changes);
            }
        }
        page.users.iter().for_each(|user| self.insert(user, changes));
        if after == 0 {
            (self.version, self.pages_version, self.must_restart) = (page.version, page.version, false);
        }
        self.pages_version = self.pages_version.max(page.version);
        if page.more {
            self.after = Some(last);
            self.pages = self.pages.saturating_sub(1);
            if self.pages > 0 {
                return Step::Wait;
            }
            self.pages = LIST_PAGES_MAX;
            return Step::Request(last);
        }
        self.after = None;
        self.was_complete = true;
        self.check_length(page.version, page.head_count)
    }

    /// Applies a notice. Adds what it changes to `changes`.
    pub fn handle_notice(&mut self, notice: &UsersChanged, changes: &mut Vec<Change>) -> Step {
        if notice.version <= self.version {
            return Step::Wait;
        }
        self.must_restart |= notice.since > self.version || !notice.complete;
        notice.entered.iter().for_each(|user| self.insert(user, changes));
        notice.left.iter().for_each(|id| self.remove(*id, changes));
        self.version = notice.version;
        self.check_length(notice.version, notice.head_count)
    }

    /// A complete list that has reached the versions of all its pages is as long as the server says
    /// at that version.
    fn check_length(&mut self, version: u64, head_count: u32) -> Step {
        if self.after.is_some() {
            return Step::Wait;
        }
        let is_current = version == self.version && version >= self.pages_version;
        self.must_restart |= is_current && self.users.len() != head_count as usize;
        if self.must_restart { Step::StartOver } else { Step::Wait }
    }

    fn insert(&mut self, user: &User, changes: &mut Vec<Change>) {
        match self.users.entry(user.id) {
            Entry::Vacant(entry) => {
                entry.insert(user.name.clone());
                changes.push(Change::Entered(user.clone()));
            }
            // A user keeps its name as long as it keeps its id.
            Entry::Occupied(_) => {}
        }
    }

    fn remove(&mut self, id: u32, changes: &mut Vec<Change>) {
        if let Some(name) = self.users.remove(&id) {
            changes.push(Change::Left(User { id, name }));
        }
    }
}
