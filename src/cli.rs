//! The command line, a file per command.
//!
//! Data goes to standard output, messages for people to standard error. Exit codes: 0, success; 1,
//! failure, such as a port that is taken or a store that another process holds; 2, bad usage or
//! configuration, which a restart does not fix.

use std::fs;
use std::io::{self, BufRead, IsTerminal as _, Write};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use serde::Serialize;

use crate::clock::{Clock as _, SystemClock, UnixMillis};
use crate::config::load::{self, Loaded, Sources, Unusable};
use crate::config::{ConfigError, graph_versions, placeholders};
use crate::sync::{self, Sync};

mod arenas;
mod backfill;
mod check;
mod dead;
mod forget;
mod healthcheck;
mod map;
mod queue;
mod run;
mod runtime;
mod sandbox;
mod send_test;
mod store;
mod table;
mod trace;

/// Streams Amplitude events to Meta Pixel through the Conversions API.
#[derive(Debug, Parser)]
#[command(name = "pixel-relay", version, about, disable_help_subcommand = true)]
pub struct Cli {
    /// Configuration file [default: `$PIXEL_RELAY_CONFIG`, else `./pixel-relay.toml` if it is there]
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,

    #[command(subcommand)]
    command: Command,
}

impl Cli {
    /// Does what a program can do at its begin alone. To be called before anything else is done.
    pub fn settle_process(&self) {
        if matches!(self.command, Command::Run(_)) {
            arenas::keep_few();
        }
    }
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs the daemon
    Run(run::RunArguments),
    /// Loads and validates the configuration, runs its rule tests, and prints what is in force
    Check,
    /// Maps events from standard input (JSON, as a rule one per line) and prints one JSON line per event and sync
    Map(map::MapArguments),
    /// Posts one test event, and says in plain words what Meta answered
    SendTest(send_test::SendTestArguments),
    /// Lists, shows, retries, drops or exports dead letters: events that ended badly
    #[command(subcommand)]
    Dead(dead::DeadCommand),
    /// Works on what is queued
    #[command(subcommand)]
    Queue(queue::QueueCommand),
    /// Tells what became of one event
    Trace(trace::TraceArguments),
    /// Erases a person from everything that is stored
    Forget(forget::ForgetArguments),
    /// Brings history in from Amplitude's export archives
    Backfill(backfill::BackfillArguments),
    /// Runs the simulated Graph endpoint alone
    Sandbox(sandbox::SandboxArguments),
    /// Asks the running daemon for a sign of life; for a container's health check
    Healthcheck,
}

/// Why a command failed.
#[derive(Debug)]
enum CommandFailure {
    /// The configuration holds errors.
    Configuration {
        errors: Vec<ConfigError>,
        /// What is allowed, and probably not meant.
        warnings: Vec<ConfigError>,
    },
    /// The usage is wrong in a way that the parser cannot see.
    Usage(String),
    /// Anything else.
    Other(anyhow::Error),
}

impl CommandFailure {
    const fn configuration(errors: Vec<ConfigError>) -> Self {
        Self::Configuration {
            errors,
            warnings: Vec::new(),
        }
    }
}

impl<E: Into<anyhow::Error>> From<E> for CommandFailure {
    fn from(error: E) -> Self {
        Self::Other(error.into())
    }
}

/// What a command may read and write, and the environment it sees.
pub struct Terminal {
    /// Standard input.
    pub input: Box<dyn BufRead + Send>,
    /// Standard output: data.
    pub output: Box<dyn Write + Send>,
    /// Standard error: messages for people.
    pub errors: Box<dyn Write + Send>,
    /// Whether a person reads standard output.
    pub is_interactive: bool,
    /// Whether a person watches standard error.
    pub shows_progress: bool,
    /// The environment.
    pub environment: Vec<(String, String)>,
}

impl Terminal {
    /// The terminal of this process.
    pub fn of_process() -> Self {
        Self {
            input: Box::new(io::BufReader::new(io::stdin())),
            output: Box::new(io::BufWriter::new(io::stdout())),
            errors: Box::new(io::stderr()),
            is_interactive: io::stdout().is_terminal(),
            shows_progress: io::stderr().is_terminal(),
            environment: load::process_environment(),
        }
    }

    /// Writes a value as a line of JSON.
    fn write_json(&mut self, value: &impl Serialize) -> io::Result<()> {
        serde_json::to_writer(&mut self.output, value)?;
        self.output.write_all(b"\n")
    }

    /// Reports what a command did: a message for people, and a line of JSON where a program reads the output.
    fn tell(&mut self, counts: &serde_json::Value, words: &str) -> io::Result<()> {
        if !self.is_interactive {
            self.write_json(counts)?;
        }
        writeln!(self.errors, "{words}")
    }
}

impl std::fmt::Debug for Terminal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The environment may hold secrets.
        f.debug_struct("Terminal")
            .field("is_interactive", &self.is_interactive)
            .finish_non_exhaustive()
    }
}

pub fn run(cli: Cli, terminal: &mut Terminal) -> ExitCode {
    let sources = Sources {
        file: cli.config,
        environment: terminal.environment.clone(),
    };
    let result = match cli.command {
        Command::Run(arguments) => run::run(&arguments, sources, terminal),
        Command::Check => check::check(sources, terminal),
        Command::Map(arguments) => map::map(&arguments, sources, terminal),
        Command::SendTest(arguments) => send_test::send_test(&arguments, sources, terminal),
        Command::Dead(command) => dead::dead(command, sources, terminal),
        Command::Queue(command) => queue::queue(command, sources, terminal),
        Command::Trace(arguments) => trace::trace(&arguments, sources, terminal),
        Command::Forget(arguments) => forget::forget(&arguments, sources, terminal),
        Command::Backfill(arguments) => backfill::backfill(&arguments, sources, terminal),
        Command::Sandbox(arguments) => sandbox::sandbox(arguments, terminal),
        Command::Healthcheck => healthcheck::healthcheck(&sources),
    };
    let result = result.and_then(|()| Ok(terminal.output.flush()?));
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => report(failure, terminal),
    }
}

/// Writes what went wrong. Where standard error fails too, there is nobody left to tell.
fn report(failure: CommandFailure, terminal: &mut Terminal) -> ExitCode {
    let (text, code) = match failure {
        CommandFailure::Configuration { errors, warnings } => (describe(&errors, &warnings), 2),
        CommandFailure::Usage(text) => (format!("error: {text}\n"), 2),
        CommandFailure::Other(error) if is_closed_pipe(&error) => return ExitCode::SUCCESS,
        CommandFailure::Other(error) => (format!("error: {error:#}\n"), 1),
    };
    terminal.output.flush().ok();
    terminal.errors.write_all(text.as_bytes()).ok();
    ExitCode::from(code)
}

fn describe(errors: &[ConfigError], warnings: &[ConfigError]) -> String {
    let mut lines: Vec<String> = warnings
        .iter()
        .map(|warning| format!("warning: {warning}"))
        .collect();
    lines.push(match errors.len() {
        1 => "error: the configuration holds a mistake".to_owned(),
        count => format!("error: the configuration holds {count} mistakes"),
    });
    lines.extend(errors.iter().map(|error| format!("  {error}")));
    lines.push(String::new());
    lines.join("\n")
}

fn parse_time(text: &str) -> Result<UnixMillis, String> {
    UnixMillis::parse(text)
        .ok_or_else(|| format!("`{text}` is not a time such as 2026-11-20T18:05:00Z"))
}

/// Whether the reader of the output has closed it, as `head` does.
fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error
        .downcast_ref::<io::Error>()
        .is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

/// Loads the configuration and compiles its rules, or returns every error in both.
fn load_config(sources: Sources) -> Result<(Loaded, Vec<Sync>), CommandFailure> {
    let Loaded {
        config,
        mut warnings,
    } = load::load(sources).map_err(with_rules)?;
    warnings.extend(sync::warnings(&config.syncs));
    warnings.extend(graph_versions::warning(
        &config.meta.api_version,
        SystemClock.now(),
    ));
    warnings.extend(open_folder_warning(&config.queue.path));
    match sync::compile_all(&config) {
        Ok(syncs) => Ok((Loaded { config, warnings }, syncs)),
        Err(errors) => Err(CommandFailure::Configuration { errors, warnings }),
    }
}

/// Warns of a queue folder that other users may enter. Its files are closed to them all the same.
fn open_folder_warning(folder: &Path) -> Option<ConfigError> {
    let mode = fs::metadata(folder).ok()?.permissions().mode() & 0o777;
    (mode & 0o077 != 0).then(|| {
        let folder = folder.display();
        ConfigError::new(
            "queue.path",
            format!(
                "the folder {folder} has mode {mode:03o}, so that other users of this machine may see or replace \
                 the store's files; give it to the daemon's user alone, as with `chmod 700 {folder}`"
            ),
        )
    })
}

/// Loads the configuration for a command that sends, or that checks whether one could.
fn load_config_to_send(sources: Sources) -> Result<(Loaded, Vec<Sync>), CommandFailure> {
    let (loaded, syncs) = load_config(sources)?;
    let errors = placeholders::all(&loaded.config);
    if errors.is_empty() {
        return Ok((loaded, syncs));
    }
    let warnings = loaded.warnings;
    Err(CommandFailure::Configuration { errors, warnings })
}

/// Adds the errors in the rules to those in how the configuration is written.
fn with_rules(unusable: Unusable) -> CommandFailure {
    let Unusable {
        mut errors,
        mut warnings,
        syncs,
    } = unusable;
    errors.extend(sync::errors(&syncs));
    warnings.extend(sync::warnings(&syncs));
    CommandFailure::Configuration { errors, warnings }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
