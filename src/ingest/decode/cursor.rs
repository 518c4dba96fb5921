//! Finds where values end: as a parser says, and from the first value that is not well formed on by
//! strings, brackets and delimiters alone.
//!
//! What lies between those is not looked at then: telling where one element ends and the next begins
//! must not depend on what is wrong inside. Both ways lead to the same places in what is well formed; no
//! value is gone over more than twice, and without recursion.

use serde::de::IgnoredAny;
use serde_json::Deserializer;

use crate::ingest::decode::NotJson;

/// A place in the body, and the closing brackets that are due.
pub(super) struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
    open: Vec<u8>,
    /// Whether every value so far was well formed.
    is_well_formed: bool,
}

/// Where the elements of an array lie: each begins behind the delimiter of the one before.
#[cfg_attr(test, derive(Debug, PartialEq))]
pub(super) struct Places {
    /// Where the first begins.
    pub(super) first: usize,
    /// Where each ends.
    pub(super) ends: Vec<u32>,
    /// How many of them, from the first on, are known to be well formed.
    pub(super) well_formed: usize,
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
            is_well_formed: true,
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
            // What is no object is no event, and a sender may fill a body with a million of them: setting a
            // parser up costs more than they do.
            self.is_well_formed &= self.skip_space() == Some(b'{');
            let delimiter = self.value()?;
            places.well_formed += usize::from(self.is_well_formed);
            // A body longer than 4 GiB is never held in memory.
            let end = u32::try_from(self.at).map_err(|_| NotJson::Unclosed)?;
            places.ends.push(end);
            self.at += 1;
            match delimiter {
                Some(b',') => {}
                Some(b']') => return Ok(places),
                Some(_) => return Err(NotJson::UnexpectedByte(self.at - 1)),
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
                    return Err(NotJson::UnexpectedByte(self.at));
                }
                events = Some(self.array()?);
                self.skip_space()
            } else {
                self.value()?
            };
            match delimiter {
                Some(b',') => self.at += 1,
                Some(b'}') => {
                    self.at += 1;
                    return Ok(events);
                }
                Some(_) => return Err(NotJson::UnexpectedByte(self.at)),
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
            let delimiter = self.value()?;
            let value = self.bytes.get(start..self.at).unwrap_or_default();
            show(key, value.trim_ascii());
            self.at += 1;
            match delimiter {
                Some(b',') => {}
                Some(b'}') => return Ok(()),
                Some(_) => return Err(NotJson::UnexpectedByte(self.at - 1)),
                None => return Err(NotJson::Unclosed),
            }
        }
    }

    /// Reads a member's key, as it is spelt, and its colon.
    fn key(&mut self) -> Result<&'a [u8], NotJson> {
        match self.skip_space() {
            Some(b'"') => {}
            Some(_) => return Err(NotJson::UnexpectedByte(self.at)),
            None => return Err(NotJson::Unclosed),
        }
        let start = self.at + 1;
        self.string()?;
        let key = self.bytes.get(start..self.at - 1).unwrap_or_default();
        match self.skip_space() {
            Some(b':') => self.at += 1,
            Some(_) => return Err(NotJson::UnexpectedByte(self.at)),
            None => return Err(NotJson::Unclosed),
        }
        Ok(key)
    }

    /// Goes to the delimiter behind the value that begins here and returns it, as a walk does.
    fn value(&mut self) -> Result<Option<u8>, NotJson> {
        if self.is_well_formed
            && let Some(delimiter) = self.well_formed_value()
        {
            return Ok(Some(delimiter));
        }
        self.is_well_formed = false;
        self.walk(Until::Delimiter)
    }

    /// Goes to the delimiter behind the value that begins here, where that is well formed and followed
    /// by one; stays here where it is not.
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::event::Event;
    use crate::event::arena::Arena;

    fn split(cursor: &mut Cursor<'_>) -> Result<Option<Places>, NotJson> {
        match cursor.bytes.first() {
            Some(b'{') => cursor.envelope(),
            _ => cursor.array().map(Some),
        }
    }

    /// Splits an array or an envelope by a parser and by walking alone, and compares; returns how many
    /// elements the parser found well formed.
    fn compare(body: &[u8]) -> usize {
        let mut cursor = Cursor::new(body);
        let mut walker = Cursor::new(body);
        walker.is_well_formed = false;
        let walked = split(&mut walker);
        let mut found = split(&mut cursor);
        let mut well_formed = 0;
        if let Ok(Some(places)) = &mut found {
            well_formed = std::mem::take(&mut places.well_formed);
            let mut start = places.first;
            for &end in places.ends.iter().take(well_formed) {
                let raw = &body[start..end as usize];
                let arena = Arena::default();
                let event = Event::decode_well_formed(raw, &arena).map(|event| event.raw());
                assert_eq!(event, Event::decode(raw, &arena).map(|event| event.raw()));
                start = end as usize + 1;
            }
        }
        assert_eq!((found, cursor.at), (walked, walker.at));
        well_formed
    }

    #[test]
    fn what_is_well_formed_is_known_up_to_the_first_that_is_not() {
        for (body, well_formed) in [
            (&b"[]"[..], 0),
            (b"[{}, {\"a\":\"\\\"]\"} ,\n{\"b\":[[]]} ]", 3),
            (b"[{}, 1 ,{}]", 1),
            (b"[{},{\"a\":\"\xff\"},{}]", 3),
            (b"[{},{\"a\":1,,},{}]", 1),
            (b"[{},\x0c{},{}]", 1),
            (b"[{},,{}]", 1),
            (b"[x,{},{}]", 0),
            (b"{\"n\":1,\"events\":[{},{}]}", 2),
            (b"{\"n\":x,\"events\":[{},{}]}", 0),
        ] {
            assert_eq!(compare(body), well_formed, "{}", body.escape_ascii());
        }
    }

    /// What arrays are made of, and what can break them.
    fn piece() -> impl Strategy<Value = &'static [u8]> {
        prop::sample::select(vec![
            &b","[..],
            b",",
            b":",
            b"[",
            b"]",
            b"{",
            b"}",
            b"\"",
            b"\\",
            b" ",
            b"\n",
            b"\x0c",
            b"\0",
            b"1",
            b"-1.5e3",
            b"1e400",
            b"1,396,381",
            b"tru",
            b"null",
            b"\xff",
            "\u{e9}".as_bytes(),
            b"\"a\"",
            b"\"a\":",
            b"\"\\u00e9\"",
            b"\"\\ud800\"",
            b"\"\xff\"",
            b"\"events\":[",
            b"\"event_type\":\"A\"",
            b"{}",
            b"{\"a\":1}",
            b"{\"a\":1,\"a\":2}",
            b"{\"user_id\":7}",
            b"{\"a\":[{\"b\":\"]\"}, [ ]]}",
        ])
    }

    /// An array of events, often in an envelope, with a few bytes put in, taken out or cut off.
    fn body() -> impl Strategy<Value = Vec<u8>> {
        let event = prop::sample::select(vec![
            "{}",
            "{\"a\":1}",
            " {\"event_type\":\"A\",\"b\":[1,{\"c\":\"\\\"]\"}]}\n",
            "{\"a\":\"\\ud83d\\ude00\",\"b\":1.5e10}",
            "{\"a\":\"\u{e9}\"}",
            "null",
        ]);
        let events = prop::collection::vec(event, 0..6);
        let change = (any::<prop::sample::Index>(), 0_usize..3, piece());
        (
            events,
            any::<bool>(),
            prop::collection::vec(change, 0..3),
            any::<prop::sample::Index>(),
            any::<bool>(),
        )
            .prop_map(|(events, envelope, changes, cut, is_cut)| {
                let array = format!("[{}]", events.join(","));
                let mut body = if envelope {
                    format!("{{\"n\": 1,\"events\" :{array} ,\"o\":{{}}}}").into_bytes()
                } else {
                    array.into_bytes()
                };
                for (place, taken, put) in changes {
                    let from = place.index(body.len() + 1);
                    let to = body.len().min(from + taken);
                    body.splice(from..to, put.iter().copied());
                }
                if is_cut {
                    body.truncate(cut.index(body.len() + 1));
                }
                body
            })
    }

    proptest! {
        #[test]
        fn a_parser_and_a_walk_split_alike(body in body()) {
            if !body.is_empty() {
                compare(&body);
            }
        }

        #[test]
        fn a_parser_and_a_walk_split_anything_alike(
            begin in prop::sample::select(vec![&b"["[..], b"{"]),
            pieces in prop::collection::vec(piece(), 0..24),
        ) {
            compare(&[begin, &pieces.concat()].concat());
        }
    }
}
