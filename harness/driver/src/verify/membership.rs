//! When a client was in the room, as far as that can be known from outside.

use throng_harness_model::clock::{NEVER, Nanos};

use super::received::grow_slowly;

/// Whether a client had to get a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Class {
    /// It was not in the room: getting the message is a leak.
    Outside,
    /// Its entering or leaving was under way: it may get the message or not.
    Indeterminate,
    /// It was in the room: not getting the message is a loss.
    Member,
}

/// When the server dealt with some messages: not before they were sent, and not after it
/// is known to have dealt with them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) sent_min: Nanos,
    pub(super) sent_max: Nanos,
    pub(super) handled_min: Nanos,
    pub(super) handled_max: Nanos,
}

impl Span {
    /// No message yet; every class holds for all of none.
    pub(super) const EMPTY: Self = Self { sent_min: NEVER, sent_max: 0, handled_min: NEVER, handled_max: 0 };

    /// The span of one message, sent at `sent` and dealt with no later than `handled`.
    pub(super) fn of(sent: Nanos, handled: Nanos) -> Self {
        Self { sent_min: sent, sent_max: sent, handled_min: handled, handled_max: handled }
    }

    /// Takes a message's span in.
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

/// How a membership ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// It has not.
    Open,
    /// The client asked to leave at `asked` and had left at `done`.
    Asked { asked: Nanos, done: Nanos },
    /// The session ended unasked, and the client knew it at this time.
    Lost(Nanos),
}

/// One stay in the room.
#[derive(Debug, Clone, Copy)]
pub(super) struct Membership {
    /// When the client asked to enter.
    asked: Nanos,
    /// When the server confirmed it; [`NEVER`] until then.
    entered: Nanos,
    end: End,
}

impl Membership {
    pub(super) fn asked(now: Nanos) -> Self {
        Self { asked: now, entered: NEVER, end: End::Open }
    }

    pub(super) fn entered(&mut self, now: Nanos) {
        self.entered = now;
    }

    pub(super) fn asked_out(&mut self, now: Nanos) {
        if self.end == End::Open {
            self.end = End::Asked { asked: now, done: NEVER };
        }
    }

    pub(super) fn gone(&mut self, now: Nanos) {
        match &mut self.end {
            End::Open => self.end = End::Lost(now),
            End::Asked { done, .. } => *done = now.min(*done),
            End::Lost(_) => {}
        }
    }

    /// When it was over; [`NEVER`] while it is not.
    fn over(&self) -> Nanos {
        match self.end {
            End::Open => NEVER,
            End::Asked { done, .. } => done,
            End::Lost(at) => at,
        }
    }

    /// What this stay makes of all messages of `span` alike; none if they differ.
    ///
    /// A lost client counts as a member for all that was sent until the loss was seen: it
    /// never asked to leave, so whatever the server did not deliver is missing.
    pub(super) fn class(&self, span: &Span) -> Option<Class> {
        let stayed = match self.end {
            End::Open => true,
            End::Asked { asked, .. } => span.handled_max <= asked,
            End::Lost(at) => span.sent_max < at,
        };
        if self.entered <= span.sent_min && stayed {
            return Some(Class::Member);
        }
        if span.handled_max < self.asked || span.sent_min >= self.over() {
            return Some(Class::Outside);
        }
        span.is_point().then_some(Class::Indeterminate)
    }
}

/// What several stays of one client make of all messages of `span` alike; none if they differ.
fn class(stays: &[Membership], span: &Span) -> Option<Class> {
    // One after the other in time, so that most of many can be passed over.
    let from = stays.partition_point(|stay| stay.over() <= span.sent_min);
    let to = stays.partition_point(|stay| stay.asked <= span.handled_max);
    let mut strongest = Some(Class::Outside);
    for stay in stays.get(from..to).unwrap_or_default() {
        match stay.class(span) {
            Some(Class::Member) => return Some(Class::Member),
            class => strongest = strongest.and_then(|strongest| Some(strongest.max(class?))),
        }
    }
    strongest
}

/// All stays of one client with one audience.
///
/// Most have one that goes on, and there are ten of these for a client that hears what is said nearby: that one owns nothing.
#[derive(Debug, Default)]
pub(super) enum Stays {
    /// It was never there.
    #[default]
    None,
    /// It came once, and is there: when it asked, and when that was confirmed ([`NEVER`] until then).
    Open { asked: Nanos, entered: Nanos },
    /// Anything else.
    Many(Box<Past>),
}

/// Stays in the order of time.
#[derive(Debug, Default)]
pub(super) struct Past {
    stays: Vec<Membership>,
    /// Whether the server has said that the client is out: from then on it must not get anything.
    is_out: bool,
}

impl Stays {
    /// All of them, to be changed.
    fn past(&mut self) -> &mut Past {
        let stays = match *self {
            Self::None => Vec::new(),
            Self::Open { asked, entered } => vec![Membership { asked, entered, end: End::Open }],
            Self::Many(ref mut past) => return past,
        };
        *self = Self::Many(Box::new(Past { stays, is_out: false }));
        match self {
            Self::Many(past) => past,
            Self::None | Self::Open { .. } => unreachable!("it was made just now"),
        }
    }

    /// The client is about to ask for another.
    pub(super) fn begin(&mut self, now: Nanos) {
        if let Self::None = self {
            *self = Self::Open { asked: now, entered: NEVER };
            return;
        }
        let past = self.past();
        past.is_out = false;
        grow_slowly(&mut past.stays);
        past.stays.push(Membership::asked(now));
    }

    /// The last one has been confirmed.
    pub(super) fn entered(&mut self, now: Nanos) {
        match self {
            Self::None => {}
            Self::Open { entered, .. } => *entered = now,
            Self::Many(past) => past.stays.last_mut().into_iter().for_each(|stay| stay.entered(now)),
        }
    }

    /// The client is about to end the last one.
    pub(super) fn asked_out(&mut self, now: Nanos) {
        self.past().stays.last_mut().into_iter().for_each(|stay| stay.asked_out(now));
    }

    /// The last one is over.
    pub(super) fn gone(&mut self, now: Nanos) {
        self.past().stays.last_mut().into_iter().for_each(|stay| stay.gone(now));
    }

    /// The server has said so.
    pub(super) fn told_out(&mut self, now: Nanos) {
        self.gone(now);
        self.past().is_out = true;
    }

    /// Whether the server has said that the client is out.
    pub(super) fn is_out(&self) -> bool {
        matches!(self, Self::Many(past) if past.is_out)
    }

    /// When the last one was confirmed, if it was.
    pub(super) fn entered_at(&self) -> Option<Nanos> {
        let entered = match self {
            Self::None => NEVER,
            Self::Open { entered, .. } => *entered,
            Self::Many(past) => past.stays.last()?.entered,
        };
        Some(entered).filter(|entered| *entered != NEVER)
    }

    /// As [`class`].
    pub(super) fn class(&self, span: &Span) -> Option<Class> {
        match *self {
            Self::None => Some(Class::Outside),
            Self::Open { asked, entered } => class(&[Membership { asked, entered, end: End::Open }], span),
            Self::Many(ref past) => class(&past.stays, span),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stay(asked: Nanos, entered: Nanos, end: End) -> Membership {
        Membership { asked, entered, end }
    }

    #[test]
    fn one_message_against_one_stay() {
        use Class::{Indeterminate, Member, Outside};
        let check = |end, sent, handled, class| {
            assert_eq!(stay(10, 20, end).class(&Span::of(sent, handled)), Some(class), "{sent} {handled}");
        };
        for end in [End::Open, End::Asked { asked: 50, done: 60 }, End::Lost(60)] {
            check(end, 5, 9, Outside);
            check(end, 5, 10, Indeterminate);
            check(end, 5, NEVER, Indeterminate);
            check(end, 19, 40, Indeterminate);
            check(end, 20, 40, Member);
        }
        let asked = End::Asked { asked: 50, done: 60 };
        check(asked, 40, 50, Member);
        check(asked, 40, 51, Indeterminate);
        check(asked, 59, 70, Indeterminate);
        check(asked, 60, 70, Outside);
        check(End::Lost(60), 59, NEVER, Member);
        check(End::Lost(60), 60, 61, Outside);
        check(End::Open, 1000, NEVER, Member);
    }

    #[test]
    fn an_entering_that_was_never_confirmed() {
        let check = |sent, handled, class| {
            assert_eq!(stay(10, NEVER, End::Lost(30)).class(&Span::of(sent, handled)), Some(class));
        };
        check(5, 9, Class::Outside);
        check(15, 16, Class::Indeterminate);
        check(30, 31, Class::Outside);
    }

    #[test]
    fn many_messages_at_once_or_not_at_all() {
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
    fn one_stay_that_goes_on_owns_nothing_and_counts_the_same() {
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
        stays.asked_out(40);
        check(&stays, 30, 41, Indeterminate);
        stays.told_out(50);
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
    fn the_first_end_counts() {
        let mut lost = Membership::asked(1);
        lost.gone(5);
        lost.asked_out(6);
        lost.gone(7);
        assert_eq!(lost.end, End::Lost(5));
        let mut left = Membership::asked(1);
        left.asked_out(6);
        left.asked_out(7);
        left.gone(8);
        left.gone(9);
        assert_eq!(left.end, End::Asked { asked: 6, done: 8 });
    }
}
