//! Decoding of the keys typed into a raw terminal.
//!
//! crossterm's reader cannot be used from a run's own thread. It reports input once and forgets it
//! if the terminal is resized at the same moment. It waits for the rest of a partial key, and it
//! spins when the terminal is gone. With its feature `use-dev-tty` it does not poll at all with a
//! timeout of zero. The harness needs only a few keys, all of them plain characters.

use std::io;
use std::os::fd::AsFd;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use crate::{Action, RateKey};

/// Bytes per read; the rest is left for the next call.
const CHUNK: usize = 256;

const CTRL_C: u8 = 3;
const ESCAPE: u8 = 0x1b;

/// Decodes bytes to actions.
#[derive(Debug, Default)]
pub(super) struct Keyboard {
    state: State,
}

/// The state of the decoder.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum State {
    /// Before a key.
    #[default]
    Ground,
    /// After escape: a key with Alt, or a sequence, may follow.
    Escape,
    /// Within a control sequence, as in `ESC [ 1 ; 5 C`.
    Sequence,
    /// Before the last byte of a sequence, as in `ESC O P`.
    LastByte,
}

impl Keyboard {
    /// Returns the actions typed into `terminal` since the last call. Never blocks; fails when the
    /// terminal is gone.
    pub(super) fn read_actions(&mut self, terminal: impl AsFd) -> io::Result<Vec<Action>> {
        let mut fds = [PollFd::new(&terminal, PollFlags::IN)];
        match poll(&mut fds, Some(&Timespec::default())) {
            Ok(0) | Err(Errno::INTR) => return Ok(Vec::new()),
            Ok(_) => {}
            Err(error) => return Err(error.into()),
        }
        let mut bytes = [0; CHUNK];
        match rustix::io::read(&terminal, &mut bytes) {
            Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(read) => Ok(self.decode(&bytes[..read])),
            Err(Errno::INTR | Errno::AGAIN) => Ok(Vec::new()),
            Err(error) => Err(error.into()),
        }
    }

    /// Decodes bytes that arrived together.
    fn decode(&mut self, bytes: &[u8]) -> Vec<Action> {
        let actions = bytes.iter().filter_map(|byte| self.decode_byte(*byte)).collect();
        // Nothing follows at once, so this was a key of its own.
        if matches!(self.state, State::Escape | State::LastByte) {
            self.state = State::Ground;
        }
        actions
    }

    fn decode_byte(&mut self, byte: u8) -> Option<Action> {
        let (state, action) = match (self.state, byte) {
            (_, CTRL_C) => (State::Ground, Some(Action::Quit)),
            (_, ESCAPE) => (State::Escape, None),
            (State::Ground, byte) => (State::Ground, action(byte)),
            (State::Escape, b'[') => (State::Sequence, None),
            (State::Escape, b'O') => (State::LastByte, None),
            (State::Sequence, byte) if !(0x40..=0x7e).contains(&byte) => (State::Sequence, None),
            (State::Escape | State::Sequence | State::LastByte, _) => (State::Ground, None),
        };
        self.state = state;
        action
    }
}

/// The action of a key.
fn action(key: u8) -> Option<Action> {
    match key {
        // `=` is `+` without the shift key on common keyboards.
        b'+' | b'=' => Some(Action::Rate(RateKey::Faster)),
        b'-' => Some(Action::Rate(RateKey::Slower)),
        b'0' => Some(Action::Rate(RateKey::Planned)),
        b'p' => Some(Action::Pause),
        b'?' => Some(Action::Help),
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
    fn keys_are_decoded_to_actions() {
        let check = |typed: &[&str], meaning: &[Action]| {
            let mut keyboard = Keyboard::default();
            let found: Vec<_> = typed.iter().flat_map(|bytes| keyboard.decode(bytes.as_bytes())).collect();
            assert_eq!(found, meaning, "{typed:?}");
        };
        check(&["+=-0pq"], &[FASTER, FASTER, SLOWER, PLANNED, Action::Pause, Action::Quit]);
        check(&["?"], &[Action::Help]);
        check(&["\x03"], &[Action::Quit]);
        check(&["c\rQ1\u{11}가"], &[]);
        // Sequences of named keys: control-right, F1, F5 and Home; then one in two parts.
        check(&["\x1b[1;5Cp", "\x1bOPp", "\x1b[15~p", "\x1b[Hp"], &[Action::Pause; 4]);
        check(&["\x1b[1;", "0q", "q"], &[Action::Quit]);
        // Keys with Alt; escape alone; a prefix of a sequence before a plain key.
        check(&["\x1bq", "\x1bp"], &[]);
        check(&["\x1b", "q"], &[Action::Quit]);
        check(&["\x1bO", "q"], &[Action::Quit]);
        check(&["\x1b[", "\x03"], &[Action::Quit]);
        check(&["\x1b\x1b[A-"], &[SLOWER]);
    }

    #[test]
    fn reads_do_not_block_and_lose_nothing_and_fail_without_a_terminal() {
        let user = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a terminal");
        grantpt(&user).expect("granted");
        unlockpt(&user).expect("unlocked");
        let name = ptsname(&user, Vec::new()).expect("its name");
        let tty =
            rustix::fs::open(name, OFlags::RDWR | OFlags::NOCTTY, Mode::empty()).expect("its other side");
        let mut raw = tcgetattr(&tty).expect("its modes");
        raw.make_raw();
        tcsetattr(&tty, OptionalActions::Now, &raw).expect("raw");
        let mut user = File::from(user);
        let mut keyboard = Keyboard::default();
        assert_eq!(keyboard.read_actions(&tty).expect("there"), []);
        // Part of a sequence, which does not block either.
        user.write_all(b"\x1b[").expect("typed");
        assert_eq!(keyboard.read_actions(&tty).expect("there"), []);
        assert_eq!(keyboard.read_actions(&tty).expect("there"), []);
        let many = CHUNK * 2 + 7;
        user.write_all(b"A").and_then(|()| user.write_all(&vec![b'p'; many])).expect("typed");
        let mut typed = Vec::new();
        while typed.len() < many {
            let more = keyboard.read_actions(&tty).expect("there");
            assert!(!more.is_empty(), "{} of {many}", typed.len());
            typed.extend(more);
        }
        assert_eq!(typed, vec![Action::Pause; many]);
        drop(user);
        assert!(keyboard.read_actions(&tty).is_err());
    }
}
