//! A process that has some of a run's workers: what the hidden subcommand does.
//!
//! One thread reads orders and never waits, so that whoever gives them never does for long. The main thread carries them
//! out, and is the only one that says something.

use std::fs::File;
use std::io::{self, BufReader};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::Instant;

use thiserror::Error;
use throng_core::shutdown::ignore_signals;
use throng_harness_model::clock::RunClock;
use throng_harness_model::exit::{EXIT_NOT_RUN, EXIT_OK};
use throng_harness_model::plan::{Given, Plan, plan};
use throng_harness_model::send_schedule::SendSchedule;

use super::error::FleetError;
use super::frame::{self, FrameError};
use super::message::{Beginning, ChildCommand, ChildEvent};
use super::reporter::{REPORT_EVERY, Reporter};
use super::threads::Threads;
use crate::command::Command;
use crate::live::Panel;
use crate::target::{self, TargetError};
use crate::verify::DeliveryLedger;

/// Why a part of the workers is lost.
#[derive(Debug, Error)]
enum MemberError {
    #[error("cannot ignore signals, which another process of the harness listens for: {0}")]
    Signals(io::Error),
    #[error(transparent)]
    Pipe(#[from] FrameError),
    #[error(
        "the harness starts this subcommand itself, with --processes; it has to be told what to do on stdin"
    )]
    NotTold,
    #[error("the run is to have begun in the future")]
    Clock,
    #[error(transparent)]
    Target(#[from] TargetError),
    #[error(transparent)]
    Fleet(#[from] FleetError),
    #[error("cannot start a thread: {0}")]
    Thread(io::Error),
}

/// Runs some of the workers of another process's run, which says on stdin what to do and is told on stdout what
/// is found. Gives the exit code. Ends when stdin does.
pub fn serve() -> u8 {
    let pipes =
        || Ok((io::stdin().as_fd().try_clone_to_owned()?, io::stdout().as_fd().try_clone_to_owned()?));
    let (orders, mut news) = match pipes() {
        Ok((orders, news)) => (BufReader::new(File::from(orders)), File::from(news)),
        Err(error) => {
            let error: io::Error = error;
            eprintln!("error: {error}");
            return EXIT_NOT_RUN;
        }
    };
    match run(orders, &mut news) {
        Ok(()) => EXIT_OK,
        Err(MemberError::NotTold) => {
            eprintln!("error: {}", MemberError::NotTold);
            EXIT_NOT_RUN
        }
        Err(error) => {
            // Whoever reads it says it to the user.
            let _ = frame::write(&mut news, &ChildEvent::Failed(error.to_string()));
            EXIT_NOT_RUN
        }
    }
}

fn run(mut orders: BufReader<File>, news: &mut File) -> Result<(), MemberError> {
    ignore_signals().map_err(MemberError::Signals)?;
    let Ok(Some(ChildCommand::Begin(beginning))) = frame::read(&mut orders) else {
        return Err(MemberError::NotTold);
    };
    let (process, workers) = (beginning.process, beginning.job.workers);
    let mut plan = prepare(*beginning)?;
    frame::write(news, &ChildEvent::Ready)?;
    loop {
        match frame::read(&mut orders)? {
            Some(ChildCommand::Go(begin)) => break plan.begin = begin,
            // Another process was quicker.
            Some(ChildCommand::Present(changes)) => present(&plan, changes),
            _ => return Err(MemberError::NotTold),
        }
    }
    let plan = Arc::new(plan);
    let panels: Arc<[Panel]> = (0..plan.workers).map(|_| Panel::default()).collect();
    let indices = process * workers..(process + 1) * workers;
    let reporter = Reporter::new(&plan, indices.clone(), panels.clone());
    let threads = Threads::start(&plan, indices, &panels)?;
    frame::write(news, &ChildEvent::Started)?;
    let (sender, receiver) = channel();
    let listener = thread::Builder::new().name("orders".into());
    listener.spawn(move || listen(orders, &plan, &sender)).map_err(MemberError::Thread)?;
    let mut member = Member { threads, tally: DeliveryLedger::default(), counted: None, reporter, news };
    member.work(&receiver)?;
    member.threads.stop();
    Ok(())
}

/// The plan of the run, the same in every process.
fn prepare(beginning: Beginning) -> Result<Plan, MemberError> {
    let Beginning { job, address, run, raw_epoch, sources, .. } = beginning;
    let clock = RunClock::from_raw_epoch(raw_epoch).ok_or(MemberError::Clock)?;
    // Its process is watched by who reports.
    let mut target = target::resolve(&job.target, job.scenario.entrance(), None)?;
    target.server.address = address;
    Ok(plan(&job, &target, Given { clock, run, sources }))
}

/// Takes orders until the last one. Nothing here waits for anything but the next: whoever gives orders to several processes
/// must not wait for one of them.
fn listen(mut orders: BufReader<File>, plan: &Plan, member: &Sender<Result<ChildCommand, FrameError>>) {
    loop {
        let order = match frame::read(&mut orders) {
            Ok(Some(ChildCommand::Present(changes))) => {
                present(plan, changes);
                continue;
            }
            Ok(Some(order)) => Ok(order),
            // Whoever started this process is gone, and nobody wants its results.
            Ok(None) | Err(FrameError::Pipe(_)) => std::process::exit(EXIT_NOT_RUN.into()),
            Err(error) => Err(error),
        };
        let is_last = matches!(order, Ok(ChildCommand::Stop) | Err(_));
        // None is taken any more by a process that is ending.
        if member.send(order).is_err() || is_last {
            return;
        }
    }
}

fn present(plan: &Plan, changes: Vec<(u32, u32)>) {
    for (client, user) in changes {
        plan.presence.set(client, user);
    }
}

/// The main thread's state.
struct Member<'a> {
    threads: Threads,
    /// The accounts of all workers here, once they are settled.
    tally: DeliveryLedger,
    /// When counted messages are due, once that is known.
    counted: Option<Arc<SendSchedule>>,
    reporter: Reporter,
    news: &'a mut File,
}

impl Member<'_> {
    /// Carries out orders until the last one.
    fn work(&mut self, orders: &Receiver<Result<ChildCommand, FrameError>>) -> Result<(), MemberError> {
        let mut report_at = Instant::now();
        loop {
            let order = orders.recv_timeout(report_at.saturating_duration_since(Instant::now()));
            match order {
                Ok(Ok(ChildCommand::Stop)) => return Ok(()),
                Ok(order) => self.carry_out(order?)?,
                Err(RecvTimeoutError::Timeout) => {}
                // The thread has ended, and with it soon the process.
                Err(RecvTimeoutError::Disconnected) => return Err(MemberError::NotTold),
            }
            self.threads.check()?;
            let now = Instant::now();
            if now >= report_at {
                report_at = now + REPORT_EVERY;
                self.reporter.report(now, |news| frame::write(self.news, news))?;
            }
        }
    }

    fn carry_out(&mut self, order: ChildCommand) -> Result<(), MemberError> {
        match order {
            ChildCommand::Talk(warmup, counted) => {
                let counted = Arc::new(SendSchedule::from(counted));
                self.threads.talk(&Arc::new(warmup.into()), &counted)?;
                self.counted = Some(counted);
            }
            ChildCommand::ChangeRate(at, interval) => {
                if let Some(counted) = &self.counted {
                    counted.change(at, interval);
                }
            }
            ChildCommand::Tell(None, Command::Hush) => self.threads.hush(),
            ChildCommand::Tell(None, command) => self.threads.tell(&command),
            ChildCommand::Tell(Some(worker), command) => self.threads.tell_one(worker, command),
            ChildCommand::WorkerResults => {
                self.begin()?;
                let harvest = Box::new(self.threads.harvest()?);
                frame::write(self.news, &ChildEvent::WorkerResults(harvest))?;
            }
            ChildCommand::Share => {
                self.begin()?;
                self.tally = DeliveryLedger::merged(self.threads.take_tallies()).unwrap_or_default();
                for page in self.tally.pages() {
                    frame::write(self.news, &ChildEvent::Page(page))?;
                }
                frame::write(self.news, &ChildEvent::Shared)?;
            }
            ChildCommand::Learn(page) => self.tally.learn(&page),
            ChildCommand::Settle => {
                self.begin()?;
                let part = std::mem::take(&mut self.tally).settle_own();
                frame::write(self.news, &ChildEvent::Settled(part))?;
            }
            // The first ones have been, those of who is there are dealt with elsewhere, and the last one ends all.
            ChildCommand::Begin(_) | ChildCommand::Go(_) | ChildCommand::Present(_) | ChildCommand::Stop => {}
        }
        Ok(())
    }

    /// Says that what takes its time is begun: whoever waits for it knows that this process is not stopped.
    fn begin(&mut self) -> Result<(), FrameError> {
        frame::write(self.news, &ChildEvent::Begun)
    }
}
