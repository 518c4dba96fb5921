//! An input that can be peeked into, and rewound a little way.
//!
//! A reader that meets damage does not know where the damage began: unpacking runs on for some time over
//! bytes of the next part. So the bytes since a mark are kept, as many as that could be, and searched
//! again for the place where the next part begins.

use std::io::{self, BufRead, Read};

/// The bytes before the present place that are always kept back to the mark. About twice as many are the
/// most that are ever kept.
const KEPT: usize = 1 << 20;

/// A view of an input, at any depth, that can go back to a mark.
pub(super) struct RewindReader<'i> {
    input: &'i mut dyn BufRead,
    /// What was read from the input: first what was given, then what is still to be given.
    buffer: Vec<u8>,
    /// Where in the buffer the mark is, and where what is still to be given begins.
    mark: usize,
    at: usize,
}

impl<'i> RewindReader<'i> {
    /// Looks at an input from here on.
    pub(super) const fn new(input: &'i mut dyn BufRead) -> Self {
        Self {
            input,
            buffer: Vec::new(),
            mark: 0,
            at: 0,
        }
    }

    /// The next bytes, as many as asked for unless the input ends.
    pub(super) fn peek(&mut self, count: usize) -> io::Result<&[u8]> {
        let missing = (self.at + count).saturating_sub(self.buffer.len());
        if missing > 0 {
            self.trim();
            (&mut self.input)
                .take(missing as u64)
                .read_to_end(&mut self.buffer)?;
        }
        let waiting = &self.buffer[self.at..];
        Ok(waiting.get(..count).unwrap_or(waiting))
    }

    /// Sets the mark here.
    pub(super) const fn mark(&mut self) {
        self.mark = self.at;
    }

    /// Goes back to the mark, or as far towards it as bytes are kept.
    pub(super) const fn rewind(&mut self) {
        self.at = self.mark;
    }

    /// Skips bytes, as many as there are.
    pub(super) fn skip(&mut self, count: u64) {
        io::copy(&mut self.take(count), &mut io::sink()).ok();
    }

    /// Goes on to the next place where `is_it` holds of the bytes that follow, of which it is shown
    /// `count`; returns whether there is one.
    pub(super) fn find(
        &mut self,
        count: usize,
        is_it: impl Fn(&[u8]) -> bool,
        firsts: [u8; 2],
    ) -> io::Result<bool> {
        let [one, other] = firsts;
        loop {
            let buffer = self.fill_buf()?;
            if buffer.is_empty() {
                return Ok(false);
            }
            let place = memchr::memchr2(one, other, buffer);
            let passed = place.unwrap_or(buffer.len());
            self.consume(passed);
            if place.is_some() {
                if is_it(self.peek(count)?) {
                    return Ok(true);
                }
                self.consume(1);
            }
        }
    }

    /// Forgets what lies before the mark, or too far back.
    fn trim(&mut self) {
        if self.at - self.mark > 2 * KEPT {
            self.mark = self.at - KEPT;
        }
        self.buffer.drain(..self.mark);
        self.at -= self.mark;
        self.mark = 0;
    }
}

impl Read for RewindReader<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let count = self.fill_buf()?.read(out)?;
        self.consume(count);
        Ok(count)
    }
}

impl BufRead for RewindReader<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.at == self.buffer.len() {
            self.trim();
            let read = self.input.fill_buf()?;
            self.buffer.extend_from_slice(read);
            let count = read.len();
            self.input.consume(count);
        }
        Ok(&self.buffer[self.at..])
    }

    fn consume(&mut self, count: usize) {
        self.at += count;
    }
}

#[cfg(test)]
mod tests {
    use std::io::BufReader;

    use super::*;

    fn text(bytes: &[u8]) -> &str {
        std::str::from_utf8(bytes).unwrap()
    }

    #[test]
    fn it_is_looked_into_gone_back_in_and_searched() {
        // Whatever size its pieces have.
        for size in 1..12 {
            let mut input = BufReader::with_capacity(size, &b"one two three four"[..]);
            let mut input = RewindReader::new(&mut input);
            assert_eq!(text(input.peek(7).unwrap()), "one two");
            let mut four = [0; 4];
            input.read_exact(&mut four).unwrap();
            assert_eq!(text(&four), "one ");
            input.mark();
            input.read_exact(&mut four).unwrap();
            input.read_exact(&mut four).unwrap();
            assert_eq!(text(&four), "thre");
            input.rewind();
            assert_eq!(text(input.peek(3).unwrap()), "two");
            let found = input.find(2, |bytes| bytes == b"th", *b"th");
            assert!(found.unwrap());
            input.mark();
            assert_eq!(text(input.peek(100).unwrap()), "three four");
            assert!(!input.find(3, |bytes| bytes == b"two", *b"tt").unwrap());
            input.rewind();
            let mut rest = String::new();
            input.read_to_string(&mut rest).unwrap();
            assert_eq!(rest, "three four");
        }
    }

    #[test]
    fn what_is_kept_is_bounded_and_is_the_end_of_what_was_given() {
        let bytes: Vec<u8> = (0..=u8::MAX).cycle().take(5 * KEPT).collect();
        let piece = 8 << 10;
        let mut bytes_read = BufReader::with_capacity(piece, &bytes[..]);
        let mut input = RewindReader::new(&mut bytes_read);
        input.mark();
        input.skip(4 * KEPT as u64);
        let kept = input.at - input.mark;
        assert!((KEPT..=2 * KEPT + piece).contains(&kept));
        assert!(input.buffer.len() <= 2 * KEPT + 2 * piece);
        input.rewind();
        let mut rest = Vec::new();
        input.read_to_end(&mut rest).unwrap();
        assert!(rest == bytes[4 * KEPT - kept..]);
    }
}
