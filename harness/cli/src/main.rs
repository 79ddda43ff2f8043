//! The binary `throng-harness`.

use std::io;
use std::process::ExitCode;

use thiserror::Error;
use throng_core::shutdown::Shutdown;
use throng_harness::app;
use throng_harness_driver::scenario::{self, RunError};

#[derive(Debug, Error)]
enum Failure {
    #[error("cannot listen for Ctrl+C: {0}")]
    Signals(io::Error),
    #[error(transparent)]
    Run(#[from] RunError),
}

fn main() -> ExitCode {
    let shutdown = Shutdown::new();
    let mut is_listening = false;
    let (out, err) = (&mut io::stdout(), &mut io::stderr());
    let code = app::run(std::env::args_os(), out, err, &shutdown, |job, target| {
        if !std::mem::replace(&mut is_listening, true) {
            shutdown.install_signals().map_err(Failure::Signals)?;
        }
        Ok::<_, Failure>(scenario::drive(job, target, &shutdown)?)
    });
    ExitCode::from(code)
}
