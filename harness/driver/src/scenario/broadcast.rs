//! Everybody enters, then random clients talk to all by an open-loop schedule.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use throng_core::config::format_duration;
use throng_harness_model::audiences::ScopeMix;
use throng_harness_model::clock::{NEVER, Nanos, nanos};
use throng_harness_model::plan::Plan;
use throng_harness_model::results::{Rates, Totals};
use throng_harness_model::send_schedule::SendSchedule;
use throng_harness_model::spec::{Broadcast, Scenario};
use throng_harness_model::text::format_count;

use super::{Halt, LOOK, Run};
use crate::command::{Command, Gather};
use crate::live::Phase;

/// From the decision to send, or to send more often, to the first message: time for the threads to hear of it.
pub(super) const LEAD: Nanos = 50_000_000;

/// How long a message that is due may wait.
const SEND_PATIENCE: Duration = Duration::from_secs(10);

/// How long an interrupted run waits for what is on its way.
const INTERRUPTED_DRAIN: Duration = Duration::from_secs(1);

/// Runs the phases up to the last delivery.
pub(super) fn run(run: &mut Run<'_>, broadcast: &Broadcast) -> Result<(), Halt> {
    prepare(run)?;
    let warmup = SendSchedule::even(run.now() + LEAD, broadcast.interval);
    let from = warmup.intended(run.plan.warmup.messages()).saturating_add(nanos(broadcast.pause));
    // In a closed loop all of them are due from the beginning, and wait for the window.
    let interval = if broadcast.ahead.is_some() { Duration::ZERO } else { broadcast.interval };
    let until = from.saturating_add(nanos(broadcast.duration));
    let counted = SendSchedule::even(from, interval);
    // With a rate that changes there are more messages than those that have their turn in that time.
    let counted = if broadcast.is_adjustable { counted.ending(until) } else { counted };
    // A closed loop ends when its time is over.
    let until = broadcast.ahead.map_or(NEVER, |_| until);
    converse(run, warmup, counted, until, broadcast.drain)
}

/// Waits until everybody is there, at its place, and hears what is said.
pub(super) fn prepare(run: &mut Run<'_>) -> Result<(), Halt> {
    run.enter()?;
    run.look_at_lists()?;
    gather(run)?;
    probe(run)
}

/// Has the plan's messages said, at latest until `until`, and waits at most `patience` for what is on its way then.
pub(super) fn converse(
    run: &mut Run<'_>,
    warmup: SendSchedule,
    counted: SendSchedule,
    until: Nanos,
    patience: Duration,
) -> Result<(), Halt> {
    let (warmup, counted) = (Arc::new(warmup), Arc::new(counted));
    run.counted = Some(counted.clone());
    run.fleet.talk(&warmup, &counted)?;
    let talked = talk(run, &Schedule { warmup, counted, until });
    run.fleet.hush();
    let drained = drain(run, patience);
    run.end_measuring();
    talked.and(drained)
}

/// Messages that were to be sent, of the `messages` that there are at most, and that were, each second.
pub(super) fn rates(
    broadcast: &Broadcast,
    counted: &SendSchedule,
    messages: u32,
    sent: u64,
    last_sent: Nanos,
) -> Rates {
    let took = Duration::from_nanos(last_sent.saturating_sub(counted.start())) + broadcast.interval;
    if broadcast.ahead.is_some() {
        // Whatever was sent is what was wanted.
        return Rates::new(sent, took, sent, took);
    }
    if broadcast.is_adjustable {
        let offered = counted.due_before(NEVER).min(messages);
        return Rates::new(offered.into(), broadcast.duration, sent, took);
    }
    Rates::new(messages.into(), broadcast.interval * messages, sent, took)
}

/// Waits until everybody is in the channel, and at the place, that is meant for it.
fn gather(run: &mut Run<'_>) -> Result<(), Halt> {
    let audiences = &run.plan.audiences;
    let (channels, has_places) = (u64::from(audiences.channels()), audiences.speech().has_places());
    let clients = u64::from(run.plan.clients);
    let patience = run.job.connect_timeout;
    let mut to_gather = 0;
    for (who, count, is_needed) in
        [(Gather::Founders, channels, channels > 0), (Gather::All, clients, channels > 0 || has_places)]
    {
        if !is_needed {
            continue;
        }
        run.phase(Phase::Gathering, None);
        to_gather += count;
        run.fleet.tell(|| Command::Gather(who));
        run.wait(
            patience,
            |now| now.gathered,
            |now, _| now.gathered >= to_gather,
            |now| {
                format!(
                    "{} clients had still to get into their channels and places, and nobody did for {}",
                    format_count(to_gather.saturating_sub(now.gathered)),
                    format_duration(patience)
                )
            },
        )?;
    }
    Ok(())
}

/// Waits until one message has reached everybody, and with it all that was sent before it.
fn probe(run: &mut Run<'_>) -> Result<(), Halt> {
    run.phase(Phase::Probe, None);
    run.fleet.tell(|| Command::Watch);
    let panels = run.fleet.panels();
    let speaker = panels.iter().position(|panel| panel.totals().connected > 0).unwrap_or(0);
    run.fleet.tell_one(speaker, Command::Probe);
    let patience = run.job.connect_timeout;
    run.wait(
        patience,
        |now| now.probed,
        |now, _| now.probed == now.connected && now.outside > 0,
        |now| {
            format!(
                "the probe message has reached {} of {} clients, and nobody else for {}",
                format_count(now.probed),
                format_count(now.connected),
                format_duration(patience)
            )
        },
    )?;
    run.still_there("before the first message")
}

/// When the messages of a run have their turn.
struct Schedule {
    warmup: Arc<SendSchedule>,
    counted: Arc<SendSchedule>,
    /// When that is over, whatever was not sent.
    until: Nanos,
}

impl Schedule {
    /// Messages that are due before `at`.
    fn due_before(&self, plan: &Plan, at: Nanos) -> u64 {
        let due = |schedule: &SendSchedule, messages: u32| u64::from(schedule.due_before(at).min(messages));
        due(&self.warmup, plan.warmup.messages()) + due(&self.counted, plan.traffic.messages())
    }
}

/// Waits until every message has had its turn.
fn talk(run: &mut Run<'_>, schedule: &Schedule) -> Result<(), Halt> {
    let start = schedule.counted.start();
    run.phase(Phase::WarmUp, Some(start));
    // Warm-up messages have theirs before the first counted one, by the same schedule.
    run.wait(Duration::MAX, |_| 0, |now, at| at >= start || now.connected == 0, |_| String::new())?;
    run.begin_measuring();
    let plan = run.plan.clone();
    let last = match &run.job.scenario {
        Scenario::Broadcast(broadcast) => start.saturating_add(nanos(broadcast.duration)),
        _ => schedule.counted.intended(plan.traffic.messages().saturating_sub(1)),
    };
    run.phase(Phase::Talking, Some(last.min(schedule.until)));
    let due_before = |at| schedule.due_before(&plan, at);
    let to_do = |now: &Totals| format_count(due_before(NEVER).saturating_sub(now.scheduled));
    run.wait(
        SEND_PATIENCE,
        |now| {
            // While nothing is overdue there is nothing to wait for but the time.
            let at = plan.clock.now();
            if now.scheduled >= due_before(at) { at } else { now.scheduled }
        },
        |now, at| now.scheduled >= due_before(NEVER) || now.connected == 0 || at >= schedule.until,
        |now| {
            let patience = format_duration(SEND_PATIENCE);
            format!("{} messages were still to be sent, and none was for {patience}", to_do(now))
        },
    )?;
    let left = to_do(&run.fleet.totals());
    run.still_there(&format!("with {left} messages still to be sent"))
}

/// Waits, at most `patience`, until everybody who is there has got every message. What does
/// not come is missing, which is for the thresholds to judge.
fn drain(run: &mut Run<'_>, patience: Duration) -> Result<(), Halt> {
    let mut until = run.now().saturating_add(nanos(patience));
    run.phase(Phase::Draining, Some(until));
    let mut is_cut_short = false;
    let workers = u64::from(run.plan.workers);
    let due = Due::of(run);
    let mut last = (0, 0);
    loop {
        // What was sent is known only to a look after the one that found every worker silent.
        let is_silent = run.fleet.totals().hushed == workers;
        let (totals, now) = run.look()?;
        if run.shutdown.is_requested() && !std::mem::replace(&mut is_cut_short, true) {
            until = until.min(now.saturating_add(nanos(INTERRUPTED_DRAIN)));
        }
        if totals.received != last.0 {
            last = (totals.received, now);
        }
        let quiet = now.saturating_sub(last.1);
        let has_all = is_silent && due.has_come(&totals, quiet);
        if has_all || now >= until {
            if has_all && quiet >= QUIET {
                // It was over when the last one came: the time in which that was found out would make rates and loads smaller than they were.
                run.end_measuring_at(last.1);
            }
            return if is_cut_short { Err(Halt::Interrupted) } else { Ok(()) };
        }
        thread::sleep(LOOK);
    }
}

/// How it is known that everybody has everything.
enum Due {
    /// Everybody who is there gets every message.
    ToAll,
    /// So many messages are to be sent, and so many deliveries follow from them, if nobody is lost. Else it is as good as over when
    /// nothing has come for a while.
    Known { messages: u64, deliveries: u64 },
    /// Who gets what depends on when it comes and goes, and reads: it is over when nothing has come for a while.
    Unknown,
}

/// How long nothing comes when it is over.
const QUIET: Nanos = 2_000_000_000;

impl Due {
    fn of(run: &Run<'_>) -> Self {
        let plan = &run.plan;
        if plan.churn.is_some() || plan.moves.is_some() || !plan.impairment.is_none() {
            return Self::Unknown;
        }
        if plan.audiences.speech() == ScopeMix::World {
            return Self::ToAll;
        }
        // What has had no turn, because the rate was changed, will have none.
        let due = run.counted.as_ref().map_or(0, |counted| counted.due_before(NEVER));
        let (messages, sizes) = (due.min(plan.traffic.messages()), plan.audiences.sizes());
        let members = |index| sizes.get(plan.traffic.place(index).0 as usize).copied().unwrap_or(0);
        Self::Known { messages: messages.into(), deliveries: (0..messages).map(members).sum() }
    }

    /// Whether that is so, when nothing has come for `quiet`.
    fn has_come(&self, totals: &Totals, quiet: Nanos) -> bool {
        match self {
            Self::ToAll => totals.received_by_present == totals.sent * totals.connected,
            Self::Known { messages, deliveries } => {
                (totals.sent == *messages && totals.received >= *deliveries) || quiet >= QUIET
            }
            Self::Unknown => quiet >= QUIET,
        }
    }
}
