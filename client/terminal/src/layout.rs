//! The places of things on the screen: tabs above, lines and users in the middle, the status and
//! the typed line below.

use ratatui::layout::{Constraint, Layout, Position, Rect};
use ratatui::text::Span;

use crate::model::Model;
use crate::tab::Tab;

/// Columns from which on there is space for the users.
const USERS_FROM: u16 = 70;
const USERS_WIDTH: u16 = 18;

/// The parts of a screen.
pub(crate) struct Areas {
    pub(crate) tabs: Rect,
    pub(crate) lines: Rect,
    /// Empty without users, or space for them.
    pub(crate) users: Rect,
    pub(crate) status: Rect,
    pub(crate) input: Rect,
}

impl Areas {
    /// Returns the parts of a screen that shows the open tab.
    pub(crate) fn of(screen: Rect, model: &Model) -> Self {
        let has_users = model.tab().room().is_some();
        let [tabs, middle, status, input] = Layout::vertical([
            Constraint::Length(1),
            Constraint::Min(1),
            Constraint::Length(1),
            Constraint::Length(1),
        ])
        .areas(screen);
        let width = if has_users && middle.width >= USERS_FROM { USERS_WIDTH } else { 0 };
        let [lines, users] =
            Layout::horizontal([Constraint::Min(1), Constraint::Length(width)]).areas(middle);
        Self { tabs, lines, users, status, input }
    }

    /// Returns the rows that there are for users.
    pub(crate) fn user_rows(&self) -> usize {
        usize::from(self.users.height.saturating_sub(1))
    }
}

/// A place of the screen that a mouse can point at.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Spot {
    /// The title of a tab.
    Tab(usize),
    /// The list of users.
    Users,
    /// Anything else.
    Elsewhere,
}

/// Returns what is at a position of the screen.
pub(crate) fn spot(model: &Model, screen: Rect, at: Position) -> Spot {
    let areas = Areas::of(screen, model);
    if areas.users.contains(at) {
        return Spot::Users;
    }
    if areas.tabs.contains(at) {
        let mut end = areas.tabs.x;
        for (number, tab) in model.tabs.iter().enumerate() {
            end += Span::raw(title_of(number, tab)).width() as u16;
            if at.x < end {
                return Spot::Tab(number);
            }
        }
    }
    Spot::Elsewhere
}

/// Returns the title of a tab, with its number and what is unread.
pub(crate) fn title_of(at: usize, tab: &Tab) -> String {
    let unread = match (tab.mentions, tab.unread) {
        (0, 0) => String::new(),
        (0, unread) => format!(" {unread}"),
        (mentions, unread) => format!(" {unread} @{mentions}"),
    };
    format!(" {} {}{unread} ", at + 1, tab.title)
}
