//! How far a backfill is: a bar for people who watch it, else a line now and then.

use std::cell::Cell;
use std::io::{self, BufRead, Read, Write as _};
use std::rc::Rc;
use std::time::Duration;

use indicatif::{HumanCount, ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::cli::Terminal;
use crate::clock::{Clock as _, SystemClock, UnixMillis};

/// How often a line is written.
const BETWEEN_LINES: Duration = Duration::from_secs(10);
/// Events between two looks at the clock.
const EVENTS_A_LOOK: u64 = 1000;

/// The progress of all files together.
#[derive(Debug)]
pub(super) struct Progress {
    bar: Option<ProgressBar>,
    /// Bytes of all files; `None` where one comes through a pipe.
    bytes: Option<u64>,
    read: Rc<Cell<u64>>,
    events: u64,
    last_line: UnixMillis,
}

impl Progress {
    /// Begins at nothing of a total.
    pub(super) fn new(bytes: Option<u64>, terminal: &Terminal) -> Self {
        let bar = terminal.shows_progress.then(|| {
            let template = match bytes {
                Some(_) => "{bar:30} {percent:>3} %  {bytes} of {total_bytes}  {msg}  {eta} left",
                None => "{spinner} {bytes}  {msg}  {elapsed}",
            };
            let style = ProgressStyle::with_template(template)
                .unwrap_or_else(|_| ProgressStyle::default_bar());
            ProgressBar::with_draw_target(bytes, ProgressDrawTarget::stderr()).with_style(style)
        });
        Self {
            bar,
            bytes,
            read: Rc::default(),
            events: 0,
            last_line: SystemClock.now(),
        }
    }

    /// An input whose bytes are counted as they are read.
    pub(super) fn counting<R: BufRead>(&self, input: R) -> Counting<R> {
        Counting {
            input,
            read: Rc::clone(&self.read),
        }
    }

    /// The bytes that were read so far, of all inputs that are counted.
    pub(super) fn bytes_read(&self) -> Rc<Cell<u64>> {
        Rc::clone(&self.read)
    }

    /// Counts an event, and shows how far it is where that is due.
    pub(super) fn event(&mut self, terminal: &mut Terminal) -> io::Result<()> {
        self.events += 1;
        if !self.events.is_multiple_of(EVENTS_A_LOOK) {
            return Ok(());
        }
        if let Some(bar) = &self.bar {
            bar.set_position(self.read.get());
            bar.set_message(format!("{} events", HumanCount(self.events)));
            return Ok(());
        }
        let now = SystemClock.now();
        if now.since(self.last_line) < BETWEEN_LINES {
            return Ok(());
        }
        self.last_line = now;
        let share = self.bytes.filter(|bytes| *bytes > 0);
        let share = share.map_or_else(String::new, |bytes| {
            format!(" ({} %)", self.read.get().saturating_mul(100) / bytes)
        });
        writeln!(terminal.errors, "{} events read{share}", self.events)
    }

    /// Says something, above the bar if there is one.
    pub(super) fn say(&self, text: &str, terminal: &mut Terminal) -> io::Result<()> {
        match &self.bar {
            Some(bar) => bar.suspend(|| writeln!(terminal.errors, "{text}")),
            None => writeln!(terminal.errors, "{text}"),
        }
    }

    /// Takes the bar away; gives the number of events.
    pub(super) fn end(&self) -> u64 {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        self.events
    }
}

/// Counts what is read.
#[derive(Debug)]
pub(super) struct Counting<R> {
    input: R,
    read: Rc<Cell<u64>>,
}

impl<R: BufRead> Read for Counting<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let count = self.input.read(out)?;
        self.read.set(self.read.get() + count as u64);
        Ok(count)
    }
}

impl<R: BufRead> BufRead for Counting<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.input.fill_buf()
    }

    fn consume(&mut self, count: usize) {
        self.read.set(self.read.get() + count as u64);
        self.input.consume(count);
    }
}
