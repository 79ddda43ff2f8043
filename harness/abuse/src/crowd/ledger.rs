//! Accounting of the honest clients' messages: every (message, recipient) pair of a phase.
//!
//! A missing pair is told if the server announced it with a ChatGap. World and channels number
//! their messages, the attacker's included, so that a gap names the ones it covers, and a break in
//! the numbers that no gap explains is counted. Gaps of nearby messages and whispers are only
//! numbers; each excuses as many pairs of its client as it says.

use std::ops::Range;

/// The audience of a message. Clients 0 to `near` are one group, those from `near` on the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Audience {
    /// All clients.
    World,
    /// The channel of the sender's group.
    Channel,
    /// The sectors of the sender's group.
    Nearby,
    /// Client 0, and the sender.
    Victim,
}

/// Rooms whose messages are numbered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Numbered {
    World = 0,
    Channel = 1,
}

impl Audience {
    fn numbered(self) -> Option<Numbered> {
        match self {
            Self::World => Some(Numbered::World),
            Self::Channel => Some(Numbered::Channel),
            Self::Nearby | Self::Victim => None,
        }
    }
}

#[derive(Debug, Clone, Copy)]
struct Message {
    sender: u32,
    audience: Audience,
    /// The room's number of the message; 0 until any client has received it.
    sequence: u64,
    refused: bool,
}

/// A client's side of the accounting.
#[derive(Debug, Clone, Default)]
struct Line {
    /// By message of the phase.
    received: Vec<bool>,
    /// The next number in each numbered room; 0 before the first message.
    next: [u64; 2],
    /// Announced losses of numbered rooms in this phase.
    gaps: Vec<(Numbered, Range<u64>)>,
    /// Announced losses of nearby messages and whispers in this phase.
    copies_missed: u64,
}

/// The outcome of a phase.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) sent: u64,
    pub(crate) refused: u64,
    pub(crate) expected: u64,
    pub(crate) received: u64,
    pub(crate) missing: u64,
    /// Missing pairs that a ChatGap announced; not among `missing`.
    pub(crate) told: u64,
    pub(crate) duplicated: u64,
    /// Breaks in a room's numbers that no ChatGap explains.
    pub(crate) breaks: u64,
}

/// The accounts of one phase.
#[derive(Debug)]
pub(crate) struct Ledger {
    clients: u32,
    near: u32,
    messages: Vec<Message>,
    lines: Vec<Line>,
    /// Pairs neither received nor refused.
    outstanding: u64,
    duplicated: u64,
    breaks: u64,
}

impl Ledger {
    pub(crate) fn new(clients: u32, near: u32) -> Self {
        let lines = vec![Line::default(); clients as usize];
        Self { clients, near, messages: Vec::new(), lines, outstanding: 0, duplicated: 0, breaks: 0 }
    }

    /// Begins another phase. Rooms go on counting.
    pub(crate) fn begin(&mut self) {
        self.messages.clear();
        (self.outstanding, self.duplicated, self.breaks) = (0, 0, 0);
        for line in &mut self.lines {
            line.received.clear();
            line.gaps.clear();
            line.copies_missed = 0;
        }
    }

    /// Messages sent in this phase.
    pub(crate) fn sent(&self) -> u32 {
        self.messages.len() as u32
    }

    /// Pairs that have not arrived.
    pub(crate) fn outstanding(&self) -> u64 {
        self.outstanding
    }

    /// Adds a message.
    pub(crate) fn send(&mut self, sender: u32, audience: Audience) {
        let message = Message { sender, audience, sequence: 0, refused: false };
        self.messages.push(message);
        self.outstanding += self.recipients(message).count() as u64;
    }

    /// The server refused a message.
    pub(crate) fn refuse(&mut self, index: u32) {
        let Some(message) = self.messages.get_mut(index as usize) else { return };
        if !std::mem::replace(&mut message.refused, true) {
            let message = *message;
            self.outstanding -= self.recipients(message).count() as u64;
        }
    }

    /// The message's sender and audience.
    pub(crate) fn message(&self, index: u32) -> Option<(u32, Audience)> {
        self.messages.get(index as usize).map(|message| (message.sender, message.audience))
    }

    fn recipients(&self, message: Message) -> impl Iterator<Item = u32> + use<> {
        let (near, clients, sender) = (self.near, self.clients, message.sender);
        let group = if sender < near { 0..near } else { near..clients };
        let (range, sender) = match message.audience {
            Audience::World => (0..clients, None),
            Audience::Channel | Audience::Nearby => (group, None),
            Audience::Victim => (0..1, (sender != 0).then_some(sender)),
        };
        range.chain(sender)
    }

    /// A client received a message with this number in its room. True for a first copy that was
    /// expected.
    pub(crate) fn receive(&mut self, client: u32, index: u32, sequence: u64) -> bool {
        let Some(message) = self.messages.get_mut(index as usize) else { return false };
        message.sequence = sequence;
        let message = *message;
        let is_expected = self.recipients(message).any(|recipient| recipient == client);
        let Some(line) = self.lines.get_mut(client as usize) else { return false };
        if line.received.len() < self.messages.len() {
            line.received.resize(self.messages.len(), false);
        }
        let is_first = !std::mem::replace(&mut line.received[index as usize], true);
        if !is_first || !is_expected {
            self.duplicated += 1;
            return false;
        }
        if !message.refused {
            self.outstanding -= 1;
        }
        true
    }

    /// A client received message `sequence` of a numbered room, from any sender.
    pub(crate) fn number(&mut self, client: u32, room: Numbered, sequence: u64) {
        let Some(line) = self.lines.get_mut(client as usize) else { return };
        let next = &mut line.next[room as usize];
        if *next != 0 && sequence != *next {
            self.breaks += 1;
        }
        *next = sequence + 1;
    }

    /// The server announced that a client missed messages of a numbered room; of nearby messages
    /// and whispers without one.
    pub(crate) fn gap(&mut self, client: u32, room: Option<Numbered>, missed: u64) {
        let Some(line) = self.lines.get_mut(client as usize) else { return };
        let Some(room) = room else {
            line.copies_missed = line.copies_missed.saturating_add(missed);
            return;
        };
        let next = &mut line.next[room as usize];
        let end = next.saturating_add(missed);
        line.gaps.push((room, *next..end));
        // A client that has received nothing yet learns the number with its next message.
        *next = if *next == 0 { 0 } else { end };
    }

    /// The outcome so far. Pairs of clients that have lost their session are not expected.
    pub(crate) fn settle(&self, is_present: impl Fn(u32) -> bool) -> Counts {
        let refused = self.messages.iter().filter(|message| message.refused).count() as u64;
        let mut counts = Counts {
            sent: self.messages.len() as u64,
            refused,
            duplicated: self.duplicated,
            breaks: self.breaks,
            ..Counts::default()
        };
        let mut missing: Vec<Vec<Message>> = vec![Vec::new(); self.lines.len()];
        for (index, message) in self.messages.iter().enumerate().filter(|(_, message)| !message.refused) {
            for client in self.recipients(*message) {
                let line = &self.lines[client as usize];
                if line.received.get(index).copied().unwrap_or(false) {
                    counts.received += 1;
                } else if is_present(client) {
                    missing[client as usize].push(*message);
                }
            }
        }
        for (line, missing) in self.lines.iter().zip(&missing) {
            let told = line.told(missing);
            counts.told += told;
            counts.missing += missing.len() as u64 - told;
        }
        counts.expected = counts.received + counts.missing + counts.told;
        counts
    }
}

impl Line {
    /// The number of the missing messages that were announced.
    fn told(&self, missing: &[Message]) -> u64 {
        let announced = |room: Numbered| -> u64 {
            let of_room = self.gaps.iter().filter(|(of, _)| *of == room);
            of_room.map(|(_, range)| range.end - range.start).sum()
        };
        // Announced messages that are not known to be others; for those that no client received,
        // and whose numbers are unknown.
        let mut loose = [announced(Numbered::World), announced(Numbered::Channel)];
        let mut copies = self.copies_missed;
        let (mut told, mut unknown) = (0, [0_u64; 2]);
        for message in missing {
            match message.audience.numbered() {
                None => {
                    told += u64::from(copies > 0);
                    copies = copies.saturating_sub(1);
                }
                Some(room) if message.sequence == 0 => unknown[room as usize] += 1,
                Some(room) => {
                    let is_told =
                        self.gaps.iter().any(|(of, range)| *of == room && range.contains(&message.sequence));
                    told += u64::from(is_told);
                    loose[room as usize] -= u64::from(is_told);
                }
            }
        }
        told + unknown[0].min(loose[0]) + unknown[1].min(loose[1])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Four clients, two in each group.
    fn ledger() -> Ledger {
        Ledger::new(4, 2)
    }

    fn all(ledger: &Ledger) -> Counts {
        ledger.settle(|_| true)
    }

    #[test]
    fn every_pair_is_expected_once() {
        let mut ledger = ledger();
        for (sender, audience, recipients) in [
            (3, Audience::World, &[0, 1, 2, 3][..]),
            (1, Audience::Channel, &[0, 1]),
            (2, Audience::Nearby, &[2, 3]),
            (1, Audience::Victim, &[0, 1]),
        ] {
            let index = ledger.sent();
            ledger.send(sender, audience);
            assert_eq!(ledger.outstanding(), recipients.len() as u64, "{audience:?}");
            for client in recipients {
                assert!(ledger.receive(*client, index, 7));
            }
            assert!(!ledger.receive(recipients[0], index, 7), "a second copy");
        }
        let counts = all(&ledger);
        assert_eq!((counts.expected, counts.received, counts.missing), (10, 10, 0));
        assert_eq!((counts.duplicated, ledger.outstanding()), (4, 0));
        // A message to a client that is not a recipient counts as a surplus copy.
        ledger.begin();
        ledger.send(2, Audience::Nearby);
        assert!(!ledger.receive(0, 0, 0));
        assert_eq!((all(&ledger).duplicated, all(&ledger).missing), (1, 2));
    }

    #[test]
    fn missing_pairs_are_told_by_gaps_that_cover_their_numbers() {
        let mut ledger = ledger();
        ledger.number(0, Numbered::World, 10);
        ledger.number(0, Numbered::World, 11);
        ledger.send(3, Audience::World);
        ledger.send(3, Audience::World);
        // Message 0 is number 12 and message 1 number 20; client 0 misses both.
        for client in 1..4 {
            ledger.receive(client, 0, 12);
            ledger.receive(client, 1, 20);
        }
        assert_eq!((all(&ledger).missing, all(&ledger).told), (2, 0));
        ledger.gap(0, Some(Numbered::World), 5);
        assert_eq!((all(&ledger).missing, all(&ledger).told), (1, 1));
        ledger.number(0, Numbered::World, 17);
        assert_eq!(all(&ledger).breaks, 0);
        // Numbers 18 to 20 are lost without a word.
        ledger.number(0, Numbered::World, 21);
        assert_eq!((all(&ledger).breaks, all(&ledger).missing), (1, 1));
    }

    #[test]
    fn a_message_without_a_recipient_is_told_by_a_gap_with_room_for_it() {
        let mut ledger = ledger();
        ledger.number(0, Numbered::Channel, 1);
        ledger.number(1, Numbered::Channel, 1);
        ledger.send(1, Audience::Channel);
        ledger.gap(0, Some(Numbered::Channel), 1);
        assert_eq!((all(&ledger).missing, all(&ledger).told), (1, 1));
    }

    #[test]
    fn copies_are_told_by_number() {
        let mut ledger = ledger();
        (0..3).for_each(|_| ledger.send(1, Audience::Victim));
        (0..3).for_each(|index| assert!(ledger.receive(1, index, 0)));
        ledger.gap(0, None, 2);
        assert_eq!((all(&ledger).missing, all(&ledger).told), (1, 2));
        assert_eq!(ledger.settle(|client| client != 0).missing, 0, "the victim is gone");
    }

    #[test]
    fn a_refused_message_is_not_expected() {
        let mut ledger = ledger();
        ledger.send(1, Audience::Channel);
        ledger.refuse(0);
        ledger.refuse(0);
        let counts = all(&ledger);
        assert_eq!((counts.sent, counts.refused, counts.expected, ledger.outstanding()), (1, 1, 0, 0));
    }
}
