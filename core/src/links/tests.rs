use super::*;
use crate::crypto::{ClusterKey, Credentials};
use crate::net::PeerKind;
use crate::wire::Text;

fn hello(role: Role, instance: u64) -> LinkHello {
    let client_address = Text::default();
    LinkHello { role, name: Text::truncated("x"), instance, client_address, client_key: [0; 32] }
}

fn endpoint() -> Endpoint {
    Endpoint {
        peer: PeerKind::Link,
        credentials: Credentials::Link(ClusterKey::from_bytes([1; 32])),
        body_max: 1000,
        outbox_max: 1000,
        handshake_timeout: Duration::from_secs(1),
        first_packet_timeout: None,
        heartbeat: None,
        idle_timeout: None,
        linger: Duration::ZERO,
    }
}

fn links(now: Instant) -> Links {
    links_to("127.0.0.1:9", now)
}

fn links_to(address: &str, now: Instant) -> Links {
    let peer = Peer { role: Role::Chat, address: address.parse().unwrap() };
    let backoff = Backoff { min: Duration::from_millis(50), max: Duration::from_millis(400) };
    let board = Arc::default();
    Links::new(hello(Role::Login, 1), Arc::new(endpoint()), backoff, vec![peer], now, board)
}

fn id(slot: u32) -> SessionId {
    SessionId::new(0, slot, 0)
}

const CLOSED: Closed = Closed { kind: PeerKind::Link, dialed: Some(0), reason: CloseReason::ConnectFailed };

fn open(links: &mut Links, slot: u32, dialed: Option<u64>) {
    let address = ([127, 0, 0, 1], 9).into();
    let opened = Opened { kind: PeerKind::Link, address, dialed };
    links.opened(id(slot), &opened, &mut Effects::default());
}

#[test]
fn dials_for_ever_with_growing_bounded_pauses() {
    let mut now = Instant::now();
    let mut links = links(now);
    let mut longest = Duration::ZERO;
    for attempt in 0..50 {
        let mut effects = Effects::default();
        assert_eq!(links.tick(now, &mut effects), None, "no deadline while a dial is under way");
        assert_eq!(effects.describe(), ["dial 127.0.0.1:9 as 0"]);
        links.closed(id(0), &CLOSED, now);
        let at = links.tick(now, &mut Effects::default()).unwrap();
        let pause = at - now;
        let limit = Duration::from_millis(50 << attempt.min(3));
        assert!(pause >= limit / 2 && pause <= limit, "attempt {attempt}: {pause:?}");
        longest = longest.max(pause);
        now = at;
    }
    assert!(longest > Duration::from_millis(200));
}

#[test]
fn a_link_is_up_after_its_hello_and_is_dialed_again_after_its_end() {
    let now = Instant::now();
    let mut links = links(now);
    links.tick(now, &mut Effects::default());
    open(&mut links, 3, Some(0));
    assert_eq!(links.up(Role::Chat).count(), 0);
    let mut effects = Effects::default();
    assert!(links.identify(id(3), hello(Role::Chat, 7), &[], now, &mut effects).is_some());
    assert_eq!(links.up(Role::Chat).next().map(|(id, _)| id), Some(id(3)));
    assert_eq!(links.of_instance(7), Some(id(3)));
    assert!(links.board.to_json().contains("\"x -> Chat 127.0.0.1:9\":\"up\""));
    let later = now + Duration::from_secs(9);
    assert_eq!(links.closed(id(3), &CLOSED, later).unwrap().hello.instance, 7);
    let at = links.tick(later, &mut effects).unwrap();
    assert!(at - later <= Duration::from_millis(50), "a link that was up resets the pause");
}

/// Ticks until an address is dialed, and returns it.
fn dialed(links: &mut Links, now: Instant) -> String {
    let deadline = Instant::now() + Duration::from_mins(1);
    loop {
        let mut effects = Effects::default();
        links.tick(now, &mut effects);
        if let [dialed] = &effects.describe()[..] {
            return dialed.clone();
        }
        assert!(Instant::now() < deadline, "no address was dialed");
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn a_name_is_looked_up_anew_and_all_its_addresses_are_tried_without_a_pause() {
    let now = Instant::now();
    let mut links = links_to("localhost:9", now);
    // The addresses of the name on this machine, of one family or of both.
    links.outgoing[0].untried = ["[::1]:9", "127.0.0.1:9"].map(|text| text.parse().unwrap()).into();
    assert_eq!(dialed(&mut links, now), "dial [::1]:9 as 0");
    links.closed(id(0), &CLOSED, now);
    assert_eq!(dialed(&mut links, now), "dial 127.0.0.1:9 as 0");
    links.closed(id(0), &CLOSED, now);
    let at = links.tick(now, &mut Effects::default()).unwrap();
    assert!(at > now, "no pause after all addresses were tried");
    let address = dialed(&mut links, at);
    assert!(["dial [::1]:9 as 0", "dial 127.0.0.1:9 as 0"].contains(&&*address), "{address}");
}

#[test]
fn a_name_that_cannot_be_looked_up_is_tried_again_after_a_pause() {
    let now = Instant::now();
    let mut links = links_to("no-such-host.invalid:9", now);
    let deadline = Instant::now() + Duration::from_mins(1);
    while !links.board.to_json().contains("cannot look up no-such-host.invalid") {
        let mut effects = Effects::default();
        assert!(links.tick(now, &mut effects).is_some_and(|at| at > now), "a tight loop");
        assert!(effects.describe().is_empty() && Instant::now() < deadline);
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn a_process_that_is_ending_dials_no_peer() {
    let now = Instant::now();
    let mut links = links(now);
    links.board.end();
    let mut effects = Effects::default();
    assert_eq!(links.tick(now, &mut effects), None);
    assert!(effects.describe().is_empty());
}

#[test]
fn a_server_without_a_link_it_needs_says_which() {
    let now = Instant::now();
    let mut links = links(now);
    let missing = |links: &Links| links.board.missing();
    let needs =
        |detail: &str| vec![Missing { what: "x has no link to a chat server".into(), detail: detail.into() }];
    assert_eq!(missing(&links), needs("127.0.0.1:9: not connected yet"));
    links.tick(now, &mut Effects::default());
    links.closed(id(3), &CLOSED, now);
    assert_eq!(missing(&links), needs("127.0.0.1:9: down (ConnectFailed), dialing again"));
    open(&mut links, 3, Some(0));
    links.identify(id(3), hello(Role::Chat, 7), &[], now, &mut Effects::default()).unwrap();
    assert_eq!(missing(&links), []);
    links.closed(id(3), &CLOSED, now);
    assert_eq!(missing(&links).len(), 1);
}

#[test]
fn a_peer_of_the_wrong_role_is_closed() {
    let now = Instant::now();
    let mut links = links(now);
    let check = |links: &mut Links, dialed, role, allowed: &[Role]| {
        open(links, 4, dialed);
        let mut effects = Effects::default();
        assert!(links.identify(id(4), hello(role, 7), allowed, now, &mut effects).is_none());
        assert_eq!(effects.describe(), ["0.4#0 closed: WrongPeer"]);
        assert!(!links.is_up(id(4)));
    };
    check(&mut links, Some(0), Role::DbAgent, &[Role::DbAgent]);
    check(&mut links, None, Role::Chat, &[Role::Login]);
    links.closed(id(4), &CLOSED, now);
    assert!(links.identify(id(9), hello(Role::Chat, 7), &[], now, &mut Effects::default()).is_none());
}

#[test]
fn every_request_ends_once() {
    let now = Instant::now();
    let mut pending = Pending::new(Duration::from_secs(1));
    let answered = pending.add(id(1), 'a', now).unwrap();
    let failed = pending.add(id(2), 'b', now).unwrap();
    let expired = pending.add(id(1), 'c', now).unwrap();
    assert_eq!(pending.answered(id(2), answered), None, "an answer over another link does not count");
    assert_eq!(pending.answered(id(1), answered), Some('a'));
    assert_eq!(pending.answered(id(1), answered), None);
    assert_eq!(pending.fail_link(id(2)), ['b']);
    assert_eq!(pending.answered(id(2), failed), None);
    assert_eq!(pending.expire(now + Duration::from_millis(999)), []);
    assert_eq!(pending.expire(now + Duration::from_secs(1)), ['c']);
    assert_eq!(pending.answered(id(1), expired), None);
    assert!(pending.is_empty() && pending.next_deadline().is_none());
}

#[test]
fn waiting_requests_are_bounded() {
    let now = Instant::now();
    let mut pending = Pending::new(Duration::from_secs(1));
    for _ in 0..PENDING_REQUESTS_MAX {
        pending.add(id(1), (), now).unwrap();
    }
    assert_eq!(pending.add(id(1), (), now), Err(()));
}

#[test]
fn the_board_is_json_for_any_name_of_a_peer() {
    let board = LinkBoard::default();
    board.set("a\"\\\n", "up");
    assert_eq!(board.to_json(), "{\"a\\\"\\\\\\u000a\":\"up\"}\n");
}
