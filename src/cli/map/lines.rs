//! Lines of input, and values that span several lines.

use std::collections::VecDeque;
use std::io::{self, BufRead, Read};

use serde::de::IgnoredAny;

/// The longest value that may span lines.
const MOST_BYTES: usize = 16 << 20;

/// The lines of an input, in their order.
#[derive(Default)]
pub(super) struct InputLines {
    /// Lines that were read ahead.
    pending: VecDeque<Vec<u8>>,
}

impl InputLines {
    /// The next line, with its end; `None` where there is no more.
    pub(super) fn next(&mut self, input: &mut dyn BufRead) -> io::Result<Option<Vec<u8>>> {
        if let Some(line) = self.pending.pop_front() {
            return Ok(Some(line));
        }
        let mut line = Vec::new();
        let read = input.read_until(b'\n', &mut line)?;
        Ok((read > 0).then_some(line))
    }

    /// Returns the whole value that a line begins; `None` where what follows does not continue it. What
    /// does not belong to the value becomes the next line.
    pub(super) fn value(
        &mut self,
        input: &mut dyn BufRead,
        first: &[u8],
    ) -> io::Result<Option<Vec<u8>>> {
        let mut gathering = Gathering {
            lines: self,
            input,
            text: first.to_vec(),
            at: 0,
        };
        // Stops at the first byte that cannot continue the value, and not at the end of the input.
        let mut values =
            serde_json::Deserializer::from_reader(&mut gathering).into_iter::<IgnoredAny>();
        let value = values.next();
        let end = match value {
            Some(Err(error)) if error.is_io() => return Err(error.into()),
            Some(Ok(IgnoredAny)) => Some(values.byte_offset()),
            Some(Err(_)) | None => None,
        };
        let mut text = gathering.text;
        let rest = text.split_off(end.unwrap_or(first.len()));
        for line in rest.split_inclusive(|byte| *byte == b'\n').rev() {
            self.pending.push_front(line.to_vec());
        }
        Ok(end.map(|_| text))
    }
}

/// Reads on, line by line, and keeps what was read.
struct Gathering<'l> {
    lines: &'l mut InputLines,
    input: &'l mut dyn BufRead,
    text: Vec<u8>,
    at: usize,
}

impl Read for Gathering<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.at == self.text.len() && self.text.len() < MOST_BYTES {
            let line = self.lines.next(self.input)?;
            self.text.extend(line.unwrap_or_default());
        }
        let mut rest = self.text.get(self.at..).unwrap_or_default();
        let read = rest.read(buffer)?;
        self.at += read;
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(input: &str, expected: Option<&str>, next: Option<&str>) {
        let mut bytes = input.as_bytes();
        let mut lines = InputLines::default();
        let first = lines.next(&mut bytes).unwrap().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        let value = lines.value(&mut bytes, &first).unwrap().map(text);
        assert_eq!(value.as_deref(), expected, "{input}");
        let after = lines.next(&mut bytes).unwrap().map(text);
        assert_eq!(after.as_deref(), next, "{input}");
    }

    #[test]
    fn a_value_ends_where_its_brackets_close() {
        check(
            "{\n\"a\": [\n1]\n}\nx\n",
            Some("{\n\"a\": [\n1]\n}"),
            Some("\n"),
        );
        check("[\n{},\n{}]{\n", Some("[\n{},\n{}]"), Some("{\n"));
        check(
            "{\n\"a\":\"\u{e4}}\"\n}",
            Some("{\n\"a\":\"\u{e4}}\"\n}"),
            None,
        );
    }

    #[test]
    fn a_line_that_nothing_continues_stands_alone() {
        check("{\"a\":1\n{\"b\":2}\n", None, Some("{\"b\":2}\n"));
        check("{\"a\":\n{\"b\":2}\n{\"c\":3}\n", None, Some("{\"b\":2}\n"));
        check("{\"a\":\"x\n{\"b\":2}\n", None, Some("{\"b\":2}\n"));
        check("{\"a\":1\n", None, None);
    }

    #[test]
    fn a_value_without_an_end_is_given_up() {
        let line = format!("\"{}\",\n", "x".repeat(1 << 20));
        let input = format!("[\n{}", line.repeat(20));
        check(&input, None, Some(&line));
    }
}
