//! Fairness: differences between the mean latencies of the clients.
//!
//! Clients that were impaired, or not present all the time, are left out.

use serde::{Deserialize, Serialize};

use crate::clock::Nanos;

/// The number of groups of clients by order of entry.
const TENTHS: usize = 10;

/// The deliveries to one client, as its worker counted them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recipient {
    /// The client's number in the run.
    pub client: u32,
    /// The server's event loop that had the client's session.
    pub shard: u8,
    /// The time of entry.
    pub entered: Nanos,
    /// First copies of counted messages that it received; at least 1.
    pub received: u32,
    /// The sum of their latencies in nanoseconds, each from the intended send time.
    pub waited: Nanos,
    /// The longest latency, in microseconds.
    pub longest_us: u32,
}

impl Recipient {
    /// The mean latency in microseconds.
    fn mean_us(&self) -> f64 {
        self.waited as f64 / f64::from(self.received.max(1)) / 1e3
    }
}

/// A group of clients.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "testing", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct Group {
    /// Clients in the group.
    pub clients: u64,
    /// The mean of the clients' mean latencies, in microseconds.
    pub mean_us: f64,
}

/// The clients of one event loop of the server.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "testing", derive(schemars::JsonSchema))]
pub struct ShardGroup {
    /// The event loop, as the server numbers them.
    pub shard: u8,
    /// The clients.
    #[serde(flatten)]
    pub group: Group,
}

/// The client with the longest mean latency.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "testing", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct Slowest {
    /// The client's number in the run.
    pub client: u32,
    /// The mean latency in microseconds.
    pub mean_us: f64,
    /// The longest latency in microseconds.
    pub max_us: u32,
}

/// Fairness of the deliveries.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "testing", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct Fairness {
    /// Clients that are compared.
    pub clients: u64,
    /// Jain's index of their mean latencies: 1 if all are equal, 1/clients if a single client
    /// waits.
    pub jain: f64,
    /// The 5th percentile of the mean latencies, in microseconds.
    pub p5_us: f64,
    /// The median of the mean latencies, in microseconds.
    pub p50_us: f64,
    /// The 95th percentile of the mean latencies, in microseconds.
    pub p95_us: f64,
    /// The client with the longest mean latency.
    pub slowest: Slowest,
    /// Tenths of the clients by order of entry, or fewer groups for fewer than ten clients.
    pub by_entry: Vec<Group>,
    /// The longest mean of these groups divided by the shortest.
    pub by_entry_ratio: f64,
    /// The clients by the server's event loop that had the session.
    pub by_shard: Vec<ShardGroup>,
    /// The longest mean of these groups divided by the shortest.
    pub by_shard_ratio: f64,
}

impl Fairness {
    /// Compares `recipients`, each client once, in any order; none if there are none.
    pub fn of(mut recipients: Vec<Recipient>) -> Option<Self> {
        recipients.sort_unstable_by_key(|one| (one.entered, one.client));
        let mut means: Vec<f64> = recipients.iter().map(Recipient::mean_us).collect();
        let groups = TENTHS.min(means.len());
        let bound = |group: usize| group * means.len() / groups;
        let by_entry: Vec<Group> =
            (0..groups).map(|group| Group::of(&means[bound(group)..bound(group + 1)])).collect();
        let mut shards: Vec<u8> = recipients.iter().map(|one| one.shard).collect();
        shards.sort_unstable();
        shards.dedup();
        let of_shard = |shard: u8| {
            let members = recipients.iter().zip(&means).filter(|(one, _)| one.shard == shard);
            Group::of(&members.map(|(_, mean)| *mean).collect::<Vec<_>>())
        };
        let by_shard: Vec<_> =
            shards.into_iter().map(|shard| ShardGroup { shard, group: of_shard(shard) }).collect();
        let slowest = recipients.iter().max_by(|one, other| one.mean_us().total_cmp(&other.mean_us()))?;
        let slowest =
            Slowest { client: slowest.client, mean_us: tenth(slowest.mean_us()), max_us: slowest.longest_us };
        let jain = jain(&means);
        means.sort_unstable_by(f64::total_cmp);
        let at = |percent: usize| tenth(means[(means.len() * percent / 100).min(means.len() - 1)]);
        Some(Self {
            clients: means.len() as u64,
            jain,
            p5_us: at(5),
            p50_us: at(50),
            p95_us: at(95),
            slowest,
            by_entry_ratio: ratio(by_entry.iter()),
            by_entry: by_entry.into_iter().map(Group::rounded).collect(),
            by_shard_ratio: ratio(by_shard.iter().map(|shard| &shard.group)),
            by_shard: by_shard
                .into_iter()
                .map(|shard| ShardGroup { group: shard.group.rounded(), ..shard })
                .collect(),
        })
    }

    /// The number, from 1, of the group by order of entry with the longest mean.
    pub fn slowest_by_entry(&self) -> usize {
        let longest = |best: usize, at: usize| {
            if self.by_entry[at].mean_us > self.by_entry[best].mean_us { at } else { best }
        };
        (0..self.by_entry.len()).reduce(longest).map_or(0, |at| at + 1)
    }
}

impl Group {
    fn of(means: &[f64]) -> Self {
        Self { clients: means.len() as u64, mean_us: means.iter().sum::<f64>() / means.len().max(1) as f64 }
    }

    fn rounded(self) -> Self {
        Self { mean_us: tenth(self.mean_us), ..self }
    }
}

/// Jain's index: the square of the sum divided by the sum of the squares and by the count. It is 1
/// if all values are zero.
fn jain(values: &[f64]) -> f64 {
    let sum: f64 = values.iter().sum();
    let squares: f64 = values.iter().map(|value| value * value).sum();
    if squares > 0.0 { sum * sum / (values.len() as f64 * squares) } else { 1.0 }
}

/// The longest mean divided by the shortest; 1 if the shortest is zero.
fn ratio<'a>(groups: impl Iterator<Item = &'a Group> + Clone) -> f64 {
    let means = groups.map(|group| group.mean_us);
    let longest = means.clone().fold(0.0, f64::max);
    let shortest = means.fold(f64::INFINITY, f64::min);
    if shortest > 0.0 && longest > 0.0 { longest / shortest } else { 1.0 }
}

fn tenth(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::fixture::recipients;

    #[test]
    fn equal_latencies_have_a_jain_index_of_one() {
        let fairness = Fairness::of(recipients(40, |_| 500)).expect("recipients");
        assert_eq!((fairness.clients, fairness.jain, fairness.by_entry_ratio), (40, 1.0, 1.0));
        assert_eq!((fairness.p5_us, fairness.p50_us, fairness.p95_us), (500.0, 500.0, 500.0));
        let group = Group { clients: 4, mean_us: 500.0 };
        assert_eq!((fairness.by_entry, fairness.by_shard.len()), (vec![group; 10], 2));
        assert_eq!(Fairness::of(Vec::new()), None);
        assert_eq!(Fairness::of(recipients(3, |_| 0)).map(|fairness| fairness.jain), Some(1.0));
    }

    #[test]
    fn later_entries_that_wait_longer_show() {
        let fairness =
            Fairness::of(recipients(100, |client| 100 + u64::from(client / 10) * 100)).expect("recipients");
        let means: Vec<_> = fairness.by_entry.iter().map(|group| group.mean_us.to_string()).collect();
        assert_eq!(means.join(" "), "100 200 300 400 500 600 700 800 900 1000");
        assert!((fairness.by_entry_ratio - 10.0).abs() < 1e-9);
        assert_eq!((fairness.slowest_by_entry(), fairness.slowest.mean_us), (10, 1000.0));
        assert!((fairness.by_shard_ratio - 1.0).abs() < 1e-9);
        assert_eq!((fairness.p5_us, fairness.p50_us, fairness.p95_us), (100.0, 600.0, 1000.0));
        assert!((fairness.jain - 0.786).abs() < 0.001, "{}", fairness.jain);
    }

    #[test]
    fn a_slow_event_loop_shows() {
        let fairness =
            Fairness::of(recipients(7, |client| 100 + u64::from(client % 2) * 50)).expect("recipients");
        assert_eq!(fairness.by_entry.len(), 7);
        let shard = |shard, clients, mean_us| ShardGroup { shard, group: Group { clients, mean_us } };
        assert_eq!(fairness.by_shard, [shard(0, 4, 100.0), shard(1, 3, 150.0)]);
        assert!((fairness.by_shard_ratio - 1.5).abs() < 1e-9);
    }

    proptest! {
        #[test]
        fn figures_are_within_their_bounds(means in prop::collection::vec(0_u64..10_000_000, 1..300)) {
            let fairness = Fairness::of(recipients(means.len() as u32, |client| means[client as usize]))
                .expect("recipients");
            let clients = means.len() as u64;
            prop_assert!(fairness.jain <= 1.0 + 1e-9 && fairness.jain >= 1.0 / clients as f64 - 1e-9);
            prop_assert!(fairness.by_entry_ratio >= 1.0 && fairness.by_shard_ratio >= 1.0);
            prop_assert!(fairness.p5_us <= fairness.p50_us && fairness.p50_us <= fairness.p95_us);
            let longest = *means.iter().max().expect("one") as f64;
            prop_assert!((fairness.slowest.mean_us - longest).abs() < 0.1);
            prop_assert_eq!(fairness.by_entry.iter().map(|group| group.clients).sum::<u64>(), clients);
            prop_assert_eq!(fairness.by_shard.iter().map(|shard| shard.group.clients).sum::<u64>(), clients);
        }
    }
}
