//! The content of one entry: where it ends, and what it turns out to be.

use std::io::{self, BufRead, Read, Take};

use flate2::bufread::DeflateDecoder;

use super::{
    EntryHeader, HEADER, HeaderSizes, LONGEST_SIZES, SIZES, STORED, in_words, is_next, number_at,
    sizes_behind,
};
use crate::cli::backfill::budget::Budget;
use crate::cli::backfill::rewind::RewindReader;

/// Reads the content of an entry, and notes its checksum, its length and a fault.
pub(super) struct EntryContent<'c, 'i> {
    packed: Packed<'c, 'i>,
    sizes: Option<HeaderSizes>,
    budget: &'c Budget,
    pub(super) checksum: crc32fast::Hasher,
    pub(super) bytes: u64,
    pub(super) error: Option<String>,
}

enum Packed<'c, 'i> {
    Stored(Take<&'c mut RewindReader<'i>>),
    Deflated(DeflateDecoder<Take<&'c mut RewindReader<'i>>>),
}

impl<'c, 'i> EntryContent<'c, 'i> {
    pub(super) fn new(
        input: &'c mut RewindReader<'i>,
        budget: &'c Budget,
        entry: &EntryHeader,
    ) -> Self {
        let input = input.take(entry.sizes.map_or(u64::MAX, |sizes| sizes.packed));
        Self {
            packed: if entry.method == STORED {
                Packed::Stored(input)
            } else {
                Packed::Deflated(DeflateDecoder::new(input))
            },
            sizes: entry.sizes,
            budget,
            checksum: crc32fast::Hasher::new(),
            bytes: 0,
            error: None,
        }
    }

    /// How many bytes are left of what the header tells; without that, of `u64::MAX`.
    pub(super) fn rest(&self) -> u64 {
        match &self.packed {
            Packed::Stored(input) => input.limit(),
            Packed::Deflated(decoder) => decoder.get_ref().limit(),
        }
    }

    fn read_on(&mut self, out: &mut [u8]) -> io::Result<usize> {
        match &mut self.packed {
            Packed::Deflated(decoder) => decoder.read(out),
            Packed::Stored(input) => {
                let count = stored_bytes(input, self.sizes, &self.checksum)?;
                input.by_ref().take(count as u64).read(out)
            }
        }
    }
}

impl Read for EntryContent<'_, '_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let count = self
            .read_on(out)
            .and_then(|count| self.budget.spend(count))
            .inspect_err(|error| self.error = Some(in_words(error)))?;
        self.checksum.update(&out[..count]);
        self.bytes += count as u64;
        Ok(count)
    }
}

/// How many of the waiting bytes belong to a stored content for certain; none at its end.
///
/// It ends where the header says, or before that where the next entry begins and the checksum is right:
/// with a length that is wrong, the entries behind it would be read as a part of it. Where the header
/// says nothing, it ends before sizes that have a signature and are right.
fn stored_bytes(
    input: &mut Take<&mut RewindReader<'_>>,
    sizes: Option<HeaderSizes>,
    checksum: &crc32fast::Hasher,
) -> io::Result<usize> {
    let waiting = input.fill_buf()?;
    match memchr::memchr(b'P', waiting) {
        Some(0) => {}
        Some(place) => return Ok(place),
        None => return Ok(waiting.len()),
    }
    let given = u64::MAX - input.limit();
    let input = input.get_mut();
    let checksum = || checksum.clone().finalize();
    let is_end = if let Some(sizes) = sizes {
        // What cannot be read ends nothing: the bytes before it are given first.
        input.peek(HEADER).is_ok_and(is_next) && checksum() == sizes.checksum
    } else {
        let next = input.peek(LONGEST_SIZES)?;
        number_at(next, 0) == Some(SIZES) && sizes_behind(next, checksum(), given, given).is_some()
    };
    Ok(usize::from(!is_end))
}
