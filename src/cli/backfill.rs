//! `pixel-relay backfill`: brings history in from Amplitude's exports.
//!
//! The events are mapped by this process, by the same rules as those that the daemon takes, and handed
//! over to the same queue; nothing raw leaves this process. Everything is read once, front to back,
//! and memory does not grow with it. What is damaged is named, and costs no more than itself.
//!
//! What was taken in the last 8 days is not sent twice. So a backfill that was cut off is simply run
//! again, and one that overlaps with what was streamed does no harm. Dead letters of the same events are
//! replaced: after a mapping was mended, these events get another chance.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Write as _};

use anyhow::{Context as _, anyhow};
use clap::Args;
use serde_json::json;

use crate::cli::backfill::budget::Budget;
use crate::cli::backfill::file_summary::FileSummary;
use crate::cli::backfill::lines::{Elements, Form, TextElement};
use crate::cli::backfill::progress::Progress;
use crate::cli::backfill::report::{BackfillReport, COUNTED_TWICE};
use crate::cli::backfill::rewind::Input;
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

/// Space for what is read from a file.
const BUFFER: usize = 128 << 10;
/// The name of standard input among files.
const STANDARD_INPUT: &str = "-";

/// What `pixel-relay backfill` takes.
#[derive(Debug, Args)]
pub(super) struct BackfillArguments {
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
    arguments: &BackfillArguments,
    sources: Sources,
    terminal: &mut Terminal,
) -> Result<(), CommandFailure> {
    let (Loaded { config, .. }, mut syncs) = load_config(sources)?;
    syncs.retain(Sync::is_enabled);
    if syncs.is_empty() {
        return Err(CommandFailure::Usage(
            "no sync is enabled, so there is nobody to take the events".to_owned(),
        ));
    }
    let bytes = sizes(&arguments.files)?;
    let uploader = (!arguments.dry_run).then(|| StoreClient::open(&config, Missing::Made));
    let mut intake = BackfillRun {
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
        failed += usize::from(!intake.take_file(file, terminal)?);
    }
    intake.end(arguments, terminal)?;
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
struct BackfillRun {
    syncs: Vec<Sync>,
    since: Option<UnixMillis>,
    /// `None`: a dry run.
    uploader: Option<Uploader>,
    report: BackfillReport,
    progress: Progress,
    now: UnixMillis,
    /// When clicks were first seen, in the files of this run.
    clicks: InMemoryProfiles,
    /// Events from before `since`.
    before: u64,
    /// Whether events that Meta may count twice were warned about.
    has_warned: bool,
}

impl BackfillRun {
    /// Takes a file; gives whether all of it could be read, and held events.
    fn take_file(&mut self, file: &str, terminal: &mut Terminal) -> Result<bool, CommandFailure> {
        if file == STANDARD_INPUT {
            let input = std::mem::replace(&mut terminal.input, Box::new(io::empty()));
            return self.take_input(file, input, terminal);
        }
        match File::open(file) {
            Ok(input) => {
                let input = BufReader::with_capacity(BUFFER, input);
                self.take_input(file, input, terminal)
            }
            Err(error) => {
                self.progress.say(&format!("{file}: {error}"), terminal)?;
                Ok(false)
            }
        }
    }

    fn take_input(
        &mut self,
        file: &str,
        input: impl BufRead,
        terminal: &mut Terminal,
    ) -> Result<bool, CommandFailure> {
        let mut summary = FileSummary::default();
        let budget = Budget::new(self.progress.bytes_read());
        let mut input = self.progress.counting(input);
        source::each_part(&mut input, &budget, &mut |name, part| {
            let (damage, is_joined) = match part {
                InputPart::Unrelated => {
                    summary.add_unrelated(name);
                    return Ok(false);
                }
                InputPart::Damaged(what) => (Some(what), false),
                InputPart::Text {
                    text,
                    form,
                    expected,
                } => {
                    let end = self.take_text(text, form, &mut summary, terminal)?;
                    if end.eventless.is_some_and(|text| text.may_be(expected)) {
                        summary.add_unrelated(name);
                        return Ok(false);
                    }
                    (end.fault, end.is_joined)
                }
            };
            let damage = damage.and_then(|what| summary.add_damaged(name, &what));
            if let Some(damage) = damage {
                self.progress.say(&format!("{file}: {damage}"), terminal)?;
            }
            Ok(is_joined)
        })?;
        for words in summary.in_words() {
            self.progress.say(&format!("{file}: {words}"), terminal)?;
        }
        Ok(summary.is_complete())
    }

    fn take_text(
        &mut self,
        text: &mut Input<'_>,
        form: Form,
        summary: &mut FileSummary,
        terminal: &mut Terminal,
    ) -> Result<TextEnd, CommandFailure> {
        let mut end = TextEnd::default();
        let mut sniffer = Some(Sniffer::default());
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
                Ok(TextElement::TooLong) if sniffer.is_some() => {}
                Ok(TextElement::TooLong) => {
                    self.take_event(Err(Reason::EventTooLarge), &[], terminal)?;
                }
                Ok(TextElement::Whole) => {
                    let raw = element.trim_ascii();
                    if let Some(held) = &mut sniffer {
                        if !sniff::names_event(raw) {
                            if held.hold(raw) {
                                continue;
                            }
                            break;
                        }
                        for raw in held.take_held() {
                            self.take_element(&raw, &mut end, terminal)?;
                        }
                        sniffer = None;
                        summary.has_events = true;
                    }
                    self.take_element(raw, &mut end, terminal)?;
                }
                Err(error) => {
                    end.fault = Some(archive::in_words(&error));
                    return Ok(end);
                }
            }
        }
        let cut_off = elements.is_cut_off().then(|| archive::CUT_OFF.to_owned());
        if let Some(sniffer) = sniffer
            && let Some(words) = sniffer.in_words()
        {
            end.eventless = Some(if cut_off.is_none() && sniffer.is_other_json() {
                EventlessText::Json
            } else {
                EventlessText::Anything
            });
            end.fault = Some(words);
        }
        end.fault = cut_off.or(end.fault);
        Ok(end)
    }

    /// Takes an event, or the events of the body of a request. An answer that says why there are no more is
    /// no event.
    fn take_element(
        &mut self,
        raw: &[u8],
        end: &mut TextEnd,
        terminal: &mut Terminal,
    ) -> Result<(), CommandFailure> {
        let arena = Arena::default();
        let event = Event::decode(raw, &arena);
        if event
            .as_ref()
            .is_ok_and(|event| event.field("error").is_some())
            && let Some(answer) = sniff::answer(raw)
        {
            end.fault = Some(format!("among its events is {answer}"));
            return Ok(());
        }
        if !event.as_ref().is_ok_and(sniff::is_envelope) {
            return self.take_event(event.as_ref().map_err(|reason| *reason), raw, terminal);
        }
        match decode(raw, &arena) {
            Ok(elements) => {
                for element in elements {
                    let event = element.event.as_ref().map_err(|reason| *reason);
                    self.take_event(event, element.raw, terminal)?;
                }
                Ok(())
            }
            Err(_) => self.take_event(Err(Reason::MalformedJson), raw, terminal),
        }
    }

    fn take_event(
        &mut self,
        event: Result<&Event<'_>, Reason>,
        raw: &[u8],
        terminal: &mut Terminal,
    ) -> Result<(), CommandFailure> {
        self.progress.event(terminal)?;
        if let (Ok(event), Some(since)) = (event, self.since)
            && event_time::of(event).is_some_and(|happened| happened < since)
        {
            self.before += 1;
            return Ok(());
        }
        for (place, sync) in self.syncs.iter().enumerate() {
            let bodies = &mut PayloadArena::default();
            let (mapped, stats) =
                sync.take_with_clicks(event, raw, self.now, bodies, &mut self.clicks);
            self.report.count(place, event.ok(), &mapped, &stats);
            if stats.may_count_twice() && !self.has_warned {
                self.has_warned = true;
                let text = format!(
                    "warning: {}: there are website events older than 48 hours: {COUNTED_TWICE}",
                    sync.name()
                );
                self.progress.say(&text, terminal)?;
            }
            if let Some(uploader) = &mut self.uploader {
                uploader.take(sync.name(), mapped, &self.progress, terminal)?;
            }
        }
        Ok(())
    }

    /// Uploads the rest and says what was done.
    fn end(
        mut self,
        arguments: &BackfillArguments,
        terminal: &mut Terminal,
    ) -> Result<(), CommandFailure> {
        let pushed = match self.uploader.take() {
            None => None,
            Some(mut uploader) => {
                uploader.flush(&self.progress, terminal)?;
                Some(uploader.end()?)
            }
        };
        let events = self.progress.end();
        let before = match self.before {
            0 => String::new(),
            before => format!(", {before} from before --since"),
        };
        let sums = self.report.in_words();
        writeln!(terminal.errors, "{events} events read{before}; {sums}")?;
        if let Some(words) = self.report.on_old_website_events() {
            writeln!(terminal.errors, "{words}")?;
        }
        match pushed {
            None => {
                writeln!(terminal.errors, "nothing was stored: this was a dry run")?;
                self.report.write(arguments.json, terminal)
            }
            Some((pushed, has_daemon)) => {
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
    }
}

/// How a text ended.
#[derive(Debug, Default)]
struct TextEnd {
    /// What is wrong with it.
    fault: Option<String>,
    /// That is no damage: it holds something, and no event.
    eventless: Option<EventlessText>,
    /// Whether something packed is joined to it.
    is_joined: bool,
}

/// What a text without an event holds.
#[derive(Clone, Copy, Debug)]
enum EventlessText {
    /// JSON about something else.
    Json,
    Anything,
}

impl EventlessText {
    /// Whether a file of such a name may hold it.
    const fn may_be(self, expected: Expectation) -> bool {
        match expected {
            Expectation::Events => false,
            Expectation::Json => matches!(self, Self::Json),
            Expectation::Unrelated | Expectation::None => true,
        }
    }
}

/// Bytes of all files, so that the progress is a share; `None` with standard input.
fn sizes(files: &[String]) -> Result<Option<u64>, CommandFailure> {
    let mut bytes = Some(0);
    for file in files {
        if file == STANDARD_INPUT {
            bytes = None;
            continue;
        }
        // A file that is missing is told before anything is done.
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
