//! Reads zip archives from front to back.
//!
//! An archive of 4 GB may come through a pipe, straight from the download, or be cut off at its end.
//! So this reads the entries in their order, each behind its own header, and never needs to seek as
//! readers of the directory at the end do; what can be read before a fault is read. It knows entries
//! that are stored or deflated, with sizes before or behind them, and the large forms of both. Each
//! entry's checksum is verified.
//!
//! A fault of one entry costs what is behind it in that entry. The next one is found by its header, of
//! which not the signature alone must fit; the directory is passed over, and whatever follows it is the
//! caller's, since archives are joined by putting one behind the other.

use std::io::{self, BufRead, Read};

use flate2::bufread::DeflateDecoder;

use crate::cli::CommandFailure;
use crate::cli::backfill::archive::content::{
    ContentEnd, StoredContent, read_content, sizes_behind,
};
use crate::cli::backfill::budget::Budget;
use crate::cli::backfill::rewind::RewindReader;

mod content;

/// Begins an entry.
const ENTRY: u32 = 0x0403_4b50;
/// Begins the description of an entry in the directory.
const DIRECTORY: u32 = 0x0201_4b50;
/// Begins a signature of the directory.
const DIRECTORY_SIGNED: u32 = 0x0505_4b50;
/// Begins the directory's end, its large form, and what tells where that is.
const END: u32 = 0x0605_4b50;
const LARGE_END: u32 = 0x0606_4b50;
const LARGE_END_PLACE: u32 = 0x0706_4b50;
/// Begins what an encrypted directory is preceded by.
const EXTRA_DATA: u32 = 0x0806_4b50;
/// May begin sizes behind an entry, and begins archives that were meant to be split.
const SIZES: u32 = 0x0807_4b50;
/// Begins archives that were meant to be split, and were not.
const NOT_SPLIT: u32 = 0x3030_4b50;

/// The sizes follow the entry.
const SIZES_BEHIND: u16 = 1 << 3;
const ENCRYPTED: u16 = 1;
const STORED: u16 = 0;
const DEFLATED: u16 = 8;
/// The methods that were ever given a number.
const METHODS: [std::ops::RangeInclusive<u16>; 2] = [0..=20, 93..=99];
/// The latest version of the format that a header can ask for.
const LATEST: u8 = 63;
/// A size that stands in the large form's place instead.
const ELSEWHERE: u32 = u32::MAX;
/// The large form of sizes, among an entry's extra fields.
const LARGE: u16 = 1;
/// The fixed part of an entry's header, and of its description in the directory.
const HEADER: usize = 30;
const DESCRIPTION: usize = 46;
/// The longest form of the sizes behind an entry.
const LONGEST_SIZES: usize = 24;
/// Space for an entry's content.
const BUFFER: usize = 64 << 10;

/// How many bytes tell whether an archive, or an entry, begins.
pub(super) const BEGINNING: usize = HEADER;

/// What is found in an archive.
pub(super) enum ArchiveItem<'c> {
    /// The content of an entry. What a visitor leaves of it is passed over.
    Content(&'c mut dyn BufRead),
    /// What is wrong with an entry; it follows the content, where that could be read in part.
    Fault(String),
}

/// Whether an archive begins with these bytes.
pub(super) fn begins(bytes: &[u8]) -> bool {
    match number_at(bytes, 0) {
        Some(SIZES | NOT_SPLIT) => number_at(bytes, 4) == Some(ENTRY),
        Some(END | LARGE_END | DIRECTORY) => true,
        _ => begins_entry(bytes),
    }
}

/// Whether an entry begins with these bytes: with a signature alone, damaged content could be taken for
/// one.
fn begins_entry(bytes: &[u8]) -> bool {
    number_at(bytes, 0) == Some(ENTRY)
        && bytes.get(4).is_some_and(|version| *version <= LATEST)
        && half_at(bytes, 8)
            .is_some_and(|method| METHODS.iter().any(|methods| methods.contains(&method)))
        && half_at(bytes, 26).is_some_and(|name| name > 0)
}

/// Visits every entry, by its name, up to the end of the archive or of the input. A fault that concerns no
/// entry comes without a name.
pub(super) fn each_entry<R: BufRead>(
    input: &mut RewindReader<R>,
    budget: &Budget,
    visit: &mut dyn FnMut(&str, ArchiveItem<'_>) -> Result<(), CommandFailure>,
) -> Result<(), CommandFailure> {
    if matches!(signature(input), Ok(Some(SIZES | NOT_SPLIT))) {
        input.consume(4);
    }
    let mut entries = 0_u64;
    while !budget.is_spent() {
        match signature(input) {
            Ok(Some(ENTRY)) => {
                entries += 1;
                visit_entry(input, budget, visit)?;
            }
            Ok(Some(DIRECTORY | LARGE_END | END | EXTRA_DATA)) => {
                // Every entry was read: a directory that is cut off costs nothing.
                let listed = pass_directory(input);
                return match listed.filter(|listed| *listed < entries) {
                    Some(_) => visit("", ArchiveItem::Fault(UNLISTED.to_owned())),
                    None => Ok(()),
                };
            }
            Ok(None) => {
                pass(input, u64::MAX);
                return visit("", ArchiveItem::Fault(CUT_OFF.to_owned()));
            }
            Ok(Some(_)) => {
                visit(
                    "",
                    ArchiveItem::Fault("no entry begins where one should".to_owned()),
                )?;
                if !find_next(input) {
                    return Ok(());
                }
            }
            Err(error) => return visit("", ArchiveItem::Fault(in_words(&error))),
        }
    }
    Ok(())
}

pub(super) const CUT_OFF: &str = "it is cut off";
/// An archive that ends between two entries leaves them to the directory of the one joined to it.
const UNLISTED: &str = "its directory does not list every file in it: an archive that was joined to another is cut off";

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

fn visit_entry<R: BufRead>(
    input: &mut RewindReader<R>,
    budget: &Budget,
    visit: &mut dyn FnMut(&str, ArchiveItem<'_>) -> Result<(), CommandFailure>,
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
    let fault = match (entry.unreadable(), entry.sizes) {
        (None, Some(sizes)) => read_sized(input, budget, &entry, sizes, visit)?,
        (None, None) => read_unsized(input, budget, &entry, visit)?,
        (Some(what), sizes) => {
            if let Some(Sizes { packed, .. }) = sizes {
                pass(input, packed);
            }
            find_again(input);
            Some(what.to_owned())
        }
    };
    fault.map_or(Ok(()), |what| visit(&entry.name, ArchiveItem::Fault(what)))
}

/// Reads an entry whose sizes stand before it; gives what is wrong with it.
fn read_sized<R: BufRead>(
    input: &mut RewindReader<R>,
    budget: &Budget,
    entry: &EntryHeader,
    sizes: Sizes,
    visit: &mut dyn FnMut(&str, ArchiveItem<'_>) -> Result<(), CommandFailure>,
) -> Result<Option<String>, CommandFailure> {
    let (content, rest) = if entry.method == STORED {
        let end = ContentEnd::Told {
            checksum: entry.checksum,
            length: sizes.packed,
        };
        let mut stored = StoredContent::new(input, end);
        let content = read_content(&mut stored, budget, &entry.name, visit)?;
        (content, sizes.packed - stored.given)
    } else {
        let mut packed = (&mut *input).take(sizes.packed);
        let mut inflated = DeflateDecoder::new(&mut packed);
        let content = read_content(&mut inflated, budget, &entry.name, visit)?;
        (content, packed.limit())
    };
    if content.is(entry.checksum, sizes.unpacked) && rest == 0 {
        return Ok(None);
    }
    let fault = content.fault(input);
    // Content that ends early may mean that the size is wrong.
    if !stands_at_next(input) {
        pass(input, rest);
        find_again(input);
    }
    Ok(Some(fault))
}

/// Reads an entry whose sizes stand behind it; gives what is wrong with it.
fn read_unsized<R: BufRead>(
    input: &mut RewindReader<R>,
    budget: &Budget,
    entry: &EntryHeader,
    visit: &mut dyn FnMut(&str, ArchiveItem<'_>) -> Result<(), CommandFailure>,
) -> Result<Option<String>, CommandFailure> {
    let (content, packed) = if entry.method == STORED {
        let mut stored = StoredContent::new(input, ContentEnd::Behind);
        let content = read_content(&mut stored, budget, &entry.name, visit)?;
        (content, stored.given)
    } else {
        let mut inflated = DeflateDecoder::new(&mut *input);
        let content = read_content(&mut inflated, budget, &entry.name, visit)?;
        (content, inflated.total_in())
    };
    let checksum = content.checksum.clone().finalize();
    let behind = input.peek(LONGEST_SIZES).unwrap_or_default();
    if let Some(length) = sizes_behind(behind, checksum, packed, content.bytes)
        && content.error.is_none()
    {
        input.consume(length);
        return Ok(None);
    }
    // What is damaged may end anywhere, and so at a later entry than the next.
    let is_damaged = content.error.is_some();
    let fault = content.fault(input);
    if is_damaged {
        search(input);
    } else {
        find_again(input);
    }
    Ok(Some(fault))
}

/// Goes on to the next entry where none stands here.
fn find_again<R: BufRead>(input: &mut RewindReader<R>) {
    if !stands_at_next(input) {
        search(input);
    }
}

/// Searches for the next entry behind the beginning of this one, since what was read of it may have gone on
/// over the next.
fn search<R: BufRead>(input: &mut RewindReader<R>) {
    input.rewind();
    pass(input, 1);
    find_next(input);
}

/// Goes on to the next entry, or to the directory; gives whether there is one.
fn find_next<R: BufRead>(input: &mut RewindReader<R>) -> bool {
    input.find(HEADER, is_next, *b"PP").unwrap_or(false)
}

fn stands_at_next<R: BufRead>(input: &mut RewindReader<R>) -> bool {
    input.peek(HEADER).is_ok_and(is_next)
}

fn is_next(bytes: &[u8]) -> bool {
    match number_at(bytes, 0) {
        Some(DIRECTORY) => bytes.get(6).is_some_and(|version| *version <= LATEST),
        Some(END | LARGE_END) => true,
        _ => begins_entry(bytes),
    }
}

/// Passes the directory over, to its end or to the next archive: where it is damaged, that may begin anywhere.
/// Gives how many entries it lists, where it is whole.
fn pass_directory<R: BufRead>(input: &mut RewindReader<R>) -> Option<u64> {
    let mut listed = Some(0);
    loop {
        input.mark();
        let record = input.peek(DESCRIPTION).unwrap_or_default();
        let signature = number_at(record, 0);
        if let Some(length) = length_in_directory(record) {
            let record = input.peek(length + HEADER).unwrap_or_default();
            if let Some(place) = entry_within(record) {
                pass(input, place as u64);
                return listed.filter(|_| signature == Some(END) && place >= length);
            }
            pass(input, length as u64);
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

/// Where an entry begins in a record that was cut off.
fn entry_within(record: &[u8]) -> Option<usize> {
    memchr::memchr_iter(b'P', record).find(|place| record.get(*place..).is_some_and(begins_entry))
}

fn stands_in_directory<R: BufRead>(input: &mut RewindReader<R>) -> bool {
    matches!(
        signature(input),
        Ok(Some(
            DIRECTORY | DIRECTORY_SIGNED | EXTRA_DATA | LARGE_END | LARGE_END_PLACE | END
        ))
    )
}

/// How long a record of the directory is, by its beginning.
fn length_in_directory(record: &[u8]) -> Option<usize> {
    let half = |place| half_at(record, place).map(usize::from);
    Some(match number_at(record, 0)? {
        DIRECTORY => DESCRIPTION + half(28)? + half(30)? + half(32)?,
        DIRECTORY_SIGNED => 6 + half(4)?,
        // These may be far longer only where they are damaged.
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
    checksum: u32,
    /// `None` where they follow the entry.
    sizes: Option<Sizes>,
}

/// The sizes of an entry.
#[derive(Clone, Copy, Debug)]
struct Sizes {
    packed: u64,
    unpacked: u64,
}

impl EntryHeader {
    fn read<R: BufRead>(input: &mut RewindReader<R>) -> io::Result<Self> {
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
        Ok(Self {
            name: String::from_utf8_lossy(&name).into_owned(),
            flags,
            method,
            checksum,
            sizes: (flags & SIZES_BEHIND == 0)
                .then(|| large(packed, unpacked, &extra))
                .transpose()?,
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

/// The sizes, from the extra fields where they do not fit into the header.
fn large(packed: u32, unpacked: u32, extra: &[u8]) -> io::Result<Sizes> {
    let mut rest = field(extra, LARGE);
    let mut size = |short: u32| {
        if short != ELSEWHERE {
            return Ok::<_, io::Error>(u64::from(short));
        }
        let (long, after) = rest
            .split_first_chunk()
            .ok_or_else(|| damaged("it has no size"))?;
        rest = after;
        Ok(u64::from_le_bytes(*long))
    };
    let unpacked = size(unpacked)?;
    let packed = size(packed)?;
    Ok(Sizes { packed, unpacked })
}

/// One of the extra fields; empty where it is missing.
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

/// Passes bytes over, as many as there are.
fn pass<R: BufRead>(input: &mut RewindReader<R>, count: u64) {
    io::copy(&mut input.take(count), &mut io::sink()).ok();
}

fn signature<R: BufRead>(input: &mut RewindReader<R>) -> io::Result<Option<u32>> {
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

fn cut_off() -> io::Error {
    io::ErrorKind::UnexpectedEof.into()
}

fn damaged(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
pub(super) mod tests;
