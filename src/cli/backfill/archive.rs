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

use std::io::{self, BufRead, BufReader, Read};

use flate2::bufread::DeflateDecoder;

use crate::cli::Failure;
use crate::cli::backfill::budget::Budget;
use crate::cli::backfill::window::Window;

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
pub(super) enum Found<'c> {
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
    window: &mut Window<R>,
    budget: &Budget,
    visit: &mut dyn FnMut(&str, Found<'_>) -> Result<(), Failure>,
) -> Result<(), Failure> {
    if matches!(signature(window), Ok(Some(SIZES | NOT_SPLIT))) {
        window.consume(4);
    }
    while !budget.is_spent() {
        match signature(window) {
            Ok(Some(ENTRY)) => visit_entry(window, budget, visit)?,
            Ok(Some(DIRECTORY | LARGE_END | END | EXTRA_DATA)) => {
                // Every entry was read: a directory that is cut off costs nothing.
                pass_directory(window);
                return Ok(());
            }
            Ok(None) => {
                pass(window, u64::MAX);
                return visit("", Found::Fault(CUT_OFF.to_owned()));
            }
            Ok(Some(_)) => {
                visit(
                    "",
                    Found::Fault("no entry begins where one should".to_owned()),
                )?;
                if !find_next(window) {
                    return Ok(());
                }
            }
            Err(error) => return visit("", Found::Fault(in_words(&error))),
        }
    }
    Ok(())
}

const CUT_OFF: &str = "it is cut off";

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
    window: &mut Window<R>,
    budget: &Budget,
    visit: &mut dyn FnMut(&str, Found<'_>) -> Result<(), Failure>,
) -> Result<(), Failure> {
    window.mark();
    let entry = match Entry::read(window) {
        Ok(entry) => entry,
        Err(error) => {
            let what = format!("the header of an entry: {}", in_words(&error));
            visit("", Found::Fault(what))?;
            search(window);
            return Ok(());
        }
    };
    let fault = match (entry.unreadable(), entry.sizes) {
        (None, Some(sizes)) => read_sized(window, budget, &entry, sizes, visit)?,
        (None, None) => read_unsized(window, budget, &entry, visit)?,
        (Some(what), sizes) => {
            if let Some(Sizes { packed, .. }) = sizes {
                pass(window, packed);
            }
            find_again(window);
            Some(what.to_owned())
        }
    };
    fault.map_or(Ok(()), |what| visit(&entry.name, Found::Fault(what)))
}

/// Reads an entry whose sizes stand before it; gives what is wrong with it.
fn read_sized<R: BufRead>(
    window: &mut Window<R>,
    budget: &Budget,
    entry: &Entry,
    sizes: Sizes,
    visit: &mut dyn FnMut(&str, Found<'_>) -> Result<(), Failure>,
) -> Result<Option<String>, Failure> {
    let mut packed = (&mut *window).take(sizes.packed);
    let content = if entry.method == STORED {
        read_content(&mut packed, budget, &entry.name, visit)?
    } else {
        let mut inflated = DeflateDecoder::new(&mut packed);
        read_content(&mut inflated, budget, &entry.name, visit)?
    };
    let rest = packed.limit();
    if content.is(entry.checksum, sizes.unpacked) && rest == 0 {
        return Ok(None);
    }
    let fault = content.fault(window);
    // Content that ends early may mean that the size is wrong.
    if !stands_at_next(window) {
        pass(window, rest);
        find_again(window);
    }
    Ok(Some(fault))
}

/// Reads an entry whose sizes stand behind it; gives what is wrong with it.
fn read_unsized<R: BufRead>(
    window: &mut Window<R>,
    budget: &Budget,
    entry: &Entry,
    visit: &mut dyn FnMut(&str, Found<'_>) -> Result<(), Failure>,
) -> Result<Option<String>, Failure> {
    let (content, packed) = if entry.method == STORED {
        let mut stored = UntilSizes::new(window);
        let content = read_content(&mut stored, budget, &entry.name, visit)?;
        (content, stored.given)
    } else {
        let mut inflated = DeflateDecoder::new(&mut *window);
        let content = read_content(&mut inflated, budget, &entry.name, visit)?;
        (content, inflated.total_in())
    };
    let checksum = content.checksum.clone().finalize();
    let behind = window.peek(LONGEST_SIZES).unwrap_or_default();
    if let Some(length) = sizes_behind(behind, checksum, packed, content.bytes)
        && content.error.is_none()
    {
        window.consume(length);
        return Ok(None);
    }
    let fault = content.fault(window);
    find_again(window);
    Ok(Some(fault))
}

/// Goes on to the next entry where none stands here.
fn find_again<R: BufRead>(window: &mut Window<R>) {
    if !stands_at_next(window) {
        search(window);
    }
}

/// Searches for the next entry behind the beginning of this one, since what was read of it may have gone on
/// over the next.
fn search<R: BufRead>(window: &mut Window<R>) {
    window.back();
    pass(window, 1);
    find_next(window);
}

/// Goes on to the next entry, or to the directory; gives whether there is one.
fn find_next<R: BufRead>(window: &mut Window<R>) -> bool {
    window.find(HEADER, is_next, *b"PP").unwrap_or(false)
}

fn stands_at_next<R: BufRead>(window: &mut Window<R>) -> bool {
    window.peek(HEADER).is_ok_and(is_next)
}

fn is_next(bytes: &[u8]) -> bool {
    match number_at(bytes, 0) {
        Some(DIRECTORY) => bytes.get(6).is_some_and(|version| *version <= LATEST),
        Some(END | LARGE_END) => true,
        _ => begins_entry(bytes),
    }
}

/// Passes the directory over, to its end or to the next archive: where it is damaged, that may begin anywhere.
fn pass_directory<R: BufRead>(window: &mut Window<R>) {
    loop {
        window.mark();
        let record = window.peek(DESCRIPTION).unwrap_or_default();
        let signature = number_at(record, 0);
        if let Some(length) = length_in_directory(record) {
            let record = window.peek(length + HEADER).unwrap_or_default();
            if let Some(place) = entry_within(record) {
                pass(window, place as u64);
                return;
            }
            pass(window, length as u64);
            if signature == Some(END) {
                return;
            }
            if stands_in_directory(window) {
                continue;
            }
        }
        search(window);
        if !stands_in_directory(window) {
            return;
        }
    }
}

/// Where an entry begins in a record that was cut off.
fn entry_within(record: &[u8]) -> Option<usize> {
    memchr::memchr_iter(b'P', record).find(|place| record.get(*place..).is_some_and(begins_entry))
}

fn stands_in_directory<R: BufRead>(window: &mut Window<R>) -> bool {
    matches!(
        signature(window),
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
struct Entry {
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

impl Entry {
    fn read<R: BufRead>(window: &mut Window<R>) -> io::Result<Self> {
        let head = window.peek(HEADER)?;
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
        window.consume(HEADER);
        let name = bytes(window, name)?;
        let extra = bytes(window, extra)?;
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

/// Whether what follows an entry are its checksum and sizes: how many bytes they take. Nothing says
/// whether they have a signature, nor whether the sizes have four bytes each or eight; but they are
/// known by now.
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
            // A large one is cut to its lower half in the short form.
            let tells = |place, known: u64| {
                at(place)
                    .is_some_and(|told| told == known || size == 4 && told == known & 0xffff_ffff)
            };
            let first = start + 4;
            (tells(first, packed) && tells(first + size, unpacked)).then_some(first + 2 * size)
        })
    })
}

/// What a content turned out to be.
struct Content {
    checksum: crc32fast::Hasher,
    bytes: u64,
    error: Option<String>,
}

impl Content {
    fn is(&self, checksum: u32, bytes: u64) -> bool {
        self.error.is_none() && self.checksum.clone().finalize() == checksum && self.bytes == bytes
    }

    /// What is wrong with it, where something is.
    fn fault<R: BufRead>(self, window: &mut Window<R>) -> String {
        self.error.unwrap_or_else(|| {
            let at_end = window.peek(1).is_ok_and(<[u8]>::is_empty);
            let what = if at_end {
                CUT_OFF
            } else {
                "it is not what its checksum or size says"
            };
            what.to_owned()
        })
    }
}

fn read_content(
    content: &mut dyn Read,
    budget: &Budget,
    name: &str,
    visit: &mut dyn FnMut(&str, Found<'_>) -> Result<(), Failure>,
) -> Result<Content, Failure> {
    let checked = Checked {
        content,
        budget,
        read: Content {
            checksum: crc32fast::Hasher::new(),
            bytes: 0,
            error: None,
        },
    };
    let mut content = BufReader::with_capacity(BUFFER, checked);
    visit(name, Found::Content(&mut content))?;
    if content.get_ref().read.error.is_none() {
        // A fault is noted as it is met.
        io::copy(&mut content, &mut io::sink()).ok();
    }
    Ok(content.into_inner().read)
}

/// Takes the checksum of what is read, and notes a fault.
struct Checked<'c> {
    content: &'c mut dyn Read,
    budget: &'c Budget,
    read: Content,
}

impl Read for Checked<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let count = self
            .content
            .read(out)
            .and_then(|count| self.budget.spend(count))
            .inspect_err(|error| self.read.error = Some(in_words(error)))?;
        self.read
            .checksum
            .update(out.get(..count).unwrap_or_default());
        self.read.bytes += count as u64;
        Ok(count)
    }
}

/// The content of an entry that is stored and has its sizes behind it: it goes on until they come, signed,
/// and are right.
struct UntilSizes<'w, R> {
    window: &'w mut Window<R>,
    checksum: crc32fast::Hasher,
    given: u64,
}

impl<'w, R: BufRead> UntilSizes<'w, R> {
    fn new(window: &'w mut Window<R>) -> Self {
        Self {
            window,
            checksum: crc32fast::Hasher::new(),
            given: 0,
        }
    }

    /// How many bytes are surely content, of those that wait; none at the end.
    fn certain(&mut self) -> io::Result<usize> {
        let buffer = self.window.fill_buf()?;
        match memchr::memchr(b'P', buffer) {
            Some(0) => {}
            Some(place) => return Ok(place),
            None => return Ok(buffer.len()),
        }
        let next = self.window.peek(LONGEST_SIZES)?;
        if number_at(next, 0) != Some(SIZES) {
            return Ok(1);
        }
        let checksum = self.checksum.clone().finalize();
        let length = sizes_behind(next, checksum, self.given, self.given);
        Ok(usize::from(length.is_none()))
    }
}

impl<R: BufRead> Read for UntilSizes<'_, R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let count = self.certain()?.min(out.len());
        let buffer = self.window.fill_buf()?;
        let piece = buffer.get(..count).unwrap_or_default();
        if let Some(out) = out.get_mut(..piece.len()) {
            out.copy_from_slice(piece);
        }
        let count = piece.len();
        self.checksum.update(piece);
        self.given += count as u64;
        self.window.consume(count);
        Ok(count)
    }
}

/// Passes bytes over, as many as there are.
fn pass<R: BufRead>(window: &mut Window<R>, count: u64) {
    io::copy(&mut window.take(count), &mut io::sink()).ok();
}

fn signature<R: BufRead>(window: &mut Window<R>) -> io::Result<Option<u32>> {
    Ok(number_at(window.peek(4)?, 0))
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
