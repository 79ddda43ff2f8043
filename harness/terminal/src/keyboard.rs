//! What somebody types into a terminal that is raw.
//!
//! It is read here and not by crossterm, whose reader a run's own thread cannot have: it hears of keys once, and forgets them
//! if the terminal changes its size in the same moment; it waits for the rest of a key that has come in part; and it goes round
//! for ever when the terminal is gone. With its feature `use-dev-tty` it never looks at all when it is not to wait. We need no
//! more than six keys, none of which has a name.

use std::io;
use std::os::fd::AsFd;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use crate::{Action, RateKey};

/// Bytes that are read at a time. The rest stays for the next look.
const CHUNK: usize = 256;

const CTRL_C: u8 = 3;
const ESCAPE: u8 = 0x1b;

/// Takes keys apart.
#[derive(Debug, Default)]
pub(super) struct Keyboard {
    within: Within,
}

/// What the next byte belongs to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Within {
    /// Nothing: it is a key.
    #[default]
    Nothing,
    /// What follows on escape: a key with Alt, or more to come.
    Escape,
    /// A key that has a name, as in `ESC [ 1 ; 5 C`.
    Name,
    /// The last byte of one, as in `ESC O P`.
    Last,
}

impl Keyboard {
    /// What was typed into `terminal` since the last look, as far as it means something. Never waits; fails when the terminal
    /// is gone.
    pub(super) fn typed(&mut self, terminal: impl AsFd) -> io::Result<Vec<Action>> {
        let mut looked_at = [PollFd::new(&terminal, PollFlags::IN)];
        match poll(&mut looked_at, Some(&Timespec::default())) {
            Ok(0) | Err(Errno::INTR) => return Ok(Vec::new()),
            Ok(_) => {}
            Err(error) => return Err(error.into()),
        }
        let mut bytes = [0; CHUNK];
        match rustix::io::read(&terminal, &mut bytes) {
            Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(read) => Ok(self.take(&bytes[..read])),
            Err(Errno::INTR | Errno::AGAIN) => Ok(Vec::new()),
            Err(error) => Err(error.into()),
        }
    }

    /// What these bytes mean, which were typed at a time.
    fn take(&mut self, bytes: &[u8]) -> Vec<Action> {
        let actions = bytes.iter().filter_map(|byte| self.take_byte(*byte)).collect();
        // Nothing follows on it: it was that key.
        if matches!(self.within, Within::Escape | Within::Last) {
            self.within = Within::Nothing;
        }
        actions
    }

    fn take_byte(&mut self, byte: u8) -> Option<Action> {
        let (within, action) = match (self.within, byte) {
            (_, CTRL_C) => (Within::Nothing, Some(Action::Quit)),
            (_, ESCAPE) => (Within::Escape, None),
            (Within::Nothing, byte) => (Within::Nothing, action(byte)),
            (Within::Escape, b'[') => (Within::Name, None),
            (Within::Escape, b'O') => (Within::Last, None),
            (Within::Name, byte) if !(0x40..=0x7e).contains(&byte) => (Within::Name, None),
            (Within::Escape | Within::Name | Within::Last, _) => (Within::Nothing, None),
        };
        self.within = within;
        action
    }
}

/// What a key means.
fn action(key: u8) -> Option<Action> {
    match key {
        // Where `+` wants the shift key, `=` is what comes without it.
        b'+' | b'=' => Some(Action::Rate(RateKey::Faster)),
        b'-' => Some(Action::Rate(RateKey::Slower)),
        b'0' => Some(Action::Rate(RateKey::Planned)),
        b'p' => Some(Action::Pause),
        b'q' => Some(Action::Quit),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Write;

    use rustix::fs::{Mode, OFlags};
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
    use rustix::termios::{OptionalActions, tcgetattr, tcsetattr};

    use super::*;

    const FASTER: Action = Action::Rate(RateKey::Faster);
    const SLOWER: Action = Action::Rate(RateKey::Slower);
    const PLANNED: Action = Action::Rate(RateKey::Planned);

    #[test]
    fn keys_have_one_meaning() {
        let check = |typed: &[&str], meaning: &[Action]| {
            let mut keyboard = Keyboard::default();
            let found: Vec<_> = typed.iter().flat_map(|bytes| keyboard.take(bytes.as_bytes())).collect();
            assert_eq!(found, meaning, "{typed:?}");
        };
        check(&["+=-0pq"], &[FASTER, FASTER, SLOWER, PLANNED, Action::Pause, Action::Quit]);
        check(&["\x03"], &[Action::Quit]);
        check(&["c\rQ1\u{11}가"], &[]);
        // Keys that have names: right with the control key, F1, F5 and Home; the same in two parts.
        check(&["\x1b[1;5Cp", "\x1bOPp", "\x1b[15~p", "\x1b[Hp"], &[Action::Pause; 4]);
        check(&["\x1b[1;", "0q", "q"], &[Action::Quit]);
        // With Alt; escape by itself; Alt and what begins a name, before a key that is one.
        check(&["\x1bq", "\x1bp"], &[]);
        check(&["\x1b", "q"], &[Action::Quit]);
        check(&["\x1bO", "q"], &[Action::Quit]);
        check(&["\x1b[", "\x03"], &[Action::Quit]);
        check(&["\x1b\x1b[A-"], &[SLOWER]);
    }

    #[test]
    fn it_never_waits_and_nothing_is_left_and_a_terminal_that_is_gone_is_an_error() {
        let person = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a terminal");
        grantpt(&person).expect("granted");
        unlockpt(&person).expect("unlocked");
        let name = ptsname(&person, Vec::new()).expect("its name");
        let program =
            rustix::fs::open(name, OFlags::RDWR | OFlags::NOCTTY, Mode::empty()).expect("its other side");
        let mut raw = tcgetattr(&program).expect("its modes");
        raw.make_raw();
        tcsetattr(&program, OptionalActions::Now, &raw).expect("raw");
        let mut person = File::from(person);
        let mut keyboard = Keyboard::default();
        assert_eq!(keyboard.typed(&program).expect("there"), []);
        // A part of a key, which is not waited for either.
        person.write_all(b"\x1b[").expect("typed");
        assert_eq!(keyboard.typed(&program).expect("there"), []);
        assert_eq!(keyboard.typed(&program).expect("there"), []);
        let many = CHUNK * 2 + 7;
        person.write_all(b"A").and_then(|()| person.write_all(&vec![b'p'; many])).expect("typed");
        let mut typed = Vec::new();
        while typed.len() < many {
            let more = keyboard.typed(&program).expect("there");
            assert!(!more.is_empty(), "{} of {many}", typed.len());
            typed.extend(more);
        }
        assert_eq!(typed, vec![Action::Pause; many]);
        drop(person);
        assert!(keyboard.typed(&program).is_err());
    }
}
