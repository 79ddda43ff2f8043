//! The order of the effects around joining and leaving rooms, on which the shards rely.

use throng_core::wire::packets::{
    ChannelAnswer, ChannelCreateRequest, ChannelJoinRequest, ChannelKickAnswer, ChannelKickRequest,
    ChannelLeaveRequest, ChannelLeft, ChatMessage, ChatRefused, ExitAnswer, ExitRequest, ServerTimes,
    UserList,
};

use super::*;

const INTERVAL: Duration = Duration::from_millis(500);

/// Creates a chat server with users 1, 2 and so on, of accounts 1, 2 and so on.
fn chat(users: u64, at_once: usize) -> (RoleFixture<ChatRole>, Vec<SessionId>) {
    let settings = ChatSettings {
        take_over: true,
        notice_at_once: at_once,
        notice_interval: INTERVAL,
        resume_window: Duration::ZERO,
        ..ChatSettings::of(&Config::default())
    };
    let mut fixture = RoleFixture::new(PeerRole::Chat, &[], |links| {
        let admission = Admission::new(ClusterKey::from_bytes(KEY), CHAT_KEY, now_ms());
        ChatRole::new(settings, admission, resume_tokens(1), links, now_ms)
    });
    let mut sessions = Vec::new();
    for account in 1..=users {
        let session = fixture.open_client();
        fixture.deliver(session, ticket(account, 0, &format!("user {account}")));
        sessions.push(session);
    }
    (fixture, sessions)
}

fn user(id: u32) -> User {
    User { id, name: Text::truncated(&format!("user {id}")) }
}

fn list(channel: u32, version: u64, users: &[u32]) -> UserList {
    let head_count = users.len() as u32;
    let users = List::new(users.iter().copied().map(user).collect()).unwrap();
    UserList { channel, version, head_count, users, more: false }
}

fn notice(channel: u32, version: u64, head_count: u32, entered: &[u32], left: &[u32]) -> String {
    let entered = List::new(entered.iter().copied().map(user).collect()).unwrap();
    let left = List::new(left.to_vec()).unwrap();
    let since = version - 1;
    let notice = UsersChanged { channel, since, version, head_count, complete: true, entered, left };
    format!("room {channel} <- {:?}", Packet::from(notice))
}

fn answer(outcome: Outcome, channel: u32, name: &str, head_count: u32) -> ChannelAnswer {
    ChannelAnswer { outcome, channel, name: Text::truncated(name), head_count }
}

#[test]
fn the_list_precedes_the_first_message_and_nothing_follows_a_departure() {
    let (mut fixture, users) = chat(3, 64);
    let [first, second, third] = users[..] else { panic!("not three users") };
    let create = ChannelCreateRequest { name: Text::truncated("Club") };
    assert_eq!(
        fixture.deliver(first, create),
        [
            sent(first, answer(Outcome::Ok, 1, "Club", 1)),
            sent(first, list(1, 1, &[1])),
            format!("{first} joins 1"),
        ]
    );
    let join = ChannelJoinRequest { name: Text::truncated("cLUB") };
    let answers = [sent(second, answer(Outcome::Ok, 1, "Club", 2)), sent(second, list(1, 2, &[1, 2]))];
    assert_eq!(
        fixture.deliver(second, join.clone()),
        [&[notice(1, 2, 2, &[2], &[])], &answers[..], &[format!("{second} joins 1")]].concat()
    );
    assert_eq!(
        fixture.deliver(second, join.clone()),
        answers,
        "a member that joins again gets the same answer"
    );
    fixture.deliver(third, join.clone());

    let kick = ChannelKickRequest { channel: 1, user: 2 };
    let kicked = |outcome| ChannelKickAnswer { channel: 1, user: 2, outcome };
    assert_eq!(fixture.deliver(third, kick.clone()), [sent(third, kicked(Outcome::NotTheOwner))]);
    assert_eq!(
        fixture.deliver(first, kick.clone()),
        [
            format!("{second} is expelled from 1"),
            notice(1, 4, 2, &[], &[2]),
            sent(second, ChannelLeft { channel: 1, outcome: Outcome::Kicked }),
            sent(first, kicked(Outcome::Ok)),
        ]
    );
    assert_eq!(fixture.deliver(first, kick), [sent(first, kicked(Outcome::NotAMember))]);
    assert_eq!(
        fixture.deliver(first, ChannelLeaveRequest { channel: 1 }),
        [
            format!("{first} leaves 1"),
            notice(1, 5, 1, &[], &[1]),
            sent(first, ChannelLeft { channel: 1, outcome: Outcome::Ok }),
        ]
    );
    // The last member leaves, which ends the channel.
    assert_eq!(
        fixture.deliver(third, ExitRequest {}),
        [
            format!("{third} leaves 1"),
            format!("{third} leaves 0"),
            notice(0, 4, 2, &[], &[3]),
            sent(third, ExitAnswer {}),
            format!("{third} closed: Goodbye"),
        ]
    );
    let refused = answer(Outcome::NoSuchChannel, 0, "cLUB", 0);
    assert_eq!(fixture.deliver(first, join), [sent(first, refused)]);
}

#[test]
fn a_login_elsewhere_kicks_the_session_from_every_room() {
    let (mut fixture, users) = chat(2, 64);
    fixture.deliver(users[0], ChannelCreateRequest { name: Text::truncated("club") });
    let again = fixture.open_client();
    let lines = fixture.deliver(again, ticket(1, 0, "user 1"));
    assert_eq!(
        lines[..4],
        [
            format!("{} is expelled from 1", users[0]),
            format!("{} is expelled from 0", users[0]),
            format!("{} closed: LoggedInElsewhere", users[0]),
            notice(0, 3, 1, &[], &[1]),
        ]
    );
    assert_eq!(lines.last(), Some(&format!("{again} joins 0")));
}

#[test]
fn a_large_room_announces_newcomers_once_an_interval() {
    let (mut fixture, users) = chat(3, 2);
    let newcomer = fixture.open_client();
    let lines = fixture.deliver(newcomer, ticket(4, 0, "user 4"));
    assert_eq!(
        lines,
        [
            sent(newcomer, enter_answer(user(4), 4)),
            sent(newcomer, list(0, 4, &[1, 2, 3, 4])),
            format!("{newcomer} joins 0"),
        ]
    );
    let both = UsersChanged {
        channel: 0,
        since: 2,
        version: 4,
        head_count: 4,
        complete: true,
        entered: List::new(vec![user(3), user(4)]).unwrap(),
        left: List::default(),
    };
    assert_eq!(fixture.advance(INTERVAL), [format!("room 0 <- {:?}", Packet::from(both))]);
    assert!(fixture.advance(INTERVAL).is_empty() && users.len() == 3);
}

#[test]
fn a_message_goes_to_its_scope_and_a_meaningless_target_closes_the_session() {
    let (mut fixture, users) = chat(2, 64);
    let request = |scope, target| {
        let text = Text::truncated("hi");
        ChatRequest { scope, target, stamp: 7, text }
    };
    let refused = |outcome| sent(users[0], ChatRefused { stamp: 7, outcome });
    assert_eq!(fixture.deliver(users[0], request(Scope::Channel, 1)), [refused(Outcome::NotAMember)]);
    assert_eq!(fixture.deliver(users[0], request(Scope::Nearby, 0)), [refused(Outcome::NoPosition)]);
    assert_eq!(fixture.deliver(users[0], request(Scope::Whisper, 3)), [refused(Outcome::NoSuchUser)]);
    let said = |scope, target, sequence, received_us| {
        let times = ServerTimes { received_us, queued_us: 0, handled_us: 0 };
        let text = Text::truncated("hi");
        Packet::from(ChatMessage { scope, target, sequence, sender: user(1), stamp: 7, times, text })
    };
    let at = throng_core::clock::monotonic_us(fixture.now());
    let lines = fixture.deliver(users[0], request(Scope::Whisper, 2));
    let copies = users.iter().map(|user| format!("{user} <- {:?}", said(Scope::Whisper, 2, 1, at)));
    assert_eq!(lines, copies.collect::<Vec<_>>());
    let lines = fixture.deliver(users[0], request(Scope::World, 0));
    assert_eq!(lines, [format!("room 0 <- {:?}", said(Scope::World, 0, 1, at))]);
    let lines = fixture.deliver(users[0], request(Scope::World, 1));
    assert_eq!(lines.last(), Some(&format!("{} closed: MalformedPacket", users[0])));
    let lines = fixture.deliver(users[1], request(Scope::Nearby, 1));
    assert_eq!(lines.last(), Some(&format!("{} closed: MalformedPacket", users[1])));
}
