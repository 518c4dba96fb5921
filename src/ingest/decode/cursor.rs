//! Walks over JSON by its strings, brackets and delimiters alone.
//!
//! What lies between them is not looked at: telling where one element ends and the next begins must
//! not depend on what is wrong inside. One pass, no recursion.

use crate::ingest::decode::NotJson;

/// A place in the body, and the closing brackets that are due.
pub(super) struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
    open: Vec<u8>,
}

/// Where the elements of an array lie: each begins behind the delimiter of the one before.
pub(super) struct Places {
    /// Where the first begins.
    pub(super) first: usize,
    /// Where each ends.
    pub(super) ends: Vec<u32>,
}

/// Where a walk over a value stops.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Until {
    /// At the comma or closing bracket that follows the value.
    Delimiter,
    /// Behind the bracket that closes the value.
    Closed,
}

impl<'a> Cursor<'a> {
    /// Begins at the first byte.
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self {
            bytes,
            at: 0,
            open: Vec::new(),
        }
    }

    /// The bytes from here on.
    pub(super) fn rest(&self) -> &'a [u8] {
        self.bytes.get(self.at..).unwrap_or_default()
    }

    /// Goes behind the next colon outside strings; false where there is none.
    pub(super) fn next_colon(&mut self) -> bool {
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
    pub(super) fn skip_space(&mut self) -> Option<u8> {
        while let Some(&byte) = self.bytes.get(self.at) {
            if !matches!(byte, b' ' | b'\t' | b'\n' | b'\r') {
                return Some(byte);
            }
            self.at += 1;
        }
        None
    }

    /// Makes sure that nothing follows.
    pub(super) fn end(&mut self) -> Result<(), NotJson> {
        match self.skip_space() {
            None => Ok(()),
            Some(_) => Err(NotJson::Trailing(self.at)),
        }
    }

    /// Splits the array that begins here.
    pub(super) fn array(&mut self) -> Result<Places, NotJson> {
        self.at += 1;
        let first = self.at;
        let mut ends = Vec::new();
        if self.skip_space() == Some(b']') {
            self.at += 1;
            return Ok(Places { first, ends });
        }
        loop {
            let delimiter = self.walk(Until::Delimiter)?;
            // A body longer than 4 GiB is never held in memory.
            ends.push(u32::try_from(self.at).map_err(|_| NotJson::Unclosed)?);
            self.at += 1;
            match delimiter {
                Some(b',') => {}
                Some(b']') => return Ok(Places { first, ends }),
                Some(_) => return Err(NotJson::Stray(self.at - 1)),
                None => return Err(NotJson::Unclosed),
            }
        }
    }

    /// Walks the object that begins here: the elements of its `events`, where that is an array and
    /// the object is not itself an event. It is left as soon as it is known to be one.
    pub(super) fn envelope(&mut self) -> Result<Option<Places>, NotJson> {
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
                    return Err(NotJson::Stray(self.at));
                }
                events = Some(self.array()?);
                self.skip_space()
            } else {
                self.walk(Until::Delimiter)?
            };
            match delimiter {
                Some(b',') => self.at += 1,
                Some(b'}') => {
                    self.at += 1;
                    return Ok(events);
                }
                Some(_) => return Err(NotJson::Stray(self.at)),
                None => return Err(NotJson::Unclosed),
            }
        }
    }

    /// Walks the object that begins here, and shows each member: its key as it is spelt, its value
    /// unread.
    pub(super) fn members(
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
            let delimiter = self.walk(Until::Delimiter)?;
            let value = self.bytes.get(start..self.at).unwrap_or_default();
            show(key, value.trim_ascii());
            self.at += 1;
            match delimiter {
                Some(b',') => {}
                Some(b'}') => return Ok(()),
                Some(_) => return Err(NotJson::Stray(self.at - 1)),
                None => return Err(NotJson::Unclosed),
            }
        }
    }

    /// Reads a member's key, as it is spelt, and its colon.
    fn key(&mut self) -> Result<&'a [u8], NotJson> {
        match self.skip_space() {
            Some(b'"') => {}
            Some(_) => return Err(NotJson::Stray(self.at)),
            None => return Err(NotJson::Unclosed),
        }
        let start = self.at + 1;
        self.string()?;
        let key = self.bytes.get(start..self.at - 1).unwrap_or_default();
        match self.skip_space() {
            Some(b':') => self.at += 1,
            Some(_) => return Err(NotJson::Stray(self.at)),
            None => return Err(NotJson::Unclosed),
        }
        Ok(key)
    }

    /// Walks the value that begins here and returns the byte it stops at, `None` at the end of the
    /// bytes. The value itself may be any rubbish whose strings and brackets are in order.
    pub(super) fn walk(&mut self, until: Until) -> Result<Option<u8>, NotJson> {
        let mut before = b':';
        while let Some(&byte) = self.bytes.get(self.at) {
            match byte {
                b' ' | b'\t' | b'\n' | b'\r' => {
                    self.at += 1;
                    continue;
                }
                b'"' => {
                    if !matches!(before, b'{' | b'[' | b',' | b':') {
                        return Err(NotJson::Stray(self.at));
                    }
                    self.string()?;
                    before = b'"';
                    continue;
                }
                b',' | b'}' | b']' if self.open.is_empty() => return Ok(Some(byte)),
                b'}' | b']' => {
                    if self.open.pop() != Some(byte) {
                        return Err(NotJson::Stray(self.at));
                    }
                    if until == Until::Closed && self.open.is_empty() {
                        self.at += 1;
                        return Ok(self.bytes.get(self.at).copied());
                    }
                }
                b',' | b':' => {}
                _ if before == b'"' => return Err(NotJson::Stray(self.at)),
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
        self.at += 1;
        while let Some(&byte) = self.bytes.get(self.at) {
            self.at += 1;
            match byte {
                b'"' => return Ok(()),
                b'\\' => self.at += 1,
                _ => {}
            }
        }
        Err(NotJson::Unclosed)
    }
}
