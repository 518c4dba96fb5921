//! Looks for damage inside the write-ahead log, before `SQLite` reads it.
//!
//! `SQLite` takes the first frame that is not as it was written for the end of the log: after a power cut that is
//! what a half-written transaction looks like. But each commit is synced before the next transaction begins. So if
//! a frame of the same log lies behind a commit that lies at or behind the bad frame, that commit had been synced,
//! and so had the bad frame: that is no torn end, but damage, and transactions that were acknowledged are lost. Where
//! the index of the log in shared memory has survived, as after a kill, it names the last commit too.

use std::fs::File;
use std::io;
use std::path::Path;

/// Of a file's header, and of a frame's.
const FILE_HEADER: usize = 32;
const FRAME_HEADER: usize = 24;
/// What a damaged log has lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LostFrames {
    pub(super) frames: u64,
    /// Transactions that they committed, as far as can be seen.
    pub(super) commits: u64,
    /// The store's file holds more than the part of the log before the damage, which must not cover it.
    pub(super) is_stale: bool,
}

/// What the index of a log in shared memory tells.
#[derive(Clone, Copy, Debug)]
struct LogIndex {
    /// The last committed frame.
    committed: u64,
    /// How many frames are in the store's file, durably.
    copied: u64,
}

/// The running checksum of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct RunningSum(u32, u32);

impl RunningSum {
    fn add(self, bytes: &[u8], word: fn([u8; 4]) -> u32) -> Self {
        let (words, _) = bytes.as_chunks::<4>();
        let (pairs, _) = words.as_chunks::<2>();
        pairs.iter().fold(self, |Self(first, second), [one, two]| {
            let first = first.wrapping_add(word(*one)).wrapping_add(second);
            let second = second.wrapping_add(word(*two)).wrapping_add(first);
            Self(first, second)
        })
    }
}

/// What a log holds.
#[derive(Clone, Copy, Debug)]
pub(super) struct LookAtLog {
    /// What `SQLite` is going to pass over though it had been synced.
    pub(super) lost: Option<LostFrames>,
    /// The last frame that `SQLite` must find committed.
    pub(super) committed: u64,
}

/// Finds what `SQLite` is going to pass over in a log though it had been synced.
pub(super) fn lost_frames(log: &Path, shared: &Path) -> io::Result<Option<LostFrames>> {
    Ok(look(log, shared)?.and_then(|log| log.lost))
}

/// Looks through a log; `None` where nothing is in it.
pub(super) fn look(log: &Path, shared: &Path) -> io::Result<Option<LookAtLog>> {
    let file = match File::open(log) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened?,
    };
    let mut file = io::BufReader::with_capacity(1 << 18, file);
    let mut header = [0; FILE_HEADER];
    if !read_whole(&mut file, &mut header)? {
        return Ok(None);
    }
    let big_endian = number(&header, 0) & 1 == 1;
    let word: fn([u8; 4]) -> u32 = if big_endian {
        u32::from_be_bytes
    } else {
        u32::from_le_bytes
    };
    let sound_header = number(&header, 0) & !1 == 0x377f_0682
        && RunningSum(0, 0).add(&header[..24], word)
            == RunningSum(number(&header, 24), number(&header, 28));
    // The first frame's salts tell as well what log this is.
    let mut salts = [0; 8];
    salts.copy_from_slice(&header[16..24]);
    let page = match number(&header, 8) as usize {
        size @ 512..=65536 if size.is_power_of_two() && sound_header => size,
        _ => 4096,
    };
    let index = log_index(shared, salts);
    let mut sum = RunningSum(number(&header, 24), number(&header, 28));
    let mut frame = vec![0; FRAME_HEADER + page];
    let mut log = LogScan {
        is_broken: !sound_header,
        ..LogScan::default()
    };
    while read_whole(&mut file, &mut frame)? {
        log.frames += 1;
        if log.frames == 1 && !sound_header {
            salts.copy_from_slice(&frame[8..16]);
        }
        let is_ours = frame[8..16] == salts;
        let stored = RunningSum(number(&frame, 16), number(&frame, 20));
        let is_next = sum.add(&frame[..8], word).add(&frame[FRAME_HEADER..], word) == stored;
        sum = stored;
        log.add(is_ours, is_ours && is_next, number(&frame, 4) != 0);
    }
    let found = LookAtLog {
        lost: log.lost(index),
        committed: log.recovered,
    };
    let has_any = found.committed > 0 || found.lost.is_some();
    Ok(has_any.then_some(found))
}

/// What was seen of a log so far.
#[derive(Debug, Default)]
struct LogScan {
    frames: u64,
    /// The chain of checksums has ended.
    is_broken: bool,
    /// The last commit before that.
    recovered: u64,
    /// Commits of this log at or behind the first bad frame.
    commits: u64,
    /// The last sound frame behind one of those; 0 if there is none.
    last_frame: u64,
}

impl LogScan {
    /// Adds a frame: whether it has this log's salts, whether it is as it was written, whether it is a commit.
    fn add(&mut self, is_ours: bool, is_sound: bool, is_commit: bool) {
        self.is_broken |= !is_sound;
        if !self.is_broken {
            if is_commit {
                self.recovered = self.frames;
            }
            return;
        }
        if is_sound && self.commits > 0 {
            self.last_frame = self.frames;
        }
        if is_ours && is_commit {
            self.commits += 1;
        }
    }

    fn lost(&self, index: Option<LogIndex>) -> Option<LostFrames> {
        let index = index.filter(|index| index.committed > self.recovered);
        if self.last_frame == 0 && index.is_none() {
            return None;
        }
        let copied = index.map_or(0, |index| index.copied);
        let last = index.map_or(self.last_frame, |index| index.committed);
        let frames = last.saturating_sub(self.recovered.max(copied));
        Some(LostFrames {
            frames,
            commits: if frames == 0 { 0 } else { self.commits.max(1) },
            is_stale: copied > self.recovered,
        })
    }
}

/// The index of a log in shared memory, if it has survived and belongs to this log.
fn log_index(shared: &Path, salts: [u8; 8]) -> Option<LogIndex> {
    let mut bytes = [0; 100];
    let mut file = File::open(shared).ok()?;
    read_whole(&mut file, &mut bytes).ok()?.then_some(())?;
    // It is in this machine's byte order.
    let number = |place: usize| {
        let mut number = [0; 4];
        number.copy_from_slice(&bytes[place..place + 4]);
        u32::from_ne_bytes(number)
    };
    // Its header is written twice.
    let is_whole = bytes[..48] == bytes[48..96]
        && RunningSum(0, 0).add(&bytes[..40], u32::from_ne_bytes)
            == RunningSum(number(40), number(44));
    (is_whole && bytes[32..40] == salts).then(|| LogIndex {
        committed: number(16).into(),
        copied: number(96).into(),
    })
}

/// Fills the buffer; false at the end of the file.
fn read_whole(file: &mut impl io::Read, buffer: &mut [u8]) -> io::Result<bool> {
    match file.read_exact(buffer) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        read => read.map(|()| true),
    }
}

fn number(bytes: &[u8], place: usize) -> u32 {
    let mut number = [0; 4];
    number.copy_from_slice(&bytes[place..place + 4]);
    u32::from_be_bytes(number)
}
