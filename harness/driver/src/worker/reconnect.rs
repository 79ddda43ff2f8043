//! Clients that hang up and come again: some all the time, or all at once.

use throng_core::net::Sessions;
use throng_core::wire::CloseReason;
use throng_harness_model::clock::{NEVER, Nanos};
use throng_harness_model::plan::mixed;
use throng_harness_model::schedule::Pace;

use super::Worker;
use super::client::Step;

/// Connections begun in one turn.
const DIALS_PER_TURN: usize = 8;

/// A worker's way through reconnects.
#[derive(Debug, Default)]
pub(super) struct Reconnects {
    /// When somebody hangs up, while that goes on, and the next turn.
    churn: Option<(Pace, u32)>,
}

impl Reconnects {
    /// When there is something to do.
    pub(super) fn next_due(&self) -> Nanos {
        self.churn.map_or(NEVER, |(pace, next)| pace.intended(next))
    }
}

impl Worker {
    /// So many clients a second, of all workers together, hang up and come again; none from now on without a number.
    pub(super) fn reconnect(&mut self, per_second: Option<u32>) {
        let now = self.plan.clock.now();
        self.reconnects.churn = per_second.map(|count| (Pace::per_second(now, count), 0));
    }

    /// Everybody hangs up and comes again.
    pub(super) fn storm(&mut self, sessions: &mut Sessions) {
        let now = self.plan.clock.now();
        for place in 0..self.clients.len() {
            self.hang_up(sessions, place, now);
        }
        self.totals.stormed = 1;
    }

    /// True if there are more to come back than one turn takes.
    pub(super) fn reconnects_due(&mut self, sessions: &mut Sessions, now: Nanos) -> bool {
        while let Some((pace, next)) = self.reconnects.churn
            && pace.intended(next) <= now
        {
            self.reconnects.churn = Some((pace, next + 1));
            let client = (mixed(self.plan.seed ^ u64::from(next)) % u64::from(self.plan.clients)) as u32;
            if client % self.plan.workers == self.index {
                self.hang_up(sessions, (client / self.plan.workers) as usize, now);
            }
        }
        for _ in 0..DIALS_PER_TURN {
            if self.on_the_way.len() >= self.entry_limiter.limit() {
                return false;
            }
            let Some(place) = self.returning.pop_front() else { return false };
            self.begin(sessions, place as usize, now);
        }
        !self.returning.is_empty() && self.on_the_way.len() < self.entry_limiter.limit()
    }

    /// A client that is in the chat hangs up, and is to come again.
    fn hang_up(&mut self, sessions: &mut Sessions, place: usize, now: Nanos) {
        let number = self.number(place);
        let client = &mut self.clients[place];
        let (Step::Inside, Some(session)) = (client.step, client.chat) else { return };
        client.chat = None;
        client.step = Step::Idle;
        client.left_at = now.max(1);
        client.kept = None;
        self.totals.listed -= 1;
        self.totals.connected -= 1;
        self.totals.away += 1;
        self.plan.presence.set(number, 0);
        self.harvest.reconnects.asked += 1;
        self.returning.push_back(place as u32);
        sessions.close(session, CloseReason::Goodbye, "");
    }

    /// A client has come in; true if it had been in before.
    pub(super) fn is_back(&mut self, place: usize, now: Nanos) -> bool {
        let left_at = std::mem::take(&mut self.clients[place].left_at);
        if left_at == 0 {
            return false;
        }
        self.totals.away -= 1;
        self.harvest.reconnects.back += 1;
        self.harvest.phases.entry("reconnect".into()).or_default().record(now.saturating_sub(left_at));
        true
    }

    /// A client will not get in; true if it had been in before, and is as good as thrown out.
    pub(super) fn stays_away(&mut self, place: usize, why: &str) -> bool {
        if std::mem::take(&mut self.clients[place].left_at) == 0 {
            return false;
        }
        self.totals.away -= 1;
        self.totals.disconnected += 1;
        self.count_reason("reconnecting", why);
        true
    }
}
