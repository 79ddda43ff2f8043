//! Peers that break the rules: each loses its own connection, with the reason counted and told, and
//! fifty others chat on and miss nothing.

use std::io::Write;

use socket2::SockRef;
use throng_core::clock::unix_ms;
use throng_core::crypto::{Credentials, Initiator};
use throng_core::limits::{CLIENT_BODY_MAX, FRAME_HEADER, HANDSHAKE_BODY_MAX};
use throng_core::wire::frame::{self, Kind};
use throng_core::wire::packets::{
    ChatRequest, ChatText, Claim, DbClaimsSynced, DbReleaseClaim, EnterRequest, ExitAnswer, Heartbeat,
    LinkHello, LoginRefused, Outcome, PingRequest, PongAnswer, Role, Scope, TicketBytes,
};
use throng_core::wire::{CloseReason, Packet, Text};

use crate::support::{ChatGroup, Client, End, Home, Player, RawClient, Server, ServerAddr, wait_until};

/// A server with fifty people who talk all the time.
struct Hostile {
    home: Home,
    up: Server,
    /// The last account that came in by a minted ticket.
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

    /// `attack` ends with its connection closed for `reason`; that is told and counted once.
    fn check(&mut self, reason: CloseReason, attack: impl FnOnce(&mut Self) -> End) {
        let before = self.up.closed_for(reason.name());
        assert_eq!(attack(self), End::Told(reason));
        assert_eq!(self.up.closed_for(reason.name()), before + 1, "{reason:?}");
    }

    /// A client that sends these bytes instead of a handshake.
    fn check_raw(&mut self, reason: CloseReason, bytes: &[u8]) {
        self.check(reason, |hostile| {
            let mut raw = RawClient::connect(hostile.chat());
            raw.write(bytes);
            raw.end()
        });
    }

    /// A client that has not entered and sends this.
    fn check_before_entry(&mut self, reason: CloseReason, packet: impl Into<Packet>) {
        self.check(reason, |hostile| {
            let mut client = Client::connect(hostile.chat());
            client.send(packet);
            client.end()
        });
    }

    /// A user that sends this.
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
fn whoever_breaks_the_rules_loses_one_connection_and_nobody_else_notices() {
    let home = Home::new();
    let up = home.up(&["net.handshake_timeout=300ms", "net.first_packet_timeout=300ms"]);
    let group = ChatGroup::enter(&home, up.chat(), 50).chat_in_background();
    let mut hostile = Hostile { home, up, account: 0 };
    let attacks: &[fn(&mut Hostile)] = &[handshakes, noise, frames, tickets, packets];
    for attack in attacks {
        attack(&mut hostile);
        group.assert_progress();
    }
    let mut group = group.stop();
    group.round();
    wait_until("the attackers are gone", || hostile.up.metric("throng_chat_users") == 50);
}

fn handshakes(hostile: &mut Hostile) {
    // Bytes of which the third is no kind; then a header that promises far too much.
    hostile.check_raw(CloseReason::UnexpectedFrame, b"GET / HTTP/1.1\r\n\r\n");
    hostile.check_raw(CloseReason::FrameTooLong, &[0xff, 0xff, Kind::Handshake as u8]);
    hostile.check_raw(CloseReason::FrameTooLong, &frame::header(Kind::Handshake, HANDSHAKE_BODY_MAX + 1));
    hostile.check_raw(CloseReason::UnexpectedFrame, &frame::header(Kind::Sealed, 0));
    hostile.check_raw(CloseReason::HandshakeFailed, &frame::header(Kind::Handshake, 0));
    // Half a handshake, and silence; also no handshake at all.
    let (_, first) = Initiator::start(&Credentials::Client(hostile.chat().key)).unwrap();
    hostile.check_raw(CloseReason::HandshakeTimeout, &first[..first.len() / 2]);
    hostile.check_raw(CloseReason::HandshakeTimeout, b"");
    // A whole one, and silence.
    hostile.check(CloseReason::FirstPacketTimeout, |hostile| Client::connect(hostile.chat()).end());
    let mut version = first.clone();
    version[FRAME_HEADER] += 1;
    hostile.check_raw(CloseReason::VersionMismatch, &version);
    let mut flipped = first.clone();
    *flipped.last_mut().unwrap() ^= 1;
    hostile.check_raw(CloseReason::HandshakeFailed, &flipped);
    // For another server.
    let (_, other) = Initiator::start(&Credentials::Client(hostile.up.login().key)).unwrap();
    hostile.check_raw(CloseReason::HandshakeFailed, &other);
    // As a server of the cluster, at the door for clients.
    let (_, link) = Initiator::start(&Credentials::Link(hostile.home.cluster_key())).unwrap();
    hostile.check_raw(CloseReason::HandshakeFailed, &link);
}

/// Whatever a stranger sends, it gets an answer that is a reason, or times out.
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
    // What was used before the server's start, it cannot know.
    let old = hostile.home.mint(chat_key, 1, |ticket| ticket.issued_ms -= 3_600_000);
    hostile.check_ticket(CloseReason::TicketExpired, old);
    let elsewhere = hostile.home.mint(hostile.up.login().key, 1, |_| {});
    hostile.check_ticket(CloseReason::TicketInvalid, elsewhere);
    let mut forged = hostile.ticket().to_vec();
    forged[20] ^= 1;
    hostile.check_ticket(CloseReason::TicketInvalid, TicketBytes::new(forged).unwrap());
    hostile.check_ticket(CloseReason::TicketInvalid, TicketBytes::new(Vec::new()).unwrap());
    let other_cluster = Home::with_keys().mint(chat_key, 1, |_| {});
    hostile.check_ticket(CloseReason::TicketInvalid, other_cluster);
    // Of a login that nobody announced.
    let unannounced = hostile.home.mint(chat_key, 1, |ticket| ticket.claim = 1);
    hostile.check_ticket(CloseReason::TicketUsed, unannounced);
    // Of somebody who is in.
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
    hostile.check_entered(not_allowed, PongAnswer { token: 1, queued_us: 0, server_us: 0 });
    hostile.check_entered(not_allowed, ExitAnswer {});
    let ticket = hostile.ticket();
    hostile.check_entered(CloseReason::AlreadyRegistered, EnterRequest { ticket });
    hostile.check_entered(
        CloseReason::MalformedPacket,
        ChatRequest { scope: Scope::World, target: 0, stamp: 0, text: ChatText::default() },
    );
    // A frame whose seal is whole, around what is no packet.
    hostile.check(CloseReason::MalformedPacket, |hostile| {
        let mut user = hostile.enter();
        let frame = user.seal_bytes(&[0xff, 0xff]);
        user.raw.write(&frame);
        user.end()
    });
    // What follows in the same breath is not heard any more.
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
    // Whatever came of the first of the two, nobody is online by it.
    let mut granted = player.log_in_when_free(login);
    hostile.check(not_allowed, |_| {
        granted.login.send(player.request());
        granted.login.end()
    });
    player.enter(login);
}

#[test]
fn who_never_reads_is_closed_and_costs_nobody_else_anything() {
    let home = Home::new();
    let up = home.up(&["net.outbox=64KiB"]);
    let group = ChatGroup::enter(&home, up.chat(), 10).chat_in_background();
    let mut hostile = Hostile { home, up, account: 0 };
    // Answers that nobody takes, be they a content thread's or, at a door where nobody talks, the
    // session's own.
    let user = hostile.enter();
    flood(&hostile.up, user, &PingRequest { token: 1 }.into());
    let mut client = Client::connect(hostile.up.login());
    Player::named("deaf").log_in_over(&mut client).unwrap_err();
    flood(&hostile.up, client, &Heartbeat { token: 1 }.into());
    group.assert_progress();
    group.stop().round();
    wait_until("they are gone", || hostile.up.metric("throng_chat_users") == 0);
}

/// Sends a packet without end, and reads nothing, until the server has had enough.
fn flood(up: &Server, mut client: Client, packet: &Packet) {
    let before = up.closed_for("TooSlow");
    SockRef::from(&client.raw.socket).set_recv_buffer_size(4096).unwrap();
    // A thousand bursts are far more than the outbox and the buffers of both sockets hold.
    for _ in 0..1000 {
        let burst: Vec<u8> = (0..1000).flat_map(|_| client.seal(packet.clone())).collect();
        if client.raw.socket.write_all(&burst).is_err() || up.closed_for("TooSlow") > before {
            break;
        }
    }
    wait_until("it is closed", || up.closed_for("TooSlow") == before + 1);
}
