//! One example of every packet, with the bytes that docs/protocol.md gives for it.
//! docs/examples/python/vectors.py computed the bytes from the document, without this code.

use std::collections::BTreeSet;

use crate::wire::packets::{
    ChannelAnswer, ChannelCreateRequest, ChannelInfo, ChannelJoinRequest, ChannelKickAnswer,
    ChannelKickRequest, ChannelLeaveRequest, ChannelLeft, ChannelList, ChannelListRequest, Character,
    ChatCancelLogin, ChatGap, ChatMessage, ChatNode, ChatNodes, ChatNotifyLogin, ChatRefused, ChatRequest,
    Claim, Close, CreateCharacterAnswer, CreateCharacterRequest, DbCheckPassword, DbCheckPasswordAnswer,
    DbClaimAway, DbClaimRevoked, DbClaimsSynced, DbCreateCharacter, DbCreateCharacterAnswer, DbHeldClaims,
    DbLoadCharacter, DbLoadCharacterAnswer, DbReleaseClaim, DbSignUp, DbSignUpAnswer, DbVerifyAccount,
    DbVerifyAccountAnswer, EnterAnswer, EnterRequest, ExitAnswer, ExitRequest, Heartbeat, HeartbeatAnswer,
    HeldChannel, History, HistoryRequest, LinkHello, LoginGranted, LoginNotifyEntered, LoginNotifyLoaded,
    LoginNotifyRoom, LoginQueued, LoginRefused, LoginRequest, Origin, Outcome, Packet, PasswordText,
    PastMessage, PingRequest, PongAnswer, PositionUpdate, ResumeAnswer, ResumeRequest, Role, RoomKey,
    RoomResumed, Scope, ServerTimes, SignUpAnswer, SignUpRequest, TABLE, TooFast, User, UserList,
    UserListRequest, UsersChanged,
};
use crate::wire::{Body, Bytes, CloseReason, List, SecretBytes, Text, doc_vector};

const TOKEN: u64 = 0x0102_0304_0506_0708;
const CLAIM: Claim = Claim { account: 42, id: 7 };
/// A client at 192.0.2.1.
const ORIGIN: Origin =
    Origin { address: [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 192, 0, 2, 1], attempts: 3, wait_ms: 1500 };

fn text<const MAX: usize, const LINE: bool>(text: &str) -> Text<MAX, LINE> {
    Text::new(text).expect("an example fits its field")
}

fn password() -> PasswordText {
    PasswordText::new("honeycomb").expect("an example fits its field")
}

fn token_bytes<const MAX: usize>() -> Bytes<MAX> {
    Bytes::new([0xde, 0xad, 0xbe, 0xef]).expect("an example fits its field")
}

fn bee() -> User {
    User { id: 7, name: text("Bee") }
}

fn character() -> Character {
    Character { id: 43, name: text("Bee"), level: 5, experience: 1_234_567_890_123 }
}

/// Packets between a client and the login server, and those of every session.
fn login_packets() -> Vec<Packet> {
    vec![
        Close { reason: CloseReason::Goodbye, detail: text("bye") }.into(),
        Heartbeat { token: TOKEN }.into(),
        HeartbeatAnswer { token: TOKEN }.into(),
        LoginRequest { id: text("bee"), password: password() }.into(),
        LoginRefused { outcome: Outcome::BadCredentials }.into(),
        LoginGranted {
            chat_address: text("127.0.0.1:9200"),
            chat_key: [5; 32],
            name: text("스롱🐝"),
            ticket: token_bytes(),
            ticket_lifetime_ms: 30_000,
        }
        .into(),
        SignUpRequest { id: text("bee"), password: password() }.into(),
        SignUpAnswer { outcome: Outcome::IdTaken }.into(),
        CreateCharacterRequest { id: text("bee"), password: password(), name: text("Bee") }.into(),
        CreateCharacterAnswer { outcome: Outcome::Ok }.into(),
        LoginQueued { position: 250, wait_ms: 3_400 }.into(),
    ]
}

/// Packets between a client and the chat server, without those of channels.
fn chat_packets() -> Vec<Packet> {
    vec![
        EnterRequest { ticket: token_bytes() }.into(),
        EnterAnswer {
            user: bee(),
            head_count: 2,
            shard: 1,
            token: token_bytes(),
            resume_ms: 30_000,
            heartbeat_ms: 45_000,
        }
        .into(),
        UserListRequest { channel: 3, after: 128, pages: 4 }.into(),
        UserList {
            channel: 3,
            version: 412,
            head_count: 300,
            users: List::new(vec![User { id: 3, name: text("Ant") }, bee()]).expect("two fit"),
            more: true,
        }
        .into(),
        UsersChanged {
            channel: 0,
            since: 412,
            version: 415,
            head_count: 301,
            complete: true,
            entered: List::new(vec![bee()]).expect("one fits"),
            left: List::new(vec![3, 5]).expect("two fit"),
        }
        .into(),
        ChatRequest { scope: Scope::Channel, target: 3, stamp: TOKEN, text: text("hello 🐝") }.into(),
        ChatMessage {
            scope: Scope::Channel,
            target: 3,
            sequence: 1_000_000,
            sender: bee(),
            stamp: TOKEN,
            times: ServerTimes { received_us: 5_000_000, queued_us: 12, handled_us: 3 },
            text: text("hello 🐝"),
        }
        .into(),
        HistoryRequest { channel: 3, before: 1_000_000, count: 20 }.into(),
        History {
            channel: 3,
            messages: List::new(vec![PastMessage {
                sequence: 999_999,
                sender: bee(),
                stamp: TOKEN,
                received_us: 5_000_000,
                text: text("hello"),
            }])
            .expect("one fits"),
            more: true,
        }
        .into(),
        ResumeRequest {
            token: token_bytes(),
            answers: 3,
            whispers: 2,
            world: 1_000_000,
            list_version: 415,
            channels: List::new(vec![HeldChannel { channel: 3, sequence: 999_999 }]).expect("one fits"),
        }
        .into(),
        ResumeAnswer { handled: 17, answers_from: 4, token: token_bytes(), shard: 1 }.into(),
        RoomResumed { channel: 3, sequence: 1_000_000, version: 412, head_count: 300 }.into(),
        ChatNodes {
            nodes: List::new(vec![ChatNode { address: text("203.0.113.7:9200"), key: [5; 32] }])
                .expect("one fits"),
        }
        .into(),
        ExitRequest {}.into(),
        ExitAnswer {}.into(),
        PingRequest { token: TOKEN }.into(),
        PongAnswer { token: TOKEN, queued_us: 250, server_us: 5_000_000 }.into(),
        RoomKey {
            room: 3,
            key: 7,
            secret: SecretBytes::new([6; 32]),
            message: 1_000,
            notice: (1 << 63) + 20,
        }
        .into(),
        ChatRefused { stamp: TOKEN, outcome: Outcome::NoSuchUser }.into(),
        ChatGap { scope: Scope::World, channel: 0, missed: 250 }.into(),
        PositionUpdate { x: -100, y: 250 }.into(),
        TooFast { packet: ChatRequest::NUMBER, stamp: TOKEN, wait_ms: 1500 }.into(),
    ]
}

/// Packets between a client and the chat server that manage channels.
fn channel_packets() -> Vec<Packet> {
    vec![
        ChannelCreateRequest { name: text("bees") }.into(),
        ChannelJoinRequest { name: text("bees") }.into(),
        ChannelAnswer { outcome: Outcome::Ok, channel: 3, name: text("bees"), head_count: 2 }.into(),
        ChannelLeaveRequest { channel: 3 }.into(),
        ChannelLeft { channel: 3, outcome: Outcome::Ok }.into(),
        ChannelKickRequest { channel: 3, user: 7 }.into(),
        ChannelKickAnswer { channel: 3, user: 7, outcome: Outcome::NotTheOwner }.into(),
        ChannelListRequest { after: 2 }.into(),
        ChannelList {
            channels: List::new(vec![ChannelInfo { channel: 3, name: text("bees"), head_count: 2 }])
                .expect("one fits"),
            more: false,
        }
        .into(),
    ]
}

/// Packets of links between servers.
fn link_packets() -> Vec<Packet> {
    vec![
        LinkHello {
            role: Role::Chat,
            name: text("chat-1"),
            instance: TOKEN,
            client_address: text("127.0.0.1:9200"),
            client_key: [5; 32],
        }
        .into(),
        DbCheckPassword {
            request: 9,
            id: text("bee"),
            password: password(),
            take_over: true,
            origin: ORIGIN,
        }
        .into(),
        DbCheckPasswordAnswer { request: 9, outcome: Outcome::Ok, claim: CLAIM }.into(),
        DbLoadCharacter { request: 10, claim: CLAIM }.into(),
        DbLoadCharacterAnswer {
            request: 10,
            outcome: Outcome::Ok,
            claim: CLAIM,
            character: Some(character()),
        }
        .into(),
        DbSignUp { request: 11, id: text("bee"), password: password(), origin: ORIGIN }.into(),
        DbSignUpAnswer { request: 11, outcome: Outcome::PasswordTooLong }.into(),
        DbVerifyAccount { request: 12, id: text("bee"), password: password(), origin: ORIGIN }.into(),
        DbVerifyAccountAnswer { request: 12, outcome: Outcome::Ok, account: 42 }.into(),
        DbCreateCharacter { request: 13, account: 42, name: text("Bee") }.into(),
        DbCreateCharacterAnswer { request: 13, outcome: Outcome::CharacterExists }.into(),
        DbReleaseClaim { claim: CLAIM }.into(),
        DbHeldClaims {
            list: 1,
            claims: List::new(vec![CLAIM, Claim { account: 44, id: 8 }]).expect("two fit"),
            last: true,
        }
        .into(),
        DbClaimsSynced {}.into(),
        DbClaimRevoked { claim: CLAIM }.into(),
        DbClaimAway { claim: CLAIM, is_away: true }.into(),
        ChatNotifyLogin { request: 14, claim: CLAIM }.into(),
        LoginNotifyLoaded { request: 14, outcome: Outcome::NoCharacter, claim: CLAIM, character: None }
            .into(),
        ChatCancelLogin { claim: CLAIM }.into(),
        LoginNotifyEntered { claim: CLAIM }.into(),
        LoginNotifyRoom { free: 1500 }.into(),
    ]
}

#[test]
fn every_packet_has_the_bytes_of_the_document() {
    let mut seen = BTreeSet::new();
    for packet in [login_packets(), chat_packets(), channel_packets(), link_packets()].concat() {
        let wanted = doc_vector(&format!("packet {}", packet.name()));
        let mut bytes = Vec::new();
        packet.encode(&mut bytes);
        assert_eq!(hex::encode(&bytes), wanted, "{}", packet.name());
        seen.insert(packet.name());
        assert_eq!(Packet::decode(&bytes), Ok(packet));
    }
    let missing: Vec<_> =
        TABLE.iter().map(|packet| packet.name).filter(|name| !seen.contains(name)).collect();
    assert!(missing.is_empty(), "add an example here and in docs/protocol.md, chapter 12, of {missing:?}");
}
