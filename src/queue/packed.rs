//! A row's body as it lies on the disk: compressed, where that makes it shorter.
//!
//! The events of a sync have most of their text in common, so a row of several takes a fraction of its
//! bytes as an LZ4 block, and what a commit costs is mostly the bytes that it writes. A compressed body
//! begins with a byte with which no JSON begins; every other body is the events' JSON as it is, as are
//! all that earlier versions wrote.
//!
//! Promises: what is unpacked is what was packed. Of bytes that are not ours it makes an error, and no
//! more memory than they could hold. Does not know what a body means, nor whether it is damaged.

use std::sync::Arc;
use std::{fmt, iter};

use lz4_flex::block::{
    CompressTable, compress_into_with_table, decompress_into, get_maximum_output_size,
};

/// Begins a compressed body.
const MARK: u8 = 1;
/// How many bytes one byte of a block can stand for at most.
const MOST_A_BYTE: usize = 255;
/// Most bytes of a body that is compressed. A longer one is one large event: it has nothing in common with
/// another, and is no reason to keep its size in memory.
pub(super) const MOST_BYTES: usize = 256 * 1024;

/// Packs bodies; keeps the memory that it takes.
pub(super) struct Packer {
    table: CompressTable,
    packed: Vec<u8>,
}

impl fmt::Debug for Packer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Packer").finish_non_exhaustive()
    }
}

impl Packer {
    /// One that has packed nothing yet.
    pub(super) fn new() -> Self {
        Self {
            table: CompressTable::large(),
            packed: vec![MARK],
        }
    }

    /// The bytes that are stored for a body.
    pub(super) fn pack<'a>(&'a mut self, body: &'a [u8]) -> &'a [u8] {
        if body.len() > MOST_BYTES {
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

/// The body of so many bytes that was stored so; `None` where it cannot have been.
pub(super) fn unpack(stored: &[u8], length: usize) -> Option<Arc<[u8]>> {
    let Some((&MARK, packed)) = stored.split_first() else {
        return (stored.len() == length).then(|| stored.into());
    };
    if length / MOST_A_BYTE > packed.len() {
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
        let mut packer = Packer::new();
        let stored = packer.pack(&body).to_vec();
        assert!(stored.len() < body.len() / 4, "{}", stored.len());
        assert_eq!(*unpack(&stored, body.len()).unwrap(), *body);
        // What it packed before leaves no trace in what it packs next.
        assert_eq!(packer.pack(b"{}"), b"{}");
        assert_eq!(packer.pack(&body), stored);
    }

    #[test]
    fn what_gets_no_shorter_is_stored_as_it_is() {
        let body = br#"{"event_id":"1"}"#;
        assert_eq!(Packer::new().pack(body), body);
        assert_eq!(*unpack(body, body.len()).unwrap(), *body);
        assert!(unpack(body, body.len() + 1).is_none());
    }

    #[test]
    fn a_length_that_the_bytes_cannot_have_takes_no_memory() {
        let body = alike(100);
        let mut packer = Packer::new();
        let stored = packer.pack(&body);
        for length in [0, 1, body.len() - 1, body.len() + 1, usize::MAX] {
            assert!(unpack(stored, length).is_none(), "{length}");
        }
        assert!(unpack(&[MARK], 1).is_none());
        assert!(unpack(&[], 1).is_none());
    }

    proptest! {
        #[test]
        fn gives_back_what_it_was_given(parts in prop::collection::vec("[ -~]{0,40}", 0..60)) {
            let body = format!("{{{}", parts.concat()).into_bytes();
            let mut packer = Packer::new();
            let stored = packer.pack(&body);
            prop_assert!(stored.len() <= body.len());
            prop_assert_eq!(&*unpack(stored, body.len()).unwrap(), &*body);
        }

        #[test]
        fn survives_bytes_that_are_not_ours(
            bytes in prop::collection::vec(any::<u8>(), 0..80),
            length in 0_usize..30_000,
        ) {
            let stored = [&[MARK], &bytes[..]].concat();
            if let Some(body) = unpack(&stored, length) {
                prop_assert_eq!(body.len(), length);
            }
        }

        #[test]
        fn survives_flipped_bits(place in any::<prop::sample::Index>(), bit in 0..8) {
            let body = alike(50);
            let mut stored = Packer::new().pack(&body).to_vec();
            let place = 1 + place.index(stored.len() - 1);
            stored[place] ^= 1_u8 << bit;
            if let Some(body) = unpack(&stored, body.len()) {
                prop_assert_eq!(body.len(), alike(50).len());
            }
        }
    }
}
