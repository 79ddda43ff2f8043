//! Rates to which each client of the chat is held.
//!
//! A packet that comes too fast is not handled: the client is told which one, and how long to wait.
//! A client that goes on is closed.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use throng_core::bucket::{Bucket, Buckets, REFUSALS};
use throng_core::config::{Limits, Rate};
use throng_core::wire::packets::{ChannelCreateRequest, Scope, TooFast};
use throng_core::wire::{Body, Packet};
use throng_core::{SessionId, metrics};

/// Kinds of packets with a rate of their own.
#[derive(Clone, Copy)]
enum Kind {
    World,
    Channel,
    Nearby,
    Whisper,
    Request,
    Position,
}

impl Kind {
    const COUNT: usize = 6;

    fn of(packet: &Packet) -> Option<Self> {
        match packet {
            Packet::ChatRequest(request) => Some(match request.scope {
                Scope::World => Self::World,
                Scope::Channel => Self::Channel,
                Scope::Nearby => Self::Nearby,
                Scope::Whisper => Self::Whisper,
            }),
            Packet::PositionUpdate(_) => Some(Self::Position),
            // These come once.
            Packet::EnterRequest(_) | Packet::ResumeRequest(_) | Packet::ExitRequest(_) => None,
            _ => Some(Self::Request),
        }
    }
}

/// Decision about a packet.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is handled.
    Handle,
    /// The client is told to wait.
    Refuse(TooFast),
    /// The client is closed.
    Close,
}

/// The use that one client has made of its rates.
#[derive(Debug, Default)]
struct Use {
    kinds: [Bucket; Kind::COUNT],
    refusals: Bucket,
}

impl Use {
    /// Refuses a packet of the type `packet` until `wait` has passed.
    fn refuse(&mut self, packet: u16, stamp: u64, wait: Duration, now: Instant) -> Verdict {
        metrics::TOO_FAST.inc();
        match self.refusals.take(REFUSALS, now) {
            Ok(()) => Verdict::Refuse(TooFast::new(packet, stamp, wait)),
            Err(_) => Verdict::Close,
        }
    }
}

/// The clients that are held to the rates.
#[derive(Debug)]
pub(super) struct Throttle {
    rates: [Rate; Kind::COUNT],
    clients: HashMap<SessionId, Box<Use>>,
    /// By user, while it has no session. A client that resumes does not begin anew.
    away: HashMap<u32, Box<Use>>,
    /// By account, so that a new session does not begin anew.
    channels_made: Buckets<u64>,
}

impl Throttle {
    /// Creates a throttle without clients.
    pub(super) fn new(limits: &Limits) -> Self {
        let Limits { world, channel, nearby, whisper, requests, positions, .. } = *limits;
        Self {
            rates: [world, channel, nearby, whisper, requests, positions],
            clients: HashMap::new(),
            away: HashMap::new(),
            channels_made: Buckets::new(limits.channels_made),
        }
    }

    /// Holds a client to the rates from now on.
    pub(super) fn hold(&mut self, session: SessionId) {
        self.clients.insert(session, Box::default());
    }

    #[cfg(test)]
    pub(super) fn count(&self) -> usize {
        self.clients.len() + self.away.len()
    }

    /// Forgets a client.
    pub(super) fn forget(&mut self, session: SessionId) {
        self.clients.remove(&session);
    }

    /// Keeps the use of a client whose session is lost, for its user.
    pub(super) fn detach(&mut self, session: SessionId, user: u32) {
        if let Some(client) = self.clients.remove(&session) {
            self.away.insert(user, client);
        }
    }

    /// Gives a user's use to the session in which it resumes. An exempt session stays exempt.
    pub(super) fn resume(&mut self, session: SessionId, user: u32) {
        if let (Some(client), Some(here)) = (self.away.remove(&user), self.clients.get_mut(&session)) {
            *here = client;
        }
    }

    /// Forgets a user that will not resume.
    pub(super) fn vacate(&mut self, user: u32) {
        self.away.remove(&user);
    }

    /// Counts a packet of a client at `now`.
    pub(super) fn judge(&mut self, session: SessionId, packet: &Packet, now: Instant) -> Verdict {
        let Some(client) = self.clients.get_mut(&session) else { return Verdict::Handle };
        let Some(kind) = Kind::of(packet) else { return Verdict::Handle };
        let Err(wait) = client.kinds[kind as usize].take(self.rates[kind as usize], now) else {
            return Verdict::Handle;
        };
        let stamp = if let Packet::ChatRequest(request) = packet { request.stamp } else { 0 };
        client.refuse(packet.number(), stamp, wait, now)
    }

    /// Judges a request of a client with this account to make a channel.
    pub(super) fn judge_channel(&mut self, session: SessionId, account: u64, now: Instant) -> Verdict {
        let Some(client) = self.clients.get_mut(&session) else { return Verdict::Handle };
        let Err(wait) = self.channels_made.check(&account, now) else { return Verdict::Handle };
        metrics::CHANNELS_TOO_FAST.inc();
        client.refuse(ChannelCreateRequest::NUMBER, 0, wait, now)
    }

    /// Counts a channel that a client with this account has made.
    pub(super) fn made_channel(&mut self, session: SessionId, account: u64, now: Instant) {
        if self.clients.contains_key(&session) {
            self.channels_made.charge(account, now);
        }
    }
}

#[cfg(test)]
mod tests {
    use throng_core::config::Config;
    use throng_core::wire::packets::{ChatRequest, ChatText, PingRequest};

    use super::*;

    #[test]
    fn a_flooder_is_told_to_wait_and_closed_if_it_goes_on() {
        let mut limits = Config::default().limits;
        limits.world = Rate::new(2, Duration::from_secs(2));
        let mut throttle = Throttle::new(&limits);
        let [flooder, exempt] = [1, 2].map(|slot| SessionId::new(0, slot, 0));
        throttle.hold(flooder);
        let say = |stamp| -> Packet {
            let text = ChatText::new("x").unwrap();
            ChatRequest { scope: Scope::World, target: 0, stamp, text }.into()
        };
        let mut now = Instant::now();
        let refused = |stamp, wait_ms| Verdict::Refuse(TooFast { packet: say(0).number(), stamp, wait_ms });
        assert_eq!(throttle.judge(flooder, &say(1), now), Verdict::Handle);
        assert_eq!(throttle.judge(flooder, &say(2), now), Verdict::Handle);
        assert_eq!(throttle.judge(flooder, &say(3), now), refused(3, 1000));
        now += Duration::from_millis(900);
        assert_eq!(throttle.judge(flooder, &say(4), now), refused(4, 100));
        let ping = PingRequest { token: 1 }.into();
        assert_eq!(throttle.judge(flooder, &ping, now), Verdict::Handle, "another kind");
        now += Duration::from_millis(100);
        assert_eq!(throttle.judge(flooder, &say(5), now), Verdict::Handle, "it waited");
        let verdicts: Vec<_> = (0..200).map(|stamp| throttle.judge(flooder, &say(stamp), now)).collect();
        assert!(matches!(verdicts[50], Verdict::Refuse(_)));
        assert_eq!(verdicts[199], Verdict::Close);
        assert!((0..200).all(|stamp| throttle.judge(exempt, &say(stamp), now) == Verdict::Handle));
        // A new connection of the same user is held as before.
        let again = SessionId::new(0, 3, 0);
        throttle.hold(again);
        throttle.detach(flooder, 7);
        throttle.resume(again, 7);
        assert_eq!(throttle.judge(again, &say(9), now), Verdict::Close);
        throttle.detach(again, 7);
        throttle.vacate(7);
        assert_eq!((throttle.judge(again, &say(9), now), throttle.count()), (Verdict::Handle, 0));
    }

    #[test]
    fn an_account_makes_channels_at_a_rate_whatever_its_sessions() {
        let mut limits = Config::default().limits;
        limits.channels_made = Rate::new(2, Duration::from_mins(1));
        let mut throttle = Throttle::new(&limits);
        let [first, second, exempt] = [1, 2, 3].map(|slot| SessionId::new(0, slot, 0));
        let now = Instant::now();
        throttle.hold(first);
        for _ in 0..2 {
            assert_eq!(throttle.judge_channel(first, 7, now), Verdict::Handle);
            throttle.made_channel(first, 7, now);
        }
        throttle.forget(first);
        throttle.hold(second);
        let refused = TooFast { packet: ChannelCreateRequest::NUMBER, stamp: 0, wait_ms: 30_000 };
        assert_eq!(throttle.judge_channel(second, 7, now), Verdict::Refuse(refused));
        assert_eq!(throttle.judge_channel(second, 8, now), Verdict::Handle, "another account");
        assert_eq!(throttle.judge_channel(second, 7, now + Duration::from_secs(30)), Verdict::Handle);
        throttle.made_channel(exempt, 7, now);
        assert_eq!(throttle.judge_channel(exempt, 7, now), Verdict::Handle);
        let verdicts = [(); 100].map(|()| throttle.judge_channel(second, 7, now));
        assert_eq!(verdicts[99], Verdict::Close, "it goes on");
    }
}
