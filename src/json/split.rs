//! Finds where values end: with a parser, and from the first value that is not well formed on by strings,
//! brackets and delimiters alone.
//!
//! A broken value must not change where the next one begins, so that what lies between brackets and
//! delimiters does not count then. Both ways agree on well-formed values. No value is read more than twice,
//! and there is no recursion.

use serde::de::IgnoredAny;
use serde_json::Deserializer;
use thiserror::Error;

use crate::json::scan::{closed_string_end, is_space, skipped_space};

/// What some editors and programs put in front of a text.
pub(crate) const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Why a body cannot be split. Positions are bytes, counted from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum NotJson {
    #[error("the body is empty")]
    Empty,
    /// A number, a string, a word, or no JSON at all.
    #[error("the body is neither a JSON object nor an array")]
    NeitherObjectNorArray,
    /// Something else where only an object may be.
    #[error("the body is not a JSON object")]
    NotAnObject,
    /// It ends inside a string or with brackets open.
    #[error("the body ends before its last string or bracket is closed")]
    Unclosed,
    #[error("the body is not JSON: it breaks at byte {0}")]
    UnexpectedByte(usize),
    #[error("the body goes on after its JSON ends, at byte {0}")]
    Trailing(usize),
    /// One object whose strings and brackets are in order, and yet not JSON. Both count from 1.
    #[error("the body is not JSON: it breaks in line {line} at column {column}")]
    Malformed {
        line: usize,
        /// The byte in the line.
        column: usize,
    },
    #[error(
        "a number is written with thousands separators, as FreeMarker prints it: write ${{x?c}} \
         in the template"
    )]
    GroupedNumber,
}

/// A place in the body, with the closing brackets that have to follow.
pub(crate) struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
    open: Vec<u8>,
    /// Whether every value so far was well formed.
    is_well_formed: bool,
}

/// Where the elements of an array are: each begins behind the delimiter of the one before.
#[cfg_attr(test, derive(Debug, PartialEq))]
pub(crate) struct Places {
    /// Where the first begins.
    pub(crate) first: usize,
    /// Where each ends.
    pub(crate) ends: Vec<u32>,
    /// How many of the first ones are known to be well formed.
    pub(crate) well_formed: usize,
}

/// Where a walk over a value stops.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Until {
    /// At the comma or closing bracket that follows the value.
    Delimiter,
    /// Behind the bracket that closes the value.
    Closed,
}

impl<'a> Cursor<'a> {
    pub(crate) const fn new(bytes: &'a [u8]) -> Self {
        Self {
            bytes,
            at: 0,
            open: Vec::new(),
            is_well_formed: true,
        }
    }

    /// The bytes from here on.
    pub(crate) fn rest(&self) -> &'a [u8] {
        self.bytes.get(self.at..).unwrap_or_default()
    }

    /// Goes behind the next colon outside strings, if there is one.
    pub(crate) fn next_colon(&mut self) -> bool {
        while let Some(&byte) = self.bytes.get(self.at) {
            if byte == b'"' {
                if self.string().is_err() {
                    return false;
                }
            } else {
                self.at += 1;
                if byte == b':' {
                    return true;
                }
            }
        }
        false
    }

    /// Goes to the next byte that is not white space.
    pub(crate) fn skip_space(&mut self) -> Option<u8> {
        self.at += skipped_space(self.bytes, self.at);
        self.bytes.get(self.at).copied()
    }

    /// Makes sure that nothing follows.
    pub(crate) fn end(&mut self) -> Result<(), NotJson> {
        match self.skip_space() {
            None => Ok(()),
            Some(_) => Err(NotJson::Trailing(self.at)),
        }
    }

    /// Splits the array that begins here.
    pub(crate) fn array(&mut self) -> Result<Places, NotJson> {
        self.at += 1;
        let mut places = Places {
            first: self.at,
            ends: Vec::new(),
            well_formed: 0,
        };
        if self.skip_space() == Some(b']') {
            self.at += 1;
            return Ok(places);
        }
        loop {
            // Only an object can be an event. A body may hold a million other values, each of which is
            // cheaper than a new parser.
            self.is_well_formed &= self.skip_space() == Some(b'{');
            let delimiter = self.value()?;
            places.well_formed += usize::from(self.is_well_formed);
            // A body longer than 4 GiB is never held in memory.
            let end = u32::try_from(self.at).map_err(|_| NotJson::Unclosed)?;
            places.ends.push(end);
            if self.pass(delimiter, b']')? {
                return Ok(places);
            }
        }
    }

    /// Walks the object that begins here, and returns the elements of its `events`, if that is an array and
    /// the object is not an event. Stops as soon as it proves to be an event.
    pub(crate) fn envelope(&mut self) -> Result<Option<Places>, NotJson> {
        let mut events = None;
        self.at += 1;
        if self.skip_space() == Some(b'}') {
            return Ok(None);
        }
        loop {
            let key = self.key()?;
            if key == b"event_type" {
                return Ok(None);
            }
            let delimiter = if key == b"events" && self.skip_space() == Some(b'[') {
                if events.is_some() {
                    return Err(NotJson::UnexpectedByte(self.at));
                }
                events = Some(self.array()?);
                self.skip_space()
            } else {
                self.value()?
            };
            if self.pass(delimiter, b'}')? {
                return Ok(events);
            }
        }
    }

    /// Walks the object that begins here, and calls `show` with each member: its key as it is spelt, and
    /// the bytes of its value.
    pub(crate) fn members(
        &mut self,
        show: &mut dyn FnMut(&'a [u8], &'a [u8]),
    ) -> Result<(), NotJson> {
        self.at += 1;
        if self.skip_space() == Some(b'}') {
            self.at += 1;
            return Ok(());
        }
        loop {
            let key = self.key()?;
            let start = self.at;
            let delimiter = self.value()?;
            let value = self.bytes.get(start..self.at).unwrap_or_default();
            show(key, value.trim_ascii());
            if self.pass(delimiter, b'}')? {
                return Ok(());
            }
        }
    }

    /// Reads a member's key, as it is spelt, and its colon.
    fn key(&mut self) -> Result<&'a [u8], NotJson> {
        self.expect(b'"')?;
        let start = self.at + 1;
        self.string()?;
        let key = self.bytes.get(start..self.at - 1).unwrap_or_default();
        self.expect(b':')?;
        self.at += 1;
        Ok(key)
    }

    /// Goes to a byte that has to come next.
    fn expect(&mut self, byte: u8) -> Result<(), NotJson> {
        match self.skip_space() {
            Some(next) if next == byte => Ok(()),
            Some(_) => Err(NotJson::UnexpectedByte(self.at)),
            None => Err(NotJson::Unclosed),
        }
    }

    /// Goes behind the delimiter that follows a value, and says whether it is the closing bracket.
    fn pass(&mut self, delimiter: Option<u8>, closing: u8) -> Result<bool, NotJson> {
        let delimiter = delimiter.ok_or(NotJson::Unclosed)?;
        if delimiter != b',' && delimiter != closing {
            return Err(NotJson::UnexpectedByte(self.at));
        }
        self.at += 1;
        Ok(delimiter == closing)
    }

    /// Goes to the delimiter behind the value that begins here, and returns it, as `walk` does.
    fn value(&mut self) -> Result<Option<u8>, NotJson> {
        if self.is_well_formed
            && let Some(delimiter) = self.well_formed_value()
        {
            return Ok(Some(delimiter));
        }
        self.is_well_formed = false;
        self.walk(Until::Delimiter)
    }

    /// Goes to the delimiter behind the value that begins here, if the value is well formed and a delimiter
    /// follows; otherwise stays here.
    fn well_formed_value(&mut self) -> Option<u8> {
        let mut values = Deserializer::from_slice(self.rest()).into_iter::<IgnoredAny>();
        values.next()?.ok()?;
        let begin = self.at;
        self.at += values.byte_offset();
        let delimiter = self
            .skip_space()
            .filter(|byte| matches!(byte, b',' | b'}' | b']'));
        if delimiter.is_none() {
            self.at = begin;
        }
        delimiter
    }

    /// Walks the value that begins here and returns the byte that it stops at, `None` at the end of the
    /// bytes. Of the value only the strings and brackets have to be in order.
    pub(crate) fn walk(&mut self, until: Until) -> Result<Option<u8>, NotJson> {
        let mut before = b':';
        while let Some(&byte) = self.bytes.get(self.at) {
            match byte {
                _ if is_space(byte) => {
                    self.at += 1;
                    continue;
                }
                b'"' => {
                    if !matches!(before, b'{' | b'[' | b',' | b':') {
                        return Err(NotJson::UnexpectedByte(self.at));
                    }
                    self.string()?;
                    before = b'"';
                    continue;
                }
                b',' | b'}' | b']' if self.open.is_empty() => return Ok(Some(byte)),
                b'}' | b']' => {
                    if self.open.pop() != Some(byte) {
                        return Err(NotJson::UnexpectedByte(self.at));
                    }
                    if until == Until::Closed && self.open.is_empty() {
                        self.at += 1;
                        return Ok(self.bytes.get(self.at).copied());
                    }
                }
                b',' | b':' => {}
                _ if before == b'"' => return Err(NotJson::UnexpectedByte(self.at)),
                b'{' => self.open.push(b'}'),
                b'[' => self.open.push(b']'),
                _ => {}
            }
            before = byte;
            self.at += 1;
        }
        if self.open.is_empty() {
            Ok(None)
        } else {
            Err(NotJson::Unclosed)
        }
    }

    /// Goes behind the string that begins here.
    fn string(&mut self) -> Result<(), NotJson> {
        let (end, _) = closed_string_end(self.bytes, self.at).ok_or(NotJson::Unclosed)?;
        self.at = end;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
