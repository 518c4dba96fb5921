//! A library of C that is loaded before all others into the program under test, and stands between it and the
//! system: it falsifies the time of day, and refuses threads.
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
const SOURCES: [(&str, &str); 4] = [
    ("control.h", include_str!("control.h")),
    ("control.c", include_str!("control.c")),
    ("clock.c", include_str!("clock.c")),
    ("threads.c", include_str!("threads.c")),
];
const WORDS: u64 = 512;

/// A word of the control file, in the order of control.h.
#[derive(Clone, Copy)]
enum Word {
    ClockSeconds,
    NoThreads,
}

/// What one program, or several, are made to see.
pub struct Shim {
    path: PathBuf,
    control: File,
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
        Self { path, control }
    }

    /// What must stand in the environment of a program that is to see it.
    pub fn environment(&self) -> [(&'static str, OsString); 2] {
        [
            ("LD_PRELOAD", library().into()),
            ("SHIM_CONTROL", self.path.clone().into()),
        ]
    }

    /// Sets how many seconds the time of day is ahead of the true one; negative: behind.
    pub fn set_clock(&self, seconds: i64) {
        self.set(Word::ClockSeconds, seconds);
    }

    /// Sets whether no thread can be made.
    pub fn refuse_threads(&self, refuse: bool) {
        self.set(Word::NoThreads, refuse.into());
    }

    fn set(&self, word: Word, value: i64) {
        let place = word as u64 * 8;
        self.control
            .write_all_at(&value.to_ne_bytes(), place)
            .unwrap();
    }
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
