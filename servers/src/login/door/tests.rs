use std::collections::{BTreeMap, VecDeque};

use proptest::prelude::*;

use super::*;

const fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

fn client(number: u32) -> SessionId {
    SessionId::new(0, number, 0)
}

fn agent(number: u32) -> SessionId {
    SessionId::new(1, number, 0)
}

fn origin(address: u32, attempts: u32) -> Origin {
    let mut bytes = [0; 16];
    bytes[..4].copy_from_slice(&address.to_le_bytes());
    Origin { address: bytes, attempts, wait_ms: 0 }
}

/// Admits as many requests as the window takes, and returns them.
fn admit_all(door: &mut Door<u32>, agents: &[SessionId], now: Instant) -> Vec<Admitted<u32>> {
    std::iter::from_fn(|| door.admit(agents, now)).collect()
}

fn requests(admitted: &[Admitted<u32>]) -> Vec<u32> {
    admitted.iter().map(|admitted| admitted.request).collect()
}

#[test]
fn addresses_take_turns_and_sessions_with_fewer_attempts_go_first() {
    let (mut door, now) = (Door::new(100), Instant::now());
    for (number, address, attempts) in
        [(0, 1, 5), (1, 1, 5), (2, 1, 9), (3, 2, 0), (4, 1, 0), (5, 3, 7), (6, 2, 0), (7, 1, 5)]
    {
        assert!(door.arrive(client(number), origin(address, attempts), number, now).is_none());
    }
    assert_eq!(requests(&admit_all(&mut door, &[agent(0)], now)), [4, 3, 5, 0, 6, 1, 7, 2]);
    assert_eq!((door.len(), door.at_agents()), (0, 8));
}

#[test]
fn a_full_queue_refuses_the_last_request_of_the_address_with_the_most() {
    let (mut door, now) = (Door::new(3), Instant::now());
    let mut arrive = |number, address, attempts| {
        door.arrive(client(number), origin(address, attempts), number, now).map(|(_, request)| request)
    };
    assert_eq!([arrive(0, 1, 0), arrive(1, 1, 3), arrive(2, 1, 1)], [None; 3]);
    assert_eq!(arrive(3, 1, 9), Some(3), "its address has the most");
    assert_eq!(arrive(4, 2, 9), Some(1));
    assert_eq!(door.len(), 3);
    assert!(!door.contains(client(1)) && door.contains(client(4)));
}

#[test]
fn clients_hear_their_positions_again_and_again_if_they_wait() {
    let (mut door, start) = (Door::new(100), Instant::now());
    for number in 0..20 {
        door.arrive(client(number), origin(number, 0), number, start);
    }
    let sent = admit_all(&mut door, &[agent(0)], start);
    assert_eq!((sent.len(), door.len()), (WINDOW_MIN, 12));
    assert!(door.tell(start + ms(249)).is_empty(), "a short wait is not worth a packet");
    let mut heard: BTreeMap<SessionId, Vec<u32>> = BTreeMap::new();
    let (mut told, mut now) = (0, start);
    while now < start + ms(6250) {
        now = door.next_deadline(now).expect("there is a queue");
        for (client, queued) in door.tell(now) {
            heard.entry(client).or_default().push(queued.position);
            told += 1;
        }
    }
    assert_eq!(told, 4 * 12, "{heard:?}");
    assert_eq!(heard[&client(8)], [1; 4]);
    assert_eq!(heard[&client(19)], [12; 4]);

    // Served requests make room, and tell the rate: all within two seconds, which is 4 a second.
    now += ms(1);
    for sent in sent {
        door.served(sent.agent, now);
    }
    admit_all(&mut door, &[agent(0)], now);
    now += ms(2000);
    let told = door.tell(now);
    let positions: Vec<_> = told.iter().map(|(_, queued)| queued.position).collect();
    assert_eq!(positions, [1, 2, 3, 4]);
    assert!(told[3].1.wait_ms > told[0].1.wait_ms && told[0].1.wait_ms > 0, "{told:?}");
}

#[test]
fn a_position_never_rises_although_others_go_first() {
    let (mut door, now) = (Door::new(100), Instant::now());
    for number in 0..3 {
        door.arrive(client(number), origin(1, 1), number, now);
    }
    let position = |told: Vec<(SessionId, LoginQueued)>| {
        told.iter().find(|(id, _)| *id == client(2)).map(|(_, queued)| queued.position)
    };
    assert_eq!(position(door.tell(now + ms(250))), Some(3));
    // Two other addresses, and sessions of this one with fewer attempts.
    for number in 3..9 {
        door.arrive(client(number), origin(number % 3, 0), number, now + ms(300));
    }
    assert_eq!(position(door.tell(now + ms(2250))), Some(3));
}

#[test]
fn a_refused_request_is_the_next_one_again_and_the_window_closes() {
    let (mut door, mut now) = (Door::new(100), Instant::now());
    for number in 0..20 {
        door.arrive(client(number), origin(number % 2, 0), number, now);
    }
    let mut sent = VecDeque::from(admit_all(&mut door, &[agent(0)], now));
    assert_eq!((sent.len(), door.window(1)), (8, 8));
    let refused = [sent.pop_back().unwrap(), sent.pop_back().unwrap()];
    let numbers = requests(&refused);
    for it in refused {
        door.refused(it.agent, now);
        door.put_back(client(it.request), it.seat, it.request, now);
    }
    assert_eq!((door.window(1), door.len()), (6, 14));
    assert!(door.admit(&[agent(0)], now).is_none());
    let served = sent.pop_front().unwrap();
    door.served(served.agent, now);
    let again = door.admit(&[agent(0)], now).unwrap();
    assert_eq!(Some(&again.request), numbers.iter().min(), "its place is that of its arrival");
    sent.push_back(again);
    // The window opens again while nothing is refused.
    for _ in 0..20 {
        now += ms(100);
        let served = sent.pop_front().unwrap();
        door.served(served.agent, now);
        sent.extend(admit_all(&mut door, &[agent(0)], now));
        if door.len() == 0 {
            break;
        }
    }
    assert!(door.window(1) >= 8, "{}", door.window(1));
}

#[test]
fn a_queue_does_not_run_through_the_hands_of_failing_agents() {
    let (mut door, now) = (Door::new(1000), Instant::now());
    for number in 0..1000 {
        door.arrive(client(number), origin(number, 0), number, now);
    }
    let mut sent = 0;
    for step in 0..100 {
        let now = now + ms(10 * step);
        for it in admit_all(&mut door, &[agent(0)], now) {
            sent += 1;
            door.failed(it.agent, now);
        }
    }
    assert!(sent <= 4 * WINDOW_MIN, "{sent} within a second");
}

#[test]
fn requests_without_a_server_keep_their_places_for_a_while() {
    let (mut door, now) = (Door::new(10), Instant::now());
    door.arrive(client(0), origin(0, 0), 0, now);
    assert!(door.is_patient(now) && door.admit(&[], now).is_none());
    assert!(door.is_patient(now + PATIENCE.saturating_sub(ms(1))));
    door.has_server();
    assert!(door.is_patient(now + PATIENCE), "it was there");
    assert!(!door.is_patient(now + 2 * PATIENCE));
    assert_eq!(door.turn_away(now + 2 * PATIENCE), Some((client(0), 0)));
    assert_eq!(door.next_deadline(now), None);
}

/// Agents that hash passwords, and refuse what would end too late.
struct Agents {
    hash: Duration,
    /// For each agent, the times at which its threads are free.
    free: Vec<Vec<Duration>>,
    /// An agent that never answers.
    hung: Option<usize>,
}

#[derive(Debug, Default)]
struct Course {
    took: Duration,
    refused: u32,
    failed: u32,
    longest: Duration,
}

/// Sends so many requests through a door, all at once.
fn run(count: u32, mut agents: Agents) -> Course {
    const TIMEOUT: Duration = ms(1500);
    let (mut door, start) = (Door::new(count as usize), Instant::now());
    let links: Vec<SessionId> = (0..agents.free.len() as u32).map(agent).collect();
    for number in 0..count {
        assert!(door.arrive(client(number), origin(number, 0), number, start).is_none());
    }
    let mut course = Course::default();
    // By the time of the answer: true if it is served.
    let mut answers: BTreeMap<(Duration, u32), (SessionId, bool)> = BTreeMap::new();
    let (mut now, mut done) = (Duration::ZERO, 0);
    while done < count {
        while let Some(entry) = answers.first_entry().filter(|entry| entry.key().0 <= now) {
            let (from, is_served) = entry.remove();
            done += 1;
            if is_served {
                door.served(from, start + now);
            } else {
                course.failed += 1;
                door.failed(from, start + now);
            }
        }
        let mut refused = Vec::new();
        while let Some(it) = door.admit(&links, start + now) {
            let at = links.iter().position(|link| *link == it.agent).unwrap();
            if agents.hung == Some(at) {
                answers.insert((now + TIMEOUT, it.request), (it.agent, false));
                continue;
            }
            let free = agents.free[at].iter_mut().min().unwrap();
            let end = now.max(*free) + agents.hash;
            if end.saturating_sub(now) > ms(1000) {
                course.refused += 1;
                door.refused(it.agent, start + now);
                refused.push(it);
            } else {
                *free = end;
                course.longest = course.longest.max(end.saturating_sub(now));
                answers.insert((end, it.request), (it.agent, true));
            }
        }
        for it in refused {
            door.put_back(client(it.request), it.seat, it.request, start + now);
        }
        door.tell(start + now);
        now += ms(1);
        assert!(now < Duration::from_mins(10), "{course:?}, {} left", door.len());
    }
    course.took = now;
    assert_eq!((door.len(), door.at_agents()), (0, 0));
    course
}

fn agents(count: usize, threads: usize, hash: Duration) -> Agents {
    Agents { hash, free: vec![vec![Duration::ZERO; threads]; count], hung: None }
}

/// From a small machine to large ones, and passwords that are cheap or dear.
#[test]
fn agents_are_busy_and_no_request_is_refused() {
    for (count, agent_count, threads, hash) in
        [(2000, 1, 2, 27), (200, 1, 1, 400), (200, 1, 4, 800), (5000, 1, 32, 27), (2000, 3, 2, 27)]
    {
        let course = run(count, agents(agent_count, threads, ms(hash)));
        let possible = ms(hash) * count / (agent_count * threads) as u32;
        let context = format!("{threads} threads of {agent_count} agents, {hash} ms: {course:?}");
        assert!(course.took < possible * 11 / 10 + ms(1000), "{possible:?} were possible: {context}");
        assert_eq!(course.failed, 0, "{context}");
        if hash < 100 {
            assert_eq!(course.refused, 0, "{context}");
            assert!(course.longest < ms(900), "{context}");
        }
    }
}

/// Regression, by design: with agents in turn, all of the window ended with the one that hangs.
#[test]
fn an_agent_that_hangs_keeps_no_more_than_its_share() {
    let hung = Agents { hung: Some(0), ..agents(2, 2, ms(27)) };
    let course = run(1000, hung);
    assert!(course.failed < 500, "{course:?}");
    let possible = ms(27) * (1000 - course.failed) / 2;
    assert!(course.took < possible * 12 / 10 + ms(2000), "{possible:?} were possible: {course:?}");
}

/// A client of the login server, and its next attempt.
#[derive(Clone, Copy)]
struct Player {
    address: u32,
    is_honest: bool,
    attempts: u32,
    /// Time of its next request; none while it waits for an answer, or is in.
    asks_at: Option<Duration>,
    is_in: bool,
}

/// Runs guessers, who ask again at once, and honest players that come later, until all players are
/// in. One agent with the order of its lane hashes 30 passwords a second with two threads. Returns
/// the time that the last player took.
fn beside_guessers(players: &mut [Player], later: Duration) -> Duration {
    let (mut door, start, hash) = (Door::new(10_000), Instant::now(), ms(66));
    let mut lane: FairOrder<Admitted<u32>> = FairOrder::new();
    let mut threads: [Option<(Duration, Admitted<u32>)>; 2] = [None, None];
    let mut now = Duration::ZERO;
    while players.iter().any(|player| player.is_honest && !player.is_in) {
        for thread in &mut threads {
            let Some((_, it)) = thread.take_if(|(end, _)| *end <= now) else { continue };
            door.served(it.agent, start + now);
            let player = &mut players[it.request as usize];
            player.is_in = player.is_honest;
            player.asks_at = (!player.is_honest).then_some(now + ms(1));
        }
        for (number, player) in (0..).zip(&mut *players) {
            if player.asks_at.take_if(|at| *at <= now).is_some() {
                let origin = origin(player.address, player.attempts);
                player.attempts += 1;
                assert!(door.arrive(client(number), origin, number, start + now).is_none());
            }
        }
        while let Some(it) = door.admit(&[agent(0)], start + now) {
            let player = &players[it.request as usize];
            lane.insert(origin(player.address, 0).address, player.attempts - 1, it);
        }
        for thread in threads.iter_mut().filter(|thread| thread.is_none()) {
            let Some((place, it)) = lane.pop_first() else { continue };
            lane.end_turn(place.address());
            *thread = Some((now + hash, it));
        }
        now += ms(5);
        assert!(now < Duration::from_mins(1), "the players do not get in");
    }
    now.saturating_sub(later)
}

/// Players with an address each, with one for all, and with that of the guessers. There a player is
/// told apart once the guessers have had an answer: their first requests came before.
#[test]
fn players_get_in_beside_guessers() {
    for (homes, later) in [(0_usize, 2), (1, 2), (2, 11)] {
        let later = Duration::from_secs(later);
        let guesser =
            Player { address: 1, is_honest: false, attempts: 0, asks_at: Some(Duration::ZERO), is_in: false };
        let mut players = vec![guesser; 300];
        players.extend((0..20).map(|number| {
            let address = [100 + number, 100, 1][homes];
            Player { address, is_honest: true, asks_at: Some(later), ..guesser }
        }));
        let took = beside_guessers(&mut players, later);
        assert!(took <= Duration::from_secs(3), "{homes}: {took:?}");
    }
}

/// A request of the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Whereabouts {
    Waiting,
    AtAgent,
}

proptest! {
    /// Whatever comes, goes, is answered, fails or is refused: nothing is lost, positions do not
    /// rise, and the bounds hold.
    #[test]
    fn every_request_is_sent_refused_or_dropped_with_its_client(
        steps in prop::collection::vec((0..9_u8, 0..5_u32, 0..3_u32, 0..400_u64), 1..300),
        capacity in 1..30_usize,
    ) {
        let (mut door, mut now) = (Door::new(capacity), Instant::now());
        let links = [agent(0), agent(1)];
        let mut known: BTreeMap<u32, Whereabouts> = BTreeMap::new();
        let mut sent: VecDeque<Admitted<u32>> = VecDeque::new();
        let mut heard: BTreeMap<SessionId, u32> = BTreeMap::new();
        for (number, (kind, address, attempts, pause)) in (0..).zip(steps) {
            now += ms(pause);
            match kind {
                0..=3 => {
                    known.insert(number, Whereabouts::Waiting);
                    let evicted = door.arrive(client(number), origin(address, attempts), number, now);
                    prop_assert_eq!(evicted.is_some(), door.len() + usize::from(evicted.is_some()) > capacity);
                    if let Some((session, evicted)) = evicted {
                        prop_assert_eq!(session, client(evicted));
                        prop_assert_eq!(known.remove(&evicted), Some(Whereabouts::Waiting));
                    }
                }
                4 => {
                    if let Some(left) = known.keys().nth(address as usize).copied() {
                        let was_waiting = known[&left] == Whereabouts::Waiting;
                        prop_assert_eq!(door.leave(client(left), now), was_waiting.then_some(left));
                        if was_waiting {
                            known.remove(&left);
                        }
                    }
                }
                5 | 6 => {
                    if let Some(it) = sent.pop_front() {
                        prop_assert_eq!(known.remove(&it.request), Some(Whereabouts::AtAgent));
                        if kind == 5 { door.served(it.agent, now) } else { door.failed(it.agent, now) }
                    }
                }
                7 => {
                    if let Some(it) = sent.pop_back() {
                        door.refused(it.agent, now);
                        known.insert(it.request, Whereabouts::Waiting);
                        door.put_back(client(it.request), it.seat, it.request, now);
                        prop_assert!(door.window(2) <= sent.len().max(1));
                    }
                }
                _ => {
                    let window = door.window(2);
                    let admitted = admit_all(&mut door, &links, now);
                    prop_assert!(admitted.is_empty() || door.at_agents() <= window.max(door.window(2)));
                    for it in &admitted {
                        known.insert(it.request, Whereabouts::AtAgent);
                        prop_assert!(!door.contains(client(it.request)));
                    }
                    sent.extend(admitted);
                }
            }
            for (session, queued) in door.tell(now) {
                prop_assert!(door.contains(session) && queued.position >= 1);
                let before = heard.insert(session, queued.position).unwrap_or(u32::MAX);
                prop_assert!(queued.position <= before);
            }
            let waiting = known.values().filter(|place| **place == Whereabouts::Waiting).count();
            prop_assert_eq!((door.len(), door.at_agents()), (waiting, sent.len()));
            prop_assert!(door.window(2) >= 1 && door.len() <= capacity + LOGIN_WINDOW_MAX);
            prop_assert!(door.next_deadline(now).is_none_or(|at| at > now));
            prop_assert_eq!(door.next_deadline(now).is_some(), waiting > 0);
        }
    }
}
