//! A child process with some of a run's workers: the hidden subcommand.
//!
//! One thread reads the commands and never blocks on anything else, so that the parent never waits
//! long for its pipe. The main thread executes the commands, and is the only one that writes
//! events.

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

/// A failure that ends the process, and with it the run.
#[derive(Debug, Error)]
enum MemberError {
    #[error("cannot ignore signals, which the parent process handles: {0}")]
    Signals(io::Error),
    #[error(transparent)]
    Pipe(#[from] FrameError),
    #[error("the harness starts this subcommand itself, with --processes; its commands come on stdin")]
    NoCommand,
    #[error("the run's clock starts in the future")]
    Clock,
    #[error(transparent)]
    Target(#[from] TargetError),
    #[error(transparent)]
    Fleet(#[from] FleetError),
    #[error("cannot start a thread: {0}")]
    Thread(io::Error),
}

/// Runs some of the workers of the parent's run until stdin ends. Reads commands from stdin, writes
/// events to stdout, and returns the exit code.
pub fn serve() -> u8 {
    let pipes =
        || Ok((io::stdin().as_fd().try_clone_to_owned()?, io::stdout().as_fd().try_clone_to_owned()?));
    let (commands, mut events) = match pipes() {
        Ok((commands, events)) => (BufReader::new(File::from(commands)), File::from(events)),
        Err(error) => {
            let error: io::Error = error;
            eprintln!("error: {error}");
            return EXIT_NOT_RUN;
        }
    };
    match run(commands, &mut events) {
        Ok(()) => EXIT_OK,
        Err(MemberError::NoCommand) => {
            eprintln!("error: {}", MemberError::NoCommand);
            EXIT_NOT_RUN
        }
        Err(error) => {
            // The parent shows the error to the user.
            let _ = frame::write(&mut events, &ChildEvent::Failed(error.to_string()));
            EXIT_NOT_RUN
        }
    }
}

fn run(mut commands: BufReader<File>, events: &mut File) -> Result<(), MemberError> {
    ignore_signals().map_err(MemberError::Signals)?;
    let Ok(Some(ChildCommand::Begin(beginning))) = frame::read(&mut commands) else {
        return Err(MemberError::NoCommand);
    };
    let (process, workers) = (beginning.process, beginning.job.workers);
    let mut plan = prepare(*beginning)?;
    frame::write(events, &ChildEvent::Ready)?;
    loop {
        match frame::read(&mut commands)? {
            Some(ChildCommand::BeginEntries(begin)) => break plan.begin = begin,
            // A process that started earlier has reported its clients.
            Some(ChildCommand::Present(changes)) => set_present(&plan, changes),
            _ => return Err(MemberError::NoCommand),
        }
    }
    let plan = Arc::new(plan);
    let panels: Arc<[Panel]> = (0..plan.workers).map(|_| Panel::default()).collect();
    let indices = process * workers..(process + 1) * workers;
    let reporter = Reporter::new(&plan, indices.clone(), panels.clone());
    let threads = Threads::start(&plan, indices, &panels)?;
    frame::write(events, &ChildEvent::Started)?;
    let (sender, receiver) = channel();
    let listener = thread::Builder::new().name("commands".into());
    listener.spawn(move || listen(commands, &plan, &sender)).map_err(MemberError::Thread)?;
    let mut member = Member { threads, ledger: DeliveryLedger::default(), counted: None, reporter, events };
    member.work(&receiver)?;
    member.threads.stop();
    Ok(())
}

/// The plan of the run, equal in every process.
fn prepare(beginning: Beginning) -> Result<Plan, MemberError> {
    let Beginning { job, address, run, raw_epoch, sources, .. } = beginning;
    let clock = RunClock::from_raw_epoch(raw_epoch).ok_or(MemberError::Clock)?;
    // Only the parent watches the server's process.
    let mut target = target::resolve(&job.target, job.scenario.entrance(), None)?;
    target.server.address = address;
    Ok(plan(&job, &target, Given { clock, run, sources }))
}

/// Reads commands until the last one. It blocks only on reading: the parent, which serves several
/// processes, must never wait for one of them.
fn listen(mut commands: BufReader<File>, plan: &Plan, member: &Sender<Result<ChildCommand, FrameError>>) {
    loop {
        let command = match frame::read(&mut commands) {
            Ok(Some(ChildCommand::Present(changes))) => {
                set_present(plan, changes);
                continue;
            }
            Ok(Some(command)) => Ok(command),
            // The parent is gone: the results have no reader.
            Ok(None) | Err(FrameError::Pipe(_)) => std::process::exit(EXIT_NOT_RUN.into()),
            Err(error) => Err(error),
        };
        let is_last = matches!(command, Ok(ChildCommand::Stop) | Err(_));
        // A main thread that is ending has dropped the receiver.
        if member.send(command).is_err() || is_last {
            return;
        }
    }
}

fn set_present(plan: &Plan, changes: Vec<(u32, u32)>) {
    for (client, user) in changes {
        plan.presence.set(client, user);
    }
}

/// The main thread's state.
struct Member<'a> {
    threads: Threads,
    /// The merged ledgers of the workers here, once they are shared.
    ledger: DeliveryLedger,
    /// The schedule of counted messages, once it is known.
    counted: Option<Arc<SendSchedule>>,
    reporter: Reporter,
    events: &'a mut File,
}

impl Member<'_> {
    /// Executes commands until the last one.
    fn work(&mut self, commands: &Receiver<Result<ChildCommand, FrameError>>) -> Result<(), MemberError> {
        let mut report_at = Instant::now();
        loop {
            let command = commands.recv_timeout(report_at.saturating_duration_since(Instant::now()));
            match command {
                Ok(Ok(ChildCommand::Stop)) => return Ok(()),
                Ok(command) => self.execute(command?)?,
                Err(RecvTimeoutError::Timeout) => {}
                // The reader thread has ended, and ends the process.
                Err(RecvTimeoutError::Disconnected) => return Err(MemberError::NoCommand),
            }
            self.threads.check()?;
            let now = Instant::now();
            if now >= report_at {
                report_at = now + REPORT_EVERY;
                self.reporter.report(now, |event| frame::write(self.events, event))?;
            }
        }
    }

    fn execute(&mut self, command: ChildCommand) -> Result<(), MemberError> {
        match command {
            ChildCommand::StartSending(warmup, counted) => {
                let counted = Arc::new(SendSchedule::from(counted));
                self.threads.start_sending(&Arc::new(warmup.into()), &counted)?;
                self.counted = Some(counted);
            }
            ChildCommand::ChangeRate(at, interval) => {
                if let Some(counted) = &self.counted {
                    counted.change(at, interval);
                }
            }
            ChildCommand::Forward(None, Command::StopSending) => self.threads.stop_sending(),
            ChildCommand::Forward(None, command) => self.threads.send_all(&command),
            ChildCommand::Forward(Some(worker), command) => self.threads.send_to(worker, command),
            ChildCommand::HandOverResults => {
                self.announce_begun()?;
                let results = Box::new(self.threads.collect_results()?);
                frame::write(self.events, &ChildEvent::Results(results))?;
            }
            ChildCommand::SendLedger => {
                self.announce_begun()?;
                self.ledger = DeliveryLedger::merged(self.threads.take_ledgers()).unwrap_or_default();
                for page in self.ledger.pages() {
                    frame::write(self.events, &ChildEvent::Page(page))?;
                }
                frame::write(self.events, &ChildEvent::LedgerSent)?;
            }
            ChildCommand::LearnPage(page) => self.ledger.learn(&page),
            ChildCommand::Settle => {
                self.announce_begun()?;
                let part = std::mem::take(&mut self.ledger).settle_own();
                frame::write(self.events, &ChildEvent::Settled(part))?;
            }
            // `run` has consumed the first two, `listen` handles the third, and `work` the last.
            ChildCommand::Begin(_)
            | ChildCommand::BeginEntries(_)
            | ChildCommand::Present(_)
            | ChildCommand::Stop => {}
        }
        Ok(())
    }

    /// Announces that a request for results is being served, so that the parent allows it more
    /// time.
    fn announce_begun(&mut self) -> Result<(), FrameError> {
        frame::write(self.events, &ChildEvent::Begun)
    }
}
