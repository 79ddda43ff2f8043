//! Rates to which addresses and accounts are held at a login.
//!
//! Wrong passwords count against the address that they came from, and never against the account:
//! no guesser can lock a player out from another address, and no refusal tells that an account
//! exists. Against the account count only logins with its right password.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use throng_core::bucket::Buckets;
use throng_core::config::Limits;
use throng_core::metrics::{self, Counter};
use throng_core::net::network_of;

/// A refusal: the time to wait, and the rate that was exceeded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Wait {
    pub(super) time: Duration,
    pub(super) reason: &'static str,
}

/// Addresses and accounts that are held to rates. An exempt client has no network, and is held to
/// none of them.
#[derive(Debug)]
pub(super) struct Throttle {
    limits: Limits,
    failed: Buckets<IpAddr>,
    sign_ups: Buckets<IpAddr>,
    logins: Buckets<u64>,
}

impl Throttle {
    /// Creates a throttle that has seen nothing yet.
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            failed: Buckets::new(limits.failed_logins),
            sign_ups: Buckets::new(limits.sign_ups),
            logins: Buckets::new(limits.logins),
            limits,
        }
    }

    /// Returns the network under which an address counts; none if it is exempt.
    pub(super) fn network(&self, address: IpAddr) -> Option<IpAddr> {
        (!self.limits.is_exempt(address)).then(|| network_of(address))
    }

    /// Refuses to check a password for a network with too many wrong ones. A right one would be
    /// refused as well, or guessers could go on.
    pub(super) fn check_password(&self, network: Option<IpAddr>, now: Instant) -> Result<(), Wait> {
        let Some(network) = network else { return Ok(()) };
        refusal(
            self.failed.check(&network, now),
            &metrics::FAILED_LOGINS_TOO_FAST,
            "too many wrong passwords from this address",
        )
    }

    /// Counts a wrong password. Those under way at the same time may exceed the rate, which is paid
    /// by waiting.
    pub(super) fn failed(&mut self, network: Option<IpAddr>, now: Instant) {
        if let Some(network) = network {
            self.failed.charge(network, now);
        }
    }

    /// Counts a sign-up, or refuses it.
    pub(super) fn sign_up(&mut self, network: Option<IpAddr>, now: Instant) -> Result<(), Wait> {
        let Some(network) = network else { return Ok(()) };
        refusal(
            self.sign_ups.take(network, now),
            &metrics::SIGN_UPS_TOO_FAST,
            "too many sign-ups from this address",
        )
    }

    /// Takes back a sign-up that neither made an account nor told that there is one.
    pub(super) fn not_signed_up(&mut self, network: Option<IpAddr>) {
        if let Some(network) = network {
            self.sign_ups.give_back(&network);
        }
    }

    /// Counts a login with the right password, or refuses it.
    pub(super) fn log_in(&mut self, network: Option<IpAddr>, account: u64, now: Instant) -> Result<(), Wait> {
        if network.is_none() {
            return Ok(());
        }
        refusal(self.logins.take(account, now), &metrics::LOGINS_TOO_FAST, "too many logins of this account")
    }
}

fn refusal(taken: Result<(), Duration>, counter: &Counter, reason: &'static str) -> Result<(), Wait> {
    taken.map_err(|time| {
        counter.inc();
        Wait { time, reason }
    })
}
