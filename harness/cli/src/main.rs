//! The binary `throng-harness`.

use std::io;
use std::process::ExitCode;

use thiserror::Error;
use throng_core::shutdown::Shutdown;
use throng_harness::app;
use throng_harness_driver::scenario::{self, RunError};
use throng_harness_report::form::COLUMNS;

/// Fewest columns that text is wrapped at; a narrower terminal wraps it once more.
const COLUMNS_MIN: usize = 40;

#[derive(Debug, Error)]
enum Failure {
    #[error("cannot listen for Ctrl+C: {0}")]
    Signals(io::Error),
    #[error(transparent)]
    Run(#[from] RunError),
}

/// Columns of the terminal of stdout.
fn columns() -> usize {
    throng_harness_terminal::stdout_columns().map_or(COLUMNS, |columns| columns.max(COLUMNS_MIN))
}

fn main() -> ExitCode {
    let shutdown = Shutdown::new();
    let mut is_listening = false;
    let (out, err) = (&mut io::stdout(), &mut io::stderr());
    let code = app::run(std::env::args_os(), out, columns(), err, &shutdown, |job, target| {
        if !std::mem::replace(&mut is_listening, true) {
            shutdown.install_signals().map_err(Failure::Signals)?;
        }
        Ok::<_, Failure>(scenario::drive(job, target, &shutdown)?)
    });
    ExitCode::from(code)
}
