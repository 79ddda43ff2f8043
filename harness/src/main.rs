//! The binary `throng-harness`.

use std::io;
use std::process::ExitCode;

use throng_harness::app;

fn main() -> ExitCode {
    let code = app::run(std::env::args_os(), &mut io::stdout(), &mut io::stderr(), |job, target| {
        Err(format!(
            "the scenario `{}` against {} has no event loop to run on in this build",
            job.scenario.name(),
            target.server.address
        ))
    });
    ExitCode::from(code)
}
