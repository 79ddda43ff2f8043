//! A group of clients in the chat that detects missing messages.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};

use throng_core::crypto::Ticket;
use throng_core::wire::packets::{ChatMessage, ChatRequest, ChatText, Scope};

use super::{Client, Home, ServerAddr, wait_until};

/// Clients in the chat. No other client may send messages while they check theirs.
pub(crate) struct ChatGroup {
    pub(crate) members: Vec<Client>,
    said: u64,
    /// The number of the latest message.
    sequence: Option<u64>,
}

impl ChatGroup {
    /// Enters the chat with `count` clients, whose tickets are minted for the accounts from a
    /// million on.
    pub(crate) fn enter(home: &Home, chat: ServerAddr, count: u64) -> Self {
        Self::enter_as(home, chat, count, |_| {})
    }

    /// Enters the chat as [`Self::enter`] does, with tickets that `change` has changed.
    pub(crate) fn enter_as(home: &Home, chat: ServerAddr, count: u64, change: impl Fn(&mut Ticket)) -> Self {
        let enter = |number| Client::enter(chat, home.mint(chat.key, 1_000_000 + number, &change)).0;
        Self { members: (0..count).map(enter).collect(), said: 0, sequence: None }
    }

    /// Sends a message from one member. Asserts that every member receives it as the next message.
    pub(crate) fn round(&mut self) {
        self.said += 1;
        let text = format!("message {} of the group", self.said);
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

    /// Starts a thread on which the members chat without a pause.
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

/// A group that chats in the background. When dropped, it stops, and fails the test if a member
/// missed a message.
pub(crate) struct BackgroundChat {
    stop: Arc<AtomicBool>,
    rounds: Arc<AtomicU64>,
    thread: Option<JoinHandle<ChatGroup>>,
}

impl BackgroundChat {
    /// Waits until messages that are sent after this call have reached every member.
    pub(crate) fn assert_progress(&self) {
        let before = self.rounds.load(Ordering::Relaxed);
        wait_until("the chat continues", || {
            assert!(
                self.thread.as_ref().is_some_and(|thread| !thread.is_finished()),
                "the background chat has ended"
            );
            self.rounds.load(Ordering::Relaxed) >= before + 2
        });
    }

    /// Stops the background chat.
    pub(crate) fn stop(mut self) -> ChatGroup {
        self.stop.store(true, Ordering::Relaxed);
        self.thread
            .take()
            .and_then(|thread| thread.join().ok())
            .expect("every member has received every message")
    }
}

impl Drop for BackgroundChat {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let is_well = thread.join().is_ok();
            assert!(is_well || thread::panicking(), "a member missed a message");
        }
    }
}
