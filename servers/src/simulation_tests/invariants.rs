//! The invariants that every run of the simulation must keep.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::Hasher as _;
use std::time::{Duration, Instant};

use throng_core::limits::{LOGIN_WINDOW_MAX, PENDING_REQUESTS_MAX, USED_TICKETS_MAX};
use throng_core::room::RoomId;
use throng_core::wire::{CloseReason, Packet};

use super::faults::Counts;
use super::lines::Line;
use super::members::{PLAYERS, PROBE};
use super::threads::{CONTROL_LANES, CONTROL_QUEUE, QUEUE};
use super::world::{CHAT, Event, Group, World};

/// Rounds of faults, each followed by a time without any.
const ROUNDS: usize = 2;
/// Most steps of a round.
const STEPS: usize = 300;
/// Time after the last fault within which the online state is right again: leases of servers and
/// agents that have died end, links come up, and lists are compared.
const SETTLED: Duration = Duration::from_secs(3);
/// Time after the last fault within which a login succeeds, if only the database was at fault.
const LOGIN_AFTER_DATABASE: Duration = Duration::from_secs(2);
/// The same after any fault: a link may be about to be dialed after the longest pause.
const LOGIN_AFTER_ANY: Duration = Duration::from_secs(3);
const SHORT: Duration = Duration::from_millis(50);
/// Time within which the others are told that a player has left.
const NOTICED: Duration = Duration::from_millis(250);

/// Results of a run.
pub(super) struct Outcome {
    pub(super) counts: Counts,
    /// Hash of everything that has happened.
    pub(super) digest: u64,
    /// Time after which logins succeeded.
    pub(super) login: Duration,
}

/// Runs the simulation of a seed.
pub(super) fn run(seed: u64, trace: bool) -> Outcome {
    let mut world = World::new(seed);
    world.trace = trace;
    world.server.trace = trace;
    if trace {
        let plan = &world.plan;
        eprintln!("take over: {}, lifetime: {:?}, {:?}", plan.take_over, plan.ticket_lifetime, plan.groups);
        eprintln!(
            "window: {:?}, away: {}, history: {}, age: {:?}, joining: {}, entering: {}, bytes: {}",
            plan.window,
            plan.away_max,
            plan.history,
            plan.age,
            plan.on_join,
            plan.on_enter,
            plan.resume_bytes
        );
    }
    let mut login = Duration::ZERO;
    if !world.dice.one_in(4) {
        drain(&mut world);
    }
    for _ in 0..ROUNDS {
        if world.plan.is_calm() || world.dice.one_in(2) {
            get_in(&mut world);
        }
        for step in 0..=world.dice.below(STEPS) {
            // Three times of four the servers continue with a pending event.
            let due = if world.dice.one_in(4) { None } else { world.due_event() };
            let event = due.unwrap_or_else(|| world.external_event());
            world.apply(event);
            check_step(&world);
            if world.plan.has(Group::Lines) && world.dice.one_in(3) {
                let event = world.line_event();
                world.apply(event);
                check_step(&world);
            }
            if step % 16 == 0 {
                check_bounds(&world);
            }
        }
        login = login.max(settle(&mut world));
        check_settled(&mut world);
    }
    check_end(&mut world);
    Outcome { counts: world.server.counts.clone(), digest: world.digest.finish(), login }
}

/// Lets players into the chat and talk before the faults begin.
fn get_in(world: &mut World) {
    for _ in 0..3 {
        for number in 0..PROBE {
            world.apply(Event::Act(number));
        }
        drain(world);
    }
    for _ in 0..world.dice.below(24) {
        let member = world.dice.below(PLAYERS);
        world.apply(Event::Chat(member));
        drain(world);
    }
}

/// Lets the servers complete all pending events.
fn drain(world: &mut World) {
    let mut steps = 0;
    while let Some(event) = world.due_event() {
        world.apply(event);
        check_step(world);
        steps += 1;
        assert!(steps < 100_000, "the servers never settle");
    }
}

/// Ends all faults, and lets the state become right again. Returns the time after which a login
/// succeeded.
fn settle(world: &mut World) -> Duration {
    world.end_faults();
    for number in (0..PLAYERS).filter(|number| world.is_away(*number)).collect::<Vec<_>>() {
        if world.dice.one_in(2) {
            world.resume_place(number, true);
        }
    }
    drain(world);
    for number in 0..PROBE {
        let member = &world.members[number];
        if !member.is_in || member.is_deaf {
            world.leave(number);
        }
    }
    let from = world.now;
    let is_database = |group: &Group| matches!(group, Group::Database | Group::Statements | Group::Abuse);
    let only_database = world.plan.groups.iter().all(is_database);
    let max = if only_database { LOGIN_AFTER_DATABASE } else { LOGIN_AFTER_ANY };
    loop {
        let probe = &world.members[PROBE];
        if probe.is_refused {
            world.leave(PROBE);
            world.members[PROBE].is_refused = false;
        }
        let probe = &world.members[PROBE];
        let waits = probe.chat.is_some() || probe.login.is_some() && probe.granted.is_none();
        if !waits {
            world.apply(Event::Act(PROBE));
        }
        drain(world);
        let probe = &world.members[PROBE];
        if probe.is_in {
            break;
        }
        let is_on_its_way = probe.granted.is_some();
        let took = world.now - from;
        assert!(took <= max, "no login has succeeded within {took:?} of the last fault");
        if !is_on_its_way {
            world.apply(Event::Pass(SHORT));
        }
    }
    let login = world.now - from;
    pass_until(world, from + SETTLED);
    come_back_without_token(world);
    world.leave_for(PROBE, CloseReason::Goodbye);
    pass_until(world, world.now + NOTICED);
    login
}

/// Lets a player come back whose client has crashed, so that it cannot resume. Its own place does
/// not keep it out.
fn come_back_without_token(world: &mut World) {
    world.leave_for(PROBE, CloseReason::ConnectionLost);
    drain(world);
    let from = world.now;
    loop {
        world.apply(Event::Act(PROBE));
        drain(world);
        world.apply(Event::Act(PROBE));
        drain(world);
        if world.members[PROBE].is_in {
            return;
        }
        world.leave(PROBE);
        assert!(world.now - from < SHORT, "a player is kept out by its own place");
        world.apply(Event::Pass(SHORT));
    }
}

/// Lets time pass in short steps.
fn pass_until(world: &mut World, until: Instant) {
    while world.now < until {
        drain(world);
        world.apply(Event::Pass(SHORT));
    }
    drain(world);
}

/// Invariants after each step.
fn check_step(world: &World) {
    let mut inside = BTreeSet::new();
    for member in world.members.iter().filter(|member| member.is_in && member.line == Line::Well) {
        assert!(inside.insert(member.account), "two players are in the chat with account {}", member.account);
    }
    world.truth.check_accounts();
    assert!(world.truth.away() <= world.plan.away_max, "users away");
}

/// Bounds of tables and queues.
fn check_bounds(world: &World) {
    let clients = world.clients() + world.links();
    let users = world.truth.places.len();
    let away = world.truth.away();
    let present = world.rooms.iter().filter(|member| member.1 == RoomId::WORLD).count();
    assert_eq!(present + away, users, "users with a session, and users away");
    let channels: BTreeSet<u32> = world.truth.channels();
    for (process, table, size) in world.census() {
        let max = match (process, table) {
            // Requests that were put off outlive their clients.
            (_, "requests" | "requests put off" | "loads") => PENDING_REQUESTS_MAX,
            ("login", "hashes at the agents") => LOGIN_WINDOW_MAX,
            ("agent", "queued requests") => CONTROL_LANES * CONTROL_QUEUE + 2 * QUEUE,
            ("chat", "users") => {
                assert_eq!(size, users, "users of the chat");
                users
            }
            ("chat", "users away") => {
                assert_eq!(size, away, "users away");
                away
            }
            ("chat", "channels") => {
                assert_eq!(size, channels.len(), "channels with members");
                channels.len()
            }
            ("chat", "used tickets") => USED_TICKETS_MAX,
            ("chat", "throttled clients") => clients + away,
            ("chat", "sectors") => present,
            ("chat", "notices") => 1 + channels.len(),
            // Messages of rooms, whispers, answers.
            ("chat", "history") => 1 + channels.len() + 2 * users,
            ("login", "expiries") | ("chat", "expected logins") | (_, "held claims" | "claims in doubt") => {
                continue;
            }
            _ => clients,
        };
        assert!(size <= max, "{process}: {size} {table}, which are {max} at most");
    }
}

/// Invariants some time after the last fault.
fn check_settled(world: &mut World) {
    check_bounds(world);
    let rows = world.server.tables.rows();
    let chat = world.instance(CHAT);
    let mut inside = BTreeSet::new();
    for member in world.members.iter().filter(|member| member.is_in) {
        let account = member.account as u64 + 1;
        let row = rows.valid(account);
        assert!(
            row.is_some_and(|row| row.holder.instance == chat && !row.is_away),
            "account {account} is in the chat, and the database has {row:?}",
        );
        inside.insert(account);
    }
    for account in rows.online() {
        let row = rows.valid(account);
        assert!(inside.contains(&account), "account {account} is online without its player: {row:?}");
    }
    drop(rows);
    assert_eq!(world.truth.away(), 0, "users that are away for too long");
    assert_eq!(world.truth.places.len(), inside.len(), "places without a player");
    assert_eq!(world.client_jobs(), 0, "packets of clients wait");
    check_lists(world);
}

/// Lists, numbers of users and rosters are those of the rooms.
fn check_lists(world: &mut World) {
    let Some(session) = world.members.iter().find(|member| member.is_in).and_then(|member| member.chat)
    else {
        return;
    };
    let mut rooms: BTreeMap<u32, usize> = BTreeMap::new();
    for (_, room) in world.rooms.iter().filter(|member| member.1.0 <= RoomId::CHANNEL_MAX) {
        *rooms.entry(room.0).or_default() += 1;
    }
    let own = world.rooms.iter().filter(|member| member.0 == session).map(|member| member.1.0);
    let own: BTreeSet<u32> = own.filter(|room| (1..=RoomId::CHANNEL_MAX).contains(room)).collect();
    let mut world_list = BTreeSet::new();
    for answer in world.lists(session, &own) {
        match answer {
            Packet::ChannelList(list) => {
                let found: BTreeMap<u32, usize> =
                    list.channels.iter().map(|info| (info.channel, info.head_count as usize)).collect();
                let wanted = rooms.range(1..).map(|(room, users)| (*room, *users)).collect();
                assert_eq!(found, wanted, "the list of channels");
            }
            Packet::UserList(page) => {
                let users = rooms.get(&page.channel).copied().unwrap_or(0);
                assert_eq!(page.head_count as usize, users, "users of room {}", page.channel);
                assert_eq!(page.users.len(), users, "listed users of room {}", page.channel);
                if page.channel == 0 {
                    world_list = page.users.iter().map(|user| user.id).collect();
                }
            }
            other => panic!("no list: {other:?}"),
        }
    }
    for (number, member) in world.members.iter().enumerate().filter(|(_, member)| member.is_in) {
        if !member.is_abuser {
            assert_eq!(member.memory.roster, world_list, "the users that player {number} knows of");
            let place = &world.truth.places[&member.memory.user];
            if !place.is_stolen {
                member.memory.check_settled(place.handled);
            }
        }
    }
}

/// Nothing remains after all have left and every time-out is over.
fn check_end(world: &mut World) {
    for number in 0..=PROBE {
        world.leave(number);
    }
    drain(world);
    for time in [SETTLED, world.plan.ticket_lifetime, Duration::from_hours(2)] {
        world.apply(Event::Pass(time));
        drain(world);
    }
    // The leap has ended all leases.
    pass_until(world, world.now + SETTLED);
    assert!(world.rooms.is_empty(), "sessions that have ended are in rooms");
    let online = world.server.tables.rows().online();
    assert!(online.is_empty(), "online without a player: {online:?}");
    for (process, table, size) in world.census() {
        let left = if (process, table) == ("agent", "active links") { 2 } else { 0 };
        assert_eq!(size, left, "{process}: {table} that remain");
    }
}
