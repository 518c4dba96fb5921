//! SHA-256 of texts as short as those that are hashed here: most of them fit in one block.
//!
//! The work on a block is that of the `sha2` crate; only what stands around it is done here, without
//! the buffer that texts of unknown length need, which costs as much as a block.

use sha2::block_api::compress256;

/// Bytes of a block.
const BLOCK: usize = 64;

/// The state before the first block (FIPS 180-4, section 5.3.3).
const BEGIN: [u32; 8] = [
    0x6a09_e667,
    0xbb67_ae85,
    0x3c6e_f372,
    0xa54f_f53a,
    0x510e_527f,
    0x9b05_688c,
    0x1f83_d9ab,
    0x5be0_cd19,
];

/// Hashes a text.
pub fn digest(text: &[u8]) -> [u8; 32] {
    let mut state = BEGIN;
    let (whole, rest) = text.as_chunks();
    compress256(&mut state, whole);
    finish(state, rest, text.len())
}

/// Hashes texts as if they stood behind each other.
pub fn digest_of_parts<'t>(parts: impl IntoIterator<Item = &'t [u8]>) -> [u8; 32] {
    let mut state = BEGIN;
    let mut block = [0; BLOCK];
    let mut filled = 0;
    let mut length = 0;
    for mut part in parts {
        length += part.len();
        while let Some((begin, rest)) = part.split_at_checked(BLOCK - filled) {
            block[filled..].copy_from_slice(begin);
            compress256(&mut state, &[block]);
            filled = 0;
            part = rest;
        }
        block[filled..filled + part.len()].copy_from_slice(part);
        filled += part.len();
    }
    finish(state, &block[..filled], length)
}

/// Hashes what is left of a text of this length behind its whole blocks.
fn finish(mut state: [u32; 8], rest: &[u8], length: usize) -> [u8; 32] {
    // The end is marked with a bit, and the last eight bytes say how many bits came before it.
    let mut end = [[0; BLOCK]; 2];
    let bytes = end.as_flattened_mut();
    bytes[..rest.len()].copy_from_slice(rest);
    bytes[rest.len()] = 0x80;
    let blocks = if rest.len() + 1 + 8 <= BLOCK { 1 } else { 2 };
    let bits = (length as u64).wrapping_mul(8);
    bytes[blocks * BLOCK - 8..blocks * BLOCK].copy_from_slice(&bits.to_be_bytes());
    compress256(&mut state, &end[..blocks]);
    let mut digest = [0; 32];
    for (bytes, word) in digest.as_chunks_mut().0.iter_mut().zip(state) {
        *bytes = word.to_be_bytes();
    }
    digest
}

#[cfg(test)]
mod tests {
    use sha2::{Digest, Sha256};

    use super::*;

    #[test]
    fn hashes_texts_of_every_length() {
        let text: Vec<u8> = (0..=255).collect();
        for length in 0..=text.len() {
            let expected: [u8; 32] = Sha256::digest(&text[..length]).into();
            assert_eq!(digest(&text[..length]), expected, "{length}");
            let (begin, end) = text[..length].split_at(length / 3);
            let parts = [begin, &[], end];
            assert_eq!(digest_of_parts(parts), expected, "{length} in parts");
        }
    }
}
