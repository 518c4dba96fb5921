//! Finds the texts in a file: its first bytes tell a zip archive, a gzip file and a text apart, each behind
//! another and within another. Everything is read from front to back, in constant memory.
//!
//! Damage costs the rest of its part; the next part is found and read. Parts without events are skipped, by
//! name or by content.

use std::io::{self, BufRead, BufReader, Read};

use flate2::bufread::GzDecoder;

use crate::cli::CommandFailure;
use crate::cli::backfill::archive::{self, ArchiveItem};
use crate::cli::backfill::budget::Budget;
use crate::cli::backfill::lines::{Form, without_marks};
use crate::cli::backfill::rewind::RewindReader;
use crate::cli::backfill::utf16::{ByteOrder, Utf16};

/// Begins a gzip file, with the only method that exists.
const GZIP: &[u8] = &[0x1f, 0x8b, 8];
/// Begins a file of metadata that macOS keeps (`AppleDouble`, `AppleSingle`).
const APPLE: [&[u8]; 2] = [&[0, 5, 0x16, 7], &[0, 5, 0x16, 0]];
/// Beginnings of formats that may hold events, and are not supported.
const UNREAD: [(&[u8], &str); 13] = [
    (b"BZh", "packed with bzip2"),
    (b"\xfd7zXZ\0", "packed with xz"),
    (b"\x28\xb5\x2f\xfd", "packed with zstd"),
    (b"\x04\x22\x4d\x18", "packed with LZ4"),
    (b"\xff\x06\0\0sNaPpY", "packed with Snappy"),
    (b"LZIP", "packed with lzip"),
    (b"\x1f\x9d", "packed with compress"),
    (b"7z\xbc\xaf\x27\x1c", "an archive of 7-Zip"),
    (b"Rar!\x1a\x07", "an archive of RAR"),
    (b"PAR1", "a Parquet file"),
    (b"ORC", "an ORC file"),
    (b"Obj\x01", "an Avro file"),
    (b"ARROW1", "an Arrow file"),
];
/// A text in the first header of a tar archive, and its place.
const TAR: &[u8] = b"ustar";
const TAR_PLACE: usize = 257;
/// File name extensions of formats that may hold events, supported or not.
const EVENT_ENDINGS: [&str; 19] = [
    "json", "ndjson", "jsonl", "zip", "tar", "tgz", "bz2", "xz", "zst", "lz4", "br", "7z", "rar",
    "parquet", "orc", "avro", "gpg", "pgp", "enc",
];
/// How many bytes show what begins.
const BEGINNING: usize = 512;
/// The length of the fixed part of a gzip header.
const GZIP_HEADER: usize = 10;
/// Bytes to unpack at once.
const BUFFER: usize = 64 << 10;
/// How deep archives may be nested; an export has two levels.
const DEEPEST: usize = 6;

/// A part of what is read.
pub(super) enum InputPart<'c, 'i> {
    /// A text.
    Text {
        text: &'c mut RewindReader<'i>,
        form: Form,
        /// What to expect of it by its name.
        expected: Expectation,
    },
    /// Nothing that could hold events.
    Unrelated,
    /// What is wrong with it; this may follow its text.
    Damaged(String),
}

/// Takes parts, by their names; the name of a file itself is empty. Returns whether something packed is
/// joined to a text.
pub(super) type Visit<'v> = dyn FnMut(&str, InputPart<'_, '_>) -> Result<bool, CommandFailure> + 'v;

/// Visits every part of a file.
pub(super) fn each_part(
    input: &mut dyn BufRead,
    budget: &Budget,
    visit: &mut Visit<'_>,
) -> Result<(), CommandFailure> {
    let place = PartPosition {
        name: "",
        expected: Expectation::Events,
        depth: 0,
    };
    PartVisitor { budget, visit }.content(RewindReader::new(input), place)
}

/// What to expect of a file by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expectation {
    Events,
    /// Events, or a description of the files beside it.
    Json,
    Unrelated,
    /// The name says nothing.
    None,
}

impl Expectation {
    /// Exports to S3 also hold markers, and files of ids that were merged, which begin with a dash
    /// (Amplitude: Amazon S3 export); archives made on a Mac hold a twin of each file.
    fn of(path: &str) -> Self {
        let name = path.rsplit(['/', '\\']).next().unwrap_or(path);
        let is_twin =
            name.starts_with("._") || path.split(['/', '\\']).any(|part| part == "__MACOSX");
        if is_twin || name.starts_with('-') {
            return Self::Unrelated;
        }
        let name = name.to_ascii_lowercase();
        let bare = name.strip_suffix(".gz").unwrap_or(&name);
        match bare.rsplit_once('.') {
            Some((_, "json")) if bare == name => Self::Json,
            Some((_, ending)) if EVENT_ENDINGS.contains(&ending) => Self::Events,
            _ => Self::None,
        }
    }

    /// Whether a text without an event is no damage where this is expected.
    pub(super) const fn allows_no_event(self, is_other_json: bool) -> bool {
        match self {
            Self::Events => false,
            Self::Json => is_other_json,
            Self::Unrelated | Self::None => true,
        }
    }
}

/// What begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PartKind {
    Archive,
    Gzip,
    Text,
    Utf16(ByteOrder),
    Unrelated,
    /// A format that may hold events and is not supported.
    Unread(&'static str),
    Unknown,
    /// Nothing.
    End,
}

impl PartKind {
    fn of(beginning: &[u8]) -> Self {
        let text = without_marks(beginning).trim_ascii_start();
        if beginning.is_empty() {
            Self::End
        } else if archive::begins(beginning) {
            Self::Archive
        } else if beginning.starts_with(GZIP) {
            Self::Gzip
        } else if APPLE.iter().any(|start| beginning.starts_with(start)) {
            Self::Unrelated
        } else if let Some(order) = ByteOrder::of(beginning) {
            Self::Utf16(order)
        } else if text.starts_with(b"{") || text.starts_with(b"[") || is_text(beginning) {
            Self::Text
        } else if let Some(what) = unread(beginning) {
            Self::Unread(what)
        } else {
            Self::Unknown
        }
    }
}

/// Whether no control character is among these bytes but white space.
fn is_text(bytes: &[u8]) -> bool {
    bytes
        .iter()
        .all(|byte| *byte >= b' ' || byte.is_ascii_whitespace())
}

/// The name of an unsupported format that begins so.
fn unread(beginning: &[u8]) -> Option<&'static str> {
    let known = UNREAD
        .iter()
        .find(|(start, _)| beginning.starts_with(start));
    let is_tar = || {
        beginning
            .get(TAR_PLACE..)?
            .starts_with(TAR)
            .then_some("a tar archive")
    };
    known.map(|(_, what)| *what).or_else(is_tar)
}

/// The place of a content.
#[derive(Clone, Copy)]
struct PartPosition<'n> {
    name: &'n str,
    /// What to expect of it by its name.
    expected: Expectation,
    /// How many archives and files are around it.
    depth: usize,
}

impl PartPosition<'_> {
    /// The place of what is unpacked of it.
    const fn within(self) -> Self {
        Self {
            depth: self.depth + 1,
            ..self
        }
    }
}

/// Visits the parts of a file.
struct PartVisitor<'v, 'f> {
    budget: &'v Budget,
    visit: &'v mut Visit<'f>,
}

impl PartVisitor<'_, '_> {
    /// Visits the parts that are joined in a content.
    fn content(
        &mut self,
        mut input: RewindReader<'_>,
        place: PartPosition<'_>,
    ) -> Result<(), CommandFailure> {
        let mut is_first = true;
        while !self.budget.is_spent() {
            if !is_first {
                skip_padding(&mut input);
            }
            let beginning = match input.peek(BEGINNING) {
                Ok(beginning) => beginning,
                Err(error) => return self.damaged(place, archive::in_words(&error)),
            };
            let kind = PartKind::of(beginning);
            match kind {
                PartKind::End => return Ok(()),
                PartKind::Archive | PartKind::Gzip | PartKind::Utf16(_)
                    if place.depth == DEEPEST =>
                {
                    let what = "too many archives are nested in each other";
                    return self.damaged(place, what.to_owned());
                }
                PartKind::Archive => {
                    let budget = self.budget;
                    archive::each_entry(&mut input, budget, &mut |name, item| {
                        self.entry(name, item, place)
                    })?;
                }
                PartKind::Gzip => input = self.gzip(input, place)?,
                PartKind::Utf16(order) => {
                    let mut text = BufReader::with_capacity(BUFFER, Utf16::new(&mut input, order));
                    return self.content(RewindReader::new(&mut text), place.within());
                }
                PartKind::Text => {
                    let part = InputPart::Text {
                        form: Form::of(beginning),
                        text: &mut input,
                        expected: place.expected,
                    };
                    if !(self.visit)(place.name, part)? {
                        return Ok(());
                    }
                }
                PartKind::Unrelated => return self.unrelated(place.name),
                PartKind::Unknown if is_first && place.expected.allows_no_event(false) => {
                    return self.unrelated(place.name);
                }
                PartKind::Unread(_) | PartKind::Unknown => {
                    self.damaged(place, unread_in_words(kind))?;
                    let begins = |bytes: &[u8]| archive::begins(bytes) || begins_gzip(bytes);
                    let found = input.find(archive::BEGINNING, begins, [b'P', GZIP[0]]);
                    if place.depth > 0 || !found.is_ok_and(|found| found) {
                        return Ok(());
                    }
                }
            }
            is_first = false;
        }
        self.damaged(place, "the rest of it is not read".to_owned())
    }

    /// Visits an item of an archive.
    fn entry(
        &mut self,
        name: &str,
        item: ArchiveItem<'_>,
        archive: PartPosition<'_>,
    ) -> Result<(), CommandFailure> {
        let path = match (archive.name, name) {
            ("", name) | (name, "") => name.to_owned(),
            (archive, name) => format!("{archive}/{name}"),
        };
        let place = PartPosition {
            name: &path,
            expected: Expectation::of(name),
            depth: archive.depth + 1,
        };
        match item {
            ArchiveItem::Fault(what) => self.damaged(place, what),
            // A folder has no content.
            ArchiveItem::Content(_) if name.ends_with('/') => Ok(()),
            ArchiveItem::Content(_) if place.expected == Expectation::Unrelated => {
                self.unrelated(&path)
            }
            ArchiveItem::Content(input) => self.content(RewindReader::new(input), place),
        }
    }

    /// Visits the content of consecutive gzip members; returns the input behind the last.
    fn gzip<'i>(
        &mut self,
        input: RewindReader<'i>,
        place: PartPosition<'_>,
    ) -> Result<RewindReader<'i>, CommandFailure> {
        let mut members = JoinedMembers::new(input, self.budget);
        let mut unpacked = BufReader::with_capacity(BUFFER, &mut members);
        self.content(RewindReader::new(&mut unpacked), place.within())?;
        // What was skipped may be damaged too; the reader notes a fault as it meets it.
        if unpacked.get_ref().error.is_none() {
            io::copy(&mut unpacked, &mut io::sink()).ok();
        }
        let error = members.error.take();
        let mut input = members.into_input();
        if let Some(what) = error {
            self.damaged(place, what)?;
            // The damage may be anywhere in the member, and reading may have run on over the next.
            input.rewind();
            input.skip(1);
            input.find(GZIP_HEADER, begins_gzip, [GZIP[0]; 2]).ok();
        }
        Ok(input)
    }

    fn damaged(&mut self, place: PartPosition<'_>, what: String) -> Result<(), CommandFailure> {
        (self.visit)(place.name, InputPart::Damaged(what)).map(drop)
    }

    fn unrelated(&mut self, name: &str) -> Result<(), CommandFailure> {
        (self.visit)(name, InputPart::Unrelated).map(drop)
    }
}

/// Skips what some programs fill the last block of a file with.
fn skip_padding(input: &mut RewindReader<'_>) {
    while let Ok(buffer) = input.fill_buf() {
        let is_padding = |byte: &u8| *byte == 0 || byte.is_ascii_whitespace();
        let padding = buffer.iter().take_while(|byte| is_padding(byte)).count();
        if padding == 0 {
            return;
        }
        input.consume(padding);
    }
}

fn unread_in_words(kind: PartKind) -> String {
    if let PartKind::Unread(what) = kind {
        format!(
            "it is {what}, which is not supported: pass its lines as plain text, or packed with gzip or zip"
        )
    } else {
        "it is not an export: neither a zip archive, nor a gzip file, nor text".to_owned()
    }
}

/// Whether these bytes begin a member. The first three alone would also match damaged content.
fn begins_gzip(bytes: &[u8]) -> bool {
    let is_known = |system: u8| system <= 13 || system == 255;
    matches!(
        bytes,
        [0x1f, 0x8b, 8, 0..=0x1f, _, _, _, _, 0 | 2 | 4, system, ..] if is_known(*system)
    )
}

/// The content of consecutive members. A line may begin in one and end in the next.
struct JoinedMembers<'i, 'b> {
    /// The member that is read; `None` only while the next takes its place.
    member: Option<GzDecoder<RewindReader<'i>>>,
    budget: &'b Budget,
    error: Option<String>,
}

impl<'i, 'b> JoinedMembers<'i, 'b> {
    fn new(input: RewindReader<'i>, budget: &'b Budget) -> Self {
        Self {
            member: Some(begin_member(input)),
            budget,
            error: None,
        }
    }

    fn into_input(self) -> RewindReader<'i> {
        let member = self
            .member
            .expect("a member is only gone while another takes its place");
        member.into_inner()
    }

    fn read_on(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while let Some(mut member) = self.member.take() {
            let read = member.read(out);
            let is_end = matches!(read, Ok(0)) && !out.is_empty();
            if !is_end || !member.get_mut().peek(GZIP_HEADER).is_ok_and(begins_gzip) {
                self.member = Some(member);
                return read;
            }
            self.member = Some(begin_member(member.into_inner()));
        }
        Ok(0)
    }
}

impl Read for JoinedMembers<'_, '_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.error.is_some() {
            return Ok(0);
        }
        self.read_on(out)
            .and_then(|count| self.budget.spend(count))
            .inspect_err(|error| self.error = Some(archive::in_words(error)))
    }
}

fn begin_member(mut input: RewindReader<'_>) -> GzDecoder<RewindReader<'_>> {
    input.mark();
    GzDecoder::new(input)
}

#[cfg(test)]
mod tests;
