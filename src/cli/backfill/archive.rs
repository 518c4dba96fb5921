//! Reads zip archives from front to back.
//!
//! An archive of 4 GB may come through a pipe, straight from the download, or be cut off at its end. So
//! this reads the entries in order, each behind its own header, and never seeks to the directory at the
//! end. It reads stored and deflated entries, with sizes before or behind them, in the 32-bit and the
//! 64-bit form, and verifies each checksum.
//!
//! A fault in an entry costs the rest of that entry. The reader then searches for the next header, by
//! more than its signature. It skips the directory and leaves what follows to the caller, since archives
//! are joined by concatenation.

use std::io::{self, BufRead, BufReader, Read};

use crate::cli::CommandFailure;
use crate::cli::backfill::archive::content::EntryContent;
use crate::cli::backfill::budget::Budget;
use crate::cli::backfill::rewind::RewindReader;

mod content;

/// Begins an entry's header.
const ENTRY: u32 = 0x0403_4b50;
/// Begins an entry's record in the directory.
const DIRECTORY: u32 = 0x0201_4b50;
/// Begins a signature of the directory.
const DIRECTORY_SIGNED: u32 = 0x0505_4b50;
/// Begins the end of the directory, its 64-bit form, and the record that locates that form.
const END: u32 = 0x0605_4b50;
const LARGE_END: u32 = 0x0606_4b50;
const LARGE_END_PLACE: u32 = 0x0706_4b50;
/// Begins the record before an encrypted directory.
const EXTRA_DATA: u32 = 0x0806_4b50;
/// Optionally begins the sizes behind an entry; also begins an archive that was meant to be split.
const SIZES: u32 = 0x0807_4b50;
/// Begins an archive that was meant to be split and was not.
const NOT_SPLIT: u32 = 0x3030_4b50;

/// The sizes follow the entry.
const SIZES_BEHIND: u16 = 1 << 3;
const ENCRYPTED: u16 = 1;
const STORED: u16 = 0;
const DEFLATED: u16 = 8;
/// The methods that have a number.
const METHODS: [std::ops::RangeInclusive<u16>; 2] = [0..=20, 93..=99];
/// The latest version of the format that a header can ask for.
const LATEST: u8 = 63;
/// Says that a size stands in the extra fields.
const ELSEWHERE: u32 = u32::MAX;
/// The extra field that holds 64-bit sizes.
const LARGE: u16 = 1;
/// The length of the fixed part of an entry's header, and of its record in the directory.
const HEADER: usize = 30;
const DESCRIPTION: usize = 46;
/// The longest form of the sizes behind an entry.
const LONGEST_SIZES: usize = 24;
/// Bytes to unpack of an entry at once.
const BUFFER: usize = 64 << 10;

/// How many bytes show whether an archive or an entry begins.
pub(super) const BEGINNING: usize = HEADER;

/// What is found in an archive.
pub(super) enum ArchiveItem<'c> {
    /// The content of an entry. The reader skips what a visitor leaves of it.
    Content(&'c mut dyn BufRead),
    /// What is wrong with an entry; it follows the content, where that could be read in part.
    Fault(String),
}

/// Whether these bytes begin an archive.
pub(super) fn begins(bytes: &[u8]) -> bool {
    match number_at(bytes, 0) {
        Some(SIZES | NOT_SPLIT) => number_at(bytes, 4) == Some(ENTRY),
        Some(END | LARGE_END | DIRECTORY) => true,
        _ => begins_entry(bytes),
    }
}

/// Whether these bytes begin an entry. The signature alone would also match damaged content.
fn begins_entry(bytes: &[u8]) -> bool {
    number_at(bytes, 0) == Some(ENTRY)
        && bytes.get(4).is_some_and(|version| *version <= LATEST)
        && half_at(bytes, 8)
            .is_some_and(|method| METHODS.iter().any(|methods| methods.contains(&method)))
        && half_at(bytes, 26).is_some_and(|name| name > 0)
}

/// Visits the items of an archive, by the names of their entries. A fault that concerns no entry comes
/// without a name.
type VisitItem<'v> = dyn FnMut(&str, ArchiveItem<'_>) -> Result<(), CommandFailure> + 'v;

/// Visits every entry up to the end of the archive or of the input.
pub(super) fn each_entry(
    input: &mut RewindReader<'_>,
    budget: &Budget,
    visit: &mut VisitItem<'_>,
) -> Result<(), CommandFailure> {
    if matches!(signature(input), Ok(Some(SIZES | NOT_SPLIT))) {
        input.consume(4);
    }
    let mut entries = 0_u64;
    while !budget.is_spent() {
        let fault = match signature(input) {
            Ok(Some(ENTRY)) => {
                entries += 1;
                visit_entry(input, budget, visit)?;
                continue;
            }
            Ok(Some(DIRECTORY | LARGE_END | END | EXTRA_DATA)) => {
                // The entries are read, so a directory that is cut off costs nothing.
                match pass_directory(input) {
                    Some(listed) if listed < entries => UNLISTED.to_owned(),
                    _ => return Ok(()),
                }
            }
            Ok(None) => {
                input.skip(u64::MAX);
                CUT_OFF.to_owned()
            }
            Ok(Some(_)) => {
                let what = "no entry begins where one should".to_owned();
                visit("", ArchiveItem::Fault(what))?;
                if find_next(input) {
                    continue;
                }
                return Ok(());
            }
            Err(error) => in_words(&error),
        };
        return visit("", ArchiveItem::Fault(fault));
    }
    Ok(())
}

pub(super) const CUT_OFF: &str = "it is cut off";
/// Where an archive ends between two entries, the next directory is that of the archive joined to it.
const UNLISTED: &str =
    "its directory does not list every file in it: an archive before it is cut off";

/// What an error of reading means.
pub(super) fn in_words(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => CUT_OFF.to_owned(),
        io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData => {
            format!("it is damaged: {error}")
        }
        _ => error.to_string(),
    }
}

fn visit_entry(
    input: &mut RewindReader<'_>,
    budget: &Budget,
    visit: &mut VisitItem<'_>,
) -> Result<(), CommandFailure> {
    input.mark();
    let entry = match EntryHeader::read(input) {
        Ok(entry) => entry,
        Err(error) => {
            let what = format!("the header of an entry: {}", in_words(&error));
            visit("", ArchiveItem::Fault(what))?;
            search(input);
            return Ok(());
        }
    };
    let fault = match entry.unreadable() {
        Some(what) => {
            input.skip(entry.sizes.map_or(0, |sizes| sizes.packed));
            find_again(input);
            Some(what.to_owned())
        }
        None => visit_content(input, budget, &entry, visit)?,
    };
    fault.map_or(Ok(()), |what| visit(&entry.name, ArchiveItem::Fault(what)))
}

/// Has the content of an entry visited; returns what is wrong with it.
fn visit_content(
    input: &mut RewindReader<'_>,
    budget: &Budget,
    entry: &EntryHeader,
    visit: &mut VisitItem<'_>,
) -> Result<Option<String>, CommandFailure> {
    let content = EntryContent::new(input, budget, entry);
    let mut content = BufReader::with_capacity(BUFFER, content);
    visit(&entry.name, ArchiveItem::Content(&mut content))?;
    if content.get_ref().error.is_none() {
        // The reader notes a fault as it meets it.
        io::copy(&mut content, &mut io::sink()).ok();
    }
    let content = content.into_inner();
    let rest = content.rest();
    let EntryContent {
        checksum,
        bytes,
        error,
        ..
    } = content;
    let checksum = checksum.finalize();
    let is_damaged = error.is_some();
    let is_right = match entry.sizes {
        _ if is_damaged => false,
        Some(sizes) => (checksum, bytes, rest) == (sizes.checksum, sizes.unpacked, 0),
        None => {
            let behind = input.peek(LONGEST_SIZES).unwrap_or_default();
            let length = sizes_behind(behind, checksum, u64::MAX - rest, bytes);
            input.consume(length.unwrap_or(0));
            length.is_some()
        }
    };
    if is_right {
        return Ok(None);
    }
    let fault = error.unwrap_or_else(|| {
        let is_at_end = input.peek(1).is_ok_and(<[u8]>::is_empty);
        let what = if is_at_end {
            CUT_OFF
        } else {
            "it is not what its checksum or size says"
        };
        what.to_owned()
    });
    if entry.sizes.is_some() {
        // Content that ends early may also mean that the size is wrong.
        if !stands_at_next(input) {
            input.skip(rest);
        }
        find_again(input);
    } else if is_damaged {
        // Unpacking may have run on over the next entry.
        search(input);
    } else {
        find_again(input);
    }
    Ok(Some(fault))
}

/// Goes on to the next entry, unless one begins here.
fn find_again(input: &mut RewindReader<'_>) {
    if !stands_at_next(input) {
        search(input);
    }
}

/// Searches for the next entry from the beginning of this one, since reading it may have run on over the
/// next.
fn search(input: &mut RewindReader<'_>) {
    input.rewind();
    input.skip(1);
    find_next(input);
}

/// Goes on to the next entry or to the directory; returns whether there is one.
fn find_next(input: &mut RewindReader<'_>) -> bool {
    input.find(HEADER, is_next, *b"PP").unwrap_or(false)
}

fn stands_at_next(input: &mut RewindReader<'_>) -> bool {
    input.peek(HEADER).is_ok_and(is_next)
}

fn is_next(bytes: &[u8]) -> bool {
    match number_at(bytes, 0) {
        Some(DIRECTORY) => bytes.get(6).is_some_and(|version| *version <= LATEST),
        Some(END | LARGE_END) => true,
        _ => begins_entry(bytes),
    }
}

/// Skips the directory, up to its end or, where it is damaged, to the next archive, which may begin
/// anywhere. Returns how many entries it lists, where it is whole.
fn pass_directory(input: &mut RewindReader<'_>) -> Option<u64> {
    let mut listed = Some(0);
    loop {
        input.mark();
        let record = input.peek(DESCRIPTION).unwrap_or_default();
        let signature = number_at(record, 0);
        if let Some(length) = length_in_directory(record) {
            let record = input.peek(length + HEADER).unwrap_or_default();
            if let Some(place) = entry_within(record) {
                input.skip(place as u64);
                return listed.filter(|_| signature == Some(END) && place >= length);
            }
            input.skip(length as u64);
            if signature == Some(END) {
                return listed;
            }
            listed = listed.map(|listed| listed + u64::from(signature == Some(DIRECTORY)));
            if stands_in_directory(input) {
                continue;
            }
        }
        listed = None;
        search(input);
        if !stands_in_directory(input) {
            return None;
        }
    }
}

/// Where an entry begins in a record that is cut off.
fn entry_within(record: &[u8]) -> Option<usize> {
    memchr::memchr_iter(b'P', record).find(|place| record.get(*place..).is_some_and(begins_entry))
}

fn stands_in_directory(input: &mut RewindReader<'_>) -> bool {
    matches!(
        signature(input),
        Ok(Some(
            DIRECTORY | DIRECTORY_SIGNED | EXTRA_DATA | LARGE_END | LARGE_END_PLACE | END
        ))
    )
}

/// The length of a record of the directory, by its beginning.
fn length_in_directory(record: &[u8]) -> Option<usize> {
    let half = |place| half_at(record, place).map(usize::from);
    Some(match number_at(record, 0)? {
        DIRECTORY => DESCRIPTION + half(28)? + half(30)? + half(32)?,
        DIRECTORY_SIGNED => 6 + half(4)?,
        // The upper half of these lengths is zero, except by damage.
        EXTRA_DATA => 8 + half(4)?,
        LARGE_END => 12 + half(4)?,
        LARGE_END_PLACE => 20,
        END => 22 + half(20)?,
        _ => return None,
    })
}

/// The header of an entry.
#[derive(Debug)]
struct EntryHeader {
    name: String,
    flags: u16,
    method: u16,
    /// `None` where the sizes follow the entry.
    sizes: Option<HeaderSizes>,
}

/// The checksum and sizes of an entry, from its header.
#[derive(Clone, Copy, Debug)]
struct HeaderSizes {
    checksum: u32,
    packed: u64,
    unpacked: u64,
}

impl EntryHeader {
    fn read(input: &mut RewindReader<'_>) -> io::Result<Self> {
        let head = input.peek(HEADER)?;
        if !begins_entry(head) {
            return Err(if head.len() < HEADER {
                cut_off()
            } else {
                damaged("it names no method")
            });
        }
        let half = |place| half_at(head, place).ok_or_else(cut_off);
        let number = |place| number_at(head, place).ok_or_else(cut_off);
        let (flags, method, checksum) = (half(6)?, half(8)?, number(14)?);
        let (packed, unpacked) = (number(18)?, number(22)?);
        let (name, extra) = (half(26)?, half(28)?);
        input.consume(HEADER);
        let name = bytes(input, name)?;
        let extra = bytes(input, extra)?;
        let mut sizes = None;
        if flags & SIZES_BEHIND == 0 {
            let mut large_sizes = field(&extra, LARGE).as_chunks().0.iter();
            let mut size = |short: u32| match short {
                ELSEWHERE => large_sizes.next().map(|long| u64::from_le_bytes(*long)),
                short => Some(short.into()),
            };
            let (unpacked, packed) = (size(unpacked), size(packed));
            let (unpacked, packed) = unpacked
                .zip(packed)
                .ok_or_else(|| damaged("it has no size"))?;
            sizes = Some(HeaderSizes {
                checksum,
                packed,
                unpacked,
            });
        }
        Ok(Self {
            name: String::from_utf8_lossy(&name).into_owned(),
            flags,
            method,
            sizes,
        })
    }

    /// Why its content cannot be read, if so.
    const fn unreadable(&self) -> Option<&'static str> {
        if self.flags & ENCRYPTED != 0 {
            Some("it is encrypted")
        } else if matches!(self.method, STORED | DEFLATED) {
            None
        } else {
            Some(
                "it is packed in a way that is not known here; pack it anew, as zip does by default",
            )
        }
    }
}

/// The content of an extra field; empty where it is missing.
fn field(mut extra: &[u8], wanted: u16) -> &[u8] {
    while let Some(([k0, k1, s0, s1], rest)) = extra.split_first_chunk() {
        let size = usize::from(u16::from_le_bytes([*s0, *s1])).min(rest.len());
        let (content, after) = rest.split_at(size);
        if u16::from_le_bytes([*k0, *k1]) == wanted {
            return content;
        }
        extra = after;
    }
    &[]
}

fn signature(input: &mut RewindReader<'_>) -> io::Result<Option<u32>> {
    Ok(number_at(input.peek(4)?, 0))
}

fn number_at(bytes: &[u8], place: usize) -> Option<u32> {
    let number = bytes.get(place..)?.first_chunk()?;
    Some(u32::from_le_bytes(*number))
}

fn half_at(bytes: &[u8], place: usize) -> Option<u16> {
    let half = bytes.get(place..)?.first_chunk()?;
    Some(u16::from_le_bytes(*half))
}

fn bytes(input: &mut impl Read, count: u16) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; count.into()];
    input.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// The length of the checksum and sizes that follow an entry, if these bytes are them. Nothing says whether
/// they have a signature, nor whether each size has four bytes or eight; but their values are known by now.
fn sizes_behind(bytes: &[u8], checksum: u32, packed: u64, unpacked: u64) -> Option<usize> {
    [4, 0].into_iter().find_map(|start| {
        let is_signed = start == 0 || number_at(bytes, 0) == Some(SIZES);
        if !is_signed || number_at(bytes, start)? != checksum {
            return None;
        }
        [8, 4].into_iter().find_map(|size| {
            let at = |place| match size {
                4 => number_at(bytes, place).map(u64::from),
                _ => bytes
                    .get(place..)?
                    .first_chunk()
                    .map(|long| u64::from_le_bytes(*long)),
            };
            // The short form holds the lower half of a large size.
            let tells = |place, known: u64| {
                at(place)
                    .is_some_and(|told| told == known || size == 4 && told == known & 0xffff_ffff)
            };
            let first = start + 4;
            (tells(first, packed) && tells(first + size, unpacked)).then_some(first + 2 * size)
        })
    })
}

fn cut_off() -> io::Error {
    io::ErrorKind::UnexpectedEof.into()
}

fn damaged(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
pub(super) mod tests;
