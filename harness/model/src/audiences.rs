//! Audiences of a run's messages, decided before the run.
//!
//! Every audience has a number: the world, then all whispers (each message has two recipients of
//! its own), then the channels, then the sectors of the grid on which clients stand. A message to a
//! sector reaches the clients in that sector and in the eight around it.

use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt, SeedableRng};
use serde::{Deserialize, Serialize};
use throng_core::wire::packets::Scope;

/// The audience of all users of the chat.
pub const WORLD: u32 = 0;
/// The audience of all whispers together; each whisper has two recipients of its own.
pub const WHISPERS: u32 = 1;
/// The audience of the first channel.
const CHANNELS: u32 = 2;

/// The scopes of a run's messages.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum ScopeMix {
    /// All messages to the world.
    #[default]
    World,
    /// All messages to channels.
    Channel,
    /// All messages to clients nearby.
    Nearby,
    /// All messages to one other client, drawn for each message.
    Whisper,
    /// Each message has one of the four scopes, drawn for it.
    Mixed,
}

impl ScopeMix {
    /// True if some messages go to channels.
    pub fn has_channels(self) -> bool {
        matches!(self, Self::Channel | Self::Mixed)
    }

    /// True if some messages go to clients nearby.
    pub fn has_places(self) -> bool {
        matches!(self, Self::Nearby | Self::Mixed)
    }
}

/// The square of sectors on which clients stand.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Grid {
    side: u32,
    sector_size: u32,
    /// The sector of each client, row by row; empty without a grid.
    sectors: Vec<u32>,
}

/// The clients of a run in their channels and places.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Audiences {
    clients: u32,
    speech: ScopeMix,
    channels: u32,
    grid: Grid,
}

impl Audiences {
    /// `clients` clients without channels or positions; every message is for the world.
    pub fn world(clients: u32) -> Self {
        let grid = Grid { side: 0, sector_size: 1, sectors: Vec::new() };
        Self { clients, speech: ScopeMix::World, channels: 0, grid }
    }

    /// Deals clients to `channels` channels and draws their sectors from `seed`, in a square of
    /// `side` by `side` sectors, each `sector_size` units long. Channels or sectors that `speech`
    /// does not use are left out.
    pub fn new(
        clients: u32,
        speech: ScopeMix,
        channels: u32,
        side: u32,
        sector_size: u32,
        seed: u64,
    ) -> Self {
        let channels = if speech.has_channels() { channels } else { 0 };
        let side = if speech.has_places() { side } else { 0 };
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed ^ 0x7365_6374_6f72);
        let sectors = if side > 0 {
            (0..clients).map(|_| rng.random_range(0..side * side)).collect()
        } else {
            Vec::new()
        };
        Self { clients, speech, channels, grid: Grid { side, sector_size, sectors } }
    }

    /// The scopes of the run's messages.
    pub fn speech(&self) -> ScopeMix {
        self.speech
    }

    /// The number of channels.
    pub fn channels(&self) -> u32 {
        self.channels
    }

    /// The channel of a client; none without channels.
    pub fn home(&self, client: u32) -> Option<u32> {
        client.checked_rem(self.channels)
    }

    /// True for the client that creates a channel: the first one dealt to it.
    pub fn is_founder(&self, client: u32) -> bool {
        client < self.channels
    }

    /// The audience of a channel.
    pub fn in_channel(&self, channel: u32) -> u32 {
        CHANNELS + channel
    }

    /// The channel of an audience; none if the audience is not a channel.
    pub fn channel_of(&self, audience: u32) -> Option<u32> {
        audience.checked_sub(CHANNELS).filter(|channel| *channel < self.channels)
    }

    /// The scope of an audience.
    pub fn scope(&self, audience: u32) -> Scope {
        match audience {
            WORLD => Scope::World,
            WHISPERS => Scope::Whisper,
            audience if self.channel_of(audience).is_some() => Scope::Channel,
            _ => Scope::Nearby,
        }
    }

    /// The sector of a client before it moves, row by row; none without a grid.
    pub fn sector(&self, client: u32) -> Option<u32> {
        self.grid.sectors.get(client as usize).copied()
    }

    /// The middle of a sector.
    #[allow(clippy::cast_possible_wrap)] // coordinates are far below i32::MAX
    pub fn middle(&self, sector: u32) -> (i32, i32) {
        let middle = |index: u32| (index * self.grid.sector_size + self.grid.sector_size / 2) as i32;
        (middle(sector % self.grid.side), middle(sector / self.grid.side))
    }

    /// The position of a client before it moves: the middle of its sector. None without a grid.
    pub fn position(&self, client: u32) -> Option<(i32, i32)> {
        Some(self.middle(self.sector(client)?))
    }

    /// The audience of a client's messages to clients nearby, before it moves; none without a grid.
    pub fn around(&self, client: u32) -> Option<u32> {
        self.sector(client).map(|sector| self.sector_audience(sector))
    }

    fn sector_audience(&self, sector: u32) -> u32 {
        CHANNELS + self.channels + sector
    }

    /// A sector and the eight around it, or fewer at the edge.
    fn sectors_near(&self, sector: u32) -> impl Iterator<Item = u32> + use<> {
        let side = self.grid.side;
        let near = move |at: u32| at.saturating_sub(1)..=(at + 1).min(side - 1);
        near(sector / side).flat_map(move |y| near(sector % side).map(move |x| y * side + x))
    }

    fn is_near(&self, one: u32, other: u32) -> bool {
        let side = self.grid.side;
        (one % side).abs_diff(other % side) <= 1 && (one / side).abs_diff(other / side) <= 1
    }

    /// The audiences of the sectors that a client hears before it moves.
    pub fn within_earshot(&self, client: u32) -> impl Iterator<Item = u32> + '_ {
        let near = self.sector(client).into_iter().flat_map(|sector| self.sectors_near(sector));
        near.map(|sector| self.sector_audience(sector))
    }

    /// The audiences of the sectors heard in sector `here` but not in sector `there`.
    pub fn heard_only_from(&self, here: u32, there: u32) -> impl Iterator<Item = u32> + '_ {
        let far = move |sector: &u32| !self.is_near(*sector, there);
        self.sectors_near(here).filter(far).map(|sector| self.sector_audience(sector))
    }

    /// The sector beside `sector` that `draw` selects; none if there is no other sector.
    pub fn beside(&self, sector: u32, draw: u64) -> Option<u32> {
        let around = || self.sectors_near(sector).filter(|near| *near != sector);
        let count = around().count() as u64;
        around().nth(draw.checked_rem(count)? as usize)
    }

    /// The number of clients in each audience, by its number. Whispers count 2, the recipients of
    /// each.
    pub fn sizes(&self) -> Vec<u64> {
        let mut sizes = vec![u64::from(self.clients), 2];
        sizes.resize((CHANNELS + self.channels + self.grid.side * self.grid.side) as usize, 0);
        for client in 0..self.clients {
            let channel = self.home(client).map(|home| self.in_channel(home));
            for audience in self.within_earshot(client).chain(channel) {
                sizes[audience as usize] += 1;
            }
        }
        sizes
    }

    /// Draws the audience of a message of `sender` and, for a whisper, the other client. A client
    /// that is alone speaks to the world instead of whispering.
    pub(crate) fn address(&self, sender: u32, rng: &mut impl RngExt) -> (u32, u32) {
        let scope = match self.speech {
            ScopeMix::Mixed => [ScopeMix::World, ScopeMix::Channel, ScopeMix::Nearby, ScopeMix::Whisper]
                [rng.random_range(0..4)],
            one => one,
        };
        let audience = match scope {
            ScopeMix::Channel => self.home(sender).map(|channel| self.in_channel(channel)),
            ScopeMix::Nearby => self.around(sender),
            ScopeMix::Whisper if self.clients > 1 => {
                let other = rng.random_range(0..self.clients - 1);
                return (WHISPERS, other + u32::from(other >= sender));
            }
            _ => Some(WORLD),
        };
        (audience.unwrap_or(WORLD), 0)
    }
}

/// The side of the square of sectors in which a sector and its eight neighbors hold `audience` of
/// `clients` clients on average.
#[allow(clippy::cast_sign_loss)] // a square root is not negative
pub fn side_for(clients: u32, audience: u32) -> u32 {
    (f64::from(clients) * 9.0 / f64::from(audience.max(1))).sqrt().round().max(1.0) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_are_dealt_to_channels() {
        let audiences = Audiences::new(10, ScopeMix::Channel, 3, 5, 100, 1);
        let homes: Vec<_> = (0..10).filter_map(|client| audiences.home(client)).collect();
        assert_eq!(homes, [0, 1, 2, 0, 1, 2, 0, 1, 2, 0]);
        assert_eq!((0..10).filter(|client| audiences.is_founder(*client)).count(), 3);
        assert_eq!(
            (audiences.channel_of(audiences.in_channel(2)), audiences.channel_of(WORLD)),
            (Some(2), None)
        );
        assert_eq!((audiences.position(3), audiences.within_earshot(3).count()), (None, 0));
        assert_eq!(Audiences::world(4).home(3), None);
    }

    #[test]
    fn sizes_count_the_clients_of_each_channel() {
        assert_eq!(Audiences::new(10, ScopeMix::Channel, 3, 0, 1, 1).sizes(), [10, 2, 4, 3, 3]);
        assert_eq!(Audiences::world(4).sizes(), [4, 2]);
    }

    #[test]
    fn clients_nearby_hear_each_other() {
        let audiences = Audiences::new(400, ScopeMix::Nearby, 3, 7, 100, 1);
        let sizes = audiences.sizes();
        for audience in (0..400).filter_map(|client| audiences.around(client)) {
            let hears = |client: &u32| audiences.within_earshot(*client).any(|near| near == audience);
            assert_eq!((0..400).filter(hears).count() as u64, sizes[audience as usize]);
        }
        for client in 0..400 {
            let (x, y) = audiences.position(client).expect("on the grid");
            assert!((0..700).contains(&x) && (0..700).contains(&y));
            for other in 0..400 {
                let (other_x, other_y) = audiences.position(other).expect("on the grid");
                let near = (x - other_x).abs() <= 100 && (y - other_y).abs() <= 100;
                let around = audiences.around(other).expect("on the grid");
                assert_eq!(audiences.within_earshot(client).any(|audience| audience == around), near);
            }
        }
    }

    #[test]
    fn a_move_changes_only_the_audiences_heard_in_one_of_the_sectors() {
        let audiences = Audiences::new(9, ScopeMix::Mixed, 3, 6, 100, 1);
        for from in 0..36 {
            let beside: std::collections::BTreeSet<_> =
                (0..8).filter_map(|draw| audiences.beside(from, draw)).collect();
            for to in 0..36 {
                let near = |one: u32, other: u32| {
                    let [(x, y), (to_x, to_y)] = [one, other].map(|sector| audiences.middle(sector));
                    (x - to_x).abs() <= 100 && (y - to_y).abs() <= 100
                };
                assert_eq!(beside.contains(&to), to != from && near(from, to), "{from} to {to}");
                let expected: Vec<_> = (0..36)
                    .filter(|sector| near(*sector, from) && !near(*sector, to))
                    .map(|sector| CHANNELS + 3 + sector)
                    .collect();
                assert_eq!(audiences.heard_only_from(from, to).collect::<Vec<_>>(), expected);
            }
        }
        assert_eq!(Audiences::new(9, ScopeMix::Nearby, 0, 1, 100, 1).beside(0, 5), None);
    }

    #[test]
    fn the_grid_has_the_requested_density() {
        assert_eq!((side_for(1_000, 90), side_for(1_000, 9_000), side_for(5, 0)), (10, 1, 7));
        let audiences = Audiences::new(3_000, ScopeMix::Nearby, 0, side_for(3_000, 30), 100, 1);
        let heard: usize = (0..3_000)
            .map(|client| {
                let own = audiences.around(client).expect("on the grid");
                (0..3_000)
                    .step_by(10)
                    .filter(|other| audiences.within_earshot(*other).any(|near| near == own))
                    .count()
                    * 10
            })
            .sum();
        assert!((80_000..95_000).contains(&heard), "{heard}");
    }

    #[test]
    fn mixed_speech_has_equal_shares_of_all_scopes() {
        let audiences = Audiences::new(100, ScopeMix::Mixed, 4, 3, 100, 1);
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(1);
        let mut counts = [0; 4];
        for _ in 0..4_000 {
            let (audience, other) = audiences.address(7, &mut rng);
            counts[audiences.scope(audience) as usize] += 1;
            assert!(audience != WHISPERS || other < 100 && other != 7);
        }
        assert!(counts.iter().all(|count| (800..1_200).contains(count)), "{counts:?}");
        assert_eq!(Audiences::new(1, ScopeMix::Whisper, 0, 0, 1, 1).address(0, &mut rng), (WORLD, 0));
    }
}
