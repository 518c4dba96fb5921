//! Reads zip archives from front to back.
//!
//! An archive of 4 GB may come through a pipe, straight from the download, or be cut off at its end.
//! So this reads the entries in their order, each behind its own header, and never needs to seek as
//! readers of the directory at the end do; what can be read before a fault is read. It knows entries
//! that are stored or deflated, with sizes before or behind them, and the large forms of both. Each
//! entry's checksum is verified.

use std::io::{self, BufRead, BufReader, Read};

use flate2::bufread::DeflateDecoder;

/// Begins an entry.
const ENTRY: u32 = 0x0403_4b50;
/// Begins what comes behind the last entry: the directory, its large form's end, its end.
const BEHIND_ENTRIES: [u32; 3] = [0x0201_4b50, 0x0606_4b50, 0x0605_4b50];
/// May begin sizes behind an entry.
const SIZES: u32 = 0x0807_4b50;

/// The sizes follow the entry.
const SIZES_BEHIND: u16 = 1 << 3;
const ENCRYPTED: u16 = 1;
const STORED: u16 = 0;
const DEFLATED: u16 = 8;
/// A size that stands in the large form's place instead.
const ELSEWHERE: u32 = u32::MAX;
/// The large form of sizes, among an entry's extra fields.
const LARGE: u16 = 1;
/// Space for an entry's content.
const BUFFER: usize = 64 << 10;

/// Begins every archive.
pub(super) const BEGINNING: &[u8] = b"PK";

/// Visits every entry: its name and its content. What a visitor leaves of the content is passed over.
pub(super) fn each_entry<E: From<io::Error>>(
    input: &mut dyn BufRead,
    mut visit: impl FnMut(&str, &mut dyn BufRead) -> Result<(), E>,
) -> Result<(), E> {
    let mut signature = number(input)?;
    loop {
        if BEHIND_ENTRIES.contains(&signature) {
            return Ok(());
        }
        if signature != ENTRY {
            return Err(damaged("no entry begins where one should").into());
        }
        let entry = Entry::read(input)?;
        signature = visit_entry(input, &entry, &mut visit)?;
    }
}

/// Gives the signature of what follows the entry.
fn visit_entry<E: From<io::Error>>(
    input: &mut dyn BufRead,
    entry: &Entry,
    visit: &mut impl FnMut(&str, &mut dyn BufRead) -> Result<(), E>,
) -> Result<u32, E> {
    let (found, packed) = match (entry.method, entry.sizes) {
        (STORED, Some((packed, _))) => {
            let mut stored = input.take(packed);
            (read_content(&mut stored, &entry.name, visit)?, packed)
        }
        (DEFLATED, _) => {
            let mut inflated = DeflateDecoder::new(&mut *input);
            let found = read_content(&mut inflated, &entry.name, visit)?;
            (found, inflated.total_in())
        }
        _ => return Err(damaged("an entry is packed in a way that is not known here").into()),
    };
    let (told, signature) = match entry.sizes {
        Some((packed, unpacked)) => ((entry.checksum, packed, unpacked), number(input)?),
        None => sizes_behind(input, packed)?,
    };
    if told != (found.checksum, packed, found.bytes) {
        return Err(damaged("an entry is not what its checksum or size says").into());
    }
    Ok(signature)
}

/// The header of an entry.
#[derive(Debug)]
struct Entry {
    name: String,
    method: u16,
    checksum: u32,
    /// Packed and unpacked; `None` where they follow the entry.
    sizes: Option<(u64, u64)>,
}

impl Entry {
    fn read(input: &mut dyn BufRead) -> io::Result<Self> {
        let mut header = [0; 26];
        input.read_exact(&mut header)?;
        let [
            _,
            _,
            flags,
            flags_high,
            method,
            method_high,
            _,
            _,
            _,
            _,
            rest @ ..,
        ] = header;
        let flags = u16::from_le_bytes([flags, flags_high]);
        let [
            c0,
            c1,
            c2,
            c3,
            p0,
            p1,
            p2,
            p3,
            u0,
            u1,
            u2,
            u3,
            n0,
            n1,
            e0,
            e1,
        ] = rest;
        if flags & ENCRYPTED != 0 {
            return Err(damaged("an entry is encrypted"));
        }
        let name = bytes(input, u16::from_le_bytes([n0, n1]))?;
        let extra = bytes(input, u16::from_le_bytes([e0, e1]))?;
        let packed = u32::from_le_bytes([p0, p1, p2, p3]);
        let unpacked = u32::from_le_bytes([u0, u1, u2, u3]);
        Ok(Self {
            name: String::from_utf8_lossy(&name).into_owned(),
            method: u16::from_le_bytes([method, method_high]),
            checksum: u32::from_le_bytes([c0, c1, c2, c3]),
            sizes: (flags & SIZES_BEHIND == 0)
                .then(|| large(packed, unpacked, &extra))
                .transpose()?,
        })
    }
}

/// The sizes, from the extra fields where they do not fit into the header.
fn large(packed: u32, unpacked: u32, extra: &[u8]) -> io::Result<(u64, u64)> {
    let mut rest = field(extra, LARGE);
    let mut size = |short: u32| {
        if short != ELSEWHERE {
            return Ok::<_, io::Error>(u64::from(short));
        }
        let (long, after) = rest
            .split_first_chunk()
            .ok_or_else(|| damaged("an entry has no size"))?;
        rest = after;
        Ok(u64::from_le_bytes(*long))
    };
    let unpacked = size(unpacked)?;
    Ok((size(packed)?, unpacked))
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

/// Reads what follows an entry whose sizes were not known before: checksum and sizes, and the
/// signature of what is next. Nothing says whether the sizes have four bytes each or eight; but the
/// packed size is known by now.
fn sizes_behind(input: &mut dyn BufRead, packed: u64) -> io::Result<((u32, u64, u64), u32)> {
    let first = number(input)?;
    let checksum = if first == SIZES {
        number(input)?
    } else {
        first
    };
    let low = number(input)?;
    let second = number(input)?;
    let next = number(input)?;
    if u64::from(low) == packed && (next == ENTRY || BEHIND_ENTRIES.contains(&next)) {
        return Ok(((checksum, packed, u64::from(second)), next));
    }
    let told = u64::from(second) << 32 | u64::from(low);
    let unpacked = u64::from(number(input)?) << 32 | u64::from(next);
    Ok(((checksum, told, unpacked), number(input)?))
}

/// What a content turned out to be.
#[derive(Debug)]
struct Found {
    checksum: u32,
    bytes: u64,
}

fn read_content<E: From<io::Error>>(
    content: &mut dyn Read,
    name: &str,
    visit: &mut impl FnMut(&str, &mut dyn BufRead) -> Result<(), E>,
) -> Result<Found, E> {
    let mut content = BufReader::with_capacity(
        BUFFER,
        Checked {
            content,
            checksum: crc32fast::Hasher::new(),
            bytes: 0,
        },
    );
    visit(name, &mut content)?;
    io::copy(&mut content, &mut io::sink())?;
    let checked = content.into_inner();
    Ok(Found {
        checksum: checked.checksum.finalize(),
        bytes: checked.bytes,
    })
}

/// Takes the checksum of what is read.
struct Checked<'c> {
    content: &'c mut dyn Read,
    checksum: crc32fast::Hasher,
    bytes: u64,
}

impl Read for Checked<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let count = self.content.read(out)?;
        self.checksum.update(out.get(..count).unwrap_or_default());
        self.bytes += count as u64;
        Ok(count)
    }
}

fn number(input: &mut dyn BufRead) -> io::Result<u32> {
    let mut number = [0; 4];
    input.read_exact(&mut number)?;
    Ok(u32::from_le_bytes(number))
}

fn bytes(input: &mut dyn BufRead, count: u16) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; count.into()];
    input.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn damaged(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests;
