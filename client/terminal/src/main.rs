//! The program `throng-client`.

use std::process::ExitCode;

use clap::Parser;
use throng_client_terminal::args::Args;
use throng_client_terminal::config::Config;
use throng_client_terminal::{plain, screen};

fn main() -> ExitCode {
    let args = Args::parse();
    let result = Config::load(&args)
        .map(|config| config.complete(args))
        .and_then(|args| if args.plain { plain::run(&args) } else { screen::run(&args) });
    match result {
        Ok(code) => code,
        Err(error) => {
            eprintln!("throng-client: {error}");
            ExitCode::FAILURE
        }
    }
}
