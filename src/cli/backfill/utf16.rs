//! Text in UTF-16, as PowerShell's `>` writes it, read as UTF-8.

use std::io::{self, Cursor, Read};

/// Bytes to read at once.
const PIECE: usize = 8 << 10;

/// Which byte of a code unit comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ByteOrder {
    Little,
    Big,
}

impl ByteOrder {
    /// The order of a text in UTF-16, by its byte order mark or its opening bracket.
    pub(super) fn of(beginning: &[u8]) -> Option<Self> {
        match beginning {
            // UTF-32.
            [0xff, 0xfe, 0, 0, ..] => None,
            [0xff, 0xfe, ..] | [b'{' | b'[', 0, 1..=255, 0, ..] => Some(Self::Little),
            [0xfe, 0xff, ..] | [0, b'{' | b'[', 0, 1..=255, ..] => Some(Self::Big),
            _ => None,
        }
    }
}

/// Reads the text as UTF-8.
pub(super) struct Utf16<R> {
    input: R,
    order: ByteOrder,
    /// The first half of a surrogate pair.
    half: Option<u16>,
    text: Cursor<Vec<u8>>,
}

impl<R: Read> Utf16<R> {
    pub(super) const fn new(input: R, order: ByteOrder) -> Self {
        Self {
            input,
            order,
            half: None,
            text: Cursor::new(Vec::new()),
        }
    }

    /// Reads the next piece; what is not a character becomes U+FFFD.
    fn fill(&mut self) -> io::Result<()> {
        let mut piece = Vec::with_capacity(PIECE);
        (&mut self.input)
            .take(PIECE as u64)
            .read_to_end(&mut piece)?;
        let is_end = piece.len() < PIECE;
        let (pairs, odd) = piece.as_chunks::<2>();
        let units = pairs.iter().map(|pair| match self.order {
            ByteOrder::Little => u16::from_le_bytes(*pair),
            ByteOrder::Big => u16::from_be_bytes(*pair),
        });
        let mut units: Vec<u16> = self.half.take().into_iter().chain(units).collect();
        let is_half = |unit: &mut u16| (0xd800..0xdc00).contains(unit) && !is_end;
        self.half = units.pop_if(is_half);
        let mut text: String = char::decode_utf16(units)
            .map(|unit| unit.unwrap_or(char::REPLACEMENT_CHARACTER))
            .collect();
        if !odd.is_empty() {
            text.push(char::REPLACEMENT_CHARACTER);
        }
        self.text = Cursor::new(text.into_bytes());
        Ok(())
    }
}

impl<R: Read> Read for Utf16<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let count = self.text.read(out)?;
        if count > 0 || out.is_empty() {
            return Ok(count);
        }
        self.fill()?;
        self.text.read(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(text: &str, order: ByteOrder) -> Vec<u8> {
        let bytes = |unit: u16| match order {
            ByteOrder::Little => unit.to_le_bytes(),
            ByteOrder::Big => unit.to_be_bytes(),
        };
        text.encode_utf16().flat_map(bytes).collect()
    }

    fn read(bytes: &[u8]) -> String {
        let order = ByteOrder::of(bytes).unwrap();
        let mut text = String::new();
        Utf16::new(bytes, order).read_to_string(&mut text).unwrap();
        text
    }

    #[test]
    fn both_orders_are_read_with_a_mark_and_without() {
        // Characters of two units fall on every place of a piece.
        for before in ["{", "{\"", "[{", "\u{feff}{", "\u{feff}x"] {
            let text = before.to_owned() + &"aé€😀".repeat(PIECE);
            for order in [ByteOrder::Little, ByteOrder::Big] {
                assert_eq!(read(&bytes(&text, order)), text);
            }
        }
    }

    #[test]
    fn what_is_no_character_costs_itself() {
        let mut bytes = bytes("\u{feff}a", ByteOrder::Little);
        bytes.extend([0, 0xd8, b'b', 0, 0, 0xdc, b'c', 0, 0, 0xd8, b'd']);
        assert_eq!(read(&bytes), "\u{feff}a\u{fffd}b\u{fffd}c\u{fffd}\u{fffd}");
    }

    #[test]
    fn other_texts_are_told_from_it() {
        for other in [
            &b"{\"a\":1}"[..],
            b"\xff\xfe\0\0{\0\0\0",
            b"\0\0\0{",
            b"{\0",
            b"",
            b"\0\0\0\0",
        ] {
            assert_eq!(ByteOrder::of(other), None, "{other:?}");
        }
    }
}
