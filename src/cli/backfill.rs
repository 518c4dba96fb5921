//! `pixel-relay backfill`: brings history in from Amplitude's exports.
//!
//! The events are mapped by this process, by the same rules as those that the daemon takes, and handed
//! over to the same queue; nothing raw leaves this process. Everything is read once, front to back,
//! and memory does not grow with it.
//!
//! What was taken in the last 8 days is not sent twice. So a backfill that was cut off is simply run
//! again, and one that overlaps with what was streamed does no harm. Dead letters of the same events are
//! replaced: after a mapping was mended, these events get another chance.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Write as _};

use anyhow::{Context as _, anyhow};
use clap::Args;
use serde_json::json;

use crate::cli::backfill::hand::Hand;
use crate::cli::backfill::lines::Line;
use crate::cli::backfill::progress::Progress;
use crate::cli::backfill::report::Report;
use crate::cli::store::{Missing, Store, Stored};
use crate::cli::{Failure, Terminal, load_config, parse_time};
use crate::clock::{Clock as _, SystemClock, UnixMillis};
use crate::config::load::{Loaded, Sources};
use crate::event::Event;
use crate::event::arena::Arena;
use crate::map::event_time;
use crate::map::payload::Bodies;
use crate::memory::Notebook;
use crate::outcome::Reason;
use crate::sync::Sync;

mod archive;
mod hand;
mod lines;
mod progress;
mod report;
mod source;

/// Space for what is read from a file.
const BUFFER: usize = 128 << 10;
/// The name of standard input among files.
const STANDARD_INPUT: &str = "-";

/// What `pixel-relay backfill` takes.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Export archives (zip), single `.json.gz` files, or NDJSON; `-` is standard input
    #[arg(required = true, value_name = "FILE")]
    files: Vec<String>,
    /// Stores nothing, and counts by event name what would be mapped, filtered, too old, or invalid
    #[arg(long)]
    dry_run: bool,
    /// Passes over what happened before this moment, as in `2026-11-20T18:05:00Z` or `2026-11-20`
    #[arg(long, value_name = "TIME", value_parser = parse_moment)]
    since: Option<UnixMillis>,
    /// The counts of a dry run as JSON lines, on a terminal too
    #[arg(long, requires = "dry_run")]
    json: bool,
}

pub(super) fn backfill(
    arguments: &Arguments,
    sources: Sources,
    terminal: &mut Terminal,
) -> Result<(), Failure> {
    let (Loaded { config, .. }, mut syncs) = load_config(sources)?;
    syncs.retain(Sync::is_enabled);
    if syncs.is_empty() {
        return Err(Failure::Usage(
            "no sync is enabled, so there is nobody to take the events".to_owned(),
        ));
    }
    let bytes = sizes(&arguments.files)?;
    let hand = (!arguments.dry_run).then(|| Store::open(&config, Missing::Made));
    let mut intake = Intake {
        report: Report::new(syncs.iter().map(|sync| sync.name().clone()).collect()),
        syncs,
        since: arguments.since,
        hand: hand.transpose()?.map(Hand::new),
        progress: Progress::new(bytes, terminal),
        now: SystemClock.now(),
        clicks: Notebook::default(),
        before: 0,
    };
    let mut failed = 0;
    for file in &arguments.files {
        match intake.take_file(file, terminal) {
            Ok(()) => {}
            Err(Stopped::Input(error)) => {
                // The other files may be well; what was read of this one is good.
                failed += 1;
                let text = format!("{file}: {error:#}; what was read until there counts");
                intake.progress.say(&text, terminal)?;
            }
            Err(Stopped::Rest(failure)) => return Err(failure),
        }
    }
    intake.end(arguments, terminal)?;
    match failed {
        0 => Ok(()),
        1 => Err(anyhow!("one file could not be read to its end").into()),
        failed => Err(anyhow!("{failed} files could not be read to their end").into()),
    }
}

/// Why the reading of a file was given up.
#[derive(Debug)]
enum Stopped {
    /// The file itself.
    Input(anyhow::Error),
    /// Anything else, which ends the whole.
    Rest(Failure),
}

impl From<io::Error> for Stopped {
    fn from(error: io::Error) -> Self {
        Self::Input(match error.kind() {
            io::ErrorKind::UnexpectedEof => anyhow!("it is cut off"),
            _ => error.into(),
        })
    }
}

/// The work on all files.
struct Intake {
    syncs: Vec<Sync>,
    since: Option<UnixMillis>,
    /// `None`: a dry run.
    hand: Option<Hand>,
    report: Report,
    progress: Progress,
    now: UnixMillis,
    /// When clicks were first seen, in the files of this run.
    clicks: Notebook,
    /// Events from before `since`.
    before: u64,
}

impl Intake {
    fn take_file(&mut self, file: &str, terminal: &mut Terminal) -> Result<(), Stopped> {
        if file == STANDARD_INPUT {
            let input = std::mem::replace(&mut terminal.input, Box::new(io::empty()));
            return self.take_input(file, input, terminal);
        }
        let input = File::open(file).map_err(|error| Stopped::Input(error.into()))?;
        let input = BufReader::with_capacity(BUFFER, input);
        self.take_input(file, input, terminal)
    }

    fn take_input(
        &mut self,
        file: &str,
        input: impl BufRead,
        terminal: &mut Terminal,
    ) -> Result<(), Stopped> {
        let mut input = self.progress.counting(input);
        let passed_over = source::each_part(file, &mut input, |part, lines| {
            self.take_lines(part, lines, terminal)
        })?;
        if passed_over > 0 {
            let text = format!("{file}: passed over {passed_over} files that hold no events");
            self.progress.say(&text, terminal)?;
        }
        Ok(())
    }

    fn take_lines(
        &mut self,
        part: &str,
        input: &mut dyn BufRead,
        terminal: &mut Terminal,
    ) -> Result<(), Stopped> {
        let mut line = Vec::new();
        let mut is_first = true;
        self.now = SystemClock.now();
        loop {
            match lines::next(input, &mut line)? {
                Line::End => return Ok(()),
                Line::TooLong => self.take_event(Err(Reason::EventTooLarge), &[], terminal)?,
                Line::Whole if line.trim_ascii().is_empty() => continue,
                Line::Whole => {
                    // Or every line of a wrong file would become a dead letter.
                    if is_first && !line.trim_ascii().starts_with(b"{") {
                        return Err(Stopped::Input(anyhow!(
                            "{part} is no export: its first line is no JSON object"
                        )));
                    }
                    let arena = Arena::default();
                    match Event::decode(&line, &arena) {
                        Ok(event) => self.take_event(Ok(&event), &line, terminal)?,
                        Err(reason) => self.take_event(Err(reason), &line, terminal)?,
                    }
                }
            }
            is_first = false;
        }
    }

    fn take_event(
        &mut self,
        event: Result<&Event<'_>, Reason>,
        raw: &[u8],
        terminal: &mut Terminal,
    ) -> Result<(), Stopped> {
        self.progress
            .event(terminal)
            .map_err(|error| Stopped::Rest(error.into()))?;
        if let (Ok(event), Some(since)) = (event, self.since)
            && event_time::of(event).is_some_and(|happened| happened < since)
        {
            self.before += 1;
            return Ok(());
        }
        for (place, sync) in self.syncs.iter().enumerate() {
            let bodies = &mut Bodies::default();
            let (fate, notes) = match event {
                Ok(event) => sync.take_with_clicks(event, self.now, bodies, &mut self.clicks),
                Err(reason) => sync.take(Err(reason), raw, self.now, bodies),
            };
            self.report.count(place, event.ok(), &fate, &notes);
            if let Some(hand) = &mut self.hand {
                hand.take(sync.name(), fate, &self.progress, terminal)
                    .map_err(|error| Stopped::Rest(error.into()))?;
            }
        }
        Ok(())
    }

    /// Hands the rest over and says what was done.
    fn end(mut self, arguments: &Arguments, terminal: &mut Terminal) -> Result<(), Failure> {
        let stored = match self.hand.take() {
            None => None,
            Some(mut hand) => {
                hand.hand_over(&self.progress, terminal)?;
                Some(hand.end()?)
            }
        };
        let events = self.progress.end();
        let before = match self.before {
            0 => String::new(),
            before => format!(", {before} from before --since"),
        };
        let sums = self.report.in_words();
        writeln!(terminal.errors, "{events} events read{before}; {sums}")?;
        match stored {
            None => {
                writeln!(terminal.errors, "nothing was stored: this was a dry run")?;
                self.report.write(arguments.json, terminal)
            }
            Some((Stored { queued, duplicates }, has_daemon)) => {
                let then = if has_daemon || queued == 0 {
                    ""
                } else {
                    "; they are delivered once the daemon runs"
                };
                let words = format!("{queued} queued, {duplicates} taken before{then}");
                terminal.tell(&json!({"queued": queued, "duplicates": duplicates}), &words)?;
                Ok(())
            }
        }
    }
}

/// Bytes of all files, so that the progress is a share; `None` with standard input.
fn sizes(files: &[String]) -> Result<Option<u64>, Failure> {
    let mut bytes = Some(0);
    for file in files {
        if file == STANDARD_INPUT {
            bytes = None;
            continue;
        }
        // A file that is missing is told before anything is done.
        let size = std::fs::metadata(file).with_context(|| format!("cannot read {file}"))?;
        if size.is_dir() {
            return Err(Failure::Usage(format!(
                "{file} is a folder; name the files in it"
            )));
        }
        bytes = bytes.map(|bytes| bytes + size.len());
    }
    Ok(bytes)
}

fn parse_moment(text: &str) -> Result<UnixMillis, String> {
    let midnight = format!("{text}T00:00:00Z");
    UnixMillis::parse(&midnight).map_or_else(|| parse_time(text), Ok)
}
