//! A batch's body as it is stored: compressed, where that makes it shorter.
//!
//! The events of a sync have most of their text in common, so an LZ4 block takes a fraction of their bytes, and the
//! cost of a commit is mostly the bytes that it writes. A compressed body begins with a byte that begins no JSON;
//! any other body is the events' JSON itself, as earlier versions wrote it.
//!
//! Promises: a body comes back as it was. Foreign bytes are an error, and take no more memory than they could
//! stand for.

use std::sync::Arc;
use std::{fmt, iter};

use lz4_flex::block::{
    CompressTable, compress_into_with_table, decompress_into, get_maximum_output_size,
};

/// Begins a compressed body.
const MARK: u8 = 1;
/// Most bytes that one byte of a block can stand for.
const MAX_RATIO: usize = 255;
/// Most bytes of a body that is compressed. A longer one is a single large event: it shares no text with others,
/// and the buffer need not grow for it.
pub(super) const MAX_BYTES: usize = 256 * 1024;

/// Compresses bodies, and reuses its buffers.
pub(super) struct Compressor {
    table: CompressTable,
    packed: Vec<u8>,
}

impl fmt::Debug for Compressor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Compressor").finish_non_exhaustive()
    }
}

impl Compressor {
    pub(super) fn new() -> Self {
        Self {
            table: CompressTable::large(),
            packed: vec![MARK],
        }
    }

    /// The bytes that are stored for a body.
    pub(super) fn compress<'a>(&'a mut self, body: &'a [u8]) -> &'a [u8] {
        if body.len() > MAX_BYTES {
            return body;
        }
        let most = 1 + get_maximum_output_size(body.len());
        if self.packed.len() < most {
            self.packed.resize(most, 0);
        }
        let packed = compress_into_with_table(body, &mut self.packed[1..], &mut self.table)
            .expect("there is room for a body that does not get shorter");
        if packed + 1 < body.len() {
            &self.packed[..=packed]
        } else {
            body
        }
    }
}

/// The body, which must have this length; `None` for bytes that do not stand for it.
pub(super) fn decompress(stored: &[u8], length: usize) -> Option<Arc<[u8]>> {
    let Some((&MARK, packed)) = stored.split_first() else {
        return (stored.len() == length).then(|| stored.into());
    };
    if length / MAX_RATIO > packed.len() {
        return None;
    }
    let mut body: Arc<[u8]> = iter::repeat_n(0, length).collect();
    let room = Arc::get_mut(&mut body).expect("nobody else has it yet");
    let filled = decompress_into(packed, room).ok()?;
    (filled == length).then_some(body)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn alike(count: usize) -> Vec<u8> {
        let event =
            |number| format!(r#"{{"event_name":"Purchase","event_id":"{number}","value":9.5}}"#);
        let events: Vec<String> = (0..count).map(event).collect();
        events.join("\n").into_bytes()
    }

    #[test]
    fn events_that_are_alike_take_a_fraction() {
        let body = alike(100);
        let mut compressor = Compressor::new();
        let stored = compressor.compress(&body).to_vec();
        assert!(stored.len() < body.len() / 4, "{}", stored.len());
        assert_eq!(*decompress(&stored, body.len()).unwrap(), *body);
        // What it packed before leaves no trace in what it packs next.
        assert_eq!(compressor.compress(b"{}"), b"{}");
        assert_eq!(compressor.compress(&body), stored);
    }

    #[test]
    fn what_gets_no_shorter_is_stored_as_it_is() {
        let body = br#"{"event_id":"1"}"#;
        assert_eq!(Compressor::new().compress(body), body);
        assert_eq!(*decompress(body, body.len()).unwrap(), *body);
        assert!(decompress(body, body.len() + 1).is_none());
    }

    #[test]
    fn a_length_that_the_bytes_cannot_have_takes_no_memory() {
        let body = alike(100);
        let mut compressor = Compressor::new();
        let stored = compressor.compress(&body);
        for length in [0, 1, body.len() - 1, body.len() + 1, usize::MAX] {
            assert!(decompress(stored, length).is_none(), "{length}");
        }
        assert!(decompress(&[MARK], 1).is_none());
        assert!(decompress(&[], 1).is_none());
    }

    proptest! {
        #[test]
        fn gives_back_what_it_was_given(parts in prop::collection::vec("[ -~]{0,40}", 0..60)) {
            let body = format!("{{{}", parts.concat()).into_bytes();
            let mut compressor = Compressor::new();
            let stored = compressor.compress(&body);
            prop_assert!(stored.len() <= body.len());
            prop_assert_eq!(&*decompress(stored, body.len()).unwrap(), &*body);
        }

        #[test]
        fn survives_bytes_that_are_not_ours(
            bytes in prop::collection::vec(any::<u8>(), 0..80),
            length in 0_usize..30_000,
        ) {
            let stored = [&[MARK], &bytes[..]].concat();
            if let Some(body) = decompress(&stored, length) {
                prop_assert_eq!(body.len(), length);
            }
        }

        #[test]
        fn survives_flipped_bits(place in any::<prop::sample::Index>(), bit in 0..8) {
            let body = alike(50);
            let mut stored = Compressor::new().compress(&body).to_vec();
            let place = 1 + place.index(stored.len() - 1);
            stored[place] ^= 1_u8 << bit;
            if let Some(body) = decompress(&stored, body.len()) {
                prop_assert_eq!(body.len(), alike(50).len());
            }
        }
    }
}
