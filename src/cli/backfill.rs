//! `pixel-relay backfill`: brings history in from Amplitude's exports.
//!
//! This process maps the events by the daemon's rules and hands them over to the same queue; nothing raw
//! leaves this process. It reads everything once, front to back, in constant memory. It names what is
//! damaged, and reads on behind it.
//!
//! An event that was taken in the last 8 days is not sent twice. So an interrupted backfill can simply run
//! again, and a backfill that overlaps with streamed events does no harm. It replaces dead letters of the
//! same events: once a mapping is fixed, these events get another chance.

use std::fs::File;
use std::io::{BufRead, BufReader, Write as _};

use anyhow::{Context as _, anyhow};
use clap::Args;
use serde_json::json;

use crate::cli::backfill::budget::Budget;
use crate::cli::backfill::file_summary::FileSummary;
use crate::cli::backfill::lines::{Elements, Form, TextElement};
use crate::cli::backfill::progress::Progress;
use crate::cli::backfill::report::{BackfillReport, COUNTED_TWICE};
use crate::cli::backfill::rewind::RewindReader;
use crate::cli::backfill::sniff::Sniffer;
use crate::cli::backfill::source::{Expectation, InputPart};
use crate::cli::backfill::uploader::Uploader;
use crate::cli::store::{Missing, StoreClient};
use crate::cli::{CommandFailure, Terminal, load_config, parse_time};
use crate::clock::{Clock as _, SystemClock, UnixMillis};
use crate::config::load::{Loaded, Sources};
use crate::event::Event;
use crate::event::arena::Arena;
use crate::ingest::decode::decode;
use crate::map::event_time;
use crate::outcome::Reason;
use crate::payload::PayloadArena;
use crate::profile::in_memory::InMemoryProfiles;
use crate::queue::Pushed;
use crate::sync::Sync;

mod archive;
mod budget;
mod file_summary;
mod lines;
mod progress;
mod report;
mod rewind;
mod sniff;
mod source;
mod uploader;
mod utf16;

/// Bytes to read from a file at once.
const BUFFER: usize = 128 << 10;
/// The file name that stands for standard input.
const STANDARD_INPUT: &str = "-";

#[derive(Debug, Args)]
pub(super) struct BackfillArguments {
    /// Export archives (zip), single `.json.gz` files, or NDJSON; `-` is standard input
    #[arg(required = true, value_name = "FILE")]
    files: Vec<String>,
    /// Stores nothing; counts by event name what would be mapped, filtered, too old or invalid
    #[arg(long)]
    dry_run: bool,
    /// Skips events from before this time, such as `2026-11-20T18:05:00Z` or `2026-11-20`
    #[arg(long, value_name = "TIME", value_parser = parse_moment)]
    since: Option<UnixMillis>,
    /// Prints the counts of a dry run as JSON lines, on a terminal too
    #[arg(long, requires = "dry_run")]
    json: bool,
}

pub(super) fn backfill(
    arguments: &BackfillArguments,
    sources: Sources,
    terminal: &mut Terminal,
) -> Result<(), CommandFailure> {
    let (Loaded { config, .. }, mut syncs) = load_config(sources)?;
    syncs.retain(Sync::is_enabled);
    if syncs.is_empty() {
        return Err(CommandFailure::Usage(
            "no sync is enabled, so nothing would take the events".to_owned(),
        ));
    }
    let bytes = sizes(&arguments.files)?;
    let uploader = (!arguments.dry_run).then(|| StoreClient::open(&config, Missing::Made));
    let mut run = BackfillRun {
        report: BackfillReport::new(syncs.iter().map(|sync| sync.name().clone()).collect()),
        syncs,
        since: arguments.since,
        uploader: uploader.transpose()?.map(Uploader::new),
        progress: Progress::new(bytes, terminal),
        now: SystemClock.now(),
        clicks: InMemoryProfiles::default(),
        before: 0,
        has_warned: false,
    };
    let mut failed = 0;
    for file in &arguments.files {
        failed += usize::from(!run.take_file(file)?);
    }
    run.end(arguments)?;
    match (failed, arguments.files.len()) {
        (0, _) => Ok(()),
        (1, 1) => Err(anyhow!(
            "the file is damaged, or no export; what could be read of it counts"
        )
        .into()),
        (failed, all) => Err(anyhow!(
            "{failed} of {all} files are damaged, or no exports; what could be read of them counts"
        )
        .into()),
    }
}

/// The work on all files.
struct BackfillRun<'t> {
    syncs: Vec<Sync>,
    since: Option<UnixMillis>,
    /// `None`: a dry run.
    uploader: Option<Uploader>,
    report: BackfillReport,
    progress: Progress<'t>,
    now: UnixMillis,
    /// When clicks were first seen, in the files of this run.
    clicks: InMemoryProfiles,
    /// Events from before `since`.
    before: u64,
    /// Whether it has warned of events that Meta may count twice.
    has_warned: bool,
}

/// How a part of a file ended.
#[derive(Debug, Default)]
struct PartEnd {
    /// What is wrong with it.
    fault: Option<String>,
    has_events: bool,
    /// Whether it holds no events and need not: this is no fault.
    is_unrelated: bool,
    /// Whether something packed is joined to it.
    is_joined: bool,
}

impl BackfillRun<'_> {
    /// Takes a file; returns whether all of it could be read, and held events.
    fn take_file(&mut self, file: &str) -> Result<bool, CommandFailure> {
        let input: Box<dyn BufRead> = if file == STANDARD_INPUT {
            self.progress.take_standard_input()
        } else {
            match File::open(file) {
                Ok(input) => Box::new(BufReader::with_capacity(BUFFER, input)),
                Err(error) => {
                    self.progress.say(&format!("{file}: {error}"))?;
                    return Ok(false);
                }
            }
        };
        let mut summary = FileSummary::default();
        let budget = Budget::new(self.progress.bytes_read());
        let mut input = self.progress.counting(input);
        source::each_part(&mut input, &budget, &mut |name, part| {
            let end = self.take_part(part)?;
            summary.has_events |= end.has_events;
            if end.is_unrelated {
                summary.add_unrelated(name);
                return Ok(false);
            }
            if let Some(fault) = end.fault
                && let Some(words) = summary.add_damaged(name, &fault)
            {
                self.progress.say(&format!("{file}: {words}"))?;
            }
            Ok(end.is_joined)
        })?;
        for words in summary.in_words() {
            self.progress.say(&format!("{file}: {words}"))?;
        }
        Ok(summary.is_complete())
    }

    fn take_part(&mut self, part: InputPart<'_, '_>) -> Result<PartEnd, CommandFailure> {
        let mut end = PartEnd::default();
        match part {
            InputPart::Unrelated => end.is_unrelated = true,
            InputPart::Damaged(what) => end.fault = Some(what),
            InputPart::Text {
                text,
                form,
                expected,
            } => self.take_text(text, form, expected, &mut end)?,
        }
        Ok(end)
    }

    fn take_text(
        &mut self,
        text: &mut RewindReader<'_>,
        form: Form,
        expected: Expectation,
        end: &mut PartEnd,
    ) -> Result<(), CommandFailure> {
        let mut sniffer = Sniffer::default();
        let mut element = Vec::new();
        let mut elements = Elements::new(form);
        self.now = SystemClock.now();
        loop {
            match elements.next(text, &mut element) {
                Ok(TextElement::End) => break,
                Ok(TextElement::Joined) => {
                    end.is_joined = true;
                    break;
                }
                Ok(TextElement::TooLong) if end.has_events => {
                    self.take_event(&Err(Reason::EventTooLarge), &[])?;
                }
                Ok(TextElement::TooLong) => {}
                Ok(TextElement::Whole) => {
                    let raw = element.trim_ascii();
                    if !end.has_events {
                        if !sniff::names_event(raw) {
                            if sniffer.hold(raw) {
                                continue;
                            }
                            break;
                        }
                        end.has_events = true;
                        for raw in sniffer.take_held() {
                            self.take_element(&raw, end)?;
                        }
                    }
                    self.take_element(raw, end)?;
                }
                Err(error) => {
                    end.fault = Some(archive::in_words(&error));
                    return Ok(());
                }
            }
        }
        if !end.has_events
            && let Some(words) = sniffer.in_words()
        {
            let is_other_json = !elements.is_cut_off && sniffer.is_other_json();
            end.is_unrelated = expected.allows_no_event(is_other_json);
            end.fault = Some(words);
        }
        if elements.is_cut_off {
            end.fault = Some(archive::CUT_OFF.to_owned());
        }
        Ok(())
    }

    /// Takes an event, or the events of the body of a request. An answer that says why there are no more
    /// events is not one of them.
    fn take_element(&mut self, raw: &[u8], end: &mut PartEnd) -> Result<(), CommandFailure> {
        let arena = Arena::default();
        let event = Event::decode(raw, &arena);
        let holds = |has: fn(&Event<'_>) -> bool| event.as_ref().is_ok_and(has);
        if holds(|event| event.field("error").is_some())
            && let Some(answer) = sniff::answer(raw)
        {
            end.fault = Some(format!("among its events is {answer}"));
            return Ok(());
        }
        if !holds(sniff::is_envelope) {
            return self.take_event(&event, raw);
        }
        match decode(raw, &arena) {
            Ok(mut elements) => {
                elements.try_for_each(|element| self.take_event(&element.event, element.raw))
            }
            Err(_) => self.take_event(&Err(Reason::MalformedJson), raw),
        }
    }

    fn take_event(
        &mut self,
        event: &Result<Event<'_>, Reason>,
        raw: &[u8],
    ) -> Result<(), CommandFailure> {
        self.progress.event()?;
        if let (Ok(event), Some(since)) = (event, self.since)
            && event_time::of(event).is_some_and(|happened| happened < since)
        {
            self.before += 1;
            return Ok(());
        }
        for (place, sync) in self.syncs.iter().enumerate() {
            let bodies = &mut PayloadArena::default();
            let event = event.as_ref().map_err(|reason| *reason);
            let (mapped, stats) =
                sync.take_with_clicks(event, raw, self.now, bodies, &mut self.clicks);
            self.report.count(place, event.ok(), &mapped, &stats);
            if stats.may_count_twice() && !self.has_warned {
                self.has_warned = true;
                self.progress.say(&format!(
                    "warning: {}: there are website events older than 48 hours: {COUNTED_TWICE}",
                    sync.name()
                ))?;
            }
            if let Some(uploader) = &mut self.uploader {
                uploader.take(sync.name(), mapped, &mut self.progress)?;
            }
        }
        Ok(())
    }

    /// Uploads the rest and reports what was done.
    fn end(mut self, arguments: &BackfillArguments) -> Result<(), CommandFailure> {
        let uploaded = match self.uploader {
            None => None,
            Some(mut uploader) => {
                uploader.flush(&mut self.progress)?;
                Some(uploader.end()?)
            }
        };
        let (events, terminal) = self.progress.end();
        let before = match self.before {
            0 => String::new(),
            before => format!(", {before} from before --since"),
        };
        let sums = self.report.in_words();
        writeln!(terminal.errors, "{events} events read{before}; {sums}")?;
        if let Some(words) = self.report.on_old_website_events() {
            writeln!(terminal.errors, "{words}")?;
        }
        let Some((pushed, has_daemon)) = uploaded else {
            writeln!(terminal.errors, "nothing was stored: this was a dry run")?;
            return self.report.write(arguments.json, terminal);
        };
        let Pushed {
            queued, duplicates, ..
        } = pushed;
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

/// The size of all files, so that progress can be a percentage; `None` with standard input.
fn sizes(files: &[String]) -> Result<Option<u64>, CommandFailure> {
    let mut bytes = Some(0);
    for file in files {
        if file == STANDARD_INPUT {
            bytes = None;
            continue;
        }
        // A missing file fails the command before anything is done.
        let size = std::fs::metadata(file).with_context(|| format!("cannot read {file}"))?;
        if size.is_dir() {
            return Err(CommandFailure::Usage(format!(
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
