//! Tests of everything that a player can do from sign-up to exit, and of every answer on the way.

use std::slice::from_ref;

use throng_core::crypto::Ticket;
use throng_core::limits::{LIST_PAGES_MAX, NAME_CHARS_MAX};
use throng_core::wire::packets::{
    ChatMessage, ChatRequest, ChatText, EnterRequest, Outcome, PingRequest, PongAnswer, Scope, UserList,
    UserListRequest, UsersChanged,
};
use throng_core::wire::{CloseReason, Text};

use crate::support::{ChatGroup, Client, End, Home, Player, exit};

fn say(client: &mut Client, text: &str) {
    client.send(ChatRequest { scope: Scope::World, target: 0, stamp: 0, text: ChatText::new(text).unwrap() });
}

#[test]
fn a_player_signs_up_logs_in_chats_and_leaves() {
    let home = Home::new();
    let up = home.up(&["chat.resume_window=0s"]);
    let login = up.login();

    let (mut bee, entered, list) = Player::create(login, "꿀벌🐝").log_in(login).unwrap().enter();
    assert_eq!((&*entered.user.name, entered.head_count), ("꿀벌🐝", 1));
    assert_eq!((list.head_count, list.more, &list.users[..]), (1, false, &[entered.user.clone()][..]));

    let (mut fox, fox_entered, list) = Player::create(login, "Fuchs 🦊").log_in(login).unwrap().enter();
    assert_eq!(&*list.users, [entered.user.clone(), fox_entered.user.clone()]);
    assert_eq!(bee.expect::<UsersChanged>().entered[..], *from_ref(&fox_entered.user));

    // Each receives both messages in one order, its own included.
    say(&mut bee, "안녕하세요 👋🏽");
    let first: ChatMessage = bee.expect();
    assert_eq!((&first.sender, &*first.text), (&entered.user, "안녕하세요 👋🏽"));
    say(&mut fox, "hi");
    let second: ChatMessage = bee.expect();
    assert_eq!((second.sequence, &second.sender), (first.sequence + 1, &fox_entered.user));
    assert_eq!([fox.expect::<ChatMessage>(), fox.expect()], [first, second]);

    assert_eq!(bee.ask::<PongAnswer>(PingRequest { token: 7 }).token, 7);

    exit(bee);
    assert_eq!(*fox.expect::<UsersChanged>().left, [entered.user.id]);
    let (third, third_entered, _) = Player::create(login, "Third").log_in(login).unwrap().enter();
    assert_eq!(fox.expect::<UsersChanged>().entered[..], *from_ref(&third_entered.user));
    third.vanish();
    assert_eq!(*fox.expect::<UsersChanged>().left, [third_entered.user.id]);
    assert_eq!(up.metric("throng_chat_users"), 1);
}

#[test]
fn every_failure_has_its_own_answer() {
    let home = Home::new();
    let up = home.up(&[]);
    let mut client = Client::connect(up.login());
    let mut check = |id: &str, password: &str, name: Option<&str>, wanted: Outcome| {
        let player = Player { id: id.into(), password: password.into() };
        let outcome = match name {
            None => player.sign_up(&mut client),
            Some(name) => player.create_character(&mut client, name),
        };
        assert_eq!(outcome, wanted, "{id:?} {password:?} {name:?}");
    };
    let secret = "correct horse";
    check("Alice", secret, None, Outcome::Ok);
    check("aLICE", secret, None, Outcome::IdTaken);
    check("al", secret, None, Outcome::IdInvalid);
    check("A1ICE", secret, None, Outcome::IdTaken);
    check("Adm1n", secret, None, Outcome::NameReserved);
    check("Аlice", secret, None, Outcome::IdInvalid);
    check("al\nice", secret, None, Outcome::IdInvalid);
    check(&"a".repeat(33), secret, None, Outcome::IdTooLong);
    check("Bob", "short", None, Outcome::PasswordInvalid);
    check("Bob", "with\0zero", None, Outcome::PasswordInvalid);
    check("Bob", &"x".repeat(257), None, Outcome::PasswordTooLong);
    check("Bob", &"🐝".repeat(64), None, Outcome::Ok);

    check("Unknown", secret, Some("Nora"), Outcome::BadCredentials);
    check("Alice", "wrong password", Some("Nora"), Outcome::BadCredentials);
    check("Alice", secret, Some("N"), Outcome::NameInvalid);
    check("Alice", secret, Some("G M"), Outcome::NameReserved);
    check("Alice", secret, Some(" Nora"), Outcome::NameInvalid);
    check("Alice", secret, Some(&"n".repeat(25)), Outcome::NameTooLong);
    // 24 characters of four bytes make the longest name.
    check("Alice", secret, Some(&"🐝".repeat(24)), Outcome::Ok);
    check("Alice", secret, Some("Nora"), Outcome::CharacterExists);
    check("Bob", &"🐝".repeat(64), Some(&"🐝".repeat(24)), Outcome::NameTaken);

    let mut log_in = |id: &str, password: &str, wanted| {
        let player = Player { id: id.into(), password: password.into() };
        assert_eq!(
            player.log_in_over(&mut client).map(|granted| granted.name),
            wanted,
            "{id:?} {password:?}"
        );
    };
    log_in("Unknown", secret, Err(Outcome::BadCredentials));
    log_in("", "", Err(Outcome::BadCredentials));
    log_in("Alice", "wrong password", Err(Outcome::BadCredentials));
    log_in("Bob", &"🐝".repeat(64), Err(Outcome::NoCharacter));
    // Ids are compared as at the sign-up, and a failed login leaves no account online.
    log_in("ALICE", secret, Ok(Text::truncated(&"🐝".repeat(24))));
}

/// Users in the longest list; with the longest names, a page has no room for 200 of them.
const LONG_LIST: usize = 400;

#[test]
fn the_longest_user_list_comes_in_adjoining_pages() {
    let home = Home::new();
    let up = home.up(&[]);
    let long = |ticket: &mut Ticket| ticket.name = Text::truncated(&"🐝".repeat(NAME_CHARS_MAX));
    let mut group = ChatGroup::enter_as(&home, up.chat(), LONG_LIST as u64, long);
    let (mut last, entered, mut page) =
        Client::enter(up.chat(), home.mint(up.chat().key, 7, |ticket| ticket.name = Text::truncated("last")));
    assert_eq!(entered.head_count as usize, LONG_LIST + 1);
    assert!(page.users.len() < 200 && page.more);
    let (mut seen, mut pages_due) = (Vec::new(), 0_u8);
    loop {
        assert_eq!(page.head_count, entered.head_count);
        seen.extend(page.users.iter().cloned());
        let after = seen.last().expect("a page has users").id;
        if !page.more {
            break;
        }
        page = match pages_due {
            0 => last.ask::<UserList>(UserListRequest { channel: 0, after, pages: LIST_PAGES_MAX }),
            _ => last.skip_to::<UserList>(),
        };
        pages_due = pages_due.checked_sub(1).unwrap_or(LIST_PAGES_MAX - 1);
    }
    assert_eq!(seen.len(), LONG_LIST + 1);
    assert!(seen.is_sorted_by(|a, b| a.id < b.id), "a user is listed twice or out of order");
    assert_eq!(seen.last(), Some(&entered.user));
    // A page past the end is empty and no error.
    let none: UserList = last.ask(UserListRequest { channel: 0, after: u32::MAX, pages: 0 });
    assert!(none.users.is_empty() && !none.more);
    assert_eq!(group.members[0].skip_to::<UsersChanged>().entered[0].id, seen[1].id);
}

#[test]
fn messages_of_a_burst_keep_their_order() {
    let home = Home::new();
    let up = home.up(&["net.shards=2", "content.threads=2", "content.lane=16"]);
    let mut group = ChatGroup::enter(&home, up.chat(), 3);
    let texts: Vec<String> = (0..500).map(|number| number.to_string()).collect();
    let mut burst = Vec::new();
    for text in &texts {
        burst.extend(group.members[0].seal(ChatRequest {
            scope: Scope::World,
            target: 0,
            stamp: 0,
            text: ChatText::new(text.as_str()).unwrap(),
        }));
    }
    group.members[0].raw.write(&burst);
    for member in &mut group.members {
        let mut sequence = None;
        for text in &texts {
            let message: ChatMessage = member.skip_to();
            assert_eq!(*message.text, **text);
            assert!(sequence.is_none_or(|last| message.sequence == last + 1));
            sequence = Some(message.sequence);
        }
    }
}

#[test]
fn an_unused_ticket_expires_and_frees_its_account() {
    let home = Home::new();
    let up = home.up(&["ticket.lifetime=3s"]);
    let player = Player::create(up.login(), "Late");
    let mut late = player.log_in(up.login()).unwrap();
    assert_eq!(late.granted.ticket_lifetime_ms, 3000);
    assert_eq!(player.log_in(up.login()).err(), Some(Outcome::AlreadyOnline));
    assert_eq!(late.login.end(), End::Told(CloseReason::TicketExpired));
    let again = player.log_in_when_free(up.login());
    let mut chat = Client::connect(late.chat());
    chat.send(EnterRequest { ticket: late.granted.ticket.clone() });
    assert_eq!(chat.end(), End::Told(CloseReason::TicketExpired));
    again.enter();
}

#[test]
fn an_account_is_free_after_every_kind_of_departure() {
    let home = Home::new();
    let up = home.up(&[]);
    let login = up.login();
    let player = Player::create(login, "Leaver");

    // Between the ticket and the chat: the ticket is void with the session to which it was granted.
    let gone = player.log_in(login).unwrap();
    let chat = gone.chat();
    let ticket = gone.granted.ticket.clone();
    gone.login.vanish();
    let next = player.log_in_when_free(login);
    let mut thief = Client::connect(chat);
    thief.send(EnterRequest { ticket });
    assert_eq!(thief.end(), End::Told(CloseReason::TicketUsed));

    exit(next.enter().0);
    player.enter(login).vanish();
    // During the password check.
    let mut hasty = Client::connect(login);
    let frame = hasty.seal(player.request());
    hasty.raw.write(&frame);
    hasty.vanish();
    exit(player.enter(login));
}
