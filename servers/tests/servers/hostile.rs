//! Tests of peers that break the protocol: each loses its own connection, the reason is sent and
//! counted, and fifty other clients chat on and miss no message.

use std::io::Write;

use socket2::SockRef;
use throng_core::clock::unix_ms;
use throng_core::crypto::{Credentials, Initiator};
use throng_core::limits::{CLIENT_BODY_MAX, FRAME_HEADER, HANDSHAKE_BODY_MAX};
use throng_core::wire::frame::{self, Kind};
use throng_core::wire::packets::{
    ChatRequest, ChatText, Claim, DbClaimAway, DbClaimsSynced, DbReleaseClaim, EnterRequest, ExitAnswer,
    Heartbeat, LinkHello, LoginRefused, Outcome, PingRequest, PongAnswer, Role, Scope, TicketBytes,
};
use throng_core::wire::{CloseReason, Packet, Text};

use crate::support::{ChatGroup, Client, End, Home, Player, RawClient, Server, ServerAddr, wait_until};

/// A server under attack.
struct Hostile {
    home: Home,
    up: Server,
    /// The account of the latest minted ticket.
    account: u64,
}

impl Hostile {
    fn chat(&self) -> ServerAddr {
        self.up.chat()
    }

    fn ticket(&mut self) -> TicketBytes {
        self.account += 1;
        self.home.mint(self.chat().key, self.account, |_| {})
    }

    fn enter(&mut self) -> Client {
        let ticket = self.ticket();
        Client::enter(self.chat(), ticket).0
    }

    /// Asserts that `attack` ends with its connection closed for `reason`, which is sent and
    /// counted once.
    fn check(&mut self, reason: CloseReason, attack: impl FnOnce(&mut Self) -> End) {
        let before = self.up.closed_for(reason.name());
        assert_eq!(attack(self), End::Told(reason));
        assert_eq!(self.up.closed_for(reason.name()), before + 1, "{reason:?}");
    }

    /// Checks a client that sends these bytes instead of a handshake.
    fn check_raw(&mut self, reason: CloseReason, bytes: &[u8]) {
        self.check(reason, |hostile| {
            let mut raw = RawClient::connect(hostile.chat());
            raw.write(bytes);
            raw.end()
        });
    }

    /// Checks a client that sends this packet before it has entered.
    fn check_before_entry(&mut self, reason: CloseReason, packet: impl Into<Packet>) {
        self.check(reason, |hostile| {
            let mut client = Client::connect(hostile.chat());
            client.send(packet);
            client.end()
        });
    }

    /// Checks a user that sends this packet.
    fn check_entered(&mut self, reason: CloseReason, packet: impl Into<Packet>) {
        self.check(reason, |hostile| {
            let mut user = hostile.enter();
            user.send(packet);
            user.end()
        });
    }

    fn check_ticket(&mut self, reason: CloseReason, ticket: TicketBytes) {
        self.check_before_entry(reason, EnterRequest { ticket });
    }
}

#[test]
fn a_client_that_breaks_the_protocol_loses_its_own_connection_only() {
    let home = Home::new();
    // Short enough to wait for, and long enough for the other clients on a busy machine.
    let up = home.up(&["net.handshake_timeout=3s", "net.first_packet_timeout=3s", "chat.resume_window=0s"]);
    let group = ChatGroup::enter(&home, up.chat(), 50).chat_in_background();
    let mut hostile = Hostile { home, up, account: 0 };
    let attacks: &[fn(&mut Hostile)] = &[handshakes, silence, noise, frames, tickets, packets];
    for attack in attacks {
        attack(&mut hostile);
        group.assert_progress();
    }
    let mut group = group.stop();
    group.round();
    wait_until("the attackers have left", || hostile.up.metric("throng_chat_users") == 50);
}

fn handshakes(hostile: &mut Hostile) {
    // Bytes of which the third is no frame kind, then a header with a length beyond the limit.
    hostile.check_raw(CloseReason::UnexpectedFrame, b"GET / HTTP/1.1\r\n\r\n");
    hostile.check_raw(CloseReason::FrameTooLong, &[0xff, 0xff, Kind::Handshake as u8]);
    hostile.check_raw(CloseReason::FrameTooLong, &frame::header(Kind::Handshake, HANDSHAKE_BODY_MAX + 1));
    hostile.check_raw(CloseReason::UnexpectedFrame, &frame::header(Kind::Sealed, 0));
    hostile.check_raw(CloseReason::HandshakeFailed, &frame::header(Kind::Handshake, 0));
    let (_, first) = Initiator::start(&Credentials::Client(hostile.chat().key)).unwrap();
    let mut version = first.clone();
    version[FRAME_HEADER] += 1;
    hostile.check_raw(CloseReason::VersionMismatch, &version);
    let mut flipped = first.clone();
    *flipped.last_mut().unwrap() ^= 1;
    hostile.check_raw(CloseReason::HandshakeFailed, &flipped);
    // A handshake for another server.
    let (_, other) = Initiator::start(&Credentials::Client(hostile.up.login().key)).unwrap();
    hostile.check_raw(CloseReason::HandshakeFailed, &other);
    // A handshake of a server of the cluster, at the port for clients.
    let (_, link) = Initiator::start(&Credentials::Link(hostile.home.cluster_key())).unwrap();
    hostile.check_raw(CloseReason::HandshakeFailed, &link);
}

/// Connections that fall silent: after half a handshake, before it, and after it. All three time
/// out at once.
fn silence(hostile: &mut Hostile) {
    let handshake_timeouts = hostile.up.closed_for(CloseReason::HandshakeTimeout.name());
    let first_packet_timeouts = hostile.up.closed_for(CloseReason::FirstPacketTimeout.name());
    let (_, first) = Initiator::start(&Credentials::Client(hostile.chat().key)).unwrap();
    let mut half = RawClient::connect(hostile.chat());
    half.write(&first[..first.len() / 2]);
    let mut none = RawClient::connect(hostile.chat());
    let mut whole = Client::connect(hostile.chat());
    assert_eq!(half.end(), End::Told(CloseReason::HandshakeTimeout));
    assert_eq!(none.end(), End::Told(CloseReason::HandshakeTimeout));
    assert_eq!(whole.end(), End::Told(CloseReason::FirstPacketTimeout));
    assert_eq!(hostile.up.closed_for(CloseReason::HandshakeTimeout.name()), handshake_timeouts + 2);
    assert_eq!(hostile.up.closed_for(CloseReason::FirstPacketTimeout.name()), first_packet_timeouts + 1);
}

/// Random bytes: the server sends a reason or lets the handshake time out.
fn noise(hostile: &mut Hostile) {
    for _ in 0..50 {
        let mut raw = RawClient::connect(hostile.chat());
        raw.write(&rand::random::<[u8; 32]>());
        let end = raw.end();
        assert!(matches!(end, End::Told(_)), "{end:?}");
    }
}

fn frames(hostile: &mut Hostile) {
    let ping = PingRequest { token: 1 };
    hostile.check(CloseReason::SealBroken, |hostile| {
        let mut user = hostile.enter();
        let frame = user.seal(ping.clone());
        user.raw.write(&frame);
        user.skip_to::<PongAnswer>();
        user.raw.write(&frame); // a replay
        user.end()
    });
    hostile.check(CloseReason::SealBroken, |hostile| {
        let mut user = hostile.enter();
        let first = user.seal(ping.clone());
        let second = user.seal(ping.clone());
        user.raw.write(&[second, first].concat());
        user.end()
    });
    hostile.check(CloseReason::SealBroken, |hostile| {
        let mut user = hostile.enter();
        let mut frame = user.seal(ping.clone());
        frame[FRAME_HEADER] ^= 1;
        user.raw.write(&frame);
        user.end()
    });
    hostile.check(CloseReason::SealBroken, |hostile| {
        let mut user = hostile.enter();
        user.raw.write(&frame::header(Kind::Sealed, 0));
        user.end()
    });
    let mut raw = |reason, bytes: &[u8]| {
        hostile.check(reason, |hostile| {
            let mut user = hostile.enter();
            user.raw.write(bytes);
            user.end()
        });
    };
    raw(CloseReason::FrameTooLong, &frame::header(Kind::Sealed, CLIENT_BODY_MAX + 1));
    raw(CloseReason::FrameTooLong, &[0xff, 0xff, Kind::Sealed as u8]);
    raw(CloseReason::UnexpectedFrame, &frame::header(Kind::Handshake, 3));
    raw(CloseReason::UnexpectedFrame, &frame::refusal(CloseReason::Goodbye));
    raw(CloseReason::UnexpectedFrame, &[0, 0, 0]);
}

fn tickets(hostile: &mut Hostile) {
    let used = hostile.ticket();
    let user = Client::enter(hostile.chat(), used.clone()).0;
    hostile.check_ticket(CloseReason::TicketUsed, used);
    drop(user);
    let chat_key = hostile.chat().key;
    let expired = hostile.home.mint(chat_key, 1, |ticket| ticket.expires_ms = unix_ms());
    hostile.check_ticket(CloseReason::TicketExpired, expired);
    // The server cannot know which tickets were used before it was started.
    let old = hostile.home.mint(chat_key, 1, |ticket| ticket.issued_ms -= 500_000);
    hostile.check_ticket(CloseReason::TicketExpired, old);
    let from_the_future = hostile.home.mint(chat_key, 1, |ticket| {
        ticket.issued_ms += 3_600_000;
        ticket.expires_ms += 3_600_000;
    });
    hostile.check_ticket(CloseReason::TicketInvalid, from_the_future);
    let elsewhere = hostile.home.mint(hostile.up.login().key, 1, |_| {});
    hostile.check_ticket(CloseReason::TicketInvalid, elsewhere);
    let mut forged = hostile.ticket().to_vec();
    forged[20] ^= 1;
    hostile.check_ticket(CloseReason::TicketInvalid, TicketBytes::new(forged).unwrap());
    hostile.check_ticket(CloseReason::TicketInvalid, TicketBytes::new(Vec::new()).unwrap());
    let other_cluster = Home::with_keys().mint(chat_key, 1, |_| {});
    hostile.check_ticket(CloseReason::TicketInvalid, other_cluster);
    // The ticket of a login that was not announced.
    let unannounced = hostile.home.mint(chat_key, 1, |ticket| ticket.claim = 1);
    hostile.check_ticket(CloseReason::TicketUsed, unannounced);
    // A ticket for an account that is in the chat.
    let user = hostile.enter();
    let twin = hostile.home.mint(chat_key, hostile.account, |_| {});
    hostile.check_ticket(CloseReason::AlreadyOnline, twin);
    drop(user);
}

fn packets(hostile: &mut Hostile) {
    let hello = LinkHello {
        role: Role::Login,
        name: Text::truncated("login-9"),
        instance: 1,
        client_address: Text::default(),
        client_key: [0; 32],
    };
    let claim = Claim { account: 1, id: 1 };
    let not_allowed = CloseReason::PacketNotAllowed;
    hostile.check_before_entry(
        not_allowed,
        ChatRequest { scope: Scope::World, target: 0, stamp: 0, text: Text::truncated("hello") },
    );
    hostile.check_before_entry(not_allowed, PingRequest { token: 1 });
    hostile.check_before_entry(not_allowed, hello.clone());
    hostile.check_entered(not_allowed, hello);
    hostile.check_entered(not_allowed, DbReleaseClaim { claim });
    hostile.check_entered(not_allowed, DbClaimAway { claim, is_away: true });
    hostile.check_entered(not_allowed, PongAnswer { token: 1, queued_us: 0, server_us: 0 });
    hostile.check_entered(not_allowed, ExitAnswer {});
    let ticket = hostile.ticket();
    hostile.check_entered(CloseReason::AlreadyRegistered, EnterRequest { ticket });
    hostile.check_entered(
        CloseReason::MalformedPacket,
        ChatRequest { scope: Scope::World, target: 0, stamp: 0, text: ChatText::default() },
    );
    // A frame with an intact seal around bytes that are no packet.
    hostile.check(CloseReason::MalformedPacket, |hostile| {
        let mut user = hostile.enter();
        let frame = user.seal_bytes(&[0xff, 0xff]);
        user.raw.write(&frame);
        user.end()
    });
    // A packet that follows in the same write is dropped.
    hostile.check(not_allowed, |hostile| {
        let mut client = Client::connect(hostile.chat());
        let entered = hostile.up.metric("throng_chat_tickets_used_total");
        let mut frames = client.seal(PingRequest { token: 1 });
        frames.extend(client.seal(EnterRequest { ticket: hostile.ticket() }));
        client.raw.write(&frames);
        let end = client.end();
        assert_eq!(hostile.up.metric("throng_chat_tickets_used_total"), entered);
        end
    });
}

#[test]
fn the_login_server_takes_one_request_at_a_time_and_only_its_own() {
    let home = Home::new();
    let up = home.up(&[]);
    let mut hostile = Hostile { home, up, account: 0 };
    let login = hostile.up.login();
    let player = Player::create(login, "Alice");
    let not_allowed = CloseReason::PacketNotAllowed;
    let mut check = |packet: Packet| {
        hostile.check(not_allowed, |_| {
            let mut client = Client::connect(login);
            client.send(packet);
            client.end()
        });
    };
    check(EnterRequest { ticket: TicketBytes::new([0; 9]).unwrap() }.into());
    check(DbClaimsSynced {}.into());
    check(LoginRefused { outcome: Outcome::Ok }.into());
    hostile.check(not_allowed, |_| {
        let mut client = Client::connect(login);
        let frames = [client.seal(player.request()), client.seal(player.request())].concat();
        client.raw.write(&frames);
        client.end()
    });
    // The first of the two requests leaves no account online, whatever its outcome.
    let mut granted = player.log_in_when_free(login);
    hostile.check(not_allowed, |_| {
        granted.login.send(player.request());
        granted.login.end()
    });
    player.enter(login);
}

#[test]
fn a_client_that_never_reads_is_closed_without_harm_to_others() {
    let home = Home::new();
    let up = home.up(&["net.outbox=64KiB", "chat.resume_window=0s"]);
    let group = ChatGroup::enter(&home, up.chat(), 10).chat_in_background();
    let mut hostile = Hostile { home, up, account: 0 };
    // Answers of a content thread on the chat port, and of the session itself on the login port.
    let user = hostile.enter();
    flood(&hostile.up, user, &PingRequest { token: 1 }.into());
    let mut client = Client::connect(hostile.up.login());
    Player::named("silent").log_in_over(&mut client).unwrap_err();
    flood(&hostile.up, client, &Heartbeat { token: 1 }.into());
    group.assert_progress();
    group.stop().round();
    wait_until("the users have left", || hostile.up.metric("throng_chat_users") == 0);
}

/// Sends a packet again and again without reading, until the server closes the session.
fn flood(up: &Server, mut client: Client, packet: &Packet) {
    let before = up.closed_for("TooSlow");
    SockRef::from(&client.raw.socket).set_recv_buffer_size(4096).unwrap();
    // A thousand bursts are far more than the outbox and both sockets' buffers hold.
    for _ in 0..1000 {
        let burst: Vec<u8> = (0..1000).flat_map(|_| client.seal(packet.clone())).collect();
        if client.raw.socket.write_all(&burst).is_err() || up.closed_for("TooSlow") > before {
            break;
        }
    }
    wait_until("the session is closed", || up.closed_for("TooSlow") == before + 1);
}
