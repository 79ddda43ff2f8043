//! Memberships of a client in an audience, as far as they can be known from outside the server.

use throng_harness_model::clock::{NEVER, Nanos};

use super::received::grow_slowly;

/// Obligation of the server to deliver a message to a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Class {
    /// The client was not in the room: a delivery is a leak.
    Outside,
    /// The client was entering or leaving: a delivery is optional.
    Indeterminate,
    /// The client was in the room: a missing delivery is a loss.
    Member,
}

/// Interval in which the server handled some messages: from the time they were sent to the time
/// they are known to be handled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) sent_min: Nanos,
    pub(super) sent_max: Nanos,
    pub(super) handled_min: Nanos,
    pub(super) handled_max: Nanos,
}

impl Span {
    /// Span of no messages; it fits every class.
    pub(super) const EMPTY: Self = Self { sent_min: NEVER, sent_max: 0, handled_min: NEVER, handled_max: 0 };

    /// Returns the span of one message, sent at `sent` and handled by `handled`.
    pub(super) fn of(sent: Nanos, handled: Nanos) -> Self {
        Self { sent_min: sent, sent_max: sent, handled_min: handled, handled_max: handled }
    }

    /// Extends the span by that of another message.
    pub(super) fn extend(&mut self, other: Self) {
        self.sent_min = self.sent_min.min(other.sent_min);
        self.sent_max = self.sent_max.max(other.sent_max);
        self.handled_min = self.handled_min.min(other.handled_min);
        self.handled_max = self.handled_max.max(other.handled_max);
    }

    fn is_point(&self) -> bool {
        self.sent_min == self.sent_max && self.handled_min == self.handled_max
    }
}

/// End of a membership.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// The membership goes on.
    Open,
    /// The client requested to leave at `requested`, and had left at `done`.
    Left { requested: Nanos, done: Nanos },
    /// The session ended without a request; the client noticed it at this time.
    Lost(Nanos),
}

/// One stay of a client in an audience.
#[derive(Debug, Clone, Copy)]
pub(super) struct Membership {
    /// Time of the request to enter.
    requested: Nanos,
    /// Time of the server's confirmation; [`NEVER`] until then.
    entered: Nanos,
    end: End,
}

impl Membership {
    pub(super) fn new(now: Nanos) -> Self {
        Self { requested: now, entered: NEVER, end: End::Open }
    }

    pub(super) fn entered(&mut self, now: Nanos) {
        self.entered = now;
    }

    pub(super) fn leave_requested(&mut self, now: Nanos) {
        if self.end == End::Open {
            self.end = End::Left { requested: now, done: NEVER };
        }
    }

    pub(super) fn ended(&mut self, now: Nanos) {
        match &mut self.end {
            End::Open => self.end = End::Lost(now),
            End::Left { done, .. } => *done = now.min(*done),
            End::Lost(_) => {}
        }
    }

    /// Returns the end of the stay; [`NEVER`] while it lasts.
    fn ended_at(&self) -> Nanos {
        match self.end {
            End::Open => NEVER,
            End::Left { done, .. } => done,
            End::Lost(at) => at,
        }
    }

    /// Returns the class that this stay gives all messages of `span`; `None` if they differ.
    ///
    /// A lost client is a member for every message sent before it noticed the loss. It never
    /// requested to leave, so whatever the server did not deliver is missing.
    pub(super) fn class(&self, span: &Span) -> Option<Class> {
        let stayed = match self.end {
            End::Open => true,
            End::Left { requested, .. } => span.handled_max <= requested,
            End::Lost(at) => span.sent_max < at,
        };
        if self.entered <= span.sent_min && stayed {
            return Some(Class::Member);
        }
        if span.handled_max < self.requested || span.sent_min >= self.ended_at() {
            return Some(Class::Outside);
        }
        span.is_point().then_some(Class::Indeterminate)
    }
}

/// Returns the class that several stays of one client give all messages of `span`; `None` if they
/// differ.
fn class(stays: &[Membership], span: &Span) -> Option<Class> {
    // The stays are ordered in time, so a binary search skips those that do not overlap the span.
    let from = stays.partition_point(|stay| stay.ended_at() <= span.sent_min);
    let to = stays.partition_point(|stay| stay.requested <= span.handled_max);
    let mut strongest = Some(Class::Outside);
    for stay in stays.get(from..to).unwrap_or_default() {
        match stay.class(span) {
            Some(Class::Member) => return Some(Class::Member),
            class => strongest = strongest.and_then(|strongest| Some(strongest.max(class?))),
        }
    }
    strongest
}

/// All stays of one client in one audience.
///
/// Most clients have a single stay that goes on, and a client that hears nearby messages has ten
/// audiences. So `Open` allocates nothing.
#[derive(Debug, Default)]
pub(super) enum Stays {
    /// No stay yet.
    #[default]
    None,
    /// A single stay that goes on, as in [`Membership`].
    Open { requested: Nanos, entered: Nanos },
    /// Any other history.
    Many(Box<History>),
}

/// Stays in order of time.
#[derive(Debug, Default)]
pub(super) struct History {
    stays: Vec<Membership>,
    /// True after the server confirmed that the client is out: any later delivery is a leak.
    is_out: bool,
}

impl Stays {
    /// Returns the stays as a list that can be changed.
    fn history(&mut self) -> &mut History {
        let stays = match *self {
            Self::None => Vec::new(),
            Self::Open { requested, entered } => vec![Membership { requested, entered, end: End::Open }],
            Self::Many(ref mut history) => return history,
        };
        *self = Self::Many(Box::new(History { stays, is_out: false }));
        match self {
            Self::Many(history) => history,
            Self::None | Self::Open { .. } => unreachable!("`self` was replaced above"),
        }
    }

    /// Begins another stay: the client is about to request it.
    pub(super) fn begin(&mut self, now: Nanos) {
        if let Self::None = self {
            *self = Self::Open { requested: now, entered: NEVER };
            return;
        }
        let history = self.history();
        history.is_out = false;
        grow_slowly(&mut history.stays);
        history.stays.push(Membership::new(now));
    }

    /// Confirms the last stay.
    pub(super) fn entered(&mut self, now: Nanos) {
        match self {
            Self::None => {}
            Self::Open { entered, .. } => *entered = now,
            Self::Many(history) => history.stays.last_mut().into_iter().for_each(|stay| stay.entered(now)),
        }
    }

    /// Notes that the client is about to request the end of the last stay.
    pub(super) fn leave_requested(&mut self, now: Nanos) {
        self.history().stays.last_mut().into_iter().for_each(|stay| stay.leave_requested(now));
    }

    /// Ends the last stay.
    pub(super) fn ended(&mut self, now: Nanos) {
        self.history().stays.last_mut().into_iter().for_each(|stay| stay.ended(now));
    }

    /// Ends the last stay by the server's confirmation.
    pub(super) fn confirmed_out(&mut self, now: Nanos) {
        self.ended(now);
        self.history().is_out = true;
    }

    /// Returns true if the server has confirmed that the client is out.
    pub(super) fn is_out(&self) -> bool {
        matches!(self, Self::Many(history) if history.is_out)
    }

    /// Returns the time at which the last stay was confirmed, if it was.
    pub(super) fn entered_at(&self) -> Option<Nanos> {
        let entered = match self {
            Self::None => NEVER,
            Self::Open { entered, .. } => *entered,
            Self::Many(history) => history.stays.last()?.entered,
        };
        Some(entered).filter(|entered| *entered != NEVER)
    }

    /// Returns the class of all messages of `span`, as the function [`class`].
    pub(super) fn class(&self, span: &Span) -> Option<Class> {
        match *self {
            Self::None => Some(Class::Outside),
            Self::Open { requested, entered } => {
                class(&[Membership { requested, entered, end: End::Open }], span)
            }
            Self::Many(ref history) => class(&history.stays, span),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stay(requested: Nanos, entered: Nanos, end: End) -> Membership {
        Membership { requested, entered, end }
    }

    #[test]
    fn one_message_against_one_stay() {
        use Class::{Indeterminate, Member, Outside};
        let check = |end, sent, handled, class| {
            assert_eq!(stay(10, 20, end).class(&Span::of(sent, handled)), Some(class), "{sent} {handled}");
        };
        for end in [End::Open, End::Left { requested: 50, done: 60 }, End::Lost(60)] {
            check(end, 5, 9, Outside);
            check(end, 5, 10, Indeterminate);
            check(end, 5, NEVER, Indeterminate);
            check(end, 19, 40, Indeterminate);
            check(end, 20, 40, Member);
        }
        let left = End::Left { requested: 50, done: 60 };
        check(left, 40, 50, Member);
        check(left, 40, 51, Indeterminate);
        check(left, 59, 70, Indeterminate);
        check(left, 60, 70, Outside);
        check(End::Lost(60), 59, NEVER, Member);
        check(End::Lost(60), 60, 61, Outside);
        check(End::Open, 1000, NEVER, Member);
    }

    #[test]
    fn a_stay_that_was_never_confirmed() {
        let check = |sent, handled, class| {
            assert_eq!(stay(10, NEVER, End::Lost(30)).class(&Span::of(sent, handled)), Some(class));
        };
        check(5, 9, Class::Outside);
        check(15, 16, Class::Indeterminate);
        check(30, 31, Class::Outside);
    }

    #[test]
    fn a_span_has_a_class_only_if_all_its_messages_do() {
        let span = Span { sent_min: 30, sent_max: 40, handled_min: 31, handled_max: 45 };
        let check = |stays: &[Membership], class| assert_eq!(super::class(stays, &span), class);
        check(&[], Some(Class::Outside));
        check(&[stay(10, 20, End::Open)], Some(Class::Member));
        check(&[stay(10, 35, End::Open)], None);
        check(&[stay(1, 2, End::Lost(5)), stay(10, 20, End::Open)], Some(Class::Member));
        check(&[stay(1, 2, End::Lost(5)), stay(50, 60, End::Open)], Some(Class::Outside));
        check(&[stay(10, 35, End::Open), stay(50, 60, End::Open)], None);
    }

    #[test]
    fn an_open_stay_allocates_nothing_and_counts_the_same() {
        use Class::{Indeterminate, Member, Outside};
        let mut stays = Stays::default();
        let check = |stays: &Stays, sent, handled, class| {
            assert_eq!(stays.class(&Span::of(sent, handled)), Some(class), "{stays:?}");
        };
        check(&stays, 5, 6, Outside);
        stays.begin(10);
        assert_eq!((stays.entered_at(), size_of::<Stays>()), (None, 24));
        check(&stays, 5, 20, Indeterminate);
        stays.entered(20);
        assert!(matches!(stays, Stays::Open { .. }) && stays.entered_at() == Some(20));
        check(&stays, 30, 31, Member);
        stays.leave_requested(40);
        check(&stays, 30, 41, Indeterminate);
        stays.confirmed_out(50);
        assert!(stays.is_out());
        check(&stays, 50, 51, Outside);
        stays.begin(60);
        stays.entered(70);
        assert!(!stays.is_out());
        check(&stays, 30, 39, Member);
        check(&stays, 52, 59, Outside);
        check(&stays, 70, 71, Member);
    }

    #[test]
    fn only_the_first_end_counts() {
        let mut lost = Membership::new(1);
        lost.ended(5);
        lost.leave_requested(6);
        lost.ended(7);
        assert_eq!(lost.end, End::Lost(5));
        let mut left = Membership::new(1);
        left.leave_requested(6);
        left.leave_requested(7);
        left.ended(8);
        left.ended(9);
        assert_eq!(left.end, End::Left { requested: 6, done: 8 });
    }
}
