//! Tables that are full.

use throng_core::limits::{LINKS_MAX, REFUSAL_SLOTS};
use throng_core::wire::CloseReason;

use crate::support::{Client, End, Home, Player, RawClient, ServerAddr, wait_for, wait_until};

#[test]
fn a_full_server_says_so_and_a_free_slot_lets_the_next_one_in() {
    let home = Home::new();
    let up = home.up(&["chat.max_sessions=3"]);
    let chat = up.chat();
    let enter = |account| Client::enter(chat, home.mint(chat.key, account, |_| {})).0;
    let mut inside: Vec<_> = (1..=3).map(enter).collect();
    assert_eq!(RawClient::connect(chat).end(), End::Told(CloseReason::ServerFull), "before it says anything");
    assert_eq!(Client::try_connect(chat).err(), Some(End::Told(CloseReason::ServerFull)));
    assert_eq!((up.metric("throng_net_refused_full_total"), up.closed_for("ServerFull")), (2, 2));
    inside.remove(1).vanish();
    let client = wait_for("a slot is free", || Client::try_connect(chat).ok());
    assert_eq!(Client::try_connect(chat).err(), Some(End::Told(CloseReason::ServerFull)));
    drop((client, inside));
    wait_for("all are free", || Client::try_connect(chat).ok());
}

/// Connections that hang at every door: they take neither the clients' places nor the links'.
#[test]
fn who_only_holds_connections_takes_no_slot_from_others() {
    let home = Home::new();
    let up = home.up(&["chat.max_sessions=3", "net.linger=30s", "net.handshake_timeout=30s"]);
    let chat = up.chat();
    let links = ServerAddr { address: up.address("chat links"), ..chat };
    let enter = |account| Client::enter(chat, home.mint(chat.key, account, |_| {})).0;
    let hold =
        |server_addr, count: usize| (0..count).map(|_| RawClient::connect(server_addr)).collect::<Vec<_>>();

    let at_link_door = hold(links, 3 * (LINKS_MAX + REFUSAL_SLOTS));
    wait_until("they have arrived", || up.metric("throng_net_accepted_total") >= at_link_door.len() as u64);
    let inside: Vec<_> = (1..=3).map(enter).collect();
    drop(at_link_door);

    // Refused clients that do not close their end hold theirs for as long as the linger time.
    let before = up.metric("throng_net_refused_full_total");
    let refused = hold(chat, 3 * (LINKS_MAX + REFUSAL_SLOTS));
    wait_until("all are refused", || {
        up.metric("throng_net_refused_full_total") == before + refused.len() as u64
    });
    drop(inside);
    wait_until("those inside have left", || up.metric("throng_chat_users") == 0);
    // The way of a login, over the links, is as open as before.
    Player::create(up.login(), "Alice").enter(up.login());
    drop(refused);
}
