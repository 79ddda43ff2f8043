//! Players' clients (`throng-client`) with real servers.

use std::time::{Duration, Instant};

use throng_client::{
    Audience, Client, CloseReason, Driver, Event, LoginStep, Message, Outcome, Settings, Stamp,
};

use throng_harness_report::Verdict;

use crate::resume::run_crowd;
use crate::support::{Home, Nats, PATIENCE, Proxy, Server, ServerAddr, spare_port, wait_until};

const PASSWORD: &str = "a long password";

/// A client with its events.
struct Member {
    driver: Driver,
    id: String,
    password: &'static str,
    /// Events that no test has waited for yet.
    events: Vec<Event>,
}

impl Member {
    fn of(login: ServerAddr, id: &str) -> Self {
        let driver = Driver::start(Settings::new(login.address.to_string(), login.key)).unwrap();
        Self { driver, id: id.into(), password: PASSWORD, events: Vec::new() }
    }

    /// Returns a new player that is in the chat.
    fn enter(login: ServerAddr, id: &str) -> Self {
        let mut member = Self::of(login, id);
        member.driver.command(|client, now| client.sign_up(id, PASSWORD, now)).unwrap();
        member.wait_for("SignedUp", |event| matches!(event, Event::SignedUp));
        member.driver.command(|client, now| client.create_character(id, PASSWORD, id, now)).unwrap();
        member.wait_for("CharacterCreated", |event| matches!(event, Event::CharacterCreated));
        member.log_in();
        member
    }

    fn log_in(&mut self) {
        let (id, password) = (self.id.clone(), self.password);
        self.driver.command(|client, now| client.log_in(&id, password, now)).unwrap();
        self.entered();
    }

    fn entered(&mut self) {
        self.wait_for("Entered", |event| matches!(event, Event::Entered { .. }));
        self.wait_for("Listed", |event| matches!(event, Event::Listed { room: 0 }));
    }

    /// Waits for an event, and takes it out.
    #[track_caller]
    fn wait_for(&mut self, what: &str, is_it: impl Fn(&Event) -> bool) -> Event {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(at) = self.events.iter().position(&is_it) {
                return self.events.remove(at);
            }
            assert!(Instant::now() < deadline, "{} waits for {what}, after {:?}", self.id, self.events);
            self.events.extend(self.driver.wait_event(Duration::from_millis(100)));
        }
    }

    #[track_caller]
    fn joined(&mut self, name: &str) -> u32 {
        let is_it = |event: &Event| matches!(event, Event::Joined { name: found, .. } if **found == *name);
        let Event::Joined { channel, .. } = self.wait_for("Joined", is_it) else { unreachable!() };
        channel
    }

    fn say(&self, to: Audience, text: &str) -> Stamp {
        self.driver.command(|client, now| client.say(to, text, now)).unwrap()
    }

    /// Waits for a text, and returns its message.
    #[track_caller]
    fn hear(&mut self, text: &str) -> Message {
        let is_it = |event: &Event| matches!(event, Event::Message(message) if *message.text == *text);
        let Event::Message(message) = self.wait_for(text, is_it) else { unreachable!() };
        message
    }

    /// Takes the texts of all messages so far, in order.
    fn texts(&mut self) -> Vec<String> {
        let is_message = |event: &&Event| matches!(event, Event::Message(_));
        let texts = self.events.iter().filter(is_message).map(|event| match event {
            Event::Message(message) => message.text.to_string(),
            _ => unreachable!(),
        });
        let texts = texts.collect();
        self.events.retain(|event| !matches!(event, Event::Message(_)));
        texts
    }

    fn user(&self) -> u32 {
        self.driver.command(|client, _| client.user().expect("it is in the chat").id)
    }
}

/// Servers whose chat is reached through a proxy.
fn up_behind_a_proxy(home: &Home, settings: &[&str]) -> (Server, Proxy) {
    let port = spare_port();
    let proxy = Proxy::to(port);
    let listen = format!("chat.listen=127.0.0.1:{port}");
    let public = format!("chat.public_address=127.0.0.1:{}", proxy.port);
    (home.up(&[&[&*listen, &*public], settings].concat()), proxy)
}

#[test]
fn players_sign_up_talk_join_and_whisper() {
    let home = Home::new();
    let server = home.up(&[]);
    let [mut bee, mut ant] = ["Bee", "Ant"].map(|id| Member::enter(server.login(), id));
    bee.wait_for(
        "UserEntered",
        |event| matches!(event, Event::UserEntered { room: 0, user } if *user.name == *"Ant"),
    );

    let stamp = bee.say(Audience::World, "hello");
    assert_eq!(bee.hear("hello").own, Some(stamp));
    let heard = ant.hear("hello");
    assert_eq!((heard.own, heard.audience, &*heard.sender.name), (None, Audience::World, "Bee"));

    bee.driver.command(|client, now| client.create_channel("hive", now)).unwrap();
    let channel = bee.joined("hive");
    ant.driver.command(|client, now| client.join_channel("hive", now)).unwrap();
    assert_eq!(ant.joined("hive"), channel);
    ant.wait_for("Listed", |event| matches!(event, Event::Listed { room } if *room == channel));
    let names = ant.driver.command(|client, _| {
        let roster = client.roster(channel).expect("it is in the channel");
        roster.iter().map(|(_, name)| name.to_string()).collect::<Vec<_>>()
    });
    assert_eq!(names, ["Bee", "Ant"]);
    ant.say(Audience::Channel(channel), "in the hive");
    assert_eq!(bee.hear("in the hive").audience, Audience::Channel(channel));

    let user = bee.user();
    ant.say(Audience::Whisper(user), "only you");
    assert_eq!((bee.hear("only you").audience, ant.hear("only you").sequence), (Audience::Whisper(user), 1));

    let stamp = ant.say(Audience::Whisper(999), "no one");
    let refused = ant.wait_for("MessageRefused", |event| matches!(event, Event::MessageRefused { .. }));
    let (outcome, wait) = (Some(Outcome::NoSuchUser), Duration::ZERO);
    assert_eq!(refused, Event::MessageRefused { stamp, outcome, wait });

    ant.driver.command(Client::ping).unwrap();
    ant.wait_for("Pong", |event| matches!(event, Event::Pong { round_trip } if *round_trip < PATIENCE));
    drop(ant);
    bee.wait_for(
        "UserLeft",
        |event| matches!(event, Event::UserLeft { room: 0, user } if *user.name == *"Ant"),
    );
}

#[test]
fn a_player_whose_connection_is_cut_misses_nothing_and_loses_no_word() {
    let home = Home::new();
    let (server, proxy) = up_behind_a_proxy(&home, &[]);
    let [mut bee, mut ant] = ["Bee", "Ant"].map(|id| Member::enter(server.login(), id));
    bee.driver.command(|client, now| client.create_channel("hive", now)).unwrap();
    let hive = Audience::Channel(bee.joined("hive"));
    ant.driver.command(|client, now| client.join_channel("hive", now)).unwrap();
    ant.joined("hive");
    let mut wanted = Vec::new();
    for round in 0..20 {
        // Messages of both, before and after the cut, some of which are on their way at the cut.
        for number in 0..3 {
            let text = format!("{round}-{number}");
            ant.say(hive, &text);
            wanted.push(text);
        }
        if round % 2 == 0 {
            proxy.cut();
        } else {
            proxy.stop();
            proxy.cut();
        }
        let text = format!("{round}-last");
        ant.say(hive, &text);
        wanted.push(text);
        proxy.resume();
    }
    for member in [&mut bee, &mut ant] {
        let mut heard = Vec::new();
        while heard.len() < wanted.len() {
            member.events.extend(member.driver.wait_event(PATIENCE));
            heard.extend(member.texts());
        }
        assert_eq!(heard, wanted);
        let is_wrong = |event: &&Event| {
            matches!(
                event,
                Event::Missed { .. }
                    | Event::UserLeft { .. }
                    | Event::Left { .. }
                    | Event::UserEntered { .. }
            )
        };
        // Bee was there when Ant came.
        let wrong: Vec<_> = member.events.iter().filter(is_wrong).collect();
        assert!(wrong.len() <= 2, "{wrong:?}");
        assert!(!wrong.iter().any(|event| !matches!(event, Event::UserEntered { .. })), "{wrong:?}");
        member.wait_for("Resumed", |event| matches!(event, Event::Resumed { .. }));
    }
}

#[test]
fn a_player_whose_place_is_lost_logs_in_again() {
    let home = Home::new();
    let (server, proxy) = up_behind_a_proxy(&home, &["chat.resume_window=0s"]);
    let mut bee = Member::enter(server.login(), "Bee");
    proxy.cut();
    let left = bee.wait_for("Left", |event| matches!(event, Event::Left { .. }));
    assert!(matches!(left, Event::Left { returns: true, .. }), "{left:?}");
    bee.entered();
    bee.say(Audience::World, "here I am");
    bee.hear("here I am");

    bee.driver.command(Client::log_out);
    let left = bee.wait_for("Left", |event| matches!(event, Event::Left { .. }));
    assert_eq!(left, Event::Left { reason: CloseReason::Goodbye, returns: false });
    bee.log_in();
}

#[test]
fn another_login_of_the_account_ends_the_first_for_good() {
    let home = Home::new();
    let server = home.up(&["login.duplicate=kick"]);
    let mut first = Member::enter(server.login(), "Bee");
    let mut second = Member::of(server.login(), "Bee");
    second.log_in();
    let left = first.wait_for("Left", |event| matches!(event, Event::Left { .. }));
    assert_eq!(left, Event::Left { reason: CloseReason::LoggedInElsewhere, returns: false });
    second.say(Audience::World, "mine");
    second.hear("mine");
}

#[test]
fn refusals_and_unreachable_servers_are_told() {
    let home = Home::new();
    let server = home.up(&[]);
    let mut bee = Member::of(server.login(), "Bee");
    bee.driver.command(|client, now| client.log_in("Bee", PASSWORD, now)).unwrap();
    let refused = bee.wait_for("Refused", |event| matches!(event, Event::Refused { .. }));
    assert_eq!(refused, Event::Refused { step: LoginStep::LogIn, outcome: Outcome::BadCredentials });

    let wrong = ServerAddr { key: server.chat().key, ..server.login() };
    let closed = ServerAddr { address: ([127, 0, 0, 1], spare_port()).into(), ..wrong };
    for (login, wanted) in [(wrong, CloseReason::HandshakeFailed), (closed, CloseReason::ConnectFailed)] {
        let mut ant = Member::of(login, "Ant");
        ant.driver.command(|client, now| client.log_in("Ant", PASSWORD, now)).unwrap();
        let found = ant.wait_for("Unreachable", |event| matches!(event, Event::Unreachable { .. }));
        assert_eq!(found, Event::Unreachable { reason: wanted });
    }
}

/// Returns a number of the environment, for `scripts/measure/client`.
fn number(name: &str, default: u32) -> u32 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name} is no number")))
}

/// Library clients, all in this process, beside a crowd of the load harness in one room. All of
/// the former are cut at once, again and again, and a fifth of the latter each second.
/// `THRONG_CLIENTS`, `THRONG_CROWD` and `THRONG_SECONDS` change the size.
#[test]
fn many_clients_beside_a_crowd_miss_nothing_when_all_are_cut() {
    let (clients, crowd) = (number("THRONG_CLIENTS", 50), number("THRONG_CROWD", 100));
    let seconds = number("THRONG_SECONDS", 4);
    let home = Home::new();
    let cheap = ["dbagent.argon2_memory=8KiB", "dbagent.argon2_iterations=1"];
    let (server, proxy) = up_behind_a_proxy(&home, &cheap);
    let seeded = home.run(&format!("db seed --count {clients}"), &cheap);
    assert_eq!(seeded.0, Some(0), "{}", seeded.1);
    let mut members: Vec<Member> = (1..=clients)
        .map(|number| Member {
            password: "seed-password",
            ..Member::of(server.login(), &format!("seed-{number:06}"))
        })
        .collect();
    for member in &mut members {
        member.log_in();
    }
    let mut cuts = 0;
    std::thread::scope(|scope| {
        let crowd = scope.spawn(|| run_crowd(&home, crowd, &format!("--duration {seconds}s --cut 20%/s")));
        let mut heard = 0;
        while !crowd.is_finished() {
            let event = members[0].driver.wait_event(Duration::from_millis(50));
            heard += usize::from(matches!(event, Some(Event::Message(_))));
            members[0].events.extend(event);
            if heard >= (cuts + 1) * 100 {
                proxy.cut();
                cuts += 1;
            }
        }
        let report = crowd.join().unwrap();
        assert_eq!(report.verdict, Verdict::Pass, "{report}");
    });
    assert!(cuts >= 3, "{cuts} cuts");

    members[0].say(Audience::World, "the end");
    let (mut heard, mut resumed) = (0, 0);
    for member in &mut members {
        member.hear("the end");
        let is_wrong = |event: &&Event| matches!(event, Event::Missed { .. } | Event::Left { .. });
        assert_eq!(member.events.iter().find(is_wrong), None, "{}", member.id);
        let sequences = member.events.iter().filter_map(|event| match event {
            Event::Message(message) => Some(message.sequence),
            _ => None,
        });
        let sequences: Vec<u64> = sequences.collect();
        assert!(sequences.len() >= 100 && sequences.windows(2).all(|pair| pair[1] == pair[0] + 1));
        heard += sequences.len();
        resumed += member.events.iter().filter(|event| matches!(event, Event::Resumed { .. })).count();
        wait_until("the list is exact", || {
            member.driver.command(|client, _| {
                let list = client.roster(0).expect("it is in the chat");
                list.is_complete() && list.len() == clients as usize
            })
        });
    }
    println!(
        "{clients} clients and {crowd} of the harness in one room: {cuts} cuts of all, {resumed} resumed; \
         {heard} messages, each once and in order; lists exact"
    );
}

/// A login server, a DB agent, and two chat servers of a fleet.
struct Fleet {
    _dbagent: Server,
    login: Server,
    nodes: [Option<Server>; 2],
    _nats: Nats,
    homes: [Home; 2],
}

impl Fleet {
    fn start() -> Self {
        let nats = Nats::start();
        let homes = [Home::with_keys(), Home::with_keys()];
        std::fs::copy(homes[0].path().join("cluster.key"), homes[1].path().join("cluster.key")).unwrap();
        let [agent, first, second] = [(); 3].map(|()| spare_port());
        let links = [first, second];
        let dbagent = homes[0].start("dbagent", &[format!("dbagent.listen=127.0.0.1:{agent}")]);
        let nodes = [0, 1].map(|at| {
            let settings = [
                format!("fleet.nats=127.0.0.1:{}", nats.port),
                "fleet.dead_after=3s".to_owned(),
                format!("chat.name=chat-{at}"),
                format!("chat.dbagent=127.0.0.1:{agent}"),
                format!("chat.link_listen=127.0.0.1:{}", links[at]),
            ];
            Some(homes[at].start("chat", &settings))
        });
        let settings = [
            format!("login.dbagent=127.0.0.1:{agent}"),
            format!("login.chat=127.0.0.1:{first},127.0.0.1:{second}"),
        ];
        let login = homes[0].start("login", &settings);
        wait_until("the servers are linked", || login.links_up() == 3);
        let fleet = Self { _dbagent: dbagent, login, nodes, _nats: nats, homes };
        wait_until("both nodes take part", || {
            let sees = |node: &Server| node.metric("throng_fleet_nodes") == 2;
            fleet.nodes.iter().flatten().all(|node| sees(node) && node.links_up() == 2)
        });
        fleet
    }

    fn users(&self, node: usize) -> u64 {
        self.nodes[node].as_ref().map_or(0, |node| node.metric("throng_net_sessions"))
    }
}

#[test]
fn players_of_a_fleet_are_spread_and_go_on_at_another_node_when_theirs_dies() {
    let mut fleet = Fleet::start();
    let mut players = ["Bee", "Ant", "Cat", "Dog"].map(|id| Member::enter(fleet.login.login(), id));
    let users = [fleet.users(0), fleet.users(1)];
    assert_eq!(users[0], users[1], "a login goes to the node with the most room");
    players[0].say(Audience::World, "one world");
    for player in &mut players {
        player.hear("one world");
    }
    assert_eq!(fleet.homes[0].online(), 4);

    fleet.nodes[1].take().unwrap().kill();
    players[3].say(Audience::World, "still one");
    for player in &mut players {
        player.hear("still one");
    }
    let is_resumed = |event: &Event| matches!(event, Event::Resumed { .. });
    let resumed = players.iter().filter(|player| player.events.iter().any(is_resumed));
    assert_eq!(resumed.count(), 2, "the others stay where they are");
    // The claims have followed: all are online, and no second login gets in beside one.
    wait_until("the claims follow", || fleet.homes[0].online() == 4 && fleet.homes[0].away() == 0);
    let mut twice = Member::of(fleet.login.login(), "Ant");
    twice.driver.command(|client, now| client.log_in("Ant", PASSWORD, now)).unwrap();
    let refused = |event: &Event| matches!(event, Event::Refused { outcome: Outcome::AlreadyOnline, .. });
    twice.wait_for("a refusal", refused);
}
