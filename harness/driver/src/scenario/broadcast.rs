//! The `broadcast` scenario: all clients enter, then random ones send by an open-loop schedule.

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

use super::{Halt, POLL_EVERY, Run};
use crate::command::{Command, Joiners};
use crate::live::Phase;

/// From the decision to send, or to change the rate, to the first message concerned: time for all
/// threads to learn of it.
pub(super) const LEAD: Nanos = 50_000_000;

/// The longest time without progress while messages are overdue.
const SEND_PATIENCE: Duration = Duration::from_secs(10);

/// The longest drain of an interrupted run.
const INTERRUPTED_DRAIN: Duration = Duration::from_secs(1);

/// Runs the phases up to the last delivery.
pub(super) fn run(run: &mut Run<'_>, broadcast: &Broadcast) -> Result<(), Halt> {
    prepare(run)?;
    let warmup = SendSchedule::even(run.now() + LEAD, broadcast.interval);
    let from = warmup.intended(run.plan.warmup.messages()).saturating_add(nanos(broadcast.pause));
    // In a closed loop all messages are due from the start, and wait for the window.
    let interval = if broadcast.ahead.is_some() { Duration::ZERO } else { broadcast.interval };
    let until = from.saturating_add(nanos(broadcast.duration));
    let counted = SendSchedule::even(from, interval);
    // An adjustable rate draws more messages than are due in that time.
    let counted = if broadcast.is_adjustable { counted.ending(until) } else { counted };
    let until = broadcast.ahead.map_or(NEVER, |_| until);
    exchange(run, warmup, counted, until, broadcast.drain)
}

/// Waits until all clients have entered, joined their rooms and received the probe.
pub(super) fn prepare(run: &mut Run<'_>) -> Result<(), Halt> {
    run.enter()?;
    run.check_lists()?;
    join_rooms(run)?;
    probe(run)
}

/// Sends the plan's messages, at latest until `until`, then drains deliveries for at most
/// `patience`.
pub(super) fn exchange(
    run: &mut Run<'_>,
    warmup: SendSchedule,
    counted: SendSchedule,
    until: Nanos,
    patience: Duration,
) -> Result<(), Halt> {
    let (warmup, counted) = (Arc::new(warmup), Arc::new(counted));
    run.counted = Some(counted.clone());
    run.fleet.start_sending(&warmup, &counted)?;
    let sent = send(run, &Schedule { warmup, counted, until });
    run.fleet.stop_sending();
    let drained = drain(run, patience);
    run.end_measuring();
    sent.and(drained)
}

/// Messages offered, of at most `messages`, and messages sent, per second.
pub(super) fn rates(
    broadcast: &Broadcast,
    counted: &SendSchedule,
    messages: u32,
    sent: u64,
    last_sent: Nanos,
) -> Rates {
    let elapsed = Duration::from_nanos(last_sent.saturating_sub(counted.start())) + broadcast.interval;
    if broadcast.ahead.is_some() {
        // A closed loop offers what it sends.
        return Rates::new(sent, elapsed, sent, elapsed);
    }
    if broadcast.is_adjustable {
        let offered = counted.due_before(NEVER).min(messages);
        return Rates::new(offered.into(), broadcast.duration, sent, elapsed);
    }
    Rates::new(messages.into(), broadcast.interval * messages, sent, elapsed)
}

/// Waits until all clients are in their channels and sectors.
fn join_rooms(run: &mut Run<'_>) -> Result<(), Halt> {
    let audiences = &run.plan.audiences;
    let (channels, has_places) = (u64::from(audiences.channels()), audiences.speech().has_places());
    let clients = u64::from(run.plan.clients);
    let patience = run.job.connect_timeout;
    let mut to_place = 0;
    for (joiners, count, is_needed) in
        [(Joiners::Founders, channels, channels > 0), (Joiners::All, clients, channels > 0 || has_places)]
    {
        if !is_needed {
            continue;
        }
        run.phase(Phase::JoiningRooms, None);
        to_place += count;
        run.fleet.send_all(|| Command::JoinRooms(joiners));
        run.wait(
            patience,
            |now| now.placed,
            |now, _| now.placed >= to_place,
            |now| {
                format!(
                    "{} clients were not yet in their channels and sectors, and no others joined for {}",
                    format_count(to_place.saturating_sub(now.placed)),
                    format_duration(patience)
                )
            },
        )?;
    }
    Ok(())
}

/// Waits until a probe message has reached all clients, and with it everything sent before it.
fn probe(run: &mut Run<'_>) -> Result<(), Halt> {
    run.phase(Phase::Probe, None);
    run.fleet.send_all(|| Command::StartProbing);
    let panels = run.fleet.panels();
    let sender = panels.iter().position(|panel| panel.totals().connected > 0).unwrap_or(0);
    run.fleet.send_to(sender, Command::SendProbe);
    let patience = run.job.connect_timeout;
    run.wait(
        patience,
        |now| now.probed,
        |now, _| now.probed == now.connected && now.leak_probe_placed > 0,
        |now| {
            format!(
                "the probe message has reached {} of {} clients, and no others for {}",
                format_count(now.probed),
                format_count(now.connected),
                format_duration(patience)
            )
        },
    )?;
    run.require_clients("before the first message")
}

/// The schedules of a run's messages.
struct Schedule {
    warmup: Arc<SendSchedule>,
    counted: Arc<SendSchedule>,
    /// The end of sending, in a closed loop; unsent messages are dropped.
    until: Nanos,
}

impl Schedule {
    /// Messages that are due before `at`.
    fn due_before(&self, plan: &Plan, at: Nanos) -> u64 {
        let due = |schedule: &SendSchedule, messages: u32| u64::from(schedule.due_before(at).min(messages));
        due(&self.warmup, plan.warmup.messages()) + due(&self.counted, plan.traffic.messages())
    }
}

/// Waits until every message has been sent or skipped.
fn send(run: &mut Run<'_>, schedule: &Schedule) -> Result<(), Halt> {
    let start = schedule.counted.start();
    run.phase(Phase::WarmUp, Some(start));
    // All warm-up messages are due before the first counted one.
    run.wait(Duration::MAX, |_| 0, |now, at| at >= start || now.connected == 0, |_| String::new())?;
    run.begin_measuring();
    let plan = run.plan.clone();
    let last = match &run.job.scenario {
        Scenario::Broadcast(broadcast) => start.saturating_add(nanos(broadcast.duration)),
        _ => schedule.counted.intended(plan.traffic.messages().saturating_sub(1)),
    };
    run.phase(Phase::Sending, Some(last.min(schedule.until)));
    let due_before = |at| schedule.due_before(&plan, at);
    let unsent = |now: &Totals| format_count(due_before(NEVER).saturating_sub(now.scheduled));
    run.wait(
        SEND_PATIENCE,
        |now| {
            // While nothing is overdue the clock counts as progress.
            let at = plan.clock.now();
            if now.scheduled >= due_before(at) { at } else { now.scheduled }
        },
        |now, at| now.scheduled >= due_before(NEVER) || now.connected == 0 || at >= schedule.until,
        |now| {
            let patience = format_duration(SEND_PATIENCE);
            format!("{} messages were still to be sent, and none was for {patience}", unsent(now))
        },
    )?;
    let left = unsent(&run.fleet.totals());
    run.require_clients(&format!("with {left} messages still to be sent"))
}

/// Waits, at most `patience`, until all present clients have every message. Messages that do not
/// arrive are missing, which the thresholds judge.
fn drain(run: &mut Run<'_>, patience: Duration) -> Result<(), Halt> {
    let mut until = run.now().saturating_add(nanos(patience));
    run.phase(Phase::Draining, Some(until));
    let mut is_cut_short = false;
    let workers = u64::from(run.plan.workers);
    let expected = Expected::of(run);
    let mut last = (0, 0);
    loop {
        // The number sent is final only if it is read after all workers have stopped sending.
        let is_silent = run.fleet.totals().stopped_sending == workers;
        let (totals, now) = run.poll()?;
        if run.shutdown.is_requested() && !std::mem::replace(&mut is_cut_short, true) {
            until = until.min(now.saturating_add(nanos(INTERRUPTED_DRAIN)));
        }
        if totals.received != last.0 {
            last = (totals.received, now);
        }
        let quiet = now.saturating_sub(last.1);
        let has_all = is_silent && totals.away == 0 && expected.is_complete(&totals, quiet);
        if has_all || now >= until {
            if has_all && quiet >= QUIET {
                // Ends the measurement at the last delivery, so that the quiet time lowers no rate.
                run.end_measuring_at(last.1);
            }
            return if is_cut_short { Err(Halt::Interrupted) } else { Ok(()) };
        }
        thread::sleep(POLL_EVERY);
    }
}

/// The condition under which all deliveries have arrived.
enum Expected {
    /// Every present client receives every message.
    ToAll,
    /// The expected messages and deliveries, if no client is lost. Else the drain ends after
    /// [`QUIET`].
    Known { messages: u64, deliveries: u64 },
    /// Recipients depend on churn, moves or impairments: the drain ends after [`QUIET`].
    Unknown,
}

/// The time without a delivery that ends a drain.
const QUIET: Nanos = 2_000_000_000;

impl Expected {
    fn of(run: &Run<'_>) -> Self {
        let plan = &run.plan;
        if plan.churn.is_some() || plan.moves.is_some() || !plan.impairment.is_none() {
            return Self::Unknown;
        }
        if plan.audiences.speech() == ScopeMix::World {
            return Self::ToAll;
        }
        // After a change of the rate some of the messages drawn are never due.
        let due = run.counted.as_ref().map_or(0, |counted| counted.due_before(NEVER));
        let (messages, sizes) = (due.min(plan.traffic.messages()), plan.audiences.sizes());
        let members = |index| sizes.get(plan.traffic.place(index).0 as usize).copied().unwrap_or(0);
        Self::Known { messages: messages.into(), deliveries: (0..messages).map(members).sum() }
    }

    /// Returns true if all deliveries have arrived, given the time since the latest one.
    fn is_complete(&self, totals: &Totals, quiet: Nanos) -> bool {
        match self {
            Self::ToAll => totals.received_by_present == totals.sent * totals.connected,
            Self::Known { messages, deliveries } => {
                (totals.sent == *messages && totals.received >= *deliveries) || quiet >= QUIET
            }
            Self::Unknown => quiet >= QUIET,
        }
    }
}
