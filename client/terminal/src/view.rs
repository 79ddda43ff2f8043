//! A frame: what is drawn where `layout.rs` has a place for it.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use ratatui::Frame;
use ratatui::layout::{Position, Rect};
use ratatui::style::{Color, Style, Stylize};
use ratatui::text::{Line as Row, Span};
use ratatui::widgets::{Clear, Paragraph, Wrap};
use tui_input::Input;

use crate::app::{App, Form, TEXT_MAX};
use crate::layout::{Areas, title_of};
use crate::model::State;
use crate::tab::{Kind, Line, Tab};
use crate::text::safe;

/// Colors of names, that light and dark terminals both show.
const COLORS: [Color; 6] =
    [Color::Red, Color::Green, Color::Yellow, Color::Blue, Color::Magenta, Color::Cyan];

/// Time for which the status line tells of a return.
const RETURN_SHOWN: Duration = Duration::from_secs(10);

/// Draws a frame.
pub(crate) fn draw(frame: &mut Frame<'_>, app: &App) {
    if let Some(form) = &app.form {
        return draw_form(frame, form);
    }
    let areas = Areas::of(frame.area(), &app.model);
    draw_tabs(frame, areas.tabs, app);
    draw_lines(frame, areas.lines, app.model.tab());
    if !areas.users.is_empty() {
        draw_users(frame, areas.users, app);
    }
    draw_status(frame, areas.status, app);
    draw_input(frame, areas.input, &app.input);
    if let Some(text) = &app.pasted {
        draw_question(frame, areas.lines, text);
    }
}

/// True unless the user wants no colors (<https://no-color.org>).
fn has_colors() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

fn name_style(name: &str) -> Style {
    let mut hasher = DefaultHasher::new();
    name.hash(&mut hasher);
    let style = Style::new().bold();
    if has_colors() { style.fg(COLORS[(hasher.finish() % COLORS.len() as u64) as usize]) } else { style }
}

fn draw_tabs(frame: &mut Frame<'_>, area: Rect, app: &App) {
    let mut spans = Vec::new();
    for (at, tab) in app.model.tabs.iter().enumerate() {
        let text = title_of(at, tab);
        let style = if at == app.model.open {
            Style::new().reversed()
        } else if tab.mentions > 0 {
            Style::new().bold()
        } else {
            Style::new()
        };
        spans.push(Span::styled(text, style));
    }
    frame.render_widget(Paragraph::new(Row::from(spans)), area);
}

/// Returns the words of a text: links are underlined, and those with the text that was searched for
/// reversed.
fn words<'a>(text: &'a str, style: Style, found: Option<&str>) -> Vec<Span<'a>> {
    let is_found = |text: &str| found.is_some_and(|found| text.to_lowercase().contains(found));
    if found.is_some_and(|found| found.contains(' ')) && is_found(text) {
        return vec![Span::styled(text, style.reversed())];
    }
    let is_link = |word: &str| word.starts_with("https://") || word.starts_with("http://");
    let spans = text.split_inclusive(' ').map(|word| {
        let mut style = style;
        if is_link(word) {
            style = style.underlined();
        }
        Span::styled(word, if is_found(word) { style.reversed() } else { style })
    });
    spans.collect()
}

fn row<'a>(line: &'a Line, found: Option<&str>) -> Row<'a> {
    let mut spans = vec![Span::raw(line.clock.as_str()).dim(), Span::raw(" ")];
    match &line.kind {
        Kind::Message { sender, is_mention, is_nearby, .. } => {
            spans.push(Span::styled(sender.as_str(), name_style(sender)));
            if *is_nearby {
                spans.push(Span::raw(" (nearby)").dim());
            }
            spans.push(Span::raw(" "));
            let style = if *is_mention { Style::new().bold().underlined() } else { Style::new() };
            spans.extend(words(&line.text, style, found));
        }
        Kind::Crowd { .. } | Kind::Notice => {
            spans.push(Span::raw("* ").dim());
            spans.extend(words(&line.text, Style::new().dim(), found));
        }
        Kind::Error => spans.push(Span::raw(format!("! {}", line.text)).bold()),
    }
    Row::from(spans)
}

/// Draws the last lines that fit, wrapped, above those that are scrolled away.
fn draw_lines(frame: &mut Frame<'_>, area: Rect, tab: &Tab) {
    let end = tab.lines.len() - tab.scroll.min(tab.lines.len());
    let mut rows = Vec::new();
    let mut height = 0;
    for line in tab.lines.range(..end).rev() {
        let row = row(line, tab.found.as_deref());
        height += Paragraph::new(row.clone()).wrap(Wrap { trim: false }).line_count(area.width).max(1);
        rows.push(row);
        if height >= usize::from(area.height) {
            break;
        }
    }
    rows.reverse();
    let above = height.saturating_sub(usize::from(area.height));
    let top = usize::from(area.height).saturating_sub(height) as u16;
    let area = Rect { y: area.y + top, height: area.height - top, ..area };
    let paragraph = Paragraph::new(rows).wrap(Wrap { trim: false }).scroll((above as u16, 0));
    frame.render_widget(paragraph, area);
}

fn draw_users(frame: &mut Frame<'_>, area: Rect, app: &App) {
    let users = &app.users;
    let title = match users.part() {
        "" => format!("│{} here", users.count),
        part => format!("│{} of {}: {part}", users.found, users.count),
    };
    let mut rows = vec![Row::from(safe(&title).into_owned()).dim()];
    rows.extend(users.names.iter().map(|name| {
        let name = safe(name).into_owned();
        let style = name_style(&name);
        Row::from(vec![Span::raw("│").dim(), Span::styled(name, style)])
    }));
    frame.render_widget(Paragraph::new(rows), area);
}

fn draw_status(frame: &mut Frame<'_>, area: Rect, app: &App) {
    let model = &app.model;
    let state = match model.state {
        State::Out => "out".into(),
        State::Returning => "logging in again".into(),
        State::In => match (model.returned, model.round_trip) {
            (Some((at, away)), _) if at.elapsed() < RETURN_SHOWN => back(away, model.missed),
            (_, Some(lag)) => format!("online, {:.0} ms", lag.as_secs_f64() * 1e3),
            _ => "online".into(),
        },
        State::Away(since) => format!("away {} s, resuming", since.elapsed().as_secs()),
    };
    let below = match (model.tab().scroll, &model.tab().found) {
        (0, None) => String::new(),
        (lines, None) => format!(" | {lines} lines below: PageDown"),
        (lines, Some(_)) => format!(" | {lines} lines below: Ctrl+F next, Esc end"),
    };
    let length = app.input.value().len();
    let size = match length {
        0..=800 => String::new(),
        _ if length > TEXT_MAX => format!(" | {} bytes too long", length - TEXT_MAX),
        _ => format!(" | {} bytes left", TEXT_MAX - length),
    };
    let text = format!(" {} | {state} | {}{below}{size}", safe(&model.name), model.tab().title);
    frame.render_widget(Paragraph::new(text).reversed(), area);
}

/// Returns a sentence about a return.
fn back(away: Duration, missed: u64) -> String {
    let seconds = away.as_secs_f64().round();
    match missed {
        0 => format!("away {seconds} s, nothing missed"),
        1 => format!("away {seconds} s, 1 message missed"),
        missed => format!("away {seconds} s, {missed} messages missed"),
    }
}

/// Draws a line that is typed, and puts the cursor into it.
fn draw_input(frame: &mut Frame<'_>, area: Rect, input: &Input) {
    let width = area.width.saturating_sub(1).max(1);
    let scroll = input.visual_scroll(width.into());
    frame.render_widget(Paragraph::new(safe(input.value())).scroll((0, scroll as u16)), area);
    let column = input.visual_cursor().saturating_sub(scroll) as u16;
    frame.set_cursor_position(Position::new(area.x + column.min(area.width.saturating_sub(1)), area.y));
}

fn draw_question(frame: &mut Frame<'_>, area: Rect, text: &str) {
    let count = text.lines().filter(|line| !line.trim().is_empty()).count();
    let text = format!("{count} lines were pasted. Enter sends them one by one, any other key drops them.");
    let height = Paragraph::new(text.as_str()).wrap(Wrap { trim: true }).line_count(area.width) as u16;
    let height = height.min(area.height);
    let area = Rect { y: area.bottom() - height, height, ..area };
    frame.render_widget(Clear, area);
    frame.render_widget(Paragraph::new(text).wrap(Wrap { trim: true }).reversed(), area);
}

fn draw_form(frame: &mut Frame<'_>, form: &Form) {
    let area = frame.area();
    let title = if form.is_sign_up { "Sign up" } else { "Log in" };
    let other = if form.is_sign_up { "log in" } else { "sign up" };
    let mut y = area.y;
    let mut put = |frame: &mut Frame<'_>, row: Row<'_>| {
        if y < area.bottom() {
            frame.render_widget(Paragraph::new(row), Rect { y, height: 1, ..area });
        }
        y += 1;
        y - 1
    };
    put(frame, Row::from(title).bold());
    put(frame, Row::from(safe(&form.status).into_owned()).dim());
    for (at, (field, name, input)) in form.fields().into_iter().enumerate() {
        let shown = match field {
            crate::door::Field::Password => "*".repeat(input.value().chars().count()),
            _ => safe(input.value()).into_owned(),
        };
        let label = format!("{name:<10} ");
        let row = put(frame, Row::from(vec![Span::raw(label.clone()).dim(), Span::raw(shown)]));
        if at == form.focus {
            let column = match field {
                crate::door::Field::Password => input.cursor(),
                _ => input.visual_cursor(),
            };
            let column = (label.len() + column).min(usize::from(area.width.saturating_sub(1))) as u16;
            frame.set_cursor_position(Position::new(
                area.x + column,
                row.min(area.bottom().saturating_sub(1)),
            ));
        }
        if let Some((of, text)) = &form.error
            && *of == Some(field)
        {
            put(frame, Row::from(format!("{:<10} ! {text}", "")).bold());
        }
    }
    if let Some((None, text)) = &form.error {
        put(frame, Row::from(format!("! {text}")).bold());
    }
    put(frame, Row::from(format!("Enter: go on   Tab: next field   Ctrl+S: {other}   Ctrl+C: end")).dim());
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use ratatui::Terminal;
    use ratatui::backend::TestBackend;
    use ratatui::buffer::Buffer;
    use ratatui::style::Modifier;
    use throng_client::{
        Audience, ChatText, CloseReason, Driver, Event, LoginStep, Message, Name, Outcome, Settings, User,
        WishedChannel,
    };
    use tui_input::InputRequest;

    use super::*;
    use crate::door::Door;
    use crate::keys::Action;
    use crate::layout::{Spot, spot};

    const SCREEN: Rect = Rect::new(0, 0, 80, 24);

    fn driver() -> Driver {
        Driver::start(Settings::new("127.0.0.1:1", [0; 32])).unwrap()
    }

    fn user(name: &str) -> User {
        User { id: 7, name: Name::truncated(name) }
    }

    fn message(name: &str, text: &str) -> Event {
        let text = ChatText::truncated(text);
        Event::Message(Message {
            audience: Audience::World,
            sequence: 1,
            sender: user(name),
            own: None,
            text,
        })
    }

    /// Draws a frame. Returns it, and the cursor.
    fn drawn(app: &App, width: u16, height: u16) -> (Buffer, Position) {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|frame| draw(frame, app)).unwrap();
        let cursor = terminal.get_cursor_position().unwrap();
        (terminal.backend().buffer().clone(), cursor)
    }

    fn text_of(buffer: &Buffer, y: u16) -> String {
        let width = buffer.area.width;
        let mut x = 0;
        let mut text = String::new();
        while x < width {
            let symbol = buffer[(x, y)].symbol();
            text += symbol;
            x += Span::raw(symbol).width().max(1) as u16;
        }
        text.trim_end().into()
    }

    #[test]
    fn nothing_that_others_write_reaches_the_terminal_as_control() {
        let controls = (0..0x20).chain(0x7f..0xa0).chain(0x2028..0x202f).chain(0x2066..0x2070);
        let controls: String = controls.filter_map(char::from_u32).collect();
        let sequences = "\u{1b}]0;title\u{7}\u{1b}[2J\u{9b}31m\u{202e}evil\r\n";
        let (driver, mut app) = (driver(), App::default());
        app.users.names = vec![controls.clone(), sequences.into()];
        app.users.search(sequences);
        for text in [&*controls, sequences] {
            app.model.handle(message(sequences, text), &driver);
            app.model.handle(Event::UserEntered { room: 0, user: user(sequences) }, &driver);
            app.model.handle(
                Event::JoinRefused { name: WishedChannel::truncated(sequences), outcome: Outcome::NameTaken },
                &driver,
            );
        }
        app.input = Input::new(sequences.into());
        let (buffer, _) = drawn(&app, 80, 24);
        for cell in &buffer.content {
            assert!(!cell.symbol().chars().any(|c| c.is_control() || "\u{202e}\u{2066}".contains(c)));
        }
        let all: Vec<String> = (0..24).map(|y| text_of(&buffer, y)).collect();
        assert!(all.iter().any(|line| line.contains("\\u{1b}[2J")), "{all:#?}");
    }

    #[test]
    fn the_typed_line_and_its_cursor_are_exact() {
        let (driver, mut app) = (driver(), App::default());
        // Hangul as syllables, and as the letters that a syllable is made of.
        let typed = "a한글 \u{1112}\u{1161}\u{11ab} e\u{301} 👩\u{200d}👩\u{200d}👧 שלום";
        for c in typed.chars() {
            app.act(Action::Edit(InputRequest::InsertChar(c)), &driver, SCREEN);
            // Another user speaks between all keys.
            app.model.handle(message("Ant", "hello"), &driver);
        }
        let (buffer, cursor) = drawn(&app, 80, 24);
        assert_eq!(text_of(&buffer, 23), typed);
        // a, two wide ones, blank, a wide one, blank, e with its accent, blank, one wide emoji,
        // blank, four letters.
        assert_eq!((cursor.x, cursor.y), (1 + 4 + 1 + 2 + 1 + 1 + 1 + 2 + 1 + 4, 23));

        for _ in 0..5 {
            app.act(Action::Edit(InputRequest::DeletePrevChar), &driver, SCREEN);
        }
        app.act(Action::Edit(InputRequest::DeletePrevChar), &driver, SCREEN);
        assert_eq!(
            app.input.value(),
            "a한글 \u{1112}\u{1161}\u{11ab} e\u{301} ",
            "an emoji of several characters goes at once"
        );
        app.act(Action::Edit(InputRequest::GoToStart), &driver, SCREEN);
        app.act(Action::Edit(InputRequest::GoToNextChar), &driver, SCREEN);
        let (_, cursor) = drawn(&app, 20, 5);
        assert_eq!((cursor.x, cursor.y), (1, 4));
        let (_, cursor) = drawn(&app, 80, 24);
        assert_eq!((cursor.x, cursor.y), (1, 23));
    }

    #[test]
    fn a_line_that_is_longer_than_the_screen_scrolls_by_whole_characters() {
        let app = App { input: Input::new("가".repeat(40)), ..App::default() };
        let (buffer, cursor) = drawn(&app, 21, 5);
        assert!(cursor.x <= 20, "{cursor:?}");
        assert_eq!(text_of(&buffer, 4).chars().filter(|c| *c == '가').count(), 10);
    }

    #[test]
    fn every_size_of_a_terminal_can_be_drawn() {
        let (driver, mut app) = (driver(), App::default());
        for number in 0..30 {
            app.model.handle(message("Ant", &"가나다 long ".repeat(number)), &driver);
        }
        app.pasted = Some("two\nlines".into());
        for (width, height) in [(1, 1), (2, 2), (20, 5), (40, 12), (80, 24), (120, 40)] {
            drawn(&app, width, height);
        }
        app.form = Some(Form { is_sign_up: true, ..Form::default() });
        for (width, height) in [(1, 1), (20, 5), (80, 24)] {
            drawn(&app, width, height);
        }
    }

    #[test]
    fn a_pasted_text_of_several_lines_is_asked_about() {
        let (driver, mut app) = (driver(), App::default());
        app.act(Action::Paste("one\r\ntwo\rthree".into()), &driver, SCREEN);
        let (buffer, _) = drawn(&app, 80, 24);
        let all: String = (0..24).map(|y| text_of(&buffer, y)).collect();
        assert!(all.contains("3 lines were pasted"), "{all}");
        app.act(Action::Edit(InputRequest::InsertChar('x')), &driver, SCREEN);
        assert_eq!((app.pasted.as_ref(), app.input.value()), (None, ""));
        app.act(Action::Paste("one\u{1b}[2J line\n".into()), &driver, SCREEN);
        assert_eq!(app.input.value(), "one[2J line");
    }

    #[test]
    fn an_error_stands_at_its_field() {
        let form = Some(Form { is_sign_up: true, ..Form::default() });
        let door = Some(Door::new("bee", "secret".to_owned().into(), "", true, Instant::now()));
        let mut app = App { form, door, ..App::default() };
        let outcome = Outcome::NameTaken;
        let refused = Event::Refused { step: LoginStep::CreateCharacter, outcome };
        app.take(refused, &driver(), Instant::now());
        let (buffer, cursor) = drawn(&app, 80, 24);
        assert!(text_of(&buffer, 5).contains("! this name is taken"), "{}", text_of(&buffer, 5));
        assert_eq!(cursor.y, 4);
    }

    #[test]
    fn links_and_what_was_searched_for_are_marked() {
        let (driver, mut app) = (driver(), App::default());
        app.model.handle(message("Ant", "see https://example.org/a and more"), &driver);
        app.model.search("MORE");
        let (buffer, _) = drawn(&app, 80, 24);
        let y = (0..24).find(|y| text_of(&buffer, *y).contains("https://")).unwrap();
        let of = |word: &str| text_of(&buffer, y).find(word).unwrap() as u16;
        let has = |word: &str, modifier| buffer[(of(word), y)].modifier.contains(modifier);
        assert!(has("https://", Modifier::UNDERLINED) && !has("see", Modifier::UNDERLINED));
        assert!(has("more", Modifier::REVERSED) && !has("and", Modifier::REVERSED));
        app.act(Action::Clear, &driver, SCREEN);
        let (buffer, _) = drawn(&app, 80, 24);
        assert!(!buffer[(of("more"), y)].modifier.contains(Modifier::REVERSED));
    }

    #[test]
    fn the_mouse_points_at_tabs_and_users() {
        let (driver, mut app) = (driver(), App::default());
        let joined = Event::Joined { channel: 1, name: WishedChannel::truncated("hive"), head_count: 1 };
        app.model.handle(joined, &driver);
        let (buffer, _) = drawn(&app, 80, 24);
        let x = text_of(&buffer, 0).find("#hive").unwrap() as u16;
        assert_eq!(spot(&app.model, SCREEN, Position::new(x, 0)), Spot::Tab(1));
        assert_eq!(spot(&app.model, SCREEN, Position::new(1, 0)), Spot::Tab(0));
        assert_eq!(spot(&app.model, SCREEN, Position::new(79, 0)), Spot::Elsewhere);
        assert_eq!(spot(&app.model, SCREEN, Position::new(79, 5)), Spot::Users);
        assert_eq!(spot(&app.model, Rect::new(0, 0, 40, 12), Position::new(39, 5)), Spot::Elsewhere);
        app.act(Action::Click(Position::new(1, 0)), &driver, SCREEN);
        assert_eq!(app.model.open, 0);
        for _ in 0..30 {
            app.model.handle(message("Ant", "hi"), &driver);
        }
        app.act(Action::Wheel(3, Position::new(5, 5)), &driver, SCREEN);
        assert_eq!(app.model.tab().scroll, 3);
    }

    #[test]
    fn the_status_line_tells_of_a_return() {
        let (driver, mut app) = (driver(), App::default());
        app.model.handle(Event::Entered { user: user("Bee"), head_count: 1 }, &driver);
        app.model.handle(Event::Away { reason: CloseReason::ConnectionLost }, &driver);
        app.model.handle(Event::Resumed { after: Duration::from_millis(1_900) }, &driver);
        assert!(text_of(&drawn(&app, 80, 24).0, 22).contains("away 2 s, nothing missed"));
        app.model.handle(Event::Missed { audience: Audience::World, count: 12 }, &driver);
        assert!(text_of(&drawn(&app, 80, 24).0, 22).contains("away 2 s, 12 messages missed"));
    }
}
