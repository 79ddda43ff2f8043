//! Tests of many logins to one account: exactly one session is in the chat, and none is left
//! online.

use throng_core::wire::CloseReason;
use throng_core::wire::packets::{
    ChatMessage, ChatRequest, ChatText, EnterRequest, ExitRequest, Outcome, Scope, UsersChanged,
};

use crate::support::{Client, End, Home, Player, Server, TicketHolder, answer, exit, wait_for, wait_until};

const AT_ONCE: usize = 20;

/// Sends a login request over every connection at once. Returns the login that was granted, if any.
fn race(player: &Player, connections: &mut Vec<Client>, up: &Server) -> Option<TicketHolder> {
    let frames: Vec<_> = connections.iter_mut().map(|client| client.seal(player.request())).collect();
    for (client, frame) in connections.iter_mut().zip(frames) {
        client.raw.write(&frame);
    }
    let answers: Vec<_> = connections.iter_mut().map(answer).collect();
    let mut granted = None;
    for (place, answer) in answers.into_iter().enumerate() {
        match answer {
            Ok(ticket) => assert!(granted.replace((place, ticket)).is_none(), "two logins were granted"),
            Err(outcome) => assert_eq!(outcome, Outcome::AlreadyOnline),
        }
    }
    let (place, granted) = granted?;
    connections.push(Client::connect(up.login()));
    Some(TicketHolder { login: connections.swap_remove(place), granted })
}

#[test]
fn exactly_one_of_twenty_concurrent_logins_is_granted() {
    let home = Home::new();
    let up = home.up(&["content.threads=2", "net.shards=2"]);
    let player = Player::create(up.login(), "Twin");
    let mut connections: Vec<_> = (0..AT_ONCE).map(|_| Client::connect(up.login())).collect();
    for round in 0..50 {
        // The previous winner may still be leaving; no login is granted then.
        let winner = wait_for("a login is granted", || race(&player, &mut connections, &up));
        assert!(
            race(&player, &mut connections, &up).is_none(),
            "a second login was granted before the entry"
        );
        match round % 3 {
            0 => winner.login.vanish(),
            1 => winner.enter().0.vanish(),
            _ => {
                let chat = winner.enter().0;
                assert!(
                    race(&player, &mut connections, &up).is_none(),
                    "a second login was granted after the entry"
                );
                exit(chat);
            }
        }
    }
    // The last winner may be away.
    exit(player.enter(up.login()));
    wait_until("no account is online", || home.online() == 0);
}

/// The game of a player has crashed, and its token with it.
#[test]
fn a_player_whose_connection_is_lost_logs_in_anew_at_once_and_one_that_is_there_refuses() {
    let home = Home::new();
    let up = home.up(&[]);
    let login = up.login();
    let player = Player::create(login, "Phoenix");
    let mut witness = Player::create(login, "Witness").enter(login);
    let (mut chat, mut entered, _) = player.log_in(login).unwrap().enter();
    witness.skip_to::<UsersChanged>();
    for _ in 0..3 {
        assert_eq!(player.log_in(login).err(), Some(Outcome::AlreadyOnline));
        chat.vanish();
        wait_until("its claim is away", || home.away() == 1);
        let left = entered.user.id;
        (chat, entered, _) = player.log_in(login).expect("the away claim gives way").enter();
        assert_ne!(entered.user.id, left);
        assert_eq!(entered.head_count, 2);
        assert_eq!(*witness.skip_to::<UsersChanged>().left, [left]);
        assert_eq!(*witness.skip_to::<UsersChanged>().entered, [entered.user.clone()]);
    }
    assert_eq!((home.online(), home.away()), (2, 0));
    exit(chat);
    wait_until("only the witness is online", || home.online() == 1);
}

#[test]
fn a_kick_ends_the_old_session_and_leaves_no_account_online() {
    let home = Home::new();
    let up = home.up(&["login.duplicate=kick"]);
    let login = up.login();
    let player = Player::create(login, "King");
    let mut witness = Player::create(login, "Witness").enter(login);
    for _ in 0..5 {
        let (mut old, ..) = player.log_in(login).unwrap().enter();
        let (mut new, entered, _) = player.log_in(login).unwrap().enter();
        assert_eq!(old.end(), End::Told(CloseReason::LoggedInElsewhere));
        assert_eq!(entered.head_count, 2);
        new.send(ChatRequest {
            scope: Scope::World,
            target: 0,
            stamp: 0,
            text: ChatText::new("it is me").unwrap(),
        });
        let heard: ChatMessage = witness.skip_to();
        assert_eq!(heard.sender, entered.user);
    }
    // A ticket that was not used yet is void as well.
    let waiting = player.log_in(login).unwrap();
    exit(player.log_in(login).unwrap().enter().0);
    let mut late = Client::connect(waiting.chat());
    late.send(EnterRequest { ticket: waiting.granted.ticket.clone() });
    assert_eq!(late.end(), End::Told(CloseReason::TicketUsed));
    wait_until("only the witness is in the chat", || up.metric("throng_chat_users") == 1);
}

#[test]
fn concurrent_kicks_leave_one_session_and_no_account_online() {
    let home = Home::new();
    let up = home.up(&["login.duplicate=kick", "dbagent.threads=4", "content.threads=2"]);
    let login = up.login();
    let player = Player::create(login, "Hydra");
    for _ in 0..10 {
        let mut heads: Vec<_> = (0..8).map(|_| Client::connect(login)).collect();
        let frames: Vec<_> = heads.iter_mut().map(|client| client.seal(player.request())).collect();
        for (client, frame) in heads.iter_mut().zip(frames) {
            client.raw.write(&frame);
        }
        let mut chats = Vec::new();
        for mut head in heads {
            match answer(&mut head) {
                // A login that is displaced on the way learns of it here or, with a ticket, from
                // the chat server.
                Err(outcome) => assert_eq!(outcome, Outcome::ClaimLost),
                Ok(granted) => {
                    let ticket_holder = TicketHolder { login: head, granted };
                    let mut chat = Client::connect(ticket_holder.chat());
                    let ticket = ticket_holder.granted.ticket.clone();
                    chat.send(EnterRequest { ticket });
                    chats.push((ticket_holder, chat));
                }
            }
        }
        wait_until("one session is in the chat", || up.metric("throng_chat_users") == 1);
        let mut alive = 0;
        for (_, mut chat) in chats {
            chat.send(ExitRequest {});
            match chat.end() {
                End::Told(CloseReason::Goodbye) => alive += 1,
                End::Told(CloseReason::TicketUsed | CloseReason::LoggedInElsewhere) => {}
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(alive, 1);
        wait_until("the chat is empty", || up.metric("throng_chat_users") == 0);
    }
    wait_until("no account is online", || home.online() == 0);
}
