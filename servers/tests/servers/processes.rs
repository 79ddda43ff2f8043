//! Tests of roles as processes that die: the others continue, and no account is left online.

use std::time::{Duration, Instant};

use throng_core::wire::CloseReason;
use throng_core::wire::packets::{EnterRequest, Outcome, PingRequest, PongAnswer};

use rustix::process::Signal;

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

/// Guessers, and players who mistype, can be told apart afterwards; passwords cannot be read.
#[test]
fn a_refused_login_leaves_a_line_without_secrets() {
    let home = Home::new();
    let up = home.up(&[]);
    let player = Player::create(up.login(), "Player");
    let guesser = Player { password: "guessed secret".into(), ..player.clone() };
    assert_eq!(guesser.log_in(up.login()).err(), Some(Outcome::BadCredentials));
    let stranger = Player::named("a\u{1b}[31m\u{202e}b\n");
    stranger.log_in(up.login()).err().expect("there is no such account");
    wait_until("both lines are logged", || up.log().matches("login refused").count() == 2);
    let log = up.log();
    let line = log.lines().find(|line| line.contains("login refused")).unwrap();
    for part in [&*player.id, "reason=\"BadCredentials\"", "address=\"127.0.0.1:", " INFO "] {
        assert!(line.contains(part), "{line}");
    }
    assert!(!log.contains("guessed secret") && !log.contains('\u{1b}') && !log.contains('\u{202e}'), "{log}");
    assert_eq!(up.metric("throng_login_refused_total{reason=\"BadCredentials\"}"), 2);
}

/// An operator who restarts servers is not to find six warnings.
#[test]
fn a_clean_stop_warns_of_nothing() {
    let home = Home::new();
    let up = home.up(&[]);
    let player = Player::create(up.login(), "Player");
    let _inside = player.enter(up.login());
    let log = home.path().join("throng.log");
    up.signal(Signal::TERM);
    assert_eq!(up.exit_code(), Some(0));
    let text = std::fs::read_to_string(log).unwrap();
    // The limit on open files of the machine is no matter of the stop.
    let warnings: Vec<&str> =
        text.lines().filter(|line| line.contains(" WARN ") && !line.contains("sessions fit")).collect();
    assert!(text.contains("link closed") && warnings.is_empty(), "{warnings:#?}");
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
