//! The invariants that every run of the simulation must keep.

use std::time::Duration;

use proptest::prelude::*;

use super::world::{Event, World};

/// Lets the servers complete all pending events, with every link up again.
fn settle(world: &mut World) {
    let mut steps = 0;
    for _ in 0..4 {
        while let Some(event) = world.due_events().first().copied() {
            world.apply(event);
            steps += 1;
            assert!(steps < 100_000, "the servers never settle");
        }
        // Longer than the longest pause between two dials.
        world.apply(Event::Pass(Duration::from_millis(1100)));
    }
}

/// Asserts that a player can enter the chat while the servers are well and the account is free.
fn get_in(world: &mut World, player: usize) {
    for _ in 0..2 {
        world.apply(Event::Act(player));
        while let Some(event) = world.due_events().first().copied() {
            world.apply(event);
        }
    }
    assert!(world.players[player].is_in, "player {player} cannot enter");
}

fn check(take_over: bool, lifetime: u64, choices: &[u16]) {
    let mut world = World::new(take_over, Duration::from_secs(lifetime));
    settle(&mut world);
    for choice in choices {
        // Three times of four the servers continue with a pending event.
        let due_events = world.due_events();
        let events =
            if choice % 4 == 0 || due_events.is_empty() { world.external_events() } else { due_events };
        world.apply(events[usize::from(choice / 4) % events.len()]);
    }
    // One agent may stay down for longer than any lease: the other agent has the claims that count.
    world.raise_agents(1);
    settle(&mut world);
    world.apply(Event::Pass(Duration::from_secs(16)));
    settle(&mut world);
    let inside: Vec<usize> = (0..world.players.len()).filter(|at| world.players[*at].is_in).collect();
    for player in &inside {
        assert!(world.is_online(&world.players[*player]), "player {player} is in the chat and not online");
    }
    for account in 0..2 {
        let twins = inside.iter().filter(|player| world.account(**player) == account).count();
        assert!(twins <= 1, "{twins} players are in the chat with one account");
    }
    world.raise_agents(2);
    for player in 0..world.players.len() {
        world.apply(Event::Leave(player));
    }
    settle(&mut world);
    assert!(world.online().is_empty(), "online without a player: {:?}", world.online());
    assert_eq!(world.members(), 0, "sessions that have ended are in rooms");
    for player in 0..2 {
        get_in(&mut world, player);
    }
}

proptest! {
    /// Tickets expire all the time or never. If they never expire, no expiry repairs a lost
    /// release.
    #[test]
    fn no_account_is_online_without_its_player(
        take_over: bool,
        lifetime in prop::sample::select(vec![1, 3600]),
        choices in prop::collection::vec(any::<u16>(), 0..400),
    ) {
        check(take_over, lifetime, &choices);
    }
}
