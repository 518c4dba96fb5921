//! The content of one entry: where it ends, and whether it is what its checksum says.

use std::io::{self, BufRead, BufReader, Read};

use super::{
    ArchiveItem, BUFFER, CUT_OFF, LONGEST_SIZES, SIZES, in_words, number_at, stands_at_next,
};
use crate::cli::CommandFailure;
use crate::cli::backfill::budget::Budget;
use crate::cli::backfill::rewind::RewindReader;

/// What a content turned out to be.
pub(super) struct ArchiveContent {
    pub(super) checksum: crc32fast::Hasher,
    pub(super) bytes: u64,
    pub(super) error: Option<String>,
}

impl ArchiveContent {
    /// Whether it was read well, with this checksum and length.
    pub(super) fn is(&self, checksum: u32, bytes: u64) -> bool {
        self.error.is_none() && self.checksum.clone().finalize() == checksum && self.bytes == bytes
    }

    /// What is wrong with it, where something is.
    pub(super) fn fault<R: BufRead>(self, input: &mut RewindReader<R>) -> String {
        self.error.unwrap_or_else(|| {
            let at_end = input.peek(1).is_ok_and(<[u8]>::is_empty);
            let what = if at_end {
                CUT_OFF
            } else {
                "it is not what its checksum or size says"
            };
            what.to_owned()
        })
    }
}

/// Has a content visited, and gives what it turned out to be.
pub(super) fn read_content(
    content: &mut dyn Read,
    budget: &Budget,
    name: &str,
    visit: &mut dyn FnMut(&str, ArchiveItem<'_>) -> Result<(), CommandFailure>,
) -> Result<ArchiveContent, CommandFailure> {
    let checked = Checked {
        content,
        budget,
        read: ArchiveContent {
            checksum: crc32fast::Hasher::new(),
            bytes: 0,
            error: None,
        },
    };
    let mut content = BufReader::with_capacity(BUFFER, checked);
    visit(name, ArchiveItem::Content(&mut content))?;
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
    read: ArchiveContent,
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

/// Where the content of a stored entry ends.
#[derive(Clone, Copy)]
pub(super) enum ContentEnd {
    /// Where its length says, or before that, where the next entry begins and the checksum is right: with a
    /// length that is wrong, the entries behind it would be read as a part of it.
    Told { checksum: u32, length: u64 },
    /// Where its sizes come, signed, and are right.
    Behind,
}

/// The content of an entry that is stored.
pub(super) struct StoredContent<'w, R> {
    input: &'w mut RewindReader<R>,
    end: ContentEnd,
    checksum: crc32fast::Hasher,
    /// Bytes that were given.
    pub(super) given: u64,
}

impl<'w, R: BufRead> StoredContent<'w, R> {
    pub(super) fn new(input: &'w mut RewindReader<R>, end: ContentEnd) -> Self {
        Self {
            input,
            end,
            checksum: crc32fast::Hasher::new(),
            given: 0,
        }
    }

    /// How many bytes are surely content, of those that wait; none at the end.
    fn certain(&mut self) -> io::Result<usize> {
        let most = match self.end {
            ContentEnd::Told { length, .. } => length - self.given,
            ContentEnd::Behind => u64::MAX,
        };
        let buffer = self.input.fill_buf()?;
        let most = usize::try_from(most).map_or(buffer.len(), |most| most.min(buffer.len()));
        match memchr::memchr(b'P', buffer.get(..most).unwrap_or_default()) {
            Some(0) => {}
            Some(place) => return Ok(place),
            None => return Ok(most),
        }
        let is_end = match self.end {
            ContentEnd::Told { checksum, .. } => {
                let stands_at_next =
                    matches!(buffer, [_] | [_, b'K', ..]) && stands_at_next(self.input);
                stands_at_next && self.checksum.clone().finalize() == checksum
            }
            ContentEnd::Behind => {
                let next = self.input.peek(LONGEST_SIZES)?;
                number_at(next, 0) == Some(SIZES) && {
                    let checksum = self.checksum.clone().finalize();
                    sizes_behind(next, checksum, self.given, self.given).is_some()
                }
            }
        };
        Ok(usize::from(!is_end))
    }
}

impl<R: BufRead> Read for StoredContent<'_, R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let count = self.certain()?.min(out.len());
        let buffer = self.input.fill_buf()?;
        let piece = buffer.get(..count).unwrap_or_default();
        if let Some(out) = out.get_mut(..piece.len()) {
            out.copy_from_slice(piece);
        }
        let count = piece.len();
        self.checksum.update(piece);
        self.given += count as u64;
        self.input.consume(count);
        Ok(count)
    }
}

/// Whether what follows an entry are its checksum and sizes: how many bytes they take. Nothing says
/// whether they have a signature, nor whether the sizes have four bytes each or eight; but they are
/// known by now.
pub(super) fn sizes_behind(
    bytes: &[u8],
    checksum: u32,
    packed: u64,
    unpacked: u64,
) -> Option<usize> {
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
