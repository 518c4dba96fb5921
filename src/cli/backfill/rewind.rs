//! An input that can be peeked into, and rewound a little way.
//!
//! A reader that meets damage does not know where the damage began: unpacking runs on for some time over
//! bytes that are no longer its own. So the bytes since a mark are kept, as many as that could be, and
//! searched again for the place where the next part begins.

use std::io::{self, BufRead, Read};

/// Bytes behind the mark that are kept at least; no more than twice as many ever are.
const KEPT: usize = 1 << 20;

/// Whatever is read, at any depth.
pub(super) type Input<'i> = RewindReader<&'i mut dyn BufRead>;

/// The input.
#[derive(Debug)]
pub(super) struct RewindReader<R> {
    input: R,
    /// Bytes that were read from the input, and from where on they are still to be given.
    ahead: Vec<u8>,
    given: usize,
    /// What was given since the mark, or the end of it.
    kept: Vec<u8>,
}

impl<R: BufRead> RewindReader<R> {
    /// Looks at an input from here on.
    pub(super) const fn new(input: R) -> Self {
        Self {
            input,
            ahead: Vec::new(),
            given: 0,
            kept: Vec::new(),
        }
    }

    /// The next bytes, as many as asked for unless the input ends.
    pub(super) fn peek(&mut self, count: usize) -> io::Result<&[u8]> {
        let waiting = self.ahead.len() - self.given;
        if waiting < count {
            self.ahead.drain(..self.given);
            self.given = 0;
            let missing = (count - waiting) as u64;
            (&mut self.input)
                .take(missing)
                .read_to_end(&mut self.ahead)?;
        }
        let waiting = self.ahead.get(self.given..).unwrap_or_default();
        Ok(waiting.get(..count).unwrap_or(waiting))
    }

    /// Sets the mark here.
    pub(super) fn mark(&mut self) {
        self.kept.clear();
    }

    /// Goes back to the mark, or as far towards it as bytes are kept.
    pub(super) fn rewind(&mut self) {
        let mut ahead = std::mem::take(&mut self.kept);
        ahead.extend_from_slice(self.ahead.get(self.given..).unwrap_or_default());
        self.ahead = ahead;
        self.given = 0;
    }

    /// Goes on to the next place where `is_it` holds of the bytes that follow, of which it is shown
    /// `count`; gives whether there is one.
    pub(super) fn find(
        &mut self,
        count: usize,
        is_it: impl Fn(&[u8]) -> bool,
        firsts: [u8; 2],
    ) -> io::Result<bool> {
        loop {
            let buffer = self.fill_buf()?;
            if buffer.is_empty() {
                return Ok(false);
            }
            let [one, other] = firsts;
            let Some(place) = memchr::memchr2(one, other, buffer) else {
                let passed = buffer.len();
                self.consume(passed);
                continue;
            };
            self.consume(place);
            if is_it(self.peek(count)?) {
                return Ok(true);
            }
            self.consume(1);
        }
    }
}

impl<R: BufRead> Read for RewindReader<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let mut buffer = self.fill_buf()?;
        let count = buffer.read(out)?;
        self.consume(count);
        Ok(count)
    }
}

impl<R: BufRead> BufRead for RewindReader<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.given < self.ahead.len() {
            return Ok(self.ahead.get(self.given..).unwrap_or_default());
        }
        self.input.fill_buf()
    }

    fn consume(&mut self, count: usize) {
        if self.kept.len() + count > 2 * KEPT {
            let surplus = self.kept.len().saturating_sub(KEPT);
            self.kept.drain(..surplus);
        }
        if self.given < self.ahead.len() {
            let given = self.ahead.get(self.given..self.given + count);
            self.kept.extend_from_slice(given.unwrap_or_default());
            self.given += count;
            return;
        }
        // What is consumed was filled before, so this reads nothing.
        let given = self.input.fill_buf().ok();
        let given = given.and_then(|buffer| buffer.get(..count));
        self.kept.extend_from_slice(given.unwrap_or_default());
        self.input.consume(count);
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
            let input = BufReader::with_capacity(size, &b"one two three four"[..]);
            let mut input = RewindReader::new(input);
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
        let mut input = RewindReader::new(BufReader::new(&bytes[..]));
        input.mark();
        io::copy(&mut (&mut input).take(4 * KEPT as u64), &mut io::sink()).unwrap();
        assert!((KEPT..=2 * KEPT).contains(&input.kept.len()));
        let kept = input.kept.len();
        input.rewind();
        let mut rest = Vec::new();
        input.read_to_end(&mut rest).unwrap();
        assert!(rest == bytes[4 * KEPT - kept..]);
    }
}
