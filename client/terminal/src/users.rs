//! The list of users beside the lines: the part of it that is on the screen.

use throng_client::Name;
use throng_client::roster::Roster;

/// The users of the open tab whose names have a text in them, from a place on that one can scroll.
#[derive(Debug, Default)]
pub(crate) struct UserPane {
    /// Part of the names to show; all with an empty one. In lower case.
    part: String,
    /// Users above the screen.
    above: usize,
    /// Names on the screen.
    pub(crate) names: Vec<String>,
    /// Users that match.
    pub(crate) found: usize,
    /// Users in the room.
    pub(crate) count: usize,
    /// Rows of the screen at the last look.
    rows: usize,
}

impl UserPane {
    /// Returns the part of the names to show.
    pub(crate) fn part(&self) -> &str {
        &self.part
    }

    /// Shows the users whose names have this in them, in whatever case.
    pub(crate) fn search(&mut self, part: &str) {
        (self.part, self.above) = (part.to_lowercase(), 0);
    }

    /// Moves by so many rows: down is positive.
    pub(crate) fn scroll(&mut self, rows: isize) {
        self.above = self.above.saturating_add_signed(rows);
    }

    /// Moves by so many screens.
    pub(crate) fn scroll_screens(&mut self, screens: isize) {
        self.scroll(screens * self.rows.saturating_sub(1).max(1).cast_signed());
    }

    /// Looks up what is on a screen of so many rows.
    pub(crate) fn look_up(&mut self, roster: Option<&Roster>, rows: usize) {
        self.rows = rows;
        self.names.clear();
        let Some(roster) = roster else {
            (self.found, self.count) = (0, 0);
            return;
        };
        self.count = roster.len();
        let names = || roster.iter().map(|(_, name)| name);
        let is_all = self.part.is_empty();
        let is_shown = |name: &&Name| is_all || name.to_lowercase().contains(&self.part);
        self.found = if is_all { self.count } else { names().filter(is_shown).count() };
        self.above = self.above.min(self.found.saturating_sub(rows));
        let shown = names().filter(is_shown).skip(self.above).take(rows);
        self.names = shown.map(ToString::to_string).collect();
    }
}

#[cfg(test)]
mod tests {
    use throng_client::User;
    use throng_core::wire::List;
    use throng_core::wire::packets::UserList;

    use super::*;

    /// A list of the users 1 to `count`, from pages as a server sends them.
    fn roster(count: u32) -> Roster {
        let mut roster = Roster::new();
        for first in (1..=count).step_by(100) {
            let last = (first + 99).min(count);
            let users = (first..=last).map(|id| User { id, name: Name::truncated(&format!("User {id}")) });
            let more = last < count;
            let users = List::new(users.collect()).unwrap();
            let page = UserList { channel: 0, version: 1, head_count: count, more, users };
            roster.handle_page(&page, &mut Vec::new());
        }
        assert!(roster.is_complete());
        roster
    }

    #[test]
    fn a_list_scrolls_to_its_ends_and_no_further() {
        let (roster, mut pane) = (roster(10_000), UserPane::default());
        pane.scroll(-5);
        pane.look_up(Some(&roster), 20);
        assert_eq!((&*pane.names[0], pane.names.len(), pane.count), ("User 1", 20, 10_000));
        pane.scroll_screens(1);
        pane.look_up(Some(&roster), 20);
        assert_eq!(pane.names[0], "User 20");
        pane.scroll(1_000_000);
        pane.look_up(Some(&roster), 20);
        assert_eq!(pane.names.last().unwrap(), "User 10000");
        // A larger screen, and a room that has become empty.
        pane.look_up(Some(&roster), 40);
        assert_eq!((pane.names.len(), &*pane.names[0]), (40, "User 9961"));
        pane.look_up(None, 40);
        assert_eq!((pane.names.len(), pane.count), (0, 0));
    }

    #[test]
    fn a_part_of_the_names_is_searched_for() {
        let (roster, mut pane) = (roster(10_000), UserPane::default());
        pane.search("USER 999");
        pane.look_up(Some(&roster), 5);
        assert_eq!((pane.found, pane.count), (11, 10_000));
        assert_eq!(pane.names, ["User 999", "User 9990", "User 9991", "User 9992", "User 9993"]);
        pane.search("");
        pane.look_up(Some(&roster), 5);
        assert_eq!((pane.found, &*pane.names[0]), (10_000, "User 1"));
    }
}
