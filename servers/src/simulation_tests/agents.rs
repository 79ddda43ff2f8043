//! A model of DB agents on one database, as the other servers see them.
//!
//! The database is tables in memory. The DB threads are lists of jobs to do and of replies to
//! report.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use throng_core::SessionId;
use throng_core::wire::packets::{
    Character, Claim, DbCheckPasswordAnswer, DbClaimRevoked, DbClaimsSynced, DbLoadCharacterAnswer,
    DbReleaseClaim, Outcome,
};
use throng_core::wire::{Packet, Text};

const LEASE: Duration = Duration::from_secs(15);
const GRACE: Duration = Duration::from_secs(1);
/// Maximum lifetime that a restarted agent leaves to the leases of its predecessor.
const COMEBACK: Duration = Duration::from_secs(2);
const NO_CLAIM: Claim = Claim { account: 0, id: 0 };

/// Number of agents.
pub(super) const AGENTS: usize = 2;

/// A job of an agent's DB thread, for the process `instance` that asked over `link`.
struct Job {
    agent: usize,
    link: SessionId,
    instance: u64,
    packet: Packet,
    /// True for the first list over its link.
    is_first: bool,
}

/// The result of a job, on its way from the DB thread to the role.
struct Reply {
    agent: usize,
    link: SessionId,
    instance: u64,
    packet: Packet,
    /// The claim that the asking process holds by it.
    claim: Option<Claim>,
    /// The claim that it displaced, and the process that held it.
    displaced: Option<(u64, Claim)>,
}

/// A row of the table of claims: the process that holds it, and the agent by which it came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Row {
    claim: u64,
    instance: u64,
    agent: u64,
}

#[derive(Default)]
pub(super) struct Agents {
    online: HashMap<u64, Row>,
    /// By process and agent.
    leases: HashMap<(u64, u64), Instant>,
    /// The latest list of each process.
    lists: HashMap<u64, u64>,
    /// Number of starts of each agent.
    starts: [u64; AGENTS],
    is_down: [bool; AGENTS],
    /// For each link, the agent at one end and the process at the other; 0 before its hello.
    links: HashMap<SessionId, (usize, u64)>,
    in_use: HashMap<(usize, u64), SessionId>,
    jobs: Vec<Job>,
    replies: Vec<Reply>,
    last_claim: u64,
}

/// Packets for links.
type Sent = Vec<(SessionId, Packet)>;

impl Agents {
    /// Returns the number of an agent's process.
    fn number(&self, agent: usize) -> u64 {
        agent as u64 + 100 * self.starts[agent]
    }

    pub(super) fn opened(&mut self, link: SessionId, agent: usize) {
        self.links.insert(link, (agent, 0));
    }

    pub(super) fn packet(&mut self, link: SessionId, packet: Packet, now: Instant) {
        let Some((agent, instance)) = self.links.get_mut(&link) else { return };
        let agent = *agent;
        if let Packet::LinkHello(hello) = &packet {
            *instance = hello.instance;
            self.leases.insert((hello.instance, self.number(agent)), now + LEASE);
            return;
        }
        let instance = *instance;
        let is_list = matches!(packet, Packet::DbHeldClaims(_));
        let is_first = is_list && self.in_use.insert((agent, instance), link) != Some(link);
        self.jobs.push(Job { agent, link, instance, packet, is_first });
    }

    pub(super) fn closed(&mut self, link: SessionId, now: Instant) {
        let Some((agent, instance)) = self.links.remove(&link) else { return };
        self.in_use.retain(|_, used| *used != link);
        if !self.links.values().any(|other| *other == (agent, instance)) {
            self.leases.insert((instance, self.number(agent)), now + GRACE);
        }
    }

    pub(super) fn is_down(&self, agent: usize) -> bool {
        self.is_down[agent]
    }

    /// Restarts an agent that is down.
    pub(super) fn start(&mut self, agent: usize, now: Instant) {
        if std::mem::take(&mut self.is_down[agent]) {
            let old = self.number(agent);
            for ((_, by), until) in &mut self.leases {
                if *by == old {
                    *until = (*until).min(now + COMEBACK);
                }
            }
            self.starts[agent] += 1;
        }
    }

    /// Crashes an agent. A statement that has started completes; everything else is lost.
    pub(super) fn crash(&mut self, agent: usize, now: Instant) -> Vec<SessionId> {
        if let Some(job) = self.ready().into_iter().find(|job| self.jobs[*job].agent == agent) {
            self.run(job, now);
        }
        self.jobs.retain(|job| job.agent != agent);
        self.replies.retain(|reply| reply.agent != agent);
        self.in_use.retain(|(of, _), _| *of != agent);
        self.is_down[agent] = true;
        let is_its = |(of, _): &mut (usize, u64)| *of == agent;
        self.links.extract_if(|_, link| is_its(link)).map(|(link, _)| link).collect()
    }

    pub(super) fn renew(&mut self, now: Instant) {
        for (agent, instance) in self.links.values() {
            self.leases.insert((*instance, self.number(*agent)), now + LEASE);
        }
    }

    /// Returns the jobs that a DB thread may take. Jobs about online state run in order for each
    /// process.
    pub(super) fn ready(&self) -> Vec<usize> {
        let is_control =
            |job: &Job| matches!(job.packet, Packet::DbHeldClaims(_) | Packet::DbReleaseClaim(_));
        let is_first = |at: usize| {
            let job = &self.jobs[at];
            let is_before =
                |other: &Job| is_control(other) && (other.agent, other.instance) == (job.agent, job.instance);
            !is_control(job) || !self.jobs[..at].iter().any(is_before)
        };
        (0..self.jobs.len()).filter(|at| is_first(*at)).collect()
    }

    pub(super) fn replies(&self) -> usize {
        self.replies.len()
    }

    fn is_alive(&self, instance: u64, agent: u64, now: Instant) -> bool {
        self.leases.get(&(instance, agent)).is_some_and(|until| *until > now)
    }

    /// Returns the account's row, if its lease has not expired.
    fn valid(&self, account: u64, now: Instant) -> Option<Row> {
        let row = self.online.get(&account).copied();
        row.filter(|row| self.is_alive(row.instance, row.agent, now))
    }

    /// Runs a job on a DB thread.
    pub(super) fn run(&mut self, job: usize, now: Instant) {
        let Job { agent, link, instance, packet, is_first } = self.jobs.remove(job);
        let by = self.number(agent);
        let is_alive = self.is_alive(instance, by, now);
        let mut replies = Vec::new();
        let mut reply = |packet: Packet, claim, displaced| {
            replies.push(Reply { agent, link, instance, packet, claim, displaced });
        };
        match packet {
            Packet::DbCheckPassword(packet) => {
                let account = packet.id.len() as u64;
                let there = self.valid(account, now);
                let outcome = match there {
                    _ if !is_alive => Outcome::TryAgainLater,
                    Some(_) if !packet.take_over => Outcome::AlreadyOnline,
                    _ => Outcome::Ok,
                };
                let is_ok = outcome == Outcome::Ok;
                let mut claim = NO_CLAIM;
                if is_ok {
                    self.last_claim += 1;
                    claim = Claim { account, id: self.last_claim };
                    self.online.insert(account, Row { claim: claim.id, instance, agent: by });
                }
                let answer = DbCheckPasswordAnswer { request: packet.request, outcome, claim };
                let displaced = there.filter(|_| is_ok);
                let displaced = displaced.map(|row| (row.instance, Claim { account, id: row.claim }));
                reply(answer.into(), is_ok.then_some(claim), displaced);
            }
            Packet::DbLoadCharacter(packet) => {
                let claim = packet.claim;
                let held = self.online.get_mut(&claim.account).filter(|row| row.claim == claim.id);
                let outcome = match held {
                    _ if !is_alive => Outcome::TryAgainLater,
                    Some(held) => {
                        held.instance = instance;
                        held.agent = by;
                        Outcome::Ok
                    }
                    None => Outcome::ClaimLost,
                };
                let is_ok = outcome == Outcome::Ok;
                let name = Text::truncated("name");
                let character =
                    is_ok.then_some(Character { id: claim.account, name, level: 1, experience: 0 });
                let answer = DbLoadCharacterAnswer { request: packet.request, outcome, claim, character };
                reply(answer.into(), is_ok.then_some(claim), None);
            }
            Packet::DbReleaseClaim(packet) => self.release(packet.claim, instance),
            Packet::DbHeldClaims(packet) => {
                let latest = self.lists.entry(instance).or_default();
                // A later list has taken over all claims.
                let list = if *latest > packet.list { &[] } else { &packet.claims[..] };
                *latest = packet.list.max(*latest);
                self.leases.insert((instance, by), now + LEASE);
                for claim in self.compare(list, instance, by, is_first, now) {
                    reply(DbClaimRevoked { claim }.into(), None, None);
                }
                reply(DbClaimsSynced {}.into(), None, None);
            }
            other => panic!("the DB agent was sent {other:?}"),
        }
        self.replies.append(&mut replies);
    }

    /// Compares a list and returns the claims that are void.
    fn compare(
        &mut self,
        list: &[Claim],
        instance: u64,
        by: u64,
        is_first: bool,
        now: Instant,
    ) -> Vec<Claim> {
        let is_listed = |account: u64, row: &Row| list.contains(&Claim { account, id: row.claim });
        if is_first {
            self.online.retain(|account, row| {
                (row.instance, row.agent) != (instance, by) || is_listed(*account, row)
            });
        }
        let mut void = Vec::new();
        for claim in list {
            let is_ours = |row: &Row| (row.claim, row.instance) == (claim.id, instance);
            match self.valid(claim.account, now) {
                Some(row) if row.claim != claim.id => void.push(*claim),
                Some(row) if !is_ours(&row) => {}
                _ => {
                    self.online.insert(claim.account, Row { claim: claim.id, instance, agent: by });
                }
            }
        }
        void
    }

    /// Reports a reply to the role. Replies about one link's list keep their order.
    pub(super) fn report(&mut self, at: usize) -> Sent {
        let Reply { agent, link, .. } = self.replies[at];
        let is_list = |reply: &Reply| {
            reply.link == link
                && matches!(reply.packet, Packet::DbClaimRevoked(_) | Packet::DbClaimsSynced(_))
        };
        let at =
            if is_list(&self.replies[at]) { self.replies.iter().position(is_list).unwrap_or(at) } else { at };
        let Reply { link, instance, packet, claim, displaced, .. } = self.replies.remove(at);
        let is_up = self.in_use.get(&(agent, instance)) == Some(&link);
        let mut sent = Sent::new();
        if let Some((holder, claim)) = displaced
            && let Some(link) = self.in_use.get(&(agent, holder))
        {
            sent.push((*link, DbClaimRevoked { claim }.into()));
        }
        match claim {
            // The role releases through the queue as well.
            Some(claim) if !is_up => {
                let packet = DbReleaseClaim { claim }.into();
                self.jobs.push(Job { agent, link, instance, packet, is_first: false });
            }
            _ => sent.push((link, packet)),
        }
        sent
    }

    fn release(&mut self, claim: Claim, instance: u64) {
        let is_it = |row: &Row| (row.claim, row.instance) == (claim.id, instance);
        self.online.retain(|account, row| *account != claim.account || !is_it(row));
    }

    /// Returns true if the account is online at `instance` by a claim whose lease holds.
    pub(super) fn is_online_at(&self, account: u64, instance: u64, now: Instant) -> bool {
        self.valid(account, now).is_some_and(|row| row.instance == instance)
    }

    /// Returns the accounts that are online.
    pub(super) fn online(&self, now: Instant) -> Vec<u64> {
        self.online.keys().copied().filter(|account| self.valid(*account, now).is_some()).collect()
    }
}
