//! Many people in the chat, who notice when a message is missing.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};

use throng_core::crypto::Ticket;
use throng_core::wire::packets::{ChatMessage, ChatRequest, ChatText, Scope};

use super::{Client, Home, ServerAddr, wait_until};

/// Clients in the chat. Nobody else may talk while they do.
pub(crate) struct ChatGroup {
    pub(crate) members: Vec<Client>,
    said: u64,
    /// The number of the last message.
    sequence: Option<u64>,
}

impl ChatGroup {
    /// Lets `count` clients in, with minted tickets for the accounts from a million on.
    pub(crate) fn enter(home: &Home, chat: ServerAddr, count: u64) -> Self {
        Self::enter_as(home, chat, count, |_| {})
    }

    /// The same, with tickets that `change` changes.
    pub(crate) fn enter_as(home: &Home, chat: ServerAddr, count: u64, change: impl Fn(&mut Ticket)) -> Self {
        let enter = |number| Client::enter(chat, home.mint(chat.key, 1_000_000 + number, &change)).0;
        Self { members: (0..count).map(enter).collect(), said: 0, sequence: None }
    }

    /// One member says something, everybody hears it, nobody heard anything else from anybody.
    pub(crate) fn round(&mut self) {
        self.said += 1;
        let text = format!("message {} of the crowd", self.said);
        let sender = self.said as usize % self.members.len();
        self.members[sender].send(ChatRequest {
            scope: Scope::World,
            target: 0,
            stamp: 0,
            text: ChatText::new(text.as_str()).unwrap(),
        });
        let sequence = self.sequence.map(|last| last + 1);
        for member in &mut self.members {
            let message: ChatMessage = member.skip_to();
            assert_eq!(&*message.text, text);
            assert_eq!(message.sequence, *self.sequence.insert(sequence.unwrap_or(message.sequence)));
        }
    }

    /// From now on they talk without a pause, on a thread of their own.
    pub(crate) fn chat_in_background(mut self) -> BackgroundChat {
        let stop = Arc::new(AtomicBool::new(false));
        let rounds = Arc::new(AtomicU64::new(0));
        let thread = thread::spawn({
            let stop = stop.clone();
            let rounds = rounds.clone();
            move || {
                while !stop.load(Ordering::Relaxed) {
                    self.round();
                    rounds.fetch_add(1, Ordering::Relaxed);
                }
                self
            }
        });
        BackgroundChat { stop, rounds, thread: Some(thread) }
    }
}

/// A crowd that talks. Stops, and fails the test if somebody missed a message, when dropped.
pub(crate) struct BackgroundChat {
    stop: Arc<AtomicBool>,
    rounds: Arc<AtomicU64>,
    thread: Option<JoinHandle<ChatGroup>>,
}

impl BackgroundChat {
    /// Waits until messages that were not even sent before this call have reached everybody.
    pub(crate) fn assert_progress(&self) {
        let before = self.rounds.load(Ordering::Relaxed);
        wait_until("the chat goes on", || {
            assert!(self.thread.as_ref().is_some_and(|thread| !thread.is_finished()), "the chat has stopped");
            self.rounds.load(Ordering::Relaxed) >= before + 2
        });
    }

    /// They fall silent.
    pub(crate) fn stop(mut self) -> ChatGroup {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().and_then(|thread| thread.join().ok()).expect("everybody has heard everything")
    }
}

impl Drop for BackgroundChat {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let is_well = thread.join().is_ok();
            assert!(is_well || thread::panicking(), "somebody missed a message");
        }
    }
}
