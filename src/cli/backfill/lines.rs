//! Lines of bounded length: one that is longer is passed over, not held.

use std::io::{self, BufRead};

/// The longest line that is held. What is longer is no event that Meta would take.
const LONGEST: usize = 2 << 20;

/// What was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// A line, without its end.
    Whole,
    /// A line that was passed over.
    TooLong,
    /// Nothing more.
    End,
}

/// Reads the next line into `line`.
pub(super) fn next(input: &mut dyn BufRead, line: &mut Vec<u8>) -> io::Result<Line> {
    line.clear();
    let mut read = false;
    let mut too_long = false;
    loop {
        let available = input.fill_buf()?;
        if available.is_empty() {
            break;
        }
        read = true;
        let end = memchr::memchr(b'\n', available);
        let piece = available.get(..end.unwrap_or(available.len()));
        let piece = piece.unwrap_or_default();
        too_long = too_long || line.len() + piece.len() > LONGEST;
        if !too_long {
            line.extend_from_slice(piece);
        }
        let used = piece.len() + usize::from(end.is_some());
        input.consume(used);
        if end.is_some() {
            break;
        }
    }
    Ok(match (read, too_long) {
        (false, _) => Line::End,
        (true, true) => Line::TooLong,
        (true, false) => Line::Whole,
    })
}

#[cfg(test)]
mod tests {
    use std::io::BufReader;

    use super::*;

    #[test]
    fn reads_lines_and_passes_over_what_is_too_long() {
        let text = ["{}", "", &"x".repeat(LONGEST + 1), "last"].join("\n");
        let mut input = BufReader::with_capacity(1000, text.as_bytes());
        let mut line = Vec::new();
        let mut found = Vec::new();
        loop {
            match next(&mut input, &mut line).unwrap() {
                Line::End => break,
                Line::TooLong => found.push("too long".to_owned()),
                Line::Whole => found.push(String::from_utf8(line.clone()).unwrap()),
            }
        }
        assert_eq!(found, ["{}", "", "too long", "last"]);
        assert!(line.capacity() <= 2 * LONGEST);
    }
}
