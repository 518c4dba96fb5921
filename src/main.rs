//! The `pixel-relay` program: parses the arguments, runs the command, and exits with its code.

use std::process::ExitCode;

use clap::Parser as _;
use pixel_relay::cli::{self, Cli};
use rustix::fs::Mode;
use rustix::process::umask;

fn main() -> ExitCode {
    // Whatever this program makes, in whichever folder, is for its own user alone.
    umask(Mode::RWXG | Mode::RWXO);
    let cli = Cli::parse();
    cli.settle_process();
    cli::run(cli, &mut cli::Terminal::of_process())
}
