//! Tests of roles as processes that die: the others continue, and no account is left online.

use std::time::{Duration, Instant};

use throng_core::wire::CloseReason;
use throng_core::wire::packets::{EnterRequest, Outcome, PingRequest, PongAnswer};

use crate::support::{
    ChatGroup, Client, Cluster, End, Home, PATIENCE, Player, ServerAddr, Stopwatch, exit, wait_for,
    wait_until,
};

/// Asserts that a login is refused because a link is down, and not after the request timeout.
fn assert_refused_at_once(player: &Player, login: ServerAddr) {
    let asked_at = Instant::now();
    assert_eq!(player.log_in(login).err(), Some(Outcome::TryAgainLater));
    assert!(asked_at.elapsed() < PATIENCE, "refused after {:?}", asked_at.elapsed());
}

#[test]
fn the_chat_continues_without_a_db_agent_and_logins_recover_with_it() {
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
    // The first login may still be sent over the lost link.
    for _ in 0..3 {
        assert_refused_at_once(&other, login);
    }
    // A user that leaves while no DB agent can be told is offline once one can.
    exit(left);

    cluster.start_dbagent();
    let stopwatch = Stopwatch::start();
    let others = wait_for("logins work again", || match other.log_in(login) {
        Err(Outcome::TryAgainLater) => None,
        result => Some(result.unwrap()),
    });
    stopwatch.assert_within("the recovery of logins", Duration::from_secs(3));
    others.enter();
    group.assert_progress();
    cluster.linked();
    assert_eq!(
        player.log_in(login).err(),
        Some(Outcome::AlreadyOnline),
        "the player was in the chat all the time"
    );
    exit(leaver.enter(login));
    exit(user);
    exit(player.enter(login));
    group.stop().round();
    // The session of `Other` was dropped, which closed its socket.
    wait_until("no account is online", || cluster.home.online() == 0);
}

#[test]
fn a_killed_chat_server_leaves_no_account_online() {
    let mut cluster = Cluster::start(&[]);
    let login = cluster.login_addr();
    let players: Vec<_> = (0..3).map(|n| Player::create(login, &format!("Player {n}"))).collect();
    let mut inside = players[0].enter(login);
    let waiting = players[1].log_in(login).unwrap();

    cluster.chat.take().unwrap().kill();
    assert_eq!(inside.end(), End::Silent);
    // The login server and the DB agent are up and still answer.
    Player::create(login, "Meanwhile");
    assert_refused_at_once(&players[2], login);

    cluster.start_chat();
    let stopwatch = Stopwatch::start();
    let enter = |player: &Player| {
        let returned = wait_for("the player is back", || match player.log_in(login) {
            Err(Outcome::TryAgainLater | Outcome::AlreadyOnline) => None,
            result => Some(result.unwrap()),
        });
        returned.enter().0
    };
    let inside: Vec<_> = players.iter().map(enter).collect();
    // The claims of the killed server end with the lease's grace of one second.
    stopwatch.assert_within("the return of all players", Duration::from_secs(4));
    drop(waiting);
    for chat in inside {
        exit(chat);
    }
    wait_until("no account is online", || cluster.home.online() == 0);
}

#[test]
fn a_killed_login_server_voids_its_tickets_and_nothing_else() {
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
    wait_until("the chat server notices", || chat.links_up() == 1);
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

/// All roles crash at once, as with the machine. The database's state keeps no account online for
/// long.
#[test]
fn players_enter_again_after_a_crash_of_all_roles() {
    let home = Home::new();
    let up = home.up(&[]);
    let player = Player::create(up.login(), "Player");
    let _inside = player.enter(up.login());
    up.kill();
    let up = home.up(&[]);
    let stopwatch = Stopwatch::start();
    player.enter(up.login());
    stopwatch.assert_within("the return of the player", Duration::from_secs(3));
}
