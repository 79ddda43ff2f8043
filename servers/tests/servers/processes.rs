//! The roles as processes that die: the others go on, and nobody is left online.

use std::time::{Duration, Instant};

use throng_core::wire::CloseReason;
use throng_core::wire::packets::{EnterRequest, Outcome, PingRequest, PongAnswer};

use crate::support::{ChatGroup, Client, Cluster, End, Home, Player, exit, wait_for, wait_until};

#[test]
fn the_chat_goes_on_without_a_db_agent_and_logins_work_again_when_it_is_back() {
    let mut cluster = Cluster::start(&[]);
    let login = cluster.login_addr();
    let player = Player::create(login, "Player");
    let leaver = Player::create(login, "Leaver");
    let other = Player::create(login, "Other");
    let user = player.enter(login);
    let left = leaver.enter(login);
    let group = ChatGroup::enter(&cluster.home, cluster.chat_addr(), 20).chat_in_background();
    group.assert_progress();

    cluster.dbagent.take().unwrap().kill();
    group.assert_progress();
    // Also the very first login, which may still believe in the link.
    for _ in 0..3 {
        let asked_at = Instant::now();
        assert_eq!(other.log_in(login).err(), Some(Outcome::TryAgainLater));
        assert!(asked_at.elapsed() < Duration::from_secs(2), "{:?}", asked_at.elapsed());
    }
    // Who leaves while nobody can be told is free once somebody can.
    exit(left);

    cluster.start_dbagent();
    let restarted_at = Instant::now();
    let others = wait_for("logins work again", || match other.log_in(login) {
        Err(Outcome::TryAgainLater) => None,
        result => Some(result.unwrap()),
    });
    assert!(restarted_at.elapsed() < Duration::from_secs(3), "{:?}", restarted_at.elapsed());
    others.enter();
    group.assert_progress();
    cluster.linked();
    assert_eq!(player.log_in(login).err(), Some(Outcome::AlreadyOnline), "it has been in all the time");
    exit(leaver.enter(login));
    exit(user);
    exit(player.enter(login));
    group.stop().round();
    // `Other` was dropped without a word.
    wait_until("no ghost is online", || cluster.home.online() == 0);
}

#[test]
fn a_chat_server_that_dies_leaves_nobody_online() {
    let mut cluster = Cluster::start(&[]);
    let login = cluster.login_addr();
    let players: Vec<_> = (0..3).map(|n| Player::create(login, &format!("Player {n}"))).collect();
    let mut inside = players[0].enter(login);
    let waiting = players[1].log_in(login).unwrap();

    cluster.chat.take().unwrap().kill();
    assert_eq!(inside.end(), End::Silent);
    // Login server and DB agent are up and say what they can say.
    Player::create(login, "Meanwhile");
    let asked_at = Instant::now();
    assert_eq!(players[2].log_in(login).err(), Some(Outcome::TryAgainLater));
    assert!(asked_at.elapsed() < Duration::from_secs(2), "{:?}", asked_at.elapsed());

    cluster.start_chat();
    let restarted_at = Instant::now();
    let enter = |player: &Player| {
        let ticket_holder = wait_for("the player is back", || match player.log_in(login) {
            Err(Outcome::TryAgainLater | Outcome::AlreadyOnline) => None,
            result => Some(result.unwrap()),
        });
        ticket_holder.enter().0
    };
    let inside: Vec<_> = players.iter().map(enter).collect();
    // The lease's grace is one second.
    assert!(restarted_at.elapsed() < Duration::from_secs(4), "{:?}", restarted_at.elapsed());
    drop(waiting);
    for chat in inside {
        exit(chat);
    }
    wait_until("no ghost is online", || cluster.home.online() == 0);
}

#[test]
fn tickets_die_with_their_login_server_and_nothing_else_does() {
    let mut cluster = Cluster::start(&[]);
    let login = cluster.login_addr();
    let player = Player::create(login, "Player");
    let mut inside = player.enter(login);
    let late = Player::create(login, "Late");
    let ticket_holder = late.log_in(login).unwrap();
    let group = ChatGroup::enter(&cluster.home, cluster.chat_addr(), 20).chat_in_background();

    cluster.login.take().unwrap().kill();
    group.assert_progress();
    let chat = cluster.chat.as_ref().unwrap();
    wait_until("the chat server has noticed", || chat.links_up() == 1);
    let mut client = Client::connect(cluster.chat_addr());
    client.send(EnterRequest { ticket: ticket_holder.granted.ticket.clone() });
    assert_eq!(client.end(), End::Told(CloseReason::TicketUsed));
    inside.send(PingRequest { token: 1 });
    inside.skip_to::<PongAnswer>();

    cluster.start_login();
    cluster.linked();
    let login = cluster.login_addr();
    late.enter(login);
    assert_eq!(player.log_in(login).err(), Some(Outcome::AlreadyOnline));
    exit(inside);
    exit(player.enter(login));
    group.stop().round();
}

/// All die at once, as with the machine. Nobody is online by what the database remembers.
#[test]
fn after_a_crash_of_everything_players_get_in_again_soon() {
    let home = Home::new();
    let up = home.up(&[]);
    let player = Player::create(up.login(), "Player");
    let _inside = player.enter(up.login());
    up.kill();
    let up = home.up(&[]);
    let restarted_at = Instant::now();
    player.enter(up.login());
    assert!(restarted_at.elapsed() < Duration::from_secs(3), "{:?}", restarted_at.elapsed());
}
