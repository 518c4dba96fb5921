//! A library of C that is loaded before all others into the program under test, and stands between it and the
//! system: it falsifies the time of day, refuses threads, lets operations on files fail, and writes them down.
//!
//! `cc` makes it once, under a name that follows from its text. A file of whole numbers, which both sides map or
//! write, tells it at any moment what to do, so that a test moves the clock of a daemon that runs.

#![allow(dead_code, reason = "no test program uses every part of it")]

use std::ffi::OsString;
use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The sources, by name.
const SOURCES: [(&str, &str); 6] = [
    ("control.h", include_str!("control.h")),
    ("control.c", include_str!("control.c")),
    ("clock.c", include_str!("clock.c")),
    ("threads.c", include_str!("threads.c")),
    ("sockets.c", include_str!("sockets.c")),
    ("files.c", include_str!("files.c")),
];
const WORDS: u64 = 512;

/// A word of the control file, in the order of control.h.
#[derive(Clone, Copy)]
enum Word {
    ClockSeconds,
    NoThreads,
    Fault,
    Operations,
    Files,
    Countdown,
    Times,
    Struck,
    Bit,
    Seen,
    SendBuffer,
}

/// What happens to an operation that is struck.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It fails with an I/O error.
    Fails = 1,
    /// It fails, since the disk is full.
    NoSpace,
    /// Half of it is done, and said to be.
    Halved,
    /// It is done, and the process dies.
    Last,
    /// Half of it is done, and the process dies.
    HalvedLast,
    /// A bit of what was read is wrong.
    Flipped,
    /// It is done once the faults are ended.
    Hangs,
}

/// An operation on a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileOperation {
    Write = 1,
    Sync = 2,
    Truncate = 4,
    Open = 8,
    Unlink = 16,
    Read = 32,
    Rename = 64,
}

/// Which file of the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreFile {
    Store = 1,
    Log = 2,
    Any = 7,
}

/// Which operation is struck, and by what.
#[derive(Clone, Copy, Debug)]
pub struct Strike {
    pub fault: Fault,
    pub operation: FileOperation,
    pub file: StoreFile,
    /// 1: the next one.
    pub nth: u32,
    /// How many in a row.
    pub times: u32,
    /// Which bit is flipped, modulo the length.
    pub bit: u32,
}

/// What one program, or several, are made to see.
pub struct Shim {
    path: PathBuf,
    control: File,
    folder: Option<PathBuf>,
    trace: Option<PathBuf>,
}

impl Shim {
    /// Puts a control file into the folder. At first it changes nothing.
    pub fn new(folder: &Path) -> Self {
        let path = folder.join("shim-control");
        let control = File::options()
            .create_new(true)
            .read(true)
            .write(true)
            .open(&path)
            .unwrap();
        control.set_len(WORDS * 8).unwrap();
        Self {
            path,
            control,
            folder: None,
            trace: None,
        }
    }

    /// Watches the files below a folder, which the program knows by this absolute path.
    pub fn watching(mut self, folder: &Path) -> Self {
        self.folder = Some(folder.to_owned());
        self
    }

    /// Writes down, in a file, what is done to the files below the folder.
    pub fn tracing(mut self, trace: &Path) -> Self {
        self.trace = Some(trace.to_owned());
        self
    }

    /// What must stand in the environment of a program that is to see it.
    pub fn environment(&self) -> Vec<(&'static str, OsString)> {
        let path = |path: &Path| path.as_os_str().to_owned();
        let mut variables = vec![
            ("LD_PRELOAD", path(library())),
            ("SHIM_CONTROL", path(&self.path)),
        ];
        variables.extend(self.folder.as_deref().map(|at| ("SHIM_FOLDER", path(at))));
        variables.extend(self.trace.as_deref().map(|at| ("SHIM_TRACE", path(at))));
        variables
    }

    /// Sets how many seconds the time of day is ahead of the true one; negative: behind.
    pub fn set_clock(&self, seconds: i64) {
        self.set(Word::ClockSeconds, seconds);
    }

    /// Sets whether no thread can be made.
    pub fn refuse_threads(&self, refuse: bool) {
        self.set(Word::NoThreads, refuse.into());
    }

    /// Sets how many bytes of answers the system keeps for a connection that is accepted from now on.
    pub fn set_send_buffer(&self, bytes: u16) {
        self.set(Word::SendBuffer, bytes.into());
    }

    /// Strikes an operation that is yet to come.
    pub fn strike(&self, strike: &Strike) {
        self.heal();
        self.set(Word::Operations, strike.operation as i64);
        self.set(Word::Files, strike.file as i64);
        self.set(Word::Countdown, strike.nth.into());
        self.set(Word::Times, strike.times.into());
        self.set(Word::Bit, strike.bit.into());
        self.set(Word::Fault, strike.fault as i64);
    }

    /// Ends every fault of files.
    pub fn heal(&self) {
        self.set(Word::Fault, 0);
    }

    /// How many operations were struck so far.
    pub fn struck(&self) -> i64 {
        self.get(Word::Struck)
    }

    fn set(&self, word: Word, value: i64) {
        let place = word as u64 * 8;
        let bytes = value.to_ne_bytes();
        self.control.write_all_at(&bytes, place).unwrap();
    }

    fn get(&self, word: Word) -> i64 {
        let mut bytes = [0; 8];
        self.control
            .read_exact_at(&mut bytes, word as u64 * 8)
            .unwrap();
        i64::from_ne_bytes(bytes)
    }
}

/// The program under test: the one that was built with the test, or what `PROGRAM_UNDER_TEST` names.
pub fn program() -> PathBuf {
    let named = std::env::var_os("PROGRAM_UNDER_TEST");
    named.map_or_else(|| env!("CARGO_BIN_EXE_pixel-relay").into(), PathBuf::from)
}

/// The library, which is made by the first test that asks for it.
fn library() -> &'static Path {
    static LIBRARY: OnceLock<PathBuf> = OnceLock::new();
    LIBRARY.get_or_init(|| {
        let mut hasher = DefaultHasher::new();
        SOURCES.hash(&mut hasher);
        let place = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let made = place.join(format!("shim-{:x}.so", hasher.finish()));
        if !made.exists() {
            compile(place, &made);
        }
        made
    })
}

/// Compiles it aside, so that another test program never loads half of it.
fn compile(place: &Path, made: &Path) {
    let folder = tempfile::tempdir_in(place).unwrap();
    let output = folder.path().join("shim.so");
    let mut command = Command::new("cc");
    command.args([
        "-shared", "-fPIC", "-O2", "-Wall", "-Wextra", "-Werror", "-o",
    ]);
    command.arg(&output);
    for (name, text) in SOURCES {
        let source = folder.path().join(name);
        fs::write(&source, text).unwrap();
        if Path::new(name).extension().is_some_and(|kind| kind == "c") {
            command.arg(source);
        }
    }
    let compiled = command.args(["-ldl", "-lpthread"]).status().unwrap();
    assert!(compiled.success(), "cc makes the shim");
    fs::rename(output, made).unwrap();
}
