//! Tests of channels, whispers and nearby messages on a real server, with room keys from the third
//! member.

use throng_core::wire::Text;
use throng_core::wire::packets::{
    ChannelAnswer, ChannelCreateRequest, ChannelJoinRequest, ChannelKickAnswer, ChannelKickRequest,
    ChannelLeaveRequest, ChannelLeft, ChannelList, ChannelListRequest, ChatMessage, ChatRefused, ChatRequest,
    ChatText, EnterAnswer, Outcome, PingRequest, PongAnswer, PositionUpdate, Scope, UserList,
    UserListRequest,
};

use crate::support::{Client, Home, Server, wait_until};

struct RoomTest {
    home: Home,
    up: Server,
    accounts: u64,
}

impl RoomTest {
    fn new() -> Self {
        let home = Home::new();
        let up = home.up(&["content.log_from=3", "chat.channels_per_user=2", "chat.resume_window=0s"]);
        Self { home, up, accounts: 0 }
    }

    fn enter(&mut self) -> (Client, u32) {
        self.accounts += 1;
        let chat = self.up.chat();
        let (client, entered, _): (_, EnterAnswer, UserList) =
            Client::enter(chat, self.home.mint(chat.key, self.accounts, |_| {}));
        (client, entered.user.id)
    }
}

fn say(client: &mut Client, scope: Scope, target: u32, text: &str) {
    client.send(ChatRequest { scope, target, stamp: 7, text: ChatText::new(text).unwrap() });
}

/// Returns the scope, target, sequence and text of the next message.
fn receive_message(client: &mut Client) -> (Scope, u32, u64, String) {
    let message: ChatMessage = client.skip_to();
    (message.scope, message.target, message.sequence, message.text.to_string())
}

/// Asserts that no earlier message reaches the client before the answer to a new request.
fn assert_no_message(client: &mut Client) {
    client.send(PingRequest { token: 99 });
    loop {
        let packet = client.receive().expect("the session is open");
        match PongAnswer::try_from(packet) {
            Ok(_) => return,
            Err(packet) => assert!(ChatMessage::try_from(packet).is_err(), "a message arrived"),
        }
    }
}

fn join(client: &mut Client, name: &str) -> ChannelAnswer {
    client.send(ChannelJoinRequest { name: Text::truncated(name) });
    client.skip_to()
}

#[test]
fn a_channel_reaches_its_members_and_no_other_client() {
    let mut test = RoomTest::new();
    let mut members: Vec<_> = (0..4).map(|_| test.enter().0).collect();
    let (mut outsider, _) = test.enter();
    members[0].send(ChannelCreateRequest { name: Text::truncated("Bees") });
    let made: ChannelAnswer = members[0].skip_to();
    assert_eq!((made.outcome, made.head_count), (Outcome::Ok, 1));
    // One and two members receive copies; three and four share the room's key.
    for joined in 1..=4 {
        if joined > 1 {
            let answer = join(&mut members[joined - 1], "bees");
            assert_eq!((answer.outcome, answer.channel), (Outcome::Ok, made.channel));
            assert_eq!((&*answer.name, answer.head_count), ("Bees", joined as u32));
        }
        let text = format!("with {joined}");
        say(&mut members[0], Scope::Channel, made.channel, &text);
        for member in &mut members[..joined] {
            assert_eq!(receive_message(member), (Scope::Channel, made.channel, joined as u64, text.clone()));
        }
    }
    say(&mut outsider, Scope::Channel, made.channel, "let me in");
    let refused: ChatRefused = outsider.skip_to();
    assert_eq!((refused.stamp, refused.outcome), (7, Outcome::NotAMember));
    let page: UserList = {
        members[3].send(UserListRequest { channel: made.channel, after: 0, pages: 1 });
        loop {
            let page: UserList = members[3].skip_to();
            if page.channel == made.channel && page.head_count == 4 {
                break page;
            }
        }
    };
    assert_eq!(page.users.len(), 4);
    assert_no_message(&mut outsider);
    outsider.send(ChannelListRequest { after: 0 });
    let list: ChannelList = outsider.skip_to();
    assert_eq!((list.channels.len(), &*list.channels[0].name, list.channels[0].head_count), (1, "Bees", 4));
}

#[test]
fn a_member_that_left_or_was_kicked_receives_nothing_and_may_join_again() {
    let mut test = RoomTest::new();
    let (mut members, ids): (Vec<_>, Vec<_>) = (0..4).map(|_| test.enter()).unzip();
    members[0].send(ChannelCreateRequest { name: Text::truncated("hive") });
    let channel = members[0].skip_to::<ChannelAnswer>().channel;
    for member in &mut members[1..] {
        join(member, "hive");
    }
    say(&mut members[0], Scope::Channel, channel, "one");
    say(&mut members[0], Scope::Channel, channel, "two");
    members[3].send(ChannelLeaveRequest { channel });
    let (_, _, sequence, _) = receive_message(&mut members[3]);
    assert_eq!(sequence, 1);
    let kicked = ids[2];
    members[1].send(ChannelKickRequest { channel, user: kicked });
    let answer: ChannelKickAnswer = members[1].skip_to();
    assert_eq!(answer.outcome, Outcome::NotTheOwner);
    members[0].send(ChannelKickRequest { channel, user: kicked });
    let answer: ChannelKickAnswer = members[0].skip_to();
    assert_eq!(answer.outcome, Outcome::Ok);
    say(&mut members[0], Scope::Channel, channel, "without them");
    for (member, wanted) in [(3, Outcome::Ok), (2, Outcome::Kicked)] {
        let left: ChannelLeft = members[member].skip_to();
        assert_eq!((left.channel, left.outcome), (channel, wanted));
        assert_no_message(&mut members[member]);
    }
    for member in [3, 2] {
        assert_eq!(join(&mut members[member], "hive").outcome, Outcome::Ok);
    }
    say(&mut members[2], Scope::Channel, channel, "again");
    for member in &mut members {
        let last = loop {
            let (scope, target, sequence, text) = receive_message(member);
            if sequence == 4 {
                break (scope, target, text);
            }
        };
        assert_eq!(last, (Scope::Channel, channel, "again".into()));
    }
}

#[test]
fn whispers_and_nearby_messages_reach_their_recipients_only() {
    let mut test = RoomTest::new();
    let (mut bee, bee_id) = test.enter();
    let (mut fox, fox_id) = test.enter();
    let (mut owl, _) = test.enter();
    say(&mut bee, Scope::Whisper, fox_id, "psst");
    for client in [&mut bee, &mut fox] {
        assert_eq!(receive_message(client), (Scope::Whisper, fox_id, 1, "psst".into()));
    }
    say(&mut bee, Scope::Whisper, 4_000_000, "hello?");
    assert_eq!(bee.skip_to::<ChatRefused>().outcome, Outcome::NoSuchUser);
    say(&mut bee, Scope::Nearby, 0, "here");
    assert_eq!(bee.skip_to::<ChatRefused>().outcome, Outcome::NoPosition);
    for (client, x) in [(&mut bee, -1), (&mut fox, 150), (&mut owl, 350)] {
        client.send(PositionUpdate { x, y: 0 });
        client.send(PingRequest { token: 1 });
        client.skip_to::<PongAnswer>();
    }
    // The bee is in sector -1, the fox in sector 1, the owl in sector 3.
    say(&mut bee, Scope::Nearby, 0, "too far");
    assert_eq!(receive_message(&mut bee), (Scope::Nearby, 0, 0, "too far".into()));
    assert_no_message(&mut fox);
    bee.send(PositionUpdate { x: 99, y: 99 });
    say(&mut bee, Scope::Nearby, 0, "near enough");
    for client in [&mut bee, &mut fox] {
        assert_eq!(receive_message(client), (Scope::Nearby, 0, 0, "near enough".into()));
    }
    assert_no_message(&mut owl);
    say(&mut owl, Scope::Whisper, bee_id, "hoo");
    assert_eq!(receive_message(&mut bee), (Scope::Whisper, bee_id, 2, "hoo".into()));
}

#[test]
fn limits_and_names_of_channels_are_enforced() {
    let mut test = RoomTest::new();
    let (mut bee, _) = test.enter();
    let (mut fox, _) = test.enter();
    let make = |client: &mut Client, name: &str| {
        client.send(ChannelCreateRequest { name: Text::truncated(name) });
        client.skip_to::<ChannelAnswer>().outcome
    };
    assert_eq!(make(&mut bee, "x"), Outcome::NameInvalid);
    assert_eq!(make(&mut bee, &"x".repeat(40)), Outcome::NameTooLong);
    assert_eq!(make(&mut bee, "one"), Outcome::Ok);
    assert_eq!(make(&mut fox, "ONE"), Outcome::NameTaken);
    assert_eq!(make(&mut bee, "two"), Outcome::Ok);
    assert_eq!(make(&mut bee, "three"), Outcome::TooManyChannels);
    assert_eq!(join(&mut fox, "nowhere").outcome, Outcome::NoSuchChannel);
    // A channel ends with its last member, and its name is free.
    bee.vanish();
    wait_until("the name is free", || match make(&mut fox, "one") {
        Outcome::Ok => true,
        Outcome::NameTaken => false,
        other => panic!("{other:?}"),
    });
}
