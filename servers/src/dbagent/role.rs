//! The DB agent's role: packets from login and chat servers become requests to the DB
//! threads, their records become answers.
//!
//! Every server process that is linked to us holds a lease, renewed here; its accounts are
//! online while the lease is good. A link that is down leaves a short grace and then nothing.

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
    self, Claim, DbCheckPassword, DbCheckPasswordAnswer, DbClaimRevoked, DbClaimsSynced, DbCreateCharacter,
    DbCreateCharacterAnswer, DbHeldClaims, DbLoadCharacter, DbLoadCharacterAnswer, DbReleaseClaim, DbSignUp,
    DbSignUpAnswer, DbVerifyAccount, DbVerifyAccountAnswer, LinkHello, Outcome,
};
use throng_core::{SessionId, metrics};

use super::pool::{Pool, Rejected};
use super::procedures::Held;
use super::request::{self, Answer, Reply, Request};

/// Phase of a session of the DB agent.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// A link before its LinkHello.
    Unidentified,
    /// A link to a login or chat server.
    Server,
}

/// Who asked, and for what.
#[derive(Debug, Clone, Copy)]
pub struct Tag {
    link: SessionId,
    instance: u64,
    request: u64,
    /// The claim of a [`DbLoadCharacter`], which its answer repeats.
    claim: Claim,
    /// The request's number among those that peers wait for; 0 where nobody waits.
    waiting: u64,
}

/// What the DB agent needs to know at its start.
pub struct DbAgentSettings {
    /// How long, at its start, those are taken for alive who were linked to the agent before it. Nobody is linked
    /// yet, so nobody is known to live: as after the loss of a link, with time
    /// besides for the longest pause between two attempts to link up again.
    pub comeback: Duration,
    /// How long a server process is taken for alive without a renewal.
    pub lease: Duration,
    /// How long after its last link went down.
    pub lease_grace: Duration,
    /// How long a request may wait for a DB thread.
    pub request_timeout: Duration,
}

/// The DB agent.
pub struct DbAgentRole {
    table: HandlerTable<DbAgent, Phase>,
    agent: DbAgent,
}

/// The DB agent's state.
pub struct DbAgent {
    settings: DbAgentSettings,
    now_ms: fn() -> u64,
    phases: HashMap<SessionId, Phase>,
    terminals: Links,
    pool: Arc<Pool<Tag>>,
    /// What to answer when the database does not in time. A DB thread can hang in a call for longer than its
    /// request has time, and so can all of them.
    waiting: Pending<Reply<Tag>>,
    /// Lists of claims that have not come to their last page.
    lists: HashMap<SessionId, Vec<Claim>>,
    /// For each process, the link over which it has last compared its claims: the one in use. What it
    /// asked over another, it has given up waiting for, be the end of that link known here or not.
    in_use: HashMap<u64, SessionId>,
    renew_at: Instant,
    published: Published,
}

/// What the pool's counters stood at when they were last copied to the metrics.
#[derive(Default)]
struct Published {
    served: u64,
    failed: u64,
    rejected: u64,
    expired: u64,
    retried: u64,
    connections: u64,
}

/// How often the pool's counters are copied to the metrics.
const PUBLISH_EVERY: Duration = Duration::from_secs(1);

impl DbAgentRole {
    /// A DB agent that nobody is linked to.
    pub fn new(
        settings: DbAgentSettings,
        terminals: Links,
        pool: Arc<Pool<Tag>>,
        now: Instant,
        now_ms: fn() -> u64,
    ) -> Self {
        let waiting = Pending::new(settings.request_timeout);
        let agent = DbAgent {
            settings,
            now_ms,
            phases: HashMap::new(),
            terminals,
            pool,
            waiting,
            lists: HashMap::new(),
            in_use: HashMap::new(),
            renew_at: now,
            published: Published::default(),
        };
        let until_ms = now_ms() + agent.settings.comeback.as_millis() as u64;
        // No link asks for it, and its answer goes to nobody.
        let tag = Tag::new(SessionId::from_bits(0), 0, 0);
        let job = request::Job { request: Request::AgentStart { until_ms }, tag, deadline: now };
        // Nothing has been submitted before, so there is room.
        if agent.pool.try_submit(job).is_err() {
            tracing::error!("the DB threads took nothing at the start");
        }
        Self { table: table(), agent }
    }
}

impl Role for DbAgentRole {
    type Record = Reply<Tag>;

    fn job(&mut self, job: Job<Reply<Tag>>, now: Instant, effects: &mut Effects) {
        match job {
            Job::Packet(session, packet, received) => {
                // A session that is not known has ended; its last packets are nobody's.
                if let Some(phase) = self.agent.phases.get(&session).copied() {
                    let mut call = Call { session, received, now, effects };
                    if !self.table.run(&mut self.agent, &mut call, phase, packet) {
                        self.agent.phases.remove(&session);
                    }
                }
            }
            Job::Opened(session, opened) => self.agent.opened(session, &opened, effects),
            Job::Closed(session, closed) => self.agent.closed(session, &closed, now, effects),
            Job::Record(reply) => self.agent.reported(reply, effects),
        }
    }

    fn tick(&mut self, now: Instant, effects: &mut Effects) -> Option<Instant> {
        let agent = &mut self.agent;
        if agent.renew_at <= now {
            agent.renew_at = now + agent.settings.lease / 3;
            let up: Vec<_> = agent.terminals.all().map(|(link, peer)| (link, peer.hello.instance)).collect();
            for (link, instance) in up {
                agent.renew(link, instance, agent.settings.lease, effects);
            }
        }
        for late in agent.waiting.expire(now) {
            metrics::DB_LATE.inc();
            agent.replied(late, effects);
        }
        agent.publish();
        let late = agent.waiting.next_deadline();
        [Some(agent.renew_at), Some(now + PUBLISH_EVERY), late, agent.terminals.tick(now, effects)]
            .into_iter()
            .flatten()
            .min()
    }
}

impl DbAgent {
    fn opened(&mut self, session: SessionId, opened: &Opened, effects: &mut Effects) {
        self.phases.insert(session, Phase::Unidentified);
        self.terminals.opened(session, opened, effects);
    }

    fn closed(&mut self, session: SessionId, closed: &Closed, now: Instant, effects: &mut Effects) {
        self.phases.remove(&session);
        self.lists.remove(&session);
        self.waiting.fail_link(session);
        let Some(link) = self.terminals.closed(session, closed, now) else { return };
        let instance = link.hello.instance;
        if self.in_use.get(&instance) == Some(&session) {
            self.in_use.remove(&instance);
        }
        if self.terminals.of_instance(instance).is_none() {
            self.renew(session, instance, self.settings.lease_grace, effects);
        }
    }

    /// The process is taken for alive for `lease` from now.
    fn renew(&mut self, link: SessionId, instance: u64, lease: Duration, effects: &mut Effects) {
        let lease_until_ms = (self.now_ms)() + lease.as_millis() as u64;
        self.submit(Tag::new(link, instance, 0), Request::RenewHolder { instance, lease_until_ms }, effects);
    }

    /// Gives a request to the DB threads, or the answer that there is no room. Whoever waits for the
    /// answer has it in time, whatever the database does.
    fn submit(&mut self, tag: Tag, request: Request, effects: &mut Effects) {
        let now = Instant::now();
        let deadline = now + self.settings.request_timeout;
        let refused = |tag| Reply { tag, answer: request.refused(Outcome::TryAgainLater) };
        let mut tag = tag;
        if tag.request != 0 {
            match self.waiting.add(tag.link, refused(tag), now) {
                Ok(number) => tag.waiting = number,
                Err(reply) => return self.replied(reply, effects),
            }
        }
        match self.pool.try_submit(request::Job { request, tag, deadline }) {
            Ok(()) => {}
            Err(Rejected::Full(job) | Rejected::Closed(job)) => {
                let answer = job.request.refused(Outcome::TryAgainLater);
                self.reported(Reply { tag: job.tag, answer }, effects);
            }
        }
    }

    /// The DB threads have finished a request.
    fn reported(&mut self, reply: Reply<Tag>, effects: &mut Effects) {
        let Tag { link, instance, waiting, claim, .. } = reply.tag;
        if waiting == 0 || self.waiting.answered(link, waiting).is_some() {
            return self.replied(reply, effects);
        }
        // The peer has been answered already, or is gone: what the request brought about is undone, where it can be.
        let claim = match reply.answer {
            Answer::CheckPassword { outcome: Outcome::Ok, claim, ref displaced } => {
                self.revoke(displaced.as_ref(), effects);
                claim
            }
            Answer::LoadCharacter { outcome: Outcome::Ok, .. } => claim,
            _ => return,
        };
        self.submit(Tag::new(link, instance, 0), Request::ReleaseClaim { claim, instance }, effects);
    }

    /// Tells the holder of a claim that it had to go.
    fn revoke(&self, displaced: Option<&Held>, effects: &mut Effects) {
        if let Some(held) = displaced
            && let Some(holder) = self.in_use.get(&held.instance)
        {
            effects.send(*holder, DbClaimRevoked { claim: held.claim });
        }
    }

    /// A request has come to its end.
    fn replied(&mut self, reply: Reply<Tag>, effects: &mut Effects) {
        let Reply { tag, answer } = reply;
        let Tag { link, instance, request, .. } = tag;
        let is_up = self.in_use.get(&instance) == Some(&link);
        let refused = answer.outcome() != Outcome::Ok;
        match answer {
            Answer::CheckPassword { outcome, claim, displaced } => {
                self.revoke(displaced.as_ref(), effects);
                metrics::CLAIMS.add(u64::from(!refused));
                if is_up {
                    effects.send(link, DbCheckPasswordAnswer { request, outcome, claim });
                } else if !refused {
                    self.submit(tag, Request::ReleaseClaim { claim, instance }, effects);
                }
            }
            Answer::LoadCharacter { outcome, character } => {
                let claim = tag.claim;
                if is_up {
                    effects.send(link, DbLoadCharacterAnswer { request, outcome, claim, character });
                } else if !refused {
                    self.submit(tag, Request::ReleaseClaim { claim, instance }, effects);
                }
            }
            Answer::SignUp { outcome } => effects.send(link, DbSignUpAnswer { request, outcome }),
            Answer::VerifyAccount { outcome, account } => {
                effects.send(link, DbVerifyAccountAnswer { request, outcome, account });
            }
            Answer::CreateCharacter { outcome } => {
                effects.send(link, DbCreateCharacterAnswer { request, outcome });
            }
            // What concerns online state cannot be left undone: without room or database the link
            // is closed, and when it is up again the lists are compared anew.
            Answer::ReleaseClaim { .. } | Answer::SyncHeld { .. } if refused => {
                let link = self.in_use.get(&instance).copied().unwrap_or(link);
                effects.close(link, CloseReason::InternalError);
            }
            Answer::ReleaseClaim { .. } | Answer::RenewHolder { .. } | Answer::AgentStart { .. } => {}
            Answer::SyncHeld { conflicts, .. } => {
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
        let publish = |counter: &metrics::Counter, value: u64, published: &mut u64| {
            counter.add(value.saturating_sub(std::mem::replace(published, value)));
        };
        let published = &mut self.published;
        publish(&metrics::DB_SERVED, stats.served.load(Relaxed), &mut published.served);
        publish(&metrics::DB_FAILED, stats.failed.load(Relaxed), &mut published.failed);
        publish(&metrics::DB_EXPIRED, stats.expired.load(Relaxed), &mut published.expired);
        publish(&metrics::DB_RETRIED, stats.retried.load(Relaxed), &mut published.retried);
        publish(&metrics::DB_CONNECTIONS, stats.connections.load(Relaxed), &mut published.connections);
        publish(&metrics::DB_QUEUE_FULL, stats.rejected.load(Relaxed), &mut published.rejected);
    }

    /// The tag of a request that came in a packet.
    fn tag(&self, call: &Call<'_>, request: u64) -> Tag {
        let instance = self.terminals.get(call.session).map_or(0, |link| link.hello.instance);
        Tag::new(call.session, instance, request)
    }
}

impl Tag {
    fn new(link: SessionId, instance: u64, request: u64) -> Self {
        Self { link, instance, request, claim: Claim { account: 0, id: 0 }, waiting: 0 }
    }
}

/// Every packet that the DB agent takes.
fn table() -> HandlerTable<DbAgent, Phase> {
    HandlerTable::default()
        .on(&[Phase::Unidentified], hello)
        .on(&[Phase::Server], |agent, call, packet: DbCheckPassword| {
            let DbCheckPassword { request, id, password, take_over } = packet;
            let tag = agent.tag(call, request);
            let instance = tag.instance;
            agent.submit(tag, Request::CheckPassword { id, password, take_over, instance }, call.effects);
        })
        .on(&[Phase::Server], |agent, call, packet: DbLoadCharacter| {
            let DbLoadCharacter { request, claim } = packet;
            let tag = Tag { claim, ..agent.tag(call, request) };
            agent.submit(tag, Request::LoadCharacter { claim, instance: tag.instance }, call.effects);
        })
        .on(&[Phase::Server], |agent, call, packet: DbSignUp| {
            let DbSignUp { request, id, password } = packet;
            agent.submit(agent.tag(call, request), Request::SignUp { id, password }, call.effects);
        })
        .on(&[Phase::Server], |agent, call, packet: DbVerifyAccount| {
            let DbVerifyAccount { request, id, password } = packet;
            agent.submit(agent.tag(call, request), Request::VerifyAccount { id, password }, call.effects);
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
        .on(&[Phase::Server], held_claims)
}

fn hello(agent: &mut DbAgent, call: &mut Call<'_>, hello: LinkHello) {
    let instance = hello.instance;
    let allowed = [packets::Role::Login, packets::Role::Chat];
    if agent.terminals.identify(call.session, hello, &allowed, call.now, call.effects).is_some() {
        agent.phases.insert(call.session, Phase::Server);
        agent.renew(call.session, instance, agent.settings.lease, call.effects);
    }
}

fn held_claims(agent: &mut DbAgent, call: &mut Call<'_>, packet: DbHeldClaims) {
    let number = packet.list;
    let list = agent.lists.entry(call.session).or_default();
    list.extend(packet.claims.into_vec());
    if list.len() > SESSIONS_MAX {
        tracing::error!(session = %call.session, "the server's list of claims has no end");
        call.effects.close(call.session, CloseReason::MalformedPacket);
    } else if packet.last {
        let claims = agent.lists.remove(&call.session).unwrap_or_default();
        let tag = agent.tag(call, 0);
        let is_first = agent.in_use.insert(tag.instance, call.session) != Some(call.session);
        let lease_until_ms = (agent.now_ms)() + agent.settings.lease.as_millis() as u64;
        let request =
            Request::SyncHeld { instance: tag.instance, list: number, is_first, claims, lease_until_ms };
        agent.submit(tag, request, call.effects);
    }
}
