//! The keyboard: an event of the terminal becomes an action.

use ratatui::crossterm::event::{
    Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers, MouseButton, MouseEvent, MouseEventKind,
};
use ratatui::layout::Position;
use tui_input::InputRequest;

/// Meaning of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Action {
    /// Change the line that is typed.
    Edit(InputRequest),
    /// Insert a text that was pasted.
    Paste(String),
    /// Say the line, or send the form.
    Enter,
    /// Complete a name or a command; in a form, the next field.
    Complete,
    /// The field before.
    Back,
    /// Open the next tab.
    Next,
    /// Open the tab before.
    Previous,
    /// Open the tab of this index.
    Tab(usize),
    /// Move the lines by so many screens: up is positive.
    Scroll(isize),
    /// Move the list of users by so many screens: down is positive.
    ScrollUsers(isize),
    /// Begin a search, or go on with it.
    Find,
    /// End a search, and go to the newest line.
    Clear,
    /// Move by so many rows what is under the mouse: up is positive.
    Wheel(isize, Position),
    /// Open what is under the mouse.
    Click(Position),
    /// In a form, switch between login and sign-up.
    Switch,
    /// Draw everything anew.
    Redraw,
    /// End.
    Quit,
}

/// Returns the meaning of an event; none if it has none.
pub(crate) fn action(event: Event) -> Option<Action> {
    match event {
        Event::Key(key) if key.kind != KeyEventKind::Release => of_key(key),
        Event::Mouse(mouse) => of_mouse(mouse),
        Event::Paste(text) => Some(Action::Paste(text)),
        Event::Resize(..) => Some(Action::Redraw),
        _ => None,
    }
}

fn of_mouse(MouseEvent { kind, column, row, .. }: MouseEvent) -> Option<Action> {
    let at = Position::new(column, row);
    match kind {
        MouseEventKind::ScrollUp => Some(Action::Wheel(3, at)),
        MouseEventKind::ScrollDown => Some(Action::Wheel(-3, at)),
        MouseEventKind::Down(MouseButton::Left) => Some(Action::Click(at)),
        _ => None,
    }
}

fn of_key(KeyEvent { code, modifiers, .. }: KeyEvent) -> Option<Action> {
    let is_control = modifiers.contains(KeyModifiers::CONTROL);
    let is_alt = modifiers.contains(KeyModifiers::ALT);
    let edit = |request| Some(Action::Edit(request));
    match code {
        KeyCode::Char(c) if is_control => match c {
            'c' | 'd' => Some(Action::Quit),
            'a' => edit(InputRequest::GoToStart),
            'e' => edit(InputRequest::GoToEnd),
            'u' => edit(InputRequest::DeleteFromStart),
            'k' => edit(InputRequest::DeleteTillEnd),
            'w' => edit(InputRequest::DeletePrevWord),
            'y' => edit(InputRequest::Yank),
            'n' => Some(Action::Next),
            'p' => Some(Action::Previous),
            'f' => Some(Action::Find),
            's' => Some(Action::Switch),
            'l' => Some(Action::Redraw),
            _ => None,
        },
        KeyCode::Char(c @ '1'..='9') if is_alt => Some(Action::Tab(c as usize - '1' as usize)),
        KeyCode::Char(c) if !is_alt => edit(InputRequest::InsertChar(c)),
        KeyCode::Left if is_control || is_alt => edit(InputRequest::GoToPrevWord),
        KeyCode::Right if is_control || is_alt => edit(InputRequest::GoToNextWord),
        KeyCode::Left => edit(InputRequest::GoToPrevChar),
        KeyCode::Right => edit(InputRequest::GoToNextChar),
        KeyCode::Home => edit(InputRequest::GoToStart),
        KeyCode::End => edit(InputRequest::GoToEnd),
        KeyCode::Backspace => edit(InputRequest::DeletePrevChar),
        KeyCode::Delete => edit(InputRequest::DeleteNextChar),
        KeyCode::Enter => Some(Action::Enter),
        KeyCode::Tab => Some(Action::Complete),
        KeyCode::BackTab => Some(Action::Back),
        KeyCode::PageUp if is_alt => Some(Action::ScrollUsers(-1)),
        KeyCode::PageDown if is_alt => Some(Action::ScrollUsers(1)),
        KeyCode::F(3) => Some(Action::Find),
        KeyCode::Esc => Some(Action::Clear),
        KeyCode::PageUp => Some(Action::Scroll(1)),
        KeyCode::PageDown => Some(Action::Scroll(-1)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_edit_and_letters_with_alt_do_not_type() {
        let of = |code, modifiers| action(Event::Key(KeyEvent::new(code, modifiers)));
        let typed = Some(Action::Edit(InputRequest::InsertChar('한')));
        assert_eq!(of(KeyCode::Char('한'), KeyModifiers::NONE), typed);
        assert_eq!(of(KeyCode::Char('3'), KeyModifiers::ALT), Some(Action::Tab(2)));
        assert_eq!(of(KeyCode::Char('x'), KeyModifiers::ALT), None);
        assert_eq!(of(KeyCode::Char('c'), KeyModifiers::CONTROL), Some(Action::Quit));
    }
}
