//! Tests of full tables.

use throng_core::limits::{LINKS_MAX, REFUSAL_SLOTS};
use throng_core::wire::CloseReason;

use crate::support::{Client, End, Home, Player, RawClient, ServerAddr, wait_for, wait_until};

#[test]
fn a_full_server_refuses_clients_until_a_slot_is_free() {
    let home = Home::new();
    let up = home.up(&["chat.max_sessions=3"]);
    let chat = up.chat();
    let enter = |account| Client::enter(chat, home.mint(chat.key, account, |_| {})).0;
    let mut inside: Vec<_> = (1..=3).map(enter).collect();
    assert_eq!(
        RawClient::connect(chat).end(),
        End::Told(CloseReason::ServerFull),
        "a client that has sent nothing"
    );
    assert_eq!(Client::try_connect(chat).err(), Some(End::Told(CloseReason::ServerFull)));
    assert_eq!((up.metric("throng_net_refused_full_total"), up.closed_for("ServerFull")), (2, 2));
    inside.remove(1).vanish();
    let client = wait_for("a slot is free", || Client::try_connect(chat).ok());
    assert_eq!(Client::try_connect(chat).err(), Some(End::Told(CloseReason::ServerFull)));
    drop((client, inside));
    wait_for("all slots are free", || Client::try_connect(chat).ok());
}

/// Idle connections on every port take neither the clients' slots nor the links'.
#[test]
fn idle_connections_take_no_slots() {
    let home = Home::new();
    let up = home.up(&[
        "chat.max_sessions=3",
        "chat.resume_window=0s",
        "net.linger=30s",
        "net.handshake_timeout=30s",
    ]);
    let chat = up.chat();
    let links = ServerAddr { address: up.address("chat links"), ..chat };
    let enter = |account| Client::enter(chat, home.mint(chat.key, account, |_| {})).0;
    let hold =
        |server_addr, count: usize| (0..count).map(|_| RawClient::connect(server_addr)).collect::<Vec<_>>();

    let at_link_door = hold(links, 3 * (LINKS_MAX + REFUSAL_SLOTS));
    wait_until("the connections are accepted", || {
        up.metric("throng_net_accepted_total") >= at_link_door.len() as u64
    });
    let inside: Vec<_> = (1..=3).map(enter).collect();
    drop(at_link_door);

    // A refused client that keeps its end open holds its connection for the linger time.
    let before = up.metric("throng_net_refused_full_total");
    let refused = hold(chat, 3 * (LINKS_MAX + REFUSAL_SLOTS));
    wait_until("all connections are refused", || {
        up.metric("throng_net_refused_full_total") == before + refused.len() as u64
    });
    drop(inside);
    wait_until("the users have left", || up.metric("throng_chat_users") == 0);
    // The path of a login, over the links, is as open as before.
    Player::create(up.login(), "Alice").enter(up.login());
    drop(refused);
}
