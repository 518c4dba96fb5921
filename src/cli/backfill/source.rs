//! What a backfill can be fed with, told by its first bytes: a zip archive of files, one file packed
//! with gzip, or plain lines. Everything is read from front to back, in constant memory.

use std::io::{self, BufRead, BufReader, Cursor, Read};

use flate2::bufread::MultiGzDecoder;

use crate::cli::backfill::archive;

/// Begins a gzip file.
const GZIP: &[u8] = &[0x1f, 0x8b];
/// Space for unpacked lines.
const BUFFER: usize = 64 << 10;

/// Visits every part that holds lines of events, with its name. Gives the number of parts that were
/// passed over because they hold none.
pub(super) fn each_part<E: From<io::Error>>(
    name: &str,
    input: &mut dyn BufRead,
    mut visit: impl FnMut(&str, &mut dyn BufRead) -> Result<(), E>,
) -> Result<u64, E> {
    let (beginning, mut input) = peek(input)?;
    let mut passed_over = 0;
    if !beginning.starts_with(archive::BEGINNING) {
        unpacked(name, &mut input, &mut visit)?;
        return Ok(0);
    }
    archive::each_entry(&mut input, |name, content| {
        if holds_events(name) {
            return unpacked(name, content, &mut visit);
        }
        // A folder is no part.
        passed_over += u64::from(!name.ends_with('/'));
        Ok(())
    })?;
    Ok(passed_over)
}

/// Whether a file holds events, by its name. Exports to S3 hold besides markers, and files of ids that
/// were merged, which begin with a dash (Amplitude: Amazon S3 export).
pub(super) fn holds_events(name: &str) -> bool {
    let name = name.rsplit('/').next().unwrap_or(name);
    let name = name.to_ascii_lowercase();
    !name.starts_with('-')
        && [
            ".json.gz",
            ".json",
            ".ndjson.gz",
            ".ndjson",
            ".jsonl.gz",
            ".jsonl",
        ]
        .iter()
        .any(|ending| name.ends_with(ending))
}

fn unpacked<E: From<io::Error>>(
    name: &str,
    content: &mut dyn BufRead,
    visit: &mut impl FnMut(&str, &mut dyn BufRead) -> Result<(), E>,
) -> Result<(), E> {
    let (beginning, mut content) = peek(content)?;
    if !beginning.starts_with(GZIP) {
        return visit(name, &mut content);
    }
    let lines = MultiGzDecoder::new(content);
    visit(name, &mut BufReader::with_capacity(BUFFER, lines))
}

/// The first bytes of an input, and the input with them.
fn peek(input: &mut dyn BufRead) -> io::Result<(Vec<u8>, impl BufRead)> {
    let mut beginning = Vec::with_capacity(2);
    Read::take(&mut *input, 2).read_to_end(&mut beginning)?;
    Ok((beginning.clone(), Cursor::new(beginning).chain(input)))
}
