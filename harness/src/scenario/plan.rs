//! What is decided before a run: the same in all its processes, because it follows from the same.

use std::sync::Arc;
use std::time::Duration;

use super::bots;
use crate::cli::{Job, Scenario, Setting, Stay};
use crate::clock::{RunClock, nanos};
use crate::identity::Identities;
use crate::payload::{PAYLOAD_MIN, Payload};
use crate::schedule::{MESSAGES_MAX, Pace, Traffic, points_in};
use crate::target::Target;
use crate::worker::{Churn, EntryPath, Impairment, Plan, Presence, Server};

/// Most clients on their way in at a time, but for `login`.
pub(crate) const IN_FLIGHT: u32 = 256;

/// What a run has besides its job and its target, the same in all its processes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Given {
    /// The run's one clock.
    pub(crate) clock: RunClock,
    /// Its number, which no other run has.
    pub(crate) run: u32,
    /// Addresses of ours that clients connect from, at least 1.
    pub(crate) sources: u32,
}

/// Everything that is decided before the run, in each of its processes alike.
pub(crate) fn plan(job: &Job, target: &Target, Given { clock, run, sources }: Given) -> Plan {
    let server = Server::new(target.server.address, target.server.key, job.connect_timeout);
    let way = match &target.cluster_key {
        Some(cluster) => EntryPath::Ticket(server, cluster.clone()),
        None => EntryPath::Login(server),
    };
    let (in_flight, leaves, seeded) = match &job.scenario {
        Scenario::Login(login) => {
            let leaves = matches!(login.stay, Stay::Leave { .. });
            (login.in_flight, leaves, login.seeded.clone())
        }
        Scenario::Connect(_) | Scenario::Broadcast(_) | Scenario::Bots(_) => (IN_FLIGHT, false, None),
    };
    let (payload, senders, warmup, messages) = match &job.scenario {
        Scenario::Broadcast(broadcast) => {
            let warmup = points_in(broadcast.warmup, broadcast.interval).unwrap_or(MESSAGES_MAX);
            (broadcast.payload, broadcast.senders, warmup, broadcast.messages_drawn())
        }
        _ => (PAYLOAD_MIN, 0, 0, 0),
    };
    let ahead = match &job.scenario {
        Scenario::Broadcast(broadcast) => broadcast.ahead,
        _ => None,
    };
    let (ramp, reconnects) = match &job.scenario {
        Scenario::Connect(connect) => (connect.ramp, connect.reconnects()),
        _ => (Duration::ZERO, false),
    };
    let setting = match &job.scenario {
        Scenario::Broadcast(broadcast) => broadcast.setting,
        _ => Setting::default(),
    };
    let crowd = setting.crowd(job.clients, job.seed);
    let speakers = setting.speakers(job.clients);
    let draw = |messages| Traffic::draw(job.seed, speakers, senders, messages).among(&crowd, job.seed);
    let script = bots::script(job);
    let traffic = script.as_ref().map_or_else(|| Arc::new(draw(messages)), |script| script.traffic().clone());
    let warmup = Arc::new(draw(warmup));
    let impairment = Impairment {
        deaf: setting.deaf,
        deaf_for: setting.deaf_for.map(nanos),
        slow: setting.slow,
        slow_rate: setting.slow_rate,
    };
    let churn = |per_second| Churn {
        per_second,
        first: speakers,
        count: job.clients - speakers - impairment.count(),
    };
    Plan {
        clock,
        clients: job.clients,
        workers: job.workers * job.processes,
        sources,
        way,
        begin: Pace::new(clock.now(), job.connect_interval).with_ramp(ramp),
        timeout: nanos(job.connect_timeout),
        in_flight,
        is_adaptive: script.is_some(),
        leaves,
        rounds: job.scenario.rounds(),
        cast: Identities::new(run, job.seed).with_accounts(seeded),
        payload: Payload::new(run, job.seed, payload).saying(script.clone()),
        warmup,
        traffic,
        script,
        crowd,
        churn: setting.churn.map(churn),
        moves: setting.moves.map(churn),
        impairment,
        reconnects,
        lists: job.lists,
        presence: Presence::new(job.clients),
        ahead,
        seed: job.seed,
    }
}
