//! What holds whatever happens.

use std::time::Duration;

use proptest::prelude::*;

use super::world::{Event, World};

/// The servers do all that they have to do, until nothing is left; links that are down come up.
fn settle(world: &mut World) {
    let mut steps = 0;
    for _ in 0..4 {
        while let Some(event) = world.due_events().first().copied() {
            world.apply(event);
            steps += 1;
            assert!(steps < 100_000, "the servers never come to rest");
        }
        // Longer than the longest pause between two attempts to link up.
        world.apply(Event::Pass(Duration::from_millis(1100)));
    }
}

/// A player gets in, if the servers are well and nobody is in the way.
fn get_in(world: &mut World, player: usize) {
    for _ in 0..2 {
        world.apply(Event::Act(player));
        while let Some(event) = world.due_events().first().copied() {
            world.apply(event);
        }
    }
    assert!(world.players[player].is_in, "player {player} cannot get in");
}

fn check(take_over: bool, lifetime: u64, choices: &[u16]) {
    let mut world = World::new(take_over, Duration::from_secs(lifetime));
    settle(&mut world);
    for choice in choices {
        // Three times of four the servers go on with what they have to do.
        let due_events = world.due_events();
        let events =
            if choice % 4 == 0 || due_events.is_empty() { world.external_events() } else { due_events };
        world.apply(events[usize::from(choice / 4) % events.len()]);
    }
    // One agent may stay dead for longer than any lease: the other one has what counts.
    world.raise_agents(1);
    settle(&mut world);
    world.apply(Event::Pass(Duration::from_secs(16)));
    settle(&mut world);
    let inside: Vec<usize> = (0..world.players.len()).filter(|at| world.players[*at].is_in).collect();
    for player in &inside {
        assert!(world.is_online(&world.players[*player]), "player {player} is in, and not online");
    }
    for account in 0..2 {
        let twins = inside.iter().filter(|player| world.account(**player) == account).count();
        assert!(twins <= 1, "{twins} players are in with one account");
    }
    world.raise_agents(2);
    for player in 0..world.players.len() {
        world.apply(Event::Leave(player));
    }
    settle(&mut world);
    assert!(world.online().is_empty(), "ghosts: {:?}", world.online());
    assert_eq!(world.members(), 0, "sessions are over and in rooms");
    for player in 0..2 {
        get_in(&mut world, player);
    }
}

proptest! {
    /// Tickets expire all the time, or never: then nothing that was forgotten puts itself right.
    #[test]
    fn nobody_is_online_who_is_not_there(
        take_over: bool,
        lifetime in prop::sample::select(vec![1, 3600]),
        choices in prop::collection::vec(any::<u16>(), 0..400),
    ) {
        check(take_over, lifetime, &choices);
    }
}
