//! Kinds of events that a simulation has to reach, and their counts.

use std::fmt;

macro_rules! kinds {
    ($($(#[$doc:meta])* $kind:ident,)*) => {
        /// A kind of event.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(super) enum Kind { $($(#[$doc])* $kind,)* }

        impl Kind {
            pub(super) const ALL: &[Self] = &[$(Self::$kind,)*];
        }
    };
}

kinds! {
    LinkCut,
    LoginKilled,
    ChatKilled,
    AgentKilled,
    LoginPaused,
    ChatPaused,
    AgentPaused,
    /// A pause that ended with packets waiting.
    BurstAfterPause,
    ClockForward,
    ClockBack,
    TurnedReadOnly,
    ReadOnlyRefusal,
    Hang,
    /// An answer of a call that hung for less than the driver's limit.
    LateAnswer,
    ThreadReplaced,
    AnswerAfterReplacement,
    DatabaseDown,
    BrokenConnection,
    /// The commit was done, and its answer was lost.
    LostAnswer,
    /// A late list or renewal closed the link of its process.
    Overtaken,
    Flood,
    ForeignPacket,
    TicketReplayed,
    ForeignLogin,
    NeverRead,
    ClosedBusy,
    Kicked,
    TooFast,
    /// A password for which an agent had no time.
    NoTime,
    /// A client that was told its position in the queue.
    Queued,
    /// A session that a login elsewhere replaced.
    Replaced,
    Entered,
    Spoke,
    SpokeToCrowd,
    TicketExpired,
    Coalesced,
    /// A lost connection of which the server learns at once.
    LineBroken,
    /// A lost connection of which the server does not know.
    HalfOpen,
    /// A lost connection of which the server has learned late.
    NoticedLate,
    /// Packets to the server that were lost with their connection.
    PacketsLost,
    /// Packets to a member that were lost with its connection.
    AnswersLost,
    Resumed,
    /// A client resumed before the server had noticed that its connection was lost.
    ResumedElsewhere,
    /// A client presented its token over two connections at once.
    ResumedTwice,
    /// The newest token had not reached its client.
    ResumedWithOlderToken,
    /// Packets that were sent again, because the server had not handled them.
    SentAgain,
    /// A message that came from what the server keeps.
    CaughtUp,
    ResumeGap,
    /// Answers that were not kept until their client resumed.
    AnswersForgotten,
    /// A user that was not back in time.
    PlaceGivenUp,
    /// A user that was away for the longest when too many were.
    PlacesFull,
    /// A login elsewhere ended the place of a user that was away.
    AwayReplaced,
    KickedWhileAway,
    /// A player whose place was gone.
    PlaceLost,
    /// A player that came back with a token of the chat server's last start.
    ForeignEpoch,
    TokenRefused,
    TokenStolen,
    HistoryRead,
}

/// Number of events of each kind.
#[derive(Clone)]
pub(super) struct Counts([u64; Kind::ALL.len()]);

impl Default for Counts {
    fn default() -> Self {
        Self([0; Kind::ALL.len()])
    }
}

impl Counts {
    pub(super) fn add(&mut self, kind: Kind) {
        self.0[kind as usize] += 1;
    }

    pub(super) fn merge(&mut self, other: &Self) {
        for (count, more) in self.0.iter_mut().zip(other.0) {
            *count += more;
        }
    }

    /// Returns the kinds that have never occurred.
    pub(super) fn missing(&self) -> Vec<Kind> {
        Kind::ALL.iter().copied().filter(|kind| self.0[*kind as usize] == 0).collect()
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Kind::ALL.iter().try_for_each(|kind| writeln!(f, "{:>10} {kind:?}", self.0[*kind as usize]))
    }
}
