//! The DB agent as the others see it, with its database as a table in memory and its DB threads as
//! lists of what they have yet to do and to report.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use throng_core::SessionId;
use throng_core::wire::packets::{
    Character, Claim, DbCheckPasswordAnswer, DbClaimRevoked, DbClaimsSynced, DbLoadCharacterAnswer, Outcome,
};
use throng_core::wire::{Packet, Text};

const LEASE: Duration = Duration::from_secs(15);
const GRACE: Duration = Duration::from_secs(1);
const NO_CLAIM: Claim = Claim { account: 0, id: 0 };

/// Something for a DB thread to do, for the process `instance` that asked over `link`.
pub(super) struct Job {
    link: SessionId,
    instance: u64,
    packet: Packet,
}

/// What came of it, on its way from the DB thread to the role.
struct Reply {
    link: SessionId,
    instance: u64,
    packet: Packet,
    /// A claim that the asking process holds by this.
    claim: Option<Claim>,
    /// The claim that went for it, and who held it.
    displaced: Option<(u64, Claim)>,
}

#[derive(Default)]
pub(super) struct Agent {
    /// By account: the claim's number and the process that holds it.
    pub(super) online: HashMap<u64, (u64, u64)>,
    leases: HashMap<u64, Instant>,
    links: HashMap<SessionId, u64>,
    in_use: HashMap<u64, SessionId>,
    jobs: Vec<Job>,
    replies: Vec<Reply>,
    last_claim: u64,
}

/// Packets for links.
type Sent = Vec<(SessionId, Packet)>;

impl Agent {
    pub(super) fn packet(&mut self, link: SessionId, packet: Packet, now: Instant) {
        if let Packet::LinkHello(hello) = &packet {
            self.links.insert(link, hello.instance);
            self.leases.insert(hello.instance, now + LEASE);
            return;
        }
        let Some(instance) = self.links.get(&link).copied() else { return };
        if let Packet::DbHeldClaims(_) = &packet {
            self.in_use.insert(instance, link);
        }
        self.jobs.push(Job { link, instance, packet });
    }

    pub(super) fn closed(&mut self, link: SessionId, now: Instant) {
        let Some(instance) = self.links.remove(&link) else { return };
        self.in_use.retain(|_, used| *used != link);
        if !self.links.values().any(|other| *other == instance) {
            self.leases.insert(instance, now + GRACE);
        }
    }

    pub(super) fn renew(&mut self, now: Instant) {
        for instance in self.links.values() {
            self.leases.insert(*instance, now + LEASE);
        }
    }

    /// The jobs that a DB thread may take next: of those about online state only the first of a process.
    pub(super) fn ready(&self) -> Vec<usize> {
        let is_control =
            |job: &Job| matches!(job.packet, Packet::DbHeldClaims(_) | Packet::DbReleaseClaim(_));
        let is_first = |at: usize| {
            let job = &self.jobs[at];
            !is_control(job)
                || !self.jobs[..at].iter().any(|other| is_control(other) && other.instance == job.instance)
        };
        (0..self.jobs.len()).filter(|at| is_first(*at)).collect()
    }

    pub(super) fn replies(&self) -> usize {
        self.replies.len()
    }

    /// A DB thread does a job.
    pub(super) fn run(&mut self, job: usize, now: Instant) {
        let Job { link, instance, packet } = self.jobs.remove(job);
        let mut reply = |packet: Packet, claim, displaced| {
            self.replies.push(Reply { link, instance, packet, claim, displaced });
        };
        let is_alive =
            |leases: &HashMap<u64, Instant>, instance| leases.get(&instance).is_some_and(|at| *at > now);
        match packet {
            Packet::DbCheckPassword(packet) => {
                let account = packet.id.len() as u64;
                let there = self.online.get(&account).copied().filter(|held| is_alive(&self.leases, held.1));
                let outcome = match there {
                    _ if !is_alive(&self.leases, instance) => Outcome::TryAgainLater,
                    Some(_) if !packet.take_over => Outcome::AlreadyOnline,
                    _ => Outcome::Ok,
                };
                let mut claim = NO_CLAIM;
                if outcome == Outcome::Ok {
                    self.last_claim += 1;
                    claim = Claim { account, id: self.last_claim };
                    self.online.insert(account, (claim.id, instance));
                }
                let answer = DbCheckPasswordAnswer { request: packet.request, outcome, claim };
                let is_ok = outcome == Outcome::Ok;
                let displaced = there.filter(|_| is_ok).map(|(id, holder)| (holder, Claim { account, id }));
                reply(answer.into(), is_ok.then_some(claim), displaced);
            }
            Packet::DbLoadCharacter(packet) => {
                let claim = packet.claim;
                let held = self.online.get_mut(&claim.account).filter(|held| held.0 == claim.id);
                let outcome = match held {
                    _ if !is_alive(&self.leases, instance) => Outcome::TryAgainLater,
                    Some(held) => {
                        held.1 = instance;
                        Outcome::Ok
                    }
                    None => Outcome::ClaimLost,
                };
                let is_ok = outcome == Outcome::Ok;
                let name = Text::truncated("somebody");
                let character =
                    is_ok.then_some(Character { id: claim.account, name, level: 1, experience: 0 });
                let answer = DbLoadCharacterAnswer { request: packet.request, outcome, claim, character };
                reply(answer.into(), is_ok.then_some(claim), None);
            }
            Packet::DbReleaseClaim(packet) => self.release(packet.claim, instance),
            Packet::DbHeldClaims(packet) => {
                self.leases.insert(instance, now + LEASE);
                let held: HashMap<u64, u64> =
                    packet.claims.iter().map(|claim| (claim.account, claim.id)).collect();
                self.online
                    .retain(|account, (id, holder)| *holder != instance || held.get(account) == Some(id));
                for claim in packet.claims.iter() {
                    let there = self.online.get(&claim.account).copied();
                    if there.is_none_or(|there| !is_alive(&self.leases, there.1)) {
                        self.online.insert(claim.account, (claim.id, instance));
                    } else if there.is_some_and(|there| there.0 != claim.id) {
                        reply(DbClaimRevoked { claim: *claim }.into(), None, None);
                    }
                }
                reply(DbClaimsSynced {}.into(), None, None);
            }
            other => panic!("the DB agent was sent {other:?}"),
        }
    }

    /// The role learns what a DB thread has done. Of what is about one link's list the order is kept.
    pub(super) fn report(&mut self, at: usize) -> Sent {
        let is_list =
            |reply: &Reply| matches!(reply.packet, Packet::DbClaimRevoked(_) | Packet::DbClaimsSynced(_));
        let at =
            if is_list(&self.replies[at]) { self.replies.iter().position(is_list).unwrap_or(at) } else { at };
        let Reply { link, instance, packet, claim, displaced } = self.replies.remove(at);
        let mut sent = Sent::new();
        if let Some((holder, claim)) = displaced
            && let Some(link) = self.in_use.get(&holder)
        {
            sent.push((*link, DbClaimRevoked { claim }.into()));
        }
        match claim {
            // As the role does it, through the queue.
            Some(claim) if self.in_use.get(&instance) != Some(&link) => {
                let packet = throng_core::wire::packets::DbReleaseClaim { claim }.into();
                self.jobs.push(Job { link, instance, packet });
            }
            _ => sent.push((link, packet)),
        }
        sent
    }

    fn release(&mut self, claim: Claim, instance: u64) {
        self.online.retain(|account, held| *account != claim.account || *held != (claim.id, instance));
    }

    /// Whether the account is online at `instance`, by a claim that counts.
    pub(super) fn is_online_at(&self, account: u64, instance: u64, now: Instant) -> bool {
        let is_alive = self.leases.get(&instance).is_some_and(|at| *at > now);
        is_alive && self.online.get(&account).is_some_and(|held| held.1 == instance)
    }
}
