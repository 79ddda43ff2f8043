//! The reasons of what clients met: each an event and its cause.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// An event that a client had a reason for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Event {
    /// The server turned it away.
    Refused,
    /// It did not enter, for another cause.
    Failed,
    /// It lost its session in the chat.
    Disconnected,
    /// It lost its session after it had asked to leave.
    Leaving,
    /// It disconnected on purpose, and did not enter again.
    Reconnecting,
    /// It could not join a channel, or was removed from one.
    Channel,
    /// Its message was refused.
    MessageRefused,
    /// It was told that a message was refused that it had not sent.
    OtherMessageRefused,
}

impl Event {
    /// The name in reports.
    fn name(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Failed => "failed",
            Self::Disconnected => "disconnected",
            Self::Leaving => "leaving",
            Self::Reconnecting => "reconnecting",
            Self::Channel => "channel",
            Self::MessageRefused => "message refused",
            Self::OtherMessageRefused => "message of another refused",
        }
    }
}

/// The number of events by their reasons.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reasons(BTreeMap<(Event, Cow<'static, str>), u64>);

impl Reasons {
    /// Counts `count` events of one cause.
    pub fn count(&mut self, event: Event, cause: impl Into<Cow<'static, str>>, count: u64) {
        *self.0.entry((event, cause.into())).or_default() += count;
    }

    /// Adds the events of another worker.
    pub fn merge(&mut self, other: Self) {
        for ((event, cause), count) in other.0 {
            self.count(event, cause, count);
        }
    }

    /// The number of all events.
    pub fn total(&self) -> u64 {
        self.0.values().sum()
    }

    /// The reason, if all events have the same.
    pub fn only(&self) -> Option<(Event, &str)> {
        let mut all = self.0.keys();
        let (Some((event, cause)), None) = (all.next(), all.next()) else { return None };
        Some((*event, cause))
    }

    /// The counts by `event: cause`, as reports have them.
    pub fn named(&self) -> BTreeMap<String, u64> {
        let named = |((event, cause), count): (&(Event, Cow<'_, str>), &u64)| {
            (format!("{}: {cause}", event.name()), *count)
        };
        self.0.iter().map(named).collect()
    }
}
