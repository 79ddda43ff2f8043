//! The role of the DB agent: turns packets of login and chat servers into requests to the DB
//! threads, and their replies into answers.
//!
//! Every server process with a link holds a lease, which the role renews. A claim is valid while
//! the lease under which its server holds it lasts. After the last link of a server goes down, its
//! lease ends with a short grace.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use throng_core::content::{Call, Effects, HandlerTable, Job, Role};
use throng_core::limits::SESSIONS_MAX;
use throng_core::links::{Links, Pending};
use throng_core::net::{Closed, Opened};
use throng_core::wire::CloseReason;
use throng_core::wire::packets::{
    self, Claim, DbCheckPassword, DbCheckPasswordAnswer, DbClaimAway, DbClaimRevoked, DbClaimsSynced,
    DbCreateCharacter, DbCreateCharacterAnswer, DbHeldClaims, DbLoadCharacter, DbLoadCharacterAnswer,
    DbReleaseClaim, DbSignUp, DbSignUpAnswer, DbVerifyAccount, DbVerifyAccountAnswer, LinkHello, Origin,
    Outcome,
};
use throng_core::{SessionId, metrics};

use super::pool::{Pool, PoolStats, Rejected};
use super::procedures::Held;
use super::request::{self, Answer, Reply, Request};

/// Phase of a session of the DB agent.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// A link before its `LinkHello`.
    Unidentified,
    /// A link that is up, to a login or chat server.
    Server,
}

/// Origin of a request: the link, the server process, and its request number.
#[derive(Debug, Clone, Copy)]
pub struct Tag {
    link: SessionId,
    instance: u64,
    request: u64,
    /// The claim of a [`DbLoadCharacter`]; its answer repeats it.
    claim: Claim,
    /// The key of the request in [`DbAgent::pending`]; 0 if no peer waits for an answer.
    pending: u64,
    /// End of the lease that the request sets, if it sets one.
    lease_until: Option<Instant>,
}

/// The link over which a process sent its latest complete list of claims.
#[derive(Debug, Clone, Copy)]
struct Active {
    link: SessionId,
    /// Number of the list. The process counts its lists across all its links.
    list: u64,
    /// End of its lease by the last answer of a DB thread. `None` before the list is compared.
    lease_until: Option<Instant>,
}

/// Leases and timeouts of the DB agent.
pub struct DbAgentSettings {
    /// Time from the agent's start until the leases of its predecessors end. A server has to link
    /// up again within it, so it covers the grace after a lost link and the longest pause between
    /// two dials.
    pub comeback: Duration,
    /// Duration of a lease. Renewed every third of it while a link is up.
    pub lease: Duration,
    /// Duration of a lease from the moment the server's last link goes down.
    pub lease_grace: Duration,
    /// Time within which a request is answered, and after which a DB thread does not start it.
    pub request_timeout: Duration,
}

/// Executes the requests of a DB agent: the pool of DB threads, or a model of it in tests.
pub trait Executor: Send + Sync {
    /// Queues a request. Never blocks.
    #[allow(clippy::result_large_err, reason = "a refused job is returned whole")]
    fn try_submit(&self, job: request::Job<Tag>) -> Result<(), Rejected<Tag>>;

    /// Number of queued requests.
    fn depth(&self) -> usize;

    /// Number of threads that hang in their driver now.
    fn hung(&self) -> usize;

    /// Average time of a password's hash with the calls around it; zero until one has ended.
    fn hash_time(&self) -> Duration;

    /// Number of addresses of clients whose passwords wait for their hash.
    fn addresses(&self) -> usize;

    /// Counters since the start.
    fn stats(&self) -> &PoolStats;
}

impl Executor for Pool<Tag> {
    fn try_submit(&self, job: request::Job<Tag>) -> Result<(), Rejected<Tag>> {
        Pool::try_submit(self, job)
    }

    fn depth(&self) -> usize {
        Pool::depth(self)
    }

    fn hung(&self) -> usize {
        Pool::hung(self)
    }

    fn hash_time(&self) -> Duration {
        Pool::hash_time(self)
    }

    fn addresses(&self) -> usize {
        Pool::addresses(self)
    }

    fn stats(&self) -> &PoolStats {
        Pool::stats(self)
    }
}

/// The DB agent as a [`Role`].
pub struct DbAgentRole {
    table: HandlerTable<DbAgent, Phase>,
    agent: DbAgent,
}

/// State of the DB agent.
pub struct DbAgent {
    settings: DbAgentSettings,
    /// Time of the present job or tick.
    now: Instant,
    phases: HashMap<SessionId, Phase>,
    links: Links,
    pool: Arc<dyn Executor>,
    /// Refusals for the requests that peers wait for, sent if the database answers too late: a DB
    /// thread can hang in a call for longer than `request_timeout`, and so can all of them.
    pending: Pending<Reply<Tag>>,
    /// Lists of claims of which the last page has not arrived.
    partial_lists: HashMap<SessionId, Vec<Claim>>,
    /// The link over which each process sent its latest complete list of claims. The process has
    /// given up what it requested over other links, even if this agent still sees those links as
    /// up.
    active_links: HashMap<u64, Active>,
    renew_at: Instant,
    published: PublishedCounts,
}

/// Values of the pool's counters when they were last added to the metrics.
#[derive(Default)]
struct PublishedCounts {
    served: u64,
    failed: u64,
    rejected: u64,
    late: u64,
    expired: u64,
    retried: u64,
    connections: u64,
    replaced: u64,
}

/// Interval at which the pool's counters are added to the metrics.
const PUBLISH_INTERVAL: Duration = Duration::from_secs(1);

impl DbAgentRole {
    /// Creates a DB agent without links, and ends the leases of its predecessors in
    /// `settings.comeback`.
    pub fn new(settings: DbAgentSettings, links: Links, pool: Arc<dyn Executor>, now: Instant) -> Self {
        let pending = Pending::new(settings.request_timeout);
        let agent = DbAgent {
            settings,
            now,
            phases: HashMap::new(),
            links,
            pool,
            pending,
            partial_lists: HashMap::new(),
            active_links: HashMap::new(),
            renew_at: now,
            published: PublishedCounts::default(),
        };
        let until = now + agent.settings.comeback;
        // The agent's own request: no link waits for its answer.
        let tag = Tag::new(SessionId::from_bits(0), 0, 0);
        let request = Request::AgentStart { until };
        let job = request::Job { request, origin: Origin::UNKNOWN, tag, deadline: now };
        // The first request of a new pool always finds room.
        if agent.pool.try_submit(job).is_err() {
            tracing::error!("the DB threads did not accept the first request");
        }
        Self { table: table(), agent }
    }
}

impl Role for DbAgentRole {
    type Record = Reply<Tag>;

    fn job(&mut self, job: Job<Reply<Tag>>, now: Instant, effects: &mut Effects) {
        self.agent.now = now;
        match job {
            Job::Packet(session, packet, received) => {
                // Packets of a session that has ended are dropped.
                if let Some(phase) = self.agent.phases.get(&session).copied() {
                    let mut call = Call { session, received, now, effects };
                    if !self.table.run(&mut self.agent, &mut call, phase, packet) {
                        self.agent.phases.remove(&session);
                    }
                }
            }
            Job::Opened(session, opened) => self.agent.opened(session, &opened, effects),
            Job::Closed(session, closed) => self.agent.closed(session, &closed, now, effects),
            Job::Record(reply) => self.agent.handle_reply(reply, effects),
        }
    }

    fn tick(&mut self, now: Instant, effects: &mut Effects) -> Option<Instant> {
        let agent = &mut self.agent;
        agent.now = now;
        if agent.renew_at <= now {
            agent.renew_at = now + agent.settings.lease / 3;
            let up: Vec<_> = agent.links.all().map(|(link, peer)| (link, peer.hello.instance)).collect();
            for (link, instance) in up {
                agent.renew(link, instance, agent.settings.lease, effects);
            }
        }
        for expired in agent.pending.expire(now) {
            metrics::DB_LATE.inc();
            agent.answer(expired, effects);
        }
        agent.publish();
        let next_expiry = agent.pending.next_deadline();
        [Some(agent.renew_at), Some(now + PUBLISH_INTERVAL), next_expiry, agent.links.tick(now, effects)]
            .into_iter()
            .flatten()
            .min()
    }
}

#[cfg(test)]
impl DbAgentRole {
    /// Returns the size of each table, for the simulation.
    pub(crate) fn census(&self) -> Vec<(&'static str, usize)> {
        let DbAgent { pending, partial_lists, phases, links, active_links, .. } = &self.agent;
        vec![
            ("requests", pending.len()),
            ("partial lists", partial_lists.len()),
            ("phases", phases.len() - links.all().count()),
            ("active links", active_links.len()),
        ]
    }
}

impl DbAgent {
    fn opened(&mut self, session: SessionId, opened: &Opened, effects: &mut Effects) {
        self.phases.insert(session, Phase::Unidentified);
        self.links.opened(session, opened, effects);
    }

    fn closed(&mut self, session: SessionId, closed: &Closed, now: Instant, effects: &mut Effects) {
        self.phases.remove(&session);
        self.partial_lists.remove(&session);
        self.pending.fail_link(session);
        let Some(link) = self.links.closed(session, closed, now) else { return };
        let instance = link.hello.instance;
        if self.active_link(instance) == Some(session) {
            self.active_links.remove(&instance);
        }
        if self.links.of_instance(instance).is_none() {
            self.renew(session, instance, self.settings.lease_grace, effects);
        }
    }

    /// Sets the lease of a process to end `lease` from now.
    fn renew(&mut self, link: SessionId, instance: u64, lease: Duration, effects: &mut Effects) {
        let lease_until = self.now + lease;
        let tag = Tag { lease_until: Some(lease_until), ..Tag::new(link, instance, 0) };
        self.submit(tag, Request::RenewHolder { instance, lease_until }, effects);
    }

    /// Returns the link over which a process sent its latest complete list.
    fn active_link(&self, instance: u64) -> Option<SessionId> {
        self.active_links.get(&instance).map(|active| active.link)
    }

    /// Records a lease that the database has. If the one before has ended meanwhile, another login
    /// may have had the account of a claim and left: the process lists its claims anew.
    fn lease_renewed(&mut self, tag: Tag, effects: &mut Effects) {
        let now = self.now;
        let Some(active) = self.active_links.get_mut(&tag.instance) else { return };
        if active.lease_until.is_some_and(|end| end <= now) {
            tracing::warn!(instance = tag.instance, "its lease had ended: it lists its claims anew");
            active.lease_until = None;
            effects.close(active.link, CloseReason::InternalError);
        } else if active.lease_until.is_some() {
            active.lease_until = tag.lease_until;
        }
    }

    /// Queues a request without a client for the DB threads.
    fn submit(&mut self, tag: Tag, request: Request, effects: &mut Effects) {
        self.submit_of(Origin::UNKNOWN, tag, request, effects);
    }

    /// Queues a request for the DB threads, or refuses it if the queue is full or its hash would
    /// end too late. A peer that waits gets its answer within `request_timeout`, whatever the
    /// database does.
    fn submit_of(&mut self, origin: Origin, tag: Tag, request: Request, effects: &mut Effects) {
        let now = self.now;
        let deadline = now + time_for(origin, self.settings.request_timeout);
        let refused = |tag| Reply { tag, answer: request.refused(Outcome::TryAgainLater) };
        let mut tag = tag;
        if tag.request != 0 {
            match self.pending.add(tag.link, refused(tag), now) {
                Ok(number) => tag.pending = number,
                Err(reply) => return self.answer(reply, effects),
            }
        }
        match self.pool.try_submit(request::Job { request, origin, tag, deadline }) {
            Ok(()) => {}
            Err(Rejected::Full(job) | Rejected::Late(job)) => {
                let answer = job.request.no_time();
                self.handle_reply(Reply { tag: job.tag, answer }, effects);
            }
            Err(Rejected::Closed(job)) => {
                let answer = job.request.refused(Outcome::TryAgainLater);
                self.handle_reply(Reply { tag: job.tag, answer }, effects);
            }
        }
    }

    /// Handles the reply of a DB thread.
    fn handle_reply(&mut self, reply: Reply<Tag>, effects: &mut Effects) {
        let Tag { link, instance, pending, claim, .. } = reply.tag;
        // These follow the reply to a request of the peer.
        let is_further = matches!(
            reply.answer,
            Answer::Overtaken | Answer::UndoClaim { .. } | Answer::ReleaseClaim { .. }
        );
        if pending == 0 || is_further || self.pending.answered(link, pending).is_some() {
            return self.answer(reply, effects);
        }
        // The peer has its answer already, or its link is gone: release the claim that the request
        // obtained.
        let claim = match reply.answer {
            Answer::CheckPassword { outcome: Outcome::Ok, claim, ref displaced } => {
                self.revoke(displaced.as_ref(), effects);
                claim
            }
            Answer::LoadCharacter { outcome: Outcome::Ok, .. } => claim,
            _ => return,
        };
        self.release(link, instance, claim, effects);
    }

    /// Releases a claim that no peer knows of. No peer waits for it.
    fn release(&mut self, link: SessionId, instance: u64, claim: Claim, effects: &mut Effects) {
        self.submit(Tag::new(link, instance, 0), Request::ReleaseClaim { claim, instance }, effects);
    }

    /// Tells the holder of a displaced claim that the claim is void, over all its links: the list
    /// that is to come over a new one may be older than one that another agent has compared, and
    /// says nothing then.
    fn revoke(&self, displaced: Option<&Held>, effects: &mut Effects) {
        let Some(held) = displaced else { return };
        for link in self.links_of(held.instance) {
            effects.send(link, DbClaimRevoked { claim: held.claim });
        }
    }

    /// Returns all links to a process.
    fn links_of(&self, instance: u64) -> impl Iterator<Item = SessionId> {
        self.links.all().filter(move |(_, peer)| peer.hello.instance == instance).map(|(link, _)| link)
    }

    /// Has every process list its claims anew, by closing its links. A claim that was undone may
    /// have displaced one of theirs: the comparison restores that one, or shows who has taken the
    /// account since.
    fn all_list_anew(&self, effects: &mut Effects) {
        tracing::warn!("a claim was undone that may have displaced another: all servers list theirs anew");
        for (link, _) in self.links.all() {
            effects.close(link, CloseReason::InternalError);
        }
    }

    /// Answers the peer.
    fn answer(&mut self, reply: Reply<Tag>, effects: &mut Effects) {
        let Reply { tag, answer } = reply;
        let Tag { link, instance, request, .. } = tag;
        let is_up = self.active_link(instance) == Some(link);
        let refused = answer.outcome() != Outcome::Ok;
        match answer {
            Answer::CheckPassword { outcome, claim, displaced } => {
                self.revoke(displaced.as_ref(), effects);
                if !refused {
                    metrics::CLAIMS.inc();
                }
                if is_up {
                    effects.send(link, DbCheckPasswordAnswer { request, outcome, claim });
                } else if !refused {
                    self.release(link, instance, claim, effects);
                }
            }
            Answer::LoadCharacter { outcome, character } => {
                let claim = tag.claim;
                if is_up {
                    effects.send(link, DbLoadCharacterAnswer { request, outcome, claim, character });
                } else if !refused {
                    self.release(link, instance, claim, effects);
                }
            }
            Answer::SignUp { outcome } => effects.send(link, DbSignUpAnswer { request, outcome }),
            Answer::VerifyAccount { outcome, account } => {
                effects.send(link, DbVerifyAccountAnswer { request, outcome, account });
            }
            Answer::CreateCharacter { outcome } => {
                effects.send(link, DbCreateCharacterAnswer { request, outcome });
            }
            // Online state must not stay wrong: after a late call, or without room or database, the
            // link is closed, and the next one begins with a new list of claims.
            Answer::Overtaken => {
                if let Some(link) = self.active_link(instance) {
                    tracing::warn!(instance, "a late call may have changed its claims: it lists them anew");
                    effects.close(link, CloseReason::InternalError);
                }
            }
            Answer::ReleaseClaim { .. }
            | Answer::MarkClaim { is_away: false, .. }
            | Answer::SyncHeld { .. }
                if refused =>
            {
                let link = self.active_link(instance).unwrap_or(link);
                effects.close(link, CloseReason::InternalError);
            }
            Answer::UndoClaim { .. } => self.all_list_anew(effects),
            Answer::RenewHolder { .. } if !refused => self.lease_renewed(tag, effects),
            Answer::ReleaseClaim { .. }
            | Answer::MarkClaim { .. }
            | Answer::RenewHolder { .. }
            | Answer::AgentStart { .. } => {}
            Answer::SyncHeld { conflicts, .. } => {
                if let Some(active) =
                    self.active_links.get_mut(&instance).filter(|active| active.link == link)
                {
                    active.lease_until = tag.lease_until;
                }
                for claim in conflicts {
                    effects.send(link, DbClaimRevoked { claim });
                }
                effects.send(link, DbClaimsSynced {});
            }
        }
    }

    fn publish(&mut self) {
        let stats = self.pool.stats();
        metrics::DB_QUEUE.set(i64::try_from(self.pool.depth()).unwrap_or(i64::MAX));
        metrics::DB_CONNECTED.set(i64::try_from(stats.connected.load(Relaxed)).unwrap_or(i64::MAX));
        metrics::DB_HASH_US.set(i64::try_from(self.pool.hash_time().as_micros()).unwrap_or(i64::MAX));
        metrics::DB_HASH_ADDRESSES.set(i64::try_from(self.pool.addresses()).unwrap_or(i64::MAX));
        metrics::DB_HUNG.set(i64::try_from(self.pool.hung()).unwrap_or(i64::MAX));
        let publish = |counter: &metrics::Counter, value: u64, published: &mut u64| {
            counter.add(value.saturating_sub(std::mem::replace(published, value)));
        };
        let published = &mut self.published;
        publish(&metrics::DB_SERVED, stats.served.load(Relaxed), &mut published.served);
        publish(&metrics::DB_FAILED, stats.failed.load(Relaxed), &mut published.failed);
        publish(&metrics::DB_HASHES_LATE, stats.late.load(Relaxed), &mut published.late);
        publish(&metrics::DB_EXPIRED, stats.expired.load(Relaxed), &mut published.expired);
        publish(&metrics::DB_RETRIED, stats.retried.load(Relaxed), &mut published.retried);
        publish(&metrics::DB_CONNECTIONS, stats.connections.load(Relaxed), &mut published.connections);
        publish(&metrics::DB_REPLACED, stats.replaced.load(Relaxed), &mut published.replaced);
        publish(&metrics::DB_QUEUE_FULL, stats.rejected.load(Relaxed), &mut published.rejected);
    }

    /// Tag of a request that arrived in a packet.
    fn tag(&self, call: &Call<'_>, request: u64) -> Tag {
        let instance = self.links.get(call.session).map_or(0, |link| link.hello.instance);
        Tag::new(call.session, instance, request)
    }
}

impl Tag {
    fn new(link: SessionId, instance: u64, request: u64) -> Self {
        Self { link, instance, request, claim: Claim { account: 0, id: 0 }, pending: 0, lease_until: None }
    }
}

/// Returns the time in which a request is to be answered: `request_timeout`, or less if the server
/// that asks gives up before that. An eighth of its time is for the way.
fn time_for(origin: Origin, request_timeout: Duration) -> Duration {
    match Duration::from_millis(origin.wait_ms.into()) {
        Duration::ZERO => request_timeout,
        wait => request_timeout.min(wait / 8 * 7),
    }
}

/// Handlers of all packets that the DB agent accepts.
fn table() -> HandlerTable<DbAgent, Phase> {
    HandlerTable::default()
        .on(&[Phase::Unidentified], hello)
        .on(&[Phase::Server], |agent, call, packet: DbCheckPassword| {
            let DbCheckPassword { request, id, password, take_over, origin } = packet;
            let tag = agent.tag(call, request);
            let instance = tag.instance;
            let request = Request::CheckPassword { id, password, take_over, instance };
            agent.submit_of(origin, tag, request, call.effects);
        })
        .on(&[Phase::Server], |agent, call, packet: DbLoadCharacter| {
            let DbLoadCharacter { request, claim } = packet;
            let tag = Tag { claim, ..agent.tag(call, request) };
            agent.submit(tag, Request::LoadCharacter { claim, instance: tag.instance }, call.effects);
        })
        .on(&[Phase::Server], |agent, call, packet: DbSignUp| {
            let DbSignUp { request, id, password, origin } = packet;
            let tag = agent.tag(call, request);
            agent.submit_of(origin, tag, Request::SignUp { id, password }, call.effects);
        })
        .on(&[Phase::Server], |agent, call, packet: DbVerifyAccount| {
            let DbVerifyAccount { request, id, password, origin } = packet;
            let tag = agent.tag(call, request);
            agent.submit_of(origin, tag, Request::VerifyAccount { id, password }, call.effects);
        })
        .on(&[Phase::Server], |agent, call, packet: DbCreateCharacter| {
            let DbCreateCharacter { request, account, name } = packet;
            agent.submit(agent.tag(call, request), Request::CreateCharacter { account, name }, call.effects);
        })
        .on(&[Phase::Server], |agent, call, packet: DbReleaseClaim| {
            let tag = agent.tag(call, 0);
            let request = Request::ReleaseClaim { claim: packet.claim, instance: tag.instance };
            agent.submit(tag, request, call.effects);
        })
        .on(&[Phase::Server], |agent, call, packet: DbClaimAway| {
            let DbClaimAway { claim, is_away } = packet;
            let tag = agent.tag(call, 0);
            // A mark that comes late over an older link is out of date.
            if agent.active_link(tag.instance) == Some(call.session) {
                let request = Request::MarkClaim { claim, instance: tag.instance, is_away };
                agent.submit(tag, request, call.effects);
            }
        })
        .on(&[Phase::Server], held_claims)
}

fn hello(agent: &mut DbAgent, call: &mut Call<'_>, hello: LinkHello) {
    let instance = hello.instance;
    let allowed = [packets::Role::Login, packets::Role::Chat];
    if agent.links.identify(call.session, hello, &allowed, call.now, call.effects).is_some() {
        agent.phases.insert(call.session, Phase::Server);
        agent.renew(call.session, instance, agent.settings.lease, call.effects);
    }
}

fn held_claims(agent: &mut DbAgent, call: &mut Call<'_>, packet: DbHeldClaims) {
    let number = packet.list;
    let list = agent.partial_lists.entry(call.session).or_default();
    list.extend(packet.claims.into_vec());
    if list.len() > SESSIONS_MAX {
        tracing::error!(session = %call.session, "a server's list of claims exceeds {SESSIONS_MAX}");
        call.effects.close(call.session, CloseReason::MalformedPacket);
    } else if packet.last {
        let claims = agent.partial_lists.remove(&call.session).unwrap_or_default();
        let lease_until = call.now + agent.settings.lease;
        let tag = Tag { lease_until: Some(lease_until), ..agent.tag(call, 0) };
        let active = agent.active_links.entry(tag.instance);
        let active =
            active.or_insert(Active { link: SessionId::from_bits(u64::MAX), list: 0, lease_until: None });
        if number < active.list {
            // The process has given up this link. Its list would void the claims of the later one.
            return call.effects.close(call.session, CloseReason::InternalError);
        }
        let is_first = active.link != call.session;
        if is_first {
            active.lease_until = None;
        }
        (active.link, active.list) = (call.session, number);
        let request =
            Request::SyncHeld { instance: tag.instance, list: number, is_first, claims, lease_until };
        agent.submit(tag, request, call.effects);
    }
}

#[cfg(test)]
mod tests;
