//! The progress of a backfill: a bar for people who watch it, else a line every ten seconds.

use std::cell::Cell;
use std::io::{self, BufRead, Read, Write as _};
use std::mem;
use std::rc::Rc;
use std::time::Duration;

use indicatif::{HumanCount, ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::cli::Terminal;
use crate::clock::{Clock as _, SystemClock};

const BETWEEN_LINES: Duration = Duration::from_secs(10);
/// Events between two looks at the clock.
const EVENTS_A_LOOK: u64 = 1000;

/// The progress of all files together.
#[derive(Debug)]
pub(super) struct Progress<'t> {
    terminal: &'t mut Terminal,
    bar: Option<ProgressBar>,
    /// Bytes of all files; `None` where one comes through a pipe.
    bytes: Option<u64>,
    read: Rc<Cell<u64>>,
    events: u64,
    /// At which uptime.
    last_line: Duration,
}

impl<'t> Progress<'t> {
    pub(super) fn new(bytes: Option<u64>, terminal: &'t mut Terminal) -> Self {
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
            terminal,
            bar,
            bytes,
            read: Rc::default(),
            events: 0,
            last_line: SystemClock.uptime(),
        }
    }

    /// Takes standard input out of the terminal.
    pub(super) fn take_standard_input(&mut self) -> Box<dyn BufRead + Send> {
        mem::replace(&mut self.terminal.input, Box::new(io::empty()))
    }

    /// Counts the bytes of an input as they are read.
    pub(super) fn counting(&self, input: Box<dyn BufRead>) -> Counting {
        Counting {
            input,
            read: Rc::clone(&self.read),
        }
    }

    /// The bytes that were read so far of all counted inputs.
    pub(super) fn bytes_read(&self) -> Rc<Cell<u64>> {
        Rc::clone(&self.read)
    }

    /// Counts an event, and shows the progress when that is due.
    pub(super) fn event(&mut self) -> io::Result<()> {
        self.events += 1;
        if !self.events.is_multiple_of(EVENTS_A_LOOK) {
            return Ok(());
        }
        if let Some(bar) = &self.bar {
            bar.set_position(self.read.get());
            bar.set_message(format!("{} events", HumanCount(self.events)));
            return Ok(());
        }
        let now = SystemClock.uptime();
        if now.saturating_sub(self.last_line) < BETWEEN_LINES {
            return Ok(());
        }
        self.last_line = now;
        let share = self.bytes.filter(|bytes| *bytes > 0);
        let share = share.map_or_else(String::new, |bytes| {
            format!(" ({} %)", self.read.get().saturating_mul(100) / bytes)
        });
        writeln!(self.terminal.errors, "{} events read{share}", self.events)
    }

    /// Writes a message, above the bar if there is one.
    pub(super) fn say(&mut self, text: &str) -> io::Result<()> {
        match &self.bar {
            Some(bar) => bar.suspend(|| writeln!(self.terminal.errors, "{text}")),
            None => writeln!(self.terminal.errors, "{text}"),
        }
    }

    /// Takes the bar away; returns the number of events, and the terminal.
    pub(super) fn end(self) -> (u64, &'t mut Terminal) {
        if let Some(bar) = self.bar {
            bar.finish_and_clear();
        }
        (self.events, self.terminal)
    }
}

/// Counts what is read.
pub(super) struct Counting {
    input: Box<dyn BufRead>,
    read: Rc<Cell<u64>>,
}

impl Read for Counting {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let count = self.fill_buf()?.read(out)?;
        self.consume(count);
        Ok(count)
    }
}

impl BufRead for Counting {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.input.fill_buf()
    }

    fn consume(&mut self, count: usize) {
        self.read.set(self.read.get() + count as u64);
        self.input.consume(count);
    }
}
