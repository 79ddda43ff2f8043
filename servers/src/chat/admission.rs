//! Who may come in: tickets, each good once, and the logins that are on their way.

use std::collections::HashMap;

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
    /// When its ticket is void for certain, in milliseconds since 1970 UTC.
    pub until_ms: u64,
}

/// Checks tickets.
#[derive(Debug)]
pub struct Admission {
    cluster: ClusterKey,
    chat_key: PublicKey,
    started_ms: u64,
    /// Tickets that have been presented, with their expiry; kept until then.
    used: HashMap<TicketSerial, u64>,
    /// Logins on their way, by the claim's number.
    expected: HashMap<u64, Expected>,
    /// When the two maps were last rid of what is over.
    last_sweep_ms: u64,
}

/// How often what is over is removed, in milliseconds.
const SWEEP_MS: u64 = 1000;

impl Admission {
    /// For the chat server with the public key `chat_key`, started at `started_ms`.
    pub fn new(cluster: ClusterKey, chat_key: PublicKey, started_ms: u64) -> Self {
        Self {
            cluster,
            chat_key,
            started_ms,
            used: HashMap::new(),
            expected: HashMap::new(),
            last_sweep_ms: started_ms,
        }
    }

    /// A login is on its way.
    pub fn expect(&mut self, expected: Expected) {
        self.expected.insert(expected.claim.id, expected);
    }

    /// A login is not on its way any more: its ticket is void. Says whether it was.
    pub fn cancel(&mut self, claim: &Claim) -> bool {
        self.expected.remove(&claim.id).is_some()
    }

    /// The link to a login server is down: the logins it announced are void.
    pub fn cancel_all_from(&mut self, login: SessionId) -> Vec<Claim> {
        self.expected.extract_if(|_, expected| expected.login == login).map(|(_, e)| e.claim).collect()
    }

    /// Admits the bearer of a ticket, and never again. With the ticket comes the login that
    /// announced it; a minted ticket (claim 0) has none.
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
            // What was used before a restart is not remembered, so nothing older is taken.
            if ticket.issued_ms < self.started_ms {
                return Err(CloseReason::TicketExpired);
            }
            if self.used.len() >= USED_TICKETS_MAX {
                return Err(CloseReason::ServerFull);
            }
            self.used.insert(serial, ticket.expires_ms);
            return Ok((ticket, None));
        }
        // A login's ticket is good while the login is expected, which its use ends.
        let expected = self.expected.remove(&ticket.claim).ok_or(CloseReason::TicketUsed)?;
        Ok((ticket, Some(expected)))
    }

    /// Forgets what is over; returns the claims of logins that never arrived.
    pub fn sweep(&mut self, now_ms: u64) -> Vec<Claim> {
        if now_ms < self.last_sweep_ms + SWEEP_MS {
            return Vec::new();
        }
        self.last_sweep_ms = now_ms;
        self.used.retain(|_, expires_ms| *expires_ms > now_ms);
        self.expected.extract_if(|_, expected| expected.until_ms <= now_ms).map(|(_, e)| e.claim).collect()
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

    fn expected(claim: u64) -> Expected {
        let claim = Claim { account: 7, id: claim };
        Expected { claim, login: SessionId::new(0, LOGIN, 0), until_ms: 1600 }
    }

    #[test]
    fn a_minted_ticket_is_good_once_and_not_from_before_the_start() {
        let mut admission = admission();
        let good = ticket(0, 1000);
        assert!(admission.admit(&good, 1001).unwrap().1.is_none());
        assert_eq!(admission.admit(&good, 1002).unwrap_err(), CloseReason::TicketUsed);
        assert_eq!(admission.admit(&good, 1500).unwrap_err(), CloseReason::TicketExpired);
        assert_eq!(admission.admit(&ticket(0, 999), 1001).unwrap_err(), CloseReason::TicketExpired);
    }

    #[test]
    fn a_login_s_ticket_is_good_while_the_login_is_expected() {
        let mut admission = admission();
        let check = |admission: &mut Admission, wanted| {
            assert_eq!(admission.admit(&ticket(3, 1000), 1001).err(), wanted);
        };
        check(&mut admission, Some(CloseReason::TicketUsed));
        admission.expect(expected(3));
        check(&mut admission, None);
        check(&mut admission, Some(CloseReason::TicketUsed));
        admission.expect(expected(3));
        assert!(admission.cancel(&expected(3).claim) && !admission.cancel(&expected(3).claim));
        check(&mut admission, Some(CloseReason::TicketUsed));
        admission.expect(expected(3));
        assert_eq!(admission.cancel_all_from(SessionId::new(0, LOGIN, 1)), []);
        assert_eq!(admission.cancel_all_from(SessionId::new(0, LOGIN, 0)), [expected(3).claim]);
        check(&mut admission, Some(CloseReason::TicketUsed));
    }

    #[test]
    fn what_is_over_is_forgotten() {
        let mut admission = admission();
        admission.admit(&ticket(0, 1000), 1001).unwrap();
        admission.expect(expected(3));
        assert_eq!(admission.sweep(1599), []);
        assert_eq!(admission.sweep(2000), [expected(3).claim]);
        assert!(admission.used.is_empty() && admission.expected.is_empty());
    }
}
