//! Admission to the chat: tickets, each valid once, and the logins that are expected.
//!
//! Minted tickets that were used are kept until they expire, at most `USED_TICKETS_MAX` of them. An
//! expected login ends when its client enters, when it is cancelled, when the link to its login
//! server is lost, or when its ticket expires.
//!
//! Tickets have times of the wall clock, which may be set forward and back. Whatever it does, no
//! minted ticket is accepted twice, and no expected login lasts longer.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use throng_core::SessionId;
use throng_core::crypto::{ClusterKey, PublicKey, Ticket, TicketSerial};
use throng_core::limits::USED_TICKETS_MAX;
use throng_core::wire::CloseReason;
use throng_core::wire::packets::{Claim, TicketBytes};

/// A login whose client has not entered yet.
#[derive(Debug, Clone, Copy)]
pub struct Expected {
    /// The account and its claim.
    pub claim: Claim,
    /// The link to the login server that announced it.
    pub login: SessionId,
    /// Time after which its ticket has certainly expired.
    pub until: Instant,
}

/// Used tickets and expected logins.
#[derive(Debug)]
pub struct Admission {
    cluster: ClusterKey,
    chat_key: PublicKey,
    started_ms: u64,
    /// Minted tickets that were presented, with the time in milliseconds at which each expires.
    used: HashMap<TicketSerial, u64>,
    /// Latest expiry of the used tickets that were dropped. A ticket that expires no later may be
    /// one of them, if the clock was set back.
    dropped_ms: u64,
    /// By the claim's number.
    expected: BTreeMap<u64, Expected>,
    swept_at: Option<Instant>,
}

/// Interval of the sweeps.
const SWEEP: Duration = Duration::from_secs(1);

impl Admission {
    /// Admits to the chat server with the public key `chat_key`, which was started at `started_ms`.
    pub fn new(cluster: ClusterKey, chat_key: PublicKey, started_ms: u64) -> Self {
        Self {
            cluster,
            chat_key,
            started_ms,
            used: HashMap::new(),
            dropped_ms: 0,
            expected: BTreeMap::new(),
            swept_at: None,
        }
    }

    /// Records a login whose client is about to enter.
    pub fn expect(&mut self, expected: Expected) {
        self.expected.insert(expected.claim.id, expected);
    }

    /// Voids the ticket of an expected login. Returns true if the login was expected.
    pub fn cancel(&mut self, claim: &Claim) -> bool {
        self.expected.remove(&claim.id).is_some()
    }

    /// Voids the tickets of every login that the login server announced. Returns their claims.
    pub fn cancel_all_from(&mut self, login: SessionId) -> Vec<Claim> {
        self.expected.extract_if(.., |_, expected| expected.login == login).map(|(_, e)| e.claim).collect()
    }

    /// Returns the numbers of used tickets and of expected logins.
    #[cfg(test)]
    pub(super) fn counts(&self) -> (usize, usize) {
        (self.used.len(), self.expected.len())
    }

    /// Admits the bearer of a ticket, once. Returns the ticket and the login that was expected with
    /// it; a minted ticket (claim 0) has no login.
    pub fn admit(
        &mut self,
        ticket: &TicketBytes,
        now_ms: u64,
    ) -> Result<(Ticket, Option<Expected>), CloseReason> {
        let (serial, ticket) = Ticket::open(&self.cluster, ticket, &self.chat_key, now_ms)?;
        if self.used.contains_key(&serial) {
            return Err(CloseReason::TicketUsed);
        }
        if ticket.claim == 0 {
            // Tickets used before a restart are unknown, so none older than the restart is
            // accepted.
            if ticket.issued_ms < self.started_ms || ticket.expires_ms <= self.dropped_ms {
                return Err(CloseReason::TicketExpired);
            }
            if self.used.len() >= USED_TICKETS_MAX {
                return Err(CloseReason::ServerFull);
            }
            self.used.insert(serial, ticket.expires_ms);
            return Ok((ticket, None));
        }
        // The ticket of a login is valid while the login is expected; its use ends that.
        let expected = self.expected.remove(&ticket.claim).ok_or(CloseReason::TicketUsed)?;
        Ok((ticket, Some(expected)))
    }

    /// Drops expired tickets and logins, at most once a second. Returns the claims of the logins
    /// whose clients never entered.
    pub fn sweep(&mut self, now: Instant, now_ms: u64) -> Vec<Claim> {
        if self.swept_at.is_some_and(|at| now.saturating_duration_since(at) < SWEEP) {
            return Vec::new();
        }
        self.swept_at = Some(now);
        let dropped = self.used.extract_if(|_, expires_ms| *expires_ms <= now_ms);
        self.dropped_ms = dropped.map(|(_, expires_ms)| expires_ms).fold(self.dropped_ms, u64::max);
        self.expected.extract_if(.., |_, expected| expected.until <= now).map(|(_, e)| e.claim).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use throng_core::wire::Text;

    const LOGIN: u32 = 5;

    fn admission() -> Admission {
        Admission::new(ClusterKey::from_bytes([1; 32]), [2; 32], 1000)
    }

    fn ticket(claim: u64, issued_ms: u64) -> TicketBytes {
        let name = Text::truncated("n");
        let expires_ms = issued_ms + 500;
        Ticket { account: 7, claim, character: 8, name, chat_key: [2; 32], issued_ms, expires_ms }
            .mint(&ClusterKey::from_bytes([1; 32]))
            .unwrap()
    }

    fn expected(claim: u64, until: Instant) -> Expected {
        let claim = Claim { account: 7, id: claim };
        Expected { claim, login: SessionId::new(0, LOGIN, 0), until }
    }

    #[test]
    fn a_minted_ticket_is_valid_once_and_not_if_older_than_the_server() {
        let mut admission = admission();
        let good = ticket(0, 1000);
        assert!(admission.admit(&good, 1001).unwrap().1.is_none());
        assert_eq!(admission.admit(&good, 1002).unwrap_err(), CloseReason::TicketUsed);
        assert_eq!(admission.admit(&good, 1500).unwrap_err(), CloseReason::TicketExpired);
        assert_eq!(admission.admit(&ticket(0, 999), 1001).unwrap_err(), CloseReason::TicketExpired);
    }

    #[test]
    fn a_ticket_from_the_future_is_not_valid_after_each_restart() {
        let (day_ms, now) = (86_400_000, Instant::now());
        for restarts in 0..3 {
            let started_ms = 1000 + restarts * 10_000;
            let mut admission = Admission::new(ClusterKey::from_bytes([1; 32]), [2; 32], started_ms);
            for claim in [0, 3] {
                admission.expect(expected(3, now));
                let refused = admission.admit(&ticket(claim, day_ms), started_ms + 1).unwrap_err();
                assert_eq!(refused, CloseReason::TicketInvalid);
            }
            assert!(admission.used.is_empty());
        }
    }

    #[test]
    fn the_ticket_of_a_login_is_valid_while_the_login_is_expected() {
        let (mut admission, now) = (admission(), Instant::now());
        let check = |admission: &mut Admission, wanted| {
            assert_eq!(admission.admit(&ticket(3, 1000), 1001).err(), wanted);
        };
        check(&mut admission, Some(CloseReason::TicketUsed));
        admission.expect(expected(3, now));
        check(&mut admission, None);
        check(&mut admission, Some(CloseReason::TicketUsed));
        admission.expect(expected(3, now));
        assert!(admission.cancel(&expected(3, now).claim) && !admission.cancel(&expected(3, now).claim));
        check(&mut admission, Some(CloseReason::TicketUsed));
        admission.expect(expected(3, now));
        assert_eq!(admission.cancel_all_from(SessionId::new(0, LOGIN, 1)), []);
        assert_eq!(admission.cancel_all_from(SessionId::new(0, LOGIN, 0)), [expected(3, now).claim]);
        check(&mut admission, Some(CloseReason::TicketUsed));
    }

    #[test]
    fn expired_tickets_and_logins_are_dropped() {
        let (mut admission, start) = (admission(), Instant::now());
        let now = start + Duration::from_millis(1600);
        admission.admit(&ticket(0, 1000), 1001).unwrap();
        admission.expect(expected(3, now));
        assert_eq!(admission.sweep(start, 1001), []);
        assert_eq!(admission.sweep(start + Duration::from_millis(999), 9999), [], "once a second");
        assert!(!admission.used.is_empty());
        assert_eq!(admission.sweep(now, 2000), [expected(3, now).claim]);
        assert!(admission.used.is_empty() && admission.expected.is_empty());
    }

    #[test]
    fn a_clock_that_is_set_forward_and_back_lets_no_minted_ticket_in_twice() {
        const HOUR_MS: u64 = 3_600_000;
        let (mut admission, start) = (admission(), Instant::now());
        let at = |second| start + Duration::from_secs(second);
        let used = ticket(0, HOUR_MS);
        assert!(admission.admit(&used, HOUR_MS).is_ok());
        admission.sweep(at(1), 2 * HOUR_MS);
        assert!(admission.used.is_empty(), "expired, by that clock");
        admission.sweep(at(2), HOUR_MS);
        assert_eq!(admission.admit(&used, HOUR_MS).unwrap_err(), CloseReason::TicketExpired);
        assert!(admission.admit(&ticket(0, HOUR_MS + 1), HOUR_MS + 1).is_ok(), "a later ticket is good");
        // Set back, the clock keeps used tickets for longer.
        admission.sweep(at(3), 1000);
        assert_eq!(admission.used.len(), 1);
    }

    #[test]
    fn a_login_whose_client_never_comes_ends_on_time_whatever_the_clock_does() {
        for now_ms in [0, 1000, u64::MAX] {
            let (mut admission, start) = (admission(), Instant::now());
            let until = start + Duration::from_secs(5);
            admission.expect(expected(3, until));
            assert_eq!(admission.sweep(start, 1000), []);
            assert_eq!(admission.sweep(start + Duration::from_millis(4999), now_ms), []);
            assert_eq!(admission.sweep(until + SWEEP, now_ms), [expected(3, until).claim]);
        }
    }
}
