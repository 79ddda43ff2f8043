//! The state of a user list, which list pages and notices both carry.

/// The state of one room's user list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ListState {
    /// Number of changes of the list; each entry and each departure is one.
    pub version: u64,
    /// Users in the room.
    pub head_count: u32,
}
