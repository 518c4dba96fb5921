//! The `pixel-relay` program: parses the arguments, runs the command, and exits with its code.

use std::process::ExitCode;

use clap::Parser as _;
use pixel_relay::cli::{self, Cli};

fn main() -> ExitCode {
    cli::run(Cli::parse(), &mut cli::Terminal::of_process())
}
