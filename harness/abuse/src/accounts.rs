//! Accounts made before an attack on the login server, for the newcomers that log in meanwhile.

use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use throng_core::shutdown::Shutdown;
use throng_core::wire::Packet;
use throng_core::wire::packets::{CreateCharacterRequest, Outcome, SignUpRequest};
use throng_harness_model::plan::Server;

use crate::line::{Line, Tally};
use crate::scene::Scene;

/// The longest wait for an answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// The longest sleep.
const SLEEP: Timespec = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };

/// Signs up accounts 0 to `count`, each with a character. The error says what failed.
pub(crate) fn make(scene: &Scene, login: &Server, count: u32, shutdown: &Shutdown) -> Result<(), String> {
    let mut tally = Tally::default();
    let mut line = Line::dial(login, None, true).map_err(|error| format!("cannot connect: {error}"))?;
    for account in 0..count {
        let number = scene.newcomer(account);
        let (id, password) = (scene.identities.id(number), scene.identities.password(number));
        let sign_up = SignUpRequest { id: id.clone(), password: password.clone() };
        ask(&mut line, sign_up.into(), &mut tally, shutdown)?;
        let name = scene.identities.name(number);
        let character = CreateCharacterRequest { id, password, name };
        ask(&mut line, character.into(), &mut tally, shutdown)?;
    }
    line.hang_up();
    Ok(())
}

/// Sends a request as soon as the session is open, and waits until it is answered with Ok.
fn ask(line: &mut Line, request: Packet, tally: &mut Tally, shutdown: &Shutdown) -> Result<(), String> {
    let deadline = Instant::now() + PATIENCE;
    let name = request.name();
    let mut request = Some(request);
    loop {
        if line.is_open()
            && let Some(request) = request.take()
        {
            line.send(request, tally);
        }
        line.write(tally);
        line.read(tally);
        if let Some(end) = line.end() {
            return Err(format!("{name}: {}", end.text()));
        }
        match line.next() {
            Some(Packet::SignUpAnswer(answer)) if answer.outcome == Outcome::Ok => return Ok(()),
            Some(Packet::CreateCharacterAnswer(answer)) if answer.outcome == Outcome::Ok => return Ok(()),
            Some(Packet::SignUpAnswer(answer)) => return Err(format!("{name}: {}", answer.outcome.name())),
            Some(Packet::CreateCharacterAnswer(answer)) => {
                return Err(format!("{name}: {}", answer.outcome.name()));
            }
            Some(_) | None => {}
        }
        if shutdown.is_requested() {
            return Err("interrupted".into());
        }
        if Instant::now() >= deadline {
            return Err(format!("{name}: no answer for {PATIENCE:?}"));
        }
        let mut flags = PollFlags::IN;
        flags.set(PollFlags::OUT, line.waiting() > 0 || !line.is_open());
        if line.is_open() && line.waiting() == 0 && request.is_some() {
            continue;
        }
        flags.remove(if line.waiting() == 0 { PollFlags::OUT } else { PollFlags::empty() });
        // A signal that interrupts the sleep only shortens it.
        let _ = poll(&mut [PollFd::new(&line.socket, flags)], Some(&SLEEP));
    }
}
