//! The log thread and the bounded queue to it.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use crate::metrics;

use super::rolling::RollingFile;

/// Interval between complaints about a file that cannot be written.
const COMPLAINT_INTERVAL: Duration = Duration::from_mins(1);

enum Message {
    Line(Vec<u8>),
    /// Answered when every line before it is written.
    Flush(SyncSender<()>),
    /// Answered when the file has been opened anew.
    Reopen(SyncSender<()>),
}

/// The sending side of a log thread, which ends when it is dropped.
#[derive(Debug)]
pub(super) struct Output {
    queue: SyncSender<Message>,
    dropped: Arc<AtomicU64>,
    generation: u64,
}

impl Output {
    /// Starts a thread that writes to `sink`, with a queue of `queue` lines.
    pub(super) fn start(mut sink: Sink, queue: usize) -> io::Result<Self> {
        static GENERATIONS: AtomicU64 = AtomicU64::new(0);
        let (sender, receiver) = sync_channel(queue);
        let dropped = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&dropped);
        thread::Builder::new().name("log".into()).spawn(move || run(&receiver, &counter, &mut sink))?;
        let generation = GENERATIONS.fetch_add(1, Ordering::Relaxed);
        Ok(Self { queue: sender, dropped, generation })
    }

    /// Number of this output among those of the process.
    pub(super) fn generation(&self) -> u64 {
        self.generation
    }

    /// Queues a line; never waits. If the queue is full, the line is dropped and counted.
    pub(super) fn push(&self, line: &[u8]) {
        if self.queue.try_send(Message::Line(line.to_vec())).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
            metrics::LOG_DROPPED.inc();
        }
    }

    /// Returns the number of dropped lines.
    pub(super) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Waits until every queued line is written, at most `timeout`.
    pub(super) fn flush(&self, timeout: Duration) {
        self.ask(Message::Flush, timeout);
    }

    /// Has the file opened anew after every queued line, and waits for it, at most `timeout`.
    pub(super) fn reopen(&self, timeout: Duration) {
        self.ask(Message::Reopen, timeout);
    }

    fn ask(&self, make: impl FnOnce(SyncSender<()>) -> Message, timeout: Duration) {
        let deadline = Instant::now() + timeout;
        let (done, waiting) = sync_channel(1);
        let mut message = make(done);
        // There is no send with a deadline, and a full queue drains only as fast as the disk.
        while let Err(TrySendError::Full(back)) = self.queue.try_send(message) {
            if Instant::now() >= deadline {
                return;
            }
            message = back;
            thread::sleep(Duration::from_millis(1));
        }
        let _ = waiting.recv_timeout(deadline.saturating_duration_since(Instant::now()));
    }
}

fn run(queue: &Receiver<Message>, dropped: &AtomicU64, sink: &mut Sink) {
    let mut reported = 0;
    while let Ok(message) = queue.recv() {
        let total = dropped.load(Ordering::Relaxed);
        if total > reported {
            let notice =
                format!("[log] {} lines were dropped: the log could not keep up\n", total - reported);
            sink.write_line(notice.as_bytes());
            reported = total;
        }
        match message {
            Message::Line(line) => sink.write_line(&line),
            Message::Flush(done) => {
                // The caller of `flush` may have timed out.
                let _ = done.try_send(());
            }
            Message::Reopen(done) => {
                sink.reopen();
                let _ = done.try_send(());
            }
        }
    }
}

/// Destination of the log thread. Its errors go to stderr, at most once a minute.
#[derive(Debug)]
pub(super) struct Sink {
    console: bool,
    file: Option<RollingFile>,
    complained: Option<Instant>,
}

impl Sink {
    pub(super) fn new(console: bool, file: Option<RollingFile>) -> Self {
        Self { console, file, complained: None }
    }

    fn write_line(&mut self, line: &[u8]) {
        if self.console {
            let _ = io::stderr().write_all(line);
        }
        let written = self.file.as_mut().map_or(Ok(()), |file| file.write_line(line));
        self.complain(written);
    }

    fn reopen(&mut self) {
        let opened = self.file.as_mut().map_or(Ok(()), RollingFile::reopen);
        self.complain(opened);
    }

    fn complain(&mut self, result: io::Result<()>) {
        if let Err(error) = result
            && self.complained.is_none_or(|at| at.elapsed() >= COMPLAINT_INTERVAL)
        {
            self.complained = Some(Instant::now());
            let _ = writeln!(io::stderr(), "throng: cannot write the log file: {error}");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_full_queue_drops_counts_and_says_so() {
        // No thread drains this queue, so it is certain to be full.
        let (sender, receiver) = sync_channel(2);
        let output = Output { queue: sender, dropped: Arc::default(), generation: 0 };
        for n in 0..5 {
            output.push(format!("{n}\n").as_bytes());
        }
        assert_eq!(output.dropped(), 3);
        output.flush(Duration::ZERO);

        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("throng.log");
        let file = RollingFile::open(path.clone(), 1 << 20, 2).unwrap();
        let dropped = Arc::clone(&output.dropped);
        drop(output);
        run(&receiver, &dropped, &mut Sink::new(false, Some(file)));
        let text = fs::read_to_string(path).unwrap();
        assert_eq!(text, "[log] 3 lines were dropped: the log could not keep up\n0\n1\n");
    }
}
