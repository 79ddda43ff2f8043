//! Requests in the chat whose fate is not known yet, numbered as docs/protocol.md wants it
//! ("Resuming").

use std::collections::VecDeque;

use throng_core::wire::Packet;

/// Requests whose effect the client has not seen, in the order in which they were made.
#[derive(Debug, Default)]
pub(crate) struct Requests {
    /// Number of the latest request, counted from EnterAnswer.
    sent: u32,
    /// With their numbers; none for a request that waits for the next connection.
    waiting: VecDeque<(Option<u32>, Packet)>,
}

/// Requests after a resume.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Settled {
    /// Those that the server has not handled.
    pub(crate) again: Vec<Packet>,
    /// Those that it has handled, and whose effect the client has not seen.
    pub(crate) handled: Vec<Packet>,
}

impl Requests {
    /// Most requests that wait. More show a server that does not answer.
    pub(crate) const MAX: usize = 1_024;
    /// Requests that wait without a ping among them. A ping settles those before it.
    pub(crate) const PING_AT: usize = 64;

    pub(crate) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Returns true if an answer or an effect is awaited. A position has none.
    pub(crate) fn is_waiting(&self) -> bool {
        self.waiting.iter().any(|(_, request)| !matches!(request, Packet::PositionUpdate(_)))
    }

    /// Returns true if the copy of a message is awaited.
    pub(crate) fn has_message(&self) -> bool {
        self.waiting.iter().any(|(_, request)| matches!(request, Packet::ChatRequest(_)))
    }

    /// Counts a request that is sent.
    pub(crate) fn sent(&mut self, request: &Packet) {
        self.sent = self.sent.wrapping_add(1);
        self.push(Some(self.sent), request.clone());
    }

    /// Keeps a request that is made while there is no connection.
    pub(crate) fn keep(&mut self, request: Packet) {
        self.push(None, request);
    }

    fn push(&mut self, number: Option<u32>, request: Packet) {
        if let Packet::PositionUpdate(_) = request {
            // Only the latest position matters, and none is answered.
            self.waiting.retain(|(_, waiting)| !matches!(waiting, Packet::PositionUpdate(_)));
        }
        self.waiting.push_back((number, request));
    }

    /// Takes out the first request that `is_it`.
    pub(crate) fn take(&mut self, is_it: impl Fn(&Packet) -> bool) -> Option<Packet> {
        let at = self.waiting.iter().position(|(_, request)| is_it(request))?;
        self.waiting.remove(at).map(|(_, request)| request)
    }

    /// Takes out the message with this stamp, which has come back. Earlier ones to the same
    /// audience were handled before it, and fell into a gap.
    pub(crate) fn saw_own(&mut self, stamp: u64) {
        let message = |request: &Packet| match request {
            Packet::ChatRequest(it) => Some((it.scope, it.target, it.stamp)),
            _ => None,
        };
        let Some(at) =
            self.waiting.iter().position(|(_, request)| message(request).is_some_and(|(.., of)| of == stamp))
        else {
            return;
        };
        let audience = message(&self.waiting[at].1).map(|(scope, target, _)| (scope, target));
        let mut place = 0;
        self.waiting.retain(|(_, request)| {
            place += 1;
            place > at + 1 || message(request).map(|(scope, target, _)| (scope, target)) != audience
        });
    }

    /// Takes out a ping, and the messages before it: they have been handled.
    pub(crate) fn saw_pong(&mut self, token: u64) {
        let is_it = |request: &Packet| matches!(request, Packet::PingRequest(it) if it.token == token);
        let Some(at) = self.waiting.iter().position(|(_, request)| is_it(request)) else { return };
        let mut place = 0;
        self.waiting.retain(|(_, request)| {
            place += 1;
            place > at + 1 || !(matches!(request, Packet::ChatRequest(_)) || is_it(request))
        });
    }

    /// Takes out everything, for a place that is lost.
    pub(crate) fn take_all(&mut self) -> Vec<Packet> {
        self.waiting.drain(..).map(|(_, request)| request).collect()
    }

    /// Takes out everything after a resume: the server has handled requests up to the number
    /// `handled`. None if that contradicts what was sent.
    pub(crate) fn settle(&mut self, handled: u32) -> Option<Settled> {
        let unseen = self.sent.wrapping_sub(handled);
        // Numbers wrap around: a difference this large is a number from the future.
        if unseen > u32::MAX / 2 {
            return None;
        }
        let mut settled = Settled::default();
        for (number, request) in self.waiting.drain(..) {
            let is_handled = number.is_some_and(|number| self.sent.wrapping_sub(number) >= unseen);
            if is_handled { settled.handled.push(request) } else { settled.again.push(request) }
        }
        self.sent = handled;
        Some(settled)
    }
}

#[cfg(test)]
mod tests {
    use throng_core::wire::Text;
    use throng_core::wire::packets::{ChatRequest, PingRequest, PositionUpdate, Scope};

    use super::*;

    fn say(scope: Scope, stamp: u64) -> Packet {
        ChatRequest { scope, target: 0, stamp, text: Text::truncated("hi") }.into()
    }

    fn world(stamp: u64) -> Packet {
        say(Scope::World, stamp)
    }

    fn ping(token: u64) -> Packet {
        PingRequest { token }.into()
    }

    #[test]
    fn requests_up_to_the_handled_one_are_not_sent_again() {
        let mut requests = Requests::default();
        (1..=4).for_each(|stamp| requests.sent(&world(stamp)));
        requests.keep(world(5));
        let settled = requests.settle(3).unwrap();
        assert_eq!(settled.again, [world(4), world(5)]);
        assert_eq!(settled.handled, [world(1), world(2), world(3)]);
        settled.again.iter().for_each(|request| requests.sent(request));
        assert_eq!(requests.settle(5).unwrap(), Settled { again: vec![], handled: settled.again });
        assert_eq!(requests.settle(6), None, "more than were sent");
    }

    #[test]
    fn a_kept_request_is_sent_though_all_others_are_handled() {
        let mut requests = Requests::default();
        requests.sent(&world(1));
        requests.keep(world(2));
        assert_eq!(requests.settle(1).unwrap().again, [world(2)]);
    }

    #[test]
    fn numbers_wrap_around() {
        let mut requests = Requests { sent: u32::MAX - 1, ..Requests::default() };
        (1..=3).for_each(|stamp| requests.sent(&world(stamp)));
        let settled = requests.settle(0).unwrap();
        assert_eq!((settled.handled, settled.again), (vec![world(1), world(2)], vec![world(3)]));
    }

    #[test]
    fn an_own_message_settles_the_earlier_ones_of_its_audience() {
        let mut requests = Requests::default();
        for request in [world(1), say(Scope::Nearby, 2), world(3), world(4)] {
            requests.sent(&request);
        }
        requests.saw_own(3);
        requests.saw_own(99);
        assert_eq!(requests.take_all(), [say(Scope::Nearby, 2), world(4)]);
    }

    #[test]
    fn a_pong_settles_messages_and_only_the_latest_position_waits() {
        let mut requests = Requests::default();
        let at = |x| Packet::from(PositionUpdate { x, y: 0 });
        for request in [at(1), world(1), at(2), ping(7), world(2)] {
            requests.sent(&request);
        }
        assert!(requests.is_waiting());
        requests.saw_pong(7);
        assert_eq!(requests.len(), 2);
        assert_eq!(requests.settle(3).unwrap().handled, [at(2)]);
        requests.sent(&at(3));
        assert!(!requests.is_waiting(), "a position is not answered");
    }
}
